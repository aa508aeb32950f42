"""Who calls, and what they may do: roles, each of which may do what those before it may, and scopes that a key is restricted to."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import get_args

from trajops.contracts.session import Role, Scope
from trajops.errors import Forbidden, OutOfScope
from trajops.rate_limits import Limit

ROLES: tuple[Role, ...] = get_args(Role)
SCOPES: tuple[Scope, ...] = get_args(Scope)
_VIEWER: tuple[Scope, ...] = ("predict", "observe", "read")
SCOPES_OF: dict[Role, frozenset[Scope]] = {
    "viewer": frozenset(_VIEWER),
    "operator": frozenset((*_VIEWER, "operate")),
    "admin": frozenset(SCOPES),
}


@dataclass(frozen=True, slots=True)
class Client:
    """Who calls: a username, `key:` and the name of an API key, with its SHA-256, or `jwt:` and the subject of an external token.

    Attributes:
        expires_at: when the credential ends; None: never.
        is_external: whether somebody else vouches for it, so that our database does not know it.
        limit: what this client may ask for; None: what everybody may.
        limited_as: whose tokens it takes, where its name is not enough, because two keys may have one name.
        scopes: what its key is restricted to; None: nothing.
        may: what it may do: the scopes of its role, less those that its key is restricted from.
    """

    client_id: str
    role: Role
    expires_at: datetime | None = None
    key_hash: str | None = field(default=None, repr=False, compare=False)
    limit: Limit | None = field(default=None, compare=False)
    limited_as: str | None = field(default=None, repr=False, compare=False)
    scopes: frozenset[Scope] | None = None
    is_external: bool = False
    may: frozenset[Scope] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Work out once what every request is checked against."""
        may = SCOPES_OF[self.role] if self.scopes is None else SCOPES_OF[self.role] & self.scopes
        object.__setattr__(self, "may", may)

    @property
    def limit_id(self) -> str:
        """Whose tokens this client takes: the same for all credentials of one client."""
        return self.limited_as or self.client_id

    def require(self, role: Role) -> None:
        """Raise Forbidden unless the client has the role or a higher one."""
        if ROLES.index(self.role) < ROLES.index(role):
            raise Forbidden(f"this needs the role {role}; {self.client_id} is {self.role}. Ask an admin, or sign in as somebody else")

    def require_scope(self, scope: Scope) -> None:
        """Raise Forbidden if the role does not allow it, OutOfScope if the key is restricted to less."""
        if scope in self.may:
            return
        self.require(next(role for role in ROLES if scope in SCOPES_OF[role]))
        raise OutOfScope(f"this needs the scope {scope}; {self.client_id} has only {', '.join(sorted(self.may))}. Ask an admin for a key")

"""Users: what an admin sees of them and changes, and what they change themselves."""

from pydantic import AwareDatetime, Field, SecretStr

from trajops.contracts.session import Role
from trajops.contracts.wire import Name, Reason, Wire

MIN_PASSWORD_LENGTH, MAX_PASSWORD_LENGTH = 8, 256


class UserIn(Wire):
    """Somebody who may sign in."""

    username: Name
    role: Role = "viewer"
    password: SecretStr = Field(min_length=MIN_PASSWORD_LENGTH, max_length=MAX_PASSWORD_LENGTH)
    reason: Reason


class RoleIn(Wire):
    """Another role."""

    role: Role
    reason: Reason


class PasswordIn(Wire):
    """A new password for somebody."""

    password: SecretStr = Field(min_length=MIN_PASSWORD_LENGTH, max_length=MAX_PASSWORD_LENGTH)
    reason: Reason


class UserChangeIn(Wire):
    """Let somebody sign in no more, or again."""

    reason: Reason


class OwnPasswordIn(Wire):
    """The password so far, and the one that is to be."""

    old: SecretStr = Field(min_length=1, max_length=MAX_PASSWORD_LENGTH)
    new: SecretStr = Field(min_length=MIN_PASSWORD_LENGTH, max_length=MAX_PASSWORD_LENGTH)


class UserOut(Wire):
    """One user; of the password nothing is shown."""

    username: str
    role: Role
    created_at: AwareDatetime
    disabled_at: AwareDatetime | None = Field(description="Since when they may sign in no more; null: they may.")
    last_signed_in_at: AwareDatetime | None = Field(description="Null: never, as far as is known.")


class UsersOut(Wire):
    """All users by name, also disabled ones."""

    users: list[UserOut]


class UserChangeOut(Wire):
    """A user after a change, with its audit entry."""

    user: UserOut
    audit_id: str

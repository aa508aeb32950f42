"""An identity service in memory, with a hash that costs nothing."""

from typing import Any

from trajops.contracts.session import Role
from trajops.services.identity import Identity

SECRET = "s" * 32
WHO: dict[str, Any] = {"actor": "root", "reason": "because of the test"}


class CountingHasher:
    """A hash that is no hash, and a list of what was verified: the cost of a sign-in without its seconds."""

    def __init__(self) -> None:
        self.verified: list[str] = []
        self.parameters = "v1"

    def hash(self, password: str) -> str:
        return f"{self.parameters}:{password}"

    def verify(self, password_hash: str, password: str) -> bool:
        self.verified.append(password_hash)
        return password_hash.partition(":")[2] == password

    def is_outdated(self, password_hash: str) -> bool:
        return not password_hash.startswith(self.parameters)


def signed_in(identity: Identity, role: Role = "operator") -> str:
    identity.create_user("ada", "correct horse", role, **WHO)
    return identity.sign_in("ada", "correct horse").access_token

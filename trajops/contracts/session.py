"""Sign-in: who calls, and in which role."""

from typing import Literal

from pydantic import AwareDatetime, Field, SecretStr

from trajops.contracts.wire import Name, Wire

Role = Literal["viewer", "operator", "admin"]
Scope = Literal["predict", "observe", "read", "operate", "admin"]


class SignIn(Wire):
    """Name and password of an operator."""

    username: Name
    password: SecretStr = Field(min_length=1, max_length=256)


class TokenOut(Wire):
    """A bearer token."""

    access_token: str
    token_type: Literal["bearer"] = "bearer"
    expires_at: AwareDatetime
    username: str
    role: Role


class Me(Wire):
    """The caller as the API sees it."""

    username: str
    role: Role
    scopes: list[Scope] = Field(default_factory=list, description="What the caller may do: all that its role may, or what its key says.")
    environment: str

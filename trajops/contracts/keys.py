"""API keys: what an admin sees of them, makes and ends."""

from typing import Annotated

from pydantic import AwareDatetime, Field

from trajops.contracts.session import Role, Scope
from trajops.contracts.wire import Reason, Time, Wire

LONGEST_OVERLAP_S = 90 * 86_400
KeyName = Annotated[str, Field(min_length=1, max_length=120, pattern=r"^[^\x00-\x1f\x7f]+$")]


class KeyIn(Wire):
    """A new key for a program."""

    name: KeyName
    role: Role = "viewer"
    scopes: list[Scope] | None = Field(
        None, min_length=1, max_length=5, description="What the key may do. Left out: all that its role may."
    )
    expires_at: Time | None = Field(None, description="When it ends. Left out: never.")
    rate_limit_per_s: float | None = Field(
        None, ge=0, le=1e9, allow_inf_nan=False, description="Predictions a second; 0: no limit. Left out: TRAJOPS_RATE_LIMIT_PER_S."
    )
    rate_limit_burst: int | None = Field(None, ge=1, le=10**12, description="Most predictions at once. Left out: those of two seconds.")
    reason: Reason


class RotateKeyIn(Wire):
    """A new secret for a key; the old one stays valid for a while, so that its program can change over without a gap."""

    overlap_s: float = Field(
        86_400, ge=0, le=LONGEST_OVERLAP_S, allow_inf_nan=False, description="How long the old secret stays valid, seconds; 0: it ends now."
    )
    expires_at: Time | None = Field(None, description="When the new one ends. Left out: it lives as long as the old one was to.")
    reason: Reason


class RevokeKeyIn(Wire):
    """End a key at once."""

    reason: Reason


class KeyOut(Wire):
    """One key; its secret is not kept."""

    key_id: str
    name: str
    prefix: str = Field(description="Begin of the secret after `tok_`; tells keys apart.")
    role: Role
    scopes: list[Scope] = Field(description="What it may do.")
    created_at: AwareDatetime
    expires_at: AwareDatetime | None
    revoked_at: AwareDatetime | None
    last_used_at: AwareDatetime | None = Field(description="To within some ten minutes; null: never, as far as is known.")
    successor_id: str | None = Field(description="The key that replaced it in a rotation.")
    rate_limit_per_s: float | None = Field(description="Its own limit; null: everybody's.")
    rate_limit_burst: int | None


class KeysOut(Wire):
    """All keys, newest first, also ended ones."""

    keys: list[KeyOut]


class KeyMadeOut(Wire):
    """A new key with its secret, which is shown this once."""

    secret: str
    key: KeyOut
    replaces: KeyOut | None = Field(None, description="After a rotation: the key so far, with the time until which it is valid.")

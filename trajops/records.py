"""Rows of the control state that never leave over the wire as they are. What does leave has its wire model in `contracts/`."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from trajops.contracts.session import Role, Scope
from trajops.deployments.model_ref import ModelRef
from trajops.rate_limits import Limit


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """One registered version, as it was trained. `digest` is the SHA-256 of the artefact; `deleted_at`: it is kept for the record alone."""

    model_name: str
    model_version: int
    family: str
    run_id: str | None
    metrics: dict[str, float]
    params: dict[str, str]
    digest: str
    created_at: datetime
    deleted_at: datetime | None = None

    @property
    def ref(self) -> ModelRef:
        """Name and version."""
        return ModelRef(self.model_name, self.model_version)


@dataclass(frozen=True, slots=True)
class User:
    """Somebody who signs in."""

    user_id: str
    username: str
    password_hash: str = field(repr=False)
    role: Role
    created_at: datetime
    disabled_at: datetime | None = None
    last_signed_in_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A client's key. Only the SHA-256 of the key is kept; the prefix tells keys apart in lists.

    Attributes:
        scopes: what it may do; None: all that its role may.
        rate_per_s: its own limit, with `burst`; None: everybody's.
        last_used_at: when it was last seen to be used, coarse.
        series_id: the first key of the rotations that led to this one; None: it is the first itself.
        successor_id: the key that replaced it in a rotation.
    """

    key_id: str
    name: str
    prefix: str
    key_hash: str = field(repr=False)
    role: Role
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    scopes: tuple[Scope, ...] | None = None
    rate_per_s: float | None = None
    burst: int | None = None
    last_used_at: datetime | None = None
    series_id: str | None = None
    successor_id: str | None = None

    @property
    def limit(self) -> Limit | None:
        """Its own limit."""
        return None if self.rate_per_s is None or self.burst is None else Limit(self.rate_per_s, self.burst)


@dataclass(frozen=True, slots=True)
class Remembered:
    """What was answered to an idempotency key, and the fingerprint of what was asked."""

    fingerprint: str
    response: dict[str, Any]


@dataclass(frozen=True, slots=True)
class JobSchedule:
    """How often a job runs (at the times of `cron`, then `every_s` is their longest gap), and when somebody asked for it by hand.

    Attributes:
        next_due_at: when it is due next, as its last run left it for all workers.
        paused_at: since when it runs by hand only, with `paused_by` and `pause_reason`; None: it is not paused.
    """

    job: str
    description: str
    every_s: float
    requested_at: datetime | None = None
    last_success_at: datetime | None = None
    cron: str | None = None
    next_due_at: datetime | None = None
    paused_at: datetime | None = None
    paused_by: str | None = None
    pause_reason: str | None = None


@dataclass(frozen=True, slots=True)
class TokenClaims:
    """What a session token says."""

    subject: str
    role: Role
    issued_at: datetime
    expires_at: datetime

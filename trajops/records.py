"""Rows of the control state that never leave over the wire as they are. What does leave has its wire model in `contracts/`."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from trajops.contracts.session import Role
from trajops.deployments.routing import ModelRef


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """One registered version, as it was trained. `digest` is the SHA-256 of the artefact."""

    model_name: str
    model_version: int
    family: str
    run_id: str | None
    metrics: dict[str, float]
    params: dict[str, str]
    digest: str
    created_at: datetime

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


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A client's key. Only the SHA-256 of the key is kept; the prefix tells keys apart in lists."""

    key_id: str
    name: str
    prefix: str
    key_hash: str = field(repr=False)
    role: Role
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Remembered:
    """What was answered to an idempotency key, and the fingerprint of what was asked."""

    fingerprint: str
    response: dict[str, Any]


@dataclass(frozen=True, slots=True)
class JobSchedule:
    """How often a job runs, and when somebody asked for it by hand."""

    job: str
    description: str
    every_s: float
    requested_at: datetime | None = None
    last_success_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class TokenClaims:
    """What a session token says."""

    subject: str
    role: Role
    issued_at: datetime
    expires_at: datetime

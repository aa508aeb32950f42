"""Keys of the product's own programs: a secret that lies with the program, and a row by which the API knows it."""

import hashlib
from uuid import uuid4

from trajops.clock import now
from trajops.contracts.session import Scope
from trajops.ports import Clock
from trajops.records import ApiKey
from trajops.services.identity import KEY_MARK
from trajops.stores import UnitOfWorkFactory


def ensure_key(unit_of_work: UnitOfWorkFactory, secret: str, name: str, scopes: tuple[Scope, ...], *, reason: str, clock: Clock) -> str:
    """Let the API know a key of our own; idempotent. A key that an admin has revoked stays revoked.

    Args:
        unit_of_work: opens a transaction.
        secret: what makes the key, at least as hard to guess as one that the API makes.
        name: what the program is called.
        scopes: all that it may do.
        reason: for the audit.
        clock: what time it is.

    Returns:
        The key.
    """
    secret = f"{KEY_MARK}{secret}"
    digest = hashlib.sha256(secret.encode()).hexdigest()
    with unit_of_work(read_only=True) as uow:
        if uow.api_keys.by_hash(digest) is not None:
            return secret
    at = now(clock)
    key = ApiKey(uuid4().hex, name, digest[:8], digest, "viewer", at, scopes=scopes)
    with unit_of_work() as uow:
        if uow.api_keys.by_hash(digest) is None:
            uow.api_keys.add(key)
            uow.audit.append(
                at=at,
                actor=f"worker:{name}",
                action="api_key.create",
                subject=f"key:{name}",
                reason=reason,
                before={},
                after={"key_id": key.key_id, "prefix": key.prefix, "role": key.role, "scopes": list(scopes)},
            )
    return secret

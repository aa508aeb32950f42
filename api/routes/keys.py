"""API keys of programs: what there is, new ones, rotation, the end of one. For admins."""

from fastapi import APIRouter, Response

from api.deps import CHANGES, Admin, IdempotencyKey, PartsOf
from trajops.clients import SCOPES, SCOPES_OF
from trajops.contracts.keys import KeyIn, KeyMadeOut, KeyOut, KeysOut, RevokeKeyIn, RotateKeyIn
from trajops.errors import InvalidInput
from trajops.rate_limits import Limit
from trajops.records import ApiKey

router = APIRouter(prefix="/v1/keys", tags=["keys"], responses=CHANGES)


@router.get("", summary="API keys")
def keys(parts: PartsOf, _client: Admin) -> KeysOut:
    """All keys, newest first, also ended ones; never a secret."""
    return KeysOut(keys=[_shown(key) for key in parts.identity.api_keys()])


@router.post("", summary="Make a key")
def create_key(body: KeyIn, parts: PartsOf, client: Admin, response: Response) -> KeyMadeOut:
    """Make a key. Its secret is in this answer and nowhere else: repeating the request makes another key."""
    secret, key = parts.identity.create_api_key(
        body.name,
        body.role,
        actor=client.client_id,
        reason=body.reason,
        expires_at=body.expires_at,
        scopes=body.scopes,
        limit=_limit(body),
    )
    response.headers["Cache-Control"] = "no-store"
    return KeyMadeOut(secret=secret, key=_shown(key))


@router.post("/{key_id}/rotate", summary="Rotate a key")
def rotate_key(key_id: str, body: RotateKeyIn, parts: PartsOf, client: Admin, response: Response) -> KeyMadeOut:
    """Replace a key by a new one with the same name and rights; the old one stays valid for the overlap, at most a minute longer."""
    secret, key, old = parts.identity.rotate_api_key(
        key_id, overlap_s=body.overlap_s, actor=client.client_id, reason=body.reason, expires_at=body.expires_at
    )
    parts.gate.forget(old.key_hash)
    response.headers["Cache-Control"] = "no-store"
    return KeyMadeOut(secret=secret, key=_shown(key), replaces=_shown(old))


@router.post("/{key_id}/revoke", summary="Revoke a key")
def revoke_key(key_id: str, body: RevokeKeyIn, parts: PartsOf, client: Admin, key: IdempotencyKey = None) -> KeyOut:
    """End a key: at once in the process that answers, within a minute in the others. Revoking twice is revoking once."""
    revoked = parts.identity.revoke_api_key(key_id, actor=client.client_id, reason=body.reason, idempotency_key=key)
    parts.gate.forget(revoked.key_hash)
    return _shown(revoked)


def _limit(body: KeyIn) -> Limit | None:
    if body.rate_limit_per_s is None:
        if body.rate_limit_burst is not None:
            raise InvalidInput("a burst of its own needs a rate of its own; add rate_limit_per_s")
        return None
    return Limit(body.rate_limit_per_s, body.rate_limit_burst or max(1, round(2 * body.rate_limit_per_s)))


def _shown(key: ApiKey) -> KeyOut:
    may = SCOPES_OF[key.role] if key.scopes is None else key.scopes
    return KeyOut(
        key_id=key.key_id,
        name=key.name,
        prefix=key.prefix,
        role=key.role,
        scopes=[scope for scope in SCOPES if scope in may],
        created_at=key.created_at,
        expires_at=key.expires_at,
        revoked_at=key.revoked_at,
        last_used_at=key.last_used_at,
        successor_id=key.successor_id,
        rate_limit_per_s=key.rate_per_s,
        rate_limit_burst=key.burst,
    )

"""Users: what there is, new ones, their roles and passwords, their end; for admins. And everybody's own password."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from starlette.concurrency import run_in_threadpool

from api.deps import CHANGES, Admin, Anybody, IdempotencyKey, PartsOf
from api.errors import DOCUMENTED
from trajops.clients import Client
from trajops.contracts.users import OwnPasswordIn, PasswordIn, RoleIn, UserChangeIn, UserChangeOut, UserIn, UsersOut
from trajops.errors import Forbidden, Unauthenticated
from trajops.services.people import shown

router = APIRouter(prefix="/v1", tags=["users"], responses=CHANGES)


async def _person(client: Anybody) -> Client:
    """Somebody who has a password here."""
    if client.key_hash is not None or client.is_external:
        kept = "an API key has no password" if client.key_hash is not None else "your password is kept by whoever issued your token"
        raise Forbidden(f"{kept}; sign in with a name and a password to change that one")
    return client


Person = Annotated[Client, Depends(_person)]


@router.get("/users", summary="Users")
def users(parts: PartsOf, _client: Admin) -> UsersOut:
    """All users by name, also disabled ones."""
    return UsersOut(users=[shown(user) for user in parts.identity.users()])


@router.post("/users", summary="Add a user")
def create_user(body: UserIn, parts: PartsOf, client: Admin) -> UserChangeOut:
    """Add somebody who may sign in. A name is taken once, also by somebody who was disabled."""
    return parts.identity.create_user(
        body.username, body.password.get_secret_value(), body.role, actor=client.client_id, reason=body.reason
    )


@router.post("/users/{username}/role", summary="Change a role")
def set_role(username: str, body: RoleIn, parts: PartsOf, client: Admin, key: IdempotencyKey = None) -> UserChangeOut:
    """Give somebody another role: at once in the process that answers, within a minute in the others.

    The last admin who may sign in stays an admin.
    """
    changed = parts.identity.set_role(username, body.role, actor=client.client_id, reason=body.reason, idempotency_key=key)
    parts.gate.forget_client(username)
    return changed


@router.post("/users/{username}/password", summary="Set a password")
def set_password(username: str, body: PasswordIn, parts: PartsOf, client: Admin) -> UserChangeOut:
    """Give somebody a new password. Who is signed in already stays so until the token ends; disable the user to end that."""
    return parts.identity.set_password(username, body.password.get_secret_value(), actor=client.client_id, reason=body.reason)


@router.post("/users/{username}/disable", summary="Disable a user")
def disable_user(username: str, body: UserChangeIn, parts: PartsOf, client: Admin, key: IdempotencyKey = None) -> UserChangeOut:
    """Let somebody in no more: at once in the process that answers, within a minute in the others.

    Nobody disables themselves, nor the last admin who may sign in.
    """
    changed = parts.identity.disable_user(username, actor=client.client_id, reason=body.reason, idempotency_key=key)
    parts.gate.forget_client(username)
    return changed


@router.post("/users/{username}/enable", summary="Enable a user")
def enable_user(username: str, body: UserChangeIn, parts: PartsOf, client: Admin, key: IdempotencyKey = None) -> UserChangeOut:
    """Let somebody in again, with the role and the password that they had."""
    return parts.identity.enable_user(username, actor=client.client_id, reason=body.reason, idempotency_key=key)


@router.post("/me/password", summary="Change the own password", responses={429: DOCUMENTED[429]})
async def change_own_password(body: OwnPasswordIn, request: Request, parts: PartsOf, client: Person) -> UserChangeOut:
    """Change one's own password. A wrong old one is refused (`forbidden`) and counts as a failed sign-in."""
    address = "unknown" if request.client is None else request.client.host
    old, new = body.old.get_secret_value(), body.new.get_secret_value()
    await run_in_threadpool(parts.identity.confirm, client)
    try:
        return await parts.sign_ins.check(address, client.client_id, lambda: parts.identity.change_own_password(client.client_id, old, new))
    except Unauthenticated as error:
        raise Forbidden(error.message) from error  # The token is good; 401 would end the session.

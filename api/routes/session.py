"""Sign-in, and who is signed in."""

from fastapi import APIRouter, Request

from api.deps import READS, Anybody, PartsOf
from api.errors import DOCUMENTED
from trajops.clients import SCOPES
from trajops.contracts.session import Me, SignIn, TokenOut

router = APIRouter(prefix="/v1", tags=["session"], responses={status: READS[status] for status in (401, 422, 503)})


@router.post("/token", summary="Sign in", responses={429: DOCUMENTED[429]})
async def sign_in(body: SignIn, request: Request, parts: PartsOf) -> TokenOut:
    """Exchange name and password for a bearer token. Who fails too often is refused for a while, before anything is checked."""
    address = "unknown" if request.client is None else request.client.host
    return await parts.sign_ins.check(
        address, body.username, lambda: parts.identity.sign_in(body.username, body.password.get_secret_value())
    )


@router.get("/me", summary="Who am I?")
async def me(parts: PartsOf, client: Anybody) -> Me:
    """Who the credential belongs to, in which role, and what it may do."""
    scopes = [scope for scope in SCOPES if scope in client.may]
    return Me(username=client.client_id, role=client.role, scopes=scopes, environment=parts.settings.environment)

"""Sign-in, and who is signed in."""

from fastapi import APIRouter

from api.deps import READS, PartsOf, Reader
from trajops.contracts.session import Me, SignIn, TokenOut

router = APIRouter(prefix="/v1", tags=["session"], responses=READS)


@router.post("/token", summary="Sign in")
def sign_in(body: SignIn, parts: PartsOf) -> TokenOut:
    """Exchange name and password for a bearer token."""
    return parts.identity.sign_in(body.username, body.password.get_secret_value())


@router.get("/me", summary="Who am I?")
async def me(parts: PartsOf, client: Reader) -> Me:
    """Who the credential belongs to, and in which role."""
    return Me(username=client.client_id, role=client.role, environment=parts.settings.environment)

"""The product in one glance."""

from fastapi import APIRouter

from api.deps import READS, PartsOf, Reader
from api.status import read_status
from trajops.contracts.status import StatusOut

router = APIRouter(prefix="/v1", tags=["status"], responses=READS)


@router.get("/status", summary="Status")
def status(parts: PartsOf, _client: Reader) -> StatusOut:
    """What an operator sees first: a verdict, each part's state, traffic, accuracy, changes and jobs."""
    return parts.cached.get("status", lambda: read_status(parts))

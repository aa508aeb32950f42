"""How available the API was to a client, against what is promised."""

from typing import Annotated

from fastapi import APIRouter, Query

from api.deps import READS, PartsOf, Reader
from trajops.clock import now
from trajops.contracts.availability import AvailabilityOut
from trajops.services.availability import read_availability

router = APIRouter(prefix="/v1/availability", tags=["availability"])


@router.get("", summary="Availability and its error budget", responses=READS)
def availability(parts: PartsOf, _client: Reader, hours: Annotated[int, Query(ge=1, le=720)] = 24) -> AvailabilityOut:
    """The objective, what is left of its error budget, how fast it burns, and the last `hours` as a series.

    Measured by a probe that asks `/predict` every few seconds. Minutes in which nobody probed are unknown: neither good nor bad.
    """

    def read() -> AvailabilityOut:
        with parts.unit_of_work(read_only=True) as uow:
            return read_availability(uow, parts.objectives.availability, now(parts.clock), hours)

    return parts.cached.get(("availability", hours), read)

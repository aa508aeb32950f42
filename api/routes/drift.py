"""Drift checks and their full reports."""

from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import FileResponse

from api.deps import READS, PartsOf, Reader
from trajops.contracts.drift import DriftOut
from trajops.errors import NotFound

router = APIRouter(prefix="/v1/drift", tags=["drift"], responses=READS)


@router.get("", summary="Drift")
def drift(parts: PartsOf, _client: Reader) -> DriftOut:
    """The newest check in full, the verdicts before it, and which check the newest full report belongs to."""

    def read() -> DriftOut:
        with parts.unit_of_work(read_only=True) as uow:
            checks = uow.drift_checks
            return DriftOut(latest=checks.latest(), history=checks.history(), last_report=checks.last_report())

    return parts.cached.get("drift", read)


@router.get("/{check_id}/report", summary="Full report", response_class=FileResponse, responses={200: {"content": {"text/html": {}}}})
def drift_report(check_id: str, parts: PartsOf, _client: Reader) -> FileResponse:
    """The full report of one check, as an HTML document."""
    with parts.unit_of_work(read_only=True) as uow:
        path = Path(uow.drift_checks.report_path(check_id))
    if not path.is_file():
        raise NotFound(f"the report of check {check_id} is not on this machine's disk any more; its columns are still in /v1/drift")
    # The report brings scripts of its own; they may run, but not act as this site.
    return FileResponse(path, media_type="text/html", headers={"Content-Security-Policy": "sandbox allow-scripts"})

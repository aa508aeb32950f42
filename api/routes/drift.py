"""Drift checks and their full reports, and what operators choose for them."""

from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import FileResponse

from api.deps import CHANGES, READS, Operator, PartsOf, Reader
from trajops.clock import SystemClock, now
from trajops.contracts.drift import DriftOut, DriftSettings, MuteIn, ReferenceIn
from trajops.contracts.wire import Time
from trajops.errors import NotFound
from trajops.services import drift_settings as services

router = APIRouter(prefix="/v1/drift", tags=["drift"], responses=READS)


@router.get("", summary="Drift")
def drift(
    parts: PartsOf,
    _client: Reader,
    scene: Annotated[str | None, Query(max_length=256, description="As this scene saw it.")] = None,
    since: Annotated[
        Time | None, Query(description="Verdicts since then, the worst of each part of the time. Left out: the newest.")
    ] = None,
) -> DriftOut:
    """The newest check in full, the verdicts before it, and which check the newest full report belongs to.

    A check judges all traffic and every scene with enough agents. With `scene`, verdicts, columns and findings are those of that scene; a
    check that did not judge it says `insufficient_data`.
    """
    return parts.cached.get(("drift", scene, since), lambda: services.overview(parts.unit_of_work, scene=scene, since=since))


@router.post("/reference", summary="Choose the reference", responses=CHANGES)
def choose_reference(body: ReferenceIn, parts: PartsOf, client: Operator) -> DriftSettings:
    """Choose what traffic is compared with, from the next check on: recorded history, a range of traffic, or the champion's training data.

    Choosing the same again changes nothing but the audit.
    """
    return services.set_reference(
        parts.unit_of_work,
        body.reference,
        model_name=parts.settings.model_name,
        actor=client.client_id,
        reason=body.reason,
        at=now(SystemClock()),
    )


@router.post("/mutes/{column}", summary="Mute a column", responses=CHANGES)
def mute_column(column: str, body: MuteIn, parts: PartsOf, client: Operator) -> DriftSettings:
    """Let a column raise no alarm until a time; with `until` null it speaks again. It is still scored and shown."""
    return services.mute(parts.unit_of_work, column, body.until, actor=client.client_id, reason=body.reason, at=now(SystemClock()))


@router.get("/{check_id}/report", summary="Full report", response_class=FileResponse, responses={200: {"content": {"text/html": {}}}})
def drift_report(check_id: str, parts: PartsOf, _client: Reader) -> FileResponse:
    """The full report of one check, as an HTML document."""
    with parts.unit_of_work(read_only=True) as uow:
        path = Path(uow.drift_checks.report_path(check_id))
    if not path.is_file():
        raise NotFound(f"the report of check {check_id} is not on this machine's disk any more; its columns are still in /v1/drift")
    # The report brings scripts of its own; they may run, but not act as this site.
    return FileResponse(path, media_type="text/html", headers={"Content-Security-Policy": "sandbox allow-scripts"})

"""Training runs in MLflow: what there is to compare, and the way from a run to a version."""

from typing import Annotated

from fastapi import APIRouter, Path, Query

from api.deps import CHANGES, READS, IdempotencyKey, Operator, PartsOf, Reader
from api.errors import DOCUMENTED
from trajops.contracts.runs import RegisterRunIn, RegistrationOut, RunDetailOut, RunsOut
from trajops.training_runs import RunQuery, RunStatus

router = APIRouter(prefix="/v1/runs", tags=["training runs"])

RunId = Annotated[str, Path(pattern=r"^[A-Za-z0-9_-]{1,64}$", description="Of the run in MLflow.")]
Text = Annotated[str | None, Query(max_length=256, pattern=r"^[^\x00-\x1f\x7f]+$")]


@router.get("", summary="Training runs", responses=READS)
async def runs(
    parts: PartsOf,
    _client: Reader,
    family: Text = None,
    dataset: Text = None,
    status: RunStatus | None = None,
    text: Annotated[
        str | None,
        Query(
            max_length=256,
            pattern=r"^[^\x00-\x1f\x7f]+$",
            description="A part of the name, the start of the commit (7 or more hexadecimal digits), or the whole id.",
        ),
    ] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    page_token: Annotated[str | None, Query(max_length=1024, description="`next_page_token` of the page before.")] = None,
) -> RunsOut:
    """Training runs in MLflow, newest first, with parameters, validation figures, and the versions that came of them.

    An answer may be a few seconds old. Where MLflow does not answer, this is refused (`registry_unavailable`), and nothing else is.
    """
    query = RunQuery(family, dataset, status, text, limit, page_token)
    return await parts.registry_reads.get(query, lambda: parts.runs.newest(query))


@router.get("/{run_id}", summary="One training run", responses={**READS, 404: DOCUMENTED[404]})
async def run(run_id: RunId, parts: PartsOf, _client: Reader) -> RunDetailOut:
    """One training run with its error by step of the horizon, its calibration, and its figures by scene and speed."""
    return await parts.registry_reads.get(run_id, lambda: parts.runs.one(run_id))


@router.post("/{run_id}/register", summary="Register a run", responses=CHANGES)
async def register_run(run_id: RunId, body: RegisterRunIn, parts: PartsOf, client: Operator, key: IdempotencyKey = None) -> RegistrationOut:
    """Register the run's model as the next version of our model; the workers then measure, validate and list it.

    A run that is not over, has failed, has no model, or has a version already is refused with the reason (`conflict`).
    """

    def register() -> RegistrationOut:
        return parts.runs.register(run_id, actor=client.client_id, reason=body.reason, idempotency_key=key)

    done = await parts.registry_reads.apart(register)
    parts.registry_reads.clear()
    parts.cached.clear()
    return done

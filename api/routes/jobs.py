"""What the workers do in the background."""

import asyncio

from fastapi import APIRouter
from starlette.concurrency import run_in_threadpool

from api.deps import CHANGES, READS, IdempotencyKey, Operator, PartsOf, Reader
from trajops.clock import now
from trajops.contracts.jobs import JobRunOut, JobsOut
from trajops.errors import Unavailable

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

TAKEN_WITHIN_S = 10.0
LOOK_EVERY_S = 0.1


@router.get("", summary="Jobs", responses=READS)
def jobs(parts: PartsOf, _client: Reader) -> JobsOut:
    """All scheduled jobs with their last run."""

    def read() -> JobsOut:
        with parts.unit_of_work(read_only=True) as uow:
            return JobsOut(jobs=uow.jobs.overview(now(parts.clock)))

    return parts.cached.get("jobs", read)


@router.post("/{job}/run", summary="Run a job now", responses=CHANGES)
async def run_job(job: str, parts: PartsOf, client: Operator, _key: IdempotencyKey = None) -> JobRunOut:
    """Ask the workers to run a job outside its schedule; answered once a run has begun. Asking twice runs it once."""

    def newest() -> JobRunOut | None:
        with parts.unit_of_work(read_only=True) as uow:
            return next(iter(uow.jobs.runs(job, 1)), None)

    def ask() -> None:
        at = now(parts.clock)
        with parts.unit_of_work() as uow:
            uow.jobs.request(job, at)
            uow.audit.append(
                at=at, actor=client.client_id, action="job.run", subject=job, reason="asked for by hand", before={}, after={"job": job}
            )

    before = await run_in_threadpool(newest)
    await run_in_threadpool(ask)
    for _ in range(int(TAKEN_WITHIN_S / LOOK_EVERY_S)):
        run = await run_in_threadpool(newest)
        if run is not None and (before is None or run.run_id != before.run_id):
            return run
        await asyncio.sleep(LOOK_EVERY_S)
    raise Unavailable(
        f"no worker has begun {job} within {TAKEN_WITHIN_S:g} s; it stays asked for, see whether the workers run", retry_after_s=10
    )

"""What the workers do in the background."""

import asyncio
from itertools import takewhile

from fastapi import APIRouter
from starlette.concurrency import run_in_threadpool

from api.deps import CHANGES, READS, IdempotencyKey, Operator, PartsOf, Reader
from api.wiring import Parts
from trajops.clients import Client
from trajops.clock import now
from trajops.contracts.jobs import JobRunOut, JobsOut
from trajops.errors import Conflict, Unavailable
from trajops.records import Remembered

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

TAKEN_WITHIN_S = 10.0
LOOK_EVERY_S = 0.1
# A request that comes again under its key is answered with the run that the first one began, if it is among so many.
RUNS_BACK = 100


@router.get("", summary="Jobs", responses=READS)
def jobs(parts: PartsOf, _client: Reader) -> JobsOut:
    """All scheduled jobs with their last run."""

    def read() -> JobsOut:
        with parts.unit_of_work(read_only=True) as uow:
            return JobsOut(jobs=uow.jobs.overview(now(parts.clock)))

    return parts.cached.get("jobs", read)


@router.post("/{job}/run", summary="Run a job now", responses=CHANGES)
async def run_job(job: str, parts: PartsOf, client: Operator, key: IdempotencyKey = None) -> JobRunOut:
    """Ask the workers to run a job outside its schedule; answered once a run has begun. Asking twice runs it once."""
    before = await run_in_threadpool(_ask, parts, client, job, key)
    for _ in range(int(TAKEN_WITHIN_S / LOOK_EVERY_S)):
        run = await run_in_threadpool(_first_after, parts, job, before)
        if run is not None:
            return run
        await asyncio.sleep(LOOK_EVERY_S)
    raise Unavailable(
        f"no worker has begun {job} within {TAKEN_WITHIN_S:g} s; it stays asked for, see whether the workers run", retry_after_s=10
    )


def _ask(parts: Parts, client: Client, job: str, key: str | None) -> str | None:
    """Ask for a run, but once under one idempotency key; the newest run before that."""
    at = now(parts.clock)
    with parts.unit_of_work() as uow:
        known = None if key is None else uow.idempotency.find(client.client_id, key)
        if known is not None:
            if known.fingerprint != f"job.run {job}":
                raise Conflict(f"the idempotency key {key!r} was used for a different request; send a fresh key")
            before: str | None = known.response["before"]
            return before
        before = next((run.run_id for run in uow.jobs.runs(job, 1)), None)
        uow.jobs.request(job, at)
        uow.audit.append(
            at=at, actor=client.client_id, action="job.run", subject=job, reason="asked for by hand", before={}, after={"job": job}
        )
        if key is not None:
            uow.idempotency.remember(client.client_id, key, Remembered(f"job.run {job}", {"before": before}), at)
    return before


def _first_after(parts: Parts, job: str, before: str | None) -> JobRunOut | None:
    """The first run after another one, as far as it is on record."""
    with parts.unit_of_work(read_only=True) as uow:
        newer = list(takewhile(lambda run: run.run_id != before, uow.jobs.runs(job, RUNS_BACK)))
    return newer[-1] if newer else None

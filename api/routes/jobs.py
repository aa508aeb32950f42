"""What the workers do in the background."""

import asyncio
from datetime import datetime
from itertools import takewhile
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from starlette.concurrency import run_in_threadpool

from api.deps import CHANGES, READS, IdempotencyKey, Operator, PartsOf, Reader
from api.wiring import Parts
from trajops.clients import Client
from trajops.clock import now
from trajops.contracts.jobs import JobOut, JobRunOut, JobRunsOut, JobsOut, PauseIn
from trajops.errors import Conflict, Unavailable
from trajops.jobs import runs_out
from trajops.records import Remembered
from trajops.stores import UnitOfWork

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


@router.get("/{job}/runs", summary="Runs of a job", responses=READS | {404: CHANGES[404]})
def job_runs(job: str, parts: PartsOf, _client: Reader, limit: Annotated[int, Query(ge=1, le=500)] = 50) -> JobRunsOut:
    """The newest runs of one job with their errors, and what they add up to: share of successes, durations, who runs it now."""

    def read() -> JobRunsOut:
        at = now(parts.clock)
        with parts.unit_of_work(read_only=True) as uow:
            uow.jobs.schedule(job)
            overview = next(one for one in uow.jobs.overview(at) if one.job == job)
            return runs_out(overview, uow.jobs.runs(job, limit), uow.leases.holder(job, at))

    return parts.cached.get(("runs", job, limit), read)


@router.post("/{job}/pause", summary="Pause a job", responses=CHANGES)
def pause_job(job: str, body: PauseIn, parts: PartsOf, client: Operator, key: IdempotencyKey = None) -> JobOut:
    """Let a job run by hand only, until it is resumed; a run in progress goes on. Pausing a paused job writes the new reason."""
    return _change(parts, client, key, job, "pause", body.reason)


@router.post("/{job}/resume", summary="Resume a job", responses=CHANGES)
def resume_job(job: str, body: PauseIn, parts: PartsOf, client: Operator, key: IdempotencyKey = None) -> JobOut:
    """Let a paused job run by its schedule again; what it missed is made up for as after a downtime."""
    return _change(parts, client, key, job, "resume", body.reason)


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


def _change(parts: Parts, client: Client, key: str | None, job: str, action: Literal["pause", "resume"], reason: str) -> JobOut:
    """Pause or resume, but once under one idempotency key; the job as it is then."""
    at = now(parts.clock)
    with parts.unit_of_work() as uow:
        if _is_new(uow, client, key, f"job.{action} {job}", {}, at):
            before = {"is_paused": uow.jobs.schedule(job).paused_at is not None}
            if action == "pause":
                uow.jobs.pause(job, at=at, by=client.client_id, reason=reason)
            else:
                uow.jobs.resume(job)
            after = {"is_paused": action == "pause"}
            uow.audit.append(at=at, actor=client.client_id, action=f"job.{action}", subject=job, reason=reason, before=before, after=after)
        changed = next(one for one in uow.jobs.overview(at) if one.job == job)
    parts.cached.clear()
    return changed


def _is_new(uow: UnitOfWork, client: Client, key: str | None, asked: str, answer: dict[str, Any], at: datetime) -> bool:
    """Whether a request has not been done under its idempotency key; from now on it has.

    Raises:
        Conflict: if the key was used for something else.
    """
    known = None if key is None else uow.idempotency.find(client.client_id, key)
    if known is not None:
        if known.fingerprint != asked:
            raise Conflict(f"the idempotency key {key!r} was used for a different request; send a fresh key")
        return False
    if key is not None:
        uow.idempotency.remember(client.client_id, key, Remembered(asked, answer), at)
    return True


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

"""Background jobs of the stub API."""

from datetime import UTC, datetime, timedelta
from typing import Any

from console_stub.refusal import Refused
from trajops.contracts.jobs import JobOut, JobRunOut, JobRunsOut, JobsOut


class StubJobs:
    """Jobs of which one is late; none for a product that has just been installed."""

    def __init__(self, *, is_empty: bool) -> None:
        self.is_empty = is_empty
        self.paused: set[str] = set()

    def jobs(self, **_: Any) -> JobsOut:
        if self.is_empty:
            return JobsOut(jobs=[])
        now = datetime.now(UTC)

        def job(name, description, every, state, result, error=None, late=False):
            run = JobRunOut(
                run_id=f"{name}-1",
                job=name,
                state=state,
                holder="workers-1",
                started_at=now - timedelta(seconds=every / 3),
                finished_at=now,
                duration_s=0.31,
                result=result,
                error=error,
            )
            out = JobOut(job=name, description=description, every_s=every, last_run=run, last_success_at=now, is_late=late)
            if name not in self.paused:
                return out.model_copy(update={"next_due_at": now + timedelta(seconds=2 * every / 3)})
            return out.model_copy(update={"paused_at": now, "paused_by": "ada", "pause_reason": "the disk is nearly full"})

        return JobsOut(
            jobs=[
                job("compact_lake", "Spool segments to Parquet", 10, "succeeded", {"segments": 3, "rows": 4120}),
                job("join_truth", "Scores predictions", 5, "succeeded", {"scored": 811, "completed": 790}),
                job("check_drift", "Compares windows", 300, "failed", {}, "the reference window is empty; run the backfill first"),
                job("recalibrate", "Stretches intervals", 3600, "succeeded", {"sentence": "v3: too little data; 12 agents to fit on."}),
                job("reconcile_aliases", "Repairs MLflow aliases", 60, "succeeded", {"repaired": 0}, late=True),
            ]
        )

    def job_runs(self, name: str) -> JobRunsOut:
        found = next((job for job in self.jobs().jobs if job.job == name), None)
        if found is None:
            raise Refused(404, "not_found", f"there is no job {name!r}")
        assert found.last_run is not None
        runs = [
            found.last_run.model_copy(
                update={"run_id": f"{name}-{i}", "started_at": found.last_run.started_at - timedelta(seconds=i * found.every_s)}
            )
            for i in range(12)
        ]
        share = 0.0 if found.last_run.state == "failed" else 1.0
        return JobRunsOut(job=found, holder=None, runs=runs, success_share=share, duration_p50_s=0.31, duration_p95_s=0.31)

    def change(self, name: str, action: str) -> JobOut | JobRunOut:
        found = next(job for job in self.jobs().jobs if job.job == name)
        if action == "run":
            return found.last_run
        self.paused = (self.paused - {name}) | ({name} if action == "pause" else set())
        return next(job for job in self.jobs().jobs if job.job == name)

"""What each job does, of the parts of a worker; what a job needs is imported when it first runs."""

from collections.abc import Callable, Mapping
from typing import Any

from trajops.clock import MOST_APART, now
from workers.runner import Job, JobRunner
from workers.schedules import JobName
from workers.wiring import Parts


def runner_of(parts: Parts) -> JobRunner:
    """Runs the jobs that the schedules name."""
    work = work_of(parts)
    jobs: dict[str, Job] = {name: Job(name, schedule, work[name]) for name, schedule in parts.schedules.jobs.items()}
    return JobRunner(jobs, parts.database.unit_of_work, parts.holder, parts.clock, parts.metrics)


def work_of(parts: Parts) -> Mapping[JobName, Callable[[], Mapping[str, Any]]]:
    """What each job does; it returns what the run is to be remembered by."""
    return _Work(parts).by_job


class _Work:
    """The jobs over some parts.

    Args:
        parts: of one worker process.
    """

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    @property
    def by_job(self) -> Mapping[JobName, Callable[[], Mapping[str, Any]]]:
        """What to call for each job; it returns what the run is to be remembered by."""
        return {
            "compact_lake": self._compact_lake,
            "roll_up": self._roll_up,
            "join_truth": self._join_truth,
            "check_drift": self._check_drift,
            "answer_alerts": self._answer_alerts,
            "retrain": self._retrain,
            "check_performance": self._check_performance,
            "recalibrate": self._recalibrate,
            "judge_experiments": self._judge_experiments,
            "advance_rollouts": self._advance_rollouts,
            "shadow": self._shadow,
            "reconcile_aliases": self._reconcile_aliases,
            "evaluate_alerts": self._evaluate_alerts,
            "deliver_alerts": self._deliver_alerts,
            "validate_versions": self._validate_versions,
            "run_tasks": self._run_tasks,
            "prune": self._prune,
            "probe": self._probe,
        }

    def _compact_lake(self) -> Mapping[str, Any]:
        from workers.jobs.compact import compact_lake  # noqa: PLC0415

        return compact_lake(self._parts.compactor)

    def _roll_up(self) -> Mapping[str, Any]:
        from data.lake.rollups import Rollups  # noqa: PLC0415
        from workers.jobs.roll_up import roll_up  # noqa: PLC0415

        return roll_up(Rollups(self._parts.settings.lake_dir, self._parts.database.engine, clock=self._parts.clock))

    def _join_truth(self) -> Mapping[str, Any]:
        from workers.jobs.join_truth import join_truth  # noqa: PLC0415

        with self._parts.unit_of_work(read_only=True) as work:
            # One that began before the clock was put back says nothing of how far the present one got.
            last = work.jobs.last_success("join_truth", until=now(self._parts.clock) + MOST_APART)
        try:
            return join_truth(self._parts.truth_join, self._parts.missed_truth, last, self._parts.truth_rules.wait_ns, self._parts.clock)
        finally:
            self._parts.metrics.truth(self._parts.truth_join.take_ends() + self._parts.missed_truth.take_ends())

    def _check_drift(self) -> Mapping[str, Any]:
        from workers.jobs.check_drift import check_drift  # noqa: PLC0415

        return check_drift(self._parts.drift_monitor, self._parts.metrics.drift)

    def _check_performance(self) -> Mapping[str, Any]:
        from workers.jobs.check_performance import check_performance  # noqa: PLC0415

        return check_performance(self._parts.performance, self._parts.clock, self._parts.metrics.performance)

    def _recalibrate(self) -> Mapping[str, Any]:
        from workers.jobs.recalibrate import recalibrate  # noqa: PLC0415

        return recalibrate(self._parts.recalibrator)

    def _judge_experiments(self) -> Mapping[str, Any]:
        from workers.jobs.judge_experiments import judge_experiments  # noqa: PLC0415

        return judge_experiments(self._parts.judge)

    def _advance_rollouts(self) -> Mapping[str, Any]:
        from workers.jobs.advance_rollouts import advance_rollouts  # noqa: PLC0415

        return advance_rollouts(self._parts.rollouts)

    def _shadow(self) -> Mapping[str, Any]:
        done = self._parts.shadow.run()
        self._parts.metrics.shadows(done)
        return done

    def _answer_alerts(self) -> Mapping[str, Any]:
        from workers.jobs.answer_alerts import answer_alerts  # noqa: PLC0415

        return answer_alerts(self._parts.answers)

    def _retrain(self) -> Mapping[str, Any]:
        from workers.jobs.answer_alerts import retrain  # noqa: PLC0415

        return retrain(self._parts.answers)

    def _reconcile_aliases(self) -> Mapping[str, Any]:
        return self._parts.reconciler.run()

    def _validate_versions(self) -> Mapping[str, Any]:
        from workers.jobs.validate_versions import validate_versions  # noqa: PLC0415

        parts = self._parts
        return validate_versions(parts.settings.model_name, parts.unit_of_work, parts.validate)

    def _evaluate_alerts(self) -> Mapping[str, Any]:
        from workers.jobs.evaluate_alerts import evaluate_alerts  # noqa: PLC0415

        parts = self._parts
        done = evaluate_alerts(parts.signal_reader, parts.alert_rounds, parts.unit_of_work, parts.clock, parts.metrics.alerts)
        return {**done, "unset": parts.senders.unset()}

    def _deliver_alerts(self) -> Mapping[str, Any]:
        return self._parts.deliveries.run()

    def _run_tasks(self) -> Mapping[str, Any]:
        from workers.jobs.run_tasks import run_tasks  # noqa: PLC0415

        return run_tasks(self._parts.tasks)

    def _prune(self) -> Mapping[str, Any]:
        from workers.jobs.prune import prune  # noqa: PLC0415

        parts = self._parts
        uploads_s = 3600 * parts.task_rules.uploads.keep_hours
        return prune(parts.database, parts.schedules.retention, parts.clock, parts.task_files, uploads_s)

    def _probe(self) -> Mapping[str, Any]:
        from workers.jobs.probe import probe  # noqa: PLC0415

        return probe(self._parts.prober, self._parts.unit_of_work, self._parts.metrics.probed, self._parts.clock)

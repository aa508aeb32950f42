"""The workers' real parts, made from the settings, each when a job first needs it: a worker is up before DuckDB is imported."""

import os
import socket
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING
from uuid import uuid4

from data.sql.engine import Database
from trajops import configs
from trajops.clock import SystemClock, now
from trajops.deployments.model_ref import ModelRef
from trajops.errors import EnvironmentProblem
from trajops.ports import Clock
from trajops.settings import Settings
from workers.evidently_detector import EvidentlyDetector
from workers.lease import fenced
from workers.metrics import WorkerMetrics
from workers.rules import Rules
from workers.schedules import Schedules

if TYPE_CHECKING:
    from data.lake.compactor import Compactor
    from data.lake.drift_rows import AsTrained
    from data.lake.missed_truth import MissedTruth
    from data.lake.queries import Lake
    from data.lake.scoring import TruthRules
    from data.lake.spool import Spool
    from data.lake.truth import TruthJoin
    from data.models.registry import MlflowRegistry
    from data.tasks.files import TaskFiles
    from trajops.contracts.validations import Cause, ValidationOut
    from trajops.ports import DriftSource
    from trajops.records import ModelVersion
    from trajops.services.alert_rounds import AlertRounds
    from trajops.services.answers import Answers
    from trajops.services.calibrations import Factors, Recalibrator
    from trajops.services.drift import DriftMonitor
    from trajops.services.drift_reference import DriftReference
    from trajops.services.experiments import Experiments
    from trajops.services.judging import Judge
    from trajops.services.performance import Performance
    from trajops.services.rollouts import Rollouts
    from trajops.services.trust import Trust
    from trajops.stores import UnitOfWorkFactory
    from trajops.tasks.rules import TaskRules
    from trajops.trajectories import Scene
    from trajops.windows import Windows
    from workers.deliveries import Deliveries
    from workers.jobs.probe import Prober
    from workers.jobs.reconcile_aliases import AliasReconciler
    from workers.jobs.shadow import Shadow
    from workers.notify import Senders
    from workers.signals import SignalReader
    from workers.tasks.supervise import Supervisor
    from workers.training.validate import HeldOut, Validator

# The recorded tracks that come with the product: what versions of unknown origin are measured on.
EMBEDDED = "skillcorner_2417/first_half"


class Parts:
    """Everything that one worker process consists of. Making it reads the configuration files and touches nothing else.

    Args:
        settings: what can be set from outside.

    Raises:
        InvalidInput: if a configuration file has a mistake; the sentence names file and line.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.clock: Clock = SystemClock()
        self.metrics = WorkerMetrics()
        self.holder = f"{socket.gethostname()}:{os.getpid()}:{uuid4().hex[:8]}"
        self.schedules = configs.load(settings.configs_dir / "schedules.yaml", Schedules)
        self.rules = Rules(settings.configs_dir)
        self.detector = EvidentlyDetector()

    @cached_property
    def database(self) -> Database:
        """The control state."""
        return Database(self.settings.sql_url)

    @cached_property
    def unit_of_work(self) -> "UnitOfWorkFactory":
        """Opens the transactions of jobs, which end in vain once the job's lease was lost."""
        return fenced(self.database.unit_of_work)

    @cached_property
    def spool(self) -> "Spool":
        """Where outcomes are written, and what shadows predict."""
        from data.lake.spool import Spool  # noqa: PLC0415

        return Spool(self.settings.spool_dir, rotate_s=self.settings.spool_rotate_s, sync_s=self.settings.spool_sync_s, clock=self.clock)

    @cached_property
    def lake(self) -> "Lake":
        """Where predictions and outcomes are read."""
        from data.lake.queries import Lake  # noqa: PLC0415

        return Lake(self.settings.lake_dir, self.settings.spool_dir, self.database.engine)

    @cached_property
    def compactor(self) -> "Compactor":
        """Moves rows from the spool to the lake."""
        from data.lake.compactor import Compactor  # noqa: PLC0415

        return Compactor(
            self.settings.lake_dir,
            self.settings.spool_dir,
            self.database.engine,
            clock=self.clock,
            keep_days=self.schedules.retention.lake_days,
        )

    @cached_property
    def truth_rules(self) -> "TruthRules":
        """How long truth is waited for, and how it is scored."""
        from data.lake.scoring import TruthRules  # noqa: PLC0415

        settings = self.settings
        return TruthRules(settings.truth_wait_s, settings.truth_gap_s, settings.miss_threshold_m, settings.coverage_level)

    @cached_property
    def truth_join(self) -> "TruthJoin":
        """Scores predictions."""
        from data.lake.truth import TruthJoin  # noqa: PLC0415

        return TruthJoin(self.lake, self.spool, self.truth_rules, self.clock)

    @cached_property
    def missed_truth(self) -> "MissedTruth":
        """Scores predictions that nobody followed in time."""
        from data.lake.bulk import BulkWriter  # noqa: PLC0415
        from data.lake.missed_truth import MissedTruth  # noqa: PLC0415

        files = BulkWriter(self.settings.lake_dir, self.database.engine, self.clock)
        return MissedTruth(self.lake, files, self.truth_rules, self.clock)

    @cached_property
    def drift_monitor(self) -> "DriftMonitor":
        """Compares traffic with the reference."""
        from trajops.services.drift import DriftMonitor  # noqa: PLC0415

        folder = self.settings.drift_dir.absolute()
        return DriftMonitor(
            self._drift_source, self.unit_of_work, self.rules.drift, folder, self.clock, self.detector, self._drift_reference
        )

    @cached_property
    def _drift_source(self) -> "DriftSource":
        from data.lake.drift_source import LakeDriftSource  # noqa: PLC0415

        return LakeDriftSource(self.lake, self._as_trained)

    @cached_property
    def _drift_reference(self) -> "DriftReference":
        from trajops.services.drift_reference import DriftReference  # noqa: PLC0415

        return DriftReference(self._drift_source, self.rules.drift)

    @cached_property
    def factors_of(self) -> "Factors":
        """Factors of the calibrations that predictions carry."""
        from trajops.services.calibrations import Factors  # noqa: PLC0415

        return Factors(self.unit_of_work)

    @cached_property
    def performance(self) -> "Performance":
        """Holds live figures against validation."""
        from data.lake.performance_source import LakePerformanceSource  # noqa: PLC0415
        from trajops.services.performance import Performance  # noqa: PLC0415

        return Performance(
            LakePerformanceSource(self.lake),
            self.unit_of_work,
            self.rules.performance,
            self.settings.model_name,
            self.settings.coverage_level,
        )

    @cached_property
    def recalibrator(self) -> "Recalibrator":
        """Puts intervals right."""
        from data.lake.performance_source import LakePerformanceSource  # noqa: PLC0415
        from trajops.services.calibrations import Recalibrator  # noqa: PLC0415

        return Recalibrator(
            LakePerformanceSource(self.lake),
            self.unit_of_work,
            self.rules.performance.recalibration,
            self.settings.coverage_level,
            self.clock,
            trust=self.trust,
        )

    @cached_property
    def trust(self) -> "Trust":
        """Which traffic may be learnt from."""
        from trajops.services.trust import Trust  # noqa: PLC0415

        is_checked = "check_drift" in self.schedules.jobs
        return Trust(self._drift_source, self._drift_reference, self.unit_of_work, is_checked=is_checked)

    @cached_property
    def experiments(self) -> "Experiments":
        """Changes what is compared."""
        from trajops.services.experiments import Experiments  # noqa: PLC0415

        return Experiments(self.unit_of_work, model_name=self.settings.model_name, clock=self.clock)

    @cached_property
    def judge(self) -> "Judge":
        """Judges experiments."""
        from data.lake.experiment_source import LakeExperiments  # noqa: PLC0415
        from trajops.services.judging import Judge  # noqa: PLC0415

        schedule = self.schedules.jobs.get("judge_experiments")
        every_s = {} if schedule is None else {"every_s": schedule.interval_s}
        return Judge(LakeExperiments(self.lake), self.unit_of_work, self.experiments, self.clock, **every_s)

    @cached_property
    def rollouts(self) -> "Rollouts":
        """Advances what is being rolled out."""
        from trajops.services.rollouts import Rollouts  # noqa: PLC0415

        return Rollouts(self.unit_of_work, lambda: self.rules.rollouts, model_name=self.settings.model_name, clock=self.clock)

    @cached_property
    def shadow(self) -> "Shadow":
        """Predicts beside answers."""
        from data.lake.shadow_source import LakeShadows  # noqa: PLC0415
        from data.lake.truth import SLACK_NS, look_back_ns  # noqa: PLC0415
        from data.models.loader import ModelLoader  # noqa: PLC0415
        from data.sql.route_source import SqlRouteSource  # noqa: PLC0415
        from trajops.forecasters.constant_velocity import ConstantVelocity  # noqa: PLC0415
        from trajops.services.shadows import Shadows  # noqa: PLC0415
        from workers.jobs.shadow import Bounds, Shadow  # noqa: PLC0415
        from workers.warm import WarmModels  # noqa: PLC0415

        settings = self.settings
        loader = ModelLoader(self.registry, settings.models_dir, allow_pickled=settings.allow_pickled_models, on_unsafe=self._audit_unsafe)
        return Shadow(
            self.unit_of_work,
            LakeShadows(self.lake),
            WarmModels(loader.load, SqlRouteSource(self.database)),
            Shadows(ConstantVelocity()),
            lambda events: self.spool.write("predictions", events),
            Bounds(settings.shadow_max_rows, look_back_ns(self.truth_rules), SLACK_NS),
            self.clock,
        )

    @cached_property
    def registry(self) -> "MlflowRegistry":
        """The model registry."""
        from data.models.registry import MlflowRegistry  # noqa: PLC0415

        return MlflowRegistry(self.settings.registry_url)

    @cached_property
    def answers(self) -> "Answers":
        """Does what the policy says about alerts."""
        from data.models.loader import ModelLoader  # noqa: PLC0415
        from trajops.services.answers import Answers  # noqa: PLC0415
        from trajops.services.deployments import Deployments  # noqa: PLC0415
        from workers.answering import AnswerSteps  # noqa: PLC0415
        from workers.training.candidates import FAMILIES  # noqa: PLC0415

        unit_of_work = self.unit_of_work
        steps = AnswerSteps(
            self.rules.policy,
            unit_of_work,
            Deployments(unit_of_work, model_name=self.settings.model_name, needs_validation=True, clock=self.clock),
            self.experiments,
            self.lake,
            ModelLoader(self.registry, self.settings.models_dir, allow_pickled=self.settings.allow_pickled_models).load,
            self._train,
            tuple(FAMILIES),
            self.clock,
            trust=self.trust,
        )
        return Answers(unit_of_work, self.rules.policy, steps.by_action, self.clock, recall=steps.recall)

    @cached_property
    def reconciler(self) -> "AliasReconciler":
        """Lets the registry's aliases follow the routes."""
        from workers.jobs.reconcile_aliases import AliasReconciler  # noqa: PLC0415

        return AliasReconciler(self.settings.model_name, self.registry, self.unit_of_work, self.clock, self._adopt)

    def validate(self, version: "ModelVersion", *, cause: "Cause", by: str) -> "tuple[ValidationOut, str]":
        """Run the battery over one version."""
        return self._validator(version, cause=cause, by=by)

    @cached_property
    def _validator(self) -> "Validator":
        from data.models.loader import ModelLoader  # noqa: PLC0415
        from workers.training.validate import Validator, held_out  # noqa: PLC0415

        settings = self.settings

        def windows() -> "HeldOut":
            return held_out(self._embedded, EMBEDDED)

        def unsafe(ref: ModelRef, reason: str) -> None:
            self._audit_unsafe(ref, reason, actor="worker:validate_versions")

        loader = ModelLoader(self.registry, settings.models_dir, allow_pickled=settings.allow_pickled_models, on_unsafe=unsafe)
        return Validator(settings, loader, self.registry.set_tags, self.unit_of_work, windows)

    @property
    def _embedded(self) -> "list[Scene]":
        from data.datasets import skillcorner  # noqa: PLC0415

        return [skillcorner.load()["first_half"]]

    @cached_property
    def task_rules(self) -> "TaskRules":
        """Bounds of tasks.

        Raises:
            InvalidInput: if `tasks.yaml` has a mistake; the sentence names file and line.
        """
        from trajops.tasks.rules import task_rules  # noqa: PLC0415

        return task_rules(self.settings.configs_dir)

    @cached_property
    def task_files(self) -> "TaskFiles":
        """Uploaded tracks, logs and results."""
        from data.tasks.files import TaskFiles  # noqa: PLC0415

        return TaskFiles(self.settings.tasks_dir)

    @cached_property
    def tasks(self) -> "Supervisor":
        """Runs what people ask for."""
        from trajops.services.tasks import TaskRuns  # noqa: PLC0415
        from workers.tasks.supervise import Supervisor  # noqa: PLC0415

        def alive() -> None:
            with self.unit_of_work() as work:
                work.jobs.note_progress("run_tasks", now(self.clock))

        runs = TaskRuns(self.unit_of_work, self.task_rules, self.holder, self.clock)
        return Supervisor(runs, self.task_files, self.task_rules, self.settings, self.metrics.task, alive)

    @cached_property
    def prober(self) -> "Prober":
        """Asks the API as a client would."""
        from workers.jobs.probe import Prober  # noqa: PLC0415

        url = self.settings.probe_url or self.settings.service_url
        return Prober(url, lambda: self.probe_key, self.rules.objectives.availability.probe)

    @cached_property
    def probe_key(self) -> str:
        """The key that the settings name, or one of our own, which the API knows from then on.

        Raises:
            EnvironmentProblem: if the file of our own cannot be read or written.
        """
        from data.identity.kept_secret import kept_secret  # noqa: PLC0415
        from trajops.services.program_keys import ensure_key  # noqa: PLC0415

        if self.settings.probe_key is not None:
            return self.settings.probe_key.get_secret_value()
        file = self.settings.var_dir / "probe_key"
        try:
            secret = kept_secret(file)
        except (OSError, UnicodeDecodeError) as error:
            raise EnvironmentProblem(
                f"the probe's key {file} cannot be read or written ({error}); give this user the right to, or set TRAJOPS_PROBE_KEY"
            ) from error
        reason = "the workers probe the API"
        return ensure_key(self.unit_of_work, secret, "probe", ("predict",), reason=reason, clock=self.clock)

    @cached_property
    def alert_rounds(self) -> "AlertRounds":
        """Looks at the alert rules."""
        from trajops.services.alert_rounds import AlertRounds  # noqa: PLC0415

        return AlertRounds(self.unit_of_work, self.rules.alerts, self.clock)

    @cached_property
    def signal_reader(self) -> "SignalReader":
        """Reads the figures that alert rules look at."""
        from workers.signals import SignalReader  # noqa: PLC0415

        found = (self._broken_files, self._quarantined)
        return SignalReader(self.unit_of_work, *found, lambda: self.rules.objectives, lambda: self.task_rules)

    @cached_property
    def deliveries(self) -> "Deliveries":
        """Sends what stands in the outbox."""
        from workers.deliveries import Deliveries  # noqa: PLC0415

        plan = self.rules.alerts.delivery
        return Deliveries(self.unit_of_work, self.senders.send, plan, self.clock, self.holder, self.metrics.notification)

    @cached_property
    def senders(self) -> "Senders":
        """Reaches the receivers."""
        from workers.notify import Senders  # noqa: PLC0415

        return Senders(self.rules.alerts, self.settings.console_link, self.settings.alertmanager_url)

    def end_early(self) -> None:
        """Let what would outlast the grace of a stop end at once: a drift report in progress, a task, and further notifications."""
        self.detector.close()
        if "tasks" in self.__dict__:
            self.tasks.stop()
        if "deliveries" in self.__dict__:
            self.deliveries.stop()

    def close(self) -> None:
        """End Evidently's process; every outcome is on the device and the database closed then."""
        self.detector.close()
        if "prober" in self.__dict__:
            self.prober.close()
        if "spool" in self.__dict__:
            self.spool.close()
        if "database" in self.__dict__:
            self.database.close()

    def _as_trained(self) -> "AsTrained":
        from data.lake.drift_rows import AsTrained  # noqa: PLC0415
        from trajops.metrics import chi_square_quantile  # noqa: PLC0415

        return AsTrained(self.factors_of, chi_square_quantile(self.settings.coverage_level))

    def _audit_unsafe(self, ref: ModelRef, reason: str, actor: str = "worker:shadow") -> None:
        from workers.training.adopt import audit_unsafe  # noqa: PLC0415 - imports MLflow, as what is about to be loaded does

        audit_unsafe(self.database, ref, reason, actor=actor)

    def _adopt(self, ref: ModelRef) -> None:
        from workers.training.adopt import adopt  # noqa: PLC0415 - imports MLflow

        adopt(self.settings, ref.version, self._embedded, database=self.database, dataset=EMBEDDED)

    def _train(self, scenes: "Sequence[Scene]", family: str, dataset: str, told: Mapping[str, str]) -> "tuple[ModelRef, Windows]":
        from workers.compute import Inline  # noqa: PLC0415
        from workers.training.partitions import split  # noqa: PLC0415
        from workers.training.run import train  # noqa: PLC0415

        [trained] = train(self.settings, scenes, families=[family], database=self.database, dataset=dataset, told=told)
        return trained.ref, split(scenes, Inline()).validation

    def _broken_files(self) -> list[str]:
        from data.lake.manifest import Manifest  # noqa: PLC0415 - and not the lake, which brings DuckDB

        return list(Manifest(self.database.engine).broken())

    def _quarantined(self) -> list[str]:
        from data.lake.backlog import quarantined  # noqa: PLC0415

        return quarantined(self.settings.spool_dir)

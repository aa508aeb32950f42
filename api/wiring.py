"""The API's real parts, made from the settings, each when it is first needed."""

import os
from contextlib import closing
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, cast

from api.auth import Gate
from api.bulk import BulkDoors
from api.cached import Cached
from api.drain import Drain
from api.json_workers import JsonWorkers
from api.metrics import Meters
from api.metrics_export import Exposition
from api.metrics_sources import Sources
from api.model_host import ModelHost
from api.model_loads import Loader
from api.quota_sync import QuotaSync
from api.rate_limits import Limiter
from api.readying import Readying
from api.shared_reads import SharedReads
from api.sign_ins import SignIns
from api.track_sync import TrackSync
from api.turn import Turn
from api.warm_bounds import WarmBounds
from api.warm_up import WarmUp
from data.alertmanager import Alertmanager
from data.identity.external_tokens import external_tokens
from data.identity.passwords import Argon2Hasher
from data.identity.token_secret import token_secret
from data.identity.tokens import JwtTokens
from data.lake.group_commit import GroupCommit
from data.lake.spool import Spool
from data.limits.redis_quota import RedisQuota
from data.models.loader import ModelLoader
from data.models.registry import MlflowRegistry
from data.models.runs import MlflowRuns
from data.sql.engine import Database
from data.sql.route_source import SqlRouteSource
from data.tasks.files import TaskFiles
from data.tracks.redis_tracks import RedisTracks
from trajops import configs
from trajops.alerts.rules import AlertRules
from trajops.clients import Client
from trajops.clock import SystemClock
from trajops.deployments.model_ref import ModelRef
from trajops.errors import EnvironmentProblem, InvalidInput
from trajops.forecasters.cached import CacheMeter
from trajops.forecasters.constant_velocity import ConstantVelocity
from trajops.objectives import Objectives
from trajops.performance.rules import PerformanceRules
from trajops.ports import Clock, TelemetryLake
from trajops.rate_limits import Limit
from trajops.rollouts.rules import RolloutRules
from trajops.services.alerts import Alerts
from trajops.services.bulk import Bulk
from trajops.services.calibrations import Calibrations
from trajops.services.deployments import Deployments
from trajops.services.experiments import Experiments
from trajops.services.identity import Identity
from trajops.services.predict import PredictService
from trajops.services.rollouts import Rollouts
from trajops.services.runs import Runs
from trajops.services.tasks import Tasks
from trajops.services.validations import Validations
from trajops.services.versions import Versions
from trajops.settings import Settings
from trajops.stores import UnitOfWorkFactory
from trajops.tasks.rules import TaskRules, task_rules
from trajops.track_buffer import TrackBuffer

if TYPE_CHECKING:
    from api.tracing import Tracing
    from data.lake.reader import LakeReader
    from trajops.contracts.experiments import ChecklistOut, ExperimentPlan
    from trajops.services.experiment_checks import ExperimentChecks
    from trajops.services.experiment_slices import ExperimentSlices
    from trajops.services.performance import Performance
    from trajops.services.scene_grounds import SceneGrounds
    from trajops.services.scenes import Scenes

# A process takes connections when its models are warm, or after this, seconds: who asks then is told what is missing.
SETTLE_S = 10.0
# How long a request waits for a locked database, seconds: the answer that says so must come before its client has given up.
DATABASE_WAIT_S = 3.0
# How long a list of training runs waits for an answer of MLflow, seconds: within what clients wait for the API.
RUNS_WAIT_S = 4.0
# How long a list of alerts waits for an Alertmanager, seconds: one that is slower is said to be away.
ALERTMANAGER_WAIT_S = 1.5


class Parts:
    """Everything that one API process consists of. Making it touches nothing; the parts do when they are first used.

    Args:
        settings: what can be set from outside.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.clock: Clock = SystemClock()
        self.meters = Meters()
        self.cached = Cached()
        self.cached_longer = Cached(keep_s=5.0)
        self.registry_reads = SharedReads()
        limit = Limit(settings.rate_limit_per_s, settings.rate_limit_burst)
        self.limiter = Limiter(limit, processes=settings.limit_processes, is_shared=settings.redis_url is not None)
        self.gate = Gate(self._authenticate, limiter=self.limiter)
        self.sign_ins = SignIns()
        self.cache_meters: dict[ModelRef, CacheMeter] = {}
        self.buffer = TrackBuffer(self.clock, ttl_s=settings.track_ttl_s, capacity=settings.track_capacity, max_gap_s=settings.truth_gap_s)
        self.service = PredictService(settings.model_name, ConstantVelocity(), self.buffer, self.clock)
        self.warm_up = WarmUp(self.service, lambda: self.host)
        self.json_workers = JsonWorkers(settings.json_workers)
        bulk = Bulk(self.service, settings.model_name, ConstantVelocity(), self.clock)
        self.bulk = BulkDoors(bulk, self.warm_up, self.json_workers, self.meters, settings.max_batch)

    @cached_property
    def database(self) -> Database:
        """The control state."""
        return Database(self.settings.sql_url, busy_timeout_s=DATABASE_WAIT_S)

    @cached_property
    def unit_of_work(self) -> UnitOfWorkFactory:
        """Opens transactions of the control state."""
        return self.database.unit_of_work

    @cached_property
    def route_source(self) -> SqlRouteSource:
        """Where the newest route table and the calibrations in force are read."""
        return SqlRouteSource(self.database)

    @cached_property
    def registry(self) -> MlflowRegistry:
        """The model registry."""
        return MlflowRegistry(self.settings.registry_url)

    @cached_property
    def runs(self) -> Runs:
        """Training runs, with connections of their own: they may be waited for, and models not."""
        url = self.settings.registry_url
        runs, registry = MlflowRuns(url, timeout_s=RUNS_WAIT_S), MlflowRegistry(url, timeout_s=RUNS_WAIT_S)
        return Runs(runs, registry, self.unit_of_work, model_name=self.settings.model_name, url=url, clock=self.clock)

    @cached_property
    def loader(self) -> Loader:
        """Makes model versions warm."""
        return ModelLoader(
            self.registry,
            self.settings.models_dir,
            allow_pickled=self.settings.allow_pickled_models,
            on_unsafe=self._audit_unsafe,
            remembered=self.settings.forecast_cache,
            cache_meters=self.cache_meters,
        )

    @cached_property
    def host(self) -> ModelHost:
        """Follows the routes."""
        settings = self.settings
        bounds = WarmBounds(settings.model_slots, settings.model_memory_mb * 2**20, settings.model_idle_s)
        return ModelHost(
            self.route_source, self.loader, self.service, bounds=bounds, poll_s=settings.epoch_poll_s, calibrations=self.route_source
        )

    @cached_property
    def spool(self) -> Spool:
        """Where events go before an answer leaves."""
        return Spool(self.settings.spool_dir, rotate_s=self.settings.spool_rotate_s, sync_s=self.settings.spool_sync_s, clock=self.clock)

    @cached_property
    def commit(self) -> GroupCommit:
        """One write for the events of one turn of the event loop."""
        return GroupCommit(self.spool)

    @cached_property
    def turn(self) -> Turn:
        """One forecast and one write for the predictions of one turn of the event loop."""
        make = Turn if self.tracing is None else self.tracing.turn
        return make(self.service, self.spool, self.meters, largest=self.settings.turn_batch, max_wait_s=self.settings.max_wait_s)

    @cached_property
    def tracing(self) -> "Tracing | None":
        """Makes spans for a collector; None where none is set.

        Raises:
            EnvironmentProblem: if OpenTelemetry is not installed.
        """
        if self.settings.otlp_url is None:
            return None
        try:
            from api.tracing import Tracing  # noqa: PLC0415 - not everybody has it, and who does not use it need not load it
        except ModuleNotFoundError as error:
            raise EnvironmentProblem(
                f"TRAJOPS_OTLP_URL is set, but {error.name} is not installed; install what the extra `otel` of pyproject.toml names "
                "(python -m pip install opentelemetry-sdk opentelemetry-exporter-otlp-proto-http), or unset it"
            ) from error
        return Tracing(self.settings)

    @cached_property
    def drain(self) -> Drain:
        """How the process leaves."""
        return Drain(self.settings.drain_s)

    @cached_property
    def exposition(self) -> Exposition:
        """The metrics of all processes of this machine."""
        sources = Sources(
            service=self.service,
            buffer=self.buffer,
            host=self.host,
            turn=self.turn,
            spool=self.spool,
            gate=self.gate,
            limiter=self.limiter,
            quota_sync=self.quota_sync,
            drain=self.drain,
            track_sync=self.track_sync,
            cache_meters=self.cache_meters,
            unsent_spans=lambda: 0 if self.tracing is None else self.tracing.unsent,
        )
        return Exposition(self.settings.metrics_dir, self.meters, sources)

    @cached_property
    def lake(self) -> TelemetryLake:
        """Reads predictions and outcomes. DuckDB is imported here, and not when the API starts."""
        from data.lake.queries import Lake  # noqa: PLC0415

        return Lake(self.settings.lake_dir, self.settings.spool_dir, self.database.engine)

    @cached_property
    def performance_rules(self) -> PerformanceRules:
        """How live figures are taken apart and judged.

        Raises:
            EnvironmentProblem: if `performance.yaml` has a mistake; the sentence names file and line.
        """
        try:
            return configs.load(self.settings.configs_dir / "performance.yaml", PerformanceRules)
        except InvalidInput as error:
            raise EnvironmentProblem(error.message) from error

    @cached_property
    def performance(self) -> "Performance":
        """Holds live figures against validation."""
        from data.lake.performance_source import LakePerformanceSource  # noqa: PLC0415 - as the lake; it brings scipy too
        from trajops.services.performance import Performance  # noqa: PLC0415

        source = LakePerformanceSource(cast("LakeReader", self.lake))
        return Performance(source, self.unit_of_work, self.performance_rules, self.settings.model_name, self.settings.coverage_level)

    @cached_property
    def scenes(self) -> "Scenes":
        """Reads scenes."""
        from data.lake.scenes import LakeScenes  # noqa: PLC0415 - as the lake
        from trajops.services.scenes import Scenes  # noqa: PLC0415

        return Scenes(LakeScenes(cast("LakeReader", self.lake)), self.clock)

    @cached_property
    def scene_grounds(self) -> "SceneGrounds":
        """What lies beneath the maps of scenes; the frames are read anew at each question, which is rare."""
        from data.geography.coast import Coast  # noqa: PLC0415 - only who looks at a map needs coast and images
        from data.geography.images import Images  # noqa: PLC0415
        from trajops.scene_backgrounds import IMAGES  # noqa: PLC0415
        from trajops.scene_frames import SceneFrames  # noqa: PLC0415
        from trajops.services.scene_grounds import SceneGrounds  # noqa: PLC0415

        images = Images(self.settings.configs_dir)

        def frames() -> SceneFrames:
            try:
                return configs.load(self.settings.configs_dir / "scenes.yaml", SceneFrames, context={IMAGES: images})
            except InvalidInput as error:  # nobody who asks has sent it
                raise EnvironmentProblem(error.message) from error

        return SceneGrounds(frames, Coast(), images)

    @cached_property
    def calibrations(self) -> Calibrations:
        """Changes of the calibrations in force."""
        return Calibrations(self.unit_of_work, self.clock)

    @cached_property
    def quota(self) -> RedisQuota | None:
        """What all API processes share of the limits; None where each gives out its own share."""
        return None if self.settings.redis_url is None else RedisQuota(self.settings.redis_url.get_secret_value())

    @cached_property
    def quota_sync(self) -> QuotaSync | None:
        """Keeps the buckets in step with the shared quota."""
        return None if self.quota is None else QuotaSync(self.limiter, self.quota)

    @cached_property
    def shared_tracks(self) -> RedisTracks | None:
        """What all API processes know of agents; None where each knows only what it was told itself."""
        return None if self.settings.redis_url is None else RedisTracks(self.settings.redis_url.get_secret_value(), self.buffer.rules)

    @cached_property
    def track_sync(self) -> TrackSync | None:
        """Keeps the track buffer in step with the shared tracks."""
        return None if self.shared_tracks is None else TrackSync(self.buffer, self.shared_tracks)

    @cached_property
    def identity(self) -> Identity:
        """Users, tokens and API keys."""
        tokens = JwtTokens(token_secret(self.settings))
        external = external_tokens(self.settings)
        return Identity(self.unit_of_work, Argon2Hasher(), tokens, external=external, token_ttl_s=self.settings.token_ttl_s)

    @cached_property
    def objectives(self) -> Objectives:
        """What is promised. Read when somebody asks for it, because predictions do not depend on it.

        Raises:
            EnvironmentProblem: if `configs/objectives.yaml` cannot be used; the sentence names file and line.
        """
        try:
            return configs.load(self.settings.configs_dir / "objectives.yaml", Objectives)
        except InvalidInput as error:
            raise EnvironmentProblem(error.message) from error

    @cached_property
    def deployments(self) -> Deployments:
        """Changes of what is live."""
        return Deployments(
            self.unit_of_work, model_name=self.settings.model_name, make_ready=Readying(lambda: self.host), needs_validation=True
        )

    @cached_property
    def validations(self) -> Validations:
        """What versions were held against."""
        return Validations(self.unit_of_work, model_name=self.settings.model_name, clock=self.clock)

    @cached_property
    def versions(self) -> Versions:
        """Registered versions, and their end."""
        return Versions(self.unit_of_work, model_name=self.settings.model_name, clock=self.clock)

    @cached_property
    def experiment_checks(self) -> "ExperimentChecks":
        """Holds planned experiments against the recent traffic."""
        from data.lake.experiment_source import LakeExperiments  # noqa: PLC0415 - as the lake; it brings scipy too
        from trajops.services.experiment_checks import ExperimentChecks  # noqa: PLC0415

        source = LakeExperiments(cast("LakeReader", self.lake))
        return ExperimentChecks(source, self.unit_of_work, lambda: self.host.warm, model_name=self.settings.model_name, clock=self.clock)

    @cached_property
    def experiment_slices(self) -> "ExperimentSlices":
        """Takes experiments apart."""
        from data.lake.experiment_slices import LakeExperimentSlices  # noqa: PLC0415 - as the lake; it brings scipy too
        from trajops.services.experiment_slices import ExperimentSlices  # noqa: PLC0415

        source = LakeExperimentSlices(cast("LakeReader", self.lake))
        return ExperimentSlices(source, self.unit_of_work, self.performance_rules.speed_bands, self.clock)

    @cached_property
    def experiments(self) -> Experiments:
        """Changes of what is compared."""

        def check(plan: "ExperimentPlan") -> "ChecklistOut":
            return self.experiment_checks.of(plan)  # opens the lake when somebody launches, not before

        return Experiments(
            self.unit_of_work,
            model_name=self.settings.model_name,
            make_ready=Readying(lambda: self.host),
            check=check,
        )

    @cached_property
    def rollout_rules(self) -> RolloutRules:
        """How versions are rolled out. Whether the alerts that it names exist is the workers' affair.

        Raises:
            EnvironmentProblem: if the file has a mistake; the sentence names the line.
        """
        try:
            return configs.load(self.settings.configs_dir / "rollouts.yaml", RolloutRules)
        except InvalidInput as error:  # nobody who asks has sent it
            raise EnvironmentProblem(error.message) from error

    @cached_property
    def rollouts(self) -> Rollouts:
        """Changes of what is rolled out."""
        return Rollouts(
            self.unit_of_work,
            lambda: self.rollout_rules,
            model_name=self.settings.model_name,
            needs_validation=True,
            make_ready=Readying(lambda: self.host),
        )

    @cached_property
    def task_rules(self) -> TaskRules:
        """Bounds of tasks.

        Raises:
            EnvironmentProblem: if the file has a mistake; the sentence names the line.
        """
        try:
            return task_rules(self.settings.configs_dir)
        except InvalidInput as error:  # nobody who asks has sent it
            raise EnvironmentProblem(error.message) from error

    @cached_property
    def task_files(self) -> TaskFiles:
        """Uploaded tracks, logs and results."""
        return TaskFiles(self.settings.tasks_dir)

    @cached_property
    def tasks(self) -> Tasks:
        """What people ask the workers to do."""
        name = self.settings.model_name
        return Tasks(self.unit_of_work, lambda: self.task_rules, self.task_files, model_name=name, clock=self.clock)

    @cached_property
    def alert_rules(self) -> AlertRules:
        """What raises an alert, and who is told. What its signals are is the workers' affair.

        Raises:
            EnvironmentProblem: if the file has a mistake; the sentence names the line.
        """
        try:
            return configs.load(self.settings.configs_dir / "alerts.yaml", AlertRules)
        except InvalidInput as error:  # nobody who asks has sent it
            raise EnvironmentProblem(error.message) from error

    @cached_property
    def alerts(self) -> Alerts:
        """What people do with alerts."""
        return Alerts(self.unit_of_work, lambda: self.alert_rules, self.clock)

    @cached_property
    def alertmanager(self) -> Alertmanager | None:
        """Whose alerts are shown beside ours; None where none is set."""
        url = self.settings.alertmanager_url
        return None if url is None else Alertmanager(url, ALERTMANAGER_WAIT_S)

    @cached_property
    def is_prepared(self) -> bool:
        """Whether the database and the token secret stand; asking brings them up to date.

        Raises:
            EnvironmentProblem: if they cannot be used, or what a setting asks for is not installed.
        """
        # Nobody waits for an answer yet: a start bears a lock for longer than a request does.
        with closing(Database(self.settings.sql_url)) as patient:
            patient.migrate()
        is_shared = self.settings.redis_url is None or self.quota is not None
        is_traced = self.settings.otlp_url is None or self.tracing is not None
        return self.identity is not None and is_shared and is_traced and self.performance_rules is not None

    @property
    def is_ready(self) -> bool:
        """Whether balancers should ask this process: it can answer, and is not about to end."""
        return self.host.readiness().status == "ready" and not self.drain.is_draining

    def open(self) -> None:
        """Prepare what the first request needs, and follow the routes.

        Raises:
            EnvironmentProblem: if the database or the token secret cannot be used.
        """
        assert self.is_prepared
        if self.tracing is not None:
            self.tracing.open()
        self.host.start()
        # Several processes share a socket: one that is not warm would take requests from those that are.
        self.host.wait_until_settled(SETTLE_S)
        self.exposition.open()

    def close(self) -> None:
        """End what `open` began; every recorded event is on the device then."""
        self.host.stop()
        self.json_workers.close()
        self.spool.close()
        self.exposition.close()
        self.database.close()
        for shared in (self.quota, self.shared_tracks, self.tracing):
            if shared is not None:
                shared.close()

    def _authenticate(self, credential: str) -> Client:
        # Through `self`, so that making the gate does not open the database. A token alone does not tell of a disabled user.
        client = self.identity.authenticate(credential)
        return client if client.key_hash is not None else self.identity.confirm(client)

    def _audit_unsafe(self, ref: ModelRef, reason: str) -> None:
        with self.unit_of_work() as uow:
            uow.audit.append(
                at=datetime.now(UTC),
                actor=f"api:{os.getpid()}",
                action="model.load_unsafe",
                subject=str(ref),
                reason=reason,
                before={},
                after={"allow_pickled_models": True},
            )

"""The few Protocols behind which storage, models and clocks can be exchanged; those of the control state are in `stores.py`."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from trajops.contracts.drift import DriftOpinion
from trajops.contracts.performance import PerformanceOut
from trajops.contracts.predictions import PredictionOut
from trajops.contracts.session import Role
from trajops.contracts.status import TrafficPoint
from trajops.deployments.model_ref import ModelRef
from trajops.deployments.routing import RouteTable
from trajops.records import TokenClaims
from trajops.telemetry import Event
from trajops.trajectories import FloatArray, Forecast, WindowSpec

if TYPE_CHECKING:
    from trajops.contracts.experiments import ExperimentPlan, ExperimentSliceBy, Metric
    from trajops.contracts.performance import SliceBy
    from trajops.contracts.scenes import SceneBounds, SceneOut, ScenePrediction
    from trajops.drift.columns import Rows
    from trajops.drift.learnable import Tally
    from trajops.drift.quality import Counts
    from trajops.experiments.figures import Figures, TrafficFigures
    from trajops.experiments.routed import UnitKind
    from trajops.experiments.slices import ErrorSpread, Slices
    from trajops.geography import Origin
    from trajops.performance.estimation import Errors
    from trajops.performance.intervals import AgentSums
    from trajops.performance.recalibration import Distances
    from trajops.performance.rules import SpeedBand
    from trajops.scene_backgrounds import Background


class Forecaster(Protocol):
    """A warm model. Equivariant to translation, stateless, safe to call from several threads."""

    @property
    def family(self) -> str:
        """Name of the model family, for example `kalman`."""
        ...

    @property
    def window(self) -> WindowSpec:
        """What the model expects and predicts."""
        ...

    def forecast(self, history_m: FloatArray) -> Forecast:
        """Predict (A, t_obs, 2) metres → Forecast of (A, K, t_pred, 2).

        Raises:
            ShapeError: if the history does not have that shape.
        """
        ...


class Clock(Protocol):
    """Time, so that tests and backfills can set it."""

    def now_ns(self) -> int:
        """UTC nanoseconds since the epoch."""
        ...


class TelemetrySink(Protocol):
    """Where events go before an answer leaves."""

    def write(self, table: str, events: Sequence[Event]) -> None:
        """Append the events durably against a killed process, in one write.

        Raises:
            Unavailable: if the spool cannot be written.
        """
        ...


class TelemetryLake(Protocol):
    """What readers ask of the lake: Parquet together with the live spool."""

    def performance(self, since: datetime, until: datetime, nominal_coverage: float = 0.9) -> PerformanceOut:
        """Live accuracy and calibration of the predictions received in a time range."""
        ...

    def traffic(self, since: datetime, until: datetime) -> list[TrafficPoint]:
        """Predictions in time buckets of a range, oldest first."""
        ...

    def broken_files(self) -> list[str]:
        """Files whose content was found to be broken, and that are left out."""
        ...

    def recent_predictions(self, limit: int, scene_id: str | None = None, agent_id: str | None = None) -> list[PredictionOut]:
        """Newest predictions with the truth that has arrived, newest first."""
        ...

    def prediction(self, prediction_id: str) -> PredictionOut:
        """One prediction with the truth that has arrived.

        Raises:
            NotFound: if the lake does not hold it.
        """
        ...


class ModelRegistry(Protocol):
    """The part of the model registry that serving and deployments need."""

    def versions(self, name: str) -> Sequence[Mapping[str, Any]]:
        """All versions of a registered model, newest first: version, run_id, aliases, tags, created_ns.

        Raises:
            RegistryUnavailable: if the registry does not answer.
        """
        ...

    def fetch(self, ref: ModelRef, into: Path) -> Path:
        """Download the artefact of one version into `into` and return its folder.

        Raises:
            NotFound: if there is no such version.
            RegistryUnavailable: if the registry does not answer.
        """
        ...

    def aliases(self, name: str) -> Mapping[str, int]:
        """Version behind each alias."""
        ...

    def set_alias(self, name: str, alias: str, version: int) -> None:
        """Point an alias at a version."""
        ...

    def delete_alias(self, name: str, alias: str) -> None:
        """Remove an alias; no error when it does not exist."""
        ...

    def delete_version(self, ref: ModelRef) -> None:
        """Remove one version; no error when there is none.

        Raises:
            Conflict: if an alias points to it.
            RegistryUnavailable: if the registry does not answer.
        """
        ...

    def set_tags(self, ref: ModelRef, tags: Mapping[str, str]) -> None:
        """Write tags onto a version.

        Raises:
            NotFound: if there is no such version.
            RegistryUnavailable: if the registry does not answer.
        """
        ...


class RouteSource(Protocol):
    """Where an API process reads the newest route table."""

    def epoch(self) -> int:
        """Newest epoch; 0 before the first deployment."""
        ...

    def table(self) -> RouteTable:
        """Newest route table."""
        ...


class Compute(Protocol):
    """Where the parts of a training run are executed."""

    def map(self, function: Any, items: Iterable[Any]) -> list[Any]:
        """Apply a picklable function to each item; results in order, the first error raised."""
        ...


class PasswordHasher(Protocol):
    """A slow, salted hash."""

    def hash(self, password: str) -> str:
        """Hash with its salt and parameters."""
        ...

    def verify(self, password_hash: str, password: str) -> bool:
        """Whether the password has that hash."""
        ...

    def is_outdated(self, password_hash: str) -> bool:
        """Whether the hash was made with weaker parameters than today's."""
        ...


class TokenSigner(Protocol):
    """Signed session tokens."""

    def issue(self, subject: str, role: Role, *, issued_at: datetime, expires_at: datetime) -> str:
        """A signed token."""
        ...

    def verify(self, token: str) -> TokenClaims:
        """What the token says.

        Raises:
            Unauthenticated: if its signature, audience or claims are wrong, or it has expired.
        """
        ...


class TokenVerifier(Protocol):
    """Tokens that somebody else has issued."""

    def recognises(self, token: str) -> bool:
        """Whether the token looks like one of theirs; nothing is checked yet."""
        ...

    def verify(self, token: str) -> TokenClaims:
        """What the token says.

        Raises:
            Unauthenticated: if it is wrong, has expired, or is not valid yet.
            Forbidden: if it gives no role.
            Unavailable: if it cannot be judged for the moment.
        """
        ...


class DriftSource(Protocol):
    """Where the drift check reads its windows."""

    def rows(
        self, since: datetime, until: datetime, sources: Sequence[str], max_rows: int | None = None, window_s: float = 300.0
    ) -> "Rows":
        """Rows received in [since, until) from these sources.

        A larger answer than `max_rows` is thinned to about that many: of many windows of `window_s`, every so many are whole; of few, a
        share of the agents is.
        """
        ...

    def some(self, since: datetime, until: datetime, sources: Sequence[str], step_s: float, most: int, *, by_scene: bool = True) -> "Rows":
        """Rows that tell what most agents do, in any order, with what their histories say.

        Of each agent in each step of a range, which are counted from its end: the first two and the last two by observed time. Where that
        is more than `most`, of some agents, which are drawn anew every ten steps: as many rows of each scene, where it has them, or, if not
        `by_scene`, the same share of all.
        """
        ...

    def counts(self, since: datetime, until: datetime, sources: Sequence[str]) -> "Counts":
        """What the rules on quality take from the tables themselves."""
        ...

    def tally(self, since: datetime, until: datetime, sources: Sequence[str], step_s: float) -> "Tally":
        """The same by scene and by steps of a range, which are numbered from its end backwards."""
        ...

    def oldest(self, sources: Sequence[str]) -> datetime | None:
        """When the oldest row of these sources was received; None when there is none."""
        ...


class SceneRows(NamedTuple):
    """What was received of one scene in a time range.

    Attributes:
        tracks: agent, (N,) seconds of the agents' clock, (N, 2) metres; by agent, each oldest first.
        predictions: by agent, newest first.
        agents: how many were heard of.
        every: of each agent's predictions, one in so many is here, the newest always.
        newest_at: when the newest row was received; None where there is none.
    """

    tracks: "list[tuple[str, FloatArray, FloatArray]]"
    predictions: "list[ScenePrediction]"
    agents: int
    every: int
    newest_at: datetime | None


class SceneSource(Protocol):
    """Where scenes are read."""

    def scenes(self, since: datetime, until: datetime, max_rows: int) -> "tuple[datetime, list[SceneOut]]":
        """Where the range begins that about `max_rows` newest rows are read of, and its scenes in any order."""
        ...

    def window(
        self, scene_id: str, since: datetime, until: datetime, max_agents: int, agent_id: str | None, max_predictions: int | None
    ) -> SceneRows:
        """A piece of one scene: at most so many agents, `agent_id` among them if it was heard of.

        Without `max_predictions` each agent's newest prediction is read alone.
        """
        ...


class CoastSource(Protocol):
    """Where coastlines are read."""

    def lines(self, origin: "Origin", bounds: "SceneBounds") -> list[FloatArray]:
        """Pieces of coast in a view of the plane around an origin: (N, 2) metres each, thinned to what can be drawn."""
        ...


class GroundImage(NamedTuple):
    """An image of the ground, laid on the plane.

    Attributes:
        content: WebP.
        bounds: its edges, metres, scene frame.
        version: another one where the content differs.
    """

    content: bytes
    width_px: int
    height_px: int
    bounds: "SceneBounds"
    version: str


class ImageSource(Protocol):
    """Where background images are read."""

    def size_px(self, name: str) -> tuple[int, int]:
        """Width and height of an image.

        Raises:
            InvalidInput: if there is none of this name, or it cannot be used.
        """
        ...

    def laid_out(self, background: "Background") -> GroundImage:
        """An image as it lies on the plane, north (y) up.

        Raises:
            InvalidInput: as above, or if it turns out to be damaged.
        """
        ...


class PerformanceSource(Protocol):
    """Where performance is judged, estimated and calibrated from."""

    def agent_sums(
        self,
        since: datetime,
        until: datetime,
        by: "SliceBy",
        bands: "Sequence[SpeedBand]",
        sources: Sequence[str],
        level: float,
        max_rows: int,
    ) -> "tuple[datetime, list[AgentSums]]":
        """Where the range begins that at most `max_rows` newest rows are read of, and the sums of its slices."""
        ...

    def errors(self, since: datetime, until: datetime, scored_since: datetime, sources: Sequence[str], max_rows: int) -> "Errors":
        """Scored predictions since `scored_since`, and those since `since` that still lack truth, at most `max_rows` of these."""
        ...

    def distances(
        self, model_name: str, model_version: int, since: datetime, until: datetime, sources: Sequence[str], max_rows: int
    ) -> "Distances":
        """Distances of the truth of one version's newest predictions."""
        ...


class ExperimentSource(Protocol):
    """Where an experiment reads how it stands, and what the traffic is like that one may be launched on."""

    def figures(
        self,
        experiment_id: str,
        plan: "ExperimentPlan",
        since: datetime,
        at: datetime,
        slow_ms: float,
        counted_since: datetime | None = None,
        enrolled_since: datetime | None = None,
    ) -> "Figures":
        """Figures of all arms of the plan, in its order, of what was received in [since, at).

        Args:
            experiment_id: that predictions carry.
            plan: its arms, its mode, whose units count, and the metric that is summed.
            since: when it was launched.
            at: now; what is younger than a horizon is not due to have truth.
            slow_ms: an answer that took longer is slow.
            counted_since: units that were answered since then are counted apart; None: they are not.
            enrolled_since: of who was answered before, no truth is waited for; None: since it was launched.

        Raises:
            Unavailable: if they cannot be read.
        """
        ...

    def traffic(self, since: datetime, until: datetime, unit: "UnitKind", metric: "Metric") -> "TrafficFigures":
        """Figures of the served traffic received in [since, until), or of the newest part of it, which they tell.

        Raises:
            Unavailable: if they cannot be read.
        """
        ...


class ExperimentSliceSource(Protocol):
    """Where an experiment is taken apart."""

    def slices(
        self,
        experiment_id: str,
        plan: "ExperimentPlan",
        since: datetime,
        at: datetime,
        by: "ExperimentSliceBy",
        bands: "Sequence[SpeedBand]",
    ) -> "Slices":
        """Sums of what was received in [since, at), or of the newest part of it, slice by slice.

        Raises:
            Unavailable: if they cannot be read.
        """
        ...

    def errors(self, experiment_id: str, plan: "ExperimentPlan", since: datetime, at: datetime) -> "ErrorSpread":
        """Quantiles of the units' mean errors, arm by arm, over the same.

        Raises:
            Unavailable: if they cannot be read.
        """
        ...


class Calibrated(NamedTuple):
    """A calibration that is in force.

    Attributes:
        number: predictions carry it.
        factors: (T,) of the covariance of each step, relative to the version as trained.
    """

    number: int
    factors: tuple[float, ...]


class CalibrationSource(Protocol):
    """Where an API process reads which calibrations are in force."""

    def in_force(self) -> "Mapping[ModelRef, Calibrated]":
        """By version."""
        ...


class DriftDetector(Protocol):
    """A detector library that gives a second opinion and the full report an operator reads."""

    def warm_up(self) -> None:
        """Begin to load what is slow to load; returns at once."""
        ...

    def compare(
        self, reference: Mapping[str, FloatArray], current: Mapping[str, FloatArray], report: Path | None, timeout_s: float
    ) -> Mapping[str, list[DriftOpinion]]:
        """Compare columns of independent rows, and write the full report as HTML where a path is given.

        Args:
            reference: columns of (M,) floats, NaN where missing.
            current: columns of (N,) floats.
            report: file to write, or None.
            timeout_s: longest wait.

        Returns:
            Opinions by column; columns that cannot be compared are left out.

        Raises:
            Unavailable: if the detector fails or does not answer in time.
        """
        ...

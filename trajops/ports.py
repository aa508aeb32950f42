"""The few Protocols behind which storage, models and clocks can be exchanged."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from trajops.deployments.routing import ModelRef, RouteTable
from trajops.telemetry import Event
from trajops.trajectories import FloatArray, Forecast, WindowSpec


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

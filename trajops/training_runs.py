"""Training runs, as the model registry keeps them, and what their figures say. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, Protocol, get_args

RunStatus = Literal["running", "scheduled", "finished", "failed", "killed"]
STATUSES: tuple[RunStatus, ...] = get_args(RunStatus)
# Figures that belong to a part of what was validated on; the others are over all of it.
SCENE, SPEED, STEP, CALIBRATION = "scene", "speed", "step", "calibration"
PARTS = frozenset({SCENE, SPEED, STEP, CALIBRATION})
COMMIT_TAG = "mlflow.source.git.commit"
FINGERPRINT_TAG = "trajops.data_fingerprint"


@dataclass(frozen=True, slots=True)
class Run:
    """One training run.

    Attributes:
        run_id: in the registry.
        experiment_id: what it belongs to there.
        name: as whoever trained called it.
        status: where it stands.
        started_at: UTC.
        ended_at: UTC; None while it goes on.
        params, metrics, tags: by name.
        artifact_uri: where its files are.
        model_ids: models that it logged, oldest first.
    """

    run_id: str
    experiment_id: str
    name: str
    status: RunStatus
    started_at: datetime
    ended_at: datetime | None = None
    params: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    artifact_uri: str = ""
    model_ids: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class RunQuery:
    """Which runs are asked for; None leaves a filter out.

    Attributes:
        family, dataset: parameters of the run.
        status: where it stands.
        text: a part of its name, the start of its commit (7 or more hexadecimal digits), or its whole id (32 of them).
        limit: most runs of one page.
        page_token: of the page before.
    """

    family: str | None = None
    dataset: str | None = None
    status: RunStatus | None = None
    text: str | None = None
    limit: int = 50
    page_token: str | None = None


@dataclass(frozen=True, slots=True)
class RunPage:
    """Runs, newest first, and the token of the next page; None where there is none."""

    runs: Sequence[Run]
    next_page_token: str | None


class TrainingRuns(Protocol):
    """Training runs of one registry."""

    def search(self, query: RunQuery) -> RunPage:
        """Runs that were not deleted, newest first.

        Raises:
            InvalidInput: if a filter or the token cannot be used.
            RegistryUnavailable: if the registry does not answer.
        """
        ...

    def get(self, run_id: str) -> Run:
        """One run.

        Raises:
            NotFound: if there is no such run.
            RegistryUnavailable: if the registry does not answer.
        """
        ...

    def model_source(self, run: Run) -> str | None:
        """Where the newest model of a run is, as the registry names it; None: the run has none."""
        ...

    def register(self, name: str, run: Run, source: str, tags: Mapping[str, str]) -> int:
        """Register a model of a run as the next version of `name`, and return its number."""
        ...


def parts(metrics: Mapping[str, float], kind: str) -> dict[str, dict[str, float]]:
    """Figures of one kind by part: `step.01.ade_m` is figure `ade_m` of the part `01`.

    A part's name may hold points itself; the figure's name does not.
    """
    found: dict[str, dict[str, float]] = {}
    for name, value in metrics.items():
        head, _, rest = name.partition(".")
        part, _, figure = rest.rpartition(".")
        if head == kind and part and figure:
            found.setdefault(part, {})[figure] = value
    return found


def over_all(metrics: Mapping[str, float]) -> dict[str, float]:
    """The figures that are not of a part."""
    return {name: value for name, value in metrics.items() if name.partition(".")[0] not in PARTS}

"""Tasks: forecasts of many tracks, training and evaluation that a person asks for."""

from typing import Annotated, Literal, Self

from pydantic import AwareDatetime, Field, model_validator
from pydantic_core import PydanticCustomError

from trajops.contracts.wire import Name, Reason, Time, Wire
from trajops.tasks.lifecycle import TaskState

TaskKind = Literal["batch_predict", "train", "evaluate"]
Family = Literal["constant_velocity", "kalman", "gaussian_mlp", "gradient_boosting"]
FileId = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$", description="As the upload was answered.")]
MOST_SCENES = 100

_TITLES: dict[TaskKind, str] = {"batch_predict": "Batch forecast", "train": "Training", "evaluate": "Evaluation"}


def task_title(kind: TaskKind) -> str:
    """A kind of task as a person calls it."""
    return _TITLES[kind]


class TrafficIn(Wire):
    """Recorded traffic of a range of time, of all scenes or of some."""

    since: Time
    until: Time
    scenes: list[Name] = Field(default_factory=list, max_length=MOST_SCENES, description="Empty: all.")

    @model_validator(mode="after")
    def _is_range(self) -> Self:
        if self.since >= self.until:
            raise PydanticCustomError("range_empty", "until must be later than since")
        return self


class TaskIn(Wire):
    """What is asked for. Tracks come from an uploaded file or from recorded traffic."""

    kind: TaskKind
    reason: Reason
    file_id: FileId | None = None
    traffic: TrafficIn | None = None
    model_version: int | None = Field(default=None, ge=1, le=2**31 - 1, description="Not for `train`. Null: the champion.")
    windows: Literal["last", "all"] = Field(
        default="last", description="`batch_predict`: one forecast from the last positions of each agent, or one from each step on."
    )
    format: Literal["csv", "parquet"] = Field(default="csv", description="`batch_predict`: of the result.")
    families: list[Family] = Field(default_factory=list, max_length=4, description="`train`: what is fitted, at least one.")
    dataset: Name | None = Field(default=None, description="Name of the data in the registry. Null: of the file, or the range.")
    is_staged: bool = Field(default=False, description="`train`: stage the best candidate that has passed its battery.")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if (self.file_id is None) == (self.traffic is None):
            raise PydanticCustomError("tracks_missing", "give either file_id or traffic, and not both")
        if self.kind == "train" and not self.families:
            raise PydanticCustomError("families_missing", "families: name at least one to train")
        if self.kind == "train" and self.model_version is not None:
            raise PydanticCustomError("version_not_taken", "model_version is not for training, which makes a new one; leave it out")
        if self.kind != "train" and (self.families or self.is_staged):
            raise PydanticCustomError("families_not_taken", "families and is_staged are for training; leave them out")
        if len(set(self.families)) < len(self.families):
            raise PydanticCustomError("families_doubled", "families: name each only once")
        return self


class TaskFileOut(Wire):
    """An uploaded file. What is in it is known once it has been read: small files are read at once."""

    file_id: FileId
    name: str
    bytes: int
    rows: int | None = Field(default=None, description="Positions in it; null: it is read when a task runs.")
    agents: int | None = None
    scenes: int | None = None


class TaskOutcomeOut(Wire):
    """What came of a task."""

    sentence: str
    filename: str | None = Field(default=None, description="Of the result; null: there is none to download.")
    media_type: str | None = None
    bytes: int | None = None
    rows: int | None = Field(default=None, description="Of the result, where it is a table.")
    model_versions: list[int] = Field(
        default_factory=list, description="What was registered, also by a task that has failed or was cancelled after it."
    )
    run_ids: list[str] = Field(default_factory=list, description="Training runs that these versions came of.")
    staged_version: int | None = None
    figures: dict[str, float] = Field(default_factory=dict, description="As of validation: val_ade_m, val_fde_m, …")


class CancelOut(Wire):
    """Who wants a running task to end, and why."""

    at: AwareDatetime
    by: str
    reason: str


class TaskOut(Wire):
    """One task."""

    task_id: str
    asked: TaskIn
    state: TaskState
    version: int = Field(description="Counts changes of state; progress leaves it as it is.")
    by: str
    created_at: AwareDatetime
    updated_at: AwareDatetime
    seen_at: AwareDatetime = Field(description="Its last sign of life.")
    started_at: AwareDatetime | None = None
    finished_at: AwareDatetime | None = None
    attempts: int = 0
    holder: str | None = Field(default=None, description="The worker that runs it, or ran it.")
    progress: float = Field(default=0.0, ge=0, le=1)
    stage: str = "Waits for a worker"
    eta_s: float | None = Field(default=None, description="Seconds left by its own pace; null: it has none yet.")
    model_name: str
    model_version: int | None = Field(default=None, description="The version that predicts or is measured.")
    file: TaskFileOut | None = None
    cancelled: CancelOut | None = None
    outcome: TaskOutcomeOut | None = None
    error: str | None = None


class TasksOut(Wire):
    """Tasks, newest first."""

    tasks: list[TaskOut]
    running: int
    queued: int
    max_queued: int
    max_queued_per_person: int


class TaskChangeOut(Wire):
    """A task after a change, and the audit entry about it."""

    task: TaskOut
    audit_id: str


class TaskLogOut(Wire):
    """The last lines that a task has written."""

    lines: list[str]
    is_cut: bool = Field(description="Whether there are earlier ones.")


class CancelIn(Wire):
    """Why a task is to end."""

    expected_version: int = Field(ge=0)
    reason: Reason

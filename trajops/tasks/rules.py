"""Bounds of tasks: the model of `configs/tasks.yaml`."""

from pathlib import Path

from pydantic import Field

from trajops import configs
from trajops.config_model import Config, Count, Seconds


class UploadRules(Config):
    """What may be uploaded."""

    check_mb: float = Field(default=8.0, ge=0, le=1_000, description="Files up to here are read whole before anything is queued.")
    total_mb: float = Field(default=2_048.0, gt=0, le=1e7, description="All uploaded files together.")
    keep_hours: float = Field(default=24.0, ge=1, le=87_600, description="How long an uploaded file stays that no task waits for.")


class TaskRules(Config):
    """All of `configs/tasks.yaml`."""

    max_queued: Count = Field(default=50, ge=1, description="Tasks that wait, of all people.")
    max_queued_per_person: Count = Field(default=5, ge=1, description="Tasks that wait, of one person.")
    attempts: int = Field(default=2, ge=1, le=10, description="How often a task is begun, if the worker disappears each time.")
    timeout_s: Seconds = Field(default=7_200.0, gt=0, le=86_400, description="A task that runs longer is ended and has failed.")
    silent_s: Seconds = Field(default=120.0, ge=10, description="A running task without a sign of life for so long hangs.")
    waiting_s: Seconds = Field(default=600.0, ge=10, description="So does one that waits for so long while none runs.")
    max_windows: Count = Field(default=1_000_000, ge=1, description="Predictions, or windows measured, of one task.")
    max_agents: Count = Field(default=20_000, ge=1, description="Agents of recorded traffic of one task.")
    uploads: UploadRules = Field(default_factory=UploadRules)


def task_rules(folder: Path) -> TaskRules:
    """The bounds of `tasks.yaml` in a folder; the defaults where there is none, as in a folder of the release before.

    Raises:
        InvalidInput: if it has a mistake; the sentence names file and line.
    """
    path = folder / "tasks.yaml"
    return configs.load(path, TaskRules) if path.exists() else TaskRules()

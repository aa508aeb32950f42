"""Words, rows and checks of the Jobs page. Pure."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import ValidationError

from console.wording import DASH, Mark, count, lasting, metres, milliseconds, moment, number, share
from trajops.contracts.models import family_words
from trajops.contracts.tasks import Family, TaskFileOut, TaskIn, TaskKind, TaskOut, TasksOut, task_title
from trajops.tasks.lifecycle import ACTIVE, TaskState

KINDS: dict[str, TaskKind] = {"Batch forecast": "batch_predict", "Training": "train", "Evaluation": "evaluate"}
EXPLAINED: dict[TaskKind, str] = {
    "batch_predict": "Forecasts every agent of the tracks, and gives them as a table to download. Nothing is recorded.",
    "train": "Fits models on the tracks and registers each as a new version, validated as always. Nothing is served by that.",
    "evaluate": "Holds a version's forecasts against what really came: the figures of validation, on these tracks.",
}
SOURCES = ("A file", "Recorded traffic")
SPANS: dict[str, timedelta] = {
    "15 min": timedelta(minutes=15),
    "1 h": timedelta(hours=1),
    "6 h": timedelta(hours=6),
    "24 h": timedelta(days=1),
}
WINDOWS: dict[str, str] = {"The last positions of each agent": "last", "Each moment of each agent": "all"}
FORMATS: dict[str, str] = {"CSV": "csv", "Parquet": "parquet"}
FAMILIES: dict[str, Family] = {
    "Gaussian MLP": "gaussian_mlp",
    "Gradient boosting": "gradient_boosting",
    "Kalman filter": "kalman",
    "Constant velocity": "constant_velocity",
}
_MARKS: dict[TaskState, Mark] = {
    TaskState.QUEUED: Mark("Waits", "unknown", "schedule"),
    TaskState.RUNNING: Mark("Runs", "info", "play_circle"),
    TaskState.DONE: Mark("Done", "ok", "check_circle"),
    TaskState.FAILED: Mark("Failed", "bad", "error"),
    TaskState.CANCELLED: Mark("Cancelled", "unknown", "cancel"),
}
_STANDS: dict[TaskState, str] = {
    TaskState.QUEUED: "waits",
    TaskState.RUNNING: "runs",
    TaskState.DONE: "is done",
    TaskState.FAILED: "has failed",
    TaskState.CANCELLED: "is cancelled",
}
_FIGURES: tuple[tuple[str, str, Any], ...] = (
    ("val_ade_m", "ADE", metres),
    ("val_fde_m", "FDE", metres),
    ("val_miss_rate", "Miss rate", share),
    ("val_coverage_90", "90 % ellipse holds", share),
    ("val_nll", "NLL", number),
    ("val_cv_ade_m", "ADE straight on", metres),
    ("val_latency_ms", "Time of a forecast", lambda value: milliseconds(value) if value >= 0.1 else f"{1000 * value:.0f} µs"),
)
HELP: dict[str, str] = {
    "ADE": "Average displacement error: mean distance between forecast and truth over the horizon.",
    "FDE": "Final displacement error: the distance at the end of the horizon.",
    "Miss rate": "Share of forecasts that end further from the truth than the threshold of a miss.",
    "90 % ellipse holds": "Share of the truth inside the ellipse that should hold 90 % of it.",
    "NLL": "Negative log-likelihood of the truth, nats a step; smaller is better.",
    "ADE straight on": "The same error of constant velocity: what a model has to beat.",
    "Time of a forecast": "Median time of one forecast on the worker.",
}


@dataclass(frozen=True, slots=True)
class Draft:
    """What the form holds.

    Attributes:
        kind: of the task.
        source: one of SOURCES.
        file: that was uploaded and can be read; None: not yet.
        since: of recorded traffic.
        until: of recorded traffic.
        scenes: of it; empty: all.
        model_version: that predicts or is measured; None: the champion.
        windows: one of WINDOWS' values.
        form: one of FORMATS' values.
        families: to be fitted.
        dataset: name of the data; empty: of the file or the range.
        is_staged: whether the best is staged.
    """

    kind: TaskKind
    source: str
    file: TaskFileOut | None
    since: datetime
    until: datetime
    scenes: tuple[str, ...]
    model_version: int | None
    windows: str
    form: str
    families: tuple[Family, ...]
    dataset: str
    is_staged: bool


def draft_problems(draft: Draft) -> list[str]:
    """What is missing before the task can be asked for."""
    found = []
    if draft.source == SOURCES[0] and draft.file is None:
        found.append("Choose a file of tracks.")
    if draft.source != SOURCES[0] and draft.since >= draft.until:
        found.append("The range must begin before it ends.")
    if draft.kind == "train" and not draft.families:
        found.append("Choose at least one model family to train.")
    return found


def asked_of(draft: Draft, reason: str) -> TaskIn:
    """The task as the API takes it.

    Raises:
        ValidationError: if the API would refuse it.
    """
    given: dict[str, Any] = {"kind": draft.kind, "reason": reason}
    if draft.source == SOURCES[0]:
        given["file_id"] = draft.file.file_id if draft.file is not None else None
    else:
        given["traffic"] = {"since": draft.since, "until": draft.until, "scenes": list(draft.scenes)}
    if draft.kind == "train":
        given |= {"families": list(draft.families), "is_staged": draft.is_staged}
        if draft.dataset.strip():
            given["dataset"] = draft.dataset.strip()
    elif draft.model_version is not None:
        given["model_version"] = draft.model_version
    if draft.kind == "batch_predict":
        given |= {"windows": draft.windows, "format": draft.form}
    return TaskIn.model_validate(given)


def refusals(error: ValidationError) -> str:
    """What the API would not take, a sentence."""
    return "; ".join(str(one["msg"]) for one in error.errors()).capitalize() + "."


def split_names(text: str) -> tuple[str, ...]:
    """Names as they are typed, with commas between them."""
    return tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))


def file_words(file: TaskFileOut) -> str:
    """What is in a file, a sentence."""
    if file.rows is None:
        return (
            f"{file.name}, {size(file.bytes)}. It is too large to be looked into now; the job says what is wrong with it, if anything is."
        )
    scenes = "1 scene" if file.scenes == 1 else f"{count(file.scenes)} scenes"
    agents = "1 agent" if file.agents == 1 else f"{count(file.agents)} agents"
    return f"{file.name}: {count(file.rows)} positions of {agents} in {scenes}."


def size(bytes_: int | None) -> str:
    """Bytes in the unit that reads best."""
    if bytes_ is None:
        return DASH
    if bytes_ < 1_000:
        return f"{bytes_} B"
    return f"{bytes_ / 1e3:.0f} kB" if bytes_ < 1e6 else f"{bytes_ / 1e6:.1f} MB"


def task_mark(task: TaskOut) -> Mark:
    """Mark of where a task stands."""
    if task.state is TaskState.RUNNING and task.cancelled is not None:
        return Mark("Is ended", "warn", "hourglass_top")
    return _MARKS[task.state]


def name_of(task: TaskOut) -> str:
    """What a task is, in a few words: a training of what on what."""
    asked = task.asked
    if task.file is not None:
        on = task.file.name
    elif asked.traffic is not None:
        on = f"traffic of {moment(asked.traffic.since).removesuffix(' UTC')} – {asked.traffic.until.astimezone(UTC):%H:%M} UTC"
    else:
        on = "tracks"
    return f"{task_title(asked.kind)}, {asked.dataset or on}"


def model_words(task: TaskOut) -> str:
    """What predicts, is measured or is fitted."""
    if task.asked.kind == "train":
        return ", ".join(family_words(name) for name in task.asked.families)
    return f"v{task.model_version}"


def left_words(task: TaskOut) -> str:
    """How long it will take, as far as that is known."""
    if task.eta_s is None:
        return "no estimate yet"
    return f"about {lasting(timedelta(seconds=task.eta_s))} left"


def lasted(task: TaskOut, now: datetime) -> str:
    """How long it has run."""
    if task.started_at is None:
        return DASH
    return lasting((task.finished_at or now) - task.started_at)


def verdict(tasks: TasksOut, now: datetime) -> tuple[Mark, str]:
    """What runs and what waits, a mark and a sentence."""
    waits = {0: "none waits", 1: "1 waits"}.get(tasks.queued, f"{count(tasks.queued)} wait")
    runs = next((one for one in tasks.tasks if one.state is TaskState.RUNNING), None)
    if runs is not None:
        return _MARKS[TaskState.RUNNING], f"{name_of(runs)} has run for {lasted(runs, now)}; {waits}."
    if tasks.queued:
        oldest = min((one.updated_at for one in tasks.tasks if one.state is TaskState.QUEUED), default=now)
        slow = now - oldest > timedelta(seconds=30)
        mark = Mark("Nothing runs", "warn", "warning") if slow else _MARKS[TaskState.QUEUED]
        why = " See on Services whether a worker runs, and its job run_tasks is not paused." if slow else ""
        return mark, f"Nothing runs; {waits} for a worker.{why}"
    last = next((one for one in tasks.tasks if one.state not in ACTIVE), None)
    if last is not None and last.state is TaskState.FAILED:
        return _MARKS[TaskState.FAILED], f"Nothing runs or waits; the last job, {name_of(last)}, failed."
    return Mark("Idle", "ok", "check_circle"), "Nothing runs or waits."


def came_of(task: TaskOut) -> str:
    """What came of a task, in short."""
    said = task.stage
    if task.error is not None:
        said = ended_because(task.error)
    elif task.state is TaskState.CANCELLED and task.cancelled is not None:
        said = f"By {task.cancelled.by}: {task.cancelled.reason.removesuffix('.')}."
    if task.outcome is None:
        return said
    left = task.outcome.sentence
    return left if task.state is TaskState.DONE else f"{said} {left}"


def ended_because(error: str) -> str:
    """Why a task has failed, a sentence."""
    return f"{error[:1].upper()}{error[1:].removesuffix('.')}."


def versions_of(task: TaskOut) -> list[int]:
    """Versions that a task is about once there is something to look at: those that it has made, or the one that it asked."""
    if task.asked.kind == "train":
        return [] if task.outcome is None else list(task.outcome.model_versions)
    return [] if task.model_version is None else [task.model_version]


def runs_link(task: TaskOut) -> dict[str, str] | None:
    """Parameters of the page of training runs that show what a task has trained; None: nothing, or nobody knows."""
    ids = [] if task.outcome is None else task.outcome.run_ids
    return {"runs": ",".join(ids)} if ids else None


def facts(task: TaskOut) -> list[tuple[str, str]]:
    """Who asked for what, and when."""
    found = [
        ("By", task.by),
        ("Reason", task.asked.reason),
        ("At", moment(task.created_at)),
        ("Families" if task.asked.kind == "train" else "Version", model_words(task)),
    ]
    if task.file is not None:
        found.append(
            (
                "Tracks",
                file_words(task.file).removesuffix(".") if task.file.rows is not None else f"{task.file.name}, {size(task.file.bytes)}",
            )
        )
    elif task.asked.traffic is not None:
        traffic = task.asked.traffic
        of = ", ".join(traffic.scenes) or "all scenes"
        found.append(("Tracks", f"traffic of {of}, {moment(traffic.since)} – {moment(traffic.until)}"))
    if task.attempts > 1:
        found.append(("Begun", f"{task.attempts} times, because a worker had disappeared"))
    if task.holder is not None:
        found.append(("Worker", task.holder))
    if task.cancelled is not None:
        found.append(("Cancelled by", f"{task.cancelled.by}: {task.cancelled.reason}"))
    return found


def figures(task: TaskOut) -> list[tuple[str, str]]:
    """What was measured, a name and a value with its unit each."""
    measured = task.outcome.figures if task.outcome is not None else {}
    return [(word, write(measured[name])) for name, word, write in _FIGURES if name in measured]


def conflict(present: TaskOut | None) -> str:
    """What to say after a 409: how the task stands now."""
    if present is None:
        return "Nothing was done: the job has changed meanwhile."
    return f"Nothing was done: meanwhile the job has changed; it {_STANDS[present.state]}."

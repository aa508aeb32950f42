"""The tracks that a task is about: of an uploaded file, or of recorded traffic."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from data.datasets import tracks
from data.tasks.files import TaskFiles
from trajops.contracts.tasks import TaskOut, TrafficIn
from trajops.drift.gaps import Gap, LeftOut, Span, outside
from trajops.errors import InvalidInput, TrajOpsError
from trajops.services.drift_settings import as_told, told_of
from trajops.tasks.rules import TaskRules
from trajops.telemetry import Served
from trajops.trajectories import Scene

if TYPE_CHECKING:
    from workers.wiring import Parts

SOURCES: tuple[Served, ...] = ("live", "replay")


@dataclass(frozen=True)
class Tracks:
    """What a task is about.

    Attributes:
        scenes: its tracks.
        dataset: their name.
        told: parameters of a run that is trained on them.
        left_out: what was left out of recorded traffic, a sentence; empty where nothing was.
    """

    scenes: list[Scene]
    dataset: str
    told: dict[str, str] = field(default_factory=dict)
    left_out: str = ""


def tracks_of(task: TaskOut, parts: "Parts", files: TaskFiles, rules: TaskRules) -> Tracks:
    """Read the tracks of a task.

    Raises:
        InvalidInput: if the file is no tracks, naming row and column; or the traffic holds nobody, too many, or nothing to learn from.
        NotFound: if the uploaded file is not on this machine.
        Unavailable: if the lake cannot be read.
    """
    asked = task.asked
    if asked.traffic is None:
        assert asked.file_id is not None
        name = asked.file_id if task.file is None else task.file.name
        return Tracks(read(files.path(asked.file_id), name), asked.dataset or name)
    traffic = asked.traffic
    name = asked.dataset or f"traffic {traffic.since:%Y-%m-%d %H:%M:%S} to {traffic.until:%Y-%m-%d %H:%M:%S} UTC"
    whole, left_out = Span(traffic.since, traffic.until), LeftOut()
    if asked.kind == "train":
        left_out = parts.trust.left_out(whole, SOURCES)
    elif asked.kind == "evaluate":
        left_out = parts.trust.wrong(whole, SOURCES)
    gaps = as_told(whole, left_out.gaps)
    kept = outside([Span(gap.since, gap.until) for gap in gaps if gap.scene is None], whole)
    if not kept:
        raise InvalidInput(f"nothing of this traffic may be learnt from; {left_out.sentence or 'all of it is left out'}")
    scenes = _recorded(parts, whole, gaps, traffic, rules)
    # Of some scenes only, the reference “what the champion was trained on” could not be told.
    told = {} if traffic.scenes else told_of(whole._replace(until=kept[-1].until), gaps)
    return Tracks(scenes, name, told, left_out.sentence or "")


def read(path: Path, name: str) -> list[Scene]:
    """Scenes of a file, by id.

    Raises:
        InvalidInput: naming the file as its owner does, row and column.
    """
    try:
        return list(tracks.read(path).values())
    except TrajOpsError as error:
        raise InvalidInput(error.message.replace(str(path), name)) from error


def _recorded(parts: "Parts", whole: Span, gaps: Sequence[Gap], traffic: TrafficIn, rules: TaskRules) -> list[Scene]:
    from data.lake.tracks import recorded_agents, recorded_scenes  # noqa: PLC0415 - brings DuckDB

    agents = recorded_agents(parts.lake, *whole, SOURCES)
    if agents > rules.max_agents:
        raise InvalidInput(f"the traffic holds {agents} agents, allowed are {rules.max_agents}; choose a shorter range of time")
    found = recorded_scenes(parts.lake, *whole, SOURCES, without=gaps)
    chosen = [scene for scene in found if not traffic.scenes or scene.scene_id in set(traffic.scenes)]
    if not chosen:
        of = f" of {', '.join(traffic.scenes)}" if traffic.scenes else ""
        raise InvalidInput(f"there is no recorded traffic{of} from {whole.since:%Y-%m-%d %H:%M:%S} to {whole.until:%Y-%m-%d %H:%M:%S} UTC")
    return chosen

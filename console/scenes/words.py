"""A scene as a map and a sentence tell it: agents at a moment, how fast they are, whether news still comes. No Streamlit here."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np

from console.wording import DASH, Mark, ago, count
from trajops.contracts.scenes import ScenePrediction, SceneTrack, SceneWindow

# Words for speeds, with where they end in m/s: any kind of body has them.
BANDS: tuple[tuple[str, float], ...] = (
    ("Still (< 0.5 m/s)", 0.5),
    ("Slow (< 2 m/s)", 2.0),
    ("Brisk (< 7 m/s)", 7.0),
    ("Fast (≥ 7 m/s)", float("inf")),
)
STALE_AFTER = timedelta(seconds=5)
# An agent is taken to be where its track says for so long after its last position, seconds; its prediction is new for so long.
KNOWN_S, NEW_S = 1.5, 3.0


@dataclass(frozen=True, slots=True)
class AgentNow:
    """One agent at a moment.

    Attributes:
        agent_id: who.
        position: x, y metres.
        trail: where it was before, oldest first, metres; its end is the position.
        speed_mps: None for a single position.
        prediction: the newest made by then; None where there is none.
    """

    agent_id: str
    position: tuple[float, float]
    trail: list[tuple[float, float]]
    speed_mps: float | None
    prediction: ScenePrediction | None


def agents_now(window: SceneWindow, trail_s: float) -> list[AgentNow]:
    """Each agent where it was last seen."""
    newest: dict[str, ScenePrediction] = {}
    for p in window.predictions:
        newest.setdefault(p.agent_id, p)
    return [
        AgentNow(
            track.agent_id, track.positions[-1], _trail(track, track.times_s[-1], trail_s), track.speed_mps, newest.get(track.agent_id)
        )
        for track in window.tracks
        if track.positions
    ]


def agents_at(window: SceneWindow, at_s: float, trail_s: float) -> list[AgentNow]:
    """Each agent that is known at a moment of the scene's clock, seconds; between two positions on the line that joins them."""
    found = []
    for track in window.tracks:
        times_s, positions = np.array(track.times_s), np.array(track.positions)
        after = int(np.searchsorted(times_s, at_s, side="right"))
        if after == 0 or at_s - times_s[after - 1] > KNOWN_S:
            continue
        before = max(0, after - 2)
        here = (float(np.interp(at_s, times_s, positions[:, 0])), float(np.interp(at_s, times_s, positions[:, 1])))
        took_s = at_s - float(times_s[before])
        speed = float(np.hypot(here[0] - positions[before, 0], here[1] - positions[before, 1])) / took_s if took_s > 0 else None
        made = [p for p in window.predictions if p.agent_id == track.agent_id and at_s - NEW_S <= p.observed_at_s <= at_s]
        prediction = max(made, key=lambda p: p.observed_at_s, default=None)
        found.append(AgentNow(track.agent_id, here, [*_trail(track, at_s, trail_s), here], speed, prediction))
    return found


def band(speed_mps: float | None) -> int:
    """Which of `BANDS` a speed lies in; a single position is taken for a body that stands still."""
    return next(i for i, (_, below) in enumerate(BANDS) if (speed_mps or 0.0) < below)


def moments_s(window: SceneWindow, most: int) -> list[float]:
    """Moments of the scene's clock to play, seconds: half a second apart, or as many as there may be."""
    times_s = [p.observed_at_s for p in window.predictions] or [t for track in window.tracks for t in track.times_s]
    if not times_s:
        return []
    begin, end = min(times_s), max(times_s)
    number = min(most, max(2, int((end - begin) / 0.5) + 1))
    return [float(t) for t in np.linspace(begin, end, number)]


def news(window: SceneWindow, now: datetime) -> Mark:
    """Whether the scene is alive."""
    if window.newest_at is None or not window.tracks:
        return Mark("Silent", "unknown", "sensors_off")
    if now - window.newest_at > STALE_AFTER:
        return Mark("No news", "warn", "warning")
    return Mark("Live", "ok", "sensors")


def sentence(window: SceneWindow, now: datetime) -> str:
    """How many agents there are, and when they were last heard of."""
    number = f"{count(window.agents)} agent{'' if window.agents == 1 else 's'}"
    return f"{number}, {count(len(window.predictions))} with a prediction; last heard of {ago(window.newest_at, now)}"


def rows(agents: Sequence[AgentNow]) -> list[dict[str, Any]]:
    """The map as a table."""
    return [
        {
            "Agent": agent.agent_id,
            "x (m)": round(agent.position[0], 2),
            "y (m)": round(agent.position[1], 2),
            "Speed (m/s)": None if agent.speed_mps is None else round(agent.speed_mps, 2),
            "Version": DASH if agent.prediction is None else f"v{agent.prediction.model_version}",
            "Modes": None if agent.prediction is None else len(agent.prediction.modes),
        }
        for agent in agents
    ]


def _trail(track: SceneTrack, until_s: float, trail_s: float) -> list[tuple[float, float]]:
    return [p for t, p in zip(track.times_s, track.positions, strict=True) if until_s - trail_s <= t <= until_s]

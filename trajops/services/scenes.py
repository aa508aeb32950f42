"""Scenes as a map shows them: which there are, a piece of one to replay, and where its agents are now."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import numpy as np

from trajops.clock import now
from trajops.contracts.scenes import (
    MAX_AGENTS,
    MAX_POSITIONS,
    MAX_PREDICTIONS,
    MAX_WINDOW_S,
    SceneOut,
    ScenesOut,
    SceneTrack,
    SceneWindow,
)
from trajops.errors import InvalidInput
from trajops.ports import Clock, SceneRows, SceneSource
from trajops.trajectories import FloatArray

# So many newest rows of each table are read for a list of scenes, and so many scenes are listed.
LISTED_ROWS, LISTED = 1_000_000, 500
SPEED_OVER_S = 1.0


class Scenes:
    """Reads scenes.

    Args:
        source: where rows are read.
        clock: what time it is.
    """

    def __init__(self, source: SceneSource, clock: Clock) -> None:
        self._source = source
        self._clock = clock

    def seen(self, since: datetime, until: datetime) -> ScenesOut:
        """Scenes of a time range, the one heard of last first.

        Raises:
            Unavailable: if the lake cannot be read.
        """
        begin, found = self._source.scenes(since, until, LISTED_ROWS)
        ordered: list[SceneOut] = sorted(found, key=lambda scene: (scene.newest_at, scene.scene_id), reverse=True)
        return ScenesOut(since=begin, until=until, is_cut=begin > since or len(ordered) > LISTED, scenes=ordered[:LISTED])

    def window(self, scene_id: str, since: datetime, until: datetime, agents: int = MAX_AGENTS, agent_id: str | None = None) -> SceneWindow:
        """What was received of a scene in [since, until).

        Args:
            scene_id: which.
            since: aware.
            until: aware, at most `MAX_WINDOW_S` later.
            agents: most agents; of more, those with the most rows.
            agent_id: one that is among them in any case.

        Raises:
            InvalidInput: if the window is too long.
            Unavailable: if the lake cannot be read.
        """
        if until - since > timedelta(seconds=MAX_WINDOW_S):
            raise InvalidInput(
                f"a window of a scene is at most {MAX_WINDOW_S} s long, not {(until - since).total_seconds():g} s; shorten it"
            )
        return _shown(self._source.window(scene_id, since, until, agents, agent_id, MAX_PREDICTIONS), scene_id, since, until)

    def live(self, scene_id: str, seconds: float, agents: int = MAX_AGENTS) -> SceneWindow:
        """Each agent heard of in the last seconds, with its newest prediction; empty where nothing came.

        Raises:
            Unavailable: if the lake cannot be read.
        """
        until = now(self._clock)
        since = until - timedelta(seconds=seconds)
        return _shown(self._source.window(scene_id, since, until, agents, None, None), scene_id, since, until)


def speed_mps(times_s: FloatArray, positions_m: FloatArray) -> float | None:
    """Length of the way over the last second of a track, by its duration.

    Args:
        times_s: (N,) increasing, seconds.
        positions_m: (N, 2) metres.

    Returns:
        m/s; None for a single position.
    """
    start = max(0, min(int(np.searchsorted(times_s, times_s[-1] - SPEED_OVER_S - 1e-6)), len(times_s) - 2)) if len(times_s) else 0
    duration_s = float(times_s[-1] - times_s[start]) if len(times_s) else 0.0
    if duration_s <= 0:
        return None
    steps_m = np.diff(positions_m[start:], axis=0)
    return float(np.hypot(steps_m[:, 0], steps_m[:, 1]).sum() / duration_s)


def _shown(rows: SceneRows, scene_id: str, since: datetime, until: datetime) -> SceneWindow:
    total = sum(len(times_s) for _, times_s, _ in rows.tracks)
    every = -(-total // MAX_POSITIONS) if total else 1
    return SceneWindow(
        scene_id=scene_id,
        since=since,
        until=until,
        tracks=[_track(*track, every) for track in rows.tracks],
        predictions=rows.predictions,
        agents=rows.agents,
        cut=_cut(rows, every),
        newest_at=rows.newest_at,
    )


def _track(agent_id: str, times_s: FloatArray, positions_m: FloatArray, every: int) -> SceneTrack:
    kept = slice((len(times_s) - 1) % every, None, every)  # the newest position stays
    return SceneTrack(
        agent_id=agent_id,
        times_s=[round(t, 6) for t in times_s[kept].tolist()],
        positions=[(x, y) for x, y in positions_m[kept].tolist()],
        speed_mps=speed_mps(times_s, positions_m),
    )


def _cut(rows: SceneRows, every: int) -> list[str]:
    said: Sequence[tuple[bool, str]] = (
        (rows.agents > len(rows.tracks), f"{rows.agents - len(rows.tracks)} of {rows.agents} agents, those with the fewest rows"),
        (every > 1, f"positions: one in {every} is shown"),
        (rows.every > 1, f"predictions: one in {rows.every} of each agent is shown"),
    )
    return [sentence for is_so, sentence in said if is_so]

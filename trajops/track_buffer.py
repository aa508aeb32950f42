"""The track buffer: each agent's last positions, so that a client may send only what is new.

Histories come out through `trajops.windows.latest_history`, the interpolation that training windows are cut with.
"""

from bisect import bisect_left
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import NamedTuple

import numpy as np

from trajops.errors import NotFound, WindowTooShort
from trajops.ports import Clock
from trajops.shared_tracks import News, Rules, SharedTrack
from trajops.trajectories import DEFAULT_WINDOW, FloatArray, WindowSpec
from trajops.windows import TIME_TOLERANCE_S, latest_history

# At 50 positions a second this is five seconds of track: more than any window that is served.
MAX_OBSERVATIONS = 256


class BufferedAgent(NamedTuple):
    """One agent as the buffer knows it."""

    scene_id: str
    agent_id: str
    observed_at_s: float
    observations: int
    is_ready: bool


@dataclass(slots=True)
class _Track:
    """Sorted times and positions of one agent, and the newest whole history that is not yet merged into them."""

    seen_ns: int
    restarts: int = 0  # of the shared track that was taken over last
    times_s: list[float] = field(default_factory=list)
    positions_m: list[tuple[float, float]] = field(default_factory=list)
    pending: tuple[float, Sequence[float]] | None = None

    def newest_s(self) -> float:
        """Time of the last position, agents' clock."""
        last_s = self.times_s[-1] if self.times_s else -np.inf
        return last_s if self.pending is None else max(last_s, self.pending[0])

    def restart(self) -> None:
        """Forget the positions."""
        self.times_s.clear()
        self.positions_m.clear()
        self.pending = None

    def insert(self, time_s: float, position_m: tuple[float, float]) -> None:
        """Put one position where it belongs; a second report for the same time replaces the first."""
        times_s = self.times_s
        index = bisect_left(times_s, time_s - TIME_TOLERANCE_S)
        if index < len(times_s) and times_s[index] <= time_s + TIME_TOLERANCE_S:
            self.positions_m[index] = position_m
        else:
            times_s.insert(index, time_s)
            self.positions_m.insert(index, position_m)

    def merge(self, window: WindowSpec) -> None:
        """Insert the pending history."""
        if self.pending is not None:
            observed_at_s, flat_m = self.pending
            self.pending = None
            for step, position_m in enumerate(zip(flat_m[::2], flat_m[1::2], strict=True)):
                self.insert(observed_at_s - (window.t_obs - 1 - step) * window.dt_s, position_m)

    def trim(self, keep_s: float) -> None:
        """Drop what no window can reach."""
        oldest = max(bisect_left(self.times_s, self.times_s[-1] - keep_s), len(self.times_s) - MAX_OBSERVATIONS)
        if oldest > 0:
            del self.times_s[:oldest], self.positions_m[:oldest]


class TrackBuffer:
    """Bounded memory of recent positions by scene and agent. Safe to call from several threads.

    Observations may come late, twice or in any order. An agent whose clock jumps back by more than the time to live is
    taken to start anew, so that a replayed recording is not mistaken for very late news.

    Args:
        clock: the server's clock, for the time to live.
        ttl_s: an agent that nobody mentions for so long is forgotten, seconds.
        capacity: most agents kept; the one mentioned least recently goes first.
        max_gap_s: widest gap between two observations that a history is interpolated over, seconds.
        window: what a history consists of.

    Attributes:
        outbox: where what is told to this buffer is put down for others; None: nobody asks for it.
        rules: what of a track is kept.
        evictions: agents dropped because the buffer was full.
    """

    def __init__(
        self, clock: Clock, *, ttl_s: float = 60.0, capacity: int = 100_000, max_gap_s: float = 1.0, window: WindowSpec = DEFAULT_WINDOW
    ) -> None:
        self.evictions = 0
        self._clock = clock
        self._ttl_s = ttl_s
        self._ttl_ns = int(ttl_s * 1e9)
        self._capacity = capacity
        self._max_gap_s = max_gap_s
        self._window = window
        self._keep_s = (window.t_obs - 1) * window.dt_s + max_gap_s + TIME_TOLERANCE_S
        self.outbox: deque[News] | None = None
        self.rules = Rules(ttl_s, self._keep_s, MAX_OBSERVATIONS, window)
        # In order of the last mention, so that the oldest is always the first.
        self._tracks: dict[tuple[str, str], _Track] = {}
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._tracks)

    def observe(self, scene_id: str, agent_id: str, observed_at_s: float, position_m: tuple[float, float]) -> None:
        """Remember one position.

        Args:
            scene_id: scene of the agent.
            agent_id: the moving body.
            observed_at_s: agents' clock, seconds.
            position_m: x and y, metres.
        """
        with self._lock:
            track = self._touch((scene_id, agent_id), observed_at_s)
            track.merge(self._window)
            track.insert(observed_at_s, position_m)
            track.trim(self._keep_s)
            if self.outbox is not None:
                self.outbox.append(News(scene_id, agent_id, track.seen_ns, observed_at_s, position_m))

    def extend(self, scene_id: str, agent_id: str, observed_at_s: float, flat_m: Sequence[float]) -> None:
        """Remember a whole history, in constant time: it is merged only when somebody asks.

        Args:
            scene_id: scene of the agent.
            agent_id: the moving body.
            observed_at_s: time of the last position, agents' clock, seconds.
            flat_m: x and y of `t_obs` positions in turn, oldest first, `dt_s` apart, metres.
        """
        with self._lock:
            track = self._touch((scene_id, agent_id), observed_at_s)
            # The newest history spans the window by itself, so an older one has nothing to add.
            if track.pending is None or track.pending[0] <= observed_at_s:
                track.pending = (observed_at_s, flat_m)
            if self.outbox is not None:
                self.outbox.append(News(scene_id, agent_id, track.seen_ns, observed_at_s, flat_m))

    def take_over(self, scene_id: str, agent_id: str, shared: SharedTrack) -> None:
        """Add what all processes know of an agent; that does not count as a mention.

        Where the agent's clock was set back since, what was known here is of the old clock. Where the two are further apart than the
        time to live, the one told of last is right.
        """
        key, shared_ns = (scene_id, agent_id), round(shared.seen_s * 1e9)
        with self._lock:
            now_ns = self._clock.now_ns()
            if not shared.points or now_ns - shared_ns > self._ttl_ns:
                return
            track = self._tracks.get(key)
            if track is None:
                self._drop_stale(now_ns)
                track = self._tracks[key] = _Track(shared_ns)
            elif now_ns - track.seen_ns > self._ttl_ns or shared.restarts > track.restarts:
                track.restart()
            elif abs(shared.newest_s - track.newest_s()) > self._ttl_s:
                if shared_ns < track.seen_ns:
                    return
                track.restart()
            track.seen_ns, track.restarts = max(track.seen_ns, shared_ns), shared.restarts
            track.merge(self._window)
            for time_s, x_m, y_m in shared.points:
                track.insert(time_s, (x_m, y_m))
            track.trim(self._keep_s)

    def emptied(self) -> "TrackBuffer":
        """A buffer with the same rules, and nothing in it."""
        return TrackBuffer(self._clock, ttl_s=self._ttl_s, capacity=self._capacity, max_gap_s=self._max_gap_s, window=self._window)

    def history(self, scene_id: str, agent_id: str, until_s: float | None = None) -> tuple[float, FloatArray]:
        """Newest position's time, and the observation window that ends there.

        Args:
            scene_id: scene of the agent.
            agent_id: the moving body.
            until_s: later positions are left out, agents' clock, seconds. None: all are used.

        Returns:
            Seconds of the agents' clock, and (t_obs, 2) metres, oldest first.

        Raises:
            NotFound: if the agent is not in the buffer.
            WindowTooShort: if its positions do not span the window; `span_s` and `needed_s` in the details.
        """
        with self._lock:
            track = self._tracks.get((scene_id, agent_id))
            if track is None or self._clock.now_ns() - track.seen_ns > self._ttl_ns:
                raise NotFound(
                    f"agent {agent_id!r} of scene {scene_id!r} has sent no position within {self._ttl_s:g} s; "
                    "post its positions to /observations first, or send the history itself"
                )
            track.merge(self._window)
            track.trim(self._keep_s)
            stop = None if until_s is None else bisect_left(track.times_s, until_s + TIME_TOLERANCE_S)
            times_s, positions_m = track.times_s[:stop], track.positions_m[:stop]
        return self._latest(agent_id, times_s, positions_m)

    def agents(self, scene_id: str | None = None, limit: int = 1_000) -> list[BufferedAgent]:
        """Agents that were mentioned lately, newest mention first; of one scene, where it is given."""
        horizon_ns = self._clock.now_ns() - self._ttl_ns
        with self._lock:
            known = [
                (key, track)
                for key, track in reversed(self._tracks.items())
                if track.seen_ns >= horizon_ns and (scene_id is None or key[0] == scene_id)
            ]
            rows = []
            for key, track in known[:limit]:
                track.merge(self._window)
                track.trim(self._keep_s)
                rows.append((key, list(track.times_s), list(track.positions_m)))
        return [BufferedAgent(*key, times_s[-1], len(times_s), self._is_ready(times_s, positions_m)) for key, times_s, positions_m in rows]

    def _touch(self, key: tuple[str, str], observed_at_s: float) -> _Track:
        """The agent's track, moved to the newest end; made where it is missing, and others dropped to make room."""
        now_ns = self._clock.now_ns()
        track = self._tracks.pop(key, None)
        if track is None:
            self._drop_stale(now_ns)
            track = _Track(now_ns)
        elif now_ns - track.seen_ns > self._ttl_ns or observed_at_s < track.newest_s() - self._ttl_s:
            track.restart()
        track.seen_ns = now_ns
        self._tracks[key] = track
        return track

    def _drop_stale(self, now_ns: int) -> None:
        """Make room for one: drop who has been silent for too long, and the least recent one of a full buffer."""
        while self._tracks:
            key = next(iter(self._tracks))
            is_stale = now_ns - self._tracks[key].seen_ns > self._ttl_ns
            if len(self._tracks) < self._capacity and not is_stale:
                return
            self.evictions += not is_stale
            del self._tracks[key]

    def _latest(self, agent_id: str, times_s: list[float], positions_m: list[tuple[float, float]]) -> tuple[float, FloatArray]:
        try:
            history_m = latest_history(np.array(times_s), np.array(positions_m).reshape(-1, 2), self._window, max_gap_s=self._max_gap_s)
        except WindowTooShort as error:
            missing_s = error.details["needed_s"] - error.details["span_s"]
            raise WindowTooShort(
                f"agent {agent_id!r}: {error.details['span_s']:.1f} s of continuous positions are known and "
                f"{error.details['needed_s']:.1f} s are needed; {missing_s:.1f} s are missing: post more positions to /observations "
                f"(at most {self._max_gap_s:g} s apart), or send the history itself",
                **error.details,
                missing_s=missing_s,
            ) from error
        return times_s[-1], history_m

    def _is_ready(self, times_s: list[float], positions_m: list[tuple[float, float]]) -> bool:
        try:
            self._latest("", times_s, positions_m)
        except WindowTooShort:
            return False
        return True

"""What API processes tell each other of their agents' positions, and what becomes of a track that all of them write to.

A shared track is a log of positions in the order in which they were told, cut where no window can reach; read in that order into a
`TrackBuffer`, it gives the history that a single process would have that was told all of it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from math import inf
from typing import NamedTuple, Protocol

from trajops.trajectories import DEFAULT_WINDOW, WindowSpec

Point = tuple[float, float, float]
AgentKey = tuple[str, str]


class News(NamedTuple):
    """What one process was told of one agent.

    Attributes:
        scene_id: scene of the agent.
        agent_id: the moving body.
        seen_ns: when it was told, the process's clock.
        observed_at_s: time of the last position, agents' clock, seconds.
        flat_m: x and y of one position, or of a whole history in turn, oldest first, `dt_s` apart, metres.
    """

    scene_id: str
    agent_id: str
    seen_ns: int
    observed_at_s: float
    flat_m: Sequence[float]


class Rules(NamedTuple):
    """How long and how much of an agent is kept.

    Attributes:
        ttl_s: an agent of whom nothing is told for so long is forgotten; one whose clock jumps back by more starts anew, seconds.
        keep_s: positions so much older than the newest one are beyond every window, seconds.
        most: most positions of one agent.
        window: what a history consists of.
    """

    ttl_s: float
    keep_s: float
    most: int
    window: WindowSpec = DEFAULT_WINDOW


class Run(NamedTuple):
    """News of one agent that can be booked at once: single positions in a row, or one whole history.

    Attributes:
        key: scene and agent.
        seen_s: when the last of it was told, seconds since the epoch.
        is_history: whether the points are one history.
        numbers: time, x and y of each position in turn, in the order in which they were told; seconds of the agents' clock, metres.
    """

    key: AgentKey
    seen_s: float
    is_history: bool
    numbers: list[float]

    @property
    def points(self) -> list[Point]:
        """The same as triples."""
        numbers = self.numbers
        return list(zip(numbers[::3], numbers[1::3], numbers[2::3], strict=True))


@dataclass(frozen=True, slots=True)
class SharedTrack:
    """One agent as all processes know it.

    Attributes:
        seen_s: when anything was told of it last, seconds since the epoch.
        newest_s: time of the newest position, agents' clock, seconds.
        points: (time, x, y) in the order in which they were told; seconds of the agents' clock, metres.
        history_s: time of the whole history that the log ends with; -inf where it ends with a single position.
        restarts: how often it started anew because the agent's clock was set back.
    """

    seen_s: float
    newest_s: float
    points: Sequence[Point]
    history_s: float = -inf
    restarts: int = 0


class SharedTracks(Protocol):
    """Where API processes put what they are told of agents, and find what others were told. Safe to call from several threads."""

    def exchange(self, news: Sequence[News], asked: Sequence[AgentKey]) -> list[SharedTrack | None]:
        """Book the news, then answer what is known of the agents asked for. Without either it is only asked whether it is there.

        Raises:
            Unavailable: if it cannot be reached; some of the news may have been booked, and booking them again changes nothing.
        """
        ...

    def agents(self, scene_id: str | None, limit: int) -> list[tuple[AgentKey, SharedTrack]]:
        """Agents told of lately, the one told of last first; of one scene, where it is given. Who is first is exact to a second.

        Raises:
            Unavailable: if it cannot be reached.
        """
        ...


def numbers_of(news: News, window: WindowSpec) -> list[float]:
    """Time, x and y of each position in turn, oldest first: the times that `TrackBuffer` gives them."""
    flat_m, observed_at_s = news.flat_m, news.observed_at_s
    count = len(flat_m) // 2
    numbers = [0.0] * (3 * count)
    numbers[::3] = [observed_at_s - before_s for before_s in _before_s(count, window.dt_s)]
    numbers[1::3], numbers[2::3] = flat_m[::2], flat_m[1::2]
    return numbers


@cache
def _before_s(count: int, dt_s: float) -> list[float]:
    """How long before the last of so many positions each was, seconds."""
    return [(count - 1 - step) * dt_s for step in range(count)]


def in_runs(news: Iterable[News], rules: Rules) -> list[Run]:
    """The news as few runs, in each agent's order; a history that a later one makes superfluous is left out."""
    runs: dict[AgentKey, list[tuple[bool, list[News]]]] = {}
    for one in news:
        is_history = len(one.flat_m) > 2
        mine = runs.setdefault((one.scene_id, one.agent_id), [])
        if not mine or mine[-1][0] != is_history or len(mine[-1][1]) >= rules.most:
            mine.append((is_history, [one]))
        elif not is_history:
            mine[-1][1].append(one)
        elif one.observed_at_s >= mine[-1][1][0].observed_at_s:
            mine[-1] = (True, [one])
        else:
            mine.append((True, [one]))
    return [
        Run(key, told[-1].seen_ns / 1e9, is_history, [number for one in told for number in numbers_of(one, rules.window)])
        for key, mine in runs.items()
        for is_history, told in mine
    ]


def followed(kept: SharedTrack | None, run: Run, rules: Rules) -> SharedTrack:
    """What a shared track is after a run of news.

    Args:
        kept: before it; None: nothing is known of the agent.
        run: of one process.
        rules: what is kept.
    """
    seen_s, newest_s, points, history_s, restarts = -inf, -inf, list[Point](), -inf, 0
    if kept is not None:
        seen_s, newest_s, points, history_s, restarts = kept.seen_s, kept.newest_s, list(kept.points), kept.history_s, kept.restarts
    if run.is_history:
        at_s = run.numbers[-3]
        if at_s < newest_s - rules.ttl_s:
            newest_s, points, history_s, restarts = -inf, [], -inf, restarts + 1
        # A later history spans the window by itself, so that one which nothing followed has nothing to add.
        if at_s >= history_s:
            whole = run.points
            if history_s > -inf:
                del points[-len(whole) :]
            points += whole
            history_s = at_s
        newest_s = max(newest_s, at_s)
    else:
        for point in run.points:
            if point[0] < newest_s - rules.ttl_s:
                newest_s, points, restarts = -inf, [], restarts + 1
            newest_s = max(newest_s, point[0])
            points.append(point)
        history_s = -inf
    first = max(0, len(points) - rules.most)
    while first < len(points) and points[first][0] < newest_s - rules.keep_s:
        first += 1
    return SharedTrack(max(seen_s, run.seen_s), newest_s, points[first:], history_s, restarts)

"""Recorded tracks as live traffic: each position reaches the API when it was played.

An agent is one continuous track. Most agents are clients that send their whole history; every fifth only reports
positions to `/observations` and asks for a forecast by its id. Both ways carry the truth of earlier predictions.
What passes while nobody plays who could be predicted is cut (docs/decisions/0011).
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import Awaitable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

from trajops.client import ApiProblem, ApiUnavailable, AsyncTrajOpsClient
from trajops.contracts.predictions import ObservationIn, PredictIn
from trajops.trajectories import DEFAULT_WINDOW, Scene, Track, WindowSpec

IN_FLIGHT = 32
PAUSE_S = 2.0
# Traffic goes on: what is not answered by then is lost, and is not sent again, because the next position is there already.
PATIENCE_S = 5.0
Answer = TypeVar("Answer")


@dataclass
class Tally:
    """What the replay has sent so far."""

    predictions: int = 0
    observations: int = 0
    failures: int = 0
    last_failure: str = ""
    versions: dict[int, int] = field(default_factory=lambda: defaultdict(int))


@dataclass(frozen=True, slots=True)
class Tick:
    """One step of play.

    Attributes:
        cut_s: what was cut from the scene before it: states are that much earlier than their track says.
        states: the agents present and the index of their newest state.
    """

    cut_s: float
    states: list[tuple[Track, int]]


def ticks(scene: Scene, window: WindowSpec) -> Iterator[Tick]:
    """The scene step by step, without what passes while nobody is there who can be predicted, except for a short pause.

    A track that is long enough to be predicted is played whole, and always at its own pace. One that is too short is never
    predicted; it is left out if any of it lies in what is cut, because the rest would seem to jump.
    """
    slots = {track.agent_id: [int(time_s / window.dt_s) for time_s in track.times_s] for track in scene.tracks}
    wanted = {slot for track in scene.tracks if len(track) >= window.t_obs for slot in slots[track.agent_id]}
    played: dict[int, Tick] = {}
    cut = empty = 0
    for slot in range(min(wanted), max(wanted) + 1):
        empty = 0 if slot in wanted else empty + 1
        if empty * window.dt_s > PAUSE_S:
            cut += 1
        else:
            played[slot] = Tick(cut * window.dt_s, [])
    for track in scene.tracks:
        if all(slot in played for slot in slots[track.agent_id]):
            for index, slot in enumerate(slots[track.agent_id]):
                played[slot].states.append((track, index))
    yield from played.values()


class Replay:
    """Sends one scene to the API, in its own time or faster."""

    def __init__(self, url: str, api_key: str, scene: Scene, scene_id: str, label: str, *, speed: float) -> None:
        self.tally = Tally()
        self._url, self._api_key, self._scene = url, api_key, scene
        self._scene_id, self._label, self._speed = scene_id, label, speed

    async def run(self) -> None:
        """Play the scene once."""
        dt_s, t_obs = DEFAULT_WINDOW.dt_s, DEFAULT_WINDOW.t_obs
        async with AsyncTrajOpsClient(self._url, self._api_key, deadline_s=PATIENCE_S, attempts=1, connections=IN_FLIGHT) as client:
            played = list(ticks(self._scene, DEFAULT_WINDOW))
            began = time.time() - min(float(track.times_s[index]) for track, index in played[0].states)
            start = time.perf_counter()
            for number, tick in enumerate(played):
                delay = start + number * dt_s / self._speed - time.perf_counter()
                if delay > 0:
                    await asyncio.sleep(delay)
                epoch = began - tick.cut_s
                reported = [(track, index) for track, index in tick.states if index < t_obs - 1 or self._reports(track)]
                if reported:
                    await self._observe(client, epoch, reported)
                async with asyncio.TaskGroup() as group:
                    for track, index in tick.states:
                        if index >= t_obs - 1:
                            group.create_task(self._predict(client, epoch, track, index))

    @staticmethod
    def _reports(track: Track) -> bool:
        return sum(track.agent_id.encode()) % 5 == 0

    def _agent_id(self, track: Track) -> str:
        return f"{self._label}-{track.agent_id}"

    async def _predict(self, client: AsyncTrajOpsClient, epoch: float, track: Track, index: int) -> None:
        known: dict[str, Any] = {}
        if not self._reports(track):
            history = track.positions_m[index - DEFAULT_WINDOW.t_obs + 1 : index + 1]
            known = {"history": history.round(3).tolist(), "observed_at_s": epoch + float(track.times_s[index])}
        body = PredictIn(agent_id=self._agent_id(track), scene_id=self._scene_id, source="replay", **known)
        answer = await self._answered(client.predict(body))
        if answer is not None:
            self.tally.predictions += 1
            self.tally.versions[answer.model_version] += 1

    async def _observe(self, client: AsyncTrajOpsClient, epoch: float, states: list[tuple[Track, int]]) -> None:
        observations = [
            ObservationIn(
                agent_id=self._agent_id(track),
                scene_id=self._scene_id,
                observed_at_s=epoch + float(track.times_s[index]),
                position=track.positions_m[index].round(3).tolist(),
            )
            for track, index in states
        ]
        if await self._answered(client.observe(observations, source="replay")) is not None:
            self.tally.observations += len(observations)

    async def _answered(self, answer: Awaitable[Answer]) -> Answer | None:
        try:
            return await answer
        except (ApiProblem, ApiUnavailable) as error:  # The API may be restarting: traffic goes on.
            self.tally.failures += 1
            self.tally.last_failure = str(error)[:300]
            return None

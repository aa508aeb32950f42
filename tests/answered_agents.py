"""Agents that come at a pace and are all answered by one of several APIs: who answered is kept, and who is away is asked no more."""

import itertools
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import httpx
import numpy as np

from tests.whole_product import vehicles
from trajops.trajectories import DEFAULT_WINDOW

TICK_S = 0.25


class Answer(NamedTuple):
    """One answer, as its client got it.

    Attributes:
        prediction_id: names it.
        model_version: that answered.
        asked_s: when the request was sent, seconds since 1970.
    """

    prediction_id: str
    model_version: int
    asked_s: float


@dataclass
class Agents:
    """What has been answered so far; `failed` are requests that ended without an answer, and were sent to the next API.

    Args:
        urls: of the APIs, asked in turn.
        key: that lets requests in.
    """

    urls: Sequence[str]
    key: str
    answers: list[Answer] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    _sent: int = 0

    def come(self, number: int) -> None:
        """So many new agents, whose whole track is known: one prediction each, and the truth of it."""
        now_s, names = time.time(), [f"a{self._sent + one}" for one in range(number)]
        tracks = vehicles(number, begin_s=0, seconds=DEFAULT_WINDOW.steps * DEFAULT_WINDOW.dt_s, seed=self._sent)
        self._sent += number
        times_s = now_s + DEFAULT_WINDOW.dt_s * (np.arange(DEFAULT_WINDOW.steps) - DEFAULT_WINDOW.steps)
        seen = DEFAULT_WINDOW.t_obs
        histories = [track.positions_m[:seen].tolist() for track in tracks]
        body = {"history": histories, "agent_id": names, "observed_at_s": float(times_s[seen - 1]), "source": "replay"}
        answered = self._post("/batch_predict", body)
        assert answered["errors"] == []
        self.answers += [Answer(*row, now_s) for row in zip(answered["prediction_id"], answered["model_version"], strict=True)]
        later = [
            {"agent_id": name, "observed_at_s": float(times_s[step]), "position": track.positions_m[step].tolist()}
            for name, track in zip(names, tracks, strict=True)
            for step in range(seen, DEFAULT_WINDOW.steps)
        ]
        self._post("/observations", {"observations": later, "source": "replay"})

    def _post(self, path: str, body: Any) -> Any:
        self.urls = [*self.urls[1:], self.urls[0]]
        while True:
            url = self.urls[0]
            try:
                answer = httpx.post(url + path, json=body, headers={"Authorization": f"Bearer {self.key}"}, trust_env=False, timeout=20)
            except httpx.HTTPError as error:
                self.failed.append(f"{url}{path}: {error!r}")
                self.urls = self.urls[1:]
                assert self.urls, self.failed
                continue
            assert answer.status_code == 200, answer.text
            return answer.json()


@contextmanager
def coming(agents: Agents, agents_s: float) -> Iterator[None]:
    """Let agents come until the end of the block; what went wrong is raised there."""
    is_over, wrong = threading.Event(), []

    def run() -> None:
        began_s = time.monotonic()
        try:
            for tick in itertools.count():
                if is_over.wait(max(0.0, began_s + tick * TICK_S - time.monotonic())):
                    return
                agents.come(round(agents_s * TICK_S))
        except Exception as error:  # noqa: BLE001 - told to whoever waits
            wrong.append(error)

    thread = threading.Thread(target=run, name="agents")
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()
    assert wrong == []

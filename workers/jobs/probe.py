"""Job `probe`: asks for a prediction as a client would, and notes how well it was answered."""

import time
from collections.abc import Callable, Mapping
from typing import Any
from uuid import uuid4

import httpx

from trajops.clock import now
from trajops.contracts.predictions import T_OBS, T_PRED
from trajops.objectives import ProbeRules
from trajops.ports import Clock
from trajops.stores import UnitOfWorkFactory
from workers.probes import Probe

SCENE = "probe"
# Straight on at 1.25 m/s: any model has an answer.
HISTORY = [[0.5 * step, 0.0] for step in range(T_OBS)]


class Prober:
    """Sends probes, each on a connection of its own, as a client that comes for the first time.

    Args:
        url: of the API.
        read_key: the API key to ask with; called for each probe, so that one that could not be made is tried again.
        rules: when an answer is good.
    """

    def __init__(self, url: str, read_key: Callable[[], str], rules: ProbeRules) -> None:
        self._url, self._read_key, self._rules = f"{url.rstrip('/')}/predict", read_key, rules
        # Made once, because it loads certificates; it keeps no connection.
        self._client = httpx.Client(timeout=rules.timeout_s, trust_env=False, limits=httpx.Limits(max_keepalive_connections=0))

    def ask(self) -> Probe:
        """Send one probe and judge the answer."""
        # A new agent each time: a probe moves nobody, and is nobody's truth.
        body = {"agent_id": uuid4().hex, "scene_id": SCENE, "history": HISTORY, "source": "probe"}
        headers = {"Authorization": f"Bearer {self._read_key()}"}
        began_s = time.perf_counter()
        try:
            answer = self._client.post(self._url, json=body, headers=headers)
        except httpx.HTTPError as error:
            return Probe("unreachable", None, f"{self._url} does not answer ({type(error).__name__})")
        latency_s = time.perf_counter() - began_s
        if answer.status_code != httpx.codes.OK:
            return Probe("refused", latency_s, f"{self._url} answered {answer.status_code}{_detail(answer)}")
        if not _is_forecast(answer):
            return Probe("wrong", latency_s, f"{self._url} answered with something that is no forecast of {T_PRED} steps")
        if latency_s > self._rules.good_within_s:
            took = f"took {1000 * latency_s:.0f} ms; good is {1000 * self._rules.good_within_s:.0f} ms or less"
            return Probe("slow", latency_s, f"the answer of {self._url} {took}")
        return Probe("good", latency_s, None)

    def close(self) -> None:
        """Give the client back."""
        self._client.close()


def probe(prober: Prober, unit_of_work: UnitOfWorkFactory, observe: Callable[[Probe, float], None], clock: Clock) -> Mapping[str, Any]:
    """Probe once, count it in its minute and tell the metrics. A probe that is answered badly is no failure of the job.

    Before the first model is deployed nothing is promised, so nobody is asked.
    """
    at = now(clock)
    with unit_of_work(read_only=True) as uow:
        if uow.routes.table().champion is None:
            return {"outcome": None, "latency_ms": None, "sentence": "no model is deployed yet, so nothing is asked"}
    found = prober.ask()
    latency_ms = None if found.latency_s is None else 1000 * found.latency_s
    with unit_of_work() as uow:
        uow.probes.add(at, is_good=found.outcome == "good", latency_ms=latency_ms, failure=found.failure)
    observe(found, at.timestamp())
    sentence = found.failure or f"answered in {latency_ms:.0f} ms"
    return {"outcome": found.outcome, "latency_ms": latency_ms, "sentence": sentence}


def _is_forecast(answer: httpx.Response) -> bool:
    try:
        return all(len(mode["positions"]) == T_PRED for mode in answer.json()["modes"]) and bool(answer.json()["modes"])
    except (ValueError, KeyError, TypeError):
        return False


def _detail(answer: httpx.Response) -> str:
    """The problem's own words, where it has any."""
    try:
        return f": {answer.json()['detail']}"
    except (ValueError, KeyError, TypeError):
        return ""

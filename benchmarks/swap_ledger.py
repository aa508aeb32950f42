"""What was champion when, and whether each answer agrees with it.

An answer names a model version and a routing epoch, and carries numbers. It is right if the numbers are those of the version that
it names, that version was champion in the epoch that it names, the epoch is not older than the one before on the same connection,
and the epoch was the newest at some time between question and answer. Epochs are known from the releases themselves, so answers
are judged when all is over: one may arrive before the answer to the release that it already follows.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import orjson

from trajops.ports import Forecaster

# Answers are rounded to tenths of a millimetre, and a batch of another size may round the other way, metres.
NEAR_M = 2.5e-4


class Change(NamedTuple):
    """One release: who was champion from then on, and between which two times it was made (`perf_counter`, seconds)."""

    version: int
    begun_s: float
    done_s: float


class Heard(NamedTuple):
    """What one answer said; `numbers` is the version whose numbers it carries, `fault` why it could not be read."""

    connection: int
    sent_s: float
    received_s: float
    epoch: int
    version: int
    numbers: int
    fault: str = ""


class SwapLedger:
    """Collects releases and answers; `faults` judges them.

    Args:
        first: the epoch at the start and its champion.
        expected: for each connection, version → (T, 2) positions in metres that it must answer there.
        poll_s: how long a process may take to follow a release that another has made.
    """

    def __init__(self, first: tuple[int, int], expected: Sequence[Mapping[int, list[list[float]]]], poll_s: float) -> None:
        epoch, version = first
        self.changes = {epoch: Change(version, 0.0, 0.0)}
        self.heard: list[Heard] = []
        self._expected = expected
        self._poll_s = poll_s

    def changed(self, epoch: int, change: Change) -> None:
        """A release was answered."""
        self.changes[epoch] = change

    def watch(self, connection: int, sent_s: float, received_s: float, answer: bytes) -> None:
        """An answer of `/predict` came, head and body."""
        head, _, body = answer.partition(b"\r\n\r\n")
        heard = Heard(connection, sent_s, received_s, 0, 0, 0)
        if not head.startswith(b"HTTP/1.1 200"):
            self.heard.append(heard._replace(fault="failed"))
            return
        said: dict[str, Any] = orjson.loads(body)
        if said["model_name"] == "baseline":
            self.heard.append(heard._replace(fault="answered by the baseline"))
            return
        numbers = self._whose(connection, said["modes"][0]["positions"])
        self.heard.append(heard._replace(epoch=said["epoch"], version=said["model_version"], numbers=numbers))

    def faults(self) -> Counter[str]:
        """How many answers were wrong in which way; empty: none."""
        found: Counter[str] = Counter()
        newest: dict[int, int] = {}
        for one in self.heard:
            found[one.fault or self._fault(one, newest.get(one.connection, 0))] += 1
            newest[one.connection] = max(one.epoch, newest.get(one.connection, 0))
        del found[""]
        return found

    def slowest_ms(self) -> float:
        """Longest time from the answer to a release until the last question that was still answered in the epoch before."""
        late_s = [one.sent_s - self.changes[one.epoch + 1].done_s for one in self.heard if not one.fault and one.epoch + 1 in self.changes]
        return max([*late_s, 0.0]) * 1e3

    def _fault(self, one: Heard, newest: int) -> str:
        change, following = self.changes.get(one.epoch), self.changes.get(one.epoch + 1)
        if one.numbers != one.version:
            return "numbers of another version"
        if change is None or change.version != one.version:
            return "not the champion of its epoch"
        if one.epoch < newest:
            return "older than the answer before"
        if one.received_s < change.begun_s:
            return "ahead of its release"
        if following is not None and one.sent_s > following.done_s + self._poll_s:
            return "out of date"
        return ""

    def _whose(self, connection: int, positions: list[list[float]]) -> int:
        """The version with these numbers; 0: none."""
        for version, known in self._expected[connection].items():
            if known == positions:
                return version
        for version, known in self._expected[connection].items():
            if np.shape(known) == np.shape(positions) and np.abs(np.subtract(known, positions)).max() < NEAR_M:
                return version
        return 0


def expected_answers(models: Mapping[int, Forecaster], histories_m: np.ndarray) -> list[dict[int, list[list[float]]]]:
    """What each version answers to each history (N, T_obs, 2), as `SwapLedger` takes it.

    Raises:
        ValueError: if two versions answer alike, so that nobody could tell them apart.
    """
    answers = {version: model.forecast(histories_m).mean_m[:, 0].round(4) for version, model in models.items()}
    result: list[dict[int, list[list[float]]]] = [
        {version: answer[row].tolist() for version, answer in answers.items()} for row in range(len(histories_m))
    ]
    for known in result:
        for version, positions in known.items():
            for other in known.keys() - {version}:
                if np.abs(np.subtract(positions, known[other])).max() < 10 * NEAR_M:
                    raise ValueError(f"versions {version} and {other} can hardly be told apart")
    return result

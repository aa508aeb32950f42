"""The judge of hot swaps finds each kind of wrong answer, and no fault in right ones."""

from collections import Counter
from dataclasses import dataclass

import numpy as np
import orjson
import pytest

from benchmarks.swap_ledger import Change, SwapLedger, expected_answers
from trajops.forecasters.constant_velocity import ConstantVelocity
from trajops.trajectories import DEFAULT_WINDOW, FloatArray, Forecast, WindowSpec

ONE, TWO = [[1.0, 0.0], [2.0, 0.0]], [[1.0, 1.0], [2.0, 2.0]]


def an_answer(epoch: int, version: int, positions: list[list[float]], *, name: str = "trajectory", status: str = "200 OK") -> bytes:
    body = {"model_name": name, "model_version": version, "epoch": epoch, "modes": [{"positions": positions}]}
    return f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\n\r\n".encode() + orjson.dumps(body)


def a_ledger() -> SwapLedger:
    """Version 1 was champion in epoch 1; version 2 from 10 s on, known to whoever asked for it at 10.1 s."""
    ledger = SwapLedger((1, 1), [{1: ONE, 2: TWO}, {1: TWO, 2: ONE}], poll_s=1.0)
    ledger.changed(2, Change(2, 10.0, 10.1))
    return ledger


def test_right_answers_have_no_fault() -> None:
    ledger = a_ledger()
    ledger.watch(0, 1.0, 1.1, an_answer(1, 1, ONE))
    ledger.watch(1, 1.0, 1.1, an_answer(1, 1, TWO))
    ledger.watch(0, 10.9, 11.5, an_answer(1, 1, ONE))
    ledger.watch(0, 11.6, 11.7, an_answer(2, 2, [[1.0001, 1.0], [2.0, 2.0]]))
    ledger.watch(1, 9.9, 10.05, an_answer(2, 2, ONE))
    assert ledger.faults() == Counter()
    assert ledger.slowest_ms() == pytest.approx(800)


@pytest.mark.parametrize(
    ("fault", "sent_s", "answer"),
    [
        ("failed", 1.0, an_answer(1, 1, ONE, status="500 Internal Server Error")),
        ("answered by the baseline", 1.0, an_answer(1, 0, ONE, name="baseline")),
        ("numbers of another version", 1.0, an_answer(1, 1, TWO)),
        ("numbers of another version", 1.0, an_answer(1, 1, [[5.0, 5.0], [6.0, 6.0]])),
        ("not the champion of its epoch", 1.0, an_answer(1, 2, TWO)),
        ("not the champion of its epoch", 20.0, an_answer(3, 2, TWO)),
        ("ahead of its release", 1.0, an_answer(2, 2, TWO)),
        ("out of date", 11.2, an_answer(1, 1, ONE)),
    ],
)
def test_each_wrong_answer_is_found(fault: str, sent_s: float, answer: bytes) -> None:
    ledger = a_ledger()
    ledger.watch(0, sent_s, sent_s + 0.1, answer)
    assert ledger.faults() == Counter({fault: 1})


def test_an_epoch_that_goes_back_is_found_on_its_connection_only() -> None:
    ledger = a_ledger()
    ledger.watch(0, 10.2, 10.3, an_answer(2, 2, TWO))
    ledger.watch(1, 10.4, 10.5, an_answer(1, 1, TWO))
    assert ledger.faults() == Counter()
    ledger.watch(0, 10.4, 10.5, an_answer(1, 1, ONE))
    assert ledger.faults() == Counter({"older than the answer before": 1})


@dataclass
class Shifted:
    """Constant velocity, moved aside by some metres."""

    by_m: float
    family: str = "shifted"
    window: WindowSpec = DEFAULT_WINDOW

    def forecast(self, history_m: FloatArray) -> Forecast:
        own = ConstantVelocity().forecast(history_m)
        return Forecast(own.mean_m + self.by_m, own.covariance_m2, own.weights)


def test_versions_must_be_told_apart() -> None:
    histories = np.cumsum(np.ones((2, 8, 2)), axis=1)
    apart = expected_answers({1: Shifted(0.0), 2: Shifted(1.0)}, histories)
    assert [set(known) for known in apart] == [{1, 2}, {1, 2}]
    with pytest.raises(ValueError, match="told apart"):
        expected_answers({1: Shifted(0.0), 2: Shifted(0.001)}, histories)

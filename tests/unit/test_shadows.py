"""What a shadow predicts beside an answer: as its version would have answered, charged for its own failures, within bounds."""

import logging
from collections.abc import Callable, Sequence
from itertools import count
from typing import Any

import numpy as np
import pytest

from tests.builders import CLOCK_NS, CLOCK_S, a_history, a_prediction_event
from trajops.deployments.model_ref import ModelRef
from trajops.deployments.routing import RouteTable, Units
from trajops.experiments.routed import Arm, RoutedExperiment, canary
from trajops.forecasters.constant_velocity import ConstantVelocity
from trajops.forecasters.stretched import stretched
from trajops.ports import Forecaster
from trajops.services.predict import BASELINE
from trajops.services.shadows import BLOCK, TIMED_ROWS, Answered, Beside, Shadows, Treatment, answered_by, shadow_id
from trajops.telemetry import PredictionEvent
from trajops.trajectories import DEFAULT_WINDOW, FloatArray, Forecast

CONTROL, TREATMENT, OTHER = ModelRef("trajectory", 1), ModelRef("trajectory", 2), ModelRef("trajectory", 3)
ARM, OTHER_ARM = Arm("treatment", TREATMENT, 0.5), Arm("deep", OTHER, 0.25)


class Stands:
    """Predicts that nobody moves, and remembers how many agents each call had."""

    family = "stands"
    window = DEFAULT_WINDOW

    def __init__(self) -> None:
        self.calls: list[int] = []

    def forecast(self, history_m: FloatArray) -> Forecast:
        self.calls.append(len(history_m))
        shape = (len(history_m), 1, self.window.t_pred, 2)
        covariance_m2 = np.broadcast_to([[0.04, 0.01], [0.01, 0.09]], (*shape, 2))
        return Forecast(np.broadcast_to(history_m[:, None, -1:], shape).copy(), covariance_m2, np.ones((len(history_m), 1)))


class Raises(Stands):
    """Raises for agents beyond 100 m."""

    def forecast(self, history_m: FloatArray) -> Forecast:
        found = super().forecast(history_m)
        if (history_m[:, -1, 1] > 100).any():
            raise ZeroDivisionError("planted")
        return found


class Spoils(Stands):
    """Answers NaN for agents beyond 100 m."""

    def forecast(self, history_m: FloatArray) -> Forecast:
        found = super().forecast(history_m)
        mean_m = np.where((history_m[:, -1, 1] > 100)[:, None, None, None], np.nan, found.mean_m)
        return Forecast(mean_m, found.covariance_m2, found.weights)


def an_answer(number: int = 0, **changes: Any) -> Answered:
    """Agent `number` walks along x, so many metres to the side; the newest answer is number 0."""
    values: dict[str, Any] = {
        "prediction_id": f"p{number}",
        "received_ns": CLOCK_NS - number,
        "observed_at_s": CLOCK_S + 7,
        "scene_id": "plaza",
        "agent_id": f"a{number}",
        "client_id": "key:one",
        "request_id": f"r{number}",
        "dt_s": 0.4,
        "history_m": (a_history()[0] + [0.0, number]).ravel().tolist(),
    }
    return Answered(**(values | changes))


def pairs(rows: int, arm: Arm = ARM) -> list[Beside]:
    return [Beside(an_answer(number), "e1", arm) for number in range(rows)]


def predicted(model: Forecaster, asked: Sequence[Beside], calibration: int | None = None, **options: Any) -> list[PredictionEvent]:
    return Shadows(ConstantVelocity(), **options).predict(asked, {TREATMENT: Treatment(model, calibration)}, epoch=7).events


def test_a_row_names_its_answer_its_arm_and_its_model() -> None:
    [event] = predicted(Stands(), pairs(1), calibration=5)
    answer = an_answer()
    assert event == a_prediction_event(
        shadow_id(answer, "e1", "treatment"),
        received_ns=CLOCK_NS,
        observed_at_s=CLOCK_S + 7,
        scene_id="plaza",
        agent_id="a0",
        client_id="key:one",
        request_id="r0",
        model_version=2,
        variant="treatment",
        epoch=7,
        history_m=answer.history_m,
        mean_m=[2.8, 0.0] * 12,
        cov_m2=[0.04, 0.01, 0.09] * 12,
        latency_ms=event.latency_ms,
        source="shadow",
        experiment_id="e1",
        calibration=5,
        shadow_of="p0",
    )
    assert 0 < event.latency_ms < 100


def test_ids_are_the_same_whenever_they_are_made_and_sort_by_time() -> None:
    first, later = an_answer(5), an_answer(1)
    made = [shadow_id(answer, name, variant) for answer in (first, later) for name in ("e1", "e2") for variant in ("a", "b")]
    assert made == [shadow_id(answer, name, variant) for answer in (first, later) for name in ("e1", "e2") for variant in ("a", "b")]
    assert len(set(made)) == 8
    assert {len(one) for one in made} == {32}
    assert max(made[:4]) < min(made[4:])
    assert shadow_id(an_answer(prediction_id="pe"), "1", "x") != shadow_id(an_answer(prediction_id="p"), "e1", "x")


def test_each_version_predicts_its_rows_as_one_array_and_events_are_in_the_order_of_time() -> None:
    mine, others = Stands(), Stands()
    asked = [Beside(an_answer(number), "e1", arm) for number in range(20) for arm in (ARM, OTHER_ARM)]
    treatments = {TREATMENT: Treatment(mine, None), OTHER: Treatment(others, 3)}
    done = Shadows(ConstantVelocity()).predict(asked, treatments, epoch=1)
    assert (done.taken, done.failed) == (40, 0)
    for model in (mine, others):
        assert model.calls == [1] * TIMED_ROWS + [20]
    assert [one.shadow_of for one in done.events] == [f"p{number}" for number in reversed(range(20)) for _ in range(2)]
    assert {(one.variant, one.model_version, one.calibration) for one in done.events} == {("treatment", 2, None), ("deep", 3, 3)}


@pytest.mark.parametrize("model", [Raises, Spoils])
def test_a_row_is_charged_for_its_own_failure_only(model: Callable[[], Stands], caplog: pytest.LogCaptureFixture) -> None:
    asked = pairs(120)
    with caplog.at_level(logging.ERROR):
        done = Shadows(ConstantVelocity()).predict(asked, {TREATMENT: Treatment(model(), 4)}, epoch=1)
    by_agent = {int(one.agent_id[1:]): one for one in done.events}
    assert (done.taken, done.failed) == (120, 19)
    for number, event in by_agent.items():
        name, calibration = ("baseline", None) if number > 100 else ("trajectory", 4)
        assert (event.model_name, event.calibration, event.variant, event.experiment_id) == (name, calibration, "treatment", "e1")
    assert by_agent[110].model_version == BASELINE.version
    assert by_agent[110].mean_m[-2:] == pytest.approx([2.8 + 12 * 0.4, 110.0])
    assert by_agent[100].mean_m[-2:] == [2.8, 100.0]
    # A handful of lines for nineteen failures.
    assert len(caplog.records) == 5


def test_a_calibrated_version_predicts_as_it_would_answer() -> None:
    factors = np.linspace(1.0, 3.2, 12)
    [plain], [wider] = predicted(Stands(), pairs(1)), predicted(stretched(Stands(), factors), pairs(1), calibration=2)
    np.testing.assert_allclose(np.reshape(wider.cov_m2, (12, 3)), np.reshape(plain.cov_m2, (12, 3)) * factors[:, None], rtol=1e-6)
    assert (plain.calibration, wider.calibration, plain.mean_m == wider.mean_m) == (None, 2, True)


def test_what_there_is_no_time_for_is_the_oldest() -> None:
    """Each look at the watch takes a second: two for the row that is timed, then one a block."""
    ticks = count()
    model = Stands()
    shadows = Shadows(ConstantVelocity(), most_s=4.5, stopwatch=lambda: float(next(ticks)))
    done = shadows.predict(pairs(5 * BLOCK), {TREATMENT: Treatment(model, None)}, epoch=1)
    assert done.taken == len(done.events) == 3 * BLOCK
    assert (done.events[-1].shadow_of, done.events[0].shadow_of) == ("p0", f"p{3 * BLOCK - 1}")


def test_one_block_is_predicted_however_slow_the_model_is() -> None:
    ticks = count(step=100)
    model = Stands()
    done = Shadows(ConstantVelocity(), stopwatch=lambda: float(next(ticks))).predict(
        pairs(2 * BLOCK), {TREATMENT: Treatment(model, None)}, epoch=1
    )
    assert done.taken == BLOCK
    assert model.calls == [1, BLOCK], "and one row is enough to know that it is slow"
    assert done.events[0].latency_ms == 100_000.0


def test_one_slow_moment_is_not_taken_for_a_slow_model() -> None:
    """Five rows are timed: four of a millisecond, and one of fifty."""
    at_s = iter([0.0, *np.cumsum([0, 1e-3, 0, 1e-3, 0, 50e-3, 0, 1e-3, 0, 1e-3]).tolist()])
    events = predicted(Stands(), pairs(50), stopwatch=lambda: next(at_s))
    assert {one.latency_ms for one in events} == {1.0}


def test_nothing_to_predict_is_nothing() -> None:
    assert predicted(Stands(), []) == []


def test_for_whom_the_baseline_stood_in() -> None:
    live = canary("e1", CONTROL, TREATMENT, 0.5, "s")
    beside = RoutedExperiment("e2", (Arm("control", CONTROL, 0.5), Arm("treatment", OTHER, 0.5)), 1.0, "t", is_shadow=True)
    table = RouteTable(3, CONTROL, experiments=(live, beside))
    assert answered_by(table, CONTROL) == ["/champion", "/holdout", "e1/control"]
    assert answered_by(table, TREATMENT) == ["e1/treatment"]
    closed = RouteTable(4, CONTROL, experiments=(live.without_arm("treatment"), beside))
    assert answered_by(closed, CONTROL) == ["/champion", "/holdout", "e1/control", "e1/treatment"]


def test_who_predicts_beside_answers_follows_from_the_routes() -> None:
    arms = (Arm("control", CONTROL, 0.5), Arm("treatment", TREATMENT, 0.25), Arm("deep", OTHER, 0.25))
    shadow = RoutedExperiment("e2", arms, 0.5, "t", is_shadow=True)
    units = [Units("s", f"a{number}", "c") for number in range(200)]

    def enrolled(table: RouteTable) -> int:
        return sum(len(table.shadows(unit)) for unit in units)

    table = RouteTable(3, CONTROL, experiments=(shadow,))
    assert [arm.variant for _, arm in table.shadowing()] == ["treatment", "deep"]
    assert enrolled(table) == 2 * sum(shadow.is_enrolled(f"s/a{number}") for number in range(200)) > 100
    one = RouteTable(4, CONTROL, experiments=(shadow.without_arm("deep"),))
    assert [arm.variant for _, arm in one.shadowing()] == ["treatment"]
    for none in (
        RouteTable(5, CONTROL, experiments=(shadow.with_coverage(0.0),)),
        RouteTable(5, CONTROL, experiments=(shadow,), is_stopped=True),
        RouteTable(5, CONTROL, experiments=(canary("e1", CONTROL, TREATMENT, 1.0, "s"),)),
    ):
        assert (none.shadowing(), enrolled(none)) == ([], 0)

"""The battery: each check finds what it is there to find, and the real families pass all of them."""

from functools import partial
from typing import Any

import numpy as np
import pytest

from data.datasets import skillcorner
from tests import broken_forecasters as broken
from tests.builders import some_windows
from trajops.contracts.validations import CheckOut
from trajops.forecasters import golden
from trajops.forecasters.calibration import calibrated
from trajops.forecasters.constant_velocity import ConstantVelocity
from trajops.ports import Forecaster
from trajops.selection import latency
from trajops.selection.battery import CHECKS, not_loaded, run_battery, verdict
from trajops.selection.rules import BatteryRule
from trajops.selection.subject import Subject
from trajops.windows import Windows
from workers.compute import Inline
from workers.training.candidates import fit
from workers.training.partitions import Split, split

RULES = BatteryRule.model_validate({"latency": {"rounds": 2, "calls": 30, "round_s": 0.1}})


@pytest.fixture(scope="module")
def data() -> Split:
    return split([skillcorner.load()["first_half"]], Inline())


@pytest.fixture(scope="module")
def straight(data: Split) -> ConstantVelocity:
    return calibrated(ConstantVelocity(), data.calibration.history_m, data.calibration.truth_m)


@pytest.fixture
def make(straight: ConstantVelocity) -> Any:
    """A broken forecaster on calibrated ground."""
    return lambda kind, **more: getattr(broken, kind)(inner=straight, **more)


def checked(name: Any, forecaster: Forecaster, windows: Windows, **more: Any) -> CheckOut:
    with np.errstate(all="ignore"):
        return CHECKS[name](Subject(forecaster, windows, **more), RULES)


def beyond(check: CheckOut) -> list[str]:
    return [figure.name for figure in check.figures if not figure.is_within]


@pytest.mark.parametrize("family", ["constant_velocity", "kalman", "gaussian_mlp"])
def test_our_families_pass(data: Split, family: str) -> None:
    forecaster, _ = fit(family, data.fit.select(np.arange(0, len(data.fit), 4)), data.calibration, 0)
    found = run_battery(Subject(forecaster, data.validation, golden.record(forecaster), ConstantVelocity()), RULES)
    assert {check.check: (check.state, check.sentence) for check in found if check.state != "passed"} == {}
    assert verdict(found) == (True, "7 of 7 checks passed.")
    assert all(figure.measured is not None for check in found for figure in check.figures)


def test_a_sound_forecaster_passes(data: Split, make: Any) -> None:
    sound = make("Sound")
    found = run_battery(Subject(sound, data.validation, golden.record(sound)), RULES)
    assert [(check.check, check.state) for check in found] == [(name, "passed") for name in CHECKS]


@pytest.mark.parametrize(
    ("kind", "figures"),
    [
        ("DrawnToTheOrigin", ["translation"]),
        ("Eastward", ["rotation"]),
        ("Leftward", ["reflection"]),
        ("Company", ["asked about alone"]),
        ("Ordered", ["asked about alone", "order of the batch"]),
        ("Forgetful", ["asked again"]),
    ],
)
def test_invariance_finds_what_depends_on_the_viewer(data: Split, make: Any, kind: str, figures: list[str]) -> None:
    found = checked("invariance", make(kind), data.validation)
    assert found.state == "failed"
    assert set(figures) <= set(beyond(found))
    assert kind not in {"DrawnToTheOrigin", "Eastward", "Leftward"} or figures == beyond(found)
    assert all(name in found.sentence for name in figures)


def test_a_foreign_family_need_not_turn_with_the_frame(data: Split, make: Any) -> None:
    found = checked("invariance", make("Eastward", family="onnx_model"), data.validation)
    assert found.state == "passed"
    [turned] = [figure for figure in found.figures if figure.name.startswith("rotation")]
    assert turned.name == "rotation (not asked of this family)"
    assert turned.measured == pytest.approx(0.5 * np.sqrt(2 - 2 * np.cos(np.pi)), rel=1e-6)


@pytest.mark.parametrize(("windows", "is_fine"), [(2, True), (12, False)])
def test_a_few_windows_may_jump(data: Split, make: Any, windows: int, is_fine: bool) -> None:
    """A model of trees may carry a rounding error over a threshold; what happens to a twentieth of the windows is no rounding."""
    asked_m = Subject(make("Sound"), data.validation).some(256).history_m
    jumping = {row.tobytes() for row in asked_m[:windows] + 1024.0 * np.array([1.0, -0.5])}

    def forecast(self: Any, history_m: np.ndarray) -> Any:
        made = self.inner.forecast(history_m)
        jumps = np.array([row.tobytes() in jumping for row in history_m])
        return type(made)(made.mean_m + 0.05 * jumps[:, None, None, None], made.covariance_m2, made.weights)

    found = checked("invariance", type("Trees", (broken.Sound,), {"forecast": forecast})(inner=make("Sound").inner), data.validation)
    assert beyond(found) == ([] if is_fine else ["translation"])


def test_a_clock_of_another_kind_moves_nobody(data: Split, make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Histories that are cut for another time are what the time shift would find."""
    late = lambda times_s, seen_m, spec, **_: seen_m + 0.05  # noqa: E731
    monkeypatch.setattr("trajops.selection.invariance.latest_history", late)
    assert beyond(checked("invariance", make("Sound"), data.validation)) == ["time shift"]


def test_golden_replay_finds_another_model(data: Split, make: Any) -> None:
    recorded = golden.record(make("Sound"))
    same = checked("golden_replay", make("Sound"), data.validation, golden=recorded)
    assert same.state == "passed"
    assert "bit for bit" in same.sentence
    other = checked("golden_replay", make("Sound", scale=1.1), data.validation, golden=recorded)
    assert other.state == "failed"
    assert beyond(other) == ["the largest deviation over what is tolerated"]
    assert checked("golden_replay", make("Sound"), data.validation).state == "skipped"
    [unreadable] = [one for one in run_battery(Subject(make("Sound"), data.validation, "[]"), RULES) if one.check == "golden_replay"]
    assert (unreadable.state, "cannot be read" in unreadable.sentence) == ("failed", True)


@pytest.mark.parametrize(("kind", "part"), [("Flat", "check_covariance"), ("Standing", "check_finite"), ("Lenient", "check_shapes")])
def test_the_signature_is_held_as_a_whole(data: Split, make: Any, kind: str, part: str) -> None:
    found = checked("signature", make(kind), data.validation)
    assert found.state == "failed"
    assert part in found.sentence


def test_worst_scenes_finds_what_a_mean_hides(data: Split, make: Any) -> None:
    figures = {"the same over constant velocity's worst", "the same over the champion's worst"}
    off = checked("worst_scenes", make("OffWithSome"), data.validation, champion=make("Sound"))
    assert off.state == "failed"
    assert set(beyond(off)) == {"the same over constant velocity's worst"}, "half as bad again is allowed against a champion"
    # The champion is better than the baseline: a version as bad as the baseline passes one and not the other.
    near = type("Near", (broken.Sound,), {"forecast": lambda self, history_m: _toward_truth(data.validation, self, history_m)})
    worse = checked("worst_scenes", make("Sound"), data.validation, champion=near(inner=make("Sound").inner))
    assert set(beyond(worse)) == {"the same over the champion's worst"}
    assert figures <= {figure.name for figure in worse.figures}


def _toward_truth(windows: Windows, model: Any, history_m: np.ndarray) -> Any:
    made = model.inner.forecast(history_m)
    nearer = 0.5 * made.mean_m + 0.5 * windows.truth_m[:, None]
    return type(made)(nearer, made.covariance_m2, made.weights)


def test_the_worst_scene_counts_where_there_are_several(make: Any) -> None:
    calm, wild = (some_windows(30, seed=seed, scene_id=name) for seed, name in ((1, "calm"), (2, "wild")))
    both = Windows.concatenate([calm, Windows(wild.agent_ids, wild.scene_ids, wild.starts_s, wild.positions_m + 500.0)])
    bad = type("BadThere", (broken.Sound,), {"forecast": _off_beyond_400})
    found = checked("worst_scenes", bad(), both)
    assert "ADE over constant velocity's in the scene wild" in beyond(found)


def _off_beyond_400(self: Any, history_m: np.ndarray) -> Any:
    made = self.inner.forecast(history_m)
    is_there = history_m[:, -1].min(axis=1) > 400
    return type(made)(made.mean_m + 1.0 * is_there[:, None, None, None], made.covariance_m2, made.weights)


def test_latency_finds_a_slow_model(data: Split, make: Any) -> None:
    found = checked("latency", make("Slow"), data.validation)
    assert found.state == "failed"
    assert beyond(found) == ["the 99th percentile", "the median over the yardstick"]
    assert found.figures[0].measured is not None
    assert 150 <= found.figures[0].measured < 300


class Clock:
    """Each reading is a thousandth of a second later, but those of some readings are seconds."""

    def __init__(self, slow: set[int]) -> None:
        self.slow, self.readings, self.now_ns = slow, 0, 0

    def __call__(self) -> int:
        self.now_ns += 1_000_000_000 if self.readings in self.slow else 1_000_000
        self.readings += 1
        return self.now_ns


def taken(make: Any, clock: Clock, interrupted: Any = lambda: 0, rounds: int = 1) -> latency.Latency:
    rule = RULES.latency.model_copy(update={"rounds": rounds, "calls": 40, "round_s": 60})
    return latency.take_times(make("Sound"), rule, clock, interrupted)


# A round reads the clock once at its begin, four times a call, and once more before each call after the twentieth. One of calls that take
# seconds ends with the twentieth.
ROUND, SLOW_ROUND = 1 + 40 * 4 + 20, 1 + 20 * 4 + 1


def test_the_quietest_round_counts(make: Any) -> None:
    """A machine that is busy in all rounds but one does not make a model slow."""
    found = taken(make, Clock(set(range(SLOW_ROUND))), rounds=2)
    assert found.p99_ms == pytest.approx(1.0)
    assert found.calls == 60
    assert taken(make, Clock(set(range(2 * ROUND))), rounds=2).p99_ms == pytest.approx(1000.0)


def test_calls_that_were_interrupted_are_left_out_and_those_that_wait_are_not(make: Any) -> None:
    """The end of the third and of the fifth call are a second late; somebody else had the processor, or the model waited."""
    late = {1 + 2 * 4 + 1, 1 + 4 * 4 + 1}
    assert taken(make, Clock(late)).p99_ms > 500
    seen = iter([0, 0, 0, 0, 0, 1, 1, 1, 1, 2, *[2] * 100])
    assert taken(make, Clock(late), lambda: next(seen)).p99_ms == pytest.approx(1.0)


def test_where_nearly_every_call_is_interrupted_all_count(make: Any) -> None:
    ever = iter(range(1000))
    assert taken(make, Clock(set(range(ROUND))), lambda: next(ever)).p99_ms == pytest.approx(1000.0)


@pytest.mark.parametrize(
    ("scale", "is_fine"),
    [(1.0, True), (0.25, False), (16.0, False)],
)
def test_calibration_finds_who_is_too_sure_and_who_not_enough(data: Split, make: Any, scale: float, is_fine: bool) -> None:
    found = checked("calibration", make("Sound", scale=scale), data.validation)
    assert (found.state == "passed") is is_fine
    assert is_fine or "coverage at 90 %" in beyond(found)
    assert len(found.figures) == 2 + data.validation.window.t_pred
    assert all(figure.low is not None and figure.high is not None for figure in found.figures)


def test_calibration_sees_a_single_step(data: Split, make: Any) -> None:
    def forecast(self: Any, history_m: np.ndarray) -> Any:
        made = self.inner.forecast(history_m)
        covariance = made.covariance_m2.copy()
        covariance[:, :, -1] *= 0.2
        return type(made)(made.mean_m, covariance, made.weights)

    sure = type("SureAtTheEnd", (broken.Sound,), {"forecast": forecast})
    found = checked("calibration", sure(inner=make("Sound").inner), data.validation)
    assert beyond(found) == ["coverage at 90 % after 4.8 s"]


def test_agents_that_agree_are_not_certain(make: Any) -> None:
    """Thirty agents that are inside every time may still be of a model that is honest; three hundred are not."""
    few, many = (some_windows(count, steps=20) for count in (30, 300))
    wide = make("Sound", scale=1e3)
    assert {figure.name for figure in checked("calibration", wide, few).figures if figure.is_within} >= {"coverage at 90 % after 4.8 s"}
    assert {figure.measured for figure in checked("calibration", wide, few).figures} == {1.0}
    assert "coverage at 90 %" in beyond(checked("calibration", wide, many))


def test_few_agents_leave_the_band_open(data: Split, make: Any) -> None:
    """A share beyond the band fails only where so many agents are sure of it; with very few nothing is said."""
    few = partial(checked, "calibration", make("Sound", scale=0.4))
    names = sorted(set(data.validation.agent_ids))
    of = lambda count: data.validation.select(np.isin(data.validation.agent_ids, names[:count]))  # noqa: E731
    assert few(of(172)).state == "failed"
    assert few(of(10)).state == "skipped"
    assert "10 agents" in few(of(10)).sentence
    assert checked("worst_scenes", make("Sound"), of(10)).state == "skipped"


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("Standing", "standing still: a number of the answer is not finite"),
        ("Crashing", "standing still: it raises ZeroDivisionError: no step to divide by"),
        ("Flat", "standing still: a covariance of the answer is not positive definite"),
        ("Lenient", "a position too few: it must be refused, and is answered"),
    ],
)
def test_bad_input_finds_who_neither_answers_nor_refuses(data: Split, make: Any, kind: str, reason: str) -> None:
    found = checked("bad_input", make(kind), data.validation)
    assert found.state == "failed"
    assert reason in found.sentence
    assert "neither" in beyond(found)


def test_what_raises_has_failed_and_does_not_end_the_battery(data: Split, make: Any) -> None:
    found = run_battery(Subject(make("Crashing", window=None), data.validation, "[]"), RULES)
    assert [check.check for check in found] == list(CHECKS)
    assert {check.check for check in found if check.state == "failed"} >= {"signature", "latency", "bad_input"}
    assert verdict(found)[0] is False
    assert "checks failed" in verdict(found)[1]


def test_without_its_own_data_a_version_is_not_judged_by_its_errors(data: Split, make: Any) -> None:
    why = "It was trained on other tracks."
    found = run_battery(Subject(make("Sound", scale=0.01), data.validation, without_data=why), RULES)
    assert {check.check: check.sentence for check in found if check.state == "skipped"} == {
        "golden_replay": "It was registered without golden answers; register it again to have them.",
        "worst_scenes": why,
        "calibration": why,
    }
    assert verdict(found) == (True, "4 of 7 checks passed, 3 skipped.")


def test_a_version_that_cannot_be_loaded_has_failed() -> None:
    found = not_loaded("the model cannot be read")
    assert verdict(found) == (False, "1 of 8 checks failed, 7 skipped: loads.")
    assert found[0].sentence == "the model cannot be read"

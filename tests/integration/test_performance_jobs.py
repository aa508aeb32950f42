"""Live performance over the real lake and database, on the embedded match: slices, estimates, checks, calibrations."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data.lake.spool import Spool
from data.stubs import SetClock
from tests.performance_traffic import events, second_half, trained
from trajops.clock import now
from trajops.contracts.performance import FigureOut, SliceOut
from trajops.deployments.model_ref import ModelRef
from trajops.deployments.routing import RouteTable
from trajops.errors import InvalidInput
from trajops.ports import Forecaster
from trajops.records import ModelVersion
from trajops.services.calibrations import Calibrations
from trajops.settings import Settings
from workers.wiring import Parts
from workers.work import work_of

CONFIGS = Path(__file__).parents[2] / "configs"
REF = ModelRef("trajectory", 1)
WHY = "a reason that is long enough"
# The match lies before the clock's present: its second half begins this long ago.
AGO_S = 3600.0


@pytest.fixture
def parts(tmp_path: Path) -> Iterator[Parts]:
    parts = Parts(Settings(var_dir=tmp_path / "var", configs_dir=CONFIGS))
    parts.clock = SetClock()
    del parts.schedules.jobs["check_drift"]  # the traffic of a test has no reference to be judged by
    parts.database.migrate()
    yield parts
    parts.close()


def deploy(parts: Parts, metrics: dict[str, float], version: int = 1) -> None:
    with parts.database.unit_of_work() as work:
        work.model_versions.put(ModelVersion("trajectory", version, "kalman", None, metrics, {}, "d" * 64, now(parts.clock)))
        if version == 1:
            work.routes.append(RouteTable(1, champion=REF), at=now(parts.clock), actor="test", reason="test")


def play(
    parts: Parts, forecaster: Forecaster, since_s: float, until_s: float, *, scored: bool = True, stride: int = 1, **options: Any
) -> int:
    """Write a stretch of the second half as traffic that began `AGO_S` before the clock's present; the number of predictions."""
    windows = second_half()
    windows = windows.select((windows.observed_at_s >= since_s) & (windows.observed_at_s < until_s))
    windows = windows.select(np.arange(len(windows)) % stride == 0)
    start_ns = SetClock().now_ns() - int(AGO_S * 1e9)
    scored_until_s = np.inf if scored else -np.inf
    predictions, outcomes = events(forecaster, windows, lambda s: start_ns + int(s * 1e9), scored_until_s=scored_until_s, **options)
    with Spool(parts.settings.spool_dir, clock=parts.clock) as spool:
        spool.write("predictions", predictions)
        spool.write("outcomes", outcomes)
    return len(predictions)


def at(parts: Parts, match_s: float) -> None:
    """Set the clock to a time of the match."""
    fresh = SetClock()
    fresh.advance(match_s - AGO_S)
    parts.clock = fresh


def figure(found: SliceOut, metric: str) -> FigureOut:
    return next(one for one in found.figures if one.metric == metric)


def test_slices_add_up_to_what_the_rows_say(parts: Parts) -> None:
    """Each dimension against numpy over the same rows; a prediction that was scored twice counts once, with its better truth."""
    model, metrics = trained("kalman")
    deploy(parts, metrics)
    windows = second_half()
    windows = windows.select(windows.observed_at_s < 300)
    start_ns = SetClock().now_ns() - int(AGO_S * 1e9)
    predictions, outcomes = events(model, windows, lambda s: start_ns + int(s * 1e9))
    worse = events(model, windows, lambda s: start_ns + int(s * 1e9), gain=3.0)[1][0]
    worse.prediction_id, worse.interpolated_s = outcomes[0].prediction_id, 2.0
    with Spool(parts.settings.spool_dir, clock=parts.clock) as spool:
        spool.write("predictions", predictions)
        spool.write("outcomes", [worse, *outcomes])
    until = now(parts.clock)
    since = until - timedelta(hours=2)
    ade_m = np.array([one.ade_m for one in outcomes])
    whole = parts.performance.slices(since, until, "model_version")
    assert whole.since == since
    assert [(one.value, one.predictions, one.agents) for one in whole.slices] == [("v1", len(outcomes), len(set(windows.agent_ids)))]
    assert figure(whole.slices[0], "ade_m").mean == pytest.approx(ade_m.mean())
    assert figure(whole.slices[0], "ade_m").validation == pytest.approx(metrics["val_ade_m"])
    assert figure(whole.slices[0], "coverage").mean == pytest.approx(np.mean([one.inside_share for one in outcomes]))
    assert figure(whole.slices[0], "radius_m").mean == pytest.approx(np.mean([one.radius_m for one in outcomes]), rel=1e-5)
    speed = np.array([one.speed_mps for one in outcomes])
    bands = {one.value: one for one in parts.performance.slices(since, until, "speed_band").slices}
    for band, mask in (("standing", speed < 0.5), ("walking", (speed >= 0.5) & (speed < 2)), ("running", (speed >= 2) & (speed < 7))):
        assert bands[band].predictions == mask.sum()
        assert figure(bands[band], "ade_m").mean == pytest.approx(ade_m[mask].mean())
        assert figure(bands[band], "ade_m").validation == pytest.approx(metrics[f"speed.{band}.ade_m"])
    steps = parts.performance.slices(since, until, "step").slices
    assert [one.value for one in steps] == [str(step) for step in range(1, 13)]
    for step, found in enumerate(steps):
        assert figure(found, "ade_m").mean == pytest.approx(np.mean([one.step_error_m[step] for one in outcomes]), rel=1e-5)
        assert figure(found, "coverage").mean == pytest.approx(np.mean([one.step_inside[step] for one in outcomes]), rel=1e-5)
        assert figure(found, "radius_m").mean == pytest.approx(figure(found, "radius_m").validation, rel=1e-4), "the Kalman filter's own"
    assert [one.value for one in parts.performance.slices(since, until, "scene").slices] == ["second_half"]
    assert [one.value for one in parts.performance.slices(since, until, "calibration").slices] == ["0"]


def test_compacted_rows_say_the_same_and_only_the_newest_count_where_there_are_too_many(parts: Parts) -> None:
    model, metrics = trained("kalman")
    deploy(parts, metrics)
    written = play(parts, model, 0, 600)
    until = now(parts.clock)
    since = until - timedelta(hours=2)
    before = parts.performance.slices(since, until, "variant").slices
    work_of(parts)["compact_lake"]()
    after = parts.performance.slices(since, until, "variant").slices
    assert [(one.value, one.predictions, one.agents) for one in after] == [(one.value, one.predictions, one.agents) for one in before]
    for metric in ("ade_m", "coverage", "radius_m"):
        assert figure(after[0], metric).high == pytest.approx(figure(before[0], metric).high, rel=1e-6)
    rules = parts.rules.performance
    parts.rules.performance = rules.model_copy(update={"interval": rules.interval.model_copy(update={"max_rows": written // 3})})
    del parts.performance
    newest = parts.performance.slices(since, until, "variant")
    assert newest.since > since
    assert 0.2 * written < newest.slices[0].predictions < 0.5 * written


def test_a_range_longer_than_a_day_is_refused_with_the_way_out(parts: Parts) -> None:
    until = now(parts.clock)
    with pytest.raises(InvalidInput, match="/v1/performance"):
        parts.performance.slices(until - timedelta(days=2), until, "scene")


def test_rows_of_before_slices_were_known_are_read_with_what_they_have(parts: Parts) -> None:
    model, metrics = trained("kalman")
    deploy(parts, metrics)
    windows = second_half()
    start_ns = SetClock().now_ns() - int(AGO_S * 1e9)
    _, outcomes = events(model, windows.select(windows.observed_at_s < 60), lambda s: start_ns + int(s * 1e9))
    for one in outcomes:
        one.speed_mps = one.expected_ade_m = one.radius_m = None
        one.step_distance2 = []
    with Spool(parts.settings.spool_dir, clock=parts.clock) as spool:
        spool.write("outcomes", outcomes)
    until = now(parts.clock)
    since = until - timedelta(hours=2)
    (whole,) = parts.performance.slices(since, until, "model_version").slices
    assert [one.metric for one in whole.figures] == ["ade_m", "fde_m", "miss_rate", "nll", "coverage"]
    assert parts.performance.slices(since, until, "speed_band").slices == []
    assert [one.metric for one in parts.performance.slices(since, until, "step").slices[0].figures] == ["ade_m", "nll", "coverage"]
    assert work_of(parts)["recalibrate"]()["versions"]["trajectory/1"]["conclusion"] == "too_little_data"


# --- the check ----------------------------------------------------------------------------------------------------------------------


def test_performance_as_validated_then_worse_is_found_confirmed_and_recovers(parts: Parts) -> None:
    model, metrics = trained("kalman")
    deploy(parts, metrics)
    assert "nothing can be judged" in work_of(parts)["check_performance"]()["sentence"]
    play(parts, model, 0, 600)
    at(parts, 605.0)
    assert work_of(parts)["check_performance"]()["verdicts"] == {"trajectory/1": "as_validated"}
    play(parts, model, 600, 1500, gain=2.5)
    verdicts = []
    for match_s in (1505.0, 1510.0, 1540.0):
        at(parts, match_s)
        verdicts.append(work_of(parts)["check_performance"]()["verdicts"]["trajectory/1"])
    assert verdicts == ["warning", "warning", "degraded"], "the second saw the same rows and confirms nothing"
    with parts.database.unit_of_work(read_only=True) as work:
        (latest,) = work.performance_checks.latest()
        actions = [entry.action for entry in work.audit.newest()]
    assert "ade_m" in latest.confirmed
    assert latest.ade_ratio is not None
    assert latest.ade_ratio_low is not None
    assert latest.ade_ratio > latest.ade_ratio_low > 1.25
    assert "not as validated, confirmed: ADE" in latest.sentence
    assert actions == ["performance.degraded"]
    sample = parts.metrics.registry.get_sample_value
    assert sample("trajops_performance_verdict", {"model_version": "1"}) == 2
    assert sample("trajops_performance_ade_ratio", {"model_version": "1"}) == pytest.approx(latest.ade_ratio)
    play(parts, model, 1500, 2700)
    for match_s in (2600.0, 2630.0, 2660.0):
        at(parts, match_s)
        found = work_of(parts)["check_performance"]()
        verdicts.append(found["verdicts"]["trajectory/1"])
    assert verdicts[3] == "degraded", "two of the last three"
    assert verdicts[5] == "as_validated"
    with parts.database.unit_of_work(read_only=True) as work:
        assert work.audit.newest()[0].action == "performance.recovered"


def test_a_few_agents_are_too_little_data(parts: Parts) -> None:
    model, metrics = trained("kalman")
    deploy(parts, metrics)
    play(parts, model, 0, 12, gain=9.0)
    at(parts, 30.0)
    found = work_of(parts)["check_performance"]()
    assert found["agents"] < 20 or pytest.fail("the stretch was meant to be short")
    assert found["verdicts"] == {"trajectory/1": "too_little_data"}


def test_old_checks_are_forgotten_but_never_the_newest_of_a_version(parts: Parts) -> None:
    model, metrics = trained("kalman")
    deploy(parts, metrics)
    play(parts, model, 0, 600)
    for match_s in (605.0, 630.0):
        at(parts, match_s)
        work_of(parts)["check_performance"]()
    at(parts, 630.0 + 30 * 86_400)
    assert work_of(parts)["prune"]()["deleted"]["performance_checks"] == 1
    with parts.database.unit_of_work(read_only=True) as work:
        assert len(work.performance_checks.history()) == 1


# --- estimates ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_error_of_runners_is_estimated_while_only_others_have_truth(parts: Parts) -> None:
    """Truth of all agents of the first half hour; then nine tenths of the traffic run faster than 3 m/s, and nobody has truth yet.

    The estimate lies within a tenth of what came out, the last known mean is off by more than three times as much.
    """
    model, metrics = trained("gaussian_mlp")
    deploy(parts, metrics)
    play(parts, model, 0, 1800)
    windows = second_half()
    moved_m = np.diff(windows.history_m, axis=1)
    speed = np.hypot(moved_m[..., 0], moved_m[..., 1]).mean(axis=1) / 0.4
    later = windows.select((windows.observed_at_s >= 1800) & (speed > 3))
    start_ns = SetClock().now_ns() - int(AGO_S * 1e9)
    predictions, outcomes = events(model, later, lambda s: start_ns + int(s * 1e9))
    with Spool(parts.settings.spool_dir, clock=parts.clock) as spool:
        spool.write("predictions", predictions)
    at(parts, 2800.0)
    until = now(parts.clock)
    (found,) = parts.performance.estimate(until - timedelta(seconds=1000), until).versions
    assert found.unscored == len(later)
    observed_m = np.mean([one.ade_m for one in outcomes])
    assert found.estimated_ade_m is not None
    assert found.low is not None
    assert found.high is not None
    assert found.low < observed_m < found.high
    last_known_m = next(point.last_known_ade_m for point in found.points if point.predictions)
    assert last_known_m is not None
    assert abs(found.estimated_ade_m - observed_m) < 0.1 * observed_m
    assert abs(last_known_m - observed_m) > 3 * abs(found.estimated_ade_m - observed_m)
    with Spool(parts.settings.spool_dir, clock=parts.clock) as spool:
        spool.write("outcomes", outcomes)
    (afterwards,) = parts.performance.estimate(until - timedelta(seconds=1000), until).versions
    assert afterwards.unscored == 0
    assert afterwards.estimated_ade_m is None
    assert afterwards.mean_error_m is not None
    assert afterwards.last_known_error_m is not None
    assert afterwards.mean_error_m < afterwards.last_known_error_m


# --- calibrations -------------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("family", ["gaussian_mlp", "gradient_boosting"])
def test_intervals_hold_on_later_traffic_what_they_say(parts: Parts, family: str) -> None:
    """Half an hour of the second half calibrates; the quarter of an hour after it is answered by the stretched model.

    Before: 0.86 to 0.87 inside the 90 % ellipses. After: 0.88 to 0.92. A second run over what the calibration has served leaves it
    alone, or moves it by little.
    """
    model, metrics = trained(family)
    deploy(parts, metrics)
    play(parts, model, 0, 1800)
    at(parts, 1810.0)
    result = work_of(parts)["recalibrate"]()
    found = result["versions"]["trajectory/1"]
    assert (found["conclusion"], found["state"], found["calibration"]) == ("apply", "applied", 1)
    assert found["coverage_before"] < 0.88
    assert "a new calibration is in force" in result["sentence"]
    with parts.database.unit_of_work(read_only=True) as work:
        (in_force,) = work.calibrations.in_force()
        entry = work.audit.newest()[0]
    assert (entry.action, entry.after["calibration"]) == ("calibration.apply", 1)
    rescaled: Any = model
    stretched = rescaled.rescaled(np.array(in_force.factors))
    play(parts, model, 1815, 2800, model_version=2)
    play(parts, stretched, 1815, 2800, calibration=1)
    deploy(parts, metrics, version=2)
    at(parts, 2810.0)
    until = now(parts.clock)
    later = until - timedelta(seconds=1000)
    versions = parts.performance.slices(later, until, "model_version").slices
    calibrated, plain = (figure(one, "coverage").mean for one in sorted(versions, key=lambda one: one.model_version))
    assert plain is not None
    assert calibrated is not None
    assert plain < 0.88
    assert 0.88 <= calibrated <= 0.92
    assert {one.value for one in parts.performance.slices(later, until, "calibration").slices if one.model_version == 1} == {"1"}
    work_of(parts)["recalibrate"]()
    with parts.database.unit_of_work(read_only=True) as work:
        (again,) = work.calibrations.in_force()
    assert np.array(again.factors) == pytest.approx(np.array(in_force.factors), rel=0.15)


def test_what_was_taken_out_by_hand_is_only_proposed_until_somebody_applies_one(parts: Parts) -> None:
    model, metrics = trained("kalman")
    deploy(parts, metrics)
    play(parts, model, 0, 1800, stride=2)
    at(parts, 1810.0)
    calibrations = Calibrations(parts.database.unit_of_work, parts.clock)
    assert work_of(parts)["recalibrate"]()["versions"]["trajectory/1"]["state"] == "applied"
    done = calibrations.revert(1, "applied", actor="ada", reason=WHY)
    assert done.calibration.state == "reverted"
    for _ in range(3):  # the same is proposed once, however often it is found
        found = work_of(parts)["recalibrate"]()["versions"]["trajectory/1"]
        assert (found["state"], found["calibration"]) == ("proposed", 2)
    with parts.database.unit_of_work(read_only=True) as work:
        assert work.calibrations.in_force() == []
        assert [(one.number, one.state) for one in work.calibrations.newest()] == [(2, "proposed"), (1, "reverted")]
        assert "taken out by hand" in work.calibrations.newest()[0].sentence
        assert [entry.action for entry in work.audit.newest()].count("calibration.propose") == 1
    calibrations.apply(2, "proposed", actor="ada", reason=WHY)
    with parts.database.unit_of_work(read_only=True) as work:
        assert [one.number for one in work.calibrations.in_force()] == [2]
        done = {(entry.actor, entry.action, entry.after["calibration"]) for entry in work.audit.newest()}
    assert {("ada", "calibration.revert", 1), ("worker:recalibrate", "calibration.propose", 2), ("ada", "calibration.apply", 2)} <= done


def test_nothing_is_routed_and_nothing_is_calibrated(parts: Parts) -> None:
    assert work_of(parts)["recalibrate"]() == {"sentence": "No version is routed, so that there is nothing to calibrate.", "versions": {}}

"""Another unit, told by the shape of speeds: where people move at two paces a median tells none."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from data.stubs import MemoryDatabase
from tests.drift_windows import FEET, RULES, START_S, FixedSource, SecondsClock, match, tally_of, together
from trajops.clock import utc
from trajops.contracts.drift import DriftCheckOut
from trajops.drift.columns import Rows
from trajops.drift.doubt import trouble
from trajops.drift.gaps import Span
from trajops.drift.learnable import Judge
from trajops.drift.likeness import fits
from trajops.drift.paces import for_paces, paces_of
from trajops.drift.rules import QualityRule
from trajops.services.drift import DriftMonitor
from trajops.trajectories import FloatArray

RULE = QualityRule()


def dawdling(rng: np.random.Generator, count: int) -> FloatArray:
    return np.where(rng.random(count) < 0.7, rng.normal(0.4, 0.06, count), rng.normal(1.35, 0.2, count))


def standing(rng: np.random.Generator, count: int) -> FloatArray:
    return np.where(rng.random(count) < 0.25, rng.uniform(0.02, 0.12, count), rng.normal(1.35, 0.2, count))


def cycling(rng: np.random.Generator, count: int) -> FloatArray:
    return np.where(rng.random(count) < 0.3, rng.normal(5.0, 0.6, count), rng.normal(1.35, 0.2, count))


CROWDS = {"dawdle": dawdling, "stand": standing, "cycle": cycling}


def scenes(
    rates: dict[str, float], minutes: int, crowd: str, *, seed: int, start_s: float = START_S, gains: dict[str, float] | None = None
) -> Rows:
    """So many agents a minute in each scene, three rows of each, as fast as such a crowd; in some scenes in another unit."""
    parts, first = [], 0
    for code, (name, rate) in enumerate(rates.items()):
        rng = np.random.default_rng([seed, code])
        count = rng.poisson(rate * minutes)
        speeds = np.maximum(CROWDS[crowd](rng, count), 0.01) * (gains or {}).get(name, 1.0)
        times_s = start_s + rng.uniform(0, 60 * minutes, count)[:, None] + 0.4 * np.arange(3)
        agents = np.arange(first, first + count).repeat(3)
        parts.append((times_s.ravel(), agents, speeds.repeat(3), np.full(3 * count, code)))
        first += count
    times_s, agents, speeds, codes = (np.concatenate(column) for column in zip(*parts, strict=True))
    order = np.argsort(times_s, kind="stable")
    ones = np.ones(len(order))
    values = {"speed_mps": speeds[order], "dt_s": 0.4 * ones, "observed_at_s": times_s[order], "path_m": speeds[order]}
    return Rows(times_s[order], agents[order], ones.astype(int), values, codes[order], tuple(rates))


@pytest.mark.parametrize("crowd", CROWDS)
@pytest.mark.parametrize(("gain", "least"), [(1.0, 0.0), (FEET, 0.95), (1 / FEET, 0.95)], ids=["as ever", "feet", "metres for feet"])
def test_a_unit_is_told_where_people_move_at_two_paces(crowd: str, gain: float, least: float) -> None:
    paces = paces_of(scenes({"hall": 12.0}, 360, crowd, seed=1, start_s=START_S - 100_000), RULE)
    rows = scenes({"hall": 12.0}, 300, crowd, seed=2, gains={"hall": gain})
    told = []
    for end_s in np.arange(START_S + 300, START_S + 18_000, 150):
        window = rows.select((rows.times_s > end_s - 300) & (rows.times_s <= end_s))
        told += [fit.gain > fit.limit for fit in fits(paces, [(window, 300.0)], for_paces(RULE))]
    assert len(told) > 100
    assert not any(told) if gain == 1.0 else np.mean(told) >= least


def test_one_half_of_the_match_is_in_the_unit_of_the_other() -> None:
    paces = paces_of(match("first_half"), RULE)
    for gain, expected in ((1.0, False), (FEET, True), (1 / FEET, True)):
        rows = match("second_half", gain=gain)
        told = []
        for end_s in np.arange(rows.times_s.min() + 300, rows.times_s.max(), 300):
            told += [
                fit.gain > fit.limit
                for fit in fits(paces, [(rows.select((rows.times_s > end_s - 300) & (rows.times_s <= end_s)), 300.0)], for_paces(RULE))
            ]
        assert told
        assert np.mean(told) > 0.9 if expected else not any(told)


def checked(folder: Path, reference: Rows, live: Rows, at_s: float) -> DriftCheckOut:
    source = FixedSource({"backfill": reference, "live": live})
    return DriftMonitor(source, MemoryDatabase().unit_of_work, RULES, folder, SecondsClock(at_s)).check()


@pytest.mark.parametrize(
    ("rates", "wrong"),
    [
        pytest.param({"hall": 5.0}, "hall", id="one camera"),
        pytest.param({"street": 60.0, "hall": 3.0}, "hall", id="a quiet one beside a busy one"),
        pytest.param({f"hall-{n}": 5.0 for n in range(10)}, "hall-7", id="one of ten"),
    ],
)
def test_the_camera_in_feet_is_named_and_not_learnt_from(tmp_path: Path, rates: dict[str, float], wrong: str) -> None:
    reference = scenes(rates, 240, "dawdle", seed=3, start_s=START_S - 100_000)
    clean, feet = (scenes(rates, 60, "dawdle", seed=4, gains={wrong: gain}) for gain in (1.0, FEET))
    found = checked(tmp_path, reference, feet, START_S + 3590)
    assert found.verdict == "drift"
    assert [one.scene for one in found.quality if one.kind == "unit" and one.verdict == "bad"] == [wrong]
    assert trouble(found) is not None
    well = checked(tmp_path, reference, clean, START_S + 3590)
    assert [one for one in well.quality if one.verdict == "bad"] == []
    whole = Span(utc(int(START_S * 1e9)), utc(int((START_S + 3600) * 1e9)))
    left_out = Judge(RULES, reference).wrong(feet, whole, tally_of(feet, START_S + 3600, 30.0))
    assert {gap.scene for gap in left_out.gaps} in ({wrong}, {None})
    assert left_out.wrong == pytest.approx(rates[wrong] / sum(rates.values()), rel=0.25)


def harbour(per_minute: int, minutes: int, still: float, *, seed: int, start_s: float = START_S, gain: float = 1.0) -> Rows:
    """Most ships lie still, to the last digit; the others move."""
    rows = scenes({"harbour": per_minute}, minutes, "cycle", seed=seed, start_s=start_s, gains={"harbour": gain})
    still_s = np.random.default_rng(seed).random(int(rows.agents.max()) + 1) < still
    moves = np.where(still_s[rows.agents], 0.0, 1.0)
    return replace(rows, values={**rows.values, "speed_mps": moves * rows.values["speed_mps"], "path_m": moves * rows.values["path_m"]})


@pytest.mark.parametrize(("per_minute", "still"), [(40, 0.8), (40, 0.9), (10, 0.6)])
def test_who_stands_is_no_evidence_of_a_unit(tmp_path: Path, per_minute: int, still: float) -> None:
    """Nothing is zero in any unit: those who move tell it, by as much traffic as holds enough of them."""
    reference = harbour(per_minute, 300, still, seed=3, start_s=START_S - 100_000)
    clean, feet = (harbour(per_minute, 60, still, seed=4, gain=gain) for gain in (1.0, FEET))
    for at_s in np.arange(START_S + 1500, START_S + 3600, 400):
        units = [one.verdict for one in checked(tmp_path, reference, feet, at_s).quality if one.kind == "unit"]
        well = [one.verdict for one in checked(tmp_path, reference, clean, at_s).quality if one.kind == "unit"]
        assert (units, well) == (["bad"], ["ok"])
    whole = Span(utc(int(START_S * 1e9)), utc(int((START_S + 3600) * 1e9)))
    judge = Judge(RULES, reference)
    assert judge.wrong(feet, whole, tally_of(feet, START_S + 3600, 30.0)).wrong == 1.0
    assert judge.wrong(clean, whole, tally_of(clean, START_S + 3600, 30.0)).wrong == 0.0


def test_a_tracker_that_is_stuck_sends_in_no_other_unit(tmp_path: Path) -> None:
    rates = {f"hall-{n}": 10.0 for n in range(10)}
    reference, live = scenes(rates, 240, "cycle", seed=3, start_s=START_S - 100_000), scenes(rates, 30, "cycle", seed=4)
    moves = np.where(live.scenes == 0, 0.0, 1.0)
    stuck = replace(live, values={**live.values, "speed_mps": moves * live.values["speed_mps"], "path_m": moves * live.values["path_m"]})
    found = checked(tmp_path, reference, stuck, START_S + 1500)
    assert {one.verdict for one in found.quality if one.kind == "unit"} == {"ok"}


def pitch(hours: int, *, seed: int, start_s: float = START_S, gain: float = 1.0) -> Rows:
    """Sixteen players for ten seconds, every five minutes or so, who run or jog; once in a while all of them walk, for twenty minutes."""
    rng = np.random.default_rng(seed)
    begins_s = np.sort(rng.uniform(0, 3600 * hours, 12 * hours))
    walks = (rng.random(3 * hours) < 0.015)[(begins_s / 1200).astype(int)][:, None, None]
    speeds = (np.where(walks, 1.0, 3.3) * np.exp(rng.normal(0, 0.35, (len(begins_s), 16, 1))) * gain).repeat(3, axis=2)
    times_s = start_s + begins_s[:, None, None] + rng.uniform(0, 9, (len(begins_s), 16, 1)) + 0.4 * np.arange(3)
    agents = np.arange(speeds.size // 3).repeat(3)
    order = np.argsort(times_s.ravel(), kind="stable")
    ones = np.ones(speeds.size)
    values = {"speed_mps": speeds.ravel()[order], "dt_s": 0.4 * ones}
    return Rows(times_s.ravel()[order], agents[order], ones.astype(int), values, np.zeros(len(order), dtype=int), ("pitch",))


@pytest.mark.parametrize(("gain", "least"), [(1.0, 0.0), (FEET, 0.4)], ids=["as ever", "feet"])
def test_two_teams_that_walk_at_once_are_no_other_unit(gain: float, least: float) -> None:
    looked, told = 0, 0
    for seed in range(6):
        paces = paces_of(pitch(72, seed=seed, start_s=START_S - 300_000), RULE)
        rows = pitch(72, seed=100 + seed, gain=gain)
        for end_s in np.arange(START_S + 1200, START_S + 72 * 3600, 300):
            looks = [(rows.select((rows.times_s > end_s - span_s) & (rows.times_s <= end_s)), span_s) for span_s in (300.0, 1200.0)]
            found = fits(paces, looks, for_paces(RULE))
            looked, told = looked + len(found), told + sum(fit.gain > fit.limit for fit in found)
    assert looked > 500
    assert told == 0 if gain == 1.0 else told / looked >= least


def test_a_quiet_camera_is_well_again_although_there_is_too_little_data_for_columns(tmp_path: Path) -> None:
    reference = scenes({"hall": 5.0}, 240, "dawdle", seed=3, start_s=START_S - 100_000)
    feet = scenes({"hall": 5.0}, 30, "dawdle", seed=4, gains={"hall": FEET})
    live = together(feet, scenes({"hall": 5.0}, 60, "dawdle", seed=5, start_s=START_S + 1800), names=("hall", "later"))
    database, clock = MemoryDatabase(), SecondsClock(START_S + 1790)
    source = FixedSource({"backfill": reference, "live": live.regrouped({"later": "hall"})})
    monitor = DriftMonitor(source, database.unit_of_work, RULES, tmp_path, clock)
    found = monitor.check()
    assert (found.verdict, found.traffic_verdict) == ("drift", "insufficient_data")
    for clock.at_s in (START_S + 5330, START_S + 5360, START_S + 5390):
        assert monitor.check().verdict == "insufficient_data"
    with database.unit_of_work(read_only=True) as uow:
        assert [entry.action for entry in uow.audit.newest()] == ["drift.ended", "drift.began"], "it ends once"

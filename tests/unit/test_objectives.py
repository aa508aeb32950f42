"""Error budget and burn rates: hand-computed cases, what holds for any minutes, and the alarms against simulated outages."""

from datetime import UTC, datetime, timedelta
from functools import reduce
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.stubs import MemoryDatabase
from trajops.configs import load
from trajops.contracts.figures import near_one
from trajops.errors import InvalidInput
from trajops.objectives import (
    AlarmState,
    Availability,
    BurnAlarm,
    Minutes,
    Objectives,
    alarm_states,
    bounds,
    budget,
    burn,
    least_probes,
    minute_of,
    whole_bounds,
)
from trajops.services import availability

CONFIG = Path(__file__).parents[2] / "configs/objectives.yaml"
SHIPPED = load(CONFIG, Objectives).availability
AT = datetime(2026, 1, 31, 12, 0, 30, tzinfo=UTC)
WINDOW_MIN = 30 * 1440
PROBE_S = 5


def test_the_shipped_objective_allows_43_minutes_in_30_days() -> None:
    whole = Minutes(known=WINDOW_MIN, bad=0.0, probes=12 * WINDOW_MIN)
    left = budget(whole, SHIPPED, minute_of(AT) - 2 * WINDOW_MIN, AT)
    assert left.allowed_min == pytest.approx(43.2)
    assert (left.left, left.availability, left.unknown_min) == (1.0, 1.0, 0)


@pytest.mark.parametrize(
    ("known", "bad", "first_min_ago", "left", "unknown"),
    [
        pytest.param(WINDOW_MIN, 10.8, WINDOW_MIN, 0.75, 0, id="a quarter is used"),
        pytest.param(WINDOW_MIN, 86.4, WINDOW_MIN, -1.0, 0, id="twice the allowance"),
        pytest.param(WINDOW_MIN // 2, 10.8, 2 * WINDOW_MIN, 0.5, WINDOW_MIN // 2, id="half is unknown and allows nothing"),
        pytest.param(1440, 10.8, 1440, 0.75, 0, id="a day old: what was before is not unknown"),
    ],
)
def test_the_budget(known: int, bad: float, first_min_ago: int, left: float, unknown: int) -> None:
    found = budget(Minutes(known, bad, 12 * known), SHIPPED, minute_of(AT) - first_min_ago, AT)
    assert found.left == pytest.approx(left, abs=1e-3)
    assert found.unknown_min == unknown
    assert found.bad_min == bad


def test_without_a_probe_nothing_is_known() -> None:
    found = budget(Minutes(), SHIPPED, None, AT)
    assert (found.left, found.availability, found.unknown_min) == (None, None, 0)
    later = budget(Minutes(), SHIPPED, minute_of(AT) - 600, AT)
    assert (later.left, later.unknown_min) == (None, 600), "ten hours in which nobody probed are no ten good hours"


def test_a_window_ends_with_the_minute_that_has_begun() -> None:
    begin, end = bounds(AT, 300)
    assert (end - begin, begin) == (5, minute_of(AT) - 4)
    assert whole_bounds(AT, 300) == (begin - 1, end - 1)


@pytest.mark.parametrize(
    ("minutes", "window_s", "rate", "certain"),
    [
        pytest.param(Minutes(60, 0.06, 720), 3600, 1.0, 1.0, id="just in pace"),
        pytest.param(Minutes(60, 0.864, 720), 3600, 14.4, 14.4, id="14.4 times"),
        pytest.param(Minutes(5, 0.5, 60), 3600, 100.0, 0.5 / 0.06, id="little is known"),
        pytest.param(Minutes(), 3600, None, 0.0, id="nothing is known"),
    ],
)
def test_the_burn_rate(minutes: Minutes, window_s: int, rate: float | None, certain: float) -> None:
    found = burn(minutes, window_s, 0.999)
    assert found.rate == (None if rate is None else pytest.approx(rate))
    assert found.certain_rate == pytest.approx(certain)
    assert found.known_share == minutes.known / (window_s / 60)


minutes_st = st.builds(
    lambda good, bad, slowest: Minutes(1, bad / (good + bad), good + bad, slowest),
    st.integers(1, 12),
    st.integers(0, 12),
    st.none() | st.floats(0.1, 2000),
)


@given(st.lists(minutes_st, max_size=40), st.integers(0, 40))
def test_sums_do_not_depend_on_where_a_range_is_cut(rows: list[Minutes], cut: int) -> None:
    def total(part: list[Minutes]) -> Minutes:
        return reduce(Minutes.joined, part, Minutes())

    whole, both = total(rows), total(rows[:cut]).joined(total(rows[cut:]))
    assert whole == (both.known, pytest.approx(both.bad), both.probes, both.slowest_ms)
    assert 0 <= whole.bad <= whole.known


@given(known=st.integers(0, 60), bad=st.floats(0, 1), worse=st.floats(0, 1))
def test_what_is_certain_is_never_more_than_what_is_likely_and_grows_with_what_is_bad(known: int, bad: float, worse: float) -> None:
    mild, bad_share = sorted((bad, worse))
    a, b = (burn(Minutes(known, share * known, known), 3600, 0.999) for share in (mild, bad_share))
    for one in (a, b):
        assert one.rate is None or one.certain_rate <= one.rate * (1 + 1e-9)
    assert a.certain_rate <= b.certain_rate


def burning(bad_by_minute: np.ndarray, *, is_known: np.ndarray | None = None) -> list[AlarmState]:
    """States of the shipped alarms at the end of a stretch of minutes, each bad to some share."""
    known = np.ones(len(bad_by_minute), bool) if is_known is None else is_known
    burns = {}
    for length_s in SHIPPED.windows_s:
        last = slice(max(0, len(bad_by_minute) - length_s // 60), None)
        minutes = Minutes(int(known[last].sum()), float(bad_by_minute[last][known[last]].sum()), 12 * int(known[last].sum()))
        burns[length_s] = burn(minutes, length_s, SHIPPED.target)
    return alarm_states(SHIPPED.alarms, burns)


def minutes_until(alarm: int, error_share: float, *, good_before: int = 4 * 1440) -> int | None:
    """How long after an outage of so many errors begins an alarm is due; None: not within four days."""
    stretch = np.concatenate([np.zeros(good_before), np.full(4 * 1440, error_share)])
    for minute in range(1, 4 * 1440):
        if burning(stretch[: good_before + minute])[alarm].is_burning:
            return minute
    return None


@pytest.mark.parametrize(
    ("alarm", "error_share", "minutes"),
    [
        # Time to detection = factor × (1 − target) / errors × long window, table 5-8 of the workbook.
        pytest.param(0, 1.0, 1, id="everything fails: within a minute"),
        pytest.param(0, 0.1, 9, id="a tenth fails"),
        pytest.param(0, 0.02, 44, id="two per cent fail"),
        pytest.param(1, 0.01, 216, id="one per cent fails: the slower alarm"),
        pytest.param(0, 0.01, None, id="one per cent never is the faster one's affair"),
        pytest.param(2, 0.002, 2160, id="twice the allowance: a ticket after a day and a half"),
        pytest.param(2, 0.0009, None, id="within the allowance nobody is called"),
    ],
)
def test_an_outage_is_told_when_it_must_be(alarm: int, error_share: float, minutes: int | None) -> None:
    found = minutes_until(alarm, error_share)
    assert found == (None if minutes is None else pytest.approx(minutes, abs=1.01))


def probed(good_min: int = 180) -> tuple[MemoryDatabase, datetime]:
    """A store after so many perfect minutes, and the beginning of the next."""
    database, end = MemoryDatabase(), AT.replace(second=0)
    with database.unit_of_work() as uow:
        for second in range(-60 * good_min, 0, PROBE_S):
            uow.probes.add(end + timedelta(seconds=second), is_good=True, latency_ms=9.0, failure=None)
    return database, end


def probe(database: MemoryDatabase, at: datetime, *, is_good: bool) -> list[str]:
    """Add one probe; the severities of the alarms that burn right after it, once as rules and once as the page has them."""
    with database.unit_of_work() as uow:
        uow.probes.add(at, is_good=is_good, latency_ms=9.0 if is_good else 1100.0, failure=None if is_good else "too slow")
    with database.unit_of_work(read_only=True) as uow:
        found = [state.alarm.severity for state in availability.burning(uow, SHIPPED, at) if state.is_burning]
        page = availability.read_availability(uow, SHIPPED, at)
    assert [alarm.severity for alarm in page.alarms if alarm.is_burning] == found
    assert page.verdict == ("ok" if not found else "bad" if "critical" in found else "warn")
    return found


@pytest.mark.parametrize("slow", [0, 1, 6, 11])
def test_one_slow_probe_in_a_minute_that_runs_calls_nobody(slow: int) -> None:
    database, begin = probed()
    for number in range(24):
        at = begin + timedelta(seconds=PROBE_S * number)
        assert probe(database, at, is_good=number != slow) == [], f"after probe {number}"
        if number == slow == 0:
            with database.unit_of_work(read_only=True) as uow:
                hasty = burn(uow.probes.summed(*bounds(at, 3600)), 3600, SHIPPED.target)
            assert hasty.certain_rate > 14.4, "the negative control: with the running minute somebody would be called"


@pytest.mark.parametrize("second", [35, 50, 55])
def test_one_failed_probe_in_the_minute_in_which_workers_start_calls_nobody(second: int) -> None:
    database, begin = MemoryDatabase(), AT.replace(second=0)
    with database.unit_of_work() as uow:
        uow.jobs.describe("probe", "Asks for a prediction.", PROBE_S)
    for after_s in range(second, 300, PROBE_S):
        at = begin + timedelta(seconds=after_s)
        with database.unit_of_work() as uow:
            uow.probes.add(at, is_good=after_s != second, latency_ms=None, failure=None)
            assert not any(state.is_burning for state in availability.burning(uow, SHIPPED, at)), f"after {after_s} s"
    with database.unit_of_work(read_only=True) as uow:
        hasty = burn(uow.probes.summed(*whole_bounds(begin + timedelta(seconds=60), 3600)), 3600, SHIPPED.target)
        kept = uow.probes.summed(*whole_bounds(begin + timedelta(seconds=60), 3600), least=6)
    assert kept.bad == pytest.approx(1 / 6)
    if second == 55:
        assert hasty.certain_rate > 14.4, "the negative control: by its share of that minute's probes somebody would be called"


def test_while_the_first_minute_runs_probing_has_begun() -> None:
    database, begin = MemoryDatabase(), AT.replace(second=0)
    said = []
    for after_s in (0, 5, 55, 65, 600):
        with database.unit_of_work() as uow:
            if after_s and after_s < 600:
                uow.probes.add(begin + timedelta(seconds=after_s), is_good=after_s == 5, latency_ms=9.0, failure=None)
            page = availability.read_availability(uow, SHIPPED, begin + timedelta(seconds=after_s))
            said.append(page.sentence)
    assert said[0].startswith("Nobody has probed yet")
    assert said[1] == said[2]
    assert said[1].startswith("Probing has just begun")
    assert "Nobody" not in said[3]
    assert said[4] == "Nobody has probed for 9 minutes; start the workers."


def test_the_sentence_writes_shares_as_the_page_does() -> None:
    database, _ = probed(31)
    with database.unit_of_work() as uow:
        for second in (5, 10):
            uow.probes.add(AT.replace(second=second) - timedelta(minutes=31), is_good=False, latency_ms=9.0, failure="slow")
        page = availability.read_availability(uow, SHIPPED, AT)
    assert page.availability is not None
    assert page.sentence.startswith(f"{near_one(page.availability)} of the probed minutes were good"), page.sentence
    assert near_one(0.935484) == "93.548 %"
    assert (near_one(1.0), near_one(0.999)) == ("100 %", "99.9 %")


@pytest.mark.parametrize(("every_s", "least"), [(5, 6), (10, 3), (60, 1), (3600, 1), (0.5, 60)])
def test_how_many_probes_speak_for_a_minute(every_s: float, least: int) -> None:
    assert least_probes(every_s) == least


@pytest.mark.parametrize("second", [0, 5, 10, 30, 55])
def test_a_total_outage_is_told_within_two_minutes_whenever_it_begins(second: int) -> None:
    database, begin = probed()
    for number in range(36):
        after_s = PROBE_S * number - second
        if "critical" in probe(database, begin + timedelta(seconds=PROBE_S * number), is_good=after_s < 0):
            break
    assert 0 < after_s <= 120


def test_an_alarm_ends_with_the_trouble() -> None:
    outage = np.concatenate([np.zeros(1440), np.ones(10), np.zeros(5)])
    assert not burning(outage)[0].is_burning, "five good minutes after ten bad ones; the hour alone would go on for fifty more"
    assert burning(outage[:-1])[0].is_burning


def test_random_failures_within_the_objective_raise_no_alarm() -> None:
    """Negative control: independent failures at a fifth of the allowance, 400 stretches of three days that end anywhere."""
    rng = np.random.default_rng(7)
    alarms = 0
    for _ in range(400):
        bad = rng.binomial(12, 0.0002, 3 * 1440) / 12
        alarms += any(state.is_burning for state in burning(bad))
    assert alarms == 0


def test_one_failed_probe_after_a_start_calls_nobody() -> None:
    bad, known = np.zeros(3 * 1440), np.zeros(3 * 1440, bool)
    known[-5:], bad[-1] = True, 1 / 12
    assert not any(state.is_burning for state in burning(bad, is_known=known))
    by_the_known = burn(Minutes(5, 1 / 12, 60), 3600, SHIPPED.target)
    assert by_the_known.rate is not None
    assert by_the_known.rate > 14.4, "the negative control: by the known minutes alone somebody would be called"


def test_minutes_without_a_probe_are_no_alarm() -> None:
    assert not any(state.is_burning for state in burning(np.ones(3 * 1440), is_known=np.zeros(3 * 1440, bool)))


@pytest.mark.parametrize(
    ("old", "new", "line", "said"),
    [
        pytest.param("target: 0.999", "target: 1.0", 5, "availability.target", id="no budget at all"),
        pytest.param("window_days: 30", "window_days: 90", 6, "window_days", id="longer than probes are kept"),
        pytest.param("good_within_s: 1.0", "good_within_s: 3.0", 7, "good_within_s (3)", id="later than the time-out"),
        pytest.param("short_s: 300", "short_s: 3600", 14, "must be below long_s", id="windows the wrong way round"),
        pytest.param("factor: 6,", "factr: 6,", 16, "factr", id="unknown key"),
    ],
)
def test_a_mistake_is_named_with_its_line(tmp_path: Path, old: str, new: str, line: int, said: str) -> None:
    text = CONFIG.read_text()
    assert old in text
    path = tmp_path / "objectives.yaml"
    path.write_text(text.replace(old, new))
    with pytest.raises(InvalidInput) as raised:
        load(path, Objectives)
    assert f"{path}:{line}:" in raised.value.message
    assert said in raised.value.message


def test_an_alarm_longer_than_the_window_is_refused() -> None:
    alarm = BurnAlarm(severity="warning", factor=1, long_s=2 * 86_400, short_s=300)
    with pytest.raises(ValueError, match="cannot be longer"):
        Availability(window_days=1, alarms=(alarm,))
    assert timedelta(seconds=Availability(window_days=2, alarms=(alarm,)).window_s) == timedelta(days=2)

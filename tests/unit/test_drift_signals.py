"""What the newest drift check says to the alert rules: each change by itself, and each until it is well again."""

from datetime import datetime
from typing import Any

import pytest

from data.stubs import MemoryDatabase
from tests.alert_builders import an_alert
from tests.record_builders import drift_check
from tests.signal_reads import AT, later, read
from trajops.contracts.drift import UNIT_RULE, DriftColumn, DriftScene, QualityFinding, QualityKind, Verdict
from trajops.drift.watch import OTHERS


@pytest.fixture
def database() -> MemoryDatabase:
    return MemoryDatabase()


def a_finding(kind: QualityKind, scene: str | None = "hall", *, is_bad: bool = True, **changes: Any) -> QualityFinding:
    said = f"{kind} in {scene}."
    figures = {"value": 1.5 if is_bad else 0.1, "limit": 0.3, "sentence": said}
    return QualityFinding(**{"kind": kind, "scene": scene, "verdict": "bad" if is_bad else "ok", **figures, **changes})


def told_by(database: MemoryDatabase, *quality: QualityFinding, verdict: Verdict = "drift", at: datetime = AT, **changes: Any) -> None:
    with database.unit_of_work() as uow:
        uow.drift_checks.add(drift_check(at, quality=list(quality), verdict=verdict, **{"is_judged": False, **changes}))


def at_once(database: MemoryDatabase, at: datetime) -> set[tuple[str | None, str | None, float]]:
    found = read(database, at)
    told = [*found.get("drift_unit", []), *found.get("drift_scene", [])]
    return {(one.labels.get("kind"), one.labels.get("scene"), one.value) for one in told}


def test_each_scene_is_told_by_itself(database: MemoryDatabase) -> None:
    """Two changes are two alerts, and one of them hides no other."""
    told_by(database, a_finding("unit", "hall"), a_finding("frame", "square"), a_finding("new_scene", "dock"), a_finding("frame", "hall"))
    assert at_once(database, later(30)) == {("unit", "hall", 1), ("frame", "square", 1), ("new_scene", "dock", 1)}
    told_by(database, a_finding("unit", "hall"), a_finding("frame", "square"), unit=True, is_judged=True, at=later(30))
    assert at_once(database, later(60)) == {(None, None, 1)}, "in another unit altogether, one alert says it"
    told_by(database, a_finding("unit", "hall"), is_judged=True, at=later(90))
    assert at_once(database, later(90)) == {(None, None, 0)}, "what its rows in the window still say is no news"


@pytest.mark.parametrize(
    ("kind", "quality", "seen_s", "ends"),
    [
        pytest.param("frame", (a_finding("frame", is_bad=False),), 60, True, id="looked at and well"),
        pytest.param("frame", (a_finding("frame", None, is_bad=False, scenes=["hall", "yard"]),), 60, True, id="well with others"),
        pytest.param("frame", (a_finding("frame", None, is_bad=False, scenes=["yard"]),), 60, False, id="others are well"),
        pytest.param("frame", (a_finding("frame", None, scenes=["hall", "yard"]),), 60, False, id="bad with others"),
        pytest.param("frame", (a_finding("frame", muted_until=later(9000)),), 60, True, id="muted"),
        pytest.param("frame", (), 60, False, id="not looked at"),
        pytest.param("frame", (), 1300, True, id="not looked at for long"),
        pytest.param("unit", (a_finding("unit", is_bad=False),), 60, True, id="the unit is right"),
        pytest.param("new_scene", (), 60, True, id="gone, or known"),
    ],
)
@pytest.mark.parametrize("verdict", ["stable", "insufficient_data"])
def test_what_was_drift_at_once_ends_when_it_is_well_however_few_agents_there_are(
    database: MemoryDatabase, verdict: Verdict, kind: QualityKind, quality: tuple[QualityFinding, ...], seen_s: float, ends: bool
) -> None:
    labels = {"kind": kind, "scene": "hall"}
    with database.unit_of_work() as uow:
        uow.alerts.add(an_alert("a1", later(-seen_s), rule="drift_of_scene", labels=labels))
    told_by(database, *quality, verdict=verdict)
    told = {one for one in at_once(database, later(0)) if one[0] is not None and one[1] == "hall"}
    assert told == ({(kind, "hall", 0)} if ends else set())


def a_scene(name: str, verdict: Verdict, agents: int = 100) -> DriftScene:
    return DriftScene(scene=name, agents=agents, verdict=verdict, sentence="", columns=[])


@pytest.mark.parametrize(
    ("quality", "scenes", "traffic", "value"),
    [
        pytest.param([a_finding("unit")], {"hall": "drift", "street": "stable"}, "drift", 3, id="the scene in feet"),
        pytest.param([a_finding("unit")], {"hall": "stable", "street": "drift"}, "stable", 2, id="another scene"),
        pytest.param([a_finding("unit")], {"street": "stable"}, "drift", 2, id="all, and hardly anybody is in the scene in feet"),
        pytest.param([a_finding("unit")], {"hall": "stable", "street": "stable"}, "drift", 3, id="all, of whom half are in feet"),
        pytest.param([a_finding("unit", "lane")], {OTHERS: "drift", "street": "stable"}, "stable", 3, id="one of the others"),
        pytest.param([a_finding("unit", "lane", agents=9)], {OTHERS: "drift", "street": "stable"}, "drift", 2, id="a few of the others"),
        pytest.param([a_finding("unit", "lane", agents=10)], {OTHERS: "drift", "street": "stable"}, "drift", 3, id="a tenth of the others"),
        pytest.param([a_finding("unit", "lane", agents=15)], {OTHERS: "stable", "street": "stable"}, "drift", 2, id="few of all"),
        pytest.param([a_finding("unit", None, scenes=["hall"])], {"hall": "drift"}, "drift", 3, id="one of those judged together"),
        pytest.param([a_finding("sampling_rate")], {"hall": "drift"}, "drift", 3, id="another rate"),
        pytest.param([a_finding("frame")], {"hall": "drift"}, "drift", 2, id="axes move no column"),
        pytest.param([a_finding("new_scene", "dock")], {"hall": "stable"}, "stable", 0, id="a new scene alone"),
        pytest.param([a_finding("frame")], {}, "insufficient_data", None, id="too little data for columns"),
    ],
)
def test_columns_are_told_beside_what_is_drift_at_once(
    database: MemoryDatabase, quality: list[QualityFinding], scenes: dict[str, Verdict], traffic: Verdict, value: float | None
) -> None:
    judged = [a_scene(name, verdict) for name, verdict in scenes.items()]
    told_by(database, *quality, scenes=judged, traffic_verdict=traffic)
    found = read(database, later(30)).get("drift_verdict", [])
    assert [one.value for one in found] == ([] if value is None else [value])


def scene_alert(database: MemoryDatabase, kind: QualityKind, scene: str | None = "hall", seen_s: float = 60) -> None:
    labels = {"kind": kind} | ({} if scene is None else {"scene": scene})
    with database.unit_of_work() as uow:
        uow.alerts.add(an_alert("a1", later(-seen_s), rule="drift_of_scene", labels=labels))


@pytest.mark.parametrize(
    ("before", "well", "ends"),
    [
        pytest.param(a_finding("frame", window_s=60), {"window_s": 1200}, False, id="twenty minutes see what was before"),
        pytest.param(a_finding("frame", window_s=1200), {"window_s": 1200}, True, id="as long a look as had found it"),
        pytest.param(a_finding("frame", window_s=1200), {"window_s": 60}, True, id="a shorter look"),
        pytest.param(a_finding("frame", "yard", window_s=60), {"window_s": 1200}, True, id="another scene"),
        pytest.param(
            a_finding("frame", window_s=1200), {"scene": None, "scenes": ["hall", "yard"], "window_s": 1200}, False, id="among many others"
        ),
    ],
)
def test_a_look_at_what_was_before_ends_nothing(
    database: MemoryDatabase, before: QualityFinding, well: dict[str, Any], *, ends: bool
) -> None:
    """Where a minute holds agents enough only now and then, looks of a minute and of twenty take turns."""
    scene_alert(database, "frame")
    told_by(database, before, at=later(-300))
    told_by(database, a_finding("frame", is_bad=False, **well))
    assert at_once(database, later(0)) - {(None, None, 0)} == ({("frame", "hall", 0)} if ends else set())


@pytest.mark.parametrize(
    ("kind", "value", "limit", "ends"),
    [
        ("frame", 0.9, 1.0, False),
        ("frame", 0.4, 1.0, True),
        ("unit", 0.7, 0.75, False),
        ("unit", -0.7, 0.75, True),
        ("sampling_rate", 1.3, 1.4, False),
        ("sampling_rate", 0.75, 1 / 1.4, False),
        ("sampling_rate", 0.9, 1 / 1.4, True),
    ],
)
def test_what_is_hardly_below_its_limit_is_not_well_yet(
    database: MemoryDatabase, kind: QualityKind, value: float, limit: float, *, ends: bool
) -> None:
    scene_alert(database, kind)
    told_by(database, a_finding(kind, is_bad=False, value=value, limit=limit))
    assert at_once(database, later(0)) - {(None, None, 0)} == ({(kind, "hall", 0)} if ends else set())


@pytest.mark.parametrize(
    ("since", "at_s", "ends"),
    [
        pytest.param(None, 60, False, id="a few still come"),
        pytest.param(None, 430, True, id="hardly anybody for seven minutes"),
        pytest.param(AT, 60, True, id="known by now"),
    ],
)
def test_a_scene_is_new_until_hardly_anybody_is_in_it(database: MemoryDatabase, since: datetime | None, at_s: float, *, ends: bool) -> None:
    """Of two agents a minute, five minutes hold ten or nine."""
    scene_alert(database, "new_scene", "dock")
    told_by(database, a_finding("new_scene", "dock"))
    told_by(database, at=later(at_s), current_since=later(at_s - 300), reference_since=since, verdict="stable")
    assert at_once(database, later(at_s)) - {(None, None, 0)} == ({("new_scene", "dock", 0)} if ends else set())


def a_clock(*, is_wrong: bool = True) -> DriftColumn:
    figures = {"kind": "input", "method": UNIT_RULE, "threshold": 0.5, "reference_mean": 0.4, "current_mean": 0.2, "window_s": 60}
    return DriftColumn(column="dt_s_ratio", score=0.5, is_drifted=is_wrong, **figures)


def test_another_clock_says_what_rates_say_and_hides_no_axes(database: MemoryDatabase) -> None:
    told_by(database, a_finding("sampling_rate", "hall"), a_finding("frame", "hall"), a_finding("unit", "yard"), columns=[a_clock()])
    assert at_once(database, later(30)) == {(None, None, 1), ("frame", "hall", 1), ("unit", "yard", 1)}


@pytest.mark.parametrize(("silent_s", "value"), [(600, None), (1300, 0)])
def test_another_unit_of_traffic_that_has_ceased_is_over_after_twenty_minutes(
    database: MemoryDatabase, silent_s: float, value: float | None
) -> None:
    with database.unit_of_work() as uow:
        uow.alerts.add(an_alert("a1", later(0), rule="drift_of_unit", labels={}))
    told_by(database, columns=[a_clock()])
    told_by(database, at=later(silent_s), verdict="insufficient_data", columns=[])
    assert [one.value for one in read(database, later(silent_s)).get("drift_unit", [])] == ([] if value is None else [value])


@pytest.mark.parametrize(("window_s", "value"), [(300, None), (60, 0)])
def test_a_longer_look_at_all_traffic_ends_no_unit_that_a_shorter_one_has_found(
    database: MemoryDatabase, window_s: float, value: float | None
) -> None:
    told_by(database, columns=[a_clock()], at=later(-60))
    told_by(database, columns=[a_clock(is_wrong=False).model_copy(update={"score": 0.9, "window_s": window_s})])
    assert [one.value for one in read(database, later(0)).get("drift_unit", [])] == ([] if value is None else [value])


@pytest.mark.parametrize(("window_s", "is_told"), [(300, True), (1200, False)])
def test_what_was_another_unit_of_all_is_no_news_of_a_scene_while_its_look_holds_it(
    database: MemoryDatabase, window_s: float, *, is_told: bool
) -> None:
    """Ten minutes after all traffic was in feet, half of the last twenty minutes of a quiet scene still are."""
    told_by(database, unit=True, is_judged=True)
    told_by(database, a_finding("unit", window_s=window_s), is_judged=True, at=later(600), current_since=later(300))
    assert at_once(database, later(600)) == {(None, None, 0)} | ({("unit", "hall", 1)} if is_told else set())


@pytest.mark.parametrize(
    ("in_feet", "since_s", "share", "is_told"),
    [
        pytest.param(100, 0, 0.5, False, id="half of all are in feet, and half are too fast"),
        pytest.param(100, 0, 0.7, True, id="more are too fast"),
        pytest.param(0, 0, 0.5, True, id="nobody is in feet"),
        pytest.param(100, 240, 0.5, False, id="they were, and are in the window still"),
        pytest.param(100, 480, 0.5, True, id="they were, before the window"),
        pytest.param(None, 0, 0.5, False, id="a check that has counted nobody"),
    ],
)
def test_what_all_do_who_are_in_another_unit_is_told_as_that(
    database: MemoryDatabase, in_feet: int | None, since_s: float, share: float, *, is_told: bool
) -> None:
    too_fast = a_finding("impossible_speed", None, value=share)
    in_units = [] if in_feet == 0 else [a_finding("unit", agents=in_feet)]
    told_by(database, *in_units, too_fast, at=later(-since_s), current_agents=200)
    if since_s:
        told_by(database, too_fast, verdict="stable", current_since=later(-300), current_agents=200)
    told = [one.value for one in read(database).get("data_quality", []) if one.labels["kind"] == "impossible_speed"]
    assert told == ([2.0] if is_told else [])


def test_impossible_speeds_of_traffic_in_another_unit_are_told_as_that(database: MemoryDatabase) -> None:
    told_by(database, a_finding("impossible_speed", None, value=1.0), unit=True, is_judged=True)
    assert "data_quality" not in read(database)
    told_by(database, a_finding("impossible_speed", None, is_bad=False), unit=True, is_judged=True, at=later(30))
    assert [one.value for one in read(database, later(30))["data_quality"]] == [0], "an alert of before ends"

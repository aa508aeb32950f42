"""What each source makes of the control state, and a source that fails."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from data.stubs import MemoryDatabase, SetClock
from tests.alert_builders import an_alert
from tests.experiment_builders import an_experiment
from tests.rollout_builders import a_rollout
from tests.signal_reads import AT, later, read
from trajops.alerts.rules import AlertRules
from trajops.alerts.signals import Signal
from trajops.clock import now, to_ns
from trajops.configs import load
from trajops.contracts.drift import UNIT_RULE, DriftCheckOut, DriftColumn, QualityFinding, QualityKind, QualityVerdict, Verdict
from trajops.contracts.performance import CheckVerdict, Metric, PerformanceCheckOut
from trajops.contracts.rollouts import GateOut
from trajops.deployments.model_ref import ModelRef
from trajops.deployments.routing import RouteTable
from trajops.experiments.lifecycle import ExperimentState
from trajops.experiments.routed import canary
from trajops.rollouts.lifecycle import RolloutState, Stage
from trajops.services.alert_rounds import AlertRounds
from workers.jobs.join_truth import SILENT_SINCE
from workers.signals import View, sources


@pytest.fixture
def database() -> MemoryDatabase:
    return MemoryDatabase()


def a_unit(ratio: float, **changes: Any) -> DriftColumn:
    figures = {"kind": "input", "threshold": 2.0, "is_drifted": ratio > 2, "reference_mean": 1.0, "current_mean": ratio}
    return DriftColumn(**{"column": "speed_mps_ratio", "method": UNIT_RULE, "score": ratio, **figures, **changes})


def a_check(verdict: Verdict, *, is_unit: bool = False, at: datetime = AT, units: tuple[DriftColumn, ...] | None = None) -> DriftCheckOut:
    columns = [a_unit(3.3, method=UNIT_RULE if is_unit else "psi")] if units is None else list(units)
    times = {"at": at, "current_since": at - timedelta(minutes=5), "current_until": at, "reference_since": None, "reference_until": None}
    about = {"sentence": "Speed has moved.", "reference_agents": 9, "current_agents": 9, "has_report": False}
    return DriftCheckOut(check_id=f"c{at}", verdict=verdict, columns=columns, **times, **about)


@pytest.mark.parametrize(
    ("verdict", "is_unit", "value"),
    [("stable", False, 0), ("warning", False, 1), ("drift", False, 2), ("drift", True, 3), ("insufficient_data", False, None)],
)
def test_drift(database: MemoryDatabase, verdict: Verdict, is_unit: bool, value: float | None) -> None:
    with database.unit_of_work() as uow:
        uow.drift_checks.add(a_check(verdict, is_unit=is_unit))
    assert "drift_verdict" not in read(database, later(300)), "too long ago to say anything of now"
    found = read(database, later(90))
    assert [(one.value, one.detail) for one in found.get("drift_verdict", [])] == ([] if value is None else [(value, "Speed has moved.")])
    assert [one.value for one in found["drift_age_s"]] == [90]


@pytest.mark.parametrize(
    ("verdict", "units", "value", "said"),
    [
        ("drift", (a_unit(3.28),), 1, "Mean speed is 3.3 × the reference, which points to a unit or a clock."),
        (
            "drift",
            (a_unit(3.28), a_unit(2.5, column="dt_s_ratio")),
            1,
            "Mean speed is 3.3 × the reference and time step is 2.5 × the reference, which points to a unit or a clock.",
        ),
        ("drift", (a_unit(1.3),), 0, "Nothing points to another unit or clock: mean speed is 1.3 × the reference."),
        ("drift", (a_unit(1.6),), None, ""),
        (
            "drift",
            (a_unit(3.28, muted_until=later(600)),),
            0,
            "Nothing points to another unit or clock: mean speed is 3.3 × the reference.",
        ),
        ("stable", (), 0, "Nothing points to another unit or clock."),
        ("drift", (), None, ""),
        ("insufficient_data", (a_unit(1.1),), 0, "Nothing points to another unit or clock: mean speed is 1.1 × the reference."),
        ("insufficient_data", (), None, ""),
    ],
)
def test_another_unit_is_told_by_itself(
    database: MemoryDatabase, verdict: Verdict, units: tuple[DriftColumn, ...], value: float | None, said: str
) -> None:
    with database.unit_of_work() as uow:
        uow.drift_checks.add(a_check(verdict, units=units))
    found = read(database, later(30)).get("drift_unit", [])
    assert [(one.value, one.detail) for one in found] == ([] if value is None else [(value, said)])


@pytest.mark.parametrize("muted_until", [None, later(600)], ids=["heard", "muted"])
def test_a_scene_in_another_unit_is_told_by_its_name(database: MemoryDatabase, muted_until: datetime | None) -> None:
    """The ratio of all is well; the camera that is not is named."""
    said = "Positions in hall look as if they were sent in feet, and the reference in metres."
    found = QualityFinding(kind="unit", scene="hall", verdict="bad", value=1.5, limit=0.3, sentence=said, muted_until=muted_until)
    with database.unit_of_work() as uow:
        uow.drift_checks.add(a_check("drift", units=(a_unit(1.1),)).model_copy(update={"quality": [found]}))
    signals = read(database, later(30))
    told = [(one.value, dict(one.labels), one.detail) for one in signals["drift_unit"]]
    of_all = (0, {}, "Nothing points to another unit or clock: mean speed is 1.1 × the reference.")
    assert told == ([of_all, (1, {"kind": "unit", "scene": "hall"}, said)] if muted_until is None else [of_all])
    assert [one.value for one in signals["drift_verdict"]] == [3 if muted_until is None else 2]


def opened(timeline: dict[range, tuple[Verdict, float]], until_s: int) -> dict[str, list[tuple[int, int | None]]]:
    """When the shipped rules open an alert and when it is resolved, seconds, by rule; checks every 30 s, a look every ten.

    Args:
        timeline: verdict and ratio of speeds by seconds.
        until_s: the end.
    """
    database, clock, rules = MemoryDatabase(), SetClock(), load(Path("configs/alerts.yaml"), AlertRules)
    begin = now(clock)
    with database.unit_of_work() as uow:
        uow.jobs.describe("deliver_alerts", "Delivers notifications.", 5)
    for second in range(0, until_s, 10):
        at = now(clock)
        if second % 30 == 0:
            verdict, ratio = next(said for span, said in timeline.items() if second in span)
            with database.unit_of_work() as uow:
                uow.drift_checks.add(a_check(verdict, at=at, units=(a_unit(ratio),)))
        found = [signal for several in read(database, at).values() for signal in several]
        AlertRounds(database.unit_of_work, rules, clock).run(found)
        clock.advance(10)
    told: dict[str, list[tuple[int, int | None]]] = {}
    with database.unit_of_work(read_only=True) as uow:
        for alert in uow.alerts.find():
            if alert.rule.startswith("drift") and alert.opened_at is not None:
                ends = None if alert.resolved_at is None else round((alert.resolved_at - begin).total_seconds())
                told.setdefault(alert.rule, []).append((round((alert.opened_at - begin).total_seconds()), ends))
    return told


def test_a_unit_that_is_right_again_ends_its_alert_and_begins_no_other() -> None:
    """Feet for two minutes: they stay in the window for five more, in which the verdict is drift of something."""
    told = opened(
        {
            range(60): ("stable", 1.0),
            range(60, 180): ("drift", 3.28),
            range(180, 540): ("drift", 1.1),
            range(540, 900): ("stable", 1.0),
        },
        900,
    )
    assert told == {"drift_of_unit": [(60, 240)]}


def test_drift_beside_another_unit_is_told_when_that_has_left_the_window() -> None:
    told = opened({range(60): ("stable", 1.0), range(60, 180): ("drift", 3.28), range(180, 1200): ("drift", 1.1)}, 1200)
    assert told["drift_of_unit"] == [(60, 240)]
    [(since_s, ends)] = told["drift"]
    assert 180 + 300 <= since_s <= 180 + 300 + 150
    assert ends is None


def test_drift_of_something_else_is_told_at_once() -> None:
    assert opened({range(60): ("stable", 1.0), range(60, 300): ("drift", 1.1)}, 300) == {"drift": [(60, None)]}


def test_before_the_first_check_there_is_nothing_to_say(database: MemoryDatabase) -> None:
    assert read(database).keys() == {
        "source_failed",
        "experiment_waits",
        "lake_broken_files",
        "spool_quarantine",
        "burn_alarm",
        "task_failed",
        "task_hangs",
    }


def test_data_quality_is_told_by_its_worst_finding(database: MemoryDatabase) -> None:
    found: list[tuple[QualityKind, str | None, QualityVerdict]] = [
        ("frozen", "s1", "warning"), ("frozen", "s2", "bad"), ("missing", None, "ok"), ("duplicates", None, "insufficient_data"),
    ]  # fmt: skip
    findings = [
        QualityFinding(kind=kind, scene=scene, verdict=verdict, value=0.4, limit=0.1, sentence=f"{kind} in {scene}.")
        for kind, scene, verdict in found
    ]
    with database.unit_of_work() as uow:
        uow.drift_checks.add(a_check("stable").model_copy(update={"quality": findings}))
    told = {one.labels["kind"]: (one.value, one.detail) for one in read(database, later(30))["data_quality"]}
    assert told == {"frozen": (2.0, "frozen in s2."), "missing": (0.0, "missing in None."), "duplicates": (0.0, "duplicates in None.")}
    assert "data_quality" not in read(database, later(600)), "too long ago"


def a_performance_check(number: int, version: int, at: datetime, flagged: list[Metric], confirmed: list[Metric]) -> PerformanceCheckOut:
    verdict: CheckVerdict = "degraded" if confirmed else "warning" if flagged else "as_validated"
    times = {"at": at, "since": AT, "until": at}
    nothing = dict.fromkeys(("ade_ratio", "ade_ratio_low", "ade_ratio_high", "estimated_ade_m"))
    figures = {"predictions": 90, "agents": 30, "flagged": flagged, "confirmed": confirmed, "figures": []}
    about = {"model_name": "trajectory", "model_version": version, "verdict": verdict, "sentence": f"v{version} is {verdict}."}
    return PerformanceCheckOut(check_id=f"c{number}", **times, **about, **figures, **nothing)


def test_performance_of_each_version_that_answers_and_was_checked_of_late(database: MemoryDatabase) -> None:
    with database.unit_of_work() as uow:
        previous, champion, challenger = (ModelRef("trajectory", number) for number in (1, 2, 3))
        table = RouteTable(1, champion, previous, (canary("e", champion, challenger, 0.5, "s"),))
        uow.routes.append(table, at=AT, actor="ada", reason="a test")
        late = later(930)
        for number, (version, at, flagged, confirmed) in enumerate(
            [
                (1, late, ["ade_m"], ["ade_m"]),
                (2, later(900), [], []),
                (2, late, ["ade_m", "nll"], ["ade_m"]),
                (3, late, ["coverage"], ["coverage"]),
            ]
        ):
            uow.performance_checks.add(a_performance_check(number, version, at, flagged, confirmed))
    found = read(database, later(940))
    told = {name: {one.labels["model_version"]: one.value for one in found[name]} for name in ("accuracy_verdict", "intervals_verdict")}
    assert told == {"accuracy_verdict": {"2": 2.0, "3": 0.0}, "intervals_verdict": {"2": 1.0, "3": 2.0}}
    assert {one.detail for one in found["accuracy_verdict"]} == {"v2 is degraded.", "v3 is degraded."}
    assert "accuracy_verdict" not in read(database, later(1200)), "too long ago"
    with database.unit_of_work() as uow:
        uow.routes.append(table.next(experiments=(canary("e", champion, challenger, 0.0, "s"),)), at=AT, actor="ada", reason="paused")
    assert [one.labels["model_version"] for one in read(database, later(940))["accuracy_verdict"]] == ["2"]


def test_alarms_over_two_windows(database: MemoryDatabase) -> None:
    assert {one.value for one in read(database)["burn_alarm"]} == {0.0}
    with database.unit_of_work() as uow:
        for minute in range(70):
            uow.probes.add(later(60.0 * minute), is_good=minute < 55, latency_ms=5.0, failure=None if minute < 55 else "no answer")
    found = read(database, later(4200))["burn_alarm"]
    assert {(one.labels["factor"], one.labels["urgency"]): one.value for one in found} == {
        ("14.4", "critical"): 1.0,
        ("6", "critical"): 1.0,
        ("1", "warning"): 1.0,
    }


def test_jobs(database: MemoryDatabase) -> None:
    with database.unit_of_work() as uow:
        for job in ("fine", "late", "failing", "new"):
            uow.jobs.describe(job, "Does what a test needs.", 10)
        for job, at_s, error in (("fine", 90, None), ("late", 0, None), ("failing", 95, "no disk")):
            uow.jobs.record_finish(uow.jobs.record_start(job, "w", later(at_s)).run_id, later(at_s), error=error)
    found = read(database, later(100))
    assert {one.labels["job"]: one.value for one in found["job_late"]} == {"fine": 0, "late": 1, "failing": 0, "new": 0}
    assert {one.labels["job"]: one.value for one in found["job_failed"]} == {"fine": 0, "late": 0, "failing": 1}
    assert "no disk" in next(one.detail for one in found["job_failed"] if one.value)


APPROVAL = GateOut(name="approval", state="waiting", detail="a person approves what comes next")
TIME = GateOut(name="time", state="waiting", detail="3 of 60 s")


@pytest.mark.parametrize(
    ("changes", "waits", "failed"),
    [
        ({"gates": [APPROVAL]}, 1, 0),
        ({"gates": [APPROVAL], "is_approved": True}, 0, 0),
        ({"gates": [APPROVAL, TIME]}, 0, 0),
        ({"gates": [APPROVAL], "state": RolloutState.PAUSED}, 1, 0),
        ({"gates": [TIME], "entered_at": AT - timedelta(days=2)}, 1, 0),
        ({"gates": [TIME], "entered_at": AT - timedelta(hours=20)}, 0, 0),
        ({"gates": [TIME], "entered_at": AT - timedelta(days=2), "stage": Stage.BAKING}, 1, 0),
        ({"state": RolloutState.ROLLED_BACK, "ended_at": AT}, 0, 1),
        ({"state": RolloutState.INCONCLUSIVE, "ended_at": AT}, 0, 1),
        ({"state": RolloutState.ROLLED_BACK, "ended_at": AT - timedelta(hours=1)}, 0, 0),
        ({"state": RolloutState.LIVE, "ended_at": AT}, 0, 0),
    ],
)
def test_rollouts(database: MemoryDatabase, changes: dict[str, Any], waits: float, failed: float) -> None:
    assert "rollout_waits" not in read(database)
    with database.unit_of_work() as uow:
        uow.rollouts.add(a_rollout(**changes))
    found = read(database, later(60))
    assert [(one.labels, one.value) for name in ("rollout_waits", "rollout_failed") for one in found[name]] == [
        ({"model_version": "2"}, waits),
        ({"model_version": "2"}, failed),
    ]


def test_what_was_told_about_a_version_ends_though_another_one_is_rolled_out_next(database: MemoryDatabase) -> None:
    ended = {"state": RolloutState.ROLLED_BACK, "ended_at": AT, "created_at": AT - timedelta(hours=1)}
    with database.unit_of_work() as uow:
        uow.rollouts.add(a_rollout(**ended))
        uow.rollouts.add(a_rollout(rollout_id="r2", model_version=3, state=RolloutState.PAUSED))

    def told(at: datetime) -> dict[str, dict[str, float]]:
        found = read(database, at)
        return {name: {one.labels["model_version"]: one.value for one in found[name]} for name in ("rollout_waits", "rollout_failed")}

    assert told(later(60)) == {"rollout_waits": {"3": 1, "2": 0}, "rollout_failed": {"3": 0, "2": 1}}
    assert told(later(3600)) == {"rollout_waits": {"3": 1, "2": 0}, "rollout_failed": {"3": 0, "2": 0}}


def test_experiments_of_no_rollout(database: MemoryDatabase) -> None:
    def waiting() -> float:
        return read(database)["experiment_waits"][0].value

    assert waiting() == 0
    with database.unit_of_work() as uow:
        uow.experiments.add(an_experiment("e1", state=ExperimentState.RECOMMENDED, winner="treatment", sentence="It is better."))
        uow.experiments.add(an_experiment("e2", state=ExperimentState.PAUSED))
        uow.experiments.add(an_experiment("e3"))
    assert waiting() == 2
    assert "wider net is recommended: It is better." in read(database)["experiment_waits"][0].detail
    with database.unit_of_work() as uow:
        uow.rollouts.add(a_rollout(experiment_id="e1"))
    assert waiting() == 1


def test_a_job_that_is_scheduled_no_more_is_not_late_for_ever(database: MemoryDatabase) -> None:
    with database.unit_of_work() as uow:
        uow.jobs.describe("kept", "Stays.", 10)
        for number, job in enumerate(("kept", "gone")):
            uow.alerts.add(an_alert(f"a{number}", AT, rule="job_late", fingerprint=job, labels={"job": job}))
    assert {one.labels["job"]: one.value for one in read(database)["job_late"]} == {"kept": 0, "gone": 0}
    assert {one.labels["job"]: one.value for one in read(database)["job_failed"]} == {"gone": 0}


def test_broken_files(database: MemoryDatabase) -> None:
    (signal,) = read(database, broken=("a", "b", "c", "d"))["lake_broken_files"]
    assert (signal.value, signal.detail) == (4, "Files of the lake that cannot be read: a, b, c and 1 more.")


def test_lines_that_were_kept_aside(database: MemoryDatabase) -> None:
    (signal,) = read(database, quarantined=("a.ndjson",))["spool_quarantine"]
    assert (signal.value, signal.detail) == (1, "Lines that are no rows were kept aside: a.ndjson.")


@pytest.mark.parametrize(
    ("since_s", "silence_s"), [pytest.param(None, 0, id="all is well"), pytest.param(100, 120, id="scores nothing since")]
)
def test_truth(database: MemoryDatabase, since_s: float | None, silence_s: float) -> None:
    result = {"candidates": 5, "scored": 0} | ({} if since_s is None else {SILENT_SINCE: to_ns(later(since_s))})
    with database.unit_of_work() as uow:
        uow.jobs.describe("join_truth", "Scores predictions.", 10)
        uow.jobs.record_finish(uow.jobs.record_start("join_truth", "w", later(200)).run_id, later(201), result=result)
        uow.jobs.record_finish(uow.jobs.record_start("join_truth", "w", later(210)).run_id, later(211), error="the disk is full")
    (signal,) = read(database, later(220))["truth_silence_s"]
    assert signal.value == silence_s
    assert "5 predictions wait" in signal.detail
    assert "truth_silence_s" not in read(database, later(190)), "before the first run nothing is known"


def test_a_source_that_fails_takes_no_other_with_it(database: MemoryDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(_view: View) -> Iterator[Signal]:
        raise ZeroDivisionError("by zero")
        yield

    monkeypatch.setitem(sources._SOURCES, "drift", (breaks, frozenset({"drift_verdict"})))
    found = read(database)
    failed = {one.labels["source"]: one.value for one in found["source_failed"]}
    assert failed == dict.fromkeys(failed, 0) | {"drift": 1}
    assert failed.keys() >= {"jobs", "lake", "truth", "performance", "availability"}
    assert "by zero" in found["source_failed"][0].detail
    assert "lake_broken_files" in found


def test_a_source_must_not_yield_what_another_does() -> None:
    with pytest.raises(AssertionError, match="job_late"):
        sources.source("job_late")(lambda _scene: [])

"""What the Services page says of availability and of jobs, and its figures."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from api.status import standing
from console.palette import DARK, LIGHT
from console.services import budget
from console.services import charts as availability_charts
from console.wording import standing_mark
from trajops import objectives
from trajops.configs import load
from trajops.contracts.availability import AvailabilityOut, AvailabilityPoint, BurnAlarmOut, BurnOut
from trajops.contracts.deployments import RouteOut
from trajops.contracts.jobs import JobOut, JobRunOut, JobRunsOut
from trajops.contracts.status import Health, ProcessOut, ServiceOut, StatusOut
from trajops.objectives import Minutes

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
SHIPPED = load(Path("configs/objectives.yaml"), objectives.Objectives).availability
WIDTH = timedelta(minutes=12)


def an_availability(**changes: Any) -> AvailabilityOut:
    fields: dict[str, Any] = {
        "at": NOW,
        "verdict": "ok",
        "sentence": "Well.",
        "target": 0.999,
        "window_days": 30,
        "availability": 0.9995,
        "budget_left": 0.5,
        "allowed_min": 43.2,
        "bad_min": 21.6,
        "known_min": 43_000,
        "unknown_min": 100,
        "burns": [BurnOut(window_s=300, rate=20.0, certain_rate=20.0, known_share=1.0)],
        "alarms": [BurnAlarmOut(severity="critical", factor=14.4, long_s=3600, short_s=300, is_burning=True)],
        "last_probe_at": NOW,
        "last_failure_at": None,
        "last_failure": None,
        "hours": 24,
        "bucket_s": 720,
        "series": [],
    }
    return AvailabilityOut(**fields | changes)


def a_status(*healths: Health, processes: list[ProcessOut] | None = None, **changes: Any) -> StatusOut:
    route = RouteOut(epoch=4, champion=None, challenger=None, previous=None, coverage=0.0, changed_at=None, actor=None, reason=None)
    names = ("api", "database", "mlflow", "workers", "lake")
    services = [ServiceOut(service=name, health=health, detail=f"{name} is {health}") for name, health in zip(names, healths, strict=False)]
    rest: dict[str, Any] = {"traffic": [], "performance": [], "changes": [], "jobs": [], "drift_verdict": None}
    fields: dict[str, Any] = {"verdict": "ok", "standing": standing(services, None, None, None, is_answering=True), "sentence": "s"}
    return StatusOut(at=NOW, environment="test", route=route, services=services, processes=processes or [], **rest | fields | changes)


def points(*shares: float | None) -> list[AvailabilityPoint]:
    return [
        AvailabilityPoint(at=NOW + i * WIDTH, availability=share, known_share=float(share is not None), slowest_ms=share and 9.0)
        for i, share in enumerate(shares)
    ]


def a_job(state: str | None = "succeeded", **changes: Any) -> JobOut:
    run = None
    if state is not None:
        ended = None if state == "running" else NOW - timedelta(seconds=9)
        fields: dict[str, Any] = {"run_id": "r", "job": "join_truth", "state": state, "holder": "vm:1:a", "result": {"scored": 3}}
        error = "the disk is full" if state == "failed" else None
        run = JobRunOut(**fields, started_at=NOW - timedelta(seconds=10), finished_at=ended, duration_s=ended and 1.0, error=error)
    base: dict[str, Any] = {"job": "join_truth", "description": "Scores predictions.", "every_s": 60.0, "last_run": run}
    return JobOut(**base | {"last_success_at": NOW - timedelta(seconds=9), "is_late": False} | changes)


ALERT = {"verdict": "bad", "standing": "needs_attention", "open_alerts": 1, "sentence": "A critical alert is open: Drift."}
BURNS, SMOULDERS = an_availability(verdict="bad", sentence="It burns."), an_availability(verdict="warn", sentence="It smoulders.")


@pytest.mark.parametrize(
    ("status", "availability", "word", "said"),
    [
        (a_status("ok", "ok"), an_availability(), "Healthy", "All 2 parts work. Well."),
        (a_status("ok", "ok"), None, "Healthy", "All 2 parts work."),
        (a_status("ok", "warn"), an_availability(), "Degraded", "Database: database is warn"),
        (a_status("bad", "warn", "unknown"), BURNS, "Needs attention", "Prediction API: api is bad (2 more parts need a look)"),
        (a_status("bad", "warn", "unknown", standing="down"), BURNS, "Down", "(2 more parts need a look)"),
        (a_status("ok", "ok", **ALERT), an_availability(), "Needs attention", "All 2 parts work. A critical alert is open: Drift."),
        (a_status("ok", "warn", **ALERT), an_availability(), "Needs attention", "A critical alert is open: Drift."),
        (a_status("ok", "warn", **ALERT), BURNS, "Needs attention", "It burns."),
        (a_status("ok", "ok", **ALERT | {"standing": None}), None, "Needs attention", "All 2 parts work; 1 alert is open."),
        (a_status("ok", "ok", verdict="warn", standing="worth_a_look"), SMOULDERS, "Worth a look", "It smoulders."),
        (a_status("ok", "ok", verdict="warn", standing="worth_a_look", open_alerts=2), None, "Worth a look", "; 2 alerts are open."),
        (a_status("ok", "unknown"), an_availability(), "Unknown", "Database: database is unknown"),
        (a_status(standing="unknown"), an_availability(), "Unknown", "No service has reported yet."),
    ],
)
def test_the_verdict_is_the_worst_there_is(status: StatusOut, availability: AvailabilityOut | None, word: str, said: str) -> None:
    mark, sentence = budget.verdict(status, availability)
    assert mark == standing_mark(status), "the same word as on the Overview"
    assert mark.word == word
    assert said in sentence


@pytest.mark.parametrize(
    ("epochs", "said"),
    [
        ([], ""),
        ([4], "1 process of the API, ready; it answers by routing epoch 4"),
        ([4, 4], "2 processes of the API, all ready; all answer by routing epoch 4"),
        ([4, 3], "2 processes of the API, all ready; routing epoch by process: 4, 3 (newest: 4)"),
    ],
)
def test_the_processes_and_their_routes(epochs: list[int], said: str) -> None:
    processes = [ProcessOut(epoch=epoch, newest_epoch=4, is_ready=True, has_stand_in=False) for epoch in epochs]
    assert budget.processes_words(processes, 4) == said


@pytest.mark.parametrize(
    ("rate", "is_burning", "state"),
    [(0.5, False, "● Within budget"), (3.0, False, "▲ Above its pace"), (20.0, True, "✕ Burning"), (None, False, "○ Unknown")],
)
def test_a_burn_rate_has_a_state_in_words(rate: float | None, is_burning: bool, state: str) -> None:
    burns = [BurnOut(window_s=300, rate=rate, certain_rate=0.0, known_share=0.5)]
    alarms = [BurnAlarmOut(severity="critical", factor=14.4, long_s=3600, short_s=300, is_burning=is_burning)]
    [row] = budget.burn_rows(an_availability(burns=burns, alarms=alarms))
    assert (row["Window"], row["State"], row["Somebody is told above"]) == ("5 min", state, "14.4")


def test_of_a_month_that_is_mostly_unknown_a_handful_of_probes_is_not_the_pace() -> None:
    known = Minutes(33, 2.13, 390)
    left = objectives.budget(known, SHIPPED, objectives.minute_of(NOW) - 33, NOW)
    burns = [BurnOut(**objectives.burn(known, SHIPPED.window_s, SHIPPED.target)._asdict())]
    told = an_availability(burns=burns, alarms=[], budget_left=left.left, known_min=left.known_min, unknown_min=left.unknown_min)
    [row] = budget.burn_rows(told)
    assert (row["Window"], row["Burn rate"], row["Known"], row["State"]) == ("30 d", None, "under 1 %", "○ Mostly unknown")
    assert row["At least"] == pytest.approx(1 - (left.left or 0.0), rel=1e-3), "what is not left was burnt"
    assert budget.lived_words(told).startswith("The first probe was 33 min ago. The budget is that of all 30 days")
    assert not budget.lived_words(an_availability(known_min=43_100, unknown_min=100))


def test_what_is_certain_is_above_the_pace_however_little_is_known() -> None:
    burns = [BurnOut(window_s=3600, rate=200.0, certain_rate=16.7, known_share=0.08)]
    alarms = [BurnAlarmOut(severity="critical", factor=14.4, long_s=3600, short_s=300, is_burning=False)]
    [row] = budget.burn_rows(an_availability(burns=burns, alarms=alarms))
    assert (row["Burn rate"], row["At least"], row["State"]) == (None, 16.7, "▲ Above its pace")


@pytest.mark.parametrize(
    ("known_share", "said"), [(0.0, "0 %"), (0.0008, "under 1 %"), (0.5, "50 %"), (0.9999, "over 99 %"), (1.0, "100 %")]
)
def test_how_much_is_known(known_share: float, said: str) -> None:
    assert budget.known_words(known_share) == said


def test_neighbouring_unknown_buckets_are_one_stretch() -> None:
    spans = budget.unknown_spans(points(None, 1.0, None, None, 1.0), WIDTH)
    assert spans == [(NOW, NOW + WIDTH), (NOW + 2 * WIDTH, NOW + 4 * WIDTH)]


@pytest.mark.parametrize("palette", [LIGHT, DARK], ids=["light", "dark"])
def test_what_is_unknown_is_a_gap_and_not_a_line(palette: Any) -> None:
    figure = availability_charts.availability_over_time(points(1.0, None, 0.5), 0.999, 720, palette)
    line = figure.data[0]
    assert list(line.y) == [100.0, None, 50.0]
    assert line.connectgaps is False
    assert "Unknown: nobody probed" in [trace.name for trace in figure.data]
    low, high = figure.layout.yaxis.range
    assert low < 50
    assert high > 100
    whole = availability_charts.availability_over_time(points(1.0, 1.0), 0.999, 720, palette)
    assert "Unknown: nobody probed" not in [trace.name for trace in whole.data]
    assert whole.layout.yaxis.range[0] > 99, "a good day is not drawn from zero"
    probe = availability_charts.probe_over_time(points(1.0, None, 0.5), 720, palette)
    assert list(probe.data[0].y) == [0.0, None, 50.0]


@pytest.mark.parametrize(
    ("job", "said"),
    [
        (a_job(next_due_at=NOW + timedelta(seconds=50)), "in 50 s"),
        (a_job(next_due_at=NOW - timedelta(seconds=5)), "now"),
        (a_job(next_due_at=NOW - timedelta(seconds=90), is_late=True), "90 s overdue"),
        (a_job("running", next_due_at=NOW), "running now"),
        (a_job(paused_at=NOW), "paused"),
        (a_job(None), "–"),
    ],
)
def test_when_a_job_is_due(job: JobOut, said: str) -> None:
    assert budget.due_words(job, NOW) == said


def test_what_needs_a_look_comes_first() -> None:
    jobs = [a_job(), a_job(paused_at=NOW), a_job(is_late=True), a_job("failed")]
    assert [row["State"] for row in budget.job_table(jobs, NOW)] == ["✕ Failed", "▲ Late", "‖ Paused", "● Succeeded"]


def test_a_job_in_words() -> None:
    job = a_job(is_late=True, last_success_at=NOW - timedelta(minutes=10))
    assert job.last_run is not None
    told = JobRunsOut(job=job, holder="vm:1:a", runs=[job.last_run], success_share=0.5, duration_p50_s=1.0, duration_p95_s=2.0)
    sentence = budget.job_sentence(told, NOW)
    assert sentence.startswith("Late: its last success was 10 min ago; running now on vm; 50 % of the last 1 runs succeeded")
    paused = a_job(paused_at=NOW, paused_by="ada", pause_reason="the disk is full")
    assert "Paused by ada just now: the disk is full" in budget.job_sentence(told.model_copy(update={"job": paused}), NOW)
    new = told.model_copy(update={"job": a_job(None), "runs": []})
    assert budget.job_sentence(new, NOW) == "It has not run yet."
    [row] = budget.run_rows([job.last_run])
    assert (row["State"], row["Result"]) == ("● Succeeded", "predictions scored: 3")


@pytest.mark.parametrize(("value", "said"), [(0, "0 min"), (0.5, "30 s"), (21.6, "22 min"), (600, "10 h")])
def test_minutes_in_the_unit_that_reads_best(value: float, said: str) -> None:
    assert budget.minutes(value) == said


@pytest.mark.parametrize(("left", "tone"), [(None, "unknown"), (-0.1, "bad"), (0.1, "warn"), (0.9, "ok")])
def test_the_colour_of_what_is_left(left: float | None, tone: str) -> None:
    assert budget.budget_tone(left) == tone


@pytest.mark.parametrize(("value", "said"), [(1.0, "100 %"), (0.9996, "99.96 %"), (0.99999, "99.999 %"), (None, "–")])
def test_a_share_near_one_has_the_digits_that_matter(value: float | None, said: str) -> None:
    assert budget.availability_words(value) == said

"""Each job over the real lake and database, as the worker wires it."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data.datasets import skillcorner
from data.lake.drift_source import LakeDriftSource
from data.lake.spool import Spool
from data.stubs import SetClock
from tests.alert_builders import a_notification, an_alert
from tests.builders import a_prediction_event, an_outcome_event
from trajops.alerts.lifecycle import AlertState
from trajops.alerts.outbox import NotificationState
from trajops.alerts.silences import Matcher, Silence
from trajops.clock import now
from trajops.contracts.drift import DriftCheckOut
from trajops.errors import InvalidInput
from trajops.records import Remembered
from trajops.settings import Settings
from trajops.telemetry import Source
from trajops.windows import cut
from workers.wiring import Parts
from workers.work import runner_of, work_of

CONFIGS = Path(__file__).parents[2] / "configs"
BACKFILL_S, REPLAY_S = -50_000.0, 0.0
FEET = 3.28084


@pytest.fixture
def parts(tmp_path: Path) -> Iterator[Parts]:
    parts = Parts(Settings(var_dir=tmp_path / "var", configs_dir=CONFIGS))
    parts.clock = SetClock()
    parts.database.migrate()
    yield parts
    parts.close()


def play(parts: Parts, half: str, source: Source, *, since_s: float, until_s: float, at_s: float, gain: float = 1.0) -> tuple[int, int]:
    """Write a stretch of the embedded match into the spool: predictions of constant velocity and their outcomes, received `at_s` later.

    Returns:
        Number of predictions and of agents.
    """
    windows = cut(skillcorner.load()[half])
    windows = windows.select((windows.observed_at_s >= since_s) & (windows.observed_at_s < until_s))
    history_m, truth_m = gain * windows.history_m, gain * windows.truth_m
    steps = np.arange(1, truth_m.shape[1] + 1)[:, None]
    mean_m = history_m[:, -1:] + (history_m[:, -1:] - history_m[:, -2:-1]) * steps
    error_m = np.linalg.norm(mean_m - truth_m, axis=-1)
    start_ns = SetClock().now_ns() + int((at_s - since_s) * 1e9)
    predictions, outcomes = [], []
    for row in np.argsort(windows.observed_at_s, kind="stable").tolist():
        shared: dict[str, Any] = {
            "prediction_id": f"{source}-{half}-{at_s}-{row}",
            "received_ns": start_ns + int(windows.observed_at_s[row] * 1e9),
            "observed_at_s": float(windows.observed_at_s[row]),
            "agent_id": windows.agent_ids[row],
            "source": source,
        }
        predictions.append(a_prediction_event(**shared, history_m=history_m[row].ravel().tolist(), mean_m=mean_m[row].ravel().tolist()))
        outcomes.append(an_outcome_event(**shared, ade_m=float(error_m[row].mean()), fde_m=float(error_m[row, -1])))
    with Spool(parts.settings.spool_dir, clock=parts.clock) as spool:
        spool.write("predictions", predictions)
        spool.write("outcomes", outcomes)
    return len(predictions), len(set(windows.agent_ids))


def history(parts: Parts) -> list[DriftCheckOut]:
    with parts.database.unit_of_work(read_only=True) as work:
        return work.drift_checks.history()


# --- lake and truth -----------------------------------------------------------------------------------------------------------------


def test_compaction_moves_every_row_and_repeats_harmlessly(parts: Parts) -> None:
    written, _ = play(parts, "second_half", "replay", since_s=0, until_s=60, at_s=REPLAY_S)
    assert written > 0
    assert work_of(parts)["compact_lake"]()["rows"] == 2 * written
    assert work_of(parts)["compact_lake"]()["rows"] == 0
    assert parts.lake.counts()["predictions"] == written


def test_the_truth_join_scores_later_histories_once(parts: Parts) -> None:
    """An agent that walks on: its second prediction carries the truth of its first."""
    clock = parts.clock
    at_ns = clock.now_ns()
    early = a_prediction_event("p1", received_ns=at_ns - 5_000_000_000, observed_at_s=1000.0)
    walked = np.stack([np.linspace(0, 2.8, 8) + 4.8, np.zeros(8)], axis=-1)
    late = a_prediction_event("p2", received_ns=at_ns, observed_at_s=1004.8, history_m=walked.ravel().tolist())
    with Spool(parts.settings.spool_dir, clock=clock) as spool:
        spool.write("predictions", [early, late])
    assert work_of(parts)["join_truth"]()["scored"] == 1
    assert work_of(parts)["join_truth"]()["scored"] == 0
    outcome = parts.lake.prediction("p1").outcome
    assert outcome is not None
    assert outcome.ade_m == pytest.approx(0, abs=1e-6)


def test_what_happened_while_the_workers_were_away_is_scored_when_they_are_back(parts: Parts) -> None:
    """An agent walks straight on for half an hour before the workers come up for the first time, and another while they are down."""
    clock = parts.clock
    assert isinstance(clock, SetClock)

    def walk(minutes: int, agent: str) -> int:
        steps, start_ns, count = np.arange(-7, 13)[:, None] * [0.4, 0.0], clock.now_ns(), 25 * minutes
        with Spool(parts.settings.spool_dir, clock=clock) as spool:
            for number in range(count):
                path_m = steps + np.array([2.4 * number, 0.0])
                event = a_prediction_event(
                    f"{agent}-{number}",
                    received_ns=start_ns + round(2.4e9 * number),
                    observed_at_s=1000 + 2.4 * number,
                    agent_id=agent,
                    history_m=path_m[:8].ravel().tolist(),
                    mean_m=path_m[8:].ravel().tolist(),
                )
                spool.write("predictions", [event])
        clock.advance(60 * minutes)
        return count

    def run() -> dict[str, Any]:
        done = runner_of(parts).run("join_truth")
        assert done is not None
        assert done.state == "succeeded", done.error
        clock.advance(10)
        return done.result

    def scored() -> int:
        return int(parts.lake.counts()["outcomes"])

    runner_of(parts).describe()
    early = walk(30, "early")
    assert run()["made_up"] > 600
    assert scored() == early - 1, "the last one has no truth"
    assert "made_up" not in run()
    clock.advance(300)
    late = walk(30, "late")
    assert run()["made_up"] > 600
    assert scored() == early + late - 2
    assert "made_up" not in run()
    assert work_of(parts)["compact_lake"]()["rows"] > 0
    assert scored() == early + late - 2
    ends = {"complete": early + late - 4, "partial": 2, "none": 2}
    clock.advance(200)
    run()
    for truth, count in ends.items():
        labels = {"model_version": "1", "variant": "champion", "truth": truth}
        assert parts.metrics.registry.get_sample_value("trajops_truth_predictions_total", labels) == count, truth


def test_a_clock_that_was_put_back_hides_neither_an_outage_nor_what_is_left_of_one(parts: Parts) -> None:
    clock = parts.clock
    assert isinstance(clock, SetClock)

    def run() -> dict[str, Any]:
        done = runner_of(parts).run("join_truth")
        assert done is not None
        clock.advance(10)
        return done.result

    runner_of(parts).describe()
    run()
    clock.advance(3600)
    run()
    clock.advance(-3500)
    assert "made_up" in run(), "nothing was looked at for a hundred seconds"
    assert "made_up" not in run()
    clock.advance(600)
    assert "made_up" in run()


def test_a_job_that_fails_for_long_still_knows_where_it_got_to(parts: Parts) -> None:
    clock, kept = parts.clock, parts.schedules.retention.runs_per_job
    assert isinstance(clock, SetClock)
    runner_of(parts).describe()
    with parts.unit_of_work() as work:
        for number in range(kept + 5):
            at = now(clock) + timedelta(seconds=2 * number)
            failed = {"error": "no space"} if number > 2 else {"result": {"number": number}}
            work.jobs.record_finish(work.jobs.record_start("join_truth", "w", at).run_id, at, **failed)
    clock.advance(2 * kept + 20)
    assert work_of(parts)["prune"]()["deleted"]["job_runs"] == 4
    with parts.unit_of_work(read_only=True) as work:
        last = work.jobs.last_success("join_truth")
        assert len(work.jobs.runs("join_truth", kept + 5)) == kept + 1
    assert last is not None
    assert last.result == {"number": 2}


# --- drift --------------------------------------------------------------------------------------------------------------------------


def test_the_lake_s_rows_become_numbers(parts: Parts) -> None:
    written, agents = play(parts, "second_half", "replay", since_s=600, until_s=660, at_s=REPLAY_S)
    source = LakeDriftSource(parts.lake)
    since = now(parts.clock)
    rows = source.rows(since, since + timedelta(seconds=60), ("replay",))
    assert len(rows) == written
    assert np.isfinite(rows.values["speed_mps"]).all()
    assert rows.agent_count == agents > 10
    assert rows.values["ade_m"].mean() > 0
    oldest = source.oldest(("replay",))
    assert oldest is not None
    assert oldest.timestamp() == pytest.approx(rows.times_s.min(), abs=1e-3)
    assert source.oldest(("live",)) is None
    assert len(source.rows(since, since, ("replay",))) == 0
    assert len(source.rows(since, since + timedelta(seconds=60), ("live",))) == 0


def test_a_large_reference_is_thinned_by_whole_agents(parts: Parts) -> None:
    written, _ = play(parts, "first_half", "backfill", since_s=0, until_s=900, at_s=BACKFILL_S)
    source, until = LakeDriftSource(parts.lake), now(parts.clock)
    since = until - timedelta(days=2)
    whole, thinned = source.rows(since, until, ("backfill",)), source.rows(since, until, ("backfill",), written // 4)
    assert len(whole) == written
    assert written // 8 < len(thinned) < written // 2
    rows_of = dict(zip(*np.unique(np.unique(whole.agents, return_counts=True)[1], return_counts=True), strict=True))
    assert set(np.unique(thinned.agents, return_counts=True)[1]) <= set(rows_of), "an agent is whole or not there"


def test_a_long_reference_is_thinned_by_whole_windows(parts: Parts) -> None:
    """An hour in windows of ten seconds: each is whole or not there, so that who walked together stays together."""
    written, _ = play(parts, "first_half", "backfill", since_s=0, until_s=2800, at_s=BACKFILL_S)
    source, until = LakeDriftSource(parts.lake), now(parts.clock)
    since = until - timedelta(days=2)
    whole, thinned = (source.rows(since, until, ("backfill",), most, 10.0) for most in (None, written // 3))
    slots = [np.unique(np.floor(rows.times_s / 10.0).astype(int), return_counts=True) for rows in (whole, thinned)]
    of_all = dict(zip(*slots[0], strict=True))
    assert 0.2 * written < len(thinned) < 0.45 * written
    assert all(of_all[slot] == count for slot, count in zip(*slots[1], strict=True))


def test_the_lake_counts_what_is_repeated_and_unusable(parts: Parts) -> None:
    at_ns = parts.clock.now_ns()
    with Spool(parts.settings.spool_dir, clock=parts.clock) as spool:
        spool.write(
            "predictions",
            [
                a_prediction_event(f"p{row}", received_ns=at_ns + row, observed_at_s=1000.0 + row // 2, history_m=[float(row)] * 16)
                for row in range(4)
            ]
            + [a_prediction_event("short", received_ns=at_ns + 9, observed_at_s=2000.0, history_m=[1.0, 2.0])],
        )
    found = LakeDriftSource(parts.lake).counts(now(parts.clock) - timedelta(seconds=1), now(parts.clock) + timedelta(seconds=1), ("live",))
    assert (found.predictions, found.unusable, found.positions, found.repeated) == (5, 1, 5, 2)


@pytest.mark.slow
def test_drift_from_the_lake_to_the_verdict(parts: Parts) -> None:
    """Five clean minutes: stable, with Evidently's report. Then the client sends feet: drift, audited, with a report of its own."""
    clock = parts.clock
    assert isinstance(clock, SetClock)
    play(parts, "first_half", "backfill", since_s=0, until_s=2800, at_s=BACKFILL_S)
    play(parts, "second_half", "replay", since_s=600, until_s=900, at_s=REPLAY_S)
    clock.advance(300)
    parts.detector._started()[1].result(120)
    clean = work_of(parts)["check_drift"]()
    assert clean["verdict"] == "stable", clean
    assert clean["has_report"]
    assert clean["current_agents"] >= 60
    [check] = history(parts)
    opinions = {column.column: [opinion.method for opinion in column.opinions] for column in check.columns}
    assert opinions["speed_mps"] == opinions["ade_m"] == ["ks", "wasserstein"]
    assert all(column.score is not None for column in check.columns)
    assert {one.kind: one.verdict for one in check.quality if one.verdict not in ("ok", "insufficient_data")} == {}

    play(parts, "second_half", "replay", since_s=900, until_s=1260, at_s=REPLAY_S + 300, gain=FEET)
    for _ in range(2):
        clock.advance(150)
        found = work_of(parts)["check_drift"]()
    assert found["verdict"] == "drift", found
    assert "speed_mps" in found["flagged"]
    with parts.database.unit_of_work(read_only=True) as work:
        assert [entry.action for entry in work.audit.newest()] == ["drift.began"]
        reports = [Path(work.drift_checks.report_path(check.check_id)) for check in work.drift_checks.history() if check.has_report]
    assert len(reports) >= 2
    assert all("<html" in report.read_text(encoding="utf-8")[:1000].lower() for report in reports)


def test_an_empty_lake_is_too_little_data(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts.detector, "warm_up", lambda: None)
    assert work_of(parts)["check_drift"]()["verdict"] == "insufficient_data"


# --- retention ----------------------------------------------------------------------------------------------------------------------


def a_check(parts: Parts, check_id: str) -> DriftCheckOut:
    at = now(parts.clock)
    return DriftCheckOut(
        check_id=check_id,
        at=at,
        verdict="stable",
        sentence="nothing",
        reference_since=None,
        reference_until=None,
        current_since=at,
        current_until=at,
        reference_agents=0,
        current_agents=0,
        columns=[],
        has_report=False,
    )


def deleted(parts: Parts) -> dict[str, int]:
    """What one run of `prune` forgets."""
    return {table: rows for table, rows in work_of(parts)["prune"]()["deleted"].items() if rows}


def test_prune_forgets_alerts_long_after_their_end_and_nothing_that_is_still_needed(parts: Parts) -> None:
    clock = parts.clock
    assert isinstance(clock, SetClock)
    at = now(clock)
    over = {"state": AlertState.RESOLVED, "resolved_at": at}
    with parts.database.unit_of_work() as work:
        for alert_id, changes in {"over": over, "open": {}, "pending": {"state": AlertState.PENDING}}.items():
            work.alerts.add(an_alert(alert_id, at, fingerprint=alert_id, **changes))
        for name, state in {"sent": NotificationState.DELIVERED, "dead": NotificationState.DEAD, "due": NotificationState.PENDING}.items():
            work.notifications.add(a_notification(name, at, state=state, alert_ids=("over", "open")))
        for name, days in {"ended": 1, "in force": 1000}.items():
            work.silences.add(Silence(name, (Matcher("a", "=", "b"),), at, at + timedelta(days=days), at, "ada", "maintenance"))
    keep_days = parts.schedules.retention.alerts_days
    clock.advance(keep_days * 86_400 - 1)
    assert deleted(parts) == {}
    clock.advance(2 * 86_400)
    assert deleted(parts) == {"alerts": 1, "silences": 1, "notifications": 2, "notification_alerts": 4}
    with parts.database.unit_of_work(read_only=True) as work:
        assert {one.alert_id for one in work.alerts.unresolved()} == {"open", "pending"}
        assert [one.notification_id for one in work.notifications.of_alert("open")] == ["due"]
        assert [one.silence_id for one in work.silences.all()] == ["in force"]
    assert deleted(parts) == {}


def test_prune_forgets_what_is_old_and_keeps_what_is_needed(parts: Parts) -> None:
    clock = parts.clock
    assert isinstance(clock, SetClock)
    kept = parts.schedules.retention.runs_per_job
    with parts.database.unit_of_work() as work:
        work.jobs.record_start("hangs", "w1", now(clock))
        for _ in range(kept + 5):
            clock.advance(1)
            work.jobs.record_finish(work.jobs.record_start("j", "w1", now(clock)).run_id, now(clock))
        work.drift_checks.add(a_check(parts, "old"))
        work.idempotency.remember("anna", "k1", Remembered("f", {}), now(clock))
        for days in (0, 30):
            work.probes.add(now(clock) + timedelta(days=days), is_good=True, latency_ms=1.0, failure=None)
    clock.advance(36 * 86_400)
    assert deleted(parts) == {"job_runs": 5, "idempotency_keys": 1, "probe_minutes": 1}
    with parts.database.unit_of_work() as work:
        work.drift_checks.add(a_check(parts, "new"))
    assert deleted(parts) == {"drift_checks": 1}
    with parts.database.unit_of_work(read_only=True) as work:
        assert [len(work.jobs.runs(job, 1000)) for job in ("j", "hangs")] == [kept, 1]
        assert work.probes.summed(0, 10**9).known == 1
    assert [check.check_id for check in history(parts)] == ["new"]


# --- wiring -------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "edit"),
    [
        pytest.param("schedules.yaml", lambda text: text.replace("every_s: 2", "every_s: two"), id="schedules"),
        pytest.param("drift.yaml", lambda text: text.replace("needed: 2", "needed: 5"), id="drift"),
        pytest.param("alerts.yaml", lambda text: text.replace("signal: drift_age_s", "signal: drift_age"), id="alerts"),
        pytest.param("objectives.yaml", lambda text: text.replace("target: 0.999", "target: 99.9"), id="objectives"),
        pytest.param("performance.yaml", lambda text: text.replace("holdout: 0.3", "holdout: 1.3"), id="performance"),
        pytest.param("policy.yaml", lambda text: text.replace("per_day: 6", "per_day: six"), id="policy"),
        pytest.param("rollouts.yaml", lambda text: text.replace("margin: 0.05", "margin: 5"), id="rollouts"),
    ],
)
@pytest.mark.parametrize("jobs", ["all", "one"])
def test_a_mistake_in_a_configuration_stops_the_worker_with_its_line(
    tmp_path: Path, file: str, edit: Callable[[str], str], jobs: str
) -> None:
    """Also where no job needs the file yet."""
    for path in CONFIGS.glob("*.yaml"):
        (tmp_path / path.name).write_text(path.read_text())
    if jobs == "one":
        (tmp_path / "schedules.yaml").write_text("jobs:\n  prune: {description: Forgets old rows., every_s: 2}\n")
    text = (tmp_path / file).read_text()
    (tmp_path / file).write_text(edit(text))
    assert edit(text) != text
    with pytest.raises(InvalidInput, match=rf"{file}:\d+: "):
        Parts(Settings(var_dir=tmp_path / "var", configs_dir=tmp_path))


def test_the_judge_knows_how_often_it_looks(parts: Parts) -> None:
    """Else a look that was left out would not be missed."""
    assert parts.judge._every_s == parts.schedules.jobs["judge_experiments"].interval_s == 2

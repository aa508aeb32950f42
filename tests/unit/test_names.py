"""What columns, jobs, changes and actors are called on the pages."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from console import names
from trajops.contracts.audit import AuditOut
from trajops.contracts.drift import column_title
from trajops.contracts.jobs import job_title

NOW = datetime(2026, 11, 24, 3, 0, tzinfo=UTC)
ROOT = Path(__file__).parents[2]


def test_every_watched_column_has_words_and_a_unit() -> None:
    watched = [rule["column"] for rule in yaml.safe_load((ROOT / "configs" / "drift.yaml").read_text())["columns"]]
    titles = {name: column_title(name) for name in watched}
    assert not [name for name, title in titles.items() if "_" in title or title == name]
    assert len(set(titles.values())) == len(watched)


def test_every_job_has_words() -> None:
    jobs = yaml.safe_load((ROOT / "configs" / "schedules.yaml").read_text())["jobs"]
    assert not [name for name in jobs if job_title(name).lower().replace(" ", "_") == name]


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("speed_mps", "mean speed (m/s)"),
        ("acceleration_mps2", "acceleration (m/s²)"),
        ("latency_ms", "time to answer (ms)"),
        ("dt_s_ratio", "time step, unit check (×)"),
        ("inside_share", "share inside the ellipse"),
        ("something_new_m", "something new (m)"),
    ],
)
def test_column_title_is_words_with_the_unit_of_the_suffix(name: str, title: str) -> None:
    assert column_title(name) == title


@pytest.mark.parametrize(
    ("job_name", "result", "words"),
    [
        ("check_drift", {"check_id": "ab12", "sentence": "13 columns look like the reference."}, "13 columns look like the reference."),
        ("prune", {"deleted": {"job_runs": 5, "drift_checks": 0}}, "old job runs forgotten: 5"),
        ("reconcile_aliases", {"epoch": 3, "set": {"champion": 2}, "adopted": [4, 5]}, "aliases set: 1, versions adopted: 2"),
        ("evaluate_alerts", {"steps": {"fired": 1, "refreshed": 3}, "signals": 9}, "alerts fired: 1, figures looked at: 9"),
        ("join_truth", {"scored": 4, "made_up": 700, "left_ns": [1, 2]}, "predictions scored: 4, scored late, after an outage: 700"),
        ("roll_up", {"rolled": 2, "days": 1}, "hours summed up: 2, files written: 1"),
        ("compact_lake", {"segments": 0, "rows": 0}, "nothing to do"),
        ("somebody_elses", {"raw_count": 3}, "nothing to do"),
    ],
)
def test_job_result_is_words(job_name: str, result: dict[str, Any], words: str) -> None:
    assert names.result_words(job_name, result) == words


@pytest.mark.parametrize(
    ("action", "subject", "words"),
    [
        ("deployment.promote", "trajectory/3", "Promoted v3"),
        ("job.run", "check_drift", "Asked for a job: Check for drift"),
        ("api_key.create", "key:demo replay", "Created the API key demo replay"),
        ("drift.began", "drift_check:065a", "Drift began"),
        ("alert.fired", "alert/065a", "Fired: an alert"),
        ("receiver.test", "receiver/mail", "Sent a test to mail"),
        ("somebody.elses_change", "x", "Somebody elses change · x"),
    ],
)
def test_change_is_words(action: str, subject: str, words: str) -> None:
    entry = AuditOut(audit_id="a", at=NOW, actor="ada", action=action, subject=subject, reason="r", before={}, after={})
    assert names.action_words(entry) == words


@pytest.mark.parametrize(
    ("verb", "before", "after", "words"),
    [
        ("stop", "draft", "discarded", "Discarded an experiment"),
        ("stop", "running", "stopped", "Stopped an experiment"),
        ("cover", "running", "running", "Changed the coverage of an experiment"),
        ("cover", "paused", "running", "Resumed an experiment"),
    ],
)
def test_a_change_of_an_experiment_is_called_by_what_it_did(verb: str, before: str, after: str, words: str) -> None:
    about = {"before": {"experiments": {"e1": before}}, "after": {"experiments": {"e1": after}}}
    entry = AuditOut(audit_id="a", at=NOW, actor="ada", action=f"experiment.{verb}", subject="experiment/e1", reason="r", **about)
    assert names.action_words(entry) == words


def test_part_of_the_product_that_acted_is_named_in_words() -> None:
    assert names.actor_words("worker:check_drift") == "the workers (Check for drift)"
    assert names.actor_words("rules") == "the rules"
    assert names.actor_words("workers.training") == "a training run"
    assert names.actor_words("ada") == "ada"


@pytest.mark.parametrize(("after", "words"), [(0.05, "5.0 %"), (0.0, "nobody"), (None, "nobody")])
def test_who_holds_units_out_says_how_many(after: float | None, words: str) -> None:
    route = {"holdout": None if after is None else [after, "seed"]}
    entry = AuditOut(
        audit_id="1",
        at=NOW,
        actor="ada",
        action="experiments.hold_out",
        subject="routes",
        reason="a reason",
        before={},
        after={"route": route},
    )
    assert names.action_words(entry) == f"Changed who is held out of all experiments: {words}"
    assert names.action_words(entry.model_copy(update={"after": {}})).endswith(": nobody")

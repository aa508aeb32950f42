"""The chain of a version, and what was live within a time range."""

from datetime import UTC, datetime, timedelta

from console.lineage.words import chain, clipped
from console.viewmodels import LiveSpan
from trajops.contracts.models import ModelVersionOut

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


def span(version: int, begin_h: float, end_h: float) -> LiveSpan:
    return LiveSpan("Champion", version, NOW + timedelta(hours=begin_h), NOW + timedelta(hours=end_h), 1.0, "better on the plaza", "ada")


def a_version(**fields: object) -> ModelVersionOut:
    given = {
        "model_name": "trajectory",
        "model_version": 3,
        "family": "kalman",
        "run_id": "0123456789abcdef",
        "run_url": None,
        "created_at": NOW,
        "aliases": [],
        "metrics": {"val_ade_m": 0.41},
        "params": {
            "dataset": "plaza",
            "data_fingerprint": "sha256:9f1c2233445566",
            "windows.validation": "2212",
            "git_commit": "f67ad56d0caa",
        },
        "deployment_id": None,
        "state": "registered",
        "version": None,
        "is_warm": False,
    }
    return ModelVersionOut.model_validate(given | fields)


def test_spans_are_cut_at_the_ends_of_the_range() -> None:
    spans = [span(1, -5, -3), span(2, -3, -1), span(3, -1, 0)]
    found = clipped(spans, NOW - timedelta(hours=2), NOW)
    assert [(one.model_version, one.since, one.until) for one in found] == [
        (2, NOW - timedelta(hours=2), NOW - timedelta(hours=1)),
        (3, NOW - timedelta(hours=1), NOW),
    ]


def test_each_place_of_the_chain_says_what_is_known() -> None:
    data, run, version, deployments, experiments = chain(a_version(), [], [span(3, -2, -1), span(3, -1, 0), span(2, -4, -2)], [])
    assert list(data.lines) == ["plaza", "fingerprint 9f1c2233", "2\u202f212 windows to validate on"]
    assert list(run.lines) == ["Kalman filter, run 01234567", "commit f67ad56d"]
    assert run.links[0].query == {"runs": "0123456789abcdef"}
    assert version.lines[1:] == ["trained here", "ADE 0.410 m at validation", "not validated yet"]
    assert list(deployments.lines) == ["champion 24 Nov 11:00 to 24 Nov 12:00 UTC", "champion 24 Nov 10:00 to 24 Nov 11:00 UTC"]
    assert list(experiments.lines) == ["It has taken part in none."]


def test_an_adopted_version_without_a_run_and_many_deployments() -> None:
    foreign = a_version(run_id=None, params={"origin": "adopted"}, metrics={})
    data, run, version, deployments, _ = chain(foreign, [], [span(3, -n - 1, -n) for n in range(6)], [])
    assert list(data.lines) == ["unknown tracks"]
    assert list(run.lines) == ["It was registered without a run."]
    assert not run.links
    assert "adopted from MLflow" in version.lines
    assert deployments.lines[-1] == "and 2 times before"
    assert len(deployments.lines) == 5

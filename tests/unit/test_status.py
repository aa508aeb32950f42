"""The sentence over the whole product: it agrees with the figures below it."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from api.status import sentence, standing, workers_service
from tests.alert_builders import an_alert
from trajops.alerts.lifecycle import Severity
from trajops.contracts.deployments import ModelRefOut, RouteOut
from trajops.contracts.jobs import JobOut, JobRunOut
from trajops.contracts.performance import PerformanceRow
from trajops.contracts.status import ServiceOut, TrafficPoint, service_title
from trajops.jobs import RELIED_ON

AT = datetime(2026, 11, 24, tzinfo=UTC)
FINE = [ServiceOut(service="api", health="ok", detail="epoch 2 answers")]


def a_route(**changes: Any) -> RouteOut:
    champion = ModelRefOut(model_name="trajectory", model_version=2)
    nothing = dict.fromkeys(("challenger", "previous", "changed_at", "actor", "reason"))
    return RouteOut(**{**nothing, "epoch": 2, "champion": champion, "coverage": 0.0, **changes})


def a_traffic(*newest: int) -> list[TrafficPoint]:
    """Fifteen minutes in steps of 15 s; the last counts are given, those before are 0."""
    counts = [0] * (60 - len(newest)) + list(newest)
    return [
        TrafficPoint(at=AT + number * timedelta(seconds=15), predictions=count, latency_p50_ms=None, latency_p95_ms=None)
        for number, count in enumerate(counts)
    ]


def a_row(version: int, variant: str, complete: int, ade_m: float | None) -> PerformanceRow:
    figures = dict.fromkeys(("fde_m", "miss_rate", "nll", "coverage", "latency_p50_ms", "latency_p95_ms"))
    return PerformanceRow(
        model_version=version,
        variant=variant,
        predictions=1_000,
        scored=complete,
        complete=complete,
        agents=5,
        join_rate=1.0,
        ade_m=ade_m,
        cv_ade_m=None if ade_m is None else 2 * ade_m,
        **figures,
    )


def test_the_champions_variants_are_one_figure() -> None:
    rows = [a_row(2, "champion", 300, 4.0), a_row(2, "control", 100, 8.0), a_row(3, "treatment", 50, 1.0)]
    text = sentence(
        FINE, a_route(challenger=ModelRefOut(model_name="trajectory", model_version=3), coverage=0.5), rows, "stable", a_traffic(10)
    )
    assert "v2 is champion; 3\u202f000 predictions of all versions" in text
    assert "its ADE is 5.00 m, that of constant velocity 10.00 m" in text
    assert "50 % of the agents are enrolled, half of them get v3" in text
    assert "drift" not in text
    assert "no traffic" not in text


@pytest.mark.parametrize(
    ("counts", "words"),
    [([5, 9], None), ([5, 9, 0], None), ([5, 9, 0, 0], "; no traffic for 30 s."), ([9, *[0] * 40], "; no traffic for 600 s.")],
)
def test_silence_is_said_once_it_is_longer_than_a_pause(counts: list[int], words: str | None) -> None:
    text = sentence(FINE, a_route(), [a_row(2, "champion", 300, 4.0)], None, a_traffic(*counts))
    assert ("no traffic" in text) == (words is not None)
    assert words is None or text.endswith(words)


def test_parts_are_called_as_in_the_console() -> None:
    assert [service_title(name) for name in ("api", "mlflow", "workers")] == ["Prediction API", "MLflow", "Workers"]


def test_a_window_without_any_traffic_is_silent_in_all_that_time() -> None:
    assert sentence(FINE, a_route(), [], None, a_traffic()).endswith("in the last 15 minutes; no traffic in all that time.")


@pytest.mark.parametrize(
    ("severities", "words"),
    [
        (["warning"], "v2 is champion"),
        (["warning"], "; 1 alert is open."),
        (["warning", "info"], "; 2 alerts are open."),
        (["critical"], "A critical alert is open: A job is late. The job prune is late."),
        (["critical", "warning"], "A critical alert is open, and 1 more: A job is late."),
    ],
)
def test_open_alerts_are_said(severities: list[str], words: str) -> None:
    alerts = len(severities), an_alert("a1", AT, severity=Severity(severities[0]))
    assert words in sentence(FINE, a_route(), [], None, a_traffic(10), *alerts)
    away = [ServiceOut(service="lake", health="bad", detail="the disk is full")]
    assert sentence(away, a_route(), [], None, a_traffic(10), *alerts) == "Lake: the disk is full"


@pytest.mark.parametrize(
    ("services", "route", "drift", "words"),
    [
        (FINE, a_route(champion=None), None, "stage a registered version"),
        (FINE, a_route(), "warning", "drift: warning."),
        ([*FINE, ServiceOut(service="lake", health="bad", detail="the disk is full")], a_route(), None, "Lake: the disk is full"),
        (
            [ServiceOut(service="mlflow", health="warn", detail="away"), ServiceOut(service="lake", health="bad", detail="full")],
            a_route(),
            None,
            "Lake: full",
        ),
    ],
    ids=["no-champion", "drift", "a-bad-service", "the-worst-first"],
)
def test_what_is_wrong_is_said(services: list[ServiceOut], route: RouteOut, drift: str | None, words: str) -> None:
    assert words in sentence(services, route, [], drift, a_traffic(10))


@pytest.mark.parametrize(
    ("health", "severity", "drift", "budget_left", "expected"),
    [
        ("ok", None, "stable", 1.0, "healthy"),
        ("ok", "info", "insufficient_data", None, "healthy"),
        ("ok", "critical", "drift", 1.0, "needs_attention"),
        ("warn", "critical", None, 1.0, "needs_attention"),
        ("bad", None, None, 1.0, "needs_attention"),
        ("warn", "warning", None, 1.0, "degraded"),
        ("ok", "warning", "stable", 1.0, "worth_a_look"),
        ("ok", None, "warning", 1.0, "worth_a_look"),
        ("ok", None, "stable", -0.1, "worth_a_look"),
        ("unknown", None, None, None, "unknown"),
    ],
)
def test_down_is_only_what_does_not_answer(
    health: Any, severity: str | None, drift: str | None, budget_left: float | None, expected: str
) -> None:
    services = [*FINE, ServiceOut(service="lake", health=health, detail="")]
    alert = None if severity is None else an_alert("a1", AT, severity=Severity(severity))
    assert standing(services, drift, alert, budget_left, is_answering=True) == expected
    assert standing(services, drift, alert, budget_left, is_answering=False) == "down"


def some_jobs(*names: str) -> list[JobOut]:
    """Jobs that have just run."""
    ended = {"state": "succeeded", "holder": "w", "started_at": AT, "finished_at": AT, "duration_s": 0.0, "error": None}
    about = {"description": "does what it does", "every_s": 30.0, "last_success_at": AT, "is_late": False}
    return [JobOut(job=name, last_run=JobRunOut(run_id=name, job=name, **ended), **about) for name in names]


def test_jobs_that_nobody_has_scheduled_are_told_with_what_stands_still() -> None:
    assert workers_service(some_jobs(*RELIED_ON), AT).health == "ok"
    found = workers_service(some_jobs(*(name for name in RELIED_ON if name not in {"validate_versions", "advance_rollouts"})), AT)
    assert found.health == "warn"
    assert "Take rollouts further (rollouts stand still); Validate model versions (versions from elsewhere" in found.detail
    assert workers_service([], AT).health == "unknown", "no worker has ever run, which is what to say"

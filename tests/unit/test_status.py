"""The sentence over the whole product: it agrees with the figures below it."""

from typing import Any

import pytest

from api.status import sentence
from trajops.contracts.deployments import ModelRefOut, RouteOut
from trajops.contracts.performance import PerformanceRow
from trajops.contracts.status import ServiceOut

FINE = [ServiceOut(service="api", health="ok", detail="epoch 2 answers")]


def a_route(**changes: Any) -> RouteOut:
    champion = ModelRefOut(model_name="trajectory", model_version=2)
    nothing = dict.fromkeys(("challenger", "previous", "changed_at", "actor", "reason"))
    return RouteOut(**{**nothing, "epoch": 2, "champion": champion, "coverage": 0.0, **changes})


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
    text = sentence(FINE, a_route(challenger=ModelRefOut(model_name="trajectory", model_version=3), coverage=0.5), rows, "stable")
    assert "trajectory/2 is champion; 3\u2009000 predictions of all versions" in text
    assert "its ADE is 5.00 m, that of constant velocity 10.00 m" in text
    assert "50 % of the agents are enrolled, half of them get version 3" in text
    assert "drift" not in text


@pytest.mark.parametrize(
    ("services", "route", "drift", "words"),
    [
        (FINE, a_route(champion=None), None, "stage a registered version"),
        (FINE, a_route(), "warning", "drift: warning."),
        ([*FINE, ServiceOut(service="lake", health="bad", detail="the disk is full")], a_route(), None, "lake: the disk is full"),
        (
            [ServiceOut(service="mlflow", health="warn", detail="away"), ServiceOut(service="lake", health="bad", detail="full")],
            a_route(),
            None,
            "lake: full",
        ),
    ],
    ids=["no-champion", "drift", "a-bad-service", "the-worst-first"],
)
def test_what_is_wrong_is_said(services: list[ServiceOut], route: RouteOut, drift: str | None, words: str) -> None:
    assert words in sentence(services, route, [], drift)

"""Performance and calibrations over the API: what is served changes within a poll, is recorded, and is taken back by whoever may."""

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.builders import an_outcome_event
from tests.running_api import REASON, Api, a_body, running_api
from trajops.contracts.calibrations import CalibrationChangeOut, CalibrationOut, CalibrationsOut
from trajops.contracts.performance import EstimateOut, PerformanceChecksOut, SlicesOut
from trajops.forecasters.constant_velocity import ConstantVelocity

FACTOR = 4.0


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    with running_api(tmp_path) as api:
        yield api


def propose(api: Api, version: int = 1, factors: list[float] | None = None) -> int:
    """What the job leaves in the database."""
    at = datetime.now(UTC)
    made = CalibrationOut(
        number=0,
        model_name="trajectory",
        model_version=version,
        state="proposed",
        factors=[FACTOR] * 12 if factors is None else factors,
        made_at=at,
        since=at - timedelta(hours=2),
        until=at,
        fitted_agents=80,
        holdout_agents=30,
        nominal_coverage=0.9,
        coverage_before=0.86,
        coverage_after=0.9,
        sentence="v1: too narrow.",
        changed_at=at,
        changed_by="worker:recalibrate",
    )
    with api.parts.unit_of_work() as uow:
        return uow.calibrations.add(made).number


def change(api: Api, number: int, action: str, expected: str, role: str = "operator", **headers: str) -> Any:
    return api.post(f"/v1/calibrations/{number}/{action}", {"expected_state": expected, "reason": REASON}, role, **headers)


def variance_m2(api: Api) -> float:
    """Of the first step of a fresh prediction."""
    answer = api.post("/predict", a_body())
    assert answer.status_code == 200, answer.text
    found: float = answer.json()["modes"][0]["covariance"][0][0]
    return found


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def carried(api: Api) -> list[int | None]:
    """Calibration of each recorded prediction, oldest first."""
    query = "SELECT calibration FROM predictions ORDER BY received_ns"
    return [
        row[0]
        for row in api.parts.lake.read(("predictions",), lambda cursor, prefix: cursor.execute(prefix + query).fetchall())  # type: ignore[attr-defined]
    ]


def test_a_calibration_is_served_and_recorded_and_taken_out_again(api: Api) -> None:
    api.promote(1)
    before = variance_m2(api)
    assert before == pytest.approx(ConstantVelocity().variance_m2[0], abs=1e-8)
    number = propose(api)
    applied = CalibrationChangeOut.model_validate_json(change(api, number, "apply", "proposed").content)
    assert applied.calibration.state == "applied"
    wait_until(lambda: variance_m2(api) == pytest.approx(FACTOR * before, rel=1e-4))
    assert carried(api)[0] is None
    assert carried(api)[-1] == number
    reverted = CalibrationChangeOut.model_validate_json(change(api, number, "revert", "applied").content)
    assert reverted.calibration.state == "reverted"
    wait_until(lambda: variance_m2(api) == pytest.approx(before))
    assert carried(api)[-1] is None
    actions = [entry["action"] for entry in api.get("/v1/audit", subject="trajectory/1").json()["entries"]]
    assert actions[:2] == ["calibration.revert", "calibration.apply"]
    listed = CalibrationsOut.model_validate_json(api.get("/v1/calibrations").content)
    assert [(one.number, one.state) for one in listed.calibrations] == [(number, "reverted")]


def test_a_process_follows_what_another_one_has_changed(api: Api) -> None:
    """Nobody wakes this process: it sees the row at its next look."""
    api.promote(1)
    before = variance_m2(api)
    number = propose(api)
    with api.parts.unit_of_work() as uow:
        uow.calibrations.move(number, "proposed", "applied", datetime.now(UTC), "another process")
    wait_until(lambda: variance_m2(api) == pytest.approx(FACTOR * before, rel=1e-4))


def test_factors_that_fit_no_model_stop_no_prediction(api: Api) -> None:
    api.promote(1)
    before = variance_m2(api)
    number = propose(api, factors=[2.0])
    assert change(api, number, "apply", "proposed").status_code == 200
    api.parts.host.poll()
    assert variance_m2(api) == pytest.approx(before)
    assert carried(api)[-1] is None


def test_a_newer_calibration_takes_the_place_of_the_one_in_force(api: Api) -> None:
    first, other, second = propose(api), propose(api, version=2), propose(api)
    for number in (first, other, second):
        assert change(api, number, "apply", "proposed").status_code == 200
    listed = CalibrationsOut.model_validate_json(api.get("/v1/calibrations").content)
    assert [(one.number, one.state) for one in listed.calibrations] == [(second, "applied"), (other, "applied"), (first, "superseded")]


def test_who_may_change_what_and_when(api: Api) -> None:
    number = propose(api)
    assert change(api, number, "apply", "proposed", role="viewer").status_code == 403
    assert change(api, 99, "apply", "proposed").status_code == 404
    refused = change(api, number, "revert", "applied")
    assert (refused.status_code, refused.json()["code"]) == (409, "stale_version")
    assert "is proposed, not applied" in refused.json()["detail"]
    assert change(api, number, "apply", "applied").json()["code"] == "conflict"
    assert api.post(f"/v1/calibrations/{number}/apply", {"expected_state": "proposed", "reason": "short"}, "operator").status_code == 422
    key = {"Idempotency-Key": "k1"}
    once, again = (change(api, number, "apply", "proposed", **key) for _ in range(2))
    assert once.status_code == again.status_code == 200
    assert once.json() == again.json()
    assert change(api, number, "revert", "applied", **key).json()["code"] == "conflict", "the key was used for something else"


def test_slices_estimates_and_checks_are_read(api: Api) -> None:
    api.promote(1)
    for n in range(3):
        assert api.post("/predict", a_body(f"a{n}")).status_code == 200
    now_ns = time.time_ns() - 10**9
    api.parts.spool.write("outcomes", [an_outcome_event(f"o{n}", received_ns=now_ns, agent_id=f"b{n % 25}") for n in range(50)])
    found = SlicesOut.model_validate_json(api.get("/v1/performance/slices", by="speed_band").content)
    assert found.champion == 1
    assert [(one.value, one.predictions, one.agents) for one in found.slices] == [("walking", 50, 25)]
    whole = SlicesOut.model_validate_json(api.get("/v1/performance/slices").content)
    ade = whole.slices[0].figures[0]
    assert (ade.metric, ade.mean, ade.validation, ade.verdict) == ("ade_m", pytest.approx(0.5), 0.5, "as_validated")
    estimate = EstimateOut.model_validate_json(api.get("/v1/performance/estimate").content)
    assert estimate.versions[0].unscored == 3
    assert estimate.versions[0].estimated_ade_m is not None
    checks = PerformanceChecksOut.model_validate_json(api.get("/v1/performance/checks").content)
    assert (checks.latest, checks.history) == ([], [])
    for path in ("performance/slices", "performance/estimate", "performance/checks", "calibrations"):
        assert api.client.get(f"/v1/{path}").status_code == 401
    until = datetime.now(UTC)
    refused = api.get("/v1/performance/slices", since=(until - timedelta(days=3)).isoformat(), until=until.isoformat())
    assert (refused.status_code, refused.json()["code"]) == (422, "invalid_input")
    assert api.get("/v1/performance/slices", by="weather").status_code == 422


@pytest.mark.parametrize("until", ["0001-01-01T00:00:00Z", "0001-01-01T00:30:00+14:00", "1969-12-31T23:59:59Z"])
@pytest.mark.parametrize("path", ["/v1/performance", "/v1/performance/slices", "/v1/performance/estimate"])
def test_a_range_at_the_beginning_of_time_is_refused(api: Api, path: str, until: str) -> None:
    refused = api.get(path, until=until)
    assert (refused.status_code, refused.json()["code"]) == (422, "invalid_input")
    assert "before 1970" in refused.json()["detail"]
    assert "after 2999" in api.get(path, until="9999-12-31T23:59:59-14:00").json()["detail"]
    assert api.get(path, until="2999-12-31T23:59:59-14:00").status_code == 422
    assert api.get(path, until="2999-12-31T23:59:59+14:00").status_code == 200

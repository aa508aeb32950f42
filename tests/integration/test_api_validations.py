"""Validations over the API: read, asked for, and what they keep from being staged."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.record_builders import check
from tests.running_api import REASON, Api, running_api


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    with running_api(tmp_path) as running:
        yield running


def test_a_version_that_failed_is_refused_with_each_reason(api: Api) -> None:
    api.register(1, check("signature"), check("latency", "failed", 31.0))
    refused = api.post("/v1/deployments", {"model_version": 1, "reason": REASON}, "operator")
    assert refused.status_code == 409
    problem = refused.json()
    assert problem["code"] == "battery_failed"
    assert "latency: the 99th percentile is 31 ms, allowed at most 20 ms" in problem["detail"]
    assert problem["errors"] == [
        {"field": "battery.latency", "message": "the 99th percentile is 31 ms, allowed at most 20 ms", "value": None}
    ]


def test_a_version_without_validation_is_refused_with_what_to_do(api: Api) -> None:
    api.register(1, is_validated=False)
    refused = api.post("/v1/deployments", {"model_version": 1, "reason": REASON}, "operator")
    assert (refused.status_code, refused.json()["code"]) == (409, "not_validated")
    assert "no worker has ever run here. Start one" in refused.json()["detail"]
    with api.parts.unit_of_work() as uow:
        uow.jobs.describe("validate_versions", "Runs the battery.", 30.0)
    refused = api.post("/v1/deployments", {"model_version": 1, "reason": REASON}, "operator")
    assert "POST /v1/models/1/validation" in refused.json()["detail"]


def test_validation_and_card_are_served(api: Api) -> None:
    api.register(1)
    found = api.get("/v1/models/1/validation").json()
    assert (found["is_passed"], [one["check"] for one in found["checks"]]) == (True, ["signature", "latency"])
    assert found["ranking"][0]["family"] == "kalman"
    card = api.get("/v1/models/1/card")
    assert (card.text, card.headers["content-type"]) == ("# Card 1", "text/markdown; charset=utf-8")
    [row] = api.get("/v1/models").json()["versions"]
    assert (row["validation"]["passed"], row["validation"]["failed"], row["is_validation_asked"]) == (2, [], False)
    for path in ("/v1/models/9/validation", "/v1/models/9/card"):
        assert api.get(path).status_code == 404
    assert api.get("/v1/models/0/card").status_code == 422


def test_operators_ask_for_a_validation(api: Api) -> None:
    api.register(1, is_validated=False)
    [row] = api.get("/v1/models").json()["versions"]
    assert (row["validation"], row["is_validation_asked"]) == (None, False)
    assert api.get("/v1/models/1/card").status_code == 404
    assert api.post("/v1/models/1/validation", {"reason": REASON}, "viewer").status_code == 403
    asked = api.post("/v1/models/1/validation", {"reason": REASON}, "operator", **{"Idempotency-Key": "k"})
    assert (asked.status_code, asked.json()["job"]) == (200, "validate_versions")
    again = api.post("/v1/models/1/validation", {"reason": REASON}, "operator", **{"Idempotency-Key": "k"})
    assert again.json() == asked.json()
    [row] = api.get("/v1/models").json()["versions"]
    assert row["is_validation_asked"] is True
    assert api.post("/v1/models/9/validation", {"reason": REASON}, "operator").status_code == 404


def test_operators_delete_what_nobody_needs(api: Api) -> None:
    for number in (1, 2):
        api.register(number)
    api.promote(1)
    path, why = "/v1/models/{}/delete", {"reason": REASON}
    assert api.post(path.format(2), why, "viewer").status_code == 403
    assert api.post(path.format(2), {"reason": "short"}, "operator").json()["code"] == "invalid_input"
    refused = api.post(path.format(1), why, "operator")
    assert (refused.status_code, refused.json()["code"]) == (409, "conflict")
    assert refused.json()["detail"] == "trajectory/1 is the champion; promote another version first"
    deleted = api.post(path.format(2), why, "operator").json()
    assert (deleted["model_version"], deleted["by"], deleted["job"]) == (2, "key:operator key", "reconcile_aliases")
    assert [row["model_version"] for row in api.get("/v1/models").json()["versions"]] == [1]
    staged = api.post("/v1/deployments", {"model_version": 2, **why}, "operator")
    assert (staged.status_code, "was deleted at" in staged.json()["detail"]) == (404, True)
    again = api.post(path.format(2), why, "operator")
    assert (again.status_code, "was deleted before" in again.json()["detail"]) == (409, True)
    entry = api.get("/v1/audit?subject=trajectory/2").json()["entries"][0]
    assert (entry["action"], entry["audit_id"], entry["reason"]) == ("model.deleted", deleted["audit_id"], REASON)

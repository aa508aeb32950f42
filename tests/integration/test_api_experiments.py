"""Experiments over the API: from the checklist to the verdict, with real routes, lake and database."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data.lake.experiment_source import LakeExperiments
from tests.builders import an_outcome_event
from tests.experiment_builders import STOP, a_plan
from tests.running_api import REASON, Api, a_body, running_api
from trajops.clock import SystemClock
from trajops.contracts.experiments import (
    ChecklistOut,
    ExperimentChangeOut,
    ExperimentErrorsOut,
    ExperimentOut,
    ExperimentPlan,
    ExperimentSlicesOut,
    ExperimentsOut,
    VerdictsOut,
)
from trajops.experiments.lifecycle import ExperimentState
from trajops.services.experiments import Experiments
from trajops.services.judging import Judge

S = ExperimentState
QUICK = STOP | {"min_s": 0.0, "min_units": 20, "min_harmed_units": 10}


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    with running_api(tmp_path) as api:
        api.promote(1)
        for version in (2, 3):
            api.register(version)
            assert api.post("/v1/deployments", {"model_version": version, "reason": REASON}, "operator").status_code == 200
        yield api


def sent(plan: ExperimentPlan, *, is_launched: bool = True) -> dict[str, Any]:
    return {"plan": plan.model_dump(mode="json"), "reason": REASON, "is_launched": is_launched}


def changed(api: Api, path: str, body: dict[str, Any]) -> ExperimentOut:
    answer = api.post(f"/v1/experiments{path}", body, "operator")
    assert answer.status_code == 200, answer.text
    return ExperimentChangeOut.model_validate_json(answer.content).experiment


def asked(api: Api, experiment: ExperimentOut) -> dict[str, Any]:
    return {"expected_version": experiment.version, "reason": REASON}


def predicted(api: Api, agents: int) -> list[dict[str, Any]]:
    api.follow()
    answers = [api.post("/predict", a_body(f"a{number}", observed_at_s=time.time() - 30)) for number in range(agents)]
    assert {answer.status_code for answer in answers} == {200}
    return [answer.json() for answer in answers]


def scored(api: Api, answers: list[dict[str, Any]], ade_m: Callable[[str], float]) -> None:
    """Truth as the workers write it, without the wait for it."""
    rng = np.random.default_rng(3)
    experiments = api.get("/v1/experiments").json()["experiments"]
    for answer in answers:
        cv_ade_m = float(rng.lognormal(-0.5, 0.4))
        error_m = ade_m(answer["variant"]) * cv_ade_m * float(rng.lognormal(0, 0.1))
        now_ns = time.time_ns()
        event = an_outcome_event(
            answer["prediction_id"],
            received_ns=int(answer["prediction_id"][:16], 16),
            scored_ns=now_ns,
            agent_id=answer["agent_id"],
            scene_id=answer["scene_id"],
            model_version=answer["model_version"],
            variant=answer["variant"],
            source="live",
            ade_m=error_m,
            cv_ade_m=cv_ade_m,
            experiment_id=experiments[0]["experiment_id"],
        )
        api.parts.spool.write("outcomes", [event])


class InAWhile(SystemClock):
    """Half a minute from now, when what was predicted is old enough to have truth."""

    def now_ns(self) -> int:
        return super().now_ns() + 30 * 10**9


def judge(api: Api) -> list[str | None]:
    parts = api.parts
    service = Experiments(parts.unit_of_work, model_name="trajectory")
    return [one.decided for one in Judge(LakeExperiments(parts.lake), parts.unit_of_work, service, InAWhile()).run()]  # type: ignore[arg-type]


def test_from_the_checklist_to_a_promotion(api: Api) -> None:
    plan = a_plan(min_join_rate=0.0, max_join_gap=1.0, stop=QUICK)
    checklist = ChecklistOut.model_validate_json(api.post("/v1/experiments/check", plan.model_dump(mode="json")).content)
    assert checklist.can_launch, checklist
    assert {one.name: one.state for one in checklist.checks}["duration"] == "warning", "nobody was predicted yet"
    experiment = changed(api, "", sent(plan))
    assert (experiment.state, experiment.coverage) == (S.RUNNING, 1.0)
    answers = predicted(api, 120)
    assert {answer["variant"] for answer in answers} == {"control", "treatment"}
    scored(api, answers, {"control": 0.6, "treatment": 0.4}.__getitem__)
    assert judge(api) == ["better"]
    found = ExperimentsOut.model_validate_json(api.get("/v1/experiments").content).experiments
    assert [(one.state, one.winner) for one in found] == [(S.RECOMMENDED, "treatment")]
    assert found[0].sentence.startswith("ADE of treatment is ")
    verdicts = VerdictsOut.model_validate_json(api.get(f"/v1/experiments/{experiment.experiment_id}/verdicts").content).verdicts
    assert [one.kind for one in verdicts] == ["better"]
    over = changed(api, f"/{experiment.experiment_id}/stop", {**asked(api, found[0]), "winner": "treatment"})
    assert (over.state, over.winner) == (S.PROMOTED, "treatment")
    api.follow()
    assert {(answer["model_version"], answer["variant"]) for answer in predicted(api, 5)} == {(2, "champion")}


@pytest.mark.parametrize(("min_join_rate", "is_valid"), [(0.0, True), (1.0, False)])
def test_errors_of_units_are_told_unless_the_data_are_invalid(api: Api, min_join_rate: float, *, is_valid: bool) -> None:
    experiment = changed(api, "", sent(a_plan(min_join_rate=min_join_rate, max_join_gap=1.0, stop=QUICK)))
    path = f"/v1/experiments/{experiment.experiment_id}/errors"
    first = ExperimentErrorsOut.model_validate_json(api.get(path).content)
    assert (first.metric, first.hidden_because, first.arms) == ("ade_m", "nobody has looked at it yet", [])
    scored(api, predicted(api, 120)[:110], {"control": 0.6, "treatment": 0.4}.__getitem__)
    judge(api)
    found = ExperimentErrorsOut.model_validate_json(api.get(path).content)
    assert "decides nothing" in found.label
    if is_valid:
        control, treatment = found.arms
        assert (control.variant, treatment.variant, len(control.errors)) == ("control", "treatment", len(found.shares))
        assert control.errors == sorted(control.errors)
        assert all(b < a for a, b in zip(control.errors, treatment.errors, strict=True))
    else:
        assert (found.hidden_because or "").startswith("the data are not valid")
        assert found.arms == []
    assert api.get("/v1/experiments/nobody/errors").status_code == 404


@pytest.mark.parametrize(("min_join_rate", "is_valid"), [(0.0, True), (1.0, False)])
def test_it_is_taken_apart_unless_the_data_are_invalid(api: Api, min_join_rate: float, *, is_valid: bool) -> None:
    experiment = changed(api, "", sent(a_plan(min_join_rate=min_join_rate, max_join_gap=1.0, stop=QUICK)))
    path = f"/v1/experiments/{experiment.experiment_id}/slices"
    first = ExperimentSlicesOut.model_validate_json(api.get(path).content)
    assert (first.by, first.hidden_because, first.slices) == ("scene", "nobody has looked at it yet", [])
    answers = predicted(api, 120)
    scored(api, answers[:110], {"control": 0.6, "treatment": 0.4}.__getitem__)
    judge(api)
    found = ExperimentSlicesOut.model_validate_json(api.get(path).content)
    assert found.label == "Exploratory: not corrected for looking at many; decides nothing."
    if is_valid:
        assert [one.value for one in found.slices] == ["s"]
        assert found.slices[0].high is not None
        assert found.slices[0].high < 0
        assert len(ExperimentSlicesOut.model_validate_json(api.get(path, by="step").content).slices) == 12
    else:
        assert (found.hidden_because or "").startswith("the data are not valid")
        assert found.slices == []
    assert api.get(path, by="moon").status_code == 422
    assert api.get("/v1/experiments/nobody/slices").status_code == 404


def test_harm_is_rolled_back_and_nobody_gets_the_treatment_any_more(api: Api) -> None:
    changed(api, "", sent(a_plan(min_join_rate=0.0, max_join_gap=1.0, stop=QUICK)))
    answers = predicted(api, 120)
    scored(api, answers, {"control": 0.5, "treatment": 1.2}.__getitem__)
    assert judge(api) == ["worse"]
    assert {answer["variant"] for answer in predicted(api, 40)} == {"champion"}
    [entry, *_] = [one for one in api.get("/v1/audit").json()["entries"] if one["action"] == "experiment.decide_worse"]
    assert entry["after"]["cause"]["kind"] == "worse"
    deployed = {one["model_version"]: one["state"] for one in api.get("/v1/deployments").json()["deployments"]}
    assert deployed == {1: "live", 2: "rolled_back", 3: "staged"}


def test_coverage_pause_override_and_the_kill_switch(api: Api) -> None:
    experiment = changed(api, "", sent(a_plan(coverage=0.2)))
    path = f"/{experiment.experiment_id}"
    before = {answer["agent_id"]: answer["variant"] for answer in predicted(api, 60)}
    experiment = changed(api, f"{path}/cover", {**asked(api, experiment), "coverage": 1.0})
    after = {answer["agent_id"]: answer["variant"] for answer in predicted(api, 60)}
    assert {after[agent] for agent in after} == {"control", "treatment"}
    assert all(after[agent] == variant for agent, variant in before.items() if variant != "champion")
    experiment = changed(api, f"{path}/override", {**asked(api, experiment), "unit_id": "s/a1", "variant": "treatment"})
    assert predicted(api, 2)[1]["variant"] == "override"
    found = api.get("/v1/predictions", scene_id="s", agent_id="a1")
    assert (found.status_code, found.json()["predictions"][0]["prediction"]["variant"]) == (200, "override")
    epoch = api.get("/v1/routes").json()["current"]["epoch"]
    switch = {"expected_epoch": epoch, "is_stopped": True, "reason": REASON}
    assert api.post("/v1/experiments/switch", switch, "operator").json()["is_stopped"] is True
    assert api.get("/v1/routes").json()["current"]["is_stopped"] is True
    assert {answer["variant"] for answer in predicted(api, 10)} == {"champion"}
    back = {**switch, "expected_epoch": epoch + 1, "is_stopped": False}
    assert api.post("/v1/experiments/switch", back, "operator").status_code == 200
    assert api.get("/v1/routes").json()["current"]["is_stopped"] is False
    experiment = changed(api, f"{path}/pause", asked(api, experiment))
    assert (experiment.state, {answer["variant"] for answer in predicted(api, 10)} - {"override"}) == (S.PAUSED, {"champion"})
    assert changed(api, f"{path}/stop", asked(api, experiment)).state == S.STOPPED


def test_who_is_held_out_is_answered_by_the_champion_and_told_apart(api: Api) -> None:
    experiment = changed(api, "", sent(a_plan()))
    before = {answer["agent_id"]: answer["variant"] for answer in predicted(api, 60)}

    def held_out(share: float) -> dict[str, str]:
        body = {"expected_epoch": api.get("/v1/routes").json()["current"]["epoch"], "share": share, "reason": REASON}
        assert api.post("/v1/experiments/holdout", body, "operator").json()["share"] == share
        assert api.get("/v1/routes").json()["current"]["held_out"] == share
        return {answer["agent_id"]: answer["variant"] for answer in predicted(api, 60)}

    after = held_out(0.5)
    held = {agent for agent, variant in after.items() if variant == "holdout"}
    assert 10 < len(held) < 50
    assert all(after[agent] == variant for agent, variant in before.items() if agent not in held)
    assert held_out(0.0) == before
    epoch = api.get("/v1/routes").json()["current"]["epoch"]
    refused = api.post("/v1/experiments/holdout", {"expected_epoch": epoch, "share": 0.6, "reason": REASON}, "operator")
    assert (refused.status_code, refused.json()["code"]) == (422, "invalid_input")
    [entry] = api.get("/v1/audit", subject="routes", limit=1).json()["entries"]
    assert (entry["action"], entry["reason"]) == ("experiments.hold_out", REASON)
    changed(api, f"/{experiment.experiment_id}/stop", asked(api, experiment))


def test_a_draft_is_launched_or_discarded(api: Api) -> None:
    for path, state in (("launch", S.RUNNING), ("stop", S.DISCARDED)):
        draft = changed(api, "", sent(a_plan(), is_launched=False))
        assert (draft.state, draft.started_at) == (S.DRAFT, None)
        found = changed(api, f"/{draft.experiment_id}/{path}", asked(api, draft))
        assert found.state == state
        if state == S.RUNNING:
            changed(api, f"/{draft.experiment_id}/stop", asked(api, found))


def test_what_blocks_a_launch_is_said_and_nothing_is_written(api: Api) -> None:
    arms = [{"variant": "control", "model_version": 1, "weight": 0.5}, {"variant": "treatment", "model_version": 4, "weight": 0.5}]
    api.register(4)
    refused = api.post("/v1/experiments", sent(a_plan(arms=arms)), "operator")
    assert (refused.status_code, refused.json()["code"]) == (409, "conflict")
    assert "versions: v4 is not deployed; stage it first" in refused.json()["detail"]
    assert api.get("/v1/experiments").json() == {"experiments": []}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("", sent(a_plan())),
        ("/switch", {"expected_epoch": 1, "is_stopped": True, "reason": REASON}),
        ("/holdout", {"expected_epoch": 1, "share": 0.1, "reason": REASON}),
        ("/x/launch", {"expected_version": 1, "reason": REASON}),
        ("/x/cover", {"expected_version": 1, "coverage": 0.5, "reason": REASON}),
        ("/x/pause", {"expected_version": 1, "reason": REASON}),
        ("/x/stop", {"expected_version": 1, "reason": REASON}),
        ("/x/override", {"expected_version": 1, "unit_id": "u", "variant": None, "reason": REASON}),
    ],
)
def test_changes_need_an_operator(api: Api, path: str, body: dict[str, Any]) -> None:
    assert api.client.post(f"/v1/experiments{path}", json=body).status_code == 401
    refused = api.post(f"/v1/experiments{path}", body, "viewer")
    assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
    assert api.post(f"/v1/experiments{path}", body, "operator").status_code in {200, 404, 409}


def arms(weight: float) -> list[dict[str, Any]]:
    """Of which the second one gets a share."""
    weights = {"control": 1 - weight, "treatment": weight}
    return [{"variant": name, "model_version": 1 + number, "weight": part} for number, (name, part) in enumerate(weights.items())]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"arms": [{"variant": "control", "model_version": 1, "weight": 0.5}]}, "at least 2"),
        (
            {"arms": [{"variant": "a", "model_version": 1, "weight": 0.5}, {"variant": "b", "model_version": 2, "weight": 0.6}]},
            "add up to 1",
        ),
        ({"coverage": 0}, "greater than 0"),
        ({"coverage": float("nan")}, ""),
        *(({"arms": arms(weight)}, "weight") for weight in (0, 1, float("nan"))),
        ({"max_stale_s": float("inf")}, "max_stale_s"),
        ({"invalid_for_s": 1e300}, "invalid_for_s"),
        ({"stop": {"min_s": float("inf")}}, "min_s"),
        ({"guardrails": [{"kind": "slow_answers", "slow_ms": float("inf")}]}, "slow_ms"),
        ({"namespace": {"name": "n", "begin": 0.5, "end": 0.5}}, "begins before it ends"),
        ({"unit": "planet"}, "agent"),
        ({"stop": {"min_units": 1}}, "greater than or equal to 20"),
        ({"colour": "blue"}, "colour"),
    ],
)
def test_a_plan_that_makes_no_sense_is_refused(api: Api, change: dict[str, Any], said: str) -> None:
    import json

    plan = a_plan().model_dump(mode="json") | change
    refused = api.post("/v1/experiments/check", json.dumps(plan).encode(), **{"Content-Type": "application/json"})
    assert (refused.status_code, refused.json()["code"]) == (422, "invalid_input")
    assert said in refused.text


def test_an_unknown_experiment_is_not_found(api: Api) -> None:
    for path in ("x", "x/verdicts"):
        assert api.get(f"/v1/experiments/{path}").status_code == 404

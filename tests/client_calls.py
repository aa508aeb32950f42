"""What the clients' methods send, and answers of the API's form: one row a call."""

from datetime import UTC, datetime
from typing import Any

from trajops.contracts.predictions import BatchColumnsIn, ObservationIn, PredictIn

NOW = "2026-11-24T03:00:00Z"
ROUTE = {
    "epoch": 4,
    "champion": {"model_name": "trajectory", "model_version": 3},
    "challenger": None,
    "previous": None,
    "coverage": 0.0,
    "changed_at": NOW,
    "actor": "ada",
    "reason": "because it is better",
}
CHANGE = {
    "deployment": {
        "deployment_id": "d 1",
        "model_name": "trajectory",
        "model_version": 3,
        "state": "live",
        "version": 4,
        "created_at": NOW,
        "updated_at": NOW,
    },
    "route": ROUTE,
    "audit_id": "aud-1",
}
PREDICTION = {
    "prediction_id": "p1",
    "agent_id": "a",
    "scene_id": "s",
    "observed_at_s": 1.0,
    "dt_s": 0.4,
    "model_name": "trajectory",
    "model_version": 3,
    "variant": "champion",
    "epoch": 4,
    "modes": [{"weight": 1.0, "positions": [[0.0, 0.0]], "covariance": [[1.0, 0.0, 1.0]]}],
    "model_ms": 0.2,
}
REMEMBERED = {"prediction": PREDICTION, "received_at": NOW, "history": [[0.0, 0.0]], "truth": [None], "outcome": None}
SCENE = {
    "scene_id": "s", "since": NOW, "until": NOW, "tracks": [], "predictions": [], "agents": 0, "cut": [], "newest_at": None
}  # fmt: skip
HISTORY = [(float(i), 0.0) for i in range(8)]
REASON = "a reason that is long enough"
AT = datetime(2026, 11, 24, 3, tzinfo=UTC)
CALLS: dict[str, tuple[Any, str, str, Any, Any]] = {
    # name: (call, method, path, sent body, answer)
    "predict": (
        lambda c: c.predict(PredictIn(agent_id="a", history=HISTORY, model_version=3)),
        "POST",
        "/predict",
        {"agent_id": "a", "history": [list(p) for p in HISTORY], "model_version": 3},
        PREDICTION,
    ),
    "batch_predict": (
        lambda c: c.batch_predict([PredictIn(agent_id="a")]),
        "POST",
        "/batch_predict",
        {"items": [{"agent_id": "a"}]},
        {"items": [{"prediction": PREDICTION, "error_code": None, "error": None}]},
    ),
    "batch_columns": (
        lambda c: c.batch_columns(BatchColumnsIn(history=[HISTORY], agent_id=["a"])),
        "POST",
        "/batch_predict",
        {"history": [[list(p) for p in HISTORY]], "agent_id": ["a"]},
        {
            "dt_s": 0.4,
            "epoch": 1,
            "model_name": ["trajectory"],
            "model_version": [1],
            "variant": ["champion"],
            "prediction_id": ["p"],
            "weights": [[1.0]],
            "positions": [[[[1.0, 2.0]]]],
            "covariance": [[[[1.0, 0.0, 1.0]]]],
            "errors": [],
        },
    ),
    "observe": (
        lambda c: c.observe([ObservationIn(agent_id="a", observed_at_s=1.0, position=(1.0, 2.0))]),
        "POST",
        "/observations",
        {"observations": [{"agent_id": "a", "observed_at_s": 1.0, "position": [1.0, 2.0]}], "source": "live"},
        {"accepted": 1},
    ),
    "models": (lambda c: c.models(), "GET", "/v1/models", None, {"model_name": "trajectory", "versions": []}),
    "deployments": (lambda c: c.deployments(), "GET", "/v1/deployments", None, {"deployments": []}),
    "routes": (lambda c: c.routes(), "GET", "/v1/routes", None, {"current": ROUTE, "history": [ROUTE]}),
    "routes-some": (lambda c: c.routes(3), "GET", "/v1/routes?limit=3", None, {"current": ROUTE, "history": [ROUTE]}),
    "predictions": (
        lambda c: c.predictions(limit=5, agent_id="a b"),
        "GET",
        "/v1/predictions?limit=5&agent_id=a+b",
        None,
        {"predictions": [REMEMBERED]},
    ),
    "prediction": (lambda c: c.prediction("p/1"), "GET", "/v1/predictions/p%2F1", None, REMEMBERED),
    "agents-some": (lambda c: c.agents(limit=9), "GET", "/v1/agents?limit=9", None, {"agents": []}),
    "agents": (lambda c: c.agents("s"), "GET", "/v1/agents?scene_id=s", None, {"agents": []}),
    "scenes": (lambda c: c.scenes(), "GET", "/v1/scenes", None, {"since": NOW, "until": NOW, "is_cut": False, "scenes": []}),
    "scene-window": (
        lambda c: c.scene_window("quay 3/north", agents=9, agent_id="a"),
        "GET",
        "/v1/scenes/quay%203%2Fnorth/window?agents=9&agent_id=a",
        None,
        SCENE,
    ),
    "scene-background": (
        lambda c: c.scene_background("s", -1.0, -2.0, 3.0, 4.0),
        "GET",
        "/v1/scenes/s/background?x_min_m=-1.0&y_min_m=-2.0&x_max_m=3.0&y_max_m=4.0",
        None,
        {"scene_id": "s", "origin": None, "coast": []},
    ),
    "scene-live": (lambda c: c.scene_live("s", seconds=5.5), "GET", "/v1/scenes/s/live?seconds=5.5", None, SCENE),
    "stage": (lambda c: c.stage(5, REASON), "POST", "/v1/deployments", {"model_version": 5, "reason": REASON}, CHANGE),
    "start_canary": (
        lambda c: c.start_canary("d 1", 3, 0.2, REASON),
        "POST",
        "/v1/deployments/d%201/canary",
        {"expected_version": 3, "reason": REASON, "coverage": 0.2},
        CHANGE,
    ),
    "pause_canary": (
        lambda c: c.pause_canary("d1", 3, REASON),
        "POST",
        "/v1/deployments/d1/canary/pause",
        {"expected_version": 3, "reason": REASON},
        CHANGE,
    ),
    "stop_canary": (
        lambda c: c.stop_canary("d1", 3, REASON),
        "POST",
        "/v1/deployments/d1/canary/stop",
        {"expected_version": 3, "reason": REASON},
        CHANGE,
    ),
    "promote": (
        lambda c: c.promote("d1", 3, REASON),
        "POST",
        "/v1/deployments/d1/promote",
        {"expected_version": 3, "reason": REASON},
        CHANGE,
    ),
    "rollback": (lambda c: c.rollback(4, REASON), "POST", "/v1/routes/rollback", {"expected_epoch": 4, "reason": REASON}, CHANGE),
}
CHANGES = ("stage", "start_canary", "pause_canary", "stop_canary", "promote", "rollback")

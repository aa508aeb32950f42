"""What the clients' methods send, and answers of the API's form: one row a call."""

from datetime import UTC, datetime
from typing import Any

from trajops.contracts.drift import MuteIn, ReferenceChoice, ReferenceIn
from trajops.contracts.keys import KeyIn
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
PERFORMANCE = {"since": NOW, "until": NOW, "nominal_coverage": 0.9, "rows": [], "series": [], "step_error_m": {}, "last_outcome_at": None}
RUN = {
    "run_id": "r",
    "job": "j",
    "state": "succeeded",
    "holder": "w",
    "started_at": NOW,
    "finished_at": NOW,
    "duration_s": 0.1,
    "result": {},
    "error": None,
}
STATUS = {
    "at": NOW,
    "verdict": "ok",
    "sentence": "well",
    "environment": "demo",
    "route": ROUTE,
    "services": [],
    "traffic": [],
    "performance": [],
    "changes": [],
    "jobs": [],
    "drift_verdict": None,
}
KEY = {
    "key_id": "k1",
    "name": "replay",
    "prefix": "tk_1",
    "role": "viewer",
    "scopes": ["predict"],
    "created_at": NOW,
    "expires_at": None,
    "revoked_at": None,
    "last_used_at": None,
    "successor_id": None,
    "rate_limit_per_s": None,
    "rate_limit_burst": None,
}
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
    "sign_in": (
        lambda c: c.sign_in("ada", "pw"),
        "POST",
        "/v1/token",
        {"username": "ada", "password": "pw"},
        {"access_token": "t", "expires_at": NOW, "username": "ada", "role": "operator"},
    ),
    "me": (lambda c: c.me(), "GET", "/v1/me", None, {"username": "ada", "role": "operator", "environment": "demo"}),
    "models": (lambda c: c.models(), "GET", "/v1/models", None, {"model_name": "trajectory", "versions": []}),
    "deployments": (lambda c: c.deployments(), "GET", "/v1/deployments", None, {"deployments": []}),
    "routes": (lambda c: c.routes(), "GET", "/v1/routes", None, {"current": ROUTE, "history": [ROUTE]}),
    "routes-some": (lambda c: c.routes(3), "GET", "/v1/routes?limit=3", None, {"current": ROUTE, "history": [ROUTE]}),
    "audit": (lambda c: c.audit(limit=7), "GET", "/v1/audit?limit=7", None, {"entries": []}),
    "audit-subject": (lambda c: c.audit(subject="trajectory/3"), "GET", "/v1/audit?limit=50&subject=trajectory%2F3", None, {"entries": []}),
    "performance": (
        lambda c: c.performance(AT, AT),
        "GET",
        "/v1/performance?since=2026-11-24T03%3A00%3A00%2B00%3A00&until=2026-11-24T03%3A00%3A00%2B00%3A00",
        None,
        PERFORMANCE,
    ),
    "performance-open": (lambda c: c.performance(), "GET", "/v1/performance", None, PERFORMANCE),
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
    "drift": (lambda c: c.drift(), "GET", "/v1/drift", None, {"latest": None, "history": [], "last_report": None}),
    "drift-scene": (
        lambda c: c.drift("main square"),
        "GET",
        "/v1/drift?scene=main+square",
        None,
        {"latest": None, "history": [], "last_report": None},
    ),
    "choose_reference": (
        lambda c: c.choose_reference(ReferenceIn(reference=ReferenceChoice(kind="training"), reason=REASON)),
        "POST",
        "/v1/drift/reference",
        {"reference": {"kind": "training"}, "reason": REASON},
        {"reference": {"kind": "training"}, "mutes": []},
    ),
    "mute_column": (
        lambda c: c.mute_column("dt_s", MuteIn(until=None, reason=REASON)),
        "POST",
        "/v1/drift/mutes/dt_s",
        {"until": None, "reason": REASON},
        {"reference": {"kind": "backfill"}, "mutes": []},
    ),
    "jobs": (lambda c: c.jobs(), "GET", "/v1/jobs", None, {"jobs": []}),
    "run_job": (lambda c: c.run_job("check_drift"), "POST", "/v1/jobs/check_drift/run", None, RUN),
    "status": (lambda c: c.status(), "GET", "/v1/status", None, STATUS),
    "health": (lambda c: c.health(), "GET", "/healthz", None, {"status": "alive"}),
    "ready": (lambda c: c.ready(), "GET", "/readyz", None, {"status": "ready", "epoch": 1, "warm": [], "missing": [], "detail": ""}),
    "stage": (lambda c: c.stage(5, REASON), "POST", "/v1/deployments", {"model_version": 5, "reason": REASON}, CHANGE),
    "start_canary": (
        lambda c: c.start_canary("d 1", 3, 0.2, REASON),
        "POST",
        "/v1/deployments/d%201/canary",
        {"expected_version": 3, "reason": REASON, "coverage": 0.2},
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
    "keys": (lambda c: c.keys(), "GET", "/v1/keys", None, {"keys": [KEY]}),
    "create_key": (
        lambda c: c.create_key(KeyIn(name="replay", scopes=["predict"], reason=REASON)),
        "POST",
        "/v1/keys",
        {"name": "replay", "scopes": ["predict"], "reason": REASON},
        {"secret": "tk_1", "key": KEY},
    ),
    "rotate_key": (
        lambda c: c.rotate_key("k/1", 60.0, REASON),
        "POST",
        "/v1/keys/k%2F1/rotate",
        {"overlap_s": 60.0, "reason": REASON},
        {"secret": "tk_2", "key": KEY, "replaces": KEY},
    ),
    "revoke_key": (lambda c: c.revoke_key("k1", REASON), "POST", "/v1/keys/k1/revoke", {"reason": REASON}, KEY),
    "rollback": (lambda c: c.rollback(4, REASON), "POST", "/v1/routes/rollback", {"expected_epoch": 4, "reason": REASON}, CHANGE),
}
CHANGES = ("run_job", "stage", "start_canary", "stop_canary", "promote", "rollback", "revoke_key")

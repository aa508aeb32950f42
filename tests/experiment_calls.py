"""What the clients' methods about experiments send, and answers of the API's form: one row a call, as in `tests.client_calls`."""

from typing import Any

from tests.experiment_builders import a_plan, a_verdict, an_experiment

REASON = "a reason that is long enough"
PLAN = a_plan()
EXPERIMENT = an_experiment("e 1", verdict=a_verdict()).model_dump(mode="json")
CHANGE = {"experiment": EXPERIMENT, "epoch": 4, "audit_id": "aud-1"}
SENT_PLAN = PLAN.model_dump(mode="json", exclude_unset=True)
ARMS = [{"variant": "control", "model_version": 3, "weight": 0.75}, {"variant": "treatment", "model_version": 4, "weight": 0.25}]
CHECKLIST = {
    "can_launch": True,
    "checks": [{"name": "warm", "state": "ok", "detail": "loaded"}],
    "units_per_day": 12.5,
    "expected_units": 3000,
    "expected_s": None,
}
SLICES = {
    "experiment_id": "e 1",
    "by": "step",
    "label": "Exploratory.",
    "hidden_because": None,
    "since": "2026-01-01T12:00:00Z",
    "until": "2026-01-01T13:00:00Z",
    "confidence": 0.95,
    "slices": [
        {
            "value": "1",
            "variant": "treatment",
            "control_units": 90,
            "treatment_units": 80,
            "control_mean": 0.5,
            "treatment_mean": 0.4,
            "change": -0.2,
            "low": None,
            "high": -0.1,
        }
    ],
    "left_out": 0,
}
ERRORS = {
    "experiment_id": "e 1",
    "metric": "ade_m",
    "label": "Exploratory.",
    "hidden_because": None,
    "since": "2026-01-01T12:00:00Z",
    "until": "2026-01-01T13:00:00Z",
    "shares": [0.0, 0.5, 1.0],
    "arms": [{"variant": "control", "units": 90, "errors": [0.1, 0.5, 2.5]}, {"variant": "treatment", "units": 9, "errors": []}],
}
SEEN = {"expected_version": 2, "reason": REASON}
CALLS: dict[str, tuple[Any, str, str, Any, Any]] = {
    "experiments": (lambda c: c.experiments(), "GET", "/v1/experiments?limit=100", None, {"experiments": [EXPERIMENT]}),
    "experiment": (lambda c: c.experiment("e 1"), "GET", "/v1/experiments/e%201", None, EXPERIMENT),
    "verdicts": (
        lambda c: c.verdicts("e 1"),
        "GET",
        "/v1/experiments/e%201/verdicts",
        None,
        {"verdicts": [EXPERIMENT["verdict"]]},
    ),
    "experiment_slices": (
        lambda c: c.experiment_slices("e 1", "step"),
        "GET",
        "/v1/experiments/e%201/slices?by=step",
        None,
        SLICES,
    ),
    "experiment_errors": (lambda c: c.experiment_errors("e 1"), "GET", "/v1/experiments/e%201/errors", None, ERRORS),
    "check_experiment": (lambda c: c.check_experiment(PLAN), "POST", "/v1/experiments/check", SENT_PLAN, CHECKLIST),
    "create_experiment": (
        lambda c: c.create_experiment(3, 4, 0.25, reason=REASON),
        "POST",
        "/v1/experiments",
        {
            "plan": {
                "name": "v4 against v3",
                "hypothesis": "Version 4 is nearer to the truth than version 3.",
                "arms": ARMS,
                "coverage": 1.0,
            },
            "reason": REASON,
            "is_launched": True,
        },
        CHANGE,
    ),
    "plan_experiment": (
        lambda c: c.plan_experiment(PLAN, REASON),
        "POST",
        "/v1/experiments",
        {"plan": SENT_PLAN, "reason": REASON, "is_launched": False},
        CHANGE,
    ),
    "launch_experiment": (lambda c: c.launch_experiment("e 1", 2, REASON), "POST", "/v1/experiments/e%201/launch", SEEN, CHANGE),
    "cover_experiment": (
        lambda c: c.cover_experiment("e 1", 2, 0.5, REASON),
        "POST",
        "/v1/experiments/e%201/cover",
        {**SEEN, "coverage": 0.5},
        CHANGE,
    ),
    "pause_experiment": (lambda c: c.pause_experiment("e 1", 2, REASON), "POST", "/v1/experiments/e%201/pause", SEEN, CHANGE),
    "stop_experiment": (
        lambda c: c.stop_experiment("e 1", 2, REASON, winner="treatment"),
        "POST",
        "/v1/experiments/e%201/stop",
        {**SEEN, "winner": "treatment"},
        CHANGE,
    ),
    "override_unit": (
        lambda c: c.override_unit("e 1", 2, "s/a1", "treatment", REASON),
        "POST",
        "/v1/experiments/e%201/override",
        {**SEEN, "unit_id": "s/a1", "variant": "treatment"},
        CHANGE,
    ),
    "switch_experiments": (
        lambda c: c.switch_experiments(4, True, REASON),
        "POST",
        "/v1/experiments/switch",
        {"expected_epoch": 4, "is_stopped": True, "reason": REASON},
        {"is_stopped": True, "epoch": 5, "audit_id": "aud-1"},
    ),
    "hold_out": (
        lambda c: c.hold_out(4, 0.05, REASON),
        "POST",
        "/v1/experiments/holdout",
        {"expected_epoch": 4, "share": 0.05, "reason": REASON},
        {"share": 0.05, "epoch": 5, "audit_id": "aud-1"},
    ),
}
READS = {"experiments", "experiment", "verdicts", "experiment_slices", "experiment_errors", "check_experiment"}
CHANGES = tuple(name for name in CALLS if name not in READS)

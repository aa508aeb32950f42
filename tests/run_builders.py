"""Training runs with readable defaults, and what the clients' methods about them send."""

from datetime import UTC, datetime, timedelta
from typing import Any

from data.stubs import MemoryDatabase, MemoryRegistry, MemoryRuns
from tests.client_calls import NOW, REASON
from trajops.contracts.runs import RunOut
from trajops.services.runs import Runs
from trajops.training_runs import Run, RunQuery

BEGAN = datetime(2026, 11, 24, 3, tzinfo=UTC)
STEPS = 12


def run_id(number: int) -> str:
    """The id of the run with this number."""
    return f"{number:02x}" * 16


def shown(*runs: Run, registered: tuple[int, ...] = ()) -> list[RunOut]:
    """Runs as the API tells of them, newest first; those with these numbers are registered."""
    registry = MemoryRegistry()
    kept = MemoryRuns(registry)
    service = Runs(kept, registry, MemoryDatabase().unit_of_work)
    for run in runs:
        kept.add(run)
    for number in registered:
        service.register(run_id(number), actor="ada", reason="registered for a test")
    return list(service.newest(RunQuery()).runs)


def a_run(number: int = 1, family: str = "kalman", **fields: Any) -> Run:
    """A finished run with the figures and curves that a training logs; a higher number started later."""
    ade_m = 0.5 - 0.02 * number
    steps = {f"step.{step:02d}.ade_m": round(ade_m * step / 6.5, 4) for step in range(1, STEPS + 1)}
    levels = {f"calibration.{level:.2f}.observed": min(1.0, level + 0.01 * number) for level in (0.1, 0.5, 0.9)}
    given: dict[str, Any] = {
        "run_id": run_id(number),
        "experiment_id": "1",
        "name": family,
        "status": "finished",
        "started_at": BEGAN + timedelta(minutes=number),
        "ended_at": BEGAN + timedelta(minutes=number, seconds=20),
        "params": {"family": family, "dataset": "match", "data_fingerprint": "9f1c", "window.dt_s": "0.4", "seed": str(number)},
        "metrics": {
            "val_ade_m": ade_m,
            "val_fde_m": 2 * ade_m,
            "val_coverage_90": 0.88 + 0.01 * number,
            "val_nll": 1.5 - 0.1 * number,
            "val_latency_ms": 0.05 * number,
            "scene.north.1.ade_m": ade_m + 0.1,
            "scene.north.1.fde_m": 2 * ade_m + 0.1,
            "speed.walking.ade_m": ade_m - 0.1,
            **steps,
            **levels,
        },
        "tags": {"mlflow.source.git.commit": f"{number:x}" * 40},
        "artifact_uri": f"mlflow-artifacts:/1/{run_id(number)}/artifacts",
        "model_ids": (f"m-{run_id(number)}",),
    }
    return Run(**(given | fields))


RUN = {
    "run_id": "r1",
    "name": "kalman",
    "family": "kalman",
    "dataset": "match",
    "data_fingerprint": "9f1c",
    "status": "finished",
    "started_at": NOW,
    "duration_s": 20.0,
    "commit": "abc",
    "params": {"seed": "0"},
    "metrics": {"val_ade_m": 0.4},
    "model_versions": [3],
    "run_url": "http://127.0.0.1:5000/#/experiments/1/runs/r1",
}
CALLS: dict[str, tuple[Any, ...]] = {
    "runs": (
        lambda c: c.runs(family="kalman", status="finished", text="a b", page_token="t=="),
        "GET",
        "/v1/runs?limit=50&family=kalman&status=finished&text=a+b&page_token=t%3D%3D",
        None,
        {"model_name": "trajectory", "runs": [RUN], "next_page_token": "u"},
    ),
    "run": (
        lambda c: c.run("r1"),
        "GET",
        "/v1/runs/r1",
        None,
        {
            "run": RUN,
            "steps": [{"step": 1, "ahead_s": 0.4, "ade_m": 0.1}],
            "calibration": [{"nominal": 0.9, "observed": 0.88}],
            "scenes": [{"name": "s", "ade_m": 0.4}],
            "speeds": [],
            "refusal": "it is v3 already",
        },
    ),
    "register_run": (
        lambda c: c.register_run("r1", REASON),
        "POST",
        "/v1/runs/r1/register",
        {"reason": REASON},
        {
            "model_name": "trajectory",
            "model_version": 4,
            "run_id": "r1",
            "at": NOW,
            "by": "ada",
            "audit_id": "a1",
            "job": "reconcile_aliases",
        },
    ),
}
CHANGES = ("register_run",)

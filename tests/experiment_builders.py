"""Plans and figures of experiments with readable defaults."""

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from trajops.contracts.audit import AuditOut
from trajops.contracts.experiments import ExperimentOut, ExperimentPlan, VerdictOut
from trajops.experiments.figures import ArmFigures, Figures
from trajops.experiments.lifecycle import ExperimentState
from trajops.experiments.sums import ArmSums, PairSums
from trajops.experiments.verdict import judge

STARTED = datetime(2026, 1, 1, 12, tzinfo=UTC)
STOP: dict[str, Any] = {"min_units": 50, "min_s": 600, "horizon_s": 86_400}


def a_plan(**changes: Any) -> ExperimentPlan:
    arms = [{"variant": "control", "model_version": 1, "weight": 0.5}, {"variant": "treatment", "model_version": 2, "weight": 0.5}]
    values = {"name": "wider net", "hypothesis": "Version 2 is nearer to the truth.", "arms": arms, "stop": STOP}
    return ExperimentPlan.model_validate(values | changes)


def three_arms(**changes: Any) -> ExperimentPlan:
    weights = {"control": 0.5, "wide": 0.25, "deep": 0.25}
    arms = [{"variant": name, "model_version": number, "weight": weight} for number, (name, weight) in enumerate(weights.items(), 1)]
    return a_plan(arms=arms, **changes)


def an_arm(variant: str, units: int, *, mean_m: float = 0.5, seed: int = 1, **changes: Any) -> ArmFigures:
    """Units whose errors follow those of constant velocity, with a coefficient of variation of about 0.5."""
    rng = np.random.default_rng([seed, units, len(variant)])
    cv_ade_m = rng.lognormal(-0.6, 0.45, units)
    error_m = mean_m * cv_ade_m / np.exp(-0.6 + 0.45**2 / 2) * rng.lognormal(-0.02, 0.2, units)
    values: dict[str, Any] = {"units": units, "sums": ArmSums.of(error_m, cv_ade_m), "predictions": 11 * units, "due": 10 * units}
    return ArmFigures(variant, **(values | {"joined": 9 * units} | changes))


def figures(*arms: ArmFigures, passed_s: float = 3600.0, at: datetime | None = None, **changes: Any) -> Figures:
    """All units go on asking, unless told otherwise."""
    at = at or STARTED + timedelta(seconds=passed_s)
    units = sum(arm.units for arm in arms)
    values = {"last_outcome_at": at - timedelta(seconds=2), "overdue_units": units, "visits": units, "known_visits": units * 24 // 25}
    given = values | changes
    return Figures(at, arms, **({"overdue_visits": given["overdue_units"], "overdue_stays": given["overdue_units"]} | given))


def two(control: int, treatment: int, mean_m: float = 0.5, **changes: Any) -> tuple[ArmFigures, ArmFigures]:
    return an_arm("control", control), an_arm("treatment", treatment, mean_m=mean_m, **changes)


def a_shadow(units: int, ratio: float) -> ArmFigures:
    rng = np.random.default_rng([5, units])
    a = rng.lognormal(-0.6, 0.7, units)
    return an_arm("treatment", units, pairs=PairSums.of(a, ratio * a * rng.lognormal(-0.02, 0.2, units)))


def an_experiment(experiment_id: str = "e1", **changes: Any) -> ExperimentOut:
    values: dict[str, Any] = {
        "experiment_id": experiment_id,
        "plan": a_plan(),
        "state": ExperimentState.RUNNING,
        "version": 1,
        "coverage": 1.0,
        "closed_arms": [],
        "seed": "s",
        "created_at": STARTED,
        "created_by": "ada",
        "updated_at": STARTED,
        "started_at": STARTED,
        "ended_at": None,
        "winner": None,
        "sentence": "",
        "verdict": None,
    }
    return ExperimentOut(**(values | changes))


def a_verdict(passed_s: float = 3600.0, mean_m: float = 0.42) -> VerdictOut:
    return judge(a_plan(), figures(*two(600, 620, mean_m), passed_s=passed_s), STARTED)


def an_entry(action: str, *, audit_id: str = "a1", subject: str = "experiment/e1", after: Any = None, minutes: float = 0.0) -> AuditOut:
    """A line of the audit, so long after the start."""
    at = STARTED + timedelta(minutes=minutes)
    return AuditOut(audit_id=audit_id, at=at, actor="ben", action=action, subject=subject, reason="it wins", before={}, after=after or {})

"""Calibrations of served versions: made from recent truth, put into force within bounds, and taken out again by whoever may.

A calibration is in force for one version. The API processes read those in force every second; predictions carry the number.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from trajops.clock import now
from trajops.contracts.calibrations import CalibrationChangeOut, CalibrationOut, CalibrationsOut, CalibrationState
from trajops.deployments.model_ref import ModelRef
from trajops.drift.gaps import LeftOut, Span, is_left_out
from trajops.errors import Conflict, NotFound
from trajops.performance.recalibration import Recalibration, recalibrate
from trajops.performance.rules import RecalibrationRule
from trajops.ports import Clock, PerformanceSource
from trajops.services.once import Asked, once
from trajops.stores import UnitOfWork, UnitOfWorkFactory
from trajops.trajectories import FloatArray

if TYPE_CHECKING:
    from trajops.services.trust import Trust

ACTOR = "worker:recalibrate"


class Calibrations:
    """Changes of what is in force.

    Args:
        unit_of_work: opens a transaction.
        clock: what time it is.
    """

    def __init__(self, unit_of_work: UnitOfWorkFactory, clock: Clock) -> None:
        self._unit_of_work = unit_of_work
        self._clock = clock

    def newest(self, limit: int = 50) -> CalibrationsOut:
        """Newest first."""
        with self._unit_of_work(read_only=True) as work:
            return CalibrationsOut(calibrations=work.calibrations.newest(limit))

    def apply(
        self, number: int, expected: CalibrationState, *, actor: str, reason: str, idempotency_key: str | None = None
    ) -> CalibrationChangeOut:
        """Put a proposed or reverted calibration into force, in place of the version's present one.

        Raises:
            NotFound: if there is none with that number.
            Conflict: if it is in force already, or was superseded.
            StaleVersion: if its state is another than the expected one.
        """

        def change(work: UnitOfWork) -> CalibrationChangeOut:
            if expected not in {"proposed", "reverted"}:
                raise Conflict(f"only a proposed or reverted calibration can be put into force, and not one that is {expected}")
            return put_into_force(work, work.calibrations.get(number), expected, now(self._clock), actor, reason)

        return self._once("apply", change, number, expected, actor, reason, idempotency_key)

    def revert(
        self, number: int, expected: CalibrationState, *, actor: str, reason: str, idempotency_key: str | None = None
    ) -> CalibrationChangeOut:
        """Take a calibration out: an applied one, so that its version is served as trained, or a proposed one, which is refused thereby.

        Until somebody puts one of the version into force again, new ones are only proposed.

        Raises:
            NotFound: if there is none with that number.
            Conflict: if it was reverted or superseded already.
            StaleVersion: if its state is another than the expected one.
        """

        def change(work: UnitOfWork) -> CalibrationChangeOut:
            if expected not in {"proposed", "applied"}:
                raise Conflict(f"only a calibration that is in force or proposed can be taken out, and not one that is {expected}")
            at = now(self._clock)
            moved = work.calibrations.move(number, expected, "reverted", at, actor)
            return _audited(work, "calibration.revert", moved, expected, at, actor, reason)

        return self._once("revert", change, number, expected, actor, reason, idempotency_key)

    def _once(
        self,
        action: str,
        change: Callable[[UnitOfWork], CalibrationChangeOut],
        number: int,
        expected: CalibrationState,
        actor: str,
        reason: str,
        idempotency_key: str | None,
    ) -> CalibrationChangeOut:
        """Do a change; or answer as before, where the same request was answered under its key."""
        asked = Asked(actor, f"calibration.{action}", {"number": number, "expected": expected, "reason": reason}, idempotency_key)
        return once(self._unit_of_work, self._clock, asked, CalibrationChangeOut, change)


def put_into_force(
    work: UnitOfWork, calibration: CalibrationOut, expected: CalibrationState, at: datetime, actor: str, reason: str
) -> CalibrationChangeOut:
    """Move one to `applied`, and before that the version's present one, if it is another, out of its way."""
    ref = ModelRef(calibration.model_name, calibration.model_version)
    # Two that are applied at once queue here, and the second finds the first in force.
    work.calibrations.standing(ref, for_change=True)
    for one in work.calibrations.in_force():
        if ModelRef(one.model_name, one.model_version) == ref and one.number != calibration.number:
            work.calibrations.move(one.number, "applied", "superseded", at, actor)
    moved = work.calibrations.move(calibration.number, expected, "applied", at, actor)
    return _audited(work, "calibration.apply", moved, expected, at, actor, reason)


def _audited(
    work: UnitOfWork, action: str, calibration: CalibrationOut, before: str, at: datetime, actor: str, reason: str
) -> CalibrationChangeOut:
    entry = work.audit.append(
        at=at,
        actor=actor,
        action=action,
        subject=f"{calibration.model_name}/{calibration.model_version}",
        reason=reason,
        before={"calibration": calibration.number, "state": before},
        after={"calibration": calibration.number, "state": calibration.state, "factors": calibration.factors},
    )
    return CalibrationChangeOut(calibration=calibration, audit_id=entry.audit_id)


class Factors:
    """Factors by number, read once each, because they never change: what the rows of a window carry.

    Args:
        unit_of_work: opens a transaction.
    """

    def __init__(self, unit_of_work: UnitOfWorkFactory) -> None:
        self._unit_of_work = unit_of_work
        self._known: dict[int, FloatArray] = {}

    def __call__(self, number: int) -> FloatArray | None:
        """(T,) factors of one calibration; None if there is none with that number."""
        if number not in self._known:
            try:
                with self._unit_of_work(read_only=True) as work:
                    self._known[number] = np.array(work.calibrations.get(number).factors)
            except NotFound:
                return None
        return self._known[number]


class Recalibrator:
    """Makes calibrations of the versions that the routes name.

    Args:
        source: reads recent truth.
        unit_of_work: opens a transaction.
        rule: window and bounds.
        nominal_coverage: what the ellipses promise.
        clock: what time it is.
        trust: what may be learnt from.
    """

    def __init__(
        self,
        source: PerformanceSource,
        unit_of_work: UnitOfWorkFactory,
        rule: RecalibrationRule,
        nominal_coverage: float,
        clock: Clock,
        *,
        trust: "Trust",
    ) -> None:
        self._trust = trust
        self._source = source
        self._unit_of_work = unit_of_work
        self._rule = rule
        self._level = nominal_coverage
        self._clock = clock
        self._factors = Factors(unit_of_work)

    def run(self) -> dict[ModelRef, tuple[Recalibration, CalibrationOut | None]]:
        """Recalibrate the champion and what is compared with it; what was found of each, and the calibration that was written, if any.

        Raises:
            Unavailable: if lake or database do not answer.
        """
        at = now(self._clock)
        with self._unit_of_work(read_only=True) as work:
            table = work.routes.table()
        whole = Span(at - timedelta(seconds=self._rule.window_s), at)
        # All versions are served the same traffic, which is judged once, where there is enough to learn from.
        left_out = cache(lambda: self._trust.left_out(whole, self._rule.sources))
        return {ref: self._one(ref, whole, left_out) for ref in table.drawn()}

    def _one(self, ref: ModelRef, whole: Span, left_out: Callable[[], LeftOut]) -> tuple[Recalibration, CalibrationOut | None]:
        since, at = whole
        seen = self._source.distances(ref.name, ref.version, since, at, self._rule.sources, self._rule.max_rows)
        with self._unit_of_work(read_only=True) as work:
            standing = work.calibrations.standing(ref)
        out = left_out() if seen.agent_count >= self._rule.min_agents else LeftOut()
        rows = seen.select(~is_left_out(seen.received_s, seen.scenes, seen.scene_names, out.gaps))
        carried = {number: self._factors(number) for number in np.unique(rows.calibrations).tolist()}
        known = {number: factors for number, factors in carried.items() if factors is not None}

        def tried(present: CalibrationOut | None) -> Recalibration:
            return recalibrate(rows, known, None if present is None else np.array(present.factors), self._level, self._rule)

        found = _with_reason(tried(_first(standing, "applied")), out, len(rows), len(seen))
        if found.factors is None or found.conclusion not in {"propose", "apply"}:
            return found, None
        is_paused, proposed = _is_paused(standing), _first(standing, "proposed")
        is_to_propose = is_paused or found.conclusion == "propose"
        if is_to_propose and proposed is not None and tried(proposed).conclusion == "unchanged":
            return found, proposed  # what is proposed already does as well
        return found, self._written(ref, found, since, at)

    def _written(self, ref: ModelRef, found: Recalibration, since: datetime, at: datetime) -> CalibrationOut:
        assert found.factors is not None
        with self._unit_of_work() as work:
            standing = work.calibrations.standing(ref, for_change=True)
            is_paused = _is_paused(standing)
            for earlier in standing:
                if earlier.state == "proposed":
                    work.calibrations.move(earlier.number, "proposed", "superseded", at, ACTOR)
            reason = found.reason
            if is_paused and found.conclusion == "apply":
                reason += "; only proposed, because the last one was taken out by hand"
            made = work.calibrations.add(
                CalibrationOut(
                    number=0,
                    model_name=ref.name,
                    model_version=ref.version,
                    state="proposed",
                    factors=[round(float(factor), 6) for factor in found.factors],
                    made_at=at,
                    since=since,
                    until=at,
                    fitted_agents=found.fitted_agents,
                    holdout_agents=found.holdout_agents,
                    nominal_coverage=self._level,
                    coverage_before=found.coverage_before,
                    coverage_after=found.coverage_after,
                    sentence=f"v{ref.version}: {reason}.",
                    changed_at=at,
                    changed_by=ACTOR,
                )
            )
            if found.conclusion == "apply" and not is_paused:
                return put_into_force(work, made, "proposed", at, ACTOR, made.sentence).calibration
            _audited(work, "calibration.propose", made, "none", at, ACTOR, made.sentence)
            return made


def _with_reason(found: Recalibration, left_out: LeftOut, rows: int, seen: int) -> Recalibration:
    """Where too little is left to learn from: that much was seen, and may not be."""
    if found.conclusion != "too_little_data" or rows == seen:
        return found
    said = f"{seen - rows} of {seen} predictions are left out; of all traffic, {left_out.reason}"
    return replace(found, reason=f"{said}; {found.reason}" if rows else said)


def _first(standing: Sequence[CalibrationOut], state: CalibrationState) -> CalibrationOut | None:
    return next((one for one in standing if one.state == state), None)


def _is_paused(standing: Sequence[CalibrationOut]) -> bool:
    """Whether the last thing that was decided is that one was taken out."""
    decided = next((one for one in standing if one.state in {"applied", "reverted"}), None)
    return decided is not None and decided.state == "reverted"

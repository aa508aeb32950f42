"""What versions were held against: read it, ask for it, write it down, and let nothing be staged that has not passed."""

from contextlib import suppress

from trajops.clock import SystemClock, now
from trajops.contracts.problems import FieldProblem
from trajops.contracts.validations import ValidationAskedOut, ValidationOut
from trajops.deployments.model_ref import ModelRef
from trajops.errors import BatteryFailed, NotFound, NotValidated
from trajops.ports import Clock
from trajops.services.once import Asked, once
from trajops.stores import UnitOfWork, UnitOfWorkFactory

JOB = "validate_versions"
# A job that runs as often has begun, and mostly ended, within a minute.
SOON_S = 45.0


class Validations:
    """Validations of one registered model.

    Args:
        unit_of_work: opens transactions of the control state.
        model_name: the registered model.
        clock: stamps requests.
    """

    def __init__(self, unit_of_work: UnitOfWorkFactory, *, model_name: str = "trajectory", clock: Clock | None = None) -> None:
        self._unit_of_work = unit_of_work
        self._model_name = model_name
        self._clock: Clock = clock or SystemClock()

    def newest(self, model_version: int) -> ValidationOut:
        """Newest validation of a version.

        Raises:
            NotFound: if the version is not known, or has none.
        """
        ref = ModelRef(self._model_name, model_version)
        with self._unit_of_work(read_only=True) as uow:
            found = uow.validations.newest(uow.model_versions.get(ref).ref)
            if found is None:
                raise NotFound(_missing(uow, ref))
        return found

    def card(self, model_version: int) -> str:
        """Model card of a version, Markdown.

        Raises:
            NotFound: if the version is not known, or has not been validated.
        """
        ref = ModelRef(self._model_name, model_version)
        with self._unit_of_work(read_only=True) as uow:
            found = uow.validations.card(uow.model_versions.get(ref).ref)
            if found is None:
                raise NotFound(_missing(uow, ref))
        return found

    def ask(self, model_version: int, *, actor: str, reason: str, idempotency_key: str | None = None) -> ValidationAskedOut:
        """Ask the workers to validate a version, whether it was validated before or not.

        Raises:
            NotFound: if the version is not known.
            Conflict: if the idempotency key was used for something else.
        """
        ref = ModelRef(self._model_name, model_version)

        def change(uow: UnitOfWork) -> ValidationAskedOut:
            at = now(self._clock)
            known = uow.validations.newest(uow.model_versions.get(ref).ref)
            asked = ValidationAskedOut(model_name=ref.name, model_version=ref.version, asked_at=at, by=actor, job=JOB)
            uow.validations.ask(asked, reason)
            # Without a worker that knows the job, the request waits for one.
            with suppress(NotFound):
                uow.jobs.request(JOB, at)
            before = {} if known is None else {"is_passed": known.is_passed, "sentence": known.sentence}
            uow.audit.append(
                at=at, actor=actor, action="model.validation_asked", subject=str(ref), reason=reason, before=before, after={"job": JOB}
            )
            return asked

        payload = {"model_version": model_version, "reason": reason}
        return once(self._unit_of_work, self._clock, Asked(actor, "validate", payload, idempotency_key), ValidationAskedOut, change)


def record(uow: UnitOfWork, validation: ValidationOut, card: str) -> None:
    """Write a validation with its card and the audit entry about it."""
    uow.validations.add(validation, card)
    uow.audit.append(
        at=validation.at,
        actor=validation.by,
        action="model.validated",
        subject=str(ModelRef(validation.model_name, validation.model_version)),
        reason=validation.sentence,
        before={},
        after={"is_passed": validation.is_passed, "failed": {check.check: check.sentence for check in validation.failed}},
    )


def check_validated(uow: UnitOfWork, ref: ModelRef) -> None:
    """Let a version pass whose newest battery has passed.

    Raises:
        NotValidated: if there is none yet; the sentence says what to do.
        BatteryFailed: if it has failed; the details have one field for each failed check, with its reason.
    """
    found = uow.validations.newest(ref)
    if found is None:
        raise NotValidated(_missing(uow, ref))
    if not found.is_passed:
        reasons = [FieldProblem(field=f"battery.{check.check}", message=check.sentence) for check in found.failed]
        raise BatteryFailed(
            f"{ref} may not be staged: {failures(found)}. Train a better version, or, if the policy or the machine was at fault, "
            f"ask for another validation: POST /v1/models/{ref.version}/validation",
            fields=reasons,
        )


def failures(validation: ValidationOut) -> str:
    """The checks that failed, each with its reason; not a whole sentence."""
    return "; ".join(f"{check.check.replace('_', ' ')}: {check.sentence.rstrip('.')}" for check in validation.failed)


def _missing(uow: UnitOfWork, ref: ModelRef) -> str:
    """That a version has not been validated, and what is to be done, by what is on record about the job."""
    said, by_hand = f"{ref} has not been validated yet", f"POST /v1/models/{ref.version}/validation"
    try:
        schedule = uow.jobs.schedule(JOB)
    except NotFound:
        if not uow.jobs.schedules():
            return f"{said}: no worker has ever run here. Start one (`python -m workers`); its job {JOB} does that within a minute"
        return (
            f"{said}, and will not be: the job {JOB} is named in no worker's schedules.yaml. Take its entry over from the shipped file and "
            "restart the workers; they validate it then by themselves"
        )
    if schedule.paused_at is not None:
        return f"{said}: {schedule.paused_by} has paused the job {JOB} ({schedule.pause_reason}). Resume it, or ask for one run: {by_hand}"
    when = "within a minute" if schedule.every_s <= SOON_S else "at its next turn"
    return f"{said}; the job {JOB} of the workers does that {when}, or at once: {by_hand}"

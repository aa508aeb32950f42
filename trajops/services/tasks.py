"""Tasks: ask for one, look at it, end it; and how a worker takes one and says what came of it."""

from collections import Counter
from collections.abc import Callable
from datetime import datetime
from typing import Any, Protocol
from uuid import uuid4

from trajops.clock import SystemClock, now
from trajops.contracts.audit import AuditOut
from trajops.contracts.tasks import CancelOut, TaskChangeOut, TaskFileOut, TaskIn, TaskOut, TaskOutcomeOut, TasksOut, task_title
from trajops.deployments.lifecycle import State
from trajops.deployments.model_ref import ModelRef
from trajops.errors import Conflict, InvalidInput, StaleVersion
from trajops.ports import Clock
from trajops.records import ModelVersion
from trajops.services.once import Asked, once
from trajops.stores import UnitOfWork, UnitOfWorkFactory
from trajops.tasks.lifecycle import ACTIVE, OVER, TaskState, check_transition
from trajops.tasks.rules import TaskRules

MOST = 10_000
WAITS = "Waits for a worker"
AGAIN = "Waits to be run again"
# Under this parameter of a version stands the task that has made it, so that one that is begun again registers nothing twice.
TASK_PARAM = "task"


class TaskFiles(Protocol):
    """Uploaded files."""

    def described(self, file_id: str) -> TaskFileOut:
        """What was uploaded; it is kept for a while from now on.

        Raises:
            NotFound: if there is no such file, or no longer.
        """
        ...


class Tasks:
    """What people do with tasks.

    Args:
        unit_of_work: opens transactions of the control state.
        rules: bounds.
        files: uploaded files.
        model_name: the registered model.
        clock: stamps changes.
    """

    def __init__(
        self,
        unit_of_work: UnitOfWorkFactory,
        rules: Callable[[], TaskRules],
        files: TaskFiles,
        *,
        model_name: str = "trajectory",
        clock: Clock | None = None,
    ) -> None:
        self._unit_of_work = unit_of_work
        self._rules = rules
        self._files = files
        self._model_name = model_name
        self._clock: Clock = clock or SystemClock()

    def start(self, asked: TaskIn, *, actor: str, idempotency_key: str | None = None) -> TaskChangeOut:
        """Queue a task.

        Raises:
            NotFound: if there is no such file, or no such version.
            InvalidInput: if the champion is to predict and there is none.
            Conflict: if as many wait as may, or the idempotency key was used for something else.
        """

        def change(uow: UnitOfWork) -> TaskChangeOut:
            at = now(self._clock)
            self._check_queue(uow, actor)
            task = TaskOut(
                task_id=uuid4().hex,
                asked=asked,
                state=TaskState.QUEUED,
                version=1,
                by=actor,
                created_at=at,
                updated_at=at,
                seen_at=at,
                stage=WAITS,
                model_name=self._model_name,
                model_version=self._version(uow, asked),
                file=None if asked.file_id is None else self._files.described(asked.file_id),
            )
            uow.tasks.add(task)
            entry = _audited(uow, task, "task.started", at=at, actor=actor, reason=asked.reason, before=None)
            return TaskChangeOut(task=task, audit_id=entry.audit_id)

        asked_once = Asked(actor, "start_task", asked.model_dump(mode="json"), idempotency_key)
        return once(self._unit_of_work, self._clock, asked_once, TaskChangeOut, change)

    def get(self, task_id: str) -> TaskOut:
        """One task; NotFound if there is none with that id."""
        with self._unit_of_work(read_only=True) as uow:
            return uow.tasks.get(task_id)

    def newest(self, limit: int = 100) -> TasksOut:
        """The newest ones, what waits, and what may wait."""
        with self._unit_of_work(read_only=True) as uow:
            found = uow.tasks.newest(limit=limit)
            states = Counter(one.state for one in uow.tasks.newest(states=ACTIVE, limit=MOST))
        rules = self._rules()
        return TasksOut(
            tasks=found,
            running=states[TaskState.RUNNING],
            queued=states[TaskState.QUEUED],
            max_queued=rules.max_queued,
            max_queued_per_person=rules.max_queued_per_person,
        )

    def cancel(self, task_id: str, expected_version: int, *, actor: str, reason: str, idempotency_key: str | None = None) -> TaskChangeOut:
        """End a task: at once if it waits; its worker ends it within seconds if it runs.

        Raises:
            NotFound: if there is none with that id.
            StaleVersion: if it has changed since the caller read it.
            IllegalTransition: if it is over.
        """

        def change(uow: UnitOfWork) -> TaskChangeOut:
            at, before = now(self._clock), uow.tasks.get(task_id)
            if before.version != expected_version and before.state not in OVER:
                raise StaleVersion(
                    f"the task {task_id} has version {before.version}, not {expected_version}: it has changed; read it again and repeat",
                    present_version=before.version,
                )
            check_transition(before.state, TaskState.CANCELLED)
            said = CancelOut(at=at, by=actor, reason=reason)
            if before.state is TaskState.QUEUED:
                task = moved(before, TaskState.CANCELLED, at, cancelled=said, stage="Cancelled", outcome=_registered(uow, before))
            else:
                task = before.model_copy(update={"version": before.version + 1, "updated_at": at, "cancelled": said, "stage": "Is ended"})
            uow.tasks.save(task, before.version)
            entry = _audited(uow, task, "task.cancelled", at=at, actor=actor, reason=reason, before=before.state)
            return TaskChangeOut(task=task, audit_id=entry.audit_id)

        payload = {"task_id": task_id, "expected_version": expected_version, "reason": reason}
        asked = Asked(actor, "cancel_task", payload, idempotency_key)
        return once(self._unit_of_work, self._clock, asked, TaskChangeOut, change)

    def _check_queue(self, uow: UnitOfWork, actor: str) -> None:
        rules, waiting = self._rules(), uow.tasks.newest(states={TaskState.QUEUED}, limit=MOST)
        mine = sum(one.by == actor for one in waiting)
        if mine >= rules.max_queued_per_person:
            raise Conflict(f"{mine} of your tasks wait already, which is as many as may; cancel one, or wait until one is begun")
        if len(waiting) >= rules.max_queued:
            raise Conflict(f"{len(waiting)} tasks wait already, which is as many as may; wait until one is begun")

    def _version(self, uow: UnitOfWork, asked: TaskIn) -> int | None:
        if asked.kind == "train":
            return None
        if asked.model_version is not None:
            return uow.model_versions.get(ModelRef(self._model_name, asked.model_version)).model_version
        champion = uow.routes.table().champion
        if champion is None:
            raise InvalidInput("no model is deployed, so there is no champion to predict; name a model_version")
        return champion.version


class TaskRuns:
    """What a worker does with tasks. Whoever calls holds the lease of the job, so one runs at a time.

    Args:
        unit_of_work: opens transactions, which end in vain once the lease was lost.
        rules: bounds.
        holder: name of the worker.
        clock: stamps changes.
    """

    def __init__(self, unit_of_work: UnitOfWorkFactory, rules: TaskRules, holder: str, clock: Clock) -> None:
        self._unit_of_work = unit_of_work
        self._rules = rules
        self._holder = holder
        self._clock = clock

    def recover(self) -> list[TaskOut]:
        """Look after what runs by the record though its worker is gone: run it again, or say that it has failed."""
        found = []
        with self._unit_of_work() as uow:
            at = now(self._clock)
            for one in uow.tasks.newest(states={TaskState.RUNNING}, limit=MOST):
                lost = f"The worker {one.holder} disappeared while it ran the task"
                if one.cancelled is not None:
                    after = moved(one, TaskState.CANCELLED, at, stage="Cancelled", outcome=_registered(uow, one))
                elif one.attempts < self._rules.attempts:
                    after = _again(one, at)
                else:
                    times = "once" if one.attempts == 1 else f"{one.attempts} times"
                    error = f"{lost}, {times}; it may need more memory than there is"
                    after = moved(one, TaskState.FAILED, at, error=error, outcome=_registered(uow, one))
                uow.tasks.save(after, one.version)
                _audited(uow, after, "task.lost", at=at, actor=self._actor, reason=lost, before=one.state)
                found.append(after)
        return found

    def take(self) -> TaskOut | None:
        """Begin the task that has waited longest; None where none does."""
        with self._unit_of_work() as uow:
            waiting = uow.tasks.newest(states={TaskState.QUEUED}, limit=MOST)
            if not waiting:
                return None
            at, one = now(self._clock), waiting[-1]
            changes = {"started_at": at, "attempts": one.attempts + 1, "holder": self._holder, "seen_at": at}
            task = moved(one, TaskState.RUNNING, at, stage="Starts", **changes)
            uow.tasks.save(task, one.version)
        return task

    def note(self, task_id: str, progress: float, stage: str, eta_s: float | None) -> TaskOut:
        """Write how far a task is, whatever somebody has asked about it meanwhile; the task as it is."""
        with self._unit_of_work() as uow:
            task = uow.tasks.get(task_id)
            if task.state is not TaskState.RUNNING or task.holder != self._holder:
                return task
            shown = {} if task.cancelled is not None else {"progress": progress, "stage": stage, "eta_s": eta_s}
            noted = task.model_copy(update={"seen_at": now(self._clock), **shown})
            uow.tasks.save(noted, task.version)
        return noted

    def put_back(self, task_id: str) -> None:
        """Let another worker begin the task anew, because this one is stopped; that is no failed attempt."""
        with self._unit_of_work() as uow:
            task = uow.tasks.get(task_id)
            if task.state is TaskState.RUNNING and task.holder == self._holder:
                after = _again(task, now(self._clock)).model_copy(update={"attempts": task.attempts - 1})
                uow.tasks.save(after, task.version)

    def finish(self, task_id: str, state: TaskState, *, outcome: TaskOutcomeOut | None = None, error: str | None = None) -> TaskOut:
        """Write what came of a task; one that is not this worker's any more stays as it is."""
        with self._unit_of_work() as uow:
            task = uow.tasks.get(task_id)
            if task.state is not TaskState.RUNNING or task.holder != self._holder:
                return task
            at = now(self._clock)
            if state is not TaskState.DONE:
                outcome = _registered(uow, task)
            changes: dict[str, Any] = {"outcome": outcome, "error": error, "stage": state.value.capitalize()}
            if state is TaskState.DONE:
                changes["progress"] = 1.0
            after = moved(task, state, at, **changes)
            uow.tasks.save(after, task.version)
            said = error or (outcome.sentence if state is TaskState.DONE and outcome is not None else "ended as somebody has asked")
            _audited(uow, after, f"task.{state.value}", at=at, actor=self._actor, reason=said[:500], before=task.state)
        return after

    @property
    def _actor(self) -> str:
        return "worker:run_tasks"


def moved(task: TaskOut, state: TaskState, at: datetime, **changes: Any) -> TaskOut:
    """The task in its next state.

    Raises:
        IllegalTransition: if the table has no such step.
    """
    check_transition(task.state, state)
    update = {"state": state, "version": task.version + 1, "updated_at": at, "eta_s": None, **changes}
    if state in OVER:
        update["finished_at"] = at
    return task.model_copy(update=update)


def _registered(uow: UnitOfWork, task: TaskOut) -> TaskOutcomeOut | None:
    """What a training task that does not come to its end leaves behind; None: nothing."""
    if task.asked.kind != "train":
        return None
    made = sorted((one for one in uow.model_versions.all(task.model_name) if made_by(task, one)), key=lambda one: one.model_version)
    if not made:
        return None
    found = [(one, uow.deployments.of_model(one.ref)) for one in made]
    staged = next((one for one, deployment in found if deployment is not None and deployment.state is not State.REGISTERED), None)
    names = f"{', '.join(f'v{one.model_version}' for one in made)} {'was' if len(made) == 1 else 'were'} registered before that"
    left = " and none is staged, which may be done by hand" if task.asked.is_staged else ""
    return TaskOutcomeOut(
        sentence=f"{names}{left if staged is None else f'; v{staged.model_version} is staged'}.",
        model_versions=[one.model_version for one in made],
        run_ids=[one.run_id for one in made if one.run_id],
        staged_version=None if staged is None else staged.model_version,
    )


def made_by(task: TaskOut, version: ModelVersion) -> bool:
    """Whether a version came of this task."""
    return version.params.get(TASK_PARAM) == task.task_id


def _again(task: TaskOut, at: datetime) -> TaskOut:
    return moved(task, TaskState.QUEUED, at, started_at=None, holder=None, progress=0.0, stage=AGAIN)


def _audited(uow: UnitOfWork, task: TaskOut, action: str, *, at: datetime, actor: str, reason: str, before: TaskState | None) -> AuditOut:
    about = {"kind": task_title(task.asked.kind), "by": task.by}
    return uow.audit.append(
        at=at,
        actor=actor,
        action=action,
        subject=f"task/{task.task_id}",
        reason=reason,
        before={} if before is None else {"state": before.value},
        after={"state": task.state.value, **about},
    )

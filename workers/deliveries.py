"""Works off the outbox: at least once, each receiver in a lane of its own, so that one that hangs holds up nobody else.

A notification is claimed before it is sent and settled after that. Who is killed in between leaves a claim, which the next to deliver
takes over at once: the receiver then gets the same notification, with the same id, a second time.
"""

import logging
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from trajops.alerts.outbox import Notification, NotificationState, retry_at
from trajops.alerts.rules import Delivery
from trajops.clock import now
from trajops.errors import Unavailable
from trajops.ports import Clock
from trajops.services.alert_rounds import DELIVER_JOB
from trajops.stores import UnitOfWorkFactory
from workers.notify import Send, Undelivered, printable

LANES = 16
POLL_S = 0.2
# After so long lanes are begun only beside those of before, so that a run of the job ends while there is always something to send.
LONGEST_S = 60.0
# A run that takes long says so often that it works: one slow receiver is no reason to call delivery late.
PROGRESS_S = 2.0
# A claim lasts so much longer than its attempt may, should nobody take it over.
CLAIM_MARGIN_S = 10.0
# No claim of any process ends later than this.
LONGEST_CLAIM_S = 310.0
# Attempts that were given up and go on nevertheless, of one receiver; each keeps a thread and a connection.
MOST_HANGING = 3

logger = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class _Lane:
    """One attempt, in a thread of its own that nobody has to wait for."""

    claimed: Notification
    began: float
    outcome: str | None = None


@dataclass(slots=True, eq=False)
class Deliveries:
    """Sends what is due.

    Attributes:
        unit_of_work: opens a transaction.
        send: sends one notification once; raises Undelivered.
        plan: how hard it is tried.
        clock: what time it is.
        holder: name of this process, unique among all.
        observe: told of each attempt: receiver, and `delivered`, `failed` or `dead`.
    """

    unit_of_work: UnitOfWorkFactory
    send: Send
    plan: Delivery
    clock: Clock
    holder: str
    observe: Callable[[str, str], None] = lambda _receiver, _outcome: None
    _random: random.Random = field(default_factory=random.Random)
    _is_stopping: threading.Event = field(default_factory=threading.Event)
    _has_ended: threading.Event = field(default_factory=threading.Event)
    _hanging: list[_Lane] = field(default_factory=list)

    def run(self) -> Mapping[str, Any]:
        """Send until nothing is due and no lane is busy; how many attempts ended how.

        An attempt that takes longer than the plan allows is given up, whatever its receiver does, and no lane waits for another.
        """
        ended: Counter[str] = Counter()
        with self.unit_of_work(read_only=True) as uow:
            has_due = bool(uow.notifications.due(now(self.clock) + timedelta(seconds=LONGEST_CLAIM_S), limit=1))
        if not has_due:
            return {}
        with self.unit_of_work() as uow:
            taken_over = uow.notifications.recover(self.holder, now(self.clock))
        lanes: dict[str, _Lane] = {}
        told = time.monotonic()
        deadline = told + LONGEST_S
        while True:
            self._hanging = [lane for lane in self._hanging if lane.outcome is None]
            is_early = time.monotonic() < deadline
            if not self._is_stopping.is_set() and (is_early or any(lane.began < deadline for lane in lanes.values())):
                # What has hung once in this run could hang again, and make the run last for ever.
                self._fill(lanes, () if is_early else {lane.claimed.receiver for lane in self._hanging})
            if not lanes:
                break
            self._has_ended.wait(POLL_S)
            self._has_ended.clear()
            if time.monotonic() - told >= PROGRESS_S:
                told = time.monotonic()
                with suppress(Unavailable), self.unit_of_work() as uow:
                    uow.jobs.note_progress(DELIVER_JOB, now(self.clock))
            for receiver, lane in list(lanes.items()):
                outcome = lane.outcome or (self._give_up(lane) if time.monotonic() - lane.began >= self.plan.attempt_s else None)
                if outcome is not None:
                    del lanes[receiver]
                    ended[outcome] += 1
        return {**ended, **({"taken_over": taken_over} if taken_over else {})}

    def stop(self) -> None:
        """Begin no attempt any more; those in progress end."""
        self._is_stopping.set()

    @property
    def _claim(self) -> timedelta:
        return timedelta(seconds=self.plan.attempt_s + CLAIM_MARGIN_S)

    def _fill(self, lanes: dict[str, _Lane], without: Collection[str]) -> None:
        """Begin the most urgent attempt of each receiver that has none in progress, and is not among `without`."""
        if len(lanes) >= LANES:
            return
        with self.unit_of_work(read_only=True) as uow:
            due = uow.notifications.due(now(self.clock), without=[*lanes, *without])
        for found in due:
            if found.receiver in lanes or len(lanes) >= LANES:
                continue
            with self.unit_of_work() as uow:
                claimed = uow.notifications.claim(found, self.holder, now(self.clock) + self._claim)
            if claimed is not None:
                lanes[found.receiver] = self._begin(claimed)

    def _begin(self, claimed: Notification) -> _Lane:
        lane = _Lane(claimed, time.monotonic())

        def work() -> None:
            try:
                lane.outcome = self._attempt(claimed)
            finally:
                lane.outcome = lane.outcome or "failed"
                self._has_ended.set()

        # A daemon, because one that hangs must not keep the process either.
        threading.Thread(target=work, name=f"deliver-{claimed.receiver}", daemon=True).start()
        return lane

    def _give_up(self, lane: _Lane) -> str:
        """Count an attempt that does not end as failed. Should it succeed after all, its thread records that."""
        self._hanging.append(lane)
        return self._failed(lane.claimed, Undelivered(f"there was no end of it within {self.plan.attempt_s:g} s, so it was given up"))

    def _attempt(self, claimed: Notification) -> str:
        """Send once and record how it ended; never raises, because the other lanes must go on."""
        try:
            if sum(lane.claimed.receiver == claimed.receiver for lane in self._hanging) >= MOST_HANGING:
                raise Undelivered(f"{MOST_HANGING} earlier attempts still hang, so it was not tried again")
            note = self.send(claimed, now(self.clock))
        except Undelivered as error:
            return self._failed(claimed, error)
        except Exception as error:  # a fault of ours must not end the lane, and not be tried for ever
            logger.exception("a notification could not be sent", exc_info=error, extra={"receiver": claimed.receiver})
            return self._failed(claimed, Undelivered(f"{type(error).__name__}: {error}"))
        return self._settle(claimed, NotificationState.DELIVERED, note, 0.0)

    def _failed(self, claimed: Notification, error: Undelivered) -> str:
        is_over = error.is_permanent or claimed.attempts >= self.plan.attempts
        level = logging.ERROR if is_over else logging.WARNING
        about = {"receiver": claimed.receiver, "notification_id": claimed.notification_id, "attempt": claimed.attempts}
        logger.log(level, "a notification was not delivered: %s", error.message, extra=about)
        return self._settle(
            claimed, NotificationState.DEAD if is_over else NotificationState.PENDING, error.message, error.retry_after_s or 0
        )

    def _settle(self, claimed: Notification, state: NotificationState, note: str | None, pause_s: float) -> str:
        at = now(self.clock)
        again = retry_at(
            claimed.attempts, at, first_s=self.plan.first_retry_s, longest_s=self.plan.longest_retry_s, chance=self._random.random()
        )
        longest = at + timedelta(seconds=min(pause_s, self.plan.longest_retry_s))
        try:
            with self.unit_of_work() as uow:
                is_recorded = uow.notifications.settle(
                    claimed, state, at, error=None if note is None else printable(note), next_attempt_at=max(again, longest)
                )
        except Exception as error:  # noqa: BLE001 - whatever it is, the other lanes must go on
            # The claim stands: it is sent again when it counts as lost, a second time if it was delivered.
            about = {"reason": printable(str(error)), "receiver": claimed.receiver, "notification_id": claimed.notification_id}
            logger.error("the end of an attempt could not be recorded", extra=about)  # noqa: TRY400 - a trace would repeat the answer
            is_recorded = True
        outcome = {NotificationState.DELIVERED: "delivered", NotificationState.DEAD: "dead", NotificationState.PENDING: "failed"}[state]
        if is_recorded:  # and not counted already, when it was given up
            self.observe(claimed.receiver, outcome)
        return outcome

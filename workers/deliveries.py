"""Works off the outbox: at least once, each receiver in a lane of its own, so that one that hangs holds up nobody else.

A notification is claimed before it is sent and settled after that. Who is killed in between leaves a claim, which the next to deliver
takes over at once: the receiver then gets the same notification, with the same id, a second time.
"""

import logging
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from trajops.alerts.outbox import Notification, NotificationState, retry_at
from trajops.alerts.rules import Delivery
from trajops.clock import now
from trajops.errors import TrajOpsError
from trajops.ports import Clock
from trajops.stores import UnitOfWorkFactory
from workers.notify import Send, Undelivered

LANES = 16
POLL_S = 0.2
# After so long no lane is begun any more, so that a run of the job ends while there is always something to send.
LONGEST_S = 60.0
# A claim counts as lost after this, should nobody take it over: longer than all waits of one attempt together.
CLAIM_S = 120.0

logger = logging.getLogger(__name__)


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

    def run(self) -> Mapping[str, Any]:
        """Send until nothing is due and no lane is busy; how many attempts ended how."""
        ended: Counter[str] = Counter()
        with self.unit_of_work(read_only=True) as uow:
            has_due = bool(uow.notifications.due(now(self.clock) + timedelta(seconds=CLAIM_S), limit=1))
        if not has_due:
            return {}
        with self.unit_of_work() as uow:
            taken_over = uow.notifications.recover(self.holder, now(self.clock))
        lanes: dict[str, Future[str]] = {}
        deadline = time.monotonic() + LONGEST_S
        with ThreadPoolExecutor(LANES, thread_name_prefix="deliver") as pool:
            while True:
                if time.monotonic() < deadline and not self._is_stopping.is_set():
                    self._fill(lanes, pool)
                if not lanes:
                    break
                wait(lanes.values(), POLL_S, FIRST_COMPLETED)
                for receiver in [name for name, lane in lanes.items() if lane.done()]:
                    outcome = lanes.pop(receiver).result()
                    ended[outcome] += 1
        return {**ended, **({"taken_over": taken_over} if taken_over else {})}

    def stop(self) -> None:
        """Begin no attempt any more; those in progress end."""
        self._is_stopping.set()

    def _fill(self, lanes: dict[str, Future[str]], pool: ThreadPoolExecutor) -> None:
        """Begin the most urgent attempt of each receiver that has none in progress."""
        if len(lanes) >= LANES:
            return
        with self.unit_of_work(read_only=True) as uow:
            due = uow.notifications.due(now(self.clock), without=list(lanes))
        for found in due:
            if found.receiver in lanes or len(lanes) >= LANES:
                continue
            with self.unit_of_work() as uow:
                claimed = uow.notifications.claim(found, self.holder, now(self.clock) + timedelta(seconds=CLAIM_S))
            if claimed is not None:
                lanes[found.receiver] = pool.submit(self._attempt, claimed)

    def _attempt(self, claimed: Notification) -> str:
        """Send once and record how it ended; never raises, because the other lanes must go on."""
        try:
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
                uow.notifications.settle(claimed, state, at, error=note, next_attempt_at=max(again, longest))
        except TrajOpsError as error:
            # The claim stands: it is sent again when it counts as lost, a second time if it was delivered.
            logger.warning("the end of an attempt could not be recorded", extra={"reason": error.message, "receiver": claimed.receiver})
        outcome = {NotificationState.DELIVERED: "delivered", NotificationState.DEAD: "dead", NotificationState.PENDING: "failed"}[state]
        self.observe(claimed.receiver, outcome)
        return outcome

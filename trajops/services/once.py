"""A change that is done once under its idempotency key, however often it is asked for."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel

from trajops.clock import now
from trajops.errors import Conflict
from trajops.ports import Clock
from trajops.records import Remembered
from trajops.stores import UnitOfWork, UnitOfWorkFactory

Answer = TypeVar("Answer", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Asked:
    """Who asks for what: the same request under the same key is answered as it was the first time.

    Attributes:
        actor: who asks.
        action: what for.
        payload: with what, as JSON has it.
        key: of the caller; None: the change is done whenever it is asked for.
    """

    actor: str
    action: str
    payload: Mapping[str, Any]
    key: str | None

    @property
    def fingerprint(self) -> str:
        """Of action and payload."""
        return hashlib.sha256(json.dumps([self.action, self.payload], sort_keys=True).encode()).hexdigest()


def once(
    unit_of_work: UnitOfWorkFactory,
    clock: Clock,
    asked: Asked,
    gives: type[Answer],
    change: Callable[[UnitOfWork], Answer],
    *,
    prepare: Callable[[], None] | None = None,
) -> Answer:
    """Do a change in one transaction with the note that it was done; or answer as before.

    Args:
        unit_of_work: opens a transaction.
        clock: stamps the note.
        asked: who asks for what.
        gives: model of the answer.
        change: does it.
        prepare: called before, outside of any transaction, where the change is to be done; what it raises refuses it.

    Raises:
        Conflict: if the key was used for another request.
        TrajOpsError: as `prepare` and `change` raise; then nothing is written.
    """
    if asked.key is None:
        if prepare is not None:
            prepare()
        with unit_of_work() as uow:
            return change(uow)
    try:
        if prepare is not None:
            with unit_of_work(read_only=True) as uow:
                known = uow.idempotency.find(asked.actor, asked.key)
            if known is not None:
                return _answer_again(known, asked, gives)
            prepare()
        with unit_of_work() as uow:
            known = uow.idempotency.find(asked.actor, asked.key)
            if known is not None:
                return _answer_again(known, asked, gives)
            done = change(uow)
            remembered = Remembered(asked.fingerprint, done.model_dump(mode="json"))
            uow.idempotency.remember(asked.actor, asked.key, remembered, now(clock))
            return done
    except Conflict:
        # The same request, sent twice at once, loses the race to itself: then the winner's answer is the answer.
        with unit_of_work(read_only=True) as uow:
            known = uow.idempotency.find(asked.actor, asked.key)
        if known is None:
            raise
        return _answer_again(known, asked, gives)


def _answer_again(known: Remembered, asked: Asked, gives: type[Answer]) -> Answer:
    if known.fingerprint != asked.fingerprint:
        raise Conflict(f"the idempotency key {asked.key!r} was used for a different request; send a fresh key")
    return gives.model_validate(known.response)

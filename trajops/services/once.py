"""A change that is made once, however often it is asked for under one idempotency key."""

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from pydantic import BaseModel

from trajops.clock import now
from trajops.errors import Conflict
from trajops.ports import Clock
from trajops.records import Remembered
from trajops.stores import UnitOfWork, UnitOfWorkFactory

OutT = TypeVar("OutT", bound=BaseModel)


def once(
    unit_of_work: UnitOfWorkFactory,
    clock: Clock,
    actor: str,
    idempotency_key: str | None,
    action: str,
    payload: Mapping[str, Any],
    change: Callable[[UnitOfWork], OutT],
    answers: type[OutT],
    *,
    prepare: Callable[[], None] | None = None,
) -> OutT:
    """Make a change in one transaction; or answer as before, where the same request was answered under its key.

    Args:
        unit_of_work: opens a transaction.
        clock: stamps what is remembered.
        actor: whose key it is.
        idempotency_key: None: the change is made in any case.
        action: what is asked for.
        payload: with what, as plain data.
        change: makes the change.
        answers: the model of what it answers.
        prepare: called before, outside of any transaction, if the change is to be made; what it raises refuses it.

    Raises:
        Conflict: if the actor has used the key for a different request.
        TrajOpsError: as `prepare` and `change` raise; nothing is remembered then.
    """
    if idempotency_key is None:
        if prepare is not None:
            prepare()
        with unit_of_work() as uow:
            return change(uow)
    asked = hashlib.sha256(json.dumps([action, payload], sort_keys=True, default=str).encode()).hexdigest()

    def known(uow: UnitOfWork) -> OutT | None:
        found = uow.idempotency.find(actor, idempotency_key)
        if found is None:
            return None
        if found.fingerprint != asked:
            raise Conflict(f"the idempotency key {idempotency_key!r} was used for a different request; send a fresh key")
        return answers.model_validate(found.response)

    try:
        if prepare is not None:
            with unit_of_work(read_only=True) as uow:
                before = known(uow)
            if before is not None:
                return before
            prepare()
        with unit_of_work() as uow:
            before = known(uow)
            if before is not None:
                return before
            done = change(uow)
            uow.idempotency.remember(actor, idempotency_key, Remembered(asked, done.model_dump(mode="json")), now(clock))
            return done
    except Conflict:
        # The same request, sent twice at once, loses the race to itself: then the winner's answer is the answer.
        with unit_of_work(read_only=True) as uow:
            before = known(uow)
        if before is None:
            raise
        return before

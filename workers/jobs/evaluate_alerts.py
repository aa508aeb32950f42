"""Job `evaluate_alerts`: figures of this moment, and what the rules make of them."""

from collections.abc import Callable, Mapping
from typing import Any

from trajops.clock import now
from trajops.contracts.alerts import AlertCounts
from trajops.ports import Clock
from trajops.services.alert_rounds import AlertRounds
from trajops.stores import UnitOfWorkFactory
from workers.signals import SignalReader


def evaluate_alerts(
    reader: SignalReader,
    rounds: AlertRounds,
    unit_of_work: UnitOfWorkFactory,
    clock: Clock,
    observe: Callable[[AlertCounts, float], None],
) -> Mapping[str, Any]:
    """Look once and tell the metrics; idempotent."""
    done = rounds.run(reader.read(now(clock)))
    at = now(clock)
    with unit_of_work(read_only=True) as work:
        observe(work.alerts.counts(at), at.timestamp())
    return done

"""What alert rules look at: how sources of figures are registered, and asked."""

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from trajops.alerts.signals import Signal
from trajops.objectives import Objectives
from trajops.stores import UnitOfWork, UnitOfWorkFactory
from trajops.tasks.rules import TaskRules

# One that was made longer ago says nothing of now.
CHECKED_WITHIN = timedelta(minutes=3)

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class View:
    """What a source may look at.

    Attributes:
        work: the control state, to read.
        at: now.
        broken_files: paths of the lake's files that cannot be read.
        quarantined: segments of the spool that had lines which are no rows.
        objectives: what is promised.
        task_rules: bounds of tasks.
    """

    work: UnitOfWork
    at: datetime
    broken_files: Callable[[], list[str]]
    quarantined: Callable[[], list[str]]
    objectives: Callable[[], Objectives]
    task_rules: Callable[[], TaskRules]


Source = Callable[[View], Iterable[Signal]]
_SOURCES: dict[str, tuple[Source, frozenset[str]]] = {}


def source(*names: str) -> Callable[[Source], Source]:
    """Register a function as the source of the signals with these names."""

    def register(function: Source) -> Source:
        taken = set(names) & signal_names()
        assert not taken, f"two sources yield {taken}"
        _SOURCES[function.__name__.strip("_")] = function, frozenset(names)
        return function

    return register


def signal_names() -> frozenset[str]:
    """Every name that a rule may use."""
    return frozenset({"source_failed"}).union(*(names for _, names in _SOURCES.values()))


class SignalReader:
    """Asks every source; `source_failed` says of each whether it could answer.

    Args:
        unit_of_work: opens a transaction.
        broken_files: paths of the lake's files that cannot be read.
        quarantined: segments of the spool that had lines which are no rows.
        objectives: what is promised.
        task_rules: bounds of tasks.
    """

    def __init__(
        self,
        unit_of_work: UnitOfWorkFactory,
        broken_files: Callable[[], list[str]],
        quarantined: Callable[[], list[str]],
        objectives: Callable[[], Objectives],
        task_rules: Callable[[], TaskRules] = TaskRules,
    ) -> None:
        self._unit_of_work = unit_of_work
        self._broken_files = broken_files
        self._quarantined = quarantined
        self._objectives = objectives
        self._task_rules = task_rules
        self._failures: dict[str, str] = {}

    def read(self, at: datetime) -> list[Signal]:
        """All signals of now."""
        found: list[Signal] = []
        for name, (ask, _) in _SOURCES.items():
            try:
                with self._unit_of_work(read_only=True) as work:
                    found += ask(View(work, at, self._broken_files, self._quarantined, self._objectives, self._task_rules))
            except Exception as error:  # one blind eye must not close the others
                failure = f"{type(error).__name__}: {error}"
                if self._failures.get(name) != failure:
                    logger.exception("a source of alert signals failed", exc_info=error, extra={"source": name})
                self._failures[name] = failure
            else:
                self._failures.pop(name, None)
            failure = self._failures.get(name, "")
            detail = f"The source {name} of alert signals cannot be read: {failure}" if failure else ""
            found.append(Signal("source_failed", float(bool(failure)), at, {"source": name}, detail))
        return found

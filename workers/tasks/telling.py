"""What the process of a task tells the worker that has started it: lines of the log, how far it is, what came of it."""

import sys
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import orjson

from data.tasks.files import OUTCOME, PROGRESS, write_whole
from trajops.contracts.figures import grouped
from trajops.contracts.tasks import TaskOutcomeOut
from trajops.tasks.pace import eta_s

T = TypeVar("T")
R = TypeVar("R")
# More often nobody looks.
EVERY_S = 0.3


class Telling:
    """Tells of one task.

    Args:
        folder: of the task.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._told_s = 0.0

    def say(self, line: str) -> None:
        """Write a line to the log."""
        sys.stdout.write(f"{datetime.now(UTC):%H:%M:%S} {line}\n")
        sys.stdout.flush()

    def stage(self, words: str, progress: float) -> None:
        """A new stage begins; its lasting is not known."""
        self._tell(words, progress, None)

    def counted(self, words: str, done: int, total: int, began_s: float, within: tuple[float, float]) -> None:
        """So many of equal parts are done, which is a pace.

        Args:
            words: the stage.
            done: parts.
            total: parts.
            began_s: `time.monotonic()` at the first one.
            within: which share of the whole task the stage is.
        """
        now_s = time.monotonic()
        if done < total and now_s - self._told_s < EVERY_S:
            return
        low, high = within
        share = low + (high - low) * done / max(1, total)
        self._tell(f"{words}: {grouped(done)} of {grouped(total)}", share, eta_s(done, total, now_s - began_s))

    def outcome(self, outcome: TaskOutcomeOut) -> None:
        """The task is done."""
        write_whole(self.folder / OUTCOME, orjson.dumps({"outcome": outcome.model_dump(mode="json")}))

    def failure(self, error: str) -> None:
        """The task has failed."""
        write_whole(self.folder / OUTCOME, orjson.dumps({"error": error}))

    def _tell(self, stage: str, progress: float, left_s: float | None) -> None:
        self._told_s = time.monotonic()
        write_whole(self.folder / PROGRESS, orjson.dumps({"stage": stage, "progress": min(1.0, progress), "eta_s": left_s}))


class CountedCompute:
    """Computes one item after the other, here, and tells of each that is done.

    Args:
        telling: of the task.
        stages: words and share of the whole task of each `map` in turn.
    """

    def __init__(self, telling: Telling, stages: Iterable[tuple[str, tuple[float, float]]]) -> None:
        self._telling = telling
        self._stages = list(stages)

    def map(self, function: Callable[[T], R], items: Iterable[T]) -> list[R]:
        """Apply a function to each item; results in order, the first error raised."""
        given = list(items)
        words, within = self._stages.pop(0)
        began_s, results = time.monotonic(), []
        for number, item in enumerate(given):
            self._telling.counted(words, number, len(given), began_s, within)
            results.append(function(item))
        self._telling.counted(words, len(given), len(given), began_s, within)
        return results

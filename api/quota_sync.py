"""Keeps the buckets of this process in step with the quota that all processes share; no request ever waits for it."""

import asyncio
import logging
import time
from contextlib import suppress
from types import TracebackType
from typing import Self

from api.rate_limits import Limiter
from trajops.errors import Unavailable
from trajops.rate_limits import Report, Settled, SharedQuota

EVERY_S = 0.1
AWAY_EVERY_S = 1.0

logger = logging.getLogger(__name__)


class QuotaSync:
    """Reports what was given out, ten times a second, from within the block. Use on the event loop that answers.

    Args:
        limiter: has the buckets.
        shared: what all processes share.
        every_s: seconds between two reports.
        away_every_s: the same while it is away.

    Attributes:
        is_up: whether the last report was answered.
    """

    def __init__(self, limiter: Limiter, shared: SharedQuota, *, every_s: float = EVERY_S, away_every_s: float = AWAY_EVERY_S) -> None:
        self.is_up = True
        self._limiter = limiter
        self._shared = shared
        self._every_s, self._away_every_s = every_s, away_every_s
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Begin to report."""
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """End it."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def turn(self) -> None:
        """Report once, and go on from the answer; without one every bucket goes on alone."""
        reported = [(bucket, report) for bucket in list(self._limiter.buckets.values()) if (report := bucket.report(time.perf_counter()))]
        if not reported and self.is_up:
            return
        try:
            settled = await asyncio.to_thread(self._settle, [report for _, report in reported])
        except Unavailable as error:
            self._note(error)
            for bucket, _ in reported:
                bucket.go_on_alone()
            return
        self._note(None)
        now_s = time.perf_counter()
        for (bucket, _), answer in zip(reported, settled, strict=True):
            bucket.settle(answer, now_s)

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._every_s if self.is_up else self._away_every_s)
            try:
                await self.turn()
            except Exception:
                # A fault here must not end the task: limits would silently stay what they are.
                logger.exception("the shared quota could not be settled")

    def _settle(self, reports: list[Report]) -> list[Settled]:
        return self._shared.settle(reports)

    def _note(self, error: Unavailable | None) -> None:
        if error is not None and self.is_up:
            logger.warning("%s; each process gives out its own share until it is back", error.message)
        elif error is None and not self.is_up:
            logger.info("the shared quota is back")
        self.is_up = error is None

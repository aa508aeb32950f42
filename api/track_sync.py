"""Keeps the tracks of this process in step with those that all processes share.

What is told to the buffer lies in its outbox until it is sent, a few milliseconds later, together with all else that was told
meanwhile and with all questions: one round trip at a time, on a thread of its own. Nothing waits for it but a request that needs it,
and that for a bounded time; while the shared tracks are away, each process goes on from what it was told itself.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from types import TracebackType
from typing import NamedTuple, Self

from trajops.errors import Unavailable
from trajops.shared_tracks import AgentKey, News, SharedTracks
from trajops.track_buffer import BufferedAgent, TrackBuffer

# How long news may lie, and the shortest time between two exchanges, seconds: each costs as much as a prediction.
EVERY_S, SPACING_S = 0.01, 0.003
AWAY_EVERY_S = 0.5
# How long a request waits, seconds; and how much longer for each agent of a batch.
WAIT_S, WAIT_PER_AGENT_S = 0.05, 1e-4
# News that are sent at once, and that are kept while the shared tracks are away.
AT_ONCE, MAX_OUTBOX = 500, 20_000

logger = logging.getLogger(__name__)


class _Question(NamedTuple):
    """Who waits until so many news are sent, and these agents are taken over."""

    keys: Sequence[AgentKey]
    after: int
    answered: "asyncio.Future[bool]"


class TrackSync:
    """Exchanges tracks from within the block. Use on the event loop that answers, but for `agents`.

    Args:
        buffer: what this process knows.
        shared: what all processes know.

    Attributes:
        is_up: whether the last exchange was answered.
        dropped: news that were given up, because the shared tracks were away for too long.
        alone: agents that were asked for by name and answered from what this process was told itself.
    """

    def __init__(self, buffer: TrackBuffer, shared: SharedTracks) -> None:
        self.is_up = False
        self.dropped = self.alone = 0
        self._buffer, self._shared = buffer, shared
        self._outbox: deque[News] = deque()
        self._sent = 0
        self._questions: list[_Question] = []
        self._wanted = asyncio.Event()
        self._began_s = 0.0
        self._thread = ThreadPoolExecutor(1, "tracks")
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Begin to exchange; whether the shared tracks are there is known then."""
        self._buffer.outbox = self._outbox
        self.is_up = True
        await self.turn()
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Send what is left, and end it."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        self._buffer.outbox = None
        while self._outbox and self.is_up:
            await self.turn()
        self._thread.shutdown()

    async def sent(self) -> None:
        """Wait until others can read what was told to the buffer so far, or for a moment."""
        await self._answered((), WAIT_S)

    async def fetch(self, keys: Sequence[AgentKey]) -> None:
        """Take over what others were told of these agents; without it after a moment."""
        if not await self._answered(keys, WAIT_S + len(keys) * WAIT_PER_AGENT_S):
            self.alone += len(keys)

    def agents(self, scene_id: str | None, limit: int) -> list[BufferedAgent]:
        """Agents that any process was told of lately, the one told of last first; those of this process without the others. Waits."""
        if self.is_up:
            with suppress(Unavailable):
                known = self._buffer.emptied()
                for key, track in reversed(self._shared.agents(scene_id, limit)):
                    known.take_over(*key, track)
                return known.agents(scene_id, limit)
        return self._buffer.agents(scene_id, limit)

    async def turn(self) -> None:
        """One exchange, if there is anything to exchange; or a look whether the shared tracks are back."""
        while len(self._outbox) > MAX_OUTBOX:
            self._outbox.popleft()
            self._sent += 1
            self.dropped += 1
        news = [self._outbox.popleft() for _ in range(min(len(self._outbox), AT_ONCE))]
        asked, self._questions = self._questions, []
        if self.is_up and self._task is not None and not news and not asked:
            return
        self._began_s = time.monotonic()
        keys = list(dict.fromkeys(key for question in asked for key in question.keys))
        try:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._exchange, news, keys)
        except Unavailable as error:
            self._outbox.extendleft(reversed(news))
            self._note(error)
        except Exception:
            self._sent += len(news)
            self.dropped += len(news)
            raise
        else:
            self._sent += len(news)
            self._note(None)
        finally:
            for question in asked:
                self._settle(question)

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            timer = loop.call_later(EVERY_S if self.is_up else AWAY_EVERY_S, self._wanted.set)
            await self._wanted.wait()
            timer.cancel()
            if (pause_s := self._began_s + SPACING_S - time.monotonic()) > 0:
                await asyncio.sleep(pause_s)
            self._wanted.clear()
            try:
                await self.turn()
            except Exception:
                # A fault here must not end the task: nothing would be shared any more, and nobody would know.
                logger.exception("the tracks could not be exchanged")

    def _exchange(self, news: Sequence[News], keys: Sequence[AgentKey]) -> None:
        """On the thread: a batch asks for many agents, and taking them over is work too."""
        for key, track in zip(keys, self._shared.exchange(news, keys), strict=True):
            if track is not None:
                self._buffer.take_over(*key, track)

    async def _answered(self, keys: Sequence[AgentKey], wait_s: float) -> bool:
        """Whether it was exchanged in time."""
        if not self.is_up:
            return False
        loop = asyncio.get_running_loop()
        question = _Question(keys, self._sent + len(self._outbox) if not keys else 0, loop.create_future())
        self._questions.append(question)
        self._wanted.set()
        timer = loop.call_later(wait_s, _end, question.answered, False)
        try:
            return await question.answered
        finally:
            timer.cancel()

    def _settle(self, question: _Question) -> None:
        """Answer it, or keep it for the next exchange where its news were too many for this one."""
        if self.is_up and self._sent < question.after and not question.answered.done():
            self._questions.append(question)
            self._wanted.set()
        else:
            _end(question.answered, self.is_up)

    def _note(self, error: Unavailable | None) -> None:
        if error is not None and self.is_up:
            logger.warning("%s; each process answers from what it was told itself until they are back", error.message)
        elif error is None and not self.is_up:
            logger.info("the shared tracks are back")
        self.is_up = error is None


def _end(answered: "asyncio.Future[bool]", is_answered: bool) -> None:
    if not answered.done():
        answered.set_result(is_answered)

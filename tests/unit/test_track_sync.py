"""The exchange of tracks: nothing waits longer than it may, an outage is borne and ends by itself."""

import asyncio
import logging
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

from api import track_sync
from api.track_sync import TrackSync
from data.stubs import MemoryTracks
from tests.builders import CLOCK_S, a_history
from trajops.clock import SystemClock
from trajops.errors import NotFound, Unavailable
from trajops.shared_tracks import AgentKey, News, SharedTrack
from trajops.track_buffer import TrackBuffer

A: AgentKey = ("s", "a")
FLAT_M = a_history()[0].ravel().tolist()


class Slow(MemoryTracks):
    """Shared tracks that answer when they are let, and count."""

    def __init__(self) -> None:
        super().__init__(a_buffer().rules, time.monotonic)
        self.let = threading.Event()
        self.let.set()
        self.exchanges: list[tuple[int, int]] = []

    def exchange(self, news: Sequence[News], asked: Sequence[AgentKey]) -> list[SharedTrack | None]:
        self.exchanges.append((len(news), len(asked)))
        if not self.let.wait(10):
            raise Unavailable("nobody let it")
        return super().exchange(news, asked)


def a_buffer() -> TrackBuffer:
    return TrackBuffer(SystemClock())


def between_two(body: Callable[[TrackSync, TrackSync, TrackBuffer, TrackBuffer, Slow], Awaitable[None]]) -> None:
    """Run a test on two processes that share one place."""

    async def run() -> None:
        shared = Slow()
        here, there = a_buffer(), a_buffer()
        async with TrackSync(here, shared) as sync, TrackSync(there, shared) as other:
            await body(sync, other, here, there, shared)
            shared.let.set()

    asyncio.run(run())


async def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.002)


def test_what_was_sent_can_be_fetched() -> None:
    async def body(sync: TrackSync, other: TrackSync, here: TrackBuffer, there: TrackBuffer, shared: Slow) -> None:
        here.extend(*A, CLOCK_S, FLAT_M)
        here.observe("s", "b", CLOCK_S, (1.0, 2.0))
        await sync.sent()
        await other.fetch([A, ("s", "b"), ("s", "nobody")])
        assert there.history(*A)[1].ravel().tolist() == pytest.approx(FLAT_M)
        assert [agent.agent_id for agent in other.agents("s", 10)] == ["b", "a"]
        assert (other.alone, other.dropped) == (0, 0)

    between_two(body)


def test_a_history_is_sent_without_anybody_waiting_for_it() -> None:
    async def body(sync: TrackSync, other: TrackSync, here: TrackBuffer, there: TrackBuffer, shared: Slow) -> None:
        here.extend(*A, CLOCK_S, FLAT_M)
        await until(lambda: shared.agents(None, 1) != [])

    between_two(body)


def test_questions_of_one_turn_are_one_exchange() -> None:
    async def body(sync: TrackSync, other: TrackSync, here: TrackBuffer, there: TrackBuffer, shared: Slow) -> None:
        here.observe(*A, CLOCK_S, (0.0, 0.0))
        shared.exchanges.clear()
        await asyncio.gather(sync.sent(), *(sync.fetch([("s", str(number % 5))]) for number in range(40)))
        assert shared.exchanges == [(1, 5)]

    between_two(body)


def test_nothing_is_exchanged_while_nothing_happens() -> None:
    async def body(sync: TrackSync, other: TrackSync, here: TrackBuffer, there: TrackBuffer, shared: Slow) -> None:
        shared.exchanges.clear()
        await asyncio.sleep(0.1)
        assert shared.exchanges == []

    between_two(body)


def test_news_of_one_turn_may_be_more_than_one_exchange(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(track_sync, "AT_ONCE", 10)

    async def body(sync: TrackSync, other: TrackSync, here: TrackBuffer, there: TrackBuffer, shared: Slow) -> None:
        for number in range(35):
            here.observe("s", str(number), CLOCK_S, (0.0, 0.0))
        await sync.sent()
        assert len(shared.agents(None, 100)) == 35

    between_two(body)


def test_nobody_waits_long_for_a_place_that_does_not_answer() -> None:
    async def body(sync: TrackSync, other: TrackSync, here: TrackBuffer, there: TrackBuffer, shared: Slow) -> None:
        here.extend(*A, CLOCK_S, FLAT_M)
        await sync.sent()
        shared.let.clear()
        began_s = time.monotonic()
        here.observe("s", "b", CLOCK_S, (1.0, 2.0))
        await asyncio.gather(sync.sent(), sync.fetch([A]), *(sync.fetch([("s", "b")]) for _ in range(20)))
        assert time.monotonic() - began_s < 1.0, "50 ms, and what a busy machine adds"
        assert sync.alone == 21
        assert here.history(*A)[0] == CLOCK_S
        shared.let.set()
        async with asyncio.timeout(20):
            while not there.agents("s"):
                await other.fetch([("s", "b")])
        assert there.agents("s")[0].agent_id == "b", "and it was sent when it could be"

    between_two(body)


def test_one_who_leaves_takes_nobody_along() -> None:
    async def body(sync: TrackSync, other: TrackSync, here: TrackBuffer, there: TrackBuffer, shared: Slow) -> None:
        shared.let.clear()
        leaving, staying = asyncio.create_task(sync.fetch([A])), asyncio.create_task(sync.fetch([A]))
        await asyncio.sleep(0)
        leaving.cancel()
        shared.let.set()
        await staying
        assert sync.alone == 0
        with pytest.raises(asyncio.CancelledError):
            await leaving

    between_two(body)


def test_an_outage_is_borne_said_once_and_made_up_for(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(track_sync, "AWAY_EVERY_S", 0.01)
    caplog.set_level(logging.INFO, "api.track_sync")

    async def body(sync: TrackSync, other: TrackSync, here: TrackBuffer, there: TrackBuffer, shared: Slow) -> None:
        shared.is_away = True
        here.extend(*A, CLOCK_S, FLAT_M)
        await until(lambda: not sync.is_up)
        caplog.clear()
        await until(lambda: len(shared.exchanges) > 12)
        assert not caplog.records, "said once"
        await sync.fetch([A])
        assert sync.alone == 1
        assert here.history(*A)[0] == CLOCK_S
        with pytest.raises(NotFound):
            there.history(*A)
        here.observe(*A, CLOCK_S + 0.4, (3.2, 0.0))
        assert sync.agents(None, 5) == here.agents(None, 5)
        shared.is_away = False
        await until(lambda: sync.is_up and other.is_up)
        await sync.sent()
        await other.fetch([A])
        assert there.history(*A)[0] == CLOCK_S + 0.4
        assert [record.getMessage() for record in caplog.records if record.levelno == logging.INFO] == ["the shared tracks are back"]

    between_two(body)


def test_what_is_kept_during_an_outage_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(track_sync, "AWAY_EVERY_S", 0.01)
    monkeypatch.setattr(track_sync, "MAX_OUTBOX", 20)

    async def body(sync: TrackSync, other: TrackSync, here: TrackBuffer, there: TrackBuffer, shared: Slow) -> None:
        shared.is_away = True
        for number in range(50):
            here.observe("s", str(number), CLOCK_S, (0.0, 0.0))
        await until(lambda: sync.dropped > 0)
        assert sync.dropped == 30
        shared.is_away = False
        await until(lambda: sync.is_up)
        await sync.sent()
        assert {key[1] for key, _ in shared.agents(None, 100)} == {str(number) for number in range(30, 50)}, "the newest"

    between_two(body)


def test_a_fault_ends_nothing(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    async def body(sync: TrackSync, other: TrackSync, here: TrackBuffer, there: TrackBuffer, shared: Slow) -> None:
        def broken(*_: Any) -> None:
            raise ValueError("broken")

        with monkeypatch.context() as patched:
            patched.setattr(MemoryTracks, "exchange", broken)
            here.observe(*A, CLOCK_S, (0.0, 0.0))
            await sync.sent()
            assert sync.dropped == 1
        here.observe(*A, CLOCK_S + 0.4, (0.0, 0.0))
        await sync.sent()
        assert shared.agents(None, 1)[0][1].newest_s == CLOCK_S + 0.4
        assert "could not be exchanged" in caplog.text

    between_two(body)


def test_what_was_told_last_is_sent_at_the_end_and_nothing_is_kept_for_it_afterwards() -> None:
    async def run() -> None:
        shared, here = Slow(), a_buffer()
        async with TrackSync(here, shared):
            here.observe(*A, CLOCK_S, (0.0, 0.0))
        assert shared.agents(None, 1)[0][0] == A
        here.observe(*A, CLOCK_S, (0.0, 0.0))
        assert here.outbox is None

    asyncio.run(run())

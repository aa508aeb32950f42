"""One turn of the event loop: forecast once, written once, nobody waits for company, nobody suffers for another."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import orjson
import pytest

from api.metrics import Meters
from api.turn import ALWAYS_ADMITTED, Turn
from tests.unit.test_predict_service import CALLER, CHAMPION, Stands, a_query, a_service
from trajops.errors import NoModelReady, NotFound, Overloaded, Unavailable
from trajops.services.predict import Ask, PredictService


class Lines:
    """A sink that keeps each write, or fails while `is_full`."""

    def __init__(self) -> None:
        self.writes: list[list[dict[str, Any]]] = []
        self.is_full = False

    def write_lines(self, table: str, lines: bytes) -> None:
        assert table == "predictions"
        if self.is_full:
            raise Unavailable("the spool cannot be written")
        self.writes.append([orjson.loads(line) for line in lines.splitlines()])


@pytest.fixture
def model() -> Stands:
    return Stands()


@pytest.fixture
def service(model: Stands) -> PredictService:
    return a_service({CHAMPION: model})


@pytest.fixture
def lines() -> Lines:
    return Lines()


def in_a_turn(
    service: PredictService, lines: Lines, asks: list[Ask], *, largest: int = 64, meters: Meters | None = None
) -> list[dict[str, Any] | BaseException]:
    """What each ask of one turn is answered."""

    async def run() -> list[bytes | BaseException]:
        turn = Turn(service, lines, meters or Meters(), largest=largest)
        return await asyncio.gather(*(turn.answer(ask) for ask in asks), return_exceptions=True)

    return [orjson.loads(found) if isinstance(found, bytes) else found for found in asyncio.run(run())]


def asks(service: PredictService, *agents: str, **fields: Any) -> list[Ask]:
    return [service.received(a_query(agent, **fields), CALLER, f"request-{agent}") for agent in agents]


def test_what_comes_in_together_is_forecast_once_and_written_once(service: PredictService, lines: Lines, model: Stands) -> None:
    meters = Meters()
    found = in_a_turn(service, lines, asks(service, "a", "b", "c"), meters=meters)
    assert model.calls == [3]
    [written] = lines.writes
    assert [(event["agent_id"], event["request_id"]) for event in written] == [("a", "request-a"), ("b", "request-b"), ("c", "request-c")]
    assert [answer["prediction_id"] for answer in found] == [event["prediction_id"] for event in written]
    assert meters.predictions == {("trajectory", 1, "champion"): 3}
    assert (meters.batches.count, meters.batches.total) == (1, 3)
    assert 0.0 < meters.model("trajectory", 1, "champion").total < 60.0


def test_an_answer_is_written_before_it_is_given(service: PredictService, lines: Lines) -> None:
    async def run() -> None:
        turn = Turn(service, lines, Meters(), largest=64)
        answered = turn.answer(asks(service, "a")[0])
        answered.add_done_callback(lambda _: seen.append(len(lines.writes)))
        await answered

    seen: list[int] = []
    asyncio.run(run())
    assert seen == [1]


@pytest.mark.parametrize(("largest", "calls"), [(1, [1] * 5), (2, [2, 2, 1]), (5, [5])])
def test_no_batch_is_larger_than_allowed(service: PredictService, lines: Lines, model: Stands, largest: int, calls: list[int]) -> None:
    found = in_a_turn(service, lines, asks(service, *"abcde"), largest=largest)
    assert model.calls == calls
    assert [answer["agent_id"] for answer in found if isinstance(answer, dict)] == [*"abcde"]


def test_a_bad_ask_spoils_only_itself(service: PredictService, lines: Lines) -> None:
    bad = [*asks(service, "x", history=None), *asks(service, "y", model_version=9)]
    [first, unknown, cold, last] = in_a_turn(service, lines, [*asks(service, "a"), *bad, *asks(service, "b")])
    assert isinstance(unknown, NotFound)
    assert isinstance(cold, NoModelReady)
    assert isinstance(first, dict)
    assert isinstance(last, dict)
    assert [event["agent_id"] for event in lines.writes[0]] == ["a", "b"]


def test_what_cannot_be_written_is_not_answered(service: PredictService, lines: Lines) -> None:
    lines.is_full = True
    meters = Meters()
    found = in_a_turn(service, lines, [*asks(service, "a", "b"), *asks(service, "x", history=None)], meters=meters)
    assert [type(one) for one in found] == [Unavailable, Unavailable, NotFound]
    assert (meters.spool_errors, meters.predictions) == (2, {})


def test_a_fault_reaches_everybody_who_waits_and_the_next_turn_works(service: PredictService, lines: Lines) -> None:
    async def run() -> None:
        turn = Turn(service, lines, Meters(), largest=64)
        real = service.answer
        service.answer = fails  # type: ignore[method-assign]
        found = await asyncio.gather(*(turn.answer(ask) for ask in asks(service, "a", "b")), return_exceptions=True)
        assert [type(one) for one in found] == [ZeroDivisionError] * 2
        service.answer = real  # type: ignore[method-assign]
        assert await turn.answer(asks(service, "c")[0])

    def fails(_: Any) -> Any:
        raise ZeroDivisionError("planted")

    asyncio.run(run())


def test_a_caller_that_goes_away_takes_nobody_with_it(service: PredictService, lines: Lines) -> None:
    async def run() -> bytes:
        turn = Turn(service, lines, Meters(), largest=64)
        gone, stays = (turn.answer(ask) for ask in asks(service, "a", "b"))
        gone.cancel()
        return await stays

    assert orjson.loads(asyncio.run(run()))["agent_id"] == "b"


def test_nobody_waits_for_company(service: PredictService, lines: Lines, model: Stands) -> None:
    async def one_after_another(answer: Callable[[Ask], Coroutine[Any, Any, bytes]]) -> None:
        for agent in "abc":
            await answer(asks(service, agent)[0])

    async def run() -> None:
        turn = Turn(service, lines, Meters(), largest=64)
        await asyncio.wait_for(one_after_another(turn.answer), timeout=5)  # type: ignore[arg-type]

    asyncio.run(run())
    assert model.calls == [1, 1, 1]


def test_overload_is_refused_at_once_and_what_was_let_in_is_answered(service: PredictService, lines: Lines) -> None:
    meters = Meters()

    async def run() -> list[bytes | BaseException]:
        turn = Turn(service, lines, meters, largest=64, max_wait_s=0.05)
        turn._cost_s = 0.0025
        let_in, refused = [], []
        [first] = asks(service, "a")
        for ask in [first._replace(query=a_query(f"a{n}")) for n in range(40)]:
            try:
                let_in.append(turn.answer(ask))
            except Overloaded as error:
                refused.append(error)
        found = await asyncio.gather(*let_in)
        assert turn._cost_s != 0.0025, "what this turn has cost is learnt from"
        return [*found, *refused]

    found = asyncio.run(run())
    assert [type(one) for one in found] == [bytes] * 21 + [Overloaded] * 19  # twenty waiting cost 50 ms, which is allowed
    assert "try again" in str(found[-1])
    assert meters.overloads == 19
    assert len(lines.writes[0]) == 21


def test_a_turn_that_is_long_already_lets_nobody_else_in(service: PredictService, lines: Lines) -> None:
    async def run() -> None:
        turn = Turn(service, lines, Meters(), largest=64, max_wait_s=0.05)
        [first] = asks(service, "a")
        for _ in range(ALWAYS_ADMITTED):
            turn.answer(first)
        turn.answer(first._replace(started_ns=first.started_ns + 30_000_000))
        with pytest.raises(Overloaded):
            turn.answer(first._replace(started_ns=first.started_ns + 60_000_000))

    asyncio.run(run())


def test_a_few_are_always_let_in_and_one_slow_turn_is_no_overload(service: PredictService, lines: Lines) -> None:
    async def run() -> None:
        turn = Turn(service, lines, Meters(), largest=64, max_wait_s=0.05)
        turn._learn(3.0)
        assert turn._cost_s < 1e-4
        turn._cost_s = 10.0
        await asyncio.gather(*(turn.answer(ask) for ask in asks(service, *"abcdefghijklmnop")))
        with pytest.raises(Overloaded):
            await asyncio.gather(*[turn.answer(ask) for ask in asks(service, *"abcdefghijklmnopq")])

    asyncio.run(run())


def test_a_model_that_stays_slow_is_known_after_some_turns(service: PredictService, lines: Lines) -> None:
    turn = Turn(service, lines, Meters(), largest=64)
    for _ in range(60):
        turn._learn(0.02)
    assert turn._cost_s == pytest.approx(0.02, rel=0.05)

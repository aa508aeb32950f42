"""The model host: nothing answers before it is warm, a failed load changes nothing, memory is bounded."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import replace
from threading import Event

import pytest

from api.model_host import MAX_ASKED_AT_ONCE, MAX_WAITING, ModelHost
from api.warm_bounds import WarmBounds
from trajops.clock import SystemClock
from trajops.deployments.model_ref import ModelRef
from trajops.deployments.routing import RouteTable, Units
from trajops.errors import NoModelReady, NotFound, RegistryUnavailable, Unavailable, UnsafeModel
from trajops.experiments.routed import canary
from trajops.forecasters.constant_velocity import ConstantVelocity
from trajops.ports import Forecaster
from trajops.services.predict import PredictService
from trajops.track_buffer import TrackBuffer

BOUNDS = WarmBounds(versions=3, size_bytes=1_000, idle_s=3600)


def ref(version: int) -> ModelRef:
    return ModelRef("trajectory", version)


class Routes:
    """A route source whose table the test sets."""

    def __init__(self) -> None:
        self.newest = RouteTable(0)
        self.is_away = False

    def route(self, champion: int, *, challenger: int | None = None, previous: int | None = None) -> None:
        experiments = () if challenger is None else (canary("e", ref(champion), ref(challenger), 0.0, "s"),)
        self.newest = RouteTable(self.newest.epoch + 1, ref(champion), previous and ref(previous), experiments)

    def epoch(self) -> int:
        if self.is_away:
            raise Unavailable("the database does not answer")
        return self.newest.epoch

    def table(self) -> RouteTable:
        return self.newest


class Loads:
    """A loader that remembers what it loaded, and fails for the versions in `broken`."""

    def __init__(self) -> None:
        self.loaded: list[int] = []
        self.broken: dict[int, Exception] = {}

    def load(self, ref: ModelRef) -> Forecaster:
        self.loaded.append(ref.version)
        if ref.version in self.broken:
            raise self.broken[ref.version]
        return ConstantVelocity()

    def size_bytes(self, ref: ModelRef) -> int:
        return 10


class SlowLoads(Loads):
    """A loader of which each version in `held` waits until the test lets it go on."""

    def __init__(self) -> None:
        super().__init__()
        self.held: dict[int, Event] = {}

    def hold(self, *versions: int) -> None:
        self.held = {version: Event() for version in versions}

    def go_on(self) -> None:
        for event in self.held.values():
            event.set()

    def load(self, ref: ModelRef) -> Forecaster:
        self.loaded.append(ref.version)
        if ref.version in self.held:
            assert self.held[ref.version].wait(20)
        return ConstantVelocity()


@pytest.fixture
def slow() -> SlowLoads:
    return SlowLoads()


@pytest.fixture
def routes() -> Routes:
    return Routes()


@pytest.fixture
def loads() -> Loads:
    return Loads()


@pytest.fixture
def host(routes: Routes, loads: Loads) -> ModelHost:
    service = PredictService("trajectory", ConstantVelocity(), TrackBuffer(SystemClock()), SystemClock())
    return ModelHost(routes, loads, service, bounds=BOUNDS, poll_s=60, run=lambda work: work())


@pytest.fixture
def threaded(routes: Routes, slow: "SlowLoads") -> Iterator[ModelHost]:
    """A host that follows on its thread and loads on others, as in production."""
    service = PredictService("trajectory", ConstantVelocity(), TrackBuffer(SystemClock()), SystemClock())
    host = ModelHost(routes, slow, service, bounds=BOUNDS, poll_s=0.01)
    host.start()
    yield host
    slow.go_on()
    host.stop()
    assert not host._thread.is_alive()


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def versions(host: ModelHost) -> set[int]:
    return {ref.version for ref in host.warm}


def test_nothing_is_deployed(host: ModelHost) -> None:
    host.poll()
    readiness = host.readiness()
    assert (readiness.status, readiness.epoch, readiness.warm) == ("not_ready", 0, [])
    assert "no model has been deployed" in readiness.detail


def test_a_new_epoch_is_warm_before_it_answers(host: ModelHost, routes: Routes, loads: Loads) -> None:
    routes.route(1, challenger=2, previous=3)
    host.poll()
    assert loads.loaded == [1, 2, 3]
    readiness = host.readiness()
    assert (readiness.status, readiness.epoch, readiness.missing) == ("ready", 1, [])
    assert readiness.warm == ["trajectory/1", "trajectory/2", "trajectory/3"]


def test_an_unchanged_epoch_loads_and_publishes_nothing(host: ModelHost, routes: Routes, loads: Loads) -> None:
    routes.route(1)
    host.poll()
    before = host._service.snapshot
    host.poll()
    assert host._service.snapshot is before
    assert loads.loaded == [1]


def test_a_version_that_cannot_be_loaded_leaves_the_old_epoch_answering(host: ModelHost, routes: Routes, loads: Loads) -> None:
    routes.route(1)
    host.poll()
    routes.route(2, previous=1)
    loads.broken[2] = RegistryUnavailable("MLflow does not answer")
    host.poll()
    readiness = host.readiness()
    assert (readiness.status, readiness.epoch, readiness.missing) == ("ready", 1, ["trajectory/2"])
    assert "epoch 2 must wait for trajectory/2: MLflow does not answer" in readiness.detail
    assert host._service.snapshot.table.champion == ref(1)


def test_a_failed_load_is_tried_again_after_a_growing_pause(
    host: ModelHost, routes: Routes, loads: Loads, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = 100.0
    monkeypatch.setattr("api.model_loads.time.monotonic", lambda: now_s)
    routes.route(1)
    loads.broken[1] = RegistryUnavailable("away")
    attempts = []
    for _ in range(20):
        host.poll()
        attempts.append(len(loads.loaded))
        now_s += 0.5
    assert attempts == [1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3, 4, 4, 4, 4, 4, 4]  # after 0, 1, 2 and 4 seconds
    loads.broken.clear()
    now_s += 30
    host.poll()
    assert host.readiness().status == "ready"
    assert host.loads.ended == {(ref(1), "failed"): 4, (ref(1), "warm"): 1}
    assert host.loads.seconds.count == 1


def test_a_previous_champion_that_is_gone_does_not_hold_up_a_release(host: ModelHost, routes: Routes, loads: Loads) -> None:
    routes.route(2, previous=1)
    loads.broken[1] = NotFound("there is no version 1")
    host.poll()
    readiness = host.readiness()
    assert (readiness.status, readiness.epoch, readiness.missing) == ("ready", 1, ["trajectory/1"])
    assert "there is no version 1" in readiness.detail


@pytest.mark.parametrize(
    ("route", "broken", "stand_in"),
    [
        ({"champion": 2, "previous": 1}, [2], "trajectory/1"),
        ({"champion": 2}, [2], "baseline/0"),
        ({"champion": 2, "previous": 1}, [1, 2], "baseline/0"),
        ({"champion": 2, "challenger": 3, "previous": 1}, [3], "trajectory/2"),
    ],
    ids=["previous", "baseline", "baseline-where-previous-fails-too", "champion-for-a-broken-challenger"],
)
def test_at_a_cold_start_somebody_stands_in_for_what_cannot_be_loaded(
    host: ModelHost, routes: Routes, loads: Loads, route: dict[str, int], broken: list[int], stand_in: str
) -> None:
    routes.route(**route)
    loads.broken = {version: UnsafeModel(f"version {version} runs code") for version in broken}
    host.poll()
    readiness = host.readiness()
    assert (readiness.status, readiness.epoch, readiness.stand_in) == ("ready", 0, stand_in)
    assert set(readiness.missing) == {f"trajectory/{version}" for version in broken}
    assert readiness.detail.startswith(f"{stand_in} stands in and answers everybody; epoch 1 must wait for trajectory/")
    assert "runs code" in readiness.detail
    assert host._service.snapshot.table.champion is None
    assert host.wait_until_settled(0)


def test_a_stand_in_leaves_when_the_routes_can_answer(
    host: ModelHost, routes: Routes, loads: Loads, monkeypatch: pytest.MonkeyPatch
) -> None:
    routes.route(2, previous=1)
    loads.broken[2] = RegistryUnavailable("away")
    host.poll()
    assert host.readiness().stand_in == "trajectory/1"
    loads.broken.clear()
    monkeypatch.setattr("api.model_loads.time.monotonic", lambda: time.time() + 1e9)
    host.poll()
    host.poll()
    assert (host.epoch, host.readiness().stand_in, host.readiness().detail) == (1, None, "epoch 1 answers")


def test_a_champion_that_is_being_loaded_is_waited_for_and_said_so(threaded: ModelHost, routes: Routes, slow: SlowLoads) -> None:
    slow.hold(1)
    routes.route(1)
    wait_until(lambda: slow.loaded == [1] and threaded.readiness().missing == ["trajectory/1"])
    snapshot = threaded._service.snapshot
    assert snapshot.leader is None
    with pytest.raises(NoModelReady, match=r"trajectory/1 is champion and cannot answer yet: trajectory/1 is being loaded"):
        snapshot.assign(Units("s", "a", "c"))
    assert threaded.readiness().detail == "epoch 1 is known and its models are being loaded; nothing answers meanwhile"
    slow.go_on()
    wait_until(lambda: threaded.epoch == 1)


def test_routes_that_cannot_be_read_at_a_cold_start_are_not_said_to_be_empty(host: ModelHost, routes: Routes) -> None:
    routes.route(1)
    routes.is_away = True
    host.poll()
    with pytest.raises(NoModelReady, match="the routes are not known: the database does not answer"):
        host._service.snapshot.lead()
    assert host.readiness().detail == "nothing answers; the newest epoch is not known: the database does not answer"


def test_without_the_database_the_last_epoch_answers(host: ModelHost, routes: Routes) -> None:
    routes.route(1)
    host.poll()
    routes.is_away = True
    host.poll()
    readiness = host.readiness()
    assert (readiness.status, readiness.epoch) == ("ready", 1)
    assert "the database does not answer" in readiness.detail
    routes.is_away = False
    host.poll()
    assert host.readiness().detail == "epoch 1 answers"


def test_a_version_that_is_asked_for_is_warmed_beside_the_routed_ones(host: ModelHost, routes: Routes) -> None:
    routes.route(1)
    host.poll()
    future = host.ask(ref(5))
    assert host.ask(ref(5)) is future
    host.poll()
    assert future.result(0) is None
    assert versions(host) == {1, 5}
    assert host.epoch == 1


def test_asking_for_what_does_not_exist_ends_with_the_reason(host: ModelHost, routes: Routes, loads: Loads) -> None:
    loads.broken[5] = NotFound("there is no version 5")
    future = host.ask(ref(5))
    host.poll()
    with pytest.raises(NotFound, match="no version 5"):
        future.result(0)
    again = host.ask(ref(5))
    host.poll()
    assert isinstance(again.exception(0), NotFound)
    assert loads.loaded == [5]  # the registry is not asked again within the pause


def test_asking_for_too_many_at_once_is_refused(host: ModelHost) -> None:
    for version in range(1, MAX_WAITING + 1):
        host.ask(ref(version))
    with pytest.raises(Unavailable):
        host.ask(ref(MAX_WAITING + 1))


def test_of_the_versions_that_are_not_routed_the_least_recently_asked_for_goes(host: ModelHost, routes: Routes) -> None:
    routes.route(1)
    host.poll()
    for version in (2, 3):
        host.ask(ref(version))
        host.poll()
    host._service.asked_ns[ref(2)] = time.time_ns() + 1_000  # asked for again since
    assert host.evictions == 0
    host.ask(ref(4))
    host.poll()
    assert versions(host) == {1, 2, 4}
    assert host.evictions == 1
    assert host.loads.ended == {(ref(version), "warm"): 1 for version in (1, 2, 3, 4)}


def test_routed_versions_stay_even_above_the_bound(host: ModelHost, routes: Routes) -> None:
    host._bounds = replace(BOUNDS, versions=2)
    routes.route(1, challenger=2, previous=3)
    host.poll()
    assert versions(host) == {1, 2, 3}
    routes.route(4, previous=1)
    host.poll()
    assert versions(host) == {1, 4}


def test_the_bytes_of_warm_versions_are_bounded(host: ModelHost, routes: Routes) -> None:
    host._bounds = replace(BOUNDS, versions=10, size_bytes=35)
    routes.route(1)
    for version in (2, 3, 4):
        host.ask(ref(version))
        host.poll()
    assert versions(host) == {1, 3, 4}
    assert host.warm_bytes == 30


def test_a_version_that_nobody_asks_for_is_unloaded_and_a_routed_one_is_not(host: ModelHost, routes: Routes) -> None:
    routes.route(1)
    for version in (2, 3):
        host.ask(ref(version))
        host.poll()
    host._service.asked_ns[ref(2)] -= int(3601e9)
    host._service.asked_ns[ref(1)] = 0
    host.poll()
    assert versions(host) == {1, 3}
    host.ask(ref(2))
    host.poll()
    assert versions(host) == {1, 2, 3}, "it comes back when somebody asks"


def test_a_version_for_which_there_is_no_room_is_not_loaded_for_ever(host: ModelHost, routes: Routes, loads: Loads) -> None:
    host._bounds = replace(BOUNDS, versions=1)
    routes.route(1)
    host.poll()
    future = host.ask(ref(5))
    host.poll()
    host.poll()
    assert future.result(0) is None
    assert loads.loaded == [1, 5]


def test_slow_loads_do_not_delay_a_rollback_between_warm_versions(threaded: ModelHost, routes: Routes, slow: SlowLoads) -> None:
    routes.route(1, challenger=2)
    wait_until(lambda: threaded.epoch == 1)
    slow.hold(10, 11, 12, 13)
    asked = [threaded.ask(ref(version)) for version in (11, 12, 13)]
    routes.route(1, challenger=10)
    wait_until(lambda: 10 in slow.loaded and 12 in slow.loaded)
    wait_until(lambda: threaded.readiness().detail == "epoch 2 is known and its models are being loaded; epoch 1 answers meanwhile")
    routes.route(2, previous=1)
    wait_until(lambda: threaded.epoch == 3)
    assert not any(future.done() for future in asked)
    assert threaded.readiness().status == "ready"
    slow.go_on()
    for future in asked:
        assert future.result(10) is None


def test_of_the_versions_asked_for_few_are_loaded_at_once(threaded: ModelHost, slow: SlowLoads) -> None:
    slow.hold(1, 2, 3, 4)
    asked = [threaded.ask(ref(version)) for version in (1, 2, 3, 4)]
    wait_until(lambda: len(slow.loaded) == MAX_ASKED_AT_ONCE)
    for _ in range(5):
        threaded.poll()
    assert slow.loaded == [1, 2]
    slow.held[2].set()
    asked[1].result(10)
    wait_until(lambda: slow.loaded == [1, 2, 3])
    assert not asked[0].done()


def test_stopping_does_not_wait_for_a_slow_load(routes: Routes, slow: SlowLoads, threaded: ModelHost) -> None:
    slow.hold(1)
    routes.route(1)
    wait_until(lambda: slow.loaded == [1])
    started_s = time.monotonic()
    threaded.stop()
    assert time.monotonic() - started_s < 5


def test_it_is_settled_when_the_newest_epoch_answers_or_it_is_known_why_not(threaded: ModelHost, routes: Routes, slow: SlowLoads) -> None:
    slow.hold(1)
    fresh = ModelHost(routes, slow, threaded._service, bounds=BOUNDS, poll_s=0.01)
    routes.route(1)
    fresh.start()
    try:
        assert not fresh.wait_until_settled(0.1)
        slow.go_on()
        assert fresh.wait_until_settled(10)
        assert fresh.epoch == 1
    finally:
        fresh.stop()


@pytest.mark.parametrize("trouble", ["nothing deployed", "no database", "broken model"])
def test_what_cannot_be_mended_by_waiting_is_not_waited_for(host: ModelHost, routes: Routes, loads: Loads, trouble: str) -> None:
    if trouble == "broken model":
        routes.route(1)
        loads.broken[1] = NotFound("there is no version 1")
    routes.is_away = trouble == "no database"
    assert not host.wait_until_settled(0)
    host.poll()
    assert host.wait_until_settled(0)


def test_the_thread_follows_when_it_is_woken(host: ModelHost, routes: Routes) -> None:
    host.start()
    try:
        future: Future[None] = host.ask(ref(9))
        future.result(10)
        routes.route(1)
        host.wake()
        wait_until(lambda: host.epoch == 1)
    finally:
        host.stop()

"""One body for the shared tracks in memory and in Redis."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from data.stubs import MemoryTracks, SetClock
from data.tracks.redis_tracks import AT_ONCE, RedisTracks
from tests.builders import CLOCK_NS, CLOCK_S, a_history
from tests.conftest import free_port
from trajops.errors import EnvironmentProblem, NotFound, Unavailable
from trajops.shared_tracks import AgentKey, News, Rules, SharedTrack
from trajops.track_buffer import TrackBuffer

RULES = TrackBuffer(SetClock(CLOCK_NS)).rules
Make = Callable[[Rules], Any]
A: AgentKey = ("s", "a")
FLAT_M = a_history()[0].ravel().tolist()


@pytest.fixture(params=["memory", "redis"])
def make(request: pytest.FixtureRequest) -> Iterator[Make]:
    """Shared tracks with the given rules; several made in one test are the same place where that can be."""
    if request.param == "memory":
        yield lambda rules: MemoryTracks(rules, time.monotonic)
        return
    opened: list[RedisTracks] = []

    def connected(rules: Rules) -> RedisTracks:
        opened.append(RedisTracks(request.getfixturevalue("redis_server").url, rules))
        return opened[-1]

    yield connected
    for one in opened:
        one.close()


@pytest.fixture
def tracks(make: Make) -> Any:
    return make(RULES)


def one(at_s: float, x_m: float = 0.0, *, key: AgentKey = A, seen_ns: int = CLOCK_NS) -> News:
    return News(*key, seen_ns, at_s, (x_m, 0.0))


def whole(at_s: float, x_m: float = 0.0) -> News:
    return News(*A, CLOCK_NS, at_s, [x_m + number for number in FLAT_M])


def known(tracks: Any, key: AgentKey = A) -> SharedTrack | None:
    [found] = tracks.exchange([], [key])
    return found


def times(tracks: Any) -> list[float]:
    track = known(tracks)
    return [] if track is None else [point[0] for point in track.points]


def test_what_was_told_is_known_in_the_order_in_which_it_was_told(tracks: Any) -> None:
    assert known(tracks) is None
    [found] = tracks.exchange([one(10.4, 2.5), one(10.0, 1 / 3)], [A])
    assert found == SharedTrack(CLOCK_NS / 1e9, 10.4, [(10.4, 2.5, 0.0), (10.0, 1 / 3, 0.0)])
    tracks.exchange([one(10.8)], [])
    assert times(tracks) == [10.4, 10.0, 10.8]


def test_agents_are_answered_in_the_order_asked_for(tracks: Any) -> None:
    keys = [("s", f"a{number}") for number in range(AT_ONCE + 3)]
    tracks.exchange([one(float(number), key=key) for number, key in enumerate(keys)], [])
    asked = [keys[2], ("t", "a2"), keys[-1], keys[2]]
    assert [found and found.newest_s for found in tracks.exchange([], asked)] == [2.0, None, float(AT_ONCE + 2), 2.0]


@pytest.mark.parametrize(
    ("this", "other"),
    [
        (("s", "a"), ("s/", "a")),
        (("s:1", "a"), ("s", ":1a")),
        (("1:s", "a"), ("1", ":sa")),
        (("s\n", "\0a"), ("s", "\n\0a")),
        (("ß", "行人"), ("行", "人ß")),
    ],
    ids=ascii,
)
def test_names_may_have_any_characters(tracks: Any, this: AgentKey, other: AgentKey) -> None:
    tracks.exchange([one(1.0, key=this), one(2.0, key=other)], [])
    assert [found and found.newest_s for found in tracks.exchange([], [this, other])] == [1.0, 2.0]
    assert {key for key, _ in tracks.agents(None, 10)} == {this, other}
    assert [key for key, _ in tracks.agents(this[0], 10)] == [this]


def test_a_later_history_takes_the_place_of_the_one_before(tracks: Any) -> None:
    tracks.exchange([one(CLOCK_S - 3.0), whole(CLOCK_S)], [])
    tracks.exchange([whole(CLOCK_S + 0.4, 0.4)], [])
    assert len(times(tracks)) == 9
    assert times(tracks)[-1] == CLOCK_S + 0.4
    tracks.exchange([whole(CLOCK_S)], [])  # late, and the newer one spans the window by itself
    assert times(tracks)[-1] == CLOCK_S + 0.4
    tracks.exchange([one(CLOCK_S + 0.5), whole(CLOCK_S + 0.8), whole(CLOCK_S + 0.9)], [])
    assert len(times(tracks)) == 9 + 1 + 8 - 1, "what single positions have followed stays, but for what no window reaches"


def test_what_no_window_can_reach_is_cut(tracks: Any) -> None:
    tracks.exchange([one(CLOCK_S + 0.1 * step) for step in range(300)], [])
    assert times(tracks)[0] == pytest.approx(CLOCK_S + 29.9 - RULES.keep_s, abs=0.11)
    tracks.exchange([one(CLOCK_S + 30.0 + 0.001 * step) for step in range(3 * RULES.most)], [])
    assert len(times(tracks)) == RULES.most
    assert times(tracks)[-1] == pytest.approx(CLOCK_S + 30.0 + 0.001 * (3 * RULES.most - 1))


@pytest.mark.parametrize("restart", [one(CLOCK_S - 100.0), whole(CLOCK_S - 100.0)], ids=["a position", "a history"])
def test_a_clock_that_was_set_back_starts_the_track_anew(tracks: Any, restart: News) -> None:
    tracks.exchange([one(CLOCK_S), whole(CLOCK_S + 0.4)], [])
    tracks.exchange([one(CLOCK_S - 50.0)], [])
    assert len(times(tracks)) == 10, "not by more than the time to live: that is very late news"
    tracks.exchange([restart], [])
    assert times(tracks)[-1] == CLOCK_S - 100.0
    assert len(times(tracks)) == len(restart.flat_m) // 2


def test_an_agent_that_nobody_tells_of_is_forgotten(make: Make) -> None:
    tracks = make(RULES._replace(ttl_s=0.3))
    tracks.exchange([one(1.0)], [])
    assert known(tracks) is not None
    assert tracks.agents(None, 10)
    deadline = time.monotonic() + 10
    while known(tracks) is not None:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert tracks.agents(None, 10) == []
    assert tracks.agents("s", 10) == []


def test_agents_are_listed_by_the_time_they_were_told_of_last(tracks: Any) -> None:
    for second, agent_id in enumerate("abcab"):
        tracks.exchange([one(1.0, key=("s", agent_id), seen_ns=CLOCK_NS + 2_000_000_000 * second)], [])
    tracks.exchange([one(1.0, key=("t", "z"), seen_ns=CLOCK_NS + 1_000_000_000)], [])
    assert [key[1] for key, _ in tracks.agents(None, 10)] == ["b", "a", "c", "z"]
    assert [key[1] for key, _ in tracks.agents("s", 2)] == ["b", "a"]
    assert [key[1] for key, _ in tracks.agents("u", 10)] == []
    late = CLOCK_NS + int((RULES.ttl_s + 5) * 1e9)
    tracks.exchange([one(1.0, key=("s", "new"), seen_ns=late)], [])
    assert tracks.agents("s", 10)[0][0] == ("s", "new")


@pytest.mark.parametrize("seed", range(20))
def test_a_process_that_was_told_nothing_answers_as_one_that_was_told_everything(tracks: Any, seed: int) -> None:
    """Random news of every kind, told through two processes in turn: late, doubled, histories, clocks set back and forth."""
    rng = np.random.default_rng(seed)
    clock = SetClock(CLOCK_NS)
    single, third, both = TrackBuffer(clock), TrackBuffer(clock), [TrackBuffer(clock), TrackBuffer(clock)]
    at_s = CLOCK_S
    for number in range(80):
        clock.advance(0.1)
        at_s += rng.choice([0.1, 0.25, 0.4, -0.3, 70.0, -70.0, -59.0], p=[0.3, 0.25, 0.3, 0.08, 0.02, 0.03, 0.02])
        news = whole(at_s, float(number)) if rng.random() < 0.3 else one(at_s, float(number))
        told = both[int(rng.integers(2))]
        for buffer in (single, told):
            if len(news.flat_m) > 2:
                buffer.extend(*A, news.observed_at_s, news.flat_m)
            else:
                buffer.observe(*A, news.observed_at_s, (news.flat_m[0], news.flat_m[1]))
        [shared] = tracks.exchange([news._replace(seen_ns=clock.now_ns())], [A])
        if number % 7 == 0:
            third.take_over(*A, shared)
    fresh = third.emptied()
    for buffer in (fresh, third, *both):
        buffer.take_over(*A, shared)
    wanted = _all_of(single)
    assert _all_of(fresh) == wanted, "exactly"
    for buffer in (third, *both):
        assert _all_of(buffer)[0] == wanted[0]


def _all_of(buffer: TrackBuffer) -> tuple[float, int, Any]:
    [agent] = buffer.agents()
    try:
        history = buffer.history(*A)[1].tolist()
    except Exception as error:  # noqa: BLE001 - the refusal is part of the answer
        history = str(error)
    return agent.observed_at_s, agent.observations, history


# Taking over


def test_an_older_process_follows_a_clock_that_was_set_back_and_keeps_what_it_was_told_since(tracks: Any) -> None:
    clock = SetClock(CLOCK_NS)
    here = TrackBuffer(clock)
    here.observe(*A, CLOCK_S, (0.0, 0.0))
    clock.advance(1.0)
    [shared] = tracks.exchange([one(5.0, seen_ns=clock.now_ns())], [A])
    here.take_over(*A, shared)
    assert here.agents()[0].observed_at_s == 5.0
    clock.advance(1.0)
    here.observe(*A, 900.0, (0.0, 0.0))  # set forward, and the others do not know it yet
    here.take_over(*A, shared)
    assert (here.agents()[0].observed_at_s, here.agents()[0].observations) == (900.0, 1)


def test_taking_over_is_no_mention(tracks: Any) -> None:
    clock = SetClock(CLOCK_NS)
    here = TrackBuffer(clock, ttl_s=60.0)
    [shared] = tracks.exchange([whole(CLOCK_S)], [A])
    clock.advance(50.0)
    here.take_over(*A, shared)
    here.history(*A)
    clock.advance(11.0)
    with pytest.raises(NotFound):
        here.history(*A)
    here.take_over(*A, shared)
    assert here.agents() == []


# Redis alone


def test_redis_that_goes_and_comes_back_is_used_again(redis_server: Any) -> None:
    tracks = RedisTracks(redis_server.url, RULES)
    tracks.exchange([one(1.0)], [])
    redis_server.kill()
    for ask in (lambda: tracks.exchange([one(1.0)], []), lambda: tracks.exchange([], []), lambda: tracks.agents(None, 5)):
        with pytest.raises(Unavailable, match="Redis cannot be reached"):
            ask()
    redis_server.start()
    assert tracks.exchange([], []) == []
    assert known(tracks) is None, "it has forgotten everything"
    tracks.exchange([one(2.0)], [])
    assert times(tracks) == [2.0]
    tracks.close()


def test_nothing_stays_in_redis(redis_server: Any) -> None:
    import redis

    tracks = RedisTracks(redis_server.url, RULES)
    tracks.exchange([one(1.0), one(1.0, key=("t", "b"))], [])
    with redis.Redis.from_url(redis_server.url) as client:
        assert len(client.keys("trajops:tracks:1:*")) == 5
        assert all(0 < client.pttl(key) <= 60_000 for key in client.keys("*"))
    tracks.close()


@pytest.mark.parametrize("url", ["127.0.0.1:6379", "http://127.0.0.1:6379", "redis://127.0.0.1:port"])
def test_a_url_that_cannot_be_used_is_refused(url: str) -> None:
    with pytest.raises(EnvironmentProblem, match="TRAJOPS_REDIS_URL"):
        RedisTracks(url, RULES)


def test_redis_that_is_away_is_no_reason_not_to_start() -> None:
    tracks = RedisTracks(f"redis://127.0.0.1:{free_port()}/0", RULES)
    with pytest.raises(Unavailable):
        tracks.exchange([], [])
    tracks.close()

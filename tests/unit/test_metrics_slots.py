"""Adding up what processes counted: in any order, through any sequence of starts, kills and replacements."""

import os
import random
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from tempfile import mkdtemp

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from api.metrics_merge import Counts, Rows, Snapshot, added, alone, combined
from api.metrics_slots import MetricsSlot, stored

KINDS = ("a", "b")
a_count = st.integers(0, 2**40).map(float)
some_counts = st.dictionaries(
    st.sampled_from(["requests", "seconds"]),
    st.dictionaries(st.tuples(st.sampled_from(KINDS)), st.lists(a_count, min_size=3, max_size=3), max_size=2),
    max_size=2,
)


class Counting:
    """A process as its slot sees it: a few counters, and one gauge."""

    def __init__(self, folder: Path, **options: int) -> None:
        self.mine = dict.fromkeys(KINDS, 0)
        self.seconds = 0.0
        self.gauge = 1.0
        self.slot = MetricsSlot(folder, self._read, every_s=3600.0, **options)
        self.slot.save()

    def _read(self) -> Snapshot:
        hits: Rows = {(kind,): [count] for kind, count in self.mine.items()}
        return Snapshot({"hits": hits, "seconds": alone(self.seconds)}, {"up": alone(self.gauge)})

    def kill(self) -> None:
        """End as kill -9 does: the system frees the lock, and nothing is written."""
        assert self.slot._fd is not None
        os.close(self.slot._fd)
        self.slot._fd = None

    def told(self) -> dict[str, float]:
        """What a scrape of this process says."""
        return self.told_with_seconds()[0]

    def told_with_seconds(self) -> tuple[dict[str, float], float]:
        counts = added(one.counts for one in self.slot.everybody())
        return {kind: counts["hits"][kind,][0] for kind in KINDS}, counts["seconds"][()][0]

    def up(self) -> float:
        return combined([one.gauges for one in self.slot.everybody()], {"up": "sum"})["up"][()][0]


def hits(counts: Counts) -> float:
    return sum(number for [number] in counts.get("hits", {}).values())


@given(some_counts, some_counts, some_counts)
def test_counts_add_up_in_any_order_and_grouping(a: Counts, b: Counts, c: Counts) -> None:
    assert added([a, b, c]) == added([added([a, b]), c]) == added([a, added([b, c])]) == added([c, a, b])
    assert added([a, {}]) == added([a]) == a


@given(st.permutations(range(5)), st.lists(st.floats(0.0, 1e9), min_size=5, max_size=5), st.integers(0, 4), st.floats(0.0, 1.0))
def test_no_order_lowers_a_sum_by_its_last_digit(order: list[int], seconds: list[float], one: int, more: float) -> None:
    def told(places: list[int], terms: list[float]) -> float:
        return added({"seconds": alone(terms[place])} for place in places)["seconds"][()][0]

    grown = [value + more * (place == one) for place, value in enumerate(seconds)]
    assert told(order, seconds) == told(sorted(order), seconds) <= told(order, grown)


@given(some_counts, some_counts)
def test_adding_lowers_nothing_and_changes_no_part(a: Counts, b: Counts) -> None:
    before = added([a]), added([b])
    total = added([a, b])
    assert (a, b) == before
    assert all(x >= y for family, rows in a.items() for key, row in rows.items() for x, y in zip(total[family][key], row, strict=True))


def test_rows_of_different_lengths_are_not_mixed() -> None:
    with pytest.raises(ValueError, match="zip"):
        added([{"seconds": {(): [1.0]}}, {"seconds": {(): [1.0, 2.0]}}])


def test_a_gauge_is_combined_as_its_family_says() -> None:
    parts = [{"epoch": alone(3.0), "newest": alone(3.0), "agents": alone(10.0)}, {"epoch": alone(4.0), "newest": alone(4.0)}]
    found = combined([*parts, {"agents": alone(5.0), "unknown": alone(1.0)}], {"epoch": "min", "newest": "max", "agents": "sum"})
    assert found == {"epoch": alone(3.0), "newest": alone(4.0), "agents": alone(15.0)}


class Processes(RuleBasedStateMachine):
    """Processes come, count, are scraped, leave, are killed and replaced, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(mkdtemp())
        self.alive: list[Counting] = []
        self.counted = dict.fromkeys(KINDS, 0)
        self.lost_at_most = dict.fromkeys(KINDS, 0)
        self.unsaved: dict[Counting, dict[str, int]] = {}
        self.seen, self.seen_s = dict.fromkeys(KINDS, 0.0), 0.0

    def teardown(self) -> None:
        for process in self.alive:
            process.kill()
        shutil.rmtree(self.folder)

    def one(self, data: st.DataObject) -> Counting:
        return data.draw(st.sampled_from(self.alive))

    @rule()
    def start(self) -> None:
        if len(self.alive) < 4:
            process = Counting(self.folder)
            self.alive.append(process)
            self.unsaved[process] = dict.fromkeys(KINDS, 0)

    @precondition(lambda self: self.alive)
    @rule(data=st.data(), kind=st.sampled_from(KINDS), times=st.integers(1, 1000), seconds=st.floats(0.0, 10.0))
    def count(self, data: st.DataObject, kind: str, times: int, seconds: float) -> None:
        process = self.one(data)
        process.seconds += seconds
        process.mine[kind] += times
        self.counted[kind] += times
        self.unsaved[process][kind] += times

    @precondition(lambda self: self.alive)
    @rule(data=st.data())
    def save(self, data: st.DataObject) -> None:
        process = self.one(data)
        process.slot.save()
        self.unsaved[process] = dict.fromkeys(KINDS, 0)

    @precondition(lambda self: self.alive)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        process = self.one(data)
        process.slot.close()
        self.alive.remove(process)
        del self.unsaved[process]

    @precondition(lambda self: self.alive)
    @rule(data=st.data())
    def kill(self, data: st.DataObject) -> None:
        process = self.one(data)
        process.kill()
        self.alive.remove(process)
        for kind, times in self.unsaved.pop(process).items():
            self.lost_at_most[kind] += times

    @precondition(lambda self: self.alive)
    @rule(data=st.data())
    def scrape(self, data: st.DataObject) -> None:
        process = self.one(data)
        told, told_s = process.told_with_seconds()
        assert told_s >= self.seen_s, "not by the last digit either"
        self.unsaved[process] = dict.fromkeys(KINDS, 0)
        for kind in KINDS:
            waiting = sum(unsaved[kind] for unsaved in self.unsaved.values())
            assert told[kind] >= self.seen[kind], "a counter never goes down"
            assert told[kind] == self.counted[kind] - self.lost_at_most[kind] - waiting, "exact but for what is not written yet"
        assert process.up() == len(self.alive), "gauges are those of the living"
        self.seen, self.seen_s = told, told_s


Processes.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
test_any_sequence_of_processes = Processes.TestCase


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "metrics"


@pytest.fixture
def make(folder: Path) -> Iterator[Callable[..., Counting]]:
    made: list[Counting] = []

    def new(**options: int) -> Counting:
        made.append(Counting(folder, **options))
        return made[-1]

    yield new
    for one in made:
        if one.slot._fd is not None:
            one.kill()


def slots(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*.json"))


def test_a_slot_is_taken_by_one_and_its_next_process_goes_on_from_it(make: Callable[..., Counting], folder: Path) -> None:
    first, second = make(), make()
    assert slots(folder) == ["0.json", "1.json"]
    first.mine["a"] = 5
    first.slot.save()
    first.kill()
    third = make()
    assert slots(folder) == ["0.json", "1.json"]
    third.mine["a"] = 2
    assert third.told()["a"] == second.told()["a"] == 7


def test_what_was_told_is_not_taken_back_by_another_process_or_by_a_kill(make: Callable[..., Counting]) -> None:
    first, second = make(), make()
    first.mine["a"] = 5
    assert second.told()["a"] == 0, "no snapshot yet"
    assert first.told()["a"] == 5
    assert second.told()["a"] == 5
    first.kill()
    assert second.told()["a"] == make().told()["a"] == 5


def test_fewer_processes_keep_the_counts_and_drop_the_gauges(make: Callable[..., Counting]) -> None:
    first, second = make(), make()
    second.mine["a"] = 3
    assert first.up() == 2
    second.slot.close()
    assert (first.told()["a"], first.up()) == (3, 1)


def test_a_folder_deleted_under_the_processes_loses_what_the_dead_counted_only(make: Callable[..., Counting], folder: Path) -> None:
    dead, first, second = make(), make(), make()
    dead.mine["a"], first.mine["a"], second.mine["a"] = 100, 10, 1
    dead.slot.close()
    assert (first.told()["a"], second.told()["a"]) == (110, 111)
    shutil.rmtree(folder)
    second.slot.save()
    first.slot.save()
    assert slots(folder) == ["1.json", "2.json"], "nobody's slot is taken by another"
    assert first.told()["a"] == second.told()["a"] == 11


def test_deleted_locks_let_nothing_count_twice(make: Callable[..., Counting], folder: Path) -> None:
    first, second = make(), make()
    first.mine["a"], second.mine["a"] = 10, 1
    for one in (first, second):
        one.slot.save()
    for path in folder.glob("*.lock"):
        path.unlink()
    for one in (second, first, second):
        one.slot.save()
    assert first.told()["a"] == second.told()["a"] == 11


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"writer": "w", "counts": {"hits": 1}, "gauges": {}}'])
def test_a_slot_that_cannot_be_read_counts_as_nothing(
    make: Callable[..., Counting], folder: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    first = make()
    make().kill()
    (folder / "1.json").write_bytes(content)
    first.mine["a"] = 4
    assert first.told()["a"] == 4
    assert "counts as nothing" in caplog.text


def test_a_folder_that_cannot_be_written_costs_the_sum_and_no_number(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "metrics"
    folder.write_text("a file where the folder should be")
    process = Counting(folder)
    process.mine["a"] = 3
    assert process.told()["a"] == 3
    assert process.slot.failures == 2
    assert caplog.text.count("cannot be written") == 1, "said once"
    folder.unlink()
    assert process.told()["a"] == 3
    assert process.slot.failures == 2
    assert slots(folder) == ["0.json"]
    process.kill()


def test_too_many_rows_are_forgotten_when_nobody_else_is_about(make: Callable[..., Counting], folder: Path) -> None:
    first, second = make(), make()
    first.mine["a"] = second.mine["a"] = 7
    first.slot.close()
    second.slot.save()
    third = make(max_rows=3)
    assert third.told()["a"] == 14, "somebody lives: nothing is forgotten"
    second.slot.close()
    third.slot.close()
    assert make(max_rows=6).told()["a"] == 14, "two slots of three rows are not too many"
    last = make(max_rows=3)
    assert last.told()["a"] == 14


def test_a_start_alone_begins_anew_where_there_are_too_many_rows(make: Callable[..., Counting], folder: Path) -> None:
    first, second = make(), make()
    first.mine["a"] = second.mine["a"] = 7
    first.slot.close()
    second.kill()
    assert make(max_rows=3).told() == {"a": 0, "b": 0}
    assert slots(folder) == ["0.json"]


def test_numbers_of_another_release_are_carried_along(make: Callable[..., Counting], folder: Path) -> None:
    other = MetricsSlot(folder, lambda: Snapshot({"old": alone(5.0)}, {}), every_s=3600.0)
    other.save()
    other.close()
    make().slot.save()
    assert stored(folder)["old"] == alone(5.0)


def test_the_thread_saves_and_a_close_saves_last(folder: Path) -> None:
    counted, twice = [0.0], threading.Event()
    reads = iter(range(10**9))

    def read() -> Snapshot:
        if next(reads) >= 2:
            twice.set()
        return Snapshot({"hits": alone(counted[0])}, {"up": alone(1.0)})

    slot = MetricsSlot(folder, read, every_s=0.001)
    slot.open()
    assert twice.wait(20)
    counted[0] = 9.0
    slot.close()
    assert hits(stored(folder)) == 9.0


def test_a_fault_of_a_counter_does_not_end_the_thread(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    reads, survived = iter(range(10**9)), threading.Event()

    def read() -> Snapshot:
        number = next(reads)
        if number == 1:
            raise RuntimeError("a counter broke")
        if number == 3:
            survived.set()
        return Snapshot({}, {})

    slot = MetricsSlot(folder, read, every_s=0.001)
    slot.open()
    assert survived.wait(20)
    slot.close()
    assert "a counter broke" in caplog.text


def test_processes_that_start_together_share_no_slot(folder: Path) -> None:
    """Threads stand for the processes: a lock belongs to the descriptor, not to the process."""
    made: list[Counting] = []
    begin = threading.Barrier(8)

    def start() -> None:
        begin.wait(20)
        process = Counting(folder)
        process.mine["a"] = 1
        for _ in range(5):
            with suppress(IndexError):
                random.choice(made).told()
        process.slot.save()
        made.append(process)

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({process.slot._name for process in made}) == 8
    assert all(process.told()["a"] == 8 for process in made)
    for process in made:
        process.kill()

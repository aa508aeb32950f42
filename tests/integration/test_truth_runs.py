"""Runs of the truth join over a real lake: what waits, what is made up for, what fails and is done again, in whatever rhythm."""

import itertools
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data.lake import missed_truth
from data.lake.bulk import BulkWriter
from data.lake.missed_truth import MadeUp, MissedTruth
from data.lake.scoring import TruthRules
from tests.builders import CLOCK_NS, CLOCK_S, a_history, a_prediction_event
from tests.truth_house import NOTHING, S, TruthHouse, a_truth_house, counts
from trajops.errors import Unavailable
from trajops.telemetry import PredictionEvent
from trajops.truth import Samples


@pytest.fixture
def house(tmp_path: Path) -> Iterator[TruthHouse]:
    with a_truth_house(tmp_path) as house:
        yield house


def test_predictions_wait_for_their_time_and_then_are_left(house: TruthHouse) -> None:
    join = house.join(wait_s=20)
    house.predict(a_prediction_event())
    house.observe(1)
    assert join.run(CLOCK_NS + 24 * S)["candidates"] == 1
    house.observe(2)
    assert join.run(CLOCK_NS + 25 * S)["candidates"] == 0, "older than 20 s and its horizon of 4.8 s"
    assert house.join(wait_s=20).run(CLOCK_NS + 25 * S)["candidates"] == 0
    found = house.outcome()
    assert found is not None
    assert found.steps_scored == 1


def test_a_range_is_scored_whatever_its_age(house: TruthHouse) -> None:
    old_ns = CLOCK_NS - 24 * 3600 * S
    for number in range(3):
        shift_s = number * 7200.0
        house.predict(a_prediction_event(f"p{number}", received_ns=old_ns + round(shift_s * S), observed_at_s=CLOCK_S + shift_s))
        for step in range(1, 13):
            house.observe(step, received_ns=old_ns + round((shift_s + step) * S), observed_at_s=CLOCK_S + shift_s + step * 0.4)
    house.compact()
    join = house.join()
    assert join.run(CLOCK_NS) == {"candidates": 0, "scored": 0, "completed": 0}
    assert house.make_up(old_ns, CLOCK_NS) == MadeUp(candidates=3, scored=3, completed=3, until_ns=CLOCK_NS)
    assert house.make_up(old_ns, CLOCK_NS).scored == 0
    assert house.lake.count("outcomes") == 3


@pytest.mark.parametrize("is_rebuilt", [False, True])
def test_what_became_of_each_prediction_is_counted_once(house: TruthHouse, monkeypatch: pytest.MonkeyPatch, is_rebuilt: bool) -> None:
    if is_rebuilt:
        monkeypatch.setattr("data.lake.truth.MEMORY_NS", 1)
    house.predict(
        a_prediction_event("whole", agent_id="whole"),
        a_prediction_event("again", agent_id="whole"),
        a_prediction_event("half", agent_id="half", model_version=2),
        a_prediction_event("alone", agent_id="alone", variant="challenger"),
        a_prediction_event("singular", agent_id="whole", cov_m2=[1.0, 1.0, 1.0] * 12),
    )
    house.observe(*range(1, 13), agent_id="whole")
    house.observe(1, 2, 3, agent_id="half")
    join, ends = house.join(), Counter[Any]()
    for second in (1, 6, 7, 60, 123, 126, 127, 200, 300):
        join.run(CLOCK_NS + second * S)
        ends.update(join.take_ends())
    assert ends == {
        (1, "champion", "complete"): 2,
        (1, "champion", "unscorable"): 1,
        (2, "champion", "partial"): 1,
        (1, "challenger", "none"): 1,
    }


@pytest.mark.parametrize("most_rows", [10, 1000])
def test_a_range_in_many_slices_is_scored_as_one(house: TruthHouse, monkeypatch: pytest.MonkeyPatch, most_rows: int) -> None:
    monkeypatch.setattr(missed_truth, "SLICE_ROWS", 3)
    for number in range(40):
        house.predict(
            a_prediction_event(
                f"p{number:02d}",
                received_ns=CLOCK_NS + number * 20 * S,
                observed_at_s=CLOCK_S + number * 20,
                agent_id=f"a{number}",
            )
        )
        for step in range(1, 13):
            house.observe(
                step,
                agent_id=f"a{number}",
                observed_at_s=CLOCK_S + number * 20 + step * 0.4,
                received_ns=CLOCK_NS + number * 20 * S + step * S,
            )
    end_ns = CLOCK_NS + 800 * S
    pieces = [house.make_up(CLOCK_NS, end_ns, most_rows)]
    while pieces[-1].until_ns < end_ns:
        pieces.append(house.make_up(pieces[-1].until_ns, end_ns, most_rows))
    assert (len(pieces) > 2) == (most_rows < 40)
    assert sum(piece.scored for piece in pieces) == 40
    assert house.lake.count("outcomes") == 40
    house.compact()
    assert house.lake.count("outcomes") == 40


def test_truth_is_read_in_parts_where_little_was_predicted_and_much_observed(house: TruthHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is bounded by what is read, and not by what is scored."""
    monkeypatch.setattr(missed_truth, "SLICE_SAMPLES", 50)
    for minute in range(10):
        at_ns, at_s = CLOCK_NS + minute * 60 * S, CLOCK_S + minute * 60
        house.predict(a_prediction_event(f"p{minute}", received_ns=at_ns, observed_at_s=at_s))
        for step in range(1, 41):
            house.observe(step, received_ns=at_ns + step * S, observed_at_s=at_s + step * 0.4)
    read: list[int] = []
    settled = Samples.settled
    monkeypatch.setattr(Samples, "settled", lambda self: read.append(len(self)) or settled(self))
    assert house.make_up(CLOCK_NS, CLOCK_NS + 600 * S).completed == 10
    assert max(read) < 250, "of more than 400: two minutes on both sides belong to a slice"


def test_a_piece_that_cannot_be_scored_keeps_and_counts_what_was_scored_before(house: TruthHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(missed_truth, "SLICE_ROWS", 1)
    for minute in range(3):
        house.predict(a_prediction_event(f"p{minute}", received_ns=CLOCK_NS + minute * 60 * S, observed_at_s=CLOCK_S + minute * 60))
    files = BulkWriter(house.folder / "lake", house.database.engine, house.clock)
    missed, end_ns = MissedTruth(house.lake, files, TruthRules(), house.clock), CLOCK_NS + 180 * S
    read = house.lake.read

    def refuse_the_third(tables: Any, work: Any, **options: Any) -> Any:
        if tables == ("outcomes",) and options["since_ns"] > CLOCK_NS + 60 * S:
            raise Unavailable("no memory")
        return read(tables, work, **options)

    monkeypatch.setattr(house.lake, "read", refuse_the_third)
    done = missed.score(CLOCK_NS, end_ns, 10**6)
    assert done.candidates == 2
    assert CLOCK_NS + 60 * S < done.until_ns <= CLOCK_NS + 120 * S
    for _ in range(2):
        with pytest.raises(Unavailable):
            missed.score(done.until_ns, end_ns, 10**6)
    assert missed.take_ends() == {(1, "champion", "none"): 2}


def test_two_modes_and_other_horizons_are_scored_side_by_side(house: TruthHouse) -> None:
    right = (a_history()[0, -1] + np.arange(1, 13)[:, None] * [0.4, 0.0]).ravel().tolist()
    wrong = (a_history()[0, -1] + np.arange(1, 13)[:, None] * [0.4, 0.5]).ravel().tolist()
    circle = [0.04, 0.0, 0.04]
    house.predict(
        a_prediction_event("two", mean_m=wrong + right, cov_m2=circle * 24, weights=[0.7, 0.3]),
        a_prediction_event("short", mean_m=right[:8], cov_m2=circle * 4),
        a_prediction_event("long history", history_m=[0.0] * 8 + a_history().ravel().tolist()),
        a_prediction_event("odd", mean_m=right[:-1]),
        a_prediction_event("singular", cov_m2=[1.0, 1.0, 1.0] * 12),
    )
    house.observe(*range(1, 13))
    join = house.join()
    assert counts(join.run(CLOCK_NS + 6 * S)) == {"scored": 3, "completed": 3}
    assert counts(join.run(CLOCK_NS + 7 * S)) == NOTHING
    two, short = house.outcome("two"), house.outcome("short")
    assert two is not None
    assert short is not None
    assert (two.fde_m, two.is_miss) == (pytest.approx(6.0), False)
    assert (short.steps_scored, short.is_complete, len(short.step_error_m)) == (4, True, 4)


def test_an_outcome_that_could_not_be_written_is_written_by_the_next_run(house: TruthHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    house.predict(a_prediction_event())
    house.observe(*range(1, 13))
    join = house.join()

    def refuse(*_: Any) -> None:
        raise Unavailable("no space")

    with monkeypatch.context() as patch:
        patch.setattr(house.outcomes, "write_lines", refuse)
        with pytest.raises(Unavailable):
            join.run(CLOCK_NS + 6 * S)
    assert counts(join.run(CLOCK_NS + 6 * S)) == {"scored": 1, "completed": 1}


def test_what_another_worker_scored_is_not_scored_again(house: TruthHouse) -> None:
    first, second = house.join(), house.join()
    house.predict(a_prediction_event())
    house.observe(1)
    assert first.run(CLOCK_NS + 1 * S)["scored"] == 1
    house.observe(*range(2, 13))
    assert second.run(CLOCK_NS + 6 * S)["scored"] == 1
    assert first.run(CLOCK_NS + 70 * S)["scored"] == 0, "its memory is older than a minute, so it reads the lake anew"


def test_runs_in_any_rhythm_agree(house: TruthHouse) -> None:
    """The same traffic, joined after every event or once at the end, gives the same outcomes."""
    rng = np.random.default_rng(5)
    path_m = np.cumsum(rng.normal(0.3, 0.1, (40, 2)), axis=0)
    event_of: dict[int, list[PredictionEvent]] = {}
    for number in range(28):
        at = number + 8
        event_of.setdefault(at, []).append(
            a_prediction_event(
                f"p{number:02d}",
                received_ns=CLOCK_NS + round(at * 0.4 * S),
                observed_at_s=CLOCK_S + (at - 1) * 0.4,
                history_m=path_m[number:at].ravel().tolist(),
            )
        )
    results = []
    for rhythm in (1, 7, 1000):
        scene_id = f"rhythm-{rhythm}"
        join = house.join()
        for at in range(8, 36):
            for event in event_of[at]:
                event.scene_id, event.prediction_id = scene_id, f"{scene_id}-{event.prediction_id[-3:]}"
                house.predict(event)
            if at % rhythm == 0:
                join.run(CLOCK_NS + round(at * 0.4 * S))
        join.run(CLOCK_NS + round(36 * 0.4 * S))
        results.append([(entry.outcome.steps_scored, entry.outcome.ade_m, entry.outcome.nll) if entry.outcome else None
                        for entry in house.lake.recent_predictions(50, scene_id=scene_id)])  # fmt: skip
    assert len(results[0]) == 28
    assert sum(entry is not None for entry in results[0]) == 27
    for one, other in itertools.pairwise(results):
        for left, right in zip(one, other, strict=True):
            assert left == pytest.approx(right)

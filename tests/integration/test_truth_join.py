"""The truth join over a real lake: partial, late, out of order, contradicting, repeated, compacted."""

import dataclasses
import itertools
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from data.lake import missed_truth, scoring
from data.lake.bulk import BulkWriter
from data.lake.missed_truth import MadeUp, MissedTruth
from data.lake.scoring import TruthRules
from data.lake.spool import Spool
from data.lake.truth import TruthJoin
from tests.builders import CLOCK_NS, CLOCK_S, a_history, a_prediction_event, an_observation_event, an_outcome_event
from tests.lake_house import House, a_house
from trajops.clock import utc
from trajops.contracts.predictions import OutcomeOut
from trajops.errors import Unavailable
from trajops.telemetry import OutcomeEvent, PredictionEvent
from trajops.truth import Samples

S = 10**9
NOTHING = {"scored": 0, "completed": 0}


@dataclass
class TruthHouse(House):
    """A lake, and the join over it."""

    outcomes: Spool = field(kw_only=True)

    def join(self, **options: Any) -> TruthJoin:
        return TruthJoin(self.lake, self.outcomes, TruthRules(**options), self.clock)

    def make_up(self, since_ns: int, until_ns: int, most_rows: int = 10**6) -> MadeUp:
        """Score what nobody waits for any more."""
        files = BulkWriter(self.folder / "lake", self.database.engine, self.clock)
        return MissedTruth(self.lake, files, TruthRules(), self.clock).score(since_ns, until_ns, most_rows)

    def predict(self, *events: PredictionEvent) -> None:
        self.spool.write("predictions", events)

    def observe(self, *steps: float, **changes: Any) -> None:
        """The default agent is seen where it walks straight on: the default prediction is exactly right."""
        self.spool.write("observations", [an_observation_event(step, **changes) for step in steps])

    def outcome(self, prediction_id: str = "p1") -> OutcomeOut | None:
        return self.lake.prediction(prediction_id).outcome

    def compact(self) -> dict[str, int]:
        self.outcomes.close()
        return super().compact()


@pytest.fixture
def house(tmp_path: Path) -> Iterator[TruthHouse]:
    with a_house(tmp_path) as house, Spool(tmp_path / "spool", sync_s=3600) as outcomes:
        house.clock.ns = CLOCK_NS
        yield TruthHouse(**vars(house), outcomes=outcomes)


def counts(report: dict[str, int]) -> dict[str, int]:
    return {name: report[name] for name in ("scored", "completed")}


def test_without_truth_there_is_no_outcome(house: TruthHouse) -> None:
    house.predict(a_prediction_event())
    assert house.join().run(CLOCK_NS + S) == {"candidates": 1, "scored": 0, "completed": 0}
    assert house.outcome() is None
    assert house.join().run(CLOCK_NS) == {"candidates": 1, "scored": 0, "completed": 0}


@pytest.mark.parametrize("is_compacted", [False, True], ids=["live", "compacted"])
@pytest.mark.parametrize("is_remembered", [True, False], ids=["one join", "a new join each time"])
def test_partial_truth_is_scored_and_completed_later(house: TruthHouse, is_compacted: bool, is_remembered: bool) -> None:
    join = house.join()

    def run(after_s: float) -> dict[str, int]:
        if is_compacted:
            house.compact()
        house.clock.ns = CLOCK_NS + round(after_s * S)
        return counts((join if is_remembered else house.join()).run(house.clock.ns))

    house.predict(a_prediction_event())
    assert run(0.1) == NOTHING
    house.observe(*range(1, 4), y_m=0.5)
    assert run(1.3) == {"scored": 1, "completed": 0}
    partial = house.outcome()
    assert partial is not None
    assert (partial.steps_scored, partial.is_complete, partial.fde_m, partial.is_miss) == (3, False, None, None)
    assert partial.ade_m == pytest.approx(0.5)
    assert partial.step_error_m == [pytest.approx(0.5)] * 3 + [None] * 9
    assert run(1.4) == NOTHING, "nothing new, nothing written"
    house.observe(*range(4, 13), y_m=0.5)
    assert run(5.0) == {"scored": 1, "completed": 1}
    complete = house.outcome()
    assert complete is not None
    assert (complete.steps_scored, complete.is_complete, complete.is_miss) == (12, True, False)
    assert (complete.ade_m, complete.fde_m) == pytest.approx((0.5, 0.5))
    # Inside where 0.5 ≤ σ·√4.605 with σ = 0.1·step: from the third step on.
    assert complete.inside_share == pytest.approx(10 / 12)
    assert complete.truth_delay_s == pytest.approx(4.8)
    assert run(5.1) == NOTHING
    assert house.lake.count("outcomes") == 2


def test_a_written_line_is_an_outcome_event(house: TruthHouse) -> None:
    house.predict(a_prediction_event())
    house.observe(1, 2, 3)
    house.clock.ns = CLOCK_NS + 9
    house.join().run(CLOCK_NS + 2 * S)
    (path,) = (house.folder / "spool").glob("outcomes.*")
    written = OutcomeEvent(**orjson.loads(path.read_bytes()))
    assert written == OutcomeEvent(
        **{
            **dataclasses.asdict(an_outcome_event()),
            "scored_ns": CLOCK_NS + 9,
            "steps_scored": 3,
            "is_complete": False,
            "ade_m": pytest.approx(0.0, abs=1e-9),
            "fde_m": None,
            "is_miss": None,
            "nll": pytest.approx(np.mean([np.log(2 * np.pi * (0.1 * step) ** 2) for step in (1, 2, 3)])),
            "cv_ade_m": pytest.approx(0.0, abs=1e-9),
            "truth_delay_s": pytest.approx(1.2),
            "step_error_m": [0.0] * 3 + [None] * 9,
            "step_nll": pytest.approx([np.log(2 * np.pi * (0.1 * step) ** 2) for step in (1, 2, 3)] + [None] * 9, abs=1e-5),
            "step_inside": [True] * 3 + [None] * 9,
            "interpolated_s": 0.0,
            "speed_mps": 1.0,
            "expected_ade_m": pytest.approx(np.sqrt(np.pi / 2) * 0.65, abs=1e-4),
            "radius_m": pytest.approx(np.sqrt(2 * np.log(10)) * 0.65, abs=1e-4),
            "step_distance2": [0.0] * 3 + [None] * 9,
        }
    )


def test_truth_comes_from_the_histories_of_later_predictions(house: TruthHouse) -> None:
    join = house.join()
    for number in range(14):
        history_m = a_history()[0] + [0.4 * number, 0.0]
        house.predict(
            a_prediction_event(
                f"p{number}",
                received_ns=CLOCK_NS + round(number * 0.4 * S),
                observed_at_s=CLOCK_S + number * 0.4,
                history_m=history_m.ravel().tolist(),
                mean_m=(history_m[-1] + np.arange(1, 13)[:, None] * [0.4, 0.1]).ravel().tolist(),
            )
        )
        join.run(CLOCK_NS + round(number * 0.4 * S))
    assert [house.outcome(f"p{number}").steps_scored for number in range(13)] == [12, 12, *range(11, 0, -1)]  # type: ignore[union-attr]
    assert house.outcome("p13") is None
    first = house.outcome("p0")
    assert first is not None
    assert first.step_error_m == pytest.approx([0.1 * step for step in range(1, 13)])
    assert first.fde_m == pytest.approx(1.2)


def test_one_later_history_bridges_what_was_not_observed(house: TruthHouse) -> None:
    """The next prediction comes 8 steps later; its history holds all steps between."""
    later = a_prediction_event(
        "p2", received_ns=CLOCK_NS + 4 * S, observed_at_s=CLOCK_S + 3.2, history_m=(a_history()[0] + [3.2, 0]).ravel().tolist()
    )
    house.predict(a_prediction_event("p1"), later)
    assert counts(house.join().run(CLOCK_NS + 4 * S)) == {"scored": 1, "completed": 0}
    found = house.outcome("p1")
    assert found is not None
    assert (found.steps_scored, found.ade_m) == (8, pytest.approx(0.0, abs=1e-9))


def test_late_and_out_of_order_truth_gives_the_same_outcome(house: TruthHouse) -> None:
    steps = list(range(1, 13))
    for number in range(4):
        scene_id = f"s{number}"
        random.Random(number).shuffle(steps)
        join = house.join()
        house.predict(a_prediction_event(scene_id, scene_id=scene_id))
        for place, step in enumerate(steps):
            received_ns = CLOCK_NS + (place + 1) * 5 * S
            house.observe(step, scene_id=scene_id, received_ns=received_ns, y_m=step / 10)
            join.run(received_ns)
        found = house.outcome(scene_id)
        assert found is not None
        assert found.is_complete
        assert found.ade_m == pytest.approx(0.65)


def test_truth_that_came_before_the_prediction_counts(house: TruthHouse) -> None:
    """A client may post positions first and ask about an earlier moment afterwards."""
    house.observe(*range(1, 13))
    house.predict(a_prediction_event(received_ns=CLOCK_NS + 6 * S))
    assert counts(house.join().run(CLOCK_NS + 7 * S)) == {"scored": 1, "completed": 1}


def test_dropped_frames_are_bridged_up_to_the_gap_and_not_beyond(house: TruthHouse) -> None:
    house.predict(a_prediction_event())
    house.observe(2, 4, 5, 9, 12)  # gaps of 0.8, 0.8, 0.4, 1.6 and 1.2 s
    house.join(gap_s=1.0).run(CLOCK_NS + 10 * S)
    found = house.outcome()
    assert found is not None
    assert [step for step, error in enumerate(found.step_error_m, 1) if error is not None] == [1, 2, 3, 4, 5, 9, 12]
    assert found.ade_m == pytest.approx(0.0, abs=1e-9)
    assert found.fde_m == pytest.approx(0.0, abs=1e-9)
    house.join(gap_s=2.0).run(CLOCK_NS + 10 * S)
    wider = house.outcome()
    assert wider is not None
    assert wider.is_complete


def test_another_rate_is_interpolated(house: TruthHouse) -> None:
    house.predict(a_prediction_event())
    house.observe(*np.arange(0.3, 13, 0.7).tolist())
    house.join().run(CLOCK_NS + 10 * S)
    found = house.outcome()
    assert found is not None
    assert found.steps_scored == 12
    assert found.ade_m == pytest.approx(0.0, abs=1e-6)


def test_of_contradicting_positions_the_first_received_counts(house: TruthHouse) -> None:
    house.predict(a_prediction_event())
    house.observe(*range(1, 13), y_m=9.0, received_ns=CLOCK_NS + 8 * S)
    house.observe(*range(1, 13), y_m=0.25, received_ns=CLOCK_NS + 7 * S)
    house.join().run(CLOCK_NS + 10 * S)
    found = house.outcome()
    assert found is not None
    assert found.ade_m == pytest.approx(0.25)


@pytest.mark.parametrize("is_remembered", [True, False], ids=["one join", "a new join each time"])
@pytest.mark.parametrize("last", [12, 4], ids=["complete", "partial"])
def test_a_late_observation_replaces_what_was_interpolated(house: TruthHouse, is_remembered: bool, last: int) -> None:
    """Step 2 seemed to lie on the line between its neighbours and was 1.2 m off it."""
    join = house.join()

    def run(after_s: float) -> dict[str, int]:
        # Scored by a worker whose clock is behind: the time of scoring must not decide which outcome is better.
        house.clock.ns = CLOCK_NS - round(after_s * S)
        return counts((join if is_remembered else house.join()).run(CLOCK_NS + round(after_s * S)))

    once = {"scored": 1, "completed": int(last == 12)}
    house.predict(a_prediction_event())
    house.observe(1, *range(3, last + 1))
    assert run(6) == once
    assert run(7) == NOTHING
    house.observe(2, y_m=1.2, received_ns=CLOCK_NS + 30 * S)
    assert run(30) == once
    assert run(31) == NOTHING
    assert counts(house.join().run(CLOCK_NS + 32 * S)) == NOTHING
    assert house.make_up(CLOCK_NS, CLOCK_NS + S).scored == 0
    assert house.lake.count("outcomes") == 2
    for _ in range(2):
        found = house.outcome()
        assert found is not None
        assert (found.steps_scored, found.is_complete) == (last, last == 12)
        assert found.ade_m == pytest.approx(1.2 / last)
        assert found.step_error_m[1] == pytest.approx(1.2)
        assert found.truth_delay_s == pytest.approx(30.0)
        figures = house.lake.performance(utc(CLOCK_NS), utc(CLOCK_NS + S))
        assert figures.step_error_m["1"][1] == pytest.approx(1.2)
        drift = house.lake.drift_rows(utc(CLOCK_NS), utc(CLOCK_NS + S))
        assert drift["ade_m"].to_pylist() == ([pytest.approx(0.1)] if last == 12 else [None])
        house.compact()


def test_a_late_range_replaces_what_was_interpolated(house: TruthHouse) -> None:
    house.predict(a_prediction_event())
    house.observe(1, *range(3, 13))
    end_ns = CLOCK_NS + S
    assert house.make_up(CLOCK_NS, end_ns) == MadeUp(candidates=1, scored=1, completed=1, until_ns=end_ns)
    house.observe(2, y_m=1.2, received_ns=CLOCK_NS + 30 * S)
    assert house.make_up(CLOCK_NS, end_ns) == MadeUp(candidates=1, scored=1, completed=1, until_ns=end_ns)
    assert house.make_up(CLOCK_NS, end_ns) == MadeUp(candidates=0, scored=0, completed=0, until_ns=end_ns)
    found = house.outcome()
    assert found is not None
    assert found.ade_m == pytest.approx(0.1)


def test_truth_at_another_rate_comes_closer_with_each_late_observation(house: TruthHouse) -> None:
    """Never seen at a step's very time: steps 2 and 3 lie between 0.7 and 1.3 s, then on either side of 1.0 s."""
    house.predict(a_prediction_event())
    house.observe(1.75, 3.25)
    join = house.join()
    assert counts(join.run(CLOCK_NS + 6 * S)) == {"scored": 1, "completed": 0}
    house.observe(2.5, y_m=0.4, received_ns=CLOCK_NS + 20 * S)
    assert counts(join.run(CLOCK_NS + 20 * S)) == {"scored": 1, "completed": 0}
    found = house.outcome()
    assert found is not None
    assert found.step_error_m[:4] == pytest.approx([0.0, 0.4 / 3, 0.4 / 3, None], abs=1e-5)
    assert counts(join.run(CLOCK_NS + 21 * S)) == NOTHING
    (*_, last) = [orjson.loads(line) for line in b"".join(map(Path.read_bytes, (house.folder / "spool").glob("outcomes.*"))).splitlines()]
    assert last["interpolated_s"] == pytest.approx(0.7 + 0.3 + 0.3)


def test_an_outcome_of_before_interpolation_was_noted_is_left_alone(house: TruthHouse) -> None:
    old = dataclasses.asdict(an_outcome_event())
    del old["interpolated_s"]
    house.outcomes.write_lines("outcomes", orjson.dumps(old, option=orjson.OPT_APPEND_NEWLINE))
    house.predict(a_prediction_event())
    house.observe(*range(1, 13))
    assert house.join().run(CLOCK_NS + 6 * S)["candidates"] == 0
    house.compact()
    assert house.join().run(CLOCK_NS + 6 * S)["candidates"] == 0


def test_what_waits_for_closer_truth_is_not_looked_at_without_need(house: TruthHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    join = house.join()
    house.predict(a_prediction_event())
    house.observe(1, *range(3, 13))
    join.run(CLOCK_NS + 6 * S)
    join.run(CLOCK_NS + 12 * S)  # what was received in the last seconds is read twice; this run leaves it behind
    asked: list[int] = []
    real = scoring.positions_at
    monkeypatch.setattr(scoring, "positions_at", lambda *args, **options: asked.append(len(args[1])) or real(*args, **options))
    house.observe(40, received_ns=CLOCK_NS + 16 * S)
    house.observe(3, received_ns=CLOCK_NS + 16 * S, agent_id="a2")
    assert join.run(CLOCK_NS + 16 * S)["candidates"] == 1
    assert asked == [], "a position after its horizon, and one of somebody else"
    house.observe(2, received_ns=CLOCK_NS + 26 * S)
    join.run(CLOCK_NS + 26 * S)
    assert asked == [1]


def test_agents_of_the_same_name_in_other_scenes_are_others(house: TruthHouse) -> None:
    house.predict(a_prediction_event("p1"), a_prediction_event("p2", scene_id="s2"), a_prediction_event("p3", agent_id="a2"))
    house.observe(*range(1, 13), scene_id="s2")
    assert counts(house.join().run(CLOCK_NS + 6 * S)) == {"scored": 1, "completed": 1}
    assert house.outcome("p1") is None
    assert house.outcome("p2") is not None
    assert house.outcome("p3") is None


@pytest.mark.parametrize("is_made_up", [False, True], ids=["in time", "made up for"])
def test_a_shadow_is_scored_as_the_answer_it_stands_beside(house: TruthHouse, is_made_up: bool) -> None:
    beside = {"source": "shadow", "shadow_of": "p1", "variant": "treatment", "model_version": 2, "experiment_id": "e1"}
    worse_m = [m + 0.25 * (place % 2) for place, m in enumerate(a_prediction_event().mean_m)]
    house.predict(
        a_prediction_event("p1", experiment_id="e1", variant="control"),
        a_prediction_event("p1-treatment", mean_m=worse_m, **beside),
        a_prediction_event("asked", source="probe"),
    )
    house.observe(*range(1, 13))
    done = house.make_up(CLOCK_NS, CLOCK_NS + S)._asdict() if is_made_up else house.join().run(CLOCK_NS + 6 * S)
    assert (done["candidates"], done["scored"], done["completed"]) == (2, 2, 2)
    query = "SELECT prediction_id, source, variant, experiment_id, shadow_of, round(ade_m, 6) FROM outcomes ORDER BY prediction_id"
    for _ in range(2):
        assert house.lake.read(("outcomes",), lambda cursor, prefix: cursor.execute(prefix + query).fetchall()) == [
            ("p1", "live", "control", "e1", None, 0.0),
            ("p1-treatment", "shadow", "treatment", "e1", "p1", 0.25),
        ]
        house.compact()


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

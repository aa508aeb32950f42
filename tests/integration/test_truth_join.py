"""What truth the join finds in a real lake: partial, late, out of order, contradicting, interpolated."""

import dataclasses
import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import orjson
import pytest

from data.lake import scoring
from data.lake.missed_truth import MadeUp
from tests.builders import CLOCK_NS, CLOCK_S, a_history, a_prediction_event, an_outcome_event
from tests.truth_house import NOTHING, S, TruthHouse, a_truth_house, counts
from trajops.clock import utc
from trajops.telemetry import OutcomeEvent


@pytest.fixture
def house(tmp_path: Path) -> Iterator[TruthHouse]:
    with a_truth_house(tmp_path) as house:
        yield house


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

"""The job `shadow`: from when on it looks after each treatment, what it passes over, and what it costs where nobody is shadowed."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

from data.stubs import MemoryDatabase, SetClock
from tests.deployment_builders import WHO, a_database, live
from tests.experiment_builders import a_plan, three_arms
from tests.unit.test_shadows import Stands, an_answer
from trajops.clock import now
from trajops.contracts.experiments import ExperimentPlan
from trajops.deployments.model_ref import ModelRef
from trajops.deployments.routing import RouteTable
from trajops.errors import Unavailable
from trajops.forecasters.constant_velocity import ConstantVelocity
from trajops.services.deployments import Deployments
from trajops.services.experiments import Experiments
from trajops.services.shadows import Beside, Shadows, Treatment, Wanted
from trajops.stores import UnitOfWork
from trajops.telemetry import PredictionEvent
from workers.jobs.shadow import JOB, MOST_COUNTED_NS, NEXT, PIECE_NS, Bounds, Shadow

S = 10**9
BOUNDS = Bounds(most=100, look_back_ns=60 * S, slack_ns=5 * S)


class Found:
    def __init__(self, newest: list[Beside], total: int) -> None:
        self.newest, self.total = newest, total


class Desk:
    """The job over a lake that the test sets: `rows` answers, one a second before now, each of an agent of its own."""

    def __init__(self, plan: ExperimentPlan | None = None, **bounds: Any) -> None:
        self.clock = SetClock()
        self.database: MemoryDatabase = a_database()
        self.releases = Deployments(self.database.unit_of_work, clock=self.clock)
        live(self.releases, 1)
        for version in (2, 3):
            self.releases.stage(version, **WHO)
        self.experiments = Experiments(self.database.unit_of_work, clock=self.clock)
        self.plan = plan or a_plan(mode="shadow")
        self.rows: list[int] = []
        self.asked: list[tuple[list[tuple[str, float]], float | None]] = []
        self.written: list[PredictionEvent] = []
        self.unready: dict[ModelRef, str] = {}
        self.wanted_models: list[ModelRef] = []
        self.is_full = False
        self.reads = 0
        self.began_ns = self.clock.now_ns()
        shadows = Shadows(ConstantVelocity())
        self.job = Shadow(self.unit_of_work, self, self, shadows, self.write, BOUNDS._replace(**bounds), self.clock)

    @contextmanager
    def unit_of_work(self, *, read_only: bool = False) -> Iterator[UnitOfWork]:
        assert read_only
        self.reads += 1
        with self.database.unit_of_work(read_only=True) as work:
            yield work

    def launch(self) -> str:
        draft = self.experiments.create(self.plan, **WHO).experiment
        return self.experiments.launch(draft.experiment_id, draft.version, **WHO).experiment.experiment_id

    def s(self, ns: int) -> float:
        return (ns - self.began_ns) / S

    # The lake

    def waiting(self, table: RouteTable, wanted: Sequence[Wanted], most: int, *, until_ns: int | None = None) -> Found:
        self.asked.append(([(one.arm.variant, self.s(one.since_ns)) for one in wanted], None if until_ns is None else self.s(until_ns)))
        found = [
            Beside(an_answer(received_ns=ns, prediction_id=f"p{ns}"), one.experiment.experiment_id, one.arm)
            for ns in sorted(self.rows, reverse=True)
            for one in wanted
            if one.since_ns <= ns
            and (until_ns is None or ns < until_ns)
            and (f"p{ns}", one.arm.variant) not in {(made.shadow_of, made.variant) for made in self.written}
        ]
        return Found(found[:most], len(found))

    def write(self, events: list[PredictionEvent]) -> None:
        if self.is_full:
            raise Unavailable("the disk is full")
        self.written += events

    # The models

    def ready(self, refs: Sequence[ModelRef]) -> Mapping[ModelRef, Treatment]:
        self.wanted_models = list(refs)
        return {ref: Treatment(Stands(), None) for ref in refs if ref not in self.unready}

    @property
    def missing(self) -> Mapping[ModelRef, str]:
        return self.unready

    # A run, as the runner does it

    def run(self, after_s: float = 1.0, *, is_recorded: bool = True) -> dict[str, Any]:
        self.clock.advance(after_s)
        at = now(self.clock)
        result = self.job.run()
        if is_recorded:
            with self.database.unit_of_work() as work:
                work.jobs.record_finish(work.jobs.record_start(JOB, "w", at).run_id, at, result=result)
        return result

    def answer(self, *after_s: float) -> None:
        self.rows += [self.clock.now_ns() + round(one * S) for one in after_s]

    def counts(self, result: dict[str, Any]) -> tuple[int, int, int]:
        return result["predicted"], result["failed"], result["dropped"]


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_where_nobody_is_shadowed_a_run_is_one_look_at_the_routes(desk: Desk) -> None:
    assert [desk.run() for _ in range(3)] == [{}] * 3
    assert (desk.reads, desk.asked, desk.wanted_models) == (3, [], [])
    desk.plan = a_plan()
    desk.launch()
    assert (desk.run(), desk.asked) == ({}, []), "a live experiment is none"


def test_what_was_answered_since_the_last_run_is_predicted_once(desk: Desk) -> None:
    desk.run()
    experiment_id = desk.launch()
    desk.answer(-3, 0.25, 0.5)
    result = desk.run()
    assert desk.counts(result) == (2, 0, 0), "and nothing of before the launch"
    assert desk.wanted_models == [ModelRef("trajectory", 2)]
    assert result[NEXT] == {f"{experiment_id}/treatment": desk.clock.now_ns() - 1 * S}, "not of before the launch"
    desk.answer(-0.9, 0.5)
    assert desk.counts(desk.run()) == (2, 0, 0), "one of them appeared late"
    assert sorted(one.received_ns for one in desk.written) == sorted(desk.rows)[1:]
    assert len({one.prediction_id for one in desk.written}) == 4
    for _ in range(9):
        result = desk.run()
    assert result[NEXT] == {f"{experiment_id}/treatment": desk.clock.now_ns() - 5 * S}, "late ones are looked for"


def test_a_run_that_was_killed_before_it_was_on_record_is_repeated_and_writes_nothing_twice(desk: Desk) -> None:
    desk.launch()
    desk.answer(0.1, 0.2)
    assert desk.counts(desk.run(is_recorded=False)) == (2, 0, 0)
    desk.answer(0.1)
    assert desk.counts(desk.run()) == (1, 0, 0)
    assert len({one.prediction_id for one in desk.written}) == len(desk.written) == 3


def test_a_run_that_could_not_write_is_made_up_for(desk: Desk) -> None:
    desk.launch()
    desk.run()
    desk.answer(0.1, 0.2)
    desk.is_full = True
    with pytest.raises(Unavailable):
        desk.run()
    desk.is_full = False
    desk.answer(0.1)
    assert desk.counts(desk.run()) == (3, 0, 0)


def test_of_more_than_the_bound_the_newest_are_predicted_and_the_others_counted_once() -> None:
    desk = Desk(most=10)
    desk.launch()
    desk.answer(*(number / 100 for number in range(35)))
    assert desk.counts(desk.run()) == (10, 0, 25)
    assert [one.received_ns for one in desk.written] == sorted(desk.rows)[25:]
    desk.answer(0.5)
    assert desk.counts(desk.run()) == (1, 0, 0), "what was passed over does not come up again"
    assert desk.counts(desk.run()) == (0, 0, 0)


def test_after_an_outage_what_is_too_old_is_counted_and_the_rest_predicted(desk: Desk) -> None:
    desk.launch()
    desk.run()
    desk.answer(*range(1, 101))
    result = desk.run(after_s=101)
    assert desk.counts(result) == (60, 0, 40), "a minute is looked back"
    assert desk.counts(desk.run()) == (0, 0, 0)


def test_of_a_long_outage_the_last_hour_is_counted_piece_by_piece(desk: Desk) -> None:
    desk.launch()
    desk.run()
    desk.asked.clear()
    desk.run(after_s=100_000)
    floor_s = 100_001 - 60
    counted = desk.asked[:-1]
    assert len(counted) == MOST_COUNTED_NS // PIECE_NS
    assert counted[0] == ([("treatment", floor_s - 3600)], floor_s - 3300)
    assert counted[-1] == ([("treatment", floor_s - 300)], floor_s)
    assert desk.asked[-1] == ([("treatment", floor_s)], None)


def test_what_waits_for_its_model_is_predicted_when_it_is_there() -> None:
    desk = Desk(three_arms(mode="shadow"))
    desk.unready = {ModelRef("trajectory", 3): "the registry is away"}
    experiment_id = desk.launch()
    desk.answer(0.5)
    began_ns = desk.clock.now_ns()
    result = desk.run()
    assert desk.counts(result) == (1, 0, 0)
    assert result["missing"] == {"trajectory/3": "the registry is away"}
    assert result[NEXT][f"{experiment_id}/deep"] == began_ns
    desk.run(after_s=20)
    desk.unready = {}
    result = desk.run()
    assert desk.counts(result) == (1, 0, 0)
    assert "missing" not in result
    assert [one.variant for one in desk.written] == ["wide", "deep"]


def test_what_waits_too_long_is_counted_once() -> None:
    desk = Desk()
    desk.unready = {ModelRef("trajectory", 2): "it is broken"}
    desk.launch()
    desk.answer(*range(1, 11))
    assert [desk.counts(desk.run(after_s=35)) for _ in range(4)] == [(0, 0, 0), (0, 0, 9), (0, 0, 1), (0, 0, 0)]


def test_answers_of_a_pause_are_not_predicted(desk: Desk) -> None:
    experiment_id = desk.launch()
    desk.run()
    version = desk.experiments.get(experiment_id).version
    version = desk.experiments.pause(experiment_id, version, **WHO).experiment.version
    desk.answer(1, 10, 20)
    assert desk.run() == {}
    for _ in range(30):
        assert desk.run() == {}
    desk.experiments.cover(experiment_id, version, 1.0, **WHO)
    desk.answer(0.5)
    assert desk.counts(desk.run()) == (1, 0, 0)


def test_the_kill_switch_stops_it(desk: Desk) -> None:
    desk.launch()
    desk.run()
    with desk.database.unit_of_work(read_only=True) as work:
        epoch = work.routes.epoch()
    desk.experiments.switch(epoch, is_stopped=True, **WHO)
    desk.answer(0.5)
    assert (desk.run(), desk.written) == ({}, [])


def test_the_clock_may_be_put_back(desk: Desk) -> None:
    """What is on record of later says nothing; the lake knows what was predicted."""
    desk.launch()
    desk.answer(0.5)
    desk.run()
    desk.clock.advance(-3600)
    desk.run()
    desk.answer(0.5)
    assert desk.counts(desk.run()) == (1, 0, 0)
    assert len({one.prediction_id for one in desk.written}) == len(desk.written) == 2

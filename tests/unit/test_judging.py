"""Looks at routed experiments: what is written down, what follows, and what is left alone."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from data.stubs import MemoryDatabase, SetClock
from tests.deployment_builders import WHO, a_database, live, states
from tests.experiment_builders import STOP, a_plan, an_arm, figures, two
from trajops.clock import now
from trajops.contracts.experiments import ExperimentOut, ExperimentPlan
from trajops.deployments.lifecycle import State
from trajops.errors import TrajOpsError, Unavailable
from trajops.experiments.figures import Figures
from trajops.experiments.lifecycle import ExperimentState
from trajops.services.deployments import Deployments
from trajops.services.experiments import Experiments
from trajops.services.judging import ACTOR, Judge

S = ExperimentState
Arms = Callable[[], Any]


class Desk:
    """A judge over figures that the test sets."""

    def __init__(self, plan: ExperimentPlan | None = None, versions: tuple[int, ...] = (2,)) -> None:
        self.clock = SetClock()
        self.database: MemoryDatabase = a_database()
        self.releases = Deployments(self.database.unit_of_work, clock=self.clock)
        live(self.releases, 1)
        for version in versions:
            self.releases.stage(version, **WHO)
        self.service = Experiments(self.database.unit_of_work, clock=self.clock)
        draft = self.service.create(plan or a_plan(), **WHO).experiment
        self.id = self.service.launch(draft.experiment_id, draft.version, **WHO).experiment.experiment_id
        self.arms: Any = two(0, 0)
        self.asked: list[tuple[str, datetime, datetime, float]] = []
        self.judge = Judge(self, self.database.unit_of_work, self.service, self.clock)  # type: ignore[arg-type] - one half of the port

    def figures(self, experiment_id: str, plan: ExperimentPlan, since: datetime, at: datetime, slow_ms: float, *more: Any) -> Figures:
        self.asked.append((experiment_id, since, at, slow_ms))
        return figures(*self.arms, at=at, last_outcome_at=at)

    def look(self, arms: Any, *, after_s: float = 1000.0) -> str | None:
        self.clock.advance(after_s)
        self.arms = arms
        [judged] = self.judge.run()
        return judged.decided

    @property
    def experiment(self) -> ExperimentOut:
        return self.service.get(self.id)


def test_a_look_is_written_down_and_decides_nothing_without_evidence() -> None:
    desk = Desk()
    before = desk.experiment
    assert desk.look(two(100, 100)) is None
    assert desk.experiment == before.model_copy(update={"verdict": desk.experiment.verdict})
    assert desk.experiment.verdict is not None
    assert desk.experiment.verdict.units == 200
    [(experiment_id, since, at, slow_ms)] = desk.asked
    assert (experiment_id, since, at, slow_ms) == (desk.id, before.started_at, now(desk.clock), 100.0)


def test_better_is_recommended_once_and_stays_so_whatever_comes() -> None:
    desk = Desk()
    assert desk.look(two(600, 620, 0.42)) == "better"
    assert (desk.experiment.state, desk.experiment.winner) == (S.RECOMMENDED, "treatment")
    sentence = desk.experiment.sentence
    assert [desk.look(arms) for arms in (two(600, 620, 0.42), two(700, 720, 0.5))] == [None, None]
    assert (desk.experiment.state, desk.experiment.sentence) == (S.RECOMMENDED, sentence)
    # But harm is still acted on.
    assert desk.look(two(900, 900, 0.7)) == "worse"
    assert desk.experiment.state == S.ROLLED_BACK


def test_better_is_promoted_without_a_hand_where_the_plan_says_so() -> None:
    desk = Desk(a_plan(stop=STOP | {"on_win": "promote"}))
    assert desk.look(two(600, 620, 0.42)) == "better"
    assert (desk.experiment.state, states(desk.releases)) == (S.PROMOTED, {1: State.RETIRED, 2: State.LIVE})


def test_harm_is_rolled_back_and_the_audit_has_the_figures() -> None:
    desk = Desk()
    assert desk.look(two(60, 60, 0.95), after_s=5) == "worse"
    assert (desk.experiment.state, states(desk.releases)[2]) == (S.ROLLED_BACK, State.ROLLED_BACK)
    with desk.database.unit_of_work(read_only=True) as uow:
        entry = next(one for one in uow.audit.newest() if one.action == "experiment.decide_worse")
    assert (entry.actor, entry.reason) == (ACTOR, desk.experiment.sentence)
    assert entry.after["cause"]["arms"][1]["units"] == 60
    assert desk.judge.run() == []


def three(units: int, b_m: float, c_m: float) -> Any:
    return an_arm("control", units), an_arm("b", units, mean_m=b_m, seed=2), an_arm("c", units, mean_m=c_m, seed=3)


def abc() -> Desk:
    weights = {"control": 0.34, "b": 0.33, "c": 0.33}
    arms = [{"variant": name, "model_version": number, "weight": weight} for number, (name, weight) in enumerate(weights.items(), 1)]
    return Desk(a_plan(arms=arms), versions=(2, 3))


@pytest.mark.parametrize("is_paused", [False, True], ids=["running", "paused"])
def test_what_was_recommended_and_is_taken_back_leaves_the_others_to_win_or_to_end(is_paused: bool) -> None:
    desk = abc()
    assert desk.look(three(900, 0.42, 0.5)) == "better"
    assert (desk.experiment.state, desk.experiment.winner) == (S.RECOMMENDED, "b")
    if is_paused:
        desk.service.pause(desk.id, desk.experiment.version, **WHO)
    assert desk.look(three(1200, 0.7, 0.5)) == "worse"
    assert (desk.experiment.winner, desk.experiment.closed_arms) == (None, ["b"])
    assert desk.experiment.state == (S.PAUSED if is_paused else S.RUNNING)
    assert states(desk.releases)[2] == State.ROLLED_BACK
    if is_paused:
        assert desk.look(three(1300, 0.7, 0.5), after_s=30 * 86_400) == "inconclusive"
        assert desk.experiment.state == S.INCONCLUSIVE
        return
    assert desk.look(three(1300, 0.7, 0.5)) is None
    assert desk.look(three(2400, 0.7, 0.4)) == "better"
    assert (desk.experiment.state, desk.experiment.winner) == (S.RECOMMENDED, "c")
    assert "b" not in desk.experiment.sentence.split()


def test_once_what_was_recommended_is_taken_back_the_horizon_ends_it_without_a_winner() -> None:
    desk = abc()
    assert [desk.look(three(900, 0.42, 0.5)), desk.look(three(1200, 0.7, 0.5))] == ["better", "worse"]
    assert desk.look(three(1300, 0.7, 0.5), after_s=86_400) == "inconclusive"
    assert (desk.experiment.state, desk.experiment.winner) == (S.INCONCLUSIVE, None)
    assert states(desk.releases) == {1: State.LIVE, 2: State.ROLLED_BACK, 3: State.INCONCLUSIVE}


def test_of_two_that_are_better_the_nearer_one_wins_and_is_what_is_said() -> None:
    desk = abc()
    assert desk.look(three(1200, 0.42, 0.35)) == "better"
    assert desk.experiment.winner == "c"
    assert desk.experiment.sentence.startswith("ADE of c is ")


def test_invalid_data_pause_it_after_a_while_and_a_hiccup_does_not() -> None:
    desk = Desk()
    lost = two(700, 400, 0.3)
    assert desk.look(lost) is None
    assert desk.look(two(600, 600), after_s=30) is None
    assert desk.look(lost, after_s=30) is None
    assert desk.look(lost, after_s=30) is None
    assert desk.experiment.state == S.RUNNING
    assert desk.look(lost, after_s=30) == "invalid"
    assert (desk.experiment.state, states(desk.releases)[2]) == (S.PAUSED, State.PAUSED)
    assert desk.experiment.sentence.startswith("Data invalid: ")


@pytest.mark.parametrize("invalid_for_s", [0.0, 5.0, 59.0, 61.0])
@pytest.mark.parametrize("gap_s", [50.0, 60.0, 110.0])
def test_data_that_stay_invalid_pause_it_however_seldom_somebody_looks(invalid_for_s: float, gap_s: float) -> None:
    """Looks are 60 s apart, or as late as a busy worker makes them."""
    desk = Desk(a_plan(invalid_for_s=invalid_for_s))
    lost = two(700, 400, 0.3)
    for _ in range(3):
        if desk.look(lost, after_s=gap_s) == "invalid":
            break
    assert desk.experiment.state == S.PAUSED


def test_what_somebody_paused_is_judged_and_left_alone_but_for_harm() -> None:
    desk = Desk()
    desk.service.pause(desk.id, desk.experiment.version, **WHO)
    assert desk.look(two(600, 620, 0.42)) is None
    assert desk.experiment.state == S.PAUSED
    assert desk.look(two(600, 620, 0.8)) == "worse"


def test_whoever_resumes_after_a_long_pause_is_not_paused_before_truth_can_come() -> None:
    desk = Desk(a_plan(margin=0.001))
    scored_at = now(desk.clock)
    desk.judge._source.figures = lambda *asked, **_: figures(*two(600, 620), at=asked[3], last_outcome_at=scored_at)  # type: ignore[method-assign]
    assert desk.look(None, after_s=2) is None
    desk.service.pause(desk.id, desk.experiment.version, **WHO)
    assert [desk.look(None, after_s=after_s) for after_s in (2, 600, 2, 2)] == [None] * 4
    desk.service.cover(desk.id, desk.experiment.version, 0.5, **WHO)
    assert [desk.look(None, after_s=after_s) for after_s in (2, 50)] == [None, None]
    assert desk.experiment.state == S.RUNNING
    # It is paused all the same where none comes.
    assert desk.look(None, after_s=10) == "invalid"


def test_a_night_in_which_nobody_asks_pauses_nothing() -> None:
    desk = Desk(a_plan(margin=0.001))
    scored_at = now(desk.clock)
    overdue = 0
    desk.judge._source.figures = lambda *asked, **_: figures(  # type: ignore[method-assign]
        *two(600, 620), at=asked[3], last_outcome_at=scored_at, overdue_units=overdue
    )
    assert [desk.look(None, after_s=600) for _ in range(10)] == [None] * 10
    assert desk.experiment.state == S.RUNNING
    assert desk.experiment.verdict is not None
    [said] = [one for one in desk.experiment.verdict.health if one.name == "freshness"]
    assert (said.is_ok, said.detail) == (True, "the newest outcome is 6000 s old, and nobody has asked since")
    # One comes by whom no camera follows.
    overdue = 1
    assert [desk.look(None, after_s=600) for _ in range(10)] == [None] * 10
    [said] = [one for one in desk.experiment.verdict.health if one.name == "freshness"]
    assert (said.is_ok, said.detail) == (
        True,
        "the newest outcome is 12000 s old, and 1 agent asked since without truth, which may be chance",
    )
    # In the morning they ask, and no truth comes.
    overdue = 6
    assert [desk.look(None, after_s=30) for _ in range(3)] == [None, None, "invalid"]


def test_at_the_horizon_it_ends_without_a_decision() -> None:
    desk = Desk(a_plan(margin=0.001))
    assert desk.look(two(600, 620), after_s=86_400) == "inconclusive"
    assert states(desk.releases) == {1: State.LIVE, 2: State.INCONCLUSIVE}


@pytest.mark.parametrize("arms", [two(0, 0), two(600, 620, 0.42), two(600, 620, joined=10)], ids=["nobody", "better", "invalid"])
def test_a_pause_does_not_stop_the_clock(arms: Any) -> None:
    desk = Desk()
    desk.service.pause(desk.id, desk.experiment.version, **WHO)
    assert desk.look(arms, after_s=86_300) is None
    assert desk.look(arms, after_s=100) == "inconclusive"
    assert (desk.experiment.state, states(desk.releases)[2]) == (S.INCONCLUSIVE, State.INCONCLUSIVE)


def test_a_recommendation_stays_so_over_a_pause_and_the_horizon() -> None:
    desk = Desk()
    assert desk.look(two(600, 620, 0.42)) == "better"
    desk.service.pause(desk.id, desk.experiment.version, **WHO)
    for arms in (two(600, 620, 0.42), two(700, 720), two(700, 720, joined=10)):
        assert desk.look(arms, after_s=86_400) is None
        assert desk.experiment.verdict is not None
        assert "without a decision" not in desk.experiment.verdict.sentence
    assert (desk.experiment.state, desk.experiment.winner) == (S.PAUSED, "treatment")
    desk.service.cover(desk.id, desk.experiment.version, 1.0, **WHO)
    assert desk.experiment.state == S.RECOMMENDED
    # For harm it is taken back all the same.
    desk.service.pause(desk.id, desk.experiment.version, **WHO)
    assert desk.look(two(900, 900, 0.7)) == "worse"


def test_one_that_nobody_came_to_ends_at_the_horizon() -> None:
    desk = Desk()
    assert desk.look(two(3, 2, joined=0), after_s=86_400) == "inconclusive"
    assert "The data are not right" in desk.experiment.sentence


def test_a_recommendation_is_not_forgotten_at_the_horizon() -> None:
    desk = Desk()
    assert desk.look(two(600, 620, 0.42)) == "better"
    assert desk.look(two(600, 620), after_s=86_400) is None
    assert desk.experiment.state == S.RECOMMENDED


def test_verdicts_are_kept_the_more_seldom_the_longer_it_runs() -> None:
    desk = Desk(a_plan(margin=0.001, stop=STOP | {"horizon_s": 1e6}))
    for _ in range(200):
        desk.look(two(100, 100), after_s=2)
    kept = desk.service.verdicts(desk.id).verdicts
    assert len(kept) == 40
    for _ in range(300):
        desk.look(two(100, 100), after_s=1000)
    kept = desk.service.verdicts(desk.id).verdicts
    assert len(kept) < 300
    assert kept[-1].at - kept[-2].at >= timedelta(seconds=2000)


def test_one_that_was_changed_meanwhile_is_left_for_the_next_look(caplog: pytest.LogCaptureFixture) -> None:
    desk = Desk()

    def changed(experiment_id: str, plan: ExperimentPlan, since: datetime, at: datetime, slow_ms: float, *_: object) -> Figures:
        desk.service.cover(desk.id, desk.experiment.version, 0.5, **WHO)
        return figures(*two(600, 620, 0.9), at=at, last_outcome_at=at)

    desk.judge._source.figures = changed  # type: ignore[method-assign]
    desk.clock.advance(1000)
    assert [one.decided for one in desk.judge.run()] == [None]
    assert desk.experiment.state == S.RUNNING
    assert "was changed while it was judged" in caplog.text


def test_an_arm_that_fails_is_rolled_back_by_its_guardrail() -> None:
    desk = Desk()
    arms = an_arm("control", 300, failed_units=1), an_arm("treatment", 300, failed_units=30)
    assert desk.look(arms) == "guardrail"
    assert desk.experiment.state == S.ROLLED_BACK


def test_nothing_is_judged_while_all_experiments_are_stopped() -> None:
    """Nothing comes in then, which would look like missing truth."""
    desk = Desk()
    desk.service.switch(desk.releases.routes().current.epoch, is_stopped=True, **WHO)
    desk.arms = two(100, 100)
    assert desk.judge.run() == []
    desk.service.switch(desk.releases.routes().current.epoch, is_stopped=False, **WHO)
    assert len(desk.judge.run()) == 1


def test_harm_is_told_by_the_bound_that_it_was_found_by() -> None:
    desk = Desk()
    for units in range(60, 400, 20):
        if desk.look(two(units, units, 0.58), after_s=5) == "worse":
            break
    effect = desk.experiment.verdict.effects[0] if desk.experiment.verdict is not None else None
    assert effect is not None
    assert effect.low is not None
    assert effect.harm_low is not None
    said = f"at least {100 * effect.harm_low:+.1f} % by the one-sided 95 % sequence"
    assert (said in desk.experiment.sentence) is (effect.low <= 0)


def test_one_that_cannot_be_judged_stops_no_other_and_is_told(caplog: pytest.LogCaptureFixture) -> None:
    desk = Desk(a_plan(namespace={"name": "n", "begin": 0, "end": 0.5}))
    desk.releases.stage(3, **WHO)
    arms = [{"variant": "control", "model_version": 1, "weight": 0.5}, {"variant": "treatment", "model_version": 3, "weight": 0.5}]
    other = desk.service.create(a_plan(arms=arms, namespace={"name": "n", "begin": 0.5, "end": 1}), is_launched=True, **WHO).experiment
    plain = desk.figures

    def torn(experiment_id: str, *asked: Any, **more: Any) -> Figures:
        if experiment_id == other.experiment_id:
            raise ValueError("math domain error")
        return plain(experiment_id, *asked, **more)

    desk.figures = torn  # type: ignore[method-assign]
    desk.arms = two(600, 620, 0.42)
    for _ in range(3):
        desk.clock.advance(1000)
        with pytest.raises(TrajOpsError, match=f"1 could not be judged, 1 were. experiment {other.experiment_id}: ValueError: math domain"):
            desk.judge.run()
    assert desk.experiment.state == S.RECOMMENDED
    assert caplog.text.count("could not be judged") == 1


def test_where_the_lake_is_away_that_is_what_is_told() -> None:
    desk = Desk()

    def away(*_: Any, **__: Any) -> Figures:
        raise Unavailable("the lake does not answer")

    desk.figures = away  # type: ignore[method-assign]
    with pytest.raises(Unavailable, match="the lake does not answer"):
        desk.judge.run()


@pytest.mark.parametrize(
    "changes",
    [
        {"tuned_units": 10**400},
        {"alpha": 5e-324},
        {"stop": {"min_units": 10**10}},
        {"stop": {"min_harmed_units": 10**400}},
        {"stop": {"horizon_units": 10**10}},
    ],
)
def test_a_plan_that_nobody_could_reckon_with_is_none(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        a_plan(**changes)


def test_a_plan_at_the_bounds_is_judged() -> None:
    count = 10**9
    stop = {"min_units": count, "min_harmed_units": count, "horizon_units": count}
    desk = Desk(a_plan(tuned_units=count, alpha=1e-6, stop=stop, expected_change=-5e-324, margin=5e-324))
    assert desk.look(two(600, 620, 0.42)) is None

"""What the figures of an experiment say, and what follows from it."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.experiment_builders import STARTED, STOP, a_plan, a_shadow, an_arm, figures, three_arms, two
from trajops.contracts.experiments import VerdictOut
from trajops.experiments.decisions import decision
from trajops.experiments.sums import PairSums
from trajops.experiments.verdict import judge


def verdict(*arms: Any, plan: Any = None, closed: tuple[str, ...] = (), **changes: Any) -> VerdictOut:
    return judge(plan or a_plan(), figures(*arms, **changes), STARTED, closed)


def health(said: VerdictOut) -> dict[str, bool]:
    return {one.name: one.is_ok for one in said.health}


def test_a_better_treatment_is_found_and_said() -> None:
    said = verdict(*two(600, 620, 0.42))
    assert said.kind == "better"
    assert decision(a_plan(), said) == ("better", "treatment")
    [effect] = said.effects
    assert effect.change is not None
    assert effect.high is not None
    assert effect.high < 0
    assert said.sentence.startswith(f"ADE of treatment is {abs(100 * effect.change):.1f} % lower (95 % sequence")
    assert said.sentence.endswith("Valid however often you look.")


def test_what_the_sequence_shows_already_waits_for_the_time_of_the_plan_and_is_not_said_to_lack_evidence() -> None:
    said = verdict(*two(600, 620, 0.42), passed_s=30)
    assert (said.kind, said.effects[0].high is not None and said.effects[0].high < 0) == ("collecting", True)
    assert said.sentence == "Too early to decide, with 1220 units: nothing wins within the first 10 minutes."
    assert decision(a_plan(), said) is None
    assert verdict(*two(600, 620, 0.5), passed_s=30).sentence.startswith("Not enough evidence yet, with 1220 units.")
    # No worse wins nothing where the plan hopes for better, and does where it aims at that.
    about_equal = two(6000, 6000, 0.5)
    for aim, start in (("better", "Not enough evidence yet"), ("no_worse", "Too early to decide")):
        assert verdict(*about_equal, plan=a_plan(margin=0.1, stop=STOP | {"aim": aim}), passed_s=30).sentence.startswith(start)


def test_errors_and_times_of_an_arm_that_another_version_answers_by_now_are_not_told_as_its_own() -> None:
    told = {"means": (0.5, 1.1, 0.1, 0.9), "latency_ms": (1.0, 2.0, 3.0)}
    arms = [an_arm(name, 600, **told) for name in ("control", "wide", "deep")]
    before, after = (verdict(*arms, plan=three_arms(), closed=closed).arms for closed in ((), ("wide",)))
    figures_of = [(arm.units, arm.scored_units, arm.ade_m, arm.coverage, arm.latency_p95_ms) for arm in before]
    assert figures_of == [(600, 600, 0.5, 0.9, 2.0)] * 3
    after_of = [(arm.units, arm.scored_units, arm.ade_m, arm.coverage, arm.latency_p95_ms) for arm in after]
    assert after_of == [figures_of[0], (600, 600, None, None, None), figures_of[2]]


def test_truth_that_is_too_old_does_not_read_as_if_it_were_at_the_limit() -> None:
    found = figures(*two(600, 620), passed_s=3600.0)
    said = judge(a_plan(), replace(found, last_outcome_at=found.at - timedelta(seconds=180.2)), STARTED)
    assert "the newest outcome is 181 s old; at most 180 s" in said.sentence


def test_it_says_how_long_truth_took_and_rows_of_before_do_not() -> None:
    said = verdict(an_arm("control", 60, label_delay_s=5.25), an_arm("treatment", 60))
    assert [arm.label_delay_s for arm in said.arms] == [5.25, None]
    row = said.model_dump(mode="json")
    for arm in row["arms"]:
        del arm["label_delay_s"]
    assert [arm.label_delay_s for arm in VerdictOut.model_validate(row).arms] == [None, None]


def test_a_worse_treatment_is_rolled_back() -> None:
    said = verdict(*two(600, 620, 0.6))
    assert said.kind == "worse"
    assert decision(a_plan(), said) == ("worse", "treatment")
    assert "higher" in said.sentence


def test_great_harm_is_acted_on_with_a_few_units_and_before_any_time_has_passed() -> None:
    said = verdict(*two(40, 40, 0.95), passed_s=5)
    assert said.kind == "worse"
    assert verdict(*two(20, 20, 0.95), passed_s=5).kind == "collecting"


@pytest.mark.parametrize(
    ("arms", "changes"),
    [
        pytest.param(two(40, 45, 0.3), {}, id="units"),
        pytest.param(two(600, 620, 0.5), {"plan": a_plan(margin=0.001)}, id="evidence"),
        pytest.param((an_arm("control", 0), an_arm("treatment", 0)), {"last_outcome_at": None}, id="anything"),
    ],
)
def test_what_lacks_something_goes_on(arms: Any, changes: dict[str, Any]) -> None:
    said = verdict(*arms, **changes)
    assert said.kind == "collecting"
    assert decision(a_plan(), said) is None
    assert said.sentence.startswith("Not enough evidence yet")
    assert "This does not mean that the models are equal." in said.sentence


def test_no_worse_wins_only_where_that_is_the_aim() -> None:
    arms = two(9000, 9000, 0.5)
    modest = a_plan(margin=0.05, stop=STOP | {"aim": "no_worse"})
    said = verdict(*arms, plan=modest)
    assert said.kind == "no_worse"
    assert said.sentence.startswith("treatment is no worse than control by more than 5.0 %")
    assert decision(modest, said) == ("no_worse", "treatment")
    assert decision(a_plan(margin=0.05), said) is None


def test_at_its_horizon_no_worse_is_not_better() -> None:
    plan = a_plan(margin=0.05, stop=STOP | {"horizon_units": 3000})
    arms = two(1400, 1400)
    assert judge(plan, figures(*arms), STARTED).kind == "no_worse"
    over = judge(plan, figures(*two(1600, 1600)), STARTED)
    assert (over.kind, decision(plan, over)) == ("inconclusive", ("inconclusive", None))
    assert over.effects[0].verdict == "no_worse"


def test_at_its_horizon_it_is_inconclusive() -> None:
    plan = a_plan(margin=0.001)
    for changes in ({"passed_s": 86_400.0}, {"plan": a_plan(margin=0.001, stop=STOP | {"horizon_units": 1200})}):
        said = verdict(*two(600, 620), **({"plan": plan} | changes))
        assert said.kind == "inconclusive"
        assert decision(plan, said) == ("inconclusive", None)
    # What is found at the horizon is still found.
    assert verdict(*two(600, 620, 0.42), passed_s=86_400.0).kind == "better"


@pytest.mark.parametrize(
    ("name", "arms", "changes"),
    [
        pytest.param("split", two(700, 500, 0.3), {}, id="split"),
        pytest.param("join_rate", (an_arm("control", 600), an_arm("treatment", 600, mean_m=0.3, joined=4000)), {}, id="join gap"),
        pytest.param(
            "join_rate", (an_arm("control", 600, joined=60), an_arm("treatment", 600, mean_m=0.3, joined=60)), {}, id="few joined"
        ),
        pytest.param("freshness", two(600, 600, 0.3), {"last_outcome_at": STARTED}, id="stale"),
        pytest.param("freshness", two(600, 600, 0.3), {"last_outcome_at": None}, id="no outcome"),
        pytest.param("jumpers", two(600, 600, 0.3), {"jumpers": 50}, id="jumpers"),
    ],
)
def test_invalid_data_are_never_a_win_and_their_effect_is_hidden(name: str, arms: Any, changes: dict[str, Any]) -> None:
    said = verdict(*arms, **changes)
    assert said.kind == "invalid"
    assert [one for one, is_ok in health(said).items() if not is_ok] == [name]
    assert decision(a_plan(), said) is None, "one look may be a hiccup of a worker"
    later = said.model_copy(update={"at": said.at + timedelta(seconds=60)})
    assert decision(a_plan(), later) == ("invalid", None)
    assert [(effect.change, effect.low, effect.high) for effect in said.effects] == [(None, None, None)]
    assert said.sentence.startswith("Data invalid: ")


def test_too_many_jumpers_are_told_with_their_limit() -> None:
    assert verdict(*two(600, 600, 0.3), jumpers=50).sentence.endswith("and left out; at most 1 % of all.")


def test_a_verdict_knows_since_when_it_is_of_its_kind() -> None:
    plan = a_plan()
    first = judge(plan, figures(*two(600, 620, 0.42)), STARTED)
    second = judge(plan, figures(*two(600, 620, 0.42), passed_s=3610), STARTED, before=first)
    other = judge(plan, figures(*two(600, 620, 0.6), passed_s=3620), STARTED, before=second)
    assert [one.since for one in (first, second, other)] == [first.at, first.at, other.at]


def test_a_gap_that_chance_may_have_made_is_none() -> None:
    few = verdict(an_arm("control", 60, joined=540), an_arm("treatment", 60, joined=600))
    assert health(few)["join_rate"], "ten points, with 60 units an arm"
    many = verdict(an_arm("control", 6000, joined=54_000), an_arm("treatment", 6000, joined=60_000))
    assert not health(many)["join_rate"]


def test_harm_is_acted_on_although_the_data_are_invalid() -> None:
    assert decision(a_plan(), verdict(*two(700, 500, 0.9))) == ("worse", "treatment")


def test_a_beginning_without_truth_is_no_invalid_experiment() -> None:
    said = verdict(an_arm("control", 10, joined=0), an_arm("treatment", 10, joined=0), last_outcome_at=None)
    assert said.kind == "collecting"
    assert next(one.detail for one in said.health if one.name == "freshness") == "no outcome yet"


def test_errors_of_a_treatment_trip_its_guardrail_whatever_its_accuracy() -> None:
    said = verdict(an_arm("control", 300, failed_units=1), an_arm("treatment", 300, mean_m=0.3, failed_units=30))
    assert said.kind == "guardrail"
    assert decision(a_plan(), said) == ("guardrail", "treatment")
    tripped = next(one for one in said.guardrails if one.is_tripped)
    assert (tripped.kind, tripped.control_units, tripped.treatment_units) == ("errors", 1, 30)
    assert tripped.evidence >= 1
    assert said.sentence == ("More units of treatment had to be answered by the baseline than of control: 30 against 1, more than chance.")
    assert verdict(an_arm("control", 300, failed_units=30), an_arm("treatment", 300, failed_units=30)).kind != "guardrail"


def test_of_several_treatments_the_best_wins_and_the_worst_goes_first() -> None:
    plan = three_arms()
    arms = an_arm("control", 1000), an_arm("wide", 500, mean_m=0.43), an_arm("deep", 500, mean_m=0.38)
    assert decision(plan, verdict(*arms, plan=plan)) == ("better", "deep")
    arms = an_arm("control", 1000), an_arm("wide", 500, mean_m=0.65), an_arm("deep", 500, mean_m=0.38)
    said = verdict(*arms, plan=plan)
    assert decision(plan, said) == ("worse", "wide")
    assert "97.5 % sequence" in said.sentence
    # Once it is rolled back, the other one wins.
    said = verdict(*arms, plan=plan, closed=("wide",))
    assert [effect.variant for effect in said.effects] == ["deep"]
    assert decision(plan, said) == ("better", "deep")


def test_a_shadow_without_pairs_is_waited_for() -> None:
    plan = a_plan(mode="shadow")
    said = verdict(an_arm("control", 0), an_arm("treatment", 0, pairs=PairSums(0.0, 0.0, 0.0, 0.0, 0.0, 0.0)), plan=plan)
    assert (said.kind, said.effects[0].change, said.effects[0].low) == ("collecting", None, None)


def test_a_shadow_decides_by_pairs() -> None:
    plan = a_plan(mode="shadow")
    assert decision(plan, verdict(an_arm("control", 300), a_shadow(300, 0.9), plan=plan)) == ("better", "treatment")
    # As two arms, they would not be told apart yet.
    assert verdict(*two(150, 150, 0.46)).kind != "better"


def test_the_planner_says_how_long_it_will_take() -> None:
    said = verdict(*two(300, 300))
    assert said.detectable_change is not None
    assert said.expected_units is not None
    assert 0.03 < said.detectable_change < 0.15
    assert said.expected_units > 600


@given(
    st.lists(st.integers(0, 400), min_size=2, max_size=2),
    st.floats(0.05, 3.0),
    st.floats(0, 2e5),
    st.integers(0, 30),
    st.one_of(st.none(), st.floats(0, 1e4)),
)
def test_whatever_the_figures_something_is_said_and_wins_need_healthy_data(
    units: list[int], mean_m: float, passed_s: float, jumpers: int, age_s: float | None
) -> None:
    at = STARTED + timedelta(seconds=passed_s)
    last = None if age_s is None else at - timedelta(seconds=age_s)
    said = verdict(*two(*units, mean_m), passed_s=passed_s, jumpers=jumpers, last_outcome_at=last)
    assert said.sentence
    decided = decision(a_plan(), said)
    if decided is not None and decided.kind in {"better", "no_worse"}:
        assert all(health(said).values())
        assert min(units) >= 50
        assert passed_s >= 600
    VerdictOut.model_validate_json(said.model_dump_json())

"""What the A/B tests page says: banner, health, effects, arms, guardrails, timeline."""

import csv
import io
from datetime import timedelta
from typing import Any

import pytest

from console.ab.actions import (
    arm_differences,
)
from console.ab.tables import about, arm_lines, arms_csv, cause_words, guardrail_rows, overrides, shown_arms, steps
from console.ab.words import (
    EARLY_STOP,
    EARLY_WORD,
    arm_letter,
    arm_words,
    banner_mark,
    banner_sentence,
    effect_sentence,
    effect_tone,
    health_badge,
    health_tiles,
    is_early,
    notes,
    planned_words,
    running_words,
    stale_verdict,
    versions_words,
)
from console.names import action_words, result_words
from tests.experiment_builders import STARTED, a_plan, a_verdict, an_entry, an_experiment, figures, three_arms, two
from trajops.contracts.experiments import EffectOut, ExperimentOut, GuardrailIn, VerdictOut
from trajops.contracts.jobs import job_title
from trajops.contracts.status import ProcessOut
from trajops.experiments.lifecycle import ExperimentState as S
from trajops.experiments.verdict import judge

NOW = STARTED + timedelta(hours=1)


def judged(mean_m: float = 0.42, units: int = 600, **changes: Any) -> VerdictOut:
    return judge(a_plan(), figures(*two(units, units, mean_m), **changes), STARTED)


def invalid() -> VerdictOut:
    return judged(last_outcome_at=STARTED)


def in_state(state: S, verdict: VerdictOut | None = None, **changes: Any) -> ExperimentOut:
    return an_experiment(state=state, verdict=verdict, **changes)


# The banner


@pytest.mark.parametrize(
    ("experiment", "word", "tone"),
    [
        (in_state(S.DRAFT), "Draft", "unknown"),
        (in_state(S.RUNNING), "Collecting data", "info"),
        (in_state(S.RUNNING, judged(0.5, 60)), "Collecting data", "info"),
        (in_state(S.RUNNING, judged()), "B better", "ok"),
        (in_state(S.RUNNING, judged(0.7)), "B worse", "bad"),
        (in_state(S.RUNNING, invalid()), "Data invalid", "bad"),
        (in_state(S.PAUSED, judged()), "Paused", "warn"),
        (in_state(S.PAUSED, invalid()), "Data invalid, paused", "bad"),
        (in_state(S.RECOMMENDED, judged(), winner="treatment"), "Recommended: B better", "ok"),
        (in_state(S.PROMOTED, judged(), winner="treatment"), "B promoted", "ok"),
        (in_state(S.ROLLED_BACK, judged(0.7), closed_arms=["treatment"]), "B worse, rolled back", "bad"),
        (in_state(S.INCONCLUSIVE, judged(0.5, 60)), "Inconclusive", "warn"),
        (in_state(S.STOPPED), "Stopped", "unknown"),
        (in_state(S.STOPPED, winner="control"), "Stopped, A stays as the winner", "unknown"),
        (in_state(S.DISCARDED), "Discarded", "unknown"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_one_verdict_in_icon_word_and_colour(experiment: ExperimentOut, word: str, tone: str) -> None:
    mark = banner_mark(experiment)
    assert (mark.word, mark.tone) == (word, tone)
    assert mark.icon


@pytest.mark.parametrize(
    ("verdict", "word", "tone"),
    [
        (judged(), "Predecessor nearer to the truth", "warn"),
        (judged(0.7), "Predecessor worse, the champion holds", "ok"),
        (judged(0.5, 60), "Collecting data", "info"),
    ],
)
def test_what_is_worse_in_a_predecessor_speaks_for_the_champion(verdict: VerdictOut, word: str, tone: str) -> None:
    experiment = in_state(S.RUNNING, verdict, plan=a_plan(mode="watch"))
    assert (banner_mark(experiment).word, banner_mark(experiment).tone) == (word, tone)
    assert any("Its rollout, under Models, decides" in note for note in notes(experiment))


def test_no_worse_names_the_margin_and_never_says_equal() -> None:
    effect = EffectOut(variant="treatment", change=-0.001, low=-0.015, high=0.012, harm_low=-0.01, verdict="no_worse")
    verdict = judged().model_copy(update={"kind": "no_worse", "effects": [effect]})
    assert banner_mark(in_state(S.RUNNING, verdict)).word == "No worse than A (margin 2 %)"
    assert banner_mark(in_state(S.RECOMMENDED, verdict, winner="treatment")).word == "Recommended: B no worse than A (margin 2 %)"
    # Of several treatments the newest look may be about another one.
    better = effect.model_copy(update={"variant": "wide", "verdict": "better"})
    verdict = verdict.model_copy(update={"effects": [better, effect.model_copy(update={"variant": "deep"})]})
    assert banner_mark(in_state(S.RECOMMENDED, verdict, winner="wide", plan=three_arms())).word == "Recommended: B better"
    assert effect_sentence(a_plan(), effect).endswith("(95 % sequence −1.5 % to +1.2 %). No worse than A by more than 2 %.")
    assert effect_tone(effect) == "ok"


def test_the_sentence_is_the_apis_of_the_decision_or_of_the_newest_look() -> None:
    verdict = judged()
    assert banner_sentence(in_state(S.RUNNING, verdict, sentence="Launched.")) == verdict.sentence
    assert banner_sentence(in_state(S.RECOMMENDED, verdict, sentence="ADE was lower.")) == "ADE was lower."
    assert banner_sentence(in_state(S.PAUSED, sentence="Paused: the cameras flicker")) == "The cameras flicker"
    assert not banner_sentence(in_state(S.RUNNING, invalid())).startswith("Data invalid")
    late = "Data invalid: the newest outcome is 240 s old; at most 180 s."
    assert banner_sentence(in_state(S.PAUSED, invalid(), sentence=late)).startswith("The newest outcome is 240 s old")
    # Truth has come meanwhile: what it was paused for is not told as if it were so now.
    since = "The data were invalid when that was done: the newest outcome is 240 s old; at most 180 s. All is well now."
    assert banner_sentence(in_state(S.PAUSED, verdict, sentence=late)) == since


def test_what_must_be_known_beside_the_verdict() -> None:
    early = in_state(S.ROLLED_BACK, judged(0.9, 60), closed_arms=["treatment"])
    assert notes(early) == [EARLY_STOP]
    assert notes(in_state(S.RECOMMENDED, judged(0.2, 60), winner="treatment")) == [EARLY_WORD], "it has not ended"
    assert notes(in_state(S.STOPPED, judged(0.2, 60))) == [EARLY_STOP], "by hand, or at the horizon where it had won"
    plan = three_arms()
    closed = an_experiment(plan=plan, closed_arms=["wide"])
    assert notes(closed) == ["B was rolled back; its agents are answered by v1 since, and its errors and times are not shown."]
    assert "answer nobody" in notes(an_experiment(plan=a_plan(mode="shadow")))[0]


def test_days_and_hours_that_it_ran() -> None:
    assert running_words(in_state(S.DRAFT, started_at=None), NOW) == "–"
    assert running_words(an_experiment(), NOW) == "60 min"
    assert running_words(an_experiment(), STARTED + timedelta(hours=60)) == "2.5 d"
    assert running_words(in_state(S.STOPPED, ended_at=STARTED + timedelta(minutes=5)), NOW) == "5 min"


@pytest.mark.parametrize(
    ("mode", "scored", "expected_units", "words"),
    [
        ("live", (20, 30), 200, "25 %"),
        ("shadow", (30, 20), 200, "10 %"),
        ("live", (100, 100), 200, "100 %"),
        ("live", (500, 514), 200, "5.1 ×"),
        ("live", (25, 25), None, "–"),
        ("live", (0, 0), 0, "–"),
    ],
)
def test_units_with_truth_stand_beside_the_plan_and_beyond_it_as_a_multiple(
    mode: str, scored: tuple[int, int], expected_units: int | None, words: str
) -> None:
    found = judged()
    arms = [arm.model_copy(update={"scored_units": count}) for arm, count in zip(found.arms, scored, strict=True)]
    found = found.model_copy(update={"arms": arms, "expected_units": expected_units})
    assert planned_words(an_experiment(verdict=found, plan=a_plan(mode=mode))) == words


@pytest.mark.parametrize(
    ("mode", "scored", "words", "is_soon"),
    [
        ("live", (90, 100), "95 %", True),
        ("live", (100, 100), "100 %", False),
        ("shadow", (200, 190), "95 %", True),
        ("shadow", (200, 200), "100 %", False),
    ],
)
def test_early_is_by_the_units_with_truth_that_stand_beside_the_plan(
    mode: str, scored: tuple[int, int], words: str, *, is_soon: bool
) -> None:
    found = judged(0.2)
    arms = [arm.model_copy(update={"scored_units": count}) for arm, count in zip(found.arms, scored, strict=True)]
    found = found.model_copy(update={"arms": arms, "expected_units": 200})
    experiment = in_state(S.RECOMMENDED, found, winner="treatment", plan=a_plan(mode=mode))
    assert (planned_words(experiment), is_early(experiment)) == (words, is_soon)


def test_the_plan_goes_on_without_an_arm_that_was_rolled_back() -> None:
    found, plan = judged(), three_arms()
    scored = {"control": 300, "wide": 20, "deep": 200}
    arms = [found.arms[0].model_copy(update={"variant": name, "scored_units": units}) for name, units in scored.items()]
    found = found.model_copy(update={"arms": arms, "expected_units": 500})
    said = {
        closed: planned_words(an_experiment(verdict=found, plan=plan, closed_arms=closed)) for closed in ((), ("wide",), ("wide", "deep"))
    }
    assert said == {(): "64 %", ("wide",): "100 %", ("wide", "deep"): "64 %"}
    assert not is_early(in_state(S.RECOMMENDED, found, winner="deep", plan=plan, closed_arms=["wide"]))


def test_before_the_first_look_nothing_is_told_of_the_plan() -> None:
    assert planned_words(an_experiment()) == "–"


def test_nobody_who_looks_is_said() -> None:
    assert stale_verdict(an_experiment(verdict=a_verdict()), NOW) is None
    assert f"“{job_title('judge_experiments')}” does not run" in (
        stale_verdict(an_experiment(verdict=a_verdict()), NOW + timedelta(minutes=5)) or ""
    )
    assert "not looked at yet" in (stale_verdict(an_experiment(), NOW) or "")
    assert stale_verdict(in_state(S.STOPPED), NOW) is None


# Health


def test_health_is_one_badge_and_a_tile_each() -> None:
    experiment = an_experiment(verdict=judged())
    processes = [ProcessOut(epoch=epoch, newest_epoch=8, is_ready=True, has_stand_in=False) for epoch in (8, 7)]
    tiles = health_tiles(experiment, processes, 8)
    assert [tile.title for tile in tiles] == ["Split", "Truth", "Freshness", "Jumpers", "Label delay", "Routing"]
    assert tiles[0].detail.startswith("A / B: 50.0 % / 50.0 %")
    assert (tiles[-1].mark.word, tiles[-1].detail) == ("Catching up", "1 of 2 processes on routing epoch 8")
    assert all(tile.explanation for tile in tiles)
    assert health_badge(experiment.verdict).word == "Healthy"
    assert health_badge(None).word == "No data yet"


def test_the_label_delay_stands_by_arm_in_the_strip() -> None:
    verdict = judged()
    tile = health_tiles(an_experiment(verdict=verdict), [], 1)[4]
    assert (tile.title, tile.detail, tile.mark.tone) == ("Label delay", "No truth has come yet.", "unknown")
    arms = [arm.model_copy(update={"label_delay_s": delay}) for arm, delay in zip(verdict.arms, (5.25, None), strict=True)]
    tile = health_tiles(an_experiment(verdict=verdict.model_copy(update={"arms": arms})), [], 1)[4]
    assert (tile.detail, tile.mark.tone) == ("A / B: 5.2 s / –, median", "info")


def test_what_is_not_right_is_a_warning_with_few_units_and_bad_with_many() -> None:
    few, many = judged(units=20, last_outcome_at=STARTED), invalid()
    assert (health_badge(few).tone, health_badge(many).tone) == ("warn", "bad")
    assert health_badge(many).word == "1 of 4 not right"
    freshness = health_tiles(an_experiment(verdict=many), [], 3)[2]
    assert (freshness.mark.tone, freshness.detail) == ("bad", "The newest outcome is 3600 s old; at most 180 s")
    assert health_tiles(an_experiment(), [], None)[0].mark.word == "Unknown"


def test_truth_of_a_rolled_back_arm_is_not_listed_under_its_letter() -> None:
    plan = three_arms()
    arms = [figures(*two(60, 60)).arms[0]]
    arms = [type(arms[0])(name, units=60, predictions=600, due=500, joined=450) for name in ("control", "wide", "deep")]
    verdict = judge(plan, figures(*arms), STARTED, ["wide"])
    truth = health_tiles(an_experiment(plan=plan, closed_arms=["wide"], verdict=verdict), [], 1)[1]
    assert truth.detail.startswith("A / C: 90.0 % / 90.0 %")
    # The look that rolls the last one back has still compared it.
    over = an_experiment(state=S.ROLLED_BACK, plan=plan, closed_arms=["wide", "deep"], verdict=verdict)
    assert health_tiles(over, [], 1)[1].detail.startswith("A / C: 90.0 % / 90.0 %")
    delays = [arm.model_copy(update={"label_delay_s": 5.0}) for arm in verdict.arms]
    over = over.model_copy(update={"verdict": verdict.model_copy(update={"arms": delays})})
    assert health_tiles(over, [], 1)[4].detail == "A / C: 5.0 s / 5.0 s, median"


# Effects


def test_effects_in_words() -> None:
    better = judged().effects[0]
    assert effect_sentence(a_plan(), better).startswith("B's ADE is ")
    assert effect_sentence(a_plan(), better).endswith("Valid however often you look.")
    assert "lower (95 % sequence −" in effect_sentence(a_plan(), better)
    open_ = judged(0.5, 60).effects[0]
    assert effect_sentence(a_plan(metric="miss_rate"), open_).endswith(
        "Not enough evidence yet. This does not mean that the models are equal."
    )
    assert "B's miss rate is" in effect_sentence(a_plan(metric="miss_rate"), open_)
    assert (effect_tone(better), effect_tone(open_), effect_tone(judged(0.7).effects[0])) == ("ok", "unknown", "bad")
    unknown = EffectOut(variant="treatment", change=None, low=None, high=None, harm_low=None, verdict="collecting")
    assert effect_sentence(a_plan(), unknown).startswith("B: Not enough evidence yet.")


def test_several_treatments_share_alpha_and_have_letters() -> None:
    plan = three_arms()
    effect = EffectOut(variant="deep", change=-0.1, low=-0.2, high=None, harm_low=-0.2, verdict="collecting")
    assert "C's ADE is 10.0 % lower (97.5 % sequence −20.0 % to no bound)" in effect_sentence(plan, effect)
    assert (arm_letter(plan, "control"), arm_words(plan, "deep"), versions_words(plan)) == ("A", "C · deep (v3)", "v2, v3 against v1")


# Arms and guardrails


def test_arms_side_by_side_and_as_csv() -> None:
    control, treatment = judged().arms
    verdict = judged().model_copy(update={"arms": [control.model_copy(update={"label_delay_s": 5.21}), treatment]})
    lines = dict(arm_lines(verdict.arms))
    assert lines["Units"] == ["600", "600"]
    assert lines["Failed units"] == ["0 (0.0 %)"] * 2
    assert {"ADE", "FDE", "Miss rate", "Coverage", "Join rate", "p95", "p99"} <= set(lines)
    assert lines["Label delay, median"] == ["5.2 s", "–"], "a row of before, or one without truth, has none"
    rows = list(csv.DictReader(io.StringIO(arms_csv(a_plan(), verdict))))
    assert [(row["arm"], row["variant"], row["units"]) for row in rows] == [("A", "control", "600"), ("B", "treatment", "600")]


def test_figures_that_tell_the_effect_are_hidden_while_data_are_invalid() -> None:
    verdict = invalid()
    told = [arm.model_copy(update={"ade_m": 0.5, "fde_m": 1.0, "miss_rate": 0.1}) for arm in verdict.arms]
    lines = dict(arm_lines(shown_arms(verdict.model_copy(update={"arms": told}))))
    assert (lines["ADE"], lines["FDE"], lines["Miss rate"]) == (["–", "–"],) * 3
    assert lines["Units"] == ["600", "600"]
    assert not arm_differences(verdict, "control", "treatment")


def test_guardrails_say_how_far_they_are() -> None:
    plan = a_plan(guardrails=(GuardrailIn(kind="errors", tolerance=1.5), GuardrailIn(kind="slow_answers", slow_ms=50)))
    verdict = judge(plan, figures(*two(600, 600, failed_units=19)), STARTED)
    first, second = guardrail_rows(plan, verdict)
    assert first["Guardrail"] == "Failed answers, up to × 1.5"
    assert (first["Limit"], first["Units hit"]) == ("40 to 1", "19, in A 0")
    assert first["State"] == "✕ Tripped"
    assert first["To the trigger"] == 100.0
    assert (second["Guardrail"], second["State"], second["To the trigger"]) == ("Answers over 50 ms", "● Fine", 0.0)


# Timeline


def test_the_timeline_has_causes_and_what_others_did_to_it() -> None:
    verdict = judged()
    own = [
        an_entry("experiment.launch", audit_id="a1"),
        an_entry("experiment.decide_better", audit_id="a2", after={"cause": verdict.model_dump(mode="json")}, minutes=5),
    ]
    recent = [
        *own,
        an_entry("deployment.promote", audit_id="a3", subject="trajectory/7", after={"experiments": {"e1": "stopped"}}, minutes=9),
        an_entry("deployment.promote", audit_id="a4", subject="trajectory/8", minutes=10),
        an_entry(
            "experiments.stop_all", audit_id="a5", subject="routes", after={"route": {"experiments": [{"experiment_id": "e1"}]}}, minutes=8
        ),
        an_entry("experiments.stop_all", audit_id="a6", subject="routes", after={"route": {"experiments": []}}, minutes=7),
    ]
    found = steps(a_plan(), own, recent, "e1")
    assert [step.audit_id for step in found] == ["a3", "a5", "a2", "a1"]
    assert found[2].word == "Decided: better"
    assert found[2].figures.startswith("units: A 600, B 600; B −")
    assert [one.audit_id for one in about(recent, "e1")] == ["a1", "a2", "a3", "a5"]


def test_a_tripped_guardrail_is_told_with_its_units() -> None:
    verdict = judge(a_plan(), figures(*two(600, 600, failed_units=19)), STARTED)
    said = cause_words(a_plan(), an_entry("experiment.decide_guardrail", after={"cause": verdict.model_dump(mode="json")}))
    assert said.endswith("failed answers: 19 in B, 0 in A")
    assert cause_words(a_plan(), an_entry("experiment.pause")) == ""
    assert cause_words(a_plan(), an_entry("experiment.pause", after={"cause": {"kind": "odd"}})) == ""


def test_a_cause_of_another_experiment_names_versions_instead_of_letters() -> None:
    """The switch of a rollout ends its canary and begins the watch, in which the arms have changed places."""
    canary = judge(a_plan(), figures(*two(600, 620, 0.42, failed_units=19)), STARTED)
    arms = [{"variant": "control", "model_version": 2, "weight": 0.5}, {"variant": "treatment", "model_version": 1, "weight": 0.5}]
    switch = an_entry("rollout.advance", after={"experiments": {"e1": "running"}, "cause": canary.model_dump(mode="json")})
    said = cause_words(a_plan(arms=arms, mode="watch"), switch)
    assert said.startswith("units: v1 600, v2 620; v2 −")
    assert said.endswith("failed answers: 19 in v2, 0 in v1")
    assert cause_words(a_plan(), switch).startswith("units: A 600, B 620; B −")


def test_overrides_are_read_from_the_audit() -> None:
    route = {"experiments": [{"experiment_id": "e1", "overrides": {"plaza/7": "treatment"}}]}
    assert overrides([an_entry("experiment.override", after={"route": route})], an_experiment()) == {"plaza/7": "treatment"}
    assert overrides([an_entry("experiment.override", after={"route": None})], an_experiment()) == {}
    assert overrides([], an_experiment()) == {}


@pytest.mark.parametrize("action", ["experiment.create", "experiment.launch", "experiment.decide_worse", "experiments.stop_all"])
def test_changes_have_words_without_an_id(action: str) -> None:
    assert "e1" not in action_words(an_entry(action))
    assert "." not in action_words(an_entry(action))


def test_the_judges_run_is_told_in_words() -> None:
    result = {"experiments": 2, "verdicts": {"e1": "better", "e2": "collecting"}, "decided": {"e1": "better"}}
    assert result_words("judge_experiments", result) == "experiments looked at: 2, decisions: 1"

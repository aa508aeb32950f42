"""What the page of models says about a battery."""

import pytest

from console import changes
from console.validation import words
from tests.record_builders import check, ranked, validation
from tests.unit.test_viewmodels import route, version
from trajops.contracts.validations import CheckOut, MeasuredOut, ValidationBriefOut

BAD = check("latency", "failed", 31.0)


def shown(*checks: CheckOut, state: str = "registered") -> changes.ModelVersionOut:
    return version(state).model_copy(update={"validation": ValidationBriefOut.of(validation(3, 0, *checks))})


@pytest.mark.parametrize(
    ("checks", "word", "tone"),
    [
        ((check("signature"), check("latency")), "2 checks passed", "ok"),
        ((check("signature"), BAD), "1 check failed", "bad"),
        ((BAD, check("calibration", "failed")), "2 checks failed", "bad"),
    ],
)
def test_a_mark_says_how_many(checks: tuple[CheckOut, ...], word: str, tone: str) -> None:
    mark = words.gate_mark(shown(*checks))
    assert (mark.word, mark.tone) == (word, tone)


def test_a_version_without_validation_is_marked_as_such() -> None:
    assert words.gate_mark(version("registered")).word == "Not validated"
    asked = version("registered").model_copy(update={"is_validation_asked": True})
    assert words.gate_mark(asked).word == "Validation is due"


def test_the_button_says_why_a_version_cannot_be_staged() -> None:
    stage, _ = changes.actions(version("registered"), route(), "operator")
    assert "not been validated yet" in (stage.refusal or "")
    stage, _ = changes.actions(shown(BAD), route(), "operator")
    assert "Its battery has failed (latency)" in (stage.refusal or "")
    stage, _ = changes.actions(shown(check("latency")), route(), "operator")
    assert stage.refusal is None
    stage, _ = changes.actions(shown(BAD), route(), "viewer")
    assert "viewer" in (stage.refusal or ""), "who may not change anything is told that first"
    assert all(one.refusal is None for one in changes.actions(shown(BAD, state="staged"), route(), "operator")), (
        "the gate is before staging"
    )


def test_rows_are_those_of_the_battery() -> None:
    rows = words.check_rows([check("golden_replay"), BAD, check("calibration", "skipped")])
    assert [(row["Check"], row["Result"]) for row in rows] == [
        ("Golden replay", "● Passed"),
        ("Latency", "✕ Failed"),
        ("Calibration", "○ Skipped"),
    ]
    assert rows[1]["What was found"] == "The 99th percentile is 31 ms, allowed at most 20 ms"
    [figure] = words.figure_rows([BAD])
    assert figure == {
        "Check": "Latency",
        "Figure": "The 99th percentile",
        "Measured": 31.0,
        "Unit": "ms",
        "95 % interval": "–",
        "Allowed": "at most 20",
        "Within": False,
    }
    share = MeasuredOut(name="coverage", unit="", measured=0.9, low=0.85, high=0.94, at_least=0.8, at_most=0.97, is_within=True)
    [row] = words.figure_rows([BAD.model_copy(update={"figures": [share]})])
    assert (row["95 % interval"], row["Allowed"], row["Unit"]) == ("0.85 to 0.94", "0.8 to 0.97", "–")
    assert words.allowed(share.model_copy(update={"at_most": None})) == "at least 0.8"
    assert words.allowed(share.model_copy(update={"at_most": None, "at_least": None})) == "–"


def test_the_excluded_have_no_rank() -> None:
    rows = words.rank_rows([ranked(1, "gaussian_mlp", 1.25), ranked(None, "kalman", None)])
    assert [(row["Rank"], row["Points"]) for row in rows] == [(1, 1.2), (None, None)]
    assert rows[0]["Time, p99 (ms)"] == 0.2


def test_it_is_said_on_what_a_battery_was_run() -> None:
    said = words.about(validation(1))
    assert said == (
        "Run when it was trained, by workers.training, on 2212 held-out windows of 172 agents (a match); "
        "times are of a machine, Python 3.11."
    )
    assert "on no windows" in words.about(validation(1, windows=0))


def test_headings_of_a_card_stand_below_those_of_the_page() -> None:
    assert words.below("# Model card\n\ntext # 1\n## Data\n") == "### Model card\n\ntext # 1\n#### Data"

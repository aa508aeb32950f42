"""What a training run says about the traffic that it had: by scene, within what MLflow takes, and as it was said before."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.stubs import MemoryDatabase
from tests.record_builders import AT, later
from trajops.contracts.drift import ReferenceChoice
from trajops.deployments.model_ref import ModelRef
from trajops.deployments.routing import RouteTable
from trajops.drift.gaps import Gap, Span
from trajops.errors import InvalidInput
from trajops.records import ModelVersion
from trajops.services.drift_settings import MOST_CHARACTERS, TRAINED_WITHOUT, as_told, set_reference, told_of

WHOLE = Span(AT, later(3600))


def chosen(params: dict[str, str]) -> ReferenceChoice:
    """The reference of a champion that was trained with such parameters."""
    database, ref = MemoryDatabase(), ModelRef("trajectory", 1)
    with database.unit_of_work() as work:
        work.model_versions.put(ModelVersion("trajectory", 1, "kalman", None, {}, params, "d" * 64, AT))
        work.routes.append(RouteTable(1, champion=ref), at=AT, actor="ada", reason="why")
    choice = ReferenceChoice(kind="training")
    return set_reference(
        database.unit_of_work, choice, model_name="trajectory", actor="ada", reason="why", at=later(7200)
    ).reference  # fmt: skip


def gaps_of(choice: ReferenceChoice) -> list[Gap]:
    return [Gap(part.since, part.until, part.scene) for part in choice.without]


@given(st.text(st.characters(exclude_categories=["C"]), min_size=1, max_size=20))
def test_a_gap_names_its_scene_whatever_that_is_called(scene: str) -> None:
    gaps = [Gap(later(0.25), later(60)), Gap(later(90), later(120), scene)]
    assert gaps_of(chosen(told_of(WHOLE, gaps))) == gaps


def test_records_of_before_mean_all_scenes() -> None:
    told = told_of(WHOLE, []) | {TRAINED_WITHOUT: "0.000-60.000 90.000-120.000"}
    assert gaps_of(chosen(told)) == [Gap(later(0), later(60)), Gap(later(90), later(120))]


@pytest.mark.parametrize("told", ["60", "60-x", "60-90-120@plaza"])
def test_what_cannot_be_read_is_refused(told: str) -> None:
    with pytest.raises(InvalidInput, match="does not say which traffic it was trained on"):
        chosen(told_of(WHOLE, []) | {TRAINED_WITHOUT: told})


def length(gaps: list[Gap]) -> int:
    return len(told_of(WHOLE, gaps).get(TRAINED_WITHOUT, ""))


def test_gaps_that_just_fit_are_told_as_they_are_and_one_more_joins_the_nearest() -> None:
    """Sixteen characters each, and a blank between: 353 of them have 6000."""
    gaps = [Gap(later(1000 + 5 * number), later(1002 + 5 * number), "n") for number in range(400)]
    fitting = gaps[: (MOST_CHARACTERS + 1) // len("1000.000-1002.000@n ")]
    assert MOST_CHARACTERS - 20 < length(fitting) <= MOST_CHARACTERS
    assert as_told(WHOLE, fitting) == fitting
    more = [*fitting, gaps[len(fitting)], Gap(later(3590), later(3591), "n"), Gap(later(3592), later(3593), "n")]
    told = as_told(WHOLE, more)
    assert length(told) <= MOST_CHARACTERS < length(more)
    assert Gap(later(3590), later(3593), "n") in told, "the nearest two are one"
    assert len(more) - len(told) <= 4


@given(st.integers(1, 2000), st.integers(1, 60))
def test_any_number_of_gaps_and_scenes_fits(count: int, scenes: int) -> None:
    gaps = [Gap(later(2 * n), later(2 * n + 1), string.ascii_letters[n % scenes % 52] * 40) for n in range(min(count, 1700))]
    told = as_told(WHOLE, gaps)
    assert length(told) <= MOST_CHARACTERS
    assert {gap.scene for gap in told} <= {None, *(gap.scene for gap in gaps)}
    assert len(chosen(told_of(WHOLE, told)).without) == len(told), "and is read again"

"""Which model answers a unit."""

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trajops.deployments.routing import ModelRef, RouteTable
from trajops.errors import InvalidInput
from trajops.experiments.assignment import unit_interval

A, B, C = ModelRef("trajectory", 1), ModelRef("trajectory", 2), ModelRef("trajectory", 3)
UNITS = [f"agent-{number}" for number in range(4000)]
refs = st.none() | st.builds(ModelRef, st.text(min_size=1), st.integers(1, 10**6))
shares = st.floats(0, 1)


def arms(table: RouteTable) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {"champion": set(), "control": set(), "treatment": set()}
    for unit in UNITS:
        assigned = table.assign(unit)
        assert assigned is not None
        assert assigned.model == (B if assigned.variant == "treatment" else A)
        found[assigned.variant].add(unit)
    return found


def test_without_a_champion_nobody_is_answered() -> None:
    assert RouteTable(epoch=0).assign("agent") is None


@pytest.mark.parametrize(
    "table",
    [
        pytest.param(RouteTable(1, champion=A, coverage=1.0), id="no challenger"),
        pytest.param(RouteTable(1, champion=A, challenger=B, coverage=0.0), id="no coverage"),
    ],
)
def test_without_a_comparison_the_champion_answers(table: RouteTable) -> None:
    assert {table.assign(unit) for unit in UNITS} == {(A, "champion")}


def test_half_of_the_enrolled_get_the_challenger() -> None:
    found = arms(RouteTable(1, champion=A, challenger=B, coverage=0.5, seed="s"))
    # 4,000 draws with p = 1/4: five standard deviations are 137.
    assert abs(len(found["control"]) - 1000) < 137
    assert abs(len(found["treatment"]) - 1000) < 137


def test_at_full_coverage_everybody_is_enrolled() -> None:
    assert arms(RouteTable(1, champion=A, challenger=B, coverage=1.0, seed="s"))["champion"] == set()


def test_a_ramp_moves_nobody_between_arms() -> None:
    tables = [RouteTable(1, champion=A, challenger=B, coverage=share, seed="s") for share in (0.02, 0.1, 0.5, 1.0)]
    steps = [arms(table) for table in tables]
    for narrow, wide in pairwise(steps):
        assert narrow["control"] < wide["control"]
        assert narrow["treatment"] < wide["treatment"]


@given(st.text(min_size=1), st.text(), shares)
def test_the_arm_follows_from_the_hash(unit: str, seed: str, coverage: float) -> None:
    assigned = RouteTable(1, champion=A, challenger=B, coverage=coverage, seed=seed).assign(unit)
    assert assigned is not None
    n = unit_interval(seed, unit)
    assert (assigned.variant == "treatment") is (coverage > 0 and 0.5 <= n < 0.5 + coverage / 2)
    assert (assigned.variant == "control") is (n < coverage / 2)


@given(st.integers(0, 10**9), refs, refs, refs, shares, st.text(alphabet=st.characters(exclude_categories=["Cs"])))
def test_a_table_survives_json(
    epoch: int, champion: ModelRef | None, challenger: ModelRef | None, previous: ModelRef | None, coverage: float, seed: str
) -> None:
    table = RouteTable(epoch, champion, challenger, previous, coverage, seed)
    assert RouteTable.from_json(json.loads(json.dumps(table.to_json()))) == table


def test_the_next_table_has_the_next_epoch_and_nothing_else() -> None:
    table = RouteTable(4, champion=A, challenger=B, coverage=0.5, seed="s")
    assert table.next(coverage=1.0) == RouteTable(5, champion=A, challenger=B, coverage=1.0, seed="s")
    assert table.epoch == 4


def test_the_routed_models_are_named_once_each() -> None:
    assert RouteTable(1, champion=A, challenger=B, previous=B).models() == (A, B)
    assert RouteTable(0).models() == ()


def test_aliases_follow_the_table() -> None:
    table = RouteTable(1, champion=A, challenger=B, previous=C)
    assert [table.alias(name) for name in ("champion", "challenger", "previous_champion", "latest")] == [A, B, C, None]


@pytest.mark.parametrize("coverage", [-0.01, 1.01, float("nan")])
def test_coverage_is_a_share(coverage: float) -> None:
    with pytest.raises(InvalidInput, match="coverage"):
        RouteTable(1, coverage=coverage)


def test_a_ref_reads_as_name_and_version() -> None:
    assert str(A) == "trajectory/1"

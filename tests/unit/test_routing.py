"""Which model answers a request, and in which experiment."""

import json
from collections import Counter
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from growthbook.core import getBucketRanges, inNamespace
from hypothesis import given
from hypothesis import strategies as st

from trajops.deployments.model_ref import ModelRef
from trajops.deployments.routing import Assignment, RouteTable, Units
from trajops.errors import InvalidInput
from trajops.experiments.assignment import Range, arm_ranges, namespace_point, unit_interval
from trajops.experiments.routed import Arm, Holdout, Namespace, RoutedExperiment, canary

A, B, C = ModelRef("trajectory", 1), ModelRef("trajectory", 2), ModelRef("trajectory", 3)
UNITS = [Units("plaza", f"agent-{number}", f"client-{number % 50}") for number in range(4000)]
refs = st.builds(ModelRef, st.text(min_size=1), st.integers(1, 10**6))
shares = st.floats(0, 1)
# What JSON can carry.
texts = st.text(alphabet=st.characters(exclude_categories=["Cs"]))


def comparing(coverage: float, seed: str = "s", **changes: Any) -> RouteTable:
    return RouteTable(1, A, experiments=(canary("e", A, B, coverage, seed),), **changes)


def variants(table: RouteTable) -> dict[str, set[Units]]:
    found: dict[str, set[Units]] = {}
    for units in UNITS:
        assigned = table.assign(units)
        assert assigned is not None
        found.setdefault(assigned.variant, set()).add(units)
    return found


def weighted(*weights: float, **changes: Any) -> RoutedExperiment:
    names = ["control", *(f"treatment_{number}" for number in range(1, len(weights)))]
    values: dict[str, Any] = {"experiment_id": "e", "coverage": 1.0, "seed": "s"}
    return RoutedExperiment(arms=tuple(map(Arm, names, (A, B, C), weights)), **values | changes)


def test_without_a_champion_nobody_is_answered() -> None:
    assert RouteTable(epoch=0).assign(UNITS[0]) is None


@pytest.mark.parametrize(
    "table",
    [
        pytest.param(RouteTable(1, A), id="no experiment"),
        pytest.param(comparing(0.0), id="a paused one"),
        pytest.param(comparing(1.0, is_stopped=True), id="kill switch"),
    ],
)
def test_without_a_comparison_the_champion_answers(table: RouteTable) -> None:
    assert {table.assign(units) for units in UNITS} == {(A, "champion", None)}


def test_half_of_the_enrolled_get_the_challenger() -> None:
    found = variants(comparing(0.5))
    # 4,000 draws with p = 1/4: five standard deviations are 137.
    assert abs(len(found["control"]) - 1000) < 137
    assert abs(len(found["treatment"]) - 1000) < 137
    assert comparing(0.5).assign(next(iter(found["treatment"]))) == (B, "treatment", "e")
    assert comparing(0.5).assign(next(iter(found["control"]))) == (A, "control", "e")


def test_at_full_coverage_everybody_is_enrolled() -> None:
    assert variants(comparing(1.0)).keys() == {"control", "treatment"}


def test_a_ramp_moves_nobody_between_arms() -> None:
    steps = [variants(comparing(share)) for share in (0.02, 0.1, 0.5, 1.0)]
    for narrow, wide in pairwise(steps):
        assert narrow["control"] < wide["control"]
        assert narrow["treatment"] < wide["treatment"]


@given(st.lists(st.integers(1, 100), min_size=2, max_size=3), st.lists(shares, min_size=2, max_size=6), st.text(min_size=1), st.text())
def test_no_ramp_moves_anybody_whatever_the_weights(parts: list[int], ramp: list[float], agent_id: str, seed: str) -> None:
    experiment = weighted(*(part / sum(parts) for part in parts), seed=seed)
    arms = [experiment.with_coverage(coverage).arm_of(f"s/{agent_id}") for coverage in ramp]
    assert len({arm.variant for arm in arms if arm is not None}) <= 1
    # Who is enrolled at some coverage is enrolled at any wider one.
    is_enrolled = [arm is not None for _, arm in sorted(zip(ramp, arms, strict=True), key=lambda one: one[0])]
    assert is_enrolled == sorted(is_enrolled)


def test_weights_are_kept_among_several_arms() -> None:
    counts = Counter(arm.variant for units in UNITS if (arm := weighted(0.5, 0.3, 0.2).arm_of(units.of("agent"))))
    assert counts.total() == len(UNITS)
    # Five standard deviations of 4,000 draws are at most 158.
    assert abs(counts["control"] - 2000) < 158
    assert abs(counts["treatment_1"] - 1200) < 158
    assert abs(counts["treatment_2"] - 800) < 158


@given(st.lists(st.integers(1, 100), min_size=2, max_size=6), shares)
def test_arms_own_what_growthbook_gives_them(parts: list[int], coverage: float) -> None:
    weights = [part / sum(parts) for part in parts]
    assert [tuple(one) for one in arm_ranges(weights, coverage)] == getBucketRanges(len(weights), coverage, weights)


@given(st.text(min_size=1), st.text(min_size=1), st.integers(0, 1000), st.integers(0, 1000))
def test_a_namespace_holds_whom_growthbook_lets_in(unit: str, name: str, begin: int, end: int) -> None:
    part = Range(begin / 1000, end / 1000)
    assert part.holds(namespace_point(name, unit)) is inNamespace(unit, (name, *part))


def test_experiments_in_parts_of_a_namespace_share_no_unit_and_each_is_random_within() -> None:
    half = [Namespace("models", Range(0, 0.5)), Namespace("models", Range(0.5, 1))]
    table = RouteTable(1, A, experiments=tuple(weighted(0.5, 0.5, experiment_id=f"e{n}", seed=f"s{n}", namespace=half[n]) for n in (0, 1)))
    found = Counter((one.experiment_id, one.variant) for units in UNITS if (one := table.assign(units)))
    assert found.keys() == {(experiment, variant) for experiment in ("e0", "e1") for variant in ("control", "treatment_1")}
    assert min(found.values()) > 850
    alone = RouteTable(1, A, experiments=table.experiments[1:])
    second = {units for units in UNITS if (assigned := alone.assign(units)) is not None and assigned.experiment_id == "e1"}
    assert all(table.assign(units) == alone.assign(units) for units in second)


@pytest.mark.parametrize(("kind", "ids"), [("agent", 4000), ("client", 50), ("scene", 1)])
def test_any_unit_can_be_assigned_and_all_its_requests_fall_alike(kind: Any, ids: int) -> None:
    table = RouteTable(1, A, experiments=(weighted(0.5, 0.5, unit=kind),))
    by_unit: dict[str, set[Assignment | None]] = {}
    for units in UNITS:
        by_unit.setdefault(units.of(kind), set()).add(table.assign(units))
    assert len(by_unit) == ids
    assert all(len(found) == 1 for found in by_unit.values())


def test_who_is_held_out_takes_part_in_nothing_and_is_told_apart() -> None:
    held = variants(comparing(1.0, holdout=Holdout(0.1, "h")))
    assert abs(len(held["holdout"]) - 400) < 95
    assert held["treatment"] < variants(comparing(1.0))["treatment"]


def test_an_override_is_answered_by_hand_even_when_held_out_but_not_when_everything_is_stopped() -> None:
    chosen = UNITS[0].of("agent")
    for variant, model in (("control", A), ("treatment_1", B)):
        experiment = weighted(0.5, 0.5, overrides={chosen: variant})
        for table in (RouteTable(1, C, experiments=(experiment,)), RouteTable(1, C, experiments=(experiment,), holdout=Holdout(1.0, "h"))):
            assert table.assign(UNITS[0]) == (model, "override", "e")
        assert RouteTable(1, C, experiments=(experiment,), is_stopped=True).assign(UNITS[0]) == (C, "champion", None)


@given(st.floats(0, 1), st.sampled_from(["control", "treatment_1"]), st.sampled_from(["agent", "client", "scene"]), st.booleans())
def test_an_override_counts_as_long_as_anybody_is_enrolled(coverage: float, variant: str, unit: Any, is_shadow: bool) -> None:
    by_hand = {UNITS[0].of(unit): variant}
    experiment = weighted(0.5, 0.5, unit=unit, coverage=coverage, overrides=by_hand, is_shadow=is_shadow)
    paused = RouteTable(1, C, experiments=(experiment.with_coverage(0.0),))
    assert {paused.assign(units) for units in UNITS[:15]} == {(C, "champion", None)}, "a pause leaves everybody to the champion"
    # Whatever else is compared goes on without it.
    beside = replace(paused, experiments=(*paused.experiments, weighted(0.5, 0.5, experiment_id="e1", seed="s1")))
    assert [beside.assign(units) for units in UNITS[:15]] == [
        RouteTable(1, C, experiments=beside.experiments[1:]).assign(units) for units in UNITS[:15]
    ]
    model = experiment.arm(variant).model  # type: ignore[union-attr] - it is one of its arms
    resumed = RouteTable(1, C, experiments=(experiment,))
    assert resumed.assign(UNITS[0]) == ((model, "override", "e") if coverage > 0 else (C, "champion", None))
    assert replace(resumed, experiments=(experiment.with_coverage(0.01),)).assign(UNITS[0]) == (model, "override", "e")


def test_an_override_into_an_arm_that_is_gone_says_nothing() -> None:
    experiment = weighted(0.5, 0.5, overrides={UNITS[0].of("agent"): "treatment_9"})
    assert RouteTable(1, A, experiments=(experiment,)).assign(UNITS[0]) == RouteTable(1, A, experiments=(weighted(0.5, 0.5),)).assign(
        UNITS[0]
    )


@given(st.text(min_size=1), st.text(), shares)
def test_the_arm_follows_from_the_hash(unit: str, seed: str, coverage: float) -> None:
    assigned = comparing(coverage, seed).assign(Units("s", unit, "c"))
    assert assigned is not None
    n = unit_interval(seed, f"s/{unit}")
    assert (assigned.variant == "treatment") is (coverage > 0 and 0.5 <= n < 0.5 + coverage * 0.5)
    assert (assigned.variant == "control") is (n < coverage * 0.5)


namespaces = st.none() | st.builds(lambda name, a, b: Namespace(name, Range(min(a, b), max(a, b))), texts, shares, shares)
experiments = st.builds(
    lambda ids, coverage, seed, unit, namespace, overrides: RoutedExperiment(
        ids, (Arm("control", A, 0.5), Arm("treatment", B, 0.5)), coverage, seed, unit, namespace, overrides
    ),
    texts,
    shares,
    texts,
    st.sampled_from(["agent", "client", "scene"]),
    namespaces,
    st.dictionaries(texts, st.sampled_from(["control", "treatment"]), max_size=3),
)


@given(
    st.builds(
        RouteTable,
        st.integers(0, 10**9),
        st.none() | refs,
        st.none() | refs,
        st.lists(experiments, max_size=3, unique_by=lambda one: one.experiment_id).map(tuple),
        st.none() | st.builds(Holdout, shares, texts),
        st.booleans(),
    )
)
def test_a_table_survives_json(table: RouteTable) -> None:
    assert RouteTable.from_json(json.loads(json.dumps(table.to_json()))) == table


def test_a_table_of_the_release_before_is_read() -> None:
    row = {"epoch": 3, "champion": ["trajectory", 1], "challenger": ["trajectory", 2], "previous": None, "coverage": 0.5, "seed": "s"}
    table = RouteTable.from_json(row)
    assert (table.champion, table.challenger, table.coverage) == (A, B, 0.5)
    assert {one.variant for units in UNITS if (one := table.assign(units))} == {"champion", "control", "treatment"}
    assert RouteTable.from_json(row | {"challenger": None, "coverage": 0.0, "seed": ""}) == RouteTable(3, A)


def test_the_next_table_has_the_next_epoch_and_nothing_else() -> None:
    table = comparing(0.5)
    wider = (table.experiments[0].with_coverage(1.0),)
    assert table.next(experiments=wider) == RouteTable(2, A, experiments=wider)
    assert table.epoch == 1


def test_the_routed_models_are_named_once_each() -> None:
    table = comparing(0.0, previous=B)
    assert table.models() == (A, B) == table.drawn()
    assert table.answering() == (A,)
    assert comparing(0.1).answering() == (A, B)
    assert comparing(0.1, is_stopped=True).answering() == (A,)
    assert RouteTable(0).models() == ()


def test_aliases_follow_the_table() -> None:
    table = comparing(0.5, previous=C)
    assert [table.alias(name) for name in ("champion", "challenger", "previous_champion", "latest")] == [A, B, C, None]


@pytest.mark.parametrize("coverage", [-0.01, 1.01, float("nan")])
def test_coverage_is_a_share(coverage: float) -> None:
    with pytest.raises(InvalidInput, match="coverage"):
        comparing(coverage)


@pytest.mark.parametrize(
    ("arms", "said"),
    [
        ((Arm("control", A, 1.0),), "two or more arms"),
        ((Arm("control", A, 0.5), Arm("control", B, 0.5)), "different names"),
        ((Arm("control", A, 0.5), Arm("treatment", B, 0.6)), "add up to 1"),
        ((Arm("control", A, 1.0), Arm("treatment", B, 0.0)), "above 0"),
    ],
)
def test_impossible_arms_are_refused(arms: tuple[Arm, ...], said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        RoutedExperiment("e", arms, 0.5, "s")


def test_an_experiment_is_routed_once() -> None:
    with pytest.raises(InvalidInput, match="once"):
        RouteTable(1, A, experiments=(weighted(0.5, 0.5), weighted(0.5, 0.5)))


def test_a_ref_reads_as_name_and_version() -> None:
    assert str(A) == "trajectory/1"

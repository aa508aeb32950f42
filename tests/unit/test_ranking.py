"""Candidates of a run: hard limits first, then points, and a sentence that says why."""

from dataclasses import replace

import pytest

from trajops.selection.ranking import CandidateFigures, rank
from trajops.selection.rules import RankingRule

RULES = RankingRule()
BASE = CandidateFigures(
    family="kalman", ade_m=1.0, baseline_ade_m=1.2, nll=2.0, coverage_90=0.9, latency_ms=0.1, latency_p99_ms=0.2, size_mb=0.1
)


def a_candidate(family: str, **changes: float) -> CandidateFigures:
    return replace(BASE, family=family, **changes)


def test_points_are_those_of_the_rule() -> None:
    """5 % of ADE, a tenth of a nat, four times as slow, four times as large: 5 + 2 + 1 + 0.5."""
    behind = a_candidate("mlp", ade_m=1.05, nll=2.1, latency_ms=0.4, size_mb=0.4)
    best, second = rank([behind, BASE], RULES)
    assert (best.family, best.rank, best.points, best.sentence) == ("kalman", 1, 0.0, "Behind in no figure that counts.")
    assert (second.family, second.rank) == ("mlp", 2)
    assert second.parts == pytest.approx({"ade": 5.0, "nll": 2.0, "latency": 1.0, "size": 0.5})
    assert second.points == pytest.approx(8.5)
    assert second.sentence == "8.5 points (5.0 for its ADE, 2.0 for its NLL, 1.0 for its time, 0.5 for its size), behind Kalman filter."


def test_each_figure_is_held_against_the_best_of_that_figure() -> None:
    accurate, quick = a_candidate("accurate", latency_ms=0.8), a_candidate("quick", ade_m=1.01)
    first, second = rank([accurate, quick], RULES)
    assert (first.family, first.points) == ("quick", pytest.approx(1.0))
    assert first.sentence == "Fewest points, 1.0: 1.0 for its ADE."
    assert (second.family, second.points) == ("accurate", pytest.approx(1.5))


def test_what_nobody_notices_costs_nothing() -> None:
    """Below the floors of time and size there is no best; equal points go to the smaller ADE, here that of the first."""
    rows = rank([a_candidate("a", latency_ms=0.09, size_mb=0.05), a_candidate("b", latency_ms=0.001, size_mb=0.001)], RULES)
    assert [(row.family, row.points) for row in rows] == [("a", 0.0), ("b", 0.0)]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"latency_p99_ms": 21.0}, "Excluded: the 99th percentile of its time is 21 ms, allowed at most 20 ms."),
        ({"size_mb": 65.0}, "Excluded: its size is 65 MB, allowed at most 64 MB."),
        ({"coverage_90": 0.7}, "Excluded: its coverage at 90 % is 0.7, allowed at least 0.8 and at most 0.97."),
        ({"coverage_90": 0.99}, "Excluded: its coverage at 90 % is 0.99, allowed at least 0.8 and at most 0.97."),
        ({"baseline_ade_m": 0.9}, "Excluded: its ADE over that of constant velocity is 1.111, allowed at most 1.05."),
        ({"nll": float("nan")}, "Excluded: its NLL is not a finite number."),
    ],
)
def test_a_hard_limit_excludes_however_good_the_rest_is(changes: dict[str, float], sentence: str) -> None:
    best = a_candidate("best", ade_m=0.5, **changes) if "baseline_ade_m" not in changes else a_candidate("best", **changes)
    kept, out = rank([best, a_candidate("plain", ade_m=1.0)], RULES)
    assert (kept.family, kept.rank, kept.points, kept.sentence) == ("plain", 1, 0.0, "The only candidate within the hard limits.")
    assert (out.family, out.rank, out.points, out.parts) == ("best", None, None, {})
    assert out.sentence == sentence


def test_who_is_excluded_sets_no_mark_for_the_others() -> None:
    [first, *_] = rank([a_candidate("huge", ade_m=0.1, size_mb=1000.0), a_candidate("plain")], RULES)
    assert (first.family, first.parts["ade"]) == ("plain", 0.0)


def test_figures_are_shown_with_the_rank() -> None:
    [row] = rank([BASE], RULES)
    assert row.figures == pytest.approx(
        {
            "ade_m": 1.0,
            "nll": 2.0,
            "coverage_90": 0.9,
            "latency_ms": 0.1,
            "latency_p99_ms": 0.2,
            "size_mb": 0.1,
            "ade_to_baseline": 1 / 1.2,
        }
    )


def test_a_standing_crowd_has_no_error_to_be_behind_with() -> None:
    rows = rank([a_candidate("a", ade_m=0.0, baseline_ade_m=0.0), a_candidate("b", ade_m=0.0, baseline_ade_m=0.0)], RULES)
    assert [row.rank for row in rows] == [1, 2]
    [out] = rank([a_candidate("c", ade_m=0.1, baseline_ade_m=0.0)], RULES)
    assert out.rank is None

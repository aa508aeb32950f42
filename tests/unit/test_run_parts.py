"""Errors of training runs by scene and by speed: which are shown, in which order, what is said of them, how they are drawn."""

from collections.abc import Mapping

import pytest

from console.palette import LIGHT
from console.runs import charts, parts
from tests.run_builders import a_run, run_id, shown
from trajops.contracts.runs import RunDetailOut, RunPartOut


def detail(number: int, scenes: Mapping[str, float], *, fingerprint: str = "9f1c", windows: int | None = 40) -> RunDetailOut:
    [run] = shown(a_run(number, params={"family": "kalman", "data_fingerprint": fingerprint}))
    found = [RunPartOut(name=name, ade_m=ade_m, fde_m=2 * ade_m, windows=windows) for name, ade_m in scenes.items()]
    return RunDetailOut(run=run, steps=[], calibration=[], scenes=found, speeds=found[::-1], refusal=None)


def test_scenes_stand_by_the_error_of_the_baseline_and_after_them_what_only_others_have() -> None:
    baseline, other = detail(1, {"a": 0.2, "b": 0.5, "c": 0.3}), detail(2, {"a": 0.9, "d": 0.1, "e": 0.4})
    assert parts.shown([baseline, other], "scenes", baseline) == (["b", "c", "a", "e", "d"], 5)
    assert parts.shown([other, baseline], "scenes", other).names == ["a", "e", "d", "b", "c"]
    assert parts.shown([baseline, other], "speeds", baseline).names == ["c", "b", "a", "e", "d"], "slow to fast, as they come"


def test_so_many_scenes_as_foreign_runs_may_log_are_cut() -> None:
    many = detail(1, {f"s{number}": float(number) for number in range(500)})
    found = parts.shown([many], "scenes", many)
    assert (len(found.names), found.total, found.names[0]) == (parts.MOST, 500, "s499")


@pytest.mark.parametrize(
    ("scenes", "said"),
    [
        (
            {"a": 0.2, "b": 0.3, "c": 0.3004, "new": 9.0},
            "best in a (0.200 m); worst in new (9.000 m); better than the baseline in 1 and worse in 1 of 3",
        ),
        ({"a": 0.2}, "one scene, a (0.200 m), better than the baseline."),
        ({"new": 0.2}, "one scene, new (0.200 m); no scene in common with the baseline."),
    ],
)
def test_where_a_run_is_good_and_bad_and_better_than_the_baseline(scenes: dict[str, float], said: str) -> None:
    baseline = detail(1, {"a": 0.4, "b": 0.2, "c": 0.3})
    assert parts.sentence(detail(2, scenes), baseline, "scenes").startswith(f"Kalman filter {run_id(2)[:6]}: {said}")


def test_nothing_is_compared_with_itself_or_over_other_data() -> None:
    baseline, other = detail(1, {"a": 0.4, "b": 0.2}), detail(2, {"a": 0.2, "b": 0.1}, fingerprint="77aa")
    for one, held_against in ((baseline, baseline), (other, baseline), (other, None)):
        assert "baseline" not in parts.sentence(one, held_against, "scenes")


def test_each_run_has_a_mark_in_each_scene_that_it_was_validated_on() -> None:
    long = ["x" * 40 + "1", "x" * 40 + "2"]
    first, second = detail(1, {"a": 0.4, long[0]: 0.2, long[1]: 0.3}), detail(2, {"a": 0.2}, windows=None)
    figure = charts.error_by_part([first, second], "scenes", ["a", *long], LIGHT)
    one, other = figure.data
    assert list(one.x) == [0.4, 0.2, 0.3]
    assert len(set(one.y)) == 3, "names that begin alike keep apart"
    assert list(other.y) == ["a"]
    assert one.marker.symbol != other.marker.symbol
    assert [about for _, about in (*one.customdata, *other.customdata)][::3] == [
        "ADE 0.400 m · FDE 0.800 m · 40 windows",
        "ADE 0.200 m · FDE 0.400 m",
    ]
    assert list(figure.layout.yaxis.categoryarray)[-1] == "a", "the first is on top"

"""Figures of training runs: the front, what is marked, what each line is."""

import math

import pytest

from console.palette import LIGHT
from console.runs import charts
from tests.run_builders import a_run, run_id, shown
from trajops.contracts.runs import RunCalibrationOut, RunDetailOut, RunStepOut


@pytest.mark.parametrize(
    ("points", "indices"),
    [
        ([], []),
        ([(1.0, 5.0)], [0]),
        ([(1.0, 5.0), (2.0, 4.0), (3.0, 4.5)], [0, 1]),
        ([(2.0, 4.0), (1.0, 5.0), (2.0, 3.0)], [1, 2]),
        ([(1.0, 5.0), (1.0, 5.0)], [0]),
    ],
)
def test_the_front_holds_what_nothing_beats_in_both(points: list[tuple[float, float]], indices: list[int]) -> None:
    assert charts.front(points) == indices


def test_the_front_is_of_the_same_data_and_the_chosen_are_marked() -> None:
    other = a_run(5, params={"family": "kalman", "data_fingerprint": "77aa"})
    runs = shown(a_run(1), a_run(2), a_run(3, metrics={"val_ade_m": 0.9, "val_latency_ms": 1.0}), a_run(4, metrics={}), other)
    figure = charts.error_against_latency(runs, [run_id(2)], runs[-1], LIGHT)
    front, same, apart = figure.data
    assert list(front.x) == [0.05, 0.1]
    assert [one[0] for one in same.customdata] == [run_id(3), run_id(2), run_id(1)]
    assert [one[0] for one in apart.customdata] == [run_id(5)]
    assert apart.marker.symbol == "circle-open"
    assert list(same.marker.size) == [9, 14, 9]
    assert figure.layout.xaxis.type == "linear"


def test_a_wide_range_of_latencies_is_logarithmic() -> None:
    runs = shown(a_run(1), a_run(2, metrics={"val_ade_m": 0.3, "val_latency_ms": 5.0}))
    figure = charts.error_against_latency(runs, [], runs[0], LIGHT)
    low, high = figure.layout.xaxis.range
    assert figure.layout.xaxis.type == "log"
    assert low < math.log10(0.05)
    assert high > math.log10(5.0)


def test_a_version_has_its_colour_and_the_others_have_free_ones() -> None:
    runs = shown(a_run(1), a_run(2), a_run(3), registered=(2, 1))
    assert charts.places_of(runs) == {run_id(3): 2, run_id(2): 0, run_id(1): 1}
    assert len(set(charts.places_of(shown(*map(a_run, range(1, 11)), registered=(9,))).values())) == 10


def test_each_axis_goes_from_its_least_to_its_largest_value() -> None:
    runs = shown(a_run(1), a_run(2), a_run(3, metrics={"val_ade_m": 0.47}))
    figure = charts.side_by_side(runs, LIGHT)
    by_run = {one.name: dict(zip(one.x, one.y, strict=True)) for one in figure.data}
    assert by_run["Kalman filter 010101"]["ADE (m)"] == 1.0
    assert by_run["Kalman filter 020202"]["ADE (m)"] == 0.0
    assert 0.0 < by_run["Kalman filter 030303"]["ADE (m)"] < 1.0
    assert by_run["Kalman filter 030303"]["NLL (nats)"] is None
    assert {"0.460", "0.480"} <= {one.text for one in figure.layout.annotations}


def test_curves_have_one_line_a_run() -> None:
    details = [
        RunDetailOut(
            run=run,
            steps=[
                RunStepOut(step=1, ahead_s=None, ade_m=0.1),
                RunStepOut(step=2, ahead_s=0.8, ade_m=0.2),
                RunStepOut(step=3, ahead_s=1.2),
            ],
            calibration=[RunCalibrationOut(nominal=0.9, observed=0.85)],
            scenes=[],
            speeds=[],
            refusal=None,
        )
        for run in shown(a_run(1), a_run(2))
    ]
    by_step = charts.error_by_step(details, LIGHT)
    assert [(list(one.x), list(one.y)) for one in by_step.data] == [([0.4, 0.8], [0.1, 0.2])] * 2
    diagonal, *curves = charts.calibration(details, LIGHT).data
    assert list(diagonal.x) == list(diagonal.y)
    assert [(list(one.x), list(one.y)) for one in curves] == [([90.0], [85.0])] * 2

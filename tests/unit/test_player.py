"""The player: a frame for each step, truth not before its time, and a view that holds still."""

from console.palette import LIGHT
from console.plane import Drawn
from console.played import label
from console.predicting.player import player, step_rows
from trajops.contracts.predictions import Mode, PredictOut

HISTORY = [(float(k), 0.0) for k in range(8)]
TRUTH = [(8.0 + k, 0.5) if k < 5 else None for k in range(12)]


def forecast(version: int = 2) -> PredictOut:
    modes = [
        Mode(weight=w, positions=[(8.0 + k, b * k) for k in range(12)], covariance=[(0.1, 0.0, 0.1)] * 12) for w, b in ((0.7, 0), (0.3, 1))
    ]
    return PredictOut(
        prediction_id="p", agent_id="a", scene_id="s", observed_at_s=1.0, dt_s=0.4, model_name="m", model_version=version,
        variant="champion", epoch=1, modes=modes, model_ms=0.1,
    )  # fmt: skip


def shown(frame: object, name: str, figure: object) -> list[float]:
    index = next(i for i, trace in enumerate(figure.data) if trace.name == name)  # type: ignore[attr-defined]
    return list(frame.data[list(frame.traces).index(index)].x)  # type: ignore[attr-defined]


def test_there_is_a_frame_with_its_time_for_each_step() -> None:
    film = player(HISTORY, [Drawn("v2", forecast())], TRUTH, LIGHT)
    assert film.labels[:2] == ["−2.8", "−2.4"]
    assert film.labels[7:9] == ["0.0", "+0.4"]
    assert [frame.name for frame in film.figure.frames] == [str(i) for i in range(20)]
    assert (len(film.labels), film.start, film.step_s) == (20, 19, 0.4)


def test_track_modes_and_truth_come_one_after_the_other() -> None:
    film = player(HISTORY, [Drawn("v2", forecast())], TRUTH, LIGHT)
    figure, by_name = film.figure, dict(zip(film.labels, film.figure.frames, strict=True))
    assert shown(by_name["−2.8"], "History", figure) == [0.0]
    assert shown(by_name["−0.4"], "v2", figure) == []
    assert len(shown(by_name["0.0"], "v2", figure)) == 13
    assert shown(by_name["0.0"], "Truth", figure) == []
    assert shown(by_name["+0.8"], "Truth", figure) == [8.0, 9.0]
    assert len(shown(by_name["+4.8"], "Truth", figure)) == 5
    assert len(shown(by_name["+4.8"], "History", figure)) == 8


def test_the_view_holds_all_that_comes() -> None:
    figure = player(HISTORY, [Drawn("v2", forecast()), Drawn("v3", forecast(3))], TRUTH, LIGHT).figure
    low, high = figure.layout.xaxis.range
    assert low < 0.0
    assert high > 19.0
    assert figure.layout.yaxis.scaleanchor == "x"
    assert all(len(frame.traces) == len(frame.data) for frame in figure.frames)


def test_a_prediction_without_truth_is_played_too() -> None:
    assert len(player(HISTORY, [Drawn("v2", forecast())], [None] * 12, LIGHT).figure.frames) == 20


def test_steps_for_readers() -> None:
    rows = step_rows(forecast(), TRUTH)
    assert len(rows) == 12
    assert rows[0] == {"Ahead (s)": 0.4, "Predicted (m)": "8.00, 0.00", "Observed (m)": "8.00, 0.50", "Error (m)": 0.5}
    assert (rows[-1]["Observed (m)"], rows[-1]["Error (m)"]) == ("–", None)


def test_labels_of_moments() -> None:
    assert [label(s) for s in (-2.8, 0.0, -1e-12, 0.4)] == ["−2.8", "0.0", "0.0", "+0.4"]

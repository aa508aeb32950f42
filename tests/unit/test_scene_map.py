"""A scene as the map tells it: who is where at a moment, what changes in place, and bounds of what is drawn."""

from datetime import UTC, datetime, timedelta

import pytest

from console.drawing import MAX_POINTS
from console.palette import LIGHT
from console.scenes.charts import View, replay, scene_map, values, view_of
from console.scenes.layers import Layers
from console.scenes.words import BANDS, agents_at, agents_now, band, moments_s, news, rows, sentence
from trajops.contracts.scenes import SceneMode, ScenePrediction, SceneTrack, SceneWindow

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def prediction(agent: str, at_s: float, version: int = 2) -> ScenePrediction:
    modes = [SceneMode(weight=w, positions=[(100.0 + k, y) for k in range(12)]) for w, y in ((0.7, 0.0), (0.3, 5.0))]
    return ScenePrediction(
        prediction_id=f"{agent}-{at_s}",
        agent_id=agent,
        observed_at_s=at_s,
        dt_s=0.4,
        model_version=version,
        variant="champion",
        modes=modes,
    )


def window(agents: int = 1, newest: float = 1.0) -> SceneWindow:
    """Agents that walk along x at 2 m/s from 0 s to 4 s, two metres apart in y, each predicted at 1 s and 3 s."""
    tracks = [
        SceneTrack(agent_id=f"a{n}", times_s=[0.0, 1.0, 2.0, 3.0, 4.0], positions=[(2.0 * t, 2.0 * n) for t in range(5)], speed_mps=2.0)
        for n in range(agents)
    ]
    return SceneWindow(
        scene_id="s",
        since=NOW - timedelta(seconds=10),
        until=NOW,
        tracks=tracks,
        predictions=[prediction(f"a{n}", at_s) for n in range(agents) for at_s in (3.0, 1.0)],
        agents=agents,
        cut=[],
        newest_at=None if not agents else NOW - timedelta(seconds=newest),
    )


def test_now_is_where_each_agent_was_last_seen_with_its_newest_prediction() -> None:
    [agent] = agents_now(window(), 2.0)
    assert agent.position == (8.0, 0.0)
    assert agent.trail == [(4.0, 0.0), (6.0, 0.0), (8.0, 0.0)]
    assert agent.prediction is not None
    assert agent.prediction.observed_at_s == 3.0


def test_a_moment_between_two_positions_lies_on_their_line() -> None:
    [agent] = agents_at(window(), 2.5, 1.0)
    assert agent.position == pytest.approx((5.0, 0.0))
    assert agent.trail == [(4.0, 0.0), pytest.approx((5.0, 0.0))]
    assert agent.speed_mps == pytest.approx(2.0)
    assert agent.prediction is not None
    assert agent.prediction.observed_at_s == 1.0, "what is predicted later is not known yet"


def test_an_agent_is_shown_neither_before_nor_long_after_its_track() -> None:
    assert agents_at(window(), -0.1, 1.0) == []
    assert len(agents_at(window(), 5.0, 1.0)) == 1
    assert agents_at(window(), 6.0, 1.0) == []


@pytest.mark.parametrize(("speed", "expected"), [(None, 0), (0.0, 0), (0.5, 1), (1.99, 1), (2.0, 2), (7.0, 3), (300.0, 3)])
def test_speed_has_a_word(speed: float | None, expected: int) -> None:
    assert band(speed) == expected < len(BANDS)


@pytest.mark.parametrize(("seen", "word"), [(window(), "Live"), (window(newest=6.0), "No news"), (window(0), "Silent")])
def test_the_first_answer_is_whether_it_lives(seen: SceneWindow, word: str) -> None:
    assert news(seen, NOW).word == word


def test_the_sentence_counts() -> None:
    assert sentence(window(), NOW).startswith("1 agent, 2 with a prediction; last heard of")
    assert sentence(window(3), NOW).startswith("3 agents")


def test_played_moments_are_bounded() -> None:
    assert moments_s(window(), 60) == pytest.approx([1.0, 1.5, 2.0, 2.5, 3.0])
    assert len(moments_s(window(), 3)) == 3
    assert moments_s(window(0), 60) == []


def test_what_changes_fits_the_figure_that_stays() -> None:
    first, later = agents_now(window(5), 2.0), agents_at(window(3), 2.5, 1.0)
    figure = scene_map(first, LIGHT, view_of(first), chosen="a1", scene_id="s")
    changed = values(later, LIGHT, "a2")
    assert len(changed) == len(figure.data)
    for trace, new in zip(figure.data, changed, strict=True):
        assert {"x", "y"} <= set(new)
        assert (trace.customdata is not None) == ("customdata" in new)
    assert sum(len(new["x"]) for new in changed if "customdata" in new) == 3
    assert [new["text"] for new in changed if new.get("text")] == [["a2"]]


def test_no_trace_draws_more_than_it_may() -> None:
    many = agents_now(window(200), 4.0)
    for trace in scene_map(many, LIGHT, view_of(many), chosen=None, scene_id="s").data:
        assert sum(x is not None for x in trace.x) <= MAX_POINTS


def test_the_plane_has_one_scale_and_keeps_its_zoom_while_the_scene_does() -> None:
    agents = agents_now(window(), 2.0)
    figure = scene_map(agents, LIGHT, view_of(agents), chosen=None, scene_id="s")
    assert (figure.layout.yaxis.scaleanchor, figure.layout.yaxis.scaleratio) == ("x", 1)
    assert figure.layout.uirevision == "s"
    assert scene_map([], LIGHT, None, chosen=None, scene_id="t").layout.uirevision == "t"


def test_a_replay_shows_the_moment_first() -> None:
    moments = [(t, agents_at(window(2), t, 2.0)) for t in (1.0, 2.0, 3.0)]
    film = replay(moments, LIGHT, None, chosen=None, scene_id="s", origin_s=2.1)
    assert (film.start, film.labels, film.step_s) == (1, ["−1.1", "−0.1", "+0.9"], 1.0)
    assert [f.name for f in film.figure.frames] == ["0", "1", "2"]
    assert all(len(f.data) == len(f.traces) == len(film.figure.data) for f in film.figure.frames)


def test_a_replay_of_one_moment_has_a_step_all_the_same() -> None:
    film = replay([(1.0, agents_at(window(2), 1.0, 2.0))], LIGHT, None, chosen=None, scene_id="s", origin_s=1.0)
    assert (film.labels, film.step_s) == (["0.0"], 1.0)


def drawn(figure: object, name: str) -> tuple[int, bool]:
    """How many points a trace has, and whether the legend names it."""
    [trace] = [t for t in figure.data if t.name == name]  # type: ignore[attr-defined]
    return sum(x is not None for x in trace.x), trace.showlegend


def test_hidden_layers_are_empty_and_not_in_the_legend() -> None:
    agents = agents_now(window(3), 2.0)
    whole = scene_map(agents, LIGHT, None, chosen="a1", scene_id="s")
    assert all(drawn(whole, name)[0] > 0 and drawn(whole, name)[1] for name in ("Trail", "Other modes", "Likeliest prediction"))
    without = scene_map(agents, LIGHT, None, chosen="a1", scene_id="s", layers=Layers(trails=False, predictions=False))
    assert [drawn(without, name) for name in ("Trail", "Other modes", "Likeliest prediction", "Chosen agent")] == [(0, False)] * 4
    assert len(without.data) == len(whole.data)
    assert sum(len(t.x) for t in without.data if t.customdata is not None) == 3, "agents stay"
    only = values(agents, LIGHT, None, Layers(trails=True, predictions=False))
    assert [sum(x is not None for x in new["x"]) > 0 for new in only[:3]] == [True, False, False]


def test_a_replay_hides_layers_in_each_frame() -> None:
    moments = [(t, agents_at(window(2), t, 2.0)) for t in (2.0, 3.0)]
    film = replay(moments, LIGHT, None, chosen=None, scene_id="s", origin_s=2.0, layers=Layers(trails=False, predictions=True))
    for shown in film.figure.frames:
        assert (drawn(shown, "Trail")[0], drawn(shown, "Likeliest prediction")[0]) == (0, 26)


def test_views() -> None:
    small, large = View((0, 1), (0, 1)), View((-1, 3), (-1, 3))
    assert large.holds(small)
    assert not small.holds(large)
    assert small.joined(View((5, 6), (0, 1))) == View((0, 6), (0, 1))
    assert large.widened(0.5) == View((-3, 5), (-3, 5))
    assert view_of([]) is None


def test_the_map_is_a_table_too() -> None:
    [row] = rows(agents_now(window(), 2.0))
    assert row == {"Agent": "a0", "x (m)": 8.0, "y (m)": 0.0, "Speed (m/s)": 2.0, "Version": "v2", "Modes": 2}

"""Data sets: the embedded match, its conversion, and files that people bring."""

import json
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data.datasets import skillcorner, skillcorner_build, tracks
from tests.builders import a_scene, a_track, a_turning_track
from trajops.errors import EnvironmentProblem, InvalidInput, NotFound
from trajops.trajectories import Scene, Track
from trajops.windows import cut


@pytest.fixture(scope="module")
def match() -> dict[str, Scene]:
    """The shipped match."""
    return skillcorner.load()


# --- the shipped match


def test_the_match_has_the_measured_size(match: dict[str, Scene]) -> None:
    assert list(match) == ["first_half", "second_half"]
    assert {name: len(scene.tracks) for name, scene in match.items()} == {"first_half": 3768, "second_half": 3256}
    assert {name: len(cut(scene)) for name, scene in match.items()} == {"first_half": 13_298, "second_half": 15_233}
    assert {name: len(set(cut(scene).agent_ids)) for name, scene in match.items()} == {"first_half": 988, "second_half": 1019}


def test_every_track_of_the_match_is_continuous_and_on_the_pitch(match: dict[str, Scene]) -> None:
    for scene in match.values():
        assert scene.scene_id in match
        for track in scene.tracks:
            np.testing.assert_allclose(np.diff(track.times_s), 0.4, atol=1e-9)
            speeds_mps = np.hypot(*np.diff(track.positions_m, axis=0).T) / 0.4
            assert (speeds_mps < 11.1).all(), "11 m/s and the rounding to a centimetre"
            assert (np.abs(track.positions_m) < (56.0, 37.0)).all(), "105 × 68 m and some metres of run-off"
        assert 2700 < max(track.times_s[-1] for track in scene.tracks) < 2820, "45 minutes and added time"
        assert 0 <= min(track.times_s[0] for track in scene.tracks) < 15


def test_agents_of_the_match_are_unique_and_without_names(match: dict[str, Scene]) -> None:
    names = [track.agent_id for scene in match.values() for track in scene.tracks]
    assert len(set(names)) == len(names) == 7024
    assert all(re.fullmatch(r"p\d\d-\d{3}", name) for name in names)


def test_the_file_is_small_and_carries_its_credit() -> None:
    assert skillcorner.SHIPPED.stat().st_size < 1_000_000
    metadata = pq.read_schema(skillcorner.SHIPPED).metadata
    assert b"SkillCorner" in metadata[b"credit"]
    assert b"MIT" in metadata[b"licence"]


def test_loading_stays_off_the_slow_path() -> None:
    """Pandas takes a second to import, and pyarrow's `to_numpy` imports it."""
    program = "import sys; from data.datasets import skillcorner; skillcorner.load(); sys.exit('pandas' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False, cwd=Path(__file__).parents[2]).returncode == 0


def test_a_missing_match_says_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentProblem, match="skillcorner_build"):
        skillcorner.load(tmp_path / "none.parquet")


# --- its conversion


def a_recording(*, frames: int = 60, kick_off: int = 7, second_half: int = 400) -> list[dict[str, Any]]:
    """Two halves of one player who runs along x at 5 m/s, with ball, referee and somebody known by team only."""

    def entries(elapsed_s: float) -> list[dict[str, Any]]:
        runner = {"trackable_object": 900, "track_id": 1, "x": -10 + 5 * elapsed_s, "y": 0.123}
        others = [{"trackable_object": number, "track_id": number, "x": 0.0, "y": 0.0} for number in (55, 22396)]
        return [runner, *others, {"group_name": "away team", "track_id": 4, "x": 1.0, "y": 1.0}]

    before = [{"frame": number, "period": None, "time": None, "data": entries(0.0)} for number in range(kick_off)]
    halves = [
        {"frame": start + number, "period": period, "time": "00:00.00", "data": entries(number / 10)}
        for period, start in ((1, kick_off), (2, second_half))
        for number in range(frames)
    ]
    return before + halves


def converted(frames: list[dict[str, Any]], folder: Path) -> dict[str, Scene]:
    """What `load` reads after `build` of a recording."""
    source, target = folder / "recording.json", folder / "match.parquet"
    source.write_text(json.dumps(frames))
    skillcorner_build.build(source, target)
    return skillcorner.load(target)


def test_players_in_play_are_kept_at_two_and_a_half_hertz(tmp_path: Path) -> None:
    halves = converted(a_recording(), tmp_path)
    (first,), (second,) = halves["first_half"].tracks, halves["second_half"].tracks
    assert (first.agent_id, second.agent_id) == ("p01-001", "p01-002")
    assert len(first) == len(second) == 15
    assert first.times_s[:2].tolist() == [0.1, 0.5], "frame 8 is the first multiple of four, a tenth after the kick-off in frame 7"
    assert second.times_s[0] == 0.0
    np.testing.assert_allclose(first.positions_m[0], [-9.5, 0.12])
    np.testing.assert_allclose(np.diff(first.positions_m[:, 0]), 2.0)


def test_a_missing_sample_and_a_glitch_split_a_track(tmp_path: Path) -> None:
    frames = a_recording(kick_off=0, second_half=400)
    frames[12]["data"] = []
    for frame in frames[30:60]:
        frame["data"][0]["y"] += 20.0
    lengths = [(track.agent_id, len(track)) for track in converted(frames, tmp_path)["first_half"].tracks]
    assert lengths == [("p01-001", 3), ("p01-002", 4), ("p01-003", 7)]


def test_a_missing_frame_between_samples_splits_nothing(tmp_path: Path) -> None:
    frames = a_recording(kick_off=0)
    frames[13]["data"] = []
    assert len(converted(frames, tmp_path)["first_half"].tracks) == 1


@pytest.mark.parametrize(
    ("content", "words"),
    [pytest.param("{", "is not JSON", id="not JSON"), pytest.param("[]", "no frame with an identified player", id="no frame")],
)
def test_a_wrong_source_is_refused(tmp_path: Path, content: str, words: str) -> None:
    source = tmp_path / "source.json"
    source.write_text(content)
    with pytest.raises(InvalidInput, match=words):
        skillcorner_build.build(source, tmp_path / "target.parquet")


def test_without_the_package_the_conversion_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(EnvironmentProblem, match="pip install kloppy"):
        skillcorner_build.packaged_json()


def test_the_conversion_runs_as_a_program(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, target = tmp_path / "recording.json", tmp_path / "match.parquet"
    source.write_text(json.dumps(a_recording(frames=100)))
    skillcorner_build.main([str(source), "--target", str(target)])
    assert "50 rows, 2 tracks, 2 of at least 20 steps, 12 windows" in capsys.readouterr().out


# --- tracks that people bring

ROWS = "agent,time,x,y\na,0,1,2\na,0.4,1.5,2\nb,0,9,9\n"


def a_file(folder: Path, text: str | bytes, name: str = "tracks.csv") -> Path:
    """A file with the given content."""
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def rows_of(scenes: dict[str, Scene]) -> dict[str, dict[str, list[list[float]]]]:
    """Plain rows [time, x, y] by scene and agent."""
    return {
        name: {track.agent_id: np.column_stack([track.times_s, track.positions_m]).tolist() for track in scene.tracks}
        for name, scene in scenes.items()
    }


PLAIN = {"default": {"a": [[0.0, 1.0, 2.0], [0.4, 1.5, 2.0]], "b": [[0.0, 9.0, 9.0]]}}


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(ROWS, id="plain"),
        pytest.param("﻿" + ROWS, id="byte order mark"),
        pytest.param(ROWS.replace("\n", "\r\n"), id="windows line ends"),
        pytest.param(ROWS.replace(",", ";"), id="semicolons"),
        pytest.param(ROWS.replace(",", "\t"), id="tabs"),
        pytest.param(ROWS.replace("agent,time,x,y", " Agent , TIME,X, y "), id="header in any case, with blanks"),
        pytest.param(ROWS.replace(",9", ", 9 "), id="blanks around values"),
        pytest.param("y,x,note,time,agent\n2,1,hello,0,a\n2,1.5,,0.4,a\n9,9,?,0,b\n", id="another order and an extra column"),
        pytest.param("agent,time,x,y\nb,0,9,9\na,0.4,1.5,2\na,0,1,2\n", id="unsorted"),
        pytest.param(ROWS + "a,0.4,1.50,2.0\na,0,1,2\n", id="repeated rows"),
        pytest.param('agent,time,x,y\n"a",0,1,2\n"a",0.4,1.5,2\n"b",0,9,9\n', id="quoted"),
    ],
)
def test_a_csv_file_is_read(tmp_path: Path, text: str) -> None:
    assert rows_of(tracks.read(a_file(tmp_path, text))) == PLAIN


def test_scenes_are_kept_apart(tmp_path: Path) -> None:
    scenes = tracks.read(a_file(tmp_path, "scene,agent,time,x,y\nnorth,a,0,1,1\nsouth,a,0,2,2\nnorth,b,0,3,3\n"))
    assert rows_of(scenes) == {"north": {"a": [[0.0, 1.0, 1.0]], "b": [[0.0, 3.0, 3.0]]}, "south": {"a": [[0.0, 2.0, 2.0]]}}
    assert [scene.scene_id for scene in scenes.values()] == ["north", "south"]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        pytest.param("2024-05-01T12:00:00Z", 1_714_564_800.0, id="UTC"),
        pytest.param("2024-05-01 12:00:00.25", 1_714_564_800.25, id="without an offset it is UTC"),
        pytest.param("2024-05-01T14:00:00+02:00", 1_714_564_800.0, id="with an offset"),
        pytest.param("1714564800.4", 1_714_564_800.4, id="epoch seconds"),
        pytest.param("-1e1", -10.0, id="before the start"),
    ],
)
def test_times_are_seconds_or_timestamps(tmp_path: Path, text: str, seconds: float) -> None:
    (track,) = tracks.read(a_file(tmp_path, f"agent,time,x,y\na,{text},0,0\n"))["default"].tracks
    assert track.times_s.tolist() == [seconds]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param("agent,time,x\na,0,1\n", "has no column y; it has agent, time, x", id="missing column"),
        pytest.param("a,0,1,2\n", "has no column agent or time or x or y", id="no header"),
        pytest.param("agent,time,x,X,y\na,0,1,2,3\n", "more than one column x", id="doubled column"),
        pytest.param("", "is empty", id="no byte"),
        pytest.param("\n\n", "is empty", id="blank lines"),
        pytest.param("agent,time,x,y\n", "no rows below its header", id="header only"),
        pytest.param("agent,time,x,y\n\n\n", "no rows below its header", id="header and blank lines"),
        pytest.param("agent,time,x,y", "no rows below its header", id="header without line end"),
        pytest.param(ROWS + "b,1,north,2\n", "row 4, column x: the value is 'north'", id="text for a number"),
        pytest.param(ROWS + 'b,1,"1,5",2\n', "row 4, column x: the value is '1,5'; write a number, with a point", id="decimal comma"),
        pytest.param(ROWS + "b,1,,2\n", "row 4, column x: the value is empty", id="empty number"),
        pytest.param(ROWS + "b,1,nan,2\n", "row 4, column x: the value is nan", id="not a number"),
        pytest.param(ROWS + "b,1,2,-inf\n", "row 4, column y: the value is -inf", id="infinite"),
        pytest.param(ROWS + " ,1,2,2\n", "row 4, column agent: the value is empty", id="empty agent"),
        pytest.param(ROWS + "b,later,2,2\n", "row 4, column time: the value is 'later'", id="text for a time"),
        pytest.param("agent,time,x,y\na,2024-05-01,1,1\na,5,1,1\n", "row 2, column time: the value is '5'", id="mixed times"),
        pytest.param("agent,time,x,y\na,soon,1,1\n", "row 1, column time: the value is 'soon'", id="first time is text"),
        pytest.param(ROWS + "b,1,2\n", "is not a regular table", id="too few values"),
        pytest.param(b"agent,time,x,y\n\xff\xfe,1,2,3\n", "is not a regular table|UTF-8", id="not UTF-8"),
        pytest.param(b"\xff\xfea\x00g\x00", "neither Parquet nor UTF-8", id="UTF-16"),
        pytest.param(
            ROWS + "a,0.4,7,7\n",
            r"rows 2 and 4: agent a is at two places at time 0\.4, \(1\.5, 2\) and \(7, 7\)",
            id="two places at once",
        ),
        pytest.param("agent,time,x,y\na,0,1,2\na,0,1,1\n", "rows 1 and 2: agent a is at two places", id="only y differs, and is less"),
    ],
)
def test_a_file_that_cannot_be_used_says_where_and_why(tmp_path: Path, text: str | bytes, words: str) -> None:
    path = a_file(tmp_path, text)
    with pytest.raises(InvalidInput, match=words) as caught:
        tracks.read(path)
    assert str(path) in caught.value.message


def test_the_row_of_a_bad_value_is_found_wherever_it_is(tmp_path: Path) -> None:
    for bad in (1, 2, 500, 999, 1000):
        lines = [f"a,{number},{'?' if number == bad else number},0" for number in range(1, 1001)]
        with pytest.raises(InvalidInput) as caught:
            tracks.read(a_file(tmp_path, "agent,time,x,y\n" + "\n".join(lines)))
        assert caught.value.details == {"file": str(tmp_path / "tracks.csv"), "row": bad, "column": "x"}


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="there is no file"):
        tracks.read(tmp_path / "none.csv")


def a_parquet(folder: Path, **columns: Any) -> Path:
    """A Parquet file with the given columns; the name does not tell."""
    path = folder / "tracks.bin"
    defaults: dict[str, Any] = {"agent": ["a", "a"], "time": [0.0, 0.4], "x": [1.0, 1.5], "y": [2.0, 2.0]}
    pq.write_table(pa.table(defaults | columns), path)
    return path


MOMENT = datetime(2024, 5, 1, 12, tzinfo=UTC)
MOMENTS = [MOMENT, MOMENT + timedelta(seconds=0.4)]


@pytest.mark.parametrize(
    ("columns", "times_s"),
    [
        pytest.param({}, [0.0, 0.4], id="plain"),
        pytest.param({"time": pa.array([0, 1], pa.int16())}, [0.0, 1.0], id="whole seconds"),
        pytest.param({"time": pa.array([0.0, 0.5], pa.float32())}, [0.0, 0.5], id="single precision"),
        pytest.param({"time": pa.array(MOMENTS, pa.timestamp("ms", "UTC"))}, [1_714_564_800.0, 1_714_564_800.4], id="timestamps"),
        pytest.param({"time": pa.array(MOMENTS, pa.timestamp("ns", "Asia/Tokyo"))}, [1_714_564_800.0, 1_714_564_800.4], id="Tokyo"),
        pytest.param({"time": ["0", "0.4"]}, [0.0, 0.4], id="text of numbers"),
        pytest.param({"agent": pa.array(["a", "a"]).dictionary_encode()}, [0.0, 0.4], id="categories"),
        pytest.param({"Extra": [None, None]}, [0.0, 0.4], id="an extra column of nothing"),
    ],
)
def test_a_parquet_file_is_read_whatever_its_name(tmp_path: Path, columns: dict[str, Any], times_s: list[float]) -> None:
    (track,) = tracks.read(a_parquet(tmp_path, **columns))["default"].tracks
    assert track.agent_id == "a"
    np.testing.assert_allclose(track.times_s, times_s)
    assert track.positions_m.tolist() == [[1.0, 2.0], [1.5, 2.0]]


@pytest.mark.parametrize(
    ("agents", "name"),
    [
        pytest.param([7, 7], "7", id="whole numbers"),
        pytest.param([7.0, 7.0], "7", id="whole floats"),
        pytest.param([7.5, 7.5], "7.5", id="floats"),
    ],
)
def test_ids_may_be_numbers(tmp_path: Path, agents: list[float], name: str) -> None:
    assert [track.agent_id for track in tracks.read(a_parquet(tmp_path, agent=agents))["default"].tracks] == [name]


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        pytest.param({"x": [1.0, None]}, "row 2, column x: the value is empty", id="null"),
        pytest.param({"x": [True, False]}, "column x of .* holds bool, not numbers", id="booleans"),
        pytest.param({"x": [[1.0], [2.0]]}, "not numbers", id="lists"),
        pytest.param({"agent": [["a"], ["b"]]}, "not names", id="lists of names"),
        pytest.param({"y": [1.0, float("inf")]}, "row 2, column y", id="infinite"),
        pytest.param({"X": [1.0, 2.0]}, "more than one column x", id="doubled column"),
    ],
)
def test_a_parquet_file_that_cannot_be_used_says_where_and_why(tmp_path: Path, columns: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        tracks.read(a_parquet(tmp_path, **columns))


def test_a_torn_parquet_file_is_refused(tmp_path: Path) -> None:
    whole = a_parquet(tmp_path).read_bytes()
    with pytest.raises(InvalidInput, match="not a readable Parquet file"):
        tracks.read(a_file(tmp_path, whole[: len(whole) // 2]))


agents = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1, max_size=8)
numbers = st.floats(-1e6, 1e6, allow_subnormal=False)


@given(st.dictionaries(st.tuples(agents, agents, numbers), st.tuples(numbers, numbers), min_size=1, max_size=12), st.randoms())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_what_is_written_is_read_in_any_order_and_format(
    tmp_path: Path, rows: dict[tuple[str, str, float], tuple[float, float]], random: Any
) -> None:
    items = list(rows.items())
    expected: dict[str, dict[str, list[list[float]]]] = {}
    for (scene, agent, time_s), (x_m, y_m) in sorted(items, key=lambda item: item[0][2]):
        expected.setdefault(scene, {}).setdefault(agent, []).append([time_s, x_m, y_m])
    random.shuffle(items)
    columns = {
        "scene": [scene for (scene, _, _), _ in items],
        "agent": [agent for (_, agent, _), _ in items],
        "time": [time_s for (_, _, time_s), _ in items],
        "x": [x_m for _, (x_m, _) in items],
        "y": [y_m for _, (_, y_m) in items],
    }
    quoted = [
        '"{}","{}",{!r},{!r},{!r}'.format(*(str(v).replace('"', '""') for v in row[:2]), *row[2:])
        for row in zip(*columns.values(), strict=True)
    ]
    text = tracks.read(a_file(tmp_path, "scene,agent,time,x,y\n" + "\n".join(quoted) + "\n"))
    table = tracks.read(a_parquet(tmp_path, **columns))
    assert rows_of(text) == expected
    assert tracks.fingerprint(text) == tracks.fingerprint(table)


# --- fingerprint


def test_the_fingerprint_ignores_order_and_sees_every_change() -> None:
    one, two = a_track("a1"), a_turning_track("a2")
    reference = tracks.fingerprint({"s1": a_scene(one, two)})
    assert re.fullmatch("[0-9a-f]{64}", reference)
    assert tracks.fingerprint({"s1": a_scene(two, one)}) == reference
    negative = Track("a1", one.times_s, np.where(one.positions_m == 0, -0.0, one.positions_m))
    assert tracks.fingerprint({"s1": a_scene(negative, two)}) == reference, "minus zero is zero"
    moved = one.positions_m.copy()
    moved[3, 1] += 1e-9
    others = {
        "scene renamed": {"s2": a_scene(one, two)},
        "track lost": {"s1": a_scene(one)},
        "agent renamed": {"s1": a_scene(Track("a3", one.times_s, one.positions_m), two)},
        "a position moved by a nanometre": {"s1": a_scene(Track("a1", one.times_s, moved), two)},
        "clock shifted": {"s1": a_scene(Track("a1", one.times_s + 1, one.positions_m), two)},
        "split over scenes": {"s1": a_scene(one), "s2": a_scene(two)},
    }
    found = {name: tracks.fingerprint(scenes) for name, scenes in others.items()}
    assert len({reference, *found.values()}) == len(others) + 1, found


@pytest.mark.slow
@pytest.mark.skipif(not skillcorner_build.importlib.util.find_spec("kloppy"), reason="kloppy (extra `dataset`) is not installed")
def test_the_shipped_file_is_what_the_package_gives(tmp_path: Path) -> None:
    skillcorner_build.build(skillcorner_build.packaged_json(), tmp_path / "match.parquet")
    assert tracks.fingerprint(skillcorner.load(tmp_path / "match.parquet")) == tracks.fingerprint(skillcorner.load())

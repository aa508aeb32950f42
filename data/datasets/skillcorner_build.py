"""Make the embedded match from the file that kloppy carries: `python -m data.datasets.skillcorner_build [json]`.

Needs the package extra `dataset`, or a path to `skillcorner_structured_data.json`. The product ships the result, so nothing
but a change of this conversion calls for a run. What is kept: every fourth frame of the 10 Hz recording (the frames whose
number is a multiple of four, one clock for all), players with an identity, while a half is being played. Left out: the ball,
the referee, entries known by team only. Names and teams never leave the source; players are numbered `p01` … by id.
"""

import argparse
import importlib.util
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any, Final

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from data.datasets.skillcorner import CREDIT, SCENE_IDS, SHIPPED
from trajops.errors import EnvironmentProblem, InvalidInput
from trajops.trajectories import DEFAULT_WINDOW, FloatArray, Track
from trajops.windows import resample

FRAME_S: Final = 0.1
KEEP_EVERY: Final = 4
# One missing sample ends a track: broadcast tracking loses players for seconds, and a swapped identity may return.
MAX_GAP_S: Final = 0.4
# Nobody runs faster; a step beyond it is a swapped identity or a tracking glitch.
MAX_SPEED_MPS: Final = 11.0
# Ids in the recording that are not players, from skillcorner_match_data.json of the same match.
BALL_ID: Final = 55
REFEREE_IDS: Final = frozenset({22396})
STRUCTURED_DATA: Final = Path("tests", "files", "skillcorner_structured_data.json")
SCHEMA: Final = pa.schema(
    [
        ("scene", pa.dictionary(pa.int8(), pa.string())),
        ("agent", pa.dictionary(pa.int16(), pa.string())),
        ("time_ms", pa.int32()),
        ("x_cm", pa.int16()),
        ("y_cm", pa.int16()),
    ],
    metadata={
        "credit": CREDIT,
        "source": "https://github.com/SkillCorner/opendata (match 2417); kloppy 3.19.1, kloppy/tests/files",
        "licence": "MIT, SkillCorner",
        "clock": "time_ms: milliseconds since the half's kick-off, 2.5 Hz",
        "frame": "x_cm, y_cm: centimetres from the centre of the pitch, x along its length",
    },
)


def packaged_json() -> Path:
    """The recording inside the installed kloppy package.

    Raises:
        EnvironmentProblem: if kloppy is not installed, or does not carry the file.
    """
    spec = importlib.util.find_spec("kloppy")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        path = Path(folder) / STRUCTURED_DATA
        if path.is_file():
            return path
    raise EnvironmentProblem("kloppy with its test files is not installed; run `pip install kloppy==3.19.1`, or give the path of the JSON")


def convert(frames: list[dict[str, Any]]) -> pa.Table:
    """Continuous tracks of all players at 2.5 Hz.

    Args:
        frames: the recording: `frame`, `period` (1, 2 or null) and `data`, a list of entries with `trackable_object`, `x` and
            `y` in metres.

    Returns:
        A table of `SCHEMA`, sorted by agent and time.

    Raises:
        InvalidInput: if no frame belongs to a half.
    """
    kick_off = {period: min((frame["frame"] for frame in frames if frame["period"] == period), default=0) for period in (1, 2)}
    players, period_of = _samples(frames)
    if not players:
        raise InvalidInput("the recording has no frame with an identified player in a half; is it SkillCorner structured data?")
    columns: dict[str, list[Any]] = {name: [] for name in SCHEMA.names}
    for number, (_, samples) in enumerate(sorted(players.items()), 1):
        numbers, positions_m = np.array([row[0] for row in samples]), np.array([row[1:] for row in samples])
        # Halves lie further apart than any gap, so a track never spans two; a track in one piece is numbered like the rest.
        pieces = resample(Track(f"p{number:02d}", numbers * FRAME_S, positions_m), max_gap_s=MAX_GAP_S, max_speed_mps=MAX_SPEED_MPS)
        for piece_number, piece in enumerate(pieces, 1):
            piece_frames = np.rint(piece.times_s / FRAME_S).astype(np.int64)
            period = period_of[int(piece_frames[0])]
            columns["scene"] += [SCENE_IDS[period - 1]] * len(piece)
            columns["agent"] += [f"p{number:02d}-{piece_number:03d}"] * len(piece)
            columns["time_ms"] += np.rint((piece_frames - kick_off[period]) * FRAME_S * 1000).astype(int).tolist()
            columns["x_cm"] += _centimetres(piece.positions_m[:, 0])
            columns["y_cm"] += _centimetres(piece.positions_m[:, 1])
    arrays = [pa.array(columns[field.name], type=_plain(field.type)).cast(field.type) for field in SCHEMA]
    return pa.Table.from_arrays(arrays, schema=SCHEMA)


def build(source: Path, target: Path = SHIPPED) -> pa.Table:
    """Convert `source` and write it to `target`; returns what was written.

    Raises:
        InvalidInput: if the source is not SkillCorner structured data.
    """
    try:
        frames = orjson.loads(source.read_bytes())
    except orjson.JSONDecodeError as error:
        raise InvalidInput(f"{source} is not JSON: {error}") from error
    table = convert(frames)
    pq.write_table(
        table,
        target,
        compression="zstd",
        compression_level=19,
        use_dictionary=["scene", "agent"],
        column_encoding={"time_ms": "DELTA_BINARY_PACKED", "x_cm": "PLAIN", "y_cm": "PLAIN"},
    )
    return table


def _samples(frames: list[dict[str, Any]]) -> tuple[dict[int, list[tuple[int, float, float]]], dict[int, int]]:
    """Frame number and position of each player in the sampled frames, and the half of each frame."""
    players: dict[int, list[tuple[int, float, float]]] = defaultdict(list)
    period_of: dict[int, int] = {}
    for frame in frames:
        number, period = frame["frame"], frame["period"]
        if period not in {1, 2} or number % KEEP_EVERY:
            continue
        period_of[number] = period
        for entry in frame["data"]:
            player = entry.get("trackable_object")
            if player is not None and player != BALL_ID and player not in REFEREE_IDS:
                players[player].append((number, entry["x"], entry["y"]))
    return players, period_of


def _centimetres(metres: FloatArray) -> list[int]:
    """Metres as whole centimetres: finer than broadcast tracking can see, and half the bytes."""
    rounded: list[int] = np.rint(metres * 100).astype(int).tolist()
    return rounded


def _plain(kind: pa.DataType) -> pa.DataType:
    """The value type behind a dictionary type."""
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def main(arguments: list[str] | None = None) -> None:
    """Run the conversion and print what it gave."""
    parser = argparse.ArgumentParser(
        prog="python -m data.datasets.skillcorner_build", description=__doc__.splitlines()[0] if __doc__ else None
    )
    parser.add_argument("source", nargs="?", type=Path, help="skillcorner_structured_data.json; default: the installed kloppy's")
    parser.add_argument("--target", type=Path, default=SHIPPED, help="Parquet file to write")
    options = parser.parse_args(arguments)
    table = build(options.source or packaged_json(), options.target)
    lengths = np.array([item["counts"] for item in table["agent"].combine_chunks().value_counts().to_pylist()])
    windows = int(np.maximum(lengths - DEFAULT_WINDOW.steps + 1, 0).sum())
    long = int((lengths >= DEFAULT_WINDOW.steps).sum())
    size = options.target.stat().st_size
    sys.stdout.write(
        f"{options.target}: {len(table):,} rows, {len(lengths):,} tracks, {long:,} of at least {DEFAULT_WINDOW.steps} steps, "
        f"{windows:,} windows, {size:,} bytes\n"
    )


if __name__ == "__main__":
    main()

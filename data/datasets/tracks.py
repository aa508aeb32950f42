"""Your own tracks: CSV or Parquet with the columns agent, time, x, y, and optionally scene.

Names of columns ignore case and outer blanks; other columns are ignored. Times are seconds, or ISO 8601 timestamps, which
become seconds since the epoch (without an offset they are UTC). Positions are metres. Rows may come in any order.
"""

import csv
import hashlib
import math
import struct
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
from numpy.typing import NDArray

from trajops.errors import InvalidInput, NotFound
from trajops.trajectories import FloatArray, Scene, Track

DEFAULT_SCENE: Final = "default"
REQUIRED: Final = ("agent", "time", "x", "y")
OPTIONAL: Final = ("scene",)
PARQUET_MAGIC: Final = b"PAR1"
TICKS_PER_S: Final = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}


def read(path: Path) -> dict[str, Scene]:
    """Read tracks from a file.

    Args:
        path: a CSV file (comma, semicolon or tab; one header line; UTF-8) or a Parquet file. The content decides, not the name.

    Returns:
        Scenes by id, sorted; `default` where there is no scene column. Tracks are sorted by agent id. A row that repeats another
        one exactly is dropped.

    Raises:
        NotFound: if there is no such file.
        InvalidInput: naming file, row (the first after the header is row 1) and column: a column is missing or doubled, a value
            is empty, not a number or not finite, an agent is at two places at once, or the file is empty or unreadable.
    """
    if not path.is_file():
        raise NotFound(f"there is no file {path}; give a CSV or Parquet file with the columns {', '.join(REQUIRED)}")
    with path.open("rb") as file:
        is_parquet = file.read(len(PARQUET_MAGIC)) == PARQUET_MAGIC
    columns = _read_parquet(path) if is_parquet else _read_csv(path)
    rows = len(columns["agent"])
    if not rows:
        raise InvalidInput(f"{path} holds no rows below its header; there is nothing to read")
    agents = _names(path, "agent", columns["agent"])
    scenes = _names(path, "scene", columns["scene"]) if "scene" in columns else pa.array([DEFAULT_SCENE] * rows)
    times_s = _times(path, columns["time"])
    positions_m = np.stack([_floats(path, name, columns[name]) for name in ("x", "y")], axis=-1)
    return _scenes(path, scenes.dictionary_encode(), agents.dictionary_encode(), times_s, positions_m)


def fingerprint(scenes: Mapping[str, Scene]) -> str:
    """SHA-256 of the tracks: equal for equal ids, times and positions, whatever the order of scenes, agents or file rows.

    Returns:
        64 hexadecimal digits.
    """
    digest = hashlib.sha256(b"trajops-tracks-1")
    for key, scene in sorted(scenes.items()):
        _feed(digest.update, key.encode())
        for track in sorted(scene.tracks, key=lambda track: track.agent_id):
            _feed(digest.update, b"track" + track.agent_id.encode())
            # Adding zero makes one of the two zeros of floating point.
            _feed(digest.update, (track.times_s + 0.0).astype("<f8").tobytes())
            _feed(digest.update, (track.positions_m + 0.0).astype("<f8").tobytes())
    return digest.hexdigest()


def _feed(update: Callable[[bytes], object], part: bytes) -> None:
    """Add one part with its length before it, so that no two lists of parts look alike."""
    update(struct.pack("<Q", len(part)))
    update(part)


def _read_csv(path: Path) -> dict[str, pa.Array]:
    """The needed columns as trimmed strings."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            line = file.readline()
            has_more = bool(file.read(1))
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{path} is neither Parquet nor UTF-8 text: {error}") from error
    if not line.strip():
        raise InvalidInput(f"{path} is empty, or its first line is; begin with a header line: {','.join(REQUIRED)}")
    delimiter = max(",;\t", key=line.count)
    header = next(csv.reader([line], delimiter=delimiter))
    wanted = _choose(path, header)
    if not has_more:
        return {name: pa.array([], pa.string()) for name in wanted}
    labels = [f"{number}" for number in range(len(header))]
    try:
        table = pacsv.read_csv(
            path,
            read_options=pacsv.ReadOptions(column_names=labels, skip_rows=1),
            parse_options=pacsv.ParseOptions(delimiter=delimiter),
            convert_options=pacsv.ConvertOptions(
                include_columns=[labels[index] for index in wanted.values()],
                column_types=dict.fromkeys(labels, pa.string()),
            ),
        )
    except pa.ArrowInvalid as error:
        raise InvalidInput(f"{path} is not a regular table: {error}; its row numbers count the header") from error
    return {name: pc.utf8_trim_whitespace(table[labels[index]].combine_chunks()) for name, index in wanted.items()}


def _read_parquet(path: Path) -> dict[str, pa.Array]:
    """The needed columns in the types of the file."""
    try:
        file = pq.ParquetFile(path)
        names = file.schema_arrow.names
        wanted = _choose(path, names)
        table = file.read(columns=[names[index] for index in wanted.values()])
    except (pa.ArrowInvalid, OSError) as error:
        raise InvalidInput(f"{path} is not a readable Parquet file: {error}") from error
    columns = {name: table[names[index]].combine_chunks() for name, index in wanted.items()}
    for name, column in columns.items():
        if column.null_count:
            row = int(pc.index(column.is_null(), True).as_py())
            raise _problem(path, row, name, "is empty", "fill it in, or drop the row")
    return {name: column.dictionary_decode() if pa.types.is_dictionary(column.type) else column for name, column in columns.items()}


def _choose(path: Path, header: list[str]) -> dict[str, int]:
    """Position of each needed column in the header."""
    found: dict[str, int] = {}
    for index, label in enumerate(header):
        name = label.strip().lower()
        if name not in {*REQUIRED, *OPTIONAL}:
            continue
        if name in found:
            raise InvalidInput(f"{path} has more than one column {name}; keep one (upper and lower case are the same)")
        found[name] = index
    missing = [name for name in REQUIRED if name not in found]
    if missing:
        raise InvalidInput(
            f"{path} has no column {' or '.join(missing)}; it has {', '.join(header)}; the needed ones are {', '.join(REQUIRED)}"
        )
    return found


def _names(path: Path, name: str, column: pa.Array) -> pa.Array:
    """Identifiers as strings; a float column that holds whole numbers (as data frames make of ids) loses the `.0`."""
    if pa.types.is_floating(column.type):
        values = np.asarray(_floats(path, name, column))
        column = pa.array(values.astype(np.int64)) if (values == np.floor(values)).all() else column
    try:
        texts = pc.utf8_trim_whitespace(column.cast(pa.string()))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise InvalidInput(f"column {name} of {path} holds {column.type}, not names; write ids as text or whole numbers") from error
    is_empty = pc.equal(texts, "")
    if pc.any(is_empty).as_py():
        raise _problem(path, int(pc.index(is_empty, True).as_py()), name, "is empty", "every row needs one")
    return texts


def _times(path: Path, column: pa.Array) -> FloatArray:
    """Seconds, from numbers or timestamps; the first value decides what a text column holds."""
    if pa.types.is_date(column.type):
        column = column.cast(pa.timestamp("ms"))
    if pa.types.is_timestamp(column.type):
        ticks: NDArray[Any] = np.from_dlpack(column.cast(pa.int64()))
        seconds: FloatArray = ticks / TICKS_PER_S[column.type.unit]
        return seconds
    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)) or _is_number(column[0]):
        return _floats(path, "time", column)
    instants = np.empty(len(column))
    for row, text in enumerate(column.to_pylist()):
        try:
            instant = datetime.fromisoformat(text)
        except ValueError:
            raise _problem(path, row, "time", f"is {text!r}", "write seconds, or ISO 8601 timestamps, in every row") from None
        instants[row] = (instant if instant.tzinfo else instant.replace(tzinfo=UTC)).timestamp()
    return instants


def _floats(path: Path, name: str, column: pa.Array) -> FloatArray:
    """A column as finite floats."""
    if pa.types.is_boolean(column.type) or pa.types.is_nested(column.type):
        raise InvalidInput(f"column {name} of {path} holds {column.type}, not numbers")
    try:
        numbers = column.cast(pa.float64())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        row = _first_bad(column)
        if row is None:
            raise InvalidInput(f"column {name} of {path} holds {column.type}, not numbers") from error
        text = column[row].as_py()
        raise _problem(path, row, name, f"is {text!r}" if text else "is empty", "write a number, with a point as decimal sign") from None
    values: NDArray[Any] = np.from_dlpack(numbers)
    is_finite = np.isfinite(values)
    if not is_finite.all():
        row = int(np.argmin(is_finite))
        raise _problem(path, row, name, f"is {values[row]}", "leave a row without a known position out")
    return values


def _is_number(value: pa.Scalar) -> bool:
    """Whether a text reads as a number."""
    return _first_bad(pa.array([value.as_py()])) is None


def _first_bad(column: pa.Array) -> int | None:
    """Row of the first text that is not a number; None if there is none. Halves the range, for Arrow does not tell."""
    start, stop = 0, len(column)
    try:
        column.cast(pa.float64())
    except pa.ArrowInvalid:
        while stop - start > 1:
            middle = (start + stop) // 2
            try:
                column[start:middle].cast(pa.float64())
                start = middle
            except pa.ArrowInvalid:
                stop = middle
        return start
    except pa.ArrowNotImplementedError:
        return None
    return None


def _scenes(path: Path, scenes: pa.Array, agents: pa.Array, times_s: FloatArray, positions_m: FloatArray) -> dict[str, Scene]:
    """Rows in any order as scenes of sorted tracks."""
    scene_names, agent_names = scenes.dictionary.to_pylist(), agents.dictionary.to_pylist()
    scene_codes, agent_codes = _ranks(scenes), _ranks(agents)
    scene_names.sort()
    agent_names.sort()
    order = np.lexsort((times_s, agent_codes, scene_codes))
    scene_codes, agent_codes, times_s, positions_m = scene_codes[order], agent_codes[order], times_s[order], positions_m[order]
    is_new = (np.diff(scene_codes) != 0) | (np.diff(agent_codes) != 0)
    is_repeat = ~is_new & (np.diff(times_s) == 0)
    is_conflict = is_repeat & (positions_m[1:] != positions_m[:-1]).any(axis=-1)
    if is_conflict.any():
        at = int(np.argmax(is_conflict))
        first, second = sorted((int(order[at]) + 1, int(order[at + 1]) + 1))
        raise InvalidInput(
            f"{path}, rows {first} and {second}: agent {agent_names[agent_codes[at]]} is at two places at time {_number(times_s[at])}, "
            f"{_point(positions_m[at])} and {_point(positions_m[at + 1])}; drop one, or give the agents different ids or scenes"
        )
    keep = np.concatenate([[True], ~is_repeat])
    scene_codes, agent_codes, times_s, positions_m = scene_codes[keep], agent_codes[keep], times_s[keep], positions_m[keep]
    changes = np.flatnonzero((np.diff(scene_codes) != 0) | (np.diff(agent_codes) != 0)) + 1
    found: dict[str, list[Track]] = {name: [] for name in scene_names}
    for start, stop in pairwise([0, *changes.tolist(), len(times_s)]):
        track = Track(agent_names[agent_codes[start]], times_s[start:stop], positions_m[start:stop])
        found[scene_names[scene_codes[start]]].append(track)
    return {name: Scene(name, tuple(tracks)) for name, tracks in found.items()}


def _ranks(column: pa.Array) -> NDArray[Any]:
    """For each row the place of its name among the sorted names of a dictionary column."""
    names = column.dictionary.to_pylist()
    rank = np.empty(len(names), dtype=np.int64)
    rank[sorted(range(len(names)), key=names.__getitem__)] = np.arange(len(names))
    codes: NDArray[np.int64] = rank[np.from_dlpack(column.indices)]
    return codes


def _number(value: float) -> str:
    """A number as a person writes it."""
    return str(int(value)) if math.isfinite(value) and value == int(value) else repr(float(value))


def _point(position_m: FloatArray) -> str:
    """A position as a person writes it."""
    return f"({_number(position_m[0])}, {_number(position_m[1])})"


def _problem(path: Path, row: int, column: str, what: str, mend: str) -> InvalidInput:
    """The error about one value; `row` counts from 0 below the header."""
    return InvalidInput(f"{path}, row {row + 1}, column {column}: the value {what}; {mend}", file=str(path), row=row + 1, column=column)

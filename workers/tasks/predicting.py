"""Forecasts of many tracks, written row by row: what `/batch_predict` would answer, without a record of it."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from trajops.contracts.figures import grouped
from trajops.contracts.tasks import TaskOutcomeOut
from trajops.errors import InvalidInput, WindowTooShort
from trajops.ports import Forecaster
from trajops.trajectories import FloatArray, Forecast, Scene, WindowSpec
from trajops.windows import latest_history, resample_scene
from workers.tasks.telling import Telling

BLOCK = 512
MAX_GAP_S = 1.0
MEDIA_TYPES = {"csv": "text/csv", "parquet": "application/vnd.apache.parquet"}
SCHEMA = pa.schema(
    [
        ("scene", pa.string()),
        ("agent", pa.string()),
        ("observed_at_s", pa.float64()),
        ("mode", pa.int32()),
        ("weight", pa.float64()),
        ("step", pa.int32()),
        ("time", pa.float64()),
        ("x", pa.float64()),
        ("y", pa.float64()),
        ("var_x", pa.float64()),
        ("cov_xy", pa.float64()),
        ("var_y", pa.float64()),
    ]
)


class Asked(NamedTuple):
    """One forecast to be made: of whom, from when, on (t_obs, 2) metres."""

    scene: str
    agent: str
    observed_at_s: float
    history_m: FloatArray


def predict(
    forecaster: Forecaster, scenes: Sequence[Scene], telling: Telling, *, windows: str, form: str, max_windows: int
) -> TaskOutcomeOut:
    """Write one forecast for each agent, or for each step of each agent, to `result.FORM` in the folder of the task.

    Args:
        forecaster: a warm model.
        scenes: tracks.
        telling: of the task.
        windows: `last`: from the newest positions, as serving does it; `all`: from each step of the grid on.
        form: `csv` or `parquet`.
        max_windows: forecasts of one task.

    Raises:
        InvalidInput: if nobody is seen for long enough, or there are too many forecasts to make.
    """
    window, agents = forecaster.window, sum(len(scene.tracks) for scene in scenes)
    make = _last if windows == "last" else _every
    total = agents if windows == "last" else sum(1 for _ in make(scenes, window))
    if total > max_windows:
        raise InvalidInput(
            f"that would be {total} forecasts, allowed are {max_windows}; split the tracks, or predict from the last positions only"
        )
    asked, path = make(scenes, window), telling.folder / f"result.{form}"
    began_s, done, rows = time.monotonic(), 0, 0
    with path.open("wb") as file, _writer(file, form) as writer:
        while block := list(islice(asked, BLOCK)):
            table = _table(block, forecaster.forecast(np.stack([one.history_m for one in block])), window)
            writer.write_table(table)
            done, rows = done + len(block), rows + len(table)
            telling.counted("Predicts", done, total, began_s, (0.1, 1.0))
    if not done:
        needed_s = (window.t_obs - 1) * window.dt_s
        raise InvalidInput(f"no agent is seen for {needed_s:.1f} s without a gap of more than {MAX_GAP_S:g} s, so nothing can be predicted")
    short = agents - done if windows == "last" else 0
    of = f"{grouped(done)} of {grouped(agents)} agents" if windows == "last" else f"{grouped(done)} moments of {grouped(agents)} agents"
    sentence = f"Forecast {of}{f'; {short} are seen for too short a time' if short else ''}."
    telling.say(sentence)
    return TaskOutcomeOut(sentence=sentence, filename=path.name, media_type=MEDIA_TYPES[form], bytes=path.stat().st_size, rows=rows)


def _last(scenes: Sequence[Scene], window: WindowSpec) -> Iterator[Asked]:
    for scene in scenes:
        for track in scene.tracks:
            try:
                history_m = latest_history(track.times_s, track.positions_m, window, max_gap_s=MAX_GAP_S)
            except WindowTooShort:
                continue
            yield Asked(scene.scene_id, track.agent_id, float(track.times_s[-1]), history_m)


def _every(scenes: Sequence[Scene], window: WindowSpec) -> Iterator[Asked]:
    for scene in scenes:
        for track in resample_scene(scene, window, max_gap_s=MAX_GAP_S, min_steps=window.t_obs).tracks:
            views = np.lib.stride_tricks.sliding_window_view(track.positions_m, window.t_obs, axis=0).transpose(0, 2, 1)
            for observed_at_s, history_m in zip(track.times_s[window.t_obs - 1 :].tolist(), views, strict=True):
                yield Asked(scene.scene_id, track.agent_id, observed_at_s, history_m)


def _table(block: Sequence[Asked], forecast: Forecast, window: WindowSpec) -> pa.Table:
    """One row for each agent, mode and step."""
    agents, modes, steps, _ = forecast.mean_m.shape
    each = modes * steps
    observed_at_s = np.repeat([one.observed_at_s for one in block], each)
    step = np.tile(np.arange(1, steps + 1), agents * modes)
    covariance_m2 = forecast.covariance_m2.reshape(-1, 2, 2)
    columns: Mapping[str, Any] = {
        "scene": np.repeat(np.array([one.scene for one in block], dtype=object), each),
        "agent": np.repeat(np.array([one.agent for one in block], dtype=object), each),
        "observed_at_s": observed_at_s,
        "mode": np.tile(np.repeat(np.arange(modes), steps), agents),
        "weight": np.repeat(forecast.weights.reshape(-1), steps),
        "step": step,
        "time": observed_at_s + step * window.dt_s,
        "x": forecast.mean_m[..., 0].reshape(-1),
        "y": forecast.mean_m[..., 1].reshape(-1),
        "var_x": covariance_m2[:, 0, 0],
        "cov_xy": covariance_m2[:, 0, 1],
        "var_y": covariance_m2[:, 1, 1],
    }
    return pa.table({name: pa.array(columns[name], SCHEMA.field(name).type) for name in SCHEMA.names}, schema=SCHEMA)


def _writer(file: Any, form: str) -> Any:
    make: Callable[..., Any] = pacsv.CSVWriter if form == "csv" else pq.ParquetWriter
    return make(file, SCHEMA)

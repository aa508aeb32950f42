"""From tracks of any sampling rate to windows: split at gaps, interpolate on the grid, cut.

Training (`resample`, `cut`) and serving (`latest_history`) share one interpolation and one rule of continuity, so that a
model is asked about exactly what it was fitted on.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from trajops.errors import ShapeError, WindowTooShort
from trajops.trajectories import DEFAULT_WINDOW, BoolArray, FloatArray, Scene, Track, WindowSpec, checked

# Rounded clocks may not cost a window: at 10 m/s this is one centimetre. Epoch seconds resolve 2.4e-7 s in float64.
TIME_TOLERANCE_S = 1e-3


@dataclass(frozen=True, slots=True, eq=False)
class Windows:
    """N windows of observed and future positions, the unit of training and evaluation.

    Attributes:
        agent_ids: N names; several windows of one agent overlap, so split and bootstrap by agent.
        scene_ids: N names.
        starts_s: (N,) time of the first observed position, scene clock, seconds.
        positions_m: (N, t_obs + t_pred, 2) metres, scene frame.
        window: lengths and time step.

    Raises:
        ShapeError: if the lengths disagree, or a number is not finite.
    """

    agent_ids: tuple[str, ...]
    scene_ids: tuple[str, ...]
    starts_s: FloatArray
    positions_m: FloatArray
    window: WindowSpec = DEFAULT_WINDOW

    def __post_init__(self) -> None:
        count = len(self.agent_ids)
        if len(self.scene_ids) != count:
            raise ShapeError(f"agent_ids and scene_ids must have the same length, not {count} and {len(self.scene_ids)}")
        object.__setattr__(self, "starts_s", checked("starts_s", self.starts_s, count))
        object.__setattr__(self, "positions_m", checked("positions_m", self.positions_m, count, self.window.steps, 2))

    def __len__(self) -> int:
        return len(self.agent_ids)

    @property
    def history_m(self) -> FloatArray:
        """(N, t_obs, 2) observed positions, metres."""
        return self.positions_m[:, : self.window.t_obs]

    @property
    def truth_m(self) -> FloatArray:
        """(N, t_pred, 2) positions to predict, metres."""
        return self.positions_m[:, self.window.t_obs :]

    @property
    def observed_at_s(self) -> FloatArray:
        """(N,) time of the last observed position, scene clock, seconds."""
        ends_s: FloatArray = self.starts_s + (self.window.t_obs - 1) * self.window.dt_s
        return ends_s

    def select(self, mask: BoolArray | NDArray[np.integer[Any]]) -> Self:
        """Windows where a (N,) mask is true, or at the given indices in the given order.

        Raises:
            ShapeError: if a mask does not have N entries.
        """
        mask = np.asarray(mask)
        if mask.dtype == np.bool_ and mask.shape != (len(self),):
            raise ShapeError(f"a mask over {len(self)} windows must have shape ({len(self)},), not {mask.shape}")
        rows = np.flatnonzero(mask) if mask.dtype == np.bool_ else mask.astype(np.intp)
        return type(self)(
            tuple(self.agent_ids[row] for row in rows),
            tuple(self.scene_ids[row] for row in rows),
            self.starts_s[rows],
            self.positions_m[rows],
            self.window,
        )

    @classmethod
    def empty(cls, window: WindowSpec = DEFAULT_WINDOW) -> Self:
        """No window at all."""
        return cls((), (), np.empty(0), np.empty((0, window.steps, 2)), window)

    @classmethod
    def concatenate(cls, parts: Sequence["Windows"]) -> Self:
        """All windows of the parts, in order.

        Raises:
            ShapeError: if the parts were cut by different window specifications.
        """
        if not parts:
            return cls.empty()
        window = parts[0].window
        if any(part.window != window for part in parts):
            raise ShapeError("windows of different lengths or time steps cannot be joined; cut them with one WindowSpec")
        return cls(
            tuple(name for part in parts for name in part.agent_ids),
            tuple(name for part in parts for name in part.scene_ids),
            np.concatenate([part.starts_s for part in parts]),
            np.concatenate([part.positions_m for part in parts]),
            window,
        )


def resample(
    track: Track, window: WindowSpec = DEFAULT_WINDOW, *, max_gap_s: float, max_speed_mps: float | None = None, min_steps: int = 1
) -> list[Track]:
    """Split a track where it is not continuous and put each piece on a grid of `window.dt_s`.

    The grid starts at each piece's first sample and ends at or before its last; positions are interpolated linearly.

    Args:
        track: samples at any rate, regular or not.
        window: gives the time step.
        max_gap_s: consecutive samples further apart than this begin a new piece, seconds.
        max_speed_mps: so do two samples that imply a higher speed: a swapped identity or a glitch. None: no limit.
        min_steps: pieces with fewer grid steps are left out.

    Returns:
        Pieces in time order. A track in one piece keeps its agent id; several are numbered `{agent_id}-001`, `-002` …,
        counting those left out, so that a name does not depend on `min_steps`.
    """
    bounds = [0, *_breaks(track.times_s, track.positions_m, max_gap_s, max_speed_mps), len(track)]
    pieces = []
    for number, (start, stop) in enumerate(pairwise(bounds), 1):
        if start == stop:
            continue
        times_s, positions_m = track.times_s[start:stop], track.positions_m[start:stop]
        steps = int((times_s[-1] - times_s[0] + TIME_TOLERANCE_S) // window.dt_s) + 1
        if steps < min_steps:
            continue
        grid_s = times_s[0] + np.arange(steps) * window.dt_s
        agent_id = track.agent_id if len(bounds) == 2 else f"{track.agent_id}-{number:03d}"
        pieces.append(Track(agent_id, grid_s, _interpolate(grid_s, times_s, positions_m)))
    return pieces


def resample_scene(
    scene: Scene, window: WindowSpec = DEFAULT_WINDOW, *, max_gap_s: float, max_speed_mps: float | None = None, min_steps: int = 1
) -> Scene:
    """The scene with every track replaced by its continuous pieces; see `resample`."""
    pieces = [
        piece
        for track in scene.tracks
        for piece in resample(track, window, max_gap_s=max_gap_s, max_speed_mps=max_speed_mps, min_steps=min_steps)
    ]
    return Scene(scene.scene_id, tuple(pieces))


def latest_history(
    times_s: FloatArray,
    positions_m: FloatArray,
    window: WindowSpec = DEFAULT_WINDOW,
    *,
    max_gap_s: float,
    max_speed_mps: float | None = None,
) -> FloatArray:
    """The last `t_obs` positions of an agent on a grid that ends at its newest sample.

    Args:
        times_s: (T,) strictly increasing seconds.
        positions_m: (T, 2) metres.
        window: gives length and time step.
        max_gap_s: as in `resample`.
        max_speed_mps: as in `resample`.

    Returns:
        (t_obs, 2) metres, oldest first.

    Raises:
        ShapeError: on wrong shapes, numbers that are not finite, or times that do not increase.
        WindowTooShort: if the continuous samples before the newest one do not reach back far enough.
    """
    times_s = checked("times_s", times_s, None)
    positions_m = checked("positions_m", positions_m, len(times_s), 2)
    if (times_s[1:] <= times_s[:-1]).any():
        raise ShapeError("times_s must strictly increase; sort the observations and drop duplicates")
    needed_s = (window.t_obs - 1) * window.dt_s
    breaks = _breaks(times_s, positions_m, max_gap_s, max_speed_mps)
    start = breaks[-1] if breaks else 0
    span_s = float(times_s[-1] - times_s[start]) if len(times_s) else 0.0
    if not len(times_s) or span_s < needed_s - TIME_TOLERANCE_S:
        raise WindowTooShort(
            f"the last {len(times_s) - start} continuous positions span {span_s:.2f} s, but {window.t_obs} positions "
            f"{window.dt_s} s apart need {needed_s:.2f} s; send more positions, or the history itself",
            span_s=span_s,
            needed_s=needed_s,
        )
    grid_s = times_s[-1] - np.arange(window.t_obs - 1, -1, -1) * window.dt_s
    return _interpolate(grid_s, times_s[start:], positions_m[start:])


def cut(scene: Scene, window: WindowSpec = DEFAULT_WINDOW, *, stride: int = 1) -> Windows:
    """Every window of `window.steps` consecutive states of every track.

    Args:
        scene: tracks on a grid of `window.dt_s`, as `resample` makes them; shorter tracks give no window.
        window: lengths and time step.
        stride: steps between the starts of two windows of one track.

    Raises:
        ShapeError: if a track is not on the grid, or `stride` is not positive.
    """
    if stride < 1:
        raise ShapeError(f"stride must be at least 1 step, not {stride}")
    agent_ids: list[str] = []
    starts_s: list[FloatArray] = []
    positions_m: list[FloatArray] = []
    for track in scene.tracks:
        if (np.abs(np.diff(track.times_s) - window.dt_s) > TIME_TOLERANCE_S).any():
            raise ShapeError(f"track {track.agent_id} of scene {scene.scene_id} is not sampled every {window.dt_s} s; resample it first")
        if len(track) < window.steps:
            continue
        views = np.lib.stride_tricks.sliding_window_view(track.positions_m, window.steps, axis=0)[::stride]
        agent_ids += [track.agent_id] * len(views)
        starts_s.append(track.times_s[: len(track) - window.steps + 1 : stride])
        positions_m.append(views.transpose(0, 2, 1))
    if not agent_ids:
        return Windows.empty(window)
    return Windows(tuple(agent_ids), (scene.scene_id,) * len(agent_ids), np.concatenate(starts_s), np.concatenate(positions_m), window)


def _breaks(times_s: FloatArray, positions_m: FloatArray, max_gap_s: float, max_speed_mps: float | None) -> list[int]:
    """Indices at which a new continuous piece begins."""
    steps_s = np.diff(times_s)
    is_break = steps_s > max_gap_s + TIME_TOLERANCE_S
    if max_speed_mps is not None:
        is_break |= np.hypot(*np.diff(positions_m, axis=0).T) > max_speed_mps * steps_s
    indices: list[int] = (np.flatnonzero(is_break) + 1).tolist()
    return indices


def _interpolate(grid_s: FloatArray, times_s: FloatArray, positions_m: FloatArray) -> FloatArray:
    """Positions (G, 2) at the grid's times, linear between samples, held at the ends."""
    # Relative times keep the full precision of epoch seconds in the products of the interpolation.
    grid_s, times_s = grid_s - times_s[0], times_s - times_s[0]
    return np.stack([np.interp(grid_s, times_s, positions_m[:, 0]), np.interp(grid_s, times_s, positions_m[:, 1])], axis=-1)

"""Windows for training, cut in parallel by scene and agent, and split by agent so that nothing leaks between the parts."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np

from trajops.errors import InvalidInput
from trajops.experiments.assignment import unit_interval
from trajops.ports import Compute
from trajops.trajectories import DEFAULT_WINDOW, Scene, WindowSpec
from trajops.windows import Windows, cut, resample_scene

PARTITIONS = 8
CALIBRATION_SHARE = 0.15
VALIDATION_SHARE = 0.15
MIN_WINDOWS = 10
Role = Literal["fit", "calibration", "validation"]


@dataclass(frozen=True)
class Cutting:
    """How tracks become windows.

    Attributes:
        window: lengths and time step.
        stride: steps between the starts of two windows of one track.
        max_gap_s: a track is split where consecutive samples are further apart, seconds.
        max_speed_mps: and where two samples imply a higher speed; None: no limit.
    """

    window: WindowSpec = DEFAULT_WINDOW
    stride: int = 1
    max_gap_s: float = 1.0
    max_speed_mps: float | None = None


@dataclass(frozen=True)
class Split:
    """Windows by their role. No agent has two roles.

    Attributes:
        fit: what parameters are fitted on.
        calibration: what the size of the ellipses is set on.
        validation: what the figures are measured on.
        fingerprint: SHA-256 of all windows; independent of the number of partitions.
    """

    fit: Windows
    calibration: Windows
    validation: Windows
    fingerprint: str


def role_of(agent_id: str, seed: str = "split") -> Role:
    """Role of an agent, by a stable hash of its id: the same in every run, process and partition."""
    position = unit_interval(seed, agent_id)
    if position < CALIBRATION_SHARE:
        return "calibration"
    return "validation" if position < CALIBRATION_SHARE + VALIDATION_SHARE else "fit"


def split(scenes: Sequence[Scene], compute: Compute, cutting: Cutting | None = None, *, partitions: int = PARTITIONS) -> Split:
    """Cut all scenes, one partition at a time wherever `compute` runs them.

    Args:
        scenes: recorded tracks at any sampling rate.
        compute: where the partitions are cut.
        cutting: how.
        partitions: per scene.

    Raises:
        InvalidInput: if a role is left with fewer than 10 windows.
    """
    parts = [part for scene in scenes for part in partitioned(scene, partitions)]
    rows = compute.map(partial(cut_partition, cutting=cutting or Cutting()), parts)
    by_role = {role: ordered([row[role] for row in rows]) for role in ("fit", "calibration", "validation")}
    for role, windows in by_role.items():
        if len(windows) < MIN_WINDOWS:
            spec = (cutting or Cutting()).window
            raise InvalidInput(
                f"the tracks give {len(windows)} windows for {role}, at least {MIN_WINDOWS} are needed; give more agents that are seen "
                f"for {spec.steps * spec.dt_s:.1f} s without a gap"
            )
    fingerprint = fingerprint_of(ordered([windows for row in rows for windows in row.values()]))
    return Split(by_role["fit"], by_role["calibration"], by_role["validation"], fingerprint)


def partitioned(scene: Scene, partitions: int) -> list[Scene]:
    """The scene in parts by a hash of the agent: every agent is in exactly one, whole."""
    parts: list[list[int]] = [[] for _ in range(partitions)]
    for index, track in enumerate(scene.tracks):
        parts[int(unit_interval("partition", track.agent_id) * partitions)].append(index)
    return [Scene(scene.scene_id, tuple(scene.tracks[index] for index in part)) for part in parts]


def cut_partition(scene: Scene, cutting: Cutting) -> dict[Role, Windows]:
    """Windows of one partition by role; a track that is split at a gap keeps the role of the whole."""
    found: dict[Role, list[Windows]] = {"fit": [], "calibration": [], "validation": []}
    for role, members in found.items():
        mine = Scene(scene.scene_id, tuple(track for track in scene.tracks if role_of(track.agent_id) == role))
        pieces = resample_scene(
            mine,
            cutting.window,
            max_gap_s=cutting.max_gap_s,
            max_speed_mps=cutting.max_speed_mps,
            min_steps=cutting.window.steps,
        )
        members.append(cut(pieces, cutting.window, stride=cutting.stride))
    return {role: Windows.concatenate(members) for role, members in found.items()}


def fingerprint_of(windows: Windows) -> str:
    """SHA-256 over names, times and positions (to a tenth of a millimetre) of all windows, in their order."""
    digest = hashlib.sha256()
    digest.update("\n".join(f"{scene}\t{agent}" for scene, agent in zip(windows.scene_ids, windows.agent_ids, strict=True)).encode())
    for array in (windows.starts_s, windows.positions_m):
        digest.update(np.round(array * 1e4).astype("<i8").tobytes())
    return digest.hexdigest()


def ordered(parts: Sequence[Windows]) -> Windows:
    """All windows by scene, agent and time: the order does not depend on how they were partitioned."""
    windows = Windows.concatenate([part for part in parts if len(part)])
    order = sorted(range(len(windows)), key=lambda row: (windows.scene_ids[row], windows.agent_ids[row], windows.starts_s[row]))
    return windows.select(np.array(order, dtype=np.intp))

"""Inline and Dask compute the same: more than one process, more than one partition, one result."""

import os

import numpy as np
import pytest

from tests.builders import a_crowd
from trajops.errors import EnvironmentProblem
from trajops.ports import Compute
from workers.compute import DaskCompute, Inline
from workers.training.candidates import FAMILIES, Candidate, fit_candidate
from workers.training.partitions import Cutting, cut_partition, partitioned, split

pytestmark = pytest.mark.slow
SCENES = [a_crowd("north", 1), a_crowd("south", 2)]
CROWDED = [a_crowd("north", 1, agents=200), a_crowd("south", 2, agents=200)]  # one batch of the network at the least


def worker_of(item: int) -> tuple[int, int]:
    # Long enough that an idle worker takes the next item.
    total = sum(range(200_000))
    return item, os.getpid() + 0 * total


def seeded(item: tuple[int, int]) -> float:
    return float(np.random.default_rng(item).normal())


def fails_at_two(item: int) -> int:
    if item == 2:
        raise ValueError("two is not welcome")
    return item


@pytest.fixture(scope="module")
def dask() -> Compute:
    with DaskCompute(workers=2) as compute:
        yield compute


def test_work_is_spread_over_processes_and_comes_back_in_order(dask: Compute) -> None:
    results = dask.map(worker_of, range(8))
    assert [item for item, _ in results] == list(range(8))
    processes = {process for _, process in results}
    assert len(processes) == 2
    assert os.getpid() not in processes


def test_random_numbers_depend_on_the_item_alone(dask: Compute) -> None:
    items = [(7, index) for index in range(16)]
    assert dask.map(seeded, items) == Inline().map(seeded, items)


@pytest.mark.parametrize("place", ["inline", "dask"])
def test_the_first_error_is_raised(place: str, dask: Compute) -> None:
    with pytest.raises(ValueError, match="two is not welcome"):
        (Inline() if place == "inline" else dask).map(fails_at_two, range(4))


def test_training_gives_the_same_models_inline_and_on_two_processes(dask: Compute) -> None:
    """Of every family, the learned ones with their random numbers too, byte by byte."""
    assert sum(len(partitioned(scene, 8)) for scene in CROWDED) == 16
    here, there = split(CROWDED, Inline()), split(CROWDED, dask)
    assert here.fingerprint == there.fingerprint
    for role in ("fit", "calibration", "validation"):
        one, other = getattr(here, role), getattr(there, role)
        assert one.agent_ids == other.agent_ids
        assert np.array_equal(one.positions_m, other.positions_m)
    fitted = [
        compute.map(fit_candidate, [Candidate(family, data, 3, 2.0) for family in FAMILIES])
        for compute, data in ((Inline(), here), (dask, there))
    ]
    assert {"gaussian_mlp", "gradient_boosting"} <= {one.package.family for one in fitted[0]}
    for one, other in zip(*fitted, strict=True):
        assert one.package.files == other.package.files
        assert one.package.graph == other.package.graph
        same, there = ({n: v for n, v in found.evaluation.metrics.items() if not n.startswith("val_latency_")} for found in (one, other))
        assert same == there


def test_partitions_do_not_change_the_windows() -> None:
    whole = split(SCENES, Inline(), partitions=1)
    assert split(SCENES, Inline(), partitions=8).fingerprint == split(SCENES, Inline(), partitions=13).fingerprint == whole.fingerprint
    parts = partitioned(SCENES[0], 8)
    assert sorted(track.agent_id for part in parts for track in part.tracks) == sorted(track.agent_id for track in SCENES[0].tracks)


def test_no_agent_has_two_roles() -> None:
    windows = [cut_partition(scene, Cutting()) for scene in SCENES]
    agents = {role: {agent for part in windows for agent in part[role].agent_ids} for role in ("fit", "calibration", "validation")}
    assert all(agents.values())
    assert not agents["fit"] & agents["calibration"]
    assert not agents["fit"] & agents["validation"]
    assert not agents["calibration"] & agents["validation"]


def test_a_scheduler_that_is_away_is_one_sentence() -> None:
    with pytest.raises(EnvironmentProblem, match=r"no Dask scheduler answers at tcp://127\.0\.0\.1:1"), DaskCompute("tcp://127.0.0.1:1"):
        pass


def test_map_outside_of_the_block_is_refused() -> None:
    with pytest.raises(EnvironmentProblem, match="with block"):
        DaskCompute().map(worker_of, range(2))

"""The product as it runs: API and worker as processes over shipped configurations, and traffic from recorded or made-up tracks."""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import yaml

from deploy.demo.replay import Replay
from tests.alert_receivers import wait_for
from tests.conftest import free_port
from trajops.trajectories import Scene, Track

ROOT = Path(__file__).resolve().parents[1]
DT_S = 0.4
Edits = Mapping[str, Mapping[str, Any]]


def configure(folder: Path, edits: Edits) -> Path:
    """A copy of the shipped configurations, with changes.

    Args:
        folder: to write to.
        edits: by name of the file, what is laid over it: mappings are merged key by key, anything else replaces; None takes away.
    """
    configs = folder / "configs"
    shutil.copytree(ROOT / "configs", configs)
    for name, changes in edits.items():
        path = configs / f"{name}.yaml"
        path.write_text(yaml.safe_dump(_over(yaml.safe_load(path.read_text()), changes)))
    return configs


def _over(before: Any, changes: Any) -> Any:
    if not isinstance(before, dict) or not isinstance(changes, Mapping):
        return changes
    merged = before | {key: _over(before.get(key), value) for key, value in changes.items()}
    return {key: value for key, value in merged.items() if value is not None}


@contextmanager
def running(folder: Path, name: str, address: str, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """`python -m NAME` until the end of the block; it begins once the address answers 200."""
    log = folder / f"{name}.log"
    with log.open("ab") as out:
        process = subprocess.Popen([sys.executable, "-m", name], cwd=ROOT, env={**os.environ, **environment}, stdout=out, stderr=out)
    try:

        def is_up() -> bool:
            assert process.poll() is None, log.read_text()
            with suppress(httpx.HTTPError):
                return httpx.get(address, trust_env=False, timeout=5).status_code == 200
            return False

        wait_for(is_up, f"{name} at {address}", 90)
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        process.wait(30)


@contextmanager
def product(folder: Path, mlflow_url: str = "http://127.0.0.1:9", **environment: str) -> Iterator[str]:
    """A running API and a running worker over `folder/var` and `folder/configs`; the address of the API."""
    port, workers_port = free_port(), free_port()
    own = {
        "TRAJOPS_VAR_DIR": str(folder / "var"),
        "TRAJOPS_CONFIGS_DIR": str(folder / "configs"),
        "TRAJOPS_API_PORT": str(port),
        "TRAJOPS_WORKERS_PORT": str(workers_port),
        "TRAJOPS_MLFLOW_URL": mlflow_url,
        "OMP_NUM_THREADS": "1",
        **environment,
    }
    url = f"http://127.0.0.1:{port}"
    with running(folder, "api", f"{url}/readyz", **own), running(folder, "workers", f"http://127.0.0.1:{workers_port}/healthz", **own):
        yield url


def vehicles(count: int, *, begin_s: float, seconds: float, speed_mps: float = 15.0, seed: int = 0) -> tuple[Track, ...]:
    """Agents that go straight on, each its own way."""
    rng = np.random.default_rng(seed)
    elapsed_s = np.arange(round(seconds / DT_S)) * DT_S
    heading = rng.uniform(0, 2 * np.pi, count)
    speed = speed_mps * rng.uniform(0.8, 1.2, count)
    steps = speed[:, None] * np.stack([np.cos(heading), np.sin(heading)], axis=-1)
    starts = rng.uniform(-50, 50, (count, 2))
    paths = starts[:, None] + elapsed_s[:, None] * steps[:, None] + rng.normal(0, 0.02, (count, len(elapsed_s), 2))
    return tuple(Track(f"vehicle-{number}", begin_s + elapsed_s, path) for number, path in enumerate(paths))


def first_seconds(tracks: Sequence[Track], seconds: float) -> tuple[Track, ...]:
    """What the tracks show up to then."""
    cut = ((track, int(np.searchsorted(track.times_s, seconds))) for track in tracks)
    return tuple(Track(track.agent_id, track.times_s[:end], track.positions_m[:end]) for track, end in cut if end)


@contextmanager
def traffic(url: str, key: str, *tracks: Track, scene_id: str = "s1", label: str = "r1") -> Iterator[Replay]:
    """Tracks as live traffic in a thread of its own; what is left of them at the end of the block is not played."""
    replay = Replay(url, key, Scene(scene_id, tracks), scene_id, label, speed=1.0)
    loop = asyncio.new_event_loop()
    task = loop.create_task(replay.run())

    def play() -> None:
        with suppress(asyncio.CancelledError):
            loop.run_until_complete(task)

    thread = threading.Thread(target=play, name="traffic")
    thread.start()
    try:
        yield replay
    finally:
        loop.call_soon_threadsafe(task.cancel)
        thread.join()
        loop.close()

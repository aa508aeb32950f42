"""One demo a state folder: a second start is refused, and what a killed one left behind is stopped."""

import fcntl
import os
import signal
import time
from pathlib import Path
from typing import IO

from trajops.errors import EnvironmentProblem

# In the environment of every process that the demo starts, so that they can be told from all others.
MARK = "TRAJOPS_DEMO_STATE"
PATIENCE_S = 8.0


def claim(var_dir: Path) -> IO[str]:
    """Hold the folder until this process ends; the lock is not inherited, so that a killed supervisor holds nothing.

    Raises:
        EnvironmentProblem: if a demo is running on the folder.
    """
    lock = (var_dir / "demo.lock").open("a+")
    try:
        fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        lock.seek(0)
        raise EnvironmentProblem(
            f"a demo is running on {var_dir} already (process {lock.read().strip() or 'unknown'}); stop it with Ctrl-C, "
            "or start this one on another folder and ports: TRAJOPS_VAR_DIR=/path TRAJOPS_API_PORT=8010 … make demo"
        ) from error
    lock.truncate(0)
    lock.write(f"{os.getpid()}\n")
    lock.flush()
    return lock


def left_behind(var_dir: Path) -> list[int]:
    """Processes that an earlier demo on this folder started and that still run."""
    mark = f"{MARK}={var_dir.absolute()}".encode()
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            environment = (folder / "environ").read_bytes()
        except OSError:  # ended meanwhile, or somebody else's
            continue
        if mark in environment.split(b"\0") and int(folder.name) != os.getpid():
            found.append(int(folder.name))
    return found


def stop(var_dir: Path) -> list[int]:
    """End what a killed demo left behind, politely and then not; return the process ids."""
    stopped = left_behind(var_dir)
    for signal_number in (signal.SIGTERM, signal.SIGKILL):
        for pid in left_behind(var_dir):
            try:
                os.kill(pid, signal_number)
            except ProcessLookupError:
                continue
        deadline = time.monotonic() + PATIENCE_S
        while left_behind(var_dir) and time.monotonic() < deadline:
            time.sleep(0.1)
    return stopped

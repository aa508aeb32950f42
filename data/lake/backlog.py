"""How much lies in the spool: what is not in the lake yet, and what is deleted in a moment because it is."""

import os
import time
from pathlib import Path
from typing import NamedTuple

from data.lake.spool import CLOSED, OPEN

QUARANTINE = "quarantine"


class Backlog(NamedTuple):
    """Segments in the spool.

    Attributes:
        segments: closed and open ones.
        size_bytes: of all of them.
        oldest_s: since the oldest closed one was last written; 0 where none is closed.
    """

    segments: int
    size_bytes: int
    oldest_s: float


def quarantined(folder: Path) -> list[str]:
    """Segments of a spool folder that had lines which are no rows; files of these names keep the lines until somebody deletes them."""
    try:
        return sorted(path.name for path in (folder / QUARANTINE).iterdir() if path.name.endswith(CLOSED))
    except OSError:
        return []


def backlog(folder: Path) -> Backlog:
    """What lies in a spool folder. One that cannot be read is empty: whoever writes there will say so."""
    sizes, oldest_s, now_s = [], 0.0, time.time()
    try:
        with os.scandir(folder) as entries:
            names = [entry for entry in entries if entry.name.endswith((CLOSED, OPEN))]
    except OSError:
        return Backlog(0, 0, 0.0)
    for entry in names:
        try:
            found = entry.stat()
        except FileNotFoundError:
            continue  # compacted this moment
        sizes.append(found.st_size)
        if entry.name.endswith(CLOSED):
            oldest_s = max(oldest_s, now_s - found.st_mtime)
    return Backlog(len(sizes), sum(sizes), oldest_s)

"""Files whose content is broken: whoever meets one takes it out of the lake, says so, and goes on without it.

It stays on disk, and comes back when a good copy lies in its place. One that is away is not broken: a share that is not mounted
must not empty the lake.
"""

import logging
from collections.abc import Iterable
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from data.lake.manifest import Manifest

# What DuckDB and Arrow raise where a file may be broken; what DuckDB raises for a wrong question, and for values out of range.
FAULTS = (duckdb.Error, pa.ArrowInvalid, OSError)
QUESTIONS = (duckdb.BinderException, duckdb.CatalogException, duckdb.ParserException, duckdb.DataError)

_log = logging.getLogger(__name__)


def set_aside(lake_dir: Path, manifest: Manifest, paths: Iterable[str]) -> bool:
    """Read files to their end, and take those out of the lake that cannot be understood; whether there were any.

    Args:
        lake_dir: folder of the lake.
        manifest: of the lake.
        paths: relative to the folder.

    Raises:
        Unavailable: if the manifest cannot be changed.
    """
    broken = [path for path in paths if is_broken(lake_dir / path)]
    if broken:
        manifest.set_aside(broken)
        _log.error("%d files of the lake are broken, and are left out; they stay where they are: %s", len(broken), ", ".join(broken))
    return bool(broken)


def put_back(lake_dir: Path, manifest: Manifest) -> list[str]:
    """Take files into the lake again that were set aside and have been replaced by a good copy; their paths.

    Raises:
        Unavailable: if the manifest cannot be changed.
    """
    mended = [path for path, rows in manifest.broken().items() if _is_whole(lake_dir / path, rows)]
    for path in mended:
        manifest.put_back(path)
        _log.warning("%s was broken, and can be read again: it is part of the lake", path)
    return mended


def _is_whole(path: Path, rows: int) -> bool:
    """Whether a file has so many rows and can be read to its end."""
    try:
        return pq.read_metadata(path).num_rows == rows and not is_broken(path)
    except (pa.ArrowInvalid, OSError):
        return False


def is_broken(path: Path) -> bool:
    """Whether a file is there, can be read from the disk, and is no Parquet file that can be understood to its end."""
    try:
        for _ in pq.ParquetFile(path).iter_batches():
            pass
    except pa.ArrowInvalid:
        return True
    except OSError as error:  # that of a disk has a number; Arrow also raises it for pages that cannot be uncompressed
        return error.errno is None
    return False

"""Files whose content is broken: whoever meets one takes it out of the lake, says so, and goes on without it.

It stays on disk. One that is away is not broken: a share that is not mounted must not empty the lake.
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

"""Job `compact_lake`: closed spool segments become Parquet, small files become larger ones."""

from collections.abc import Mapping
from typing import Any, Protocol


class Compactor(Protocol):
    """The part of `data.lake.compactor` that the job needs."""

    def run(self) -> Mapping[str, Any]:
        """Compact what is closed; return counts."""
        ...


def compact_lake(compactor: Compactor) -> dict[str, Any]:
    """Compact once; idempotent, because a segment is compacted in one transaction of the manifest."""
    return dict(compactor.run())

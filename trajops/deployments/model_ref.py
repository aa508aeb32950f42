"""The name of what answers."""

from typing import NamedTuple


class ModelRef(NamedTuple):
    """One version of one registered model."""

    name: str
    version: int

    def __str__(self) -> str:
        return f"{self.name}/{self.version}"

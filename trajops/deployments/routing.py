"""The immutable table by which a request finds its model: no lookup, no lock, one pointer to swap."""

from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple, Self

from trajops.errors import InvalidInput
from trajops.experiments.assignment import unit_interval

Variant = Literal["control", "treatment", "champion", "direct"]


class ModelRef(NamedTuple):
    """One version of one registered model."""

    name: str
    version: int

    def __str__(self) -> str:
        return f"{self.name}/{self.version}"


class Assignment(NamedTuple):
    """Which model answers, and in which role."""

    model: ModelRef
    variant: Variant


@dataclass(frozen=True, slots=True)
class RouteTable:
    """Who gets which model in one routing epoch.

    Attributes:
        epoch: grows with each change; every process follows the newest.
        champion: answers everybody who is not enrolled.
        challenger: the other arm; None when nothing is being compared.
        previous: the champion before this one, kept warm for an instant rollback.
        coverage: share of units enrolled in the comparison; half of them get the challenger.
        seed: of the assignment hash; constant for the life of one comparison.
    """

    epoch: int
    champion: ModelRef | None = None
    challenger: ModelRef | None = None
    previous: ModelRef | None = None
    coverage: float = 0.0
    seed: str = ""

    def __post_init__(self) -> None:
        if not 0.0 <= self.coverage <= 1.0:
            raise InvalidInput(f"coverage must be between 0 and 1, not {self.coverage}")

    def assign(self, unit_id: str) -> Assignment | None:
        """Model and variant for a unit; None when there is no champion yet.

        A unit that was in one arm stays there while coverage grows or shrinks: control owns [0, coverage/2),
        treatment owns [1/2, 1/2 + coverage/2).
        """
        if self.champion is None:
            return None
        if self.challenger is None or not self.coverage:
            return Assignment(self.champion, "champion")
        n = unit_interval(self.seed, unit_id)
        if n < self.coverage / 2:
            return Assignment(self.champion, "control")
        if 0.5 <= n < 0.5 + self.coverage / 2:
            return Assignment(self.challenger, "treatment")
        return Assignment(self.champion, "champion")

    def models(self) -> tuple[ModelRef, ...]:
        """The versions that must be warm: champion, challenger, previous."""
        return tuple(dict.fromkeys(ref for ref in (self.champion, self.challenger, self.previous) if ref is not None))

    def alias(self, name: str) -> ModelRef | None:
        """The version behind `champion`, `challenger` or `previous_champion`."""
        return {"champion": self.champion, "challenger": self.challenger, "previous_champion": self.previous}.get(name)

    def next(self, **changes: Any) -> Self:
        """The table of the following epoch."""
        return replace(self, epoch=self.epoch + 1, **changes)

    def to_json(self) -> dict[str, Any]:
        """Plain data for SQL."""
        return {
            "epoch": self.epoch,
            "champion": self.champion and list(self.champion),
            "challenger": self.challenger and list(self.challenger),
            "previous": self.previous and list(self.previous),
            "coverage": self.coverage,
            "seed": self.seed,
        }

    @classmethod
    def from_json(cls, row: dict[str, Any]) -> Self:
        """The table that `to_json` wrote."""
        refs = {key: ModelRef(row[key][0], int(row[key][1])) if row.get(key) else None for key in ("champion", "challenger", "previous")}
        return cls(epoch=row["epoch"], coverage=row["coverage"], seed=row["seed"], **refs)

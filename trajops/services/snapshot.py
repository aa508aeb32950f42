"""What decides an answer, swapped as one pointer: the routes that answer, the warm models, and who stands in while no routes do."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from trajops.deployments.model_ref import ModelRef
from trajops.deployments.routing import Assignment, RouteTable, Units
from trajops.errors import NoModelReady, NotFound
from trajops.ports import Forecaster

NOTHING_DEPLOYED = "no model has been deployed yet; stage a registered version and promote it"
NOT_READ = "the routes have not been read yet; try again in a second"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The state of one process at one moment.

    Attributes:
        table: the routes that answer: every version that may be drawn is warm. Epoch 0 without a champion: none do.
        models: the warm models.
        awaited: the newest routes known, where none answer yet; their aliases can be asked for.
        stand_in: answers everybody where none of the routes can, because a version of `awaited` cannot be made warm.
        absence: what is said where nobody answers.
        calibrations: number of the calibration of each warm model that has one.
    """

    table: RouteTable = field(default_factory=lambda: RouteTable(0))
    models: Mapping[ModelRef, Forecaster] = field(default_factory=dict)
    awaited: RouteTable | None = None
    stand_in: ModelRef | None = None
    absence: str = NOTHING_DEPLOYED
    calibrations: Mapping[ModelRef, int] = field(default_factory=dict)

    @property
    def leader(self) -> ModelRef | None:
        """Who answers everybody that is not enrolled: the champion, or the stand-in; None: nobody."""
        return self.table.champion or self.stand_in

    def lead(self) -> Assignment:
        """The champion, or who stands in for it.

        Raises:
            NoModelReady: if nobody answers, saying why.
        """
        if self.leader is None:
            raise NoModelReady(self.absence)
        return Assignment(self.leader, "champion")

    def assign(self, units: Units) -> Assignment:
        """Model and variant for a request. A stand-in takes part in no comparison: it answers as `champion`, in epoch 0.

        Raises:
            NoModelReady: if nobody answers, saying why.
        """
        return self.table.assign(units) or self.lead()

    def direct(self, model_name: str, asked: int | Literal["champion", "challenger", "previous_champion"]) -> Assignment:
        """The version that is asked for by number or alias.

        Raises:
            NotFound: if the alias points nowhere.
        """
        if isinstance(asked, int):
            return Assignment(ModelRef(model_name, asked), "direct")
        table = self.awaited or self.table
        ref = table.alias(asked)
        if ref is None:
            raise NotFound(f"the alias {asked!r} points at no version in epoch {table.epoch}; ask for a number, or leave model_version out")
        return Assignment(ref, "direct")

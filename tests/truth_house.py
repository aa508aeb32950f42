"""A lake whose predictions are joined with truth."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from data.lake.bulk import BulkWriter
from data.lake.missed_truth import MadeUp, MissedTruth
from data.lake.scoring import TruthRules
from data.lake.spool import Spool
from data.lake.truth import TruthJoin
from tests.builders import CLOCK_NS, an_observation_event
from tests.lake_house import House, a_house
from trajops.contracts.predictions import OutcomeOut
from trajops.telemetry import PredictionEvent

S = 10**9
NOTHING = {"scored": 0, "completed": 0}


@dataclass
class TruthHouse(House):
    """A lake, and the join over it."""

    outcomes: Spool = field(kw_only=True)

    def join(self, **options: Any) -> TruthJoin:
        return TruthJoin(self.lake, self.outcomes, TruthRules(**options), self.clock)

    def make_up(self, since_ns: int, until_ns: int, most_rows: int = 10**6) -> MadeUp:
        """Score what nobody waits for any more."""
        files = BulkWriter(self.folder / "lake", self.database.engine, self.clock)
        return MissedTruth(self.lake, files, TruthRules(), self.clock).score(since_ns, until_ns, most_rows)

    def predict(self, *events: PredictionEvent) -> None:
        self.spool.write("predictions", events)

    def observe(self, *steps: float, **changes: Any) -> None:
        """The default agent is seen where it walks straight on: the default prediction is exactly right."""
        self.spool.write("observations", [an_observation_event(step, **changes) for step in steps])

    def outcome(self, prediction_id: str = "p1") -> OutcomeOut | None:
        return self.lake.prediction(prediction_id).outcome

    def compact(self) -> dict[str, int]:
        self.outcomes.close()
        return super().compact()


@contextmanager
def a_truth_house(folder: Path) -> Iterator[TruthHouse]:
    """One in a folder, at the time of the builders."""
    with a_house(folder) as house, Spool(folder / "spool", sync_s=3600) as outcomes:
        house.clock.ns = CLOCK_NS
        yield TruthHouse(**vars(house), outcomes=outcomes)


def counts(report: dict[str, int]) -> dict[str, int]:
    return {name: report[name] for name in ("scored", "completed")}

"""What the drift check would have said, check after check, while the days of `benchmarks.drift_days` pass."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from benchmarks.drift_days import MONDAY_S, City, Place, joined, places
from trajops import configs
from trajops.drift.columns import Earlier, Rows
from trajops.drift.rules import DriftRules
from trajops.drift.watch import LONGEST_S, Conclusion, Look, Watch, conclude

CONFIG = Path("configs/drift.yaml")
VERSION = 1
NEW = "eth"
COPIES, QUIET_PEAK_PER_S = 4, 12.0


@dataclass(eq=False)
class Follower:
    """A watch and the checks that it has made."""

    watch: Watch
    _past: list[tuple[float, Look]] = field(default_factory=list)

    def check(self, rows: Rows, at_s: float) -> tuple[Look, Conclusion]:
        """One check of the rows before `at_s`, sorted by time."""
        rules = self.watch.rules
        first, begin, end = np.searchsorted(rows.times_s, [at_s - LONGEST_S, at_s - rules.current.window_s, at_s]).tolist()
        current = rows.select(slice(begin, end))
        more = rows.select(slice(first, end)) if len(current) and self.watch.needs_more(current) else None
        look = self.watch.look(current, at_s, VERSION, more=more)
        self._past = [(then_s, past) for then_s, past in self._past if at_s - then_s <= rules.confirm.of * rules.current.window_s]
        newest_first = list(reversed(self._past))
        told = conclude(
            look,
            [Earlier(at_s - then_s, past.columns) for then_s, past in newest_first],
            {
                name: [Earlier(at_s - then_s, past.scenes[name]) for then_s, past in newest_first if name in past.scenes]
                for name in look.scenes
            },
            rules,
        )
        self._past.append((at_s, look))
        return look, told


def rules() -> DriftRules:
    """What ships."""
    return configs.load(CONFIG, DriftRules)


def city(seed: int) -> tuple[City, Place]:
    """A city of the known scenes, and the scene that it does not know."""
    found = places()
    new = next((place for place in found if place.name == NEW), found[-1])
    known = [place for place in found if place is not new]
    for place in known:
        place.share = 1 / len(known)
    new.share = 1 / len(known)
    return City(known, seed=seed), new


def quiet_city(seed: int) -> City:
    """As many scenes as no minute tells of: each known one several times, with one or two agents a minute at the busiest hour."""
    known = city(seed)[0].places
    quiet = [replace(place, name=f"{place.name}-{number}", share=1 / (COPIES * len(known))) for number in range(COPIES) for place in known]
    return City(quiet, seed=seed, peak_per_s=QUIET_PEAK_PER_S)


def follow(follower: Follower, place: City, hours: range, every_s: float = 60.0) -> Iterator[tuple[float, Rows, Look, Conclusion]]:
    """Every check in these hours of clean traffic."""
    before: list[Rows] = []
    for number, hour in zip(hours, place.traffic(hours), strict=True):
        begin_s = MONDAY_S + 3600.0 * number
        rows = joined([*before, hour], place.names)
        for at_s in np.arange(begin_s + every_s, begin_s + 3600.0 + 1e-6, every_s).tolist():
            yield at_s, rows, *follower.check(rows, at_s)
        before = [hour.select(hour.times_s > begin_s + 3600.0 - LONGEST_S)]

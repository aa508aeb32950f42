"""One look at the traffic: all scores and findings of a check, for all traffic and scene by scene, and what they amount to."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from trajops.contracts.drift import DriftColumn, QualityFinding, Verdict
from trajops.drift.assessment import Assessment
from trajops.drift.blocks import Binned
from trajops.drift.columns import Earlier, Rows, described_column, judge
from trajops.drift.likeness import counts_of
from trajops.drift.paces import is_moving
from trajops.drift.quality import AT_ONCE, Counts, Usual, Wider, findings
from trajops.drift.rules import DriftRules
from trajops.drift.units import UnitBounds, unit_bounds, unit_column

OTHERS = "(other scenes)"
ONE = "(all scenes)"
_NOTHING = np.empty(0)


# Where fewer agents come than units can be told by, more of the newest traffic is looked at, up to this.
LONGEST_S = 1_200.0


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """What a check sees, before earlier checks are asked.

    Attributes:
        columns: of all traffic; without histograms.
        scenes: columns by scene, of scenes with enough agents.
        agents: number of agents by scene.
        quality: findings, worst first.
    """

    columns: list[DriftColumn]
    scenes: Mapping[str, list[DriftColumn]]
    agents: Mapping[str, int]
    quality: list[QualityFinding]

    @property
    def at_once(self) -> list[QualityFinding]:
        """Findings that are drift without a confirmation, and are not muted."""
        return [one for one in self.quality if one.verdict == "bad" and one.kind in AT_ONCE and one.muted_until is None]


@dataclass(slots=True, eq=False)
class Watch:
    """Everything that is learnt from one reference: once, and for every model version that answers.

    Attributes:
        rules: what is compared.
        reference: its rows, with scenes as their columns are judged.
        sent: its rows, with scenes as units and quality are judged: as they were sent, where scenes are told apart.
        usual: what rules on quality take from it.
        grouped: the scene that each scene of the reference is judged in.
    """

    rules: DriftRules
    reference: Rows
    sent: Rows
    usual: Usual
    grouped: Mapping[str, str]
    _units: dict[tuple[str, float], Mapping[str, UnitBounds]] = field(default_factory=dict)
    _by_version: dict[int, Assessment] = field(default_factory=dict)

    @classmethod
    def of(cls, rules: DriftRules, reference: Rows) -> "Watch":
        """Learn from a reference; its busiest scenes are judged one by one, the rest as one more."""
        names = reference.scene_names
        if not rules.scenes.is_split:
            grouped = dict.fromkeys(names, ONE)
        else:
            agents = [len(np.unique(reference.agents[reference.scenes == code])) for code in range(len(names))]
            busiest = {names[code] for code in np.argsort(agents)[::-1][: rules.scenes.most].tolist()}
            grouped = {name: name if name in busiest else OTHERS for name in names}
        rows = reference.regrouped(grouped)
        sent = reference if rules.scenes.is_split else rows
        return cls(rules, rows, sent, Usual.of(sent, rules.quality), grouped)

    def scenes(self, rows: Rows) -> Rows:
        """Rows of traffic with scenes as their columns are judged; a scene that the reference does not know keeps its name."""
        return rows.regrouped(self.grouped) if self.rules.scenes.is_split else self._as_sent(rows)

    def tells(self, rows: Rows) -> Literal["all", "quality", "nothing"]:
        """What rows as they were sent have agents enough for: units are told by those in scenes that have a usual value."""
        rows, least = self._as_sent(rows), self.rules.units.min_agents
        if rows.agent_count < self.rules.quality.min_agents:
            return "nothing"
        for column in self.rules.units.columns:
            bounds = self._bounds(column, self.rules.current.window_s)
            tell = np.array([name in bounds for name in rows.scene_names])[rows.scenes] & rows.present(column)
            if bounds and rows.select(tell).agent_count < least:
                return "quality"
        return "all"

    def needs_more(self, rows: Rows) -> bool:
        """Whether rows as they were sent hold too few agents for some rule: of all traffic, or of a scene that is told apart."""
        if self.tells(rows) != "all":
            return True
        rows = self._as_sent(rows)
        least = max(self.rules.quality.min_agents, self.rules.units.min_agents)
        rule = self.rules.quality.model_copy(update={"min_agents": least})
        moving = rows.select(is_moving(rows, rule.window_s))
        counts, of_moving = (counts_of(some, self.rules.current.window_s, rule) for some in (rows, moving))
        is_few = any(counts.get(name, 0) < least for name in {*self.usual.places, *self.usual.gaps_s})
        return is_few or any(of_moving.get(name, 0) < least for name in self.usual.paces)

    def widened(self, rows: Rows, at_s: float) -> Wider | None:
        """As much of the newest traffic as tells units and quality, or quality alone; None where none does.

        Args:
            rows: of `LONGEST_S`, as they were sent.
            at_s: now, seconds.
        """
        window_s, of_quality = self.rules.current.window_s, None
        while window_s < LONGEST_S:
            window_s = min(2 * window_s, LONGEST_S)
            wider = Wider(rows.select(rows.times_s > at_s - window_s), window_s)
            told = self.tells(wider.rows)
            if told == "all":
                return wider
            of_quality = of_quality or (wider if told == "quality" else None)
        return of_quality

    def _as_sent(self, rows: Rows) -> Rows:
        return rows if self.rules.scenes.is_split else rows.regrouped(dict.fromkeys(rows.scene_names, ONE))

    def assessment(self, version: int) -> Assessment:
        """Scores as one model version answers; remembered for the last two versions."""
        if version not in self._by_version:
            if len(self._by_version) > 1:
                del self._by_version[next(iter(self._by_version))]
            self._by_version[version] = Assessment.of(self.rules, self.reference, version)
        return self._by_version[version]

    def look(
        self,
        current: Rows,
        at_s: float,
        version: int,
        counts: Counts | None = None,
        binned: Binned | None = None,
        more: Rows | None = None,
    ) -> Look:
        """Score the window that ends now.

        Args:
            current: its rows, as they were sent.
            at_s: now, seconds.
            version: the model version that answers.
            counts: of the lake, for the rules on quality.
            binned: the rows in the bins of the assessment, where the caller has them.
            more: rows of the newest `LONGEST_S`, where the window holds too few agents for some rule; None: no more than the window.
        """
        rules, assessment = self.rules, self.assessment(version)
        rows, sent = self.scenes(current), self._as_sent(current)
        binned = assessment.binned(rows) if binned is None else binned
        looks = [Wider(sent, rules.current.window_s)]
        longest = looks[0]
        if more is not None:
            more = self._as_sent(more)
            told = None if self.tells(sent) == "all" else self.widened(more, at_s)
            longest = longest if told is None else told
            looks += [*([] if told is None else [told]), Wider(more, LONGEST_S)]
        quality = findings(
            sent,
            counts,
            self.usual,
            rules.quality,
            new_min_agents=rules.scenes.new_min_agents,
            is_split=rules.scenes.is_split,
            wider=looks,
        )
        counted = _agents(sent)
        quality = [
            one.model_copy(update={"agents": sum(counted.get(name, 0) for name in ([one.scene] if one.scene is not None else one.scenes))})
            if one.kind in AT_ONCE
            else one
            for one in quality
        ]
        scores = assessment.scores(binned, at_s)
        columns = [unit for name in rules.units.columns if (unit := self._unit(name, longest)) is not None]
        columns += [described_column(rule, scores.get(None, {}).get(rule.column, []), _NOTHING, _NOTHING) for rule in rules.columns]
        domain = assessment.domain_column(binned, at_s)
        columns += [domain] if domain is not None else []
        scenes = {
            name: [described_column(rule, found.get(rule.column, []), _NOTHING, _NOTHING) for rule in rules.columns]
            for name, found in scores.items()
            if name is not None
        }
        return Look(columns, scenes, _agents(rows), quality)

    def _unit(self, column: str, longest: Wider) -> DriftColumn | None:
        return unit_column(self.rules.units, column, self._bounds(column, longest.window_s), longest.rows, longest.window_s)

    def _bounds(self, column: str, window_s: float) -> Mapping[str, UnitBounds]:
        key = (column, window_s)
        if key not in self._units:
            self._units[key] = unit_bounds(self.rules.units, column, self.sent, window_s)
        return self._units[key]


def _agents(rows: Rows) -> dict[str, int]:
    """How many agents each scene has."""
    pairs = np.unique(np.stack([rows.scenes, rows.agents]), axis=1)
    counts = np.bincount(pairs[0], minlength=len(rows.scene_names))
    return dict(zip(rows.scene_names, counts.tolist(), strict=True))


@dataclass(frozen=True, slots=True, eq=False)
class Conclusion:
    """What a look and the checks before it amount to.

    Attributes:
        verdict: of all: the worst of what follows.
        traffic: of all traffic together, with the columns it rests on.
        scenes: by scene.
    """

    verdict: Verdict
    traffic: tuple[Verdict, list[str]]
    scenes: Mapping[str, tuple[Verdict, list[str]]]


def conclude(look: Look, earlier: Sequence[Earlier], earlier_scenes: Mapping[str, Sequence[Earlier]], rules: DriftRules) -> Conclusion:
    """Ask the checks before this one for confirmation.

    Args:
        look: at the traffic.
        earlier: checks before it, newest first.
        earlier_scenes: the same by scene.
        rules: m of n.
    """
    traffic = judge(look.columns, earlier, rules.confirm)
    scenes = {name: judge(columns, earlier_scenes.get(name, ()), rules.confirm) for name, columns in look.scenes.items()}
    if look.at_once:
        return Conclusion("drift", traffic, scenes)
    compared = [column for column in look.columns if column.score is not None]
    verdicts: set[Verdict] = {traffic[0], *(verdict for verdict, _ in scenes.values())} if compared else {"insufficient_data"}
    order: tuple[Verdict, ...] = ("drift", "warning", "stable", "insufficient_data")
    return Conclusion(min(verdicts, key=order.index), traffic, scenes)

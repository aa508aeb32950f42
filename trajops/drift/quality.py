"""Data quality: what no distribution has to be compared for, or what a comparison of distributions would not name.

Each rule looks at the newest minute and gives one finding. Four of them are drift at once, because what they find makes every later
prediction wrong and nobody has to wait for a second opinion: a scene that the reference does not know, another time between an agent's
positions, and positions in another frame (`trajops.drift.frames`) or unit (`trajops.drift.paces`; `trajops.drift.units` tells others).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from trajops.contracts.drift import QualityFinding, QualityKind, QualityVerdict
from trajops.drift.columns import IntArray, Rows
from trajops.drift.frames import Place, places_of
from trajops.drift.likeness import Fit, Likeness, fits
from trajops.drift.paces import Pace, for_paces, is_moving, paces_of
from trajops.drift.rules import QualityRule
from trajops.trajectories import BoolArray, FloatArray

AT_ONCE: frozenset[QualityKind] = frozenset({"new_scene", "sampling_rate", "frame", "unit"})
WORST_FIRST: tuple[QualityVerdict, ...] = ("bad", "warning", "insufficient_data", "ok")
# A reference in which nothing stands still has this share of frozen tracks at most, times `FROZEN_FACTOR`.
FROZEN_FACTOR = 3.0
# Where fewer of a scene's agents than this keep its rate, it has none: they are predicted when somebody asks.
REGULAR_SHARE = 0.85
_AS_EVER: Mapping[QualityKind, str] = {"frame": "are where they usually are", "unit": "are in the unit that they usually are in"}


class Wider(NamedTuple):
    """More of the newest traffic than the last minute: rows as they were sent, and how many seconds of it."""

    rows: Rows
    window_s: float


@dataclass(frozen=True, slots=True)
class Counts:
    """What the lake counts in a minute of its tables.

    Attributes:
        predictions: rows of predictions.
        unusable: of those, with a history or a forecast that nothing can be computed from.
        positions: observations, and the different places of agents at a time that predictions say.
        repeated: of those, a further one of the same agent at the same time.
    """

    predictions: int = 0
    unusable: int = 0
    positions: int = 0
    repeated: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Usual:
    """What the rules on quality take from a reference.

    Attributes:
        places: by scene.
        paces: by scene.
        scenes: names of all its scenes.
        frozen_share: of its agents.
        frozen_shares: of those of each scene that has agents enough.
        gaps_s: by scene, the usual time between an agent's positions, seconds; without scenes that have none.
    """

    places: Mapping[str, Place]
    paces: Mapping[str, Pace]
    scenes: frozenset[str]
    frozen_share: float
    frozen_shares: Mapping[str, float]
    gaps_s: Mapping[str, float]

    @classmethod
    def of(cls, reference: Rows, rule: QualityRule) -> "Usual":
        """Learn from a reference.

        Args:
            reference: its rows, with scenes as they were sent.
            rule: limits.
        """
        holds, of_scene = _of_agents(reference, _is_frozen(reference))
        by_scene = {name: holds[of_scene == code] for code, name in enumerate(reference.scene_names)}
        frozen = {name: float(mine.mean()) for name, mine in by_scene.items() if len(mine) >= rule.min_agents}
        overall = float(holds.mean()) if len(holds) else 0.0
        places, paces = places_of(reference, rule), paces_of(reference, rule)
        return cls(places, paces, frozenset(reference.scene_names), overall, frozen, gaps_s(reference, rule))

    def frozen_among(self, rows: Rows) -> float:
        """What share of the agents in these rows would be frozen as the reference has it, scene by scene."""
        _, of_scene = _of_agents(rows, _is_frozen(rows))
        shares = np.array([self.frozen_shares.get(name, self.frozen_share) for name in rows.scene_names])
        return float(shares[of_scene].mean()) if len(of_scene) else self.frozen_share


def findings(
    rows: Rows,
    counts: Counts | None,
    usual: Usual,
    rule: QualityRule,
    *,
    new_min_agents: int,
    is_split: bool = True,
    wider: Sequence[Wider] = (),
) -> list[QualityFinding]:
    """What is wrong with the newest rows, worst first.

    Args:
        rows: the window that is judged; most rules look at its newest `rule.window_s` only, unless that holds too few agents.
        counts: of the lake; None leaves out what takes them.
        usual: of the reference.
        rule: limits.
        new_min_agents: so many agents of an unknown scene are a finding.
        is_split: whether scenes are told apart.
        wider: what is looked at where the newest are too few, the shortest first; it may be the window itself.
    """
    looks = _looks(rows, rule, wider)
    newest, window_s = _newest(looks, rule)
    found: list[QualityFinding] = []
    if is_split:
        found += _new_scenes(rows, usual, new_min_agents)
    found += _of_itself(newest, window_s, counts, rule)
    if newest.agent_count < rule.min_agents:
        return sorted(found, key=lambda one: WORST_FIRST.index(one.verdict))
    frozen, usually = agent_share(newest, _is_frozen(newest)), usual.frozen_among(newest)
    limit = max(rule.frozen_share, min(FROZEN_FACTOR * usually, (1 + usually) / 2))
    found.append(_beyond("frozen", frozen, limit, rule, f"{frozen:.1%} of the agents did not move at all, to the last digit."))
    found = [one.model_copy(update={"window_s": window_s}) for one in found]
    found += _sampling_rate(looks, usual, rule) + _changed(looks, usual, rule)
    return sorted(found, key=lambda one: WORST_FIRST.index(one.verdict))


def findings_alone(rows: Rows, counts: Counts | None, rule: QualityRule, *, wider: Sequence[Wider] = ()) -> list[QualityFinding]:
    """What is wrong with the newest rows whatever the reference says, or where there is none, worst first.

    Args:
        rows: the window that is judged.
        counts: of the lake; None leaves out what takes them.
        rule: limits.
        wider: what is looked at where the newest are too few, the shortest first; it may be the window itself.
    """
    newest, window_s = _newest(_looks(rows, rule, wider), rule)
    found = _of_itself(newest, window_s, counts, rule)
    if newest.agent_count >= rule.min_agents:
        found = [one.model_copy(update={"window_s": window_s}) for one in found]
    return sorted(found, key=lambda one: WORST_FIRST.index(one.verdict))


def _looks(rows: Rows, rule: QualityRule, wider: Sequence[Wider]) -> list[Wider]:
    return [Wider(rows.select(rows.times_s > rows.times_s.max(initial=-np.inf) - rule.window_s), rule.window_s), *wider]


def _newest(looks: Sequence[Wider], rule: QualityRule) -> Wider:
    """The shortest look that holds agents enough, or the longest."""
    return next((look for look in looks if look.rows.agent_count >= rule.min_agents), looks[-1])


def _of_itself(newest: Rows, window_s: float, counts: Counts | None, rule: QualityRule) -> list[QualityFinding]:
    """What takes no reference: what the lake counts, and what no body does."""
    found = _counted(counts, rule)
    if newest.agent_count < rule.min_agents:
        said = f"The last {window_s:g} s hold {newest.agent_count} agents; the rules on quality need {rule.min_agents}."
        is_said = any(one.kind == "missing" for one in found)
        return found if is_said else [*found, _finding("missing", "insufficient_data", None, None, said)]
    for kind, column, limit, unit, word in (
        ("impossible_speed", "max_speed_mps", rule.max_speed_mps, "m/s", "faster"),
        ("impossible_acceleration", "max_acceleration_mps2", rule.max_acceleration_mps2, "m/s²", "harder"),
    ):
        if column in newest.values:
            share = agent_share(newest, newest.values[column] > limit)
            said = f"{share:.1%} of the agents moved {word} than {limit:g} {unit}."
            found.append(_beyond(kind, share, rule.impossible_share, rule, said))  # type: ignore[arg-type]
    return found


def _counted(counts: Counts | None, rule: QualityRule) -> list[QualityFinding]:
    """What is told from counts alone: also where no prediction is left that could be compared."""
    found = []
    if counts is not None and counts.predictions >= rule.min_agents:
        share = counts.unusable / counts.predictions
        said = f"{share:.1%} of the predictions cannot be compared: parts are missing."
        found.append(_beyond("missing", share, rule.missing_share, rule, said))
    if counts is not None and counts.positions >= rule.min_agents:
        share = counts.repeated / counts.positions
        said = f"{share:.1%} of the positions repeat the time of another one of the same agent."
        found.append(_beyond("duplicates", share, rule.duplicate_share, rule, said))
    return found


def gaps_s(rows: Rows, rule: QualityRule) -> dict[str, float]:
    """By scene, the median over agents of the median time between their positions, seconds; only where most of them keep it.

    Where agents are predicted when somebody asks, times vary so much that any few agents would be another rate. Scenes that have fewer
    agents than the rules need keep one rate together, or none: that one agent keeps its own says nothing.
    """
    gaps, scenes = _gaps(rows)
    counts = np.bincount(scenes, minlength=len(rows.scene_names))
    groups = [[code] for code in np.flatnonzero(counts >= rule.min_agents).tolist()]
    groups.append(np.flatnonzero((counts > 0) & (counts < rule.min_agents)).tolist())
    found = dict[str, float]()
    for codes in groups:
        mine = gaps[np.isin(scenes, codes)]
        gap = float(np.median(mine)) if len(mine) >= rule.min_agents else 0.0
        if gap > 0 and np.mean((mine > gap / rule.rate_ratio) & (mine < gap * rule.rate_ratio)) >= REGULAR_SHARE:
            for code in codes:
                own = float(np.median(gaps[scenes == code]))
                if gap / rule.rate_ratio < own < gap * rule.rate_ratio:
                    found[rows.scene_names[code]] = gap
    return found


def _gaps(rows: Rows) -> tuple[FloatArray, IntArray]:
    """Of each agent with two rows or more: the median time between its positions, seconds, and its scene."""
    times_s = rows.values.get("observed_at_s", rows.times_s)
    order = np.lexsort((times_s, rows.agents))
    gaps, is_same = np.diff(times_s[order]), (np.diff(rows.agents[order]) == 0) & (np.diff(times_s[order]) > 0)  # asked for again: no gap
    gaps, agents, scenes = gaps[is_same], rows.agents[order][1:][is_same], rows.scenes[order][1:][is_same]
    order = np.lexsort((gaps, agents))
    _, first, count = np.unique(agents[order], return_index=True, return_counts=True)
    return gaps[order][first + count // 2], scenes[order][first]


def _new_scenes(rows: Rows, usual: Usual, least: int) -> list[QualityFinding]:
    found = []
    for code in np.unique(rows.scenes).tolist():
        name = rows.scene_names[code]
        if name in usual.scenes:
            continue
        agents = len(np.unique(rows.agents[rows.scenes == code]))
        if agents >= least:
            said = f"{agents} agents are in the scene {name}, which the reference does not know."
            found.append(_finding("new_scene", "bad", float(agents), float(least), said, name))
    return found


def _sampling_rate(looks: Sequence[Wider], usual: Usual, rule: QualityRule) -> list[QualityFinding]:
    """By scene, the worst first: of each by the first look in which agents enough were predicted twice, of the rest together by the last.

    Each agent counts against its own scene: one camera may be slower than another, and another one asleep.
    """
    found, told = list[tuple[float, QualityFinding]](), set[str]()
    for number, (rows, window_s) in enumerate(looks):
        if told >= usual.gaps_s.keys():
            break
        gaps, scenes = _gaps(rows)
        own = np.array([0.0 if name in told else usual.gaps_s.get(name, 0.0) for name in rows.scene_names])[scenes]
        counts = np.bincount(scenes[own > 0], minlength=len(rows.scene_names))
        groups = [[code] for code in np.flatnonzero(counts >= rule.min_agents).tolist()]
        if number + 1 == len(looks):
            few = np.flatnonzero((counts > 0) & (counts < rule.min_agents)).tolist()
            groups += [few] if counts[few].sum() >= rule.min_agents else []
        for codes in groups:
            is_one, names = np.isin(scenes, codes), [rows.scene_names[code] for code in codes]
            found.append(_rate(gaps[is_one], own[is_one], names, window_s, rule))
            told.update(names)
    return [one for _, one in sorted(found, key=lambda pair: -pair[0])]


def _rate(gaps: FloatArray, own: FloatArray, names: list[str], window_s: float, rule: QualityRule) -> tuple[float, QualityFinding]:
    """What agents of some scenes say by the median, and how far that is from what is usual in either direction."""
    gap, ratio = float(np.median(gaps)), float(np.median(gaps / own))
    is_bad = not 1 / rule.rate_ratio < ratio < rule.rate_ratio
    limit = rule.rate_ratio if ratio >= 1 else 1 / rule.rate_ratio
    scene = names[0] if len(names) == 1 else None
    where = f" in {len(names)} quiet scenes" if scene is None else f" in {scene}" if scene else ""
    said = f"An agent{where} is predicted every {gap:.3g} s; the reference has {gap / ratio:.3g} s."
    one = _finding("sampling_rate", "bad" if is_bad else "ok", ratio, limit, said, scene)
    return abs(float(np.log(ratio))), one.model_copy(update={"window_s": window_s, "scenes": [] if scene is not None else names})


def _changed(looks: Sequence[Wider], usual: Usual, rule: QualityRule) -> list[QualityFinding]:
    """Positions in another frame, and speeds in another unit, by scene."""
    found = []
    # A team that walks for a minute is no other unit: speeds are looked at for longer, where there is more to look at.
    pace_s = next((pace.window_s for pace in usual.paces.values()), rule.window_s)
    whats: list[tuple[QualityKind, Mapping[str, Likeness], Callable[[Rows], BoolArray], QualityRule, Sequence[Wider]]] = [
        ("frame", usual.places, lambda rows: rows.present("x_m"), rule, looks),
        ("unit", usual.paces, lambda rows: is_moving(rows, pace_s), for_paces(rule), looks[1:] or looks),
    ]
    for kind, known, tells, its_rule, seen in whats:
        if not known:
            continue
        present = [Wider(look.rows.select(tells(look.rows)), look.window_s) for look in seen]
        for seen_fit in fits(known, present, its_rule):
            is_frame = kind == "frame" and seen_fit.gain > seen_fit.limit
            unit = _as_unit(seen_fit, looks, usual.paces, pace_s) if is_frame else None
            told, fit = (kind, seen_fit) if unit is None else ("unit", unit)
            scene = fit.scenes[0] if len(fit.scenes) == 1 else None
            where = f"Positions in {scene if scene is not None else f'{len(fit.scenes)} quiet scenes'}"
            is_bad = fit.gain > fit.limit
            said = f"{where} look as if they were sent {fit.change}." if is_bad else f"{where} {_AS_EVER[told]}."
            one = _finding(told, "bad" if is_bad else "ok", fit.gain, fit.limit, said, scene)
            found.append(one.model_copy(update={"window_s": fit.window_s, "scenes": [] if scene is not None else list(fit.scenes)}))
    return found


def _as_unit(fit: Fit, looks: Sequence[Wider], paces: Mapping[str, Pace], pace_s: float) -> Fit | None:
    """The unit that explains what looks like another frame; None: none does.

    In feet, positions lie outside of the place, and any frame may explain that better. Speeds alone take more agents, minutes later.
    """
    rows = next(look.rows for look in looks if look.window_s == fit.window_s)
    moving = rows.select(is_moving(rows, pace_s))
    parts = [(paces[name], part) for name in fit.scenes if name in paces and len(part := moving.of_scene(name))]
    if not parts:
        return None
    weights = np.array([float(part.agent_count) for _, part in parts])
    gains = [pace.gains(part) for pace, part in parts]
    by_unit = {unit: float(weights @ [one[unit] for one in gains] / weights.sum()) for unit in gains[0]}
    best = max(by_unit, key=lambda unit: by_unit[unit])
    limit = float(weights @ [pace.limit for pace, _ in parts] / weights.sum())
    return fit._replace(change=best, gain=by_unit[best], limit=limit) if by_unit[best] > limit else None


def _beyond(kind: QualityKind, share: float, limit: float, rule: QualityRule, sentence: str) -> QualityFinding:
    # Half of the way to all is bad, however high the limit: three times a third could never be exceeded.
    verdict: QualityVerdict = "bad" if share > min((1 + limit) / 2, rule.bad_factor * limit) else "warning" if share > limit else "ok"
    return _finding(kind, verdict, share, limit, sentence)


def _finding(
    kind: QualityKind, verdict: QualityVerdict, value: float | None, limit: float | None, sentence: str, scene: str | None = None
) -> QualityFinding:
    return QualityFinding(kind=kind, scene=scene, verdict=verdict, value=value, limit=limit, sentence=sentence)


def _is_frozen(rows: Rows) -> BoolArray:
    is_frozen: BoolArray = rows.values["path_m"] == 0 if "path_m" in rows.values else np.zeros(len(rows), dtype=bool)
    return is_frozen


def agent_share(rows: Rows, mask: BoolArray) -> float:
    """Share of agents that a mask holds for in most of their rows."""
    holds, _ = _of_agents(rows, mask)
    return float(holds.mean()) if len(holds) else 0.0


def _of_agents(rows: Rows, mask: BoolArray) -> tuple[BoolArray, IntArray]:
    """Whether a mask holds for most rows of each agent, and its scene."""
    _, first, agent, count = np.unique(rows.agents, return_index=True, return_inverse=True, return_counts=True)
    holds: BoolArray = np.bincount(agent, mask, minlength=len(count)) > count / 2
    return holds, rows.scenes[first]

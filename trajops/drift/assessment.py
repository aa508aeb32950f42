"""A window against its reference: every column's scores and thresholds, for all traffic and for each scene, slowly and fast."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from trajops.contracts.drift import DOMAIN_COLUMN, DOMAIN_METHOD, DriftColumn, DriftScore
from trajops.drift.blocks import Binned, Bins, Blocks, blocks_of
from trajops.drift.columns import Rows
from trajops.drift.domain import Domain
from trajops.drift.profile import SCORES, Profile
from trajops.drift.rules import DriftRules
from trajops.drift.thresholds import clean_scores, false_alarm_rate, thresholds
from trajops.trajectories import BoolArray, FloatArray

# Steps of a fifth, rounded to the careful side: fewer agents score higher by chance.
SIZE_STEP = 1.2
# The classifier's threshold depends little on the number of agents and costs more to find.
DOMAIN_STEP = 1.5

Scope = str | None
Scores = dict[Scope, dict[str, list[DriftScore]]]


@dataclass(slots=True, eq=False)
class Assessment:
    """Scores traffic against one reference as one model version answers. Not safe to share between threads.

    Attributes:
        rules: what is compared.
        bins: bins of the columns.
        version: the model version whose predictions are compared.
        profiles: by length of the window, seconds; the longest first.
        domain: the classifier over all columns.
    """

    rules: DriftRules
    bins: Bins
    version: int
    profiles: Mapping[float, Profile]
    domain: Domain | None
    _thresholds: dict[tuple[float, int | None, int], FloatArray | None] = field(default_factory=dict)

    @classmethod
    def of(cls, rules: DriftRules, reference: Rows, version: int) -> "Assessment":
        """Cut the reference into windows of both lengths."""
        bins = Bins.of([rule.column for rule in rules.columns], reference)
        rows = bins.apply(reference).answered_by(version, _is(rules, "input"))
        windows_s = sorted({rules.current.window_s, rules.current.fast_window_s}, reverse=True)
        profiles = {window_s: Profile.of(rows, window_s, bins.slopes, least_agents=rules.units.min_agents) for window_s in windows_s}
        domain = Domain.of(profiles[windows_s[0]], bins.columns, _is(rules, "performance"), rules.domain) if rules.domain.is_on else None
        return cls(rules, bins, version, profiles, domain)

    @property
    def scene_names(self) -> tuple[str, ...]:
        """Scenes of the reference."""
        return self.bins.scene_names

    def binned(self, rows: Rows) -> Binned:
        """Rows of traffic in the bins of the reference."""
        return self.bins.apply(rows).answered_by(self.version, _is(self.rules, "input"))

    def scores(self, current: Binned, at_s: float) -> Scores:
        """Scores of every column, of all traffic (None) and of each scene with enough agents.

        Args:
            current: rows of the window that ends now.
            at_s: now, seconds.

        Returns:
            By scene and column. A column that too few agents have a value of is left out, and so is a scene without any.
        """
        found: Scores = {}
        scopes: tuple[int | None, ...] = (None, *range(len(self.scene_names))) if len(self.scene_names) > 1 else (None,)
        for window_s, profile in self.profiles.items():
            rows = current.select(current.times_s > at_s - window_s)
            if not len(rows) or not profile.stretches:
                continue
            blocks = blocks_of(rows, self.bins.count)
            sums, usual = blocks.by_scene(len(self.scene_names)), profile.usual(at_s - window_s / 2)
            for scene in scopes:
                columns = self._columns(profile, blocks, sums, usual, scene)
                for name, scores in columns.items():
                    found.setdefault(None if scene is None else self.scene_names[scene], {}).setdefault(name, []).extend(scores)
        return found

    def domain_column(self, current: Binned, at_s: float) -> DriftColumn | None:
        """What the domain classifier says of all traffic; None with too little data, or where it is switched off."""
        if self.domain is None or not self.domain.used.any():
            return None
        window_s = self.domain.profile.window_s
        rows = current.select(current.times_s > at_s - window_s)
        side = self.domain.usual(at_s - window_s / 2)
        if not len(rows) or side is None:
            return None
        features = self.domain.features(blocks_of(rows, self.bins.count))
        if len(features) < self.rules.current.min_agents // 2:
            return None
        size = int(np.log(len(features)) / np.log(DOMAIN_STEP))
        rule = self.rules.calibration
        threshold = self.domain.threshold(round(DOMAIN_STEP**size), size, rule, false_alarm_rate(window_s, rule, self._families))
        if threshold is None:
            return None
        area = self.domain.auc(features, side)
        is_drifted = area > threshold
        score = DriftScore(method=DOMAIN_METHOD, window_s=window_s, score=area, threshold=threshold, is_drifted=is_drifted)
        return DriftColumn(
            column=DOMAIN_COLUMN,
            kind="multivariate",
            method=DOMAIN_METHOD,
            score=area,
            threshold=threshold,
            is_drifted=is_drifted,
            reference_mean=None,
            current_mean=None,
            scores=[score],
            carriers=self.domain.carriers(features, side),
        )

    def _columns(
        self, profile: Profile, blocks: Blocks, sums: FloatArray, usual: FloatArray, scene: int | None
    ) -> dict[str, list[DriftScore]]:
        window_s = profile.window_s
        least = self.rules.units.min_agents if window_s < self.rules.current.window_s else self.rules.current.min_agents
        is_here = blocks.scenes >= 0 if scene is None else blocks.scenes == scene
        agents = (blocks.parts[is_here].sum(axis=-1) > 0).sum(axis=0)
        # A share of a window goes to each version, and the newest rows have no truth yet.
        is_enough = agents >= np.where(_is(self.rules, "input"), least, least // 2)
        known = usual[slice(None) if scene is None else slice(scene, scene + 1)].sum(axis=(0, 2)) > 0
        most = int(agents.max(initial=0))
        bounds = self._bounds(window_s, scene, most) if most >= least else None
        if bounds is None:
            return {}
        values = profile.score(sums, usual, scene)[0]
        found: dict[str, list[DriftScore]] = {}
        for number in np.flatnonzero(is_enough & known).tolist():
            # The counts of fewer agents score higher by chance.
            thin = max(1.0, most / float(agents[number]))
            limits = bounds[:, number] * np.array([thin, thin**0.5])
            found[self.bins.columns[number]] = [
                DriftScore(method=method, window_s=window_s, score=score, threshold=limit, is_drifted=score > limit)
                for method, score, limit in zip(SCORES, values[:, number].tolist(), limits.tolist(), strict=True)
            ]
        return found

    def _bounds(self, window_s: float, scene: int | None, agents: int) -> FloatArray | None:
        size = int(np.log(agents) / np.log(SIZE_STEP))
        key = (window_s, scene, size)
        if key not in self._thresholds:
            rule = self.rules.calibration
            clean = clean_scores(self.profiles[window_s], rule, max(2, round(SIZE_STEP**size)), scene)
            is_fast = window_s < self.rules.current.window_s
            least = np.array([[rule.min_threshold], [rule.min_scale]]) * (rule.fast_factor if is_fast else 1.0)
            rate = false_alarm_rate(window_s, rule, self._families)
            self._thresholds[key] = thresholds(clean, rate, least) if len(clean) else None
        return self._thresholds[key]

    @property
    def _families(self) -> int:
        """Verdicts on each window: all traffic and every scene, in each length of window."""
        scenes = len(self.scene_names)
        return len(self.profiles) * (scenes + 1 if scenes > 1 else 1)


def _is(rules: DriftRules, kind: str) -> BoolArray:
    return np.array([rule.kind == kind for rule in rules.columns])

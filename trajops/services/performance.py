"""Live performance beside validation: taken apart, estimated before its truth, and checked again and again."""

import math
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from uuid import uuid4

import numpy as np

from trajops.clock import now, utc
from trajops.contracts.performance import (
    CheckVerdict,
    EstimateOut,
    EstimatePoint,
    FigureOut,
    Metric,
    PerformanceCheckOut,
    SliceBy,
    SliceOut,
    SlicesOut,
    VersionEstimateOut,
    metric_text,
    metric_words,
)
from trajops.deployments.model_ref import ModelRef
from trajops.errors import InvalidInput
from trajops.performance.estimation import Errors, Part, estimate, retrace
from trajops.performance.intervals import SHARES, VALIDATED, AgentSums, Interval, Reference, gravest, interval, judge, validated
from trajops.performance.rules import PerformanceRules
from trajops.ports import Clock, PerformanceSource
from trajops.records import ModelVersion
from trajops.stores import UnitOfWorkFactory
from trajops.trajectories import DEFAULT_WINDOW

# An interval needs every agent's own total, which sums of hours do not keep.
LONGEST = timedelta(days=1)
TRUTH_SLACK_S = 2.0
ACTOR = "worker:check_performance"


class Performance:
    """Answers questions about live performance.

    Args:
        source: reads the lake.
        unit_of_work: opens a transaction.
        rules: bands, intervals and tolerances.
        model_name: the registered model.
        nominal_coverage: what the ellipses promise.
    """

    def __init__(
        self, source: PerformanceSource, unit_of_work: UnitOfWorkFactory, rules: PerformanceRules, model_name: str, nominal_coverage: float
    ) -> None:
        self._source = source
        self._unit_of_work = unit_of_work
        self._rules = rules
        self._model_name = model_name
        self._level = nominal_coverage

    def slices(self, since: datetime, until: datetime, by: SliceBy) -> SlicesOut:
        """Figures of the predictions received in a time range, taken apart, each with an interval over agents.

        Raises:
            InvalidInput: if the range is empty or longer than a day.
            Unavailable: if the lake or the database does not answer.
        """
        _check_range(since, until)
        versions, champion = self._versions()
        begin, sums = self._source.agent_sums(
            since, until, by, self._rules.speed_bands, self._rules.check.sources, self._level, self._rules.interval.max_rows
        )
        slices = [self.figured(one, by, versions, champion) for one in sums if one.model_version in versions]
        if by == "step":
            slices.sort(key=lambda one: (one.model_version, int(one.value)))
        if by == "speed_band":
            order = [band.band for band in self._rules.speed_bands]
            slices.sort(key=lambda one: (one.model_version, order.index(one.value)))
        return SlicesOut(
            by=by,
            since=begin,
            until=until,
            nominal_coverage=self._level,
            confidence=self._rules.interval.confidence,
            champion=champion,
            sentence=sentence(slices, by, champion),
            slices=slices,
        )

    def figured(self, sums: AgentSums, by: SliceBy, versions: Mapping[int, ModelVersion], champion: int | None) -> SliceOut:
        """One slice beside validation."""
        own = versions[sums.model_version].metrics
        leading = versions[champion].metrics if champion is not None and champion in versions else {}
        rule, figures, agents = self._rules.interval, [], 0
        for metric in VALIDATED:
            if metric not in sums.count:
                continue
            found = interval(sums.count[metric], sums.total[metric], rule.confidence, is_share=metric in SHARES)
            if not found.agents:
                continue
            agents = max(agents, found.agents)
            reference = Reference(validated(own, metric, by, sums.value), self._level)
            figures.append(
                FigureOut(
                    metric=metric,
                    mean=_number(found.mean),
                    low=_number(max(0.0, found.low) if metric.endswith("_m") else found.low),
                    high=_number(found.high),
                    validation=reference.validation,
                    champion_validation=validated(leading, metric, by, sums.value),
                    verdict=judge(metric, found, reference, self._rules.tolerance, rule.min_agents),
                )
            )
        return SliceOut(
            value=sums.value,
            model_version=sums.model_version,
            predictions=sums.predictions,
            agents=agents,
            verdict=gravest([figure.verdict for figure in figures]),
            figures=figures,
        )

    def estimate(self, since: datetime, until: datetime) -> EstimateOut:
        """Error of the predictions of a time range whose truth is missing, and how such estimates came out before.

        Raises:
            InvalidInput: if the range is empty or longer than a day.
            Unavailable: if the lake or the database does not answer.
        """
        _check_range(since, until)
        versions, _ = self._versions()
        rule = self._rules.estimate
        rows = self._source.errors(since, until, since - timedelta(seconds=rule.reference_s), self._rules.check.sources, rule.max_rows)
        present = [int(version) for version in np.unique(rows.versions) if int(version) in versions]
        found = [
            self._estimated(versions[version], rows.select(rows.versions == version), since.timestamp(), until.timestamp())
            for version in present
        ]
        return EstimateOut(since=since, until=until, versions=found)

    def _estimated(self, version: ModelVersion, rows: Errors, since_s: float, until_s: float) -> VersionEstimateOut:
        rule, confidence = self._rules.estimate, self._rules.interval.confidence
        wanted = rows.select(~rows.is_scored)
        known = rows.select(rows.is_scored & (rows.received_s >= until_s - rule.reference_s))
        found = estimate(known, wanted, self._rules.speed_bands, rule.min_agents, confidence)
        parts = retrace(
            rows,
            since_s,
            until_s,
            rule.buckets,
            self._rules.speed_bands,
            rule.min_agents,
            reference_s=rule.reference_s,
            horizon_s=DEFAULT_WINDOW.horizon_s + TRUTH_SLACK_S,
            confidence=confidence,
        )
        both = [part for part in parts if math.isfinite(part.estimated.mean) and math.isfinite(part.observed_m)]
        return VersionEstimateOut(
            model_version=version.model_version,
            unscored=len(wanted),
            estimated_ade_m=_number(found.mean),
            low=_number(max(0.0, found.low)),
            high=_number(found.high),
            validation_ade_m=validated(version.metrics, "ade_m"),
            mean_error_m=_mean([abs(part.estimated.mean - part.observed_m) for part in both]),
            last_known_error_m=_mean([abs(part.last_known_m - part.observed_m) for part in both]),
            points=[_point(part) for part in parts],
        )

    def _versions(self) -> tuple[dict[int, ModelVersion], int | None]:
        """All versions by number, and the champion's number."""
        with self._unit_of_work(read_only=True) as work:
            known = [*work.model_versions.all(self._model_name), *work.model_versions.deleted(self._model_name)]
            champion = work.routes.table().champion
        versions = {version.model_version: version for version in known}
        return versions, champion.version if champion is not None else None

    # The check

    def check(self, clock: Clock) -> list[PerformanceCheckOut]:
        """Judge the versions that answered in the window that ends now, store the verdicts and return them.

        Raises:
            Unavailable: if lake or database do not answer; nothing is stored then.
        """
        at = now(clock)
        since = at - timedelta(seconds=self._rules.check.window_s)
        found = self.slices(since, at, "model_version").slices
        estimates = {one.model_version: one.estimated_ade_m for one in self.estimate(since, at).versions} if found else {}
        checks = []
        for slice_ in found:
            ref = ModelRef(self._model_name, slice_.model_version)
            with self._unit_of_work(read_only=True) as work:
                history = work.performance_checks.history(ref, 8 * self._rules.confirm.of)
            checks.append(self._judged(ref, slice_, since, at, history, estimates.get(slice_.model_version)))
        self._store(checks)
        return checks

    def _judged(
        self, ref: ModelRef, found: SliceOut, since: datetime, at: datetime, history: Sequence[PerformanceCheckOut], estimated: float | None
    ) -> PerformanceCheckOut:
        flagged: list[Metric] = [figure.metric for figure in found.figures if figure.verdict == "degraded"]
        earlier = self._earlier(history, at)
        window: list[list[Metric]] = [flagged, *earlier[: self._rules.confirm.of - 1]]
        needed = self._rules.confirm.needed
        confirmed: list[Metric] = [metric for metric in VALIDATED if sum(metric in check for check in window) >= needed]
        verdict: CheckVerdict = found.verdict
        if confirmed:
            verdict = "degraded"
        elif flagged:
            verdict = "warning"
        ade = next((figure for figure in found.figures if figure.metric == "ade_m"), None)
        by = ade.validation if ade is not None else None

        def ratio(value: float | None) -> float | None:
            return value / by if value is not None and by else None

        return PerformanceCheckOut(
            check_id=uuid4().hex,
            at=at,
            model_name=ref.name,
            model_version=ref.version,
            since=since,
            until=at,
            verdict=verdict,
            sentence=_check_sentence(found, verdict, confirmed or flagged, flagged),
            flagged=flagged,
            confirmed=confirmed,
            predictions=found.predictions,
            agents=found.agents,
            ade_ratio=ratio(ade.mean if ade else None),
            ade_ratio_low=ratio(ade.low if ade else None),
            ade_ratio_high=ratio(ade.high if ade else None),
            estimated_ade_m=estimated,
            figures=found.figures,
        )

    def _earlier(self, history: Sequence[PerformanceCheckOut], at: datetime) -> list[list[Metric]]:
        """What was flagged by the checks that may confirm this one: not moments ago, and not from before a long pause."""
        rule = self._rules.confirm
        oldest = at - timedelta(seconds=rule.of * self._rules.check.window_s)
        kept, last = [], at
        for check in history:
            if oldest <= check.at <= last - timedelta(seconds=rule.spacing_s):
                kept.append(check.flagged)
                last = check.at
        return kept

    def _store(self, checks: Sequence[PerformanceCheckOut]) -> None:
        if not checks:
            return
        with self._unit_of_work() as work:
            before = {(check.model_name, check.model_version): check.verdict for check in work.performance_checks.latest()}
            for check in checks:
                work.performance_checks.add(check)
                was = before.get((check.model_name, check.model_version))
                if (was == "degraded") != (check.verdict == "degraded"):
                    work.audit.append(
                        at=check.at,
                        actor=ACTOR,
                        action="performance.degraded" if check.verdict == "degraded" else "performance.recovered",
                        subject=f"{check.model_name}/{check.model_version}",
                        reason=check.sentence,
                        before={"verdict": was},
                        after={"verdict": check.verdict},
                    )


def sentence(slices: Sequence[SliceOut], by: SliceBy, champion: int | None) -> str:
    """What the slices of the champion say, or of all versions where there is none."""
    mine = [one for one in slices if champion is None or one.model_version == champion]
    who = "Live traffic" if champion is None else f"Champion v{champion}"
    if not mine:
        return f"{who} has no prediction with truth for the whole horizon in this range."
    where = {"scene": "scene ", "speed_band": "", "variant": "as ", "step": "step ", "model_version": "", "calibration": "calibration "}[by]
    bad = [one for one in mine if one.verdict == "degraded"]
    if bad:
        if by == "model_version":
            return f"{who} is not as validated: {_figures_said(bad[0], [f.metric for f in bad[0].figures if f.verdict == 'degraded'])}."
        names = ", ".join(f"{where}{one.value}" for one in bad[:3]) + (f" and {len(bad) - 3} more" if len(bad) > 3 else "")
        return f"{who} is not as validated in {len(bad)} of {len(mine)}: {names}."
    if all(one.verdict == "too_little_data" for one in mine):
        return f"{who}: too few agents for a verdict; {max(one.agents for one in mine)} so far."
    if any(one.verdict == "unclear" for one in mine):
        return f"{who} may be as validated: some intervals still reach over the tolerance, more agents will tell."
    if by == "model_version":
        return f"{who} is as validated: {_figures_said(mine[0], ['ade_m', 'coverage'])}."
    return f"{who} is as validated wherever it can be said."


def _check_sentence(found: SliceOut, verdict: CheckVerdict, named: Sequence[Metric], flagged: Sequence[Metric]) -> str:
    who = f"v{found.model_version}"
    if verdict == "degraded":
        past = [metric for metric in named if metric not in flagged]
        said = [_figures_said(found, [metric for metric in named if metric in flagged])]
        said += [f"{', '.join(map(metric_words, past))} until just now"] if past else []
        return f"{who} is not as validated, confirmed: {'; '.join(filter(None, said))}."
    if verdict == "warning":
        return f"{who} is not as validated in this check, the next ones confirm or clear it: {_figures_said(found, named)}."
    if verdict == "too_little_data":
        return f"{who}: {found.agents} agents with truth are too few for a verdict."
    if verdict == "unclear":
        return f"{who} may be as validated; the intervals still reach over the tolerance: {_figures_said(found, ['ade_m', 'coverage'])}."
    if verdict == "no_figure":
        return f"{who} has no figures of validation to be held against: {_figures_said(found, ['ade_m', 'coverage'])}."
    return f"{who} is {'better than' if verdict == 'better' else 'as'} validated: {_figures_said(found, ['ade_m', 'coverage'])}."


def _figures_said(found: SliceOut, metrics: Sequence[Metric]) -> str:
    figures = {figure.metric: figure for figure in found.figures}
    return "; ".join(_said(figures[metric]) for metric in metrics if metric in figures)


def _said(figure: FigureOut) -> str:
    text = f"{metric_words(figure.metric)} {metric_text(figure.metric, figure.mean)}"
    if figure.low is not None and figure.high is not None:
        text += f" ({metric_text(figure.metric, figure.low)} to {metric_text(figure.metric, figure.high)})"
    return text if figure.validation is None else f"{text}, {metric_text(figure.metric, figure.validation)} at validation"


def _point(part: Part) -> EstimatePoint:
    found: Interval = part.estimated
    return EstimatePoint(
        at=utc(int(part.begin_s * 1e9)),
        predictions=part.predictions,
        scored=part.scored,
        estimated_ade_m=_number(found.mean),
        low=_number(max(0.0, found.low)),
        high=_number(found.high),
        observed_ade_m=_number(part.observed_m),
        last_known_ade_m=_number(part.last_known_m),
    )


def _check_range(since: datetime, until: datetime) -> None:
    if since >= until:
        raise InvalidInput(f"the range ends at {until.isoformat()}, before it begins at {since.isoformat()}; exchange since and until")
    if until - since > LONGEST:
        raise InvalidInput("figures are taken apart for a day at most; ask for a shorter range, or for /v1/performance")


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None

"""A version's chain: data, run, version, deployments, experiments; and what was live within a time range. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from console.measured import dataset_words
from console.viewmodels import LiveSpan
from console.wording import count, metres, share
from trajops.contracts.experiments import ExperimentOut
from trajops.contracts.models import ModelVersionOut, family_words

MOST = 4
SHOWN_DIGITS = 8


@dataclass(frozen=True, slots=True)
class Link:
    """A link of the chain to a page of the console."""

    view: str
    label: str
    query: dict[str, str]


@dataclass(frozen=True, slots=True)
class Step:
    """One place of the chain.

    Attributes:
        title: which.
        lines: what is known of it; empty lines are never given.
        links: where more stands.
    """

    title: str
    lines: Sequence[str]
    links: Sequence[Link] = ()


def chain(
    version: ModelVersionOut, versions: Sequence[ModelVersionOut], spans: Sequence[LiveSpan], experiments: Sequence[ExperimentOut]
) -> list[Step]:
    """From the data to the experiments, in the order in which one came of the other."""
    return [_data(version, versions), _run(version), _version(version), _deployments(version, spans), _experiments(version, experiments)]


def clipped(spans: Sequence[LiveSpan], since: datetime, until: datetime) -> list[LiveSpan]:
    """What was live within a time range, cut at its ends."""
    return [
        replace(span, since=max(span.since, since), until=min(span.until, until))
        for span in spans
        if span.until > since and span.since < until
    ]


def _data(version: ModelVersionOut, versions: Sequence[ModelVersionOut]) -> Step:
    params = version.params
    fingerprint = params.get("data_fingerprint", "").removeprefix("sha256:")
    lines = [dataset_words(version, versions)]
    lines += [f"fingerprint {fingerprint[:SHOWN_DIGITS]}"] if fingerprint else []
    for name, words in (("windows.fit", "windows to fit on"), ("windows.validation", "windows to validate on")):
        if params.get(name, "").isdigit():
            lines.append(f"{count(int(params[name]))} {words}")
    return Step("Data", lines)


def _run(version: ModelVersionOut) -> Step:
    if version.run_id is None:
        return Step("Run", ["It was registered without a run."])
    commit = version.params.get("git_commit")
    lines = [f"{family_words(version.family)}, run {version.run_id[:SHOWN_DIGITS]}"]
    lines += [f"commit {commit[:SHOWN_DIGITS]}"] if commit else []
    return Step("Run", lines, [Link("views/experiments.py", "Compare it", {"runs": version.run_id})])


def _version(version: ModelVersionOut) -> Step:
    lines = [f"v{version.model_version}, known since {version.created_at.astimezone(UTC):%d %b %H:%M UTC}"]
    lines.append("adopted from MLflow" if version.params.get("origin") == "adopted" else "trained here")
    if "val_ade_m" in version.metrics:
        lines.append(f"ADE {metres(version.metrics['val_ade_m'], 3)} at validation")
    lines += [version.validation.sentence] if version.validation is not None else ["not validated yet"]
    return Step("Version", lines)


def _deployments(version: ModelVersionOut, spans: Sequence[LiveSpan]) -> Step:
    mine = sorted((span for span in spans if span.model_version == version.model_version), key=lambda span: span.since, reverse=True)
    lines = [
        f"{span.role.lower()} {span.since.astimezone(UTC):%d %b %H:%M} to {span.until.astimezone(UTC):%d %b %H:%M UTC}"
        + (f", {share(span.coverage, 0)} of agents" if span.role == "Challenger" else "")
        for span in mine[:MOST]
    ]
    if len(mine) > MOST:
        lines.append(f"and {len(mine) - MOST} times before")
    return Step("Deployments", lines or ["It has never answered."])


def _experiments(version: ModelVersionOut, experiments: Sequence[ExperimentOut]) -> Step:
    mine = [one for one in experiments if any(arm.model_version == version.model_version for arm in one.plan.arms)]
    links = [Link("views/ab_tests.py", one.plan.name, {"experiment": one.experiment_id}) for one in mine[:MOST]]
    if not mine:
        return Step("A/B tests", ["It has taken part in none."])
    more = [f"and {len(mine) - MOST} before"] if len(mine) > MOST else []
    return Step("A/B tests", [f"took part in {len(mine)}", *more], links)

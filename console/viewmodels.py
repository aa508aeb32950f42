"""What the pages show: wire models turned into sentences and rows of tables. Pure, no Streamlit, no HTTP."""

import json
import math
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from console.measured import dataset_words, is_comparable
from console.names import method_words, run_words
from console.wording import DASH, Tone, ago, clock, count, drift_mark, metres, moment, seconds, share, state_mark
from trajops.contracts.deployments import RouteOut
from trajops.contracts.drift import (
    DOMAIN_METHOD,
    UNIT_RULE,
    DriftCheckOut,
    DriftColumn,
    DriftScene,
    QualityFinding,
    column_title,
    column_words,
)
from trajops.contracts.jobs import JobOut, job_title
from trajops.contracts.models import ModelVersionOut, family_words
from trajops.contracts.performance import PerformanceOut, PerformanceRow
from trajops.contracts.predictions import PredictIn, PredictionOut

QUALITY_WORDS: dict[str, str] = {
    "missing": "Missing parts",
    "impossible_speed": "Impossible speed",
    "impossible_acceleration": "Impossible acceleration",
    "frozen": "Frozen tracks",
    "duplicates": "Duplicate times",
    "frame": "Frame of positions",
    "unit": "Unit of positions",
    "sampling_rate": "Sampling rate",
    "new_scene": "New scene",
}
QUALITY_STATES: dict[str, str] = {"bad": "✕ Bad", "warning": "▲ Warning", "insufficient_data": "○ Too little data", "ok": "● Fine"}
RANGES: dict[str, timedelta] = {
    "15m": timedelta(minutes=15),
    "1h": timedelta(hours=1),
    "6h": timedelta(hours=6),
    "24h": timedelta(days=1),
    "7d": timedelta(days=7),
    "30d": timedelta(days=30),
}
REFRESHES: dict[str, float | None] = {"off": None, "2s": 2.0, "5s": 5.0, "15s": 15.0, "60s": 60.0}
SCRATCH_SCENE = "console"


def range_reaching(at: datetime, now: datetime) -> str | None:
    """The shortest time range that reaches back to `at`; None where none does."""
    return next((name for name, span in RANGES.items() if now - at < span), None)


def ending_at(now: datetime, span: timedelta, grid: timedelta) -> tuple[datetime, datetime]:
    """A time range that ends on a grid, so that all sessions ask the same for a while, and one answer serves them."""
    step_s = grid.total_seconds()
    until = datetime.fromtimestamp(now.timestamp() // step_s * step_s, UTC)
    return until - span, until


# Performance


@dataclass(frozen=True, slots=True)
class Gain:
    """How a model compares with constant velocity on the same steps.

    Attributes:
        text: in words, with the percentage.
        short: the same for a narrow tile.
        tone: ok when better, bad when worse.
    """

    text: str
    short: str
    tone: Tone


def gain_over_constant_velocity(row: PerformanceRow) -> Gain:
    """Relative change of ADE against constant velocity over the same steps."""
    if row.ade_m is None or not row.cv_ade_m:
        return Gain("no truth yet", "no truth yet", "unknown")
    change = (row.cv_ade_m - row.ade_m) / row.cv_ade_m
    if abs(change) < 0.005:
        return Gain("same as constant velocity", "same as CV", "unknown")
    words = f"{share(abs(change), 0)} {'better' if change > 0 else 'worse'} than"
    return Gain(f"{words} constant velocity", f"{words} CV", "ok" if change > 0 else "bad")


def performance_rows(rows: Sequence[PerformanceRow]) -> list[dict[str, Any]]:
    """Rows of the accuracy table; best-served versions first."""
    return [
        {
            "Version": f"v{row.model_version}",
            "Variant": row.variant,
            "Predictions": row.predictions,
            "Scored to the end": row.complete,
            "Agents": row.agents,
            "Joined": 100 * row.join_rate,
            "ADE (m)": row.ade_m,
            "FDE (m)": row.fde_m,
            "Miss rate": None if row.miss_rate is None else 100 * row.miss_rate,
            "Coverage": None if row.coverage is None else 100 * row.coverage,
            "NLL (nats)": row.nll,
            "CV ADE (m)": row.cv_ade_m,
            "Answer p95 (ms)": row.latency_p95_ms,
        }
        for row in sorted(rows, key=lambda r: (-r.predictions, r.model_version, r.variant))
    ]


def merged_row(rows: Iterable[PerformanceRow], model_version: int) -> PerformanceRow | None:
    """All variants of one version as one row, weighted by what is complete; latencies are the largest of the variants."""
    mine = [row for row in rows if row.model_version == model_version]
    if not mine:
        return None

    def mean(name: str) -> float | None:
        pairs = [(getattr(row, name), row.complete) for row in mine if getattr(row, name) is not None and row.complete]
        weight = sum(n for _, n in pairs)
        return sum(v * n for v, n in pairs) / weight if weight else None

    def largest(name: str) -> float | None:
        return max((v for row in mine if (v := getattr(row, name)) is not None), default=None)

    predictions = sum(row.predictions for row in mine)
    return PerformanceRow(
        model_version=model_version,
        variant="all",
        predictions=predictions,
        scored=sum(row.scored for row in mine),
        complete=sum(row.complete for row in mine),
        agents=sum(row.agents for row in mine),
        join_rate=sum(row.join_rate * row.predictions for row in mine) / predictions if predictions else 0.0,
        ade_m=mean("ade_m"),
        fde_m=mean("fde_m"),
        miss_rate=mean("miss_rate"),
        nll=mean("nll"),
        coverage=mean("coverage"),
        cv_ade_m=mean("cv_ade_m"),
        latency_p50_ms=largest("latency_p50_ms"),
        latency_p95_ms=largest("latency_p95_ms"),
    )


def accuracy_sentence(performance: PerformanceOut, route: RouteOut) -> str:
    """The champion's live accuracy in one sentence."""
    if route.champion is None:
        return "No champion yet: promote a version on the Models page."
    row = merged_row(performance.rows, route.champion.model_version)
    if row is None or row.ade_m is None:
        if performance.last_outcome_at is not None and performance.last_outcome_at < performance.since:
            return f"No truth in this range; the newest arrived {moment(performance.last_outcome_at)}. Widen the time range to see it."
        return "No prediction of the champion has been scored in this range; truth arrives about 5 s after a prediction."
    return (
        f"Champion v{row.model_version}: ADE {metres(row.ade_m)}, {gain_over_constant_velocity(row).text}; "
        f"{share(row.coverage, 0)} of steps inside the {share(performance.nominal_coverage, 0)} ellipse, "
        f"{count(row.complete)} predictions scored to the end."
    )


# Tables


def version_rows(versions: Sequence[ModelVersionOut], champion: ModelVersionOut | None) -> list[dict[str, Any]]:
    """Rows of the full table of versions, to sort, compare and download."""
    return [
        {
            "Version": v.model_version,
            "Family": family_words(v.family),
            "State": state_mark(v.state).word,
            "Measured on": dataset_words(v, versions),
            "Comparable": None if champion is None else v is champion or is_comparable(v, champion),
            "Aliases": ", ".join(v.aliases),
            "Warm": v.is_warm,
            "ADE (m)": v.metrics.get("val_ade_m"),
            "FDE (m)": v.metrics.get("val_fde_m"),
            "Miss rate": v.metrics.get("val_miss_rate"),
            "NLL (nats)": v.metrics.get("val_nll"),
            "Coverage": v.metrics.get("val_coverage_90"),
            "Time of one forecast (ms)": v.metrics.get("val_latency_ms"),
            "Created (UTC)": v.created_at.astimezone(UTC).replace(tzinfo=None),
            "Run": v.run_url,
            "Data fingerprint": v.params.get("data_fingerprint", ""),
            "Commit": v.params.get("git_commit", "")[:10],
        }
        for v in versions
    ]


def job_state(job: JobOut) -> str:
    """How a job stands, as sign and word."""
    run = job.last_run
    if job.paused_at is not None:
        return "‖ Paused"
    if run is None:
        return "○ Not run yet"
    if run.state == "failed":
        return "✕ Failed"
    if job.is_late:
        return "▲ Late"
    return "◌ Running" if run.state == "running" else "● Succeeded"


def job_rows(jobs: Sequence[JobOut], now: datetime) -> list[dict[str, Any]]:
    """Rows of the table of background jobs."""
    rows = []
    for job in jobs:
        run = job.last_run
        rows.append(
            {
                "Job": job_title(job.job),
                "State": job_state(job),
                "Last run": ago(run.started_at, now) if run else "never",
                "Duration": seconds(run.duration_s) if run else DASH,
                "Every": f"{job.cron} UTC" if job.cron else seconds(job.every_s),
                "Result": run_words(run) if run else job.description,
                "Raw name": job.job,
            }
        )
    return rows


def drift_rows(columns: Sequence[DriftColumn]) -> list[dict[str, Any]]:
    """Rows of the table of compared columns, worst first."""
    return [
        {
            "Column": column_title(c.column),
            "Kind": c.kind,
            "State": "◌ Muted" if c.muted_until else "✕ Drifted" if c.is_drifted else "● Stable" if c.score is not None else "○ Not scored",
            "Score": c.score,
            "Threshold": c.threshold,
            "Share of threshold": drift_share(c),
            "Reference": c.reference_mean,
            "Current": c.current_mean,
            "Method": method_words(c.method),
            "Window": seconds(worst_window_s(c)),
            "Raw name": c.column,
        }
        for c in sorted(columns, key=lambda c: -(drift_share(c) or 0.0))
    ]


def carriers_sentence(columns: Sequence[DriftColumn]) -> str | None:
    """What tells both windows apart where all columns are judged together; None where nothing does."""
    carriers = next((c.carriers for c in columns if c.carriers), [])
    if not carriers:
        return None
    return f"All columns together, told apart by, strongest first: {', '.join(map(carrier_words, carriers))}."


def carrier_words(carrier: str) -> str:
    """A feature of the classifier in words: a column, its square, or the product of two."""
    words = " × ".join(column_words(one) for one in carrier.removesuffix("²").split(" × "))
    return f"{words} squared" if carrier.endswith("²") else words


def worst_window_s(column: DriftColumn) -> float | None:
    """Length of the window whose score has gone furthest towards its threshold; of a unit rule, of the one that it has looked at."""
    return max(column.scores, key=lambda one: one.score / one.threshold).window_s if column.scores else column.window_s


def scene_rows(scenes: Sequence[DriftScene]) -> list[dict[str, Any]]:
    """Rows of the table of scenes, as the check orders them: the worst first."""
    return [
        {
            "Scene": scene.scene,
            "Verdict": drift_mark(scene.verdict).word,
            "Agents": scene.agents,
            "Drifted columns": sum(column.is_drifted for column in scene.columns),
            "What it says": scene.sentence,
        }
        for scene in scenes
    ]


def quality_rows(findings: Sequence[QualityFinding]) -> list[dict[str, Any]]:
    """Rows of the table of findings on data quality, worst first."""
    return [
        {
            "Rule": QUALITY_WORDS[one.kind],
            "State": QUALITY_STATES[one.verdict],
            "Scene": one.scene or "all",
            "Value": one.value,
            "Limit": one.limit,
            "What it says": one.sentence,
        }
        for one in findings
    ]


def drift_share(column: DriftColumn) -> float | None:
    """How far a column has gone towards its threshold: 0 is like the reference, from 1 on it has drifted. None where it was not scored.

    An AUC is one half where nothing can be told apart, and is counted from there. A unit rule has a threshold on either side of 1, and its
    score is a ratio: half is as far from 1 as double, so logarithms are compared. A p-value falls as evidence grows, so for a method that
    names one the fraction is turned round.
    """
    if column.score is None or not column.threshold:
        return None
    if column.method == DOMAIN_METHOD:
        return max(0.0, column.score - 0.5) / max(column.threshold - 0.5, 1e-12)
    if column.method == UNIT_RULE:
        return abs(math.log(max(column.score, 1e-12))) / max(abs(math.log(column.threshold)), 1e-12)
    if "p_value" in column.method or "p-value" in column.method:
        return column.threshold / max(column.score, 1e-12)
    return column.score / column.threshold


def check_rows(checks: Sequence[DriftCheckOut]) -> list[dict[str, Any]]:
    """Rows of the list of past checks, newest first."""
    return [
        {
            "Checked (UTC)": c.at.astimezone(UTC).replace(tzinfo=None),
            "Verdict": drift_mark(c.verdict).word,
            "Full report": f"/session/drift-reports/{c.check_id}" if c.has_report else None,
            "What it says": c.sentence,
            "Drifted columns": sum(column.is_drifted for column in c.columns),
            "Columns": len(c.columns),
            "Reference agents": c.reference_agents,
            "Current agents": c.current_agents,
        }
        for c in checks
    ]


def paused_words(route: RouteOut, drift_verdict: str | None) -> str:
    """That the challenger is paused, how it goes on, and whether drift speaks against it; empty where it is not, or is the champion too."""
    if route.challenger is None or route.coverage or route.challenger == route.champion:
        return ""
    version = f"v{route.challenger.model_version}"
    said = f"The comparison of {version} is paused: it answers nobody until it is resumed or stopped on the Models page."
    if drift_verdict in {"drift", "warning"}:
        return f"{said} Wait until the drift is over: a comparison on changed traffic says nothing."
    return f"{said} The traffic looks like the reference, so drift does not speak against it." if drift_verdict == "stable" else said


# What was live when


@dataclass(frozen=True, slots=True)
class LiveSpan:
    """One version in one role, over the epochs in which nothing changed for it.

    Attributes:
        role: `Champion` or `Challenger`.
        model_version: which version.
        since, until: aware times; `until` is now for what is live.
        coverage: share of agents enrolled, for a challenger.
        reason: of the change that began the span.
        actor: who made it.
    """

    role: str
    model_version: int
    since: datetime
    until: datetime
    coverage: float
    reason: str
    actor: str


def live_spans(history: Sequence[RouteOut], now: datetime) -> list[LiveSpan]:
    """What was live when, from the route history, oldest first; neighbouring epochs of one version are joined."""
    epochs = sorted((r for r in history if r.changed_at is not None), key=lambda r: r.epoch)
    spans: list[LiveSpan] = []
    for role in ("Champion", "Challenger"):
        started: RouteOut | None = None
        version: int | None = None
        for i, route in enumerate([*epochs, None]):
            ref = None if route is None else (route.champion if role == "Champion" else route.challenger)
            current = ref.model_version if ref else None
            if route is not None and current == version:
                continue
            if started is not None and version is not None and started.changed_at is not None:
                until = route.changed_at if route is not None and route.changed_at is not None else now
                share_ = max((r.coverage for r in epochs[:i] if r.epoch >= started.epoch), default=0.0)
                spans.append(
                    LiveSpan(role, version, started.changed_at, until, share_ if role == "Challenger" else 1.0,
                             started.reason or "", started.actor or "unknown")
                )  # fmt: skip
            started, version = route, current
    return spans


# Predictions


def agent_label(prediction: PredictionOut) -> str:
    """An agent as it is shown in a list: scene and agent."""
    return f"{prediction.prediction.scene_id} / {prediction.prediction.agent_id}"


def live_agents(predictions: Sequence[PredictionOut]) -> list[str]:
    """Labels of the agents in recent predictions, most recently seen first; the console's own tries are left out."""
    return list(dict.fromkeys(agent_label(p) for p in predictions if p.prediction.scene_id != SCRATCH_SCENE))


def prediction_label(prediction: PredictionOut) -> str:
    """A prediction as it is shown in a list."""
    p, outcome = prediction.prediction, prediction.outcome
    scored = "no truth yet" if outcome is None else f"ADE {metres(outcome.ade_m)}, {outcome.steps_scored}/12 steps"
    return f"{clock(prediction.received_at)} · {p.agent_id} · v{p.model_version} · {scored}"


def curl(body: PredictIn, api_url: str) -> str:
    """The same call for a shell; the token stays out of it."""
    content = json.dumps(body.model_dump(mode="json", exclude_none=True))
    return (
        f"curl -sS {shlex.quote(api_url + '/predict')} \\\n"
        '  -H "Authorization: Bearer $TRAJOPS_TOKEN" \\\n'
        "  -H 'Content-Type: application/json' \\\n"
        f"  -d {shlex.quote(content)}"
    )

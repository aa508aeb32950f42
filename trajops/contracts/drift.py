"""Drift: whether the traffic still looks like the reference."""

from typing import Literal

from pydantic import AwareDatetime, Field, field_validator

from trajops.contracts.wire import Name, Reason, Time, Wire, sensible_time

# Of one answer.
MOST_CHECKS = 50
Verdict = Literal["insufficient_data", "stable", "warning", "drift"]
QualityVerdict = Literal["insufficient_data", "ok", "warning", "bad"]
QualityKind = Literal[
    "missing", "impossible_speed", "impossible_acceleration", "frozen", "duplicates", "frame", "unit", "sampling_rate", "new_scene"
]
UNIT_RULE = "unit_rule"
DOMAIN_COLUMN, DOMAIN_METHOD = "all_columns", "auc"
_RATIO = "_ratio"
_WORDS = {
    "speed_mps": "mean speed",
    "speed_last_mps": "last speed",
    "acceleration_mps2": "acceleration",
    "turn_rad": "turn",
    "heading_rad": "heading",
    "path_m": "path length",
    "jitter_m": "jitter of positions",
    DOMAIN_COLUMN: "all columns together",
    "dt_s": "time step",
    "predicted_speed_mps": "predicted speed",
    "predicted_spread_m": "predicted spread",
    "latency_ms": "time to answer",
    "ade_m": "ADE",
    "fde_m": "FDE",
    "inside_share": "share inside the ellipse",
}
_UNITS = {"_mps2": "m/s²", "_mps": "m/s", "_ms": "ms", "_m": "m", "_s": "s", "_rad": "rad"}


def column_words(column: str) -> str:
    """A column of the comparison as a person calls it: `predicted_spread_m` is the predicted spread."""
    if column.endswith(_RATIO):
        return f"{column_words(column.removesuffix(_RATIO))}, unit check"
    suffix = next((suffix for suffix in _UNITS if column.endswith(suffix)), "")
    return _WORDS.get(column) or column.removesuffix(suffix).replace("_", " ")


def column_title(column: str) -> str:
    """The words of a column with the unit that its suffix states; a unit check is in multiples of the reference."""
    if column.endswith(_RATIO):
        return f"{column_words(column)} (×)"
    unit = next((unit for suffix, unit in _UNITS.items() if column.endswith(suffix)), None)
    return column_words(column) if unit is None else f"{column_words(column)} ({unit})"


class DriftOpinion(Wire):
    """What another detector says about a column; shown beside our score, never decisive."""

    detector: str
    method: str
    score: float
    threshold: float
    is_drifted: bool


class DriftScore(Wire):
    """One of the scores that a column is judged by."""

    method: str = Field(description="`psi`, `scale` (relative change of scale) or `auc` (the domain classifier).")
    window_s: float
    score: float
    threshold: float
    is_drifted: bool


class DriftColumn(Wire):
    """One column of the comparison. Its score is the one of `scores` that has gone furthest towards its threshold."""

    column: str
    kind: Literal["input", "prediction", "performance", "multivariate"]
    method: str
    score: float | None
    threshold: float | None
    is_drifted: bool
    reference_mean: float | None
    current_mean: float | None
    bins: list[float] = Field(default_factory=list, description="Edges shared by both histograms.")
    reference_share: list[float] = Field(default_factory=list)
    current_share: list[float] = Field(default_factory=list)
    opinions: list[DriftOpinion] = Field(default_factory=list, description="Other detectors on one row of each agent.")
    scores: list[DriftScore] = Field(default_factory=list)
    carriers: list[str] = Field(
        default_factory=list, description="Columns and pairs of columns that tell both sides apart, strongest first."
    )
    muted_until: AwareDatetime | None = Field(None, description="Until then the column raises no alarm.")
    window_s: float | None = Field(None, description="Of a unit check: how much of the newest traffic it has looked at.")


def ratio_words(column: DriftColumn) -> str:
    """What the unit check of a column has found; the column must have a score."""
    return f"{column_words(column.column.removesuffix(_RATIO))} is {column.score:.2g} × the reference"


class DriftScene(Wire):
    """The verdict on one scene."""

    scene: str
    agents: int
    verdict: Verdict
    sentence: str
    columns: list[DriftColumn] = Field(description="Histograms are kept for columns that drifted.")


class QualityFinding(Wire):
    """What one rule on data quality says."""

    kind: QualityKind
    scene: str | None
    verdict: QualityVerdict
    value: float | None
    limit: float | None
    sentence: str
    window_s: float | None = Field(None, description="How much of the newest traffic it has looked at, where that held enough agents.")
    muted_until: AwareDatetime | None = Field(None, description="Until when it raises no alarm, because its column is muted.")
    scenes: list[str] = Field(default_factory=list, description="Those that were judged together, where `scene` is null; empty: all.")
    agents: int | None = Field(None, description="Of its scene, or scenes, in the window whose columns are compared; null: not counted.")


class DriftCheckOut(Wire):
    """One check of the current window against the reference."""

    check_id: str
    at: AwareDatetime
    verdict: Verdict
    sentence: str
    reference_since: AwareDatetime | None
    reference_until: AwareDatetime | None
    current_since: AwareDatetime
    current_until: AwareDatetime
    reference_agents: int
    current_agents: int
    columns: list[DriftColumn]
    has_report: bool = Field(description="The full Evidently report can be opened.")
    scenes: list[DriftScene] = Field(default_factory=list, description="Scenes with enough agents; those that drifted come first.")
    quality: list[QualityFinding] = Field(default_factory=list, description="Data quality, worst first.")
    traffic_verdict: Verdict | None = Field(
        None, description="On the columns of all traffic together, whatever scenes and data quality say; null: it was not kept yet."
    )


class DriftReportOut(Wire):
    """The check that a full report was written with."""

    check_id: str
    at: AwareDatetime
    verdict: Verdict


class TimeRange(Wire):
    """From `since` on, before `until`; in one scene, or in all."""

    since: Time
    until: Time
    scene: Name | None = Field(None, description="Left out, or null: in all scenes.")


class ReferenceChoice(Wire):
    """What traffic is compared with."""

    kind: Literal["backfill", "range", "training"] = Field(
        "backfill", description="Recorded history as configs/drift.yaml says; a range of traffic; what the champion was trained on."
    )
    since: AwareDatetime | None = None
    until: AwareDatetime | None = None
    without: list[TimeRange] = Field(default_factory=list, max_length=1000, description="Parts of the range that are left out of it.")


class DriftMute(Wire):
    """A column that raises no alarm for a while."""

    column: str = Field(min_length=1, max_length=64)
    until: AwareDatetime


class DriftSettings(Wire):
    """What an operator has chosen for the drift check."""

    reference: ReferenceChoice = Field(default_factory=ReferenceChoice)
    mutes: list[DriftMute] = Field(default_factory=list)


class DriftOut(Wire):
    """The newest check in full, and the verdicts before it."""

    latest: DriftCheckOut | None
    history: list[DriftCheckOut] = Field(description=f"Newest first, at most {MOST_CHECKS}, without columns' histograms.")
    last_report: DriftReportOut | None = Field(None, description="Newest check with a full report; it may be older than the history.")
    settings: DriftSettings = Field(default_factory=DriftSettings, description="What an operator has chosen.")


class ReferenceIn(Wire):
    """Choose the reference."""

    reference: ReferenceChoice
    reason: Reason

    @field_validator("reference")
    @classmethod
    def _is_of_sensible_times(cls, value: ReferenceChoice) -> ReferenceChoice:
        # Not in ReferenceChoice itself: it is kept as well, and what was once chosen must stay readable.
        times = {"since": value.since, "until": value.until}
        return value.model_copy(update={name: sensible_time(time) for name, time in times.items() if time is not None})


class MuteIn(Wire):
    """Mute a column, or let it speak again (`until` null)."""

    until: Time | None
    reason: Reason


def of_scene(check: DriftCheckOut, scene: str) -> DriftCheckOut:
    """The check as one scene saw it: its verdict, columns, agents and findings. Too little data, if the scene was not judged."""
    found = next((one for one in check.scenes if one.scene == scene), None)
    quality = [one for one in check.quality if one.scene == scene]
    if found is None:
        said = f"Too few agents of the scene {scene} in this check."
        return check.model_copy(
            update={"verdict": "insufficient_data", "sentence": said, "columns": [], "current_agents": 0, "quality": quality}
        )
    update = {"verdict": found.verdict, "sentence": found.sentence, "columns": found.columns, "current_agents": found.agents}
    return check.model_copy(update={**update, "quality": quality})


def without_histograms(check: DriftCheckOut, scene: str | None = None) -> DriftCheckOut:
    """The same check, small enough for a list: of scenes only the columns that drifted, and all of the one that is named."""
    scenes = [
        one.model_copy(update={"columns": [without_bins(column) for column in one.columns if column.is_drifted or one.scene == scene]})
        for one in check.scenes
    ]
    return check.model_copy(update={"columns": [without_bins(column) for column in check.columns], "scenes": scenes})


def without_bins(column: DriftColumn) -> DriftColumn:
    """The same column without its histogram."""
    no_bins: dict[str, list[float]] = {"bins": [], "reference_share": [], "current_share": []}
    return column.model_copy(update=no_bins)

"""What a version was held against before it may be staged: its battery, its rank, and its card."""

from typing import Literal

from pydantic import AwareDatetime, Field

from trajops.contracts.wire import Reason, Wire

CheckName = Literal["loads", "signature", "golden_replay", "invariance", "worst_scenes", "latency", "calibration", "bad_input"]
CheckState = Literal["passed", "failed", "skipped"]
Cause = Literal["training", "adoption", "first_look", "asked_for"]


class MeasuredOut(Wire):
    """One figure of a check, beside what it may be."""

    name: str
    unit: str = Field(description="Empty for a share or a ratio.")
    measured: float | None = Field(description="None where it is not a finite number, which never passes.")
    low: float | None = Field(None, description="Lower end of the 95 % interval over agents, where there is one.")
    high: float | None = Field(None, description="Its upper end.")
    at_least: float | None = None
    at_most: float | None = None
    is_within: bool


class CheckOut(Wire):
    """What one check of the battery found."""

    check: CheckName
    state: CheckState
    sentence: str = Field(description="What was found, or why nothing was looked for.")
    figures: list[MeasuredOut] = Field(default_factory=list)


class RankedOut(Wire):
    """One candidate of a training run among the others."""

    rank: int | None = Field(description="1 is the best; None: excluded by a hard limit.")
    family: str
    points: float | None = Field(description="How far it is behind the best of each figure; less is better. None: excluded.")
    parts: dict[str, float] = Field(description="What the points consist of: ade, nll, latency, size.")
    figures: dict[str, float] = Field(description="ade_m, nll, coverage_90, latency_p99_ms, latency_ms, size_mb, ade_to_baseline.")
    sentence: str = Field(description="Why it stands where it stands.")


class ValidationOut(Wire):
    """One run of the battery over one version. A version may be staged when its newest one has passed."""

    validation_id: str
    model_name: str
    model_version: int
    at: AwareDatetime
    is_passed: bool
    sentence: str
    cause: Cause
    by: str
    dataset: str = Field(description="Name of the recorded tracks that it was measured on.")
    data_fingerprint: str = Field(description="SHA-256 of all windows of these tracks; empty where there were none.")
    windows: int = Field(description="Held-out windows that it was measured on.")
    agents: int = Field(description="That these windows are of.")
    machine: str = Field(description="Where the times were taken.")
    duration_s: float
    checks: list[CheckOut]
    ranking: list[RankedOut] = Field(
        default_factory=list, description="The candidates of its training run, best first; empty: it had no rivals."
    )

    @property
    def failed(self) -> list[CheckOut]:
        """The checks that failed."""
        return [check for check in self.checks if check.state == "failed"]


class ValidationBriefOut(Wire):
    """A validation in a list of versions."""

    at: AwareDatetime
    is_passed: bool
    sentence: str
    passed: int = Field(description="Checks that passed.")
    failed: list[CheckName]
    skipped: list[CheckName]

    @classmethod
    def of(cls, validation: ValidationOut) -> "ValidationBriefOut":
        """The same in short."""
        by_state = {state: [one.check for one in validation.checks if one.state == state] for state in ("passed", "failed", "skipped")}
        return cls(
            at=validation.at,
            is_passed=validation.is_passed,
            sentence=validation.sentence,
            passed=len(by_state["passed"]),
            failed=by_state["failed"],
            skipped=by_state["skipped"],
        )


class ValidationIn(Wire):
    """Ask for a validation."""

    reason: Reason


class ValidationAskedOut(Wire):
    """A validation that was asked for; the workers run it."""

    model_name: str
    model_version: int
    asked_at: AwareDatetime
    by: str
    job: str = Field(description="The job that runs it.")

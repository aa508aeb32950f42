"""Experiments: what is planned, how it stands, and what was decided."""

from typing import Annotated, Literal, Self

from pydantic import AwareDatetime, BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from trajops.config_model import Count
from trajops.contracts.wire import Name, Reason, Wire
from trajops.experiments.lifecycle import ExperimentState
from trajops.experiments.routed import ROUNDING, UnitKind

Metric = Literal["ade_m", "fde_m", "miss_rate"]
Mode = Literal["live", "shadow", "watch"]
GuardrailKind = Literal["errors", "slow_answers"]
VerdictKind = Literal["collecting", "better", "no_worse", "worse", "guardrail", "inconclusive", "invalid"]
ExperimentSliceBy = Literal["scene", "speed_band", "step", "client"]
CheckState = Literal["ok", "warning", "blocked"]
VariantName = Annotated[str, Field(min_length=1, max_length=32, pattern=r"^[a-z][a-z0-9_]*$")]
_TAKEN = frozenset({"champion", "holdout", "override", "direct", "shadow"})
# Weights are given in decimals, a third as 0.3333333 too.
_DECIMALS = 1e-6
DAY_S = 86_400.0
# A smaller one asks for units without end.
LEAST_ALPHA = 1e-6
# Units fall on ten thousand points: a smaller arm has none of them.
LEAST_WEIGHT = 1e-4
LAST = 2**31 - 1


def _is_no_flag(value: object) -> object:
    """Refuse true, which else would be version 1."""
    if isinstance(value, bool):
        raise PydanticCustomError("version_is_a_flag", "a version is a number, such as 3, and no flag")
    return value


class ArmIn(Wire):
    """One arm: which version answers in it."""

    variant: VariantName
    model_version: Annotated[int, BeforeValidator(_is_no_flag)] = Field(ge=1, le=LAST)
    weight: float = Field(ge=LEAST_WEIGHT, lt=1, description="Share of the enrolled units.")


class NamespaceIn(Wire):
    """Whose units the experiment may enrol: experiments in disjoint parts of one namespace share none."""

    name: Name
    begin: float = Field(ge=0, lt=1)
    end: float = Field(gt=0, le=1)

    @model_validator(mode="after")
    def _is_a_range(self) -> Self:
        if self.begin >= self.end:
            raise ValueError(f"a part begins before it ends, unlike {self.begin:g} to {self.end:g}")
        return self


class GuardrailIn(Wire):
    """What must not happen to more units of a treatment than of the control."""

    kind: GuardrailKind
    tolerance: float = Field(default=1.0, ge=1, le=10, description="Ratio of rates that is still accepted.")
    slow_ms: float = Field(default=100.0, gt=0, le=600_000, description="Answers that take longer are slow; of `slow_answers` only.")


class StopRules(Wire):
    """When it is over, and what follows."""

    min_units: Count = Field(default=50, ge=20, description="Units in each arm before anything but harm is decided.")
    min_harmed_units: Count = Field(default=25, ge=10, description="Units in each arm before harm is acted on.")
    min_s: float = Field(default=600.0, ge=0, le=90 * DAY_S, description="Seconds before a treatment is found better or no worse.")
    horizon_s: float = Field(default=7 * DAY_S, gt=0, le=90 * DAY_S, description="Seconds after which it ends without a decision.")
    horizon_units: Count | None = Field(default=None, ge=100, description="Units of all arms after which it ends without a decision.")
    aim: Literal["better", "no_worse"] = Field(default="better", description="What a treatment must show to win.")
    on_win: Literal["recommend", "promote"] = Field(default="recommend", description="`promote` acts without an operator.")


class ExperimentPlan(Wire):
    """What is compared, on whom, and when it is over. Fixed before the start."""

    name: Name
    hypothesis: str = Field(min_length=10, max_length=1000)
    mode: Mode = Field(
        default="live",
        description="`shadow`: the treatments predict beside the champion's answers. `watch`: so does the predecessor of a champion, and "
        "nothing but the rollout that it belongs to follows from it.",
    )
    arms: tuple[ArmIn, ...] = Field(min_length=2, max_length=5, description="The control first.")
    unit: UnitKind = "agent"
    coverage: float = Field(default=1.0, gt=0, le=1, description="Share of units that are enrolled.")
    namespace: NamespaceIn | None = None
    metric: Metric = "ade_m"
    margin: float = Field(default=0.02, gt=0, le=0.5, description="Relative rise of the metric that still counts as no worse.")
    expected_change: float = Field(default=-0.05, gt=-1, lt=0, description="Relative change that is hoped for.")
    guardrails: tuple[GuardrailIn, ...] = (GuardrailIn(kind="errors"), GuardrailIn(kind="slow_answers"))
    alpha: float = Field(default=0.05, ge=LEAST_ALPHA, le=0.2)
    tuned_units: Count = Field(default=1000, ge=50, description="Units at which the sequence is narrowest.")
    min_join_rate: float = Field(default=0.2, ge=0, le=1, description="Share of predictions that get truth, in each arm.")
    max_join_gap: float = Field(
        default=0.05, gt=0, le=1, description="Largest difference of that share between arms, beyond what chance may do."
    )
    max_stale_s: float = Field(default=180.0, ge=30, le=90 * DAY_S, description="Older truth than this is no ground for a decision.")
    invalid_for_s: float = Field(default=60.0, ge=0, le=90 * DAY_S, description="Data that are invalid for so long pause it.")
    stop: StopRules = StopRules()

    @property
    def is_beside(self) -> bool:
        """Whether the treatments answer nobody."""
        return self.mode != "live"

    @property
    def weights(self) -> list[float]:
        """Share of each arm; of decimals that were cut off, such as three times 0.3333333, so that they add up to 1."""
        given = [arm.weight for arm in self.arms]
        total = sum(given)
        return given if abs(total - 1) <= ROUNDING else [weight / total for weight in given]

    @model_validator(mode="after")
    def _fits(self) -> Self:
        names = [arm.variant for arm in self.arms]
        if len(set(names)) < len(names) or _TAKEN & set(names):
            raise ValueError(f"arms have different names, and none of {', '.join(sorted(_TAKEN))}")
        if abs(sum(arm.weight for arm in self.arms) - 1) > _DECIMALS:
            raise ValueError(f"weights add up to 1, not {sum(arm.weight for arm in self.arms):.9g}; a third reads 0.3333333")
        if self.arms[0].model_version in {arm.model_version for arm in self.arms[1:]}:
            # An A/A experiment is worth having: it says what chance alone does.
            if len(self.arms) > 2 or self.stop.on_win == "promote":
                raise ValueError("a version that is compared with itself has two arms, and nothing to promote")
        elif len({arm.model_version for arm in self.arms}) < len(self.arms):
            raise ValueError("each arm has a version of its own")
        if len({one.kind for one in self.guardrails}) < len(self.guardrails):
            raise ValueError("a guardrail stands once")
        return self


class EffectOut(Wire):
    """What is known of one treatment's effect; all None before there are units, and while the data are invalid."""

    variant: str
    change: float | None = Field(description="Relative change of the metric; negative: better.")
    low: float | None = Field(description="Lower end of the sequence.")
    high: float | None = Field(description="Upper end of the sequence.")
    harm_low: float | None = Field(description="Lower end of the one-sided sequence: above 0, harm is proved.")
    verdict: VerdictKind


class GuardrailOut(Wire):
    """How near a guardrail is to its trigger."""

    variant: str
    kind: GuardrailKind
    control_units: int
    treatment_units: int
    evidence: float = Field(description="As a share of what trips it, on the scale of logarithms; 1: tripped.")
    is_tripped: bool


class ArmOut(Wire):
    """Figures of one arm; of one that was rolled back while others go on no errors and times, because another version answers it since."""

    variant: str
    model_version: int
    units: int = Field(description="Units that were answered in it.")
    scored_units: int = Field(description="Of these, with an outcome.")
    units_since: int = Field(
        default=0, description="Units that were answered since `counted_since`, with an outcome of that; also who was answered before."
    )
    predictions: int
    ade_m: float | None
    fde_m: float | None
    miss_rate: float | None
    coverage: float | None = Field(description="Observed share of steps inside the nominal ellipse, mean over units.")
    failed_units: int
    slow_units: int
    join_rate: float | None
    label_delay_s: float | None = Field(
        default=None, description="Median seconds from an answer to its truth, the whole horizon of it; None: of none it is known."
    )
    latency_p50_ms: float | None
    latency_p95_ms: float | None
    latency_p99_ms: float | None


class HealthOut(Wire):
    """One thing that must be well before an effect means anything."""

    name: Literal["split", "join_rate", "freshness", "jumpers"]
    is_ok: bool
    detail: str


class VerdictOut(Wire):
    """How an experiment stood at one moment."""

    at: AwareDatetime
    since: AwareDatetime = Field(description="Since when it has been of this kind, look after look.")
    kind: VerdictKind
    sentence: str
    units: int
    counted_since: AwareDatetime | None = Field(
        default=None, description="Begin of the step of a rollout, since which `units_since` of the arms is counted; None: of none."
    )
    effects: list[EffectOut]
    arms: list[ArmOut]
    guardrails: list[GuardrailOut]
    health: list[HealthOut]
    detectable_change: float | None = Field(description="Smallest improvement that so many units show in four of five experiments.")
    expected_units: int | None = Field(description="Units that the expected change will take, by what is known of the spread.")


class ExperimentOut(Wire):
    """One experiment."""

    experiment_id: str
    plan: ExperimentPlan
    state: ExperimentState
    version: int = Field(description="For `expected_version` of a change.")
    coverage: float = Field(description="Present share of units enrolled.")
    closed_arms: list[str] = Field(description="Arms that were rolled back, and are answered by the control's version since.")
    seed: str
    created_at: AwareDatetime
    created_by: str
    updated_at: AwareDatetime
    started_at: AwareDatetime | None
    ended_at: AwareDatetime | None
    winner: str | None
    sentence: str = Field(description="What was decided last, and why.")
    verdict: VerdictOut | None = Field(description="The newest; of a decision, that which caused it.")


class ExperimentsOut(Wire):
    """Experiments, newest first."""

    experiments: list[ExperimentOut]


class CheckOut(Wire):
    """One line of the checklist before a launch."""

    name: str
    state: CheckState
    detail: str


class ChecklistOut(Wire):
    """Whether an experiment can be launched, and how long it will take."""

    can_launch: bool
    checks: list[CheckOut]
    units_per_day: float | None
    expected_units: int | None
    expected_s: float | None


class ExperimentIn(Wire):
    """A new experiment."""

    plan: ExperimentPlan
    reason: Reason
    is_launched: bool = Field(default=False, description="Launch it at once, if nothing blocks it.")


class ExperimentChangeIn(Wire):
    """A change of one experiment, refused when somebody else was faster."""

    expected_version: int = Field(ge=1, le=LAST)
    reason: Reason


class CoverageIn(ExperimentChangeIn):
    """Enrol another share of the units."""

    coverage: float = Field(gt=0, le=1)


class StopIn(ExperimentChangeIn):
    """End it; with a winner, that arm's version is promoted."""

    winner: VariantName | None = None


class OverrideIn(ExperimentChangeIn):
    """Put a unit into an arm by hand, or back to where it belongs."""

    unit_id: Name
    variant: VariantName | None = Field(description="None takes the override away.")


class KillSwitchIn(Wire):
    """Let the champion answer everybody, or end that."""

    expected_epoch: int = Field(ge=1, le=LAST)
    is_stopped: bool
    reason: Reason


class KillSwitchOut(Wire):
    """Whether experiments are stopped, after a change of that."""

    is_stopped: bool
    epoch: int
    audit_id: str


class HoldoutIn(Wire):
    """Keep a share of all units out of every experiment; 0: nobody."""

    expected_epoch: int = Field(ge=1, le=LAST)
    share: float = Field(ge=0, le=0.5)
    reason: Reason


class HoldoutOut(Wire):
    """Which share of all units no experiment enrols, after a change of that."""

    share: float
    epoch: int
    audit_id: str


class VerdictsOut(Wire):
    """How the verdict on one experiment went over time, oldest first."""

    verdicts: list[VerdictOut]


class ExperimentSliceOut(Wire):
    """One treatment against the control in one part of the traffic; the effect is None where too few units are in it."""

    value: str = Field(description="Name of the scene, the speed band or the client; number of the step, counted from 1.")
    variant: str
    control_units: int
    treatment_units: int
    control_mean: float = Field(description="Mean over units; of a step, of its displacement, metres.")
    treatment_mean: float
    change: float | None = Field(description="Relative change; negative: better.")
    low: float | None = Field(description="Lower end of the sequence at the level of the plan.")
    high: float | None


class ExperimentSlicesOut(Wire):
    """An experiment taken apart, to look at; nothing is decided by it, and nothing is shown while the data are invalid."""

    experiment_id: str
    by: ExperimentSliceBy
    label: str = Field(description="What must stand beside these figures wherever they are shown.")
    hidden_because: str | None = Field(description="Why there are no figures; None: there are.")
    since: AwareDatetime | None = Field(description="Begin of what was read; of very much, the newest is.")
    until: AwareDatetime | None
    confidence: float = Field(description="Of each interval by itself; that of the verdict.")
    slices: list[ExperimentSliceOut] = Field(description="Bands and steps in their order, scenes and clients with most units first.")
    left_out: int = Field(description="Scenes or clients with fewer units that are not listed.")


class ArmErrorsOut(Wire):
    """How the errors of one arm's units are spread."""

    variant: str
    units: int = Field(description="Units with an outcome.")
    errors: list[float] = Field(
        description="At each of `shares`, the mean error of a unit that so large a share of the units does not exceed, by the metric of "
        "the plan: metres, or share of misses. Empty where there are fewer units than the plan asks for a decision."
    )


class ExperimentErrorsOut(Wire):
    """Errors of units by arm, to look at; nothing is decided by them, and nothing is shown while the data are invalid."""

    experiment_id: str
    metric: Metric
    label: str = Field(description="What must stand beside these figures wherever they are shown.")
    hidden_because: str | None = Field(description="Why there are no figures; None: there are.")
    since: AwareDatetime | None = Field(description="Begin of what was read; of very much, the newest is.")
    until: AwareDatetime | None
    shares: list[float] = Field(description="Shares of units, from 0 to 1.")
    arms: list[ArmErrorsOut] = Field(description="The control first; without arms that were rolled back while others went on.")


class ExperimentChangeOut(Wire):
    """The state after a change."""

    experiment: ExperimentOut
    epoch: int
    audit_id: str

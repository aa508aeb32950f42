"""How versions are rolled out: the model of `configs/rollouts.yaml`."""

from itertools import pairwise
from typing import Annotated, Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from trajops.config_model import Config, Count, Seconds
from trajops.contracts.experiments import DAY_S, LEAST_ALPHA, Metric

Share = Annotated[float, Field(gt=0, le=1)]
ByHand = Literal["canary", "promoting"]


class Wait(Config):
    """What must have come together before the next step."""

    min_units: Count = Field(default=50, ge=20, description="Agents answered since the step began, with truth, in each arm.")
    min_s: Seconds = Field(default=600.0, ge=0, description="Seconds since the step began.")


class ShadowRule(Wait):
    """Before anybody is answered by the version, it predicts beside the champion's answers."""

    coverage: Share = Field(default=1.0, description="Share of the agents it predicts for.")
    min_units: Count = Field(default=100, ge=20, description="Agents that both versions have predicted, with truth.")


class CanaryStep(Wait):
    """One step of the canary."""

    coverage: Share = Field(description="Share of the agents that are enrolled; half of them are answered by the version.")


class BakeRule(Wait):
    """After the switch: the version answers everybody, and its predecessor is one pointer away."""

    min_s: Seconds = Field(default=3600.0, ge=0, description="Seconds after which the version stays.")
    watched: bool = Field(default=True, description="The predecessor predicts beside; where it is nearer to the truth, it comes back.")
    roll_back_on: tuple[str, ...] = Field(default=(), description="Critical alerts that bring the predecessor back; others only hold.")

    @field_validator("roll_back_on")
    @classmethod
    def _are_known(cls, value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        known: set[str] = (info.context or {}).get("alerts", set(value))
        if unknown := sorted(set(value) - known):
            raise ValueError(f"{', '.join(map(repr, unknown))}: no critical rule of alerts.yaml; there are {', '.join(sorted(known))}")
        return value


class RolloutPolicy(Config):
    """One way to roll a version out. Fixed for a rollout when it starts."""

    name: str = Field(min_length=1, max_length=64, pattern=r"^[a-z][a-z0-9_]*$")
    description: str = Field(default="", max_length=300)
    shadow: ShadowRule | None = Field(default_factory=ShadowRule, description="None: it begins with the canary.")
    canary: tuple[CanaryStep, ...] = Field(min_length=1, max_length=20)
    bake: BakeRule = Field(default_factory=BakeRule)
    metric: Metric = "ade_m"
    aim: Literal["better", "no_worse"] = Field(default="no_worse", description="What the version must show, in shadow and in the canary.")
    shown_in: tuple[Literal["shadow", "canary"], ...] = Field(
        default=("shadow", "canary"),
        min_length=1,
        description="Where that must be shown; in the other only harm, guardrails and data are looked at. In shadow it takes a fraction of "
        "the agents, because both versions predict for each.",
    )
    margin: float = Field(default=0.02, gt=0, le=0.5, description="Relative rise of the metric that still counts as no worse.")
    alpha: float = Field(default=0.05, ge=LEAST_ALPHA, le=0.2)
    horizon_s: Seconds = Field(
        default=7 * DAY_S,
        gt=0,
        le=90 * DAY_S,
        description="Shadow, and canary with the promotion, may each take so long, pauses included: then it ends, and the champion stays.",
    )
    told_after_s: Seconds = Field(
        default=DAY_S, gt=0, le=90 * DAY_S, description="A step that takes so much longer than its `min_s` is told: alert `rollout_waits`."
    )
    approval: tuple[ByHand, ...] = Field(default=("promoting",), description="What waits for a person: none of them, it goes unattended.")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if any(before.coverage >= after.coverage for before, after in pairwise(self.canary)):
            raise ValueError("each step of the canary covers more than the one before it")
        if len(set(self.approval)) < len(self.approval):
            raise ValueError("a stage stands twice in approval")
        if len(set(self.shown_in)) < len(self.shown_in):
            raise ValueError("a stage stands twice in shown_in")
        if self.shadow is None and "canary" not in self.shown_in:
            raise ValueError("without a shadow the version can show nothing in it; take canary into shown_in")
        if "canary" in self.approval and self.shadow is None:
            raise ValueError("without a shadow nothing comes before the canary that could wait for an approval; start it when it may run")
        return self


class RolloutRules(Config):
    """All of `configs/rollouts.yaml`."""

    default: str = Field(description="Name of the policy that a rollout follows where none is asked for.")
    policies: tuple[RolloutPolicy, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        names = [policy.name for policy in self.policies]
        if len(set(names)) < len(names):
            raise ValueError("two policies have the same name")
        if self.default not in names:
            raise ValueError(f"there is no policy {self.default!r}; there are {', '.join(names)}")
        for policy in self.policies:
            least_s = max(0.0 if policy.shadow is None else policy.shadow.min_s, sum(step.min_s for step in policy.canary))
            if least_s + policy.told_after_s >= policy.horizon_s:
                raise ValueError(
                    f"{policy.name}: shadow or canary take {least_s:g} s at least, and a step that waits is told {policy.told_after_s:g} s "
                    f"after its time; horizon_s, {policy.horizon_s:g}, must be more than both together"
                )
        return self

    def policy(self, name: str | None) -> RolloutPolicy | None:
        """The policy of that name, or the usual one; None where there is none."""
        return next((policy for policy in self.policies if policy.name == (name or self.default)), None)

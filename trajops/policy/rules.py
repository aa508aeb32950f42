"""Which alerts are answered, and how: the model of `configs/policy.yaml`."""

from typing import Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from trajops.alerts.lifecycle import Severity
from trajops.alerts.rules import WrittenMatcher
from trajops.config_model import Config, Count, Seconds
from trajops.policy.answers import Action


class AnswerRule(Config):
    """What is done about some alerts.

    The steps are taken in their order. One that has nothing to do, or that would not help, makes way for the next; a rollback that
    was done is the last.
    """

    name: str = Field(min_length=1, max_length=64, pattern=r"^[a-z][a-z0-9_]*$")
    alerts: tuple[str, ...] = Field(default=(), description="Names of rules in `configs/alerts.yaml`.")
    external: tuple[str, ...] = Field(default=(), description="Names of alerts that an Alertmanager posts to us.")
    match: tuple[WrittenMatcher, ...] = Field(
        default=(), description="Only alerts with such labels, as in routes of `configs/alerts.yaml`."
    )
    severity: Severity = Field(default=Severity.CRITICAL, description="Milder alerts are not answered.")
    held_s: Seconds = Field(default=0.0, ge=0, description="How long an alert must have been open.")
    do: tuple[Action, ...] = Field(min_length=1)
    mode: Literal["act", "propose"] = Field(default="act", description="`propose` waits for an operator's approval.")
    cooldown_s: Seconds = Field(
        default=1800.0, ge=0, description="So long after an answer there is no other one of this rule, about the same version."
    )

    @field_validator("alerts")
    @classmethod
    def _are_known(cls, value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        known: set[str] = (info.context or {}).get("alerts", set(value))
        if unknown := sorted(set(value) - known):
            raise ValueError(f"there is no rule {', '.join(map(repr, unknown))} in alerts.yaml; there are {', '.join(sorted(known))}")
        return value

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if not self.alerts and not self.external:
            raise ValueError("name alerts, external ones, or both")
        if len(set(self.do)) < len(self.do):
            raise ValueError("a step stands twice in do")
        return self


class RecentRule(Config):
    """Which recorded tracks an answer looks at: recent ones, and none from the time when all was well."""

    window_s: Seconds = Field(default=1800.0, gt=0, description="Received so long ago at most.")
    before_s: Seconds = Field(default=120.0, ge=0, description="And so long before the alert was opened at most.")
    min_agents: Count = Field(default=20, ge=10, description="With fewer agents that are seen for a whole window the step waits.")
    max_agents: Count = Field(default=1000, ge=10, description="Of more, about so many are taken.")


class RollbackRule(RecentRule):
    """A rollback is done if it would help: both models predict the recent tracks, and the previous champion is nearer to them."""


class RetrainRule(RecentRule):
    """How a challenger is made of recent tracks."""

    min_agents: Count = Field(default=60, ge=20, description="With fewer agents that are seen for a whole window the step waits.")
    max_agents: Count = Field(default=5000, ge=20, description="Of more, about so many are taken.")
    coverage: float = Field(default=0.2, ge=0, le=1, description="Share of agents enrolled in its canary; 0: it is only staged.")


class PolicyRules(Config):
    """All of `configs/policy.yaml`."""

    per_day: Count = Field(default=6, ge=0, description="Most answers begun in 24 hours, over all rules; 0: none ever.")
    patience_s: Seconds = Field(default=3600.0, gt=0, description="A step that has waited so long is given up.")
    rollback: RollbackRule = Field(default_factory=RollbackRule)
    retrain: RetrainRule = Field(default_factory=RetrainRule)
    answers: tuple[AnswerRule, ...] = ()

    @field_validator("answers")
    @classmethod
    def _names_are_unique(cls, value: tuple[AnswerRule, ...]) -> tuple[AnswerRule, ...]:
        names = [rule.name for rule in value]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"answers stand twice: {', '.join(twice)}")
        return value

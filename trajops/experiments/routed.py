"""An experiment as the routes carry it: which arm a unit is in, with no lookup and no lock."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple, Self

from trajops.deployments.model_ref import ModelRef
from trajops.errors import InvalidInput
from trajops.experiments.assignment import Range, arm_ranges, namespace_point, unit_interval

UnitKind = Literal["agent", "client", "scene"]
CONTROL, TREATMENT = "control", "treatment"
# Weights add up to one but for the rounding of floating point.
ROUNDING = 1e-9


class Arm(NamedTuple):
    """One arm: what it is called, who answers in it, and its share of those who are enrolled."""

    variant: str
    model: ModelRef
    weight: float


class Namespace(NamedTuple):
    """The part of a namespace whose units an experiment may enrol: experiments in disjoint parts share no unit."""

    name: str
    part: Range


class Holdout(NamedTuple):
    """Units that no experiment enrols, so that what all of them amount to can be measured."""

    share: float
    seed: str

    def holds(self, unit_id: str) -> bool:
        """Whether a unit is held out."""
        return unit_interval(self.seed, unit_id) < self.share


@dataclass(frozen=True, slots=True)
class RoutedExperiment:
    """Who is enrolled in one experiment, and in which arm.

    Attributes:
        experiment_id: of the experiment.
        arms: the control first.
        coverage: share of units that are enrolled; 0: it is paused, and everybody's arm is kept.
        seed: of the assignment hash; constant for the life of the experiment.
        unit: what is assigned.
        namespace: whose units only may be enrolled.
        overrides: units that somebody has put into an arm by hand; they are answered from there, as long as units are enrolled at all,
            and what they are answered so is in no figure.
        is_shadow: the treatments answer nobody; they predict beside the champion's answers to those who are enrolled.
    """

    experiment_id: str
    arms: tuple[Arm, ...]
    coverage: float
    seed: str
    unit: UnitKind = "agent"
    namespace: Namespace | None = None
    overrides: Mapping[str, str] = field(default_factory=dict)
    is_shadow: bool = False
    _ranges: tuple[Range, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not 0.0 <= self.coverage <= 1.0:
            raise InvalidInput(f"coverage must be between 0 and 1, not {self.coverage}")
        names = [arm.variant for arm in self.arms]
        if len(names) < 2 or len(set(names)) < len(names):
            raise InvalidInput(f"an experiment has two or more arms of different names, not {', '.join(names) or 'none'}")
        if any(not arm.weight > 0 for arm in self.arms) or abs(sum(arm.weight for arm in self.arms) - 1) > ROUNDING:
            raise InvalidInput(f"weights are above 0 and add up to 1, unlike {', '.join(f'{arm.weight:g}' for arm in self.arms)}")
        object.__setattr__(self, "_ranges", tuple(arm_ranges([arm.weight for arm in self.arms], self.coverage)))

    def arm_of(self, unit_id: str) -> Arm | None:
        """The arm of a unit; None for one that is not enrolled. Overrides are not asked."""
        if not self._may_enrol(unit_id):
            return None
        n = unit_interval(self.seed, unit_id)
        for owned, arm in zip(self._ranges, self.arms, strict=True):
            if owned.holds(n):
                return arm
        return None

    def _may_enrol(self, unit_id: str) -> bool:
        space = self.namespace
        return self.coverage > 0 and (space is None or space.part.holds(namespace_point(space.name, unit_id)))

    def by_hand(self, unit_id: str) -> Arm | None:
        """The arm that somebody has put a unit into; None also while nobody is enrolled: a pause leaves everybody to the champion."""
        return self.arm(self.overrides.get(unit_id, "")) if self.coverage > 0 else None

    def arm(self, variant: str) -> Arm | None:
        """The arm of that name."""
        return next((arm for arm in self.arms if arm.variant == variant), None)

    def is_enrolled(self, unit_id: str) -> bool:
        """Whether a unit takes part, whatever its arm: of a shadow, whose units have no arm, the first ones of the whole."""
        return self._may_enrol(unit_id) and unit_interval(self.seed, unit_id) < self.coverage

    def without_arm(self, variant: str) -> Self:
        """The same experiment with the control's version in one arm: nobody else is moved."""
        control = self.arms[0].model
        return replace(self, arms=tuple(arm._replace(model=control) if arm.variant == variant else arm for arm in self.arms))

    def with_coverage(self, coverage: float) -> Self:
        """The same experiment with another share of units enrolled; nobody who stays enrolled changes arms."""
        return replace(self, coverage=coverage)

    def to_json(self) -> dict[str, Any]:
        """Plain data for SQL."""
        return {
            "experiment_id": self.experiment_id,
            "arms": [[arm.variant, list(arm.model), arm.weight] for arm in self.arms],
            "coverage": self.coverage,
            "seed": self.seed,
            "unit": self.unit,
            "namespace": None if self.namespace is None else [self.namespace.name, *self.namespace.part],
            "overrides": dict(self.overrides),
            "is_shadow": self.is_shadow,
        }

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Self:
        """The experiment that `to_json` wrote."""
        namespace = row["namespace"]
        return cls(
            row["experiment_id"],
            tuple(Arm(variant, ModelRef(name, int(version)), weight) for variant, (name, version), weight in row["arms"]),
            row["coverage"],
            row["seed"],
            row["unit"],
            None if namespace is None else Namespace(namespace[0], Range(*namespace[1:])),
            row["overrides"],
            row["is_shadow"],
        )


def canary(experiment_id: str, control: ModelRef, treatment: ModelRef, coverage: float, seed: str) -> RoutedExperiment:
    """Two arms of equal weight, by agent."""
    return RoutedExperiment(experiment_id, (Arm(CONTROL, control, 0.5), Arm(TREATMENT, treatment, 0.5)), coverage, seed)

"""The immutable table by which a request finds its model: no lookup, no lock, one pointer to swap."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Self

from trajops.deployments.model_ref import ModelRef
from trajops.errors import InvalidInput
from trajops.experiments.routed import Arm, Holdout, RoutedExperiment, UnitKind, canary

_NO_COMPARISON: dict[str, Any] = {"challenger": None, "coverage": 0.0, "seed": ""}


class Assignment(NamedTuple):
    """Which model answers, in which role, and in which experiment.

    The variant is the name of an arm, or `champion` (not enrolled), `holdout` (never enrolled), `override` (put into an arm by hand),
    `direct` (a version was asked for).
    """

    model: ModelRef
    variant: str
    experiment_id: str | None = None


class Units(NamedTuple):
    """What of a request experiments may be assigned by."""

    scene_id: str
    agent_id: str
    client_id: str

    def of(self, kind: UnitKind) -> str:
        """The id of the unit of that kind."""
        if kind == "agent":
            return f"{self.scene_id}/{self.agent_id}"
        return self.client_id if kind == "client" else self.scene_id


@dataclass(frozen=True, slots=True)
class RouteTable:
    """Who gets which model in one routing epoch.

    Attributes:
        epoch: grows with each change; every process follows the newest.
        champion: answers everybody who is not enrolled.
        previous: the champion before this one, kept warm for an instant rollback.
        experiments: what is being compared; a unit takes part in the first that enrols it.
        holdout: who takes part in none.
        is_stopped: the kill switch: the champion answers everybody, whatever is being compared.
    """

    epoch: int
    champion: ModelRef | None = None
    previous: ModelRef | None = None
    experiments: tuple[RoutedExperiment, ...] = ()
    holdout: Holdout | None = None
    is_stopped: bool = False

    def __post_init__(self) -> None:
        ids = [one.experiment_id for one in self.experiments]
        if len(set(ids)) < len(ids):
            raise InvalidInput("an experiment is routed once")

    def assign(self, units: Units) -> Assignment | None:
        """Model and variant for a request; None when there is no champion yet.

        In this order: kill switch, override, holdout, namespace, experiment, champion. An experiment that is paused has no say in it.
        """
        champion = self.champion
        if champion is None:
            return None
        if not self.experiments or self.is_stopped:
            return Assignment(champion, "champion")
        is_held_out = False
        for experiment in self.experiments:
            by_hand = experiment.by_hand(units.of(experiment.unit)) if experiment.overrides else None
            if by_hand is not None:
                return Assignment(by_hand.model, "override", experiment.experiment_id)
        for experiment in self.experiments:
            if experiment.is_shadow:
                continue
            unit_id = units.of(experiment.unit)
            if self.holdout is not None and self.holdout.holds(unit_id):
                is_held_out = True
                continue
            arm = experiment.arm_of(unit_id)
            if arm is not None:
                return Assignment(arm.model, arm.variant, experiment.experiment_id)
        return Assignment(champion, "holdout" if is_held_out else "champion")

    def shadows(self, units: Units) -> list[tuple[RoutedExperiment, Arm]]:
        """The treatments that predict beside the answer to a request, each with its experiment."""
        return [(one, arm) for one, arm in self.shadowing() if one.is_enrolled(units.of(one.unit))]

    def shadowing(self) -> list[tuple[RoutedExperiment, Arm]]:
        """The treatments that predict beside anybody's answers in this epoch."""
        if self.is_stopped:
            return []
        shadows = [one for one in self.experiments if one.is_shadow and one.coverage]
        return [(one, arm) for one in shadows for arm in one.arms[1:] if arm.model != one.arms[0].model]

    @property
    def challenger(self) -> ModelRef | None:
        """Who is compared with the champion: the other arm of the first experiment."""
        first = self._first
        return None if first is None else first.arms[-1].model

    @property
    def coverage(self) -> float:
        """Share of units that are enrolled in the first experiment."""
        first = self._first
        return 0.0 if first is None else first.coverage

    @property
    def _first(self) -> RoutedExperiment | None:
        """The first experiment; a predecessor that only watches its successor challenges nobody."""
        return next((one for one in self.experiments if not (one.is_shadow and one.arms[-1].model == self.previous)), None)

    def experiment(self, experiment_id: str) -> RoutedExperiment | None:
        """The routed experiment of that id."""
        return next((one for one in self.experiments if one.experiment_id == experiment_id), None)

    def enrols(self, experiment_id: str) -> bool:
        """Whether units of an experiment are enrolled in this epoch: neither it is paused, nor all are stopped."""
        found = self.experiment(experiment_id)
        return found is not None and found.coverage > 0 and not self.is_stopped

    def drawn(self) -> tuple[ModelRef, ...]:
        """The versions that a request may draw now or when an experiment goes on: the champion, and every arm."""
        arms = [arm.model for experiment in self.experiments for arm in experiment.arms]
        return tuple(dict.fromkeys(ref for ref in (self.champion, *arms) if ref is not None))

    def answering(self) -> tuple[ModelRef, ...]:
        """The versions that requests draw in this epoch: of the experiments, those that go on."""
        going_on = () if self.is_stopped else tuple(one for one in self.experiments if one.coverage)
        return replace(self, experiments=going_on).drawn()

    def models(self) -> tuple[ModelRef, ...]:
        """The versions that must be warm: what may be drawn, and the previous champion."""
        return tuple(dict.fromkeys(ref for ref in (*self.drawn(), self.previous) if ref is not None))

    def alias(self, name: str) -> ModelRef | None:
        """The version behind `champion`, `challenger` or `previous_champion`."""
        return {"champion": self.champion, "challenger": self.challenger, "previous_champion": self.previous}.get(name)

    def next(self, **changes: Any) -> Self:
        """The table of the following epoch."""
        return replace(self, epoch=self.epoch + 1, **changes)

    def to_json(self) -> dict[str, Any]:
        """Plain data for SQL."""
        return {
            "epoch": self.epoch,
            "champion": self.champion and list(self.champion),
            "previous": self.previous and list(self.previous),
            "experiments": [one.to_json() for one in self.experiments],
            "holdout": self.holdout and list(self.holdout),
            "is_stopped": self.is_stopped,
            # For processes of the release before while they are replaced: they know one comparison, and answer as if there was none.
            **_NO_COMPARISON,
        }

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Self:
        """The table that `to_json` wrote, or the release before it, which knew one comparison and gave it no id."""
        champion, previous, challenger = (
            ModelRef(row[key][0], int(row[key][1])) if row.get(key) else None for key in ("champion", "previous", "challenger")
        )
        experiments = tuple(RoutedExperiment.from_json(one) for one in row.get("experiments", ()))
        if challenger is not None and champion is not None:
            experiments = (canary(row["seed"], champion, challenger, row["coverage"], row["seed"]),)
        holdout = row.get("holdout")
        return cls(row["epoch"], champion, previous, experiments, holdout and Holdout(*holdout), row.get("is_stopped", False))

"""Experiments and their verdicts."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, RowMapping, func, insert, select, update

from data.sql.tables import experiment_verdicts, experiments
from trajops.config_model import MOST
from trajops.contracts.experiments import LEAST_ALPHA, LEAST_WEIGHT, ExperimentOut, VerdictOut
from trajops.errors import NotFound, StaleVersion
from trajops.experiments.lifecycle import ROUTED, ExperimentState

_AS_JSON = frozenset({"plan", "verdict"})
_COUNTS = frozenset({"min_units", "min_harmed_units", "horizon_units"})


class SqlExperiments:
    """Implements `trajops.stores.ExperimentStore`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def get(self, experiment_id: str) -> ExperimentOut:
        """One experiment; NotFound if there is none with that id."""
        row = self._connection.execute(select(experiments).where(experiments.c.experiment_id == experiment_id)).mappings().first()
        if row is None:
            raise NotFound(f"there is no experiment {experiment_id!r}; list them with GET /v1/experiments")
        return _experiment(row)

    def newest(self, *, states: Collection[ExperimentState] | None = None, limit: int = 100) -> list[ExperimentOut]:
        """Newest first; only of some states, where they are given."""
        found = select(experiments).order_by(experiments.c.created_at.desc(), experiments.c.experiment_id).limit(limit)
        if states is not None:
            found = found.where(experiments.c.state.in_([state.value for state in states]))
        return [_experiment(row) for row in self._connection.execute(found).mappings()]

    def add(self, experiment: ExperimentOut) -> None:
        """Write a new experiment."""
        self._connection.execute(insert(experiments), _row(experiment))

    def save(self, experiment: ExperimentOut, expected_version: int) -> None:
        """Write all of a known experiment, if its version is still the expected one; NotFound and StaleVersion otherwise."""
        is_expected = (experiments.c.experiment_id == experiment.experiment_id, experiments.c.version == expected_version)
        if not self._connection.execute(update(experiments).where(*is_expected).values(**_row(experiment))).rowcount:
            present = self.get(experiment.experiment_id)
            raise StaleVersion(
                f"the experiment {experiment.experiment_id} has version {present.version}, not {expected_version}: somebody changed it; "
                "read it again and repeat",
                present_version=present.version,
            )

    def note(self, experiment_id: str, verdict: VerdictOut, *, keep: bool) -> bool:
        """Write the newest verdict of an experiment whose units are routed, and whether it is one."""
        is_routed = (experiments.c.experiment_id == experiment_id, experiments.c.state.in_([state.value for state in ROUTED]))
        row = verdict.model_dump(mode="json")
        if not self._connection.execute(update(experiments).where(*is_routed).values(verdict=row)).rowcount:
            return False
        if keep:
            self._connection.execute(insert(experiment_verdicts), {"experiment_id": experiment_id, "at": verdict.at, "verdict": row})
        return True

    def verdicts(self, experiment_id: str) -> list[VerdictOut]:
        """Kept verdicts, oldest first."""
        table = experiment_verdicts.c
        found = select(table.verdict).where(table.experiment_id == experiment_id).order_by(table.at)
        return [VerdictOut.model_validate(row) for row in self._connection.execute(found).scalars()]

    def last_kept_at(self, experiment_id: str) -> datetime | None:
        """When the newest kept verdict was made."""
        table = experiment_verdicts.c
        found: datetime | None = self._connection.execute(
            select(func.max(table.at)).where(table.experiment_id == experiment_id)
        ).scalar_one()
        return found


def _row(experiment: ExperimentOut) -> dict[str, Any]:
    row = {name: value for name, value in experiment if name not in _AS_JSON}
    as_json = experiment.model_dump(mode="json", include=set(_AS_JSON))
    return {**row, **as_json, "state": experiment.state.value, "name": experiment.plan.name}


def _experiment(row: RowMapping) -> ExperimentOut:
    return ExperimentOut.model_validate({name: value for name, value in row.items() if name != "name"} | {"plan": _within(row["plan"])})


def _within(plan: dict[str, Any]) -> dict[str, Any]:
    """A plan of the release before, which took any number, within the bounds of today: it must not keep the others from being read."""
    stop = {name: min(value, MOST) if name in _COUNTS and value is not None else value for name, value in plan["stop"].items()}
    bounded = {"alpha": max(plan["alpha"], LEAST_ALPHA), "tuned_units": min(plan["tuned_units"], MOST), "stop": stop}
    return plan | bounded | {"arms": _arms_within(plan["arms"])}


def _arms_within(arms: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Arms of at least the smallest weight; what some lack the largest one gives."""
    raised = [max(arm["weight"], LEAST_WEIGHT) for arm in arms]
    raised[raised.index(max(raised))] -= sum(raised) - sum(arm["weight"] for arm in arms)
    return [arm | {"weight": weight} for arm, weight in zip(arms, raised, strict=True)]

"""Training runs: what there is to compare, and the way from a run to a version."""

import hashlib
import uuid
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from trajops.clock import SystemClock, now
from trajops.contracts.runs import RegistrationOut, RunCalibrationOut, RunDetailOut, RunOut, RunPartOut, RunsOut, RunStepOut
from trajops.deployments.model_ref import ModelRef
from trajops.errors import Conflict, NotFound
from trajops.performance.rules import BANDS
from trajops.ports import Clock, ModelRegistry
from trajops.records import ModelVersion
from trajops.services.once import Asked, once
from trajops.stores import UnitOfWork, UnitOfWorkFactory
from trajops.training_runs import CALIBRATION, COMMIT_TAG, FINGERPRINT_TAG, SCENE, SPEED, STEP, Run, RunQuery, TrainingRuns, over_all, parts

JOB = "reconcile_aliases"
# Whose request a version was registered by: the same request, sent again, finds what it made.
REQUEST_TAG = "trajops.request"
PACES = tuple(band.band for band in BANDS)


@dataclass(frozen=True)
class _Known:
    """Versions of our model: in the registry by run, and as the control state has them."""

    in_registry: Mapping[str, list[tuple[int, Mapping[str, str]]]] = field(default_factory=dict)
    measured: Mapping[str, ModelVersion] = field(default_factory=dict)


class Runs:
    """Training runs of one registry, beside the versions of one model.

    Args:
        runs: where they are kept.
        registry: where versions are.
        unit_of_work: opens transactions of the control state.
        model_name: the registered model.
        url: of the registry, for links.
        clock: stamps changes.
    """

    def __init__(
        self,
        runs: TrainingRuns,
        registry: ModelRegistry,
        unit_of_work: UnitOfWorkFactory,
        *,
        model_name: str = "trajectory",
        url: str = "",
        clock: Clock | None = None,
    ) -> None:
        self._runs = runs
        self._registry = registry
        self._unit_of_work = unit_of_work
        self._model_name = model_name
        self._url = url
        self._clock: Clock = clock or SystemClock()

    def newest(self, query: RunQuery) -> RunsOut:
        """Runs, newest first.

        Raises:
            InvalidInput: if a filter or the token cannot be used.
            RegistryUnavailable: if the registry does not answer.
        """
        page = self._runs.search(query)
        known = self._known()
        return RunsOut(model_name=self._model_name, runs=[self._out(run, known) for run in page.runs], next_page_token=page.next_page_token)

    def one(self, run_id: str) -> RunDetailOut:
        """One run with its curves. An adopted version was measured by the workers, so its figures stand for those of its run.

        Raises:
            NotFound: if there is no such run.
            RegistryUnavailable: if the registry does not answer.
        """
        run = self._runs.get(run_id)
        known = self._known()
        version = known.measured.get(run_id)
        metrics = {**(version.metrics if version is not None else {}), **run.metrics}
        dt_s = _number(run.params.get("window.dt_s"))
        return RunDetailOut(
            run=self._out(run, known),
            steps=[_step(int(step), figures, dt_s) for step, figures in sorted(parts(metrics, STEP).items()) if step.isdigit()],
            calibration=_calibration(metrics),
            scenes=_parts(metrics, SCENE),
            speeds=sorted(_parts(metrics, SPEED), key=_pace),
            refusal=self._refusal(run, known) or (None if self._runs.model_source(run) else _no_model(run)),
        )

    def register(self, run_id: str, *, actor: str, reason: str, idempotency_key: str | None = None) -> RegistrationOut:
        """Register a run's model as the next version; the workers adopt it.

        The registry comes first and the audit second, because two stores cannot commit together. The version carries a mark of the
        request, so that the same request, sent again after a failure in between, finds it and goes on.

        Raises:
            NotFound: if there is no such run.
            Conflict: if it is not over, has failed, has no model, or has a version already.
            RegistryUnavailable: if the registry does not answer.
        """
        mark = hashlib.sha256(f"{actor}\n{idempotency_key or uuid.uuid4().hex}".encode()).hexdigest()
        made: list[int] = []

        def prepare() -> None:
            made.append(self._registered(self._runs.get(run_id), mark))

        def change(uow: UnitOfWork) -> RegistrationOut:
            at, ref = now(self._clock), ModelRef(self._model_name, made[0])
            with suppress(NotFound):
                uow.jobs.request(JOB, at)
            entry = uow.audit.append(
                at=at,
                actor=actor,
                action="model.registered",
                subject=str(ref),
                reason=reason,
                before={},
                after={"run_id": run_id, "job": JOB},
            )
            return RegistrationOut(
                model_name=ref.name, model_version=ref.version, run_id=run_id, at=at, by=actor, audit_id=entry.audit_id, job=JOB
            )

        asked = Asked(actor, "register_run", {"run_id": run_id, "reason": reason}, idempotency_key)
        return once(self._unit_of_work, self._clock, asked, RegistrationOut, change, prepare=prepare)

    def _registered(self, run: Run, mark: str) -> int:
        """The number of the version that this request makes, or has made."""
        known = self._known()
        own = next((number for number, tags in known.in_registry.get(run.run_id, []) if tags.get(REQUEST_TAG) == mark), None)
        if own is not None:
            return own
        source = self._runs.model_source(run)
        refusal = self._refusal(run, known) or (None if source else _no_model(run))
        if refusal is not None or source is None:
            raise Conflict(f"run {run.run_id} is not registered: {refusal}")
        number = self._runs.register(self._model_name, run, source, {REQUEST_TAG: mark})
        first = min((one for one, _ in self._known().in_registry.get(run.run_id, [])), default=number)
        if first != number:
            self._registry.delete_version(ModelRef(self._model_name, number))
            raise Conflict(f"run {run.run_id} is not registered: somebody else did so meanwhile, as v{first}")
        return number

    def _known(self) -> _Known:
        in_registry: dict[str, list[tuple[int, Mapping[str, str]]]] = {}
        for row in self._registry.versions(self._model_name):
            if row["run_id"]:
                in_registry.setdefault(row["run_id"], []).append((int(row["version"]), row["tags"]))
        with self._unit_of_work(read_only=True) as uow:
            versions = uow.model_versions.all(self._model_name)
        return _Known(in_registry, {version.run_id: version for version in versions if version.run_id})

    def _out(self, run: Run, known: _Known) -> RunOut:
        version = known.measured.get(run.run_id)
        measured: Mapping[str, Any] = version.metrics if version is not None else {}
        adopted = version.params if version is not None else {}
        fingerprint = run.params.get("data_fingerprint") or run.tags.get(FINGERPRINT_TAG) or adopted.get("data_fingerprint")
        return RunOut(
            run_id=run.run_id,
            name=run.name,
            family=run.params.get("family") or (version.family if version is not None else None),
            dataset=run.params.get("dataset"),
            data_fingerprint=fingerprint or None,
            status=run.status,
            started_at=run.started_at,
            duration_s=_lasted_s(run.started_at, run.ended_at),
            commit=run.tags.get(COMMIT_TAG) or run.params.get("git_commit"),
            params=dict(run.params),
            metrics={**over_all(measured), **over_all(run.metrics)},
            model_versions=sorted(number for number, _ in known.in_registry.get(run.run_id, [])),
            run_url=f"{self._url}/#/experiments/{run.experiment_id}/runs/{run.run_id}",
        )

    def _refusal(self, run: Run, known: _Known) -> str | None:
        """Why a run is not registered, apart from whether it has a model."""
        versions = sorted(number for number, _ in known.in_registry.get(run.run_id, []))
        if versions:
            return f"it is v{versions[0]} already"
        if run.status in {"running", "scheduled"}:
            return "it is not over yet"
        if run.status in {"failed", "killed"}:
            return f"it {'has failed' if run.status == 'failed' else 'was stopped'}; train again"
        return None


def _no_model(run: Run) -> str:
    return f"it logged no MLflow model; log one into run {run.run_id}, or train with `python -m workers.training`"


def _lasted_s(began: datetime, ended: datetime | None) -> float | None:
    return None if ended is None else max(0.0, (ended - began).total_seconds())


def _number(text: str | None) -> float | None:
    try:
        return None if text is None else float(text)
    except ValueError:
        return None


def _step(step: int, figures: Mapping[str, float], dt_s: float | None) -> RunStepOut:
    ahead_s = None if dt_s is None else round(step * dt_s, 6)
    return RunStepOut(
        step=step, ahead_s=ahead_s, **{name: figures[name] for name in ("ade_m", "nll", "coverage_90", "radius_m") if name in figures}
    )


def _calibration(metrics: Mapping[str, float]) -> list[RunCalibrationOut]:
    shares = [(_number(level), figures.get("observed")) for level, figures in parts(metrics, CALIBRATION).items()]
    known = sorted((level, seen) for level, seen in shares if level is not None and seen is not None)
    return [RunCalibrationOut(nominal=level, observed=seen) for level, seen in known]


def _parts(metrics: Mapping[str, float], kind: str) -> list[RunPartOut]:
    return [
        RunPartOut(
            name=name,
            windows=round(figures["windows"]) if "windows" in figures else None,
            **{figure: figures[figure] for figure in ("ade_m", "fde_m", "coverage_90") if figure in figures},
        )
        for name, figures in sorted(parts(metrics, kind).items())
    ]


def _pace(part: RunPartOut) -> int:
    """The place of a speed band among the usual ones; after them, others stay as they were."""
    return PACES.index(part.name) if part.name in PACES else len(PACES)

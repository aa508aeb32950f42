"""A training run from scenes to registered versions: cut, fit, evaluate, log, register, mirror in SQL."""

import logging
import platform
import shutil
import subprocess
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from data.models.package import CARD_FILE, LoggedVersion, Package, RunRecord
from data.models.registry import MlflowRegistry
from data.sql.engine import Database
from trajops import configs
from trajops.contracts.validations import ValidationOut
from trajops.deployments.model_ref import ModelRef
from trajops.errors import Conflict, InvalidInput, NotFound
from trajops.performance.rules import PerformanceRules, SpeedBand
from trajops.ports import Compute
from trajops.records import ModelVersion
from trajops.selection.card import card
from trajops.services.validations import failures
from trajops.services.validations import record as record_validation
from trajops.settings import Settings
from trajops.stores import UnitOfWork
from trajops.trajectories import DEFAULT_WINDOW, Scene
from workers.compute import compute_from
from workers.training.candidates import FAMILIES, Candidate, Fitted, fit_candidate
from workers.training.evaluate import LEVELS, Evaluation
from workers.training.partitions import PARTITIONS, Cutting, Split, split
from workers.training.validate import HeldOut, assess_fitted, champion_of, ranked, selection_rules, tag_of, validation_of

ACTOR = "workers.training"
logger = logging.getLogger(__name__)


class RunStore(Protocol):
    """Where runs and models are logged."""

    def publish(self, model_name: str, record: RunRecord, package: Package) -> LoggedVersion:
        """Log a run with its model, and register the model as the next version."""
        ...


@dataclass(frozen=True)
class TrainedVersion:
    """A registered version with its validation figures."""

    ref: ModelRef
    family: str
    run_id: str | None
    digest: str
    metrics: Mapping[str, float]
    validation: ValidationOut | None = None


def train(
    settings: Settings,
    scenes: Sequence[Scene],
    *,
    families: Sequence[str] = ("gaussian_mlp",),
    database: Database,
    compute: Compute | None = None,
    store: RunStore | None = None,
    dataset: str = "tracks",
    cutting: Cutting | None = None,
    seed: int = 0,
    told: Mapping[str, str] | None = None,
    version_tags: Mapping[str, str] | None = None,
    registered: Collection[str] = (),
    progress: Callable[[str], None] = logger.info,
) -> list[TrainedVersion]:
    """Fit one candidate of each family, validate and rank them, and register them in the order given.

    Each version is written together with its validation, so that it may be staged as soon as it is known, or is refused with the reason.

    Args:
        settings: name the registry, the registered model, and where to compute.
        scenes: recorded tracks.
        families: keys of `candidates.FAMILIES`.
        database: of the control state; gets one row a version.
        compute: where partitions and candidates are computed; None: where the settings say.
        store: where runs are logged; None: the MLflow server of the settings.
        dataset: name of the data in MLflow.
        cutting: how tracks become windows.
        seed: of every random choice.
        told: further parameters of the run, for example where the tracks come from.
        version_tags: of each run and its version in the registry.
        registered: families that were registered before, by a run on the same data that broke off: ranked with the others only.
        progress: told each step in one line.

    Raises:
        InvalidInput: if there are too few windows, or no family.
        NotFound: if there is no such family.
        RegistryUnavailable: if MLflow does not answer.
    """
    if not families:
        raise InvalidInput(f"name at least one model family: {', '.join(FAMILIES)}")
    rules = selection_rules(settings)
    if store is None:
        _check_registry(settings)
    with ThreadPoolExecutor(1, thread_name_prefix="mlflow-import") as pool:
        # MLflow takes seconds to import; that time is shared with the fitting.
        opening = pool.submit(_open_store, settings) if store is None else None
        data, fitted = _compute(settings, scenes, families, compute, cutting, seed, progress)
        store = opening.result() if opening is not None else store
    assert store is not None
    common = {**_common_params(data, scenes, cutting or Cutting(), seed, dataset), **(told or {})}
    commit = git_commit()
    champion = champion_of(settings, database.unit_of_work)
    assessed = [assess_fitted(result, data.validation, rules.battery, champion) for result in fitted]
    ranking = ranked(fitted, assessed, rules)
    for one in ranking if len(ranking) > 1 else ():
        progress(f"ranked {one.family} {'out' if one.rank is None else one.rank}: {one.sentence}")
    versions = []
    for result, battery in zip(fitted, assessed, strict=True):
        if result.package.family in registered:
            continue
        # Its number is given by the registry; the run's copy of the card does without.
        ref = ModelRef(settings.model_name, 0)
        drafted = validation_of(ref, battery, HeldOut(dataset, data), cause="training", by=ACTOR, ranking=ranking)
        record = _with_card(_record(result, common, data, dataset, commit), ref, result, drafted)
        record = replace(record, version_tags=dict(version_tags or {}))
        logged = store.publish(settings.model_name, record, result.package)
        validation = drafted.model_copy(update={"model_version": logged.ref.version})
        version = TrainedVersion(logged.ref, result.package.family, logged.run_id, logged.digest, record.metrics, validation)
        mirror(database, version, record.params)
        metrics = record.metrics
        progress(
            f"registered {logged.ref} ({version.family}): ADE {metrics['val_ade_m']:.2f} m, FDE {metrics['val_fde_m']:.2f} m, "
            f"90 % ellipse holds {metrics['val_coverage_90']:.0%}, {metrics['val_latency_ms'] * 1e3:.0f} µs"
        )
        progress(f"validated {logged.ref}: {validation.sentence if validation.is_passed else failures(validation)}")
        versions.append(version)
    return versions


def mirror(database: Database, version: TrainedVersion, params: Mapping[str, str], *, replaces: bool = True) -> None:
    """Write the version's row into the control state, with its validation and its card, so that nobody waits for MLflow to show it.

    Raises:
        Conflict: if there is a row already and it is not to be replaced; it stays as it is.
    """
    row = ModelVersion(
        model_name=version.ref.name,
        model_version=version.ref.version,
        family=version.family,
        run_id=version.run_id,
        metrics=dict(version.metrics),
        params=dict(params),
        digest=version.digest,
        created_at=datetime.now(UTC),
    )
    with database.unit_of_work() as unit_of_work:
        if not replaces:
            check_unknown(unit_of_work, version.ref)
        unit_of_work.model_versions.put(row)
        if version.validation is not None:
            record_validation(unit_of_work, version.validation, card(row, version.validation, DEFAULT_WINDOW))


def check_unknown(unit_of_work: UnitOfWork, ref: ModelRef) -> None:
    """Raise Conflict if a version has a row in the control state, were it deleted or not."""
    if any(version.ref == ref for version in unit_of_work.model_versions.deleted(ref.name)):
        raise Conflict(f"{ref} was deleted, which holds; register it in MLflow anew to have it back under another number")
    try:
        known = unit_of_work.model_versions.get(ref)
    except NotFound:
        return
    origin = "adopted" if known.params.get("origin") == "adopted" else "trained here"
    raise Conflict(f"{ref} is already known: it was {origin} on {known.created_at:%Y-%m-%d} ({known.family}); nothing was changed")


def git_commit(folder: Path = Path(__file__).parent) -> str | None:
    """Commit of the code that trains, with `-dirty` where it has changes; None outside of a repository."""
    git = shutil.which("git")
    if git is None:
        return None
    command = [git, "-C", str(folder), "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.strip() or None


def _compute(
    settings: Settings,
    scenes: Sequence[Scene],
    families: Sequence[str],
    compute: Compute | None,
    cutting: Cutting | None,
    seed: int,
    progress: Callable[[str], None],
) -> tuple[Split, list[Fitted]]:
    """Everything that is computed, wherever that is."""
    if compute is None:
        with compute_from(settings) as chosen:
            return _compute(settings, scenes, families, chosen, cutting, seed, progress)
    data = split(scenes, compute, cutting)
    progress(
        f"cut {len(data.fit)} windows to fit on, {len(data.calibration)} to calibrate on and {len(data.validation)} to validate on "
        f"from {sum(len(scene.tracks) for scene in scenes)} tracks"
    )
    bands = speed_bands(settings)
    candidates = [Candidate(family, data, seed, settings.miss_threshold_m, bands) for family in families]
    fitted = compute.map(fit_candidate, candidates)
    for result in fitted:
        progress(f"fitted {result.package.family} in {result.fit_s:.1f} s")
    return data, fitted


def _check_registry(settings: Settings) -> None:
    """Ask the registry one cheap question before minutes are spent."""
    with closing(MlflowRegistry(settings.registry_url)) as registry:
        registry.aliases(settings.model_name)


def speed_bands(settings: Settings) -> tuple[SpeedBand, ...]:
    """The speed bands that live figures are taken apart by.

    Raises:
        InvalidInput: if `performance.yaml` has a mistake; the sentence names file and line.
    """
    return configs.load(settings.configs_dir / "performance.yaml", PerformanceRules).speed_bands


def _open_store(settings: Settings) -> RunStore:
    from data.models.mlflow_store import MlflowStore  # noqa: PLC0415 - imports MLflow

    return MlflowStore(settings.registry_url)


def _common_params(data: Split, scenes: Sequence[Scene], cutting: Cutting, seed: int, dataset: str) -> dict[str, str]:
    return {
        "dataset": dataset,
        "data_fingerprint": data.fingerprint,
        "scenes": ", ".join(scene.scene_id for scene in scenes)[:500],
        "windows.fit": str(len(data.fit)),
        "windows.calibration": str(len(data.calibration)),
        "windows.validation": str(len(data.validation)),
        "agents.validation": str(len(set(data.validation.agent_ids))),
        "window.t_obs": str(cutting.window.t_obs),
        "window.t_pred": str(cutting.window.t_pred),
        "window.dt_s": str(cutting.window.dt_s),
        "stride": str(cutting.stride),
        "max_gap_s": str(cutting.max_gap_s),
        "max_speed_mps": str(cutting.max_speed_mps),
        "partitions": str(PARTITIONS * len(scenes)),
        "seed": str(seed),
        "python": platform.python_version(),
    }


def _record(result: Fitted, common: Mapping[str, str], data: Split, dataset: str, commit: str | None) -> RunRecord:
    family = result.package.family
    params = {**common, "family": family, **result.params, **({"git_commit": commit} if commit else {})}
    return RunRecord(
        name=family,
        params=params,
        metrics={**result.evaluation.metrics, "fit_s": result.fit_s},
        tags={"mlflow.source.git.commit": commit} if commit else {},
        dataset=dataset,
        fingerprint=data.fingerprint,
        artifacts=_figures(family, result.evaluation, result.package.window.dt_s),
    )


def _with_card(record: RunRecord, ref: ModelRef, result: Fitted, drafted: ValidationOut) -> RunRecord:
    """The run with the card among its files, and the verdict among its tags."""
    row = ModelVersion(ref.name, ref.version, record.name, None, dict(record.metrics), dict(record.params), "", drafted.at)
    text = card(row, drafted, result.package.window, is_numbered=False)
    return replace(record, artifacts={**record.artifacts, CARD_FILE: text}, tags={**record.tags, **tag_of(drafted)})


def _figures(family: str, evaluation: Evaluation, dt_s: float) -> dict[str, str]:
    """The run's figures: their data as JSON, and one page that draws them."""
    from workers.training import plots  # noqa: PLC0415 - plotly is drawn from at the end only

    figures = {
        "error_by_step": plots.error_by_step({"straight on": evaluation.baseline_error_m, family: evaluation.step_error_m}, dt_s),
        "calibration": plots.calibration_curve(LEVELS, evaluation.observed_share),
        "sample_forecasts": plots.sample_forecasts(evaluation.samples),
    }
    files = {f"plots/{name}.json": figure.to_json() for name, figure in figures.items()}
    return {**files, "plots/report.html": plots.report(f"Validation of {family}", list(figures.values()))}

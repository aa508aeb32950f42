"""Bring your own model: measure a version that somebody registered in MLflow, calibrate it where it needs that, and list it."""

import json
import logging
from collections.abc import Callable, Sequence
from contextlib import closing
from datetime import UTC, datetime

import numpy as np

from data.models.cache import DIGEST_TAG, find, folder_digest
from data.models.loader import RESIDUAL_TAG, ModelLoader
from data.models.package import FAMILY_TAG, GOLDEN_TAG
from data.models.registry import MlflowRegistry
from data.sql.engine import Database
from trajops.deployments.model_ref import ModelRef
from trajops.errors import NotFound
from trajops.forecasters import golden
from trajops.forecasters.calibration import conformal_factors, residual_covariance
from trajops.forecasters.checks import check_forecaster
from trajops.ports import Compute, Forecaster
from trajops.selection.subject import Subject
from trajops.services.validations import failures
from trajops.settings import Settings
from trajops.trajectories import DEFAULT_WINDOW, FloatArray, Forecast, Scene
from trajops.windows import Windows
from workers.compute import Inline
from workers.training.evaluate import evaluate
from workers.training.partitions import Cutting, split
from workers.training.run import ACTOR, TrainedVersion, check_unknown, mirror, speed_bands
from workers.training.validate import HeldOut, assess, champion_of, selection_rules, tag_of, validation_of

logger = logging.getLogger(__name__)


def adopt(
    settings: Settings,
    version: int,
    scenes: Sequence[Scene],
    *,
    database: Database,
    registry: MlflowRegistry | None = None,
    compute: Compute | None = None,
    cutting: Cutting | None = None,
    dataset: str = "tracks",
    progress: Callable[[str], None] = logger.info,
) -> TrainedVersion:
    """Make a foreign version of the registered model ready to be deployed.

    It is loaded, held against the tensor signature, measured on the validation windows, validated, and written into the control state. A
    model without covariances gets the second moment of its errors on the calibration windows, stretched so that its 90 %
    ellipse holds; that is kept as a tag of the version, and the model itself stays as it is.

    Args:
        settings: name the registry, the registered model, and whether pickled models are allowed.
        version: of that registered model.
        scenes: recorded tracks to measure it on.
        database: of the control state.
        registry: None: the MLflow server of the settings.
        compute: where the windows are cut.
        cutting: how tracks become windows.
        dataset: name of the tracks.
        progress: told each step in one line.

    Raises:
        Conflict: if the version is known already, because it was trained here or adopted before; nothing is changed then.
        NotFound: if there is no such version.
        SignatureMismatch: if the model does not honour the tensor signature; the sentence says what was found and what is wanted.
        UnsafeModel: if it is a pyfunc and `allow_pickled_models` is off.
    """
    if registry is None:
        with closing(MlflowRegistry(settings.registry_url)) as opened:
            return adopt(
                settings,
                version,
                scenes,
                database=database,
                registry=opened,
                compute=compute,
                cutting=cutting,
                dataset=dataset,
                progress=progress,
            )
    ref = ModelRef(settings.model_name, version)
    with database.unit_of_work(read_only=True) as unit_of_work:
        check_unknown(unit_of_work, ref)
    rules = selection_rules(settings)
    loader = ModelLoader(
        registry,
        settings.models_dir,
        allow_pickled=settings.allow_pickled_models,
        on_unsafe=lambda ref, reason: audit_unsafe(database, ref, reason),
    )
    data = split(scenes, compute or Inline(), cutting)
    stand_in_m2 = np.broadcast_to(np.eye(2), (DEFAULT_WINDOW.t_pred, 2, 2))
    forecaster = loader.open(ref, stand_in_m2=stand_in_m2)
    residual_m2 = measured_residual_m2(forecaster, data.calibration, stand_in_m2)
    cached = find(settings.models_dir, ref)
    if cached is None:
        raise NotFound(f"{ref} vanished from {settings.models_dir} while it was adopted; try again")
    digest = folder_digest(cached.files)
    tags = {FAMILY_TAG: forecaster.family, DIGEST_TAG: digest}
    if residual_m2 is not None:
        tags[RESIDUAL_TAG] = json.dumps(np.round(residual_m2, 6).tolist())
        progress(f"{ref} has no covariance of its own; measured one on {len(data.calibration)} windows")
    registry.set_tags(ref, tags)
    ready = loader.load(ref)
    check_forecaster(ready, is_turning_free=False)
    golden_answers = golden.record(ready)
    registry.set_tags(ref, {GOLDEN_TAG: golden_answers})
    evaluation = evaluate(ready, data.validation, miss_threshold_m=settings.miss_threshold_m, bands=speed_bands(settings))
    champion = champion_of(settings, database.unit_of_work)
    battery = assess(Subject(ready, data.validation, golden_answers, champion), rules.battery)
    validation = validation_of(ref, battery, HeldOut(dataset, data), cause="adoption", by=ACTOR)
    registry.set_tags(ref, tag_of(validation))
    adopted = TrainedVersion(ref, ready.family, cached.info.run_id, digest, evaluation.metrics, validation)
    params = {"origin": "adopted", "data_fingerprint": data.fingerprint, "source": cached.info.source}
    params["covariance"] = "measured" if residual_m2 is not None else "its own"
    mirror(database, adopted, params, replaces=False)
    said = validation.sentence if validation.is_passed else failures(validation)
    progress(f"adopted {ref} ({ready.family}): ADE {evaluation.metrics['val_ade_m']:.2f} m; {said}")
    return adopted


def measured_residual_m2(forecaster: Forecaster, calibration: Windows, stand_in_m2: FloatArray) -> FloatArray | None:
    """Covariance by step, (t_pred, 2, 2), of a model that has none of its own; None for a model that has.

    A model that answers exactly the stand-in has none.
    """
    forecast = forecaster.forecast(calibration.history_m)
    if not np.array_equal(forecast.covariance_m2, np.broadcast_to(stand_in_m2, forecast.covariance_m2.shape)):
        return None
    residual_m2 = residual_covariance(forecast.best_m, calibration.truth_m)
    rough = Forecast(forecast.mean_m, np.broadcast_to(residual_m2, forecast.covariance_m2.shape), forecast.weights)
    stretched_m2: FloatArray = residual_m2 * conformal_factors(rough, calibration.truth_m)[:, None, None]
    return stretched_m2


def audit_unsafe(database: Database, ref: ModelRef, reason: str, actor: str = ACTOR) -> None:
    """Write down that code of a model was run, before it runs."""
    with database.unit_of_work() as unit_of_work:
        unit_of_work.audit.append(
            at=datetime.now(UTC),
            actor=actor,
            action="model.load_unsafe",
            subject=str(ref),
            reason=reason,
            before={},
            after={"allowed": True},
        )

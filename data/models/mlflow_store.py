"""Training runs and models into MLflow. The only module that imports it: that costs seconds and half a gigabyte of packages."""

import logging
import os
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version as installed
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import onnx

from data.models.cache import DIGEST_TAG, file_digests, folder_digest
from data.models.package import FAMILY_TAG, GOLDEN_TAG, LoggedVersion, Package, RunRecord
from data.models.signature import HISTORY, OUR_FLAVOUR, Tensor, wanted_inputs, wanted_outputs
from trajops.deployments.model_ref import ModelRef
from trajops.errors import RegistryUnavailable
from trajops.trajectories import WindowSpec

with warnings.catch_warnings():
    # MLflow warns about type hints of its own classes while it is imported.
    warnings.simplefilter("ignore")
    import mlflow.onnx
    import mlflow.pyfunc
    from mlflow import MlflowClient
    from mlflow.entities import (
        Dataset,
        DatasetInput,
        InputTag,
        LoggedModelOutput,
        LoggedModelStatus,
        Metric,
        Param,
        RunTag,
    )
    from mlflow.exceptions import MlflowException
    from mlflow.models import Model, ModelSignature
    from mlflow.types import Schema, TensorSpec

SERVING_REQUIREMENTS = ("mlflow", "onnx", "onnxruntime", "numpy")
logging.getLogger("mlflow").setLevel(logging.WARNING)


class MlflowStore:
    """One MLflow server and one experiment on it.

    Args:
        url: of the tracking server.
        experiment: created when it is missing.
    """

    def __init__(self, url: str, *, experiment: str = "trajops") -> None:
        self._url, self._experiment = url, experiment
        _bypass_proxies(url)
        self._client = MlflowClient(tracking_uri=url, registry_uri=url)

    def ready(self) -> str:
        """Id of the experiment: cheap proof that the server answers, before anybody trains for minutes.

        Raises:
            RegistryUnavailable: if the server does not answer.
        """
        with _translated(self._url):
            if self._client.get_experiment_by_name(self._experiment) is None:
                try:
                    self._client.create_experiment(self._experiment)
                except MlflowException as error:
                    if error.error_code != "RESOURCE_ALREADY_EXISTS":
                        raise
            found = self._client.get_experiment_by_name(self._experiment)
            if found is None:
                raise RegistryUnavailable(f"the experiment {self._experiment} was deleted in MLflow; restore it there")
            return str(found.experiment_id)

    def publish(self, model_name: str, record: RunRecord, package: Package) -> LoggedVersion:
        """Log a run with its model and register the model as the next version of `model_name`.

        A run that fails on the way is marked as failed and registers nothing.

        Raises:
            RegistryUnavailable: if the server does not answer.
        """
        experiment_id = self.ready()
        with _translated(self._url):
            source = {"mlflow.source.name": "workers.training", "mlflow.source.type": "LOCAL"}
            tags = {**source, **record.tags, **record.version_tags, FAMILY_TAG: package.family}
            run = self._client.create_run(experiment_id, run_name=record.name, tags=tags)
            run_id = str(run.info.run_id)
            try:
                self._log_record(run_id, record)
                model_id, digest = self._log_model(experiment_id, run_id, record, package)
                golden = {GOLDEN_TAG: package.golden} if package.golden else {}
                tags = {**record.version_tags, FAMILY_TAG: package.family, DIGEST_TAG: digest, **golden}
                version = self._register(model_name, run_id, model_id, tags)
            except BaseException:
                self._client.set_terminated(run_id, "FAILED")
                raise
            self._client.set_terminated(run_id, "FINISHED")
        return LoggedVersion(ModelRef(model_name, version), run_id, digest)

    def _log_record(self, run_id: str, record: RunRecord) -> None:
        now_ms = time.time_ns() // 1_000_000
        metrics = [Metric(name, float(value), now_ms, 0) for name, value in record.metrics.items()]
        params = [Param(name, value) for name, value in record.params.items()]
        self._client.log_batch(run_id, metrics=metrics, params=params, tags=[RunTag("trajops.data_fingerprint", record.fingerprint)])
        # MLflow limits a digest to 36 characters; the tag above has all 64.
        dataset = Dataset(name=record.dataset, digest=record.fingerprint[:36], source_type="local", source=record.dataset)
        self._client.log_inputs(run_id, [DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])])
        if record.artifacts:
            with tempfile.TemporaryDirectory() as folder:
                for path, text in record.artifacts.items():
                    file = Path(folder, path)
                    file.parent.mkdir(parents=True, exist_ok=True)
                    file.write_text(text, "utf-8")
                self._client.log_artifacts(run_id, folder)

    def _log_model(self, experiment_id: str, run_id: str, record: RunRecord, package: Package) -> tuple[str, str]:
        """Id of the logged model, and the digest of what was uploaded."""
        logged = self._client.create_logged_model(
            experiment_id,
            name=package.family,
            source_run_id=run_id,
            params=dict(record.params),
            tags={FAMILY_TAG: package.family},
            model_type="forecaster",
        )
        model_id = str(logged.model_id)
        with tempfile.TemporaryDirectory() as folder:
            model = Model(artifact_path=logged.artifact_location, run_id=run_id, model_uuid=model_id, model_id=model_id)
            save_model(Path(folder, "model"), package, model)
            digest = folder_digest(file_digests(Path(folder, "model")))
            self._client.log_model_artifacts(model_id, str(Path(folder, "model")))
        self._client.finalize_logged_model(model_id, LoggedModelStatus.READY)
        self._client.log_outputs(run_id, [LoggedModelOutput(model_id, step=0)])
        now_ms = time.time_ns() // 1_000_000
        linked = [Metric(name, float(value), now_ms, 0, model_id=model_id, run_id=run_id) for name, value in record.metrics.items()]
        self._client.log_batch(run_id, metrics=linked)
        return model_id, digest

    def _register(self, model_name: str, run_id: str, model_id: str, tags: Mapping[str, str]) -> int:
        try:
            self._client.create_registered_model(model_name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        created = self._client.create_model_version(
            model_name, f"models:/{model_id}", run_id=run_id, tags=dict(tags), await_creation_for=0, model_id=model_id
        )
        return int(created.version)


def save_model(folder: Path, package: Package, model: Model | None = None) -> None:
    """Write an MLflow model: MLflow's own ONNX flavour, our artefact beside it, signature, example, pinned requirements."""
    model = model or Model()
    model.add_flavor(OUR_FLAVOUR, artifact=OUR_FLAVOUR, family=package.family)
    mlflow.onnx.save_model(
        onnx.load_from_string(package.graph),
        str(folder),
        mlflow_model=model,
        signature=signature(package.window),
        input_example={HISTORY: package.example_m.astype(np.float32)},
        pip_requirements=[f"{name}=={installed(name)}" for name in SERVING_REQUIREMENTS],
        onnx_execution_providers=["CPUExecutionProvider"],
        save_as_external_data=False,
    )
    ours = folder / OUR_FLAVOUR
    ours.mkdir()
    for name, content in package.files.items():
        (ours / name).write_bytes(content)


def signature(window: WindowSpec) -> ModelSignature:
    """The tensor signature in MLflow's words."""
    return ModelSignature(
        Schema([_spec(tensor) for tensor in wanted_inputs(window)]), Schema([_spec(tensor) for tensor in wanted_outputs(window)])
    )


def load_pyfunc(folder: Path) -> Callable[[Any], Any]:
    """The `predict` of a pyfunc: this runs the model's own code, so whoever calls has asked for consent."""
    return mlflow.pyfunc.load_model(str(folder), suppress_warnings=True).predict  # type: ignore[no-any-return]


def _spec(tensor: Tensor) -> TensorSpec:
    return TensorSpec(np.dtype(tensor.dtype), tensor.shape, name=tensor.name)


def _bypass_proxies(url: str) -> None:
    """Keep MLflow's client from asking a proxy of the environment for our own server."""
    host = urlsplit(url).hostname or ""
    for name in ("NO_PROXY", "no_proxy"):
        known = [entry for entry in os.environ.get(name, "").split(",") if entry]
        if host and host not in known:
            os.environ[name] = ",".join([*known, host])


@contextmanager
def _translated(url: str) -> Iterator[None]:
    try:
        yield
    except (MlflowException, OSError) as error:
        host = urlsplit(url).netloc.rsplit("@", 1)[-1]
        raise RegistryUnavailable(f"MLflow at {host} did not take the run: {error}; start it, or point TRAJOPS_MLFLOW_URL at it") from error

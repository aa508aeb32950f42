"""How each peer is started, asked and read. Each runs as one process that answers, as its documentation has it in production.

What costs and can be switched off is off: access logs, metrics, gzip, MLServer's pool of inference processes (which hands every
request to another process and back). Nothing stands in for authentication, limits, variants or telemetry: the peers are bare.
"""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import load
from benchmarks.peers.environments import environment
from benchmarks.product import ROOT, Product, free_port
from data.models.signature import OUR_FLAVOUR

Reader = Callable[[dict[str, Any]], tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Peer:
    """One server with the champion network.

    Attributes:
        title: as the table names it.
        bin_folder: of its environment.
        command: starts it.
        environment: of the process.
        ready_url: answers 200 once it serves.
        port: it listens on.
        request: bytes of one prediction.
        read: answer → mean (12, 2) in metres and covariance (12, 2, 2) in square metres.
        how: how it is set up, for the table.
    """

    title: str
    bin_folder: Path
    command: list[str]
    environment: dict[str, str]
    ready_url: str
    port: int
    request: bytes
    read: Reader
    how: str


def mlflow(product: Product, history: list[list[float]], _folder: Path) -> Peer:
    """`mlflow models serve` on the registered model as it is: its ONNX flavour."""
    bin_folder, port = environment("mlflow"), free_port()
    options = ["--host", "127.0.0.1", "--port", str(port), "--env-manager", "local", "--workers", "1"]
    return Peer(
        "mlflow models serve",
        bin_folder,
        [str(bin_folder / "mlflow"), "models", "serve", "--model-uri", str(product.model_dir()), *options],
        {**_environment(bin_folder), "UVICORN_ACCESS_LOG": "false", "UVICORN_LOG_LEVEL": "warning", "MLFLOW_DISABLE_TELEMETRY": "true"},
        f"http://127.0.0.1:{port}/ping",
        port,
        load.post("/invocations", json.dumps({"inputs": {"history": [history]}}).encode(), {}),
        lambda said: _arrays(said["predictions"]),
        "the registered ONNX model; one worker, access log off",
    )


def mlserver(product: Product, history: list[list[float]], folder: Path) -> Peer:
    """MLServer with a runtime of a few lines around the forecaster."""
    bin_folder, port = environment("mlserver"), free_port()
    model = {
        "name": "trajectory",
        "implementation": "benchmarks.peers.mlserver_runtime.Trajectory",
        "parameters": {"uri": str(product.model_dir() / OUR_FLAVOUR)},
    }
    settings = {"host": "127.0.0.1", "http_port": port, "grpc_port": free_port(), "debug": False, "parallel_workers": 0}
    settings |= {"metrics_endpoint": None, "gzip_enabled": False}
    (folder / "model-settings.json").write_text(json.dumps(model))
    (folder / "settings.json").write_text(json.dumps(settings))
    flat = [value for point in history for value in point]
    tensor = {"name": "history", "shape": [1, len(history), 2], "datatype": "FP64", "data": flat}
    return Peer(
        "MLServer",
        bin_folder,
        [str(bin_folder / "mlserver"), "start", str(folder)],
        _environment(bin_folder),
        f"http://127.0.0.1:{port}/v2/health/ready",
        port,
        load.post("/v2/models/trajectory/infer", json.dumps({"inputs": [tensor]}).encode(), {}),
        lambda said: _arrays({one["name"]: np.reshape(one["data"], one["shape"]) for one in said["outputs"]}),
        "a runtime around the same forecaster; in one process, metrics and gzip off",
    )


def bentoml(product: Product, history: list[list[float]], _folder: Path) -> Peer:
    """BentoML with a service of a few lines around the forecaster."""
    bin_folder, port = environment("bentoml"), free_port()
    own = {"PEER_ARTIFACT": str(product.model_dir() / OUR_FLAVOUR), "BENTOML_DO_NOT_TRACK": "True"}
    options = ["--host", "127.0.0.1", "--port", str(port), "--production"]
    return Peer(
        "BentoML",
        bin_folder,
        [str(bin_folder / "bentoml"), "serve", "benchmarks.peers.bento_service:Trajectory", *options],
        {**_environment(bin_folder), **own},
        f"http://127.0.0.1:{port}/readyz",
        port,
        load.post("/predict", json.dumps({"history": [history]}).encode(), {}),
        _arrays,
        "an asynchronous service around the same forecaster; one worker, access log and metrics off",
    )


PEERS = {"mlflow": mlflow, "mlserver": mlserver, "bentoml": bentoml}


def _environment(bin_folder: Path) -> dict[str, str]:
    return {
        **os.environ,
        "PATH": f"{bin_folder}:{os.environ.get('PATH', '')}",
        "VIRTUAL_ENV": str(bin_folder.parent),
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
    }


def _arrays(said: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    return np.asarray(said["mean"], dtype=float)[0, 0], np.asarray(said["covariance"], dtype=float)[0, 0]

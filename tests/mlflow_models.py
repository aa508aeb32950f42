"""MLflow model folders for tests, made without MLflow: our own artefact, and graphs and pyfuncs of foreign origin."""

import json
from pathlib import Path
from typing import Any

import onnx
import yaml
from onnx import parser

from trajops.forecasters import artifact
from trajops.ports import Forecaster

HISTORY_IN = [{"name": "history", "type": "tensor", "tensor-spec": {"dtype": "float32", "shape": [-1, 8, 2]}}]


def mean_out(*shape: int) -> list[dict[str, Any]]:
    """A declared output `mean`."""
    return [{"name": "mean", "type": "tensor", "tensor-spec": {"dtype": "float32", "shape": list(shape or (-1, 1, 12, 2))}}]


def our_model(folder: Path, forecaster: Forecaster) -> Path:
    """A model of one of our own families."""
    artifact.save(forecaster, folder / "trajops")
    return model_file(folder, {"trajops": {"artifact": "trajops", "family": forecaster.family}})


def model_file(folder: Path, flavours: dict[str, Any], inputs: Any = HISTORY_IN, outputs: Any = None) -> Path:
    """Write `MLmodel`."""
    folder.mkdir(parents=True, exist_ok=True)
    signature = None if inputs is None else {"inputs": json.dumps(inputs), "outputs": json.dumps(outputs or mean_out()), "params": None}
    (folder / "MLmodel").write_text(yaml.safe_dump({"flavors": flavours, "signature": signature}))
    return folder


_CONSTANTS = (
    "int64[1] six = {6}, int64[1] seven = {7}, int64[1] eight = {8}, int64[1] one = {1}, "
    "int64[1] zero = {0}, int64[4] repeats = {1, 1, 12, 1}"
)


def staying_graph(*, weight: float = 1.0) -> onnx.ModelProto:
    """A graph without covariance: the agent stays at its last position times `weight` (1.0 is the only honest one)."""
    return _graph(f"float[2] weight = {{{weight}, {weight}}}", "resting = Mul (last, weight)")


def crowd_following_graph() -> onnx.ModelProto:
    """A graph that looks at the other agents of the batch, which happen to be other people's."""
    body = """
        before = Slice (history, six, seven, one)
        step = Sub (last, before)
        common = ReduceMean <axes = [0]> (step)
        resting = Add (last, common)
    """
    return _graph("float[1] unused = {0.0}", body)


def _graph(constant: str, body: str) -> onnx.ModelProto:
    return parser.parse_model(
        f"""<ir_version: 8, opset_import: ["" : 17]> foreign (float[N, 8, 2] history) => (float[N, 1, 12, 2] mean)
        <{constant}, {_CONSTANTS}>
        {{
            last = Slice (history, seven, eight, one)
            {body}
            wide = Unsqueeze (resting, one)
            mean = Tile (wide, repeats)
        }}"""
    )


def onnx_model(folder: Path, graph: onnx.ModelProto, outputs: Any = None) -> Path:
    """A foreign model with MLflow's ONNX flavour."""
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(graph, folder / "model.onnx")
    flavours = {"onnx": {"data": "model.onnx"}, "python_function": {"loader_module": "mlflow.onnx", "data": "model.onnx"}}
    return model_file(folder, flavours, outputs=outputs)


def pyfunc_model(folder: Path) -> Path:
    """A foreign model that can only be had by running its code."""
    return model_file(folder, {"python_function": {"loader_module": "mlflow.pyfunc.model", "python_model": "python_model.pkl"}})

"""Every family as one ONNX graph of the documented tensor signature; see trajops/forecasters/onnx_model.py.

The graphs repeat the arithmetic of `trajops.forecasters` in single precision, written in ONNX's own text form. They use
operator set 17, which every runtime of the last years understands.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper, parser

from trajops.errors import InvalidInput
from trajops.forecasters.frames import SCALE_FLOOR_M, SPEED_FLOOR_M, heading_weights
from trajops.forecasters.gaussian_mlp import GaussianMLP
from trajops.forecasters.linear import LinearForecaster
from trajops.forecasters.onnx_model import OnnxModel
from trajops.ports import Forecaster
from trajops.trajectories import FloatArray, WindowSpec

# Trees jump at their thresholds. Many of these are zero, where an agent that goes exactly straight stands too: on a grid of
# 1/512, rounding errors of the rotation no longer decide to which side it falls.
FEATURE_GRID = 512.0

_OPSETS = '<ir_version: 8, opset_import: ["" : 17, "ai.onnx.ml" : 3]>'

# History (N, T, 2) → last position, and positions relative to it.
_ORIGIN = """
    origin = Slice (history, last_index, end_index, time_axis)
    relative = Sub (history, origin)
    count = Shape <start = 0, end = 1> (history)
    weights_shape = Concat <axis = 0> (count, one_mode)
    weights = ConstantOfShape <value = float[1] {1.0}> (weights_shape)
"""

# As `frames.agent_frame`; `back` is the transposed rotation times the scale.
_FRAME = """
    earlier = Slice (relative, first_index, last_index, time_axis)
    later = Slice (relative, second_index, end_index, time_axis)
    steps = Sub (later, earlier)
    step_lengths = ReduceL2 <axes = [2], keepdims = 1> (steps)
    scale = ReduceMean <axes = [1], keepdims = 1> (step_lengths)
    heading = MatMul (heading_weights, steps)
    length = ReduceL2 <axes = [2], keepdims = 1> (heading)
    moves = Greater (length, zero)
    safe_length = Where (moves, length, one)
    divided = Div (heading, safe_length)
    unit = Where (moves, divided, east)
    ux, uy = Split <axis = 2> (unit)
    minus_uy = Neg (uy)
    row_x = Concat <axis = 2> (ux, minus_uy)
    row_y = Concat <axis = 2> (uy, ux)
    rotation = Concat <axis = 1> (row_x, row_y)
    turned = MatMul (steps, rotation)
    floored_scale = Add (scale, scale_floor)
    shrunk = Div (turned, floored_scale)
    flat = Flatten <axis = 1> (shrunk)
    speed = Add (scale, speed_floor)
    log_speed = Log (speed)
    flat_speed = Flatten <axis = 1> (log_speed)
    features = Concat <axis = 1> (flat, flat_speed)
    transposed = Transpose <perm = [0, 2, 1]> (rotation)
    back = Mul (transposed, scale)
"""

_MEAN = """
    placed = Add (moved_mean, origin)
    mean = Unsqueeze (placed, mode_axis)
"""


@dataclass(frozen=True, slots=True)
class BoostedParts:
    """What gradient boosting has fitted.

    Attributes:
        trees: attributes of one ONNX TreeEnsembleRegressor with 2 t_pred targets, as `tree_attributes` returns them.
        base_weights: (t_pred, t_obs) linear forecast that the trees correct; rows sum to one.
        along_across: (t_pred, 2) variances along and across the heading, in squared mean step lengths.
        floor_m2: (t_pred,) variances that every agent has, square metres.
    """

    trees: Mapping[str, Any]
    base_weights: FloatArray
    along_across: FloatArray
    floor_m2: FloatArray


def to_onnx(forecaster: Forecaster) -> onnx.ModelProto:
    """Return the forecaster as a checked ONNX model: `history` in, `mean`, `covariance` and `weights` out.

    Raises:
        InvalidInput: for a family that has no graph.
    """
    if isinstance(forecaster, LinearForecaster):
        return linear_graph(forecaster)
    if isinstance(forecaster, GaussianMLP):
        return network_graph(forecaster)
    if isinstance(forecaster, OnnxModel):
        return completed_graph(forecaster)
    raise InvalidInput(f"family {forecaster.family} has no ONNX graph; export it yourself and register it as onnx_model")


def linear_graph(forecaster: LinearForecaster) -> onnx.ModelProto:
    """Graph of a linear forecast with one variance per step."""
    t_pred = forecaster.window.t_pred
    body = f"""{_ORIGIN}
    moved_mean = MatMul (linear, relative)
    covariance_shape = Concat <axis = 0> (count, covariance_tail)
    covariance = Expand (constant_covariance, covariance_shape)
    {_MEAN}"""
    constants = {
        "linear": forecaster.weights,
        "constant_covariance": forecaster.variance_m2[None, None, :, None, None] * np.eye(2),
        "covariance_tail": np.array([1, t_pred, 2, 2]),
    }
    return _build(forecaster.family, forecaster.window, body, constants)


def network_graph(forecaster: GaussianMLP) -> onnx.ModelProto:
    """Graph of the Gaussian MLP: frame, layers, and the turn back."""
    t_pred = forecaster.window.t_pred
    lines, values = [], "features"
    constants: dict[str, Any] = {}
    for index, (matrix, bias) in enumerate(zip(forecaster.weights, forecaster.biases, strict=True)):
        constants |= {f"w{index}": matrix, f"b{index}": bias}
        is_last = index == len(forecaster.weights) - 1
        lines.append(f"{'answers' if is_last else f'linear{index}'} = Gemm ({values}, w{index}, b{index})")
        if not is_last:
            values = f"hidden{index}"
            lines.append(f"{values} = Relu (linear{index})")
    body = f"""{_ORIGIN}{_FRAME}
    {chr(10).join(lines)}
    flat_vectors, lengths = Split <axis = 1> (answers, answer_sizes)
    unit_vectors = Reshape (flat_vectors, vectors_shape)
    moved = MatMul (unit_vectors, back)
    moved_mean, moved_vectors = Split <axis = 1> (moved, moved_sizes)
    roots = Reshape (moved_vectors, matrices_shape)
    roots_transposed = Transpose <perm = [0, 1, 3, 2]> (roots)
    shaped = MatMul (roots_transposed, roots)
    squares = Mul (lengths, lengths)
    round = Add (squares, floor)
    round_scalars = Reshape (round, scalars_shape)
    round_matrices = Mul (round_scalars, identity)
    one_covariance = Add (shaped, round_matrices)
    covariance = Unsqueeze (one_covariance, mode_axis)
    {_MEAN}"""
    constants |= {
        "answer_sizes": np.array([6 * t_pred, t_pred]),
        "vectors_shape": np.array([0, 3 * t_pred, 2]),
        "moved_sizes": np.array([t_pred, 2 * t_pred]),
        "matrices_shape": np.array([0, t_pred, 2, 2]),
        "scalars_shape": np.array([0, t_pred, 1, 1]),
        "floor": forecaster.floor_m2[None],
    }
    return _build(forecaster.family, forecaster.window, body, constants)


def boosting_graph(parts: BoostedParts, window: WindowSpec) -> onnx.ModelProto:
    """Graph of gradient boosting: frame, trees on features rounded to FEATURE_GRID, linear base and residual covariance."""
    t_pred = window.t_pred
    body = f"""{_ORIGIN}{_FRAME}
    gridded = Mul (features, grid)
    whole = Round (gridded)
    rounded = Div (whole, grid)
    corrections = Reshape (answers, answers_shape)
    moved_corrections = MatMul (corrections, back)
    base = MatMul (base_weights, relative)
    moved_mean = Add (base, moved_corrections)
    wide_back = Unsqueeze (back, mode_axis)
    wide_forth = Transpose <perm = [0, 1, 3, 2]> (wide_back)
    stretched = MatMul (wide_forth, along_across)
    shaped = MatMul (stretched, wide_back)
    one_covariance = Add (shaped, floor_matrices)
    covariance = Unsqueeze (one_covariance, mode_axis)
    {_MEAN}"""
    constants = {
        "grid": np.array([FEATURE_GRID]),
        "answers_shape": np.array([0, t_pred, 2]),
        "base_weights": parts.base_weights,
        "along_across": parts.along_across[:, :, None] * np.eye(2),
        "floor_matrices": parts.floor_m2[:, None, None] * np.eye(2),
    }
    trees = helper.make_node("TreeEnsembleRegressor", ["rounded"], ["answers"], domain="ai.onnx.ml", **parts.trees)
    return _build("gradient_boosting", window, body, constants, after={"rounded": trees})


def completed_graph(forecaster: OnnxModel) -> onnx.ModelProto:
    """Graph of an ONNX model with what the forecaster adds: covariance factors, a missing covariance, missing weights."""
    model = onnx.load_model_from_string(forecaster.model)
    names = [output.name for output in model.graph.output]
    t_pred = forecaster.window.t_pred
    nodes: list[onnx.NodeProto] = []
    constants: dict[str, Any] = {}
    if "covariance" not in names or "weights" not in names:
        # Sums over the mean keep its first axes whatever K is.
        constants |= {"trajops_zero": np.zeros(1)}
        nodes.append(helper.make_node("Mul", ["mean", "trajops_zero"], ["trajops_zeros"]))
    if "covariance" not in names:
        constants |= {"trajops_axis": np.array([-1])}
        constants["trajops_covariance"] = _residual(forecaster) * forecaster.factors[:, None, None]
        nodes.append(helper.make_node("Unsqueeze", ["trajops_zeros", "trajops_axis"], ["trajops_columns"]))
        nodes.append(helper.make_node("Add", ["trajops_columns", "trajops_covariance"], ["covariance"]))
    elif not np.array_equal(forecaster.factors, np.ones(t_pred)):
        for node in model.graph.node:
            node.output[:] = ["trajops_raw" if name == "covariance" else name for name in node.output]
            node.input[:] = ["trajops_raw" if name == "covariance" else name for name in node.input]
        constants["trajops_factors"] = forecaster.factors[:, None, None]
        nodes.append(helper.make_node("Mul", ["trajops_raw", "trajops_factors"], ["covariance"]))
    if "weights" not in names:
        nodes.append(helper.make_node("ReduceSum", ["trajops_zeros", "trajops_tail"], ["trajops_flat"], keepdims=0))
        nodes.append(helper.make_node("Softmax", ["trajops_flat"], ["weights"], axis=1))
        constants["trajops_tail"] = np.array([2, 3])
    model.graph.node.extend(nodes)
    model.graph.initializer.extend(_tensors(constants))
    tails: dict[str, list[str | int]] = {"covariance": ["N", "K", t_pred, 2, 2], "weights": ["N", "K"]}
    for name, tail in tails.items():
        if name not in names:
            model.graph.output.append(helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, tail))
    onnx.checker.check_model(model)
    return model


def tree_attributes(models: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Attributes of one ONNX TreeEnsembleRegressor from LightGBM's dumped models, one for each target.

    Thresholds are rounded down to single precision: for a single-precision feature x, `x ≤ t` then decides as before.

    Args:
        models: what `Booster.dump_model()` returned, in the order of the targets; numerical splits only.

    Raises:
        InvalidInput: if a split is not numerical.
    """
    columns: dict[str, list[Any]] = {name: [] for name in _NODE_COLUMNS + _TARGET_COLUMNS}
    tree_id = 0
    for target, model in enumerate(models):
        for tree in model["tree_info"]:
            for row in _tree_rows(tree["tree_structure"], tree_id, target):
                for name, value in row.items():
                    columns[name].append(value)
            tree_id += 1
    return {"n_targets": len(models), "aggregate_function": "SUM", "post_transform": "NONE"} | columns


_NODE_COLUMNS = [
    f"nodes_{name}"
    for name in ("treeids", "nodeids", "featureids", "values", "modes", "truenodeids", "falsenodeids", "missing_value_tracks_true")
]
_TARGET_COLUMNS = [f"target_{name}" for name in ("treeids", "nodeids", "ids", "weights")]


def _tree_rows(root: Mapping[str, Any], tree_id: int, target: int) -> Iterator[dict[str, Any]]:
    """Yield the columns of each node of one tree, numbered as it is met."""
    waiting = [(root, 0)]
    numbered = 1
    while waiting:
        node, number = waiting.pop()
        row: dict[str, Any] = {"nodes_treeids": tree_id, "nodes_nodeids": number, "nodes_missing_value_tracks_true": 0}
        if "leaf_value" in node:
            row |= {"nodes_featureids": 0, "nodes_values": 0.0, "nodes_modes": "LEAF", "nodes_truenodeids": 0, "nodes_falsenodeids": 0}
            row |= {"target_treeids": tree_id, "target_nodeids": number, "target_ids": target, "target_weights": float(node["leaf_value"])}
        else:
            if node["decision_type"] != "<=":
                raise InvalidInput(
                    f"only numerical splits can be exported, not {node['decision_type']!r}; train without categorical features"
                )
            row |= {"nodes_featureids": node["split_feature"], "nodes_values": _round_down(node["threshold"]), "nodes_modes": "BRANCH_LEQ"}
            row |= {"nodes_truenodeids": numbered, "nodes_falsenodeids": numbered + 1}
            waiting += [(node["left_child"], numbered), (node["right_child"], numbered + 1)]
            numbered += 2
        yield row


def _round_down(value: float) -> float:
    """Largest single-precision number that is not above the value."""
    near = np.float32(value)
    return float(np.nextafter(near, np.float32(-np.inf)) if float(near) > value else near)


def _residual(forecaster: OnnxModel) -> FloatArray:
    if forecaster.residual_covariance_m2 is None:
        raise InvalidInput("the ONNX model has neither a covariance nor residual covariances to export")
    return forecaster.residual_covariance_m2


def _build(
    name: str, window: WindowSpec, body: str, constants: Mapping[str, Any], after: Mapping[str, onnx.NodeProto] | None = None
) -> onnx.ModelProto:
    """Parse the text of a graph, add its constants and, each behind the value it reads, further nodes; check the result."""
    text = f"""{_OPSETS}
    {name} (float[N, {window.t_obs}, 2] history)
        => (float[N, 1, {window.t_pred}, 2] mean, float[N, 1, {window.t_pred}, 2, 2] covariance, float[N, 1] weights) {{{body}}}"""
    model = parser.parse_model(text)
    for value, node in (after or {}).items():
        place = next(index for index, one in enumerate(model.graph.node) if value in one.output)
        model.graph.node.insert(place + 1, node)
    shared = {
        "first_index": np.array([0]),
        "second_index": np.array([1]),
        "last_index": np.array([window.t_obs - 1]),
        "end_index": np.array([window.t_obs]),
        "time_axis": np.array([1]),
        "mode_axis": np.array([1]),
        "one_mode": np.array([1]),
        "heading_weights": heading_weights(window.t_obs)[None],
        "zero": np.zeros(1),
        "one": np.ones(1),
        "east": np.array([[[1.0, 0.0]]]),
        "scale_floor": np.array([SCALE_FLOOR_M]),
        "speed_floor": np.array([SPEED_FLOOR_M]),
        "identity": np.eye(2),
    }
    read = {name for node in model.graph.node for name in node.input}
    model.graph.initializer.extend(_tensors({name: value for name, value in (shared | dict(constants)).items() if name in read}))
    model.producer_name = "trajops"
    onnx.checker.check_model(model, full_check=True)
    return model


def _tensors(constants: Mapping[str, Any]) -> list[onnx.TensorProto]:
    """Named constants: whole numbers as int64, all others in single precision."""
    return [
        numpy_helper.from_array(
            np.asarray(value, dtype=np.int64 if np.issubdtype(np.asarray(value).dtype, np.integer) else np.float32), name
        )
        for name, value in constants.items()
    ]

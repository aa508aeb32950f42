"""The tensor signature by which any model is served, and the `MLmodel` file that declares it, read without MLflow.

Input `history`: float32 (N, 8, 2), metres, oldest first. Outputs `mean` (N, K, 12, 2), and, where the model has them,
`covariance` (N, K, 12, 2, 2) in square metres and `weights` (N, K).
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from trajops.errors import SignatureMismatch
from trajops.trajectories import DEFAULT_WINDOW, WindowSpec

MLMODEL_FILE = "MLmodel"
OUR_FLAVOUR = "trajops"
HISTORY, MEAN, COVARIANCE, WEIGHTS = "history", "mean", "covariance", "weights"
FLOATS = frozenset({"float32", "float64"})


class Tensor(NamedTuple):
    """One declared tensor; −1 leaves an axis free."""

    name: str
    dtype: str
    shape: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.name or 'unnamed'} {self.dtype} {self.shape}"


@dataclass(frozen=True)
class ModelFile:
    """What `MLmodel` says: flavours by name, and the declared tensors (None where it declares none)."""

    flavours: Mapping[str, Mapping[str, Any]]
    inputs: Sequence[Tensor] | None
    outputs: Sequence[Tensor] | None


def wanted_inputs(window: WindowSpec = DEFAULT_WINDOW) -> tuple[Tensor, ...]:
    """The input that every model takes."""
    return (Tensor(HISTORY, "float32", (-1, window.t_obs, 2)),)


def wanted_outputs(window: WindowSpec = DEFAULT_WINDOW) -> tuple[Tensor, ...]:
    """The outputs that a model gives; only `mean` is indispensable."""
    return (
        Tensor(MEAN, "float32", (-1, -1, window.t_pred, 2)),
        Tensor(COVARIANCE, "float32", (-1, -1, window.t_pred, 2, 2)),
        Tensor(WEIGHTS, "float32", (-1, -1)),
    )


def read_model_file(model_dir: Path) -> ModelFile:
    """Read the `MLmodel` of a downloaded model.

    Raises:
        SignatureMismatch: if the folder is not an MLflow model.
    """
    try:
        document = yaml.safe_load((model_dir / MLMODEL_FILE).read_text("utf-8"))
        signature = document.get("signature") or {}
        flavours = {str(name): dict(entry or {}) for name, entry in (document.get("flavors") or {}).items()}
        return ModelFile(flavours, _tensors(signature.get("inputs")), _tensors(signature.get("outputs")))
    except (OSError, yaml.YAMLError, AttributeError, ValueError, TypeError) as error:
        raise SignatureMismatch(f"{model_dir} is not an MLflow model ({error}); log it with one of MLflow's log_model functions") from error


def check_declared(found: ModelFile, window: WindowSpec = DEFAULT_WINDOW) -> None:
    """Compare the declared signature with the one that is served.

    Raises:
        SignatureMismatch: saying what was found and what is wanted.
    """
    wanted = wanted_inputs(window)[0]
    if found.inputs is None:
        raise SignatureMismatch(
            f"the model declares no tensor signature; log it with the input {wanted} and the output mean (-1, -1, {window.t_pred}, 2)"
        )
    if len(found.inputs) != 1 or found.inputs[0].dtype not in FLOATS or not _fits(found.inputs[0].shape, wanted.shape):
        raise SignatureMismatch(f"the model takes {_listed(found.inputs)}; wanted is one input: {wanted}")
    if found.outputs is None:
        return
    shapes = {tensor.name: tensor.shape for tensor in wanted_outputs(window)}
    named = [tensor._replace(name=tensor.name or MEAN) for tensor in found.outputs]
    if MEAN not in {tensor.name for tensor in named}:
        raise SignatureMismatch(f"the model gives {_listed(found.outputs)}; wanted is at least {wanted_outputs(window)[0]}")
    for tensor in named:
        if tensor.name in shapes and not _fits(tensor.shape, shapes[tensor.name], may_leave_out_modes=True):
            raise SignatureMismatch(f"the model gives {tensor}; wanted is {tensor.name} {shapes[tensor.name]}")


def _tensors(text: str | None) -> list[Tensor] | None:
    """The declared tensors; columns of a data frame appear with an empty shape, which fits nothing."""
    if not text:
        return None
    result = []
    for entry in json.loads(text):
        spec = entry.get("tensor-spec") or {}
        result.append(Tensor(entry.get("name") or "", str(spec.get("dtype", entry.get("type"))), tuple(spec.get("shape", ()))))
    return result


def _fits(shape: tuple[int, ...], wanted: tuple[int, ...], *, may_leave_out_modes: bool = False) -> bool:
    """True when each axis agrees or one of the two leaves it free; one mode may come without its axis."""
    if len(shape) == len(wanted):
        return all(-1 in {got, want} or got == want for got, want in zip(shape, wanted, strict=True))
    return may_leave_out_modes and len(shape) == len(wanted) - 1 and _fits(shape, (wanted[0], *wanted[2:]))


def _listed(tensors: Sequence[Tensor]) -> str:
    return "; ".join(map(str, tensors)) or "nothing"

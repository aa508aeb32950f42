"""A fitted forecaster in a folder: forecaster.json, arrays.npz and, for ONNX families, model.onnx. Never a pickle.

`forecaster.json` names the family, the window, the format version, free metadata and the SHA-256 of the other files, so
that a damaged or exchanged file is noticed before anything is built from it.
"""

import hashlib
import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
import orjson
from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from trajops.errors import InvalidInput, NotFound
from trajops.forecasters.constant_velocity import ConstantVelocity
from trajops.forecasters.gaussian_mlp import GaussianMLP
from trajops.forecasters.gradient_boosting import GradientBoosting
from trajops.forecasters.kalman import Kalman
from trajops.forecasters.onnx_model import OnnxModel
from trajops.ports import Forecaster
from trajops.trajectories import FloatArray, WindowSpec

MANIFEST = "forecaster.json"
ARRAYS = "arrays.npz"
MODEL = "model.onnx"
FORMAT_VERSION = 1

ARRAY_FAMILIES: Mapping[str, type[ConstantVelocity] | type[Kalman] | type[GaussianMLP]] = {
    family.family: family for family in (ConstantVelocity, Kalman, GaussianMLP)
}
ONNX_FAMILIES: Mapping[str, type[OnnxModel]] = {family.family: family for family in (GradientBoosting, OnnxModel)}


class Window(BaseModel):
    """A WindowSpec in JSON."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    t_obs: int = Field(ge=2)
    t_pred: int = Field(ge=1)
    dt_s: float = Field(gt=0, allow_inf_nan=False)


class Manifest(BaseModel):
    """What forecaster.json holds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format_version: int
    family: str
    window: Window
    metadata: dict[str, JsonValue] = Field(default_factory=dict)
    sha256: dict[str, str]


class _Storable(Forecaster, Protocol):
    def arrays(self) -> Mapping[str, FloatArray]: ...


def save(forecaster: Forecaster, folder: Path, metadata: Mapping[str, Any] | None = None) -> Path:
    """Write the forecaster into a folder, which is made if it is missing; the same forecaster gives the same bytes.

    Args:
        forecaster: of a family of this package.
        folder: where to; files of an earlier artefact are replaced.
        metadata: anything JSON can hold, for readers.

    Returns:
        The folder.

    Raises:
        InvalidInput: if the family cannot be stored.
    """
    if forecaster.family not in ARRAY_FAMILIES and forecaster.family not in ONNX_FAMILIES:
        raise InvalidInput(f"family {forecaster.family} cannot be stored; known: {', '.join([*ARRAY_FAMILIES, *ONNX_FAMILIES])}")
    folder.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **dict(cast("_Storable", forecaster).arrays()))
    files = {ARRAYS: buffer.getvalue()}
    if isinstance(forecaster, OnnxModel):
        files[MODEL] = forecaster.model
    else:
        (folder / MODEL).unlink(missing_ok=True)
    window = forecaster.window
    manifest = Manifest(
        format_version=FORMAT_VERSION,
        family=forecaster.family,
        window=Window(t_obs=window.t_obs, t_pred=window.t_pred, dt_s=window.dt_s),
        metadata=dict(metadata or {}),
        sha256={name: hashlib.sha256(content).hexdigest() for name, content in files.items()},
    )
    for name, content in files.items():
        (folder / name).write_bytes(content)
    # Last, so that a folder with a manifest is a whole artefact.
    (folder / MANIFEST).write_bytes(orjson.dumps(manifest.model_dump(), option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS))
    return folder


def describe(folder: Path) -> Manifest:
    """Read and check forecaster.json alone.

    Raises:
        NotFound: if the folder holds no forecaster.
        InvalidInput: if the file is damaged, or of a newer format.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise NotFound(f"{folder} holds no forecaster: {MANIFEST} is missing")
    try:
        manifest = Manifest.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise InvalidInput(f"{path} is damaged: {error.errors()[0]['msg']}; save or download the model again") from error
    if manifest.format_version != FORMAT_VERSION:
        raise InvalidInput(f"{path} has format version {manifest.format_version}, this release reads {FORMAT_VERSION}; upgrade TrajOps")
    return manifest


def load(folder: Path) -> Forecaster:
    """Build the forecaster that `save` wrote, ready to answer.

    Raises:
        NotFound: if the folder holds no forecaster, or lacks a file.
        InvalidInput: if a file is damaged or the family is unknown.
        SignatureMismatch: if the ONNX model does not honour the signature.
    """
    manifest = describe(folder)
    window = WindowSpec(manifest.window.t_obs, manifest.window.t_pred, manifest.window.dt_s)
    arrays = _read_arrays(folder, manifest)
    try:
        if manifest.family in ARRAY_FAMILIES:
            return ARRAY_FAMILIES[manifest.family].from_arrays(window, arrays)
        if manifest.family in ONNX_FAMILIES:
            return ONNX_FAMILIES[manifest.family].from_onnx(window, arrays, _read(folder, MODEL, manifest))
    except KeyError as error:
        raise InvalidInput(f"{folder / ARRAYS} lacks the array {error} of family {manifest.family}; save the model again") from error
    known = ", ".join([*ARRAY_FAMILIES, *ONNX_FAMILIES])
    raise InvalidInput(f"{folder / MANIFEST} names the family {manifest.family!r}, which this release does not have; known: {known}")


def digest(folder: Path) -> str:
    """SHA-256 of the whole artefact, hexadecimal: forecaster.json names the digests of the other files, which are verified.

    Raises:
        NotFound: if the folder holds no forecaster, or lacks a file.
        InvalidInput: if a file is damaged.
    """
    manifest = describe(folder)
    for name in manifest.sha256:
        _read(folder, name, manifest)
    return hashlib.sha256((folder / MANIFEST).read_bytes()).hexdigest()


def _read(folder: Path, name: str, manifest: Manifest) -> bytes:
    """Bytes of one file, after comparing its digest."""
    if name not in manifest.sha256 or name not in {ARRAYS, MODEL}:
        raise InvalidInput(f"{folder / MANIFEST} does not list exactly the files of a forecaster: {name}; save the model again")
    path = folder / name
    if not path.is_file():
        raise NotFound(f"{folder} lacks {name}; save or download the model again")
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != manifest.sha256[name]:
        raise InvalidInput(f"{path} is damaged: its SHA-256 is not the one in {MANIFEST}; save or download the model again")
    return content


def _read_arrays(folder: Path, manifest: Manifest) -> dict[str, FloatArray]:
    content = _read(folder, ARRAYS, manifest)
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise InvalidInput(f"{folder / ARRAYS} cannot be read as plain arrays: {error}; save the model again") from error

"""The Open Inference Protocol v2 as it stands in the API's description: metadata, requests, answers, errors."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

Parameters = dict[str, bool | int | float | str]


class OpenWire(BaseModel):
    """A body of a foreign protocol: fields that it may gain are not refused."""

    model_config = ConfigDict(frozen=True, protected_namespaces=())


class ServerMetadata(OpenWire):
    """Who serves, and which extensions it knows."""

    name: str
    version: str
    extensions: list[str]


class TensorMetadata(OpenWire):
    """One tensor of a model; −1 leaves an axis free."""

    name: str
    datatype: str
    shape: list[int]


class ModelMetadata(OpenWire):
    """The tensors of a model, and the versions that are warm."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]


class IsLive(OpenWire):
    """Whether the process lives."""

    live: bool


class IsReady(OpenWire):
    """Whether it, or one model, can answer."""

    ready: bool


class IsModelReady(IsReady):
    """Whether one model can answer."""

    name: str


class InferTensorIn(OpenWire):
    """`history`: FP32 (or FP64) of shape (N, 8, 2), metres, oldest first."""

    name: str
    shape: list[int]
    datatype: str
    parameters: Parameters = Field({}, description="`binary_data_size`: the numbers stand behind the JSON.")
    data: list[Any] | None = Field(None, description="Numbers in row-major order, flat (fastest) or nested.")


class InferOutputIn(OpenWire):
    """One output that is wanted."""

    name: str
    parameters: Parameters = Field({}, description="`binary_data`: as raw bytes behind the JSON of the answer.")


class InferIn(OpenWire):
    """Trajectories to forecast. With `Inference-Header-Content-Length` the JSON is followed by raw tensors."""

    id: str = ""
    inputs: list[InferTensorIn]
    outputs: list[InferOutputIn] = Field([], description="Left out: all.")
    parameters: Parameters = Field({}, description="`binary_data_output`: outputs as raw bytes where nothing else is said.")


class InferTensorOut(OpenWire):
    """One output, its data flat in row-major order, or raw behind the JSON."""

    name: str
    shape: list[int]
    datatype: str
    parameters: Parameters = {}
    data: list[Any] | None = None


class InferOut(OpenWire):
    """Forecasts: `mean`, `covariance`, `weights`, and `is_baseline` where constant velocity answered for a model that failed."""

    id: str = ""
    model_name: str
    model_version: str
    parameters: Parameters
    outputs: list[InferTensorOut]


class InferProblem(OpenWire):
    """What is wrong, and how to mend it."""

    error: str

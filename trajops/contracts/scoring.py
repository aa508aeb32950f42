"""MLflow's scoring protocol as it stands in the API's description."""

from typing import Any, Literal

from pydantic import Field

from trajops.contracts.inference import OpenWire
from trajops.contracts.predictions import ModelVersion


class DataFrameSplit(OpenWire):
    """A column `history` of nested lists, or 16 columns of numbers."""

    columns: list[str | int]
    data: list[list[Any]]


class InvocationParams(OpenWire):
    """What may be said beside the trajectories."""

    model_version: ModelVersion | None = None


class InvocationsIn(OpenWire):
    """Exactly one of the four forms of the tensor `history` (N, 8, 2)."""

    inputs: list[Any] | dict[Literal["history"], list[Any]] | None = Field(None, description="The tensor, alone or by its name.")
    instances: list[Any] | None = Field(None, description="Rows, or objects with `history`.")
    dataframe_records: list[dict[str, Any]] | None = None
    dataframe_split: DataFrameSplit | None = None
    params: InvocationParams | None = None


class ScoredTensors(OpenWire):
    """Forecasts as nested lists, one entry a trajectory."""

    mean: list[Any] = Field(description="(N, K, 12, 2) metres.")
    covariance: list[Any] = Field(description="(N, K, 12, 2, 2) square metres.")
    weights: list[Any] = Field(description="(N, K).")
    is_baseline: list[bool] = Field(description="Where constant velocity answered for a model that failed.")


class InvocationsOut(OpenWire):
    """Forecasts, and which version made them."""

    predictions: ScoredTensors
    model_name: str
    model_version: int
    baseline_rows: int


class ScoringProblem(OpenWire):
    """What is wrong, and how to mend it."""

    error_code: str
    message: str

"""The base of every wire model: strict about what comes in, explicit about what goes out."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Name = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[^\x00-\x1f\x7f]+$")]
Coordinate = Annotated[float, Field(allow_inf_nan=False, ge=-1e7, le=1e7, strict=True)]
EpochSeconds = Annotated[float, Field(allow_inf_nan=False, ge=0, le=1e11, strict=True)]
Point = tuple[Coordinate, Coordinate]
# What is answered follows from the model: a forecast from positions within the bounds may lie far outside of them.
Finite = Annotated[float, Field(allow_inf_nan=False, strict=True)]
Position = tuple[Finite, Finite]
Reason = Annotated[str, Field(min_length=10, max_length=500)]


class Wire(BaseModel):
    """Unknown fields are refused, so that a typing error is never silently ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())

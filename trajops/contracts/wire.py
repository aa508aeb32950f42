"""The base of every wire model: strict about what comes in, explicit about what goes out."""

from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints
from pydantic_core import PydanticCustomError

EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
# Centuries before the end of the calendar, so that whoever reckons with a time, in whichever zone, stays within it.
LATEST = datetime(3000, 1, 1, tzinfo=UTC)

Name = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[^\x00-\x1f\x7f]+$")]
Coordinate = Annotated[float, Field(allow_inf_nan=False, ge=-1e7, le=1e7, strict=True)]
EpochSeconds = Annotated[float, Field(allow_inf_nan=False, ge=0, le=1e11, strict=True)]
Point = tuple[Coordinate, Coordinate]
# What is answered follows from the model: a forecast from positions within the bounds may lie far outside of them.
Finite = Annotated[float, Field(allow_inf_nan=False, strict=True)]
Position = tuple[Finite, Finite]
# Blanks around it count for nothing: twelve of them are no reason.
Reason = Annotated[str, StringConstraints(strip_whitespace=True, min_length=10, max_length=500)]


def _in_utc(time: datetime) -> datetime:
    """The same time in UTC, whose calendar not every time with a zone is in."""
    try:
        return time.astimezone(UTC)
    except OverflowError as error:
        raise PydanticCustomError("time_not_in_utc", "in UTC this time is outside of the years 1 to 9999; send one within them") from error


def sensible_time(time: datetime) -> datetime:
    """The same time in UTC.

    Raises:
        PydanticCustomError: if it is outside of the years 1970 to 2999.
    """
    if time < EARLIEST:
        raise PydanticCustomError("time_too_early", "this time is before 1970, when there was nothing yet; send a later one")
    if time >= LATEST:
        raise PydanticCustomError("time_too_late", "this time is after 2999; send an earlier one")
    return time.astimezone(UTC)


# A time as another product says it, whose year 1 may mean that it does not know.
ForeignTime = Annotated[AwareDatetime, AfterValidator(_in_utc)]
# A time as a client gives it.
Time = Annotated[AwareDatetime, AfterValidator(sensible_time)]


class Wire(BaseModel):
    """Unknown fields are refused, so that a typing error is never silently ignored."""

    # There are hundreds, and a process that starts waits for none: each is made ready when it is first used.
    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=(), defer_build=True)


class HotWire(Wire):
    """The base of what is answered within milliseconds, from the first request on: made ready at once."""

    model_config = ConfigDict(defer_build=False)

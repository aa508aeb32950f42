"""The bodies of the hot routes for msgspec: the same fields and bounds as `trajops.contracts.predictions`, decoded ten times faster.

A body that these refuse is judged again by the documented model, which has the last word. So they may be stricter than
it, and never more lenient: a property test compares the two.
"""

from collections.abc import Callable
from typing import Annotated, Any, Literal

import msgspec

from trajops.contracts.predictions import T_OBS
from trajops.telemetry import Declared

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
Coordinate = Annotated[float, msgspec.Meta(ge=-1e7, le=1e7)]
EpochSeconds = Annotated[float, msgspec.Meta(ge=0, le=1e11)]
Point = tuple[Coordinate, Coordinate]
Source = Literal["live", "replay"]
Version = Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]
Alias = Literal["champion", "challenger", "previous_champion"]


class FastPredict(msgspec.Struct, forbid_unknown_fields=True, frozen=True, gc=False):
    """`PredictIn`."""

    agent_id: Name
    scene_id: Name = "default"
    history: Annotated[list[Point], msgspec.Meta(min_length=T_OBS, max_length=T_OBS)] | None = None
    observed_at_s: EpochSeconds | None = None
    model_version: Version | Alias | None = None
    source: Declared = "live"


class FastBatch(msgspec.Struct, forbid_unknown_fields=True, frozen=True, gc=False):
    """`BatchPredictIn`, its items still raw: one bad item must not refuse the others."""

    items: Annotated[list[msgspec.Raw], msgspec.Meta(min_length=1)]


class FastColumns(msgspec.Struct, forbid_unknown_fields=True, frozen=True, gc=False):
    """`BatchColumnsIn`, its trajectories still raw."""

    history: msgspec.Raw
    agent_id: list[Name] | None = None
    scene_id: Name | list[Name] = "default"
    observed_at_s: EpochSeconds | list[EpochSeconds] | None = None
    model_version: Version | Alias | None = None
    source: Source = "live"


class FastObservation(msgspec.Struct, forbid_unknown_fields=True, frozen=True, gc=False):
    """`ObservationIn`."""

    agent_id: Name
    observed_at_s: EpochSeconds
    position: Point
    scene_id: Name = "default"


class FastObservations(msgspec.Struct, forbid_unknown_fields=True, frozen=True, gc=False):
    """`ObservationsIn`."""

    observations: Annotated[list[FastObservation], msgspec.Meta(min_length=1, max_length=10_000)]
    source: Source = "live"


def decoder(body: type[msgspec.Struct]) -> Callable[[bytes | msgspec.Raw], Any]:
    """Return a function that decodes JSON into `body`.

    Control characters are refused in names. Valid JSON writes them as escapes (DEL may stand as it is), so a body
    without a backslash has none, and one with a backslash is left to the documented model.

    Raises (by the returned function):
        msgspec.DecodeError: if the body is not such JSON, or only the documented model can tell.
    """
    decode = msgspec.json.Decoder(body).decode

    def strict(content: bytes | msgspec.Raw) -> Any:
        raw = bytes(content)
        if b"\\" in raw or b"\x7f" in raw:
            raise msgspec.DecodeError("has escapes")
        return decode(raw)

    return strict

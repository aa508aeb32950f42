"""Availability: the objective, what is left of its error budget, and how fast it burns."""

from typing import Literal

from pydantic import AwareDatetime, Field

from trajops.contracts.status import Health
from trajops.contracts.wire import Wire


class BurnOut(Wire):
    """How fast the error budget burned over one window that ends now."""

    window_s: int
    rate: float | None = Field(description="By the known minutes; 1 uses the budget up exactly by the end of the objective's window.")
    certain_rate: float = Field(description="The same if every unknown minute had been good; alarms go by it.")
    known_share: float = Field(description="Share of the window in which somebody probed.")


class BurnAlarmOut(Wire):
    """An alarm over two windows, and whether both burn faster than its factor."""

    severity: Literal["critical", "warning"]
    factor: float
    long_s: int
    short_s: int
    is_burning: bool


class AvailabilityPoint(Wire):
    """Probes in one time bucket."""

    at: AwareDatetime
    availability: float | None = Field(description="Share of the known minutes that was good; null: nobody probed.")
    known_share: float
    slowest_ms: float | None


class AvailabilityOut(Wire):
    """How available the API was to a client, by a probe that asks `/predict` every few seconds."""

    at: AwareDatetime
    verdict: Health
    sentence: str
    target: float
    window_days: int
    availability: float | None
    budget_left: float | None = Field(description="Share of the error budget that is left; negative where the objective is missed.")
    allowed_min: float = Field(description="Minutes that may be bad in the window, without those that are unknown since the first probe.")
    bad_min: float
    known_min: int
    unknown_min: int = Field(description="Minutes since the first probe in which nobody probed.")
    burns: list[BurnOut]
    alarms: list[BurnAlarmOut]
    last_probe_at: AwareDatetime | None
    last_failure_at: AwareDatetime | None
    last_failure: str | None
    hours: int = Field(description="Length of the series.")
    bucket_s: int
    series: list[AvailabilityPoint]

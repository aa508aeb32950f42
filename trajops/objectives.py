"""Availability as an objective: a share of probes that must succeed, the budget for those that do not, and how fast it burns.

A probe asks the product as a client would, every few seconds; what came of it is kept by minutes. A minute in which nobody probed is
*unknown*: it counts neither as good nor as bad, and is shown as such.

Burn rates and alarms over two windows follow B. Beyer et al., The Site Reliability Workbook, ch. 5, "Alerting on SLOs", approach 6.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Literal, NamedTuple, Self

from pydantic import Field, model_validator

from trajops.config_model import Config, Factor, Seconds

MINUTE = timedelta(minutes=1)
Severity = Literal["critical", "warning"]


class BurnAlarm(Config):
    """Speak up when the budget burns faster than `factor` over two windows: by the long one it matters, by the short one it goes on."""

    severity: Severity
    factor: Factor = Field(gt=0, description="Burn rate; 1 uses up the budget exactly by the end of the objective's window.")
    long_s: int = Field(ge=300, le=30 * 86_400, multiple_of=60, description="Seconds.")
    short_s: int = Field(
        ge=60, lt=30 * 86_400, multiple_of=60, description="Seconds; when the trouble is over, the alarm ends after as long."
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.short_s >= self.long_s:
            raise ValueError(f"short_s ({self.short_s}) must be below long_s ({self.long_s})")
        return self


class ProbeRules(Config):
    """When a probe was answered well."""

    timeout_s: float = Field(default=2.0, gt=0, le=30, description="An answer that takes longer is none.")
    good_within_s: Seconds = Field(default=1.0, gt=0, description="An answer that takes longer does not count as good.")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.good_within_s > self.timeout_s:
            raise ValueError(f"good_within_s ({self.good_within_s:g}) cannot be above timeout_s ({self.timeout_s:g})")
        return self


class Availability(Config):
    """The share of probes that must be good over a sliding window."""

    target: float = Field(default=0.999, gt=0, lt=1)
    window_days: int = Field(default=30, ge=1, le=31)
    probe: ProbeRules = Field(default_factory=ProbeRules)
    alarms: tuple[BurnAlarm, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if any(alarm.long_s > self.window_s for alarm in self.alarms):
            raise ValueError("an alarm's long_s cannot be longer than the objective's window_days")
        return self

    @property
    def window_s(self) -> int:
        """Length of the window, seconds."""
        return 86_400 * self.window_days

    @property
    def windows_s(self) -> list[int]:
        """Lengths of all windows that are looked at, shortest first, seconds; the objective's own is the last."""
        return sorted({self.window_s, *(length for alarm in self.alarms for length in (alarm.short_s, alarm.long_s))})


class Objectives(Config):
    """All of `configs/objectives.yaml`."""

    availability: Availability


class Minutes(NamedTuple):
    """What probes of a time range add up to.

    Attributes:
        known: minutes in which somebody probed.
        bad: of them, each weighted by the share of its probes that were not good.
        probes: how many there were.
        slowest_ms: the longest time to an answer; None where nobody was answered.
    """

    known: int = 0
    bad: float = 0.0
    probes: int = 0
    slowest_ms: float | None = None

    @property
    def bad_share(self) -> float | None:
        """Share of the known minutes that was bad; None where nothing is known."""
        return self.bad / self.known if self.known else None

    def joined(self, other: "Minutes") -> "Minutes":
        """Both ranges together."""
        slowest = [value for value in (self.slowest_ms, other.slowest_ms) if value is not None]
        return Minutes(self.known + other.known, self.bad + other.bad, self.probes + other.probes, max(slowest, default=None))


class Burn(NamedTuple):
    """How fast the budget burns over one window.

    Attributes:
        window_s: length of the window, seconds.
        rate: by the known minutes; 1 uses up the budget exactly by the end of the objective's window. None where nothing is known.
        certain_rate: the same if every unknown minute had been good: the budget burns at least so fast.
        known_share: share of the window's minutes that is known.
    """

    window_s: int
    rate: float | None
    certain_rate: float
    known_share: float


class AlarmState(NamedTuple):
    """One alarm, and whether both of its windows burn too fast."""

    alarm: BurnAlarm
    is_burning: bool


class Budget(NamedTuple):
    """What may still go wrong.

    Attributes:
        allowed_min: minutes that may be bad in the window; unknown ones are left out of it and allow nothing, those before the first
            probe are in it.
        bad_min: minutes that were.
        left: share of the allowance that is left; negative where the objective is missed. None where nothing is known.
        availability: share of the known minutes that was good; None where nothing is known.
        known_min: minutes that are known.
        unknown_min: minutes since the first probe that are not.
    """

    allowed_min: float
    bad_min: float
    left: float | None
    availability: float | None
    known_min: int
    unknown_min: int


def minute_of(at: datetime) -> int:
    """Whole minutes since the epoch."""
    return int(at.timestamp()) // 60


def bounds(at: datetime, length_s: int) -> tuple[int, int]:
    """The minutes [first, end) of the window that ends with the minute of `at`, that one included."""
    end = minute_of(at) + 1
    return end - length_s // 60, end


def whole_bounds(at: datetime, length_s: int) -> tuple[int, int]:
    """The minutes [first, end) of the window that ends before the minute of `at`: that one may have no probe yet, or a single one."""
    begin, end = bounds(at, length_s)
    return begin - 1, end - 1


def least_probes(every_s: float) -> int:
    """How many probes a minute needs to speak for all of it: half of those that fit into it.

    With fewer, nobody probed for most of it, and one that failed just after a start would be an outage of a minute.
    """
    return max(1, int(MINUTE.total_seconds() / every_s / 2))


def burn(minutes: Minutes, window_s: int, target: float) -> Burn:
    """How fast the budget burned over a window.

    Args:
        minutes: what the probes in `whole_bounds` of the window add up to.
        window_s: its length, seconds.
        target: the objective, a share below 1.
    """
    allowed, length_min = 1.0 - target, window_s / 60
    share = minutes.bad_share
    return Burn(
        window_s,
        None if share is None else share / allowed,
        minutes.bad / length_min / allowed,
        min(1.0, minutes.known / length_min),
    )


def alarm_states(alarms: Sequence[BurnAlarm], burns: Mapping[int, Burn]) -> list[AlarmState]:
    """Which alarms are due.

    Only what is certain raises an alarm: in the first minutes after a start one failed probe would be a large share of the few that
    there are. That nobody probes is a different alarm.

    Args:
        alarms: of the objective.
        burns: by length of the window, seconds; all that the alarms name.
    """
    return [
        AlarmState(alarm, all(burns[length].certain_rate >= alarm.factor for length in (alarm.long_s, alarm.short_s))) for alarm in alarms
    ]


def budget(minutes: Minutes, objective: Availability, first_minute: int | None, at: datetime) -> Budget:
    """What is left of the error budget: of the minutes that may be bad in the whole window, however much of it was lived.

    Args:
        minutes: what the probes in `whole_bounds` of the objective's window add up to.
        objective: target and window.
        first_minute: of the first probe on record; None: there is none. What was before is not unknown, it was not.
        at: the end of the window.
    """
    begin, end = whole_bounds(at, objective.window_s)
    lived_min = 0 if first_minute is None else max(0, end - max(begin, first_minute))
    unknown_min = max(0, lived_min - minutes.known)
    allowed_min = (1.0 - objective.target) * (end - begin - unknown_min)
    if not minutes.known:
        return Budget(allowed_min, 0.0, None, None, 0, unknown_min)
    return Budget(allowed_min, minutes.bad, 1.0 - minutes.bad / allowed_min, 1.0 - minutes.bad / minutes.known, minutes.known, unknown_min)

"""What raises an alert and who is told: the model of `configs/alerts.yaml`. No secret stands in it, only where one is to be found."""

import math
import operator
import re
import string
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from trajops.alerts.lifecycle import Severity
from trajops.alerts.silences import Matcher
from trajops.config_model import Config, Seconds
from trajops.errors import InvalidInput

COMPARISONS: dict[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
    "==": operator.eq,
    "!=": operator.ne,
}
# What a summary may name beside the labels.
FIGURES = frozenset({"value", "detail"})
# How a figure may be written in a summary: a width or precision of more digits would be padded to that length at every look at the rules.
_SPEC = re.compile(r"(?:[^{}\d]|(?<!\d)\d{1,2}(?!\d))*")

RuleName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
VariableName = Annotated[
    str, Field(pattern=r"^[A-Z][A-Z0-9_]*$", description="Name of the environment variable with the secret, never the secret.")
]
LabelName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
Address = Annotated[str, Field(pattern=r"^[^@\s<>\",;:\x00-\x1f]+@[^@\s<>\",;:\x00-\x1f]+$")]


@dataclass(frozen=True, slots=True)
class Condition:
    """A comparison with a figure, written like `>= 2`."""

    comparison: str
    threshold: float

    @classmethod
    def parse(cls, text: Any) -> Self:
        """A condition as it is written.

        Raises:
            ValueError: if it is not written so.
        """
        if isinstance(text, cls):
            return text
        written = str(text).strip()
        for sign in COMPARISONS:  # the longer signs stand first
            if written.startswith(sign):
                try:
                    threshold = float(written.removeprefix(sign))
                except ValueError:
                    break
                if math.isfinite(threshold):
                    return cls(sign, threshold)
        raise ValueError(f'{written!r} is no condition; write one of {", ".join(COMPARISONS)} and a number, for example ">= 2"')

    def __str__(self) -> str:
        return f"{self.comparison} {self.threshold:g}"

    def holds(self, value: float) -> bool:
        """Whether it holds for a value."""
        return COMPARISONS[self.comparison](value, self.threshold)

    def common(self, other: Self) -> float | None:
        """A value that it and another both hold for; None if there is none."""
        low, high = sorted((self.threshold, other.threshold))
        # Neither changes anywhere else than at its threshold.
        places = (low, high, low / 2 + high / 2, math.nextafter(low, -math.inf), math.nextafter(high, math.inf))
        return next((one for one in places if self.holds(one) and other.holds(one)), None)


def _matcher(text: Any) -> Matcher:
    try:
        return text if isinstance(text, Matcher) else Matcher.parse(str(text))
    except InvalidInput as error:
        raise ValueError(error.message) from error


def _url(text: str) -> str:
    """An address that can be asked: `urlsplit` refuses a host or a port that is none."""
    parts = urlsplit(text)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.port == 0 or re.search(r"\s", text):
        raise ValueError(f"{text!r} is no address of a server; write one such as http://alertmanager:9093")
    return text


Url = Annotated[str, AfterValidator(_url)]
WrittenCondition = Annotated[Condition, BeforeValidator(Condition.parse)]
WrittenMatcher = Annotated[Matcher, BeforeValidator(_matcher)]


class Escalation(Config):
    """What happens when nobody acknowledges an alert."""

    after_s: Seconds = Field(gt=0, description="From when it opened.")
    severity: Severity | None = Field(default=None, description="Raise it to this.")
    receivers: tuple[str, ...] = Field(default=(), description="Tell these too.")

    @model_validator(mode="after")
    def _does_something(self) -> Self:
        if self.severity is None and not self.receivers:
            raise ValueError("name a severity, receivers, or both")
        return self


class AlertRule(Config):
    """When a figure raises an alert."""

    name: RuleName
    title: str = Field(min_length=3, max_length=120, description="A few words: what is wrong.")
    signal: str = Field(min_length=1)
    match: tuple[WrittenMatcher, ...] = Field(default=(), description="Only signals with such labels.")
    when: WrittenCondition
    resolve_when: WrittenCondition | None = Field(
        default=None, description="When it is over, where that is not the contrary of `when`: a gap between the two keeps it from flapping."
    )
    severity: Severity
    for_s: Seconds = Field(default=0.0, ge=0, description="How long the condition must hold first.")
    resolve_after_s: Seconds = Field(default=30.0, ge=0, description="How long it must have ceased.")
    missing: Literal["keep", "resolve", "alert"] = Field(
        default="keep", description="Where there is no such signal: leave its alert as it is, treat it as over, or raise an alert on that."
    )
    missing_after_s: Seconds = Field(default=120.0, ge=0, description="With `missing: alert`, how long there must be none.")
    labels: dict[LabelName, str] = Field(default_factory=dict, description="Added to the signal's.")
    summary: str = Field(default="{detail}", min_length=1, description="A sentence. {value}, {detail} and labels in braces are filled in.")
    runbook: str | None = Field(
        default=None, pattern=r"^(https?://|/)\S+$", description="Address of what to do about it; a path is one of the console."
    )
    escalate: Escalation | None = None

    @field_validator("signal")
    @classmethod
    def _is_known(cls, value: str, info: ValidationInfo) -> str:
        known = (info.context or {}).get("signals")
        if known is not None and value not in known:
            raise ValueError(f"there is no signal {value!r}; there are {', '.join(sorted(known))}")
        return value

    @field_validator("resolve_when")
    @classmethod
    def _is_no_contradiction(cls, value: Condition | None, info: ValidationInfo) -> Condition | None:
        when = info.data.get("when")
        both = None if value is None or when is None else when.common(value)
        if both is not None:
            raise ValueError(f"at {both:g} both `when: {when}` and `resolve_when: {value}` hold, so the alert would come and go for ever")
        return value

    @field_validator("summary")
    @classmethod
    def _names_are_plain(cls, value: str) -> str:
        for _text, name, spec, _conversion in string.Formatter().parse(value):
            if name is not None and not name.isidentifier():
                raise ValueError(f"{{{name}}} cannot be filled in; name value, detail or a label")
            if spec and _SPEC.fullmatch(spec) is None:
                raise ValueError(f"{{{name}:{spec}}} cannot be written so; give numbers of two digits at most, for example {{{name}:.2f}}")
        return value

    def said(self, value: float | None, detail: str, labels: Mapping[str, str]) -> str:
        """The summary with its figures; a label that is absent is left as it is written."""
        if value is None:
            return detail
        figures = {**labels, "value": value, "detail": detail or f"{self.signal} is {value:g} ({self.when})"}
        try:
            return string.Formatter().vformat(self.summary, (), _Figures(figures))
        except (ValueError, TypeError):  # a format that does not fit the label; the alert matters more than its beauty
            return f"{self.title}: {figures['detail']}"


class _Figures(dict[str, Any]):
    def __missing__(self, name: str) -> str:
        return f"{{{name}}}"


class EmailReceiver(Config):
    """Somebody who gets mail. The server's certificate is verified; there is no way to send without TLS."""

    kind: Literal["email"]
    name: RuleName
    host: str = Field(pattern=r"^[^\s/@]+$", description="Name or address of the server.")
    port: int = Field(default=587, ge=1, le=65535)
    tls: Literal["starttls", "implicit"] = "starttls"
    ca_file: str | None = Field(default=None, description="Certificates (PEM) that vouch for the server, in place of the machine's.")
    username: str | None = None
    password_env: VariableName | None = None
    sender: Address
    to: tuple[Address, ...] = Field(min_length=1)
    is_told_of_ends: bool = True

    @model_validator(mode="after")
    def _has_both(self) -> Self:
        if (self.username is None) != (self.password_env is None):
            raise ValueError("give both username and password_env, or neither")
        return self


class SlackReceiver(Config):
    """A channel of Slack, or of what takes the same webhooks."""

    kind: Literal["slack"]
    name: RuleName
    url_env: VariableName
    is_told_of_ends: bool = True


class AlertmanagerReceiver(Config):
    """A Prometheus Alertmanager, which then groups, silences and tells by its own rules."""

    kind: Literal["alertmanager"]
    name: RuleName
    url: Url | None = Field(default=None, description="Default: the setting TRAJOPS_ALERTMANAGER_URL.")
    repost_s: Seconds = Field(default=60.0, ge=5, description="Open alerts are posted again this often; five times that without is an end.")


Receiver = Annotated[EmailReceiver | SlackReceiver | AlertmanagerReceiver, Field(discriminator="kind")]


class Route(Config):
    """Which alerts whom. Every route that fits counts; external alerts only where a matcher names `origin`."""

    match: tuple[WrittenMatcher, ...] = ()
    receivers: tuple[str, ...] = Field(min_length=1)


class Grouping(Config):
    """What goes into one notification, and how often there is one."""

    by: tuple[str, ...] = Field(default=("rule",), description="Labels; alerts that agree in them share notifications.")
    wait_s: Seconds = Field(default=10.0, ge=0, description="The first one waits this long for company. Critical alerts never wait.")
    interval_s: Seconds = Field(default=60.0, ge=0, description="What is new in a group that was told of waits for this.")
    repeat_s: Seconds = Field(default=4 * 3600.0, ge=60, description="An open alert that nobody acknowledges is told again.")


class Delivery(Config):
    """How hard it is tried to deliver a notification, before it becomes a dead letter."""

    timeout_s: float = Field(default=5.0, ge=0.1, le=30, description="Longest wait for one answer of a receiver's server.")
    attempt_s: float = Field(
        default=30.0, ge=0.1, le=300, description="Longest time for an attempt as a whole, however many answers it has."
    )
    attempts: int = Field(default=20, ge=1, le=1000)
    first_retry_s: Seconds = Field(default=2.0, gt=0, description="The pause doubles with each further attempt.")
    longest_retry_s: Seconds = Field(default=300.0, gt=0)


class AlertRules(Config):
    """All of `configs/alerts.yaml`."""

    rules: tuple[AlertRule, ...] = ()
    receivers: tuple[Receiver, ...] = ()
    routes: tuple[Route, ...] = ()
    grouping: Grouping = Field(default_factory=Grouping)
    delivery: Delivery = Field(default_factory=Delivery)
    external_ends_after_s: Seconds = Field(
        default=6 * 3600.0, gt=0, description="An alert of an Alertmanager that is not heard of for so long is taken to be over."
    )

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        problems = list(self._problems())
        if problems:
            raise ValidationError.from_exception_data(
                "alerts",
                [
                    InitErrorDetails(type=PydanticCustomError("alerts", "{text}", {"text": text}), loc=loc, input=None)
                    for loc, text in problems
                ],
            )
        return self

    def _problems(self) -> Iterator[tuple[tuple[str | int, ...], str]]:
        """Place and text of each thing that does not fit another."""
        lists: dict[str, tuple[Any, ...]] = {"rules": self.rules, "receivers": self.receivers}
        for part, named in lists.items():
            count = Counter(one.name for one in named)
            yield from (((part, i, "name"), f"{one.name!r} stands twice") for i, one in enumerate(named) if count[one.name] > 1)
        names = {one.name for one in self.receivers}
        asked: list[tuple[tuple[str | int, ...], tuple[str, ...]]] = [
            (("routes", i, "receivers"), route.receivers) for i, route in enumerate(self.routes)
        ]
        asked += [(("rules", i, "escalate", "receivers"), rule.escalate.receivers) for i, rule in enumerate(self.rules) if rule.escalate]
        for place, receivers in asked:
            for j, name in enumerate(receivers):
                if name not in names:
                    yield (*place, j), f"there is no receiver {name!r}; there are {', '.join(sorted(names)) or 'none'}"
        for i, rule in enumerate(self.rules):
            if rule.escalate and rule.escalate.severity and rule.escalate.severity.rank < rule.severity.rank:
                yield ("rules", i, "escalate", "severity"), f"{rule.escalate.severity} is milder than the rule's {rule.severity}"

    def rule(self, name: str) -> AlertRule | None:
        """The rule of that name."""
        return next((rule for rule in self.rules if rule.name == name), None)

    def receiver(self, name: str) -> EmailReceiver | SlackReceiver | AlertmanagerReceiver | None:
        """The receiver of that name."""
        return next((receiver for receiver in self.receivers if receiver.name == name), None)

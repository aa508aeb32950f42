"""What rules look at: a named figure with labels, and the stable name of what it is about."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Signal:
    """One figure at one time.

    Attributes:
        name: what rules refer to, for example `job_late`; the unit is its suffix.
        value: the figure; a yes or no is 1 or 0.
        at: when it was true.
        labels: which one of several, for example `{"job": "prune"}`.
        detail: a sentence for people, in which the figure is explained; may be empty.
    """

    name: str
    value: float
    at: datetime
    labels: Mapping[str, str] = field(default_factory=dict)
    detail: str = ""


def fingerprint(rule: str, labels: Mapping[str, str]) -> str:
    """The same 32 hexadecimal digits for the same rule and labels, in any order, on any machine."""
    return hashlib.sha256(json.dumps([rule, sorted(labels.items())], ensure_ascii=True).encode()).hexdigest()[:32]

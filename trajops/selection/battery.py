"""The battery: what a version must stand before it may be staged, each check with its exact figures."""

from collections.abc import Callable, Mapping

import numpy as np

from trajops.contracts.validations import CheckName, CheckOut
from trajops.errors import TrajOpsError
from trajops.selection.bad_input import check_bad_input
from trajops.selection.calibration import check_calibration
from trajops.selection.invariance import check_invariance
from trajops.selection.latency import check_latency
from trajops.selection.replaying import check_golden_replay, check_signature
from trajops.selection.results import failed, skipped
from trajops.selection.rules import BatteryRule
from trajops.selection.subject import Subject
from trajops.selection.worst_scenes import check_worst_scenes

Check = Callable[[Subject, BatteryRule], CheckOut]

CHECKS: Mapping[CheckName, Check] = {
    "signature": lambda subject, _: check_signature(subject),
    "golden_replay": lambda subject, _: check_golden_replay(subject),
    "invariance": check_invariance,
    "worst_scenes": check_worst_scenes,
    "latency": check_latency,
    "calibration": check_calibration,
    "bad_input": lambda subject, _: check_bad_input(subject),
}


def run_battery(subject: Subject, rules: BatteryRule) -> list[CheckOut]:
    """Run every check, whatever the others found; one that raises has failed, with what it raised as the reason."""
    return [_run(name, check, subject, rules) for name, check in CHECKS.items()]


def not_loaded(reason: str) -> list[CheckOut]:
    """The battery of a version that cannot be loaded."""
    return [failed("loads", reason), *(skipped(name, "It could not be loaded.") for name in CHECKS)]


def verdict(checks: list[CheckOut]) -> tuple[bool, str]:
    """Whether a version has passed, and the sentence about it."""
    bad = [check for check in checks if check.state == "failed"]
    unsaid = sum(check.state == "skipped" for check in checks)
    passed = len(checks) - len(bad) - unsaid
    rest = f", {unsaid} skipped" if unsaid else ""
    if bad:
        return False, f"{len(bad)} of {len(checks)} checks failed{rest}: {', '.join(one.check.replace('_', ' ') for one in bad)}."
    return True, f"{passed} of {len(checks)} checks passed{rest}."


def _run(name: CheckName, check: Check, subject: Subject, rules: BatteryRule) -> CheckOut:
    try:
        # What overflows shows in the figures; a warning of numpy says no more.
        with np.errstate(all="ignore"):
            return check(subject, rules)
    except TrajOpsError as error:
        return failed(name, error.message)
    except Exception as error:  # noqa: BLE001 - whatever foreign code raises is what the battery is there to find
        return failed(name, f"It raised {type(error).__name__}: {error}")

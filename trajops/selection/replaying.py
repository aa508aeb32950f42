"""Signature and golden replay: the loaded version is the model that was registered, and answers as any forecaster must."""

from trajops.contracts.validations import CheckOut
from trajops.errors import TrajOpsError
from trajops.forecasters import checks, golden
from trajops.selection.results import failed, judged, measured, skipped
from trajops.selection.subject import Subject

# Those that the battery measures itself are left out.
SUITE = tuple(check for check in checks.CHECKS if check not in {checks.check_translation, checks.check_rotation, checks.check_batch_size})


def check_signature(subject: Subject) -> CheckOut:
    """The conformance suite that every forecaster passes, whatever its family."""
    reasons = []
    for check in SUITE:
        try:
            check(subject.forecaster)
        except TrajOpsError as error:
            reasons.append(f"{check.__name__}: {error.message}")
        except Exception as error:  # noqa: BLE001 - whatever foreign code raises
            reasons.append(f"{check.__name__}: {type(error).__name__}: {error}")
    held = measured("parts of the conformance suite that hold", len(SUITE) - len(reasons), at_least=len(SUITE))
    if reasons:
        return failed("signature", "; ".join(reasons), [held])
    return judged("signature", [held], f"It keeps the tensor signature: all {len(SUITE)} parts of the conformance suite hold.")


def check_golden_replay(subject: Subject) -> CheckOut:
    """What it answers to the probes, against what it answered when it was registered."""
    if subject.golden is None:
        return skipped("golden_replay", "It was registered without golden answers; register it again to have them.")
    deviation = golden.deviation(subject.forecaster, subject.golden)
    figures = [
        measured("the largest deviation over what is tolerated", deviation.over_tolerance, at_most=1.0),
        measured("the largest deviation of a position", deviation.position_m, "m"),
    ]
    same = "bit for bit (to the four digits that are kept)" if deviation.position_m <= golden.KEPT else "within the tolerance"
    return judged("golden_replay", figures, f"It answers the {deviation.probes} probes as it did when it was registered, {same}.")

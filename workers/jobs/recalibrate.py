"""Job `recalibrate`: conformal factors for the intervals of the versions that answer, from their newest truth."""

from typing import Any

from trajops.services.calibrations import Recalibrator


def recalibrate(recalibrator: Recalibrator) -> dict[str, Any]:
    """Recalibrate once; a second run over the same truth finds that nothing is left to put right."""
    found = recalibrator.run()
    versions = {}
    for ref, (result, written) in found.items():
        versions[str(ref)] = {
            "conclusion": result.conclusion,
            "reason": result.reason,
            "fitted_agents": result.fitted_agents,
            "holdout_agents": result.holdout_agents,
            "coverage_before": _share(result.coverage_before),
            "coverage_after": _share(result.coverage_after),
            "calibration": None if written is None else written.number,
            "state": None if written is None else written.state,
        }
    sentences = [
        _sentence(ref.version, result.conclusion, result.reason, None if written is None else written.state)
        for ref, (result, written) in found.items()
    ]
    return {"sentence": " ".join(sentences) or "No version is routed, so that there is nothing to calibrate.", "versions": versions}


def _sentence(version: int, conclusion: str, reason: str, state: str | None) -> str:
    done = {"applied": "a new calibration is in force", "proposed": "a calibration is proposed"}.get(state or "")
    words = done or {"too_little_data": "too little data", "unchanged": "nothing changed"}.get(conclusion, conclusion)
    return f"v{version}: {words}; {reason}."


def _share(value: float) -> float | None:
    return round(value, 4) if value == value else None  # noqa: PLR0124 - NaN is not itself

"""Bad input: whatever comes in, a version refuses it clearly or answers with finite numbers."""

from collections.abc import Callable, Mapping
from typing import Literal

import numpy as np

from trajops.contracts.validations import CheckOut
from trajops.errors import ShapeError, TrajOpsError, WindowTooShort
from trajops.forecasters.checks import probe_histories
from trajops.ports import Forecaster
from trajops.selection.results import failed, judged, measured
from trajops.selection.subject import Subject
from trajops.trajectories import FloatArray, WindowSpec
from trajops.windows import latest_history

Wanted = Literal["answer", "refusal", "either"]


def cases(window: WindowSpec) -> Mapping[str, tuple[FloatArray, Wanted]]:
    """Histories that traffic may bring, by name, and what must come of each."""
    probes = probe_histories(window)
    unknown, endless, below = probes.copy(), probes.copy(), probes.copy()
    unknown[0, 2, 1], endless[1, 3, 0], below[2, -1, 1] = np.nan, np.inf, -np.inf
    jump = probes.copy()
    jump[:, -1] += 1_000.0
    twice = np.repeat(probes[:, ::2], 2, axis=1)[:, : window.t_obs]
    return {
        "standing still": (np.zeros_like(probes), "answer"),
        "trembling by a nanometre": (1e-9 * probes, "answer"),
        "each position twice": (twice if twice.shape == probes.shape else probes, "answer"),
        "a jump of a kilometre": (jump, "answer"),
        "10,000 km away": (probes + 1e7, "answer"),
        "a speed of 1,000 km/s": (1e5 * probes, "answer"),
        "coordinates of 1e15 m": (probes + 1e15, "either"),
        "coordinates of 1e150 m": (probes * 1e150, "either"),
        "a NaN in one of many": (unknown, "either"),
        "an infinity in one of many": (endless, "either"),
        "a negative infinity": (below, "either"),
        "nobody": (probes[:0], "answer"),
        "a position too few": (probes[:, 1:], "refusal"),
        "a position too many": (np.concatenate((probes[:, :1], probes), axis=1), "refusal"),
        "three coordinates": (np.zeros((1, window.t_obs, 3)), "refusal"),
        "no agents axis": (probes[0], "refusal"),
    }


def check_bad_input(subject: Subject) -> CheckOut:
    """Ask about each case, and cut what serving would have to refuse before it asks."""
    window = subject.forecaster.window
    found = {name: outcome(subject.forecaster, *case) for name, case in cases(window).items()}
    found |= {name: _door(window, make) for name, make in _DOORS.items()}
    reasons = [f"{name}: {reason}" for name, (_, reason) in found.items() if reason is not None]
    figures = [
        measured("cases", len(found)),
        measured("answered with finite numbers", sum(kind == "answer" for kind, _ in found.values())),
        measured("refused clearly", sum(kind == "refusal" for kind, _ in found.values())),
        measured("neither", len(reasons), at_most=0),
    ]
    if reasons:
        return failed("bad_input", "; ".join(reasons), figures)
    answered, refused = (figure.measured or 0 for figure in figures[1:3])
    well = f"Of {len(found)} cases it answered {answered:.0f} with finite numbers and refused {refused:.0f} clearly."
    return judged("bad_input", figures, well)


def outcome(forecaster: Forecaster, history_m: FloatArray, wanted: Wanted) -> tuple[str, str | None]:
    """What came of one case (answer, refusal or neither), and what is wrong with that."""
    try:
        forecast = forecaster.forecast(history_m)
    except TrajOpsError as error:
        return "refusal", f"it must be answered, and is refused: {error.message}" if wanted == "answer" else None
    except Exception as error:  # noqa: BLE001 - whatever foreign code raises
        return "neither", f"it raises {type(error).__name__}: {error}"
    if wanted == "refusal":
        return "neither", "it must be refused, and is answered"
    arrays = (forecast.mean_m, forecast.covariance_m2, forecast.weights)
    if not all(np.isfinite(array).all() for array in arrays):
        return "neither", "a number of the answer is not finite"
    if forecast.covariance_m2.size and not (_smallest(forecast.covariance_m2) > 0).all():
        return "neither", "a covariance of the answer is not positive definite"
    return "answer", None


def _smallest(covariance_m2: FloatArray) -> FloatArray:
    """Smaller eigenvalue of each symmetric (2, 2) matrix, by the closed form that does not cancel."""
    xx, xy, yy = covariance_m2[..., 0, 0], covariance_m2[..., 0, 1], covariance_m2[..., 1, 1]
    larger = (xx + yy) / 2 + np.hypot((xx - yy) / 2, xy)
    smaller: FloatArray = (xx * (yy / larger)) - xy * (xy / larger)
    return smaller


def _times_twice(window: WindowSpec) -> None:
    times_s = np.arange(window.t_obs) * window.dt_s
    times_s[3] = times_s[2]
    latest_history(times_s, probe_histories(window)[1], window, max_gap_s=2 * window.dt_s)


def _too_short(window: WindowSpec) -> None:
    times_s = np.arange(window.t_obs - 1) * window.dt_s
    latest_history(times_s, probe_histories(window)[1, 1:], window, max_gap_s=2 * window.dt_s)


_DOORS: Mapping[str, Callable[[WindowSpec], None]] = {"a time twice": _times_twice, "a track too short": _too_short}


def _door(window: WindowSpec, cut: Callable[[WindowSpec], None]) -> tuple[str, str | None]:
    """What the way into the model makes of a track that no model may be asked about."""
    try:
        cut(window)
    except (ShapeError, WindowTooShort):
        return "refusal", None
    return "neither", "it must be refused before the model is asked, and is not"

"""Invariance: the world does not change because somebody looks at it from elsewhere, later, or together with others."""

from collections.abc import Callable

import numpy as np

from trajops.contracts.validations import CheckOut, MeasuredOut
from trajops.selection.results import failed, judged, measured
from trajops.selection.rules import BatteryRule
from trajops.selection.subject import Subject
from trajops.trajectories import FloatArray, Forecast
from trajops.windows import Windows, latest_history

# A scene next door, and one in a national grid, where single precision resolves half a metre.
SHIFTS_M = (np.array([1024.0, -512.0]), np.array([412_345.0, 5_654_321.0]))
ANGLES_RAD = (0.7, np.pi / 2, np.pi)
MIRROR = np.diag([1.0, -1.0])
# Seconds of an epoch clock, on which two samples are no longer a round number apart.
LATER_S = 1_790_000_000.25
ALONE = 32

Ask = Callable[[FloatArray], Forecast]


def check_invariance(subject: Subject, rules: BatteryRule) -> CheckOut:
    """Deviation under each change that must not matter, of all windows but the few that may be passed over.

    Positions and standard deviations in metres, weights as a share; a covariance counts by the change of the standard deviation that
    it stands for, Δσ ≈ Δσ² / 2σ.
    """
    rule, ask = rules.invariance, subject.forecaster.forecast
    windows = subject.some(rule.max_windows)
    if not len(windows):
        return failed("invariance", "There is no recorded window to ask about.")
    history_m = windows.history_m
    here = ask(history_m)
    family = subject.forecaster.family

    def limited(name: str, *found: FloatArray, families: tuple[str, ...] | None = None) -> MeasuredOut:
        value = max(all_but(one, rule.passed_over) for one in found)
        if families is None or family in families:
            return measured(name, value, "m", at_most=rule.tolerance_m)
        return measured(f"{name} (not asked of this family)", value, "m")

    figures = [
        limited("translation", *(deviations(moved(here, np.eye(2), shift_m), ask(history_m + shift_m)) for shift_m in SHIFTS_M)),
        limited("rotation", *(_turned(ask, here, history_m, _turn(angle_rad)) for angle_rad in ANGLES_RAD), families=rule.turning),
        limited("reflection", _turned(ask, here, history_m, MIRROR), families=rule.mirrored),
        limited("time shift", deviations(here, ask(_later(windows)))),
        limited("asked about alone", _alone(ask, here, history_m)),
        limited("order of the batch", deviations(rows(here, np.arange(len(history_m))[::-1]), ask(history_m[::-1]))),
        limited("asked again", deviations(here, ask(history_m))),
    ]
    return judged(
        "invariance",
        figures,
        f"Moved, turned, later, alone or in another order, {len(windows)} windows are forecast alike, within {rule.tolerance_m:g} m.",
    )


def deviations(wanted: Forecast, got: Forecast) -> FloatArray:
    """(A,) largest difference of two forecasts of each agent: metres of positions and standard deviations, or a share of weight.

    Infinite where a number is not finite, and for all agents where the shapes differ.
    """
    agents = len(wanted.mean_m)
    if wanted.mean_m.shape != got.mean_m.shape:
        return np.full(max(agents, 1), np.inf)
    scale_m = np.sqrt(np.abs(wanted.covariance_m2).max(axis=(-1, -2), keepdims=True))
    parts = (
        got.mean_m - wanted.mean_m,
        (got.covariance_m2 - wanted.covariance_m2) / (2 * np.maximum(scale_m, 1e-3)),
        got.weights - wanted.weights,
    )
    found = np.stack([np.abs(part).reshape(agents, -1).max(axis=1) for part in parts]).max(axis=0)
    result: FloatArray = np.where(np.isfinite(found), found, np.inf)
    return result


def all_but(values: FloatArray, share: float) -> float:
    """Largest of some values once so large a share of them, rounded down, has been passed over."""
    return float(np.sort(values)[len(values) - 1 - int(share * len(values))])


def moved(forecast: Forecast, turn: FloatArray, shift_m: FloatArray) -> Forecast:
    """A forecast in another frame: turned (or reflected) about the origin by a (2, 2) matrix, then shifted."""
    return Forecast(forecast.mean_m @ turn.T + shift_m, turn @ forecast.covariance_m2 @ turn.T, forecast.weights)


def rows(forecast: Forecast, chosen: np.ndarray) -> Forecast:
    """Some agents of a forecast, in that order."""
    return Forecast(forecast.mean_m[chosen], forecast.covariance_m2[chosen], forecast.weights[chosen])


def _turned(ask: Ask, here: Forecast, history_m: FloatArray, turn: FloatArray) -> FloatArray:
    return deviations(moved(here, turn, np.zeros(2)), ask(history_m @ turn.T))


def _turn(angle_rad: float) -> FloatArray:
    return np.array([[np.cos(angle_rad), -np.sin(angle_rad)], [np.sin(angle_rad), np.cos(angle_rad)]])


def _later(windows: Windows) -> FloatArray:
    """The same histories as serving would cut them, had they been seen on another clock."""
    spec = windows.window
    steps_s = np.arange(spec.t_obs) * spec.dt_s
    cut = [
        latest_history(LATER_S + start_s + steps_s, seen_m, spec, max_gap_s=2 * spec.dt_s)
        for start_s, seen_m in zip(windows.starts_s, windows.history_m, strict=True)
    ]
    return np.stack(cut)


def _alone(ask: Ask, here: Forecast, history_m: FloatArray) -> FloatArray:
    chosen = np.unique(np.linspace(0, len(history_m) - 1, min(ALONE, len(history_m))).astype(np.intp))
    return np.concatenate([deviations(rows(here, np.array([row])), ask(history_m[row : row + 1])) for row in chosen])

"""Fit gradient boosting: 2 t_pred LightGBM models with an absolute-error loss, put together as one ONNX graph.

The trees learn what constant velocity leaves over, in the agent's frame and in mean step lengths. Weighting each window with
its mean step length makes the loss one in metres again. Every window is seen twice, once in the mirror, and both times with
a little noise on what was observed: without it, trees on pedestrians learn the quirks of one scene's annotation.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import minimize

from trajops.errors import InvalidInput
from trajops.forecasters.calibration import calibrated
from trajops.forecasters.constant_velocity import ConstantVelocity
from trajops.forecasters.frames import agent_frame
from trajops.forecasters.gradient_boosting import GradientBoosting
from trajops.trajectories import FloatArray
from trajops.windows import Windows
from workers.training.export import FEATURE_GRID, BoostedParts, boosting_graph, tree_attributes


@dataclass(frozen=True, slots=True)
class Recipe:
    """How the trees are grown.

    Attributes:
        rounds: trees for each target.
        leaves: most leaves of one tree.
        rate: shrinkage of each tree.
        least_rows: fewest windows in a leaf.
        column_share: share of the features that a tree may use.
        jitter_m: mean standard deviation of the noise on each observed coordinate, metres.
        threads: targets fitted at the same time.
        seed: of the noise and the choice of columns.
    """

    rounds: int = 60
    leaves: int = 15
    rate: float = 0.1
    least_rows: int = 40
    column_share: float = 0.8
    jitter_m: float = 0.02
    threads: int = 2
    seed: int = 0


def fit(train: Windows, calibration: Windows, *, recipe: Recipe | None = None, level: float = 0.9) -> GradientBoosting:
    """Grow the trees on `train`; fit and calibrate the covariance on `calibration`.

    Args:
        train: windows that move.
        calibration: windows of other agents.
        recipe: how to grow.
        level: nominal probability of the calibrated ellipse.

    Raises:
        InvalidInput: if there are too few windows to fit on, or too few calibration windows for that level.
    """
    recipe = recipe or Recipe()
    if len(train) < 4 * recipe.least_rows:
        raise InvalidInput(f"gradient boosting needs at least {4 * recipe.least_rows} windows to train on, not {len(train)}; record more")
    window = train.window
    base_weights = ConstantVelocity(window=window).weights
    features, residual_m, scale_m = _problem(_mirrored(train, recipe), base_weights)
    moving = scale_m > 1e-3
    targets = (residual_m[moving] / scale_m[moving, None, None]).reshape(-1, 2 * window.t_pred)
    dumps = _grow(features[moving], targets, scale_m[moving], recipe)
    trees = tree_attributes(dumps)
    blank = BoostedParts(trees, base_weights, np.ones((window.t_pred, 2)), np.ones(window.t_pred))
    draft = GradientBoosting(boosting_graph(blank, window).SerializeToString(), window=window)
    _, rotation, held_scale_m = agent_frame(calibration.history_m)
    error_m = (calibration.truth_m - draft.forecast(calibration.history_m).best_m) @ rotation
    along_across, floor_m2 = residual_spread(error_m, held_scale_m)
    graph = boosting_graph(BoostedParts(trees, base_weights, along_across, floor_m2), window)
    return calibrated(GradientBoosting(graph.SerializeToString(), window=window), calibration.history_m, calibration.truth_m, level)


def residual_spread(error_m: FloatArray, scale_m: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Variances of the errors by maximum likelihood: a part that grows with the speed, and one that does not.

    Args:
        error_m: (A, T, 2) errors along and across the heading, metres.
        scale_m: (A,) mean step lengths, metres.

    Returns:
        along_across: (T, 2) in squared mean step lengths.
        floor_m2: (T,) square metres.
    """
    squared_m2, scale_m2 = error_m**2, scale_m[:, None] ** 2
    along_across, floor_m2 = np.empty(error_m.shape[1:]), np.empty(error_m.shape[1])
    for step in range(error_m.shape[1]):
        mean_m2 = squared_m2[:, step].mean() + 1e-6
        share = mean_m2 / (scale_m2.mean() + 1e-6)

        def loss(logs: FloatArray, step: int = step, share: float = share, mean_m2: float = mean_m2) -> float:
            along, across, floor = np.exp(np.clip(logs, -15, 15))
            variance_m2 = np.array([along, across]) * share * scale_m2 + floor * mean_m2
            return float((np.log(variance_m2) + squared_m2[:, step] / variance_m2).mean())

        along, across, floor = np.exp(np.clip(minimize(loss, np.log([0.5, 0.5, 0.3]), method="Nelder-Mead").x, -15, 15))
        along_across[step] = along * share, across * share
        floor_m2[step] = floor * mean_m2
    return along_across, floor_m2


def _mirrored(windows: Windows, recipe: Recipe) -> FloatArray:
    """Positions (2 A, t_obs + t_pred, 2) relative to the last true one: every window and its mirror image, observed with noise."""
    rng = np.random.default_rng(recipe.seed)
    centred_m = windows.positions_m - windows.history_m[:, -1:]
    positions_m = np.concatenate((centred_m, centred_m * (1.0, -1.0)))
    # From none to twice the named noise, as for the network.
    spread_m = rng.uniform(0, 2 * recipe.jitter_m, size=(len(positions_m), 1, 1))
    t_obs = windows.window.t_obs
    positions_m[:, :t_obs] += spread_m * rng.normal(size=(len(positions_m), t_obs, 2))
    return np.asarray(positions_m)


def _problem(positions_m: FloatArray, base_weights: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Features (A, F), what the linear base leaves over in the agents' frames (A, T, 2), and scales (A,)."""
    history_m, truth_m = np.split(positions_m, [base_weights.shape[1]], axis=1)
    features, rotation, scale_m = agent_frame(history_m)
    return (
        np.round(features * np.float32(FEATURE_GRID)) / np.float32(FEATURE_GRID),
        (truth_m - base_weights @ history_m) @ rotation,
        scale_m,
    )


def _grow(features: FloatArray, targets: FloatArray, weights_m: FloatArray, recipe: Recipe) -> list[Any]:
    """Fit one booster for each column of the targets and return their dumps."""
    # Slow to import, and needed only here.
    import lightgbm  # noqa: PLC0415

    options = {
        "objective": "l1",
        "num_leaves": recipe.leaves,
        "learning_rate": recipe.rate,
        "min_data_in_leaf": recipe.least_rows,
        "feature_fraction": recipe.column_share,
        "num_threads": 1,
        "seed": recipe.seed,
        "deterministic": True,
        "force_col_wise": True,
        "verbosity": -1,
    }

    def grow(target: int) -> Any:
        data = lightgbm.Dataset(features, targets[:, target].copy(), weight=weights_m, params=options)
        return lightgbm.train(options, data, recipe.rounds).dump_model()

    # LightGBM leaves the interpreter's lock while it works; one thread a target keeps the result independent of the cores.
    with ThreadPoolExecutor(recipe.threads) as pool:
        return list(pool.map(grow, range(targets.shape[1])))

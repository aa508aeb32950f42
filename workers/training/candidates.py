"""One candidate: fitted, evaluated and packed up where it was computed, so that any worker can send it back."""

import dataclasses
import tempfile
import time
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from threadpoolctl import threadpool_limits

from data.models.package import Package
from trajops.errors import NotFound
from trajops.forecasters import artifact, golden
from trajops.performance.rules import BANDS, SpeedBand
from trajops.ports import Forecaster
from trajops.windows import Windows
from workers.training.evaluate import Evaluation, evaluate
from workers.training.export import to_onnx
from workers.training.partitions import Split

EXAMPLES = 2
# Fitted lazily: a run that fits a Kalman filter does not import LightGBM.
FAMILIES = {
    "constant_velocity": "workers.training.fit_constant_velocity",
    "kalman": "workers.training.fit_kalman",
    "gaussian_mlp": "workers.training.fit_mlp",
    "gradient_boosting": "workers.training.fit_boosting",
}


@dataclass(frozen=True)
class Candidate:
    """What to fit. The seed stands here, so that the result does not depend on who computes it."""

    family: str
    data: Split
    seed: int
    miss_threshold_m: float
    bands: tuple[SpeedBand, ...] = BANDS


@dataclass(frozen=True)
class Fitted:
    """A fitted candidate with its figures.

    Attributes:
        package: the model in both of its forms.
        params: how it was fitted.
        evaluation: on the validation windows.
        fit_s: seconds.
    """

    package: Package
    params: dict[str, str]
    evaluation: Evaluation
    fit_s: float


def fit_candidate(candidate: Candidate) -> Fitted:
    """Fit, evaluate and pack one candidate.

    Raises:
        NotFound: if there is no such family.
        InvalidInput: if there are too few windows for it.
    """
    # Threads of BLAS cost small networks more than they give, tenfold on busy cores; and one thread adds up in one order.
    with threadpool_limits(1):
        return _fitted(candidate)


def _fitted(candidate: Candidate) -> Fitted:
    started_s = time.perf_counter()
    data = candidate.data
    forecaster, params = fit(candidate.family, data.fit, data.calibration, candidate.seed)
    fit_s = time.perf_counter() - started_s
    evaluation = evaluate(forecaster, data.validation, miss_threshold_m=candidate.miss_threshold_m, bands=candidate.bands)
    package = Package(
        family=forecaster.family,
        graph=to_onnx(forecaster).SerializeToString(),
        files=files_of(forecaster),
        window=forecaster.window,
        example_m=data.validation.history_m[:EXAMPLES],
        golden=golden.record(forecaster),
    )
    return Fitted(package, params, evaluation, fit_s)


def fit(family: str, train: Windows, calibration: Windows, seed: int) -> tuple[Forecaster, dict[str, str]]:
    """Fit a family by its recipe, and say how.

    Raises:
        NotFound: if there is no such family.
    """
    if family not in FAMILIES:
        raise NotFound(f"there is no model family {family}; choose one of {', '.join(FAMILIES)}")
    module: Any = import_module(FAMILIES[family])
    recipe_class = getattr(module, "Recipe", None)
    if recipe_class is None:
        return module.fit(train, calibration), {"seed": str(seed)}
    recipe = recipe_class(seed=seed)
    params = {f"recipe.{name}": str(value) for name, value in dataclasses.asdict(recipe).items()}
    return module.fit(train, calibration, recipe=recipe), params


def files_of(forecaster: Forecaster) -> dict[str, bytes]:
    """The forecaster's own artefact, file by file."""
    with tempfile.TemporaryDirectory() as folder:
        artifact.save(forecaster, Path(folder))
        return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(Path(folder).rglob("*")) if path.is_file()}

"""From a model version to a warm forecaster: cache first, untrusted code never by accident.

What the registry holds is one of three: an artefact of our own families (arrays, no pickle), an ONNX graph from anywhere,
or an MLflow pyfunc, which runs code when it is loaded and therefore needs the operator's explicit consent.
"""

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from data.models.cache import MODEL_FOLDER, CachedVersion, find, version_dir
from data.models.package import GOLDEN_TAG
from data.models.pyfunc_model import PyfuncModel, Run
from data.models.signature import MEAN, OUR_FLAVOUR, ModelFile, check_declared, read_model_file
from trajops.deployments.model_ref import ModelRef
from trajops.errors import EnvironmentProblem, RegistryUnavailable, SignatureMismatch, TrajOpsError, UnsafeModel
from trajops.forecasters import artifact, checks, golden
from trajops.forecasters.cached import CacheMeter, where_it_pays
from trajops.forecasters.onnx_model import OnnxModel
from trajops.ports import Forecaster, ModelRegistry
from trajops.trajectories import DEFAULT_WINDOW, FloatArray, checked

# The cheap part of the conformance suite; adoption runs all of it that a foreign model must pass.
WARM_UP_CHECKS = (
    checks.check_window,
    checks.check_shapes,
    checks.check_refuses_wrong_shapes,
    checks.check_finite,
    checks.check_translation,
    checks.check_batch_size,
    checks.check_covariance,
    checks.check_weights,
)
RESIDUAL_TAG = "trajops.residual_covariance_m2"
logger = logging.getLogger(__name__)

OnUnsafe = Callable[[ModelRef, str], None]


class ModelLoader:
    """Loads versions of registered models.

    Args:
        registry: where versions come from.
        cache_dir: local folder; what it holds is served also while the registry is away.
        allow_pickled: consent to models that run code when they are loaded.
        on_unsafe: told about each such load, before it happens: the audit trail.
        remembered: forecasts that a slow version remembers; 0: none.
        cache_meters: where what they count is found by version, also after it was unloaded.
    """

    def __init__(
        self,
        registry: ModelRegistry,
        cache_dir: Path,
        *,
        allow_pickled: bool = False,
        on_unsafe: OnUnsafe | None = None,
        remembered: int = 0,
        cache_meters: dict[ModelRef, CacheMeter] | None = None,
    ) -> None:
        self._registry, self._cache_dir = registry, cache_dir
        self._allow_pickled, self._on_unsafe = allow_pickled, on_unsafe
        self._remembered = remembered
        self._cache_meters = {} if cache_meters is None else cache_meters

    def load(self, ref: ModelRef) -> Forecaster:
        """Bring a version into memory, run it, and check what it answers, also against what it answered when it was registered.

        Raises:
            NotFound: if there is no such version.
            RegistryUnavailable: if the registry is away and the cache does not hold the version.
            SignatureMismatch: if the model does not honour the tensor signature, or does not answer as it once did.
            UnsafeModel: if it would run code and nobody has consented.
        """
        cached = self._cached(ref)
        forecaster = self._opened(ref, cached, None)
        warm_up(ref, forecaster)
        recorded = cached.info.tags.get(GOLDEN_TAG)
        if recorded is not None:
            try:
                golden.replay(forecaster, recorded)
            except SignatureMismatch as error:
                raise SignatureMismatch(f"{ref}: {error.message}", check="golden_replay") from error
        # Last, so that what was checked is the model and not its memory. A version's answers are remembered and forgotten with it.
        return where_it_pays(forecaster, self._remembered, self._cache_meters.setdefault(ref, CacheMeter()))

    def size_bytes(self, ref: ModelRef) -> int:
        """Bytes of the files of a version in the cache; 0 where it is not there."""
        return sum(path.stat().st_size for path in (version_dir(self._cache_dir, ref) / MODEL_FOLDER).rglob("*") if path.is_file())

    def recorded(self, ref: ModelRef) -> str | None:
        """The golden answers that a version in the cache was registered with; None where there are none."""
        cached = CachedVersion.read(version_dir(self._cache_dir, ref))
        return None if cached is None else cached.info.tags.get(GOLDEN_TAG)

    def open(self, ref: ModelRef, *, stand_in_m2: FloatArray | None = None) -> Forecaster:
        """`load` without the warm-up.

        Args:
            ref: the version.
            stand_in_m2: (t_pred, 2, 2) covariance for a foreign model that has none of its own and was not adopted yet.
        """
        return self._opened(ref, self._cached(ref), stand_in_m2)

    def _opened(self, ref: ModelRef, cached: CachedVersion, stand_in_m2: FloatArray | None) -> Forecaster:
        found = read_model_file(cached.model_dir)
        if OUR_FLAVOUR in found.flavours:
            return artifact.load(_inside(cached.model_dir, found.flavours[OUR_FLAVOUR].get("artifact", OUR_FLAVOUR)))
        try:
            check_declared(found)
            residual_m2 = _residual_m2(cached)
            return self._foreign(ref, cached, found, stand_in_m2 if residual_m2 is None else residual_m2)
        except SignatureMismatch as error:
            raise SignatureMismatch(f"{ref}: {error.message}") from error

    def _foreign(self, ref: ModelRef, cached: CachedVersion, found: ModelFile, residual_m2: FloatArray | None) -> Forecaster:
        if "onnx" in found.flavours:
            graph = _inside(cached.model_dir, found.flavours["onnx"].get("data", "model.onnx"))
            return OnnxModel(_graph(graph), residual_covariance_m2=residual_m2)
        if "python_function" not in found.flavours:
            raise SignatureMismatch(f"the model has the flavours {', '.join(found.flavours) or 'none'}; wanted is onnx or python_function")
        return PyfuncModel(self._pyfunc(ref, cached, found), residual_m2=residual_m2)

    def _cached(self, ref: ModelRef) -> CachedVersion:
        """The version's files: the registry is asked whether they are still the ones, and is not missed when it is away."""
        try:
            folder = self._registry.fetch(ref, self._cache_dir)
        except RegistryUnavailable as error:
            cached = find(self._cache_dir, ref)
            if cached is None:
                raise RegistryUnavailable(f"{ref} is not in the local cache, and {error.message}") from error
            logger.warning("serving %s from the local cache: %s", ref, error.message)
            return cached
        cached = CachedVersion.read(folder)
        if cached is None:
            raise RegistryUnavailable(f"{ref} was fetched into {folder}, but its record is missing there; remove that folder and try again")
        return cached

    def _pyfunc(self, ref: ModelRef, cached: CachedVersion, found: ModelFile) -> Run:
        reason = f"an MLflow pyfunc with the loader {found.flavours['python_function'].get('loader_module', 'unknown')}"
        if not self._allow_pickled:
            raise UnsafeModel(
                f"{ref} is {reason}, which runs code when it is loaded; export it to ONNX, or, if you trust its author, "
                "set TRAJOPS_ALLOW_PICKLED_MODELS=true"
            )
        if self._on_unsafe is not None:
            self._on_unsafe(ref, reason)
        try:
            from data.models.mlflow_store import load_pyfunc  # noqa: PLC0415 - MLflow costs seconds; only this path needs it
        except ImportError as error:
            raise EnvironmentProblem(f"{ref} is {reason}, and MLflow is not installed here; install trajops[workers]") from error
        name = found.inputs[0].name if found.inputs else ""
        predict = load_pyfunc(cached.model_dir)

        def run(history: FloatArray) -> dict[str, Any]:
            answer = predict({name: history} if name else history)
            return dict(answer) if hasattr(answer, "keys") else {MEAN: answer}

        return run


def warm_up(ref: ModelRef, forecaster: Forecaster) -> None:
    """Run a model on walkers, runners and people who stand, and refuse it where an answer could not be served.

    Raises:
        SignatureMismatch: naming the check that failed.
    """
    if forecaster.window != DEFAULT_WINDOW:
        raise SignatureMismatch(f"{ref} was made for {forecaster.window}; served is {DEFAULT_WINDOW}")
    for check in WARM_UP_CHECKS:
        try:
            check(forecaster)
        except TrajOpsError as error:
            raise SignatureMismatch(f"{ref} fails {check.__name__}: {error.message}", check=check.__name__) from error
        except Exception as error:
            raise SignatureMismatch(f"{ref} fails {check.__name__} with {type(error).__name__}: {error}", check=check.__name__) from error


def _graph(path: Path) -> bytes:
    """A graph with all its weights in it; MLflow lays larger tensors into a file beside it unless it is told otherwise."""
    import onnx  # noqa: PLC0415 - a fifth of a second that only foreign graphs pay

    try:
        graph: bytes = onnx.load(path).SerializeToString()
    except Exception as error:
        raise SignatureMismatch(f"the ONNX model cannot be read: {error}") from error
    return graph


def _residual_m2(cached: CachedVersion) -> FloatArray | None:
    text = cached.info.tags.get(RESIDUAL_TAG)
    return None if text is None else checked(RESIDUAL_TAG, json.loads(text), DEFAULT_WINDOW.t_pred, 2, 2)


def _inside(folder: Path, relative: str) -> Path:
    """A path below the model's folder; a model file may not point out of it."""
    path = (folder / relative).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise SignatureMismatch(f"the model names the file {relative}, which lies outside of its folder")
    return path

"""Validation of one version: load it, run the battery, write the card."""

import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

from threadpoolctl import threadpool_limits

from data.models.loader import ModelLoader
from data.models.package import VALIDATION_TAG
from data.models.registry import MlflowRegistry
from trajops import configs
from trajops.contracts.validations import Cause, CheckOut, RankedOut, ValidationOut
from trajops.deployments.model_ref import ModelRef
from trajops.errors import NotFound, TrajOpsError, Unavailable
from trajops.forecasters import artifact
from trajops.ports import Forecaster
from trajops.records import ModelVersion
from trajops.selection.battery import not_loaded, run_battery, verdict
from trajops.selection.card import card
from trajops.selection.latency import times_ms
from trajops.selection.ranking import CandidateFigures, rank
from trajops.selection.rules import BatteryRule, SelectionRules
from trajops.selection.subject import Subject
from trajops.settings import Settings
from trajops.stores import UnitOfWorkFactory
from trajops.trajectories import DEFAULT_WINDOW, Scene
from trajops.windows import Windows
from workers.compute import Inline
from workers.training.candidates import Fitted
from workers.training.partitions import Cutting, Split, split

CPU_INFO = Path("/proc/cpuinfo")


@dataclass(frozen=True)
class Assessed:
    """What the battery found, and how long that took.

    Attributes:
        checks: all of them.
        duration_s: of the battery.
    """

    checks: list[CheckOut]
    duration_s: float


@dataclass(frozen=True)
class HeldOut:
    """Recorded windows to validate on.

    Attributes:
        dataset: their name.
        data: by role; agents of `validation` are in no model's fit that was trained here.
    """

    dataset: str
    data: Split


def selection_rules(settings: Settings) -> SelectionRules:
    """How candidates are ranked, and what the battery demands.

    Raises:
        InvalidInput: if `selection.yaml` has a mistake; the sentence names file and line.
    """
    return configs.load(settings.configs_dir / "selection.yaml", SelectionRules)


def held_out(scenes: Sequence[Scene], dataset: str, cutting: Cutting | None = None) -> HeldOut:
    """Cut scenes for validation.

    Raises:
        InvalidInput: if there are too few windows.
    """
    return HeldOut(dataset, split(scenes, Inline(), cutting))


def assess(subject: Subject, rules: BatteryRule) -> Assessed:
    """Run the battery on one thread, as serving answers."""
    started_s = time.perf_counter()
    with threadpool_limits(1):
        checks = run_battery(subject, rules)
    return Assessed(checks, time.perf_counter() - started_s)


def assess_fitted(fitted: Fitted, validation: Windows, rules: BatteryRule, champion: Forecaster | None) -> Assessed:
    """Run the battery over what will be registered: the forecaster that its files make, and not the one that was fitted."""
    started_s = time.perf_counter()
    try:
        with tempfile.TemporaryDirectory() as folder:
            for name, content in fitted.package.files.items():
                Path(folder, name).write_bytes(content)
            forecaster = artifact.load(Path(folder))
    except TrajOpsError as error:
        return Assessed(not_loaded(error.message), time.perf_counter() - started_s)
    return assess(Subject(forecaster, validation, fitted.package.golden or None, champion), rules)


def ranked(fitted: Sequence[Fitted], assessed: Sequence[Assessed], rules: SelectionRules) -> list[RankedOut]:
    """The candidates of a run by the policy, with the times that the battery has taken on this machine."""
    return rank([_figures(one, found) for one, found in zip(fitted, assessed, strict=True)], rules.ranking)


def _figures(fitted: Fitted, assessed: Assessed) -> CandidateFigures:
    metrics: dict[str, float] = fitted.evaluation.metrics
    timed = next((check for check in assessed.checks if check.check == "latency"), None)
    median_ms, p99_ms = (float("inf"), float("inf")) if timed is None else times_ms(timed)
    return CandidateFigures(
        family=fitted.package.family,
        ade_m=metrics["val_ade_m"],
        baseline_ade_m=metrics["val_cv_ade_m"],
        nll=metrics["val_nll"],
        coverage_90=metrics["val_coverage_90"],
        latency_ms=median_ms,
        latency_p99_ms=p99_ms,
        size_mb=sum(map(len, fitted.package.files.values())) / 1e6,
    )


def validation_of(
    ref: ModelRef,
    assessed: Assessed,
    found: HeldOut,
    *,
    cause: Cause,
    by: str,
    ranking: Sequence[RankedOut] = (),
    at: datetime | None = None,
) -> ValidationOut:
    """What is written down about one run of the battery."""
    is_passed, sentence = verdict(assessed.checks)
    validation = found.data.validation
    return ValidationOut(
        validation_id=uuid4().hex,
        model_name=ref.name,
        model_version=ref.version,
        at=at or datetime.now(UTC),
        is_passed=is_passed,
        sentence=sentence,
        cause=cause,
        by=by,
        dataset=found.dataset,
        data_fingerprint=found.data.fingerprint,
        windows=len(validation),
        agents=len(set(zip(validation.scene_ids, validation.agent_ids, strict=True))),
        machine=machine(),
        duration_s=round(assessed.duration_s, 3),
        checks=assessed.checks,
        ranking=list(ranking),
    )


def tag_of(validation: ValidationOut) -> dict[str, str]:
    """What the registry is told: the verdict first, then the sentence."""
    return {VALIDATION_TAG: f"{'passed' if validation.is_passed else 'failed'}: {validation.sentence} {validation.at:%Y-%m-%dT%H:%M:%SZ}"}


def machine() -> str:
    """Processor, cores and Python: what times depend on."""
    name = platform.machine()
    with suppress(OSError):
        lines = CPU_INFO.read_text(encoding="utf-8", errors="replace").splitlines()
        name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), name)
    return f"{name}, {os.cpu_count()} cores, Python {sys.version.split()[0]}"


def champion_of(settings: Settings, unit_of_work: UnitOfWorkFactory, but: ModelRef | None = None) -> Forecaster | None:
    """The version that answers now, loaded here; None where there is none, it cannot be loaded, or it is the one that is looked at."""
    with unit_of_work(read_only=True) as uow:
        ref = uow.routes.table().champion
    if ref is None or ref == but:
        return None
    # A champion that would run code is not loaded for the sake of a comparison.
    with suppress(TrajOpsError), closing(MlflowRegistry(settings.registry_url)) as registry:
        return ModelLoader(registry, settings.models_dir).load(ref)
    return None


class Validator:
    """Validates registered versions.

    Args:
        settings: name the policy, the registry and whether pickled models are allowed.
        loader: brings versions into memory.
        tell: writes tags onto a version in the registry.
        unit_of_work: opens a transaction of the control state.
        windows: what to validate on; called when it is first needed.
        is_asked: the windows were named by whoever asks: errors on them count whatever the version was trained on.
    """

    def __init__(
        self,
        settings: Settings,
        loader: ModelLoader,
        tell: Callable[[ModelRef, dict[str, str]], None],
        unit_of_work: UnitOfWorkFactory,
        windows: Callable[[], HeldOut],
        *,
        is_asked: bool = False,
    ) -> None:
        self._settings = settings
        self._rules = selection_rules(settings)
        self._loader = loader
        self._tell = tell
        self._unit_of_work = unit_of_work
        self._windows = windows
        self._is_asked = is_asked
        self._held_out: HeldOut | None = None

    def __call__(self, version: ModelVersion, *, cause: Cause, by: str) -> tuple[ValidationOut, str]:
        """Run the battery over one version; the caller writes down what comes of it.

        A version keeps the rank that it had among the candidates of its run.

        Raises:
            RegistryUnavailable: if the registry is away and the cache does not hold the version; it says nothing about the version.
        """
        if self._held_out is None:
            self._held_out = self._windows()
        ref, found = version.ref, self._held_out
        with self._unit_of_work(read_only=True) as uow:
            before = uow.validations.newest(ref)
        assessed = self._assess(version, found)
        ranking = [] if before is None else before.ranking
        validation = validation_of(ref, assessed, found, cause=cause, by=by, ranking=ranking)
        with suppress(Unavailable, NotFound):
            self._tell(ref, tag_of(validation))
        return validation, card(version, validation, DEFAULT_WINDOW)

    def _assess(self, version: ModelVersion, found: HeldOut) -> Assessed:
        started_s = time.perf_counter()
        try:
            forecaster = self._loader.open(version.ref)
        except Unavailable:
            raise
        except TrajOpsError as error:
            return Assessed(not_loaded(error.message), time.perf_counter() - started_s)
        except Exception as error:  # noqa: BLE001 - a foreign model's own code
            return Assessed(not_loaded(f"It raised {type(error).__name__}: {error}"), time.perf_counter() - started_s)
        subject = Subject(
            forecaster,
            found.data.validation,
            self._loader.recorded(version.ref),
            champion_of(self._settings, self._unit_of_work, but=version.ref),
            self._without_data(version, found),
        )
        return assess(subject, self._rules.battery)

    def _without_data(self, version: ModelVersion, found: HeldOut) -> str | None:
        """Why errors on these windows say nothing about a version."""
        if self._is_asked or version.params.get("data_fingerprint") == found.data.fingerprint:
            return None
        dataset = version.params.get("dataset", "others")
        return (
            f"It was trained on other tracks ({dataset}) than are here; validate it on them with "
            f"`python -m workers.training --validate {version.model_version} --tracks FILE`."
        )

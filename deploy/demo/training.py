"""The demo's first models: fitted while MLflow is still starting, then logged and registered as any other."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from data.datasets import skillcorner
from data.models.loader import ModelLoader
from data.models.package import LoggedVersion, Package, RunRecord
from data.models.registry import MlflowRegistry
from data.sql.engine import Database
from trajops.deployments.model_ref import ModelRef
from trajops.errors import RegistryUnavailable
from trajops.ports import Forecaster
from trajops.settings import Settings
from workers.training.run import RunStore, train

CHAMPION, CHALLENGER = "gaussian_mlp", "gradient_boosting"
FAMILIES = ("kalman", CHAMPION, CHALLENGER)
DATASET = "skillcorner-2417 first half"


@dataclass(frozen=True)
class FirstModels:
    """Versions by their role."""

    champion: int
    challenger: int
    settings: Settings

    def load(self) -> dict[int, Forecaster]:
        """The models behind them, by version."""
        registry = MlflowRegistry(self.settings.registry_url)
        try:
            loader = ModelLoader(registry, self.settings.models_dir)
            return {version: loader.load(ModelRef(self.settings.model_name, version)) for version in (self.champion, self.challenger)}
        finally:
            registry.close()


class PatientStore:
    """Opens the store at its first use and waits until the server answers: nobody fits models while they wait."""

    def __init__(self, url: str, timeout_s: float) -> None:
        self._url, self._deadline = url, time.monotonic() + timeout_s
        self._store: RunStore | None = None

    def publish(self, model_name: str, record: RunRecord, package: Package) -> LoggedVersion:
        """Log and register, as `MlflowStore.publish`."""
        if self._store is None:
            self._store = self._open()
        return self._store.publish(model_name, record, package)

    def _open(self) -> RunStore:
        registry = MlflowRegistry(self._url)
        try:
            while True:
                try:
                    registry.aliases("probe")
                    break
                except RegistryUnavailable:
                    if time.monotonic() > self._deadline:
                        raise
                    time.sleep(0.2)
        finally:
            registry.close()
        from data.models.mlflow_store import MlflowStore  # noqa: PLC0415 - MLflow takes seconds to import

        return MlflowStore(self._url)


def first_models(settings: Settings, say: Callable[[str], None], timeout_s: float) -> FirstModels:
    """Train on the first half of the match what an earlier start has not registered yet, and return what to deploy."""
    database = Database(settings.sql_url)
    with database.unit_of_work(read_only=True) as work:
        known = {row.family: row.ref for row in work.model_versions.all(settings.model_name) if row.params.get("dataset") == DATASET}
    missing = [family for family in FAMILIES if family not in known]
    if missing:
        scene = skillcorner.load()["first_half"]
        say(f"tracks: {len(scene.tracks)} continuous tracks of the first half (SkillCorner open data)")
        store = PatientStore(settings.registry_url, timeout_s)
        trained = train(settings, [scene], families=missing, database=database, store=store, dataset=DATASET, progress=say)
        known |= {version.family: version.ref for version in trained}
    else:
        say("training: the models of an earlier start are registered")
    return FirstModels(known[CHAMPION].version, known[CHALLENGER].version, settings)

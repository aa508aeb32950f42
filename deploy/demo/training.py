"""The demo's first models: fitted while MLflow is still starting, then logged and registered as any other."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from data.datasets import skillcorner
from data.models.loader import ModelLoader
from data.models.package import LoggedVersion, Package, RunRecord
from data.models.registry import MlflowRegistry
from data.sql.engine import Database
from trajops.errors import RegistryUnavailable
from trajops.ports import Forecaster
from trajops.settings import Settings
from workers.training.run import RunStore, train

CHAMPION, CHALLENGER = "gaussian_mlp", "gradient_boosting"
FAMILIES = ("kalman", CHAMPION, CHALLENGER)


@dataclass(frozen=True)
class FirstModels:
    """Versions by their role, and the models behind them."""

    champion: int
    challenger: int
    forecasters: dict[int, Forecaster]


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


def train_first_models(settings: Settings, say: Callable[[str], None], timeout_s: float) -> FirstModels:
    """Train on the first half of the match, register, and return what to deploy."""
    scene = skillcorner.load()["first_half"]
    say(f"tracks: {len(scene.tracks)} continuous tracks of the first half (SkillCorner open data)")
    versions = train(
        settings,
        [scene],
        families=FAMILIES,
        database=Database(settings.sql_url),
        store=PatientStore(settings.registry_url, timeout_s),
        dataset="skillcorner-2417 first half",
        progress=say,
    )
    by_family = {version.family: version.ref for version in versions}
    loader = ModelLoader(MlflowRegistry(settings.registry_url), settings.models_dir)
    compared = [by_family[CHAMPION], by_family[CHALLENGER]]
    return FirstModels(*(ref.version for ref in compared), {ref.version: loader.load(ref) for ref in compared})

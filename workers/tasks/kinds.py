"""What each kind of task does, in its own process."""

from collections.abc import Callable, Mapping
from contextlib import closing
from typing import TYPE_CHECKING

import numpy as np
import orjson

from data.models.loader import ModelLoader
from data.models.registry import MlflowRegistry
from data.tasks.files import TaskFiles
from trajops.contracts.tasks import TaskKind, TaskOut, TaskOutcomeOut
from trajops.deployments.model_ref import ModelRef
from trajops.errors import InvalidInput
from trajops.ports import Forecaster
from trajops.records import ModelVersion
from trajops.tasks.rules import TaskRules
from workers.tasks.telling import Telling
from workers.tasks.tracks_of import Tracks, tracks_of

if TYPE_CHECKING:
    from workers.wiring import Parts


class Work:
    """Does tasks with the parts of a worker.

    Args:
        parts: of this process.
        files: of tasks.
        rules: bounds.
        telling: of the task.
    """

    def __init__(self, parts: "Parts", files: TaskFiles, rules: TaskRules, telling: Telling) -> None:
        self._parts, self._files, self._rules, self._telling = parts, files, rules, telling

    @property
    def by_kind(self) -> Mapping[TaskKind, Callable[[TaskOut], TaskOutcomeOut]]:
        """What to call for each kind."""
        return {"batch_predict": self._batch_predict, "train": self._train, "evaluate": self._evaluate}

    def _batch_predict(self, task: TaskOut) -> TaskOutcomeOut:
        from workers.tasks.predicting import predict  # noqa: PLC0415 - brings pyarrow

        forecaster, found = self._load(task), self._tracks(task)
        self._telling.stage("Predicts", 0.1)
        asked = task.asked
        return predict(
            forecaster, found.scenes, self._telling, windows=asked.windows, form=asked.format, max_windows=self._rules.max_windows
        )

    def _evaluate(self, task: TaskOut) -> TaskOutcomeOut:
        from workers.training.evaluate import evaluate  # noqa: PLC0415
        from workers.training.partitions import Cutting, cut_partition, fingerprint_of, ordered  # noqa: PLC0415
        from workers.training.run import speed_bands  # noqa: PLC0415

        forecaster, found = self._load(task), self._tracks(task)
        self._telling.stage("Cuts windows", 0.2)
        roles = [cut_partition(scene, Cutting()) for scene in found.scenes]
        windows = ordered([part for role in roles for part in role.values()])
        note = ""
        if len(windows) and self._version(task).params.get("data_fingerprint") == fingerprint_of(windows):
            windows = ordered([role["validation"] for role in roles])
            note = " The version was trained on these tracks: measured is only on agents that it has not seen."
        if not len(windows):
            raise InvalidInput("no agent is seen for long enough, 8.0 s without a gap, to hold a forecast against what came after it")
        if len(windows) > self._rules.max_windows:
            raise InvalidInput(f"that would be {len(windows)} windows, allowed are {self._rules.max_windows}; give fewer tracks")
        agents = len(set(zip(windows.scene_ids, windows.agent_ids, strict=True)))
        self._telling.stage(f"Measures on {len(windows)} windows", 0.4)
        settings = self._parts.settings
        measured = evaluate(forecaster, windows, miss_threshold_m=settings.miss_threshold_m, bands=speed_bands(settings))
        figures = {name: float(value) for name, value in measured.metrics.items()}
        sentence = f"ADE {figures['val_ade_m']:.2f} m on {len(windows)} windows of {agents} agents.{note}"
        self._telling.say(sentence)
        body = {
            "model": str(ModelRef(task.model_name, task.model_version or 0)),
            "dataset": found.dataset,
            "windows": len(windows),
            "agents": agents,
            "figures": figures,
            "step_error_m": np.asarray(measured.step_error_m).tolist(),
            "baseline_error_m": np.asarray(measured.baseline_error_m).tolist(),
        }
        path = self._telling.folder / "evaluation.json"
        path.write_bytes(orjson.dumps(body, option=orjson.OPT_INDENT_2))
        shown = {name: value for name, value in figures.items() if name.startswith("val_")}
        return TaskOutcomeOut(
            sentence=sentence, filename=path.name, media_type="application/json", bytes=path.stat().st_size, figures=shown
        )

    def _train(self, task: TaskOut) -> TaskOutcomeOut:
        from workers.tasks.training import Training  # noqa: PLC0415 - imports MLflow

        return Training(self._parts, task, self._telling, lambda: self._tracks(task)).run()

    def _tracks(self, task: TaskOut) -> Tracks:
        self._telling.stage("Reads tracks", 0.05)
        found = tracks_of(task, self._parts, self._files, self._rules)
        agents = sum(len(scene.tracks) for scene in found.scenes)
        scenes = len(found.scenes)
        self._telling.say(f"read {agents} agents in {scenes} {'scene' if scenes == 1 else 'scenes'} of {found.dataset}")
        if found.left_out:
            self._telling.say(found.left_out)
        return found

    def _version(self, task: TaskOut) -> ModelVersion:
        with self._parts.database.unit_of_work(read_only=True) as uow:
            return uow.model_versions.get(ModelRef(task.model_name, task.model_version or 0))

    def _load(self, task: TaskOut) -> Forecaster:
        """The version as it answers: with the calibration that is in force."""
        from data.sql.route_source import SqlRouteSource  # noqa: PLC0415
        from trajops.forecasters.stretched import stretched  # noqa: PLC0415

        ref = self._version(task).ref
        self._telling.stage(f"Loads v{ref.version}", 0.02)
        settings = self._parts.settings

        def unsafe(loaded: ModelRef, reason: str) -> None:
            from workers.training.adopt import audit_unsafe  # noqa: PLC0415 - imports MLflow

            audit_unsafe(self._parts.database, loaded, reason, actor="worker:run_tasks")

        with closing(MlflowRegistry(settings.registry_url)) as registry:
            loader = ModelLoader(registry, settings.models_dir, allow_pickled=settings.allow_pickled_models, on_unsafe=unsafe)
            forecaster = loader.load(ref)
        calibration = SqlRouteSource(self._parts.database).in_force().get(ref)
        self._telling.say(f"loaded {ref}" + ("" if calibration is None else f" with calibration {calibration.number}"))
        return forecaster if calibration is None else stretched(forecaster, np.array(calibration.factors))

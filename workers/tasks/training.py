"""Training as a task: fit, register, stage; and, begun again, what is left of that."""

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING

from data.models.package import FAMILY_TAG
from data.models.registry import MlflowRegistry
from data.models.runs import MlflowRuns
from trajops.contracts.tasks import TaskOut, TaskOutcomeOut
from trajops.deployments.model_ref import ModelRef
from trajops.errors import Conflict
from trajops.services.tasks import TASK_PARAM, made_by
from workers.tasks.telling import CountedCompute, Telling
from workers.tasks.tracks_of import Tracks
from workers.training import staging
from workers.training.adopt import adopt
from workers.training.run import TrainedVersion, train

if TYPE_CHECKING:
    from workers.wiring import Parts

# On a version in the registry stands the task that has registered it, also where nothing else was written about it.
TASK_TAG = "trajops.task"
CUT, FITTED = (0.1, 0.3), (0.3, 0.9)
# A registry that has just been started takes its time, and nobody waits for this.
PATIENCE_S = 30.0


class Training:
    """One training task. What it has done before its worker disappeared is found again, and not done twice.

    Args:
        parts: of this process.
        task: what is asked for.
        telling: of the task.
        tracks: reads its tracks.
    """

    def __init__(self, parts: "Parts", task: TaskOut, telling: Telling, tracks: Callable[[], Tracks]) -> None:
        self._parts, self._task, self._telling, self._tracks = parts, task, telling, tracks
        self._settings, self._database = parts.settings, parts.database

    def run(self) -> TaskOutcomeOut:
        """Bring it to its end.

        Raises:
            TrajOpsError: as reading the tracks, training and staging do; what is registered by then stays.
        """
        tagged = self._tagged()
        versions = self._known(tagged)
        # Registered, but the control state was not told of it any more.
        untold = tagged.keys() - {one.ref for one in versions}
        missing = set(self._task.asked.families) - {one.family for one in versions} - {tagged[ref] for ref in untold}
        if versions or untold:
            names = ", ".join(f"v{ref.version}" for ref in sorted({*tagged, *(one.ref for one in versions)}))
            self._telling.say(f"begun again: {names} registered before the worker disappeared, which is not done twice")
        if untold or missing:
            found = self._tracks()
            for ref in sorted(untold):
                self._adopt(ref, found)
            versions = self._known(tagged)
            if missing:
                versions = _ranked_anew(versions, self._train(found, {one.family for one in versions}))
        return self._outcome(sorted(versions, key=lambda one: one.ref))

    def _train(self, found: Tracks, registered: Collection[str]) -> list[TrainedVersion]:
        inline = self._settings.compute == "inline"
        return train(
            self._settings,
            found.scenes,
            families=self._task.asked.families,
            database=self._database,
            compute=CountedCompute(self._telling, [("Cuts windows", CUT), ("Fits", FITTED)]) if inline else None,
            dataset=found.dataset,
            told={TASK_PARAM: self._task.task_id, "asked_by": self._task.by, **found.told},
            version_tags={TASK_TAG: self._task.task_id},
            registered=registered,
            progress=self._telling.say,
        )

    def _adopt(self, ref: ModelRef, found: Tracks) -> None:
        self._telling.stage(f"Measures v{ref.version}", CUT[0])
        try:
            adopt(self._settings, ref.version, found.scenes, database=self._database, dataset=found.dataset, progress=self._telling.say)
        except Conflict as known:  # the workers adopt such versions themselves, after a while
            self._telling.say(known.message)

    def _outcome(self, versions: Sequence[TrainedVersion]) -> TaskOutcomeOut:
        self._telling.stage("Registered", 0.95)
        names = ", ".join(f"v{one.ref.version}" for one in versions)
        said, staged = f"{names} {'is' if len(versions) == 1 else 'are'} registered", None
        if self._task.asked.is_staged:
            dataset = next((one.validation.dataset for one in versions if one.validation is not None), "its tracks")
            staged = staging.stage_best(
                self._settings.model_name, versions, database=self._database, dataset=dataset, progress=self._telling.say
            )
            said += ", and none is staged: the log says why" if staged is None else f"; v{staged.version} is staged"
        figures = {name: value for name, value in versions[0].metrics.items() if name.startswith("val_")} if len(versions) == 1 else {}
        return TaskOutcomeOut(
            sentence=f"{said}.",
            model_versions=[one.ref.version for one in versions],
            run_ids=[one.run_id for one in versions if one.run_id],
            staged_version=None if staged is None else staged.version,
            figures=figures,
        )

    def _tagged(self) -> dict[ModelRef, str]:
        """Families of the versions that this task has put into the registry; what was deleted since is left out."""
        with self._database.unit_of_work(read_only=True) as uow:
            deleted = {one.ref for one in uow.model_versions.deleted(self._task.model_name)}
        with closing(MlflowRuns(self._settings.registry_url, timeout_s=PATIENCE_S)) as runs:
            if broken := runs.end_broken(TASK_TAG, self._task.task_id):
                self._telling.say(f"begun again: what broke off is marked as killed in MLflow, {', '.join(one[:8] for one in broken)}")
        with closing(MlflowRegistry(self._settings.registry_url, timeout_s=PATIENCE_S)) as registry:
            rows = registry.versions(self._task.model_name)
        own = {
            ModelRef(self._task.model_name, int(row["version"])): str(row["tags"].get(FAMILY_TAG, ""))
            for row in rows
            if row["tags"].get(TASK_TAG) == self._task.task_id
        }
        return {ref: family for ref, family in own.items() if ref not in deleted}

    def _known(self, tagged: Mapping[ModelRef, str]) -> list[TrainedVersion]:
        """What the control state knows of the versions of this task, with the newest validation of each."""
        with self._database.unit_of_work(read_only=True) as uow:
            made = [one for one in uow.model_versions.all(self._task.model_name) if made_by(self._task, one) or one.ref in tagged]
            return [
                TrainedVersion(one.ref, one.family, one.run_id, one.digest, one.metrics, uow.validations.newest(one.ref)) for one in made
            ]


def _ranked_anew(before: Sequence[TrainedVersion], trained: Sequence[TrainedVersion]) -> list[TrainedVersion]:
    """All of them by the ranking of the run that has just compared them: two rankings have two firsts."""
    ranking = next((one.validation.ranking for one in trained if one.validation is not None), [])
    return [
        *(
            one if one.validation is None else replace(one, validation=one.validation.model_copy(update={"ranking": ranking}))
            for one in before
        ),
        *trained,
    ]

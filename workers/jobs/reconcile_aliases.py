"""Job `reconcile_aliases`: aliases, the tag `rollout.state` and deletions follow SQL, because two stores cannot commit together.

SQL decides who answers; MLflow only says it to people and programs that look there.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any, Literal

from trajops.clock import now, utc
from trajops.contracts.models import AdoptionOut
from trajops.deployments.model_ref import ModelRef
from trajops.errors import InvalidInput, NotFound, TrajOpsError, Unavailable
from trajops.ports import Clock, ModelRegistry
from trajops.stores import UnitOfWorkFactory

STATE_TAG = "rollout.state"
ALIASES = ("champion", "challenger", "previous_champion")
# A training run registers first and writes the control state a moment later.
SETTLE = timedelta(minutes=2)
# A registry that was started with the workers takes longer than they do.
STARTING = timedelta(minutes=1)
FRESH = "registered less than two minutes ago; its training run may not be over"
QUEUED = "next in line; one version is measured at each run of the job"

logger = logging.getLogger(__name__)


class AliasReconciler:
    """Repairs aliases, and brings versions that were registered elsewhere into the control state.

    Args:
        model_name: the registered model.
        registry: whose aliases are repaired.
        unit_of_work: opens a transaction.
        clock: what time it is.
        adopt: measures and lists one version of foreign origin; None leaves such versions alone.
    """

    def __init__(
        self,
        model_name: str,
        registry: ModelRegistry,
        unit_of_work: UnitOfWorkFactory,
        clock: Clock,
        adopt: Callable[[ModelRef], object] | None = None,
    ) -> None:
        self._model_name = model_name
        self._registry = registry
        self._unit_of_work = unit_of_work
        self._clock = clock
        self._adopt = adopt
        self._refused: dict[ModelRef, TrajOpsError] = {}
        self._kept: dict[ModelRef, str] = {}
        self._began_at = now(clock)
        self._has_answered = False

    def run(self) -> dict[str, Any]:
        """Reconcile once; idempotent. Before the first route nothing is decided, so nothing is changed.

        Returns:
            `epoch`, `set` and `deleted` aliases, `tagged` versions, `missing` ones that the registry does not have, `removed` ones that
            were deleted, and why others of these were `kept`, `adopted` versions, and as `adoptions` those that wait
            or were refused, each an `AdoptionOut`, newest first; the API hands these on. While the registry may only be starting, a
            `sentence` that says so.

        Raises:
            RegistryUnavailable: if the registry does not answer; traffic does not depend on it.
        """
        with self._unit_of_work(read_only=True) as work:
            table = work.routes.table()
            known = {version.ref for version in work.model_versions.all(self._model_name)}
            routed = {table.alias(alias) for alias in ALIASES}
            deleted_versions = work.model_versions.deleted(self._model_name)
            gone = {version.model_version: version.deleted_at for version in deleted_versions if version.ref not in routed}
            states = {one.model_version: one.state.value for one in work.deployments.all() if one.model_name == self._model_name}
        try:
            present = dict(self._registry.aliases(self._model_name))
        except Unavailable as error:
            if self._has_answered or now(self._clock) - self._began_at > STARTING:
                raise
            return {"epoch": table.epoch, "sentence": f"nothing was done yet: {error.message}"}
        self._has_answered = True
        set_to: dict[str, int] = {}
        deleted: list[str] = []
        missing: dict[str, int] = {}
        for alias in ALIASES if table.epoch else ():
            ref = table.alias(alias)
            if ref is None or ref.name != self._model_name:
                if alias in present:
                    self._registry.delete_alias(self._model_name, alias)
                    deleted.append(alias)
            elif present.get(alias) != ref.version:
                try:
                    self._registry.set_alias(self._model_name, alias, ref.version)
                    set_to[alias] = ref.version
                except NotFound:
                    missing[alias] = ref.version
        rows = self._registry.versions(self._model_name)
        # Some registries give a number twice: what was registered since is another version.
        left = [row for row in rows if (deleted_at := gone.get(int(row["version"]))) is None or utc(int(row["created_ns"])) > deleted_at]
        removed, kept = self._remove([row for row in rows if row not in left])
        tagged = self._tag(left, states)
        adopted, adoptions = self._adopt_next(left, known)
        return {
            "epoch": table.epoch,
            "set": set_to,
            "deleted": deleted,
            "missing": missing,
            "tagged": tagged,
            "removed": removed,
            "kept": kept,
            "adopted": adopted,
            "adoptions": [adoption.model_dump(mode="json") for adoption in adoptions],
        }

    def _remove(self, rows: Sequence[Mapping[str, Any]]) -> tuple[list[int], dict[str, str]]:
        """Remove what was deleted; the versions that went, and why others did not."""
        removed: list[int] = []
        kept: dict[str, str] = {}
        for row in rows:
            ref = ModelRef(self._model_name, int(row["version"]))
            try:
                self._registry.delete_version(ref)
            except TrajOpsError as held:  # also where a registry lets nobody delete: tags and adoptions do not wait for that
                kept[str(ref.version)] = held.message
                if self._kept.get(ref) != held.message:
                    logger.warning("a deleted version stays in the registry", extra={"model": str(ref), "reason": held.message})
                self._kept[ref] = held.message
            else:
                removed.append(ref.version)
        return removed, kept

    def _tag(self, rows: Sequence[Mapping[str, Any]], states: Mapping[int, str]) -> dict[str, str]:
        """Write the state of each deployed version where the registry says another, or none; what was written."""
        tagged: dict[str, str] = {}
        for row in rows:
            version = int(row["version"])
            state = states.get(version)
            if state is not None and row["tags"].get(STATE_TAG) != state:
                self._registry.set_tags(ModelRef(self._model_name, version), {STATE_TAG: state})
                tagged[str(version)] = state
        return tagged

    def _adopt_next(self, rows: Sequence[Mapping[str, Any]], known: set[ModelRef]) -> tuple[list[int], list[AdoptionOut]]:
        """Adopt the oldest unknown version, one a run; one that was refused is not tried again by this process.

        Returns:
            The adopted version, if there was one, and the versions that are still unknown, newest first.
        """
        if self._adopt is None:
            return [], []
        settled = now(self._clock) - SETTLE
        adopted: list[int] = []
        waiting: list[AdoptionOut] = []
        outage: Unavailable | None = None
        for row in reversed(rows):
            ref = ModelRef(self._model_name, int(row["version"]))
            if ref in known:
                continue
            if utc(int(row["created_ns"])) > settled:
                waiting.append(_adoption(row, "waiting", FRESH))
            elif ref in self._refused:
                waiting.append(_refusal(row, self._refused[ref]))
            elif outage is not None:
                waiting.append(_adoption(row, "waiting", outage.message, outage.code))
            elif adopted:
                waiting.append(_adoption(row, "waiting", QUEUED))
            else:
                outage = self._try(ref)
                if outage is not None:
                    waiting.append(_adoption(row, "waiting", outage.message, outage.code))
                elif ref in self._refused:
                    waiting.append(_refusal(row, self._refused[ref]))
                else:
                    adopted.append(ref.version)
        return adopted, waiting[::-1]

    def _try(self, ref: ModelRef) -> Unavailable | None:
        """Adopt one version or remember why it is refused; a passing outage says nothing about the model and is returned."""
        assert self._adopt is not None
        try:
            self._adopt(ref)
        except Unavailable as error:
            logger.warning("a registered version waits", extra={"model": str(ref), "reason": error.message})
            return error
        except TrajOpsError as error:
            self._refused[ref] = error
            logger.warning("a registered version was refused", extra={"model": str(ref), "reason": error.message})
        except Exception as error:  # whatever foreign code raises must not keep the versions after it waiting
            self._refused[ref] = InvalidInput(f"{ref} cannot be run where the workers are: {type(error).__name__}: {error}")
            logger.exception("a registered version was refused", extra={"model": str(ref)})
        return None


def _refusal(row: Mapping[str, Any], error: TrajOpsError) -> AdoptionOut:
    return _adoption(row, "refused", error.message, error.code)


def _adoption(row: Mapping[str, Any], state: Literal["waiting", "refused"], reason: str, code: str | None = None) -> AdoptionOut:
    return AdoptionOut(
        model_version=int(row["version"]),
        state=state,
        code=code,
        reason=reason,
        registered_at=utc(int(row["created_ns"])),
        run_id=row["run_id"],
    )

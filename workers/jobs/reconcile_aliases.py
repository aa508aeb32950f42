"""Job `reconcile_aliases`: the registry's aliases follow the routes, because two stores cannot commit together.

SQL decides who answers; MLflow's aliases only say it to people and programs that look there.
"""

import logging
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from trajops.clock import now, utc
from trajops.deployments.routing import ModelRef
from trajops.errors import NotFound, TrajOpsError, Unavailable
from trajops.ports import Clock, ModelRegistry
from trajops.stores import UnitOfWorkFactory

ALIASES = ("champion", "challenger", "previous_champion")
# A training run registers first and writes the control state a moment later.
SETTLE = timedelta(minutes=2)

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
        self._refused: dict[ModelRef, str] = {}

    def run(self) -> dict[str, Any]:
        """Reconcile once; idempotent. Before the first route nothing is decided, so nothing is changed.

        Returns:
            `epoch`, `set` and `deleted` aliases, `missing` ones whose version the registry does not have, `adopted` versions, and
            `refused` ones with the reason.

        Raises:
            RegistryUnavailable: if the registry does not answer; traffic does not depend on it.
        """
        with self._unit_of_work(read_only=True) as work:
            table = work.routes.table()
            known = {version.ref for version in work.model_versions.all(self._model_name)}
        present = dict(self._registry.aliases(self._model_name))
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
        adopted = self._adopt_next(known)
        return {
            "epoch": table.epoch,
            "set": set_to,
            "deleted": deleted,
            "missing": missing,
            "adopted": adopted,
            "refused": {str(ref): reason for ref, reason in self._refused.items()},
        }

    def _adopt_next(self, known: set[ModelRef]) -> list[int]:
        """Adopt the oldest unknown version, one a run; one that was refused is not tried again by this process."""
        if self._adopt is None:
            return []
        settled = now(self._clock) - SETTLE
        for row in reversed(self._registry.versions(self._model_name)):
            ref = ModelRef(self._model_name, int(row["version"]))
            if ref in known or ref in self._refused or utc(int(row["created_ns"])) > settled:
                continue
            try:
                self._adopt(ref)
            except Unavailable as error:  # a passing outage says nothing about the model
                logger.warning("a registered version waits", extra={"model": str(ref), "reason": error.message})
                return []
            except TrajOpsError as error:
                self._refused[ref] = error.message
                logger.warning("a registered version was refused", extra={"model": str(ref), "reason": error.message})
                continue
            return [ref.version]
        return []

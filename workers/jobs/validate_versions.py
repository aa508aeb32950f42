"""Job `validate_versions`: the battery for versions that nobody has validated, and for those that somebody asks for."""

import logging
import time
from collections.abc import Callable
from typing import Any, Protocol

from trajops.contracts.validations import Cause, ValidationOut
from trajops.errors import Unavailable
from trajops.records import ModelVersion
from trajops.services.validations import JOB, record
from trajops.stores import UnitOfWorkFactory

ACTOR = f"worker:{JOB}"
# Begun in one run; the rest comes next time, so that what is asked for meanwhile need not wait for all.
BUDGET_S = 30.0

logger = logging.getLogger(__name__)


class Validate(Protocol):
    """Runs the battery over one version, as `workers.training.validate.Validator`."""

    def __call__(self, version: ModelVersion, *, cause: Cause, by: str) -> tuple[ValidationOut, str]:
        """The validation and its card."""
        ...


def validate_versions(
    model_name: str, unit_of_work: UnitOfWorkFactory, validate: Validate, clock_s: Callable[[], float] = time.monotonic
) -> dict[str, Any]:
    """Validate what is asked for, the oldest request first, then what has never been validated, the newest version first.

    Args:
        model_name: the registered model.
        unit_of_work: opens a transaction; each validation is one.
        validate: runs the battery.
        clock_s: seconds of any clock that only goes on.

    Returns:
        `validated`, `passed` and `failed` versions, and `waiting`: how many are left for the next run. While the registry is away, a
        `sentence` that says so; a version that lies in the cache is validated all the same.
    """
    started_s = clock_s()
    done: dict[str, list[int]] = {"validated": [], "passed": [], "failed": []}
    sentence: str | None = None
    due = _due(model_name, unit_of_work)
    waiting = len(due)
    for version, cause, by in due:
        if clock_s() - started_s > BUDGET_S:
            break
        try:
            validation, card = validate(version, cause=cause, by=by)
        except Unavailable as error:
            sentence = f"some versions wait: {error.message}"
            continue
        with unit_of_work() as work:
            record(work, validation, card)
        waiting -= 1
        done["validated"].append(version.model_version)
        done["passed" if validation.is_passed else "failed"].append(version.model_version)
        if not validation.is_passed:
            logger.warning("a version has failed its battery", extra={"model": str(version.ref), "reason": validation.sentence})
    return {**done, "waiting": waiting, **({"sentence": sentence} if sentence else {})}


def _due(model_name: str, unit_of_work: UnitOfWorkFactory) -> list[tuple[ModelVersion, Cause, str]]:
    with unit_of_work(read_only=True) as work:
        versions = {version.model_version: version for version in work.model_versions.all(model_name)}
        validated = {one.model_version for one in work.validations.latest(model_name)}
        asked = [one for one in work.validations.asked(model_name) if one.model_version in versions]
    wanted: list[tuple[ModelVersion, Cause, str]] = [(versions[one.model_version], "asked_for", one.by) for one in asked]
    known = validated | {one.model_version for one in asked}
    return wanted + [(version, "first_look", ACTOR) for number, version in versions.items() if number not in known]

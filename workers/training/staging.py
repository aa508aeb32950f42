"""The last step of a training run: of its candidates the best one that may be staged is, and of each other it is said why not."""

from collections.abc import Callable, Sequence

from data.sql.engine import Database
from trajops.contracts.validations import RankedOut
from trajops.deployments.lifecycle import State
from trajops.deployments.model_ref import ModelRef
from trajops.errors import BatteryFailed, Conflict
from trajops.services.deployments import Deployments
from workers.training.run import ACTOR, TrainedVersion

MOST_SAID = 500


def stage_best(
    model_name: str, versions: Sequence[TrainedVersion], *, database: Database, dataset: str, progress: Callable[[str], None]
) -> ModelRef | None:
    """Stage the version with the best rank whose battery has passed; what the policy excludes stays registered.

    It is the gate of every other way to `staged` that decides, and the audit names the rank as the reason.

    Args:
        model_name: the registered model.
        versions: of one training run, with their validations.
        database: of the control state.
        dataset: name of the data that they were trained on.
        progress: told in one line each what is staged, and why a better one is not.

    Returns:
        What is staged, also by somebody else meanwhile; None where nothing may be.
    """
    deployments = Deployments(database.unit_of_work, model_name=model_name, needs_validation=True)
    standings = [(version, _standing(version)) for version in versions]
    for version, standing in sorted(standings, key=_order):
        if standing is None or standing.rank is None:
            progress(
                f"not staged: {version.ref}: {'it was not ranked.' if standing is None else standing.sentence} It may be staged by hand"
            )
            continue
        place = f"rank {standing.rank} of {len(versions)} trained on {dataset}: {standing.sentence}"
        try:
            deployments.stage(version.ref.version, actor=ACTOR, reason=place[:MOST_SAID])
        except BatteryFailed as error:
            progress(f"not staged: {error.message}")
            continue
        except Conflict:
            state = _state(database, version.ref)
            if state in {None, State.REGISTERED}:
                raise
            progress(f"{version.ref} ({version.family}) is {state} already: somebody was faster; {place}")
            return version.ref
        progress(f"staged {version.ref} ({version.family}), {place}")
        return version.ref
    return None


def _state(database: Database, ref: ModelRef) -> State | None:
    with database.unit_of_work(read_only=True) as uow:
        found = uow.deployments.of_model(ref)
    return None if found is None else found.state


def _standing(version: TrainedVersion) -> RankedOut | None:
    ranking = () if version.validation is None else version.validation.ranking
    return next((one for one in ranking if one.family == version.family), None)


def _order(entry: tuple[TrainedVersion, RankedOut | None]) -> float:
    standing = entry[1]
    return float("inf") if standing is None or standing.rank is None else standing.rank

"""Stages of a rollout, and how one ends."""

from enum import StrEnum

from trajops.deployments.lifecycle import State
from trajops.experiments.lifecycle import ExperimentState


class Stage(StrEnum):
    """How far a rollout has come."""

    SHADOW = "shadow"
    CANARY = "canary"
    PROMOTING = "promoting"
    BAKING = "baking"


class RolloutState(StrEnum):
    """Whether a rollout goes on, and how it ended if it does not."""

    RUNNING = "running"
    PAUSED = "paused"
    LIVE = "live"
    ROLLED_BACK = "rolled_back"
    INCONCLUSIVE = "inconclusive"
    STOPPED = "stopped"


ACTIVE = frozenset({RolloutState.RUNNING, RolloutState.PAUSED})
# The state of the version's deployment in each stage.
DEPLOYED: dict[Stage, State] = {
    Stage.SHADOW: State.SHADOW,
    Stage.CANARY: State.CANARY,
    Stage.PROMOTING: State.PROMOTING,
    Stage.BAKING: State.BAKING,
}
# What the end of its experiment, or the next state of a version that bakes, makes of a rollout.
ENDED_BY: dict[ExperimentState, RolloutState] = {
    ExperimentState.PROMOTED: RolloutState.LIVE,
    ExperimentState.ROLLED_BACK: RolloutState.ROLLED_BACK,
    ExperimentState.INCONCLUSIVE: RolloutState.INCONCLUSIVE,
    ExperimentState.STOPPED: RolloutState.STOPPED,
}
BAKED: dict[State, RolloutState] = {State.LIVE: RolloutState.LIVE, State.ROLLED_BACK: RolloutState.ROLLED_BACK}

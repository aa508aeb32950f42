"""What a rollout wants of a person: told by the alert `rollout_waits`, so that nothing waits for ever without anybody knowing."""

from datetime import datetime

from trajops.contracts.rollouts import RolloutOut
from trajops.rollouts.lifecycle import RolloutState, Stage

_UNITS = ((86_400.0, "day"), (3_600.0, "hour"), (60.0, "minute"), (1.0, "second"))


def wanted(rollout: RolloutOut, at: datetime) -> str | None:
    """What somebody should do, in a sentence; None: nothing.

    An approval is asked for at once, and so is a word on what is paused. A step that is held by its gates is told once it has waited for
    `told_after_s` longer than it must.
    """
    name = f"Version {rollout.model_version}"
    if rollout.state == RolloutState.PAUSED:
        return f"The rollout of {name.lower()} is paused: resume or stop it. {rollout.sentence}"
    if rollout.state != RolloutState.RUNNING:
        return None
    held = [gate.name for gate in rollout.gates if gate.state != "passed"]
    if held == ["approval"] and not rollout.is_approved:
        return f"{name} has passed all gates but your approval."
    waited_s = (at - rollout.entered_at).total_seconds()
    if waited_s < least_s(rollout) + rollout.policy.told_after_s:
        return None
    after = "it stays champion meanwhile" if rollout.stage == Stage.BAKING else "the champion answers meanwhile"
    return f"{name} has been in one step of its rollout for {duration_words(waited_s)}; {after}. {rollout.sentence}"


def least_s(rollout: RolloutOut) -> float:
    """Seconds that the present step lasts in any case."""
    policy = rollout.policy
    if rollout.stage == Stage.CANARY:
        return policy.canary[rollout.step].min_s
    wait = {Stage.SHADOW: policy.shadow, Stage.BAKING: policy.bake}.get(rollout.stage)
    return 0.0 if wait is None else wait.min_s


def duration_words(seconds: float) -> str:
    """A duration in the largest unit that it has two of, with a decimal where that says something: `1.5 hours` is `90 minutes`."""
    size, unit = next((one for one in _UNITS if seconds >= 2 * one[0]), _UNITS[-1])
    count = f"{seconds / size:.1f}".removesuffix(".0")
    return f"{count} {unit}" if count == "1" else f"{count} {unit}s"

"""Job `advance_rollouts`: looks at the gates of the active rollout, and takes the next step once they are passed."""

from typing import Any

from trajops.services.rollouts import Rollouts


def advance_rollouts(rollouts: Rollouts) -> dict[str, Any]:
    """Look once; a second run over the same figures does nothing more."""
    looks = rollouts.advance()
    return {
        "rollouts": len(looks),
        "stages": {rollout.rollout_id: f"{rollout.stage} {rollout.step}" for rollout, _ in looks},
        "moved": {rollout.rollout_id: found.way for rollout, found in looks if found.way != "wait"},
    }

"""Job `judge_experiments`: the verdict on each experiment whose units are routed, and what follows from it."""

from typing import Any

from trajops.services.judging import Judge


def judge_experiments(judge: Judge) -> dict[str, Any]:
    """Look at each once; a second run over the same figures decides nothing more."""
    looks = judge.run()
    return {
        "experiments": len(looks),
        "verdicts": {one.experiment.experiment_id: one.verdict.kind for one in looks},
        "decided": {one.experiment.experiment_id: one.decided for one in looks if one.decided is not None},
    }

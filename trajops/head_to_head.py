"""Two models on the same recorded windows: which of them would have been nearer to what happened.

Errors of one agent resemble one another, so agents are what is counted: the mean difference of each agent is one number, and
the interval over these is Student's.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.stats import t as student

from trajops import metrics
from trajops.ports import Forecaster
from trajops.trajectories import FloatArray
from trajops.windows import Windows

LEVEL = 0.95
# Student's interval is honest with fewer, and so wide that it says nothing.
MIN_AGENTS = 5


@dataclass(frozen=True, slots=True)
class HeadToHead:
    """How a candidate compares with an incumbent.

    Attributes:
        windows: that both have predicted.
        agents: that these windows are of.
        candidate_ade_m: mean ADE over the agents, metres; None where there is no window.
        incumbent_ade_m: the same of the other model.
        low_m: lower end of the 95 % interval of candidate minus incumbent, metres.
        high_m: its upper end.
    """

    windows: int
    agents: int
    candidate_ade_m: float | None
    incumbent_ade_m: float | None
    low_m: float
    high_m: float

    @property
    def verdict(self) -> Literal["better", "worse", "undecided"]:
        """Whether the candidate is nearer to the truth, as far as so many agents can tell."""
        if self.agents < MIN_AGENTS:
            return "undecided"
        return "better" if self.high_m < 0 else "worse" if self.low_m > 0 else "undecided"

    @property
    def sentence(self) -> str:
        """What was found, in words."""
        if not self.windows:
            return "no recorded window to compare on"
        return (
            f"ADE {self.candidate_ade_m:.2f} m against {self.incumbent_ade_m:.2f} m on {self.windows} windows of {self.agents} agents "
            f"(difference {self.low_m:+.2f} to {self.high_m:+.2f} m)"
        )


def compare(candidate: Forecaster, incumbent: Forecaster, windows: Windows) -> HeadToHead:
    """Let both predict the recorded windows and compare them with what was observed."""
    if not len(windows):
        return HeadToHead(0, 0, None, None, float("-inf"), float("inf"))
    names = [f"{scene}\0{agent}" for scene, agent in zip(windows.scene_ids, windows.agent_ids, strict=True)]
    _, agent = np.unique(names, return_inverse=True)
    mine, theirs = (_by_agent(model, windows, agent) for model in (candidate, incumbent))
    low_m, high_m = interval(mine - theirs)
    return HeadToHead(len(windows), len(mine), float(mine.mean()), float(theirs.mean()), low_m, high_m)


def interval(differences: FloatArray, level: float = LEVEL) -> tuple[float, float]:
    """Student's interval of the mean of independent numbers; without end where there are fewer than two."""
    count = len(differences)
    if count < 2:
        return float("-inf"), float("inf")
    centre = float(differences.mean())
    half = float(student.ppf((1 + level) / 2, count - 1)) * float(differences.std(ddof=1)) / count**0.5
    return centre - half, centre + half


def _by_agent(model: Forecaster, windows: Windows, agent: np.ndarray) -> FloatArray:
    """(A,) mean ADE of each agent, metres."""
    ade_m = metrics.ade(model.forecast(windows.history_m).best_m, windows.truth_m)
    means: FloatArray = np.bincount(agent, ade_m) / np.bincount(agent)
    return means

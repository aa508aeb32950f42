"""What a battery is run over."""

from dataclasses import dataclass, field

import numpy as np

from trajops.ports import Forecaster
from trajops.trajectories import FloatArray
from trajops.windows import Windows


@dataclass(frozen=True, slots=True)
class Subject:
    """A loaded version and what is known about it.

    Attributes:
        forecaster: the warm model, as it would answer.
        windows: recorded windows of agents that it was not fitted on.
        golden: what it answered to the probes when it was registered (`forecasters.golden.record`); None: nobody has asked then.
        champion: the version that answers now; None where there is none, or it cannot be loaded here.
        without_data: why its errors say nothing on these windows; None where they do.
    """

    forecaster: Forecaster
    windows: Windows
    golden: str | None = None
    champion: Forecaster | None = None
    without_data: str | None = None
    agents: tuple[str, ...] = field(init=False)
    agent_of: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        names = [f"{scene}\0{agent}" for scene, agent in zip(self.windows.scene_ids, self.windows.agent_ids, strict=True)]
        agents, agent_of = np.unique(np.array(names, dtype=np.str_), return_inverse=True)
        object.__setattr__(self, "agents", tuple(agents.tolist()))
        object.__setattr__(self, "agent_of", agent_of)

    def by_agent(self, values: FloatArray) -> FloatArray:
        """Mean of one value a window, (N,), over the windows of each agent, (A,)."""
        means: FloatArray = np.bincount(self.agent_of, values, len(self.agents)) / np.bincount(self.agent_of, minlength=len(self.agents))
        return means

    def some(self, most: int) -> Windows:
        """At most so many windows, spread over all."""
        rows = np.unique(np.linspace(0, len(self.windows) - 1, min(most, len(self.windows))).astype(np.intp))
        return self.windows.select(rows)

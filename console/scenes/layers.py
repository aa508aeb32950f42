"""What of the agents a map shows. No Streamlit here."""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from console.scenes.words import AgentNow


class Layers(NamedTuple):
    """Which layers are shown."""

    trails: bool
    predictions: bool

    def of(self, agents: Sequence[AgentNow]) -> list[AgentNow]:
        """The same agents without what is hidden."""
        return [
            replace(agent, trail=agent.trail if self.trails else [], prediction=agent.prediction if self.predictions else None)
            for agent in agents
        ]


ALL = Layers(trails=True, predictions=True)

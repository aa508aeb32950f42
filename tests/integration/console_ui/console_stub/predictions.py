"""Predictions of the stub API, those that are remembered and those that are asked for."""

import math
from datetime import UTC, datetime, timedelta
from typing import Any

from console_stub.refusal import Refused
from console_stub.releases import StubReleases
from trajops.contracts.predictions import AgentOut, AgentsOut, Mode, OutcomeOut, PredictionOut, PredictOut, RecentPredictions

DT = 0.4


class StubPredictions:
    """Agents in the plane, and what was predicted of them."""

    def __init__(self, releases: StubReleases, *, is_empty: bool) -> None:
        self.releases = releases
        self.is_empty = is_empty

    def forecast(self, history, version=2, prediction_id="pred-1", agent="player-07", scene="second_half") -> PredictOut:
        (x0, y0), (x1, y1) = history[-2], history[-1]
        vx, vy = x1 - x0, y1 - y0
        modes = []
        for weight, bend in ((0.62, 0.06 * version), (0.27, -0.12), (0.11, 0.32)):
            points = [
                (
                    x1 + vx * k * math.cos(bend * k / 4) - vy * k * math.sin(bend * k / 4),
                    y1 + vy * k * math.cos(bend * k / 4) + vx * k * math.sin(bend * k / 4),
                )
                for k in range(1, 13)
            ]
            modes.append(Mode(weight=weight, positions=points, covariance=[(0.02 * k, 0.006 * k, 0.012 * k) for k in range(1, 13)]))
        return PredictOut(
            prediction_id=prediction_id,
            agent_id=agent,
            scene_id=scene,
            observed_at_s=1000.0,
            dt_s=DT,
            model_name="trajectory",
            model_version=version,
            variant="champion" if version == 2 else "direct",
            epoch=self.releases.current.epoch,
            modes=modes,
            model_ms=0.21,
        )

    def remembered(self, i: int) -> PredictionOut:
        history = [(10.0 + 0.5 * k + i, 20.0 + 0.02 * k * k) for k in range(8)]
        made = self.forecast(history, prediction_id=f"01JD8Z5K{i:018d}", agent=f"player-{i % 4 + 7:02d}")
        seen = 0 if i < 4 else min(12, 3 * (i - 3))
        truth = [(p[0] + 0.05 * k, p[1] - 0.03 * k) if k < seen else None for k, p in enumerate(made.modes[0].positions)]
        outcome = (
            None
            if not seen
            else OutcomeOut(
                steps_scored=seen,
                is_complete=seen == 12,
                ade_m=0.41,
                fde_m=0.83 if seen == 12 else None,
                is_miss=False if seen == 12 else None,
                nll=1.72,
                inside_share=0.92,
                truth_delay_s=0.6,
                step_error_m=[0.07 * (k + 1) if k < seen else None for k in range(12)],
            )
        )
        return PredictionOut(
            prediction=made, received_at=datetime.now(UTC) - timedelta(seconds=i), history=history, truth=truth, outcome=outcome
        )

    def predictions(self, agent_id: str | None = None, limit: str = "50", **_: Any) -> RecentPredictions:
        all_ = [] if self.is_empty else [self.remembered(i) for i in range(24)]
        return RecentPredictions(predictions=[p for p in all_ if agent_id in {None, p.prediction.agent_id}][: int(limit)])

    def prediction(self, prediction_id: str) -> PredictionOut:
        found = [p for p in self.predictions().predictions if p.prediction.prediction_id == prediction_id]
        if not found:
            raise Refused(404, "not_found", f"there is no prediction {prediction_id}")
        return found[0]

    def agents(self, **_: Any) -> AgentsOut:
        return AgentsOut(agents=[AgentOut(scene_id="s", agent_id="a", observed_at_s=1.0, observations=8, is_ready=True)])

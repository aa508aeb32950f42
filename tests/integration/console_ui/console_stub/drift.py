"""Drift checks of the stub API."""

from datetime import UTC, datetime, timedelta
from typing import Any

from console_stub.refusal import Refused
from trajops.contracts.drift import (
    DOMAIN_COLUMN,
    DOMAIN_METHOD,
    DriftCheckOut,
    DriftColumn,
    DriftMute,
    DriftOut,
    DriftReportOut,
    DriftScene,
    DriftScore,
    DriftSettings,
    MuteIn,
    QualityFinding,
    ReferenceIn,
    of_scene,
)


class StubDrift:
    """Checks of the last hour, of which the newest have the verdict; none for a product that has just been installed."""

    def __init__(self, *, is_empty: bool) -> None:
        self.is_empty = is_empty
        self.verdict = "drift"
        self.settings = DriftSettings()

    def check(self, i: int) -> DriftCheckOut:
        now = datetime.now(UTC)
        names = ("speed_mps", "acceleration_mps2", "dt_s_ratio", "path_m", "predicted_spread_m", "ade_m")
        columns = [
            DriftColumn(
                column=n,
                kind="performance" if n == "ade_m" else "prediction" if n.startswith("predicted") else "input",
                method="wasserstein",
                score=0.04 + 0.025 * k * (1.2 - i / 20),
                threshold=0.1,
                is_drifted=0.04 + 0.025 * k * (1.2 - i / 20) >= 0.1,
                reference_mean=2.1 + k,
                current_mean=2.3 + k,
                bins=[float(b) for b in range(11)] if i == 0 else [],
                reference_share=[0.02, 0.1, 0.2, 0.25, 0.18, 0.1, 0.07, 0.04, 0.03, 0.01] if i == 0 else [],
                current_share=[0.01, 0.05, 0.14, 0.22, 0.22, 0.15, 0.1, 0.06, 0.03, 0.02] if i == 0 else [],
            )
            for k, n in enumerate(names)
        ]
        columns.append(
            DriftColumn(
                column=DOMAIN_COLUMN,
                kind="multivariate",
                method=DOMAIN_METHOD,
                score=0.52,
                threshold=0.55,
                is_drifted=False,
                reference_mean=None,
                current_mean=None,
                scores=[DriftScore(method=DOMAIN_METHOD, window_s=300, score=0.52, threshold=0.55, is_drifted=False)],
                carriers=["path_m", "speed_mps × dt_s", "speed_mps²"],
            )
        )
        verdict = self.verdict if i < 5 else "stable"
        little = verdict == "insufficient_data"
        return DriftCheckOut(
            check_id=f"check-{20 - i}",
            at=now - timedelta(minutes=3 * i + 1),
            verdict=verdict,
            sentence="Too few agents: 12 of the 200 that a comparison needs."
            if little
            else f"{sum(c.is_drifted for c in columns)} of {len(columns)} columns drifted.",
            reference_since=now - timedelta(hours=6),
            reference_until=now - timedelta(hours=3),
            current_since=now - timedelta(minutes=31),
            current_until=now - timedelta(minutes=1),
            reference_agents=1840,
            current_agents=12 if little else 312,
            columns=[] if little else columns,
            has_report=i == 3,  # few checks have one
            scenes=[]
            if little
            else [
                DriftScene(scene="north hall", agents=210, verdict=verdict, sentence="The hall has changed.", columns=columns[:2]),
                DriftScene(scene="square", agents=102, verdict="stable", sentence="The square is as it was.", columns=columns[:1]),
            ],
            quality=[
                QualityFinding(
                    kind="frame", scene="north hall", verdict="bad", value=3.2, limit=1.0, sentence="Positions look as if sent in feet."
                ),
                QualityFinding(kind="frozen", scene=None, verdict="ok", value=0.0, limit=0.1, sentence="0.0% did not move."),
            ],
        )

    def change(self, path: str, body: dict[str, Any]) -> DriftSettings:
        """Another reference, or a mute."""
        if path == "/v1/drift/reference":
            chosen = {"reference": ReferenceIn.model_validate(body).reference}
        else:
            asked, column = MuteIn.model_validate(body), path.rpartition("/")[2]
            chosen = {"mutes": [] if asked.until is None else [DriftMute(column=column, until=asked.until)]}
        self.settings = self.settings.model_copy(update=chosen)
        return self.settings

    def drift(self, scene: str | None = None, **_: Any) -> DriftOut:
        if scene is not None and len(scene) > 256:
            raise Refused(422, "invalid_input", "scene: String should have at most 256 characters")
        if self.is_empty:
            return DriftOut(latest=None, history=[])
        found = [self.check(i) if scene is None else of_scene(self.check(i), scene) for i in range(20)]
        report = DriftReportOut(check_id="check-17", at=self.check(3).at, verdict=self.check(3).verdict)
        return DriftOut(latest=found[0], history=found, last_report=report, settings=self.settings)

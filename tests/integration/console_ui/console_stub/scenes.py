"""Scenes of the stub API: agents that walk along lines, by the predictions that it remembers."""

from datetime import UTC, datetime, timedelta
from urllib.parse import unquote

from console_stub.predictions import StubPredictions
from console_stub.refusal import Refused
from trajops.contracts.scenes import (
    GeographicOrigin,
    SceneBounds,
    SceneGround,
    SceneImage,
    SceneMode,
    SceneOut,
    ScenePrediction,
    ScenesOut,
    SceneTrack,
    SceneWindow,
)


class StubScenes:
    """Two scenes, the second one without an agent now; set `is_silent` for agents that have stopped sending."""

    def __init__(self, predictions: StubPredictions, *, is_empty: bool) -> None:
        self.predictions = predictions
        self.is_empty = is_empty
        self.is_silent = False
        self.origin: GeographicOrigin | None = None
        self.image: tuple[SceneImage, bytes] | None = None

    def scenes(self, since: str | None = None, until: str | None = None) -> ScenesOut:
        now = datetime.now(UTC)
        bounds = SceneBounds(x_min_m=0.0, y_min_m=0.0, x_max_m=60.0, y_max_m=40.0)
        known = [
            SceneOut(
                scene_id=scene_id,
                agents=4,
                predictions=800,
                observations=0,
                first_at=now - timedelta(minutes=30),
                newest_at=now - ago,
                bounds=bounds,
            )
            for scene_id, ago in (("second_half", timedelta(seconds=1)), ("quay 3/north", timedelta(minutes=12)))
        ]
        return ScenesOut(since=now - timedelta(hours=24), until=now, is_cut=False, scenes=[] if self.is_empty else known)

    def window(self, scene_id: str, since: datetime, until: datetime, *, is_live: bool) -> SceneWindow:
        is_empty = self.is_empty or (is_live and (self.is_silent or scene_id != "second_half"))
        middle_s = (since + (until - since) / 2).timestamp()
        tracks, predictions = [], []
        for i, remembered in enumerate([] if is_empty else map(self.predictions.remembered, range(4, 8))):
            p = remembered.prediction
            times_s = [middle_s - 0.4 * k for k in range(7, -1, -1)]
            tracks.append(SceneTrack(agent_id=p.agent_id, times_s=times_s, positions=remembered.history, speed_mps=(0.1, 1.3, 4.0, 8.0)[i]))
            predictions.append(
                ScenePrediction(
                    prediction_id=p.prediction_id,
                    agent_id=p.agent_id,
                    observed_at_s=middle_s,
                    dt_s=p.dt_s,
                    model_version=p.model_version,
                    variant=p.variant,
                    modes=[SceneMode(weight=mode.weight, positions=mode.positions) for mode in p.modes],
                )
            )
        return SceneWindow(
            scene_id=scene_id,
            since=since,
            until=until,
            tracks=tracks,
            predictions=predictions,
            agents=len(tracks),
            cut=[],
            newest_at=None if is_empty else until - timedelta(seconds=1),
        )

    def read(self, path: str, query: dict[str, str]) -> SceneWindow | SceneGround | bytes:
        """One scene: /v1/scenes/{scene_id}/window, live, background or background/image."""
        scene_id, _, what = path.removeprefix("/v1/scenes/").rpartition("/")
        now = datetime.now(UTC)
        if what == "image":
            if self.image is None:
                raise Refused(404, "not_found", f"scene {scene_id} has no background image")
            return self.image[1]
        if what == "background":
            coast = [[(-100.0, 0.0), (100.0, 40.0)]] if self.origin else []
            image = None if self.image is None else self.image[0]
            return SceneGround(scene_id=unquote(scene_id), origin=self.origin, coast=coast, image=image)
        if what == "live":
            return self.window(scene_id, now - timedelta(seconds=float(query.get("seconds", 10))), now, is_live=True)
        since, until = (datetime.fromisoformat(query[name]) if name in query else now for name in ("since", "until"))
        return self.window(scene_id, since, until, is_live=False)

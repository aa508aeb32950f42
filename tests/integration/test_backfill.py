"""The demo's reference history: made of tracks that its models do not know, and no part of what an operator reads as live."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from data.datasets import skillcorner
from data.lake.drift_source import LakeDriftSource
from data.lake.queries import SERVED
from data.lake.samples import arrow
from deploy.demo.backfill import backfill
from tests.builders import an_outcome_event
from trajops.clock import now
from trajops.forecasters.constant_velocity import ConstantVelocity
from trajops.settings import Settings
from trajops.trajectories import Scene
from workers.compute import Inline
from workers.training.partitions import split
from workers.wiring import Parts
from workers.work import work_of

CONFIGS = Path(__file__).parents[2] / "configs"
S = 10**9


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> Scene:
    """The last minutes of the first half: what the periodic join would still find in its reach."""
    half = skillcorner.load()["first_half"]
    tail = Scene(half.scene_id, tuple(track for track in half.tracks if track.times_s[-1] > 2400))
    monkeypatch.setattr(skillcorner, "load", lambda: {"first_half": tail})
    return tail


@pytest.fixture
def parts(tmp_path: Path, scene: Scene) -> Iterator[Parts]:
    parts = Parts(Settings(var_dir=tmp_path / "var", configs_dir=CONFIGS))
    parts.database.migrate()
    backfill(parts.settings, {3: ConstantVelocity(), 4: ConstantVelocity()}, "match")
    yield parts
    parts.close()


def found(parts: Parts, query: str) -> list[Any]:
    """Rows of a query over all tables."""
    return parts.lake.read(("predictions", "outcomes"), lambda cursor, prefix: cursor.execute(prefix + query).fetchall())


def test_no_model_answers_a_track_that_it_was_fitted_or_calibrated_on(parts: Parts, scene: Scene) -> None:
    data = split([scene], Inline())
    known = {f"b-{agent}" for windows in (data.fit, data.calibration) for agent in windows.agent_ids}
    answered = found(parts, "SELECT DISTINCT agent_id, model_name, model_version FROM predictions")
    agents = {version: {agent for agent, _, answering in answered if answering == version} for version in (0, 3, 4)}
    assert not (agents[3] | agents[4]) & known
    assert min(len(agents[3]), len(agents[4])) > 10, "both versions have a reference"
    assert known <= agents[0]
    assert {(name, version) for _, name, version in answered} == {("baseline", 0), ("trajectory", 3), ("trajectory", 4)}
    assert len(answered) == sum(len(track) >= 8 for track in scene.tracks), "the inputs are those of all tracks, each answered by one"


def test_outcomes_of_a_backfill_are_those_of_the_compared_versions(parts: Parts) -> None:
    last = "(SELECT agent_id, max(observed_at_s) AS end_s FROM predictions GROUP BY agent_id)"
    [(expected,)] = found(
        parts, f"SELECT count(*) FROM predictions JOIN {last} USING (agent_id) WHERE model_version > 0 AND end_s > observed_at_s"
    )
    assert found(parts, "SELECT count(*), min(model_version), bool_and(source = 'backfill') FROM outcomes") == [(expected, 3, True)]


def test_the_join_leaves_a_backfill_alone_and_would_score_it_the_same(parts: Parts) -> None:
    assert dict(work_of(parts)["join_truth"]()) == {"candidates": 0, "scored": 0, "completed": 0, "made_up": 0}
    rows = parts.lake.read(("predictions",), lambda cursor, prefix: arrow(cursor, prefix + "SELECT * FROM predictions")).to_pylist()
    answered = [row | {"prediction_id": "again-" + row["prediction_id"], "source": "replay"} for row in rows]
    parts.spool.write("predictions", answered)
    at_ns = parts.clock.now_ns()
    assert parts.missed_truth.score(at_ns - 600 * S, at_ns, most_rows=10**6).scored > 100
    shown = "prediction_id, steps_scored, ade_m, nll"
    same = f"SELECT {shown} FROM outcomes WHERE source = '{{source}}' AND model_version > 0 ORDER BY prediction_id"
    written = found(parts, same.format(source="backfill"))
    again = found(parts, same.format(source="replay"))
    assert [row[:2] for row in again] == [("again-" + name, steps) for name, steps, *_ in written]
    assert [row[2:] for row in again] == [pytest.approx(row[2:], abs=2e-5) for row in written]


def test_a_backfill_is_no_part_of_the_live_figures(parts: Parts) -> None:
    until = now(parts.clock) + timedelta(seconds=1)
    since = until - timedelta(minutes=10)
    figures = parts.lake.performance(since, until)
    assert (figures.rows, figures.series, figures.step_error_m, figures.last_outcome_at) == ([], [], {}, None)
    assert sum(point.predictions for point in parts.lake.traffic(since, until)) == 0
    assert parts.lake.recent_predictions() == []
    assert len(LakeDriftSource(parts.lake).rows(since, until, parts.rules.drift.current.sources)) == 0
    assert len(LakeDriftSource(parts.lake).rows(since, until, parts.rules.drift.reference.sources)) > 1000
    assert parts.lake.performance(since, until, sources=("backfill",)).rows


def test_the_newest_live_outcome_is_found_behind_a_backfill(parts: Parts) -> None:
    live = an_outcome_event(received_ns=parts.clock.now_ns() - 7 * 86_400 * S)
    parts.spool.write("outcomes", [live])
    parts.spool.close()
    parts.compactor.run()
    newest = parts.lake.last_outcome_at()
    assert newest is not None
    assert newest.timestamp() == pytest.approx(live.scored_ns / S)
    assert parts.lake.last_outcome_at((*SERVED, "backfill")) == parts.lake.last_outcome_at(("backfill",)) != newest

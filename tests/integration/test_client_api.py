"""Both clients and a real API: every way to predict, signing in, releases, and what becomes of answers that were lost."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pytest

from deploy.demo.replay import Replay
from tests.both_clients import KINDS, Kind, a_client
from tests.builders import a_scene, a_track
from tests.client_calls import HISTORY
from tests.faulty_server import FaultyServer, faulty_server, relayed
from tests.running_api import PASSWORD, REASON
from tests.served_api import Served, served_api
from trajops.client import ApiProblem, ApiUnavailable, TrajOpsClient
from trajops.contracts.keys import KeyIn
from trajops.contracts.predictions import BatchColumnsIn, ObservationIn, PredictIn


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served_api(Path(tmp_path_factory.mktemp("api"))) as served:
        served.api.promote(1)
        served.api.parts.identity.create_user("op", PASSWORD, "admin", actor="test", reason=REASON)
        yield served


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    found: Kind = request.param
    return found


@pytest.fixture
def client(kind: Kind, served: Served) -> Iterator[TrajOpsClient]:
    with a_client(kind, f"http://127.0.0.1:{served.port}", served.key) as made:
        yield made


def test_every_way_to_predict(client: TrajOpsClient, kind: Kind) -> None:
    one = client.predict(PredictIn(agent_id="a", scene_id=kind, history=HISTORY))
    positions = one.modes[0].positions
    items = client.batch_predict([PredictIn(agent_id="a", scene_id=kind, history=HISTORY), PredictIn(agent_id="unheard-of")]).items
    assert items[0].prediction is not None
    assert items[0].prediction.modes[0].positions == positions
    assert items[1].error_code is not None
    columns = client.batch_columns(BatchColumnsIn(history=[HISTORY, [[0.0, 0.0]] * 7], agent_id=["a", "b"]))
    assert columns.positions[0] is not None
    assert columns.positions[0][0] == positions
    assert [error.row for error in columns.errors] == [1]
    flat = [coordinate for point in HISTORY for coordinate in point]
    table = pa.table({"history": pa.FixedSizeListArray.from_arrays(pa.array(flat * 3, pa.float32()), 16)})
    answer = client.batch_arrow(table)
    assert answer.num_rows == 3
    assert answer["positions"][2].as_py()[:2] == pytest.approx(list(positions[0]), abs=1e-5)


def test_a_large_answer_that_streams_is_read_whole(client: TrajOpsClient) -> None:
    answer = client.batch_columns(BatchColumnsIn(history=[HISTORY] * 3_000))
    assert len(answer.positions) == 3_000
    items = client.batch_predict([PredictIn(agent_id=f"a{number}", history=HISTORY) for number in range(300)]).items
    assert [item.prediction and item.prediction.agent_id for item in items] == [f"a{number}" for number in range(300)]


def test_positions_now_a_forecast_by_id_later(client: TrajOpsClient, kind: Kind) -> None:
    scene_id = f"{kind}-observed"
    observations = [ObservationIn(agent_id="w", scene_id=scene_id, observed_at_s=0.4 * step, position=(step, 0.0)) for step in range(8)]
    assert client.observe(observations).accepted == 8
    assert client.predict(PredictIn(agent_id="w", scene_id=scene_id)).observed_at_s == pytest.approx(2.8)
    assert [agent.agent_id for agent in client.agents(scene_id).agents] == ["w"]


def test_signing_in_and_releasing(kind: Kind, served: Served) -> None:
    url = f"http://127.0.0.1:{served.port}"
    with a_client(kind, url) as anonymous:
        assert anonymous.health().status == "alive"
        with pytest.raises(ApiProblem, match="unauthenticated"):
            anonymous.me()
        token = anonymous.sign_in("op", PASSWORD).access_token
    version = 2 + KINDS.index(kind)
    served.api.register(version)
    with a_client(kind, url, token) as admin:
        assert admin.me().role == "admin"
        staged = admin.stage(version, REASON).deployment
        champion = admin.promote(staged.deployment_id, staged.version, REASON)
        assert champion.route.champion is not None
        assert champion.route.champion.model_version == version
        with pytest.raises(ApiProblem, match="stale_version"):
            admin.promote(staged.deployment_id, staged.version, REASON)
        made = admin.create_key(KeyIn(name=f"{kind} replay", reason=REASON))
        assert admin.revoke_key(made.key.key_id, REASON).revoked_at is not None
        assert "trajops_" in admin.metrics()


@contextmanager
def losing_the_first_answer(served: Served) -> Iterator[FaultyServer]:
    url = f"http://127.0.0.1:{served.port}"
    with faulty_server(relayed(url, is_lost=True), relayed(url)) as relay:
        yield relay


def test_a_change_whose_answer_was_lost_is_made_once(kind: Kind, served: Served) -> None:
    version = 4 + KINDS.index(kind)
    served.api.register(version)
    token = served.api.headers["operator"]["Authorization"].removeprefix("Bearer ")
    with losing_the_first_answer(served) as relay, a_client(kind, relay.url, token) as client:
        change = client.stage(version, REASON)
        assert len(relay.received) == 2
        entries = [entry for entry in client.audit(limit=100).entries if entry.subject == f"trajectory/{version}"]
        assert [entry.audit_id for entry in entries] == [change.audit_id]


def test_a_prediction_whose_answer_was_lost_stays_one_row(kind: Kind, served: Served) -> None:
    body = PredictIn(agent_id=f"lost-{kind}", history=HISTORY)
    with losing_the_first_answer(served) as relay, a_client(kind, relay.url, served.key) as client:
        with pytest.raises(ApiUnavailable):
            client.predict(body)
        assert len(client.predictions(agent_id=body.agent_id).predictions) == 1


def test_whoever_wants_its_answer_at_any_price_gets_a_second_row(kind: Kind, served: Served) -> None:
    body = PredictIn(agent_id=f"twice-{kind}", history=HISTORY)
    with losing_the_first_answer(served) as relay, a_client(kind, relay.url, served.key, retry_predictions="lost") as client:
        answer = client.predict(body)
        found = client.predictions(agent_id=body.agent_id).predictions
        assert len(found) == 2
        assert answer.prediction_id in {one.prediction.prediction_id for one in found}


def test_the_demo_replays_through_the_client(served: Served) -> None:
    scene = a_scene(*(a_track(f"walker-{number}", steps=10) for number in range(6)))
    replay = Replay(f"http://127.0.0.1:{served.port}", served.key, scene, "replayed", "r1", speed=100.0)
    asyncio.run(replay.run())
    assert replay.tally.failures == 0, replay.tally.last_failure
    assert replay.tally.predictions == 6 * 3

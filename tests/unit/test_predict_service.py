"""The hot path's use case: who answers, what the answer says, and what is recorded of it."""

import logging
from collections import Counter
from typing import Any

import numpy as np
import pytest

from tests.builders import CLOCK_S, a_history
from trajops.clients import Client
from trajops.clock import SystemClock
from trajops.contracts.predictions import PredictIn, PredictOut
from trajops.deployments.model_ref import ModelRef
from trajops.deployments.routing import RouteTable, Units
from trajops.errors import NoModelReady, NotFound, TrajOpsError, WindowTooShort
from trajops.experiments.routed import canary
from trajops.forecasters.constant_velocity import ConstantVelocity
from trajops.ports import Forecaster
from trajops.services.bulk import Bulk
from trajops.services.predict import BASELINE, Answer, PredictService
from trajops.services.snapshot import Snapshot
from trajops.track_buffer import TrackBuffer
from trajops.trajectories import DEFAULT_WINDOW, FloatArray, Forecast

CALLER = Client("key:test", "viewer")
CHAMPION, CHALLENGER = ModelRef("trajectory", 1), ModelRef("trajectory", 2)


class Stands:
    """Predicts that nobody moves, in `modes` equal modes, and remembers how many agents each call had."""

    family = "stands"
    window = DEFAULT_WINDOW

    def __init__(self, modes: int = 1) -> None:
        self.modes = modes
        self.calls: list[int] = []

    def forecast(self, history_m: FloatArray) -> Forecast:
        agents, steps = len(history_m), self.window.t_pred
        self.calls.append(agents)
        offset_m = np.arange(self.modes)[None, :, None, None]
        mean_m = np.broadcast_to(history_m[:, None, -1:], (agents, self.modes, steps, 2)) + offset_m
        covariance_m2 = np.broadcast_to([[0.04, 0.01], [0.01, 0.09]], (agents, self.modes, steps, 2, 2))
        return Forecast(mean_m, covariance_m2, np.full((agents, self.modes), 1 / self.modes))


class Raises(Stands):
    def forecast(self, history_m: FloatArray) -> Forecast:
        raise ZeroDivisionError("planted")


class SpoilsFast(Stands):
    """Answers NaN for agents beyond x = 100 m."""

    def forecast(self, history_m: FloatArray) -> Forecast:
        found = super().forecast(history_m)
        mean_m = found.mean_m.copy()
        mean_m[history_m[:, -1, 0] > 100] = np.nan
        return Forecast(mean_m, found.covariance_m2, found.weights)


class TurnsCovarianceOver(Stands):
    """Answers finite numbers whose covariance no truth could be scored against."""

    def forecast(self, history_m: FloatArray) -> Forecast:
        answer = super().forecast(history_m)
        return Forecast(answer.mean_m, -answer.covariance_m2, answer.weights)


class RunsOver(Stands):
    """Answers with covariances that single precision, in which they are recorded, cannot hold."""

    def forecast(self, history_m: FloatArray) -> Forecast:
        answer = super().forecast(history_m)
        return Forecast(answer.mean_m, answer.covariance_m2 * 1e41, answer.weights)


class AnswersForAnother(Stands):
    def forecast(self, history_m: FloatArray) -> Forecast:
        return super().forecast(np.concatenate([history_m, history_m]))


def a_service(models: dict[ModelRef, Forecaster] | None = None, **route: Any) -> PredictService:
    service = PredictService("trajectory", ConstantVelocity(), TrackBuffer(SystemClock()), SystemClock())
    table = RouteTable(**({"epoch": 7, "champion": CHAMPION} | route))
    service.snapshot = Snapshot(table, models if models is not None else {CHAMPION: ConstantVelocity()})
    return service


def a_query(agent_id: str = "a", *, start_m: float = 0.0, **fields: Any) -> PredictIn:
    history = (a_history()[0] + [start_m, 0.0]).tolist()
    return PredictIn.model_validate({"agent_id": agent_id, "scene_id": "s", "history": history, "observed_at_s": CLOCK_S} | fields)


def test_answer_follows_the_contract_and_constant_velocity() -> None:
    answer = a_service().predict(a_query(), CALLER)
    out = PredictOut.model_validate(answer.body)
    assert (out.agent_id, out.scene_id, out.observed_at_s, out.dt_s) == ("a", "s", CLOCK_S, 0.4)
    assert (out.model_name, out.model_version, out.variant, out.epoch) == ("trajectory", 1, "champion", 7)
    assert out.modes[0].weight == 1.0
    # The agent walks at 1 m/s along x and was last seen at 2.8 m.
    assert out.modes[0].positions == [(pytest.approx(2.8 + 0.4 * step), 0.0) for step in range(1, 13)]
    assert out.model_ms > 0


def test_event_records_what_was_answered() -> None:
    answer = a_service().predict(a_query(), CALLER, "my-request")
    event, [mode] = answer.event, answer.body["modes"]
    assert event.prediction_id == answer.body["prediction_id"]
    assert (event.client_id, event.request_id, event.source, event.variant, event.epoch) == (
        "key:test",
        "my-request",
        "live",
        "champion",
        7,
    )
    assert event.mean_m == [number for point in mode["positions"] for number in point]
    assert event.cov_m2 == [number for ellipse in mode["covariance"] for number in ellipse]
    assert event.history_m == a_history()[0].ravel().tolist()
    assert len(event.mean_m) == 24
    assert len(event.cov_m2) == 36
    assert 0 < answer.body["model_ms"] < event.latency_ms


def test_modes_keep_their_order_and_covariance_is_xx_xy_yy() -> None:
    answer = a_service({CHAMPION: Stands(modes=3)}).predict(a_query(), CALLER)
    modes = answer.body["modes"]
    assert [mode["weight"] for mode in modes] == [1 / 3] * 3
    assert [mode["positions"][11] for mode in modes] == [(2.8, 0.0), (3.8, 1.0), (4.8, 2.0)]
    assert all(mode["covariance"] == [(0.04, 0.01, 0.09)] * 12 for mode in modes)
    assert answer.event.weights == [1 / 3] * 3
    assert len(answer.event.mean_m) == 72


def test_positions_keep_a_tenth_of_a_millimetre_on_a_projected_map() -> None:
    history = (a_history()[0] + [512_345.678, 5_712_345.123]).tolist()
    positions = a_service().predict(a_query(history=history), CALLER).body["modes"][0]["positions"]
    assert positions[0] == (pytest.approx(512_345.678 + 3.2, abs=1e-4), pytest.approx(5_712_345.123, abs=1e-4))


def test_ids_are_unique_and_sort_by_time() -> None:
    service = a_service()
    ids = [service.predict(a_query(), CALLER).body["prediction_id"] for _ in range(50)]
    assert ids == sorted(set(ids))
    assert {len(prediction_id) for prediction_id in ids} == {32}


def test_variants_follow_the_hash_of_scene_and_agent() -> None:
    service = a_service({CHAMPION: ConstantVelocity(), CHALLENGER: Stands()}, experiments=(canary("e", CHAMPION, CHALLENGER, 0.5, "seed"),))
    table = service.snapshot.table
    seen = Counter()
    for number in range(200):
        body = service.predict(a_query(f"a{number}"), CALLER).body
        wanted = table.assign(Units("s", f"a{number}", "c"))
        assert wanted is not None
        assert (body["model_name"], body["model_version"], body["variant"]) == (*wanted.model, wanted.variant)
        seen[body["variant"]] += 1
    assert seen.keys() == {"champion", "control", "treatment"}


@pytest.mark.parametrize(
    ("asked", "version"), [(2, 2), ("champion", 1), ("challenger", 2), ("previous_champion", 3)], ids=["number", "a", "b", "previous"]
)
def test_a_version_or_an_alias_can_be_asked_for(asked: int | str, version: int) -> None:
    previous = ModelRef("trajectory", 3)
    models = {ref: Stands() for ref in (CHAMPION, CHALLENGER, previous)}
    service = a_service(models, experiments=(canary("e", CHAMPION, CHALLENGER, 0.0, "s"),), previous=previous)
    body = service.predict(a_query(model_version=asked), CALLER).body
    assert (body["model_version"], body["variant"]) == (version, "direct")
    assert service.asked_ns.keys() == {ModelRef("trajectory", version)}


def test_an_alias_without_a_version_is_not_found() -> None:
    with pytest.raises(NotFound, match="challenger"):
        a_service().predict(a_query(model_version="challenger"), CALLER)


def test_a_cold_version_is_named_so_that_it_can_be_loaded() -> None:
    with pytest.raises(NoModelReady) as caught:
        a_service().predict(a_query(model_version=9), CALLER)
    assert caught.value.details["model"] == ModelRef("trajectory", 9)


def test_without_a_champion_nobody_answers() -> None:
    with pytest.raises(NoModelReady, match="no model has been deployed"):
        a_service({}, champion=None).predict(a_query(), CALLER)


@pytest.mark.parametrize(
    "model",
    [Raises(), SpoilsFast(), TurnsCovarianceOver(), RunsOver(), AnswersForAnother()],
    ids=["raises", "not-finite", "indefinite", "too-large", "wrong-shape"],
)
def test_a_failing_model_is_replaced_by_the_baseline_and_charged(model: Forecaster, caplog: pytest.LogCaptureFixture) -> None:
    service = a_service({CHAMPION: ConstantVelocity(), CHALLENGER: model}, experiments=(canary("e", CHAMPION, CHALLENGER, 1.0, "x"),))
    [experiment] = service.snapshot.table.experiments
    treated = next(f"a{n}" for n in range(50) if (arm := experiment.arm_of(f"s/a{n}")) and arm.variant == "treatment")
    query = a_query(treated, start_m=200.0)
    with caplog.at_level(logging.ERROR):
        answers = [service.predict(query, CALLER) for _ in range(5)]
    wanted = a_service().predict(query, CALLER).body["modes"]
    for answer in answers:
        assert (answer.body["model_name"], answer.body["model_version"], answer.body["variant"]) == ("baseline", 0, "treatment")
        assert (answer.event.model_name, answer.event.model_version, answer.event.variant) == ("baseline", 0, "treatment")
        assert answer.body["modes"] == wanted
    assert service.failures == {CHALLENGER: 5}
    assert service.replaced == {(CHALLENGER, "treatment"): 5}
    assert len(caplog.records) == 3  # after 1, 2 and 4 failures


def test_a_history_and_later_positions_mix() -> None:
    service = a_service()
    service.predict(a_query(), CALLER)
    service._buffer.observe("s", "a", CLOCK_S + 0.4, (3.2, 0.0))
    by_id = service.predict(a_query(history=None, observed_at_s=None), CALLER)
    assert by_id.body["observed_at_s"] == CLOCK_S + 0.4
    assert by_id.body["modes"][0]["positions"][0] == (pytest.approx(3.6, abs=1e-4), 0.0)
    assert len(by_id.event.history_m) == 16


def test_by_id_alone_an_unknown_agent_and_a_short_track_are_refused() -> None:
    service = a_service()
    with pytest.raises(NotFound):
        service.predict(a_query(history=None), CALLER)
    service._buffer.observe("s", "a", CLOCK_S, (0.0, 0.0))
    with pytest.raises(WindowTooShort, match=r"2\.8 s are missing"):
        service.predict(a_query(history=None), CALLER)


def test_without_a_time_the_position_is_of_now() -> None:
    clock_s = SystemClock().now_ns() / 1e9
    assert a_service().predict(a_query(observed_at_s=None), CALLER).body["observed_at_s"] == pytest.approx(clock_s, abs=5)


def without_ids(answer: Answer | TrajOpsError) -> dict[str, Any]:
    assert isinstance(answer, Answer)
    return {key: value for key, value in answer.body.items() if key not in {"prediction_id", "model_ms"}}


def test_a_batch_equals_its_items_one_by_one_and_forecasts_each_model_once() -> None:
    champion, challenger = Stands(), Stands(modes=2)
    service = a_service({CHAMPION: champion, CHALLENGER: challenger}, experiments=(canary("e", CHAMPION, CHALLENGER, 1.0, "x"),))
    queries = [a_query(f"a{n}", start_m=n) for n in range(30)]
    together = service.predict_many(queries, CALLER, "r")
    assert sorted([*champion.calls, *challenger.calls]) == sorted(Counter(without_ids(one)["variant"] for one in together).values())
    assert [without_ids(one) for one in together] == [without_ids(service.predict(query, CALLER)) for query in queries]
    assert len({one.event.prediction_id for one in together if isinstance(one, Answer)}) == 30


def test_a_bad_item_spoils_only_itself() -> None:
    service = a_service({CHAMPION: SpoilsFast()})
    queries = [a_query("a"), a_query("b", history=None), a_query("c", start_m=200.0), a_query("d", model_version=9), a_query("e")]
    found = service.predict_many(queries, CALLER)
    codes = [one.body["model_name"] if isinstance(one, Answer) else one.code for one in found]
    assert codes == ["trajectory", "not_found", "baseline", "no_model_ready", "trajectory"]
    assert service.failures == {CHAMPION: 1}


def test_many_covariances_that_cannot_be_recorded_are_replaced_too() -> None:
    service = a_service({CHAMPION: RunsOver()})
    found = service.predict_many([a_query(f"a{n}") for n in range(5)], CALLER)
    assert [one.event.model_name for one in found if isinstance(one, Answer)] == ["baseline"] * 5
    bulk = Bulk(service, "trajectory", ConstantVelocity(), SystemClock())
    forecast = bulk.forecast(bulk.choose(None), a_history(5))
    assert forecast.is_baseline.all()
    assert np.isfinite(forecast.covariance_m2).all()


@pytest.mark.parametrize("stand_in", [CHAMPION, BASELINE], ids=str)
def test_a_stand_in_answers_under_its_own_name_and_in_no_epoch(stand_in: ModelRef) -> None:
    service = a_service()
    awaited = RouteTable(9, CHALLENGER, CHAMPION, (canary("e", CHALLENGER, ModelRef("trajectory", 3), 1.0, "x"),))
    service.snapshot = Snapshot(models={CHAMPION: Stands()}, awaited=awaited, stand_in=stand_in)
    for n in range(8):
        answer = service.predict(a_query(f"a{n}"), CALLER)
        assert (answer.body["model_name"], answer.body["model_version"]) == stand_in
        assert (answer.event.epoch, answer.event.variant) == (0, "champion")
    choice = Bulk(service, "trajectory", ConstantVelocity(), SystemClock()).choose(None)
    assert (choice.model, choice.epoch) == (stand_in, 0)
    assert service.predict(a_query(model_version="previous_champion"), CALLER).body["model_version"] == CHAMPION.version
    with pytest.raises(NoModelReady) as refused:
        service.predict(a_query(model_version="champion"), CALLER)
    assert refused.value.details["model"] == CHALLENGER


def test_before_the_routes_are_read_nothing_is_said_of_them() -> None:
    service = PredictService("trajectory", ConstantVelocity(), TrackBuffer(SystemClock()), SystemClock())
    with pytest.raises(NoModelReady, match="the routes have not been read yet"):
        service.predict(a_query(), CALLER)


def test_an_empty_batch_is_an_empty_answer() -> None:
    assert a_service().predict_many([], CALLER) == []

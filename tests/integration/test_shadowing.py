"""The job `shadow` over a real lake: what it predicts beside, that nothing is predicted twice, and that the pairs decide."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data.lake.experiment_source import LakeExperiments
from data.lake.scoring import TruthRules
from data.lake.shadow_source import LakeShadows
from data.lake.truth import SLACK_NS, TruthJoin, look_back_ns
from data.sql.route_source import SqlRouteSource
from data.stubs import MemoryRegistry, SetClock
from tests.builders import CLOCK_NS, CLOCK_S, a_history, a_prediction_event, a_turning_track
from tests.experiment_builders import STOP, a_plan, three_arms
from tests.lake_house import House, a_house
from tests.mlflow_models import our_model
from tests.record_builders import calibration
from trajops.clock import now, utc
from trajops.contracts.experiments import ExperimentOut, ExperimentPlan
from trajops.deployments.model_ref import ModelRef
from trajops.deployments.routing import RouteTable
from trajops.errors import Unavailable
from trajops.experiments.routed import Arm, RoutedExperiment, canary
from trajops.forecasters.constant_velocity import ConstantVelocity
from trajops.ports import Forecaster
from trajops.records import ModelVersion
from trajops.services.deployments import Deployments
from trajops.services.experiments import Experiments
from trajops.services.judging import Judge
from trajops.services.shadows import Beside, Shadows, Wanted, shadow_id
from trajops.settings import Settings
from trajops.stores import UnitOfWorkFactory
from trajops.telemetry import PredictionEvent
from trajops.trajectories import DEFAULT_WINDOW, FloatArray, Forecast
from workers.jobs.shadow import JOB, Bounds, Shadow
from workers.warm import WarmModels
from workers.wiring import Parts
from workers.work import runner_of, work_of

S = 10**9
NAME = "trajectory"
CONTROL, TREATMENT, OTHER = (ModelRef(NAME, number) for number in (1, 2, 3))
WHO: dict[str, Any] = {"actor": "ada", "reason": "because of the test"}
CONFIGS = Path(__file__).parents[2] / "configs"
BEGIN_NS = CLOCK_NS


class StandStill:
    """Says that everybody stays where they are."""

    family = "stand_still"
    window = DEFAULT_WINDOW

    def forecast(self, history_m: FloatArray) -> Forecast:
        made = ConstantVelocity().forecast(history_m)
        return Forecast(np.broadcast_to(history_m[:, None, -1:], made.mean_m.shape), made.covariance_m2, made.weights)


class Broken(StandStill):
    def forecast(self, history_m: FloatArray) -> Forecast:
        raise ZeroDivisionError("planted")


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with a_house(tmp_path) as made:
        made.clock.ns = BEGIN_NS
        yield made


class Shop:
    """Control state, lake and models of one test; version 1 is the champion."""

    def __init__(self, house: House, models: dict[ModelRef, Forecaster] | None = None, **bounds: Any) -> None:
        self.house, self.clock = house, house.clock
        self.unit_of_work: UnitOfWorkFactory = house.database.unit_of_work
        self.models = models or {TREATMENT: ConstantVelocity(), OTHER: ConstantVelocity()}
        self.deployments = Deployments(self.unit_of_work, clock=self.clock)
        self.experiments = Experiments(self.unit_of_work, clock=self.clock)
        self.rules = TruthRules()
        self.bounds = Bounds(10_000, look_back_ns(self.rules), SLACK_NS)._replace(**bounds)
        register(self.unit_of_work, self.deployments)
        self.job = self.a_job()

    def a_job(self) -> Shadow:
        """As another worker would have it."""
        return Shadow(
            self.unit_of_work,
            LakeShadows(self.house.lake),
            WarmModels(self.models.__getitem__, SqlRouteSource(self.house.database)),
            Shadows(ConstantVelocity()),
            lambda events: self.house.spool.write("predictions", events),
            self.bounds,
            self.clock,
        )

    def launch(self, plan: ExperimentPlan | None = None) -> ExperimentOut:
        draft = self.experiments.create(plan or a_plan(mode="shadow", stop=STOP), **WHO).experiment
        return self.experiments.launch(draft.experiment_id, draft.version, **WHO).experiment

    def run(self, *, is_recorded: bool = True) -> dict[str, Any]:
        at = now(self.clock)
        result = self.job.run()
        if is_recorded:
            with self.unit_of_work() as work:
                work.jobs.record_finish(work.jobs.record_start(JOB, "w", at).run_id, at, result=result)
        return result

    def counts(self) -> tuple[int, int, int]:
        result = self.run()
        return result["predicted"], result["failed"], result["dropped"]

    def shadows(self) -> list[dict[str, Any]]:
        query = "SELECT * FROM predictions WHERE source = 'shadow' ORDER BY received_ns, prediction_id"
        return self.house.lake.read(("predictions",), lambda cursor, p: cursor.sql(p + query).to_arrow_table().to_pylist())  # type: ignore[no-any-return]


def register(unit_of_work: UnitOfWorkFactory, deployments: Deployments) -> None:
    """Three versions: the champion, and two that are staged."""
    with unit_of_work() as work:
        for ref in (CONTROL, TREATMENT, OTHER):
            work.model_versions.put(ModelVersion(NAME, ref.version, "kalman", None, {}, {}, "d" * 64, utc(BEGIN_NS)))
    staged = deployments.stage(1, **WHO).deployment
    deployments.promote(staged.deployment_id, staged.version, **WHO)
    for ref in (TREATMENT, OTHER):
        deployments.stage(ref.version, **WHO)


def an_answer(number: int, **changes: Any) -> PredictionEvent:
    """Number n is received n milliseconds after the beginning, of an agent of its own."""
    return a_prediction_event(f"p{number:05d}", **({"received_ns": BEGIN_NS + number * 1_000_000, "agent_id": f"a{number}"} | changes))


def some_traffic(agents: int, until_ns: int, model: Forecaster) -> list[PredictionEvent]:
    """Agents on circles, each asked about five times, 2.4 s apart, the last time now; answered by a model."""
    answers = []
    for agent in range(agents):
        track = a_turning_track(f"a{agent}", steps=40, radius_m=6.0 + agent % 5, speed_mps=1.0 + 0.1 * (agent % 7))
        for ask in range(5):
            first = 6 * ask
            history_m = track.positions_m[first : first + 8]
            made = model.forecast(history_m[None])
            before_ns = (4 - ask) * 2_400_000_000
            covariance_m2 = made.covariance_m2[0, 0]
            answers.append(
                a_prediction_event(
                    f"{agent}-{ask}",
                    received_ns=until_ns - before_ns,
                    observed_at_s=CLOCK_S + 2.4 * ask,
                    agent_id=f"a{agent}",
                    history_m=history_m.ravel().tolist(),
                    mean_m=made.mean_m.ravel().tolist(),
                    cov_m2=covariance_m2.reshape(-1, 4)[:, [0, 1, 3]].ravel().tolist(),
                )
            )
    return answers


# What is predicted beside


LIVE = canary("live", CONTROL, OTHER, 0.5, "s")
SHADOW = RoutedExperiment("e1", (Arm("control", CONTROL, 0.5), Arm("treatment", TREATMENT, 0.5)), 1.0, "t", is_shadow=True)
TABLE = RouteTable(5, CONTROL, experiments=(LIVE, SHADOW))
BASELINE = {"model_name": "baseline", "model_version": 0}


def found(house: House, table: RouteTable = TABLE, most: int = 1000, since_ns: int = 0) -> list[str]:
    wanted = [Wanted(experiment, arm, since_ns) for experiment, arm in table.shadowing()]
    waiting = LakeShadows(house.lake).waiting(table, wanted, most)
    assert waiting.total >= len(waiting.newest)
    return sorted(one.answer.prediction_id for one in waiting.newest)


@pytest.mark.parametrize(
    ("changes", "is_found"),
    [
        pytest.param({}, True, id="the champion, live"),
        pytest.param({"source": "replay"}, True, id="replayed"),
        pytest.param({"variant": "holdout"}, True, id="held out"),
        pytest.param({"variant": "control", "experiment_id": "live"}, True, id="the control of another experiment"),
        pytest.param({"variant": "direct"}, True, id="the version was asked for"),
        pytest.param(BASELINE, True, id="the baseline for the champion"),
        pytest.param(BASELINE | {"variant": "control", "experiment_id": "live"}, True, id="the baseline for that control"),
        pytest.param(BASELINE | {"variant": "treatment", "experiment_id": "live"}, False, id="the baseline for another version"),
        pytest.param(BASELINE | {"variant": "direct"}, False, id="the baseline for nobody knows whom"),
        pytest.param({"epoch": 0}, False, id="a stand-in"),
        pytest.param({"source": "probe"}, False, id="a probe"),
        pytest.param({"source": "backfill"}, False, id="a backfill"),
        pytest.param({"source": "shadow", "shadow_of": "p"}, False, id="a shadow"),
        pytest.param({"variant": "override", "experiment_id": "e1"}, False, id="put into an arm by hand"),
        pytest.param({"model_version": 3, "variant": "treatment", "experiment_id": "live"}, False, id="another version"),
        pytest.param({"model_name": "other"}, False, id="another model"),
        pytest.param({"history_m": a_history().ravel().tolist()[2:]}, False, id="of another window"),
    ],
)
@pytest.mark.parametrize("where", ["spool", "parquet"])
def test_answers_of_the_control_in_served_traffic_are_predicted_beside(
    house: House, where: str, changes: dict[str, Any], is_found: bool
) -> None:
    house.write(an_answer(1, **changes))
    if where == "parquet":
        house.compact()
    assert found(house) == ["p00001"] * is_found


def test_only_those_whom_the_routes_enrol(house: House) -> None:
    house.write(*(an_answer(number) for number in range(300)))
    half = RouteTable(5, CONTROL, experiments=(RoutedExperiment("e1", SHADOW.arms, 0.5, "t", is_shadow=True),))
    expected = [f"p{number:05d}" for number in range(300) if half.experiments[0].is_enrolled(f"s1/a{number}")]
    assert found(house, half) == expected
    assert 100 < len(expected) < 200
    by_client = RouteTable(5, CONTROL, experiments=(RoutedExperiment("e1", SHADOW.arms, 0.5, "t", "client", is_shadow=True),))
    assert len(found(house, by_client)) in {0, 300}


def test_the_newest_come_first_and_all_are_counted(house: House) -> None:
    house.write(*(an_answer(number) for number in range(100)))
    wanted = [Wanted(SHADOW, SHADOW.arms[1], BEGIN_NS + 10_000_000)]
    waiting = LakeShadows(house.lake).waiting(TABLE, wanted, 20)
    assert [one.answer.prediction_id for one in waiting.newest] == [f"p{number:05d}" for number in reversed(range(80, 100))]
    assert waiting.total == 90
    counted = LakeShadows(house.lake).waiting(TABLE, wanted, 0, until_ns=BEGIN_NS + 30_000_000)
    assert counted == ([], 20)


def test_a_torn_line_is_passed_over(house: House) -> None:
    house.write(an_answer(1), an_answer(2))
    [segment] = house.segments()
    with (house.folder / "spool" / segment).open("ab") as file:
        file.write(b'{"prediction_id": "p00003", "received_ns": 17000000000')
    assert found(house) == ["p00001", "p00002"]


def test_nothing_is_left_on_a_cursor(house: House) -> None:
    house.write(an_answer(1))
    for _ in range(5):
        found(house)
    query = "SELECT (SELECT count(*) FROM duckdb_tables()) + (SELECT count(*) FROM duckdb_views() WHERE NOT internal)"
    for _ in range(4):
        assert house.lake.read(("predictions",), lambda cursor, _prefix: cursor.execute(query).fetchall()) == [(0,)]


# The job


def test_a_shadow_takes_over_what_its_answer_says(house: House) -> None:
    shop = Shop(house)
    experiment = shop.launch()
    answer = an_answer(400, client_id="key:one", request_id="r7", scene_id="plaza", observed_at_s=CLOCK_S + 3)
    house.write(answer)
    house.clock.ns += S
    assert shop.counts() == (1, 0, 0)
    [row] = shop.shadows()
    taken = ("received_ns", "observed_at_s", "scene_id", "agent_id", "client_id", "request_id", "dt_s", "history_m")
    assert {name: row[name] for name in taken} == {name: getattr(answer, name) for name in taken}
    [beside] = [Beside(answer, experiment.experiment_id, SHADOW.arms[1])]  # type: ignore[arg-type] - it has the fields
    assert row["prediction_id"] == shadow_id(beside.answer, experiment.experiment_id, "treatment")
    expected = {"shadow_of": "p00400", "source": "shadow", "variant": "treatment", "experiment_id": experiment.experiment_id}
    assert {name: row[name] for name in expected} == expected
    assert (row["model_name"], row["model_version"], row["calibration"]) == (NAME, 2, None)
    with house.database.unit_of_work(read_only=True) as work:
        assert row["epoch"] == work.routes.epoch()


@pytest.mark.parametrize("is_compacted", [False, True])
def test_a_worker_that_dies_after_it_has_written_leaves_nothing_to_do_twice(house: House, is_compacted: bool) -> None:
    shop = Shop(house)
    shop.launch()
    house.write(*(an_answer(number) for number in range(40)))
    house.clock.ns += S
    assert shop.run(is_recorded=False)["predicted"] == 40
    if is_compacted:
        house.compact()
    before = shop.shadows()
    shop.job = shop.a_job()
    house.write(*(an_answer(number) for number in range(40, 45)), close=False)
    assert shop.counts() == (5, 0, 0)
    assert [row for row in shop.shadows() if row["shadow_of"] < "p00040"] == before
    assert len({row["prediction_id"] for row in shop.shadows()}) == len(shop.shadows()) == 45
    house.clock.ns += S
    assert shop.counts() == (0, 0, 0)


def test_a_run_has_bounds_and_counts_what_it_passes_over(house: House) -> None:
    shop = Shop(house, most=30)
    shop.launch()
    house.write(*(an_answer(number) for number in range(100)))
    house.clock.ns += S
    assert shop.counts() == (30, 0, 70)
    assert [row["shadow_of"] for row in shop.shadows()] == [f"p{number:05d}" for number in range(70, 100)]
    house.clock.ns += S
    house.write(an_answer(1500))
    assert shop.counts() == (1, 0, 0)


def test_two_experiments_at_once_and_one_of_three_arms(house: House) -> None:
    shop = Shop(house)
    plan = three_arms(mode="shadow", stop=STOP)
    shop.launch(plan)
    house.write(*(an_answer(number) for number in range(10)))
    house.clock.ns += S
    assert shop.counts() == (20, 0, 0)
    assert {(row["variant"], row["model_version"]) for row in shop.shadows()} == {("wide", 2), ("deep", 3)}
    assert shop.counts() == (0, 0, 0)


def test_a_model_that_fails_is_charged(house: House) -> None:
    shop = Shop(house, {TREATMENT: Broken()})
    experiment = shop.launch()
    house.write(*(an_answer(number) for number in range(30)))
    house.clock.ns += S
    assert shop.counts() == (0, 30, 0)
    assert {(row["model_name"], row["model_version"], row["variant"]) for row in shop.shadows()} == {("baseline", 0, "treatment")}
    house.clock.ns += 60 * S
    plan = experiment.plan
    figures = LakeExperiments(house.lake).figures(experiment.experiment_id, plan, utc(BEGIN_NS), now(house.clock), 100.0)
    assert [arm.failed_units for arm in figures.arms] == [0, 30]
    judge = Judge(LakeExperiments(house.lake), shop.unit_of_work, shop.experiments, house.clock)
    [judged] = judge.run()
    assert judged.decided == "guardrail"
    house.clock.ns += S
    house.write(an_answer(65_000))
    assert shop.run() == {}, "it is over"


@pytest.mark.parametrize(
    ("control", "treatment", "kind"), [(StandStill(), ConstantVelocity(), "better"), (ConstantVelocity(), StandStill(), "worse")]
)
def test_the_pairs_decide(house: House, control: Forecaster, treatment: Forecaster, kind: str) -> None:
    shop = Shop(house, {TREATMENT: treatment})
    shop.launch()
    house.clock.ns += 700 * S
    answers = some_traffic(80, house.clock.ns, control)
    join = TruthJoin(house.lake, house.spool, shop.rules, house.clock)
    judge = Judge(LakeExperiments(house.lake), shop.unit_of_work, shop.experiments, house.clock)
    # As it comes: what is answered is predicted beside within a second, and scored as its truth arrives.
    until_ns = house.clock.ns
    for before_s in range(10, -3, -1):
        house.clock.ns = until_ns - before_s * S
        house.write(*(one for one in answers if house.clock.ns - S <= one.received_ns < house.clock.ns), close=False)
        shop.run()
        join.run(house.clock.ns)
    assert len(shop.shadows()) == len(answers) == 400
    experiment = shop.experiments.newest().experiments[0]
    figures = LakeExperiments(house.lake).figures(experiment.experiment_id, experiment.plan, utc(BEGIN_NS), now(house.clock), 100.0)
    first, second = figures.arms
    assert (first.units, second.units, first.predictions, second.predictions) == (80, 80, 400, 400)
    assert first.joined == second.joined > 200
    assert second.pairs is not None
    assert second.pairs.units == 80
    [judged] = judge.run()
    assert judged.decided == kind
    assert judged.verdict.effects[0].verdict == kind


# As the worker wires it


@pytest.fixture
def parts(tmp_path: Path) -> Iterator[Parts]:
    parts = Parts(Settings(var_dir=tmp_path / "var", configs_dir=CONFIGS))
    parts.clock = SetClock(BEGIN_NS)
    parts.database.migrate()
    parts.registry = MemoryRegistry()  # type: ignore[assignment] - as the port says
    parts.registry.add(TREATMENT, our_model(tmp_path / "m", ConstantVelocity()))  # type: ignore[attr-defined]
    yield parts
    parts.close()


def test_the_wired_job_predicts_with_the_calibration_in_force(parts: Parts) -> None:
    clock = parts.clock
    assert isinstance(clock, SetClock)
    register(parts.unit_of_work, Deployments(parts.unit_of_work, clock=clock))
    experiments = Experiments(parts.unit_of_work, clock=clock)
    draft = experiments.create(a_plan(mode="shadow"), **WHO).experiment
    experiments.launch(draft.experiment_id, draft.version, **WHO)
    runner_of(parts).describe()
    parts.spool.write("predictions", [an_answer(1)])
    clock.advance(1)
    assert runner_of(parts).run(JOB).state == "succeeded"  # type: ignore[union-attr]
    factors = np.linspace(2.0, 3.0, 12).tolist()
    with parts.unit_of_work() as work:
        work.calibrations.add(calibration(0, version_number=2, state="applied").model_copy(update={"factors": factors}))
    parts.spool.write("predictions", [an_answer(1500)])
    clock.advance(1)
    assert runner_of(parts).run(JOB).result["predicted"] == 1  # type: ignore[union-attr]
    query = "SELECT shadow_of, calibration, cov_m2 FROM predictions WHERE source = 'shadow' ORDER BY received_ns"
    before, after = parts.lake.read(("predictions",), lambda cursor, p: cursor.execute(p + query).fetchall())
    assert [before[:2], after[:2]] == [("p00001", None), ("p01500", 1)]
    np.testing.assert_allclose(np.reshape(after[2], (12, 3)), np.reshape(before[2], (12, 3)) * np.array(factors)[:, None], rtol=1e-4)
    sample = parts.metrics.registry.get_sample_value
    assert [sample("trajops_shadow_predictions_total", {"result": one}) for one in ("predicted", "failed", "dropped")] == [2, 0, 0]


def test_the_wired_job_asks_the_lake_nothing_where_nobody_is_shadowed(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    register(parts.unit_of_work, Deployments(parts.unit_of_work, clock=parts.clock))

    def refuse(*_: Any, **__: Any) -> None:
        raise Unavailable("nobody may ask")

    monkeypatch.setattr(parts.lake, "read", refuse)
    monkeypatch.setattr(parts.lake, "snapshot", refuse)
    assert work_of(parts)["shadow"]() == {}
    assert work_of(parts)["shadow"]() == {}
    assert not parts.settings.spool_dir.exists()

"""A training run ranks and validates its candidates before anybody can stage them; registered versions are validated as they are."""

import shutil
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from data.datasets import skillcorner
from data.models.package import CARD_FILE, VALIDATION_TAG, LoggedVersion, Package, RunRecord
from data.sql.engine import Database
from tests import broken_forecasters as broken
from tests.builders import a_crowd
from trajops.deployments.lifecycle import State
from trajops.deployments.model_ref import ModelRef
from trajops.errors import BatteryFailed, InvalidInput, NotFound, RegistryUnavailable, SignatureMismatch
from trajops.forecasters import golden
from trajops.forecasters.constant_velocity import ConstantVelocity
from trajops.records import ModelVersion
from trajops.services.deployments import Deployments
from trajops.services.validations import record
from trajops.settings import Settings
from workers.training import __main__ as command
from workers.training import run
from workers.training.candidates import Fitted
from workers.training.run import TrainedVersion, train
from workers.training.validate import HeldOut, Validator, held_out

WHO: dict[str, Any] = {"actor": "ada", "reason": "because of the test"}
DATASET = "skillcorner_2417/first_half"


@cache
def embedded() -> HeldOut:
    return held_out([skillcorner.load()["first_half"]], DATASET)


class Store:
    """Numbers runs instead of logging them."""

    def __init__(self) -> None:
        self.records: list[RunRecord] = []

    def publish(self, model_name: str, record: RunRecord, package: Package) -> LoggedVersion:
        self.records.append(record)
        return LoggedVersion(ModelRef(model_name, len(self.records)), f"run{len(self.records)}", "d" * 64)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(var_dir=tmp_path, mlflow_url="http://127.0.0.1:9", environment="test")


@pytest.fixture
def database(settings: Settings) -> Iterator[Database]:
    database = Database(settings.sql_url)
    database.migrate()
    yield database
    database.close()


def trained(settings: Settings, database: Database, *families: str, said: list[str] | None = None) -> tuple[list[TrainedVersion], Store]:
    store, lines = Store(), [] if said is None else said
    scenes = [skillcorner.load()["first_half"]]
    return train(settings, scenes, families=families, database=database, store=store, dataset=DATASET, progress=lines.append), store


def test_candidates_are_ranked_validated_and_can_be_staged_at_once(settings: Settings, database: Database) -> None:
    said: list[str] = []
    versions, store = trained(settings, database, "constant_velocity", "kalman", said=said)
    ranked = [line for line in said if line.startswith("ranked")]
    assert ranked[0].startswith("ranked kalman 1: ")
    assert ranked[1].startswith("ranked constant_velocity 2: ")
    assert "validated trajectory/1: 7 of 7 checks passed." in said
    for version, family in zip(versions, ("constant_velocity", "kalman"), strict=True):
        assert version.validation is not None
        with database.unit_of_work(read_only=True) as uow:
            found, card = uow.validations.newest(version.ref), uow.validations.card(version.ref)
            row = uow.model_versions.get(version.ref)
        assert found == version.validation
        assert found is not None
        assert (found.cause, found.by, found.is_passed) == ("training", "workers.training", True)
        assert [(one.family, one.rank) for one in found.ranking] == [("kalman", 1), ("constant_velocity", 2)]
        assert found.data_fingerprint == row.params["data_fingerprint"] == embedded().data.fingerprint
        assert (found.windows, found.agents) == (2212, 172)
        assert card is not None
        assert card.startswith(f"# Model card: trajectory v{version.ref.version}\n")
        assert f"| data_fingerprint | {found.data_fingerprint} |" in card
        assert "the run's own held-out windows: 2212 windows of 172 agents" in card
        logged = store.records[version.ref.version - 1]
        assert logged.name == family
        assert logged.tags[VALIDATION_TAG].startswith("passed: 7 of 7 checks passed.")
        assert logged.artifacts[CARD_FILE].startswith("# Model card: trajectory\n")
    gate = Deployments(database.unit_of_work, needs_validation=True)
    assert gate.stage(2, **WHO).deployment.state == State.STAGED


def test_what_is_validated_is_what_was_packed(settings: Settings, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package whose files make another model than the one that was fitted fails its golden replay, and cannot be staged."""
    other = golden.record(ConstantVelocity())
    fit = run.fit_candidate

    def exchanged(candidate: Any) -> Fitted:
        fitted = fit(candidate)
        return replace(fitted, package=replace(fitted.package, golden=other))

    monkeypatch.setattr(run, "fit_candidate", exchanged)
    said: list[str] = []
    [version], store = trained(settings, database, "kalman", said=said)
    assert version.validation is not None
    assert [one.check for one in version.validation.failed] == ["golden_replay"]
    assert any(line.startswith("validated trajectory/1: golden replay: the largest deviation over what is tolerated is") for line in said)
    assert store.records[0].tags[VALIDATION_TAG].startswith("failed: 1 of 7 checks failed: golden replay.")
    with pytest.raises(BatteryFailed, match="golden replay"):
        Deployments(database.unit_of_work, needs_validation=True).stage(1, **WHO)


def test_a_package_that_cannot_be_loaded_has_failed(settings: Settings, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    fit = run.fit_candidate

    def damaged(candidate: Any) -> Fitted:
        fitted = fit(candidate)
        files = {**fitted.package.files, "arrays.npz": b"nothing"}
        return replace(fitted, package=replace(fitted.package, files=files))

    monkeypatch.setattr(run, "fit_candidate", damaged)
    [version], _ = trained(settings, database, "kalman")
    assert version.validation is not None
    assert [one.check for one in version.validation.failed] == ["loads"]
    assert [one.rank for one in version.validation.ranking] == [None]


def test_a_mistake_in_the_policy_is_found_before_anything_is_fitted(settings: Settings, database: Database, tmp_path: Path) -> None:
    (tmp_path / "selection.yaml").write_text("battery:\n  latency: {p99_ms: -3}\n")
    wrong = settings.model_copy(update={"configs_dir": tmp_path})
    with pytest.raises(InvalidInput, match=r"selection\.yaml:2: battery\.latency\.p99_ms: "):
        trained(wrong, database, "kalman")


# Registered versions


class Loader:
    """Hands out a model, or raises."""

    def __init__(self, model: Any, recorded: str | None = None) -> None:
        self.model, self.answers = model, recorded

    def open(self, ref: ModelRef) -> Any:
        if isinstance(self.model, Exception):
            raise self.model
        return self.model

    def recorded(self, ref: ModelRef) -> str | None:
        return self.answers


def registered(database: Database, **params: str) -> ModelVersion:
    version = ModelVersion("trajectory", 1, "constant_velocity", "run1", {"val_ade_m": 5.4}, params, "d" * 64, datetime.now(UTC))
    with database.unit_of_work() as uow:
        uow.model_versions.put(version)
    return version


def a_validator(settings: Settings, database: Database, loader: Loader, **more: Any) -> tuple[Validator, dict[ModelRef, Mapping[str, str]]]:
    told: dict[ModelRef, Mapping[str, str]] = {}

    def tell(ref: ModelRef, tags: dict[str, str]) -> None:
        told[ref] = tags

    return Validator(settings, loader, tell, database.unit_of_work, embedded, **more), told  # type: ignore[arg-type]


def states(validation: Any) -> dict[str, str]:
    return {one.check: one.state for one in validation.checks}


def test_a_version_of_the_same_data_is_held_against_all_of_it(settings: Settings, database: Database) -> None:
    version = registered(database, data_fingerprint=embedded().data.fingerprint, dataset=DATASET)
    sure = broken.Sound(scale=0.01)
    validate, told = a_validator(settings, database, Loader(sure, golden.record(sure)))
    validation, card = validate(version, cause="first_look", by="worker")
    assert states(validation)["calibration"] == "failed"
    assert "skipped" not in states(validation).values()
    assert told[version.ref][VALIDATION_TAG].startswith("failed: ")
    assert "**failed**" in card


def test_on_other_data_only_what_does_not_depend_on_them_is_said(settings: Settings, database: Database) -> None:
    version = registered(database, data_fingerprint="another", dataset="a market square")
    validate, _ = a_validator(settings, database, Loader(broken.Sound(scale=0.01), golden.record(broken.Sound(scale=0.01))))
    validation, card = validate(version, cause="first_look", by="worker")
    assert {name for name, state in states(validation).items() if state == "skipped"} == {"worst_scenes", "calibration"}
    assert validation.is_passed
    [skipped] = [one for one in validation.checks if one.check == "calibration"]
    assert "a market square" in skipped.sentence
    assert "--validate 1 --tracks FILE" in skipped.sentence
    assert f"held-out windows of {DATASET}" in card
    asked, _ = a_validator(settings, database, Loader(broken.Sound(scale=0.01)), is_asked=True)
    assert states(asked(version, cause="asked_for", by="ada")[0])["calibration"] == "failed"


@pytest.mark.parametrize(
    "error", [SignatureMismatch("the ONNX model cannot be read"), NotFound("there is no such version"), OSError("no file")]
)
def test_a_version_that_cannot_be_loaded_fails_with_the_reason(settings: Settings, database: Database, error: Exception) -> None:
    version = registered(database)
    validate, _ = a_validator(settings, database, Loader(error))
    validation, _ = validate(version, cause="first_look", by="worker")
    assert (validation.is_passed, [one.check for one in validation.failed]) == (False, ["loads"])
    assert str(error) in validation.failed[0].sentence


def test_a_registry_that_is_away_says_nothing_about_a_version(settings: Settings, database: Database) -> None:
    version = registered(database)
    away, _ = a_validator(settings, database, Loader(RegistryUnavailable("away")))
    with pytest.raises(RegistryUnavailable):
        away(version, cause="first_look", by="worker")

    def gone(ref: ModelRef, tags: dict[str, str]) -> None:
        raise RegistryUnavailable("away")

    loader: Any = Loader(broken.Sound())
    quiet = Validator(settings, loader, gone, database.unit_of_work, embedded)
    assert quiet(version, cause="first_look", by="worker")[0].checks


def test_a_version_keeps_the_rank_of_its_run(settings: Settings, database: Database) -> None:
    [_, kalman], _ = trained(settings, database, "constant_velocity", "kalman")
    with database.unit_of_work(read_only=True) as uow:
        version = uow.model_versions.get(kalman.ref)
    validate, _ = a_validator(settings, database, Loader(broken.Sound(family="kalman")))
    validation, card = validate(version, cause="asked_for", by="ada")
    assert kalman.validation is not None
    assert validation.ranking == kalman.validation.ranking
    assert "Rank 1 of 2." in card
    with database.unit_of_work() as uow:
        record(uow, validation, card)
        newest = uow.validations.newest(kalman.ref)
    assert newest == validation


def test_the_command_validates_on_tracks_that_are_named(
    settings: Settings, database: Database, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    registered(database, data_fingerprint="another", dataset="a market square")
    monkeypatch.setattr(command.Settings, "from_environment", lambda: settings)
    monkeypatch.setattr(command, "ModelLoader", lambda *_, **__: Loader(broken.Sound(scale=0.01)))
    assert command.main(["--validate", "1"]) == 0
    said = capsys.readouterr().out
    assert "trajectory/1: 1 of 7 checks failed, 1 skipped: calibration." in said
    assert "  calibration failed: coverage at 50 % is 0.0" in said
    with database.unit_of_work(read_only=True) as uow:
        found = uow.validations.newest(ModelRef("trajectory", 1))
    assert found is not None
    assert (found.cause, found.is_passed, found.dataset) == ("asked_for", False, DATASET)
    assert command.main(["--validate", "9"]) == 1
    assert "trajectory/9 is not known here" in capsys.readouterr().err


@pytest.fixture
def trains(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """The command, with a registry that only numbers."""
    store = Store()
    monkeypatch.setattr(command.Settings, "from_environment", lambda: settings)
    monkeypatch.setattr(run, "_check_registry", lambda _: None)
    monkeypatch.setattr(run, "_open_store", lambda _: store)
    return store


def staged(database: Database) -> dict[int, State]:
    with database.unit_of_work(read_only=True) as uow:
        return {one.model_version: one.state for one in uow.deployments.all()}


TWO = ["--family", "constant_velocity", "--family", "kalman"]


def test_the_command_stages_the_best_candidate_that_has_passed(
    database: Database, trains: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(TWO) == 0
    assert staged(database) == {2: State.STAGED}
    assert f"staged trajectory/2 (kalman), rank 1 of 2 trained on {DATASET}: " in capsys.readouterr().out
    with database.unit_of_work(read_only=True) as uow:
        [entry] = [one for one in uow.audit.newest() if one.action == "deployment.stage"]
    assert (entry.actor, entry.reason.partition(" trained")[0]) == ("workers.training", "rank 1 of 2")


def test_a_candidate_that_has_failed_is_passed_over_with_its_reason(
    database: Database, trains: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fit, other = run.fit_candidate, golden.record(broken.Sound(scale=3.0))

    def exchanged(candidate: Any) -> Fitted:
        fitted = fit(candidate)
        return replace(fitted, package=replace(fitted.package, golden=other)) if candidate.family == "kalman" else fitted

    monkeypatch.setattr(run, "fit_candidate", exchanged)
    assert command.main(TWO) == 0
    assert staged(database) == {1: State.STAGED}
    said = capsys.readouterr().out
    assert "not staged: trajectory/2 may not be staged: golden replay: the largest deviation" in said
    assert said.index("not staged: trajectory/2") < said.index("staged trajectory/1 (constant_velocity), rank 2 of 2")


def test_what_the_policy_excludes_is_left_to_people(
    settings: Settings,
    database: Database,
    trains: Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    configs = tmp_path / "configs"
    shutil.copytree(settings.configs_dir, configs)
    policy = (configs / "selection.yaml").read_text()
    assert "ade_to_baseline: 1.05" in policy
    (configs / "selection.yaml").write_text(policy.replace("ade_to_baseline: 1.05", "ade_to_baseline: 0.5"))
    changed = settings.model_copy(update={"configs_dir": configs})
    monkeypatch.setattr(command.Settings, "from_environment", lambda: changed)
    assert command.main(["--family", "kalman"]) == 0
    assert staged(database) == {}
    assert "not staged: trajectory/1: Excluded: its ADE over that of constant velocity is" in capsys.readouterr().out


def test_whoever_wants_to_stage_by_hand_says_so(database: Database, trains: Store) -> None:
    assert command.main(["--family", "kalman", "--no-stage"]) == 0
    assert staged(database) == {}
    assert len(trains.records) == 1


def test_a_calm_crowd_does_not_block(settings: Settings, database: Database) -> None:
    store = Store()
    [version] = train(settings, [a_crowd(agents=200)], families=["kalman"], database=database, store=store, progress=lambda _: None)
    assert version.validation is not None
    assert version.validation.is_passed, version.validation.failed


def test_who_stages_the_best_meanwhile_makes_no_run_fail(
    database: Database, trains: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stage = command.stage_best

    def late(*given: Any, **more: Any) -> Any:
        Deployments(database.unit_of_work).stage(2, **WHO)
        return stage(*given, **more)

    monkeypatch.setattr(command, "stage_best", late)
    assert command.main(TWO) == 0
    assert "trajectory/2 (kalman) is staged already: somebody was faster; rank 1 of 2 trained on " in capsys.readouterr().out
    assert staged(database) == {2: State.STAGED}

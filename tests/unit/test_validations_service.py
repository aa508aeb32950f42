"""Validations: what is told about them, who asks for them, and that nothing is staged that has not passed."""

from datetime import UTC, datetime
from typing import Any

import pytest

from data.stubs import MemoryDatabase, SetClock
from tests.record_builders import check, validation
from trajops.contracts.validations import CheckOut
from trajops.deployments.lifecycle import State
from trajops.errors import BatteryFailed, Conflict, IllegalTransition, NotFound, NotValidated
from trajops.records import ModelVersion
from trajops.services.deployments import Deployments
from trajops.services.validations import JOB, Validations, record

WHO: dict[str, Any] = {"actor": "ada", "reason": "because of the test"}
NAME = "trajectory"


class House:
    """Control state with a few registered versions."""

    def __init__(self) -> None:
        self.database = MemoryDatabase()
        with self.database.unit_of_work() as uow:
            for number in (1, 2, 3):
                uow.model_versions.put(ModelVersion(NAME, number, "kalman", None, {}, {}, "d" * 64, datetime(2026, 1, 1, tzinfo=UTC)))
            uow.jobs.describe(JOB, "Runs the battery.", 30.0)
        clock = SetClock()
        self.releases = Deployments(self.database.unit_of_work, needs_validation=True, clock=clock)
        self.validations = Validations(self.database.unit_of_work, clock=clock)

    def validated(self, number: int, second: float, *checks: CheckOut) -> None:
        with self.database.unit_of_work() as uow:
            record(uow, validation(number, second, *checks), f"# Card {number}.{second:g}")

    def audited(self, action: str) -> list[Any]:
        with self.database.unit_of_work(read_only=True) as uow:
            return [entry for entry in uow.audit.newest() if entry.action == action]


@pytest.fixture
def house() -> House:
    return House()


def test_what_was_never_validated_is_not_staged_and_it_is_said_what_to_do(house: House) -> None:
    with pytest.raises(NotValidated, match=f"trajectory/1 has not been validated yet; the job {JOB} .* POST /v1/models/1/validation"):
        house.releases.stage(1, **WHO)
    assert house.releases.deployments().deployments == []
    house.validated(1, 0)
    assert house.releases.stage(1, **WHO).deployment.state == State.STAGED


def test_a_job_that_nobody_has_scheduled_is_not_promised(house: House) -> None:
    with house.database.unit_of_work() as uow:
        uow.jobs.describe("prune", "Forgets what is old.", 60.0)
        uow.jobs.forget(JOB)
    with pytest.raises(NotValidated, match=f"will not be: the job {JOB} is named in no worker's schedules.yaml") as refused:
        house.releases.stage(1, **WHO)
    assert "at once" not in refused.value.message
    for look in (house.validations.newest, house.validations.card):
        with pytest.raises(NotFound, match=r"schedules\.yaml"):
            look(1)


def test_a_paused_job_is_not_promised_either(house: House) -> None:
    with house.database.unit_of_work() as uow:
        uow.jobs.pause(JOB, at=datetime(2026, 1, 1, tzinfo=UTC), by="ben", reason="the machine is needed")
    with pytest.raises(
        NotValidated, match=r"ben has paused the job .* \(the machine is needed\)\. Resume it, or .* POST /v1/models/1/valid"
    ):
        house.releases.stage(1, **WHO)


def test_a_job_that_runs_seldom_is_not_promised_soon(house: House) -> None:
    with house.database.unit_of_work() as uow:
        uow.jobs.describe(JOB, "Runs the battery.", 86_400.0, "0 3 * * *")
    with pytest.raises(NotValidated, match="at its next turn, or at once"):
        house.releases.stage(1, **WHO)


def test_a_failed_battery_blocks_with_its_reasons(house: House) -> None:
    house.validated(1, 0, check("signature"), check("latency", "failed", 31.0), check("calibration", "failed", 0.5))
    with pytest.raises(BatteryFailed, match=r"latency: the 99th percentile is 31 ms, allowed at most 20 ms; calibration: ") as refused:
        house.releases.stage(1, **WHO)
    assert [(one.field, one.message) for one in refused.value.details["fields"]] == [
        ("battery.latency", "the 99th percentile is 31 ms, allowed at most 20 ms"),
        ("battery.calibration", "the 99th percentile is 0.5 ms, allowed at most 20 ms"),
    ]
    assert isinstance(refused.value, Conflict)
    assert house.releases.deployments().deployments == []


def test_the_newest_battery_counts(house: House) -> None:
    house.validated(1, 0)
    house.validated(1, 5, check("latency", "failed", 31.0))
    with pytest.raises(BatteryFailed):
        house.releases.stage(1, **WHO)
    house.validated(1, 9)
    assert house.releases.stage(1, **WHO).deployment.state == State.STAGED


def test_a_skipped_check_does_not_block(house: House) -> None:
    house.validated(1, 0, check("signature"), check("calibration", "skipped"))
    assert house.releases.stage(1, **WHO).deployment.state == State.STAGED


def test_who_may_not_be_staged_anyway_is_told_that_first(house: House) -> None:
    house.validated(1, 0)
    house.releases.stage(1, **WHO)
    house.validated(1, 5, check("latency", "failed"))
    with pytest.raises(IllegalTransition):
        house.releases.stage(1, **WHO)
    with pytest.raises(NotFound):
        house.releases.stage(99, **WHO)


def test_a_version_that_was_live_is_staged_again_and_a_rollback_needs_no_battery(house: House) -> None:
    for number in (1, 2):
        house.validated(number, 0)
        staged = house.releases.stage(number, **WHO).deployment
        house.releases.promote(staged.deployment_id, staged.version, **WHO)
    house.validated(1, 9, check("latency", "failed", 31.0))
    back = house.releases.rollback(2, **WHO)
    assert (back.deployment.model_version, back.deployment.state) == (1, State.LIVE)
    assert house.releases.stage(2, **WHO).deployment.state == State.STAGED


def test_without_the_gate_versions_are_staged_as_they_are(house: House) -> None:
    open_house = Deployments(house.database.unit_of_work, clock=SetClock())
    assert open_house.stage(3, **WHO).deployment.state == State.STAGED


def test_the_newest_validation_and_its_card_are_told(house: House) -> None:
    house.validated(1, 0)
    house.validated(1, 5, check("latency", "failed", 31.0))
    assert house.validations.newest(1) == validation(1, 5, check("latency", "failed", 31.0))
    assert house.validations.card(1) == "# Card 1.5"
    [entry, _] = house.audited("model.validated")
    assert (entry.subject, entry.actor, entry.after) == (
        "trajectory/1",
        "workers.training",
        {"is_passed": False, "failed": {"latency": "the 99th percentile is 31 ms, allowed at most 20 ms"}},
    )
    for ask in (house.validations.newest, house.validations.card):
        with pytest.raises(NotFound, match="has not been validated yet"):
            ask(2)
        with pytest.raises(NotFound, match="is not registered"):
            ask(99)


def test_asking_wakes_the_job_and_is_on_record(house: House) -> None:
    house.validated(1, 0, check("latency", "failed", 31.0))
    asked = house.validations.ask(1, **WHO, idempotency_key="k")
    assert (asked.model_version, asked.by, asked.job) == (1, "ada", JOB)
    with house.database.unit_of_work() as uow:
        assert uow.validations.asked(NAME) == [asked]
        assert uow.jobs.take_request(JOB)
    assert house.validations.ask(1, **WHO, idempotency_key="k") == asked
    [entry] = house.audited("model.validation_asked")
    assert (entry.before, entry.reason) == ({"is_passed": False, "sentence": "1 of 1 checks failed."}, WHO["reason"])
    with house.database.unit_of_work() as uow:
        assert not uow.jobs.take_request(JOB), "asked for once"
    with pytest.raises(Conflict, match="idempotency key"):
        house.validations.ask(2, **WHO, idempotency_key="k")
    with pytest.raises(NotFound):
        house.validations.ask(99, **WHO)


def test_without_workers_a_request_waits_for_them() -> None:
    house = House()
    house.database = MemoryDatabase()
    with house.database.unit_of_work() as uow:
        uow.model_versions.put(ModelVersion(NAME, 1, "kalman", None, {}, {}, "d" * 64, datetime(2026, 1, 1, tzinfo=UTC)))
    Validations(house.database.unit_of_work, clock=SetClock()).ask(1, **WHO)
    with house.database.unit_of_work(read_only=True) as uow:
        assert len(uow.validations.asked(NAME)) == 1

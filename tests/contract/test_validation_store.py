"""One body for validations in memory, over SQLite and over PostgreSQL."""

from typing import Any

from tests.record_builders import REF, asked, check, validation
from trajops.deployments.model_ref import ModelRef


def test_a_validation_comes_back_as_it_was_written(database: Any) -> None:
    written = validation(1, 0, check("latency", "failed", 31.0), check("calibration", "skipped"))
    with database.unit_of_work() as uow:
        assert uow.validations.newest(REF) is None
        assert uow.validations.card(REF) is None
        uow.validations.add(written, "# Card")
    with database.unit_of_work(read_only=True) as uow:
        assert uow.validations.newest(REF) == written
        assert uow.validations.card(REF) == "# Card"
        assert [one.check for one in written.failed] == ["latency"]


def test_the_newest_of_each_version_counts(database: Any) -> None:
    with database.unit_of_work() as uow:
        for number, second in ((1, 5), (2, 1), (1, 9), (1, 7), (2, 0)):
            uow.validations.add(validation(number, second), f"card {number} {second}")
        uow.validations.add(validation(1, 99, model_name="other", validation_id="other"), "of another model")
    with database.unit_of_work(read_only=True) as uow:
        assert [(one.model_version, one.validation_id) for one in uow.validations.latest("trajectory")] == [(2, "v2-1"), (1, "v1-9")]
        assert uow.validations.newest(REF) == validation(1, 9)
        assert uow.validations.card(REF) == "card 1 9"
        assert uow.validations.latest("nobody") == []
        assert uow.validations.newest(ModelRef("other", 1)).validation_id == "other"


def test_requests_wait_until_they_are_answered(database: Any) -> None:
    with database.unit_of_work() as uow:
        uow.validations.ask(asked(3, 2), "it was registered before")
        uow.validations.ask(asked(1, 1), "the policy has changed")
        uow.validations.ask(asked(3, 0, by="ben"), "asked for again")
        uow.validations.ask(asked(1, 0).model_copy(update={"model_name": "other"}), "of another model")
    with database.unit_of_work(read_only=True) as uow:
        assert uow.validations.asked("trajectory") == [asked(3, 0, by="ben"), asked(1, 1)]
    with database.unit_of_work() as uow:
        uow.validations.add(validation(3), "card")
        assert uow.validations.asked("trajectory") == [asked(1, 1)]
        assert len(uow.validations.asked("other")) == 1

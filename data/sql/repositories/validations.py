"""Validations of versions, their cards, and requests for them."""

from typing import Any

from sqlalchemy import Connection, RowMapping, delete, func, select

from data.sql.repositories.statements import insert_or
from data.sql.tables import validation_requests, validations
from trajops.contracts.validations import ValidationAskedOut, ValidationOut
from trajops.deployments.model_ref import ModelRef

ABOUT = ("dataset", "data_fingerprint", "windows", "agents", "machine", "duration_s")
# Without the card, which is long.
SHOWN = [column for column in validations.c if column.name != "card"]


class SqlValidations:
    """Implements `trajops.stores.ValidationStore`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, validation: ValidationOut, card: str) -> None:
        """Write one with its card; a request for it has been answered by that and goes."""
        row: dict[str, Any] = validation.model_dump(exclude={"at"}, mode="json")
        row["about"] = {name: row.pop(name) for name in ABOUT}
        row["battery"] = row.pop("checks")
        self._connection.execute(validations.insert().values(**row, at=validation.at, card=card))
        self._connection.execute(
            delete(validation_requests).where(
                validation_requests.c.model_name == validation.model_name,
                validation_requests.c.model_version == validation.model_version,
            )
        )

    def newest(self, ref: ModelRef) -> ValidationOut | None:
        """Newest validation of one version."""
        found = select(*SHOWN).where(validations.c.model_name == ref.name, validations.c.model_version == ref.version)
        row = self._connection.execute(_newest_first(found)).mappings().first()
        return None if row is None else _validation(row)

    def latest(self, model_name: str) -> list[ValidationOut]:
        """Newest validation of each version of a model, newest version first."""
        place = func.row_number().over(
            partition_by=validations.c.model_version, order_by=(validations.c.at.desc(), validations.c.validation_id.desc())
        )
        numbered = select(*SHOWN, place.label("place")).where(validations.c.model_name == model_name).subquery()
        found = select(numbered).where(numbered.c.place == 1).order_by(numbered.c.model_version.desc())
        return [_validation(row) for row in self._connection.execute(found).mappings()]

    def card(self, ref: ModelRef) -> str | None:
        """Card of the newest validation of one version."""
        found = select(validations.c.card).where(validations.c.model_name == ref.name, validations.c.model_version == ref.version)
        card: str | None = self._connection.execute(_newest_first(found)).scalar()
        return card

    def ask(self, asked: ValidationAskedOut, reason: str) -> None:
        """Ask for one; an earlier request for the same version is replaced."""
        keys = ("model_name", "model_version")
        row = {**asked.model_dump(), "reason": reason}
        written = insert_or(self._connection, validation_requests).values(**row)
        self._connection.execute(
            written.on_conflict_do_update(index_elements=keys, set_={name: value for name, value in row.items() if name not in keys})
        )

    def asked(self, model_name: str) -> list[ValidationAskedOut]:
        """What is asked for and has not been answered, the oldest request first."""
        known = validation_requests.c
        shown = (known.model_name, known.model_version, known.asked_at, known.by, known.job)
        found = select(*shown).where(known.model_name == model_name).order_by(known.asked_at, known.model_version)
        return [ValidationAskedOut(**row) for row in self._connection.execute(found).mappings()]


def _newest_first(found: Any) -> Any:
    return found.order_by(validations.c.at.desc(), validations.c.validation_id.desc()).limit(1)


def _validation(row: RowMapping) -> ValidationOut:
    given = {name: value for name, value in row.items() if name not in {"about", "battery", "place"}}
    return ValidationOut.model_validate({**given, **row["about"], "checks": row["battery"]})

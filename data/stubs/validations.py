"""Validations of versions in memory."""

from data.stubs.tables import Repository
from trajops.contracts.validations import ValidationAskedOut, ValidationOut
from trajops.deployments.model_ref import ModelRef


class MemoryValidations(Repository):
    """Implements `trajops.stores.ValidationStore`."""

    def add(self, validation: ValidationOut, card: str) -> None:
        """Write one with its card; a request for it has been answered by that and goes."""
        self._tables.validations.put(validation.validation_id, (validation, card))
        self._tables.validation_requests.drop(_ref(validation))

    def newest(self, ref: ModelRef) -> ValidationOut | None:
        """Newest validation of one version."""
        return next((validation for validation, _ in self._of(ref)), None)

    def latest(self, model_name: str) -> list[ValidationOut]:
        """Newest validation of each version of a model, newest version first."""
        refs = {_ref(validation) for validation, _ in self._tables.validations.rows() if validation.model_name == model_name}
        return [self._of(ref)[0][0] for ref in sorted(refs, key=lambda ref: -ref.version)]

    def card(self, ref: ModelRef) -> str | None:
        """Card of the newest validation of one version."""
        return next((card for _, card in self._of(ref)), None)

    def ask(self, asked: ValidationAskedOut, reason: str) -> None:
        """Ask for one; an earlier request for the same version is replaced."""
        self._tables.validation_requests.put(_ref(asked), asked)

    def asked(self, model_name: str) -> list[ValidationAskedOut]:
        """What is asked for and has not been answered, the oldest request first."""
        found = [one for one in self._tables.validation_requests.rows() if one.model_name == model_name]
        return sorted(found, key=lambda one: (one.asked_at, one.model_version))

    def _of(self, ref: ModelRef) -> list[tuple[ValidationOut, str]]:
        found = [row for row in self._tables.validations.rows() if _ref(row[0]) == ref]
        return sorted(found, key=lambda row: (row[0].at, row[0].validation_id), reverse=True)


def _ref(one: ValidationOut | ValidationAskedOut) -> ModelRef:
    return ModelRef(one.model_name, one.model_version)

"""What versions were held against, and who asked for it."""

from typing import Protocol

from trajops.contracts.validations import ValidationAskedOut, ValidationOut
from trajops.deployments.model_ref import ModelRef


class ValidationStore(Protocol):
    """Validations and their cards, which are never changed; and requests for more of them, one a version at most."""

    def add(self, validation: ValidationOut, card: str) -> None:
        """Write one with its card; a request for it has been answered by that and goes."""
        ...

    def newest(self, ref: ModelRef) -> ValidationOut | None:
        """Newest validation of one version."""
        ...

    def latest(self, model_name: str) -> list[ValidationOut]:
        """Newest validation of each version of a model, newest version first."""
        ...

    def card(self, ref: ModelRef) -> str | None:
        """Card of the newest validation of one version."""
        ...

    def ask(self, asked: ValidationAskedOut, reason: str) -> None:
        """Ask for one; an earlier request for the same version is replaced."""
        ...

    def asked(self, model_name: str) -> list[ValidationAskedOut]:
        """What is asked for and has not been answered, the oldest request first."""
        ...

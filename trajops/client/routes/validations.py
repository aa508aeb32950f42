"""Single model versions: what they were held against before they may be staged, and their end."""

from trajops.client.call import Call, at, described, get, post, text
from trajops.client.retries import Retry
from trajops.contracts.models import DeletionIn, DeletionOut
from trajops.contracts.validations import ValidationAskedOut, ValidationIn, ValidationOut


class ValidationRoutes:
    """Battery, rank and card of versions, and their end."""

    @described
    def validation(self, model_version: int) -> Call[ValidationOut]:
        """The newest run of the battery over a version."""
        return get(at("/v1/models/{}/validation", str(model_version)), ValidationOut)

    @described
    def validate(self, model_version: int, reason: str, *, idempotency_key: str | None = None) -> Call[ValidationAskedOut]:
        """Ask the workers to run the battery over a version now."""
        path = at("/v1/models/{}/validation", str(model_version))
        return post(path, ValidationAskedOut, ValidationIn(reason=reason), Retry.KEYED, idempotency_key)

    @described
    def model_card(self, model_version: int) -> Call[str]:
        """The model card of a version, Markdown."""
        return text(at("/v1/models/{}/card", str(model_version)), "text/markdown")

    @described
    def delete_version(self, model_version: int, reason: str, *, idempotency_key: str | None = None) -> Call[DeletionOut]:
        """Delete a version that nobody needs any more; refused while it has an alias or is compared."""
        path = at("/v1/models/{}/delete", str(model_version))
        return post(path, DeletionOut, DeletionIn(reason=reason), Retry.KEYED, idempotency_key)

"""Single model versions: what they were held against before they may be staged (battery, rank, card), and their end."""

from typing import Annotated

from fastapi import APIRouter, Path, Response

from api.deps import CHANGES, READS, IdempotencyKey, Operator, PartsOf, Reader
from api.errors import DOCUMENTED
from trajops.contracts.models import DeletionIn, DeletionOut
from trajops.contracts.validations import ValidationAskedOut, ValidationIn, ValidationOut

MARKDOWN = "text/markdown"
router = APIRouter(prefix="/v1/models", tags=["releases"])

ModelVersion = Annotated[int, Path(ge=1, le=2**31 - 1, description="Number of the version.")]


@router.get("/{model_version}/validation", summary="Validation of a version", responses={**READS, 404: DOCUMENTED[404]})
def validation(model_version: ModelVersion, parts: PartsOf, _client: Reader) -> ValidationOut:
    """The newest run of the battery over a version, each check with its figures, and its rank among the candidates of its run."""
    return parts.validations.newest(model_version)


@router.post("/{model_version}/validation", summary="Validate a version", responses=CHANGES)
def validate(
    model_version: ModelVersion, body: ValidationIn, parts: PartsOf, client: Operator, key: IdempotencyKey = None
) -> ValidationAskedOut:
    """Ask the workers to run the battery over a version now, whether it has been validated before or not."""
    asked = parts.validations.ask(model_version, actor=client.client_id, reason=body.reason, idempotency_key=key)
    parts.cached.clear()
    return asked


@router.post("/{model_version}/delete", summary="Delete a version", responses=CHANGES)
def delete(model_version: ModelVersion, body: DeletionIn, parts: PartsOf, client: Operator, key: IdempotencyKey = None) -> DeletionOut:
    """Delete a version that nobody needs any more: it is listed and staged no more, and the workers remove it from MLflow.

    What it did stays on record. One that has one of our aliases, because it answers, is compared, or is kept for a rollback, or that takes
    part in an experiment or a rollout that is not over, is refused (`conflict`); one with an alias of somebody else stays in MLflow.
    """
    deleted = parts.versions.delete(model_version, actor=client.client_id, reason=body.reason, idempotency_key=key)
    parts.cached.clear()
    return deleted


@router.get(
    "/{model_version}/card",
    summary="Model card of a version",
    response_class=Response,
    responses={**READS, 200: {"content": {MARKDOWN: {}}}, 404: DOCUMENTED[404]},
)
def card(model_version: ModelVersion, parts: PartsOf, _client: Reader) -> Response:
    """What the version is, how it came about, what it was measured to do and where that ends; Markdown."""
    return Response(parts.validations.card(model_version), media_type=f"{MARKDOWN}; charset=utf-8")

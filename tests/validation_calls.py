"""What the clients' methods about validations send, and answers of the API's form."""

from typing import Any

from tests.client_calls import REASON
from tests.record_builders import asked, validation

CALLS: dict[str, tuple[Any, ...]] = {
    "validation": (lambda c: c.validation(3), "GET", "/v1/models/3/validation", None, validation(3).model_dump(mode="json")),
    "validate": (
        lambda c: c.validate(3, REASON),
        "POST",
        "/v1/models/3/validation",
        {"reason": REASON},
        asked(3).model_dump(mode="json"),
    ),
    "delete_version": (
        lambda c: c.delete_version(3, REASON),
        "POST",
        "/v1/models/3/delete",
        {"reason": REASON},
        {"model_name": "trajectory", "model_version": 3, "deleted_at": "2026-01-01T00:00:00Z", "by": "ada", "audit_id": "a1", "job": "j"},
    ),
}
CHANGES = ("validate", "delete_version")

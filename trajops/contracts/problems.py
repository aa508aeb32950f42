"""The one shape of an error: RFC 9457 problem details with a stable code."""

from typing import Any

from pydantic import Field

from trajops.contracts.wire import Wire


class FieldProblem(Wire):
    """One field that could not be used."""

    field: str = Field(description="Path of the field, for example `body.history.3`.")
    message: str = Field(description="What is wrong and how to mend it.")
    value: Any = Field(None, description="The value as it was sent, shortened.")


class Problem(Wire):
    """Problem details (RFC 9457)."""

    type: str = Field(description="Address of the documentation of the code.")
    title: str
    status: int
    code: str = Field(description="Stable code to program against.")
    detail: str = Field(description="What is wrong, where, and how to mend it.")
    request_id: str | None = None
    errors: list[FieldProblem] = Field(default_factory=list)

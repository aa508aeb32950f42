"""What every wire model shares."""

import pytest
from pydantic import TypeAdapter, ValidationError

from trajops.contracts.wire import Reason

REASON: TypeAdapter[str] = TypeAdapter(Reason)


def test_blanks_around_a_reason_count_for_nothing() -> None:
    assert REASON.validate_python("  because it is worse\n") == "because it is worse"
    for blank in (" " * 12, "\n\t" * 8, "short" + " " * 20):
        with pytest.raises(ValidationError, match="at least 10 characters"):
            REASON.validate_python(blank)

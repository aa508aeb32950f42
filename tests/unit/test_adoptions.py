"""What is said about versions that were brought and are not adopted."""

import pytest

from console.adoptions import adoption_help, adoption_mark
from tests.builders import an_adoption


@pytest.mark.parametrize(
    ("state", "code", "expected"),
    [
        ("refused", "unsafe_model", "TRAJOPS_ALLOW_PICKLED_MODELS=true"),
        ("refused", "signature_mismatch", "Correct the model and register it again"),
        ("refused", "invalid_shape", "Correct the model and register it again"),
        ("refused", "environment", "Install what is missing"),
        ("refused", "not_found", "Log the model again"),
        ("waiting", "registry_unavailable", "as soon as that part answers"),
        ("waiting", None, "--adopt 5"),
    ],
)
def test_each_state_and_reason_names_what_to_do(state: str, code: str | None, expected: str) -> None:
    adoption = an_adoption(state=state, code=code)
    assert expected in adoption_help(adoption)
    assert adoption_mark(adoption).word == state.capitalize()

"""Text from outside on a page."""

import pytest

from console.frame import plain


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a_b: *x*", r"a\_b\: \*x\*"),
        ("start it at http://127.0.0.1:8000/predict.", "start it at `http://127.0.0.1:8000/predict`."),
        ("(see https://host/a_b?c=1)", "(see `https://host/a_b?c=1`)"),
        ("http://a`b|c", r"`http://a`\`b\|c"),
        ("", ""),
    ],
)
def test_markdown_leaves_it_as_it_is(text: str, shown: str) -> None:
    assert plain(text) == shown

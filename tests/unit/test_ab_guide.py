"""The guide's examples say what the code says."""

import doctest
from pathlib import Path

from benchmarks.ab_false_positives import run

GUIDE = Path(__file__).parents[2] / "docs" / "ab_testing.md"


def test_every_number_of_the_guide_is_what_the_code_says() -> None:
    failed, tried = doctest.testfile(str(GUIDE), module_relative=False)
    assert failed == 0
    assert tried >= 20


def test_the_guide_quotes_the_benchmark() -> None:
    found = run()
    text = GUIDE.read_text(encoding="utf-8")
    assert f"found a difference in {found.details['peeking_t_test']:.2f} of them" in text
    assert f"and the sequence in {found.value:.2f}" in text

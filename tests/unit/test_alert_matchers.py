"""Matchers are those of Alertmanager: absent is empty, patterns are anchored."""

import time

import pytest

from trajops.alerts.silences import Matcher, all_match
from trajops.errors import InvalidInput


@pytest.mark.parametrize(
    ("written", "job", "does"),
    [
        ('job="a"', "a", True),
        ("job=a", "a", True),
        ('job="a"', "ab", False),
        ('job!="a"', "b", True),
        ('job!="a"', None, True),
        ('job=""', None, True),
        ('job=~"a|b"', "b", True),
        ('job=~"a|b"', "ab", False),
        ('job=~"a.*"', "abc", True),
        ('job=~".+"', None, False),
        ('job!~"a|b"', "c", True),
        ('job!~"a|b"', "a", False),
        (' job =~ "a" ', "a", True),
        ('job="say \\"x\\""', 'say \\"x\\"', True),
    ],
)
def test_matching(written: str, job: str | None, does: bool) -> None:
    assert Matcher.parse(written).matches({} if job is None else {"job": job}) is does


@pytest.mark.parametrize("written", ["", "job", "=a", "1job=a", "job=~(", 'job=~"a{9999999999}"', "job:a"])
def test_what_is_no_matcher_is_refused(written: str) -> None:
    with pytest.raises(InvalidInput):
        Matcher.parse(written)


@pytest.mark.parametrize(
    "pattern",
    ["(a+)+b", "(a|a)*b", "(a*)*", "((a?){2}){20}b", "a?" * 30 + "a" * 30, "(?:a|aa){1,99}b", "(?=(a+)+b)a", ".*a.*b.*c.*d", "(a.*)*+"],
)
def test_a_pattern_that_could_hold_up_the_alerts_is_refused(pattern: str) -> None:
    with pytest.raises(InvalidInput, match="too long"):
        Matcher.parse(f"job=~{pattern}")
    began = time.perf_counter()
    stored = Matcher("job", "=~", pattern)  # as one that was written before it was refused
    assert not stored.matches({"job": "a" * 128})
    assert not Matcher("job", "!~", pattern).matches({"job": "a" * 128})
    assert time.perf_counter() - began < 1


@pytest.mark.parametrize(
    "pattern", ["warning|critical", "(drift|speed)_.*", ".*drift.*speed.*", "[a-z0-9_]+-[0-9]{1,3}", "(?i)prune.*", "a++"]
)
def test_ordinary_patterns_are_taken(pattern: str) -> None:
    assert str(Matcher.parse(f'job=~"{pattern}"')) == f'job=~"{pattern}"'


def test_the_longest_that_a_pattern_can_take() -> None:
    began = time.perf_counter()
    for pattern in (".*a.*a.*b", "(a?){20}b", "(a|a|a|a){10}b"):
        assert not Matcher.parse(f"job=~{pattern}").matches({"job": "a" * 128})
    assert time.perf_counter() - began < 5
    assert Matcher.parse("job=~.*b").matches({"job": "a" * 2000 + "b"})


def test_a_matcher_is_written_as_it_is_read() -> None:
    for written in ('job="a"', 'job!="b c"', 'job=~"a|b"', 'job!~""'):
        assert str(Matcher.parse(written)) == written


def test_all_must_match() -> None:
    both = [Matcher("a", "=", "1"), Matcher("b", "=", "2")]
    assert all_match(both, {"a": "1", "b": "2"})
    assert not all_match(both, {"a": "1"})
    assert all_match([], {})

"""Matchers are those of Alertmanager: absent is empty, patterns are anchored."""

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


def test_a_matcher_is_written_as_it_is_read() -> None:
    for written in ('job="a"', 'job!="b c"', 'job=~"a|b"', 'job!~""'):
        assert str(Matcher.parse(written)) == written


def test_all_must_match() -> None:
    both = [Matcher("a", "=", "1"), Matcher("b", "=", "2")]
    assert all_match(both, {"a": "1", "b": "2"})
    assert not all_match(both, {"a": "1"})
    assert all_match([], {})

"""What is told after a change that came too late."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from console.conflicts import Standing, changes_between, conflict_sentence, last_release_change
from trajops.contracts.audit import AuditOut
from trajops.contracts.deployments import ModelRefOut, RouteOut

NOW = datetime(2026, 11, 24, 3, 0, tzinfo=UTC)


def standing(
    champion: int | None = 2, challenger: int | None = None, state: str | None = "staged", version: int = 3, **given: Any
) -> Standing:
    def ref(number: int | None) -> ModelRefOut | None:
        return None if number is None else ModelRefOut(model_name="trajectory", model_version=number)

    values = {"epoch": 4, "coverage": 0.0, "changed_at": NOW, "actor": "ada", "reason": "because it is better", "previous": None, **given}
    return Standing(RouteOut(champion=ref(champion), challenger=ref(challenger), **values), state, version)


def entry(action: str, actor: str = "ben") -> AuditOut:
    at = NOW - timedelta(seconds=12)
    return AuditOut(audit_id="a", at=at, actor=actor, action=action, subject="trajectory/3", reason="it wins", before={}, after={})


@pytest.mark.parametrize(
    ("seen", "present", "expected"),
    [
        (standing(), standing(), []),
        (standing(), standing(state="canary", challenger=3, coverage=0.2), ["v3 went from staged to canary", "v3 is the challenger now"]),
        (standing(), standing(champion=4), ["v4 is the champion, no longer v2"]),
        (standing(), standing(champion=None), ["there is no champion any more, it was v2"]),
        (standing(), standing(version=5), ["v3 was changed and is staged again"]),
        (
            standing(challenger=3, state="canary", coverage=0.2),
            standing(challenger=3, state="canary", coverage=0.5, version=4),
            ["the canary enrols 50 % of agents, no longer 20 %"],
        ),
        (standing(), standing(state=None), []),
    ],
    ids=["nothing", "canary-began", "other-champion", "no-champion", "there-and-back", "coverage", "unread"],
)
def test_changes_are_told_in_the_words_of_the_page(seen: Standing, present: Standing, expected: list[str]) -> None:
    assert changes_between(3, seen, present) == expected


def test_sentence_says_what_changed_that_nothing_was_done_and_what_to_do() -> None:
    told = conflict_sentence(
        "Promote", 3, standing(), standing(champion=4), entry("deployment.promote"), detail="version 4, not 3", now=NOW
    )
    assert told == (
        "Nothing was done, because something changed while you were deciding: v4 is the champion, no longer v2 (ben, 12 s ago: “it wins”). "
        "The page has been read again: compare the versions as they stand now, and press “Promote” once more if it is still right."
    )


def test_without_a_visible_change_the_api_is_quoted() -> None:
    told = conflict_sentence("Start canary", 3, standing(), standing(), None, detail="there is no champion to compare with.", now=NOW)
    assert told.startswith("Nothing was done: there is no champion to compare with. The page has been read again")


def test_only_releases_are_blamed() -> None:
    promoted = entry("deployment.promote")
    assert last_release_change([entry("job.run"), promoted, entry("deployment.stage")]) is promoted
    assert last_release_change([entry("job.run")]) is None

"""Which confirmation is open, whatever order the server hears of presses and dismissals in."""

from typing import NamedTuple

import pytest
import streamlit as st

from console import confirmation


class Pending(NamedTuple):
    dialog_id: str
    about: str


class Other(NamedTuple):
    dialog_id: str


@pytest.fixture(autouse=True)
def state(monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """Session state of one operator."""
    state: dict[str, object] = {}
    monkeypatch.setattr(st, "session_state", state)
    return state


def asked(about: str) -> Pending:
    confirmation.open_dialog(Pending("", about))
    pending = confirmation.waiting(Pending)
    assert pending is not None
    return pending


def test_a_dismissal_that_is_told_after_the_next_press_closes_nothing_but_its_own() -> None:
    first = asked("one")
    asked("another")
    confirmation.close(first.dialog_id)
    pending = confirmation.waiting(Pending)
    assert pending is not None
    assert pending.about == "another"


def test_a_dismissed_confirmation_is_gone() -> None:
    confirmation.close(asked("one").dialog_id)
    assert not confirmation.is_open()
    assert not confirmation.is_waiting()


def test_each_opening_of_the_same_change_is_one_of_its_own() -> None:
    assert asked("one").dialog_id != asked("one").dialog_id


def test_only_the_part_that_a_change_is_of_shows_it() -> None:
    asked("one")
    assert confirmation.waiting(Other) is None


def test_a_confirmation_waits_until_the_page_has_shown_it(state: dict[str, object], monkeypatch: pytest.MonkeyPatch) -> None:
    shown = []
    monkeypatch.setattr(st, "dialog", lambda title, **_: lambda body: lambda: shown.append((title, body())))
    pending = asked("one")
    assert confirmation.is_waiting()
    confirmation.show(pending, "One", lambda: None)
    assert shown == [("One", None)]
    assert not confirmation.is_waiting()
    asked("one")
    assert confirmation.is_waiting(), "another opening is another confirmation"
    assert not confirmation.is_waiting(), "a page that shows it late, or never, is not drawn again and again"


def test_what_waits_is_forgotten_when_its_page_is_left() -> None:
    asked("one")
    confirmation.discard()
    assert not confirmation.is_open()

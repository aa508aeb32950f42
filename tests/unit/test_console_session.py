"""What a page does about an API that takes calls and answers none."""

from typing import Any

import pytest

from console import session
from trajops.client import ApiUnavailable


class Page:
    """A session whose clock stands still but for calls."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.at_s, self.asked, self.takes_s, self.is_silent = 100.0, 0, 20.0, False
        monkeypatch.setattr(session.st, "session_state", {})
        monkeypatch.setattr(session, "client", lambda: None)
        monkeypatch.setattr(session.time, "monotonic", lambda: self.at_s)

    def read(self, key: str) -> session.Fetched[str]:
        return session.fetch(key, self._call)

    def _call(self, _client: Any) -> str:
        self.asked += 1
        if self.is_silent:
            self.at_s += self.takes_s
            raise ApiUnavailable("the API does not answer", cause=None, request_id="r", is_unsent=False, tries=2)
        return "a value"


def test_an_api_that_hangs_is_waited_for_once_and_the_page_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    page = Page(monkeypatch)
    page.read("b")
    page.at_s, page.is_silent = 110.0, True
    found = [page.read(key) for key in ("a", "b", "c")]
    assert [one.problem for one in found] == ["the API does not answer."] * 3
    assert [one.value for one in found] == [None, "a value", None]
    assert page.asked == 2
    page.at_s, page.is_silent = page.at_s + session.SILENT_S, False
    assert page.read("c").problem is None


def test_retry_asks_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    page = Page(monkeypatch)
    page.is_silent = True
    page.read("a")
    page.is_silent = False
    session.expire()
    assert page.read("a").value == "a value"


def test_an_api_that_refuses_at_once_is_asked_by_every_part(monkeypatch: pytest.MonkeyPatch) -> None:
    page = Page(monkeypatch)
    page.is_silent, page.takes_s = True, 0.1
    for key in ("a", "b", "c"):
        page.read(key)
    assert page.asked == 3


def test_what_was_read_last_of_many_agents_does_not_drive_out_the_rest_and_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    page = Page(monkeypatch)
    for key in ("models", "routes", *(f"predictions:agent {number}" for number in range(100))):
        page.read(key)
    known = session.st.session_state["last_known"]
    assert list(known) == ["models", "routes", *(f"predictions:agent {number}" for number in range(100 - session.MAX_OF_KIND, 100))]
    for number in range(100):
        page.read(f"page {number}")
    assert len(known) == session.MAX_KNOWN

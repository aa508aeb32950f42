"""One operator's session: who is signed in, the client that speaks for them, and the last known values.

The token comes from an HttpOnly cookie that `console/asgi.py` sets, so it survives a reload and never reaches a script
in the browser. Values are kept per session and never shared between operators.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar
from urllib.parse import urlencode, urlsplit

import streamlit as st

from console import oidc
from console.settings import ConsoleSettings
from trajops.client import ApiProblem, ApiUnavailable, TrajOpsClient
from trajops.contracts.session import Me, Role
from trajops.errors import InvalidInput

COOKIE = "trajops_session"
TOKEN_KEY = "session_token"
# Of one kind of value, as predictions of one agent, fewer are kept: who follows agents all day would hold them all.
MAX_KNOWN, MAX_OF_KIND = 64, 12
# A page must show its stale values quickly; but the API is waited for until it says itself what holds it up.
READ_S = 10.0
# An API that asks to be left alone for longer is shown as it is: stale values, and the reason. The page comes back by itself.
LONGEST_WAIT_S = 0.5
# One that kept a read waiting for longer, in vain, is not asked by the rest of the page: each part would wait, and nothing be said.
SLOW_S = 2.0
SILENT_S = 5.0
Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Fetched(Generic[Value]):
    """A value from the API, or the last one known, or why there is none.

    Attributes:
        value: None only when nothing has ever been read.
        at: when the value was read, UTC.
        problem: why the newest read failed; None when the value is fresh.
    """

    value: Value | None
    at: datetime | None
    problem: str | None = None

    @property
    def is_stale(self) -> bool:
        """Whether an older value stands in for a read that failed."""
        return self.problem is not None and self.value is not None


def token() -> str | None:
    """The bearer token of this session; None when nobody is signed in."""
    held = st.session_state.get(TOKEN_KEY)
    if held is None:
        held = st.context.cookies.get(COOKIE)
        if not isinstance(held, str):
            held = oidc.token()
            if held is None:
                return None
        if held:
            st.session_state[TOKEN_KEY] = held
    return None if held == st.session_state.get("refused_token") else held


def place() -> str:
    """Path and query of the page that is shown, to come back to after signing in."""
    path = urlsplit(st.context.url or "/").path or "/"
    query = urlencode([(key, value) for key in st.query_params for value in st.query_params.get_all(key)])
    return f"{path}?{query}" if query else path


def left_at() -> str:
    """Where the operator was when the session ended; where they are, if it has not."""
    left: str = st.session_state.get("left_at") or place()
    return left


def client() -> TrajOpsClient:
    """The session's client; one connection pool a session."""
    api_url, bearer = ConsoleSettings.from_environment().api_url, token()
    held = st.session_state.get("api_client")
    if held is None or held[0] != (api_url, bearer):
        if held is not None:
            held[1].close()
        # Two tries and short waits, because a page refreshes by itself anyway.
        made = TrajOpsClient(api_url, bearer, connect_s=1.0, read_s=READ_S, attempts=2, longest_wait_s=LONGEST_WAIT_S)
        held = ((api_url, bearer), made)
        st.session_state["api_client"] = held
    session_client: TrajOpsClient = held[1]
    return session_client


def fetch(key: str, call: Callable[[TrajOpsClient], Value], *, max_age_s: float = 1.0) -> Fetched[Value]:
    """Read a value, or fall back to the last one known.

    Args:
        key: what the value is, its arguments after a colon; the store keeps the newest MAX_KNOWN keys, and MAX_OF_KIND of them that
            differ in arguments only.
        call: reads the value.
        max_age_s: a value younger than this is not read again.
    """
    known: dict[str, tuple[float, datetime, Any]] = st.session_state.setdefault("last_known", {})
    entry = known.get(key)
    if entry is not None and time.monotonic() - entry[0] < max_age_s:
        return Fetched(entry[2], entry[1])
    silent_until, problem = st.session_state.get("silent_api", (0.0, ""))
    began = time.monotonic()
    if began < silent_until:
        return _fallen_back(entry, problem)
    try:
        value = call(client())
    except ApiUnavailable as error:
        if time.monotonic() - began > SLOW_S:
            st.session_state["silent_api"] = (time.monotonic() + SILENT_S, f"{error}.")
        return _fallen_back(entry, f"{error}.")
    except InvalidInput as error:  # the address of the page names what cannot be
        return _fallen_back(entry, f"{error}.")
    except ApiProblem as refusal:
        if refusal.status == 401:
            st.session_state["refused_token"] = token()
            st.session_state["left_at"] = place()  # Now, because what is not drawn any more takes its query parameters along.
            st.rerun()
        return _fallen_back(entry, f"{refusal.detail} ({refusal.code})")
    now = datetime.now(UTC)
    known.pop(key, None)
    known[key] = (time.monotonic(), now, value)
    _forget_oldest(known, [other for other in known if _kind(other) == _kind(key)], MAX_OF_KIND)
    _forget_oldest(known, list(known), MAX_KNOWN)
    return Fetched(value, now)


def _kind(key: str) -> str:
    return key.partition(":")[0]


def _forget_oldest(known: dict[str, Any], keys: list[str], most: int) -> None:
    for key in keys[: max(0, len(keys) - most)]:
        del known[key]


def _fallen_back(entry: tuple[float, datetime, Any] | None, problem: str) -> Fetched[Any]:
    return Fetched(None, None, problem) if entry is None else Fetched(entry[2], entry[1], problem)


def expire() -> None:
    """Let the next reads go to the API; the last known values stay as a fallback."""
    known: dict[str, tuple[float, datetime, Any]] = st.session_state.get("last_known", {})
    for key, (_, at, value) in known.items():
        known[key] = (float("-inf"), at, value)
    st.session_state.pop("silent_api", None)


def user() -> Fetched[Me]:
    """Who is signed in."""
    return fetch("me", lambda c: c.me(), max_age_s=30.0)


def role() -> Role:
    """The operator's role; the least one while the API cannot say."""
    me = user().value
    return me.role if me is not None else "viewer"


def flash(message: str, icon: str = ":material/check_circle:") -> None:
    """Say something in the next run, as a toast that survives the rerun."""
    st.session_state["flash"] = (message, icon)


def show_flash() -> None:
    """Show what `flash` left."""
    if "flash" in st.session_state:
        message, icon = st.session_state.pop("flash")
        st.toast(message, icon=icon, duration="long")

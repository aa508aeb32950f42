"""What surrounds every page: top bar, marks, freshness, empty states and problems, always in the same form."""

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from console import session
from console.palette import DARK, LIGHT, Palette
from console.viewmodels import RANGES, REFRESHES, range_reaching
from console.wording import DASH, Mark, Tone, clock, count, moment
from trajops.client import ApiProblem, ApiUnavailable
from trajops.contracts.session import Me

COLOURS: dict[Tone, Any] = {"ok": "green", "warn": "orange", "bad": "red", "info": "blue", "unknown": "gray"}
THOUSAND = 1_000
_ADDRESS = re.compile(r"(https?://[^\s`|)\]]*[^\s`|)\].,;:])")
_ESCAPED = {ord(sign): f"\\{sign}" for sign in "\\`*_{}[]<>#|$~:"}
SIGN_OUT = '<a href="/session/sign-out" target="_self" style="color:inherit">Sign out</a>'


def palette() -> Palette:
    """Colours for lines in figures, after the appearance that the browser shows."""
    return DARK if st.context.theme.type == "dark" else LIGHT


def badge(mark: Mark) -> str:
    """A mark as inline Markdown: icon, word and colour."""
    return f":{COLOURS[mark.tone]}-badge[:material/{mark.icon}: {mark.word}]"


def small(before: str, mark: Mark, after: str) -> None:
    """A line of small print with a mark in it; a caption would fade the mark until it cannot be read."""
    st.markdown(f":gray[:small[{plain(before)}]]{badge(mark)} &nbsp;:gray[:small[{plain(after)}]]")


def plain(text: str) -> str:
    """Text from outside, so that Markdown leaves it as it is; addresses in it are code, because else they become links of faded text."""
    return "".join(f"`{part}`" if _ADDRESS.fullmatch(part) else part.translate(_ESCAPED) for part in _ADDRESS.split(text))


def unbroken(text: str) -> str:
    """The same text, never broken between a figure and its unit."""
    return text.replace(" ", "\u00a0")


def top_bar(me: session.Fetched[Me], *, is_ranged: bool) -> None:
    """Chips for environment and role on the left; time range and refresh on the right, both in the URL."""
    with st.container(horizontal=True, vertical_alignment="center", key="top-bar"):
        who = me.value
        if who is None:
            st.badge("environment unknown", icon=":material/help:", color="gray")
        else:
            if who.environment == "demo":
                st.badge("DEMO", icon=":material/science:", color="orange", help="Replayed tracks, not a live sensor.")
            else:
                st.badge(who.environment, icon=":material/dns:", color="blue")
            st.badge(who.role, icon=":material/badge:", color="gray", help=f"Signed in as {who.username}")
        st.space("stretch")
        if is_ranged:
            st.caption("Last", width="content")
            st.selectbox(
                "Time range",
                list(RANGES),
                index=1,
                key="range",
                label_visibility="collapsed",
                width=84,
                help="Time range, ending now (UTC)",
                bind="query-params",
            )
        st.caption("Refresh every", width="content")
        st.selectbox(
            "Refresh",
            list(REFRESHES),
            index=2,
            key="refresh",
            bind="query-params",
            label_visibility="collapsed",
            width=84,
            help="How often live parts are read again",
        )
        st.button("Refresh now", icon=":material/refresh:", key="refresh-now", on_click=session.expire, help="Read everything again now")


def time_range() -> str:
    """The chosen time range, a key of RANGES."""
    chosen = st.session_state.get("range")
    return chosen if chosen in RANGES else "1h"


def live(body: Callable[[], None]) -> None:
    """Run a part of a page now, and again at the chosen refresh interval without the rest of the page."""
    st.fragment(body, run_every=REFRESHES.get(st.session_state.get("refresh") or "5s"))()


def is_left(page: st.Page) -> bool:
    """Whether another page than this was shown before."""
    return st.session_state.get("page") not in {None, page.title}


def run(page: st.Page) -> None:
    """Run a page, and remember that it has been drawn to its end."""
    st.session_state["page"] = page.title
    page.run()
    st.session_state["drawn_page"] = page.title


@contextmanager
def first_load(height: int) -> Iterator[None]:
    """A skeleton while a page reads its first values. A refresh leaves what is there in its place, so that nothing moves.

    Args:
        height: of the skeleton, pixels.
    """
    if st.session_state.get("drawn_page") != st.session_state.get("page"):
        with st.skeleton(height=height):
            yield
    else:
        st.empty()  # Keeps the place of the skeleton, so that everything after it stays the same element.
        yield


def freshness(*reads: session.Fetched[Any], key: str) -> None:
    """Say when the values were read; when they are stale say so, why, and offer Retry."""
    problems = list(dict.fromkeys(plain(read.problem[:1].upper() + read.problem[1:]) for read in reads if read.problem is not None))
    times = [read.at for read in reads if read.at is not None]
    if not problems:
        st.caption(f"Updated {clock(min(times, default=datetime.now(UTC)))} UTC")
        return
    with st.container(horizontal=True, vertical_alignment="center", key=f"{key}-stale"):
        if times:
            st.warning(f"Stale: values of {clock(min(times))} UTC. {problems[0]}", icon=":material/cloud_off:", width="stretch")
        else:
            st.error(f"Nothing to show. {problems[0]}", icon=":material/cloud_off:", width="stretch")
        st.button("Retry", icon=":material/refresh:", key=f"{key}-retry", on_click=session.expire)


def refused(error: ApiProblem | ApiUnavailable, once_back: str = "") -> None:
    """Say why the API did not do what it was asked, and which fields it could not use.

    Args:
        error: what the client raised.
        once_back: what to do about an API that is away, a sentence.
    """
    if isinstance(error, ApiUnavailable):
        st.error(f"{error}. {once_back}".strip(), icon=":material/cloud_off:")
        return
    st.error(plain(f"{error.detail} ({error.code})"), icon=":material/error:")
    for field in error.errors:
        st.caption(plain(f"{field.field}: {field.message}"))


def empty(sentence: str, action: str, *, page: str | None = None, icon: str = "inbox") -> None:
    """An empty state: what is missing, and the one thing to do about it."""
    with st.container(border=True, horizontal_alignment="center"):
        st.markdown(f":gray[:material/{icon}:] {sentence}", width="content")
        if page is None:
            st.caption(action, width="content")
        else:
            st.page_link(page, label=action, icon=":material/arrow_forward:")


def empty_range(sentence: str, newest: datetime | None, *, key: str) -> None:
    """A time range without data: what is missing, and the way to the newest there is.

    Args:
        sentence: what is missing.
        newest: time of the newest data, if it is known that there is any.
        key: of the button.
    """
    reaching = None if newest is None else range_reaching(newest, datetime.now(UTC))
    told = sentence if newest is None else f"{sentence.rstrip('.')}; the newest is of {moment(newest)}."
    if reaching is None or reaching == time_range():
        empty(told, "Choose a wider time range above.", icon="hourglass_empty")
        return
    with st.container(border=True, horizontal_alignment="center"):
        st.markdown(f":gray[:material/hourglass_empty:] {plain(told)}", width="content")
        if st.button(
            f"Show the last {reaching}, which has it", key=f"{key}-reach", icon=":material/update:", on_click=_reach, args=(reaching,)
        ):
            st.rerun()  # The range stands above, outside of the part that refreshes.


def _reach(name: str) -> None:
    st.session_state["range"] = name


def table(rows: Sequence[Mapping[str, Any]], *, alt: str, column_config: Mapping[str, Any] | None = None) -> None:
    """Rows as a table: a dash where there is no value, whole numbers as everywhere else; columns still sort as numbers."""
    data = pd.DataFrame(rows)
    # Styles are dear, so only columns have them that hold a number which would else look otherwise.
    whole = data.select_dtypes("integer")
    counts = dict.fromkeys(whole.columns[(whole.abs() >= THOUSAND).any()], count)
    st.dataframe(data.style.format(counts) if counts else data, hide_index=True, alt=alt, placeholder=DASH, column_config=column_config)


def prose(rows: Sequence[Mapping[str, str]], *, alt: str, names: Collection[str] = ()) -> None:
    """Rows that hold sentences: they wrap and are read whole, where a table that sorts would cut them.

    Args:
        rows: text, as it is.
        alt: what they are, for those who do not see them.
        names: columns of few words, which are not broken.
    """
    shown = [{name: plain(unbroken(text) if name in names else text) for name, text in row.items()} for row in rows]
    st.table(pd.DataFrame(shown), border="horizontal", hide_index=True, alt=alt)


def chart(figure: go.Figure, *, key: str, alt: str, about: str = "") -> None:
    """A figure in the page's fonts, without the clutter of Plotly's tool bar.

    Args:
        figure: what is drawn.
        key: of the element.
        alt: what it shows, for those who do not see it.
        about: what it tells of besides; zoom is kept while this, the time range and `alt` stay.
    """
    figure.update_layout(uirevision=f"{about}|{time_range()}|{alt}")
    st.plotly_chart(
        figure,
        key=key,
        alt=alt,
        theme="streamlit",
        config={"displaylogo": False, "modeBarButtonsToRemove": ["select2d", "lasso2d", "autoScale2d"], "responsive": True},
    )


def gate() -> None:
    """Shown instead of a page while nobody is signed in."""
    st.title("Sign in")
    if "refused_token" in st.session_state:
        st.markdown("Your session has ended. Sign in again to go on where you were.")
    else:
        st.markdown("TrajOps shows live predictions and lets operators change what is served. Sign in to go on.")
    st.html(f'<a href="/session/sign-in?next={quote(session.left_at(), safe="")}" target="_self">Go to the sign-in form</a>')


def account(me: session.Fetched[Me]) -> None:
    """Who is signed in, and the way out, below the navigation."""
    with st.sidebar:
        st.caption(f"Signed in as {plain(me.value.username)}, {me.value.role}" if me.value is not None else "Signed in")
        st.html(SIGN_OUT)


def facts(lines: Sequence[tuple[str, str]]) -> None:
    """A name and a value each, below one another."""
    rows = [f"| {name} | {plain(value)} |" for name, value in lines]
    st.markdown("\n".join([rows[0], "|:--|:--|", *rows[1:]]))


def audited(reason: str, audit_id: str) -> None:
    """Why something was done, and the way to its audit entry."""
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute", gap="small"):
        st.caption(plain(reason), width="stretch")
        audit_link(audit_id)


def audit_link(audit_id: str) -> None:
    """The way to an audit entry."""
    st.page_link(
        "views/audit.py",
        label=f"audit {audit_id[:8]}",
        icon=":material/receipt_long:",
        help="",
        query_params={"entry": audit_id},
    )

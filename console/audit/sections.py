"""The parts of the Audit page: filters, the list, one entry, the file."""

from datetime import UTC, date, datetime, timedelta

import streamlit as st

from console import frame, session
from console.audit.words import (
    BETWEEN,
    KINDS,
    MAX_ROWS,
    PARTIES,
    SPANS,
    AuditFilter,
    as_csv,
    changes,
    page_words,
    places,
    shown_day,
    when_words,
)
from console.names import action_words, actor_words
from console.wording import count
from trajops.client import ApiProblem, ApiUnavailable, TrajOpsClient
from trajops.contracts.audit import AuditOut, AuditPage

PER_PAGE, PER_READ = 20, 500
SPAN_STEP = timedelta(minutes=1)  # a range that ends now moves on so often, so that pages fit together
TRAIL, FILE, CLEARED = "audit_trail", "audit_file", "audit_cleared"
_KIND_WORDS = {prefix: word for word, prefix in KINDS.items()}


def read_page(chosen: AuditFilter, cursor: str | None, limit: int = PER_PAGE) -> session.Fetched[AuditPage]:
    """One page of what the filters leave."""
    key = f"audit:{chosen}:{cursor}:{limit}"
    return session.fetch(key, lambda c: ask(c, chosen, cursor, limit), max_age_s=2.0)


def ask(client: TrajOpsClient, chosen: AuditFilter, cursor: str | None, limit: int) -> AuditPage:
    """The call behind a page."""
    now = datetime.now(UTC)
    since, until = chosen.bounds(now - (now - datetime.min.replace(tzinfo=UTC)) % SPAN_STEP)
    return client.audit(
        limit,
        chosen.subject or None,
        actor=chosen.who or None,
        action=chosen.what or None,
        text=chosen.words or None,
        since=since,
        until=until,
        cursor=cursor,
    )


# Filters


def filters(known: AuditPage | None) -> AuditFilter:
    """Who, what, about what, when, words; all in the URL by their raw names."""
    entries = known.entries if known is not None else []
    with st.container(horizontal=True, vertical_alignment="bottom", key="audit-filters"):
        who = _choice("Who", "who", [*PARTIES, *sorted({entry.actor for entry in entries})], 190)
        what = _choice("What", "what", [*_KIND_WORDS, *sorted({entry.action for entry in entries})], 190)
        subject = _text("About", "about", "for example trajectory/3", 190)
        words = _text("Words", "words", "in the reason", 170)
        span = st.selectbox("When", [*SPANS, BETWEEN], key="when", bind="query-params", width=150)
        first = last = None
        if span == BETWEEN:
            first, last = _day("From", "from"), _day("To", "to")
        else:
            st.query_params.pop("from", None)
            st.query_params.pop("to", None)
    return AuditFilter(who, what, subject, words, span, first, last)


def _choice(label: str, name: str, known: list[str], width: int) -> str:
    """One of what is known, or anything typed; what the URL names is offered too."""
    asked = st.query_params.get(name) or None
    options = list(dict.fromkeys([*known, *([asked] if asked else [])]))
    chosen = st.selectbox(
        label,
        options,
        index=options.index(asked) if asked else None,
        key=f"audit-{name}",
        format_func=choice_words,
        placeholder="any",
        accept_new_options=True,
        width=width,
        help="Choose one, or type another: a name that ends in “.”, “/” or “:” stands for all that begins with it.",
    )
    if chosen:
        st.query_params[name] = chosen
    else:
        st.query_params.pop(name, None)
    return chosen or ""


def _text(label: str, name: str, placeholder: str, width: int) -> str:
    """What is typed."""
    asked = st.query_params.get(name, "")
    typed = st.text_input(label, asked, key=f"audit-{name}", placeholder=placeholder, width=width, max_chars=200)
    typed = (typed or "").strip()
    if typed:
        st.query_params[name] = typed
    else:
        st.query_params.pop(name, None)
    return typed


def choice_words(raw: str) -> str:
    """What an actor or an action is called in a list."""
    if raw in _KIND_WORDS:
        return f"{_KIND_WORDS[raw]} (all)"
    return PARTIES[raw] if raw in PARTIES else actor_words(raw)


def _day(label: str, name: str) -> date | None:
    chosen: date | None = st.date_input(
        label, shown_day(st.query_params.get(name)), key=f"audit-{name}", width=130, help="A whole day, UTC"
    )
    if chosen is None:
        st.query_params.pop(name, None)
    else:
        st.query_params[name] = chosen.isoformat()
    return chosen


# The list


def listed(page: AuditPage, chosen: AuditFilter, cursor: str | None) -> None:
    """Entries one below the other, and the ways to older and newer ones."""
    now = datetime.now(UTC)
    st.caption(page_words(page.entries, is_filtered=not chosen.is_empty, has_more=page.next_cursor is not None))
    with st.container(gap="xsmall", key="audit-entries"):
        for entry in page.entries:
            with st.container(border=True, gap=None):
                st.markdown(f"**{frame.plain(action_words(entry))}** &nbsp;:gray[:small[{frame.plain(when_words(entry, now))}]]")
                frame.audited(entry.reason, entry.audit_id)
    with st.container(horizontal=True, gap="small", key="audit-pages"):
        if cursor is not None:
            st.button("Newest", icon=":material/first_page:", key="audit-newest", on_click=go, args=(None,))
            st.button("Newer", icon=":material/chevron_left:", key="audit-newer", on_click=back)
        if page.next_cursor is not None:
            st.button("Older", icon=":material/chevron_right:", key="audit-older", on_click=go, args=(page.next_cursor,))


def go(cursor: str | None) -> None:
    """Show the entries after a place; None: the newest."""
    if cursor is None:
        st.session_state.pop(TRAIL, None)
        st.query_params.pop("after", None)
        return
    st.session_state.setdefault(TRAIL, []).append(st.query_params.get("after"))
    st.query_params["after"] = cursor


def back() -> None:
    """Show the page before; the newest where it is not known."""
    trail = st.session_state.get(TRAIL) or [None]
    before = trail.pop()
    if before is None:
        st.query_params.pop("after", None)
    else:
        st.query_params["after"] = before


def clear() -> None:
    """Take all filters away; they stand outside of the part that refreshes by itself, so the page is to be drawn anew."""
    st.session_state[CLEARED] = True
    for name, nothing in (("who", None), ("what", None), ("about", ""), ("words", ""), ("from", None), ("to", None)):
        st.query_params.pop(name, None)
        st.session_state[f"audit-{name}"] = nothing
    st.session_state["when"] = "Any time"
    go(None)


# The file


def as_file(chosen: AuditFilter) -> None:
    """What the filters leave, as CSV: read when it is asked for, and bounded."""
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key="audit-file"):
        st.button(
            "Prepare CSV",
            icon=":material/table:",
            key="audit-prepare",
            on_click=prepare,
            args=(chosen,),
            help=f"Reads the newest {count(MAX_ROWS)} entries that pass the filters",
        )
        kept = st.session_state.get(FILE)
        if kept is None or kept[0] != chosen:
            return
        _, text, rows, is_cut, problem = kept
        if problem is not None:
            st.error(frame.plain(problem), icon=":material/error:")
            return
        label = f"Download {count(rows)} rows"
        st.download_button(label, text, "audit.csv", "text/csv", icon=":material/download:", key="audit-download", on_click="ignore")
        if is_cut:
            st.warning(
                f"Cut at {count(MAX_ROWS)} rows: older entries are not in the file. Choose a narrower time.", icon=":material/content_cut:"
            )


def prepare(chosen: AuditFilter) -> None:
    """Read all pages up to the bound, and keep them as a file."""
    entries: list[AuditOut] = []
    cursor = None
    try:
        while len(entries) < MAX_ROWS:
            page = ask(session.client(), chosen, cursor, PER_READ)
            entries += page.entries
            cursor = page.next_cursor
            if cursor is None:
                break
    except (ApiProblem, ApiUnavailable) as error:
        st.session_state[FILE] = (chosen, "", 0, False, f"The entries cannot be read: {error}")
        return
    st.session_state[FILE] = (chosen, as_csv(entries), len(entries), cursor is not None, None)


# One entry


def one_entry(audit_id: str) -> None:
    """The entry that the URL names, or why it cannot be shown."""
    st.button("All entries", icon=":material/arrow_back:", type="tertiary", key="audit-all", on_click=close)
    with frame.first_load(420):
        read = session.fetch(f"audit-entry:{audit_id}", lambda c: c.audit_entry(audit_id), max_age_s=300.0)
    frame.freshness(read, key="audit-entry")
    if read.value is None:
        frame.empty(f"Entry {frame.plain(audit_id)} cannot be shown.", "Go back to all entries above.", icon="search_off")
        return
    entry, now = read.value, datetime.now(UTC)
    with st.container(border=True, gap="xsmall", key="audit-head"):
        st.markdown(f":gray[:small[{frame.plain(when_words(entry, now))}]]")
        st.header(frame.plain(action_words(entry)), anchor=False)
        st.markdown(frame.plain(f"“{entry.reason}”"))
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            for number, place in enumerate(places(entry)):
                with st.container(width="content", key=f"audit-place-{number}"):
                    st.page_link(place.view, label=place.label, icon=f":material/{place.icon}:", help="", query_params=dict(place.query))
            for key, label, icon, name, value in (
                ("audit-same-subject", "All about this", "filter_alt", "about", entry.subject),
                ("audit-same-actor", f"All by {frame.plain(actor_words(entry.actor))}", "person", "who", entry.actor),
            ):
                st.button(label, icon=f":material/{icon}:", type="tertiary", key=key, on_click=only, args=(name, value))
    st.header("What changed")
    found = changes(entry)
    if found:
        rows = [{"What": one.path, "Before": one.before, "After": one.after} for one in found]
        frame.prose(rows, alt="What was different before and after")
    else:
        st.caption("The entry holds no values that changed; what was done stands above.")
    st.header("The entry itself")
    at = entry.at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
    st.caption(frame.plain(f"{at} UTC · {entry.action} · {entry.subject} · {entry.actor}"))
    st.code(f"/audit?entry={entry.audit_id}", language=None)
    with st.expander("As the API has it", icon=":material/data_object:"):
        st.json(entry.model_dump(mode="json"))


def close() -> None:
    """Back to the list."""
    st.query_params.pop("entry", None)


def only(name: str, value: str) -> None:
    """The list of all entries with this subject or actor."""
    close()
    st.query_params[name] = value

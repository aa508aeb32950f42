"""The form of a new job: what to do, on which tracks, with which model, and why. Tracks are looked into before it can be sent."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import cast

import streamlit as st
from pydantic import ValidationError

from console import confirmation, frame, session
from console.changes import reason_problem
from console.jobs.words import (
    EXPLAINED,
    FAMILIES,
    FORMATS,
    KINDS,
    SOURCES,
    SPANS,
    WINDOWS,
    Draft,
    asked_of,
    draft_problems,
    file_words,
    refusals,
    split_names,
)
from trajops.client import ApiProblem, ApiUnavailable
from trajops.contracts.models import ModelVersionOut, family_words
from trajops.contracts.tasks import TaskFileOut, TaskIn

UPLOADED = "uploaded_tracks"
MAX_MB = 200
CHAMPION = "The champion"


def job_form(dialog_id: str) -> TaskIn | None:
    """Draw the form; a task once it was sent and nothing is wrong with it."""
    kind = KINDS[
        st.segmented_control("What", list(KINDS), default="Batch forecast", required=True, key=f"job-kind-{dialog_id}") or "Training"
    ]
    st.caption(EXPLAINED[kind])
    source = st.segmented_control("Tracks", SOURCES, default=SOURCES[0], required=True, key=f"job-source-{dialog_id}") or SOURCES[0]
    file, since, until, scenes = None, datetime.now(UTC), datetime.now(UTC), ()
    if source == SOURCES[0]:
        file = _file(dialog_id)
    else:
        since, until, scenes = _traffic(dialog_id)
    version, windows, form, families, dataset, is_staged = None, "last", "csv", (), "", False
    if kind == "train":
        chosen = st.multiselect("Model families", list(FAMILIES), default=["Gaussian MLP"], key=f"job-families-{dialog_id}")
        families = tuple(FAMILIES[name] for name in chosen)
        dataset = st.text_input(
            "Name of the data",
            key=f"job-dataset-{dialog_id}",
            max_chars=128,
            placeholder="as the file, or the range",
            help="It stands with the version, so that people know what it was trained on.",
        )
        is_staged = st.toggle(
            "Stage the best that passes its battery",
            key=f"job-stage-{dialog_id}",
            help="It may then be compared with the champion, or promoted. Without this it is only registered.",
        )
    else:
        version = _version(dialog_id)
    if kind == "batch_predict":
        with st.container(horizontal=True, vertical_alignment="bottom"):
            windows = WINDOWS[st.selectbox("Forecast from", list(WINDOWS), key=f"job-windows-{dialog_id}")]
            form = FORMATS[st.selectbox("As", list(FORMATS), key=f"job-format-{dialog_id}", width=120)]
    reason = confirmation.reason_area(f"job-reason-{dialog_id}")
    if not st.button("Start job", key="job-submit", type="primary"):
        return None
    draft = Draft(kind, source, file, since, until, scenes, version, windows, form, families, dataset or "", is_staged)
    if not confirmation.is_complete(*draft_problems(draft), reason_problem(reason)):
        return None
    try:
        return asked_of(draft, reason.strip())
    except ValidationError as error:
        confirmation.is_complete(refusals(error))
        return None


def _file(dialog_id: str) -> TaskFileOut | None:
    """The uploaded file, once the API has looked into it; what is wrong with it is said."""
    chosen = st.file_uploader(
        "CSV or Parquet with the columns agent, time, x, y and optionally scene",
        type=["csv", "txt", "tsv", "parquet"],
        key=f"job-file-{dialog_id}",
        help="Times in seconds or ISO 8601, positions in metres.",
        max_upload_size=MAX_MB,
    )
    if chosen is None:
        return None
    held = st.session_state.get(UPLOADED)
    if held is None or held[0] != (dialog_id, chosen.file_id):
        try:
            with st.spinner("The tracks are looked into…"):
                sent = session.client().within(120.0).upload_tracks(chosen.getvalue(), chosen.name)
        except (ApiProblem, ApiUnavailable) as error:
            frame.refused(error, "Choose the file again when it is back.")
            return None
        held = ((dialog_id, chosen.file_id), sent)
        st.session_state[UPLOADED] = held
    file = cast("TaskFileOut", held[1])
    st.success(frame.plain(file_words(file)), icon=":material/task_alt:")
    return file


def _traffic(dialog_id: str) -> tuple[datetime, datetime, tuple[str, ...]]:
    """The range of recorded traffic, in UTC, and its scenes."""
    span = st.segmented_control(
        "From the last", [*SPANS, "Other"], default="1 h", required=True, key=f"job-span-{dialog_id}", help="Ending when the job is sent."
    )
    until = datetime.now(UTC).replace(microsecond=0)
    since = until - SPANS.get(span or "1 h", SPANS["1 h"])
    if span == "Other":
        with st.container(horizontal=True):
            begins, ends = f"job-since-{dialog_id}", f"job-until-{dialog_id}"
            # Not as the default of the widget, which would be another one in each run.
            st.session_state.setdefault(begins, since.replace(second=0, tzinfo=None))
            st.session_state.setdefault(ends, until.replace(second=0, tzinfo=None))
            first, last = st.datetime_input("From (UTC)", key=begins), st.datetime_input("To (UTC)", key=ends)
        since, until = (first or since).replace(tzinfo=UTC), (last or until).replace(tzinfo=UTC)
    names = st.text_input("Scenes", key=f"job-scenes-{dialog_id}", placeholder="all; or names with commas between them")
    return since, until, split_names(names or "")


def _version(dialog_id: str) -> int | None:
    read = session.fetch("models", lambda c: c.models())
    known = [] if read.value is None else read.value.versions
    named = {_label(one): one.model_version for one in known}
    chosen = st.selectbox("Version", [CHAMPION, *named], key=f"job-version-{dialog_id}")
    return named.get(chosen or CHAMPION)


def _label(version: ModelVersionOut) -> str:
    aliases: Sequence[str] = version.aliases
    said = f", {aliases[0].replace('_', ' ')}" if aliases else ""
    return f"v{version.model_version}, {family_words(version.family)}{said}"

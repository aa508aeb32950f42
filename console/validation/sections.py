"""Validation and model card on the page of models: gates with their figures, rank among the candidates, and the card."""

from datetime import UTC, datetime

import streamlit as st

from console import confirmation, frame, session
from console.changes import role_refusal
from console.lineage.section import lineage, remember
from console.validation import dialog, words
from console.wording import ago
from trajops.contracts.models import ModelsOut, ModelVersionOut, family_words
from trajops.contracts.validations import ValidationOut


def section(models: ModelsOut) -> None:
    """The validation of one version, chosen among all; refreshes with the page."""
    if not models.versions:
        return
    st.header("Lineage, validation and model card")
    by_number = {version.model_version: version for version in models.versions}
    number = st.selectbox(
        "Version",
        list(by_number),
        key="validation-version",
        format_func=lambda one: f"v{one} · {family_words(by_number[one].family)}",
        width=320,
        on_change=remember,
    )
    version = by_number[number if number in by_number else models.versions[0].model_version]
    lineage(version, models)
    _verdict(version)
    if version.validation is None:
        frame.empty(
            "It has not been validated, so it cannot be staged.",
            "The workers do that within a minute while they run; “Validate” asks for it now. If nothing comes of it, Services says why.",
            icon="hourglass_empty",
        )
        return
    # A newer validation is another entry of the cache: what is shown belongs to the mark above it.
    stamp = version.validation.at.isoformat()
    found = session.fetch(f"validation:{version.model_version}:{stamp}", lambda c: c.validation(version.model_version), max_age_s=60.0)
    if found.value is None:
        frame.freshness(found, key="validation")
        return
    _gates(found.value)
    _ranking(found.value)
    _card(version, stamp)


def _verdict(version: ModelVersionOut) -> None:
    """The mark, what it means, and the way to another battery."""
    refusal = role_refusal(session.role()) or ("A validation is asked for already." if version.is_validation_asked else None)
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.markdown(frame.badge(words.gate_mark(version)), width="content")
        if version.validation is not None:
            told = f"{version.validation.sentence} {ago(version.validation.at, datetime.now(UTC)).capitalize()}."
            st.caption(frame.plain(told), width="content")
        confirmation.button(
            "Validate" if version.validation is None else "Validate again",
            dialog.Pending("", version.model_version),
            key="validate",
            refusal=refusal,
            icon=":material/fact_check:",
        )


def _gates(found: ValidationOut) -> None:
    st.caption(frame.plain(words.about(found)))
    frame.prose(words.check_rows(found.checks), alt="Checks of the battery with their results", names={"Check", "Result"})
    details = st.expander("Figures of the battery", on_change="rerun", key="battery-figures")
    if details.open:
        with details:
            frame.table(
                words.figure_rows(found.checks),
                alt="Figures of the battery beside their limits",
                column_config={
                    "Measured": st.column_config.NumberColumn(format="%.4g"),
                    "Within": st.column_config.CheckboxColumn(help="Within what is allowed; a figure without limits is only told"),
                },
            )


def _ranking(found: ValidationOut) -> None:
    if not found.ranking:
        return
    st.caption(
        "Candidates of its training run, best first. Points are what each pays for being behind the best of a figure; fewer are better."
    )
    three = st.column_config.NumberColumn(format="%.3f")
    frame.table(
        words.rank_rows(found.ranking),
        alt="Candidates of the training run by rank",
        column_config={
            **dict.fromkeys(("ADE (m)", "NLL (nats)", "Coverage", "Time, median (ms)", "Time, p99 (ms)", "Size (MB)"), three),
            "Points": st.column_config.NumberColumn(format="%.1f"),
        },
    )
    frame.prose(words.why_rows(found.ranking), alt="Why each candidate stands where it stands", names={"Rank", "Family"})


def _card(version: ModelVersionOut, stamp: str) -> None:
    details = st.expander("Model card", on_change="rerun", key="model-card")
    if not details.open:
        return
    with details:
        card = session.fetch(f"card:{version.model_version}:{stamp}", lambda c: c.model_card(version.model_version), max_age_s=60.0)
        if card.value is None:
            frame.freshness(card, key="card")
            return
        st.download_button(
            "Download",
            card.value,
            file_name=f"model_card_v{version.model_version}.md",
            mime="text/markdown",
            key="card-download",
            icon=":material/download:",
        )
        # Headings of the card stand below that of the section.
        st.markdown(words.below(card.value))

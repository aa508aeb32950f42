"""One version or two that the operator has chosen; they are in the URL, as `version` and `compare`."""

from collections.abc import Sequence

import streamlit as st

NAMES = ("version", "compare")


def asked_versions(known: Sequence[int]) -> list[int]:
    """Those that the URL names and that there are, the first one first."""
    asked = (asked_version(name, known) for name in NAMES)
    return list(dict.fromkeys(version for version in asked if version is not None))


def asked_version(name: str, known: Sequence[int]) -> int | None:
    """The one that the URL names so, if there is such a version."""
    asked = st.query_params.get(name, "")
    return next((version for version in known if str(version) == asked), None)


def carry_version(name: str, version: int | None) -> None:
    """Put one into the URL."""
    if version is None:
        st.query_params.pop(name, None)
    else:
        st.query_params[name] = str(version)


def carry_versions(versions: Sequence[int]) -> None:
    """Put up to two into the URL."""
    for i, name in enumerate(NAMES):
        carry_version(name, versions[i] if i < len(versions) else None)

"""Switches of what a map shows; they are in the URL."""

import streamlit as st

from console.scenes.layers import Layers


def choose_layers(*, has_image: bool) -> tuple[Layers, bool]:
    """In a row; the layers of agents, and whether the scene's image is shown."""
    with st.container(horizontal=True, vertical_alignment="center", gap="medium"):
        trails = st.toggle("Trails", value=True, key="trails", bind="query-params", help="Where agents were in the last 4 s")
        predictions = st.toggle(
            "Predictions",
            value=True,
            key="predictions",
            bind="query-params",
            help="Each agent's newest prediction, the likeliest mode solid",
        )
        return Layers(trails, predictions), has_image and choose_image()


def choose_image() -> bool:
    """Whether the image of a scene that has one is shown."""
    return st.toggle("Image", value=True, key="image", bind="query-params", help="The ground as a camera saw it, faded")

"""What lies beneath a scene, read for a page."""

import streamlit as st

from console import frame, session
from console.scenes.charts import View
from trajops.contracts.scenes import SceneGround


def ground_of(scene_id: str, view: View | None = None) -> SceneGround | None:
    """The ground of a scene; without a view without its coast. None where it cannot be read, which is said."""
    edges = [] if view is None else [view.x[0], view.y[0], view.x[1], view.y[1]]
    read = session.fetch(f"ground:{scene_id}:{view}", lambda c: c.scene_background(scene_id, *edges), max_age_s=300.0)
    if read.value is None:
        st.caption(f":material/help: What lies beneath cannot be shown: {frame.plain(read.problem or '')}")
    return read.value

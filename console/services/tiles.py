"""Tiles that several pages show."""

import streamlit as st

from console import frame
from console.wording import health_mark
from trajops.contracts.status import StatusOut, service_title


def service_tiles(status: StatusOut) -> None:
    """One tile a part of the product: name, health, detail."""
    if not status.services:
        frame.empty("No service has reported yet.", "Start the workers with `make demo`, then refresh.")
        return
    with st.grid(len(status.services), min_column_width=150, border=True) as grid:  # the frame of a cell is as high as its row
        for service in status.services:
            with grid.cell(), st.container(gap="xsmall"):
                st.markdown(f"**{frame.plain(service_title(service.service))}** &nbsp;{frame.badge(health_mark(service.health))}")
                st.caption(frame.plain(service.detail))

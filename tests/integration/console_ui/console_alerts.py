"""The Alerts page as it is opened, and its confirmations as they are filled in and sent."""

from functools import partial
from typing import Any

from console_app import opened as opened_page
from console_stub import StubApi
from streamlit.testing.v1 import AppTest

from console.alerts.dialogs import PendingChange
from console.confirmation import PENDING

WHY = "because the operator decided so"
opened = partial(opened_page, "Alerts")


def posts(api: StubApi) -> list[tuple[str, Any]]:
    return [(path, body) for method, path, _, body in api.calls if method == "POST"]


def with_pending(pending: PendingChange, user: str = "ada") -> AppTest:
    app = opened(user)
    app.session_state[PENDING] = pending
    return app.run()


def confirm(app: AppTest, reason: str = WHY) -> AppTest:
    next(area for area in app.text_area if area.key.startswith("alert-reason-")).set_value(reason)
    return app.button(key="alert-submit").click().run()

"""What tests of the A/B tests page share: the page, what was sent, and a confirmation."""

from functools import partial
from typing import Any

from console_app import opened as opened_page
from console_stub import StubApi
from streamlit.testing.v1 import AppTest

opened = partial(opened_page, "A/B tests")
REASON = "because the operator decided so"


def posts(api: StubApi) -> list[tuple[str, Any]]:
    return [(path, body) for method, path, _, body in api.calls if method == "POST" and path != "/v1/experiments/check"]


def confirm(app: AppTest, reason: str = REASON, typed: str | None = None) -> AppTest:
    next(area for area in app.text_area if area.key.startswith("experiment-reason-")).set_value(reason)
    if typed is not None:
        next(field for field in app.text_input if field.key and field.key.startswith("experiment-typed-")).set_value(typed)
    app.button(key="experiment-submit").click().run()
    assert not app.exception
    return app

"""The console's pages in Streamlit's own test harness: opened as somebody sees them, and read."""

from functools import cache
from pathlib import Path

from streamlit.components.v2.component_manager import BidiComponentManager
from streamlit.testing.v1 import AppTest

APP = Path(__file__).parents[3] / "console" / "app.py"
PAGES = {
    "Overview": "views/overview.py",
    "Experiments": "views/experiments.py",
    "Models": "views/models.py",
    "A/B tests": "views/ab_tests.py",
    "Live predict": "views/live_predict.py",
    "Scene map": "views/scene_map.py",
    "Performance": "views/performance.py",
    "Drift": "views/drift.py",
    "Services": "views/services.py",
    "Alerts": "views/alerts.py",
    "Jobs": "views/jobs.py",
    "Audit": "views/audit.py",
    "Admin": "views/admin.py",
}
WHO = {"Admin": "root"}  # who sees what a page is for; ada sees all others
_KINDS = ("title", "header", "markdown", "caption", "error", "warning", "info", "success", "html")


@cache
def components() -> BidiComponentManager:
    """What installed packages bring along; else each AppTest reads the metadata of all of them anew, longer than it draws a page."""
    manager = BidiComponentManager()
    manager.discover_and_register_components(start_file_watching=False)
    return manager


def opened(title: str, user: str | None = "ada", *, token: str | None = None, **query: str) -> AppTest:
    """A page as `user` sees it, with these query parameters; nobody is signed in for None.

    Args:
        title: of the page.
        user: whom the stub of the API knows.
        token: of a real API, instead of that of the user.
        query: parameters of the address.
    """
    app = AppTest.from_file(str(APP), default_timeout=60)
    app._bidi_component_manager = components()
    if user is not None:
        app.session_state["session_token"] = token or f"token-{user}"
    for name, value in query.items():
        app.query_params[name] = value
    if title != "Overview":
        app.switch_page(PAGES[title])
    app.run()
    assert not app.exception
    return app


def text(app: AppTest) -> str:
    """All that can be read on the page, outside of tables and figures."""
    parts = [str(element.value) for kind in _KINDS for element in getattr(app, kind)]
    return "\n".join(parts).replace("\\", "").replace("\u00a0", " ")

"""The sign-in form: plain HTML, so that it works before any script does and password managers know it."""

from html import escape
from pathlib import Path
from string import Template

CONTENT_POLICY = "; ".join(
    (
        "default-src 'none'",
        "style-src 'unsafe-inline'",
        "font-src 'self'",
        "img-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)
OTHER_WAY = '<p class="other">or</p><a class="other" href="{}">Sign in with your organisation</a>'
REPORTS = "/session/drift-reports/"
RESULTS = "/session/task-results/"
IMAGES = "/session/scene-images/"
_PAGE = Template((Path(__file__).parent / "sign_in.html").read_text(encoding="utf-8"))


def form(next_path: str, *, problem: str = "", username: str = "", other_way: str | None = None) -> str:
    """The page with the form.

    Args:
        next_path: where to go afterwards, on this server.
        problem: what went wrong the last time.
        username: name to keep in the form.
        other_way: address of another sign-in, which is offered beside the form.
    """
    return _PAGE.substitute(
        problem=f'<p class="problem" role="alert">{escape(problem)}</p>' if problem else "",
        next_path=escape(next_path, quote=True),
        username=escape(username, quote=True),
        other_way=OTHER_WAY.format(escape(other_way, quote=True)) if other_way else "",
        focus_name="" if username else "autofocus",
        focus_password="autofocus" if username else "",
    )


def safe_path(asked: str | None) -> str:
    """A path on this server, or `/`: never an address elsewhere, and of the session's own routes only a report."""
    if not asked or not asked.startswith("/") or asked.startswith(("//", "/\\")) or any(ord(c) < 32 for c in asked):
        return "/"
    return "/" if asked.startswith("/session/") and not asked.startswith(REPORTS) else asked

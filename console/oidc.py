"""Signing in by OpenID Connect, beside the form: only where Streamlit's secrets name a provider.

Streamlit does the exchange (`st.login`) and keeps the id token in an HttpOnly cookie that it signs. The API takes that token as it is,
and decides what it opens. Without a section `[auth]` nothing here is offered, and nothing of Authlib is imported.
"""

from typing import Any

import streamlit as st
from starlette.requests import Request

NEXT_COOKIE = "trajops_next"
USER_COOKIE, TOKENS_COOKIE = "_streamlit_user", "_streamlit_user_tokens"
BEGIN = "/session/oidc"
ASKED = ("sign-in", "oidc")
OPEN_PREFIXES = ("/oauth2callback", "/auth/")
NEEDED = ("redirect_uri", "cookie_secret", "client_id", "client_secret", "server_metadata_url")


def problem() -> str | None:
    """What is missing in the section `[auth]` of Streamlit's secrets; None where it is whole, or where there is none."""
    section = _section()
    if section is None:
        return None
    missing = [name for name in NEEDED if not section.get(name)]
    if missing:
        return f"sign-in by OIDC is not offered: [auth] of Streamlit's secrets has no {', '.join(missing)}"
    exposed = section.get("expose_tokens")
    if "id" not in ([exposed] if isinstance(exposed, str) else list(exposed or [])):
        return 'sign-in by OIDC is not offered: [auth] of Streamlit\'s secrets needs expose_tokens = ["id"], which the API is given'
    return None


def is_offered() -> bool:
    """Whether a provider is named, and all that it takes."""
    return _section() is not None and problem() is None


def _section() -> Any:
    return st.secrets.get("auth") if st.secrets.load_if_toml_exists() else None


# In a page


def is_asked_for() -> bool:
    """Whether this page was opened to sign in."""
    return st.query_params.get(ASKED[0]) == ASKED[1] and is_offered()


def sign_in() -> None:
    """Send the browser to the provider."""
    st.login()
    st.markdown("You are sent to the sign-in of your organisation.")


def token() -> str | None:
    """The id token of who has signed in so; None for everybody else."""
    return st.user.tokens.get("id") if is_offered() and st.user.is_logged_in else None


# In a request


def is_signed_in(request: Request) -> bool:
    """Whether the browser has Streamlit's cookie; the API judges the token in it."""
    return USER_COOKIE in request.cookies and is_offered()


def is_open(request: Request) -> bool:
    """Whether a page load belongs to the way to the provider and back."""
    is_begin = request.url.path == "/" and request.query_params.get(ASKED[0]) == ASKED[1]
    return (is_begin or request.url.path.startswith(OPEN_PREFIXES)) and is_offered()


def came_back_to(request: Request) -> str | None:
    """Where somebody wanted to go who has just come back from the provider; None for all other requests."""
    if request.url.path != "/" or request.query_params or NEXT_COOKIE not in request.cookies or not is_signed_in(request):
        return None
    return request.cookies[NEXT_COOKIE]


def token_of(request: Request) -> str | None:
    """The id token that came with a request outside of pages, which `st.user` does not see."""
    if not is_signed_in(request):
        return None
    import json  # noqa: PLC0415 - only who signs in so needs these

    from streamlit.web.server.starlette.starlette_auth_routes import _get_cookie_value_from_request  # noqa: PLC0415

    held = _get_cookie_value_from_request(request, TOKENS_COOKIE)
    found = json.loads(held).get("id_token") if held else None
    return found if isinstance(found, str) else None

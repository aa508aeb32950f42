"""The console as an ASGI app: Streamlit, the session routes beside it, security headers around both.

Start it with `python -m console`, or `uvicorn console.asgi:app --ws-per-message-deflate false`. uvicorn serves the socket
with TCP_NODELAY, which `streamlit run` misses; and the heavy libraries are imported and frozen before the first page, because
every script run ends in a full garbage collection. Together that takes a click from about 200 ms to about 25 ms.
"""

import gc
import logging
import os
import re
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

import streamlit as st
from anyio import to_thread
from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from console import oidc, signin
from console.session import COOKIE
from console.settings import ConsoleSettings
from trajops import logs
from trajops.client import ApiProblem, ApiUnavailable, TrajOpsClient
from trajops.contracts.session import TokenOut

log = logging.getLogger("console")
SIGN_IN = "/session/sign-in"
HEAVY = (
    "numpy",
    "pandas",
    "pyarrow",
    "plotly.graph_objects",
    "plotly.subplots",
    "console.charts",
    "console.alerts.dialogs",
    "console.alerts.sections",
    "console.change_dialog",
    "console.frame",
    "console.runs.sections",
    "console.predicting.own",
    "console.scenes.charts",
)
MAX_FORM_BYTES = 8_192
# Streamlit's front end compiles chart code and styles in the page; everything else is limited to this server.
CONTENT_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' 'wasm-unsafe-eval' blob:; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; worker-src 'self' blob:; frame-src 'self' blob:; "
    "object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'none'"
)
# A report is a document from a library: it may draw itself, but not act in the operator's name nor call out.
REPORT_POLICY = (
    "sandbox allow-scripts allow-popups allow-downloads; default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval' blob: data:; "
    "style-src 'unsafe-inline'; img-src data: blob:; font-src data:; worker-src blob:; frame-ancestors 'none'"
)
# Made of docs/runbook.md by `make docs`. Open to anybody: whoever is called at night may have no session, and the API may be away.
RUNBOOK = (Path(__file__).parent / "runbook.html").read_text(encoding="utf-8")
RUNBOOK_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; font-src 'self'; img-src 'self'; "
    "form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)
_OPEN_PREFIXES = (
    "/session/", "/runbook", "/_stcore/", "/static/", "/app/static/", "/media/", "/component/", "/readyz", "/healthz", "/favicon"
)  # fmt: skip


class Perimeter:
    """Around everything: sends page loads without a session to the form, refuses foreign sockets, adds security headers."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request or socket."""
        if scope["type"] == "websocket" and not _is_same_origin(Headers(scope=scope)):
            await send({"type": "websocket.close", "code": 1008, "reason": "foreign origin"})
            return
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.setdefault("Content-Security-Policy", CONTENT_POLICY)
                headers["X-Content-Type-Options"] = "nosniff"
                headers["Referrer-Policy"] = "same-origin"
                headers["X-Frame-Options"] = "DENY"
                headers["Permissions-Policy"] = "camera=(), microphone=(), geolocation=()"
                if "Access-Control-Allow-Origin" in headers:
                    del headers["Access-Control-Allow-Origin"]
            await send(message)

        request = Request(scope)
        if _needs_sign_in(request):
            asked = request.url.path + (f"?{request.url.query}" if request.url.query else "")
            await RedirectResponse(f"{SIGN_IN}?next={quote(signin.safe_path(asked), safe='')}", status_code=303)(
                scope, receive, send_with_headers
            )
            return
        came_back_to = oidc.came_back_to(request)
        if came_back_to is not None:
            response = RedirectResponse(signin.safe_path(unquote(came_back_to)), status_code=303)
            response.delete_cookie(oidc.NEXT_COOKIE, path="/", httponly=True, samesite="lax")
            await response(scope, receive, send_with_headers)
            return
        await self.app(scope, receive, send_with_headers)


def _needs_sign_in(request: Request) -> bool:
    """Whether this is a page load by somebody without a session cookie."""
    return (
        request.method == "GET"
        and "text/html" in request.headers.get("accept", "")
        and not request.url.path.startswith(_OPEN_PREFIXES)
        and COOKIE not in request.cookies
        and not oidc.is_signed_in(request)
        and not oidc.is_open(request)
    )


def _is_same_origin(headers: Headers) -> bool:
    """Whether a browser's request comes from a page of this server; a client that is no browser names no origin."""
    origin = headers.get("origin")
    if origin is None:
        return headers.get("sec-fetch-site", "same-origin") in {"same-origin", "none"}
    return urlsplit(origin).netloc == headers.get("host", "")


async def show_sign_in(request: Request) -> Response:
    """GET /session/sign-in: the form."""
    return _form(signin.safe_path(request.query_params.get("next")))


async def sign_in(request: Request) -> Response:
    """POST /session/sign-in: name and password → the API's token → HttpOnly cookie → 303 to the page that was asked for."""
    if not _is_same_origin(request.headers):
        return PlainTextResponse("The form was sent from another site. Open the console and sign in there.", status_code=403)
    raw = b""
    async for chunk in request.stream():
        raw += chunk
        if len(raw) > MAX_FORM_BYTES:
            return PlainTextResponse("The form is too large.", status_code=413)
    fields = {key: values[0] for key, values in parse_qs(raw.decode("utf-8", "replace")).items()}
    next_path = signin.safe_path(fields.get("next"))
    username, password = fields.get("username", "").strip(), fields.get("password", "")
    if not username or not password:
        return _form(next_path, problem="Enter your name and your password.", username=username, status=422)
    try:
        token = await to_thread.run_sync(_ask_for_token, username, password)
    except ApiUnavailable:
        log.warning("sign-in failed: the API is away")
        return _form(next_path, problem="The API does not answer; try again in a moment.", username=username, status=503)
    except ApiProblem as problem:
        log.warning("sign-in refused", extra={"username": username[:128], "status": problem.status, "code": problem.code})
        text = "Name or password is wrong." if problem.status in {401, 403, 422} else problem.detail
        return _form(next_path, problem=text, username=username, status=401 if problem.status == 422 else problem.status)
    log.info("signed in", extra={"username": token.username, "role": token.role})
    response = RedirectResponse(next_path, status_code=303)
    response.set_cookie(
        COOKIE,
        token.access_token,
        max_age=max(1, int((token.expires_at - datetime.now(UTC)).total_seconds())),
        httponly=True,
        samesite="lax",
        secure=request.url.scheme == "https",
        path="/",
    )
    return response


def _ask_for_token(username: str, password: str) -> TokenOut:
    with TrajOpsClient(ConsoleSettings.from_environment().api_url) as client:
        return client.sign_in(username, password)


def _form(next_path: str, *, problem: str = "", username: str = "", status: int = 200) -> Response:
    headers = {"Content-Security-Policy": signin.CONTENT_POLICY, "Cache-Control": "no-store"}
    other_way = f"{oidc.BEGIN}?next={quote(next_path, safe='')}" if oidc.is_offered() else None
    return HTMLResponse(
        signin.form(next_path, problem=problem, username=username, other_way=other_way), status_code=status, headers=headers
    )


async def begin_oidc(request: Request) -> Response:
    """GET /session/oidc: to the page that sends the browser to the provider; where it wanted to go waits in a cookie."""
    next_path = signin.safe_path(request.query_params.get("next"))
    if not oidc.is_offered():
        return RedirectResponse(f"{SIGN_IN}?next={quote(next_path, safe='')}", status_code=303)
    name, value = oidc.ASKED
    response = RedirectResponse(f"/?{name}={value}", status_code=303)
    response.set_cookie(oidc.NEXT_COOKIE, quote(next_path), max_age=600, httponly=True, samesite="lax", path="/")
    response.delete_cookie(COOKIE, path="/", httponly=True, samesite="lax")
    return response


async def sign_out(request: Request) -> Response:
    """GET /session/sign-out: forget the cookie."""
    if not _is_same_origin(request.headers):
        return PlainTextResponse("Sign out from the console itself.", status_code=403)
    response = RedirectResponse("/auth/logout" if oidc.is_signed_in(request) else SIGN_IN, status_code=303)
    response.delete_cookie(COOKIE, path="/", httponly=True, samesite="lax")
    return response


def _token_of(request: Request) -> str | None:
    """Who is signed in, by either way."""
    return request.cookies.get(COOKIE) or oidc.token_of(request)


async def drift_report(request: Request) -> Response:
    """GET /session/drift-reports/{check_id}: the API's report, for the operator whose cookie this is."""
    token, check_id = _token_of(request), request.path_params["check_id"]
    if re.fullmatch(r"[A-Za-z0-9_-]{1,64}", check_id) is None:
        return PlainTextResponse("There is no such drift check.", status_code=404)
    sign_in_first = RedirectResponse(f"{SIGN_IN}?next={quote(signin.REPORTS + check_id, safe='')}", status_code=303)
    if token is None:
        return sign_in_first
    try:
        html = await to_thread.run_sync(_read_report, token, check_id)
    except ApiUnavailable:
        return PlainTextResponse("The API does not answer. Reload this page in a moment.", status_code=503)
    except ApiProblem as problem:
        if problem.status == 401:
            return sign_in_first
        return PlainTextResponse(problem.detail, status_code=problem.status)
    return HTMLResponse(html, headers={"Content-Security-Policy": REPORT_POLICY, "Cache-Control": "private, max-age=300"})


def _read_report(token: str, check_id: str) -> str:
    with TrajOpsClient(ConsoleSettings.from_environment().api_url, token, read_s=30.0) as client:
        return client.drift_report(check_id)


async def scene_image(request: Request) -> Response:
    """GET /session/scene-images/{scene_id}: the API's background image, for the operator whose cookie this is."""
    token = request.cookies.get(COOKIE) or oidc.token_of(request)
    if token is None:
        return PlainTextResponse("Sign in first.", status_code=401)
    try:
        image = await to_thread.run_sync(_read_image, token, request.path_params["scene_id"])
    except ApiUnavailable:
        return PlainTextResponse("The API does not answer.", status_code=503)
    except ApiProblem as problem:
        return PlainTextResponse(problem.detail, status_code=problem.status)
    # The address names the version, so it is asked for once.
    return Response(image, media_type="image/webp", headers={"Cache-Control": "private, max-age=86400, immutable"})


def _read_image(token: str, scene_id: str) -> bytes:
    with TrajOpsClient(ConsoleSettings.from_environment().api_url, token, read_s=10.0) as client:
        return client.scene_image(scene_id)


async def task_result(request: Request) -> Response:
    """GET /session/task-results/{task_id}: the API's file, part by part, for the operator whose cookie this is."""
    token, task_id = _token_of(request), request.path_params["task_id"]
    if re.fullmatch(r"[0-9a-f]{32}", task_id) is None:
        return PlainTextResponse("There is no such job.", status_code=404)
    sign_in_first = RedirectResponse(f"{SIGN_IN}?next={quote(f'/jobs?task={task_id}', safe='')}", status_code=303)
    if token is None:
        return sign_in_first
    client = TrajOpsClient(ConsoleSettings.from_environment().api_url, token, read_s=30.0)
    try:
        task = await to_thread.run_sync(client.task, task_id)
        outcome = task.outcome
        if outcome is None or outcome.filename is None or outcome.bytes is None:
            client.close()
            return PlainTextResponse("This job has no result to download.", status_code=404)
        first = await to_thread.run_sync(client.task_result, task_id)
    except (ApiProblem, ApiUnavailable) as problem:
        client.close()
        if isinstance(problem, ApiUnavailable):
            return PlainTextResponse("The API does not answer. Try again in a moment.", status_code=503)
        return sign_in_first if problem.status == 401 else PlainTextResponse(problem.detail, status_code=problem.status)
    size, suffix = outcome.bytes, Path(outcome.filename).suffix
    name = f"{task.asked.kind}_{task_id[:8]}{suffix}"

    def parts() -> Iterator[bytes]:
        with client:
            yield first
            at = len(first)
            while at < size:
                part = client.task_result(task_id, at)
                yield part
                at += len(part)

    headers = {"Content-Disposition": f'attachment; filename="{name}"', "Content-Length": str(size), "Cache-Control": "private, no-store"}
    return StreamingResponse(parts(), media_type=outcome.media_type, headers=headers)


async def show_runbook(request: Request) -> Response:  # noqa: ARG001 - Starlette's signature
    """GET /runbook: what to do about each alert, `#name` in small letters."""
    return HTMLResponse(RUNBOOK, headers={"Content-Security-Policy": RUNBOOK_POLICY})


async def ready(request: Request) -> Response:  # noqa: ARG001 - Starlette's signature
    """GET /readyz: 200 once pages can be served. The API's absence is shown on the pages and does not make this 503."""
    is_warm = bool(app.state.get("is_warm"))
    return JSONResponse({"status": "ready" if is_warm else "not_ready"}, status_code=200 if is_warm else 503)


@asynccontextmanager
async def lifespan(streamlit_app: st.App) -> AsyncIterator[dict[str, Any]]:  # noqa: ARG001 - Streamlit's signature
    """Import what pages need, then take it out of the garbage collector's sight."""
    logs.configure("console", os.environ.get("TRAJOPS_LOG_LEVEL", "info"))
    for name in HEAVY:
        import_module(name)
    import_module("plotly.graph_objects").Figure().to_json()  # The first figure loads validators; the first page should not.
    gc.collect()
    gc.freeze()
    if (problem := oidc.problem()) is not None:
        log.warning(problem)
    log.info("ready", extra={"api_url": ConsoleSettings.from_environment().api_url, "frozen_objects": gc.get_freeze_count()})
    yield {"is_warm": True}


def on_script_error(error: Exception) -> bool:
    """Log a page's failure under a reference, and show the reference instead of a trace."""
    reference = uuid.uuid4().hex[:8]
    log.error("a page failed", exc_info=error, extra={"reference": reference})
    st.error(f"This page could not be drawn. Reload it; if it happens again, look for reference {reference} in the console's log.")
    return True


app = st.App(
    Path(__file__).parent / "app.py",
    lifespan=lifespan,
    routes=[
        Route(SIGN_IN, show_sign_in, methods=["GET"]),
        Route(SIGN_IN, sign_in, methods=["POST"]),
        Route(oidc.BEGIN, begin_oidc, methods=["GET"]),
        Route("/session/sign-out", sign_out, methods=["GET"]),
        Route(signin.REPORTS + "{check_id}", drift_report, methods=["GET"]),
        Route(signin.RESULTS + "{task_id}", task_result, methods=["GET"]),
        Route(signin.IMAGES + "{scene_id:path}", scene_image, methods=["GET"]),
        Route("/runbook", show_runbook, methods=["GET"]),
        Route("/readyz", ready, methods=["GET"]),
    ],
    middleware=[Middleware(Perimeter)],
    on_script_error=on_script_error,
)

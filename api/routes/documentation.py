"""`/docs` without a call that leaves the machine: the pages' scripts come with the application."""

import html
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from fastapi import APIRouter, Request
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import FileResponse, HTMLResponse

from api.errors import status_of
from trajops.errors import NotFound, TrajOpsError

router = APIRouter(include_in_schema=False)
ASSETS = ("swagger-ui-bundle.js", "swagger-ui.css", "favicon.png")


@router.get("/docs")
async def docs(request: Request) -> HTMLResponse:
    """Every route, to read and to try."""
    root = request.scope.get("root_path", "")
    script, style, icon = (f"{root}/docs/assets/{name}" for name in ASSETS)
    return get_swagger_ui_html(
        openapi_url=f"{root}/openapi.json", title="TrajOps API", swagger_js_url=script, swagger_css_url=style, swagger_favicon_url=icon
    )


@router.get("/docs/assets/{name}")
async def asset(name: str) -> FileResponse:
    """One file of the page."""
    if name not in ASSETS:
        raise NotFound(f"there is no asset {name!r}")
    return FileResponse(_assets() / name, headers={"Cache-Control": "public, max-age=86400"})


@router.get("/docs/errors")
async def error_codes() -> HTMLResponse:
    """Every error code: where the `type` of a problem leads."""
    rows = "".join(
        f'<tr id="{kind.code}"><td><code>{kind.code}</code></td><td>{status_of(kind)}</td><td>{html.escape(_meaning(kind))}</td></tr>'
        for kind in _kinds(TrajOpsError)
    )
    return HTMLResponse(
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>TrajOps error codes</title></head><body><h1>Error codes</h1>'
        f"<table><thead><tr><th>code</th><th>status</th><th>meaning</th></tr></thead><tbody>{rows}</tbody></table></body></html>"
    )


def _assets() -> Path:
    spec = find_spec("fastapi_offline")
    if spec is None or spec.origin is None:
        raise NotFound("the scripts of this page are not installed; install fastapi-offline, or read /openapi.json")
    return Path(spec.origin).with_name("static")


def _kinds(kind: type[TrajOpsError]) -> Iterator[type[TrajOpsError]]:
    yield kind
    for child in kind.__subclasses__():
        yield from _kinds(child)


def _meaning(kind: type[TrajOpsError]) -> str:
    return (kind.__doc__ or "").splitlines()[0]

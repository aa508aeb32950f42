"""Errors become HTTP here and nowhere else: RFC 9457 problems with a stable code, the field, its value and how to mend it."""

import logging
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any, NamedTuple

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from trajops import errors
from trajops.contracts.problems import FieldProblem, Problem
from trajops.errors import TrajOpsError

MEDIA_TYPE = "application/problem+json"
STATUS: dict[type[TrajOpsError], int] = {
    errors.InvalidInput: 422,
    errors.TooLarge: 413,
    errors.NotFound: 404,
    errors.Conflict: 409,
    errors.UnsafeModel: 409,
    errors.Unauthenticated: 401,
    errors.Forbidden: 403,
    errors.RateLimited: 429,
    errors.Unavailable: 503,
    errors.EnvironmentProblem: 503,
    TrajOpsError: 500,
}
HTTP_CODES = {401: "unauthenticated", 403: "forbidden", 404: "not_found", 405: "method_not_allowed", 413: "too_large"}
# What the server itself refuses, before there is a request: status → code, and what to do.
PROTOCOL_ERRORS = {
    400: ("malformed_request", "what came in is not HTTP/1.1; send a request line, header fields and a body as RFC 9112 has them"),
    431: ("head_too_large", "the header fields are larger than 64 KiB; send fewer or shorter ones (credentials are the usual cause)"),
}
_RETRY_AFTER = {"Retry-After": {"description": "Seconds after which the same request may succeed.", "schema": {"type": "integer"}}}
_SCHEMAS = "#/components/schemas/{model}"
# By name, because FastAPI would make hundreds of validators of a model, one for each status of each route, and none of them validates.
_PROBLEM = {"schema": {"$ref": _SCHEMAS.format(model=Problem.__name__)}}
DOCUMENTED: dict[int | str, dict[str, Any]] = {
    status: {"description": HTTPStatus(status).phrase, "content": {MEDIA_TYPE: _PROBLEM}}
    | ({"headers": _RETRY_AFTER} if status in {429, 503} else {})
    for status in (401, 403, 404, 409, 413, 422, 429, 503)
}

# What pydantic says is wrong; what the caller can do about it.
MENDING = {
    "missing": "add it",
    "extra_forbidden": "remove it, or correct its name",
    "float_type": "send a JSON number, without quotes",
    "int_type": "send a whole JSON number, without quotes",
    "finite_number": "leave an unknown position out instead of sending NaN or infinity",
    "json_invalid": "send one JSON document in UTF-8; JSON has no NaN and no infinity",
    "tuple_type": "send a pair [x, y]",
    "string_type": "send a text, in quotes",
    "list_type": "send a list",
    "model_type": "send an object",
    "model_attributes_type": "send an object",
    "dict_type": "send an object",
    "string_pattern_mismatch": "leave control characters out",
    "timezone_aware": "add the time zone, for example Z",
}
SECRET_FIELDS = frozenset({"password", "access_token", "token"})
SHOWN_CHARACTERS = 80

logger = logging.getLogger(__name__)


class Rendered(NamedTuple):
    """A problem ready to be sent."""

    status: int
    headers: dict[str, str]
    content: bytes


def status_of(kind: type[TrajOpsError]) -> int:
    """The HTTP status of a kind of error: its own, or that of its nearest ancestor in the tree."""
    return next(STATUS[ancestor] for ancestor in kind.__mro__ if ancestor in STATUS)


def render(error: TrajOpsError, request_id: str | None) -> Rendered:
    """The problem of an error that was raised on purpose."""
    status = status_of(type(error))
    headers = {}
    if status == 401:
        headers["WWW-Authenticate"] = (
            'Bearer realm="trajops", error="invalid_token"' if error.details.get("is_given") else 'Bearer realm="trajops"'
        )
    elif status == 403:
        headers["WWW-Authenticate"] = 'Bearer realm="trajops", error="insufficient_scope"'
    headers |= retry_headers(error)
    return _rendered(status, error.code, error.message, request_id, headers, error.details.get("fields", ()))


def retry_headers(error: TrajOpsError) -> dict[str, str]:
    """When to try again: a part that is away, in a second unless it says otherwise; a limit, when it says so."""
    after_s = error.details.get("retry_after_s", 1 if status_of(type(error)) == 503 else None)
    return {} if after_s is None else {"Retry-After": str(after_s)}


def render_unexpected(request_id: str | None) -> Rendered:
    """The problem of a fault of ours; the cause is in the log under the request id."""
    return _rendered(500, "internal", "the API failed on this request; its log names the cause under the request id", request_id)


def render_invalid(found: Iterable[Mapping[str, Any]], request_id: str | None) -> Rendered:
    """The problem of a request that pydantic refused, from its list of errors whose locations begin with `body` or `query`."""
    fields = field_problems(found)
    more = f" (and {len(fields) - 1} more)" if len(fields) > 1 else ""
    return _rendered(422, "invalid_input", f"{fields[0].field}: {fields[0].message}{more}", request_id, fields=fields)


def render_protocol(status: int) -> Rendered:
    """The problem of what is no request: one of `PROTOCOL_ERRORS`."""
    return _rendered(status, *PROTOCOL_ERRORS[status], None)


def _rendered(
    status: int, code: str, detail: str, request_id: str | None, headers: dict[str, str] | None = None, fields: Iterable[FieldProblem] = ()
) -> Rendered:
    problem = Problem(
        type=f"/docs/errors#{code}",
        title=HTTPStatus(status).phrase,
        status=status,
        code=code,
        detail=_whole(detail),
        request_id=request_id,
        errors=list(fields),
    )
    return Rendered(status, {"Content-Type": MEDIA_TYPE, **(headers or {})}, problem.model_dump_json().encode())


def field_problems(found: Iterable[Mapping[str, Any]]) -> list[FieldProblem]:
    """One entry a field, in the order of the errors; the branches of a union are joined."""
    joined: dict[str, tuple[list[str], Any]] = {}
    for error in found:
        field = ".".join(str(part) for part in error["loc"] if _is_field(part)) or "body"
        cause = error.get("ctx", {}).get("error") if error["type"] == "json_invalid" else None
        message = f"{error['msg']}: {cause}" if cause and str(cause) not in error["msg"] else error["msg"]
        mending = _mending(error)
        message = f"{message}; {mending}" if mending else message
        messages, _ = joined.setdefault(field, ([], _shown(error)))
        messages.append(_whole(message))
    return [FieldProblem(field=field, message=", or: ".join(messages), value=value) for field, (messages, value) in joined.items()]


def _mending(error: Mapping[str, Any]) -> str | None:
    """What the caller can do, where the sentence of pydantic does not say it."""
    context = error.get("ctx", {})
    if error["type"] == "too_short":
        return f"add {context['min_length'] - context['actual_length']} more"
    if error["type"] == "too_long" and context.get("actual_length") is not None:
        return f"leave {context['actual_length'] - context['max_length']} out"
    return MENDING.get(error["type"])


def _is_field(part: object) -> bool:
    """Whether part of a location is a field or an index, and not the name of a union's branch."""
    return isinstance(part, int) or (isinstance(part, str) and part.isidentifier() and part not in {"int", "float", "str"})


def _shown(error: Mapping[str, Any]) -> Any:
    """The value as it was sent, shortened; never a secret, and never the whole body."""
    value = error.get("input")
    if error["type"] in {"missing", "json_invalid"} or isinstance(value, dict | bytes) or SECRET_FIELDS & set(error["loc"]):
        return None
    if isinstance(value, bool | int | None):
        return value if value is None or abs(value) < 2**53 else str(value)[:SHOWN_CHARACTERS]
    if isinstance(value, float):
        return value if abs(value) < float("inf") else str(value)
    text = value if isinstance(value, str) else repr(value)
    return _whole(text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}…")


def _whole(text: str) -> str:
    """Without half characters, which JSON can carry and nobody can be answered with."""
    return text.encode("utf-8", "replace").decode()


def with_problems(document: dict[str, Any]) -> dict[str, Any]:
    """An OpenAPI document with the schemas that `DOCUMENTED` names."""
    schema = Problem.model_json_schema(ref_template=_SCHEMAS, mode="serialization")
    schemas = document["components"]["schemas"] | schema.pop("$defs", {}) | {Problem.__name__: schema}
    document["components"]["schemas"] = dict(sorted(schemas.items()))
    return document


def request_id_of(request: Request) -> str | None:
    """The id under which this request is logged."""
    found: str | None = request.scope.get("state", {}).get("request_id")
    return found


def _response(rendered: Rendered) -> Response:
    return Response(rendered.content, rendered.status, rendered.headers)


async def _on_trajops_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, TrajOpsError)
    if status_of(type(error)) >= 500:
        logger.warning("%s %s: %s", request.method, request.url.path, error.message, extra={"request_id": request_id_of(request)})
    return _response(render(error, request_id_of(request)))


async def _on_invalid_request(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return _response(render_invalid(error.errors(), request_id_of(request)))


async def _on_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    detail = error.detail if error.detail != HTTPStatus(error.status_code).phrase else _explain(request, error.status_code)
    code = HTTP_CODES.get(error.status_code, "http_error")
    return _response(_rendered(error.status_code, code, detail, request_id_of(request), dict(error.headers or {})))


async def _on_unexpected(request: Request, error: Exception) -> Response:
    logger.error("%s %s failed", request.method, request.url.path, exc_info=error, extra={"request_id": request_id_of(request)})
    return _response(render_unexpected(request_id_of(request)))


def _explain(request: Request, status: int) -> str:
    if status == 404:
        return f"there is no {request.url.path}; /docs lists what there is"
    if status == 405:
        return f"{request.url.path} does not take {request.method}; /docs says what it takes"
    return HTTPStatus(status).phrase


def install(app: FastAPI) -> None:
    """Make every error of an application a problem."""
    app.add_exception_handler(TrajOpsError, _on_trajops_error)
    app.add_exception_handler(RequestValidationError, _on_invalid_request)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_exception_handler(Exception, _on_unexpected)

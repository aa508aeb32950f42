"""Around every route but the hot ones: a request id, a count, and a log line for what changes something or goes wrong."""

import logging
import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import MEDIA_TYPE, render
from api.fast_route import checked_request_id, encoded, new_request_id
from api.metrics import Meters
from trajops.errors import TooLarge

TOO_LARGE = 413

logger = logging.getLogger("api.requests")


class Observed:
    """Pure ASGI, and outermost, so that it also sees the answers to unexpected errors.

    Args:
        app: what answers.
        meters: count the answers.
    """

    def __init__(self, app: ASGIApp, meters: Meters) -> None:
        self._app = app
        self._meters = meters

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI application."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started_s = time.perf_counter()
        given = next((value for name, value in scope["headers"] if name == b"x-request-id"), b"")
        request_id = checked_request_id(given) or new_request_id()
        scope.setdefault("state", {})["request_id"] = request_id
        status, instead = 0, None

        async def observe(message: Message) -> None:
            nonlocal status, instead
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = list(message.get("headers", ()))
                if status == TOO_LARGE and (b"content-type", MEDIA_TYPE.encode()) not in headers:
                    # The framework's own limit answers in plain text, ahead of every handler.
                    instead = render(TooLarge("the body is larger than TRAJOPS_MAX_BODY_BYTES allows; send it in parts"), request_id)
                    headers = encoded(instead.headers)
                    headers.append((b"content-length", str(len(instead.content)).encode()))
                message["headers"] = [*headers, (b"x-request-id", request_id.encode())]
            elif instead is not None and message["type"] == "http.response.body":
                message = {**message, "body": b"" if message.get("more_body", False) else instead.content}
            await send(message)

        try:
            await self._app(scope, receive, observe)
        except Exception:
            # The handler of unexpected errors has logged and answered it; only an error that it could not answer goes on.
            self._meters.unexpected += 1
            if not status:
                raise
        finally:
            self._finish(scope, request_id, status, time.perf_counter() - started_s)

    def _finish(self, scope: Scope, request_id: str, status: int, elapsed_s: float) -> None:
        template = getattr(scope.get("route"), "path", "unmatched")
        self._meters.route(template).observe(status, elapsed_s)
        if status >= 400 or scope["method"] not in {"GET", "HEAD"}:
            level = logging.INFO if status < 500 else logging.WARNING
            text = f"{scope['method']} {scope['path']} answered {status} in {elapsed_s * 1e3:.0f} ms"
            logger.log(level, text, extra={"request_id": request_id, "route": template, "status": status})

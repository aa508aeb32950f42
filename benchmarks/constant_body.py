"""The limit that serving is measured against: an ASGI app that reads the body and answers a constant one."""

from typing import Any

BODY = b'{"positions":[' + b",".join(b"[12.3456,23.4567,0.1234,0.0123,0.2345]" for _ in range(12)) + b"]," + b'"pad":"' + b"x" * 980 + b'"}'
START = {
    "type": "http.response.start",
    "status": 200,
    "headers": [(b"content-type", b"application/json"), (b"content-length", str(len(BODY)).encode())],
}
END = {"type": "http.response.body", "body": BODY}


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Answer every request alike."""
    if scope["type"] != "http":
        return
    while (await receive()).get("more_body", False):
        pass
    await send(START)
    await send(END)

"""The stub API on a port."""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from pydantic import BaseModel

from console_stub.api import StubApi
from console_stub.refusal import Refused

BINARY = "application/octet-stream"


class StubServer:
    """Serves a StubApi on a free loopback port; a context manager.

    Attributes:
        api: what answers; another one may be put in its place.
    """

    def __init__(self, api: StubApi, port: int = 0) -> None:
        self.api = api
        stub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.0"  # one call a connection: a closed server answers nobody

            def log_message(self, *_: object) -> None:
                pass

            def do_GET(self) -> None:
                self.handle_call()

            def do_POST(self) -> None:
                self.handle_call()

            def handle_call(self) -> None:
                api, url = stub.api, urlsplit(self.path)
                raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                time.sleep(api.delay_s)
                try:
                    answer = api.answer(
                        self.command,
                        url.path,
                        {k: v[0] for k, v in parse_qs(url.query).items()},
                        {k.lower(): v for k, v in self.headers.items()},
                        json.loads(raw) if raw and self.headers.get("Content-Type") != BINARY else raw or None,
                    )
                    status = 200
                except Refused as refused:
                    answer, status = refused.problem, refused.problem.status
                kind, data = _encoded(answer)
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

        self.server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    def __enter__(self) -> "StubServer":
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


def _encoded(answer: BaseModel | str | bytes) -> tuple[str, bytes]:
    """Media type and body of an answer."""
    if isinstance(answer, bytes):
        return "image/webp", answer
    return ("text/html", answer.encode()) if isinstance(answer, str) else ("application/json", answer.model_dump_json().encode())

"""A small HTTP endpoint: /healthz, /metrics. Whether the workers work, for probes and for Prometheus."""

import threading
from collections.abc import Callable, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

import orjson
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from trajops.errors import EnvironmentProblem


class HealthServer:
    """Serves from a thread of its own.

    Args:
        host: address to listen on.
        port: 0 chooses a free one.
        registry: what /metrics shows.
        is_alive: whether all jobs can run; /healthz answers 503 otherwise.
        details: shown by /healthz.

    Raises:
        EnvironmentProblem: if the port is in use.
    """

    def __init__(
        self, host: str, port: int, registry: CollectorRegistry, is_alive: Callable[[], bool], details: Callable[[], Mapping[str, Any]]
    ) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                path = self.path.partition("?")[0]
                if path == "/metrics":
                    self._answer(HTTPStatus.OK, CONTENT_TYPE_LATEST, generate_latest(registry))
                elif path in {"/healthz", "/readyz"}:
                    is_up = is_alive()
                    body = orjson.dumps({"status": "alive" if is_up else "stopped", **details()})
                    self._answer(HTTPStatus.OK if is_up else HTTPStatus.SERVICE_UNAVAILABLE, "application/json", body)
                else:
                    self._answer(HTTPStatus.NOT_FOUND, "text/plain; charset=utf-8", b"the workers serve /healthz, /readyz and /metrics\n")

            def _answer(self, status: HTTPStatus, content_type: str, body: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Type", content_type)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name is the standard library's
                """Probes every few seconds are no news."""

        try:
            self._server = ThreadingHTTPServer((host, port), Handler)
        except OSError as error:
            raise EnvironmentProblem(
                f"the workers cannot listen on {host}:{port} ({error.strerror}); stop what uses it, or set TRAJOPS_WORKERS_PORT to another"
            ) from error
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), name="health", daemon=True)

    @property
    def port(self) -> int:
        """The port that is listened on."""
        return int(self._server.server_address[1])

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

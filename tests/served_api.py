"""The API behind real sockets, for the clients of foreign protocols, which bring their own HTTP."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import uvicorn

from api.main import create_app
from api.server import OPTIONS
from api.wiring import Parts
from tests.running_api import Api, MemoryLoader
from trajops.settings import Settings


class Served(NamedTuple):
    """An API that listens, and a key of the role `viewer`."""

    api: Api
    port: int

    @property
    def headers(self) -> dict[str, str]:
        """Fresh at each use: clients write into what they are given."""
        return dict(self.api.headers["viewer"])

    @property
    def key(self) -> str:
        return self.headers["Authorization"].removeprefix("Bearer ")


@contextmanager
def served_api(folder: Path, **settings: Any) -> Iterator[Served]:
    """Serve from a thread of this process until the end of the block."""
    configured = Settings(**({"var_dir": folder, "environment": "test", "mlflow_url": "http://127.0.0.1:9"} | settings))
    parts = Parts(configured)
    parts.loader = MemoryLoader()
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(create_app(configured, parts), **OPTIONS))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            deadline = time.monotonic() + 20
            while not server.started:
                assert thread.is_alive()
                assert time.monotonic() < deadline
                time.sleep(0.01)
            port = listener.getsockname()[1]
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
                yield Served(Api(parts, client), port)  # type: ignore[arg-type]
        finally:
            server.should_exit = True
            thread.join()

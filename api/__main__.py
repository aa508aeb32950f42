"""`python -m api`: serve the API with the address, port and log level of the settings."""

import gc
import socket
import sys

import uvicorn

from api.main import create_app
from api.wiring import Parts
from trajops import logs
from trajops.errors import EnvironmentProblem
from trajops.settings import Settings

GRACE_S = 10


class Server(uvicorn.Server):
    """uvicorn, with the garbage collector told that what stands after the start-up stays."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start; then leave modules, models and routes out of every later full collection."""
        await super().startup(sockets)
        gc.collect()
        gc.freeze()
        # A request makes some hundred short-lived objects and no cycle: look for cycles after ten thousand, not after seven hundred.
        gc.set_threshold(10_000, 20, 20)


def main() -> int:
    """Check the machine, then serve until a signal comes."""
    settings = Settings()
    logs.configure("api", settings.log_level)
    parts = Parts(settings)
    try:
        assert parts.is_prepared
    except EnvironmentProblem as problem:
        sys.stderr.write(f"api: {problem.message}\n")
        return 1
    server = Server(
        uvicorn.Config(
            create_app(settings, parts),
            host=settings.host,
            port=settings.api_port,
            loop="uvloop",
            http="httptools",
            interface="asgi3",
            access_log=False,
            log_config=None,
            timeout_graceful_shutdown=GRACE_S,
            server_header=False,
        )
    )
    server.run()
    return 0 if server.started else 1


if __name__ == "__main__":
    sys.exit(main())

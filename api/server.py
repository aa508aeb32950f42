"""The API as one process or several: uvicorn with what stands after the start-up left out of garbage collection."""

import gc
import sys
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from api.direct import DirectProtocol
from api.main import create_app
from api.processes import Processes
from api.wiring import Parts
from trajops import logs
from trajops.settings import Settings

# What is being answered when the door closes has so long to be finished, seconds.
GRACE_S = 10
# An idle connection is kept for so long, seconds: longer than balancers and clients keep one, so that it is they who close it, and
# never on a request that is on its way.
KEEP_ALIVE_S = 75
# A process that starts, or does not say that it lives, is given so long before it is given up, seconds: busy machines are slow.
PATIENCE_S = 30

# A thread that answers a batch is asked for Python's lock after so long, seconds. With the default of 5 ms the event loop, which needs
# the lock several times for a prediction, waits for whole slices of the batch.
SWITCH_S = 0.00005

# What comes after that (telling the device, closing the stores) has so long, seconds.
CLOSE_S = 10

# How uvicorn serves the API.
OPTIONS: dict[str, Any] = {
    "loop": "uvloop",
    "http": DirectProtocol,
    "interface": "asgi3",
    "ws": "none",
    "access_log": False,
    "log_config": None,
    "timeout_keep_alive": KEEP_ALIVE_S,
    "timeout_graceful_shutdown": GRACE_S,
    "server_header": False,
}


def application(parts: Parts | None = None) -> ASGIApp:
    """The application of one process; one of several is started with this, and reads its settings from the environment."""
    if parts is None:
        settings = Settings()
        logs.configure("api", settings.log_level)
        parts = Parts(settings)
    drain = parts.drain

    def settle() -> None:
        drain.install(app.doors)
        gc.collect()
        gc.freeze()
        # A request makes some hundred short-lived objects and no cycle: look for cycles after ten thousand, not after seven hundred.
        gc.set_threshold(10_000, 20, 20)
        sys.setswitchinterval(SWITCH_S)

    app = create_app(parts.settings, parts, on_open=settle)
    return app if parts.tracing is None else parts.tracing.application(app)


def serve(parts: Parts, workers: int) -> bool:
    """Serve until a signal comes; whether it could be begun at all.

    Several processes share one socket; one that dies is replaced, and SIGHUP replaces all of them one after another, each new
    one ready before an old one is asked to leave.

    Args:
        parts: of a single process; several make their own, and take address and port of these.
        workers: processes.
    """
    settings = parts.settings
    config = uvicorn.Config(
        application(parts) if workers == 1 else "api.server:application",
        factory=workers > 1,
        workers=workers,
        host=settings.host,
        port=settings.api_port,
        timeout_worker_healthcheck=PATIENCE_S,
        **OPTIONS,
    )
    if workers == 1:
        server = uvicorn.Server(config)
        server.run()
        return server.started
    Processes(config, [config.bind_socket()], leave_s=settings.drain_s + GRACE_S + CLOSE_S).run()
    return True

"""`python -m console`: serve the console until it is stopped."""

import os
import socket
import sys

import uvicorn

from console.settings import ConsoleSettings
from trajops import logs
from trajops.errors import EnvironmentProblem


def main() -> int:
    """Check the port, then serve; returns the exit code."""
    try:
        settings = ConsoleSettings.from_environment()
    except EnvironmentProblem as problem:
        sys.stderr.write(f"console: {problem.message}\n")
        return 1
    logs.configure("console", os.environ.get("TRAJOPS_LOG_LEVEL", "info"))
    with socket.socket(socket.AF_INET6 if ":" in settings.host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.host, settings.port))
        except OSError as error:
            sys.stderr.write(
                f"The console cannot listen on {settings.host}:{settings.port} ({error.strerror}). "
                "Stop what uses the port, or set TRAJOPS_CONSOLE_PORT to a free one.\n"
            )
            return 1
    uvicorn.run(
        "console.asgi:app",
        host=settings.host,
        port=settings.port,
        ws_per_message_deflate=False,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=5,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())

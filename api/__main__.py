"""`python -m api`: serve the API with the address, port, processes and log level of the settings."""

import argparse
import os
import signal
import sys

from api.server import serve
from api.wiring import Parts
from trajops import logs
from trajops.errors import EnvironmentProblem
from trajops.settings import Settings


def main() -> int:
    """Check the machine, then serve until a signal comes."""
    try:
        settings = Settings.from_environment()
    except EnvironmentProblem as problem:
        sys.stderr.write(f"api: {problem.message}\n")
        return 1
    parser = argparse.ArgumentParser(prog="python -m api", description=__doc__)
    parser.add_argument("--workers", type=int, default=settings.api_workers, help="processes that share the port (default: the settings')")
    workers = parser.parse_args().workers
    if workers < 1:
        parser.error("--workers must be at least 1")
    # Several processes read it from their environment, to know how many share a client's limit.
    os.environ["TRAJOPS_API_WORKERS"] = str(workers)
    settings = Settings()
    logs.configure("api", settings.log_level)
    parts = Parts(settings)
    try:
        assert parts.is_prepared
    except EnvironmentProblem as problem:
        sys.stderr.write(f"api: {problem.message}\n")
        return 1
    try:
        return 0 if serve(parts, workers) else 1
    except KeyboardInterrupt:  # Ctrl-C: the server has ended as it should, and raises it again
        return 128 + signal.SIGINT


if __name__ == "__main__":
    sys.exit(main())

"""`python -m workers`: one worker process. Any number may run; each job runs in one of them at a time.

SIGTERM or Ctrl-C ends it: running jobs get a few seconds, what is left is given up and its lease freed, the exit code is 0.
"""

import logging
import os
import signal
import sys
import threading
import time
from types import FrameType

from trajops import logs
from trajops.errors import TrajOpsError
from trajops.settings import Settings

GRACE_S = 8.0

logger = logging.getLogger("workers")


def main() -> int:
    """Run until a signal; the exit code."""
    began = time.monotonic()
    try:
        settings = Settings.from_environment()
    except TrajOpsError as error:  # nobody knows yet how to log
        sys.stderr.write(f"workers: {error.message}\n")
        return 1
    logs.configure("workers", settings.log_level)
    is_ending = threading.Event()

    def end(_signal: int, _frame: FrameType | None) -> None:
        is_ending.set()

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    try:
        return run(settings, is_ending, began)
    except TrajOpsError as error:
        logger.critical(error.message, extra={"code": error.code})
        return 1


def run(settings: Settings, is_ending: threading.Event, began: float) -> int:
    """Start the scheduler and the health endpoint, wait for the end, stop.

    Args:
        settings: what can be set from outside.
        is_ending: set when the process is to stop.
        began: `time.monotonic()` at the start of the process.

    Raises:
        TrajOpsError: if configuration, database or port cannot be used.
    """
    # After the signal handlers: a stop during these imports must already end cleanly.
    from workers.health import HealthServer  # noqa: PLC0415
    from workers.scheduler import Scheduler  # noqa: PLC0415
    from workers.wiring import Parts  # noqa: PLC0415
    from workers.work import runner_of  # noqa: PLC0415

    parts = Parts(settings)
    parts.database.migrate()
    runner = runner_of(parts)
    scheduler = Scheduler(runner)

    def details() -> dict[str, object]:
        return {"holder": parts.holder, "jobs": sorted(runner.jobs), "hanging": runner.hanging}

    with HealthServer(settings.host, settings.workers_port, parts.metrics.registry, lambda: scheduler.is_well, details) as server:
        scheduler.start()
        logger.info(
            "the worker is ready", extra={"port": server.port, "start_s": round(time.monotonic() - began, 2), "holder": parts.holder}
        )
        is_ending.wait()
        parts.end_early()
        late = scheduler.stop(GRACE_S)
    parts.close()
    logger.info("the worker has ended", extra={"given_up": late})
    if late:
        # Their threads cannot be ended, and a normal exit would wait for them.
        sys.stdout.flush()
        os._exit(0)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""`python -m workers.tasks TASK_ID`: the process of one task. Its worker starts it, holds its standard input open, and ends it.

When the input closes, the worker is gone, and this process goes with all that it has started: the task is begun anew elsewhere.
"""

import os
import signal
import sys
import threading
import traceback

from trajops.errors import TrajOpsError
from trajops.settings import Settings


def main() -> int:
    """Do the task; the exit code."""
    threading.Thread(target=_end_with_the_worker, name="watch", daemon=True).start()
    # After the watch: these imports take a second.
    from data.tasks.files import TaskFiles  # noqa: PLC0415
    from workers.tasks.kinds import Work  # noqa: PLC0415
    from workers.tasks.telling import Telling  # noqa: PLC0415
    from workers.wiring import Parts  # noqa: PLC0415

    settings, task_id = Settings.from_environment(), sys.argv[1]
    files = TaskFiles(settings.tasks_dir)
    telling = Telling(files.of(task_id))
    try:
        parts = Parts(settings)
        with parts.database.unit_of_work(read_only=True) as uow:
            task = uow.tasks.get(task_id)
        telling.outcome(Work(parts, files, parts.task_rules, telling).by_kind[task.asked.kind](task))
        parts.close()
    except TrajOpsError as error:
        telling.say(f"failed: {error.message}")
        telling.failure(error.message)
    except MemoryError:
        telling.failure("there is not enough memory for it; give fewer tracks")
    except Exception as error:  # noqa: BLE001 - whatever a model or a library raises is the task's failure, not the worker's
        traceback.print_exc(file=sys.stdout)
        telling.failure(f"{type(error).__name__}: {error}")
    return 0


def _end_with_the_worker() -> None:
    sys.stdin.buffer.read()
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    # Threads of libraries may outlive the work.
    os._exit(code)

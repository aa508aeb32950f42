"""Several processes of the API on one socket: replaced one after another without the server being away."""

import logging
import os
import signal
import socket
import time

from uvicorn import Config
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import Multiprocess
from uvicorn.supervisors.multiprocess import Process

from api.drain import REPLACED

_POLL_S = 0.1
_AGAIN_S = 0.5

logger = logging.getLogger(__name__)


class Processes(Multiprocess):
    """uvicorn's supervisor, which tells a process that it replaces from one that leaves with the whole server.

    The first goes on saying that the server is ready, because it is; the second says that it is not. A process that hangs keeps nobody
    from hearing signals: whether it lives is asked in one round and looked up in later ones.

    Args:
        config: of each process.
        sockets: that they share.
        leave_s: longest time that a process may take to leave, seconds; it is killed then.
    """

    def __init__(self, config: Config, sockets: list[socket.socket], leave_s: float) -> None:
        super().__init__(config, sockets)
        self._leave_s = leave_s
        # Since when a process has been asked whether it lives, and has not answered.
        self._asked_s: dict[Process, float] = {}

    def keep_subprocess_alive(self) -> None:
        """One round: replace the processes that have ended, or have not said for long that they live."""
        self._asked_s = {process: asked_s for process, asked_s in self._asked_s.items() if process in self.processes}
        for index, process in enumerate(self.processes):
            if self.should_exit.is_set():
                return
            if process.process.is_alive() and self._answers(process):
                continue
            process.kill()
            process.join()
            if process.exitcode == STARTUP_FAILURE:
                logger.error("process %s could not start, and another would not either: the server ends", process.pid)
                self.should_exit.set()
                return
            logger.warning("process %s has ended, or hung, and is replaced", process.pid)
            self.processes[index] = Process(self.config, self.sockets)
            self.processes[index].start()

    def _answers(self, process: Process) -> bool:
        """False once it has not said for long that it lives."""
        asked_s, now_s = self._asked_s.get(process), time.monotonic()
        try:
            if asked_s is None:
                process.parent_conn.send(b"ping")
                self._asked_s[process] = now_s
            elif process.parent_conn.poll():
                process.parent_conn.recv()
                del self._asked_s[process]
            else:
                return now_s - asked_s < self.config.timeout_worker_healthcheck
        except (OSError, EOFError):
            return False
        return True

    def restart_all(self) -> None:
        """Replace each process, when its replacement is ready."""
        for index, old in enumerate(self.processes):
            new = Process(self.config, self.sockets)
            new.start()
            if not self._is_ready(new):
                new.kill()
                new.join()
                if not self._is_told_to_end():
                    logger.error("process %s was not ready in time; process %s and those after it stay as they are", new.pid, old.pid)
                return
            self.processes[index] = new
            if not self._retire(old):
                return

    def _is_ready(self, new: Process) -> bool:
        """Whether a process begins to serve in time; false at once when the whole server is asked to end meanwhile."""
        deadline_s = time.monotonic() + self.config.timeout_worker_healthcheck
        while time.monotonic() < deadline_s and new.process.is_alive() and not self._is_told_to_end():
            if new.is_ready(timeout=1):
                return True
            time.sleep(_POLL_S)
        return False

    def terminate_all(self) -> None:
        """Ask all of them to end; the door is theirs alone from now on, so that it is closed when the last of them has closed it."""
        super().terminate_all()
        for listener in self.sockets:
            listener.close()

    def join_all(self) -> None:
        """Wait for all of them to end; a second signal is passed on, so that they do not drain any longer."""
        deadline_s, again_s = time.monotonic() + self._leave_s, float("inf")
        while any(process.exitcode is None for process in self.processes):
            if self._is_told_to_end():
                self.signal_queue.clear()
                again_s = time.monotonic()
            if time.monotonic() >= again_s:
                # Two signals that come before a process has looked at the first are one to it, so it is told until it leaves.
                self.terminate_all()
                again_s = time.monotonic() + _AGAIN_S
            if time.monotonic() > deadline_s:
                for process in self.processes:
                    if process.exitcode is None:
                        logger.error("process %s has not left within %g s and is killed", process.pid, self._leave_s)
                        process.process.kill()
            time.sleep(_POLL_S)
        super().join_all()

    def _is_told_to_end(self) -> bool:
        return not {signal.SIGTERM, signal.SIGINT}.isdisjoint(self.signal_queue)

    def _retire(self, old: Process) -> bool:
        """Let a process end, however long it drains; False when the whole server is asked to end meanwhile, and then at once."""
        if old.exitcode is None and old.pid is not None:
            os.kill(old.pid, REPLACED)
        deadline_s = time.monotonic() + self._leave_s
        while old.exitcode is None and not self._is_told_to_end():
            if time.monotonic() > deadline_s:
                logger.error("process %s has not left within %g s and is killed", old.pid, self._leave_s)
                old.process.kill()
            old.process.join(_POLL_S)
        if old.exitcode is None:
            # It ends with all the others, and is waited for with them.
            self.processes.append(old)
            return False
        old.join()
        old.parent_conn.close()
        old.child_conn.close()
        return True

"""Several processes of the API on one socket: replaced one after another without the server being away."""

import logging
import os
import signal
import time

from uvicorn.supervisors import Multiprocess
from uvicorn.supervisors.multiprocess import Process

from api.drain import REPLACED

_POLL_S = 0.1

logger = logging.getLogger(__name__)


class Processes(Multiprocess):
    """uvicorn's supervisor, which tells a process that it replaces from one that leaves with the whole server.

    The first goes on saying that the server is ready, because it is; the second says that it is not.
    """

    def restart_all(self) -> None:
        """Replace each process, when its replacement is ready."""
        for index, old in enumerate(self.processes):
            new = Process(self.config, self.sockets)
            new.start()
            if not new.wait_until_ready(self.config.timeout_worker_healthcheck, self.should_exit):
                new.kill()
                new.join()
                logger.error("process %d was not ready in time; process %d and those after it stay as they are", new.pid, old.pid)
                return
            self.processes[index] = new
            if not self._retire(old):
                return

    def terminate_all(self) -> None:
        """Ask all of them to end; the door is theirs alone from now on, so that it is closed when the last of them has closed it."""
        super().terminate_all()
        for listener in self.sockets:
            listener.close()

    def join_all(self) -> None:
        """Wait for all of them to end; a second signal is passed on, so that they do not drain any longer."""
        while any(process.exitcode is None for process in self.processes):
            if self._is_told_to_end():
                self.signal_queue.clear()
                self.terminate_all()
            time.sleep(_POLL_S)
        super().join_all()

    def _is_told_to_end(self) -> bool:
        return not {signal.SIGTERM, signal.SIGINT}.isdisjoint(self.signal_queue)

    def _retire(self, old: Process) -> bool:
        """Let a process end, however long it drains; False, and at once, when the whole server is asked to end meanwhile."""
        is_alone = True
        if old.exitcode is None and old.pid is not None:
            os.kill(old.pid, REPLACED)
        while old.exitcode is None:
            if is_alone and self._is_told_to_end():
                is_alone = False
                old.process.terminate()
            old.process.join(_POLL_S)
        old.join()
        old.parent_conn.close()
        old.child_conn.close()
        return is_alone

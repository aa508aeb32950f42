"""Worker processes that read and write JSON, so that a large body never holds up the event loop.

Reading ten thousand trajectories from JSON holds Python's lock for tens of milliseconds, in whatever thread it is done. The
workers know no model and keep no state: they turn bytes into arrays and arrays into bytes (`api.json_tasks`). Each is started
when it is first needed, stays, and runs at a lower priority than the process that answers `/predict`. Small work is done on the
spot: handing it over would cost more.
"""

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

import msgspec

from api import json_tasks
from api.json_tasks import Buffer, Outcome
from trajops import errors
from trajops.contracts.problems import FieldProblem
from trajops.errors import TrajOpsError, Unavailable

# Bytes up to which work is done on the spot: well under a millisecond.
INLINE_BYTES = 32 * 1024
_END_S = 5.0

_encode = msgspec.msgpack.Encoder().encode
_decode_reply = msgspec.msgpack.Decoder(json_tasks.Reply).decode


class _Worker(NamedTuple):
    process: "subprocess.Popen[bytes]"
    connection: "Connection[Any, Any]"


class JsonWorkers:
    """A few worker processes, each served by a thread of its own that waits for it.

    Args:
        count: most processes; 0: large work is done on a thread of this process.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._threads = ThreadPoolExecutor(max(1, count), thread_name_prefix="json-worker")
        self._own = threading.local()
        self._workers: list[_Worker] = []

    async def run(self, task: str, meta: Any, buffers: Sequence[Buffer], *, size: int | None = None) -> Outcome:
        """Do one task of `api.json_tasks`.

        Args:
            task: its name.
            meta: what msgpack can carry.
            buffers: bytes that are handed over as they are.
            size: how large the work is, in bytes of JSON. Default: that of the buffers.

        Raises:
            TrajOpsError: as the task raises.
            Unavailable: if the worker has ended under it.
        """
        if (sum(len(memoryview(b).cast("B")) for b in buffers) if size is None else size) <= INLINE_BYTES:
            return json_tasks.TASKS[task](meta, buffers)
        call = self._call if self._count else json_tasks.run
        return await asyncio.get_running_loop().run_in_executor(self._threads, call, task, meta, buffers)

    def close(self) -> None:
        """End the processes, when what they are doing is done; what takes longer than a moment is given up."""
        ending = threading.Thread(target=self._threads.shutdown, kwargs={"cancel_futures": True})
        ending.start()
        ending.join(_END_S)
        if ending.is_alive():
            for process, _ in self._workers:
                process.kill()
            ending.join()
        for process, connection in self._workers:
            connection.close()
            try:
                process.wait(_END_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._workers.clear()

    def _call(self, task: str, meta: Any, buffers: Sequence[Buffer]) -> Outcome:
        worker: _Worker | None = getattr(self._own, "worker", None)
        if worker is None or worker.process.poll() is not None:
            worker = self._own.worker = self._start(worker)
        connection = worker.connection
        try:
            connection.send_bytes(_encode((task, meta, len(buffers))))
            for buffer in buffers:
                connection.send_bytes(buffer)
            reply = _decode_reply(connection.recv_bytes())
            parts = [connection.recv_bytes() for _ in range(reply.parts)]
        except (OSError, EOFError) as error:
            worker.process.kill()
            raise Unavailable("the process that reads and writes JSON has ended; try again") from error
        if reply.error is not None:
            raise _error(reply)
        return reply.meta, parts

    def _start(self, before: _Worker | None) -> _Worker:
        if before is not None:
            before.connection.close()
            before.process.wait()
            self._workers.remove(before)
        ours, theirs = Pipe()
        with theirs:
            command = [sys.executable, "-m", "api.json_tasks", str(theirs.fileno())]
            environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
            process = subprocess.Popen(command, pass_fds=[theirs.fileno()], env=environment, stdin=subprocess.DEVNULL)
        worker = _Worker(process, ours)
        self._workers.append(worker)
        return worker


def _error(reply: json_tasks.Reply) -> TrajOpsError:
    kinds = [errors.InvalidInput, errors.ShapeError, errors.TooLarge]
    kind = next((kind for kind in kinds if kind.code == reply.error), TrajOpsError)
    details = {"fields": [FieldProblem(**field) for field in reply.fields]} if reply.fields else {}
    return kind(reply.message, **details)

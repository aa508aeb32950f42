"""The client that is awaited, on httpx."""

import asyncio
import ssl
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import httpx

from trajops.client.call import Call, SendsAwaiting
from trajops.client.exchange import Broken, Exchange, Options, Reply, Waits, causes
from trajops.client.routes import Routes
from trajops.client.task_results import not_over, result_bytes, whole
from trajops.contracts.tasks import TaskOut
from trajops.tasks.lifecycle import OVER

A = TypeVar("A")


class AsyncTrajOpsClient(Routes, SendsAwaiting):
    """Talks to one API with one token, from one asyncio event loop. Any number of tasks may use it at once.

    The options are those of `Routes`. Tasks that find all connections taken wait for one within their deadlines.
    """

    async def __aenter__(self) -> Self:
        """Use the client as a context that closes its connections."""
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Close the connections."""
        await self.close()

    async def close(self) -> None:
        """Close the connections; the client cannot be used after this."""
        await self._http.aclose()

    async def send(self, call: Call[A]) -> A:
        """Send a call, again where that is safe and may help, and return its answer.

        Raises:
            ApiProblem: the API answered, and the answer is a problem.
            ApiUnavailable: it cannot be reached, or does not answer in time.
        """
        exchange = Exchange(call, self._options)
        while True:
            outcome = await self._try(exchange, exchange.waits())
            pause_s = exchange.pause_after(outcome)
            if pause_s is None:
                assert isinstance(outcome, Reply)
                return exchange.answer(outcome)
            await asyncio.sleep(pause_s)

    async def wait_for_task(self, task_id: str, *, timeout_s: float = 3_600.0, every_s: float = 1.0) -> TaskOut:
        """Wait until a task is over, and return it.

        Raises:
            ApiUnavailable: if it is not over in time.
        """
        ends_s = time.monotonic() + timeout_s
        while (task := await self.task(task_id)).state not in OVER:
            if time.monotonic() > ends_s:
                raise not_over(task, timeout_s)
            await asyncio.sleep(every_s)
        return task

    async def save_result(self, task_id: str, path: Path) -> int:
        """Write the result of a task to a file, part by part; bytes."""
        size = result_bytes(await self.task(task_id))
        with whole(path) as file:
            while (at := file.tell()) < size:
                file.write(await self.task_result(task_id, at))
        return size

    def _open(self, options: Options) -> None:
        trust: ssl.SSLContext | bool = options.base_url.startswith("https://")  # without TLS, loading certificates is time lost
        if options.ca_file is not None:
            trust = ssl.create_default_context(cafile=options.ca_file)
        limits = httpx.Limits(max_connections=options.connections, max_keepalive_connections=options.connections)
        self._http = httpx.AsyncClient(verify=trust, limits=limits, trust_env=False)

    async def _try(self, exchange: Exchange[A], waits: Waits) -> Reply | Broken:
        timeout = httpx.Timeout(waits.read_s, connect=waits.connect_s, pool=waits.left_s)
        steps: list[str] = []

        async def note(step: str, _: object) -> None:
            steps.append(step)

        try:
            async with asyncio.timeout(waits.left_s):
                response = await self._http.request(
                    exchange.method,
                    exchange.url,
                    headers=exchange.headers,
                    content=exchange.content,
                    timeout=timeout,
                    extensions={"trace": note},
                )
        except (httpx.RequestError, ssl.SSLError, TimeoutError) as error:
            return _broken(error, steps)
        return Reply(response.status_code, response.reason_phrase, response.headers, response.content)


def _broken(error: httpx.RequestError | ssl.SSLError | TimeoutError, steps: Sequence[str]) -> Broken:
    """What became of a try that got as far as some steps of the transport: `connection.…`, then `http11.…`."""
    is_unsent = not any(step.startswith("http11.") for step in steps)
    if isinstance(error, httpx.TimeoutException | TimeoutError):
        return Broken(error, is_unsent, "timed out" if steps else "timed out waiting for one of its connections")
    if is_unsent and any(isinstance(one, ssl.SSLError) for one in causes(error)):
        return Broken(error, is_unsent, f"no trusted connection: {str(error) or type(error).__name__}")
    return Broken(error, is_unsent, "connection refused" if is_unsent else "connection broken")

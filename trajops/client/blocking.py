"""The client that waits, on requests.

Calls go through requests' adapter, which is urllib3's pool of connections and safe for several threads, and not through a
Session, which is not, and which costs a fifth more.
"""

import ssl
import time
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import requests
import urllib3
from requests.adapters import HTTPAdapter

from trajops.client.call import Call, SendsBlocking
from trajops.client.exchange import Broken, Exchange, Options, Reply, Waits, causes
from trajops.client.routes import Routes
from trajops.client.task_results import not_over, result_bytes, whole
from trajops.contracts.tasks import TaskOut
from trajops.tasks.lifecycle import OVER

A = TypeVar("A")
_PART_BYTES = 256 * 1024


class TrajOpsClient(Routes, SendsBlocking):
    """Talks to one API with one token, and waits for the answers. Several threads may use it at once.

    The options are those of `Routes`. A deadline is looked at between the parts of an answer, so that a call may last by one
    `read_s` longer.
    """

    def __enter__(self) -> Self:
        """Use the client as a context that closes its connections."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Close the connections."""
        self.close()

    def close(self) -> None:
        """Close the connections; a call after this opens new ones."""
        self._adapter.close()

    def send(self, call: Call[A]) -> A:
        """Send a call, again where that is safe and may help, and return its answer.

        Raises:
            ApiProblem: the API answered, and the answer is a problem.
            ApiUnavailable: it cannot be reached, or does not answer in time.
        """
        exchange = Exchange(call, self._options)
        while True:
            outcome = self._try(exchange, exchange.waits())
            pause_s = exchange.pause_after(outcome)
            if pause_s is None:
                assert isinstance(outcome, Reply)
                return exchange.answer(outcome)
            time.sleep(pause_s)

    def wait_for_task(self, task_id: str, *, timeout_s: float = 3_600.0, every_s: float = 1.0) -> TaskOut:
        """Wait until a task is over, and return it.

        Raises:
            ApiUnavailable: if it is not over in time.
        """
        ends_s = time.monotonic() + timeout_s
        while (task := self.task(task_id)).state not in OVER:
            if time.monotonic() > ends_s:
                raise not_over(task, timeout_s)
            time.sleep(every_s)
        return task

    def save_result(self, task_id: str, path: Path) -> int:
        """Write the result of a task to a file, part by part; bytes."""
        size = result_bytes(self.task(task_id))
        with whole(path) as file:
            while (at := file.tell()) < size:
                file.write(self.task_result(task_id, at))
        return size

    def _open(self, options: Options) -> None:
        self._adapter = HTTPAdapter(pool_maxsize=options.connections)

    def _try(self, exchange: Exchange[A], waits: Waits) -> Reply | Broken:
        request = requests.Request(exchange.method, exchange.url, headers=exchange.headers, data=exchange.content).prepare()
        try:
            response = self._adapter.send(
                request, stream=True, timeout=(waits.connect_s, waits.read_s), verify=self._options.ca_file or True
            )
            content = _whole(response.raw, exchange)
        except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
            return _broken(error)
        return Reply(response.status_code, response.reason or "", response.headers, content)


def _whole(raw: urllib3.HTTPResponse, exchange: Exchange[A]) -> bytes:
    """The body; its connection goes back to the pool if it was read to its end, and is closed otherwise."""
    parts = []
    try:
        while part := raw.read1(_PART_BYTES, decode_content=True):
            parts.append(part)
            if exchange.left_s < 0:
                raise requests.ReadTimeout("the deadline came in the middle of the answer")
    except BaseException:
        raw.close()
        raise
    finally:
        raw.release_conn()
    return b"".join(parts)


def _broken(error: requests.RequestException | urllib3.exceptions.HTTPError) -> Broken:
    if isinstance(error, requests.ConnectTimeout):
        return Broken(error, is_unsent=True, words="timed out")
    if isinstance(error, requests.Timeout | urllib3.exceptions.TimeoutError):
        return Broken(error, is_unsent=False, words="timed out")
    reason = getattr(error.args[0] if error.args else None, "reason", None)
    if isinstance(error, requests.exceptions.SSLError):
        # Only where the certificate was not trusted is it certain that nothing was sent: a connection may break later too.
        is_unsent = any(isinstance(one, ssl.SSLCertVerificationError) for one in causes(reason if reason is not None else error))
        return Broken(error, is_unsent=is_unsent, words=f"no trusted connection: {reason or error}")
    is_unsent = isinstance(reason, urllib3.exceptions.NewConnectionError)
    return Broken(error, is_unsent=is_unsent, words="connection refused" if is_unsent else "connection broken")

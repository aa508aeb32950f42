"""Clients that ask `/predict` all the time while something is done to the servers."""

import http.client
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from tests.running_api import a_body

# A client waits so long between an answer and its next request, seconds; and gives up after so many requests.
PAUSE_S = 0.01
MOST = 20_000


@dataclass
class Load:
    """What the clients saw.

    Attributes:
        answered: prediction ids of the answers with status 200.
        failed: everything else, in words.
    """

    answered: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    _arrived: threading.Condition = field(default_factory=threading.Condition)

    def wait_for(self, more: int, timeout_s: float = 60) -> None:
        """Return once so many more requests were answered, or failed."""
        with self._arrived:
            wanted = self._count() + more
            assert self._arrived.wait_for(lambda: self._count() >= wanted, timeout_s), self

    def _count(self) -> int:
        return len(self.answered) + len(self.failed)

    def _note(self, prediction_id: str | None, failure: str | None) -> None:
        with self._arrived:
            if prediction_id is not None:
                self.answered.append(prediction_id)
            if failure is not None:
                self.failed.append(failure)
            self._arrived.notify_all()


def _ask(connection: http.client.HTTPConnection, headers: dict[str, str], body: bytes) -> tuple[str | None, str | None]:
    try:
        connection.request("POST", "/predict", body, headers)
        answer = connection.getresponse()
        content = answer.read()
    except (OSError, http.client.HTTPException) as error:
        connection.close()
        return None, f"{type(error).__name__}: {error}"
    if answer.status != 200:
        return None, f"{answer.status}: {content.decode(errors='replace')[:300]}"
    return json.loads(content)["prediction_id"], None


@contextmanager
def load(port: int, headers: dict[str, str], *, kept_alive: int = 4, fresh: int = 4) -> Iterator[Load]:
    """Ask until the end of the block.

    Args:
        port: on this machine.
        headers: what lets a request in.
        kept_alive: clients that keep their connection for as long as it is kept for them.
        fresh: clients that open a connection for every request.
    """
    seen, ended = Load(), threading.Event()

    def client(number: int, is_fresh: bool) -> None:
        body = json.dumps(a_body(f"agent-{number}")).encode()
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        for _ in range(MOST):
            if ended.wait(PAUSE_S):
                break
            seen._note(*_ask(connection, headers, body))
            if is_fresh:
                connection.close()
        connection.close()

    threads = [threading.Thread(target=client, args=(number, number >= kept_alive)) for number in range(kept_alive + fresh)]
    for thread in threads:
        thread.start()
    try:
        yield seen
    finally:
        ended.set()
        for thread in threads:
            thread.join()

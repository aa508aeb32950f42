"""The two clients under one test body: the asynchronous one runs on the event loop of another thread and is waited for."""

import functools
import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal, cast

from anyio.from_thread import BlockingPortal, start_blocking_portal

from trajops.client import AsyncTrajOpsClient, TrajOpsClient

Kind = Literal["sync", "async"]
KINDS: tuple[Kind, ...] = ("sync", "async")


class Waited:
    """An asynchronous client whose methods are called as those of the synchronous one."""

    def __init__(self, portal: BlockingPortal, client: AsyncTrajOpsClient) -> None:
        self._portal, self._client = portal, client

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)
        return functools.partial(self._call, method) if inspect.ismethod(method) else method

    def within(self, seconds: float) -> "Waited":
        return Waited(self._portal, self._client.within(seconds))

    def _call(self, method: Any, *args: Any, **named: Any) -> Any:
        return self._portal.call(functools.partial(method, *args, **named))


@contextmanager
def a_client(kind: Kind, url: str, token: str | None = None, **options: Any) -> Iterator[TrajOpsClient]:
    """A client of either kind until the end of the block."""
    if kind == "sync":
        with TrajOpsClient(url, token, **options) as client:
            yield client
    else:
        with start_blocking_portal() as portal, portal.wrap_async_context_manager(AsyncTrajOpsClient(url, token, **options)) as client:
            yield cast("TrajOpsClient", Waited(portal, client))

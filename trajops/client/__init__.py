"""The TrajOps API from Python: `TrajOpsClient` waits, `AsyncTrajOpsClient` is awaited; both have one method a route.

Install `trajops[client]`; docs/clients.md shows how to use it. Each client is imported when it is asked for, so that a program
pays for the one transport that it uses.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from trajops.client.errors import ApiProblem, ApiUnavailable

if TYPE_CHECKING:
    from trajops.client.asynchronous import AsyncTrajOpsClient
    from trajops.client.blocking import TrajOpsClient

__all__ = ["ApiProblem", "ApiUnavailable", "AsyncTrajOpsClient", "TrajOpsClient"]
_WHERE = {"AsyncTrajOpsClient": "trajops.client.asynchronous", "TrajOpsClient": "trajops.client.blocking"}


def __getattr__(name: str) -> Any:
    """Import a client when it is first asked for."""
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_WHERE[name]), name)

"""How a process of the API leaves: first it says that it is not ready, then it closes its door, then it ends.

Between the two a balancer finds out and sends its requests elsewhere. From the signal on every answer says `Connection: close`,
whichever route gives it, so that clients and balancers leave kept-alive connections by themselves. Until then it costs nothing:
the server puts its default header lines before each answer anyway, and one line is added to them; the short way of `api.direct` ends.

A connection that stayed idle all the while is closed at the end. A request can be on its way at that instant, and HTTP/1.1 has no
way to refuse it: what has reached this machine is still read and answered, as is the first request of a connection that is new
(`api.direct`); the rest finds a connection that is closed before any byte of an answer.
"""

import asyncio
import logging
import signal
from collections.abc import MutableMapping
from types import FrameType

import uvicorn

from api.direct import Door

# One of several processes is told so that another has taken its place: the server as a whole stays ready.
REPLACED = signal.SIGUSR1
CLOSE = (b"connection", b"close")

logger = logging.getLogger(__name__)


class Drain:
    """Delays the server's own answer to SIGTERM. SIGINT, and a second SIGTERM, are not delayed.

    Args:
        drain_s: from the signal to the closed door, seconds; 0: at once.

    Attributes:
        is_draining: whether balancers are to be told that this server is not ready.
    """

    def __init__(self, drain_s: float) -> None:
        self._drain_s = drain_s
        self._is_leaving = False
        self.is_draining = False

    def install(self, doors: MutableMapping[bytes, Door]) -> None:
        """Take SIGTERM over from the server; call from the main thread, inside the running event loop.

        Args:
            doors: of the application; whoever leaves has none, so that the server writes each answer, and ends the connection.
        """
        loop, server = asyncio.get_running_loop(), _server()
        if server is None:
            return

        def say_close() -> None:
            doors.clear()
            headers, state = server.config.encoded_headers, server.server_state
            if CLOSE not in headers:
                headers.append(CLOSE)  # the server makes its lines anew from these every second
                state.default_headers = [*state.default_headers, CLOSE]

        def leave(number: int) -> None:
            is_replaced = number == REPLACED
            if self._is_leaving or not self._drain_s:
                self.is_draining = not is_replaced
                say_close()
                server.handle_exit(signal.SIGTERM, None)
                return
            self._is_leaving, self.is_draining = True, not is_replaced
            say_close()
            if is_replaced:
                # The other processes listen on the same socket: who connects from now on is theirs.
                for listener in server.servers:
                    listener.close()
                logger.info("another process takes over; this one ends in %g s", self._drain_s)
            else:
                logger.info("not ready any more; the door closes in %g s", self._drain_s)
            loop.call_later(self._drain_s, server.handle_exit, signal.SIGTERM, None)

        def on_signal(number: int, _frame: FrameType | None) -> None:
            loop.call_soon_threadsafe(leave, number)

        signal.signal(signal.SIGTERM, on_signal)
        signal.signal(REPLACED, on_signal)


def _server() -> uvicorn.Server | None:
    """The server of this process, which has taken the signal; None where it did not, because it runs in a thread."""
    owner = getattr(signal.getsignal(signal.SIGTERM), "__self__", None)
    return owner if isinstance(owner, uvicorn.Server) else None

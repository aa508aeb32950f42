"""How a process of the API leaves: first it says that it is not ready, then it closes its door, then it ends.

Between the two a balancer finds out and sends its requests elsewhere; connections that are kept alive are told to close.
"""

import asyncio
import logging
import signal
from types import FrameType

logger = logging.getLogger(__name__)


class Drain:
    """Delays the server's own answer to SIGTERM. SIGINT, and a second SIGTERM, are not delayed.

    Args:
        drain_s: from the signal to the closed door, seconds; 0: at once.
    """

    def __init__(self, drain_s: float) -> None:
        self._drain_s = drain_s
        self.is_draining = False

    def install(self) -> None:
        """Take SIGTERM over from the server; call from the main thread, inside the running event loop."""
        loop, inherited = asyncio.get_running_loop(), signal.getsignal(signal.SIGTERM)
        if not callable(inherited):
            return

        def on_signal(number: int, frame: FrameType | None) -> None:
            if self.is_draining or not self._drain_s:
                self.is_draining = True
                inherited(number, frame)
                return
            self.is_draining = True
            logger.info("not ready any more; the door closes in %g s", self._drain_s)
            loop.call_soon_threadsafe(loop.call_later, self._drain_s, inherited, number, frame)

        signal.signal(signal.SIGTERM, on_signal)

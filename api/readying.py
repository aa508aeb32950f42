"""Makes a version warm before it may take traffic, so that no route ever names a version which this API cannot load."""

from collections.abc import Callable

from api.model_host import ModelHost
from trajops.deployments.model_ref import ModelRef
from trajops.errors import ModelNotLoadable, TrajOpsError, Unavailable

# How long a promotion or canary waits for its version, seconds; loading goes on after that. With the wait for a locked database
# it stays below what the console waits for an answer.
READY_S = 4.0
RETRY_AFTER_S = 2


class Readying:
    """The check of `Deployments`, over the model host. Blocks its caller: not for the event loop.

    Args:
        host: gives the host; asked at the first use.
    """

    def __init__(self, host: Callable[[], ModelHost]) -> None:
        self._host = host

    def __call__(self, ref: ModelRef) -> None:
        """Return once a version is warm in this process.

        Raises:
            ModelNotLoadable: with the loader's reason.
            Unavailable: if it takes too long, or the registry is away and the cache does not hold the version.
        """
        host = self._host()
        if ref in host.warm:
            return
        try:
            host.ask(ref).result(READY_S)
        except TimeoutError:
            raise Unavailable(
                f"{ref} is not warm after {READY_S:g} s and loading goes on; nothing was changed, try again in a few seconds",
                retry_after_s=RETRY_AFTER_S,
            ) from None
        except Unavailable as error:
            sentence = f"{ref} cannot be loaded now, and nothing was changed: {error.message}"
            raise Unavailable(sentence, retry_after_s=RETRY_AFTER_S) from error
        except Exception as error:
            reason = error.message if isinstance(error, TrajOpsError) else f"{type(error).__name__}: {error}"
            raise ModelNotLoadable(f"{ref} cannot be loaded by this API, and nothing was changed: {reason}") from error

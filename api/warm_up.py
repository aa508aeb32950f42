"""Waits a moment for a version that a client has asked for by number."""

import asyncio
from collections.abc import Callable

from api.model_host import ModelHost
from trajops.deployments.model_ref import ModelRef
from trajops.errors import NoModelReady
from trajops.services.predict import PredictService

# How long a request waits, seconds; loading goes on after that.
WARM_UP_S = 2.0


class WarmUp:
    """Asks the model host for what is not warm.

    Args:
        service: knows what is routed.
        host: gives the host; asked at the first use.
    """

    def __init__(self, service: PredictService, host: Callable[[], ModelHost]) -> None:
        self._service = service
        self._host = host

    async def __call__(self, error: NoModelReady) -> None:
        """Return once the version that `error` names is warm; what is routed is on its way already, and not waited for.

        Raises:
            NoModelReady: the same error, if it takes too long.
            TrajOpsError: why the version cannot be loaded.
        """
        model: ModelRef | None = error.details.get("model")
        if model is None or model in self._service.snapshot.table.models():
            raise error
        loading = asyncio.wrap_future(self._host().ask(model))
        try:
            await asyncio.wait_for(asyncio.shield(loading), WARM_UP_S)
        except TimeoutError:
            raise error from None

"""What type checkers see of the clients: `make check` runs mypy over this; nothing here is run.

An error that is expected is ignored by name, and mypy reports an ignore that nothing needs: so this can fail in both directions.
"""

from collections.abc import Coroutine
from typing import Any, assert_type

from trajops.client import AsyncTrajOpsClient, TrajOpsClient
from trajops.contracts.deployments import ChangeOut
from trajops.contracts.predictions import PredictIn, PredictOut
from trajops.contracts.session import Me


def waited_for(client: TrajOpsClient, body: PredictIn) -> None:
    assert_type(client.predict(body), PredictOut)
    assert_type(client.within(1.0).me(), Me)
    assert_type(client.metrics(), str)
    assert_type(client.promote("d", 3, "a reason", idempotency_key="k"), ChangeOut)
    client.predict(agent_id="a")  # type: ignore[call-arg]
    client.promote("d", "3", "a reason")  # type: ignore[arg-type]
    client.promote("d", 3, "a reason", "k")  # type: ignore[call-arg]
    client.foresee(body)  # type: ignore[attr-defined]


async def awaited(client: AsyncTrajOpsClient, body: PredictIn) -> None:
    assert_type(await client.predict(body), PredictOut)
    coming: Coroutine[Any, Any, Me] = client.within(1.0).me()
    assert_type(await coming, Me)
    assert_type(await client.metrics(), str)
    assert_type(await client.promote("d", 3, "a reason", idempotency_key="k"), ChangeOut)
    await client.predict()  # type: ignore[call-arg]
    client.predict(body).modes  # type: ignore[attr-defined]  # noqa: B018 - not awaited

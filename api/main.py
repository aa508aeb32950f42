"""The prediction API: hot routes for programs, `/v1` for operators."""

import warnings
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, nullcontext
from typing import Any

from fastapi import FastAPI
from pydantic.warnings import UnsupportedFieldAttributeWarning
from starlette.concurrency import run_in_threadpool

import trajops
from api import errors
from api.direct import DOORS
from api.fast_route import FastApi
from api.observed import Observed
from api.routes import (
    alerts,
    answers,
    audit,
    availability,
    batch,
    documentation,
    drift,
    experiments,
    health,
    jobs,
    keys,
    mlflow_scoring,
    oip,
    performance,
    predict,
    predictions,
    releases,
    rollouts,
    runs,
    scenes,
    session,
    status,
    tasks,
    users,
    validations,
)
from api.wiring import Parts
from trajops.settings import Settings

DESCRIPTION = """\
Eight observed positions in, twelve predicted ones with their uncertainty out; and what an operator needs to see and change.

Every route but the health checks, this page and `/v1/token` needs a bearer credential: a token of `/v1/token`, or an API key.
Any valid client may read and predict; changes need the role `operator`, users and API keys the role `admin`. A key may be restricted to
some of the scopes `predict`, `observe`, `read`, `operate`, `admin`. Predictions are limited for each client; `RateLimit` says what is
left.
Errors are RFC 9457 problems with a stable `code`.
`X-Request-ID` is taken over, logged and returned."""

# FastAPI hides it while it makes a route; bodies that are made ready when they first come would say it once more, of FastAPI's own doing.
warnings.filterwarnings("ignore", "The 'alias' attribute", UnsupportedFieldAttributeWarning)

# In the order in which the documentation lists them.
ROUTES = (
    session,
    releases,
    validations,
    runs,
    experiments,
    rollouts,
    predictions,
    scenes,
    drift,
    performance,
    answers,
    audit,
    jobs,
    tasks,
    availability,
    users,
    keys,
    status,
    health,
    documentation,
    alerts,
)


def create_app(settings: Settings | None = None, parts: Parts | None = None, *, on_open: Callable[[], None] = lambda: None) -> FastApi:
    """Build the application; nothing is opened before its lifespan begins.

    Args:
        settings: what can be set from outside. Default: read from the environment.
        parts: what it consists of. Default: the real ones.
        on_open: called on the event loop once everything is open.
    """
    parts = parts or Parts(settings or Settings())

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[dict[str, Any]]:
        await run_in_threadpool(parts.open)
        on_open()
        try:
            async with parts.quota_sync or nullcontext(), parts.track_sync or nullcontext():
                yield {DOORS: app.doors}
        finally:
            await run_in_threadpool(parts.close)

    app = FastApi(
        title="TrajOps",
        version=trajops.__version__,
        description=DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        max_body_size=parts.settings.max_body_bytes,
        generate_unique_id_function=lambda route: route.name,
    )
    app.state.parts = parts
    errors.install(app)
    predict.install(app, parts)
    batch.install(app, parts)
    oip.install(app, parts)
    mlflow_scoring.install(app, parts)
    tasks.install(app, parts)
    for module in ROUTES:
        app.include_router(module.router)
    app.rest = Observed(app.rest, parts.meters)
    return app


def __getattr__(name: str) -> Any:
    """`uvicorn api.main:app` finds the application here; importing the module builds nothing."""
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    app = globals()["app"] = create_app()
    return app

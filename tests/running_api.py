"""An API in this process over a real database and spool, with models that need no registry."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
from anyio.from_thread import BlockingPortal, start_blocking_portal

from api.main import create_app
from api.wiring import Parts
from tests.builders import CLOCK_S, a_history
from tests.record_builders import validation
from trajops.contracts.problems import Problem
from trajops.contracts.validations import CheckOut
from trajops.deployments.model_ref import ModelRef
from trajops.errors import NotFound
from trajops.forecasters.constant_velocity import ConstantVelocity
from trajops.ports import Forecaster
from trajops.records import ModelVersion
from trajops.settings import Settings

REASON = "a reason of some length"
PASSWORD = "correct horse"
MODELS = 5


class MemoryLoader:
    """Loads versions 1 … `MODELS`, or what the test puts in `models`."""

    def __init__(self) -> None:
        self.models: dict[int, Callable[[], Forecaster]] = dict.fromkeys(range(1, MODELS + 1), ConstantVelocity)

    def load(self, ref: ModelRef) -> Forecaster:
        if ref.version not in self.models:
            raise NotFound(f"there is no version {ref}")
        return self.models[ref.version]()

    def size_bytes(self, ref: ModelRef) -> int:
        return 1_000


class Client:
    """Sends requests to an application on the event loop of another thread."""

    def __init__(self, portal: BlockingPortal, client: httpx.AsyncClient) -> None:
        self._portal = portal
        self._client = client

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        return self._portal.call(lambda: self._client.request(method, path, **options))

    def get(self, path: str, **options: Any) -> httpx.Response:
        return self.request("GET", path, **options)

    def post(self, path: str, **options: Any) -> httpx.Response:
        return self.request("POST", path, **options)


class Api:
    """A running API, its parts, and headers for each role."""

    def __init__(self, parts: Parts, client: Client) -> None:
        self.parts = parts
        self.client = client
        self.headers = {role: {"Authorization": f"Bearer {self._key(role)}"} for role in ("viewer", "operator", "admin")}

    def post(self, path: str, body: Any, role: str = "viewer", **headers: str) -> Any:
        content = {"content": body} if isinstance(body, bytes) else {"json": body}
        return self.client.post(path, **content, headers={**self.headers[role], **headers})

    def get(self, path: str, role: str = "viewer", **query: Any) -> Any:
        return self.client.get(path, params=query, headers=self.headers[role])

    def register(self, version: int, *checks: CheckOut, is_validated: bool = True) -> None:
        """What training leaves in the database: the version, and a validation that it has passed unless a check says otherwise."""
        row = ModelVersion("trajectory", version, "constant_velocity", f"run{version}", {"val_ade_m": 0.5}, {}, "0" * 64, datetime.now(UTC))
        with self.parts.unit_of_work() as uow:
            uow.model_versions.put(row)
            if is_validated:
                uow.validations.add(validation(version, 0.0, *checks, at=datetime.now(UTC), validation_id=uuid4().hex), f"# Card {version}")

    def promote(self, version: int) -> dict[str, Any]:
        """Register, stage and promote a version, and wait until it answers."""
        self.register(version)
        staged = self.post("/v1/deployments", {"model_version": version, "reason": REASON}, "operator").json()["deployment"]
        body = {"expected_version": staged["version"], "reason": REASON}
        answer = self.post(f"/v1/deployments/{staged['deployment_id']}/promote", body, "operator")
        assert answer.status_code == 200, answer.text
        self.follow()
        change: dict[str, Any] = answer.json()
        return change

    def follow(self) -> None:
        """Wait until the newest epoch answers."""
        deadline = time.monotonic() + 10
        host = self.parts.host
        while host.epoch != self.parts.route_source.epoch() or host.readiness().missing:
            assert time.monotonic() < deadline, host.readiness()
            host.poll()
            time.sleep(0.001)

    def _key(self, role: Any) -> str:
        secret, _ = self.parts.identity.create_api_key(f"{role} key", role, actor="test", reason=REASON)
        return secret


def a_body(agent_id: str = "a", **fields: Any) -> dict[str, Any]:
    """A valid body of `/predict`: the default agent, that walks along x at 1 m/s."""
    return {"agent_id": agent_id, "scene_id": "s", "history": a_history()[0].tolist(), "observed_at_s": CLOCK_S} | fields


@contextmanager
def running_api(folder: Path, **settings: Any) -> Iterator[Api]:
    """Start an API on its own folder; the model host is polled by its thread and by the test."""
    configured = Settings(**({"var_dir": folder, "environment": "test", "mlflow_url": "http://127.0.0.1:9"} | settings))
    parts = Parts(configured)
    parts.loader = MemoryLoader()
    app = create_app(configured, parts)
    transport = httpx.ASGITransport(app=app, client=("127.0.0.1", 50_000))
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(app.router.lifespan_context(app)),
        portal.wrap_async_context_manager(httpx.AsyncClient(transport=transport, base_url="http://api")) as client,
    ):
        yield Api(parts, Client(portal, client))


def recorded(api: Api, table: str = "predictions") -> list[dict[str, Any]]:
    """What is in the spool, closed or open."""
    return [json.loads(line) for path in sorted(api.parts.spool.folder.glob(f"{table}.*")) for line in path.read_text().splitlines()]


def problem(answer: Any, status: int, code: str) -> Problem:
    """The problem in an answer, checked against what its status line says."""
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    found = Problem.model_validate_json(answer.content)
    assert (answer.status_code, found.status, found.code) == (status, status, code)
    assert found.type == f"/docs/errors#{code}"
    assert found.request_id == answer.headers["x-request-id"]
    return found

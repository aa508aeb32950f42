"""A typed, synchronous client of the TrajOps API: one method for every public route.

Reads are tried again when the connection breaks or the service is briefly away (502, 503, 504); changes carry an
Idempotency-Key, so that they too may be tried again without being done twice. Predictions are never repeated by
themselves: each call is one prediction in the telemetry.
"""

import random
import time
import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import quote

import requests
from pydantic import BaseModel, ValidationError

from trajops.contracts.audit import AuditPage
from trajops.contracts.deployments import CanaryIn, ChangeOut, DeploymentsOut, RollbackIn, RouteHistoryOut, StageIn, TransitionIn
from trajops.contracts.drift import DriftOut
from trajops.contracts.jobs import JobRunOut, JobsOut
from trajops.contracts.keys import KeyIn, KeyMadeOut, KeyOut, KeysOut, RevokeKeyIn, RotateKeyIn
from trajops.contracts.models import ModelsOut
from trajops.contracts.performance import PerformanceOut
from trajops.contracts.predictions import (
    AgentsOut,
    BatchColumnsIn,
    BatchColumnsOut,
    BatchPredictIn,
    BatchPredictOut,
    ObservationIn,
    ObservationsIn,
    ObservationsOut,
    PredictIn,
    PredictionOut,
    PredictOut,
    RecentPredictions,
)
from trajops.contracts.problems import FieldProblem, Problem
from trajops.contracts.session import Me, TokenOut
from trajops.contracts.status import Liveness, Readiness, StatusOut

Answer = TypeVar("Answer", bound=BaseModel)
# Longer than the API waits for what may hold it up, so that its own words arrive and not a time-out.
READ_S = 15.0
RETRIED_STATUSES = frozenset({502, 503, 504})


class ApiProblem(Exception):
    """The API answered, and the answer is a problem.

    Attributes:
        status: HTTP status.
        code: stable code to program against.
        detail: what is wrong, where, and how to mend it.
        errors: one entry a field that could not be used.
        request_id: to find the call in the API's logs.
    """

    def __init__(self, status: int, code: str, detail: str, errors: Sequence[FieldProblem] = (), request_id: str | None = None) -> None:
        super().__init__(f"{detail} ({code}, {status})")
        self.status = status
        self.code = code
        self.detail = detail
        self.errors = tuple(errors)
        self.request_id = request_id


class ApiUnavailable(Exception):
    """The API cannot be reached, or does not answer in time."""


class TrajOpsClient:
    """Talks to one API with one token. Not for use by several threads at once.

    Args:
        base_url: address of the API, for example `http://127.0.0.1:8000`.
        token: bearer token; None before sign-in.
        connect_s: longest wait for a connection, seconds.
        read_s: longest wait for an answer, seconds.
        attempts: tries of a safe or idempotent call before ApiUnavailable.
    """

    def __init__(
        self, base_url: str, token: str | None = None, *, connect_s: float = 2.0, read_s: float = READ_S, attempts: int = 3
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self._timeout_s = (connect_s, read_s)
        self._attempts = attempts
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.headers["Accept"] = "application/json"
        if token is not None:
            self._session.headers["Authorization"] = f"Bearer {token}"

    def __enter__(self) -> Self:
        """Use the client as a context that closes its connections."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Close the connections."""
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    # Predicting

    def predict(self, body: PredictIn) -> PredictOut:
        """Forecast one agent; set `model_version` to ask for one version instead of the routed one."""
        return self._post("/predict", PredictOut, body)

    def batch_predict(self, items: Sequence[PredictIn]) -> BatchPredictOut:
        """Forecast many agents; the answers keep the order of the items."""
        return self._post("/batch_predict", BatchPredictOut, BatchPredictIn(items=list(items)))

    def batch_columns(self, body: BatchColumnsIn) -> BatchColumnsOut:
        """The same with one list a field, for a third of the cost; without `agent_id` nothing is recorded."""
        return self._post("/batch_predict", BatchColumnsOut, body)

    def observe(self, observations: Sequence[ObservationIn], source: str = "live") -> ObservationsOut:
        """Hand over new positions, in any order."""
        body = ObservationsIn.model_validate({"observations": [o.model_dump() for o in observations], "source": source})
        return self._post("/observations", ObservationsOut, body)

    # Signing in

    def sign_in(self, username: str, password: str) -> TokenOut:
        """Exchange name and password for a bearer token; this client does not adopt it."""
        return self._post("/v1/token", TokenOut, {"username": username, "password": password})

    def me(self) -> Me:
        """Who the token belongs to, and in which role."""
        return self._get("/v1/me", Me)

    # Reading

    def models(self) -> ModelsOut:
        """All versions of the registered model, newest first."""
        return self._get("/v1/models", ModelsOut)

    def deployments(self) -> DeploymentsOut:
        """All deployments, newest first."""
        return self._get("/v1/deployments", DeploymentsOut)

    def routes(self) -> RouteHistoryOut:
        """Who answers now, and what was live when."""
        return self._get("/v1/routes", RouteHistoryOut)

    def audit(self, limit: int = 50) -> AuditPage:
        """Latest changes, newest first."""
        return self._get("/v1/audit", AuditPage, limit=limit)

    def performance(self, since: datetime | None = None, until: datetime | None = None) -> PerformanceOut:
        """Live accuracy of a time range; aware times."""
        return self._get("/v1/performance", PerformanceOut, since=since and since.isoformat(), until=until and until.isoformat())

    def predictions(self, limit: int = 50, scene_id: str | None = None, agent_id: str | None = None) -> RecentPredictions:
        """Newest predictions with the truth that has arrived since."""
        return self._get("/v1/predictions", RecentPredictions, limit=limit, scene_id=scene_id, agent_id=agent_id)

    def prediction(self, prediction_id: str) -> PredictionOut:
        """One prediction with the truth that has arrived since."""
        return self._get(f"/v1/predictions/{quote(prediction_id, safe='')}", PredictionOut)

    def agents(self, scene_id: str | None = None) -> AgentsOut:
        """Agents in the track buffer of the process that answers."""
        return self._get("/v1/agents", AgentsOut, scene_id=scene_id)

    def drift(self) -> DriftOut:
        """The newest drift check in full, and the verdicts before it."""
        return self._get("/v1/drift", DriftOut)

    def drift_report(self, check_id: str) -> str:
        """The full report of one drift check, as an HTML document."""
        return self._send("GET", f"/v1/drift/{quote(check_id, safe='')}/report", accept="text/html").text

    def jobs(self) -> JobsOut:
        """What the workers do in the background, and how it went."""
        return self._get("/v1/jobs", JobsOut)

    def status(self) -> StatusOut:
        """The whole product in one glance."""
        return self._get("/v1/status", StatusOut)

    def health(self) -> Liveness:
        """Whether the API process lives."""
        return self._get("/healthz", Liveness)

    def ready(self) -> Readiness:
        """Whether every routed model is warm; a `not_ready` answer (503) is returned, not raised."""
        response = self._send("GET", "/readyz", passes=frozenset({503}), retries=False)
        return self._parse(Readiness, response)

    def metrics(self) -> str:
        """Counters in the Prometheus text format."""
        return self._send("GET", "/metrics", accept="text/plain").text

    # Changing; an idempotency key is made where the caller gives none

    def run_job(self, job: str, *, idempotency_key: str | None = None) -> JobRunOut:
        """Run one job now."""
        return self._change(f"/v1/jobs/{quote(job, safe='')}/run", JobRunOut, None, idempotency_key)

    def stage(self, model_version: int, reason: str, *, idempotency_key: str | None = None) -> ChangeOut:
        """Make a registered version ready to take traffic."""
        return self._change("/v1/deployments", ChangeOut, StageIn(model_version=model_version, reason=reason), idempotency_key)

    def start_canary(
        self, deployment_id: str, expected_version: int, coverage: float, reason: str, *, idempotency_key: str | None = None
    ) -> ChangeOut:
        """Compare a staged deployment with the champion on `coverage` (0–1] of the agents."""
        body = CanaryIn(expected_version=expected_version, coverage=coverage, reason=reason)
        return self._change(self._deployment(deployment_id, "canary"), ChangeOut, body, idempotency_key)

    def stop_canary(self, deployment_id: str, expected_version: int, reason: str, *, idempotency_key: str | None = None) -> ChangeOut:
        """End the comparison; the champion answers everybody."""
        body = TransitionIn(expected_version=expected_version, reason=reason)
        return self._change(self._deployment(deployment_id, "canary/stop"), ChangeOut, body, idempotency_key)

    def promote(self, deployment_id: str, expected_version: int, reason: str, *, idempotency_key: str | None = None) -> ChangeOut:
        """Make a deployment the champion; the champion so far is kept warm for a rollback."""
        body = TransitionIn(expected_version=expected_version, reason=reason)
        return self._change(self._deployment(deployment_id, "promote"), ChangeOut, body, idempotency_key)

    def rollback(self, expected_epoch: int, reason: str, *, idempotency_key: str | None = None) -> ChangeOut:
        """Put the previous champion back."""
        body = RollbackIn(expected_epoch=expected_epoch, reason=reason)
        return self._change("/v1/routes/rollback", ChangeOut, body, idempotency_key)

    # API keys, for admins. A secret is in one answer only, so that making and rotating are never tried again by themselves

    def keys(self) -> KeysOut:
        """All API keys, newest first, also ended ones."""
        return self._get("/v1/keys", KeysOut)

    def create_key(self, body: KeyIn) -> KeyMadeOut:
        """Make a key; after ApiUnavailable look into `keys()`, and revoke the one whose secret did not arrive."""
        return self._post("/v1/keys", KeyMadeOut, body)

    def rotate_key(self, key_id: str, overlap_s: float, reason: str) -> KeyMadeOut:
        """Replace a key; the old one stays valid for `overlap_s` seconds."""
        body = RotateKeyIn(overlap_s=overlap_s, reason=reason)
        return self._post(f"/v1/keys/{quote(key_id, safe='')}/rotate", KeyMadeOut, body)

    def revoke_key(self, key_id: str, reason: str, *, idempotency_key: str | None = None) -> KeyOut:
        """End a key at once."""
        return self._change(f"/v1/keys/{quote(key_id, safe='')}/revoke", KeyOut, RevokeKeyIn(reason=reason), idempotency_key)

    @staticmethod
    def _deployment(deployment_id: str, action: str) -> str:
        return f"/v1/deployments/{quote(deployment_id, safe='')}/{action}"

    def _get(self, path: str, answer: type[Answer], **query: object) -> Answer:
        given = {key: value for key, value in query.items() if value is not None}
        return self._parse(answer, self._send("GET", path, query=given))

    def _post(self, path: str, answer: type[Answer], body: BaseModel | Mapping[str, Any]) -> Answer:
        return self._parse(answer, self._send("POST", path, body=body, retries=False))

    def _change(self, path: str, answer: type[Answer], body: BaseModel | None, idempotency_key: str | None) -> Answer:
        key = idempotency_key or uuid.uuid4().hex
        return self._parse(answer, self._send("POST", path, body=body, headers={"Idempotency-Key": key}))

    def _send(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: BaseModel | Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        accept: str = "application/json",
        passes: frozenset[int] = frozenset(),
        retries: bool = True,
    ) -> requests.Response:
        content = body.model_dump(mode="json", exclude_unset=True) if isinstance(body, BaseModel) else body
        attempts = self._attempts if retries else 1
        for attempt in range(1, attempts + 1):
            try:
                response = self._session.request(
                    method,
                    self.base_url + path,
                    params=query,
                    json=content,
                    headers={"Accept": accept, **(headers or {})},
                    timeout=self._timeout_s,
                    allow_redirects=False,
                )
            except requests.RequestException as error:
                if attempt == attempts:
                    raise ApiUnavailable(
                        f"the API at {self.base_url} does not answer ({_cause(error)}); start it, or set TRAJOPS_API_URL"
                    ) from error
            else:
                if response.status_code in RETRIED_STATUSES and response.status_code not in passes and attempt < attempts:
                    response.close()
                elif response.ok or response.status_code in passes:
                    return response
                else:
                    raise _problem(response)
            time.sleep(random.uniform(0.5, 1.0) * 0.1 * 2 ** (attempt - 1))  # noqa: S311 - jitter, not a secret
        raise AssertionError("a loop of attempts ends in a return or an error")

    @staticmethod
    def _parse(answer: type[Answer], response: requests.Response) -> Answer:
        try:
            return answer.model_validate_json(response.content)
        except ValidationError as error:
            raise ApiProblem(
                response.status_code,
                "unexpected_answer",
                f"{response.request.method} {response.request.path_url} answered with something other than {answer.__name__}; "
                "console and API must be of the same release",
            ) from error


def _cause(error: requests.RequestException) -> str:
    if isinstance(error, requests.Timeout):
        return "timed out"
    return "connection refused or broken" if isinstance(error, requests.ConnectionError) else type(error).__name__


def _problem(response: requests.Response) -> ApiProblem:
    """The problem in an answer; a proxy's page or an empty body becomes one too."""
    try:
        problem = Problem.model_validate_json(response.content)
    except ValidationError:
        return ApiProblem(response.status_code, "http_error", f"the API answered {response.status_code} {response.reason}")
    return ApiProblem(problem.status, problem.code, problem.detail, problem.errors, problem.request_id)

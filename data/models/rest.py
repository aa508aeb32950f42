"""MLflow's REST API by httpx: answers as JSON, files, and MLflow's errors as ours."""

import threading
from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from trajops.errors import Conflict, InvalidInput, NotFound, RegistryUnavailable

MISSING = frozenset({"RESOURCE_DOES_NOT_EXIST", "NOT_FOUND"})


class MlflowRest:
    """One MLflow server. Connections are kept and shared by threads.

    Args:
        url: of the tracking server; credentials may stand in it (`http://user:password@host`).
        timeout_s: longest silence that is borne; a connection is given one second.
    """

    def __init__(self, url: str, *, timeout_s: float = 10.0) -> None:
        self._url = url.rstrip("/")
        self._timeout = httpx.Timeout(timeout_s, connect=min(1.0, timeout_s))
        self._client: httpx.Client | None = None
        self._lock = threading.Lock()

    def json(self, method: str, path: str, **request: Any) -> dict[str, Any]:
        """The answer to one call.

        Raises:
            NotFound, Conflict, InvalidInput: what MLflow refused, in our words.
            RegistryUnavailable: if the server does not answer, or not like MLflow.
        """
        try:
            response = self._http().request(method, path, **request)
        except httpx.HTTPError as error:
            raise self._unavailable(error) from error
        if response.status_code != HTTPStatus.OK:
            raise self._problem(response)
        try:
            answer: dict[str, Any] = response.json()
        except ValueError as error:
            raise RegistryUnavailable(f"{self.shown_url} does not answer like MLflow; check TRAJOPS_MLFLOW_URL") from error
        return answer

    def save(self, path: str, file: Path, params: Mapping[str, str] | None = None) -> None:
        """Stream one answer into a file; the same errors as `json`."""
        try:
            with self._http().stream("GET", path, params=dict(params or {})) as response:
                if response.status_code != HTTPStatus.OK:
                    response.read()
                    raise self._problem(response)
                with file.open("wb") as target:
                    for chunk in response.iter_bytes():
                        target.write(chunk)
        except httpx.HTTPError as error:
            raise self._unavailable(error) from error

    def close(self) -> None:
        """Give the connections back; the next call opens new ones."""
        with self._lock:
            if self._client is not None:
                self._client.close()
                self._client = None

    @property
    def shown_url(self) -> str:
        """The address without its credentials."""
        parts = urlsplit(self._url)
        return parts._replace(netloc=parts.netloc.rsplit("@", 1)[-1]).geturl()

    def _http(self) -> httpx.Client:
        with self._lock:
            if self._client is None:
                # Proxies named by the environment are for the outside world; the registry is ours.
                self._client = httpx.Client(base_url=self._url, timeout=self._timeout, trust_env=False)
            return self._client

    def _unavailable(self, error: Exception) -> RegistryUnavailable:
        reason = f"{type(error).__name__}: {error}".rstrip(": ")
        return RegistryUnavailable(
            f"the model registry at {self.shown_url} does not answer ({reason}); start it, or point TRAJOPS_MLFLOW_URL at it"
        )

    def _problem(self, response: httpx.Response) -> Exception:
        try:
            body = response.json()
            code, message = str(body.get("error_code", "")), str(body.get("message", ""))
        except (ValueError, AttributeError):
            code, message = "", response.text[:200]
        if code in MISSING or response.status_code == HTTPStatus.NOT_FOUND:
            return NotFound(f"the model registry has no such thing: {message}")
        if code == "RESOURCE_ALREADY_EXISTS":
            return Conflict(message)
        if code == "INVALID_PARAMETER_VALUE":
            return InvalidInput(f"the model registry refused the request: {message}")
        return RegistryUnavailable(
            f"the model registry at {self.shown_url} answered {response.status_code}: {message or 'no reason given'}; see its log"
        )

"""The public routes of the API, each described once, for `TrajOpsClient` and `AsyncTrajOpsClient` alike.

The doors for the clients of other protocols (`/v2`, `/invocations`) are not here: they bring their own. Where the caller of a
change gives no idempotency key, one is made.
"""

import copy
from abc import ABC, abstractmethod
from dataclasses import replace
from pathlib import Path
from typing import Self

from trajops.client.exchange import Options
from trajops.client.retries import Policy, RetryPredictions
from trajops.client.routes.accounts import AccountRoutes
from trajops.client.routes.alerts import AlertRoutes
from trajops.client.routes.audit import AuditRoutes
from trajops.client.routes.experiments import ExperimentRoutes
from trajops.client.routes.monitoring import MonitoringRoutes
from trajops.client.routes.predictions import PredictionRoutes
from trajops.client.routes.releases import ReleaseRoutes
from trajops.client.routes.rollouts import RolloutRoutes
from trajops.client.routes.services import ServiceRoutes
from trajops.client.routes.tasks import TaskRoutes
from trajops.client.routes.validations import ValidationRoutes

# Longer than the API waits for what may hold it up, so that its own words arrive and not a time-out.
READ_S = 15.0
DEADLINE_S = 30.0


class Routes(
    PredictionRoutes,
    AccountRoutes,
    ReleaseRoutes,
    ValidationRoutes,
    ExperimentRoutes,
    RolloutRoutes,
    MonitoringRoutes,
    ServiceRoutes,
    AlertRoutes,
    AuditRoutes,
    TaskRoutes,
    ABC,
):
    """One method for every public route, and the options that both clients have.

    Args:
        base_url: address of the API, for example `http://127.0.0.1:8000`.
        token: bearer token or API key; None before sign-in.
        connect_s: longest wait for a connection, seconds.
        read_s: longest wait for the next part of an answer, seconds.
        deadline_s: of one call, all tries and the pauses between them together, seconds.
        attempts: tries of one call.
        retry_predictions: when a prediction is tried again: "refused", where it is certain that nothing was predicted; "lost", also
            where the answer was lost, which may record it twice; "never".
        longest_wait_s: the longest pause between two tries; an API that asks for a longer one (Retry-After) is not asked again.
        connections: async: most connections at once; sync: most that are kept open between calls.
        ca_file: certificates (PEM) that vouch for an https API, in place of the public ones.

    Raises:
        ValueError: if an option can never work.
    """

    def __init__(
        self,
        base_url: str,
        token: str | None = None,
        *,
        connect_s: float = 2.0,
        read_s: float = READ_S,
        deadline_s: float = DEADLINE_S,
        attempts: int = 3,
        retry_predictions: RetryPredictions = "refused",
        longest_wait_s: float = 10.0,
        connections: int = 32,
        ca_file: Path | str | None = None,
    ) -> None:
        policy = Policy(attempts, longest_wait_s=longest_wait_s, predictions=retry_predictions)
        trusted = None if ca_file is None else str(ca_file)
        self._options = Options(base_url.rstrip("/"), token, connect_s, read_s, deadline_s, policy, connections, trusted)
        self._open(self._options)

    @abstractmethod
    def _open(self, options: Options) -> None:
        """Prepare the connections."""

    @property
    def base_url(self) -> str:
        """Address of the API, without a trailing slash."""
        return self._options.base_url

    def within(self, seconds: float) -> Self:
        """The same client with another deadline for its calls, for example `client.within(1.0).predict(body)`; connections are shared."""
        other = copy.copy(self)
        other._options = replace(self._options, deadline_s=seconds, read_s=seconds)  # noqa: SLF001 - of its own class
        return other

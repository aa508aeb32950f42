"""Alertmanager's API, version 2: its alerts, and ours posted to it."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import httpx

from trajops.errors import InvalidInput, Unavailable

MOST_LABEL = 2000


class Alertmanager:
    """One Alertmanager; calls wait for its answer. Safe to use from several threads.

    Args:
        url: its address.
        timeout_s: longest wait for one answer.
    """

    def __init__(self, url: str, timeout_s: float) -> None:
        self.url = url.rstrip("/")
        self._timeout_s = timeout_s

    def alerts(self) -> list[dict[str, Any]]:
        """Its active alerts, silenced ones too, as it describes them.

        Raises:
            Unavailable: if it does not answer, or with something else.
        """
        answer = self._ask("GET", params={"active": "true", "inhibited": "true", "silenced": "true", "unprocessed": "false"})
        try:
            found = answer.json()
        except ValueError as error:
            raise Unavailable(f"{self.url} does not answer as an Alertmanager does") from error
        if not isinstance(found, list) or not all(isinstance(one, dict) and "fingerprint" in one for one in found):
            raise Unavailable(f"{self.url} does not answer as an Alertmanager does")
        return found

    def post(self, alerts: Sequence[Mapping[str, Any]]) -> None:
        """Hand alerts over, as `posted` writes them; the same alert again refreshes it.

        Raises:
            InvalidInput: if it refuses them.
            Unavailable: if it does not answer.
        """
        self._ask("POST", json=list(alerts))

    def _ask(self, method: str, **what: Any) -> httpx.Response:
        try:
            answer = httpx.request(method, f"{self.url}/api/v2/alerts", timeout=self._timeout_s, trust_env=False, **what)
        except httpx.HTTPError as error:
            raise Unavailable(f"the Alertmanager at {self.url} does not answer ({str(error) or type(error).__name__})") from error
        if answer.is_success:
            return answer
        said = f"the Alertmanager at {self.url} answered {answer.status_code}: {answer.text[:200].strip()}"
        if answer.is_client_error and answer.status_code != 429:
            raise InvalidInput(said)
        raise Unavailable(said)


def posted(
    labels: Mapping[str, str], annotations: Mapping[str, str], *, starts_at: datetime, ends_at: datetime, link: str
) -> dict[str, Any]:
    """One alert as Alertmanager takes it; empty labels are none to it."""
    return {
        "labels": {name: value[:MOST_LABEL] for name, value in labels.items() if value},
        "annotations": dict(annotations),
        # An alert cannot end before it starts, not even where it did within the same microsecond.
        "startsAt": min(starts_at, ends_at - timedelta(microseconds=1)).isoformat(),
        "endsAt": ends_at.isoformat(),
        "generatorURL": link,
    }

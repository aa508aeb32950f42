"""Who calls: bearer tokens and API keys, checked once and remembered for a short while."""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import NamedTuple

from starlette.concurrency import run_in_threadpool

from api.rate_limits import Admitted, Limiter
from trajops.clients import Client
from trajops.errors import Unauthenticated, Unavailable
from trajops.rate_limits import Limit

# How soon the database is asked again while it is away.
OUTAGE_KEEP_S = 5.0


class _Known(NamedTuple):
    client: Admitted
    until_s: float


class Gate:
    """Turns an Authorization header into a client, with a bounded memory of the headers it has accepted.

    A revoked key or a disabled user is let in for at most `keep_s` longer; an expired credential not at all. While the database
    or an external issuer is away, credentials that were accepted before stay good: an outage there must not stop predictions.

    Args:
        authenticate: checks one credential; may block.
        keep_s: longest time that a check is remembered, seconds.
        capacity: most credentials remembered; the oldest check goes first.
        limiter: gives each client the bucket that it takes its predictions from. Default: nobody is limited.

    Attributes:
        hits: credentials that were remembered.
        misses: credentials that had to be checked.
    """

    def __init__(
        self, authenticate: Callable[[str], Client], *, keep_s: float = 60.0, capacity: int = 10_000, limiter: Limiter | None = None
    ) -> None:
        self._authenticate = authenticate
        self._limiter = limiter or Limiter(Limit(0, 1))
        self._keep_s = keep_s
        self._capacity = capacity
        self._known: dict[bytes, _Known] = {}
        self.hits = self.misses = 0

    def __len__(self) -> int:
        return len(self._known)

    def known(self, authorization: bytes | None) -> Admitted | None:
        """The client behind a header that was accepted lately; None: ask `admit`."""
        found = self._known.get(authorization) if authorization is not None else None
        if found is None or time.monotonic() >= found.until_s:
            return None
        self.hits += 1
        return found.client

    async def admit(self, authorization: bytes | None) -> Admitted:
        """The client behind a header.

        Raises:
            Unauthenticated: if there is no bearer credential, or it is wrong, expired or revoked.
            Unavailable: if the database is needed and away.
        """
        known = self.known(authorization)
        if known is not None:
            return known
        credential = _credential(authorization)
        self.misses += 1
        try:
            client = self._limiter.admitted(await run_in_threadpool(self._authenticate, credential))
        except Unavailable as error:
            client = self._known_before(authorization, error)
            assert authorization is not None
            self._remember(authorization, client, OUTAGE_KEEP_S)
            return client
        except Unauthenticated as error:
            raise Unauthenticated(error.message, **error.details, is_given=True) from error
        assert authorization is not None, "a credential came from it"
        self._remember(authorization, client, self._keep_s)
        return client

    def forget(self, key_hash: str) -> None:
        """Check the key with that SHA-256 again the next time that it is used."""
        for authorization, known in list(self._known.items()):
            if known.client.key_hash == key_hash:
                self._known.pop(authorization, None)

    def forget_client(self, client_id: str) -> None:
        """Check the credentials of a client again the next time that they are used."""
        for authorization, known in list(self._known.items()):
            if known.client.client_id == client_id:
                self._known.pop(authorization, None)

    def _known_before(self, authorization: bytes | None, error: Unavailable) -> Admitted:
        """The client of a check that is too old to be trusted while it can be repeated."""
        found = self._known.get(authorization) if authorization is not None else None
        if found is None or (found.client.expires_at is not None and found.client.expires_at <= datetime.now(UTC)):
            raise Unavailable(f"a new credential cannot be checked: {error.message}", **error.details) from error
        return found.client

    def _remember(self, authorization: bytes, client: Admitted, keep_s: float) -> None:
        if client.expires_at is not None:
            keep_s = min(keep_s, (client.expires_at - datetime.now(UTC)).total_seconds())
        self._known.pop(authorization, None)
        while len(self._known) >= self._capacity:
            del self._known[next(iter(self._known))]
        self._known[authorization] = _Known(client, time.monotonic() + keep_s)


def _credential(authorization: bytes | None) -> str:
    if authorization is None:
        raise Unauthenticated(
            "this needs a credential: send the header 'Authorization: Bearer TOKEN' with a token of /v1/token or an API key"
        )
    scheme, _, credential = authorization.decode("latin-1").partition(" ")
    credential = credential.strip()
    if scheme.lower() != "bearer" or not credential:
        raise Unauthenticated("the Authorization header must read 'Bearer TOKEN', with a token of /v1/token or an API key", is_given=True)
    return credential

"""The public keys of an external issuer (JWKS, RFC 7517): fetched when they are needed, kept when the issuer is away."""

import logging
import time
from collections.abc import Callable, Mapping
from threading import Lock
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from trajops.errors import Unauthenticated, Unavailable

REFRESH_S = 300.0  # a key that the issuer has withdrawn is honoured no longer than this, while the issuer can be asked
RETRY_S = 5.0  # unknown key ids, which anybody can invent, ask the issuer no more often
TIMEOUT_S = 3.0
MAX_BYTES = 1_000_000
MIN_KEY_BITS = 2048

logger = logging.getLogger(__name__)


class Jwks:
    """RSA keys by key id. For use by several threads.

    Args:
        url: where the issuer publishes its keys.
        fetch: reads the document. Default: over HTTP.
        clock_s: monotonic seconds.
    """

    def __init__(
        self, url: str, fetch: Callable[[str], Mapping[str, Any]] | None = None, clock_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._url = url
        self._fetch = fetch or _over_http
        self._clock_s = clock_s
        self._keys: dict[str, RSAPublicKey] = {}
        self._fetched_s = self._tried_s = float("-inf")
        self._failure: str | None = None
        self._lock = Lock()

    def key(self, key_id: str) -> RSAPublicKey:
        """The key of that id; one that is not known asks the issuer.

        Raises:
            Unauthenticated: if the issuer has no such key.
            Unavailable: if the issuer cannot be asked, and the key was not known before.
        """
        self._look(is_known=key_id in self._keys)
        found = self._keys.get(key_id)
        if found is not None:
            return found
        if self._failure is not None:
            raise self._away(self._failure)
        raise Unauthenticated("the token was signed with a key that its issuer does not publish; get a new token there")

    def only_key(self) -> RSAPublicKey:
        """The key of an issuer that publishes just one, whose tokens need not name it (OpenID Connect Core 1.0, section 10.1).

        Raises:
            Unauthenticated: if the issuer has several keys, or none.
            Unavailable: if the issuer cannot be asked, and no key was known before.
        """
        self._look(is_known=bool(self._keys))
        known = list(self._keys.values())
        if len(known) == 1:
            return known[0]
        if not known and self._failure is not None:
            raise self._away(self._failure)
        raise Unauthenticated("the token does not name the key that signed it, and its issuer has not just one; get one with a `kid`")

    def _look(self, *, is_known: bool) -> None:
        """Ask the issuer for what is not known, or was read too long ago."""
        if not is_known:
            with self._lock:
                self._refresh()
        elif self._clock_s() - self._fetched_s > REFRESH_S and self._lock.acquire(blocking=False):
            # One thread asks; the others go on with what is known.
            try:
                self._refresh()
            finally:
                self._lock.release()

    @staticmethod
    def _away(failure: str) -> Unavailable:
        return Unavailable(f"the keys of the token's issuer cannot be read ({failure}); try again", retry_after_s=int(RETRY_S))

    def _refresh(self) -> None:
        now_s = self._clock_s()
        if now_s - self._tried_s < RETRY_S:
            return
        self._tried_s = now_s
        try:
            self._keys = _usable(self._fetch(self._url))
        except Exception as error:  # noqa: BLE001 - whatever the issuer answers, the known keys stay
            if self._failure is None:
                logger.warning("%s cannot be read, %d known keys stay: %s", self._url, len(self._keys), error)
            self._failure = f"{type(error).__name__}: {error}"
            return
        if self._failure is not None:
            logger.info("%s is read again: %d keys", self._url, len(self._keys))
        self._fetched_s, self._failure = now_s, None


def _usable(document: Mapping[str, Any]) -> dict[str, RSAPublicKey]:
    """The keys that can sign with RS256, by id; others are left out."""
    keys = {}
    for entry in document["keys"]:
        is_fit = entry.get("kty") == "RSA" and entry.get("use", "sig") == "sig" and entry.get("alg", "RS256") == "RS256"
        if is_fit and isinstance(entry.get("kid"), str):
            key = jwt.PyJWK(entry, algorithm="RS256").key
            if isinstance(key, RSAPublicKey) and key.key_size >= MIN_KEY_BITS:
                keys[entry["kid"]] = key
    return keys


def _over_http(url: str) -> Mapping[str, Any]:
    import httpx  # noqa: PLC0415 - only who has an external issuer needs it

    answer = httpx.get(url, timeout=TIMEOUT_S)
    answer.raise_for_status()
    if len(answer.content) > MAX_BYTES:
        raise ValueError(f"the document has {len(answer.content)} bytes")
    document: Mapping[str, Any] = answer.json()
    return document

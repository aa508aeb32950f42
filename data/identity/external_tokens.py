"""Tokens of an external issuer: JWT signed with RS256, judged by the keys that it publishes."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Protocol

import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from data.identity.jwks import Jwks
from trajops.clients import ROLES
from trajops.clock import SystemClock, now, utc
from trajops.contracts.session import Role
from trajops.errors import EnvironmentProblem, Forbidden, Unauthenticated
from trajops.ports import Clock
from trajops.records import TokenClaims
from trajops.settings import Settings

_ALGORITHM = "RS256"  # the only one: what a token says of itself decides nothing
MAX_SUBJECT = 120


class PublicKeys(Protocol):
    """Keys of the issuer by id, for example `Jwks`."""

    def key(self, key_id: str) -> RSAPublicKey:
        """The key of that id; Unauthenticated or Unavailable if there is none."""
        ...

    def only_key(self) -> RSAPublicKey:
        """The key of an issuer that has just one; Unauthenticated or Unavailable if it has not."""
        ...


class ExternalTokens:
    """Implements `trajops.ports.TokenVerifier`.

    Args:
        keys: the issuer's keys.
        issuer: what `iss` must be.
        audience: what `aud` must contain.
        role_claim: where the token names a role or a list of them, of which the highest counts; dots lead into objects.
        leeway_s: how far the issuer's clock may be off, seconds.
        clock: the present. Default: that of this machine.
    """

    def __init__(
        self, keys: PublicKeys, *, issuer: str, audience: str, role_claim: str = "role", leeway_s: float = 30.0, clock: Clock | None = None
    ) -> None:
        self._keys = keys
        self._issuer, self._audience, self._role_path = issuer, audience, role_claim.split(".")
        self._leeway = timedelta(seconds=leeway_s)
        self._clock: Clock = clock or SystemClock()

    def recognises(self, token: str) -> bool:
        """Whether the token claims to be signed the way that the issuer signs; ours are not."""
        try:
            return jwt.get_unverified_header(token).get("alg") == _ALGORITHM
        except jwt.InvalidTokenError:
            return False

    def verify(self, token: str) -> TokenClaims:
        """What the token says; its end includes the leeway.

        Raises:
            Unauthenticated: if signature, issuer, audience or claims are wrong, it has expired, or is not valid yet.
            Forbidden: if it names no role.
            Unavailable: if it is signed with an unknown key and the issuer cannot be asked.
        """
        try:
            key_id = jwt.get_unverified_header(token).get("kid")
            if key_id is not None and not isinstance(key_id, str):
                raise Unauthenticated("the token's `kid` is no text; get another token")
            claims = jwt.decode(
                token,
                self._keys.only_key() if key_id is None else self._keys.key(key_id),
                algorithms=[_ALGORITHM],
                audience=self._audience,
                issuer=self._issuer,
                # The times are compared with the injected clock below.
                options={"require": ["exp", "sub", "aud", "iss"], "verify_exp": False, "verify_iat": False, "verify_nbf": False},
            )
            expires_at = _time(claims["exp"]) + self._leeway
            begins_at = [_time(claims[name]) for name in ("iat", "nbf") if name in claims]
        except (jwt.InvalidTokenError, ValueError, TypeError, OverflowError) as error:
            raise Unauthenticated(f"the token is not valid ({error}); get a new one from {self._issuer}") from error
        present = now(self._clock)
        if present >= expires_at:
            raise Unauthenticated(f"the token has expired; get a new one from {self._issuer}")
        if any(begin - present > self._leeway for begin in begins_at):
            raise Unauthenticated("the token is not valid yet; set the clocks of the machines alike, or wait")
        subject = claims["sub"]
        if not 1 <= len(subject) <= MAX_SUBJECT or not subject.isprintable():
            raise Unauthenticated(f"the token's subject cannot be used; it has 1 to {MAX_SUBJECT} printable characters")
        return TokenClaims(subject, self._role(claims), begins_at[0] if begins_at else present, expires_at)

    def _role(self, claims: Mapping[str, Any]) -> Role:
        value: Any = claims
        for name in self._role_path:
            value = value.get(name) if isinstance(value, Mapping) else None
        named = value if isinstance(value, list) else [value]
        role = next((role for role in reversed(ROLES) if role in named), None)
        if role is None:
            raise Forbidden(
                f"the token gives no role of {', '.join(ROLES)} in its claim {'.'.join(self._role_path)}; ask who runs {self._issuer}"
            )
        return role


def external_tokens(settings: Settings) -> ExternalTokens | None:
    """The judge of the tokens of the issuer that the settings name; None if they name none.

    Raises:
        EnvironmentProblem: if they do not say where its keys are.
    """
    if settings.issuer is None:
        return None
    if settings.issuer_jwks_url is None:
        raise EnvironmentProblem("TRAJOPS_ISSUER is set: set TRAJOPS_ISSUER_JWKS_URL too, to where that issuer publishes its keys")
    return ExternalTokens(
        Jwks(settings.issuer_jwks_url),
        issuer=settings.issuer,
        audience=settings.issuer_audience,
        role_claim=settings.issuer_role_claim,
        leeway_s=settings.issuer_leeway_s,
    )


def _time(value: object) -> datetime:
    """The aware time of a NumericDate, which may have a fraction."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError("a time is a number of seconds")
    return utc(int(value) * 10**9)

"""Session tokens: JWT signed with HMAC-SHA-256 (RFC 7519)."""

from datetime import datetime
from typing import get_args

import jwt

from trajops.clock import SystemClock, now, utc
from trajops.contracts.session import Role
from trajops.errors import InvalidInput, Unauthenticated
from trajops.ports import Clock
from trajops.records import TokenClaims

AUDIENCE = "trajops"
MIN_SECRET_LENGTH = 32
_ALGORITHM = "HS256"
_LEEWAY_S = 5.0  # processes on several machines do not agree on the time to the second


class JwtTokens:
    """Implements `trajops.ports.TokenSigner`.

    Raises:
        InvalidInput: if the secret is shorter than 32 characters.
    """

    def __init__(self, secret: str, clock: Clock | None = None) -> None:
        if len(secret) < MIN_SECRET_LENGTH:
            raise InvalidInput(f"TRAJOPS_TOKEN_SECRET has {len(secret)} characters; it needs at least {MIN_SECRET_LENGTH}")
        self._secret = secret
        self._clock: Clock = clock or SystemClock()

    def issue(self, subject: str, role: Role, *, issued_at: datetime, expires_at: datetime) -> str:
        """A signed token; times are cut to whole seconds, as JWT readers expect."""
        claims = {
            "sub": subject,
            "role": role,
            "aud": AUDIENCE,
            "iat": int(issued_at.timestamp()),
            "exp": int(expires_at.timestamp()),
        }
        return jwt.encode(claims, self._secret, algorithm=_ALGORITHM)

    def verify(self, token: str) -> TokenClaims:
        """What the token says; Unauthenticated if signature, audience or claims are wrong, or it has expired."""
        try:
            claims = jwt.decode(
                token,
                self._secret,
                algorithms=[_ALGORITHM],
                audience=AUDIENCE,
                # The times are compared with the injected clock below.
                options={"require": ["exp", "iat", "sub", "aud", "role"], "verify_exp": False, "verify_iat": False, "verify_nbf": False},
            )
            issued_at, expires_at = utc(int(claims["iat"]) * 10**9), utc(int(claims["exp"]) * 10**9)
        except (jwt.InvalidTokenError, ValueError, TypeError, OverflowError) as error:
            raise Unauthenticated("the token is not valid; sign in again") from error
        present = now(self._clock)
        if present >= expires_at:
            raise Unauthenticated("the session has expired; sign in again")
        if (issued_at - present).total_seconds() > _LEEWAY_S:
            raise Unauthenticated("the token was issued in the future; set the clocks of the machines alike, then sign in again")
        if claims["role"] not in get_args(Role):
            raise Unauthenticated("the token names an unknown role; sign in again")
        return TokenClaims(claims["sub"], claims["role"], issued_at, expires_at)

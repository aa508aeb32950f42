"""Passwords by Argon2id."""

import argon2
from argon2.exceptions import InvalidHashError, VerificationError


class Argon2Hasher:
    """Implements `trajops.ports.PasswordHasher`: Argon2id with the parameters of RFC 9106, low memory (64 MiB, 3 passes)."""

    def __init__(self, hasher: argon2.PasswordHasher | None = None) -> None:
        self._hasher = hasher or argon2.PasswordHasher()

    def hash(self, password: str) -> str:
        """Hash with its salt and parameters."""
        return self._hasher.hash(password)

    def verify(self, password_hash: str, password: str) -> bool:
        """Whether the password has that hash; False for a hash that cannot be read."""
        try:
            return self._hasher.verify(password_hash, password)
        except (VerificationError, InvalidHashError):
            return False

    def is_outdated(self, password_hash: str) -> bool:
        """Whether the hash was made with other parameters than today's."""
        return self._hasher.check_needs_rehash(password_hash)

"""Passwords: argon2id by pwdlib, the adapter of `access.ports.Passwords`.

Owns the hashing and nothing else. An unknown login takes as long as a wrong password: it is checked against a hash that
nobody knows a password for.
"""

from __future__ import annotations

import secrets
from functools import cached_property

from pwdlib import PasswordHash
from pwdlib.exceptions import PwdlibError


class Argon2Passwords:
    """See the port."""

    def __init__(self) -> None:
        self._hasher = PasswordHash.recommended()

    @cached_property
    def _nobody(self) -> str:
        return self._hasher.hash(secrets.token_urlsafe(32))

    def hash(self, password: str) -> str:
        """See the port."""
        return self._hasher.hash(password)

    def verify(self, password: str, stored: str | None) -> bool:
        """See the port."""
        try:
            fits = self._hasher.verify(password, stored if stored is not None else self._nobody)
        except PwdlibError:
            return False
        return fits and stored is not None

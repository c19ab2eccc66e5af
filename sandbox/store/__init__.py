"""The store: the Registry on SQLite or PostgreSQL, its migrations, and the hashing of passwords."""

from sandbox.store.migrate import migrate
from sandbox.store.passwords import Argon2Passwords
from sandbox.store.registry import RegistryBusy, SqlRegistry

__all__ = ["Argon2Passwords", "RegistryBusy", "SqlRegistry", "migrate"]

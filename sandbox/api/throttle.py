"""How often somebody may fail to sign in: a sliding window in memory, for each login and address, and for each address.

Owns counts only; whether a password is right is not its business. The window belongs to one process: with n server
processes a guesser gets n times as many tries, still far from enough against the shortest allowed password. It never
locks a login for everybody (that would let anyone lock anyone out): a login is slowed down for the address that failed.
"""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from access.ports import Clock
from sandbox.api.problems import TooManyAttempts

#: Remembered keys at most; the least recently used is forgotten first.
MOST_KEYS = 20_000


@dataclass(kw_only=True)
class Throttle:
    """At most `per_login` failures of one login from one address, and `per_address` of one address, in `window`."""

    clock: Clock
    per_login: int = 8
    per_address: int = 60
    window: timedelta = timedelta(minutes=5)
    _seen: OrderedDict[tuple[str, ...], deque[datetime]] = field(default_factory=OrderedDict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def attempt(self, login: str, address: str) -> None:
        """Count one attempt before it is tried, or raise `TooManyAttempts`. Counting first closes the race of guessers."""
        now = self.clock()
        with self._lock:
            windows = [(self._window(key, now), most) for key, most in self._keys(login, address)]
            full = [seen[0] for seen, most in windows if len(seen) >= most]
            if full:
                left = max(full) + self.window - now
                raise TooManyAttempts(retry_after=max(1, int(left.total_seconds()) + 1))
            for seen, _ in windows:
                seen.append(now)

    def succeeded(self, login: str, address: str) -> None:
        """The attempt was right: its login starts afresh, and the address gets this attempt back."""
        with self._lock:
            self._seen.pop((address, login), None)
            seen = self._seen.get((address,))
            if seen:
                seen.pop()

    def _keys(self, login: str, address: str) -> tuple[tuple[tuple[str, ...], int], ...]:
        return ((address, login), self.per_login), ((address,), self.per_address)

    def _window(self, key: tuple[str, ...], now: datetime) -> deque[datetime]:
        seen = self._seen.setdefault(key, deque())
        self._seen.move_to_end(key)
        while seen and seen[0] <= now - self.window:
            seen.popleft()
        while len(self._seen) > MOST_KEYS:
            self._seen.popitem(last=False)
        return seen

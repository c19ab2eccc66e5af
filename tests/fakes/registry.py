"""The whole registry in memory: the fake the contract suite holds to the same duties as the store.

Owns no rule: it calls the pure functions of `access` and `compute.jobs` and keeps their results in dicts. A writing
transaction works on a copy, takes its place on a clean exit, and is dropped on any exception.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from access.audit import Signer
from access.ports import (
    Clock,
)
from tests.fakes.money import FakeAnswers, FakeIdempotency, FakeJobs, FakeLedger, FakeReceipts
from tests.fakes.people import FakeCatalogue, FakeGrants, FakePeople, FakeRequests
from tests.fakes.tables import FakeLog, Tables


class FakeRegistry:
    """See `access.ports.Registry`."""

    def __init__(self, *, signer: Signer, clock: Clock) -> None:
        self._tables = Tables()
        self._signer = signer
        self._clock = clock
        self._turn = threading.Lock()

    @contextmanager
    def begin(self) -> Iterator[FakeWork]:
        with self._turn:
            work = FakeWork(self._tables.twin(), writes=True)
            yield work
            work.log.seal(self._signer, self._clock())
            self._tables = work.tables

    @contextmanager
    def read(self) -> Iterator[FakeWork]:
        yield FakeWork(self._tables, writes=False)

    def ready(self) -> bool:
        return True


class FakeWork:
    """One transaction."""

    def __init__(self, tables: Tables, *, writes: bool) -> None:
        self.tables = tables
        self.log = FakeLog(tables, writes=writes)
        self.people = FakePeople(tables, self.log)
        self.catalogue = FakeCatalogue(tables, self.log)
        self.requests = FakeRequests(tables, self.log)
        self.grants = FakeGrants(tables, self.log)
        self.ledger = FakeLedger(tables, self.log)
        self.answers = FakeAnswers(tables, self.log)
        self.receipts = FakeReceipts(tables, self.log)
        self.idempotency = FakeIdempotency(tables, self.log)
        self.jobs = FakeJobs(tables, self.log)

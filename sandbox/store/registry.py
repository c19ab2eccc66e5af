"""The Registry on SQLite or PostgreSQL: where a transaction begins and ends.

Owns the engine, its pragmas and the unit of work. It knows no rule. Writing transactions are serial on both databases:
SQLite begins them IMMEDIATE, PostgreSQL locks the one row of `log_state` first, which every write needs anyway to append
to the log. So nothing a writing journey has read can change under it, and no two of them can deadlock. Reading
transactions see one snapshot and block nobody (WAL; REPEATABLE READ).
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine, make_url
from sqlalchemy.exc import OperationalError, SQLAlchemyError, StatementError

from access.audit import Signer
from access.ports import Clock
from privacy.errors import Problem, Text, Unavailable
from sandbox.store.answers import SqlAnswers, SqlIdempotency, SqlReceipts
from sandbox.store.catalogue import SqlCatalogue
from sandbox.store.grants import SqlGrants, SqlRequests
from sandbox.store.jobs import SqlJobs
from sandbox.store.ledger import SqlLedger
from sandbox.store.migrate import is_current
from sandbox.store.people import SqlPeople
from sandbox.store.session import Session, SqlLog
from sandbox.store.tables import log_state

#: How long a writer waits for its turn before it is told to come back.
BUSY_SECONDS = 60


class RegistryBusy(Unavailable):
    """The database cannot be reached, or every turn was taken for too long."""

    code = "registry.busy"
    sentence = Text("The registry is busy or cannot be reached.", "登记库繁忙或无法连接。")
    hint = Text("Nothing was changed. Try again in a moment.", "未作任何更改，请稍后重试。")


class SqlWork:
    """The unit of work: all repositories on one transaction. See `sandbox.journeys.house.Work`."""

    def __init__(self, session: Session) -> None:
        self.log: SqlLog = session.log
        self.people = SqlPeople(session)
        self.catalogue = SqlCatalogue(session)
        self.requests = SqlRequests(session)
        self.grants = SqlGrants(session)
        self.ledger = SqlLedger(session)
        self.answers = SqlAnswers(session)
        self.receipts = SqlReceipts(session)
        self.idempotency = SqlIdempotency(session)
        self.jobs = SqlJobs(session)


class SqlRegistry:
    """See `access.ports.Registry`. Safe to share between threads, and to inherit over a fork."""

    def __init__(self, url: str, *, signer: Signer, clock: Clock) -> None:
        self._engine = connect(url)
        self._url = url
        self._signer = signer
        self._clock = clock
        self._pid = os.getpid()
        self._lock = threading.Lock()

    @contextmanager
    def begin(self) -> Iterator[SqlWork]:
        """See the port."""
        with self._transaction(writes=True) as session:
            yield SqlWork(session)
            session.log.seal()

    @contextmanager
    def read(self) -> Iterator[SqlWork]:
        """See the port."""
        with self._transaction(writes=False) as session:
            yield SqlWork(session)

    def ready(self) -> bool:
        """See the port."""
        try:
            with self._own_engine().connect() as connection:
                return is_current(connection)
        except SQLAlchemyError:
            return False

    def close(self) -> None:
        """Give all connections back."""
        self._own_engine().dispose()

    @contextmanager
    def _transaction(self, *, writes: bool) -> Iterator[Session]:
        with self._open(writes=writes) as connection:
            try:
                yield Session(connection, writes=writes, signer=self._signer, clock=self._clock)
            except StatementError as error:
                connection.rollback()
                if isinstance(error.orig, Problem):
                    raise error.orig from None
                raise
            except BaseException:
                connection.rollback()
                raise
            connection.commit()

    @contextmanager
    def _open(self, *, writes: bool) -> Iterator[Connection]:
        """A connection whose transaction has begun; what the database says about being busy is `RegistryBusy`."""
        engine = self._own_engine()
        try:
            connection = engine.connect()
        except OperationalError as error:
            raise RegistryBusy(private=str(error)) from error
        try:
            _begin(connection, writes=writes)
            yield connection
        finally:
            connection.close()

    def _own_engine(self) -> Engine:
        """The engine; after a fork the parent's connections are left alone, not closed."""
        if self._pid != os.getpid():
            with self._lock:
                if self._pid != os.getpid():
                    self._engine.dispose(close=False)
                    self._pid = os.getpid()
        return self._engine


def _begin(connection: Connection, *, writes: bool) -> None:
    """Begin, and as a writer wait for one's turn."""
    postgres = connection.dialect.name == "postgresql"
    options: dict[str, Any] = {"registry_writes": writes}
    if postgres and not writes:
        options |= {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
    try:
        connection.execution_options(**options).begin()
        if postgres and writes:
            connection.exec_driver_sql(f"SET LOCAL lock_timeout = {int(BUSY_SECONDS * 1000)}")
            connection.execute(sa.select(log_state.c.size).with_for_update())
    except OperationalError as error:
        raise RegistryBusy(private=str(error)) from error


def connect(url: str) -> Engine:
    """An engine for the URL, with SQLite's transactions and pragmas set right."""
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite":
        if parsed.drivername == "postgresql":
            parsed = parsed.set(drivername="postgresql+psycopg")
        return sa.create_engine(parsed, pool_pre_ping=True)
    engine = sa.create_engine(parsed, connect_args={"timeout": BUSY_SECONDS, "check_same_thread": False})
    sa.event.listen(engine, "connect", _prepare_sqlite)
    sa.event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # transactions begin where `_begin_sqlite` says, not where the driver guesses
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get("registry_writes", True)
    if connection.info.get("writes") is not writes:
        connection.exec_driver_sql(f"PRAGMA query_only={'OFF' if writes else 'ON'}")
        connection.info["writes"] = writes
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

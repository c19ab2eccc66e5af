"""DuckDB connections that answer questions: locked down, limited, and silent about why they fail.

Owns the settings of every such connection, the small tables of plain values that are put into one, and the deadline of a piece
of work. It knows no plan. Law 5: whatever fails is one constant `Fault`, with the reason for the operator in `private`.
"""

from __future__ import annotations

import os
import time
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock

import duckdb

from compute.engines.layout import literal
from compute.ports import Limits
from privacy.errors import Fault, Problem
from privacy.sql.plan import SmallTable

#: No file, network, extension or setting is in reach of a question; `lock_configuration` closes the door behind us. Division
#: by zero is NULL without an error: TRY would catch it too, but row by row, slow where a table holds a zero.
_LOCKED: dict[str, str | bool] = {
    "enable_external_access": False,
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "allow_community_extensions": False,
    "python_enable_replacements": False,
    "temp_directory": "",
    "lock_configuration": True,
    "error_on_division_by_zero": False,
}


@contextmanager
def opened(database: str, limits: Limits, *, read_only: bool) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection that is locked down, and closed at the end; whatever fails in it is a `Fault`."""
    with _constant():
        connection = _connect(database, limits, read_only=read_only)
        try:
            yield connection
        finally:
            connection.close()


@contextmanager
def again(database: str, limits: Limits) -> Iterator[duckdb.DuckDBPyConnection]:
    """A file that is open already, once more with settings of its own; as locked down, and closed at the end.

    DuckDB opens a file only once with each kind of settings, but attaches it to as many empty databases as one likes.
    """
    settings = _settings(limits, read_only=True)
    last = {name: settings.pop(name) for name in ("enable_external_access", "lock_configuration")}
    with _constant():
        connection = duckdb.connect(config=settings)
        try:
            connection.execute(f"ATTACH {literal(database)} AS version (READ_ONLY)")
            connection.execute("USE version")
            for name, value in last.items():
                connection.execute(f"SET {name} = {value}")
            yield connection
        finally:
            connection.close()


class Warm:
    """Locked-down databases that stay open between questions: opening one costs more than many a question.

    A question gets a connection of its own, whose temporary tables nobody else sees and which is closed at its end. The
    `most` databases used last stay open. A file that has changed, or other limits, open anew; after a fork the parent's are left
    alone, not closed.
    """

    def __init__(self, most: int = 2) -> None:
        self._most = most
        self._open: OrderedDict[str, tuple[object, duckdb.DuckDBPyConnection]] = OrderedDict()
        self._turn, self._pid = Lock(), os.getpid()
        self._left: list[object] = []

    @contextmanager
    def connection(self, database: str, limits: Limits, *, read_only: bool) -> Iterator[duckdb.DuckDBPyConnection]:
        """As `opened`, on a database that may have been open."""
        with _constant():
            with self._turn:
                connection = self._base(database, limits, read_only=read_only).cursor()
            try:
                yield connection
            finally:
                connection.close()

    def _base(self, database: str, limits: Limits, *, read_only: bool) -> duckdb.DuckDBPyConnection:
        if self._pid != os.getpid():
            self._left.append(self._open)
            self._open, self._pid = OrderedDict(), os.getpid()
        known = self._open.pop(database, None)
        seen = Path(database).stat() if read_only else None
        sign = (limits, read_only, seen and (seen.st_dev, seen.st_ino, seen.st_size, seen.st_mtime_ns))
        if known is not None and known[0] != sign:
            known[1].close()
            known = None
        self._open[database] = known or (sign, _connect(database, limits, read_only=read_only))
        while len(self._open) > self._most:
            self._open.popitem(last=False)[1][1].close()
        return self._open[database][1]


@contextmanager
def _constant() -> Iterator[None]:
    """Law 5: a kind of failure that gets through would tell something of the data."""
    try:
        yield
    except Problem:
        raise
    except Exception as error:  # noqa: BLE001
        raise Fault(private=f"{type(error).__name__}: {error}") from None


def _connect(database: str, limits: Limits, *, read_only: bool) -> duckdb.DuckDBPyConnection:
    return duckdb.connect(database, read_only=read_only, config=_settings(limits, read_only=read_only))


def _settings(limits: Limits, *, read_only: bool) -> dict[str, str | bool | int | float | list[str]]:
    return {
        **_LOCKED,
        # Rows of a version come in the order they are stored in, that of their units; a small table has no order to keep.
        "preserve_insertion_order": read_only,
        "threads": limits.threads,
        "memory_limit": f"{max(64, limits.memory // 2**20)}MiB",
        "max_execution_time": max(1, int(limits.seconds * 1000)),
    }


def load(connection: duckdb.DuckDBPyConnection, name: str, table: SmallTable) -> None:
    """Make a temporary table of plain values; names are the compiler's own (`cell`, `k0`, `s0`)."""
    columns = ", ".join(f"{column} {kind}" for column, kind in table.columns)
    connection.execute(f"CREATE OR REPLACE TEMP TABLE {name} ({columns})")
    if not table.rows:
        return
    casts = ", ".join(f"CAST(unnest(?) AS {kind})" for _, kind in table.columns)
    values = [list(column) for column in zip(*table.rows, strict=True)]
    connection.execute(f"INSERT INTO {name} SELECT {casts}", values)


class Deadline:
    """The end of work that may read several times: a statement has its own limit, all of them together have this one."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    def require(self) -> None:
        """Go on, or a `Fault` once the time is over."""
        if time.monotonic() > self._end:
            raise Fault(private="the rows took longer to read than the limit allows")

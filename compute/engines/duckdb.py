"""The DuckDB engine: the rows of a plan on a dataset version, unit by unit, and post-processing of noisy cells.

Owns every DuckDB connection that answers questions. It runs only text that the compiler made, read-only and locked down,
and returns integers to its caller inside the worker; it never stores, logs or explains what it saw. Law 5: whatever fails
is one constant `Fault`, with the reason for the operator in `private`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import duckdb

from compute.engines.units import units_of
from compute.ports import Limits
from privacy.errors import Fault, Problem
from privacy.sql.plan import Cell, Finish, Plan, SmallTable, Units

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


class DuckEngine:
    """`compute.ports.Engine` on DuckDB 2.0. Stateless: every call opens, locks down, runs and closes."""

    @contextmanager
    def units(self, version: Path, plan: Plan, limits: Limits) -> Iterator[Units]:
        """The plan's rows, read-only on the version file; see `compute.ports.Engine.units`."""
        with opened(str(version), limits, read_only=True) as connection:
            yield units_of(connection, plan, limits)

    @contextmanager
    def finishing(self, limits: Limits) -> Iterator[Finish]:
        """A post-processor over small tables alone; see `compute.ports.Engine.finishing`."""
        with opened(":memory:", limits, read_only=False) as connection:
            loaded: dict[str, SmallTable] = {}

            def finish(sql: str, tables: Mapping[str, SmallTable]) -> list[Cell]:
                for name, table in tables.items():
                    if loaded.get(name) is not table:
                        _load(connection, name, table)
                        loaded[name] = table
                return connection.execute(sql).fetchall()

            yield finish


@contextmanager
def opened(database: str, limits: Limits, *, read_only: bool) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection that is locked down; whatever fails in it is a `Fault`."""
    connection = None
    try:
        connection = duckdb.connect(database, read_only=read_only, config=_settings(limits, read_only=read_only))
        yield connection
    except Problem:
        raise
    except Exception as error:  # noqa: BLE001 — a kind of failure that gets through would tell something of the data
        raise Fault(private=f"{type(error).__name__}: {error}") from None
    finally:
        if connection is not None:
            connection.close()


def _settings(limits: Limits, *, read_only: bool) -> dict[str, str | bool | int | float | list[str]]:
    return {
        **_LOCKED,
        # Rows of a version come in the order they are stored in, that of their units; a small table has no order to keep.
        "preserve_insertion_order": read_only,
        "threads": limits.threads,
        "memory_limit": f"{max(64, limits.memory // 2**20)}MiB",
        "max_execution_time": max(1, int(limits.seconds * 1000)),
    }


def _load(connection: duckdb.DuckDBPyConnection, name: str, table: SmallTable) -> None:
    """Make a table of plain values; names are the compiler's own (`cell`, `k0`, `s0`)."""
    columns = ", ".join(f"{column} {kind}" for column, kind in table.columns)
    connection.execute(f"CREATE OR REPLACE TABLE {name} ({columns})")
    if not table.rows:
        return
    casts = ", ".join(f"CAST(unnest(?) AS {kind})" for _, kind in table.columns)
    values = [list(column) for column in zip(*table.rows, strict=True)]
    connection.execute(f"INSERT INTO {name} SELECT {casts}", values)

"""The DuckDB engine: the rows of a plan on a dataset version, unit by unit, and post-processing of noisy cells.

Owns the engine's door. It runs only text that the compiler made, on connections that are read-only and locked down
(`compute.engines.connection`), and returns integers to its caller inside the worker; it never stores, logs or explains what it
saw.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path

import duckdb

from compute.engines.connection import Deadline, Warm, again, load
from compute.engines.units import units_of
from compute.ports import Limits
from privacy.errors import Fault
from privacy.sql.expressions import quote_name
from privacy.sql.plan import Cell, Finish, Opened, Plan, SmallTable


class DuckEngine:
    """`compute.ports.Engine` on DuckDB 2.0. Every call has a connection of its own; the databases used last stay open."""

    def __init__(self) -> None:
        self._versions, self._memory = Warm(), Warm(1)

    @contextmanager
    def units(self, version: Path, limits: Limits) -> Iterator[Opened]:
        """Rows, read-only on the version file; see `compute.ports.Engine.units`."""
        deadline = Deadline(limits.seconds)
        with ExitStack() as opened, self._version(version, limits) as connection:
            whole = cache(lambda: opened.enter_context(again(str(version), limits)))
            yield lambda grouping: units_of(connection, grouping, deadline, limits.threads, whole)

    def _version(self, version: Path, limits: Limits) -> AbstractContextManager[duckdb.DuckDBPyConnection]:
        """The version for whoever reads it with threads of their own: DuckDB's would stand in their way."""
        return self._versions.connection(str(version), replace(limits, threads=1), read_only=True)

    def public(self, version: Path, plan: Plan, limits: Limits) -> Mapping[str, SmallTable]:
        """Public rows for post-processing; see `compute.ports.Engine.public`."""
        if not plan.public:
            return {}
        deadline, found = Deadline(limits.seconds), {}
        with self._version(version, limits) as connection:
            for table in plan.public:
                for name in connection.get_table_names(table.sql):
                    described = connection.execute(f"DESCRIBE {quote_name(name)}").fetchall()
                    if "_uid" in (column for column, *_ in described):
                        raise Fault(private=f"the text of {table.name} reads {name}, a private table")
            for table in plan.public:
                deadline.require()
                found[table.name] = SmallTable(columns=table.columns, rows=connection.execute(table.sql).fetchall())
        return found

    def beside(self, finish: Finish, version: Path, plan: Plan, limits: Limits) -> Finish:
        """One answer's post-processing; see `compute.ports.Engine.beside`."""
        started: list[tuple[Deadline, Mapping[str, SmallTable]]] = []

        def answer(sql: str, given: Mapping[str, SmallTable]) -> list[Cell]:
            if not started:  # the time of public rows counts as well
                started.append((Deadline(limits.seconds), self.public(version, plan, limits)))
            deadline, tables = started[0]
            deadline.require()
            return finish(sql, {**tables, **given})

        return answer

    @contextmanager
    def finishing(self, limits: Limits) -> Iterator[Finish]:
        """A post-processor over small tables alone; see `compute.ports.Engine.finishing`."""
        with self._memory.connection(":memory:", limits, read_only=False) as connection:
            loaded: dict[str, SmallTable] = {}

            def finish(sql: str, tables: Mapping[str, SmallTable]) -> list[Cell]:
                for name, table in tables.items():
                    if loaded.get(name) is not table:
                        load(connection, name, table)
                        loaded[name] = table
                return connection.execute(sql).fetchall()

            yield finish

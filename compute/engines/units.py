"""The rows of one question, unit by unit: `privacy.sql.plan.Units` on a DuckDB connection.

Owns the choice between the two ways from a grouping's text to exact vectors, and one of them: `SqlUnits` runs the reference
text as it stands; `compute.engines.streamed` is the quick one, for keys that have numbers and rows that come in unit order. Both
give the same integers (`tests/contract/test_units.py`), and which one ran is nobody's business but the operator's.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import duckdb
import numpy as np
from numpy.typing import NDArray

from compute.engines.chunks import Unstreamable
from compute.engines.connection import Deadline, load
from compute.engines.numbers import comparable, numbers_of
from compute.engines.streamed import StreamedUnits
from privacy.facts import Kind
from privacy.sql import reference
from privacy.sql.plan import TYPES, Aggregate, Cell, Grouping, SmallTable, Statistic, Units

Found = TypeVar("Found")
_NUMBERS = itertools.count()


def units_of(
    connection: duckdb.DuckDBPyConnection,
    grouping: Grouping,
    deadline: Deadline,
    threads: int,
    whole: Callable[[], duckdb.DuckDBPyConnection] | None = None,
) -> Units:
    """The rows of a grouping: streamed when they can be, by the reference text otherwise.

    The reference runs on what `whole` opens, where DuckDB has all threads (None: on the same connection).
    """

    def sql() -> SqlUnits:
        return SqlUnits(whole() if whole is not None else connection, grouping, deadline)

    numbers = numbers_of(connection, grouping)
    if numbers is None or not numbers.are_few(grouping):
        return sql()
    return _Careful(StreamedUnits(connection, grouping, numbers, deadline, threads), sql)


class _Careful:
    """The streamed form, and the reference where rows cannot be streamed (a join may turn them round)."""

    def __init__(self, streamed: StreamedUnits, sql: Callable[[], SqlUnits]) -> None:
        self._now: Units = streamed
        self._sql = sql

    def weights(self) -> tuple[Sequence[Cell], NDArray[np.int64]]:
        """Private keys with weight, by key."""
        return self._try(lambda units: units.weights())

    def lengths(self, cells: Sequence[Cell]) -> NDArray[np.float64]:
        """Squared lengths, one row a unit."""
        return self._try(lambda units: units.lengths(cells))

    def totals(self, statistics: Sequence[Statistic], cells: Sequence[Cell]) -> list[NDArray[np.int64]]:
        """Totals, each unit scaled to its bound."""
        return self._try(lambda units: units.totals(statistics, cells))

    def _try(self, ask: Callable[[Units], Found]) -> Found:
        try:
            return ask(self._now)
        except Unstreamable:
            self._now = self._sql()
            return ask(self._now)


# --- the reference -------------------------------------------------------------------------------------------------------


class SqlUnits:
    """`Units` by the texts of `privacy.sql.reference`."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, grouping: Grouping, deadline: Deadline) -> None:
        self._connection, self._grouping, self._deadline = connection, grouping, deadline
        self._name = f"held{next(_NUMBERS)}"  # several groupings may be asked in turn on one connection
        self._is_held = False

    def weights(self) -> tuple[Sequence[Cell], NDArray[np.int64]]:
        """Private keys with weight, by key."""
        rows = self._run(reference.weights_sql(self._grouping, self._held())).fetchall()
        return [row[:-1] for row in rows], np.array([row[-1] for row in rows], np.int64)

    def lengths(self, cells: Sequence[Cell]) -> NDArray[np.float64]:
        """Squared lengths, one row a unit."""
        self._show(cells)
        found = self._run(reference.lengths_sql(self._grouping, self._held())).fetchnumpy()
        columns = [np.asarray(found[name], np.float64) for name in list(found)[1:]]
        return np.stack(columns, axis=1)

    def totals(self, statistics: Sequence[Statistic], cells: Sequence[Cell]) -> list[NDArray[np.int64]]:
        """Totals, each unit scaled to its bound."""
        self._show(cells)
        counted = [s for s in statistics if s.aggregate not in (Aggregate.QUANTILE, Aggregate.DISTINCT)]
        totals = np.zeros((len(cells), len(counted)), np.int64)
        for at, values in (
            self._located(reference.totals_sql(self._grouping, self._held(), statistics, counted), cells)
            if counted
            else ()
        ):
            totals[at] = values
        found = dict(zip((s.name for s in counted), np.ascontiguousarray(totals.T), strict=True))
        return [found[s.name] if s.name in found else self._binned(statistics, s, cells) for s in statistics]

    def _binned(self, statistics: Sequence[Statistic], s: Statistic, cells: Sequence[Cell]) -> NDArray[np.int64]:
        """The bins of a quantile, or the number of different values, of each cell."""
        if s.order is None:
            totals = np.zeros(len(cells), np.int64)
            for at, (total,) in self._located(
                reference.distinct_sql(self._grouping, self._held(), statistics, s), cells
            ):
                totals[at] = total
            return totals
        bins = np.zeros((len(cells), s.order.bins), np.int64)
        for at, (place, total) in self._located(reference.bins_sql(self._grouping, self._held(), statistics, s), cells):
            bins[at, place] = total
        return bins

    def _located(self, sql: str, cells: Sequence[Cell]) -> Iterator[tuple[int, tuple[Any, ...]]]:
        """The rows of a text that begins with a cell: the cell's place, and what follows it."""
        place = self._places(cells)
        for row in self._run(sql).fetchall():
            at, values = place(row)
            if at is not None:
                yield at, row[values:]

    def _held(self) -> str:
        """The table of what each unit has by key, for whose sake the rows are read once."""
        if not self._is_held:
            self._run(f"CREATE TEMP TABLE {self._name} AS {reference.held_sql(self._grouping)}")
            self._is_held = True
        return self._name

    def _run(self, sql: str) -> duckdb.DuckDBPyConnection:
        self._deadline.require()
        return self._connection.execute(sql)

    def _places(self, cells: Sequence[Cell]) -> Callable[[Cell], tuple[int | None, int]]:
        """Where a row of totals belongs, and how many of its columns are keys."""
        if self._grouping.selects_keys:
            return lambda row: (int(str(row[0])), 1)
        kinds, width = [k.kind for k in self._grouping.keys], len(self._grouping.keys)
        known = {_comparable(cell, kinds): i for i, cell in enumerate(cells)}
        return lambda row: (known.get(_comparable(row[:width], kinds)), width)

    def _show(self, cells: Sequence[Cell]) -> None:
        """The table of private keys that count."""
        if not self._grouping.selects_keys:
            return
        columns = (("cell", "BIGINT"), *((k.name, TYPES[k.kind]) for k in self._grouping.keys))
        rows = [(i, *cell) for i, cell in enumerate(cells)]
        load(self._connection, reference.SHOWN, SmallTable(columns=columns, rows=rows))


def _comparable(key: Cell, kinds: Sequence[Kind]) -> Cell:
    return tuple(comparable((v,), kind)[0] for v, kind in zip(key, kinds, strict=True))

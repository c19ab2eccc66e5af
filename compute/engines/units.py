"""The rows of one question, unit by unit: `privacy.sql.plan.Units` on a DuckDB connection, in SQL and by the compiled kernel.

Owns the way from a plan's text to exact vectors. `SqlUnits` runs the reference text as it stands. `StreamedUnits` lets DuckDB
stream the rows in the order in which they are stored, one batch after the other, into `compute.engines.kernel`: nothing
materialises the table. It needs keys that have numbers and rows that come in unit order; where either is missing the reference
answers. Both give the same integers (`tests/contract/test_engine.py`), and which one ran is nobody's business but the operator's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import duckdb
import numpy as np
from numpy.typing import NDArray

from compute.engines import kernel
from compute.engines.connection import Deadline, load
from compute.ports import Limits
from privacy.facts import Kind
from privacy.sql import reference
from privacy.sql.bound import WEIGHT_ONE
from privacy.sql.plan import TYPES, Aggregate, Cell, Plan, SmallTable, Statistic, Units

#: Rows a batch: its arrays stay in the processor's cache.
BATCH = 122_880
#: Codes beyond this would need more memory for empty cells than rows take: the reference answers.
MAX_CODES = 2**24
#: Rows that are read more than once are kept while they take no more than this (bytes).
KEPT = 400 * 2**20

Found = TypeVar("Found")


def units_of(connection: duckdb.DuckDBPyConnection, plan: Plan, limits: Limits) -> Units:
    """The rows of the plan: streamed when they can be, by the reference text otherwise."""
    deadline = Deadline(limits.seconds)
    # A cursor of its own: rows that are given up half-way must not stand in its way.
    sql = SqlUnits(connection.cursor(), plan, deadline)
    if not _numbered(connection, plan):
        return sql
    streamed = StreamedUnits(connection, plan, deadline)
    return _Careful(streamed, sql) if streamed.codes <= MAX_CODES else sql


class OutOfOrder(Exception):
    """Rows did not come in the order of their units."""


class _Careful:
    """The streamed form, and the reference where rows come out of order (a join may turn them round)."""

    def __init__(self, streamed: StreamedUnits, sql: SqlUnits) -> None:
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
        except OutOfOrder:
            self._now = self._sql
            return ask(self._sql)


# --- the reference -------------------------------------------------------------------------------------------------------


class SqlUnits:
    """`Units` by the texts of `privacy.sql.reference`."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, plan: Plan, deadline: Deadline) -> None:
        self._connection, self._plan, self._deadline = connection, plan, deadline

    def weights(self) -> tuple[Sequence[Cell], NDArray[np.int64]]:
        """Private keys with weight, by key."""
        rows = self._run(reference.weights_sql(self._plan)).fetchall()
        return [row[:-1] for row in rows], np.array([row[-1] for row in rows], np.int64)

    def lengths(self, cells: Sequence[Cell]) -> NDArray[np.float64]:
        """Squared lengths, one row a unit."""
        self._show(cells)
        found = self._run(reference.lengths_sql(self._plan)).fetchnumpy()
        columns = [np.asarray(found[name], np.float64) for name in list(found)[1:]]
        return np.stack(columns, axis=1)

    def totals(self, statistics: Sequence[Statistic], cells: Sequence[Cell]) -> list[NDArray[np.int64]]:
        """Totals, each unit scaled to its bound."""
        self._show(cells)
        counted = [s for s in statistics if s.aggregate not in (Aggregate.QUANTILE, Aggregate.DISTINCT)]
        totals = np.zeros((len(cells), len(counted)), np.int64)
        for at, values in (
            self._located(reference.totals_sql(self._plan, statistics, counted), cells) if counted else ()
        ):
            totals[at] = values
        found = dict(zip((s.name for s in counted), np.ascontiguousarray(totals.T), strict=True))
        return [found[s.name] if s.name in found else self._binned(statistics, s, cells) for s in statistics]

    def _binned(self, statistics: Sequence[Statistic], s: Statistic, cells: Sequence[Cell]) -> NDArray[np.int64]:
        """The bins of a quantile, or the number of different values, of each cell."""
        if s.order is None:
            totals = np.zeros(len(cells), np.int64)
            for at, (total,) in self._located(reference.distinct_sql(self._plan, statistics, s), cells):
                totals[at] = total
            return totals
        bins = np.zeros((len(cells), s.order.bins), np.int64)
        for at, (place, total) in self._located(reference.bins_sql(self._plan, statistics, s), cells):
            bins[at, place] = total
        return bins

    def _located(self, sql: str, cells: Sequence[Cell]) -> Iterator[tuple[int, tuple[Any, ...]]]:
        """The rows of a text that begins with a cell: the cell's place, and what follows it."""
        place = self._places(cells)
        for row in self._run(sql).fetchall():
            at, values = place(row)
            if at is not None:
                yield at, row[values:]

    def _run(self, sql: str) -> duckdb.DuckDBPyConnection:
        self._deadline.require()
        return self._connection.execute(sql)

    def _places(self, cells: Sequence[Cell]) -> Callable[[Cell], tuple[int | None, int]]:
        """Where a row of totals belongs, and how many of its columns are keys."""
        if self._plan.selects_keys:
            return lambda row: (int(str(row[0])), 1)
        kinds, width = [k.kind for k in self._plan.keys], len(self._plan.keys)
        known = {_comparable(cell, kinds): i for i, cell in enumerate(cells)}
        return lambda row: (known.get(_comparable(row[:width], kinds)), width)

    def _show(self, cells: Sequence[Cell]) -> None:
        """The table of private keys that count."""
        if not self._plan.selects_keys:
            return
        columns = (("cell", "BIGINT"), *((k.name, TYPES[k.kind]) for k in self._plan.keys))
        rows = [(i, *cell) for i, cell in enumerate(cells)]
        load(self._connection, reference.SHOWN, SmallTable(columns=columns, rows=rows))


def _comparable(key: Cell, kinds: Sequence[Kind]) -> Cell:
    """A public key as it compares: a number as its double, everything else exactly (integers beyond 2^53 differ)."""
    return tuple(
        float(str(v)) if kind is Kind.NUMBER and v is not None else v for v, kind in zip(key, kinds, strict=True)
    )


# --- the kernel ----------------------------------------------------------------------------------------------------------

Batch = list[NDArray[Any]]


class _Pass:
    """The buffers of one pass: the slots that rows fall into, and what the open unit brought from before.

    `sums` is 0 beyond the slots in use.
    """

    def __init__(self, codes: int, columns: int) -> None:
        self.columns = columns
        self.state = np.array([-1, 0, 0, 0, -1], np.int64)
        self.place = np.full(codes + 1, -1, np.int64)
        self.slot = np.empty(0, np.int32)
        self.cell = np.empty(0, np.int32)
        self.owner = np.empty(0, np.int32)
        self.sums = np.zeros((0, columns), np.int64)

    @property
    def slots(self) -> int:
        """Slots in use."""
        return int(self.state[kernel.NEXT] - self.state[kernel.BASE])

    @property
    def closed(self) -> tuple[int, int]:
        """(slots, units) of the batch that no later row can change."""
        return int(self.state[kernel.FIRST] - self.state[kernel.BASE]), int(self.state[kernel.INDEX])

    def take(self, unit: NDArray[Any], code: NDArray[Any]) -> kernel.Int32s:
        """The slots of a batch's rows."""
        self._make_room(len(unit))
        slot = self.slot[: len(unit)]
        if kernel.gather(unit, code, self.place, self.state, self.cell, self.owner, slot):
            raise OutOfOrder
        return slot

    def _make_room(self, rows: int) -> None:
        used = self.slots
        if len(self.slot) < rows:
            self.slot = np.empty(rows, np.int32)
        if len(self.cell) < used + rows:
            room = np.empty(used + rows, np.int32)
            self.cell = np.concatenate([self.cell[:used], room])
            self.owner = np.concatenate([self.owner[:used], room])
            self.sums = np.concatenate([self.sums[:used], np.zeros((len(room), self.columns), np.int64)])

    def carry(self) -> None:
        """Keep the open unit alone."""
        done, used = self.closed[0], self.slots
        kept = self.sums[done:used].copy()
        self.sums[:used] = 0
        self.sums[: len(kept)] = kept
        self.cell[: len(kept)] = self.cell[done:used].copy()
        self.owner[: len(kept)] = 0
        self.state[kernel.BASE] += done
        self.state[kernel.INDEX] = 0 if self.state[kernel.UNIT] >= 0 else -1


class StreamedUnits:
    """`Units` by the kernel, over rows that DuckDB streams."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, plan: Plan, deadline: Deadline) -> None:
        self._connection, self._plan, self._deadline = connection, plan, deadline
        self._values = [
            _dictionary(connection, c.dictionary) if c.values is None else list(c.values) for c in plan.codes
        ]
        self.codes = math.prod(len(v) for v in self._values)
        self._named = [s.value for s in plan.measured if s.value]
        self._kept: list[Batch] | None = None

    def weights(self) -> tuple[Sequence[Cell], NDArray[np.int64]]:
        """Private keys with weight, by key."""
        totals = np.zeros(self.codes + 1, np.int64)
        work = _Pass(self.codes, 0)
        keys = np.zeros(0, np.int64)
        for batch in self._batches():
            if batch:
                work.take(batch[0], batch[1])
            slots, units = work.closed if batch else (work.slots, int(work.state[kernel.INDEX]) + 1)
            keys = np.zeros(max(len(keys), units), np.int64)
            kernel.weigh(slots, work.cell, work.owner, units, self._plan.max_keys, float(WEIGHT_ONE), keys, totals)
            work.carry()
        held = np.nonzero(totals[: self.codes])[0]
        found = [(self._cell(int(code)), int(totals[code])) for code in held]
        found.sort(key=lambda pair: _ordered(pair[0]))
        return [cell for cell, _ in found], np.array([weight for _, weight in found], np.int64)

    def lengths(self, cells: Sequence[Cell]) -> NDArray[np.float64]:
        """Squared lengths, one row a unit."""
        index = self._index(cells)
        found: list[NDArray[np.float64]] = []
        for work, slots, units in self._vectors(self._plan.measured, index, len(cells), rows=True):
            squares = np.zeros((units, work.columns))
            kernel.squares(work.sums, slots, work.owner, squares)
            found.append(squares[squares[:, 0] > 0])
        return np.concatenate(found) if found else np.zeros((0, len(self._plan.measured) + 1))

    def totals(self, statistics: Sequence[Statistic], cells: Sequence[Cell]) -> list[NDArray[np.int64]]:
        """Totals, each unit scaled to its bound."""
        index = self._index(cells)
        totals = np.zeros((len(cells) + 1, len(statistics)), np.int64)
        weight = np.array(reference.factors(statistics))
        up = np.array([s.up for s in statistics], np.float64)
        gain = np.zeros(0)
        for work, slots, units in self._vectors(statistics, index, len(cells), rows=False):
            gain = gain if len(gain) >= units else np.zeros(units)
            kernel.settle(work.sums, slots, work.cell, index, work.owner, units, weight, up, gain, totals)
        return [np.ascontiguousarray(column) for column in totals[:-1].T]

    def _vectors(
        self, statistics: Sequence[Statistic], index: kernel.Int32s, cells: int, *, rows: bool
    ) -> Iterator[tuple[_Pass, int, int]]:
        """The vectors of all units, some at a time: the buffers, and how many slots and units in them are whole."""
        work = _Pass(self.codes, len(statistics) + rows)
        partial = bool((index[: self.codes] == cells).any()) or self._may_miss
        for batch in self._batches():
            if batch:
                slot = work.take(batch[0], batch[1])
                if rows:
                    kernel.count_rows(work.sums, 0, slot)
                for j, s in enumerate(statistics, start=int(rows)):
                    self._add(work, j, s, slot, batch)
            slots, units = work.closed if batch else (work.slots, int(work.state[kernel.INDEX]) + 1)
            if partial:
                work.sums[:slots][index[work.cell[:slots]] == cells] = 0
            yield work, slots, units
            work.carry()

    def _add(self, work: _Pass, j: int, s: Statistic, slot: kernel.Int32s, batch: Batch) -> None:
        if s.aggregate is Aggregate.UNITS:
            work.sums[: work.slots, j] = 1
        elif not s.value:
            kernel.count_rows(work.sums, j, slot)
        else:
            values = batch[2 + self._named.index(s.value)]
            add = kernel.mark if s.aggregate is Aggregate.UNITS_WHERE else kernel.add_values
            add(work.sums, j, slot, values)

    @property
    def _may_miss(self) -> bool:
        """A row whose public key is not one of the public values has the code after the last."""
        return not self._plan.selects_keys and bool(self._plan.keys)

    def _index(self, cells: Sequence[Cell]) -> kernel.Int32s:
        """Each code's place among `cells`; len(cells) for codes that do not count."""
        index = np.full(self.codes + 1, len(cells), np.int32)
        if not self._plan.selects_keys:
            domains = [list(k.domain or ()) for k in self._plan.keys]
            orders = [[d.index(v) for v in values] for d, values in zip(domains, self._values, strict=True)]
            places = np.zeros(1, np.int64)
            for order in orders:
                places = (places[:, None] * len(order) + np.array(order, np.int64)[None, :]).ravel()
            index[: self.codes] = places
            return index
        known = [{_hashed(v): i for i, v in enumerate(values)} for values in self._values]
        for place, cell in enumerate(cells):
            code = 0
            for lookup, value in zip(known, cell, strict=True):
                code = code * len(lookup) + lookup[_hashed(value)]
            index[code] = place
        return index

    def _cell(self, code: int) -> Cell:
        found = []
        for values in reversed(self._values):
            code, digit = divmod(code, len(values))
            found.append(values[digit])
        return tuple(reversed(found))

    def _batches(self) -> Iterator[Batch]:
        """unit, code and values of the rows, then an empty batch. Kept for the next call while they are small."""
        if self._kept is not None:
            yield from self._kept
            return
        kept: list[Batch] | None = [] if self._plan.length_share or self._plan.selects_keys else None
        size = 0
        for record in self._connection.sql(self._coded()).to_arrow_reader(BATCH):
            self._deadline.require()
            batch = [column.to_numpy(zero_copy_only=False) for column in record.columns]
            size += sum(column.nbytes for column in batch)
            kept = kept if size <= KEPT else None
            if kept is not None:
                kept.append(batch)
            yield batch
        yield []
        self._kept = None if kept is None else [*kept, []]

    def _coded(self) -> str:
        """The digits of the keys as one code; the one after the last, or no code, is for rows whose key is none of the values."""
        code, partial = "0", False
        for i, (values, codes) in enumerate(zip(self._values, self._plan.codes, strict=True)):
            missing = not codes.partial and values[-1] is None
            digit = f"CAST({f'coalesce(c{i}, {len(values) - 1})' if missing else f'c{i}'} AS UINTEGER)"
            code = f"({code} * {len(values)} + {digit})" if i else digit
            partial = partial or codes.partial
        code = f"coalesce({code}, {self.codes})" if partial else code
        names = "".join(f", {name}" for name in self._named)
        return f"SELECT unit, CAST({code} AS UINTEGER) AS code{names} FROM ({self._plan.coded_sql})"


def _numbered(connection: duckdb.DuckDBPyConnection, plan: Plan) -> bool:
    """Whether every key has a number: a text column of very many values is stored as text, without any."""
    if not plan.coded_sql:
        return False
    texts = [f"SELECT typeof(x) FROM ({c.dictionary}) AS d(x)" for c in plan.codes if c.dictionary]
    kinds = [connection.execute(text).fetchall() for text in texts]
    if any(not found or not found[0][0].startswith("ENUM") for found in kinds):
        return False
    try:
        connection.sql(plan.coded_sql)
    except duckdb.BinderException:  # before any row is read: a public text that is no ENUM
        return False
    return True


def _dictionary(connection: duckdb.DuckDBPyConnection, sql: str) -> list[str | None]:
    """All values of an ENUM column in the order of their numbers, then None for a missing one."""
    column = connection.sql(sql).to_arrow_table().column(0)
    return [*column.chunk(0).dictionary.to_pylist(), None]


def _hashed(value: object) -> object:
    """Keys are looked up by their value and kind: True is not 1."""
    return type(value).__name__, value


def _ordered(cell: Cell) -> tuple[tuple[bool, Any], ...]:
    """Keys in ascending order, NULL last."""
    return tuple((value is None, value if value is not None else 0) for value in cell)

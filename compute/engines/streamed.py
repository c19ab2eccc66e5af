"""The rows of one question, unit by unit, by the compiled kernel: `privacy.sql.plan.Units` over rows that DuckDB streams.

Owns the way from Arrow batches to exact vectors. The units are cut into as many ranges as there are threads: each thread reads
the rows of its range on a cursor of its own, in the order of their units, and works on them while they are in its processor's
cache; it needs nothing of the others, and nothing materialises the table. Where the cuts are decides who does which work and
nothing else. Rows come in chunks of whole units. What the units' vectors are is settled once a chunk; as long as these are small
they are kept for the passes that follow.

It needs keys that have numbers and rows that come in unit order (`numbers_of`, `Unstreamable`); the reference answers elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from threading import Event
from typing import Any, TypeVar

import duckdb
import numpy as np
import pyarrow
from numpy.typing import NDArray

from compute.engines import kernel
from compute.engines.chunks import Chunk, Fine, Lane, Rows, Totals, Unstreamable
from compute.engines.connection import Deadline
from compute.engines.numbers import BEYOND, BINNED, Digits, Numbers
from privacy.sql import reference
from privacy.sql.bound import TOTAL, WEIGHT_ONE
from privacy.sql.expressions import quote_name
from privacy.sql.plan import Aggregate, Cell, Grouping, Statistic

#: Rows a batch: its arrays stay in the processor's cache. A chunk has no more units than that, and one, numbered in 16 bits.
BATCH = 3 * 2**14
#: What a number without a digit adds to a row's code: one is beyond all codes, and those of all keys together fit 32 bits.
NOWHERE = 2**26
#: Vectors that are read more than once are kept while they take no more than this (bytes).
KEPT = 400 * 2**20

Found = TypeVar("Found")
Part = list[NDArray[Any]]


class StreamedUnits:
    """`Units` by the kernel, over rows that DuckDB streams, on `threads` threads."""

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        grouping: Grouping,
        numbers: Numbers,
        deadline: Deadline,
        threads: int,
    ) -> None:
        self._connection, self._grouping, self._deadline, self._threads = (
            connection,
            grouping,
            deadline,
            max(1, threads),
        )
        self._numbers, self._keys = numbers, numbers.keys
        self._codes, self._bins = numbers.codes, numbers.bins(grouping)
        self._steps = _steps(self._keys)
        self._named = [s.value for s in grouping.measured if s.value]
        # Vectors: the count of rows is the first, and is that of every statistic that counts rows.
        self._own = [s for s in grouping.measured if s.aggregate is Aggregate.UNITS or s.value]
        self._which = {s.name: 1 + self._own.index(s) if s in self._own else 0 for s in grouping.measured}
        self._binned = [s for s in self._own if s.aggregate in BINNED]
        self._fine = {s.name: at for at, s in enumerate(self._binned)}
        finest = [self._codes * b if s.order is None else None for s, b in zip(self._binned, self._bins, strict=True)]
        self._lanes = [Lane(number, self._codes, finest, len(self._own)) for number in range(self._threads)]
        self._ranges = _ranges(connection, grouping, self._threads)
        self._kept: list[list[Chunk]] | None = None
        self._kept_for: Sequence[Cell] | None = None
        self._index, self._partial = np.zeros(0, np.int32), False

    def weights(self) -> tuple[Sequence[Cell], NDArray[np.int64]]:
        """Private keys with weight, by key."""
        totals = [np.zeros(self._codes + 1, np.int64) for _ in range(self._threads)]
        most, one = self._grouping.max_keys, float(WEIGHT_ONE)

        def weigh(chunk: Chunk, lane: int) -> None:
            kernel.weigh(chunk.owner, chunk.cell, most, one, np.zeros(chunk.units, np.int64), totals[lane])

        self._each(weigh, None)
        whole = sum(totals[1:], start=totals[0])[: self._codes]
        cells, codes = self._numbers.cells(np.nonzero(whole)[0])
        return cells, whole[codes]

    def lengths(self, cells: Sequence[Cell]) -> NDArray[np.float64]:
        """Squared lengths, one row a unit."""
        which = [0, *(self._which[s.name] for s in self._grouping.measured)]

        def squares(chunk: Chunk, _: int) -> list[NDArray[np.float64]]:
            has = chunk.squares(0) > 0
            found = (chunk.squares(vector) for vector in which)
            return list(found) if has.all() else [q[has] for q in found]

        found = self._each(squares, cells)
        squared = np.empty((len(which), sum(len(of[0]) for of in found)))
        for row, parts in zip(squared if found else (), zip(*found, strict=True), strict=True):
            np.concatenate(parts, out=row)
        return squared.T

    def totals(self, statistics: Sequence[Statistic], cells: Sequence[Cell]) -> list[NDArray[np.int64]]:
        """Totals, each unit scaled to its bound."""
        if not statistics:
            return []
        binned = [s for s in statistics if s.name in self._fine]
        counted = [s for s in statistics if s.name not in self._fine]
        bins = {s.name: self._bins[self._fine[s.name]] for s in binned}
        places = len(cells) + 1
        sums = [Totals(statistics, (len(counted), places)) for _ in range(self._threads)]
        fine = [[Totals(statistics, (places * bins[s.name],)) for s in binned] for _ in range(self._threads)]
        weighed = [(self._which[s.name], w) for s, w in zip(statistics, reference.factors(statistics), strict=True)]

        def settle(chunk: Chunk, lane: int) -> None:
            for totals in (sums[lane], *fine[lane]):
                totals.expect(chunk.units)
            gain = np.zeros(chunk.units)
            for vector, weight in weighed:
                gain += weight * chunk.squares(vector)
            kernel.limit(gain)
            for s, row in zip(counted, sums[lane].now, strict=True):
                own = chunk.vectors[self._which[s.name]]
                kernel.settle(chunk.owner, chunk.cell, self._index, own, float(s.up), gain, row)
            for s, totals in zip(binned, fine[lane], strict=True):
                slots = chunk.fine[self._fine[s.name]]
                many = bins[s.name]
                kernel.spread(slots.owner, slots.cell, many, self._index, float(s.up), gain, totals.now)

        self._each(settle, cells)
        by_name = dict(zip((s.name for s in counted), Totals.joined(sums)[:, :-1], strict=True))
        for s, parts in zip(binned, zip(*fine, strict=True), strict=True):
            found = Totals.joined(parts).reshape(places, -1)[:-1]
            by_name[s.name] = found if s.order is not None else np.minimum(found, s.up).sum(axis=1).clip(-TOTAL, TOTAL)
        return [by_name[s.name] for s in statistics]

    # --- chunks ----------------------------------------------------------------------------------------------------------

    def _each(self, work: Callable[[Chunk, int], Found], cells: Sequence[Cell] | None) -> list[Found]:
        """The work's results for all chunks of the rows in `cells` (None: all rows); lanes are numbered."""
        known = self._aim_at(cells)
        narrowing = cells is not None and (known is None or self._kept_for is not cells)
        keeping = bool(self._grouping.length_share or self._grouping.selects_keys)
        stopped = Event()

        def run(lane: Lane) -> tuple[list[Chunk] | None, list[Found]]:
            kept: list[Chunk] | None = [] if keeping else None
            size, found = 0, []
            # Rows that are given up half-way keep the version open, and whoever opens it next waits for ever: they are closed.
            with closing(self._gathered(lane) if known is None else (chunk for chunk in known[lane.number])) as chunks:
                for chunk in chunks:
                    self._deadline.require()
                    if stopped.is_set():
                        break
                    if narrowing and (chunk.misses or self._partial):
                        chunk = chunk.narrowed(self._index, len(cells or ()))
                    found.append(work(chunk, lane.number))
                    size += chunk.size
                    if kept is not None and size <= KEPT // self._threads:
                        kept.append(chunk)
                    else:
                        kept = None
                        lane.forget()
            return kept, found

        lanes = self._side_by_side(run, stopped)
        kept = [chunks for chunks, _ in lanes if chunks is not None]
        self._kept, self._kept_for = (kept, cells) if len(kept) == len(lanes) else (None, None)
        return [result for _, found in lanes for result in found]

    def _side_by_side(self, run: Callable[[Lane], Found], stopped: Event) -> list[Found]:
        """What each lane finds; when one fails, or nobody waits any more, the others stop at their next chunk."""

        def careful(lane: Lane) -> Found:
            try:
                return run(lane)
            except BaseException:
                stopped.set()
                raise

        with ThreadPoolExecutor(max_workers=self._threads) as pool:  # the loops run outside Python's lock
            try:
                return list(pool.map(careful, self._lanes))
            finally:
                stopped.set()

    def _aim_at(self, cells: Sequence[Cell] | None) -> list[list[Chunk]] | None:
        """Set the place of each code among `cells`; the chunks that are kept, unless they lack rows of these cells."""
        if self._kept_for is not None and self._kept_for is not cells:
            self._kept = self._kept_for = None
        if cells is not None and self._kept_for is None:
            self._index = self._places(cells)
            self._partial = bool((self._index[: self._codes] == len(cells)).any())
        return self._kept

    def _gathered(self, lane: Lane) -> Generator[Chunk]:
        """The units of the lane's range, as many at a time as a batch makes whole."""
        lane.restart()
        with closing(self._records(lane)) as records:
            for record in records:
                part = [_lent(column) for column in record.columns]
                if not len(part[0]):
                    continue
                self._take(part, lane)
                if lane.slots.units:
                    yield self._chunk(lane)
        if lane.close():
            yield self._chunk(lane)

    def _take(self, part: Part, lane: Lane) -> None:
        """Add a batch of rows to the vectors of their units."""
        lane.begin(len(part[0]))
        code = self._code(part, lane)
        slot = lane.slots.take(part[0], code)
        for s, sums in zip(self._own, lane.sums, strict=True):
            self._add(s, sums, part, code, slot, lane)

    def _chunk(self, lane: Lane) -> Chunk:
        """The vectors of the units that are whole."""
        slots, end = lane.slots, lane.slots.whole
        vectors: list[NDArray[Any]] = [slots.count, *lane.sums]
        return Chunk(
            units=slots.units,
            misses=slots.misses,
            owner=lane.kept(slots.owner[:end], np.uint16),
            cell=lane.kept(slots.cell[:end], lane.cells),
            vectors=tuple(lane.least(v[:end]) for v in vectors),
            fine=tuple(
                Fine(lane.kept(f.owner[: f.whole], np.uint16), lane.kept(f.cell[: f.whole], np.int32))
                for f in lane.fine
            ),
        )

    def _add(
        self, s: Statistic, sums: kernel.Int64s, part: Part, code: NDArray[Any], slot: kernel.Int32s, lane: Lane
    ) -> None:
        """Add the part's rows to the sums of the statistic by slot."""
        if s.aggregate is Aggregate.UNITS:
            sums[: len(lane.slots)] = 1
            return
        values = part[1 + len(self._keys) + self._named.index(s.value)]
        match s.aggregate:
            case Aggregate.UNITS_WHERE:
                kernel.mark(sums, slot, values)
            case Aggregate.QUANTILE | Aggregate.DISTINCT:
                self._place(s, sums, part, values, code, slot, lane)
            case _:
                kernel.add_values(sums, slot, values)

    def _place(
        self,
        s: Statistic,
        sums: kernel.Int64s,
        part: Part,
        values: NDArray[Any],
        code: NDArray[Any],
        slot: kernel.Int32s,
        lane: Lane,
    ) -> None:
        """The part's rows by bin; sums are of rows with a value (QUANTILE), or of bins with a row (DISTINCT)."""
        at = self._fine[s.name]
        bins, fine, width = self._bins[at], lane.fine[at], 1 if s.order is None else s.order.width
        placed = fine.take(lane.slots, slot) if isinstance(fine, Rows) else lane.codes(1, len(code))
        kernel.locate(code, values, self._codes, width, bins, placed)
        if isinstance(fine, Rows):
            kernel.held(sums, slot, values)
        else:
            begun, fine_slot = lane.fresh[at], fine.take(part[0], placed)
            lane.fresh[at] = kernel.fresh(sums, slot, fine_slot, fine.cell, self._codes * bins, begun)

    def _records(self, lane: Lane) -> Generator[Any]:
        """The rows of the lane's range, read on a connection of its own: what it waits for, it does itself."""
        with (
            closing(self._connection.cursor()) as cursor,
            closing(cursor.sql(self._rows_sql() + self._ranges[lane.number]).to_arrow_reader(BATCH)) as reader,
        ):
            yield from reader

    # --- codes and cells -------------------------------------------------------------------------------------------------

    def _places(self, cells: Sequence[Cell]) -> kernel.Int32s:
        """Each code's place among `cells`; len(cells) for codes that do not count."""
        index = np.full(self._codes + 1, len(cells), np.int32)
        if not self._grouping.selects_keys:  # digits follow the public values, and codes the grid
            index[: self._codes] = np.arange(self._codes)
            return index
        codes = self._numbers.codes_of(cells)
        held = np.flatnonzero(codes < self._codes)
        index[codes[held]] = held
        return index

    def _rows_sql(self) -> str:
        """unit, the numbers of the keys, values: no number is missing."""
        numbers = [
            f"c{i}" if key.missing is None else f"coalesce(c{i}, {key.missing})" for i, key in enumerate(self._keys)
        ]
        return f"SELECT {', '.join(['unit', *numbers, *self._named])} FROM ({self._grouping.coded_sql})"

    def _code(self, part: Part, lane: Lane) -> NDArray[Any]:
        """The code of each row: the digits of its keys in mixed radix, the last key's fastest."""
        numbers = part[1 : 1 + len(self._keys)]
        if len(numbers) == 1 and self._keys[0].plain and numbers[0].dtype.kind == "u":
            return numbers[0]
        code = lane.codes(0, len(part[0]))
        for i, number in enumerate(numbers):
            kernel.combine(code, number, self._steps[i], i > 0)
        return code


def _ranges(connection: duckdb.DuckDBPyConnection, grouping: Grouping, many: int) -> list[str]:
    """Conditions that deal the units out: numbers are dense from 0 and follow a hash, so that like ranges have like rows.

    DuckDB passes over the blocks of the others by the least and greatest unit of each. Any cuts are right: every unit meets one
    condition.
    """
    last = _last_unit(connection, grouping.coded_sql) if many > 1 else 0
    cuts = [last * i // many for i in range(1, many)]
    lows, highs = ["true", *(f"unit >= {c}" for c in cuts)], [*(f"unit < {c}" for c in cuts), "true"]
    return [f" WHERE {low} AND {high}" for low, high in zip(lows, highs, strict=True)]


def _last_unit(connection: duckdb.DuckDBPyConnection, sql: str) -> int:
    """The greatest unit of the tables that a text reads, as far as they can be told; statistics of the version have it."""
    try:
        names = connection.get_table_names(sql)
    except duckdb.BinderException:  # pairs in an IN cannot be listed, but be run
        return 0
    last = 0
    for name in names:
        try:
            [(most,)] = connection.execute(f"SELECT max(_uid) FROM {quote_name(name)}").fetchall()
        except (duckdb.BinderException, duckdb.CatalogException):  # a public table, or no table at all
            continue
        last = max(last, most or 0)
    return last


def _steps(keys: Sequence[Digits]) -> list[kernel.Int32s]:
    """What each number of each key adds to a row's code, the digits in mixed radix; beyond all codes where it has no digit."""
    found, step = [], 1
    for key in reversed(keys):
        found.append(np.where(key.digits < BEYOND, key.digits * step, NOWHERE).astype(np.int32))
        step *= len(key.values)
    return found[::-1]


def _lent(column: pyarrow.Array) -> NDArray[Any]:
    """The column's numbers where they lie. (Arrow's own way would load pandas first, which takes a second.)"""
    if column.null_count:
        raise Unstreamable
    kind = np.dtype(str(column.type))
    return np.frombuffer(column.buffers()[1], kind, len(column), column.offset * kind.itemsize)

"""The rows of one question, unit by unit, by the compiled kernel: `privacy.sql.plan.Units` over rows that DuckDB streams.

Owns the way from Arrow batches to exact vectors. Rows come in the order of their units and are cut into chunks of whole units,
so that chunks need nothing of each other: as many threads as the limits allow work on them, and nothing materialises the table.
What the units' vectors are is settled once a chunk; as long as these are small they are kept for the passes that follow.

It needs keys that have numbers and rows that come in unit order (`numbers_of`, `Unstreamable`); the reference answers elsewhere.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from queue import SimpleQueue
from typing import Any, TypeVar

import duckdb
import numpy as np
import pyarrow
from numpy.typing import NDArray

from compute.engines import kernel
from compute.engines.chunks import Chunk, Fine, Lane, Slots, Totals, Unstreamable
from compute.engines.connection import Deadline
from compute.engines.numbers import BINNED, Numbers
from privacy.sql import reference
from privacy.sql.bound import TOTAL, WEIGHT_ONE
from privacy.sql.plan import Aggregate, Cell, Grouping, Statistic

#: Rows a batch: its arrays stay in the processor's cache. A chunk has no more units than that, and one.
BATCH = 122_880
#: One unit's rows are held at once: a unit of more than this is no work for a stream.
MAX_OPEN = 2**23
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
        self._named = [s.value for s in grouping.measured if s.value]
        # Vectors: the count of rows is the first, and is that of every statistic that counts rows.
        self._own = [s for s in grouping.measured if s.aggregate is Aggregate.UNITS or s.value]
        self._which = {s.name: 1 + self._own.index(s) if s in self._own else 0 for s in grouping.measured}
        self._binned = [s for s in self._own if s.aggregate in BINNED]
        self._fine = {s.name: at for at, s in enumerate(self._binned)}
        self._lanes: SimpleQueue[Lane] = SimpleQueue()
        for number in range(self._threads):
            self._lanes.put(Lane(number, self._codes, [self._codes * b for b in self._bins], len(self._own)))
        self._kept: list[Chunk] | None = None
        self._kept_for: Sequence[Cell] | None = None
        self._index, self._partial = np.zeros(0, np.int32), False

    def weights(self) -> tuple[Sequence[Cell], NDArray[np.int64]]:
        """Private keys with weight, by key."""
        totals = [np.zeros(self._codes + 1, np.int64) for _ in range(self._threads)]
        most, one = self._grouping.max_keys, float(WEIGHT_ONE)

        def weigh(chunk: Chunk, lane: int) -> None:
            kernel.weigh(chunk.owner, chunk.cell, most, one, np.zeros(chunk.units, np.int64), totals[lane])

        deque(self._each(weigh, None), maxlen=0)
        whole = sum(totals[1:], start=totals[0])[: self._codes]
        cells, codes = self._numbers.cells(np.nonzero(whole)[0])
        return cells, whole[codes]

    def lengths(self, cells: Sequence[Cell]) -> NDArray[np.float64]:
        """Squared lengths, one row a unit."""
        which = [0, *(self._which[s.name] for s in self._grouping.measured)]

        def squares(chunk: Chunk, _: int) -> NDArray[np.float64]:
            found = np.zeros((len(which), chunk.units))
            for j, vector in enumerate(which):
                first = which.index(vector)
                if first < j:
                    found[j] = found[first]
                else:
                    kernel.squares(chunk.owner, chunk.vectors[vector], found[j])
            has = found[0] > 0
            return found if has.all() else found[:, has]

        found = list(self._each(squares, cells))
        return np.concatenate(found, axis=1).T if found else np.zeros((0, len(which)))

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
                kernel.lengthen(chunk.owner, chunk.vectors[vector], weight, gain)
            kernel.limit(gain)
            for s, row in zip(counted, sums[lane].now, strict=True):
                own = chunk.vectors[self._which[s.name]]
                kernel.settle(chunk.owner, chunk.cell, self._index, own, float(s.up), gain, row)
            for s, totals in zip(binned, fine[lane], strict=True):
                slots = chunk.fine[self._fine[s.name]]
                many = bins[s.name]
                kernel.spread(slots.owner, slots.cell, slots.count, many, self._index, float(s.up), gain, totals.now)

        deque(self._each(settle, cells), maxlen=0)
        by_name = dict(zip((s.name for s in counted), Totals.joined(sums)[:, :-1], strict=True))
        for s, parts in zip(binned, zip(*fine, strict=True), strict=True):
            found = Totals.joined(parts).reshape(places, -1)[:-1]
            by_name[s.name] = found if s.order is not None else np.minimum(found, s.up).sum(axis=1).clip(-TOTAL, TOTAL)
        return [by_name[s.name] for s in statistics]

    # --- chunks ----------------------------------------------------------------------------------------------------------

    def _each(self, work: Callable[[Chunk, int], Found], cells: Sequence[Cell] | None) -> Iterator[Found]:
        """The work's results for all chunks of the rows in `cells` (None: all rows), in their order; threads are numbered."""
        known = self._aim_at(cells)
        fresh = known is None or self._kept_for is not cells
        keeping, size = bool(self._grouping.length_share or self._grouping.selects_keys), 0
        kept: list[Chunk] = []

        def one(source: Any) -> tuple[Chunk, Found]:
            lane = self._lanes.get()
            if not keeping:
                lane.forget()
            try:
                chunk = self._gathered(source, lane) if known is None else source
                if cells is not None and fresh and (chunk.misses or self._partial):
                    chunk = self._narrowed(chunk, len(cells))
                return chunk, work(chunk, lane.number)
            finally:
                self._lanes.put(lane)

        # Rows that are given up half-way keep the version open, and whoever opens it next waits for ever: they are closed.
        with closing(self._sources() if known is None else (chunk for chunk in known)) as sources:
            for chunk, found in self._spread(one, sources):
                size += chunk.size
                keeping = keeping and size <= KEPT
                if keeping:
                    kept.append(chunk)
                else:
                    kept.clear()
                yield found
        self._kept, self._kept_for = (kept, cells) if keeping else (None, None)

    def _spread(self, work: Callable[[Any], Found], sources: Iterator[Any] | Sequence[Any]) -> Iterator[Found]:
        """The results in order, with so many sources ahead as keep all threads at work."""
        if self._threads == 1:
            for source in sources:
                self._deadline.require()
                yield work(source)
            return
        with ThreadPoolExecutor(max_workers=self._threads) as pool:  # the loops run outside Python's lock
            ahead: deque[Future[Found]] = deque()
            for source in sources:
                self._deadline.require()
                ahead.append(pool.submit(work, source))
                if len(ahead) > 2 * self._threads:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()

    def _aim_at(self, cells: Sequence[Cell] | None) -> list[Chunk] | None:
        """Set the place of each code among `cells`; the chunks that are kept, unless they lack rows of these cells."""
        if self._kept_for is not None and self._kept_for is not cells:
            self._kept = self._kept_for = None
        if cells is not None and self._kept_for is None:
            self._index = self._places(cells)
            self._partial = bool((self._index[: self._codes] == len(cells)).any())
        return self._kept

    def _narrowed(self, chunk: Chunk, cells: int) -> Chunk:
        slots = np.flatnonzero(self._index[chunk.cell] < cells)
        vectors = tuple(v[slots] for v in chunk.vectors)
        return replace(chunk, misses=False, owner=chunk.owner[slots], cell=chunk.cell[slots], vectors=vectors)

    def _gathered(self, parts: Sequence[Part], lane: Lane) -> Chunk:
        """The vectors of the units whose rows these are."""
        lane.begin(sum(len(part[0]) for part in parts))
        for part in parts:
            code = self._code(part, lane)
            slot = lane.slots.take(part[0], code)
            for s, sums in zip(self._own, lane.sums, strict=True):
                self._add(s, sums, part, code, slot, lane)
        slots = len(lane.slots)
        return Chunk(
            units=lane.slots.units,
            misses=lane.slots.misses,
            owner=lane.kept(lane.slots.owner[:slots]),
            cell=lane.kept(lane.slots.cell[:slots]),
            vectors=tuple(lane.kept(v[:slots]) for v in (lane.slots.count, *lane.sums)),
            fine=tuple(_taken(s, f, lane) for s, f in zip(self._binned, lane.fine, strict=True)),
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
        bins, fine, placed = self._bins[at], lane.fine[at], lane.codes(1, len(code))
        kernel.locate(code, values, self._codes, 1 if s.order is None else s.order.width, bins, placed)
        fine_slot = fine.take(part[0], placed)
        if s.aggregate is Aggregate.QUANTILE:
            kernel.held(sums, slot, values)
        else:
            begun = lane.fresh[at]
            lane.fresh[at] = kernel.fresh(sums, slot, fine_slot, fine.cell, self._codes * bins, begun)

    def _sources(self) -> Generator[list[Part]]:
        """The parts of each chunk: unit, code and values of rows. A unit that may go on waits for the next batch."""
        open_parts: list[Part] = []
        waiting, last = 0, -1
        for record in self._records():
            batch = [_lent(column) for column in record.columns]
            unit = batch[0]
            if not len(unit):
                continue
            cut = int(np.searchsorted(unit, unit[-1]))
            if cut or (waiting and unit[0] != open_parts[0][0][0]):
                parts = [*open_parts, [column[:cut] for column in batch]] if cut else open_parts
                last = _in_order(parts, last)
                yield parts
                open_parts, waiting = [], 0
            open_parts.append([column[cut:] for column in batch])
            waiting += len(unit) - cut
            if waiting > MAX_OPEN:
                raise Unstreamable
        if open_parts:
            _in_order(open_parts, last)
            yield open_parts

    def _records(self) -> Generator[Any]:
        reader = self._connection.sql(self._rows_sql()).to_arrow_reader(BATCH)
        try:
            yield from reader
        finally:
            reader.close()

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
        for key, number in zip(self._keys, numbers, strict=True):
            kernel.combine(code, number, key.digits, len(key.values))
        return code


def _taken(s: Statistic, slots: Slots, lane: Lane) -> Fine:
    """The slots of a binned statistic: a unit adds each of its rows to a bin, but each of its values once."""
    many = len(slots)
    count = slots.count[:many] if s.aggregate is Aggregate.QUANTILE else np.ones(many, np.int64)
    return Fine(lane.kept(slots.owner[:many]), lane.kept(slots.cell[:many]), lane.kept(count))


def _lent(column: pyarrow.Array) -> NDArray[Any]:
    """The column's numbers where they lie. (Arrow's own way would load pandas first, which takes a second.)"""
    if column.null_count:
        raise Unstreamable
    kind = np.dtype(str(column.type))
    return np.frombuffer(column.buffers()[1], kind, len(column), column.offset * kind.itemsize)


def _in_order(parts: Sequence[Part], last: int) -> int:
    """The greatest unit of these parts, which must come after `last`: `gather` looks at the order within."""
    if int(parts[0][0][0]) <= last:
        raise Unstreamable
    return int(parts[-1][0][-1])

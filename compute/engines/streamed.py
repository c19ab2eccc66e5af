"""The rows of one question, unit by unit, by the compiled kernel: `privacy.sql.plan.Units` over rows that DuckDB streams.

Owns the way from Arrow batches to exact vectors. Rows come in the order of their units and are cut into chunks of whole units,
so that chunks need nothing of each other: as many threads as the limits allow work on them, and nothing materialises the table.
What the units' vectors are is settled once a chunk; as long as these are small they are kept for the passes that follow.

It needs keys that have numbers and rows that come in unit order (`keys_of`, `Unstreamable`); the reference answers elsewhere.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any, TypeVar

import duckdb
import numpy as np
import pyarrow
from numpy.typing import NDArray

from compute.engines import kernel
from compute.engines.connection import Deadline
from privacy.facts import Kind
from privacy.sql import reference
from privacy.sql.bound import MAX_REACH, TOTAL, WEIGHT_ONE
from privacy.sql.plan import Aggregate, Cell, Codes, Key, Plan, Statistic

#: Rows a batch: its arrays stay in the processor's cache. A chunk has no more units than that, and one.
BATCH = 122_880
#: Codes beyond this would need more memory for empty cells than rows take.
MAX_CODES = 2**24
#: One unit's rows are held at once: a unit of more than this is no work for a stream.
MAX_OPEN = 2**23
#: Vectors that are read more than once are kept while they take no more than this (bytes).
KEPT = 400 * 2**20
BLOCK = 16 * 2**20
#: Slots are numbered on and on; before this the numbers begin again.
MAX_SLOT = 2**30
#: The digit of a number that belongs to no key: times any radix it is beyond all codes.
BEYOND = 2**30

Found = TypeVar("Found")
Part = list[NDArray[Any]]


class Unstreamable(Exception):
    """Rows did not come in the order of their units or as whole numbers, or one unit has too many of them to hold."""


@dataclass(frozen=True, slots=True)
class _Key:
    """One key as a digit: its values by digit, the digit of each number in `coded_sql` (the last: of all numbers beyond).

    `plain`: numbers are digits as they stand. `missing`: the number of rows that have none; None where all have one.
    """

    values: Sequence[object]
    digits: NDArray[np.int64]
    plain: bool
    missing: int | None


def keys_of(connection: duckdb.DuckDBPyConnection, plan: Plan) -> list[_Key] | None:
    """The plan's keys as digits; None where one has no numbers.

    A text column of very many values is stored as text, without any; an empty table lists none.
    """
    if not plan.coded_sql:
        return None
    try:
        connection.sql(plan.coded_sql)
        return [_key(connection, key, codes) for key, codes in zip(plan.keys, plan.codes, strict=True)]
    except duckdb.BinderException:  # before any row is read
        return None


def _key(connection: duckdb.DuckDBPyConnection, key: Key, codes: Codes) -> _Key:
    listed = codes.values or connection.sql(codes.lookup).to_arrow_table().column(0).to_pylist()
    seen = [comparable(v, key.kind) for v in (*listed, *([None] if codes.values else []))]
    numbers = len(seen) if codes.nullable else len(seen) - 1
    values = list(dict.fromkeys(seen[:numbers]) if key.domain is None else key.domain)
    place = {comparable(v, key.kind): i for i, v in enumerate(values)}
    digits = np.array([*(place.get(v, BEYOND) for v in seen), BEYOND], np.int64)
    return _Key(
        values=values,
        digits=digits,
        plain=len(values) == numbers and bool((digits[:numbers] == np.arange(numbers)).all()),
        missing=len(seen) - 1 if codes.nullable else None,
    )


def comparable(value: object, kind: Kind) -> object:
    """A key as it compares: a number as its double, everything else exactly (integers beyond 2^53 differ)."""
    if value is None:
        return None
    return float(str(value)) if kind is Kind.NUMBER else int(str(value)) if kind is Kind.INTEGER else value


@dataclass(frozen=True, slots=True)
class _Chunk:
    """Whole units: `owner` (index of the unit), `cell` (code) and `vectors` (row 0 counts rows) of their slots.

    `misses`: some row's key has no code of its own.
    """

    units: int
    misses: bool
    owner: kernel.Int32s
    cell: kernel.Int32s
    vectors: kernel.Int64s

    @property
    def size(self) -> int:
        """Bytes."""
        return self.owner.nbytes + self.cell.nbytes + self.vectors.nbytes


class _Lane:
    """What one thread works with: the last slot of each code, buffers by row, and room for what it finds.

    Room comes in blocks that are large enough for the system to map them in large pages; asked for array by array, pages cost
    more than the loops that fill them.
    """

    def __init__(self, number: int, codes: int) -> None:
        self.number = number
        self.place = np.full(codes + 1, -1, np.int32)
        self.following = 0
        self._buffers: list[NDArray[Any]] = []
        self._codes = np.empty(0, np.int64)
        self._block, self._used = np.empty(0, np.uint8), 0

    def buffers(self, rows: int) -> list[NDArray[Any]]:
        """owner, cell, slot, count (0) and sum of so many slots or rows."""
        if not self._buffers or len(self._buffers[0]) < rows:
            self._buffers = [np.empty(rows, kind) for kind in (np.int32, np.int32, np.int32, np.int64, np.int64)]
        if self.following > MAX_SLOT:
            self.place.fill(-1)
            self.following = 0
        self._buffers[3][:rows] = 0
        return self._buffers

    def codes(self, rows: int) -> NDArray[np.int64]:
        """A code (0) for so many rows."""
        if len(self._codes) < rows:
            self._codes = np.empty(rows, np.int64)
        self._codes[:rows] = 0
        return self._codes[:rows]

    def room(self, rows: int, columns: int, kind: type) -> NDArray[Any]:
        """An array of shape (columns, rows) with anything in it."""
        size = rows * columns * np.dtype(kind).itemsize
        if self._used + size > len(self._block):
            self._block, self._used = np.empty(max(BLOCK, size), np.uint8), 0
        found: NDArray[Any] = self._block[self._used : self._used + size].view(kind).reshape(columns, rows)
        self._used += -(-size // 64) * 64
        return found

    def forget(self) -> None:
        """All room is free again."""
        self._used = 0


class _Totals:
    """Totals of one thread, exact whatever their size: 64 bits are emptied into two halves before they could overflow."""

    def __init__(self, statistics: Sequence[Statistic], cells: int) -> None:
        self.now = np.zeros((len(statistics), cells), np.int64)
        self._high, self._low = np.zeros_like(self.now), np.zeros_like(self.now)
        self._units, self._room = 0, TOTAL // _farthest(statistics)

    def expect(self, units: int) -> None:
        """Make room for the vectors of so many units."""
        if self._units + units > self._room:
            self._empty()
        self._units += units

    def _empty(self) -> None:
        self._high += self.now >> 32
        self._low += self.now & 0xFFFFFFFF
        self.now[:] = 0
        self._units = 0

    @staticmethod
    def joined(parts: Sequence[_Totals]) -> NDArray[np.int64]:
        """The sum of all parts, kept within ±2^62."""
        for part in parts:
            part._empty()
        low = sum((p._low for p in parts), start=np.int64(0))
        high = sum((p._high for p in parts), start=np.int64(0)) + (low >> 32)
        inside = np.clip((high << 32) | (low & 0xFFFFFFFF), -TOTAL, TOTAL)
        return np.where(high >= TOTAL >> 32, TOTAL, np.where(high < -TOTAL >> 32, -TOTAL, inside))


def _farthest(statistics: Sequence[Statistic]) -> int:
    """No unit adds more to a total: its vector is within what facts allow, and within the joint bound.

    A chunk's units never fill 64 bits: where facts allow the most the lattice of the totals is not refined.
    """
    whole = sum(s.share for s in statistics)
    return max(
        min(2 * MAX_REACH * s.up, math.isqrt(math.ceil(s.bound_squared * whole / s.share)) + 2) for s in statistics
    )


class StreamedUnits:
    """`Units` by the kernel, over rows that DuckDB streams, on `threads` threads."""

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        plan: Plan,
        keys: Sequence[_Key],
        deadline: Deadline,
        threads: int,
    ) -> None:
        self._connection, self._plan, self._deadline, self._threads = connection, plan, deadline, max(1, threads)
        self._keys = keys
        self.codes = math.prod(len(key.values) for key in keys)
        self._named = [s.value for s in plan.measured if s.value]
        # Vectors: the count of rows is the first, and is that of every statistic that counts rows.
        own = [s for s in plan.measured if s.aggregate is Aggregate.UNITS or s.value]
        self._own = own
        self._which = {s.name: 1 + own.index(s) if s in own else 0 for s in plan.measured}
        self._lanes: SimpleQueue[_Lane] = SimpleQueue()
        for number in range(self._threads):
            self._lanes.put(_Lane(number, self.codes))
        self._kept: list[_Chunk] | None = None
        self._kept_for: Sequence[Cell] | None = None
        self._index, self._partial = np.zeros(0, np.int32), False

    def weights(self) -> tuple[Sequence[Cell], NDArray[np.int64]]:
        """Private keys with weight, by key."""
        totals = [np.zeros(self.codes + 1, np.int64) for _ in range(self._threads)]
        most, one = self._plan.max_keys, float(WEIGHT_ONE)

        def weigh(chunk: _Chunk, lane: int) -> None:
            kernel.weigh(chunk.owner, chunk.cell, most, one, np.zeros(chunk.units, np.int64), totals[lane])

        deque(self._each(weigh, None), maxlen=0)
        whole = sum(totals[1:], start=totals[0])[: self.codes]
        held = np.nonzero(whole)[0]
        found = [(self._cell(code), weight) for code, weight in zip(held.tolist(), whole[held].tolist(), strict=True)]
        found.sort(key=lambda pair: _ordered(pair[0]))
        return [cell for cell, _ in found], np.array([weight for _, weight in found], np.int64)

    def lengths(self, cells: Sequence[Cell]) -> NDArray[np.float64]:
        """Squared lengths, one row a unit."""
        which = np.array([0, *(self._which[s.name] for s in self._plan.measured)])

        def squares(chunk: _Chunk, _: int) -> NDArray[np.float64]:
            found = np.zeros((len(which), chunk.units))
            kernel.squares(chunk.owner, chunk.vectors, which, found)
            return found[:, found[0] > 0]

        found = list(self._each(squares, cells))
        return np.concatenate(found, axis=1).T if found else np.zeros((0, len(which)))

    def totals(self, statistics: Sequence[Statistic], cells: Sequence[Cell]) -> list[NDArray[np.int64]]:
        """Totals, each unit scaled to its bound."""
        if not statistics:
            return []
        sums = [_Totals(statistics, len(cells) + 1) for _ in range(self._threads)]
        which = np.array([self._which[s.name] for s in statistics])
        weight, up = np.array(reference.factors(statistics)), np.array([s.up for s in statistics], np.float64)

        def settle(chunk: _Chunk, lane: int) -> None:
            sums[lane].expect(chunk.units)
            gain, vectors = np.zeros(chunk.units), chunk.vectors
            totals = sums[lane].now
            kernel.settle(chunk.owner, chunk.cell, self._index, vectors, which, weight, up, gain, totals)

        deque(self._each(settle, cells), maxlen=0)
        return list(_Totals.joined(sums)[:, :-1])

    # --- chunks ----------------------------------------------------------------------------------------------------------

    def _each(self, work: Callable[[_Chunk, int], Found], cells: Sequence[Cell] | None) -> Iterator[Found]:
        """The work's results for all chunks of the rows in `cells` (None: all rows), in their order; threads are numbered."""
        known = self._aim_at(cells)
        fresh = known is None or self._kept_for is not cells
        keeping, size = bool(self._plan.length_share or self._plan.selects_keys), 0
        kept: list[_Chunk] = []

        def one(source: Any) -> tuple[_Chunk, Found]:
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

    def _aim_at(self, cells: Sequence[Cell] | None) -> list[_Chunk] | None:
        """Set the place of each code among `cells`; the chunks that are kept, unless they lack rows of these cells."""
        if self._kept_for is not None and self._kept_for is not cells:
            self._kept = self._kept_for = None
        if cells is not None and self._kept_for is None:
            self._index = self._places(cells)
            self._partial = bool((self._index[: self.codes] == len(cells)).any())
        return self._kept

    def _narrowed(self, chunk: _Chunk, cells: int) -> _Chunk:
        slots = kernel.narrow(chunk.owner, chunk.cell, chunk.vectors, self._index, cells)
        return _Chunk(chunk.units, False, *slots)  # noqa: FBT003

    def _gathered(self, parts: Sequence[Part], lane: _Lane) -> _Chunk:
        """The vectors of the units whose rows these are."""
        owner, cell, slot, count, total = lane.buffers(sum(len(part[0]) for part in parts))
        base, first = lane.following, 0
        state, slots_of = np.array([-1, base, base, -1, base], np.int64), []
        for part in parts:
            slots_of.append(slot[first : first + len(part[0])])
            first += len(part[0])
            if kernel.gather(part[0], self._code(part, lane), lane.place, state, owner, cell, count, slots_of[-1]):
                raise Unstreamable
        lane.following = int(state[kernel.NEXT])
        slots, units = lane.following - base, int(state[kernel.INDEX]) + 1
        vectors = lane.room(slots, 1 + len(self._own), np.int64)
        vectors[0] = count[:slots]
        for j, s in enumerate(self._own, start=1):
            if s.aggregate is Aggregate.UNITS:
                vectors[j] = 1
                continue
            total[:slots] = 0
            add = kernel.add_values if s.aggregate is not Aggregate.UNITS_WHERE else kernel.mark
            for part, places in zip(parts, slots_of, strict=True):
                add(total, places, part[1 + len(self._keys) + self._named.index(s.value)])
            vectors[j] = total[:slots]
        misses = bool(lane.place[self.codes] >= base)
        named = lane.room(slots, 2, np.int32)
        named[0], named[1] = owner[:slots], cell[:slots]
        return _Chunk(units, misses, named[0], named[1], vectors)

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
        index = np.full(self.codes + 1, len(cells), np.int32)
        if not self._plan.selects_keys:  # digits follow the public values, and codes the grid
            index[: self.codes] = np.arange(self.codes)
            return index
        kinds = [k.kind for k in self._plan.keys]
        known = [
            {comparable(v, kind): i for i, v in enumerate(key.values)}
            for key, kind in zip(self._keys, kinds, strict=True)
        ]
        for place, cell in enumerate(cells):
            code = 0
            for lookup, value, kind in zip(known, cell, kinds, strict=True):
                code = code * len(lookup) + lookup[comparable(value, kind)]
            index[code] = place
        return index

    def _cell(self, code: int) -> Cell:
        found = []
        for key in reversed(self._keys):
            code, digit = divmod(code, len(key.values))
            found.append(key.values[digit])
        return tuple(reversed(found))

    def _rows_sql(self) -> str:
        """unit, the numbers of the keys, values: no number is missing."""
        numbers = [
            f"c{i}" if key.missing is None else f"coalesce(c{i}, {key.missing})" for i, key in enumerate(self._keys)
        ]
        return f"SELECT {', '.join(['unit', *numbers, *self._named])} FROM ({self._plan.coded_sql})"

    def _code(self, part: Part, lane: _Lane) -> NDArray[Any]:
        """The code of each row: the digits of its keys in mixed radix, the last key's fastest."""
        numbers, rows = part[1 : 1 + len(self._keys)], len(part[0])
        if len(numbers) == 1 and self._keys[0].plain and numbers[0].dtype.kind == "u":
            return numbers[0]
        code = lane.codes(rows)
        for key, number in zip(self._keys, numbers, strict=True):
            kernel.combine(code, number, key.digits, len(key.values))
        return code


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


def _ordered(cell: Cell) -> tuple[tuple[bool, Any], ...]:
    """Keys in ascending order, NULL last."""
    return tuple((value is None, value if value is not None else 0) for value in cell)

"""Whole units at a time: the vectors of a chunk of rows, what a thread needs to find them, and exact totals of many chunks.

Owns the arrays between DuckDB's batches and the totals of `compute.engines.streamed`, which decides what is gathered in them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compute.engines import kernel
from privacy.sql.bound import TOTAL
from privacy.sql.plan import Statistic

#: Room is taken in blocks of so many bytes.
BLOCK = 16 * 2**20
#: Slots are numbered on and on; before this the numbers begin again.
MAX_SLOT = 2**30
#: A unit of more rows than this is no work for a stream: its rows in a cell are counted in 32 bits.
MAX_ROWS = 2**23


class Unstreamable(Exception):
    """Rows did not come in the order of their units or as whole numbers, or one unit has too many of them to count."""


Owners = NDArray[np.uint16]


@dataclass(frozen=True, slots=True)
class Fine:
    """What units add to bins: owners, and codes · bins + bin. A unit adds each of its rows, or each of its values once."""

    owner: Owners
    cell: kernel.Int32s


@dataclass(frozen=True, kw_only=True, slots=True)
class Chunk:
    """Whole units: `owner` (index of the unit), `cell` (code) and `vectors` (the first counts rows) of their slots.

    `misses`: some row's key has no code of its own. `fine` has the bins of each binned statistic.
    """

    units: int
    misses: bool
    owner: Owners
    cell: NDArray[Any]
    vectors: tuple[NDArray[Any], ...]
    fine: tuple[Fine, ...] = ()
    _squares: dict[int, kernel.Doubles] = field(default_factory=dict)

    def squares(self, vector: int) -> kernel.Doubles:
        """The squared length of that vector of each unit; found once."""
        if vector not in self._squares:
            self._squares[vector] = np.zeros(self.units)
            kernel.squares(self.owner, self.vectors[vector], self._squares[vector])
        return self._squares[vector]

    def narrowed(self, index: kernel.Int32s, places: int) -> Chunk:
        """The same units with those of their slots whose code has one of the first `places`, by `index`."""
        slots = np.empty(len(self.cell), np.int64)
        slots = slots[: kernel.narrow(self.cell, index, places, slots)]
        vectors = tuple(v[slots] for v in self.vectors)
        return replace(self, misses=False, owner=self.owner[slots], cell=self.cell[slots], vectors=vectors, _squares={})

    @property
    def size(self) -> int:
        """Bytes, with those of the squared lengths."""
        fine = sum(f.owner.nbytes + f.cell.nbytes for f in self.fine)
        vectors = sum(v.nbytes + 8 * self.units for v in self.vectors)
        return self.owner.nbytes + self.cell.nbytes + vectors + fine


class Slots:
    """Slots for codes below `codes`, batch by batch: those of the unit that is open stay, as it may go on in the next batch."""

    def __init__(self, codes: int) -> None:
        self._place = np.full(codes + 1, -1, np.int32)
        self._state = np.array([-1, 0, 0, -1, 0, 0], np.int64)
        self.owner, self.cell = np.empty(0, np.uint16), np.empty(0, np.int32)
        self.count, self._slot = np.empty(0, np.int32), np.empty(0, np.int32)

    def restart(self) -> None:
        """No unit is open: other rows follow."""
        following = self._state[kernel.NEXT]
        self._state[:] = (-1, following, following, -1, following, 0)

    def move(self, rows: int) -> slice:
        """Move the open unit's slots to the front, with room for so many rows behind them; where they were before."""
        unit, following, opened, _, base, open_rows = (int(n) for n in self._state)
        was, many = slice(opened - base, following - base), following - opened
        self.owner, self.cell, self.count = (moved(a, was, rows) for a in (self.owner, self.cell, self.count))
        self.owner[:many] = 0
        self.count[many : many + rows] = 0
        if len(self._slot) < rows:
            self._slot = np.empty(rows, np.int32)
        if following > MAX_SLOT:
            opened, following = 0, many
            self._place.fill(-1)
            self._place[self.cell[:many]] = np.arange(many)
        self._state[:] = (unit, following, opened, -1 if unit < 0 else 0, opened, open_rows)
        return was

    def take(self, unit: NDArray[Any], code: NDArray[Any]) -> kernel.Int32s:
        """The slots of the batch's rows."""
        slot = self._slot[: len(unit)]
        if kernel.gather(unit, code, self._place, self._state, self.owner, self.cell, self.count, slot):
            raise Unstreamable
        if self.open_rows > MAX_ROWS:
            raise Unstreamable
        return slot

    def __len__(self) -> int:
        """How many slots there are, those of the open unit included."""
        return int(self._state[kernel.NEXT] - self._state[kernel.BASE])

    def close(self) -> None:
        """No further row comes: the open unit is whole."""
        self._state[kernel.OPENED] = self._state[kernel.NEXT]
        self._state[kernel.INDEX] += 1

    @property
    def open_rows(self) -> int:
        """How many rows the open unit has until now."""
        return int(self._state[kernel.ROWS])

    @property
    def units(self) -> int:
        """How many units are whole."""
        return max(0, int(self._state[kernel.INDEX]))

    @property
    def whole(self) -> int:
        """How many slots are those of whole units."""
        return int(self._state[kernel.OPENED] - self._state[kernel.BASE])

    @property
    def misses(self) -> bool:
        """Whether a row had the code after the last."""
        return bool(self._place[-1] >= self._state[kernel.BASE])


class Rows:
    """The bin of each row and the row's owner, batch by batch like `Slots`: for what adds up each row, whatever its bin."""

    def __init__(self) -> None:
        self.owner, self.cell = np.empty(0, np.uint16), np.empty(0, np.int32)
        self.whole = self._rows = 0

    def restart(self) -> None:
        """No unit is open: other rows follow."""
        self.whole = self._rows = 0

    def move(self, rows: int) -> slice:
        """Move the open unit's rows to the front, with room for so many behind them; where they were before."""
        was = slice(self.whole, self._rows)
        self.owner, self.cell = moved(self.owner, was, rows), moved(self.cell, was, rows)
        self.whole, self._rows = 0, was.stop - was.start
        self.owner[: self._rows] = 0
        return was

    def take(self, slots: Slots, slot: kernel.Int32s) -> kernel.Int32s:
        """Room for the bins of the rows that have these slots."""
        first, self._rows = self._rows, self._rows + len(slot)
        kernel.own(slots.owner, slot, self.owner[first : self._rows])
        self.whole = self._rows - slots.open_rows
        return self.cell[first : self._rows]

    def close(self) -> None:
        """No further row comes: the open unit is whole."""
        self.whole = self._rows


class Lane:
    """What one thread works with: slots of codes, and what it finds in them.

    Beside the slots, `fine` has those of bins or the bins of rows, `sums` are by slot, and codes by row.

    Room comes in blocks that are large enough for the system to map them in large pages; asked for array by array, pages cost
    more than the loops that fill them.
    """

    def __init__(self, number: int, codes: int, fine: Sequence[int | None], sums: int) -> None:
        self.number = number
        self.slots = Slots(codes)
        self.fine = [Rows() if many is None else Slots(many) for many in fine]
        self.fresh = [0] * len(self.fine)
        self.sums: list[kernel.Int64s] = [np.empty(0, np.int64) for _ in range(sums)]
        self.cells, self._codes = (np.uint16 if codes < 2**16 else np.int32), np.empty((2, 0), np.int32)
        self._block, self._used = np.empty(0, np.uint8), 0

    def restart(self) -> None:
        """No unit is open: other rows follow."""
        for slots in (self.slots, *self.fine):
            slots.restart()

    def begin(self, rows: int) -> None:
        """Begin a batch of so many rows: sums of 0 behind those of the open unit."""
        was = self.slots.move(rows)
        many = was.stop - was.start
        self.sums = [moved(s, was, rows) for s in self.sums]
        for sums in self.sums:
            sums[many : many + rows] = 0
        self.fresh = [f.stop - f.start for f in (slots.move(rows) for slots in self.fine)]

    def close(self) -> bool:
        """No further row comes: the open unit is whole. False when there is none."""
        self.begin(0)
        for slots in (self.slots, *self.fine):
            slots.close()
        return len(self.slots) > 0

    def codes(self, which: int, rows: int) -> kernel.Int32s:
        """Room for the code of each of so many rows: of keys (0), or of bins (1)."""
        if self._codes.shape[1] < rows:
            self._codes = np.zeros((2, rows), np.int32)
        return self._codes[which, :rows]

    def least(self, numbers: NDArray[np.integer[Any]]) -> NDArray[Any]:
        """A copy in as few bits as all numbers fit in: 8 of those without sign, 32 or 64."""
        low, high = (int(numbers.min()), int(numbers.max())) if len(numbers) else (0, 0)
        small, wide = low >= 0 and high < 2**8, max(high, -low) >= 2**31
        return self.kept(numbers, np.uint8 if small else np.int64 if wide else np.int32)

    def kept(self, numbers: NDArray[np.integer[Any]], kind: type) -> NDArray[Any]:
        """A copy."""
        size = len(numbers) * np.dtype(kind).itemsize
        if self._used + size > len(self._block):
            self._block, self._used = np.empty(max(BLOCK, size), np.uint8), 0
        found: NDArray[Any] = self._block[self._used : self._used + size].view(kind)
        self._used += -(-size // 64) * 64
        found[:] = numbers
        return found

    def forget(self) -> None:
        """All room is free again."""
        self._used = 0


def moved(numbers: NDArray[Any], was: slice, rows: int) -> NDArray[Any]:
    """The numbers that were there at the front, with room for so many behind them; in their place where there is that room."""
    many = was.stop - was.start
    found = numbers if len(numbers) >= many + rows else np.empty(many + rows, numbers.dtype)
    found[:many] = numbers[was]
    return found


class Totals:
    """Totals of one thread, exact whatever their size: 64 bits are emptied into two halves before they could overflow.

    `now` has the given shape; what a unit adds to one of its numbers is within the bounds of `statistics`.
    """

    def __init__(self, statistics: Sequence[Statistic], shape: tuple[int, ...]) -> None:
        self.now = np.zeros(shape, np.int64)
        self._high, self._low = np.zeros_like(self.now), np.zeros_like(self.now)
        self._units, self._room = 0, TOTAL // farthest(statistics)

    def expect(self, units: int) -> None:
        """Make room for the vectors of so many units."""
        if self._units + units > self._room:
            self._empty()
        self._units += units

    def _empty(self) -> None:
        self._high += self.now >> 32
        self._low += self.now & 0xFFFFFFFF
        self.now[...] = 0
        self._units = 0

    @staticmethod
    def joined(parts: Sequence[Totals]) -> NDArray[np.int64]:
        """The sum of all parts, kept within ±2^62."""
        for part in parts:
            part._empty()
        low = sum((p._low for p in parts), start=np.int64(0))
        high = sum((p._high for p in parts), start=np.int64(0)) + (low >> 32)
        inside = np.clip((high << 32) | (low & 0xFFFFFFFF), -TOTAL, TOTAL)
        return np.where(high >= TOTAL >> 32, TOTAL, np.where(high < -TOTAL >> 32, -TOTAL, inside))


def farthest(statistics: Sequence[Statistic]) -> int:
    """No unit adds more to a total, whatever its rows are: the joint bound allows B_j·up_j / sqrt(a_j), and no more.

    A chunk's units never fill 64 bits: B_j·up_j is at most `MAX_REACH` / 2 by facts, or little more than `FINE` where the lattice
    was refined; 1/a_j is at most `MAX_STATISTICS`; and 2^43 · sqrt(40) times the units of a chunk is below 2^63.
    """
    whole = sum(s.share for s in statistics)
    return max(math.isqrt(math.ceil(s.bound_squared * whole / s.share)) + 2 for s in statistics)

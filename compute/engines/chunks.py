"""Whole units at a time: the vectors of a chunk of rows, what a thread needs to find them, and exact totals of many chunks.

Owns the arrays between DuckDB's batches and the totals of `compute.engines.streamed`, which decides what is gathered in them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
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


class Unstreamable(Exception):
    """Rows did not come in the order of their units or as whole numbers, or one unit has too many of them to hold."""


@dataclass(frozen=True, slots=True)
class Fine:
    """Slots of (code, bin) beside those of codes: owners, codes · bins + bin, and how many times the unit adds to each."""

    owner: kernel.Int32s
    cell: kernel.Int32s
    count: kernel.Int32s


@dataclass(frozen=True, kw_only=True, slots=True)
class Chunk:
    """Whole units: `owner` (index of the unit), `cell` (code) and `vectors` (the first counts rows) of their slots.

    `misses`: some row's key has no code of its own. `fine` has the slots of each binned statistic.
    """

    units: int
    misses: bool
    owner: kernel.Int32s
    cell: kernel.Int32s
    vectors: tuple[NDArray[Any], ...]
    fine: tuple[Fine, ...] = ()

    @property
    def size(self) -> int:
        """Bytes."""
        fine = sum(f.owner.nbytes + f.cell.nbytes + f.count.nbytes for f in self.fine)
        return self.owner.nbytes + self.cell.nbytes + sum(v.nbytes for v in self.vectors) + fine


class Slots:
    """The slots of the open chunk for codes below `codes`: the last slot of each code is kept from chunk to chunk."""

    def __init__(self, codes: int) -> None:
        self._place = np.full(codes + 1, -1, np.int32)
        self._base = self._rows = 0
        self._state = np.zeros(5, np.int64)
        self.owner, self.cell, self._slot = (np.empty(0, np.int32) for _ in range(3))
        self.count = np.empty(0, np.int64)

    def begin(self, rows: int) -> None:
        """Make room for a chunk of so many rows."""
        self._base = int(self._state[kernel.NEXT])
        if self._base > MAX_SLOT:
            self._place.fill(-1)
            self._base = 0
        self._state[:] = (-1, self._base, self._base, -1, self._base)
        self._rows = 0
        if len(self.count) < rows:
            self.owner, self.cell, self._slot = (np.empty(rows, np.int32) for _ in range(3))
            self.count = np.empty(rows, np.int64)
        self.count[:rows] = 0

    def take(self, unit: NDArray[Any], code: NDArray[Any]) -> kernel.Int32s:
        """The slots of further rows."""
        slot = self._slot[self._rows : self._rows + len(unit)]
        self._rows += len(unit)
        if kernel.gather(unit, code, self._place, self._state, self.owner, self.cell, self.count, slot):
            raise Unstreamable
        return slot

    def __len__(self) -> int:
        """How many slots the chunk has until now."""
        return int(self._state[kernel.NEXT]) - self._base

    @property
    def units(self) -> int:
        """How many units."""
        return int(self._state[kernel.INDEX]) + 1

    @property
    def misses(self) -> bool:
        """Whether a row had the code after the last."""
        return bool(self._place[-1] >= self._base)


class Lane:
    """What one thread works with: slots of codes, of bins (`fine`), sums by slot, codes by row, and room for what it finds.

    Room comes in blocks that are large enough for the system to map them in large pages; asked for array by array, pages cost
    more than the loops that fill them.
    """

    def __init__(self, number: int, codes: int, fine: Sequence[int], sums: int) -> None:
        self.number = number
        self.slots, self.fine = Slots(codes), [Slots(f) for f in fine]
        self.fresh = [0] * len(self.fine)
        self.sums, self._codes = np.empty((sums, 0), np.int64), np.empty((2, 0), np.int64)
        self._block, self._used = np.empty(0, np.uint8), 0

    def begin(self, rows: int) -> None:
        """Begin a chunk of so many rows: no slots, and sums of 0."""
        for slots in (self.slots, *self.fine):
            slots.begin(rows)
        self.fresh = [0] * len(self.fine)
        if self.sums.shape[1] < rows:
            self.sums = np.empty((len(self.sums), rows), np.int64)
            self._codes = np.empty((2, rows), np.int64)
        self.sums[:, :rows] = 0

    def codes(self, which: int, rows: int) -> NDArray[np.int64]:
        """A code (0) for each of so many rows: of keys (0), or of bins (1)."""
        found = self._codes[which, :rows]
        found[:] = 0
        return found

    def kept(self, numbers: NDArray[np.integer[Any]]) -> NDArray[Any]:
        """A copy, as 32 bits where all numbers fit."""
        wide = len(numbers) and max(int(numbers.max()), -int(numbers.min())) >= 2**31
        found = self._room(len(numbers), np.int64 if wide else np.int32)
        found[:] = numbers
        return found

    def _room(self, rows: int, kind: type) -> NDArray[Any]:
        size = rows * np.dtype(kind).itemsize
        if self._used + size > len(self._block):
            self._block, self._used = np.empty(max(BLOCK, size), np.uint8), 0
        found: NDArray[Any] = self._block[self._used : self._used + size].view(kind)
        self._used += -(-size // 64) * 64
        return found

    def forget(self) -> None:
        """All room is free again."""
        self._used = 0


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

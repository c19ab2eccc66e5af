"""The compiled loops over a question's rows: from (unit, code, values) in the order of units to exact vectors of each unit.

Owns the loops that are too hot for SQL and nothing else: it reads arrays, knows no table and draws no noise. The arithmetic is
that of `privacy.sql.reference`, step by step; the argument is in `privacy.sql.bound`.

Rows of one unit stand side by side. `gather` gives each (unit, code) pair a *slot*, numbered in order of appearance; a unit's
vectors are numbers by slot. Every loop runs forward through memory, and none branches on what a row holds or on where a unit
ends. Whatever is used as an index is unsigned: a signed one would be looked at for being negative each time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from privacy.sql.bound import SHRINK, WITHIN

Int64s = NDArray[np.int64]
Int32s = NDArray[np.int32]
Doubles = NDArray[np.float64]

#: `state` of slots: the open unit's number, the next slot and the open unit's first slot (both as `place` numbers them), the
#: open unit's index, the number of the first slot that is held, and the rows of the open unit.
UNIT, NEXT, OPENED, INDEX, BASE, ROWS = range(6)


def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Machine code, kept between processes where there is a place to write it."""
    try:
        return njit(nogil=True, cache=True)(function)
    except RuntimeError:
        return njit(nogil=True)(function)


@_compiled
def combine(code, number, places, further):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """The place of each row's number, added to its code if there were `further` ones; the last place is that of all beyond."""
    most = np.uint64(places.shape[0] - 1)
    for i in range(code.shape[0]):
        n = min(np.uint64(np.int64(number[i])), most)
        code[i] = code[i] + places[n] if further else places[n]


@_compiled
def gather(unit, code, place, state, owner, cell, count, slot):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """The slot of each row; `owner` (index of the unit), `cell` (code) and `count` (rows, from 0) of each slot.

    `place` holds the last slot of each code: it is the open unit's if it is not before that unit's first. Codes beyond the last
    place are the last. 1 when a unit comes after a greater one.
    """
    last, following, opened, index, base = state[0], state[1], state[2], state[3], state[4]
    disorder, most, first = False, place.shape[0] - 1, -state[5]
    for i in range(unit.shape[0]):
        u = np.int64(unit[i])
        if u != last:
            disorder |= u < last
            last, opened, index, first = u, following, index + 1, i
        c = np.uint64(min(np.int64(code[i]), most))
        p = np.int64(place[c])
        new = p < opened
        p = following if new else p
        place[c] = p
        at = np.uint64(p - base)
        cell[at] = c
        owner[at] = index
        count[at] += 1
        following += np.int64(new)
        slot[i] = at
    state[0], state[1], state[2], state[3], state[5] = last, following, opened, index, unit.shape[0] - first
    return np.int64(disorder)


@_compiled
def locate(code, number, codes, width, bins, placed):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """code · bins + the bin of each row's number, `width` numbers a bin; codes · bins for a row without a number or a code.

    The quotient of numbers below 2^51 by way of doubles is exact: half a number away from the next whole one.
    """
    for i in range(code.shape[0]):
        n, c = np.int64(number[i]), np.int64(code[i])
        at = min(np.int64((n + 0.5) / width), bins - 1)
        placed[i] = codes * bins if (n < 0) | (c >= codes) else c * bins + at


@_compiled
def own(owner, slot, whose):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """The owner of each row's slot."""
    for i in range(slot.shape[0]):
        whose[i] = owner[np.uint32(slot[i])]


@_compiled
def held(sums, slot, number):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """The rows of each slot that have a number."""
    for i in range(slot.shape[0]):
        sums[np.uint32(slot[i])] += np.int64(number[i] >= 0)


@_compiled
def fresh(sums, slot, fine, cell, most, following):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """How many fine slots begin in each slot, those of code `most` not counted; `following` is the first that has not begun."""
    for i in range(slot.shape[0]):
        f = np.int64(fine[i])
        sums[np.uint32(slot[i])] += np.int64((f >= following) & (cell[np.uint64(f)] != most))
        following = max(following, f + 1)
    return following


@_compiled
def add_values(sums, slot, values):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """The value of each row, to the sum of its slot."""
    for i in range(slot.shape[0]):
        sums[np.uint32(slot[i])] += values[i]


@_compiled
def mark(sums, slot, holds):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """One where some row of the slot holds."""
    for i in range(slot.shape[0]):
        sums[np.uint32(slot[i])] |= holds[i]


@_compiled
def narrow(cell, index, places, slots):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """The slots whose code has one of the places, and how many they are."""
    found = np.int64(0)
    for s in range(cell.shape[0]):
        slots[np.uint64(found)] = s
        found += np.int64(index[np.uint32(cell[s])] < places)
    return found


@_compiled
def squares(owner, vector, found):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """found[unit] += Σ vector² over the unit's slots."""
    for s in range(owner.shape[0]):
        x = np.float64(vector[s])
        found[owner[s]] += x * x


@_compiled
def limit(r):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """The factor that keeps a unit of squared joint length r within its bound, in its place."""
    for u in range(r.shape[0]):
        r[u] = 1.0 if r[u] <= WITHIN else SHRINK / np.sqrt(r[u])


@_compiled
def settle(owner, cell, index, vector, up, gain, totals):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Add the units' vector to `totals`, each times its gain; `index` has a code's place."""
    for s in range(owner.shape[0]):
        totals[np.uint32(index[np.uint32(cell[s])])] += np.int64(vector[s] * (up * gain[owner[s]]))


@_compiled
def spread(owner, cell, bins, index, up, gain, totals):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Add, for each (code, bin) in `cell`, its unit's gain to the bin of the code's place."""
    for s in range(owner.shape[0]):
        c = np.uint32(cell[s])
        code = np.uint32(c // np.uint32(bins))
        at = np.uint64(index[code]) * np.uint64(bins) + np.uint64(c - code * np.uint32(bins))
        totals[at] += np.int64(up * gain[owner[s]])


@_compiled
def weigh(owner, cell, most, one, weights, totals):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Add floor(one/sqrt(m)) to each of the m <= most codes of a unit; `weights` has room for that of each unit, from 0."""
    for s in range(owner.shape[0]):
        weights[owner[s]] += 1
    for u in range(weights.shape[0]):
        m = weights[u]
        weights[u] = np.int64(np.floor(one / np.sqrt(np.float64(m)))) if 0 < m <= most else 0
    for s in range(owner.shape[0]):
        totals[np.uint32(cell[s])] += weights[owner[s]]


def prepare() -> None:
    """Compile, or load from before, the loops for all kinds of arrays that versions give: the first question need not wait."""
    unit, slots, none, one = _given(np.uint32), np.zeros(1, np.int32), np.zeros(1, np.int64), np.zeros(1)
    owner, small = np.zeros(1, np.uint16), np.zeros(1, np.uint8)
    for number in (np.uint8, np.uint16, np.uint32, np.int32):
        combine(slots.copy(), _given(number), slots, False)  # noqa: FBT003
    for code in (_given(np.uint8), _given(np.uint16), _given(np.uint32), slots):
        state = np.array([-1, 0, 0, -1, 0, 0], np.int64)
        gather(unit, code, np.full(2, -1, np.int32), state, owner.copy(), slots.copy(), slots.copy(), slots.copy())
        locate(code, _given(np.int32), 1, 1, 1, slots.copy())
    for value in (np.int32, np.int64):
        add_values(none.copy(), slots, _given(value))
    for loop in (mark, held):
        loop(none.copy(), slots, _given(np.int32))
    fresh(none.copy(), slots, slots, slots, 1, 0)
    cells = np.zeros(1, np.uint16), slots
    for vector in (small, slots, none):
        squares(owner, vector, one.copy())
        for cell in cells:
            settle(owner, cell, slots, vector, 1.0, one, none.copy())
    for cell in cells:
        narrow(cell, slots, 1, none.copy())
        weigh(owner, cell, 1, 1.0, none.copy(), none.copy())
    spread(owner, slots, 1, slots, 1.0, one, none.copy())
    own(owner, slots, owner.copy())
    limit(one.copy())


def _given(kind: type) -> NDArray[Any]:
    """An array as Arrow lends it: read-only."""
    found: NDArray[Any] = np.zeros(1, kind)
    found.flags.writeable = False
    return found

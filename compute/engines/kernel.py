"""The compiled loops over a question's rows: from (unit, code, values) in the order of units to exact vectors of each unit.

Owns the loops that are too hot for SQL and nothing else: it reads arrays, knows no table and draws no noise. The arithmetic is
that of `privacy.sql.reference`, step by step; the argument is in `privacy.sql.bound`.

Rows of one unit stand side by side. `gather` gives each (unit, code) pair a *slot*, numbered in order of appearance; a unit's
vectors are numbers by slot. Every loop runs forward through memory, and none branches on what a row holds.
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

#: `state` of a chunk: the open unit's number, the next slot and the open unit's first slot (both as `place` numbers them), the
#: open unit's index in the chunk, and the number of the chunk's first slot.
UNIT, NEXT, OPENED, INDEX, BASE = range(5)


def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Machine code, kept between processes where there is a place to write it."""
    try:
        return njit(nogil=True, cache=True)(function)
    except RuntimeError:
        return njit(nogil=True)(function)


@_compiled
def combine(code, number, digits, radix):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """code · radix + the digit of each row's number; the last of `digits` is that of all numbers beyond."""
    most = digits.shape[0] - 1
    for i in range(code.shape[0]):
        n = np.int64(number[i])
        n = most if (n < 0) | (n > most) else n
        code[i] = code[i] * radix + digits[n]


@_compiled
def gather(unit, code, place, state, owner, cell, count, slot):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """The slot of each row; `owner` (index of the unit), `cell` (code) and `count` (rows, from 0) of each slot.

    `place` holds the last slot of each code: it is the open unit's if it is not before that unit's first. Codes beyond the last
    place are the last. 1 when a unit comes after a greater one.
    """
    last, following, opened, index, base = state[0], state[1], state[2], state[3], state[4]
    disorder, most = False, place.shape[0] - 1
    for i in range(unit.shape[0]):
        u = np.int64(unit[i])
        if u != last:
            disorder |= u < last
            last, opened, index = u, following, index + 1
        c = min(np.int64(code[i]), most)
        p = np.int64(place[c])
        new = np.int64(p < opened)
        p += new * (following - p)
        place[c] = p
        at = p - base
        cell[at] = c
        owner[at] = index
        count[at] += 1
        following += new
        slot[i] = at
    state[0], state[1], state[2], state[3] = last, following, opened, index
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
def held(sums, slot, number):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """The rows of each slot that have a number."""
    for i in range(slot.shape[0]):
        sums[slot[i]] += np.int64(number[i] >= 0)


@_compiled
def fresh(sums, slot, fine, cell, most, following):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """How many fine slots begin in each slot, those of code `most` not counted; `following` is the first that has not begun."""
    for i in range(slot.shape[0]):
        f = np.int64(fine[i])
        sums[slot[i]] += np.int64((f >= following) & (cell[f] != most))
        following = max(following, f + 1)
    return following


@_compiled
def add_values(sums, slot, values):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """The value of each row, to the sum of its slot."""
    for i in range(slot.shape[0]):
        sums[slot[i]] += values[i]


@_compiled
def mark(sums, slot, holds):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """One where some row of the slot holds."""
    for i in range(slot.shape[0]):
        sums[slot[i]] |= holds[i]


@_compiled
def narrow(owner, cell, vectors, index, cells):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """The slots whose code has a place among the first `cells`: their owners, codes and vectors."""
    kept = np.int64(0)
    for s in range(owner.shape[0]):
        kept += np.int64(index[cell[s]] < cells)
    owners, codes = np.empty(kept + 1, owner.dtype), np.empty(kept + 1, cell.dtype)
    values = np.empty((vectors.shape[0], kept + 1), vectors.dtype)
    at = np.int64(0)
    for s in range(owner.shape[0]):
        owners[at], codes[at] = owner[s], cell[s]
        for j in range(vectors.shape[0]):
            values[j, at] = vectors[j, s]
        at += np.int64(index[cell[s]] < cells)
    return owners[:kept], codes[:kept], values[:, :kept]


@_compiled
def squares(owner, vectors, which, found):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """found[j, unit] += Σ vectors[which[j]]² over the unit's slots."""
    for j in range(which.shape[0]):
        v, f = vectors[which[j]], found[j]
        for s in range(owner.shape[0]):
            x = np.float64(v[s])
            f[owner[s]] += x * x


@_compiled
def gains(owner, vectors, which, weight, gain):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """The factor that keeps each unit within its bound, to `gain`, which starts at 0."""
    for j in range(which.shape[0]):
        v, w = vectors[which[j]], weight[j]
        for s in range(owner.shape[0]):
            x = np.float64(v[s])
            gain[owner[s]] += w * (x * x)
    for u in range(gain.shape[0]):
        gain[u] = 1.0 if gain[u] <= WITHIN else SHRINK / np.sqrt(gain[u])


@_compiled
def settle(owner, cell, index, vectors, which, up, gain, totals):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Add the units' vectors to `totals`, each times its gain; `index` has a code's place."""
    for j in range(which.shape[0]):
        v, t, w = vectors[which[j]], totals[j], up[j]
        for s in range(owner.shape[0]):
            t[index[cell[s]]] += np.int64(v[s] * (w * gain[owner[s]]))


@_compiled
def spread(owner, cell, count, bins, index, up, gain, totals):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Add, for each slot of (code, bin), its count times the unit's gain to the bin of the code's place."""
    for s in range(owner.shape[0]):
        c = np.int64(cell[s])
        code = c // bins
        totals[np.int64(index[code]) * bins + (c - code * bins)] += count[s] * np.int64(up * gain[owner[s]])


@_compiled
def weigh(owner, cell, most, one, keys, totals):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Add floor(one/sqrt(m)) to each of the m <= most codes of a unit; `keys` counts the codes of each unit, from 0."""
    for s in range(owner.shape[0]):
        keys[owner[s]] += 1
    for s in range(owner.shape[0]):
        m = keys[owner[s]]
        if m <= most:
            totals[cell[s]] += np.int64(np.floor(one / np.sqrt(np.float64(m))))


def prepare() -> None:
    """Compile, or load from before, the loops for all kinds of arrays that versions give: the first question need not wait."""
    unit, slots, none, one = _given(np.uint32), np.zeros(1, np.int32), np.zeros(1, np.int64), np.zeros(1)
    for number in (np.uint8, np.uint16, np.uint32, np.int32):
        combine(none.copy(), _given(number), none, 1)
    for code in (_given(np.uint8), _given(np.uint16), _given(np.uint32), none):
        state = np.array([-1, 0, 0, -1, 0], np.int64)
        gather(unit, code, np.full(2, -1, np.int32), state, slots.copy(), slots.copy(), none.copy(), slots.copy())
        locate(code, _given(np.int32), 1, 1, 1, none.copy())
    for value in (np.int32, np.int64):
        add_values(none.copy(), slots, _given(value))
    for loop in (mark, held):
        loop(none.copy(), slots, _given(np.int32))
    fresh(none.copy(), slots, slots, slots, 1, 0)
    vectors, totals = np.zeros((1, 1), np.int64), np.zeros((1, 1), np.int64)
    narrow(slots, slots, vectors, slots, 1)
    squares(slots, vectors, none, np.zeros((1, 1)))
    gains(slots, vectors, none, one, one.copy())
    settle(slots, slots, slots, vectors, none, one, one, totals)
    spread(slots, slots, slots, 1, slots, 1.0, one, none.copy())
    weigh(slots, slots, 1, 1.0, none.copy(), none.copy())


def _given(kind: type) -> NDArray[Any]:
    """An array as Arrow lends it: read-only."""
    found: NDArray[Any] = np.zeros(1, kind)
    found.flags.writeable = False
    return found

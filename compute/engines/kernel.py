"""The compiled pass over a question's rows: from (unit, code, values) in the order of units to exact vectors of each unit.

Owns the loops that are too hot for SQL and nothing else: it reads arrays, knows no table and draws no noise. The arithmetic is
that of `privacy.sql.reference`, step by step; the argument is in `privacy.sql.bound`.

Rows of one unit stand side by side. `gather` gives each (unit, code) pair a *slot*, numbered in order of appearance; sums are
taken by slot, so that every loop runs forward through memory and none branches on what a row holds. `place` holds the last slot
of each code: it is this unit's if it is not before the unit's first. A unit that goes on in the next batch keeps its slots.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from privacy.sql.bound import SHRINK, TOTAL, WITHIN

Int64s = NDArray[np.int64]
Int32s = NDArray[np.int32]
Doubles = NDArray[np.float64]

#: `state` of a pass: the open unit's number, the next slot and the first one in the buffers (both since the beginning), the
#: open unit's first slot, and its index among the units of the batch.
UNIT, NEXT, BASE, FIRST, INDEX = range(5)


def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Machine code, kept between processes where there is a place to write it."""
    try:
        return njit(nogil=True, cache=True)(function)
    except RuntimeError:
        return njit(nogil=True)(function)


@_compiled
def gather(unit, code, place, state, cell, owner, slot):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """The slot of each row; `cell` and `owner` (index of the unit) of each slot. 1 when a unit comes after a greater one.

    Codes beyond the last place are the last.
    """
    last, following, base, first, index = state[0], state[1], state[2], state[3], state[4]
    disorder, most = False, place.shape[0] - 1
    for i in range(unit.shape[0]):
        u = np.int64(unit[i])
        if u != last:
            disorder |= u < last
            last, first, index = u, following, index + 1
        c = min(np.int64(code[i]), most)
        p = place[c]
        new = np.int64(p < first)
        p += new * (following - p)
        place[c] = p
        cell[p - base] = c
        owner[p - base] = index
        following += new
        slot[i] = p - base
    state[0], state[1], state[3], state[4] = last, following, first, index
    return np.int64(disorder)


@_compiled
def count_rows(sums, j, slot):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """One for each row."""
    for i in range(slot.shape[0]):
        sums[slot[i], j] += 1


@_compiled
def add_values(sums, j, slot, values):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """The value of each row."""
    for i in range(slot.shape[0]):
        sums[slot[i], j] += values[i]


@_compiled
def mark(sums, j, slot, holds):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """One where some row holds."""
    for i in range(slot.shape[0]):
        sums[slot[i], j] |= holds[i]


@_compiled
def squares(sums, slots, owner, found):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """found[unit, j] += Σ sums², over the first `slots` slots."""
    for s in range(slots):
        u = owner[s]
        for j in range(sums.shape[1]):
            x = np.float64(sums[s, j])
            found[u, j] += x * x


@_compiled
def settle(sums, slots, cell, index, owner, units, weight, up, gain, totals):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Add the vectors of the first `units` units to `totals`, each scaled to its bound; `index` maps a code to its place."""
    gain[:units] = 0.0
    for s in range(slots):
        r = 0.0
        for j in range(sums.shape[1]):
            x = np.float64(sums[s, j])
            r += weight[j] * (x * x)
        gain[owner[s]] += r
    for u in range(units):
        gain[u] = 1.0 if gain[u] <= WITHIN else SHRINK / np.sqrt(gain[u])
    for s in range(slots):
        g = gain[owner[s]]
        c = index[cell[s]]
        for j in range(sums.shape[1]):
            t = totals[c, j] + np.int64(sums[s, j] * (up[j] * g))
            totals[c, j] = min(max(t, -TOTAL), TOTAL)


@_compiled
def weigh(slots, cell, owner, units, most, one, keys, totals):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Add floor(one/sqrt(m)) to each of the m <= most codes of a unit; `keys` counts the codes of each unit."""
    keys[:units] = 0
    for s in range(slots):
        keys[owner[s]] += 1
    for s in range(slots):
        m = keys[owner[s]]
        if m <= most:
            t = totals[cell[s]] + np.int64(np.floor(one / np.sqrt(np.float64(m))))
            totals[cell[s]] = min(t, TOTAL)

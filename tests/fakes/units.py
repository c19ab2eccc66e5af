"""Units that are given: the totals of a plan as a test wrote them down, or the vectors of its units."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from privacy.sql.bound import SHRINK, WITHIN
from privacy.sql.plan import Aggregate, Cell, Plan, Statistic
from privacy.sql.reference import factors


@dataclass(frozen=True, slots=True)
class Given:
    """`cells` hold the keys, then for each statistic of the plan, weights included, an integer or the integers of its bins."""

    plan: Plan
    cells: Sequence[Cell]
    squares: Sequence[Sequence[float]] = ()

    def weights(self) -> tuple[Sequence[Cell], NDArray[np.int64]]:
        width = len(self.plan.keys)
        place = next(i for i, s in enumerate(self.plan.statistics) if s.aggregate is Aggregate.WEIGHT)
        return [c[:width] for c in self.cells], np.array([c[width + place] for c in self.cells], np.int64)

    def lengths(self, cells: Sequence[Cell]) -> NDArray[np.float64]:
        return np.array(self.squares, np.float64).reshape(-1, len(self.plan.measured) + 1)

    def totals(self, statistics: Sequence[Statistic], cells: Sequence[Cell]) -> list[NDArray[np.int64]]:
        width = len(self.plan.keys)
        known = {c[:width]: c[width:] for c in self.cells}
        places = [(i, s) for i, s in enumerate(self.plan.statistics) if s.aggregate is not Aggregate.WEIGHT]
        nothing = [(0,) * s.order.bins if s.order else 0 for s in self.plan.statistics]
        found = [np.array([known.get(tuple(c), nothing)[i] for c in cells], np.int64) for i, _ in places]
        return [t.reshape(-1, s.order.bins) if s.order else t for t, (_, s) in zip(found, places, strict=True)]


@dataclass(frozen=True, slots=True)
class Vectors:
    """The units' own vectors, shape (units, cells, measured statistics): bounded as `privacy.sql.bound` says, in numpy."""

    plan: Plan
    rows: NDArray[np.int64]

    def weights(self) -> tuple[Sequence[Cell], NDArray[np.int64]]:
        raise AssertionError("public keys have no weights")

    def lengths(self, cells: Sequence[Cell]) -> NDArray[np.float64]:
        squares = (self.rows.astype(np.float64) ** 2).sum(axis=1)
        return np.concatenate([squares[:, :1], squares], axis=1)

    def totals(self, statistics: Sequence[Statistic], cells: Sequence[Cell]) -> list[NDArray[np.int64]]:
        r = (self.rows.astype(np.float64) ** 2).sum(axis=1) @ np.array(factors(statistics))
        gain = np.where(r <= WITHIN, 1.0, SHRINK / np.sqrt(np.maximum(r, 1e-300)))
        up = np.array([s.up for s in statistics], np.float64)
        scaled = np.trunc(self.rows * (up * gain[:, None])[:, None, :]).astype(np.int64)
        return [np.ascontiguousarray(t) for t in scaled.sum(axis=0).T]

"""Units that are given: the totals of a plan as a test wrote them down."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from privacy.sql.plan import Aggregate, Cell, Plan, Statistic


@dataclass(frozen=True, slots=True)
class Given:
    """`cells` hold the keys, then one integer for each statistic of the plan, weights included."""

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
        places = [i for i, s in enumerate(self.plan.statistics) if s.aggregate is not Aggregate.WEIGHT]
        nothing = (0,) * len(self.plan.statistics)
        return [np.array([known.get(tuple(c), nothing)[i] for c in cells], np.int64) for i in places]

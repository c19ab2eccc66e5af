"""Units that are given: the totals of a plan as a test wrote them down, or the rows of its units."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from privacy.sql.bound import SHRINK, WEIGHT_ONE, WITHIN
from privacy.sql.plan import Aggregate, Cell, Grouping, Plan, Statistic
from privacy.sql.reference import factors


@dataclass(frozen=True, slots=True)
class Given:
    """`cells` hold the keys, then for each statistic of the plan, weights included, an integer or the integers of its bins."""

    plan: Plan
    cells: Sequence[Cell]
    squares: Sequence[Sequence[float]] = ()

    def __call__(self, grouping: Grouping) -> Given:
        """The rows of a version, opened for this grouping."""
        return self

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
class Rows:
    """The rows that `rows_sql` yields, bounded as `privacy.sql.bound` says in plain Python: any plan, any statistic."""

    plan: Plan
    rows: Sequence[tuple[Any, ...]]

    def __call__(self, grouping: Grouping) -> Rows:
        """The rows of a version, opened for this grouping."""
        return self

    def weights(self) -> tuple[Sequence[Cell], NDArray[np.int64]]:
        held: dict[object, set[Cell]] = {}
        for row in self.rows:
            held.setdefault(row[0], set()).add(self._cell(row))
        found: dict[Cell, int] = {}
        for keys in held.values():
            for key in keys if len(keys) <= self.plan.max_keys else ():
                found[key] = found.get(key, 0) + int(WEIGHT_ONE / math.sqrt(len(keys)))
        cells = sorted(found, key=lambda c: [(v is None, v) for v in c])
        return cells, np.array([found[c] for c in cells], np.int64)

    def lengths(self, cells: Sequence[Cell]) -> NDArray[np.float64]:
        squares = [
            [sum(self._coordinate(s, own) ** 2 for own in held.values()) for s in (None, *self.plan.measured)]
            for held in self._units(cells).values()
        ]
        return np.array(squares, np.float64).reshape(-1, len(self.plan.measured) + 1)

    def totals(self, statistics: Sequence[Statistic], cells: Sequence[Cell]) -> list[NDArray[np.int64]]:
        shapes = [(len(cells), *([s.order.bins] if s.order else [])) for s in statistics]
        totals = [np.zeros(shape, np.int64) for shape in shapes]
        known = {c: i for i, c in enumerate(cells)}
        given: dict[tuple[int, int, object], int] = {}
        for held in self._units(cells).values():
            squares = [sum(self._coordinate(s, own) ** 2 for own in held.values()) for s in statistics]
            r = sum(f * q for f, q in zip(factors(statistics), squares, strict=True))
            gain = 1.0 if r <= WITHIN else SHRINK / math.sqrt(r)
            for cell, own in held.items():
                for j, s in enumerate(statistics if cell in known else ()):
                    at, one = known[cell], math.trunc(s.up * gain)
                    if s.order is not None:
                        for value in self._values(s, own):
                            totals[j][at, value // s.order.width] += one
                    elif s.aggregate is Aggregate.DISTINCT:
                        for value in set(self._values(s, own)):
                            given[j, at, value] = given.get((j, at, value), 0) + one
                    else:
                        totals[j][at] += math.trunc(self._coordinate(s, own) * (s.up * gain))
        for (j, at, _), weight in given.items():
            totals[j][at] += min(statistics[j].up, weight)
        return totals

    def _cell(self, row: tuple[Any, ...]) -> Cell:
        return row[1 : 1 + len(self.plan.keys)]

    def _units(self, cells: Sequence[Cell]) -> dict[object, dict[Cell, list[tuple[Any, ...]]]]:
        """What each unit has in each cell; rows with a public key that is none of the values bound their unit too."""
        found: dict[object, dict[Cell, list[tuple[Any, ...]]]] = {}
        for row in self.rows:
            if not self.plan.selects_keys or self._cell(row) in cells:
                found.setdefault(row[0], {}).setdefault(self._cell(row), []).append(row)
        return found

    def _values(self, s: Statistic, rows: Sequence[tuple[Any, ...]]) -> list[Any]:
        named = [t.value for t in self.plan.statistics if t.value]
        place = 1 + len(self.plan.keys) + named.index(s.value)
        return [row[place] for row in rows if row[place] is not None]

    def _coordinate(self, s: Statistic | None, rows: Sequence[tuple[Any, ...]]) -> int:
        if s is None or not s.value:
            return 1 if s is not None and s.aggregate is Aggregate.UNITS else len(rows)
        values = self._values(s, rows)
        match s.aggregate:
            case Aggregate.SUM | Aggregate.COUNT:
                return sum(values)
            case Aggregate.UNITS_WHERE:
                return int(any(values))
            case Aggregate.DISTINCT:
                return len(set(values))
        return len(values)


@dataclass(frozen=True, slots=True)
class Tallied:
    """`Rows`, added up once, for a plan that is asked thousands of times with other bounds.

    `sums` has shape (units, cells, 1 + measured statistics), rows first; `binned` has for a QUANTILE its rows by bin, for a
    DISTINCT a 1 for each value, of shape (units, cells, bins or values). Public keys of rows are all in the plan's domains.
    """

    rows: Rows
    cells: Sequence[Cell]
    sums: NDArray[np.int64]
    binned: dict[str, NDArray[np.int64]]

    @classmethod
    def of(cls, rows: Rows) -> Tallied:
        plan = rows.plan
        cells = list(rows.weights()[0]) if plan.selects_keys else plan.grid()
        held = list(rows._units(cells).values())
        sums = np.zeros((len(held), len(cells), 1 + len(plan.measured)), np.int64)
        for u, own in enumerate(held):
            for cell, owned in own.items():
                known = [rows._coordinate(s, owned) for s in (None, *plan.measured)]
                sums[u, cells.index(cell)] = known
        binned = {}
        for s in plan.measured:
            if s.aggregate not in (Aggregate.QUANTILE, Aggregate.DISTINCT):
                continue
            values = {v for own in held for owned in own.values() for v in rows._values(s, owned)}
            places = {v: v // s.order.width if s.order else i for i, v in enumerate(sorted(values))}
            tally = np.zeros((len(held), len(cells), s.order.bins if s.order else len(values)), np.int64)
            for u, own in enumerate(held):
                for cell, owned in own.items():
                    for v in rows._values(s, owned):
                        tally[u, cells.index(cell), places[v]] += 1
            binned[s.name] = tally if s.order else np.minimum(tally, 1)
        return cls(rows, cells, sums, binned)

    def weights(self) -> tuple[Sequence[Cell], NDArray[np.int64]]:
        return self.rows.weights()

    def lengths(self, cells: Sequence[Cell]) -> NDArray[np.float64]:
        found = (self.sums[:, [self.cells.index(c) for c in cells]].astype(np.float64) ** 2).sum(axis=1)
        return found[found[:, 0] > 0]

    def totals(self, statistics: Sequence[Statistic], cells: Sequence[Cell]) -> list[NDArray[np.int64]]:
        at = [self.cells.index(c) for c in cells]
        sums = self.sums[:, at, 1:]
        r = (sums.astype(np.float64) ** 2).sum(axis=1) @ np.array(factors(statistics))
        gain = np.where(r <= WITHIN, 1.0, SHRINK / np.sqrt(np.maximum(r, 1e-300)))
        found = []
        for j, s in enumerate(statistics):
            if s.name not in self.binned:
                found.append(np.trunc(sums[:, :, j] * (s.up * gain)[:, None]).astype(np.int64).sum(axis=0))
                continue
            given = np.tensordot(np.trunc(s.up * gain).astype(np.int64), self.binned[s.name][:, at], 1)
            found.append(given if s.order else np.minimum(s.up, given).sum(axis=1))
        return found

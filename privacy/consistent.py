r"""Totals that agree: noisy counts and sums of nested groupings, brought together by weighted least squares.

Owns what ROLLUP, CUBE and GROUPING SETS by public keys promise: parts add up to their totals, to the last digit. Only noisy
values are read, so it costs nothing (Dwork & Roth 2014, Proposition 2.1), and every number gets at least as exact as it was.

Each grouping S counts the same rows on the grid of its keys, n(S\T) cells of S for each cell of a coarser T. A table over S is
the sum of its effects, one for each T ⊆ S: what its marginal over T varies by when every key of T is centred. Effects of
different T are orthogonal, and the noise of S is the same in all its cells and independent of that of other groupings, so least
squares over all tables falls apart into one weighted mean for each effect: S tells the effect T of the marginal with variance
sigma_S² · n(S\T) times that of centring, the same for all S. Weights are the inverse variances (Gauss & Markov); every table is
then put together from the same effects. Hay et al. 2010 ("Boosting the Accuracy of Differentially Private Histograms Through
Consistency") do so for trees, Barak et al. 2007 for marginals by Fourier coefficients, Xiao et al. 2023 ("An Optimal and Scalable
Matrix Mechanism for Noisy Marginals", Section 4) by these effects.

Whole numbers. Of a grouping that lies within no other the cells are rounded one after the other so that the sum of those before
is always the nearest whole number: each block of cells, and so every total of ROLLUP, is less than one off. Coarser groupings are
sums of these. Where two groupings lie within no other, totals they share may differ by as little.

Left as they are: groupings with private keys (a total holds rows of keys that are not shown), a grouping of which the minimum of
units withholds a cell (the others would tell it by subtraction), and numbers of units and of different values, and quantiles,
whose parts do not add up.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from privacy.answer import NoisyCells
from privacy.loss import Loss
from privacy.scales import scale
from privacy.sql.plan import Aggregate, Grouping, Nested, Plan

Numbers = NDArray[np.float64]
Axes = tuple[int, ...]

#: Sums beyond this are too coarse as doubles to be rounded; so many effects, times cells, are a second of work.
LARGEST = 2.0**50
MAX_WORK = 10**8


@dataclass(frozen=True, slots=True)
class _Table:
    """One statistic of one grouping: values on the grid of its axes (in ascending order), and their variance."""

    axes: Axes
    values: Numbers
    variance: float

    def share(self, axes: Axes) -> int:
        """How many cells of this table each cell over some of its axes has."""
        return math.prod(n for axis, n in zip(self.axes, self.values.shape, strict=True) if axis not in axes)

    def effect(self, axes: Axes) -> Numbers:
        """The effect of these axes in the marginal over them: the other dimensions have length 1."""
        found = self.values.sum(axis=tuple(i for i, a in enumerate(self.axes) if a not in axes), keepdims=True)
        for i, axis in enumerate(self.axes):
            if axis in axes:
                found = found - found.mean(axis=i, keepdims=True)
        return np.asarray(found, np.float64)

    def part(self, axes: Axes) -> float:
        """The variance of one cell of the effect, beside that of one cell of the marginal."""
        parts = (1 - 1 / n for axis, n in zip(self.axes, self.values.shape, strict=True) if axis in axes)
        return math.prod(parts, start=1.0)


def consistent(plan: Plan, noisy: Sequence[NoisyCells], loss: Loss) -> list[NoisyCells]:
    """The noisy cells of each grouping, those of nested ones with totals that agree."""
    found = list(noisy)
    for family in plan.nested:
        shown = (found[at].values for at, _ in family)  # of no cells there is nothing to say
        members = [m for m, rows in zip(family, shown, strict=True) if rows and all(None not in row for row in rows)]
        for place in _added(plan, members):
            _agree(plan, found, members, place, loss)
    return found


def _added(plan: Plan, members: Nested | Sequence[tuple[int, Axes]]) -> Iterator[int]:
    """The places of statistics that add up, in all groupings of a family; they ask the same in the same order."""
    groupings = [plan.groupings[at] for at, _ in members]
    axes = [axes for _, axes in members]
    work = len(_effects(axes)) * sum(g.cells or 0 for g in groupings)
    for place, alike in enumerate(zip(*(g.statistics for g in groupings), strict=False)):
        same = {(s.aggregate, s.label, s.value, s.reach, s.round_to) for s in alike}
        additive = alike[0].aggregate in (Aggregate.COUNT, Aggregate.SUM)
        if len(members) > 1 and len(same) == 1 and additive and work * len(groupings[0].statistics) <= MAX_WORK:
            yield place


def _agree(plan: Plan, noisy: list[NoisyCells], members: Sequence[tuple[int, Axes]], place: int, loss: Loss) -> None:
    """Replace one statistic in all members."""
    tables = [_table(plan.groupings[at], axes, noisy[at], place, loss) for at, axes in members]
    if any(np.abs(t.values).sum() > LARGEST for t in tables):
        return
    whole = rounded(agreed(tables))
    for (at, axes), table in zip(members, whole, strict=True):
        statistic = plan.groupings[at].statistics[place]
        grid = table.values.transpose(np.argsort(np.argsort(axes))).ravel()
        column = [int(n) * statistic.up for n in grid]
        values = [(*row[:place], n, *row[place + 1 :]) for row, n in zip(noisy[at].values, column, strict=True)]
        deviation = math.sqrt(table.variance) * float(statistic.round_to)
        noisy[at] = replace(noisy[at], values=values, deviation={**noisy[at].deviation, statistic.name: deviation})


def _table(grouping: Grouping, axes: Axes, noisy: NoisyCells, place: int, loss: Loss) -> _Table:
    """A statistic's noisy values, in units of its rounding."""
    statistic = grouping.statistics[place]
    drawn = np.array([row[place] for row in noisy.values], np.float64) / statistic.up
    shape = [len(k.domain or ()) for k in grouping.keys]
    order = np.argsort(axes)
    values = drawn.reshape(shape).transpose(order)
    return _Table(tuple(sorted(axes)), values, (scale(statistic, loss) / statistic.up) ** 2)


def _effects(members: Sequence[Axes]) -> list[Axes]:
    """The effects that several tables have."""
    shared = [set(a) & set(b) for a, b in itertools.combinations(members, 2)]
    found = {t for s in shared for n in range(len(s) + 1) for t in itertools.combinations(sorted(s), n)}
    return sorted(found, key=lambda t: (len(t), t))


def agreed(tables: Sequence[_Table]) -> list[_Table]:
    """The tables that least squares makes of them, and the variance of one cell of each."""
    values, variances = [t.values for t in tables], [t.variance for t in tables]
    for axes in _effects([t.axes for t in tables]):
        having = [i for i, t in enumerate(tables) if set(axes) <= set(t.axes)]
        own = {i: tables[i].effect(axes) for i in having}
        weights = {i: 1 / (tables[i].variance * tables[i].share(axes)) for i in having}
        whole = sum(weights.values())
        mean = sum(weights[i] * own[i].ravel() for i in having) / whole
        for i in having:
            share = tables[i].share(axes)
            values[i] = values[i] + (np.reshape(mean, own[i].shape) - own[i]) / share
            variances[i] += tables[i].part(axes) / share**2 * (1 / whole - 1 / weights[i])
    return [
        replace(t, values=v, variance=max(0.0, variance))
        for t, v, variance in zip(tables, values, variances, strict=True)
    ]


def rounded(tables: Sequence[_Table]) -> list[_Table]:
    """Whole numbers whose parts add up, and their variance with that of rounding."""
    found: dict[Axes, _Table] = {}
    finest = [t for t in tables if not any(set(t.axes) < set(other.axes) for other in tables)]
    for table in finest:
        running = np.floor(np.cumsum(table.values.ravel()) + 0.5)
        whole = np.diff(running, prepend=0.0).reshape(table.values.shape)
        found[table.axes] = _Table(table.axes, whole, table.variance + 1 / 6)
    for table in tables:
        if table.axes not in found:
            finer = next(found[t.axes] for t in finest if set(table.axes) < set(t.axes))
            whole = finer.values.sum(axis=tuple(i for i, a in enumerate(finer.axes) if a not in table.axes))
            found[table.axes] = _Table(table.axes, whole, table.variance + _runs(finer, table.axes) / 6)
    return [found[t.axes] for t in tables]


def _runs(finer: _Table, axes: Axes) -> int:
    """In how many pieces the cells lie, in the order of rounding, that make one cell over these axes."""
    last = max((finer.axes.index(a) for a in axes), default=0)
    before = zip(finer.axes[:last], finer.values.shape, strict=False)
    return math.prod(n for axis, n in before if axis not in axes)

"""Noisy cells → Answer: the asker's columns and order, and an interval for every value. Post-processing alone.

Owns what leaves, and what a preview says of it before anything is spent. It reads noisy values, the plan and the price, and
never an exact one: nothing here can cost anything (Dwork & Roth 2014, Proposition 2.1).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from decimal import Decimal
from functools import lru_cache
from statistics import NormalDist
from typing import Any

import numpy as np

from privacy import order
from privacy.facts import Kind
from privacy.loss import Loss
from privacy.redraw import Interval, redrawn
from privacy.scales import Z95, half_of, half_width, value_scale
from privacy.sql.plan import (
    MOMENTS,
    TYPES,
    Average,
    Cell,
    Finish,
    Grouping,
    Output,
    Plan,
    SmallTable,
    Statistic,
    place_name,
)

DRAWS = 1_000
MAX_DRAWN = 4_000_000
NOISE_KIND = "discrete_gaussian"

Shown = str | int | float | bool | date | datetime | None
Drawn = int | order.Picked | None
Stated = Interval | tuple[date, date]
"""The ends of an interval: numbers, or days and moments where the value is one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Noise:
    """The noise of one column: kind, and its standard deviation in the column's own unit."""

    kind: str
    scale: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Column:
    """One column of an answer; `noise` is None for keys, quantiles and columns derived from several statistics."""

    name: str
    kind: Kind
    is_key: bool
    noise: Noise | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What leaves: rows as asked, a 95 % interval for every value that is a number or a drawn day, and what it cost.

    `intervals` is parallel to `rows`; None for keys, texts and suppressed values. `suppressed` counts the cells that the
    minimum of units withheld (from noisy counts, so it may be told); it is 0 for private keys, whose missing cells look like
    keys that were not selected. `statistics` are the plan's with the bounds that were used.
    """

    columns: tuple[Column, ...]
    rows: tuple[tuple[Shown, ...], ...]
    intervals: tuple[tuple[Stated | None, ...], ...]
    suppressed: int
    loss: Loss
    threshold: float | None
    statistics: tuple[Statistic, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class PlusMinus:
    """What a preview says of one column: half the width of its 95 % interval.

    For an average it is that of a group of `rows` rows; None (with `rows` None) where it depends on the answer.
    """

    name: str
    half_width: float | None
    rows: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class NoisyCells:
    """Cells that may be shown: keys, and each statistic as a noisy lattice integer or a drawn quantile (None where withheld).

    `deviation` is the standard deviation, in the value's own unit, of statistics that are more exact than their own noise.
    """

    keys: list[Cell]
    values: list[tuple[Drawn, ...]]
    suppressed: int
    threshold: float | None
    deviation: Mapping[str, float] = field(default_factory=dict)


def preview(plan: Plan, loss: Loss, *, rows: int = 1_000) -> tuple[PlusMinus, ...]:
    """± of every column before anything is spent, from the plan and the price alone; unknown while bounds are to be chosen."""
    return tuple(_widest(o, plan, loss, rows) for o in plan.outputs if not o.is_key)


def _widest(output: Output, plan: Plan, loss: Loss, rows: int) -> PlusMinus:
    """The ± in the grouping where it is widest; where totals agree it may be less."""
    found = [_plus_minus(output, plan.groupings[at], loss, rows) for at in output.groupings]
    unknown = PlusMinus(name=output.name, half_width=None)
    if any(p.half_width is None for p in found):
        return unknown
    return max(found, key=lambda p: p.half_width or 0.0, default=unknown)


def _plus_minus(output: Output, grouping: Grouping, loss: Loss, rows: int) -> PlusMinus:
    by_name = grouping.by_name
    if grouping.length_share:
        return PlusMinus(name=output.name, half_width=None)
    if output.statistic is not None and by_name[output.statistic].order is None:
        return PlusMinus(name=output.name, half_width=half_width(by_name[output.statistic], loss))
    if output.average is not None:
        total, count = (value_scale(by_name[n], loss) for n in (output.average.total, output.average.rows))
        return PlusMinus(
            name=output.name, half_width=Z95 * math.hypot(total, output.average.reach * count) / rows, rows=rows
        )
    return PlusMinus(name=output.name, half_width=None)


def assemble(plan: Plan, noisy: Sequence[NoisyCells], loss: Loss, finish: Finish) -> Answer:
    """The asker's columns and order, and the intervals, by post-processing alone. `noisy` are the cells of each grouping."""
    tables = [_noisy_table(g, cells) for g, cells in zip(plan.groupings, noisy, strict=True)]
    rows = finish(plan.finish_sql, {place_name("noisy", i): table for i, table in enumerate(tables)})
    sigma = [_deviations(g, cells, loss) for g, cells in zip(plan.groupings, noisy, strict=True)]
    spread = redrawn(plan, tables, sigma, finish) if plan.redraw_sql else {}
    ends = _Ends(
        plan=plan,
        spread=_spread(plan, tables[0], loss, finish) if plan.spread_sql else spread,
        noisy=tables,
        places=[{name: i for i, (name, _) in enumerate(table.columns)} for table in tables],
        picked=[_picked(g, cells) for g, cells in zip(plan.groupings, noisy, strict=True)],
        sigma=sigma,
        halves=[
            {s.name: half_of(own[s.name], float(s.round_to)) for s in g.statistics}
            for g, own in zip(plan.groupings, sigma, strict=True)
        ],
    )
    first = 3 if plan.located else 1
    return Answer(
        columns=tuple(_column(o, plan, loss) for o in plan.outputs),
        rows=tuple(tuple(_shown(v) for v in row[first:]) for row in rows),
        intervals=tuple(ends.of(row[:first], row[first:]) for row in rows),
        suppressed=sum(n.suppressed for n in noisy),
        loss=loss,
        threshold=max((n.threshold for n in noisy if n.threshold is not None), default=None),
        statistics=_statistics(plan),
    )


def _statistics(plan: Plan) -> tuple[Statistic, ...]:
    """Those of all groupings; where there are several, a statistic's label says which it is of."""
    if not plan.also:
        return plan.statistics
    numbered = enumerate(plan.groupings, start=1)
    return tuple(replace(s, label=f"{s.label} ({i})") for i, g in numbered for s in g.statistics)


def _deviations(grouping: Grouping, noisy: NoisyCells, loss: Loss) -> dict[str, float]:
    """The standard deviation of each statistic, in its own unit."""
    return {s.name: noisy.deviation.get(s.name) or value_scale(s, loss) for s in grouping.statistics}


def _noisy_table(grouping: Grouping, noisy: NoisyCells) -> SmallTable:
    """cell, the keys, the statistics, and of each quantile how far it may be off (as a standard deviation)."""
    quantiles, picked = [s for s in grouping.statistics if s.order], _picked(grouping, noisy)
    drawn = zip(*noisy.values, strict=True) if noisy.values else [()] * len(grouping.statistics)
    columns = [_published(s, values) for s, values in zip(grouping.statistics, drawn, strict=True)]
    columns += [[_off(picked[i].get(s.name)) for i in range(len(noisy.keys))] for s in quantiles]
    rows = [(i, *key, *values) for i, (key, *values) in enumerate(zip(noisy.keys, *columns, strict=True))]
    types = [("cell", "BIGINT"), *((k.name, TYPES[k.kind]) for k in grouping.keys)]
    types += [(s.name, s.type) for s in grouping.statistics]
    types += [(s.order_scale, "DOUBLE") for s in quantiles]
    return SmallTable(columns=tuple(types), rows=rows)


def _picked(grouping: Grouping, noisy: NoisyCells) -> Mapping[object, Mapping[str, Interval]]:
    """The intervals of quantiles, by cell and statistic."""
    found: dict[object, dict[str, Interval]] = {}
    for place, s in enumerate(grouping.statistics):
        for i, values in enumerate(noisy.values if s.order is not None else ()):
            drawn, own = values[place], found.setdefault(i, {})
            if isinstance(drawn, order.Picked) and s.order is not None:
                own[s.name] = float(drawn.low * s.order.step), float(drawn.high * s.order.step)
    return found


def _off(interval: Interval | None) -> float | None:
    return None if interval is None else (interval[1] - interval[0]) / 2 / Z95


def _published(statistic: Statistic, drawn: Sequence[Drawn]) -> list[int | float | date | None]:
    """What was drawn as values: noisy lattice integers to the nearest multiple of `round_to` (halves up)."""
    wanted = statistic.order
    step, up = (statistic.round_to, statistic.up) if wanted is None else (wanted.step, 1)
    numerator, denominator, half = step.numerator, step.denominator, up // 2
    numbers = [d.value if isinstance(d, order.Picked) else d for d in drawn]
    if wanted is not None and wanted.kind in MOMENTS:
        return [None if n is None else wanted.moment(n) for n in numbers]
    whole = (None if n is None else (n + half) // up * numerator for n in numbers)
    return list(whole) if denominator == 1 else [None if n is None else n / denominator for n in whole]


def _spread(plan: Plan, noisy: SmallTable, loss: Loss, finish: Finish) -> dict[object, list[Interval | None]]:
    """Intervals of derived columns: redraw the noise around the answer and take the middle 95 % (parametric bootstrap)."""
    draws = max(100, min(DRAWS, MAX_DRAWN // max(1, len(noisy.rows))))
    names = [s.name for s in plan.statistics]
    doubles = tuple((n, "DOUBLE") for n in names)
    tables = {
        "noisy": noisy,
        "normals": _normals(tuple(names), draws),
        "scales": SmallTable(columns=doubles, rows=[tuple(value_scale(s, loss) for s in plan.statistics)]),
    }
    found: dict[object, list[Interval | None]] = {}
    for cell, *ends in finish(plan.spread_sql, tables):
        pairs = zip(ends[::2], ends[1::2], strict=True)
        found[cell] = [(a, b) if isinstance(a, float) and isinstance(b, float) else None for a, b in pairs]
    return found


@lru_cache(maxsize=32)
def _normals(names: tuple[str, ...], draws: int) -> SmallTable:
    """A Latin hypercube of standard normals, the same every time: it decides nothing secret."""
    levels = np.array([NormalDist().inv_cdf((i + 0.5) / draws) for i in range(draws)])
    shuffled = np.random.default_rng(20_160_205)
    columns = [shuffled.permutation(levels).tolist() for _ in names]
    return SmallTable(columns=tuple((n, "DOUBLE") for n in names), rows=list(zip(*columns, strict=True)))


def _column(output: Output, plan: Plan, loss: Loss) -> Column:
    noise = None
    if output.statistic is not None and len(output.groupings) == 1:
        statistic = plan.groupings[output.groupings[0]].by_name[output.statistic]
        noise = None if statistic.order else Noise(kind=NOISE_KIND, scale=value_scale(statistic, loss))
    return Column(name=output.name, kind=output.kind, is_key=output.is_key, noise=noise)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Ends:
    """What intervals are made of.

    By row the middle 95 % of redrawn columns; of each grouping the noisy cells and the places of their columns, the intervals of
    quantiles by cell, and of every statistic the standard deviation and half an interval.
    """

    plan: Plan
    spread: Mapping[object, list[Interval | None]]
    noisy: Sequence[SmallTable]
    places: Sequence[Mapping[str, int]]
    picked: Sequence[Mapping[object, Mapping[str, Interval]]]
    sigma: Sequence[Mapping[str, float]]
    halves: Sequence[Mapping[str, float]]

    def of(self, place: Cell, values: Cell) -> tuple[Stated | None, ...]:
        """The interval of each value of a row; `place` is its name, and the grouping and the cell it comes from."""
        name, at, cell = place if self.plan.located else (place[0], None, place[0])
        derived = iter(self.spread.get(name, []))
        found: list[Stated | None] = []
        for output, value in zip(self.plan.outputs, values, strict=True):
            shown = _shown(value)
            interval = next(derived, None) if output.is_redrawn else None
            if shown is not None and output.groupings:
                grouping = output.groupings[0] if len(output.groupings) == 1 else int(str(at))
                if output.statistic is not None and isinstance(shown, date):
                    found.append(self._moments(output.statistic, grouping, cell))
                    continue
                interval = self._told(output, grouping, cell, shown) or interval
            found.append(None if shown is None or interval is None else (_tidy(interval[0]), _tidy(interval[1])))
        return tuple(found)

    def _told(self, output: Output, grouping: int, cell: object, shown: Shown) -> Interval | None:
        """The interval of a statistic or an average."""
        average, sigma = output.average, self.sigma[grouping]
        if average is not None:
            row, places = self.noisy[grouping].rows[int(str(cell))], self.places[grouping]
            total, rows = row[places[average.total]], row[places[average.rows]]
            return _mean_interval(average, total, rows, sigma[average.total], sigma[average.rows])
        if output.statistic is None or not isinstance(shown, int | float):
            return None
        half, own = self.halves[grouping][output.statistic], self.picked[grouping].get(cell)
        told = own.get(output.statistic) if own else None
        return told or (float(shown) - half, float(shown) + half)

    def _moments(self, statistic: str, grouping: int, cell: object) -> Stated | None:
        """The interval of a drawn day or moment; its bins' ends are whole numbers of steps."""
        wanted = self.plan.groupings[grouping].by_name[statistic].order
        steps = self.picked[grouping].get(cell, {}).get(statistic)
        return None if wanted is None or steps is None else (wanted.moment(int(steps[0])), wanted.moment(int(steps[1])))


def _mean_interval(average: Average, total: object, rows: object, ds: float, dn: float) -> Interval | None:
    """95 % of a ratio of two normal values, exactly (Fieller 1954): all x for which total - x · rows may be noise around 0.

    `ds` and `dn` are the standard deviations of total and rows. Where even the sign of `rows` may be noise this is no interval,
    and the public range is all that can be said.
    """
    if not isinstance(total, int | float) or not isinstance(rows, int | float):
        return None
    s, n = float(total), float(rows)
    ds, dn = Z95 * ds, Z95 * dn
    a = n * n - dn * dn
    if a <= 0:
        return average.low, average.high
    root = math.sqrt(max(0.0, ds * ds * a + s * s * dn * dn))
    low, high = ((n * s - root) / a, (n * s + root) / a)
    kept = [max(average.low, min(average.high, average.middle + x)) for x in (low, high)]
    return kept[0], kept[1]


def _tidy(end: float) -> float:
    """An interval's end without the last digits that floating point invents."""
    return float(f"{end:.12g}")


def _shown(value: Any) -> Shown:
    """A value as people and JSON can take it; NaN and infinities are no values."""
    if isinstance(value, Decimal):
        value = float(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value  # type: ignore[no-any-return]

"""Plan + exact integers → noisy Answer with intervals. The only file that imports OpenDP.

Owns noise: its scale, the selection of private keys, the minimum of units, and the intervals. It draws noise from OpenDP's
discrete Gaussian only (Canonne, Kamath & Steinke 2020) and never adds its own. Law 2: exact integers in, integers plus
discrete noise out; floating point appears after the noise only.

Cost. The vectors of one unit keep Σ_j a_j |x_j|²/B_j² <= 1 (`privacy.sql.bound`); statistic j pays share_j · rho, and its scale
is sigma_j >= B_j (1 + 2^-26) / sqrt(2 share_j rho). With a_j = share_j / S the answer's noise costs at most S · rho, as shown
there; OpenDP's own privacy map is asked whether a vector of length B_j alone costs no more than share_j · rho, and the draw is
refused if it says more. Weights, proportions and lengths pay their own shares; all shares add up to 1 (adaptive composition:
Bun & Steinke 2016, Lemma 2.3).

Quantiles are drawn by report noisy max over scores of their bins (`privacy.order`), after OpenDP confirmed that price too.

Private keys. Let D' be D and one unit more. Keys that have weight in D' and none in D are that unit's alone, m <= max_keys of
them, each with weight at most 2^20/sqrt(m). Such a key is shown only if weight + noise >= T. By a union bound and the tail of
the discrete Gaussian, P[X >= x] <= P[N(0, sigma²) >= x - 1] for integers x (Canonne et al. 2020, Proposition 25), one of them is
shown with probability at most m · Q((T - 2^20/sqrt(m) - 1)/sigma) <= delta for every m, by the choice of T. Outside that event
the keys shown on D and D' are post-processings of the same Gaussian mechanism on the keys of D: the choice of keys is zCDP but
for probability delta (Bun & Steinke 2016, Definition 8.1). What follows counts the rows of the shown keys alone, as if these had
been public. Weights 1/sqrt(m) and the shape of the threshold are from Gopi et al. 2020 ("Differentially Private Set Union",
Theorem 5.1).
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import date, datetime
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache
from statistics import NormalDist
from typing import Any

import numpy as np
import opendp.prelude as dp
from numpy.typing import NDArray

from privacy import choice, order
from privacy.errors import Fault
from privacy.facts import Kind
from privacy.loss import Loss
from privacy.redraw import Interval, redrawn
from privacy.sql.bound import SLACK, WEIGHT_ONE, most_keys
from privacy.sql.plan import TYPES, Aggregate, Average, Cell, Finish, Order, Output, Plan, SmallTable, Statistic, Units

dp.enable_features("contrib")

#: Two-sided 95 % of a normal distribution.
Z95 = NormalDist().inv_cdf(0.975)
DRAWS = 1_000
MAX_DRAWN = 4_000_000
#: So many cells get their noise in one call of OpenDP.
PIECE = 5_000
NOISE_KIND = "discrete_gaussian"

Shown = str | int | float | bool | date | datetime | None
Integers = NDArray[np.int64]
Drawn = int | order.Picked | None


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
    """What leaves: rows as asked, a 95 % interval for every value that is a number, and what it cost.

    `intervals` is parallel to `rows`; None for keys, texts and suppressed values. `suppressed` counts the cells that the
    minimum of units withheld (from noisy counts, so it may be told); it is 0 for private keys, whose missing cells look like
    keys that were not selected. `statistics` are the plan's with the bounds that were used.
    """

    columns: tuple[Column, ...]
    rows: tuple[tuple[Shown, ...], ...]
    intervals: tuple[tuple[Interval | None, ...], ...]
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
    """Cells that may be shown: keys, and each statistic as a noisy lattice integer or a drawn quantile (None where withheld)."""

    keys: list[Cell]
    values: list[tuple[Drawn, ...]]
    suppressed: int
    threshold: float | None


def scale(statistic: Statistic, loss: Loss) -> float:
    """Sigma in lattice units, rounded up: B (1 + 2^-26) / sqrt(2 · share · rho). A quantile's is that of its rows."""
    return math.sqrt(Fraction(statistic.bound_squared) / (2 * _paid(statistic, loss))) * SLACK


def _paid(statistic: Statistic, loss: Loss) -> Fraction:
    """The part of rho that pays for a statistic; never nothing."""
    rho = loss.rho_fraction * statistic.share
    if rho <= 0:
        raise Fault(private="a question was priced at rho 0")
    return rho


def value_scale(statistic: Statistic, loss: Loss) -> float:
    """Sigma in the value's own unit."""
    return scale(statistic, loss) * float(statistic.step)


def half_width(statistic: Statistic, loss: Loss) -> float:
    """Half the 95 % interval of a published statistic: the least multiple of its rounding that covers 95 %."""
    rounding = float(statistic.round_to)
    return max(0, math.ceil(Z95 * value_scale(statistic, loss) / rounding - 0.5)) * rounding


def preview(plan: Plan, loss: Loss, *, rows: int = 1_000) -> tuple[PlusMinus, ...]:
    """± of every column before anything is spent, from the plan and the price alone; unknown while bounds are to be chosen."""
    by_name = {s.name: s for s in plan.statistics}
    chooses = bool(plan.length_share)
    return tuple(_plus_minus(o, by_name, loss, rows, chooses=chooses) for o in plan.outputs if not o.is_key)


def _plus_minus(output: Output, by_name: Mapping[str, Statistic], loss: Loss, rows: int, *, chooses: bool) -> PlusMinus:
    if chooses:
        return PlusMinus(name=output.name, half_width=None)
    if output.statistic is not None and by_name[output.statistic].order is None:
        return PlusMinus(name=output.name, half_width=half_width(by_name[output.statistic], loss))
    if output.average is not None:
        total, count = (value_scale(by_name[n], loss) for n in (output.average.total, output.average.rows))
        return PlusMinus(
            name=output.name, half_width=Z95 * math.hypot(total, output.average.reach * count) / rows, rows=rows
        )
    return PlusMinus(name=output.name, half_width=None)


def release(plan: Plan, units: Units, loss: Loss, finish: Finish) -> Answer:
    """Choose keys and bounds, add noise, shape the answer. `finish` runs post-processing (`compute.ports.Engine.finishing`)."""
    plan, noisy = noisy_cells(plan, units, loss)
    return assemble(plan, noisy, loss, finish)


def noisy_cells(plan: Plan, units: Units, loss: Loss) -> tuple[Plan, NoisyCells]:
    """All that the privacy loss pays for: keys, then bounds, then noise. The plan returned has the bounds that were used."""
    cells, threshold_met = _selected(plan, units, loss)
    if plan.length_share:
        plan = replace(plan, statistics=_chosen(plan, units, cells, loss))
    return plan, add_noise(plan, cells, units.totals(plan.measured, cells), loss, threshold_met)


def _selected(plan: Plan, units: Units, loss: Loss) -> tuple[list[Cell], float | None]:
    """The cells of the answer: the grid of public keys, or the private keys whose noisy weight reaches the threshold.

    Of more than `most_keys` those with the greatest noisy weights are shown, which costs nothing further.
    """
    weights = plan.weights
    if weights is None:
        return plan.grid(), None
    limit = threshold(weights, plan.max_keys, loss)
    keys, exact = units.weights()
    noisy = _draw(weights, exact, loss)
    passed = [i for i, weight in enumerate(noisy) if weight >= limit]
    shown = sorted(sorted(passed, key=lambda i: -noisy[i])[: most_keys(plan.measured)])
    return [keys[i] for i in shown], limit


def _chosen(plan: Plan, units: Units, cells: Sequence[Cell], loss: Loss) -> tuple[Statistic, ...]:
    """The statistics with bounds that suit the units of these cells (`privacy.choice`)."""
    if not cells:
        return plan.statistics
    picked = iter(
        choice.chosen(
            plan.measured,
            plan.length_share,
            plan.max_rows,
            len(cells),
            units.lengths(cells),
            loss.rho_fraction,
            _Draws(loss.rho_fraction),
        )
    )
    return tuple(s if s.aggregate is Aggregate.WEIGHT else next(picked) for s in plan.statistics)


@dataclass(frozen=True, slots=True)
class _Draws:
    """`privacy.choice.Draws` at this rho, each after OpenDP confirmed its price."""

    rho: Fraction

    def highest(self, scores: Sequence[int], sensitivity: int, share: Fraction) -> int:
        """Report noisy max."""
        mechanism, price = _noisy_max(choice.noise_scale(sensitivity, share * self.rho), sensitivity)
        self._confirm(price, share)
        return int(mechanism(list(scores)))

    def count(self, exact: int, share: Fraction) -> int:
        """Discrete Gaussian noise."""
        space = dp.atom_domain(T="i64"), dp.absolute_distance(T="i64")
        mechanism = dp.m.make_gaussian(*space, scale=choice.noise_scale(1, share * self.rho))
        self._confirm(mechanism.map(1), share)
        return int(mechanism(exact))

    def _confirm(self, price: float, share: Fraction) -> None:
        if Fraction(price) > share * self.rho:
            raise Fault(private="OpenDP prices a choice above its share")


@lru_cache(maxsize=256)
def _noisy_max(noise: float, sensitivity: int) -> tuple[dp.Measurement, float]:
    """The draw and its price: quantiles of many cells ask for the same."""
    space = dp.vector_domain(dp.atom_domain(T="i64")), dp.linf_distance(T="i64")
    mechanism = dp.m.make_noisy_max(*space, output_measure=dp.zero_concentrated_divergence(), scale=noise)
    return mechanism, mechanism.map(sensitivity)


def add_noise(
    plan: Plan, cells: Sequence[Cell], totals: Sequence[Integers], loss: Loss, limit: float | None = None
) -> NoisyCells:
    """Draw the noise of every cell that is shown, and apply the minimum of units. `totals` are those of `plan.measured`."""
    pairs = list(zip(plan.measured, totals, strict=True))
    if any(t.dtype != np.int64 or t.shape != (len(cells), *([s.order.bins] if s.order else [])) for s, t in pairs):
        raise Fault(private="the engine returned totals that are not one integer a cell")
    drawn = iter(_quantiles(s, s.order, t, loss) if s.order else _draw(s, t, loss) for s, t in pairs)
    columns = [[0] * len(cells) if s.aggregate is Aggregate.WEIGHT else next(drawn) for s in plan.statistics]
    return _withhold(plan, list(cells), columns, limit)


def _quantiles(statistic: Statistic, wanted: Order, totals: Integers, loss: Loss) -> Sequence[Drawn]:
    return order.drawn(statistic, wanted, totals, _paid(statistic, loss) / statistic.share, _Draws(loss.rho_fraction))


def _draw(statistic: Statistic, exact: Integers, loss: Loss) -> Sequence[int]:
    """Exact integers plus discrete Gaussian noise, after OpenDP confirmed the price.

    The noise of each coordinate is independent: long vectors are drawn in pieces side by side at the price of the whole.
    """
    if not len(exact):
        return []
    space = dp.vector_domain(dp.atom_domain(T="i64")), dp.l2_distance(T="f64")
    mechanism = dp.m.make_gaussian(*space, scale=scale(statistic, loss))
    sensitivity = math.sqrt(statistic.bound_squared) * (1 + 2.0**-27)
    if Fraction(mechanism.map(sensitivity)) > _paid(statistic, loss):
        raise Fault(private=f"OpenDP prices {statistic.name} above its share")
    pieces = [exact[i : i + PIECE].tolist() for i in range(0, len(exact), PIECE)]
    if len(pieces) == 1:
        return list(mechanism(pieces[0]))
    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as drawers:  # OpenDP draws outside Python's lock
        return [n for piece in drawers.map(mechanism, pieces) for n in piece]


def _withhold(plan: Plan, keys: list[Cell], columns: Sequence[Sequence[Drawn]], limit: float | None) -> NoisyCells:
    """Apply the minimum of units to noisy counts: private keys vanish, public ones lose their values."""
    values: list[tuple[Drawn, ...]] = list(zip(*columns, strict=True))
    if plan.min_units <= 0:
        return NoisyCells(keys=keys, values=values, suppressed=0, threshold=limit)
    place = next(i for i, s in enumerate(plan.statistics) if s.aggregate is Aggregate.UNITS)
    least = Fraction(plan.min_units) / plan.statistics[place].step
    enough = [isinstance(units, int) and units >= least for units in columns[place]]
    if plan.selects_keys:
        kept = [i for i, ok in enumerate(enough) if ok]
        return NoisyCells(keys=[keys[i] for i in kept], values=[values[i] for i in kept], suppressed=0, threshold=limit)
    nothing = (None,) * len(plan.statistics)
    shown = [v if ok else nothing for v, ok in zip(values, enough, strict=True)]
    return NoisyCells(keys=keys, values=shown, suppressed=enough.count(False), threshold=limit)


def threshold(statistic: Statistic, max_keys: int, loss: Loss) -> float:
    """The least weight (lattice units) at which a private key is shown; see the module's argument.

    The maximum over m is taken exactly up to 4,096 keys and above that over blocks [a, b] with the larger weight of a and the
    larger quantile of b, which can only raise it.
    """
    delta = float(loss.delta_fraction)
    if delta <= 0:
        raise Fault(private="private keys were priced without delta")
    sigma = scale(statistic, loss)
    blocks = [(m, m) for m in range(1, min(max_keys, 4096) + 1)]
    start = 4097
    while start <= max_keys:
        blocks.append((start, min(max_keys, start * 9 // 8)))
        start = blocks[-1][1] + 1
    return max(math.ceil(WEIGHT_ONE / math.sqrt(a) + 1 + sigma * upper_quantile(delta / b)) for a, b in blocks)


def upper_quantile(p: float) -> float:
    """The least x (rounded up) with P[N(0, 1) >= x] <= p, for p > 1e-300; never below that of 1/2.

    Near p = 1 the tail is flat and a search for x would not end; what is larger there is only safer.
    """
    p = min(p, 0.5)
    x = -NormalDist().inv_cdf(p)
    while 0.5 * math.erfc(x / math.sqrt(2)) > p * (1 - 1e-9):
        x += max(1e-12, abs(x) * 1e-10)
    return x


def assemble(plan: Plan, noisy: NoisyCells, loss: Loss, finish: Finish) -> Answer:
    """The asker's columns and order, and the intervals, by post-processing alone."""
    table = _noisy_table(plan, noisy)
    rows = finish(plan.finish_sql, {"noisy": table})
    by_name = {s.name: s for s in plan.statistics}
    sigma = {s.name: value_scale(s, loss) for s in plan.statistics}
    spread = redrawn(plan, table, sigma, finish) if plan.redraw_sql else {}
    ends = _Ends(
        spread=_spread(plan, table, loss, finish) if plan.spread_sql else spread,
        noisy={row[0]: dict(zip((n for n, _ in table.columns), row, strict=True)) for row in table.rows},
        picked=_picked(plan, noisy),
        sigma=sigma,
        halves={s.name: half_width(s, loss) for s in plan.statistics},
    )
    return Answer(
        columns=tuple(_column(o, by_name, loss) for o in plan.outputs),
        rows=tuple(tuple(_shown(v) for v in row[1:]) for row in rows),
        intervals=tuple(_intervals(plan, row, ends) for row in rows),
        suppressed=noisy.suppressed,
        loss=loss,
        threshold=noisy.threshold,
        statistics=plan.statistics,
    )


def _noisy_table(plan: Plan, noisy: NoisyCells) -> SmallTable:
    """cell, the keys, the statistics, and of each quantile how far it may be off (as a standard deviation)."""
    quantiles, picked = [s for s in plan.statistics if s.order], _picked(plan, noisy)
    drawn = zip(*noisy.values, strict=True) if noisy.values else [()] * len(plan.statistics)
    columns = [_published(s, values) for s, values in zip(plan.statistics, drawn, strict=True)]
    columns += [[_off(picked[i].get(s.name)) for i in range(len(noisy.keys))] for s in quantiles]
    rows = [(i, *key, *values) for i, (key, *values) in enumerate(zip(noisy.keys, *columns, strict=True))]
    types = [("cell", "BIGINT"), *((k.name, TYPES[k.kind]) for k in plan.keys)]
    types += [(s.name, s.type) for s in plan.statistics]
    types += [(s.order_scale, "DOUBLE") for s in quantiles]
    return SmallTable(columns=tuple(types), rows=rows)


def _picked(plan: Plan, noisy: NoisyCells) -> Mapping[object, Mapping[str, Interval]]:
    """The intervals of quantiles, by cell and statistic."""
    found: dict[object, dict[str, Interval]] = {}
    for place, s in enumerate(plan.statistics):
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
    if wanted is not None and wanted.days:
        return [None if n is None else date.fromordinal(n) for n in numbers]
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


def _column(output: Output, by_name: Mapping[str, Statistic], loss: Loss) -> Column:
    noise = None
    if output.statistic is not None and by_name[output.statistic].order is None:
        noise = Noise(kind=NOISE_KIND, scale=value_scale(by_name[output.statistic], loss))
    return Column(name=output.name, kind=output.kind, is_key=output.is_key, noise=noise)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Ends:
    """What intervals are made of.

    By cell the middle 95 % of redrawn columns, the noisy values and the intervals of quantiles; by statistic the noise.
    """

    spread: Mapping[object, list[Interval | None]]
    noisy: Mapping[object, Mapping[str, object]]
    picked: Mapping[object, Mapping[str, Interval]]
    sigma: Mapping[str, float]
    halves: Mapping[str, float]


def _intervals(plan: Plan, row: Cell, ends: _Ends) -> tuple[Interval | None, ...]:
    derived = iter(ends.spread.get(row[0], []))
    found: list[Interval | None] = []
    for output, value in zip(plan.outputs, row[1:], strict=True):
        shown = _shown(value)
        interval = next(derived, None) if output.is_redrawn else None
        if output.statistic is not None and isinstance(shown, int | float):
            half = ends.halves[output.statistic]
            own = (float(shown) - half, float(shown) + half)
            interval = ends.picked.get(row[0], {}).get(output.statistic, own)
        if output.average is not None:
            interval = _mean_interval(output.average, ends.noisy.get(row[0], {}), ends.sigma)
        found.append(None if shown is None or interval is None else (_tidy(interval[0]), _tidy(interval[1])))
    return tuple(found)


def _mean_interval(average: Average, noisy: Mapping[str, object], sigma: Mapping[str, float]) -> Interval | None:
    """95 % of a ratio of two normal values, exactly (Fieller 1954): all x for which total - x · rows may be noise around 0.

    Where even the sign of `rows` may be noise this is no interval, and the public range is all that can be said.
    """
    total, rows = noisy.get(average.total), noisy.get(average.rows)
    if not isinstance(total, int | float) or not isinstance(rows, int | float):
        return None
    s, n = float(total), float(rows)
    ds, dn = Z95 * sigma[average.total], Z95 * sigma[average.rows]
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

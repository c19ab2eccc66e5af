"""Plan + exact integers → noisy Answer with intervals. The only file that imports OpenDP.

Owns noise, the selection of private keys and the minimum of units; scales are `privacy.scales`', intervals `privacy.answer`'s. It
draws noise from OpenDP's discrete Gaussian only (Canonne, Kamath & Steinke 2020) and never adds its own. Law 2: exact integers
in, integers plus discrete noise out; floating point appears after the noise only.

Cost. The vectors of one unit keep Σ_j a_j |x_j|²/B_j² <= 1 (`privacy.sql.bound`); statistic j pays share_j · rho, and its scale
is sigma_j >= B_j (1 + 2^-26) / sqrt(2 share_j rho). With a_j = share_j / S the answer's noise costs at most S · rho, as shown
there; OpenDP's own privacy map is asked whether a vector of length B_j alone costs no more than share_j · rho, and the draw is
refused if it says more. Weights, proportions and lengths pay their own shares; those of all groupings of a plan add up to 1, and
their parts of delta to no more than 1 (adaptive composition: Bun & Steinke 2016, Lemmas 2.3 and 8.2).

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
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache
from typing import TypeVar

import numpy as np
import opendp.prelude as dp
from numpy.typing import NDArray

from privacy import choice, order
from privacy.answer import Answer, Drawn, NoisyCells, assemble
from privacy.consistent import consistent
from privacy.errors import Fault
from privacy.loss import Loss
from privacy.scales import paid, scale, threshold
from privacy.sql.bound import most_keys
from privacy.sql.plan import Aggregate, Cell, Finish, Grouping, Opened, Order, Plan, Statistic, Units

dp.enable_features("contrib")

#: So many cells get their noise in one call of OpenDP: few enough that all processors have their part to the end.
PIECE = 1_000

Integers = NDArray[np.int64]
Group = TypeVar("Group", bound=Grouping)


def release(plan: Plan, units: Opened, loss: Loss, finish: Finish) -> Answer:
    """Choose keys and bounds, add noise, shape the answer. `finish` runs post-processing (`compute.ports.Engine.finishing`)."""
    found = [noisy_cells(grouping, units(grouping), loss) for grouping in plan.groupings]
    plan = plan.with_groupings([grouping for grouping, _ in found])
    return assemble(plan, consistent(plan, [noisy for _, noisy in found], loss), loss, finish)


def noisy_cells(grouping: Group, units: Units, loss: Loss) -> tuple[Group, NoisyCells]:
    """All that the privacy loss pays for: keys, then bounds, then noise. What is returned has the bounds that were used."""
    cells, threshold_met = _selected(grouping, units, loss)
    if grouping.length_share:
        grouping = replace(grouping, statistics=_chosen(grouping, units, cells, loss))
    return grouping, add_noise(grouping, cells, units.totals(grouping.measured, cells), loss, threshold_met)


def _selected(grouping: Grouping, units: Units, loss: Loss) -> tuple[list[Cell], float | None]:
    """The cells of the answer: the grid of public keys, or the private keys whose noisy weight reaches the threshold.

    Of more than `most_keys` those with the greatest noisy weights are shown, which costs nothing further.
    """
    weights = grouping.weights
    if weights is None:
        return grouping.grid(), None
    limit = threshold(weights, grouping.max_keys, grouping.selecting(loss))
    keys, exact = units.weights()
    noisy = _draw(weights, exact, loss)
    passed = [i for i, weight in enumerate(noisy) if weight >= limit]
    shown = sorted(sorted(passed, key=lambda i: -noisy[i])[: most_keys(grouping.measured)])
    return [keys[i] for i in shown], limit


def _chosen(grouping: Grouping, units: Units, cells: Sequence[Cell], loss: Loss) -> tuple[Statistic, ...]:
    """The statistics with bounds that suit the units of these cells (`privacy.choice`)."""
    if not cells:
        return grouping.statistics
    picked = iter(
        choice.chosen(
            grouping.measured,
            grouping.length_share,
            grouping.max_rows,
            len(cells),
            units.lengths(cells),
            loss.rho_fraction,
            _Draws(loss.rho_fraction),
        )
    )
    return tuple(s if s.aggregate is Aggregate.WEIGHT else next(picked) for s in grouping.statistics)


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
    grouping: Grouping, cells: Sequence[Cell], totals: Sequence[Integers], loss: Loss, limit: float | None = None
) -> NoisyCells:
    """Draw the noise of every cell that is shown, and apply the minimum of units. `totals` are those of `grouping.measured`."""
    pairs = list(zip(grouping.measured, totals, strict=True))
    if any(t.dtype != np.int64 or t.shape != (len(cells), *([s.order.bins] if s.order else [])) for s, t in pairs):
        raise Fault(private="the engine returned totals that are not one integer a cell")
    drawn = iter(_quantiles(s, s.order, t, loss) if s.order else _draw(s, t, loss) for s, t in pairs)
    columns = [[0] * len(cells) if s.aggregate is Aggregate.WEIGHT else next(drawn) for s in grouping.statistics]
    return _withhold(grouping, list(cells), columns, limit)


def _quantiles(statistic: Statistic, wanted: Order, totals: Integers, loss: Loss) -> Sequence[Drawn]:
    return order.drawn(statistic, wanted, totals, paid(statistic, loss) / statistic.share, _Draws(loss.rho_fraction))


def _draw(statistic: Statistic, exact: Integers, loss: Loss) -> Sequence[int]:
    """Exact integers plus discrete Gaussian noise, after OpenDP confirmed the price.

    The noise of each coordinate is independent: long vectors are drawn in pieces side by side at the price of the whole.
    """
    if not len(exact):
        return []
    space = dp.vector_domain(dp.atom_domain(T="i64")), dp.l2_distance(T="f64")
    mechanism = dp.m.make_gaussian(*space, scale=scale(statistic, loss))
    sensitivity = math.sqrt(statistic.bound_squared) * (1 + 2.0**-27)
    if Fraction(mechanism.map(sensitivity)) > paid(statistic, loss):
        raise Fault(private=f"OpenDP prices {statistic.name} above its share")
    pieces = [exact[i : i + PIECE].tolist() for i in range(0, len(exact), PIECE)]
    if len(pieces) == 1:
        return list(mechanism(pieces[0]))
    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as drawers:  # OpenDP draws outside Python's lock
        return [n for piece in drawers.map(mechanism, pieces) for n in piece]


def _withhold(
    grouping: Grouping, keys: list[Cell], columns: Sequence[Sequence[Drawn]], limit: float | None
) -> NoisyCells:
    """Apply the minimum of units to noisy counts: private keys vanish, public ones lose their values."""
    values: list[tuple[Drawn, ...]] = list(zip(*columns, strict=True))
    if grouping.min_units <= 0:
        return NoisyCells(keys=keys, values=values, suppressed=0, threshold=limit)
    place = next(i for i, s in enumerate(grouping.statistics) if s.aggregate is Aggregate.UNITS)
    least = Fraction(grouping.min_units) / grouping.statistics[place].step
    enough = [isinstance(units, int) and units >= least for units in columns[place]]
    if grouping.selects_keys:
        kept = [i for i, ok in enumerate(enough) if ok]
        return NoisyCells(keys=[keys[i] for i in kept], values=[values[i] for i in kept], suppressed=0, threshold=limit)
    nothing = (None,) * len(grouping.statistics)
    shown = [v if ok else nothing for v, ok in zip(values, enough, strict=True)]
    return NoisyCells(keys=keys, values=shown, suppressed=enough.count(False), threshold=limit)

"""Order statistics: which bin of a public range holds a quantile, drawn by how near its ranks are to the one that is asked for.

Owns scores, targets and intervals; the draws are OpenDP's (`privacy.mechanisms`). It sees a cell's rows by bin, each unit's
rows weighed as `privacy.sql.bound` says, and no unit.

Score. L of N weighed rows lie below a bin, E in it. The bin holds the row of rank T where L <= T <= L + E; its score is
min(T - L, L + E - T): how deep T lies in it, below 0 how far it lies beside. For the level p/q it is counted in units of 1/q:
min(pN - qL, qL + qE - pN), in whole numbers. One unit more, of weight w in the cell, changes qL by 0 to qw and pN by pw, and
so each score by at most m·w, m = max(p, q - p). MIN and MAX ask for T = r and T = N - r, or for half of the rows where there
are not 2r: q = 1, T changes by 0 to w, and again m = 1 = max(p, q - p). Keeping scores within limits is 1-Lipschitz.

Price. Report noisy max with Gumbel noise of scale b draws bin c with probability proportional to e^(score_c/b) (Dwork & Roth
2014, Section 3.4). Fix two databases D, D' that differ in unit u, who weighs w_k in cell k. Over its bins f = ln P_k/P'_k lies
in an interval of length η = 2m·w_k/b, because scores change by at most m·w_k up or down. With ψ(t) = ln E'[e^(tf)] we have
ψ(0) = ψ(1) = 0, and ψ'' is the variance of f under a tilted law, at most η²/4 (Popoviciu 1935). So ψ(t) - t(t - 1)η²/8 is
concave and not above 0 beyond 1: the Rényi divergence D_α(P_k | P'_k) = ψ(α)/(α - 1) is at most α·η²/8 (for all pairs at once:
Cesar & Rogers 2021). Draws are independent, so for this pair the divergences of all cells add up, to
α·Σ_k m²w_k²/(2b²). That is what Gaussian noise of scale b/m costs a vector of w_k, and w_k is a coordinate of x'_j in
`privacy.sql.bound`: in the sum there b/m takes the place of sigma_j, b >= m B_j (1 + 2^-26)/sqrt(2 share_j rho). The whole is
at most α·rho for each pair of neighbours, whoever u is: rho-zCDP. OpenDP is asked for the price of a change of m·B_j.

Interval. Four fifths of the share draw the value, a fifth how many bins its interval reaches to either side. With L rows below
an interval and E in it, its depth is min(T - L, L + E - T): it holds the quantile where that is not below 0. A side at the end
of the range has everything beyond, and limits nothing. Depth grows with reach. Candidates are reaches that double, and the
whole range; one of depth D behind one of depth C has the score min(d - C, D - d), as a bin has that holds rank d: likeliest is
the first that is d = `DEEP` scales of the draw's noise deep. Public numbers are added, so that a candidate that stands for n
reaches is sqrt(n) times as likely as it would be, and the whole range is drawn `UNKNOWN` times as often as all others together
where there is no row. Once the value is drawn its place is the same for both databases, a depth is the lesser of two numbers
that one unit changes by at most m·w each, so scores change by no more, and the price is as above. That the second draw depends
on the first costs nothing further (adaptive composition: Bun & Steinke 2016, Lemma 2.3).
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from privacy.choice import Draws, noise_scale
from privacy.sql.bound import SLACK
from privacy.sql.plan import Order, Statistic

#: The parts of a quantile's share that draw the value, and its interval.
VALUE, INTERVAL = Fraction(4, 5), Fraction(1, 5)
#: How deep in its interval the quantile shall lie, in scales of the interval's noise.
DEEP = 1.6
#: Of no rows the interval is the whole range so many times as often as any other.
UNKNOWN = 19
#: With so many scales between MIN or MAX and the end of the data, a bin without data is drawn once in twenty times at most.
BEYOND = 20
#: Scores are kept within this. The best one is near 0, and noise is far smaller: what is cut was never drawn.
FARTHEST = 2**62


@dataclass(frozen=True, kw_only=True, slots=True)
class Picked:
    """A drawn quantile and its 95 % interval, low <= value <= high, in steps of its `Order`."""

    value: int
    low: int
    high: int


def sensitivity(statistic: Statistic, order: Order) -> int:
    """m·B (1 + 2^-26), rounded up: how far the scores of all cells may change, as an L2 norm; never less than 1."""
    return max(1, math.ceil(_weight(order) * math.sqrt(statistic.bound_squared) * SLACK))


def rows_beyond(statistic: Statistic, rho: Fraction) -> int | None:
    """About how many rows lie beyond a MIN or MAX, rounded up; in a cell of fewer than twice as many, half of its rows."""
    order = statistic.order
    if order is None or not order.is_extreme:
        return None
    return math.ceil(Fraction(_beyond(statistic, order, rho), statistic.up))


def drawn(statistic: Statistic, order: Order, totals: NDArray[np.int64], rho: Fraction, draws: Draws) -> list[Picked]:
    """The quantile of each cell. `totals` has shape (cells, bins); `rho` is that of the whole question.

    Cells are drawn side by side: `draws` may be used from several threads.
    """
    change = sensitivity(statistic, order)
    noise = noise_scale(change, INTERVAL * statistic.share * rho)
    beyond = _beyond(statistic, order, rho) if order.is_extreme else 0

    def one(rows: NDArray[np.int64]) -> Picked:
        bins = rows.astype(object)
        target = _target(order, int(bins.sum()), beyond)
        place = draws.highest(_scores(order, bins, target), change, VALUE * statistic.share)
        reaches = _reaches(order, place)
        enclosing = _enclosing(order, bins, target, place, reaches, noise)
        reach = reaches[draws.highest(enclosing, change, INTERVAL * statistic.share)]
        low, high = order.ends(max(0, place - reach), min(order.bins - 1, place + reach))
        return Picked(value=order.middle(place), low=low, high=high)

    if len(totals) == 1:
        return [one(totals[0])]
    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as drawers:
        return list(drawers.map(one, totals))


def _weight(order: Order) -> int:
    """m: how far a row moves a score."""
    return max(order.level.numerator, order.level.denominator - order.level.numerator)


def _beyond(statistic: Statistic, order: Order, rho: Fraction) -> int:
    """r of MIN and MAX, in lattice units: the noise of as many bins as there may be without a row."""
    noise = noise_scale(sensitivity(statistic, order), VALUE * statistic.share * rho)
    return math.ceil(noise * math.log(BEYOND * order.bins))


def _target(order: Order, rows: int, beyond: int) -> int:
    """q times the rank that is asked for."""
    if order.is_extreme:
        return min(beyond, rows // 2) if order.level == 0 else max(rows - beyond, rows // 2)
    return order.level.numerator * rows


def _scores(order: Order, rows: NDArray[np.object_], target: int) -> list[int]:
    """How near each bin is to the target, in rows times q."""
    q = order.level.denominator
    upto = q * np.cumsum(rows)
    scores: list[int] = np.minimum(target - upto + q * rows, upto - target).clip(-FARTHEST, FARTHEST).tolist()
    return scores


def _reaches(order: Order, place: int) -> list[int]:
    """How many bins an interval may reach to either side of the value: 0, 1, 2, 4, 8, … and then to both ends."""
    whole, found = max(place, order.bins - 1 - place), [0]
    while found[-1] < whole:
        found.append(min(whole, max(1, 2 * found[-1])))
    return found


def _enclosing(
    order: Order, rows: NDArray[np.object_], target: int, place: int, reaches: Sequence[int], noise: float
) -> list[int]:
    """How near the depth of each of these intervals is to what is wanted; the last of them is the whole range."""
    upto: list[int] = [0, *(order.level.denominator * np.cumsum(rows)).tolist()]
    deep = math.ceil(DEEP * noise)

    def depth(reach: int) -> int:
        first, last = place - reach, place + reach + 1
        sides = [target - upto[first]] if first > 0 else []
        return min(sides + ([upto[last] - target] if last < order.bins else []))

    depths = [-FARTHEST, *(depth(reach) for reach in reaches[:-1]), FARTHEST]
    favour = [math.sqrt(b - a) for a, b in pairwise([-1, *reaches[:-1]])]
    favour.append(UNKNOWN * max(1.0, sum(favour)) * math.exp(-2 * DEEP))
    scores = [
        min(deep - outside, inside - deep) + math.floor(noise * math.log(more))
        for (outside, inside), more in zip(pairwise(depths), favour, strict=True)
    ]
    return [max(-FARTHEST, min(FARTHEST, s)) for s in scores]

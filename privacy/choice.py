"""How far a usual unit reaches: the bounds a question chooses for itself, from counts of units that cost a little of its price.

Owns the candidates, the counts and the targets; the draw that picks a candidate is OpenDP's (`privacy.mechanisms`). Facts that
allow a unit very many rows must hold for the longest one; noise made for it drowns everybody else. So the question clips shorter
and accepts that the few longest units count less than they are.

1. Proportions. For a sum, q_j/n is a unit's squared length beside that of its row counts, at most reach_j². The proportion of
   statistic j is the candidate reach_j·2^(-i/2) above which about a quarter of the units lie that have q_j > 0. The score of a
   candidate is -|4·above - present|: one unit more changes it by at most 3.
2. Length. With these proportions p_j, r = Σ a_j q_j / p_j² is the square of a unit's joint length. Clipping at t costs noise in
   proportion to t in every cell and bias in proportion to the excess of the units above t. The sum of both over the cells is
   least where (units above t) = E|noise|/t · cells, that is sqrt(2/pi)/sqrt(2 a rho) · cells; `SAFETY` scales of the draw's own
   noise are added, because a t that is too large costs less than none chosen. The score is -|above - target|, which one unit more
   changes by at most 1.

Each choice is a private selection: report noisy max with Gumbel noise, which is the exponential mechanism (Dwork & Roth 2014,
Section 3.4), (2d/scale)²/8-zCDP at sensitivity d by its bounded range (Cesar & Rogers 2021); OpenDP is asked. `ratio_share` and
`length_share` pay, and what follows may depend on what was chosen (adaptive composition, Bun & Steinke 2016, Lemma 2.3). A row of
`lengths` is a function of one unit's rows, so a count changes by what one unit adds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from privacy.sql.bound import refined
from privacy.sql.plan import Statistic

Lengths = NDArray[np.float64]
Pick = Callable[[Sequence[int], int, Fraction], int]
"""pick(scores, sensitivity, share of rho) → the place of a high score, privately."""

#: Candidates fall from the reach by a factor sqrt(2) each, over six decimal orders.
PROPORTIONS = 40
SAFETY = 6
#: A proportion that the data say nothing about stays near the declared reach: each step down costs a part of a noise scale.
CAUTION = 0.25


def chosen(
    statistics: Sequence[Statistic],
    length_share: Fraction,
    max_rows: int,
    cells: int,
    lengths: Lengths,
    rho: Fraction,
    pick: Pick,
) -> tuple[Statistic, ...]:
    """The statistics with the bounds that suit the units.

    `lengths` has one row a unit: n, then q_j of each statistic (`privacy.sql.plan.Units.lengths`).
    """
    proportions = [_proportion(s, lengths[:, 0], lengths[:, i + 1], rho, pick) for i, s in enumerate(statistics)]
    whole = sum(s.share for s in statistics)
    weights = np.array([float(s.share / whole) / p**2 for s, p in zip(statistics, proportions, strict=True)])
    joint = lengths[:, 1:] @ weights
    steps = 2 + math.ceil(2 * math.log2(max_rows))  # candidates 1/2, …, the most rows and a little more
    above = _above(joint, steps, first=0.25)
    share = float(whole / len(statistics))
    target = math.sqrt(2 / math.pi) / math.sqrt(2 * share * float(rho)) * cells
    target += SAFETY * noise_scale(1, length_share * rho)
    place = pick([-abs(int(a) - math.floor(target)) for a in above], 1, length_share)
    length = 0.5 * math.sqrt(2) ** place
    return tuple(refined(s, length * p) for s, p in zip(statistics, proportions, strict=True))


def noise_scale(sensitivity: int, rho: Fraction) -> float:
    """The scale of the draw's noise: report noisy max of sensitivity d costs (2d/scale)²/8."""
    return sensitivity / math.sqrt(2 * rho) * (1 + 1e-9)


def _proportion(s: Statistic, rows: Lengths, squares: Lengths, rho: Fraction, pick: Pick) -> float:
    if s.ratio_share == 0:
        return float(s.reach)
    has = squares > 0
    ratios = (squares[has] / rows[has]) / float(s.reach) ** 2
    last = 2.0 ** -(PROPORTIONS - 1)
    above = _above(ratios, PROPORTIONS, first=last)[::-1]
    slope = CAUTION * noise_scale(3, s.ratio_share * rho)
    scores = [-abs(4 * int(a) - int(has.sum())) - math.ceil(i * slope) for i, a in enumerate(above)]
    return float(s.reach * math.sqrt(2) ** -pick(scores, 3, s.ratio_share))


def _above(squares: Lengths, steps: int, *, first: float) -> NDArray[np.int64]:
    """How many of `squares` lie above first, 2·first, 4·first, … (`steps` of them)."""
    known = squares[squares > first] / first
    bins = np.minimum(np.ceil(np.log2(known)).astype(np.int64), steps)
    counts = np.bincount(bins, minlength=steps + 1)
    return counts[::-1].cumsum()[::-1][1:]

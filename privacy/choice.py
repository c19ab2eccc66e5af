"""How far a usual unit reaches: the bounds a question chooses for itself, from counts of units that cost a little of its price.

Owns the candidates, the counts and the targets; the draws are OpenDP's (`privacy.mechanisms`). Facts that allow a unit very many
rows must hold for the longest one; noise made for it drowns everybody else. So the question clips shorter and accepts that the
few longest units count less than they are.

1. Units. Their noisy number N (sensitivity 1). Where it is not far above the noise of the draws below, nothing can be learned:
   proportions stay as declared and the length is the geometric middle between one row and the most rows.
2. Proportions. For a sum, q_j/n is a unit's squared length beside that of its row counts, at most reach_j². The proportion of
   statistic j is the candidate reach_j·2^(-i/2) above which about a quarter of the units lie that have q_j > 0. The score is
   -|above_{i-2} + above_{i-1} + above_i + above_{i+1} - present|, so that there is a best candidate even where all units are
   alike: one unit more changes the sum by 0 to 4, `present` by 1, and the score by at most 3.
3. Length. With these proportions p_j, a unit is above t when Σ a_j q_j / min(t p_j, B_j)² > 1: the bounds that t would give,
   none beyond the declared B_j. Clipping at t costs noise in proportion to t in every cell and bias in proportion to the excess
   of the units above t. The sum of both over the cells is about least where (units above t) = noise/t · cells, that is
   cells/sqrt(2 a rho); `SAFETY` scales of the draw's own noise are added, for what could not be told from none, and no more than
   a third of the units is ever meant to be cut. Wanted is the least t with at most so many above it: the score is
   -max(0, above - target), which one unit more changes by at most 1, less `CAUTION` noise scales for each step up.

The choices are private selections: report noisy max with Gumbel noise, which is the exponential mechanism (Dwork & Roth 2014,
Section 3.4), (2d/scale)²/8-zCDP at sensitivity d by its bounded range (Cesar & Rogers 2021); OpenDP is asked. `ratio_share` and
`length_share` pay, and what follows may depend on what was chosen (adaptive composition, Bun & Steinke 2016, Lemma 2.3). A row of
`lengths` is a function of one unit's rows, so a count changes by what one unit adds. Targets and caution are made of
public and of noisy figures alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from privacy.sql.bound import WITHIN, refined
from privacy.sql.plan import Statistic

Lengths = NDArray[np.float64]


class Draws(Protocol):
    """Private draws; `share` is the part of rho that pays."""

    def highest(self, scores: Sequence[int], sensitivity: int, share: Fraction) -> int:
        """The place of a high score."""

    def count(self, exact: int, share: Fraction) -> int:
        """A noisy count of units."""


#: Candidates fall from the reach by a factor sqrt(2) each, over six decimal orders.
PROPORTIONS = 40
SAFETY = 4
#: Noise scales that a step away from the safe side costs: down, for proportions (data may say nothing); up, for lengths.
CAUTION_DOWN = 0.25
CAUTION = 1.5
#: Fewer units than so many noise scales say nothing of how long units are.
ENOUGH = 40
#: Scores are integers: a unit counts so much in them, so that less than a unit can be told apart.
GRAIN = 2**10
#: Units that are looked at together.
BLOCK = 2**15
#: The part of `length_share` that counts the units.
COUNTED = Fraction(1, 7)


def chosen(
    statistics: Sequence[Statistic],
    length_share: Fraction,
    max_rows: int,
    cells: int,
    lengths: Lengths,
    rho: Fraction,
    draws: Draws,
) -> tuple[Statistic, ...]:
    """The statistics with the bounds that suit the units.

    `lengths` has one row a unit: n, then q_j of each statistic (`privacy.sql.plan.Units.lengths`).
    """
    counted, searched = COUNTED * length_share, (1 - COUNTED) * length_share
    scale = noise_scale(1, searched * rho)
    units = draws.count(len(lengths), counted)
    if units < ENOUGH * scale:
        return tuple(refined(s, math.sqrt(max_rows) * s.reach) for s in statistics)
    proportions = [_proportion(s, lengths, i, rho, draws) for i, s in enumerate(statistics, start=1)]
    whole = sum(s.share for s in statistics)
    shares = np.array([float(s.share / whole) for s in statistics])
    declared = np.array([math.sqrt(s.bound_squared) / s.up for s in statistics])
    steps = 1 + math.ceil(2 * math.log2(max_rows))  # candidates 1, …, the most rows and a little more
    above = _longer(lengths[:, 1:], shares, np.array(proportions), declared, steps)
    share = float(whole / len(statistics))
    worth = cells / math.sqrt(2 * share * float(rho)) + SAFETY * scale
    target = math.floor(min(worth, units / 3))
    step = math.ceil(GRAIN * CAUTION * scale)
    scores = [-GRAIN * max(0, int(n) - target) - i * step for i, n in enumerate(above)]
    length = math.sqrt(2) ** draws.highest(scores, GRAIN, searched)
    return tuple(refined(s, length * p) for s, p in zip(statistics, proportions, strict=True))


def noise_scale(sensitivity: int, rho: Fraction) -> float:
    """The scale of noise that costs rho: of report noisy max, (2d/scale)²/8, as of a Gaussian, d²/(2 scale²)."""
    return sensitivity / math.sqrt(2 * rho) * (1 + 1e-9)


def _proportion(s: Statistic, lengths: Lengths, place: int, rho: Fraction, draws: Draws) -> float:
    if s.ratio_share == 0:
        return float(s.reach)
    above, present = np.zeros(PROPORTIONS, np.int64), 0
    scaled = 2.0 ** (PROPORTIONS - 1) / float(s.reach) ** 2
    for block in _blocks(lengths):
        rows, squares = block[:, 0], block[:, place]
        has = squares > 0
        present += int(np.count_nonzero(has))
        above += _above(squares[has] / rows[has] * scaled, PROPORTIONS)[::-1]
    around = np.convolve([0, 0, *above, present], [1, 1, 1, 1], "valid")
    step = math.ceil(GRAIN * CAUTION_DOWN * noise_scale(3, s.ratio_share * rho))
    scores = [-GRAIN * abs(int(n) - present) - i * step for i, n in enumerate(around)]
    return float(s.reach * math.sqrt(2) ** -draws.highest(scores, 3 * GRAIN, s.ratio_share))


def _longer(
    squares: Lengths, shares: Lengths, proportions: Lengths, declared: Lengths, steps: int
) -> NDArray[np.int64]:
    """How many units are above t = 1, sqrt(2), 2, … (`steps` of them).

    Where t·p_j has reached B_j for some j, what these add stands still while the rest shrinks with t²: one count serves all t
    up to the next that is reached. Who is not above t is not above what follows.
    """
    found = np.zeros(steps, np.int64)
    reached = np.array([math.sqrt(2) ** i * proportions >= declared for i in range(steps)])
    start = 0
    while start < steps:
        still = reached[start]
        end = start + int((reached[start:] == still).all(axis=1).sum())
        weights = shares / np.where(still, declared, proportions) ** 2
        held, moving = np.where(still, weights, 0), np.where(still, 0, weights)
        counts, longer = np.zeros(steps, np.int64), []
        for block in _blocks(squares):
            room = WITHIN - block @ held
            least = block @ moving / np.where(room > 0, room, 1.0)
            least[room <= 0] = 2.0 ** (steps + 1)
            counts += _above(least, steps)
            longer.append(block[least > 2.0 ** (end - 1)])
        found[start:end] = counts[start:end]
        squares, start = np.concatenate(longer), end
    return found


def _blocks(lengths: Lengths) -> Iterator[Lengths]:
    """The rows, so many at a time as stay in the processor's cache; at least once."""
    for first in range(0, max(1, len(lengths)), BLOCK):
        yield lengths[first : first + BLOCK]


def _above(values: Lengths, steps: int) -> NDArray[np.int64]:
    """How many of `values` (none below 0) lie above 1, 2, 4, … (`steps` of them).

    The exponent of a double is its logarithm, rounded down; any of the bits behind it carries into it here, so it is rounded up.
    """
    bits = np.ascontiguousarray(values).view(np.int64)
    above = np.clip(((bits + (2**52 - 1)) >> 52) - 1023, 0, steps)
    counts = np.bincount(above, minlength=steps + 1)
    return counts[::-1].cumsum()[::-1][1:]

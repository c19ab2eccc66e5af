"""How much noise a share of rho buys, and the least weight at which a private key is shown: plain arithmetic, rounded up.

Owns the scale of every statistic's noise, in lattice units and in the value's own, and half the width of its 95 % interval. It
draws nothing: noise is `privacy.mechanisms`'s, where the arguments stand that these figures serve.
"""

from __future__ import annotations

import math
from fractions import Fraction
from statistics import NormalDist

from privacy.errors import Fault
from privacy.loss import Loss
from privacy.sql.bound import SLACK, WEIGHT_ONE
from privacy.sql.plan import Statistic

#: Two-sided 95 % of a normal distribution.
Z95 = NormalDist().inv_cdf(0.975)


def scale(statistic: Statistic, loss: Loss) -> float:
    """Sigma in lattice units, rounded up: B (1 + 2^-26) / sqrt(2 · share · rho). A quantile's is that of its rows."""
    return math.sqrt(Fraction(statistic.bound_squared) / (2 * paid(statistic, loss))) * SLACK


def paid(statistic: Statistic, loss: Loss) -> Fraction:
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
    return half_of(value_scale(statistic, loss), float(statistic.round_to))


def half_of(deviation: float, rounding: float) -> float:
    """Half the 95 % interval of a number with this standard deviation, published as multiples of `rounding`."""
    return max(0, math.ceil(Z95 * deviation / rounding - 0.5)) * rounding


def threshold(statistic: Statistic, max_keys: int, loss: Loss) -> float:
    """The least weight (lattice units) at which a private key is shown; see `privacy.mechanisms`.

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

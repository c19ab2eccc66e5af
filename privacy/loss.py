"""What an answer costs and what may be spent: zCDP losses as exact integers, always rounded against the spender.

Owns `Loss`, `Budget` and the conversions between (rho, delta) and (epsilon, delta). It draws no noise and reads no
clock. A loss is rho-zCDP *approximated by delta*: with probability at least 1 - delta the mechanism is rho-zCDP
(Bun & Steinke 2016, Definition 8.1). Rho and delta both add under adaptive composition (ibid., Lemma 8.2), and a filter
that stops before the sums pass a fixed limit keeps the limit as its guarantee (Whitehouse, Ramdas, Rogers, Wu 2023,
Theorem 1), so the ledger is two integer additions.

Units: rho in 1e-9, delta in 1e-15, both integers. Conversion from rho-zCDP to (epsilon, delta)-DP is Canonne, Kamath &
Steinke 2020 ("The Discrete Gaussian for Differential Privacy"), Proposition 12.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

RHO_UNIT = 10**9
DELTA_UNIT = 10**15
#: Inflation of every float result that must not be too small; far above the error of the few operations below.
_SLACK = 1e-9


@dataclass(frozen=True, order=False, slots=True)
class Loss:
    """A privacy loss: `rho` in units of 1e-9, `delta` in units of 1e-15, both non-negative integers."""

    rho: int = 0
    delta: int = 0

    def __post_init__(self) -> None:
        if self.rho < 0 or self.delta < 0:
            raise ValueError("a loss is never negative")

    def __add__(self, other: Loss) -> Loss:
        return Loss(self.rho + other.rho, self.delta + other.delta)

    def __sub__(self, other: Loss) -> Loss:
        """The difference, never below zero in either part."""
        return Loss(max(0, self.rho - other.rho), max(0, self.delta - other.delta))

    def within(self, limit: Loss) -> bool:
        """True when both parts are at most those of `limit`."""
        return self.rho <= limit.rho and self.delta <= limit.delta

    @property
    def rho_fraction(self) -> Fraction:
        """Rho as an exact number."""
        return Fraction(self.rho, RHO_UNIT)

    @property
    def delta_fraction(self) -> Fraction:
        """Delta as an exact number."""
        return Fraction(self.delta, DELTA_UNIT)

    def epsilon(self, delta: float) -> float:
        """The epsilon of this loss at a total `delta` in (0, 1), rounded up; infinite when delta is all used already."""
        left = delta - float(self.delta_fraction)
        return epsilon_of(float(self.rho_fraction), left) if left > 0 else (math.inf if self.delta or self.rho else 0.0)


@dataclass(frozen=True, slots=True)
class Budget:
    """A limit that a person set as (epsilon, delta): half of delta converts rho, half pays for partition selection."""

    epsilon: float
    delta: float

    @property
    def limit(self) -> Loss:
        """The limit as a Loss, rounded down, so that spending all of it still is (epsilon, delta)-DP."""
        return Loss(rho_units(rho_of(self.epsilon, self.delta / 2)), int(Fraction(self.delta) / 2 * DELTA_UNIT))


def price(epsilon: float, delta: float, *, selects_keys: bool) -> Loss:
    """The loss that a whole answer worth (epsilon, delta) may cost, rounded down so the promise holds.

    epsilon > 0; 0 < delta < 1. With private keys half of delta pays for selecting them.
    """
    if not (epsilon > 0 and math.isfinite(epsilon) and 0 < delta < 1):
        raise ValueError("epsilon must be a positive number and delta must lie between 0 and 1")
    share = delta / 2 if selects_keys else delta
    return Loss(rho_units(rho_of(epsilon, share)), int(Fraction(share) * DELTA_UNIT) if selects_keys else 0)


def rho_units(rho: float) -> int:
    """Rho in ledger units, rounded down: a limit or an offer must not grow.

    A cost needs no rounding: noise is made to fit the units that are booked (`privacy.mechanisms.scale`), never less.
    """
    return math.floor(Fraction(rho) * RHO_UNIT)


def delta_of(rho: float, epsilon: float) -> float:
    """The smallest delta (rounded up) for which rho-zCDP implies (epsilon, delta)-DP: CKS 2020, Proposition 12.

    delta = inf over alpha > 1 of exp((alpha - 1)(alpha rho - epsilon)) / (alpha - 1) * (1 - 1/alpha)^alpha.
    Any alpha gives a valid bound, so an imprecise search can only cost accuracy, never privacy.
    """
    if rho <= 0:
        return 0.0
    log_delta = _minimum(lambda alpha: _log_delta(rho, epsilon, alpha), rho, epsilon)
    return min(1.0, math.exp(min(0.0, log_delta)) * (1 + _SLACK))


def _log_delta(rho: float, epsilon: float, alpha: float) -> float:
    return (alpha - 1) * (alpha * rho - epsilon) - math.log(alpha - 1) + alpha * math.log1p(-1 / alpha)


def _minimum(log_delta_at: object, rho: float, epsilon: float) -> float:
    """Minimise over alpha by golden section on log(alpha - 1); the objective is convex in alpha (ibid., Section 2.3)."""
    assert callable(log_delta_at)
    low, high = math.log(1e-9), math.log(max(4.0, 4 * (epsilon + 1) / rho + 4))
    ratio = (math.sqrt(5) - 1) / 2
    left, right = high - ratio * (high - low), low + ratio * (high - low)
    f_left, f_right = log_delta_at(1 + math.exp(left)), log_delta_at(1 + math.exp(right))
    for _ in range(80):  # the interval shrinks by 0.618 a step, to nothing a double can tell
        if f_left < f_right:
            high, right, f_right = right, left, f_left
            left = high - ratio * (high - low)
            f_left = log_delta_at(1 + math.exp(left))
        else:
            low, left, f_left = left, right, f_right
            right = low + ratio * (high - low)
            f_right = log_delta_at(1 + math.exp(right))
    return float(min(f_left, f_right))


@lru_cache(maxsize=4096)
def epsilon_of(rho: float, delta: float) -> float:
    """The smallest epsilon (rounded up) for which rho-zCDP implies (epsilon, delta)-DP; 0 < delta < 1."""
    if rho <= 0:
        return 0.0
    low, high = 0.0, rho + 2 * math.sqrt(rho * math.log(1 / delta)) + 1e-12  # Bun & Steinke 2016, Proposition 1.3
    for _ in range(64):
        middle = (low + high) / 2
        low, high = (low, middle) if delta_of(rho, middle) <= delta else (middle, high)
    return high * (1 + _SLACK)


@lru_cache(maxsize=4096)
def rho_of(epsilon: float, delta: float) -> float:
    """The largest rho (rounded down) for which rho-zCDP implies (epsilon, delta)-DP."""
    low, high = 0.0, epsilon + math.log(1 / delta)
    for _ in range(64):
        middle = (low + high) / 2
        low, high = (middle, high) if delta_of(middle, epsilon) <= delta else (low, middle)
    return low * (1 - _SLACK)


def gaussian_delta(rho: float, epsilon: float) -> float:
    """The exact delta at `epsilon` of the Gaussian mechanism whose zCDP loss is rho: Balle & Wang 2018, Theorem 8.

    With mu = sqrt(2 rho) it is Q(epsilon/mu - mu/2) - exp(epsilon) Q(epsilon/mu + mu/2). Where the last tail leaves a double's
    range, Birnbaum's lower bound on it stands in (1942), which can only raise delta.
    """
    if rho <= 0:
        return 0.0
    mu = math.sqrt(2 * rho)
    near, far = epsilon / mu - mu / 2, epsilon / mu + mu / 2
    if far < 20:
        tail = math.exp(epsilon) * math.erfc(far / math.sqrt(2)) / 2
    else:  # exp(epsilon) times the density at `far` is the density at `near`
        tail = math.exp(-near * near / 2) / math.sqrt(2 * math.pi) * 2 / (far + math.sqrt(far * far + 4))
    return max(0.0, math.erfc(near / math.sqrt(2)) / 2 - tail)


@lru_cache(maxsize=4096)
def gaussian_epsilon(rho: float, delta: float) -> float:
    """The epsilon of a loss if all of it came from continuous Gaussian noise; 0 < delta < 1. Information, never a promise.

    Gaussian mechanisms of rho_1, rho_2 … compose to exactly one of their sum, also when each is chosen after seeing the earlier
    answers under a fixed limit (Smith & Thakurta 2022), so for them this is what a numerical accountant of privacy loss
    distributions converges to. Our noise is discrete Gaussian, and what chooses bounds is a selection. That is close, but not
    exactly Gaussian, and may lie on either side; what is promised is `epsilon_of`, which holds for every rho-zCDP mechanism.
    """
    low, high = 0.0, epsilon_of(rho, delta)
    for _ in range(64):
        middle = (low + high) / 2
        low, high = (low, middle) if gaussian_delta(rho, middle) <= delta else (middle, high)
    return high

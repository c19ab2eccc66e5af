"""How often the interval of a quantile holds it, on data of many shapes: from the law of both draws, and drawn by OpenDP.

The law of a draw is e^(score/b)/Σ (`privacy.order`; `test_quantiles_follow_the_law_of_the_exponential_mechanism` holds OpenDP
to it), so that the chance of an interval that holds the exact quantile is a sum over all values and all reaches, without chance.
What is held is the quantile of the rows that are there, by its bin.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field, replace
from fractions import Fraction

import numpy as np
import pytest
from scipy.stats import binom

from privacy import order
from privacy.choice import noise_scale
from privacy.loss import price
from privacy.mechanisms import _Draws
from privacy.order import INTERVAL, VALUE, Picked, drawn, sensitivity
from privacy.sql.compile import compile_query
from privacy.sql.plan import Order, Statistic
from tests.fakes import town

RHO = price(1.0, 1e-7, selects_keys=False).rho_fraction
DRAWS, ALARM = 1_000, 1e-6
MEDIAN, TENTH, MOST = Fraction(1, 2), Fraction(9, 10), Fraction(1)

PLACES = np.arange(1024)
BELL = np.exp(-(((PLACES - 460) / 150) ** 2) / 2)
TAIL = np.diff(1 - 1 / (1 + (np.arange(1025) / 60) ** 2))


def _lumps(gap: int, rows: int, more: int) -> np.ndarray:
    """From `rows` to `rows` + `more` rows in one bin of `gap`."""
    return np.where(PLACES % gap == gap // 2, rows + PLACES // gap * 7 % (more + 1), 0)


#: Rows by bin. The noise of a median's rank is some eight rows, of the upper tenth's and the maximum's about fifteen, and that of
#: the interval twice as many.
SMOOTH = {
    "even": np.ones(1024, np.int64),
    "bell": np.round(7.6 * BELL).astype(np.int64),
    "long tail": np.round(3_000 * TAIL).astype(np.int64),
    "zeros": np.where(PLACES == 0, 800, 1),
}
FEW = {
    name: (PLACES % every == 0).astype(np.int64) for name, every in (("300", 3), ("100", 10), ("25", 40), ("1", 1024))
}
LUMPS = {
    f"{rows} rows in {gap}": _lumps(gap, rows, rows // 2) for gap in (10, 50) for rows in (10, 20, 40, 80, 160, 320)
}
MANY = np.round(20_000 * BELL).astype(np.int64)


@dataclass
class Law:
    """`privacy.choice.Draws` that works out the chance of each candidate and takes the ones it is told to, or the first."""

    places: list[int] = field(default_factory=list)
    chances: list[np.ndarray] = field(default_factory=list)

    def highest(self, scores: list[int], sensitivity: int, share: Fraction) -> int:
        logs = np.array([float(s) for s in scores]) / noise_scale(sensitivity, share * RHO)
        self.chances.append(np.exp(logs - np.logaddexp.reduce(logs)))
        return self.places.pop(0) if self.places else 0

    def count(self, exact: int, share: Fraction) -> int:
        raise AssertionError("nothing is counted")


def quantile(level: Fraction, bins: int) -> tuple[Statistic, Order]:
    found = compile_query("SELECT median(stock) FROM visits", town.FACTS).statistics[0]
    asked = Order(level=level, first=0, size=bins, step=Fraction(1))
    return replace(found, order=asked), asked


def truth(level: Fraction, rows: np.ndarray) -> tuple[int, int]:
    """The bins between which each value is the exact quantile; a MIN or MAX is the one that `rows_beyond` says."""
    statistic, wanted = quantile(level, len(rows))
    upto = np.cumsum(rows).tolist()
    rank = level * upto[-1]
    if wanted.is_extreme:
        noise = noise_scale(sensitivity(statistic, wanted), VALUE * statistic.share * RHO) / statistic.up
        rank = max(upto[-1] - noise * math.log(20 * len(rows)), upto[-1] // 2)
    return bisect_left(upto, rank), min(bisect_right(upto, rank), len(rows) - 1)


def held(level: Fraction, rows: np.ndarray) -> tuple[float, float]:
    """How likely the interval holds the exact quantile, and how many bins wide it is on average."""
    statistic, wanted = quantile(level, len(rows))
    exact, last, (low, high) = (rows * statistic.up)[None, :], len(rows) - 1, truth(level, rows)
    law = Law()
    drawn(statistic, wanted, exact, RHO, law)
    found = width = 0.0
    for place in np.flatnonzero(law.chances[0] > 1e-5).tolist():
        reaches = np.array(order._reaches(wanted, place))
        at = Law([place])
        drawn(statistic, wanted, exact, RHO, at)
        chances = law.chances[0][place] * at.chances[1]
        found += chances[(place - reaches <= high) & (place + reaches >= low)].sum()
        width += chances @ (np.minimum(last, place + reaches) - np.maximum(0, place - reaches) + 1)
    return found, width


@pytest.mark.parametrize("level", [MEDIAN, TENTH, MOST], ids=str)
@pytest.mark.parametrize("name", SMOOTH)
def test_intervals_of_smooth_data_hold_the_quantile_as_often_as_they_say(name: str, level: Fraction) -> None:
    """Somewhat above 95 %, and more only where the median's interval is hardly wider than its bin."""
    found, width = held(level, SMOOTH[name])
    assert found > 0.95
    assert found < 0.97 or width < 14


@pytest.mark.parametrize("level", [MEDIAN, TENTH, MOST], ids=str)
@pytest.mark.parametrize("name", FEW)
def test_intervals_of_few_rows_hold_the_quantile(name: str, level: Fraction) -> None:
    """Of hardly any rows the interval is the range: nothing is known, and it is said."""
    found, width = held(level, FEW[name])
    assert 0.95 < found < 0.98
    assert width > (950 if FEW[name].sum() < 50 else 150)


@pytest.mark.parametrize("level", [MEDIAN, TENTH, MOST], ids=str)
@pytest.mark.parametrize("name", LUMPS)
def test_intervals_of_lumps_reach_the_lump_that_holds_the_quantile(name: str, level: Fraction) -> None:
    """The value may fall between two lumps, the interval reaches one. It is the harder the more alike lumps and noise are."""
    found, _ = held(level, LUMPS[name])
    assert found > 0.91


def test_where_rows_are_many_the_interval_is_one_bin_and_right() -> None:
    """A bin that holds far more rows than the noise: its width is the resolution, not noise, and no less can be said."""
    for level in (MEDIAN, TENTH):
        found, width = held(level, MANY)
        assert found > 0.9999
        assert width < 1.01


@pytest.mark.parametrize(
    ("rows", "level"),
    [(SMOOTH["even"], MEDIAN), (SMOOTH["long tail"], TENTH), (LUMPS["40 rows in 50"], MEDIAN), (FEW["100"], MOST)],
)
def test_intervals_that_are_drawn_hold_the_quantile_as_often(rows: np.ndarray, level: Fraction) -> None:
    """A thousand draws by OpenDP, against the law: false alarm 1e-6. Intervals of a tenth of the noise would be seen."""
    statistic, wanted = quantile(level, len(rows))
    low, high = truth(level, rows)
    many = np.tile(rows * statistic.up, (DRAWS, 1))
    found: list[Picked] = drawn(statistic, wanted, many, RHO, _Draws(RHO))
    assert all(p.low <= p.value <= p.high for p in found)
    right = sum(p.low <= high and p.high >= low for p in found)
    chance, _ = held(level, rows)
    assert binom.ppf(ALARM / 2, DRAWS, chance) <= right <= binom.isf(ALARM / 2, DRAWS, chance)


def test_the_interval_pays_for_itself() -> None:
    """Both draws together cost the share of the statistic, and neither is free."""
    assert VALUE + INTERVAL == 1
    assert min(VALUE, INTERVAL) > 0

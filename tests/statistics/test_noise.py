"""The noise itself: its distribution, the threshold of private keys, and whether 95 % intervals hold the truth that often.

Each test of randomness states its false-alarm rate; all are 1e-6 or less. Draws come from the operating system and differ
between runs; sample sizes are fixed. The threshold is checked against exact sums, without chance.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from datetime import date
from fractions import Fraction
from pathlib import Path
from random import Random
from statistics import NormalDist

import numpy as np
import pytest
from scipy.stats import chi2

from compute.engines.duckdb import DuckEngine
from privacy.answer import Answer, NoisyCells, assemble
from privacy.facts import Kind
from privacy.loss import DELTA_UNIT, RHO_UNIT, Loss, price
from privacy.mechanisms import noisy_cells, release
from privacy.order import Picked
from privacy.scales import scale, threshold, value_scale
from privacy.sql.bound import WEIGHT_ONE
from privacy.sql.compile import compile_query
from privacy.sql.plan import Aggregate, Cell, Key, Plan, Statistic
from tests.fakes import town
from tests.fakes.units import Given

ALARM = 1e-6
SMALL_DRAWS, LARGE_DRAWS, LAW_DRAWS = 40_000, 20_000, 4_000
ONE = price(1.0, 1e-7, selects_keys=False)


def copied(plan: Plan, count: int) -> Plan:
    """The plan with one more public key that numbers `count` copies of every cell."""
    return replace(plan, keys=(*plan.keys, Key(name="copy", kind=Kind.INTEGER, domain=tuple(range(count)))))


def drawn(plan: Plan, exact: tuple[int, ...], loss: Loss, count: int) -> np.ndarray:
    """Noise alone: `count` rows of a plan without keys, one column a statistic."""
    many = copied(plan, count)
    _, noisy = noisy_cells(many, Given(many, [(i, *exact) for i in range(count)]), loss)
    return np.array(noisy.values) - np.array(exact)


def chi_square_p(observed: list[int], expected: list[float]) -> float:
    """The p-value of Pearson's test of fully known cell probabilities."""
    value = sum((o - e) ** 2 / e for o, e in zip(observed, expected, strict=True))
    return float(chi2.sf(value, len(expected) - 1))


@pytest.mark.parametrize("sigma", [0.4, 1.0, 2.7])
def test_small_noise_is_discrete_gaussian(sigma: float) -> None:
    """Pearson's test against exp(-x²/2σ²)/Σ, false alarm 1e-6; twice as large a σ² would be seen at once."""
    rho = round(RHO_UNIT / (2 * sigma**2))
    count = compile_query("SELECT count(*) FROM visits", town.FACTS)
    one = replace(count.statistics[0], bound_squared=1, step=Fraction(1))
    plan = replace(count, statistics=(one,))
    assert scale(one, Loss(rho)) == pytest.approx(sigma, rel=1e-6)
    noise = drawn(plan, (5,), Loss(rho), SMALL_DRAWS)[:, 0].tolist()
    for variance, sound in ((scale(one, Loss(rho)) ** 2, True), (2 * scale(one, Loss(rho)) ** 2, False)):
        p = chi_square_p(*_binned(noise, variance))
        assert (p > ALARM) is sound


def _binned(noise: list[int], variance: float) -> tuple[list[int], list[float]]:
    """Counts by value, values that are expected less than ten times put together at each end."""
    weights = {x: math.exp(-x * x / (2 * variance)) for x in range(-200, 201)}
    total = math.fsum(weights.values())
    edge = max(x for x in weights if SMALL_DRAWS * math.fsum(w for y, w in weights.items() if y >= x) / total >= 10)
    found = Counter(max(-edge, min(edge, n)) for n in noise)
    expected: Counter[int] = Counter()
    for x, w in weights.items():
        expected[max(-edge, min(edge, x))] += SMALL_DRAWS * w / total  # type: ignore[assignment]
    return [found[x] for x in sorted(expected)], [float(expected[x]) for x in sorted(expected)]


def test_large_noise_has_the_stated_scale_shape_and_independence() -> None:
    """Variance, mean, a normal shape in 50 bins, evenness of the last digits, and no correlation: eleven tests at 1e-6 / 11."""
    alarm = ALARM / 11
    far = NormalDist().inv_cdf(1 - alarm / 2)
    plan = compile_query("SELECT count(*), sum(amount) FROM visits", town.FACTS)
    loss = price(1.0, 1e-6, selects_keys=False)
    noise = drawn(plan, (10**6, -(10**9)), loss, LARGE_DRAWS)
    for i, statistic in enumerate(plan.statistics):
        sigma = scale(statistic, loss)
        share = statistic.share * loss.rho_fraction
        assert statistic.bound_squared / (2 * sigma**2) <= share
        assert statistic.bound_squared / (2 * sigma**2) == pytest.approx(float(share), rel=1e-6)
        z = noise[:, i] / sigma
        assert chi2.ppf(alarm / 2, LARGE_DRAWS) < float(np.sum(z**2)) < chi2.isf(alarm / 2, LARGE_DRAWS)
        assert abs(float(np.mean(z))) < far / math.sqrt(LARGE_DRAWS)
        edges = [NormalDist().inv_cdf(k / 50) for k in range(1, 50)]
        bins = np.bincount(np.searchsorted(edges, z), minlength=50).tolist()
        assert chi_square_p(bins, [LARGE_DRAWS / 50] * 50) > alarm
        digits = np.bincount(noise[:, i] % 16, minlength=16).tolist()
        assert chi_square_p(digits, [LARGE_DRAWS / 16] * 16) > alarm
        assert abs(float(np.corrcoef(z[:-1], z[1:])[0, 1])) < far / math.sqrt(LARGE_DRAWS - 1)
    assert abs(float(np.corrcoef(noise[:, 0], noise[:, 1])[0, 1])) < far / math.sqrt(LARGE_DRAWS)


def test_published_values_lie_on_the_lattice() -> None:
    """Counts are whole numbers, sums multiples of the step, whatever the finer lattice that carried the noise."""
    plan = compile_query("SELECT level, count(*), sum(amount), sum(fee) FROM visits GROUP BY level", town.FACTS)
    assert [s.round_to for s in plan.statistics] == [1, Fraction(1, 100), 300]
    with DuckEngine().finishing(town.LIMITS) as finish:
        for _ in range(25):
            for _, rows, amount, fee in release(
                plan, Given(plan, []), price(1.0, 1e-6, selects_keys=False), finish
            ).rows:
                assert isinstance(rows, int)
                assert isinstance(amount, float)
                assert amount == round(amount * 100) / 100
                assert isinstance(fee, int)
                assert fee % 300 == 0


def tail(least: int, sigma: float) -> float:
    """P[X >= least] of the discrete Gaussian, summed term by term (relative error below 1e-9)."""

    def terms(first: int, last: int) -> float:
        blocks = range(first, last, 2**20)
        sums = (np.exp(-((np.arange(b, min(b + 2**20, last), dtype=np.float64) / sigma) ** 2) / 2) for b in blocks)
        return math.fsum(float(s.sum()) for s in sums)

    far = math.ceil(12 * sigma)
    return terms(least, max(least, 0) + far) / (2 * terms(1, far) + 1)


def weight_statistic(max_keys: int) -> Statistic:
    facts = replace(town.FACTS, tables=tuple(replace(t, max_rows=max_keys) for t in town.FACTS.tables))
    plan = compile_query("SELECT code, count(*) FROM visits GROUP BY code", facts)
    assert plan.max_keys == max_keys
    return next(s for s in plan.statistics if s.aggregate is Aggregate.WEIGHT)


@pytest.mark.parametrize("delta", [1e-9, 1e-6, 0.02])
@pytest.mark.parametrize("max_keys", [1, 2, 10, 256])
def test_the_threshold_holds_against_the_exact_tail(max_keys: int, delta: float) -> None:
    """m · P[2^20/sqrt(m) + X >= T] <= delta for m = 1, 2, 10, 256 up to the largest number of keys; and T is not wasteful."""
    statistic, loss = weight_statistic(max_keys), Loss(5 * RHO_UNIT, round(delta * DELTA_UNIT))
    sigma, limit = scale(statistic, loss), threshold(statistic, max_keys, loss)
    risks = []
    for m in (1, 2, 10, 256):
        if m <= max_keys:
            weight = math.isqrt(WEIGHT_ONE**2 // m)
            risks.append(m * tail(math.ceil(limit) - weight, sigma))
    assert max(risks) <= delta
    assert max(risks) >= 0.99 * delta


@pytest.mark.parametrize("rho", [0.01, 0.5])
def test_the_threshold_holds_where_noise_is_large(rho: float) -> None:
    """The same for the noise of ordinary prices, at the most keys a question may have."""
    statistic, loss = weight_statistic(256), Loss(round(rho * RHO_UNIT), DELTA_UNIT // 10**6)
    sigma, limit = scale(statistic, loss), threshold(statistic, 256, loss)
    for m in (1, 256):
        assert m * tail(math.ceil(limit) - math.isqrt(WEIGHT_ONE**2 // m), sigma) <= 1e-6


QUESTION = """
SELECT city, level, count(*) AS rows, count(DISTINCT person_id) AS persons, sum(stock) AS total, avg(amount) AS mean,
    sum(stock) / count(*) AS ratio, CASE WHEN count(*) > 10 THEN 100.0 * sum(fee) / sum(stock) ELSE 0 END AS chosen
FROM visits GROUP BY city, level
"""
MOMENTS = """
SELECT city, level, count(*) FILTER (WHERE amount > 1000) AS large, var_pop(amount) AS variance, stddev(amount) AS spread,
    covar_samp(amount, stock) AS together
FROM visits GROUP BY city, level
"""
DIFFERENT = """
SELECT city, level, count(DISTINCT stock) AS different, count(DISTINCT fee) FILTER (WHERE amount > 1000) AS fees,
    count(DISTINCT person_id) FILTER (WHERE stock > 500) AS persons, count(DISTINCT stock) / count(*) AS part
FROM visits GROUP BY city, level
"""


def _residents(draw: Random) -> list[list[town.Row]]:
    """Persons of one to three rows, none over the bounds."""

    def one(city: str, level: int) -> town.Row:
        stock, fee, amount = draw.randrange(300, 1001), draw.randrange(31), draw.randrange(500_001)
        return (city, "内", "a", level, stock, fee, amount, 0, 0, 0, True, date(2024, 1, 1))

    places = [(c, n) for c in town.CITIES for n in range(4)]
    return [[one(*draw.choice(places)) for _ in range(draw.randrange(1, 4))] for _ in range(5_000)]


def _truth(plan: Plan, cells: list[Cell]) -> dict[Cell, Cell]:
    """The answer without noise, by key."""
    width, loss = len(plan.keys), Loss(10**18)
    keys, values = [c[:width] for c in cells], [c[width:] for c in cells]
    with DuckEngine().finishing(town.LIMITS) as finish:
        answer = assemble(plan, [NoisyCells(keys=keys, values=values, suppressed=0, threshold=None)], loss, finish)  # type: ignore[arg-type]
    return {row[:2]: row for row in answer.rows}


def _covered(answer: Answer, truth: dict[Cell, Cell]) -> list[list[bool]]:
    found = []
    for row, intervals in zip(answer.rows, answer.intervals, strict=True):
        pairs = zip(truth[row[:2]][2:], intervals[2:], strict=True)
        found.append([i is not None and i[0] - 1e-9 <= float(str(v)) <= i[1] + 1e-9 for v, i in pairs])
    return found


@pytest.mark.parametrize(("question", "epsilon"), [(QUESTION, 2.0), (MOMENTS, 8.0), (DIFFERENT, 2.0)])
def test_intervals_hold_the_truth_as_often_as_they_say(question: str, epsilon: float, tmp_path: Path) -> None:
    """6,000 draws of each column over twelve groups of some 800 rows: 93 % to 97 % of the intervals hold the exact value.

    At a true coverage between 94.5 % and 95.5 % each of the columns fails with probability below 1e-7.
    """
    path = town.write(tmp_path / "version.duckdb", _residents(Random(3)))
    plan = compile_query(question, town.FACTS)
    cells = town.exact(path, plan)
    assert len(cells) == 12
    truth, loss, copies = _truth(plan, cells), price(epsilon, 1e-6, selects_keys=False), 250
    for statistic, values in zip(plan.statistics, zip(*[c[2:] for c in cells], strict=True), strict=True):
        if statistic.aggregate is Aggregate.COUNT:
            assert min(map(int, map(str, values))) * statistic.step > 10 * value_scale(statistic, loss)
    repeated = copied(plan, copies)
    held: list[list[bool]] = []
    with DuckEngine().finishing(town.LIMITS) as finish:
        for _ in range(2):
            exact = [(*c[:2], i, *c[2:]) for c in cells for i in range(copies)]
            held += _covered(release(repeated, Given(repeated, exact), loss, finish), truth)
    assert len(held) == 6_000
    coverage = dict(zip((o.name for o in plan.outputs[2:]), np.mean(held, axis=0).tolist(), strict=True))
    assert all(0.93 <= c <= 0.97 for c in coverage.values()), coverage


def test_intervals_over_windows_know_that_each_cell_has_noise_of_its_own(tmp_path: Path) -> None:
    """A total of twelve cells has sqrt(12) times the noise of one, and a share of the total little more than that of its cell."""
    path = town.write(tmp_path / "version.duckdb", _residents(Random(3)))
    plan = compile_query(
        "SELECT city, level, count(*) AS n, sum(count(*)) OVER () AS total, count(*) / sum(count(*)) OVER () AS share "
        "FROM visits GROUP BY city, level",
        town.FACTS,
    )
    loss = price(2.0, 1e-6, selects_keys=False)
    with DuckEngine().finishing(town.LIMITS) as finish:
        answer = release(plan, Given(plan, town.exact(path, plan)), loss, finish)
    sigma = value_scale(plan.statistics[0], loss)
    for (*_, n, total, _), intervals in zip(answer.rows, answer.intervals, strict=True):
        low, high = intervals[3]
        assert low < total < high
        assert math.isclose(high - low, 2 * 1.96 * sigma * math.sqrt(12), rel_tol=0.15)
        low, high = intervals[4]
        part = n / total
        spread = sigma / total * math.sqrt((1 - part) ** 2 + 11 * part**2)
        assert math.isclose(high - low, 2 * 1.96 * spread, rel_tol=0.15)


def _quantiles(sql: str, rows: np.ndarray, count: int = 600, loss: Loss = ONE) -> list[Picked]:
    """Draws of the quantile of one cell, with its interval, at epsilon 1."""
    plan = compile_query(f"SELECT {sql} FROM visits", town.FACTS)
    one = replace(
        plan.statistics[0], order=replace(plan.statistics[0].order, first=0, size=len(rows), width=1, kind=Kind.NUMBER)
    )
    many = copied(replace(plan, statistics=(one,)), count)
    _, noisy = noisy_cells(many, Given(many, [(i, tuple((rows * one.up).tolist())) for i in range(count)]), loss)
    return [values[0] for values in noisy.values]  # type: ignore[misc]


@pytest.mark.parametrize(
    ("sql", "target"), [("median(level)", 4.5 * 11), ("quantile_cont(level, 0.25)", 0.25 * 99), ("max(level)", None)]
)
def test_quantiles_follow_the_law_of_the_exponential_mechanism(sql: str, target: float | None) -> None:
    """Pearson's test against e^(score/b)/Σ, b and scores by definition (`privacy.order`), false alarm 1e-6.

    The same draws are seen not to be those of twice the noise, or of half of it.
    """
    rows = np.array([7, 4, 15, 0, 22, 9, 3, 19, 20])
    assert rows.sum() == 99
    loss = Loss(RHO_UNIT // 50)
    statistic = compile_query(f"SELECT {sql} FROM visits", town.FACTS).statistics[0]
    assert statistic.order is not None
    p, q = statistic.order.level.as_integer_ratio()
    row, m = statistic.up, max(p, q - p)
    b = m * town.MAX_ROWS * row / math.sqrt(2 * 0.8 * float(statistic.share * loss.rho_fraction))
    if p == q:
        beyond = math.ceil(b * math.log(20 * len(rows)))
        target = max(rows.sum() - beyond / row, rows.sum() // 2)
    found = np.bincount([p.value for p in _quantiles(sql, rows, LAW_DRAWS, loss)], minlength=len(rows)).tolist()
    upto = np.cumsum(rows)
    scores = q * row * np.minimum(target - upto + rows, upto - target)
    for times, sound in ((1, True), (2, False), (0.5, False)):
        law = np.exp((scores - scores.max()) / (b * times))
        expected = (LAW_DRAWS * law / law.sum()).tolist()
        p = chi_square_p(found, expected)
        assert (p > ALARM) is sound, (times, p)

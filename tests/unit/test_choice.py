"""Choosing bounds: what one unit more may change, where the targets lie, and what comes out when the draw is sure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from privacy import choice
from privacy.choice import COUNTED, GRAIN, SAFETY, chosen, noise_scale
from privacy.sql.bound import CHOOSE_FROM, WITHIN
from privacy.sql.plan import Plan
from tests.fakes.ward import FACTS, plan

quick = settings(max_examples=60, deadline=None)
ROWS = 1_000
MANY = replace(FACTS, tables=tuple(replace(t, max_rows=ROWS) if t.unit else t for t in FACTS.tables))
ROWS_ALONE = plan("SELECT count(*) FROM visits", MANY)
SUMMED = plan("SELECT city, count(*), sum(amount), count(DISTINCT person_id) FROM visits GROUP BY city", MANY)


class Recording:
    """Draws that take the highest score and count right, or as they are told, and remember what they were shown."""

    def __init__(self, units: int | None = None) -> None:
        self.seen: list[tuple[list[int], int, Fraction]] = []
        self.counted: list[tuple[int, Fraction]] = []
        self.units = units

    def highest(self, scores: Sequence[int], sensitivity: int, share: Fraction) -> int:
        self.seen.append((list(scores), sensitivity, share))
        return int(np.argmax(scores))

    def count(self, exact: int, share: Fraction) -> int:
        self.counted.append((exact, share))
        return exact if self.units is None else self.units


def ask(
    found: Plan,
    lengths: Sequence[Sequence[float]],
    rho: Fraction = Fraction(1),
    cells: int = 2,
    units: int | None = None,
):
    draws = Recording(units)
    squared = np.array(lengths, np.float64).reshape(-1, len(found.measured) + 1) ** 2
    return chosen(found.measured, found.length_share, found.max_rows, cells, squared, rho, draws), draws


def bounds(statistics) -> list[float]:
    return [math.sqrt(s.bound_squared) / s.up for s in statistics]


REACH = SUMMED.statistics[1].reach
rows = st.lists(
    st.tuples(st.floats(1, ROWS), st.floats(0, 1), st.floats(0, 1)).map(
        lambda t: (t[0], t[0], t[0] * t[1] * REACH, t[0] * t[2])
    ),
    max_size=30,
)


@quick
@given(
    rows,
    st.tuples(st.floats(1, 10**6), st.floats(0, 1)),
    st.sampled_from([Fraction(1, 100), Fraction(1), Fraction(10**6)]),
)
def test_one_unit_more_changes_no_score_beyond_the_stated_sensitivity(units, more, rho):
    """Given the noisy number of units, and the proportions that were drawn, candidates and targets depend on no unit."""
    unit = (more[0], more[0], more[0] * more[1] * REACH, 1.0)
    (_, before), (_, after) = (ask(SUMMED, u, rho, units=10**9) for u in (units, [*units, unit]))
    assert after.counted[0][0] - before.counted[0][0] == 1
    [ratio, ratio_after] = before.seen[0], after.seen[0]
    assert ratio[1:] == ratio_after[1:] == (3 * GRAIN, SUMMED.statistics[1].ratio_share)
    assert max(abs(a - b) for a, b in zip(ratio[0], ratio_after[0], strict=True)) <= 3 * GRAIN
    length, length_after = before.seen[1], after.seen[1]
    assert length[1:] == length_after[1:] == (GRAIN, SUMMED.length_share * (1 - COUNTED))
    if int(np.argmax(ratio[0])) == int(np.argmax(ratio_after[0])):
        assert max(abs(a - b) for a, b in zip(length[0], length_after[0], strict=True)) <= GRAIN


def test_what_a_choice_costs_is_what_the_plan_says():
    _, draws = ask(SUMMED, [], units=10**9)
    assert draws.seen[0][1:] == (3 * GRAIN, SUMMED.statistics[1].ratio_share)
    assert draws.counted[0][1] + draws.seen[1][2] == SUMMED.length_share


@pytest.mark.parametrize("rho", [Fraction(1, 50), Fraction(10**9)])
def test_the_length_leaves_as_many_units_above_it_as_noise_is_worth(rho):
    """A thousand units of each length 1, 2, 4, …: the longest are cut until noise and bias are level."""
    units = [(float(2**k), float(2**k)) for k in range(9) for _ in range(1_000)]
    [found], _ = ask(ROWS_ALONE, units, rho, cells=300)
    share = float(ROWS_ALONE.statistics[0].share)
    worth = 300 / math.sqrt(2 * share * rho)
    worth += SAFETY * noise_scale(1, ROWS_ALONE.length_share * (1 - COUNTED) * rho)
    above = sum(length > bounds([found])[0] * (1 + 1e-9) for length, _ in units)
    assert above <= min(worth, 3_000) < above + 1_000
    assert rho < 1 or above == 0


@pytest.mark.parametrize("length", [1, 3, 40, 700, ROWS])
def test_nobody_is_cut_for_a_statistic_whose_declared_bound_is_below_the_choice(length: int):
    """Without keys a unit counts as one person, however long: the bound of persons stays 1 while that of rows grows."""
    asked = plan("SELECT count(*), count(DISTINCT person_id) FROM visits", MANY)
    found, _ = ask(asked, [(length, length, 1.0)] * 1_000, Fraction(10**9), cells=1)
    assert bounds(found)[1] == 1
    share = [float(s.share / sum(t.share for t in found)) for s in found]
    assert share[0] * (length / bounds(found)[0]) ** 2 + share[1] <= 1 + 1e-9
    assert bounds(found)[0] <= max(2, 2 * length)


def test_no_more_than_a_third_of_the_units_is_cut_whatever_the_noise():
    units = [(float(2**k), float(2**k)) for k in range(9) for _ in range(1_000)]
    [found], _ = ask(ROWS_ALONE, units, Fraction(1, 50), cells=10**6)
    assert sum(length > bounds([found])[0] * (1 + 1e-9) for length, _ in units) == 3_000


def test_a_proportion_is_what_three_units_in_four_stay_below():
    """Sums of 1, 1/2, 1/4, … of the reach: a quarter of the units lies above, give or take the candidates beside it."""
    units = [(10.0, 10.0, 10.0 * REACH / 2**k, 2.0) for k in range(8) for _ in range(1_000)]
    (counted, total, persons), _ = ask(SUMMED, units, Fraction(10**9))
    ratio = bounds([total])[0] / bounds([counted])[0]
    assert 1_000 <= sum(s / n > ratio for n, _, s, _ in units) <= 3_000
    assert bounds([persons]) == [pytest.approx(math.sqrt(2))], "persons have a public bound, that of two cities"


def test_units_that_are_all_alike_are_bounded_closely():
    (counted, total, _), _ = ask(SUMMED, [(3.0, 3.0, 3_000.0, 1.0)] * 1_000, Fraction(10**9))
    assert 2 <= bounds([counted])[0] <= 4, "the joint length is a mean: one vector may be longer than its own bound"
    assert 2_000 <= bounds([total])[0] <= 6_000


@pytest.mark.parametrize("units", [0, 5])
def test_too_few_units_to_learn_from_leave_proportions_as_declared(units):
    (counted, total, persons), draws = ask(SUMMED, [(3.0, 3.0, 3_000.0, 1.0)] * units, Fraction(1, 50))
    assert draws.seen == []
    assert bounds([counted])[0] == pytest.approx(math.sqrt(ROWS))
    assert bounds([total])[0] == pytest.approx(math.sqrt(ROWS) * REACH)
    assert bounds([persons])[0] == pytest.approx(math.sqrt(2))


def test_no_bound_passes_the_declared_one():
    found, _ = ask(SUMMED, [(float(ROWS), float(ROWS), float(ROWS * REACH), 9.0)] * 10**4, Fraction(10**9))
    assert all(b <= d * (1 + 1e-12) for b, d in zip(bounds(found), bounds(SUMMED.measured), strict=True))


def test_few_rows_a_unit_leave_the_declared_bounds():
    few = replace(FACTS, tables=tuple(replace(t, max_rows=CHOOSE_FROM - 1) if t.unit else t for t in FACTS.tables))
    assert plan("SELECT count(*) FROM visits", few).length_share == 0
    assert ROWS_ALONE.length_share > 0


@quick
@given(data=st.data(), names=st.integers(1, 3), units=st.integers(0, 30))
def test_who_is_above_a_length_is_who_the_bounds_would_cut(data: st.DataObject, names: int, units: int) -> None:
    """Counted for all lengths at once, and one by one with the bounds that each would give."""
    numbers = st.floats(1e-3, 1e6)
    squares = np.array([[data.draw(numbers) for _ in range(names)] for _ in range(units)]).reshape(units, names)
    proportions = np.array([data.draw(st.sampled_from([0.25, 1.0, 30.0])) for _ in range(names)])
    declared = proportions * np.array([data.draw(st.sampled_from([0.5, 1.0, 3.0, 1e4])) for _ in range(names)])
    shares = np.full(names, 1 / names)
    bounds = [np.minimum(math.sqrt(2) ** i * proportions, declared) for i in range(20)]
    sums = [squares @ (shares / b**2) / WITHIN for b in bounds]
    assume(not any(np.any(np.abs(s - 1) < 1e-9) for s in sums))
    found = choice._longer(squares, shares, proportions, declared, 20)
    assert found.tolist() == [int(np.count_nonzero(s > 1)) for s in sums]


@quick
@given(st.lists(st.one_of(st.floats(0, 1e30), st.integers(0, 90).map(lambda i: 2.0**i)), max_size=40))
def test_values_above_powers_of_two_are_counted_exactly(values: list[float]) -> None:
    """A value that is a power of two is not above itself."""
    found = choice._above(np.array(values, np.float64), 80)
    assert found.tolist() == [sum(v > 2.0**i for v in values) for i in range(80)]

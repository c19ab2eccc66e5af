"""Order statistics on paper: scores, targets, prices and intervals, with draws that are written down instead of drawn.

The claims of `privacy.order` are checked in exact integers where they are exact, and the divergences it adds up are computed
from the whole distribution: nothing is random but Hypothesis's examples.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, time
from fractions import Fraction
from itertools import pairwise

import duckdb
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privacy import mechanisms, order
from privacy.answer import NoisyCells, assemble, preview
from privacy.choice import noise_scale
from privacy.errors import Fault
from privacy.facts import Kind
from privacy.loss import Loss, price
from privacy.mechanisms import add_noise, release
from privacy.order import DEEP, INTERVAL, UNKNOWN, VALUE, Picked, drawn, rows_beyond, sensitivity
from privacy.scales import value_scale
from privacy.sql.bound import BINS_OF_A_KEY, MAX_BINS, MOST_BINS, QUICK_BINS, USUAL_BINS, most_keys, quantile_measure
from privacy.sql.plan import Order, Statistic
from privacy.sql.terms import Term
from tests.fakes.units import Given
from tests.fakes.ward import EVENING, FACTS, MORNING, plan

quick = settings(max_examples=60, deadline=None)
ONE = price(1.0, 1e-7, selects_keys=False)
MEDIAN = plan("SELECT median(age) FROM visits")
LEVELS = [Fraction(0), Fraction(1, 10), Fraction(1, 2), Fraction(999_999, 10**6), Fraction(1)]


@dataclass
class Written:
    """`privacy.choice.Draws` that returns the places it was given, or the best one, and remembers what was asked."""

    places: list[int] = field(default_factory=list)
    seen: list[tuple[list[int], int, Fraction]] = field(default_factory=list)

    def highest(self, scores: Sequence[int], sensitivity: int, share: Fraction) -> int:
        self.seen.append((list(scores), sensitivity, share))
        return self.places.pop(0) if self.places else int(np.argmax(np.array(scores, dtype=object)))

    def count(self, exact: int, share: Fraction) -> int:
        raise AssertionError("nothing is counted")


def quantile(level: Fraction, bins: int, found: Statistic = MEDIAN.statistics[0]) -> tuple[Statistic, Order]:
    asked = Order(level=level, first=0, size=bins, step=Fraction(1))
    return replace(found, order=asked), asked


def asked_scores(
    level: Fraction, rows: Sequence[int], rho: Fraction = Fraction(1, 50), place: int | None = None
) -> list[tuple[list[int], int, Fraction]]:
    """What the two draws of one cell are asked: for the value, and for the reach of its interval when the value is at `place`."""
    statistic, wanted = quantile(level, len(rows))
    draws = Written([] if place is None else [place])
    drawn(statistic, wanted, np.array([rows], np.int64), rho, draws)
    return draws.seen


# ── scores ──

hist = st.lists(st.integers(0, 10**7), min_size=1, max_size=9)


@quick
@given(hist, st.lists(st.integers(0, 10**6), min_size=9, max_size=9), st.sampled_from(LEVELS), st.integers(0, 8))
def test_one_unit_more_changes_no_score_by_more_than_its_weight_says(rows, added, level, place):
    """Both draws: |change| <= m · w of every candidate, w the unit's weight in the cell, whatever bins its rows fall into."""
    place %= len(rows)
    added = added[: len(rows)]
    weight = max(level.numerator, level.denominator - level.numerator) * sum(added)
    after = [a + b for a, b in zip(rows, added, strict=True)]
    sides = (asked_scores(level, r, place=place) for r in (rows, after))
    for one, other in zip(*sides, strict=True):
        assert one[1:] == other[1:], "neither the stated sensitivity nor the price depends on rows"
        assert max(abs(a - b) for a, b in zip(one[0], other[0], strict=True)) <= weight


@pytest.mark.parametrize("draw", [0, 1])
@pytest.mark.parametrize("level", LEVELS)
def test_that_weight_is_reached(level, draw):
    """A unit at the end on the longer side moves some score by all of m · w: less noise would be too little for either draw."""
    rows, weight = [10**9] * 5, 1_000
    reached = 0
    for own, place in itertools.product(range(5), range(5)):
        after = [n + weight * (i == own) for i, n in enumerate(rows)]
        changes = zip(*(asked_scores(level, r, place=place)[draw][0] for r in (rows, after)), strict=True)
        reached = max(reached, *(abs(a - b) for a, b in changes))
    assert reached == max(level.numerator, level.denominator - level.numerator) * weight


@quick
@given(hist, hist, st.sampled_from(LEVELS), st.floats(0.5, 1e6), st.floats(1.01, 50), st.sampled_from([0, 1]))
def test_renyi_divergence_of_a_pair_is_that_of_a_gaussian(rows, added, level, scale, alpha, draw):
    """The module's bound α·(2mw/b)²/8 against the divergence itself, in both directions, for either draw."""
    size = min(len(rows), len(added))
    rows, added = rows[:size], [n % 50 for n in added[:size]]
    weight = max(level.numerator, level.denominator - level.numerator) * sum(added)
    both = (rows, [a + b for a, b in zip(rows, added, strict=True)])
    sides = [asked_scores(level, r, place=size // 2)[draw][0] for r in both]
    logs = [_log_probabilities(s, scale) for s in sides]
    for p, q in (logs, logs[::-1]):
        divergence = _log_sum(alpha * p + (1 - alpha) * q) / (alpha - 1)
        assert divergence <= alpha * (weight / scale) ** 2 / 2 * (1 + 1e-6) + 1e-6


def _log_probabilities(scores: Sequence[int], scale: float) -> np.ndarray:
    exact = np.array([s / scale for s in scores], np.float64)
    return exact - _log_sum(exact)


def _log_sum(values: np.ndarray) -> float:
    return float(values.max() + np.log(np.exp(values - values.max()).sum()))


@quick
@given(hist, st.sampled_from(LEVELS[1:-1]))
def test_the_best_bin_holds_the_quantile(rows, level):
    """Its score is not negative exactly when the rank falls into it; a bin beside it has less than no score."""
    scores = asked_scores(level, rows)[0][0]
    upto = np.cumsum(np.array(rows, dtype=object))
    for i, score in enumerate(scores):
        holds = upto[i] - rows[i] <= level * sum(rows) <= upto[i]
        assert (score >= 0) == holds
        assert score == level.denominator * min(level * sum(rows) - upto[i] + rows[i], upto[i] - level * sum(rows))


def test_extremes_leave_some_rows_beyond_them_or_half_of_few():
    statistic, _ = quantile(Fraction(1), 4)
    rho = Fraction(1, 50)
    beyond = rows_beyond(statistic, rho)
    lattice = int(noise_scale(sensitivity(statistic, quantile(Fraction(1), 4)[1]), VALUE * rho) * math.log(80)) + 1
    assert beyond == math.ceil(lattice / statistic.up)
    many = 10 * lattice
    largest = asked_scores(Fraction(1), [0, many, many, 0], rho)[0][0]
    smallest = asked_scores(Fraction(0), [0, many, many, 0], rho)[0][0]
    assert largest == [-(2 * many - lattice), -(many - lattice), min(many - lattice, lattice), -lattice]
    assert smallest == largest[::-1]
    few = asked_scores(Fraction(1), [1, 1, 1, 1], rho)[0][0]
    assert few == asked_scores(Fraction(0), [1, 1, 1, 1], rho)[0][0] == [-1, 0, 0, -1]
    assert rows_beyond(MEDIAN.statistics[0], rho) is None
    assert rows_beyond(plan("SELECT count(*) FROM visits").statistics[0], rho) is None


def test_scores_stay_within_what_a_draw_can_hold():
    level = Fraction(999_999, 10**6)
    for place in range(3):
        for scores, _, _ in asked_scores(level, [2**62, 2**62, 2**62], place=place):
            assert min(scores) == -(2**62)
            assert max(scores) <= 2**62


# ── prices ──


@pytest.mark.parametrize("level", LEVELS)
def test_what_both_draws_cost_is_the_share_of_the_statistic(level):
    statistic, _ = quantile(level, 3)
    seen = asked_scores(level, [1, 2, 3])
    assert [share for *_, share in seen] == [VALUE * statistic.share, INTERVAL * statistic.share]
    assert sum(share for *_, share in seen) == statistic.share
    weight = max(level.numerator, level.denominator - level.numerator)
    exact = weight**2 * Fraction(statistic.bound_squared)
    for _, change, share in seen:
        assert exact * (1 + Fraction(1, 2**26)) ** 2 <= change**2 <= exact * (1 + Fraction(1, 10**5))
        rho = Fraction(1, 50) * share
        scale = Fraction(noise_scale(change, rho))
        assert exact / (2 * scale**2) <= rho, "a unit at its bound in one cell"
        assert exact / (2 * scale**2) >= rho * (1 - Fraction(1, 10**4)), "and no more noise than that"


def test_a_draw_that_opendp_prices_higher_is_a_fault(monkeypatch):
    given = Given(MEDIAN, [((0,) * 121,)])
    monkeypatch.setattr(mechanisms.choice, "noise_scale", lambda d, rho: noise_scale(d, rho) * 0.999)
    with pytest.raises(Fault) as caught:
        add_noise(MEDIAN, [()], given.totals(MEDIAN.measured, [()]), ONE)
    assert caught.value.private == "OpenDP prices a choice above its share"


def test_a_price_of_zero_draws_nothing():
    with pytest.raises(Fault) as caught:
        add_noise(MEDIAN, [()], [np.zeros((1, 121), np.int64)], Loss())
    assert caught.value.private == "a question was priced at rho 0"


def test_the_smallest_bound_still_makes_noise():
    statistic, wanted = quantile(Fraction(1, 2), 3)
    assert sensitivity(replace(statistic, bound_squared=0), wanted) == 1


# ── the interval ──


def picked(places: list[int], rows: Sequence[int] = (0,) * 100, level: Fraction = Fraction(1, 2)) -> Picked:
    statistic, wanted = quantile(level, len(rows))
    [found] = drawn(statistic, wanted, np.array([rows], np.int64), Fraction(1), Written(places))
    return found


def test_reaches_double_and_end_with_the_whole_range():
    found = [picked([50, i]) for i in range(8)]
    assert [p.high - p.value for p in found] == [0, 1, 2, 4, 8, 16, 32, 49]
    assert [p.value - p.low for p in found] == [0, 1, 2, 4, 8, 16, 32, 50]
    assert picked([50, -1]) == picked([50, 7]) == Picked(value=50, low=0, high=99), "there is none behind it"
    assert picked([0, -1]) == Picked(value=0, low=0, high=99)
    assert picked([97, 3]) == Picked(value=97, low=93, high=99), "a side at the end of the range stops there"
    assert picked([0, 0], [5]) == Picked(value=0, low=0, high=0), "a range of one value is known"


def test_an_interval_is_as_deep_as_the_quantile_lies_in_it():
    """Scores by definition: the depth of each candidate and of the one before, and the public favour of both ends of the list."""
    level, rows, place = Fraction(1, 4), [3, 0, 40, 7, 1, 0, 0, 90, 20, 5], 3
    statistic, _ = quantile(level, 10)
    [_, (scores, change, share)] = asked_scores(level, [n * statistic.up for n in rows], place=place)
    noise = noise_scale(change, Fraction(1, 50) * share)
    lattice, deep = 4 * statistic.up, DEEP * noise
    target = sum(rows) / 4
    depths = [-math.inf]
    for reach in (0, 1, 2, 4):
        upper = sum(rows[: place + reach + 1]) - target
        lower = target - sum(rows[: place - reach]) if reach < 3 else math.inf
        depths.append(min(upper, lower) * lattice)
    depths.append(math.inf)
    roots = [1, 1, 1, math.sqrt(2)]
    stands = [*roots, UNKNOWN * sum(roots) * math.exp(-2 * DEEP)]
    expected = [
        min(deep - c, d - deep) + noise * math.log(n) for (c, d), n in zip(pairwise(depths), stands, strict=True)
    ]
    assert scores == pytest.approx(expected, abs=3)


def test_a_side_at_the_end_of_the_range_limits_nothing():
    """The value is the lowest one: only rows above it tell how deep the quantile lies."""
    many = 10**9
    scores = asked_scores(Fraction(1, 2), [many, many, many, many, many, many, many, many], place=0)[1][0]
    assert int(np.argmax(scores)) == 3, "bins 0 to 4 hold more than half of the rows, bins 0 to 2 do not"
    assert asked_scores(Fraction(1, 2), [many] * 8, place=7)[1][0] == scores, "and so from the other end"


def test_where_rows_are_many_the_interval_is_the_bin():
    """Its own bin is deep enough: what is left is the width of a bin, not noise."""
    many = 10**9
    scores, change, share = asked_scores(Fraction(1, 2), [0, many, many, many, 0])[1]
    noise = noise_scale(change, Fraction(1, 50) * share)
    assert math.exp(_log_probabilities(scores, noise)[0]) > 1 - 1e-9


@pytest.mark.parametrize("bins", [2, 64, 1_000, MOST_BINS])
def test_of_nobody_nothing_is_known(bins):
    """With no row at all the whole range is the interval in 95 of 100 draws, wherever the value is."""
    for place in (0, bins // 3, bins - 1):
        scores, change, share = asked_scores(Fraction(1, 2), [0] * bins, place=place)[1]
        noise = noise_scale(change, Fraction(1, 50) * share)
        assert math.exp(_log_probabilities(scores, noise)[-1]) == pytest.approx(UNKNOWN / (UNKNOWN + 1), abs=1e-5)


@given(st.integers(0, 99), st.integers(-8, 7), st.sampled_from(LEVELS))
@quick
def test_an_interval_is_sorted_around_its_value_within_the_range(place, reach, level):
    found = picked([place, reach], level=level)
    assert 0 <= found.low <= found.value <= found.high <= 99


# ── bins ──


def test_each_value_is_a_bin_while_there_is_room_and_bins_tile_the_range():
    assert (MEDIAN.statistics[0].order.bins, MEDIAN.statistics[0].order.width) == (121, 1)
    coarse = plan("SELECT median(amount) FROM visits").statistics[0].order
    assert coarse.bins <= MOST_BINS < coarse.size == 500_001
    ends = [coarse.ends(i, i) for i in range(coarse.bins)]
    assert ends[0][0] == 0
    assert ends[-1][1] == 500_000
    assert all(low == high + 1 for (_, high), (low, _) in pairwise(ends))
    assert all(low <= coarse.middle(i) <= high for i, (low, high) in enumerate(ends))
    assert plan("SELECT dept, median(amount) FROM visits GROUP BY dept").statistics[0].order.bins <= BINS_OF_A_KEY


def test_bins_of_all_quantiles_and_cells_have_one_room():
    parts = ", ".join(f"quantile_cont(amount, 0.{i})" for i in range(1, 10))
    found = plan(f"SELECT urgent, level, rate, {parts} FROM visits GROUP BY urgent, level, rate")
    assert sum(s.order.bins for s in found.measured) * found.cells <= MAX_BINS
    assert USUAL_BINS * 0.99 < found.statistics[0].order.bins <= USUAL_BINS


def test_few_cells_have_finer_bins():
    alone = plan("SELECT median(amount) FROM visits").statistics[0].order
    several = plan("SELECT level, median(amount) FROM visits GROUP BY level")
    assert MOST_BINS * 0.99 < alone.bins <= MOST_BINS
    assert USUAL_BINS < several.statistics[0].order.bins <= QUICK_BINS // several.cells


def test_as_many_private_keys_are_shown_as_there_are_bins_for():
    one = plan("SELECT dept, median(amount) FROM visits GROUP BY dept")
    two = plan("SELECT dept, median(amount), max(age) FROM visits GROUP BY dept")
    assert most_keys(one.measured) == MAX_BINS // one.statistics[0].order.bins
    assert most_keys(two.measured) == MAX_BINS // sum(s.order.bins for s in two.measured)
    assert most_keys(plan("SELECT dept, count(*) FROM visits GROUP BY dept").measured) == 100_000


# ── what a person reads ──

BY_CITY = plan("SELECT city, median(age) AS m, max(amount) AS top, count(*) AS n FROM visits GROUP BY city")


def finish(sql, tables):
    """The post-processing of `BY_CITY`."""
    names = [name for name, _ in tables["noisy"].columns]
    return [tuple(row[names.index(n)] for n in ("cell", "k0", "s0", "s1", "s2")) for row in tables["noisy"].rows]


def bins_of(statistic: Statistic, place: int, rows: int) -> tuple[int, ...]:
    return tuple(rows * statistic.up * (i == place) for i in range(statistic.order.bins))


def test_a_quantile_is_released_with_its_interval_and_without_a_scale():
    median, top, count = BY_CITY.statistics
    last = top.order.bins - 1
    exact = [("东", bins_of(median, 37, 10_000), bins_of(top, last, 10_000), 10_000 * count.up)]
    answer = release(BY_CITY, Given(BY_CITY, exact), ONE, finish)
    (_, middle, most, _), (_, other, *_) = answer.rows
    assert (middle, most) == (37, 4_999.97)
    assert answer.intervals[0][1] == (37.0, 37.0)
    assert 4_998 < answer.intervals[0][2][0] <= most < answer.intervals[0][2][1] == 5_000
    assert 0 <= answer.intervals[1][1][0] <= other <= answer.intervals[1][1][1] <= 120
    assert [c.noise is None for c in answer.columns] == [True, True, True, False]


def test_preview_knows_no_width_of_a_quantile():
    assert [p.half_width is None for p in preview(BY_CITY, ONE)] == [True, True, False]


def test_a_withheld_cell_has_no_quantile():
    found = plan(
        "SELECT city, median(age) AS m, max(amount) AS top, count(*) AS n FROM visits GROUP BY city",
        replace(FACTS, min_units=10),
    )
    given = Given(found, [])
    answer = release(found, given, Loss(10**18, 1), finish)
    assert answer.suppressed == 2
    assert [row[1:] for row in answer.rows] == [(None, None, None)] * 2
    assert answer.intervals[0] == (None, None, None, None)


def test_derived_columns_are_redrawn_by_the_interval_of_each_cell():
    found = plan("SELECT max(age) - min(age) FROM visits")
    shown = NoisyCells(
        keys=[()],
        values=[(Picked(value=90, low=80, high=100), Picked(value=20, low=20, high=30))],
        suppressed=0,
        threshold=None,
    )

    def spread(sql, tables):
        if sql == found.finish_sql:
            return [(0, 70)]
        columns = dict(zip((n for n, _ in tables["noisy"].columns), tables["noisy"].rows[0], strict=True))
        off = {name: pytest.approx(half / 1.96, rel=1e-3) for name, half in (("e0", 10), ("e1", 5))}
        assert columns == {"cell": 0, "s0": 90, "s1": 20, **off}
        return [(0, 60.0, 80.0)]

    assert assemble(found, [shown], ONE, spread).intervals == (((60.0, 80.0),),)


def test_a_day_is_released_as_a_day_and_so_are_the_ends_of_its_interval():
    found = plan("SELECT city, max(day) AS last FROM visits GROUP BY city", replace(FACTS, min_units=10))
    last, units = found.statistics
    exact = [("东", bins_of(last, 3, 10_000), 10_000 * units.up)]

    def as_it_is(sql, tables):
        names = [name for name, _ in tables["noisy"].columns]
        assert dict(tables["noisy"].columns)["s0"] == "DATE"
        return [tuple(row[names.index(n)] for n in ("cell", "k0", "s0")) for row in tables["noisy"].rows]

    answer = release(found, Given(found, exact), Loss(10**18, 1), as_it_is)
    assert answer.rows == (("东", date(2023, 1, 8)), ("西", None))
    (_, (low, high)), withheld = answer.intervals
    assert date(2023, 1, 5) <= low <= date(2023, 1, 8) <= high <= date(2024, 2, 29)
    assert withheld == (None, None)
    assert last.order.bins == (date(2024, 2, 29) - date(2023, 1, 5)).days + 1


def test_a_moment_is_released_as_a_moment_to_the_second():
    found = plan("SELECT max(at) FROM visits")
    wanted = found.statistics[0].order
    since = MORNING.date()
    assert wanted.size == 86_400 * ((EVENING.date() - since).days + 1)
    assert wanted.first == since.toordinal() * 86_400
    assert (wanted.width, wanted.step) == (-(-wanted.size // MOST_BINS), 1), "a second is finer than any bin"

    def as_it_is(sql, tables):
        assert dict(tables["noisy"].columns)["s0"] == "TIMESTAMP"
        return [(0, tables["noisy"].rows[0][1])]

    shown = NoisyCells(
        keys=[()],
        values=[(Picked(value=wanted.first + 36_061, low=wanted.first + 36_000, high=wanted.first + 86_399),)],
        suppressed=0,
        threshold=None,
    )
    answer = assemble(found, [shown], ONE, as_it_is)
    assert answer.rows == ((datetime.combine(since, time(10, 1, 1)),),)
    assert answer.intervals == (((datetime.combine(since, time(10)), datetime.combine(since, time(23, 59, 59))),),)
    assert found.statistics[0].redrawn("z") == "n.s0 + to_seconds(CAST(round(z * n.e0) AS BIGINT)) AS s0"


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("2019-12-31 23:59:59.5", 2 * 86_400 - 1),
        ("1969-12-30 00:00:00", 0),
        ("1969-12-31 23:59:58.5", 86_398),
        ("1970-01-01 00:00:00.999999", 86_400),
        ("290000-01-01 00:00:00", 2 * 86_400 - 1),
        ("0044-03-15 (BC) 00:00:00", 0),
        ("infinity", None),
    ],
)
def test_a_moment_falls_into_its_second_before_1970_too(text, place):
    """Between 1969-12-31 and 1970-01-01; what is outside of the range is clamped, and infinity is no moment."""
    term = Term(sql="m", kind=Kind.TIMESTAMP, since=date(1969, 12, 31), until=date(1970, 1, 1))
    row = quantile_measure(term, "", Fraction(1, 2)).row
    assert duckdb.sql(f"SELECT {row} FROM (SELECT TIMESTAMP '{text}' AS m)").fetchall() == [(place,)]


@pytest.mark.parametrize("shape", [(1,), (1, 120), (2, 121), (1, 121, 1)])
def test_totals_that_are_not_one_integer_a_bin_are_a_fault(shape):
    with pytest.raises(Fault) as caught:
        add_noise(MEDIAN, [()], [np.zeros(shape, np.int64)], ONE)
    assert caught.value.private == "the engine returned totals that are not one integer a cell"


def test_no_cell_has_no_quantile():
    found = plan("SELECT dept, median(age) FROM visits GROUP BY dept")
    loss = price(1.0, 1e-7, selects_keys=True)
    assert add_noise(found, [], Given(found, []).totals(found.measured, []), loss).values == []


def test_half_the_noise_of_a_median_is_half_its_scale():
    """The rank noise of a quantile is that of a count of its rows, times m over its part of the share."""
    statistic, wanted = quantile(Fraction(1, 2), 3)
    rho = ONE.rho_fraction
    scale = noise_scale(sensitivity(statistic, wanted), VALUE * rho) / 2 / statistic.up
    assert scale == pytest.approx(value_scale(statistic, ONE) / 2 / math.sqrt(VALUE), rel=1e-5)
    assert order.FARTHEST == 2**62

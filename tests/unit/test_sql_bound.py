"""Bounds: no way to spend a unit's rows moves a statistic further, and the clip is exact in integers."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privacy.facts import Kind
from privacy.sql.bound import (
    CHOOSE_FROM,
    FINE,
    LENGTH,
    MAX_REACH,
    RATIOS,
    SHRINK,
    SLACK,
    WEIGHT_ONE,
    WITHIN,
    Measure,
    merged,
    refined,
    statistics,
    sum_measure,
)
from privacy.sql.plan import Aggregate
from privacy.sql.reference import factors
from privacy.sql.resolve import MAX_UNIT_ROWS
from privacy.sql.terms import Term
from tests.fakes.ward import FACTS, plan

quick = settings(max_examples=50, deadline=None)
COUNT = Measure(aggregate=Aggregate.COUNT, row="", label="COUNT(*)")
UNITS = Measure(aggregate=Aggregate.UNITS, row="", label="units")
WEIGHT = Measure(aggregate=Aggregate.WEIGHT, row="", label="keys")
SOME = Measure(aggregate=Aggregate.SUM, row="x", label="SUM(x)")
reaches = st.builds(
    lambda reach, step: Measure(aggregate=Aggregate.SUM, row="x", label="SUM(x)", reach=reach, step=step),
    st.integers(1, 10**9),
    st.sampled_from([Fraction(1), Fraction(1, 100), Fraction(300)]),
)


def bounded(low: object, high: object, step: object, kind: Kind = Kind.NUMBER) -> Term:
    ends = [None if v is None else Fraction(v) for v in (low, high, step)]
    return Term(sql="x", kind=kind, low=ends[0], high=ends[1], step=ends[2])


def splits(rows: int, cells: int):
    """Every way to put at most `rows` rows into `cells` cells."""
    return (s for s in itertools.product(range(rows + 1), repeat=cells) if sum(s) <= rows)


@pytest.mark.parametrize(("rows", "cells"), [(1, 1), (3, 2), (2, 4), (4, 3)])
def test_no_way_to_spend_the_rows_passes_the_bound_and_one_reaches_it(rows, cells):
    value = Measure(aggregate=Aggregate.SUM, row="x", label="", reach=7)
    for measure, contribution in ((COUNT, lambda n: n), (value, lambda n: 7 * n), (UNITS, lambda n: min(n, 1))):
        ((found,), _) = statistics([measure], max_rows=rows, cells=cells)
        up = int(measure.step / found.step)
        longest = max(sum((up * contribution(n)) ** 2 for n in split) for split in splits(rows, cells))
        assert longest == found.bound_squared, measure.aggregate


def test_units_are_bounded_by_the_cells_and_by_the_rows():
    def bound(cells: int | None) -> Fraction:
        ((found,), _) = statistics([UNITS], max_rows=50, cells=cells)
        return found.bound_squared * found.step**2

    assert [bound(cells) for cells in (0, 1, 7, 50, 1000, None)] == [1, 1, 7, 50, 50, 50]


@quick
@given(st.integers(1, 2**16))
def test_weights_of_a_unit_never_pass_one(keys):
    ((found,), _) = statistics([WEIGHT], max_rows=keys, cells=None)
    assert found.bound_squared == WEIGHT_ONE**2
    assert found.step == 1
    assert keys * math.floor(WEIGHT_ONE / math.sqrt(keys)) ** 2 <= found.bound_squared


@quick
@given(
    st.one_of(reaches, st.just(COUNT), st.just(UNITS)), st.integers(1, 10**4), st.one_of(st.none(), st.integers(1, 99))
)
def test_the_lattice_is_refined_just_enough(measure, max_rows, cells):
    ((found,), _) = statistics([measure], max_rows=max_rows, cells=cells)
    bound, up = math.isqrt(found.bound_squared), found.up
    assert up.bit_count() == 1
    assert (found.step, found.round_to) == (measure.step / up, measure.step)
    assert bound >= FINE - up
    assert up == 1 or bound < 3 * FINE


@quick
@given(st.lists(st.sampled_from([COUNT, UNITS, SOME]), min_size=1, max_size=39, unique=True), st.booleans())
def test_shares_add_up_to_the_whole_question(measures, selects):
    measures += [WEIGHT] * selects
    for rows in (3, CHOOSE_FROM):
        found, length = statistics(measures, max_rows=rows, cells=None)
        assert sum(s.share + s.ratio_share for s in found) + length == 1
    assert [s.name for s in found] == [f"s{i}" for i in range(len(measures))]


def test_no_measure_is_no_statistic():
    assert statistics([], max_rows=3, cells=1) == ((), 0)


bounds = st.tuples(st.fractions(-(10**9), 10**9, max_denominator=1000), st.fractions(0, 10**9, max_denominator=1000))
steps = st.sampled_from([None, Fraction(0), Fraction(1), Fraction(1, 100), Fraction(1, 2**40), Fraction(300)])


@quick
@given(bounds, steps, st.integers(1, MAX_UNIT_ROWS), st.booleans())
def test_a_sum_s_lattice_holds_the_range_and_keeps_a_unit_within_reach(ends, step, max_rows, centred):
    low, high = ends[0], ends[0] + ends[1]
    found = sum_measure(bounded(low, high, step), "SUM(x)", max_rows, centred=centred)
    first, last = math.floor(low / found.step), math.ceil(high / found.step)
    assert found.step > 0
    assert all(abs(end - found.offset) <= found.reach for end in (first, last))
    assert found.reach * max_rows <= MAX_REACH + max_rows
    if centred and (max_rows < CHOOSE_FROM or not first <= 0 <= last):
        assert found.reach <= (last - first) / 2 + 1, "centring halves the reach"
    else:
        assert found.offset == 0


@pytest.mark.parametrize(
    ("term", "max_rows", "step"),
    [
        (bounded(0, 5000, "1/100"), 8, Fraction(1, 100)),
        (bounded(0, 5000, "1/100"), 2**32, Fraction(10)),
        (bounded(0, 1, None), 8, Fraction(1, 10**9)),
        (bounded(0, 0, 0), 8, Fraction(1, 10**21)),
        (bounded(-(10**18), 10**18, 1, Kind.INTEGER), 1, Fraction(10**10)),
        (bounded(5, 5, "1/2"), 8, Fraction(1, 2)),
    ],
)
def test_the_lattice_of_an_expression(term, max_rows, step):
    assert sum_measure(term, "", max_rows, centred=False).step == step


@pytest.mark.parametrize(
    ("term", "centred", "row"),
    [
        (bounded(0, 120, 1, Kind.INTEGER), False, "CASE WHEN x IS NOT NULL THEN greatest(0, least(120, x)) - 0 END"),
        (bounded(0, 120, 1, Kind.INTEGER), True, "CASE WHEN x IS NOT NULL THEN greatest(0, least(120, x)) - 60 END"),
        (
            bounded(0, 900, 300, Kind.INTEGER),
            False,
            "CASE WHEN x IS NOT NULL THEN greatest(0, least(3, x // 300)) - 0 END",
        ),
        (
            bounded(-1, 5, "1/100"),
            True,
            "CASE WHEN isfinite(CAST(x AS DOUBLE)) THEN "
            "TRY_CAST(greatest(-100, least(500, round(CAST(x AS DOUBLE) * 100 / 1))) AS BIGINT) - 200 END",
        ),
    ],
)
def test_a_row_is_clamped_to_its_range_before_it_is_shifted(term, centred, row):
    assert sum_measure(term, "", 1, centred=centred).row == row


def test_an_integer_on_a_fine_lattice_is_rounded_like_a_number():
    found = sum_measure(bounded(0, 3, "1/2", Kind.INTEGER), "", 1, centred=False)
    assert "round(CAST(x AS DOUBLE) * 2 / 1)" in found.row


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.lists(st.integers(-MAX_REACH, MAX_REACH), min_size=2, max_size=2), min_size=1, max_size=12),
    st.lists(st.integers(1, MAX_REACH), min_size=2, max_size=2),
    st.integers(1, 39),
)
def test_the_joint_clip_never_passes_the_bound(cells, bounds, parts):
    """Points 2 and 3 of the module's argument, with the operations as engines do them and exact fractions to judge them."""
    two = [replace(statistics([SOME], max_rows=1, cells=1)[0][0], share=Fraction(p, 40)) for p in (parts, 40 - parts)]
    two = [
        refined(replace(s, bound_squared=MAX_REACH**2, step=s.round_to), b) for s, b in zip(two, bounds, strict=True)
    ]
    r = 0.0
    for cell in cells:
        r += sum(f * (float(c) * float(c)) for f, c in zip(factors(two), cell, strict=True))
    gain = 1.0 if r <= WITHIN else SHRINK / math.sqrt(r)
    made = [[math.trunc(float(c) * (float(s.up) * gain)) for c, s in zip(cell, two, strict=True)] for cell in cells]
    moved = sum(s.share * c[j] ** 2 / Fraction(s.bound_squared) for c in made for j, s in enumerate(two))
    assert moved <= 1 + Fraction(1, 2**27)
    if r <= WITHIN:
        assert made == [[c * s.up for c, s in zip(cell, two, strict=True)] for cell in cells], (
            "nothing is lost within it"
        )


def test_the_noise_pays_for_what_rounding_may_add():
    assert SLACK**2 > 1 + 2.0**-27
    assert WITHIN * (1 + 2.0**-29) < 1 + 2.0**-27


def test_equal_measures_are_asked_and_paid_once():
    first, place = merged([], COUNT)
    again, same = merged(first, Measure(aggregate=Aggregate.COUNT, row="", label="another name"))
    more, other = merged(again, UNITS)
    assert (place, same, other) == (0, 0, 1)
    assert again == first == [COUNT]
    assert more == [COUNT, UNITS]


CHOOSING = replace(FACTS, tables=tuple(replace(t, max_rows=CHOOSE_FROM) if t.unit else t for t in FACTS.tables))


def test_few_rows_a_unit_are_bounded_as_declared_and_many_by_choice():
    text = "SELECT count(*), count(dept), sum(amount), avg(age), count(DISTINCT person_id) FROM visits"
    declared, chosen = plan(text), plan(text, CHOOSING)
    assert (declared.length_share, {s.ratio_share for s in declared.statistics}) == (0, {0})
    assert chosen.length_share == LENGTH
    paid = [s.ratio_share for s in chosen.statistics]
    assert [p > 0 for p in paid] == [s.value != "" for s in chosen.statistics]
    assert sum(paid) == RATIOS
    assert sum(s.share + s.ratio_share for s in chosen.statistics) + chosen.length_share == 1


def test_quantiles_and_different_values_choose_their_proportion_where_nothing_public_says_it():
    """Every row has an age: its vector is that of the row counts. A lone statistic needs no proportion."""
    found = plan(
        "SELECT median(age), median(amount), count(DISTINCT age), max(age) FILTER (WHERE urgent) FROM visits", CHOOSING
    )
    assert [s.ratio_share > 0 for s in found.statistics] == [False, True, True, True]
    assert sum(s.share + s.ratio_share for s in found.statistics) + found.length_share == 1
    for alone in ("median(amount)", "count(DISTINCT age)"):
        assert plan(f"SELECT {alone} FROM visits", CHOOSING).statistics[0].ratio_share == 0


def test_a_row_counts_once_in_a_quantile_and_among_values_whatever_its_value():
    for text in ("median(amount)", "max(fee)", "count(DISTINCT fee)"):
        (statistic,) = plan(f"SELECT {text} FROM visits").statistics
        assert (statistic.reach, statistic.round_to) == (1, 1)
        assert statistic.bound_squared == (4 * statistic.up) ** 2

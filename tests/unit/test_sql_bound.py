"""Bounds: no way to spend a unit's rows moves a statistic further, and the clip is exact in integers."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privacy.facts import Kind
from privacy.sql.bound import (
    FINE,
    MAX_REACH,
    WEIGHT_ONE,
    Measure,
    merged,
    refinement,
    statistics,
    sum_measure,
)
from privacy.sql.plan import Aggregate
from privacy.sql.resolve import MAX_UNIT_ROWS
from privacy.sql.terms import Term
from tests.fakes.ward import plan

quick = settings(max_examples=50, deadline=None)
COUNT = Measure(aggregate=Aggregate.COUNT, row="", label="COUNT(*)")
UNITS = Measure(aggregate=Aggregate.UNITS, row="", label="units")
WEIGHT = Measure(aggregate=Aggregate.WEIGHT, row="", label="keys")
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
        (found,) = statistics([measure], max_rows=rows, cells=cells)
        up = int(measure.step / found.step)
        longest = max(sum((up * contribution(n)) ** 2 for n in split) for split in splits(rows, cells))
        assert longest == found.bound_squared, measure.aggregate


def test_units_are_bounded_by_the_cells_and_by_the_rows():
    def bound(cells: int | None) -> Fraction:
        (found,) = statistics([UNITS], max_rows=50, cells=cells)
        return found.bound_squared * found.step**2

    assert [bound(cells) for cells in (0, 1, 7, 50, 1000, None)] == [1, 1, 7, 50, 50, 50]


@quick
@given(st.integers(1, 2**16))
def test_weights_of_a_unit_never_pass_one(keys):
    (found,) = statistics([WEIGHT], max_rows=keys, cells=None)
    assert found.bound_squared == WEIGHT_ONE**2
    assert found.step == 1
    assert keys * math.floor(WEIGHT_ONE / math.sqrt(keys)) ** 2 <= found.bound_squared


@quick
@given(
    st.one_of(reaches, st.just(COUNT), st.just(UNITS)), st.integers(1, 10**4), st.one_of(st.none(), st.integers(1, 99))
)
def test_the_lattice_is_refined_just_enough(measure, max_rows, cells):
    up = refinement(measure, max_rows, cells)
    (found,) = statistics([measure], max_rows=max_rows, cells=cells)
    bound = math.isqrt(found.bound_squared)
    assert up.bit_count() == 1
    assert (found.step, found.round_to) == (measure.step / up, measure.step)
    assert bound >= FINE - up
    assert up == 1 or bound < 3 * FINE


@quick
@given(st.lists(st.sampled_from([COUNT, UNITS, WEIGHT]), min_size=1, max_size=40))
def test_shares_add_up_to_the_whole_question(measures):
    found = statistics(measures, max_rows=3, cells=None)
    assert sum(s.share for s in found) == 1
    assert [s.name for s in found] == [f"s{i}" for i in range(len(measures))]


def test_no_measure_is_no_statistic():
    assert statistics([], max_rows=3, cells=1) == ()


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
    if centred:
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


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(-MAX_REACH, MAX_REACH), min_size=1, max_size=12), st.integers(1, MAX_REACH))
def test_the_clip_in_integers_never_passes_the_bound(cells, bound):
    """Point 3 of the module's argument, with the operations as the exact query writes them."""
    square = bound * bound
    q = sum(c * c for c in cells)
    if q <= square:
        return
    factor = math.floor(FINE * math.sqrt(float(square) / float(max(q, 1))) * (1 - 2.0**-40))
    shrunk = [math.trunc(Fraction(c * factor, FINE)) for c in cells]
    assert sum(c * c for c in shrunk) <= square


def test_equal_measures_are_asked_and_paid_once():
    first, place = merged([], COUNT)
    again, same = merged(first, Measure(aggregate=Aggregate.COUNT, row="", label="another name"))
    more, other = merged(again, UNITS)
    assert (place, same, other) == (0, 0, 1)
    assert again == first == [COUNT]
    assert more == [COUNT, UNITS]


def sql(text: str) -> str:
    return plan(text).exact_sql


def test_the_exact_query_without_keys_groups_by_unit_alone():
    assert sql("SELECT count(*) FROM visits WHERE age > 3") == (
        'WITH tracked AS (SELECT t0."_uid" AS unit FROM "visits" AS t0 WHERE TRY((CAST(t0."age" AS BIGINT) > 3::BIGINT))), '
        "per_unit AS (SELECT unit, CAST(greatest(-4, least(4, count(*))) AS BIGINT) * 262144 AS c0 FROM tracked GROUP BY unit) "
        f"SELECT CAST(greatest(-{2**62}, least({2**62}, coalesce(sum(c0), 0))) AS BIGINT) AS s0 FROM per_unit"
    )


def test_with_public_keys_every_coordinate_is_clipped_to_the_bound():
    text = sql("SELECT city, count(*), count(dept), sum(age) FROM visits GROUP BY city")
    assert (
        'SELECT t0."_uid" AS unit, CAST(t0."city" AS VARCHAR) AS k0, TRY((CAST(t0."dept" AS VARCHAR)) IS NOT NULL) AS v1'
        in text
    )
    assert "count(*) FILTER (WHERE v1)" in text
    assert "CAST(greatest(-480, least(480, coalesce(sum(v2), 0))) AS BIGINT) * 4096 AS c2" in text
    for i in range(3):
        assert f"sum(CAST(c{i} AS HUGEINT) * c{i}) OVER (PARTITION BY unit) AS q{i}" in text
        assert f"CASE WHEN q{i} <= " in text
    assert text.endswith("FROM scored GROUP BY k0")


def test_with_private_keys_a_unit_keeps_few_keys_by_a_hash_of_its_own_and_spreads_its_weight():
    text = sql("SELECT dept, count(DISTINCT person_id) FROM visits GROUP BY dept")
    assert "QUALIFY row_number() OVER (PARTITION BY unit ORDER BY hash(salt, k0), k0) <= 4" in text
    assert "bit_xor(hash(k0)) OVER own AS salt" in text
    assert "CAST(floor(1048576 / sqrt(least(m, 4))) AS BIGINT) AS c1" in text
    assert "CAST(524288 AS BIGINT) AS c0" in text
    assert "q1" not in text, "weights are within their bound by construction"
    assert f"least({2**62}, coalesce(sum(c1), 0))" in text

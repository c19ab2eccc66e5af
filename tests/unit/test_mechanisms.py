"""Noise and release: what the scale is, who is shown, what is withheld, and what a person reads. No engine: `finish` is a
few lines of Python that play the post-processing.
"""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import date
from decimal import Decimal
from fractions import Fraction
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privacy import answer as answer_module
from privacy import choice, mechanisms, scales
from privacy.answer import Column, Noise, NoisyCells, PlusMinus, assemble, preview
from privacy.facts import Kind
from privacy.loss import DELTA_UNIT, RHO_UNIT, Loss, price
from privacy.mechanisms import add_noise, release
from privacy.scales import Z95, half_width, scale, threshold, upper_quantile, value_scale
from privacy.sql import bound
from privacy.sql.bound import WEIGHT_ONE
from privacy.sql.plan import Aggregate, Plan, SmallTable, Statistic
from tests.fakes.units import Given
from tests.fakes.ward import FACTS, plan, refusal

#: So much that noise vanishes beside the lattice: exact values come out.
PLENTY = Loss(10**15 * RHO_UNIT, DELTA_UNIT // 2)
quick = settings(max_examples=50, deadline=None)
ONE = price(1.0, 1e-7, selects_keys=False)
COUNT = plan("SELECT count(*) FROM visits")
BY_CITY = plan("SELECT city, count(*), sum(amount) FROM visits GROUP BY city")
BY_DEPT = plan("SELECT dept, count(*) FROM visits GROUP BY dept")
LEAST = replace(FACTS, min_units=10)


def copying(plan: Plan):
    """A finish that shows the noisy columns as the plan names them, in the order of the cells."""

    def finish(sql: str, tables) -> list[tuple[object, ...]]:
        assert sql == plan.finish_sql
        assert list(tables) == ["noisy"]
        names = [name for name, _ in tables["noisy"].columns]
        keys = iter(k.name for k in plan.keys)
        wanted = [names.index(next(keys) if o.is_key else o.statistic) for o in plan.outputs]
        return [(row[0], *(row[i] for i in wanted)) for row in tables["noisy"].rows]

    return finish


def lattice(plan: Plan, *values: object) -> tuple[int, ...]:
    """The exact integers of these values."""
    return tuple(int(Fraction(str(v)) / s.step) for v, s in zip(values, plan.statistics, strict=True))


# ── scale ──


@quick
@given(st.integers(1, 2**80), st.integers(1, 10**12), st.integers(1, 40))
def test_sigma_is_rounded_against_the_asker(square, rho, parts):
    statistic = replace(COUNT.statistics[0], bound_squared=square, share=Fraction(1, parts))
    sigma = Fraction(scale(statistic, Loss(rho)))
    exact_rho = Fraction(square) / (2 * sigma**2)
    paid = Fraction(rho, RHO_UNIT) / parts
    assert paid * (1 - Fraction(1, 10**7)) <= exact_rho <= paid


def test_the_noise_multiplier_of_the_literature():
    statistic = COUNT.statistics[0]
    assert value_scale(statistic, ONE) / (math.isqrt(statistic.bound_squared) * statistic.step) == pytest.approx(
        4.977, abs=5e-4
    )


@quick
@given(st.integers(1, 10**9), st.integers(2, 1000))
def test_more_rho_is_less_noise_and_a_larger_bound_is_more(rho, factor):
    statistic = COUNT.statistics[0]
    assert scale(statistic, Loss(rho * factor)) < scale(statistic, Loss(rho))
    assert scale(replace(statistic, bound_squared=statistic.bound_squared * factor), Loss(rho)) > scale(
        statistic, Loss(rho)
    )


def test_a_price_of_zero_draws_nothing():
    problem = refusal(lambda: release(COUNT, Given(COUNT, [lattice(COUNT, 5)]), Loss(), copying(COUNT)), "fault")
    assert problem.private == "a question was priced at rho 0"
    refusal(lambda: preview(COUNT, Loss(0, 5)), "fault")


def test_a_draw_that_opendp_prices_higher_is_a_fault(monkeypatch):
    true_scale = mechanisms.scale
    monkeypatch.setattr(mechanisms, "scale", lambda s, loss: true_scale(s, loss) * 0.999)
    problem = refusal(lambda: release(COUNT, Given(COUNT, [lattice(COUNT, 5)]), ONE, copying(COUNT)), "fault")
    assert problem.private == "OpenDP prices s0 above its share"


@pytest.mark.parametrize(
    "totals", [np.array([1.5]), np.array([[1]]), np.array([], np.int64), np.array([1], np.int32), np.array([None])]
)
def test_totals_that_are_not_one_integer_a_cell_are_a_fault(totals):
    problem = refusal(lambda: add_noise(COUNT, [()], [totals], PLENTY), "fault")
    assert problem.private == "the engine returned totals that are not one integer a cell"


# ── half_width and preview ──


@quick
@given(st.integers(1, 10**12), st.sampled_from([Fraction(1), Fraction(1, 100), Fraction(10**6), Fraction(3)]))
def test_half_the_interval_is_the_least_multiple_of_the_rounding_that_covers(rho, rounding):
    statistic = replace(COUNT.statistics[0], round_to=rounding)
    half, sigma = half_width(statistic, Loss(rho)), value_scale(statistic, Loss(rho))
    steps = half / float(rounding)
    assert steps == pytest.approx(round(steps), abs=1e-6)
    # a published value differs by k steps when the noise rounds to k: it is covered while noise < (k + 1/2) steps
    assert (half + float(rounding) / 2) * (1 + 1e-9) >= Z95 * sigma
    assert half == 0 or (half - float(rounding) / 2) * (1 - 1e-9) < Z95 * sigma


def test_preview_says_plus_minus_of_every_column_that_is_no_key():
    found = plan("SELECT city, count(*) AS n, avg(age) AS a, count(*) * 2 AS twice FROM visits GROUP BY city")
    count, average, derived = preview(found, ONE, rows=500)
    assert count == PlusMinus(name="n", half_width=half_width(found.statistics[0], ONE))
    total, rows = (value_scale(s, ONE) for s in (found.statistics[1], found.statistics[0]))
    assert (average.name, average.rows) == ("a", 500)
    assert average.half_width == pytest.approx(Z95 * math.hypot(total, 60 * rows) / 500)
    assert derived == PlusMinus(name="twice", half_width=None)


def test_an_average_of_more_rows_is_sharper():
    found = plan("SELECT avg(age) FROM visits")
    widths = [preview(found, ONE, rows=n)[0].half_width for n in (100, 1000, 10_000)]
    assert widths[0] == pytest.approx(10 * widths[1]) == pytest.approx(100 * widths[2])


# ── public keys ──


def test_the_public_grid_is_whole_in_order_and_zero_where_nobody_is():
    exact = [("西", *lattice(BY_CITY, 7, "12.34"))]
    answer = release(BY_CITY, Given(BY_CITY, exact), PLENTY, copying(BY_CITY))
    assert answer.rows == (("东", 0, 0.0), ("西", 7, 12.34))
    assert (answer.suppressed, answer.threshold, answer.loss) == (0, None, PLENTY)


def test_the_grid_of_several_keys_is_their_product_null_last():
    found = plan("SELECT urgent, level, rate, count(*) FROM visits GROUP BY urgent, level, rate")
    exact = [(None, 3, 0.25, *lattice(found, 4)), (True, 1, Decimal("1.00"), *lattice(found, 9))]
    rows = release(found, Given(found, exact), PLENTY, copying(found)).rows
    assert [row[:3] for row in rows] == [(u, n, r) for u in (False, True, None) for n in (1, 2, 3) for r in (0.25, 1.0)]
    assert {row[:3]: row[3] for row in rows if row[3]} == {(None, 3, 0.25): 4, (True, 1, 1.0): 9}


def test_keys_outside_the_grid_are_never_shown():
    answer = release(BY_CITY, Given(BY_CITY, [("南", *lattice(BY_CITY, 99, 99))]), PLENTY, copying(BY_CITY))
    assert [row[0] for row in answer.rows] == ["东", "西"]
    assert [row[1] for row in answer.rows] == [0, 0]


def test_a_question_without_keys_has_one_row_even_of_nothing():
    assert release(COUNT, Given(COUNT, []), PLENTY, copying(COUNT)).rows == ((0,),)


def test_noise_is_drawn_for_empty_cells_too():
    drawn = {release(BY_CITY, Given(BY_CITY, []), ONE, copying(BY_CITY)).rows[0][1] for _ in range(40)}
    assert len(drawn) > 5  # forty draws at sigma 28 agree this far with probability below 1e-30


def test_long_vectors_are_drawn_in_pieces_in_order_and_each_cell_alone(monkeypatch):
    monkeypatch.setattr(mechanisms, "PIECE", 4)
    found = plan("SELECT urgent, level, rate, count(*) FROM visits GROUP BY urgent, level, rate")
    exact = [(*key, *lattice(found, i * 1_000)) for i, key in enumerate(found.grid())]
    assert [row[3] for row in release(found, Given(found, exact), PLENTY, copying(found)).rows] == [
        i * 1_000 for i in range(18)
    ]
    totals = np.array([e[3] for e in exact], np.int64)
    noise = {n - e[3] for (n,), e in zip(add_noise(found, found.grid(), [totals], ONE).values, exact, strict=True)}
    assert len(noise) == 18  # two of 18 draws agree with probability below 1e-5: sigma is above 2^22 lattice units


# ── private keys ──


def weights(*units: int) -> list[tuple[object, ...]]:
    """A key for each number of units that hold it alone."""
    return [(f"d{i}", *lattice(BY_DEPT, n, n * WEIGHT_ONE)) for i, n in enumerate(units)]


def test_a_private_key_is_shown_only_when_enough_units_hold_it():
    few = price(1.0, 1e-7, selects_keys=True)
    limit = threshold(BY_DEPT.statistics[1], BY_DEPT.max_keys, few)
    enough = math.ceil(2 * limit / WEIGHT_ONE)
    answer = release(BY_DEPT, Given(BY_DEPT, weights(enough, 1, enough)), few, copying(BY_DEPT))
    assert [row[0] for row in answer.rows] == ["d0", "d2"]
    assert answer.threshold == limit
    assert answer.suppressed == 0
    assert release(BY_DEPT, Given(BY_DEPT, weights(1, 1)), few, copying(BY_DEPT)).rows == ()
    assert release(BY_DEPT, Given(BY_DEPT, []), few, copying(BY_DEPT)).rows == ()


def test_of_too_many_private_keys_those_with_the_greatest_weights_are_shown(monkeypatch):
    """The rounding that `privacy.sql.bound` pays for is that of no more cells; the keys keep their order."""
    monkeypatch.setattr(bound, "MAX_CELLS", 3)
    limit = math.ceil(threshold(BY_DEPT.statistics[1], BY_DEPT.max_keys, PLENTY))
    given = Given(BY_DEPT, [(f"d{i}", *lattice(BY_DEPT, i, limit + 10 * w)) for i, w in enumerate((5, 1, 9, 2, 7))])
    assert [row[0] for row in release(BY_DEPT, given, PLENTY, copying(BY_DEPT)).rows] == ["d0", "d2", "d4"]


def test_a_key_is_shown_from_the_threshold_on():
    limit = math.ceil(threshold(BY_DEPT.statistics[1], BY_DEPT.max_keys, PLENTY))
    at, below = (("at", *lattice(BY_DEPT, 5, limit)), ("below", *lattice(BY_DEPT, 5, limit - 1)))
    assert release(BY_DEPT, Given(BY_DEPT, [at, below]), PLENTY, copying(BY_DEPT)).rows == (("at", 5),)


def test_private_keys_priced_without_delta_are_a_fault():
    problem = refusal(lambda: release(BY_DEPT, Given(BY_DEPT, weights(99)), Loss(RHO_UNIT), copying(BY_DEPT)), "fault")
    assert problem.private == "private keys were priced without delta"


# ── chosen bounds ──

MANY = replace(FACTS, tables=tuple(replace(t, max_rows=1_000) if t.unit else t for t in FACTS.tables))
CHOOSING = plan("SELECT city, count(*), sum(amount) FROM visits GROUP BY city", MANY)
#: A thousand units of three rows and a sum of 30 each.
UNITS = [(9.0, 9.0, 3_000.0**2)] * 1_000


def test_a_question_that_chooses_says_no_width_before_and_the_bounds_it_used_after():
    assert [p.half_width for p in preview(CHOOSING, ONE)] == [None, None]
    given = Given(CHOOSING, [("东", 3_000, 3_000_000)], UNITS)
    used = release(CHOOSING, given, price(10.0**6, 1e-6, selects_keys=False), copying(CHOOSING)).statistics
    rows, total = (math.sqrt(s.bound_squared) * float(s.step) for s in used)
    assert 2 <= rows <= 100  # nobody is cut; each step further up is drawn with probability below 1/4
    assert 7 <= total / rows <= 15
    assert [s.name for s in used] == [s.name for s in CHOOSING.statistics]


def test_noise_fits_the_bounds_that_were_chosen():
    given = Given(CHOOSING, [], UNITS)
    answer = release(CHOOSING, given, ONE, copying(CHOOSING))
    assert [c.noise.scale for c in answer.columns[1:]] == [value_scale(s, ONE) for s in answer.statistics]


def test_a_choice_that_opendp_prices_higher_is_a_fault(monkeypatch):
    true_scale = choice.noise_scale
    monkeypatch.setattr(choice, "noise_scale", lambda d, rho: true_scale(d, rho) * 0.999)
    problem = refusal(lambda: release(CHOOSING, Given(CHOOSING, [], UNITS), ONE, copying(CHOOSING)), "fault")
    assert problem.private == "OpenDP prices a choice above its share"


def test_no_key_shown_is_no_bound_chosen():
    found = plan("SELECT dept, count(*) FROM visits GROUP BY dept", MANY)
    answer = release(found, Given(found, [], UNITS), price(1.0, 1e-7, selects_keys=True), copying(found))
    assert (answer.rows, answer.statistics) == ((), found.statistics)


WEIGHT = BY_DEPT.statistics[1]
losses = st.builds(Loss, st.integers(10**6, 10**10), st.integers(10**3, 10**13))


@settings(max_examples=10, deadline=None)
@given(losses, st.one_of(st.integers(1, 300), st.sampled_from([4097, 2**16])), st.integers(2, 100))
def test_thresholds_rise_with_the_keys_of_a_unit_and_fall_with_the_price(loss, keys, factor):
    limit = threshold(WEIGHT, keys, loss)
    assert threshold(WEIGHT, min(2**16, keys * factor), loss) >= limit
    assert threshold(WEIGHT, keys, Loss(loss.rho * factor, loss.delta)) <= limit
    assert threshold(WEIGHT, keys, Loss(loss.rho, loss.delta * factor)) <= limit
    assert limit > WEIGHT_ONE, "one unit alone is never enough"


@pytest.mark.parametrize("keys", [1, 2, 10, 1000, 4096, 5000])
def test_a_unit_s_own_keys_appear_with_at_most_delta_together(keys):
    loss = price(1.0, 1e-6, selects_keys=True)
    limit, sigma = threshold(WEIGHT, keys, loss), scale(WEIGHT, loss)
    for m in {1, max(1, keys // 2), keys}:
        alone = math.floor(WEIGHT_ONE / math.sqrt(m))
        tail = m * 0.5 * math.erfc((limit - alone - 1) / sigma / math.sqrt(2))
        assert tail <= float(loss.delta_fraction)


def test_blocks_above_4096_keys_only_raise_the_threshold():
    loss = price(1.0, 1e-6, selects_keys=True)
    sigma, delta = scale(WEIGHT, loss), float(loss.delta_fraction)
    exact = max(WEIGHT_ONE / math.sqrt(m) + 1 + sigma * upper_quantile(delta / m) for m in (1, 4097, 5000, 6000))
    assert exact <= threshold(WEIGHT, 6000, loss) <= 1.02 * exact


@quick
@given(st.floats(1e-300, 0.5))
def test_the_upper_quantile_is_rounded_up(p):
    x = upper_quantile(p)
    assert 0.5 * math.erfc(x / math.sqrt(2)) <= p
    assert x == pytest.approx(-NormalDist().inv_cdf(p), rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("p", [0.5, 0.75, 1 - 1e-13, 1.0])
def test_the_upper_quantile_ends_its_search_where_the_tail_is_flat(p):
    assert upper_quantile(p) == upper_quantile(0.5) < 1e-8


def test_the_upper_quantile_moves_up_when_the_library_is_low(monkeypatch):
    class Low:
        def inv_cdf(self, p: float) -> float:
            return NormalDist().inv_cdf(p) * (1 - 1e-9)

    monkeypatch.setattr(scales, "NormalDist", Low)
    assert 0.5 * math.erfc(upper_quantile(1e-6) / math.sqrt(2)) <= 1e-6


# ── the minimum of units ──


def test_public_cells_of_too_few_units_keep_their_key_and_lose_their_values():
    found = plan("SELECT city, count(*), sum(age) FROM visits GROUP BY city", LEAST)
    exact = [("东", *lattice(found, 30, 900, 10)), ("西", *lattice(found, 30, 900, 9))]
    answer = release(found, Given(found, exact), PLENTY, copying(found))
    assert answer.rows == (("东", 30, 900), ("西", None, None))
    assert answer.suppressed == 1
    assert answer.intervals[1] == (None, None, None)
    assert answer.intervals[0][1] == (30.0, 30.0)


def test_private_cells_of_too_few_units_vanish_without_being_counted():
    found = plan("SELECT dept, count(*) FROM visits GROUP BY dept", LEAST)
    enough, few = (("a", *lattice(found, 9, 10, 10**3 * WEIGHT_ONE)), ("b", *lattice(found, 9, 9, 10**3 * WEIGHT_ONE)))
    answer = release(found, Given(found, [enough, few]), PLENTY, copying(found))
    assert answer.rows == (("a", 9),)
    assert answer.suppressed == 0
    assert answer.threshold is not None


def test_the_minimum_looks_at_noisy_units_never_at_exact_ones():
    found = plan("SELECT count(DISTINCT person_id) FROM visits", LEAST)
    withheld = {release(found, Given(found, [lattice(found, 10)]), ONE, copying(found)).suppressed for _ in range(60)}
    assert withheld == {0, 1}  # a side is missed with probability 2^-59


# ── what a person reads ──


def rounding(step: object, round_to: object) -> tuple[Plan, Statistic]:
    statistic = replace(COUNT.statistics[0], step=Fraction(str(step)), round_to=Fraction(str(round_to)))
    return replace(COUNT, statistics=(statistic,)), statistic


@pytest.mark.parametrize(
    ("step", "round_to", "lattice_value", "shown", "kind"),
    [
        ("0.25", "1", 10, 3, "BIGINT"),  # 2.5 is half: up
        ("0.25", "1", -10, -2, "BIGINT"),  # -2.5 is half: up
        ("0.25", "1", 9, 2, "BIGINT"),
        ("0.25", "1", -11, -3, "BIGINT"),
        ("1", "1", -7, -7, "BIGINT"),
        ("0.01", "0.01", 1234, 12.34, "DOUBLE"),
        ("0.005", "0.01", 2469, 12.35, "DOUBLE"),
        ("100", "100", 2**62, 2**62 * 100, "HUGEINT"),
        ("0.5", "1.5", 4, 1.5, "DOUBLE"),
    ],
)
def test_published_values_are_multiples_of_the_rounding_halves_up(step, round_to, lattice_value, shown, kind):
    found, _ = rounding(step, round_to)
    noisy = NoisyCells(keys=[()], values=[(lattice_value,)], suppressed=0, threshold=None)
    seen = {}

    def finish(sql, tables):
        seen.update(tables)
        return copying(found)(sql, tables)

    assert assemble(found, [noisy], PLENTY, finish).rows == ((shown,),)
    assert seen["noisy"] == SmallTable(columns=(("cell", "BIGINT"), ("s0", kind)), rows=[(0, shown)])


def test_the_noisy_table_carries_typed_keys():
    found = plan("SELECT count(*) FROM visits GROUP BY city, level, rate, urgent, date_trunc('year', day), at")
    tables = []
    release(found, Given(found, []), PLENTY, lambda sql, given: tables.append(given["noisy"]) or [])
    assert [kind for _, kind in tables[0].columns] == [
        "BIGINT", "VARCHAR", "BIGINT", "DOUBLE", "BOOLEAN", "DATE", "TIMESTAMP", "BIGINT", "BIGINT",
    ]  # fmt: skip


def test_columns_carry_their_noise():
    answer = release(BY_CITY, Given(BY_CITY, []), ONE, copying(BY_CITY))
    assert answer.columns == (
        Column(name="city", kind=Kind.TEXT, is_key=True, noise=None),
        Column(
            name="COUNT(*)",
            kind=Kind.INTEGER,
            is_key=False,
            noise=Noise(kind="discrete_gaussian", scale=value_scale(BY_CITY.statistics[0], ONE)),
        ),
        Column(
            name="SUM(amount)",
            kind=Kind.NUMBER,
            is_key=False,
            noise=Noise(kind="discrete_gaussian", scale=value_scale(BY_CITY.statistics[1], ONE)),
        ),
    )


def test_a_statistic_s_interval_is_its_value_plus_minus_half_a_width():
    answer = release(BY_CITY, Given(BY_CITY, [("东", *lattice(BY_CITY, 500, 100))]), ONE, copying(BY_CITY))
    half = half_width(BY_CITY.statistics[0], ONE)
    for row, intervals in zip(answer.rows, answer.intervals, strict=True):
        assert intervals[0] is None
        assert intervals[1] == (row[1] - half, row[1] + half)
        assert intervals[2][0] < row[2] < intervals[2][1]


DERIVED = plan("SELECT city, count(*), sum(age) / count(*) AS a, count(*) > 3, city || '!' FROM visits GROUP BY city")


def two_finishes(shown: list[tuple[object, ...]], spread: list[tuple[object, ...]], seen: dict | None = None):
    def finish(sql, tables):
        if sql == DERIVED.finish_sql:
            return shown
        assert sql == DERIVED.spread_sql
        if seen is not None:
            seen.update(tables)
        return spread

    return finish


def test_a_derived_column_takes_its_interval_from_the_redrawn_noise():
    shown = [(1, "西", 20, 33.5, True, "西!"), (0, "东", 4, 30.0, True, "东!")]
    answer = release(
        DERIVED, Given(DERIVED, []), ONE, two_finishes(shown, [(0, 29.0, 31.0), (1, 33.0, 34.0000000000001)])
    )
    assert answer.rows == (("西", 20, 33.5, True, "西!"), ("东", 4, 30.0, True, "东!"))
    assert answer.intervals[0][2] == (33.0, 34.0), "the digits that floating point invents are not shown"
    assert answer.intervals[1][2] == (29.0, 31.0)
    assert (
        [i[0] for i in answer.intervals]
        == [i[3] for i in answer.intervals]
        == [i[4] for i in answer.intervals]
        == [None] * 2
    )
    assert answer.columns[2].noise is None


@pytest.mark.parametrize("spread", [[], [(0, None, None)], [(0, 1.0, None)], [(7, 1.0, 2.0)]])
def test_without_a_finite_spread_there_is_no_interval(spread):
    answer = release(DERIVED, Given(DERIVED, []), ONE, two_finishes([(0, "东", 4, 30.0, True, "东!")], spread))
    assert answer.intervals[0][2] is None


@pytest.mark.parametrize(
    ("value", "shown"),
    [(math.nan, None), (math.inf, None), (-math.inf, None), (Decimal("2.5"), 2.5), (None, None), (7, 7),
     (date(2024, 1, 1), date(2024, 1, 1))],
)  # fmt: skip
def test_values_that_are_none_are_not_shown_and_have_no_interval(value, shown):
    answer = release(
        DERIVED, Given(DERIVED, []), ONE, two_finishes([(0, "东", 4, value, True, "东!")], [(0, 29.0, 31.0)])
    )
    assert answer.rows[0][2] == shown
    assert (answer.intervals[0][2] is None) == (shown is None)


def test_the_redrawn_noise_is_the_same_every_time_and_stratified():
    one, two = {}, {}
    for seen in (one, two):
        release(DERIVED, Given(DERIVED, []), ONE, two_finishes([], [], seen))
    assert one["normals"] is two["normals"]
    assert one["scales"].rows == [tuple(value_scale(s, ONE) for s in DERIVED.statistics)]
    names = [s.name for s in DERIVED.statistics]
    assert [n for n, _ in one["normals"].columns] == [n for n, _ in one["scales"].columns] == names
    columns = list(zip(*one["normals"].rows, strict=True))
    levels = [NormalDist().inv_cdf((i + 0.5) / answer_module.DRAWS) for i in range(answer_module.DRAWS)]
    assert all(sorted(column) == levels for column in columns)
    assert columns[0] != columns[1]


def test_large_answers_are_redrawn_less_often():
    rows = answer_module.MAX_DRAWN // 500
    noisy = NoisyCells(keys=[("东",)] * rows, values=[(0, 0)] * rows, suppressed=0, threshold=None)
    seen = {}
    assemble(DERIVED, [noisy], ONE, two_finishes([], [], seen))
    assert len(seen["normals"].rows) == 500
    noisy = replace(noisy, keys=noisy.keys * 8, values=noisy.values * 8)
    assemble(DERIVED, [noisy], ONE, two_finishes([], [], seen))
    assert len(seen["normals"].rows) == 100


def test_weights_are_never_published():
    names = []

    def finish(sql, tables):
        names.append([(n, row[-1]) for n, _ in tables["noisy"].columns[-1:] for row in tables["noisy"].rows])
        return []

    release(BY_DEPT, Given(BY_DEPT, weights(10**4)), PLENTY, finish)
    assert names == [[("s1", 0)]]
    assert BY_DEPT.statistics[1].aggregate is Aggregate.WEIGHT


# ── intervals of averages ──

MEANS = plan("SELECT city, avg(age) AS a, count(*) AS n FROM visits GROUP BY city")


def mean_of(total: float, rows: float, loss: Loss = ONE):
    """The interval of an average over noisy values as given: [0, 120] around 60."""
    values = [(int(Fraction(total) / MEANS.statistics[0].step), int(Fraction(rows) / MEANS.statistics[1].step))] * 2
    noisy = NoisyCells(keys=[("东",), ("西",)], values=values, suppressed=0, threshold=None)
    shown = max(0.0, min(120.0, 60 + total / rows)) if rows >= 0.5 else None
    answer = assemble(MEANS, [noisy], loss, lambda sql, tables: [(0, "东", shown, rows)])
    return shown, answer.intervals[0][1]


@quick
@given(st.integers(-(10**6), 10**6), st.integers(1, 10**5))
def test_the_interval_of_an_average_is_what_its_noise_may_have_made(total, rows):
    """Every x in it, and none outside, has total - x · rows within 95 % of the noise of that difference."""
    shown, (low, high) = mean_of(total, rows)
    assert 0 <= low <= shown <= high <= 120
    ds, dn = (Z95 * value_scale(s, ONE) for s in MEANS.statistics)
    if rows <= dn:
        assert (low, high) == (0, 120)
    for end in (low, high):
        if 0 < end < 120:
            x = end - 60
            assert abs(total - x * rows) == pytest.approx(math.hypot(ds, x * dn), rel=1e-6, abs=1e-6)


def test_more_rows_and_a_higher_price_make_it_narrower():
    def width(rows: int, loss: Loss) -> float:
        _, (low, high) = mean_of(5 * rows, rows, loss)
        return high - low

    widths = [width(n, ONE) for n in (1_000, 10_000, 100_000)]
    assert widths == sorted(widths, reverse=True)
    assert width(1_000, PLENTY) < 1e-3


def test_an_average_without_a_value_has_no_interval():
    assert mean_of(3, 0) == (None, None)
    hidden = NoisyCells(keys=[("东",)], values=[(None, None)], suppressed=1, threshold=None)
    answer = assemble(MEANS, [hidden], ONE, lambda sql, tables: [(0, "东", 70.0, None)])
    assert answer.intervals == ((None, None, None),)

"""Totals that agree: least squares against the normal equations, whole numbers that add up, and what is left as it was drawn."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from privacy import consistent as module
from privacy.answer import NoisyCells
from privacy.consistent import _Table, agreed, consistent, rounded
from privacy.loss import RHO_UNIT, Loss
from privacy.scales import value_scale
from privacy.sql import Plan, compile_query
from tests.fakes import city

LOSS = Loss(RHO_UNIT // 10)
SIZES = (3, 4, 2)
Axes = tuple[int, ...]

#: Families of sets of the axes 0, 1 and 2.
FAMILIES: tuple[tuple[Axes, ...], ...] = (
    ((0, 1, 2), (0, 1), (0,), ()),
    tuple(t for n in (3, 2, 1, 0) for t in itertools.combinations(range(3), n)),
    ((0,), (1,), ()),
    ((0, 1), (1, 2), (0, 2)),
    ((0, 1), (0, 2), (0,)),
    ((0,), (1,)),
)


def marginal(axes: Axes) -> NDArray[np.float64]:
    """The matrix that adds up the cells of the whole grid over the other axes."""
    rows = []
    for cell in itertools.product(*(range(SIZES[a]) for a in axes)):
        held = np.zeros(SIZES)
        held[tuple(cell[axes.index(a)] if a in axes else slice(None) for a in range(len(SIZES)))] = 1
        rows.append(held.ravel())
    return np.array(rows)


def tables(family: tuple[Axes, ...], seed: int) -> list[_Table]:
    """Noisy marginals of one grid, each with a variance of its own."""
    draw = np.random.default_rng(seed)
    grid = draw.normal(size=math.prod(SIZES)) * 30
    found = []
    for axes in family:
        variance = float(draw.uniform(0.5, 9))
        exact = marginal(axes) @ grid
        values = exact + draw.normal(size=exact.shape) * math.sqrt(variance)
        found.append(_Table(axes, values.reshape([SIZES[a] for a in axes]), variance))
    return found


@given(st.sampled_from(FAMILIES), st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_the_effects_give_what_the_normal_equations_give(family: tuple[Axes, ...], seed: int) -> None:
    """Least squares over all cells at once, and the variance of what it says of each table's cells."""
    given_tables = tables(family, seed)
    matrices = [marginal(t.axes) / math.sqrt(t.variance) for t in given_tables]
    noisy = np.concatenate([t.values.ravel() / math.sqrt(t.variance) for t in given_tables])
    inverse = np.linalg.pinv(np.vstack(matrices))
    for table in agreed(given_tables):
        own = marginal(table.axes)
        assert np.allclose(own @ inverse @ noisy, table.values.ravel(), atol=1e-9)
        assert np.allclose(np.diag(own @ inverse @ inverse.T @ own.T), table.variance, atol=1e-9)


@given(st.sampled_from(FAMILIES), st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_no_number_gets_less_exact(family: tuple[Axes, ...], seed: int) -> None:
    before = tables(family, seed)
    assert all(a.variance <= b.variance + 1e-12 for a, b in zip(agreed(before), before, strict=True))


@given(st.sampled_from(FAMILIES[:3]), st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_whole_numbers_add_up(family: tuple[Axes, ...], seed: int) -> None:
    """To the last digit within every finer set, and those of a chain (ROLLUP) are less than one off."""
    real = agreed(tables(family, seed))
    whole = rounded(real)
    assert all((t.values == np.round(t.values)).all() for t in whole)
    for finer, coarser in itertools.permutations(whole, 2):
        if set(coarser.axes) < set(finer.axes):
            summed = finer.values.sum(axis=tuple(i for i, a in enumerate(finer.axes) if a not in coarser.axes))
            assert (summed == coarser.values).all()
    if family == FAMILIES[0]:
        assert all(np.abs(w.values - r.values).max() < 1 for w, r in zip(whole, real, strict=True))


def test_rounding_is_part_of_the_variance() -> None:
    """Pieces that lie apart are rounded apart: 4 of them make a cell over axis 1, 3 · 4 one over axis 2."""
    whole = {
        t.axes: t.variance for t in rounded([_Table(a, np.zeros([SIZES[i] for i in a]), 2.0) for a in FAMILIES[1]])
    }
    pieces = {axes: round(6 * (variance - 2.0)) for axes, variance in whole.items()}
    assert pieces == {(0, 1, 2): 1, (0, 1): 1, (0, 2): 4, (1, 2): 3, (0,): 1, (1,): 3, (2,): 12, (): 1}


# --- whole answers ---------------------------------------------------------------------------------------------------------


ROLLUP = (
    "SELECT count(*) AS n, avg(age) AS age, count(DISTINCT person_id) AS p FROM visits GROUP BY ROLLUP (city, dept)"
)


def plan_of(sql: str = ROLLUP, least: int = 0) -> Plan:
    return compile_query(sql, replace(city.FACTS, min_units=least))


def drawn(plan: Plan, seed: int = 1, size: float = 1e6) -> list[NoisyCells]:
    """Noisy cells of each grouping, made up."""
    draw = np.random.default_rng(seed)
    found = []
    for grouping in plan.groupings:
        keys = grouping.grid()
        columns = [[int(n) for n in draw.normal(size=len(keys)) * size * s.up] for s in grouping.statistics]
        found.append(NoisyCells(keys=keys, values=list(zip(*columns, strict=True)), suppressed=0, threshold=None))
    return found


def column(plan: Plan, noisy: list[NoisyCells], grouping: int, place: int) -> dict[object, int]:
    """By key, the values of a statistic, in units of its rounding."""
    up = plan.groupings[grouping].statistics[place].up
    values = [row[place] for row in noisy[grouping].values]
    assert all(isinstance(v, int) and v % up == 0 for v in values)
    return {key: v // up for key, v in zip(noisy[grouping].keys, values, strict=True)}  # type: ignore[operator]


def test_counts_and_sums_add_up_and_numbers_of_units_stay() -> None:
    plan = plan_of()
    before = drawn(plan)
    after = consistent(plan, before, LOSS)
    assert [s.aggregate.value for s in plan.statistics] == ["count", "sum", "units"]
    for place in (0, 1):
        fine, towns, whole = (column(plan, after, g, place) for g in range(3))
        assert towns == {(c,): sum(n for (town, _), n in fine.items() if town == c) for (c,) in towns}
        assert whole == {(): sum(fine.values())}
    for a, b, grouping in zip(after, before, plan.groupings, strict=True):
        assert [row[2] for row in a.values] == [row[2] for row in b.values]
        assert set(a.deviation) == {"s0", "s1"}
        assert all(a.deviation[s.name] < value_scale(s, LOSS) for s in grouping.statistics[:2])


def test_keys_may_stand_in_any_order() -> None:
    """The same family with its keys turned round gives the same numbers."""
    plan = plan_of(
        "SELECT city, dept, count(*) AS n FROM visits GROUP BY GROUPING SETS ((city, dept), (dept, city), (city), ())"
    )
    assert plan.nested == (((0, (0, 1)), (1, (1, 0)), (2, (0,)), (3, ())),)
    fine, turned, towns, whole = (
        column(plan, consistent(plan, drawn(plan), LOSS), g, 0) for g in range(len(plan.groupings))
    )
    assert fine == {(c, d): n for (d, c), n in turned.items()}
    assert sum(fine.values()) == sum(towns.values()) == whole[()]


def test_a_set_with_a_withheld_cell_keeps_its_own_numbers() -> None:
    """The others would tell the cell by subtraction; they agree among themselves."""
    plan = plan_of(least=5)
    noisy = drawn(plan)
    hidden = [(None,) * len(plan.statistics), *noisy[0].values[1:]]
    noisy[0] = replace(noisy[0], values=hidden)
    after = consistent(plan, noisy, LOSS)
    assert after[0] is noisy[0]
    assert sum(column(plan, after, 1, 0).values()) == column(plan, after, 2, 0)[()]
    noisy[1] = replace(noisy[1], values=[(None,) * len(plan.statistics)] * len(noisy[1].values))
    assert consistent(plan, noisy, LOSS) == noisy


def test_a_set_without_cells_takes_no_part() -> None:
    """A domain without values: there is a total, and nothing that adds up to it."""
    visits = city.FACTS.tables[0]
    columns = tuple(replace(c, domain=()) if c.name == "city" else c for c in visits.columns)
    facts = replace(city.FACTS, tables=(replace(visits, columns=columns), *city.FACTS.tables[1:]))
    plan = compile_query("SELECT city, count(*) AS n FROM visits GROUP BY ROLLUP (city)", facts)
    assert [g.cells for g in plan.groupings] == [0, 1]
    noisy = drawn(plan)
    assert consistent(plan, noisy, LOSS) == noisy


def test_numbers_too_large_to_be_rounded_stay() -> None:
    plan = plan_of("SELECT city, count(*) AS n FROM visits GROUP BY ROLLUP (city)")
    noisy = drawn(plan, size=2.0**50)
    assert consistent(plan, noisy, LOSS) == noisy


def test_what_would_take_long_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_WORK", 10)
    plan = plan_of()
    noisy = drawn(plan)
    assert consistent(plan, noisy, LOSS) == noisy


def test_private_keys_take_no_part() -> None:
    """Their cells are not all there; the sets by public keys agree."""
    plan = plan_of("SELECT city, code, count(*) AS n FROM visits GROUP BY ROLLUP (city, code)")
    assert plan.nested == (((1, (0,)), (2, ())),)
    alone = plan_of("SELECT code, count(*) AS n FROM visits GROUP BY ROLLUP (code)")
    assert alone.nested == ()

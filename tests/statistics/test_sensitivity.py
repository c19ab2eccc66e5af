"""Exact sensitivity: whatever one person adds, no statistic moves further than the bound its noise is made for.

Nothing here is statistical: no noise is drawn, every comparison is of exact integers, and no true claim can fail (false-alarm
rate 0). Databases are random but the same in every run. The extra person breaks every promise: far more rows than `max_rows`,
values at the ends, all rows in one cell or in every cell; and the others get other numbers, as in a new ingest.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import date, datetime
from decimal import Decimal
from fractions import Fraction
from functools import cache
from pathlib import Path
from random import Random

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from compute.engines.duckdb import DuckEngine
from privacy.answer import Answer, NoisyCells, assemble
from privacy.loss import Loss
from privacy.sql.compile import compile_query
from privacy.sql.plan import Aggregate, Cell, Plan
from tests.fakes import town

ALWAYS_ALIKE = settings(derandomize=True, database=None, deadline=None, phases=[Phase.generate])
FREE = Loss(10**18, 10**14)

#: What is counted, summed and averaged: every measure the dialect has, and expressions that overflow, divide and go out of range.
MEASURES = {
    "rows": "count(*)",
    "held": "count(stock)",
    "where": "count_if(urgent AND level > 1)",
    "persons": "count(DISTINCT person_id)",
    "whole": "sum(stock)",
    "coarse": "sum(fee)",
    "number": "sum(amount)",
    "truth": "sum(urgent)",
    "wide": "sum(wide)",
    "cut": "sum(least(greatest(big, -5), 9))",
    "overflow": "sum(greatest(least(big * big, 1000), 0))",
    "expression": "sum(score * level - stock / 7)",
    "mean": "avg(amount)",
    "centred": "avg(score)",
    "whole_mean": "avg(wide)",
    "filtered": "sum(amount) FILTER (WHERE urgent)",
    "filtered_persons": "count(DISTINCT person_id) FILTER (WHERE urgent)",
    "spread": "stddev(score)",
    "together": "covar_samp(score, amount)",
}
#: What looks at each row's own value: totals of bins, and of values.
BINNED = {
    "rows": "count(*)",
    "whole": "sum(stock)",
    "median": "median(score)",
    "coarse_median": "median(wide)",
    "largest": "max(stock)",
    "smallest": "min(fee) FILTER (WHERE urgent)",
    "overflow": "quantile_disc(greatest(least(big * big, 1000), 0), 0.9)",
    "last": "max(day)",
    "latest": "max(day + INTERVAL 37 MINUTE)",
    "codes": "count(DISTINCT code)",
    "stocks": "count(DISTINCT stock) FILTER (WHERE level > 0)",
    "numbers": "count(DISTINCT amount / level)",
    "days": "count(DISTINCT day)",
}
#: Measures whose lattice is coarser than their values: they equal the plain query up to rounding only.
ROUGH = {"wide", "whole_mean"}

KEYS = {
    "none": (),
    "public": ("v.city",),
    "public, may be NULL": ("dept", "level"),
    "public expressions": ("level // 2", "date_trunc('month', day)"),
    "public cases": ("CASE WHEN stock > 5 THEN 'full' WHEN urgent THEN 'soon' END",),
    "private": ("code",),
    "private numbers": ("score * 0", "stock"),
    "private expressions": ("substring(code, 1, 1)", "urgent"),
    "mixed": ("v.city", "code"),
}
JOINS = {
    "no join": "",
    "unique": "JOIN places AS p ON p.city = v.city",
    "repeated": "JOIN events AS e ON e.city = v.city",
    "left": "LEFT JOIN events AS e ON v.city = e.city AND v.level > 0",
    "whole": ", (SELECT place, tier FROM events CROSS JOIN places) AS w",
    "on a range": "JOIN events AS e ON v.level BETWEEN e.place AND 4",
    "left, on no equality": "LEFT JOIN events AS e ON e.place > v.level + 2",
    "left, linked elsewhere": "JOIN events AS e ON e.city = v.city LEFT JOIN places AS p ON p.city = v.city AND p.tier = e.place",
}
QUESTIONS = [(k, j) for k in KEYS for j in JOINS]
CODES = (None, "", "a1", "a2", "b1", "b2", "c3")


def question(
    keys: Iterable[str],
    join: str,
    *,
    table: str = "visits",
    measures: Iterable[str] = tuple(MEASURES),
    known: Mapping[str, str] = MEASURES,
) -> str:
    named = [*(f"{k} AS key{i}" for i, k in enumerate(keys)), *(f"{known[m]} AS {m}" for m in measures)]
    group = f" GROUP BY {', '.join(keys)}" if keys else ""
    return f"SELECT {', '.join(named)} FROM {table} AS v {join}{group}"


@cache
def plan_of(sql: str) -> Plan:
    return compile_query(sql, town.FACTS)


def on_neighbour(plan: Plan) -> Plan:
    """The same plan on the table with one person more."""
    texts = {"rows_sql": plan.rows_sql, "coded_sql": plan.coded_sql}
    assert plan.rows_sql.count('"visits"') == 1
    codes = tuple(replace(c, lookup=c.lookup.replace('"visits"', '"neighbour"')) for c in plan.codes)
    moved = {name: text.replace('"visits"', '"neighbour"') for name, text in texts.items()}
    return replace(plan, codes=codes, **moved)


def ordinary_row(draw: Random) -> town.Row:
    """Any values, within what the facts promise."""

    def maybe(value: object) -> object:
        return None if draw.random() < 0.2 else value

    return (
        draw.choice(town.CITIES), maybe(draw.choice(town.DEPTS)), draw.choice(CODES), draw.randrange(4),
        maybe(draw.randrange(-7, 12)), maybe(draw.randrange(31)), maybe(draw.randrange(500_001)), draw.randrange(-40, 41),
        draw.randrange(-town.WIDE, town.WIDE), maybe(draw.randrange(-20, 20)), maybe(draw.random() < 0.5),
        date(2024, draw.randrange(1, 4), draw.randrange(1, 29)),
    )  # fmt: skip


def extreme_row(draw: Random) -> town.Row:
    """Values at their ends; `big` is beyond what arithmetic carries."""
    return (
        draw.choice(town.CITIES), draw.choice((None, "外")), draw.choice((*CODES, *(f"x{i}" for i in range(40)))),
        draw.choice((0, 3)), draw.choice((None, -7, 1000)), draw.choice((None, 0, 30)), draw.choice((None, 0, 500_000)),
        draw.choice((-40, 40, 0)), draw.choice((-town.WIDE, town.WIDE)), draw.choice((None, -(2**63), 2**63 - 1, 0)),
        draw.choice((None, True, False)), draw.choice((date(2024, 1, 1), date(2024, 3, 31))),
    )  # fmt: skip


def extreme_person(draw: Random) -> list[town.Row]:
    """A person who holds the same row again and again, or rows all over the place, within `max_rows` or far beyond."""
    count = draw.choice((1, town.MAX_ROWS, town.MAX_ROWS + 1, 80))
    if draw.random() < 0.5:
        return [extreme_row(draw)] * count
    return [extreme_row(draw) for _ in range(count)]


def as_cells(plan: Plan, cells: list[Cell]) -> dict[str, tuple[int, ...]]:
    """Cells by what their keys look like: keys that are equal but look unlike would be a difference."""
    width = len(plan.keys)
    found = {repr(c[:width]): c[width:] for c in cells}
    assert len(found) == len(cells)
    return found  # type: ignore[return-value]


def squared_distances(plan: Plan, before: list[Cell], after: list[Cell]) -> list[int]:
    """For each statistic, the squared L2 distance over the union of the cells; of a cell's bins their L1 distance counts."""
    nothing = tuple((0,) * s.order.bins if s.order else 0 for s in plan.statistics)
    one, other = (defaultdict(lambda: nothing, as_cells(plan, c)) for c in (before, after))

    def moved(key: str, i: int) -> int:
        return int(np.abs(np.subtract(other[key][i], one[key][i], dtype=np.int64)).sum())

    return [sum(moved(k, i) ** 2 for k in {*one, *other}) for i in range(len(plan.statistics))]


def joint(plan: Plan, squared: list[int]) -> Fraction:
    """Σ a_j |difference_j|² / B_j² over the statistics that share one bound."""
    whole = sum(s.share for s in plan.measured)
    pairs = [(s, m) for s, m in zip(plan.statistics, squared, strict=True) if s.aggregate is not Aggregate.WEIGHT]
    return sum((s.share / whole * m / s.bound_squared for s, m in pairs), Fraction(0))


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("town") / "version.duckdb"


@pytest.mark.parametrize("keys", KEYS)
@settings(ALWAYS_ALIKE, max_examples=4)
@given(draw=st.randoms(use_true_random=False))
def test_one_person_more_moves_no_statistic_beyond_its_bound(file: Path, keys: str, draw: Random) -> None:
    others = [[ordinary_row(draw) for _ in range(draw.choice((1, 2, 3, 9)))] for _ in range(draw.randrange(7))]
    neighbour = [*others, extreme_person(draw)]
    numbers = draw.sample(range(len(neighbour)), len(neighbour))
    town.write(file, others, neighbour, numbers)
    for join in JOINS.values():
        plan = plan_of(question(KEYS[keys], join))
        cells = None
        if plan.selects_keys:
            cells = [c[: len(plan.keys)] for c in town.exact(file, on_neighbour(plan))]
        before, after = town.exact(file, plan, cells), town.exact(file, on_neighbour(plan), cells)
        assert before == town.referred(file, plan, cells)
        assert after == town.referred(file, on_neighbour(plan), cells)
        squared = squared_distances(plan, before, after)
        assert joint(plan, squared) <= 1 + Fraction(1, 2**27), join
        for statistic, moved in zip(plan.statistics, squared, strict=True):
            assert statistic.aggregate is not Aggregate.WEIGHT or moved <= statistic.bound_squared, join


@pytest.mark.parametrize("keys", KEYS)
@settings(ALWAYS_ALIKE, max_examples=3)
@given(draw=st.randoms(use_true_random=False))
def test_one_person_more_moves_no_bin_and_no_value_beyond_the_bound(file: Path, keys: str, draw: Random) -> None:
    """Rows in bins and different values, beside sums: the bound of all of them together holds."""
    others = [[ordinary_row(draw) for _ in range(draw.choice((1, 2, 3, 9)))] for _ in range(draw.randrange(7))]
    town.write(file, others, [*others, extreme_person(draw)])
    join = JOINS[draw.choice(tuple(JOINS))]
    plan = plan_of(question(KEYS[keys], join, measures=BINNED, known=BINNED))
    cells = [c[: len(plan.keys)] for c in town.exact(file, on_neighbour(plan))] if plan.selects_keys else None
    before, after = town.exact(file, plan, cells), town.exact(file, on_neighbour(plan), cells)
    assert joint(plan, squared_distances(plan, before, after)) <= 1 + Fraction(1, 2**27)


@pytest.mark.parametrize("name", [m for m in BINNED if m not in ("rows", "whole")])
def test_the_bound_of_bins_and_values_is_reached(file: Path, name: str) -> None:
    """A person at every end, whose rows differ in everything that is counted; more of them move it no further."""
    ends = ("东", "内", "a", 3, 1000, 30, 500_000, -40, town.WIDE, 2**40, True, date(2024, 1, 1))
    texts = [(*ends[:2], f"a{i}", 1 + i % 3, i, 30, i, *ends[7:11], date(2024, 1, 1 + i % 30)) for i in range(10_000)]
    plan = plan_of(question((), "", table="neighbour", measures=[name], known=BINNED))
    for rows, near in (
        (town.MAX_ROWS, 1e-12),
        (10_000, 0.05),
    ):  # of many rows each weighs little, and is rounded by itself
        town.write(file, [], [texts[:rows]])
        (moved,) = squared_distances(plan, [], town.exact(file, plan))
        bound = plan.statistics[0].bound_squared
        assert moved <= bound
        assert moved == pytest.approx(bound, rel=near)


def noiseless(plan: Plan, cells: list[Cell]) -> Answer:
    """The answer that no noise would give."""
    width = len(plan.keys)
    keys, values = [c[:width] for c in cells], [c[width:] for c in cells]
    shown = NoisyCells(keys=keys, values=values, suppressed=0, threshold=None)  # type: ignore[arg-type]
    with DuckEngine().finishing(town.LIMITS) as finish:
        return assemble(replace(plan, spread_sql="SELECT NULL LIMIT 0"), [shown], FREE, finish)


def comparable(rows: Iterable[Cell], width: int) -> dict[Cell, list[object]]:
    """Rows by key; a decimal as its double, a midnight as its day, and the sum of no value as 0."""
    plain = [[_comparable(v) for v in row] for row in rows]
    return {tuple(row[:width]): [v or 0 for v in row[width:]] for row in plain}


def _comparable(value: object) -> object:
    if isinstance(value, datetime):
        return value.date()
    return float(value) if isinstance(value, Decimal) else value


@pytest.mark.parametrize("keys", KEYS)
@settings(ALWAYS_ALIKE, max_examples=2)
@given(draw=st.randoms(use_true_random=False))
def test_nobody_within_the_bounds_is_bounded(file: Path, keys: str, draw: Random) -> None:
    """Every cell equals the plain query's, to the last digit of a count or a sum."""
    persons = [[ordinary_row(draw) for _ in range(draw.randrange(1, town.MAX_ROWS + 1))] for _ in range(25)]
    town.write(file, persons)
    measures = [m for m in MEASURES if m not in ROUGH]
    with town.plain(persons) as plain:
        for join in JOINS.values():
            sql = question(KEYS[keys], join, measures=measures)
            plan = plan_of(sql)
            ours = comparable(noiseless(plan, town.exact(file, plan)).rows, len(KEYS[keys]))
            expected = comparable(plain.execute(sql).fetchall(), len(KEYS[keys]))
            assert ours.keys() == expected.keys(), join
            for key, values in expected.items():
                for measure, value, other in zip(measures, ours[key], values, strict=True):
                    whole = isinstance(value, int) and isinstance(other, int)
                    near = pytest.approx(other, rel=1e-9, abs=1e-3 if measure == "expression" else 1e-9)
                    assert value == (other if whole else near), (join, key, measure)


def test_the_bounds_are_reached(file: Path) -> None:
    """A bound that no person reached would be noise for nothing: a person at every end reaches each alone, and all together."""
    ends = ("东", "内", "a1", 3, 1000, 30, 500_000, -40, town.WIDE, 2**40, True, date(2024, 1, 1))
    town.write(file, [], [[ends] * town.MAX_ROWS])
    measures = [m for m in MEASURES if m not in {"expression", "overflow", "mean", "centred", "whole_mean"}]
    for asked in (*([m] for m in measures), measures):
        plan = plan_of(question((), "", table="neighbour", measures=asked))
        moved = squared_distances(plan, [], town.exact(file, plan))
        assert float(joint(plan, moved)) == pytest.approx(1), asked
        assert [m / s.bound_squared for m, s in zip(moved, plan.statistics, strict=True)] == pytest.approx(
            [1] * len(moved)
        )


def test_a_person_in_every_cell_counts_as_far_as_the_bound_goes(file: Path) -> None:
    """Spread over six cells, a person who may count in three keeps the direction and loses length, to within 1e-5."""
    rest = ("k", 0, 0, 0, 0, 0, 0, 0, True, date(2024, 1, 1))
    town.write(file, [], [[(c, d, *rest) for c in town.CITIES for d in town.DEPTS]])
    plan = plan_of("SELECT count(DISTINCT person_id) AS n FROM neighbour GROUP BY city, dept")
    (moved,) = squared_distances(plan, [], town.exact(file, plan))
    assert moved == pytest.approx(plan.statistics[0].bound_squared, rel=1e-5)
    assert moved <= plan.statistics[0].bound_squared


def test_a_person_of_too_many_private_keys_has_no_say(file: Path) -> None:
    """Three keys get weight 1/sqrt(3) each; the six of another person, where three are allowed, get none and are no keys."""

    def owner(name: str, keys: int) -> list[town.Row]:
        return [("东", "内", f"{name}{i}", 0, 0, 0, 0, 0, 0, 0, True, date(2024, 1, 1)) for i in range(keys)]

    plan = plan_of("SELECT code, count(*) AS n FROM neighbour GROUP BY code")
    town.write(file, [], [owner("a", 3), owner("b", 6)])
    place = next(i for i, s in enumerate(plan.statistics) if s.aggregate is Aggregate.WEIGHT)
    for ask in (town.exact, town.referred):
        assert {c[0]: c[1 + place] for c in ask(file, plan)} == {f"a{i}": int(2**20 / 3**0.5) for i in range(3)}


def test_equal_keys_look_alike_whatever_row_comes_first(file: Path) -> None:
    """-0.0 equals 0.0: shown as it came, the sign of a key would tell of the first row, without noise."""
    flat = [("东", "内", "a", 0, 0, 0, 0, score, 0, 0, score < 0, date(2024, 1, 1)) for score in (-4, 4)]
    seen = set()
    for sql in ("score * 0", "CASE WHEN urgent THEN -0.0 ELSE 0.0 END", "-(score * 0)", "trunc(score / 100)"):
        plan = plan_of(f"SELECT {sql} AS key0, count(*) AS n FROM neighbour GROUP BY {sql}")
        for first in (flat, flat[::-1]):
            town.write(file, [], [[r] for r in first])
            seen |= {repr(c[0]) for c in town.exact(file, plan)}
    assert seen == {"0.0"}


def test_a_left_join_bounds_no_other_table() -> None:
    """Its condition leaves every row of the tables before it, so it must not pass for their equality."""
    on_every = (
        "SELECT count(*) FROM visits v JOIN events e ON TRUE LEFT JOIN places p ON p.city = v.city AND p.tier = e.place"
    )
    assert plan_of(on_every).max_rows == town.MAX_ROWS * 5
    linked = plan_of(question((), JOINS["left, linked elsewhere"], measures=("rows",)))
    assert linked.max_rows == town.MAX_ROWS * 3

"""Windows over a noisy answer: the same whatever order its rows come in, and intervals that are taken within each draw.

The post-processing text of a plan runs here in DuckDB over answers that the tests make up: with ties, with NULLs, with few draws.
"""

from __future__ import annotations

import random
import re
import statistics
import time

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compute.engines.duckdb import DuckEngine
from compute.ports import Limits
from privacy.answer import NoisyCells, assemble
from privacy.loss import price
from privacy.order import Picked
from privacy.sql import Plan, compile_query
from privacy.sql import compile as compiling
from privacy.sql.plan import SmallTable
from privacy.sql.shape import redrawn_cell
from tests.fakes import city

DEPTS = (*city.DEPTS, None)
#: Windows over a table of one row a cell, with n for COUNT(*) and a for SUM(age).
WINDOWS = (
    "row_number() OVER (ORDER BY n DESC)",
    "rank() OVER (PARTITION BY urgent ORDER BY n)",
    "dense_rank() OVER (ORDER BY n DESC NULLS FIRST)",
    "percent_rank() OVER (ORDER BY n)",
    "cume_dist() OVER (ORDER BY n)",
    "ntile(3) OVER (ORDER BY n)",
    "lag(n) OVER (ORDER BY n)",
    "lead(dept, 2, 'x') OVER (PARTITION BY urgent ORDER BY a)",
    "lag(dept IGNORE NULLS) OVER (ORDER BY n)",
    "first_value(dept) OVER (ORDER BY n)",
    "last_value(dept) OVER (ORDER BY n)",
    "last_value(dept IGNORE NULLS) OVER (PARTITION BY urgent ORDER BY n)",
    "nth_value(dept, 2) OVER (ORDER BY n)",
    "first_value(dept) OVER (ORDER BY n ROWS BETWEEN 1 PRECEDING AND UNBOUNDED FOLLOWING)",
    "sum(n) OVER (ORDER BY a)",
    "sum(n) OVER (ORDER BY a ROWS 1 PRECEDING)",
    "sum(a) FILTER (WHERE urgent) OVER (PARTITION BY dept)",
    "avg(n) OVER (ORDER BY a ROWS BETWEEN CURRENT ROW AND 2 FOLLOWING)",
    "min(dept) OVER (PARTITION BY n)",
    "max(a) OVER (ORDER BY n)",
    "count(*) OVER (ORDER BY n)",
    "count(dept) OVER (PARTITION BY urgent)",
)
#: Windows whose rows have no order but that of the keys.
UNORDERED = (
    "row_number() OVER ()",
    "first_value(dept) OVER (PARTITION BY urgent)",
    "ntile(2) OVER (PARTITION BY urgent)",
)
SELECT = "SELECT dept, urgent, count(*), sum(age), {} AS w FROM visits GROUP BY dept, urgent"


def finished(plan: Plan, rows: list[tuple[object, ...]]) -> list[tuple[object, ...]]:
    """What the post-processing makes of noisy rows (cell, k0, k1, s0, s1)."""
    with duckdb.connect() as connection:
        connection.execute("CREATE TABLE noisy (cell BIGINT, k0 VARCHAR, k1 BOOLEAN, s0 BIGINT, s1 BIGINT)")
        connection.executemany("INSERT INTO noisy VALUES (?, ?, ?, ?, ?)", rows)
        return connection.execute(plan.finish_sql).fetchall()


def plan_of(window: str) -> Plan:
    asked = re.sub(r"\ba\b", "sum(age)", re.sub(r"\bn\b", "count(*)", window))
    return compile_query(SELECT.format(asked), city.FACTS)


numbers = st.one_of(st.none(), st.integers(-2, 2))


@pytest.mark.parametrize("window", [*WINDOWS, *UNORDERED])
@settings(max_examples=8, deadline=None)
@given(values=st.lists(st.tuples(numbers, numbers), min_size=15, max_size=15), seed=st.integers(0, 100))
def test_ties_never_follow_the_order_of_rows(
    window: str, values: list[tuple[int | None, int | None]], seed: int
) -> None:
    """Rows come from the engine in the order of keys today; nothing may rest on it."""
    keys = [(d, u) for d in DEPTS for u in (False, True, None)]
    rows = [(i, *key, *value) for i, (key, value) in enumerate(zip(keys, values, strict=True))]
    shuffled = random.Random(seed).sample(rows, len(rows))
    plan = plan_of(window)
    assert finished(plan, rows) == finished(plan, shuffled)


@pytest.mark.parametrize("window", WINDOWS)
def test_without_ties_a_window_is_what_duckdb_makes_of_it(window: str) -> None:
    """The same words over the same numbers, in a table of one row a cell."""
    draw = random.Random(5)
    keys = [(d, u) for d in DEPTS for u in (False, True, None)]
    places, ages = draw.sample(range(100), 15), draw.sample(range(100), 15)
    rows = [(i, *key, s, a) for i, (key, s, a) in enumerate(zip(keys, places, ages, strict=True))]
    with duckdb.connect() as connection:
        connection.execute("CREATE TABLE t (cell BIGINT, dept VARCHAR, urgent BOOLEAN, n BIGINT, a BIGINT)")
        connection.executemany("INSERT INTO t VALUES (?, ?, ?, ?, ?)", rows)
        wanted = connection.execute(
            f"SELECT cell, {window} FROM t ORDER BY dept NULLS LAST, urgent NULLS LAST"
        ).fetchall()
    mine = [(row[0], row[5]) for row in finished(plan_of(window), rows)]
    assert mine == wanted  # a sum is as whole as what it adds


# --- HAVING, windows, QUALIFY, DISTINCT, in this order ---------------------------------------------------------------------

ROWS = [(i, d, True, 10 * (i + 1), i) for i, d in enumerate(DEPTS)]


def answers(sql: str) -> list[tuple[object, ...]]:
    return [row[1:] for row in finished(compile_query(sql, city.FACTS), ROWS)]


def test_windows_see_what_having_leaves_and_qualify_does_not_change_them() -> None:
    one = "FROM visits GROUP BY dept, urgent"
    assert answers(f"SELECT count(*), sum(count(*)) OVER () {one}") == [(n, 150) for n in (30, 20, 10, 40, 50)]
    assert answers(
        f"SELECT count(*) AS n, sum(count(*)) OVER () {one} HAVING n > 10 QUALIFY n > 30 ORDER BY n DESC"
    ) == [
        (50, 140),
        (40, 140),
    ]
    assert answers(f"SELECT count(*) AS n {one} HAVING n > 10 QUALIFY rank() OVER (ORDER BY n) <= 2 ORDER BY 1") == [
        (20,),
        (30,),
    ]
    assert answers(f"SELECT count(*) AS n {one} QUALIFY n > 30 ORDER BY 1") == [(40,), (50,)]


def test_rows_that_look_alike_are_shown_once_and_first_in_order() -> None:
    one = "FROM visits GROUP BY dept, urgent"
    assert answers(f"SELECT DISTINCT urgent, count(*) > 20 AS many {one} ORDER BY many") == [
        (True, False),
        (True, True),
    ]
    assert answers(
        f"SELECT DISTINCT count(*) > 20 AS many {one} ORDER BY min(count(*)) OVER (), many DESC LIMIT 1"
    ) == [(True,)]
    assert answers(f"SELECT DISTINCT dept, count(*) {one} ORDER BY 2 DESC LIMIT 2 OFFSET 1") == [
        ("眼科", 40),
        ("儿科", 30),
    ]


@pytest.mark.parametrize(
    "window", ["lag(n, 1, NULL) OVER ()", "sum(NULL) OVER ()", "first_value(NULL) OVER ()",
               "max(NULL) OVER (PARTITION BY NULL ORDER BY NULL + 1)", "count(NULL) OVER ()", "nth_value(n, 0) OVER (ORDER BY a)",
               "lag(n, -2) OVER (ORDER BY a)", "sum(n * n) OVER ()", "avg(n / 0) OVER ()", "sum(1 // (n - n)) OVER ()"],
)  # fmt: skip
def test_no_window_fails(window: str) -> None:
    """Numbers may be at the ends of 64 bits; a failure would come after the question was paid."""
    big = 2**63 - 1
    rows = [(i, d, True, (big, -big, None, 0, 1)[i], i) for i, d in enumerate(DEPTS)]
    assert len(finished(plan_of(window), rows)) == len(DEPTS)


# --- intervals -------------------------------------------------------------------------------------------------------------


def test_an_interval_of_a_share_is_taken_within_each_draw() -> None:
    """Five cells, four draws: a share uses the total of the same draw, not of another and not the published one."""
    plan = compile_query("SELECT dept, count(*) / sum(count(*)) OVER () AS share FROM visits GROUP BY dept", city.FACTS)
    noise = f"SELECT n.cell, z.draw, {redrawn_cell(0, plan.statistics[0])} FROM noisy n, range(1, 5) z(draw), scales c"
    counts = [10, 20, 30, 40, 100]
    with duckdb.connect() as connection:
        connection.execute("CREATE TABLE noisy (cell BIGINT, k0 VARCHAR, s0 BIGINT)")
        connection.executemany("INSERT INTO noisy VALUES (?, ?, ?)", [(i, DEPTS[i], n) for i, n in enumerate(counts)])
        connection.execute("CREATE TABLE normals AS SELECT 0.0 AS s0 FROM range(4)")
        connection.execute("CREATE TABLE scales AS SELECT 3.0::DOUBLE AS s0")
        redrawn = {(cell, draw): n for cell, draw, n in connection.execute(noise).fetchall()}
        found = {cell: (low, high) for cell, low, high in connection.execute(plan.spread_sql).fetchall()}
    for cell in range(len(counts)):
        shares = [redrawn[cell, draw] / sum(redrawn[i, draw] for i in range(5)) for draw in range(1, 5)]
        ends = statistics.quantiles(shares, n=40, method="inclusive")
        assert found[cell] == pytest.approx((ends[0], ends[-1]))


SHARES = (
    "SELECT code, count(*) AS n, rank() OVER (ORDER BY count(*)) AS r, count(*) / sum(count(*)) OVER () AS share {}"
)
BY_CODE = SHARES.format("FROM visits GROUP BY code")


def made_up(plan: Plan, rows: int) -> NoisyCells:
    step = plan.statistics[0].step
    values = [
        tuple(int((i % 50 + 100) / step) if s.label == "COUNT(*)" else 2**20 for s in plan.statistics)
        for i in range(rows)
    ]
    return NoisyCells(keys=[(f"k{i}",) for i in range(rows)], values=values, suppressed=0, threshold=0)


#: One key, two statistics (the count, and what selects keys) and two windows.
MANY = compiling.MAX_REDRAWN // 5 // compiling.MIN_DRAWS


@pytest.mark.parametrize(("rows", "known"), [(2_000, True), (MANY, True), (MANY + 1, False)])
def test_many_rows_have_windows_but_no_intervals_of_them(rows: int, known: bool) -> None:
    """Millions of redrawn rows are sorted in seconds and within the memory of a small worker; more are not drawn."""
    plan = compile_query(BY_CODE, city.FACTS)
    loss = price(1.0, 1e-6, selects_keys=True)
    started = time.process_time()
    with DuckEngine().finishing(Limits(seconds=60, memory=512 * 2**20, threads=1)) as finish:
        answer = assemble(plan, [made_up(plan, rows)], loss, finish)
    assert time.process_time() - started < 60
    assert len(answer.rows) == rows
    assert all((row[3] is not None) is known for row in answer.intervals)
    assert all((row[2] is not None) is known for row in answer.intervals)
    assert all(row[1] is not None for row in answer.intervals), "a statistic has its interval by itself"


def test_a_quantile_around_an_answer_keeps_its_own_uncertainty() -> None:
    """Each cell's quantile has an interval of its own, in the answer and around it: not that of the noise of rows."""
    answer = "SELECT dept, median(amount) AS m FROM visits GROUP BY dept"
    around = f"SELECT dept, m FROM ({answer}) AS t ORDER BY dept"
    loss = price(1.0, 1e-6, selects_keys=False)
    widths = []
    beside = f"SELECT dept, m FROM ({answer}) AS t JOIN events ON kind IS NOT NULL"
    for sql in (answer, around, beside):
        plan = compile_query(sql, city.FACTS)
        (statistic,) = (s for s in plan.statistics if s.order is not None)
        keys = plan.grid()
        middle = statistic.order.first + statistic.order.size // 2
        reach = [10, 40, 20, 80, 30, 60][: len(keys)]
        drawn = [Picked(value=middle, low=middle - r, high=middle + r) for r in reach]
        values = [tuple(d if s is statistic else 9_000 for s in plan.statistics) for d in drawn]
        noisy = NoisyCells(keys=keys, values=values, suppressed=0, threshold=None)
        table = {t.name: SmallTable(columns=t.columns, rows=[(0, *["x"] * (len(t.columns) - 1))]) for t in plan.public}
        with DuckEngine().finishing(Limits()) as finish:
            found = assemble(
                plan, [noisy], loss, lambda text, given, tables=table, run=finish: run(text, {**tables, **given})
            )
        ends = {row[0]: interval[1] for row, interval in zip(found.rows, found.intervals, strict=True)}
        widths.append({key: high - low for key, (low, high) in ends.items()})
        own = {key[0]: 2 * r * float(statistic.order.step) for key, r in zip(keys, reach, strict=True)}
        assert widths[-1] == pytest.approx(own, rel=0.25)
    assert widths[0] == pytest.approx(own)

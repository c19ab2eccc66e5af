"""A value that is only passed on through SELECTs and UNION ALL has the interval that its cell has without them."""

from __future__ import annotations

import pytest

from compute.engines.duckdb import DuckEngine
from privacy.answer import NoisyCells, assemble
from privacy.loss import price
from privacy.order import Picked
from privacy.scales import half_width
from privacy.sql import Plan, compile_query
from privacy.sql.plan import Grouping, SmallTable
from tests.fakes import city, town

CELLS = "SELECT city, count(*) AS n, avg(age) AS a, median(age) AS m, var_pop(age) AS v FROM visits GROUP BY city"
LOSS = price(1.0, 1e-6, selects_keys=False)
Row = tuple[object, ...]


def drawn(grouping: Grouping) -> NoisyCells:
    """Made-up noisy cells, no two alike."""
    keys, values = grouping.grid(), []
    for i, _ in enumerate(keys):
        numbers = [(1_000 + 100 * i + 10 * j) * s.up for j, s in enumerate(grouping.statistics)]
        picked = Picked(value=30 + i, low=20 + i, high=50 + 2 * i)
        values.append(tuple(picked if s.order else n for s, n in zip(grouping.statistics, numbers, strict=True)))
    return NoisyCells(keys=keys, values=values, suppressed=0, threshold=None)


def answered(sql: str) -> tuple[Plan, dict[Row, tuple[Row, Row]]]:
    """By the first column of a row its values and intervals."""
    plan = compile_query(sql, city.FACTS)
    towns = [(i, name) for i, name in enumerate(city.PLACES.columns[0].domain or ())]
    public = {p.name: SmallTable(columns=p.columns, rows=towns) for p in plan.public}
    with DuckEngine().finishing(town.LIMITS) as finish:
        noisy = [drawn(g) for g in plan.groupings]
        answer = assemble(plan, noisy, LOSS, lambda sql, tables: finish(sql, {**public, **tables}))
    found = {row[:1]: (row, intervals) for row, intervals in zip(answer.rows, answer.intervals, strict=True)}
    assert len(found) == len(answer.rows)
    return plan, found  # type: ignore[return-value]


@pytest.mark.parametrize(
    "around",
    [
        "SELECT city, n, a, m FROM ({}) t",
        "SELECT t.city, n, a, m FROM ({}) t JOIN places USING (city)",
        "SELECT city, n, a, m FROM places LEFT JOIN ({}) t USING (city) WHERE n > 0",
        "WITH t AS ({}) SELECT city, n, a, m FROM t WHERE city < '南' UNION ALL SELECT city, n, a, m FROM t WHERE city >= '南'",
        "SELECT city, n, a, m FROM (SELECT *, rank() OVER (ORDER BY n) AS r FROM ({}) t) u WHERE r > 0",
    ],
)
def test_intervals_are_those_of_the_answer_itself(around: str) -> None:
    _, alone = answered(CELLS)
    _, within = answered(around.format(CELLS))
    assert within
    for key, (row, intervals) in within.items():
        assert (row, intervals) == (alone[key][0][:4], alone[key][1][:4])


def test_rows_of_several_answers_have_the_intervals_of_their_own() -> None:
    plan, found = answered(
        "SELECT 'all' AS x, count(*) AS n FROM visits UNION ALL SELECT dept, count(*) FROM visits WHERE urgent GROUP BY dept"
    )
    assert len(found) > 3
    for key, ((_, n), (_, interval)) in found.items():
        half = half_width(plan.groupings[0 if key == ("all",) else 1].statistics[0], LOSS)
        assert interval == (n - half, n + half)  # type: ignore[operator]


def test_a_cell_without_a_row_has_no_interval() -> None:
    """A left join that found nothing, and a value that was withheld."""
    _, found = answered(f"SELECT x, n, a, m FROM (SELECT 'nowhere' AS x) e LEFT JOIN ({CELLS}) t ON t.city = x")
    assert found == {("nowhere",): (("nowhere", None, None, None), (None, None, None, None))}


def test_a_total_follows_the_group_that_looks_like_it() -> None:
    """Of an unknown department and of all departments the key is NULL alike."""
    plan = compile_query(
        "SELECT dept, grouping(dept) AS g, count(*) AS n FROM visits GROUP BY ROLLUP (dept)", city.FACTS
    )
    with DuckEngine().finishing(town.LIMITS) as finish:
        answer = assemble(plan, [drawn(g) for g in plan.groupings], LOSS, finish)
    assert [row[:2] for row in answer.rows[-2:]] == [(None, 0), (None, 1)]

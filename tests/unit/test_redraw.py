"""How often a question around an answer is asked again, and what is made of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from privacy.redraw import MAX_DRAWS, MAX_REDRAWN, MIN_DRAWS, redrawn
from privacy.sql import compile_query
from privacy.sql.plan import Cell, SmallTable
from tests.fakes.city import FACTS

ANSWER = "SELECT city, count(*) AS n FROM visits GROUP BY city"
PLAN = compile_query(f"SELECT n + 1 AS m FROM ({ANSWER}) AS t", FACTS)
PRIVATE = compile_query(f"SELECT n + 1 AS m FROM ({ANSWER.replace('city', 'code')}) AS t", FACTS)
SIGMA = {"s0": 2.0}


def cells(count: int) -> SmallTable:
    return SmallTable(columns=(("cell", "BIGINT"),), rows=[(i,) for i in range(count)])


def test_the_middle_of_the_draws_is_the_interval() -> None:
    """A row in fewer than half of the draws, a value that is no number, and one that is never there have none."""

    def finish(sql: str, tables: Mapping[str, SmallTable]) -> list[Cell]:
        assert sql == PLAN.redraw_sql
        assert tables["scales"].rows == [(2.0,)]
        ((draw,),) = tables["turn"].rows
        rows: list[Cell] = [(7, float(draw)), (8, None), (9, float("nan"))]
        return [*rows, *([(10, 1.0)] if draw % 3 == 0 else []), *([(11, 1.0)] if draw % 2 == 0 else [])]

    found = redrawn(PLAN, [cells(4)], [SIGMA], finish)
    last = MAX_DRAWS - 1
    assert found[7] == [pytest.approx((0.025 * last, 0.975 * last))]
    assert [found[name] for name in (8, 9, 10)] == [[None], [None], [None]]
    assert found[11] == [(1.0, 1.0)]


@pytest.mark.parametrize(
    ("rows", "draws"),
    [
        (1, MAX_DRAWS),
        (MAX_REDRAWN // MAX_DRAWS, MAX_DRAWS),
        (MAX_REDRAWN // 150, 150),
        (MAX_REDRAWN // MIN_DRAWS, MIN_DRAWS),
        (MAX_REDRAWN // MIN_DRAWS + 1, 0),
    ],
)
def test_the_larger_the_question_the_fewer_the_draws(rows: int, draws: int) -> None:
    asked: list[str] = []
    redrawn(replace(PLAN, around_rows=rows), [cells(4)], [SIGMA], lambda sql, tables: asked.append(sql) or [])
    assert len(asked) == draws


@pytest.mark.parametrize(
    ("shown", "draws"), [(40, MAX_DRAWS), (15_000, MAX_REDRAWN // 30_000), (100_000, 0), (0, MAX_DRAWS)]
)
def test_of_private_keys_those_that_are_shown_count(shown: int, draws: int) -> None:
    """The plan has to reckon with 100,000 of them."""
    assert PRIVATE.around_rows == 200_000
    asked: list[str] = []
    redrawn(PRIVATE, [cells(shown)], [SIGMA], lambda sql, tables: asked.append(sql) or [])
    assert len(asked) == draws

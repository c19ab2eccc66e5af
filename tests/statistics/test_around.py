"""Intervals of questions around an answer: whether they hold the truth as often as they say, and the noise they draw again."""

from __future__ import annotations

from random import Random

import numpy as np

from compute.engines.duckdb import DuckEngine
from privacy.loss import price
from privacy.mechanisms import release
from privacy.scales import value_scale
from privacy.sql import compile_query
from privacy.sql.plan import SmallTable
from tests.fakes import city, town
from tests.fakes.units import Given

CELLS = """
WITH t AS (
    SELECT date_trunc('day', day) AS d, city, count(*) AS n, count(*) FILTER (WHERE urgent) AS m FROM visits GROUP BY d, city
), days AS (SELECT d, sum(n) AS n, avg(m) AS m, sum(m) / sum(n) AS part, sum(n) FILTER (WHERE n > 1) AS large FROM t GROUP BY d)
"""
#: Sums, averages and ratios of four cells each; a share, in which a cell stands above and below the line.
OF_DAYS = f"{CELLS} SELECT d, n, m, part, large FROM days"
OF_CELLS = f"""{CELLS}
SELECT t.d, city, 100.0 * t.n / days.n AS share, t.n / sum(t.n) OVER (PARTITION BY t.d) AS same FROM t JOIN days USING (d)"""


def _coverage(question: str, rounds: int) -> tuple[int, dict[str, float]]:
    """How many rows were seen, and in which part of them the interval of each column holds the exact value."""
    plan, draw, loss = compile_query(question, city.FACTS), Random(7), price(1.0, 1e-6, selects_keys=False)
    up = [s.up for s in plan.statistics]
    exact = []
    for key in plan.grid():
        n = draw.randrange(3_000, 9_000)
        exact.append((*key, n * up[0], draw.randrange(1_000, n) * up[1]))
    assert max(value_scale(s, loss) for s in plan.statistics) < 1_000 / 10
    keys = sum(o.is_key for o in plan.outputs)
    held: list[list[bool]] = []
    with DuckEngine().finishing(town.LIMITS) as finish:
        true = release(plan, Given(plan, exact), price(1e8, 1e-6, selects_keys=False), finish)
        truth = {row[:keys]: row for row in true.rows}
        for _ in range(rounds):
            answer = release(plan, Given(plan, exact), loss, finish)
            for row, intervals in zip(answer.rows, answer.intervals, strict=True):
                pairs = list(zip(truth[row[:keys]], intervals, strict=True))[keys:]
                held.append([i is not None and i[0] - 1e-6 <= float(str(v)) <= i[1] + 1e-6 for v, i in pairs])
    return len(held), dict(zip((o.name for o in plan.outputs[keys:]), np.mean(held, axis=0).tolist(), strict=True))


def test_intervals_of_sums_and_ratios_of_cells_hold_the_truth_as_often_as_they_say() -> None:
    """4,386 rows: at a true coverage between 93.5 % and 96 % each of the columns fails with probability below 1e-6."""
    count, coverage = _coverage(OF_DAYS, 6)
    assert count == 4_386
    assert all(0.92 <= c <= 0.975 for c in coverage.values()), coverage


def test_intervals_of_shares_of_cells_hold_the_truth_as_often_as_they_say() -> None:
    """5,848 rows, four of them tied to each other by their sum."""
    count, coverage = _coverage(OF_CELLS, 2)
    assert count == 5_848
    assert all(0.92 <= c <= 0.975 for c in coverage.values()), coverage


def test_the_noise_that_is_drawn_again_is_normal_and_every_cells_own() -> None:
    """It is the same every time, so nothing here is chance: 3,000 cells of two statistics in 40 draws."""
    plan = compile_query(
        "SELECT n + m AS x FROM (SELECT city, sum(amount) AS n, sum(rate) AS m FROM visits GROUP BY city) t", city.FACTS
    )
    noisy = plan.redraw_sql.split(") SELECT rid")[0].removeprefix("WITH noisy AS (")
    columns = (("cell", "BIGINT"), ("k0", "VARCHAR"), ("s0", "DOUBLE"), ("s1", "DOUBLE"))
    tables = {
        "cells": SmallTable(columns=columns, rows=[(i, "x", 0.0, 0.0) for i in range(3_000)]),
        "scales": SmallTable(columns=(("s0", "DOUBLE"), ("s1", "DOUBLE")), rows=[(1.0, 1.0)]),
    }
    draws = []
    with DuckEngine().finishing(town.LIMITS) as finish:
        for draw in range(40):
            turn = SmallTable(columns=(("draw", "BIGINT"),), rows=[(draw,)])
            draws.append([row[2:] for row in sorted(finish(noisy, {**tables, "turn": turn}))])
    found = np.array(draws, dtype=np.float64)
    assert np.array_equal(found[0::2], -found[1::2])
    half = found[0::2].reshape(20, -1)
    assert abs(half.mean()) < 0.01
    assert abs(half.std() - 1) < 0.01
    assert abs((half**4).mean() - 3) < 0.1
    between = np.corrcoef(half) - np.eye(20)
    assert np.abs(between).max() < 0.06
    cells = np.corrcoef(found[0::2, :100, :].reshape(20, -1).T)
    assert abs(np.sqrt((cells**2).mean()) - 1 / np.sqrt(19)) < 0.02

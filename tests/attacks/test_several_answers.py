"""Several answers in one question: nobody gets more for a price by dividing it, and nothing unpaid is among the answers."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from datetime import date
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import pytest

from compute.engines import connection
from compute.engines.duckdb import DuckEngine
from compute.ports import Limits
from privacy.errors import Fault, Problem
from privacy.loss import DELTA_UNIT, RHO_UNIT, Loss
from privacy.mechanisms import noisy_cells
from privacy.scales import scale, threshold
from privacy.sql import Plan, compile_query
from privacy.sql.plan import Grouping
from tests.fakes import city, town
from tests.fakes.units import Given
from tests.golden.test_equals_plain import AROUND, RELATIONS, SAME, SETS

#: Groupings whose bounds are chosen, with proportions, quantiles, private and public keys, beside a minimum of units.
DIVIDED = (
    "SELECT code, count(*) AS n, sum(amount) AS s FROM visits GROUP BY ROLLUP (code)",
    "SELECT a.n, b.m FROM (SELECT city, code, count(*) AS n FROM visits GROUP BY city, code) a "
    "JOIN (SELECT city, code, median(amount) AS m FROM visits GROUP BY city, code) b USING (city, code)",
    "SELECT (SELECT count(DISTINCT dept) FROM visits) + (SELECT max(age) FROM visits) + (SELECT avg(age) FROM visits) AS x",
)


def paid(plan: Plan) -> tuple[Fraction, Fraction]:
    """The parts of rho and of delta that all groupings pay together."""
    rho, delta = Fraction(0), Fraction(0)
    for grouping in plan.groupings:
        rho += grouping.length_share + sum(s.share + s.ratio_share for s in grouping.statistics)
        delta += grouping.delta_share if grouping.selects_keys else 0
    return rho, delta


@pytest.mark.parametrize("sql", [*SAME, *RELATIONS, *AROUND, *SETS, *DIVIDED])
def test_all_parts_make_one_price(sql: str) -> None:
    for facts in (city.FACTS, city.with_min_units(5)):
        plan = compile_query(sql, facts)
        rho, delta = paid(plan)
        assert rho == 1
        assert delta == (1 if plan.selections else 0)


def test_many_rows_of_a_unit_are_priced_alike() -> None:
    """Where the questions choose bounds, each pays for that out of its own part."""
    facts = replace(city.FACTS, tables=tuple(replace(t, max_rows=200 if t.unit else 1) for t in city.FACTS.tables))
    for sql in DIVIDED:
        plan = compile_query(sql, facts)
        assert all(g.length_share > 0 for g in plan.groupings)
        assert paid(plan)[0] == 1


@pytest.mark.parametrize("count", [2, 3, 7, 16])
def test_noise_grows_by_the_root_of_the_number_of_answers(count: int) -> None:
    alone = compile_query("SELECT count(*) FROM visits", city.FACTS)
    together = " + ".join(f"(SELECT count(*) FROM visits WHERE age <> {i})" for i in range(count))
    loss = Loss(RHO_UNIT)
    for grouping in compile_query(f"SELECT {together} AS n", city.FACTS).groupings:
        noise = scale(grouping.statistics[0], loss) / scale(alone.statistics[0], loss)
        assert noise == pytest.approx(math.sqrt(count), rel=1e-6)


def test_private_keys_of_several_answers_share_delta() -> None:
    """Each threshold is that of a third of delta; with less than a unit of it each, nothing is drawn."""
    codes = [f"(SELECT count(*) AS n FROM (SELECT code FROM visits WHERE age > {i} GROUP BY code) c)" for i in range(3)]
    counted = [c.replace("SELECT code FROM", "SELECT code, count(*) AS m FROM") for c in codes]
    plan = compile_query(f"SELECT {' + '.join(counted)} AS n", city.FACTS)
    assert plan.selections == 3
    loss = Loss(RHO_UNIT, DELTA_UNIT // 10**6)
    for grouping in plan.groupings:
        assert grouping.weights is not None
        asked = threshold(grouping.weights, grouping.max_keys, grouping.selecting(loss))
        assert asked == threshold(grouping.weights, grouping.max_keys, replace(loss, delta=loss.delta // 3))
        assert asked > threshold(grouping.weights, grouping.max_keys, loss)
    poor: Grouping = plan.also[0]
    with pytest.raises(Fault):
        noisy_cells(poor, Given(plan, []), Loss(RHO_UNIT, 2))


def test_a_name_of_our_own_tables_is_no_table() -> None:
    for name in ("noisy", "noisy1", "cells", "cells1", "scales", "turn", "p0", "sets"):
        asked = f"SELECT city, count(*) FROM visits GROUP BY ROLLUP (city) HAVING 1 IN (SELECT n FROM {name})"
        with pytest.raises(Problem) as caught:
            compile_query(asked, city.FACTS)
        assert caught.value.code == "sql.unknown_table"


def test_a_text_that_looks_like_ours_only_costs_its_author() -> None:
    """The compiled text tells whether an answer is read: a literal can make one paid that is not read, never the reverse."""
    spare = (
        "WITH x AS (SELECT dept, count(*) AS n FROM visits GROUP BY dept), "
        "t AS (SELECT city, count(*) AS n FROM visits GROUP BY city)"
    )
    assert len(compile_query(f"{spare} SELECT n FROM t", city.FACTS).groupings) == 1
    plan = compile_query(f"{spare} SELECT n, ' FROM noisy ' AS x FROM t", city.FACTS)
    assert len(plan.groupings) == 2
    assert paid(plan) == (1, 0)


@pytest.mark.parametrize("sql", [*AROUND, *SETS, *DIVIDED])
def test_post_processing_reads_paid_tables_alone(sql: str) -> None:
    plan = compile_query(sql, city.FACTS)
    given = {"noisy", *(f"noisy{i}" for i in range(1, len(plan.groupings)))}
    read = set(re.findall(r"\bnoisy\d*\b", plan.finish_sql))
    assert read == given
    redrawn = set(re.findall(r"FROM (cells\d*) AS n CROSS JOIN turn AS z CROSS JOIN (scales\d*) AS c", plan.redraw_sql))
    assert not plan.redraw_sql or redrawn == {
        (g.replace("noisy", "cells"), g.replace("noisy", "scales")) for g in given
    }


def test_all_answers_have_one_limit_of_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sixteen answers take no longer than one may, by a clock that is set: a watch tells no more of a divided question."""
    person = [("东", "内", "a", 0, 0, 0, 250_000, 0, 0, 0, True, date(2024, 1, 1))]
    path = town.write(tmp_path / "version.duckdb", [person])
    plan = compile_query(
        "SELECT (SELECT count(*) FROM visits) + (SELECT count(*) FROM visits WHERE urgent) AS n", town.FACTS
    )
    now = [0.0]
    monkeypatch.setattr(connection, "time", SimpleNamespace(monotonic=lambda: now[0]))
    with DuckEngine().units(path, Limits(seconds=60)) as units:
        now[0] = 59.0
        assert units(plan.groupings[0]).totals(plan.measured, [()])
        now[0] = 61.0
        late = units(plan.groupings[1])
        with pytest.raises(Fault):
            late.totals(plan.also[0].measured, [()])

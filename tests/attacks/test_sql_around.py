"""Attacks from around an answer: an analyst tries to reach private rows, files or the worker's memory from the outer query.

What stands around an answer runs on noisy cells and public rows alone, in a database that holds nothing else. So each attack is
shown to fail twice where that is possible: its text is refused, and text that were let through would find nothing.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from compute.engines.duckdb import DuckEngine
from privacy.answer import Answer
from privacy.errors import Fault, Problem
from privacy.facts import DatasetFacts
from privacy.loss import price
from privacy.mechanisms import release
from privacy.sql import Plan, compile_query
from privacy.sql.plan import PublicRows, SmallTable
from tests.attacks.test_sql_attacks import SMALL
from tests.fakes import city

T = "(SELECT city, count(*) AS n FROM visits GROUP BY city) AS t"

#: By the attack's name, the question and the code of its refusal.
REACHING = {
    "private table by name": (f"SELECT * FROM {T} JOIN visits AS v ON v.city = t.city", "sql.answer_beside_rows"),
    "private table behind a comma": (f"SELECT note FROM {T}, visits", "sql.answer_beside_rows"),
    "private rows in a subquery": (f"SELECT * FROM {T} JOIN (SELECT note FROM visits) x ON TRUE", "sql.answer_beside_rows"),
    "private rows in a name": (f"WITH x AS (SELECT * FROM visits) SELECT x.note FROM {T}, x", "sql.answer_beside_rows"),
    "private rows in a name in a name": (
        f"WITH x AS (SELECT * FROM visits), y AS (SELECT * FROM x) SELECT y.note FROM {T} JOIN y ON TRUE",
        "sql.answer_beside_rows",
    ),
    "private rows one a unit": (
        f"SELECT p.n FROM {T}, (SELECT person_id, count(*) AS n FROM visits GROUP BY person_id) AS p",
        "sql.answer_beside_rows",
    ),
    "private rows in IN": (f"SELECT n FROM {T} WHERE n IN (SELECT age FROM visits)", "sql.answer_beside_rows"),
    "private rows in NOT IN of a name": (
        f"WITH x AS (SELECT age FROM visits) SELECT n FROM {T} WHERE NOT n IN (SELECT age FROM x)",
        "sql.answer_beside_rows",
    ),
    "private row as a value": (f"SELECT (SELECT note FROM visits LIMIT 1) AS x FROM {T}", "sql.answer_beside_rows"),
    "private rows in EXISTS": (
        f"SELECT n FROM {T} WHERE EXISTS (SELECT 1 FROM visits WHERE age = t.n)",
        "sql.answer_beside_rows",
    ),
    "correlated count": (
        f"SELECT (SELECT count(*) FROM visits v WHERE v.city = t.city) AS n FROM {T}",
        "sql.unknown_column",
    ),
    "correlated by a bare name": (f"SELECT (SELECT count(*) FROM wages WHERE wage > n) AS m FROM {T}", "sql.unknown_column"),
    "private rows in a union": (f"SELECT city FROM {T} UNION ALL SELECT note FROM visits", "sql.answer_beside_rows"),
    "private rows in brackets": (f"SELECT city FROM {T} UNION (SELECT note FROM visits)", "sql.answer_beside_rows"),
    "private rows in an except": (f"SELECT note FROM visits EXCEPT SELECT city FROM {T}", "sql.answer_beside_rows"),
    "private rows in a semi join": (f"SELECT n FROM {T} SEMI JOIN visits v ON v.city = t.city", "sql.answer_beside_rows"),
    "answer named like a private table": (
        "WITH wages AS (SELECT city, count(*) AS n FROM visits GROUP BY city) "
        "SELECT count(*) FROM visits WHERE person_id IN (SELECT person_id FROM wages)",
        "sql.noisy_subquery",
    ),
    "public name for a private table": (
        f"WITH places AS (SELECT * FROM visits) SELECT p.note FROM {T} JOIN places p USING (city)",
        "sql.answer_beside_rows",
    ),
    "alias of a private table": (f"SELECT visits.note FROM {T} JOIN places AS visits USING (city)", "sql.unknown_column"),
    "inner alias from outside": ("SELECT v.note FROM (SELECT city, count(*) AS n FROM visits v GROUP BY city) t",
                                 "sql.unknown_column"),
    "unit from outside": ("SELECT person_id FROM (SELECT city, count(*) AS n FROM visits GROUP BY city) t", "sql.unknown_column"),
    "unit's number": (f'SELECT t."_uid" FROM {T}', "sql.unknown_column"),
    "name of the row": (f"SELECT rid FROM {T} JOIN places USING (city)", "sql.unknown_column"),
    "cell of the row": (f"SELECT cell, s0 FROM {T}", "sql.unknown_column"),
    "the noisy table itself": (f"SELECT * FROM {T}, noisy", "sql.unknown_table"),
    "the scales": (f"SELECT * FROM {T}, scales", "sql.unknown_table"),
    "the catalogue": (f"SELECT * FROM {T}, information_schema.tables", "sql.unsupported"),
    "a table function": (f"SELECT * FROM {T}, duckdb_settings()", "sql.unsupported"),
    "a file": (f"SELECT * FROM {T} JOIN read_text('/etc/passwd') f ON TRUE", "sql.unsupported"),
    "a file as a table": (f"SELECT * FROM {T} JOIN '/etc/passwd' ON TRUE", "sql.unknown_table"),
    "a function of the machine": (f"SELECT getenv('HOME') FROM {T}", "sql.unknown_function"),
    "a function in a window": (f"SELECT sum(n) OVER (ORDER BY random()) FROM {T}", "sql.unknown_function"),
    "a function in ORDER BY": (f"SELECT n FROM {T} ORDER BY current_setting('x')", "sql.unknown_function"),
    "a function in a join": (f"SELECT n FROM {T} JOIN places p ON query('SELECT 1')", "sql.unknown_function"),
    "an aggregate": (f"SELECT list(city) FROM {T}", "sql.unknown_aggregate"),
    "recursion": (
        f"WITH RECURSIVE r AS (SELECT n FROM {T} UNION ALL SELECT n + 1 FROM r) SELECT * FROM r",
        "sql.unsupported",
    ),
    "recursion within": (
        f"SELECT * FROM (WITH RECURSIVE r AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM r) SELECT i FROM r) x, {T}",
        "sql.unsupported",
    ),
    "another statement": (f"SELECT n FROM {T}; DROP TABLE visits", "sql.one_statement"),
}  # fmt: skip


@pytest.mark.parametrize("name", REACHING)
def test_nothing_but_the_answer_and_public_tables_can_be_named(name: str) -> None:
    sql, code = REACHING[name]
    with pytest.raises(Problem) as caught:
        compile_query(sql, city.FACTS)
    assert caught.value.code == code


#: Attempts to take the worker down: all are refused, and so before anything runs.
BOMBS = {
    "a cross join of public tables": f"SELECT count(*) FROM {T}, {', '.join(f'events e{i}' for i in range(8))}",
    "a cross join within": f"SELECT n FROM {T}, (SELECT 1 AS one FROM {', '.join(f'places p{i}' for i in range(9))}) AS x",
    "a self join": "WITH t AS (SELECT day, count(*) AS n FROM visits GROUP BY day) SELECT count(*) FROM t a, t b",
    "a self join on a condition": (
        "WITH t AS (SELECT day, count(*) AS n FROM visits GROUP BY day) SELECT count(*) FROM t a LEFT JOIN t b ON a.n > b.n"
    ),
    "an equality that holds always": (
        "WITH t AS (SELECT day, count(*) AS n FROM visits GROUP BY day) SELECT count(*) FROM t a JOIN t b ON a.n - 1 = b.n - 1"
    ),
    "a column that is always the same": (
        "WITH t AS (SELECT day, 1 AS one, count(*) AS n FROM visits GROUP BY day) SELECT count(*) FROM t a JOIN t b USING (one)"
    ),
    "names that double": (
        f"WITH t0 AS (SELECT * FROM {T}), "
        + ", ".join(f"t{i + 1} AS (SELECT * FROM t{i} UNION ALL SELECT * FROM t{i})" for i in range(30))
        + " SELECT count(*) FROM t30"
    ),
    "names that multiply": (
        f"WITH t0 AS (SELECT n FROM {T}), "
        + ", ".join(f"t{i + 1} AS (SELECT a.n FROM t{i} a, t{i} b)" for i in range(9))
        + " SELECT count(*) FROM t9"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BOMBS)
def test_row_bombs_are_refused_at_once(name: str) -> None:
    began = time.monotonic()
    with pytest.raises(Problem) as caught:
        compile_query(BOMBS[name], city.FACTS)
    assert caught.value.code == "sql.too_many_parts"
    assert time.monotonic() - began < 10


def test_texts_grow_no_further_around_an_answer() -> None:
    doubling = ", ".join(f"t{i + 1} AS (SELECT c || c AS c FROM t{i})" for i in range(7))
    with pytest.raises(Problem) as caught:
        compile_query(f"WITH t0 AS (SELECT city AS c, n FROM {T}), {doubling} SELECT max(c) FROM t7", city.FACTS)
    assert caught.value.code == "sql.too_many_parts"


# --- what would be found, were the gate open ------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class Town:
    """A version file, what is public of it, and the database that it came from."""

    version: Path
    facts: DatasetFacts


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Town:
    connection = city.plain()
    version, report = city.ingest(connection, tmp_path_factory.mktemp("city"))
    connection.close()
    return Town(version=version, facts=report.facts)


def answered(made: Town, plan: Plan) -> Answer:
    engine, loss = DuckEngine(), price(1.0, 1e-6, selects_keys=plan.selects_keys)
    with engine.units(made.version, SMALL) as units, engine.finishing(SMALL) as finish:
        return release(plan, units, loss, engine.beside(finish, made.version, plan, SMALL))


@pytest.mark.parametrize("table", ["visits", '"visits"', "main.visits", "wages"])
def test_text_that_reads_a_private_table_beside_an_answer_finds_none(made: Town, table: str) -> None:
    """The outer text runs where the version is not: whatever the gate let through, the table is not there."""
    plan = compile_query(f"SELECT n FROM {T} WHERE n > 1", made.facts)
    forged = replace(plan, finish_sql=f"SELECT 0, count(*) FROM {table}")
    with pytest.raises(Fault) as caught:
        answered(made, forged)
    assert "does not exist" in (caught.value.private or "")


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT rowid AS rid FROM visits",
        "SELECT rowid AS rid FROM \"visits\" AS t",
        "SELECT 0 AS rid FROM places, wages",
        "SELECT 0 AS rid FROM (SELECT * FROM (SELECT count(*) FROM visits))",
        "WITH x AS (SELECT * FROM wages) SELECT 0 AS rid FROM places WHERE EXISTS (SELECT 1 FROM x)",
    ],
)  # fmt: skip
def test_public_rows_are_never_those_of_a_private_table(made: Town, sql: str) -> None:
    """The engine looks for itself at what is read as public; the plan's word is not enough."""
    plan = compile_query(f"SELECT n FROM {T} JOIN places USING (city)", made.facts)
    forged = replace(plan, public=(PublicRows(name="p0", columns=(("rid", "BIGINT"),), sql=sql),))
    with pytest.raises(Fault) as caught:
        DuckEngine().public(made.version, forged, SMALL)
    assert "a private table" in (caught.value.private or "")


def test_plans_read_as_public_what_is_declared_public_alone(made: Town) -> None:
    questions = (Path(__file__).parents[1] / "golden/queries/around.sql").read_text(encoding="utf-8").splitlines()[1:]
    public = {t.name for t in made.facts.tables if t.unit is None}
    seen = set()
    for question in questions:
        plan = compile_query(question, made.facts)
        seen |= {re.search(r'FROM "(\w+)" AS t$', p.sql).group(1) for p in plan.public}  # type: ignore[union-attr]
        for text in (plan.finish_sql, plan.redraw_sql):
            assert not re.search(r'"visits"|"wages"|"places"|_uid', text)
    assert seen <= public
    assert len(seen) >= 2


def test_small_cells_are_withheld_before_anything_is_made_of_them(made: Town) -> None:
    """The minimum of units comes first: nothing of a withheld cell is in a sum, in a maximum or in an interval."""
    strict = replace(made.facts, min_units=10**6)
    text = f"SELECT sum(n) AS n, max(n) AS m, count(n) AS shown, count(*) AS cells FROM {T}"
    answer = answered(made, compile_query(text, strict))
    assert answer.rows == ((None, None, 0, 4),)
    assert answer.suppressed == 4
    assert answer.intervals[0][:2] == (None, None)
    rows = answered(made, compile_query(f"SELECT city, n + 1 AS m FROM {T}", strict))
    assert [row[1] for row in rows.rows] == [None] * 4
    assert [i[1] for i in rows.intervals] == [None] * 4


def test_what_is_drawn_again_reads_noisy_values_alone(made: Town) -> None:
    """The tables that text runs on while noise is drawn again hold published values, public rows and scales: nothing exact."""
    plan = compile_query(f"SELECT 省份, sum(n) AS n FROM {T} JOIN places USING (city) GROUP BY 省份", made.facts)
    seen: dict[str, SmallTable] = {}
    engine, loss = DuckEngine(), price(1.0, 1e-6, selects_keys=False)
    with engine.units(made.version, SMALL) as units, engine.finishing(SMALL) as finish:
        whole = engine.beside(finish, made.version, plan, SMALL)
        release(plan, units, loss, lambda sql, given: seen.update(given) or whole(sql, given))  # type: ignore[func-returns-value]
    assert set(seen) == {"noisy", "cells", "scales", "turn"}
    assert seen["noisy"] is seen["cells"]

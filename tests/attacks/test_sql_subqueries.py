"""Attacks by subqueries: an analyst tries to make rows of one person speak of another, or to pass off something as the person.

Two kinds of defence, and both are shown: what mixes persons is refused by name, and what is accepted is bounded at the end, so
that a person counts as far as is stated, whatever stands between the table and the sum. Peers failed here: windows over all
persons ran before bounding, LIMIT in a subquery let one person displace thousands of rows, left-join anti-joins were wrong.
"""

from __future__ import annotations

import time
from itertools import pairwise

import pytest

from privacy.errors import Problem
from privacy.sql import compile_query
from privacy.sql.plan import Aggregate
from tests.attacks.test_sql_attacks import FAILING_ROWS, SMALL, Versions, compiled, shape, versions  # noqa: F401
from tests.fakes import city, town

#: What mixes rows of persons, or makes up persons: by the attack's name, the question and the code of its refusal.
MIXING = {
    "limit displaces": ("FROM (SELECT * FROM visits LIMIT 1000) x", "sql.unsupported"),
    "order and limit": ("FROM (SELECT * FROM visits ORDER BY amount DESC LIMIT 1) x", "sql.unsupported"),
    "offset": ("FROM (SELECT * FROM visits OFFSET 17) x", "sql.unsupported"),
    "sample": ("FROM (SELECT * FROM visits USING SAMPLE 10%) x", "sql.unsupported"),
    "limit in IN": ("FROM visits WHERE person_id IN (SELECT person_id FROM wages LIMIT 1)", "sql.unsupported"),
    "limit in a union": ("FROM ((SELECT * FROM visits) UNION ALL (SELECT * FROM visits LIMIT 1)) x", "sql.unsupported"),
    "limit of a union": ("FROM (SELECT * FROM visits UNION ALL SELECT * FROM visits LIMIT 1) x", "sql.unsupported"),
    "window over all": ("FROM (SELECT rank() OVER (ORDER BY amount) AS r FROM visits) x WHERE r = 1", "sql.unit_missing"),
    "window by city": ("FROM (SELECT lag(age) OVER (PARTITION BY city ORDER BY day) AS a FROM visits) x", "sql.unit_missing"),
    "window by a fake person": (
        "FROM (SELECT rank() OVER (PARTITION BY person_id) AS r FROM (SELECT 1 AS person_id FROM visits) v) x",
        "sql.unit_missing",
    ),
    "window by a computed person": (
        "FROM (SELECT rank() OVER (PARTITION BY person_id % 2) AS r FROM visits) x",
        "sql.unit_missing",
    ),
    "qualify over all": ("FROM (SELECT age FROM visits QUALIFY row_number() OVER () = 1) x", "sql.unit_missing"),
    "group by a fake person": (
        "FROM visits WHERE person_id IN (SELECT person_id FROM (SELECT 1 AS person_id FROM visits) v GROUP BY person_id)",
        "sql.noisy_subquery",
    ),
    "group of everybody": (
        "FROM visits v JOIN (SELECT max(amount) AS m FROM visits) x ON v.amount < x.m",
        "sql.answer_beside_rows",
    ),
    "group of everybody as a filter": (
        "FROM visits WHERE city IN (SELECT city FROM visits GROUP BY city HAVING count(*) > 5)",
        "sql.noisy_subquery",
    ),
    "distinct of everybody": ("FROM (SELECT DISTINCT note FROM visits) x", "sql.unit_missing"),
    "union of everybody": ("FROM (SELECT note FROM visits UNION SELECT code FROM visits) x", "sql.unit_missing"),
    "union with nobody": ("FROM (SELECT city FROM visits UNION ALL SELECT city FROM places) x", "sql.unsupported"),
    "union swaps persons": (
        "FROM (SELECT person_id, age FROM visits UNION ALL SELECT age, person_id FROM visits) x",
        "sql.unsupported",
    ),
    "coalesced person": ("FROM (SELECT coalesce(person_id, 0) AS person_id FROM visits) x", "sql.unit_column"),
    "computed person": ("FROM (SELECT person_id + 0 AS person_id FROM visits) x", "sql.unit_column"),
    "person of a case": (
        "FROM (SELECT CASE WHEN urgent THEN person_id END AS p FROM visits) x",
        "sql.unit_column",
    ),
    "join on a fake person": (
        "FROM (SELECT age AS person_id FROM visits) x JOIN wages w ON x.person_id = w.person_id",
        "sql.unit_column",
    ),
    "join on a column": ("FROM visits a JOIN visits b ON a.city = b.city", "sql.private_not_on_unit"),
    "join on a disjunction": (
        "FROM visits a JOIN wages b ON a.age = b.wage AND (a.person_id = b.person_id OR TRUE)",
        "sql.unit_column",
    ),
    "join on itself": ("FROM visits a JOIN visits b ON b.person_id = b.person_id", "sql.private_not_on_unit"),
    "join on another's person": (
        "FROM visits a JOIN visits b ON a.age = b.age JOIN visits c ON c.person_id = b.person_id",
        "sql.private_not_on_unit",
    ),
    "join with everybody": ("FROM visits a, visits b WHERE a.person_id = b.person_id OR a.age > 3", "sql.private_not_on_unit"),
    "join of others by WHERE": (
        "FROM visits a, visits b, wages w WHERE b.person_id = w.person_id AND a.age = b.age",
        "sql.private_not_on_unit",
    ),
    "join of the same by WHERE": (
        "FROM visits a, visits b WHERE a.person_id = a.person_id AND b.person_id = b.person_id",
        "sql.private_not_on_unit",
    ),
    "join through a left join": (
        "FROM visits a LEFT JOIN visits b ON a.age = b.age JOIN wages w ON w.person_id = b.person_id",
        "sql.private_not_on_unit",
    ),
    "right join": ("FROM visits a RIGHT JOIN wages w USING (person_id)", "sql.unsupported"),
    "public left join private": ("FROM places p LEFT JOIN visits v USING (city)", "sql.join_loses_unit"),
    "semi join on a column": ("FROM visits a SEMI JOIN visits b ON a.city = b.city", "sql.private_not_on_unit"),
    "anti join on a column": ("FROM visits a ANTI JOIN visits b ON a.note = b.code", "sql.private_not_on_unit"),
    "public rows that private rows choose": (
        "FROM visits v JOIN (SELECT city FROM places SEMI JOIN visits USING (city)) p USING (city)",
        "sql.join_loses_unit",
    ),
    "public rows by IN": (
        "FROM visits v JOIN (SELECT city FROM places WHERE city IN (SELECT city FROM visits)) p USING (city)",
        "sql.unit_missing",
    ),
    "IN on a column": ("FROM visits WHERE note IN (SELECT note FROM visits WHERE age = 100)", "sql.unit_missing"),
    "IN with the person crosswise": (
        "FROM visits WHERE (person_id, age) IN (SELECT age, person_id FROM visits)",
        "sql.unit_column",
    ),
    "EXISTS of anybody": ("FROM visits WHERE EXISTS (SELECT 1 FROM wages WHERE wage > 99000)", "sql.unit_missing"),
    "EXISTS on a column": (
        "FROM visits v WHERE EXISTS (SELECT 1 FROM visits w WHERE w.note = v.note AND w.age > v.age)",
        "sql.unit_missing",
    ),
    "EXISTS on a disjunction": (
        "FROM visits v WHERE EXISTS (SELECT 1 FROM wages w WHERE w.person_id = v.person_id OR w.wage > 5)",
        "sql.unit_column",
    ),
    "EXISTS on itself": (
        "FROM visits v WHERE EXISTS (SELECT 1 FROM wages w WHERE w.person_id = w.person_id)",
        "sql.unit_missing",
    ),
    "EXISTS within EXISTS": (
        "FROM visits v WHERE EXISTS (SELECT 1 FROM wages w WHERE w.person_id = v.person_id "
        "AND EXISTS (SELECT 1 FROM visits z WHERE v.person_id = w.person_id AND z.age > 5))",
        "sql.unit_missing",
    ),
    "a scalar subquery": ("FROM visits WHERE age > (SELECT max(age) FROM visits)", "sql.unsupported"),
    "a correlated scalar": (
        "FROM visits v WHERE (SELECT max(wage) FROM wages w WHERE w.person_id = v.person_id) > 5",
        "sql.unsupported",
    ),
    "lateral": ("FROM visits v, LATERAL (SELECT max(wage) AS m FROM wages) w", "sql.unsupported"),
    "recursion": ("FROM (WITH RECURSIVE r AS (SELECT * FROM visits) SELECT * FROM r) x", "sql.unsupported"),
    "the layout's own unit": ('FROM (SELECT "_uid" AS person_id FROM visits) x', "sql.unknown_column"),
    "the layout's own rank": ("FROM (SELECT _rn FROM visits) x", "sql.unknown_column"),
    "a column of the layer below": (
        "FROM (SELECT count(*) AS n FROM visits GROUP BY person_id) x WHERE p0 > 1",
        "sql.unknown_column",
    ),
    "an alias that names itself": (
        "FROM (SELECT person_id, n + 1 AS n FROM visits GROUP BY person_id, n HAVING n > 1) x",
        "sql.unknown_column",
    ),
    "a person of another schema": ("FROM (SELECT main.visits.person_id FROM visits) x", "sql.unsupported"),
}  # fmt: skip


@pytest.mark.parametrize("name", MIXING)
def test_what_mixes_persons_is_refused_by_name(name: str) -> None:
    text, code = MIXING[name]
    with pytest.raises(Problem) as caught:
        compile_query(f"SELECT count(*) {text}", city.FACTS)
    problem = caught.value
    assert problem.code == code
    assert all(problem.say(lang) and problem.advise(lang) for lang in ("en", "zh-CN"))


@pytest.mark.parametrize("column", ["age", "1", "stock", "NULL", "person_id"])
def test_whatever_passes_for_a_person_is_counted_as_values_are(column: str) -> None:
    """A column named like a person is none: its values are counted, with the bound of values. Only the person is a unit."""
    plan = compile_query(f"SELECT count(DISTINCT p) FROM (SELECT {column} AS p FROM visits) x", city.FACTS)
    assert plan.statistics[0].aggregate is (Aggregate.UNITS if column == "person_id" else Aggregate.DISTINCT)


#: What is accepted multiplies, renames and shadows as it likes: (question, the most that one person with 200 rows counts).
BOUNDED = {
    "SELECT count(*) FROM (SELECT 1 AS person_id, age FROM visits) x": 8,
    "SELECT count(*) FROM (SELECT age AS person_id FROM visits) x": 8,
    "SELECT count(DISTINCT p) FROM (SELECT person_id AS p, 2 AS person_id FROM visits) x": 1,
    "SELECT count(*) FROM (SELECT * FROM visits UNION ALL SELECT * FROM visits UNION ALL SELECT * FROM visits) x": 24,
    "SELECT count(*) FROM visits a JOIN visits b USING (person_id)": 64,
    "SELECT count(*) FROM visits a JOIN visits b ON a.person_id = b.person_id AND a.city <> b.city": 64,
    "SELECT count(*) FROM visits a, visits b WHERE a.age < b.age AND b.person_id = a.person_id": 64,
    "SELECT count(*) FROM (SELECT person_id FROM visits GROUP BY person_id) x": 1,
    "SELECT sum(n) FROM (SELECT person_id, count(*) AS n FROM visits GROUP BY person_id) x": 8,
    "SELECT count(*) FROM (SELECT person_id, age, note, day FROM visits GROUP BY ALL) x": 8,
    "SELECT count(*) FROM (SELECT DISTINCT person_id, city FROM visits) x": 4,
    "SELECT count(*) FROM (SELECT age FROM visits QUALIFY row_number() OVER (PARTITION BY person_id ORDER BY day) <= 3) x": 3,
    "SELECT count(*) FROM (SELECT row_number() OVER (PARTITION BY person_id) AS rn FROM visits) x WHERE rn < 3": 2,
    "SELECT count(*) FROM (SELECT row_number() OVER (PARTITION BY person_id, age) AS rn FROM visits) x WHERE rn = 1": 8,
    "SELECT sum(s) FROM (SELECT sum(age) OVER (PARTITION BY person_id) AS s FROM visits) x": 8 * 8 * 120,
}


@pytest.mark.parametrize("sql", BOUNDED)
def test_one_person_counts_as_far_as_is_stated(versions: Versions, sql: str) -> None:  # noqa: F811
    plan = compile_query(sql, versions.facts)
    (cell,) = town.exact(versions.files["one person"], plan)
    (statistic,) = plan.statistics
    assert cell[0] ** 2 <= statistic.bound_squared  # type: ignore[operator]
    assert statistic.bound_squared == int(BOUNDED[sql] / statistic.step) ** 2


#: The same rows are looked for in many ways; nobody may learn from the number of rows of an answer whether there are any.
EMPTY = (
    "SELECT count(*), avg(amount) FROM (SELECT * FROM visits WHERE note = '张三') x",
    "SELECT count(*), avg(n) FROM (SELECT person_id, count(*) AS n FROM visits GROUP BY person_id HAVING min(note) = '张三') x",
    "SELECT count(*) FROM visits v WHERE EXISTS (SELECT 1 FROM visits w WHERE w.person_id = v.person_id AND w.note = '张三')",
    "SELECT count(*), avg(w.wage) FROM visits v LEFT JOIN wages w ON v.person_id = w.person_id WHERE w.wage IS NULL",
    "SELECT count(*) FROM visits WHERE person_id NOT IN (SELECT person_id FROM visits)",
    "SELECT city, count(*) FROM (SELECT DISTINCT person_id, city FROM visits WHERE age = 120) x GROUP BY city",
    "SELECT n, count(*) FROM (SELECT person_id, count(*) AS n FROM visits GROUP BY person_id) x GROUP BY n",
    "SELECT rn, count(*) FROM (SELECT row_number() OVER (PARTITION BY person_id ORDER BY day) AS rn FROM visits) x GROUP BY rn",
)


@pytest.mark.parametrize("sql", EMPTY)
def test_an_empty_relation_has_the_shape_of_any_other(versions: Versions, sql: str) -> None:  # noqa: F811
    found = versions.answers(sql)
    assert len({shape(a) for a in found.values()}) == 1
    assert len({len(a.rows) for a in found.values()}) == 1


@pytest.mark.parametrize("expression", FAILING_ROWS)
def test_an_expression_that_fails_in_a_subquery_fails_nobody(versions: Versions, expression: str) -> None:  # noqa: F811
    """Whichever layer it stands in, and wherever DuckDB moves it: a row has no value, and no question fails."""
    cut = f"least(greatest({expression}, -9), 9)"
    for relation in (
        f"(SELECT {expression} AS a, {cut} AS b FROM visits WHERE {expression} > 0 OR {expression} <= 0) x WHERE a > 1 OR b < 5",
        f"(SELECT max({expression}) AS a, sum({cut}) AS b FROM visits GROUP BY person_id, {expression} "
        f"HAVING min({expression}) > 0 OR avg({cut}) < 5) x",
        f"(SELECT lag({expression}) OVER (PARTITION BY person_id, {expression} ORDER BY {expression}) AS a, "
        f"sum({cut}) OVER (PARTITION BY person_id) AS b FROM visits "
        f"QUALIFY max({expression}) OVER (PARTITION BY person_id) > 0 OR {expression} > 0) x",
        f"(SELECT DISTINCT person_id, {expression} AS a, {cut} AS b FROM visits UNION ALL "
        f"SELECT person_id, {expression} AS a, {cut} AS b FROM visits) x",
        f"(SELECT v.person_id, {cut} AS b, 1 AS a FROM visits v "
        f"JOIN wages w ON v.person_id = w.person_id AND {expression} > w.wage "
        f"WHERE NOT EXISTS (SELECT 1 FROM wages e WHERE e.person_id = v.person_id AND {expression} > e.wage)"
        f" AND ({expression} IN (SELECT population FROM places) OR {expression} IS NULL)) x",
    ):
        plan = compiled(f"SELECT count(*), sum(b), count(a), count_if(a > 1) FROM {relation}", versions.facts)
        assert plan is not None or "split_part" in expression, "only what cuts a text again and again is too much"
        assert plan is None or len({shape(a) for a in versions.extremes(plan)}) == 1


_TWICE = "WITH a0 AS (SELECT person_id, age, note FROM visits)" + "".join(
    f", a{i} AS (SELECT x.person_id, x.age, x.note || y.note AS note FROM a{i - 1} x JOIN a{i - 1} y USING (person_id))"
    for i in range(1, 30)
)
STALLING = {
    "names used twice": f"{_TWICE} SELECT count(*) FROM a29",
    "names that nobody uses": f"{_TWICE} SELECT count(*) FROM visits",
    "unions used twice": "WITH a0 AS (SELECT age FROM visits)"
    + "".join(f", a{i} AS (SELECT * FROM a{i - 1} UNION ALL SELECT * FROM a{i - 1})" for i in range(1, 60))
    + " SELECT count(*) FROM a59",
    "a chain of names": "WITH a0 AS (SELECT age FROM visits)"
    + "".join(f", a{i} AS (SELECT age FROM a{i - 1})" for i in range(1, 1_500))
    + " SELECT count(*) FROM a1499",
    "a chain of unions": "SELECT count(*) FROM (SELECT age FROM visits" + " UNION ALL SELECT age FROM visits" * 140 + ") x",
    "brackets in FROM": "SELECT count(*) FROM " + "(SELECT * FROM " * 19 + "visits" + ") x" * 19,
    "EXISTS in EXISTS": "SELECT count(*) FROM visits v0 WHERE "
    + "".join(f"EXISTS (SELECT 1 FROM visits v{i} WHERE v{i}.person_id = v{i - 1}.person_id AND " for i in range(1, 19))
    + "TRUE"
    + ")" * 18,
    "many memberships": "WITH big AS (SELECT person_id FROM visits WHERE note IN ('" + "', '".join("x" * 900) + "')) "
    "SELECT count(*) FROM visits WHERE " + " OR ".join(["person_id IN (SELECT person_id FROM big)"] * 150),
    "wide stars": "WITH a AS (SELECT * FROM visits)"
    + "".join(f", {n} AS (SELECT x.*, y.* FROM {m} x JOIN {m} y USING (person_id))" for m, n in pairwise("abcdefghi"))
    + " SELECT count(*) FROM i",
    "many windows": "SELECT count(*) FROM (SELECT "
    + ", ".join(f"lag(age, {i}) OVER (PARTITION BY person_id ORDER BY day)" for i in range(600))
    + " FROM visits) x",
}  # fmt: skip


@pytest.mark.parametrize("name", STALLING)
def test_no_subquery_stalls_the_gate(name: str) -> None:
    """As for other texts: seconds at most, never a crash, and never a plan that grows beyond its question."""
    start = time.process_time()
    plan = compiled(STALLING[name], city.FACTS)
    assert plan is None or len(plan.rows_sql) < 2**21
    assert time.process_time() - start < 20


def test_texts_do_not_double_from_subquery_to_subquery() -> None:
    """A row that holds 2^30 copies of a text would tell of itself by the memory it takes."""
    doubled = "SELECT note AS t FROM visits"
    for _ in range(7):
        doubled = f"SELECT t || t AS t FROM ({doubled}) x"
    with pytest.raises(Problem) as caught:
        compile_query(f"SELECT count(t) FROM ({doubled}) x", city.FACTS)
    assert (caught.value.code, caught.value.params["limit"]) == ("sql.too_many_parts", 64)

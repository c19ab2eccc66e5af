"""GROUPING SETS, ROLLUP, CUBE, and subqueries beside aggregates: which sets they stand for, and what is asked around them."""

from __future__ import annotations

import pytest
from sqlglot import exp, parse_one

from privacy.errors import Problem
from privacy.sql import Plan, compile_query
from privacy.sql.sets import MAX_SETS, expanded, is_layered
from privacy.sql.tracked import Names
from tests.fakes.city import FACTS


def plan(sql: str) -> Plan:
    return compile_query(sql, FACTS)


def code(sql: str) -> str:
    with pytest.raises(Problem) as caught:
        compile_query(sql, FACTS)
    assert caught.value.say("en") != caught.value.say("zh-CN")
    return caught.value.code


def select(sql: str) -> exp.Select:
    found = parse_one(sql, read="duckdb")
    assert isinstance(found, exp.Select)
    return found


def sets(group: str) -> list[str]:
    """The keys of each set that GROUP BY stands for."""
    _, members = expanded(select(f"SELECT count(*) AS n FROM visits GROUP BY {group}"), Names(facts=FACTS))
    return [", ".join(k.sql() for k in m.args["group"].expressions) if m.args["group"] else "" for m in members]


@pytest.mark.parametrize(
    ("group", "expected"),
    [
        ("ROLLUP (city, dept)", ["city, dept", "city", ""]),
        ("CUBE (city, dept)", ["city, dept", "city", "dept", ""]),
        ("GROUPING SETS ((city, dept), city, (dept), ())", ["city, dept", "city", "dept", ""]),
        ("ROLLUP (city, (dept, urgent))", ["city, dept, urgent", "city", ""]),
        ("CUBE ((city, dept), urgent)", ["city, dept, urgent", "city, dept", "urgent", ""]),
        ("city, ROLLUP (dept)", ["city, dept", "city"]),
        ("(city, urgent), ROLLUP (dept)", ["city, urgent, dept", "city, urgent"]),
        ("ROLLUP (city), ROLLUP (dept)", ["city, dept", "city", "dept", ""]),
        ("GROUPING SETS (ROLLUP (city, dept), CUBE (urgent), ())", ["city, dept", "city", "", "urgent", "", ""]),
        ("GROUPING SETS (GROUPING SETS (city, dept))", ["city", "dept"]),
    ],
)
def test_sets_are_those_of_the_standard(group: str, expected: list[str]) -> None:
    assert sets(group) == expected


def test_positions_and_aliases_are_keys() -> None:
    _, members = expanded(
        select("SELECT city, month(day) AS m, count(*) AS n FROM visits GROUP BY ROLLUP (1, m)"), Names(facts=FACTS)
    )
    keys = [m.args["group"] and m.args["group"].sql() for m in members]
    assert keys == ["GROUP BY city, MONTH(day)", "GROUP BY city", None]


def test_there_are_not_too_many_sets() -> None:
    keys = ["city", "dept", "urgent", "month(day)", "year(day)"]
    assert len(plan(f"SELECT count(*) FROM visits GROUP BY CUBE ({', '.join(keys[:4])})").groupings) == MAX_SETS
    assert code(f"SELECT count(*) FROM visits GROUP BY CUBE ({', '.join(keys)})") == "sql.too_many_parts"
    assert code("SELECT count(*) FROM visits GROUP BY CUBE (city, dept, urgent), ROLLUP (1, 2)") == "sql.too_many_parts"
    assert code(f"SELECT count(*) FROM visits GROUP BY CUBE ({', '.join(['city'] * 99)})") == "sql.too_many_parts"


@pytest.mark.parametrize(
    ("sql", "layered"),
    [
        ("SELECT count(*) FROM visits GROUP BY city", False),
        ("SELECT count(*) FROM visits GROUP BY ROLLUP (city)", True),
        ("SELECT count(*), (SELECT 1) FROM visits", True),
        ("SELECT count(*) FROM visits WHERE city IN (SELECT city FROM places)", False),
        ("SELECT count(*) FILTER (WHERE city IN (SELECT city FROM places)) FROM visits", False),
        ("SELECT city, count(*) FROM visits GROUP BY city HAVING count(*) > (SELECT 1)", True),
        ("SELECT city, count(*) FROM visits GROUP BY city QUALIFY rank() OVER (ORDER BY city) > (SELECT 1)", True),
        ("SELECT city, count(*) FROM visits GROUP BY city ORDER BY (SELECT 1)", True),
    ],
)
def test_what_stands_around_its_own_groups(sql: str, layered: bool) -> None:
    assert is_layered(select(sql)) is layered


def test_a_key_that_a_set_lacks_is_null_and_still_a_key() -> None:
    found = plan(
        "SELECT city, dept, upper(city) AS c, count(*) AS n FROM visits GROUP BY GROUPING SETS ((city), (dept))"
    )
    assert [(o.name, o.is_key) for o in found.outputs] == [("city", True), ("dept", True), ("c", True), ("n", False)]


def test_names_are_those_the_asker_wrote() -> None:
    found = plan("SELECT city, count(*), avg(age) / 2, v.dept FROM visits AS v GROUP BY CUBE (city, dept)")
    assert [o.name for o in found.outputs] == ["city", "COUNT(*)", "AVG(age) / 2", "dept"]


def test_an_alias_like_our_own_names_is_the_askers() -> None:
    """Our names give way, so that ORDER BY and HAVING mean what was written."""
    found = plan(
        "SELECT city AS sets_aggregate0, count(*) AS sets__key0 FROM visits GROUP BY ROLLUP (city) "
        "ORDER BY sets__key0, sets_aggregate0"
    )
    assert [o.name for o in found.outputs] == ["sets_aggregate0", "sets__key0"]
    assert "sets___" not in found.finish_sql, "columns have numbers for names there"
    order = ["o1", "o0", "o0", "org", "rid"]
    assert found.finish_sql.endswith(f" ORDER BY {', '.join(f'{name} ASC NULLS LAST' for name in order)}")


def test_an_alias_in_having_is_what_it_stands_for() -> None:
    text = "SELECT city, count(*) AS n FROM visits GROUP BY ROLLUP (city) HAVING {} > 3"
    assert plan(text.format("n")).finish_sql == plan(text.format("(count(*))")).finish_sql


def test_windows_see_the_sets() -> None:
    found = plan(
        "SELECT city, sum(count(*)) FILTER (WHERE count(*) > 3) OVER (PARTITION BY grouping(city)) AS a, "
        "first_value(count(*) IGNORE NULLS) OVER (ORDER BY count(*)) AS b, rank() OVER (ORDER BY avg(age)) AS c "
        "FROM visits GROUP BY ROLLUP (city)"
    )
    assert found.finish_sql.count(" OVER (") == 3
    assert [s.aggregate.value for s in found.statistics] == ["count", "sum"]


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT city, age, count(*) FROM visits GROUP BY ROLLUP (city)", "sql.not_grouped"),
        ("SELECT city, v.n, count(*) AS n FROM visits AS v GROUP BY ROLLUP (city)", "sql.unknown_column"),
        ("SELECT n, count(*) AS n FROM visits GROUP BY ROLLUP (city)", "sql.unknown_column"),
        ("SELECT * FROM visits GROUP BY ROLLUP (city)", "sql.unsupported"),
        ("SELECT city FROM visits GROUP BY ROLLUP (city)", "sql.no_aggregate"),
        ("SELECT person_id, count(*) FROM visits GROUP BY ROLLUP (person_id)", "sql.unit_column"),
        ("SELECT count(*), max(person_id) FROM visits GROUP BY ROLLUP (city)", "sql.unit_column"),
        ("SELECT grouping(), count(*) FROM visits GROUP BY ROLLUP (city)", "sql.syntax"),
        ("SELECT grouping(city, age), count(*) FROM visits GROUP BY ROLLUP (city)", "sql.unsupported"),
        ("SELECT grouping(city), count(*) FROM visits GROUP BY city", "sql.unknown_aggregate"),
        ("SELECT city, count(*) FROM visits GROUP BY ROLLUP (city) HAVING rank() OVER (ORDER BY city) > 1", "sql.unsupported"),
        ("SELECT count(*) FROM visits GROUP BY ROLLUP (city, (SELECT 1))", "sql.unsupported"),
        ("SELECT count(*), (SELECT note FROM visits LIMIT 1) FROM visits", "sql.answer_beside_rows"),
        ("SELECT city, count(*), (SELECT max(population) FROM places WHERE places.city = visits.city) FROM visits GROUP BY city",
         "sql.unknown_column"),
        ("SELECT city, count(*) FROM visits GROUP BY city HAVING city IN (SELECT city FROM visits)", "sql.answer_beside_rows"),
    ],
)  # fmt: skip
def test_what_is_refused(sql: str, expected: str) -> None:
    assert code(sql) == expected


def test_rollup_of_one_unit_or_around_an_answer_is_refused_by_name() -> None:
    for sql in (
        "SELECT count(*) FROM (SELECT person_id, city, count(*) AS n FROM visits GROUP BY person_id, ROLLUP (city)) t",
        "SELECT n, count(*) FROM (SELECT city, count(*) AS n FROM visits GROUP BY city) t GROUP BY ROLLUP (n)",
    ):
        with pytest.raises(Problem) as caught:
            plan(sql)
        assert caught.value.say("en").startswith("ROLLUP is not accepted")

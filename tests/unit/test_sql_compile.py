"""The gate as a whole: the same question is the same plan, another question another, and limits hold."""

from __future__ import annotations

import sys
from dataclasses import replace
from datetime import date

import pytest

from privacy.facts import ColumnFacts, Kind
from privacy.sql.compile import (
    MAX_CELLS,
    MAX_JOINED_TEXTS,
    MAX_KEYS,
    MAX_KEYS_OF_A_UNIT,
    MAX_OUTPUTS,
    MAX_STATISTICS,
    RULES,
)
from privacy.sql.parse import parse_select
from privacy.sql.plan import Aggregate, Key
from privacy.sql.texts import growth
from tests.fakes.ward import FACTS, VISITS, plan, refused, with_columns

QUESTION = "SELECT city, count(*) AS n FROM visits WHERE age > 30 GROUP BY city ORDER BY n DESC LIMIT 3"


@pytest.mark.parametrize(
    "variant",
    [
        "select city, COUNT(*) as n from visits where age > 30 group by city order by n desc limit 3",
        "SELECT\n\tcity ,count( * )  AS n\r\nFROM visits WHERE age>30 GROUP BY city ORDER BY n DESC LIMIT 3 ;",
        "/**/SELECT city, count(*) n -- cities\nFROM visits WHERE age > /* adults */ 30 GROUP BY city ORDER BY n DESC LIMIT 3",
        "SELECT city, count(*) n FROM visits WHERE age > 30 GROUP BY city ORDER BY n DESC LIMIT 3",
    ],
)
def test_white_space_comments_and_keyword_case_make_no_other_question(variant):
    assert plan(variant) == plan(QUESTION)
    assert plan(variant).digest() == plan(QUESTION).digest()


@pytest.mark.parametrize(
    "other",
    [
        QUESTION.replace("30", "31"),
        QUESTION.replace("age", "level"),
        QUESTION.replace("DESC", "ASC"),
        QUESTION.replace("LIMIT 3", "LIMIT 4"),
        QUESTION.replace(" LIMIT 3", ""),
        QUESTION.replace("count(*)", "count(DISTINCT person_id)"),
        QUESTION.replace("AS n", "AS m").replace("BY n", "BY m"),
        QUESTION.replace(">", ">="),
        QUESTION.replace("city", "level"),
        QUESTION.replace("city", "'City' || city"),
    ],
)
def test_another_question_has_another_digest(other):
    assert plan(other).digest() != plan(QUESTION).digest()


def test_other_facts_make_another_plan_of_the_same_text():
    for facts in (replace(FACTS, min_units=5), replace(FACTS, name="b"), replace(FACTS, tables=FACTS.tables[::-1])):
        assert plan(QUESTION, facts).digest() != plan(QUESTION).digest()


def test_a_plan_says_what_it_was_made_of():
    found = plan("SELECT count(*) FROM places JOIN visits USING (city)")
    assert found.question == "SELECT COUNT(*) FROM places JOIN visits USING (city)"
    assert found.facts_digest == FACTS.digest()
    assert (found.unit, found.tables) == ("person", ("visits", "places"))
    assert (found.max_rows, found.max_keys, found.min_units) == (4, 4, 0)
    assert (found.keys, found.cells, found.selects_keys) == ((), 1, False)


def keys(group: str, select: str = "") -> list[tuple[Kind, object]]:
    return [(k.kind, k.domain) for k in plan(f"SELECT {select}count(*) FROM visits GROUP BY {group}").keys]


@pytest.mark.parametrize(
    ("group", "found"),
    [
        ("city", [(Kind.TEXT, ("东", "西"))]),
        ("urgent", [(Kind.BOOLEAN, (False, True, None))]),
        ("level, city", [(Kind.INTEGER, (1, 2, 3)), (Kind.TEXT, ("东", "西"))]),
        ("city, visits.city, (city)", [(Kind.TEXT, ("东", "西"))]),
        ("rate", [(Kind.NUMBER, (0.25, 1.0))]),
        ("age", [(Kind.INTEGER, None)]),
        ("age // 40", [(Kind.INTEGER, (0, 1, 2, 3))]),
        ("grade + 0", [(Kind.INTEGER, (-2, -1, 0, 1, 2, 3, None))]),
        ("age > 30", [(Kind.BOOLEAN, (False, True))]),
        ("year(day)", [(Kind.INTEGER, (2023, 2024))]),
        ("date_trunc('year', day)", [(Kind.DATE, (date(2023, 1, 1), date(2024, 1, 1)))]),
        ("CASE WHEN age < 18 THEN '少' ELSE '成' END", [(Kind.TEXT, ("少", "成"))]),
        ("dept", [(Kind.TEXT, None)]),
        ("city, dept", [(Kind.TEXT, None), (Kind.TEXT, None)]),
        ("stock", [(Kind.INTEGER, None)]),
        ("NULL", [(Kind.TEXT, (None,))]),
    ],
)
def test_keys_are_public_when_listed_or_few(group, found):
    assert keys(group) == found


def test_one_private_key_makes_all_keys_private():
    found = plan("SELECT city, dept, count(*) FROM visits GROUP BY ALL")
    assert found.selects_keys
    assert found.cells is None
    assert [s.aggregate for s in found.statistics] == [Aggregate.COUNT, Aggregate.WEIGHT]


@pytest.mark.parametrize(
    "text",
    [
        "SELECT city, count(*) FROM visits GROUP BY city",
        "SELECT city, count(*) FROM visits GROUP BY 1",
        "SELECT city, count(*) FROM visits GROUP BY ALL",
    ],
)
def test_the_ways_to_name_a_key_are_one(text):
    found = plan(text)
    assert found.rows_sql == plan("SELECT city, count(*) FROM visits GROUP BY visits.city").rows_sql
    assert found.keys == (Key(name="k0", kind=Kind.TEXT, domain=("东", "西")),)


def test_an_alias_is_a_key_unless_a_column_has_its_name():
    assert keys("place", "city AS place, ") == [(Kind.TEXT, ("东", "西"))]
    assert keys("level", "level AS age, ") == [(Kind.INTEGER, (1, 2, 3))]
    refused("SELECT city AS level, count(*) FROM visits GROUP BY level", "sql.not_grouped")
    refused("SELECT city AS place, count(*) FROM visits GROUP BY nowhere", "sql.unknown_column")
    refused("SELECT city AS place, count(*) FROM visits GROUP BY visits.place", "sql.unknown_column")


@pytest.mark.parametrize(
    ("text", "code", "params"),
    [
        ("SELECT count(*) FROM visits GROUP BY 2", "sql.bad_position", {"name": "GROUP BY", "low": 1, "high": 1}),
        ("SELECT count(*) FROM visits GROUP BY 0", "sql.bad_position", {"name": "GROUP BY", "low": 1, "high": 1}),
        ("SELECT count(*) FROM visits GROUP BY 1.0", "sql.bad_position", {"name": "GROUP BY", "low": 1, "high": 1}),
        ("SELECT count(*) FROM visits GROUP BY 1000000", "sql.bad_position", {"name": "GROUP BY", "low": 1, "high": 1}),
        ("SELECT 1, count(*) FROM visits ORDER BY 3", "sql.bad_position", {"name": "ORDER BY", "low": 1, "high": 2}),
        ("SELECT count(*) FROM visits LIMIT -1", "sql.bad_position", {"name": "LIMIT", "low": 0, "high": 999_999_999}),
        ("SELECT count(*) FROM visits LIMIT '1'", "sql.bad_position", {"name": "LIMIT", "low": 0, "high": 999_999_999}),
        ("SELECT count(*) FROM visits LIMIT 1 + 1", "sql.bad_position", {"name": "LIMIT", "low": 0, "high": 999_999_999}),
        ("SELECT count(*) FROM visits LIMIT 1e3", "sql.bad_position", {"name": "LIMIT", "low": 0, "high": 999_999_999}),
        ("SELECT count(*) FROM visits OFFSET 1000000000", "sql.bad_position", {"name": "OFFSET", "low": 0, "high": 999_999_999}),
        ("SELECT city FROM visits GROUP BY city", "sql.no_aggregate", {"column": "person_id"}),
    ],
)  # fmt: skip
def test_positions_and_counts(text, code, params):
    assert refused(text, code).params == params


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("SELECT count(*) FROM visits WHERE count(*) > 1", "sql.misplaced_aggregate"),
        ("SELECT count(*) FROM visits WHERE age", "sql.type_mismatch"),
        ("SELECT count(*) FROM visits GROUP BY 1", "sql.misplaced_aggregate"),
        ("SELECT count(*) FROM visits GROUP BY person_id", "sql.unit_column"),
        ("SELECT *, count(*) FROM visits", "sql.unsupported"),
        ("SELECT visits.*, count(*) FROM visits", "sql.unknown_column"),
        ("FROM visits", "sql.unsupported"),
        ("SELECT count(*) FROM visits GROUP BY", "sql.unsupported"),
        ("SELECT count(*) FROM visits GROUP BY city WITH ROLLUP", "sql.unsupported"),
    ],
)
def test_what_no_clause_accepts(text, code):
    refused(text, code)


def test_too_many_of_anything_is_refused():
    columns = [ColumnFacts(name=f"c{i}", kind=Kind.BOOLEAN) for i in range(MAX_KEYS + 2)]
    facts = with_columns(*columns)
    listed = ", ".join(f"c{i}" for i in range(MAX_KEYS))
    assert plan(f"SELECT count(*) FROM t GROUP BY {listed}", facts).cells == 2**MAX_KEYS
    problem = refused(f"SELECT count(*) FROM t GROUP BY {listed}, c{MAX_KEYS}", "sql.too_many_parts", facts)
    assert problem.say("zh-CN") == f"该问题有 {MAX_KEYS + 1} 个分组键，最多允许 {MAX_KEYS} 个。"

    outputs = ", ".join(["count(*)"] * MAX_OUTPUTS)
    assert len(plan(f"SELECT {outputs} FROM visits").outputs) == MAX_OUTPUTS
    assert refused(f"SELECT {outputs}, 1 FROM visits", "sql.too_many_parts").params["count"] == MAX_OUTPUTS + 1

    counts = ", ".join(f"count_if(age > {i})" for i in range(MAX_STATISTICS))
    assert len(plan(f"SELECT {counts} FROM visits").statistics) == MAX_STATISTICS
    refused(f"SELECT {counts} FROM visits GROUP BY dept", "sql.too_many_parts")

    joined = " || ".join(["dept"] * (MAX_JOINED_TEXTS // 2 + 1))
    assert plan(f"SELECT count({joined}) FROM visits").statistics
    assert (
        refused(f"SELECT count({joined} || dept) FROM visits", "sql.too_many_parts").params["limit"] == MAX_JOINED_TEXTS
    )


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("dept", 1),
        ("dept || 'a' || dept", 4),
        ("concat(dept, 'a', dept)", 3),
        ("concat_ws('-', dept, city)", 6),
        ("split_part(dept, '-', 1)", 8),
        ("replace(dept, 'ab', 'c')", 1),
        ("replace(dept, 'a', 'bcd')", 3),
        ("replace(dept, '', 'bc')", 2),
        ("replace(replace(dept || 'x', '市', 'shi'), 'a', 'bb')", 4),
        ("regexp_replace(dept, 'a', '')", 1),
        ("regexp_replace(dept, 'a', 'bc')", 3),
        ("replace(" * 18 + "dept" + ", 'a', 'bbbb')" * 18, 10**9),
    ],
)
def test_how_long_texts_can_become(text, count):
    assert growth(parse_select(f"SELECT {text} FROM visits")) == count


def test_selects_that_read_each_other_multiply():
    assert growth(parse_select("SELECT a || a, (SELECT b || b || b FROM t) FROM t")) == 8


def test_too_many_cells_are_refused_and_the_limit_itself_is_not():
    refused("SELECT count(*) FROM visits GROUP BY date_trunc('day', day), age + 0, city", "sql.too_many_cells")
    facts = with_columns(*(ColumnFacts(name=f"c{i}", kind=Kind.BOOLEAN, nullable=True) for i in range(11)))
    names = [f"c{i}" for i in range(11)]
    assert plan(f"SELECT count(*) FROM t GROUP BY {', '.join(names[:10])}", facts).cells == 3**10
    problem = refused(f"SELECT count(*) FROM t GROUP BY {', '.join(names)}", "sql.too_many_cells", facts)
    assert problem.params == {"count": 3**11, "limit": MAX_CELLS}


def test_the_minimum_of_units_asks_for_units_once():
    least = replace(FACTS, min_units=10)
    assert [s.aggregate for s in plan("SELECT count(*) FROM visits", least).statistics] == [
        Aggregate.COUNT,
        Aggregate.UNITS,
    ]
    counted = plan("SELECT count(DISTINCT person_id) FROM visits GROUP BY dept", least)
    assert [s.aggregate for s in counted.statistics] == [Aggregate.UNITS, Aggregate.WEIGHT]
    assert (counted.min_units, sum(s.share for s in counted.statistics)) == (10, 1)


def test_a_unit_keeps_no_more_keys_than_its_rows_or_the_limit():
    many = replace(FACTS, tables=(replace(VISITS, max_rows=10**6),))
    text = "SELECT count(*) FROM visits GROUP BY dept"
    assert plan(text, many).max_keys == MAX_KEYS_OF_A_UNIT
    assert plan(text).max_keys == 4


def test_the_finishing_text_computes_each_column_once_and_orders_by_name():
    found = plan(
        "SELECT city, count(*) AS n, avg(age) FROM visits GROUP BY city HAVING n > 3 "
        "ORDER BY 3, n DESC NULLS FIRST, count(*) + 1 LIMIT 2 OFFSET 1"
    )
    mean = "(CASE WHEN s0 >= 0.5 THEN greatest(0.0::DOUBLE, least(120.0::DOUBLE, 60.0::DOUBLE + s1::DOUBLE / s0)) END)"
    assert found.finish_sql == (
        f"SELECT cell, o0, o1, o2 FROM (SELECT *, TRY(k0) AS o0, TRY(s0) AS o1, TRY({mean}) AS o2 FROM noisy) "
        "WHERE TRY((o1 > 3::BIGINT)) "
        "ORDER BY o2 ASC NULLS LAST, o1 DESC NULLS FIRST, TRY(TRY((s0 + 1::BIGINT))) ASC NULLS LAST, k0 ASC NULLS LAST "
        "LIMIT 2 OFFSET 1"
    )


def test_only_derived_numbers_are_redrawn():
    assert plan("SELECT city, count(*), sum(age) FROM visits GROUP BY city").spread_sql == ""
    assert plan("SELECT count(*) > 1, count(*) FROM visits").spread_sql == ""
    found = plan("SELECT city, count(*), sum(age) / count(*) FROM visits GROUP BY city").spread_sql
    assert found == (
        "WITH drawn AS (SELECT n.cell, n.k0, TRY_CAST(n.s0 + z.s0 * c.s0 AS BIGINT) AS s0, "
        "TRY_CAST(n.s1 + z.s1 * c.s1 AS BIGINT) AS s1 "
        "FROM noisy AS n CROSS JOIN normals AS z CROSS JOIN scales AS c), "
        "derived AS (SELECT cell, TRY(CAST((s1 / s0) AS DOUBLE)) AS o2 FROM drawn) "
        "SELECT cell, quantile_cont(o2, 0.025) FILTER (WHERE isfinite(o2)), quantile_cont(o2, 0.975) FILTER (WHERE isfinite(o2)) "
        "FROM derived GROUP BY cell"
    )


def test_columns_know_whether_they_are_keys_statistics_or_averages():
    found = plan(
        "SELECT city, (count(*)), sum(age) AS 总和, avg(age), avg(age) / 2, city || '!' FROM visits GROUP BY city"
    )
    assert [(o.name, o.is_key, o.statistic, o.average is not None) for o in found.outputs] == [
        ("city", True, None, False),
        ("(COUNT(*))", False, "s0", False),
        ("总和", False, "s1", False),
        ("AVG(age)", False, None, True),
        ("AVG(age) / 2", False, None, False),
        ("city || '!'", True, None, False),
    ]


@pytest.mark.parametrize(
    ("group", "sql"),
    [
        ("day", 't0."day"'),
        (
            "born",
            'TRY(CASE WHEN t0."born" >= DATE \'0001-01-01\' AND t0."born" < DATE \'9999-12-31\' THEN t0."born" END)',
        ),
        ("upper(dept)", 'TRY(upper(CAST(t0."dept" AS VARCHAR)))'),
    ],
)
def test_keys_are_carried_as_something_that_can_be_shown(group, sql):
    assert f"{sql} AS k0" in plan(f"SELECT count(*) FROM visits GROUP BY {group}").rows_sql


def test_a_computed_number_is_a_key_only_when_it_is_finite():
    text = plan("SELECT count(*) FROM visits GROUP BY score / 3").rows_sql
    assert "CASE WHEN isfinite(((" in text
    assert text.index("isfinite") < text.index(" AS k0")


def test_a_question_deeper_than_the_stack_is_refused_not_broken():
    """A host may run us with less stack than Python's default."""
    deep = "SELECT count(*) FROM visits WHERE urgent" + "::BOOLEAN" * 150
    assert plan(deep).statistics
    limit = sys.getrecursionlimit()
    try:
        sys.setrecursionlimit(400)
        problem = refused(deep, "sql.too_deep")
    finally:
        sys.setrecursionlimit(limit)
    assert isinstance(problem.__cause__, RecursionError)


def test_the_rules_are_small_named_functions_in_a_fixed_order():
    names = [rule.__name__ for rule in RULES]
    assert names[-1] == "bounded_statistics"
    assert names.index("tracked_relation") < names.index("row_filter") < names.index("grouping_keys")
    assert all(rule.__doc__ for rule in RULES)

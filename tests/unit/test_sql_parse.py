"""Reading the text: one SELECT, understood whole; everything else is refused by name and place."""

from __future__ import annotations

import pytest
from sqlglot import exp

from privacy.sql.parse import (
    MAX_DEPTH,
    MAX_LENGTH,
    MAX_NODES,
    MAX_TREE,
    NOWHERE,
    parse_select,
    require_arguments,
    where_of,
)
from tests.fakes.ward import node, refusal, term

FROM = "SELECT count(*) FROM visits"


@pytest.mark.parametrize(
    "text",
    [
        FROM,
        f"{FROM};",
        f";; {FROM} -- a comment",
        f"/* a */ {FROM} WHERE a > 1 GROUP BY ALL HAVING b ORDER BY c DESC NULLS LAST LIMIT 1 OFFSET 2",
        "FROM visits SELECT count(*)",
        "SELECT DISTINCT a FROM t QUALIFY rank() OVER (PARTITION BY a ORDER BY b) = 1",
        "SELECT count(*) FROM a LEFT OUTER JOIN b USING (x, y) INNER JOIN c AS d ON d.x = a.x",
    ],
)
def test_one_select_of_known_clauses_is_read(text):
    assert isinstance(parse_select(text), exp.Select)


@pytest.mark.parametrize(("text", "count"), [("", 0), (" ; ;", 0), ("-- nothing", 0), (f"{FROM}; {FROM}; ", 2)])
def test_a_question_is_exactly_one_statement(text, count):
    assert refusal(lambda: parse_select(text), "sql.one_statement").params == {"count": count}


@pytest.mark.parametrize(
    ("text", "line", "column", "near"),
    [
        ("SELECT count(*) FROM visits)", 1, 28, ")"),
        ("SELECT count(*)\n  FROM", 2, 6, "FROM"),
        ("SELECT 'abc", 1, 1, "SELECT 'abc"),
        ("SELECT 1 + FROM visits", 1, 15, "FROM"),
        ("SELECT a\0 FROM t", 1, 9, "�"),
        ("SELECT 1,\n '\ud800' FROM t", 2, 3, "�"),
        ("SELECT " + "x" * 60 + " y z FROM t", 1, 71, "z"),
        ("SELECT NOT FROM visits", 1, 15, "FROM"),
        ("SELECT count(*) FROM visits WHERE @ = 3", 1, 1, "SELECT count(*) FROM"),
    ],
)
def test_text_that_is_no_sql_is_refused_where_it_stops_making_sense(text, line, column, near):
    problem = refusal(lambda: parse_select(text), "sql.syntax")
    assert problem.params == {"line": line, "column": column, "near": near}


def test_length_is_limited_before_anything_is_read():
    assert parse_select(FROM + " " * (MAX_LENGTH - len(FROM)))
    problem = refusal(lambda: parse_select("(" * (MAX_LENGTH + 1)), "sql.too_long")
    assert problem.params == {"length": MAX_LENGTH + 1, "limit": MAX_LENGTH}


@pytest.mark.parametrize("pair", ["()", "[]"])
def test_brackets_are_counted_before_anything_is_parsed(pair):
    nested = f"SELECT {pair[0] * (MAX_DEPTH + 1)}1{pair[1] * (MAX_DEPTH + 1)} FROM t"
    assert refusal(lambda: parse_select(nested), "sql.too_deep").params == {"limit": MAX_DEPTH}
    assert parse_select(f"SELECT {pair[0] * MAX_DEPTH}1{pair[1] * MAX_DEPTH}, (1) FROM t")


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("SELECT " + "- " * MAX_TREE + "1 FROM t", MAX_TREE),
        ("SELECT a" + " + a" * MAX_TREE + " FROM t", MAX_TREE),
        ("SELECT " + ", ".join(["1"] * MAX_NODES) + " FROM t", MAX_TREE),
        ("SELECT " + "NOT " * 5000 + "TRUE FROM t", MAX_DEPTH),
    ],
)
def test_deep_or_large_trees_are_refused_before_anything_recurses_over_them(text, limit):
    assert refusal(lambda: parse_select(text), "sql.too_deep").params == {"limit": limit}


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("SELECT DISTINCT ON (city) city FROM visits", "DISTINCT ON"),
        (f"{FROM} WINDOW w AS ()", "WINDOW"),
        (f"{FROM} USING SAMPLE 10%", "SAMPLE"),
        (f"{FROM} TABLESAMPLE 10%", "SAMPLE"),
        ("SELECT count(*) INTO x FROM visits", "INTO"),
        (f"{FROM} PIVOT (count(*) FOR city IN ('a'))", "PIVOT"),
        ("SELECT count(*) FROM main.visits", "a schema before a table's name"),
        ("SELECT count(*) FROM visits AS v(a, b)", "a column list behind a table's alias"),
        (f"{FROM} NATURAL JOIN places", "this kind of join (NATURAL, ASOF, POSITIONAL)"),
        (f"{FROM} ASOF JOIN places USING (city)", "this kind of join (NATURAL, ASOF, POSITIONAL)"),
        (f"{FROM} LIMIT 10%", "LIMIT with a percentage"),
        (f"{FROM} FOR UPDATE", "LOCKS"),
        ("(SELECT count(*) FROM visits)", "a SELECT in brackets"),
        ("SELECT 1 UNION SELECT 2", "combining SELECTs (UNION, INTERSECT, EXCEPT)"),
        ("SELECT 1 EXCEPT ALL SELECT 2", "combining SELECTs (UNION, INTERSECT, EXCEPT)"),
        ("DROP TABLE visits", "the statement DROP"),
        ("INSERT INTO visits SELECT 1", "the statement INSERT"),
        ("ATTACH 'x.db' AS x", "the statement ATTACH"),
        ("SET threads = 1", "the statement SET"),
        ("PRAGMA table_info('visits')", "the statement PRAGMA"),
    ],
)
def test_a_clause_or_statement_outside_the_dialect_is_named(text, named):
    problem = refusal(lambda: parse_select(text), "sql.unsupported")
    assert problem.say("en").startswith(f"{named} is not accepted")
    assert problem.say("zh-CN").startswith("不支持 ")
    assert problem.advise("en")
    assert problem.advise("zh-CN")


def test_advice_fits_the_clause():
    advice = refusal(lambda: parse_select("SELECT DISTINCT ON (a) a FROM t"), "sql.unsupported").advise("en")
    assert advice == "Write QUALIFY row_number() OVER (…) = 1."


@pytest.mark.parametrize(
    ("text", "line", "column"),
    [("age", 1, 8), ("\n\n  age", 3, 3), ("a . longer_name", 1, 12), ("  '引号'", 1, 10), ("1 + 甲乙丙", 1, 12)],
)
def test_a_position_counts_lines_and_columns_from_one(text, line, column):
    found = node(text)
    found = found.expression if isinstance(found, exp.Add) else found
    assert where_of(found).en == f" (line {line}, column {column})"
    assert where_of(found).zh == f"（第 {line} 行第 {column} 列）"


def test_a_node_of_ours_stands_nowhere():
    assert where_of(exp.column("x")) == NOWHERE
    assert where_of(exp.true()).en == ""


def test_arguments_that_are_not_listed_are_refused_and_silent_ones_are_not():
    require_arguments(node("cast(age AS BIGINT)"), "this", "to")
    require_arguments(exp.Count(this=exp.Star(), big_int=True, expressions=[]), "this")
    problem = refusal(lambda: require_arguments(node("trim(city, 'x')"), "this"), "sql.unsupported")
    assert problem.say("en") == "TRIM … EXPRESSION is not accepted (line 1, column 19)."
    assert problem.say("zh-CN") == "不支持 TRIM … EXPRESSION（第 1 行第 19 列）。"


def test_keywords_and_names_are_read_without_case():
    assert term("CaSe WhEn Urgent THEN AGE end").sql == term("case when urgent then age END").sql

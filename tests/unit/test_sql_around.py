"""Questions around an answer: what may stand there, how rows are named and counted, and which columns are derived."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest
from sqlglot import exp

from privacy.errors import Problem
from privacy.facts import DatasetFacts, Kind, PrivacyUnit
from privacy.loss import Loss
from privacy.sql import Plan, compile_query
from privacy.sql.around import MAX_ANSWERS, MAX_PUBLIC_ROWS, Around
from privacy.sql.problems import AnswerBesideRows
from privacy.sql.small import MAX_AROUND_ROWS
from privacy.sql.tracked import Names
from tests.fakes import city
from tests.fakes.city import FACTS, PLACES

ANSWER = "SELECT city, count(*) AS n, avg(age) AS age FROM visits GROUP BY city"
PAIRS = "SELECT city, dept, count(*) AS n FROM visits GROUP BY city, dept"
T = f"FROM ({ANSWER}) AS t"


def plan(sql: str, facts: DatasetFacts = FACTS) -> Plan:
    return compile_query(sql, facts)


def code(sql: str, facts: DatasetFacts = FACTS) -> str:
    with pytest.raises(Problem) as caught:
        compile_query(sql, facts)
    assert caught.value.say("en") != caught.value.say("zh-CN")
    return caught.value.code


def columns(sql: str) -> list[tuple[str, str]]:
    """Of each column, its name and what it is."""
    found = plan(sql).outputs
    told = [o.statistic or ("average" if o.average else "derived" if o.is_redrawn else "shown") for o in found]
    return [(o.name, "key" if o.is_key else t) for o, t in zip(found, told, strict=True)]


# --- what is asked in the middle ------------------------------------------------------------------------------------------


def test_the_answer_in_the_middle_is_what_it_would_be_alone() -> None:
    """Bounds, statistics, rows, keys and price of the noise do not know what stands around them."""
    alone = compile_query(ANSWER, FACTS)
    around = plan(f"SELECT max(n) AS most {T} JOIN places USING (city) WHERE n > 5")
    same = (
        "keys",
        "statistics",
        "rows_sql",
        "coded_sql",
        "codes",
        "max_rows",
        "max_keys",
        "min_units",
        "length_share",
        "unit",
    )
    assert {n: getattr(alone, n) for n in same} == {n: getattr(around, n) for n in same}
    assert (alone.public, alone.redraw_sql, alone.around_rows) == ((), "", 0)
    assert around.tables == ("visits", "places")
    assert around.spread_sql == ""
    assert around.digest() != alone.digest()


def test_an_answer_written_twice_is_one() -> None:
    twice = f"SELECT a.n - b.n AS d FROM ({ANSWER}) a JOIN ({ANSWER}) b USING (city)"
    assert plan(twice).statistics == compile_query(ANSWER, FACTS).statistics
    assert plan(twice).also == ()
    shown_otherwise = f"SELECT a.n - b.m AS d FROM ({ANSWER}) a JOIN ({ANSWER.replace('AS n', 'AS m')}) b USING (city)"
    assert plan(shown_otherwise).also == ()


def test_different_answers_share_the_price() -> None:
    twice = f"SELECT a.n - b.n AS d FROM ({ANSWER}) a JOIN ({ANSWER}) b USING (city)"
    two = plan(twice.replace("avg(age) AS age FROM visits", "avg(age) AS age FROM visits WHERE urgent", 1))
    alone = compile_query(ANSWER, FACTS)
    assert len(two.groupings) == 2
    for grouping in two.groupings:
        assert [s.share for s in grouping.statistics] == [s.share / 2 for s in alone.statistics]
    assert sum(s.share + s.ratio_share for g in two.groupings for s in g.statistics) + sum(
        g.length_share for g in two.groupings
    ) == (1)


def test_private_keys_share_delta() -> None:
    sql = "SELECT a.n + b.n + (SELECT count(*) FROM visits) AS n FROM ({}) a JOIN ({}) b USING (code)"
    codes = "SELECT code, count(*) AS n FROM visits GROUP BY code"
    found = plan(sql.format(codes, codes.replace(" GROUP", " WHERE urgent GROUP")))
    assert found.selections == 2
    assert [g.delta_share for g in found.groupings if g.selects_keys] == [Fraction(1, 2)] * 2
    loss = Loss(10**9, 1001)
    assert sum(g.selecting(loss).delta for g in found.groupings if g.selects_keys) == 1000
    whole = sum(s.share + s.ratio_share for g in found.groupings for s in g.statistics)
    assert whole + sum(g.length_share for g in found.groupings) == 1


def test_answers_about_different_kinds_of_units_stay_apart() -> None:
    firms = replace(city.WAGES, name="firms", unit=PrivacyUnit(column="person_id", stands_for="firm", space="firm-id"))
    with pytest.raises(Problem) as caught:
        compile_query(
            "SELECT count(*) FROM visits UNION ALL SELECT count(*) FROM firms",
            replace(FACTS, tables=(*FACTS.tables, firms)),
        )
    assert caught.value.code == "sql.different_units"


def test_there_are_not_too_many_answers() -> None:
    answers = [f"(SELECT count(*) FROM visits WHERE age > {i})" for i in range(MAX_ANSWERS + 1)]
    assert len(plan(f"SELECT {' + '.join(answers[1:])} AS n").groupings) == MAX_ANSWERS
    assert code(f"SELECT {' + '.join(answers)} AS n") == "sql.too_many_parts"


def test_cells_of_all_answers_count() -> None:
    wide = "SELECT city, dept, dayofyear(day) AS d, count(*) AS n FROM visits{} GROUP BY city, dept, d"
    many = [wide.format(f" WHERE age > {i}") for i in range(MAX_ANSWERS)]
    assert code(" UNION ALL ".join(many)) == "sql.too_many_cells"


def test_names_of_with_hide_tables() -> None:
    """In its own definition a name still means the table."""
    hidden = f"WITH places AS ({ANSWER}) SELECT city, n FROM places"
    assert plan(hidden).public == ()
    assert plan(f"WITH visits AS ({ANSWER}) SELECT v.n FROM visits AS v").tables == ("visits",)
    assert (
        code(f"WITH wages AS ({ANSWER}) SELECT count(*) FROM visits JOIN wages USING (city)")
        == "sql.answer_beside_rows"
    )
    nested = f"WITH t AS ({ANSWER}) SELECT * FROM (WITH t AS (SELECT city FROM places) SELECT city FROM t) x JOIN t USING (city)"
    assert [o.name for o in plan(nested).outputs] == ["city", "n", "age"]


def test_what_with_names_is_read_though_nobody_uses_it() -> None:
    assert (
        code(f"WITH x AS (SELECT getenv('A') FROM places), t AS ({ANSWER}) SELECT n FROM t") == "sql.unknown_function"
    )
    assert code(f"WITH x AS (SELECT note FROM visits LIMIT 1), t AS ({ANSWER}) SELECT n FROM t") == "sql.unsupported"
    assert plan(f"WITH x AS (SELECT city FROM places LIMIT 1), t AS ({ANSWER}) SELECT n FROM t").tables == (
        "visits",
        "places",
    )
    assert plan(f"WITH x AS (SELECT note FROM visits), t AS ({ANSWER}) SELECT n FROM t").outputs[0].statistic == "s0"


def test_what_nobody_reads_is_not_paid() -> None:
    alone = compile_query(ANSWER, FACTS)
    for sql in (
        f"WITH x AS ({PAIRS}), t AS ({ANSWER}) SELECT n FROM t",
        f"WITH t AS ({ANSWER}), x AS ({PAIRS}) SELECT n FROM t",
        f"WITH x AS (SELECT city, dept, count(*) AS n FROM visits GROUP BY CUBE (city, dept)), t AS ({ANSWER}) SELECT n FROM t",
    ):
        found = plan(sql)
        assert (found.statistics, found.also, found.nested) == (alone.statistics, (), ())
    some = f"WITH x AS ({PAIRS}), r AS (SELECT city, count(*) AS n FROM visits GROUP BY ROLLUP (city)) SELECT city, n FROM r"
    assert plan(some).nested == (((0, (0,)), (1, ())),)


def test_tracked_rows_and_public_rows_stay_what_they_are() -> None:
    """Grouped by the unit, a subquery is no answer; a question that only reads public tables has none."""
    people = "SELECT person_id, count(*) AS n FROM visits GROUP BY person_id"
    assert plan(f"SELECT count(*) FROM ({people}) x").redraw_sql == ""
    assert code("SELECT city FROM places UNION SELECT city FROM events") == "sql.unsupported"
    assert code("SELECT avg(population) FROM places") == "sql.no_private_table"
    assert code("INSERT INTO x SELECT 1") == "sql.unsupported"
    assert code(
        f"SELECT n FROM (SELECT max(population) AS n FROM places GROUP BY city) p JOIN ({people}) v USING (n)"
    ) == ("sql.not_grouped")


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        (f"SELECT n {T} JOIN visits v USING (city)", "sql.answer_beside_rows"),
        (f"SELECT n {T} WHERE city IN (SELECT city FROM visits)", "sql.answer_beside_rows"),
        (f"SELECT (SELECT age FROM visits LIMIT 1) AS a {T}", "sql.answer_beside_rows"),
        (f"SELECT city {T} EXCEPT SELECT note FROM visits", "sql.answer_beside_rows"),
        (f"SELECT n {T} JOIN (visits JOIN wages USING (person_id)) ON TRUE", "sql.unsupported"),
        (f"SELECT n {T} JOIN (VALUES (1)) v ON TRUE", "sql.unsupported"),
        (f"SELECT n {T}, range(9) r", "sql.unsupported"),
        (f"SELECT n {T}, LATERAL (SELECT 1) r", "sql.unsupported"),
        (f"SELECT n {T} JOIN main.places USING (city)", "sql.unsupported"),
        (f"SELECT n {T} NATURAL JOIN places", "sql.unsupported"),
        (f"SELECT n {T} FULL JOIN places USING (city)", "sql.unsupported"),
        (f"SELECT n {T} SEMI JOIN places", "sql.join_needs_condition"),
        (f"SELECT n {T} LEFT JOIN places", "sql.join_needs_condition"),
        (f"SELECT n {T} JOIN elsewhere USING (city)", "sql.unknown_table"),
        (f"SELECT n {T} JOIN places USING (nothing)", "sql.unknown_column"),
        (f"SELECT p.n {T} JOIN places p USING (city)", "sql.unknown_column"),
        (f"SELECT n {T} JOIN places t ON TRUE", "sql.unsupported"),
        (f"SELECT city {T} JOIN places p ON p.city = t.city", "sql.ambiguous_column"),
        (f"SELECT n {T} JOIN places p ON p.population > (SELECT 1)", "sql.unsupported"),
        (f"SELECT n {T} JOIN places p ON p.city", "sql.type_mismatch"),
        (f"SELECT n {T} WHERE sum(n) > 1", "sql.misplaced_aggregate"),
        (f"SELECT sum(sum(n)) {T}", "sql.misplaced_aggregate"),
        (f"SELECT median(n) FILTER (WHERE sum(n) > 1) {T}", "sql.misplaced_aggregate"),
        (f"SELECT city, sum(n) {T}", "sql.not_grouped"),
        (f"SELECT mode(n) {T}", "sql.unknown_aggregate"),
        (f"SELECT string_agg(city, '') FILTER (WHERE n > 1) {T}", "sql.unknown_aggregate"),
        (f"SELECT min(DISTINCT n) {T}", "sql.unsupported"),
        (f"SELECT max(NULL) {T}", "sql.unsupported"),
        (f"SELECT count(DISTINCT (n, city)) {T}", "sql.unsupported"),
        (f"SELECT sum(DISTINCT n, age) {T}", "sql.unsupported"),
        (f"SELECT quantile_cont(n, 1.5) {T}", "sql.unsupported"),
        (f"SELECT quantile_cont(n, age) {T}", "sql.unsupported"),
        (f"SELECT n {T} WHERE city IN (SELECT city, population FROM places)", "sql.unsupported"),
        (f"SELECT n {T} WHERE (city IN (SELECT city FROM places)) = TRUE", "sql.unsupported"),
        (f"SELECT n {T} WHERE n IN (SELECT city FROM places)", "sql.type_mismatch"),
        (f"SELECT n {T} WHERE n IN (VALUES (1))", "sql.unsupported"),
        (f"WITH v AS (VALUES (1)), t AS ({ANSWER}) SELECT n FROM t", "sql.unsupported"),
        (f"SELECT (VALUES (1)) AS v {T}", "sql.unsupported"),
        (f"SELECT n - (SELECT population FROM places) AS x {T}", "sql.unsupported"),
        (f"SELECT n - (SELECT 1, 2) AS x {T}", "sql.unsupported"),
        (f"SELECT n {T} INTERSECT ALL SELECT 1", "sql.unsupported"),
        (f"SELECT n {T} UNION SELECT 1, 2", "sql.unsupported"),
        (f"SELECT city {T} UNION ALL SELECT 1", "sql.type_mismatch"),
        (f"SELECT n FROM ({ANSWER}) AS t(a, b, c, d)", "sql.unsupported"),
        (f"SELECT n {T} LIMIT 10%", "sql.unsupported"),
        (f"SELECT n {T} GROUP BY ROLLUP (n)", "sql.unsupported"),
        (f"SELECT DISTINCT ON (n) n {T}", "sql.unsupported"),
        (f"SELECT n FROM ({ANSWER} USING SAMPLE 10%) t", "sql.unsupported"),
        (f"SELECT n FROM (PIVOT places ON city) p JOIN ({ANSWER}) t ON TRUE", "sql.unsupported"),
        (f"SELECT {', '.join(['n'] * 101)} {T}", "sql.too_many_parts"),
    ],
)
def test_what_is_not_understood_around_an_answer_is_refused_by_name(sql: str, expected: str) -> None:
    assert code(sql) == expected


# --- which columns are keys, statistics, derived ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        (f"SELECT * {T}", [("city", "key"), ("n", "s0"), ("age", "average")]),
        (f"SELECT upper(city) AS c, n AS m, n + 1 AS more, n > 5 AS big {T}", ["key", "s0", "derived", "shown"]),
        (f"SELECT n FROM (SELECT n AS n FROM (SELECT t.n {T}) a) b", ["s0"]),
        (f"SELECT n {T} UNION ALL SELECT n {T}", ["s0"]),
        (f"SELECT n {T} UNION SELECT n {T}", ["derived"]),
        (f"SELECT 省份, population, sum(n) {T} JOIN places USING (city) GROUP BY 1, 2", ["key", "key", "derived"]),
        (f"SELECT n > 5 AS big, count(*) {T} GROUP BY big", ["key", "derived"]),
        (f"SELECT population, (SELECT max(population) FROM places) AS p, (SELECT max(n) {T}) AS m FROM places",
         ["key", "key", "derived"]),
        (f"SELECT city, sum(n) / (SELECT max(tier) FROM places) AS m, (SELECT 1) AS o, (SELECT max(n) {T}) {T} GROUP BY city",
         ["key", "derived", "key", "derived"]),
        (f"SELECT rank() OVER (ORDER BY n) AS r, 1 AS one {T}", ["derived", "key"]),
        (f"SELECT p.city, t.city, n FROM places p LEFT JOIN ({ANSWER}) t USING (city)", ["key", "shown", "s0"]),
        (f"SELECT t.city, p.population {T} LEFT JOIN places p USING (city)", ["key", "key"]),
        (f"SELECT x.c {T} JOIN (SELECT city, count(*) AS c FROM places GROUP BY city) x USING (city)", ["key"]),
        (f"SELECT NULL AS nothing, city {T} UNION ALL SELECT NULL, NULL", ["key", "key"]),
    ],
)  # fmt: skip
def test_columns_are_keys_as_far_as_their_row_is_named_by_them(sql: str, expected: list[object]) -> None:
    found = columns(sql)
    assert (found if isinstance(expected[0], tuple) else [kind for _, kind in found]) == expected


def test_kinds_follow_the_expression() -> None:
    sql = f"SELECT min(city), max(n), sum(n), sum(age), bool_or(n > 1), median(n), count_if(n > 1), NULL AS x {T}"
    kinds = [Kind.TEXT, Kind.INTEGER, Kind.INTEGER, Kind.NUMBER, Kind.BOOLEAN, Kind.NUMBER, Kind.INTEGER, Kind.TEXT]
    assert [o.kind for o in plan(sql).outputs] == kinds


def test_no_text_is_drawn_again_where_nothing_is_derived() -> None:
    assert plan(f"SELECT city, n {T} WHERE n > 5 ORDER BY n").redraw_sql == ""
    assert "hash(n.cell, z.draw // 2, 1)" in plan(f"SELECT n + 1 AS m {T}").redraw_sql


def test_the_noise_that_is_drawn_again_has_the_type_of_the_answer() -> None:
    """Whole numbers stay whole, so that text that is right for one is right for the other; weights carry no noise to draw."""
    sql = "SELECT a + n + f AS x FROM (SELECT code, count(*) AS n, sum(amount) AS a, sum(fee) AS f FROM visits GROUP BY code) t"
    text = plan(sql).redraw_sql
    assert [f"AS {kind}) AS s{i}" in text for i, kind in ((0, "BIGINT"), (2, "HUGEINT"))] == [True, True]
    assert "AS s1" in text
    assert "n.s3 FROM cells" in text


def test_rows_that_the_last_clauses_leave_out_are_drawn_again_all_the_same() -> None:
    chosen = plan(f"SELECT n * 2 AS m {T} SEMI JOIN places USING (city) WHERE n > 777 ORDER BY m LIMIT 3")
    assert [p in chosen.finish_sql for p in ("777", "LIMIT 3", "SEMI JOIN")] == [True, True, True]
    assert [p in chosen.redraw_sql for p in ("777", "LIMIT 3", "SEMI JOIN")] == [False, False, False]
    inner = plan(f"SELECT n * 2 AS m FROM ({ANSWER} HAVING count(*) > 777 ORDER BY n LIMIT 3) t")
    assert "777" not in inner.redraw_sql
    for text in ("sum(n)", "sum(n) OVER ()", "DISTINCT n * 2"):
        assert "777" in plan(f"SELECT {text} AS m {T} WHERE n > 777").redraw_sql
    optional = plan(f"SELECT coalesce(n, 0) AS m FROM places LEFT JOIN ({ANSWER} LIMIT 3) t USING (city)")
    assert "LIMIT 3" in optional.redraw_sql


def test_a_row_is_named_by_what_it_is_made_of() -> None:
    assert "hash(t0.cell, t1.rid) AS rid" in plan(f"SELECT n {T}, places").finish_sql
    assert "t0.rid AS rid" in plan(f"SELECT n FROM places LEFT JOIN ({ANSWER}) t USING (city)").finish_sql
    many = plan(f"SELECT n FROM places p LEFT JOIN ({PAIRS}) t USING (city)").finish_sql
    assert "hash(t0.rid, t1.cell) AS rid" in many
    assert "hash(g0, g1) AS rid" in plan(f"SELECT 1 {T} GROUP BY city, n").finish_sql
    assert "SELECT 0 AS rid" in plan(f"SELECT count(*) {T}").finish_sql


# --- how many rows --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sql", "rows"),
    [
        (f"SELECT n {T}", 4 + 4),
        (f"SELECT n {T} LIMIT 2", 4 + 4),
        (f"SELECT n {T} JOIN places USING (city)", 4 + 5 + 4),
        (f"SELECT n {T} JOIN places p ON p.city = upper(t.city)", 4 + 5 + 4),
        (f"SELECT n {T} JOIN events USING (city)", 4 + 6 + 8),
        (f"SELECT n {T}, events e WHERE e.city = t.city", 4 + 6 + 8),
        (f"SELECT n {T} LEFT JOIN events e ON e.city = 'x' AND e.held > DATE '2024-01-01'", 4 + 6 + 8),
        (f"SELECT n {T}, events", 4 + 6 + 24),
        (f"SELECT n {T} JOIN events ON n = level + 0", 4 + 6 + 24),
        (f"SELECT n {T} SEMI JOIN events USING (city)", 4 + 6 + 4),
        (f"SELECT a.n FROM ({PAIRS}) a JOIN ({PAIRS}) b USING (city, dept)", 20 + 20 + 20),
        (f"SELECT a.n FROM ({PAIRS}) a JOIN ({PAIRS}) b USING (city)", 20 + 20 + 100),
        (f"SELECT a.n FROM ({PAIRS}) a JOIN (SELECT city, 1 FROM ({PAIRS}) c GROUP BY city) b USING (city)", 20 + 60 + 20),
        (f"SELECT a.n FROM ({PAIRS}) a JOIN (SELECT * FROM ({PAIRS}) c) b USING (dept, city)", 20 + 40 + 20),
        (f"SELECT city, count() AS n {T} GROUP BY city, 1, t.city", 4 + 4 + 4),
        ("SELECT n FROM (SELECT city, code, count(*) AS n FROM visits GROUP BY city, code) t", 200_000),
        (f"SELECT n {T} UNION ALL SELECT n {T}", 8 + 8 + 8),
        (f"SELECT n - (SELECT max(n) {T}) AS x {T}", 4 + 4 + 9),
        (f"SELECT n {T} WHERE city IN (SELECT city FROM places)", 4 + 4 + 10),
        (f"SELECT sum(n) - (SELECT max(n) {T}) AS x {T} GROUP BY city", 4 + 4 + 4 + 9),
    ],
)  # fmt: skip
def test_the_rows_of_all_steps_are_counted_from_public_facts(sql: str, rows: int) -> None:
    assert plan(sql).around_rows == rows


def test_row_bombs_are_refused_before_anything_runs() -> None:
    tables = ", ".join(f"events AS e{i}" for i in range(8))
    assert code(f"SELECT count(*) {T} CROSS JOIN (SELECT 1 AS one FROM {tables}) x, events") == "sql.too_many_parts"
    days = "SELECT day, count(*) AS n FROM visits GROUP BY day"
    assert code(f"WITH t AS ({days}) SELECT count(*) FROM t a JOIN t b ON a.n > b.n") == "sql.too_many_parts"
    assert MAX_AROUND_ROWS < 100_000**2
    doubled = ", ".join(f"t{i + 1} AS (SELECT a.city FROM t{i} a JOIN t{i} b USING (city))" for i in range(20))
    assert code(f"WITH t0 AS ({ANSWER}), {doubled} SELECT count(*) FROM t20") == "sql.too_many_parts"


def test_an_answer_is_no_larger_than_others() -> None:
    large = replace(FACTS, tables=tuple(replace(t, rows=90_000) if t.name == "places" else t for t in FACTS.tables))
    sql = f"SELECT n {T} JOIN places ON population > n"
    assert code(sql, large) == "sql.too_many_cells"
    assert plan(f"{sql} LIMIT 9", large).around_rows == 4 + 90_000 + 360_000


def test_public_tables_beside_an_answer_are_small_and_of_known_size() -> None:
    def with_rows(rows: int | None) -> DatasetFacts:
        return replace(FACTS, tables=(*FACTS.tables, replace(PLACES, name="many", rows=rows)))

    sql = f"SELECT sum(n) AS n {T} JOIN many USING (city) SEMI JOIN places USING (city)"
    assert plan(sql, with_rows(MAX_PUBLIC_ROWS - 5)).public[0].name == "p0"
    assert code(sql, with_rows(MAX_PUBLIC_ROWS - 4)) == "sql.public_too_large"
    assert code(sql, with_rows(None)) == "sql.public_too_large"


def test_a_private_table_is_no_public_one_whoever_asks() -> None:
    around = Around(Names(facts=FACTS), lambda select, names: pytest.fail("nothing is answered"))
    with pytest.raises(AnswerBesideRows):
        around.named(exp.to_table("visits"), around.scope)


def test_only_the_columns_in_use_are_read_from_a_public_table() -> None:
    found = plan(f"SELECT t.*, 1000 * n / population AS rate {T} JOIN places USING (city)").public
    assert [(p.name, [name for name, _ in p.columns]) for p in found] == [("p0", ["rid", "o0", "o2"])]
    assert found[0].sql.endswith('FROM "places" AS t')
    assert [len(p.columns) for p in plan(f"SELECT * {T} JOIN places USING (city)").public] == [5]


# --- the text -------------------------------------------------------------------------------------------------------------


def test_names_without_an_alias_and_stars_are_understood() -> None:
    assert [o.name for o in plan(f"SELECT * FROM ({ANSWER}) JOIN ({ANSWER}) USING (city)").outputs] == [
        "city", "n", "age", "n", "age",
    ]  # fmt: skip
    joined = plan(f"SELECT n FROM places JOIN ({ANSWER}) USING (city)").finish_sql
    assert "ON (t0.o0 = t1.o0)" in joined
    assert [o.name for o in plan(f"SELECT *, sum(n) AS total {T} GROUP BY ALL").outputs] == [
        "city",
        "n",
        "age",
        "total",
    ]
    assert [o.name for o in plan(f"SELECT *, sum(n) AS total {T} GROUP BY 1, n, 3").outputs][-1] == "total"


def test_having_qualify_and_order_use_names_of_the_select_list() -> None:
    grouped = plan(
        f"SELECT 省份, sum(n) AS total {T} JOIN places USING (city) GROUP BY 省份 HAVING total > 5 ORDER BY total, 1"
    )
    assert "WHERE TRY((o1 > 5::BIGINT)) ORDER BY o1 ASC NULLS LAST, o0 ASC NULLS LAST" in grouped.finish_sql
    ranked = plan(f"SELECT city, rank() OVER (ORDER BY n) AS r {T} QUALIFY r < 3 AND n > 5").finish_sql
    assert "WHERE TRY(((o1 < 3::BIGINT) AND (t0_o1 > 5::BIGINT)))" in ranked
    rows = plan(f"SELECT city, row_number() OVER (ORDER BY n) AS r {T}").finish_sql
    assert "row_number() OVER (ORDER BY TRY(t0_o1) ASC NULLS LAST, rid ASC NULLS LAST)" in rows
    assert plan(f"SELECT 1 AS one {T} HAVING TRUE").around_rows == 4 + 4 + 1


def test_conditions_over_subqueries_stand_beside_what_is_tried() -> None:
    where = f"{T} WHERE NOT (city IN (SELECT city FROM places)) AND (n > 5 OR n IN (SELECT population FROM places))"
    text = plan(f"SELECT n {where}").finish_sql
    assert "((NOT (TRY(t0_o0) IN (SELECT o0 FROM" in text
    assert "(TRY((t0_o1 > 5::BIGINT)) OR (TRY(t0_o1) IN (SELECT o0 FROM" in text
    assert "IN (SELECT o0" in plan(f"SELECT city, sum(n) AS m {T} GROUP BY city HAVING m IN (SELECT 5)").finish_sql


def test_aggregates_that_are_asked_twice_are_computed_once() -> None:
    text = plan(f"SELECT sum(n) AS a, sum(n) + 1 AS b, sum(DISTINCT n) AS c {T}").finish_sql
    assert [part in text for part in (" AS a0", " AS a1", " AS a2")] == [True, True, False]


def test_exists_is_a_semi_or_an_anti_join() -> None:
    """A name without a table is one of its own first; nothing of it is seen behind it."""
    held = plan(f"SELECT n {T} WHERE EXISTS (SELECT 1 FROM places WHERE city = t.city AND population > 3) AND n > 1")
    assert " SEMI JOIN p0 AS t1 ON (t1.o0 = t0.o0) AND TRY((t1.o2 > 3::BIGINT))" in held.finish_sql
    assert "t1_o" not in plan(f"SELECT n {T} WHERE EXISTS (SELECT population FROM places)").finish_sql
    assert " ANTI JOIN p0 AS t1 ON " in plan(f"SELECT n {T} WHERE NOT (EXISTS (FROM places))").finish_sql
    assert code(f"SELECT population {T} WHERE EXISTS (SELECT 1 FROM places)") == "sql.unknown_column"


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        (f"SELECT n {T} WHERE EXISTS (SELECT 1)", "sql.unsupported"),
        (f"SELECT n {T} WHERE EXISTS (SELECT 1 FROM places UNION SELECT 2)", "sql.unsupported"),
        (f"SELECT n {T} WHERE EXISTS (SELECT 1 FROM places, events)", "sql.unsupported"),
        (f"SELECT n {T} WHERE EXISTS (SELECT 1 FROM places LIMIT 1)", "sql.unsupported"),
        (f"SELECT n {T} WHERE EXISTS (SELECT 1 FROM places AS t)", "sql.unsupported"),
        (f"SELECT n {T} WHERE EXISTS (SELECT nothing FROM places)", "sql.unknown_column"),
        (f"SELECT n {T} WHERE EXISTS (SELECT 1 FROM places WHERE count(*) > 3)", "sql.misplaced_aggregate"),
        (f"SELECT n {T} WHERE EXISTS (SELECT 1 FROM places) OR n > 1", "sql.unsupported"),
    ],
)
def test_exists_that_is_refused(sql: str, expected: str) -> None:
    assert code(sql) == expected


# --- what a row says of where it comes from ---------------------------------------------------------------------------------

MEDIANS = "SELECT city, median(age) AS m, avg(age) AS a, count(*) AS n FROM visits GROUP BY city"


def told(sql: str) -> tuple[bool, list[tuple[str, tuple[int, ...]] | None]]:
    """Whether rows say which cell they come from; of each value, what it is and of which answers (None: it is drawn again)."""
    found = plan(sql)
    values = [o for o in found.outputs if not o.is_key]
    return found.located, [
        None if o.is_redrawn else (o.statistic or ("average" if o.average else "text"), o.groupings) for o in values
    ]


ALL = [("s0", (0,)), ("average", (0,)), ("s2", (0,))]
RIGHT = "SELECT city, avg(age) AS a, count(*) AS n FROM visits WHERE urgent GROUP BY city"


@pytest.mark.parametrize(
    ("sql", "located", "expected"),
    [
        (f"SELECT * FROM ({MEDIANS}) t", True, ALL),
        (f"SELECT t.*, population FROM ({MEDIANS}) t JOIN places USING (city)", True, ALL),
        (f"SELECT m, a, n FROM places LEFT JOIN ({MEDIANS}) t USING (city)", True, ALL),
        (f"SELECT m, a, n FROM ({MEDIANS}) t WHERE n > 3 ORDER BY n LIMIT 3", True, ALL),
        (f"SELECT m, a, n, rank() OVER (ORDER BY n) AS r FROM ({MEDIANS}) t", True, [*ALL, None]),
        (f"SELECT DISTINCT n FROM ({MEDIANS}) t", True, ALL[2:]),
        (f"WITH t AS ({MEDIANS}) SELECT * FROM t UNION ALL SELECT * FROM t", True, ALL),
        (f"WITH t AS ({MEDIANS}) SELECT * FROM t UNION SELECT * FROM t", False, [None] * 3),
        (f"SELECT sum(n) AS n, max(m) AS m FROM ({MEDIANS}) t", False, [None] * 2),
        (f"SELECT m + 1 AS m, -n AS n FROM ({MEDIANS}) t", True, [None] * 2),
        (f"SELECT l.a, r.a, l.n, r.n FROM ({MEDIANS}) l JOIN ({RIGHT}) r USING (city)", True,
         [("average", (0,)), None, ("s2", (0,)), ("s1", (1,))]),
        (f"SELECT (SELECT count(*) FROM visits) AS n, (SELECT 1) AS one FROM ({MEDIANS}) t", True, [None]),
        (f"SELECT a, n FROM ({RIGHT}) r UNION ALL SELECT avg(age), count(*) FROM visits", True,
         [("average", (0, 1)), ("s1", (0, 1))]),
        (f"SELECT n FROM ({RIGHT}) r UNION ALL SELECT population FROM places", False, [None]),
        (f"SELECT n FROM (SELECT n FROM ({RIGHT}) r UNION ALL SELECT count(*) FROM visits) t, places", True, [None]),
        ("SELECT city, count(*) AS n, avg(age), median(age), count(*) / 2 AS h FROM visits GROUP BY ROLLUP (city)", True,
         [("s0", (0, 1)), ("average", (0, 1)), ("s2", (0, 1)), None]),
    ],
)  # fmt: skip
def test_values_that_are_passed_on_stay_those_of_their_cell(
    sql: str, located: bool, expected: list[tuple[str, tuple[int, ...]] | None]
) -> None:
    assert told(sql) == (located, expected)


def test_only_what_is_computed_is_drawn_again() -> None:
    assert plan("SELECT city, count(*) AS n, avg(age) AS a FROM visits GROUP BY ROLLUP (city)").redraw_sql == ""
    assert plan("SELECT city, count(*) / 2 AS n FROM visits GROUP BY ROLLUP (city)").redraw_sql != ""

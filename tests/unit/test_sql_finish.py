"""The asker's columns over noisy cells: which statistics each aggregate asks for, and what may stand beside them."""

from __future__ import annotations

import pytest

from privacy.facts import Kind
from privacy.sql.aggregates import AggregateReader, summed_terms
from privacy.sql.expressions import Reader
from privacy.sql.finish import AnswerScope, order_text
from privacy.sql.parse import parse_select
from privacy.sql.plan import Aggregate, Average
from privacy.sql.tracked import resolve_from
from tests.fakes.ward import FACTS, node, plan, refusal, refused

COUNT, SUM, UNITS = Aggregate.COUNT, Aggregate.SUM, Aggregate.UNITS


def asked(text: str) -> list[tuple[Aggregate, str]]:
    return [(s.aggregate, s.label) for s in plan(f"SELECT {text} FROM visits").statistics]


@pytest.mark.parametrize(
    ("text", "statistics"),
    [
        ("count(*)", [(COUNT, "COUNT(*)")]),
        ("count()", [(COUNT, "COUNT(*)")]),
        ("count(person_id)", [(COUNT, "COUNT(*)")]),
        ("count(age)", [(COUNT, "COUNT(age)")]),
        ("count(*), count(age), count(1)", [(COUNT, "COUNT(*)")]),
        ("count(dept)", [(COUNT, "COUNT(dept)")]),
        ("count(DISTINCT person_id), count(DISTINCT (person_id))", [(UNITS, "COUNT(DISTINCT person_id)")]),
        (
            "count_if(urgent), countif(urgent IS TRUE)",
            [(COUNT, "COUNT_IF(urgent)"), (COUNT, "COUNT_IF(urgent IS TRUE)")],
        ),
        ("sum(age), sum(age) / 2", [(SUM, "SUM(age)")]),
        ("sum(urgent)", [(SUM, "SUM(urgent)")]),
        ("avg(age)", [(SUM, "AVG(age)"), (COUNT, "COUNT(AVG(age))")]),
        ("avg(age), count(*)", [(SUM, "AVG(age)"), (COUNT, "COUNT(AVG(age))")]),
        ("sum(age), avg(age)", [(SUM, "SUM(age)"), (COUNT, "COUNT(AVG(age))")]),
        ("avg(age), sum(age)", [(SUM, "AVG(age)"), (COUNT, "COUNT(AVG(age))")]),
    ],
)
def test_each_aggregate_asks_for_its_statistics_once(text, statistics):
    assert asked(text) == statistics


def test_a_sum_beside_its_average_serves_both_uncentred():
    both = plan("SELECT avg(age), sum(age) FROM visits").outputs
    assert both[0].average == Average(total="s0", rows="s1", middle=0.0, low=0.0, high=120.0)
    assert both[1].statistic == "s0"
    alone = plan("SELECT avg(age) FROM visits")
    assert alone.outputs[0].average == Average(total="s0", rows="s1", middle=60.0, low=0.0, high=120.0)
    assert "greatest(0.0::DOUBLE, least(120.0::DOUBLE, 60.0::DOUBLE + s0::DOUBLE / s1))" in alone.finish_sql
    assert alone.finish_sql.count("CASE WHEN s1 >= 0.5 THEN") == 1


def test_an_average_counts_the_rows_that_have_a_value():
    assert 'TRY(((CAST(t0."amount" AS BIGINT) / 100::DOUBLE)) IS NOT NULL) AS v1' in exact("avg(amount)")
    assert "TRY(isfinite(CAST(" in exact("avg(amount + 1.5)").split(" AS v0, ")[1]
    assert 'TRY((CAST(t0."grade" AS BIGINT)) IS NOT NULL) AS v1' in exact("avg(grade)")
    assert "v1" not in exact("avg(score)")


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("count(*) FILTER (WHERE urgent)", ['TRY((t0."urgent") IS TRUE) AS v0']),
        (
            "count(dept) FILTER (WHERE urgent)",
            ['(CAST(t0."dept" AS VARCHAR)) IS NOT NULL) AND ((t0."urgent") IS TRUE)'],
        ),
        ("count_if(age > 3) FILTER (WHERE urgent)", ['IS TRUE) AND ((t0."urgent") IS TRUE)']),
        ("sum(age) FILTER (WHERE urgent)", ['(CASE WHEN (t0."urgent") IS TRUE THEN CAST(t0."age" AS BIGINT) END)']),
        (
            "count(DISTINCT person_id) FILTER (WHERE urgent)",
            ['TRY((t0."urgent") IS TRUE) AS v0'],
        ),
    ],
)
def test_filter_takes_the_value_from_rows_that_do_not_meet_it(text, rows):
    for row in rows:
        assert row in exact(text)


def test_units_that_meet_a_condition_are_not_the_units_of_the_cell():
    assert asked("count(DISTINCT person_id) FILTER (WHERE urgent), count(DISTINCT person_id)") == [
        (Aggregate.UNITS_WHERE, "COUNT(DISTINCT person_id) FILTER(WHERE urgent)"),
        (UNITS, "COUNT(DISTINCT person_id)"),
    ]


def test_a_filtered_average_shares_the_filtered_sum():
    both = plan("SELECT sum(age) FILTER (WHERE urgent), avg(age) FILTER (WHERE urgent), avg(age) FROM visits").outputs
    assert both[1].average == Average(total="s0", rows="s1", middle=0.0, low=0.0, high=120.0)
    assert both[2].average == Average(total="s2", rows="s3", middle=60.0, low=0.0, high=120.0)


@pytest.mark.parametrize(
    ("text", "sums"),
    [
        ("var_pop(age)", 3),
        ("avg(age), var_pop(age), var_samp(age), variance(age), stddev(age), stddev_pop(age), stddev_samp(age)", 3),
        ("covar_pop(age, score), covar_samp(age, score)", 4),
        ("covar_pop(age, score), covar_pop(score, age)", 5),
        ("corr(age, score), covar_samp(age, score)", 6),
        ("corr(amount, grade)", 6),
    ],
)
def test_moments_share_their_sums(text, sums):
    assert len(asked(text)) == sums


def test_moments_are_kept_within_what_the_range_allows():
    text = plan("SELECT var_pop(age), stddev(age), covar_samp(age, score), corr(age, score) FROM visits").finish_sql
    assert "greatest(0.0::DOUBLE, least(3600.0::DOUBLE, " in text
    assert "sqrt(greatest(0.0::DOUBLE, least(7200.0::DOUBLE, " in text
    assert "greatest(-1.0::DOUBLE, least(1.0::DOUBLE, " in text


def exact(text: str) -> str:
    return plan(f"SELECT {text} FROM visits").rows_sql


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        ("count(*)", [Kind.INTEGER]),
        ("sum(age)", [Kind.INTEGER]),
        ("sum(amount)", [Kind.NUMBER]),
        ("avg(age)", [Kind.NUMBER]),
        ("avg(age) > 3", [Kind.BOOLEAN]),
        ("sum(age) // count(*)", [Kind.INTEGER]),
        ("'x'", [Kind.TEXT]),
        ("NULL", [Kind.TEXT]),
    ],
)
def test_the_kind_of_a_column(text, kinds):
    found = plan(f"SELECT {text}, count(*) FROM visits").outputs
    assert [o.kind for o in found][: len(kinds)] == kinds


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("age", "sql.not_grouped"),
        ("age + count(*)", "sql.not_grouped"),
        ("count(DISTINCT age, level)", "sql.unsupported"),
        ("count(DISTINCT person_id, age)", "sql.unsupported"),
        ("count(DISTINCT (age, level))", "sql.unsupported"),
        ("count(DISTINCT person_id + 1)", "sql.unit_column"),
        ("count(DISTINCT count(*))", "sql.misplaced_aggregate"),
        ("sum(DISTINCT age)", "sql.distinct_not_counted"),
        ("avg(DISTINCT age)", "sql.distinct_not_counted"),
        ("median(DISTINCT age)", "sql.distinct_not_counted"),
        ("max(DISTINCT age) FILTER (WHERE urgent)", "sql.distinct_not_counted"),
        ("count(age, age)", "sql.unsupported"),
        ("count(* EXCLUDE (age))", "sql.unsupported"),
        ("sum(age ORDER BY age)", "sql.unsupported"),
        ("sum(stock)", "sql.unbounded"),
        ("sum(greatest(stock, 0))", "sql.unbounded"),
        ("sum(least(stock, 0))", "sql.unbounded"),
        ("avg(stock)", "sql.unbounded"),
        ("sum(NULL)", "sql.unbounded"),
        ("sum(age * 1e16)", "sql.unbounded"),
        ("sum(city)", "sql.type_mismatch"),
        ("avg(urgent)", "sql.type_mismatch"),
        ("count_if(age)", "sql.type_mismatch"),
        ("sum(count(*))", "sql.misplaced_aggregate"),
        ("count_if(sum(age) > 1)", "sql.misplaced_aggregate"),
        ("sum(age + count(*))", "sql.misplaced_aggregate"),
        ("mode(age)", "sql.unknown_aggregate"),
        ("mode(age) FILTER (WHERE urgent)", "sql.unknown_aggregate"),
        ("approx_quantile(age, 0.5)", "sql.unknown_aggregate"),
        ("approx_quantile(age, 0.5) FILTER (WHERE urgent)", "sql.unknown_aggregate"),
        ("max(age, 3)", "sql.unsupported"),
        ("median(stock)", "sql.unbounded"),
        ("min(city)", "sql.type_mismatch"),
        ("max(CAST(dept AS TIMESTAMP))", "sql.unbounded"),
        ("min(born)", "sql.unbounded"),
        ("median(urgent)", "sql.type_mismatch"),
        ("median(person_id)", "sql.unit_column"),
        ("max(count(*))", "sql.misplaced_aggregate"),
        ("percentile_cont(0.5) WITHIN GROUP (ORDER BY count(*))", "sql.misplaced_aggregate"),
        ("median(age ORDER BY level)", "sql.unsupported"),
        ("median(age) OVER ()", "sql.unsupported"),
        ("quantile_cont(age, level)", "sql.unsupported"),
        ("quantile_cont(age, 1.5)", "sql.unsupported"),
        ("quantile_cont(age, -0.5)", "sql.unsupported"),
        ("quantile_cont(age, '0.5')", "sql.unsupported"),
        ("quantile_cont(age, [0.1, 0.9])", "sql.unsupported"),
        ("quantile_disc(age, 0.1234567)", "sql.unsupported"),
        ("quantile(age, 1e-1)", "sql.unsupported"),
        ("quantile(age, ٠)", "sql.unsupported"),
        ("quantile(age)", "sql.syntax"),
        ("percentile_cont(0.5) WITHIN GROUP (ORDER BY age, level)", "sql.unsupported"),
        ("percentile_cont(age) WITHIN GROUP (ORDER BY age)", "sql.unsupported"),
        ("mode() WITHIN GROUP (ORDER BY age)", "sql.unsupported"),
        ("median(age) WITHIN GROUP (ORDER BY age)", "sql.unsupported"),
        ("count(*) FILTER (WHERE age)", "sql.type_mismatch"),
        ("count(*) FILTER (WHERE person_id = 7)", "sql.unit_column"),
        ("count(*) FILTER (WHERE count(*) > 1)", "sql.misplaced_aggregate"),
        ("stddev(DISTINCT age)", "sql.distinct_not_counted"),
        ("stddev(stock)", "sql.unbounded"),
        ("var_pop(city)", "sql.type_mismatch"),
        ("var_pop(sum(age))", "sql.misplaced_aggregate"),
        ("var_pop(person_id)", "sql.unit_column"),
        ("corr(age, city)", "sql.type_mismatch"),
        ("corr(age, stock)", "sql.unbounded"),
        ("corr(age, count(*))", "sql.misplaced_aggregate"),
        ("corr(DISTINCT age, score)", "sql.syntax"),
        ("covar_pop(age, person_id)", "sql.unit_column"),
        ("sum(person_id)", "sql.unit_column"),
        ("count(person_id + 1)", "sql.unit_column"),
        ("count_if(person_id = 7)", "sql.unit_column"),
        ("nothing", "sql.unknown_column"),
    ],
)
def test_what_may_not_stand_in_an_answer(text, code):
    refused(f"SELECT {text} FROM visits", code)


def test_a_refusal_about_distinct_names_the_aggregate():
    problem = refused("SELECT sum(DISTINCT age) FROM visits", "sql.distinct_not_counted")
    assert problem.say("en") == "SUM of DISTINCT values is not accepted (line 1, column 8)."
    assert "COUNT(DISTINCT x)" in problem.advise("en")


def test_keys_are_known_as_whole_expressions_and_inside_others():
    found = plan("SELECT upper(dept) || '!', upper(dept), count(*) FROM visits GROUP BY upper(dept)")
    assert "TRY((k0 || '!')) AS o0, TRY(k0) AS o1" in found.finish_sql
    refused("SELECT dept, count(*) FROM visits GROUP BY upper(dept)", "sql.not_grouped")
    mixed = plan("SELECT dept || cast(count(*) AS VARCHAR), count(*) FROM visits GROUP BY dept")
    assert "(k0 || TRY_CAST(s0 AS VARCHAR))" in mixed.finish_sql


def test_a_constant_is_a_constant_even_when_it_is_grouped_by():
    assert "TRY(1::BIGINT) AS o0" in plan("SELECT 1, count(*) FROM visits GROUP BY 1 + 0").finish_sql


def test_aliases_are_names_of_columns_in_having_and_order_by():
    found = plan("SELECT count(*) AS N, sum(age) AS m FROM visits HAVING n > 3 AND M > n + 1 ORDER BY m + n")
    assert "WHERE TRY(((o0 > 3::BIGINT) AND (o1 > TRY((o0 + 1::BIGINT)))))" in found.finish_sql
    assert "ORDER BY TRY(TRY((o1 + o0))) ASC NULLS LAST" in found.finish_sql


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("SELECT count(*) AS n FROM visits HAVING visits.n > 1", "sql.not_grouped"),
        ("SELECT count(*) AS n FROM visits HAVING visits.age > 1", "sql.not_grouped"),
        ("SELECT count(*) AS n FROM visits HAVING age > 1", "sql.not_grouped"),
        ("SELECT count(*) AS n FROM visits HAVING nothing > 1", "sql.unknown_column"),
        ("SELECT count(*) FROM visits HAVING nothing > 1", "sql.unknown_column"),
        ("SELECT count(*) AS n FROM visits HAVING person_id = 1", "sql.unit_column"),
        ("SELECT count(*) AS n FROM visits HAVING n", "sql.type_mismatch"),
        ("SELECT count(*) + 1 AS n, n * 2 FROM visits", "sql.unknown_column"),
    ],
)
def test_names_that_are_no_alias_are_refused(text, code):
    refused(text, code)


def test_row_texts_that_are_summed_anywhere():
    select = parse_select("SELECT sum(age), sum(DISTINCT fee), sum(count(*)) FROM visits HAVING sum(score) > 1")
    found = summed_terms(select, resolve_from(select, FACTS))
    assert found == {'CAST(t0."age" AS BIGINT)', '(CAST(t0."score" AS BIGINT) / 4::DOUBLE)'}


@pytest.mark.parametrize(
    ("text", "ordered"),
    [
        ("age", "x ASC NULLS LAST"),
        ("age DESC", "x DESC NULLS LAST"),
        ("age NULLS FIRST", "x ASC NULLS FIRST"),
        ("age DESC NULLS FIRST", "x DESC NULLS FIRST"),
    ],
)
def test_where_nulls_go_is_always_written(text, ordered):
    item = parse_select(f"SELECT 1 FROM visits ORDER BY {text}").args["order"].expressions[0]
    assert order_text(item, lambda _: "x") == ordered


def test_an_order_that_is_no_order_is_refused():
    refusal(lambda: order_text(node("age"), lambda _: "x"), "sql.unsupported")
    refused("SELECT count(*) FROM visits ORDER BY ALL", "sql.unsupported")
    refused("SELECT count(*) AS n FROM visits ORDER BY n COLLATE x", "sql.unsupported")


def test_an_answer_scope_asks_a_new_statistic_only_for_a_new_measure():
    select = parse_select("SELECT count(*) FROM visits")
    aggregates = AggregateReader(resolve_from(select, FACTS), frozenset())
    reader = Reader(AnswerScope(aggregates=aggregates, keys={}))
    assert [reader.read(node(t)).sql for t in ("count(*)", "count(age)", "sum(age)", "count(*)")] == [
        "s0",
        "s0",
        "s1",
        "s0",
    ]
    assert len(aggregates.measures) == 2


# ── windows ──


def windowed(text: str, rest: str = "") -> str:
    return plan(f"SELECT city, count(*) AS n, {text} AS w FROM visits GROUP BY city{rest}").finish_sql


@pytest.mark.parametrize(
    ("text", "sql"),
    [
        ("rank() OVER (ORDER BY count(*) DESC)", "rank() OVER (ORDER BY TRY(s0) DESC NULLS LAST)"),
        ("row_number() OVER ()", "row_number() OVER (ORDER BY k0 ASC NULLS LAST)"),
        ("ntile(4) OVER (PARTITION BY city)", "ntile(4) OVER (PARTITION BY TRY(k0) ORDER BY k0 ASC NULLS LAST)"),
        ("lag(city) OVER (ORDER BY city)", "lag(TRY(k0), 1) OVER (ORDER BY TRY(k0) ASC NULLS LAST, k0 ASC NULLS LAST)"),
        ("lead(count(*) RESPECT NULLS) OVER ()", "lead(TRY(s0), 1) OVER (ORDER BY k0 ASC NULLS LAST)"),
        ("count(*) OVER ()", "count(*) OVER ()"),
        ("count(city) OVER ()", "count(TRY(k0)) OVER ()"),
        ("first_value(city) OVER ()", "first_value(TRY(k0) ORDER BY k0 ASC NULLS LAST) OVER ()"),
        (
            "nth_value(city, 2 IGNORE NULLS) OVER (ROWS UNBOUNDED PRECEDING)",
            "nth_value(TRY(k0), 2 IGNORE NULLS) OVER (ORDER BY k0 ASC NULLS LAST "
            "ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)",
        ),
        (
            "avg(count(*)) OVER (ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING)",
            "avg(CAST(TRY(s0) AS DOUBLE)) OVER (ORDER BY k0 ASC NULLS LAST ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING)",
        ),
    ],
)
def test_a_window_is_rebuilt_and_follows_the_keys_where_ties_show(text, sql):
    assert f" {sql} AS w0 " in windowed(text)


def test_the_same_window_is_computed_once():
    found = windowed("sum(count(*)) OVER () + sum(count(*)) OVER ()", " ORDER BY sum(count(*)) OVER () * 2")
    assert found.count(" OVER (") == 1


def test_a_window_does_not_make_its_sum_a_sum_of_rows():
    """AVG shares the SUM that is asked of rows, not one that a window takes of the answer."""
    both = plan(
        "SELECT level, sum(level) OVER (), sum(level) FILTER (WHERE level > 1) OVER (), avg(level) FROM visits GROUP BY 1"
    )
    assert next(o.average for o in both.outputs if o.average).reach == 1
    assert plan("SELECT count(*) AS n FROM visits ORDER BY sum(n) OVER ()").finish_sql.count(" OVER (") == 1
    shared = plan("SELECT city, sum(sum(age)) OVER (), avg(age) FROM visits GROUP BY city")
    assert next(o.average for o in shared.outputs if o.average).reach == 120


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("lag(NULL, 1, n) OVER ()", "LAG of NULL"),
        ("sum(count(*) IGNORE NULLS) OVER ()", "IGNORE NULLS or a frame of this window function"),
        ("lag(n) OVER (ROWS 1 PRECEDING)", "IGNORE NULLS or a frame of this window function"),
        ("count(DISTINCT city) OVER ()", "COUNT with OVER"),
        ("count(* EXCLUDE (age)) OVER ()", "STAR … EXCEPT"),
        ("upper(city) OVER ()", "UPPER with OVER"),
        ("sum(n) OVER (ROWS BETWEEN UNBOUNDED FOLLOWING AND UNBOUNDED FOLLOWING)", "this window frame"),
        ("sum(n) OVER (ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED PRECEDING)", "this window frame"),
        ("sum(n) OVER (ROWS 1000001 PRECEDING)", "this window frame"),
        ("sum(n) OVER (ROWS 1.5 PRECEDING)", "this window frame"),
        ("sum(n) OVER (ROWS '1' PRECEDING)", "this window frame"),
        ("rank() OVER (ORDER BY 'x')", "a constant in the ORDER BY of a window"),
        ("rank() OVER w", "a named window"),
        ("ntile(-1) OVER ()", "NTILE of no parts"),
    ],
)
def test_what_a_window_does_not_take_is_named(text, named):
    problem = refused(f"SELECT city, count(*) AS n FROM visits GROUP BY city QUALIFY {text} > 1", "sql.unsupported")
    assert problem.say("en").startswith(f"{named} is not accepted")


def test_an_order_of_windows_is_after_having_and_before_qualify():
    found = windowed("rank() OVER (ORDER BY count(*))", " HAVING n > 1 QUALIFY w < 3 AND n > 2")
    assert found.endswith(
        "AS w0 FROM (SELECT *, TRY(k0) AS o0, TRY(s0) AS o1 FROM noisy) WHERE TRY((o1 > 1::BIGINT)))) "
        "WHERE TRY(((o2 < 3::BIGINT) AND (o1 > 2::BIGINT))) ORDER BY k0 ASC NULLS LAST"
    )
    alone = plan("SELECT count(*) AS n FROM visits HAVING n > 1 QUALIFY n < 3").finish_sql
    assert alone.endswith("WHERE TRY((o0 > 1::BIGINT)) AND TRY((o0 < 3::BIGINT))")

"""FROM: one private table, every row with its unit, and how far joins may multiply rows."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from decimal import Decimal
from fractions import Fraction

import pytest

from privacy.facts import ColumnFacts, Keys, Kind, TableFacts
from privacy.sql.expressions import Reader
from privacy.sql.joins import MAX_JOINS, MAX_PAIRED_ROWS
from privacy.sql.membership import row_condition
from privacy.sql.parse import parse_select
from privacy.sql.resolve import MAX_UNIT_ROWS, RowScope, stored
from privacy.sql.terms import SAFE_INTEGER
from privacy.sql.tracked import resolve_from
from tests.fakes.ward import EVENTS, FACTS, PLACES, SCOPE, VISITS, node, refusal, term, with_columns, written

CITY = 'CAST(t0."city" AS VARCHAR) = CAST(t1."city" AS VARCHAR)'


def relation(text: str, facts=FACTS):
    return resolve_from(parse_select(f"SELECT count(*) FROM {text}"), facts)


@pytest.mark.parametrize(
    ("text", "sql", "conditions", "most"),
    [
        ("visits", '"visits" AS t0', (), 4),
        ("VISITS AS v", '"visits" AS t0', (), 4),
        ("visits JOIN places USING (city)", '"visits" AS t0 CROSS JOIN "places" AS t1', (CITY,), 4),
        ("visits v JOIN places p ON v.city = p.city", '"visits" AS t0 CROSS JOIN "places" AS t1', (f"({CITY})",), 4),
        ("visits JOIN events USING (city)", '"visits" AS t0 CROSS JOIN "events" AS t1', (CITY,), 8),
        (
            "visits JOIN events USING (city, level)",
            '"visits" AS t0 CROSS JOIN "events" AS t1',
            (CITY, 'CAST(t0."level" AS BIGINT) = CAST(t1."level" AS BIGINT)'),
            8,
        ),
        (
            "visits JOIN events e ON ((visits.city = e.city AND (e.held > '2024-01-01')))",
            '"visits" AS t0 CROSS JOIN "events" AS t1',
            (f"({CITY})", "TRY((t1.\"held\" > DATE '2024-01-01'))"),
            8,
        ),
        ("visits LEFT JOIN places USING (city)", f'"visits" AS t0 LEFT JOIN "places" AS t1 ON {CITY}', (), 4),
        (
            "places JOIN visits USING (city)",
            '"visits" AS t1 CROSS JOIN "places" AS t0',
            (CITY,),
            4,
        ),
        (
            "visits JOIN places USING (city) JOIN provinces USING (province)",
            '"visits" AS t0 CROSS JOIN "places" AS t1 CROSS JOIN "provinces" AS t2',
            (CITY, 'CAST(t1."province" AS VARCHAR) = CAST(t2."province" AS VARCHAR)'),
            4,
        ),
        (
            "visits LEFT JOIN places USING (city) JOIN events ON events.level = visits.level",
            f'"visits" AS t0 CROSS JOIN "events" AS t2 LEFT JOIN "places" AS t1 ON {CITY}',
            ('(CAST(t2."level" AS BIGINT) = CAST(t0."level" AS BIGINT))',),
            12,
        ),
    ],
)
def test_the_tracked_relation(text, sql, conditions, most):
    found = relation(text)
    assert (found.from_sql, found.conditions, found.max_rows) == (sql, conditions, most)
    assert found.unit == VISITS.unit
    assert found.tables[0] == "visits"
    assert found.unit_sql == f'{found.scope.sources[0].tag}."_uid"'
    assert found.from_sql.startswith(f'"visits" AS {found.scope.sources[0].tag}')


def test_a_table_reached_through_another_multiplies_by_each_step():
    found = relation("visits JOIN events USING (level) JOIN places ON places.province = events.city")
    assert found.max_rows == 4 * 3 * 3


def test_equalities_may_point_either_way_and_come_in_any_order():
    one = relation(
        "provinces JOIN places ON places.province = provinces.province JOIN visits ON places.city = visits.city"
    )
    assert one.max_rows == 4
    assert one.unit_sql == 't2."_uid"'


def test_without_a_known_repeat_the_better_column_counts():
    two = replace(EVENTS, columns=(replace(EVENTS.columns[0], max_repeats=None), *EVENTS.columns[1:]))
    facts = replace(FACTS, tables=(VISITS, two))
    assert relation("visits JOIN events USING (city, level)", facts).max_rows == 12


def test_a_repeat_of_zero_still_keeps_the_rows_of_the_private_table():
    empty = replace(PLACES, columns=(replace(PLACES.columns[0], max_repeats=0), *PLACES.columns[1:]))
    assert relation("visits LEFT JOIN places USING (city)", replace(FACTS, tables=(VISITS, empty))).max_rows == 4


@pytest.mark.parametrize(
    ("text", "most"),
    [
        ("visits, places", 4 * 3),
        ("visits CROSS JOIN places p CROSS JOIN events", 4 * 3 * 4),
        ("visits JOIN places ON age > tier", 4 * 3),
        ("visits JOIN places ON age BETWEEN tier AND tier + 1", 4 * 3),
        ("visits JOIN places ON age = 3", 4 * 3),
        ("visits JOIN places ON tier = tier", 4 * 3),
        ("visits JOIN places ON age = tier", 4 * 3),
        ("visits LEFT JOIN places ON TRUE", 4 * 3),
        ("visits JOIN events e ON TRUE LEFT JOIN places p ON p.city = visits.city AND p.tier = e.level", 4 * 4),
        ("visits, places JOIN provinces ON places.province = provinces.province", 4 * 3),
        ("provinces, places, visits WHERE places.city = visits.city", 4 * 1 * 1),
        ("visits, (SELECT avg(tier) AS tier FROM places) a WHERE age > a.tier", 4),
        ("visits JOIN (SELECT tier, max(city) AS c FROM places GROUP BY tier) a ON a.tier = age", 4),
        ("visits JOIN (SELECT tier, max(city) AS c FROM places GROUP BY tier) a ON a.c = visits.city", 4 * 3),
        ("visits, (SELECT level FROM events UNION ALL SELECT tier FROM places) a", 4 * 7),
        ("visits, (SELECT DISTINCT province FROM places) a", 4),
        ("visits, (SELECT e.held, p.tier FROM events e, places p) a", 4 * 12),
        ("visits, (SELECT e.held, p.tier FROM events e JOIN places p USING (city)) a", 4 * 4),
        ("visits, (SELECT held FROM events QUALIFY row_number() OVER (ORDER BY held) <= 2) a", 4 * 2),
        ("visits, (SELECT held FROM events QUALIFY row_number() OVER (PARTITION BY level) = 1) a", 4 * 4),
        ("visits, (SELECT held, row_number() OVER (ORDER BY held) AS n FROM events) a WHERE n < 3", 4 * 2),
    ],
)  # fmt: skip
def test_what_repeats_no_value_known_repeats_as_often_as_it_has_rows(text, most):
    assert relation(text).max_rows == most


@pytest.mark.parametrize(
    "text",
    ["visits, places", "visits JOIN places ON TRUE", "places p, visits v", "visits LEFT JOIN places ON age > tier"],
)
def test_a_whole_table_meets_no_more_rows_of_a_unit_than_count(text):
    """Whoever has more rows than `max_rows` must not make work for each of them with each row of a table."""
    found = relation(text)
    assert found.bounded
    assert '(SELECT * FROM "visits" WHERE "_rn" < 4) AS t' in found.from_sql


def test_one_row_multiplies_nothing():
    assert not relation("visits, provinces").bounded
    assert not relation("visits, (SELECT max(tier) AS t FROM places) a").bounded


def test_comparing_columns_of_two_tables_stays_visible_to_the_optimizer():
    on, where = (relation(f"visits JOIN places ON {c}") for c in ("age BETWEEN tier AND tier", "age > tier + 1"))
    assert [r.conditions[0].startswith("TRY") for r in (on, where)] == [False, True]


def test_a_public_table_that_nobody_has_counted_may_be_joined_where_it_is_unique():
    uncounted = replace(FACTS, tables=(VISITS, replace(PLACES, rows=None)))
    assert relation("visits JOIN places USING (city)", uncounted).max_rows == 4
    for text in (
        "visits, places",
        "visits JOIN places ON age = tier",
        "visits, (SELECT * FROM places UNION ALL SELECT * FROM places) a",
    ):
        assert "known how many rows" in refusal(lambda t=text: relation(t, uncounted), "sql.join_fan_out_unknown").say(
            "en"
        )


def test_an_empty_public_table_leaves_the_bound_of_the_private_one():
    facts = replace(FACTS, tables=(VISITS, replace(PLACES, rows=0)))
    assert relation("visits LEFT JOIN places ON age > tier", facts).max_rows == 4
    assert relation("visits, (SELECT * FROM places UNION ALL SELECT * FROM places) a", facts).max_rows == 4


def test_a_table_that_is_too_large_for_one_unit_is_named():
    def large(rows: int):
        return replace(FACTS, tables=(VISITS, EVENTS, replace(PLACES, rows=rows)))

    assert relation("visits, places", large(MAX_PAIRED_ROWS // 4)).max_rows == MAX_PAIRED_ROWS
    problem = refusal(lambda: relation("visits, events, places p", large(MAX_PAIRED_ROWS // 4)), "sql.join_too_large")
    assert problem.say("en").startswith(f"With the rows of p, one person may come to {4 * MAX_PAIRED_ROWS}; at most")
    tier = "visits JOIN places ON places.tier = visits.age"
    assert relation(tier, large(MAX_UNIT_ROWS // 4)).max_rows == MAX_UNIT_ROWS
    refusal(lambda: relation(tier, large(MAX_UNIT_ROWS // 4 + 1)), "sql.join_too_large")


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        ("nothing", "sql.unknown_table", "no table nothing"),
        ("'x.csv'", "sql.unknown_table", "no table x.csv"),
        ("(SELECT 1)", "sql.unsupported", "a SELECT without FROM is not accepted"),
        ("read_csv('x')", "sql.unsupported", "a table function in FROM is not accepted"),
        ("visits JOIN visits USING (city)", "sql.unsupported", "the name visits for two"),
        ("places", "sql.no_private_table", "uses no private table"),
        ("visits JOIN wages ON visits.person_id > wages.person_id", "sql.unit_column", "person_id identifies a person"),
        ("visits JOIN places", "sql.join_needs_condition", "JOIN with places has no condition"),
        ("visits INNER JOIN places WHERE tier = age", "sql.join_needs_condition", "INNER JOIN with places has no condition"),
        ("visits CROSS JOIN places ON age = tier", "sql.unsupported", "CROSS JOIN with a condition is not accepted"),
        ("visits JOIN places ON visits.city", "sql.type_mismatch", "ON does not accept text"),
        ("visits JOIN places ON visits.city = tier", "sql.type_mismatch", "= does not accept integer, text"),
        ("places LEFT JOIN visits USING (city)", "sql.join_loses_unit", "rows of places that belong to no person"),
        ("visits RIGHT JOIN places USING (city)", "sql.unsupported", "RIGHT JOIN is not accepted"),
        ("visits LEFT SEMI JOIN places USING (city)", "sql.unsupported", "LEFT SEMI JOIN is not accepted"),
        ("visits JOIN places USING (nothing)", "sql.unknown_column", "no column places.nothing"),
        ("visits JOIN events ON visits.person_id = events.level", "sql.unit_column", "person_id identifies a person"),
    ],
)  # fmt: skip
def test_what_from_refuses(text, code, said):
    problem = refusal(lambda: relation(text), code)
    assert said in problem.say("en")
    assert problem.say("zh-CN")
    assert problem.advise("en")


def test_refusals_name_what_may_be_used():
    assert "visits, wages" in refusal(lambda: relation("places"), "sql.no_private_table").advise("en")
    apart = refusal(lambda: relation("visits v JOIN visits w ON v.city = w.city"), "sql.private_not_on_unit")
    assert "v.person_id = w.person_id" in apart.advise("en")
    no_from = refusal(lambda: resolve_from(parse_select("SELECT 1"), FACTS), "sql.no_private_table")
    assert "visits, wages" in no_from.advise("zh-CN")


def test_a_using_column_that_is_the_unit_is_refused():
    hints = TableFacts(name="hints", rows=1, columns=(ColumnFacts(name="person_id", kind=Kind.INTEGER, max_repeats=1),))
    facts = replace(FACTS, tables=(VISITS, hints))
    refusal(lambda: relation("visits JOIN hints USING (person_id)", facts), "sql.unit_column")
    refusal(lambda: relation("hints JOIN visits USING (person_id)", facts), "sql.unit_column")


def test_using_columns_of_different_types_are_refused():
    other = TableFacts(name="other", rows=1, columns=(ColumnFacts(name="city", kind=Kind.INTEGER, max_repeats=1),))
    facts = replace(FACTS, tables=(VISITS, other))
    refusal(lambda: relation("visits JOIN other USING (city)", facts), "sql.type_mismatch")


def test_too_many_joins_are_refused():
    joins = " ".join(f"JOIN places p{i} ON p{i}.city = visits.city" for i in range(MAX_JOINS))
    assert relation(f"visits {joins}").max_rows == 4
    problem = refusal(lambda: relation(f"visits {joins} JOIN places USING (city)"), "sql.too_many_parts")
    assert problem.say("en") == f"The question has {MAX_JOINS + 1} joins; at most {MAX_JOINS} are accepted."


def test_a_unit_may_not_own_too_many_rows():
    many = replace(VISITS, max_rows=MAX_UNIT_ROWS // 2)
    facts = replace(FACTS, tables=(many, *FACTS.tables[1:]))
    assert relation("visits JOIN events USING (city)", facts).max_rows == MAX_UNIT_ROWS
    problem = refusal(lambda: relation("visits JOIN events USING (level)", facts), "sql.join_too_large")
    assert problem.params["count"] == MAX_UNIT_ROWS // 2 * 3


def joined(text: str) -> Reader:
    return Reader(relation(text).scope)


def test_a_column_in_two_tables_needs_its_table_unless_using_made_them_one():
    problem = refusal(
        lambda: joined("visits JOIN places ON visits.city = places.city").read(node("city")), "sql.ambiguous_column"
    )
    assert problem.advise("en") == "Write the table's name before it: visits.city, places.city."
    assert joined("visits JOIN places USING (city)").read(node("city")).sql == 'CAST(t0."city" AS VARCHAR)'
    both = joined("visits JOIN places USING (city) JOIN events ON events.city = visits.city")
    refusal(lambda: both.read(node("city")), "sql.ambiguous_column")
    assert both.read(node("EVENTS.City")).sql == 'CAST(t2."city" AS VARCHAR)'


def test_an_unknown_column_lists_the_known_ones():
    problem = refusal(lambda: term("nothing"), "sql.unknown_column")
    assert problem.advise("en").startswith("The columns are: person_id, city,")
    two = refusal(lambda: joined("visits JOIN places USING (city)").read(node("x.y")), "sql.unknown_column")
    assert two.say("en").startswith("There is no column x.y ")
    assert "places.tier" in two.advise("en")


def test_left_joined_columns_may_be_missing():
    reader = joined("visits LEFT JOIN places USING (city)")
    assert reader.read(node("tier")).nullable
    assert not reader.read(node("age")).nullable
    assert not joined("visits JOIN places USING (city)").read(node("tier")).nullable


def test_only_a_plain_reference_is_the_unit():
    assert SCOPE.is_unit(node("person_id"))
    assert SCOPE.is_unit(node("visits.PERSON_ID"))
    assert not SCOPE.is_unit(node("age"))
    assert not SCOPE.is_unit(node("person_id + 0"))
    public = RowScope((stored("p", "t1", replace(PLACES, columns=(VISITS.columns[0],))),))
    assert not public.is_unit(node("person_id")), "a public column of the same name is no unit"
    assert SCOPE.known(node("age")) is None


@pytest.mark.parametrize(
    ("column", "sql"),
    [
        (ColumnFacts(name="x", kind=Kind.INTEGER, step=Decimal(1)), 'CAST(t0."x" AS BIGINT)'),
        (ColumnFacts(name="x", kind=Kind.INTEGER, step=Decimal(5)), 'TRY(CAST(t0."x" AS BIGINT) * 5)'),
        (ColumnFacts(name="x", kind=Kind.INTEGER, step=Decimal(5), upper=Decimal(10)), '(CAST(t0."x" AS BIGINT) * 5)'),
        (
            ColumnFacts(name="x", kind=Kind.INTEGER, step=Decimal(5), upper=Decimal(SAFE_INTEGER + 1)),
            'TRY(CAST(t0."x" AS BIGINT) * 5)',
        ),
        (ColumnFacts(name="x", kind=Kind.NUMBER, step=Decimal("0.25")), '(CAST(t0."x" AS BIGINT) / 4::DOUBLE)'),
        (ColumnFacts(name="x", kind=Kind.NUMBER, step=Decimal(1)), 'CAST(CAST(t0."x" AS BIGINT) AS DOUBLE)'),
        (
            ColumnFacts(name="x", kind=Kind.NUMBER, step=Decimal("0.4"), lower=Decimal(-1), upper=Decimal(1)),
            '((CAST(t0."x" AS BIGINT) * 2) / 5::DOUBLE)',
        ),
        (ColumnFacts(name='a"b', kind=Kind.BOOLEAN), 't0."a""b"'),
        (ColumnFacts(name="列", kind=Kind.TEXT), 'CAST(t0."列" AS VARCHAR)'),
    ],
)
def test_a_stored_column_is_decoded(column, sql):
    facts = with_columns(column).tables[0]
    quoted = '"' + column.name.replace('"', '""') + '"'
    assert Reader(RowScope((stored("t", "t0", facts),))).read(node(quoted)).sql == sql


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("age", (Kind.INTEGER, False, 0, 120, 1, None, None, None)),
        ("fee", (Kind.INTEGER, False, 0, 90_000, 300, None, None, None)),
        ("amount", (Kind.NUMBER, True, 0, 5000, Fraction(1, 100), None, None, None)),
        ("bags", (Kind.NUMBER, False, None, None, 5, None, None, None)),
        ("level", (Kind.INTEGER, False, 1, 3, 1, None, None, (1, 2, 3))),
        ("rate", (Kind.NUMBER, False, Fraction(1, 4), 1, Fraction(1, 4), None, None, (0.25, 1.0))),
        ("city", (Kind.TEXT, False, None, None, None, None, None, ("东", "西"))),
        ("dept", (Kind.TEXT, True, None, None, None, None, None, None)),
        ("urgent", (Kind.BOOLEAN, True, None, None, None, None, None, (False, True))),
        ("day", (Kind.DATE, False, None, None, None, date(2023, 1, 5), date(2024, 2, 29), None)),
        ("at", (Kind.TIMESTAMP, False, None, None, None, date(2023, 1, 5), date(2024, 2, 29), None)),
        ("born", (Kind.DATE, True, None, None, None, None, None, None)),
    ],
)
def test_what_is_known_of_a_column(name, known):
    t = term(name)
    assert (t.kind, t.nullable, t.low, t.high, t.step, t.since, t.until, t.domain) == known


def test_two_listed_keys_that_are_one_double_are_one_key():
    column = ColumnFacts(
        name="x", kind=Kind.NUMBER, keys=Keys.PUBLIC, domain=(Decimal("0.1"), Decimal("0.1000000000000000001"))
    )
    scope = RowScope((stored("t", "t0", with_columns(column).tables[0]),))
    assert Reader(scope).read(node("x")).domain == (0.1,)


def test_where_tries_each_part_of_a_conjunction_on_its_own():
    assert row_condition(node("(age > 1 AND (urgent)) AND NULL"), SCOPE) == written(
        'TRY(({age} > 1::BIGINT)) AND TRY(t0."urgent") AND TRY(NULL)'
    )
    refusal(lambda: row_condition(node("urgent AND age"), SCOPE), "sql.type_mismatch")

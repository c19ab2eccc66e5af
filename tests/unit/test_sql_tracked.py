"""Subqueries on paper: what is known of their columns, how many rows of a unit they hold, and what they become."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest

from privacy.facts import ColumnFacts, Kind, PrivacyUnit
from privacy.sql.joins import MAX_PAIRED_ROWS
from privacy.sql.parse import parse_select
from privacy.sql.resolve import Derived
from privacy.sql.tracked import MAX_LEVELS, Names
from tests.fakes.ward import FACTS, PLACES, RESIDENT, VISITS, WAGES, plan, refused

PAYS = replace(
    WAGES,
    name="pays",
    columns=(*WAGES.columns, ColumnFacts(name="wage", kind=Kind.INTEGER, lower=None, upper=None, nullable=True)),
)
FIRMS = replace(PAYS, name="firms", unit=PrivacyUnit(column="person_id", stands_for="firm", space="firm-id"))
HOUSE = replace(FACTS, tables=(*FACTS.tables, PAYS, FIRMS))


def derived(text: str) -> Derived:
    return Names(facts=HOUSE).derived(parse_select(f"SELECT * FROM ({text}) x"))


def known(text: str) -> dict[str, tuple[object, ...]]:
    """What is known of each column, by its name; None for the unit."""
    return {
        c.name: (c.term and (c.term.kind, c.term.nullable, c.term.low, c.term.high, c.term.step, c.term.domain))
        for c in derived(text).columns
    }


def per_unit(item: str, more: str = "") -> tuple[object, ...]:
    return known(f"SELECT {item} AS x FROM visits GROUP BY person_id{more}")["x"]


WHOLE, REAL = Kind.INTEGER, Kind.NUMBER


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        ("count(*)", (WHOLE, False, 1, 4, 1, (1, 2, 3, 4))),
        ("count(person_id)", (WHOLE, False, 1, 4, 1, (1, 2, 3, 4))),
        ("count(amount)", (WHOLE, False, 0, 4, 1, (0, 1, 2, 3, 4))),
        ("count(DISTINCT city)", (WHOLE, False, 0, 4, 1, (0, 1, 2, 3, 4))),
        ("count(DISTINCT person_id)", (WHOLE, False, 0, 4, 1, (0, 1, 2, 3, 4))),
        ("count_if(urgent)", (WHOLE, False, 0, 4, 1, (0, 1, 2, 3, 4))),
        ("count(*) FILTER (WHERE urgent)", (WHOLE, False, 0, 4, 1, (0, 1, 2, 3, 4))),
        ("sum(age)", (WHOLE, False, 0, 480, 1, tuple(range(481)))),
        ("sum(grade)", (WHOLE, True, -8, 12, 1, tuple(range(-8, 13)))),
        ("sum(level)", (WHOLE, False, 1, 12, 1, tuple(range(1, 13)))),
        ("sum(urgent)", (WHOLE, True, 0, 4, 1, (0, 1, 2, 3, 4))),
        ("sum(stock)", (WHOLE, True, None, None, 1, None)),
        ("sum(age) FILTER (WHERE urgent)", (WHOLE, True, 0, 480, 1, tuple(range(481)))),
        ("sum(age * 100000000000000000)", (WHOLE, True, 0, 48 * 10**18, 1, None)),
        ("sum(amount)", (REAL, True, 0, 20_000, Fraction(1, 100), None)),
        ("sum(score)", (REAL, False, -40, 40, Fraction(1, 4), None)),
        ("avg(score)", (REAL, False, -10, 10, None, None)),
        ("avg(age)", (REAL, False, 0, 120, None, None)),
        ("avg(stock)", (REAL, True, None, None, None, None)),
        ("min(level)", (WHOLE, False, 1, 3, 1, (1, 2, 3))),
        ("max(dept)", (Kind.TEXT, True, None, None, None, None)),
        ("max(city) FILTER (WHERE urgent)", (Kind.TEXT, True, None, None, None, ("东", "西"))),
        ("bool_or(urgent)", (Kind.BOOLEAN, True, None, None, None, (False, True))),
        ("bool_and(age > 3)", (Kind.BOOLEAN, False, None, None, None, (False, True))),
        ("var_pop(score)", (REAL, True, 0, 100, None, None)),
        ("var_samp(age)", (REAL, True, 0, 7200, None, None)),
        ("stddev_pop(score)", (REAL, True, 0, 10, None, None)),
        ("count(*) + 1", (WHOLE, False, 2, 5, 1, (2, 3, 4, 5))),
        ("min(NULL)", (None, True, None, None, None, ())),
    ],
)
def test_what_is_known_of_an_aggregate_within_a_unit(item, expected):
    assert per_unit(item) == expected


def test_numbers_beyond_a_lattice_get_a_coarser_one():
    assert per_unit("sum(least(greatest(sqrt(amount), 0), 1))")[4] == Fraction(1, 10**12)
    assert per_unit("sum(0.0 * amount)")[2:5] == (0, 0, 1)
    assert per_unit("sum(amount * 100000000000)")[4] == 10**9
    assert per_unit("var_pop(age * 10000000000000)")[3] == Fraction(120 * 10**13) ** 2 / 4


@pytest.mark.parametrize(
    ("text", "most"),
    [
        ("SELECT * FROM visits", 4),
        ("SELECT person_id FROM visits GROUP BY person_id", 1),
        ("SELECT person_id FROM visits GROUP BY (person_id), level", 3),
        ("SELECT person_id FROM visits GROUP BY person_id, level, city", 4),
        ("SELECT person_id FROM visits GROUP BY person_id, dept", 4),
        ("SELECT DISTINCT person_id, city FROM visits", 2),
        ("SELECT DISTINCT person_id, dept FROM visits", 4),
        ("SELECT DISTINCT person_id, urgent FROM visits", 3),
        ("SELECT DISTINCT person_id FROM visits", 1),
        ("SELECT city FROM visits UNION ALL SELECT dept FROM visits", 8),
        ("SELECT age FROM visits JOIN wages USING (person_id)", 8),
        ("SELECT age FROM visits v LEFT JOIN wages w ON v.person_id = w.person_id AND v.age > 3", 8),
        ("SELECT age FROM visits SEMI JOIN wages USING (person_id)", 4),
        ("SELECT age FROM visits QUALIFY row_number() OVER (PARTITION BY person_id ORDER BY age) = 1", 1),
        ("SELECT age FROM visits QUALIFY row_number() OVER (PARTITION BY person_id ORDER BY age) < 3", 2),
        ("SELECT row_number() OVER (PARTITION BY person_id) AS n FROM visits QUALIFY n <= 3 AND age > 4", 3),
        ("SELECT age FROM visits QUALIFY row_number() OVER (PARTITION BY person_id, age) = 1", 4),
        ("SELECT age FROM visits QUALIFY row_number() OVER (PARTITION BY (person_id)) = 3", 1),
        ("SELECT age FROM visits QUALIFY row_number() OVER (PARTITION BY person_id) = age", 4),
        ("SELECT age FROM visits QUALIFY row_number() OVER (PARTITION BY person_id) <= 2.5", 4),
        ("SELECT age FROM visits QUALIFY row_number() OVER (PARTITION BY person_id) < 0", 1),
    ],
)
def test_how_many_rows_of_a_unit_there_are(text, most):
    assert derived(text).max_rows == most


OWN = "PARTITION BY person_id"
RANKED = "(SELECT age, row_number() OVER (PARTITION BY person_id ORDER BY day) AS n, age AS person FROM visits) r"


@pytest.mark.parametrize(
    ("text", "most"),
    [
        (f"{RANKED} WHERE n = 1", 1),
        (f"{RANKED} WHERE r.n <= 2 AND age > 3", 2),
        (f"(SELECT n AS m FROM {RANKED}) s WHERE m < 3", 2),
        (f"{RANKED} WHERE n > 1", 4),
        (f"{RANKED} WHERE age = 1", 4),
        (f"{RANKED} WHERE n + 0 = 1", 4),
        (f"(SELECT n FROM {RANKED} JOIN places ON places.tier = r.age AND places.city = '东') s WHERE n = 1", 12),
        (f"visits v JOIN {RANKED.replace('age,', 'person_id AS u, age,')} ON r.u = v.person_id WHERE n = 1", 4),
    ],
)
def test_numbered_rows_are_as_many_as_where_keeps(text, most):
    tiers = replace(PLACES, columns=(*PLACES.columns[:2], replace(PLACES.columns[2], max_repeats=3)))
    facts = replace(FACTS, tables=(VISITS, tiers))
    assert plan(f"SELECT count(*) FROM {text}", facts).max_rows == most


def test_a_derived_relation_names_its_columns_as_duckdb_does():
    inner = "(SELECT *, age AS age_1, 2 AS count FROM visits) v"
    found = derived(f"SELECT age, person_id, age, 1 AS Age, age_1, count FROM {inner}")
    assert [c.name for c in found.columns] == ["age", "person_id", "age_1", "Age_2", "age_1_1", "count"]


def test_a_star_leaves_out_what_it_is_told_to_and_names_merged_columns_once():
    joined = "visits JOIN places USING (city)"
    assert [n for n in known(f"SELECT * FROM {joined}") if n == "city"] == ["city"]
    assert "city_1" not in known(f"SELECT * FROM {joined}")
    assert list(known("SELECT p.* FROM visits v JOIN places p USING (city)")) == ["city", "province", "tier"]
    assert list(known("SELECT * EXCLUDE (city, TIER) FROM places")) == ["province"]
    refused("SELECT count(*) FROM (SELECT w.* FROM visits v) x", "sql.unsupported", HOUSE)


def test_the_unit_is_a_plain_reference_and_nothing_else():
    columns = {
        c.name: c.term for c in derived("SELECT person_id AS p, (person_id) AS q, 1 AS person_id FROM visits").columns
    }
    assert (columns["p"], columns["q"]) == (None, None)
    assert columns["person_id"] is not None


def test_what_is_always_null_has_no_text():
    found = derived("SELECT NULL AS a, 1 AS b FROM visits")
    assert " AS c0" not in found.sql
    assert found.columns[0].term.sql == "NULL"
    public = derived("SELECT NULL AS a FROM places UNION ALL SELECT NULL FROM places")
    assert "SELECT 1 FROM" in public.sql


def test_windows_see_rows_in_an_order_that_has_no_ties():
    def over(item: str, source: str = "visits") -> str:
        return derived(f"SELECT {item} AS x FROM {source}").sql

    own = 'PARTITION BY t0."_uid"'
    assert f'row_number() OVER ({own} ORDER BY t0."_rn" ASC NULLS LAST)' in over(
        "row_number() OVER (PARTITION BY person_id)"
    )
    ranked = over("rank() OVER (PARTITION BY person_id ORDER BY age)")
    assert f'rank() OVER ({own} ORDER BY CAST(t0."age" AS BIGINT) ASC NULLS LAST)' in ranked
    rows = "ROWS BETWEEN 2 PRECEDING AND 1 FOLLOWING"
    summed = over(f"sum(age) OVER (PARTITION BY person_id, age + 1 ORDER BY day {rows})")
    assert f'ORDER BY t0."day" ASC NULLS LAST, t0."_rn" ASC NULLS LAST {rows})' in summed
    assert "ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW" in over(
        "last_value(age) OVER (PARTITION BY person_id ORDER BY day ROWS UNBOUNDED PRECEDING)"
    )
    default = "RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW"
    assert "RANGE" not in over(f"sum(age) OVER (PARTITION BY person_id ORDER BY day {default})")
    joined = over("lag(age) OVER (PARTITION BY visits.person_id)", "visits JOIN places USING (city)")
    assert 't0."_rn" ASC NULLS LAST, t1."city" ASC NULLS LAST, t1."province" ASC NULLS LAST' in joined
    twice = over("lag(a) OVER (PARTITION BY p)", "(SELECT person_id AS p, age AS a, NULL AS z FROM visits) v")
    assert "ORDER BY t0.c1 ASC NULLS LAST)" in twice
    assert "row_number() OVER (ORDER BY " in over("row_number() OVER (ORDER BY tier)", "places")
    assert "count(*) OVER ()" in over("count(*) OVER ()", "places")


def test_public_relations_may_be_grouped_and_joined_as_they_are():
    grouped = derived("SELECT city, count(*) AS n, sum(tier) AS s, max(tier) AS top FROM places GROUP BY city")
    assert [c.max_repeats for c in grouped.columns] == [1, None, None, None]
    assert grouped.columns[1].term.high is None
    assert grouped.columns[2].term.high is None
    assert derived("SELECT DISTINCT tier FROM places").columns[0].max_repeats == 1
    assert derived("SELECT DISTINCT tier, city FROM places").columns[0].max_repeats is None
    assert derived("SELECT city AS c, tier FROM places WHERE tier > 1").columns[0].max_repeats == 1
    assert derived("SELECT places.city FROM places JOIN provinces USING (province)").columns[0].max_repeats is None
    assert derived("SELECT max(tier) AS m FROM places").columns[0].term.nullable
    assert derived("SELECT count(*) AS m FROM places").columns[0].term.low == 0
    assert "SELECT 1 FROM" in derived("SELECT 1 AS x FROM places QUALIFY TRUE").sql
    joined = "SELECT count(*) FROM visits JOIN (SELECT DISTINCT city FROM places) p USING (city)"
    assert plan(joined).max_rows == 4


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        ("(SELECT age FROM visits WHERE count(*) > 1) x", "sql.misplaced_aggregate", "COUNT cannot stand here"),
        ("(SELECT sum(max(age)) AS a FROM visits GROUP BY person_id) x", "sql.misplaced_aggregate", "SUM cannot stand"),
        ("(SELECT max(age, 2) AS a FROM visits GROUP BY person_id) x", "sql.unsupported", "MAX … COUNT"),
        ("(SELECT max(DISTINCT age) AS a FROM visits GROUP BY person_id) x", "sql.unsupported", "MAX(DISTINCT …)"),
        ("(SELECT count(DISTINCT age, fee) AS a FROM visits GROUP BY person_id) x", "sql.unsupported", "several columns"),
        ("(SELECT var_pop(stock) AS a FROM visits GROUP BY person_id) x", "sql.unbounded", "VAR_POP needs"),
        ("(SELECT sum(city) AS a FROM visits GROUP BY person_id) x", "sql.type_mismatch", "SUM does not accept text"),
        ("(SELECT bool_or(age) AS a FROM visits GROUP BY person_id) x", "sql.type_mismatch", "BOOL_OR does not accept"),
        ("(SELECT count(*) FILTER (WHERE age) AS a FROM visits GROUP BY person_id) x", "sql.type_mismatch", "FILTER"),
        ("(SELECT mode(age) AS a FROM visits GROUP BY person_id) x", "sql.unsupported", "MODE within one unit"),
        ("(SELECT 1 AS a FROM visits GROUP BY person_id, CUBE (age)) x", "sql.unsupported", "CUBE"),
        ("(SELECT 1 AS a FROM visits GROUP BY 2) x", "sql.bad_position", "from 1 to 1"),
        ("(SELECT age FROM visits GROUP BY person_id, fee) x", "sql.not_grouped", "age is neither inside"),
        ("(SELECT count(*) AS n FROM visits GROUP BY person_id HAVING n) x", "sql.type_mismatch", "HAVING does not accept"),
        ("(SELECT count(*) AS n FROM visits GROUP BY person_id QUALIFY n = 1) x", "sql.unsupported", "QUALIFY beside GROUP"),
        ("(SELECT * EXCLUDE (z, age) FROM visits) x", "sql.unknown_column", "no column z"),
        ("(SELECT count(*) AS n FROM visits GROUP BY person_id HAVING z > 1) x", "sql.unknown_column", "no column z"),
        ("(SELECT rank() OVER w AS r FROM visits) x", "sql.unsupported", "WINDOW … ALIAS"),
        ("(SELECT rank(age) OVER (PARTITION BY person_id) AS r FROM visits) x", "sql.unsupported", "RANK … EXPRESSIONS"),
        ("(SELECT rank() OVER (PARTITION BY person_id ROWS 1 PRECEDING) AS r FROM visits) x", "sql.unsupported", "a frame"),
        ("(SELECT lag(age, 20000) OVER (PARTITION BY person_id) AS r FROM visits) x", "sql.unsupported", "in lag"),
        ("(SELECT lag(age, 1, 'x') OVER (PARTITION BY person_id) AS r FROM visits) x", "sql.type_mismatch", "LAG"),
        ("(SELECT lag(age IGNORE NULLS) OVER (PARTITION BY person_id) AS r FROM visits) x", "sql.unsupported", "within one"),
        ("(SELECT count(DISTINCT age) OVER (PARTITION BY person_id) AS r FROM visits) x", "sql.unsupported", "DISTINCT in a"),
        (f"(SELECT sum(age) OVER ({OWN} ROWS age PRECEDING) AS r FROM visits) x", "sql.unsupported", "in ROWS"),
        (f"(SELECT sum(age) OVER ({OWN} RANGE 1 PRECEDING) AS r FROM visits) x", "sql.unsupported", "RANGE frame"),
        (f"(SELECT sum(rank() OVER ({OWN})) OVER ({OWN}) AS r FROM visits) x", "sql.misplaced_aggregate", "SUM"),
        ("(SELECT age FROM visits QUALIFY age) x", "sql.type_mismatch", "QUALIFY does not accept integer"),
        ("visits v JOIN pays p USING (person_id) JOIN firms f ON f.wage = p.wage", "sql.different_units", "f is about a firm"),
        ("visits v JOIN firms f USING (person_id)", "sql.different_units", "f is about a firm"),
        ("(SELECT city FROM places SEMI JOIN visits USING (city)) x", "sql.join_loses_unit", "rows of places that belong"),
        ("visits v SEMI JOIN places p", "sql.join_needs_condition", "SEMI JOIN with p has no condition"),
        ("visits v LEFT JOIN places p", "sql.join_needs_condition", "LEFT JOIN with p has no condition"),
        ("visits v SEMI JOIN firms f ON f.wage = v.age", "sql.different_units", "f is about a firm"),
        ("visits WHERE (person_id, age) IN (SELECT person_id FROM wages)", "sql.unsupported", "columns (2 / 1)"),
        ("visits WHERE NOT (age IN ((SELECT 1), 2))", "sql.unsupported", "a subquery is not accepted"),
        ("visits WHERE city IN (SELECT tier FROM places)", "sql.type_mismatch", "IN does not accept integer, text"),
        ("visits WHERE EXISTS (SELECT nothing FROM places)", "sql.unknown_column", "no column nothing"),
        ("visits v WHERE EXISTS (SELECT 1 FROM places v WHERE v.age > 1)", "sql.unknown_column", "no column v.age"),
        ("(SELECT * FROM visits) x(a, b) WHERE age > 1 AND c > 1", "sql.unknown_column", "no column c"),
        ("visits TABLESAMPLE 10%", "sql.unsupported", "SAMPLE is not accepted"),
    ],
)  # fmt: skip
def test_what_subqueries_refuse(text, code, said):
    assert said in refused(f"SELECT count(*) FROM {text}", code, HOUSE).say("en")


def test_names_given_by_with_count_in_order_and_shadow_tables():
    text = "WITH a AS (SELECT person_id, age FROM visits), b(x) AS (SELECT age FROM a) SELECT sum(x) FROM b"
    assert plan(text).tables == ("visits",)
    assert plan("WITH visits AS (SELECT * FROM visits) SELECT sum(age) FROM VISITS").tables == ("visits",)
    inner = (
        "SELECT sum(x) FROM (WITH places AS (SELECT age AS x FROM visits) SELECT * FROM places) y JOIN places ON TRUE"
    )
    assert plan(inner).tables == ("visits", "places")
    unknown = refused(
        "WITH a AS (SELECT * FROM b), b AS (SELECT * FROM visits) SELECT count(*) FROM a", "sql.unknown_table"
    )
    assert "visits" in unknown.advise("en")
    assert "a" in refused("WITH a AS (SELECT * FROM visits) SELECT count(*) FROM z", "sql.unknown_table").advise("en")


def test_subqueries_may_be_so_deep_and_no_deeper():
    def nested(levels: int) -> str:
        names = "".join(f", a{i} AS (SELECT age FROM a{i - 1})" for i in range(1, levels))
        return f"WITH a0 AS (SELECT age FROM visits){names} SELECT count(*) FROM a{levels - 1}"

    assert plan(nested(MAX_LEVELS))
    assert refused(nested(MAX_LEVELS + 1), "sql.too_many_parts").params["count"] == MAX_LEVELS + 1


def test_text_of_subqueries_is_limited():
    wide = ", ".join(f"'{'x' * 900}' AS c{i}" for i in range(20))
    text = f"WITH a AS (SELECT person_id, {wide} FROM visits) SELECT count(*) FROM visits WHERE "
    assert plan(text + "person_id IN (SELECT person_id FROM a)")
    refused(text + " OR ".join(["person_id IN (SELECT person_id FROM a)"] * 20), "sql.too_many_parts")


def test_texts_that_subqueries_join_are_counted_together():
    pair = "SELECT city || dept AS t, person_id FROM visits"
    assert plan(f"SELECT count({' || '.join(['t'] * 17)}) FROM ({pair}) x"), "2 · 32 texts"
    wide = f"SELECT count({' || '.join(['t'] * 33)}) FROM ({pair}) x"
    assert refused(wide, "sql.too_many_parts").params["count"] == 2 * 64


def test_rows_of_one_unit_may_decide_about_each_other():
    def where(text: str) -> str:
        return plan(f"SELECT count(*) FROM visits v WHERE {text}", HOUSE).rows_sql

    member = where("person_id IN (SELECT p.person_id FROM pays p WHERE p.wage > 5)")
    assert 't0."_uid" IN (SELECT q."_uid" FROM (SELECT t0."_uid" AS "_uid" FROM "pays" AS t0 WHERE' in member
    beside = where("EXISTS (SELECT * FROM pays p WHERE p.person_id = v.person_id AND p.wage > v.age)")
    few = '(SELECT * FROM "pays" WHERE "_rn" < 2) AS et0'
    assert f'EXISTS (SELECT 1 FROM {few} WHERE et0."_uid" = t0."_uid" AND ((CAST(et0."wage"' in beside
    assert "NOT EXISTS" in where("NOT EXISTS (SELECT 1 FROM pays p WHERE v.person_id = p.person_id)").replace(
        "(NOT ", "NOT "
    )
    both = where("urgent OR (age > 3 AND person_id NOT IN (SELECT person_id FROM pays))")
    assert '(TRY(t0."urgent") OR ((TRY(' not in both
    assert '(TRY(t0."urgent") OR (TRY(' in both
    assert "EXISTS (SELECT 1 FROM" in where("EXISTS (SELECT 1 FROM places)")
    assert "TRY((" in where("age IN (1, 2)")


def test_rows_of_a_unit_that_meet_each_other_are_no_more_than_count():
    few = '(SELECT * FROM "visits" WHERE "_rn" < 4)'
    pair = derived("SELECT a.age FROM visits a JOIN visits b USING (person_id)")
    assert f'{few} AS t0 CROSS JOIN {few} AS t1 WHERE t0."_uid" = t1."_uid"' in pair.sql
    assert pair.bounded
    semi = derived("SELECT age FROM visits SEMI JOIN wages USING (person_id)")
    assert '"visits" AS t0 WHERE EXISTS (SELECT 1 FROM (SELECT * FROM "wages" WHERE "_rn" < 2) AS t1' in semi.sql
    assert not semi.bounded
    some = "(SELECT person_id, age, NULL AS z FROM visits WHERE urgent)"
    cut = 'QUALIFY row_number() OVER (PARTITION BY "_uid" ORDER BY c1) <= 4) AS t0 CROSS JOIN'
    assert cut in derived(f"SELECT b.age FROM {some} a JOIN visits b USING (person_id)").sql
    assert (
        'QUALIFY row_number() OVER (PARTITION BY "_uid") <= 4) AS t0'
        in derived("SELECT b.age FROM (SELECT person_id FROM visits) a JOIN visits b USING (person_id)").sql
    )
    one = "(SELECT person_id, max(age) AS age FROM visits GROUP BY person_id)"
    assert "QUALIFY" not in derived(f"SELECT a.age FROM {one} a JOIN {one} b USING (person_id)").sql
    assert derived(f"SELECT person_id FROM {one} a UNION ALL SELECT person_id FROM {one} b").bounded
    assert not derived(f"SELECT person_id FROM {one} a UNION ALL SELECT person_id FROM visits b").bounded


def test_rows_of_a_unit_multiply_so_far_and_no_further():
    many = replace(VISITS, max_rows=MAX_PAIRED_ROWS // 2)
    facts = replace(HOUSE, tables=(many, *HOUSE.tables[1:]))
    assert plan("SELECT count(*) FROM visits JOIN wages USING (person_id)", facts).max_rows == MAX_PAIRED_ROWS
    text = "SELECT count(*) FROM visits JOIN wages USING (person_id) JOIN pays USING (person_id)"
    assert refused(text, "sql.join_too_large", facts).params["limit"] == MAX_PAIRED_ROWS


def test_rows_that_are_only_looked_for_multiply_no_row_but_are_as_much_work():
    """Behind EXISTS, too, rows of a unit beside whole tables are no more than nobody can tell by the time."""
    large = [replace(t, rows=2**10) if t.name == "events" else t for t in HOUSE.tables]

    def exists(rows: str, where: str) -> str:
        return f"SELECT count(*) FROM visits v WHERE EXISTS (SELECT 1 FROM {rows} WHERE w.person_id = v.person_id AND {where})"

    def asked(rows: str, where: str):
        return plan(exists(rows, where), replace(HOUSE, tables=tuple(large)))

    assert asked("wages w JOIN pays p USING (person_id), events a", "a.level > p.wage").max_rows == 4
    assert asked("wages w, events a, events b", "a.city = v.city AND b.level = a.level").max_rows == 4
    refused(
        exists("wages w, events a, events b", "a.level > b.level"),
        "sql.join_too_large",
        replace(HOUSE, tables=tuple(large)),
    )
    refused(exists("wages w, pays p", "w.wage = p.wage"), "sql.private_not_on_unit", HOUSE)
    refused(exists("wages w, pays p", "p.person_id = v.person_id"), "sql.private_not_on_unit", HOUSE)
    refused("SELECT count(*) FROM visits v, events e WHERE e.level = v.nothing", "sql.unknown_column", HOUSE)


def test_units_that_a_left_join_may_miss_are_counted_where_they_are():
    text = "SELECT count(w.person_id), count(DISTINCT w.person_id), count(DISTINCT v.person_id) FROM visits v LEFT JOIN wages w ON v.person_id = w.person_id"  # noqa: E501
    statistics = plan(text).statistics
    assert [s.aggregate for s in statistics] == ["count", "units_where", "units"]
    assert 't1."_uid" IS NOT NULL' in plan(text).rows_sql
    filtered = plan(text.replace("count(w.person_id),", "count(w.person_id) FILTER (WHERE age > 1),"))
    assert 't1."_uid" IS NOT NULL' in filtered.rows_sql
    assert RESIDENT.stands_for in refused(
        text.replace("count(w.person_id)", "sum(w.person_id)"), "sql.unit_column"
    ).say("en")


def test_a_union_holds_what_either_side_may_be():
    united = known(
        "SELECT age AS x, person_id, level AS y, NULL AS z FROM visits UNION ALL SELECT score, person_id, 7, 'a' FROM visits"
    )
    assert united["x"] == (REAL, False, -10, 120, Fraction(1, 4), None)
    assert united["y"] == (WHOLE, False, 1, 7, 1, (1, 2, 3, 7))
    assert united["z"][:2] == (Kind.TEXT, True)
    assert united["person_id"] is None
    assert "CAST(c0 AS DOUBLE) AS c0" in derived("SELECT age AS x FROM visits UNION ALL SELECT score FROM visits").sql

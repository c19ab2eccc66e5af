"""Attacks by public tables: an analyst multiplies one person by rows that nobody hides, to drown the bound, the clock or the cap.

A public table may be joined on any condition, or whole. What it repeats of a person is bounded at the end like everything else,
the work it makes of one person is bounded by public facts, and no condition that fails on a row fails the question.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from privacy.errors import Problem
from privacy.facts import DatasetFacts
from privacy.sql import compile_query
from privacy.sql.joins import MAX_PAIRED_ROWS
from tests.attacks.test_sql_attacks import FAILING_ROWS, Versions, shape, versions  # noqa: F401
from tests.fakes import city

PLACES, EVENTS = len(city.rows("places")), len(city.rows("events"))

#: Public rows between private ones: none of it makes rows of two persons meet.
CARRIERS = {
    "a product of private tables": ("FROM visits a, places p, visits b", "sql.private_not_on_unit"),
    "a public row that both meet": (
        "FROM visits a, places p, visits b WHERE a.city = p.city AND p.city = b.city",
        "sql.private_not_on_unit",
    ),
    "a public number for the person": ("FROM visits v, places p, wages w WHERE w.person_id = p.tier", "sql.unit_column"),
    "a list of persons": ("FROM visits v, hints h WHERE v.person_id = h.person_id", "sql.unit_column"),
    "a list of persons on a range": ("FROM visits v JOIN hints h ON v.person_id <= h.person_id", "sql.unit_column"),
    "a list of persons by IN": ("FROM visits WHERE person_id IN (SELECT person_id FROM hints)", "sql.unit_column"),
    "a left join of others": ("FROM visits v, places p LEFT JOIN wages w ON w.wage > p.tier", "sql.private_not_on_unit"),
    "public rows that private rows fill": ("FROM places p LEFT JOIN visits v ON TRUE", "sql.join_loses_unit"),
    "public rows with private ones in them": (
        "FROM visits v, (SELECT p.city FROM places p, visits w) x",
        "sql.private_not_on_unit",
    ),
    "a row that exists for anybody": (
        "FROM visits v WHERE EXISTS (SELECT 1 FROM wages w, places p WHERE w.wage > p.tier)",
        "sql.unit_missing",
    ),
    "the row bomb": (f"FROM visits, {', '.join(f'events e{i}' for i in range(8))}", "sql.join_too_large"),
    "the row bomb in a subquery": (
        f"FROM visits, (SELECT e0.level FROM {', '.join(f'events e{i}' for i in range(8))}) x",
        "sql.join_too_large",
    ),
    "the row bomb behind EXISTS": (
        "FROM visits v WHERE v.note = '张三' AND EXISTS (SELECT 1 FROM wages w, "
        f"{', '.join(f'events e{i}' for i in range(8))} WHERE w.person_id = v.person_id AND e0.level + e1.level < w.wage)",
        "sql.join_too_large",
    ),
    "the row bomb in parts": (
        "WITH a AS (SELECT v.person_id, v.age FROM visits v, events a, events b, events c, events d), "
        "b AS (SELECT a.person_id, a.age FROM a, events x, events y, events z) SELECT count(*) FROM b",
        "sql.join_too_large",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CARRIERS)
def test_public_rows_carry_nothing_from_one_person_to_another(name: str) -> None:
    text, code = CARRIERS[name]
    with pytest.raises(Problem) as caught:
        compile_query(text if text.startswith("WITH") else f"SELECT count(*) {text}", city.FACTS)
    assert caught.value.code == code
    assert all(caught.value.say(lang) and caught.value.advise(lang) for lang in ("en", "zh-CN"))


@pytest.mark.parametrize(
    ("text", "repeats"),
    [
        (", places", PLACES),
        (" CROSS JOIN places CROSS JOIN events", PLACES * EVENTS),
        (" JOIN events ON level < 99", EVENTS),
        (" JOIN places ON TRUE", PLACES),
        (" LEFT JOIN places ON FALSE", 1),
        (", (SELECT 1 AS one FROM events UNION ALL SELECT 1 AS one FROM events) twice", 2 * EVENTS),
        (", (SELECT tier FROM places WHERE tier IS NULL UNION ALL SELECT NULL AS tier FROM events) nulls", 1 + EVENTS),
    ],
)
def test_one_person_is_multiplied_so_far_and_no_further(versions: Versions, text: str, repeats: int) -> None:  # noqa: F811
    """Of somebody with 200 rows `max_rows` meet the table: neither the answer nor the work tells of the others."""
    sql = f"SELECT count(*) FROM (SELECT person_id, age FROM visits) v{text}"
    plan = compile_query(sql, versions.facts)
    (one,) = versions.answers(sql, epsilon=1e9)["one person"].rows
    assert one[0] == city.MAX_ROWS * repeats or repeats == 1
    assert plan.max_rows >= city.MAX_ROWS * repeats
    assert one[0] <= plan.max_rows


def test_null_meets_nothing_but_where_it_is_asked_for(versions: Versions) -> None:  # noqa: F811
    """`=` and `<` find no NULL of a public table, IS NOT DISTINCT FROM does: no key vanishes that was asked for."""
    for condition, met in (
        ("p.tier = n.tier", 0),
        ("p.tier <= n.tier", 0),
        ("p.tier IS NOT DISTINCT FROM n.tier", 1),
        ("p.tier IS NULL AND n.tier IS NULL", 1),
        ("n.tier IS NULL", PLACES),
    ):
        nobody = "(SELECT max(tier) AS tier FROM places WHERE tier > 9) n"
        sql = f"SELECT count(*) FROM visits v, {nobody} JOIN places p ON {condition}"
        (row,) = versions.answers(sql, epsilon=1e9)["one person"].rows
        assert row[0] == city.MAX_ROWS * met, condition


@pytest.mark.parametrize("expression", FAILING_ROWS)
def test_a_condition_that_fails_on_a_row_fails_nobody(versions: Versions, expression: str) -> None:  # noqa: F811
    """With every row of a public table there are more chances to fail, and none is taken."""
    for text in (
        f"JOIN places p ON {expression} > p.tier",
        f"LEFT JOIN places p ON {expression} BETWEEN p.tier AND p.population",
        f"CROSS JOIN places p WHERE {expression} IS NULL OR {expression} <> p.tier",
    ):
        plan = compile_query(f"SELECT count(*), count({expression}) FROM visits {text}", versions.facts)
        assert len({shape(a) for a in versions.extremes(plan)}) == 1


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT tier, count(*) FROM visits, places GROUP BY tier",
        "SELECT kind, count(*) FROM visits v JOIN events e ON v.day BETWEEN e.held AND e.held + 30 GROUP BY kind",
        "SELECT kind, e.level, avg(v.age) FROM visits v LEFT JOIN events e ON e.level > v.level GROUP BY kind, e.level",
    ],
)
def test_the_shape_of_a_product_is_public(versions: Versions, sql: str) -> None:  # noqa: F811
    found = versions.answers(sql)
    assert len({shape(a) for a in found.values()}) == 1
    assert {len(a.rows) for a in found.values()} == {compile_query(sql, versions.facts).cells}


def test_the_cap_is_a_matter_of_facts_alone() -> None:
    """The largest product that is accepted, and one row more; whatever the tables really hold."""

    def asked(rows: int) -> int:
        tables = [replace(t, rows=rows) if t.name == "places" else t for t in city.FACTS.tables]
        return compile_query("SELECT count(*) FROM visits, places", DatasetFacts(tables=tuple(tables))).max_rows

    most = MAX_PAIRED_ROWS // city.MAX_ROWS
    assert asked(most) == most * city.MAX_ROWS
    with pytest.raises(Problem) as caught:
        asked(most + 1)
    assert caught.value.code == "sql.join_too_large"

"""What `privacy.sql.tracked` claims of every relation: one person more changes the rows of that person, and no others.

Exact, as in `test_sensitivity`: relations of every operator, at random, on random neighbouring databases that break every
promise. Rows are compared to the last bit, whoever gets which number and in whatever order rows are stored; and the bounded
statistics over them move by no more than what their noise is made for (false-alarm rate 0).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from random import Random

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privacy.errors import Problem
from privacy.sql.bound import WEIGHT_ONE
from privacy.sql.compile import compile_query
from privacy.sql.parse import parse_select
from privacy.sql.plan import Aggregate, Plan
from privacy.sql.tracked import Names
from tests.fakes import town
from tests.fakes.relations import FACTS, Relations
from tests.statistics.test_sensitivity import ALWAYS_ALIKE, extreme_row, joint, ordinary_row, squared_distances

EXAMPLES, RELATIONS = 40, 6
KEYS = ("", "r.t", "r.n % 2", "r.d", "r.t IS NULL")

Person = tuple[list[town.Row], list[town.Row]]
"""Rows in `visits`, and rows in `pays` (of which some columns are stored)."""


def person(draw: Random, *, extreme: bool = False) -> Person:
    """Somebody with rows in one table, in both, or in none."""
    most = draw.choice((1, 3, 9)) if extreme else 4
    row = extreme_row if extreme else ordinary_row
    visits, pays = ([row(draw) for _ in range(draw.randrange(most + 1))] for _ in range(2))
    return visits, pays


def write(path: Path, persons: Sequence[Person], numbers: Sequence[int], order: str) -> None:
    """The version file in which person i has number `numbers[i]`, with its rows in any `order`: none may matter."""
    in_order = [p for _, p in sorted(zip(numbers, persons, strict=True), key=lambda pair: pair[0])]
    town.write(path, [visits for visits, _ in in_order], [pays for _, pays in in_order])
    with duckdb.connect(path) as connection:
        connection.execute("CREATE TABLE pays AS SELECT _uid, _rn, city, stock, score, day FROM neighbour")
        for table in ("visits", "pays", "places", "events"):
            connection.execute(f"CREATE OR REPLACE TABLE {table} AS SELECT t.* FROM {table} t ORDER BY {order}")


def rows(
    path: Path, sql: str, numbers: Sequence[int], names: Sequence[int], threads: int
) -> Counter[tuple[object, ...]]:
    """How often each row occurs, with the person's name in place of the number."""
    who = dict(zip(numbers, names, strict=True))
    config = {"threads": threads, "preserve_insertion_order": False, "error_on_division_by_zero": False}
    with duckdb.connect(path, read_only=True, config=config) as connection:
        found = connection.execute(sql)
        place = [c[0] for c in found.description].index("_uid")
        return Counter(
            (who[r[place]], *map(repr, r)) if place else (who[r[0]], *map(repr, r[1:])) for r in found.fetchall()
        )


def question(draw: Random, relation: str) -> str:
    key = draw.choice(KEYS)
    measures = (
        "count(*), count(DISTINCT u), sum(least(greatest(r.n, -9), 30)), avg(least(greatest(r.m, -9), 9)), count(r.t)"
    )
    group = f" GROUP BY {key}" if key else ""
    return f"SELECT {key + ', ' if key else ''}{measures} FROM ({relation}) r{group}"


def accepted(sql: str) -> Plan | None:
    """The plan; what is too large is refused, and nothing else may be."""
    try:
        return compile_query(sql, FACTS)
    except Problem as problem:
        if problem.code not in {"sql.too_many_parts", "sql.too_deep", "sql.join_too_large"}:
            raise
        return None


@settings(ALWAYS_ALIKE, max_examples=EXAMPLES)
@given(draw=st.randoms(use_true_random=False))
def test_one_person_more_changes_no_row_of_another_and_no_sum_beyond_its_bound(
    tmp_path_factory: pytest.TempPathFactory, draw: Random
) -> None:
    folder = tmp_path_factory.mktemp("neighbours")
    others = [person(draw, extreme=draw.random() < 0.2) for _ in range(draw.randrange(6))]
    everybody = [*others, person(draw, extreme=True)]
    before, after = (draw.sample(range(len(p)), len(p)) for p in (others, everybody))
    files = folder / "before.duckdb", folder / "after.duckdb"
    write(files[0], others, before, "hash(t)")
    write(files[1], everybody, after, "hash(t) DESC")
    source, met = Relations(draw), 0
    for _ in range(RELATIONS):
        text = source.relation(draw.randrange(4))
        plan = accepted(question(draw, text))
        if plan is None:
            continue
        met += 1
        derived = Names(facts=FACTS).derived(parse_select(f"SELECT * FROM ({text}) r"))
        one = rows(files[0], derived.sql, before, range(len(others)), 1)
        other = rows(files[1], derived.sql, after, range(len(everybody)), 4)
        assert {r: n for r, n in other.items() if r[0] != len(others)} == one, text
        cells = [c[: len(plan.keys)] for c in town.exact(files[1], plan)] if plan.selects_keys else None
        moved = squared_distances(plan, *(town.exact(file, plan, cells) for file in files))
        assert joint(plan, moved) <= 1 + Fraction(1, 2**27), text
        weights = [m for m, s in zip(moved, plan.statistics, strict=True) if s.aggregate is Aggregate.WEIGHT]
        assert all(m <= WEIGHT_ONE**2 for m in weights), text
    assert met >= RELATIONS // 2

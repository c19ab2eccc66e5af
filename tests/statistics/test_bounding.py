"""The arithmetic of bounding, as DuckDB does it, against exact integers: clip factors, weights, and the end of a total.

No noise is drawn and nothing is random: no true claim can fail (false-alarm rate 0).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from random import Random

import duckdb
import pytest

from privacy.facts import ColumnFacts, DatasetFacts, Keys, Kind, PrivacyUnit, TableFacts
from privacy.sql.bound import TOTAL, WEIGHT_ONE
from privacy.sql.compile import compile_query
from privacy.sql.plan import Aggregate, Cell, Plan
from tests.fakes import town

SLOTS = 200
REACH = 2**42

Vector = Sequence[int]
Ask = Callable[[Path, Plan], list[Cell]]


def facts_of(max_rows: int, reach: int) -> DatasetFacts:
    """One table of (world, slot, value): each world is a person of its own, each slot a cell."""
    slots = tuple(range(SLOTS))
    columns = (
        ColumnFacts(name="person_id", kind=Kind.INTEGER),
        ColumnFacts(name="world", kind=Kind.INTEGER, keys=Keys.PUBLIC, domain=tuple(range(500))),
        ColumnFacts(name="slot", kind=Kind.INTEGER, keys=Keys.PUBLIC, domain=slots),
        ColumnFacts(name="value", kind=Kind.INTEGER, lower=Decimal(-reach), upper=Decimal(reach)),
    )
    unit = PrivacyUnit(column="person_id", stands_for="person", space="id")
    return DatasetFacts(tables=(TableFacts(name="vectors", columns=columns, unit=unit, max_rows=max_rows),))


def write(path: Path, worlds: Sequence[Vector]) -> Path:
    """Each vector is the values of one person, one row a slot."""
    rows = [(w, s, w, s, v) for w, vector in enumerate(worlds) for s, v in enumerate(vector)]
    path.unlink(missing_ok=True)
    with duckdb.connect(path) as connection:
        connection.execute(
            "CREATE TABLE vectors (_uid UINTEGER, _rn UINTEGER, world BIGINT, slot BIGINT, value BIGINT)"
        )
        marks = ", ".join("CAST(unnest(?) AS BIGINT)" for _ in range(5))
        connection.execute(f"INSERT INTO vectors SELECT {marks}", [list(c) for c in zip(*rows, strict=True)])
    return path


def clipped(path: Path, plan: Plan, ask: Ask) -> dict[int, list[tuple[int, ...]]]:
    """What an engine makes of each world's vectors: for each slot that has rows, in order, the statistics."""
    found: dict[int, list[tuple[int, ...]]] = {}
    for world, slot, *values in ask(path, plan):
        cells = found.setdefault(int(str(world)), [(0,) * len(values)] * SLOTS)
        cells[int(str(slot))] = tuple(values)  # type: ignore[arg-type]
    return found


def is_clip_of(made: Vector, vector: Vector, bound_squared: int) -> bool:
    """The vector itself within the bound; beyond it, no longer than the bound and each coordinate very near its place."""
    square = sum(c * c for c in vector)
    if square <= bound_squared:
        return list(made) == list(vector)
    if sum(c * c for c in made) > bound_squared * (1 + Fraction(1, 2**27)):
        return False
    length = math.isqrt(bound_squared * 2**80 // square)  # B/|x| times 2^40
    room = [2 + abs(c) // 2**27 for c in vector]
    return all(abs(m - c * length / 2**40) < r for m, c, r in zip(made, vector, room, strict=True))


def adversarial(bound: int) -> list[Vector]:
    """Vectors whose length is the bound, one square more, one less, far beyond; short, long, with every sign."""
    half = bound // 2
    draw = Random(1)
    at_bound = [half, -half, half, -half]
    vectors: list[Vector] = [
        [bound],
        [-bound],
        [0, bound],
        [bound, 1],
        [bound, -1],
        [1, bound - 1],
        [bound - 1, math.isqrt(2 * bound - 1)],
        [bound - 1, -math.isqrt(2 * bound - 1) - 1],
        [bound, bound],
        at_bound,
        [*at_bound, 1],
        [*at_bound, *[1] * (SLOTS - 4)],
        [bound] * SLOTS,
        [-bound] * SLOTS,
        [1] * SLOTS,
        [0] * SLOTS,
        [bound, *[1] * (SLOTS - 1)],
    ]
    for size in (2, 3, 10, SLOTS):
        for spread in (1, 2, 1_000):
            far = max(1, bound // spread)
            vectors += [[draw.randint(-far, far) for _ in range(size)] for _ in range(8)]
            near = [draw.randint(-far, far) for _ in range(size)]
            length = math.isqrt(sum(c * c for c in near)) or 1
            vectors += [[c * bound // length for c in near], [(c * bound + length - 1) // length for c in near]]
    return [[max(-bound, min(bound, c)) for c in v] for v in vectors]


@pytest.mark.parametrize("ask", [town.exact, town.referred])
@pytest.mark.parametrize(("max_rows", "reach"), [(1, REACH), (1, 2**31 - 1), (1, 1_000_003), (7, 999), (1, 1)])
def test_sums_are_clipped_as_exact_integers_are(tmp_path: Path, max_rows: int, reach: int, ask: Ask) -> None:
    """Every vector comes back as exact arithmetic scales it, and never longer than the bound."""
    plan = compile_query(
        "SELECT world, slot, sum(value) AS s FROM vectors GROUP BY world, slot", facts_of(max_rows, reach)
    )
    statistic = plan.statistics[0]
    assert statistic.round_to == 1
    assert statistic.bound_squared == (max_rows * reach * statistic.up) ** 2
    worlds = adversarial(reach)
    found = clipped(write(tmp_path / "version.duckdb", worlds), plan, ask)
    for world, vector in enumerate(worlds):
        made = [s for (s,) in found.get(world, [(0,)] * SLOTS)]
        whole = [c * statistic.up for c in vector] + [0] * (SLOTS - len(vector))
        assert is_clip_of(made, whole, statistic.bound_squared), vector


@pytest.mark.parametrize("ask", [town.exact, town.referred])
def test_counts_and_persons_are_clipped_together(tmp_path: Path, ask: Ask) -> None:
    """One row in each of n cells, for n from 1 to all: rows and persons keep one joint length, and one proportion."""
    sql = "SELECT world, slot, count(*) AS n, count(DISTINCT person_id) AS p FROM vectors GROUP BY world, slot"
    for max_rows in (1, 5, 31):
        plan = compile_query(sql, facts_of(max_rows, 1))
        assert [s.bound_squared * s.step**2 for s in plan.statistics] == [max_rows**2, max_rows]
        worlds = [[0] * n for n in range(1, SLOTS + 1)]
        found = clipped(write(tmp_path / f"{max_rows}.duckdb", worlds), plan, ask)
        for world, vector in enumerate(worlds):
            n = len(vector)
            r = sum(s.share * n * s.up**2 / Fraction(s.bound_squared) for s in plan.statistics)
            made = found[world]
            joint = sum(
                s.share * c[i] ** 2 / Fraction(s.bound_squared) for c in made for i, s in enumerate(plan.statistics)
            )
            assert joint <= 1 + Fraction(1, 2**27)
            assert joint >= min(r, 1) - Fraction(1, 10**4)
            rows, persons = (s.up for s in plan.statistics)
            assert all(abs(c[0] * persons - c[1] * rows) <= rows + persons for c in made)
            assert made[n:] == [(0, 0)] * (SLOTS - n)


@pytest.mark.parametrize("ask", [town.exact, town.referred])
def test_weights_of_a_person_never_pass_one(tmp_path: Path, ask: Ask) -> None:
    """m · floor(2^20 / sqrt(m))² <= 2^40 for every m that has a say; one key more and it has none."""
    facts = facts_of(2**20, REACH)
    plan = compile_query("SELECT world, value, count(*) AS n FROM vectors GROUP BY world, value", facts)
    place = 2 + next(i for i, s in enumerate(plan.statistics) if s.aggregate is Aggregate.WEIGHT)
    assert plan.max_keys == 256
    worlds = [list(range(m)) for m in range(1, 259)]
    found: dict[object, list[int]] = {}
    for cell in ask(write(tmp_path / "version.duckdb", worlds), plan):
        found.setdefault(cell[0], []).append(int(str(cell[place])))
    assert {w: set(weights) for w, weights in found.items()} == {
        m - 1: {math.isqrt(WEIGHT_ONE**2 // m)} for m in range(1, 257)
    }
    assert all(sum(weight**2 for weight in weights) <= WEIGHT_ONE**2 for weights in found.values())


@pytest.mark.parametrize("ask", [town.exact, town.referred])
def test_totals_end_where_sixty_two_bits_do(tmp_path: Path, ask: Ask) -> None:
    """A million persons at the longest reach: the total stops at ±2^62 and nothing fails."""
    path = tmp_path / "version.duckdb"
    with duckdb.connect(path) as connection:
        columns = (
            f"r::UINTEGER AS _uid, 0::UINTEGER AS _rn, r % 2 AS world, 0 AS slot, {REACH} * (1 - 2 * (r % 2)) AS value"
        )
        connection.execute(f"CREATE TABLE vectors AS SELECT {columns} FROM range(2300000) AS rows(r)")
    for sql, expected in (
        ("SELECT world, sum(value) AS s FROM vectors GROUP BY world", [(0, TOTAL), (1, -TOTAL)]),
        ("SELECT sum(value) AS s FROM vectors WHERE world = 1", [(-TOTAL,)]),
        ("SELECT sum(value) AS s FROM vectors", [(0,)]),
    ):
        assert ask(path, compile_query(sql, facts_of(1, REACH))) == expected

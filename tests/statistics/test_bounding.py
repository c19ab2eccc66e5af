"""The arithmetic of bounding, as DuckDB does it, against exact integers: clip factors, weights, and the end of a total.

No noise is drawn and nothing is random: no true claim can fail (false-alarm rate 0).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from random import Random

import duckdb
import pytest

from privacy.facts import ColumnFacts, DatasetFacts, Keys, Kind, PrivacyUnit, TableFacts
from privacy.sql.bound import FINE, TOTAL, WEIGHT_ONE
from privacy.sql.compile import compile_query
from privacy.sql.plan import Plan
from tests.fakes import town

SLOTS = 200
REACH = 2**42

Vector = Sequence[int]


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


def clipped_by_engine(path: Path, plan: Plan) -> dict[int, list[tuple[int, ...]]]:
    """What DuckDB makes of each world's vectors: for each slot in order, the statistics."""
    found: dict[int, list[tuple[int, ...]]] = {}
    for world, _, *values in sorted(town.exact(path, plan)):  # type: ignore[type-var]
        found.setdefault(world, []).append(tuple(values))  # type: ignore[arg-type]
    return found


def possible_clips(vector: Vector, bound_squared: int) -> Iterator[list[int]]:
    """The vector itself within the bound; beyond it, scaled by the exact factor or by the one below."""
    square = sum(c * c for c in vector)
    if square <= bound_squared:
        yield list(vector)
        return
    exact = math.isqrt(FINE**2 * bound_squared // square)
    for factor in (exact, exact - 1):
        yield [abs(c) * factor // FINE * (1 if c >= 0 else -1) for c in vector]


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


@pytest.mark.parametrize(("max_rows", "reach"), [(1, REACH), (1, 2**31 - 1), (1, 1_000_003), (7, 999), (1, 1)])
def test_sums_are_clipped_as_exact_integers_are(tmp_path: Path, max_rows: int, reach: int) -> None:
    """Every vector comes back as scaled by the exact factor or by the one below it, and never longer than the bound."""
    plan = compile_query(
        "SELECT world, slot, sum(value) AS s FROM vectors GROUP BY world, slot", facts_of(max_rows, reach)
    )
    statistic = plan.statistics[0]
    up = int(statistic.round_to / statistic.step)
    assert statistic.round_to == 1
    assert statistic.bound_squared == (max_rows * reach * up) ** 2
    worlds = adversarial(reach)
    path = write(tmp_path / "version.duckdb", worlds)
    found = clipped_by_engine(path, plan)
    for world, vector in enumerate(worlds):
        made = [s for (s,) in found[world]]
        assert sum(c * c for c in made) <= statistic.bound_squared
        assert made in list(possible_clips([c * up for c in vector], statistic.bound_squared)), vector


def test_counts_and_persons_are_clipped_as_exact_integers_are(tmp_path: Path) -> None:
    """One row in each of n cells, for n from 1 to all: for counts by rows and for counts of persons."""
    sql = "SELECT world, slot, count(*) AS n, count(DISTINCT person_id) AS p FROM vectors GROUP BY world, slot"
    for max_rows in (1, 5, 40):
        plan = compile_query(sql, facts_of(max_rows, 1))
        rows, persons = plan.statistics
        assert [s.bound_squared * s.step**2 for s in plan.statistics] == [max_rows**2, max_rows]
        worlds = [[0] * n for n in range(1, SLOTS + 1)]
        found = clipped_by_engine(write(tmp_path / f"{max_rows}.duckdb", worlds), plan)
        for world, vector in enumerate(worlds):
            for i, statistic in enumerate((rows, persons)):
                made, one = [c[i] for c in found[world]], int(1 / statistic.step)
                assert sum(c * c for c in made) <= statistic.bound_squared
                assert made in list(possible_clips([one] * len(vector), statistic.bound_squared))


def test_weights_of_a_person_never_pass_one() -> None:
    """m · floor(2^20 / sqrt(m))² <= 2^40 for every m from 1 to 65,536, with the plan's own text in DuckDB."""
    plan = compile_query("SELECT value, count(*) AS n FROM vectors GROUP BY value", facts_of(2**20, REACH))
    assert plan.max_keys == 2**16
    texts = re.findall(r"CAST\(floor\(\d+ / sqrt\(least\(m, \d+\)\)\) AS BIGINT\)", plan.exact_sql)
    assert len(texts) == 1
    with duckdb.connect() as connection:
        weights = connection.execute(f"SELECT m, {texts[0]} FROM range(1, 70000) AS numbers(m)").fetchall()
    assert len(weights) == 69_999
    for m, weight in weights:
        assert weight == math.isqrt(WEIGHT_ONE**2 // min(m, 2**16))
        assert min(m, 2**16) * weight**2 <= WEIGHT_ONE**2


def test_a_person_with_too_many_private_keys_keeps_the_most_allowed(tmp_path: Path) -> None:
    """70,000 keys of one person: 65,536 are kept, and their weights are no longer than one."""
    path = tmp_path / "version.duckdb"
    with duckdb.connect(path) as connection:
        columns = "0::UINTEGER AS _uid, r::UINTEGER AS _rn, 0::BIGINT AS world, 0::BIGINT AS slot, r::BIGINT AS value"
        connection.execute(f"CREATE TABLE vectors AS SELECT {columns} FROM range(70000) AS rows(r)")
    plan = compile_query("SELECT value, count(*) AS n FROM vectors GROUP BY value", facts_of(2**20, REACH))
    cells = town.exact(path, plan)
    assert len(cells) == 2**16
    assert sum(int(str(c[2])) ** 2 for c in cells) <= plan.statistics[1].bound_squared


def test_totals_end_where_sixty_two_bits_do(tmp_path: Path) -> None:
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
        assert sorted(town.exact(path, compile_query(sql, facts_of(1, REACH)))) == expected  # type: ignore[type-var]

"""A small city that lives in tests: its public facts, its rows as a steward holds them, and its version file.

`FACTS` is written by hand, so that pure tests need no engine. `rows()` is the same in every run. `write_sources` writes
what a steward would upload, and `plain` loads the same files into an ordinary DuckDB database: what the dialect must
equal when noise and bounds do not bind.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path

import duckdb

from compute.engines.ingest import DuckIngest
from compute.ports import IngestReport, Limits
from privacy.facts import ColumnFacts, DatasetFacts, Keys, Kind, PrivacyUnit, TableFacts

CITIES = ("东海市", "北山市", "南湖市", "西林市")
DEPTS = ("外科", "内科", "儿科", "眼科")
LEVELS = (1, 2, 3)
RATES = (Decimal("0.25"), Decimal("0.50"), Decimal("1.00"))
MAX_ROWS = 8
PERSONS = 600
RESIDENT = PrivacyUnit(column="person_id", stands_for="person", space="resident-id")


def number(name: str, lower: str, upper: str, step: str, **more: object) -> ColumnFacts:
    """A bounded number column."""
    bounds = {"lower": Decimal(lower), "upper": Decimal(upper), "step": Decimal(step)}
    return ColumnFacts(name=name, kind=Kind.NUMBER, **{**bounds, **more})  # type: ignore[arg-type]


def integer(name: str, lower: int | None = None, upper: int | None = None, **more: object) -> ColumnFacts:
    """An integer column; without bounds when none are given."""
    bounds = {"lower": None if lower is None else Decimal(lower), "upper": None if upper is None else Decimal(upper)}
    return ColumnFacts(name=name, kind=Kind.INTEGER, **{**bounds, **more})  # type: ignore[arg-type]


def text(name: str, domain: tuple[str, ...] = (), **more: object) -> ColumnFacts:
    """A text column; its keys are public when they are listed."""
    keys = Keys.PUBLIC if domain else Keys.PRIVATE
    return ColumnFacts(name=name, kind=Kind.TEXT, keys=keys, domain=domain, **more)  # type: ignore[arg-type]


VISITS = TableFacts(
    name="visits",
    unit=RESIDENT,
    max_rows=MAX_ROWS,
    columns=(
        ColumnFacts(name="person_id", kind=Kind.INTEGER),
        text("city", CITIES),
        text("dept", DEPTS, nullable=True),
        text("性别", ("女", "男"), nullable=True),
        text("code", nullable=True),
        text("note", nullable=True),
        integer("age", 0, 120),
        integer("level", 1, 3, keys=Keys.PUBLIC, domain=LEVELS),
        integer("stock", nullable=True),
        integer("fee", 0, 90_000, step=Decimal(300), nullable=True),
        number("amount", "0", "5000", "0.01", nullable=True),
        number("score", "-10", "10", "0.25"),
        number("rate", "0.25", "1", "0.25", keys=Keys.PUBLIC, domain=RATES, nullable=True),
        ColumnFacts(name="urgent", kind=Kind.BOOLEAN, nullable=True),
        ColumnFacts(name="day", kind=Kind.DATE, lower=date(2023, 1, 1), upper=date(2024, 12, 31)),
        ColumnFacts(
            name="seen",
            kind=Kind.TIMESTAMP,
            lower=datetime.fromisoformat("2023-01-01"),
            upper=datetime.fromisoformat("2024-12-31 23:59:59"),
            nullable=True,
        ),
        text('怪 "名"', ("a'b", "甲;乙"), nullable=True),
    ),
)

WAGES = TableFacts(
    name="wages",
    unit=RESIDENT,
    max_rows=2,
    columns=(ColumnFacts(name="person_id", kind=Kind.INTEGER), number("wage", "0", "100000", "0.01")),
)

PLACES = TableFacts(
    name="places",
    rows=5,
    columns=(
        text("city", (*CITIES, "无人市"), max_repeats=1),
        text("省份", ("江东省", "江西省"), max_repeats=3),
        integer("population", 0, 10_000_000, max_repeats=1),
        integer("tier", 1, 2, keys=Keys.PUBLIC, domain=(1, 2), max_repeats=3, nullable=True),
    ),
)

EVENTS = TableFacts(
    name="events",
    rows=6,
    columns=(
        text("city", CITIES, max_repeats=2),
        text("kind", ("庙会", "马拉松"), max_repeats=4),
        ColumnFacts(name="held", kind=Kind.DATE, max_repeats=1),
        integer("level", 1, 3, keys=Keys.PUBLIC, domain=LEVELS, max_repeats=3),
    ),
)

PROVINCES = TableFacts(
    name="provinces",
    rows=2,
    columns=(
        text("省份", ("江东省", "江西省"), max_repeats=1),
        number("tax", "0", "1", "0.05", max_repeats=1),
        text("motto"),
    ),
)

HINTS = TableFacts(
    name="hints",
    rows=3,
    columns=(integer("person_id", max_repeats=1), text("dept", DEPTS, max_repeats=1)),
)

FACTS = DatasetFacts(name="city", tables=(VISITS, WAGES, PLACES, EVENTS, PROVINCES, HINTS))

#: Column name and plain DuckDB type of each raw table.
TYPES: dict[str, dict[str, str]] = {
    "visits": {
        "person_id": "BIGINT", "city": "VARCHAR", "dept": "VARCHAR", "性别": "VARCHAR", "code": "VARCHAR", "note": "VARCHAR",
        "age": "INTEGER", "level": "INTEGER", "stock": "BIGINT", "fee": "INTEGER", "amount": "DOUBLE", "score": "DOUBLE",
        "rate": "DOUBLE", "urgent": "BOOLEAN", "day": "DATE", "seen": "TIMESTAMP", '怪 "名"': "VARCHAR",
    },
    "wages": {"person_id": "BIGINT", "wage": "DOUBLE"},
    "places": {"city": "VARCHAR", "省份": "VARCHAR", "population": "BIGINT", "tier": "INTEGER"},
    "events": {"city": "VARCHAR", "kind": "VARCHAR", "held": "DATE", "level": "INTEGER"},
    "provinces": {"省份": "VARCHAR", "tax": "DOUBLE", "motto": "VARCHAR"},
    "hints": {"person_id": "BIGINT", "dept": "VARCHAR"},
}  # fmt: skip

_PUBLIC_ROWS: dict[str, list[tuple[object, ...]]] = {
    "places": [
        ("东海市", "江东省", 5_000_000, 1),
        ("北山市", "江西省", 700_000, None),
        ("南湖市", "江东省", 1_200_000, 2),
        ("西林市", "江西省", 300_000, 2),
        ("无人市", "江西省", 0, 2),
    ],
    "events": [
        ("东海市", "庙会", date(2023, 2, 5), 1),
        ("东海市", "马拉松", date(2023, 10, 15), 3),
        ("南湖市", "庙会", date(2024, 2, 24), 1),
        ("南湖市", "马拉松", date(2024, 11, 3), 2),
        ("西林市", "庙会", date(2024, 5, 1), 1),
        ("北山市", "庙会", date(2024, 6, 1), 2),
    ],
    "provinces": [("江东省", 0.15, "通江达海"), ("江西省", 0.05, "物华天宝")],
    "hints": [(100_001, "外科"), (100_002, "内科"), (7, "儿科")],
}  # fmt: skip


def _visit(draw: random.Random, person: int) -> tuple[object, ...]:
    def maybe(value: object, chance: float = 0.15) -> object:
        return None if draw.random() < chance else value

    day = date(2023, 1, 1) + timedelta(days=draw.randrange(731))
    at = datetime.combine(day, time(draw.randrange(24), draw.randrange(60)))
    return (
        100_000 + person,
        draw.choice(CITIES[:3]),  # nobody lives in 西林市
        maybe(draw.choice(DEPTS)),
        maybe(draw.choice(("女", "男"))),
        maybe(f"C{draw.randrange(6):02d}"),
        maybe(draw.choice(("abc", "10% off", "a_b", "北山 复诊", "12", "-3.5", "2024-02-30", "2024-02-29", " x "))),
        draw.randrange(0, 100),
        draw.choice(LEVELS[:2]),
        maybe(draw.randrange(-1000, 1000)),
        maybe(300 * draw.randrange(0, 300)),
        maybe(draw.randrange(0, 500_001) / 100),
        draw.randrange(-40, 41) / 4,
        maybe(float(draw.choice(RATES))),
        maybe(draw.random() < 0.4),
        day,
        maybe(at),
        maybe(draw.choice(("a'b", "甲;乙"))),
    )


def rows(table: str) -> list[tuple[object, ...]]:
    """The raw rows of a table, the same in every run."""
    if table in _PUBLIC_ROWS:
        return _PUBLIC_ROWS[table]
    draw = random.Random(20_240_501)
    if table == "wages":
        return [(100_000 + p, draw.randrange(0, 10_000_001) / 100) for p in range(PERSONS) for _ in range(1 + p % 2)]
    return [_visit(draw, p) for p in range(PERSONS) for _ in range(draw.randrange(1, MAX_ROWS + 1))]


_NOTES = (
    "nan", "-inf", "1e400", "1e-400", "5000000-01-01", "294247-01-10", "0001-01-01", "infinity", "-0", "1e18", "\\", "%",
    "x" * 5_000, "🙂", "a\u0301", "\u200b", "", " ", "9223372036854775807", "-9223372036854775808", "true", "0x10", "1_000",
)  # fmt: skip


def extreme_rows(person: int, count: int) -> list[tuple[object, ...]]:
    """`count` rows of one person who has everything at its ends: bounds, zeros, largest integers, odd texts, NULLs."""
    draw = random.Random(person)
    days = (date(2023, 1, 1), date(2024, 2, 29), date(2024, 12, 31))
    return [
        (
            person,
            CITIES[i % 4],
            draw.choice((None, *DEPTS)),
            draw.choice((None, "女")),
            draw.choice((None, "C00", f"K{i}", "'; DROP TABLE visits; --")),
            draw.choice((None, *_NOTES)),
            draw.choice((0, 120, 1)),
            1 + i % 3,
            draw.choice((None, 0, 10**15, -(10**15), 1, -1)),
            draw.choice((None, 0, 90_000)),
            draw.choice((None, 0.0, 5000.0, 0.01)),
            draw.choice((-10.0, 10.0, 0.0)),
            draw.choice((None, *map(float, RATES))),
            draw.choice((None, True, False)),
            draw.choice(days),
            draw.choice((None, datetime.fromisoformat("2023-01-01"), datetime.fromisoformat("2024-12-31 23:59:59"))),
            draw.choice((None, "a'b")),
        )
        for i in range(count)
    ]


def plain(**replaced: list[tuple[object, ...]]) -> duckdb.DuckDBPyConnection:
    """An ordinary database with the raw tables; `replaced` gives other rows for some of them."""
    connection = duckdb.connect()
    for table, types in TYPES.items():
        columns = ", ".join(f'"{name.replace(chr(34), chr(34) * 2)}" {kind}' for name, kind in types.items())
        connection.execute(f"CREATE TABLE {table} ({columns})")
        insert(connection, table, replaced.get(table, rows(table)))
    return connection


def insert(connection: duckdb.DuckDBPyConnection, table: str, added: list[tuple[object, ...]]) -> None:
    """Add rows to a raw table."""
    if added:
        marks = ", ".join(f"CAST(unnest(?) AS {kind})" for kind in TYPES[table].values())
        connection.execute(f"INSERT INTO {table} SELECT {marks}", [list(column) for column in zip(*added, strict=True)])


def write_sources(connection: duckdb.DuckDBPyConnection, folder: Path, facts: DatasetFacts) -> dict[str, Path]:
    """One Parquet file a table, as a steward would upload it."""
    sources = {}
    for table in facts.tables:
        sources[table.name] = folder / f"{table.name}.parquet"
        connection.execute(f"COPY {table.name} TO '{sources[table.name]}' (FORMAT parquet)")
    return sources


def ingest(
    connection: duckdb.DuckDBPyConnection, folder: Path, facts: DatasetFacts = FACTS
) -> tuple[Path, IngestReport]:
    """The version file of the tables in `connection`, made by the real ingest, and its report."""
    sources = write_sources(connection, folder, facts)
    target = folder / "version.duckdb"
    made = DuckIngest(entropy=_entropy())(
        facts, sources, target, limits=Limits(), progress=lambda stage, done, total: None
    )
    return target, made


def _entropy():  # type: ignore[no-untyped-def]
    source = random.Random(7)
    return source.randbytes


def with_min_units(least: int) -> DatasetFacts:
    """The facts under a minimum of units for each released cell."""
    return replace(FACTS, min_units=least)


def units(table: str = "visits") -> Iterator[int]:
    """Every person of a private table once."""
    yield from {row[0] for row in rows(table)}  # type: ignore[misc]

"""A town for neighbouring data: tiny tables written straight into the layout of a dataset version, and the same tables plain.

`write` makes the version file that `docs/layout.md` describes from rows in lattice units; which number a person gets is an
argument, because a real ingest draws it anew. `plain` holds the same rows as a steward has them, for what answers must equal
when no bound binds. Nothing here clips, checks or orders: rows may break every promise.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import date
from decimal import Decimal
from pathlib import Path

import duckdb
import numpy as np

from compute.engines.connection import Deadline, opened
from compute.engines.duckdb import DuckEngine
from compute.engines.units import SqlUnits
from compute.ports import Limits
from privacy.facts import ColumnFacts, DatasetFacts, Keys, Kind, PrivacyUnit, TableFacts
from privacy.sql.plan import Aggregate, Cell, Plan, Units

CITIES = ("东", "西", "南")
DEPTS = ("内", "外")
MAX_ROWS = 3
WIDE = 2**42
LIMITS = Limits(seconds=60, memory=512 * 2**20, threads=1)


def _column(
    name: str, kind: Kind, lower: object = None, upper: object = None, step: str = "1", **more: object
) -> ColumnFacts:
    ends = (Decimal(str(v)) if isinstance(v, int) else v for v in (lower, upper))
    return ColumnFacts(
        name=name, kind=kind, **dict(zip(("lower", "upper"), ends, strict=True)), step=Decimal(step), **more
    )  # type: ignore[arg-type]


VISITS = TableFacts(
    name="visits",
    unit=PrivacyUnit(column="person_id", stands_for="person", space="resident-id"),
    max_rows=MAX_ROWS,
    columns=(
        _column("person_id", Kind.INTEGER),
        _column("city", Kind.TEXT, keys=Keys.PUBLIC, domain=CITIES),
        _column("dept", Kind.TEXT, keys=Keys.PUBLIC, domain=DEPTS, nullable=True),
        _column("code", Kind.TEXT, nullable=True),
        _column("level", Kind.INTEGER, 0, 3, keys=Keys.PUBLIC, domain=(0, 1, 2, 3)),
        _column("stock", Kind.INTEGER, -7, 1000, nullable=True),
        _column("fee", Kind.INTEGER, 0, 9000, "300", nullable=True),
        _column("amount", Kind.NUMBER, 0, 5000, "0.01", nullable=True),
        _column("score", Kind.NUMBER, -10, 10, "0.25"),
        _column("wide", Kind.INTEGER, -WIDE, WIDE),
        _column("big", Kind.INTEGER, nullable=True),
        _column("urgent", Kind.BOOLEAN, nullable=True),
        _column("day", Kind.DATE, date(2024, 1, 1), date(2024, 3, 31)),
    ),
)
PLACES = TableFacts(
    name="places",
    rows=2,
    columns=(
        _column("city", Kind.TEXT, keys=Keys.PUBLIC, domain=CITIES, max_repeats=1),
        _column("tier", Kind.INTEGER, 1, 2, keys=Keys.PUBLIC, domain=(1, 2), max_repeats=1),
    ),
)
EVENTS = TableFacts(
    name="events",
    rows=5,
    columns=(
        _column("city", Kind.TEXT, keys=Keys.PUBLIC, domain=CITIES, max_repeats=3),
        _column("title", Kind.TEXT, keys=Keys.PUBLIC, domain=("庙会", "灯会"), max_repeats=3),
        _column("place", Kind.INTEGER, 1, 5, max_repeats=1),
    ),
)
#: `visits`, and the same table with one person more: neighbours in one file, asked by the same question.
FACTS = DatasetFacts(name="town", tables=(VISITS, replace(VISITS, name="neighbour"), PLACES, EVENTS))

_PLACES = [("东", 1), ("西", 2)]
_EVENTS = [("东", "庙会", 1), ("东", "灯会", 2), ("东", "庙会", 3), ("西", "灯会", 4), ("南", "庙会", 5)]

Row = tuple[object, ...]
"""city, dept, code, level, then lattice integers of stock, fee, amount, score, wide, big; urgent, day."""
Persons = Sequence[Sequence[Row]]

_STORED = (
    ("city", "VARCHAR"), ("dept", "VARCHAR"), ("code", "VARCHAR"), ("level", "TINYINT"), ("stock", "SMALLINT"),
    ("fee", "TINYINT"), ("amount", "INTEGER"), ("score", "TINYINT"), ("wide", "BIGINT"), ("big", "BIGINT"),
    ("urgent", "BOOLEAN"), ("day", "DATE"),
)  # fmt: skip
_VALUES = {
    "fee": "fee * 300",
    "amount": "CAST(amount AS DECIMAL(18, 0)) / 100",
    "score": "CAST(score AS DECIMAL(9, 0)) / 4",
}
_KINDS = {"fee": "INTEGER", "amount": "DECIMAL(18, 2)", "score": "DECIMAL(9, 2)"}


def write(path: Path, persons: Persons, neighbour: Persons = (), numbers: Sequence[int] | None = None) -> Path:
    """The version file of `visits` and `neighbour`, in which person i of `neighbour` has number `numbers[i]`."""
    path.unlink(missing_ok=True)
    codes = sorted({str(row[2]) for owned in (*persons, *neighbour) for row in owned if row[2] is not None})
    texts = {"city": _enum(CITIES), "dept": _enum(DEPTS), **({"code": _enum(codes)} if codes else {})}
    columns = (("_uid", "UINTEGER"), ("_rn", "UINTEGER"), *((n, texts.get(n, kind)) for n, kind in _STORED))
    with duckdb.connect(path) as connection:
        _create(connection, "visits", columns, _numbered(persons, range(len(persons))))
        _create(connection, "neighbour", columns, _numbered(neighbour, numbers or range(len(neighbour))))
        _create(connection, "places", (("city", "VARCHAR"), ("tier", "TINYINT")), _PLACES)
        _create(connection, "events", (("city", "VARCHAR"), ("title", "VARCHAR"), ("place", "TINYINT")), _EVENTS)
    return path


def _enum(values: Iterable[str]) -> str:
    return f"ENUM ({', '.join(repr(v) for v in values)})"


def _numbered(persons: Persons, numbers: Sequence[int]) -> list[Row]:
    ordered = sorted(zip(numbers, persons, strict=True), key=lambda pair: pair[0])
    return [(uid, rn, *row) for uid, owned in ordered for rn, row in enumerate(owned)]


def plain(persons: Persons) -> duckdb.DuckDBPyConnection:
    """An ordinary database with the same rows in their own units and exact decimals."""
    connection = duckdb.connect()
    rows = [(person, *row) for person, owned in enumerate(persons) for row in owned]
    _create(connection, "stored", (("person_id", "BIGINT"), *_STORED), rows)
    values = ", ".join(f"CAST({_VALUES.get(n, n)} AS {_KINDS.get(n, k)}) AS {n}" for n, k in _STORED)
    connection.execute(f"CREATE TABLE visits AS SELECT person_id, {values} FROM stored")
    _create(connection, "places", (("city", "VARCHAR"), ("tier", "BIGINT")), _PLACES)
    _create(connection, "events", (("city", "VARCHAR"), ("title", "VARCHAR"), ("place", "BIGINT")), _EVENTS)
    return connection


def _create(
    connection: duckdb.DuckDBPyConnection, name: str, columns: Sequence[tuple[str, str]], rows: Iterable[Row]
) -> None:
    connection.execute(f"CREATE TABLE {name} ({', '.join(f'{n} {k}' for n, k in columns)})")
    if held := list(zip(*rows, strict=True)):
        marks = ", ".join(f"CAST(unnest(?) AS {kind})" for _, kind in columns)
        connection.execute(f"INSERT INTO {name} SELECT {marks}", [list(c) for c in held])


def exact(path: Path, plan: Plan, cells: Sequence[Cell] | None = None) -> list[Cell]:
    """The exact cells of a plan, by the real engine: keys, then every statistic; cells that nobody touches are left out.

    Private keys are all that have weight, or `cells`.
    """
    with DuckEngine().units(path, LIMITS) as units:
        return cells_of(units(plan), plan, cells)


def referred(path: Path, plan: Plan, cells: Sequence[Cell] | None = None) -> list[Cell]:
    """The same by the reference text."""
    with opened(str(path), LIMITS, read_only=True) as connection:
        return cells_of(SqlUnits(connection, plan, Deadline(LIMITS.seconds)), plan, cells)


def cells_of(units: Units, plan: Plan, cells: Sequence[Cell] | None = None) -> list[Cell]:
    """Keys, then every statistic of the plan, weights included; a quantile is the tuple of its bins."""
    weights: dict[Cell, int] = {}
    if plan.selects_keys:
        weights = {key: int(weight) for key, weight in zip(*units.weights(), strict=True)}
    cells = cells if cells is not None else list(weights) if plan.selects_keys else plan.grid()
    totals = [[tuple(n) if isinstance(n, list) else n for n in t.tolist()] for t in units.totals(plan.measured, cells)]
    found = []
    for i, cell in enumerate(cells):
        column = iter(totals)
        values = (weights.get(cell, 0) if s.aggregate is Aggregate.WEIGHT else next(column)[i] for s in plan.statistics)
        found.append((*cell, *values))
    return [c for c in found if not plan.keys or np.any(np.hstack(c[len(plan.keys) :]))]

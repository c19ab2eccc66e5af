"""A ward on paper: public facts alone, and short ways to read an expression or a question over them.

For unit tests of the SQL gate: no rows, no engine, no file. `term` is what the gate knows of a row expression, `refusal`
the problem it answers with.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date, datetime
from decimal import Decimal

import pytest
from sqlglot import exp

from privacy.errors import Problem
from privacy.facts import ColumnFacts, DatasetFacts, Keys, Kind, PrivacyUnit, TableFacts
from privacy.sql import Plan, compile_query
from privacy.sql.expressions import Reader
from privacy.sql.parse import parse_select
from privacy.sql.resolve import RowScope, stored
from privacy.sql.terms import Term

MORNING, EVENING = datetime.fromisoformat("2023-01-05"), datetime.fromisoformat("2024-02-29T23:00:00")
RESIDENT = PrivacyUnit(column="person_id", stands_for="person", space="resident-id")

VISITS = TableFacts(
    name="visits",
    unit=RESIDENT,
    max_rows=4,
    columns=(
        ColumnFacts(name="person_id", kind=Kind.INTEGER),
        ColumnFacts(name="city", kind=Kind.TEXT, keys=Keys.PUBLIC, domain=("西", "东")),
        ColumnFacts(name="dept", kind=Kind.TEXT, nullable=True),
        ColumnFacts(name="age", kind=Kind.INTEGER, lower=Decimal(0), upper=Decimal(120)),
        ColumnFacts(name="grade", kind=Kind.INTEGER, lower=Decimal(-2), upper=Decimal(3), nullable=True),
        ColumnFacts(name="stock", kind=Kind.INTEGER, nullable=True),
        ColumnFacts(name="fee", kind=Kind.INTEGER, lower=Decimal(0), upper=Decimal(90_000), step=Decimal(300)),
        ColumnFacts(
            name="amount", kind=Kind.NUMBER, lower=Decimal(0), upper=Decimal(5000), step=Decimal("0.01"), nullable=True
        ),
        ColumnFacts(name="score", kind=Kind.NUMBER, lower=Decimal(-10), upper=Decimal(10), step=Decimal("0.25")),
        ColumnFacts(
            name="rate",
            kind=Kind.NUMBER,
            lower=Decimal("0.25"),
            upper=Decimal(1),
            step=Decimal("0.25"),
            keys=Keys.PUBLIC,
            domain=(Decimal(1), Decimal("0.25")),
        ),
        ColumnFacts(
            name="level", kind=Kind.INTEGER, lower=Decimal(1), upper=Decimal(3), keys=Keys.PUBLIC, domain=(3, 1, 2)
        ),
        ColumnFacts(name="bags", kind=Kind.NUMBER, step=Decimal(5)),
        ColumnFacts(name="urgent", kind=Kind.BOOLEAN, nullable=True),
        ColumnFacts(name="day", kind=Kind.DATE, lower=date(2023, 1, 5), upper=date(2024, 2, 29)),
        ColumnFacts(name="at", kind=Kind.TIMESTAMP, lower=MORNING, upper=EVENING),
        ColumnFacts(name="born", kind=Kind.DATE, nullable=True),
    ),
)
WAGES = TableFacts(name="wages", unit=RESIDENT, max_rows=2, columns=(ColumnFacts(name="person_id", kind=Kind.INTEGER),))
PLACES = TableFacts(
    name="places",
    rows=3,
    columns=(
        ColumnFacts(name="city", kind=Kind.TEXT, max_repeats=1),
        ColumnFacts(name="province", kind=Kind.TEXT, keys=Keys.PUBLIC, domain=("江东",), max_repeats=3),
        ColumnFacts(name="tier", kind=Kind.INTEGER, lower=Decimal(1), upper=Decimal(3)),
    ),
)
EVENTS = TableFacts(
    name="events",
    rows=4,
    columns=(
        ColumnFacts(name="city", kind=Kind.TEXT, max_repeats=2),
        ColumnFacts(name="level", kind=Kind.INTEGER, max_repeats=3),
        ColumnFacts(name="held", kind=Kind.DATE, max_repeats=1),
    ),
)
PROVINCES = TableFacts(name="provinces", rows=1, columns=(ColumnFacts(name="province", kind=Kind.TEXT, max_repeats=1),))
FACTS = DatasetFacts(name="ward", tables=(VISITS, WAGES, PLACES, EVENTS, PROVINCES))
#: How the gate reads some columns of `visits`.
COLUMNS = {
    "age": 'CAST(t0."age" AS BIGINT)',
    "grade": 'CAST(t0."grade" AS BIGINT)',
    "stock": 'CAST(t0."stock" AS BIGINT)',
    "level": 'CAST(t0."level" AS BIGINT)',
    "fee": '(CAST(t0."fee" AS BIGINT) * 300)',
    "amount": '(CAST(t0."amount" AS BIGINT) / 100::DOUBLE)',
    "score": '(CAST(t0."score" AS BIGINT) / 4::DOUBLE)',
    "city": 'CAST(t0."city" AS VARCHAR)',
    "dept": 'CAST(t0."dept" AS VARCHAR)',
}
SCOPE = RowScope((stored("visits", "t0", VISITS),))


def node(text: str) -> exp.Expr:
    """The parsed expression."""
    found = parse_select(f"SELECT {text} FROM visits").expressions[0]
    assert isinstance(found, exp.Expr)
    return found


def term(text: str) -> Term:
    """What is known of a row expression over `visits`."""
    return Reader(SCOPE).read(node(text))


def plan(text: str, facts: DatasetFacts = FACTS) -> Plan:
    """The plan of a question."""
    return compile_query(text, facts)


def refusal(act: Callable[[], object], code: str) -> Problem:
    """The problem of that code which `act` ends in."""
    with pytest.raises(Problem) as caught:
        act()
    assert caught.value.code == code, caught.value
    return caught.value


def refused(text: str, code: str, facts: DatasetFacts = FACTS) -> Problem:
    """The problem of that code with which a question is refused; both languages can be said."""
    problem = refusal(lambda: compile_query(text, facts), code)
    assert all(problem.say(lang) and problem.advise(lang) for lang in ("en", "zh-CN"))
    return problem


def with_columns(*columns: ColumnFacts, max_rows: int = 4) -> DatasetFacts:
    """One private table `t` with these columns beside the unit's."""
    unit = ColumnFacts(name="person_id", kind=Kind.INTEGER)
    table = TableFacts(name="t", unit=RESIDENT, max_rows=max_rows, columns=(unit, *columns))
    return replace(FACTS, tables=(table,))


def written(sql: str) -> str:
    """DuckDB text in which `{column}` stands for a column as the gate reads it."""
    return sql.format(**COLUMNS)

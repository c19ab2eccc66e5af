"""The rows of a question as DuckDB text: the unit, the keys and what each statistic adds up, one row a tracked row.

Owns `rows_sql`, which any question has and all bounding is defined on, and `coded_sql`, which has small numbers in place of
keys and is there when every key can be numbered from public facts or from a dictionary of the dataset version. It adds
nothing up (`privacy.sql.reference`, `compute.engines.kernel`) and sees no data.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from fractions import Fraction

from privacy.facts import Kind, Value
from privacy.sql.bound import Measure
from privacy.sql.plan import Aggregate, Codes, Key
from privacy.sql.resolve import Relation
from privacy.sql.terms import Stored, Term

#: A private key of a range up to this long is numbered by its distance from the least value.
MAX_NUMBERED = 10**6
#: Public values that follow no rule are numbered one by one up to this many.
MAX_LISTED = 64


@dataclass(frozen=True, kw_only=True, slots=True)
class Digit:
    """A key as a number from 0: `sql` is NULL for a NULL, or for a key outside of the public values (`Codes.partial`)."""

    sql: str
    codes: Codes


def rows_sql(relation: Relation, conditions: Sequence[str], keys: Sequence[str], measures: Sequence[Measure]) -> str:
    """unit, k0…, v0…: a SUM's integer (NULL: no value), a condition's truth."""
    columns = [f"{relation.unit_sql} AS unit", *(f"{sql} AS k{i}" for i, sql in enumerate(keys))]
    columns += [f"{_row(m)} AS v{i}" for i, m in enumerate(measures) if m.row]
    return _select(relation, conditions, columns)


def coded_sql(
    relation: Relation, conditions: Sequence[str], digits: Sequence[Digit], measures: Sequence[Measure]
) -> str:
    """unit, c0…, v0…: whole numbers throughout, 0 for no value and for a condition that does not hold."""
    columns = [f"{relation.unit_sql} AS unit", *(f"{d.sql} AS c{i}" for i, d in enumerate(digits))]
    columns += [f"{_whole(m)} AS v{i}" for i, m in enumerate(measures) if m.row]
    return _select(relation, conditions, columns)


def _select(relation: Relation, conditions: Sequence[str], columns: Sequence[str]) -> str:
    held = (*relation.conditions, *conditions)
    where = f" WHERE {' AND '.join(held)}" if held else ""
    return f"SELECT {', '.join(columns)} FROM {relation.from_sql}{where}"


def _whole(m: Measure) -> str:
    if m.aggregate is not Aggregate.SUM:
        return f"CASE WHEN TRY({m.row}) THEN 1 ELSE 0 END"
    kind = "INTEGER" if m.reach < 2**31 else "BIGINT"
    return f"CAST({f'coalesce({_row(m)}, 0)' if m.nullable else _row(m)} AS {kind})"


def _row(m: Measure) -> str:
    return m.row if m.stored else f"TRY({m.row})"


def digit(key: Key, term: Term, key_sql: str) -> Digit | None:
    """How the key is numbered; None when it cannot be."""
    stored = term.stored
    if key.domain is not None:
        return _public(key, key.domain, stored, key_sql)
    if stored is None:
        return None
    if term.kind is Kind.TEXT:
        return Digit(
            sql=f"enum_code({stored.sql})", codes=Codes(dictionary=f"SELECT {stored.sql} FROM {stored.table} LIMIT 1")
        )
    return _private(term, stored)


def _public(key: Key, domain: Sequence[Value | None], stored: Stored | None, key_sql: str) -> Digit | None:
    listed = [v for v in domain if v is not None]
    nullable = len(listed) < len(domain)
    if stored is not None and key.kind is Kind.TEXT:
        codes = Codes(values=(*stored.values, *([None] if nullable else [])))
        return Digit(sql=f"enum_code({stored.sql})", codes=codes)
    whole = [v for v in listed if isinstance(v, int)]
    if key.kind is Kind.INTEGER and whole and len(whole) == whole[-1] - whole[0] + 1:
        cases = f"WHEN {key_sql} BETWEEN {whole[0]} AND {whole[-1]} THEN {key_sql} - {whole[0]}"
    elif key.kind in (Kind.BOOLEAN, Kind.INTEGER, Kind.TEXT) and len(listed) <= MAX_LISTED:
        cases = " ".join(f"WHEN {key_sql} = {_literal(v)} THEN {i}" for i, v in enumerate(listed))
    else:
        return None
    null = f" WHEN {key_sql} IS NULL THEN {len(listed)}" if nullable else ""
    return Digit(sql=f"CASE {cases}{null} END", codes=Codes(values=tuple(domain), partial=True))


def _private(term: Term, stored: Stored) -> Digit | None:
    """Numbers within bounds, and days between two days, by their distance from the first."""
    values: tuple[Value, ...] = ()
    if term.kind is Kind.DATE and term.since is not None and term.until is not None:
        first, count = term.since, (term.until - term.since).days + 1
        values = tuple(first + timedelta(days=i) for i in range(count if count <= MAX_NUMBERED else 0))
        distance = f"({stored.sql} - DATE '{first.isoformat()}')"
    elif term.kind is Kind.INTEGER and term.low is not None and term.high is not None and term.step:
        low, steps = Fraction(term.low / term.step), (term.high - term.low) / term.step
        if low.denominator == 1 and steps < MAX_NUMBERED:
            values = tuple(int(term.low + i * term.step) for i in range(int(steps) + 1))
        distance = f"(CAST({stored.sql} AS BIGINT) - {low.numerator})"
    if not values:
        return None
    inside = f"CASE WHEN {distance} BETWEEN 0 AND {len(values) - 1} THEN {distance}"
    sql = f"{inside} WHEN {stored.sql} IS NULL THEN {len(values)} END"
    return Digit(sql=sql, codes=Codes(values=(*values, None), partial=True))


def _literal(value: Value) -> str:
    if isinstance(value, bool):
        return str(value).upper()
    return str(value) if isinstance(value, int) else "'" + str(value).replace("'", "''") + "'"

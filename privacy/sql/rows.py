"""The rows of a question as DuckDB text: the unit, the keys and what each statistic adds up, one row a tracked row.

Owns `rows_sql`, which any question has and all bounding is defined on, and `coded_sql`, which has small numbers in place of
keys and is there when every key can be numbered from public facts or from a dictionary of the dataset version. It adds
nothing up (`privacy.sql.reference`, `compute.engines.kernel`) and sees no data.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from privacy.facts import Kind, Value
from privacy.sql.bound import Measure
from privacy.sql.plan import Aggregate, Codes, Key
from privacy.sql.resolve import Relation
from privacy.sql.terms import Term

#: A column of a range up to this long is numbered by its distance from the least value.
MAX_NUMBERED = 10**6
#: Public values of a key that is made of several columns are numbered one by one up to this many.
MAX_LISTED = 64


@dataclass(frozen=True, kw_only=True, slots=True)
class Digit:
    """A key as a number from 0: `sql` is NULL where the key's column is, which is the last number (`Codes.nullable`)."""

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
    """unit, c0…, v0…: whole numbers throughout, 0 in place of no value and of a condition that does not hold.

    QUANTILE and DISTINCT have the number of a row's value, and -1 in place of none.
    """
    columns = [f"{relation.unit_sql} AS unit", *(f"{d.sql} AS c{i}" for i, d in enumerate(digits))]
    columns += [f"{_whole(m)} AS v{i}" for i, m in enumerate(measures) if m.row]
    return _select(relation, conditions, columns)


def _select(relation: Relation, conditions: Sequence[str], columns: Sequence[str]) -> str:
    held = (*relation.conditions, *conditions)
    where = f" WHERE {' AND '.join(held)}" if held else ""
    return f"SELECT {', '.join(columns)} FROM {relation.from_sql}{where}"


def _whole(m: Measure) -> str:
    row, kind = _row(m), "INTEGER" if m.reach < 2**31 else "BIGINT"
    match m.aggregate:
        case Aggregate.SUM:
            return f"CAST({f'coalesce({row}, 0)' if m.nullable else row} AS {kind})"
        case Aggregate.QUANTILE:
            assert m.order is not None, "a QUANTILE has an order"
            return f"CAST(coalesce({row}, -1) AS {'INTEGER' if m.order.size < 2**31 else 'BIGINT'})"
        case Aggregate.DISTINCT:
            numbered = counted(m)
            assert numbered is not None, "what has no numbers is not coded"
            return f"coalesce(CAST(TRY({numbered.sql}) AS INTEGER), -1)"
    return f"CASE WHEN TRY({m.row}) THEN 1 ELSE 0 END"


def counted(m: Measure) -> Digit | None:
    """How the values of a DISTINCT are numbered; None when they cannot be."""
    numbered = _numbered(m.counted[0]) if m.counted is not None else None
    if m.counted is None or numbered is None:
        return None
    sql, where = numbered[0], m.counted[1]
    number = f"CASE WHEN {where} THEN {sql} END" if where else sql
    return Digit(sql=number, codes=Codes(lookup=numbered[2], nullable=True))


def _row(m: Measure) -> str:
    return m.row if m.stored else f"TRY({m.row})"


def digit(key: Key, term: Term, key_sql: str, origin: Term | None) -> Digit | None:
    """How the key is numbered; None when it cannot be. `origin` is the one stored column that the key is made of, if it is one.

    Such a key is not computed row by row: its rows carry the number of the column's value, and the key is looked up by that.
    """
    numbered = _numbered(origin) if origin is not None and origin.stored is not None else None
    if numbered is None:
        return None if key.domain is None else _listed(key, key.domain, key_sql)
    sql, name, all_values = numbered
    assert origin is not None
    assert origin.stored is not None
    if term.stored is not None and origin.stored.values and key.kind is Kind.TEXT:
        return Digit(sql=sql, codes=Codes(values=origin.stored.values, nullable=origin.nullable))
    alias = origin.stored.sql.split(".")[0]
    source = f"SELECT * FROM ({all_values}) AS v({name}) UNION ALL SELECT NULL"
    return Digit(sql=sql, codes=Codes(lookup=f"SELECT {key_sql} FROM ({source}) AS {alias}", nullable=origin.nullable))


def _numbered(term: Term) -> tuple[str, str, str] | None:
    """A stored column as a number from 0, its name, and the query of all its values in the order of their numbers."""
    stored = term.stored
    assert stored is not None
    name = stored.sql.split(".", 1)[1]
    if term.kind is Kind.TEXT:
        one = f"SELECT {stored.sql} AS x FROM {stored.table} LIMIT 1"
        return f"enum_code({stored.sql})", name, f"SELECT unnest(enum_range(x)) FROM ({one})"
    if term.kind is Kind.BOOLEAN:
        return f"CAST({stored.sql} AS UTINYINT)", name, "VALUES (false), (true)"
    if term.kind is Kind.DATE and term.since is not None and term.until is not None:
        first, count = f"DATE '{term.since.isoformat()}'", (term.until - term.since).days + 1
        distance, value = f"{stored.sql} - {first}", f"{first} + CAST(i AS INTEGER)"
    elif term.low is not None and term.high is not None and term.step:
        low, count = math.ceil(term.low / term.step), math.floor((term.high - term.low) / term.step) + 1
        distance, value = f"CAST({stored.sql} AS BIGINT) - {low}", f"i + {low}"
    else:
        return None
    if count > MAX_NUMBERED:
        return None
    return f"CAST({distance} AS INTEGER)", name, f"SELECT {value} FROM range({count}) AS r(i)"


def _listed(key: Key, domain: Sequence[Value | None], key_sql: str) -> Digit | None:
    """A key of a few public values, each compared with; a number beyond all for a key that is none of them."""
    listed = [v for v in domain if v is not None]
    whole = [v for v in listed if isinstance(v, int)]
    if key.kind is Kind.INTEGER and whole and len(whole) == whole[-1] - whole[0] + 1:
        cases = f"WHEN {key_sql} BETWEEN {whole[0]} AND {whole[-1]} THEN {key_sql} - {whole[0]}"
    elif key.kind in (Kind.BOOLEAN, Kind.INTEGER, Kind.TEXT) and len(listed) <= MAX_LISTED:
        cases = " ".join(f"WHEN {key_sql} = {_literal(v)} THEN {i}" for i, v in enumerate(listed))
    else:
        return None
    none, beyond = len(listed), len(listed) + 1
    sql = f"CASE {cases} WHEN {key_sql} IS NULL THEN {none} ELSE {beyond} END"
    return Digit(sql=sql, codes=Codes(values=tuple(listed)))


def _literal(value: Value) -> str:
    if isinstance(value, bool):
        return str(value).upper()
    return str(value) if isinstance(value, int) else "'" + str(value).replace("'", "''") + "'"

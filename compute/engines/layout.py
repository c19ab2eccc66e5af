"""The physical layout of a dataset version, as SQL text: how a column's raw text becomes what is stored.

Owns the expressions of ingest and nothing that runs: pure functions from public facts to SQL. Every raw value comes in as
VARCHAR (`r0`, `r1`, … in the order of the facts) and leaves as a stored value (`v0`, …), a verdict (`e0`: 0, or why the row
is rejected) and two marks (`c0` moved to a bound, `o0` off the lattice). Law 2: numbers leave as exact integers, value / step.
A steward's name stands in SQL only as `quoted` made it, a public value only as `literal` made it.

The stages are nested selects, so that nothing is computed twice: raw `r` → parsed `p` → in bounds and scaled `x` (with `q`,
a double, where no exact number could be read) → missing `z` and stored `v` → verdict and marks.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from enum import IntEnum

from privacy.facts import ColumnFacts, Keys, Kind, Value

#: Decimal digits kept beyond the lattice's own while rounding to it.
GUARD = 3
#: |value / step| may reach this in a column without bounds; beyond it the row is rejected.
LARGEST = 10**15
_TRUE = ("true", "t", "yes", "y", "1", "是")
_FALSE = ("false", "f", "no", "n", "0", "否")
_DATE_FORMS = ("%Y%m%d", "%Y年%m月%d日")
_INTEGER_TYPES = (("TINYINT", 2**7), ("SMALLINT", 2**15), ("INTEGER", 2**31), ("BIGINT", 2**63))


class Verdict(IntEnum):
    """Why a column rejects its row."""

    FINE = 0
    TYPE = 1
    RANGE = 2
    NULL = 3
    DOMAIN = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class Lattice:
    """A numeric column's lattice: step = multiple / 10^decimals; bounds count steps, None without bounds."""

    decimals: int
    multiple: int
    lower: int | None
    upper: int | None

    @property
    def digits(self) -> int:
        """Decimal places of the scaled integer `x` from which the lattice number is rounded."""
        return self.decimals + GUARD

    @property
    def per_step(self) -> int:
        """How many units of `x` make one step."""
        return int(self.multiple * 10**GUARD)

    @property
    def reach(self) -> int:
        """The largest |value / step| that is stored."""
        return LARGEST if self.lower is None or self.upper is None else max(abs(self.lower), abs(self.upper))


@dataclass(frozen=True, kw_only=True, slots=True)
class Coded:
    """One column's select items at each stage; empty where a stage has nothing to add. `marks` names the marks it has."""

    index: int
    facts: ColumnFacts
    parsed: str = ""
    scaled: str = ""
    stored: str
    judged: str
    marks: str = ""


def quoted(name: str) -> str:
    """An identifier as SQL text."""
    return '"' + name.replace('"', '""') + '"'


def literal(value: Value) -> str:
    """A public value as SQL text."""
    if isinstance(value, bool):
        return str(value).upper()
    if isinstance(value, datetime):
        return f"TIMESTAMP '{value.isoformat(sep=' ')}'"
    if isinstance(value, date):
        return f"DATE '{value.isoformat()}'"
    if isinstance(value, int | Decimal):
        return f"{value:f}" if isinstance(value, Decimal) else str(value)
    return "'" + value.replace("'", "''") + "'"


def lattice(facts: ColumnFacts) -> Lattice:
    """The lattice of a numeric column."""
    _, digits, exponent = facts.step.normalize().as_tuple()
    assert isinstance(exponent, int)
    multiple = int("".join(map(str, digits))) * 10 ** max(exponent, 0)
    lower, upper = (int(b / facts.step) if isinstance(b, Decimal) else None for b in (facts.lower, facts.upper))
    return Lattice(decimals=max(-exponent, 0), multiple=multiple, lower=lower, upper=upper)


def integer_type(facts: ColumnFacts) -> str:
    """The smallest integer type that holds every lattice number of the column."""
    where = lattice(facts)
    if where.lower is None or where.upper is None:
        return "BIGINT"
    lower, upper = where.lower, where.upper
    return next(name for name, size in _INTEGER_TYPES if -size <= lower and upper < size)


def identity(index: int, facts: ColumnFacts) -> tuple[str, str]:
    """The unit column: its canonical text (NULL: no unit), and its verdict. Whole numbers are spelled in one way."""
    r = f"r{index}"
    if facts.kind is Kind.TEXT:
        return f"nullif({r}, '')", "0"
    whole = f"regexp_full_match(trim({r}), '[+-]?[0-9]{{1,38}}(\\.0*)?')"
    spelled = f"CASE WHEN {whole} THEN CAST(TRY_CAST(split_part(trim({r}), '.', 1) AS HUGEINT) AS VARCHAR) ELSE {r} END"
    blank = f"coalesce(trim({r}), '') IN ('', 'nan')"
    return (
        f"CASE WHEN NOT {blank} THEN {spelled} END",
        f"CASE WHEN {blank} OR {whole} THEN 0 ELSE {int(Verdict.TYPE)} END",
    )


def coded(index: int, facts: ColumnFacts, enum_type: str | None) -> Coded:
    """The SQL of the column at position `index`; `enum_type` names the dictionary of a public text domain."""
    if facts.kind.numeric:
        return _number(index, facts)
    if facts.kind is Kind.TEXT:
        return _text(index, facts, enum_type)
    if facts.kind is Kind.BOOLEAN:
        return _boolean(index, facts)
    return _instant(index, facts)


def _judged(i: int, facts: ColumnFacts, *wrong: tuple[str, Verdict], moved: str = "", rounded: str = "") -> str:
    missing = Verdict.FINE if facts.nullable else Verdict.NULL
    cases = "".join(f" WHEN {condition} THEN {int(verdict)}" for condition, verdict in wrong)
    items = [f"CASE WHEN z{i} THEN {int(missing)}{cases} ELSE 0 END AS e{i}"]
    items += [f"coalesce({moved}, false) AS c{i}"] if moved else []
    items += [f"coalesce({rounded}, false) AS o{i}"] if rounded else []
    return ", ".join(items)


def _number(i: int, facts: ColumnFacts) -> Coded:
    where = lattice(facts)
    bounded = where.lower is not None
    low, high = (facts.lower, facts.upper) if bounded else (-LARGEST * facts.step, LARGEST * facts.step)
    assert isinstance(low, Decimal)
    assert isinstance(high, Decimal)
    wide = "BIGINT" if 2 * (where.reach + 1) * where.per_step < 2**62 else "HUGEINT"
    shift = f"{10**where.digits}::DECIMAL({where.digits + 1}, 0)"
    step, half = 2 * where.per_step, where.per_step
    nearest = f"CASE WHEN x{i} >= 0 THEN (2 * x{i} + {half}) // {step} ELSE -((-2 * x{i} + {half}) // {step}) END"
    beyond = (
        f"WHEN coalesce(p{i} < {low:f}, q{i} < 0) THEN {where.lower} WHEN coalesce(p{i} > {high:f}, q{i} > 0) THEN {where.upper}"
        if bounded
        else ""
    )
    missing = f"(p{i} IS NULL AND (coalesce(trim(r{i}), '') = '' OR coalesce(NOT isfinite(q{i}), false)))"
    unread = f"p{i} IS NULL AND q{i} IS NULL"
    wrong = [(unread, Verdict.TYPE), *([] if bounded else [(f"x{i} IS NULL", Verdict.RANGE)]), *_not_listed(i, facts)]
    return Coded(
        index=i,
        facts=facts,
        parsed=f"TRY_CAST(r{i} AS DECIMAL(38, {where.digits})) AS p{i}",
        scaled=f"CASE WHEN p{i} BETWEEN {low:f} AND {high:f} THEN CAST(p{i} * {shift} AS {wide}) END AS x{i}, "
        f"CASE WHEN p{i} IS NULL THEN TRY_CAST(r{i} AS DOUBLE) END AS q{i}",
        stored=f"{missing} AS z{i}, CAST(CASE WHEN {missing} THEN NULL WHEN x{i} IS NOT NULL THEN {nearest} {beyond} END "
        f"AS {integer_type(facts)}) AS v{i}",
        judged=_judged(
            i,
            facts,
            *wrong,
            moved=f"NOT z{i} AND x{i} IS NULL AND v{i} IS NOT NULL",
            rounded=f"x{i} % {where.per_step} <> 0",
        ),
        marks="co",
    )


def _not_listed(i: int, facts: ColumnFacts) -> list[tuple[str, Verdict]]:
    """The check against a written public domain; a derived one holds every lattice number between the bounds."""
    if facts.keys is not Keys.PUBLIC or facts.kind in (Kind.BOOLEAN, Kind.TEXT):
        return []
    values = [str(int(Decimal(str(v)) / facts.step)) if facts.kind.numeric else literal(v) for v in facts.domain]
    if facts.kind.numeric:
        where = lattice(facts)
        if where.lower is not None and where.upper is not None and len(values) == where.upper - where.lower + 1:
            return []
    return [(f"v{i} NOT IN ({', '.join(values)})", Verdict.DOMAIN)]


def _text(i: int, facts: ColumnFacts, enum_type: str | None) -> Coded:
    value = f"TRY_CAST(r{i} AS {enum_type})" if enum_type else f"r{i}"
    wrong = [(f"v{i} IS NULL", Verdict.DOMAIN)] if enum_type else []
    return Coded(
        index=i, facts=facts, stored=f"r{i} IS NULL AS z{i}, {value} AS v{i}", judged=_judged(i, facts, *wrong)
    )


def _boolean(i: int, facts: ColumnFacts) -> Coded:
    text = f"lower(trim(r{i}))"
    yes, no = (", ".join(literal(w) for w in words) for words in (_TRUE, _FALSE))
    return Coded(
        index=i,
        facts=facts,
        stored=f"coalesce(trim(r{i}), '') = '' AS z{i}, "
        f"CASE WHEN {text} IN ({yes}) THEN true WHEN {text} IN ({no}) THEN false END AS v{i}",
        judged=_judged(i, facts, (f"v{i} IS NULL", Verdict.TYPE)),
    )


def _instant(i: int, facts: ColumnFacts) -> Coded:
    """Dates and timestamps. A timestamp with an offset is moved to UTC (the session's zone); infinity counts as NULL."""
    if facts.kind is Kind.DATE:
        forms = ", ".join(literal(f) for f in _DATE_FORMS)
        parsed = f"coalesce(TRY_CAST(r{i} AS DATE), CAST(try_strptime(trim(r{i}), [{forms}]) AS DATE))"
    else:
        parsed = f"CAST(TRY_CAST(r{i} AS TIMESTAMPTZ) AS TIMESTAMP)"
    value = f"x{i}"
    if facts.lower is not None and facts.upper is not None:
        value = f"least(greatest(x{i}, {literal(facts.lower)}), {literal(facts.upper)})"
    return Coded(
        index=i,
        facts=facts,
        parsed=f"{parsed} AS p{i}",
        scaled=f"CASE WHEN isfinite(p{i}) THEN p{i} END AS x{i}",
        stored=f"coalesce(trim(r{i}), '') = '' OR (p{i} IS NOT NULL AND x{i} IS NULL) AS z{i}, "
        f"CASE WHEN x{i} IS NOT NULL THEN {value} END AS v{i}",
        judged=_judged(i, facts, (f"p{i} IS NULL", Verdict.TYPE), *_not_listed(i, facts), moved=f"v{i} <> x{i}"),
        marks="c",
    )

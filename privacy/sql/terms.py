"""What is publicly known of an expression: `Term`, and interval arithmetic on public bounds.

Owns the value range, the lattice and the possible keys of an expression, all worked out from declared facts and literals.
It never decides privacy: a wrong range costs accuracy only, because the engine clamps every row to the range it is told
(see `privacy.sql.bound`). Ranges are exact fractions; a `step` of 0 means "a multiple of anything" (the literal 0), None
means "on no lattice we know".
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from fractions import Fraction
from typing import cast

from sqlglot import exp

from privacy.facts import Kind, Value
from privacy.sql.parse import where_of
from privacy.sql.problems import BadLiteral, TypeMismatch

#: Expressions are grouped by their public values only up to this many; beyond it keys are selected privately.
MAX_DERIVED_DOMAIN = 1_000
#: Integers within this are far from the ends of 64 bits: arithmetic that stays inside cannot overflow.
SAFE_INTEGER = 2**60
#: Every whole number up to this is a double.
EXACT_DOUBLE = 2**53
#: A day, or a moment of it, as they are written in a text literal.
_MOMENT = re.compile(r"\d{4}-\d\d-\d\d([ T]\d\d:\d\d(:\d\d(\.\d{1,6})?)?)?", re.ASCII)
#: Ranges and lattices with more bits than this in a numerator or denominator are as good as unknown.
_MAX_BITS = 512


@dataclass(frozen=True, kw_only=True, slots=True)
class Stored:
    """A column as it stands in a dataset version.

    `sql` is its DuckDB text (a number in steps of its lattice, an ENUM, a day), `decoded` the text of its value, `table` that of
    FROM. `values` are its public keys in the order of the ENUM.
    """

    sql: str
    decoded: str
    table: str
    values: tuple[Value, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Term:
    """A compiled expression: DuckDB text and everything public about its value.

    `kind` None is the literal NULL. `low` and `high` bound numbers; `since` and `until` bound days; `domain` lists every
    possible non-NULL value in ascending order when they are few and public; `literal` marks constants, `column` the origin.
    """

    sql: str
    kind: Kind | None
    nullable: bool = True
    low: Fraction | None = None
    high: Fraction | None = None
    step: Fraction | None = None
    since: date | None = None
    until: date | None = None
    domain: tuple[Value, ...] | None = None
    literal: Value | None = None
    column: Stored | None = None

    def __post_init__(self) -> None:
        """Forget what would only make exact arithmetic slow: chains of POWER or of products grow without end."""
        for name in ("low", "high", "step"):
            value = getattr(self, name)
            if value is not None and max(value.numerator.bit_length(), value.denominator.bit_length()) > _MAX_BITS:
                object.__setattr__(self, name, None)

    @property
    def stored(self) -> Stored | None:
        """The stored column that the term is, as it stands; None for every expression made from it."""
        return self.column if self.column is not None and self.column.decoded == self.sql else None

    @property
    def safe(self) -> bool:
        """True when no value can come near the ends of 64 bits; floating point has no end to come near to."""
        if self.kind is not Kind.INTEGER:
            return True
        return self.low is not None and self.high is not None and max(abs(self.low), abs(self.high)) <= SAFE_INTEGER

    @property
    def numeric(self) -> bool:
        """True for numbers."""
        return self.kind is not None and self.kind.numeric

    @property
    def key_domain(self) -> tuple[Value, ...] | None:
        """All values the term can take, when public and few enough to list."""
        if self.domain is not None or self.kind is not Kind.INTEGER or not self.step:
            return self.domain
        if not self.safe or self.low is None or self.high is None:
            return None
        if (self.high - self.low) / self.step >= MAX_DERIVED_DOMAIN:
            return None
        first, last = math.ceil(self.low / self.step), math.floor(self.high / self.step)
        return tuple(int(n * self.step) for n in range(first, last + 1))


def total(term: Term) -> Term:
    """The same value, NULL where 64-bit arithmetic would fail on a row.

    TRY stands directly around the operation that can fail, never only around the whole expression: DuckDB's optimizer may
    compute an operand that occurs twice outside of the TRY it was written in, and an error there would tell of a row (law 5).
    """
    return term if term.safe else replace(term, sql=f"TRY({term.sql})", nullable=True)


def number(
    sql: str,
    kind: Kind,
    operands: Iterable[Term],
    *,
    low: Fraction | None = None,
    high: Fraction | None = None,
    step: Fraction | None = None,
) -> Term:
    """A numeric term; it may be NULL when an operand may be."""
    return Term(sql=sql, kind=kind, nullable=any(o.nullable for o in operands), low=low, high=high, step=step)


def joint_kind(terms: Iterable[Term]) -> Kind | None:
    """The kind that holds all terms: NUMBER when any is; NULL literals do not count. Mixed families give the first kind."""
    kinds = [t.kind for t in terms if t.kind is not None]
    if Kind.NUMBER in kinds and all(k.numeric for k in kinds):
        return Kind.NUMBER
    return kinds[0] if kinds else None


def joint_step(steps: Iterable[Fraction | None]) -> Fraction | None:
    """The coarsest lattice that holds all the lattices (greatest common divisor of fractions)."""
    found = Fraction(0)
    for step in steps:
        if step is None:
            return None
        found = _gcd(found, step)
    return found


def _gcd(a: Fraction, b: Fraction) -> Fraction:
    denominator = a.denominator * b.denominator // math.gcd(a.denominator, b.denominator)
    return Fraction(math.gcd(int(a * denominator), int(b * denominator)), denominator)


def lowest(values: Iterable[Fraction | None]) -> Fraction | None:
    """The smallest bound, None (unbounded) when any is, or when there is none."""
    known = list(values)
    return None if any(v is None for v in known) else min((v for v in known if v is not None), default=None)


def highest(values: Iterable[Fraction | None]) -> Fraction | None:
    """The largest bound, None (unbounded) when any is, or when there is none."""
    known = list(values)
    return None if any(v is None for v in known) else max((v for v in known if v is not None), default=None)


def hull(sql: str, terms: list[Term], *, nullable: bool) -> Term:
    """The term that may be any of `terms` (CASE, COALESCE): the union of what they can be."""
    values = [t for t in terms if t.kind is not None]
    domain: tuple[Value, ...] | None = None
    kind = joint_kind(terms)
    if values and all(t.domain is not None for t in values):
        found = {v for t in values for v in t.domain or ()}
        domain = doubles(found) if kind is Kind.NUMBER else tuple(sorted(found))
    days = [t for t in values if t.since is not None and t.until is not None]
    dated = len(days) == len(values)
    return Term(
        sql=sql,
        kind=kind,
        nullable=nullable,
        low=lowest(t.low for t in values),
        high=highest(t.high for t in values),
        step=joint_step(t.step for t in values),
        since=min((t.since for t in days if t.since), default=None) if dated else None,
        until=max((t.until for t in days if t.until), default=None) if dated else None,
        domain=domain,
    )


def add(a: Term, b: Term, sql: str, *, minus: bool) -> Term:
    """a + b, or a - b."""
    sign = -1 if minus else 1
    b_low, b_high = (b.high, b.low) if minus else (b.low, b.high)
    return number(
        sql,
        joint_kind((a, b)) or Kind.NUMBER,
        (a, b),
        low=None if a.low is None or b_low is None else a.low + sign * b_low,
        high=None if a.high is None or b_high is None else a.high + sign * b_high,
        step=joint_step((a.step, b.step)),
    )


def multiply(a: Term, b: Term, sql: str) -> Term:
    """a * b: the range is spanned by the products of the ends."""
    corners = _corners(a, b)
    step = None if a.step is None or b.step is None else a.step * b.step
    low, high = (min(corners), max(corners)) if corners else (None, None)
    return number(sql, joint_kind((a, b)) or Kind.NUMBER, (a, b), low=low, high=high, step=step)


def divide(a: Term, b: Term, sql: str) -> Term:
    """a / b in floating point: bounded when b keeps away from zero; on a lattice when b is a constant."""
    low = high = step = None
    if b.low is not None and b.high is not None and (b.low > 0 or b.high < 0):
        inverse = replace(b, low=1 / b.high, high=1 / b.low)
        corners = _corners(a, inverse)
        low, high = (min(corners), max(corners)) if corners else (None, None)
        if b.low == b.high and a.step is not None:
            step = a.step / abs(b.low)
    return number(sql, Kind.NUMBER, (a, b), low=low, high=high, step=step)


def _corners(a: Term, b: Term) -> list[Fraction]:
    if a.low is None or a.high is None or b.low is None or b.high is None:
        return []
    return [x * y for x in (a.low, a.high) for y in (b.low, b.high)]


def rounded(a: Term, sql: str, digits: int, kind: Kind) -> Term:
    """Any rounding of `a` to `digits` decimals (down, up, to nearest, toward zero): the ends move outward at most."""
    step = Fraction(10) ** -digits
    low = None if a.low is None else math.floor(a.low / step) * step
    high = None if a.high is None else math.ceil(a.high / step) * step
    return number(sql, kind, (a,), low=low, high=high, step=step)


def doubles(values: Iterable[object]) -> tuple[Value, ...]:
    """Numbers as the values of a NUMBER key: these are doubles, as the engine gives them back, and 0 has no sign."""
    return cast(
        "tuple[Value, ...]", tuple(sorted(float(v) + 0.0 for v in values if isinstance(v, int | float | Fraction)))
    )


def listed(term: Term) -> Term:
    """A number that was rounded to whole ones, with its possible values when they are few: doubles hold these exactly."""
    if term.kind is not Kind.NUMBER or not term.step or term.step.denominator != 1:
        return term
    whole = replace(term, kind=Kind.INTEGER).key_domain
    exact = whole is not None and all(_exact(v) for v in (*whole[:1], *whole[-1:]))
    return replace(term, domain=doubles(whole)) if whole and exact else term


def images(result: Term, a: Term, b: Term, operation: Callable[[Fraction, Fraction], Fraction]) -> Term:
    """`result` with its possible values, when it is a number made of few whole ones: doubles compute these exactly."""
    left, right = a.key_domain or (), b.key_domain or ()
    if result.kind is not Kind.NUMBER or not 0 < len(left) * len(right) <= MAX_DERIVED_DOMAIN:
        return result
    if not all(_exact(v) for v in (*left, *right)):
        return result
    pairs = ((Fraction(str(x)), Fraction(str(y))) for x in left for y in right)
    found = {operation(x, y) for x, y in pairs}
    return replace(result, domain=doubles(found)) if all(abs(v) <= EXACT_DOUBLE for v in found) else result


def _exact(value: object) -> bool:
    """Whether a value is a whole number that a double holds."""
    return isinstance(value, int | float) and value == int(value) and abs(value) <= EXACT_DOUBLE


def quote_text(value: str) -> str:
    """A SQL text literal."""
    return "'" + value.replace("'", "''") + "'"


def days_by(unit: str, since: date, until: date) -> tuple[date, ...] | None:
    """First days of every calendar `unit` from `since` to `until`, None when there are too many."""
    length = timedelta(days={"day": 1, "week": 7, "month": 31, "quarter": 92, "year": 366}[unit])
    found = [first_day(unit, since)]
    while found[-1] < first_day(unit, until):
        if len(found) >= MAX_DERIVED_DOMAIN:
            return None
        found.append(first_day(unit, found[-1] + length))
    return tuple(found)


def first_day(unit: str, day: date) -> date:
    """The first day of the calendar unit that holds `day` (weeks begin on Monday)."""
    match unit:
        case "week":
            return day - timedelta(days=day.weekday())
        case "month":
            return day.replace(day=1)
        case "quarter":
            return day.replace(month=3 * ((day.month - 1) // 3) + 1, day=1)
        case "year":
            return day.replace(month=1, day=1)
    return day


def require_kind(term: Term, node: exp.Expr, name: str, *kinds: Kind) -> None:
    """Refuse a term that is of none of `kinds`."""
    if term.kind is not None and term.kind not in kinds:
        raise TypeMismatch(name=name, found=str(term.kind), where=where_of(node), allowed=", ".join(kinds))


def as_day(term: Term, node: exp.Expr, kind: Kind) -> Term:
    """A text literal beside a day or a moment becomes one of `kind`; anything else stays as it is.

    A time of day beside a day is refused: DuckDB drops it beside a DATE, but not beside what DATE_TRUNC made of one.
    """
    if term.kind is not Kind.TEXT or not isinstance(term.literal, str):
        return term
    try:
        moment = datetime.fromisoformat(term.literal) if _MOMENT.fullmatch(term.literal) else None
    except ValueError:
        moment = None
    if moment is None or (kind is Kind.DATE and moment.time() != time.min):
        raise BadLiteral(value=term.sql, kind=str(kind), where=where_of(node))
    day = moment.date()
    if kind is Kind.DATE:
        return Term(sql=f"DATE '{day.isoformat()}'", kind=kind, nullable=False, since=day, until=day, literal=day)
    text = moment.isoformat(sep=" ")
    return Term(sql=f"TIMESTAMP '{text}'", kind=kind, nullable=False, since=day, until=day, literal=moment)


def as_moment(term: Term) -> Term:
    """A day among moments becomes its first moment, as in DuckDB; anything else stays as it is."""
    if term.kind is not Kind.DATE:
        return term
    sql = f"TRY_CAST({term.sql} AS TIMESTAMP)"
    return replace(term, sql=sql, kind=Kind.TIMESTAMP, domain=None, literal=None)


def truth(sql: str, operands: list[Term], *, nullable: bool | None = None) -> Term:
    """A boolean term."""
    may_be_null = any(o.nullable for o in operands) if nullable is None else nullable
    return Term(sql=sql, kind=Kind.BOOLEAN, nullable=may_be_null, domain=(False, True))

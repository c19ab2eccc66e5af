"""Functions of days and moments, and the public days and counts they can give.

Owns the readers of `privacy.sql.functions` that take or give a DATE or a TIMESTAMP. Whatever a row holds, they are total: a day
beyond the calendar is NULL, never an error. Where DuckDB makes a moment of a day (`date_trunc`, `d + INTERVAL 1 MONTH`), the
result here is a day, so that a text beside it has no time of day (`privacy.sql.terms.as_day`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date, timedelta
from fractions import Fraction
from typing import TYPE_CHECKING

from sqlglot import exp

from privacy.errors import Text
from privacy.facts import Kind
from privacy.sql import formats, terms
from privacy.sql.parse import refuse, require_arguments
from privacy.sql.plan import A_DAY, MOMENTS
from privacy.sql.terms import MAX_DERIVED_DOMAIN, Term, number, quote_text

if TYPE_CHECKING:
    from privacy.sql.expressions import Reader

CalendarReader = Callable[["Reader", exp.Expr], Term]

#: Calendar parts: (lowest, highest) value, None where the column's own bounds tell.
_PARTS: dict[str, tuple[int, int] | None] = {
    "year": None,
    "quarter": (1, 4),
    "month": (1, 12),
    "week": (1, 53),
    "day": (1, 31),
    "dow": (0, 6),
    "isodow": (1, 7),
    "isoyear": None,
    "doy": (1, 366),
    "hour": (0, 23),
    "minute": (0, 59),
    "second": (0, 59),
}
_PART_ALIASES = {
    "dayofweek": "dow",
    "weekday": "dow",
    "dayofyear": "doy",
    "dayofmonth": "day",
    "weekofyear": "week",
}
#: Units of whole days, as (unit of the calendar, how many), and units within a day, as seconds.
_DAYS = {"day": ("day", 1), "week": ("day", 7), "month": ("month", 1), "quarter": ("month", 3), "year": ("month", 12)}
_SECONDS = {"hour": 3600, "minute": 60, "second": 1}
_MAX_INTERVAL = 100_000
#: The Monday that DuckDB counts buckets of days from, and the month that it counts buckets of months from.
_ORIGIN = {"day": date(2000, 1, 3), "month": date(2000, 1, 1)}


@dataclass(frozen=True, slots=True)
class _Interval:
    """A constant span of time."""

    count: int
    unit: str

    @property
    def sql(self) -> str:
        return f"INTERVAL '{self.count} {self.unit}'"

    def after(self, day: date | None, *, latest: bool) -> date | None:
        """The day this span after `day`; the latest that a moment of `day` can lead to, if `latest`. None beyond the calendar."""
        if day is None:
            return None
        if self.unit in _SECONDS:
            seconds = self.count * _SECONDS[self.unit]
            return _shifted(day, "day", -(-seconds // A_DAY) if latest else seconds // A_DAY)
        unit, times = _DAYS[self.unit]
        return _shifted(day, unit, self.count * times)


def _shifted(day: date, unit: str, count: int) -> date | None:
    """`day` moved by days or months; a month that is too short gives its last day, as in DuckDB. None beyond the calendar."""
    try:
        if unit == "day":
            return day + timedelta(days=count)
        months = day.year * 12 + day.month - 1 + count
        first = date(months // 12, months % 12 + 1, 1)
        return first.replace(day=min(day.day, _last_day(first).day))
    except (ValueError, OverflowError):
        return None


def _last_day(day: date) -> date:
    following = day.replace(day=28) + timedelta(days=4)
    return following - timedelta(days=following.day)


def _unit_of(node: exp.Expr | None, names: tuple[str, ...], name: str, where: exp.Expr) -> str:
    """A unit of time, singular; refused when it is not one of `names`."""
    unit = node.name.lower() if isinstance(node, exp.Expr) else ""
    singular = unit[:-1] if unit.endswith("s") else unit
    if singular not in names:
        accepted = ", ".join(names)
        raise refuse(
            Text(f"{name} {unit}".strip(), f"{name} {unit}".strip()),
            where,
            Text(f"Accepted: {accepted}.", f"可用：{accepted}。"),
        )
    return singular


def _interval(node: exp.Expr, *, sign: int = 1) -> _Interval:
    """A written INTERVAL. Refuses a computed one and one of several units."""
    inner = node.this.unnest() if isinstance(node, exp.Interval) and isinstance(node.this, exp.Expr) else None
    text = inner.name if isinstance(inner, exp.Literal) else ""
    digits = text.removeprefix("-").removeprefix("+")
    if not (digits.isdecimal() and digits.isascii() and len(digits) <= 6 and int(digits) <= _MAX_INTERVAL):
        raise refuse(
            Text("this INTERVAL", "该 INTERVAL"),
            node,
            Text("Write a whole number and one unit: INTERVAL 3 MONTH.", "请写一个整数和一个单位：INTERVAL 3 MONTH。"),
        )
    unit = _unit_of(node.args.get("unit"), (*_DAYS, *_SECONDS), "INTERVAL", node)
    return _Interval(sign * int(text), unit)


def _moved(a: Term, interval: _Interval) -> Term:
    """A day or a moment plus an interval."""
    since, until = interval.after(a.since, latest=False), interval.after(a.until, latest=True)
    sql = f"TRY({a.sql} + {interval.sql})"
    stays = a.kind is Kind.DATE and interval.unit in _DAYS
    return Term(
        sql=f"TRY_CAST({sql} AS DATE)" if stays else sql,
        kind=Kind.DATE if stays else Kind.TIMESTAMP,
        nullable=a.nullable or since is None or until is None,
        since=since,
        until=until,
    )


def arithmetic(reader: Reader, node: exp.Expr, symbol: str) -> Term | None:
    """`d + INTERVAL …`, `d + 3`, `d - d`; None when neither operand is a day, a moment or an interval."""
    left, right = node.this, node.expression
    if isinstance(left, exp.Interval) and symbol == "+":
        left, right = right, left
    if isinstance(right, exp.Interval):
        day = reader.of_kind(left, symbol, *MOMENTS)
        return _moved(_known(day), _interval(right, sign=-1 if symbol == "-" else 1))
    a, b = reader.read(left), reader.read(right)
    if b.kind is Kind.DATE and a.kind is Kind.INTEGER and symbol == "+":
        a, b = b, a
    if a.kind is Kind.DATE and b.kind is Kind.INTEGER and symbol in "+-":
        return _days_later(a, b, symbol)
    if a.kind is Kind.DATE and b.kind is Kind.DATE and symbol == "-":
        return _bounded(f"({a.sql} - {b.sql})", [a, b], *_reach(b, a, "day"))
    if {a.kind, b.kind} & set(MOMENTS):
        construct = Text(
            f"{a.kind or 'NULL'} {symbol} {b.kind or 'NULL'}", f"{a.kind or 'NULL'} {symbol} {b.kind or 'NULL'}"
        )
        advice = Text(
            "Accepted: d + INTERVAL 3 MONTH, d + 3, d1 - d2 for dates, date_diff('hour', a, b).",
            "可用：d + INTERVAL 3 MONTH、d + 3、日期相减 d1 - d2、date_diff('hour', a, b)。",
        )
        raise refuse(construct, node, advice)
    return None


def _known(day: Term) -> Term:
    """The literal NULL among days is a day without value."""
    return day if day.kind is not None else replace(day, sql="CAST(NULL AS DATE)", kind=Kind.DATE)


def _days_later(day: Term, days: Term, symbol: str) -> Term:
    low, high = (days.low, days.high) if symbol == "+" else (days.high, days.low)
    sign = 1 if symbol == "+" else -1
    since = None if day.since is None or low is None else _shifted(day.since, "day", sign * int(low))
    until = None if day.until is None or high is None else _shifted(day.until, "day", sign * int(high))
    nullable = day.nullable or days.nullable or since is None or until is None
    sql = f"TRY({day.sql} {symbol} TRY_CAST({days.sql} AS INTEGER))"
    return Term(sql=sql, kind=Kind.DATE, nullable=nullable, since=since, until=until)


def shift(reader: Reader, node: exp.Expr) -> Term:
    """`date_add(d, INTERVAL …)`."""
    require_arguments(node, "this", "expression")
    if not isinstance(node.expression, exp.Interval):
        raise refuse(
            Text("DATE_ADD without an INTERVAL", "没有 INTERVAL 的 DATE_ADD"),
            node,
            Text("Write date_add(d, INTERVAL 3 MONTH).", "请写成 date_add(d, INTERVAL 3 MONTH)。"),
        )
    return _moved(_known(reader.of_kind(node.this, "DATE_ADD", *MOMENTS)), _interval(node.expression))


def difference(reader: Reader, node: exp.Expr) -> Term:
    """`date_diff('unit', a, b)`: how many boundaries of the unit lie between a and b."""
    require_arguments(node, "this", "expression", "unit")
    return _between(reader, node, node.args.get("unit"), node.expression, node.this, "date_diff")


def complete(reader: Reader, node: exp.Expr) -> Term:
    """`date_sub('unit', a, b)`: how many complete units lie between a and b; age in years is `date_sub('year', born, d)`."""
    unit, start, end = reader.arguments(node, "date_sub", 3)
    return _between(reader, node, unit, start, end, "date_sub")


def _between(
    reader: Reader, node: exp.Expr, unit_node: exp.Expr | None, start: exp.Expr, end: exp.Expr, function: str
) -> Term:
    unit = _unit_of(unit_node, (*_DAYS, *_SECONDS), function.upper(), node)
    a, b = reader.alike([start, end], function.upper())
    for term, operand in ((a, start), (b, end)):
        terms.require_kind(term, operand, function.upper(), *MOMENTS)
    a, b = (_known(t) for t in (a, b))
    low, high = _reach(a, b, unit)
    if function == "date_sub":  # complete units are boundaries, or one fewer of them
        low = low - 1 if low is not None and low > 0 else low
        high = high + 1 if high is not None and high < 0 else high
    found = _bounded(f"TRY({function}('{unit}', {a.sql}, {b.sql}))", [a, b], low, high)
    return replace(found, nullable=found.nullable or low is None or high is None)


def _reach(start: Term, end: Term, unit: str) -> tuple[int | None, int | None]:
    """The fewest and the most boundaries of `unit` between two days or moments."""
    ends = start.since, start.until, end.since, end.until
    if any(e is None for e in ends):
        return None, None
    a_since, a_until, b_since, b_until = (_count(unit, e) for e in ends if e is not None)
    slack = A_DAY // _SECONDS[unit] - 1 if unit in _SECONDS else 0  # a moment may be the last of its day
    return b_since - a_until - slack, b_until - a_since + slack


def _count(unit: str, day: date) -> int:
    """How many boundaries of the unit lie before the day."""
    match unit:
        case "year":
            return day.year
        case "quarter":
            return day.year * 4 + (day.month - 1) // 3
        case "month":
            return day.year * 12 + day.month
        case "week":
            return (day.toordinal() - 1) // 7  # the first day of the calendar of Python is a Monday
        case "day":
            return day.toordinal()
    return day.toordinal() * (A_DAY // _SECONDS[unit])


def _bounded(sql: str, operands: list[Term], low: int | None, high: int | None) -> Term:
    ends = (None if v is None else Fraction(v) for v in (low, high))
    return number(sql, Kind.INTEGER, operands, low=next(ends), high=next(ends), step=Fraction(1))


def part(name: str) -> CalendarReader:
    """A function that is named after its part, such as YEAR."""

    def read(reader: Reader, node: exp.Expr) -> Term:
        return _part_of(reader, reader.arguments(node, name, 1)[0], name)

    return read


def extract(reader: Reader, node: exp.Expr) -> Term:
    """`EXTRACT(part FROM d)`."""
    require_arguments(node, "this", "expression")
    return _part_of(reader, node.expression, node.this.name)


def date_part(reader: Reader, node: exp.Expr) -> Term:
    """`date_part('part', d)`."""
    arguments = node.expressions
    if len(arguments) != 2 or not isinstance(arguments[0], exp.Literal):
        raise refuse(Text("DATE_PART without a constant part", "日期部分不是常数的 DATE_PART"), node)
    return _part_of(reader, arguments[1], arguments[0].name)


def _part_of(reader: Reader, node: exp.Expr, part: str) -> Term:
    name = _PART_ALIASES.get(part.lower(), part.lower())
    if name not in _PARTS:
        listed_parts = ", ".join(_PARTS)
        raise refuse(
            Text(f"the calendar part {name}", f"日期部分 {name}"),
            node,
            Text(f"Accepted: {listed_parts}.", f"可用：{listed_parts}。"),
        )
    day = reader.of_kind(node, f"EXTRACT({name})", *((Kind.TIMESTAMP,) if name in _SECONDS else MOMENTS))
    span = _PARTS[name]
    slack = 1 if name == "isoyear" else 0  # the first and the last days of a year may belong to its neighbours
    low = span[0] if span else (day.since.year - slack if day.since else None)
    high = span[1] if span else (day.until.year + slack if day.until else None)
    return _bounded(f"date_part('{name}', {day.sql})", [day], low, high)


def truncate(reader: Reader, node: exp.Expr) -> Term:
    """DATE_TRUNC: the first day of a unit, or the first moment of an hour, a minute or a second."""
    require_arguments(node, "this", "unit")
    unit = node.args["unit"].name.lower()
    if unit not in (*_DAYS, *_SECONDS):
        listed_units = ", ".join((*_DAYS, *_SECONDS))
        raise refuse(
            Text(f"DATE_TRUNC to {unit}", f"按 {unit} 截断的 DATE_TRUNC"),
            node,
            Text(f"Accepted: {listed_units}.", f"可用：{listed_units}。"),
        )
    if unit in _SECONDS:
        moment = reader.of_kind(node.this, "DATE_TRUNC", Kind.TIMESTAMP)
        return replace(moment, sql=f"TRY(date_trunc('{unit}', {moment.sql}))", kind=Kind.TIMESTAMP, literal=None)
    day = reader.of_kind(node.this, "DATE_TRUNC", *MOMENTS)
    domain = terms.days_by(unit, day.since, day.until) if day.since and day.until else None
    since = terms.first_day(unit, day.since) if day.since else None
    sql = f"CAST(date_trunc('{unit}', {day.sql}) AS DATE)"
    return Term(sql=sql, kind=Kind.DATE, nullable=day.nullable, since=since, until=day.until, domain=domain)


def bucket(reader: Reader, node: exp.Expr) -> Term:
    """`time_bucket(INTERVAL 2 WEEK, d)`: the first day, or moment, of the bucket that holds d."""
    require_arguments(node, "this", "expression")
    interval = _interval(node.this)
    if interval.count < 1:
        raise refuse(
            Text("a bucket of no time", "长度为零的时间桶"),
            node,
            Text("Write INTERVAL 2 WEEK.", "请写 INTERVAL 2 WEEK。"),
        )
    whole = interval.unit in _DAYS
    day = _known(reader.of_kind(node.expression, "TIME_BUCKET", *(MOMENTS if whole else (Kind.TIMESTAMP,))))
    since = _first_of_bucket(interval, day.since)
    sql = f"TRY(time_bucket({interval.sql}, {day.sql}))"
    return Term(
        sql=f"TRY_CAST({sql} AS DATE)" if whole else sql,
        kind=Kind.DATE if whole else Kind.TIMESTAMP,
        nullable=day.nullable or since is None or day.until is None,
        since=since,
        until=day.until,
        domain=_buckets(interval, since, day.until) if whole and since and day.until else None,
    )


def _first_of_bucket(interval: _Interval, day: date | None) -> date | None:
    """The first day of the bucket that holds `day`, or a day before any moment of it."""
    if day is None:
        return None
    if interval.unit in _SECONDS:
        return _Interval(-interval.count, interval.unit).after(day, latest=False)
    unit, times = _DAYS[interval.unit]
    size = times * interval.count
    passed = _count(unit, day) - _count(unit, _ORIGIN[unit])
    return _shifted(_ORIGIN[unit], unit, passed // size * size)


def _buckets(interval: _Interval, since: date, until: date) -> tuple[date, ...] | None:
    """The first days of all buckets from `since` to `until`, None when there are too many."""
    unit, times = _DAYS[interval.unit]
    found: list[date] = []
    day: date | None = since
    while day is not None and day <= until:
        if len(found) >= MAX_DERIVED_DOMAIN:
            return None
        found.append(day)
        day = _shifted(since, unit, times * interval.count * len(found))
    return tuple(found)


def last_day(reader: Reader, node: exp.Expr) -> Term:
    """The last day of the month."""
    require_arguments(node, "this")
    day = reader.of_kind(node.this, "LAST_DAY", *MOMENTS)
    since, until = (
        None if d is None else _last_day(d) if (d.year, d.month) < (9999, 12) else None for d in (day.since, day.until)
    )
    months = terms.days_by("month", day.since, day.until) if day.since and day.until and since and until else None
    domain = None if months is None else tuple(_last_day(m) for m in months)
    nullable = day.nullable or since is None or until is None
    sql = f"TRY(last_day({day.sql}))"
    return Term(sql=sql, kind=Kind.DATE, nullable=nullable, since=since, until=until, domain=domain)


def make_date(reader: Reader, node: exp.Expr) -> Term:
    """`make_date(year, month, day)`; NULL when there is no such day."""
    require_arguments(node, "year", "month", "day")
    given = [n for n in (node.args.get(name) for name in ("year", "month", "day")) if isinstance(n, exp.Expr)]
    reader.require_count(node, "make_date", len(given), 3)
    parts = [reader.of_kind(n, "MAKE_DATE", Kind.INTEGER) for n in given]
    low, high = parts[0].low, parts[0].high
    known = low is not None and high is not None and low >= 1 and high <= 9998
    return Term(
        sql=f"TRY(make_date({', '.join(p.sql for p in parts)}))",
        kind=Kind.DATE,
        since=date(int(low), 1, 1) if known and low is not None else None,
        until=date(int(high), 12, 31) if known and high is not None else None,
    )


def named(function: str) -> CalendarReader:
    """DAYNAME or MONTHNAME, in English."""
    names = formats.NAMES_OF_DAYS if function == "dayname" else formats.NAMES_OF_MONTHS

    def read(reader: Reader, node: exp.Expr) -> Term:
        require_arguments(node, "this")
        day = reader.of_kind(node.this, function.upper(), *MOMENTS)
        domain = tuple(sorted(names))
        return Term(
            sql=f"{function}({day.sql})", kind=Kind.TEXT, nullable=day.nullable or day.since is None, domain=domain
        )

    return read


def written(reader: Reader, node: exp.Expr) -> Term:
    """`strftime(d, '%Y-%m')`, also with its arguments in the other order."""
    require_arguments(node, "this", "format")
    subject, form = node.this, node.args["format"]
    if isinstance(subject, exp.Literal):
        subject, form = form, subject
    text = reader.constant_text(form, "STRFTIME")
    pieces = formats.pieces_of(text)
    if pieces is None:
        marks = " ".join(f"%{c}" for c in formats.MARKS)
        raise refuse(
            Text("this format of STRFTIME", "该 STRFTIME 格式"), node, Text(f"Accepted: {marks}.", f"可用：{marks}。")
        )
    timed = bool(formats.of_time(pieces))
    day = reader.of_kind(subject, "STRFTIME", *((Kind.TIMESTAMP,) if timed else MOMENTS))
    domain = formats.texts(pieces, day.since, day.until)
    return Term(
        sql=f"strftime({_known(day).sql}, {quote_text(text)})", kind=Kind.TEXT, nullable=day.nullable, domain=domain
    )

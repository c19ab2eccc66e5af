"""The functions of the accepted dialect: a table of readers, each total in what it emits.

Owns the allow-list. A function that is not in `_READERS` or `_BY_NAME` does not exist for an asker: no `error()`,
`random()`, `hash()`, `query()`, no table or list function, no regular expression. It never emits a name that the asker
wrote.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from typing import TYPE_CHECKING

from sqlglot import exp

from privacy.errors import Text
from privacy.facts import Kind
from privacy.sql import terms
from privacy.sql.parse import refuse, require_arguments, where_of
from privacy.sql.problems import TypeMismatch
from privacy.sql.terms import Term, as_day, require_kind, total, truth

if TYPE_CHECKING:
    from privacy.sql.expressions import Reader

FunctionReader = Callable[["Reader", exp.Expr], Term]

_WHOLE_TYPES = {"TINYINT", "SMALLINT", "INT", "BIGINT"}
_REAL_TYPES = {"DOUBLE", "FLOAT"}
_TIME_TYPES = {"TIMESTAMP", "TIMESTAMPNTZ"}

#: Calendar parts: (lowest, highest) value, None where the column's own bounds tell.
_PARTS: dict[str, tuple[int, int] | None] = {
    "year": None,
    "quarter": (1, 4),
    "month": (1, 12),
    "week": (1, 53),
    "day": (1, 31),
    "dow": (0, 6),
    "isodow": (1, 7),
    "doy": (1, 366),
    "hour": (0, 23),
    "minute": (0, 59),
}
_PART_ALIASES = {"dayofweek": "dow", "dayofyear": "doy", "dayofmonth": "day", "weekofyear": "week"}
_TRUNCATIONS = ("day", "week", "month", "quarter", "year")


def find(node: exp.Expr) -> FunctionReader | None:
    """The reader of a function node, or None when the function is not accepted."""
    if isinstance(node, exp.Anonymous):
        return _BY_NAME.get(node.name.lower())
    return _READERS.get(type(node))


def listed() -> str:
    """The accepted functions, for hints and docs."""
    return ", ".join(NAMES)


def _literal_int(reader: Reader, node: exp.Expr | None, name: str, default: int) -> int:
    """A whole literal argument; refused when it is an expression, because it would shape the plan from data."""
    if node is None:
        return default
    term = reader.read(node)
    if not isinstance(term.literal, int) or isinstance(term.literal, bool) or abs(term.literal) > 10_000:
        construct = Text(f"a computed second argument of {name}", f"{name} 的第二个参数不是常数")
        raise refuse(construct, node, Text("Write a whole number.", "请写一个整数。"))
    return term.literal


def _rounding(template: str, name: str, *, keeps_integer: bool) -> FunctionReader:
    def read(reader: Reader, node: exp.Expr) -> Term:
        require_arguments(node, "this", "decimals")
        a = reader.numeric(node.this, name)
        digits = max(-9, min(9, _literal_int(reader, node.args.get("decimals"), name, 0)))
        kind = a.kind if keeps_integer and a.kind is not None else Kind.NUMBER
        if kind is Kind.INTEGER and digits >= 0:
            return a
        return total(terms.rounded(a, template.format(a=a.sql, n=digits), digits, kind))

    return read


def _whole(name: str) -> FunctionReader:
    def read(reader: Reader, node: exp.Expr) -> Term:
        require_arguments(node, "this")
        a = reader.numeric(node.this, name)
        return terms.rounded(a, f"{name}({a.sql})", 0, Kind.NUMBER)

    return read


def _abs(reader: Reader, node: exp.Expr) -> Term:
    a = reader.numeric(node.this, "ABS")
    reach = None if a.low is None or a.high is None else max(abs(a.low), abs(a.high))
    return total(terms.number(f"abs({a.sql})", a.kind or Kind.NUMBER, (a,), low=Fraction(0), high=reach, step=a.step))


def _sign(reader: Reader, node: exp.Expr) -> Term:
    a = reader.numeric(node.this, "SIGN")
    one = Fraction(1)
    return terms.number(f"CAST(sign({a.sql}) AS BIGINT)", Kind.INTEGER, (a,), low=-one, high=one, step=one)


def _root(reader: Reader, node: exp.Expr) -> Term:
    require_arguments(node, "this")
    a = reader.numeric(node.this, "SQRT")
    high = None if a.high is None else Fraction(math.isqrt(max(0, math.ceil(a.high))) + 1)
    return Term(sql=f"sqrt({a.sql})", kind=Kind.NUMBER, low=Fraction(0), high=high)


def _logarithm(reader: Reader, node: exp.Expr) -> Term:
    base_ten = isinstance(node, exp.Log)
    if base_ten and (node.expression is None or node.this.name != "10"):
        raise refuse(
            Text("LOG with a base other than 10", "底数不是 10 的 LOG"),
            node,
            Text("Use LN or LOG10.", "请使用 LN 或 LOG10。"),
        )
    a = reader.numeric(node.expression if base_ten else node.this, "LN")
    scale = math.log(10) if base_ten else 1.0
    low = Fraction(math.floor(_log(a.low) / scale)) if a.low is not None and a.low > 0 else None
    high = Fraction(math.ceil(_log(a.high) / scale)) if a.high is not None and a.high > 0 else None
    return Term(sql=f"{'log10' if base_ten else 'ln'}({a.sql})", kind=Kind.NUMBER, low=low, high=high)


def _log(value: Fraction) -> float:
    return math.log(value.numerator) - math.log(value.denominator)


def _exponential(reader: Reader, node: exp.Expr) -> Term:
    a = reader.numeric(node.this, "EXP")
    high = Fraction(math.exp(a.high) * 1.000001) if a.high is not None and a.high < 700 else None
    return Term(sql=f"exp({a.sql})", kind=Kind.NUMBER, low=Fraction(0), high=high)


def _power(reader: Reader, node: exp.Expr) -> Term:
    require_arguments(node, "this", "expression")
    a = reader.numeric(node.this, "POWER")
    exponent = _literal_int(reader, node.expression, "POWER", 1)
    low = high = step = None
    if a.low is not None and a.high is not None and 1 <= exponent <= 8:
        ends = sorted((a.low**exponent, a.high**exponent))
        spans_zero = exponent % 2 == 0 and a.low <= 0 <= a.high
        low, high = Fraction(0) if spans_zero else ends[0], ends[1]
        step = None if a.step is None else a.step**exponent
    sql = f"pow({a.sql}, {exponent})"
    return Term(sql=sql, kind=Kind.NUMBER, low=low, high=high, step=step)


def _extreme(name: str) -> FunctionReader:
    """LEAST and GREATEST ignore NULLs, so only an operand that is never NULL can tighten the range."""

    def read(reader: Reader, node: exp.Expr) -> Term:
        require_arguments(node, "this", "expressions")
        found = reader.alike([node.this, *node.expressions], name)
        sure = [t for t in found if not t.nullable]
        union = terms.hull("", found, nullable=not sure)
        low, high = union.low, union.high
        if name == "LEAST":
            high = min((t.high for t in sure if t.high is not None), default=high)
        else:
            low = max((t.low for t in sure if t.low is not None), default=low)
        sql = f"{name.lower()}({', '.join(t.sql for t in found)})"
        return replace(union, sql=sql, low=low, high=high, domain=None)

    return read


def _coalesce(reader: Reader, node: exp.Expr) -> Term:
    require_arguments(node, "this", "expressions")
    found = reader.alike([node.this, *node.expressions], "COALESCE")
    sql = f"coalesce({', '.join(t.sql for t in found)})"
    return terms.hull(sql, found, nullable=all(t.nullable for t in found))


def _nullif(reader: Reader, node: exp.Expr) -> Term:
    a, b = reader.alike([node.this, node.expression], "NULLIF")
    reader.require_short(node, a)
    return replace(a, sql=f"(CASE WHEN {a.sql} = {b.sql} THEN NULL ELSE {a.sql} END)", nullable=True, literal=None)


def _text(template: str, name: str) -> FunctionReader:
    def read(reader: Reader, node: exp.Expr) -> Term:
        require_arguments(node, "this")
        a = reader.of_kind(node.this, name, Kind.TEXT)
        return Term(sql=template.format(a=a.sql), kind=Kind.TEXT, nullable=a.nullable)

    return read


def _trim(reader: Reader, node: exp.Expr) -> Term:
    require_arguments(node, "this", "position")
    a = reader.of_kind(node.this, "TRIM", Kind.TEXT)
    function = {"LEADING": "ltrim", "TRAILING": "rtrim"}.get(str(node.args.get("position") or ""), "trim")
    return Term(sql=f"{function}({a.sql})", kind=Kind.TEXT, nullable=a.nullable)


def _length(reader: Reader, node: exp.Expr) -> Term:
    require_arguments(node, "this")
    a = reader.of_kind(node.this, "LENGTH", Kind.TEXT)
    return Term(sql=f"length({a.sql})", kind=Kind.INTEGER, nullable=a.nullable, low=Fraction(0), step=Fraction(1))


def _substring(reader: Reader, node: exp.Expr) -> Term:
    require_arguments(node, "this", "start", "length")
    a = reader.of_kind(node.this, "SUBSTRING", Kind.TEXT)
    start = _literal_int(reader, node.args.get("start"), "SUBSTRING", 1)
    length = _literal_int(reader, node.args.get("length"), "SUBSTRING", 10_000)
    return Term(sql=f"substring({a.sql}, {start}, {length})", kind=Kind.TEXT, nullable=a.nullable)


def _side(name: str) -> FunctionReader:
    def read(reader: Reader, node: exp.Expr) -> Term:
        require_arguments(node, "this", "expression")
        a = reader.of_kind(node.this, name, Kind.TEXT)
        length = _literal_int(reader, node.expression, name, 1)
        return Term(sql=f"{name.lower()}({a.sql}, {length})", kind=Kind.TEXT, nullable=a.nullable)

    return read


def _text_test(function: str) -> FunctionReader:
    def read(reader: Reader, node: exp.Expr) -> Term:
        require_arguments(node, "this", "expression")
        pair = [reader.of_kind(n, function.upper(), Kind.TEXT) for n in (node.this, node.expression)]
        return truth(f"{function}({pair[0].sql}, {pair[1].sql})", pair)

    return read


def _concatenation(reader: Reader, node: exp.Expr) -> Term:
    require_arguments(node, "this", "expression")
    a, b = (reader.of_kind(n, "||", Kind.TEXT) for n in (node.this, node.expression))
    return Term(sql=f"({a.sql} || {b.sql})", kind=Kind.TEXT, nullable=a.nullable or b.nullable)


def _concat(reader: Reader, node: exp.Expr) -> Term:
    require_arguments(node, "expressions")
    found = [reader.of_kind(n, "CONCAT", Kind.TEXT) for n in node.expressions]
    return Term(sql=f"concat({', '.join(t.sql for t in found)})", kind=Kind.TEXT, nullable=False)


def _part_of(reader: Reader, node: exp.Expr, part: str) -> Term:
    name = _PART_ALIASES.get(part.lower(), part.lower())
    if name not in _PARTS:
        listed_parts = ", ".join(_PARTS)
        raise refuse(
            Text(f"the calendar part {name}", f"日期部分 {name}"),
            node,
            Text(f"Accepted: {listed_parts}.", f"可用：{listed_parts}。"),
        )
    day = reader.of_kind(node, f"EXTRACT({name})", *_day_kinds(name))
    span = _PARTS[name]
    low = Fraction(span[0]) if span else (Fraction(day.since.year) if day.since else None)
    high = Fraction(span[1]) if span else (Fraction(day.until.year) if day.until else None)
    sql = f"date_part('{name}', {day.sql})"
    return Term(sql=sql, kind=Kind.INTEGER, nullable=day.nullable, low=low, high=high, step=Fraction(1))


def _day_kinds(part: str) -> tuple[Kind, ...]:
    return (Kind.TIMESTAMP,) if part in ("hour", "minute") else (Kind.DATE, Kind.TIMESTAMP)


def _calendar(part: str) -> FunctionReader:
    def read(reader: Reader, node: exp.Expr) -> Term:
        require_arguments(node, "this")
        return _part_of(reader, node.this, part)

    return read


def _extract(reader: Reader, node: exp.Expr) -> Term:
    require_arguments(node, "this", "expression")
    return _part_of(reader, node.expression, node.this.name)


def _date_part(reader: Reader, node: exp.Expr) -> Term:
    arguments = node.expressions
    if len(arguments) != 2 or not isinstance(arguments[0], exp.Literal):
        raise refuse(Text("DATE_PART without a constant part", "日期部分不是常数的 DATE_PART"), node)
    return _part_of(reader, arguments[1], arguments[0].name)


def _truncate(reader: Reader, node: exp.Expr) -> Term:
    require_arguments(node, "this", "unit")
    unit = node.args["unit"].name.lower()
    if unit not in _TRUNCATIONS:
        listed_units = ", ".join(_TRUNCATIONS)
        raise refuse(
            Text(f"DATE_TRUNC to {unit}", f"按 {unit} 截断的 DATE_TRUNC"),
            node,
            Text(f"Accepted: {listed_units}.", f"可用：{listed_units}。"),
        )
    day = reader.of_kind(node.this, "DATE_TRUNC", Kind.DATE, Kind.TIMESTAMP)
    domain = terms.days_by(unit, day.since, day.until) if day.since and day.until else None
    since = terms.first_day(unit, day.since) if day.since else None
    sql = f"CAST(date_trunc('{unit}', {day.sql}) AS DATE)"
    return Term(sql=sql, kind=Kind.DATE, nullable=day.nullable, since=since, until=day.until, domain=domain)


def _cast(reader: Reader, node: exp.Expr) -> Term:
    require_arguments(node, "this", "to")
    target = node.args["to"].this.name
    text = node.this
    a = reader.read(text)
    if isinstance(a.literal, str) and target in ("DATE", *_TIME_TYPES):
        return as_day(a, node, Kind.DATE if target == "DATE" else Kind.TIMESTAMP)
    if target in _WHOLE_TYPES:
        return _cast_number(a, node, f"TRY_CAST({a.sql} AS BIGINT)", 0, Kind.INTEGER)
    if target in _REAL_TYPES:
        cast = _cast_number(a, node, f"TRY_CAST({a.sql} AS DOUBLE)", 0, Kind.NUMBER)
        return cast if a.kind is Kind.BOOLEAN else replace(cast, low=a.low, high=a.high, step=a.step)
    if target == "DECIMAL":
        return _cast_decimal(reader, a, node)
    return _cast_other(a, node, target)


def _cast_number(a: Term, node: exp.Expr, sql: str, digits: int, kind: Kind) -> Term:
    if a.kind in (Kind.DATE, Kind.TIMESTAMP):
        raise TypeMismatch(
            name="CAST", found=str(a.kind), where=where_of(node), allowed="integer, number, text, boolean"
        )
    if a.kind is Kind.BOOLEAN:
        a = replace(a, low=Fraction(0), high=Fraction(1))
    bounded = terms.rounded(a, sql, digits, kind)
    return replace(bounded, nullable=a.nullable or bounded.low is None or bounded.high is None)


def _cast_decimal(reader: Reader, a: Term, node: exp.Expr) -> Term:
    parameters = [_literal_int(reader, p.this, "DECIMAL", 0) for p in node.args["to"].expressions]
    width, digits = (*parameters, 18, 3)[:2] if len(parameters) != 1 else (parameters[0], 0)
    if not (1 <= width <= 38 and 0 <= digits <= min(width, 9)):
        raise refuse(
            Text("this DECIMAL type", "该 DECIMAL 类型"), node, Text("Use DECIMAL(18, 2).", "请使用 DECIMAL(18, 2)。")
        )
    sql = f"CAST(TRY_CAST({a.sql} AS DECIMAL({width}, {digits})) AS DOUBLE)"
    return replace(_cast_number(a, node, sql, digits, Kind.NUMBER), nullable=True)


def _cast_other(a: Term, node: exp.Expr, target: str) -> Term:
    kinds = {"DATE": Kind.DATE, "BOOLEAN": Kind.BOOLEAN, "TEXT": Kind.TEXT, "VARCHAR": Kind.TEXT}
    kind = Kind.TIMESTAMP if target in _TIME_TYPES else kinds.get(target)
    if kind is None:
        raise refuse(
            Text(f"the type {target}", f"类型 {target}"),
            node,
            Text(
                "Accepted: BIGINT, DOUBLE, DECIMAL, VARCHAR, BOOLEAN, DATE, TIMESTAMP.",
                "可用：BIGINT、DOUBLE、DECIMAL、VARCHAR、BOOLEAN、DATE、TIMESTAMP。",
            ),
        )
    days = (Kind.TEXT, Kind.DATE, Kind.TIMESTAMP)
    if kind is Kind.BOOLEAN:
        require_kind(a, node, "CAST", Kind.BOOLEAN, Kind.INTEGER, Kind.NUMBER, Kind.TEXT)
    elif kind is not Kind.TEXT:
        require_kind(a, node, "CAST", *days)
    name = "VARCHAR" if kind is Kind.TEXT else kind.name
    since, until = (a.since, a.until) if kind in days else (None, None)
    domain = (False, True) if kind is Kind.BOOLEAN else None
    nullable = a.nullable or (a.kind is Kind.TEXT and kind is not Kind.TEXT)
    return Term(
        sql=f"TRY_CAST({a.sql} AS {name})", kind=kind, nullable=nullable, domain=domain, since=since, until=until
    )


_READERS: dict[type[exp.Expr], FunctionReader] = {
    exp.Round: _rounding("round({a}, {n})", "ROUND", keeps_integer=True),
    exp.Floor: _whole("floor"),
    exp.Ceil: _whole("ceil"),
    exp.Trunc: _whole("trunc"),
    exp.Abs: _abs,
    exp.Sign: _sign,
    exp.Sqrt: _root,
    exp.Ln: _logarithm,
    exp.Log: _logarithm,
    exp.Exp: _exponential,
    exp.Pow: _power,
    exp.Least: _extreme("LEAST"),
    exp.Greatest: _extreme("GREATEST"),
    exp.Coalesce: _coalesce,
    exp.Nullif: _nullif,
    exp.Lower: _text("lower({a})", "LOWER"),
    exp.Upper: _text("upper({a})", "UPPER"),
    exp.Trim: _trim,
    exp.Length: _length,
    exp.Substring: _substring,
    exp.Left: _side("LEFT"),
    exp.Right: _side("RIGHT"),
    exp.StartsWith: _text_test("starts_with"),
    exp.Contains: _text_test("contains"),
    exp.DPipe: _concatenation,
    exp.Concat: _concat,
    exp.Extract: _extract,
    exp.Year: _calendar("year"),
    exp.Quarter: _calendar("quarter"),
    exp.Month: _calendar("month"),
    exp.Week: _calendar("week"),
    exp.Day: _calendar("day"),
    exp.DayOfWeek: _calendar("dow"),
    exp.DayOfYear: _calendar("doy"),
    exp.DayOfMonth: _calendar("day"),
    exp.Hour: _calendar("hour"),
    exp.Minute: _calendar("minute"),
    exp.TimestampTrunc: _truncate,
    exp.DateTrunc: _truncate,
    exp.Cast: _cast,
    exp.TryCast: _cast,
}
_BY_NAME: dict[str, FunctionReader] = {"date_part": _date_part}

NAMES = (
    "abs", "cast", "ceil", "coalesce", "concat", "contains", "date_part", "date_trunc", "day", "dayofmonth", "dayofweek",
    "dayofyear", "exp", "extract", "floor", "greatest", "hour", "if", "ifnull", "least", "left", "length", "ln", "log10",
    "lower", "ltrim", "minute", "month", "nullif", "power", "quarter", "right", "round", "rtrim", "sign", "sqrt",
    "starts_with", "substring", "trim", "trunc", "try_cast", "upper", "week", "year",
)  # fmt: skip

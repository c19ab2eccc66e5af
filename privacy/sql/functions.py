"""The functions of the accepted dialect: a table of readers, each total in what it emits.

Owns the allow-list, and the readers of numbers, choices and casts; `privacy.sql.texts` and `privacy.sql.calendar` own those of
texts and days. A function that is not in `_READERS` or `_BY_NAME` does not exist for an asker: no `error()`, `random()`,
`hash()`, `query()`, no table or list function. It never emits a name that the asker wrote.
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
from privacy.sql import calendar, terms, texts
from privacy.sql.parse import refuse, require_arguments, where_of
from privacy.sql.problems import TypeMismatch
from privacy.sql.terms import Term, as_day, require_kind, total, truth
from privacy.sql.words import FUNCTIONS

if TYPE_CHECKING:
    from privacy.sql.expressions import Reader

FunctionReader = Callable[["Reader", exp.Expr], Term]

_WHOLE_TYPES = {"TINYINT", "SMALLINT", "INT", "BIGINT"}
_REAL_TYPES = {"DOUBLE", "FLOAT"}
#: A quotient as a double may lie on the other side of a whole number that is this near.
_NEAR = Fraction(1, 10**9)
_TIME_TYPES = {"TIMESTAMP", "TIMESTAMPNTZ"}


def find(node: exp.Expr) -> FunctionReader | None:
    """The reader of a function node, or None when the function is not accepted."""
    if isinstance(node, exp.Anonymous):
        return _BY_NAME.get(node.name.lower())
    return _READERS.get(type(node))


def listed() -> str:
    """The accepted functions, for hints and docs."""
    return ", ".join(NAMES)


def _rounding(template: str, name: str, *, keeps_integer: bool) -> FunctionReader:
    def read(reader: Reader, node: exp.Expr) -> Term:
        require_arguments(node, "this", "decimals")
        a = reader.numeric(node.this, name)
        digits = max(-9, min(9, reader.constant(node.args.get("decimals"), name, 0)))
        kind = a.kind if keeps_integer and a.kind is not None else Kind.NUMBER
        if kind is Kind.INTEGER and digits >= 0:
            return a
        return total(terms.listed(terms.rounded(a, template.format(a=a.sql, n=digits), digits, kind)))

    return read


def _whole(name: str) -> FunctionReader:
    """FLOOR, CEIL and TRUNC, which move an end in one direction only."""

    def read(reader: Reader, node: exp.Expr) -> Term:
        require_arguments(node, "this")
        a = reader.numeric(node.this, name)
        found = terms.rounded(a, f"{name}({a.sql})", 0, Kind.NUMBER)
        if a.high is not None and (name == "floor" or (name == "trunc" and a.high >= 0)):
            found = replace(found, high=Fraction(math.floor(a.high + _NEAR)))
        if a.low is not None and (name == "ceil" or (name == "trunc" and a.low <= 0)):
            found = replace(found, low=Fraction(math.ceil(a.low - _NEAR)))
        return terms.listed(found)

    return read


def _truncated(reader: Reader, node: exp.Expr) -> Term:
    decimals = node.args.get("decimals")
    read = _whole("trunc") if decimals is None else _rounding("trunc({a}, {n})", "TRUNC", keeps_integer=True)
    return read(reader, node)


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
    """LN, LOG10 (which is also what LOG of one argument is) and LOG2."""
    function, operand = "ln", node.this
    if isinstance(node, exp.Log):
        base = node.this.name if node.expression is not None else "10"
        if base not in ("2", "10"):
            raise refuse(
                Text("LOG with a base other than 2 or 10", "底数不是 2 或 10 的 LOG"),
                node,
                Text("Use LN(x) / LN(base).", "请使用 LN(x) / LN(底数)。"),
            )
        function, operand = f"log{base}", node.this if node.expression is None else node.expression
    a = reader.numeric(operand, function.upper())
    scale = {"ln": 1.0, "log2": math.log(2), "log10": math.log(10)}[function]
    low = Fraction(math.floor(_log(a.low) / scale)) if a.low is not None and a.low > 0 else None
    high = Fraction(math.ceil(_log(a.high) / scale)) if a.high is not None and a.high > 0 else None
    return Term(sql=f"{function}({a.sql})", kind=Kind.NUMBER, low=low, high=high)


def _log(value: Fraction) -> float:
    return math.log(value.numerator) - math.log(value.denominator)


def _exponential(reader: Reader, node: exp.Expr) -> Term:
    a = reader.numeric(node.this, "EXP")
    high = Fraction(math.exp(a.high) * 1.000001) if a.high is not None and a.high < 700 else None
    return Term(sql=f"exp({a.sql})", kind=Kind.NUMBER, low=Fraction(0), high=high)


def _power(reader: Reader, node: exp.Expr) -> Term:
    require_arguments(node, "this", "expression")
    a, exponent = reader.numeric(node.this, "POWER"), reader.numeric(node.expression, "POWER")
    n = exponent.literal
    if not isinstance(n, int):
        low, high = _real_power(a, exponent)
        return Term(sql=f"pow({a.sql}, {exponent.sql})", kind=Kind.NUMBER, low=low, high=high)
    low = high = step = None
    if a.low is not None and a.high is not None and 1 <= n <= 8:
        ends = sorted((a.low**n, a.high**n))
        low, high = Fraction(0) if n % 2 == 0 and a.low <= 0 <= a.high else ends[0], ends[1]
        step = None if a.step is None else a.step**n
    return Term(sql=f"pow({a.sql}, {n})", kind=Kind.NUMBER, low=low, high=high, step=step)


def _real_power(a: Term, exponent: Term) -> tuple[Fraction | None, Fraction | None]:
    """The ends of a power with a constant exponent above 0 of what is not below 0: it rises."""
    e = exponent.low
    if e is None or e != exponent.high or not 0 < e <= 8 or a.low is None or a.high is None or a.low < 0:
        return None, None
    return _outward(float(a.low) ** float(e), float(a.high) ** float(e))


def _outward(low: float, high: float) -> tuple[Fraction, Fraction]:
    """Ends that hold what floating point makes of either end."""
    return Fraction(low) - _slack(low), Fraction(high) + _slack(high)


def _slack(value: float) -> Fraction:
    return Fraction(abs(value)) / 10**9 + Fraction(1, 10**9)


def _rising(function: str, same: Callable[[float], float]) -> FunctionReader:
    """A function that rises everywhere; `same` is what Python calls it."""

    def read(reader: Reader, node: exp.Expr) -> Term:
        require_arguments(node, "this")
        a = reader.numeric(node.this, function.upper())
        low, high = (
            (None, None) if a.low is None or a.high is None else _outward(same(float(a.low)), same(float(a.high)))
        )
        return Term(sql=f"{function}({a.sql})", kind=Kind.NUMBER, low=low, high=high)

    return read


def _within(function: str, low: int | None, high: int | None, count: int = 1) -> FunctionReader:
    """A function of angles, between two whole numbers; beyond its domain it is not a number."""

    def read(reader: Reader, node: exp.Expr) -> Term:
        found = [reader.numeric(n, function.upper()) for n in reader.arguments(node, function, count)]
        ends = (None if v is None else Fraction(v) for v in (low, high))
        sql = f"{function}({', '.join(f'CAST({t.sql} AS DOUBLE)' for t in found)})"
        return Term(sql=sql, kind=Kind.NUMBER, low=next(ends), high=next(ends))

    return read


def _pi(_: Reader, node: exp.Expr) -> Term:
    require_arguments(node)
    return Term(sql="pi()", kind=Kind.NUMBER, nullable=False, low=Fraction(math.pi), high=Fraction(math.pi))


def _bits(template: str, name: str) -> FunctionReader:
    """AND, OR and XOR of bits: of numbers that are not negative, no result has more bits than they have."""

    def read(reader: Reader, node: exp.Expr) -> Term:
        require_arguments(node, "this", "expression")
        pair = [reader.of_kind(n, name, Kind.INTEGER) for n in (node.this, node.expression)]
        low = high = None
        if all(t.low is not None and t.low >= 0 and t.high is not None for t in pair):
            highs = [math.floor(t.high or 0) for t in pair]
            low, high = Fraction(0), Fraction(min(highs) if name == "&" else 2 ** max(highs).bit_length() - 1)
        sql = template.format(*(f"CAST({t.sql} AS BIGINT)" if t.kind is None else t.sql for t in pair))
        return terms.number(sql, Kind.INTEGER, pair, low=low, high=high, step=Fraction(1))

    return read


def _shift(symbol: str) -> FunctionReader:
    """A shift of bits; NULL where it cannot be made. To the right, what is not below zero does not grow."""

    def read(reader: Reader, node: exp.Expr) -> Term:
        require_arguments(node, "this", "expression")
        pair = [reader.of_kind(n, symbol, Kind.INTEGER) for n in (node.this, node.expression)]
        high = pair[0].high if symbol == ">>" and pair[0].low is not None and pair[0].low >= 0 else None
        low = None if high is None else Fraction(0)
        sql = f"TRY({pair[0].sql} {symbol} {pair[1].sql})"
        return Term(sql=sql, kind=Kind.INTEGER, low=low, high=high, step=Fraction(1))

    return read


def _flipped(reader: Reader, node: exp.Expr) -> Term:
    a = reader.of_kind(node.this, "~", Kind.INTEGER)
    low, high = None if a.high is None else -a.high - 1, None if a.low is None else -a.low - 1
    return terms.number(f"(~ {a.sql})", Kind.INTEGER, (a,), low=low, high=high, step=Fraction(1))


def _is_special(function: str) -> FunctionReader:
    """ISNAN, ISINF and ISFINITE: conditions on what is otherwise no value."""

    def read(reader: Reader, node: exp.Expr) -> Term:
        a = reader.numeric(reader.arguments(node, function, 1)[0], function.upper())
        return truth(f"{function}(CAST({a.sql} AS DOUBLE))", [a])

    return read


def _clip(reader: Reader, node: exp.Expr) -> Term:
    """`clip(x, low, high)` is LEAST(GREATEST(x, low), high), except that NULL stays NULL."""
    nodes = reader.arguments(node, "clip", 3)
    a, low, high = reader.alike(nodes, "CLIP")
    reader.require_short(node, a)
    union = terms.hull("", [a, low, high], nullable=any(t.nullable for t in (a, low, high)))
    sql = f"(CASE WHEN {a.sql} IS NOT NULL THEN least(greatest({a.sql}, {low.sql}), {high.sql}) END)"
    return replace(
        union,
        sql=sql,
        low=terms.lowest((low.low, high.low, a.low if low.nullable else low.low)),
        high=terms.highest((high.high, union.high if high.nullable else high.high)),
        domain=None,
    )


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
    parameters = [reader.constant(p.this, "DECIMAL", 0) for p in node.args["to"].expressions]
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
    exp.Trunc: _truncated,
    exp.Abs: _abs,
    exp.Sign: _sign,
    exp.Sqrt: _root,
    exp.Cbrt: _rising("cbrt", lambda v: math.copysign(abs(v) ** (1 / 3), v)),
    exp.Ln: _logarithm,
    exp.Log: _logarithm,
    exp.Exp: _exponential,
    exp.Pow: _power,
    exp.Pi: _pi,
    exp.Sin: _within("sin", -1, 1),
    exp.Cos: _within("cos", -1, 1),
    exp.Tan: _within("tan", None, None),
    exp.Asin: _within("asin", -2, 2),
    exp.Acos: _within("acos", 0, 4),
    exp.Atan: _within("atan", -2, 2),
    exp.Atan2: _within("atan2", -4, 4, 2),
    exp.Radians: _rising("radians", math.radians),
    exp.Degrees: _rising("degrees", math.degrees),
    exp.BitwiseAnd: _bits("({} & {})", "&"),
    exp.BitwiseOr: _bits("({} | {})", "|"),
    exp.BitwiseXor: _bits("xor({}, {})", "XOR"),
    exp.BitwiseNot: _flipped,
    exp.BitwiseLeftShift: _shift("<<"),
    exp.BitwiseRightShift: _shift(">>"),
    exp.IsNan: _is_special("isnan"),
    exp.IsInf: _is_special("isinf"),
    exp.Least: _extreme("LEAST"),
    exp.Greatest: _extreme("GREATEST"),
    exp.Coalesce: _coalesce,
    exp.Nullif: _nullif,
    exp.Lower: texts.changed("lower({a})", "LOWER"),
    exp.Upper: texts.changed("upper({a})", "UPPER"),
    exp.Reverse: texts.changed("reverse({a})", "REVERSE"),
    exp.Trim: texts.trim,
    exp.Length: texts.length("length"),
    exp.Substring: texts.substring,
    exp.Left: texts.side("LEFT"),
    exp.Right: texts.side("RIGHT"),
    exp.Pad: texts.pad,
    exp.StartsWith: texts.condition("starts_with"),
    exp.EndsWith: texts.condition("ends_with"),
    exp.Contains: texts.condition("contains"),
    exp.StrPosition: texts.position,
    exp.DPipe: texts.joined,
    exp.Concat: texts.concat,
    exp.ConcatWs: texts.concat_ws,
    exp.Replace: texts.replaced,
    exp.SplitPart: texts.split_part,
    exp.Escape: texts.escape,
    exp.RegexpLike: texts.matches("regexp_matches"),
    exp.RegexpFullMatch: texts.matches("regexp_full_match"),
    exp.SimilarTo: texts.similar,
    exp.RegexpExtract: texts.extract,
    exp.RegexpReplace: texts.substituted,
    exp.Extract: calendar.extract,
    exp.Year: calendar.part("year"),
    exp.Quarter: calendar.part("quarter"),
    exp.Month: calendar.part("month"),
    exp.Week: calendar.part("week"),
    exp.Day: calendar.part("day"),
    exp.DayOfWeek: calendar.part("dow"),
    exp.DayOfWeekIso: calendar.part("isodow"),
    exp.DayOfYear: calendar.part("doy"),
    exp.DayOfMonth: calendar.part("day"),
    exp.Hour: calendar.part("hour"),
    exp.Minute: calendar.part("minute"),
    exp.Second: calendar.part("second"),
    exp.TimestampTrunc: calendar.truncate,
    exp.DateTrunc: calendar.truncate,
    exp.DateDiff: calendar.difference,
    exp.DateAdd: calendar.shift,
    exp.DateBin: calendar.bucket,
    exp.DateFromParts: calendar.make_date,
    exp.LastDay: calendar.last_day,
    exp.Dayname: calendar.named("dayname"),
    exp.Monthname: calendar.named("monthname"),
    exp.TimeToStr: calendar.written,
    exp.Cast: _cast,
    exp.TryCast: _cast,
}
_BY_NAME: dict[str, FunctionReader] = {
    "clip": _clip,
    "date_part": calendar.date_part,
    "datepart": calendar.date_part,
    "date_sub": calendar.complete,
    "datesub": calendar.complete,
    "isfinite": _is_special("isfinite"),
    "isoyear": calendar.part("isoyear"),
    "prefix": texts.condition("starts_with"),
    "strlen": texts.length("strlen"),
    "suffix": texts.condition("ends_with"),
    "weekday": calendar.part("dow"),
}

#: The names that are offered; other spellings of the same are read too.
NAMES = tuple(sorted(FUNCTIONS))

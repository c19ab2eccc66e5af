"""Expressions of the accepted dialect, compiled node by node into total DuckDB text.

Owns the operators; `privacy.sql.functions` owns the functions. A `Reader` turns a parsed expression into a `Term`; names
come from the scope it is given, so the same reader serves rows (columns of tables) and noisy cells (keys and statistics).
It never copies text of the asker into SQL: every piece is rebuilt from literals, quoted names and the templates here.
Law 4 and 5: a node, an argument or a type that is not listed is refused by name; an operation that can fail on a row is NULL
there (`privacy.sql.terms.total`), and no operand is written out more often than the asker wrote it, up to a short one.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from typing import Protocol

from sqlglot import exp

from privacy.errors import Text
from privacy.facts import Kind
from privacy.sql import calendar, functions, terms
from privacy.sql.ordered import ORDERED
from privacy.sql.parse import GENERAL_ADVICE, refuse, require_arguments, where_of
from privacy.sql.problems import (
    BadLiteral,
    MisplacedAggregate,
    SqlRefused,
    TypeMismatch,
    UnknownAggregate,
    UnknownFunction,
)
from privacy.sql.terms import Term, as_day, as_moment, quote_text, require_kind, total, truth

MAX_INTEGER = 2**63 - 1
#: An operand that is written out again and again (CASE x WHEN …, NULLIF) may be this long: repeats within repeats would
#: grow without end. They are spelled out here, because DuckDB spells them out too, where no limit holds.
MAX_REPEATED = 500
#: The numbers that are read: exponents of three digits at most, because exact arithmetic writes every digit out.
_NUMBER = re.compile(r"(\d{1,40}\.?\d{0,40}|\.\d{1,40})(e[+-]?\d{1,3})?", re.ASCII | re.IGNORECASE)
#: What the literal NULL is among texts, days and moments, whose functions have several signatures.
_TYPED_NULL = {Kind.TEXT: "VARCHAR", Kind.DATE: "DATE", Kind.TIMESTAMP: "TIMESTAMP"}

#: The aggregates of the accepted dialect; kinds derived from these are others (APPROX_QUANTILE is no QUANTILE).
AGGREGATES = (
    exp.Count, exp.Sum, exp.Avg, exp.CountIf, exp.Variance, exp.VariancePop, exp.Stddev, exp.StddevPop, exp.StddevSamp,
    exp.CovarPop, exp.CovarSamp, exp.Corr, *ORDERED,
)  # fmt: skip

_LONG = Text("a long expression behind CASE or in NULLIF", "CASE 之后或 NULLIF 之中的长表达式")
_SHORTER = Text("Write CASE WHEN … THEN … END.", "请写成 CASE WHEN … THEN … END。")

_NAMES: dict[type[exp.Expr], Text] = {
    exp.Window: Text("a window (OVER)", "窗口函数（OVER）"),
    exp.Subquery: Text("a subquery", "子查询"),
    exp.Select: Text("a subquery", "子查询"),
    exp.Exists: Text("EXISTS", "EXISTS"),
    exp.Rollup: Text("ROLLUP", "ROLLUP"),
    exp.Cube: Text("CUBE", "CUBE"),
    exp.GroupingSets: Text("GROUPING SETS", "GROUPING SETS"),
    exp.Star: Text("* (all columns)", "*（全部列）"),
    exp.Placeholder: Text("a parameter", "参数占位符"),
    exp.Interval: Text("INTERVAL", "INTERVAL"),
    exp.Collate: Text("COLLATE", "COLLATE"),
    exp.Bracket: Text("an index [ ]", "下标 [ ]"),
    exp.Order: Text("ORDER BY inside an aggregate", "聚合函数中的 ORDER BY"),
}
_LEVELS = Text(
    "It stands in the GROUP BY of a SELECT that aggregates over many units.",
    "它只能写在跨越多个隐私单元进行聚合的 SELECT 的 GROUP BY 中。",
)
_ONE_SELECT = Text(
    "A subquery may stand in FROM or WITH, and in WHERE behind IN or EXISTS.",
    "子查询可以写在 FROM 或 WITH 中，也可以在 WHERE 中写在 IN 或 EXISTS 之后。",
)
#: The nearest thing that is accepted, where it is not the general form of a question.
_NEAREST: dict[type[exp.Expr], Text] = {
    exp.Window: Text(
        "Windows work on the answer: in SELECT, QUALIFY and ORDER BY, over aggregates and keys.",
        "窗口函数作用于结果：可用于 SELECT、QUALIFY 和 ORDER BY，计算聚合与分组键。",
    ),
    exp.Interval: Text(
        "Write d + INTERVAL 3 MONTH or d - INTERVAL 3 MONTH.", "请写成 d + INTERVAL 3 MONTH 或 d - INTERVAL 3 MONTH。"
    ),
    exp.Rollup: _LEVELS,
    exp.Cube: _LEVELS,
    exp.GroupingSets: _LEVELS,
    exp.Subquery: _ONE_SELECT,
    exp.Select: _ONE_SELECT,
    exp.Exists: _ONE_SELECT,
}


class Scope(Protocol):
    """Where names come from."""

    def known(self, node: exp.Expr) -> Term | None:
        """The term of a whole sub-expression that the scope already knows (a grouping key, an aggregate), else None."""

    def column(self, node: exp.Column) -> Term:
        """The term of a column. Raises a `SqlRefused`."""


class Reader:
    """Compiles expressions over one scope. It remembers what it read, so that no text makes it read anything twice."""

    def __init__(self, scope: Scope) -> None:
        self.scope = scope
        self._read: dict[int, tuple[exp.Expr, Term | SqlRefused]] = {}

    def read(self, node: exp.Expr) -> Term:
        """The term of `node`. Raises a `SqlRefused` naming what is not accepted and where."""
        if id(node) not in self._read:  # the node is kept beside its term, so its id stays its own
            try:
                self._read[id(node)] = node, self._term(node)
            except SqlRefused as refusal:
                self._read[id(node)] = node, refusal
        found = self._read[id(node)][1]
        if isinstance(found, SqlRefused):
            raise found
        return found

    def _term(self, node: exp.Expr) -> Term:
        known = self.scope.known(node)
        if known is not None:
            return known
        if isinstance(node, exp.Column):
            require_arguments(node, "this", "table")
            return self.scope.column(node)
        operator_reader = _OPERATORS.get(type(node))
        if operator_reader is not None:
            return operator_reader(self, node)
        function = functions.find(node)
        if function is not None:
            return function(self, node)
        raise self._refusal(node)

    def _refusal(self, node: exp.Expr) -> Exception:
        if type(node) in _NAMES:
            return refuse(_NAMES[type(node)], node, _NEAREST.get(type(node), GENERAL_ADVICE))
        if isinstance(node, exp.IgnoreNulls | exp.Filter | exp.WithinGroup):
            return self._refusal(node.this)
        if isinstance(node, exp.AggFunc):
            problem = MisplacedAggregate if type(node) in AGGREGATES else UnknownAggregate
            return problem(name=written_name(node), where=where_of(node))
        if isinstance(node, exp.Func):
            return UnknownFunction(name=written_name(node).lower(), where=where_of(node), allowed=functions.listed())
        return refuse(Text(f"the construct {node.key.upper()}", f"结构 {node.key.upper()}"), node)

    def of_kind(self, node: exp.Expr, name: str, *kinds: Kind) -> Term:
        """Read `node` and require one of `kinds` (the literal NULL fits all; where DuckDB could not tell, it gets a type)."""
        term = self.read(node)
        require_kind(term, node, name, *kinds)
        if term.kind is None and kinds[0] in _TYPED_NULL:
            return replace(term, sql=f"CAST(NULL AS {_TYPED_NULL[kinds[0]]})")
        return term

    def numeric(self, node: exp.Expr, name: str) -> Term:
        """Read `node` and require a number."""
        return self.of_kind(node, name, Kind.INTEGER, Kind.NUMBER)

    def arguments(self, node: exp.Expr, name: str, count: int) -> list[exp.Expr]:
        """The operands of a function of `count` operands, whether or not the parser knows it by name."""
        listed = isinstance(node, exp.Anonymous)
        require_arguments(node, "this", "expressions" if listed else "expression")
        found = list(node.expressions) if listed else [n for n in (node.this, node.expression) if n is not None]
        self.require_count(node, name, len(found), count)
        return found

    def require_count(self, node: exp.Expr, name: str, found: int, *accepted: int) -> None:
        """Refuse a function of another number of operands."""
        if found not in accepted:
            counts = "/".join(str(n) for n in accepted)
            construct = Text(f"{name.upper()} of {found} operands", f"{found} 个参数的 {name.upper()}")
            raise refuse(construct, node, Text(f"It takes {counts}.", f"它需要 {counts} 个参数。"))

    def constant(self, node: exp.Expr | None, name: str, default: int) -> int:
        """A whole literal argument; refused when it is an expression, because it would shape the plan from data."""
        if node is None:
            return default
        term = self.read(node)
        if not isinstance(term.literal, int) or isinstance(term.literal, bool) or abs(term.literal) > 10_000:
            construct = Text(f"a computed second argument of {name}", f"{name} 的第二个参数不是常数")
            raise refuse(construct, node, Text("Write a whole number.", "请写一个整数。"))
        return term.literal

    def constant_text(self, node: exp.Expr | None, name: str) -> str:
        """A text literal argument; refused when it is an expression: what it made of a row could not be bounded."""
        if not isinstance(node, exp.Literal) or not node.args.get("is_string"):
            construct = Text(f"{name} without a constant text", f"没有文本常量的 {name}")
            raise refuse(construct, node or exp.Null(), Text("Write a text in quotes.", "请写一个带引号的文本。"))
        return str(node.this)

    def require_short(self, node: exp.Expr, *repeated: Term) -> None:
        """Refuse a long operand that would be repeated."""
        if sum(len(t.sql) for t in repeated) > MAX_REPEATED:
            raise refuse(_LONG, node, _SHORTER)

    def alike(self, nodes: list[exp.Expr], name: str) -> list[Term]:
        """Read several operands that must be comparable; text literals beside days are read as days."""
        found = [self.read(n) for n in nodes]
        timed = {t.kind for t in found} & {Kind.DATE, Kind.TIMESTAMP}
        if timed:
            kind = Kind.TIMESTAMP if Kind.TIMESTAMP in timed else Kind.DATE
            found = [as_day(t, n, kind) for t, n in zip(found, nodes, strict=True)]
        if Kind.TIMESTAMP in timed:
            found = [as_moment(t) for t in found]
        families = {_family(t.kind) for t in found if t.kind is not None}
        if len(families) > 1:
            kinds = ", ".join(sorted({str(t.kind) for t in found if t.kind is not None}))
            raise TypeMismatch(
                name=name,
                found=kinds,
                where=where_of(nodes[0]),
                allowed=Text("operands of one type", "同一类型的操作数"),
            )
        return found


def written_name(node: exp.Expr) -> str:
    """A function's name as DuckDB writes it."""
    return node.sql(dialect="duckdb", comments=False).partition("(")[0][:40]


def quote_name(name: str) -> str:
    """A quoted SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def _family(kind: Kind | None) -> str:
    if kind in (Kind.INTEGER, Kind.NUMBER):
        return "number"
    return "day" if kind in (Kind.DATE, Kind.TIMESTAMP) else str(kind)


def _literal(_: Reader, node: exp.Expr) -> Term:
    require_arguments(node, "this", "is_string")
    text = str(node.this)
    if node.args.get("is_string"):
        return Term(sql=quote_text(text), kind=Kind.TEXT, nullable=False, domain=(text,), literal=text)
    value = Fraction(text) if _NUMBER.fullmatch(text) else None
    if value is None or value > MAX_INTEGER:
        raise BadLiteral(value=text[:40], kind="number", where=where_of(node))
    whole = text.isdecimal()
    return Term(
        sql=f"{int(value)}::BIGINT" if whole else f"{float(value)!r}::DOUBLE",
        kind=Kind.INTEGER if whole else Kind.NUMBER,
        nullable=False,
        low=value,
        high=value,
        step=value,
        domain=(int(value),) if whole else terms.doubles((value,)),
        literal=int(value) if whole else None,
    )


def _boolean(_: Reader, node: exp.Expr) -> Term:
    value = bool(node.this)
    return Term(sql=str(value).upper(), kind=Kind.BOOLEAN, nullable=False, domain=(value,), literal=value)


def _null(_: Reader, node: exp.Expr) -> Term:
    return Term(sql="NULL", kind=None, domain=())


def _paren(reader: Reader, node: exp.Expr) -> Term:
    require_arguments(node, "this")
    return reader.read(node.this)


def _negative(reader: Reader, node: exp.Expr) -> Term:
    a = reader.numeric(node.this, "-")
    low, high = None if a.high is None else -a.high, None if a.low is None else -a.low
    literal = -a.literal if isinstance(a.literal, int) else None
    domain = None
    if a.domain is not None:
        numbers = [-v for v in reversed(a.domain) if isinstance(v, int | float)]
        domain = terms.doubles(numbers) if a.kind is Kind.NUMBER else tuple(numbers)
    return total(replace(a, sql=f"(- {a.sql})", low=low, high=high, domain=domain, literal=literal))


def _arithmetic(symbol: str) -> Callable[[Reader, exp.Expr], Term]:
    def read(reader: Reader, node: exp.Expr) -> Term:
        require_arguments(node, "this", "expression")
        of_days = calendar.arithmetic(reader, node, symbol)
        if of_days is not None:
            return of_days
        a, b = reader.numeric(node.this, symbol), reader.numeric(node.expression, symbol)
        sql = f"({a.sql} {symbol} {b.sql})"
        match symbol:
            case "+":
                return total(terms.images(terms.add(a, b, sql, minus=False), a, b, operator.add))
            case "-":
                return total(terms.images(terms.add(a, b, sql, minus=True), a, b, operator.sub))
            case "*":
                return total(terms.images(terms.multiply(a, b, sql), a, b, operator.mul))
        return replace(terms.divide(a, b, sql), nullable=_null_at_zero(a, b))

    return read


def _null_at_zero(a: Term, b: Term) -> bool:
    """Whether a division or a remainder can have no value: when an operand can, or the divisor can be 0."""
    nonzero = (b.low is not None and b.low > 0) or (b.high is not None and b.high < 0)
    return a.nullable or b.nullable or not nonzero


def _whole_division(reader: Reader, node: exp.Expr) -> Term:
    require_arguments(node, "this", "expression")
    a, b = reader.of_kind(node.this, "//", Kind.INTEGER), reader.of_kind(node.expression, "//", Kind.INTEGER)
    quotient = terms.rounded(terms.divide(a, b, ""), f"TRY({a.sql} // {b.sql})", 0, Kind.INTEGER)
    return replace(quotient, nullable=_null_at_zero(a, b), step=Fraction(1))


def _remainder(reader: Reader, node: exp.Expr) -> Term:
    require_arguments(node, "this", "expression")
    a, b = reader.numeric(node.this, "%"), reader.numeric(node.expression, "%")
    kind = terms.joint_kind((a, b)) or Kind.INTEGER
    reach = None if b.low is None or b.high is None else max(abs(b.low), abs(b.high))
    if reach and kind is Kind.INTEGER:
        reach -= 1
    return Term(
        sql=f"TRY({a.sql} % {b.sql})",
        kind=kind,
        nullable=_null_at_zero(a, b),
        low=None if reach is None else (Fraction(0) if a.low is not None and a.low >= 0 else -reach),
        high=None if reach is None else (Fraction(0) if a.high is not None and a.high <= 0 else reach),
        step=terms.joint_step((a.step, b.step)),
    )


def _comparison(symbol: str) -> Callable[[Reader, exp.Expr], Term]:
    def read(reader: Reader, node: exp.Expr) -> Term:
        require_arguments(node, "this", "expression")
        pair = reader.alike([node.this, node.expression], symbol)
        nullable = False if symbol.startswith("IS") else None
        return truth(f"({pair[0].sql} {symbol} {pair[1].sql})", pair, nullable=nullable)

    return read


def _connective(symbol: str) -> Callable[[Reader, exp.Expr], Term]:
    def read(reader: Reader, node: exp.Expr) -> Term:
        require_arguments(node, "this", "expression")
        pair = [reader.of_kind(n, symbol, Kind.BOOLEAN) for n in (node.this, node.expression)]
        return truth(f"({pair[0].sql} {symbol} {pair[1].sql})", pair)

    return read


def _not(reader: Reader, node: exp.Expr) -> Term:
    a = reader.of_kind(node.this, "NOT", Kind.BOOLEAN)
    return truth(f"(NOT {a.sql})", [a])


def _is(reader: Reader, node: exp.Expr) -> Term:
    require_arguments(node, "this", "expression")
    a = reader.read(node.this)
    if isinstance(node.expression, exp.Boolean):
        require_kind(a, node, "IS TRUE", Kind.BOOLEAN)
    elif not isinstance(node.expression, exp.Null):
        raise refuse(Text("IS with anything but NULL, TRUE or FALSE", "IS 后面不是 NULL、TRUE 或 FALSE"), node)
    other = reader.read(node.expression)
    return truth(f"({a.sql} IS {other.sql})", [a], nullable=False)


def _in(reader: Reader, node: exp.Expr) -> Term:
    if node.args.get("query"):
        raise refuse(_NAMES[exp.Subquery], node, _ONE_SELECT)
    require_arguments(node, "this", "expressions")
    members = list(node.expressions)
    if not members:
        raise refuse(Text("IN without a list of values", "没有取值列表的 IN"), node)
    first, *others = reader.alike([node.this, *members], "IN")
    return truth(f"({first.sql} IN ({', '.join(o.sql for o in others)}))", [first, *others])


def _between(reader: Reader, node: exp.Expr) -> Term:
    require_arguments(node, "this", "low", "high")
    a, low, high = reader.alike([node.this, node.args["low"], node.args["high"]], "BETWEEN")
    return truth(f"({a.sql} BETWEEN {low.sql} AND {high.sql})", [a, low, high])


def _like(symbol: str) -> Callable[[Reader, exp.Expr], Term]:
    def read(reader: Reader, node: exp.Expr) -> Term:
        require_arguments(node, "this", "expression", "negate")
        pair = [reader.of_kind(n, symbol, Kind.TEXT) for n in (node.this, node.expression)]
        negation = "NOT " if node.args.get("negate") else ""
        return truth(f"({pair[0].sql} {negation}{symbol} {pair[1].sql})", pair)

    return read


def _case(reader: Reader, node: exp.Expr) -> Term:
    require_arguments(node, "this", "ifs", "default")
    ifs, default = node.args["ifs"], node.args.get("default")
    for branch in ifs:
        require_arguments(branch, "this", "true")
    tests = _tests(reader, node.this, [branch.this for branch in ifs])
    results = [branch.args["true"] for branch in ifs]
    values = reader.alike([*results, *([default] if default is not None else [])], "CASE")
    text = " ".join(f"WHEN {test} THEN {v.sql}" for test, v in zip(tests, values, strict=False))
    ending = f" ELSE {values[-1].sql}" if default is not None else ""
    nullable = default is None or any(v.nullable for v in values)
    return terms.hull(f"(CASE {text}{ending} END)", values, nullable=nullable)


def _tests(reader: Reader, subject: exp.Expr | None, tests: list[exp.Expr]) -> list[str]:
    """The condition of each WHEN: as written, or that it equals what stands behind CASE."""
    if subject is None:
        return [reader.of_kind(t, "CASE", Kind.BOOLEAN).sql for t in tests]
    first, *others = reader.alike([subject, *tests], "CASE")
    reader.require_short(subject, first)
    return [f"{first.sql} = {other.sql}" for other in others]


def _if(reader: Reader, node: exp.Expr) -> Term:
    require_arguments(node, "this", "true", "false")
    branch = exp.If(this=node.this, true=node.args["true"])
    return _case(reader, exp.Case(ifs=[branch], default=node.args.get("false")))


_OPERATORS: dict[type[exp.Expr], Callable[[Reader, exp.Expr], Term]] = {
    exp.Literal: _literal,
    exp.Boolean: _boolean,
    exp.Null: _null,
    exp.Paren: _paren,
    exp.Neg: _negative,
    exp.Add: _arithmetic("+"),
    exp.Sub: _arithmetic("-"),
    exp.Mul: _arithmetic("*"),
    exp.Div: _arithmetic("/"),
    exp.IntDiv: _whole_division,
    exp.Mod: _remainder,
    exp.EQ: _comparison("="),
    exp.NEQ: _comparison("<>"),
    exp.LT: _comparison("<"),
    exp.LTE: _comparison("<="),
    exp.GT: _comparison(">"),
    exp.GTE: _comparison(">="),
    exp.NullSafeEQ: _comparison("IS NOT DISTINCT FROM"),
    exp.NullSafeNEQ: _comparison("IS DISTINCT FROM"),
    exp.And: _connective("AND"),
    exp.Or: _connective("OR"),
    exp.Not: _not,
    exp.Is: _is,
    exp.In: _in,
    exp.Between: _between,
    exp.Like: _like("LIKE"),
    exp.ILike: _like("ILIKE"),
    exp.Case: _case,
    exp.If: _if,
}

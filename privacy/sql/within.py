"""Aggregates within one unit: exact, and a function of the unit's own rows.

Owns what COUNT, SUM, AVG, MIN, MAX, BOOL_AND, BOOL_OR, VAR and STDDEV mean in a subquery, where they are grouped or partitioned
by the unit, and the public range of what they give. It adds no noise and no bound: that comes at the end, over all rows.

A sum of floating-point numbers depends on the order in which the engine meets them, and that order on the rows of everybody
else. So numbers are put on a lattice, row by row, and added as 128-bit integers: sums are exact, their order is nothing, and
averages and variances are worked out from exact sums. Ranges hold for whatever the rows are: a unit with more than the
declared number of rows counts as one that has that many.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import ClassVar

from sqlglot import exp

from privacy.errors import Text
from privacy.facts import Kind
from privacy.sql.expressions import Reader, written_name
from privacy.sql.parse import refuse, require_arguments, where_of
from privacy.sql.problems import MisplacedAggregate, Unbounded
from privacy.sql.resolve import RowScope
from privacy.sql.terms import SAFE_INTEGER, Term, require_kind

#: Lattices have at most this many steps, so that sums of squares of 2^32 rows are exact in 128 bits.
_MAX_STEPS = 2**40
_SAMPLE = (exp.Variance, exp.Stddev, exp.StddevSamp)
_ROOT = (exp.Stddev, exp.StddevPop, exp.StddevSamp)
_ACCEPTED = Text(
    "In a subquery: COUNT, COUNT(DISTINCT x), COUNT_IF, SUM, AVG, MIN, MAX, BOOL_AND, BOOL_OR, VAR, STDDEV, each also with "
    "FILTER; as windows also ROW_NUMBER, RANK, DENSE_RANK, LAG, LEAD, FIRST_VALUE, LAST_VALUE.",
    "子查询中可用：COUNT、COUNT(DISTINCT x)、COUNT_IF、SUM、AVG、MIN、MAX、BOOL_AND、BOOL_OR、VAR、STDDEV，均可加 FILTER；"
    "作为窗口还可用 ROW_NUMBER、RANK、DENSE_RANK、LAG、LEAD、FIRST_VALUE、LAST_VALUE。",
)
_PLAIN = Text("Write it without DISTINCT.", "请去掉 DISTINCT。")


class Parts:
    """Texts that the SELECT below computes, by the names p0, p1, … that the SELECT above knows them by."""

    def __init__(self) -> None:
        self.names: dict[str, str] = {}

    def add(self, sql: str) -> str:
        """The name of a text, given when it is met first."""
        return f"l.{self.names.setdefault(sql, f'p{len(self.names)}')}"

    def columns(self) -> list[str]:
        """The columns of the SELECT below."""
        return [f"{sql} AS {name}" for sql, name in self.names.items()]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Whole:
    """A row's value as a whole number of `step`s, `first` to `last` where that is public."""

    sql: str
    kind: Kind
    step: Fraction
    first: int | None
    last: int | None
    nullable: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Over:
    """Where an aggregate looks: "" for its group, else an OVER clause; `filled` when there is always a row to look at."""

    sql: str = ""
    filled: bool = False


class Within:
    """Compiles aggregates over rows into terms over `parts`; `most` is how many rows there may be, None when it is not known."""

    def __init__(self, rows: Reader, scope: RowScope, parts: Parts, most: int | None) -> None:
        self.rows = rows
        self.scope = scope
        self.parts = parts
        self.most = most

    def read(self, node: exp.Expr, over: Over) -> Term:
        """The value of an aggregate, or of one with FILTER. Raises a `SqlRefused`."""
        where, inner = "", node
        if isinstance(node, exp.Filter):
            require_arguments(node, "this", "expression")
            inner = node.this
            condition = self.rows.of_kind(node.expression.this, "FILTER", Kind.BOOLEAN)
            where, over = f" FILTER (WHERE TRY({condition.sql}))", replace(over, filled=False)
        reader = self._readers.get(type(inner))
        if reader is None:
            name = written_name(inner)
            raise refuse(Text(f"{name} within one unit", f"单个隐私单元内的 {name}"), node, _ACCEPTED)
        for operand in inner.iter_expressions():
            if operand.find(exp.AggFunc) is not None:
                raise MisplacedAggregate(name=written_name(inner), where=where_of(inner))
        return reader(self, inner, replace(over, sql=f"{where}{over.sql}"))

    def _part(self, call: str, over: Over) -> str:
        return self.parts.add(f"{call}{over.sql}")

    def _count(self, node: exp.Expr, over: Over) -> Term:
        require_arguments(node, "this")
        inner = node.this
        if inner is None or isinstance(inner, exp.Star) or self.scope.names_unit(inner):
            if isinstance(inner, exp.Star):
                require_arguments(inner)
            return self.counted(self._part("count(*)", over), least=1 if over.filled else 0)
        if isinstance(inner, exp.Distinct):
            return self._count_distinct(inner, over)
        return self.counted(self._part(f"count({self._tried(inner)})", over))

    def _count_distinct(self, distinct: exp.Distinct, over: Over) -> Term:
        require_arguments(distinct, "expressions")
        if len(distinct.expressions) != 1:
            raise refuse(Text("COUNT(DISTINCT …) of several columns", "多列的 COUNT(DISTINCT …)"), distinct)
        value = distinct.expressions[0].unnest()
        if self.scope.names_unit(value):
            return self.counted(self._part(f"count(DISTINCT {self.scope.sources[0].unit_sql})", over))
        return self.counted(self._part(f"count(DISTINCT {self._tried(value)})", over))

    def counted(self, part: str, *, least: int = 0) -> Term:
        """A number of rows, which `most` bounds."""
        sql = part if self.most is None else f"least({self.most}, {part})"
        high = None if self.most is None else Fraction(self.most)
        return Term(sql=sql, kind=Kind.INTEGER, nullable=False, low=Fraction(least), high=high, step=Fraction(1))

    def _count_if(self, node: exp.Expr, over: Over) -> Term:
        require_arguments(node, "this")
        condition = self.rows.of_kind(node.this, "COUNT_IF", Kind.BOOLEAN)
        return self.counted(self._part(f"count(CASE WHEN TRY({condition.sql}) THEN 1 END)", over))

    def _sum(self, node: exp.Expr, over: Over) -> Term:
        require_arguments(node, "this")
        whole = self._whole(node, node.this, lattice=False)
        total = self._part(f"sum({whole.sql})", over)
        first = None if whole.first is None or self.most is None else min(whole.first, self.most * whole.first)
        last = None if whole.last is None or self.most is None else max(whole.last, self.most * whole.last)
        if first is not None and last is not None and max(abs(first), abs(last)) <= SAFE_INTEGER:
            total = f"greatest({first}, least({last}, {total}))"
        step = whole.step
        scaled = f"TRY_CAST({total} AS BIGINT)" if whole.kind is Kind.INTEGER else _scaled(total, step)
        return Term(
            sql=f"(CASE WHEN {self._part(f'count({whole.sql})', over)} > 0 THEN {scaled} END)",
            kind=whole.kind,
            nullable=whole.nullable or not over.filled or (whole.kind is Kind.INTEGER and not _safe(first, last)),
            low=None if first is None else first * step,
            high=None if last is None else last * step,
            step=step,
        )

    def _average(self, node: exp.Expr, over: Over) -> Term:
        require_arguments(node, "this")
        whole = self._whole(node, node.this, lattice=False)
        total, rows = self._part(f"sum({whole.sql})", over), self._part(f"count({whole.sql})", over)
        return Term(
            sql=f"({_scaled(total, whole.step)} / nullif({rows}, 0))",
            kind=Kind.NUMBER,
            nullable=whole.nullable or not over.filled,
            low=None if whole.first is None else whole.first * whole.step,
            high=None if whole.last is None else whole.last * whole.step,
        )

    def _variance(self, node: exp.Expr, over: Over) -> Term:
        """Var = (Σd² - (Σd)²/n) / n, or n - 1, with d the distance from the middle of the range ."""
        require_arguments(node, "this")
        whole = self._whole(node, node.this, lattice=True)
        first, last = whole.first or 0, whole.last or 0
        distance = f"({whole.sql} - {(first + last) // 2})"
        rows, total = self._part(f"count({distance})", over), self._part(f"sum({distance})", over)
        squares = self._part(f"sum(CAST({distance} AS HUGEINT) * {distance})", over)
        sample = isinstance(node, _SAMPLE)
        widest = ((last - first) * whole.step) ** 2 / (2 if sample else 4)
        spread = f"(CAST({squares} AS DOUBLE) - pow(CAST({total} AS DOUBLE), 2) / {rows})"
        value = f"{spread} / ({rows} - {int(sample)}) * {float(whole.step**2)!r}::DOUBLE"
        kept, high = f"greatest(0.0::DOUBLE, least({float(widest)!r}::DOUBLE, {value}))", widest
        if isinstance(node, _ROOT):
            kept, high = f"sqrt({kept})", Fraction(math.sqrt(widest))
        sql = f"(CASE WHEN {rows} > {int(sample)} THEN {kept} END)"
        return Term(sql=sql, kind=Kind.NUMBER, low=Fraction(0), high=high)

    def _extreme(self, node: exp.Expr, over: Over) -> Term:
        require_arguments(node, "this")
        _require_plain(node, node.this)
        name = "min" if isinstance(node, exp.Min) else "max"
        term = self.rows.read(node.this)
        part = self._part(f"{name}({self._tried(node.this)})", over)
        return replace(term, sql=part, nullable=term.nullable or not over.filled, literal=None)

    def _truth(self, node: exp.Expr, over: Over) -> Term:
        require_arguments(node, "this")
        _require_plain(node, node.this)
        name = "bool_and" if isinstance(node, exp.LogicalAnd) else "bool_or"
        term = self.rows.read(node.this)
        require_kind(term, node, name.upper(), Kind.BOOLEAN)
        part = self._part(f"{name}({self._tried(node.this)})", over)
        return replace(term, sql=part, nullable=term.nullable or not over.filled, literal=None, domain=(False, True))

    def _tried(self, node: exp.Expr) -> str:
        return tried(self.rows.read(node), node)

    def _whole(self, node: exp.Expr, operand: exp.Expr, *, lattice: bool) -> _Whole:
        """What is added up. Whole numbers need no bounds for a sum; on a `lattice`, and for other numbers, they do."""
        _require_plain(node, operand)
        term, name = self.rows.read(operand), written_name(node)
        if term.kind is Kind.BOOLEAN and isinstance(node, exp.Sum):
            sql = f"CAST(TRY({term.sql}) AS BIGINT)"
            return _Whole(sql=sql, kind=Kind.INTEGER, step=Fraction(1), first=0, last=1, nullable=term.nullable)
        self.rows.numeric(operand, name)
        if term.kind is Kind.INTEGER and not lattice:
            first = None if term.low is None else math.floor(term.low)
            last = None if term.high is None else math.ceil(term.high)
            return _Whole(
                sql=f"TRY({term.sql})",
                kind=Kind.INTEGER,
                step=Fraction(1),
                first=first,
                last=last,
                nullable=term.nullable,
            )
        if term.low is None or term.high is None:
            raise Unbounded(name=name, where=where_of(node))
        return _on_lattice(term, Fraction(term.low), Fraction(term.high), bare=isinstance(operand, exp.Column))

    _readers: ClassVar[dict[type[exp.Expr], Callable[[Within, exp.Expr, Over], Term]]] = {
        exp.Count: _count,
        exp.CountIf: _count_if,
        exp.Sum: _sum,
        exp.Avg: _average,
        exp.Min: _extreme,
        exp.Max: _extreme,
        exp.LogicalAnd: _truth,
        exp.LogicalOr: _truth,
        **dict.fromkeys((exp.Variance, exp.VariancePop, exp.Stddev, exp.StddevPop, exp.StddevSamp), _variance),
    }


def tried(term: Term, node: exp.Expr) -> str:
    """The total text of a row's value. Zero has one sign: which of two equal values stands for both is then nothing."""
    if isinstance(node, exp.Column):
        return term.sql
    return f"TRY({term.sql} + 0.0::DOUBLE)" if term.kind is Kind.NUMBER else f"TRY({term.sql})"


def _on_lattice(term: Term, low: Fraction, high: Fraction, *, bare: bool) -> _Whole:
    """The value on its own lattice, or on the finest power of ten with `_MAX_STEPS`; NaN and infinities are no values."""
    widest = max(abs(low), abs(high), high - low)
    step = term.step or Fraction(0)
    if not step or widest / step > _MAX_STEPS:
        step = Fraction(10) ** (math.ceil(math.log10(widest / _MAX_STEPS)) if widest else 0)
    first, last = math.floor(low / step), math.ceil(high / step)
    value = f"CAST({term.sql} AS DOUBLE)"
    scaled = f"round({value} * {step.denominator}::DOUBLE / {step.numerator}::DOUBLE)"
    kept = f"CASE WHEN isfinite({value}) THEN TRY_CAST(greatest({first}, least({last}, {scaled})) AS BIGINT) END"
    return _Whole(
        sql=f"TRY({kept})", kind=Kind.NUMBER, step=step, first=first, last=last, nullable=term.nullable or not bare
    )


def _scaled(total: str, step: Fraction) -> str:
    return f"(CAST({total} AS DOUBLE) * {step.numerator}::DOUBLE / {step.denominator}::DOUBLE)"


def _safe(first: int | None, last: int | None) -> bool:
    return first is not None and last is not None and max(abs(first), abs(last)) <= SAFE_INTEGER


def _require_plain(node: exp.Expr, operand: exp.Expr) -> None:
    if isinstance(operand, exp.Distinct):
        name = written_name(node)
        raise refuse(Text(f"{name}(DISTINCT …)", f"{name}(DISTINCT …)"), node, _PLAIN)

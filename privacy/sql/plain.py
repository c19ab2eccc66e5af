"""Aggregates over plain rows: those of an answer and of public tables, which cost nothing to compute with.

Owns what COUNT, SUM, AVG, MIN, MAX, MEDIAN and their kin mean around an answer: what they mean in DuckDB. It adds no noise,
because none is needed, and no bound. DuckDB tries no aggregate, so each operand is tried, and numbers are kept where no sum or
square can fail.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from sqlglot import exp

from privacy.errors import Text
from privacy.facts import Kind
from privacy.sql.expressions import Reader, written_name
from privacy.sql.parse import refuse, require_arguments, where_of
from privacy.sql.problems import MisplacedAggregate, UnknownAggregate
from privacy.sql.terms import Term

_ACCEPTED = Text(
    "Around an answer: COUNT, SUM, AVG (also with DISTINCT), COUNT_IF, MIN, MAX, MEDIAN, QUANTILE_CONT(x, 0.9), BOOL_AND, "
    "BOOL_OR, VAR, STDDEV, COVAR, CORR, each also with FILTER.",
    "结果之外可用：COUNT、SUM、AVG（均可加 DISTINCT）、COUNT_IF、MIN、MAX、MEDIAN、QUANTILE_CONT(x, 0.9)、BOOL_AND、BOOL_OR、"
    "VAR、STDDEV、COVAR、CORR，均可加 FILTER。",
)


class PlainAggregates:
    """Compiles aggregates over the rows that `rows` reads; `parts` are their texts, named a0, a1, … as they are met."""

    def __init__(self, rows: Reader) -> None:
        self.rows = rows
        self.parts: list[str] = []

    def read(self, node: exp.Expr) -> Term:
        """The value of an aggregate, or of one with FILTER, over a group."""
        where, inner = "", node
        if isinstance(node, exp.Filter):
            require_arguments(node, "this", "expression")
            inner = node.this
            where = f" FILTER (WHERE TRY({self.rows.of_kind(node.expression.this, 'FILTER', Kind.BOOLEAN).sql}))"
        read = self._readers.get(type(inner))
        if read is None:
            raise UnknownAggregate(name=written_name(inner), where=where_of(node))
        if any(o.find(exp.AggFunc, exp.Window) is not None for o in inner.iter_expressions()):
            raise MisplacedAggregate(name=written_name(inner), where=where_of(inner))
        return read(self, inner, where)

    def _part(self, sql: str, where: str) -> str:
        text = f"{sql}{where}"
        if text not in self.parts:
            self.parts.append(text)
        return f"a{self.parts.index(text)}"

    def _operand(self, node: exp.Expr) -> tuple[exp.Expr, str]:
        """What is aggregated, and DISTINCT where it is written."""
        inner = node.this
        if not isinstance(inner, exp.Distinct):
            return inner, ""
        require_arguments(inner, "expressions")
        if len(inner.expressions) != 1:
            raise refuse(Text("DISTINCT of several columns", "对多列使用 DISTINCT"), node, _ACCEPTED)
        return inner.expressions[0], "DISTINCT "

    def _number(self, node: exp.Expr, operand: exp.Expr) -> tuple[Term, str]:
        """A number and its text, NULL where it is not finite or so large that its square is not."""
        term = self.rows.numeric(operand, written_name(node))
        value = f"CAST(TRY({term.sql}) AS DOUBLE)"
        return term, f"CASE WHEN abs({value}) < 1e150 THEN {value} END"

    def _count(self, node: exp.Expr, where: str) -> Term:
        require_arguments(node, "this")
        if node.this is None or isinstance(node.this, exp.Star):
            if node.this is not None:
                require_arguments(node.this)
            return _whole(self._part("count(*)", where))
        operand, distinct = self._operand(node)
        return _whole(self._part(f"count({distinct}TRY({self.rows.read(operand).sql}))", where))

    def _count_if(self, node: exp.Expr, where: str) -> Term:
        require_arguments(node, "this")
        condition = f"TRY({self.rows.of_kind(node.this, 'COUNT_IF', Kind.BOOLEAN).sql})"
        return _whole(self._part(f"count(CASE WHEN {condition} THEN 1 END)", where))

    def _sum(self, node: exp.Expr, where: str) -> Term:
        """Sums are floating point, which has no overflow, and exact up to 2^53."""
        require_arguments(node, "this")
        operand, distinct = self._operand(node)
        term, value = self._number(node, operand)
        name = self._part(f"sum({distinct}{value})", where)
        if term.kind is Kind.INTEGER:
            return Term(sql=f"TRY_CAST({name} AS HUGEINT)", kind=Kind.INTEGER)
        return Term(sql=name, kind=Kind.NUMBER)

    def _mean(self, node: exp.Expr, where: str) -> Term:
        require_arguments(node, "this")
        operand, distinct = self._operand(node)
        _, value = self._number(node, operand)
        return Term(sql=self._part(f"{_NUMBERS[type(node)]}({distinct}{value})", where), kind=Kind.NUMBER)

    def _pair(self, node: exp.Expr, where: str) -> Term:
        require_arguments(node, "this", "expression")
        values = [self._number(node, n)[1] for n in (node.this, node.expression)]
        return Term(sql=self._part(f"{_PAIRS[type(node)]}({', '.join(values)})", where), kind=Kind.NUMBER)

    def _extreme(self, node: exp.Expr, where: str) -> Term:
        require_arguments(node, "this")
        operand, distinct = self._operand(node)
        term = self.rows.read(operand)
        if distinct or term.kind is None:
            raise refuse(Text(f"this {written_name(node)}", f"这样的 {written_name(node)}"), node, _ACCEPTED)
        name = "min" if isinstance(node, exp.Min) else "max"
        return Term(sql=self._part(f"{name}(TRY({term.sql}))", where), kind=term.kind)

    def _quantile(self, node: exp.Expr, where: str) -> Term:
        require_arguments(node, "this", "expression")
        _, value = self._number(node, node.this)
        at = self.rows.numeric(node.expression, "QUANTILE_CONT")
        if at.low is None or at.low != at.high or not 0 <= at.low <= 1:
            raise refuse(Text("this QUANTILE_CONT", "这样的 QUANTILE_CONT"), node, _ACCEPTED)
        return Term(sql=self._part(f"quantile_cont({value}, {float(at.low)!r})", where), kind=Kind.NUMBER)

    def _truth(self, node: exp.Expr, where: str) -> Term:
        require_arguments(node, "this")
        name = "bool_and" if isinstance(node, exp.LogicalAnd) else "bool_or"
        condition = self.rows.of_kind(node.this, name.upper(), Kind.BOOLEAN).sql
        return Term(sql=self._part(f"{name}(TRY({condition}))", where), kind=Kind.BOOLEAN)

    _readers: ClassVar[dict[type[exp.Expr], Callable[[PlainAggregates, exp.Expr, str], Term]]] = {
        exp.Count: _count,
        exp.CountIf: _count_if,
        exp.Sum: _sum,
        exp.Min: _extreme,
        exp.Max: _extreme,
        exp.PercentileCont: _quantile,
        exp.LogicalAnd: _truth,
        exp.LogicalOr: _truth,
        **dict.fromkeys(
            (
                exp.Avg,
                exp.Median,
                exp.Variance,
                exp.VariancePop,
                exp.Stddev,
                exp.StddevPop,
                exp.StddevSamp,
            ),
            _mean,
        ),
        **dict.fromkeys((exp.CovarPop, exp.CovarSamp, exp.Corr), _pair),
    }

    accepted: ClassVar[tuple[type[exp.Expr], ...]] = tuple(_readers)


_NUMBERS: dict[type[exp.Expr], str] = {
    exp.Avg: "avg",
    exp.Median: "median",
    exp.Variance: "var_samp",
    exp.VariancePop: "var_pop",
    exp.Stddev: "stddev_samp",
    exp.StddevPop: "stddev_pop",
    exp.StddevSamp: "stddev_samp",
}
_PAIRS: dict[type[exp.Expr], str] = {exp.CovarPop: "covar_pop", exp.CovarSamp: "covar_samp", exp.Corr: "corr"}


def _whole(sql: str) -> Term:
    return Term(sql=sql, kind=Kind.INTEGER, nullable=False)

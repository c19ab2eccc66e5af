"""Aggregates → statistics: what an aggregate adds up row by row, and the text over noisy sums that gives its value.

Owns the list of accepted aggregates. COUNT, SUM, quantiles and extremes (`privacy.sql.ordered`) are one statistic each. AVG, VAR,
STDDEV, COVAR and CORR are post-processing of a few sums, so their privacy is that of the sums (`privacy.sql.bound`). It never
sees a table and adds no bound of its own.

Moments are taken around the middle m of the public range, so that a value reaches half as far: with d = x - m and n values,
avg = m + Σd/n, var_pop = Σd²/n - (Σd/n)², covar_pop = Σdᵢeᵢ/n - (Σd/n)(Σe/n); the sample forms are those times n/(n - 1).
Each is kept within what the range allows (Popoviciu 1935: var_pop <= (high - low)²/4, hence var_samp <= (high - low)²/2).
FILTER (WHERE c) turns every row that does not meet c into one without a value.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import ClassVar

from sqlglot import exp

from privacy.errors import Text
from privacy.facts import Kind
from privacy.sql.bound import Measure, distinct_measure, merged, quantile_measure, sum_measure
from privacy.sql.expressions import AGGREGATES, Reader, written_name
from privacy.sql.ordered import ORDERED, order_of
from privacy.sql.parse import refuse, require_arguments, where_of
from privacy.sql.plan import MOMENTS, Aggregate, Average
from privacy.sql.problems import DistinctNotCounted, MisplacedAggregate, Unbounded, UnknownAggregate
from privacy.sql.resolve import Relation
from privacy.sql.terms import Term

#: A sum over values beyond this needs bounds from the asker: no lattice would be fine enough.
MAX_RANGE = 10**18
_ONE_VALUE = Text(
    "Join them to one text: COUNT(DISTINCT concat_ws('|', a, b)).",
    "请拼接为一个文本：COUNT(DISTINCT concat_ws('|', a, b))。",
)
_SAMPLE = (exp.Variance, exp.Stddev, exp.StddevSamp, exp.CovarSamp)
_ROOT = (exp.Stddev, exp.StddevPop, exp.StddevSamp)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Mean:
    """An average over noisy cells: its text (NULL is not handled), and the public range of what was averaged."""

    sql: str
    low: Fraction
    high: Fraction


class AggregateReader:
    """Compiles aggregates over the rows of `relation`; `measures` grows as they are met, `averages` maps text to its parts."""

    def __init__(self, relation: Relation, summed: frozenset[str]) -> None:
        self.relation = relation
        self.summed = summed
        self.rows = Reader(relation.scope)
        self.measures: list[Measure] = []
        self.averages: dict[str, Average] = {}

    def read(self, node: exp.Expr) -> Term:
        """The value of an aggregate, or of one with FILTER, over noisy cells. Raises a `SqlRefused`."""
        where = ""
        inner = node
        if isinstance(node, exp.Filter):
            inner, where = self._filtered(node)
        operands = [order_of(inner).operand] if isinstance(inner, ORDERED) else list(inner.iter_expressions())
        for operand in operands:
            if operand.find(exp.AggFunc) is not None:
                raise MisplacedAggregate(name=written_name(inner), where=where_of(inner))
        return self._readers[type(inner)](self, inner, where)

    def _filtered(self, node: exp.Filter) -> tuple[exp.Expr, str]:
        require_arguments(node, "this", "expression")
        if type(node.this) not in AGGREGATES:
            raise UnknownAggregate(name=written_name(node.this), where=where_of(node))
        return node.this, _condition(self.rows, node)

    def _count(self, node: exp.Expr, where: str) -> Term:
        require_arguments(node, "this")
        inner = node.this
        if isinstance(inner, exp.Distinct):
            return self._count_distinct(node, inner, where)
        row = ""
        if inner is None or isinstance(inner, exp.Star) or self.relation.scope.is_unit(inner):
            if isinstance(inner, exp.Star):
                require_arguments(inner)
            row = self._present(inner)
            label = "COUNT(*)" if not (where or row) else _label(node)
        else:
            term, label = self.rows.read(inner), _label(node)
            row = f"({term.sql}) IS NOT NULL" if term.nullable else ""
        return self._statistic(Measure(aggregate=Aggregate.COUNT, row=_both(row, where), label=label))

    def _count_distinct(self, node: exp.Expr, distinct: exp.Distinct, where: str) -> Term:
        """Of the unit: how many units. Of anything else: how many different values."""
        require_arguments(distinct, "expressions")
        if len(distinct.expressions) != 1:
            construct = Text("COUNT(DISTINCT …) of several columns", "对多列的 COUNT(DISTINCT …)")
            raise refuse(construct, node, _ONE_VALUE)
        counted = distinct.expressions[0].unnest()
        if not self.relation.scope.is_unit(counted):
            term = self.rows.read(counted)
            return self._statistic(distinct_measure(_only(term, where), _label(node), term, where))
        where = _both(self._present(counted), where)
        kind = Aggregate.UNITS_WHERE if where else Aggregate.UNITS
        return self._statistic(Measure(aggregate=kind, row=where, label=_label(node)))

    def _present(self, unit: exp.Expr | None) -> str:
        """The condition that a left join has found the unit there; "" where every row has one."""
        if not isinstance(unit, exp.Column):
            return ""
        source, _ = self.relation.scope.find(unit)
        return f"{source.unit_sql} IS NOT NULL" if source.optional else ""

    def _count_if(self, node: exp.Expr, where: str) -> Term:
        require_arguments(node, "this")
        term = self.rows.of_kind(node.this, "COUNT_IF", Kind.BOOLEAN)
        row = _both(f"({term.sql}) IS TRUE", where)
        return self._statistic(Measure(aggregate=Aggregate.COUNT, row=row, label=_label(node)))

    def _operand(self, operand: exp.Expr, node: exp.Expr) -> Term:
        """What is summed: a number with public bounds (SUM takes a truth value for 0 or 1)."""
        if isinstance(operand, exp.Distinct):
            raise DistinctNotCounted(name=written_name(node), where=where_of(node))
        term = self.rows.read(operand)
        if term.kind is Kind.BOOLEAN and isinstance(node, exp.Sum):
            sql = f"CAST({term.sql} AS BIGINT)"
            return Term(sql=sql, kind=Kind.INTEGER, low=Fraction(0), high=Fraction(1), step=Fraction(1))
        self.rows.numeric(operand, written_name(node))
        if term.low is None or term.high is None or max(abs(term.low), abs(term.high)) > MAX_RANGE:
            raise Unbounded(name=written_name(node), where=where_of(node))
        return term

    def _sum(self, node: exp.Expr, where: str) -> Term:
        require_arguments(node, "this")
        term = _only(self._operand(node.this, node), where)
        found = self._statistic(sum_measure(term, _label(node), self.relation.max_rows, centred=False))
        return replace(found, kind=term.kind if term.kind is Kind.INTEGER else Kind.NUMBER)

    def _ordered(self, node: exp.Expr, where: str) -> Term:
        """A quantile: one of the values on the public range's lattice, or of as many of them as there is room for."""
        asked = order_of(node)
        term = _only(self._comparable(asked.operand, node), where)
        found = self._statistic(quantile_measure(term, _label(node), asked.level))
        return replace(found, kind=term.kind)

    def _comparable(self, operand: exp.Expr, node: exp.Expr) -> Term:
        """What is put in order: a number, a day or a moment, with public bounds."""
        if isinstance(operand, exp.Distinct):
            return self._operand(operand, node)
        term = self.rows.of_kind(operand, written_name(node), Kind.INTEGER, Kind.NUMBER, *MOMENTS)
        if term.kind not in MOMENTS:
            return self._operand(operand, node)
        if term.since is None or term.until is None:
            raise Unbounded(name=written_name(node), where=where_of(node))
        return term

    def _average(self, node: exp.Expr, where: str) -> Term:
        """AVG = middle + (sum of distances from the middle) / count, kept within the public range.

        When the same SUM is asked too, it serves for both, so that the answer's columns agree with each other.
        """
        require_arguments(node, "this")
        term = _only(self._operand(node.this, node), where)
        measure = sum_measure(term, _label(node), self.relation.max_rows, centred=term.sql not in self.summed)
        total, rows = self._statistic(measure).sql, self._held(term, node)
        middle = float(measure.offset * measure.step)
        low, high = float(term.low or 0), float(term.high or 0)
        sql = f"(CASE WHEN {rows} >= 0.5 THEN {_between(f'{middle!r}::DOUBLE + {total}::DOUBLE / {rows}', low, high)} END)"
        self.averages[sql] = Average(total=total, rows=rows, middle=middle, low=low, high=high)
        return Term(sql=sql, kind=Kind.NUMBER, low=term.low, high=term.high)

    def _held(self, term: Term, node: exp.Expr) -> str:
        """The number of rows that have a value."""
        row = f"({term.sql}) IS NOT NULL" if term.nullable else ""
        if term.kind is Kind.NUMBER and term.nullable and not isinstance(node.this.unnest(), exp.Column):
            row = f"isfinite(CAST({term.sql} AS DOUBLE))"  # a stored number is finite; a computed one may not be
        return self._statistic(Measure(aggregate=Aggregate.COUNT, row=row, label=f"COUNT({_label(node)})")).sql

    def _variance(self, node: exp.Expr, where: str) -> Term:
        require_arguments(node, "this")
        term = _only(self._operand(node.this, node), where)
        rows = self._held(term, node)
        return self._moment(node, rows, self._spread(term, rows, node), _range(term) ** 2)

    def _covariance(self, node: exp.Expr, where: str) -> Term:
        require_arguments(node, "this", "expression")
        a, b, rows = self._pair(node, where)
        return self._moment(node, rows, self._product(a, b, rows, node), _range(a) * _range(b), signed=True)

    def _correlation(self, node: exp.Expr, where: str) -> Term:
        """CORR, between -1 and 1; without a value where the noisy variances are not above zero."""
        require_arguments(node, "this", "expression")
        a, b, rows = self._pair(node, where)
        both = self._product(a, b, rows, node)
        root = f"sqrt(greatest(0, {self._spread(a, rows, node)}) * greatest(0, {self._spread(b, rows, node)}))"
        ratio = _between(f"{both} / nullif({root}, 0)", -1.0, 1.0)
        sql = f"(CASE WHEN {rows} >= 0.5 AND {root} > 0 THEN {ratio} END)"
        return Term(sql=sql, kind=Kind.NUMBER, low=Fraction(-1), high=Fraction(1))

    def _pair(self, node: exp.Expr, where: str) -> tuple[Term, Term, str]:
        """The two operands on the rows where both have a value, and how many those are."""
        found = [self._operand(o, node) for o in (node.this, node.expression)]
        present = [f"isfinite(CAST({t.sql} AS DOUBLE))" for t in found if t.nullable]
        shared = _both(where, *present)
        a, b = (_only(t, shared) for t in found)
        return a, b, self._statistic(Measure(aggregate=Aggregate.COUNT, row=shared, label=f"COUNT({_label(node)})")).sql

    def _mean(self, term: Term, rows: str, node: exp.Expr, name: str = "values") -> _Mean:
        """Σ of the term over n, around the middle of its range; `low` and `high` are those of the distance."""
        measure = sum_measure(term, f"{_label(node)}: {name}", self.relation.max_rows, centred=True)
        middle = measure.offset * measure.step
        total = self._statistic(measure).sql
        low, high = (term.low or Fraction(0)) - middle, (term.high or Fraction(0)) - middle
        return _Mean(sql=f"({total}::DOUBLE / {rows})", low=low, high=high)

    def _product(self, a: Term, b: Term, rows: str, node: exp.Expr) -> str:
        """Σde/n - (Σd/n)(Σe/n)."""
        d, e = self._mean(a, rows, node), self._mean(b, rows, node)
        reach = max(abs(d.low), abs(d.high)) * max(abs(e.low), abs(e.high))
        sql = f"({_distance(a, d)} * {_distance(b, e)})"
        product = Term(sql=sql, kind=Kind.NUMBER, low=-reach, high=reach)
        return f"({self._mean(product, rows, node, 'products').sql} - {d.sql} * {e.sql})"

    def _spread(self, term: Term, rows: str, node: exp.Expr) -> str:
        """Σd²/n - (Σd/n)²; the squares, too, are taken around the middle of their range."""
        d = self._mean(term, rows, node)
        square = Term(
            sql=f"pow({_distance(term, d)}, 2)", kind=Kind.NUMBER, low=Fraction(0), high=max(d.low**2, d.high**2)
        )
        mean = self._mean(square, rows, node, "squares")
        return f"({float(-mean.low)!r}::DOUBLE + {mean.sql} - pow({d.sql}, 2))"

    def _moment(self, node: exp.Expr, rows: str, population: str, widest: Fraction, *, signed: bool = False) -> Term:
        """A second moment as it is asked for: population or sample, its root or itself, within what the range allows."""
        sample = isinstance(node, _SAMPLE)
        value = f"{population} * {rows} / ({rows} - 1)" if sample else population
        high = float(widest / (2 if sample else 4))
        kept = _between(value, -high if signed else 0.0, high)
        if isinstance(node, _ROOT):
            kept, high = f"sqrt({kept})", high**0.5
        sql = f"(CASE WHEN {rows} >= {1.5 if sample else 0.5} THEN {kept} END)"
        return Term(sql=sql, kind=Kind.NUMBER, low=Fraction(-high if signed else 0), high=Fraction(high))

    def _statistic(self, measure: Measure) -> Term:
        self.measures, place = merged(self.measures, measure)
        return Term(sql=f"s{place}", kind=Kind.INTEGER)

    _readers: ClassVar[dict[type[exp.Expr], Callable[[AggregateReader, exp.Expr, str], Term]]] = {
        exp.Count: _count,
        exp.CountIf: _count_if,
        exp.Sum: _sum,
        exp.Avg: _average,
        exp.Variance: _variance,
        exp.VariancePop: _variance,
        exp.Stddev: _variance,
        exp.StddevPop: _variance,
        exp.StddevSamp: _variance,
        exp.CovarPop: _covariance,
        exp.CovarSamp: _covariance,
        exp.Corr: _correlation,
        **dict.fromkeys(ORDERED, _ordered),
    }


def _condition(rows: Reader, node: exp.Filter) -> str:
    where = node.expression
    assert isinstance(where, exp.Where), "the parser puts a WHERE behind FILTER"
    return f"({rows.of_kind(where.this, 'FILTER', Kind.BOOLEAN).sql}) IS TRUE"


def _both(*conditions: str) -> str:
    return " AND ".join(f"({c})" if len([x for x in conditions if x]) > 1 else c for c in conditions if c)


def _only(term: Term, condition: str) -> Term:
    """The term on the rows that meet the condition, NULL on all others."""
    if not condition:
        return term
    return replace(term, sql=f"(CASE WHEN {condition} THEN {term.sql} END)", nullable=True, domain=None, literal=None)


def _distance(term: Term, mean: _Mean) -> str:
    """How far a row's value is from the middle: floating point, which has no overflow; what is left of rounding is clamped."""
    middle = (term.low or Fraction(0)) - mean.low
    return f"(CAST({term.sql} AS DOUBLE) - {float(middle)!r}::DOUBLE)"


def _range(term: Term) -> Fraction:
    return (term.high or Fraction(0)) - (term.low or Fraction(0))


def _between(sql: str, low: float, high: float) -> str:
    return f"greatest({low!r}::DOUBLE, least({high!r}::DOUBLE, {sql}))"


def _label(node: exp.Expr) -> str:
    whole = node.parent if isinstance(node.parent, exp.Filter) else node
    return whole.sql(dialect="duckdb", comments=False)


def summed_terms(select: exp.Select, relation: Relation) -> frozenset[str]:
    """Row texts whose plain SUM the question asks for anywhere."""
    found, rows = set(), Reader(relation.scope)
    for node in select.walk(prune=lambda n: n is not select and isinstance(n, exp.Query)):
        if not isinstance(node, exp.Sum):
            continue
        if isinstance(node.this, exp.Expr) and node.this.find(exp.AggFunc, exp.Distinct) is None:
            where = _condition(rows, node.parent) if isinstance(node.parent, exp.Filter) else ""
            found.add(_only(rows.read(node.this), where).sql)
    return frozenset(found)

"""The asker's own columns, HAVING and ORDER BY, as DuckDB text over noisy cells alone.

Owns post-processing: everything here reads keys that are public (or were selected) and statistics that already carry noise,
so it costs nothing and can be any total SQL (post-processing immunity: Dwork & Roth 2014, Proposition 2.1). It never sees a
table.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from fractions import Fraction

from sqlglot import exp

from privacy.errors import Text
from privacy.facts import Kind
from privacy.sql.bound import Measure, merged, sum_measure
from privacy.sql.expressions import AGGREGATES, Reader, written_name
from privacy.sql.parse import refuse, require_arguments, where_of
from privacy.sql.plan import Aggregate, Average
from privacy.sql.problems import DistinctNotUnit, MisplacedAggregate, NotGrouped, SqlRefused, Unbounded
from privacy.sql.resolve import Relation
from privacy.sql.terms import Term

#: A sum over values beyond this needs bounds from the asker: no lattice would be fine enough.
MAX_RANGE = 10**18


@dataclass(kw_only=True)
class AnswerScope:
    """Names of an answer: grouping keys, aggregates (each becomes noisy statistics) and the aliases of the SELECT list.

    `measures` grows as aggregates are met. `keys` maps the row text of a key to its term over the noisy cells.
    """

    relation: Relation
    keys: dict[str, Term]
    measures: list[Measure] = field(default_factory=list)
    aliases: dict[str, Term] = field(default_factory=dict)
    summed: frozenset[str] = frozenset()
    averages: dict[str, Average] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.rows = Reader(self.relation.scope)

    def known(self, node: exp.Expr) -> Term | None:
        """An aggregate, or a whole expression that is a grouping key."""
        if isinstance(node, AGGREGATES):
            return self._aggregate(node)
        if isinstance(node, exp.Literal | exp.Boolean | exp.Null):
            return None
        if node.find(exp.AggFunc) is None:
            try:
                return self.keys.get(self.rows.read(node).sql)
            except SqlRefused:
                return None  # not a row expression as a whole: its parts may still be known, or are refused by name
        return None

    def column(self, node: exp.Column) -> Term:
        """An alias of the SELECT list; any other bare column is refused, because rows are never shown."""
        alias = self.aliases.get(node.name.casefold()) if not node.table else None
        if alias is not None:
            return alias
        if not self.aliases or not node.table:
            self.relation.scope.column(node)  # an unknown name, or the unit's identifier, is refused as such
        raise NotGrouped(name=node.name, where=where_of(node))

    def _aggregate(self, node: exp.Expr) -> Term:
        inner = node.this
        if isinstance(inner, exp.Expr) and inner.find(exp.AggFunc) is not None:
            raise MisplacedAggregate(name=written_name(node), where=where_of(node))
        if isinstance(node, exp.Count):
            return self._count(node)
        if isinstance(node, exp.CountIf):
            require_arguments(node, "this")
            return self._count_where(node.this, node)
        require_arguments(node, "this")
        if isinstance(inner, exp.Distinct):
            raise self._not_unit(node)
        return self._sum(node) if isinstance(node, exp.Sum) else self._average(node)

    def _count(self, node: exp.Count) -> Term:
        require_arguments(node, "this")
        inner = node.this
        if isinstance(inner, exp.Distinct):
            return self._count_units(node, inner)
        if inner is None or isinstance(inner, exp.Star) or self.relation.scope.is_unit(inner):
            if isinstance(inner, exp.Star):
                require_arguments(inner)
            return self._statistic(Measure(aggregate=Aggregate.COUNT, row="", label="COUNT(*)"))
        term = self.rows.read(inner)
        row = f"({term.sql}) IS NOT NULL" if term.nullable else ""
        return self._statistic(Measure(aggregate=Aggregate.COUNT, row=row, label=_label(node)))

    def _count_units(self, node: exp.Count, distinct: exp.Distinct) -> Term:
        require_arguments(distinct, "expressions")
        counted = distinct.expressions
        if len(counted) != 1 or not self.relation.scope.is_unit(counted[0].unnest()):
            raise self._not_unit(node)
        return self._statistic(Measure(aggregate=Aggregate.UNITS, row="", label=_label(node)))

    def _not_unit(self, node: exp.Expr) -> DistinctNotUnit:
        unit = self.relation.private.unit
        stands_for, column = (unit.stands_for, unit.column) if unit else ("", "")
        return DistinctNotUnit(unit=stands_for, column=column, where=where_of(node))

    def _count_where(self, condition: exp.Expr, node: exp.Expr) -> Term:
        term = self.rows.of_kind(condition, "COUNT_IF", Kind.BOOLEAN)
        return self._statistic(Measure(aggregate=Aggregate.COUNT, row=f"({term.sql}) IS TRUE", label=_label(node)))

    def _summand(self, node: exp.Expr) -> Term:
        term = self.rows.read(node.this)
        if term.kind is Kind.BOOLEAN and isinstance(node, exp.Sum):
            sql = f"CAST({term.sql} AS BIGINT)"
            return Term(sql=sql, kind=Kind.INTEGER, low=Fraction(0), high=Fraction(1), step=Fraction(1))
        self.rows.numeric(node.this, written_name(node))
        if term.low is None or term.high is None or max(abs(term.low), abs(term.high)) > MAX_RANGE:
            raise Unbounded(name=written_name(node), where=where_of(node))
        return term

    def _sum(self, node: exp.Expr) -> Term:
        term = self._summand(node)
        found = self._statistic(sum_measure(term, _label(node), self.relation.max_rows, centred=False))
        return replace(found, kind=term.kind if term.kind is Kind.INTEGER else Kind.NUMBER)

    def _average(self, node: exp.Expr) -> Term:
        """AVG = middle + (sum of distances from the middle) / count, kept within the public range.

        Centring halves the reach of a value. When the same SUM is asked too, it serves for both, so that the answer's
        columns agree with each other.
        """
        term = self._summand(node)
        measure = sum_measure(term, _label(node), self.relation.max_rows, centred=term.sql not in self.summed)
        total = self._statistic(measure)
        row = f"({term.sql}) IS NOT NULL" if term.nullable else ""
        if term.kind is Kind.NUMBER and term.nullable and not isinstance(node.this.unnest(), exp.Column):
            row = f"isfinite(CAST({term.sql} AS DOUBLE))"  # a stored number is finite; a computed one may not be
        rows = self._statistic(Measure(aggregate=Aggregate.COUNT, row=row, label=f"COUNT({_label(node)})"))
        middle = float(measure.offset * measure.step)
        low, high = float(term.low or 0), float(term.high or 0)
        mean = (
            f"greatest({low!r}::DOUBLE, least({high!r}::DOUBLE, {middle!r}::DOUBLE + {total.sql}::DOUBLE / {rows.sql}))"
        )
        sql = f"(CASE WHEN {rows.sql} >= 0.5 THEN {mean} END)"
        half = max(high - middle, middle - low)
        self.averages[sql] = Average(total=total.sql, rows=rows.sql, reach=half)
        return Term(sql=sql, kind=Kind.NUMBER, low=term.low, high=term.high)

    def _statistic(self, measure: Measure) -> Term:
        self.measures, place = merged(self.measures, measure)
        return Term(sql=f"s{place}", kind=Kind.INTEGER)


def _label(node: exp.Expr) -> str:
    return node.sql(dialect="duckdb", comments=False)


def summed_terms(select: exp.Select, relation: Relation) -> frozenset[str]:
    """Row texts whose plain SUM the question asks for anywhere."""
    found = set()
    for node in select.find_all(exp.Sum):
        if isinstance(node.this, exp.Expr) and node.this.find(exp.AggFunc, exp.Distinct) is None:
            found.add(Reader(relation.scope).read(node.this).sql)
    return frozenset(found)


def order_text(ordered: exp.Expr, read: Callable[[exp.Expr], str]) -> str:
    """One ORDER BY item; where NULLs go is always written out."""
    if not isinstance(ordered, exp.Ordered):
        raise refuse(Text("this ORDER BY", "该 ORDER BY"), ordered)
    require_arguments(ordered, "this", "desc", "nulls_first")
    direction = "DESC" if ordered.args.get("desc") else "ASC"
    nulls = "FIRST" if ordered.args.get("nulls_first") else "LAST"
    return f"{read(ordered.this)} {direction} NULLS {nulls}"

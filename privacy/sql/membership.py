"""WHERE → text, and what IN and EXISTS over a subquery may decide there.

Owns conditions on rows. Over public tables a subquery may decide about any column. Over private rows it decides for the rows
of the same unit alone: `unit IN (SELECT unit FROM …)`, or EXISTS with an equality of both units among its conditions. So
whether a row of unit u stays is a function of u's own rows and of public tables. NOT IN and NOT EXISTS are the plain
negations: a unit is never NULL, so three-valued logic matters for public columns only, where DuckDB's own IN decides.

AND, OR and NOT cannot fail; what stands between them is tried part by part, because DuckDB tries no subquery.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from sqlglot import exp

from privacy.errors import Text
from privacy.facts import Kind
from privacy.sql.expressions import Reader, Scope
from privacy.sql.joins import Place, compared, conjuncts, equated, same_unit
from privacy.sql.parse import refuse, require_arguments, require_clauses, where_of
from privacy.sql.problems import UnitMissing
from privacy.sql.resolve import RowScope, Source, Subqueries, readable
from privacy.sql.terms import Term, require_kind


def row_condition(node: exp.Expr, scope: RowScope) -> str:
    """WHERE as total text: an operation that fails on a row is NULL there, and a conjunct that is NULL does not hold."""
    return " AND ".join(_conjunct(part, scope) for part in conjuncts(node))


def _conjunct(part: exp.Expr, scope: RowScope) -> str:
    """One of the conditions that all have to hold. Equal units are written as such.

    Comparing columns of two sources cannot fail, and without TRY the optimizer sees that it joins them.
    """
    places = [scope.find(c) for c in compared(part)]
    if equated(part) and same_unit(*places):
        return f"{places[0][0].unit_sql} = {places[1][0].unit_sql}"
    text = _part(part, scope)
    return text.removeprefix("TRY") if len({source.tag for source, _ in places}) > 1 else text


def _part(node: exp.Expr, scope: RowScope) -> str:
    handler = _LOGIC.get(type(node))
    if handler is not None and scope.subqueries is not None and node.find(exp.Query) is not None:
        return handler(node, scope, scope.subqueries)
    term = Reader(scope).read(node)
    require_kind(term, node, "WHERE", Kind.BOOLEAN)
    return f"TRY({term.sql})"


def _negation(node: exp.Expr, scope: RowScope, _: Subqueries) -> str:
    return f"(NOT {_part(node.this, scope)})"


def _connective(symbol: str) -> Callable[[exp.Expr, RowScope, Subqueries], str]:
    def read(node: exp.Expr, scope: RowScope, _: Subqueries) -> str:
        return f"({_part(node.this, scope)} {symbol} {_part(node.expression, scope)})"

    return read


def _in(node: exp.Expr, scope: RowScope, subqueries: Subqueries) -> str:
    """Values IN a subquery; values in brackets are compared column by column."""
    query = node.args.get("query")
    if query is None:
        return f"TRY({Reader(scope).read(node).sql})"
    require_arguments(node, "this", "query")
    source = subqueries.derived(query).source("(SELECT …)", "q")
    values = node.this.expressions if isinstance(node.this, exp.Tuple) else [node.this.unnest()]
    if len(values) != len(source.columns):
        count = f"{len(values)} / {len(source.columns)}"
        raise refuse(Text(f"IN with unlike numbers of columns ({count})", f"两边列数不同的 IN（{count}）"), node)
    pairs = [_pair(value, scope, (source, column)) for value, column in zip(values, source.columns, strict=True)]
    if source.unit is not None and not any(right == source.unit_sql for _, right in pairs):
        raise _unit_missing(Text("IN over private rows", "对受保护的行使用 IN"), source, node)
    left, right = (", ".join(side) for side in zip(*pairs, strict=True))
    return f"({left if len(pairs) == 1 else f'({left})'} IN (SELECT {right} FROM {source.text} AS q))"


def _pair(value: exp.Expr, scope: RowScope, column: Place) -> tuple[str, str]:
    if scope.is_unit(value):
        place = scope.find(value)  # type: ignore[arg-type]  # a unit is a column
        if same_unit(place, column):
            return place[0].unit_sql, column[0].unit_sql
    marker = exp.Null()
    reader = Reader(Beside(scope=scope, node=marker, term=readable(*column, value)))
    left, right = reader.alike([value, marker], "IN")
    return left.sql if isinstance(value, exp.Column) else f"TRY({left.sql})", right.sql


@dataclass(frozen=True, kw_only=True, slots=True)
class Beside:
    """A scope that also knows one node by a term of its own."""

    scope: Scope
    node: exp.Expr
    term: Term

    def known(self, node: exp.Expr) -> Term | None:
        """The term, for that node."""
        return self.term if node is self.node else None

    def column(self, node: exp.Column) -> Term:
        """What the scope has."""
        return self.scope.column(node)


def _exists(node: exp.Expr, scope: RowScope, subqueries: Subqueries) -> str:
    """Rows that exist beside the row at hand."""
    select = node.this
    if not isinstance(select, exp.Select):
        raise refuse(Text("EXISTS over a combination of SELECTs", "对组合查询使用 EXISTS"), node)
    require_clauses(select, "EXISTS")
    relation = subqueries.rows_within(select)
    inner = replace(relation.scope, outer=scope)
    _require_readable(select, inner)
    where = select.args.get("where")
    parts = conjuncts(where.this) if where is not None else []
    conditions, tied = list(relation.conditions), relation.unit is None
    own = {s.tag for s in relation.scope.sources}
    for part in parts:
        conditions.append(_conjunct(part, inner))
        places = [inner.find(c) for c in equated(part) or ()]
        tied = tied or (len({s.tag in own for s, _ in places}) == 2 and same_unit(*places))
    if not tied:
        raise _unit_missing(
            Text("EXISTS over private rows", "对受保护的行使用 EXISTS"), relation.scope.sources[0], node
        )
    text = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    return f"EXISTS (SELECT 1 FROM {relation.from_sql}{text})"


def _require_readable(select: exp.Select, scope: RowScope) -> None:
    """What EXISTS selects is never computed, but what is not understood is refused there too."""
    for item in select.expressions:
        value = item.unalias()
        if not (isinstance(value, exp.Star) or scope.is_unit(value)):
            Reader(scope).read(value)


def _unit_missing(construct: Text, source: Source, node: exp.Expr) -> UnitMissing:
    column, unit = source.unit_name, source.unit.stands_for if source.unit else ""
    advice = Text(
        f"Compare the {unit}: … IN (SELECT {column} FROM …), or EXISTS with an equality of both sides' {column}.",
        f"请比较隐私单元：… IN (SELECT {column} FROM …)，或在 EXISTS 中限定两边的 {column} 相等。",
    )
    return UnitMissing(construct=construct, unit=unit, where=where_of(node), advice=advice)


_LOGIC: dict[type[exp.Expr], Callable[[exp.Expr, RowScope, Subqueries], str]] = {
    exp.Paren: lambda node, scope, _: _part(node.this, scope),
    exp.Not: _negation,
    exp.And: _connective("AND"),
    exp.Or: _connective("OR"),
    exp.In: _in,
    exp.Exists: _exists,
}

"""One SELECT, or a UNION of them, inside a question → a derived relation.

Owns the clauses of subqueries and the text they become: columns c0, c1, … and, beside them, the unit. Why that keeps each row
with its unit stands in `privacy.sql.tracked`, which names what may stand in FROM.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from sqlglot import exp

from privacy.errors import Text
from privacy.facts import Kind
from privacy.sql.expressions import Reader, written_name
from privacy.sql.joins import conjuncts
from privacy.sql.layers import Grouped, Layer, Windowed, numbered
from privacy.sql.membership import row_condition
from privacy.sql.parse import refuse, require_arguments, require_clauses, where_of
from privacy.sql.problems import (
    BadPosition,
    DifferentUnits,
    MisplacedAggregate,
    NoisySubquery,
    TypeMismatch,
    UnitMissing,
    UnknownColumn,
)
from privacy.sql.resolve import Column, Derived, Relation
from privacy.sql.terms import Term, hull
from privacy.sql.within import tried

if TYPE_CHECKING:
    from privacy.sql.tracked import Names


class _Named(Protocol):
    """Anything with a name."""

    @property
    def name(self) -> str:
        """The name."""


class Starred(Protocol):
    """What a star may stand for: the columns of one item of FROM."""

    @property
    def alias(self) -> str:
        """The asker's name for it."""

    @property
    def tag(self) -> str:
        """Ours; items come in the order of their tags."""

    @property
    def columns(self) -> Sequence[_Named]:
        """Its columns."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Item:
    """One column of a SELECT list, before it has text."""

    name: str
    node: exp.Expr


def selected(select: exp.Select, names: Names) -> Derived:
    """A SELECT as a relation."""
    require_clauses(select, "subquery")
    relation = names.relation(select)
    conditions = list(relation.conditions)
    where = select.args.get("where")
    if where is not None:
        require_no_aggregate(where)
        conditions.append(row_condition(where.this, relation.scope))
    items = [i for node in select.expressions for i in listed(node, relation.scope.sources, relation.scope.merged)]
    values = [i.node for i in items]
    if select.args.get("group") or select.args.get("having") or any(aggregate_in(n) is not None for n in values):
        body = _grouped(select, items, relation, conditions)
    elif select.args.get("qualify") or any(n.find(exp.Window) for n in values):
        body = _windowed(select, items, relation, conditions)
    else:
        body = _plain(items, relation, conditions)
    return _distinct(select, body) if select.args.get("distinct") else body


def names_behind(node: exp.Expr, most: int) -> list[str]:
    """The names of columns behind an alias, in brackets: `AS t(a, b)`; at most as many as there are columns."""
    alias = node.args.get("alias")
    if alias is None:
        return []
    require_arguments(alias, "this", "columns")
    names = [n.name for n in alias.args.get("columns") or []]
    if len(names) > most:
        raise refuse(Text(f"more names than columns behind {node.alias}", f"{node.alias} 后的列名多于列数"), node)
    return names


def require_no_aggregate(where: exp.Expr) -> None:
    """Refuse aggregates of these rows in WHERE; those in a subquery there are its own."""
    found = aggregate_in(where)
    if found is not None:
        raise MisplacedAggregate(name=written_name(found), where=where_of(found))


def require_no_star(items: Sequence[exp.Expr]) -> None:
    """Rows are never shown, so there is no "all columns"."""
    for item in items:
        if isinstance(item, exp.Star):
            raise refuse(
                Text("* (all columns)", "*（全部列）"),
                item,
                Text("Name the columns you group by.", "请写出分组所用的列。"),
            )


def aggregate_in(node: exp.Expr) -> exp.Expr | None:
    """An aggregate of the rows at hand: not of a window, not of a subquery."""
    stopped = exp.Window | exp.Query
    return next((n for n in node.walk(prune=lambda n: isinstance(n, stopped)) if isinstance(n, exp.AggFunc)), None)


def listed(node: exp.Expr, sources: Sequence[Starred], merged: Collection[tuple[str, str]]) -> list[Item]:
    """A SELECT item, or the columns that a star stands for."""
    value = node.unalias()
    star, table = (value.this, value.table) if isinstance(value, exp.Column) else (value, "")
    if not isinstance(star, exp.Star):
        name = node.alias or (value.name if isinstance(value, exp.Column) else value.sql(dialect="duckdb"))
        return [Item(name=name, node=value.unnest())]
    require_arguments(value, "this", "table", "except_")
    require_arguments(star, "except_")
    left_out = {c.name.casefold() for c in star.args.get("except_") or ()}
    chosen = [s for s in sources if not table or s.alias.casefold() == table.casefold()]
    if not chosen:
        raise refuse(Text(f"{table}.* without {table} in FROM", f"FROM 中没有 {table} 的 {table}.*"), node)
    known = {c.name.casefold() for s in chosen for c in s.columns}
    if not left_out <= known:
        raise UnknownColumn(name=min(left_out - known), where=where_of(node), allowed=", ".join(sorted(known)))
    found, shown = [], set()
    for source in sorted(chosen, key=lambda s: s.tag):
        for column in source.columns:
            name = column.name.casefold()
            if name in left_out:
                continue
            if not table and (name, source.tag) in merged:
                if name in shown:
                    continue
                shown.add(name)
            quoted = (exp.to_identifier(part, quoted=True) for part in (column.name, source.alias))
            found.append(Item(name=column.name, node=exp.Column(**dict(zip(("this", "table"), quoted, strict=True)))))
    return found


def _plain(items: list[Item], relation: Relation, conditions: list[str]) -> Derived:
    reader = Reader(relation.scope)
    alone = len(relation.scope.sources) == 1
    columns = [_column(i, relation, reader, alone=alone) for i in items]
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    own = relation.unit_sql if relation.unit is not None else ""
    return _body(columns, f"{relation.from_sql}{where}", own, relation, relation.max_rows)


def _grouped(select: exp.Select, items: list[Item], relation: Relation, conditions: list[str]) -> Derived:
    scope, unit = relation.scope, relation.unit
    if select.args.get("qualify"):
        advice = Text("Write the window in a SELECT around this one.", "请把窗口写在外层的 SELECT 中。")
        raise refuse(Text("QUALIFY beside GROUP BY", "与 GROUP BY 并用的 QUALIFY"), select, advice)
    keys = [k.unnest() for k in group_nodes(select, scope)]
    if unit is not None and not any(scope.names_unit(k) for k in keys):
        raise NoisySubquery(unit=unit.stands_for, column=scope.sources[0].unit_name, where=where_of(select))
    layer = Grouped(relation, [k for k in keys if not scope.names_unit(k)])
    columns = [_column(i, relation, Reader(layer)) for i in items]
    if unit is None and len(keys) == 1:
        columns = [replace(c, max_repeats=1) if i.node == keys[0] else c for c, i in zip(columns, items, strict=True)]
    having = _layer_condition(select, "having", items, layer)
    found = _layered(columns, layer, conditions, having, layer.grouping(), layer.most())
    return replace(found, bounded=found.bounded or not layer.keys)


def _windowed(select: exp.Select, items: list[Item], relation: Relation, conditions: list[str]) -> Derived:
    layer = Windowed(relation)
    columns = [_column(i, relation, Reader(layer)) for i in items]
    qualify = _layer_condition(select, "qualify", items, layer)
    most = relation.max_rows
    clause = select.args.get("qualify")
    for part in conjuncts(clause.this) if clause is not None else ():
        least = numbered(part, lambda n: Reader(layer).read(n).sql in layer.numbers)
        most = most if least is None else min(most, least)
    columns = [replace(c, numbers=_is_number(i, layer)) for c, i in zip(columns, items, strict=True)]
    return _layered(columns, layer, conditions, qualify, "", most)


def _is_number(item: Item, layer: Windowed) -> bool:
    return isinstance(item.node, exp.Window) and Reader(layer).read(item.node).sql in layer.numbers


def _layer_condition(select: exp.Select, clause: str, items: list[Item], layer: Layer) -> str:
    """HAVING or QUALIFY, which may also use the names of the SELECT list."""
    layer.aliases = {i.name.casefold(): i.node for i in items}
    found = select.args.get(clause)
    if found is None:
        return ""
    return f" WHERE TRY({Reader(layer).of_kind(found.this, clause.upper(), Kind.BOOLEAN).sql})"


def _layered(
    columns: list[Column], layer: Layer, conditions: list[str], condition: str, grouping: str, most: int
) -> Derived:
    own = 'l."_uid"' if layer.relation.unit is not None else ""
    return _body(columns, f"{layer.below(conditions, grouping)}{condition}", own, layer.relation, most)


def _column(item: Item, relation: Relation, reader: Reader, *, alone: bool = False) -> Column:
    """A column that still has the text of its expression; `alone` when rows are at most left out."""
    scope, node = relation.scope, item.node
    if scope.names_unit(node):
        return Column(name=item.name, term=None)
    term = reader.read(node)
    if not isinstance(node, exp.Column):
        settled = replace(term, sql=tried(term, node), literal=None, domain=term.key_domain)
        return Column(name=item.name, term=settled)
    found = scope.find(node)[1] if alone else Column(name="", term=None)
    return replace(found, name=item.name, term=replace(term, literal=None))


def _body(columns: list[Column], rest: str, unit_sql: str, relation: Relation, max_rows: int) -> Derived:
    """SELECT of the columns as c0, c1, …; a column that is always NULL, or the unit, has no text of its own."""
    texts = [f'{unit_sql} AS "_uid"'] if unit_sql else []
    named: list[Column] = []
    for i, column in enumerate(_without_twins(columns)):
        term = column.term
        if term is not None and term.kind is not None:
            texts.append(f"{term.sql} AS c{i}")
            column = replace(column, term=replace(term, sql=f"c{i}"))
        elif term is not None:
            column = replace(column, term=Term(sql="NULL", kind=None, domain=()))
        named.append(column)
    return Derived(
        sql=f"SELECT {', '.join(texts) or '1'} FROM {rest}",
        columns=tuple(named),
        unit=relation.unit,
        max_rows=max_rows,
        bounded=relation.bounded,
    )


def _without_twins(columns: list[Column]) -> list[Column]:
    """DuckDB's names: the second column called a is a_1."""
    taken: set[str] = set()
    found = []
    for column in columns:
        names = (column.name, *(f"{column.name}_{k}" for k in range(1, len(columns) + 1)))
        name = next(n for n in names if n.casefold() not in taken)
        taken.add(name.casefold())
        found.append(replace(column, name=name))
    return found


def _distinct(select: exp.Select, body: Derived) -> Derived:
    _require_unit_column(Text("DISTINCT", "DISTINCT"), body, select)
    columns = body.columns
    if body.unit is None and len(columns) == 1:
        columns = (replace(columns[0], max_repeats=1),)
    most = 1
    for term in (c.term for c in columns if c.term is not None):
        most = most * (len(term.domain) + term.nullable) if term.domain is not None else body.max_rows
    most = max(1, min(most, body.max_rows))
    return replace(body, sql=f"SELECT DISTINCT {body.sql.removeprefix('SELECT ')}", columns=columns, max_rows=most)


def union(query: exp.Union, names: Names) -> Derived:
    """UNION ALL of rows of the same unit, column by column; UNION removes duplicates of one unit."""
    require_arguments(query, "this", "expression", "distinct", "with_")
    sides = [names.derived(query.this), names.derived(query.expression)]
    _require_alike(query, *sides)
    columns = [_united(a, b, query) for a, b in zip(sides[0].columns, sides[1].columns, strict=True)]
    name = "UNION" if query.args.get("distinct") else "UNION ALL"
    found = replace(
        sides[0],
        sql=f" {name} ".join(_side(s, columns) for s in sides),
        columns=tuple(columns),
        max_rows=sum(s.max_rows for s in sides),
        bounded=all(s.bounded for s in sides),
    )
    if name == "UNION":
        _require_unit_column(Text("UNION", "UNION"), found, query)
    return found


def _require_alike(query: exp.Expr, left: Derived, right: Derived) -> None:
    if len(left.columns) != len(right.columns):
        count = f"{len(left.columns)} / {len(right.columns)}"
        raise refuse(Text(f"UNION of unlike numbers of columns ({count})", f"两边列数不同的 UNION（{count}）"), query)
    units = [d.unit for d in (left, right) if d.unit is not None]
    if len(units) == 2 and units[0].space != units[1].space:
        sides = Text("the second side of UNION", "UNION 的后一部分"), Text("the first", "前一部分")
        raise DifferentUnits(name=sides[0], unit=units[1].stands_for, base=sides[1], own=units[0].stands_for)
    same = all((a.term is None) == (b.term is None) for a, b in zip(left.columns, right.columns, strict=True))
    if len(units) == 1 or not same:
        unit, column = units[0].stands_for, units[0].column
        construct = Text(
            f"a UNION in which only one side says which {unit} it is about",
            f"只有一边指明所属 {unit} 的 UNION",
        )
        advice = Text(
            f"Select {column} in the same place on both sides, from private tables.",
            f"请在两边的同一位置从受保护的表中选出 {column}。",
        )
        raise refuse(construct, query, advice)


def _united(a: Column, b: Column, query: exp.Expr) -> Column:
    if a.term is None or b.term is None:
        return Column(name=a.name, term=None)
    terms = [a.term, b.term]
    kinds = {t.kind for t in terms if t.kind is not None}
    if len(kinds) > 1 and not all(k.numeric for k in kinds):
        found = ", ".join(sorted(kinds))
        allowed = Text("columns of one type", "同一类型的列")
        raise TypeMismatch(name=f"UNION ({a.name})", found=found, where=where_of(query), allowed=allowed)
    text = next((t.sql for t in terms if t.kind is not None), "NULL")
    term = hull(text, terms, nullable=any(t.nullable for t in terms))
    return Column(name=a.name, term=term)


def _side(side: Derived, columns: list[Column]) -> str:
    """One side with the types of the whole."""
    texts = ['"_uid"'] if side.unit is not None else []
    for own, whole in zip((c.term for c in side.columns), (c.term for c in columns), strict=True):
        if own is not None and whole is not None and whole.kind is not None:
            cast = own.kind is Kind.INTEGER and whole.kind is Kind.NUMBER
            texts.append(f"{f'CAST({own.sql} AS DOUBLE)' if cast else own.sql} AS {whole.sql}")
    return f"SELECT {', '.join(texts) or '1'} FROM ({side.sql})"


def _require_unit_column(construct: Text, derived: Derived, node: exp.Expr) -> None:
    """What removes duplicates may only remove those of one unit: the unit has to be among the columns."""
    if derived.unit is None or any(c.term is None for c in derived.columns):
        return
    column, unit = derived.unit.column, derived.unit.stands_for
    advice = Text(f"Select {column} too.", f"请同时选出 {column}。")
    raise UnitMissing(construct=construct, unit=unit, where=where_of(node), advice=advice)


class HasColumns(Protocol):
    """Names of rows that can be asked for."""

    def has(self, node: exp.Column) -> bool:
        """True when there is a column of that name."""


def group_nodes(select: exp.Select, scope: HasColumns) -> list[exp.Expr]:
    """What GROUP BY stands for: columns, expressions, positions, aliases or ALL."""
    group = select.args.get("group")
    if group is None:
        return []
    if group.args.get("all"):
        return [e.unalias() for e in select.expressions if e.find(exp.AggFunc, exp.Window) is None]
    if not group.expressions:
        raise refuse(Text("GROUP BY without a key", "没有分组键的 GROUP BY"), group)
    return [group_node(node, select, scope) for node in group.expressions]


def group_node(node: exp.Expr, select: exp.Select, scope: HasColumns) -> exp.Expr:
    """What one key stands for: itself, or the column of the SELECT list at its position or of its name."""
    if isinstance(node, exp.Literal) and not node.args.get("is_string"):
        items: list[exp.Expr] = select.expressions
        return items[place(node, items, "GROUP BY")].unalias()
    if isinstance(node, exp.Column) and not node.table and not scope.has(node):
        aliased = [e.this for e in select.expressions if e.alias and e.alias.casefold() == node.name.casefold()]
        return aliased[0] if aliased else node
    return node


def place(node: exp.Expr, items: list[exp.Expr], name: str) -> int:
    """Which item of the SELECT list a position points at, counted from 0."""
    text = node.name
    found = int(text) if text.isdecimal() and len(text) < 6 else 0
    if not 1 <= found <= len(items):
        raise BadPosition(name=name, low=1, high=len(items))
    return found - 1

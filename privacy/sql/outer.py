"""One query around an answer, as a small table: SELECT with its groups and windows, and UNION, INTERSECT, EXCEPT.

Owns what becomes of the rows that `privacy.sql.small` makes of FROM and WHERE: groups with plain aggregates, then the clauses
that `privacy.sql.shape` puts in order. It sees noisy cells and public rows alone, and every row keeps a name.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sqlglot import exp

from privacy.errors import Text
from privacy.facts import Kind
from privacy.sql.expressions import Reader
from privacy.sql.finish import AnswerScope
from privacy.sql.parse import refuse, require_arguments, require_clauses, where_of
from privacy.sql.plain import PlainAggregates
from privacy.sql.problems import TypeMismatch
from privacy.sql.selects import aggregate_in, group_nodes, listed
from privacy.sql.shape import Shape, shaped
from privacy.sql.small import LOCATION, Column, Rows, Table
from privacy.sql.terms import Term, hull
from privacy.sql.within import tried

if TYPE_CHECKING:
    from privacy.sql.around import Around, Scope


@dataclass(kw_only=True)
class RowScope(AnswerScope):
    """Names of rows that are shown as they are: their columns, windows over them, and aliases of the SELECT list."""

    below: Rows

    def known(self, node: exp.Expr) -> Term | None:
        """A window, or a subquery of one value."""
        return self._window(node) if isinstance(node, exp.Window) else self.below.known(node)

    def column(self, node: exp.Column) -> Term:
        """A column of the rows; else an alias."""
        alias = self.aliases.get(node.name.casefold()) if not node.table else None
        if alias is None or self.below.has(node):
            return self.below.column(node)
        return super().column(node)

    def ties(self) -> list[str]:
        """Rows that are alike follow their names."""
        return ["rid"]


@dataclass(kw_only=True)
class GroupScope(AnswerScope):
    """Names of groups: their keys, aggregates, and aliases of the SELECT list. `beside` has the subqueries of one value."""

    beside: Rows

    def known(self, node: exp.Expr) -> Term | None:
        """A subquery of one value, an aggregate, a window or a key."""
        return self.beside.scalar(node) if isinstance(node, exp.Subquery) else super().known(node)


def selected(select: exp.Select, scope: Scope, around: Around) -> Table:
    """A SELECT over small tables, as one more."""
    require_clauses(select)
    rows = Rows(scope=scope, around=around)
    rows.read(select)
    items: list[exp.Expr] = []
    for node in select.expressions:
        star = isinstance(node, exp.Star) or (isinstance(node, exp.Column) and isinstance(node.this, exp.Star))
        items += [i.node for i in listed(node, rows.sources, rows.merged)] if star else [node]
    parts = [*items, *(select.args.get(n) for n in ("order", "qualify"))]
    grouped = select.args.get("group") or select.args.get("having")
    if grouped or any(p is not None and aggregate_in(p) is not None for p in parts):
        return _grouped(select, items, rows)
    return _plain(select, items, rows)


def _plain(select: exp.Select, items: list[exp.Expr], rows: Rows) -> Table:
    aggregates = PlainAggregates(Reader(rows))
    scope = RowScope(aggregates=aggregates, keys={}, accepted=(), below=rows)
    shape = _shape(select, items, scope, rows)
    origins = [rows.find(i.unalias()) if isinstance(i.unalias(), exp.Column) else None for i in items]  # type: ignore[arg-type]
    columns = []
    for i, (item, origin) in enumerate(zip(items, origins, strict=True)):
        column = origin[0].columns[origin[1]] if origin else None
        kept = column is not None and origin is not None and rows.lookups and origin[0] is rows.sources[0]
        if column is not None and origin is not None and origin[0] is not rows.located:
            column = column.lost()
        columns.append(
            Column(
                name=_name(item),
                term=_shown(shape.outputs[i], i),
                fixed=not rows.noisy or _fixed(item, rows),
                statistic=column.statistic if column else None,
                average=column.average if column else None,
                places=column.places if column else (),
                own=column is not None and column.own,
                repeats=column.repeats if column and kept else None,
            )
        )
    first = rows.sources[0] if rows.sources and rows.lookups else None
    unique = None
    if first is not None and first.table.unique is not None:
        places = {o[1]: i for i, o in reversed(list(enumerate(origins))) if o is not None and o[0] is first}
        named = [places.get(u) for u in first.table.unique]
        unique = None if None in named else frozenset(u for u in named if u is not None)
    loose = rows.text(loose=not (shape.windows or shape.distinct))
    return _finished(shape, rows, rows.text(), loose, columns, rows.count, unique)


def _grouped(select: exp.Select, items: list[exp.Expr], rows: Rows) -> Table:
    rows.grouped = True
    reader = Reader(rows)
    aggregates = PlainAggregates(reader)
    keys: dict[str, Term] = {}
    texts: list[str] = []
    for node in group_nodes(_with_items(select, items), rows):
        term = reader.read(node.unnest())
        if term.sql not in keys:
            keys[term.sql] = Term(sql=f"g{len(keys)}" if term.kind else "NULL", kind=term.kind)
            texts.append(f"{tried(term, node.unnest())} AS g{len(texts)}")
    beside = Rows(scope=rows.scope, around=rows.around)
    scope = GroupScope(aggregates=aggregates, keys=keys, accepted=PlainAggregates.accepted, beside=beside)
    shape = _shape(select, items, scope, rows)
    rows.noisy, rows.work = rows.noisy or beside.noisy, rows.work + beside.work
    columns = [
        Column(
            name=_name(item),
            term=_shown(output, i),
            fixed=not rows.noisy or _fixed(item, rows),
            statistic=None,
            repeats=1 if [output.sql] == [k.sql for k in keys.values()] else None,
        )
        for i, (item, output) in enumerate(zip(items, shape.outputs, strict=True))
    ]
    texts += [f"{part} AS a{i}" for i, part in enumerate(aggregates.parts)]
    count = rows.count if keys else 1
    by = f" GROUP BY {', '.join(str(i + 1) for i in range(len(keys)))}" if keys else ""
    rid = f"hash({', '.join(f'g{i}' for i in range(len(keys)))})" if keys else "0"
    source = f"(SELECT {rid} AS rid, * FROM (SELECT {', '.join(texts) or '1'} FROM {rows.text()}{by}))"
    if beside.scalars:
        named = ", ".join(f"{dotted} AS {flat}" for flat, dotted in beside.used.items())
        source = f"(SELECT g.*, {named} FROM {source} AS g{''.join(beside.scalars)})"
    shown = {o.sql: i for i, o in reversed(list(enumerate(shape.outputs)))}
    places = [shown.get(k.sql) for k in keys.values()]
    unique = None if None in places else frozenset(p for p in places if p is not None)
    rows.work += count
    return _finished(shape, rows, source, source, columns, count, unique)


def _with_items(select: exp.Select, items: list[exp.Expr]) -> exp.Select:
    """The SELECT with its stars written out, for positions and GROUP BY ALL."""
    if len(items) == len(select.expressions):
        return select
    found = exp.Select(**{**select.args, "expressions": items})
    found.args["expressions"] = items  # the parts keep their places in the original tree
    return found


def _shape(select: exp.Select, items: list[exp.Expr], scope: AnswerScope, rows: Rows) -> Shape:
    outputs = [Reader(scope).read(item.unalias()) for item in items]
    scope.aliases = {e.alias.casefold(): replace(outputs[i], sql=f"o{i}") for i, e in enumerate(items) if e.alias}
    scope.windowed = frozenset(e.alias.casefold() for e in items if e.alias and e.find(exp.Window) is not None)
    return shaped(select, items, outputs, scope, rows.condition)


def _finished(
    shape: Shape,
    rows: Rows,
    source: str,
    loose: str,
    columns: list[Column],
    count: int,
    unique: frozenset[int] | None,
) -> Table:
    most, located = min(count, shape.most), rows.located is not None and not rows.grouped
    row = ", ".join(["rid", *(LOCATION if located else ())])
    ties = [f"o{i}" for i, c in enumerate(columns) if c.fixed and c.term.kind is not None]
    ties += [*(LOCATION[:1] if located else ()), "rid"]  # a total follows the group that looks like it
    return Table(
        sql=shape.sql(source, row, ties),
        loose=shape.sql(loose, row, ties, choosing=False),
        row="rid",
        columns=tuple(columns),
        rows=most,
        work=rows.work,
        noisy=rows.noisy,
        unique=unique,
        located=located,
    )


def _fixed(item: exp.Expr, rows: Rows) -> bool:
    """Whether a column is made of what names the row alone. What is no aggregate in a group is made of its keys."""
    for node in item.walk(prune=lambda n: isinstance(n, exp.Query)):
        if isinstance(node, exp.AggFunc | exp.Window):
            return False
        if isinstance(node, exp.Query) and rows.around.table(node, rows.scope).noisy:
            return False
        if isinstance(node, exp.Column) and rows.has(node) and not (rows.grouped or rows.fixed(*rows.find(node))):
            return False
    return True


def _name(item: exp.Expr) -> str:
    node = item.unalias()
    return item.alias or (node.name if isinstance(node, exp.Column) else node.sql(dialect="duckdb", comments=False))


def _shown(term: Term, place: int) -> Term:
    """A column by its name; a constant NULL has no name."""
    return Term(sql=f"o{place}" if term.kind else "NULL", kind=term.kind)


# --- UNION, INTERSECT, EXCEPT --------------------------------------------------------------------------------------------


def combined(query: exp.SetOperation, scope: Scope, around: Around) -> Table:
    """Two queries of like columns as one. Rows that are alike are one row, named by the first of them, but for UNION ALL."""
    clauses = [n for n in ("order", "limit", "offset") if query.args.get(n) is not None]
    if clauses:
        return around.table(_around(query, clauses), scope)
    require_arguments(query, "this", "expression", "distinct", "with_")
    every = isinstance(query, exp.Union) and not query.args.get("distinct")
    if not isinstance(query, exp.Union) and not query.args.get("distinct"):
        name = f"{query.key.upper()} ALL"
        raise refuse(Text(name, name), query, Text("Write it without ALL.", "请去掉 ALL。"))
    sides = [around.table(side, scope) for side in (query.this, query.expression)]
    if len(sides[0].columns) != len(sides[1].columns):
        count = f"{len(sides[0].columns)} / {len(sides[1].columns)}"
        raise refuse(Text(f"a combination of {count} columns", f"列数为 {count} 的组合查询"), query)
    columns = [_united(a, b, query, every=every) for a, b in zip(*(s.columns for s in sides), strict=True)]
    located = every and all(side.located for side in sides)
    columns = columns if located else [column.lost() for column in columns]
    named = [f"o{i}" for i in range(len(columns))]
    texts = [
        " UNION ALL ".join(_side(i, s, columns, located=located, loose=loose) for i, s in enumerate(sides))
        for loose in (False, True)
    ]
    if not every:
        texts = [_alike(query, named, texts[0])] * 2
    order = ", ".join(
        [*(["side"] if every else []), *(o for o, c in zip(named, columns, strict=True) if c.fixed), "rid"]
    )
    head = f"SELECT {', '.join(['rid', *(LOCATION if located else ()), *named])} FROM"
    texts = [f"{head} ({texts[0]}) ORDER BY {order}", f"{head} ({texts[1]})"]
    rows = sides[0].rows + sides[1].rows
    return Table(
        sql=texts[0],
        loose=texts[1],
        row="rid",
        columns=tuple(columns),
        rows=rows,
        work=sides[0].work + sides[1].work + rows,
        noisy=any(s.noisy for s in sides),
        unique=None,
        located=located,
    )


def _around(query: exp.SetOperation, clauses: list[str]) -> exp.Select:
    """SELECT * FROM (the query) with the clauses that stand behind it."""
    inner = query.copy()
    for name in clauses:
        inner.set(name, None)
    bracket = exp.Subquery(this=inner, alias=exp.TableAlias(this=exp.to_identifier("")))
    clause = {name: query.args[name] for name in clauses}
    return exp.Select(expressions=[exp.Star()], from_=exp.From(this=bracket), **clause)


def _united(a: Column, b: Column, query: exp.Expr, *, every: bool) -> Column:
    kinds = {c.term.kind for c in (a, b) if c.term.kind is not None}
    if len(kinds) > 1 and not all(k.numeric for k in kinds):
        allowed = Text("columns of one type", "同一类型的列")
        found = ", ".join(sorted(kinds))
        raise TypeMismatch(name=f"{query.key.upper()} ({a.name})", found=found, where=where_of(query), allowed=allowed)
    term = next((c.term for c in (a, b) if c.term.kind is not None), a.term)
    whole = hull(term.sql, [a.term, b.term], nullable=True)
    alike = every and (a.statistic, a.average, a.own) == (b.statistic, b.average, b.own)
    return Column(
        name=a.name,
        term=replace(whole, domain=None),
        fixed=a.fixed and b.fixed,
        statistic=a.statistic if alike else None,
        average=a.average if alike else None,
        places=tuple(sorted({*a.places, *b.places})) if alike else (),
        own=a.own and alike,
    )


def _side(place: int, table: Table, columns: list[Column], *, located: bool, loose: bool) -> str:
    """One side, with the types of the whole."""
    texts = [f"hash({place}, {table.row}) AS rid", f"{place} AS side", *(LOCATION if located else ())]
    for i, (own, whole) in enumerate(zip(table.columns, columns, strict=True)):
        cast = own.term.kind is Kind.INTEGER and whole.term.kind is Kind.NUMBER
        texts.append(f"{f'CAST({own.term.sql} AS DOUBLE)' if cast else own.term.sql} AS o{i}")
    return f"SELECT {', '.join(texts)} FROM {table.text(loose=loose)}"


def _alike(query: exp.SetOperation, columns: list[str], rows: str) -> str:
    """Each row once, where the operation keeps it; equal means equal or both NULL, as in DuckDB."""
    named = ", ".join(columns)
    kept: str = {exp.Intersect: " HAVING max(side) > min(side)", exp.Except: " HAVING max(side) = 0"}.get(
        type(query), ""
    )
    return f"SELECT min(rid) AS rid, {named} FROM ({rows}) GROUP BY {named}{kept}"

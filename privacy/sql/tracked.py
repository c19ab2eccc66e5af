"""Subqueries and FROM → relations in which every row belongs to one unit.

Owns the recursion over SELECT, WITH and UNION. It never reads data, and no text of the asker gets into SQL.

What is kept (law 3), by induction over the operators: *the rows of a tracked relation that carry unit u are a function of u's
own rows in the private tables and of public tables alone*. So adding or removing u changes the rows of u and no others, and the
final bounding (`privacy.sql.bound`) holds for whatever the asker built.

- A private table holds it: `_uid` is the row's unit. It is never NULL, since ingest drops rows without a unit.
- Projection and WHERE look at one row at a time. `_uid` is carried beside whatever is selected, under a name that the asker
  cannot say; a column is the unit only when it is a plain reference to it. Expressions are total, so no row can fail.
- A join with a public table repeats or drops rows of u by what these rows and public rows say.
- Private joins meet on the unit: a row of the result is made of rows of one unit. A left join takes the unit of its left side,
  where every row has one, so `_uid` stays without NULL (`privacy.sql.joins`).
- IN, EXISTS, semi and anti joins let rows of u alone, or public rows, decide about a row of u (`privacy.sql.membership`).
- GROUP BY and windows have the unit among their keys, DISTINCT and UNION among their columns, so that no group, partition or
  duplicate reaches over two units, and all of them are exact and do not depend on the order of rows (`privacy.sql.layers`,
  `privacy.sql.within`). UNION ALL puts rows of u beside rows of u.
- LIMIT, SAMPLE and ORDER BY choose among rows of everybody, a GROUP BY without the unit mixes them: they are refused.

`max_rows` says how many rows of a unit count. It follows the operators too, but nothing private rests on it: the engine clamps
every unit to what is stated. A relation of public tables alone has no unit, and any operator may be used on it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from sqlglot import exp

from privacy.errors import Text
from privacy.facts import DatasetFacts, TableFacts
from privacy.sql.joins import conjuncts, joined, require_joins
from privacy.sql.layers import numbered
from privacy.sql.parse import refuse, require_arguments, where_of
from privacy.sql.problems import NoPrivateTable, SqlRefused, TooManyParts, UnknownTable
from privacy.sql.resolve import Derived, Relation, RowScope, Source, stored
from privacy.sql.selects import names_behind, selected, union

MAX_LEVELS = 20
#: Compiled subqueries together, in characters: a WITH that is used twice is written twice.
MAX_TEXT = 2**18
_NAMED: dict[type[exp.Expr], Text] = {
    exp.Lateral: Text("LATERAL", "LATERAL"),
    exp.Values: Text("VALUES", "VALUES"),
    exp.Subquery: Text("brackets around tables", "括号中的表"),
    exp.Unnest: Text("a table function in FROM", "FROM 中的表函数"),
}
_FROM = Text("Write a table or a subquery in FROM.", "请在 FROM 中写表或子查询。")


@dataclass(slots=True)
class _Use:
    """How much the subqueries of one question have come to."""

    text: int = 0
    levels: int = 0
    tables: list[TableFacts] = field(default_factory=list)

    def of(self, derived: Derived) -> Derived:
        """Count a subquery where it is written."""
        self.text += len(derived.sql)
        self.levels = max(self.levels, derived.levels)
        for count, part, limit in (
            (self.levels, Text("levels of subqueries", "层子查询"), MAX_LEVELS),
            (self.text, Text("characters of compiled subqueries", "个字符的子查询（编译后）"), MAX_TEXT),
        ):
            if count > limit:
                raise TooManyParts(count=count, part=part, limit=limit)
        return derived


@dataclass(frozen=True, kw_only=True, slots=True)
class Names:
    """The names that FROM may use: tables, and the subqueries that WITH has named. `prefix` begins the tags of sources."""

    facts: DatasetFacts
    prefix: str = "t"
    ctes: Mapping[str, Derived | SqlRefused] = field(default_factory=dict)
    use: _Use = field(default_factory=_Use)

    def relation(self, select: exp.Select, *, counted: bool = True) -> Relation:
        """FROM and its joins."""
        origin, joins = select.args.get("from_"), select.args.get("joins") or []
        if origin is None:
            raise refuse(Text("a SELECT without FROM", "没有 FROM 的 SELECT"), select, _FROM)
        require_joins(joins)
        sources: list[Source] = []
        for node in (origin.this, *(j.this for j in joins)):
            source = self._source(node, f"{self.prefix}{len(sources)}")
            if source.alias and any(s.alias.casefold() == source.alias.casefold() for s in sources):
                raise refuse(Text(f"the name {source.alias} for two tables", f"两个表同名 {source.alias}"), node)
            sources.append(source)
        clause = select.args.get("where")
        where = conjuncts(clause.this) if clause is not None else []
        return joined(_limited(sources, where), joins, where, self, counted=counted)

    def rows_within(self, select: exp.Select) -> Relation:
        """FROM of a subquery whose rows stand beside those around it: its sources get tags of their own."""
        return replace(self, prefix=f"e{self.prefix}").relation(select, counted=False)

    def derived(self, query: exp.Expr) -> Derived:
        """A subquery: SELECT, UNION, or either in brackets."""
        outside, self.use.levels = self.use.levels, 0
        found = self._derived(query)
        found = self.use.of(replace(found, levels=self.use.levels + 1))
        self.use.levels = max(outside, found.levels)
        return found

    def tables(self) -> tuple[str, ...]:
        """The stored tables that were named, private ones first."""
        private_first = sorted(self.use.tables, key=lambda t: t.unit is None)
        return tuple(dict.fromkeys(t.name for t in private_first))

    def with_named(self, query: exp.Expr) -> Names:
        """These names and those that WITH gives, each defined by the names before it."""
        names = self
        for cte in named_queries(query):
            names = names.knowing(cte, _renamed(names.derived(cte.this), cte))
        return names

    def knowing(self, cte: exp.CTE, found: Derived | SqlRefused) -> Names:
        """These names and one more, or why that one cannot be used here."""
        return replace(self, ctes={**self.ctes, cte.alias.casefold(): found})

    def named(self, cte: exp.CTE) -> Names:
        """These names and one of WITH; where it is no relation of public or tracked rows, its use is what is refused."""
        try:
            return self.knowing(cte, _renamed(self.derived(cte.this), cte))
        except SqlRefused as refusal:
            return self.knowing(cte, refusal)

    def aside(self) -> Names:
        """The same names for a reading whose text is not kept."""
        return replace(self, use=_Use())

    def _source(self, node: exp.Expr, tag: str) -> Source:
        if isinstance(node, exp.Subquery) and isinstance(node.this, exp.Query):
            require_arguments(node, "this", "alias")
            return _renamed(self.derived(node.this), node).source(node.alias, tag)
        if not isinstance(node, exp.Table):
            named = Text("this item of FROM", "FROM 中的这一项")
            raise refuse(_NAMED.get(type(node), named), node, _FROM)
        if not isinstance(node.this, exp.Identifier):
            raise refuse(Text("a table function in FROM", "FROM 中的表函数"), node, _FROM)
        cte = self.ctes.get(node.name.casefold())
        if isinstance(cte, SqlRefused):
            raise cte
        if cte is not None:
            return self.use.of(cte).source(node.alias or node.name, tag)
        table = self._table(node)
        self.use.tables.append(table)
        return stored(node.alias or table.name, tag, table)

    def _table(self, node: exp.Table) -> TableFacts:
        table = self.facts.table(node.name)
        if table is None:
            allowed = ", ".join([*(t.name for t in self.facts.tables), *self.ctes])
            raise UnknownTable(name=node.name, where=where_of(node), allowed=allowed)
        return table

    def _derived(self, query: exp.Expr) -> Derived:
        if isinstance(query, exp.Subquery):
            require_arguments(query, "this")
            return self._derived(query.this)
        if isinstance(query, exp.Union):
            return union(query, self.with_named(query))
        if isinstance(query, exp.Select):
            return selected(query, self.with_named(query))
        text = query.key.upper()
        advice = Text("Use IN or NOT IN, or UNION ALL.", "请使用 IN、NOT IN 或 UNION ALL。")
        raise refuse(Text(f"{text} in a subquery", f"子查询中的 {text}"), query, advice)


def named_queries(query: exp.Expr) -> list[exp.CTE]:
    """What WITH names, in order."""
    clause = query.args.get("with_")
    if clause is None:
        return []
    if clause.args.get("recursive"):
        advice = Text("Write WITH without RECURSIVE.", "请写不带 RECURSIVE 的 WITH。")
        raise refuse(Text("WITH RECURSIVE", "WITH RECURSIVE"), query, advice)
    require_arguments(clause, "expressions")
    found: list[exp.CTE] = clause.expressions
    defined: set[str] = set()
    for cte in found:
        require_arguments(cte, "this", "alias")
        if cte.alias.casefold() in defined:
            raise refuse(Text(f"the name {cte.alias} twice in WITH", f"WITH 中重复的名称 {cte.alias}"), cte)
        defined.add(cte.alias.casefold())
    return found


def resolve_from(select: exp.Select, facts: DatasetFacts, names: Names | None = None) -> Relation:
    """Resolve WITH, FROM and joins of a question into the tracked relation; `names` are those around it."""
    names = (names or Names(facts=facts)).with_named(select)
    relation = names.relation(select) if select.args.get("from_") is not None else None
    if relation is None or relation.unit is None:
        raise NoPrivateTable(allowed=", ".join(t.name for t in facts.tables if t.unit is not None))
    return relation


def _renamed(derived: Derived, node: exp.Expr) -> Derived:
    """The names that stand behind an alias, in brackets."""
    names = names_behind(node, len(derived.columns))
    columns = [replace(c, name=name) for c, name in zip(derived.columns, names, strict=False)]
    return replace(derived, columns=(*columns, *derived.columns[len(names) :]))


def _limited(sources: list[Source], where: list[exp.Expr]) -> list[Source]:
    """Sources of which WHERE keeps only the rows that a window has numbered 1 to n of each unit."""
    scope = RowScope(tuple(sources))
    for part in where:
        for source in sources:
            most = numbered(part, lambda n, s=source: _numbers(n, scope, s))  # type: ignore[misc]
            if most is not None:
                at = sources.index(source)
                sources = [*sources[:at], replace(source, max_rows=min(source.max_rows, most)), *sources[at + 1 :]]
                break
    return sources


def _numbers(node: exp.Expr, scope: RowScope, source: Source) -> bool:
    return isinstance(node, exp.Column) and any(c.numbers and s is source for s, c in scope.places(node))

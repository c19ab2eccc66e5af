"""GROUPING SETS, ROLLUP, CUBE, and subqueries beside aggregates: a SELECT of rows becomes a question around its own groups.

Owns what these mean, written as SQL that is accepted anyway: each set is an answer of its own with its keys and all aggregates
that the SELECT speaks of, and the SELECT itself is asked of their UNION ALL. There a key that a set lacks is NULL, GROUPING() is
a constant, and a subquery stands beside noisy cells. Several such items of GROUP BY mean every choice of one set from each. It
makes trees out of trees and reads no facts but which expressions are the same.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from sqlglot import exp

from privacy.errors import Text
from privacy.sql.expressions import AGGREGATES, Reader
from privacy.sql.parse import refuse, require_arguments, require_clauses, where_of
from privacy.sql.problems import NotGrouped, SqlRefused, TooManyParts
from privacy.sql.resolve import RowScope
from privacy.sql.selects import group_node, group_nodes, require_no_star
from privacy.sql.tracked import Names

MAX_SETS = 16
_SETS = exp.Rollup | exp.Cube | exp.GroupingSets


def is_layered(select: exp.Select) -> bool:
    """True when GROUP BY has an item of several sets of keys, or a subquery stands beside the aggregates."""
    parts = [*select.expressions, *(select.args.get(n) for n in ("having", "qualify", "order"))]
    return _has_sets(select) or any(_beside_aggregates(part) for part in parts if part is not None)


def _has_sets(select: exp.Select) -> bool:
    group = select.args.get("group")
    return group is not None and any(isinstance(node, _SETS) for node in group.expressions)


def _beside_aggregates(part: exp.Expr) -> bool:
    """Whether there is a subquery that no aggregate is asked of."""
    nodes = part.walk(prune=lambda n: isinstance(n, exp.AggFunc | exp.Filter | exp.Query))
    return any(isinstance(n, exp.Query) for n in nodes)


def keys_of_sets(select: exp.Select, scope: RowScope) -> list[exp.Expr]:
    """Every key of some set."""
    return [key for keys in _sets_of(select, scope) for key in keys]


def expanded(select: exp.Select, names: Names) -> tuple[exp.Select, list[exp.Select]]:
    """The question around the sets, and the answer of each set in it. Raises a `SqlRefused`."""
    require_clauses(select)
    require_no_star(select.expressions)
    sets = _Sets(select, names.aside().relation(select).scope)
    outer = sets.outer()
    members = [sets.inner(keys) for keys in sets.found]
    union: exp.Expr = members[0]
    for member in members[1:]:
        union = exp.Union(this=union, expression=member, distinct=False)
    outer.set("from_", exp.From(this=exp.Subquery(this=union, alias=exp.TableAlias(this=exp.to_identifier("sets")))))
    return outer, members


class _Sets:
    """One SELECT's sets: its keys and aggregates, and the names that these have in what is asked around the sets."""

    def __init__(self, select: exp.Select, scope: RowScope) -> None:
        self.select, self.scope, self.rows = select, scope, Reader(scope)
        self.found = _sets_of(select, scope)
        self.keys = {self.rows.read(key).sql: key for keys in self.found for key in keys}
        self.aggregates: dict[str, exp.Expr] = {}
        self.levels: dict[str, exp.Expr] = {}
        self.aliases = {e.alias.casefold(): e.this for e in select.expressions if e.alias}
        self.mark = "sets_"
        while any(alias.startswith(self.mark) for alias in self.aliases):
            self.mark += "_"

    # --- the question around -------------------------------------------------------------------------------------------

    def outer(self) -> exp.Select:
        """The SELECT over the sets' rows: a condition on groups is one on rows there."""
        clauses = {n: self.select.args.get(n) for n in ("qualify", "order", "limit", "offset", "distinct")}
        read = {
            n: c if c is None or n in ("limit", "offset", "distinct") else self._inside(c) for n, c in clauses.items()
        }
        having = self.select.args.get("having")
        if having is not None:
            read["where"] = exp.Where(this=self._read(having.this, open_aliases=True))
        return exp.Select(expressions=[self._item(item) for item in self.select.expressions], **read)

    def _item(self, item: exp.Expr) -> exp.Expr:
        node = item.unalias()
        name = item.alias or (node.name if isinstance(node, exp.Column) else node.sql(dialect="duckdb", comments=False))
        return exp.Alias(this=self._read(node, aliases=False), alias=exp.to_identifier(name, quoted=True))

    def _read(self, node: exp.Expr, *, aliases: bool = True, open_aliases: bool = False) -> exp.Expr:
        """The expression with the names of keys and aggregates in their place. `open_aliases`: an alias is what it stands for."""
        if isinstance(node, exp.Query | exp.Subquery | exp.Literal | exp.Boolean | exp.Null):
            return node.copy()
        if isinstance(node, exp.Grouping | exp.GroupingId):
            return self._named("level", self.levels, node.sql(), node)
        if isinstance(node, exp.Filter) or type(node) in AGGREGATES or isinstance(node, exp.AggFunc):
            return self._named("aggregate", self.aggregates, node.sql(), node)
        key = self._key(node)
        if key is not None:
            return self._named("key", self.keys, key, self.keys[key])
        if isinstance(node, exp.Column):
            return self._alias(node, aliases=aliases, open_aliases=open_aliases)
        if isinstance(node, exp.Window):
            return self._window(node, aliases=aliases)
        return self._inside(node, aliases=aliases, open_aliases=open_aliases)

    def _inside(self, node: exp.Expr, **known: bool) -> exp.Expr:
        found = node.copy()
        for name, value in node.args.items():
            if isinstance(value, exp.Expr):
                found.set(name, self._read(value, **known))
            elif isinstance(value, list):
                found.set(name, [self._read(v, **known) if isinstance(v, exp.Expr) else v for v in value])
        return found

    def _window(self, node: exp.Window, *, aliases: bool) -> exp.Expr:
        """A window over the sets' rows: its function stays one, what it is asked of is read."""
        found = self._inside_of(node, "this", aliases=aliases)
        function = node.this
        while isinstance(function, exp.Filter | exp.IgnoreNulls | exp.RespectNulls):
            function = function.this
        inner = self._inside(function, aliases=aliases)
        wrapped = node.this
        if wrapped is function:
            found.set("this", inner)
            return found
        outer = self._inside_of(wrapped, "this", aliases=aliases)
        outer.set("this", inner)
        found.set("this", outer)
        return found

    def _inside_of(self, node: exp.Expr, apart: str, *, aliases: bool) -> exp.Expr:
        """As `_inside`, but for one argument."""
        rest = node.copy()
        kept = rest.args.pop(apart)
        found = self._inside(rest, aliases=aliases)
        found.set(apart, kept)
        return found

    def _key(self, node: exp.Expr) -> str | None:
        if not isinstance(node, exp.Condition) or node.find(exp.AggFunc, exp.Window, exp.Query) is not None:
            return None
        try:
            text = self.rows.read(node).sql
        except SqlRefused:
            return None  # not a row expression as a whole: its parts may still be keys, or are refused by name
        return text if text in self.keys else None

    def _alias(self, node: exp.Column, *, aliases: bool, open_aliases: bool) -> exp.Expr:
        known = self.aliases.get(node.name.casefold()) if not node.table else None
        if known is None or not aliases:
            self.scope.column(node)  # an unknown name, or the unit's identifier, is refused as such
            raise NotGrouped(name=node.name, where=where_of(node))
        if open_aliases:
            return exp.Paren(this=self._read(known, aliases=False))
        return exp.Column(this=exp.to_identifier(node.name, quoted=True))

    def _named(self, what: str, known: dict[str, exp.Expr], text: str, node: exp.Expr) -> exp.Column:
        known.setdefault(text, node)
        return exp.Column(this=exp.to_identifier(f"{self.mark}{what}{list(known).index(text)}", quoted=True))

    # --- one set ---------------------------------------------------------------------------------------------------------

    def inner(self, keys: Sequence[exp.Expr]) -> exp.Select:
        """The answer of one set: its keys, NULL for those of others, the aggregates, and the constants of GROUPING()."""
        own = {self.rows.read(key).sql for key in keys}
        items = [node.copy() if text in own else exp.Null() for text, node in self.keys.items()]
        named = [("key", items), ("aggregate", [a.copy() for a in self.aggregates.values()])]
        named += [("level", [self._level(node, own) for node in self.levels.values()])]
        columns = [
            exp.Alias(this=node, alias=exp.to_identifier(f"{self.mark}{what}{i}", quoted=True))
            for what, nodes in named
            for i, node in enumerate(nodes)
        ]
        clauses = {n: self.select.args.get(n) for n in ("from_", "joins", "where")}
        kept = {n: [c.copy() for c in v] if isinstance(v, list) else v and v.copy() for n, v in clauses.items()}
        group = exp.Group(expressions=[key.copy() for key in keys]) if keys else None
        return exp.Select(expressions=columns, group=group, **kept)

    def _level(self, node: exp.Expr, own: set[str]) -> exp.Expr:
        """GROUPING(a, b): a bit for each key, the last one's the lowest, set where the set lacks the key."""
        require_arguments(node, "expressions")
        bits = 0
        for part in node.expressions:
            key = self._key(group_node(part, self.select, self.scope))
            if key is None:
                raise refuse(
                    Text("GROUPING of what is no grouping key", "对非分组键使用 GROUPING"),
                    part,
                    Text("Name a key of GROUP BY.", "请写出 GROUP BY 中的分组键。"),
                )
            bits = 2 * bits + (key not in own)
        return exp.Literal.number(bits)


# --- GROUP BY ------------------------------------------------------------------------------------------------------------


def _sets_of(select: exp.Select, scope: RowScope) -> list[list[exp.Expr]]:
    """The keys of each set: one choice from each item of GROUP BY."""
    if not _has_sets(select):
        return [group_nodes(select, scope)]
    parts = [_choices(node) for node in select.args["group"].expressions]
    count = 1
    for part in parts:
        count *= len(part)
    if count > MAX_SETS:
        raise TooManyParts(count=count, part=Text("grouping sets", "分组集"), limit=MAX_SETS)
    chosen = [list(itertools.chain.from_iterable(choice)) for choice in itertools.product(*parts)]
    return [[group_node(node, select, scope) for node in keys] for keys in chosen]


def _choices(node: exp.Expr) -> list[list[exp.Expr]]:
    """The sets that one item of GROUP BY stands for."""
    if isinstance(node, _SETS):
        require_arguments(node, "expressions")
    if isinstance(node, exp.GroupingSets):
        return [keys for inner in node.expressions for keys in _choices(inner)]
    if not isinstance(node, exp.Rollup | exp.Cube):
        return [_keys(node)]
    parts = [_keys(inner) for inner in node.expressions]
    if isinstance(node, exp.Rollup):
        return [list(itertools.chain.from_iterable(parts[:n])) for n in range(len(parts), -1, -1)]
    if 2 ** len(parts) > MAX_SETS:
        raise TooManyParts(count=2 ** len(parts), part=Text("grouping sets", "分组集"), limit=MAX_SETS)
    kept = [
        [p for p, on in zip(parts, choice, strict=True) if on]
        for choice in itertools.product((1, 0), repeat=len(parts))
    ]
    return [list(itertools.chain.from_iterable(k)) for k in kept]


def _keys(node: exp.Expr) -> list[exp.Expr]:
    """The keys of a set in brackets, or the one that stands without any."""
    if isinstance(node, exp.Tuple):
        return list(node.expressions)
    return [node.this if isinstance(node, exp.Paren) else node]

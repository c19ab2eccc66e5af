"""The asker's own columns, HAVING and ORDER BY, as DuckDB text over noisy cells alone.

Owns post-processing: everything here reads keys that are public (or were selected) and statistics that already carry noise,
so it costs nothing and can be any total SQL (post-processing immunity: Dwork & Roth 2014, Proposition 2.1). It never sees a
table.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from sqlglot import exp

from privacy.errors import Text
from privacy.sql.aggregates import AggregateReader
from privacy.sql.expressions import AGGREGATES
from privacy.sql.parse import refuse, require_arguments, where_of
from privacy.sql.problems import NotGrouped, SqlRefused
from privacy.sql.terms import Term


@dataclass(kw_only=True)
class AnswerScope:
    """Names of an answer: grouping keys, aggregates (each becomes noisy statistics) and the aliases of the SELECT list.

    `keys` maps the row text of a key to its term over the noisy cells.
    """

    aggregates: AggregateReader
    keys: dict[str, Term]
    aliases: dict[str, Term] = field(default_factory=dict)

    def known(self, node: exp.Expr) -> Term | None:
        """An aggregate, or a whole expression that is a grouping key."""
        if isinstance(node, (*AGGREGATES, exp.Filter)):
            return self.aggregates.read(node)
        if isinstance(node, exp.Literal | exp.Boolean | exp.Null):
            return None
        if node.find(exp.AggFunc) is None:
            try:
                return self.keys.get(self.aggregates.rows.read(node).sql)
            except SqlRefused:
                return None  # not a row expression as a whole: its parts may still be known, or are refused by name
        return None

    def column(self, node: exp.Column) -> Term:
        """An alias of the SELECT list; any other bare column is refused, because rows are never shown."""
        alias = self.aliases.get(node.name.casefold()) if not node.table else None
        if alias is not None:
            return alias
        if not self.aliases or not node.table:
            self.aggregates.relation.scope.column(node)  # an unknown name, or the unit's identifier, is refused as such
        raise NotGrouped(name=node.name, where=where_of(node))


def order_text(ordered: exp.Expr, read: Callable[[exp.Expr], str]) -> str:
    """One ORDER BY item; where NULLs go is always written out."""
    if not isinstance(ordered, exp.Ordered):
        raise refuse(Text("this ORDER BY", "该 ORDER BY"), ordered)
    require_arguments(ordered, "this", "desc", "nulls_first")
    direction = "DESC" if ordered.args.get("desc") else "ASC"
    nulls = "FIRST" if ordered.args.get("nulls_first") else "LAST"
    return f"{read(ordered.this)} {direction} NULLS {nulls}"

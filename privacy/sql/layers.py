"""A SELECT in two layers: below, rows are grouped or looked at through windows; above, expressions over what came of it.

Owns the scopes of subqueries that aggregate or rank. DuckDB tries neither aggregates nor windows, so the layer below computes
nothing that can fail and the layer above tries each expression (law 5). A group or a window reaches over rows of one unit
only, because the unit is always among its keys; and it sees them in an order that is a function of these rows alone: ties end
with the rank `_rn` that ingest gave each row of a unit, or with every column, after which rows that are alike may change
places without anybody noticing.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import replace
from typing import ClassVar

from sqlglot import exp

from privacy.errors import Text
from privacy.sql.expressions import Reader
from privacy.sql.finish import order_text
from privacy.sql.parse import refuse, require_arguments, where_of
from privacy.sql.problems import NotGrouped, SqlRefused, UnitMissing
from privacy.sql.resolve import Relation
from privacy.sql.terms import Term, hull
from privacy.sql.within import Over, Parts, Within, tried

_MAX_OFFSET = 10_000
_RANKS: dict[type[exp.Expr], str] = {
    exp.RowNumber: "row_number",
    exp.Rank: "rank",
    exp.DenseRank: "dense_rank",
}


class Layer(ABC):
    """What both kinds share: parts of the layer below, and aliases of the SELECT list for HAVING and QUALIFY."""

    def __init__(self, relation: Relation) -> None:
        self.relation = relation
        self.rows = Reader(relation.scope)
        self.parts = Parts()
        most = relation.max_rows if relation.unit is not None else None
        self.within = Within(self.rows, relation.scope, self.parts, most)
        self.aliases: dict[str, exp.Expr] = {}

    @abstractmethod
    def known(self, node: exp.Expr) -> Term | None:
        """The term of a part, when the node as a whole is one."""

    def column(self, node: exp.Column) -> Term:
        """The term of a column, or of the SELECT item that has this alias."""
        aliased = self.aliases.get(node.name.casefold()) if not node.table else None
        if aliased is None or self.relation.scope.has(node):
            return self._column(node)
        aliases, self.aliases = self.aliases, {}  # an alias is made of columns, never of aliases: it cannot name itself
        try:
            return Reader(self).read(aliased)
        finally:
            self.aliases = aliases

    @abstractmethod
    def _column(self, node: exp.Column) -> Term:
        """The term of a column of the rows."""

    def below(self, conditions: list[str], grouping: str = "") -> str:
        """The layer below as an item of FROM."""
        own = [f'{self.relation.unit_sql} AS "_uid"'] if self.relation.unit is not None else []
        where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
        columns = ", ".join([*own, *self.parts.columns()]) or "1"
        return f"(SELECT {columns} FROM {self.relation.from_sql}{where}{grouping}) AS l"


class Grouped(Layer):
    """Names of a group: its keys and its aggregates."""

    def __init__(self, relation: Relation, keys: list[exp.Expr]) -> None:
        super().__init__(relation)
        self.keys: dict[str, Term] = {}
        for node in keys:
            term = self.rows.read(node)
            domain = term.domain if isinstance(node, exp.Column) else term.key_domain
            part = self.parts.add(tried(term, node))
            self.keys[term.sql] = replace(term, sql=part, literal=None, domain=domain)
        self.width = len(self.parts.names)

    def known(self, node: exp.Expr) -> Term | None:
        """An aggregate, or a whole expression that is a grouping key."""
        if isinstance(node, exp.AggFunc | exp.Filter):
            filled = self.relation.unit is not None or bool(self.keys)
            return self.within.read(node, Over(filled=filled))
        if isinstance(node, exp.Literal | exp.Boolean | exp.Null) or node.find(exp.AggFunc) is not None:
            return None
        try:
            return self.keys.get(self.rows.read(node).sql)
        except SqlRefused:
            return None  # its parts may be known, or are refused by name

    def _column(self, node: exp.Column) -> Term:
        self.relation.scope.column(node)  # an unknown name, or the unit's identifier, is refused as such
        raise NotGrouped(name=node.name, where=where_of(node))

    def grouping(self) -> str:
        """GROUP BY of the layer below: the unit and the keys come first there."""
        width = self.width + (self.relation.unit is not None)
        return f" GROUP BY {', '.join(str(i + 1) for i in range(width))}" if width else ""

    def most(self) -> int:
        """The most groups of a unit: one for each of its rows, and for each combination of public keys."""
        most = 1
        for term in self.keys.values():
            most = most * (len(term.domain) + term.nullable) if term.domain is not None else self.relation.max_rows
        return max(1, min(most, self.relation.max_rows))


class Windowed(Layer):
    """Names of a row beside windows over the rows of its unit.

    `numbers` are the terms that count the rows of a unit, or all public rows, from 1.
    """

    def __init__(self, relation: Relation) -> None:
        super().__init__(relation)
        self.numbers: set[str] = set()

    def known(self, node: exp.Expr) -> Term | None:
        """A window."""
        return self._window(node) if isinstance(node, exp.Window) else None

    def _column(self, node: exp.Column) -> Term:
        term = self.relation.scope.column(node)
        return replace(term, sql=self.parts.add(term.sql), literal=None)

    def _window(self, node: exp.Window) -> Term:
        require_arguments(node, "this", "partition_by", "order", "spec", "over")
        function = node.this
        reader = self._readers.get(type(function))
        if reader is not None:
            return reader(self, function, node)
        frame = _frame(node)
        order = self._over(node, ties="ROWS" in frame, frame=frame)
        filled = not frame.startswith("ROWS")
        if function.find(exp.Distinct) is not None:
            raise refuse(Text("DISTINCT in a window", "窗口函数中的 DISTINCT"), node)
        return self.within.read(function, Over(sql=order, filled=filled))

    def _over(self, node: exp.Window, *, ties: bool, frame: str = "") -> str:
        keys = self._partition(node)
        order = node.args.get("order")
        items = [order_text(o, self._sorted) for o in order.expressions] if order is not None else []
        if ties:
            items += [f"{t} ASC NULLS LAST" for s in self.relation.scope.sources for t in s.ties]
        clauses = [
            f"PARTITION BY {', '.join(keys)}" if keys else "",
            f"ORDER BY {', '.join(items)}" if items else "",
            frame,
        ]
        return f" OVER ({' '.join(c for c in clauses if c)})"

    def _sorted(self, node: exp.Expr) -> str:
        return tried(self.rows.read(node), node)

    def _partition(self, node: exp.Window) -> list[str]:
        nodes = [n.unnest() for n in node.args.get("partition_by") or []]
        scope, unit = self.relation.scope, self.relation.unit
        if unit is not None and not any(scope.names_unit(n) for n in nodes):
            column = scope.sources[0].unit_name
            advice = Text(
                f"Write PARTITION BY {column}; RANK and other windows over groups work on the answer.",
                f"请写 PARTITION BY {column}；对各组排名等窗口作用于结果。",
            )
            construct = Text("A window over rows of everybody", "跨越所有人的窗口")
            raise UnitMissing(construct=construct, unit=unit.stands_for, where=where_of(node), advice=advice)
        own = [self.relation.unit_sql] if unit is not None else []
        return own + [self._sorted(n) for n in nodes if not scope.names_unit(n)]

    def _rank(self, function: exp.Expr, node: exp.Window) -> Term:
        require_arguments(function)
        _require_no_frame(node)
        name = _RANKS[type(function)]
        part = self.parts.add(f"{name}(){self._over(node, ties=name == 'row_number')}")
        found = self.within.counted(part, least=1)
        if name == "row_number" and len(self._partition(node)) == (self.relation.unit is not None):
            self.numbers.add(found.sql)
        return found

    def _shift(self, function: exp.Expr, node: exp.Window) -> Term:
        require_arguments(function, "this", "offset", "default")
        _require_no_frame(node)
        name = "lag" if isinstance(function, exp.Lag) else "lead"
        count = _offset(function.args.get("offset"), name)
        nodes = [n for n in (function.this, function.args.get("default")) if n is not None]
        terms = self.rows.alike(nodes, name.upper())
        value, *default = (tried(t, n) for t, n in zip(terms, nodes, strict=True))
        texts = [value, str(count), *default]
        part = self.parts.add(f"{name}({', '.join(texts)}){self._over(node, ties=True)}")
        return replace(hull(part, terms, nullable=True), literal=None)

    def _end(self, function: exp.Expr, node: exp.Window) -> Term:
        """The first or the last value; the last one of a frame that ends among equals would be anybody's choice."""
        require_arguments(function, "this")
        frame, name = _frame(node), "first_value" if isinstance(function, exp.FirstValue) else "last_value"
        if name == "last_value" and "ROWS" not in frame:
            whole = "ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING"
            advice = Text(f"Add {whole}, or use FIRST_VALUE.", f"请加上 {whole}，或使用 FIRST_VALUE。")
            raise refuse(Text("LAST_VALUE without ROWS", "没有 ROWS 的 LAST_VALUE"), node, advice)
        term = self.rows.read(function.this)
        part = self.parts.add(f"{name}({tried(term, function.this)}){self._over(node, ties=True, frame=frame)}")
        return replace(term, sql=part, nullable=True, literal=None)

    _readers: ClassVar[dict[type[exp.Expr], Callable[[Windowed, exp.Expr, exp.Window], Term]]] = {
        exp.RowNumber: _rank,
        exp.Rank: _rank,
        exp.DenseRank: _rank,
        exp.Lag: _shift,
        exp.Lead: _shift,
        exp.FirstValue: _end,
        exp.LastValue: _end,
    }


def _frame(node: exp.Window) -> str:
    """ROWS BETWEEN … AND …, rebuilt; "" for the default frame. A RANGE is read only where it says what the default says."""
    spec = node.args.get("spec")
    if spec is None:
        return ""
    require_arguments(spec, "kind", "start", "start_side", "end", "end_side")
    ends = [_bound(spec, "start"), _bound(spec, "end") if spec.args.get("end") else "CURRENT ROW"]
    kind = str(spec.args.get("kind")).upper()
    if kind == "ROWS":
        return f"ROWS BETWEEN {ends[0]} AND {ends[1]}"
    if (kind, *ends) == ("RANGE", "UNBOUNDED PRECEDING", "CURRENT ROW"):
        return ""
    raise refuse(
        Text(f"a {kind} frame", f"{kind} 窗口框架"),
        node,
        Text("Write ROWS BETWEEN … AND ….", "请写 ROWS BETWEEN … AND …。"),
    )


def _bound(spec: exp.Expr, name: str) -> str:
    value, side = spec.args[name], spec.args.get(f"{name}_side") or ""
    if isinstance(value, str):
        return f"{value} {side}".strip().upper()
    return f"{_offset(value, 'ROWS')} {side}".upper()


def _offset(node: exp.Expr | None, name: str) -> int:
    """How many rows away: a whole number that stands in the text."""
    if node is None:
        return 1
    text = node.name if isinstance(node, exp.Literal) and not node.args.get("is_string") else ""
    if not text.isdecimal() or len(text) > 9 or int(text) > _MAX_OFFSET:
        construct = Text(f"this number of rows in {name}", f"{name} 中的这个行数")
        raise refuse(
            construct, node, Text(f"Write a whole number up to {_MAX_OFFSET}.", f"请写不超过 {_MAX_OFFSET} 的整数。")
        )
    return int(text)


def _require_no_frame(node: exp.Window) -> None:
    if node.args.get("spec") is not None:
        raise refuse(Text("a frame in a window that has none", "不需要框架的窗口中的框架"), node)


def numbered(node: exp.Expr, read: Callable[[exp.Expr], bool]) -> int | None:
    """How many rows of a unit `number = n`, `<= n` or `< n` leaves, for what `read` says numbers them; None otherwise."""
    if not isinstance(node, exp.EQ | exp.LTE | exp.LT) or not isinstance(node.expression, exp.Literal):
        return None
    text = node.expression.name
    if node.expression.args.get("is_string") or not text.isdecimal() or len(text) > 9 or not read(node.this):
        return None
    return 1 if isinstance(node, exp.EQ) else max(1, int(text) - isinstance(node, exp.LT))

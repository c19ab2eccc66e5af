"""The asker's own columns, HAVING, windows and ORDER BY, as DuckDB text over noisy cells alone.

Owns post-processing: everything here reads keys that are public (or were selected) and statistics that already carry noise,
so it costs nothing and can be any total SQL (post-processing immunity: Dwork & Roth 2014, Proposition 2.1). It never sees a
table. Windows are those of the answer (`AnswerWindow`); what rows of a table would be in a window is not spelled here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Protocol

from sqlglot import exp

from privacy.errors import Text
from privacy.facts import Kind
from privacy.sql.expressions import AGGREGATES, Reader
from privacy.sql.parse import refuse, require_arguments, where_of
from privacy.sql.problems import NotGrouped, SqlRefused
from privacy.sql.terms import Term

MAX_FRAME = 1_000_000
_NESTED = Text("a window within a window", "窗口函数中的窗口函数")
_IN_HAVING = Text("a window in HAVING", "HAVING 中的窗口函数")
_QUALIFY = Text("Put the condition behind QUALIFY.", "请将条件写在 QUALIFY 之后。")
_ACCEPTED = (
    "row_number, rank, dense_rank, percent_rank, cume_dist, ntile, lag, lead, first_value, last_value, nth_value, "
    "sum, avg, min, max, count"
)
#: Functions of a row's place. Rows that are alike have one rank, but follow each other in a numbering.
_PLACES: dict[type[exp.Expr], tuple[str, Kind]] = {
    exp.RowNumber: ("row_number", Kind.INTEGER),
    exp.Rank: ("rank", Kind.INTEGER),
    exp.DenseRank: ("dense_rank", Kind.INTEGER),
    exp.PercentRank: ("percent_rank", Kind.NUMBER),
    exp.CumeDist: ("cume_dist", Kind.NUMBER),
}
_VALUES: dict[type[exp.Expr], str] = {
    exp.FirstValue: "first_value",
    exp.LastValue: "last_value",
    exp.NthValue: "nth_value",
}
_NEIGHBOURS: dict[type[exp.Expr], str] = {exp.Lag: "lag", exp.Lead: "lead"}
_TOTALS: dict[type[exp.Expr], str] = {exp.Sum: "sum", exp.Avg: "avg", exp.Min: "min", exp.Max: "max"}


@dataclass(frozen=True, kw_only=True, slots=True)
class AnswerWindow:
    """One function over the rows of an answer, in parts of DuckDB text."""

    function: str
    partition: tuple[str, ...]
    order: tuple[str, ...]
    frame: str

    def sql(self, *apart: str) -> str:
        """The text; rows that differ in `apart` are in no window together."""
        by = (*apart, *self.partition)
        parts = [f"PARTITION BY {', '.join(by)}"] if by else []
        parts += [f"ORDER BY {', '.join(self.order)}"] if self.order else []
        parts += [self.frame] if self.frame else []
        return f"{self.function} OVER ({' '.join(parts)})"


class Aggregates(Protocol):
    """What an answer knows of the rows below it: their reader, and the terms of aggregates of them."""

    rows: Reader

    def read(self, node: exp.Expr) -> Term:
        """The value of an aggregate, or of one with FILTER. Raises a `SqlRefused`."""


@dataclass(kw_only=True)
class AnswerScope:
    """Names of an answer: grouping keys, aggregates (each becomes noisy statistics) and the aliases of the SELECT list.

    `keys` maps the row text of a key to its term over the noisy cells. `windows` grows as they are met; the first one is
    the column w0 of the rows that HAVING leaves, and so on. `windowed` are the aliases that hold one.
    """

    aggregates: Aggregates
    keys: dict[str, Term]
    accepted: tuple[type[exp.Expr], ...] = AGGREGATES
    aliases: dict[str, Term] = field(default_factory=dict)
    windows: list[AnswerWindow] = field(default_factory=list)
    windowed: frozenset[str] = frozenset()
    _closed: Text | None = None

    def known(self, node: exp.Expr) -> Term | None:
        """An aggregate, a window, or a whole expression that is a grouping key."""
        if isinstance(node, exp.Window):
            return self._window(node)
        if type(node) in self.accepted or isinstance(node, exp.Filter):
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
            if node.name.casefold() in self.windowed:
                self._require_open(node)
            return alias
        if not self.aliases or not node.table:
            self.aggregates.rows.scope.column(node)  # an unknown name, or the unit's identifier, is refused as such
        raise NotGrouped(name=node.name, where=where_of(node))

    def ties(self) -> list[str]:
        """The texts that put rows in order which are alike otherwise."""
        return [t.sql for t in self.keys.values()]

    @contextmanager
    def without_windows(self, place: Text = _IN_HAVING) -> Iterator[None]:
        """While this lasts, windows and what is made of them are refused: they are computed later."""
        before, self._closed = self._closed, place
        try:
            yield
        finally:
            self._closed = before

    def _require_open(self, node: exp.Expr) -> None:
        if self._closed is not None:
            raise refuse(self._closed, node, _QUALIFY if self._closed is _IN_HAVING else _window_advice())

    def _window(self, node: exp.Window) -> Term:
        self._require_open(node)
        with self.without_windows(_NESTED):
            window, term = _WindowReader(self).read(node)
        if window not in self.windows:
            self.windows.append(window)
        return replace(term, sql=term.sql.format(w=f"w{self.windows.index(window)}"))


def _window_advice() -> Text:
    return Text(
        f"Accepted: {_ACCEPTED}, over aggregates and keys: rank() OVER (ORDER BY COUNT(*) DESC).",
        f"可用：{_ACCEPTED}，作用于聚合与分组键：rank() OVER (ORDER BY COUNT(*) DESC)。",
    )


class _WindowReader:
    """Compiles one window. Rows that are alike in its order follow the keys, wherever their order shows in the result."""

    def __init__(self, scope: AnswerScope) -> None:
        self.reader = Reader(scope)
        self.keys = [f"{text} ASC NULLS LAST" for text in scope.ties()]

    def read(self, node: exp.Window) -> tuple[AnswerWindow, Term]:
        """The window, and the term of its result, in which `{w}` stands for the window's column."""
        if node.args.get("alias") is not None:
            raise refuse(
                Text("a named window", "命名窗口"), node, Text("Write it behind OVER.", "请将其写在 OVER 之后。")
            )
        require_arguments(node, "this", "partition_by", "order", "spec", "over")
        partition = tuple(self._total(p) for p in node.args.get("partition_by") or [])
        ordered = node.args.get("order")
        if ordered is not None:
            require_arguments(ordered, "expressions")
        order = tuple(order_text(item, self._sorted) for item in (ordered.expressions if ordered is not None else []))
        frame = _frame(node.args.get("spec"))
        function, term, follows_keys = self._function(node.this, order, frame)
        ties = tuple(self.keys) if follows_keys else ()
        return AnswerWindow(function=function, partition=partition, order=(*order, *ties), frame=frame), term

    def _total(self, node: exp.Expr) -> str:
        return f"TRY({self.reader.read(node).sql})"

    def _sorted(self, node: exp.Expr) -> str:
        if isinstance(node, exp.Literal):
            raise refuse(
                Text("a constant in the ORDER BY of a window", "窗口 ORDER BY 中的常量"),
                node,
                Text("Write the column itself.", "请直接写出该列。"),
            )
        return self._total(node)

    def _function(self, node: exp.Expr, order: tuple[str, ...], frame: str) -> tuple[str, Term, bool]:
        """The function's text, its result, and whether rows alike in the window's order must follow the keys."""
        nulls = " IGNORE NULLS" if isinstance(node, exp.IgnoreNulls) else ""
        inner = node.this if isinstance(node, exp.IgnoreNulls | exp.RespectNulls) else node
        if type(inner) in _VALUES:
            return self._value(inner, order, frame, nulls)
        if type(inner) in _NEIGHBOURS and not frame:
            return self._neighbour(inner, nulls)
        if nulls or (frame and (type(inner) in _PLACES or isinstance(inner, exp.Ntile | exp.Lag | exp.Lead))):
            raise refuse(
                Text("IGNORE NULLS or a frame of this window function", "该窗口函数的 IGNORE NULLS 或窗口范围"),
                node,
                Text("Leave it out: it would change nothing.", "请省略：它不起作用。"),
            )
        if type(inner) in _PLACES:
            require_arguments(inner)
            name, kind = _PLACES[type(inner)]
            return f"{name}()", Term(sql="{w}", kind=kind, nullable=False), name == "row_number"
        if isinstance(inner, exp.Ntile):
            return self._ntile(inner)
        return self._aggregate(inner, follows_keys=bool(frame))

    def _ntile(self, node: exp.Expr) -> tuple[str, Term, bool]:
        require_arguments(node, "this")
        parts = self.reader.constant(node.this, "NTILE", 0)
        if parts < 1:
            raise refuse(
                Text("NTILE of no parts", "NTILE 的份数小于 1"), node, Text("Write ntile(4).", "请写成 ntile(4)。")
            )
        return f"ntile({parts})", Term(sql="{w}", kind=Kind.INTEGER, nullable=False), True

    def _neighbour(self, node: exp.Expr, nulls: str) -> tuple[str, Term, bool]:
        require_arguments(node, "this", "offset", "default")
        name, default = _NEIGHBOURS[type(node)], node.args.get("default")
        offset = self.reader.constant(node.args.get("offset"), name.upper(), 1)
        found = self.reader.alike([node.this, *([default] if default is not None else [])], name.upper())
        if found[0].kind is None:
            raise refuse(Text(f"{name.upper()} of NULL", f"对 NULL 的 {name.upper()}"), node, _window_advice())
        kind = Kind.NUMBER if {t.kind for t in found} == {Kind.INTEGER, Kind.NUMBER} else found[0].kind
        values = [f"CAST(TRY({t.sql}) AS DOUBLE)" if kind is Kind.NUMBER else f"TRY({t.sql})" for t in found]
        arguments = ", ".join([values[0], str(offset), *values[1:]])
        return f"{name}({arguments}{nulls})", Term(sql="{w}", kind=kind), True

    def _value(self, node: exp.Expr, order: tuple[str, ...], frame: str, nulls: str) -> tuple[str, Term, bool]:
        """FIRST_VALUE and its kin. Without a frame they see rows alike in the window's order together, as SQL has it."""
        counted = isinstance(node, exp.NthValue)
        require_arguments(node, "this", *(["offset"] if counted else []))
        term = self.reader.read(node.this)
        arguments = [f"TRY({term.sql})"]
        if counted:
            arguments.append(str(self.reader.constant(node.args.get("offset"), "NTH_VALUE", 1)))
        sorting = (*order, *self.keys)
        within = f" ORDER BY {', '.join(sorting)}" if sorting and not frame else ""
        return f"{_VALUES[type(node)]}({', '.join(arguments)}{within}{nulls})", _column_of(term), bool(frame)

    def _aggregate(self, node: exp.Expr, *, follows_keys: bool) -> tuple[str, Term, bool]:
        """Sums are floating point, which has no overflow, and exact up to 2^53."""
        where, inner = "", node
        if isinstance(node, exp.Filter):
            require_arguments(node, "this", "expression")
            inner = node.this
            where = f" FILTER (WHERE TRY({self.reader.of_kind(node.expression.this, 'FILTER', Kind.BOOLEAN).sql}))"
        if not isinstance(inner, exp.Sum | exp.Avg | exp.Min | exp.Max | exp.Count) or isinstance(
            inner.this, exp.Distinct
        ):
            name = inner.sql(dialect="duckdb", comments=False).partition("(")[0][:40].upper()
            raise refuse(Text(f"{name} with OVER", f"带 OVER 的 {name}"), node, _window_advice())
        require_arguments(inner, "this")
        if isinstance(inner, exp.Count):
            counted = "*" if inner.this is None or isinstance(inner.this, exp.Star) else self._total(inner.this)
            if isinstance(inner.this, exp.Star):
                require_arguments(inner.this)
            return f"count({counted}){where}", Term(sql="{w}", kind=Kind.INTEGER, nullable=False), follows_keys
        name = _TOTALS[type(inner)]
        if isinstance(inner, exp.Min | exp.Max):
            term = self.reader.read(inner.this)
            return f"{name}(TRY({term.sql})){where}", _column_of(term), follows_keys
        term = self.reader.numeric(inner.this, name.upper())
        whole = isinstance(inner, exp.Sum) and term.kind is Kind.INTEGER
        result = Term(sql="TRY_CAST({w} AS HUGEINT)", kind=Kind.INTEGER) if whole else Term(sql="{w}", kind=Kind.NUMBER)
        return f"{name}(CAST(TRY({term.sql}) AS DOUBLE)){where}", result, follows_keys


def _column_of(term: Term) -> Term:
    return Term(sql="{w}", kind=term.kind)


def _frame(spec: exp.Expr | None) -> str:
    """ROWS BETWEEN constants; "" for the frame that SQL takes by itself."""
    if spec is None:
        return ""
    require_arguments(spec, "kind", "start", "start_side", "end", "end_side")
    start = _bound(spec, "start")
    end = _bound(spec, "end") if spec.args.get("end") is not None else 0
    known = spec.args.get("kind") == "ROWS" and start is not None and end is not None and start <= end
    if not known or start == MAX_FRAME + 1 or end == -MAX_FRAME - 1:
        raise refuse(
            Text("this window frame", "该窗口范围"),
            spec,
            Text(
                "Leave it out, or count rows: ROWS BETWEEN 2 PRECEDING AND CURRENT ROW. RANGE and GROUPS are not accepted.",
                "请省略，或按行计数：ROWS BETWEEN 2 PRECEDING AND CURRENT ROW。不支持 RANGE 与 GROUPS。",
            ),
        )
    return f"ROWS BETWEEN {_bound_text(start or 0)} AND {_bound_text(end or 0)}"


def _bound(spec: exp.Expr, name: str) -> int | None:
    """Rows from the current one, beyond `MAX_FRAME` when unbounded; None when it is no constant."""
    value, side = spec.args.get(name), -1 if spec.args.get(f"{name}_side") == "PRECEDING" else 1
    if value == "CURRENT ROW":
        return 0
    if value == "UNBOUNDED":
        return side * (MAX_FRAME + 1)
    text = value.name if isinstance(value, exp.Literal) and not value.args.get("is_string") else ""
    return side * int(text) if text.isdecimal() and int(text) <= MAX_FRAME else None


def _bound_text(rows: int) -> str:
    if rows == 0:
        return "CURRENT ROW"
    distance = "UNBOUNDED" if abs(rows) > MAX_FRAME else str(abs(rows))
    return f"{distance} {'PRECEDING' if rows < 0 else 'FOLLOWING'}"


def opened(select: exp.Select) -> exp.Select:
    """The question in which SUMs over windows are no SUMs of rows; what they add up stays where it is."""
    if select.find(exp.Window) is None:
        return select
    found = select.copy()
    for window in list(found.find_all(exp.Window)):
        inner = window.this.this if isinstance(window.this, exp.Filter) else window.this
        if isinstance(inner, exp.Sum):
            inner.replace(exp.Paren(this=inner.this))
    return found


def order_text(ordered: exp.Expr, read: Callable[[exp.Expr], str]) -> str:
    """One ORDER BY item; where NULLs go is always written out."""
    if not isinstance(ordered, exp.Ordered):
        raise refuse(Text("this ORDER BY", "该 ORDER BY"), ordered)
    require_arguments(ordered, "this", "desc", "nulls_first")
    direction = "DESC" if ordered.args.get("desc") else "ASC"
    nulls = "FIRST" if ordered.args.get("nulls_first") else "LAST"
    return f"{read(ordered.this)} {direction} NULLS {nulls}"

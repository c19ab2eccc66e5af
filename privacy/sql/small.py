"""Small tables of plain values, and the rows that FROM and WHERE make of them: noisy cells beside public rows.

Owns the nouns of questions around an answer (`Table`, `Column`) and the text of FROM, joins and WHERE there. Nothing here is
private and nothing costs. Three things are kept all the same. Expressions are those of `privacy.sql.expressions`, and no other
text of the asker gets into SQL. The number of rows of every step is bounded by public facts before anything runs, so that no join
can take the worker down. And each row has a *name*, which is the same whatever the noise: the cell, the public rows it was joined
with, the keys of its group. By it a row is found again when the noise is drawn again (`privacy.redraw`). A column is `fixed` when
it is a function of the row's name; fixed columns are keys of the final answer, and have no interval.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from sqlglot import exp

from privacy.errors import Text
from privacy.facts import Kind
from privacy.sql.expressions import Reader
from privacy.sql.finish import AnswerScope
from privacy.sql.joins import conjuncts, require_joins
from privacy.sql.membership import Beside
from privacy.sql.parse import refuse, require_arguments, require_clauses, where_of
from privacy.sql.plan import Average
from privacy.sql.problems import AmbiguousColumn, JoinNeedsCondition, TooManyParts, UnknownColumn
from privacy.sql.selects import names_behind, require_no_aggregate
from privacy.sql.shape import MAX_OUTPUTS
from privacy.sql.terms import Term

if TYPE_CHECKING:
    from privacy.sql.around import Around, Scope

#: Rows of all steps of a question around an answer, and characters of one step.
MAX_AROUND_ROWS = 4_000_000
MAX_AROUND_TEXT = 2**18
#: The columns that say which answer a row comes from, and which cell of it.
LOCATION = ("org", "own")
_ONE_ROW = Text(
    "Write an aggregate without GROUP BY, or LIMIT 1, and one column.",
    "请写不带 GROUP BY 的聚合，或 LIMIT 1，且只选一列。",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Column:
    """One column of a small table. `term` has the bare name o<i> for its text.

    `statistic` is set when its values are exactly that statistic's noisy values, `average` when they are exactly that AVG, of the
    answers at the `places`, one or several of which rows come from; `own`: how exact a value is differs from cell to cell.
    `repeats` is the most rows that share one value.
    """

    name: str
    term: Term
    fixed: bool
    statistic: str | None
    average: Average | None = None
    places: tuple[int, ...] = ()
    own: bool = False
    repeats: int | None = None

    def lost(self) -> Column:
        """The column where a row no longer says which cell it comes from."""
        known = len(self.places) == 1 and not self.own
        return self if known else replace(self, statistic=None, average=None, places=())


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """A query as a small table: `sql` yields `row`, the name of each row, then o0, o1, …

    `loose` is `sql` without what only leaves rows out. The table has at most `rows` rows, all steps together `work`. It is
    `noisy` when it depends on an answer. The columns at the places `unique`, together, name a row. `used` collects what a stored
    table has to hold. Where it is `located`, `sql` also yields, behind the name, which answer a row comes from (`org`) and which
    cell of it (`own`).
    """

    sql: str
    loose: str
    row: str
    columns: tuple[Column, ...]
    rows: int
    work: int
    noisy: bool
    unique: frozenset[int] | None
    used: set[int] | None = None
    located: bool = False

    def text(self, *, loose: bool = False) -> str:
        """The table as an item of FROM."""
        return self.sql if self.used is not None else f"({self.loose if loose else self.sql})"


def require_small(table: Table) -> Table:
    """Refuse what would take more rows, or more text, than an answer is worth."""
    for count, part, limit in (
        (table.work, Text("rows around its answer", "行（结果之外的计算）"), MAX_AROUND_ROWS),
        (len(table.sql), Text("characters around its answer", "个字符（结果之外，编译后）"), MAX_AROUND_TEXT),
        (len(table.columns), Text("columns", "列"), MAX_OUTPUTS),
    ):
        if count > limit:
            raise TooManyParts(count=count, part=part, limit=limit)
    return table


def renamed(table: Table, node: exp.Expr) -> Table:
    """The names that stand behind an alias, in brackets."""
    names = names_behind(node, len(table.columns))
    columns = [replace(c, name=name) for c, name in zip(table.columns, names, strict=False)]
    return replace(table, columns=(*columns, *table.columns[len(names) :]))


def _existence(part: exp.Expr) -> exp.Exists | None:
    """The EXISTS of a condition that is one, or says there is none."""
    inner = part.this if isinstance(part, exp.Not) else part
    inner = inner.unnest()
    return inner if isinstance(inner, exp.Exists) else None


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """One item of FROM: the asker's name for it, ours, and the table."""

    alias: str
    tag: str
    table: Table

    @property
    def columns(self) -> Sequence[Column]:
        """The table's columns."""
        return self.table.columns


@dataclass(kw_only=True)
class Rows:
    """The rows of FROM, and their names. `used` are the columns that some text names: t0_o1 for t0.o1, which is joined.

    `within` is set while the condition of a join is read, where a column has its name in FROM. `unnamed` are the tags of tables
    in which LEFT JOIN finds at most one row: whether it does may hang on the noise, and the row is the same either way. Rows that
    are `grouped` are not shown themselves.
    """

    scope: Scope
    around: Around
    sources: list[Place] = field(default_factory=list)
    merged: set[tuple[str, str]] = field(default_factory=set)
    joins: list[tuple[str, Place, str]] = field(default_factory=list)
    scalars: list[str] = field(default_factory=list)
    used: dict[str, str] = field(default_factory=dict)
    where: str = ""
    count: int = 1
    work: int = 0
    noisy: bool = False
    lookups: bool = True
    unnamed: set[str] = field(default_factory=set)
    within: bool = False
    grouped: bool = False

    # --- names ----------------------------------------------------------------------------------------------------------

    def known(self, node: exp.Expr) -> Term | None:
        """A subquery of one value."""
        return self.scalar(node) if isinstance(node, exp.Subquery) and not self.within else None

    def column(self, node: exp.Column) -> Term:
        """The term of a column."""
        place, i = self.find(node)
        term = place.columns[i].term
        return term if term.kind is None else replace(term, sql=self._text(place, i))

    def find(self, node: exp.Column) -> tuple[Place, int]:
        """Where a column comes from."""
        require_arguments(node, "this", "table")
        found = self.places(node)
        if not found:
            listing = ", ".join(f"{p.alias}.{c.name}" for p in self.sources for c in p.columns)
            raise UnknownColumn(name=node.name, where=where_of(node), allowed=listing)
        if len(found) > 1 and any((node.name.casefold(), p.tag) not in self.merged for p, _ in found):
            choices = ", ".join(f"{p.alias}.{p.columns[i].name}" for p, i in found)
            raise AmbiguousColumn(name=node.name, where=where_of(node), allowed=choices)
        return found[0]

    def fixed(self, place: Place, i: int) -> bool:
        """Whether a column is a function of the row's name."""
        return place.columns[i].fixed and not (place.tag in self.unnamed and place.table.noisy)

    def has(self, node: exp.Column) -> bool:
        """True when there is a column of that name."""
        return bool(self.places(node))

    def places(self, node: exp.Column) -> list[tuple[Place, int]]:
        """Every column of that name."""
        name, table = node.name.casefold(), node.table.casefold()
        places = [p for p in self.sources if not table or p.alias.casefold() == table]
        return [(p, i) for p in places for i, c in enumerate(p.columns) if c.name.casefold() == name]

    def _text(self, place: Place, i: int) -> str:
        if place.table.used is not None:
            place.table.used.add(i)
        dotted, flat = f"{place.tag}.o{i}", f"{place.tag}_o{i}"
        if self.within:
            return dotted
        self.used[flat] = dotted
        return flat

    def subquery(self, node: exp.Expr) -> Table:
        """A subquery within an expression."""
        found = self.around.table(node, self.scope)
        self.noisy = self.noisy or found.noisy
        self.work += found.work
        return found

    def scalar(self, node: exp.Expr) -> Term:
        """A subquery of one row and one column, as a column beside every row; without a row it is NULL."""
        require_arguments(node, "this")
        table = self.subquery(node)
        if len(table.columns) != 1 or table.rows > 1:
            raise refuse(Text("a subquery of several values", "含有多个值的子查询"), node, _ONE_ROW)
        tag = f"q{len(self.scalars)}"
        self.scalars.append(f" LEFT JOIN {table.text()} AS {tag} ON TRUE")
        self.used[f"{tag}_o0"] = f"{tag}.o0"
        return replace(table.columns[0].term, sql=f"{tag}_o0", nullable=True, literal=None)

    # --- FROM -----------------------------------------------------------------------------------------------------------

    def read(self, select: exp.Select) -> None:
        """FROM, its joins, and WHERE."""
        origin, joins = select.args.get("from_"), select.args.get("joins") or []
        require_joins(joins)
        where = select.args.get("where")
        parts = conjuncts(where.this) if where is not None else []
        filters = [p for p in parts if _existence(p) is not None]
        parts = [p for p in parts if p not in filters]
        if origin is not None:
            self._add(self._place(origin.this), "", "", [])
        for join in joins:
            self._join(join, parts)
        for part in filters:
            self._exists(part)
        self.work += self.count
        if where is not None:
            require_no_aggregate(where)
            left = parts if filters else [where.this]
            self.where = " AND ".join(self.condition(part, "WHERE", self) for part in left)

    def _place(self, node: exp.Expr) -> Place:
        tag = f"t{len(self.sources) + sum(kind.endswith('I JOIN') for kind, _, _ in self.joins)}"
        if isinstance(node, exp.Subquery) and isinstance(node.this, exp.Query):
            require_arguments(node, "this", "alias")
            table = renamed(self.around.table(node.this, self.scope), node)
        elif isinstance(node, exp.Table) and isinstance(node.this, exp.Identifier):
            table = self.around.named(node, self.scope)
        else:
            advice = Text("Write a table or a subquery in FROM.", "请在 FROM 中写表或子查询。")
            raise refuse(Text("this item of FROM", "FROM 中的这一项"), node, advice)
        alias = node.alias or node.name or f"({tag})"
        if any(p.alias.casefold() == alias.casefold() for p in self.sources):
            raise refuse(Text(f"the name {alias} for two tables", f"两个表同名 {alias}"), node)
        self.noisy = self.noisy or table.noisy
        self.work += table.work
        return Place(alias=alias, tag=tag, table=table)

    def _join(self, join: exp.Join, where: list[exp.Expr]) -> None:
        place, kind = self._place(join.this), join.kind.upper()
        kind = kind if kind in ("SEMI", "ANTI") else join.side.upper()
        before, merged = list(self.sources), set(self.merged)
        self.sources.append(place)
        on = join.args.get("on")
        held = [self._using(name, before, place) for name in join.args.get("using") or []]
        held += conjuncts(on) if on is not None else []
        text = self._text_of(held)
        if kind and not held:
            raise JoinNeedsCondition(kind=f"{kind} JOIN", name=place.alias)
        self.sources = before
        if kind in ("SEMI", "ANTI"):
            self.merged = merged
            self.joins.append((f"{kind} JOIN", place, text))
            return
        self._add(place, f"{kind} JOIN" if kind else "JOIN", text, held if kind else [*held, *where])

    def _text_of(self, held: list[exp.Expr]) -> str:
        """The condition of a join; columns have their names in FROM there."""
        self.within = True
        text = " AND ".join(self._held(part) for part in held)
        self.within = False
        return text

    def _exists(self, part: exp.Expr) -> None:
        """[NOT] EXISTS over one table or subquery, which is a semi or an anti join. Names of its own come first."""
        node = _existence(part)
        select = node.this.unnest() if node is not None else None
        if not isinstance(select, exp.Select):
            raise refuse(Text("EXISTS over a combination of SELECTs", "对组合查询使用 EXISTS"), part)
        require_clauses(select, "EXISTS")
        origin, where = select.args.get("from_"), select.args.get("where")
        if origin is None or select.args.get("joins"):
            advice = Text("Join them in a subquery in FROM.", "请在 FROM 的子查询中将其连接。")
            raise refuse(Text("EXISTS over other than one table", "对多个表或不含表的查询使用 EXISTS"), part, advice)
        place, before = self._place(origin.this), self.sources
        condition = where.this.copy() if where is not None else exp.true()
        own = {c.name.casefold() for c in place.columns}
        for column in condition.find_all(exp.Column):
            if not column.table and column.name.casefold() in own:
                column.set("table", exp.to_identifier(place.alias, quoted=True))
        self.sources = [*before, place]
        self.within = True
        for item in select.expressions:  # never computed, but what is not understood is refused there too
            if not isinstance(item, exp.Star):
                Reader(self).read(item.unalias())
        text = self._text_of(conjuncts(condition))
        self.sources = before
        self.joins.append((f"{'ANTI' if isinstance(part, exp.Not) else 'SEMI'} JOIN", place, text))

    def _add(self, place: Place, kind: str, text: str, held: list[exp.Expr]) -> None:
        self.sources.append(place)
        most = self._fan_out(place, held) if kind else place.table.rows
        self.lookups = self.lookups and (most <= 1 or not kind)
        if kind == "LEFT JOIN" and most <= 1:
            self.unnamed.add(place.tag)
        self.count *= max(1, most) if kind == "LEFT JOIN" else most
        self.joins.append((kind, place, text))

    def _fan_out(self, place: Place, held: list[exp.Expr]) -> int:
        """How many rows of a place may meet one row before it, by the equalities that are held."""
        met, most = set(), place.table.rows
        for part in held:
            pairs = [(part.this, part.expression), (part.expression, part.this)] if isinstance(part, exp.EQ) else []
            for own, other in pairs:
                found = self.places(own) if isinstance(own, exp.Column) else []
                apart = [self.places(c) for c in other.find_all(exp.Column)]
                if not found or found[-1][0] is not place or any(not p or p[-1][0] is place for p in apart):
                    continue
                met.add(found[-1][1])
                repeats = place.columns[found[-1][1]].repeats
                most = most if repeats is None else min(most, repeats)
        return 1 if place.table.unique is not None and place.table.unique <= met else most

    def _using(self, name: exp.Expr, before: list[Place], place: Place) -> exp.Expr:
        """The equality that USING stands for; from here on the name means the first of both."""
        bare = exp.Column(this=name)
        self.sources = before
        left, i = self.find(bare)
        self.sources = [place]
        self.find(bare)
        self.sources = [*before, place]
        self.merged |= {(name.name.casefold(), left.tag), (name.name.casefold(), place.tag)}
        quoted = [exp.to_identifier(p.alias, quoted=True) for p in (left, place)]
        column = exp.to_identifier(left.columns[i].name, quoted=True)
        sides = [exp.Column(this=this, table=table) for this, table in zip((column, name), quoted, strict=True)]
        return exp.EQ(this=sides[0], expression=sides[1])

    def _held(self, part: exp.Expr) -> str:
        term = Reader(self).of_kind(part, "ON", Kind.BOOLEAN)
        sides = isinstance(part, exp.EQ) and all(isinstance(s, exp.Column) for s in (part.this, part.expression))
        return term.sql if sides else f"TRY({term.sql})"  # comparing columns cannot fail, and the optimizer sees it

    # --- conditions -----------------------------------------------------------------------------------------------------

    def condition(self, node: exp.Expr, clause: str, scope: AnswerScope | Rows) -> str:
        """A condition as total text. IN over a subquery stands beside what is tried, because DuckDB tries no subquery."""
        if not any(n.args.get("query") for n in node.find_all(exp.In)):
            return f"TRY({Reader(scope).of_kind(node, clause, Kind.BOOLEAN).sql})"
        if isinstance(node, exp.Paren):
            return self.condition(node.this, clause, scope)
        if isinstance(node, exp.Not):
            return f"(NOT {self.condition(node.this, clause, scope)})"
        if isinstance(node, exp.And | exp.Or):
            sides = [self.condition(n, clause, scope) for n in (node.this, node.expression)]
            return f"({f' {node.key.upper()} '.join(sides)})"
        if not isinstance(node, exp.In):
            raise refuse(Text("IN (SELECT …) inside an expression", "表达式内部的 IN (SELECT …)"), node)
        require_arguments(node, "this", "query")
        table = self.subquery(node.args["query"])
        if len(table.columns) != 1:
            raise refuse(Text("IN with unlike numbers of columns", "两边列数不同的 IN"), node)
        marker = exp.Null()
        reader = Reader(Beside(scope=scope, node=marker, term=table.columns[0].term))
        left, right = reader.alike([node.this, marker], "IN")
        return f"(TRY({left.sql}) IN (SELECT {right.sql} FROM {table.text()}))"

    # --- text -----------------------------------------------------------------------------------------------------------

    @property
    def located(self) -> Place | None:
        """The item of FROM that says of each row which cell it comes from: the first that does."""
        return next((p for p in self.sources if p.table.located), None)

    def text(self, *, loose: bool = False) -> str:
        """`rid` and the columns that are used, as an item of FROM. `loose`: rows may stand there that would be left out."""
        names = [f"{p.tag}.{p.table.row}" for p in self.sources if p.tag not in self.unnamed]
        rid = f"hash({', '.join(names)})" if len(names) > 1 else names[0] if names else "0"
        columns = [f"{rid} AS rid", *(f"{self.located.tag}.{name} AS {name}" for name in LOCATION if self.located)]
        columns += [f"{dotted} AS {flat}" for flat, dotted in self.used.items()]
        parts = [] if self.joins else ["(SELECT 1) AS z"]
        for kind, place, on in self.joins:
            if loose and kind in ("SEMI JOIN", "ANTI JOIN"):
                continue
            item = f"{place.table.text(loose=loose and kind in ('', 'JOIN'))} AS {place.tag}"
            head = f" {kind if on else 'CROSS JOIN'} " if kind else ""
            parts.append(f"{head}{item}{f' ON {on}' if on else ''}")
        rows = f"(SELECT {', '.join(columns)} FROM {''.join([*parts, *self.scalars])})"
        return f"(SELECT * FROM {rows} WHERE {self.where})" if self.where and not loose else rows

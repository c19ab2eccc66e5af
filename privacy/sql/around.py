"""A question around an answer: SELECTs over one noisy subquery and public tables.

Owns what may stand where. Exactly one subquery aggregates over private rows, the *answer*; it is compiled by the same rules as a
question of its own (`privacy.sql.compile`), bounds, noise, minimum of units and all. Whatever stands around it is text over two
kinds of small tables: `noisy`, the cells of that answer, and `p0`, `p1`, …, rows of public tables. So it is post-processing
(Dwork & Roth 2014, Proposition 2.1): no choice of outer text can change the privacy loss, or reach a private row, because none is
among the tables it runs on. A query is one of three things, by what its FROM reads:

- PUBLIC: public tables alone;
- ROWS: rows of units (`privacy.sql.tracked`), which may stand inside the answer and nowhere else;
- ANSWER: rows of units, aggregated without the unit among the keys, or anything that reads such a query.

Two answers of which one is not word for word the other's plan are refused: each would need a price of its own. A name that WITH
gave to an answer is poison where rows are tracked, so that it never stands for a private table of that name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import IntEnum

from sqlglot import exp

from privacy.errors import Text
from privacy.facts import Kind, TableFacts
from privacy.sql.bound import MAX_CELLS
from privacy.sql.expressions import quote_name
from privacy.sql.outer import combined, selected
from privacy.sql.parse import refuse, require_arguments, where_of
from privacy.sql.plan import TYPES, Output, Plan, PublicRows
from privacy.sql.problems import AnswerBesideRows, PublicTooLarge, SqlRefused, TooManyCells, TwoAnswers, UnknownTable
from privacy.sql.resolve import stored
from privacy.sql.selects import aggregate_in, group_nodes
from privacy.sql.shape import redrawn_cell
from privacy.sql.small import Column, Table, renamed, require_small
from privacy.sql.terms import Term
from privacy.sql.tracked import Names, named_queries

#: Rows of public tables that are read beside an answer, all tables together: they travel as plain values.
MAX_PUBLIC_ROWS = 100_000


class Reads(IntEnum):
    """What a query reads, from least to most."""

    PUBLIC = 0
    ROWS = 1
    ANSWER = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Core:
    """The answer in the middle: its plan, and its columns as text over noisy cells.

    `loose` is `sql` without what only leaves rows out at its end. `domains` has the number of values of each key (None: private),
    `rows` is the most rows it may have.
    """

    plan: Plan
    sql: str
    loose: str
    terms: tuple[Term, ...]
    domains: tuple[int | None, ...]
    rows: int


Answering = Callable[[exp.Select, Names], Core]
"""Compiles an answer, with the names that are known around it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Scope:
    """The names that a query may use: `names` for tracked rows, `queries` for what WITH named, each with its own scope."""

    names: Names
    queries: Mapping[str, tuple[exp.CTE, Scope]] = field(default_factory=dict)


@dataclass(slots=True)
class _Public:
    """A public table in use: the columns that some text names, by their place."""

    name: str
    facts: TableFacts
    used: set[int] = field(default_factory=set)


class Around:
    """Reads one question. `answer` compiles the query in the middle."""

    def __init__(self, names: Names, answer: Answering) -> None:
        self.scope = Scope(names=names)
        self.answer = answer
        self.core: Core | None = None
        self.public: dict[str, _Public] = {}
        # A node is kept beside what was found of it, so that its id stays its own.
        self._within: dict[int, tuple[exp.Expr, Scope]] = {}
        self._reads: dict[int, tuple[exp.Expr, Reads]] = {}
        self._tables: dict[int, tuple[exp.Expr, Table]] = {}

    # --- what a query reads ---------------------------------------------------------------------------------------------

    def encloses(self, query: exp.Expr) -> bool:
        """True when the question stands around an answer, and is not the answer itself. Raises a `SqlRefused`."""
        if not isinstance(query, exp.Select | exp.SetOperation):
            return False
        if isinstance(query, exp.Select) and self._from(query, self.within(query, self.scope)) is Reads.ROWS:
            return False
        return self.reads(query, self.scope) is Reads.ANSWER

    def reads(self, query: exp.Expr, scope: Scope) -> Reads:
        """What a query reads."""
        query = query.unnest()
        if id(query) not in self._reads:
            self._reads[id(query)] = query, self._read(query, self.within(query, scope))
        return self._reads[id(query)][1]

    def _read(self, query: exp.Expr, scope: Scope) -> Reads:
        if isinstance(query, exp.SetOperation):
            return max(self.reads(side, scope) for side in (query.this, query.expression))
        if not isinstance(query, exp.Select):
            return Reads.PUBLIC
        found = self._from(query, scope)
        if found is Reads.ROWS and _answers(query, scope):
            return Reads.ANSWER
        if found is Reads.PUBLIC and any(self.reads(q, scope) is Reads.ANSWER for q in _inside(query)):
            return Reads.ANSWER
        return found

    def _from(self, select: exp.Select, scope: Scope) -> Reads:
        """The most that an item of FROM reads; rows of units beside an answer are refused."""
        origin = select.args.get("from_")
        nodes = [n.this for n in ([origin] if origin else []) + (select.args.get("joins") or [])]
        found = {self._item(n, scope): n for n in nodes}
        if Reads.ROWS in found and Reads.ANSWER in found:
            raise self._beside(found[Reads.ROWS])
        return max(found, default=Reads.PUBLIC)

    def _item(self, node: exp.Expr, scope: Scope) -> Reads:
        if isinstance(node, exp.Subquery):
            return self.reads(node, scope)
        known = scope.queries.get(node.name.casefold()) if isinstance(node, exp.Table) else None
        if known is not None:
            return self.reads(known[0].this, known[1])
        table = scope.names.facts.table(node.name) if isinstance(node, exp.Table) else None
        return Reads.ROWS if table is not None and table.unit is not None else Reads.PUBLIC

    def within(self, query: exp.Expr, scope: Scope) -> Scope:
        """The names inside a query: those around it, and those of its WITH."""
        if id(query) not in self._within:
            for cte in named_queries(query):
                named = {**scope.queries, cte.alias.casefold(): (cte, scope)}
                scope = Scope(names=scope.names.named(cte), queries=named)
            self._within[id(query)] = query, scope
        return self._within[id(query)][1]

    def _beside(self, node: exp.Expr) -> AnswerBesideRows:
        units = [t.unit.stands_for for t in self.scope.names.facts.tables if t.unit is not None]
        return AnswerBesideRows(unit=units[0], where=where_of(node))

    # --- queries as small tables ----------------------------------------------------------------------------------------

    def table(self, query: exp.Expr, scope: Scope) -> Table:
        """A query as a table of plain values. Raises a `SqlRefused`."""
        while isinstance(query, exp.Subquery):
            require_arguments(query, "this", "alias")
            query = query.this
        if id(query) not in self._tables:
            self._tables[id(query)] = query, require_small(self._table(query, scope))
        return self._tables[id(query)][1]

    def _table(self, query: exp.Expr, outside: Scope) -> Table:
        scope = self.within(query, outside)
        self._require_understood(query, scope)
        if self.reads(query, outside) is Reads.ROWS:
            raise self._beside(query)
        if isinstance(query, exp.SetOperation):
            return combined(query, scope, self)
        if not isinstance(query, exp.Select):
            text = query.key.upper()
            raise refuse(Text(f"{text} around an answer", f"结果之外的 {text}"), query)
        if self._from(query, scope) is Reads.ROWS:
            return self._answer(query, outside)
        return selected(query, scope, self)

    def _require_understood(self, query: exp.Expr, scope: Scope) -> None:
        """What WITH names is read even where nobody uses it."""
        for cte in named_queries(query):
            refusal = scope.names.ctes[cte.alias.casefold()]
            if isinstance(refusal, SqlRefused):
                _, own = scope.queries[cte.alias.casefold()]
                if self.reads(cte.this, own) is Reads.ROWS:
                    raise refusal
                self.table(cte.this, own)

    def named(self, node: exp.Table, scope: Scope) -> Table:
        """A name in FROM: what WITH called so, else a public table."""
        known = scope.queries.get(node.name.casefold())
        if known is not None:
            cte, own = known
            return renamed(self.table(cte.this, own), cte)
        facts = scope.names.facts.table(node.name)
        if facts is None:
            allowed = ", ".join([*(t.name for t in scope.names.facts.tables), *scope.queries])
            raise UnknownTable(name=node.name, where=where_of(node), allowed=allowed)
        return self._public(facts)

    def _public(self, facts: TableFacts) -> Table:
        """A public table, as it will stand beside the noisy cells."""
        if facts.unit is not None:
            raise self._beside(exp.to_table(facts.name))
        entry = self.public.setdefault(facts.name, _Public(f"p{len(self.public)}", facts))
        count = sum(p.facts.rows or 0 for p in self.public.values())
        if facts.rows is None or count > MAX_PUBLIC_ROWS:
            unknown = Text("an unknown number of", "数量未知的")
            raise PublicTooLarge(
                name=facts.name, count=unknown if facts.rows is None else facts.rows, limit=MAX_PUBLIC_ROWS
            )
        columns = [
            Column(
                name=c.name,
                term=replace(c.term, sql=f"o{i}", column=None),
                fixed=True,
                statistic=None,
                repeats=c.max_repeats,
            )
            for i, c in enumerate(stored(facts.name, "t", facts).columns)
            if c.term is not None
        ]
        return Table(
            sql=entry.name,
            loose=entry.name,
            row="rid",
            columns=tuple(columns),
            rows=facts.rows,
            work=facts.rows,
            noisy=False,
            unique=None,
            used=entry.used,
        )

    def _answer(self, select: exp.Select, outside: Scope) -> Table:
        found = self.answer(select, outside.names)
        if self.core is not None and _named_apart(found.plan) != _named_apart(self.core.plan):
            raise TwoAnswers(where=where_of(select))
        self.core = self.core or found
        places = {t.sql: i for i, t in reversed(list(enumerate(found.terms)))}
        keys = [places.get(f"k{i}") for i in range(len(found.domains))]
        quantiles = {s.name for s in found.plan.statistics if s.order is not None}  # each cell's has a ± of its own
        columns = []
        for i, (term, output) in enumerate(zip(found.terms, found.plan.outputs, strict=True)):
            shown = Term(sql=f"o{i}" if term.kind else "NULL", kind=term.kind)
            repeats = _repeats(found, keys.index(i)) if i in keys else None
            statistic = None if output.statistic in quantiles else output.statistic
            columns.append(
                Column(name=output.name, term=shown, fixed=output.is_key, statistic=statistic, repeats=repeats)
            )
        unique = None if None in keys else frozenset(k for k in keys if k is not None)
        return Table(
            sql=found.sql,
            loose=found.loose,
            row="cell",
            columns=tuple(columns),
            rows=found.rows,
            work=found.rows,
            noisy=True,
            unique=unique,
        )

    # --- the plan -------------------------------------------------------------------------------------------------------

    def plan(self, query: exp.Expr) -> Plan:
        """The plan of a question that encloses an answer: that of the answer, finished otherwise."""
        found = self.table(query, self.scope)
        assert self.core is not None, "a query that reads an answer compiles it"
        if found.rows > MAX_CELLS:
            raise TooManyCells(count=found.rows, limit=MAX_CELLS)
        core = self.core.plan
        outputs = tuple(
            Output(name=c.name, kind=c.term.kind or Kind.TEXT, is_key=c.fixed, statistic=c.statistic)
            for c in found.columns
        )
        public = [_public_rows(p) for p in self.public.values()]
        return replace(
            core,
            question=query.sql(dialect="duckdb", comments=False),
            tables=tuple(dict.fromkeys([*core.tables, *self.public])),
            outputs=outputs,
            finish_sql=found.sql,
            spread_sql="",
            public=tuple(public),
            redraw_sql=_redraw_sql(core, outputs, found),
            around_rows=found.work,
        )


def _answers(select: exp.Select, scope: Scope) -> bool:
    """Whether a SELECT from rows of units aggregates over several of them."""
    parts = [*select.expressions, *(select.args.get(n) for n in ("having", "qualify", "order"))]
    if select.args.get("group") is None and all(p is None or aggregate_in(p) is None for p in parts):
        return False
    rows = scope.names.aside().relation(select).scope
    return not any(rows.names_unit(k.unnest()) for k in group_nodes(select, rows))


def _inside(select: exp.Select) -> Iterator[exp.Expr]:
    """The subqueries of a SELECT that stand in no FROM and no WITH of it."""
    joins = [j.args.get("on") for j in select.args.get("joins") or []]
    clauses = (select.args.get(n) for n in ("where", "group", "having", "qualify", "order"))
    for part in (*select.expressions, *joins, *clauses):
        if part is not None:
            yield from (n for n in part.walk(prune=lambda n: isinstance(n, exp.Query)) if isinstance(n, exp.Query))


def _named_apart(plan: Plan) -> Plan:
    """The plan without what does not change its answer."""
    return replace(plan, question="", tables=())


def _repeats(core: Core, key: int) -> int | None:
    """How many rows of the answer may share one value of a key."""
    most = 1
    for i, domain in enumerate(core.domains):
        if i != key:
            if domain is None:
                return None
            most *= domain
    return most


def _public_rows(public: _Public) -> PublicRows:
    columns, texts = [("rid", "BIGINT")], ["t.rowid AS rid"]
    for i, column in enumerate(stored(public.name, "t", public.facts).columns):
        if i in public.used and column.term is not None:
            columns.append((f"o{i}", TYPES[column.term.kind or Kind.TEXT]))
            texts.append(f"{column.term.sql} AS o{i}")
    sql = f"SELECT {', '.join(texts)} FROM {quote_name(public.facts.name)} AS t"
    return PublicRows(name=public.name, columns=tuple(columns), sql=sql)


def _redraw_sql(core: Plan, outputs: tuple[Output, ...], table: Table) -> str:
    """The question over cells whose noise is drawn again, each cell's by itself; "" when no column is derived.

    What the last clauses leave out is not left out: a row of the answer shall be seen in all draws, not only where it would
    have stayed.
    """
    derived = [f"TRY(CAST(o{i} AS DOUBLE)) AS o{i}" for i, o in enumerate(outputs) if o.is_redrawn]
    if not derived:
        return ""
    columns = [
        "n.cell",
        *(f"n.{k.name}" for k in core.keys),
        *(redrawn_cell(i, s) for i, s in enumerate(core.statistics)),
    ]
    noisy = f"SELECT {', '.join(columns)} FROM cells AS n CROSS JOIN turn AS z CROSS JOIN scales AS c"
    return f"WITH noisy AS ({noisy}) SELECT {table.row}, {', '.join(derived)} FROM ({table.loose})"

"""A question around answers: SELECTs over noisy subqueries and public tables.

Owns what may stand where. A subquery that aggregates over private rows is an *answer*; it is compiled by the same rules as a
question of its own (`privacy.sql.compile`), bounds, noise, minimum of units and all. Whatever stands around answers is text over
two kinds of small tables: `noisy`, `noisy1`, …, the cells of each answer, and `p0`, `p1`, …, rows of public tables. So it is
post-processing (Dwork & Roth 2014, Proposition 2.1): no choice of outer text can change the privacy loss, or reach a private row,
because none is among the tables it runs on.

Answers that ask the same of the same rows are one. Of m different ones each pays rho/m, and of those that select private keys
each an equal part of delta. Their losses add up to the price (Bun & Steinke 2016, Lemmas 2.3 and 8.2).

A query is one of three things, by what its FROM reads:

- PUBLIC: public tables alone;
- ROWS: rows of units (`privacy.sql.tracked`), which may stand inside the answer and nowhere else;
- ANSWER: rows of units, aggregated without the unit among the keys, or anything that reads such a query.

A name that WITH gave to an answer is poison where rows are tracked, so that it never stands for a private table of that name.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import IntEnum
from fractions import Fraction

from sqlglot import exp

from privacy.errors import Text
from privacy.facts import Kind, PrivacyUnit, TableFacts
from privacy.sql.bound import MAX_CELLS
from privacy.sql.expressions import quote_name
from privacy.sql.outer import combined, selected
from privacy.sql.parse import refuse, require_arguments, where_of
from privacy.sql.plan import TYPES, Grouping, Nested, Output, Plan, PublicRows, bare, place_name
from privacy.sql.problems import (
    AnswerBesideRows,
    DifferentUnits,
    PublicTooLarge,
    SqlRefused,
    TooManyCells,
    TooManyParts,
    UnknownTable,
)
from privacy.sql.resolve import stored
from privacy.sql.selects import aggregate_in
from privacy.sql.sets import expanded, is_layered, keys_of_sets
from privacy.sql.shape import Shape, redrawn_cell
from privacy.sql.small import LOCATION, Column, Table, renamed, require_small
from privacy.sql.terms import Term
from privacy.sql.tracked import Names, named_queries

#: Rows of public tables that are read beside an answer, all tables together: they travel as plain values.
MAX_PUBLIC_ROWS = 100_000
#: Different answers in one question: each reads the rows anew and gets its part of the price.
MAX_ANSWERS = 16


class Reads(IntEnum):
    """What a query reads, from least to most."""

    PUBLIC = 0
    ROWS = 1
    ANSWER = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Core:
    """An answer: its plan, and what becomes of its noisy cells. `keys` are the texts of its keys, `rows` the most rows it has."""

    plan: Plan
    unit: PrivacyUnit
    shape: Shape
    terms: tuple[Term, ...]
    keys: tuple[str, ...]
    rows: int

    @property
    def domains(self) -> tuple[int | None, ...]:
        """The number of values of each key; None for a private one."""
        return tuple(None if k.domain is None else len(k.domain) for k in self.plan.keys)

    def sql(self, place: int, *, choosing: bool) -> str:
        """Its rows as text over its cells; without `choosing` those too that only the end of it leaves out."""
        row = f"cell, {place} AS {LOCATION[0]}, cell AS {LOCATION[1]}"
        return self.shape.sql(place_name("noisy", place), row, [k.name for k in self.plan.keys], choosing=choosing)


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
        self.cores: list[Core] = []
        self.nested: list[Nested] = []
        self.public: dict[str, _Public] = {}
        # A node is kept beside what was found of it, so that its id stays its own.
        self._within: dict[int, tuple[exp.Expr, Scope]] = {}
        self._reads: dict[int, tuple[exp.Expr, Reads]] = {}
        self._tables: dict[int, tuple[exp.Expr, Table]] = {}
        self._placed: dict[int, int] = {}

    # --- what a query reads ---------------------------------------------------------------------------------------------

    def encloses(self, query: exp.Expr) -> bool:
        """True when the question stands around an answer, and is not the answer itself. Raises a `SqlRefused`."""
        if not isinstance(query, exp.Select | exp.SetOperation):
            return False
        if isinstance(query, exp.Select) and self._from(query, self.within(query, self.scope)) is Reads.ROWS:
            return is_layered(query)
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
        if isinstance(query, exp.Select) and is_layered(query) and self._from(query, scope) is Reads.ROWS:
            return self._sets(query, scope)
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
        at = self._place(found)
        self._placed[id(select)] = at
        places = {t.sql: i for i, t in reversed(list(enumerate(found.terms)))}
        keys = [places.get(f"k{i}") for i in range(len(found.domains))]
        quantiles = {s.name for s in found.plan.statistics if s.order is not None}
        columns = []
        for i, (term, output) in enumerate(zip(found.terms, found.plan.outputs, strict=True)):
            shown = Term(sql=f"o{i}" if term.kind else "NULL", kind=term.kind)
            repeats = _repeats(found, keys.index(i)) if i in keys else None
            told = output.statistic is not None or output.average is not None
            columns.append(
                Column(
                    name=output.name,
                    term=shown,
                    fixed=output.is_key,
                    statistic=output.statistic,
                    average=output.average,
                    places=(at,) if told else (),
                    own=output.average is not None or output.statistic in quantiles,
                    repeats=repeats,
                )
            )
        unique = None if None in keys else frozenset(k for k in keys if k is not None)
        return Table(
            sql=found.sql(at, choosing=True),
            loose=found.sql(at, choosing=False),
            row="cell",
            columns=tuple(columns),
            rows=found.rows,
            work=found.rows,
            noisy=True,
            unique=unique,
            located=True,
        )

    def _place(self, found: Core) -> int:
        """Which of the answers this one is; a further one when there is none that asks the same of the same rows."""
        known = [bare(c.plan) for c in self.cores]
        if bare(found.plan) in known:
            return known.index(bare(found.plan))
        first = self.cores[0] if self.cores else found
        if first.unit.space != found.unit.space:
            name, base = self._about(found.unit), self._about(first.unit)
            raise DifferentUnits(name=name, unit=found.unit.stands_for, base=base, own=first.unit.stands_for)
        if len(known) == MAX_ANSWERS:
            raise TooManyParts(count=MAX_ANSWERS + 1, part=Text("different answers", "个不同的结果"), limit=MAX_ANSWERS)
        self.cores.append(found)
        return len(known)

    def _about(self, unit: PrivacyUnit) -> str:
        """The tables about this kind of unit."""
        tables = self.scope.names.facts.tables
        return ", ".join(t.name for t in tables if t.unit is not None and t.unit.space == unit.space)

    def _sets(self, select: exp.Select, scope: Scope) -> Table:
        """Groupings of the same rows; those by public keys get consistent totals."""
        whole, members = expanded(select, scope.names)
        table = self.table(whole, scope)
        places = dict.fromkeys(self._placed[id(m)] for m in members)
        known = {place for family in self.nested for place, _ in family}
        public = [p for p in places if p not in known and not self.cores[p].plan.selects_keys]
        axes = list(dict.fromkeys(key for p in public for key in self.cores[p].keys))
        if len(public) > 1:
            self.nested.append(tuple((p, tuple(axes.index(k) for k in self.cores[p].keys)) for p in public))
        return table

    # --- the plan -------------------------------------------------------------------------------------------------------

    def plan(self, query: exp.Expr) -> Plan:
        """The plan of a question that encloses answers. What WITH names and nobody reads is not asked, and not paid."""
        found = self.table(query, self.scope)
        named = [re.search(rf"\bFROM {place_name('noisy', i)}\b", found.sql) for i in range(len(self.cores))]
        used = [core for core, name in zip(self.cores, named, strict=True) if name]
        if used != self.cores[: len(used)]:
            again = Around(self.scope.names, self.answer)
            again.cores = used
            return again.plan(query)
        plans = [core.plan for core in used]
        groupings = _priced([bare(plan) for plan in plans])
        _require_room(found, groupings)
        outputs = tuple(_output(c) for c in (found.columns if found.located else [c.lost() for c in found.columns]))
        public = [_public_rows(p) for p in self.public.values()]
        first = replace(
            plans[0],
            question=query.sql(dialect="duckdb", comments=False),
            tables=tuple(dict.fromkeys([*(t for plan in plans for t in plan.tables), *self.public])),
            outputs=outputs,
            finish_sql=found.sql,
            spread_sql="",
            located=found.located,
            nested=_among(self.nested, len(used)),
            public=tuple(public),
            redraw_sql=_redraw_sql(groupings, outputs, found),
            around_rows=found.work,
        )
        return first.with_groupings(groupings)


def _answers(select: exp.Select, scope: Scope) -> bool:
    """Whether a SELECT from rows of units aggregates over several of them."""
    parts = [*select.expressions, *(select.args.get(n) for n in ("having", "qualify", "order"))]
    if select.args.get("group") is None and all(p is None or aggregate_in(p) is None for p in parts):
        return False
    rows = scope.names.aside().relation(select).scope
    keys = keys_of_sets(select, rows)
    return not any(rows.names_unit(k.unnest()) for k in keys)


def _inside(select: exp.Select) -> Iterator[exp.Expr]:
    """The subqueries of a SELECT that stand in no FROM and no WITH of it."""
    joins = [j.args.get("on") for j in select.args.get("joins") or []]
    clauses = (select.args.get(n) for n in ("where", "group", "having", "qualify", "order"))
    for part in (*select.expressions, *joins, *clauses):
        if part is not None:
            yield from (n for n in part.walk(prune=lambda n: isinstance(n, exp.Query)) if isinstance(n, exp.Query))


def _priced(groupings: list[Grouping]) -> list[Grouping]:
    """Each with its part of the price."""
    part, selecting = Fraction(1, len(groupings)), sum(g.selects_keys for g in groupings)
    return [g.paying(part, Fraction(1, max(1, selecting))) for g in groupings]


def _require_room(table: Table, groupings: list[Grouping]) -> None:
    """Refuse more cells of public keys than one answer may have; each answer by private keys may have as many once more."""
    public, private = (g.cells or 0 for g in groupings), sum(g.selects_keys for g in groupings)
    room = MAX_CELLS * max(1, private + (private < len(groupings)))
    for count, limit in ((sum(public), MAX_CELLS), (table.rows, room)):
        if count > limit:
            raise TooManyCells(count=count, limit=limit)


def _among(nested: list[Nested], count: int) -> tuple[Nested, ...]:
    """The families without the answers that nobody reads."""
    kept = [tuple(member for member in family if member[0] < count) for family in nested]
    return tuple(family for family in kept if len(family) > 1)


def _output(column: Column) -> Output:
    return Output(
        name=column.name,
        kind=column.term.kind or Kind.TEXT,
        is_key=column.fixed,
        statistic=column.statistic,
        average=column.average,
        groupings=column.places,
    )


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


def _redraw_sql(groupings: list[Grouping], outputs: tuple[Output, ...], table: Table) -> str:
    """The question over cells whose noise is drawn again, each cell's by itself; "" when no column is derived.

    What the last clauses leave out is not left out: a row of the answer shall be seen in all draws, not only where it would
    have stayed.
    """
    derived = [f"TRY(CAST(o{i} AS DOUBLE)) AS o{i}" for i, o in enumerate(outputs) if o.is_redrawn]
    if not derived:
        return ""
    steps, numbered = [], 0
    for place, grouping in enumerate(groupings):
        columns = ["n.cell", *(f"n.{k.name}" for k in grouping.keys)]
        columns += [redrawn_cell(numbered + i, s) for i, s in enumerate(grouping.statistics)]
        numbered += len(grouping.statistics)
        cells, scales = place_name("cells", place), place_name("scales", place)
        source = f"{cells} AS n CROSS JOIN turn AS z CROSS JOIN {scales} AS c"
        steps.append(f"{place_name('noisy', place)} AS (SELECT {', '.join(columns)} FROM {source})")
    return f"WITH {', '.join(steps)} SELECT {table.row}, {', '.join(derived)} FROM ({table.loose})"

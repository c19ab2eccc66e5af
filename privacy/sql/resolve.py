"""FROM → the tracked relation: which tables are joined, who each row belongs to, how far joins may multiply rows.

Owns table and column resolution and the tracking of the privacy unit. It never reads data: how often a join can repeat a
row is a public fact of the public side (`ColumnFacts.max_repeats`). Law 3: exactly one private table, inner joins or left
joins from it only, so every row of the result carries exactly one unit in `_uid`; anything else is refused.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from fractions import Fraction

from sqlglot import exp

from privacy.errors import Text
from privacy.facts import ColumnFacts, DatasetFacts, Keys, Kind, TableFacts, Value
from privacy.sql.expressions import Reader, quote_name
from privacy.sql.parse import refuse, where_of
from privacy.sql.problems import (
    AmbiguousColumn,
    JoinFanOutUnknown,
    JoinLosesUnit,
    JoinNeedsEquality,
    NoPrivateTable,
    TooManyParts,
    TwoPrivateTables,
    UnitColumnUsed,
    UnknownColumn,
    UnknownTable,
)
from privacy.sql.terms import SAFE_INTEGER, Stored, Term, require_kind

MAX_JOINS = 8
#: No unit may own more rows of the relation; a sum then still has a lattice of thousands of steps.
MAX_UNIT_ROWS = 2**32
#: (side, kind) of the joins that keep every row with its unit; a CROSS JOIN is then refused for want of an equality.
_JOINS = {("", ""), ("", "INNER"), ("", "CROSS"), ("LEFT", ""), ("LEFT", "OUTER")}


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """One table in FROM: `alias` is the asker's name for it, `tag` ours (t0, t1, … as written)."""

    alias: str
    tag: str
    facts: TableFacts
    optional: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Relation:
    """The tracked relation: DuckDB text for FROM and its conditions, and `max_rows`, the most rows one unit may own."""

    scope: RowScope
    from_sql: str
    conditions: tuple[str, ...]
    max_rows: int

    @property
    def private(self) -> TableFacts:
        """The private table."""
        return self.scope.sources[0].facts

    @property
    def unit_sql(self) -> str:
        """The unit that a row belongs to."""
        return f'{self.scope.sources[0].tag}."_uid"'


@dataclass(frozen=True, slots=True)
class Equality:
    """Two columns that a join holds equal. The condition of a left join (`only`) restricts the table it joins, no other."""

    sides: tuple[tuple[Source, ColumnFacts], tuple[Source, ColumnFacts]]
    only: str | None


@dataclass(frozen=True, slots=True)
class RowScope:
    """Names of a row: the columns of the joined tables. `merged` holds (name, tag) of the columns that USING made one."""

    sources: tuple[Source, ...]
    merged: frozenset[tuple[str, str]] = field(default_factory=frozenset)

    def known(self, node: exp.Expr) -> Term | None:
        """Rows know no sub-expression as a whole."""
        return None

    def column(self, node: exp.Column) -> Term:
        """The term of a column; refuses unknown and ambiguous names and every use of the unit's identifier."""
        found = self.find(node)
        return column_term(found[0], found[1], node)

    def find(self, node: exp.Column) -> tuple[Source, ColumnFacts]:
        """Where a column comes from, the unit's identifier included."""
        name, table = node.name, node.table
        places = self.sources
        if table:
            places = tuple(s for s in self.sources if s.alias.casefold() == table.casefold())
        found = [(s, c) for s in places if (c := s.facts.column(name)) is not None]
        if not found:
            raise UnknownColumn(name=_shown(node), where=where_of(node), allowed=self._listed())
        if len(found) > 1 and any((name.casefold(), s.tag) not in self.merged for s, _ in found):
            choices = ", ".join(f"{s.alias}.{c.name}" for s, c in found)
            raise AmbiguousColumn(name=name, where=where_of(node), allowed=choices)
        return found[0]

    def is_unit(self, node: exp.Expr) -> bool:
        """True for a plain reference to the privacy unit's identifier."""
        if not isinstance(node, exp.Column):
            return False
        source, column = self.find(node)
        return _is_unit_column(source, column)

    def _listed(self) -> str:
        many = len(self.sources) > 1
        return ", ".join(f"{s.alias}.{c.name}" if many else c.name for s in self.sources for c in s.facts.columns)


def _shown(node: exp.Column) -> str:
    return f"{node.table}.{node.name}" if node.table else node.name


def _is_unit_column(source: Source, column: ColumnFacts) -> bool:
    unit = source.facts.unit
    return unit is not None and unit.column.casefold() == column.name.casefold()


def column_term(source: Source, column: ColumnFacts, node: exp.Expr) -> Term:
    """The public knowledge of a stored column, and the text that decodes it from the layout of a dataset version."""
    if _is_unit_column(source, column):
        unit = source.facts.unit
        raise UnitColumnUsed(column=column.name, unit=unit.stands_for if unit else "", where=where_of(node))
    stored = f"{source.tag}.{quote_name(column.name)}"
    listed = column.keys is Keys.PUBLIC or column.kind is Kind.BOOLEAN
    days = column.lower, column.upper
    decoded = _decoded(stored, column)
    return Term(
        sql=decoded,
        kind=column.kind,
        nullable=column.nullable or source.optional,
        low=_number(column.lower),
        high=_number(column.upper),
        step=Fraction(column.step) if column.kind.numeric else None,
        since=_day(days[0]),
        until=_day(days[1]),
        domain=_domain(column) if listed else None,
        column=Stored(
            sql=stored,
            decoded=decoded,
            table=f"{quote_name(source.facts.name)} AS {source.tag}",
            values=column.domain if column.keys is Keys.PUBLIC else (),
        ),
    )


def _decoded(stored: str, column: ColumnFacts) -> str:
    if column.kind is Kind.TEXT:
        return f"CAST({stored} AS VARCHAR)"
    if not column.kind.numeric:
        return stored
    step = Fraction(column.step)
    whole = f"CAST({stored} AS BIGINT)"
    if step.numerator != 1:
        whole = f"({whole} * {step.numerator})"
        reach = max((abs(n) for b in (column.lower, column.upper) if (n := _number(b)) is not None), default=None)
        if reach is None or reach * step.denominator > SAFE_INTEGER:
            whole = f"TRY{whole}"
    if column.kind is Kind.INTEGER:
        return whole
    return f"CAST({whole} AS DOUBLE)" if step.denominator == 1 else f"({whole} / {step.denominator}::DOUBLE)"


def _number(value: Decimal | date | datetime | None) -> Fraction | None:
    return Fraction(value) if isinstance(value, Decimal | int) else None


def _day(value: Decimal | date | datetime | None) -> date | None:
    if isinstance(value, datetime):
        return value.date()
    return value if isinstance(value, date) else None


def _domain(column: ColumnFacts) -> tuple[Value, ...]:
    if column.kind is Kind.BOOLEAN:
        return (False, True)
    convert = {Kind.INTEGER: int, Kind.NUMBER: float}.get(column.kind)
    values = [convert(v) for v in column.domain] if convert else list(column.domain)
    return tuple(sorted(set(values)))  # two keys that are one double are one key


def resolve_from(select: exp.Select, facts: DatasetFacts) -> Relation:
    """Resolve FROM and its joins into the tracked relation."""
    origin, joins = select.args.get("from_"), select.args.get("joins") or []
    if origin is None:
        raise NoPrivateTable(allowed=_private_names(facts))
    if len(joins) > MAX_JOINS:
        raise TooManyParts(count=len(joins), part=Text("joins", "连接"), limit=MAX_JOINS)
    _require_join_kinds(joins)
    sources = _sources([origin.this, *(j.this for j in joins)], joins, facts)
    return _Joiner(sources).relation(joins)


def _private_names(facts: DatasetFacts) -> str:
    return ", ".join(t.name for t in facts.tables if t.unit is not None)


def _require_join_kinds(joins: list[exp.Join]) -> None:
    for join in joins:
        kind, side = join.kind.upper(), join.side.upper()
        if (side, kind) not in _JOINS:
            text = " ".join(w for w in (side, kind, "JOIN") if w)
            advice = Text("Use JOIN or LEFT JOIN.", "请使用 JOIN 或 LEFT JOIN。")
            raise refuse(Text(text, text), join, advice)


def _sources(nodes: list[exp.Expr], joins: list[exp.Join], facts: DatasetFacts) -> list[Source]:
    found: list[Source] = []
    for i, node in enumerate(nodes):
        table = _table(node, facts)
        alias = node.alias or table.name
        if any(s.alias.casefold() == alias.casefold() for s in found):
            raise refuse(Text(f"the name {alias} for two tables", f"两个表同名 {alias}"), node)
        optional = i > 0 and joins[i - 1].side.upper() == "LEFT"
        if optional and table.unit is not None:
            raise JoinLosesUnit(name=found[0].alias, unit=table.unit.stands_for)
        found.append(Source(alias=alias, tag=f"t{i}", facts=table, optional=optional))
    private = [s for s in found if s.facts.unit is not None]
    if not private:
        raise NoPrivateTable(allowed=_private_names(facts))
    if len(private) > 1:
        public = ", ".join(t.name for t in facts.tables if t.unit is None)
        raise TwoPrivateTables(names=", ".join(s.alias for s in private), allowed=public or "–")
    return sorted(found, key=lambda s: s.facts.unit is None)  # stable: the private table moves to the front


def _table(node: exp.Expr, facts: DatasetFacts) -> TableFacts:
    if not isinstance(node, exp.Table):
        raise refuse(Text("a subquery in FROM", "FROM 中的子查询"), node)
    if not isinstance(node.this, exp.Identifier):
        raise refuse(Text("a table function in FROM", "FROM 中的表函数"), node)
    table = facts.table(node.name)
    if table is None:
        allowed = ", ".join(t.name for t in facts.tables)
        raise UnknownTable(name=node.name, where=where_of(node), allowed=allowed)
    return table


class _Joiner:
    """Builds the relation: inner conditions meet in WHERE, left joins keep theirs, each join states its fan-out."""

    def __init__(self, sources: list[Source]) -> None:
        self.sources = sources
        self.reached = {sources[0].tag}
        self.fan_out = 1
        self.merged: set[tuple[str, str]] = set()
        self.equalities: list[Equality] = []

    def relation(self, joins: list[exp.Join]) -> Relation:
        by_tag = {s.tag: s for s in self.sources}
        seen = [by_tag["t0"]]
        inner: list[str] = []
        left: dict[str, str] = {}
        for i, join in enumerate(joins, start=1):
            source = by_tag[f"t{i}"]
            conditions = self._conditions(join, source, seen)
            seen.append(source)
            if source.optional:
                left[source.tag] = " AND ".join(conditions)
            else:
                inner.extend(conditions)
        self._reach_all()
        private, *others = self.sources
        text = f"{quote_name(private.facts.name)} AS {private.tag}"
        text += "".join(f" CROSS JOIN {quote_name(s.facts.name)} AS {s.tag}" for s in others if not s.optional)
        for s in others:
            if s.optional:
                text += f" LEFT JOIN {quote_name(s.facts.name)} AS {s.tag} ON {left[s.tag]}"
        scope = RowScope(tuple(self.sources), frozenset(self.merged))
        most = private.facts.max_rows * self.fan_out
        if most > MAX_UNIT_ROWS:
            raise TooManyParts(count=most, part=Text("rows for one unit", "行（单个隐私单元）"), limit=MAX_UNIT_ROWS)
        return Relation(scope=scope, from_sql=text, conditions=tuple(inner), max_rows=most)

    def _conditions(self, join: exp.Join, source: Source, seen: list[Source]) -> list[str]:
        using = join.args.get("using")
        if using:
            return [self._using(name, source, seen) for name in using]
        on = join.args.get("on")
        if on is None:
            raise JoinNeedsEquality(name=source.alias)
        scope = RowScope((*seen, source), frozenset(self.merged))
        return [self._condition(part, source, scope) for part in _conjuncts(on)]

    def _using(self, name: exp.Expr, source: Source, seen: list[Source]) -> str:
        here, there = exp.Column(this=name, table=exp.to_identifier(source.alias)), exp.Column(this=name)
        right = RowScope((source,)).find(here)
        left = RowScope(tuple(seen), frozenset(self.merged)).find(there)
        self.merged |= {(name.name.casefold(), left[0].tag), (name.name.casefold(), right[0].tag)}
        for side in (left, right):
            column_term(*side, name)  # the unit's identifier is refused where it stands
        self._holds_equal(left, right, source)
        pair = Reader(RowScope((*seen, source))).alike([_qualified(*left), _qualified(*right)], "USING")
        return f"{pair[0].sql} = {pair[1].sql}"

    def _condition(self, part: exp.Expr, source: Source, scope: RowScope) -> str:
        sides = (part.this, part.expression) if isinstance(part, exp.EQ) else ()
        term = Reader(scope).read(part)
        require_kind(term, part, "ON", Kind.BOOLEAN)
        if len(sides) == 2 and all(isinstance(s, exp.Column) for s in sides):
            left, right = (scope.find(s) for s in sides)
            self._holds_equal(left, right, source)
            return term.sql  # comparing stored values cannot fail, and stays visible to the optimizer
        return f"TRY({term.sql})"

    def _holds_equal(self, left: tuple[Source, ColumnFacts], right: tuple[Source, ColumnFacts], joined: Source) -> None:
        only = joined.tag if joined.optional else None
        self.equalities.append(Equality((left, right), only))

    def _reach_all(self) -> None:
        """Walk from the private table along equalities; each step repeats a row at most `max_repeats` times."""
        waiting = [s for s in self.sources if s.tag not in self.reached]
        while waiting:
            step = next((s for s in waiting if self._links(s)), None)
            if step is None:
                raise JoinNeedsEquality(name=waiting[0].alias)
            self.fan_out *= self._repeats(step)
            self.reached.add(step.tag)
            waiting.remove(step)

    def _links(self, source: Source) -> list[ColumnFacts]:
        found = []
        for equality in self.equalities:
            if equality.only not in (None, source.tag):
                continue
            (a, a_column), (b, b_column) = equality.sides
            if b.tag == source.tag and a.tag in self.reached:
                found.append(b_column)
            elif a.tag == source.tag and b.tag in self.reached:
                found.append(a_column)
        return found

    def _repeats(self, source: Source) -> int:
        columns = self._links(source)
        known = [c.max_repeats for c in columns if c.max_repeats is not None]
        if not known:
            raise JoinFanOutUnknown(name=source.alias, column=columns[0].name)
        return max(1, min(known))


def _qualified(source: Source, column: ColumnFacts) -> exp.Column:
    return exp.Column(
        this=exp.to_identifier(column.name, quoted=True), table=exp.to_identifier(source.alias, quoted=True)
    )


def _conjuncts(node: exp.Expr) -> list[exp.Expr]:
    if isinstance(node, exp.And):
        return [*_conjuncts(node.this), *_conjuncts(node.expression)]
    return _conjuncts(node.this) if isinstance(node, exp.Paren) else [node]


def row_condition(node: exp.Expr, scope: RowScope) -> str:
    """WHERE as total text: an operation that fails on a row is NULL there, and a conjunct that is NULL does not hold."""
    parts = []
    for part in _conjuncts(node):
        term = Reader(scope).read(part)
        require_kind(term, part, "WHERE", Kind.BOOLEAN)
        parts.append(f"TRY({term.sql})")
    return " AND ".join(parts)

"""What a row is made of: sources, their columns, and the relation that keeps every row with its unit.

Owns the nouns that FROM is resolved into and the names of a row. A `Source` is a stored table or a derived relation; of each
column it says what is publicly known (a `Term`) or that it is the unit's identifier, which has no text at all: nothing can
read, compare or show it, and nothing but a plain reference to it is the unit. It never reads data.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import date, datetime
from decimal import Decimal
from fractions import Fraction
from typing import Protocol

from sqlglot import exp

from privacy.errors import Text
from privacy.facts import ColumnFacts, Keys, Kind, PrivacyUnit, TableFacts, Value
from privacy.sql.expressions import quote_name
from privacy.sql.parse import refuse, require_arguments, where_of
from privacy.sql.problems import AmbiguousColumn, UnitColumnUsed, UnknownColumn
from privacy.sql.terms import SAFE_INTEGER, Stored, Term

#: No unit may own more rows of the relation; a sum then still has a lattice of thousands of steps.
MAX_UNIT_ROWS = 2**32
#: The rows of a public table that nobody has counted: more than may be multiplied by anything.
UNKNOWN_ROWS = 2**256


@dataclass(frozen=True, kw_only=True, slots=True)
class Column:
    """One column of a source. `term` None: the unit's identifier. `max_repeats` as in `ColumnFacts`.

    A column that `numbers` the rows of each unit has each of 1, 2, … at most once a unit.
    """

    name: str
    term: Term | None
    max_repeats: int | None = None
    numbers: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """One item of FROM: `alias` is the asker's name for it, `tag` ours (t0, t1, … as written), `text` what stands before AS.

    A source with a `unit` holds at most `max_rows` rows that count of each, and names it in its column `_uid`; one of public
    rows has at most `max_rows` in all. `ties` puts the rows of one unit in a total order, up to rows that are alike. `optional`
    sources may have no row (LEFT JOIN).

    `limited` is the text of at most `max_rows` rows of each unit: a person with a thousand rows, joined with themselves, would
    show by the time that takes. Alone, `text` is as good: the end result is bounded anyway, and by length, not by rows.
    """

    alias: str
    tag: str
    text: str
    limited: str
    columns: tuple[Column, ...]
    unit: PrivacyUnit | None
    max_rows: int
    ties: tuple[str, ...]
    optional: bool = False

    @property
    def unit_sql(self) -> str:
        """The unit that a row of this source belongs to."""
        return f'{self.tag}."_uid"'

    @property
    def unit_name(self) -> str:
        """The asker's name for the unit's identifier, or the steward's where the asker did not select it; "" without a unit."""
        names = [c.name for c in self.columns if c.term is None]
        return names[0] if names else self.unit.column if self.unit is not None else ""

    def as_optional(self) -> Source:
        """The same source behind LEFT JOIN: every column may be missing."""
        columns = tuple(replace(c, term=c.term and replace(c.term, nullable=True)) for c in self.columns)
        return replace(self, columns=columns, optional=True)


class Subqueries(Protocol):
    """What a scope asks when a condition holds a subquery: see `privacy.sql.tracked.Names`."""

    def derived(self, query: exp.Expr) -> Derived:
        """A subquery that stands on its own."""

    def tables(self) -> tuple[str, ...]:
        """The stored tables that were named, private ones first."""

    def rows_within(self, select: exp.Select) -> Relation:
        """The rows of FROM in a subquery whose WHERE may name columns of the rows around it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Derived:
    """A subquery as a relation: DuckDB text with the columns c0, c1, … and, when it is tracked, `_uid`.

    Each column's `term` has the bare name c<i> for its text. `levels` is how deep subqueries stand in it. `max_rows` as in
    `Source`. It is `bounded` when no unit can have more than `max_rows` rows, whatever the private tables hold.
    """

    sql: str
    columns: tuple[Column, ...]
    unit: PrivacyUnit | None
    max_rows: int
    bounded: bool = False
    levels: int = 0

    def source(self, alias: str, tag: str) -> Source:
        """The relation as an item of FROM."""
        columns = tuple(replace(c, term=c.term and _tagged(c.term, tag)) for c in self.columns)
        return Source(
            alias=alias,
            tag=tag,
            text=f"({self.sql})",
            limited=f"({self.sql})" if self.bounded else f"({self._cut()})",
            columns=columns,
            unit=self.unit,
            max_rows=self.max_rows,
            ties=tuple(c.term.sql for c in columns if c.term is not None and c.term.kind is not None),
        )

    def _cut(self) -> str:
        """The first `max_rows` rows of each unit, in the order of all columns."""
        texts = [c.term.sql for c in self.columns if c.term is not None and c.term.kind is not None]
        order = f" ORDER BY {', '.join(texts)}" if texts else ""
        rank = f'row_number() OVER (PARTITION BY "_uid"{order})'
        return f"SELECT * FROM ({self.sql}) QUALIFY {rank} <= {self.max_rows}"


def _tagged(term: Term, tag: str) -> Term:
    return term if term.kind is None else replace(term, sql=f"{tag}.{term.sql}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Relation:
    """The tracked relation: DuckDB text for FROM and its conditions, and `max_rows`, the most rows one unit may own.

    `unit` is None for a relation of public tables alone; a question is never asked of such a one. `bounded` as in `Derived`.
    """

    scope: RowScope
    from_sql: str
    conditions: tuple[str, ...]
    max_rows: int
    bounded: bool
    names: Subqueries

    @property
    def unit(self) -> PrivacyUnit | None:
        """Whose rows these are."""
        return self.scope.sources[0].unit

    @property
    def unit_sql(self) -> str:
        """The unit that a row belongs to: that of the first source, which no LEFT JOIN can leave without a row."""
        return self.scope.sources[0].unit_sql

    @property
    def tables(self) -> tuple[str, ...]:
        """The stored tables that the question has named so far, private ones first."""
        return self.names.tables()


@dataclass(frozen=True, slots=True)
class RowScope:
    """Names of a row: the columns of the joined sources. `merged` holds (name, tag) of the columns that USING made one.

    `outer` are the rows around a correlated subquery; their names count where the subquery has none of that name.
    """

    sources: tuple[Source, ...]
    merged: frozenset[tuple[str, str]] = field(default_factory=frozenset)
    subqueries: Subqueries | None = None
    outer: RowScope | None = None

    def known(self, node: exp.Expr) -> Term | None:
        """Rows know no sub-expression as a whole."""
        return None

    def column(self, node: exp.Column) -> Term:
        """The term of a column; refuses unknown and ambiguous names and every use of the unit's identifier."""
        return readable(*self.find(node), node)

    def find(self, node: exp.Column) -> tuple[Source, Column]:
        """Where a column comes from, the unit's identifier included."""
        require_arguments(node, "this", "table")
        name = node.name
        found = self.places(node)
        if not found:
            raise UnknownColumn(name=_shown(node), where=where_of(node), allowed=self._listed())
        if len(found) > 1 and any((name.casefold(), s.tag) not in self.merged for s, _ in found):
            choices = ", ".join(f"{s.alias}.{c.name}" for s, c in found)
            raise AmbiguousColumn(name=name, where=where_of(node), allowed=choices)
        return found[0]

    def has(self, node: exp.Column) -> bool:
        """True when some source has a column of that name."""
        return bool(self.places(node))

    def places(self, node: exp.Column) -> list[tuple[Source, Column]]:
        """Every column of that name."""
        name, table = node.name.casefold(), node.table.casefold()
        places = [s for s in self.sources if not table or s.alias.casefold() == table]
        found = [(s, c) for s in places for c in s.columns if c.name.casefold() == name]
        if found or self.outer is None or (table and places):
            return found
        return self.outer.places(node)

    def is_unit(self, node: exp.Expr) -> bool:
        """True for a plain reference to the privacy unit's identifier."""
        return isinstance(node, exp.Column) and self.find(node)[1].term is None

    def names_unit(self, node: exp.Expr) -> bool:
        """True for a plain reference to the unit that every row has; refuses one that LEFT JOIN may leave without a value."""
        if not self.is_unit(node):
            return False
        source, column = self.find(node)  # type: ignore[arg-type]  # only a column is the unit
        if not source.optional:
            return True
        construct = Text(
            f"{source.alias}.{column.name}, which LEFT JOIN may leave empty,",
            f"可能因 LEFT JOIN 而为空的 {source.alias}.{column.name}",
        )
        first = self.sources[0]
        own = f"{first.alias}.{first.unit_name}"
        raise refuse(construct, node, Text(f"Write {own}.", f"请写 {own}。"))

    def _listed(self) -> str:
        many = len(self.sources) > 1
        return ", ".join(f"{s.alias}.{c.name}" if many else c.name for s in self.sources for c in s.columns)


def _shown(node: exp.Column) -> str:
    return f"{node.table}.{node.name}" if node.table else node.name


def readable(source: Source, column: Column, node: exp.Expr) -> Term:
    """What is known of a column that may be read; the unit's identifier is refused where it stands."""
    if column.term is None:
        raise UnitColumnUsed(
            column=column.name, unit=source.unit.stands_for if source.unit else "", where=where_of(node)
        )
    return column.term


def stored(alias: str, tag: str, facts: TableFacts) -> Source:
    """A table of the dataset version as an item of FROM; its rows are ranked by `_rn` within a unit (docs/layout.md)."""
    columns = tuple(_column(tag, facts.name, c, facts.unit) for c in facts.columns)
    rows = UNKNOWN_ROWS if facts.rows is None else facts.rows
    ranks = tuple(f"{tag}.{quote_name(c.name)}" for c in facts.columns)
    return Source(
        alias=alias,
        tag=tag,
        text=quote_name(facts.name),
        limited=f'(SELECT * FROM {quote_name(facts.name)} WHERE "_rn" < {facts.max_rows})',
        columns=columns,
        unit=facts.unit,
        max_rows=facts.max_rows if facts.unit is not None else rows,
        ties=ranks if facts.unit is None else (f'{tag}."_rn"',),
    )


def _column(tag: str, table: str, column: ColumnFacts, unit: PrivacyUnit | None) -> Column:
    if unit is not None and unit.column.casefold() == column.name.casefold():
        return Column(name=column.name, term=None)
    return Column(name=column.name, term=_column_term(tag, table, column), max_repeats=column.max_repeats)


def _column_term(tag: str, table: str, column: ColumnFacts) -> Term:
    """The public knowledge of a stored column, and the text that decodes it from the layout of a dataset version."""
    listed = column.keys is Keys.PUBLIC or column.kind is Kind.BOOLEAN
    text = f"{tag}.{quote_name(column.name)}"
    decoded = _decoded(text, column)
    return Term(
        sql=decoded,
        kind=column.kind,
        nullable=column.nullable,
        low=_number(column.lower),
        high=_number(column.upper),
        step=Fraction(column.step) if column.kind.numeric else None,
        since=_day(column.lower),
        until=_day(column.upper),
        domain=_domain(column) if listed else None,
        column=Stored(
            sql=text,
            decoded=decoded,
            table=f"{quote_name(table)} AS {tag}",
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

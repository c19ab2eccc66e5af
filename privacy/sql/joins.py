"""FROM and its joins → one relation: which sources meet on what, and how far a join may multiply the rows of a unit.

Owns the text of joins. It never reads data: how often a join can repeat a row is a public fact of the public side
(`Column.max_repeats`), or the `max_rows` of the other private side. Law 3: sources that hold units are joined on the unit, by
plain equality, inner or left from a source that holds it; anything else is refused. So a row of the result is a row of each
private source of *one* unit, beside rows of public tables, and the first source, which is never optional, names that unit.
Rows of a unit multiply there, so private sources give at most the `max_rows` of each unit that count (`Source.limited`, a
function of the unit's own rows): nobody takes more time than is public.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from sqlglot import exp

from privacy.errors import Text
from privacy.facts import Kind
from privacy.sql.expressions import Reader
from privacy.sql.parse import refuse
from privacy.sql.problems import (
    DifferentUnits,
    JoinFanOutUnknown,
    JoinLosesUnit,
    JoinNeedsEquality,
    PrivateNotOnUnit,
    TooManyParts,
)
from privacy.sql.resolve import MAX_UNIT_ROWS, Column, Relation, RowScope, Source, Subqueries, readable
from privacy.sql.terms import require_kind

MAX_JOINS = 8
#: Rows of a unit joined with each other: so few that nobody can tell by the time whether one unit has them.
MAX_PAIRED_ROWS = 2**20
#: (side, kind) of the joins that keep every row with its unit; a CROSS JOIN is then refused for want of an equality.
_JOINS = {("", ""), ("", "INNER"), ("", "CROSS"), ("LEFT", ""), ("LEFT", "OUTER"), ("", "SEMI"), ("", "ANTI")}
#: Joins that only ask whether the other side has a row: nothing of it is seen afterwards.
_FILTERS = {"SEMI": "EXISTS", "ANTI": "NOT EXISTS"}

Place = tuple[Source, Column]


@dataclass(frozen=True, slots=True)
class Equality:
    """Two columns that a join holds equal. The condition of a left join (`only`) restricts the table it joins, no other."""

    sides: tuple[Place, Place]
    only: str | None


def require_joins(joins: list[exp.Join]) -> None:
    """Refuse more joins than are read, and joins of a kind that would lose a unit."""
    if len(joins) > MAX_JOINS:
        raise TooManyParts(count=len(joins), part=Text("joins", "连接"), limit=MAX_JOINS)
    for join in joins:
        side, kind = join.side.upper(), join.kind.upper()
        if (side, kind) not in _JOINS:
            text = " ".join(w for w in (side, kind, "JOIN") if w)
            advice = Text(
                "Use JOIN, LEFT JOIN, SEMI JOIN or ANTI JOIN.", "请使用 JOIN、LEFT JOIN、SEMI JOIN 或 ANTI JOIN。"
            )
            raise refuse(Text(text, text), join, advice)


def joined(
    sources: list[Source], joins: list[exp.Join], where: list[exp.Expr], subqueries: Subqueries, *, counted: bool
) -> Relation:
    """The relation of sources as written; `joins[i]` joins `sources[i + 1]`, and equalities of `where` count as theirs.

    Where rows are not `counted`, as behind EXISTS, a public table may repeat them as often as it likes.
    """
    filters = [False, *(j.kind.upper() in _FILTERS for j in joins)]
    paired = not counted or sum(s.unit is not None for s, f in zip(sources, filters, strict=True) if not f) > 1
    sources = [
        replace(s, text=s.limited) if s.unit is not None and (f or paired) else s
        for s, f in zip(sources, filters, strict=True)
    ]
    optional = [j.side.upper() == "LEFT" for j in joins]
    kept = [sources[0], *(s.as_optional() if o else s for s, o in zip(sources[1:], optional, strict=True))]
    base = next((s for s, f in zip(kept, filters, strict=True) if s.unit is not None and not f), kept[0])
    if base.optional:
        raise JoinLosesUnit(name=kept[0].alias, unit=base.unit.stands_for if base.unit else "")
    joiner = _Joiner(base, kept[0], subqueries)
    for join, source in zip(joins, kept[1:], strict=True):
        joiner.add(join, source)
    joiner.hold(where)
    return joiner.relation(counted=counted)


class _Joiner:
    """Builds the relation: inner conditions meet in WHERE, left joins keep theirs, each join states its fan-out."""

    def __init__(self, base: Source, first: Source, subqueries: Subqueries) -> None:
        self.base = base
        self.subqueries = subqueries
        self.seen = [first]
        self.merged: set[tuple[str, str]] = set()
        self.equalities: list[Equality] = []
        self.inner: list[str] = []
        self.left: dict[str, str] = {}

    def add(self, join: exp.Join, source: Source) -> None:
        """Join one more source."""
        exists = _FILTERS.get(join.kind.upper())
        if exists:
            self.inner.append(f"{exists} ({self._filter(join, source)})")
            return
        conditions = self._conditions(join, source)
        self.seen.append(source)
        if source.optional:
            if not conditions:
                raise self._unlinked([source])
            self.left[source.tag] = " AND ".join(conditions)
        else:
            self.inner.extend(conditions)

    def hold(self, where: list[exp.Expr]) -> None:
        """Equalities that WHERE asks of every row: `FROM a, b WHERE a.x = b.x` is a join too."""
        scope = RowScope(tuple(self.seen), frozenset(self.merged))
        for columns in filter(None, map(equated, where)):
            if all(scope.has(c) for c in columns):
                left, right = (scope.find(c) for c in columns)
                self.equalities.append(Equality((left, right), None))

    def _filter(self, join: exp.Join, source: Source) -> str:
        """The rows that SEMI JOIN or ANTI JOIN look for; nothing that is held equal there holds anywhere else."""
        before, merged = len(self.equalities), set(self.merged)
        conditions = self._conditions(join, source)
        found = self.equalities[before:]
        self.equalities, self.merged = self.equalities[:before], merged
        if source.unit is not None and not any(ties_unit(e.sides, source.tag) for e in found):
            raise not_on_unit(source, self.base)
        return f"SELECT 1 FROM {_named(source)} WHERE {' AND '.join(conditions)}"

    def relation(self, *, counted: bool) -> Relation:
        """The relation of all sources; the base comes first, the left joins last."""
        most = self.base.max_rows * self._fan_out(counted=counted)
        sources = sorted(self.seen, key=lambda s: s is not self.base)  # stable: the base moves to the front
        text = " CROSS JOIN ".join(_named(s) for s in sources if not s.optional)
        text += "".join(f" LEFT JOIN {_named(s)} ON {self.left[s.tag]}" for s in sources if s.optional)
        limited = self.base.text == self.base.limited
        limit = MAX_PAIRED_ROWS if sum(s.unit is not None for s in sources) > 1 else MAX_UNIT_ROWS
        if self.base.unit is not None and most > limit:
            raise TooManyParts(count=most, part=Text("rows for one unit", "行（单个隐私单元）"), limit=limit)
        scope = RowScope(tuple(sources), frozenset(self.merged), self.subqueries)
        return Relation(
            scope=scope,
            from_sql=text,
            conditions=tuple(self.inner),
            max_rows=most,
            bounded=limited,
            names=self.subqueries,
        )

    def _conditions(self, join: exp.Join, source: Source) -> list[str]:
        using = join.args.get("using")
        if using:
            return [self._using(name, source) for name in using]
        on = join.args.get("on")
        if on is None and join.kind.upper() in _FILTERS:
            raise self._unlinked([source])
        if on is None:
            return []
        scope = RowScope((*self.seen, source), frozenset(self.merged))
        return [self._condition(part, source, scope) for part in conjuncts(on)]

    def _using(self, name: exp.Expr, source: Source) -> str:
        here, there = exp.Column(this=name, table=exp.to_identifier(source.alias)), exp.Column(this=name)
        right = RowScope((source,)).find(here)
        left = RowScope(tuple(self.seen), frozenset(self.merged)).find(there)
        self.merged |= {(name.name.casefold(), left[0].tag), (name.name.casefold(), right[0].tag)}
        self._holds_equal(left, right, source)
        if same_unit(left, right):
            return f"{left[0].unit_sql} = {right[0].unit_sql}"
        for side in (left, right):
            readable(*side, name)  # the unit's identifier beside anything else is refused where it stands
        pair = Reader(RowScope((*self.seen, source))).alike([_qualified(*left), _qualified(*right)], "USING")
        return f"{pair[0].sql} = {pair[1].sql}"

    def _condition(self, part: exp.Expr, source: Source, scope: RowScope) -> str:
        columns = equated(part)
        if columns:
            left, right = (scope.find(c) for c in columns)
            self._holds_equal(left, right, source)
            if same_unit(left, right):
                return f"{left[0].unit_sql} = {right[0].unit_sql}"
        term = Reader(scope).read(part)
        require_kind(term, part, "ON", Kind.BOOLEAN)
        # comparing columns cannot fail, and stays visible to the optimizer
        return term.sql if columns else f"TRY({term.sql})"

    def _holds_equal(self, left: Place, right: Place, joined_source: Source) -> None:
        only = joined_source.tag if joined_source.optional else None
        self.equalities.append(Equality((left, right), only))

    def _fan_out(self, *, counted: bool) -> int:
        """Walk from the base along equalities; each step repeats a row at most so often."""
        reached, fan_out = {self.base.tag}, 1
        waiting = [s for s in self.seen if s is not self.base and (counted or s.unit is not None)]
        while waiting:
            step = next((s for s in waiting if self._links(s, reached)), None)
            if step is None:
                raise self._unlinked(waiting)
            if self.base.unit is not None and counted:
                fan_out *= _repeats(step, self._links(step, reached))
            reached.add(step.tag)
            waiting.remove(step)
        return fan_out

    def _links(self, source: Source, reached: set[str]) -> list[Column]:
        """The columns of `source` that an equality ties to what is reached: for a private source, the unit's alone."""
        found = []
        for equality in self.equalities:
            if equality.only not in (None, source.tag):
                continue
            (a, a_column), (b, b_column) = equality.sides
            if b.tag == source.tag and a.tag in reached:
                found.append(b_column)
            elif a.tag == source.tag and b.tag in reached:
                found.append(a_column)
        return [c for c in found if source.unit is None or c.term is None]

    def _unlinked(self, waiting: list[Source]) -> Exception:
        private = next((s for s in waiting if s.unit is not None), None)
        if private is None:
            return JoinNeedsEquality(name=waiting[0].alias)
        return not_on_unit(private, self.base)


def not_on_unit(source: Source, base: Source) -> Exception:
    """Why a private source may not meet the rows of `base`."""
    unit, own = source.unit, base.unit
    if unit is None or own is None:
        return JoinLosesUnit(name=base.alias, unit=unit.stands_for if unit else "")
    if unit.space != own.space:
        return DifferentUnits(name=source.alias, unit=unit.stands_for, base=base.alias, own=own.stands_for)
    return PrivateNotOnUnit(
        name=source.alias, base=base.alias, unit=own.stands_for, column=source.unit_name, own=base.unit_name
    )


def same_unit(left: Place, right: Place) -> bool:
    """True when both columns identify units of one id space: the numbers in `_uid` are then the same."""
    units = left[0].unit, right[0].unit
    if left[1].term is not None or right[1].term is not None or units[0] is None or units[1] is None:
        return False
    if units[0].space != units[1].space:
        raise not_on_unit(right[0], left[0])
    return True


def ties_unit(sides: tuple[Place, Place], tag: str) -> bool:
    """True when the equality ties the unit of the source `tag` to that of another source."""
    tags = [source.tag for source, _ in sides]
    return tags[0] != tags[1] and tag in tags and same_unit(*sides)


def equated(part: exp.Expr) -> tuple[exp.Column, exp.Column] | None:
    """The two columns of `a = b`, None for any other condition."""
    if isinstance(part, exp.EQ) and isinstance(part.this, exp.Column) and isinstance(part.expression, exp.Column):
        return part.this, part.expression
    return None


def conjuncts(node: exp.Expr) -> list[exp.Expr]:
    """The parts of a condition that all have to hold."""
    if isinstance(node, exp.And):
        return [*conjuncts(node.this), *conjuncts(node.expression)]
    return conjuncts(node.this) if isinstance(node, exp.Paren) else [node]


def _named(source: Source) -> str:
    return f"{source.text} AS {source.tag}"


def _repeats(source: Source, columns: list[Column]) -> int:
    if source.unit is not None:
        return source.max_rows
    known = [c.max_repeats for c in columns if c.max_repeats is not None]
    if not known:
        raise JoinFanOutUnknown(name=source.alias, column=columns[0].name)
    return max(1, min(known))


def _qualified(source: Source, column: Column) -> exp.Column:
    return exp.Column(
        this=exp.to_identifier(column.name, quoted=True), table=exp.to_identifier(source.alias, quoted=True)
    )

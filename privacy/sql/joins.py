"""FROM and its joins → one relation: which sources meet on what, and how far a join may multiply the rows of a unit.

Owns the text of joins. It never reads data: how often a join can repeat a row is a public fact of the public side (how many
of its rows share a value, `Column.max_repeats`; how many it has, `Source.max_rows`), or the `max_rows` of the other private
side. Law 3: sources that hold units are joined on the unit, by plain equality, inner or left from a source that holds it;
anything else is refused. So a row of the result is a row of each private source of *one* unit, beside rows of public tables,
and the first source, which is never optional, names that unit. Public tables may meet it on any condition, or on none.

That a relation has at most `max_rows` rows a unit rests on facts, privacy does not: bounding looks at what is there
(`privacy.sql.bound`). It decides how large a bound is worth making noise for, and how much work one unit may be. Where rows of
a unit multiply with each other, or with a whole public table, private sources give at most the `max_rows` of each unit that
count (`Source.limited`, a function of the unit's own rows): nobody takes more time than is public.
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
    JoinNeedsCondition,
    JoinTooLarge,
    PrivateNotOnUnit,
    TooManyParts,
)
from privacy.sql.resolve import MAX_UNIT_ROWS, UNKNOWN_ROWS, Column, Relation, RowScope, Source, Subqueries, readable
from privacy.sql.terms import require_kind

MAX_JOINS = 8
#: Rows of a unit joined with each other or with whole tables: so few that nobody can tell by the time whether a unit has them.
MAX_PAIRED_ROWS = 2**20
#: (side, kind) of the joins that keep every row with its unit.
_JOINS = {("", ""), ("", "INNER"), ("", "CROSS"), ("LEFT", ""), ("LEFT", "OUTER"), ("", "SEMI"), ("", "ANTI")}
#: Joins that only ask whether the other side has a row: nothing of it is seen afterwards.
_FILTERS = {"SEMI": "EXISTS", "ANTI": "NOT EXISTS"}

_COMPARISONS = exp.EQ | exp.NEQ | exp.LT | exp.LTE | exp.GT | exp.GTE | exp.Between

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
        text, kind = _written(join), join.kind.upper()
        if (join.side.upper(), kind) not in _JOINS:
            advice = Text(
                "Use JOIN, LEFT JOIN, SEMI JOIN or ANTI JOIN.", "请使用 JOIN、LEFT JOIN、SEMI JOIN 或 ANTI JOIN。"
            )
            raise refuse(Text(text, text), join, advice)
        if kind == "CROSS" and (join.args.get("on") or join.args.get("using")):
            advice = Text("Write JOIN … ON.", "请写 JOIN … ON。")
            raise refuse(Text("CROSS JOIN with a condition", "带条件的 CROSS JOIN"), join, advice)


def _written(join: exp.Join) -> str:
    return " ".join(w for w in (join.side.upper(), join.kind.upper(), "JOIN") if w)


def _is_spelt(join: exp.Join) -> bool:
    """True for the word JOIN, false for a comma: the parser looks for PIVOT behind the one and not behind the other."""
    return "pivots" in join.args


def joined(
    sources: list[Source], joins: list[exp.Join], where: list[exp.Expr], subqueries: Subqueries, *, counted: bool
) -> Relation:
    """The relation of sources as written; `joins[i]` joins `sources[i + 1]`, and equalities of `where` count as theirs.

    Where rows are not `counted`, as behind EXISTS, they are looked through for each row around them: no more than count.
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
    return joiner.relation()


class _Joiner:
    """Builds the relation: inner conditions meet in WHERE, left joins keep theirs, each join states its fan-out."""

    def __init__(self, base: Source, first: Source, subqueries: Subqueries) -> None:
        self.base = base
        self.subqueries = subqueries
        self.seen = [first]
        self.merged: set[tuple[str, str]] = set()
        self.equalities: list[Equality] = []
        self.outward: list[Place] = []
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
            self.left[source.tag] = " AND ".join(conditions)
        else:
            self.inner.extend(conditions)

    def hold(self, where: list[exp.Expr]) -> None:
        """Equalities that WHERE asks of every row: `FROM a, b WHERE a.x = b.x` is a join too.

        Behind EXISTS a column may be held equal to one of the row around; elsewhere such a name is refused as unknown.
        """
        scope = RowScope(tuple(self.seen), frozenset(self.merged))
        for columns in filter(None, map(equated, where)):
            known = [scope.find(c) for c in columns if scope.has(c)]
            if len(known) == len(columns):
                self.equalities.append(Equality((known[0], known[1]), None))
            else:
                self.outward.extend(known)

    def _filter(self, join: exp.Join, source: Source) -> str:
        """The rows that SEMI JOIN or ANTI JOIN look for; nothing that is held equal there holds anywhere else."""
        before, merged = len(self.equalities), set(self.merged)
        conditions = self._conditions(join, source)
        found = self.equalities[before:]
        self.equalities, self.merged = self.equalities[:before], merged
        if source.unit is not None and not any(ties_unit(e.sides, source.tag) for e in found):
            raise not_on_unit(source, self.base)
        return f"SELECT 1 FROM {_named(source)} WHERE {' AND '.join(conditions)}"

    def relation(self) -> Relation:
        """The relation of all sources; the base comes first, the left joins last."""
        most, whole = self._most()
        sources = sorted(self.seen, key=lambda s: s is not self.base)  # stable: the base moves to the front
        if whole:
            sources = [replace(s, text=s.limited) if s.unit is not None else s for s in sources]
        text = " CROSS JOIN ".join(_named(s) for s in sources if not s.optional)
        text += "".join(f" LEFT JOIN {_named(s)} ON {self.left[s.tag]}" for s in sources if s.optional)
        return Relation(
            scope=RowScope(tuple(sources), frozenset(self.merged), self.subqueries),
            from_sql=text,
            conditions=tuple(self.inner),
            max_rows=most,
            bounded=sources[0].text == sources[0].limited,
            names=self.subqueries,
        )

    def _conditions(self, join: exp.Join, source: Source) -> list[str]:
        using = join.args.get("using")
        if using:
            return [self._using(name, source) for name in using]
        on = join.args.get("on")
        if on is None:
            if join.kind.upper() != "CROSS" and _is_spelt(join):
                raise JoinNeedsCondition(kind=_written(join), name=source.alias)
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
        return term.sql if compared(part) else f"TRY({term.sql})"

    def _holds_equal(self, left: Place, right: Place, joined_source: Source) -> None:
        only = joined_source.tag if joined_source.optional else None
        self.equalities.append(Equality((left, right), only))

    def _most(self) -> tuple[int, bool]:
        """The most rows of a unit (of all, when there is none), and whether a whole public table multiplies them.

        Walks from the base: along equalities a source repeats a row as often as it repeats a value, else as often as it has
        rows. Whichever way it is walked, the product is a bound.
        """
        most, reached, whole, largest = self.base.max_rows, {self.base.tag}, False, (0, self.base.alias)
        waiting = [s for s in self.seen if s is not self.base]
        while waiting:
            step = min(waiting, key=lambda s: (not self._links(s, reached), s.unit is not None, s.max_rows))
            links = self._links(step, reached)
            if step.unit is not None and not links:
                raise not_on_unit(step, self.base)
            repeats = _repeats(step, links)
            whole |= not links and repeats > 1 and self.base.unit is not None
            most, largest = most * repeats, max(largest, (repeats, step.alias))
            reached.add(step.tag)
            waiting.remove(step)
        self._require_few(most, largest[1], paired=whole or sum(s.unit is not None for s in self.seen) > 1)
        return most, whole

    def _require_few(self, most: int, name: str, *, paired: bool) -> None:
        """Refuse a join that multiplies the rows of a unit beyond what one question may work on."""
        unit, limit = self.base.unit, MAX_PAIRED_ROWS if paired else MAX_UNIT_ROWS
        if unit is None or most <= limit:
            return
        if most >= UNKNOWN_ROWS:
            raise JoinFanOutUnknown(name=name)
        raise JoinTooLarge(name=name, unit=unit.stands_for, count=most, limit=limit)

    def _links(self, source: Source, reached: set[str]) -> list[Column]:
        """The columns of `source` that an equality ties to what is reached: for a private source, the unit's alone."""
        found = [c for s, c in self.outward if s.tag == source.tag and s.unit is None]
        for equality in self.equalities:
            if equality.only not in (None, source.tag):
                continue
            (a, a_column), (b, b_column) = equality.sides
            if b.tag == source.tag and a.tag in reached:
                found.append(b_column)
            elif a.tag == source.tag and b.tag in reached:
                found.append(a_column)
        return [c for c in found if source.unit is None or c.term is None]


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


def compared(part: exp.Expr) -> list[exp.Column]:
    """The bare columns of a comparison, which no value can make fail; [] for any other condition."""
    operands = list(part.iter_expressions()) if isinstance(part, _COMPARISONS) else []
    columns = [n for n in operands if isinstance(n, exp.Column)]
    return columns if len(columns) == len(operands) else []


def conjuncts(node: exp.Expr) -> list[exp.Expr]:
    """The parts of a condition that all have to hold."""
    if isinstance(node, exp.And):
        return [*conjuncts(node.this), *conjuncts(node.expression)]
    return conjuncts(node.this) if isinstance(node, exp.Paren) else [node]


def _named(source: Source) -> str:
    return f"{source.text} AS {source.tag}"


def _repeats(source: Source, columns: list[Column]) -> int:
    """How often one row may meet rows of the source, held equal in these columns; a left join keeps it in any case."""
    known = [] if source.unit is not None else [c.max_repeats for c in columns if c.max_repeats is not None]
    return max(1, min([source.max_rows, *known]))


def _qualified(source: Source, column: Column) -> exp.Column:
    return exp.Column(
        this=exp.to_identifier(column.name, quoted=True), table=exp.to_identifier(source.alias, quoted=True)
    )

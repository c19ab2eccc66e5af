"""Bounding: from the tracked relation to exact integers that no unit can move further than stated.

Owns the statistics of a plan (lattice, bound) and the DuckDB text that computes them. The argument, for one statistic:

1. Every row of the tracked relation belongs to one unit (`privacy.sql.resolve`). `per_unit` groups by (unit, keys), so each
   unit owns a vector c over cells that depends on its own rows and on public tables only.
2. Each coordinate is clamped to [-R, R], then scaled by the constant `up`; integers throughout.
3. q = Σ c² is exact (HUGEINT: |c| ≤ 2^44 and at most 2^38 cells). If q ≤ bound², c stays. Otherwise every coordinate becomes
   trunc(c·f / 2^20) with f = floor(2^20 · sqrt(bound²/q) · (1 - 2^-40)). The five floating-point operations behind f err by
   less than 2^-50 in all, so f ≤ 2^20 · sqrt(bound²/q), and truncation only shrinks: Σ c'² ≤ q·f²/2^40 ≤ bound².
4. Cells add up over units, so adding or removing one unit moves the vector of sums by c', that is by at most `bound` in L2.
   The final clamp of each sum to ±2^62 is 1-Lipschitz and keeps that.

Hence the Gaussian mechanism with scale sigma costs rho = bound²/(2 sigma²) (Canonne, Kamath & Steinke 2020, Theorem 14; for a
vector: Bun & Steinke 2016, Lemma 2.5 with L2 sensitivity). With private keys a unit first keeps at most `max_keys` of its
keys, chosen by a hash of the key that is salted with all keys of the unit: again a function of its own rows alone. (Its number
would be none: numbers are dense, so one unit more gives others another number.)
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from fractions import Fraction

from privacy.facts import Kind
from privacy.sql.plan import Aggregate, Statistic
from privacy.sql.resolve import Relation
from privacy.sql.terms import Term

#: Coordinates stay below this, so that sums of squares are exact in 128 bits: a unit owns at most
#: `privacy.sql.resolve.MAX_UNIT_ROWS` rows, and a value's lattice is as coarse as it then has to be.
MAX_REACH = 2**44
#: The lattice is refined until a bound is at least this, so that truncation is negligible.
FINE = 2**20
TOTAL = 2**62
WEIGHT_ONE = 2**20


@dataclass(frozen=True, kw_only=True, slots=True)
class Measure:
    """A statistic before it has a name: what a row adds (`row`), and how far one row can reach (`reach`, lattice units).

    `row` is DuckDB text, the row's integer (SUM) or condition (COUNT of an expression); "" counts every row. `offset` is
    what was subtracted from each row's value, in lattice units.
    """

    aggregate: Aggregate
    row: str
    label: str
    reach: int = 1
    step: Fraction = Fraction(1)
    offset: int = 0


def sum_measure(term: Term, label: str, max_rows: int, *, centred: bool) -> Measure:
    """The measure of SUM over a bounded term; `centred` subtracts the middle of its range (for averages)."""
    low, high = term.low or Fraction(0), term.high or Fraction(0)
    step = _lattice(term, low, high, max_rows)
    first, last = math.floor(low / step), math.ceil(high / step)
    offset = (first + last) // 2 if centred else 0
    reach = max(abs(first - offset), abs(last - offset), 1)
    row = _row_integer(term, step, first, last, offset)
    return Measure(aggregate=Aggregate.SUM, row=row, label=label, reach=reach, step=step, offset=offset)


def _lattice(term: Term, low: Fraction, high: Fraction, max_rows: int) -> Fraction:
    """The expression's own lattice where it fits, else the finest power of ten that keeps a unit within `MAX_REACH`."""
    widest = max(abs(low), abs(high), high - low, Fraction(1, 10**12))
    room = MAX_REACH // (2 * max(1, max_rows))
    if term.step and widest / term.step <= room:
        return term.step
    exponent = math.ceil(math.log10(float(widest)) - math.log10(min(room, 2**30)))
    step = Fraction(10) ** exponent
    return step if widest / step <= room else step * 10


def _row_integer(term: Term, step: Fraction, first: int, last: int, offset: int) -> str:
    """The row's value in lattice units, clamped and shifted; NaN and infinities count as NULL (no value)."""
    value = term.sql
    if term.kind is Kind.INTEGER and step.denominator == 1:
        whole = value if step == 1 else f"{value} // {step.numerator}"
        clamped = f"greatest({first}, least({last}, {whole}))"
        return f"CASE WHEN {value} IS NOT NULL THEN {clamped} - {offset} END"
    scaled = f"round(CAST({value} AS DOUBLE) * {step.denominator} / {step.numerator})"
    clamped = f"TRY_CAST(greatest({first}, least({last}, {scaled})) AS BIGINT)"
    return f"CASE WHEN isfinite(CAST({value} AS DOUBLE)) THEN {clamped} - {offset} END"


def statistics(measures: list[Measure], *, max_rows: int, cells: int | None) -> tuple[Statistic, ...]:
    """Name the measures s0, s1, …, bound them and share the question's rho evenly."""
    share = Fraction(1, max(1, len(measures)))
    return tuple(_statistic(m, f"s{i}", share, max_rows, cells) for i, m in enumerate(measures))


def _statistic(m: Measure, name: str, share: Fraction, max_rows: int, cells: int | None) -> Statistic:
    up = refinement(m, max_rows, cells)
    return Statistic(
        name=name,
        aggregate=m.aggregate,
        label=m.label,
        bound_squared=_bound_squared(m, max_rows, cells) * up * up,
        step=m.step / up,
        round_to=m.step,
        share=share,
    )


def refinement(m: Measure, max_rows: int, cells: int | None) -> int:
    """The power of two by which the lattice is refined."""
    if m.aggregate is Aggregate.WEIGHT:
        return 1
    bound = math.isqrt(_bound_squared(m, max_rows, cells))
    up = 1
    while bound * up < FINE:
        up *= 2
    return up


def _bound_squared(m: Measure, max_rows: int, cells: int | None) -> int:
    """The squared L2 reach of a unit that owns `max_rows` rows.

    COUNT and SUM are longest when all rows meet in one cell: (max_rows · reach)². UNITS puts a 1 into each of the unit's
    cells, at most min(max_rows, cells) of them, UNITS_WHERE into some of these. WEIGHT puts 1/sqrt(m) into each of m cells:
    exactly 1.
    """
    match m.aggregate:
        case Aggregate.WEIGHT:
            return WEIGHT_ONE**2
        case Aggregate.UNITS | Aggregate.UNITS_WHERE:
            return max_rows if cells is None else max(1, min(max_rows, cells))
    return (max_rows * m.reach) ** 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Exact:
    """Everything the exact query is rendered from."""

    relation: Relation
    conditions: tuple[str, ...]
    keys: tuple[str, ...]
    measures: tuple[Measure, ...]
    statistics: tuple[Statistic, ...]
    cells: int | None
    max_keys: int

    def sql(self) -> str:
        """The DuckDB text: k0…, s0… with one row a cell that some unit touches (exactly one row without keys)."""
        steps = [f"WITH tracked AS ({self._tracked()})", f"per_unit AS ({self._per_unit()})"]
        if self.keys:
            steps.append(f"scored AS (SELECT *{self._squares()} FROM per_unit)")
        names = self._key_names()
        totals = ", ".join(self._total(i) for i in range(len(self.statistics)))
        group = f" GROUP BY {', '.join(names)}" if names else ""
        final = f"SELECT {', '.join([*names, totals])} FROM {'scored' if names else 'per_unit'}{group}"
        return ", ".join(steps) + " " + final

    def _key_names(self) -> list[str]:
        return [f"k{i}" for i in range(len(self.keys))]

    def _tracked(self) -> str:
        columns = [f"{self.relation.unit_sql} AS unit"]
        columns += [f"{sql} AS k{i}" for i, sql in enumerate(self.keys)]
        columns += [f"TRY({m.row}) AS v{i}" for i, m in enumerate(self.measures) if m.row]
        conditions = (*self.relation.conditions, *self.conditions)
        where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
        return f"SELECT {', '.join(columns)} FROM {self.relation.from_sql}{where}"

    def _per_unit(self) -> str:
        names = self._key_names()
        columns = ["unit", *names, *(self._coordinate(i, m) for i, m in enumerate(self.measures))]
        text = f"SELECT {', '.join(c for c in columns if c)} FROM tracked GROUP BY {', '.join(['unit', *names])}"
        if self.cells is None:
            listed = ", ".join(names)
            own = f"count(*) OVER own AS m, bit_xor(hash({listed})) OVER own AS salt"
            salted = f"SELECT *, {own} FROM ({text}) WINDOW own AS (PARTITION BY unit)"
            rank = f"row_number() OVER (PARTITION BY unit ORDER BY hash(salt, {listed}), {listed})"
            text = f"SELECT *, {self._weight()} FROM ({salted}) QUALIFY {rank} <= {self.max_keys}"
        return text

    def _coordinate(self, i: int, m: Measure) -> str:
        """What one unit adds to one cell: clamped to its reach, on the refined lattice."""
        if m.aggregate is Aggregate.WEIGHT:
            return ""
        up = self._up(i)
        if m.aggregate is Aggregate.UNITS:
            return f"CAST({up} AS BIGINT) AS c{i}"
        if m.aggregate is Aggregate.UNITS_WHERE:
            return f"CASE WHEN bool_or(v{i}) THEN CAST({up} AS BIGINT) ELSE CAST(0 AS BIGINT) END AS c{i}"
        limit = math.isqrt(self.statistics[i].bound_squared) // up
        added = f"coalesce(sum(v{i}), 0)" if m.aggregate is Aggregate.SUM else "count(*)"
        if m.aggregate is Aggregate.COUNT and m.row:
            added = f"count(*) FILTER (WHERE v{i})"
        return f"CAST(greatest(-{limit}, least({limit}, {added})) AS BIGINT) * {up} AS c{i}"

    def _up(self, i: int) -> int:
        ratio = self.measures[i].step / self.statistics[i].step
        return int(ratio)

    def _weight(self) -> str:
        i = next(j for j, m in enumerate(self.measures) if m.aggregate is Aggregate.WEIGHT)
        return f"CAST(floor({WEIGHT_ONE} / sqrt(least(m, {self.max_keys}))) AS BIGINT) AS c{i}"

    def _squares(self) -> str:
        """q<i> = Σ c², for statistics that are not within their bound by construction."""
        clipped = [i for i, m in enumerate(self.measures) if m.aggregate is not Aggregate.WEIGHT]
        return "".join(f", sum(CAST(c{i} AS HUGEINT) * c{i}) OVER (PARTITION BY unit) AS q{i}" for i in clipped)

    def _total(self, i: int) -> str:
        value = f"c{i}"
        if self.keys and self.measures[i].aggregate is not Aggregate.WEIGHT:
            square = self.statistics[i].bound_squared
            factor = f"CAST(floor({FINE} * sqrt({square}::DOUBLE / greatest(q{i}, 1)::DOUBLE) * {1 - 2.0**-40!r}) AS HUGEINT)"
            shrunk = f"CAST((CAST(c{i} AS HUGEINT) * {factor}) // {FINE} AS BIGINT)"
            value = f"CASE WHEN q{i} <= {square}::HUGEINT THEN c{i} ELSE {shrunk} END"
        return f"CAST(greatest(-{TOTAL}, least({TOTAL}, coalesce(sum({value}), 0))) AS BIGINT) AS s{i}"


def merged(measures: list[Measure], extra: Measure) -> tuple[list[Measure], int]:
    """`measures` with `extra` in it, and its place: equal measures are asked (and paid) once."""
    for i, known in enumerate(measures):
        if replace(known, label="") == replace(extra, label=""):
            return measures, i
    return [*measures, extra], len(measures)

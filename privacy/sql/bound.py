"""Bounding: what is added up, and why no unit can move it further than stated.

Owns the statistics of a plan (lattice, bound, share of the price) and the argument that every engine keeps:

1. Every row of the tracked relation belongs to one unit (`privacy.sql.resolve`). Grouped by (unit, cell), unit u owns for each
   statistic j an integer vector x_j over the cells: a function of u's rows and of public tables alone.
2. r = Σ_j a_j |x_j|² / B_j², with the shares a_j > 0 adding up to 1. If r <= 1 + 2^-28, u adds x_j · up_j to the totals of
   statistic j; else it adds trunc(x_j · up_j · g) with g = (1 - 2^-40)/sqrt(r): all its vectors, scaled by one factor, so that
   ratios such as averages keep their value.
3. r is computed in double precision. Its terms are not negative, a coordinate is below 2^53 and so exact, and there are at most
   2^23 of them (`MAX_CELLS` cells of `MAX_STATISTICS` statistics, private keys included: `privacy.mechanisms` shows no more);
   summing errs by a factor within 1 ± 2^-29 (Higham 2002, Section 4.2). Truncation only shrinks. Hence what u adds
   keeps Σ_j a_j |x'_j|² / (up_j B_j)² <= 1 + 2^-27.
   QUANTILE and DISTINCT are binned: x_j is the number of u's rows with a value in each cell, or of their different values. For
   QUANTILE each of these rows adds trunc(up_j · g) to its bin. For DISTINCT u gives trunc(up_j · g) to each of its values, and
   the cell's total is Σ_v min(up_j, what all units give v). Both times u brings the cell at most x_j · trunc(up_j · g) in all
   (L1), and the minimum is 1-Lipschitz: a DISTINCT total moves by no more, as x'_j says.
4. Adding or removing u moves the exact totals by x'_1, x'_2, …, and by nothing else. A total is kept within ±2^62 at the end,
   which moves it no further.

Noise of scale sigma_j >= B_j up_j (1 + 2^-26) / sqrt(2 a_j rho) on statistic j then costs
Σ_j |x'_j|² / (2 sigma_j²) <= rho Σ_j a_j |x'_j|² / (up_j B_j (1 + 2^-26))² <= rho: the discrete Gaussian of each coordinate is
(difference²/2 sigma²)-zCDP (Canonne, Kamath & Steinke 2020, Theorem 14) and coordinates compose by addition (Bun & Steinke
2016, Lemma 2.3). QUANTILE is drawn from its bins by another mechanism, for which the same sum holds between any two databases
that differ in u (`privacy.order`). A statistic alone may reach B_j / sqrt(a_j): the ellipsoid holds the box in which each keeps
its own B_j.

The B_j are public: declared worst cases (`_bound_squared`), or chosen by an earlier step of the same answer that paid for it
(`privacy.choice`). With private keys each unit also gives weight 1/sqrt(m) to each of its m keys: length 1 by construction.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from fractions import Fraction

from privacy.facts import Kind
from privacy.sql.plan import A_DAY, Aggregate, Order, Statistic
from privacy.sql.terms import Term

#: No answer has more cells, and no question more different statistics; point 3 rests on their product.
MAX_CELLS = 100_000
MAX_STATISTICS = 40
#: The longest vector that facts allow, in lattice units of the rows: a unit owns at most `privacy.sql.resolve.MAX_UNIT_ROWS`
#: rows, and a value's lattice is as coarse as it then has to be. Sums stay exact in double precision.
MAX_REACH = 2**44
#: The lattice of the totals is refined until a bound is at least this, so that truncation is negligible.
FINE = 2**20
TOTAL = 2**62
WEIGHT_ONE = 2**20
#: r up to this counts as within the bound, and the factor on sigma that pays for it (points 2 and 3).
WITHIN = 1 + 2.0**-28
SLACK = 1 + 2.0**-26
SHRINK = 1 - 2.0**-40
#: All cells of all quantiles of a question have so many bins together: each is read, weighed and drawn over. A cell has at
#: least and at most so many; with private keys so many, and fewer keys are shown (`most_keys`).
MAX_BINS = 2**19
FEWEST_BINS, MOST_BINS, BINS_OF_A_KEY = 64, 4096, 512
#: More than `USUAL_BINS` a cell there are only while that makes so many together: drawing over them takes time.
USUAL_BINS, QUICK_BINS = 1024, 2**14
#: Facts that let a unit own so many rows say little about what a usual one owns: the question chooses its own bounds.
CHOOSE_FROM = 32
#: Of rho: for selecting private keys; and of what is left, for the length of a usual unit and the proportions of its vectors.
SELECTION = Fraction(7, 10)
LENGTH = Fraction(7, 100)
RATIOS = Fraction(3, 100)


@dataclass(frozen=True, kw_only=True, slots=True)
class Measure:
    """A statistic before it has a name: what a row adds (`row`), and how far one row can reach (`reach`, lattice units).

    `row` is DuckDB text, the row's integer (SUM, QUANTILE), value (DISTINCT) or condition (COUNT of an expression); "" counts
    every row. `offset` is what was subtracted from each row's value, in lattice units. `stored`: the text is a stored column's,
    which no operation can make fail; `nullable`: it may be NULL. `counted` is the column whose values a DISTINCT counts, where
    it is a stored one, and the condition of rows that count ("": none).
    """

    aggregate: Aggregate
    row: str
    label: str
    reach: int = 1
    step: Fraction = Fraction(1)
    offset: int = 0
    stored: bool = False
    nullable: bool = True
    order: Order | None = None
    counted: tuple[Term, str] | None = None


def sum_measure(term: Term, label: str, max_rows: int, *, centred: bool) -> Measure:
    """The measure of SUM over a bounded term; `centred` subtracts the middle of its range (for averages).

    It does not where the question chooses its own bounds and the range holds 0: declared ranges reach far beyond usual values,
    which lie near 0, so that the distance from the middle would be the longer vector.
    """
    low, high = term.low or Fraction(0), term.high or Fraction(0)
    step = _lattice(term, low, high, max_rows)
    first, last = math.floor(low / step), math.ceil(high / step)
    near_zero = max_rows >= CHOOSE_FROM and first <= 0 <= last
    offset = (first + last) // 2 if centred and not near_zero else 0
    reach = max(abs(first - offset), abs(last - offset), 1)
    row, stored, nullable = _whole(term, step, first, last, offset)
    return Measure(
        aggregate=Aggregate.SUM,
        row=row,
        label=label,
        reach=reach,
        step=step,
        offset=offset,
        stored=stored,
        nullable=nullable,
    )


def quantile_measure(term: Term, label: str, level: Fraction) -> Measure:
    """The measure of a quantile of a bounded number, day or moment: each row's place on the lattice of its range, from 0."""
    if term.since is not None and term.until is not None:
        return _moment_measure(term, label, level, term.since, term.until)
    low, high = term.low or Fraction(0), term.high or Fraction(0)
    step = _lattice(term, low, high, 1)
    first, last = math.floor(low / step), math.ceil(high / step)
    row, stored, nullable = _whole(term, step, first, last, first)
    order = Order(level=level, first=first, size=last - first + 1, step=step)
    return Measure(aggregate=Aggregate.QUANTILE, row=row, label=label, stored=stored, nullable=nullable, order=order)


def _moment_measure(term: Term, label: str, level: Fraction, since: date, until: date) -> Measure:
    """Days by the day, moments by the second that they lie in: no range is shorter than a day, and no bin than 21 seconds."""
    kind, days = term.kind or Kind.DATE, max(1, (until - since).days + 1)
    if kind is Kind.DATE:
        first, size, row = since.toordinal(), days, f"CAST({term.sql} AS DATE) - DATE '{since.isoformat()}'"
    else:
        first, size = since.toordinal() * A_DAY, days * A_DAY
        start = (since - date(1970, 1, 1)).days * A_DAY * 1_000_000
        clamped = f"greatest({start}, least({start + size * 1_000_000 - 1}, epoch_us({term.sql})))"
        row = f"CASE WHEN isfinite({term.sql}) THEN ({clamped} - {start}) // 1000000 END"
    order = Order(level=level, first=first, size=size, step=Fraction(1), kind=kind)
    return Measure(aggregate=Aggregate.QUANTILE, row=row, label=label, nullable=term.nullable, order=order)


def distinct_measure(term: Term, label: str, counted: Term, where: str) -> Measure:
    """The measure of COUNT(DISTINCT term): values compare as SQL compares them; NaN and infinities are no values.

    `term` is `counted` where the condition `where` holds ("": everywhere).
    """
    column = (counted, where) if counted.stored is not None else None
    if term.stored is not None:
        return Measure(aggregate=Aggregate.DISTINCT, row=term.stored.sql, label=label, stored=True, counted=column)
    finite = f"CASE WHEN isfinite({term.sql}) THEN {term.sql} END" if term.kind is Kind.NUMBER else term.sql
    return Measure(aggregate=Aggregate.DISTINCT, row=finite, label=label, counted=column)


def _whole(term: Term, step: Fraction, first: int, last: int, offset: int) -> tuple[str, bool, bool]:
    """The row's integer, whether it is a stored column's, and whether it may be NULL."""
    stored = term.stored if term.step == step else None
    if stored is None:
        return _row_integer(term, step, first, last, offset), False, True
    return f"CAST({stored.sql} AS BIGINT) - {offset}" if offset else stored.sql, True, term.nullable


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


def statistics(measures: list[Measure], *, max_rows: int, cells: int | None) -> tuple[tuple[Statistic, ...], Fraction]:
    """Name the measures s0, s1, …, bound them and share out rho; also the part of rho that chooses a unit's length.

    All parts add up to 1. The measures share evenly what selecting keys and choosing bounds leave.
    """
    selects = any(m.aggregate is Aggregate.WEIGHT for m in measures)
    measured = len(measures) - selects
    rest = 1 - SELECTION if selects and measured else Fraction(1)
    chooses = max_rows >= CHOOSE_FROM
    proportioned = [m for m in measures if chooses and _needs_ratio(m, measured)]
    length = LENGTH * rest if chooses and measured else Fraction(0)
    ratio = RATIOS * rest / len(proportioned) if proportioned else Fraction(0)
    each = (rest - length - ratio * len(proportioned)) / max(1, measured)
    quantiles = sum(m.order is not None for m in measures)
    found = []
    for i, m in enumerate(measures):
        share = 1 - rest if m.aggregate is Aggregate.WEIGHT and measured else each
        one = replace(_statistic(m, f"s{i}", share, max_rows, cells), order=_binned(m.order, quantiles, cells))
        found.append(replace(one, ratio_share=ratio) if m in proportioned else one)
    return tuple(found), length


def _needs_ratio(m: Measure, measured: int) -> bool:
    """Whether nothing public says how long this vector is beside the vector of row counts."""
    match m.aggregate:
        case Aggregate.SUM:
            return True
        case Aggregate.COUNT | Aggregate.DISTINCT:
            return m.row != "" and measured > 1
        case Aggregate.QUANTILE:
            return m.nullable and measured > 1
    return False


def _binned(order: Order | None, quantiles: int, cells: int | None) -> Order | None:
    """The order with the finest bins for which there is room beside those of the other quantiles and cells."""
    if order is None:
        return None
    most = BINS_OF_A_KEY
    if cells is not None:
        fine = max(USUAL_BINS, QUICK_BINS // (quantiles * cells))
        most = min(MOST_BINS, fine, most_bins(quantiles, cells))
    return replace(order, width=-(-order.size // most))


def most_bins(quantiles: int, cells: int) -> int:
    """How many bins each quantile may have in each cell."""
    return MAX_BINS // (quantiles * cells)


def most_keys(measured: Sequence[Statistic]) -> int:
    """How many private keys may be shown: their cells, and their bins, have to be read and drawn over."""
    bins = sum(s.order.bins for s in measured if s.order is not None)
    return min(MAX_CELLS, MAX_BINS // bins) if bins else MAX_CELLS


def _statistic(m: Measure, name: str, share: Fraction, max_rows: int, cells: int | None) -> Statistic:
    declared = Statistic(
        name=name,
        aggregate=m.aggregate,
        label=m.label,
        value=f"v{name[1:]}" if m.row else "",
        reach=m.reach,
        bound_squared=_bound_squared(m, max_rows, cells),
        step=m.step,
        round_to=m.step,
        share=share,
    )
    return declared if m.aggregate is Aggregate.WEIGHT else refined(declared, math.inf)


def refined(statistic: Statistic, bound: float) -> Statistic:
    """The statistic with B at least `bound` (> 0, in lattice units of the rows) and at most the declared one.

    The lattice of its totals is the coarsest power-of-two refinement on which B is at least `FINE`.
    """
    declared = Fraction(statistic.bound_squared) / statistic.up**2
    squared = declared if bound**2 >= declared else Fraction(bound) ** 2
    up = 1
    while squared * up**2 < FINE**2:
        up *= 2
    return replace(statistic, bound_squared=math.ceil(squared * up**2), step=statistic.round_to / up)


def _bound_squared(m: Measure, max_rows: int, cells: int | None) -> int:
    """The squared L2 reach of a unit that owns `max_rows` rows.

    COUNT, SUM, QUANTILE and DISTINCT are longest when all rows meet in one cell: (max_rows · reach)². UNITS puts a 1 into each
    of the unit's cells, at most min(max_rows, cells) of them, UNITS_WHERE into some of these. WEIGHT puts 1/sqrt(m) into each of
    m cells: exactly 1.
    """
    match m.aggregate:
        case Aggregate.WEIGHT:
            return WEIGHT_ONE**2
        case Aggregate.UNITS | Aggregate.UNITS_WHERE:
            return max_rows if cells is None else max(1, min(max_rows, cells))
    return (max_rows * m.reach) ** 2


def merged(measures: list[Measure], extra: Measure) -> tuple[list[Measure], int]:
    """`measures` with `extra` in it, and its place: equal measures are asked (and paid) once."""
    for i, known in enumerate(measures):
        if replace(known, label="") == replace(extra, label=""):
            return measures, i
    return [*measures, extra], len(measures)

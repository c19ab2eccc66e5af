"""What an accepted question becomes: a `Plan`, made from SQL text and public facts alone (law 4).

Owns the nouns that travel from the compiler to the engine, the mechanisms and the wire. A Plan says which rows are read
(`rows_sql`), what is added up from them and how far one privacy unit may move it (`Statistic`), and how the noisy integers
become the columns the asker wrote (`finish_sql`). It never holds a value of a private table. `Units` is what the mechanisms
ask of an engine while they answer: three views of the rows, unit by unit.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from datetime import date, datetime, timedelta
from enum import StrEnum
from fractions import Fraction
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from privacy.facts import Kind, Value
from privacy.loss import Loss


class Aggregate(StrEnum):
    """What a statistic adds up."""

    COUNT = "count"  # rows
    SUM = "sum"  # row values on their lattice
    UNITS = "units"  # privacy units
    UNITS_WHERE = "units_where"  # privacy units with a row that meets a condition
    QUANTILE = "quantile"  # rows with a value, by the bin of a public range that it falls into
    DISTINCT = "distinct"  # different values
    WEIGHT = "weight"  # partition selection: each unit spreads weight 1/sqrt(m) over its m keys


@dataclass(frozen=True, kw_only=True, slots=True)
class Key:
    """One grouping key, column `k<i>` of the exact and the noisy cells.

    `domain` lists the public values in ascending order, NULL (None) last when the key may be NULL; None means the key is
    private and must be selected.
    """

    name: str
    kind: Kind
    domain: tuple[Value | None, ...] | None


#: Kinds whose values are days or moments, and the seconds of a day.
MOMENTS = (Kind.DATE, Kind.TIMESTAMP)
A_DAY = 86_400


@dataclass(frozen=True, kw_only=True, slots=True)
class Order:
    """Which value of an ordered cell a QUANTILE asks for, and the public bins it is looked for in.

    `level` is the part of the rows that lies below it: 0 for MIN, 1 for MAX. A row's value is a whole number below `size` that
    stands for (`first` + number) · `step`; `width` such numbers make a bin, and the last bin may be shorter. Steps of a DATE are
    days, counted as `datetime.date.toordinal` does, those of a TIMESTAMP seconds, `A_DAY` for each of these days; any other
    `kind` is a number.
    """

    level: Fraction
    first: int
    size: int
    step: Fraction
    width: int = 1
    kind: Kind = Kind.NUMBER

    @property
    def bins(self) -> int:
        """How many bins there are."""
        return -(-self.size // self.width)

    @property
    def is_extreme(self) -> bool:
        """True for MIN and MAX: no number of rows lies beyond, so that one is chosen (`privacy.order`)."""
        return self.level in (0, 1)

    def ends(self, lowest: int, highest: int) -> tuple[int, int]:
        """The least and the greatest value of the bins from `lowest` to `highest`, in steps."""
        return self.first + lowest * self.width, self.first + min(self.size, (highest + 1) * self.width) - 1

    def middle(self, place: int) -> int:
        """The value that stands for a bin, in steps."""
        low, high = self.ends(place, place)
        return (low + high) // 2

    def moment(self, value: int) -> date:
        """The day, or the moment of one, that `value` steps are."""
        if self.kind is Kind.DATE:
            return date.fromordinal(value)
        return datetime.fromordinal(value // A_DAY) + timedelta(seconds=value % A_DAY)


@dataclass(frozen=True, kw_only=True, slots=True)
class Statistic:
    """One integer per cell, named `s<i>`: what the rows of the cell add up to. A QUANTILE has one for each bin of its `order`.

    `value` names the row column it reads (`v<i>`; "" for rows and units as such), whose integers lie within ±`reach` and are
    worth `round_to` each; a published value is a multiple of `round_to`. Totals are kept on a finer lattice, one unit of which
    is worth `step`. `bound_squared` is B² in those finer units: with a_j the shares of the plan's statistics scaled to add up
    to 1, the vectors x_j of one unit over all cells keep Σ_j a_j |x_j|² / B_j² <= 1 (`privacy.sql.bound`). `share` is the part
    of the question's rho that pays for the noise, `ratio_share` the part that pays for choosing B_j's proportion.
    """

    name: str
    aggregate: Aggregate
    label: str
    value: str
    reach: int
    bound_squared: int
    step: Fraction
    round_to: Fraction
    share: Fraction
    ratio_share: Fraction = Fraction(0)
    order: Order | None = None

    @property
    def type(self) -> str:
        """The DuckDB type of a published value: a lattice integer fits 64 bits, times a coarse step it may not."""
        if self.order is not None and self.order.kind in MOMENTS:
            return TYPES[self.order.kind]
        step = self.round_to if self.order is None else self.order.step
        if step.denominator != 1:
            return "DOUBLE"
        return "BIGINT" if step == 1 else "HUGEINT"

    def redrawn(self, normal: str) -> str:
        """The noisy value of row `n` with its noise drawn again, as text under the statistic's name and in its type.

        `normal` is a standard normal number. The noise has one scale in all cells (in row `c`), but for a QUANTILE.
        """
        scale = f"c.{self.name}" if self.order is None else f"n.{self.order_scale}"
        if self.type == "DATE":
            return f"n.{self.name} + CAST(round({normal} * {scale}) AS INTEGER) AS {self.name}"
        if self.type == "TIMESTAMP":
            return f"n.{self.name} + to_seconds(CAST(round({normal} * {scale}) AS BIGINT)) AS {self.name}"
        value = f"n.{self.name} + {normal} * {scale}"
        return (
            f"{value} AS {self.name}" if self.type == "DOUBLE" else f"TRY_CAST({value} AS {self.type}) AS {self.name}"
        )

    @property
    def up(self) -> int:
        """How many units of the totals' lattice make one unit of the rows'."""
        return int(self.round_to / self.step)

    @property
    def order_scale(self) -> str:
        """The column of noisy cells that tells how far a QUANTILE may be off in each: as a standard deviation."""
        return f"e{self.name[1:]}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Average:
    """How an average is made: `middle` and the statistic `total` (of values less their middle) over the statistic `rows`.

    It is kept between `low` and `high`, the public range, all in the column's unit.
    """

    total: str
    rows: str
    middle: float
    low: float
    high: float

    @property
    def reach(self) -> float:
        """The largest distance of a value from the middle."""
        return max(self.high - self.middle, self.middle - self.low)


@dataclass(frozen=True, kw_only=True, slots=True)
class Output:
    """One column of the answer.

    `statistic` is set when the column is exactly one statistic's noisy value, `average` when it is exactly one AVG: of the
    grouping that the row comes from, one of those at the places `groupings` (none named: any).
    """

    name: str
    kind: Kind
    is_key: bool
    statistic: str | None = None
    average: Average | None = None
    groupings: tuple[int, ...] = (0,)

    @property
    def is_redrawn(self) -> bool:
        """True when its interval comes from drawing the noise again: a number that is no statistic and no average."""
        return not self.is_key and self.statistic is None and self.average is None and self.kind.numeric


Cell = tuple[object, ...]

#: The DuckDB type of a key or a value of each kind.
TYPES: Mapping[Kind, str] = {
    Kind.INTEGER: "BIGINT",
    Kind.NUMBER: "DOUBLE",
    Kind.TEXT: "VARCHAR",
    Kind.BOOLEAN: "BOOLEAN",
    Kind.DATE: "DATE",
    Kind.TIMESTAMP: "TIMESTAMP",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class SmallTable:
    """A table that post-processing reads: (name, DuckDB type) of each column, and the rows."""

    columns: tuple[tuple[str, str], ...]
    rows: Sequence[Cell]


Finish = Callable[[str, Mapping[str, SmallTable]], list[Cell]]
"""Runs post-processing text over small tables and returns its rows."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PublicRows:
    """A public table that post-processing reads as the small table `name`: `sql` makes its rows from a dataset version."""

    name: str
    columns: tuple[tuple[str, str], ...]
    sql: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Codes:
    """How a key, or the value that a DISTINCT counts, is numbered in `coded_sql`, from 0.

    `values` has the key's value of each number where that is public, and rows without a number have no key (NULL); else the
    query `lookup` lists the values, the last one being that of rows without a number. `nullable`: there may be such rows. A
    number beyond all of these belongs to no key.
    """

    values: tuple[Value, ...] = ()
    lookup: str = ""
    nullable: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Grouping:
    """Rows of units, grouped by keys: what becomes one table of noisy cells, and its part of the price.

    `rows_sql` runs on a dataset version and yields unit, k0…, v0…: one row for each row of the tracked relation. `coded_sql`
    yields the same as unit, c0…, v0…: numbers in place of the keys, and of the values that a DISTINCT counts (`codes`, of the
    former and then of the latter). No value is 0, for QUANTILE and DISTINCT -1. It is "" when something has no numbers. One unit
    owns at most `max_rows` rows of the tracked relation; a unit of more than `max_keys` private keys has no say in which keys are
    shown. `length_share` of rho pays for choosing how far a unit may reach; 0 when the declared bounds hold. `delta_share` is the
    part of the question's delta that pays for selecting private keys.
    """

    keys: tuple[Key, ...]
    statistics: tuple[Statistic, ...]
    rows_sql: str
    coded_sql: str
    codes: tuple[Codes, ...]
    max_rows: int
    max_keys: int
    min_units: int
    length_share: Fraction = Fraction(0)
    delta_share: Fraction = Fraction(1)

    @property
    def selects_keys(self) -> bool:
        """True when some key is private, so that the cells cost delta."""
        return any(k.domain is None for k in self.keys)

    @property
    def cells(self) -> int | None:
        """The number of cells, or None when it is private."""
        return None if self.selects_keys else math.prod(len(k.domain or ()) for k in self.keys)

    @property
    def weights(self) -> Statistic | None:
        """The weights by which private keys are selected."""
        return next((s for s in self.statistics if s.aggregate is Aggregate.WEIGHT), None)

    @property
    def measured(self) -> tuple[Statistic, ...]:
        """The statistics that share the joint bound: all but the weights."""
        return tuple(s for s in self.statistics if s.aggregate is not Aggregate.WEIGHT)

    @property
    def by_name(self) -> Mapping[str, Statistic]:
        """The statistics by their names."""
        return {s.name: s for s in self.statistics}

    def grid(self) -> list[Cell]:
        """All cells of public keys, in order; [()] without keys."""
        return list(itertools.product(*(k.domain or () for k in self.keys)))

    def selecting(self, loss: Loss) -> Loss:
        """The question's loss with the part of its delta that selects the keys of this grouping, rounded down."""
        return replace(loss, delta=math.floor(loss.delta * self.delta_share))

    def paying(self, part: Fraction, delta_share: Fraction) -> Self:
        """The same for a part of the question's price."""
        statistics = tuple(replace(s, share=s.share * part, ratio_share=s.ratio_share * part) for s in self.statistics)
        return replace(self, statistics=statistics, length_share=self.length_share * part, delta_share=delta_share)


Nested = tuple[tuple[int, tuple[int, ...]], ...]
"""Groupings of the same rows by some of the same public keys: the place of each, and of each of its keys among all of them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan(Grouping):
    """An accepted question. `digest()` names it; equal questions on equal facts have equal digests.

    A plan is its first grouping, and may have more of them (`also`): the shares of all add up to the question's price.
    `finish_sql` runs on their noisy cells, the tables `noisy`, `noisy1`, … of cell, k0…, s0…, and yields cell, then the outputs
    in order. `spread_sql` also reads `normals` (standard normal draws) and `scales` and yields cell, then the two ends of every
    derived column's interval. Groupings that are `nested` get consistent totals (`privacy.consistent`).

    Of a question around its groupings (`privacy.sql.around`), `finish_sql` also reads the tables of `public`, and begins its rows
    with a name of the row in place of the cell; where they are `located`, the place of the grouping that the row comes from and
    the cell follow. `redraw_sql` then stands for `spread_sql`: with the tables `cells`, `cells1`, …
    (the noisy ones), `scales`, `scales1`, … and `turn` (one number, `draw`) it yields the names and every derived column as they
    would be if that draw had been the noise, and `around_rows` is the most rows that all its steps together may have.
    """

    question: str
    facts_digest: str
    unit: str
    tables: tuple[str, ...]
    outputs: tuple[Output, ...]
    finish_sql: str
    spread_sql: str
    also: tuple[Grouping, ...] = ()
    located: bool = False
    nested: tuple[Nested, ...] = ()
    public: tuple[PublicRows, ...] = ()
    redraw_sql: str = ""
    around_rows: int = 0

    @property
    def groupings(self) -> tuple[Grouping, ...]:
        """All groupings in order, this plan as the first."""
        return (self, *self.also)

    @property
    def selections(self) -> int:
        """How many groupings have private keys; with any, the answer costs delta, at least so many units of it."""
        return sum(g.selects_keys for g in self.groupings)

    def with_groupings(self, found: Sequence[Grouping]) -> Plan:
        """The plan with these groupings in place of its own."""
        return replace(self, **_own(found[0]), also=tuple(found[1:]))

    def digest(self) -> str:
        """SHA-256 (hex) of the canonical plan."""
        text = json.dumps(asdict(self), sort_keys=True, default=str, ensure_ascii=False, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()


def bare(grouping: Grouping) -> Grouping:
    """The grouping without the plan that it may be the first of."""
    return Grouping(**_own(grouping))


def _own(grouping: Grouping) -> dict[str, Any]:
    return {f.name: getattr(grouping, f.name) for f in fields(Grouping)}


def place_name(table: str, place: int) -> str:
    """The table of that name for the grouping at this place: noisy, noisy1, …"""
    return f"{table}{place}" if place else table


class Units(Protocol):
    """The rows of a grouping on one dataset version, by unit: all that the mechanisms may ask of an engine.

    Everything it returns is exact and confidential. Each call reads the rows once. `cells` is the grid of public keys or the
    keys that selection chose: rows with other keys do not count. Whatever fails is a `Fault` with the reason in `private`.
    """

    def weights(self) -> tuple[Sequence[Cell], NDArray[np.int64]]:
        """Every private key that some unit gives weight to, in the order of the keys, and its weight.

        A unit of m <= `max_keys` keys gives each floor(2^20/sqrt(m)), a unit of more gives none.
        """

    def lengths(self, cells: Sequence[Cell]) -> NDArray[np.float64]:
        """One row for each unit that has a row in `cells`, in any order.

        First the squared length of its vector of row counts over the cells, then that of its vector of each measured statistic,
        in lattice units of the rows.
        """

    def totals(self, statistics: Sequence[Statistic], cells: Sequence[Cell]) -> list[NDArray[np.int64]]:
        """For each of `statistics` (measured ones) the total of each cell; for a QUANTILE of each bin, shape (cells, bins).

        It is the sum over units of their vectors, each scaled as `privacy.sql.bound` says.
        """


Opened = Callable[[Grouping], Units]
"""The rows of a dataset version, as units of any grouping; all reading together has one limit of time."""

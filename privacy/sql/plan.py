"""What an accepted question becomes: a `Plan`, made from SQL text and public facts alone (law 4).

Owns the nouns that travel from the compiler to the engine, the mechanisms and the wire. A Plan says which exact integers
are wanted (`exact_sql`), how far one privacy unit can move them (`Statistic.bound_squared`), and how the noisy integers
become the columns the asker wrote (`finish_sql`). It never holds a value of a private table.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from fractions import Fraction

from privacy.facts import Kind, Value


class Aggregate(StrEnum):
    """What a statistic adds up."""

    COUNT = "count"  # rows
    SUM = "sum"  # row values on their lattice
    UNITS = "units"  # privacy units
    UNITS_WHERE = "units_where"  # privacy units with a row that meets a condition
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


@dataclass(frozen=True, kw_only=True, slots=True)
class Statistic:
    """One integer per cell, column `s<i>` of the exact cells.

    `bound_squared` bounds the squared L2 norm of one unit's contribution over all cells together, in lattice units.
    One lattice unit is worth `step`; a published value is rounded to a multiple of `round_to`. `share` is the part of the
    question's rho that pays for it; the shares of a plan add up to 1.
    """

    name: str
    aggregate: Aggregate
    label: str
    bound_squared: int
    step: Fraction
    round_to: Fraction
    share: Fraction


@dataclass(frozen=True, kw_only=True, slots=True)
class Average:
    """How an average is made: the statistic `total` (of values less their middle) over the statistic `rows`.

    `reach` is the largest distance of a value from the middle, in the column's unit.
    """

    total: str
    rows: str
    reach: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Output:
    """One column of the answer.

    `statistic` is set when the column is exactly one statistic's noisy value, `average` when it is exactly one AVG.
    """

    name: str
    kind: Kind
    is_key: bool
    statistic: str | None = None
    average: Average | None = None


Cell = tuple[object, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class SmallTable:
    """A table that post-processing reads: (name, DuckDB type) of each column, and the rows."""

    columns: tuple[tuple[str, str], ...]
    rows: Sequence[Cell]


Finish = Callable[[str, Mapping[str, SmallTable]], list[Cell]]
"""Runs post-processing text over small tables and returns its rows."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """An accepted question. `digest()` names it; equal questions on equal facts have equal digests.

    `exact_sql` runs on a dataset version and yields k0…, s0… (one row a cell). `finish_sql` runs on a table `noisy` of cell,
    k0…, s0… and yields cell, then the outputs in order. `spread_sql` also reads `normals` (standard normal draws) and `scales`
    and yields cell, then the two ends of every derived column's interval. One unit owns at most `max_rows` rows of the
    tracked relation and at most `max_keys` private keys.
    """

    question: str
    facts_digest: str
    unit: str
    tables: tuple[str, ...]
    keys: tuple[Key, ...]
    statistics: tuple[Statistic, ...]
    outputs: tuple[Output, ...]
    exact_sql: str
    finish_sql: str
    spread_sql: str
    max_rows: int
    max_keys: int
    min_units: int

    @property
    def selects_keys(self) -> bool:
        """True when some key is private, so that the answer costs delta."""
        return any(k.domain is None for k in self.keys)

    @property
    def cells(self) -> int | None:
        """The number of cells of the answer, or None when it is private."""
        if self.selects_keys:
            return None
        count = 1
        for key in self.keys:
            count *= len(key.domain or ())
        return count

    def digest(self) -> str:
        """SHA-256 (hex) of the canonical plan."""
        text = json.dumps(asdict(self), sort_keys=True, default=str, ensure_ascii=False, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

"""Public facts: everything that may be known about a table without touching it.

Owns the nouns every plan is made from: `ColumnFacts`, `PrivacyUnit`, `TableFacts`, `DatasetFacts`. It never reads data:
a steward states these facts and ingest holds the data to them. Law 4: only what stands here (and the SQL text) may
shape a plan, a price, a result's schema or an error.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum

Value = str | int | Decimal | bool | date | datetime


class Kind(StrEnum):
    """The type of a column, as people name it."""

    INTEGER = "integer"
    NUMBER = "number"
    TEXT = "text"
    BOOLEAN = "boolean"
    DATE = "date"
    TIMESTAMP = "timestamp"

    @property
    def numeric(self) -> bool:
        """True for kinds that live on a lattice and can be summed."""
        return self in (Kind.INTEGER, Kind.NUMBER)


class Keys(StrEnum):
    """Whether a column's values may be listed when grouping by it."""

    PUBLIC = "public"  # the domain is public: every key appears in an answer, empty ones too
    PRIVATE = "private"  # a key appears only when enough units hold it (partition selection, costs delta)


@dataclass(frozen=True, kw_only=True, slots=True)
class ColumnFacts:
    """One column. `lower` and `upper` are inclusive bounds in the column's own unit; `step` is the lattice spacing.

    A stored numeric value is always `lower <= value <= upper` and a multiple of `step`. `domain` lists the public keys in
    their display order. `max_repeats` (public tables only) is the largest number of rows that share one value; 1 means
    unique.
    """

    name: str
    kind: Kind
    nullable: bool = False
    lower: Decimal | date | datetime | None = None
    upper: Decimal | date | datetime | None = None
    step: Decimal = Decimal(1)
    keys: Keys = Keys.PRIVATE
    domain: tuple[Value, ...] = ()
    max_repeats: int | None = None

    @property
    def bounded(self) -> bool:
        """True when both bounds are public numbers, so that the column can be summed."""
        return self.kind.numeric and self.lower is not None and self.upper is not None


@dataclass(frozen=True, kw_only=True, slots=True)
class PrivacyUnit:
    """Whose presence is hidden. `column` identifies it, `stands_for` says what it is (person, enterprise, …).

    Two tables protect the same unit only if `space` (the id space, e.g. "resident-id") is the same.
    """

    column: str
    stands_for: str
    space: str


@dataclass(frozen=True, kw_only=True, slots=True)
class TableFacts:
    """One table. Private when it has a `unit`; then at most `max_rows` rows a unit count (law 3).

    `rows` is given for public tables only: the size of a private table is not public.
    """

    name: str
    columns: tuple[ColumnFacts, ...]
    unit: PrivacyUnit | None = None
    max_rows: int = 1
    rows: int | None = None

    def __post_init__(self) -> None:
        if self.unit is not None and self.column(self.unit.column) is None:
            raise ValueError(f"table {self.name} names the unit column {self.unit.column}, but does not describe it")

    def column(self, name: str) -> ColumnFacts | None:
        """The column of that name (names compare without case, as in SQL), or None."""
        wanted = name.casefold()
        return next((c for c in self.columns if c.name.casefold() == wanted), None)


@dataclass(frozen=True, kw_only=True, slots=True)
class DatasetFacts:
    """All tables of a dataset version, and the smallest number of units a released cell may rest on (0: no rule)."""

    tables: tuple[TableFacts, ...]
    min_units: int = 0
    name: str = field(default="dataset")

    def table(self, name: str) -> TableFacts | None:
        """The table of that name (without case), or None."""
        wanted = name.casefold()
        return next((t for t in self.tables if t.name.casefold() == wanted), None)

    def digest(self) -> str:
        """SHA-256 (hex) over a canonical form of all facts: two equal facts have equal digests."""
        text = json.dumps(asdict(self), sort_keys=True, default=str, ensure_ascii=False, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

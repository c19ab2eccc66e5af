"""The ports of the computing floor: Engine, Vault, Queue. Their docstrings are the specification.

Owns the duties only; adapters stand beside (`engines/`, `storage.py`, the worker). Nothing here knows a person, a grant or
a budget. One contract suite runs on every adapter and on its fake (`tests/contract/`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from privacy.facts import DatasetFacts
from privacy.sql.plan import Finish, Opened, Plan, SmallTable

Progress = Callable[[str, int, int], None]
"""Called with (stage, done, total); total is 0 when unknown. Raising from it stops the work."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """What one engine call may use: seconds of wall clock, bytes of memory, threads."""

    seconds: float = 60.0
    memory: int = 2 * 1024**3
    threads: int = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class TableReport:
    """What ingest found in one table; for the steward's eyes only, because every figure is exact.

    `rejected` maps a reason to (count, first row numbers, 1-based, header and blank lines not counted); the reason is a code
    for `engines.problems.reason_text`, and a row has one. `clipped` maps a column to the number of values moved to a bound,
    `rounded` to the number of values that were off the lattice; `ignored` names the file's columns that are not described.
    `rows_read == rows_kept + without_unit + all rejected`.
    """

    table: str
    encoding: str
    rows_read: int
    rows_kept: int
    units: int
    without_unit: int
    max_rows_of_a_unit: int
    rejected: Mapping[str, tuple[int, Sequence[int]]] = field(default_factory=dict)
    clipped: Mapping[str, int] = field(default_factory=dict)
    rounded: Mapping[str, int] = field(default_factory=dict)
    ignored: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class IngestReport:
    """All tables of one ingest, and the facts as held to the data (public tables gain `rows` and `max_repeats`)."""

    facts: DatasetFacts
    tables: tuple[TableReport, ...]


class Ingest(Protocol):
    """Turns a steward's files into one immutable dataset version."""

    def __call__(
        self, facts: DatasetFacts, sources: Mapping[str, Path], target: Path, *, limits: Limits, progress: Progress
    ) -> IngestReport:
        """Write the version file at `target` (which must not exist) from one CSV or Parquet file a table.

        1. Detects the encoding of CSV (UTF-8 with or without BOM, GB18030) and reports it.
        2. Drops and counts rows without a unit; rejects rows whose value has a wrong type or lies outside a public domain;
           clips and counts numbers outside their bounds; NaN and infinities count as NULL.
        3. Writes the layout of `privacy.sql` (see `docs/layout.md`): `_uid` dense and random, `_rn` the secret random rank of
           the row within its unit, fixed-point integers, clustered by `_uid`. No raw unit identifier is stored.
        4. Uses memory within `limits.memory` whatever the number of rows.
        On any failure `target` does not exist afterwards.
        """


class Engine(Protocol):
    """Answers plans on a dataset version. No call sees anything of another, whatever an adapter keeps open between them."""

    def units(self, version: Path, limits: Limits) -> AbstractContextManager[Opened]:
        """Rows of the version file, read-only, as the mechanisms ask for them (`privacy.sql.plan.Units`).

        Whatever groupings are asked for, from the opening on all of it has the limit's seconds.
        What they return is confidential: it must never be stored, logged or returned to an asker. Whatever fails is a `Fault`
        with the reason in `private`: an asker cannot tell one failure from another (law 5).
        """

    def public(self, version: Path, plan: Plan, limits: Limits) -> Mapping[str, SmallTable]:
        """The rows of the public tables that the plan's post-processing reads beside noisy cells, by the plan's names.

        Text that reads anything but public tables of the version is a `Fault`, whoever wrote it: a private table has a `_uid`.
        """

    def beside(self, finish: Finish, version: Path, plan: Plan, limits: Limits) -> Finish:
        """The post-processing of one answer: `finish` with the plan's public tables at hand.

        However often it is called, from the first call on all of it has the limit's seconds: the last text to begin may have as
        many once more.
        """

    def finishing(self, limits: Limits) -> AbstractContextManager[Finish]:
        """A post-processor, `finish(sql, tables) -> rows`: runs text over small tables of noisy values alone.

        No dataset, file or network is in its reach. It may be called many times while the context is open.
        """


class Vault(Protocol):
    """Content-addressed storage of immutable files. A digest is SHA-256 in lower-case hex."""

    def put(self, source: Path) -> str:
        """Store the file's bytes and return their digest. Idempotent; a half-written object is never visible."""

    def fetch(self, digest: str) -> Path:
        """A local read-only path to the bytes, verified against the digest. Raises `ObjectMissing`, `ObjectDamaged`."""

    def has(self, digest: str) -> bool:
        """True when the object is stored."""


class Queue(Protocol):
    """Tells workers that a job waits. A hint only: the jobs table is the truth (law 11)."""

    def send(self, job_id: str) -> None:
        """Announce the job. May be repeated, delayed or lost without harm; never carries anything but the id."""

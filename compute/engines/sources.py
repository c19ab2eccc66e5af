"""A steward's file as a select of texts: `_row` (from 1) and `r0`, `r1`, … in the order of the described columns.

Owns the two formats, CSV and Parquet, behind one noun, `Source`: where columns are found by name, what the format itself
rejects, and which number a row has in the file. It judges no value. Everything comes as VARCHAR, whatever the format, so
that there is one set of rules about values and not two.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import duckdb
import numpy as np
from numpy.typing import NDArray

from compute.engines import csvfile
from compute.engines.layout import literal, quoted
from compute.engines.problems import ColumnNested, ColumnsMissing, FileUnreadable, HeaderDoubtful
from compute.engines.session import Session
from privacy.errors import Text
from privacy.facts import TableFacts

Numbers = NDArray[np.int64]

_NESTED = ("STRUCT", "MAP", "UNION", "BLOB", "BIT", "VARIANT", "GEOMETRY")
_DAMAGED = Text("its content is damaged", "文件内容已损坏")
#: What DuckDB calls a broken CSV row, and our reason.
_CSV_REASONS = {
    "MISSING COLUMNS": "csv.fields",
    "TOO MANY COLUMNS": "csv.fields",
    "UNQUOTED VALUE": "csv.quotes",
    "INVALID ENCODING": "csv.encoding",
    "LINE SIZE OVER MAXIMUM": "csv.long",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """An opened file. `select` yields the rows that can be read; `broken` (after it ran) those that cannot."""

    table: str
    encoding: str
    select: str
    ignored: tuple[str, ...]
    rejects: str | None = None
    records: int | None = None
    unclosed: Numbers = field(default_factory=lambda: np.empty(0, np.int64))
    copy: Path | None = None

    def load(self, session: Session, sql: str, stage: str) -> None:
        """Run the one statement that reads `select`; a file that turns out to be damaged is `FileUnreadable`."""
        try:
            session.run(sql, stage)
        except duckdb.Error as error:
            if isinstance(error, duckdb.OutOfMemoryException | duckdb.FatalException | duckdb.InterruptException):
                raise
            raise FileUnreadable(table=self.table, why=_DAMAGED, private=str(error)) from error
        if self.copy is not None:
            self.copy.unlink()

    def broken(self, session: Session, read: int) -> Broken:
        """The rows the format rejected, `read` being the rows that `select` gave."""
        if self.rejects is None or self.records is None:
            return Broken(by_reason={}, parsed_out=np.empty(0, np.int64), unclosed=self.unclosed)
        found = session.run(f"SELECT line, min(error_type) FROM {self.rejects} GROUP BY line ORDER BY line")
        lines = np.array([line for line, _ in found], np.int64)
        physical = skipping(lines, self.unclosed)
        by_reason: dict[str, list[int]] = {}
        for number, (_, kind) in zip(physical.tolist(), found, strict=True):
            by_reason.setdefault(_CSV_REASONS.get(str(kind), "csv.other"), []).append(number)
        if len(self.unclosed):
            by_reason["csv.quotes"] = sorted(by_reason.get("csv.quotes", []) + self.unclosed.tolist())
        counted = {reason: (len(rows), rows) for reason, rows in by_reason.items()}
        unseen = self.records - len(self.unclosed) - len(lines) - read
        if unseen > 0:  # a quote in the wrong place took several records with it; they were read by nobody
            count, rows = counted.get("csv.other", (0, []))
            counted["csv.other"] = (count + unseen, rows)
        return Broken(by_reason=counted, parsed_out=lines, unclosed=self.unclosed)


@dataclass(frozen=True, kw_only=True, slots=True)
class Broken:
    """Rows rejected by the format: reason → (count, row numbers), and how to number the others."""

    by_reason: Mapping[str, tuple[int, Sequence[int]]]
    parsed_out: Numbers
    unclosed: Numbers

    def row_numbers(self, ordinals: Sequence[int]) -> list[int]:
        """The numbers in the file of rows known by their ordinal among those that were read."""
        numbers: list[int] = skipping(skipping(np.array(ordinals, np.int64), self.parsed_out), self.unclosed).tolist()
        return numbers


def skipping(ordinals: Numbers, left_out: Numbers) -> Numbers:
    """Where the k-th remaining thing stood before the (sorted, 1-based) `left_out` were taken away."""
    before_each = left_out - 1 - np.arange(len(left_out))
    shifted: Numbers = ordinals + np.searchsorted(before_each, ordinals, side="left")
    return shifted


def open_source(path: Path, table: TableFacts, name: str, session: Session, folder: Path) -> Source:
    """Open one file; `name` is free for what is kept in `folder`.

    Raises `FileUnreadable`, `EncodingUnknown`, `ColumnsMissing`, `HeaderDoubtful`, `ColumnNested`.
    """
    return _parquet(path, table, session) if is_parquet(path) else _csv(path, table, name, folder)


def is_parquet(path: Path) -> bool:
    """True when the file says it is Parquet; everything else is taken for CSV."""
    with path.open("rb") as file:
        return file.read(4) == b"PAR1"


def parquet_columns(path: Path, table: str, session: Session) -> list[tuple[str, str]]:
    """Names and DuckDB types of a Parquet file's columns, in order."""
    try:
        described = session.run(f"DESCRIBE SELECT * FROM read_parquet({literal(str(path))})")
    except duckdb.Error as error:
        raise FileUnreadable(table=table, why=_DAMAGED, private=str(error)) from error
    return [(str(row[0]), str(row[1])) for row in described]


def is_nested(kind: str) -> bool:
    """True for types that no description can name."""
    return kind.endswith("]") or kind.startswith(_NESTED)


def positions(names: Sequence[str], table: TableFacts) -> list[int]:
    """Where each described column stands among the file's, by name without case."""
    folded = [csvfile.fold(name) for name in names]
    wanted = [csvfile.fold(c.name) for c in table.columns]
    missing = [c.name for c, name in zip(table.columns, wanted, strict=True) if name not in folded]
    if missing:
        raise ColumnsMissing(table=table.name, missing=", ".join(missing), found=_listed(names))
    for column, name in zip(table.columns, wanted, strict=True):
        if folded.count(name) > 1:
            raise HeaderDoubtful(table=table.name, column=column.name)
    return [folded.index(name) for name in wanted]


def _listed(names: Sequence[str]) -> str:
    text = ", ".join(names[:50])
    return text[:500] + ("…" if len(text) > 500 or len(names) > 50 else "")


def _csv(path: Path, table: TableFacts, name: str, folder: Path) -> Source:
    form = csvfile.examine(path, table.name, [c.name for c in table.columns])
    where = positions(form.names, table)
    copy = folder / f"{name}.csv"
    found = csvfile.normalise(path, copy, form)
    columns = ", ".join(f"'c{i}': 'VARCHAR'" for i in range(len(form.names)))
    rejects = f"rejects_{name}"
    read = (
        f"read_csv({literal(str(copy))}, auto_detect = false, header = false, columns = {{{columns}}}, "
        f"delim = {literal(form.delimiter)}, quote = '\"', escape = '\"', nullstr = '', new_line = '\\n', "
        f"max_line_size = {csvfile.LONGEST_LINE}, store_rejects = true, rejects_table = '{rejects}', "
        f"rejects_scan = 'scan_{name}', rejects_limit = 0, rejects_line_size_limit = 1)"
    )
    texts = ", ".join(f"c{at} AS r{i}" for i, at in enumerate(where))
    return Source(
        table=table.name,
        encoding=form.encoding,
        select=f"SELECT row_number() OVER () AS _row, {texts} FROM {read}",
        ignored=tuple(n for i, n in enumerate(form.names) if i not in where),
        rejects=rejects,
        records=found.records,
        unclosed=np.array(found.unclosed, np.int64),
        copy=copy,
    )


def _parquet(path: Path, table: TableFacts, session: Session) -> Source:
    read = f"read_parquet({literal(str(path))})"
    described = parquet_columns(path, table.name, session)
    names = [name for name, _ in described]
    where = positions(names, table)
    for at in where:
        kind = described[at][1]
        if is_nested(kind):
            raise ColumnNested(table=table.name, column=names[at], kind=kind.partition("(")[0])
    texts = ", ".join(f"CAST({quoted(names[at])} AS VARCHAR) AS r{i}" for i, at in enumerate(where))
    return Source(
        table=table.name,
        encoding="parquet",
        select=f"SELECT row_number() OVER () AS _row, {texts} FROM {read}",
        ignored=tuple(name for i, name in enumerate(names) if i not in where),
    )

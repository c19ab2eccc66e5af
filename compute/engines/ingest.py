"""Ingest: a steward's CSV and Parquet files become one immutable dataset version.

Owns the `Ingest` port's DuckDB adapter. Two files are written in a private folder beside the target: a working database,
thrown away, and the version, which only ever receives what may be kept, so that no freed block of it can hold anything raw.
A unit's identifier is replaced, before it reaches either, by a hash keyed with a salt drawn for this one ingest and
forgotten with it; unit numbers are the rank of that hash, row ranks the order of another. The same files therefore give
another version digest every time, on purpose. Law 3: rows without a unit are left out and reported.

    file ──normalise──> read as text ──typed, judged──> working table ──join unit numbers, by ranges──> version
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from compute.engines import layout
from compute.engines.layout import Coded, Verdict, literal, quoted
from compute.engines.problems import NotUnique, TablesDiffer
from compute.engines.session import Row, Session
from compute.engines.sources import Broken, Source, open_source
from compute.ports import IngestReport, Limits, Progress, TableReport
from privacy.errors import Text
from privacy.facts import ColumnFacts, DatasetFacts, Keys, Kind, TableFacts

#: Rows that are sorted at once while the version is written.
ROWS_A_RANGE = 1_500_000
#: A private text column with at most this many values is stored with a dictionary.
LARGEST_DICTIONARY = 200_000
SHOWN_ROWS = 100
VERSION_FILE = "version.duckdb"
_FINE, _NO_UNIT, _FIRST_VERDICT, _VERDICTS = 0, 1, 2, 8


@dataclass(frozen=True, kw_only=True, slots=True)
class DuckIngest:
    """The adapter; `entropy` gives the secret salts (law 12)."""

    entropy: Callable[[int], bytes]

    def __call__(
        self, facts: DatasetFacts, sources: Mapping[str, Path], target: Path, *, limits: Limits, progress: Progress
    ) -> IngestReport:
        """See `compute.ports.Ingest`. Raises the problems of `compute.engines.problems`, which are the steward's to read."""
        require_tables(facts, sources)
        if target.exists():
            raise FileExistsError(target)
        folder = Path(tempfile.mkdtemp(prefix=".ingest-", dir=target.parent))
        try:
            with Session(folder, list(sources.values()), limits, progress) as session:
                report = _Work(session=session, folder=folder, facts=facts, salt=self.entropy(32).hex()).do(sources)
            _publish(folder / VERSION_FILE, target)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        return report


def require_tables(facts: DatasetFacts, sources: Mapping[str, Path]) -> None:
    """Exactly one file for each described table, or `TablesDiffer`."""
    expected = [t.name for t in facts.tables]
    for name in expected:
        if name not in sources:
            raise TablesDiffer(table=name, why=Text("its file is missing", "缺少文件"), expected=", ".join(expected))
    for name in sources:
        if name not in expected:
            raise TablesDiffer(
                table=name, why=Text("it is not described", "描述中没有该表"), expected=", ".join(expected)
            )


def _publish(made: Path, target: Path) -> None:
    """Make the finished file appear at `target` in one step, read-only; an existing target is never replaced."""
    made.chmod(0o444)
    with made.open("rb") as file:
        os.fsync(file.fileno())
    os.link(made, target)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Loaded:
    """One table in the working database: typed rows, each with its verdict."""

    name: str
    facts: TableFacts
    columns: tuple[Coded, ...]
    broken: Broken
    report: TableReport

    def values(self, dictionaries: Mapping[int, str]) -> str:
        """The stored columns under the steward's names; private texts are given their dictionary types."""
        items = (
            f"CAST(v{c.index} AS {dictionaries[c.index]})" if c.index in dictionaries else f"v{c.index}"
            for c in self.columns
        )
        return ", ".join(f"{item} AS {quoted(c.facts.name)}" for item, c in zip(items, self.columns, strict=True))


@dataclass(kw_only=True)
class _Work:
    """One ingest. The steps of `do` are its whole story."""

    session: Session
    folder: Path
    facts: DatasetFacts
    salt: str
    dictionaries: int = 0

    def do(self, sources: Mapping[str, Path]) -> IngestReport:
        run = self.session.run
        run(f"ATTACH {literal(str(self.folder / 'working.duckdb'))} AS working")
        run(f"ATTACH {literal(str(self.folder / VERSION_FILE))} AS version")
        loaded = [self._load(f"t{i}", table, sources[table.name]) for i, table in enumerate(self.facts.tables)]
        spaces = self._number_units(loaded)
        done = [self._write(one, spaces) for one in loaded]
        run("CHECKPOINT version", "checkpoint")
        run("DETACH version")
        return IngestReport(
            facts=replace(self.facts, tables=tuple(facts for facts, _ in done)),
            tables=tuple(report for _, report in done),
        )

    # --- from the file to typed rows ---------------------------------------------------------------------------------------

    def _load(self, name: str, table: TableFacts, path: Path) -> _Loaded:
        source = open_source(path, table, name, self.session, self.folder)
        columns = tuple(
            layout.coded(i, c, self._public_dictionary(c)) for i, c in enumerate(table.columns) if i != _unit_at(table)
        )
        sql = f"CREATE TABLE working.{name} AS {self._typed(table, columns, source.select)}"
        source.load(self.session, sql, f"read {table.name}")
        verdicts = self.session.run(
            f"SELECT _reason, count(*), min(_row, {SHOWN_ROWS}) FROM working.{name} GROUP BY _reason ORDER BY _reason"
        )
        broken = source.broken(self.session, read=sum(count for _, count, _ in verdicts))
        return _Loaded(
            name=name,
            facts=table,
            columns=columns,
            broken=broken,
            report=self._report(name, table, columns, source, broken, verdicts),
        )

    def _public_dictionary(self, column: ColumnFacts) -> str | None:
        if column.kind is not Kind.TEXT or column.keys is not Keys.PUBLIC:
            return None
        return self._dictionary(", ".join(literal(key) for key in column.domain))

    def _dictionary(self, members: str) -> str:
        self.dictionaries += 1
        name = f"working.main.d{self.dictionaries}"
        self.session.run(f"CREATE TYPE {name} AS ENUM ({members})")
        return name

    def _typed(self, table: TableFacts, columns: tuple[Coded, ...], select: str) -> str:
        """The nested selects from raw texts to stored values, verdict and marks."""
        at = _unit_at(table)
        unit, outer = "NULL::UUID AS _unit", ""
        if table.unit is not None and at is not None:
            text, verdict = layout.identity(at, table.columns[at])
            keyed = f"sha256({literal(f'{self.salt}:{table.unit.space}:')} || ({text}))"
            unit, outer = (
                f"CAST(substr({keyed}, 1, 32) AS UUID) AS _unit, {verdict} AS e{at}",
                "WHEN _unit IS NULL THEN 1 ",
            )
        for stage in ("parsed", "scaled", "stored", "judged"):
            items = [item for c in columns if (item := getattr(c, stage))]
            items += [unit] if stage == "judged" else []
            select = f"SELECT {', '.join(['*', *items])} FROM ({select})"
        judged = [*([at] if at is not None else []), *(c.index for c in columns)]
        cases = "".join(f"WHEN e{i} > 0 THEN {_FIRST_VERDICT + i * _VERDICTS} + e{i} " for i in judged)
        kept = ["_row", "_unit", f"CAST(CASE {outer}{cases} ELSE {_FINE} END AS UINTEGER) AS _reason"]
        kept += [f"v{c.index}" for c in columns] + [f"{m}{c.index}" for c in columns for m in c.marks]
        return f"SELECT {', '.join(kept)} FROM ({select})"

    def _report(
        self,
        name: str,
        table: TableFacts,
        columns: tuple[Coded, ...],
        source: Source,
        broken: Broken,
        verdicts: list[Row],
    ) -> TableReport:
        counts = {reason: count for reason, count, _ in verdicts}
        rejected = {code: (count, tuple(rows[:SHOWN_ROWS])) for code, (count, rows) in broken.by_reason.items()}
        for reason, count, ordinals in verdicts:
            if reason >= _FIRST_VERDICT:
                at, verdict = divmod(reason - _FIRST_VERDICT, _VERDICTS)
                code = f"{Verdict(verdict).name.lower()}:{table.columns[at].name}"
                rejected[code] = (count, tuple(broken.row_numbers(ordinals)))
        return TableReport(
            table=table.name,
            encoding=source.encoding,
            rows_read=sum(counts.values()) + sum(count for count, _ in broken.by_reason.values()),
            rows_kept=counts.get(_FINE, 0),
            units=0,
            without_unit=counts.get(_NO_UNIT, 0),
            max_rows_of_a_unit=0,
            rejected=rejected,
            clipped=self._marked(name, columns, "c"),
            rounded=self._marked(name, columns, "o"),
            ignored=source.ignored,
        )

    def _marked(self, name: str, columns: tuple[Coded, ...], mark: str) -> dict[str, int]:
        """How many kept rows carry the mark, by column; columns without any are left out."""
        marked = [c for c in columns if mark in c.marks]
        if not marked:
            return {}
        counts = ", ".join(f"count(*) FILTER (WHERE {mark}{c.index})" for c in marked)
        [found] = self.session.run(f"SELECT {counts} FROM working.{name} WHERE _reason = {_FINE}")
        return {c.facts.name: count for c, count in zip(marked, found, strict=True) if count}

    # --- unit numbers ------------------------------------------------------------------------------------------------------

    def _number_units(self, loaded: list[_Loaded]) -> dict[str, tuple[str, int]]:
        """For each id space the table of unit numbers and how many there are: dense from 0, in the order of the keyed hash."""
        tables: dict[str, list[str]] = {}
        for one in loaded:
            if one.facts.unit is not None:
                tables.setdefault(one.facts.unit.space, []).append(one.name)
        numbered: dict[str, tuple[str, int]] = {}
        for at, (space, names) in enumerate(tables.items()):
            keys = " UNION ".join(f"SELECT _unit FROM working.{n} WHERE _reason = {_FINE}" for n in names)
            self.session.run(
                f"CREATE TABLE working.u{at} AS SELECT _unit, CAST(row_number() OVER (ORDER BY _unit) - 1 AS UINTEGER) "
                f"AS _uid FROM (SELECT DISTINCT _unit FROM ({keys}))",
                "number units",
            )
            [(count,)] = self.session.run(f"SELECT count(*) FROM working.u{at}")
            numbered[space] = (f"working.u{at}", count)
        return numbered

    # --- from typed rows to the version ------------------------------------------------------------------------------------

    def _write(self, one: _Loaded, spaces: Mapping[str, tuple[str, int]]) -> tuple[TableFacts, TableReport]:
        values = one.values(self._private_dictionaries(one))
        if one.facts.unit is None:
            return self._write_public(one, values)
        units, count = spaces[one.facts.unit.space]
        target = f"version.main.{quoted(one.facts.name)}"
        self.session.run(
            f"CREATE TABLE {target} AS SELECT 0::UINTEGER AS _uid, 0::UINTEGER AS _rn, {values} FROM working.{one.name} LIMIT 0"
        )
        pieces = max(1, -(-one.report.rows_kept // ROWS_A_RANGE))
        for piece in range(pieces):
            low, high = count * piece // pieces, count * (piece + 1) // pieces
            self.session.report(f"write {one.facts.name}", piece, pieces)
            self.session.run(self._range(one, values, units, low, high, target), f"write {one.facts.name}")
        [(held, most)] = self.session.run(f"SELECT count(*) FILTER (WHERE _rn = 0), max(_rn) + 1 FROM {target}")
        return one.facts, replace(one.report, units=held, max_rows_of_a_unit=most or 0)

    def _range(self, one: _Loaded, values: str, units: str, low: int, high: int, target: str) -> str:
        """Append the rows of the units numbered low … high - 1, clustered, ranked at random within their unit."""
        shuffle = f"substr(sha256({literal(f'{self.salt}:{one.name}:')} || _row), 1, 12)"
        names = ", ".join(quoted(c.facts.name) for c in one.columns)
        names = f", {names}" if names else ""
        return (
            f"INSERT INTO {target} SELECT _uid, row_number() OVER (PARTITION BY _uid ORDER BY _shuffle) - 1 AS _rn{names} "
            f"FROM (SELECT _uid, {shuffle} AS _shuffle, {values} FROM working.{one.name} JOIN {units} USING (_unit) "
            f"WHERE _reason = {_FINE} AND _uid >= {low} AND _uid < {high}) ORDER BY _uid, _rn"
        )

    def _private_dictionaries(self, one: _Loaded) -> dict[int, str]:
        """A dictionary type for each private text column with few values. It shapes the file only, never a plan (law 4)."""
        texts = [c.index for c in one.columns if c.facts.kind is Kind.TEXT and c.facts.keys is Keys.PRIVATE]
        if not texts:
            return {}
        counts = ", ".join(f"approx_count_distinct(v{i})" for i in texts)
        [found] = self.session.run(f"SELECT {counts} FROM working.{one.name} WHERE _reason = {_FINE}")
        return {
            i: self._dictionary(
                f"SELECT DISTINCT v{i} FROM working.{one.name} WHERE _reason = {_FINE} AND v{i} IS NOT NULL ORDER BY 1"
            )
            for i, count in zip(texts, found, strict=True)
            if 0 < count <= LARGEST_DICTIONARY
        }

    def _write_public(self, one: _Loaded, values: str) -> tuple[TableFacts, TableReport]:
        target = f"version.main.{quoted(one.facts.name)}"
        self.session.run(
            f"CREATE TABLE {target} AS SELECT {values} FROM working.{one.name} WHERE _reason = {_FINE} ORDER BY _row",
            f"write {one.facts.name}",
        )
        columns = tuple(replace(c.facts, max_repeats=self._repeats(one, c)) for c in one.columns)
        return replace(one.facts, columns=columns, rows=one.report.rows_kept), one.report

    def _repeats(self, one: _Loaded, column: Coded) -> int:
        """The largest number of rows that share a value; `NotUnique` when it was declared to be one."""
        v = f"v{column.index}"
        groups = f"SELECT {v}, count(*) AS n FROM working.{one.name} WHERE _reason = {_FINE} AND {v} IS NOT NULL GROUP BY {v}"
        [(most, repeated)] = self.session.run(
            f"SELECT coalesce(max(n), 1), count(*) FILTER (WHERE n > 1) FROM ({groups})"
        )
        if column.facts.max_repeats == 1 and repeated:
            [(ordinals,)] = self.session.run(
                f"SELECT min(_row, 10) FROM working.{one.name} "
                f"WHERE _reason = {_FINE} AND {v} IN (SELECT {v} FROM ({groups}) WHERE n > 1)"
            )
            rows = ", ".join(map(str, one.broken.row_numbers(ordinals)))
            raise NotUnique(table=one.facts.name, column=column.facts.name, count=repeated, rows=rows)
        return int(most)


def _unit_at(table: TableFacts) -> int | None:
    """The position of the unit's column."""
    return next((i for i, c in enumerate(table.columns) if table.unit and c.name == table.unit.column), None)

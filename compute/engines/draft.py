"""A first description of a steward's file, for the steward's own machine.

Owns `draft`: it reads a CSV or Parquet file with DuckDB and writes YAML in which every value that came from the data, and
every choice only a steward can make, carries the mark `!confirm`. A description with a mark left is refused, so nothing that
was read from the data becomes public silently (law 4). Bounds are widened to round numbers: an extreme value is somebody's.
It sends nothing anywhere and keeps nothing.
"""

from __future__ import annotations

import json
import math
import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

from compute.engines import csvfile
from compute.engines.session import Session
from compute.engines.sources import is_nested, is_parquet, open_source, parquet_columns
from compute.ports import Limits
from privacy.facts import ColumnFacts, Kind, TableFacts

#: A text column with at most this many values, each held by ten rows on average, is offered as public keys.
MOST_KEYS = 40
_ROWS_A_KEY = 10
_LONGEST_KEY = 40
_FINEST_DECIMALS = 6
_IDENTITY = re.compile(
    r"(^|_)(id|uid|uuid|no|number|code)$|编号|编码|证件|身份证|号码|代码|person|patient|resident", re.IGNORECASE
)
_PARQUET_KINDS = (
    (
        ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT"),
        Kind.INTEGER,
    ),
    (("FLOAT", "DOUBLE", "DECIMAL"), Kind.NUMBER),
    (("BOOLEAN",), Kind.BOOLEAN),
    (("DATE",), Kind.DATE),
    (("TIMESTAMP",), Kind.TIMESTAMP),
)
_HEAD = """\
# A draft made from {file}. Nothing was sent anywhere.
# 由 {file} 生成的草稿，未向任何地方发送数据。
#
# Every value marked !confirm was read from the data, or is yours to choose. What stands in this file becomes PUBLIC:
# check each mark, correct the value, then delete the mark. A file with a mark left is refused.
# 标有 !confirm 的值读取自数据，或须由您决定。本文件中的内容将会公开：
# 请逐一核对、修改，然后删除标记；仍有标记的文件会被拒绝。
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Column:
    """What was seen in one column; `kind` None stands for a column that cannot be described."""

    name: str
    kind: Kind
    declared: bool
    nulls: int = 0
    distinct: int = 0
    low: object = None
    high: object = None
    decimals: int = 0
    keys: tuple[str, ...] = ()


def draft(path: Path, *, dataset: str = "my/dataset", table: str | None = None) -> str:
    """The YAML text for one file. Raises the problems of `compute.engines.problems` for a file that cannot be read."""
    name = table or _table_name(path)
    folder = Path(tempfile.mkdtemp(prefix="draft-"))
    try:
        with Session(folder, [path.resolve()], Limits(seconds=3600), _quietly) as session:
            return _Drafter(session=session, folder=folder, path=path.resolve(), table=name).text(dataset)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _quietly(stage: str, done: int, total: int) -> None:
    """A draft reports no progress."""


def _table_name(path: Path) -> str:
    return re.sub(r"[^\w]+", "_", path.name.partition(".")[0]).strip("_")[:64] or "table"


@dataclass(frozen=True, kw_only=True, slots=True)
class _Drafter:
    """One draft: the file is read once into a working table of texts, then described column by column."""

    session: Session
    folder: Path
    path: Path
    table: str

    def text(self, dataset: str) -> str:
        names, left_out = self._names()
        facts = TableFacts(name=self.table, columns=tuple(ColumnFacts(name=n, kind=Kind.TEXT) for n in names))
        source = open_source(self.path, facts, "draft", self.session, self.folder)
        source.load(self.session, f"CREATE TEMP TABLE seen AS {source.select}", "read")
        [(rows,)] = self.session.run("SELECT count(*) FROM seen")
        columns = [self._column(i, n, kind, rows) for i, (n, kind) in enumerate(names.items())]
        unit = _guess_unit(columns)
        most = self._rows_a_unit(unit) if unit is not None else 1
        return "\n".join(_yaml(self.path.name, dataset, self.table, columns, unit, most, left_out)) + "\n"

    def _names(self) -> tuple[dict[str, Kind | None], list[str]]:
        """Usable columns, with their kind where the file declares it, and the names that were left out."""
        if is_parquet(self.path):
            found = [(n, None if is_nested(k) else k) for n, k in parquet_columns(self.path, self.table, self.session)]
        else:
            found = [(n, "") for n in csvfile.examine(self.path, self.table, []).names]
        often = Counter(csvfile.fold(n) for n, _ in found)
        usable = {n: _declared(k) for n, k in found if k is not None and n and often[csvfile.fold(n)] == 1}
        return usable, [n for n, _ in found if n not in usable]

    def _column(self, i: int, name: str, kind: Kind | None, rows: int) -> _Column:
        r = f"r{i}"
        text = f"nullif(trim({r}), '')"
        [(filled, distinct, *fits)] = self.session.run(
            f"SELECT count({text}), approx_count_distinct({text}), "
            f"count(*) FILTER (WHERE regexp_full_match({text}, '-?(0|[1-9][0-9]{{0,14}})')), "
            f"count(*) FILTER (WHERE regexp_full_match({text}, '-?(0|[1-9][0-9]{{0,14}})([.][0-9]+)?([eE][+-]?[0-9]{{1,2}})?')), "
            f"count(*) FILTER (WHERE lower({text}) IN ('true', 'false', '是', '否')), "
            f"count(*) FILTER (WHERE TRY_CAST({text} AS DATE) IS NOT NULL AND length({text}) <= 10), "
            f"count(*) FILTER (WHERE TRY_CAST({text} AS TIMESTAMP) IS NOT NULL) FROM seen"
        )
        order = (Kind.INTEGER, Kind.NUMBER, Kind.BOOLEAN, Kind.DATE, Kind.TIMESTAMP)
        seen = next((k for k, fit in zip(order, fits, strict=True) if filled and fit == filled), Kind.TEXT)
        found = _Column(
            name=name, kind=kind or seen, declared=kind is not None, nulls=rows - filled, distinct=min(distinct, filled)
        )
        return self._detailed(found, r, filled)

    def _detailed(self, column: _Column, r: str, filled: int) -> _Column:
        cast = {Kind.INTEGER: "HUGEINT", Kind.NUMBER: "DOUBLE", Kind.DATE: "DATE", Kind.TIMESTAMP: "TIMESTAMP"}.get(
            column.kind
        )
        low = high = None
        decimals, keys = 0, ()
        if cast and filled:
            value = f"TRY_CAST({r} AS {cast})"
            [(low, high)] = self.session.run(
                f"SELECT min({value}), max({value}) FROM seen WHERE isfinite({value}::{_WIDER[cast]})"
            )
        if column.kind is Kind.NUMBER:
            [(found,)] = self.session.run(
                f"SELECT max(length(split_part({r}, '.', 2))) FROM seen WHERE NOT contains(lower({r}), 'e')"
            )
            decimals = min(found or 0, _FINEST_DECIMALS)
        if (
            column.kind is Kind.TEXT
            and 0 < column.distinct <= 2 * MOST_KEYS
            and column.distinct * _ROWS_A_KEY <= filled
        ):
            listed = self.session.run(
                f"SELECT DISTINCT {r} FROM seen WHERE {r} IS NOT NULL ORDER BY 1 LIMIT {MOST_KEYS + 1}"
            )
            if len(listed) <= MOST_KEYS and all(len(k) <= _LONGEST_KEY for (k,) in listed):
                keys = tuple(k for (k,) in listed)
        return _Column(
            name=column.name,
            kind=column.kind,
            declared=column.declared,
            nulls=column.nulls,
            distinct=column.distinct,
            low=low,
            high=high,
            decimals=decimals,
            keys=keys,
        )

    def _rows_a_unit(self, unit: int) -> int:
        [(most,)] = self.session.run(
            f"SELECT quantile_disc(n, 0.99) FROM (SELECT count(*) AS n FROM seen WHERE r{unit} IS NOT NULL GROUP BY r{unit})"
        )
        return max(1, int(_round_out(Decimal(most or 1))))


_WIDER = {"HUGEINT": "DOUBLE", "DOUBLE": "DOUBLE", "DATE": "DATE", "TIMESTAMP": "TIMESTAMP"}


def _declared(kind: str | None) -> Kind | None:
    """The kind a Parquet type stands for; None for CSV, which declares none."""
    if not kind:
        return None
    return next((k for names, k in _PARQUET_KINDS if kind.startswith(names)), Kind.TEXT)


def _guess_unit(columns: list[_Column]) -> int | None:
    """The column that looks most like an identifier: by its name, then by how many values it has."""
    possible = [(bool(_IDENTITY.search(c.name)), c.distinct, -i) for i, c in enumerate(columns) if _may_identify(c)]
    return -max(possible)[2] if possible else None


def _may_identify(column: _Column) -> bool:
    return column.kind in (Kind.TEXT, Kind.INTEGER)


# --- writing YAML --------------------------------------------------------------------------------------------------------


def _yaml(
    file: str, dataset: str, table: str, columns: list[_Column], unit: int | None, most: int, left_out: list[str]
) -> Iterator[str]:
    yield _HEAD.format(file=_quoted(file))
    yield f"dataset: !confirm {dataset}"
    yield "title: {zh: !confirm 数据集标题, en: !confirm Title}"
    yield "summary: {zh: !confirm 一句话说明, en: !confirm One sentence}"
    yield "provider: {zh: !confirm 提供部门, en: !confirm Provider, contact: !confirm data@example.org}"
    yield "grade: !confirm L3                    # L1 不敏感 | L2 低敏感 | L3 较敏感 | L4 敏感"
    yield "openness: conditional                # unconditional | conditional | closed"
    yield f"tables:\n  {_scalar(table)}:"
    yield "    # Without `unit` the table would be PUBLIC. 不写 unit 则整张表公开。"
    column = _scalar(columns[unit].name) if unit is not None else "?"
    yield f"    unit: {{column: !confirm {column}, stands_for: !confirm person, space: !confirm resident-id}}"
    yield f"    max_rows: !confirm {most}                # rows of one unit that count 每个隐私单元最多计入的行数"
    yield "    columns:"
    for index, seen in enumerate(columns):
        yield f"      {_scalar(seen.name)}: {{{', '.join(_fields(seen, is_unit=index == unit))}}}"
    for name in left_out:
        yield f"      # left out 未列入: {_scalar(name)} (nested, unnamed or repeated 嵌套、无名或重名)"
    yield "policy:"
    yield "  methods: [ask]"
    yield "  budget: {per_project: {epsilon: 1, delta: 1e-6}, total: {epsilon: 3, delta: 1e-6}}"


def _fields(seen: _Column, *, is_unit: bool) -> Iterator[str]:
    mark = "" if seen.declared else "!confirm "
    yield f"type: {mark}{seen.kind}"
    if is_unit:
        return
    yield from _bounds(seen)
    if seen.keys:
        listed = ", ".join(_scalar(key) for key in seen.keys)
        yield f"keys: !confirm public, domain: !confirm [{listed}]"
    yield f"nullable: !confirm {'true' if seen.nulls else 'false'}"


def _bounds(seen: _Column) -> Iterator[str]:
    if seen.low is None or seen.high is None:
        return
    if isinstance(seen.low, date) and isinstance(seen.high, date):  # a datetime is a date too
        first, last = seen.low.replace(day=1), (seen.high.replace(day=28) + timedelta(days=4)).replace(day=1)
        end = f"{(date(last.year, last.month, 1) - timedelta(days=1)).isoformat()}"
        clock = " 23:59:59.999999" if seen.kind is Kind.TIMESTAMP else ""
        yield f"lower: !confirm {date(first.year, first.month, 1).isoformat()}, upper: !confirm {_quoted(end + clock)}"
        return
    low, high = (_round_out(Decimal(str(v))) for v in (seen.low, seen.high))
    low = Decimal(0) if low > 0 else low
    yield f"lower: !confirm {low:f}, upper: !confirm {max(high, Decimal(0)):f}"
    if seen.kind is Kind.NUMBER:
        room = 14 - max(abs(low), abs(high)).adjusted()  # a bound lies at most 1e15 steps away from 0
        yield f"step: !confirm {Decimal(1).scaleb(-max(0, min(seen.decimals, room))):f}"


def _round_out(value: Decimal) -> Decimal:
    """The next of 1, 2, 5, 10, 20, 50 … away from 0, at least 1: a bound that no single value shows through."""
    if not value:
        return Decimal(0)
    size = abs(value)
    power = Decimal(10) ** max(0, math.floor(size.log10()))
    found = next(m * power for m in (1, 2, 5, 10) if m * power >= size)
    return found.copy_sign(value)


def _scalar(text: str) -> str:
    return text if re.fullmatch(r"[^\W\d_]\w*", text) and text.lower() not in _RESERVED else _quoted(text)


def _quoted(text: str) -> str:
    """A double-quoted YAML scalar: JSON's form, with everything YAML calls unprintable escaped as well."""
    escaped = json.dumps(text, ensure_ascii=False)
    return "".join(c if c.isprintable() else "".join(f"\\u{u:04x}" for u in _utf16(c)) for c in escaped)


def _utf16(char: str) -> list[int]:
    raw = char.encode("utf-16-be", "surrogatepass")
    return [int.from_bytes(raw[i : i + 2], "big") for i in range(0, len(raw), 2)]


_RESERVED = frozenset({"null", "true", "false", "yes", "no", "on", "off", "y", "n"})

"""Rules about whole tables of a description: units, names that clash, one spelling of identifiers.

Owns what no single column can tell. The rules look at the raw tree, not at the validated description, so that they speak even
when something else in the file is wrong too: a steward mends everything in one go. They read no data.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from typing import Any

from privacy.errors import Text
from sandbox.describe.located import Flaw, Located, Path


def flaws(located: Located) -> Iterator[Flaw]:
    """Everything that is wrong with the tables, as far as the tree can be understood."""
    tables = located.tree.get("tables") if isinstance(located.tree, dict) else None
    if not isinstance(tables, dict):
        return
    yield from _same_names(tables, ("tables",), located)
    known = {name: table for name, table in tables.items() if isinstance(table, dict)}
    for name, table in known.items():
        columns = table.get("columns")
        if isinstance(columns, dict):
            yield from _same_names(columns, ("tables", name, "columns"), located)
        for path, sentence in _unit_rules(table, columns if isinstance(columns, dict) else {}):
            whole: Path = ("tables", name, *path)
            yield Flaw(place=located.place(whole), path=whole, sentence=sentence)
    yield from _one_spelling(known, located)
    if known and not any("unit" in table for table in known.values()):
        yield Flaw(place=located.place(("tables",), key=True), path=("tables",), sentence=_ALL_PUBLIC)


def _same_names(names: Iterable[str], path: Path, located: Located) -> Iterator[Flaw]:
    seen: dict[str, str] = {}
    for name in names:
        first = seen.setdefault(unicodedata.normalize("NFKC", name).casefold(), name)
        if first != name:
            words = Text(f"looks like “{first}”; SQL cannot tell them apart.", f"与“{first}”过于相近，SQL 无法区分。")
            yield Flaw(place=located.place((*path, name), key=True), path=(*path, name), sentence=words)


def _one_spelling(tables: dict[str, dict[str, Any]], located: Located) -> Iterator[Flaw]:
    """Two tables of one space must write their units in the same type: `007` and `7` are two texts and one number."""
    first: dict[str, tuple[str, str]] = {}
    for name, table in tables.items():
        unit, columns = table.get("unit"), table.get("columns")
        column = unit.get("column") if isinstance(unit, dict) else None
        identity = columns.get(column) if isinstance(columns, dict) and isinstance(column, str) else None
        kind = identity.get("type") if isinstance(identity, dict) else None
        if isinstance(unit, dict) and isinstance(kind, str):
            other, expected = first.setdefault(str(unit.get("space") or f":{column}"), (name, kind))
            if expected != kind:
                path: Path = ("tables", name, "columns", str(column), "type")
                yield Flaw(place=located.place(path), path=path, sentence=_other_type(expected, other))


def _other_type(expected: str, table: str) -> Text:
    return Text(
        f"{expected} in table “{table}” of the same space; write the same type, or units will not match.",
        f"同一标识空间的表“{table}”中为 {expected}；请使用相同类型，否则隐私单元无法对应。",
    )


_ONLY_AN_ID = ("lower", "upper", "step", "keys", "domain", "unique", "nullable")


def _unit_rules(table: dict[str, Any], columns: dict[str, Any]) -> Iterator[tuple[Path, Text]]:
    unit = table.get("unit")
    if unit is None:
        if "unit" in table:
            yield ("unit",), _EMPTY_UNIT
        if table.get("max_rows") is not None:
            yield ("max_rows",), _BOUND_WITHOUT_UNIT
        return
    if table.get("max_rows") is None:
        yield ("max_rows",), _NO_BOUND
    for name, column in columns.items():
        if isinstance(column, dict) and str(column.get("unique", "false")).lower() in ("true", "yes", "on", "1"):
            yield ("columns", name, "unique"), _UNIQUE_IS_PUBLIC
    chosen = unit.get("column") if isinstance(unit, dict) else None
    if isinstance(chosen, str) and columns:
        yield from _identity_rules(chosen, columns)


def _identity_rules(chosen: str, columns: dict[str, Any]) -> Iterator[tuple[Path, Text]]:
    identity = columns.get(chosen)
    if identity is None:
        yield ("unit", "column"), _no_such_column(columns)
    if isinstance(identity, dict):
        if identity.get("type") not in ("text", "integer", None):
            yield ("columns", chosen, "type"), _UNIT_TYPE
        for word in _ONLY_AN_ID:
            if word in identity:
                yield ("columns", chosen, word), _UNIT_IS_PLAIN


def _no_such_column(columns: Iterable[str]) -> Text:
    listed = ", ".join(columns)
    listed = listed if len(listed) <= 200 else re.sub(r",[^,]*$", ", …", listed[:200])
    return Text(f"no such column in this table. Its columns are: {listed}.", f"此表没有该列。可选列：{listed}。")


_ALL_PUBLIC = Text(
    "no table names a `unit`, so every table would be PUBLIC. Name the unit of each table that speaks of persons, "
    "enterprises or the like.",
    "没有任何表声明 `unit`，所有表都会成为公开表。请为涉及个人、企业等的每张表声明隐私单元。",
)
_EMPTY_UNIT = Text(
    "`unit` is empty. Name its column, or delete the line if the table is public.",
    "`unit` 为空。请指明其列；若该表是公开表，请删除此行。",
)
_BOUND_WITHOUT_UNIT = Text(
    "`max_rows` bounds the rows of a unit, but the table names no `unit`. Add one, or delete the line if the table is public.",
    "`max_rows` 限制每个隐私单元的行数，但此表未声明 `unit`。请补充，若为公开表请删除此行。",
)
_NO_BOUND = Text(
    "missing: how many rows of one unit count at most, a whole number from 1.",
    "缺失：每个隐私单元最多计入多少行，应为不小于 1 的整数。",
)
_UNIQUE_IS_PUBLIC = Text(
    "`unique` is for public tables; in a private table it would be a fact about persons.",
    "`unique` 只用于公开表；在私有表中，它会透露关于个体的事实。",
)
_UNIT_TYPE = Text("a unit column is text or integer.", "隐私单元列的类型应为 text 或 integer。")
_UNIT_IS_PLAIN = Text(
    "a unit column is only an identity and has no bounds, keys or NULLs; delete this field.",
    "隐私单元列只是身份标识，没有取值范围、键或空值；请删除此字段。",
)

"""What can be wrong with a steward's file, and the words for every reason a row is rejected for.

Owns the problems of ingest and `reason_text`. They are for the steward, who owns the data: they may name columns, counts and
row numbers, never a value. A row's reason is a stable code, `kind` or `kind:column`.

    Problem
    ├── Malformed
    │   ├── FileUnreadable    neither CSV nor Parquet
    │   ├── EncodingUnknown   neither UTF-8 nor GB18030
    │   ├── ColumnsMissing    the description names columns the file has not
    │   ├── HeaderDoubtful    a column's name stands in the header twice
    │   ├── ColumnNested      a Parquet column holds lists, structures or bytes
    │   ├── TablesDiffer      the files and the description do not name the same tables
    │   └── NotUnique         a public table repeats a value that was declared unique
    └── TooLarge
        └── IngestTooSlow     the time limit was reached
"""

from __future__ import annotations

from privacy.errors import Malformed, Text, TooLarge


class FileUnreadable(Malformed):
    """The file is neither CSV nor Parquet, or is damaged."""

    code = "ingest.format"
    sentence = Text("The file for table {table} cannot be read: {why}.", "数据表 {table} 的文件无法读取：{why}。")
    hint = Text(
        "Send CSV (UTF-8 or GB18030, with a header line) or Parquet, not compressed and not a spreadsheet.",
        "请提供 CSV（UTF-8 或 GB18030，含标题行）或 Parquet 文件，不要压缩，也不要使用电子表格格式。",
    )


class EncodingUnknown(Malformed):
    """The file is text in neither of the two encodings."""

    code = "ingest.encoding"
    sentence = Text(
        "The file for table {table} is neither UTF-8 nor GB18030 text.",
        "数据表 {table} 的文件既不是 UTF-8 也不是 GB18030 文本。",
    )
    hint = Text("Save it again as UTF-8.", "请将其另存为 UTF-8 编码。")


class ColumnsMissing(Malformed):
    """The description names columns that the file has not."""

    code = "ingest.columns_missing"
    sentence = Text(
        "The file for table {table} has no column {missing}. It has: {found}.",
        "数据表 {table} 的文件中没有列 {missing}。现有列：{found}。",
    )
    hint = Text(
        "Correct the header line of the file or the names in the description; upper and lower case do not matter.",
        "请修改文件标题行或描述中的列名；不区分大小写。",
    )


class HeaderDoubtful(Malformed):
    """A described column stands twice in the header."""

    code = "ingest.header_doubtful"
    sentence = Text(
        "The file for table {table} has several columns named {column}.", "数据表 {table} 的文件中有多列名为 {column}。"
    )
    hint = Text("Give every column of the file its own name.", "请为文件的每一列使用不同的名称。")


class ColumnNested(Malformed):
    """A Parquet column is of a type that no description can name."""

    code = "ingest.column_nested"
    sentence = Text(
        "Column {column} of the file for table {table} holds {kind}, which is not supported.",
        "数据表 {table} 的文件中，列 {column} 的类型为 {kind}，不受支持。",
    )
    hint = Text("Write it as text, numbers, dates or booleans.", "请改为文本、数值、日期或布尔类型。")


class TablesDiffer(Malformed):
    """The files and the description do not name the same tables."""

    code = "ingest.tables_differ"
    sentence = Text("Table {table}: {why}.", "数据表 {table}：{why}。")
    hint = Text(
        "Send exactly one file for each table of the description: {expected}.",
        "请为描述中的每张表各提供一个文件：{expected}。",
    )


class NotUnique(Malformed):
    """A public table repeats a value of a column that was declared unique."""

    code = "ingest.not_unique"
    sentence = Text(
        "Table {table}: {count} values of column {column} occur more than once, first in rows {rows}.",
        "数据表 {table}：列 {column} 有 {count} 个值重复出现，最先见于第 {rows} 行。",
    )
    hint = Text(
        "Remove the repeated rows, or delete `unique: true` from the description.",
        "请删除重复的行，或从描述中去掉 `unique: true`。",
    )


class IngestTooSlow(TooLarge):
    """The time limit was reached."""

    code = "ingest.time"
    sentence = Text("Ingest was stopped after {seconds} seconds.", "入库超过 {seconds} 秒，已停止。")
    hint = Text("Ask the operator for a higher limit.", "请向运营方申请更高的时限。")


_REASONS = {
    "csv.fields": Text("not as many fields as the header", "字段数与标题行不一致"),
    "csv.quotes": Text("a quote that is not closed or stands in the wrong place", "引号未闭合或位置有误"),
    "csv.encoding": Text("bytes that are not text in the file's encoding", "含有不符合文件编码的字节"),
    "csv.long": Text("longer than a row may be", "单行过长"),
    "csv.other": Text("not readable as CSV", "无法按 CSV 解析"),
    "type": Text("{column}: not of the described type", "{column}：与描述的类型不符"),
    "range": Text("{column}: too large a number for its step", "{column}：数值相对步长过大"),
    "null": Text("{column}: no value, but it is not nullable", "{column}：缺少值，而该列不可为空"),
    "domain": Text("{column}: not in the public domain", "{column}：不在公开键值清单内"),
}


def reason_text(code: str) -> Text:
    """The words for a reason of `TableReport.rejected`. They may hold a column's name: read `words`, never `say` them."""
    kind, _, column = code.partition(":")
    words = _REASONS[kind]
    return Text(words.en.replace("{column}", column), words.zh.replace("{column}", column))

"""Functions of texts: total, and with a result that cannot be made large by what a row holds.

Owns the readers of `privacy.sql.functions` that take or give texts. Only `||`, `concat`, `concat_ws`, `replace` and
`regexp_replace` may give more than they take; `growth` says by how much, and the gate bounds it for a whole question
(`privacy.sql.compile`). What could fail on a row (an empty filling, a bad pattern, an escape without what it escapes) is a
constant here and is refused before anything runs; the engine's own error for it could not be caught by TRY.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from fractions import Fraction
from typing import TYPE_CHECKING

from sqlglot import exp

from privacy.errors import Text
from privacy.facts import Kind
from privacy.sql.parse import refuse, require_arguments
from privacy.sql.patterns import MAX_PATTERN, MAX_SIZE, BadPattern, groups_of
from privacy.sql.terms import Term, quote_text, truth

if TYPE_CHECKING:
    from privacy.sql.expressions import Reader

TextReader = Callable[["Reader", exp.Expr], Term]

#: Texts that one question may join: what a row holds grows by no more than this, so memory cannot be made to tell of a row.
MAX_JOINED_TEXTS = 64
MAX_PADDED = 1_000
#: What a text takes in memory when it is cut into parts: as much as this many of it.
PARTS = 8
#: What may stand behind a backslash in the replacement of `regexp_replace`.
_REPLACEMENT = re.compile(r"(?:[^\\]|\\[0-9\\])*", re.DOTALL)


def growth(root: exp.Expr) -> int:
    """How many times longer than the texts of a row what a question makes of them can be, constants counting as a row's texts.

    Within one SELECT the joins add up, however they are nested; replacements, and SELECTs that read each other, multiply.
    """
    joins: dict[int, int] = {}
    for node in root.find_all(exp.DPipe, exp.Concat, exp.ConcatWs, exp.SplitPart):
        texts = max(2, len(node.expressions)) * (2 if isinstance(node, exp.ConcatWs) else 1)
        texts = PARTS if isinstance(node, exp.SplitPart) else texts
        inside = id(node.find_ancestor(exp.Select))
        joins[inside] = joins.get(inside, 0) + texts
    replacements = math.prod(_replaced(n) for n in root.find_all(exp.Replace, exp.RegexpReplace))
    return min(math.prod(joins.values()) * replacements, 10**9)


def _replaced(node: exp.Expr) -> int:
    new, old = (
        len(str(n.name).encode()) if isinstance(n, exp.Expr) else 0
        for n in (node.args.get("replacement"), node.expression)
    )
    if isinstance(node, exp.RegexpReplace):
        return 1 + new  # an empty match stands before every character
    return max(1, -(-new // max(1, old)))


def changed(template: str, name: str) -> TextReader:
    """A function of one text that gives a text."""

    def read(reader: Reader, node: exp.Expr) -> Term:
        require_arguments(node, "this")
        a = reader.of_kind(node.this, name, Kind.TEXT)
        return Term(sql=template.format(a=a.sql), kind=Kind.TEXT, nullable=a.nullable)

    return read


def trim(reader: Reader, node: exp.Expr) -> Term:
    """TRIM, LTRIM and RTRIM: blanks, or the characters of a second text."""
    require_arguments(node, "this", "position", "expression")
    a = reader.of_kind(node.this, "TRIM", Kind.TEXT)
    function = {"LEADING": "ltrim", "TRAILING": "rtrim"}.get(str(node.args.get("position") or ""), "trim")
    if node.expression is None:
        return Term(sql=f"{function}({a.sql})", kind=Kind.TEXT, nullable=a.nullable)
    characters = reader.constant_text(node.expression, "TRIM")
    return Term(sql=f"{function}({a.sql}, {quote_text(characters)})", kind=Kind.TEXT, nullable=a.nullable)


def length(function: str) -> TextReader:
    """The length of a text, in characters or in bytes."""

    def read(reader: Reader, node: exp.Expr) -> Term:
        a = reader.of_kind(reader.arguments(node, function, 1)[0], function.upper(), Kind.TEXT)
        sql = f"{function}({a.sql})"
        return Term(sql=sql, kind=Kind.INTEGER, nullable=a.nullable, low=Fraction(0), step=Fraction(1))

    return read


def substring(reader: Reader, node: exp.Expr) -> Term:
    """SUBSTRING with a constant start and length."""
    require_arguments(node, "this", "start", "length")
    a = reader.of_kind(node.this, "SUBSTRING", Kind.TEXT)
    start = reader.constant(node.args.get("start"), "SUBSTRING", 1)
    count = reader.constant(node.args.get("length"), "SUBSTRING", 10_000)
    return Term(sql=f"substring({a.sql}, {start}, {count})", kind=Kind.TEXT, nullable=a.nullable)


def side(name: str) -> TextReader:
    """LEFT or RIGHT."""

    def read(reader: Reader, node: exp.Expr) -> Term:
        require_arguments(node, "this", "expression")
        a = reader.of_kind(node.this, name, Kind.TEXT)
        count = reader.constant(node.expression, name, 1)
        return Term(sql=f"{name.lower()}({a.sql}, {count})", kind=Kind.TEXT, nullable=a.nullable)

    return read


def pad(reader: Reader, node: exp.Expr) -> Term:
    """LPAD or RPAD to a constant width with a constant filling."""
    require_arguments(node, "this", "expression", "fill_pattern", "is_left")
    name = "LPAD" if node.args.get("is_left") else "RPAD"
    a = reader.of_kind(node.this, name, Kind.TEXT)
    width = reader.constant(node.expression, name, 0)
    filling = node.args.get("fill_pattern")
    text = " " if filling is None else reader.constant_text(filling, name)
    if not text or width > MAX_PADDED:
        construct = Text(
            f"{name} beyond {MAX_PADDED} characters or with nothing", f"超过 {MAX_PADDED} 个字符或填充为空的 {name}"
        )
        raise refuse(construct, node, Text(f"Write {name}(x, 5, '0').", f"请写成 {name}(x, 5, '0')。"))
    return Term(sql=f"{name.lower()}({a.sql}, {width}, {quote_text(text)})", kind=Kind.TEXT, nullable=a.nullable)


def condition(function: str) -> TextReader:
    """A condition on two texts."""

    def read(reader: Reader, node: exp.Expr) -> Term:
        found = [reader.of_kind(n, function.upper(), Kind.TEXT) for n in reader.arguments(node, function, 2)]
        return truth(f"{function}({found[0].sql}, {found[1].sql})", found)

    return read


def position(reader: Reader, node: exp.Expr) -> Term:
    """Where a text stands in another, from 1; 0 when it does not."""
    require_arguments(node, "this", "substr")
    found = [reader.of_kind(n, "STRPOS", Kind.TEXT) for n in (node.this, node.args["substr"])]
    sql = f"strpos({found[0].sql}, {found[1].sql})"
    nullable = any(t.nullable for t in found)
    return Term(sql=sql, kind=Kind.INTEGER, nullable=nullable, low=Fraction(0), step=Fraction(1))


def joined(reader: Reader, node: exp.Expr) -> Term:
    """`a || b`."""
    require_arguments(node, "this", "expression")
    a, b = (reader.of_kind(n, "||", Kind.TEXT) for n in (node.this, node.expression))
    return Term(sql=f"({a.sql} || {b.sql})", kind=Kind.TEXT, nullable=a.nullable or b.nullable)


def concat(reader: Reader, node: exp.Expr) -> Term:
    """CONCAT takes NULL for no text."""
    require_arguments(node, "expressions")
    found = [reader.of_kind(n, "CONCAT", Kind.TEXT) for n in node.expressions]
    return Term(sql=f"concat({', '.join(t.sql for t in found)})", kind=Kind.TEXT, nullable=False)


def concat_ws(reader: Reader, node: exp.Expr) -> Term:
    """CONCAT_WS leaves NULLs out; without a separator there is no text."""
    require_arguments(node, "expressions")
    reader.require_count(node, "concat_ws", min(2, len(node.expressions)), 2)
    found = [reader.of_kind(n, "CONCAT_WS", Kind.TEXT) for n in node.expressions]
    return Term(sql=f"concat_ws({', '.join(t.sql for t in found)})", kind=Kind.TEXT, nullable=found[0].nullable)


def replaced(reader: Reader, node: exp.Expr) -> Term:
    """REPLACE of a constant by a constant."""
    require_arguments(node, "this", "expression", "replacement")
    a = reader.of_kind(node.this, "REPLACE", Kind.TEXT)
    old, new = (reader.constant_text(n, "REPLACE") for n in (node.expression, node.args.get("replacement")))
    return Term(sql=f"replace({a.sql}, {quote_text(old)}, {quote_text(new)})", kind=Kind.TEXT, nullable=a.nullable)


def split_part(reader: Reader, node: exp.Expr) -> Term:
    """SPLIT_PART at a constant separator, spelled with lists.

    DuckDB 2.0 cannot fold its own `split_part`: on a column that is NULL in every row, and on no other, it is an error.
    """
    require_arguments(node, "this", "delimiter", "part_index")
    a = reader.of_kind(node.this, "SPLIT_PART", Kind.TEXT)
    separator = reader.constant_text(node.args.get("delimiter"), "SPLIT_PART")
    part = reader.constant(node.args.get("part_index"), "SPLIT_PART", 1)
    sql = f"array_to_string(list_slice(string_split({a.sql}, {quote_text(separator)}), {part}, {part}), '')"
    return Term(sql=sql, kind=Kind.TEXT, nullable=a.nullable)


def escape(reader: Reader, node: exp.Expr) -> Term:
    """`x LIKE 'pattern' ESCAPE 'c'`: both constants, because a pattern that ends with the escape is an error on a row."""
    require_arguments(node, "this", "expression")
    like = node.this
    if not isinstance(like, exp.Like | exp.ILike):
        raise refuse(Text("ESCAPE without LIKE", "没有 LIKE 的 ESCAPE"), node)
    require_arguments(like, "this", "expression", "negate")
    pattern, mark = reader.constant_text(like.expression, "LIKE"), reader.constant_text(node.expression, "ESCAPE")
    if len(mark) != 1 or (len(pattern) - len(pattern.rstrip(mark))) % 2:
        raise refuse(
            Text("an ESCAPE that escapes nothing", "未转义任何字符的 ESCAPE"),
            node,
            Text("Write LIKE '10$%' ESCAPE '$'.", "请写成 LIKE '10$%' ESCAPE '$'。"),
        )
    a = reader.of_kind(like.this, "LIKE", Kind.TEXT)
    symbol = ("NOT " if like.args.get("negate") else "") + ("ILIKE" if isinstance(like, exp.ILike) else "LIKE")
    return truth(f"({a.sql} {symbol} {quote_text(pattern)} ESCAPE {quote_text(mark)})", [a])


def _pattern(reader: Reader, node: exp.Expr, name: str) -> tuple[str, int]:
    """A constant pattern, as SQL, and how many groups it captures."""
    pattern = reader.constant_text(node.expression, name)
    try:
        return quote_text(pattern), groups_of(pattern)
    except BadPattern as bad:
        raise refuse(
            Text("this regular expression", "该正则表达式"),
            node,
            Text(
                f"Up to {MAX_PATTERN} characters, and {MAX_SIZE} with all repeats written out; . [ ] ( ) | ^ $ * + ? {{m,n}} "
                "\\d \\w \\s \\b; other punctuation behind a backslash; no look-around.",
                f"最多 {MAX_PATTERN} 个字符，重复展开后最多 {MAX_SIZE} 个；. [ ] ( ) | ^ $ * + ? {{m,n}} \\d \\w \\s \\b；"
                "其他标点前须加反斜杠；不支持环视。",
            ),
        ) from bad


def _options(node: exp.Expr, argument: str, allowed: str, name: str) -> str:
    """The options of a regular expression as a last argument; "" when there are none."""
    found = node.args.get(argument)
    if found is None:
        return ""
    text = found.name if isinstance(found, exp.Literal) and found.args.get("is_string") else "?"
    if set(text) - set(allowed):
        choices = ", ".join(f"'{a}'" for a in allowed)
        raise refuse(
            Text(f"this option of {name}", f"{name} 的该选项"),
            node,
            Text(f"Accepted: {choices}.", f"可用：{choices}。"),
        )
    return f", {quote_text(''.join(sorted(set(text))))}"


def matches(function: str) -> TextReader:
    """Whether a pattern is found in a text, or is all of it."""

    def read(reader: Reader, node: exp.Expr) -> Term:
        options = "options" if isinstance(node, exp.RegexpFullMatch) else "flag"
        require_arguments(node, "this", "expression", options)
        a = reader.of_kind(node.this, function.upper(), Kind.TEXT)
        pattern, _ = _pattern(reader, node, function.upper())
        return truth(f"{function}({a.sql}, {pattern}{_options(node, options, 'i', function)})", [a])

    return read


def extract(reader: Reader, node: exp.Expr) -> Term:
    """What a pattern, or one of its groups, matches first; the empty text when it does not."""
    require_arguments(node, "this", "expression", "group", "parameters", "null_if_pos_overflow")
    a = reader.of_kind(node.this, "REGEXP_EXTRACT", Kind.TEXT)
    pattern, groups = _pattern(reader, node, "REGEXP_EXTRACT")
    group = reader.constant(node.args.get("group"), "REGEXP_EXTRACT", 0)
    _require_group(node, group, groups)
    sql = f"regexp_extract({a.sql}, {pattern}, {group}{_options(node, 'parameters', 'i', 'regexp_extract')})"
    return Term(sql=sql, kind=Kind.TEXT, nullable=a.nullable)


def _require_group(node: exp.Expr, group: int, groups: int) -> None:
    if not 0 <= group <= min(groups, 9):
        raise refuse(
            Text(f"the group {group} of a pattern with {groups}", f"只有 {groups} 个分组的模式中的第 {group} 组"),
            node,
            Text("Groups are counted from 1 to 9; 0 is the whole match.", "分组从 1 数到 9，0 表示整个匹配。"),
        )


def substituted(reader: Reader, node: exp.Expr) -> Term:
    """REGEXP_REPLACE of a constant pattern by a constant; a backslash and a digit stand for a group."""
    require_arguments(node, "this", "expression", "replacement", "modifiers", "single_replace")
    a = reader.of_kind(node.this, "REGEXP_REPLACE", Kind.TEXT)
    pattern, groups = _pattern(reader, node, "REGEXP_REPLACE")
    new = reader.constant_text(node.args.get("replacement"), "REGEXP_REPLACE")
    if not _REPLACEMENT.fullmatch(new):
        raise refuse(
            Text("this replacement", "该替换文本"),
            node,
            Text("Behind a backslash stands a digit or a backslash.", "反斜杠之后须为数字或反斜杠。"),
        )
    for digit in re.findall(r"\\([0-9\\])", new):
        _require_group(node, int(digit) if digit != "\\" else 0, groups)
    options = _options(node, "modifiers", "gi", "regexp_replace")
    return Term(
        sql=f"regexp_replace({a.sql}, {pattern}, {quote_text(new)}{options})", kind=Kind.TEXT, nullable=a.nullable
    )


def similar(reader: Reader, node: exp.Expr) -> Term:
    """`x SIMILAR TO 'pattern'`: in DuckDB, that the pattern is all of the text."""
    require_arguments(node, "this", "expression")
    return matches("regexp_full_match")(reader, exp.RegexpFullMatch(this=node.this, expression=node.expression))

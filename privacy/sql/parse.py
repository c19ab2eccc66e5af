"""Text → one SELECT tree that we understand whole.

Owns reading the asker's text: size, depth, one statement, and the list of clauses that may stand in a SELECT. It never
resolves a name. What is not understood is refused, never ignored: every argument that the parser filled in and that is
not on the list of its node is a refusal by name.
"""

from __future__ import annotations

import logging

import sqlglot
from sqlglot import exp
from sqlglot.errors import ParseError, TokenError

from privacy.errors import Text
from privacy.sql.problems import SqlManyStatements, SqlSyntax, SqlTooDeep, SqlTooLong, Unsupported

MAX_LENGTH = 100_000
MAX_DEPTH = 20
#: Chains of operators are deep trees without a bracket.
MAX_TREE = 160
MAX_NODES = 10_000

NOWHERE = Text("", "")
#: Arguments that the parser sets by itself and that change nothing here.
_SILENT = frozenset({"typed", "safe", "ignore_nulls", "coalesce", "big_int", "_type", "date_part_boundary", "nested"})

_ROWS = frozenset({"expressions", "from_", "joins", "where"})
#: Clauses of a SELECT that is not the question itself: by where it stands.
_WITHIN: dict[str, frozenset[str]] = {
    "subquery": _ROWS | {"with_", "group", "having", "distinct", "qualify"},
    "EXISTS": _ROWS,
}
#: For each clause-level node, the arguments that may be filled in.
_CLAUSES: dict[type[exp.Expr], frozenset[str]] = {
    exp.Select: _ROWS | {"with_", "distinct", "group", "having", "qualify", "order", "limit", "offset"},
    exp.Distinct: frozenset(),
    exp.From: frozenset({"this"}),
    exp.Table: frozenset({"this", "alias"}),
    exp.TableAlias: frozenset({"this"}),
    exp.Join: frozenset({"this", "on", "using", "side", "kind"}),
    exp.Where: frozenset({"this"}),
    exp.Group: frozenset({"expressions", "all"}),
    exp.Having: frozenset({"this"}),
    exp.Qualify: frozenset({"this"}),
    exp.Order: frozenset({"expressions"}),
    exp.Ordered: frozenset({"this", "desc", "nulls_first"}),
    exp.Limit: frozenset({"expression"}),
    exp.Offset: frozenset({"expression"}),
}

_NAMES: dict[str, Text] = {
    "with_": Text("WITH (a common table expression)", "WITH（公用表表达式）"),
    "distinct": Text("SELECT DISTINCT", "SELECT DISTINCT"),
    "qualify": Text("QUALIFY", "QUALIFY"),
    "order": Text("ORDER BY in a subquery", "子查询中的 ORDER BY"),
    "limit": Text("LIMIT in a subquery", "子查询中的 LIMIT"),
    "offset": Text("OFFSET in a subquery", "子查询中的 OFFSET"),
    "group": Text("GROUP BY behind EXISTS", "EXISTS 之后的 GROUP BY"),
    "having": Text("HAVING behind EXISTS", "EXISTS 之后的 HAVING"),
    "on": Text("DISTINCT ON", "DISTINCT ON"),
    "windows": Text("WINDOW", "WINDOW"),
    "sample": Text("SAMPLE", "SAMPLE"),
    "into": Text("INTO", "INTO"),
    "laterals": Text("LATERAL", "LATERAL"),
    "pivots": Text("PIVOT", "PIVOT"),
    "rollup": Text("ROLLUP", "ROLLUP"),
    "cube": Text("CUBE", "CUBE"),
    "grouping_sets": Text("GROUPING SETS", "GROUPING SETS"),
    "totals": Text("WITH TOTALS", "WITH TOTALS"),
    "db": Text("a schema before a table's name", "表名前的模式名"),
    "catalog": Text("a catalogue before a table's name", "表名前的目录名"),
    "method": Text("this kind of join (NATURAL, ASOF, POSITIONAL)", "这类连接（NATURAL、ASOF、POSITIONAL）"),
    "columns": Text("a column list behind a table's alias", "表别名后的列名列表"),
    "limit_options": Text("LIMIT with a percentage", "按百分比的 LIMIT"),
    "hint": Text("a hint", "提示（hint）"),
}

_ADVICE: dict[str, Text] = {
    "on": Text("Write QUALIFY row_number() OVER (…) = 1.", "请写成 QUALIFY row_number() OVER (…) = 1。"),
    "windows": Text("Write the window behind OVER.", "请将窗口写在 OVER 之后。"),
    "rollup": Text("Write GROUP BY ROLLUP (a, b).", "请写成 GROUP BY ROLLUP (a, b)。"),
    "db": Text("Write the table's name alone.", "请只写表名。"),
}
_CUT = Text(
    "One unit more would push out rows of others. For some rows of each unit: QUALIFY row_number() OVER (PARTITION BY unit "
    "ORDER BY …) <= n; ORDER BY and LIMIT work on the answer.",
    "多一个隐私单元就会挤掉他人的行。若要取每个单元的若干行，请用 QUALIFY row_number() OVER (PARTITION BY 隐私单元 ORDER BY …) "
    "<= n；ORDER BY 与 LIMIT 作用于结果。",
)
_EXISTS_ROWS = Text("Write EXISTS (SELECT … FROM … WHERE …).", "请写成 EXISTS (SELECT … FROM … WHERE …)。")
#: The nearest thing that is accepted, for clauses of a SELECT within a question.
_INNER_ADVICE: dict[str, Text] = {
    **dict.fromkeys(("order", "limit", "offset", "sample"), _CUT),
    **dict.fromkeys(("distinct", "group", "having", "qualify", "with_"), _EXISTS_ROWS),
    "windows": Text("Write the window behind OVER.", "请把窗口写在 OVER 之后。"),
}
GENERAL_ADVICE = Text(
    "Accepted: SELECT … FROM … JOIN … WHERE … GROUP BY … HAVING … ORDER BY … LIMIT … OFFSET.",
    "可用的结构：SELECT … FROM … JOIN … WHERE … GROUP BY … HAVING … ORDER BY … LIMIT … OFFSET。",
)


def where_of(node: exp.Expr) -> Text:
    """Where a node stands in the asker's text, as the end of a sentence; empty when it is not known."""
    for part in node.walk():
        if {"line", "col", "start", "end"} <= part.meta.keys():
            line = part.meta["line"]
            column = part.meta["col"] - (
                part.meta["end"] - part.meta["start"]
            )  # the parser counts to the last character
            return Text(f" (line {line}, column {column})", f"（第 {line} 行第 {column} 列）")
    return NOWHERE


def refuse(construct: Text, node: exp.Expr, advice: Text = GENERAL_ADVICE) -> Unsupported:
    """The refusal of a construct, with its position."""
    return Unsupported(construct=construct, where=where_of(node), advice=advice)


def parse_query(sql: str) -> exp.Expr:
    """Read one statement. Raises `SqlTooLong`, `SqlTooDeep`, `SqlSyntax`, `SqlManyStatements`."""
    _require_readable(sql)
    statements = [s for s in _parse(sql) if not isinstance(s, exp.Semicolon | None)]  # a comment may stand behind it
    if len(statements) != 1:
        raise SqlManyStatements(count=len(statements))
    return statements[0]


def require_select(query: exp.Expr) -> exp.Select:
    """The statement as one SELECT of known clauses. Raises `Unsupported`."""
    if not isinstance(query, exp.Select):
        raise refuse(_statement_name(query), query)
    require_clauses(query)
    return query


def parse_select(sql: str) -> exp.Select:
    """Read one SELECT statement. Raises `SqlTooLong`, `SqlTooDeep`, `SqlSyntax`, `SqlManyStatements`, `Unsupported`."""
    return require_select(parse_query(sql))


def _require_readable(sql: str) -> None:
    if len(sql) > MAX_LENGTH:
        raise SqlTooLong(length=len(sql), limit=MAX_LENGTH)
    depth = deepest = 0
    for character in sql:
        if character in "([{":
            depth += 1
            deepest = max(deepest, depth)
        elif character in ")]}":
            depth -= 1
    if deepest > MAX_DEPTH:
        raise SqlTooDeep(limit=MAX_DEPTH)
    bad = next((i for i, c in enumerate(sql) if c == "\0" or 0xD800 <= ord(c) <= 0xDFFF), None)
    if bad is not None:
        raise SqlSyntax(line=sql.count("\n", 0, bad) + 1, column=bad - sql.rfind("\n", 0, bad), near="�")


#: The parser writes a statement that it does not know into the log, word for word. The asker's text is not the operator's.
logging.getLogger("sqlglot").disabled = True


def _parse(sql: str) -> list[exp.Expr | None]:
    try:
        trees = sqlglot.parse(sql, read="duckdb")
        for tree in trees:
            _require_shallow(tree, sql)
    except RecursionError as error:
        raise SqlTooDeep(limit=MAX_DEPTH) from error
    except ParseError as error:
        first = error.errors[0] if error.errors else {}
        raise SqlSyntax(
            line=first.get("line") or 1, column=first.get("col") or 1, near=(first.get("highlight") or "")[:40]
        ) from None
    except TokenError as error:
        raise SqlSyntax(line=1, column=1, near=sql[:20]) from error
    return list(trees)


def _require_shallow(tree: exp.Expr | None, sql: str) -> None:
    """Bound the tree before anything recurses over it: `-` and NOT chains are deep without a bracket.

    The parser accepts some operators without their operand; here they are what they are, a syntax error.
    """
    level = [tree] if tree is not None else []
    depth = nodes = 0
    while level:
        depth, nodes = depth + 1, nodes + len(level)
        if depth > MAX_TREE or nodes > MAX_NODES:
            raise SqlTooDeep(limit=MAX_TREE)
        if any(needed and node.args.get(name) is None for node in level for name, needed in node.arg_types.items()):
            raise SqlSyntax(line=1, column=1, near=sql[:20])
        level = [child for node in level for child in node.iter_expressions()]


def _statement_name(tree: exp.Expr) -> Text:
    if isinstance(tree, exp.SetOperation):
        return Text("combining SELECTs (UNION, INTERSECT, EXCEPT)", "合并多个 SELECT（UNION、INTERSECT、EXCEPT）")
    if isinstance(tree, exp.Subquery):
        return Text("a SELECT in brackets", "括号中的 SELECT")
    name = tree.key.upper()
    return Text(f"the statement {name}", f"语句 {name}")


def require_clauses(select: exp.Select, place: str = "") -> None:
    """Refuse every clause of this SELECT that is not read at its `place`: the question itself, a "subquery", "EXISTS"."""
    _require_known_arguments(select, _WITHIN.get(place, _CLAUSES[exp.Select]), _INNER_ADVICE if place else _ADVICE)
    parts = _clauses_of(select)
    while parts:
        node = parts.pop()
        _require_known_arguments(node, _CLAUSES[type(node)], _ADVICE)
        parts.extend(_clauses_of(node))


def _clauses_of(node: exp.Expr) -> list[exp.Expr]:
    """The clause-level nodes right below; expressions and other SELECTs have readers of their own."""
    if isinstance(node, exp.Ordered | exp.Where | exp.Having | exp.Qualify | exp.Limit | exp.Offset):
        return []
    values = [v for name, v in node.args.items() if name != "on"]
    members = [m for v in values for m in (v if isinstance(v, list) else [v])]
    return [m for m in members if type(m) in _CLAUSES and not isinstance(m, exp.Select)]


def _require_known_arguments(node: exp.Expr, allowed: frozenset[str], advices: dict[str, Text]) -> None:
    for name, value in node.args.items():
        if value in (None, [], False) or name in allowed:
            continue
        construct = _NAMES.get(name, Text(name.strip("_").upper(), name.strip("_").upper()))
        raise refuse(construct, node, advices.get(name, GENERAL_ADVICE))


def require_arguments(node: exp.Expr, *allowed: str) -> None:
    """Refuse a node in which the parser filled in anything but `allowed`: what is not understood is never ignored."""
    for name, value in node.args.items():
        if value in (None, [], False) or name in allowed or name in _SILENT:
            continue
        text = f"{node.key.upper()} … {name.strip('_').upper()}"
        raise refuse(Text(text, text), node)

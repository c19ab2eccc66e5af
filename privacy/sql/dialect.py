"""The tables of the page on accepted SQL, made by asking the gate about each word of it.

Owns the rendering of `docs/sql.md` and `docs/sql.zh-CN.md` between their marks. What is accepted, what it gives, how many noisy
numbers it takes and how it is refused are not written down here: small questions about a made-up dataset are compiled, and the
plan or the refusal is what stands in the table. It reads no data and no file; `sandbox.api.docs` writes the pages.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import date, datetime
from decimal import Decimal

from privacy.errors import Problem, Text
from privacy.facts import ColumnFacts, DatasetFacts, Keys, Kind, PrivacyUnit, TableFacts
from privacy.sql import around, expressions, joins, parse, sets, texts, tracked
from privacy.sql import compile as compiling
from privacy.sql.bound import MAX_CELLS, MAX_STATISTICS
from privacy.sql.compile import compile_query
from privacy.sql.plan import Plan
from privacy.sql.problems import UnknownAggregate, UnknownFunction
from privacy.sql.resolve import MAX_UNIT_ROWS, RowScope, stored
from privacy.sql.shape import MAX_OUTPUTS
from privacy.sql.words import AGGREGATES, CHOICES, DAYS, NUMBERS, OPERATORS, TEXTS, WINDOWS, Word

COMMAND = "python -m sandbox.api.docs"
_PART = re.compile(r"(<!-- (\w+): written by `[^`]*` -->\n).*?(<!-- end of \2 -->)", re.DOTALL)
_PLACE = re.compile(r" \(line \d+, column \d+\)|（第 \d+ 行第 \d+ 列）")

_MOST, _OTHER, _REPEATS, _ROWS = 8, 5, 3, 50
_BOUNDS: Mapping[Kind, tuple[object, object]] = {
    Kind.INTEGER: (Decimal(0), Decimal(120)),
    Kind.NUMBER: (Decimal(0), Decimal(5000)),
    Kind.DATE: (date(2024, 1, 1), date(2024, 12, 31)),
    Kind.TIMESTAMP: (datetime.fromisoformat("2024-01-01"), datetime.fromisoformat("2024-12-31")),
}


def _column(name: str, kind: Kind, **more: object) -> ColumnFacts:
    lower, upper = _BOUNDS.get(kind, (None, None))
    return ColumnFacts(name=name, kind=kind, lower=lower, upper=upper, **more)  # type: ignore[arg-type]


_UNIT = PrivacyUnit(column="u", stands_for="person", space="u")
_T = TableFacts(
    name="t",
    unit=_UNIT,
    max_rows=_MOST,
    columns=(
        ColumnFacts(name="u", kind=Kind.TEXT),
        _column("n", Kind.INTEGER),
        _column("x", Kind.NUMBER, step=Decimal("0.01")),
        _column("s", Kind.TEXT),
        _column("b", Kind.BOOLEAN),
        _column("d", Kind.DATE),
        _column("m", Kind.TIMESTAMP),
        _column("k", Kind.TEXT, keys=Keys.PUBLIC, domain=("a", "b")),
    ),
)
_W = TableFacts(name="w", unit=_UNIT, max_rows=_OTHER, columns=(_T.columns[0], _T.columns[1]))
_P = TableFacts(
    name="p",
    rows=_ROWS,
    columns=(_column("k", Kind.TEXT, max_repeats=_REPEATS), _column("n", Kind.INTEGER), _column("d", Kind.DATE)),
)
_FACTS = DatasetFacts(tables=(_T, _W, _P))

_KINDS: Mapping[Kind, Text] = {
    Kind.INTEGER: Text("whole number", "整数"),
    Kind.NUMBER: Text("number", "数值"),
    Kind.TEXT: Text("text", "文本"),
    Kind.BOOLEAN: Text("truth value", "布尔值"),
    Kind.DATE: Text("day", "日期"),
    Kind.TIMESTAMP: Text("moment", "时刻"),
}

#: Joins of the private table t with the public p and the private w about the same unit.
JOINS = (
    "JOIN p USING (k)", "JOIN p ON t.k = p.k AND t.d > p.d", "JOIN p ON t.d BETWEEN p.d AND p.d + 30",
    "INNER JOIN p ON t.n > p.n", "CROSS JOIN p", ", p",
    "LEFT JOIN p USING (k)", "LEFT OUTER JOIN p ON t.n > p.n", "SEMI JOIN p ON t.n > p.n",
    "ANTI JOIN p USING (k)", "JOIN w USING (u)", "JOIN w ON t.u = w.u AND t.n > w.n", ", w WHERE t.u = w.u",
    "LEFT JOIN w USING (u)", "SEMI JOIN w USING (u)", "ANTI JOIN w USING (u)", "JOIN w ON t.n = w.n", "CROSS JOIN w",
    "RIGHT JOIN p USING (k)", "FULL JOIN p USING (k)", "NATURAL JOIN p", "ASOF JOIN p ON t.d >= p.d", "POSITIONAL JOIN p",
    "JOIN p",
)  # fmt: skip
_MULTIPLIED: Mapping[int, Text] = {
    1: Text("as in t", "与 t 相同"),
    _REPEATS: Text("× how often p repeats a value of k", "× p 中同一个 k 值的行数"),
    _ROWS: Text("× rows of p", "× p 的行数"),
    _OTHER: Text("× `max_rows` of w", "× w 的 `max_rows`"),
}

#: What is refused: one question for each reason.
REFUSALS = (
    "SELECT n FROM t",
    "SELECT u, COUNT(*) FROM t GROUP BY u",
    "SELECT COUNT(*) FROM t WHERE u = '7'",
    "SELECT COUNT(*) FROM t WHERE SUM(n) > 1",
    "SELECT SUM(x / n) FROM t",
    "SELECT MODE(s) FROM t",
    "SELECT COUNT(*) FROM t WHERE random() < 0.5",
    "SELECT COUNT(*) FROM t WHERE error(s) IS NULL",
    "SELECT COUNT(*) FROM (SELECT * FROM t LIMIT 100) q",
    "SELECT COUNT(*) FROM t USING SAMPLE 10%",
    "SELECT COUNT(*) FROM (SELECT rank() OVER (ORDER BY x) AS r FROM t) q",
    "SELECT COUNT(*) FROM (SELECT DISTINCT s FROM t) q",
    "SELECT COUNT(*) FROM t JOIN (SELECT k, COUNT(*) AS c FROM t GROUP BY k) q USING (k)",
    "SELECT COUNT(*) FROM t WHERE s IN (SELECT s FROM t)",
    "SELECT COUNT(*) FROM t WHERE EXISTS (SELECT 1 FROM w WHERE w.n > 1)",
    "SELECT COUNT(*) FROM t WHERE x > (SELECT AVG(x) FROM t)",
    "SELECT COUNT(*) FROM t, LATERAL (SELECT 1) q",
    "WITH RECURSIVE q AS (SELECT * FROM t) SELECT COUNT(*) FROM q",
    "SELECT k, COUNT(*) FROM t GROUP BY CUBE (k, s, b, n, d)",
    "SELECT COUNT(*) FROM (SELECT u FROM t INTERSECT SELECT u FROM w) q",
    "SELECT k, COUNT(*) FROM t GROUP BY k WITH ROLLUP",
    "SELECT k, SUM(COUNT(*)) OVER (ORDER BY k RANGE 1 PRECEDING) FROM t GROUP BY k",
    "SELECT k, SUM(COUNT(*)) OVER v FROM t GROUP BY k WINDOW v AS ()",
    "SELECT DISTINCT ON (k) k, COUNT(*) FROM t GROUP BY k",
    "SELECT COUNT(*) FROM read_csv('x.csv')",
    "SELECT COUNT(*) FROM p",
    "SELECT COUNT(*) FROM t WHERE n = ?",
    "SELECT COUNT(*) FROM t; SELECT COUNT(*) FROM t",
    "DELETE FROM t",
)  # fmt: skip

LIMITS: Mapping[Text, int] = {
    Text("characters", "问题的字符数"): parse.MAX_LENGTH,
    Text("brackets within brackets", "括号层数"): parse.MAX_DEPTH,
    Text("joins of one SELECT", "一个 SELECT 中的连接数"): joins.MAX_JOINS,
    Text("grouping keys", "分组键数"): compiling.MAX_KEYS,
    Text("sets of grouping keys", "分组集数"): sets.MAX_SETS,
    Text("different answers in one question", "一个问题中不同的结果数"): around.MAX_ANSWERS,
    Text("columns of the answer", "结果列数"): MAX_OUTPUTS,
    Text("different noisy numbers a cell", "每个单元格中不同的加噪数"): MAX_STATISTICS,
    Text("cells of public keys", "公开键的单元格数"): MAX_CELLS,
    Text("private keys shown", "显示的私有键数"): MAX_CELLS,
    Text("private keys of a unit that has a say in them", "参与选择私有键的单元至多拥有的键数"): compiling.MAX_KEYS_OF_A_UNIT,
    Text("rows of a unit, joined with public tables on an equality", "与公开表按等值条件连接后一个单元的行数"): MAX_UNIT_ROWS,
    Text("rows of a unit, joined otherwise", "以其他方式连接后一个单元的行数"): joins.MAX_PAIRED_ROWS,
    Text("levels of subqueries", "子查询层数"): tracked.MAX_LEVELS,
    Text("characters of subqueries when compiled", "子查询编译后的总字符数"): tracked.MAX_TEXT,
    Text("times that joining, cutting and replacing lengthen a text", "拼接、拆分和替换使文本变长的倍数"): texts.MAX_JOINED_TEXTS,
    Text("characters of an operand of NULLIF or behind CASE, compiled", "NULLIF 或 CASE 之后的操作数编译后的字符数"): (
        expressions.MAX_REPEATED
    ),
}  # fmt: skip


def asked(sql: str) -> Plan | Problem:
    """What the gate makes of a question about t, w and p."""
    try:
        return compile_query(sql, _FACTS)
    except Problem as problem:
        return problem


def kind_of(call: str) -> Kind | None:
    """What an expression over a row of t gives."""
    scope = RowScope((stored("t", "t0", _T),))
    return expressions.Reader(scope).read(parse.parse_select(f"SELECT {call} FROM t").expressions[0]).kind


def _table(lang: str, head: Text, rows: Iterable[Iterable[str]]) -> str:
    heads = head.words(lang).split(" | ")
    lines = [heads, ["---"] * len(heads), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def _code(text: str) -> str:
    return f"`{text}`"


def _named(kind: Kind | None, lang: str) -> str:
    return _KINDS[kind].words(lang) if kind is not None else "NULL"


def _rows_of_words(words: Iterable[Word], lang: str) -> Iterator[list[str]]:
    for word in words:
        yield [_code(word.call), _named(kind_of(word.call), lang), word.meaning.words(lang)]


def _functions(lang: str) -> str:
    head = Text("call | gives | meaning", "写法 | 结果 | 含义")
    parts = {
        Text("Numbers", "数值"): NUMBERS,
        Text("Choices and types", "取值与类型"): CHOICES,
        Text("Texts", "文本"): TEXTS,
        Text("Days and moments", "日期与时刻"): DAYS,
    }
    tables = (
        f"**{title.words(lang)}**\n\n{_table(lang, head, _rows_of_words(words.values(), lang))}"
        for title, words in parts.items()
    )
    return "\n".join(tables)


def _operators(lang: str) -> str:
    return _table(lang, Text("written | gives | meaning", "写法 | 结果 | 含义"), _rows_of_words(OPERATORS, lang))


def _aggregates(lang: str) -> str:
    head = Text(
        "aggregate | gives | noisy numbers | exact, in a subquery by unit | meaning",
        "聚合 | 结果 | 加噪数 | 子查询中按单元（精确） | 含义",
    )
    return _table(lang, head, (_aggregate(word, lang) for word in AGGREGATES))


def _aggregate(word: Word, lang: str) -> list[str]:
    plan = asked(f"SELECT {word.call} FROM t")
    within = asked(f"SELECT COUNT(*) FROM (SELECT u, {word.call} AS y FROM t GROUP BY u) q WHERE y IS NOT NULL")
    numbers, gives = "—", "—"
    if isinstance(plan, Plan):
        numbers, gives = str(len(plan.statistics)), _named(plan.outputs[0].kind, lang)
    return [_code(word.call), gives, numbers, _tick(within), word.meaning.words(lang)]


def _windows(lang: str) -> str:
    head = Text(
        "window | over the answer | in a subquery, by unit | meaning", "窗口函数 | 作用于结果 | 子查询中按单元 | 含义"
    )
    return _table(
        lang,
        head,
        ([_code(w.call), *map(_tick, window_places(w.call)), w.meaning.words(lang)] for w in WINDOWS),
    )


def window_places(call: str) -> tuple[Plan | Problem, Plan | Problem]:
    """What the gate makes of a window over the rows of an answer, and in a subquery over the rows of each unit."""
    own = re.sub(r"\bx\b", "SUM(x)", call)
    answer = asked(f"SELECT k, COUNT(*), {own} OVER (ORDER BY k) FROM t GROUP BY k")
    within = [
        asked(f"SELECT COUNT(y) FROM (SELECT {call} OVER (PARTITION BY u ORDER BY d{frame}) AS y FROM t) q")
        for frame in ("", " ROWS BETWEEN 1 PRECEDING AND CURRENT ROW")
    ]
    return answer, next((w for w in within if isinstance(w, Plan)), within[0])


def _joins(lang: str) -> str:
    head = Text("FROM t … | most rows of a unit", "FROM t … | 一个单元最多的行数")
    return _table(lang, head, ([_code(join), _joined(join, lang)] for join in JOINS))


def _joined(join: str, lang: str) -> str:
    found = asked(f"SELECT COUNT(*) FROM t{'' if join.startswith(',') else ' '}{join}")
    if isinstance(found, Problem):
        return Text("refused: ", "拒绝：").words(lang) + _said(found.say(lang))
    return _MULTIPLIED[found.max_rows // _MOST].words(lang)


def _refusals(lang: str) -> str:
    head = Text("question | why not | instead", "问题 | 原因 | 替代写法")
    found = ((sql, asked(sql)) for sql in REFUSALS)
    return _table(
        lang, head, ([_code(q), _said(p.say(lang)), _instead(p, lang)] for q, p in found if isinstance(p, Problem))
    )


def _instead(problem: Problem, lang: str) -> str:
    if isinstance(problem, UnknownFunction | UnknownAggregate):
        return Text("Use one of those above.", "请使用上面列出的。").words(lang)
    return problem.advise(lang)


def _said(sentence: str) -> str:
    return _PLACE.sub("", sentence)


def _limits(lang: str) -> str:
    head = Text("at most | of", "至多 | 项目")
    return _table(lang, head, ([f"{limit:,}", what.words(lang)] for what, limit in LIMITS.items()))


def _tick(found: object) -> str:
    return "✓" if isinstance(found, Plan) else "—"


TABLES: Mapping[str, Callable[[str], str]] = {
    "aggregates": _aggregates,
    "windows": _windows,
    "joins": _joins,
    "operators": _operators,
    "functions": _functions,
    "refusals": _refusals,
    "limits": _limits,
}


def written(page: str, lang: str) -> str:
    """The page with its tables made anew; KeyError when it marks a table that does not exist."""
    return _PART.sub(lambda part: f"{part[1]}\n{TABLES[part[2]](lang)}\n{part[3]}", page)


def marked(page: str) -> list[str]:
    """The tables that the page has room for, in order."""
    return [part[2] for part in _PART.finditer(page)]

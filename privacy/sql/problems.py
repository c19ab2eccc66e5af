"""Every reason why a question is refused, by name.

Owns the `Refused` kinds of the SQL gate. Each names the construct, where it stands, why it is refused and the nearest
thing that would be accepted. All parameters come from the asker's own text or from public facts (law 4), so every
sentence here may be shown to the asker.

    Malformed
    ├── SqlSyntax · SqlManyStatements · SqlTooDeep
    TooLarge
    ├── SqlTooLong
    Refused
    └── SqlRefused
        ├── Unsupported · UnknownFunction · UnknownTable · UnknownColumn · AmbiguousColumn
        ├── NoPrivateTable · PrivateNotOnUnit · DifferentUnits · JoinNeedsCondition · JoinLosesUnit · JoinFanOutUnknown
        ├── NoisySubquery · UnitMissing · AnswerBesideRows · PublicTooLarge
        ├── UnitColumnUsed · DistinctNotCounted · NotGrouped · MisplacedAggregate · UnknownAggregate · NoAggregate
        └── TypeMismatch · BadLiteral · Unbounded · BadPosition · TooManyCells · TooManyParts
"""

from __future__ import annotations

from privacy.errors import Malformed, Refused, Text, TooLarge


class SqlSyntax(Malformed):
    """The text is not SQL that we can read."""

    code = "sql.syntax"
    sentence = Text(
        "The SQL cannot be read at line {line}, column {column}, near «{near}».",
        "SQL 无法解析：第 {line} 行第 {column} 列，靠近「{near}」。",
    )
    hint = Text("Write one SELECT statement in DuckDB's SQL.", "请按 DuckDB 的 SQL 语法写一条 SELECT 语句。")


class SqlManyStatements(Malformed):
    """More than one statement, or none."""

    code = "sql.one_statement"
    sentence = Text(
        "A question is exactly one statement; this text holds {count}.",
        "一个问题只能包含一条语句，这段文字含有 {count} 条。",
    )
    hint = Text("Ask each statement on its own.", "请将各条语句分别提交。")


class SqlTooDeep(Malformed):
    """Nested deeper than any person writes."""

    code = "sql.too_deep"
    sentence = Text("The SQL is nested more than {limit} levels deep.", "SQL 的嵌套超过 {limit} 层。")
    hint = Text("Simplify the expression.", "请简化表达式。")


class SqlTooLong(TooLarge):
    """Longer than the limit."""

    code = "sql.too_long"
    sentence = Text(
        "The SQL is {length} characters long; at most {limit} are read.",
        "SQL 长度为 {length} 个字符，最多允许 {limit} 个。",
    )
    hint = Text("Shorten the question.", "请缩短问题。")


class SqlRefused(Refused):
    """A rule of the gate says no."""


class Unsupported(SqlRefused):
    """A construct outside the accepted dialect."""

    code = "sql.unsupported"
    sentence = Text("{construct} is not accepted{where}.", "不支持 {construct}{where}。")
    hint = Text("{advice}", "{advice}")


class UnknownFunction(SqlRefused):
    """A function that is not on the allow-list."""

    code = "sql.unknown_function"
    sentence = Text("The function {name} is not accepted{where}.", "不支持函数 {name}{where}。")
    hint = Text("Accepted functions: {allowed}.", "可用的函数：{allowed}。")


class UnknownTable(SqlRefused):
    """A table the dataset does not have."""

    code = "sql.unknown_table"
    sentence = Text("There is no table {name} in this dataset{where}.", "该数据集中没有表 {name}{where}。")
    hint = Text("Its tables are: {allowed}.", "该数据集的表有：{allowed}。")


class UnknownColumn(SqlRefused):
    """A column the tables in FROM do not have."""

    code = "sql.unknown_column"
    sentence = Text("There is no column {name} in the tables used{where}.", "所用的表中没有列 {name}{where}。")
    hint = Text("The columns are: {allowed}.", "可用的列有：{allowed}。")


class AmbiguousColumn(SqlRefused):
    """A name that two tables share."""

    code = "sql.ambiguous_column"
    sentence = Text("The column {name} is in more than one table{where}.", "列 {name} 同时存在于多个表中{where}。")
    hint = Text("Write the table's name before it: {allowed}.", "请在列名前写上表名：{allowed}。")


class NoPrivateTable(SqlRefused):
    """Only public tables were named."""

    code = "sql.no_private_table"
    sentence = Text("The question uses no private table.", "该问题没有用到受保护的表。")
    hint = Text(
        "Name one of the private tables in FROM: {allowed}. Public tables can be downloaded instead.",
        "请在 FROM 中使用一个受保护的表：{allowed}。公开的表可以直接下载。",
    )


class PrivateNotOnUnit(SqlRefused):
    """Private rows that meet on something else than the unit."""

    code = "sql.private_not_on_unit"
    sentence = Text(
        "Rows of {name} and of {base} meet without being of the same {unit}.",
        "{name} 与 {base} 的行没有限定为同一个 {unit}。",
    )
    hint = Text(
        "Hold the unit equal: {base}.{own} = {name}.{column}, as a condition of its own, or USING.",
        "请限定隐私单元相等：把 {base}.{own} = {name}.{column} 写成单独的条件，或使用 USING。",
    )


class DifferentUnits(SqlRefused):
    """Private rows of different kinds of units."""

    code = "sql.different_units"
    sentence = Text(
        "{name} is about a {unit}, {base} about a {own}: they have no identifier in common.",
        "{name} 以 {unit} 为隐私单元，{base} 以 {own} 为隐私单元，二者没有共同的标识。",
    )
    hint = Text("Ask about each of them on its own.", "请分别提问。")


class NoisySubquery(SqlRefused):
    """A subquery that is grouped without the unit."""

    code = "sql.noisy_subquery"
    sentence = Text(
        "This subquery aggregates over many {unit}s, so its rows would be noisy answers, not rows of a {unit}{where}.",
        "该子查询跨越多个 {unit} 进行聚合，其结果是加噪的答案，而不是某个 {unit} 的行{where}。",
    )
    hint = Text(
        "Add {column} to its GROUP BY, or ask it as a question of its own.",
        "请在其 GROUP BY 中加入 {column}，或把它单独作为一个问题提出。",
    )


class AnswerBesideRows(SqlRefused):
    """Private rows where only an answer and public tables may stand."""

    code = "sql.answer_beside_rows"
    sentence = Text(
        "Rows of single {unit}s cannot stand beside an answer about all of them{where}.",
        "单个 {unit} 的行不能与针对全体的结果放在一起{where}。",
    )
    hint = Text(
        "Around an aggregating subquery use its own columns and public tables; conditions on private rows go inside of it.",
        "在聚合子查询之外只能使用它的列和公开的表；对受保护的行的条件请写在它里面。",
    )


class PublicTooLarge(SqlRefused):
    """A public table that is too large to be read beside an answer."""

    code = "sql.public_too_large"
    sentence = Text(
        "The public table {name} has {count} rows; beside an answer at most {limit} are read.",
        "公开的表 {name} 有 {count} 行；与结果一起使用时最多读取 {limit} 行。",
    )
    hint = Text(
        "Join it inside the aggregating subquery, or with the downloaded answer.",
        "请在聚合子查询之内连接它，或与下载的结果连接。",
    )


class UnitMissing(SqlRefused):
    """An operation on rows of many units that is private only within each of them."""

    code = "sql.unit_missing"
    sentence = Text(
        "{construct} would compare rows of one {unit} with rows of another{where}.",
        "{construct} 会将某个 {unit} 的行与其他 {unit} 的行相互比较{where}。",
    )
    hint = Text("{advice}", "{advice}")


class JoinNeedsCondition(SqlRefused):
    """A JOIN without ON or USING."""

    code = "sql.join_needs_condition"
    sentence = Text("{kind} with {name} has no condition.", "与 {name} 的 {kind} 没有条件。")
    hint = Text(
        "Write {kind} {name} USING (column) or ON a condition; CROSS JOIN takes every row of a public table.",
        "请写 {kind} {name} USING (列)，或写明 ON 条件；CROSS JOIN 会取公开表的每一行。",
    )


class JoinLosesUnit(SqlRefused):
    """An outer join that would keep rows which belong to nobody."""

    code = "sql.join_loses_unit"
    sentence = Text(
        "This outer join would keep rows of {name} that belong to no {unit}.",
        "该外连接会保留 {name} 中不属于任何 {unit} 的行。",
    )
    hint = Text(
        "Put the private table first and use JOIN or LEFT JOIN.", "请将受保护的表放在最前，并使用 JOIN 或 LEFT JOIN。"
    )


class JoinFanOutUnknown(SqlRefused):
    """How often a join may multiply rows is not public."""

    code = "sql.join_fan_out_unknown"
    sentence = Text(
        "It is not known how many rows {name} has, so not how often it repeats a row either.",
        "尚不清楚 {name} 有多少行，因而也不知道它会使一行重复多少次。",
    )
    hint = Text(
        "Join on a column that is declared unique, or ask the steward to ingest the dataset again, which counts the rows.",
        "请使用声明为唯一的列进行连接，或请数据提供方重新导入数据集（导入时会统计行数）。",
    )


class JoinTooLarge(SqlRefused):
    """A join that may multiply the rows of one unit beyond what is worked on."""

    code = "sql.join_too_large"
    sentence = Text(
        "With the rows of {name}, one {unit} may come to {count}; at most {limit} rows of a {unit} are accepted.",
        "算上 {name} 的行，一个 {unit} 最多可达 {count} 行；一个 {unit} 最多允许 {limit} 行。",
    )
    hint = Text(
        "Hold a column of {name} equal that repeats few values, or make it one row a value by GROUP BY in a subquery, or keep "
        "few of its rows by QUALIFY ROW_NUMBER() OVER (…) <= n. SEMI JOIN and EXISTS multiply nothing.",
        "请在 {name} 中取值重复较少的列上写等值条件，或在子查询中用 GROUP BY 使每个取值只有一行，"
        "或用 QUALIFY ROW_NUMBER() OVER (…) <= n 只保留少数行。SEMI JOIN 与 EXISTS 不会使行数增加。",
    )


class UnitColumnUsed(SqlRefused):
    """The identifier of the privacy unit was used for anything but counting units and telling their rows apart."""

    code = "sql.unit_column"
    sentence = Text(
        "{column} identifies a {unit}; it can be counted and joined on, not read, computed with or shown{where}.",
        "{column} 标识一个 {unit}，可以计数和用于连接，不能读取、参与计算或显示{where}。",
    )
    hint = Text(
        "Write COUNT(DISTINCT {column}); in a subquery also GROUP BY or PARTITION BY {column}, and {column} IN (SELECT …).",
        "请写 COUNT(DISTINCT {column})；在子查询中还可以写 GROUP BY 或 PARTITION BY {column}，以及 {column} IN (SELECT …)。",
    )


class DistinctNotCounted(SqlRefused):
    """DISTINCT in an aggregate that does not count."""

    code = "sql.distinct_not_counted"
    sentence = Text("{name} of DISTINCT values is not accepted{where}.", "不支持对 DISTINCT 取值计算 {name}{where}。")
    hint = Text(
        "DISTINCT is for counting: COUNT(DISTINCT x); elsewhere leave it out.",
        "DISTINCT 只用于计数：COUNT(DISTINCT x)；其他聚合请去掉。",
    )


class NotGrouped(SqlRefused):
    """A column outside an aggregate that is not a grouping key."""

    code = "sql.not_grouped"
    sentence = Text(
        "{name} is neither inside an aggregate nor in GROUP BY{where}.",
        "{name} 既不在聚合函数中，也不在 GROUP BY 中{where}。",
    )
    hint = Text(
        "Group by it or put it into COUNT, SUM or AVG. Rows themselves are never shown.",
        "请将其加入 GROUP BY，或放入 COUNT、SUM、AVG 中。系统从不返回原始行。",
    )


class MisplacedAggregate(SqlRefused):
    """An aggregate where a row is needed."""

    code = "sql.misplaced_aggregate"
    sentence = Text("{name} cannot stand here{where}.", "{name} 不能出现在此处{where}。")
    hint = Text(
        "Use HAVING for conditions on aggregates; do not nest aggregates.",
        "对聚合结果的条件请用 HAVING；聚合函数不可嵌套。",
    )


class UnknownAggregate(SqlRefused):
    """An aggregate that is not on the allow-list."""

    code = "sql.unknown_aggregate"
    sentence = Text("The aggregate {name} is not accepted{where}.", "不支持聚合函数 {name}{where}。")
    hint = Text(
        "Accepted: COUNT(*), COUNT(x), COUNT(DISTINCT x), COUNT_IF(condition), SUM(x), AVG(x), MIN(x), MAX(x), MEDIAN(x), "
        "QUANTILE_CONT(x, q), QUANTILE_DISC(x, q), PERCENTILE_CONT(q) WITHIN GROUP (ORDER BY x), VAR_POP, VAR_SAMP, "
        "STDDEV_POP, STDDEV_SAMP, COVAR_POP, COVAR_SAMP, CORR, each also with FILTER (WHERE condition).",
        "可用：COUNT(*)、COUNT(x)、COUNT(DISTINCT x)、COUNT_IF(条件)、SUM(x)、AVG(x)、MIN(x)、MAX(x)、MEDIAN(x)、"
        "QUANTILE_CONT(x, q)、QUANTILE_DISC(x, q)、PERCENTILE_CONT(q) WITHIN GROUP (ORDER BY x)、VAR_POP、VAR_SAMP、"
        "STDDEV_POP、STDDEV_SAMP、COVAR_POP、COVAR_SAMP、CORR，均可加 FILTER (WHERE 条件)。",
    )


class NoAggregate(SqlRefused):
    """A question that only lists keys."""

    code = "sql.no_aggregate"
    sentence = Text("The question asks for no aggregate.", "该问题没有任何聚合。")
    hint = Text(
        "Add COUNT(*), COUNT(DISTINCT {column}), SUM or AVG.", "请加入 COUNT(*)、COUNT(DISTINCT {column})、SUM 或 AVG。"
    )


class TypeMismatch(SqlRefused):
    """An operator on types it does not accept."""

    code = "sql.type_mismatch"
    sentence = Text("{name} does not accept {found}{where}.", "{name} 不接受 {found} 类型{where}。")
    hint = Text("It accepts {allowed}; convert with CAST(… AS …).", "它接受 {allowed}，可用 CAST(… AS …) 转换。")


class BadLiteral(SqlRefused):
    """A literal that cannot be read as what it is compared with."""

    code = "sql.bad_literal"
    sentence = Text("{value} cannot be read as {kind}{where}.", "{value} 无法作为 {kind} 读取{where}。")
    hint = Text("Write dates as '2024-01-31' and numbers below 9e18.", "日期请写成 '2024-01-31'，数值须小于 9e18。")


class Unbounded(SqlRefused):
    """A sum over an expression whose range is not public."""

    code = "sql.unbounded"
    sentence = Text("{name} needs a value with public bounds{where}.", "{name} 需要取值范围公开的表达式{where}。")
    hint = Text(
        "State the bounds: {name}(LEAST(GREATEST(x, lower), upper)).",
        "请写明上下界：{name}(LEAST(GREATEST(x, 下界), 上界))。",
    )


class BadPosition(SqlRefused):
    """An ordinal that points at no column, or a LIMIT that is not a whole number."""

    code = "sql.bad_position"
    sentence = Text("{name} must be a whole number from {low} to {high}.", "{name} 必须是 {low} 到 {high} 之间的整数。")
    hint = Text("Use a column number of the SELECT list, or a row count.", "请使用 SELECT 列表中的列号，或具体的行数。")


class TooManyCells(SqlRefused):
    """More public cells than one answer may hold."""

    code = "sql.too_many_cells"
    sentence = Text(
        "The answer would have {count} cells; at most {limit} are accepted.",
        "结果将有 {count} 个单元格，最多允许 {limit} 个。",
    )
    hint = Text("Group by fewer or coarser keys.", "请减少分组键，或使用更粗的分组。")


class TooManyParts(SqlRefused):
    """More aggregates, keys or joins than one question may hold."""

    code = "sql.too_many_parts"
    sentence = Text(
        "The question has {count} {part}; at most {limit} are accepted.",
        "该问题有 {count} 个{part}，最多允许 {limit} 个。",
    )
    hint = Text("Split it into several questions.", "请拆分为多个问题。")

"""The dialect in words: how each function, aggregate, operator and window is written, and what it means, in both languages.

Owns the names that exist for an asker: what has no word here is not offered in a hint nor on a page, and tests hold these lists
and the readers to each other. It knows nothing of how anything is compiled and decides nothing. A call is written over a table
of `n` (whole number), `x` (number), `s` (text), `b` (truth value), `d` (day), `m` (moment), `u` (the unit) and `k` (a key).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from privacy.errors import Text


@dataclass(frozen=True, slots=True)
class Word:
    """How something is written (an example that is accepted as it stands), and one line on what it means."""

    call: str
    en: str
    zh: str

    @property
    def meaning(self) -> Text:
        """The line in both languages."""
        return Text(self.en, self.zh)


NUMBERS: Mapping[str, Word] = {
    "abs": Word("abs(x)", "absolute value", "绝对值"),
    "acos": Word("acos(x)", "arc cosine; none outside of -1 to 1", "反余弦；超出 -1 到 1 时无值"),
    "asin": Word("asin(x)", "arc sine; none outside of -1 to 1", "反正弦；超出 -1 到 1 时无值"),
    "atan": Word("atan(x)", "arc tangent", "反正切"),
    "atan2": Word("atan2(x, n)", "angle of the point (n, x)", "点 (n, x) 的方位角"),
    "cbrt": Word("cbrt(x)", "cube root", "立方根"),
    "ceil": Word("ceil(x)", "next whole number above", "向上取整"),
    "clip": Word(
        "clip(x, 0, 100)", "kept between two constants; NULL stays NULL", "限制在两个常数之间；NULL 仍为 NULL"
    ),
    "cos": Word("cos(x)", "cosine", "余弦"),
    "degrees": Word("degrees(x)", "radians as degrees", "弧度转为角度"),
    "exp": Word("exp(x)", "e to the power of x", "e 的 x 次方"),
    "floor": Word("floor(x / 10) * 10", "next whole number below", "向下取整"),
    "isfinite": Word("isfinite(x)", "neither infinite nor NaN", "既非无穷大也非 NaN"),
    "isinf": Word("isinf(x)", "infinite", "是否为无穷大"),
    "isnan": Word("isnan(x)", "not a number", "是否为 NaN"),
    "ln": Word("ln(x)", "natural logarithm; none of zero and below", "自然对数；零与负数无值"),
    "log10": Word("log10(x)", "logarithm of base 10", "以 10 为底的对数"),
    "log2": Word("log2(x)", "logarithm of base 2", "以 2 为底的对数"),
    "mod": Word("mod(n, 7)", "remainder; none of division by zero", "余数；除数为零时无值"),
    "pi": Word("pi()", "3.14159…", "圆周率"),
    "power": Word("power(x, 2)", "to the power of", "乘方"),
    "radians": Word("radians(x)", "degrees as radians", "角度转为弧度"),
    "round": Word("round(x, 1)", "rounded to so many decimals", "四舍五入到若干位小数"),
    "sign": Word("sign(x)", "-1, 0 or 1", "符号：-1、0 或 1"),
    "sin": Word("sin(x)", "sine", "正弦"),
    "sqrt": Word("sqrt(x)", "square root; none of numbers below zero", "平方根；负数无值"),
    "tan": Word("tan(x)", "tangent", "正切"),
    "trunc": Word("trunc(x)", "toward zero", "向零取整"),
    "xor": Word("xor(n, 5)", "bitwise exclusive or", "按位异或"),
}
CHOICES: Mapping[str, Word] = {
    "cast": Word("CAST(s AS INTEGER)", "of another type; NULL where it cannot be", "转换类型；无法转换时为 NULL"),
    "coalesce": Word("coalesce(x, 0)", "the first that is not NULL", "第一个非 NULL 的值"),
    "greatest": Word("greatest(x, 0)", "the largest", "最大者"),
    "if": Word("if(b, x, 0)", "one value or the other", "按条件取值"),
    "ifnull": Word("ifnull(x, 0)", "the second where the first is NULL", "第一个为 NULL 时取第二个"),
    "least": Word("least(x, 100)", "the smallest", "最小者"),
    "nullif": Word("nullif(n, 0)", "NULL where both are equal", "两者相等时为 NULL"),
    "try_cast": Word("TRY_CAST(s AS DOUBLE)", "the same as CAST", "与 CAST 相同"),
}
TEXTS: Mapping[str, Word] = {
    "concat": Word("concat(s, '-', k)", "joined; NULL counts as empty", "拼接；NULL 视为空"),
    "concat_ws": Word("concat_ws('-', s, k)", "joined with a separator", "用分隔符拼接"),
    "contains": Word("contains(s, 'a')", "holds a text", "是否包含"),
    "ends_with": Word("ends_with(s, 'a')", "ends with a text", "是否以其结尾"),
    "left": Word("left(s, 3)", "the first characters", "开头若干字符"),
    "length": Word("length(s)", "number of characters", "字符数"),
    "lower": Word("lower(s)", "in lower case", "转为小写"),
    "lpad": Word("lpad(s, 8, '0')", "filled up on the left", "左侧补齐"),
    "ltrim": Word("ltrim(s)", "without blanks on the left", "去除左侧空白"),
    "regexp_extract": Word(r"regexp_extract(s, '(\d+)', 1)", "what a pattern finds", "正则表达式匹配到的部分"),
    "regexp_full_match": Word("regexp_full_match(s, 'a.*')", "matches a pattern as a whole", "是否整体匹配正则表达式"),
    "regexp_matches": Word("regexp_matches(s, 'a|b')", "holds a match of a pattern", "是否含有匹配正则表达式的部分"),
    "regexp_replace": Word(
        r"regexp_replace(s, '\s', '', 'g')", "matches of a pattern replaced", "替换匹配正则表达式的部分"
    ),
    "replace": Word("replace(s, 'a', 'b')", "a text replaced", "替换文本"),
    "reverse": Word("reverse(s)", "backwards", "颠倒字符顺序"),
    "right": Word("right(s, 3)", "the last characters", "末尾若干字符"),
    "rpad": Word("rpad(s, 8, ' ')", "filled up on the right", "右侧补齐"),
    "rtrim": Word("rtrim(s)", "without blanks on the right", "去除右侧空白"),
    "split_part": Word("split_part(s, '-', 1)", "the part between separators", "按分隔符取第几段"),
    "starts_with": Word("starts_with(s, 'a')", "begins with a text", "是否以其开头"),
    "strlen": Word("strlen(s)", "number of bytes", "字节数"),
    "strpos": Word("strpos(s, 'a')", "place of a text, 0 when it is not there", "出现的位置，没有则为 0"),
    "substring": Word("substring(s, 1, 3)", "characters from a place", "从某处起的若干字符"),
    "trim": Word("trim(s)", "without blanks on both sides", "去除两侧空白"),
    "upper": Word("upper(s)", "in upper case", "转为大写"),
}
DAYS: Mapping[str, Word] = {
    "date_add": Word("date_add(d, INTERVAL 3 MONTH)", "moved", "推移日期"),
    "date_diff": Word("date_diff('month', d, m)", "how many boundaries of a unit lie between", "跨过多少个单位边界"),
    "date_part": Word("date_part('year', d)", "a part of it", "取某一部分"),
    "date_sub": Word("date_sub('year', d, m)", "how many whole units lie between", "相隔多少个完整单位"),
    "date_trunc": Word(
        "date_trunc('month', d)", "first day of its month, quarter, year, …", "所在月、季、年等的第一天"
    ),
    "day": Word("day(d)", "day of the month", "日"),
    "dayname": Word("dayname(d)", "Monday, …", "星期名称（英文）"),
    "dayofmonth": Word("dayofmonth(d)", "day of the month", "日"),
    "dayofweek": Word("dayofweek(d)", "day of the week, Sunday 0", "星期，周日为 0"),
    "dayofyear": Word("dayofyear(d)", "day of the year", "一年中的第几天"),
    "extract": Word("EXTRACT(year FROM d)", "a part of it", "取某一部分"),
    "hour": Word("hour(m)", "hour", "时"),
    "isodow": Word("isodow(d)", "day of the week, Monday 1 to Sunday 7", "星期，周一为 1，周日为 7"),
    "isoyear": Word("isoyear(d)", "year that its week belongs to", "所在周归属的年份"),
    "last_day": Word("last_day(d)", "last day of its month", "当月最后一天"),
    "make_date": Word("make_date(2024, 1, n)", "a day of year, month, day", "由年、月、日得到日期"),
    "minute": Word("minute(m)", "minute", "分"),
    "month": Word("month(d)", "month", "月"),
    "monthname": Word("monthname(d)", "January, …", "月份名称（英文）"),
    "quarter": Word("quarter(d)", "quarter", "季度"),
    "second": Word("second(m)", "second", "秒"),
    "strftime": Word("strftime(d, '%Y-%m')", "written in a format", "按格式写成文本"),
    "time_bucket": Word("time_bucket(INTERVAL 7 DAY, d)", "first day of its bucket", "所在时间段的第一天"),
    "week": Word("week(d)", "week of the year (ISO)", "一年中的第几周（ISO）"),
    "year": Word("year(d)", "year", "年"),
}
#: Every function by its name.
FUNCTIONS: Mapping[str, Word] = {**NUMBERS, **CHOICES, **TEXTS, **DAYS}

OPERATORS = (
    Word("n + 1", "sum", "加"),
    Word("n - 1", "difference", "减"),
    Word("-n", "negative", "取负"),
    Word("n * 2", "product", "乘"),
    Word("x / n", "quotient; infinite when n is 0, which no sum holds", "除；n 为 0 时为无穷大，求和时不计"),
    Word("n // 7", "whole quotient, toward zero; none when divided by 0", "整除，向零取整；除数为 0 时无值"),
    Word("n % 7", "remainder", "余数"),
    Word("x ** 2", "to the power of", "乘方"),
    Word("n & 5", "bitwise and", "按位与"),
    Word("n | 5", "bitwise or", "按位或"),
    Word("~n", "bitwise not", "按位取反"),
    Word("n << 2", "bits moved left", "左移"),
    Word("n >> 2", "bits moved right", "右移"),
    Word("n = 1", "equal", "等于"),
    Word("n <> 1", "unequal", "不等于"),
    Word("n < 1", "less", "小于"),
    Word("n <= 1", "at most", "小于等于"),
    Word("n > 1", "more", "大于"),
    Word("n >= 1", "at least", "大于等于"),
    Word("n BETWEEN 1 AND 9", "within, ends included", "在范围内（含两端）"),
    Word("s IN ('a', 'b')", "one of", "属于其中之一"),
    Word("s LIKE 'a%'", "like a pattern of % and _ (with ESCAPE)", "匹配含 % 与 _ 的模式（可用 ESCAPE）"),
    Word("s ILIKE 'a%'", "the same without case", "同上，不分大小写"),
    Word("s ~ 'a.*'", "matches a regular expression as a whole", "整体匹配正则表达式"),
    Word("s SIMILAR TO 'a.*'", "the same", "同上"),
    Word("s IS NULL", "has no value", "没有值"),
    Word("n IS NOT DISTINCT FROM 1", "equal, NULL equal to NULL", "相等，NULL 与 NULL 视为相等"),
    Word("n IS DISTINCT FROM 1", "its opposite", "与上相反"),
    Word("b AND n > 1", "both", "且"),
    Word("b OR n > 1", "one or both", "或"),
    Word("NOT b", "not", "非"),
    Word("CASE WHEN b THEN x ELSE 0 END", "the first value whose condition holds", "第一个条件成立的值"),
    Word("s || k", "joined; NULL when one is", "拼接；任一为 NULL 则为 NULL"),
    Word("d + INTERVAL 3 MONTH", "a day moved by days, months or years", "日期推移若干日、月、年"),
    Word("d - d", "days between", "相差天数"),
)

AGGREGATES = (
    Word("COUNT(*)", "rows", "行数"),
    Word("COUNT(x)", "rows with a value", "有值的行数"),
    Word("COUNT(DISTINCT u)", "units", "隐私单元数"),
    Word("COUNT(DISTINCT n)", "different values", "不同取值的个数"),
    Word("COUNT_IF(b)", "rows that meet a condition", "满足条件的行数"),
    Word("SUM(x)", "sum; 0 of no rows", "总和；没有行时为 0"),
    Word("AVG(x)", "average", "平均值"),
    Word("VAR_POP(x)", "variance, divided by the count", "总体方差"),
    Word("VAR_SAMP(x)", "variance, divided by the count less one; also VARIANCE", "样本方差；也可写 VARIANCE"),
    Word("STDDEV_POP(x)", "its root", "总体标准差"),
    Word("STDDEV_SAMP(x)", "its root", "样本标准差"),
    Word("STDDEV(x)", "the same as STDDEV_SAMP", "与 STDDEV_SAMP 相同"),
    Word("COVAR_POP(n, x)", "covariance", "总体协方差"),
    Word("COVAR_SAMP(n, x)", "covariance of a sample", "样本协方差"),
    Word("CORR(n, x)", "correlation", "相关系数"),
    Word("MEDIAN(x)", "the middle value", "中位数"),
    Word("QUANTILE(x, 0.9)", "the value below which nine rows in ten lie", "分位数：九成的行低于它"),
    Word("QUANTILE_CONT(x, 0.9)", "the same as QUANTILE", "与 QUANTILE 相同"),
    Word("QUANTILE_DISC(x, 0.9)", "the same as QUANTILE", "与 QUANTILE 相同"),
    Word("PERCENTILE_CONT(0.9) WITHIN GROUP (ORDER BY x)", "the same as QUANTILE", "与 QUANTILE 相同"),
    Word("PERCENTILE_DISC(0.9) WITHIN GROUP (ORDER BY x)", "the same as QUANTILE", "与 QUANTILE 相同"),
    Word(
        "MIN(x)",
        "smallest; of noisy numbers: a private extreme quantile, a few rows lie below",
        "最小值；加噪时为隐私极端分位数，少数行低于它",
    ),
    Word(
        "MAX(x)",
        "largest; of noisy numbers: a private extreme quantile, a few rows lie above",
        "最大值；加噪时为隐私极端分位数，少数行高于它",
    ),
    Word("BOOL_AND(b)", "all are so", "全部成立"),
    Word("BOOL_OR(b)", "one is so", "至少一个成立"),
)

WINDOWS = (
    Word("row_number()", "numbering", "编号"),
    Word("rank()", "rank with gaps", "名次（并列后留空）"),
    Word("dense_rank()", "rank without gaps", "名次（并列后不留空）"),
    Word("percent_rank()", "rank from 0 to 1", "名次，化为 0 到 1"),
    Word("cume_dist()", "share of rows up to here", "到此为止的行所占比例"),
    Word("ntile(4)", "one of so many equal parts", "分为若干等份后的份号"),
    Word("lag(x)", "the row before", "前一行的值"),
    Word("lead(x)", "the row after", "后一行的值"),
    Word("first_value(x)", "the first row", "第一行的值"),
    Word("last_value(x)", "the last row", "最后一行的值"),
    Word("nth_value(x, 2)", "the n-th row", "第 n 行的值"),
    Word("sum(x)", "sum", "总和"),
    Word("avg(x)", "average", "平均值"),
    Word("min(x)", "smallest", "最小值"),
    Word("max(x)", "largest", "最大值"),
    Word("count(*)", "rows", "行数"),
    Word("count_if(x > 0)", "rows that meet a condition", "满足条件的行数"),
    Word("bool_and(x > 0)", "all are so", "全部成立"),
    Word("bool_or(x > 0)", "one is so", "至少一个成立"),
    Word("stddev(x)", "standard deviation", "标准差"),
    Word("variance(x)", "variance", "方差"),
)

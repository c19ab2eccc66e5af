"""Questions at random over the city of `tests.fakes.city`: every operator and function of the dialect, mostly well typed.

Made to find what a person would not write: expressions that overflow, divide by zero, cast nonsense, nest oddly. The same
seed gives the same questions.
"""

from __future__ import annotations

import random

_NUMBERS = ["age", "stock", "fee", "amount", "score", "rate", "level", "places.population", "places.tier"]
_WHOLES = ["age", "stock", "fee", "level", "7", "3", "0"]
_TEXTS = ["visits.city", "dept", '"性别"', "code", "note", '"怪 ""名"""', '"省份"']
_DAYS = ["day", "seen"]
_UNITS = ["day", "week", "month", "quarter", "year"]
_LITERALS = [
    "0",
    "1",
    "-1",
    "3",
    "0.5",
    "1e-9",
    "1e15",
    "9223372036854775807",
    "-9223372036854775807",
    "12345678901",
    "NULL",
]
_TYPES = ["BIGINT", "DOUBLE", "DECIMAL(18, 2)", "INTEGER", "DECIMAL(38, 9)"]
_DATES = [
    "'2024-02-29'",
    "'2023-01-01'",
    "DATE '2024-12-31'",
    "TIMESTAMP '2024-01-01 10:30:00'",
    "'2024-01-01 23:59:59'",
]
_SPANS = ["day", "week", "month", "quarter", "year", "hour", "minute", "second"]
_PATTERNS = ["'[a-c]+'", "'^(.)(.)?'", r"'\d{1,3}%?'", "'(?:山|院)$'", r"'\bx*'"]
_STRINGS = ["''", "'%'", "'北山%'", "'a_b'", "'10%'", "'it''s'", "'\\'", "'12'", "' x '"]


class Questions:
    """A source of questions."""

    def __init__(self, seed: int) -> None:
        self.draw = random.Random(seed)

    def pick(self, items: list[str]) -> str:
        return self.draw.choice(items)

    def number(self, depth: int) -> str:
        """A numeric expression."""
        if depth <= 0:
            return self.pick(_NUMBERS) if self.draw.random() < 0.7 else self.pick(_LITERALS)
        n, d = self.number, depth - 1
        return self.draw.choice(
            [
                lambda: f"({n(d)} {self.pick(['+', '-', '*', '/', '%'])} {n(d)})",
                lambda: f"({self.pick(_WHOLES)} {self.pick(['//', '%'])} {self.pick(_WHOLES)})",
                lambda: f"-{n(d)}",
                lambda: (
                    f"{self.pick(['abs', 'sign', 'floor', 'ceil', 'trunc', 'sqrt', 'ln', 'log10', 'exp', 'round'])}({n(d)})"
                ),
                lambda: f"round({n(d)}, {self.draw.randrange(-4, 5)})",
                lambda: f"power({n(d)}, {self.draw.randrange(-3, 10)})",
                lambda: f"{self.pick(['least', 'greatest', 'coalesce', 'ifnull'])}({n(d)}, {n(d)})",
                lambda: f"nullif({n(d)}, {n(0)})",
                lambda: f"{self.pick(['cast', 'try_cast'])}({n(d)} AS {self.pick(_TYPES)})",
                lambda: f"{self.pick(['cast', 'try_cast'])}({self.text(d)} AS {self.pick(_TYPES)})",
                lambda: f"cast({self.truth(d)} AS {self.pick(['BIGINT', 'DOUBLE'])})",
                lambda: f"CASE WHEN {self.truth(d)} THEN {n(d)} WHEN {self.truth(d)} THEN {n(d)} ELSE {n(0)} END",
                lambda: f"CASE {n(0)} WHEN {n(0)} THEN {n(d)} WHEN 1 THEN {n(0)} END",
                lambda: f"if({self.truth(d)}, {n(d)}, {n(0)})",
                lambda: f"length({self.text(d)})",
                lambda: (
                    f"{self.pick(['year', 'month', 'day', 'quarter', 'week', 'dayofweek', 'dayofyear'])}({self.day(d)})"
                ),
                lambda: f"extract({self.pick(['year', 'month', 'isodow', 'dow'])} FROM {self.day(d)})",
                lambda: f"date_part('{self.pick(['hour', 'minute', 'second'])}', seen)",
                lambda: f"{self.pick(['cbrt', 'log2', 'sin', 'tan', 'acos', 'atan', 'radians', 'degrees'])}({n(d)})",
                lambda: f"{self.pick(['power', 'atan2'])}({n(d)}, {n(0)})",
                lambda: f"trunc({n(d)}, {self.draw.randrange(-3, 4)})",
                lambda: f"clip({n(0)}, {n(0)}, {n(0)})",
                lambda: f"({self.pick(_WHOLES)} {self.pick(['&', '|', '<<', '>>'])} {self.pick(_WHOLES)})",
                lambda: f"xor({self.pick(_WHOLES)}, ~{self.pick(_WHOLES)})",
                lambda: f"{self.pick(['date_diff', 'date_sub'])}('{self.pick(_SPANS)}', {self.day(d)}, {self.day(0)})",
                lambda: f"({self.date(d)} - {self.date(0)})",
                lambda: f"strpos({self.text(d)}, {self.text(0)})",
                lambda: f"strlen({self.text(d)})",
                lambda: f"floor({n(d)} / 10) * 10",
            ]
        )()

    def text(self, depth: int) -> str:
        """A text expression."""
        if depth <= 0:
            return self.pick(_TEXTS) if self.draw.random() < 0.7 else self.pick(_STRINGS)
        t, d = self.text, depth - 1
        return self.draw.choice(
            [
                lambda: f"{self.pick(['lower', 'upper', 'trim', 'ltrim', 'rtrim'])}({t(d)})",
                lambda: f"({t(d)} || {t(d)})",
                lambda: f"concat({t(d)}, {t(0)})",
                lambda: f"{self.pick(['left', 'right'])}({t(d)}, {self.draw.randrange(-2, 4)})",
                lambda: f"substring({t(d)}, {self.draw.randrange(-2, 4)}, {self.draw.randrange(0, 4)})",
                lambda: f"coalesce({t(d)}, {t(0)})",
                lambda: f"nullif({t(d)}, {t(0)})",
                lambda: f"CASE WHEN {self.truth(d)} THEN {t(d)} ELSE {t(0)} END",
                lambda: f"cast({self.draw.choice([self.number, self.day, self.truth])(d)} AS VARCHAR)",
                lambda: f"least({t(d)}, {t(0)})",
                lambda: (
                    f"{self.pick(['lpad', 'rpad'])}({t(d)}, {self.draw.randrange(-1, 9)}, {self.pick(_STRINGS[1:])})"
                ),
                lambda: f"replace({t(d)}, {self.pick(_STRINGS)}, 'a')",
                lambda: f"split_part({t(d)}, {self.pick(_STRINGS)}, {self.draw.randrange(-2, 3)})",
                lambda: f"concat_ws({t(0)}, {t(d)}, {t(0)})",
                lambda: f"trim({t(d)}, {self.pick(_STRINGS)})",
                lambda: f"reverse({t(d)})",
                lambda: f"regexp_extract({t(d)}, {self.pick(_PATTERNS)})",
                lambda: f"regexp_replace({t(d)}, {self.pick(_PATTERNS)}, '', 'g')",
                lambda: f"strftime({self.day(d)}, '{self.pick(['%Y-%m', '%j', '%a %d', '%G-W%V'])}')",
                lambda: f"{self.pick(['dayname', 'monthname'])}({self.day(d)})",
            ]
        )()

    def day(self, depth: int) -> str:
        """A date or a timestamp."""
        if depth <= 0:
            return self.pick(_DAYS)
        d = depth - 1
        return self.draw.choice(
            [
                lambda: f"date_trunc('{self.pick(_UNITS)}', {self.day(d)})",
                lambda: f"cast({self.text(d)} AS {self.pick(['DATE', 'TIMESTAMP'])})",
                lambda: f"cast({self.day(d)} AS {self.pick(['DATE', 'TIMESTAMP'])})",
                lambda: f"coalesce({self.day(d)}, {self.pick(_DATES)})",
                lambda: f"greatest({self.day(d)}, {self.day(0)})",
                lambda: f"CASE WHEN {self.truth(d)} THEN {self.day(d)} ELSE {self.day(0)} END",
                lambda: (
                    f"({self.day(d)} {self.pick(['+', '-'])} INTERVAL {self.draw.randrange(99_999)} {self.pick(_SPANS)})"
                ),
                lambda: f"last_day({self.day(d)})",
                lambda: f"time_bucket(INTERVAL {self.draw.randrange(1, 400)} {self.pick(_UNITS)}, {self.day(d)})",
                lambda: self.date(d),
            ]
        )()

    def date(self, depth: int) -> str:
        """A date."""
        if depth <= 0:
            return "day"
        d = depth - 1
        return self.draw.choice(
            [
                lambda: f"({self.date(d)} {self.pick(['+', '-'])} {self.pick(_WHOLES)})",
                lambda: f"make_date({self.pick(_WHOLES)}, {self.pick(_WHOLES)}, {self.pick(_WHOLES)})",
                lambda: f"cast({self.text(d)} AS DATE)",
                lambda: f"date_add({self.date(d)}, INTERVAL {self.draw.randrange(9_999)} MONTH)",
            ]
        )()

    def truth(self, depth: int) -> str:
        """A condition."""
        if depth <= 0:
            return self.pick(["urgent", "urgent IS NOT TRUE", "age > 40", "dept IS NULL", "TRUE", "NULL"])
        d = depth - 1
        kind = self.draw.choice([self.number, self.text, self.day])
        compare = self.pick(["=", "<>", "<", "<=", ">", ">=", "IS DISTINCT FROM", "IS NOT DISTINCT FROM"])
        return self.draw.choice(
            [
                lambda: f"{kind(d)} {compare} {kind(0)}",
                lambda: f"({self.truth(d)} {self.pick(['AND', 'OR'])} {self.truth(d)})",
                lambda: f"(NOT {self.truth(d)})",
                lambda: f"{kind(d)} IS {self.pick(['', 'NOT '])}NULL",
                lambda: f"{kind(d)} {self.pick(['', 'NOT '])}IN ({kind(0)}, {kind(0)}, NULL)",
                lambda: f"{kind(d)} BETWEEN {kind(0)} AND {kind(d)}",
                lambda: f"{self.text(d)} {self.pick(['LIKE', 'ILIKE', 'NOT LIKE'])} {self.text(0)}",
                lambda: f"{self.pick(['starts_with', 'contains', 'ends_with'])}({self.text(d)}, {self.text(0)})",
                lambda: f"{self.pick(['regexp_matches', 'regexp_full_match'])}({self.text(d)}, {self.pick(_PATTERNS)})",
                lambda: f"{self.text(d)} LIKE '%$_%' ESCAPE '$'",
                lambda: f"{self.pick(['isnan', 'isinf', 'isfinite'])}({self.number(d)})",
                lambda: f"{self.day(d)} >= {self.pick(_DATES)}",
                lambda: f"cast({self.draw.choice([self.number, self.text])(d)} AS BOOLEAN)",
            ]
        )()

    def aggregate(self, depth: int) -> str:
        """An aggregate over rows."""
        n = self.number(depth)
        return self.draw.choice(
            [
                "count(*)",
                "count(DISTINCT person_id)",
                f"count({self.draw.choice([self.number, self.text, self.day, self.truth])(depth)})",
                f"count(DISTINCT {self.draw.choice([self.number, self.text, self.day, self.truth])(depth)})",
                f"{self.pick(['median', 'min', 'max'])}(least(greatest({n}, -100), 1000))",
                f"quantile_disc({self.pick(['age', 'amount', 'score', 'fee', 'rate'])}, 0.9)",
                f"count_if({self.truth(depth)})",
                f"sum(least(greatest({n}, -100), 1000))",
                f"avg(least(greatest({n}, -1e6), 1e6))",
                f"sum({self.pick(['age', 'amount', 'score', 'fee', 'rate'])} * {self.pick(['2', 'level', 'score', 'fee'])})",
                f"avg({self.pick(['age', 'amount', 'score', 'fee', 'rate'])})",
            ]
        )

    def question(self, depth: int = 2) -> str:
        """A whole question."""
        key = self.draw.choice([self.number, self.text, self.day, self.truth])
        keys = [key(self.draw.randrange(0, depth + 1)) for _ in range(self.draw.choice([0, 0, 1, 1, 2]))]
        values = [self.aggregate(depth) for _ in range(self.draw.randrange(1, 4))]
        extra = f"{self.aggregate(1)} {self.pick(['+', '-', '*', '/', '%'])} {self.aggregate(1)}"
        join = self.pick(["JOIN places USING (city)", "LEFT JOIN places ON places.city = visits.city AND age > 30"])
        where = f" WHERE {self.truth(depth)}" if self.draw.random() < 0.6 else ""
        group = f" GROUP BY {', '.join(keys)}" if keys else ""
        having = f" HAVING {self.aggregate(1)} > {self.aggregate(1)}" if self.draw.random() < 0.3 else ""
        order = f" ORDER BY {self.draw.randrange(1, 3)} DESC" if self.draw.random() < 0.3 else ""
        windows = [self.window()] if self.draw.random() < 0.4 else []
        chosen = ", ".join([*keys, *values, extra, *windows])
        return f"SELECT {chosen} FROM visits {join}{where}{group}{having}{order}"

    def window(self) -> str:
        """A window over the answer."""
        value, other = self.aggregate(1), self.aggregate(0)
        function = self.pick(
            [
                "row_number()", "rank()", "percent_rank()", "ntile(3)", f"lag({value})", f"lead({value}, 2)", f"sum({value})",
                f"avg({value})", f"max({value})", f"first_value({value})", f"last_value({value} IGNORE NULLS)", "count(*)",
            ]
        )  # fmt: skip
        return f"{function} OVER ({self.pick(['', f'ORDER BY {other}', f'PARTITION BY {other} > 0 ORDER BY {value} DESC'])})"

"""What the gate says of a function is what DuckDB does: its value, its range, its lattice, its keys, whether it can be NULL.

Every text below is computed twice over the same rows, as the gate rewrites it and as it is written. The rows hold every kind of
value at its ends, NULL, and a thousand more at random; a column without bounds holds the ends of its type.
"""

from __future__ import annotations

import math
import random
import re
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privacy.errors import Problem
from privacy.facts import ColumnFacts, Keys, Kind
from privacy.sql.expressions import Reader
from privacy.sql.functions import NAMES
from privacy.sql.patterns import BadPattern, groups_of
from privacy.sql.resolve import RowScope, stored
from privacy.sql.terms import Term
from tests.fakes.ward import node, with_columns

FIRST, LAST = date(2019, 12, 28), date(2024, 3, 2)
COLUMNS = (
    ColumnFacts(name="age", kind=Kind.INTEGER, lower=Decimal(0), upper=Decimal(120)),
    ColumnFacts(name="grade", kind=Kind.INTEGER, lower=Decimal(-3), upper=Decimal(5), nullable=True),
    ColumnFacts(name="stock", kind=Kind.INTEGER, nullable=True),
    ColumnFacts(name="score", kind=Kind.NUMBER, lower=Decimal(-10), upper=Decimal(10), step=Decimal("0.25")),
    ColumnFacts(
        name="amount", kind=Kind.NUMBER, lower=Decimal(0), upper=Decimal(5000), step=Decimal("0.01"), nullable=True
    ),
    ColumnFacts(name="city", kind=Kind.TEXT, keys=Keys.PUBLIC, domain=("东海市", "西林市")),
    ColumnFacts(name="note", kind=Kind.TEXT, nullable=True),
    ColumnFacts(name="urgent", kind=Kind.BOOLEAN, nullable=True),
    ColumnFacts(name="day", kind=Kind.DATE, lower=FIRST, upper=LAST),
    ColumnFacts(name="other", kind=Kind.DATE, lower=date(2021, 1, 31), upper=date(2021, 12, 31), nullable=True),
    ColumnFacts(
        name="seen",
        kind=Kind.TIMESTAMP,
        lower=datetime.combine(FIRST, datetime.min.time()),
        upper=datetime.combine(LAST, datetime.max.time()),
        nullable=True,
    ),
    ColumnFacts(name="born", kind=Kind.DATE, nullable=True),
    ColumnFacts(name="met", kind=Kind.TIMESTAMP, nullable=True),
)
NOTES = (
    "",
    "a",
    "abc",
    "10%",
    "a_b",
    "北山 医院",
    "Ａ-b-C",
    "x" * 50,
    "it's",
    "2024-02-29",
    "\\",
    "e\u0301x",
    "a\nb",
    "\U0001f600!",
    "-1",
)
TYPES = (
    "age BIGINT, grade BIGINT, stock BIGINT, score BIGINT, amount BIGINT, city VARCHAR, note VARCHAR, urgent BOOLEAN, "
    "day DATE, other DATE, seen TIMESTAMP, born DATE, met TIMESTAMP"
)
SCOPE = RowScope((stored("t", "t0", with_columns(*COLUMNS).tables[0]),))

#: Texts whose value is the same in plain DuckDB; NULL here where they fail there.
SAME = r"""
log2(age + 1) | log(2, age) | log(age + 1) | ln(age + 1) | sqrt(age) | cbrt(score) | exp(score) | exp(age * 100)
sin(score) | cos(age) | tan(score) | asin(score / 10) | acos(score) | atan(score) | atan2(score, age)
radians(score) | degrees(score)
pi() * 2 | pow(age, 0.5) | power(age, 1.5) | power(score, 0.5) | power(age, score) | power(score, 3)
power(score, 2) | power(age, -1)
floor(age / 10) * 10 | floor(score) | ceil(score) | trunc(score) | trunc(score, 1) | trunc(amount, -2)
trunc(age, -1)
round(amount, -2) | round(amount, -1) | round(score) | floor(amount / 500.0) * 500 | floor(score) + 1
3 - floor(score) | floor(score) * ceil(score)
round(stock, -3) | floor(amount) / 7 | floor(stock) | -floor(score) | coalesce(floor(score), 1.5)
abs(floor(score))
mod(age, 7) | mod(score, 3) | mod(age, 0) | age % 7 | age & 12 | age | 5 | xor(age, 77) | grade & 3
xor(grade, stock) | ~age | ~stock
age << 3 | age << 62 | grade << 1 | age >> 2 | stock >> 70 | age >> grade | stock & 255
greatest(age, 50, 3) | least(score, 0.5) | sign(score) | abs(grade) | age // 10 * 10 | -grade | age * 1.5
CASE WHEN age < 18 THEN 0.5 WHEN urgent THEN 2 END | CASE WHEN urgent THEN -1.5 ELSE floor(score) END
isnan(score / age) | isinf(score / age) | isfinite(ln(age)) | isfinite(age) | isnan(sqrt(score)) | score / 0
lower(note) | upper(note) | reverse(note) | trim(note, 'ab') | ltrim(note, 'x') | rtrim(note, '-') | trim(note, '')
length(note) | strlen(note) | strpos(note, 'b') | instr(note, '') | position('山' IN note) | strpos(city, note)
left(note, 2) | right(note, -1) | substring(note, 2, 3) | substring(note, -2, 1) | substr(note, 0) | left(city, 1)
lpad(note, 5, '0') | rpad(note, 3, 'ab') | lpad(note, 0, 'x') | lpad(note, -3, 'x')
lpad(CAST(age AS VARCHAR), 3, '0')
replace(note, 'a', 'xy') | replace(note, '', 'x') | replace(note, 'abc', '') | replace(city, '市', '')
split_part(note, '-', 2)
split_part(note, '-', -1) | split_part(note, '', 1) | split_part(note, '-', 0) | concat_ws('-', city, note, 'z')
concat_ws(note, city, city)
concat(note, city) | note || city | starts_with(note, 'a') | ends_with(note, 'C') | suffix(note, '%')
prefix(note, 'x') | contains(note, '')
note LIKE '10$%' ESCAPE '$' | note NOT LIKE 'a$_b' ESCAPE '$' | note ILIKE 'A!_%' ESCAPE '!'
note LIKE '%$$' ESCAPE '$' | note LIKE '\' | note LIKE '%b%'
regexp_matches(note, '[0-9]+%') | note ~ '^a.b$' | note !~ '\d' | note SIMILAR TO 'a(b|_)[a-c]?'
regexp_full_match(note, '[^a-z]*')
regexp_full_match(note, 'ABC', 'i') | regexp_extract(note, '([a-z])[-_](.)', 2) | regexp_extract(note, '\w+')
regexp_extract(city, '(.)市', 1)
regexp_replace(note, '[a-z]', '<\0>') | regexp_replace(note, '(.)(.)', '\2\1', 'g')
regexp_replace(note, 'X*', '-', 'gi') | regexp_matches(note, 'B', 'i')
day + 3 | 3 + day | day - 40 | born + 1 | day - other | other - day | born - day
date_diff('day', day, other) | date_diff('week', day, seen) | date_diff('month', other, day)
datediff('quarter', day, other) | date_diff('year', born, day)
date_diff('hour', seen, day) | date_diff('minute', day, seen) | date_diff('second', seen, other)
date_diff('hour', met, seen) | date_diff('second', born, met)
date_sub('day', day, other) | date_sub('week', seen, day) | date_sub('month', other, day)
datesub('quarter', day, other) | date_sub('year', born, day)
date_sub('hour', seen, day) | date_sub('second', met, seen) | date_diff('day', day, '2024-01-31')
date_diff('hour', seen, '2020-02-29 10:30:00')
date_part('second', seen) | second(seen) | isoyear(day) | isodow(day) | weekday(day) | extract(isoyear FROM seen)
datepart('doy', day) | year(born) | week(met)
last_day(day) | last_day(seen) | last_day(born) | make_date(year(day), age, 7) | make_date(age, grade, grade)
make_date(stock, 1, 1)
dayname(day) | monthname(seen) | dayname(born) | strftime(day, '%Y-%m') | strftime('%Y年%m月%d日', day)
strftime(day, '%d') | strftime(day, '%G-W%V')
strftime(seen, '%H:00') | strftime(seen, '%a %H') | strftime(day, '%j') | strftime(seen, '%Y-%m-%d %H:%M:%S')
strftime(born, '%Y') | strftime(day, '%y%b%B')
strftime(day, '%A %u %w %%') | strftime(other, 'Q') | strftime(day, '%m-%d') | date_trunc('hour', seen)
date_trunc('minute', seen) | date_trunc('second', met)
"""
#: Texts that give a day where DuckDB gives its first moment.
DAYS = r"""
day + INTERVAL 3 MONTH | day - INTERVAL 1 YEAR | day + INTERVAL '2 weeks' | INTERVAL 2 QUARTER + day
born + INTERVAL 99999 MONTH | day - INTERVAL '-1' DAY
date_add(day, INTERVAL 3 DAY) | date_add(other, INTERVAL 100000 YEAR) | date_trunc('month', seen)
date_trunc('week', day)
time_bucket(INTERVAL 2 WEEK, day) | time_bucket(INTERVAL 10 DAY, day) | time_bucket(INTERVAL 3 MONTH, day)
time_bucket(INTERVAL 2 YEAR, day)
time_bucket(INTERVAL 7 DAY, seen) | time_bucket(INTERVAL 5 MONTH, seen) | time_bucket(INTERVAL 7 DAY, born)
time_bucket(INTERVAL 5 MONTH, met)
"""
#: Texts that give a moment.
MOMENTS = r"""
seen + INTERVAL 3 MONTH | seen - INTERVAL 90 MINUTE | day + INTERVAL 36 HOUR | day - INTERVAL 1 SECOND
met + INTERVAL 100000 YEAR
seen - INTERVAL 100000 HOUR | time_bucket(INTERVAL 15 MINUTE, seen) | time_bucket(INTERVAL 36 HOUR, seen)
met - INTERVAL 99999 YEAR
time_bucket(INTERVAL 1 HOUR, met) | date_add(seen, INTERVAL 3 HOUR)
"""


def listed(texts: str) -> list[str]:
    """Texts apart from each other; `|` between numbers is an operator."""
    whole = texts.replace("age | 5", "age ∣ 5").replace("(b|_)", "(b∣_)")
    return [t.strip().replace("∣", "|") for line in whole.strip().splitlines() for t in line.split(" | ")]


def rows() -> list[tuple[object, ...]]:
    draw = random.Random(11)

    def or_null(value: object, chance: float = 0.1) -> object:
        return None if draw.random() < chance else value

    def moment() -> datetime:
        start = datetime.combine(FIRST, datetime.min.time())
        span = int((datetime.combine(LAST, datetime.max.time()) - start).total_seconds())
        ends = [0, span, span - 1, 3600, 86_399]
        return start + timedelta(seconds=draw.choice(ends) if draw.random() < 0.05 else draw.randrange(span + 1))

    def day(first: date, last: date) -> date:
        ends = [first, last]
        return (
            draw.choice(ends)
            if draw.random() < 0.05
            else first + timedelta(days=draw.randrange((last - first).days + 1))
        )

    wide = [0, 1, -1, 7, 10**6, 2**62, 2**63 - 1, -(2**63) + 1]
    return [
        (
            draw.choice([0, 1, 120, draw.randrange(121)]),
            or_null(draw.randrange(-3, 6)),
            or_null(draw.choice(wide)),
            draw.choice([-40, 40, 0, draw.randrange(-40, 41)]),
            or_null(draw.choice([0, 500_000, draw.randrange(500_001)])),
            draw.choice(["东海市", "西林市"]),
            or_null(draw.choice(NOTES)),
            or_null(draw.random() < 0.5),
            day(FIRST, LAST),
            or_null(day(date(2021, 1, 31), date(2021, 12, 31))),
            or_null(moment()),
            or_null(
                draw.choice(
                    ["0044-03-15 (BC)", "5881580-07-10", "infinity", "1900-02-28", "9999-12-31", "5877642-06-25 (BC)"]
                )
            ),
            or_null(
                draw.choice(
                    ["290309-12-22 (BC) 00:00:00", "294247-01-10 04:00:54.775806", "-infinity", "1969-12-31 23:59:59.5"]
                )
            ),
        )
        for _ in range(1500)
    ]


@pytest.fixture(scope="module")
def engine() -> Iterator[duckdb.DuckDBPyConnection]:
    """`t0` holds numbers as a version stores them, on their lattice; `t` holds what they mean."""
    with duckdb.connect() as connection:
        connection.execute(f"CREATE TABLE t0 (n BIGINT, {TYPES})")
        connection.executemany(
            f"INSERT INTO t0 VALUES ({', '.join('?' * 14)})", [(i, *r) for i, r in enumerate(rows())]
        )
        connection.execute(
            "CREATE VIEW t AS SELECT * REPLACE (score / 4::DOUBLE AS score, amount / 100::DOUBLE AS amount) FROM t0"
        )
        yield connection


def term(text: str) -> Term:
    return Reader(SCOPE).read(node(text))


def computed(engine: duckdb.DuckDBPyConnection, sql: str, table: str) -> list[object]:
    """One value a row, with days and moments as text, because Python has fewer of them."""
    kind = engine.execute(f"SELECT {sql} FROM {table} LIMIT 0").description[0][1]
    shown = f"CAST({sql} AS VARCHAR)" if str(kind).startswith(("DATE", "TIMESTAMP")) else sql
    return [row[0] for row in engine.execute(f"SELECT {shown} FROM {table} ORDER BY n").fetchall()]


def require_held(known: Term, values: list[object]) -> None:
    """Nothing that is said of the term is untrue of a value; numbers that are no numbers are no values."""
    domain = known.key_domain
    for value in values:
        if value is None:
            assert known.nullable, "can be NULL"
        elif isinstance(value, bool):
            assert known.kind is Kind.BOOLEAN
        elif isinstance(value, int | float):
            require_number(known, value)
        elif known.kind in (Kind.DATE, Kind.TIMESTAMP):
            require_day(known, str(value))
        else:
            assert domain is None or value in domain, value


def require_number(known: Term, value: float) -> None:
    assert known.kind is (Kind.INTEGER if isinstance(value, int) else Kind.NUMBER)
    if not math.isfinite(value):
        return
    off = abs(value) * 1e-12 if isinstance(value, float) else 0  # the engine clamps what rounding moves beyond an end
    assert known.low is None or known.low <= value + off, (known.low, value)
    assert known.high is None or value - off <= known.high, (known.high, value)
    if known.kind is Kind.INTEGER and known.step:
        assert (Fraction(value) / known.step).denominator == 1, (known.step, value)
    assert known.key_domain is None or value in known.key_domain, (known.key_domain, value)


def require_day(known: Term, value: str) -> None:
    if known.since is None or known.until is None:
        return
    found = datetime.fromisoformat(value)
    assert known.since <= found.date() <= known.until, (known.since, value, known.until)
    domain = known.key_domain
    assert domain is None or (found.date() if known.kind is Kind.DATE else found) in domain, value


def alike(mine: object, theirs: object) -> bool:
    if isinstance(mine, float) and isinstance(theirs, float):
        return mine == theirs or (math.isnan(mine) and math.isnan(theirs)) or math.isclose(mine, theirs, rel_tol=1e-12)
    return mine == theirs


@pytest.mark.parametrize("text", listed(SAME))
def test_a_function_does_what_duckdb_does(engine: duckdb.DuckDBPyConnection, text: str) -> None:
    known = term(text)
    mine, theirs = computed(engine, known.sql, "t0"), computed(engine, f"TRY({text})", "t")
    assert all(alike(a, b) for a, b in zip(mine, theirs, strict=True)), next(
        (a, b) for a, b in zip(mine, theirs, strict=True) if not alike(a, b)
    )
    require_held(known, mine)


@pytest.mark.parametrize("text", listed(DAYS))
def test_a_day_stays_a_day(engine: duckdb.DuckDBPyConnection, text: str) -> None:
    known = term(text)
    mine, theirs = computed(engine, known.sql, "t0"), computed(engine, f"TRY(CAST({text} AS DATE))", "t")
    assert known.kind is Kind.DATE
    assert mine == theirs
    require_held(known, mine)


@pytest.mark.parametrize("text", listed(MOMENTS))
def test_a_moment_is_a_moment(engine: duckdb.DuckDBPyConnection, text: str) -> None:
    known = term(text)
    mine, theirs = computed(engine, known.sql, "t0"), computed(engine, f"TRY({text})", "t")
    assert known.kind is Kind.TIMESTAMP
    assert mine == theirs
    require_held(known, mine)


@pytest.mark.parametrize("text", ["day + age", "day - grade", "grade + day", "day + stock", "born - stock"])
def test_days_are_moved_by_whole_numbers(engine: duckdb.DuckDBPyConnection, text: str) -> None:
    """DuckDB adds 32-bit numbers to days; others are converted here."""
    known = term(text)
    plain = re.sub(r"age|grade|stock", lambda m: f"TRY_CAST({m[0]} AS INTEGER)", text)
    mine, theirs = computed(engine, known.sql, "t0"), computed(engine, f"TRY({plain})", "t")
    assert mine == theirs
    require_held(known, mine)


def test_rows_make_a_difference(engine: duckdb.DuckDBPyConnection) -> None:
    """Texts that fail on some row in plain DuckDB are among those above: without them, TRY would show nothing."""
    failing = 0
    for text in (*listed(SAME), *listed(DAYS), *listed(MOMENTS)):
        try:
            engine.execute(f"SELECT {text} FROM t").fetchall()
        except duckdb.Error:
            failing += 1
    assert failing >= 15


FORMS = (
    "SELECT count(*) FROM t0 WHERE TRY(({x}) IS NOT NULL)",
    "SELECT count(*) FROM t0 WHERE TRY(({x}) = ({x}))",
    "SELECT TRY({x}) AS k, count(*) FROM t0 GROUP BY k",
    "SELECT sum(CASE WHEN ({x}) IS NOT NULL THEN 1 END) FROM t0",
)


@pytest.mark.parametrize("kind", ["no row", "only NULL", "one value", "one row"])
def test_what_is_known_of_all_rows_makes_no_error(tmp_path: Path, kind: str) -> None:
    """DuckDB folds what its statistics of a column tell it; a function that cannot be folded is an error on that column alone."""
    row = rows()[3]
    found = {"no row": [], "only NULL": [(None,) * len(row)] * 9, "one value": [row] * 9, "one row": [row]}[kind]
    with duckdb.connect(str(tmp_path / "t.duckdb")) as connection:
        connection.execute(f"CREATE TABLE t0 (n BIGINT, {TYPES})")
        for i, values in enumerate(found):
            connection.execute(f"INSERT INTO t0 VALUES ({', '.join('?' * 14)})", [i, *values])
    with duckdb.connect(str(tmp_path / "t.duckdb"), read_only=True) as connection:
        for text in (*listed(SAME), *listed(DAYS), *listed(MOMENTS)):
            for form in FORMS:
                connection.execute(form.replace("{x}", term(text).sql)).fetchall()


def test_every_function_is_computed_somewhere() -> None:
    """All that are listed, but for those that `tests/golden/test_equals_plain.py` has always compared."""
    whole = " ".join((*listed(SAME), *listed(DAYS), *listed(MOMENTS)))
    others = {
        "cast", "try_cast", "clip", "nullif", "ifnull", "if", "day", "dayofmonth", "dayofweek", "dayofyear", "hour", "minute",
        "month", "quarter", "log10", "date_trunc",
    }  # fmt: skip
    assert {n for n in NAMES if f"{n}(" not in whole} <= others


NULLS = ("age", "score", "note", "urgent", "day", "seen")


@pytest.mark.parametrize("name", NAMES)
def test_the_literal_null_fits_everywhere_or_is_refused(engine: duckdb.DuckDBPyConnection, name: str) -> None:
    """A type that DuckDB cannot choose would be an error after the question was paid."""
    for count in range(4):
        for value in ("NULL", *NULLS):
            for place in range(max(1, count)):
                arguments = [value] * count
                arguments[place : place + 1] = ["NULL"] * min(1, count)
                try:
                    known = term(f"{name}({', '.join(arguments)})")
                except Problem:
                    continue
                computed(engine, known.sql, "t0")


@pytest.mark.parametrize(
    "text",
    [
        "clip(age, 10, 20)",
        "clip(grade, -1, 2)",
        "clip(stock, 0, 5)",
        "clip(score, grade, 3)",
        "clip(day, '2020-01-01', other)",
    ],
)
def test_clip_is_between_its_ends_and_keeps_null(engine: duckdb.DuckDBPyConnection, text: str) -> None:
    """DuckDB has no CLIP: it is LEAST(GREATEST(x, low), high), but NULL stays NULL."""
    known = term(text)
    x, low, high = text[5:-1].split(", ")
    plain = f"CASE WHEN {x} IS NOT NULL THEN least(greatest({x}, {low}), {high}) END"
    mine, theirs = computed(engine, known.sql, "t0"), computed(engine, plain, "t")
    assert mine == theirs
    require_held(known, mine)


@pytest.mark.parametrize(
    "key", ["floor(age / 10) * 10", "round(amount, -3)", "strftime(day, '%Y-%m')", "dayname(day)",
                                 "CASE WHEN urgent THEN 0.5 ELSE 1 END", "time_bucket(INTERVAL 1 MONTH, day)",
                                 "last_day(day)", "age & 3", "date_diff('year', other, day)", "strftime(seen, '%H')"],
)  # fmt: skip
def test_buckets_are_public_keys(engine: duckdb.DuckDBPyConnection, key: str) -> None:
    """What people group by has a list of keys, and no key of the list is far from anything that occurs."""
    domain = term(key).key_domain
    assert domain is not None
    found = {v for v in computed(engine, term(key).sql, "t0") if v is not None}
    assert len(domain) <= len(found) + 3


ALPHABET = "ab.^$|?*+()[]{},-\\dwsbWn120中:%_"


@settings(max_examples=400, deadline=None)
@given(st.text(ALPHABET, max_size=14))
def test_a_pattern_that_is_accepted_runs(pattern: str) -> None:
    """An error of a pattern cannot be caught by TRY: it would come after the question was paid."""
    try:
        groups = groups_of(pattern)
    except BadPattern:
        return
    with duckdb.connect() as connection:
        text = pattern.replace("'", "''")
        connection.execute(
            f"SELECT regexp_matches(x, '{text}'), regexp_replace(x, '{text}', '\\{min(groups, 9)}') FROM (SELECT 'ab' AS x)"
        )

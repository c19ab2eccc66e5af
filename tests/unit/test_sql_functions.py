"""Functions: the text each becomes, the range it keeps, and that nothing outside the list exists."""

from __future__ import annotations

import math
import re
from datetime import date
from fractions import Fraction

import pytest

from privacy.facts import Kind
from privacy.sql.functions import NAMES, listed
from tests.fakes.ward import COLUMNS, refusal, term, written

INT, NUM, TEXT, TRUTH, DAY = Kind.INTEGER, Kind.NUMBER, Kind.TEXT, Kind.BOOLEAN, Kind.DATE
FREE = (None, None, None)
CLIPPED = "(CASE WHEN {x} IS NOT NULL THEN least(greatest({x}, {low}), {high}) END)"

#: Question text, DuckDB text, kind, whether it can be NULL, (low, high, step).
NUMERIC = [
    ("abs(stock)", "TRY(abs({stock}))", INT, True, (0, None, 1)),
    ("abs(grade)", "abs({grade})", INT, True, (0, 3, 1)),
    ("abs(score)", "abs({score})", NUM, False, (0, 10, "1/4")),
    ("sign(amount)", "CAST(sign({amount}) AS BIGINT)", INT, True, (-1, 1, 1)),
    ("sqrt(age)", "sqrt({age})", NUM, True, (0, 11, None)),
    ("sqrt(stock)", "sqrt({stock})", NUM, True, (0, None, None)),
    ("sqrt(-1)", "sqrt((- 1::BIGINT))", NUM, True, (0, 1, None)),
    ("ln(age)", "ln({age})", NUM, True, (None, 5, None)),
    ("ln(age + 1)", "ln(({age} + 1::BIGINT))", NUM, True, (0, 5, None)),
    ("ln(stock)", "ln({stock})", NUM, True, FREE),
    ("ln(-age)", "ln((- {age}))", NUM, True, FREE),
    ("log10(age + 1)", "log10(({age} + 1::BIGINT))", NUM, True, (0, 3, None)),
    ("log(10, age)", "log10({age})", NUM, True, (None, 3, None)),
    ("log(age + 1)", "log10(({age} + 1::BIGINT))", NUM, True, (0, 3, None)),
    ("log2(age + 1)", "log2(({age} + 1::BIGINT))", NUM, True, (0, 7, None)),
    ("cbrt(stock)", "cbrt({stock})", NUM, True, FREE),
    ("radians(stock)", "radians({stock})", NUM, True, FREE),
    ("degrees(stock)", "degrees({stock})", NUM, True, FREE),
    ("sin(age)", "sin(CAST({age} AS DOUBLE))", NUM, True, (-1, 1, None)),
    ("cos(age)", "cos(CAST({age} AS DOUBLE))", NUM, True, (-1, 1, None)),
    ("tan(age)", "tan(CAST({age} AS DOUBLE))", NUM, True, FREE),
    ("asin(score)", "asin(CAST({score} AS DOUBLE))", NUM, True, (-2, 2, None)),
    ("acos(score)", "acos(CAST({score} AS DOUBLE))", NUM, True, (0, 4, None)),
    ("atan(score)", "atan(CAST({score} AS DOUBLE))", NUM, True, (-2, 2, None)),
    ("atan2(score, age)", "atan2(CAST({score} AS DOUBLE), CAST({age} AS DOUBLE))", NUM, True, (-4, 4, None)),
    ("pi()", "pi()", NUM, False, (Fraction(math.pi), Fraction(math.pi), None)),
    ("mod(age, 7)", "TRY({age} % 7::BIGINT)", INT, False, (0, 6, 1)),
    ("xor(age, 8)", "xor({age}, 8::BIGINT)", INT, False, (0, 127, 1)),
    ("xor(grade, 8)", "xor({grade}, 8::BIGINT)", INT, True, (None, None, 1)),
    ("age & 12", "({age} & 12::BIGINT)", INT, False, (0, 12, 1)),
    ("age | 128", "({age} | 128::BIGINT)", INT, False, (0, 255, 1)),
    ("NULL & NULL", "(CAST(NULL AS BIGINT) & CAST(NULL AS BIGINT))", INT, True, (None, None, 1)),
    ("~age", "(~ {age})", INT, False, (-121, -1, 1)),
    ("~stock", "(~ {stock})", INT, True, (None, None, 1)),
    ("age << 2", "TRY({age} << 2::BIGINT)", INT, True, (None, None, 1)),
    ("age >> grade", "TRY({age} >> {grade})", INT, True, (0, 120, 1)),
    ("stock >> grade", "TRY({stock} >> {grade})", INT, True, (None, None, 1)),
    ("exp(age * 10)", "exp(({age} * 10::BIGINT))", NUM, True, (0, None, None)),
    ("exp(stock)", "exp({stock})", NUM, True, (0, None, None)),
    ("power(grade, 3)", "pow({grade}, 3)", NUM, True, (-8, 27, 1)),
    ("pow(grade, 2)", "pow({grade}, 2)", NUM, True, (0, 9, 1)),
    ("age ** 2", "pow({age}, 2)", NUM, True, (0, 14_400, 1)),
    ("power(stock, 2)", "pow({stock}, 2)", NUM, True, FREE),
    ("power(age, 9)", "pow({age}, 9)", NUM, True, FREE),
    ("power(age, -1)", "pow({age}, -1)", NUM, True, FREE),
    ("power(age, grade)", "pow({age}, {grade})", NUM, True, FREE),
    ("power(score, 0.5)", "pow({score}, 0.5::DOUBLE)", NUM, True, FREE),
    ("power(age, 8.5)", "pow({age}, 8.5::DOUBLE)", NUM, True, FREE),
    ("power(stock, 0.5)", "pow({stock}, 0.5::DOUBLE)", NUM, True, FREE),
    ("power(ln(age + 1), 2)", "pow(ln(({age} + 1::BIGINT)), 2)", NUM, True, (0, 25, None)),
    ("round(amount)", "round({amount}, 0)", NUM, True, (0, 5000, 1)),
    ("round(amount, 1)", "round({amount}, 1)", NUM, True, (0, 5000, "1/10")),
    ("round(age, 2)", "{age}", INT, False, (0, 120, 1)),
    ("round(age, -1)", "round({age}, -1)", INT, False, (0, 120, 10)),
    ("round(stock, -2)", "TRY(round({stock}, -2))", INT, True, (None, None, 100)),
    ("round(amount, -100)", "round({amount}, -9)", NUM, True, (0, 10**9, 10**9)),
    ("round(NULL)", "round(NULL, 0)", NUM, True, (None, None, 1)),
    ("floor(score)", "floor({score})", NUM, False, (-10, 10, 1)),
    ("ceil(score)", "ceil({score})", NUM, False, (-10, 10, 1)),
    ("trunc(score)", "trunc({score})", NUM, False, (-10, 10, 1)),
    ("trunc(score, 1)", "trunc({score}, 1)", NUM, False, (-10, 10, "1/10")),
    ("trunc(age, -1)", "trunc({age}, -1)", INT, False, (0, 120, 10)),
    ("clip(age, 5, 50)", CLIPPED.format(x="{age}", low="5::BIGINT", high="50::BIGINT"), INT, False, (5, 50, 1)),
    ("clip(stock, 5, 3)", CLIPPED.format(x="{stock}", low="5::BIGINT", high="3::BIGINT"), INT, True, (3, 3, 1)),
    ("clip(age, grade, 5)", CLIPPED.format(x="{age}", low="{grade}", high="5::BIGINT"), INT, True, (-2, 5, 1)),
    ("clip(age, 5, grade)", CLIPPED.format(x="{age}", low="5::BIGINT", high="{grade}"), INT, True, (-2, 120, 1)),
    ("least(age, 5)", "least({age}, 5::BIGINT)", INT, False, (0, 5, 1)),
    ("least(grade, stock)", "least({grade}, {stock})", INT, True, (None, None, 1)),
    ("greatest(age, grade)", "greatest({age}, {grade})", INT, False, (0, 120, 1)),
    ("greatest(stock, 5)", "greatest({stock}, 5::BIGINT)", INT, False, (5, None, 1)),
    ("least(NULL, NULL)", "least(NULL, NULL)", None, True, (None, None, 0)),
    ("coalesce(grade, 9)", "coalesce({grade}, 9::BIGINT)", INT, False, (-2, 9, 1)),
    ("coalesce(grade, stock)", "coalesce({grade}, {stock})", INT, True, (None, None, 1)),
    ("coalesce(NULL, NULL)", "coalesce(NULL, NULL)", None, True, (None, None, 0)),
    ("nullif(age, 0)", "(CASE WHEN {age} = 0::BIGINT THEN NULL ELSE {age} END)", INT, True, (0, 120, 1)),
    ("length(city)", "length({city})", INT, False, (0, None, 1)),
    ("strlen(city)", "strlen({city})", INT, False, (0, None, 1)),
    ("strpos(dept, city)", "strpos({dept}, {city})", INT, True, (0, None, 1)),
    ("position('a' IN city)", "strpos({city}, 'a')", INT, False, (0, None, 1)),
    ("cast(age AS DOUBLE)", "TRY_CAST({age} AS DOUBLE)", NUM, False, (0, 120, 1)),
    ("cast(score AS FLOAT)", "TRY_CAST({score} AS DOUBLE)", NUM, False, (-10, 10, "1/4")),
    ("cast(stock AS DOUBLE)", "TRY_CAST({stock} AS DOUBLE)", NUM, True, (None, None, 1)),
    ("cast(amount AS INTEGER)", "TRY_CAST({amount} AS BIGINT)", INT, True, (0, 5000, 1)),
    ("try_cast(dept AS BIGINT)", "TRY_CAST({dept} AS BIGINT)", INT, True, (None, None, 1)),
    ("cast(dept AS DOUBLE)", "TRY_CAST({dept} AS DOUBLE)", NUM, True, FREE),
    ("cast(urgent AS BIGINT)", 'TRY_CAST(t0."urgent" AS BIGINT)', INT, True, (0, 1, 1)),
    ("cast(urgent AS DOUBLE)", 'TRY_CAST(t0."urgent" AS DOUBLE)', NUM, True, (0, 1, 1)),
    ("cast(age AS DECIMAL(18, 1))", "CAST(TRY_CAST({age} AS DECIMAL(18, 1)) AS DOUBLE)", NUM, True, (0, 120, "1/10")),
    ("cast(age AS DECIMAL)", "CAST(TRY_CAST({age} AS DECIMAL(18, 3)) AS DOUBLE)", NUM, True, (0, 120, "1/1000")),
    ("cast(age AS DECIMAL(5))", "CAST(TRY_CAST({age} AS DECIMAL(5, 0)) AS DOUBLE)", NUM, True, (0, 120, 1)),
    ("extract(year FROM day)", "date_part('year', t0.\"day\")", INT, False, (2023, 2024, 1)),
    ("extract('month' FROM at)", "date_part('month', t0.\"at\")", INT, False, (1, 12, 1)),
    ("extract(year FROM born)", "date_part('year', t0.\"born\")", INT, True, (None, None, 1)),
    ("date_part('isodow', day)", "date_part('isodow', t0.\"day\")", INT, False, (1, 7, 1)),
    ("date_part('DayOfWeek', day)", "date_part('dow', t0.\"day\")", INT, False, (0, 6, 1)),
    ("day - DATE '2024-02-29'", "(t0.\"day\" - DATE '2024-02-29')", INT, False, (-420, 0, 1)),
    ("born - day", '(t0."born" - t0."day")', INT, True, (None, None, 1)),
    (
        "date_diff('month', day, '2024-03-31')",
        "TRY(date_diff('month', t0.\"day\", DATE '2024-03-31'))",
        INT,
        False,
        (1, 14, 1),
    ),
    ("date_diff('hours', day, day)", 'TRY(date_diff(\'hour\', t0."day", t0."day"))', INT, False, (-10_103, 10_103, 1)),
    ("date_diff('day', born, day)", 'TRY(date_diff(\'day\', t0."born", t0."day"))', INT, True, (None, None, 1)),
    (
        "date_sub('year', day, '2030-01-05')",
        "TRY(date_sub('year', t0.\"day\", DATE '2030-01-05'))",
        INT,
        False,
        (5, 7, 1),
    ),
    (
        "date_sub('year', '2030-01-05', day)",
        "TRY(date_sub('year', DATE '2030-01-05', t0.\"day\"))",
        INT,
        False,
        (-7, -5, 1),
    ),
    (
        "date_sub('week', NULL, day)",
        "TRY(date_sub('week', CAST(NULL AS DATE), t0.\"day\"))",
        INT,
        True,
        (None, None, 1),
    ),
    ("date_part('second', at)", "date_part('second', t0.\"at\")", INT, False, (0, 59, 1)),
    ("second(at)", "date_part('second', t0.\"at\")", INT, False, (0, 59, 1)),
    ("isodow(day)", "date_part('isodow', t0.\"day\")", INT, False, (1, 7, 1)),
    ("isoyear(day)", "date_part('isoyear', t0.\"day\")", INT, False, (2022, 2025, 1)),
    ("isoyear(born)", "date_part('isoyear', t0.\"born\")", INT, True, (None, None, 1)),
    ("weekday(day)", "date_part('dow', t0.\"day\")", INT, False, (0, 6, 1)),
    ("year(NULL)", "date_part('year', CAST(NULL AS DATE))", INT, True, (None, None, 1)),
    ("year(day)", "date_part('year', t0.\"day\")", INT, False, (2023, 2024, 1)),
    ("quarter(day)", "date_part('quarter', t0.\"day\")", INT, False, (1, 4, 1)),
    ("month(day)", "date_part('month', t0.\"day\")", INT, False, (1, 12, 1)),
    ("week(day)", "date_part('week', t0.\"day\")", INT, False, (1, 53, 1)),
    ("day(day)", "date_part('day', t0.\"day\")", INT, False, (1, 31, 1)),
    ("dayofmonth(day)", "date_part('day', t0.\"day\")", INT, False, (1, 31, 1)),
    ("dayofweek(day)", "date_part('dow', t0.\"day\")", INT, False, (0, 6, 1)),
    ("dayofyear(at)", "date_part('doy', t0.\"at\")", INT, False, (1, 366, 1)),
    ("hour(at)", "date_part('hour', t0.\"at\")", INT, False, (0, 23, 1)),
    ("minute(at)", "date_part('minute', t0.\"at\")", INT, False, (0, 59, 1)),
]

#: Question text, DuckDB text, kind, whether it can be NULL.
OTHER = [
    ("lower(city)", "lower({city})", TEXT, False),
    ("upper(dept)", "upper({dept})", TEXT, True),
    ("trim(city)", "trim({city})", TEXT, False),
    ("ltrim(city)", "ltrim({city})", TEXT, False),
    ("rtrim(dept)", "rtrim({dept})", TEXT, True),
    ("trim(LEADING FROM city)", "ltrim({city})", TEXT, False),
    ("substring(city, 1, 2)", "substring({city}, 1, 2)", TEXT, False),
    ("substring(city FROM 2)", "substring({city}, 2, 10000)", TEXT, False),
    ("left(city, 1)", "left({city}, 1)", TEXT, False),
    ("right(dept, -2)", "right({dept}, -2)", TEXT, True),
    ("city || dept", "({city} || {dept})", TEXT, True),
    ("concat(city, dept, '!')", "concat({city}, {dept}, '!')", TEXT, False),
    ("ifnull(dept, '无')", "coalesce({dept}, '无')", TEXT, False),
    ("coalesce(dept)", "coalesce({dept})", TEXT, True),
    ("cast(age AS VARCHAR)", "TRY_CAST({age} AS VARCHAR)", TEXT, False),
    ("grade::TEXT", "TRY_CAST({grade} AS VARCHAR)", TEXT, True),
    ("reverse(dept)", "reverse({dept})", TEXT, True),
    ("trim(city, 'ab')", "trim({city}, 'ab')", TEXT, False),
    ("rtrim(city, 'x-')", "rtrim({city}, 'x-')", TEXT, False),
    ("lpad(city, 5, '0')", "lpad({city}, 5, '0')", TEXT, False),
    ("rpad(dept, 5)", "rpad({dept}, 5, ' ')", TEXT, True),
    ("replace(city, '市', '')", "replace({city}, '市', '')", TEXT, False),
    ("split_part(dept, '-', -1)", "array_to_string(list_slice(string_split({dept}, '-'), -1, -1), '')", TEXT, True),
    ("concat_ws('-', city, dept)", "concat_ws('-', {city}, {dept})", TEXT, False),
    ("concat_ws(dept, city)", "concat_ws({dept}, {city})", TEXT, True),
    ("regexp_extract(dept, '(a)b', 1)", "regexp_extract({dept}, '(a)b', 1)", TEXT, True),
    ("regexp_extract(city, 'a', 0, 'i')", "regexp_extract({city}, 'a', 0, 'i')", TEXT, False),
    ("regexp_replace(city, 'a', 'b')", "regexp_replace({city}, 'a', 'b')", TEXT, False),
    ("regexp_replace(city, '(a)', '\\1\\\\', 'ig')", "regexp_replace({city}, '(a)', '\\1\\\\', 'gi')", TEXT, False),
    ("strftime(day, '%Y')", "strftime(t0.\"day\", '%Y')", TEXT, False),
    ("strftime('%Y', born)", "strftime(t0.\"born\", '%Y')", TEXT, True),
    ("strftime(NULL, '%Y')", "strftime(CAST(NULL AS DATE), '%Y')", TEXT, True),
    ("dayname(day)", 'dayname(t0."day")', TEXT, False),
    ("monthname(born)", 'monthname(t0."born")', TEXT, True),
    ("ends_with(city, '市')", "ends_with({city}, '市')", TRUTH, False),
    ("suffix(city, dept)", "ends_with({city}, {dept})", TRUTH, True),
    ("regexp_matches(city, 'a|b')", "regexp_matches({city}, 'a|b')", TRUTH, False),
    ("dept ~ 'it''s'", "regexp_matches({dept}, 'it''s')", TRUTH, True),
    ("regexp_full_match(city, 'a', 'i')", "regexp_full_match({city}, 'a', 'i')", TRUTH, False),
    ("city SIMILAR TO 'a'", "regexp_full_match({city}, 'a')", TRUTH, False),
    ("city LIKE 'a$$%' ESCAPE '$'", "({city} LIKE 'a$$%' ESCAPE '$')", TRUTH, False),
    ("dept NOT ILIKE '$%' ESCAPE '$'", "({dept} NOT ILIKE '$%' ESCAPE '$')", TRUTH, True),
    ("isnan(score)", "isnan(CAST({score} AS DOUBLE))", TRUTH, False),
    ("isinf(amount)", "isinf(CAST({amount} AS DOUBLE))", TRUTH, True),
    ("isfinite(age)", "isfinite(CAST({age} AS DOUBLE))", TRUTH, False),
    ("last_day(day)", 'TRY(last_day(t0."day"))', DAY, False),
    ("last_day(born)", 'TRY(last_day(t0."born"))', DAY, True),
    ("make_date(age, 1, 2)", "TRY(make_date({age}, 1::BIGINT, 2::BIGINT))", DAY, True),
    ("date_add(day, INTERVAL 1 YEAR)", "TRY_CAST(TRY(t0.\"day\" + INTERVAL '1 year') AS DATE)", DAY, False),
    ("day - INTERVAL (2) WEEKS", "TRY_CAST(TRY(t0.\"day\" + INTERVAL '-2 week') AS DATE)", DAY, False),
    ("INTERVAL 5 DAY + at", "TRY(t0.\"at\" + INTERVAL '5 day')", Kind.TIMESTAMP, False),
    ("NULL + INTERVAL 5 DAY", "TRY_CAST(TRY(CAST(NULL AS DATE) + INTERVAL '5 day') AS DATE)", DAY, True),
    ("day + INTERVAL 5 HOUR", "TRY(t0.\"day\" + INTERVAL '5 hour')", Kind.TIMESTAMP, False),
    ("born + INTERVAL 5 DAY", "TRY_CAST(TRY(t0.\"born\" + INTERVAL '5 day') AS DATE)", DAY, True),
    ("day + INTERVAL 9999 YEAR", "TRY_CAST(TRY(t0.\"day\" + INTERVAL '9999 year') AS DATE)", DAY, True),
    ("day - INTERVAL 99999 MONTH", "TRY_CAST(TRY(t0.\"day\" + INTERVAL '-99999 month') AS DATE)", DAY, True),
    ("day + age", 'TRY(t0."day" + TRY_CAST({age} AS INTEGER))', DAY, False),
    ("age + day", 'TRY(t0."day" + TRY_CAST({age} AS INTEGER))', DAY, False),
    ("day - stock", 'TRY(t0."day" - TRY_CAST({stock} AS INTEGER))', DAY, True),
    ("day + 9999999", 'TRY(t0."day" + TRY_CAST(9999999::BIGINT AS INTEGER))', DAY, True),
    (
        "time_bucket(INTERVAL 2 WEEK, day)",
        "TRY_CAST(TRY(time_bucket(INTERVAL '2 week', t0.\"day\")) AS DATE)",
        DAY,
        False,
    ),
    (
        "time_bucket(INTERVAL 1 DAY, born)",
        "TRY_CAST(TRY(time_bucket(INTERVAL '1 day', t0.\"born\")) AS DATE)",
        DAY,
        True,
    ),
    ("time_bucket(INTERVAL 1 HOUR, at)", "TRY(time_bucket(INTERVAL '1 hour', t0.\"at\"))", Kind.TIMESTAMP, False),
    ("date_trunc('hour', at)", "TRY(date_trunc('hour', t0.\"at\"))", Kind.TIMESTAMP, False),
    ("starts_with(city, '东')", "starts_with({city}, '东')", TRUTH, False),
    ("contains(city, dept)", "contains({city}, {dept})", TRUTH, True),
    ("cast(age AS BOOLEAN)", "TRY_CAST({age} AS BOOLEAN)", TRUTH, False),
    ("cast(city AS BOOLEAN)", "TRY_CAST({city} AS BOOLEAN)", TRUTH, True),
    ("cast(city AS DATE)", "TRY_CAST({city} AS DATE)", DAY, True),
    ("cast(at AS DATE)", 'TRY_CAST(t0."at" AS DATE)', DAY, False),
    ("DATE '2024-01-01'", "DATE '2024-01-01'", DAY, False),
    ("cast('2024-01-01' AS DATE)", "DATE '2024-01-01'", DAY, False),
    ("TIMESTAMP '2024-01-01 10:00:00'", "TIMESTAMP '2024-01-01 10:00:00'", Kind.TIMESTAMP, False),
    ("cast(born AS TIMESTAMP)", 'TRY_CAST(t0."born" AS TIMESTAMP)', Kind.TIMESTAMP, True),
    ("date_trunc('year', born)", "CAST(date_trunc('year', t0.\"born\") AS DATE)", DAY, True),
    ("if(urgent, city, dept)", '(CASE WHEN t0."urgent" THEN {city} ELSE {dept} END)', TEXT, True),
]


@pytest.mark.parametrize(("text", "sql", "kind", "nullable", "known"), NUMERIC, ids=[row[0] for row in NUMERIC])
def test_numeric_functions(text, sql, kind, nullable, known):
    found = term(text)
    assert (found.sql, found.kind, found.nullable) == (written(sql), kind, nullable)
    assert (found.low, found.high, found.step) == tuple(None if v is None else Fraction(v) for v in known)


@pytest.mark.parametrize(("text", "sql", "kind", "nullable"), OTHER, ids=[row[0] for row in OTHER])
def test_texts_truths_and_days(text, sql, kind, nullable):
    found = term(text)
    assert (found.sql, found.kind, found.nullable) == (written(sql), kind, nullable)


def test_every_listed_function_is_shown_above():
    shown = {name for row in (*NUMERIC, *OTHER) for name in re.findall(r"(\w+)\(", row[0])}
    assert set(NAMES) - shown == set()
    assert listed() == ", ".join(NAMES)
    assert list(NAMES) == sorted(NAMES)


def test_text_is_only_ever_written_by_us():
    """Outside of literals and quoted columns, every word of an emitted text is a name or a keyword of ours."""
    keywords = (
        "case when then else end null true date timestamp double bigint integer varchar boolean decimal as try pow dow doy "
        "is not interval like ilike escape array_to_string list_slice string_split"
    )
    ours = set(re.findall(r"[a-z_]+", " ".join([*NAMES, keywords, *COLUMNS.values()]).lower()))
    for text, *_ in (*NUMERIC, *OTHER):
        outside = re.sub(r"'[^']*'|\"[^\"]*\"", "", term(text).sql.lower())
        assert set(re.findall(r"[a-z_]{2,}", outside)) <= ours, text


@pytest.mark.parametrize(
    ("text", "since", "until", "count"),
    [
        ("date_trunc('day', day)", date(2023, 1, 5), date(2024, 2, 29), 421),
        ("date_trunc('week', at)", date(2023, 1, 2), date(2024, 2, 29), 61),
        ("date_trunc('month', at)", date(2023, 1, 1), date(2024, 2, 29), 14),
        ("date_trunc('quarter', day)", date(2023, 1, 1), date(2024, 2, 29), 5),
        ("date_trunc('year', day)", date(2023, 1, 1), date(2024, 2, 29), 2),
    ],
)
def test_truncated_days_are_public_keys(text, since, until, count):
    found = term(text)
    assert (found.since, found.until, len(found.domain or ())) == (since, until, count)
    assert found.domain[0] == since


def test_days_without_bounds_have_no_list():
    assert term("date_trunc('month', born)").domain is None
    assert term("time_bucket(INTERVAL 1 MONTH, born)").domain is None
    assert term("last_day(born)").domain is None


def test_buckets_are_public_keys_when_they_are_few():
    assert term("time_bucket(INTERVAL 3 MONTH, at)").domain == tuple(
        date(y, m, 1) for y, m in ((2023, 1), (2023, 4), (2023, 7), (2023, 10), (2024, 1))
    )
    assert term("time_bucket(INTERVAL 200 DAY, day)").domain == (
        date(2023, 1, 2),
        date(2023, 7, 21),
        date(2024, 2, 6),
    )
    assert term("time_bucket(INTERVAL 1 DAY, day + 30 * age)").domain is None
    assert term("time_bucket(INTERVAL 90 HOUR, at)").since == date(2023, 1, 1)
    assert term("last_day(day)").domain[-1] == date(2024, 2, 29)
    assert term("last_day(day + INTERVAL 7975 YEAR)").until == date(9999, 2, 28)
    assert term("last_day(day + INTERVAL 7975 YEAR + INTERVAL 10 MONTH)").domain is None, "beyond the calendar"
    assert term("strftime(day, '%Y')").domain == ("2023", "2024")
    assert term("monthname(day)").domain[0] == "April"
    assert term("make_date(age + 1, 1, 1)").until == date(121, 12, 31)


def test_exp_stays_above_the_largest_value():
    found = term("exp(score)")
    assert found.low == 0
    assert Fraction("22026.4657") < found.high < Fraction("22026.5")


def test_parts_keep_the_days_and_casts_keep_the_span():
    assert term("least(day, '2023-12-31')").since == date(2023, 1, 5)
    assert term("cast(day AS TIMESTAMP)").until == date(2024, 2, 29)
    assert term("nullif(city, '东')").domain == ("东", "西")
    assert term("nullif('a', 'b')").literal is None
    assert term("greatest(level, 2)").domain is None


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("round(amount, TRUE)", "a computed second argument of ROUND"),
        ("substring(city, age)", "a computed second argument of SUBSTRING"),
        ("left(city, age)", "a computed second argument of LEFT"),
        ("log(3, age)", "LOG with a base other than 2 or 10"),
        ("log(age, 2)", "LOG with a base other than 2 or 10"),
        ("trim(city, dept)", "TRIM without a constant text"),
        ("replace(city, 'x')", "REPLACE without a constant text"),
        ("replace(city, NULL, 'x')", "REPLACE without a constant text"),
        ("lpad(city, 1001, 'x')", "LPAD beyond 1000 characters or with nothing"),
        ("rpad(city, 10, '')", "RPAD beyond 1000 characters or with nothing"),
        ("lpad(city, age, 'x')", "a computed second argument of LPAD"),
        ("city LIKE '$' ESCAPE '$'", "an ESCAPE that escapes nothing"),
        ("city LIKE '$$$' ESCAPE '$'", "an ESCAPE that escapes nothing"),
        ("city LIKE 'a' ESCAPE ''", "an ESCAPE that escapes nothing"),
        ("city SIMILAR TO 'a' ESCAPE 'b'", "ESCAPE without LIKE"),
        ("regexp_matches(city, '*')", "this regular expression"),
        ("regexp_matches(city, 'a', 'g')", "this option of regexp_matches"),
        ("regexp_matches(city, 'a', dept)", "this option of regexp_matches"),
        ("regexp_extract(city, '(a)', 2)", "the group 2 of a pattern with 1"),
        ("regexp_extract(city, '(a)', -1)", "the group -1 of a pattern with 1"),
        ("regexp_replace(city, 'a', '\\1')", "the group 1 of a pattern with 0"),
        ("regexp_replace(city, 'a', '\\')", "this replacement"),
        ("concat_ws('-')", "CONCAT_WS of 1 operands"),
        ("clip(age, 1)", "CLIP of 2 operands"),
        ("date_sub('day', day)", "DATE_SUB of 2 operands"),
        ("date_sub(city, day, day)", "DATE_SUB city"),
        ("date_diff('century', day, day)", "DATE_DIFF century"),
        ("make_date(1, 2)", "MAKE_DATE of 2 operands"),
        ("date_add(day, 3)", "DATE_ADD without an INTERVAL"),
        ("day + INTERVAL (age) DAY", "this INTERVAL"),
        ("day + INTERVAL 100001 DAY", "this INTERVAL"),
        ("day + INTERVAL 1.5 DAY", "this INTERVAL"),
        ("day + INTERVAL '1 year 1 day'", "this INTERVAL"),
        ("day + INTERVAL 1 DECADE", "INTERVAL decade"),
        ("day * 2", "date * integer"),
        ("day - at", "date - timestamp"),
        ("day + NULL", "date + NULL"),
        ("time_bucket(INTERVAL 0 DAY, day)", "a bucket of no time"),
        ("time_bucket(7, day)", "this INTERVAL"),
        ("strftime(day, '%x')", "this format of STRFTIME"),
        ("strftime(day, '%')", "this format of STRFTIME"),
        ("strftime(day, '%Y' || 'x')", "STRFTIME without a constant text"),
        ("strftime(day, 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx')", "this format of STRFTIME"),
        ("extract(epoch FROM at)", "the calendar part epoch"),
        ("date_part('century', day)", "the calendar part century"),
        ("date_part(city, day)", "DATE_PART without a constant part"),
        ("date_part('week', day, 1)", "DATE_PART without a constant part"),
        ("date_trunc('decade', at)", "DATE_TRUNC to decade"),
        ("date_trunc(city, day)", "DATE_TRUNC to city"),
        ("cast(age AS DECIMAL(39, 2))", "this DECIMAL type"),
        ("cast(age AS DECIMAL(18, 10))", "this DECIMAL type"),
        ("cast(age AS DECIMAL(2, 3))", "this DECIMAL type"),
        ("cast(age AS TIME)", "the type TIME"),
        ("cast(age AS HUGEINT)", "the type INT128"),
        ("cast(age AS BIGINT[])", "the type ARRAY"),
        ("TIMESTAMPTZ '2024-01-01'", "the type TIMESTAMPTZ"),
    ],
)
def test_what_a_function_does_not_take_is_named(text, named):
    problem = refusal(lambda: term(text), "sql.unsupported")
    assert problem.say("en").startswith(f"{named} is not accepted")
    assert problem.say("zh-CN") != problem.say("en")
    assert problem.advise("zh-CN")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("lower(age)", "LOWER does not accept integer (line 1, column 14)."),
        ("contains(age, 'x')", "CONTAINS does not accept integer (line 1, column 17)."),
        ("concat(city, age)", "CONCAT does not accept integer (line 1, column 21)."),
        ("city || age", "|| does not accept integer (line 1, column 16)."),
        ("extract(hour FROM day)", "EXTRACT(hour) does not accept date (line 1, column 26)."),
        ("year(city)", "EXTRACT(year) does not accept text (line 1, column 13)."),
        ("date_trunc('month', city)", "DATE_TRUNC does not accept text (line 1, column 28)."),
        ("cast(day AS BIGINT)", "CAST does not accept date (line 1, column 13)."),
        ("cast(at AS DECIMAL(9, 2))", "CAST does not accept timestamp (line 1, column 13)."),
        ("cast(age AS DATE)", "CAST does not accept integer (line 1, column 13)."),
        ("cast(day AS BOOLEAN)", "CAST does not accept date (line 1, column 13)."),
        ("sqrt(city)", "SQRT does not accept text (line 1, column 13)."),
    ],
)
def test_types_a_function_does_not_take(text, sentence):
    assert refusal(lambda: term(text), "sql.type_mismatch").say("en") == sentence


@pytest.mark.parametrize(
    "name",
    ["error('x')", "random()", "hash(age)", "query('x')", "getvariable('x')", "current_setting('x')", "now()",
     "read_text('x')", "nextval('s')", "uuid()", "list_sum([1])", "repeat(city, 9)", "sleep_ms(1)", "md5(city)",
     "columns('a')"],
)  # fmt: skip
def test_what_is_not_listed_does_not_exist(name):
    problem = refusal(lambda: term(name), "sql.unknown_function")
    assert listed() in problem.advise("en")

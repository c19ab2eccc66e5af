"""Operators: the exact text each becomes, what is known of it, and every refusal by name and place."""

from __future__ import annotations

import itertools
import math
from datetime import date
from decimal import Decimal
from fractions import Fraction

import pytest

from privacy.facts import ColumnFacts, Kind
from privacy.sql.expressions import MAX_REPEATED, Reader, quote_name
from privacy.sql.resolve import RowScope, stored
from privacy.sql.terms import quote_text
from tests.fakes.ward import SCOPE, node, refusal, term, with_columns, written

INT, NUM = Kind.INTEGER, Kind.NUMBER


@pytest.mark.parametrize(
    ("text", "sql", "kind", "low", "high", "step"),
    [
        ("7", "7::BIGINT", INT, 7, 7, 7),
        ("0", "0::BIGINT", INT, 0, 0, 0),
        ("1.50", "1.5::DOUBLE", NUM, "3/2", "3/2", "3/2"),
        (".5", "0.5::DOUBLE", NUM, "1/2", "1/2", "1/2"),
        ("1e3", "1000.0::DOUBLE", NUM, 1000, 1000, 1000),
        ("9223372036854775807", "9223372036854775807::BIGINT", INT, 2**63 - 1, 2**63 - 1, 2**63 - 1),
        ("(age)", "{age}", INT, 0, 120, 1),
        ("-age", "(- {age})", INT, -120, 0, 1),
        ("-stock", "TRY((- {stock}))", INT, None, None, 1),
        ("-(1.5)", "(- 1.5::DOUBLE)", NUM, "-3/2", "-3/2", "3/2"),
        ("age + 1", "({age} + 1::BIGINT)", INT, 1, 121, 1),
        ("age - amount", "({age} - {amount})", NUM, -5000, 120, "1/100"),
        ("stock + 1", "TRY(({stock} + 1::BIGINT))", INT, None, None, 1),
        ("amount + stock", "({amount} + {stock})", NUM, None, None, "1/100"),
        ("age * grade", "({age} * {grade})", INT, -240, 360, 1),
        ("2 * fee", "(2::BIGINT * {fee})", INT, 0, 180_000, 600),
        ("score * score", "({score} * {score})", NUM, -100, 100, "1/16"),
        ("age / 2", "({age} / 2::BIGINT)", NUM, 0, 60, "1/2"),
        ("age / grade", "({age} / {grade})", NUM, None, None, None),
        ("age + NULL", "TRY(({age} + NULL))", INT, None, None, None),
        ("age // 7", "TRY({age} // 7::BIGINT)", INT, 0, 18, 1),
        ("age // 0", "TRY({age} // 0::BIGINT)", INT, None, None, 1),
        ("grade % 7", "TRY({grade} % 7::BIGINT)", INT, -6, 6, 1),
        ("age % -5", "TRY({age} % (- 5::BIGINT))", INT, 0, 4, 1),
        ("-age % 5", "TRY((- {age}) % 5::BIGINT)", INT, -4, 0, 1),
        ("score % 2", "TRY({score} % 2::BIGINT)", NUM, -2, 2, "1/4"),
        ("stock % stock", "TRY({stock} % {stock})", INT, None, None, 1),
        ("NULL % NULL", "TRY(NULL % NULL)", INT, None, None, None),
        ("if(urgent, age, amount)", '(CASE WHEN t0."urgent" THEN {age} ELSE {amount} END)', NUM, 0, 5000, "1/100"),
        ("CASE WHEN urgent THEN NULL END", '(CASE WHEN t0."urgent" THEN NULL END)', None, None, None, 0),
        ("if(urgent, age, -1)", '(CASE WHEN t0."urgent" THEN {age} ELSE (- 1::BIGINT) END)', INT, -1, 120, 1),
        ("if(urgent, age)", '(CASE WHEN t0."urgent" THEN {age} END)', INT, 0, 120, 1),
    ],
)  # fmt: skip
def test_numbers_carry_their_range_and_their_lattice(text, sql, kind, low, high, step):
    found = term(text)
    assert (found.sql, found.kind) == (written(sql), kind)
    assert [found.low, found.high, found.step] == [None if v is None else Fraction(v) for v in (low, high, step)]


@pytest.mark.parametrize(
    ("text", "sql", "nullable"),
    [
        ("TRUE", "TRUE", False),
        ("false", "FALSE", False),
        ("age = 1", "({age} = 1::BIGINT)", False),
        ("age <> amount", "({age} <> {amount})", True),
        ("age != 1", "({age} <> 1::BIGINT)", False),
        ("city < 'it''s'", "({city} < 'it''s')", False),
        ("city <= dept", "({city} <= {dept})", True),
        ("age > 1.5", "({age} > 1.5::DOUBLE)", False),
        ("age >= NULL", "({age} >= NULL)", True),
        ("age IS DISTINCT FROM NULL", "({age} IS DISTINCT FROM NULL)", False),
        ("grade IS NOT DISTINCT FROM 3", "({grade} IS NOT DISTINCT FROM 3::BIGINT)", False),
        ("day = '2024-01-01'", "(t0.\"day\" = DATE '2024-01-01')", False),
        ("at < '2024-01-01'", "(t0.\"at\" < TIMESTAMP '2024-01-01 00:00:00')", False),
        ("day <= at", '(TRY_CAST(t0."day" AS TIMESTAMP) <= t0."at")', False),
        ("urgent AND age > 3", '(t0."urgent" AND ({age} > 3::BIGINT))', True),
        ("age > 3 OR age < 1", "(({age} > 3::BIGINT) OR ({age} < 1::BIGINT))", False),
        ("NOT urgent", '(NOT t0."urgent")', True),
        ("grade IS NULL", "({grade} IS NULL)", False),
        ("grade IS NOT NULL", "(NOT ({grade} IS NULL))", False),
        ("urgent IS TRUE", '(t0."urgent" IS TRUE)', False),
        ("urgent IS NOT FALSE", '(NOT (t0."urgent" IS FALSE))', False),
        ("age IN (1, 2)", "({age} IN (1::BIGINT, 2::BIGINT))", False),
        ("age NOT IN (1, NULL)", "(NOT ({age} IN (1::BIGINT, NULL)))", True),
        ("day IN ('2024-01-01')", "(t0.\"day\" IN (DATE '2024-01-01'))", False),
        ("age BETWEEN 1 AND grade", "({age} BETWEEN 1::BIGINT AND {grade})", True),
        ("age NOT BETWEEN 1 AND 2", "(NOT ({age} BETWEEN 1::BIGINT AND 2::BIGINT))", False),
        ("city LIKE '东%'", "({city} LIKE '东%')", False),
        ("city NOT LIKE '东%'", "({city} NOT LIKE '东%')", False),
        ("city ILIKE dept", "({city} ILIKE {dept})", True),
        ("city NOT ILIKE dept", "({city} NOT ILIKE {dept})", True),
    ],
)
def test_conditions_are_rebuilt_and_know_whether_they_can_be_unknown(text, sql, nullable):
    found = term(text)
    assert (found.sql, found.kind, found.nullable) == (written(sql), Kind.BOOLEAN, nullable)


@pytest.mark.parametrize(
    ("text", "domain"),
    [
        ("'大'", ("大",)),
        ("5", (5,)),
        ("1.5", (1.5,)),
        ("-level", (-3, -2, -1)),
        ("-rate", (-1.0, -0.25)),
        ("floor(age / 50)", (0.0, 1.0, 2.0)),
        ("floor(age / 50) * 50", (0.0, 50.0, 100.0)),
        ("floor(age / 50) * 0.5", None),
        ("floor(amount)", None),
        ("floor(stock)", None),
        ("if(urgent, 1, 2.5)", (1.0, 2.5)),
        ("rate", (0.25, 1.0)),
        ("city", ("东", "西")),
        ("dept", None),
        ("urgent", (False, True)),
        ("age > 3", (False, True)),
        ("CASE WHEN age > 3 THEN '小' WHEN urgent THEN '大' ELSE '小' END", ("大", "小")),
        ("CASE city WHEN '东' THEN 1 ELSE 0 END", (0, 1)),
        ("CASE WHEN urgent THEN dept ELSE '大' END", None),
        ("if(urgent, NULL, 'x')", ("x",)),
    ],
)
def test_the_values_an_expression_can_take(text, domain):
    assert term(text).domain == domain


def test_a_case_over_days_spans_them():
    found = term("CASE WHEN urgent THEN day ELSE '2024-12-31' END")
    assert (found.kind, found.since, found.until) == (Kind.DATE, date(2023, 1, 5), date(2024, 12, 31))


def test_what_stands_behind_case_is_compared_with_each_value():
    found = term("CASE city WHEN '东' THEN 1 WHEN dept THEN 2 END")
    assert found.sql == written("(CASE WHEN {city} = '东' THEN 1::BIGINT WHEN {city} = {dept} THEN 2::BIGINT END)")


#: Text over two whole columns, and what it means for a row that holds (a, b).
MEANINGS = {
    "a + b": lambda a, b: a + b,
    "a - b": lambda a, b: a - b,
    "a * b": lambda a, b: a * b,
    "-a": lambda a, b: -a,
    "a / b": lambda a, b: a / b if b else None,
    "a / 4": lambda a, b: a / 4,
    "a // b": lambda a, b: math.trunc(a / b) if b else None,
    "b // a": lambda a, b: math.trunc(b / a) if a else None,
    "a % b": lambda a, b: a - b * math.trunc(a / b) if b else None,
    "b % 3": lambda a, b: b - 3 * math.trunc(b / 3),
    "-b % 3": lambda a, b: -b - 3 * math.trunc(-b / 3),
    "abs(a)": lambda a, b: abs(a),
    "sign(a)": lambda a, b: Fraction((a > 0) - (a < 0)),
    "a * a - b * (a + 1)": lambda a, b: a * a - b * (a + 1),
    "power(a, 2)": lambda a, b: a**2,
    "power(a, 3)": lambda a, b: a**3,
    "power(b, 1) / 10": lambda a, b: b / 10,
    "least(a, b)": lambda a, b: min(a, b),
    "greatest(a, b, 1)": lambda a, b: max(a, b, 1),
    "round(a / 4)": lambda a, b: Fraction(math.floor(a / 4 + Fraction(1, 2))),
    "round(a / 8, 1)": lambda a, b: Fraction(round(a / 8 * 10), 10),
    "floor(a / 4)": lambda a, b: math.floor(a / 4),
    "ceil(a / 4)": lambda a, b: math.ceil(a / 4),
    "trunc(a / 4)": lambda a, b: math.trunc(a / 4),
    "CASE WHEN a > b THEN a ELSE b * 2 END": lambda a, b: a if a > b else b * 2,
    "coalesce(nullif(a, b), 9)": lambda a, b: a if a != b else 9,
    "cast(a / 4 AS BIGINT)": lambda a, b: round(a / 4),
    "cast(a > b AS BIGINT) * 3": lambda a, b: 3 * (a > b),
    "exp(b)": lambda a, b: Fraction(math.exp(b)),
    "sqrt(b)": lambda a, b: Fraction(math.sqrt(b)),
    "ln(b + 1)": lambda a, b: Fraction(math.log(b + 1)),
    "log10(b + 1)": lambda a, b: Fraction(math.log10(b + 1)),
}  # fmt: skip


@pytest.mark.parametrize("text", MEANINGS)
def test_every_row_lies_in_the_range_and_on_the_lattice(text):
    ends = {"a": (-7, 5), "b": (0, 6)}
    facts = with_columns(
        *(ColumnFacts(name=n, kind=INT, lower=Decimal(a), upper=Decimal(b)) for n, (a, b) in ends.items())
    )
    found = Reader(RowScope((stored("t", "t0", facts.tables[0]),))).read(node(text))
    for a, b in itertools.product(range(-7, 6), range(7)):
        value = MEANINGS[text](Fraction(a), Fraction(b))
        if value is None:
            assert found.nullable or found.low is None
            continue
        assert found.low is None or found.low <= value, (a, b)
        assert found.high is None or value <= found.high, (a, b)
        assert not found.step or (Fraction(value) / found.step).denominator == 1, (a, b)
        assert found.key_domain is None or value in found.key_domain, (a, b)


@pytest.mark.parametrize(
    ("text", "code", "column"),
    [
        ("9223372036854775808", "sql.bad_literal", 8),
        ("1e999", "sql.bad_literal", 8),
        ("1e9999", "sql.bad_literal", 8),
        ("1" * 41, "sql.bad_literal", 8),
        ("day = 'x'", "sql.bad_literal", 14),
        ("-city", "sql.type_mismatch", 9),
        ("age + city", "sql.type_mismatch", 14),
        ("age // amount", "sql.type_mismatch", 15),
        ("age >= city", "sql.type_mismatch", 8),
        ("urgent AND age", "sql.type_mismatch", 19),
        ("NOT age", "sql.type_mismatch", 12),
        ("age IS TRUE", "sql.type_mismatch", 8),
        ("age IN (1, 'a')", "sql.type_mismatch", 8),
        ("1 < 2 < 3", "sql.type_mismatch", 8),
        ("age LIKE '1'", "sql.type_mismatch", 8),
        ("CASE WHEN age THEN 1 END", "sql.type_mismatch", 18),
        ("CASE age WHEN 'x' THEN 1 END", "sql.type_mismatch", 13),
        ("CASE WHEN TRUE THEN 1 ELSE 'x' END", "sql.type_mismatch", 28),
        ("median(age)", "sql.misplaced_aggregate", 8),
        ("first(age IGNORE NULLS)", "sql.unknown_aggregate", 8),
        ("any_value(age)", "sql.unknown_aggregate", 18),
        ("count(*)", "sql.misplaced_aggregate", 8),
        ("sum(age)", "sql.misplaced_aggregate", 8),
        ("error('x')", "sql.unknown_function", 8),
        ("random()", "sql.unknown_function", 8),
        ("list_transform([1], x -> x)", "sql.unknown_function", 8),
        ("nothing", "sql.unknown_column", 8),
        ("other.age", "sql.unknown_column", 14),
        ("person_id", "sql.unit_column", 8),
        ("age + person_id", "sql.unit_column", 14),
    ],
)
def test_refusals_say_which_rule_and_where(text, code, column):
    problem = refusal(lambda: term(text), code)
    assert f"(line 1, column {column})" in problem.say("en")
    assert f"（第 1 行第 {column} 列）" in problem.say("zh-CN")


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("sum(age) OVER ()", "a window (OVER)"),
        ("(SELECT 1)", "a subquery"),
        ("age IN (SELECT 1)", "a subquery"),
        ("EXISTS (SELECT 1)", "EXISTS"),
        ("*", "* (all columns)"),
        ("?", "a parameter"),
        ("$1", "a parameter"),
        ("INTERVAL '1 day'", "INTERVAL"),
        ("city COLLATE nocase", "COLLATE"),
        ("city[1]", "an index [ ]"),
        ("city GLOB 'a'", "the construct GLOB"),
        ("age IS 3", "IS with anything but NULL, TRUE or FALSE"),
        ("age IN ()", "IN without a list of values"),
        ("age BETWEEN SYMMETRIC 1 AND 3", "BETWEEN … SYMMETRIC"),
        ("public.visits.age", "COLUMN … DB"),
    ],
)
def test_a_construct_outside_the_dialect_is_named(text, named):
    problem = refusal(lambda: term(text), "sql.unsupported")
    assert problem.say("en").startswith(f"{named} is not accepted")


@pytest.mark.parametrize(
    ("text", "nearest"),
    [
        ("sum(age) OVER ()", "QUALIFY"),
        ("age IN (SELECT 1)", "A subquery may stand in FROM"),
        ("EXISTS (SELECT 1)", "behind IN or EXISTS"),
        ("INTERVAL 1 DAY", "d + INTERVAL 3 MONTH"),
        ("city[1]", "SELECT … FROM"),
    ],
)
def test_a_refusal_names_the_nearest_thing_that_is_accepted(text, nearest):
    assert nearest in refusal(lambda: term(text), "sql.unsupported").advise("en")


def test_an_unknown_function_is_named_and_the_known_ones_are_listed():
    problem = refusal(lambda: term("READ_CSV('/etc/passwd')"), "sql.unknown_function")
    assert problem.say("en") == "The function read_csv is not accepted (line 1, column 8)."
    assert "date_trunc" in problem.advise("en")


def test_operands_of_different_families_are_all_named():
    problem = refusal(lambda: term("coalesce(age, amount, city)"), "sql.type_mismatch")
    assert problem.say("en") == "COALESCE does not accept integer, number, text (line 1, column 17)."
    assert problem.say("zh-CN") == "COALESCE 不接受 integer, number, text 类型（第 1 行第 17 列）。"
    assert "operands of one type" in problem.advise("en")


def test_a_long_operand_is_not_written_out_again_and_again():
    long = " || ".join(["dept"] * 30)
    assert len(term(long).sql) > MAX_REPEATED
    for text in (f"CASE {long} WHEN 'a' THEN 1 WHEN 'b' THEN 2 END", f"nullif({long}, 'a')"):
        problem = refusal(lambda text=text: term(text), "sql.unsupported")
        assert problem.advise("en") == "Write CASE WHEN … THEN … END."


def test_a_reader_reads_a_node_once_and_refuses_it_the_same_way_again():
    class Counting:
        calls = 0

        def known(self, node):
            self.calls += 1

        def column(self, node):
            return SCOPE.column(node)

    scope = Counting()
    reader = Reader(scope)
    good, bad = node("age"), node("nothing")
    assert reader.read(good) is reader.read(good)
    first = refusal(lambda: reader.read(bad), "sql.unknown_column")
    assert refusal(lambda: reader.read(bad), "sql.unknown_column") is first
    assert scope.calls == 2


def test_a_scope_that_knows_an_expression_as_a_whole_is_believed():
    known = term("amount")

    class Knowing:
        def known(self, node):
            return known

        def column(self, node):
            raise AssertionError("never asked")

    assert Reader(Knowing()).read(node("age + 1")) is known


@pytest.mark.parametrize(("value", "text"), [("it's", "'it''s'"), ("", "''"), ("';--", "''';--'"), ('"', "'\"'")])
def test_text_is_quoted(value, text):
    assert quote_text(value) == text


@pytest.mark.parametrize(("value", "name"), [('a"b', '"a""b"'), ("列", '"列"'), ("a'b", '"a\'b"')])
def test_names_are_quoted(value, name):
    assert quote_name(value) == name

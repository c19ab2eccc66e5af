"""Interval arithmetic on public bounds: whatever a row holds, the range, the lattice and the domain contain it."""

from __future__ import annotations

import math
from datetime import date, datetime, timedelta
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlglot import exp

from privacy.facts import Kind
from privacy.sql import terms
from privacy.sql.terms import MAX_DERIVED_DOMAIN, SAFE_INTEGER, Term
from tests.fakes.ward import refusal

quick = settings(max_examples=50, deadline=None)
STEPS = [Fraction(1), Fraction(1, 100), Fraction(1, 4), Fraction(5), Fraction(300), Fraction(2, 3)]
UNITS = ("day", "week", "month", "quarter", "year")
HERE = exp.column("x")
days = st.dates(date(1999, 1, 1), date(2040, 12, 31))


@st.composite
def held(draw: st.DrawFn) -> tuple[Term, Fraction]:
    """A term with a range on a lattice, and a value that a row of it may hold."""
    step = draw(st.sampled_from(STEPS))
    low, value, high = sorted(draw(st.lists(st.integers(-50, 50), min_size=3, max_size=3)))
    kind = Kind.INTEGER if step.denominator == 1 else Kind.NUMBER
    known = Term(sql="x", kind=kind, nullable=draw(st.booleans()), low=low * step, high=high * step, step=step)
    return known, value * step


def holds(term: Term, value: Fraction) -> bool:
    inside = (term.low is None or term.low <= value) and (term.high is None or value <= term.high)
    return inside and (term.step is None or (value == 0 if term.step == 0 else (value / term.step).denominator == 1))


@quick
@given(held(), held(), st.booleans())
def test_a_sum_lies_in_its_range_and_on_its_lattice(a, b, minus):
    found = terms.add(a[0], b[0], "s", minus=minus)
    assert holds(found, a[1] - b[1] if minus else a[1] + b[1])
    width = (a[0].high - a[0].low) + (b[0].high - b[0].low)
    assert found.high - found.low == width, "no wider than it must be"
    assert found.nullable == (a[0].nullable or b[0].nullable)


@quick
@given(held(), held())
def test_a_product_lies_in_its_range_and_on_its_lattice(a, b):
    found = terms.multiply(a[0], b[0], "p")
    assert holds(found, a[1] * b[1])
    ends = [x * y for x in (a[0].low, a[0].high) for y in (b[0].low, b[0].high)]
    assert {found.low, found.high} <= set(ends), "both ends are reached"


@quick
@given(held(), held())
def test_a_quotient_lies_in_its_range(a, b):
    found = terms.divide(a[0], b[0], "q")
    assert found.kind is Kind.NUMBER
    if b[0].low <= 0 <= b[0].high:
        assert (found.low, found.high, found.step) == (None, None, None), "near zero everything is possible"
    else:
        assert found.low is not None
        assert holds(found, a[1] / b[1])
    assert found.step is None or b[0].low == b[0].high


def test_a_quotient_by_a_constant_keeps_a_lattice():
    found = terms.divide(
        Term(sql="", kind=Kind.INTEGER, low=Fraction(0), high=Fraction(9), step=Fraction(3)),
        Term(sql="", kind=Kind.INTEGER, low=Fraction(-2), high=Fraction(-2), step=Fraction(2)),
        "",
    )
    assert (found.low, found.high, found.step) == (Fraction(-9, 2), Fraction(0), Fraction(3, 2))


@quick
@given(held(), st.integers(-3, 3))
def test_every_rounding_lies_in_its_range(a, digits):
    found = terms.rounded(a[0], "r", digits, Kind.NUMBER)
    unit = Fraction(10) ** -digits
    for rounding in (math.floor, math.ceil, math.trunc, lambda v: math.floor(v + Fraction(1, 2)), round):
        assert holds(found, rounding(a[1] / unit) * unit)


@quick
@given(st.lists(held(), min_size=1, max_size=4))
def test_a_choice_holds_whatever_any_branch_holds(choices):
    found = terms.hull("h", [t for t, _ in choices], nullable=False)
    assert all(holds(found, value) for _, value in choices)
    assert found.low == min(t.low for t, _ in choices)
    assert found.high == max(t.high for t, _ in choices)


@quick
@given(st.lists(st.fractions(-20, 20, max_denominator=30), min_size=1, max_size=5))
def test_the_joint_step_is_the_greatest_common_divisor(steps):
    joint = terms.joint_step(steps)
    if not any(steps):
        assert joint == 0
        return
    quotients = [s / joint for s in steps]
    assert all(q.denominator == 1 for q in quotients)
    assert math.gcd(*(int(q) for q in quotients)) == 1


def test_zero_has_no_sign_among_keys():
    assert str(terms.doubles((Fraction(1), -0.0, 2, "x"))) == "(0.0, 1.0, 2.0)"


def test_a_joint_step_without_a_lattice_is_none():
    assert terms.joint_step([Fraction(1), None]) is None
    assert terms.joint_step([]) == 0


def test_one_open_end_opens_the_whole():
    ends = [Fraction(1), Fraction(3)]
    assert (terms.lowest(ends), terms.highest(ends)) == (1, 3)
    assert terms.lowest([*ends, None]) is terms.highest([None, *ends]) is None
    open_ended = Term(sql="x", kind=Kind.INTEGER, low=Fraction(1))
    for found in (
        terms.add(open_ended, open_ended, "", minus=False),
        terms.add(open_ended, open_ended, "", minus=True),
        terms.multiply(open_ended, open_ended, ""),
        terms.divide(open_ended, open_ended, ""),
        terms.rounded(Term(sql="", kind=Kind.NUMBER), "", 0, Kind.NUMBER),
    ):
        assert found.high is None
    assert terms.add(open_ended, open_ended, "", minus=False).low == 2
    fixed = Term(sql="2", kind=Kind.INTEGER, low=Fraction(2), high=Fraction(2), step=Fraction(2))
    assert terms.divide(open_ended, fixed, "").low is None, "no corners of an open range"


@pytest.mark.parametrize(
    ("kinds", "joint"),
    [
        ([], None),
        ([None, None], None),
        ([None, Kind.INTEGER], Kind.INTEGER),
        ([Kind.INTEGER, Kind.NUMBER], Kind.NUMBER),
        ([Kind.NUMBER, Kind.INTEGER, None], Kind.NUMBER),
        ([Kind.DATE, None], Kind.DATE),
        ([Kind.TEXT, Kind.NUMBER], Kind.TEXT),
    ],
)
def test_the_kind_that_holds_all(kinds, joint):
    assert terms.joint_kind([Term(sql="", kind=k) for k in kinds]) is joint


def test_numbers_of_absurd_size_are_forgotten():
    small, huge = Fraction(2**512 - 1, 3), Fraction(2**512)
    kept = Term(sql="", kind=Kind.NUMBER, low=small, high=huge, step=1 / huge)
    assert (kept.low, kept.high, kept.step) == (small, None, None)


@pytest.mark.parametrize(
    ("kind", "low", "high", "safe"),
    [
        (Kind.NUMBER, None, None, True),
        (Kind.INTEGER, None, 1, False),
        (Kind.INTEGER, 1, None, False),
        (Kind.INTEGER, -SAFE_INTEGER, SAFE_INTEGER, True),
        (Kind.INTEGER, -SAFE_INTEGER - 1, 0, False),
        (Kind.INTEGER, 0, SAFE_INTEGER + 1, False),
    ],
)
def test_arithmetic_is_tried_unless_it_stays_far_from_the_ends(kind, low, high, safe):
    ends = {"low": None if low is None else Fraction(low), "high": None if high is None else Fraction(high)}
    known = Term(sql="a + b", kind=kind, nullable=False, **ends)
    found = terms.total(known)
    assert known.safe is safe
    assert found == known if safe else (found.sql, found.nullable) == ("TRY(a + b)", True)


def test_kinds_that_are_numbers():
    assert [Term(sql="", kind=k).numeric for k in (Kind.INTEGER, Kind.NUMBER, Kind.TEXT, None)] == [
        True,
        True,
        False,
        False,
    ]


def integer(low: object, high: object, step: object) -> Term:
    ends = [None if v is None else Fraction(v) for v in (low, high, step)]
    return Term(sql="", kind=Kind.INTEGER, low=ends[0], high=ends[1], step=ends[2])


@pytest.mark.parametrize(
    ("term", "domain"),
    [
        (integer(-3, 8, 3), (-3, 0, 3, 6)),
        (integer("1/2", "5/2", 1), (1, 2)),
        (integer(5, 5, 5), (5,)),
        (integer(0, MAX_DERIVED_DOMAIN - 1, 1), tuple(range(MAX_DERIVED_DOMAIN))),
        (integer(0, MAX_DERIVED_DOMAIN, 1), None),
        (integer(None, 5, 1), None),
        (integer(5, None, 1), None),
        (integer(0, 5, None), None),
        (integer(0, 0, 0), None),
        (Term(sql="", kind=Kind.NUMBER, low=Fraction(0), high=Fraction(1), step=Fraction(1)), None),
        (Term(sql="", kind=Kind.TEXT, domain=("a",)), ("a",)),
    ],
)
def test_an_expression_of_few_whole_values_lists_them(term, domain):
    assert term.key_domain == domain


def test_a_choice_among_listed_values_lists_them_once_in_order():
    a, b = Term(sql="", kind=Kind.TEXT, domain=("乙", "a")), Term(sql="", kind=Kind.TEXT, domain=("b", "a"))
    null = Term(sql="NULL", kind=None)
    assert terms.hull("", [a, b, null], nullable=True).domain == ("a", "b", "乙")
    assert terms.hull("", [a, Term(sql="", kind=Kind.TEXT)], nullable=True).domain is None
    assert terms.hull("", [null], nullable=True).kind is None


def test_a_choice_among_days_spans_them():
    first = Term(sql="", kind=Kind.DATE, since=date(2024, 1, 1), until=date(2024, 1, 9))
    other = Term(sql="", kind=Kind.DATE, since=date(2023, 5, 1), until=date(2023, 5, 2))
    span = terms.hull("", [first, other], nullable=False)
    assert (span.since, span.until) == (date(2023, 5, 1), date(2024, 1, 9))
    unknown = terms.hull("", [first, Term(sql="", kind=Kind.DATE)], nullable=False)
    assert (unknown.since, unknown.until) == (None, None)


@quick
@given(days, st.sampled_from(UNITS))
def test_the_first_day_of_a_unit_is_the_last_one_not_after_the_day(day, unit):
    starts = {
        "day": lambda d: True,
        "week": lambda d: d.isoweekday() == 1,
        "month": lambda d: d.day == 1,
        "quarter": lambda d: d.day == 1 and d.month in (1, 4, 7, 10),
        "year": lambda d: (d.month, d.day) == (1, 1),
    }
    brute = next(d for k in range(400) if starts[unit](d := day - timedelta(days=k)))
    assert terms.first_day(unit, day) == brute


@quick
@given(days, st.integers(0, 900), st.sampled_from(UNITS))
def test_the_days_of_a_calendar_equal_a_walk_day_by_day(since, length, unit):
    until = since + timedelta(days=length)
    brute = sorted({terms.first_day(unit, since + timedelta(days=k)) for k in range(length + 1)})
    assert terms.days_by(unit, since, until) == tuple(brute)


def test_a_calendar_of_too_many_days_is_not_listed():
    since = date(2000, 1, 1)
    assert len(terms.days_by("day", since, since + timedelta(days=MAX_DERIVED_DOMAIN - 1)) or ()) == MAX_DERIVED_DOMAIN
    assert terms.days_by("day", since, since + timedelta(days=MAX_DERIVED_DOMAIN)) is None


def literal(value: str) -> Term:
    return Term(sql=f"'{value}'", kind=Kind.TEXT, nullable=False, domain=(value,), literal=value)


def test_a_text_literal_beside_a_day_is_read_as_one():
    day = terms.as_day(literal("2024-02-29"), HERE, Kind.DATE)
    assert (day.sql, day.kind, day.literal) == ("DATE '2024-02-29'", Kind.DATE, date(2024, 2, 29))
    assert day.since == day.until == date(2024, 2, 29)
    moment = terms.as_day(literal("2024-02-29T10:30"), HERE, Kind.TIMESTAMP)
    assert moment.sql == "TIMESTAMP '2024-02-29 10:30:00'"
    assert moment.literal == datetime.fromisoformat("2024-02-29 10:30")
    assert terms.as_day(literal("2024-02-29 00:00:00"), HERE, Kind.DATE).sql == "DATE '2024-02-29'"


@pytest.mark.parametrize(
    "text",
    [
        "2024-02-30",
        "2024-1-1",
        "yesterday",
        "2024-01-01 25:00",
        "2024-01-01 10:30",
        "20240101",
        "２０２４-01-01",
        "2024-01-01Z",
        "",
    ],
)
def test_a_text_literal_that_is_no_day_is_refused(text):
    problem = refusal(lambda: terms.as_day(literal(text), HERE, Kind.DATE), "sql.bad_literal")
    assert problem.params["kind"] == "date"


def test_only_text_literals_become_days():
    for other in (Term(sql="x", kind=Kind.TEXT), Term(sql="1", kind=Kind.INTEGER, literal=1)):
        assert terms.as_day(other, HERE, Kind.DATE) is other


def test_a_day_among_moments_becomes_its_first_moment():
    day = Term(sql="d", kind=Kind.DATE, since=date(2024, 1, 1), until=date(2024, 1, 1), domain=(date(2024, 1, 1),))
    found = terms.as_moment(day)
    assert (found.sql, found.kind, found.domain, found.since) == (
        "TRY_CAST(d AS TIMESTAMP)",
        Kind.TIMESTAMP,
        None,
        date(2024, 1, 1),
    )
    assert terms.as_moment(found) is found


def test_a_required_kind_lets_null_pass_and_refuses_the_rest():
    terms.require_kind(Term(sql="NULL", kind=None), HERE, "SUM", Kind.INTEGER)
    terms.require_kind(Term(sql="1", kind=Kind.INTEGER), HERE, "SUM", Kind.INTEGER)
    text = Term(sql="x", kind=Kind.TEXT)
    problem = refusal(lambda: terms.require_kind(text, HERE, "SUM", Kind.INTEGER, Kind.NUMBER), "sql.type_mismatch")
    assert problem.say("en") == "SUM does not accept text."
    assert problem.advise("en") == "It accepts integer, number; convert with CAST(… AS …)."


def test_a_truth_is_unknown_when_an_operand_is():
    sure, unsure = Term(sql="", kind=Kind.TEXT, nullable=False), Term(sql="", kind=Kind.TEXT)
    assert terms.truth("", [sure, unsure]).nullable
    assert not terms.truth("", [sure]).nullable
    assert not terms.truth("", [unsure], nullable=False).nullable
    assert terms.truth("", [sure]).domain == (False, True)

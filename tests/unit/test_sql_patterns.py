"""Regular expressions: which are read, how large they may be; and the formats of days."""

from __future__ import annotations

from datetime import date

import pytest

from privacy.sql import formats
from privacy.sql.patterns import MAX_PATTERN, MAX_SIZE, BadPattern, groups_of
from privacy.sql.terms import MAX_DERIVED_DOMAIN


@pytest.mark.parametrize(
    ("pattern", "groups"),
    [
        ("", 0),
        ("abc", 0),
        ("^a.b$|^$", 0),
        (r"\d+\.\d{2}", 0),
        (r"\bA\B\t\\\*", 0),
        ("(a|b)*?(c(d)?)+", 3),
        ("(?:ab){2,5}(x)", 1),
        ("[a-z][^0-9_][-x][x-][中-文]", 0),
        (r"[\d\]\\.a]{3,}", 0),
        ("(a|)(|b)()", 3),
        ("a{0}b{1}c{2,2}", 0),
        ("x" * (MAX_PATTERN - 1), 0),
        ("(.{13}){13}", 1),
    ],
)
def test_patterns_that_are_accepted(pattern, groups):
    assert groups_of(pattern) == groups


@pytest.mark.parametrize(
    "pattern",
    [
        "x" * (MAX_PATTERN + 1), "(.{15}){14}", "a{201}", "((a{10}){10}){2}",
        "(", ")", "a)", "(a", "(?:a", "(?=a)", "(?!a)", "(?<n>a)", "(?i)a", "[", "[]", "[^]", "[a", "[b-a]", "[\\d-z]", "[a-\\w]",
        "[[:alpha:]]", "[a&&b]", "[a--b]", "]", "}", "{", "a{", "a{}", "a{,2}", "a{2,1}", "a{x}", "a{-1}", "a{٣}", "a{0000}",
        "*", "+a", "?", "a**", "a+*", "a{2}{3}", "^*", "$+", "\\b{2}", "|*", "(*)", "\\", "a\\", "\\1", "\\pL", "\\x41", "\\Q",
        "\\z", "[\\b]", "[a-",
    ],
)  # fmt: skip
def test_patterns_that_are_not(pattern):
    with pytest.raises(BadPattern):
        groups_of(pattern)


def test_a_pattern_is_as_large_as_with_all_repeats_written_out():
    assert groups_of(f"a{{{MAX_SIZE - 1}}}") == 0
    with pytest.raises(BadPattern):
        groups_of("(a{30}){7}")
    with pytest.raises(BadPattern):
        groups_of("(" * 10 + "a" + "+)" * 10)


@pytest.mark.parametrize(
    ("text", "known"),
    [
        ("%Y-%m", True),
        ("", True),
        ("%%", True),
        ("%", False),
        ("%q", False),
        ("x" * formats.MAX_FORMAT, True),
        ("x" * 41, False),
    ],
)
def test_formats_that_are_accepted(text, known):
    assert (formats.pieces_of(text) is not None) is known


FIRST, LAST = date(2023, 11, 30), date(2024, 3, 1)


def texts(form, since=FIRST, until=LAST):
    return formats.texts(formats.pieces_of(form), since, until)


@pytest.mark.parametrize(
    ("form", "count", "first", "last"),
    [
        ("%Y-%m", 5, "2023-11", "2024-03"),
        ("%B %y", 5, "December 23", "November 23"),
        ("%d", 31, "01", "31"),
        ("%a", 7, "Fri", "Wed"),
        ("%H:%M", None, None, None),
        ("%H%%", 24, "00%", "23%"),
        ("Q", 1, "Q", "Q"),
        ("%Y-%m-%d %H", None, None, None),
    ],
)
def test_the_texts_between_two_days(form, count, first, last):
    found = texts(form)
    assert (found and (len(found), found[0], found[-1])) == (count and (count, first, last))


def test_what_is_not_known_of_few_is_not_listed():
    assert texts("%Y", None, LAST) is texts("%Y", FIRST, None) is None
    assert texts("%Y", date(999, 1, 1)) is None
    assert texts("%Y-%m", date(1900, 1, 1)) is None, "more months than are listed"
    assert len(texts("%d", date(1900, 1, 1))) == 31
    assert len(texts("%V", date(1900, 1, 1))) == 53
    assert len(texts("%m-%d", date(1900, 1, 1))) == 366
    assert texts("%G", date(1900, 1, 1)) is None
    assert texts("%a %V", date(1900, 1, 1)) is None
    assert texts("%Y-%m-%d", date(2020, 1, 1)) is None
    assert len(texts("%Y-%m-%d", date(2022, 1, 1))) <= MAX_DERIVED_DOMAIN

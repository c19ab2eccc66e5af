"""The error tree: two languages, the same placeholders, one code each, and what stays private."""

from __future__ import annotations

import importlib
import pickle
import pkgutil
import re
import string

import pytest

import access
import privacy
from privacy.errors import (
    LANGUAGES,
    Conflict,
    Fault,
    Malformed,
    NotFound,
    Problem,
    Refused,
    Text,
    TooLarge,
    Unauthenticated,
    Unavailable,
    problem_codes,
)
from privacy.sql.problems import BadPosition, TooManyParts

KINDS = (Malformed, Unauthenticated, Refused, NotFound, Conflict, TooLarge, Unavailable, Fault)
HOUSE = ("privacy.", "access.")

for package in (privacy, access):
    for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        importlib.import_module(found.name)


def every_kind(kind: type[Problem] = Problem) -> set[type[Problem]]:
    return {kind, *(below for child in kind.__subclasses__() for below in every_kind(child))}


PROBLEMS = sorted(
    (k for k in every_kind() if k.code and k.__module__.startswith(HOUSE)),
    key=lambda kind: (kind.code, kind.__module__),
)


def placeholders(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}


@pytest.mark.parametrize("kind", PROBLEMS, ids=lambda kind: kind.code)
def test_every_problem_speaks_both_languages_with_the_same_placeholders(kind):
    for text in (kind.sentence, kind.hint):
        assert placeholders(text.en) == placeholders(text.zh)
        assert not placeholders(text.en) & {"", "private"}, "placeholders are named, and private is not one of them"
    wanted = placeholders(kind.sentence.en) | placeholders(kind.hint.en)
    problem = kind(**dict.fromkeys(wanted, Text("words", "字")))
    for lang in LANGUAGES:
        assert problem.say(lang)
        assert problem.advise(lang)
        assert "{" not in problem.say(lang) + problem.advise(lang)
    assert re.search(r"[\u4e00-\u9fff]", kind.sentence.zh)
    assert not re.search(r"[\u4e00-\u9fff]", kind.sentence.en)


@pytest.mark.parametrize("kind", PROBLEMS, ids=lambda kind: kind.code)
def test_every_code_is_dotted_lower_case_and_below_one_kind(kind):
    assert re.fullmatch(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_-]*)*", kind.code)
    assert sum(issubclass(kind, k) for k in KINDS) == 1
    assert kind.__doc__


def test_no_two_problems_share_a_code():
    codes = [k.code for k in PROBLEMS]
    assert sorted(set(codes)) == codes
    assert len(codes) > 25


def test_the_list_of_codes_is_complete_and_sorted():
    listed = problem_codes()
    assert list(listed) == sorted(listed)
    assert {k.code for k in PROBLEMS} <= set(listed)
    assert "" not in listed
    assert listed["fault"] is Fault


def test_a_problem_says_its_sentence_and_its_hint():
    problem = BadPosition(name="LIMIT", low=0, high=9)
    assert str(problem) == problem.say("en") == "LIMIT must be a whole number from 0 to 9."
    assert problem.say("zh-CN") == problem.say("zh") == "LIMIT 必须是 0 到 9 之间的整数。"
    assert problem.advise("zh-Hans") == "请使用 SELECT 列表中的列号，或具体的行数。"


def test_words_among_the_parameters_follow_the_language_and_are_no_template():
    problem = TooManyParts(count=3, part=Text("{joins}", "连接"), limit=2)
    assert problem.say("en") == "The question has 3 {joins}; at most 2 are accepted."
    assert problem.say("zh-CN") == "该问题有 3 个连接，最多允许 2 个。"
    assert TooManyParts(count="{limit}", part="x", limit=2).say("en").startswith("The question has {limit} x")


def test_a_fault_is_one_constant_sentence_whatever_happened():
    one, other = Fault(private="row 7 has a bad cast"), Fault(private="out of memory")
    assert {one.say("en"), other.say("en")} == {"The work could not be completed."}
    assert "row 7" not in one.say("en") + one.advise("en") + str(one) + one.say("zh-CN")
    assert one.private == "row 7 has a bad cast"


def test_a_problem_survives_a_process_boundary():
    problem = pickle.loads(pickle.dumps(TooManyParts(private="p", count=1, part=Text("a", "甲"), limit=2)))
    assert type(problem) is TooManyParts
    assert problem.private == "p"
    assert problem.params == {"count": 1, "part": Text("a", "甲"), "limit": 2}


def test_a_problem_without_its_parameters_cannot_be_made():
    with pytest.raises(KeyError):
        TooManyParts(count=1)

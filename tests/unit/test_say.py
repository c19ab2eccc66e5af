"""Which language a person reads."""

from __future__ import annotations

import pytest

from sandbox import say as words
from sandbox.say import LANGUAGES, choose, language, normal, say, speaking


@pytest.mark.parametrize(
    ("environ", "wanted"),
    [
        ({}, "en"),
        ({"LANG": "zh_CN.UTF-8"}, "zh-CN"),
        ({"LANG": "C.UTF-8"}, "en"),
        ({"LANG": "zh_CN.UTF-8", "LC_ALL": "en_US.UTF-8"}, "en"),
        ({"LANG": "zh_CN.UTF-8", "LC_MESSAGES": "de_DE"}, "en"),
        ({"LANG": "en_US.UTF-8", "SANDBOX_LANG": "zh"}, "zh-CN"),
        ({"SANDBOX_LANG": " ", "LANG": "zh_TW"}, "zh-CN"),
    ],
)
def test_the_environment_chooses_in_order(environ: dict[str, str], wanted: str) -> None:
    assert language(environ) == wanted


def test_a_choice_wins_within_its_block_only() -> None:
    before = language()
    with speaking("zh-CN"):
        assert say("yes", "是") == "是"
        with speaking(None):
            assert language() == "zh-CN"
        with speaking("EN"):
            assert language({"SANDBOX_LANG": "zh"}) == "en"
        assert language() == "zh-CN"
    assert language() == before


def test_choosing_for_good() -> None:
    with speaking("en"):
        choose("zh")
        assert language() == "zh-CN"


def test_placeholders_are_filled_and_braces_without_them_stay() -> None:
    with speaking("en"):
        assert say("{n} of {m:,}", "{m} 中的 {n}", n=1, m=2000) == "1 of 2,000"
        assert say("{plain}", "{原样}") == "{plain}"


def test_names_of_languages() -> None:
    assert {normal(name) for name in ("zh", "ZH-tw", "fr", "")} == set(LANGUAGES)
    assert words.__doc__

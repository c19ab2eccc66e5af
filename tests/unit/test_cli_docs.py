"""The command line is documented: every command, every option, every exit code, in both languages."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import typer

from sandbox import cli
from sandbox.client.reference import FILES, MARK, reference, synopsis, words_of, written
from sandbox.client.terminal import _COMMON, Exit
from sandbox.say import speaking

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize("lang", FILES)
def test_the_reference_is_current(lang: str) -> None:
    text = (DOCS / FILES[lang]).read_text(encoding="utf-8")
    assert MARK in text
    assert text == written(text, lang), "run `python -m sandbox.client.reference`"


@pytest.mark.parametrize("lang", FILES)
def test_every_command_option_and_exit_code_is_there(lang: str) -> None:
    text = (DOCS / FILES[lang]).read_text(encoding="utf-8")
    for verb in cli.VERBS:
        assert f"### `{synopsis(verb)}`" in text
    for flags in [word.flags for verb in cli.VERBS for word in words_of(verb).values()]:
        for flag in flags:
            assert f"`{flag}`" in text
    for name in _COMMON:
        assert f"`--{name}`" in text
    for code in Exit:
        assert re.search(rf"^\| {int(code)} \|", text, re.MULTILINE), code
    assert len(re.findall(r"^\| \d+ \|", text, re.MULTILINE)) == len(Exit)


def test_every_command_has_words_in_both_languages_of_its_own() -> None:
    for verb in cli.VERBS:
        for en, zh in ((verb.en, verb.zh), *((word.en, word.zh) for word in words_of(verb).values())):
            assert en.strip()
            assert re.search(r"[\u4e00-\u9fff]", zh), f"{verb.path}: {en}"
    assert reference("en") != reference("zh-CN")


def test_every_command_can_be_typed() -> None:
    with speaking("en"):
        group = typer.main.get_command(cli.build())
    typed = set()
    for name, command in group.commands.items():  # type: ignore[attr-defined]
        inner = getattr(command, "commands", None)
        typed |= {f"{name} {one}" for one in inner} if inner else {name}
    assert typed == {verb.path for verb in cli.VERBS}


def test_commands_say_what_the_documentation_promises() -> None:
    promised = {
        "login", "logout", "whoami", "datasets list", "datasets show", "datasets draft", "datasets register",
        "datasets upload", "datasets ingest", "datasets report", "ask", "batch", "budget", "jobs list", "jobs show", "jobs watch",
        "jobs cancel", "requests create", "requests list", "requests show", "requests review", "requests grant",
        "requests refuse", "requests return", "requests withdraw", "requests submit", "grants list", "grants show",
        "grants revoke", "grants suspend", "grants resume", "projects list", "projects create", "projects add-member",
        "tokens list", "tokens create", "tokens revoke", "policy explain", "receipt get", "receipt verify", "log head",
        "log entries", "log key",
    }  # fmt: skip
    assert {verb.path for verb in cli.VERBS} == promised

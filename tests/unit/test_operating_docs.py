"""Every command of `sandboxd` is documented in both languages, and nothing else is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import typer.main

from compute.jobs import HEARTBEAT, LEASE, MAX_ATTEMPTS
from sandbox.server import app

DOCS = Path(__file__).parents[2] / "docs"
COMMANDS = set(typer.main.get_command(app).commands)  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["operating.md", "operating.zh-CN.md"])
def test_every_command_is_documented(name: str) -> None:
    text = (DOCS / name).read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `sandboxd (\w+)", text, re.MULTILINE)) == COMMANDS


def test_the_figures_in_the_text_are_those_of_the_code() -> None:
    assert (LEASE.total_seconds(), HEARTBEAT.total_seconds(), MAX_ATTEMPTS) == (10, 2, 6)


def test_every_command_has_a_line_in_both_languages() -> None:
    for name, command in typer.main.get_command(app).commands.items():  # type: ignore[attr-defined]
        english, _, chinese = (command.help or "").partition(" / ")
        assert english, name
        assert re.search("[一-鿿]", chinese), name

"""What the two READMEs tell a newcomer to type works as it stands, against an instance like the one of `make up`."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from sandbox.demo import people
from sandbox.demo.city import TEST_SIZE
from sandbox.demo.stage import RESEARCHER, Stage, prepare
from sandbox.instance import Embedded

ROOT = Path(__file__).parents[2]
READMES = ("README.md", "README.zh-CN.md")
ADDRESS = "http://127.0.0.1:8750"
"""Where `make up` listens, as the READMEs say."""


@dataclass(frozen=True, kw_only=True)
class Newcomer:
    """Somebody with a terminal: an environment and the password that was printed."""

    environ: dict[str, str]
    password: str

    def run(self, *command: str, typed: str = "") -> str:
        done = subprocess.run(
            [sys.executable, *command], cwd=ROOT, env=self.environ, input=typed, capture_output=True, encoding="utf-8"
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        return done.stdout


@pytest.fixture(scope="module")
def newcomer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Newcomer]:
    folder = tmp_path_factory.mktemp("instance")
    with Embedded(folder / "home") as instance:
        stage = Stage(url=instance.url, logins=people.seed(instance.house))
        prepare(stage, folder / "files", size=TEST_SIZE)
        kept = {k: v for k, v in os.environ.items() if not k.startswith("SANDBOX")}
        password = next(one.password for one in stage.logins if one.login == RESEARCHER)
        environ = kept | {
            "SANDBOX_CONFIG": str(folder / "config.json"),
            "SANDBOX_URL": instance.url,
            "SANDBOX_LANG": "en",
        }
        yield Newcomer(environ=environ, password=password)


def blocks(readme: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / readme).read_text(encoding="utf-8"), flags=re.DOTALL)


@pytest.mark.parametrize("readme", READMES)
def test_the_first_five_minutes_work_as_written(readme: str, newcomer: Newcomer) -> None:
    lines = [
        line for block in blocks(readme, "sh") for line in block.splitlines() if line.startswith(".venv/bin/sandbox ")
    ]
    assert len(lines) >= 5
    for line in lines:
        words = shlex.split(line.replace(ADDRESS, newcomer.environ["SANDBOX_URL"]))[1:]
        is_login = words[0] == "login"
        typed = newcomer.password + "\n" if is_login else ""
        said = newcomer.run("-m", "sandbox.cli", *words, *(["--password-stdin"] if is_login else []), typed=typed)
        assert said.strip(), line
        if words[0] == "ask":
            assert "±" in said

    scripts = blocks(readme, "python")
    assert scripts
    for script in scripts:
        said = newcomer.run("-c", script + "\nprint(answer, answer.receipt.verify())")
        assert "±" in said
        assert said.rstrip().endswith("True")


@pytest.mark.parametrize("readme", READMES)
def test_make_is_named_only_with_commands_it_knows(readme: str) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"^make (\w+)", "\n".join(blocks(readme, "sh")), flags=re.MULTILINE):
        assert f"\n{target}:" in makefile

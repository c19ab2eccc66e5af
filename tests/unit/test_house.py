"""The house rules that a machine can check: short tails, a paragraph at every door, links that lead somewhere.

Two kinds of words may not be written anywhere: places of package indexes (the lock file is free of them, and so is the rest)
and paths of somebody's machine.
"""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = ("privacy", "access", "compute", "sandbox")
LONGEST_FUNCTION = 60
LONGEST_FILE = 500
EXPLAINED = "One file, though long"
"""A longer file says this in its docstring, and why."""

PATHS = re.compile("|".join(["/" + place + r"/\w" for place in ("work", "root", "home")]))
HOSTS = re.compile(r"(?:files\.python" + r"hosted|pypi" + r"\.(?:org|python)|registry\.npm" + r"js|deb\.deb" + r"ian)")
LINK = re.compile(r"\[[^\]]*\]\(([^)\s#]+)(?:#[^)]*)?\)")

NAMED = re.compile(r"\[(\w+)\]\(([^)\s]+)\)")


def tracked(*patterns: str) -> list[Path]:
    """Files under version control, so that nothing of a build or of an editor is looked at."""
    command = ["git", "-C", str(ROOT), "ls-files", "-z", "--", *patterns]
    listed = subprocess.run(command, capture_output=True, check=True).stdout.decode()
    return [ROOT / name for name in listed.split("\0") if name and (ROOT / name).exists()]


MODULES = [p for p in tracked("*.py") if p.relative_to(ROOT).parts[0] in ROOMS]
DOCUMENTS = tracked("*.md")


def shown(path: Path) -> str:
    return str(path.relative_to(ROOT))


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


@pytest.mark.parametrize("path", MODULES, ids=shown)
def test_no_function_is_longer_than_a_page(path: Path) -> None:
    long = [
        f"{node.name}: {node.end_lineno - node.lineno + 1} lines"
        for node in functions(ast.parse(path.read_text(encoding="utf-8")))
        if node.end_lineno is not None and node.end_lineno - node.lineno + 1 > LONGEST_FUNCTION
    ]
    assert not long, f"{shown(path)}: {long}; at most {LONGEST_FUNCTION}"


@pytest.mark.parametrize("path", MODULES, ids=shown)
def test_a_long_file_explains_itself(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    lines = text.count("\n")
    if lines > LONGEST_FILE:
        assert EXPLAINED in (ast.get_docstring(ast.parse(text)) or ""), f"{shown(path)} has {lines} lines"


@pytest.mark.parametrize("path", [p for p in MODULES if p.stat().st_size], ids=shown)
def test_a_module_opens_with_a_paragraph(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    opening = ast.get_docstring(tree) or ""
    if path.name == "__init__.py" and len(tree.body) <= 1:
        assert opening, shown(path)
    elif "migrations" not in path.parts:
        assert len(opening) > 80, f"{shown(path)} says too little about what it owns"


def test_no_machine_path_and_no_index_host_is_written_anywhere() -> None:
    found = []
    for path in tracked():
        if path.suffix in {".parquet", ".png", ".duckdb"}:
            continue
        text = path.read_text(encoding="utf-8", errors="replace")
        found += [f"{shown(path)}: {hit.group()}" for pattern in (PATHS, HOSTS) for hit in pattern.finditer(text)]
    assert not found


def test_the_lock_names_hashes_and_no_address() -> None:
    text = (ROOT / ".ci" / "requirements.lock").read_text(encoding="utf-8")
    assert "://" not in text
    blocks = re.split(r"\n(?=\S)", text.strip())
    assert len(blocks) > 100
    bare = [block.split()[0] for block in blocks if "--hash=sha256:" not in block or "==" not in block.splitlines()[0]]
    assert not bare


@pytest.mark.parametrize("path", DOCUMENTS, ids=shown)
def test_links_of_documents_lead_somewhere(path: Path) -> None:
    text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    targets = [target for target in LINK.findall(text) if "://" not in target and not target.startswith("mailto:")]
    assert not [target for target in targets if not (path.parent / target).exists()]


@pytest.mark.parametrize("name", ["docs/threat-model.md", "docs/threat-model.zh-CN.md"])
def test_every_promise_of_the_threat_model_names_tests_that_exist(name: str) -> None:
    rows = [line for line in (ROOT / name).read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    promises = [row for row in rows if not row.startswith(("| promise |", "| 承诺 |"))]
    assert len(promises) > 12
    for row in promises:
        named = NAMED.findall(row.rsplit("|", 2)[1])
        assert named, row
        for words, target in named:
            test = (ROOT / "docs" / target).resolve()
            assert test.is_file(), row
            assert f"def {words}(" in test.read_text(encoding="utf-8"), f"{target} has no {words}"


def test_both_threat_models_name_the_same_tests() -> None:
    both = [(ROOT / f"docs/threat-model{suffix}.md").read_text(encoding="utf-8") for suffix in ("", ".zh-CN")]
    english, chinese = ([t for t in LINK.findall(text) if "tests/" in t] for text in both)
    assert english == chinese


def test_documents_come_in_both_languages() -> None:
    """Decisions and generated tables are for developers; what people read has a Chinese twin."""
    alone = {"CHANGELOG.md", "docs/benchmarks.md", "docs/layout.md", "docs/states.md", "docs/adr"}
    names = {shown(p) for p in DOCUMENTS}
    for name in sorted(names):
        if name.endswith(".zh-CN.md") or name in alone or name.startswith("docs/adr/"):
            continue
        assert name.removesuffix(".md") + ".zh-CN.md" in names, name


def test_make_offers_exactly_the_promised_commands() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = re.findall(r"^([a-z]+):", makefile, flags=re.MULTILINE)
    promised = ["setup", "demo", "up", "test", "check", "bench"]
    assert sorted(set(targets) - {"list"}) == sorted(promised)
    listed = subprocess.run(["make", "-s", "-C", str(ROOT), "list"], capture_output=True, text=True, check=True).stdout
    assert sorted(re.findall(r"^make ([a-z]+) ", listed, flags=re.MULTILINE)) == sorted(promised)

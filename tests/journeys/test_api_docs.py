"""What is published about the interface is what the code says: the OpenAPI document, and the problem codes in both languages."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from sandbox.api.app import bare_app
from sandbox.api.docs import DOCS, PAGES
from sandbox.api.problems import PROBLEM_TYPE

ROOT = Path(__file__).resolve().parents[2]
_PRINT = """
import json
from sandbox.api.docs import PAGES, load_rooms
load_rooms()
print(json.dumps({page: text() for page, text in PAGES.items()}))
"""


@pytest.fixture(scope="module")
def made() -> dict[str, str]:
    """Every page as a fresh interpreter writes it, so that nothing a test defines gets in."""
    command = [sys.executable, "-c", _PRINT]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=200)
    pages: dict[str, str] = json.loads(found.stdout)
    return pages


@pytest.mark.parametrize("page", sorted(PAGES))
def test_the_committed_page_is_current(page: str, made: dict[str, str]) -> None:
    """Renew with `python -m sandbox.api.docs`."""
    assert (DOCS / page).read_text(encoding="utf-8") == made[page]


def test_every_operation_is_described_and_fails_with_problems() -> None:
    document = bare_app().openapi()
    assert "HTTPValidationError" not in json.dumps(document)
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            where = f"{method} {path}"
            assert operation.get("description") or operation.get("summary"), where
            failures = {
                s: r for s, r in operation["responses"].items() if s >= "400" and (path, s) != ("/readyz", "503")
            }
            for response in failures.values():
                assert list(response["content"]) == [PROBLEM_TYPE], where
            if operation.get("security"):
                assert "401" in failures, where


def test_every_route_needs_a_token_but_the_few_that_say_so() -> None:
    document = bare_app().openapi()
    open_to_all = {
        path for path, operations in document["paths"].items() for o in operations.values() if not o.get("security")
    }
    assert open_to_all == {
        "/v1/session",
        "/v1/log/key",
        "/v1/problems",
        "/v1/problems/{problem}",
        "/healthz",
        "/readyz",
    }


def test_both_pages_of_problem_codes_list_the_same_codes() -> None:
    codes = [
        re.findall(r"^\| `([^`]+)`", (DOCS / page).read_text(encoding="utf-8"), re.M) for page in PAGES if "err" in page
    ]
    assert len(codes) == 2
    assert codes[0] == codes[1]
    assert len(codes[0]) == len(set(codes[0])) > 50

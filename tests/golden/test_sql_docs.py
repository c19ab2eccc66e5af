"""The pages on the accepted SQL say what the gate does: every example compiles, every function is listed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from privacy import order
from privacy.errors import Problem
from privacy.facts import DatasetFacts
from privacy.sql import bound, compile_query, expressions, joins, parse, texts, tracked
from privacy.sql import compile as compiling
from privacy.sql.functions import NAMES
from sandbox.describe.description import load_description, to_facts

ROOT = Path(__file__).parents[2]
PAGES = ("docs/sql.md", "docs/sql.zh-CN.md")
EXAMPLE = re.compile(r"```sql\n(.*?)```", re.DOTALL)


@pytest.fixture(scope="module")
def visits() -> DatasetFacts:
    """The demo's public facts."""
    return to_facts(load_description((ROOT / "sandbox/demo/health-visits.yaml").read_text()))


@pytest.mark.parametrize("page", PAGES)
def test_every_example_compiles(page: str, visits: DatasetFacts) -> None:
    examples = EXAMPLE.findall((ROOT / page).read_text())
    assert len(examples) >= 3
    for example in examples:
        assert compile_query(example, visits).statistics


@pytest.mark.parametrize("page", PAGES)
def test_every_function_is_listed(page: str) -> None:
    row = next(line for line in (ROOT / page).read_text().splitlines() if "date_trunc, day" in line)
    listed = {name.strip() for name in row.split("|")[2].split(",")}
    assert listed == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_every_listed_function_is_known_to_the_gate(name: str, visits: DatasetFacts) -> None:
    """A listed name may be refused for its arguments or its special syntax, never as unknown."""
    with pytest.raises(Problem) as found:
        compile_query(f"SELECT COUNT(*) FROM visits WHERE {name}(age, age, age)", visits)
    assert found.value.code != "sql.unknown_function"


@pytest.mark.parametrize("page", PAGES)
def test_every_limit_is_stated_as_it_is(page: str) -> None:
    text = re.sub(r"\s+", " ", (ROOT / page).read_text())
    limits = (
        parse.MAX_LENGTH, parse.MAX_DEPTH, joins.MAX_JOINS, compiling.MAX_KEYS, compiling.MAX_OUTPUTS,
        compiling.MAX_STATISTICS, compiling.MAX_CELLS, texts.MAX_JOINED_TEXTS, expressions.MAX_REPEATED,
        tracked.MAX_LEVELS, tracked.MAX_TEXT,
    )  # fmt: skip
    assert f"{joins.MAX_PAIRED_ROWS:,}" in text
    stated = [int(n.replace(",", "")) for n in re.findall(r"[0-9][0-9,]*", text.rsplit("## ", 1)[1])]
    assert stated == list(limits)


@pytest.mark.parametrize("page", PAGES)
def test_the_room_for_bins_is_stated_as_it_is(page: str) -> None:
    text = (ROOT / page).read_text()
    part = next(p for p in re.split(r"\n## ", text) if "`COUNT(DISTINCT x)`**" in p)
    room = (
        bound.MOST_BINS,
        bound.BINS_OF_A_KEY,
        bound.MAX_BINS,
        bound.FEWEST_BINS,
        bound.MAX_BINS // bound.FEWEST_BINS,
    )
    stated = {int(n.replace(",", "")) for n in re.findall(r"\d[\d,]+(?![.\d])", part)}
    assert stated == set(room)
    assert f"{order.WIDTH}" in part

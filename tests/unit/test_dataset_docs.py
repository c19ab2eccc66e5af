"""docs/dataset-yaml.md says what is so: its example loads, every field and every reason is in it, in both languages."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from compute.engines import layout, problems
from privacy.facts import Kind
from sandbox.describe import description
from sandbox.describe.description import load_description, require_complete, to_facts
from sandbox.describe.located import CONFIRM

DOCS = Path(__file__).parents[2] / "docs"
BOTH = pytest.mark.parametrize("name", ["dataset-yaml.md", "dataset-yaml.zh-CN.md"])


def example(name: str) -> str:
    [text] = re.findall(r"```yaml\n(.*?)```", (DOCS / name).read_text(encoding="utf-8"), re.DOTALL)
    return text


@BOTH
def test_the_example_is_a_complete_description(name):
    described = require_complete(load_description(example(name)))
    kinds = {c.kind for t in to_facts(described).tables for c in t.columns}
    assert kinds == set(Kind) - {Kind.TIMESTAMP}


def test_both_examples_are_the_same():
    first, second = (load_description(example(n)) for n in ("dataset-yaml.md", "dataset-yaml.zh-CN.md"))
    assert first == second


@BOTH
def test_every_field_is_documented(name):
    text = (DOCS / name).read_text(encoding="utf-8")
    for model in (description.Description, description.Table, description.Column, description.Policy):
        for field in model.model_fields:
            assert f"`{field}`" in text or f"`{field}." in text, field
    for field in description.Unit.model_fields:
        assert f"`unit.{field}`" in text
    for field in description.Budgets.model_fields:
        assert f"`budget.{field}`" in text
    assert f"`{CONFIRM}`" in text


@BOTH
def test_every_reason_is_documented_in_its_words(name):
    text = (DOCS / name).read_text(encoding="utf-8")
    for kind in ("csv.fields", "csv.quotes", "csv.encoding", "csv.long", "csv.other"):
        assert f"`{kind}`" in text
    for verdict in layout.Verdict:
        if verdict is not layout.Verdict.FINE:
            code = f"{verdict.name.lower()}:COLUMN"
            assert f"`{code}`" in text
            words = problems.reason_text(code)
            assert words.en.startswith("COLUMN: ")
            assert words.zh.startswith("COLUMN：")


@pytest.mark.parametrize("name", ["layout.md", "layout.zh-CN.md"])
def test_the_layout_names_what_ingest_writes(name):
    text = (DOCS / name).read_text(encoding="utf-8")
    for word in ("`_uid`", "`_rn`", "UINTEGER", "ENUM", "VARCHAR", "TINYINT", "BIGINT", "TIMESTAMP"):
        assert word in text

"""The pages on the accepted SQL say what the gate does: every example compiles, every table is made by asking the gate, and
there is a word for everything that it reads."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest
from sqlglot import exp

from privacy import order, redraw
from privacy.errors import Problem
from privacy.facts import DatasetFacts
from privacy.sql import (
    around,
    bound,
    compile_query,
    dialect,
    expressions,
    finish,
    functions,
    joins,
    layers,
    small,
    words,
)
from privacy.sql.aggregates import AggregateReader
from privacy.sql.functions import NAMES
from privacy.sql.parse import parse_select
from privacy.sql.within import Within
from sandbox.describe.description import load_description, to_facts

ROOT = Path(__file__).parents[2]
PAGES = ("docs/sql.md", "docs/sql.zh-CN.md")
EXAMPLE = re.compile(r"```sql\n(.*?)```", re.DOTALL)


@pytest.fixture(scope="module")
def visits() -> DatasetFacts:
    """The demo's public facts, with the rows of its public tables counted, as ingest does."""
    facts = to_facts(load_description((ROOT / "sandbox/demo/health-visits.yaml").read_text()))
    return replace(facts, tables=tuple(replace(t, rows=None if t.unit else 20) for t in facts.tables))


@pytest.mark.parametrize("page", PAGES)
def test_every_example_compiles(page: str, visits: DatasetFacts) -> None:
    examples = EXAMPLE.findall((ROOT / page).read_text())
    assert len(examples) >= 3
    for example in examples:
        assert compile_query(example, visits).statistics


@pytest.mark.parametrize("page", PAGES)
def test_every_table_stands_on_the_page_and_is_current(page: str) -> None:
    """Renew with `python -m sandbox.api.docs`."""
    text = (ROOT / page).read_text(encoding="utf-8")
    assert sorted(dialect.marked(text)) == sorted(dialect.TABLES)
    lang = "zh-CN" if "zh" in page else "en"
    stale = re.sub(r"^\| (`|[0-9]).*$", "| old |", text, flags=re.MULTILINE)
    assert stale != text
    assert dialect.written(text, lang) == dialect.written(stale, lang) == text


def nodes(texts: Iterable[str]) -> set[type[exp.Expr]]:
    """The kinds of nodes that these expressions are made of."""
    return {type(n) for text in texts for e in parse_select(f"SELECT {text} FROM t").expressions for n in e.walk()}


def test_there_is_a_word_for_every_function_and_operator() -> None:
    listed = [*words.FUNCTIONS.values(), *words.OPERATORS]
    met = nodes(w.call for w in listed)
    assert set(functions._READERS) | set(expressions._OPERATORS) <= met | {
        exp.Paren, exp.Null, exp.Boolean, exp.Escape, exp.DayOfWeek, exp.TimestampTrunc, exp.DateTrunc, exp.Extract, exp.Is,
    }  # fmt: skip
    assert set(functions._BY_NAME) <= {*NAMES, "datepart", "datesub", "prefix", "suffix", "weekday"}
    assert all(w.en and w.zh and w.meaning.words("en") != w.meaning.words("zh-CN") for w in listed)
    for name, word in words.FUNCTIONS.items():
        assert word.call.lower().startswith(f"{name}("), name


def test_there_is_a_word_for_every_aggregate_and_window() -> None:
    aggregates = {t for t in nodes(w.call for w in words.AGGREGATES) if issubclass(t, exp.AggFunc)}
    assert aggregates == {*AggregateReader._readers, *Within._readers} - {exp.WithinGroup}
    windows = nodes(w.call for w in words.WINDOWS)
    assert {*finish._PLACES, *finish._VALUES, *finish._NEIGHBOURS, *finish._TOTALS, exp.Ntile} <= windows
    assert {*layers.Windowed._readers, exp.LogicalAnd, exp.LogicalOr, exp.CountIf} <= windows
    for word in words.WINDOWS:
        assert not all(isinstance(found, Problem) for found in dialect.window_places(word.call)), word.call


def test_every_kind_of_join_is_shown_and_every_refusal_refuses() -> None:
    questions = [f"SELECT count(*) FROM t{'' if text.startswith(',') else ' '}{text}" for text in dialect.JOINS]
    accepted = [q for q in questions if not isinstance(dialect.asked(q), Problem)]
    shown = {(j.side.upper(), j.kind.upper()) for q in accepted for j in parse_select(q).args["joins"]}
    assert shown == joins._JOINS
    assert all(isinstance(dialect.asked(sql), Problem) for sql in dialect.REFUSALS)
    assert len({str(dialect.asked(sql)) for sql in dialect.REFUSALS}) > 20


@pytest.mark.parametrize("name", NAMES)
def test_every_listed_function_is_known_to_the_gate(name: str, visits: DatasetFacts) -> None:
    """A listed name may be refused for its arguments or its special syntax, never as unknown."""
    with pytest.raises(Problem) as found:
        compile_query(f"SELECT COUNT(*) FROM visits WHERE {name}(age, age, age)", visits)
    assert found.value.code != "sql.unknown_function"


@pytest.mark.parametrize("page", PAGES)
def test_every_limit_of_what_stands_around_an_answer_is_stated_as_it_is(page: str) -> None:
    text = re.sub(r"\s+", " ", (ROOT / page).read_text())
    around_rows = redraw.MAX_REDRAWN // redraw.MIN_DRAWS
    for limit in (joins.MAX_PAIRED_ROWS, small.MAX_AROUND_ROWS, around.MAX_PUBLIC_ROWS, around_rows, redraw.MAX_DRAWS):
        assert f"{limit:,}" in text


@pytest.mark.parametrize("page", PAGES)
def test_the_room_for_bins_is_stated_as_it_is(page: str) -> None:
    text = (ROOT / page).read_text()
    part = next(p for p in re.split(r"\n## ", text) if "`COUNT(DISTINCT x)`**" in p)
    room = (
        bound.MOST_BINS,
        bound.USUAL_BINS,
        bound.QUICK_BINS,
        bound.BINS_OF_A_KEY,
        bound.MAX_BINS,
        bound.FEWEST_BINS,
        bound.MAX_BINS // bound.FEWEST_BINS,
    )
    stated = {int(n.replace(",", "")) for n in re.findall(r"\d[\d,]+(?![.\d])", part)}
    assert stated == set(room)
    assert f"{order.DEEP}" in part

"""Answers at epsilon 1e6 equal plain DuckDB on the raw tables: the dialect means what DuckDB means.

The version is made by the real ingest. No bound binds, because nobody in the city has more rows than the facts allow. A
value may differ by its published rounding and a few standard deviations of the noise, which is far below one row; a quantile by
half of its bin.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path

import duckdb
import pytest

from compute.engines.duckdb import DuckEngine
from compute.ports import Limits
from privacy import redraw
from privacy.errors import Problem
from privacy.facts import DatasetFacts
from privacy.loss import price
from privacy.mechanisms import release
from privacy.sql import compile_query
from tests.fakes import city

EPSILON, DELTA = 1e6, 1e-6

QUERIES = Path(__file__).parent / "queries"


def questions(name: str) -> list[str]:
    """The lines of a file of questions, without its first."""
    return (QUERIES / f"{name}.sql").read_text(encoding="utf-8").strip().splitlines()[1:]


#: Questions that mean the same here and in plain DuckDB: over stored tables, over relations of relations, around an answer.
SAME, RELATIONS, AROUND = questions("tables"), questions("relations"), questions("around")
#: Several answers in one question.
SETS = questions("sets")
#: What is refused, each behind the code of its refusal.
REFUSED = [line.split(" | ", 1) for line in questions("refused")]


@dataclass(frozen=True, kw_only=True, slots=True)
class Two:
    """The two databases that must agree."""

    plain: duckdb.DuckDBPyConnection
    version: Path
    facts: DatasetFacts


@pytest.fixture(autouse=True)
def _few_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """Intervals are not compared here: the text that makes them is run, but not often."""
    monkeypatch.setattr(redraw, "MAX_DRAWS", 4)


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Two]:
    connection = city.plain()
    version, report = city.ingest(connection, tmp_path_factory.mktemp("city"))
    yield Two(plain=connection, version=version, facts=report.facts)
    connection.close()


def ours(two: Two, sql: str) -> tuple[list[tuple[object, ...]], list[float], list[int]]:
    """Our rows, how far each column may be off, and which columns are keys."""
    plan = compile_query(sql, two.facts)
    engine, loss = DuckEngine(), price(EPSILON, DELTA, selects_keys=plan.selections > 0)
    with engine.finishing(Limits()) as finish, engine.units(two.version, Limits()) as units:
        answer = release(plan, units, loss, engine.beside(finish, two.version, plan, Limits()))
    noise = [5 * c.noise.scale if c.noise else 0.05 for c in answer.columns]
    steps = [s.order.step * s.order.width if s.order else s.round_to for g in plan.groupings for s in g.statistics]
    keys = [i for i, c in enumerate(answer.columns) if c.is_key]
    return list(answer.rows), [n + float(max(steps)) * 0.51 for n in noise], keys


def close(mine: object, theirs: object, off: float) -> bool:
    if isinstance(mine, bool) or isinstance(theirs, bool) or mine is None or theirs is None:
        return mine is theirs
    if isinstance(mine, int | float) and isinstance(theirs, int | float | Decimal):
        other = float(theirs)
        return math.isclose(mine, other, rel_tol=1e-4, abs_tol=off)
    if isinstance(mine, datetime) and isinstance(theirs, datetime):
        return abs((mine - theirs).total_seconds()) <= off
    return mine == _day(theirs, mine)


def _day(value: object, like: object) -> object:
    if isinstance(value, datetime) and isinstance(like, date) and not isinstance(like, datetime):
        return value.date()  # date_trunc of a day is a day here
    return value


def sort_key(row: tuple[object, ...], keys: list[int]) -> list[tuple[bool, object]]:
    """Rows compare by their keys, and by all their values when no key is shown."""
    chosen = [row[i] for i in keys] or list(row)
    return [(v is None, str(_day(v, date.min)) if isinstance(v, str | date | bool) else v or 0) for v in chosen]


def ordered(sql: str) -> bool:
    """True when the question itself has an ORDER BY; one in a window, in brackets, sorts no answer."""
    while "(" in sql:
        sql = re.sub(r"\([^()]*\)", "", sql)
    return "ORDER BY" in sql


@pytest.mark.parametrize("sql", [*SAME, *RELATIONS, *AROUND, *SETS])
def test_equals_plain_duckdb(two: Two, sql: str) -> None:
    mine, off, keys = ours(two, sql)
    theirs = two.plain.execute(sql).fetchall()
    theirs = [tuple(None if isinstance(v, float) and not math.isfinite(v) else v for v in row) for row in theirs]
    if not ordered(sql):
        mine, theirs = (sorted(rows, key=lambda row: sort_key(row, keys)) for rows in (mine, theirs))
    assert len(mine) == len(theirs), (mine[:10], theirs[:10])
    for row, other in zip(mine, theirs, strict=True):
        assert all(close(a, b, o) for a, b, o in zip(row, other, off, strict=True)), (row, other, off)


@pytest.mark.parametrize(("code", "sql"), REFUSED)
def test_what_is_refused_says_why_and_costs_nothing(two: Two, code: str, sql: str) -> None:
    """A refusal comes from the text and from public facts alone: no data is opened, in both languages there is a reason."""
    with pytest.raises(Problem) as caught:
        compile_query(sql, two.facts)
    assert caught.value.code == code
    assert caught.value.say("en") != caught.value.say("zh-CN")


def test_there_are_enough_questions() -> None:
    assert len(SAME) > 150
    assert len(RELATIONS) > 80
    assert len(AROUND) > 45
    assert len(SETS) > 25
    assert len(REFUSED) > 75

"""The engine's port: calls do not hinder each other, and post-processing reaches nothing but its tables."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path

import pytest

from compute.engines.duckdb import DuckEngine
from compute.ports import Limits
from privacy.errors import Fault
from privacy.sql import compile_query
from privacy.sql.plan import SmallTable
from tests.fakes import city, town


def test_calls_on_one_version_may_run_at_the_same_time(tmp_path: Path) -> None:
    person = ("东", "内", "a", 1, 5, 1, 100, 1, 1, 1, True, date(2024, 1, 1))
    version = town.write(tmp_path / "version.duckdb", [[person], [person, person]])
    plan = compile_query("SELECT count(*) FROM visits", town.FACTS)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: town.exact(version, plan), range(40)))
    assert found == [found[0]] * 40


def test_a_table_of_the_same_name_is_read_anew() -> None:
    columns = (("n", "BIGINT"),)
    with DuckEngine().finishing(Limits()) as finish:
        assert finish("SELECT sum(n) FROM t", {"t": SmallTable(columns=columns, rows=[(1,), (2,)])}) == [(3,)]
        assert finish("SELECT sum(n) FROM t", {"t": SmallTable(columns=columns, rows=[])}) == [(None,)]


def test_public_rows_come_as_the_plan_names_them(tmp_path: Path) -> None:
    """Values, not their layout: numbers off their lattice, texts out of their ENUM, days as days, NULL as None."""
    connection = city.plain()
    version, report = city.ingest(connection, tmp_path)
    text = "SELECT * FROM (SELECT city, count(*) AS n FROM visits GROUP BY city) t JOIN {} USING (city)"
    for name in ("places", "events"):
        plan = compile_query(text.format(name), report.facts)
        found = DuckEngine().public(version, plan, town.LIMITS)["p0"]
        assert found.columns[0] == ("rid", "BIGINT")
        assert [row[0] for row in found.rows] == list(range(len(found.rows)))
        assert [row[1:] for row in found.rows] == connection.execute(f"FROM {name}").fetchall()
    connection.close()
    assert DuckEngine().public(version, compile_query("SELECT count(*) FROM visits", report.facts), town.LIMITS) == {}


def test_the_post_processing_of_one_answer_has_public_tables_at_hand_and_one_deadline(tmp_path: Path) -> None:
    """The clock runs from the first text on, not while rows are read before it."""
    connection = city.plain()
    version, report = city.ingest(connection, tmp_path)
    connection.close()
    plan = compile_query(
        "SELECT * FROM (SELECT city, count(*) AS n FROM visits GROUP BY city) t JOIN places USING (city)", report.facts
    )
    engine, given = DuckEngine(), {"t": SmallTable(columns=(("n", "BIGINT"),), rows=[(7,)])}
    with engine.finishing(Limits()) as plain:
        finish = engine.beside(plain, version, plan, Limits(seconds=0.2))
        time.sleep(0.3)
        assert finish("SELECT count(*), any_value(n) FROM p0, t", given) == [(5, 7)]
        time.sleep(0.3)
        with pytest.raises(Fault) as caught:
            finish("SELECT 1", given)
    assert "than the limit allows" in (caught.value.private or "")

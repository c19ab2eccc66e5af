"""The engine's port: calls do not hinder each other, and post-processing reaches nothing but its tables."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path

from compute.engines.duckdb import DuckEngine
from compute.ports import Limits
from privacy.sql import compile_query
from privacy.sql.plan import SmallTable
from tests.fakes import town


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

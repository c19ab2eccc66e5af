"""The engine's port: calls do not hinder each other, and post-processing reaches nothing but its tables."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path

import duckdb
import pytest

from compute.engines import connection as connection_module
from compute.engines.connection import Warm
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


# --- databases that stay open --------------------------------------------------------------------------------------------


def made(path: Path, number: int) -> Path:
    path.unlink(missing_ok=True)
    with duckdb.connect(str(path)) as connection:
        connection.execute(f"CREATE TABLE t AS SELECT {number} AS n")
    return path


def test_a_question_sees_nothing_of_the_one_before(tmp_path: Path) -> None:
    """Neither its temporary tables nor its settings; and the version stays read-only and locked."""
    warm, path = Warm(), made(tmp_path / "a.duckdb", 1)
    with warm.connection(str(path), Limits(), read_only=True) as first:
        first.execute("CREATE TEMP TABLE shown AS SELECT 'secret' AS s")
        with warm.connection(str(path), Limits(), read_only=True) as second, pytest.raises(duckdb.CatalogException):
            second.execute("FROM shown")
    for text in ("FROM shown", "INSERT INTO t VALUES (2)", "SET threads = 4", "SET lock_configuration = false"):
        with pytest.raises(Fault), warm.connection(str(path), Limits(), read_only=True) as third:
            third.execute(text)


def test_a_file_that_changed_and_other_limits_open_anew(tmp_path: Path) -> None:
    warm, path = Warm(), tmp_path / "a.duckdb"
    for number, threads in ((1, 1), (2, 1), (2, 2)):
        made(tmp_path / "new.duckdb", number).replace(path)
        with warm.connection(str(path), Limits(threads=threads), read_only=True) as connection:
            assert connection.execute("SELECT n, current_setting('threads') FROM t").fetchone() == (number, threads)


def test_no_more_than_a_few_stay_open(tmp_path: Path) -> None:
    """What was used longest ago is closed: whoever wants to write it can."""
    warm, paths = Warm(2), [made(tmp_path / f"{i}.duckdb", i) for i in range(3)]
    for path in paths:
        with warm.connection(str(path), Limits(), read_only=True) as connection:
            assert connection.execute("SELECT count(*) FROM t").fetchone() == (1,)
    with duckdb.connect(str(paths[0])) as writable:
        writable.execute("INSERT INTO t VALUES (7)")
    with pytest.raises(duckdb.ConnectionException):
        duckdb.connect(str(paths[1]))


def test_after_a_fork_the_parent_s_databases_are_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    warm, path = Warm(), made(tmp_path / "a.duckdb", 1)
    with warm.connection(str(path), Limits(), read_only=True) as before:
        monkeypatch.setattr(connection_module.os, "getpid", lambda: -1)
        with warm.connection(str(path), Limits(), read_only=True) as after:
            assert after.execute("SELECT n FROM t").fetchone() == before.execute("SELECT n FROM t").fetchone() == (1,)

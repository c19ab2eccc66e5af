"""The benchmarks ask through the engine's public pieces; here they do so on small tables, so that a change of these is seen."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest

from benchmarks import ours, tables, tpch
from benchmarks.measure import Measured


@pytest.fixture(scope="module")
def visits(tmp_path_factory: pytest.TempPathFactory) -> ours.Version:
    folder = tmp_path_factory.mktemp("visits")
    sources = {"visits": folder / "visits.parquet"}
    duckdb.connect().execute(f"COPY ({tables.select(3_000)}) TO '{sources['visits']}' (FORMAT PARQUET)")
    return ours.ingest(tables.DESCRIPTION, sources, folder, tables.plain(sources, folder))


@pytest.fixture(scope="module")
def orders(tmp_path_factory: pytest.TempPathFactory) -> ours.Version:
    folder: Path = tmp_path_factory.mktemp("tpch")
    sources = tpch.sources(0.002, folder)
    return ours.ingest(tpch.DESCRIPTION, sources, folder, tables.plain(sources, folder))


def _measured(version: ours.Version, sql: str) -> Measured:
    asked = {"question": "it", "sql": sql, "threads": 1, "rounds": 1}
    return ours.measured(asked | {name: str(path) for name, path in vars(version).items()})


def test_a_question_is_measured_beside_the_plain_one(visits: ours.Version) -> None:
    found = _measured(visits, tables.QUESTIONS["Q2"][0])
    assert (found.no, found.pairs, found.released, found.true) == ("", 1, 13, 13)
    assert 0 < found.exact_ratio < found.whole_ratio
    assert all(found.errors)
    assert found.peak > 10


def test_private_keys_are_counted_among_the_true_ones(visits: ours.Version) -> None:
    found = _measured(visits, tables.QUESTIONS["Q3"][0])
    assert found.released < found.true > 1_000


def test_a_refused_question_is_a_result_with_its_reason(visits: ours.Version) -> None:
    found = _measured(visits, "SELECT person_id FROM visits")
    assert found.no.startswith("refused: ")
    assert not found.failed


def test_a_query_with_a_public_join_is_measured(orders: ours.Version) -> None:
    found = _measured(orders, tpch.QUERIES["14"])
    assert (found.no, found.released, found.true) == ("", 1, 1)


def test_a_question_that_fails_is_a_failure_with_the_operators_reason(visits: ours.Version) -> None:
    gone = ours.Version(file=visits.file.with_name("gone.duckdb"), facts=visits.facts, plain=visits.plain)
    found = _measured(gone, tables.QUESTIONS["Q1"][0])
    assert found.failed
    assert "gone.duckdb" in found.no


def test_the_plain_query_alone_has_a_peak(visits: ours.Version) -> None:
    asked = {"question": "it", "sql": "FROM visits", "threads": 1, "only_plain": True, **vars(visits)}
    assert ours.measured(asked).plain_peak > 10

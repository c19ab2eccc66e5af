"""What the benchmarks rest on: generated tables that keep what their descriptions declare, true errors, honest reports."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import replace
from datetime import date, datetime

import duckdb
import pytest

from benchmarks import ingest, peers, report, tables, tpch
from benchmarks.__main__ import Benchmarks, arguments
from benchmarks.measure import ROOT, Measured, Run, child, compare, compared, said
from privacy.errors import Refused
from privacy.facts import DatasetFacts, Kind, TableFacts
from privacy.sql import Plan, compile_query
from sandbox.describe.description import load_description, to_facts

TPCH = to_facts(load_description(tpch.DESCRIPTION))
VISITS = to_facts(load_description(tables.DESCRIPTION))


@pytest.fixture(scope="module")
def small() -> duckdb.DuckDBPyConnection:
    """Both data sets, small, in one database."""
    connection = duckdb.connect(config={"threads": 1})
    tpch.create(connection, 0.01)
    connection.execute(f"CREATE TABLE visits AS {tables.select(5_000)}")
    return connection


def _broken(connection: duckdb.DuckDBPyConnection, table: TableFacts) -> list[str]:
    """Conditions that the description states and some row does not keep."""
    conditions = []
    for column in table.columns:
        conditions.append(f"{column.name} IS NOT NULL")
        if column.lower is not None:
            cast = "DATE" if column.kind is Kind.DATE else "DOUBLE"
            conditions.append(f"{column.name} BETWEEN {cast} '{column.lower}' AND {cast} '{column.upper}'")
        if column.domain:
            conditions.append(f"{column.name}::VARCHAR IN ({', '.join(repr(str(v)) for v in column.domain)})")
    return [
        c
        for c in conditions
        if connection.execute(f"SELECT count(*) FROM {table.name} WHERE NOT ({c})").fetchall() != [(0,)]
    ]


@pytest.mark.parametrize("table", [*TPCH.tables, *VISITS.tables], ids=lambda t: t.name)
def test_generated_rows_keep_what_the_description_declares(small: duckdb.DuckDBPyConnection, table: TableFacts) -> None:
    assert small.execute(f"SELECT count(*) > 0 FROM {table.name}").fetchall() == [(True,)]
    assert not _broken(small, table)


@pytest.mark.parametrize(
    ("many", "key", "one", "other"),
    [
        ("lineitem", ("l_orderkey", "l_custkey"), "orders", ("o_orderkey", "o_custkey")),
        ("lineitem", ("l_partkey", "l_suppkey"), "partsupp", ("ps_partkey", "ps_suppkey")),
        ("orders", ("o_custkey",), "customer", ("c_custkey",)),
        ("customer", ("c_nationkey",), "nation", ("n_nationkey",)),
        ("supplier", ("s_nationkey",), "nation", ("n_nationkey",)),
        ("nation", ("n_regionkey",), "region", ("r_regionkey",)),
    ],
)
def test_every_foreign_key_leads_to_exactly_one_row(
    small: duckdb.DuckDBPyConnection, many: str, key: tuple[str, ...], one: str, other: tuple[str, ...]
) -> None:
    on = " AND ".join(f"{a} = {b}" for a, b in zip(key, other, strict=True))
    rows = small.execute(f"SELECT count(*) FROM {many}").fetchall()
    assert small.execute(f"SELECT count(*) FROM {many} JOIN {one} ON {on}").fetchall() == rows


def test_the_same_scale_gives_the_same_rows(small: duckdb.DuckDBPyConnection) -> None:
    again = duckdb.connect(config={"threads": 2})
    tpch.create(again, 0.01)
    for name in tpch.TABLES:
        rows = f"SELECT count(*), sum(hash({name})) FROM {name}"
        assert small.execute(rows).fetchall() == again.execute(rows).fetchall()


def test_a_third_of_the_customers_never_order(small: duckdb.DuckDBPyConnection) -> None:
    found = small.execute(
        "SELECT count(*) FROM customer WHERE c_custkey NOT IN (SELECT o_custkey FROM orders)"
    ).fetchall()
    assert found == [(500,)]


def _verdict(sql: str, facts: DatasetFacts) -> Plan | str:
    try:
        return compile_query(sql, facts)
    except Refused as refusal:
        return refusal.code


@pytest.mark.parametrize("query", tpch.QUERIES)
def test_a_query_runs_on_the_plain_tables_and_its_plan_names_the_same_columns(
    small: duckdb.DuckDBPyConnection, query: str
) -> None:
    """Refusals may become plans; then the columns compared are the same ones."""
    names = [column[0] for column in small.execute(tpch.QUERIES[query]).description or ()]
    verdict = _verdict(tpch.QUERIES[query], TPCH)
    if isinstance(verdict, Plan):
        assert [output.name for output in verdict.outputs] == names
    else:
        assert verdict.startswith("sql.")


def test_queries_over_one_private_table_are_answered() -> None:
    assert all(isinstance(_verdict(tpch.QUERIES[query], TPCH), Plan) for query in ("1", "6", "14", "19"))


@pytest.mark.parametrize("question", tables.QUESTIONS)
def test_a_question_names_as_many_keys_as_its_plan(small: duckdb.DuckDBPyConnection, question: str) -> None:
    sql, keys = tables.QUESTIONS[question]
    width = len(small.execute(sql).description or ())
    verdict = _verdict(sql, VISITS)
    assert 0 <= keys < width
    if isinstance(verdict, Plan):
        assert sum(output.is_key for output in verdict.outputs) == keys


def test_errors_are_means_over_the_true_cells_that_were_released_and_over_all_draws() -> None:
    truth = [("a", 10, 4.0), ("b", 20, 0), ("c", 40, 8.0)]
    draws = [[("a", 11, 5.0), ("b", 18, 3.0), ("ghost", 7, 7.0)], [("a", 12, None), ("c", 40, 8.0)]]
    found = compared(draws, truth, 1)
    assert found == {
        "released": 2,
        "true": 3,
        "errors": [pytest.approx((0.1 + 0.1 + 0.2 + 0) / 4), pytest.approx(0.125)],
    }


def test_keys_are_equal_across_systems_however_they_are_typed() -> None:
    truth = [(datetime(2025, 3, 1), 3, 10)]  # noqa: DTZ001 — as DuckDB gives it
    assert compared([[(date(2025, 3, 1), 3.0, 10)]], truth, 2) == {"released": 1, "true": 1, "errors": [0.0]}


def test_an_answer_without_a_true_cell_has_no_error() -> None:
    assert compared([[]], [("a", 1)], 1) == {"released": 0, "true": 1, "errors": [None]}


def test_pairs_are_taken_in_turn_and_the_first_of_each_is_not_counted() -> None:
    order: list[str] = []

    def ask() -> Run:
        order.append("ask")
        return Run(rows=[(2,)], whole=1.0 if len(order) == 1 else 0.5, exact=0.25)

    def plain() -> list[tuple[int]]:
        order.append("plain")
        return [(2,)]

    found = compare(ask, lambda: plain, 0, rounds=3)
    assert order == ["ask", "plain", *["plain", "ask"] * 3]
    assert (found["pairs"], found["whole_seconds"], found["noise_seconds"], found["errors"]) == (3, 0.5, 0.25, [0.0])
    assert compare(ask, lambda: plain, 0, rounds=3, patience=0)["pairs"] == 1


def test_a_child_that_breaks_down_is_a_line_with_its_reason() -> None:
    found = child(sys.executable, "benchmarks.nothing", {"question": "Q1", "threads": 1}, 60)
    assert (found.question, found.failed) == ("Q1", True)
    assert "benchmarks.nothing" in found.no


def test_figures_survive_the_way_between_processes() -> None:
    measured = Measured(question="Q2", errors=[0.5, None], released=3)
    assert Measured(**json.loads(said(measured))) == measured


GOOD = Measured(
    question="Q2",
    threads=2,
    exact_ratio=1.7,
    whole_ratio=1.9,
    peak=900,
    errors=[0.03, 0.03, 0.01],
    released=13,
    true=13,
)


@pytest.mark.parametrize(
    ("measured", "missed"),
    [
        (GOOD, 0),
        (replace(GOOD, exact_ratio=1.9), 1),
        (replace(GOOD, whole_ratio=2.1), 1),
        (replace(GOOD, peak=2_000), 1),
        (Measured(question="Q3", threads=2, released=600, true=93_467, errors=[0.1], noise_seconds=1.1), 1),
        (replace(GOOD, errors=[0.03, 0.03, 0.02]), 1),
        (replace(GOOD, errors=[0.03, None, 0.01]), 1),
        (Measured(question="Q3", threads=2, released=599, true=93_467, errors=[0.1]), 1),
        (Measured(question="Q3", threads=2, released=600, true=93_467, errors=[0.1]), 0),
    ],
)
def test_a_missed_goal_is_marked(measured: Measured, missed: int) -> None:
    assert report.ours(1_000_000, [measured], "").count("✗") == missed


def test_a_question_without_a_figure_shows_the_reason_in_every_table() -> None:
    refused = Measured(question="Q5", system="some", threads=2, no="refused: MEDIAN | of")
    for text in (report.ours(10, [refused], ""), report.peers(10, 2, [refused], []), report.tpch(0.1, 2, [refused])):
        assert "refused: MEDIAN ¦ of" in text
        assert "✓" not in text
    assert "0 of 1 are answered" in report.tpch(0.1, 2, [refused])


def test_rows_of_a_table_are_as_wide_as_its_header() -> None:
    refused = replace(GOOD, no="no")
    texts = [
        f(m) for m in (GOOD, refused) for f in (lambda m: report.ours(1, [m], ""), lambda m: report.tpch(1, 2, [m]))
    ]
    texts += [report.peers(1, 2, [GOOD, refused], [])]
    for text in texts:
        for block in re.findall(r"(?:^\|.*\n)+", text, flags=re.MULTILINE):
            assert len({line.count("|") for line in block.splitlines()}) == 1, block


def test_a_system_that_cannot_be_installed_is_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.setattr(
        peers, "PEERS", (peers.Peer(name="X", script="x", requirements=("no such thing",), settings=""),)
    )
    (found,) = peers.measure(10, 1, 1)
    assert found.no.startswith("not installed: ")
    assert not found.failed


@pytest.mark.parametrize("peer", peers.PEERS, ids=lambda p: p.script)
def test_a_system_has_its_script_and_exact_versions(peer: peers.Peer) -> None:
    assert (ROOT / "benchmarks" / "in_peers" / f"{peer.script}.py").is_file()
    assert all("==" in requirement for requirement in peer.requirements)


def test_what_is_run_can_be_chosen_and_an_unknown_part_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    chosen = arguments(["--rows", "10_000,500", "--only", "tpch,ours"])
    assert (chosen.rows, chosen.only, chosen.peers) == ([500, 10_000], ["tpch", "ours"], False)
    with pytest.raises(SystemExit):
        arguments(["--only", "ours,nothing"])
    assert "no part is named nothing" in capsys.readouterr().err


def test_a_section_that_breaks_down_takes_no_other_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_rows: int, _form: str) -> list[str]:
        raise OSError("no space left")

    monkeypatch.setattr(ingest, "measure", broken)
    run = Benchmarks(arguments(["--only", "ingest,peers"]))
    head, failed, peerless = run.sections()
    assert head.startswith("# Benchmarks")
    assert (failed, run.failed) == ("## ingest\n\nFailed: OSError.\n", 1)
    assert "make bench PEERS=1" in peerless

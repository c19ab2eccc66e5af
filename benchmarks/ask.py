"""What privacy costs in time: bounding, noise and intervals as multiples of plain DuckDB on the table as given.

    python benchmarks/ask.py [--rows 1000000] [--threads 2] [--epsilon 1]

Four questions on a synthetic, long-tailed table (skewed rows a person, 13 cities, 40 departments, about 100,000 codes). Each
is timed five times beside the same plain SQL on the ordinary table in the same process; ratios are medians of pairs. The error
is the mean relative error of the released cells against the true, unbounded answer, so the bias of bounding counts.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import duckdb

from compute.engines.duckdb import DuckEngine
from compute.engines.ingest import DuckIngest
from compute.ports import Limits
from privacy.facts import DatasetFacts
from privacy.loss import price
from privacy.mechanisms import Answer, release
from privacy.sql import compile_query
from sandbox.describe.description import load_description, to_facts

CITIES = [f"city_{i:02}" for i in range(13)]
DEPARTMENTS = [f"dept_{i:02}" for i in range(40)]
DESCRIPTION = f"""
dataset: bench/visits
tables:
  visits:
    unit: {{column: person_id}}
    max_rows: 40
    columns:
      person_id: {{type: integer}}
      city: {{type: text, keys: public, domain: {CITIES}}}
      dept: {{type: text, keys: public, domain: {DEPARTMENTS}}}
      code: {{type: text, keys: private}}
      amount: {{type: number, lower: 0, upper: 5000, step: 0.01}}
      visit_date: {{type: date, lower: 2025-01-01, upper: 2025-12-31}}
"""
QUESTIONS = {
    "Q1": ("SELECT count(*), count(DISTINCT person_id) FROM visits", 0),
    "Q2": ("SELECT city, count(*), sum(amount), avg(amount) FROM visits GROUP BY city", 1),
    "Q3": ("SELECT code, count(*) FROM visits GROUP BY code", 1),
    "Q4": ("SELECT city, dept, month(visit_date) AS m, count(*), avg(amount) FROM visits GROUP BY city, dept, m", 3),
}
ROUNDS = 5


def generate(path: Path, rows: int) -> None:
    """The table as given: a power law of rows over persons, keys and amounts with long tails."""
    uniform = ", ".join(f"(hash(i * 10 + {k}) >> 11)::DOUBLE / 9007199254740992.0 AS u{k}" for k in range(1, 8))
    persons = max(10, rows * 12 // 100)
    select = f"""
        WITH u AS (SELECT i, {uniform} FROM range({rows}) t(i)),
        p AS (SELECT *, if(u2 < 0.7, 0, 1) AS away,
              floor({persons} * CASE WHEN u7 < 0.5 THEN u1 ELSE pow(u1, 2.5) END)::BIGINT AS person FROM u)
        SELECT person * 7919 + 100000000000 AS person_id,
               'city_' || lpad(if(away = 0, hash(person) % 13, floor(13 * pow(u3, 1.7)))::INT::VARCHAR, 2, '0') AS city,
               'dept_' || lpad(floor(40 * pow(u4, 1.8))::INT::VARCHAR, 2, '0') AS dept,
               'c' || lpad(floor(100000 * pow(u6, 6))::INT::VARCHAR, 5, '0') AS code,
               round(least(5000.0, -180.0 * ln(1.0 - u5) * (1 + 4 * u6 * u6 * u6)), 2) AS amount,
               DATE '2025-01-01' + floor(365 * u3)::INT AS visit_date
        FROM p"""
    duckdb.connect().execute(f"COPY ({select}) TO '{path}' (FORMAT PARQUET)")


def timed(work: Callable[[], object]) -> tuple[float, object]:
    """Seconds of wall clock, and what the work returned."""
    began = time.perf_counter()
    found = work()
    return time.perf_counter() - began, found


def error(answer: Answer, truth: list[tuple[object, ...]], keys: int) -> str:
    """Mean relative error of each value column over the true cells that were released."""
    true = {tuple(map(str, row[:keys])): row[keys:] for row in truth}
    columns: list[list[float]] = [[] for _ in range(len(answer.columns) - keys)]
    for row in answer.rows:
        for i, exact in enumerate(true.get(tuple(map(str, row[:keys])), ())):
            value = row[keys + i]
            if exact and isinstance(value, int | float):
                columns[i].append(abs(float(value) - float(exact)) / abs(float(exact)))
    return "/".join(f"{statistics.fmean(c):.3g}" if c else "-" for c in columns)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--epsilon", type=float, default=1.0)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder, limits = Path(name), Limits(seconds=3600, threads=chosen.threads)
        generate(folder / "visits.parquet", chosen.rows)
        plain = duckdb.connect(str(folder / "plain.duckdb"), config={"threads": chosen.threads})
        plain.execute(f"CREATE TABLE visits AS FROM '{folder / 'visits.parquet'}'")
        ingest = DuckIngest(entropy=os.urandom)
        declared = to_facts(load_description(DESCRIPTION))
        sources = {"visits": folder / "visits.parquet"}
        report = ingest(declared, sources, folder / "v.duckdb", limits=limits, progress=lambda *_: None)
        print(
            f"{chosen.rows:,} rows, {report.tables[0].units:,} persons, {chosen.threads} threads, epsilon {chosen.epsilon}"
        )
        print("question  bounding  with noise and intervals  cells released  error of each value")
        for label, (sql, keys) in QUESTIONS.items():
            measure(label, sql, keys, plain, folder / "v.duckdb", report.facts, limits, chosen.epsilon)


def measure(
    label: str,
    sql: str,
    keys: int,
    plain: duckdb.DuckDBPyConnection,
    version: Path,
    facts: DatasetFacts,
    limits: Limits,
    epsilon: float,
) -> None:
    """One line of the table."""
    engine, plan = DuckEngine(), compile_query(sql, facts)
    loss = price(epsilon, 1e-7, selects_keys=plan.selects_keys)
    bounding, whole = [], []
    for _ in range(ROUNDS):
        base, truth = timed(lambda: plain.execute(sql).fetchall())
        exact, cells = timed(lambda: engine.exact(version, plan, limits))

        def finish(found: object = cells) -> Answer:
            with engine.finishing(limits) as run:
                return release(plan, found, loss, run)  # type: ignore[arg-type]

        rest, answer = timed(finish)
        bounding.append(exact / base)
        whole.append((exact + rest) / base)
    assert isinstance(answer, Answer)
    ratios = f"{statistics.median(bounding):8.2f}x  {statistics.median(whole):23.2f}x"
    print(f"{label:8}  {ratios}  {len(answer.rows):14,}  {error(answer, truth, keys)}", flush=True)  # type: ignore[arg-type]


if __name__ == "__main__":
    main()

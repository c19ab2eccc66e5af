"""Ten million rows through ingest: seconds, peak resident memory, size of the version.

    python benchmarks/ingest.py [--rows 10000000] [--format csv|gb18030|parquet] [--memory 2GiB]

The generated table has skewed contributions (a few units hold thousands of rows), public and private keys, money with
cents, dates and a nullable column. The measured work runs in a fresh process, so that the peak is its own.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import duckdb

from compute.engines.ingest import DuckIngest
from compute.ports import Limits
from sandbox.describe.description import load_description, to_facts

DESCRIPTION = """
dataset: bench/visits
tables:
  visits:
    unit: {column: person_id, stands_for: person, space: resident-id}
    max_rows: 40
    columns:
      person_id: {type: text}
      city: {type: text, keys: public, domain: [云海, 青原, 临江, 北湖, 南桥, 东洲, 西岭, 金沙, 白石, 长汀]}
      department: {type: text, keys: private}
      code: {type: text, keys: private}
      amount: {type: number, lower: 0, upper: 5000, step: 0.01}
      days: {type: integer, lower: 0, upper: 365, nullable: true}
      visited_on: {type: date, lower: 2024-01-01, upper: 2024-12-31}
"""


def generate(path: Path, rows: int, form: str) -> None:
    """Write the table; about rows / 8 persons, the busiest with thousands of rows."""
    persons = rows // 6
    select = f"""
        SELECT 'R' || lpad(CAST(floor({persons} * power(random(), 1.7)) AS BIGINT)::VARCHAR, 17, '0') AS person_id,
               ['云海','青原','临江','北湖','南桥','东洲','西岭','金沙','白石','长汀'][1 + (random() * 9.99)::INT % 10] AS city,
               '科室' || (random() * 40)::INT AS department,
               'D' || (100000 * power(random(), 3))::INT AS code,
               round(5200 * power(random(), 4), 2) AS amount,
               CASE WHEN random() < 0.9 THEN (random() * 60)::INT END AS days,
               DATE '2024-01-01' + (random() * 365)::INT AS visited_on
        FROM range({rows})"""
    connection = duckdb.connect()
    connection.execute("SELECT setseed(0.42)")
    kind = "PARQUET" if form == "parquet" else "CSV, HEADER"
    connection.execute(f"COPY ({select}) TO '{path}' (FORMAT {kind})")
    if form == "gb18030":
        plain = path.with_suffix(".utf8")
        path.rename(plain)
        with plain.open(encoding="utf-8") as read, path.open("w", encoding="gb18030") as write:
            while block := read.read(1 << 22):
                write.write(block)
        plain.unlink()


def ingest(source: Path, target: Path, memory: int) -> None:
    """The measured work: prints one line a stage and the figures."""
    facts = to_facts(load_description(DESCRIPTION))
    began, stages = time.perf_counter(), {}

    def progress(stage: str, done: int, total: int) -> None:
        stages.setdefault(stage, time.perf_counter() - began)

    report = DuckIngest(entropy=os.urandom)(
        facts, {"visits": source}, target, limits=Limits(seconds=3600, memory=memory, threads=2), progress=progress
    )
    seconds = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"seconds {seconds:.1f}  peak {peak:.0f} MiB  version {target.stat().st_size / 2**20:.0f} MiB")
    print("first report of each stage at:", {k: round(v, 1) for k, v in stages.items()})
    print(report.tables[0])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--format", choices=["csv", "gb18030", "parquet"], default="csv")
    parser.add_argument("--memory", type=float, default=2.0, help="GiB")
    parser.add_argument("--source", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    memory = int(chosen.memory * 2**30)
    with tempfile.TemporaryDirectory() as folder:
        if chosen.source:
            ingest(chosen.source, Path(folder) / "version.duckdb", memory)
            return
        source = Path(folder) / "visits.data"
        generate(source, chosen.rows, chosen.format)
        print(f"{chosen.rows:,} rows, {chosen.format}, {source.stat().st_size / 2**20:.0f} MiB")
        subprocess.run(
            [sys.executable, __file__, "--source", str(source), "--memory", str(chosen.memory)],
            check=True,
            env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])},
        )


if __name__ == "__main__":
    main()

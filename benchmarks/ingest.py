"""Rows through ingest: seconds, peak memory, size of the version, from each format that a steward may bring.

    python -m benchmarks.ingest '{"source": "…", "target": "…"}'

The generated table has skewed contributions (a few units hold thousands of rows), public and private keys, money with
cents, dates and a nullable column. The measured work runs in a fresh process, so that the peak is its own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb

from benchmarks.measure import ROOT, peak_mib
from compute.engines.ingest import DuckIngest
from compute.ports import Limits
from sandbox.describe.description import load_description, to_facts

FORMS = ("csv", "gb18030", "parquet")
HEADER = "format | rows | file | seconds | peak | version"

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


def _ingest(asked: dict[str, Any]) -> dict[str, float]:
    """The measured work."""
    facts = to_facts(load_description(DESCRIPTION))
    target, began = Path(asked["target"]), time.perf_counter()
    limits = Limits(seconds=3600, threads=2)
    DuckIngest(entropy=os.urandom)(facts, {"visits": Path(asked["source"])}, target, limits=limits, progress=_silent)
    return {"seconds": time.perf_counter() - began, "peak": peak_mib(), "size": target.stat().st_size / 2**20}


def _silent(*_: object) -> None:
    """Ingest tells its progress to nobody here."""


def measure(rows: int, form: str) -> Sequence[str]:
    """One line of the report."""
    print(f"ingest of {rows:,} rows, {form} …", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / f"visits.{form}"
        generate(source, rows, form)
        asked = json.dumps({"source": str(source), "target": f"{folder}/version.duckdb"})
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.ingest", asked],
            check=True,
            capture_output=True,
            text=True,
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )
        found = json.loads(done.stdout)
        size = f"{source.stat().st_size / 2**20:,.0f} MiB"
    return form, f"{rows:,}", size, f"{found['seconds']:.0f}", f"{found['peak']:,.0f} MiB", f"{found['size']:,.0f} MiB"


if __name__ == "__main__":
    print(json.dumps(_ingest(json.loads(sys.argv[1]))))

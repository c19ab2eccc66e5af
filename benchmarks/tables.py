"""The table of visits that speed and accuracy are measured on, and the five questions asked of it.

    10 million rows of 1.2 million persons; a person has 7 rows in the middle and 18,490 at most; 13 cities (three a person),
    40 departments, 100,000 codes of a long tail, amounts from 0 to 5,000 with mean 360.

Owns the generator (deterministic: every value is a hash of the row's number), the description a steward would write, and the
questions. It runs under any DuckDB, because other systems read the same table from their own environments.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import duckdb

CITIES = [f"city_{i:02}" for i in range(13)]
DEPARTMENTS = [f"dept_{i:02}" for i in range(40)]

#: `max_rows` is beyond the longest person, which nobody has to guess well: how far a usual person reaches is then chosen by each
#: question, privately and at its own cost.
DESCRIPTION = f"""
dataset: bench/visits
tables:
  visits:
    unit: {{column: person_id, stands_for: person, space: resident-id}}
    max_rows: 20000
    columns:
      person_id: {{type: integer}}
      city: {{type: text, keys: public, domain: {CITIES}}}
      age: {{type: integer, lower: 18, upper: 90, keys: public}}
      visit_date: {{type: date, lower: 2025-01-01, upper: 2025-12-31}}
      dept: {{type: text, keys: public, domain: {DEPARTMENTS}}}
      amount: {{type: number, lower: 0, upper: 5000, step: 0.01}}
      code: {{type: text, keys: private}}
"""

#: What a report says of the table.
ABOUT = (
    "A long tail of rows a person, 13 cities, 40 departments, 100,000 codes ([tables.py](../benchmarks/tables.py)). Nobody\n"
    "declares more than that a person has at most 20,000 rows, so each question chooses its bounds privately, within its price."
)

#: Label to (SQL as it is, how many columns of the answer are keys).
QUESTIONS = {
    "Q1": ("SELECT count(*), count(DISTINCT person_id) FROM visits", 0),
    "Q2": ("SELECT city, count(*), sum(amount), avg(amount) FROM visits GROUP BY city", 1),
    "Q3": ("SELECT code, count(*) FROM visits GROUP BY code", 1),
    "Q4": ("SELECT city, dept, month(visit_date) AS m, count(*), avg(amount) FROM visits GROUP BY city, dept, m", 3),
    "Q5": ("SELECT city, median(amount) FROM visits GROUP BY city", 1),
}


def uniform(seed: str) -> str:
    """SQL of a number from 0 to 1 that follows from the integer `seed` alone."""
    return f"((hash({seed}) >> 11)::DOUBLE / 9007199254740992.0)"


def select(rows: int) -> str:
    """Every row by its number `i`: half of the rows fall evenly on persons, half by a power law."""
    persons = max(10, rows * 12 // 100)
    draws = ", ".join(f"{uniform(f'i * 10 + {k}')} AS u{k}" for k in range(1, 8))
    return f"""
        WITH u AS (SELECT i, {draws} FROM range({rows}) t(i)),
        p AS (SELECT *, floor({persons} * CASE WHEN u7 < 0.5 THEN u1 ELSE pow(u1, 2.5) END)::BIGINT AS person FROM u)
        SELECT (person * 2654435761) % 4294967296 + 100000000000 AS person_id,
               'city_' || lpad((CASE WHEN u2 < 0.7 THEN hash(person * 7 + 3) % 13 ELSE floor(13 * pow(u3, 1.7)) END)
                               ::INT::VARCHAR, 2, '0') AS city,
               (18 + hash(person * 11 + 5) % 73)::INT AS age,
               DATE '2025-01-01' + floor(365 * u3)::INT AS visit_date,
               'dept_' || lpad(floor(40 * pow(u4, 1.8))::INT::VARCHAR, 2, '0') AS dept,
               round(least(5000.0, -180.0 * ln(1.0 - u5) * (1 + 4 * u6 * u6 * u6)), 2) AS amount,
               'c' || lpad(floor(100000 * pow(u6, 6))::INT::VARCHAR, 5, '0') AS code
        FROM p"""


def cache() -> Path:
    """Where tables and the environments of other systems are kept between runs."""
    home = os.environ.get("XDG_CACHE_HOME")
    folder = (Path(home) if home else Path.home() / ".cache") / "data-open-sandbox" / "benchmarks"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def visits(rows: int) -> Path:
    """The table as a Parquet file, made once; the name tells the generator's text."""
    text = select(rows)
    path = cache() / f"visits-{rows}-{hashlib.sha256(text.encode()).hexdigest()[:8]}.parquet"
    if not path.exists():
        unfinished = path.with_suffix(".unfinished")
        duckdb.connect().execute(f"COPY ({text}) TO '{unfinished}' (FORMAT PARQUET)")
        unfinished.rename(path)
    return path


def plain(sources: dict[str, Path], folder: Path | None = None) -> Path:
    """A DuckDB file that holds the tables as given, written by the DuckDB that will read it; made once in its folder."""
    named = "-".join(sorted(source.stem for source in sources.values()))
    path = (folder or cache()) / f"plain-{named}-duckdb-{duckdb.__version__}.duckdb"
    if not path.exists():
        unfinished = path.with_suffix(".unfinished")
        unfinished.unlink(missing_ok=True)
        with duckdb.connect(str(unfinished)) as connection:
            for name, source in sources.items():
                connection.execute(f"CREATE TABLE {name} AS FROM '{source}'")
        unfinished.rename(path)
    return path

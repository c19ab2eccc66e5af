"""PipelineDP on its local backend, from rows in memory.

Bounds: at most 3 cities (10 codes or cells) a person and 8 rows (1 row) in each, amounts clipped to 1,000; Q1 keeps 20 rows a
person. Noise is Gaussian; cities are public, codes and cells are selected.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import duckdb
import pipeline_dp as pdp

from benchmarks.in_peers.asked import answer
from benchmarks.measure import DELTA, EPSILON, Row
from benchmarks.tables import CITIES

M = pdp.Metrics
KEYS: dict[str, Callable[[Row], Any]] = {
    "Q1": lambda row: 0,
    "Q2": lambda row: row[1],
    "Q3": lambda row: row[5],
    "Q4": lambda row: (row[1], row[2], row[3]),
    "Q5": lambda row: row[1],
}
METRICS = {
    "Q1": [M.COUNT, M.PRIVACY_ID_COUNT],
    "Q2": [M.COUNT, M.SUM, M.MEAN],
    "Q3": [M.COUNT],
    "Q4": [M.COUNT, M.MEAN],
    "Q5": [M.PERCENTILE(50)],
}
#: The names of the released metrics, in the question's order.
NAMES = {
    "Q1": ["count", "privacy_id_count"],
    "Q2": ["count", "sum", "mean"],
    "Q3": ["count"],
    "Q4": ["count", "mean"],
    "Q5": ["percentile_50"],
}
#: Label to (partitions a person, rows in a partition).
BOUNDS = {"Q1": (1, 20), "Q2": (3, 8), "Q3": (10, 1), "Q4": (10, 1), "Q5": (3, 1)}
PUBLIC: dict[str, list[Any]] = {"Q1": [0], "Q2": CITIES, "Q5": CITIES}


def prepare(question: str, table: Path, threads: int) -> Callable[[], Sequence[Row]]:
    """Load the rows, and return the asking."""
    columns = "person_id, city, dept, month(visit_date), amount, code"
    rows = duckdb.connect(config={"threads": threads}).execute(f"SELECT {columns} FROM '{table}'").fetchall()
    partitions, each = BOUNDS[question]
    clip = {"min_value": 0, "max_value": 5000 if question == "Q5" else 1000} if question in ("Q2", "Q4", "Q5") else {}
    wanted = pdp.AggregateParams(
        noise_kind=pdp.NoiseKind.GAUSSIAN,
        metrics=METRICS[question],
        max_partitions_contributed=partitions,
        max_contributions_per_partition=each,
        **clip,
    )
    parts = pdp.DataExtractors(
        privacy_id_extractor=lambda row: row[0], partition_extractor=KEYS[question], value_extractor=lambda row: row[4]
    )

    def ask() -> Sequence[Row]:
        accountant = pdp.NaiveBudgetAccountant(EPSILON, DELTA)
        engine = pdp.DPEngine(accountant, pdp.LocalBackend())
        released = engine.aggregate(rows, wanted, parts, public_partitions=PUBLIC.get(question))
        accountant.compute_budgets()
        return [_row(question, key, found._asdict()) for key, found in released]

    return ask


def _row(question: str, key: Any, found: dict[str, Any]) -> Row:
    keys = () if question == "Q1" else key if isinstance(key, tuple) else (key,)
    return (*keys, *(found[name] for name in NAMES[question]))


if __name__ == "__main__":
    answer(prepare)

"""OpenDP on Polars, from a table in memory.

Bounds: at most 3 cities (10 codes or cells) a person and 8 rows (1 row) in each, amounts clipped; Q1 keeps 20 rows a person.
Amounts are whole numbers, because sums of floats get noise of a wholly other size. An average is the sum over the count, both
released. Truncation is by order ("first"), which keeps one group fewer than it is told; so it is told one more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import opendp.prelude as dp
import polars as pl

from benchmarks.in_peers.asked import answer
from benchmarks.measure import DELTA, EPSILON, Row

dp.enable_features("contrib")

ROWS, GROUPS = 20_000_000, 100_000
KEYS = {"Q2": ["city"], "Q3": ["code"], "Q4": ["city", "dept", "m"], "Q5": ["city"]}
#: Label to (groups a person, rows in a group).
BOUNDS = {"Q2": (3, 8), "Q3": (10, 1), "Q4": (10, 1), "Q5": (3, 1)}


def _query(data: pl.LazyFrame, keys: list[str]) -> Any:
    margins = [dp.polars.Margin(max_length=ROWS, max_groups=GROUPS)]
    if len(keys) == 1:
        margins.append(dp.polars.Margin(by=keys, max_length=ROWS, max_groups=GROUPS))
    return dp.Context.compositor(
        data=data,
        privacy_unit=dp.unit_of(contributions=1, identifier=pl.col("person_id")),
        privacy_loss=dp.loss_of(epsilon=EPSILON, delta=DELTA),
        split_evenly_over=1,
        margins=margins,
    ).query()


def _values(question: str) -> list[Any]:
    amount = pl.col("amount").fill_null(0)
    if question == "Q3":
        return [dp.len()]
    if question == "Q5":
        return [dp.len(), amount.dp.quantile(0.5, candidates=list(range(0, 5001, 10)))]
    return [dp.len(), amount.dp.sum((0, 1000))]


def _asked_for(question: str, row: Sequence[Any], keys: int) -> Row:
    """The released columns as the question wants them."""
    values = list(row[keys:])
    if question == "Q2":
        values.append(values[1] / values[0] if values[0] else None)
    if question == "Q4":
        values[1] = values[1] / values[0] if values[0] else None
    return (*row[:keys], *(values[1:] if question == "Q5" else values))


def prepare(question: str, table: Path, _threads: int) -> Callable[[], Sequence[Row]]:
    """Load the table, and return the asking; Polars has read its number of threads from the environment."""
    month = pl.col("visit_date").dt.month().cast(pl.Int32).alias("m")
    data = pl.scan_parquet(table).with_columns(pl.col("amount").round().cast(pl.Int64), month).collect().lazy()

    def ask() -> Sequence[Row]:
        if question == "Q1":
            query = _query(data, []).truncate_per_group(20).select(dp.len(), pl.col("person_id").dp.n_unique())
            return query.release().collect().rows()
        keys, (groups, rows) = KEYS[question], BOUNDS[question]
        query = (
            _query(data, keys).truncate_per_group(rows, by=keys).truncate_num_groups(groups + 1, by=keys, keep="first")
        )
        found = query.group_by(keys).agg(*_values(question)).release().collect()
        columns = keys + [c for c in found.columns if c not in keys]
        return [_asked_for(question, row, len(keys)) for row in found.select(columns).rows()]

    return ask


if __name__ == "__main__":
    answer(prepare)

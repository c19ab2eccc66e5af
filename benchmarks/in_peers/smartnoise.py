"""SmartNoise SQL on DuckDB: it has no reader of DuckDB, so its reader of PostgreSQL is given a DuckDB connection.

It bounds the rows of a person (20 here, of the person's real rows) and clips amounts to 2,000. Epsilon is for one statistic, so
the budget is divided by the statistics its odometer counts. It reads no MEDIAN.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import duckdb
import snsql

from benchmarks.in_peers.asked import answer
from benchmarks.measure import DELTA, EPSILON, Row

#: Label to (its SQL, how many statistics the odometer counts).
SQL = {
    "Q1": ("SELECT COUNT(*) AS n, COUNT(DISTINCT person_id) AS u FROM db.visits", 2),
    "Q2": ("SELECT city, COUNT(*) AS n, SUM(amount) AS s, AVG(amount) AS a FROM db.visits GROUP BY city", 4),
    "Q3": ("SELECT code, COUNT(*) AS n FROM db.visits GROUP BY code", 2),
    "Q4": ("SELECT city, dept, m, COUNT(*) AS n, AVG(amount) AS a FROM db.visits GROUP BY city, dept, m", 4),
    "Q5": ("SELECT city, MEDIAN(amount) AS q FROM db.visits GROUP BY city", 1),
}
_spent: list[str] = []


class Connection:
    """A DuckDB connection as PostgreSQL's driver would show it: DuckDB's own rollback fails without a transaction."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self.connection = connection

    def cursor(self) -> Connection:
        return self

    def commit(self) -> None:
        """Nothing is written."""

    rollback = commit

    def execute(self, sql: str) -> None:
        self.connection.execute(sql)
        self.description = self.connection.description

    def __iter__(self) -> Iterator[Any]:
        return iter(self.connection.fetchall())


def prepare(question: str, table: Path, threads: int) -> Callable[[], Sequence[Row]]:
    """Load the table, and return the asking."""
    connection = duckdb.connect(config={"threads": threads})
    connection.execute("CREATE SCHEMA db")
    connection.execute(f"CREATE TABLE db.visits AS SELECT *, month(visit_date)::INT AS m FROM '{table}'")
    sql, statistics = SQL[question]
    columns = {
        "person_id": {"type": "int", "private_id": True},
        "city": {"type": "string"},
        "dept": {"type": "string"},
        "code": {"type": "string"},
        "m": {"type": "int", "lower": 1, "upper": 12},
        "amount": {"type": "float", "lower": 0.0, "upper": 2000.0},
    }
    rules = {"max_ids": 20, "row_privacy": False, "censor_dims": question != "Q1", "clamp_counts": False}
    metadata = {"": {"db": {"visits": {**rules, "clamp_columns": True, "use_dpsu": False, **columns}}}}

    def ask() -> Sequence[Row]:
        reader = snsql.from_connection(
            Connection(connection),
            privacy=snsql.Privacy(epsilon=EPSILON / statistics, delta=DELTA),
            metadata=metadata,
            engine="postgres",
        )
        rows = reader.execute(sql)[1:]
        _spent[:] = [f"spent epsilon {reader.odometer.spent[0]:.2f} by its odometer, DuckDB {duckdb.__version__}"]
        return rows

    return ask


if __name__ == "__main__":
    answer(prepare, lambda: "".join(_spent))

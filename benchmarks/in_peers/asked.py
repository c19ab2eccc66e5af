"""What the scripts beside this file share: the table, the plain query, and the line that is printed.

Runs inside the environment of another system, so it needs nothing but the standard library and that environment's DuckDB.
"""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import duckdb

from benchmarks.measure import Measured, Row, compare, said, timed
from benchmarks.tables import QUESTIONS, plain, visits

#: A question that has been asked for so long gets no further pair.
PATIENCE = 60.0


def answer(
    prepare: Callable[[str, Path, int], Callable[[], Sequence[Row]]], note: Callable[[], str] = lambda: ""
) -> None:
    """Measure the question given on the command line; `prepare(question, parquet, threads)` loads and returns the asking."""
    warnings.simplefilter("ignore")
    asked: dict[str, Any] = json.loads(sys.argv[1])
    question, threads = asked["question"], asked["threads"]
    sql, keys = QUESTIONS[question]
    table = visits(asked["rows"])

    def open_plain() -> Callable[[], Sequence[Row]]:
        connection = duckdb.connect(str(plain({"visits": table})), read_only=True, config={"threads": threads})
        return lambda: connection.execute(sql).fetchall()

    named = {"question": question, "system": asked["system"], "threads": threads}
    try:
        ask = prepare(question, table, threads)
        figures = compare(lambda: timed(ask), open_plain, keys, rounds=asked["rounds"], patience=PATIENCE)
    except Exception as error:  # noqa: BLE001 — whatever a system says of a question it cannot answer is its reason
        first = (str(error).strip().splitlines() or [""])[0]
        print(said(Measured(**named, no=f"{type(error).__name__}: {first}"[:160])))
        return
    print(said(Measured(**named, **figures, note=note())))

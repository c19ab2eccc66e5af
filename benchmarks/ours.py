"""One question through the Ask engine, beside plain DuckDB on the table as given, in the same process and with as many threads.

    python -m benchmarks.ours '{"question": "Q1", "sql": "…", …}'

Bounding is what the engine does until it has exact integers of bounded units, the reading for private choices of keys and
bounds included; end to end is from SQL text to the answer with its intervals. Only public pieces are used, all of them in `ask`.
A question that the gate refuses is a result with its reason, not a failure.
"""

from __future__ import annotations

import json
import os
import pickle
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import duckdb
import numpy as np
from numpy.typing import NDArray

from benchmarks.measure import DELTA, EPSILON, Measured, Row, Run, child, compare, peak_mib, said
from compute.engines.duckdb import DuckEngine
from compute.engines.ingest import DuckIngest
from compute.ports import Limits
from privacy.errors import Problem
from privacy.facts import DatasetFacts
from privacy.loss import price
from privacy.mechanisms import release
from privacy.sql import compile_query
from privacy.sql.plan import Cell, Statistic, Units
from sandbox.describe.description import load_description, to_facts

#: One run of the whole benchmark of a question may take this many seconds.
PATIENCE = 3600.0

Found = TypeVar("Found")


@dataclass(frozen=True, kw_only=True)
class Version:
    """An ingested dataset, and the same tables plain."""

    file: Path
    facts: Path
    plain: Path


def ingest(description: str, sources: Mapping[str, Path], folder: Path, plain: Path) -> Version:
    """Make the dataset version that questions run on; its facts lie beside it for the processes that ask."""
    version = Version(file=folder / "version.duckdb", facts=folder / "facts.pickle", plain=plain)
    report = DuckIngest(entropy=os.urandom)(
        to_facts(load_description(description)),
        sources,
        version.file,
        limits=Limits(seconds=PATIENCE),
        progress=_silent,
    )
    version.facts.write_bytes(pickle.dumps(report.facts))
    return version


def _silent(*_: object) -> None:
    """Ingest tells its progress to nobody here."""


class _Clocked:
    """`Units` as the engine gives them, with the seconds that they take."""

    def __init__(self, units: Units) -> None:
        self._units, self.seconds = units, 0.0

    def weights(self) -> tuple[Sequence[Cell], NDArray[np.int64]]:
        return self._timed(self._units.weights)

    def lengths(self, cells: Sequence[Cell]) -> NDArray[np.float64]:
        return self._timed(lambda: self._units.lengths(cells))

    def totals(self, statistics: Sequence[Statistic], cells: Sequence[Cell]) -> list[NDArray[np.int64]]:
        return self._timed(lambda: self._units.totals(statistics, cells))

    def _timed(self, work: Callable[[], Found]) -> Found:
        began = time.perf_counter()
        found = work()
        self.seconds += time.perf_counter() - began
        return found


def ask(engine: DuckEngine, sql: str, facts: DatasetFacts, version: Path, limits: Limits) -> Run:
    """From text to answer, with the seconds of the exact part and of the whole; a worker has one engine, too."""
    began = time.perf_counter()
    plan = compile_query(sql, facts)
    loss = price(EPSILON, DELTA, selects_keys=plan.selections > 0)
    compiled = time.perf_counter()
    with engine.units(version, limits) as units:
        clocked = _Clocked(units(plan))
        opened = time.perf_counter() - compiled
        with engine.finishing(limits) as finish:
            answer = release(plan, lambda _: clocked, loss, engine.beside(finish, version, plan, limits))
    return Run(rows=answer.rows, whole=time.perf_counter() - began, exact=opened + clocked.seconds)


def measure(question: str, sql: str, version: Version, *, threads: int, rounds: int) -> Measured:
    """The figures of one question, taken in two processes of their own (the second for the peak of the plain query)."""
    asked = {"question": question, "sql": sql, "threads": threads, "rounds": rounds, **vars(version)}
    found = child(sys.executable, "benchmarks.ours", asked, PATIENCE)
    if found.no:
        return found
    alone = child(sys.executable, "benchmarks.ours", asked | {"only_plain": True}, PATIENCE)
    return replace(found, plain_peak=alone.plain_peak)


def measured(asked: dict[str, Any]) -> Measured:
    """What the child does."""
    facts: DatasetFacts = pickle.loads(Path(asked["facts"]).read_bytes())
    limits = Limits(seconds=PATIENCE, threads=asked["threads"])

    def open_plain() -> Callable[[], Sequence[Row]]:
        connection = duckdb.connect(asked["plain"], read_only=True, config={"threads": asked["threads"]})
        return lambda: connection.execute(asked["sql"]).fetchall()

    if asked.get("only_plain"):
        open_plain()()
        return Measured(question=asked["question"], plain_peak=peak_mib())
    try:
        keys = sum(output.is_key for output in compile_query(asked["sql"], facts).outputs)
    except Problem as refusal:
        return Measured(question=asked["question"], threads=asked["threads"], no=f"refused: {refusal.say('en')}")
    engine = DuckEngine()
    try:
        figures = compare(
            lambda: ask(engine, asked["sql"], facts, Path(asked["file"]), limits),
            open_plain,
            keys,
            rounds=asked["rounds"],
        )
    except Problem as broken:  # the data are invented, so the operator's reason may be told
        return Measured(
            question=asked["question"], threads=asked["threads"], no=f"failed: {broken.private}", failed=True
        )
    return Measured(question=asked["question"], threads=asked["threads"], **figures)


if __name__ == "__main__":
    print(said(measured(json.loads(sys.argv[1]))))

"""The report: measured figures beside the goals, as Markdown tables.

Owns the goals and how a figure is written; it measures nothing. A goal that is missed is marked so, and a question that has no
figure shows the reason.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from benchmarks.measure import DELTA, EPSILON, Measured
from benchmarks.tables import QUESTIONS

#: Multiples of plain DuckDB at 10 million rows, by threads: what bounding and sums may take, and the whole.
BOUNDING = {1: (0.25, 1.6, 0.65, 0.8, 0.65), 2: (0.25, 1.8, 0.75, 0.9, 0.65)}
WHOLE = {2: (0.4, 2.0, 6.0, 2.2, 1.6)}
#: Where a filter or a join makes DuckDB do the row work.
ROW_WORK = 1.5
#: Peak memory in MiB: 1.5 GB up to 10 million rows, 3 GB above.
PEAK = {False: 1_430.0, True: 2_861.0}
#: Seconds that the noise of 100,000 cells may take on two cores, intervals and shaping included.
NOISE = {("Q3", 2): 1.0}
#: Mean relative error of each value at 1 million rows; and how many private keys must come out.
ERRORS: Mapping[str, tuple[float | None, ...]] = {"Q2": (0.04, 0.04, 0.015), "Q4": (0.24, 0.5), "Q5": (0.015,)}
KEYS = {"Q3": 600}

GOAL_ROWS = 10_000_000

_TPCH = """Queries 3 and 10 show single orders and customers, which is
what privacy hides: as they stand they are refused or show nothing, and 3' and 10' ask the same by month and nation. The text of
all is in [tpch.py](../benchmarks/tpch.py). The plain queries take milliseconds here, so what every question costs at least
(compiling, shaping the answer) weighs much in the multiples."""


def head() -> str:
    """The machine, the date, the versions, and how to read the rest."""
    packages = ", ".join(f"{name} {version(name)}" for name in ("duckdb", "opendp", "numpy", "pyarrow", "sqlglot"))
    asked = [[label, f"`{sql}`"] for label, (sql, _) in QUESTIONS.items()]
    return f"""# Benchmarks

Written by `make bench` on {datetime.now(UTC):%Y-%m-%d}: {os.cpu_count()} cores, {_processor()}, {_memory()}, {platform.system()},
Python {platform.python_version()}, {packages}.

Speed is a multiple of plain DuckDB that runs the same SQL on the ordinary table in the same process with as many threads: the
median over pairs of runs taken in turn, after one run of each that warms up. **Bounding** is until the exact bounded integers
are there, **end to end** from SQL text to the answer with its intervals, **noise** all but bounding. Peak memory is that of a
process which did nothing else. The **error** of a value is its mean relative error over the released cells against the true
answer, in which nobody was bounded, so the bias of bounding counts; it is averaged over all runs. As in a worker, the version
stays open between questions on one side as the ordinary table does on the other. Every question costs epsilon
{EPSILON:g}, delta {DELTA:g}, and protects everything that a person has in the data. ✓ and ✗ say whether a goal is met.

{table("question | of the table of visits", asked)}"""


def _processor() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"{names[0]} ({platform.machine()})" if names else platform.machine()


def _memory() -> str:
    return f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB"


def table(header: str, rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; `header` holds the titles between bars."""
    titles = [title.strip() for title in header.split("|")]
    lines = [titles, ["---"] * len(titles), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def ours(rows: int, found: Sequence[Measured], about: str) -> str:
    """The five questions on a table of `rows` rows."""
    return "\n".join(
        (
            f"## {rows:,} visits\n",
            f"{about} Speed goals are stated for {GOAL_ROWS:,} rows, errors for 1,000,000.\n",
            _speed(rows, found),
            _accuracy(found),
        )
    )


def _speed(rows: int, found: Sequence[Measured]) -> str:
    header = "question | threads | plain DuckDB | bounding | goal | end to end | goal | noise | goal | peak | goal | plain's peak"
    return table(header, [_speed_row(m, PEAK[rows > GOAL_ROWS]) for m in found])


def _speed_row(m: Measured, peak: float) -> list[str]:
    if m.no:
        return [m.question, str(m.threads), _reason(m), *[""] * 9]
    place = list(QUESTIONS).index(m.question)
    bounding, whole = (goals.get(m.threads, (None,) * 5)[place] for goals in (BOUNDING, WHOLE))
    return [
        m.question,
        str(m.threads),
        seconds(m.plain_seconds),
        ratio(m.exact_ratio),
        at_most(m.exact_ratio, bounding),
        ratio(m.whole_ratio),
        at_most(m.whole_ratio, whole),
        seconds(m.noise_seconds),
        at_most(m.noise_seconds, NOISE.get((m.question, m.threads))),
        f"{m.peak:,.0f} MiB",
        at_most(m.peak, peak),
        f"{m.plain_peak:,.0f} MiB",
    ]


def _accuracy(found: Sequence[Measured]) -> str:
    most = max((m.threads for m in found), default=0)
    rows = []
    for m in found:
        if m.threads != most or m.no:
            continue
        goals = ERRORS.get(m.question, ())
        written = " / ".join(f"≤ {goal:g}" for goal in goals if goal is not None)
        if m.question in KEYS:
            written = f"≥ {KEYS[m.question]} keys {_mark(m.released >= KEYS[m.question])}"
        elif goals:
            met = all(e is not None and e <= g for e, g in zip(m.errors, goals, strict=True) if g is not None)
            written += f" {_mark(met)}"
        rows.append([m.question, cells(m), errors(m), written])
    return table("question | cells released of all | error of each value | goal", rows)


def peers(rows: int, threads: int, found: Iterable[Measured], settings: Iterable[str]) -> str:
    """Every system on every question."""
    lines = [[m.question, m.system, *_peer_row(m)] for m in sorted(found, key=lambda m: m.question)]
    header = "question | system | seconds | × plain DuckDB | peak | cells released of all | error of each value | note"
    return "\n".join(
        (
            f"## Beside other systems, {rows:,} visits, {threads} threads\n",
            "Each runs in an environment of its own on a table already in its memory, with bounds an expert would choose:\n",
            *[f"- {line}" for line in settings],
            "",
            "The multiple is of the plain query in the same process, by the DuckDB of that environment.\n",
            table(header, lines),
        )
    )


def _peer_row(m: Measured) -> list[str]:
    if m.no:
        return [f"no: {_reason(m)}", *[""] * 5]
    return [
        seconds(m.whole_seconds),
        ratio(m.whole_ratio),
        f"{m.peak:,.0f} MiB",
        cells(m),
        errors(m),
        m.note,
    ]


def tpch(scale: float, threads: int, found: Sequence[Measured]) -> str:
    """Eleven queries of TPC-H: answered with errors, or refused with the reason."""
    answered = sum(not m.no for m in found)
    header = f"query | plain DuckDB | bounding (goal ≤ {ROW_WORK:g}) | end to end | cells released of all | error of each value"
    lines = [[m.question, *_tpch_row(m)] for m in found]
    return "\n".join(
        (
            f"## TPC-H, scale {scale:g}, {threads} threads\n",
            f"The customer is the unit; {answered} of {len(found)} are answered. {_TPCH}\n",
            table(header, lines),
        )
    )


def _tpch_row(m: Measured) -> list[str]:
    if m.no:
        return [_reason(m), *[""] * 4]
    bounding = f"{ratio(m.exact_ratio)} {_mark(m.exact_ratio <= ROW_WORK)}"
    return [seconds(m.plain_seconds), bounding, ratio(m.whole_ratio), cells(m), errors(m)]


def _reason(m: Measured) -> str:
    """Why there is no figure, as it can stand in a table."""
    return " ".join(m.no.split()).replace("|", "¦")


def _mark(met: bool) -> str:  # noqa: FBT001
    return "✓" if met else "✗"


def at_most(figure: float, goal: float | None) -> str:
    """A goal that a figure must not exceed, and whether it does."""
    return "" if goal is None else f"≤ {goal:,g} {_mark(figure <= goal)}"


def seconds(figure: float) -> str:
    """Seconds, three significant figures."""
    return f"{figure:.3g} s"


def ratio(figure: float) -> str:
    """A multiple of the plain query."""
    return f"{figure:.2f} ×" if figure < 10 else f"{figure:,.0f} ×"


def cells(m: Measured) -> str:
    """How many of the true cells are in the answer."""
    return f"{m.released:,} of {m.true:,}"


def errors(m: Measured) -> str:
    """The error of each value column."""
    return " / ".join("–" if error is None else f"{error:.2g}" for error in m.errors)

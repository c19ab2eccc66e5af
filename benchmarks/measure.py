"""What every measurement shares: pairs of runs, peak memory, errors, and a child process for each figure.

Owns `Measured`, the one shape in which a figure travels from the process that took it to the report. Needs nothing but the
standard library, because it also runs inside the environments of other systems. It never prints and never decides a goal.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
#: The budget of one question, everywhere.
EPSILON, DELTA = 1.0, 1e-7

Row = Sequence[Any]


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One question on one system. Ratios are medians over pairs taken in one process; `no` says why there is no figure.

    `released` of `true` keys are in the answer; `errors` has the mean relative error of each value column over these keys.
    """

    question: str
    system: str = "ours"
    no: str = ""
    failed: bool = False
    threads: int = 0
    plain_seconds: float = 0.0
    exact_ratio: float = 0.0
    whole_ratio: float = 0.0
    whole_seconds: float = 0.0
    noise_seconds: float = 0.0
    peak: float = 0.0
    plain_peak: float = 0.0
    pairs: int = 0
    released: int = 0
    true: int = 0
    errors: list[float | None] = field(default_factory=list)
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Run:
    """What one run of a question gave: rows as (keys…, values…), and the seconds of its parts."""

    rows: Sequence[Row]
    whole: float
    exact: float = 0.0


def timed(work: Callable[[], Sequence[Row]]) -> Run:
    """The work's rows and its seconds of wall clock."""
    began = time.perf_counter()
    rows = work()
    return Run(rows=rows, whole=time.perf_counter() - began)


def peak_mib() -> float:
    """The most memory that this process ever held, in MiB.

    `ru_maxrss` would do, but Linux hands a parent's peak down to its child; the status file counts this program alone.
    """
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def compare(
    ask: Callable[[], Run],
    open_plain: Callable[[], Callable[[], Sequence[Row]]],
    keys: int,
    *,
    rounds: int,
    patience: float = 600.0,
) -> dict[str, Any]:
    """Alternate `ask` with the plain query; the fields of `Measured` that follow.

    The first run of each warms up and is not counted; the peak is read after it, before the plain query opens anything. Pairs
    end after `rounds`, or after one once `patience` seconds have passed.
    """
    began = time.monotonic()
    runs = [ask()]
    peak = peak_mib()
    plain = open_plain()
    truth = plain()
    base: list[float] = []
    while len(base) < rounds and not (base and time.monotonic() - began > patience):
        base.append(timed(plain).whole)
        runs.append(ask())
    counted = runs[1:]
    median = statistics.median
    return {
        "plain_seconds": median(base),
        "exact_ratio": median(r.exact / b for r, b in zip(counted, base, strict=True)),
        "whole_ratio": median(r.whole / b for r, b in zip(counted, base, strict=True)),
        "whole_seconds": median(r.whole for r in counted),
        "noise_seconds": median(r.whole - r.exact for r in counted),
        "peak": peak,
        "pairs": len(base),
        **compared([r.rows for r in runs], truth, keys),
    }


def compared(answers: Sequence[Sequence[Row]], truth: Sequence[Row], keys: int) -> dict[str, Any]:
    """Errors averaged over several draws, and how many of the true keys the last draw holds."""
    true = {_key(row[:keys]): row[keys:] for row in truth}
    width = len(truth[0]) - keys if truth else 0
    found: list[list[float]] = [[] for _ in range(width)]
    for answer in answers:
        for row in answer:
            _collect(found, row[keys:], true.get(_key(row[:keys])))
    released = {_key(row[:keys]) for row in answers[-1]} & set(true)
    return {
        "released": len(released),
        "true": len(true),
        "errors": [statistics.fmean(column) if column else None for column in found],
    }


def _collect(found: list[list[float]], values: Row, exact: Row | None) -> None:
    """The relative error of each value that is there and whose truth is a number other than zero."""
    for column, value, wanted in zip(found, values, exact or (), strict=False):
        if value is not None and wanted:
            column.append(abs(float(value) - float(wanted)) / abs(float(wanted)))


def _key(parts: Iterable[Any]) -> tuple[str, ...]:
    """A key as it compares between systems: a whole number however it is typed, a day also as its midnight."""
    return tuple(
        str(int(p)) if isinstance(p, int | float) and p == int(p) else str(p).removesuffix(" 00:00:00") for p in parts
    )


def child(python: Path | str, module: str, asked: dict[str, Any], seconds: float) -> Measured:
    """Run `module` in a fresh process with `asked` as JSON; its last line is a `Measured`. Stopped after `seconds`."""
    command = [str(python), "-m", module, json.dumps(asked, default=str)]
    threads = str(asked["threads"])
    system = asked.get("system", "ours")
    nothing = Measured(question=asked["question"], system=system, threads=asked["threads"])
    try:
        done = subprocess.run(
            command,
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": str(ROOT), "POLARS_MAX_THREADS": threads, "OMP_NUM_THREADS": threads},
            capture_output=True,
            text=True,
            check=False,
            timeout=seconds,
        )
    except subprocess.TimeoutExpired:
        return replace(nothing, no=f"stopped after {seconds:.0f} s", failed=system == "ours")
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        return replace(nothing, no=last[:200], failed=True)
    return Measured(**json.loads(done.stdout.strip().splitlines()[-1]))


def said(measured: Measured) -> str:
    """The line that a child prints."""
    return json.dumps(asdict(measured))

"""Other systems on the same table: each in a virtual environment of its own, made on demand and kept in the cache.

Owns which systems, in which versions; the scripts that ask them are in `in_peers/`. A system that cannot be installed, cannot
answer a question or takes too long is a line that says so.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.measure import Measured, child
from benchmarks.tables import QUESTIONS, cache

#: One question on one system may take so many seconds, loading included.
LIMIT = 150.0


@dataclass(frozen=True, kw_only=True)
class Peer:
    """A system: what is installed, and the script that asks it."""

    name: str
    script: str
    requirements: tuple[str, ...]
    settings: str


#: SmartNoise's SQL does not run on DuckDB 2 (it orders a window by random()), so it gets an earlier one.
PEERS = (
    Peer(
        name="SmartNoise SQL 1.0.10",
        script="smartnoise",
        requirements=("smartnoise-sql==1.0.10", "duckdb==1.4.5"),
        settings="20 rows a person, amounts up to 2,000; on DuckDB 1.4.5 through its PostgreSQL reader",
    ),
    Peer(
        name="OpenDP 0.16 Polars",
        script="opendp_polars",
        requirements=("opendp[polars]==0.16.0", "duckdb==2.0.0"),
        settings="3 cities and 8 rows in each (10 codes or cells and 1 row) a person, amounts up to 1,000",
    ),
    Peer(
        name="PipelineDP 0.3.1",
        script="pipelinedp",
        requirements=("pipeline-dp==0.3.1", "duckdb==2.0.0"),
        settings="the same bounds as OpenDP; local backend, one thread whatever is given",
    ),
)


class Missing(Exception):
    """A system's environment could not be made."""


def environment(peer: Peer) -> Path:
    """The Python of the system's own environment; installs it when it is not there."""
    named = hashlib.sha256(" ".join(peer.requirements).encode()).hexdigest()[:8]
    folder = cache() / f"{peer.script}-{named}"
    python, finished = folder / "bin" / "python", folder / "installed"
    if not finished.exists():
        uv = Path(sys.executable).parent / "uv"
        _run(str(uv), "venv", "--quiet", "--clear", "--python", sys.executable, str(folder))
        _run(str(uv), "pip", "install", "--quiet", "--python", str(python), *peer.requirements)
        finished.touch()
    return python


def _run(*command: str) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=900)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Missing(f"{type(error).__name__}: {command[0]} {command[1]}") from error
    if done.returncode != 0:
        raise Missing((done.stderr.strip().splitlines() or ["no reason given"])[0][:160])


def measure(rows: int, threads: int, rounds: int) -> Iterator[Measured]:
    """Every question on every system."""
    for peer in PEERS:
        try:
            python = environment(peer)
        except Missing as reason:
            yield Measured(question="all", system=peer.name, no=f"not installed: {reason}")
            continue
        for question in QUESTIONS:
            asked = {"question": question, "system": peer.name, "rows": rows, "threads": threads, "rounds": rounds}
            yield child(python, f"benchmarks.in_peers.{peer.script}", asked, LIMIT)

"""The engine's self-test: tries to leave, and names every way out that is open.

Owns a list of hostile texts and the throw-away version they run on. The compiler would never write such text; the lock-down
must hold all the same (law 10). Used by `sandboxd doctor` and by the attack tests, on the very connections that answer.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import duckdb

from compute.engines.connection import opened
from compute.ports import Limits
from privacy.errors import Fault


def escapes(limits: Limits, scratch: Path) -> list[str]:
    """The names of all ways out that are open; none when the engine is locked down. `scratch` must be writable."""
    with tempfile.TemporaryDirectory(prefix=".selftest-", dir=scratch) as folder:
        version, loot = Path(folder) / "version.duckdb", Path(folder) / "loot.csv"
        with duckdb.connect(str(version)) as connection:
            connection.execute("CREATE TABLE t AS SELECT 41 AS n")
        loot.write_text("secret\n", encoding="utf-8")
        with opened(str(version), limits, read_only=True) as connection:
            if connection.execute("SELECT n + 1 FROM t").fetchall() != [(42,)]:
                raise Fault(private="the self-test's harmless question gave another answer")
        return [name for name, text in _ways_out(Path(folder), loot) if _runs(version, text, limits)]


def _ways_out(folder: Path, loot: Path) -> Iterator[tuple[str, str]]:
    target = folder / "out.csv"
    yield "read a file", f"SELECT content FROM read_text('{loot}')"
    yield "read a CSV file", f"SELECT * FROM read_csv('{loot}')"
    yield "read by replacement", f"SELECT * FROM '{loot}'"
    yield "list files", f"SELECT * FROM glob('{folder}/*')"
    yield "write a file", f"COPY (SELECT 1) TO '{target}'"
    yield "export", f"EXPORT DATABASE '{folder / 'export'}'"
    yield "attach a file", f"ATTACH '{folder / 'other.duckdb'}' AS other"
    yield "install an extension", "INSTALL httpfs"
    yield "load an extension", f"LOAD '{folder / 'evil.duckdb_extension'}'"
    yield "reach the network", "SELECT * FROM read_csv('http://127.0.0.1:9/x.csv')"
    yield "unlock the settings", "SET enable_external_access = true"
    yield "lift the memory limit", "SET memory_limit = '1TB'"
    yield "change the data", "UPDATE t SET n = 0"
    yield "make a table", "CREATE TABLE evil AS SELECT 1"
    yield "call Python", "SELECT * FROM evil_frame"


def _runs(version: Path, text: str, limits: Limits) -> bool:
    evil_frame = [1]  # a Python replacement scan would find a variable of this name
    with suppress(Fault), opened(str(version), limits, read_only=True) as connection:
        connection.execute(text).fetchall()
        return bool(evil_frame)
    return False

"""One locked-down DuckDB session that can be watched and stopped while a statement runs.

Owns how ingest and draft talk to DuckDB: memory and thread limits, a private folder for spilling, no file outside it but
those named, configuration locked. Every statement reports progress and obeys the deadline; an exception raised by the
progress callback interrupts the statement and is passed on. It knows no table.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as StillRunning
from pathlib import Path
from types import TracebackType
from typing import Any

import duckdb

from compute.engines.layout import literal
from compute.engines.problems import IngestTooSlow
from compute.ports import Limits, Progress

#: DuckDB counts its buffers, not all it allocates: it is given this share of the memory, measured on ten million rows.
SHARE = 0.5
_GLANCE = 0.2

Row = tuple[Any, ...]


class Session:
    """A connection for one piece of work in one private folder."""

    def __init__(self, folder: Path, readable: Sequence[Path], limits: Limits, progress: Progress) -> None:
        self.limits = limits
        self.progress = progress
        self._deadline = time.monotonic() + limits.seconds
        self._pool = ThreadPoolExecutor(max_workers=1)
        self.connection = duckdb.connect(
            config={"threads": limits.threads, "memory_limit": f"{int(limits.memory * SHARE / 1024**2)}MiB"}
        )
        allowed = ", ".join(literal(str(path)) for path in readable)
        for setting in (
            "enable_progress_bar = true",
            "enable_progress_bar_print = false",
            "TimeZone = 'UTC'",
            f"temp_directory = {literal(str(folder / 'spill'))}",
            f"allowed_directories = [{literal(str(folder) + '/')}]",
            f"allowed_paths = [{allowed}]",
            "autoinstall_known_extensions = false",
            "autoload_known_extensions = false",
            "enable_external_access = false",
            "lock_configuration = true",
        ):
            self.connection.execute(f"SET {setting}")

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.connection.close()
        self._pool.shutdown()

    def run(self, sql: str, stage: str = "") -> list[Row]:
        """All rows of one statement. `stage` names it to the progress callback."""
        pending: Future[list[Row]] = self._pool.submit(lambda: self.connection.execute(sql).fetchall())
        try:
            while True:
                try:
                    return pending.result(timeout=_GLANCE)
                except StillRunning:
                    self.report(stage, max(0, int(self.connection.query_progress())), 100)
        except BaseException:
            self.connection.interrupt()
            pending.exception()
            raise

    def report(self, stage: str, done: int, total: int) -> None:
        """Tell how far the work is, and stop it when its time is over."""
        if time.monotonic() > self._deadline:
            raise IngestTooSlow(seconds=int(self.limits.seconds))
        self.progress(stage, done, total)

"""`python -m benchmarks`: measure, and write `docs/benchmarks.md`.

    python -m benchmarks [--rows 1000000,10000000] [--peers] [--scale 0.1] [--only ours,peers,tpch,ingest] [--out FILE]

Owns what is run and in which order. It stays small and loads no engine: every figure is taken in a process of its own, so that
nothing before it counts. Tables and the environments of other systems are kept in the cache; dataset versions are made anew.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from benchmarks import ingest, ours, peers, report, tables, tpch
from benchmarks.measure import Measured

REPORT = Path(__file__).parents[1] / "docs" / "benchmarks.md"
PARTS = ("ours", "peers", "tpch", "ingest")
THREADS = (1, 2)
#: Other systems are measured on a table of at most so many rows.
PEER_ROWS = 1_000_000


class Benchmarks:
    """One run of what was chosen. It remembers how often something failed, and what the peers are compared with."""

    def __init__(self, chosen: argparse.Namespace) -> None:
        self.chosen = chosen
        self.failed = 0
        self.found: dict[int, list[Measured]] = {}

    def sections(self) -> Iterator[str]:
        """The report, section by section; one that breaks down says so and takes no other with it."""
        yield report.head()
        rows: list[int] = self.chosen.rows
        works = {
            "ours": [partial(self.visits, number, THREADS) for number in rows],
            "peers": [partial(self.peers, max((n for n in rows if n <= PEER_ROWS), default=PEER_ROWS))],
            "tpch": [partial(self.tpch, self.chosen.scale)],
            "ingest": [partial(self.ingest, rows[-1])],
        }
        for part in self.chosen.only:
            for work in works[part]:
                try:
                    yield work()
                except Exception as error:  # noqa: BLE001 — figures taken so far are worth keeping
                    traceback.print_exc()
                    self.failed += 1
                    yield f"## {part}\n\nFailed: {type(error).__name__}.\n"

    def told(self, found: Measured) -> Measured:
        """Say on the terminal what was found, and remember a failure."""
        self.failed += found.failed
        parts = f"bounding {found.exact_ratio:.2f} ×, " if found.exact_ratio else ""
        figures = found.no or f"{parts}end to end {found.whole_ratio:.2f} ×"
        print(f"  {found.question} {found.system}, {found.threads} threads: {figures}", flush=True)
        return found

    def visits(self, rows: int, threads: tuple[int, ...]) -> str:
        """The five questions through our engine."""
        print(f"{rows:,} visits …", flush=True)
        with tempfile.TemporaryDirectory() as folder:
            sources = {"visits": tables.visits(rows)}
            plain = tables.plain(sources)
            began = time.monotonic()
            version = ours.ingest(tables.DESCRIPTION, sources, Path(folder), plain)
            size = version.file.stat().st_size / 2**20
            about = f"{tables.ABOUT}\nIngest took {time.monotonic() - began:.0f} s; the version has {size:,.0f} MiB."
            found = [
                self.told(ours.measure(question, sql, version, threads=n, rounds=self.chosen.rounds))
                for question, (sql, _) in tables.QUESTIONS.items()
                for n in threads
            ]
        self.found[rows] = [m for m in found if m.threads == THREADS[-1]]
        return report.ours(rows, found, about)

    def peers(self, rows: int) -> str:
        """The same questions through other systems, ours beside them."""
        if not self.chosen.peers:
            return (
                "## Beside other systems\n\nNot measured in this run: `make bench PEERS=1` makes their environments.\n"
            )
        if rows not in self.found:
            self.visits(rows, THREADS[-1:])
        beside = [replace(m, system="**ours**") for m in self.found[rows]]
        print(f"other systems, {rows:,} visits …", flush=True)
        found = [self.told(m) for m in peers.measure(rows, THREADS[-1], self.chosen.rounds)]
        settings = ["ours: bounds that the question chooses for itself, privately and within its price."]
        settings += [f"{peer.name}: {peer.settings}." for peer in peers.PEERS]
        return report.peers(rows, THREADS[-1], [*beside, *found], settings)

    def tpch(self, scale: float) -> str:
        """Eleven queries of TPC-H through our engine."""
        print(f"TPC-H at scale {scale:g} …", flush=True)
        with tempfile.TemporaryDirectory() as folder:
            sources = tpch.sources(scale, Path(folder))
            plain = tables.plain(sources, Path(folder))
            version = ours.ingest(tpch.DESCRIPTION, sources, Path(folder), plain)
            found = [
                self.told(ours.measure(query, sql, version, threads=THREADS[-1], rounds=self.chosen.rounds))
                for query, sql in tpch.QUERIES.items()
            ]
        return report.tpch(scale, THREADS[-1], found)

    def ingest(self, rows: int) -> str:
        """A steward's file in every format."""
        return f"## Ingest\n\n{report.table(ingest.HEADER, [ingest.measure(rows, form) for form in ingest.FORMS])}"


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    """What the command line chooses."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure, and write docs/benchmarks.md.")
    parser.add_argument(
        "--rows", type=_numbers, default=[1_000_000, 10_000_000], help="rows of the table, smallest first"
    )
    parser.add_argument("--peers", action="store_true", help="also other systems, each in its own environment")
    parser.add_argument("--scale", type=float, default=0.1, help="scale of TPC-H")
    parser.add_argument("--rounds", type=int, default=5, help="pairs of runs behind each ratio")
    parser.add_argument("--only", type=_parts, default=list(PARTS), help=f"some of {', '.join(PARTS)}")
    parser.add_argument("--out", type=Path, default=REPORT, help="where the report is written")
    return parser.parse_args(given)


def _numbers(text: str) -> list[int]:
    return sorted(int(number.replace("_", "")) for number in text.split(","))


def _parts(text: str) -> list[str]:
    wanted = text.split(",")
    if unknown := set(wanted) - set(PARTS):
        raise argparse.ArgumentTypeError(f"no part is named {', '.join(sorted(unknown))}")
    return wanted


def main() -> int:
    """Run what was chosen; the exit code is 1 when something of ours failed or a system broke down."""
    chosen = arguments()
    run = Benchmarks(chosen)
    text = "\n".join(run.sections())
    chosen.out.write_text(text, encoding="utf-8")
    print(text)
    print(f"wrote {chosen.out}; {run.failed} failed")
    return 1 if run.failed else 0


if __name__ == "__main__":
    sys.exit(main())

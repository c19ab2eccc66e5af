"""`python -m benchmarks`: run every benchmark beside this file, one after the other, and write `docs/benchmarks.md`.

A benchmark is a script that prints plain text or Markdown; its module docstring says what it measures. This file never
measures anything itself: it adds the machine, the date and the seconds, so that a figure is never read without them.
"""

from __future__ import annotations

import ast
import os
import platform
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

HERE = Path(__file__).parent
REPORT = HERE.parent / "docs" / "benchmarks.md"


def purpose(script: Path) -> str:
    """The first line of the script's docstring."""
    text = ast.get_docstring(ast.parse(script.read_text(encoding="utf-8"))) or script.stem
    return text.splitlines()[0]


def section(script: Path) -> tuple[str, bool]:
    """Run one benchmark and return its Markdown section and whether it ended well."""
    started = time.monotonic()
    done = subprocess.run([sys.executable, str(script)], cwd=HERE.parent, capture_output=True, text=True, check=False)
    seconds = time.monotonic() - started
    text = (
        done.stdout
        if done.returncode == 0
        else f"{done.stdout}\n{done.stderr}\nfailed with exit code {done.returncode}\n"
    )
    head = f"## {script.stem}\n\n{purpose(script)}\n\n"
    return f"{head}```text\n{text.strip()}\n```\n\n{seconds:.0f} s in all.\n", done.returncode == 0


def main() -> int:
    """Run all benchmarks; the exit code is 1 when one of them failed."""
    scripts = sorted(p for p in HERE.glob("*.py") if not p.name.startswith("_"))
    machine = f"{os.cpu_count()} cores, {platform.machine()}, {platform.system()}, Python {platform.python_version()}"
    parts = [f"# Benchmarks\n\nWritten by `make bench` on {datetime.now(UTC):%Y-%m-%d}: {machine}.\n"]
    good = True
    for script in scripts:
        print(f"{script.stem} …", flush=True)
        text, well = section(script)
        parts.append(text)
        good &= well
    REPORT.write_text("\n".join(parts), encoding="utf-8")
    print(f"wrote {REPORT.relative_to(HERE.parent)}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())

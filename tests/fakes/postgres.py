"""A real PostgreSQL server for tests: found on the machine, started on a Unix socket in a temporary folder, stopped."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_QUICK = "-c listen_addresses='' -c fsync=off -c synchronous_commit=off -c full_page_writes=off -c max_connections=60"


def binaries() -> Path | None:
    """The newest installed server's programs, or None."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda p: int(p.parts[-3]))
    if found:
        return found[-1].parent
    on_path = shutil.which("postgres")
    return Path(on_path).resolve().parent if on_path else None


def _owner() -> dict[str, object]:
    """The server refuses to run as root: then it runs as the system's own user for it, or as nobody."""
    if os.geteuid() != 0:
        return {}
    names = {entry.pw_name for entry in pwd.getpwall()}
    who = pwd.getpwnam("postgres" if "postgres" in names else "nobody")
    return {"user": who.pw_uid, "group": who.pw_gid, "extra_groups": ()}


@contextmanager
def server() -> Iterator[str]:
    """Yields the folder of the socket; every user on it is trusted, nobody else can reach it."""
    programs, owner = binaries(), _owner()
    assert programs is not None
    with tempfile.TemporaryDirectory(prefix="pg-", dir="/tmp") as folder:
        if owner:
            os.chown(folder, int(str(owner["user"])), int(str(owner["group"])))
        files = Path(folder) / "db"

        def run(program: str, *arguments: str) -> None:
            command = [str(programs / program), *arguments]
            subprocess.run(command, check=True, cwd=folder, stdout=subprocess.DEVNULL, **owner)  # type: ignore[call-overload]

        run("initdb", "-D", str(files), "-U", "tests", "--auth=trust", "-E", "UTF8", "--locale=C", "--no-sync")
        log = str(Path(folder) / "log")
        run("pg_ctl", "-D", str(files), "-l", log, "-w", "-o", f"{_QUICK} -k {folder}", "start")
        try:
            yield folder
        finally:
            run("pg_ctl", "-D", str(files), "-w", "-m", "immediate", "stop")


def url(folder: str, database: str) -> str:
    """The SQLAlchemy URL of a database of that server."""
    return f"postgresql+psycopg://tests@/{database}?host={folder}"

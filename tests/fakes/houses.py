"""A House on the fake or on SQLite, with real adapters for everything else and a clock that stands still."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from compute.engines.duckdb import DuckEngine
from compute.engines.ingest import DuckIngest
from compute.pace import Pace
from compute.storage import LocalVault
from sandbox.journeys.house import House
from sandbox.store import Argon2Passwords, SqlRegistry, migrate
from tests.fakes.cast import SIGNER, Still
from tests.fakes.registry import FakeRegistry

#: For tests that are not about time: an outcome is seen as soon as it is there.
AT_ONCE = Pace(sleep=lambda _seconds: None)


@dataclass
class Announced:
    """The queue: it remembers the ids."""

    ids: list[str] = field(default_factory=list)

    def send(self, job_id: str) -> None:
        self.ids.append(job_id)


@contextmanager
def open_house(kind: str, folder: Path) -> Iterator[tuple[House, Still]]:
    """A house and its clock; `kind` is "fake" or "sqlite"."""
    clock = Still()
    url = f"sqlite:///{folder / 'registry.db'}"
    stored = None
    if kind == "sqlite":
        migrate(url)
        stored = SqlRegistry(url, signer=SIGNER, clock=clock)
    (folder / "staging").mkdir()
    yield (
        House(
            registry=stored or FakeRegistry(signer=SIGNER, clock=clock),
            vault=LocalVault(folder / "vault"),
            engine=DuckEngine(),
            ingest=DuckIngest(entropy=secrets.token_bytes),
            queue=Announced(),
            signer=SIGNER,
            passwords=Argon2Passwords(),
            clock=clock,
            entropy=secrets.token_bytes,
            staging=folder / "staging",
            pace=AT_ONCE,
        ),
        clock,
    )
    if stored is not None:
        stored.close()

"""One registry after another: the fake, SQLite, and PostgreSQL where its server is installed."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import psycopg
import pytest

from access.ports import Registry
from sandbox.journeys.house import Work
from sandbox.store import SqlRegistry, migrate
from tests.fakes import postgres
from tests.fakes.cast import SIGNER, Still
from tests.fakes.registry import FakeRegistry

KINDS = ["fake", "sqlite", *(["postgresql"] if postgres.binaries() else [])]
_numbers = count(1)


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("template") / "registry.db"
    migrate(f"sqlite:///{file}")
    return file


@pytest.fixture(scope="session")
def postgres_folder() -> Iterator[str]:
    with postgres.server() as folder:
        with psycopg.connect(f"host={folder} user=tests dbname=postgres", autocommit=True) as connection:
            connection.execute("CREATE DATABASE template_registry")
        migrate(postgres.url(folder, "template_registry"))
        yield folder


@pytest.fixture
def url_of(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str], str]:
    """A fresh, migrated database of a kind."""

    def fresh(kind: str) -> str:
        if kind == "sqlite":
            file = tmp_path / f"registry-{next(_numbers)}.db"
            shutil.copy(request.getfixturevalue("sqlite_template"), file)
            return f"sqlite:///{file}"
        folder: str = request.getfixturevalue("postgres_folder")
        name = f"registry_{next(_numbers)}"
        with psycopg.connect(f"host={folder} user=tests dbname=postgres", autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name} TEMPLATE template_registry")  # type: ignore[arg-type]
        return postgres.url(folder, name)

    return fresh


@pytest.fixture
def clock() -> Still:
    return Still()


@pytest.fixture(params=KINDS)
def registry(request: pytest.FixtureRequest, url_of: Callable[[str], str], clock: Still) -> Iterator[Registry[Work]]:
    if request.param == "fake":
        yield FakeRegistry(signer=SIGNER, clock=clock)
        return
    opened = SqlRegistry(url_of(request.param), signer=SIGNER, clock=clock)
    yield opened
    opened.close()


@pytest.fixture(params=[kind for kind in KINDS if kind != "fake"])
def database(request: pytest.FixtureRequest, url_of: Callable[[str], str]) -> str:
    """The URL of a fresh database, for what only a database can show."""
    return url_of(request.param)

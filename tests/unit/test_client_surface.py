"""What `import sandbox` is: a dozen names, no server module, and quick."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import pytest

import sandbox
from sandbox.client import errors

SERVER = {
    "access", "compute", "privacy", "fastapi", "starlette", "sqlalchemy", "alembic", "duckdb", "opendp", "numpy", "pandas",
    "polars", "pyarrow", "celery", "kombu", "sqlglot", "uvicorn", "minio", "psycopg", "structlog",
    "sandbox.api", "sandbox.store", "sandbox.journeys", "sandbox.wiring", "sandbox.worker", "sandbox.server",
    "sandbox.settings", "sandbox.demo",
}  # fmt: skip


def modules_after(code: str) -> set[str]:
    """The names in sys.modules of a fresh interpreter that ran the code."""
    script = f"{code}\nimport json, sys; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_the_public_names_are_sorted_and_real() -> None:
    assert sandbox.__all__ == sorted(sandbox.__all__)
    assert dir(sandbox) == sandbox.__all__
    for name in sandbox.__all__:
        assert getattr(sandbox, name).__name__ == name
    assert set(sandbox._ROOMS) <= set(sandbox.__all__)


def test_every_public_class_and_method_says_what_it_is() -> None:
    for name in sandbox.__all__:
        thing = getattr(sandbox, name)
        assert thing.__doc__, name
        if isinstance(thing, type):
            bare = [
                key
                for key, value in vars(thing).items()
                if not key.startswith("_") and (callable(value) or isinstance(value, property)) and not value.__doc__
            ]
            assert not bare, f"{name}: {bare}"


def test_there_are_no_other_names() -> None:
    with pytest.raises(AttributeError, match="no attribute 'wiring_of_the_server'"):
        _ = sandbox.wiring_of_the_server
    assert errors.SandboxError in errors.BudgetExhausted.__mro__


def test_importing_the_package_loads_nothing_else() -> None:
    loaded = modules_after("import sandbox")
    assert {name for name in loaded if name.partition(".")[0] == "sandbox"} == {"sandbox"}
    assert not loaded & SERVER
    assert not loaded & {"httpx", "pydantic", "rich", "typer"}


@pytest.mark.parametrize(
    "code",
    [
        "import sandbox; [getattr(sandbox, name) for name in sandbox.__all__]",
        "import sandbox.cli; sandbox.cli.build()",
        "import sandbox.wire",
        "import sandbox; sandbox.connect('http://127.0.0.1:9', 'token').dataset",
    ],
)
def test_using_the_client_loads_no_server_module(code: str) -> None:
    assert not modules_after(code) & SERVER


def test_importing_is_quick() -> None:
    def seconds(code: str) -> float:
        started = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True)
        return time.perf_counter() - started

    assert min(seconds("import sandbox") for _ in range(3)) < min(seconds("pass") for _ in range(3)) + 0.3

"""Bringing a database to the tables of this release: Alembic, run as a function.

Owns the way from any earlier state to the newest one. It never drops data, and the application never creates tables in
passing: an instance that was not migrated is not ready.
"""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.engine import Connection

from privacy.errors import Conflict, Text

_SCRIPTS = Path(__file__).with_name("migrations")


class RegistryNewer(Conflict):
    """The database was written by a later release."""

    code = "registry.newer"
    sentence = Text(
        "The registry was migrated by a later release ({revision}).", "登记库已由更新的版本迁移（{revision}）。"
    )
    hint = Text("Run that release, or restore a backup.", "请使用该版本运行，或恢复备份。")


def _config(connection: Connection | None = None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(_SCRIPTS).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def newest() -> str:
    """The revision of this release."""
    head = ScriptDirectory.from_config(_config()).get_current_head()
    assert head is not None
    return head


def migrate(url: str) -> str:
    """Bring the database to this release's tables, in one transaction; returns the revision. Safe to repeat."""
    from sandbox.store.registry import connect

    engine = connect(url)
    try:
        with engine.begin() as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(sa.text("SELECT pg_advisory_xact_lock(727274)"))  # one migration at a time
            known = {script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()}
            current = MigrationContext.configure(connection).get_current_revision()
            if current is not None and current not in known:
                raise RegistryNewer(revision=current)
            command.upgrade(_config(connection), "head")
    finally:
        engine.dispose()
    return newest()


def is_current(connection: Connection) -> bool:
    """True when the tables are those of this release."""
    return MigrationContext.configure(connection).get_current_revision() == newest()

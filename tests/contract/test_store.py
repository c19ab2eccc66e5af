"""What only a database can show: constraints, triggers, migrations, snapshots, and being out of reach."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from access.people import Organisation
from access.ports import Cursor, IngestRecord
from sandbox.journeys.house import Work
from sandbox.store import Argon2Passwords, RegistryBusy, SqlRegistry, migrate
from sandbox.store import registry as store
from sandbox.store.migrate import RegistryNewer, newest
from sandbox.store.registry import connect
from sandbox.store.tables import APPEND_ONLY, TextUnstorable, metadata
from tests.fakes import cast
from tests.fakes.cast import NOW, SIGNER, Events
from tests.fakes.furnished import furnish

event = Events()


def open_registry(url: str) -> SqlRegistry:
    return SqlRegistry(url, signer=SIGNER, clock=lambda: NOW)


@pytest.fixture
def filled(database: str) -> str:
    """A database with a row in every append-only table."""
    registry = open_registry(database)
    furnish(registry)
    with registry.begin() as work:
        work.jobs.add(cast.job(), entry=event())
        work.receipts.add(cast.receipt(), entry=event())
        work.answers.add(cast.answer(), entry=event())
        work.requests.add_review(cast.ballot(cast.RUI), entry=event())
        record = IngestRecord(dataset=cast.DATASET.name, job="job-1", version=None, report="{}", at=NOW)
        work.catalogue.add_report(record, entry=event())
    registry.close()
    return database


def test_the_migrations_make_exactly_the_tables(database: str) -> None:
    engine = connect(database)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": False})
        assert compare_metadata(context, metadata) == []
        found = {
            (table, column["name"], column["nullable"])
            for table in metadata.tables
            for column in sa.inspect(connection).get_columns(table)
        }
    wanted = {(t.name, c.name, bool(c.nullable)) for t in metadata.tables.values() for c in t.columns}
    assert found == wanted
    engine.dispose()


def test_migrating_twice_changes_nothing_and_a_later_release_is_refused(database: str) -> None:
    assert migrate(database) == migrate(database) == newest()
    engine = connect(database)
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    engine.dispose()
    with pytest.raises(RegistryNewer) as refused:
        migrate(database)
    assert "9999" in refused.value.say("zh-CN")
    registry = open_registry(database)
    assert not registry.ready()
    registry.close()


def test_a_database_that_was_not_migrated_is_not_ready(tmp_path: Path) -> None:
    registry = open_registry(f"sqlite:///{tmp_path / 'empty.db'}")
    assert not registry.ready()
    registry.close()
    unreachable = open_registry(f"sqlite:///{tmp_path / 'no' / 'such' / 'folder.db'}")
    assert not unreachable.ready()
    with pytest.raises(RegistryBusy), unreachable.begin():
        pass


@pytest.mark.parametrize("table", APPEND_ONLY)
def test_what_was_appended_cannot_be_changed_by_anybody(filled: str, table: str) -> None:
    engine = connect(filled)
    column = "at" if table in ("reports", "reviews") else {"log_nodes": "hash", "log_heads": "root"}.get(table)
    column = column or {"log_entries": "leaf", "ledger_lines": "rho"}.get(table, "created_at")
    attempts = [f'UPDATE {table} SET "{column}" = "{column}"', f"DELETE FROM {table}"]
    if engine.dialect.name == "postgresql":
        attempts.append(f"TRUNCATE {table} CASCADE")
    for attempt in attempts:
        with pytest.raises(sa.exc.DBAPIError, match="append-only"), engine.begin() as connection:
            connection.execute(sa.text(attempt))
    with engine.connect() as connection:
        assert connection.execute(sa.text(f"SELECT count(*) FROM {table}")).scalar_one() > 0
    engine.dispose()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE accounts SET reserved_rho = limit_rho + 1",
        "UPDATE accounts SET spent_rho = limit_rho, reserved_rho = 1",
        "UPDATE accounts SET reserved_delta = limit_delta + 1",
        "UPDATE accounts SET spent_rho = -1",
        "UPDATE accounts SET reserved_delta = -1",
        "UPDATE accounts SET limit_rho = -1",
        "INSERT INTO log_state (id, size, peaks) VALUES (2, 0, '')",
        "UPDATE accounts SET project = ''",
        "DELETE FROM projects",
    ],
)
def test_constraints_stand_behind_the_ledger(filled: str, statement: str) -> None:
    engine = connect(filled)
    with pytest.raises(sa.exc.IntegrityError), engine.begin() as connection:
        connection.execute(sa.text(statement))
    engine.dispose()


def test_a_reader_sees_one_moment_while_others_write(database: str) -> None:
    registry = open_registry(database)
    furnish(registry)
    with registry.read() as reading:
        before = reading.people.organisations(Cursor()).items
        with registry.begin() as work:
            work.people.add_organisation(Organisation(id="new", name="New"), entry=event())
        assert reading.people.organisations(Cursor()).items == before
    with registry.read() as reading:
        assert len(reading.people.organisations(Cursor()).items) == len(before) + 1
    registry.close()


def test_a_reading_connection_refuses_writes_itself(database: str) -> None:
    """Below the repositories too: the database was told that this transaction only reads."""
    registry = open_registry(database)
    with pytest.raises(sa.exc.DBAPIError), registry._open(writes=False) as connection:
        connection.execute(sa.text("DELETE FROM idempotency"))
    with registry.begin() as work:
        work.log.append(event())
    registry.close()


def test_a_writer_whose_turn_never_comes_is_told_so(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "BUSY_SECONDS", 0.05)
    first, second = open_registry(database), open_registry(database)
    with first.begin() as work:
        work.log.append(event())
        with pytest.raises(RegistryBusy) as refused, second.begin():
            pass
    assert "lock" in refused.value.private
    assert "lock" not in refused.value.say("en")
    with second.begin() as work:
        work.log.append(event())
    first.close()
    second.close()


def test_a_moment_without_a_zone_cannot_be_stored(database: str) -> None:
    registry = open_registry(database)
    furnish(registry)
    with pytest.raises((sa.exc.StatementError, ValueError)), registry.begin() as work:
        work.people.disable(cast.LI.id, NOW.replace(tzinfo=None), entry=event())
    registry.close()


def test_passwords_are_argon2id_and_nobody_is_told_which_login_exists() -> None:
    passwords = Argon2Passwords()
    stored = passwords.hash("correct horse battery")
    assert stored.startswith("$argon2id$")
    assert stored != passwords.hash("correct horse battery")
    assert passwords.verify("correct horse battery", stored)
    assert not passwords.verify("correct horse batterz", stored)
    assert not passwords.verify("correct horse battery", None)
    assert not passwords.verify("correct horse battery", "not a hash")


@pytest.mark.parametrize("text", ["\0", "li\0", "\ud800"])
def test_a_text_no_database_keeps_is_the_askers_mistake(database: str, text: str) -> None:
    """Otherwise one database would answer "not found" and the other fall over."""
    registry = open_registry(database)
    furnish(registry)
    lookups: list[Callable[[Work], object]] = [
        lambda work: work.people.principal_by_login(text),
        lambda work: work.people.project(text),
        lambda work: work.catalogue.get(text),
        lambda work: work.jobs.get(text),
        lambda work: work.idempotency.lookup(cast.LI.id, text, "d"),
        lambda work: work.ledger.accounts(Cursor(), dataset=text),
    ]
    for look in lookups:
        with pytest.raises(TextUnstorable), registry.read() as work:
            look(work)
    with pytest.raises(TextUnstorable), registry.begin() as work:
        work.people.add_organisation(Organisation(id="x", name=text), entry=event())
    with registry.begin() as work:
        work.people.add_organisation(Organisation(id="x", name="𝔛 字"), entry=event())
    registry.close()

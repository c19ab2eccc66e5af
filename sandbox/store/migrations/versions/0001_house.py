"""The house's first tables, and the triggers that keep what was appended as it was.

Owns the first step of the tables' history, frozen: it names every column itself and never reads today's table
definitions. Never edit it after a release.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

ID = sa.String(length=64)
MOMENT = sa.BigInteger()  # microseconds since 1970, UTC
WHOLE = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
APPEND_ONLY = (
    "log_entries",
    "log_nodes",
    "log_heads",
    "ledger_lines",
    "receipts",
    "answers",
    "reviews",
    "versions",
    "reports",
)


def upgrade() -> None:
    """Forward."""
    _log_entries()
    _log_heads()
    _log_nodes()
    _log_state()
    _organisations()
    _principals()
    _datasets()
    _idempotency()
    _projects()
    _tokens()
    _accounts()
    _jobs()
    _members()
    _reports()
    _requests()
    _uploads()
    _versions()
    _grants()
    _receipts()
    _reservations()
    _reviews()
    _answers()
    _ledger_lines()
    state = sa.table("log_state", sa.column("id"), sa.column("size"), sa.column("peaks", sa.LargeBinary()))
    op.execute(sa.insert(state).values(id=1, size=0, peaks=b""))
    if op.get_bind().dialect.name == "postgresql":
        _refuse_changes_postgresql()
    else:
        _refuse_changes_sqlite()


def _refuse_changes_sqlite() -> None:
    for table in APPEND_ONLY:
        for verb in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER {table}_refuses_{verb.lower()} BEFORE {verb} ON {table} "
                f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
            )


def _refuse_changes_postgresql() -> None:
    op.execute(
        "CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION '% is append-only', TG_TABLE_NAME; END $$"
    )
    for table in APPEND_ONLY:
        op.execute(
            f"CREATE TRIGGER {table}_refuses_change BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
        )


def _each(kind: sa.types.TypeEngine[Any], *names: str) -> list[sa.Column[Any]]:
    return [sa.Column(name, kind, nullable=False) for name in names]


def _log_entries() -> None:
    op.create_table(
        "log_entries",
        sa.Column("index", WHOLE, autoincrement=False, nullable=False),
        sa.Column("leaf", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("index", name="pk_log_entries"),
    )


def _log_heads() -> None:
    op.create_table(
        "log_heads",
        sa.Column("size", WHOLE, autoincrement=False, nullable=False),
        sa.Column("root", sa.LargeBinary(), nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        sa.Column("key_id", ID, nullable=False),
        sa.Column("signature", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("size", name="pk_log_heads"),
    )


def _log_nodes() -> None:
    op.create_table(
        "log_nodes",
        sa.Column("level", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("index", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("level", "index", name="pk_log_nodes"),
        sqlite_with_rowid=False,
    )


def _log_state() -> None:
    op.create_table(
        "log_state",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("peaks", sa.LargeBinary(), nullable=False),
        sa.CheckConstraint("id = 1", name="ck_log_state_single"),
        sa.PrimaryKeyConstraint("id", name="pk_log_state"),
    )


def _organisations() -> None:
    op.create_table(
        "organisations",
        sa.Column("seq", WHOLE, autoincrement=True, nullable=False),
        sa.Column("id", ID, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name="pk_organisations"),
        sa.UniqueConstraint("id", name="uq_organisations_id"),
        sa.UniqueConstraint("name", name="uq_organisations_name"),
        sqlite_autoincrement=True,
    )


def _principals() -> None:
    op.create_table(
        "principals",
        sa.Column("seq", WHOLE, autoincrement=True, nullable=False),
        sa.Column("id", ID, nullable=False),
        *_each(sa.Text(), "login", "name"),
        sa.Column("organisation", ID, nullable=False),
        sa.Column("roles", sa.Text(), nullable=False),
        sa.Column("password_hash", sa.Text(), nullable=True),
        sa.Column("disabled_at", MOMENT, nullable=True),
        sa.ForeignKeyConstraint(["organisation"], ["organisations.id"], name="fk_principals_organisation"),
        sa.PrimaryKeyConstraint("seq", name="pk_principals"),
        sa.UniqueConstraint("id", name="uq_principals_id"),
        sa.UniqueConstraint("login", name="uq_principals_login"),
        sqlite_autoincrement=True,
    )


def _datasets() -> None:
    op.create_table(
        "datasets",
        sa.Column("seq", WHOLE, autoincrement=True, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("grade", sa.String(length=2), nullable=False),
        sa.Column("openness", sa.String(length=16), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("steward", ID, nullable=False),
        sa.Column("version", ID, nullable=True),
        *_each(sa.Text(), "body", "description"),
        sa.Column("description_digest", ID, nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(["steward"], ["principals.id"], name="fk_datasets_steward"),
        sa.PrimaryKeyConstraint("seq", name="pk_datasets"),
        sa.UniqueConstraint("name", name="uq_datasets_name"),
        sqlite_autoincrement=True,
    )


def _idempotency() -> None:
    op.create_table(
        "idempotency",
        sa.Column("principal", ID, nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("body_digest", ID, nullable=False),
        sa.Column("result", sa.Text(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(["principal"], ["principals.id"], name="fk_idempotency_principal"),
        sa.PrimaryKeyConstraint("principal", "key", name="pk_idempotency"),
    )


def _projects() -> None:
    op.create_table(
        "projects",
        sa.Column("seq", WHOLE, autoincrement=True, nullable=False),
        sa.Column("id", ID, nullable=False),
        *_each(sa.Text(), "name", "title", "purpose"),
        *_each(ID, "organisation", "created_by"),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(["created_by"], ["principals.id"], name="fk_projects_created_by"),
        sa.ForeignKeyConstraint(["organisation"], ["organisations.id"], name="fk_projects_organisation"),
        sa.PrimaryKeyConstraint("seq", name="pk_projects"),
        sa.UniqueConstraint("id", name="uq_projects_id"),
        sa.UniqueConstraint("name", name="uq_projects_name"),
        sqlite_autoincrement=True,
    )


def _tokens() -> None:
    op.create_table(
        "tokens",
        sa.Column("seq", WHOLE, autoincrement=True, nullable=False),
        *_each(ID, "id", "owner"),
        sa.Column("label", sa.Text(), nullable=False),
        sa.Column("hash", ID, nullable=False),
        *_each(MOMENT, "created_at", "expires_at"),
        sa.Column("revoked_at", MOMENT, nullable=True),
        sa.ForeignKeyConstraint(["owner"], ["principals.id"], name="fk_tokens_owner"),
        sa.PrimaryKeyConstraint("seq", name="pk_tokens"),
        sa.UniqueConstraint("hash", name="uq_tokens_hash"),
        sa.UniqueConstraint("id", name="uq_tokens_id"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_tokens_owner", "tokens", ["owner"])


def _accounts() -> None:
    op.create_table(
        "accounts",
        sa.Column("seq", WHOLE, autoincrement=True, nullable=False),
        sa.Column("id", ID, nullable=False),
        sa.Column("dataset", sa.Text(), nullable=False),
        sa.Column("project", ID, nullable=False),
        *_each(sa.Double(), "epsilon", "delta"),
        *_each(
            sa.BigInteger(), "limit_rho", "limit_delta", "reserved_rho", "reserved_delta", "spent_rho", "spent_delta"
        ),
        sa.CheckConstraint(
            "reserved_delta >= 0 AND spent_delta >= 0 AND reserved_delta + spent_delta <= limit_delta",
            name="ck_accounts_delta",
        ),
        sa.CheckConstraint(
            "reserved_rho >= 0 AND spent_rho >= 0 AND reserved_rho + spent_rho <= limit_rho", name="ck_accounts_rho"
        ),
        sa.ForeignKeyConstraint(["dataset"], ["datasets.name"], name="fk_accounts_dataset"),
        sa.PrimaryKeyConstraint("seq", name="pk_accounts"),
        sa.UniqueConstraint("dataset", "project", name="uq_accounts_dataset_project"),
        sa.UniqueConstraint("id", name="uq_accounts_id"),
        sqlite_autoincrement=True,
    )


def _jobs() -> None:
    op.create_table(
        "jobs",
        sa.Column("seq", WHOLE, autoincrement=True, nullable=False),
        sa.Column("id", ID, nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("dataset", sa.Text(), nullable=False),
        sa.Column("project", ID, nullable=True),
        sa.Column("asked_by", ID, nullable=False),
        sa.Column("payload", sa.Text(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("status", sa.String(length=32), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("lease_until", MOMENT, nullable=True),
        *_each(sa.Text(), "progress", "result", "private"),
        *_each(MOMENT, "created_at", "changed_at"),
        sa.ForeignKeyConstraint(["asked_by"], ["principals.id"], name="fk_jobs_asked_by"),
        sa.ForeignKeyConstraint(["dataset"], ["datasets.name"], name="fk_jobs_dataset"),
        sa.ForeignKeyConstraint(["project"], ["projects.id"], name="fk_jobs_project"),
        sa.PrimaryKeyConstraint("seq", name="pk_jobs"),
        sa.UniqueConstraint("id", name="uq_jobs_id"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_jobs_asked_by", "jobs", ["asked_by", "seq"])
    op.create_index("ix_jobs_project", "jobs", ["project", "seq"])
    op.create_index("ix_jobs_state", "jobs", ["state", "changed_at"])


def _members() -> None:
    op.create_table(
        "members",
        *_each(ID, "project", "principal"),
        sa.ForeignKeyConstraint(["principal"], ["principals.id"], name="fk_members_principal"),
        sa.ForeignKeyConstraint(["project"], ["projects.id"], name="fk_members_project"),
        sa.PrimaryKeyConstraint("project", "principal", name="pk_members"),
    )
    op.create_index("ix_members_principal", "members", ["principal"])


def _reports() -> None:
    op.create_table(
        "reports",
        sa.Column("seq", WHOLE, autoincrement=True, nullable=False),
        sa.Column("dataset", sa.Text(), nullable=False),
        sa.Column("job", ID, nullable=False),
        sa.Column("version", ID, nullable=True),
        sa.Column("report", sa.Text(), nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(["dataset"], ["datasets.name"], name="fk_reports_dataset"),
        sa.PrimaryKeyConstraint("seq", name="pk_reports"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_reports_dataset", "reports", ["dataset", "seq"])


def _requests() -> None:
    op.create_table(
        "requests",
        sa.Column("seq", WHOLE, autoincrement=True, nullable=False),
        *_each(ID, "id", "project"),
        sa.Column("dataset", sa.Text(), nullable=False),
        sa.Column("author", ID, nullable=False),
        *_each(sa.Text(), "purpose", "methods"),
        *_each(sa.Double(), "epsilon", "delta"),
        sa.Column("expires_at", MOMENT, nullable=True),
        *_each(MOMENT, "created_at", "changed_at"),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("round", sa.Integer(), nullable=False),
        sa.Column("decided_at", MOMENT, nullable=True),
        sa.Column("grant", ID, nullable=True),
        sa.ForeignKeyConstraint(["author"], ["principals.id"], name="fk_requests_author"),
        sa.ForeignKeyConstraint(["dataset"], ["datasets.name"], name="fk_requests_dataset"),
        sa.ForeignKeyConstraint(["project"], ["projects.id"], name="fk_requests_project"),
        sa.PrimaryKeyConstraint("seq", name="pk_requests"),
        sa.UniqueConstraint("id", name="uq_requests_id"),
        sqlite_autoincrement=True,
    )


def _uploads() -> None:
    op.create_table(
        "uploads",
        *_each(sa.Text(), "dataset", "table", "path"),
        sa.Column("digest", ID, nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("uploaded_by", ID, nullable=False),
        sa.Column("uploaded_at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(["dataset"], ["datasets.name"], name="fk_uploads_dataset"),
        sa.ForeignKeyConstraint(["uploaded_by"], ["principals.id"], name="fk_uploads_uploaded_by"),
        sa.PrimaryKeyConstraint("dataset", "table", name="pk_uploads"),
    )


def _versions() -> None:
    op.create_table(
        "versions",
        sa.Column("seq", WHOLE, autoincrement=True, nullable=False),
        sa.Column("dataset", sa.Text(), nullable=False),
        sa.Column("digest", ID, nullable=False),
        sa.Column("facts", sa.Text(), nullable=False),
        sa.Column("description_digest", ID, nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("created_by", ID, nullable=False),
        sa.ForeignKeyConstraint(["created_by"], ["principals.id"], name="fk_versions_created_by"),
        sa.ForeignKeyConstraint(["dataset"], ["datasets.name"], name="fk_versions_dataset"),
        sa.PrimaryKeyConstraint("seq", name="pk_versions"),
        sa.UniqueConstraint("dataset", "digest", name="uq_versions_dataset_digest"),
        sqlite_autoincrement=True,
    )


def _grants() -> None:
    op.create_table(
        "grants",
        sa.Column("seq", WHOLE, autoincrement=True, nullable=False),
        *_each(ID, "id", "request", "project"),
        *_each(sa.Text(), "dataset", "purpose", "methods"),
        *_each(sa.Double(), "epsilon", "delta"),
        sa.Column("expires_at", MOMENT, nullable=True),
        sa.Column("reviewers", sa.Text(), nullable=False),
        sa.Column("granted_at", MOMENT, nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("changed_at", MOMENT, nullable=False),
        sa.Column("revoked_at", MOMENT, nullable=True),
        sa.Column("comment", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["dataset"], ["datasets.name"], name="fk_grants_dataset"),
        sa.ForeignKeyConstraint(["project"], ["projects.id"], name="fk_grants_project"),
        sa.ForeignKeyConstraint(["request"], ["requests.id"], name="fk_grants_request"),
        sa.PrimaryKeyConstraint("seq", name="pk_grants"),
        sa.UniqueConstraint("id", name="uq_grants_id"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_grants_project_dataset", "grants", ["project", "dataset", "seq"])


def _receipts() -> None:
    op.create_table(
        "receipts",
        sa.Column("seq", WHOLE, autoincrement=True, nullable=False),
        *_each(ID, "id", "job", "project"),
        sa.Column("dataset", sa.Text(), nullable=False),
        sa.Column("envelope", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("index", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["dataset"], ["datasets.name"], name="fk_receipts_dataset"),
        sa.ForeignKeyConstraint(["job"], ["jobs.id"], name="fk_receipts_job", initially="DEFERRED", deferrable=True),
        sa.ForeignKeyConstraint(["project"], ["projects.id"], name="fk_receipts_project"),
        sa.PrimaryKeyConstraint("seq", name="pk_receipts"),
        sa.UniqueConstraint("id", name="uq_receipts_id"),
        sa.UniqueConstraint("index", name="uq_receipts_index"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_receipts_job", "receipts", ["job"])
    op.create_index("ix_receipts_project", "receipts", ["project", "seq"])


def _reservations() -> None:
    op.create_table(
        "reservations",
        sa.Column("seq", WHOLE, autoincrement=True, nullable=False),
        *_each(ID, "id", "job"),
        sa.Column("dataset", sa.Text(), nullable=False),
        sa.Column("project", ID, nullable=False),
        *_each(sa.BigInteger(), "rho", "delta"),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("closed_at", MOMENT, nullable=True),
        sa.ForeignKeyConstraint(["dataset"], ["datasets.name"], name="fk_reservations_dataset"),
        sa.ForeignKeyConstraint(
            ["job"], ["jobs.id"], name="fk_reservations_job", initially="DEFERRED", deferrable=True
        ),
        sa.ForeignKeyConstraint(["project"], ["projects.id"], name="fk_reservations_project"),
        sa.PrimaryKeyConstraint("seq", name="pk_reservations"),
        sa.UniqueConstraint("id", name="uq_reservations_id"),
        sa.UniqueConstraint("job", name="uq_reservations_job"),
        sqlite_autoincrement=True,
    )


def _reviews() -> None:
    op.create_table(
        "reviews",
        sa.Column("seq", WHOLE, autoincrement=True, nullable=False),
        sa.Column("request", ID, nullable=False),
        sa.Column("round", sa.Integer(), nullable=False),
        *_each(ID, "reviewer", "organisation"),
        sa.Column("vote", sa.String(length=16), nullable=False),
        sa.Column("comment", sa.Text(), nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(["request"], ["requests.id"], name="fk_reviews_request"),
        sa.ForeignKeyConstraint(["reviewer"], ["principals.id"], name="fk_reviews_reviewer"),
        sa.PrimaryKeyConstraint("seq", name="pk_reviews"),
        sa.UniqueConstraint("request", "round", "reviewer", name="uq_reviews_request_round_reviewer"),
        sqlite_autoincrement=True,
    )


def _answers() -> None:
    op.create_table(
        "answers",
        sa.Column("seq", WHOLE, autoincrement=True, nullable=False),
        *_each(ID, "id", "job", "project"),
        sa.Column("dataset", sa.Text(), nullable=False),
        *_each(ID, "plan", "version"),
        *_each(sa.BigInteger(), "rho", "delta"),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("receipt", ID, nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(["dataset"], ["datasets.name"], name="fk_answers_dataset"),
        sa.ForeignKeyConstraint(["job"], ["jobs.id"], name="fk_answers_job", initially="DEFERRED", deferrable=True),
        sa.ForeignKeyConstraint(["project"], ["projects.id"], name="fk_answers_project"),
        sa.ForeignKeyConstraint(
            ["receipt"], ["receipts.id"], name="fk_answers_receipt", initially="DEFERRED", deferrable=True
        ),
        sa.PrimaryKeyConstraint("seq", name="pk_answers"),
        sa.UniqueConstraint("id", name="uq_answers_id"),
        sa.UniqueConstraint("job", name="uq_answers_job"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_answers_question", "answers", ["project", "plan", "version", "rho"])


def _ledger_lines() -> None:
    op.create_table(
        "ledger_lines",
        sa.Column("seq", WHOLE, autoincrement=True, nullable=False),
        sa.Column("account", ID, nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("reservation", ID, nullable=True),
        sa.Column("job", ID, nullable=True),
        *_each(sa.BigInteger(), "rho", "delta", "reserved_rho", "reserved_delta", "spent_rho", "spent_delta"),
        sa.Column("at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(["account"], ["accounts.id"], name="fk_ledger_lines_account"),
        sa.ForeignKeyConstraint(["reservation"], ["reservations.id"], name="fk_ledger_lines_reservation"),
        sa.PrimaryKeyConstraint("seq", name="pk_ledger_lines"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_ledger_lines_account", "ledger_lines", ["account", "seq"])

"""The tables of the registry, as SQLAlchemy sees them. The migrations create them; a test holds the two together.

Owns names, types and constraints. It never runs a statement. Time is an integer of microseconds since 1970 in UTC, so
that every database compares and returns exactly what was stored. `seq` numbers the rows of a listed table in the order
they came and is what a page's cursor means. Rows of `APPEND_ONLY` tables can be neither updated nor deleted: triggers
refuse it, whoever asks (laws 6 and 7).
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Dialect

from privacy.errors import Malformed, Text

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

#: 64 bits everywhere; SQLite numbers rows by itself only in a column that is exactly INTEGER.
Whole = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


class Instant(sa.types.TypeDecorator[datetime]):
    """A moment in UTC, stored as whole microseconds since 1970."""

    impl = sa.BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:
        """Only a moment that knows its zone can be stored."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a moment must carry its time zone")
        return (value - _EPOCH) // timedelta(microseconds=1)

    def process_result_value(self, value: Any | None, dialect: Dialect) -> datetime | None:
        """The same moment, in UTC."""
        return None if value is None else _EPOCH + timedelta(microseconds=int(value))


class TextUnstorable(Malformed):
    """A text that no database keeps as it is; found when somebody asks for it by name, so it is the asker's mistake."""

    code = "registry.bad_text"
    sentence = Text("A text holds a character that cannot be stored.", "文本含有无法存储的字符。")
    hint = Text("Leave out NUL characters and halves of surrogate pairs.", "请去掉 NUL 字符和不成对的代理码元。")


class Words(sa.types.TypeDecorator[str]):
    """Text that every database keeps alike: no NUL (PostgreSQL has none), no half of a surrogate pair (not UTF-8)."""

    impl: type[sa.String] = sa.Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """The text as it stands, or `TextUnstorable`."""
        if value is not None and ("\0" in value or not _encodes(value)):
            raise TextUnstorable
        return value


class Code(Words):
    """Short text: an id, a digest, a state."""

    impl = sa.String
    cache_ok = True


def _encodes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _id(name: str = "id") -> sa.Column[str]:
    return sa.Column(name, Code(64), nullable=False, unique=True)


def _ref(name: str, target: str, *, nullable: bool = False, deferred: bool = False) -> sa.Column[Any]:
    wait = {"deferrable": True, "initially": "DEFERRED"} if deferred else {}
    return sa.Column(name, sa.ForeignKey(target, **wait), nullable=nullable)  # type: ignore[arg-type]


def _listed(name: str, *columns: sa.schema.SchemaItem) -> sa.Table:
    seq: sa.Column[int] = sa.Column("seq", Whole, primary_key=True, autoincrement=True)
    return sa.Table(name, metadata, seq, *columns, sqlite_autoincrement=True)


organisations = _listed("organisations", _id(), sa.Column("name", Words, nullable=False, unique=True))

principals = _listed(
    "principals",
    _id(),
    sa.Column("login", Words, nullable=False, unique=True),
    sa.Column("name", Words, nullable=False),
    _ref("organisation", "organisations.id"),
    sa.Column("roles", Words, nullable=False),
    sa.Column("password_hash", Words),
    sa.Column("disabled_at", Instant),
)

tokens = _listed(
    "tokens",
    _id(),
    _ref("owner", "principals.id"),
    sa.Column("label", Words, nullable=False),
    sa.Column("hash", Code(64), nullable=False, unique=True),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("expires_at", Instant, nullable=False),
    sa.Column("revoked_at", Instant),
    sa.Index("ix_tokens_owner", "owner"),
)

projects = _listed(
    "projects",
    _id(),
    sa.Column("name", Words, nullable=False, unique=True),
    sa.Column("title", Words, nullable=False),
    sa.Column("purpose", Words, nullable=False),
    _ref("organisation", "organisations.id"),
    _ref("created_by", "principals.id"),
    sa.Column("created_at", Instant, nullable=False),
)

members = sa.Table(
    "members",
    metadata,
    sa.Column("project", sa.ForeignKey("projects.id"), primary_key=True),
    sa.Column("principal", sa.ForeignKey("principals.id"), primary_key=True),
    sa.Index("ix_members_principal", "principal"),
)

datasets = _listed(
    "datasets",
    sa.Column("name", Words, nullable=False, unique=True),
    sa.Column("grade", Code(2), nullable=False),
    sa.Column("openness", Code(16), nullable=False),
    sa.Column("state", Code(16), nullable=False),
    _ref("steward", "principals.id"),
    sa.Column("version", Code(64)),
    sa.Column("body", Words, nullable=False),
    sa.Column("description", Words, nullable=False),
    sa.Column("description_digest", Code(64), nullable=False),
    sa.Column("created_at", Instant, nullable=False),
)

versions = _listed(
    "versions",
    _ref("dataset", "datasets.name"),
    sa.Column("digest", Code(64), nullable=False),
    sa.Column("facts", Words, nullable=False),
    sa.Column("description_digest", Code(64), nullable=False),
    sa.Column("created_at", Instant, nullable=False),
    _ref("created_by", "principals.id"),
    sa.UniqueConstraint("dataset", "digest"),
)

uploads = sa.Table(
    "uploads",
    metadata,
    sa.Column("dataset", sa.ForeignKey("datasets.name"), primary_key=True),
    sa.Column("table", Words, primary_key=True),
    sa.Column("path", Words, nullable=False),
    sa.Column("digest", Code(64), nullable=False),
    sa.Column("size", sa.BigInteger, nullable=False),
    _ref("uploaded_by", "principals.id"),
    sa.Column("uploaded_at", Instant, nullable=False),
)

reports = _listed(
    "reports",
    _ref("dataset", "datasets.name"),
    sa.Column("job", Code(64), nullable=False),
    sa.Column("version", Code(64)),
    sa.Column("report", Words, nullable=False),
    sa.Column("at", Instant, nullable=False),
    sa.Index("ix_reports_dataset", "dataset", "seq"),
)

requests = _listed(
    "requests",
    _id(),
    _ref("project", "projects.id"),
    _ref("dataset", "datasets.name"),
    _ref("author", "principals.id"),
    sa.Column("purpose", Words, nullable=False),
    sa.Column("methods", Words, nullable=False),
    sa.Column("epsilon", sa.Double, nullable=False),
    sa.Column("delta", sa.Double, nullable=False),
    sa.Column("expires_at", Instant),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("changed_at", Instant, nullable=False),
    sa.Column("state", Code(16), nullable=False),
    sa.Column("round", sa.Integer, nullable=False),
    sa.Column("decided_at", Instant),
    sa.Column("grant", Code(64)),
)

reviews = _listed(
    "reviews",
    _ref("request", "requests.id"),
    sa.Column("round", sa.Integer, nullable=False),
    _ref("reviewer", "principals.id"),
    sa.Column("organisation", Code(64), nullable=False),
    sa.Column("vote", Code(16), nullable=False),
    sa.Column("comment", Words, nullable=False),
    sa.Column("at", Instant, nullable=False),
    sa.UniqueConstraint("request", "round", "reviewer"),
)

grants = _listed(
    "grants",
    _id(),
    _ref("request", "requests.id"),
    _ref("project", "projects.id"),
    _ref("dataset", "datasets.name"),
    sa.Column("purpose", Words, nullable=False),
    sa.Column("methods", Words, nullable=False),
    sa.Column("epsilon", sa.Double, nullable=False),
    sa.Column("delta", sa.Double, nullable=False),
    sa.Column("expires_at", Instant),
    sa.Column("reviewers", Words, nullable=False),
    sa.Column("granted_at", Instant, nullable=False),
    sa.Column("state", Code(16), nullable=False),
    sa.Column("changed_at", Instant, nullable=False),
    sa.Column("revoked_at", Instant),
    sa.Column("comment", Words, nullable=False),
    sa.Index("ix_grants_project_dataset", "project", "dataset", "seq"),
)

accounts = _listed(
    "accounts",
    _id(),
    _ref("dataset", "datasets.name"),
    # The empty project is the dataset's total: NULLs would not be held unique.
    sa.Column("project", Code(64), nullable=False),
    sa.Column("epsilon", sa.Double, nullable=False),
    sa.Column("delta", sa.Double, nullable=False),
    sa.Column("limit_rho", sa.BigInteger, nullable=False),
    sa.Column("limit_delta", sa.BigInteger, nullable=False),
    sa.Column("reserved_rho", sa.BigInteger, nullable=False),
    sa.Column("reserved_delta", sa.BigInteger, nullable=False),
    sa.Column("spent_rho", sa.BigInteger, nullable=False),
    sa.Column("spent_delta", sa.BigInteger, nullable=False),
    sa.UniqueConstraint("dataset", "project"),
    sa.CheckConstraint("reserved_rho >= 0 AND spent_rho >= 0 AND reserved_rho + spent_rho <= limit_rho", "rho"),
    sa.CheckConstraint(
        "reserved_delta >= 0 AND spent_delta >= 0 AND reserved_delta + spent_delta <= limit_delta", "delta"
    ),
)

jobs = _listed(
    "jobs",
    _id(),
    sa.Column("kind", Code(16), nullable=False),
    _ref("dataset", "datasets.name"),
    _ref("project", "projects.id", nullable=True),
    _ref("asked_by", "principals.id"),
    sa.Column("payload", Words, nullable=False),
    sa.Column("state", Code(16), nullable=False),
    sa.Column("status", Code(32), nullable=False),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("lease_until", Instant),
    sa.Column("progress", Words, nullable=False),
    sa.Column("result", Words, nullable=False),
    sa.Column("private", Words, nullable=False),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("changed_at", Instant, nullable=False),
    sa.Index("ix_jobs_state", "state", "changed_at"),
    sa.Index("ix_jobs_asked_by", "asked_by", "seq"),
    sa.Index("ix_jobs_project", "project", "seq"),
)

reservations = _listed(
    "reservations",
    _id(),
    sa.Column("job", sa.ForeignKey("jobs.id", deferrable=True, initially="DEFERRED"), nullable=False, unique=True),
    _ref("dataset", "datasets.name"),
    _ref("project", "projects.id"),
    sa.Column("rho", sa.BigInteger, nullable=False),
    sa.Column("delta", sa.BigInteger, nullable=False),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("state", Code(16), nullable=False),
    sa.Column("closed_at", Instant),
)

lines = _listed(
    "ledger_lines",
    _ref("account", "accounts.id"),
    sa.Column("kind", Code(16), nullable=False),
    _ref("reservation", "reservations.id", nullable=True),
    sa.Column("job", Code(64)),
    sa.Column("rho", sa.BigInteger, nullable=False),
    sa.Column("delta", sa.BigInteger, nullable=False),
    sa.Column("reserved_rho", sa.BigInteger, nullable=False),
    sa.Column("reserved_delta", sa.BigInteger, nullable=False),
    sa.Column("spent_rho", sa.BigInteger, nullable=False),
    sa.Column("spent_delta", sa.BigInteger, nullable=False),
    sa.Column("at", Instant, nullable=False),
    sa.Index("ix_ledger_lines_account", "account", "seq"),
)

receipts = _listed(
    "receipts",
    _id(),
    _ref("job", "jobs.id", deferred=True),
    _ref("project", "projects.id"),
    _ref("dataset", "datasets.name"),
    sa.Column("envelope", sa.LargeBinary, nullable=False),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("index", sa.BigInteger, nullable=False, unique=True),
    sa.Index("ix_receipts_job", "job"),
    sa.Index("ix_receipts_project", "project", "seq"),
)

answers = _listed(
    "answers",
    _id(),
    sa.Column("job", sa.ForeignKey("jobs.id", deferrable=True, initially="DEFERRED"), nullable=False, unique=True),
    _ref("project", "projects.id"),
    _ref("dataset", "datasets.name"),
    sa.Column("plan", Code(64), nullable=False),
    sa.Column("version", Code(64), nullable=False),
    sa.Column("rho", sa.BigInteger, nullable=False),
    sa.Column("delta", sa.BigInteger, nullable=False),
    sa.Column("body", sa.LargeBinary, nullable=False),
    _ref("receipt", "receipts.id", deferred=True),
    sa.Column("created_at", Instant, nullable=False),
    sa.Index("ix_answers_question", "project", "plan", "version", "rho"),
)

idempotency = sa.Table(
    "idempotency",
    metadata,
    sa.Column("principal", sa.ForeignKey("principals.id"), primary_key=True),
    sa.Column("key", Words, primary_key=True),
    sa.Column("body_digest", Code(64), nullable=False),
    sa.Column("result", Words, nullable=False),
    sa.Column("created_at", Instant, nullable=False),
)

log_entries = sa.Table(
    "log_entries",
    metadata,
    sa.Column("index", Whole, primary_key=True, autoincrement=False),
    sa.Column("leaf", sa.LargeBinary, nullable=False),
)

log_nodes = sa.Table(
    "log_nodes",
    metadata,
    sa.Column("level", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("index", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("hash", sa.LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)

log_heads = sa.Table(
    "log_heads",
    metadata,
    sa.Column("size", Whole, primary_key=True, autoincrement=False),
    sa.Column("root", sa.LargeBinary, nullable=False),
    sa.Column("at", Instant, nullable=False),
    sa.Column("key_id", Code(64), nullable=False),
    sa.Column("signature", sa.LargeBinary, nullable=False),
)

#: One row: the log's size and the peaks of its tree. Every writing transaction locks it first.
log_state = sa.Table(
    "log_state",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("peaks", sa.LargeBinary, nullable=False),
    sa.CheckConstraint("id = 1", "single"),
)

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

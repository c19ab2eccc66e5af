"""Answers, receipts and idempotency keys in tables: three small repositories of `access.ports`.

Owns their statements. Answers and receipts are only ever appended. It decides nothing and commits nothing.
"""

from __future__ import annotations

import sqlalchemy as sa

from access.audit import Entry
from access.ports import (
    Cursor,
    IdempotencyRecord,
    IdempotencyReused,
    Slice,
    StoredAnswer,
    StoredReceipt,
)
from privacy.loss import Loss
from sandbox.store.session import Row, Session
from sandbox.store.tables import answers, idempotency, receipts


class SqlAnswers:
    """See `access.ports.Answers`."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def add(self, answer: StoredAnswer, *, entry: Entry) -> None:
        """See the port."""
        statement = sa.insert(answers).values(
            id=answer.id,
            job=answer.job,
            project=answer.project,
            dataset=answer.dataset,
            plan=answer.plan,
            version=answer.version,
            rho=answer.price.rho,
            delta=answer.price.delta,
            body=answer.body,
            receipt=answer.receipt,
            created_at=answer.created_at,
        )
        self._session.record(entry, statement)

    def find(self, project: str, plan: str, version: str, offered: Loss) -> StoredAnswer | None:
        """See the port."""
        query = sa.select(answers).where(
            answers.c.project == project,
            answers.c.plan == plan,
            answers.c.version == version,
            answers.c.rho >= offered.rho,
            answers.c.delta >= offered.delta,
        )
        row = self._session.one(query.order_by(answers.c.rho.desc(), answers.c.delta.desc(), answers.c.seq).limit(1))
        return None if row is None else _answer(row)

    def of_job(self, job: str) -> StoredAnswer | None:
        """See the port."""
        row = self._session.one(sa.select(answers).where(answers.c.job == job))
        return None if row is None else _answer(row)

    def get(self, key: str) -> StoredAnswer | None:
        """See the port."""
        row = self._session.one(sa.select(answers).where(answers.c.id == key))
        return None if row is None else _answer(row)


class SqlReceipts:
    """See `access.ports.Receipts`."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def add(self, receipt: StoredReceipt, *, entry: Entry) -> int:
        """See the port."""
        index = self._session.record(entry)
        statement = sa.insert(receipts).values(
            {
                "id": receipt.id,
                "job": receipt.job,
                "project": receipt.project,
                "dataset": receipt.dataset,
                "envelope": receipt.envelope,
                "created_at": receipt.created_at,
                "index": index,
            }
        )
        return self._session.record(entry, statement)

    def get(self, key: str) -> StoredReceipt | None:
        """See the port."""
        row = self._session.one(sa.select(receipts).where(receipts.c.id == key))
        return None if row is None else _receipt(row)

    def of_job(self, job: str) -> StoredReceipt | None:
        """See the port."""
        row = self._session.one(sa.select(receipts).where(receipts.c.job == job))
        return None if row is None else _receipt(row)

    def list(self, cursor: Cursor, *, project: str | None = None, dataset: str | None = None) -> Slice[StoredReceipt]:
        """See the port."""
        query = sa.select(receipts)
        if project is not None:
            query = query.where(receipts.c.project == project)
        if dataset is not None:
            query = query.where(receipts.c.dataset == dataset)
        return self._session.page(query, receipts.c.seq, cursor, _receipt)


class SqlIdempotency:
    """See `access.ports.Idempotency`."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def _find(self, principal: str, key: str) -> Row | None:
        return self._session.one(
            sa.select(idempotency).where(idempotency.c.principal == principal, idempotency.c.key == key)
        )

    def lookup(self, principal: str, key: str, body_digest: str) -> str | None:
        """See the port."""
        row = self._find(principal, key)
        if row is None:
            return None
        if row["body_digest"] != body_digest:
            raise IdempotencyReused(key=key)
        return str(row["result"])

    def add(self, record: IdempotencyRecord, *, entry: Entry) -> None:
        """See the port."""
        self._session.require_writable()
        if self._find(record.principal, record.key) is not None:
            raise IdempotencyReused(key=record.key)
        statement = sa.insert(idempotency).values(
            principal=record.principal,
            key=record.key,
            body_digest=record.body_digest,
            result=record.result,
            created_at=record.created_at,
        )
        self._session.record(entry, statement)


def _answer(row: Row) -> StoredAnswer:
    return StoredAnswer(
        id=row["id"],
        job=row["job"],
        project=row["project"],
        dataset=row["dataset"],
        plan=row["plan"],
        version=row["version"],
        price=Loss(row["rho"], row["delta"]),
        body=bytes(row["body"]),
        receipt=row["receipt"],
        created_at=row["created_at"],
    )


def _receipt(row: Row) -> StoredReceipt:
    return StoredReceipt(
        id=row["id"],
        job=row["job"],
        project=row["project"],
        dataset=row["dataset"],
        envelope=bytes(row["envelope"]),
        created_at=row["created_at"],
        index=row["index"],
    )

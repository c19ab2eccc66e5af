"""Datasets, versions, uploads and ingest reports in tables: the `access.ports.Catalogue` of the store.

Owns their statements. It decides nothing and commits nothing.
"""

from __future__ import annotations

import json

import sqlalchemy as sa

from access.audit import Entry
from access.catalogue import Dataset, DatasetExists, DatasetState, DatasetVersion
from access.policy import Openness
from access.ports import Cursor, IngestRecord, Slice, Upload
from sandbox.store.rows import dump, read_dataset, read_facts, write_dataset, write_facts
from sandbox.store.session import Row, Session
from sandbox.store.tables import datasets, reports, uploads, versions


class SqlCatalogue:
    """See `access.ports.Catalogue`."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def add(self, dataset: Dataset, *, description: str, entry: Entry) -> None:
        """See the port."""
        self._session.require_writable()
        if self.get(dataset.name) is not None:
            raise DatasetExists(dataset=dataset.name)
        statement = sa.insert(datasets).values(**write_dataset(dataset), description=description)
        self._session.record(entry, statement)

    def get(self, name: str) -> Dataset | None:
        """See the port."""
        row = self._session.one(sa.select(datasets).where(datasets.c.name == name))
        return None if row is None else read_dataset(row)

    def list(self, cursor: Cursor, *, visible_to: str | None = None) -> Slice[Dataset]:
        """See the port."""
        query = sa.select(datasets)
        if visible_to is not None:
            catalogued = sa.and_(
                datasets.c.state == DatasetState.OFFERED.value, datasets.c.openness != Openness.CLOSED.value
            )
            query = query.where(sa.or_(catalogued, datasets.c.steward == visible_to))
        return self._session.page(query, datasets.c.seq, cursor, read_dataset)

    def replace(self, dataset: Dataset, *, description: str | None, entry: Entry) -> None:
        """See the port."""
        values = write_dataset(dataset)
        if description is not None:
            values["description"] = description
        statement = sa.update(datasets).where(datasets.c.name == dataset.name).values(**values)
        self._session.record(entry, statement)

    def description(self, name: str) -> str | None:
        """See the port."""
        found = self._session.scalar(sa.select(datasets.c.description).where(datasets.c.name == name))
        return None if found is None else str(found)

    def add_version(self, version: DatasetVersion, *, entry: Entry) -> None:
        """See the port."""
        current = sa.update(datasets).where(datasets.c.name == version.dataset).values(version=version.digest)
        added = sa.insert(versions).values(
            dataset=version.dataset,
            digest=version.digest,
            facts=dump(write_facts(version.facts)),
            description_digest=version.description_digest,
            created_at=version.created_at,
            created_by=version.created_by,
        )
        self._session.record(entry, added, current)

    def version(self, dataset: str, digest: str) -> DatasetVersion | None:
        """See the port."""
        row = self._session.one(sa.select(versions).where(versions.c.dataset == dataset, versions.c.digest == digest))
        return None if row is None else _version(row)

    def versions(self, dataset: str, cursor: Cursor) -> Slice[DatasetVersion]:
        """See the port."""
        query = sa.select(versions).where(versions.c.dataset == dataset)
        return self._session.page(query, versions.c.seq, cursor, _version)

    def stage(self, upload: Upload, *, entry: Entry) -> None:
        """See the port."""
        earlier = sa.delete(uploads).where(uploads.c.dataset == upload.dataset, uploads.c.table == upload.table)
        staged = sa.insert(uploads).values(
            {
                "dataset": upload.dataset,
                "table": upload.table,
                "path": upload.path,
                "digest": upload.digest,
                "size": upload.size,
                "uploaded_by": upload.uploaded_by,
                "uploaded_at": upload.uploaded_at,
            }
        )
        self._session.record(entry, earlier, staged)

    def uploads(self, dataset: str) -> tuple[Upload, ...]:
        """See the port."""
        query = sa.select(uploads).where(uploads.c.dataset == dataset).order_by(uploads.c.table)
        return tuple(_upload(row) for row in self._session.all(query))

    def drop_uploads(self, dataset: str, *, entry: Entry) -> None:
        """See the port."""
        self._session.record(entry, sa.delete(uploads).where(uploads.c.dataset == dataset))

    def add_report(self, record: IngestRecord, *, entry: Entry) -> None:
        """See the port."""
        statement = sa.insert(reports).values(
            dataset=record.dataset, job=record.job, version=record.version, report=record.report, at=record.at
        )
        self._session.record(entry, statement)

    def latest_report(self, dataset: str) -> IngestRecord | None:
        """See the port."""
        query = sa.select(reports).where(reports.c.dataset == dataset).order_by(reports.c.seq.desc()).limit(1)
        row = self._session.one(query)
        if row is None:
            return None
        return IngestRecord(
            dataset=row["dataset"], job=row["job"], version=row["version"], report=row["report"], at=row["at"]
        )


def _version(row: Row) -> DatasetVersion:
    return DatasetVersion(
        digest=row["digest"],
        dataset=row["dataset"],
        facts=read_facts(json.loads(row["facts"])),
        description_digest=row["description_digest"],
        created_at=row["created_at"],
        created_by=row["created_by"],
    )


def _upload(row: Row) -> Upload:
    return Upload(
        dataset=row["dataset"],
        table=row["table"],
        path=row["path"],
        digest=row["digest"],
        size=row["size"],
        uploaded_by=row["uploaded_by"],
        uploaded_at=row["uploaded_at"],
    )

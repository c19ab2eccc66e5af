"""The jobs table: the `sandbox.journeys.house.Jobs` of the store.

Owns its statements. What a move means is said by the pure functions of `compute.jobs`; here each becomes one UPDATE on
exactly the state, attempt and lease it started from, so a worker that comes late changes nothing (law 11). It commits
nothing.
"""

from __future__ import annotations

import json
from datetime import datetime

import sqlalchemy as sa

from access.audit import Entry
from access.ports import Cursor, Slice
from compute import jobs as rules
from compute.jobs import MAX_ATTEMPTS, STALE, Job, JobNotFound, Kind, LeaseLost, Progress, State, StatusCode
from sandbox.store.people import projects_of
from sandbox.store.rows import dump
from sandbox.store.session import Row, Session
from sandbox.store.tables import jobs


class SqlJobs:
    """See `sandbox.journeys.house.Jobs`."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def add(self, job: Job, *, entry: Entry) -> None:
        """See the port."""
        statement = sa.insert(jobs).values(
            id=job.id,
            kind=job.kind.value,
            dataset=job.dataset,
            project=job.project,
            asked_by=job.asked_by,
            payload=job.payload,
            created_at=job.created_at,
            **_state(job),
        )
        self._session.record(entry, statement)

    def get(self, key: str) -> Job | None:
        """See the port."""
        row = self._session.one(sa.select(jobs).where(jobs.c.id == key))
        return None if row is None else _job(row)

    def list(
        self,
        cursor: Cursor,
        *,
        asked_by: str | None = None,
        project: str | None = None,
        member: str | None = None,
        dataset: str | None = None,
        kind: str | None = None,
    ) -> Slice[Job]:
        """See the port."""
        query = sa.select(jobs)
        for column, wanted in (
            (jobs.c.asked_by, asked_by),
            (jobs.c.project, project),
            (jobs.c.dataset, dataset),
            (jobs.c.kind, kind),
        ):
            if wanted is not None:
                query = query.where(column == wanted)
        if member is not None:
            query = query.where(jobs.c.project.in_(projects_of(member)))
        return self._session.page(query, jobs.c.seq, cursor, _job)

    def claim(self, key: str, *, now: datetime, entry: Entry) -> Job | None:
        """See the port."""
        self._session.require_writable()
        before = self.get(key)
        after = rules.claimed(before, now) if before is not None else None
        if before is None or after is None or not self._move(before, after):
            return None
        self._session.record(entry)
        return after

    def renew(self, key: str, attempt: int, *, now: datetime, progress: Progress | None = None) -> Job:
        """See the port."""
        before = self._held(key, attempt)
        return self._moved(before, rules.renewed(before, attempt, now, progress))

    def give_back(self, key: str, attempt: int, *, now: datetime, entry: Entry) -> Job:
        """See the port."""
        before = self._held(key, attempt)
        after = self._moved(before, rules.given_back(before, attempt, now))
        self._session.record(entry)
        return after

    def finish(
        self,
        key: str,
        attempt: int,
        to: State,
        status: StatusCode,
        *,
        now: datetime,
        result: str = "",
        private: str = "",
        entry: Entry,
    ) -> Job:
        """See the port."""
        before = self._held(key, attempt)
        after = rules.finished(before, attempt, to, status, now, result=result, private=private)
        self._moved(before, after)
        self._session.record(entry)
        return after

    def cancel(self, key: str, *, now: datetime, entry: Entry) -> Job:
        """See the port."""
        before = self._existing(key)
        after = self._moved(before, rules.cancelled(before, now))
        self._session.record(entry)
        return after

    def kill(self, key: str, status: StatusCode, *, now: datetime, entry: Entry) -> Job:
        """See the port."""
        before = self._existing(key)
        after = self._moved(before, rules.killed(before, now, status))
        self._session.record(entry)
        return after

    def stale(self, now: datetime, limit: int = 100) -> tuple[str, ...]:
        """See the port."""
        waits = (jobs.c.state == State.QUEUED.value) & (jobs.c.changed_at <= now - STALE)
        return self._ids(sa.or_(waits, _lost(now)) & (jobs.c.attempt < MAX_ATTEMPTS), limit)

    def exhausted(self, now: datetime, limit: int = 100) -> tuple[str, ...]:
        """See the port."""
        idle = sa.or_(jobs.c.state == State.QUEUED.value, _lost(now))
        return self._ids(idle & (jobs.c.attempt >= MAX_ATTEMPTS), limit)

    def _ids(self, condition: sa.ColumnElement[bool], limit: int) -> tuple[str, ...]:
        query = sa.select(jobs.c.id).where(condition).order_by(jobs.c.changed_at, jobs.c.seq).limit(limit)
        return tuple(row["id"] for row in self._session.all(query))

    def _existing(self, key: str) -> Job:
        self._session.require_writable()
        job = self.get(key)
        if job is None:
            raise JobNotFound(job=key)
        return job

    def _held(self, key: str, attempt: int) -> Job:
        self._session.require_writable()
        job = self.get(key)
        if job is None:
            raise LeaseLost(job=key, attempt=attempt)
        return job

    def _move(self, before: Job, after: Job) -> bool:
        same = (
            jobs.c.id == before.id,
            jobs.c.state == before.state.value,
            jobs.c.attempt == before.attempt,
            jobs.c.lease_until.is_not_distinct_from(before.lease_until),
        )
        return self._session.changes(sa.update(jobs).where(*same).values(**_state(after))) == 1

    def _moved(self, before: Job, after: Job) -> Job:
        if not self._move(before, after):
            raise LeaseLost(job=before.id, attempt=before.attempt)
        return after


def _lost(now: datetime) -> sa.ColumnElement[bool]:
    return (jobs.c.state == State.RUNNING.value) & (jobs.c.lease_until.is_(None) | (jobs.c.lease_until <= now))


def _state(job: Job) -> dict[str, object]:
    progress = job.progress
    return {
        "state": job.state.value,
        "status": job.status.value,
        "attempt": job.attempt,
        "lease_until": job.lease_until,
        "progress": dump([progress.stage, progress.done, progress.total]),
        "result": job.result,
        "private": job.private,
        "changed_at": job.changed_at,
    }


def _job(row: Row) -> Job:
    stage, done, total = json.loads(row["progress"])
    return Job(
        id=row["id"],
        kind=Kind(row["kind"]),
        dataset=row["dataset"],
        asked_by=row["asked_by"],
        payload=row["payload"],
        created_at=row["created_at"],
        changed_at=row["changed_at"],
        project=row["project"],
        state=State(row["state"]),
        status=StatusCode(row["status"]),
        attempt=row["attempt"],
        lease_until=row["lease_until"],
        progress=Progress(stage=stage, done=done, total=total),
        result=row["result"],
        private=row["private"],
    )

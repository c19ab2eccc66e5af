"""Ledger, answers, receipts, idempotency keys and jobs in memory; see `tests.fakes.registry`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from access.audit import Entry
from access.ledger import (
    NOTHING,
    Account,
    AccountNotFound,
    LedgerEntry,
    LineKind,
    Reservation,
    ReservationState,
    closed,
    has_room,
    refusal,
    reserved,
    settled,
    voided,
    with_limit,
)
from access.ports import (
    Cursor,
    IdempotencyRecord,
    IdempotencyReused,
    Slice,
    StoredAnswer,
    StoredReceipt,
)
from compute import jobs as rules
from compute.jobs import Job, JobNotFound, LeaseLost, Progress, State, StatusCode
from privacy.loss import Budget, Loss
from tests.fakes.tables import Part


class FakeLedger(Part):
    """See `access.ports.Ledger`."""

    def open(self, account: Account, *, entry: Entry) -> None:
        self._log.append(entry)
        self._t.accounts.put(account.id, account)
        self._line(account, LineKind.OPENED, NOTHING, entry)

    def account(self, key: str) -> Account | None:
        return self._t.accounts.get(key)

    def find(self, dataset: str, project: str | None) -> Account | None:
        return next(iter(self._t.accounts.where(lambda a: (a.dataset, a.project) == (dataset, project))), None)

    def accounts(
        self, cursor: Cursor, *, dataset: str | None = None, project: str | None = None, visible_to: str | None = None
    ) -> Slice[Account]:
        return self._t.accounts.page(
            cursor,
            lambda a: (
                (dataset is None or a.dataset == dataset)
                and (project is None or a.project == project)
                and self._t.visible(visible_to, a.project, a.dataset)
            ),
        )

    def set_limit(self, account: str, budget: Budget, *, entry: Entry) -> None:
        self._log.require_writable()
        before = self._t.accounts.get(account)
        if before is None:
            raise AccountNotFound(account=account)
        after = with_limit(before, budget)
        self._t.accounts.put(account, after)
        self._line(after, LineKind.LIMIT_SET, NOTHING, entry)

    def reserve(self, reservation: Reservation, *, contact: str, entry: Entry) -> None:
        self._log.require_writable()
        pair = self._pair(reservation)
        for account in pair:
            if not has_room(account, reservation.loss):
                raise refusal(account, reservation.loss, contact)
        self._t.reservations.put(reservation.id, reservation)
        self._book(pair, reserved, LineKind.RESERVED, reservation, entry)

    def _pair(self, reservation: Reservation) -> list[Account]:
        pair = [self.find(reservation.dataset, project) for project in (reservation.project, None)]
        if None in pair:
            raise AccountNotFound(account=reservation.dataset)
        return [account for account in pair if account is not None]

    def _book(
        self,
        pair: list[Account],
        move: Callable[[Account, Loss], Account],
        kind: LineKind,
        reservation: Reservation,
        entry: Entry,
    ) -> None:
        for account in pair:
            after = move(account, reservation.loss)
            self._t.accounts.put(account.id, after)
            self._line(after, kind, reservation.loss, entry, reservation)

    def settle(self, reservation: str, *, at: datetime, entry: Entry) -> None:
        self._close(reservation, ReservationState.SETTLED, settled, LineKind.SETTLED, at, entry)

    def void(self, reservation: str, *, at: datetime, entry: Entry) -> None:
        self._close(reservation, ReservationState.VOIDED, voided, LineKind.VOIDED, at, entry)

    def _close(
        self,
        key: str,
        to: ReservationState,
        move: Callable[[Account, Loss], Account],
        kind: LineKind,
        at: datetime,
        entry: Entry,
    ) -> None:
        self._log.require_writable()
        before = self._t.reservations.get(key)
        if before is None:
            raise LookupError(key)
        after = closed(before, to, at)
        self._t.reservations.put(key, after)
        self._book(self._pair(after), move, kind, after, entry)

    def _line(
        self, account: Account, kind: LineKind, loss: Loss, entry: Entry, reservation: Reservation | None = None
    ) -> None:
        self._log.append(entry)
        line = LedgerEntry(
            account=account.id,
            kind=kind,
            reservation=reservation.id if reservation else None,
            job=reservation.job if reservation else None,
            loss=loss,
            reserved=account.reserved,
            spent=account.spent,
            at=entry.at,
        )
        self._t.lines.put(str(self._t.lines.count), line)

    def reservation(self, key: str) -> Reservation | None:
        return self._t.reservations.get(key)

    def reservation_of(self, job: str) -> Reservation | None:
        return next(iter(self._t.reservations.where(lambda r: r.job == job)), None)

    def entries(self, account: str, cursor: Cursor) -> Slice[LedgerEntry]:
        return self._t.lines.page(cursor, lambda line: line.account == account)


class FakeAnswers(Part):
    """See `access.ports.Answers`."""

    def add(self, answer: StoredAnswer, *, entry: Entry) -> None:
        self._log.append(entry)
        self._t.answers.put(answer.id, answer)

    def find(self, project: str, plan: str, version: str, offered: Loss) -> StoredAnswer | None:
        def fits(a: StoredAnswer) -> bool:
            return (a.project, a.plan, a.version) == (project, plan, version) and offered.within(a.price)

        ranked = sorted(self._t.answers.where(fits), key=lambda a: (-a.price.rho, -a.price.delta))
        return next(iter(ranked), None)

    def of_job(self, job: str) -> StoredAnswer | None:
        return next(iter(self._t.answers.where(lambda a: a.job == job)), None)

    def get(self, key: str) -> StoredAnswer | None:
        return self._t.answers.get(key)


class FakeReceipts(Part):
    """See `access.ports.Receipts`."""

    def add(self, receipt: StoredReceipt, *, entry: Entry) -> int:
        index = self._log.append(entry)
        self._t.receipts.put(receipt.id, replace(receipt, index=index))
        return index

    def get(self, key: str) -> StoredReceipt | None:
        return self._t.receipts.get(key)

    def of_job(self, job: str) -> StoredReceipt | None:
        return next(iter(self._t.receipts.where(lambda r: r.job == job)), None)

    def list(self, cursor: Cursor, *, project: str | None = None, dataset: str | None = None) -> Slice[StoredReceipt]:
        return self._t.receipts.page(
            cursor,
            lambda r: (project is None or r.project == project) and (dataset is None or r.dataset == dataset),
        )


class FakeIdempotency(Part):
    """See `access.ports.Idempotency`."""

    def lookup(self, principal: str, key: str, body_digest: str) -> str | None:
        found = self._t.idempotency.get(f"{principal}\n{key}")
        if found is None:
            return None
        if found.body_digest != body_digest:
            raise IdempotencyReused(key=key)
        return found.result

    def add(self, record: IdempotencyRecord, *, entry: Entry) -> None:
        self._log.require_writable()
        key = f"{record.principal}\n{record.key}"
        if self._t.idempotency.get(key) is not None:
            raise IdempotencyReused(key=record.key)
        self._log.append(entry)
        self._t.idempotency.put(key, record)


class FakeJobs(Part):
    """See `sandbox.journeys.house.Jobs`."""

    def add(self, job: Job, *, entry: Entry) -> None:
        self._log.append(entry)
        self._t.jobs.put(job.id, job)

    def get(self, key: str) -> Job | None:
        return self._t.jobs.get(key)

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
        def fits(job: Job) -> bool:
            holder = self._t.projects.get(job.project) if job.project else None
            pairs = ((asked_by, job.asked_by), (project, job.project), (dataset, job.dataset), (kind, job.kind))
            return all(wanted is None or wanted == found for wanted, found in pairs) and (
                member is None or (holder is not None and member in holder.members)
            )

        return self._t.jobs.page(cursor, fits)

    def claim(self, key: str, *, now: datetime, entry: Entry) -> Job | None:
        self._log.require_writable()
        before = self.get(key)
        after = rules.claimed(before, now) if before is not None else None
        if after is None:
            return None
        return self._keep(after, entry)

    def _keep(self, job: Job, entry: Entry | None = None) -> Job:
        if entry is not None:
            self._log.append(entry)
        self._t.jobs.put(job.id, job)
        return job

    def _held(self, key: str, attempt: int) -> Job:
        self._log.require_writable()
        job = self.get(key)
        if job is None:
            raise LeaseLost(job=key, attempt=attempt)
        return job

    def _existing(self, key: str) -> Job:
        self._log.require_writable()
        job = self.get(key)
        if job is None:
            raise JobNotFound(job=key)
        return job

    def renew(self, key: str, attempt: int, *, now: datetime, progress: Progress | None = None) -> Job:
        return self._keep(rules.renewed(self._held(key, attempt), attempt, now, progress))

    def give_back(self, key: str, attempt: int, *, now: datetime, entry: Entry) -> Job:
        return self._keep(rules.given_back(self._held(key, attempt), attempt, now), entry)

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
        job = self._held(key, attempt)
        return self._keep(rules.finished(job, attempt, to, status, now, result=result, private=private), entry)

    def cancel(self, key: str, *, now: datetime, entry: Entry) -> Job:
        return self._keep(rules.cancelled(self._existing(key), now), entry)

    def kill(self, key: str, status: StatusCode, *, now: datetime, entry: Entry) -> Job:
        return self._keep(rules.killed(self._existing(key), now, status), entry)

    def stale(self, now: datetime, limit: int = 100) -> tuple[str, ...]:
        return self._ids(lambda j: rules.stale(j, now) and j.attempt < rules.MAX_ATTEMPTS, limit)

    def exhausted(self, now: datetime, limit: int = 100) -> tuple[str, ...]:
        return self._ids(lambda j: rules.exhausted(j, now), limit)

    def _ids(self, fits: Callable[[Job], bool], limit: int) -> tuple[str, ...]:
        return tuple(j.id for j in sorted(self._t.jobs.where(fits), key=lambda j: j.changed_at)[:limit])

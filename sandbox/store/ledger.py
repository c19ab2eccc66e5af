"""Accounts, reservations and ledger lines in tables: the `access.ports.Ledger` of the store.

Owns the statements that move money. Law 1: room is tested in the UPDATE that takes it, with a CHECK constraint behind
it; nothing is read first and written later. It commits nothing.
"""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.sql.elements import ColumnElement

from access.audit import Entry
from access.ledger import (
    NOTHING,
    Account,
    AccountNotFound,
    AlreadyClosed,
    BudgetExhausted,
    LedgerEntry,
    LineKind,
    Reservation,
    ReservationState,
    refusal,
    with_limit,
)
from access.ports import Cursor, Slice
from privacy.loss import Budget, Loss
from sandbox.store.grants import visible_rows
from sandbox.store.session import Row, Session
from sandbox.store.tables import accounts, lines, reservations

_TOTAL = ""


class SqlLedger:
    """See `access.ports.Ledger`."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def open(self, account: Account, *, entry: Entry) -> None:
        """See the port."""
        self._session.record(entry, sa.insert(accounts).values(**_account_columns(account)))
        self._lines([account], LineKind.OPENED, NOTHING, entry)

    def account(self, key: str) -> Account | None:
        """See the port."""
        row = self._session.one(sa.select(accounts).where(accounts.c.id == key))
        return None if row is None else _account(row)

    def find(self, dataset: str, project: str | None) -> Account | None:
        """See the port."""
        row = self._session.one(
            sa.select(accounts).where(accounts.c.dataset == dataset, accounts.c.project == (project or _TOTAL))
        )
        return None if row is None else _account(row)

    def accounts(
        self, cursor: Cursor, *, dataset: str | None = None, project: str | None = None, visible_to: str | None = None
    ) -> Slice[Account]:
        """See the port."""
        query = sa.select(accounts)
        if dataset is not None:
            query = query.where(accounts.c.dataset == dataset)
        if project is not None:
            query = query.where(accounts.c.project == project)
        if visible_to is not None:
            query = query.where(visible_rows(accounts, visible_to))
        return self._session.page(query, accounts.c.seq, cursor, _account)

    def set_limit(self, account: str, budget: Budget, *, entry: Entry) -> None:
        """See the port."""
        before = self.account(account)
        if before is None:
            raise AccountNotFound(account=account)
        after = with_limit(before, budget)
        statement = (
            sa.update(accounts)
            .where(accounts.c.id == account)
            .values(
                epsilon=budget.epsilon,
                delta=budget.delta,
                limit_rho=after.limit.rho,
                limit_delta=after.limit.delta,
            )
        )
        self._session.record(entry, statement)
        self._lines([after], LineKind.LIMIT_SET, NOTHING, entry)

    def reserve(self, reservation: Reservation, *, contact: str, entry: Entry) -> None:
        """See the port."""
        self._session.require_writable()
        loss = reservation.loss
        taken = self._take_both(self._pair(reservation), loss, contact)
        statement = sa.insert(reservations).values(
            id=reservation.id,
            job=reservation.job,
            dataset=reservation.dataset,
            project=reservation.project,
            rho=loss.rho,
            delta=loss.delta,
            created_at=reservation.created_at,
            state=reservation.state.value,
        )
        self._session.record(entry, statement)
        self._lines(taken, LineKind.RESERVED, loss, entry, reservation)

    def _pair(self, reservation: Reservation) -> list[str]:
        """The ids of the project's and of the total account; without both nothing can be spent."""
        projects = (reservation.project, _TOTAL)
        query = sa.select(accounts.c.id, accounts.c.project).where(
            accounts.c.dataset == reservation.dataset, accounts.c.project.in_(projects)
        )
        found = {row["project"]: row["id"] for row in self._session.all(query)}
        for project in projects:
            if project not in found:
                raise AccountNotFound(account=f"{reservation.dataset} / {project or '*'}")
        return [found[project] for project in projects]

    def _take_both(self, pair: list[str], loss: Loss, contact: str) -> list[Account]:
        """Set the loss aside on both accounts; when the second refuses, the first is put back as it was."""
        mine, total = pair
        first = self._take(mine, loss, contact)
        try:
            return [first, self._take(total, loss, contact)]
        except BudgetExhausted:
            self._move(mine, loss, sa.true(), reserved=-1, spent=0)
            raise

    def _take(self, key: str, loss: Loss, contact: str) -> Account:
        """Set the loss aside in one conditional UPDATE, or refuse."""
        used_rho = accounts.c.reserved_rho + accounts.c.spent_rho
        used_delta = accounts.c.reserved_delta + accounts.c.spent_delta
        room = (used_rho + loss.rho <= accounts.c.limit_rho) & (used_delta + loss.delta <= accounts.c.limit_delta)
        after = self._move(key, loss, room, reserved=+1, spent=0)
        if after is None:
            before = self.account(key)
            assert before is not None
            raise refusal(before, loss, contact)
        return after

    def _move(
        self, key: str, loss: Loss, condition: ColumnElement[bool], *, reserved: int, spent: int
    ) -> Account | None:
        """One UPDATE that moves the loss on one account; None when the condition does not hold."""
        statement = (
            sa.update(accounts)
            .where(accounts.c.id == key, condition)
            .values(
                reserved_rho=accounts.c.reserved_rho + reserved * loss.rho,
                reserved_delta=accounts.c.reserved_delta + reserved * loss.delta,
                spent_rho=accounts.c.spent_rho + spent * loss.rho,
                spent_delta=accounts.c.spent_delta + spent * loss.delta,
            )
            .returning(*accounts.c)
        )
        row = self._session.connection.execute(statement).mappings().first()
        return None if row is None else _account(row)

    def settle(self, reservation: str, *, at: datetime, entry: Entry) -> None:
        """See the port."""
        self._close(reservation, ReservationState.SETTLED, LineKind.SETTLED, at, entry, spent=+1)

    def void(self, reservation: str, *, at: datetime, entry: Entry) -> None:
        """See the port."""
        self._close(reservation, ReservationState.VOIDED, LineKind.VOIDED, at, entry, spent=0)

    def _close(self, key: str, to: ReservationState, kind: LineKind, at: datetime, entry: Entry, *, spent: int) -> None:
        """Close the reservation in one conditional UPDATE, then move its loss on both accounts."""
        open_ = (reservations.c.id == key, reservations.c.state == ReservationState.RESERVED.value)
        closing = sa.update(reservations).where(*open_).values(state=to.value, closed_at=at)
        if self._session.changes(closing) != 1:
            raise self._already_closed(key)
        closed = self.reservation(key)
        assert closed is not None
        moved = [self._move(key, closed.loss, sa.true(), reserved=-1, spent=spent) for key in self._pair(closed)]
        self._lines([a for a in moved if a is not None], kind, closed.loss, entry, closed)

    def _already_closed(self, key: str) -> Exception:
        before = self.reservation(key)
        if before is None:
            return LookupError(f"there is no reservation {key}")
        return AlreadyClosed(reservation=key, state=before.state.value)

    def _lines(
        self,
        moved: list[Account],
        kind: LineKind,
        loss: Loss,
        entry: Entry,
        reservation: Reservation | None = None,
    ) -> None:
        """One line on each of the accounts, which come with their new sums."""
        written = [
            {
                "account": account.id,
                "kind": kind.value,
                "reservation": reservation.id if reservation else None,
                "job": reservation.job if reservation else None,
                "rho": loss.rho,
                "delta": loss.delta,
                "reserved_rho": account.reserved.rho,
                "reserved_delta": account.reserved.delta,
                "spent_rho": account.spent.rho,
                "spent_delta": account.spent.delta,
                "at": entry.at,
            }
            for account in moved
        ]
        self._session.record(entry)
        self._session.connection.execute(sa.insert(lines), written)

    def reservation(self, key: str) -> Reservation | None:
        """See the port."""
        row = self._session.one(sa.select(reservations).where(reservations.c.id == key))
        return None if row is None else _reservation(row)

    def reservation_of(self, job: str) -> Reservation | None:
        """See the port."""
        row = self._session.one(sa.select(reservations).where(reservations.c.job == job))
        return None if row is None else _reservation(row)

    def entries(self, account: str, cursor: Cursor) -> Slice[LedgerEntry]:
        """See the port."""
        query = sa.select(lines).where(lines.c.account == account)
        return self._session.page(query, lines.c.seq, cursor, _line)


def _account_columns(account: Account) -> dict[str, object]:
    return {
        "id": account.id,
        "dataset": account.dataset,
        "project": account.project or _TOTAL,
        "epsilon": account.budget.epsilon,
        "delta": account.budget.delta,
        "limit_rho": account.limit.rho,
        "limit_delta": account.limit.delta,
        "reserved_rho": account.reserved.rho,
        "reserved_delta": account.reserved.delta,
        "spent_rho": account.spent.rho,
        "spent_delta": account.spent.delta,
    }


def _account(row: Row) -> Account:
    return Account(
        id=row["id"],
        dataset=row["dataset"],
        project=row["project"] or None,
        budget=Budget(row["epsilon"], row["delta"]),
        limit=Loss(row["limit_rho"], row["limit_delta"]),
        reserved=Loss(row["reserved_rho"], row["reserved_delta"]),
        spent=Loss(row["spent_rho"], row["spent_delta"]),
    )


def _reservation(row: Row) -> Reservation:
    return Reservation(
        id=row["id"],
        job=row["job"],
        dataset=row["dataset"],
        project=row["project"],
        loss=Loss(row["rho"], row["delta"]),
        created_at=row["created_at"],
        state=ReservationState(row["state"]),
        closed_at=row["closed_at"],
    )


def _line(row: Row) -> LedgerEntry:
    return LedgerEntry(
        account=row["account"],
        kind=LineKind(row["kind"]),
        reservation=row["reservation"],
        job=row["job"],
        loss=Loss(row["rho"], row["delta"]),
        reserved=Loss(row["reserved_rho"], row["reserved_delta"]),
        spent=Loss(row["spent_rho"], row["spent_delta"]),
        at=row["at"],
    )

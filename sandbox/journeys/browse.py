"""Looking around: the catalogue's cards, and accounts with their lines.

Owns the reading journeys that belong to no other. Nothing here writes, and nothing here reads a dataset: a card is
public facts, a line is money. What the asker may not know of is "not found", exactly as if it did not exist.
"""

from __future__ import annotations

from access.catalogue import Card, Dataset, DatasetNotFound, DatasetVersion, card
from access.ledger import Account, AccountNotFound, LedgerEntry
from access.people import Principal, Role
from access.policy import Use
from access.ports import Cursor, Slice
from sandbox.journeys.house import House, Work, permit, situation


def list_datasets(house: House, who: Principal, cursor: Cursor) -> Slice[Card]:
    """The cards of all datasets this principal may know of."""
    with house.registry.read() as unit:
        page = unit.catalogue.list(cursor, visible_to=None if who.has(Role.AUDITOR) else who.id)
        return Slice(items=tuple(card(d, _current(unit, d)) for d in page.items), next=page.next)


def read_card(house: House, who: Principal, dataset: str) -> Card:
    """One card."""
    with house.registry.read() as unit:
        asked = situation(house, unit, who, Use.SEE_DATASET, dataset=dataset)
        permit(asked, dataset=DatasetNotFound(dataset=dataset))
        assert asked.dataset is not None
        return card(asked.dataset, _current(unit, asked.dataset))


def _current(unit: Work, dataset: Dataset) -> DatasetVersion | None:
    return unit.catalogue.version(dataset.name, dataset.version) if dataset.version is not None else None


def list_accounts(
    house: House, who: Principal, cursor: Cursor, *, dataset: str | None = None, project: str | None = None
) -> Slice[Account]:
    """Accounts of one's projects, those who decide or watch see all; `project` is an id or a name."""
    watching = who.roles & {Role.REVIEWER, Role.AUDITOR, Role.OPERATOR}
    with house.registry.read() as unit:
        holder = unit.people.project(project) if project is not None else None
        if project is not None and holder is None:
            return Slice(items=())
        return unit.ledger.accounts(
            cursor,
            dataset=dataset,
            project=holder.id if holder else None,
            visible_to=None if watching else who.id,
        )


def read_account(house: House, who: Principal, account: str) -> Account:
    """One account."""
    with house.registry.read() as unit:
        return _account(house, unit, who, account)


def list_ledger(house: House, who: Principal, account: str, cursor: Cursor) -> Slice[LedgerEntry]:
    """The lines of one account."""
    with house.registry.read() as unit:
        return unit.ledger.entries(_account(house, unit, who, account).id, cursor)


def _account(house: House, unit: Work, who: Principal, key: str) -> Account:
    account = unit.ledger.account(key)
    if account is None:
        raise AccountNotFound(account=key)
    asked = situation(house, unit, who, Use.READ_ACCOUNT, dataset=account.dataset, project=account.project)
    permit(asked, account=AccountNotFound(account=key))
    return account

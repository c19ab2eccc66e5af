"""Routes about money: the accounts of privacy loss, and their lines.

Owns the way from a query string to `sandbox.journeys.browse` and back to wire shapes. It books nothing and decides nothing.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from sandbox import wire
from sandbox.api import shapes
from sandbox.api.contract import fails
from sandbox.api.guards import SIGNED_IN, TheHouse, TheNames, ThePage, Who
from sandbox.journeys import browse

signed_in = APIRouter(tags=["money"], dependencies=SIGNED_IN)


@signed_in.get("/v1/accounts", responses=fails(400, 401))
def list_accounts(
    house: TheHouse,
    who: Who,
    page: ThePage,
    names: TheNames,
    dataset: Annotated[wire.Name | None, Query(description="Only of this dataset.")] = None,
    project: Annotated[wire.Name | None, Query(description="Only of this project (id or name).")] = None,
) -> wire.Page[wire.BudgetOut]:
    """The accounts you may see: of your projects, and as those who watch, all."""
    found = browse.list_accounts(house, who, page.cursor("oldest"), dataset=dataset, project=project)
    return wire.Page(items=[shapes.account(a, names) for a in found.items], next=found.next)


@signed_in.get("/v1/accounts/{account_id}", responses=fails(400, 401, 404))
def read_account(account_id: wire.Identity, house: TheHouse, who: Who, names: TheNames) -> wire.BudgetOut:
    """One account: limit, spent, set aside, left."""
    return shapes.account(browse.read_account(house, who, account_id), names)


@signed_in.get("/v1/accounts/{account_id}/entries", responses=fails(400, 401, 404))
def list_entries(account_id: wire.Identity, house: TheHouse, who: Who, page: ThePage) -> wire.Page[wire.LedgerEntryOut]:
    """The lines of an account, the oldest first."""
    account = browse.read_account(house, who, account_id)
    found = browse.list_ledger(house, who, account_id, page.cursor("oldest"))
    return wire.Page(items=[shapes.ledger_entry(line, account) for line in found.items], next=found.next)

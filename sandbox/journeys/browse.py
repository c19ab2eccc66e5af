"""Looking around: the catalogue's cards, accounts and their lines, receipts, and the audit log with its proofs.

Owns the reading journeys that belong to no other. Nothing here writes, and nothing here reads a dataset: a card is
public facts, a log entry is an event. What the asker may not know of is "not found", exactly as if it did not exist.
"""

from __future__ import annotations

from dataclasses import dataclass

from access.audit import Entry, SignedTreeHead
from access.catalogue import Card, Dataset, DatasetNotFound, DatasetVersion, card
from access.ledger import Account, AccountNotFound, LedgerEntry
from access.merkle import consistency_proof, inclusion_proof, leaf_hash
from access.people import Principal, Role
from access.policy import Use
from access.ports import Cursor, Slice, StoredReceipt
from access.receipts import Envelope, build_receipt
from privacy.errors import Malformed, NotFound, Text
from sandbox.journeys.house import House, Work, permit, situation


class ReceiptNotFound(NotFound):
    """No such receipt, or it is hidden."""

    code = "receipt.not_found"
    sentence = Text("There is no receipt {receipt}.", "没有凭证 {receipt}。")
    hint = Text("Every answer names its receipt.", "每个结果都注明其凭证编号。")


class LogEmpty(NotFound):
    """Nothing has happened yet."""

    code = "log.empty"
    sentence = Text("The audit log has no signed tree head yet.", "审计日志尚无已签名的树头。")
    hint = Text("Ask again after the first event.", "请在首个事件之后重试。")


class LogRange(Malformed):
    """A proof was asked for places the log does not have."""

    code = "log.range"
    sentence = Text("The log has {size} entries; {asked} does not fit.", "日志共有 {size} 条，{asked} 超出范围。")
    hint = Text(
        "Ask for 0 <= index < size or 1 <= first <= second, within the log.",
        "请满足 0 <= index < size 或 1 <= first <= second，且不超出日志范围。",
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Proof:
    """A path of hashes; `leaf` is the hash of the entry an inclusion is about, None for a consistency."""

    path: tuple[bytes, ...]
    leaf: bytes | None = None


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


def read_receipt(house: House, who: Principal, receipt: str) -> bytes:
    """The receipt as one file: envelope, log entry, inclusion proof and the tree head its transaction ended with."""
    with house.registry.read() as unit:
        stored = unit.receipts.get(receipt)
        if stored is None:
            raise ReceiptNotFound(receipt=receipt)
        asked = situation(house, unit, who, Use.READ_RECEIPT, dataset=stored.dataset, project=stored.project)
        permit(asked, receipt=ReceiptNotFound(receipt=receipt))
        return _receipt_file(unit, stored)


def _receipt_file(unit: Work, stored: StoredReceipt) -> bytes:
    entry, head = unit.log.entry(stored.index), unit.log.head_covering(stored.index)
    assert entry is not None
    assert head is not None
    return build_receipt(
        envelope=Envelope.read(stored.envelope),
        entry=entry,
        index=stored.index,
        head=head,
        subtrees=unit.log.subtrees(),
    )


def read_head(house: House) -> SignedTreeHead:
    """The newest signed tree head; anyone may keep it as a witness."""
    with house.registry.read() as unit:
        head = unit.log.head()
    if head is None:
        raise LogEmpty
    return head


def list_log(house: House, who: Principal, cursor: Cursor) -> Slice[tuple[int, Entry]]:
    """Log entries with their index, for auditors and operators."""
    with house.registry.read() as unit:
        permit(situation(house, unit, who, Use.READ_LOG))
        return unit.log.entries(cursor)


def prove_inclusion(house: House, who: Principal, *, index: int, size: int) -> Proof:
    """The path that proves entry `index` in the tree of the first `size` entries; for auditors and operators."""
    with house.registry.read() as unit:
        permit(situation(house, unit, who, Use.READ_LOG))
        grown = unit.log.size()
        if not 0 <= index < size <= grown:
            raise LogRange(size=grown, asked=f"index {index}, size {size}")
        entry = unit.log.entry(index)
        assert entry is not None
        return Proof(path=inclusion_proof(unit.log.subtrees(), index, size), leaf=leaf_hash(entry.leaf()))


def prove_consistency(house: House, *, first: int, second: int) -> Proof:
    """The path that proves that the log only grew; anyone who kept a tree head may ask, it holds nothing but hashes."""
    with house.registry.read() as unit:
        grown = unit.log.size()
        if not 1 <= first <= second <= grown:
            raise LogRange(size=grown, asked=f"first {first}, second {second}")
        return Proof(path=consistency_proof(unit.log.subtrees(), first, second))

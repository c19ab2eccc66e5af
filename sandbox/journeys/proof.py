"""Proof: handing out receipts, the key they are checked with, tree heads, and proofs that the log only ever grew.

Owns the reading side of the log. It changes nothing and judges nothing: a receipt is checked by the stand-alone verifier,
on the asker's own machine. Tree heads and proofs are hashes and anyone signed in may compare them (that is what makes a
forked log visible); the entries themselves are for those who watch (`Use.READ_LOG`). Law 10: no tree head, no receipt.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from access.audit import Entry, LogReport, SignedTreeHead, verify_log
from access.merkle import consistency_proof, inclusion_proof, leaf_hash
from access.people import Principal
from access.policy import Request, Use
from access.ports import Cursor, Slice, StoredReceipt
from access.receipts import Envelope, ReceiptUnprovable, build_receipt
from privacy.errors import NotFound, Text
from sandbox.journeys.house import House, Work, permit


class ReceiptNotFound(NotFound):
    """No such receipt, or it is hidden."""

    code = "receipt.not_found"
    sentence = Text("There is no receipt {receipt}.", "没有凭证 {receipt}。")
    hint = Text("An answer names its receipt. List your questions.", "结果中注明了其凭证编号，请列出您的提问。")


class ProofNotFound(NotFound):
    """The log has no such size or place."""

    code = "log.no_such_place"
    sentence = Text("The log has {size} entries; {asked} is outside.", "日志共有 {size} 条；{asked} 超出范围。")
    hint = Text("Read the newest tree head for the size of the log.", "请读取最新的树头以了解日志的大小。")


@dataclass(frozen=True, kw_only=True, slots=True)
class Inclusion:
    """Proof that the leaf hash stands at `index` in the tree of `size` leaves."""

    index: int
    size: int
    leaf: bytes
    path: tuple[bytes, ...]


def read_receipt(house: House, who: Principal, receipt: str) -> bytes:
    """The receipt as the one file a stranger can check offline; the same bytes for ever."""
    hidden = ReceiptNotFound(receipt=receipt)
    with house.registry.read() as work:
        stored = work.receipts.get(receipt)
        if stored is None:
            raise hidden
        project, dataset = work.people.project(stored.project), work.catalogue.get(stored.dataset)
        permit(
            Request(use=Use.READ_RECEIPT, who=who, now=house.clock(), project=project, dataset=dataset), receipt=hidden
        )
        return _file(work, stored)


def _file(work: Work, stored: StoredReceipt) -> bytes:
    """Build the file from what was stored: envelope, entry, and the head its own transaction ended with."""
    entry, head = work.log.entry(stored.index), work.log.head_covering(stored.index)
    if entry is None or head is None:
        raise ReceiptUnprovable(receipt=stored.id, reason=Text("no tree head covers its entry", "尚无树头覆盖其条目"))
    envelope = Envelope.read(stored.envelope)
    return build_receipt(envelope=envelope, entry=entry, index=stored.index, head=head, subtrees=work.log.subtrees())


def log_head(house: House) -> SignedTreeHead:
    """The newest signed tree head."""
    with house.registry.read() as work:
        head = work.log.head()
    if head is None:
        raise ProofNotFound(size=0, asked=0)
    return head


def log_entries(house: House, who: Principal, cursor: Cursor) -> Slice[tuple[int, Entry]]:
    """The entries, for those who watch the house."""
    permit(Request(use=Use.READ_LOG, who=who, now=house.clock()))
    with house.registry.read() as work:
        return work.log.entries(cursor)


def log_consistency(house: House, first: int, second: int) -> tuple[bytes, ...]:
    """Proof that the log of size `second` begins with the log of size `first`; sizes that the log has had."""
    with house.registry.read() as work:
        size = work.log.size()
        if not 0 <= first <= second <= size:
            raise ProofNotFound(size=size, asked=f"{first} … {second}")
        return consistency_proof(work.log.subtrees(), first, second)


def log_inclusion(house: House, index: int, size: int) -> Inclusion:
    """Proof that entry `index` stands in the log of size `size`."""
    with house.registry.read() as work:
        whole = work.log.size()
        entry = work.log.entry(index) if 0 <= index < size <= whole else None
        if entry is None:
            raise ProofNotFound(size=whole, asked=f"{index} / {size}")
        path = inclusion_proof(work.log.subtrees(), index, size)
        return Inclusion(index=index, size=size, leaf=leaf_hash(entry.leaf()), path=path)


def recheck_log(
    house: House,
    *,
    witnessed: Iterable[SignedTreeHead] = (),
    progress: Callable[[int], None] = lambda size: None,
) -> LogReport:
    """Re-check every entry, stored hash and tree head in one pass. Raises `LogDamaged` naming the first bad entry.

    Give heads that were kept elsewhere as `witnessed`, the smallest first: they show a log that somebody who holds the
    signing key has rewritten.
    """
    with house.registry.read() as work:
        return verify_log(
            work.log.stream(),
            work.log.heads(),
            keys=(house.signer.public_key,),
            subtrees=work.log.subtrees(),
            witnessed=witnessed,
            progress=progress,
        )

"""Proof for people: receipts as files, and the audit log as auditors and strangers may see it.

Owns the step from what the registry keeps (an envelope and its place in the log) to what a person takes away (one file
that proves itself), the views on the log, and the re-check of the whole log. It never changes anything. Who may read an
entry is a decision; hashes, heads and proofs tell nothing about anyone and are open to everyone who is signed in.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass

from access.audit import Entry, Logged, LogReport, SignedTreeHead, canonical, verify_log
from access.merkle import consistency_proof, inclusion_proof
from access.people import Principal
from access.policy import Request, Use
from access.ports import Cursor, Slice, StoredReceipt
from access.receipts import PAYLOAD_TYPE, Envelope, ReceiptUnprovable, build_receipt
from privacy.errors import Malformed, NotFound, Text
from sandbox.journeys.house import House, permit


class ReceiptNotFound(NotFound):
    """No such receipt, or it is hidden."""

    code = "receipt.not_found"
    sentence = Text("There is no receipt {receipt}.", "没有凭证 {receipt}。")
    hint = Text("Every answer names its receipt.", "每个结果都注明其凭证编号。")


class LogHidden(NotFound):
    """The entries of the log are for auditors and the operator."""

    code = "log.hidden"
    sentence = Text("There is no log for you to read.", "没有您可读取的日志。")
    hint = Text("Auditors and operators read the log.", "日志供审计员和运营方阅读。")


class LogRange(Malformed):
    """A place or a size the log does not have."""

    code = "log.out_of_range"
    sentence = Text("The log has {size} entries; {asked} cannot be proven.", "日志共有 {size} 条，无法证明 {asked}。")
    hint = Text(
        "Inclusion: 0 <= index < size. Consistency: 0 < first <= second. No size beyond the newest tree head.",
        "包含证明须 0 <= index < size；一致性证明须 0 < first <= second；均不得超出最新树头。",
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Inclusion:
    """Proof that the entry at `index` is in the log of `size` entries; `leaf` is its leaf hash."""

    index: int
    size: int
    leaf: bytes
    path: tuple[bytes, ...]


def read_receipt(house: House, who: Principal, receipt_id: str) -> bytes:
    """The receipt as one file. The same receipt has the same bytes for ever. Raises `ReceiptNotFound`."""
    hidden = ReceiptNotFound(receipt=receipt_id[:64])
    with house.registry.read() as unit:
        stored = unit.receipts.get(receipt_id)
        if stored is None:
            raise hidden
        dataset, project = unit.catalogue.get(stored.dataset), unit.people.project(stored.project)
        permit(
            Request(use=Use.READ_RECEIPT, who=who, now=house.clock(), dataset=dataset, project=project),
            hidden,
        )
        entry, head = unit.log.entry(stored.index), unit.log.head_covering(stored.index)
        if entry is None or head is None:
            raise ReceiptUnprovable(receipt=stored.id, reason=Text("the log is shorter", "日志长度不足"))
        return build_receipt(
            envelope=unpacked(stored), entry=entry, index=stored.index, head=head, subtrees=unit.log.subtrees()
        )


def packed(envelope: Envelope) -> bytes:
    """The envelope as the registry keeps it: a DSSE JSON envelope in canonical form."""
    signature = {"keyid": envelope.key_id, "sig": base64.b64encode(envelope.signature).decode()}
    payload = base64.b64encode(envelope.payload).decode()
    return canonical({"payload": payload, "payloadType": PAYLOAD_TYPE, "signatures": [signature]})


def unpacked(stored: StoredReceipt) -> Envelope:
    """The envelope `packed` made."""
    parts = json.loads(stored.envelope)
    signature = parts["signatures"][0]
    return Envelope(
        receipt=stored.id,
        payload=base64.b64decode(parts["payload"], validate=True),
        key_id=signature["keyid"],
        signature=base64.b64decode(signature["sig"], validate=True),
    )


def log_head(house: House) -> SignedTreeHead | None:
    """The newest signed tree head; None while nothing has happened."""
    with house.registry.read() as unit:
        return unit.log.head()


def log_entries(house: House, who: Principal, cursor: Cursor) -> Slice[tuple[int, Entry]]:
    """The entries with their places, for auditors and operators. Raises `NotAllowed`."""
    permit(Request(use=Use.READ_LOG, who=who, now=house.clock()), LogHidden())
    with house.registry.read() as unit:
        return unit.log.entries(cursor)


def log_inclusion(house: House, index: int, size: int | None = None) -> Inclusion:
    """Proof that an entry is in the log of that size (by default the newest). Raises `LogRange`."""
    with house.registry.read() as unit:
        newest = unit.log.size()
        size = newest if size is None else size
        if not 0 <= index < size <= newest:
            raise LogRange(size=newest, asked=f"index={index}, size={size}")
        subtrees = unit.log.subtrees()
        path = inclusion_proof(subtrees, index, size)
        return Inclusion(index=index, size=size, leaf=subtrees.get(0, index), path=tuple(path))


def log_consistency(house: House, first: int, second: int) -> tuple[bytes, ...]:
    """Proof that the log of size `second` extends that of size `first`. Raises `LogRange`."""
    with house.registry.read() as unit:
        newest = unit.log.size()
        if not 0 < first <= second <= newest:
            raise LogRange(size=newest, asked=f"first={first}, second={second}")
        return tuple(consistency_proof(unit.log.subtrees(), first, second))


def recheck_log(
    house: House,
    *,
    keys: Collection[bytes] | None = None,
    witnessed: Iterable[SignedTreeHead] = (),
    progress: Callable[[int], None] = lambda size: None,
) -> LogReport:
    """Re-check every entry, stored hash and tree head in one pass. Raises `LogDamaged` naming the first bad entry.

    `keys` are the raw public keys to trust, by default the instance's own. Give heads you kept elsewhere as `witnessed`,
    the smallest first: they show a log that somebody with the key has rewritten.
    """
    trusted = keys if keys is not None else (house.signer.public_key,)
    with house.registry.read() as unit:
        entries = (Logged(index=index, leaf=leaf) for index, leaf in unit.log.stream())
        return verify_log(
            entries,
            unit.log.heads(),
            keys=trusted,
            subtrees=unit.log.subtrees(),
            witnessed=witnessed,
            progress=progress,
        )

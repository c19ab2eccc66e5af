"""Receipts: the signed statement about one released answer, and the file that proves it stands in the log.

Owns `Statement` (an in-toto Statement v1: what ran, what it cost, who decided, the digest of what was released), its
DSSE `Envelope`, the log entry that binds it, and the one-file `build_receipt`. It never checks receipts for people: that
is `sandbox/verify_receipt.py`, written apart from this file on purpose, so that a mistake here cannot agree with itself.
Law 8: everything that moves has a digest. Law 10: nothing that the log does not prove is ever called a receipt.

How it is bound: the entry holds the digest of the DSSE payload, the inclusion proof binds the entry to the tree head, and
the key signs both payload and head. Fields: docs/receipts.md.
"""

from __future__ import annotations

import base64
import json
import re
from dataclasses import dataclass
from datetime import datetime

from access.audit import Entry, Json, NotCanonical, SignedTreeHead, Signer, canonical, digest, stamp
from access.merkle import Subtrees, inclusion_proof, leaf_hash, verify_inclusion
from privacy.errors import Text, Unavailable
from privacy.loss import Loss

RECEIPT_TYPE = "data-open-sandbox/receipt/v1"
PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "urn:data-open-sandbox:answer:v1"
#: The kind of the log entry that a receipt proves.
ENTRY_KIND = "answer.released"
_DIGEST = re.compile(r"[0-9a-f]{64}")


class ReceiptUnprovable(Unavailable):
    """The log does not (yet) prove what the receipt would say; no receipt is given out."""

    code = "receipt.unprovable"
    sentence = Text(
        "The receipt {receipt} cannot be proven from the log: {reason}.", "凭证 {receipt} 无法由日志证明：{reason}。"
    )
    hint = Text(
        "Ask again in a moment. If it stays, tell the operator: the log must be re-checked.",
        "请稍后重试；若仍如此，请告知运营方，日志需要重新核验。",
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Subject:
    """One thing that was released: its name and the SHA-256 (hex) of its bytes."""

    name: str
    sha256: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Ran:
    """What produced the answer: the dataset by name, everything else by SHA-256 (hex)."""

    dataset: str
    version: str
    facts: str
    policy: str
    question: str
    plan: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Statement:
    """What the house says about one answer.

    `receipt` is its own id; `asker` and `reviewers` are ids of principals: who asked, and who granted the access.
    """

    receipt: str
    issued: datetime
    asker: str
    project: str
    job: str
    ran: Ran
    cost: Loss
    grant: str
    reviewers: tuple[str, ...]
    released: tuple[Subject, ...]

    def __post_init__(self) -> None:
        ran = self.ran
        digests = (ran.version, ran.facts, ran.policy, ran.question, ran.plan, *(s.sha256 for s in self.released))
        if not self.released or not all(_DIGEST.fullmatch(value) for value in digests):
            raise NotCanonical(
                where=Text("The statement of the receipt", "凭证的陈述"),
                why=Text("a digest is missing or not 64 lower-case hex digits", "摘要缺失，或不是 64 位小写十六进制"),
            )

    def payload(self) -> bytes:
        """The in-toto statement as canonical JSON: the bytes that are signed and whose digest the log keeps."""
        ran, cost = self.ran, self.cost
        predicate: dict[str, Json] = {
            "asked": {"by": self.asker, "job": self.job, "project": self.project},
            "cost": {"delta": cost.delta, "rho": cost.rho},
            "decided": {"grant": self.grant, "reviewers": self.reviewers},
            "issued": stamp(self.issued),
            "ran": {
                "dataset": ran.dataset,
                "facts": ran.facts,
                "plan": ran.plan,
                "policy": ran.policy,
                "question": ran.question,
                "version": ran.version,
            },
            "receipt": self.receipt,
        }
        return canonical(
            {
                "_type": STATEMENT_TYPE,
                "predicate": predicate,
                "predicateType": PREDICATE_TYPE,
                "subject": [{"digest": {"sha256": s.sha256}, "name": s.name} for s in self.released],
            }
        )

    def entry(self) -> Entry:
        """The log entry that binds this statement; it follows from the statement alone, so it can say nothing else."""
        return Entry(
            kind=ENTRY_KIND,
            actor=self.asker,
            subject=self.receipt,
            at=self.issued,
            details={
                "dataset": self.ran.dataset,
                "delta": self.cost.delta,
                "project": self.project,
                "rho": self.cost.rho,
                "statement": digest(self.payload()),
            },
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Envelope:
    """A DSSE envelope with one signature. Its `file` is what the registry keeps of a receipt, beside its place in the log."""

    payload: bytes
    key_id: str
    signature: bytes

    def parts(self) -> dict[str, Json]:
        """The envelope as DSSE JSON."""
        return {
            "payload": _base64(self.payload),
            "payloadType": PAYLOAD_TYPE,
            "signatures": [{"keyid": self.key_id, "sig": _base64(self.signature)}],
        }

    def file(self) -> bytes:
        """The envelope as canonical bytes; `Envelope.read` gives it back."""
        return canonical(self.parts())

    @classmethod
    def read(cls, file: bytes) -> Envelope:
        """The envelope that `file` wrote. The bytes come from our own registry; anything else is a `ValueError`."""
        parts = json.loads(file)
        (signed,) = parts["signatures"]
        envelope = cls(
            payload=base64.b64decode(parts["payload"]),
            key_id=signed["keyid"],
            signature=base64.b64decode(signed["sig"]),
        )
        if envelope.file() != file:
            raise ValueError("a stored envelope is not in canonical form")
        return envelope


def _base64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def pre_authentication(payload: bytes) -> bytes:
    """The bytes DSSE signs (PAE): type and payload with their lengths, so neither can leak into the other."""
    return b"DSSEv1 %d %b %d %b" % (len(PAYLOAD_TYPE), PAYLOAD_TYPE.encode(), len(payload), payload)


def seal(statement: Statement, signer: Signer) -> Envelope:
    """Sign the statement."""
    payload = statement.payload()
    signature = signer.sign(pre_authentication(payload))
    return Envelope(payload=payload, key_id=signer.key_id, signature=signature)


def build_receipt(*, envelope: Envelope, entry: Entry, index: int, head: SignedTreeHead, subtrees: Subtrees) -> bytes:
    """The receipt as one canonical JSON file, or `ReceiptUnprovable`.

    `entry` stands at `index` of the log. Use the head that was signed in the transaction of the entry: then the same
    receipt has the same bytes for ever.
    """
    size, root = head.head.size, head.head.root
    if entry.details.get("statement") != digest(envelope.payload):
        raise _unprovable(entry, "the log entry is about another statement", "日志条目对应的是另一份陈述")
    if not 0 <= index < size:
        raise _unprovable(entry, "no tree head covers its entry yet", "尚无树头覆盖其日志条目")
    path = inclusion_proof(subtrees, index, size)
    if not verify_inclusion(leaf=leaf_hash(entry.leaf()), index=index, size=size, path=path, root=root):
        raise _unprovable(entry, "its entry is not in the log that was signed", "其日志条目不在已签名的日志中")
    return canonical(
        {
            "entry": entry.parts(),
            "envelope": envelope.parts(),
            "head": {**head.head.parts(), "signature": _base64(head.signature)},
            "inclusion": {"index": index, "path": [node.hex() for node in path]},
            "type": RECEIPT_TYPE,
        }
    )


def _unprovable(entry: Entry, en: str, zh: str) -> ReceiptUnprovable:
    return ReceiptUnprovable(receipt=entry.subject, reason=Text(en, zh))

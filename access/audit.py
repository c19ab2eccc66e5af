"""The audit log: what happened, in canonical bytes; tree heads that a key has signed; and the re-check of a whole log.

Owns `Entry` (one event of one state change), the canonical JSON every digest and signature in the house is made over,
`TreeHead` and its signature, and `verify_log`. It stores nothing and reads no clock: the registry appends the entries of
a transaction and signs one head in that same transaction. Law 6: a write takes its entry. Law 10: no head, no receipt.

Canonical JSON is RFC 8785 for the types allowed here (text, integers below 2^53, true, false, null, lists, objects):
there is one spelling of every value, so equal values have equal bytes and nothing can hide in the spelling.
"""

from __future__ import annotations

import hashlib
import heapq
import json
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Protocol, TypeAlias

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from access.merkle import Frontier, Node, Subtrees
from privacy.errors import Conflict, Malformed, Text

Json: TypeAlias = "str | int | bool | Sequence[Json] | Mapping[str, Json] | None"

ENTRY_TYPE = "data-open-sandbox/entry/v1"
HEAD_TYPE = "data-open-sandbox/tree-head/v1"
#: The integers that every JSON reader keeps exactly (RFC 8785, appendix D; RFC 7493, section 2.2).
LARGEST_INTEGER = 2**53 - 1
_KIND = re.compile(r"[a-z]+(-[a-z]+)*(\.[a-z]+(-[a-z]+)*)+")


class NotCanonical(Malformed):
    """A value that has no canonical form, or bytes that are not in it."""

    code = "audit.not-canonical"
    sentence = Text("{where} cannot be recorded: {why}.", "{where}无法记录：{why}。")
    hint = Text(
        "Text must be valid Unicode, and whole numbers must lie between -(2^53 - 1) and 2^53 - 1.",
        "文本须为有效的 Unicode，整数须在 -(2^53 - 1) 与 2^53 - 1 之间。",
    )


class LogDamaged(Conflict):
    """The log is not the one that was signed. Entries `first` … `last` (0-based) are where it first differs."""

    code = "audit.log-damaged"
    sentence = Text(
        "The audit log is damaged at entry {first} (up to entry {last}): {reason}.",
        "审计日志自第 {first} 条起（至第 {last} 条）已损坏：{reason}。",
    )
    hint = Text(
        "Stop writing to this instance, keep a copy of the log, and compare it with a backup and with receipts already issued.",
        "请停止向本实例写入，保留日志副本，并与备份及已签发的凭证进行比对。",
    )


def canonical(value: Json) -> bytes:
    """The one spelling of `value`: RFC 8785 in UTF-8. Raises `NotCanonical`; floats have none on purpose (law 2)."""
    try:
        return json.dumps(_ordered(value), ensure_ascii=False, separators=(",", ":")).encode()
    except UnicodeEncodeError:
        raise _refusal("a text holds half a surrogate pair", "文本含有不成对的代理码元") from None


def digest(value: Json | bytes) -> str:
    """SHA-256 in lower-case hex of the bytes, or of the canonical form of any other value."""
    return hashlib.sha256(value if isinstance(value, bytes) else canonical(value)).hexdigest()


def _refusal(en: str, zh: str) -> NotCanonical:
    return NotCanonical(where=Text("The event", "该事件"), why=Text(en, zh))


def _ordered(value: object) -> object:
    """`value` in plain lists and dicts, keys in the order of RFC 8785 (UTF-16 code units)."""
    if value is None or isinstance(value, str | bool):
        return value
    if isinstance(value, int):
        if abs(value) > LARGEST_INTEGER:
            raise _refusal("a whole number is too large", "整数过大")
        return int(value)
    if isinstance(value, Mapping):
        if not all(isinstance(key, str) for key in value):
            raise _refusal("a name is not a text", "字段名不是文本")
        return {key: _ordered(value[key]) for key in sorted(value, key=lambda key: key.encode("utf-16-be"))}
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray | memoryview):
        return [_ordered(item) for item in value]
    raise _refusal(
        f"the type {type(value).__name__} has no canonical form", f"类型 {type(value).__name__} 没有规范形式"
    )


def _frozen(value: Json) -> Json:
    if isinstance(value, Mapping):
        return MappingProxyType({key: _frozen(item) for key, item in value.items()})
    if isinstance(value, Sequence) and not isinstance(value, str):
        return tuple(_frozen(item) for item in value)
    return value


def stamp(moment: datetime) -> str:
    """The one spelling of a moment: UTC, microseconds, "Z". A datetime without a zone is a `ValueError`."""
    if moment.tzinfo is None:
        raise ValueError("a moment must carry its time zone")
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One event: who (`actor`) did what (`kind`, like "grant.revoked") to what (`subject`), when, and the particulars.

    `details` must have a canonical form and is frozen deeply; it must never hold a confidential value or a secret,
    because auditors read the log and receipts carry entries out of the house.
    """

    kind: str
    actor: str
    subject: str
    at: datetime
    details: Mapping[str, Json] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not _KIND.fullmatch(self.kind):
            raise ValueError(f"an entry's kind is dotted lower case, not {self.kind!r}")
        self.leaf()
        object.__setattr__(self, "at", self.at.astimezone(UTC))
        object.__setattr__(self, "details", _frozen(self.details))

    def __hash__(self) -> int:
        return hash(self.leaf())

    def parts(self) -> dict[str, Json]:
        """The entry as JSON."""
        return {
            "actor": self.actor,
            "at": stamp(self.at),
            "details": self.details,
            "kind": self.kind,
            "subject": self.subject,
            "type": ENTRY_TYPE,
        }

    def leaf(self) -> bytes:
        """The bytes that go into the tree: the canonical form of `parts`. `Entry.read` gives the entry back."""
        return canonical(self.parts())

    @classmethod
    def read(cls, leaf: bytes) -> Entry:
        """The entry whose leaf these bytes are; `NotCanonical` when they are not exactly one."""
        try:
            parts = json.loads(leaf)
            texts = [parts[name] for name in ("actor", "at", "kind", "subject")]
            if not all(isinstance(text, str) for text in texts) or not isinstance(parts["details"], dict):
                raise TypeError("a part of the wrong type")
            if parts.pop("type") != ENTRY_TYPE:
                raise ValueError("another type")
            entry = cls(**{**parts, "at": datetime.fromisoformat(parts["at"])})
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            raise _refusal("its bytes are not an entry", "其字节不是一条日志") from None
        if entry.leaf() != leaf:
            raise _refusal("its bytes are not in canonical form", "其字节不是规范形式")
        return entry


class Signer(Protocol):
    """Signs for this instance with one Ed25519 key. The key itself never leaves the adapter."""

    @property
    def key_id(self) -> str:
        """`key_id_of(public_key)`."""

    @property
    def public_key(self) -> bytes:
        """The raw public key, 32 bytes."""

    def sign(self, message: bytes) -> bytes:
        """The 64-byte Ed25519 signature of `message`."""


def key_id_of(public_key: bytes) -> str:
    """The name of a key: SHA-256 (hex) of its raw 32 bytes."""
    return hashlib.sha256(public_key).hexdigest()


def public_pem(public_key: bytes) -> str:
    """The public key as the PEM file that people pin and give to the verifier."""
    return (
        Ed25519PublicKey.from_public_bytes(public_key)
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        .decode()
    )


class Ed25519Signer:
    """A signer that holds its private key in memory; reading the key from a file is the wiring's work."""

    def __init__(self, private_key: Ed25519PrivateKey) -> None:
        self._private = private_key
        self.public_key: bytes = private_key.public_key().public_bytes_raw()
        self.key_id: str = key_id_of(self.public_key)

    @classmethod
    def from_seed(cls, seed: bytes) -> Ed25519Signer:
        """The signer of the 32-byte private key `seed`."""
        return cls(Ed25519PrivateKey.from_private_bytes(seed))

    def sign(self, message: bytes) -> bytes:
        """The 64-byte signature of `message`."""
        return self._private.sign(message)


@dataclass(frozen=True, kw_only=True, slots=True)
class TreeHead:
    """What the log was at one moment: its size and root, and the key that vouches for it."""

    size: int
    root: bytes
    at: datetime
    key_id: str

    def parts(self) -> dict[str, Json]:
        """The head as JSON, root in hex; its canonical form is what is signed."""
        return {
            "key_id": self.key_id,
            "root": self.root.hex(),
            "size": self.size,
            "timestamp": stamp(self.at),
            "type": HEAD_TYPE,
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class SignedTreeHead:
    """A head and the signature over its canonical form."""

    head: TreeHead
    signature: bytes

    def signed_by(self, public_key: bytes) -> bool:
        """True when `public_key` is the key the head names and has signed it."""
        if self.head.key_id != key_id_of(public_key):
            return False
        try:
            Ed25519PublicKey.from_public_bytes(public_key).verify(self.signature, canonical(self.head.parts()))
        except InvalidSignature:
            return False
        return True


def sign_head(frontier: Frontier, at: datetime, signer: Signer) -> SignedTreeHead:
    """The signed head of the log as it stands."""
    head = TreeHead(size=frontier.size, root=frontier.root, at=at, key_id=signer.key_id)
    return SignedTreeHead(head=head, signature=signer.sign(canonical(head.parts())))


@dataclass(frozen=True, kw_only=True, slots=True)
class Logged:
    """One stored entry: its place (0-based) and its leaf as stored."""

    index: int
    leaf: bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class LogReport:
    """A sound log: how many entries and heads were checked, and the frontier it ends with."""

    heads: int
    frontier: Frontier


def verify_log(
    entries: Iterable[Logged],
    heads: Iterable[SignedTreeHead],
    *,
    keys: Collection[bytes],
    subtrees: Subtrees | None = None,
    witnessed: Iterable[SignedTreeHead] = (),
    progress: Callable[[int], None] = lambda size: None,
) -> LogReport:
    """Re-check a whole log in one pass and constant memory; raise `LogDamaged` naming the first bad entries.

    `entries` by index, `heads` and `witnessed` by size. What must hold, checked in the order of the log:

    1. Entry i stands at place i and is a canonical entry.
    2. Every complete subtree hashes to what `subtrees` (if given) has stored for it.
    3. Every head is signed by one of `keys` (raw public keys, given from outside the log) and has the root that the
       entries up to its size give.
    4. The last head covers the last entry, and no head promises more entries than there are.
    5. `witnessed` heads, kept outside the house (in receipts, by an auditor), fit as well: this is what shows a log that
       was cut back or rewritten by somebody who can sign.
    """
    both = heapq.merge(_marked(heads, seen_outside=False), _marked(witnessed, seen_outside=True), key=lambda m: m.size)
    check = _Recheck(both, keys)
    check.heads_here()
    for row in entries:
        if row.index != check.frontier.size:
            raise check.damage("an entry is missing or out of order", "有日志缺失或次序错乱")
        check.entry(row.leaf, subtrees)
        check.heads_here()
        progress(check.frontier.size)
    check.end()
    return LogReport(heads=check.count, frontier=check.frontier)


@dataclass(frozen=True, slots=True)
class _Marked:
    """A head, and whether it was kept outside: who rewrote the log signed the inner heads anew, but not the outer ones."""

    signed: SignedTreeHead
    seen_outside: bool

    @property
    def size(self) -> int:
        return self.signed.head.size


def _marked(heads: Iterable[SignedTreeHead], *, seen_outside: bool) -> Iterator[_Marked]:
    return (_Marked(signed, seen_outside) for signed in heads)


class _Recheck:
    """The state of one pass: the tree so far, the heads still to come, and how far heads have vouched for it."""

    def __init__(self, heads: Iterable[_Marked], keys: Collection[bytes]) -> None:
        self._heads = iter(heads)
        self._next = next(self._heads, None)
        self._keys = {key_id_of(key): key for key in keys}
        self._vouched = {False: 0, True: 0}  # by `seen_outside`: the size of the last head that fitted
        self.count = 0
        self.frontier = Frontier()

    def damage(self, en: str, zh: str, *, first: int | None = None, last: int | None = None) -> LogDamaged:
        here = self.frontier.size
        first = here if first is None else first
        last = here if last is None else last
        return LogDamaged(first=first, last=max(first, last), reason=Text(en, zh))

    def entry(self, leaf: bytes, subtrees: Subtrees | None) -> None:
        try:
            Entry.read(leaf)
        except NotCanonical:
            raise self.damage("it is not a canonical entry", "该条不是规范的日志") from None
        grown, nodes = self.frontier.append(leaf)
        if subtrees is not None:
            for node in nodes:
                self._require_stored(subtrees, node)
        self.frontier = grown

    def _require_stored(self, subtrees: Subtrees, node: Node) -> None:
        try:
            stored = subtrees.get(node.level, node.index)
        except LookupError:
            stored = b""
        if stored != node.hash:
            raise self.damage(
                "its hash is not the one that was stored", "其哈希与已存储的不一致", first=node.index << node.level
            )

    def heads_here(self) -> None:
        """Check every head of exactly the present size."""
        while (head := self._next) is not None and head.size <= self.frontier.size:
            first, last = self._vouched[head.seen_outside], self.frontier.size - 1
            if head.size < self.frontier.size:
                raise self.damage("tree heads are out of order", "树头次序错乱", first=max(0, head.size), last=last)
            key = self._keys.get(head.signed.head.key_id)
            if key is None or not head.signed.signed_by(key):
                en, zh = "the tree head over it is not signed by a trusted key", "覆盖该条的树头没有可信密钥的签名"
                raise self.damage(en, zh, first=first, last=last)
            if head.signed.head.root != self.frontier.root:
                en, zh = "its tree head was signed over other entries", "其树头签署的是另外的日志"
                raise self.damage(en, zh, first=first, last=last)
            self._vouched[head.seen_outside] = self.frontier.size
            self.count, self._next = self.count + 1, next(self._heads, None)

    def end(self) -> None:
        """Require that heads and entries end together."""
        size = self.frontier.size
        if self._next is not None:
            en, zh = "a signed tree head promises entries that are not there", "已签名的树头所承诺的日志不存在"
            raise self.damage(en, zh, last=self._next.size - 1)
        if (vouched := self._vouched[False]) < size:
            raise self.damage("no signed tree head covers it", "没有已签名的树头覆盖该条", first=vouched, last=size - 1)

"""The ports of the access floor: Registry, its unit of work and repositories, and Clock, Entropy, Passwords, Signer.

Their docstrings are the specification; one contract suite runs on the store and on its fake (`tests/contract/`).

Laws every adapter keeps
1. One transaction. `Registry.begin()` opens it, a clean exit commits, an exception rolls everything back. Nobody else
   commits. Writing transactions are serial: what one reads, no other changes before it ends.
2. A write takes its audit entry (law 6). `entry` is a required keyword of every method that changes a state. It is
   appended to the Merkle log in the same transaction. Several writes of one transaction that are one event are given the
   same entry, which is appended once.
3. A transaction that appended ends with a signed tree head over all entries so far, in the same transaction.
4. Reads find nothing or the noun; absence is None, never an exception. Lists come as a `Slice`.
5. Nothing that was appended (log, ledger lines, receipts, answers, reviews) is ever updated or deleted.

One file, though long: it is a flat list of duties, and whoever writes an adapter reads all of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, Protocol, TypeVar

from access.audit import Entry, Logged, SignedTreeHead, Signer
from access.catalogue import Dataset, DatasetVersion
from access.grants import AccessRequest, Grant, RequestState, Review
from access.ledger import Account, LedgerEntry, Reservation
from access.merkle import Subtrees
from access.people import Organisation, Principal, Project, Token
from privacy.errors import Conflict, Malformed, Text
from privacy.loss import Budget, Loss

__all__ = [
    "Answers",
    "Catalogue",
    "Clock",
    "Cursor",
    "CursorMalformed",
    "Entropy",
    "Entry",
    "Grants",
    "Idempotency",
    "IdempotencyRecord",
    "IdempotencyReused",
    "IngestRecord",
    "Ledger",
    "Log",
    "Passwords",
    "People",
    "Receipts",
    "Registry",
    "RegistryChanged",
    "Requests",
    "SignedTreeHead",
    "Signer",
    "Slice",
    "StoredAnswer",
    "StoredReceipt",
    "Unit",
    "Upload",
    "fresh_id",
]

Clock = Callable[[], datetime]
"""The time now, in UTC and aware of it."""

Entropy = Callable[[int], bytes]
"""That many bytes nobody can guess."""

T = TypeVar("T")


def fresh_id(entropy: Entropy) -> str:
    """A new id: 16 random bytes in hex. Ids are not secrets, but cannot be guessed or counted either."""
    return entropy(16).hex()


class Passwords(Protocol):
    """Slow, salted hashing of passwords (argon2id)."""

    def hash(self, password: str) -> str:
        """What is stored; a fresh salt every time."""

    def verify(self, password: str, stored: str | None) -> bool:
        """True when the password belongs to the hash. None (no such login) takes as long and is always False."""


class CursorMalformed(Malformed):
    """A page was asked for with a cursor or a size we did not hand out."""

    code = "page.bad_cursor"
    sentence = Text(
        "This page cannot be read: limit {limit}, after “{after}”.", "无法读取该页：limit {limit}，after “{after}”。"
    )
    hint = Text(
        "Use a limit of 1 to {most} and the `next` of the page before.",
        "limit 取 1 至 {most}，after 使用上一页返回的 next。",
    )


class RegistryChanged(Conflict):
    """Somebody else changed the same thing first."""

    code = "registry.changed"
    sentence = Text("It was changed by somebody else in the meantime.", "该内容已被他人更改。")
    hint = Text("Read it again and repeat what you wanted to do.", "请重新读取后再操作。")


class IdempotencyReused(Conflict):
    """The same key came with another body."""

    code = "idempotency.reused"
    sentence = Text("The idempotency key “{key}” was used for a different request.", "幂等键“{key}”已用于另一请求。")
    hint = Text("Use a new key for a new request.", "新的请求请使用新的幂等键。")


#: The most items one page may hold.
LARGEST_PAGE = 500


@dataclass(frozen=True, kw_only=True, slots=True)
class Cursor:
    """Which page: at most `limit` items beyond `after` (the `next` of the page before; None begins)."""

    limit: int = 50
    after: str | None = None
    newest_first: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.limit <= LARGEST_PAGE or not (self.after is None or _is_count(self.after)):
            raise CursorMalformed(limit=self.limit, after=str(self.after)[:40], most=LARGEST_PAGE)

    @property
    def position(self) -> int | None:
        """The sequence number the page begins beyond."""
        return None if self.after is None else int(self.after)


def _is_count(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 18


@dataclass(frozen=True, kw_only=True, slots=True)
class Slice(Generic[T]):
    """One page; `next` is the cursor of the following one, None at the end."""

    items: tuple[T, ...]
    next: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Upload:
    """A steward's file, staged and waiting for the ingest. `path` is the server's own, never the steward's."""

    dataset: str
    table: str
    path: str
    digest: str
    size: int
    uploaded_by: str
    uploaded_at: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class IngestRecord:
    """The report of one ingest as canonical JSON text, exact and for the steward alone; `version` None when it failed."""

    dataset: str
    job: str
    version: str | None
    report: str
    at: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredAnswer:
    """An answer as it left: canonical JSON bytes, paid with `price`. Its key is (project, plan, version)."""

    id: str
    job: str
    project: str
    dataset: str
    plan: str
    version: str
    price: Loss
    body: bytes
    receipt: str
    created_at: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredReceipt:
    """A receipt's signed envelope. `index` is its entry's place in the log, set by the registry when it is added.

    The file a person gets is made from this, the inclusion proof and the tree head its transaction ended with.
    """

    id: str
    job: str
    project: str
    dataset: str
    envelope: bytes
    created_at: datetime
    index: int = -1


@dataclass(frozen=True, kw_only=True, slots=True)
class IdempotencyRecord:
    """What a principal's key stood for: the digest of the body, and the id of what came of it (a job's, as a rule)."""

    principal: str
    key: str
    body_digest: str
    result: str
    created_at: datetime


class People(Protocol):
    """Organisations, principals, projects, tokens."""

    def founded(self) -> bool:
        """True when some principal exists."""

    def add_organisation(self, organisation: Organisation, *, entry: Entry) -> None:
        """Raises `NameTaken` when the name exists."""

    def organisation(self, key: str) -> Organisation | None:
        """By id."""

    def organisations(self, cursor: Cursor) -> Slice[Organisation]:
        """All."""

    def add_principal(self, principal: Principal, *, password_hash: str | None, entry: Entry) -> None:
        """Raises `NameTaken` when the login exists. Without a hash nobody signs in with a password."""

    def principal(self, key: str) -> Principal | None:
        """By id."""

    def principal_by_login(self, login: str) -> Principal | None:
        """By login."""

    def principals(self, cursor: Cursor) -> Slice[Principal]:
        """All."""

    def password_hash(self, principal: str) -> str | None:
        """The stored hash, if any. The one place where it can be read."""

    def set_password(self, principal: str, password_hash: str, *, entry: Entry) -> None:
        """Replace the hash."""

    def disable(self, principal: str, at: datetime, *, entry: Entry) -> None:
        """From now on the principal is refused everywhere. Repeating it keeps the first time."""

    def add_token(self, token: Token, *, entry: Entry) -> None:
        """Keep the token's hash."""

    def token(self, key: str) -> Token | None:
        """By id."""

    def token_by_hash(self, digest: str) -> Token | None:
        """By the SHA-256 of a secret; expired and revoked ones too."""

    def tokens_of(self, principal: str, cursor: Cursor) -> Slice[Token]:
        """All of one principal."""

    def revoke_token(self, key: str, at: datetime, *, entry: Entry) -> None:
        """Stop it for good. Repeating it keeps the first time."""

    def add_project(self, project: Project, *, entry: Entry) -> None:
        """Raises `NameTaken` when the name exists."""

    def project(self, id_or_name: str) -> Project | None:
        """By id, else by name."""

    def projects(self, cursor: Cursor, *, member: str | None = None) -> Slice[Project]:
        """Those with this member, or all."""

    def add_member(self, project: str, principal: str, *, entry: Entry) -> None:
        """Idempotent."""


class Catalogue(Protocol):
    """Datasets, versions, descriptions, uploads, ingest reports."""

    def add(self, dataset: Dataset, *, description: str, entry: Entry) -> None:
        """Raises `DatasetExists`. `description` is the steward's text. The caller opens the total account beside it."""

    def get(self, name: str) -> Dataset | None:
        """By name."""

    def list(self, cursor: Cursor, *, visible_to: str | None = None) -> Slice[Dataset]:
        """Those that are catalogued or whose steward this is; None: all."""

    def replace(self, dataset: Dataset, *, description: str | None, entry: Entry) -> None:
        """Store the entry as it now is; `description` None keeps the text."""

    def description(self, name: str) -> str | None:
        """The steward's text."""

    def add_version(self, version: DatasetVersion, *, entry: Entry) -> None:
        """Keep the version and make it the dataset's current one."""

    def version(self, dataset: str, digest: str) -> DatasetVersion | None:
        """One version."""

    def versions(self, dataset: str, cursor: Cursor) -> Slice[DatasetVersion]:
        """All versions of a dataset."""

    def stage(self, upload: Upload, *, entry: Entry) -> None:
        """Keep the upload, in place of an earlier one of the same table."""

    def uploads(self, dataset: str) -> tuple[Upload, ...]:
        """What is staged, by table name."""

    def drop_uploads(self, dataset: str, *, entry: Entry) -> None:
        """Forget what is staged (the files are the caller's)."""

    def add_report(self, record: IngestRecord, *, entry: Entry) -> None:
        """Keep the report of an ingest."""

    def latest_report(self, dataset: str) -> IngestRecord | None:
        """The report of the newest ingest."""


class Requests(Protocol):
    """Access requests and their reviews."""

    def add(self, request: AccessRequest, *, entry: Entry) -> None:
        """Keep a new request."""

    def get(self, key: str) -> AccessRequest | None:
        """By id."""

    def list(
        self, cursor: Cursor, *, visible_to: str | None = None, states: tuple[RequestState, ...] = ()
    ) -> Slice[AccessRequest]:
        """Of projects with this member or datasets of this steward (None: all), in any of the states (empty: all)."""

    def change(self, before: AccessRequest, after: AccessRequest, *, entry: Entry) -> None:
        """Replace `before` by `after`, or `RegistryChanged` when the stored state or round is not that of `before`."""

    def add_review(self, review: Review, *, entry: Entry) -> None:
        """Raises `AlreadyVoted` when this reviewer has voted in this round."""

    def reviews(self, request: str) -> tuple[Review, ...]:
        """All rounds, in the order they were cast."""


class Grants(Protocol):
    """Grants."""

    def add(self, grant: Grant, *, entry: Entry) -> None:
        """Keep a new grant."""

    def get(self, key: str) -> Grant | None:
        """By id."""

    def newest(self, project: str, dataset: str) -> Grant | None:
        """The newest grant of the pair, whatever its state."""

    def list(self, cursor: Cursor, *, visible_to: str | None = None) -> Slice[Grant]:
        """Of projects with this member or datasets of this steward (None: all)."""

    def due(self, now: datetime, limit: int = 100) -> tuple[Grant, ...]:
        """Active and suspended grants that are past their expiry."""

    def change(self, before: Grant, after: Grant, *, entry: Entry) -> None:
        """Replace `before` by `after`, or `RegistryChanged` when the stored state is not that of `before`."""


class Ledger(Protocol):
    """Accounts, reservations, lines. Spending is one conditional UPDATE an account; CHECK constraints stand behind it."""

    def open(self, account: Account, *, entry: Entry) -> None:
        """Keep a new account; one per (dataset, project), one per (dataset, None). Writes the line OPENED."""

    def account(self, key: str) -> Account | None:
        """By id."""

    def find(self, dataset: str, project: str | None) -> Account | None:
        """The account of the pair; project None is the dataset's total."""

    def accounts(
        self, cursor: Cursor, *, dataset: str | None = None, project: str | None = None, visible_to: str | None = None
    ) -> Slice[Account]:
        """Filtered by dataset and project; `visible_to` keeps the projects with this member and this steward's datasets."""

    def set_limit(self, account: str, budget: Budget, *, entry: Entry) -> None:
        """Move the limit, never below what is spent and set aside. Writes the line LIMIT_SET."""

    def reserve(self, reservation: Reservation, *, contact: str, entry: Entry) -> None:
        """Set the loss aside on the project's and on the total account; both have room or nothing changes.

        Raises `BudgetExhausted` (naming `contact`) for the first account without room, `AccountNotFound` when one does
        not exist (no account, no spending). Writes one line RESERVED on each.
        """

    def settle(self, reservation: str, *, at: datetime, entry: Entry) -> None:
        """Spend what was set aside, once; raises `AlreadyClosed` the second time. Writes one line SETTLED on each."""

    def void(self, reservation: str, *, at: datetime, entry: Entry) -> None:
        """Give back what was set aside, once; raises `AlreadyClosed` the second time. Writes one line VOIDED on each."""

    def reservation(self, key: str) -> Reservation | None:
        """By id."""

    def reservation_of(self, job: str) -> Reservation | None:
        """That of a job."""

    def entries(self, account: str, cursor: Cursor) -> Slice[LedgerEntry]:
        """The lines of an account."""


class Answers(Protocol):
    """Answers that left. Never changed; a dearer answer to the same question stands beside the cheaper one."""

    def add(self, answer: StoredAnswer, *, entry: Entry) -> None:
        """Keep an answer; one per job."""

    def find(self, project: str, plan: str, version: str, offered: Loss) -> StoredAnswer | None:
        """The dearest answer of the key whose price was at least `offered` in rho and in delta, if any."""

    def of_job(self, job: str) -> StoredAnswer | None:
        """The answer a job left."""

    def get(self, key: str) -> StoredAnswer | None:
        """By id."""


class Receipts(Protocol):
    """Receipts. Never changed."""

    def add(self, receipt: StoredReceipt, *, entry: Entry) -> int:
        """Keep the envelope; `entry` carries its digest. Returns the entry's index in the log, which is stored with it."""

    def get(self, key: str) -> StoredReceipt | None:
        """By id."""

    def of_job(self, job: str) -> StoredReceipt | None:
        """The receipt of a job."""

    def list(self, cursor: Cursor, *, project: str | None = None, dataset: str | None = None) -> Slice[StoredReceipt]:
        """All, or those of a project, of a dataset."""


class Idempotency(Protocol):
    """What was done under which key."""

    def lookup(self, principal: str, key: str, body_digest: str) -> str | None:
        """The result of an earlier request with this key and body; None when new; `IdempotencyReused` on another body."""

    def add(self, record: IdempotencyRecord, *, entry: Entry) -> None:
        """Keep the key. Raises `IdempotencyReused` when the principal used it before."""


class Log(Protocol):
    """The audit log of this registry. Entries and heads are only ever appended."""

    def append(self, entry: Entry) -> int:
        """Append an event that changes no other table (a failed sign-in, say); returns its index.

        An entry equal to one already appended in this transaction is not appended again.
        """

    def size(self) -> int:
        """How many entries there are, this transaction's included."""

    def entry(self, index: int) -> Entry | None:
        """One entry."""

    def entries(self, cursor: Cursor) -> Slice[tuple[int, Entry]]:
        """Entries with their index; a cursor's position is an index."""

    def stream(self, start: int = 0) -> Iterator[Logged]:
        """All entries from `start` as stored, in bounded memory: for re-checking the whole log."""

    def head(self) -> SignedTreeHead | None:
        """The newest signed tree head, None for an empty log. Inside a writing transaction: as it began."""

    def heads(self, start: int = 0) -> Iterator[SignedTreeHead]:
        """All heads with a size greater than `start`, the smallest first, in bounded memory."""

    def head_covering(self, index: int) -> SignedTreeHead | None:
        """The first head whose tree contains the entry."""

    def subtrees(self) -> Subtrees:
        """Stored subtree hashes, from which `access.merkle` makes proofs."""


class Unit(Protocol):
    """One transaction's view of everything."""

    @property
    def people(self) -> People:
        """See `People`."""

    @property
    def catalogue(self) -> Catalogue:
        """See `Catalogue`."""

    @property
    def requests(self) -> Requests:
        """See `Requests`."""

    @property
    def grants(self) -> Grants:
        """See `Grants`."""

    @property
    def ledger(self) -> Ledger:
        """See `Ledger`."""

    @property
    def answers(self) -> Answers:
        """See `Answers`."""

    @property
    def receipts(self) -> Receipts:
        """See `Receipts`."""

    @property
    def idempotency(self) -> Idempotency:
        """See `Idempotency`."""

    @property
    def log(self) -> Log:
        """See `Log`."""


U_co = TypeVar("U_co", bound=Unit, covariant=True)


class Registry(Protocol[U_co]):
    """All durable state. `U_co` is the unit the journeys use: this floor's, and the jobs beside it."""

    def begin(self) -> AbstractContextManager[U_co]:
        """A writing transaction: serial, all or nothing. Do not nest."""

    def read(self) -> AbstractContextManager[U_co]:
        """A reading transaction: one consistent view, no lock held against writers. A write in it raises."""

    def ready(self) -> bool:
        """True when the registry can be reached and its tables are those of this release."""

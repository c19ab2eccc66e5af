"""The tables, the log and one part of the registry that lives in memory; see `tests.fakes.registry`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import copy
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Generic, TypeVar

from access.audit import Entry, Logged, SignedTreeHead, Signer, sign_head
from access.catalogue import Dataset, DatasetVersion
from access.grants import AccessRequest, Grant, Review
from access.ledger import (
    Account,
    LedgerEntry,
    Reservation,
)
from access.merkle import Frontier
from access.people import Organisation, Principal, Project, Token
from access.ports import (
    Cursor,
    IdempotencyRecord,
    IngestRecord,
    Slice,
    StoredAnswer,
    StoredReceipt,
    Upload,
)
from compute.jobs import Job

T = TypeVar("T")


class Rows(Generic[T]):
    """A table: nouns by key, numbered in the order they came."""

    def __init__(self) -> None:
        self.rows: dict[str, tuple[int, T]] = {}
        self.count = 0

    def __copy__(self) -> Rows[T]:
        twin: Rows[T] = Rows()
        twin.rows, twin.count = dict(self.rows), self.count
        return twin

    def put(self, key: str, item: T) -> None:
        if key in self.rows:
            self.rows[key] = (self.rows[key][0], item)
            return
        self.count += 1
        self.rows[key] = (self.count, item)

    def get(self, key: str) -> T | None:
        return self.rows[key][1] if key in self.rows else None

    def where(self, fits: Callable[[T], bool]) -> list[T]:
        return [item for _, item in sorted(self.rows.values(), key=lambda row: row[0]) if fits(item)]

    def page(self, cursor: Cursor, fits: Callable[[T], bool] = lambda item: True) -> Slice[T]:
        ordered = sorted(self.rows.values(), key=lambda row: row[0], reverse=cursor.newest_first)
        beyond = [
            (seq, item)
            for seq, item in ordered
            if fits(item)
            and (cursor.position is None or (seq < cursor.position if cursor.newest_first else seq > cursor.position))
        ]
        shown = beyond[: cursor.limit]
        return Slice(
            items=tuple(item for _, item in shown), next=str(shown[-1][0]) if len(beyond) > cursor.limit else None
        )


@dataclass
class Tables:
    """Everything, by table."""

    organisations: Rows[Organisation] = field(default_factory=Rows)
    principals: Rows[Principal] = field(default_factory=Rows)
    passwords: Rows[str] = field(default_factory=Rows)
    tokens: Rows[Token] = field(default_factory=Rows)
    projects: Rows[Project] = field(default_factory=Rows)
    datasets: Rows[Dataset] = field(default_factory=Rows)
    descriptions: Rows[str] = field(default_factory=Rows)
    versions: Rows[DatasetVersion] = field(default_factory=Rows)
    uploads: Rows[tuple[Upload, ...]] = field(default_factory=Rows)
    reports: Rows[IngestRecord] = field(default_factory=Rows)
    requests: Rows[AccessRequest] = field(default_factory=Rows)
    reviews: Rows[Review] = field(default_factory=Rows)
    grants: Rows[Grant] = field(default_factory=Rows)
    accounts: Rows[Account] = field(default_factory=Rows)
    reservations: Rows[Reservation] = field(default_factory=Rows)
    lines: Rows[LedgerEntry] = field(default_factory=Rows)
    answers: Rows[StoredAnswer] = field(default_factory=Rows)
    receipts: Rows[StoredReceipt] = field(default_factory=Rows)
    idempotency: Rows[IdempotencyRecord] = field(default_factory=Rows)
    jobs: Rows[Job] = field(default_factory=Rows)
    log: list[Entry] = field(default_factory=list)
    heads: list[SignedTreeHead] = field(default_factory=list)
    nodes: dict[tuple[int, int], bytes] = field(default_factory=dict)
    frontier: Frontier = field(default_factory=Frontier)

    def twin(self) -> Tables:
        return Tables(**{f.name: copy(getattr(self, f.name)) for f in fields(self)})

    def visible(self, viewer: str | None, project: str | None, dataset: str) -> bool:
        holder = self.projects.get(project) if project else None
        owned = self.datasets.get(dataset)
        return (
            viewer is None
            or (holder is not None and viewer in holder.members)
            or (owned is not None and owned.steward == viewer)
        )


class FakeLog:
    """See `access.ports.Log`."""

    def __init__(self, tables: Tables, *, writes: bool) -> None:
        self._t = tables
        self._writes = writes
        self._appended: dict[bytes, int] = {}

    def require_writable(self) -> None:
        if not self._writes:
            raise RuntimeError("this unit of work only reads")

    def append(self, entry: Entry) -> int:
        self.require_writable()
        leaf = entry.leaf()
        if leaf in self._appended:
            return self._appended[leaf]
        index = self._t.frontier.size
        self._t.frontier, nodes = self._t.frontier.append(leaf)
        self._t.nodes |= {(n.level, n.index): n.hash for n in nodes}
        self._t.log.append(entry)
        self._appended[leaf] = index
        return index

    def seal(self, signer: Signer, at: datetime) -> None:
        if self._appended:
            self._t.heads.append(sign_head(self._t.frontier, at, signer))

    def size(self) -> int:
        return len(self._t.log)

    def entry(self, index: int) -> Entry | None:
        return self._t.log[index] if 0 <= index < len(self._t.log) else None

    def entries(self, cursor: Cursor) -> Slice[tuple[int, Entry]]:
        rows = list(enumerate(self._t.log))
        if cursor.newest_first:
            rows.reverse()
        if cursor.position is not None:
            at = cursor.position
            rows = [row for row in rows if (row[0] < at if cursor.newest_first else row[0] > at)]
        shown = rows[: cursor.limit]
        return Slice(items=tuple(shown), next=str(shown[-1][0]) if len(rows) > cursor.limit else None)

    def stream(self, start: int = 0) -> Iterator[Logged]:
        yield from (Logged(index=i, leaf=e.leaf()) for i, e in enumerate(self._t.log) if i >= start)

    def head(self) -> SignedTreeHead | None:
        return self._t.heads[-1] if self._t.heads else None

    def heads(self, start: int = 0) -> Iterator[SignedTreeHead]:
        yield from (h for h in self._t.heads if h.head.size > start)

    def head_covering(self, index: int) -> SignedTreeHead | None:
        return next((h for h in self._t.heads if h.head.size > index), None)

    def subtrees(self) -> FakeSubtrees:
        return FakeSubtrees(self._t.nodes)


class FakeSubtrees:
    """See `access.merkle.Subtrees`."""

    def __init__(self, nodes: dict[tuple[int, int], bytes]) -> None:
        self._nodes = nodes

    def get(self, level: int, index: int) -> bytes:
        return self._nodes[level, index]


class Part:
    """What every repository of one transaction holds."""

    def __init__(self, tables: Tables, log: FakeLog) -> None:
        self._t = tables
        self._log = log

"""One transaction: statements, pages, and the audit log that every write feeds.

Owns `Session` (the connection of one unit of work), paging, and `SqlLog`. Law 6 lives here: every repository writes
through `Session.record`, which needs the entry. It never commits: the registry does, after `SqlLog.seal` has signed the
head over what the transaction appended.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from access.audit import Entry, Logged, SignedTreeHead, Signer, TreeHead, sign_head
from access.merkle import Frontier, Node
from access.ports import Clock, Cursor, Slice
from sandbox.store.tables import log_entries, log_heads, log_nodes, log_state

T = TypeVar("T")
Row = Mapping[Any, Any]
_HASH = 32
_BATCH = 1000


class ReadOnly(RuntimeError):
    """A write in a reading transaction: a mistake of ours."""


class Session:
    """The connection of one transaction, with the few ways of speaking to it that the repositories need."""

    def __init__(self, connection: Connection, *, writes: bool, signer: Signer, clock: Clock) -> None:
        self.connection = connection
        self.writes = writes
        self.log = SqlLog(self, signer, clock)

    def one(self, query: sa.Select[Any]) -> Row | None:
        """The first row, or None."""
        return self.connection.execute(query).mappings().first()

    def all(self, query: sa.Select[Any]) -> list[Row]:
        """All rows."""
        return list(self.connection.execute(query).mappings())

    def scalar(self, query: sa.Select[Any]) -> Any:
        """The first column of the first row, or None."""
        return self.connection.execute(query).scalar()

    def require_writable(self) -> None:
        """Refuse to write in a reading transaction."""
        if not self.writes:
            raise ReadOnly("this unit of work only reads")

    def record(self, entry: Entry, *statements: sa.sql.expression.Executable) -> int:
        """Append the entry and run the statements; returns the entry's index. The only way to write (law 6)."""
        index = self.log.append(entry)
        for statement in statements:
            self.connection.execute(statement)
        return index

    def changes(self, statement: sa.Update | sa.Delete) -> int:
        """Run a conditional UPDATE and say how many rows fitted; pair it with `record`."""
        self.require_writable()
        return self.connection.execute(statement).rowcount

    def page(
        self, query: sa.Select[Any], position: sa.Column[int], cursor: Cursor, read: Callable[[Row], T]
    ) -> Slice[T]:
        """One page of a query, ordered by `position`."""
        if cursor.position is not None:
            beyond = position < cursor.position if cursor.newest_first else position > cursor.position
            query = query.where(beyond)
        order = position.desc() if cursor.newest_first else position.asc()
        rows = self.all(query.order_by(order).limit(cursor.limit + 1))
        shown = rows[: cursor.limit]
        more = str(shown[-1][position.name]) if len(rows) > cursor.limit else None
        return Slice(items=tuple(read(row) for row in shown), next=more)


class SqlLog:
    """The audit log in tables. Entries wait in memory until somebody reads the log or the transaction ends."""

    def __init__(self, session: Session, signer: Signer, clock: Clock) -> None:
        self._session = session
        self._signer = signer
        self._clock = clock
        self._frontier: Frontier | None = None
        self._appended: dict[bytes, int] = {}
        self._waiting: list[tuple[int, bytes]] = []
        self._nodes: list[Node] = []

    def append(self, entry: Entry) -> int:
        """See `access.ports.Log.append`."""
        self._session.require_writable()
        leaf = entry.leaf()
        if leaf in self._appended:
            return self._appended[leaf]
        frontier = self._grown()
        index = frontier.size
        self._frontier, nodes = frontier.append(leaf)
        self._nodes.extend(nodes)
        self._waiting.append((index, leaf))
        self._appended[leaf] = index
        return index

    def _grown(self) -> Frontier:
        if self._frontier is None:
            state = self._session.one(sa.select(log_state))
            assert state is not None
            packed = bytes(state["peaks"])
            peaks = tuple(packed[at : at + _HASH] for at in range(0, len(packed), _HASH))
            self._frontier = Frontier(size=state["size"], peaks=peaks)
        return self._frontier

    def seal(self) -> None:
        """Sign the head over everything appended in this transaction, if anything was; the last thing before commit."""
        if not self._appended:
            return
        self._flush()
        frontier = self._grown()
        signed = sign_head(frontier, self._clock(), self._signer)
        head = signed.head
        execute = self._session.connection.execute
        execute(
            sa.insert(log_heads).values(
                size=head.size, root=head.root, at=head.at, key_id=head.key_id, signature=signed.signature
            )
        )
        execute(sa.update(log_state).values(size=frontier.size, peaks=b"".join(frontier.peaks)))

    def _flush(self) -> None:
        if not self._waiting:
            return
        execute = self._session.connection.execute
        execute(sa.insert(log_entries), [{"index": index, "leaf": leaf} for index, leaf in self._waiting])
        execute(sa.insert(log_nodes), [{"level": n.level, "index": n.index, "hash": n.hash} for n in self._nodes])
        self._waiting.clear()
        self._nodes.clear()

    def size(self) -> int:
        """See `access.ports.Log.size`."""
        return self._grown().size

    def entry(self, index: int) -> Entry | None:
        """See `access.ports.Log.entry`."""
        self._flush()
        leaf = self._session.scalar(sa.select(log_entries.c.leaf).where(log_entries.c.index == index))
        return None if leaf is None else Entry.read(bytes(leaf))

    def entries(self, cursor: Cursor) -> Slice[tuple[int, Entry]]:
        """See `access.ports.Log.entries`."""
        self._flush()

        def read(row: Row) -> tuple[int, Entry]:
            return row["index"], Entry.read(bytes(row["leaf"]))

        return self._session.page(sa.select(log_entries), log_entries.c.index, cursor, read)

    def stream(self, start: int = 0) -> Iterator[Logged]:
        """See `access.ports.Log.stream`."""
        self._flush()
        column = log_entries.c.index
        while rows := self._batch(sa.select(log_entries), column, start):
            for row in rows:
                yield Logged(index=row["index"], leaf=bytes(row["leaf"]))
            start = rows[-1]["index"] + 1

    def _batch(self, query: sa.Select[Any], column: sa.Column[int], start: int) -> list[Row]:
        return self._session.all(query.where(column >= start).order_by(column).limit(_BATCH))

    def head(self) -> SignedTreeHead | None:
        """See `access.ports.Log.head`."""
        row = self._session.one(sa.select(log_heads).order_by(log_heads.c.size.desc()).limit(1))
        return None if row is None else _head(row)

    def heads(self, start: int = 0) -> Iterator[SignedTreeHead]:
        """See `access.ports.Log.heads`."""
        while rows := self._batch(sa.select(log_heads), log_heads.c.size, start + 1):
            for row in rows:
                yield _head(row)
            start = rows[-1]["size"]

    def head_covering(self, index: int) -> SignedTreeHead | None:
        """See `access.ports.Log.head_covering`."""
        query = sa.select(log_heads).where(log_heads.c.size > index).order_by(log_heads.c.size).limit(1)
        row = self._session.one(query)
        return None if row is None else _head(row)

    def subtrees(self) -> SqlSubtrees:
        """See `access.ports.Log.subtrees`."""
        self._flush()
        return SqlSubtrees(self._session)


class SqlSubtrees:
    """Stored subtree hashes."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def get(self, level: int, index: int) -> bytes:
        """See `access.merkle.Subtrees.get`."""
        found = self._session.scalar(
            sa.select(log_nodes.c.hash).where(log_nodes.c.level == level, log_nodes.c.index == index)
        )
        if found is None:
            raise LookupError(f"no subtree ({level}, {index})")
        return bytes(found)


def _head(row: Row) -> SignedTreeHead:
    at: datetime = row["at"]
    head = TreeHead(size=row["size"], root=bytes(row["root"]), at=at, key_id=row["key_id"])
    return SignedTreeHead(head=head, signature=bytes(row["signature"]))

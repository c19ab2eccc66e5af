"""A complete audit log in memory: grows as the registry grows it, and proves from stored subtree hashes."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime

from access.audit import Ed25519Signer, Entry, Logged, SignedTreeHead, Signer, sign_head
from access.merkle import Frontier, Node
from access.receipts import Ran, Statement, Subject, build_receipt, seal
from privacy.loss import Loss

NOON = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)


def signer(number: int = 1) -> Ed25519Signer:
    """A key that is the same in every run."""
    return Ed25519Signer.from_seed(number.to_bytes(32, "big"))


@dataclass
class MemorySubtrees:
    """Subtree hashes in a dict; counts look-ups."""

    nodes: dict[tuple[int, int], bytes] = field(default_factory=dict)
    asked: int = 0

    def get(self, level: int, index: int) -> bytes:
        self.asked += 1
        return self.nodes[level, index]

    def add(self, nodes: tuple[Node, ...]) -> None:
        self.nodes.update({(node.level, node.index): node.hash for node in nodes})


@dataclass
class MemoryLog:
    """Leaves, subtrees and heads; `commit` is the end of a transaction."""

    signer: Signer = field(default_factory=signer)
    rows: list[Logged] = field(default_factory=list)
    subtrees: MemorySubtrees = field(default_factory=MemorySubtrees)
    heads: list[SignedTreeHead] = field(default_factory=list)
    frontier: Frontier = field(default_factory=Frontier)

    def append(self, leaf: bytes) -> int:
        self.rows.append(Logged(index=self.frontier.size, leaf=leaf))
        self.frontier, nodes = self.frontier.append(leaf)
        self.subtrees.add(nodes)
        return self.frontier.size - 1

    def commit(self) -> SignedTreeHead:
        self.heads.append(sign_head(self.frontier, NOON, self.signer))
        return self.heads[-1]

    def fill(self, count: int) -> MemoryLog:
        """Some transactions of one to three events each."""
        for number in range(count):
            self.append(event(self.frontier.size).leaf())
            if number % 3 != 1 or number == count - 1:
                self.commit()
        return self

    def release(self, said: Statement) -> bytes:
        """Record the statement, sign the head, and give out the receipt."""
        entry = said.entry()
        index = self.append(entry.leaf())
        return build_receipt(
            envelope=seal(said, self.signer), entry=entry, index=index, head=self.commit(), subtrees=self.subtrees
        )


def event(number: int) -> Entry:
    """The n-th event of a house where not much happens."""
    return Entry(kind="grant.made", actor="reviewer-1", subject=f"grant-{number}", at=NOON, details={"n": number})


ANSWER = b'{"rows":[["\xe5\x8c\x97\xe5\x9f\x8e",1041]]}'
ANSWER_DIGEST = "7c6626fc1a2f4fa2a69a438c695fed05ea303467ae2a98a4fbad3430544b30f1"


def statement(number: int = 1, *, cost: Loss | None = None, released: tuple[Subject, ...] = ()) -> Statement:
    """What the house says about the n-th answer."""
    return Statement(
        receipt=f"receipt-{number}",
        issued=NOON,
        asker="principal-7",
        project="城市就医可及性",
        job=f"job-{number}",
        ran=Ran(
            dataset="city.health",
            version=f"{number:064x}",
            facts="b" * 64,
            policy="c" * 64,
            question="d" * 64,
            plan=f"{number + 1:064x}",
        ),
        cost=Loss(1_250_000 + number, 5_000_000) if cost is None else cost,
        grant="grant-3",
        reviewers=("principal-2", "principal-9"),
        released=released or (Subject(name="answer.json", sha256=ANSWER_DIGEST),),
    )

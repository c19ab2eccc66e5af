"""The Merkle tree of RFC 9162: growing it, its root, and proofs about it. Bytes in, bytes out.

Owns the hash rules (section 2.1.1), the compact frontier that lets a log grow without re-reading it, and the making and
checking of inclusion (2.1.3) and consistency proofs (2.1.4). It never knows what an entry means, stores nothing and signs
nothing: `access.audit` does that. Every hash is SHA-256 and a proof costs O(log n) look-ups of stored subtree hashes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

#: The root of a tree without leaves: the hash of nothing.
EMPTY_ROOT = hashlib.sha256(b"").digest()


def leaf_hash(leaf: bytes) -> bytes:
    """H(0x00 || leaf)."""
    return hashlib.sha256(b"\x00" + leaf).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """H(0x01 || left || right)."""
    return hashlib.sha256(b"\x01" + left + right).digest()


class Subtrees(Protocol):
    """The stored hashes of the complete subtrees of one growing tree. They never change once written.

    1. Node (level, index) covers the leaves from `index << level` up to `(index + 1) << level`, the end not included.
    2. Level 0 holds the leaf hashes. Every node that `Frontier.append` names has been stored.
    3. Asking for a node that is not complete yet raises `LookupError`.
    """

    def get(self, level: int, index: int) -> bytes:
        """The 32-byte hash of the complete subtree (level, index)."""


@dataclass(frozen=True, slots=True)
class Node:
    """One complete subtree that has just come to be; to be stored for later proofs."""

    level: int
    index: int
    hash: bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class Frontier:
    """All that is needed to grow a tree: its size and the roots of its complete subtrees, the largest first."""

    size: int = 0
    peaks: tuple[bytes, ...] = ()

    @classmethod
    def load(cls, subtrees: Subtrees, size: int) -> Frontier:
        """The frontier of the first `size` leaves, from at most log2(size) + 1 stored hashes."""
        peaks, start = [], 0
        for level in reversed(range(size.bit_length())):
            if size >> level & 1:
                peaks.append(subtrees.get(level, start >> level))
                start += 1 << level
        return cls(size=size, peaks=tuple(peaks))

    @property
    def root(self) -> bytes:
        """The root of the tree as it stands."""
        if not self.peaks:
            return EMPTY_ROOT
        root = self.peaks[-1]
        for peak in reversed(self.peaks[:-1]):
            root = node_hash(peak, root)
        return root

    def append(self, leaf: bytes) -> tuple[Frontier, tuple[Node, ...]]:
        """The grown frontier, and the nodes that became complete, lowest level first."""
        peaks, level, carried = list(self.peaks), 0, leaf_hash(leaf)
        nodes = [Node(0, self.size, carried)]
        while self.size >> level & 1:
            carried = node_hash(peaks.pop(), carried)
            level += 1
            nodes.append(Node(level, self.size >> level, carried))
        return Frontier(size=self.size + 1, peaks=(*peaks, carried)), tuple(nodes)


def _split(size: int) -> int:
    """The largest power of two below `size` (size >= 2)."""
    return 1 << (size - 1).bit_length() - 1


def _span(subtrees: Subtrees, start: int, end: int) -> bytes:
    """The hash of the leaves start … end-1, where `start` is a multiple of the least power of two >= end - start."""
    size = end - start
    if size & (size - 1) == 0:
        level = size.bit_length() - 1
        return subtrees.get(level, start >> level)
    middle = start + _split(size)
    return node_hash(_span(subtrees, start, middle), _span(subtrees, middle, end))


def inclusion_proof(subtrees: Subtrees, index: int, size: int) -> tuple[bytes, ...]:
    """The path that proves leaf `index` in the tree of the first `size` leaves, lowest sibling first.

    Requires 0 <= index < size; anything else is a `ValueError`.
    """
    if not 0 <= index < size:
        raise ValueError("an inclusion proof needs 0 <= index < size")
    path, start, end = [], 0, size
    while end - start > 1:
        middle = start + _split(end - start)
        if index < middle:
            path.append(_span(subtrees, middle, end))
            end = middle
        else:
            path.append(_span(subtrees, start, middle))
            start = middle
    return tuple(reversed(path))


def consistency_proof(subtrees: Subtrees, first: int, second: int) -> tuple[bytes, ...]:
    """The path that proves the tree of `first` leaves to be the beginning of the tree of `second` leaves.

    Requires 0 <= first <= second. The empty tree and the same tree need no proof: the path is empty.
    """
    if not 0 <= first <= second:
        raise ValueError("a consistency proof needs 0 <= first <= second")
    if first in (0, second):
        return ()
    path, start, end = [], 0, second
    while end != first:
        middle = start + _split(end - start)
        if first <= middle:
            path.append(_span(subtrees, middle, end))
            end = middle
        else:
            path.append(_span(subtrees, start, middle))
            start = middle
    if start:
        path.append(_span(subtrees, start, end))
    return tuple(reversed(path))


def verify_inclusion(*, leaf: bytes, index: int, size: int, path: Sequence[bytes], root: bytes) -> bool:
    """True when `path` proves that the hash `leaf` stands at `index` in the tree (size, root). RFC 9162, 2.1.3.2."""
    if not 0 <= index < size:
        return False
    position, last, found = index, size - 1, leaf
    for sibling in path:
        if last == 0:
            return False
        if position & 1 or position == last:
            found = node_hash(sibling, found)
            while not position & 1 and position:
                position, last = position >> 1, last >> 1
        else:
            found = node_hash(found, sibling)
        position, last = position >> 1, last >> 1
    return last == 0 and found == root


def verify_consistency(
    *, first: int, second: int, first_root: bytes, second_root: bytes, path: Sequence[bytes]
) -> bool:
    """True when `path` proves (first, first_root) to be the beginning of (second, second_root). RFC 9162, 2.1.4.2."""
    if not 0 <= first <= second:
        return False
    if first == second:
        return not path and first_root == second_root
    if first == 0:
        return not path and first_root == EMPTY_ROOT
    nodes = list(path) if first & (first - 1) else [first_root, *path]
    return bool(nodes) and _climb(first, second, nodes) == (first_root, second_root)


def _climb(first: int, second: int, nodes: Sequence[bytes]) -> tuple[bytes, bytes] | None:
    """Both roots as the path implies them, or None when its length is not that of such a path."""
    position, last = first - 1, second - 1
    while position & 1:
        position, last = position >> 1, last >> 1
    old = new = nodes[0]
    for sibling in nodes[1:]:
        if last == 0:
            return None
        if position & 1 or position == last:
            old, new = node_hash(sibling, old), node_hash(sibling, new)
            while not position & 1 and position:
                position, last = position >> 1, last >> 1
        else:
            new = node_hash(new, sibling)
        position, last = position >> 1, last >> 1
    return (old, new) if last == 0 else None

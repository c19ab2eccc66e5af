"""The tree of RFC 9162: known answers, the RFC's own recursive definitions, and everything altered is rejected."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from access.merkle import (
    EMPTY_ROOT,
    Frontier,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    node_hash,
    verify_consistency,
    verify_inclusion,
)
from sandbox.verify_receipt import root_of
from tests.fakes.log import MemorySubtrees

KNOWN = json.loads((Path(__file__).parents[1] / "golden" / "merkle_rfc9162.json").read_text())
LEAVES = tuple(bytes.fromhex(leaf) for leaf in KNOWN["leaves_hex"])
LARGEST = 70


def grown(leaves: tuple[bytes, ...]) -> tuple[MemorySubtrees, list[bytes]]:
    """Stored subtrees, and the root at every size from 0."""
    subtrees, frontier = MemorySubtrees(), Frontier()
    roots = [frontier.root]
    for leaf in leaves:
        frontier, nodes = frontier.append(leaf)
        subtrees.add(nodes)
        roots.append(frontier.root)
    return subtrees, roots


MANY = tuple(b"leaf %d" % number for number in range(LARGEST))
STORED, ROOTS = grown(MANY)


# The definitions of RFC 9162, word for word: 2.1.1, 2.1.3.1, 2.1.4.1.


def split(n: int) -> int:
    k = 1
    while k * 2 < n:
        k *= 2
    return k


@cache
def mth(leaves: tuple[bytes, ...]) -> bytes:
    if not leaves:
        return EMPTY_ROOT
    if len(leaves) == 1:
        return leaf_hash(leaves[0])
    k = split(len(leaves))
    return node_hash(mth(leaves[:k]), mth(leaves[k:]))


def path_of(m: int, leaves: tuple[bytes, ...]) -> tuple[bytes, ...]:
    if len(leaves) == 1:
        return ()
    k = split(len(leaves))
    if m < k:
        return (*path_of(m, leaves[:k]), mth(leaves[k:]))
    return (*path_of(m - k, leaves[k:]), mth(leaves[:k]))


def subproof(m: int, leaves: tuple[bytes, ...], known: bool) -> tuple[bytes, ...]:
    if m == len(leaves):
        return () if known else (mth(leaves),)
    k = split(len(leaves))
    if m <= k:
        return (*subproof(m, leaves[:k], known), mth(leaves[k:]))
    return (*subproof(m - k, leaves[k:], False), mth(leaves[:k]))


def test_known_roots() -> None:
    _, roots = grown(LEAVES)
    assert roots[0].hex() == KNOWN["empty_root"]
    assert {str(size): root.hex() for size, root in enumerate(roots) if size} == KNOWN["roots"]


@pytest.mark.parametrize("case", KNOWN["inclusion"])
def test_known_inclusion_proofs(case: dict[str, object]) -> None:
    subtrees, roots = grown(LEAVES)
    index, size, path = case["index"], case["size"], [bytes.fromhex(node) for node in case["path"]]
    assert inclusion_proof(subtrees, index, size) == tuple(path)
    assert verify_inclusion(leaf=leaf_hash(LEAVES[index]), index=index, size=size, path=path, root=roots[size])


@pytest.mark.parametrize("case", KNOWN["consistency"])
def test_known_consistency_proofs(case: dict[str, object]) -> None:
    subtrees, roots = grown(LEAVES)
    first, second, path = case["first"], case["second"], [bytes.fromhex(node) for node in case["path"]]
    assert consistency_proof(subtrees, first, second) == tuple(path)
    assert verify_consistency(first=first, second=second, first_root=roots[first], second_root=roots[second], path=path)


def test_every_proof_is_the_one_the_rfc_defines() -> None:
    for size in range(1, LARGEST + 1):
        leaves = MANY[:size]
        assert ROOTS[size] == mth(leaves)
        for index in range(size):
            path = inclusion_proof(STORED, index, size)
            assert path == path_of(index, leaves)
            assert verify_inclusion(leaf=leaf_hash(MANY[index]), index=index, size=size, path=path, root=ROOTS[size])
        for first in range(size + 1):
            proof = consistency_proof(STORED, first, size)
            assert proof == (subproof(first, leaves, True) if first else ())
            assert verify_consistency(
                first=first, second=size, first_root=ROOTS[first], second_root=ROOTS[size], path=proof
            )


@pytest.mark.parametrize("size", range(LARGEST + 1))
def test_a_frontier_is_loaded_from_what_was_stored(size: int) -> None:
    frontier = Frontier.load(STORED, size)
    assert (frontier.size, frontier.root) == (size, ROOTS[size])
    assert frontier.append(b"next")[0].root == mth((*MANY[:size], b"next"))


@st.composite
def inclusions(draw: st.DrawFn) -> tuple[int, int, list[bytes]]:
    size = draw(st.integers(1, LARGEST))
    index = draw(st.integers(0, size - 1))
    return index, size, list(inclusion_proof(STORED, index, size))


def flipped(value: bytes, bit: int) -> bytes:
    changed = bytearray(value)
    changed[bit // 8 % len(value)] ^= 1 << bit % 8
    return bytes(changed)


@given(inclusions(), st.integers(0, 255), st.data())
def test_any_altered_inclusion_proof_is_rejected(
    case: tuple[int, int, list[bytes]], bit: int, data: st.DataObject
) -> None:
    index, size, path = case
    leaf, root = leaf_hash(MANY[index]), ROOTS[size]
    assert not verify_inclusion(leaf=flipped(leaf, bit), index=index, size=size, path=path, root=root)
    assert not verify_inclusion(leaf=leaf, index=index, size=size, path=path, root=flipped(root, bit))
    assert not verify_inclusion(leaf=leaf, index=index, size=size, path=[*path, leaf], root=root)
    other = data.draw(st.integers(-2, LARGEST + 2).filter(lambda number: number != index))
    assert not verify_inclusion(leaf=leaf, index=other, size=size, path=path, root=root)
    if path:
        at = data.draw(st.integers(0, len(path) - 1))
        assert not verify_inclusion(
            leaf=leaf, index=index, size=size, path=[*path[:at], flipped(path[at], bit), *path[at + 1 :]], root=root
        )
        assert not verify_inclusion(leaf=leaf, index=index, size=size, path=path[:at] + path[at + 1 :], root=root)
        if len(set(path)) > 1:
            assert not verify_inclusion(leaf=leaf, index=index, size=size, path=path[::-1], root=root)


@given(st.integers(1, LARGEST), st.integers(1, LARGEST), st.integers(0, 255), st.data())
def test_any_altered_consistency_proof_is_rejected(one: int, other: int, bit: int, data: st.DataObject) -> None:
    first, second = sorted((one, other))
    proof = list(consistency_proof(STORED, first, second))

    def holds(old: bytes, new: bytes, path: list[bytes], at: tuple[int, int] = (first, second)) -> bool:
        return verify_consistency(first=at[0], second=at[1], first_root=old, second_root=new, path=path)

    assert holds(ROOTS[first], ROOTS[second], proof)
    assert not holds(flipped(ROOTS[first], bit), ROOTS[second], proof)
    assert not holds(ROOTS[first], flipped(ROOTS[second], bit), proof)
    assert not holds(ROOTS[first], ROOTS[second], [*proof, ROOTS[1]])
    if first != second:
        assert not holds(ROOTS[second], ROOTS[first], proof, (second, first))
        at = data.draw(st.integers(0, len(proof) - 1))
        assert not holds(ROOTS[first], ROOTS[second], proof[:at] + proof[at + 1 :])
        assert not holds(ROOTS[first], ROOTS[second], [*proof[:at], flipped(proof[at], bit), *proof[at + 1 :]])


def test_a_fork_has_no_consistency_proof() -> None:
    """Two logs of one past and two presents: nothing either can say joins the old head of one to the head of the other."""
    forked, roots = grown((*MANY[:20], b"another history", *MANY[21:40]))
    for first in range(21, 30):
        for source in (forked, STORED):
            path = consistency_proof(source, first, 40)
            assert not verify_consistency(
                first=first, second=40, first_root=ROOTS[first], second_root=roots[40], path=path
            )


def test_the_empty_tree_is_the_beginning_of_every_tree() -> None:
    for second in range(5):
        case = {"first": 0, "second": second, "second_root": ROOTS[second]}
        assert verify_consistency(**case, first_root=EMPTY_ROOT, path=())
        assert not verify_consistency(**case, first_root=ROOTS[9], path=())
        assert not verify_consistency(**case, first_root=EMPTY_ROOT, path=(ROOTS[1],))


def test_an_inner_node_cannot_pass_for_a_leaf() -> None:
    """A path that stops early, or goes on beyond the claimed size, leads to the true root and still proves nothing."""
    pair, rest = node_hash(leaf_hash(MANY[0]), leaf_hash(MANY[1])), STORED.get(1, 1)
    assert node_hash(pair, rest) == ROOTS[4]
    assert not verify_inclusion(leaf=pair, index=0, size=4, path=[rest], root=ROOTS[4])
    assert root_of(pair, 0, 4, [rest]) is None
    path = inclusion_proof(STORED, 3, 4)
    assert not verify_inclusion(leaf=leaf_hash(MANY[3]), index=1, size=2, path=path, root=ROOTS[4])
    assert root_of(leaf_hash(MANY[3]), 1, 2, path) is None
    assert root_of(leaf_hash(MANY[0]), -1, 1, ()) is None


@pytest.mark.parametrize(("true", "claimed"), [((11, 12), (3, 4)), ((3, 4), (11, 12))])
def test_a_consistency_proof_is_as_long_as_its_sizes_ask(true: tuple[int, int], claimed: tuple[int, int]) -> None:
    """Hashes alone do not tell 3 … 4 from 11 … 12; the length of the path does."""
    path, roots = consistency_proof(STORED, *true), {"first_root": ROOTS[true[0]], "second_root": ROOTS[true[1]]}
    assert verify_consistency(first=true[0], second=true[1], path=path, **roots)
    assert not verify_consistency(first=claimed[0], second=claimed[1], path=path, **roots)


@pytest.mark.parametrize(("index", "size"), [(0, 0), (-1, 3), (3, 3), (4, 3)])
def test_no_inclusion_proof_outside_the_tree(index: int, size: int) -> None:
    with pytest.raises(ValueError, match="inclusion"):
        inclusion_proof(STORED, index, size)
    assert not verify_inclusion(leaf=leaf_hash(MANY[0]), index=index, size=size, path=(), root=ROOTS[1])


@pytest.mark.parametrize(("first", "second"), [(-1, 3), (4, 3)])
def test_no_consistency_proof_backwards(first: int, second: int) -> None:
    with pytest.raises(ValueError, match="consistency"):
        consistency_proof(STORED, first, second)
    assert not verify_consistency(first=first, second=second, first_root=ROOTS[1], second_root=ROOTS[1], path=())


def test_an_incomplete_subtree_is_not_known() -> None:
    with pytest.raises(LookupError):
        inclusion_proof(STORED, 0, LARGEST + 1)


class EqualLeaves:
    """The stored subtrees of a tree of equal leaves: as large as you like, at no cost."""

    def __init__(self) -> None:
        self.asked = 0

    def get(self, level: int, index: int) -> bytes:
        self.asked += 1
        return full(level)


@cache
def full(level: int) -> bytes:
    return node_hash(full(level - 1), full(level - 1)) if level else leaf_hash(b"")


@pytest.mark.parametrize("size", [10**6, 10**9 + 7])
def test_proofs_in_a_large_log_need_few_look_ups(size: int) -> None:
    subtrees = EqualLeaves()
    root = Frontier.load(subtrees, size).root
    for index in (0, 1, size // 3, size - 1):
        subtrees.asked = 0
        path = inclusion_proof(subtrees, index, size)
        assert subtrees.asked <= 2 * size.bit_length()
        assert verify_inclusion(leaf=full(0), index=index, size=size, path=path, root=root)
    for first in (1, size // 3, 2 ** (size.bit_length() - 1), size - 1):
        subtrees.asked = 0
        proof = consistency_proof(subtrees, first, size)
        assert subtrees.asked <= 2 * size.bit_length()
        old = Frontier.load(subtrees, first).root
        assert verify_consistency(first=first, second=size, first_root=old, second_root=root, path=proof)


@given(st.integers(-1, 40), st.integers(-1, 40), st.lists(st.sampled_from(ROOTS), max_size=8))
def test_the_stand_alone_verifier_walks_every_path_alike(index: int, size: int, path: list[bytes]) -> None:
    """Two implementations, sound proofs or nonsense: they never disagree."""
    leaf = leaf_hash(b"any")
    implied = root_of(leaf, index, size, path)
    judged = verify_inclusion(leaf=leaf, index=index, size=size, path=path, root=implied or ROOTS[0])
    assert judged is (implied is not None)

"""The duties of the audit log, held by the fake, by SQLite and by PostgreSQL alike."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from itertools import pairwise

import pytest

from access.audit import verify_log
from access.merkle import consistency_proof, inclusion_proof, leaf_hash, verify_consistency, verify_inclusion
from access.ports import (
    Cursor,
    Registry,
)
from sandbox.journeys.house import Work
from tests.fakes.cast import NOW, SIGNER, Events, Still

Store = Registry[Work]
event = Events()


def test_an_event_is_appended_once_a_transaction_and_every_transaction_ends_with_a_head(
    registry: Store, clock: Still
) -> None:
    with registry.read() as work:
        assert work.log.size() == 0
        assert work.log.head() is work.log.entry(0) is work.log.head_covering(0) is None
        assert list(work.log.heads()) == list(work.log.stream()) == []
    same = event()
    with registry.begin() as work:
        assert work.log.append(same) == work.log.append(replace(same)) == 0
        assert work.log.size() == 1
        assert work.log.head() is None
    clock.forward(timedelta(seconds=5))
    with registry.begin() as work:
        assert work.log.append(same) == 1
        assert work.log.append(event()) == 2
    with registry.begin() as work:
        assert work.log.size() == 3
    with registry.read() as work:
        heads = list(work.log.heads())
        assert [h.head.size for h in heads] == [1, 3]
        assert [h.head.at for h in heads] == [NOW, NOW + timedelta(seconds=5)]
        assert work.log.head() == heads[1]
        assert [work.log.head_covering(i) for i in range(4)] == [heads[0], heads[1], heads[1], None]
        assert [h.head.size for h in work.log.heads(1)] == [3]
        assert work.log.entry(0) == work.log.entry(1) == same
        assert work.log.entry(-1) is work.log.entry(3) is None


def test_the_log_can_be_read_in_the_transaction_that_grows_it(registry: Store) -> None:
    first, second = event(), event()
    with registry.begin() as work:
        work.log.append(first)
        assert [row.leaf for row in work.log.stream()] == [first.leaf()]
        work.log.append(second)
        assert work.log.entries(Cursor()).items == ((0, first), (1, second))
        assert work.log.subtrees().get(0, 1) == leaf_hash(second.leaf())


def test_entries_come_in_pages_of_places(registry: Store) -> None:
    with registry.begin() as work:
        for _ in range(5):
            work.log.append(event())
    with registry.read() as work:
        first = work.log.entries(Cursor(limit=2))
        assert ([i for i, _ in first.items], first.next) == ([0, 1], "1")
        assert [i for i, _ in work.log.entries(Cursor(limit=9, after="1")).items] == [2, 3, 4]
        newest = work.log.entries(Cursor(limit=2, newest_first=True))
        assert ([i for i, _ in newest.items], newest.next) == ([4, 3], "3")
        assert [row.index for row in work.log.stream(3)] == [3, 4]


def test_the_whole_log_verifies_and_proves(registry: Store) -> None:
    for size in (1, 2, 5, 1, 4):
        with registry.begin() as work:
            for _ in range(size):
                work.log.append(event())
    with registry.read() as work:
        report = verify_log(work.log.stream(), work.log.heads(), keys=[SIGNER.public_key], subtrees=work.log.subtrees())
        assert (report.heads, report.frontier.size) == (5, 13)
        heads, subtrees = list(work.log.heads()), work.log.subtrees()
        for head in heads:
            assert head.signed_by(SIGNER.public_key)
            for index in range(head.head.size):
                path = inclusion_proof(subtrees, index, head.head.size)
                leaf = leaf_hash(work.log.entry(index).leaf())  # type: ignore[union-attr]
                size, root = head.head.size, head.head.root
                assert verify_inclusion(leaf=leaf, index=index, size=size, path=path, root=root)
        for first, second in pairwise(heads):
            assert verify_consistency(
                first=first.head.size,
                first_root=first.head.root,
                second=second.head.size,
                second_root=second.head.root,
                path=consistency_proof(subtrees, first.head.size, second.head.size),
            )
        with pytest.raises(LookupError):
            subtrees.get(0, 13)

"""Entries, canonical JSON, signed heads, and the re-check of a whole log."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from hypothesis import given, settings
from hypothesis import strategies as st

from access import audit
from access.audit import (
    LARGEST_INTEGER,
    Entry,
    LogDamaged,
    Logged,
    NotCanonical,
    canonical,
    digest,
    key_id_of,
    public_pem,
    sign_head,
    stamp,
    verify_log,
)
from access.merkle import Frontier, leaf_hash
from sandbox import verify_receipt
from tests.fakes.log import NOON, MemoryLog, event, signer

texts = st.text(st.characters(exclude_categories=["Cs"]))
scalars = st.none() | st.booleans() | st.integers(-LARGEST_INTEGER, LARGEST_INTEGER) | texts
values = st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(texts, inner), max_leaves=12)
ZONES = st.sampled_from([UTC, timezone(timedelta(hours=8))])
EARLIEST = datetime(2, 1, 1)  # noqa: DTZ001 - Hypothesis wants its bounds without a zone


# Canonical JSON


def test_the_sorting_example_of_rfc_8785() -> None:
    """Section 3.2.3: keys go by UTF-16 code units, so an emoji sorts before a Hebrew presentation form."""
    names = {"€": "Euro", "\r": "CR", "\ufb33": "Dalet", "1": "One", "😀": "Smile", "\u0080": "Control", "ö": "o"}
    order = list(json.loads(canonical(names)).values())
    assert order == ["CR", "One", "Control", "o", "Euro", "Smile", "Dalet"]


def test_the_text_example_of_rfc_8785() -> None:
    """Section 3.2.2.2: what is escaped, and how."""
    text = '€$\u000f\nA\'B"\\\\"/'
    assert canonical(text).decode() == '"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/"'
    assert canonical({"b": [True, False, None], "a": {}}) == b'{"a":{},"b":[true,false,null]}'


@given(values)
def test_equal_values_have_equal_bytes_and_come_back(value: object) -> None:
    written = canonical(value)
    assert json.loads(written) == value
    assert canonical(json.loads(written)) == written
    assert verify_receipt.canonical(json.loads(written)) == written


@pytest.mark.parametrize(
    "value",
    [1.0, float("nan"), b"bytes", {1: "a"}, {"a": [0.5]}, "\ud800", {"\udfff": 1}, 2**53, -(2**53), {1, 2}, NOON],
)
def test_what_has_no_canonical_form_is_refused(value: object) -> None:
    with pytest.raises(NotCanonical) as refused:
        canonical(value)
    assert "cannot be recorded" in refused.value.say("en")
    assert "无法记录" in refused.value.say("zh-CN")


def test_digests() -> None:
    assert digest(b"abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert digest({"b": 1, "a": 2}) == digest(b'{"a":2,"b":1}')


# Entries


def test_a_leaf_is_one_canonical_line() -> None:
    entry = Entry(kind="grant.made", actor="王", subject="g-1", at=NOON, details={"b": [1, None], "a": {"x": True}})
    assert entry.leaf().decode() == (
        '{"actor":"王","at":"2026-03-01T12:00:00.123456Z","details":{"a":{"x":true},"b":[1,null]},'
        '"kind":"grant.made","subject":"g-1","type":"data-open-sandbox/entry/v1"}'
    )


@settings(max_examples=40)
@given(
    texts,
    texts,
    st.datetimes(timezones=ZONES, min_value=EARLIEST),
    st.dictionaries(texts, values),
)
def test_an_entry_is_read_back_from_its_leaf(
    actor: str, subject: str, at: datetime, details: dict[str, object]
) -> None:
    entry = Entry(kind="budget.spent", actor=actor, subject=subject, at=at, details=details)
    again = Entry.read(entry.leaf())
    assert again == entry
    assert hash(again) == hash(entry)
    assert again.at.utcoffset() == timedelta(0)


def test_the_same_moment_has_one_spelling() -> None:
    shanghai = NOON.astimezone(timezone(timedelta(hours=8)))
    assert replace(event(1), at=shanghai).leaf() == event(1).leaf()
    assert stamp(datetime(7, 1, 1, tzinfo=UTC)) == "0007-01-01T00:00:00.000000Z"
    with pytest.raises(ValueError, match="time zone"):
        replace(event(1), at=datetime(2026, 1, 1))  # noqa: DTZ001 - naive on purpose


def test_details_cannot_change_after_the_fact() -> None:
    details = {"reviewers": ["a"], "limit": {"rho": 1}}
    entry = Entry(kind="grant.made", actor="a", subject="b", at=NOON, details=details)
    before = entry.leaf()
    details["reviewers"].append("b")  # type: ignore[attr-defined]
    details["limit"]["rho"] = 2  # type: ignore[index]
    assert entry.leaf() == before
    with pytest.raises(TypeError):
        entry.details["limit"]["rho"] = 3  # type: ignore[index,call-overload]


@pytest.mark.parametrize("kind", ["", "grant", "Grant.made", "grant.", "grant made.x", "grant.made\n", "a..b"])
def test_a_kind_is_dotted_lower_case(kind: str) -> None:
    with pytest.raises(ValueError, match="dotted lower case"):
        Entry(kind=kind, actor="a", subject="b", at=NOON)


def changed(**parts: object) -> bytes:
    return canonical({**event(1).parts(), **parts})


@pytest.mark.parametrize(
    "leaf",
    [
        b"",
        b"\xff",
        b"[]",
        b"7",
        b"[" * 100_000,
        canonical({"type": audit.ENTRY_TYPE}),
        changed(type="other/v1"),
        changed(actor=5),
        changed(subject=None),
        changed(kind="Bad"),
        changed(at="yesterday"),
        changed(at="2026-03-01T12:00:00"),
        changed(at="2026-03-01T12:00:00Z"),
        changed(details="text"),
        changed(details=[1]),
        changed(extra=1),
        event(1).leaf() + b" ",
        event(1).leaf().replace(b'"n":1', b'"n":1,"n":1'),
        event(1).leaf().replace(b'"n":1', b'"n":1.0'),
        event(1).leaf().replace(b'"n":1', b'"n":1e400'),
    ],
)
def test_bytes_that_are_not_exactly_an_entry_are_not_read(leaf: bytes) -> None:
    with pytest.raises(NotCanonical):
        Entry.read(leaf)


# Keys and heads


def test_a_key_has_a_name_and_a_file() -> None:
    one = signer(1)
    assert one.key_id == key_id_of(one.public_key)
    pinned = load_pem_public_key(public_pem(one.public_key).encode())
    pinned.verify(one.sign(b"message"), b"message")  # type: ignore[union-attr,call-arg]
    assert public_pem(signer(2).public_key) != public_pem(one.public_key)


def test_a_head_is_signed_over_its_canonical_form() -> None:
    log = MemoryLog().fill(5)
    signed = log.heads[-1]
    assert canonical(signed.head.parts()).decode() == (
        f'{{"key_id":"{signer().key_id}","root":"{log.frontier.root.hex()}","size":5,'
        '"timestamp":"2026-03-01T12:00:00.123456Z","type":"data-open-sandbox/tree-head/v1"}'
    )
    assert signed.signed_by(signer().public_key)
    assert not signed.signed_by(signer(2).public_key)
    misnamed = sign_head(log.frontier, NOON, signer(2))
    misnamed = replace(misnamed, head=replace(misnamed.head, key_id=signer().key_id))
    resigned = replace(misnamed, signature=signer(2).sign(canonical(misnamed.head.parts())))
    assert not resigned.signed_by(signer(2).public_key)
    assert not resigned.signed_by(signer().public_key)
    assert not replace(signed, head=replace(signed.head, size=6)).signed_by(signer().public_key)
    assert not replace(signed, head=replace(signed.head, at=NOON + timedelta(microseconds=1))).signed_by(
        signer().public_key
    )
    assert not replace(signed, signature=signed.signature[:-1]).signed_by(signer().public_key)


# The whole log


def recheck(
    log: MemoryLog, *, rows: list[Logged] | None = None, stored: bool = True, **more: object
) -> audit.LogReport:
    given_ = {"keys": [signer().public_key], "subtrees": log.subtrees if stored else None, **more}
    return verify_log(iter(log.rows if rows is None else rows), iter(log.heads), **given_)  # type: ignore[arg-type]


def damage(log: MemoryLog, **more: object) -> tuple[object, object, str]:
    with pytest.raises(LogDamaged) as found:
        recheck(log, **more)  # type: ignore[arg-type]
    assert "损坏" in found.value.say("zh-CN")
    return found.value.params["first"], found.value.params["last"], found.value.say("en")


@pytest.mark.parametrize("size", [0, 1, 2, 7, 64, 100])
def test_a_sound_log_is_sound(size: int) -> None:
    log, seen = MemoryLog().fill(size), []
    report = recheck(log, progress=seen.append)
    assert (report.frontier, report.heads) == (log.frontier, len(log.heads))
    assert seen == list(range(1, size + 1))
    assert recheck(log, stored=False) == report


def test_a_log_may_begin_with_a_head_over_nothing() -> None:
    log = MemoryLog()
    log.commit()
    assert recheck(log.fill(4)).heads == 1 + 3


def test_two_keys_after_a_rotation() -> None:
    log = MemoryLog().fill(5)
    log.signer = signer(2)
    log.append(event(5).leaf())
    log.commit()
    assert recheck(log, keys=[signer(1).public_key, signer(2).public_key]).frontier.size == 6
    assert damage(log)[:2] == (5, 5)


@given(st.integers(0, 19), st.booleans())
def test_the_first_altered_entry_is_named(index: int, stored: bool) -> None:
    log = MemoryLog().fill(20)
    rows = [Logged(index=r.index, leaf=event(99).leaf()) if r.index == index else r for r in log.rows]
    first, last, _ = damage(log, rows=rows, stored=stored)
    assert first <= index <= last  # type: ignore[operator]
    if stored:
        assert (first, last) == (index, index)
    else:
        assert last - first <= 1  # type: ignore[operator] # no farther than one transaction


def test_an_altered_entry_with_an_altered_hash_is_still_found() -> None:
    """The database is rewritten with care: leaf and leaf hash agree, the tree above does not."""
    log = MemoryLog().fill(20)
    leaf = event(99).leaf()
    log.rows[9] = Logged(index=9, leaf=leaf)
    log.subtrees.nodes[0, 9] = leaf_hash(leaf)
    assert damage(log)[:2] == (8, 9)


def test_a_log_rewritten_without_the_key_is_found() -> None:
    """Every hash is redone; only the signature cannot be."""
    log = MemoryLog().fill(20)
    forged = MemoryLog()
    for row in log.rows:
        forged.append(event(99).leaf() if row.index == 9 else row.leaf)
    forged.heads = log.heads
    first, last, sentence = damage(forged)
    assert (first, last) == (9, 9)
    assert "signed over other entries" in sentence


def test_a_log_rewritten_with_another_key_is_found() -> None:
    log = MemoryLog(signer=signer(2)).fill(4)
    assert damage(log) == (
        0,
        0,
        "The audit log is damaged at entry 0 (up to entry 0): the tree head over it is not signed by a trusted key.",
    )


def test_a_forged_signature_is_found() -> None:
    log = MemoryLog().fill(8)
    log.heads[3] = replace(log.heads[3], signature=log.heads[2].signature)
    size = log.heads[3].head.size
    first, last, sentence = damage(log)
    assert (first, last) == (log.heads[2].head.size, size - 1)
    assert "not signed" in sentence


def test_missing_doubled_and_reordered_entries_are_found() -> None:
    log = MemoryLog().fill(9)
    rows = log.rows
    assert damage(log, rows=rows[:4] + rows[5:])[:2] == (4, 4)
    assert damage(log, rows=rows[:4] + rows[3:])[:2] == (4, 4)
    assert damage(log, rows=[*rows[:4], rows[5], rows[4], *rows[6:]])[:2] == (4, 4)
    assert damage(log, rows=rows[1:])[:2] == (0, 0)
    renumbered = [Logged(index=row.index + (row.index >= 4), leaf=row.leaf) for row in rows]
    assert damage(log, rows=renumbered)[:2] == (4, 4)


def test_a_log_cut_short_is_found() -> None:
    log = MemoryLog().fill(9)
    first, last, sentence = damage(log, rows=log.rows[:6])
    assert (first, last) == (6, 6)
    assert "promises" in sentence
    cut = replace_heads(log, [])
    assert damage(cut)[:2] == (0, 8)


def replace_heads(log: MemoryLog, heads: list[audit.SignedTreeHead]) -> MemoryLog:
    changed_log = copy.copy(log)
    changed_log.heads = heads
    return changed_log


def test_entries_after_the_last_head_are_found() -> None:
    log = MemoryLog().fill(6)
    log.append(event(6).leaf())
    log.append(event(7).leaf())
    first, last, sentence = damage(log)
    assert (first, last) == (6, 7)
    assert "no signed tree head" in sentence


def test_heads_out_of_order_are_found() -> None:
    log = MemoryLog().fill(9)
    heads = log.heads
    assert "out of order" in damage(replace_heads(log, [*heads[1:3], heads[0], *heads[3:]]))[2]
    early = sign_head(Frontier(size=-1), NOON, signer())
    assert "out of order" in damage(replace_heads(log, [early, *heads]))[2]


def test_a_log_cut_back_with_its_heads_is_found_by_a_witnessed_head() -> None:
    """The operator forgets the last week, heads and all. A head from a receipt remembers."""
    log = MemoryLog().fill(12)
    witnessed = log.heads[-1]
    cut = MemoryLog().fill(7)
    assert recheck(cut).frontier.size == 7
    assert damage(cut, witnessed=[witnessed])[:2] == (7, 11)
    assert recheck(log, witnessed=[witnessed]).heads == len(log.heads) + 1


def test_a_history_rewritten_by_the_key_holder_is_found_by_a_witnessed_head() -> None:
    log = MemoryLog().fill(6)
    other = MemoryLog()
    for number in range(9):
        other.append(event(number + (number == 2)).leaf())
        other.commit()
    assert recheck(other).frontier.size == 9
    assert damage(other, witnessed=log.heads)[:2] == (1, 2)
    assert damage(other, witnessed=[log.heads[-1]])[:2] == (0, 5)


def test_a_stored_subtree_that_is_missing_or_altered_is_found() -> None:
    log = MemoryLog().fill(8)
    kept = log.subtrees.nodes.pop((1, 2))
    assert damage(log)[:2] == (4, 5)
    log.subtrees.nodes[1, 2] = bytes(32)
    assert damage(log)[:2] == (4, 5)
    log.subtrees.nodes[1, 2] = kept
    assert recheck(log).frontier.size == 8


def test_a_stored_leaf_that_is_no_entry_is_found() -> None:
    log = MemoryLog().fill(3)
    log.append(b'{"kind": "not.canonical"}')
    log.commit()
    assert damage(log)[:2] == (3, 3)


def test_a_long_log_is_read_once_and_never_held() -> None:
    """Rows come from a generator that forgets them; the state of the check is a frontier of log2(n) hashes."""
    frontier, count = Frontier(), 1000

    def rows() -> Iterator[Logged]:
        for number in range(count):
            yield Logged(index=number, leaf=event(number).leaf())

    for row in rows():
        frontier, _ = frontier.append(row.leaf)
    report = verify_log(rows(), [sign_head(frontier, NOON, signer())], keys=[signer().public_key])
    assert report.frontier == frontier
    assert len(report.frontier.peaks) <= count.bit_length()

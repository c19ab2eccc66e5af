"""Attack: forging a receipt, or the log behind it. Only what the pinned key signed is ever believed.

Sources: RFC 9162 sections 2.1.3 to 2.1.5; the DSSE protocol; sigstore's and TUF's practice of naming the failed step.
"""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from access.audit import canonical, public_pem
from access.merkle import consistency_proof, verify_consistency
from access.receipts import Subject
from sandbox import verify_receipt as alone
from tests.fakes.log import ANSWER, MemoryLog, event, signer, statement

TRUSTED = Ed25519PublicKey.from_public_bytes(signer().public_key)
LOG = MemoryLog().fill(20)
MINE, THEIRS = LOG.release(statement(1)), LOG.release(statement(2))


def believed(receipt: bytes, answer: bytes | None = None) -> bool:
    try:
        alone.verify_receipt(receipt, TRUSTED, answer)
    except alone.ReceiptInvalid as invalid:
        if invalid.step not in alone.STEPS:
            raise
        return False
    return True


def test_the_receipts_under_attack_are_good() -> None:
    assert believed(MINE, ANSWER)
    assert believed(THEIRS, ANSWER)


def test_a_thousand_flipped_bits() -> None:
    """Any bit of the file, and never a crash instead of a verdict."""
    chance = random.Random(20260301)
    for place in chance.sample(range(8 * len(MINE)), 1000):
        forged = bytearray(MINE)
        forged[place // 8] ^= 1 << place % 8
        assert not believed(bytes(forged)), f"bit {place} does not matter"


def test_a_bit_flipped_in_every_byte() -> None:
    """No byte of the file is there for nothing, whichever it is."""
    for place in range(len(MINE)):
        forged = bytearray(MINE)
        forged[place] ^= 1
        assert not believed(bytes(forged)), f"byte {place} does not matter"


def test_bytes_taken_out_put_in_and_moved() -> None:
    chance = random.Random(7)
    for _ in range(300):
        at, other = sorted(chance.sample(range(len(MINE)), 2))
        assert not believed(MINE[:at] + MINE[at + 1 :])
        assert not believed(MINE[:at] + bytes([chance.randrange(256)]) + MINE[at:])
        swapped = MINE[:at] + MINE[other : other + 1] + MINE[at + 1 : other] + MINE[at : at + 1] + MINE[other + 1 :]
        assert swapped == MINE or not believed(swapped)


def test_cut_short_at_every_length() -> None:
    assert not any(believed(MINE[:length]) for length in range(len(MINE)))


Place = tuple[str | int, ...]


def places(value: object, where: Place = ()) -> Iterator[Place]:
    if isinstance(value, dict | list):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield (*where, key)
            yield from places(value[key], (*where, key))


def at(value: object, where: Place) -> object:
    for key in where:
        value = value[key]  # type: ignore[index]
    return value


def test_each_part_swapped_with_another_receipts() -> None:
    """Every field, and every group of fields, of a true receipt put into another true receipt of the same log."""
    theirs, swapped = json.loads(THEIRS), 0
    for where in places(json.loads(MINE)):
        forged = json.loads(MINE)
        try:
            taken = at(theirs, where)
        except IndexError:
            continue  # their path is shorter
        if at(forged, where) != taken:
            at(forged, where[:-1])[where[-1]] = taken  # type: ignore[index]
            assert not believed(canonical(forged)), where
            swapped += 1
    assert swapped >= 15


def test_each_field_removed_emptied_or_doubled() -> None:
    for where in places(json.loads(MINE)):
        for treat in ("remove", "null", "empty", "wrap"):
            forged = json.loads(MINE)
            parent, value = at(forged, where[:-1]), at(forged, where)
            if treat == "remove":
                del parent[where[-1]]  # type: ignore[attr-defined]
            else:
                parent[where[-1]] = {"null": None, "empty": "", "wrap": [value]}[treat]  # type: ignore[index]
            assert not believed(canonical(forged)), (where, treat)


def test_reordered_but_otherwise_true() -> None:
    """The same content in another spelling is not the same file."""
    content = json.loads(MINE)
    backwards = json.dumps(dict(reversed(content.items())), ensure_ascii=False, separators=(",", ":")).encode()
    assert json.loads(backwards) == content
    assert not believed(backwards)
    escaped = json.dumps(content, separators=(",", ":")).encode()
    assert json.loads(escaped) == content
    assert not believed(escaped)


def test_a_receipt_of_another_house() -> None:
    foreign = MemoryLog(signer=signer(2)).fill(20).release(statement(1))
    assert not believed(foreign)


def test_a_head_signed_by_another_house_over_the_same_log() -> None:
    forged = json.loads(MINE)
    forged["head"] = json.loads(MemoryLog(signer=signer(2)).fill(20).release(statement(1)))["head"]
    assert not believed(canonical(forged))


def test_a_cheaper_receipt_for_the_same_answer() -> None:
    """The asker wants to have paid less: the statement is signed, the cost is also in the entry, both are bound."""
    cheaper = replace(statement(1), cost=type(statement(1).cost)(1, 0))
    forged = json.loads(MINE)
    own = json.loads(MemoryLog(signer=signer(3)).release(cheaper))
    forged["envelope"]["payload"], forged["entry"] = own["envelope"]["payload"], own["entry"]
    assert not believed(canonical(forged))


def test_a_true_receipt_for_a_false_answer() -> None:
    assert not believed(MINE, ANSWER.replace(b"1041", b"1042"))


def test_a_receipt_cannot_sign_for_a_tree_head_nor_a_head_for_a_statement() -> None:
    """One key signs both; neither signature means anything in the place of the other."""
    forged = json.loads(MINE)
    head, envelope = forged["head"], forged["envelope"]["signatures"][0]
    head["signature"], envelope["sig"] = envelope["sig"], head["signature"]
    assert not believed(canonical(forged))


def test_a_forked_log_can_show_only_one_of_its_faces() -> None:
    """The operator keeps two logs and signs both. Each receipt holds alone; the two heads can never be joined."""
    shown, hidden = MemoryLog().fill(20), MemoryLog().fill(20)
    hidden.append(event(99).leaf())
    first, second = shown.release(statement(1)), hidden.release(statement(2))
    assert believed(first)
    assert believed(second)
    crossed = json.loads(first)
    crossed["head"] = json.loads(second)["head"]
    assert not believed(canonical(crossed))
    small, large = shown.heads[-1].head, hidden.heads[-1].head
    for log in (shown, hidden):
        sizes = [size for size in (small.size, log.frontier.size) if size <= log.frontier.size]
        path = consistency_proof(log.subtrees, sizes[0], sizes[-1])
        assert not verify_consistency(
            first=small.size, second=large.size, first_root=small.root, second_root=large.root, path=path
        )


def test_one_statement_may_name_several_files_but_no_more_than_it_names() -> None:
    two = (Subject(name="a", sha256="a" * 64), statement(1).released[0])
    receipt = MemoryLog().release(statement(1, released=two))
    assert alone.verify_receipt(receipt, TRUSTED, ANSWER).released == "answer.json"
    assert not believed(receipt, b"another file")


# In an empty directory, by a stranger


@pytest.fixture
def stranger(tmp_path: Path) -> Path:
    shutil.copy(alone.__file__, tmp_path / "verify_receipt.py")
    (tmp_path / "receipt.json").write_bytes(MINE)
    (tmp_path / "answer.json").write_bytes(ANSWER)
    (tmp_path / "key.pem").write_text(public_pem(signer().public_key))
    return tmp_path


def check(directory: Path, *more: str, lang: str = "en") -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-I", "verify_receipt.py", "receipt.json", "--key", "key.pem", "--lang", lang, *more]
    return subprocess.run(command, cwd=directory, capture_output=True, timeout=60, check=False, env={})


def test_a_stranger_needs_only_the_one_file(stranger: Path) -> None:
    done = check(stranger, "--answer", "answer.json")
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"PROVEN." in done.stdout
    assert sorted(path.name for path in stranger.iterdir()) == [
        "answer.json",
        "key.pem",
        "receipt.json",
        "verify_receipt.py",
    ]


@pytest.mark.parametrize("lang", ["en", "zh-CN"])
def test_a_stranger_is_told_which_step_failed(stranger: Path, lang: str) -> None:
    (stranger / "answer.json").write_bytes(ANSWER + b"\n")
    done = check(stranger, "--answer", "answer.json", lang=lang)
    assert (done.returncode, done.stderr) == (1, b"")
    assert ("第 8 步" if lang == "zh-CN" else "Step 8").encode() in done.stdout
    tampered = bytearray(MINE)
    tampered[len(tampered) // 2] ^= 4
    (stranger / "receipt.json").write_bytes(tampered)
    assert check(stranger, lang=lang).returncode == 1
    (stranger / "key.pem").write_text(public_pem(signer(2).public_key))
    (stranger / "receipt.json").write_bytes(MINE)
    done = check(stranger, lang=lang)
    assert done.returncode == 1
    assert ("第 2 步" if lang == "zh-CN" else "Step 2").encode() in done.stdout
    (stranger / "key.pem").unlink()
    assert check(stranger, lang=lang).returncode == 2

"""What the house builds, the stand-alone verifier proves; and what the log does not prove is never built."""

from __future__ import annotations

import ast
import base64
import hashlib
import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given, settings
from hypothesis import strategies as st

from access.audit import NotCanonical, canonical, digest, public_pem
from access.receipts import Envelope, ReceiptUnprovable, Subject, build_receipt, pre_authentication, seal
from privacy.loss import Loss
from sandbox import verify_receipt as alone
from tests.fakes.log import ANSWER, ANSWER_DIGEST, NOON, MemoryLog, event, signer, statement

TRUSTED = Ed25519PublicKey.from_public_bytes(signer().public_key)
HERE = Path(alone.__file__)


def test_the_payload_is_an_in_toto_statement() -> None:
    payload = json.loads(statement().payload())
    assert payload["_type"] == "https://in-toto.io/Statement/v1"
    assert payload["subject"] == [{"digest": {"sha256": ANSWER_DIGEST}, "name": "answer.json"}]
    assert payload["predicate"]["cost"] == {"delta": 5_000_000, "rho": 1_250_001}
    assert payload["predicate"]["decided"] == {"grant": "grant-3", "reviewers": ["principal-2", "principal-9"]}
    assert payload["predicate"]["issued"] == "2026-03-01T12:00:00.123456Z"
    assert canonical(payload) == statement().payload()


def test_the_signed_bytes_are_those_of_dsse() -> None:
    """PAE, as the DSSE protocol defines it: "DSSEv1" SP LEN(type) SP type SP LEN(body) SP body."""
    assert pre_authentication(b"hello world") == b"DSSEv1 28 application/vnd.in-toto+json 11 hello world"
    envelope = seal(statement(), signer())
    TRUSTED.verify(envelope.signature, pre_authentication(statement().payload()))


def test_the_entry_carries_the_digest_of_the_payload() -> None:
    entry = statement().entry()
    assert entry.details["statement"] == hashlib.sha256(statement().payload()).hexdigest()
    assert (entry.kind, entry.subject, entry.at) == ("answer.released", "receipt-1", NOON)
    assert (entry.details["rho"], entry.details["delta"]) == (1_250_001, 5_000_000)


def test_an_envelope_is_read_back_from_its_file() -> None:
    envelope = seal(statement(), signer())
    assert Envelope.read(envelope.file()) == envelope
    with pytest.raises(ValueError, match="canonical"):
        Envelope.read(envelope.file() + b"\n")


@pytest.mark.parametrize("value", ["", "B" * 64, "b" * 63, "b" * 64 + "\n", "b" * 65])
def test_a_statement_without_proper_digests_cannot_be_made(value: str) -> None:
    ran = statement().ran
    for name in ("version", "facts", "policy", "question", "plan"):
        with pytest.raises(NotCanonical):
            replace(statement(), ran=replace(ran, **{name: value}))
    with pytest.raises(NotCanonical):
        replace(statement(), released=(Subject(name="a", sha256=value),))


def test_a_statement_about_nothing_cannot_be_made() -> None:
    with pytest.raises(NotCanonical) as refused:
        replace(statement(), released=())
    assert "digest" in refused.value.say("en")


names = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
amounts = st.integers(0, 2**53 - 1)


@settings(max_examples=60)
@given(
    st.integers(0, 20),
    names,
    names,
    st.builds(Loss, amounts, amounts),
    st.lists(names, max_size=3),
    st.binary(),
    st.integers(0, 3),
)
def test_what_is_built_verifies(
    before: int, project: str, dataset: str, cost: Loss, reviewers: list[str], answer: bytes, more: int
) -> None:
    log = MemoryLog().fill(before)
    for number in range(more):
        log.append(event(number).leaf())
    ran = replace(statement().ran, dataset=dataset)
    released = (Subject(name="answer.json", sha256=digest(answer)), Subject(name="other", sha256="e" * 64))
    said = replace(statement(), project=project, ran=ran, cost=cost, reviewers=tuple(reviewers), released=released)
    verified = alone.verify_receipt(log.release(said), TRUSTED, answer)
    assert verified.statement == json.loads(said.payload())
    assert (verified.index, verified.head["size"]) == (before + more, before + more + 1)
    assert verified.released == "answer.json"


def test_the_same_receipt_has_the_same_bytes_for_ever() -> None:
    log = MemoryLog().fill(5)
    said = statement()
    first, head = log.release(said), log.heads[-1]
    log.fill(20)
    again = build_receipt(
        envelope=seal(said, log.signer), entry=said.entry(), index=5, head=head, subtrees=log.subtrees
    )
    assert again == first


def test_a_later_head_proves_it_too() -> None:
    log, said = MemoryLog().fill(5), statement()
    log.release(said)
    log.fill(9)
    later = build_receipt(
        envelope=seal(said, log.signer), entry=said.entry(), index=5, head=log.heads[-1], subtrees=log.subtrees
    )
    assert alone.verify_receipt(later, TRUSTED).head["size"] == 15


# Law 10: no proof, no receipt


def build(log: MemoryLog, **changed: object) -> bytes:
    said = statement()
    parts = {
        "envelope": seal(said, log.signer),
        "entry": said.entry(),
        "index": 3,
        "head": log.heads[-1],
        "subtrees": log.subtrees,
    }
    return build_receipt(**{**parts, **changed})  # type: ignore[arg-type]


def unprovable(log: MemoryLog, **changed: object) -> str:
    with pytest.raises(ReceiptUnprovable) as refused:
        build(log, **changed)
    assert "无法由日志证明" in refused.value.say("zh-CN")
    return refused.value.say("en")


def test_no_receipt_without_proof() -> None:
    log = MemoryLog().fill(3)
    early = log.heads[-1]
    log.release(statement())
    assert build(log)
    assert "no tree head covers" in unprovable(log, head=early)
    assert "no tree head covers" in unprovable(log, index=-1)
    assert "not in the log" in unprovable(log, index=2)
    assert "not in the log" in unprovable(log, entry=replace(statement().entry(), actor="somebody else"))
    assert "another statement" in unprovable(log, envelope=seal(statement(2), log.signer))
    assert "another statement" in unprovable(log, entry=event(1))
    assert "not in the log" in unprovable(MemoryLog().fill(8))


def test_a_receipt_names_the_fields_the_documentation_explains() -> None:
    """Every field of a receipt and of its statement stands in both pages, and no page explains a field that is not there."""
    receipt = json.loads(MemoryLog().fill(2).release(statement()))
    found = {*fields(receipt), *(f"statement.{name}" for name in fields(json.loads(statement().payload())))}
    for page in ("receipts.md", "receipts.zh-CN.md"):
        lines = (Path(__file__).parents[2] / "docs" / page).read_text(encoding="utf-8").splitlines()
        told = {line.split("`")[1] for line in lines if line.startswith("| `")}
        assert told == found, page


def fields(value: object, where: str = "") -> set[str]:
    """The dotted names of all leaves; a list is `[]`."""
    if isinstance(value, dict):
        return {name for key, part in value.items() for name in fields(part, f"{where}.{key}" if where else key)}
    if isinstance(value, list):
        return {name for part in value for name in fields(part, f"{where}[]")}
    return {where}


# The stand-alone verifier


def test_it_is_one_short_file_that_needs_only_cryptography() -> None:
    source = HERE.read_text(encoding="utf-8")
    assert len(source.splitlines()) <= 300
    imported = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            imported |= {name.name.split(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            imported.add(str(node.module).split(".")[0])
    assert imported - set(sys.stdlib_module_names) == {"cryptography"}


def test_it_lists_what_it_proves() -> None:
    doc = alone.__doc__ or ""
    assert list(alone.STEPS) == [
        int(line[0]) for line in doc.splitlines() if line[:2] in {f"{n}." for n in range(1, 10)}
    ]


def rejected(receipt: bytes, answer: bytes | None = None, key: Ed25519PublicKey = TRUSTED) -> alone.ReceiptInvalid:
    with pytest.raises(alone.ReceiptInvalid) as invalid:
        alone.verify_receipt(receipt, key, answer)
    assert str(invalid.value) == invalid.value.say("en")
    assert invalid.value.say("zh-CN").startswith(f"第 {invalid.value.step} 步未通过")
    return invalid.value


def forge(change: object, *, statement_change: object = None, size: int = 4) -> bytes:
    """A receipt altered by somebody who can spell canonical JSON, but holds no key."""
    receipt = json.loads(MemoryLog().fill(size).release(statement()))
    if statement_change:
        payload = json.loads(base64.b64decode(receipt["envelope"]["payload"]))
        statement_change(payload)  # type: ignore[operator]
        receipt["envelope"]["payload"] = base64.b64encode(canonical(payload)).decode()
    if change:
        change(receipt)  # type: ignore[operator]
    return canonical(receipt)


def resigned(payload: bytes) -> bytes:
    """A receipt over any payload, signed with the trusted key: what only a broken house could issue."""
    log, said = MemoryLog(), statement()
    envelope = Envelope(
        payload=payload, key_id=log.signer.key_id, signature=log.signer.sign(pre_authentication(payload))
    )
    details = {**said.entry().details, "statement": digest(payload)}
    entry = replace(said.entry(), details=details)
    index = log.append(entry.leaf())
    return build_receipt(envelope=envelope, entry=entry, index=index, head=log.commit(), subtrees=log.subtrees)


GOOD = MemoryLog().fill(4).release(statement())


@pytest.mark.parametrize(
    "file",
    [
        b"",
        b"\xff",
        b"null",
        b"[]",
        b"{}",
        b"[" * 200_000,
        b"1" * 5000,
        GOOD + b"\n",
        b" " + GOOD,
        b"\xef\xbb\xbf" + GOOD,
        GOOD[:-1],
        GOOD[: len(GOOD) // 2],
        json.dumps(json.loads(GOOD), ensure_ascii=True, sort_keys=True, separators=(",", ":")).encode(),
        json.dumps(json.loads(GOOD), indent=1).encode(),
        GOOD.replace(b'"index":4', b'"index":4,"index":4'),
        GOOD.replace(b'"index":4', b'"index":3,"index":4'),
        GOOD.replace(b'"index":4', b'"index":4.0'),
        GOOD.replace(b'"index":4', b'"index":-0'),
        GOOD.replace(b'"index":4', b'"index":NaN'),
        GOOD.replace(b'"rho":1250001', b'"rho":1250001.0'),
        GOOD.replace(b'"rho":1250001', b'"rho":Infinity'),
        GOOD.replace(b'"index":4', b'"index":"4"'),
        GOOD.replace(b'"index":4', b'"index":true'),
        GOOD.replace(b'"receipt-1"', b'"\\ud800"'),
        GOOD[:-1] + b',"zzz":1}',
        GOOD + b" " * 1_000_000,
    ],
)
def test_step_1_form(file: bytes) -> None:
    assert rejected(file).step == 1


@pytest.mark.parametrize(
    "change",
    [
        lambda r: r.pop("head"),
        lambda r: r.update(note="hello"),
        lambda r: r["entry"]["details"].update(more="x" * 1_000_000),
        lambda r: r["head"].update(note="hello"),
        lambda r: r["entry"].pop("actor"),
        lambda r: r["entry"].update(kind="answer.refused"),
        lambda r: r["head"].update(size="5"),
        lambda r: r["head"].update(size=True),
        lambda r: r["head"].update(root=r["head"]["root"].upper()),
        lambda r: r["head"].update(root=r["head"]["root"] + "\n"),
        lambda r: r["head"].update(timestamp="2026-03-01T12:00:00Z"),
        lambda r: r["inclusion"].update(path="none"),
        lambda r: r["inclusion"].update(path=[5]),
        lambda r: r["envelope"].update(payloadType="text/plain"),
        lambda r: r["envelope"].update(signatures=[]),
        lambda r: r["envelope"].update(signatures=r["envelope"]["signatures"] * 2),
        lambda r: r["envelope"].update(payload=r["envelope"]["payload"] + "="),
        lambda r: r["envelope"].update(payload=r["envelope"]["payload"] + "\n"),
        lambda r: r["envelope"].update(payload="钥" + r["envelope"]["payload"]),
        lambda r: r["head"].update(signature=r["head"]["signature"][:-3] + "x=="),
    ],
)
def test_step_1_fields(change: object) -> None:
    assert rejected(forge(change)).step == 1


def test_step_2_the_key_is_never_taken_from_the_receipt() -> None:
    """A whole receipt of another house: everything in it fits, and it is not ours."""
    foreign = MemoryLog(signer=signer(2)).fill(4).release(statement())
    assert alone.verify_receipt(foreign, Ed25519PublicKey.from_public_bytes(signer(2).public_key))
    assert rejected(foreign).step == 2
    renamed = json.loads(foreign)
    renamed["envelope"]["signatures"][0]["keyid"] = signer().key_id
    assert rejected(canonical(renamed)).step == 2
    renamed["head"]["key_id"] = signer().key_id
    assert rejected(canonical(renamed)).step == 3


def test_step_3_signature() -> None:
    assert rejected(forge(None, statement_change=lambda s: s["predicate"]["cost"].update(rho=0))).step == 3


@pytest.mark.parametrize(
    "payload",
    [
        b"{}",
        b"",
        statement().payload() + b" ",
        canonical({**json.loads(statement().payload()), "subject": []}),
        canonical({**json.loads(statement().payload()), "_type": "https://in-toto.io/Statement/v0.1"}),
        canonical({**json.loads(statement().payload()), "predicateType": "https://slsa.dev/provenance/v1"}),
        canonical({**json.loads(statement().payload()), "more": 1}),
    ],
)
def test_step_4_statement(payload: bytes) -> None:
    assert rejected(resigned(payload)).step == 4


def test_step_5_entry() -> None:
    for change in (
        lambda r: r["entry"].update(actor="somebody"),
        lambda r: r["entry"].update(subject="receipt-2"),
        lambda r: r["entry"].update(at="2026-03-01T12:00:00.123457Z"),
        lambda r: r["entry"]["details"].update(statement="0" * 64),
        lambda r: r["entry"]["details"].update(rho=1),
        lambda r: r["entry"]["details"].update(more=1),
    ):
        assert rejected(forge(change)).step == 5
    cheap = replace(statement(), cost=Loss(1, 0))
    as_true = cheap.entry().leaf().replace(b'"rho":1', b'"rho":true')
    receipt = json.loads(MemoryLog().release(cheap))
    receipt["entry"] = json.loads(as_true)
    assert rejected(canonical(receipt)).step == 5


def test_step_6_log() -> None:
    for change in (
        lambda r: r["inclusion"].update(index=3),
        lambda r: r["inclusion"].update(index=5),
        lambda r: r["inclusion"].update(index=-1),
        lambda r: r["inclusion"]["path"].pop(),
        lambda r: r["inclusion"]["path"].append("0" * 64),
        lambda r: r["inclusion"]["path"].reverse(),
        lambda r: r["head"].update(size=4),
        lambda r: r["head"].update(size=2**50),
        lambda r: r["head"].update(root="0" * 64),
    ):
        assert rejected(forge(change, size=6)).step == 6
    assert rejected(forge(lambda r: r["inclusion"].update(index=-1), size=0)).step == 6


def test_step_7_head() -> None:
    assert rejected(forge(lambda r: r["head"].update(timestamp="2026-03-01T12:00:00.123457Z"))).step == 7
    other = json.loads(MemoryLog().fill(9).release(statement()))["head"]["signature"]
    assert rejected(forge(lambda r: r["head"].update(signature=other))).step == 7


def test_step_8_answer() -> None:
    assert alone.verify_receipt(GOOD, TRUSTED).released is None
    assert alone.verify_receipt(GOOD, TRUSTED, ANSWER).released == "answer.json"
    invalid = rejected(GOOD, ANSWER + b" ")
    assert invalid.step == 8
    assert rejected(GOOD, b"").step == 8


@pytest.mark.parametrize(
    "pem",
    [
        b"",
        b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
        public_pem(signer().public_key).encode()[:60],
    ],
)
def test_a_key_that_cannot_be_read(pem: bytes) -> None:
    with pytest.raises(alone.KeyUnusable):
        alone.read_key(pem)


def test_a_key_of_another_kind() -> None:
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    other = X25519PrivateKey.generate().public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    with pytest.raises(alone.KeyUnusable, match="Ed25519"):
        alone.read_key(other)
    assert alone.read_key(public_pem(signer().public_key).encode()) == TRUSTED


# The command


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "receipt.json").write_bytes(GOOD)
    (tmp_path / "answer.json").write_bytes(ANSWER)
    (tmp_path / "key.pem").write_text(public_pem(signer().public_key))
    return tmp_path


def run(files: Path, *more: str, lang: str = "en") -> int:
    return alone.main([str(files / "receipt.json"), "--key", str(files / "key.pem"), "--lang", lang, *more])


def test_the_command_says_what_was_proven(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(files, "--answer", str(files / "answer.json")) == 0
    said = capsys.readouterr().out
    assert [line[:3] for line in said.splitlines() if line.startswith("[")] == [f"[{n}]" for n in range(1, 9)]
    assert said.endswith("PROVEN.\n")
    assert '"rho": 1250001' in said
    assert run(files, lang="zh-CN") == 0
    said = capsys.readouterr().out
    assert "第 8 步未核验" in said
    assert said.endswith("凭证成立。\n")
    assert run(files) == 0
    assert "step 8 was not checked" in capsys.readouterr().out


def test_the_command_names_the_step_that_failed(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(files, "--answer", str(files / "key.pem")) == 1
    said = capsys.readouterr().out
    assert "[7] ok" in said
    assert "REJECTED. Step 8 failed" in said
    (files / "receipt.json").write_bytes(GOOD + b" ")
    assert run(files, lang="zh-CN") == 1
    assert capsys.readouterr().out.startswith("凭证不成立。第 1 步未通过")


def test_the_command_tells_what_it_cannot_check(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(files, "--answer", str(files / "absent")) == 2
    assert "Nothing could be checked" in capsys.readouterr().out
    (files / "key.pem").write_text("no key")
    assert run(files, lang="zh-CN") == 2
    assert "无法核验" in capsys.readouterr().out
    with pytest.raises(SystemExit) as wrong:
        alone.main([str(files / "receipt.json")])
    assert wrong.value.code == 2

"""Check a receipt offline: `python verify_receipt.py RECEIPT --key KEY.pem [--answer FILE] [--lang zh-CN|en]`.

This one file is the verifier. Copy it anywhere: it needs Python 3.11 and the package `cryptography`, no network and
nothing else of the product, and it shares no code with what writes receipts, so it cannot share a mistake with it. The
key must come from outside: pin the instance's public key once, and never take it from where the receipt came from.

What must be proven, in this order; the first step that fails is named, and nothing is believed:

1. Form.      The file is one receipt in canonical JSON (RFC 8785): every byte is as it must be, no field is unknown.
2. Key.       The statement and the tree head name the trusted key.
3. Signature. The trusted key signed the statement (DSSE v1, Ed25519).
4. Statement. It is an in-toto Statement v1 about an answer, itself in canonical form.
5. Entry.     The log entry is exactly the one this statement gives; it holds the statement's SHA-256.
6. Log.       The entry stands at its place in the log the tree head describes (RFC 9162, section 2.1.3.2).
7. Head.      The trusted key signed the tree head.
8. Answer.    If an answer file is given: its SHA-256 is one the statement names.

Exit code: 0 proven, 1 rejected, 2 nothing could be checked (a file or the key cannot be read, or wrong usage).
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

LARGEST_FILE = 1_000_000
STEPS = {
    1: ("the file is one receipt in canonical form", "文件是一份规范形式的凭证"),
    2: ("statement and tree head name the trusted key", "陈述与树头均指明可信密钥"),
    3: ("the trusted key signed the statement", "可信密钥签署了陈述"),
    4: ("the statement is an in-toto statement about an answer", "陈述是关于一份结果的 in-toto 陈述"),
    5: ("the log entry is the one this statement gives", "日志条目与该陈述完全对应"),
    6: ("the entry stands in the log the tree head describes", "该条目确在树头所述的日志中"),
    7: ("the trusted key signed the tree head", "可信密钥签署了树头"),
    8: ("the answer file is the one that was released", "结果文件正是当时发布的结果"),
}
HEX = re.compile(r"[0-9a-f]{64}")
TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z")
# A shape is a type, a pattern for a text, a constant text, a list with the shape of its items, or an object of shapes.
Shape = dict[str, Any]
ENTRY: Shape = {"actor": str, "at": TIME, "details": dict, "kind": "answer.released", "subject": str}
ENTRY["type"] = "data-open-sandbox/entry/v1"
PAYLOAD_TYPE = "application/vnd.in-toto+json"
ENVELOPE: Shape = {"payload": str, "payloadType": PAYLOAD_TYPE, "signatures": [{"keyid": HEX, "sig": str}]}
HEAD: Shape = {"key_id": HEX, "root": HEX, "signature": str, "size": int, "timestamp": TIME}
HEAD["type"] = "data-open-sandbox/tree-head/v1"
RECEIPT: Shape = {"entry": ENTRY, "envelope": ENVELOPE, "head": HEAD, "inclusion": {"index": int, "path": [HEX]}}
RECEIPT["type"] = "data-open-sandbox/receipt/v1"
PREDICATE: Shape = {
    "asked": {"by": str, "job": str, "project": str},
    "cost": {"delta": int, "rho": int},
    "decided": {"grant": str, "reviewers": [str]},
    "issued": TIME,
    "ran": {"dataset": str, "facts": HEX, "plan": HEX, "policy": HEX, "question": HEX, "version": HEX},
    "receipt": str,
}
STATEMENT: Shape = {"_type": "https://in-toto.io/Statement/v1", "predicateType": "urn:data-open-sandbox:answer:v1"}
STATEMENT |= {"predicate": PREDICATE, "subject": [{"digest": {"sha256": HEX}, "name": str}]}


class ReceiptInvalid(Exception):
    """The receipt proves nothing. `step` is the number of the first step that failed."""

    def __init__(self, step: int, en: str, zh: str) -> None:
        self.step, self.en, self.zh = step, en, zh
        super().__init__(self.say("en"))

    def say(self, lang: str) -> str:
        """The sentence in that language: which step failed, and why."""
        if lang.lower().startswith("zh"):
            return f"第 {self.step} 步未通过（{STEPS[self.step][1]}）：{self.zh}。"
        return f"Step {self.step} failed ({STEPS[self.step][0]}): {self.en}."


class KeyUnusable(ValueError):
    """The trusted key is not an Ed25519 public key in PEM."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Verified:
    """What was proven: the in-toto statement, its entry's place in the log, the tree head, and which subject the answer is."""

    statement: dict[str, Any]
    index: int
    head: dict[str, Any]
    released: str | None


def read_key(pem: bytes) -> Ed25519PublicKey:
    """The pinned public key from its PEM file."""
    try:
        key = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm) as reason:
        raise KeyUnusable("not a public key in PEM") from reason
    if not isinstance(key, Ed25519PublicKey):
        raise KeyUnusable("not an Ed25519 key")
    return key


def verify_receipt(file: bytes, trusted: Ed25519PublicKey, answer: bytes | None = None) -> Verified:
    """Prove steps 1 to 7, and 8 when `answer` is given; raise `ReceiptInvalid` at the first that fails."""
    receipt = _read(1, file, RECEIPT)  # step 1
    entry, head, inclusion = receipt["entry"], receipt["head"], receipt["inclusion"]
    signed, key_id = receipt["envelope"]["signatures"], hashlib.sha256(trusted.public_bytes_raw()).hexdigest()
    if len(signed) != 1:
        _fail(1, "there must be exactly one signature", "签名必须恰有一个")
    payload = _unbase64(receipt["envelope"]["payload"])
    signature, head_signature = _unbase64(signed[0]["sig"]), _unbase64(head["signature"])

    for named in (signed[0]["keyid"], head["key_id"]):  # step 2
        if named != key_id:
            _fail(2, f"it names key {named}, not {key_id}", f"其指明的密钥为 {named}，而非 {key_id}")

    encoded = b"DSSEv1 %d %b %d %b" % (len(PAYLOAD_TYPE), PAYLOAD_TYPE.encode(), len(payload), payload)  # step 3
    _require_signature(3, trusted, signature, encoded)

    statement = _read(4, payload, STATEMENT)  # step 4
    if not statement["subject"]:
        _fail(4, "it names nothing that was released", "未指明任何发布内容")

    if canonical(entry) != canonical(_entry_of(statement, payload)):  # step 5
        _fail(5, "the entry and the statement differ", "日志条目与陈述不一致")

    path = [bytes.fromhex(node) for node in inclusion["path"]]  # step 6
    leaf = hashlib.sha256(b"\x00" + canonical(entry)).digest()
    root = root_of(leaf, inclusion["index"], head["size"], path)
    if root is None or root.hex() != head["root"]:
        _fail(6, "the proof does not lead to the root of the tree head", "证明路径未能到达树头的根哈希")

    unsigned = {name: value for name, value in head.items() if name != "signature"}  # step 7
    _require_signature(7, trusted, head_signature, canonical(unsigned))

    released = None if answer is None else _released(statement, answer)  # step 8
    return Verified(statement=statement, index=inclusion["index"], head=head, released=released)


def canonical(value: object) -> bytes:
    """The one spelling of a JSON value without floats (RFC 8785)."""
    return json.dumps(_ordered(value), ensure_ascii=False, separators=(",", ":")).encode()


def _ordered(value: object) -> object:
    if isinstance(value, dict):
        return {key: _ordered(value[key]) for key in sorted(value, key=lambda key: key.encode("utf-16-be"))}
    return [_ordered(item) for item in value] if isinstance(value, list) else value


def root_of(leaf: bytes, index: int, size: int, path: Sequence[bytes]) -> bytes | None:
    """The root of the tree of `size` leaves if `leaf` is the hash at `index` and `path` its proof; None if it cannot be."""
    if not 0 <= index < size:
        return None
    position, last, found = index, size - 1, leaf
    for sibling in path:
        if last == 0:
            return None
        if position % 2 == 1 or position == last:
            found = hashlib.sha256(b"\x01" + sibling + found).digest()
            while position % 2 == 0 and position > 0:
                position, last = position // 2, last // 2
        else:
            found = hashlib.sha256(b"\x01" + found + sibling).digest()
        position, last = position // 2, last // 2
    return found if last == 0 else None


def _fail(step: int, en: str, zh: str) -> NoReturn:
    raise ReceiptInvalid(step, en, zh)


def _no_float(text: str) -> NoReturn:
    raise ValueError(f"a number that is not whole: {text[:20]}")


def _read(step: int, raw: bytes, shape: dict[str, Any]) -> dict[str, Any]:
    """The object of exactly that shape whose canonical form is exactly `raw`."""
    if len(raw) > LARGEST_FILE:
        _fail(step, f"it is longer than {LARGEST_FILE} bytes", f"超过 {LARGEST_FILE} 字节")
    try:
        value = json.loads(raw.decode(), parse_float=_no_float, parse_constant=_no_float)
        is_canonical = canonical(value) == raw
    except (ValueError, RecursionError):
        _fail(step, "it is not JSON of texts and whole numbers", "不是由文本与整数构成的 JSON")
    if (odd := _misfit(value, shape)) is not None:
        _fail(step, f"a field is missing, unknown or malformed at “{odd}”", f"“{odd}”处字段缺失、未知或形式有误")
    if not is_canonical:  # a repeated name ends here too: it is gone from what was read
        _fail(step, "its bytes are not in canonical form", "其字节不是规范形式")
    return dict(value)


def _misfit(value: Any, shape: Any, where: str = "$") -> str | None:
    """The first place where `value` does not have the shape, or None."""
    if isinstance(shape, dict):
        if type(value) is not dict or value.keys() != shape.keys():
            return where
        parts = [(value[name], shape[name], f"{where}.{name}") for name in shape]
    elif isinstance(shape, list):
        if type(value) is not list:
            return where
        parts = [(item, shape[0], f"{where}[{place}]") for place, item in enumerate(value)]
    elif isinstance(shape, re.Pattern):
        return None if type(value) is str and shape.fullmatch(value) else where
    else:
        return None if value == shape or type(value) is shape else where
    return next((odd for part in parts if (odd := _misfit(*part)) is not None), None)


def _unbase64(text: str) -> bytes:
    try:
        raw = base64.b64decode(text, validate=True)
        if base64.b64encode(raw).decode() == text:
            return raw
    except ValueError:
        pass
    _fail(1, "a base64 text is not in its one proper spelling", "base64 文本不是其唯一规范写法")


def _require_signature(step: int, key: Ed25519PublicKey, signature: bytes, message: bytes) -> None:
    try:
        key.verify(signature, message)
    except InvalidSignature:
        _fail(step, "the signature is not valid", "签名无效")


def _entry_of(statement: dict[str, Any], payload: bytes) -> dict[str, Any]:
    """The one log entry that a statement gives."""
    said = statement["predicate"]
    details = {**said["cost"], "dataset": said["ran"]["dataset"], "project": said["asked"]["project"]}
    details["statement"] = hashlib.sha256(payload).hexdigest()
    changing = {"actor": said["asked"]["by"], "at": said["issued"], "details": details, "subject": said["receipt"]}
    return {**ENTRY, **changing}


def _released(statement: dict[str, Any], answer: bytes) -> str:
    found = hashlib.sha256(answer).hexdigest()
    for subject in statement["subject"]:
        if subject["digest"]["sha256"] == found:
            return str(subject["name"])
    _fail(8, f"its SHA-256 is {found}, which the statement does not name", f"其 SHA-256 为 {found}，陈述中并无此值")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the check as a command; see the top of this file for the exit codes."""
    system = "zh-CN" if (os.environ.get("LC_ALL") or os.environ.get("LANG") or "").startswith("zh") else "en"
    parser = argparse.ArgumentParser(description="Check a receipt offline. / 离线核验凭证。")
    parser.add_argument("receipt", type=Path, help="the receipt / 凭证文件")
    parser.add_argument("--key", type=Path, required=True, help="the pinned public key, PEM / 预先固定的公钥（PEM）")
    parser.add_argument("--answer", type=Path, help="the answer as released / 所发布的结果文件")
    parser.add_argument("--lang", choices=("zh-CN", "en"), default=system, help="language / 语言")
    asked = parser.parse_args(arguments)
    zh, failed = asked.lang == "zh-CN", None
    try:
        answer = asked.answer.read_bytes() if asked.answer else None
        verified = verify_receipt(asked.receipt.read_bytes(), read_key(asked.key.read_bytes()), answer)
    except (OSError, KeyUnusable) as reason:
        _write(f"{'无法核验' if zh else 'Nothing could be checked'}: {reason}")
        return 2
    except ReceiptInvalid as reason:
        failed = reason
    for step in range(1, failed.step if failed else 8 + bool(asked.answer)):
        _write(f"[{step}] {'通过' if zh else 'ok'}: {STEPS[step][zh]}")
    if failed:
        _write(("凭证不成立。" if zh else "REJECTED. ") + failed.say(asked.lang))
        return 1
    for name, value in (verified.statement["predicate"] | {"subject": verified.statement["subject"]}).items():
        _write(f"    {name}: {json.dumps(value, ensure_ascii=False)}")
    if not asked.answer:
        _write("未给出结果文件，第 8 步未核验。" if zh else "No answer file was given: step 8 was not checked.")
    _write("凭证成立。" if zh else "PROVEN.")
    return 0


def _write(line: str) -> None:
    """Print; what the terminal cannot show is spelled out."""
    shown = sys.stdout.encoding or "utf-8"
    sys.stdout.write(line.encode(shown, "backslashreplace").decode(shown) + "\n")


if __name__ == "__main__":
    sys.exit(main())

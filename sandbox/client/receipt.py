"""A receipt: the signed proof that an answer is in the log, kept byte for byte as the server sent it.

Owns `Receipt` and where a trusted key comes from: an argument, or the key that was pinned at the first sign-in; never the
receipt itself and never the server that is being checked. The check is `sandbox.verify_receipt`, the same file a stranger
runs on its own.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sandbox.client import errors, show
from sandbox.say import language, say

if TYPE_CHECKING:
    from sandbox.verify_receipt import Verified

Key = str | bytes | Path
"""A public key: the path of a PEM file, or the PEM itself."""


class Receipt:
    """The proof that one answer was given: what ran, what it cost, who decided, and its place in the log.

    `content` is the file; `released` the exact bytes of the answer it belongs to, when this client has them.
    """

    def __init__(self, content: bytes, *, trusted_key: str = "", released: bytes | None = None) -> None:
        self.content = content
        self.released = released
        self._trusted_key = trusted_key

    @classmethod
    def load(cls, file: str | Path, *, answer: str | Path | None = None, trusted_key: str = "") -> Receipt:
        """Read a receipt that was saved, and the answer it belongs to if given; `trusted_key` is a PEM."""
        released = None if answer is None else _bytes(Path(answer))
        return cls(_bytes(Path(file)), trusted_key=trusted_key, released=released)

    def save(self, file: str | Path, *, answer: str | Path | None = None) -> Path:
        """Write the receipt, and with `answer` the released bytes, for `sandbox receipt verify` anywhere."""
        target = Path(file)
        target.write_bytes(self.content)
        if answer is not None:
            if self.released is None:
                raise errors.SandboxError(
                    say("This receipt came without its answer.", "该凭证未附带其结果。"),
                    hint=say(
                        "Take it from an Answer: answer.receipt.save(…).", "请从结果取得：answer.receipt.save(…)。"
                    ),
                )
            Path(answer).write_bytes(self.released)
        return target

    def prove(self, key: Key | None = None) -> Verified:
        """Prove it offline and return what was proven; raises `ReceiptInvalid` naming the step that failed.

        `key` is the instance's public key, obtained apart from the receipt; without one, the key pinned by `sandbox login`.
        """
        from sandbox import verify_receipt as verifier

        try:
            trusted = verifier.read_key(self._pem(key))
        except verifier.KeyUnusable as error:
            raise errors.SandboxError(
                say("The trusted key cannot be used ({why}).", "无法使用该可信密钥（{why}）。", why=error),
                hint=say("It is an Ed25519 public key in PEM.", "它应为 PEM 格式的 Ed25519 公钥。"),
            ) from error
        try:
            return verifier.verify_receipt(self.content, trusted, self.released)
        except verifier.ReceiptInvalid as error:
            invalid = errors.ReceiptInvalid(
                error.say(language()),
                hint=say(
                    "Believe nothing it says. Keep the file and tell the operator and the auditor.",
                    "请勿采信其内容；保留该文件，并告知运营方和审计员。",
                ),
                code="receipt.invalid",
            )
            invalid.step = error.step
            raise invalid from error

    def verify(self, key: Key | None = None) -> bool:
        """True when it is proven offline; never False: what fails raises `ReceiptInvalid` naming the step."""
        self.prove(key)
        return True

    def _pem(self, key: Key | None) -> bytes:
        if isinstance(key, bytes):
            return key
        if isinstance(key, str) and key.lstrip().startswith("-----BEGIN"):
            return key.encode()
        if key is not None:
            return _bytes(Path(key))
        if self._trusted_key:
            return self._trusted_key.encode()
        raise errors.SandboxError(
            say("No trusted key is pinned for this server.", "尚未固定该服务器的可信密钥。"),
            hint=say(
                "Give the key the operator published: receipt.verify('house.pem'); `sandbox login` pins one.",
                "请给出运营方公布的密钥：receipt.verify('house.pem')；`sandbox login` 会固定一个。",
            ),
        )

    @property
    def predicate(self) -> dict[str, Any]:
        """What the receipt claims, unproven; `prove` says whether it is true. Empty when it cannot be read."""
        try:
            envelope = json.loads(self.content)["envelope"]
            found = json.loads(base64.b64decode(envelope["payload"]))["predicate"]
        except (ValueError, KeyError, TypeError):
            return {}
        return found if isinstance(found, dict) else {}

    def _lines(self) -> list[tuple[str, str]]:
        return [
            (name, json.dumps(value, ensure_ascii=False, sort_keys=True) if isinstance(value, dict) else str(value))
            for name, value in sorted(self.predicate.items())
        ]

    def __repr__(self) -> str:
        head = say("Receipt, {size} bytes, not verified here", "凭证，{size} 字节，此处未核验", size=len(self.content))
        return "\n".join([head, *[f"  {show.clean(name)}: {show.clean(value)}" for name, value in self._lines()]])

    def _repr_html_(self) -> str:
        headers = [say("claim", "内容"), say("value", "值")]
        return show.card(
            show.tag("h3", say("Receipt", "凭证")),
            show.html_table(headers, self._lines(), [False, False]),
            show.paragraph(
                say("Claims until verified: receipt.verify(key)", "核验之前仅为声明：receipt.verify(key)"), dim=True
            ),
        )


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise errors.SandboxError(
            say(
                "The file {path} cannot be read ({why}).",
                "无法读取文件 {path}（{why}）。",
                path=path,
                why=error.strerror,
            )
        ) from error

"""The doctor: can this machine run an instance, and is the instance in `home` sound?

Owns the checks behind `sandboxd doctor`. Each one does the real thing (writes a file, opens the registry, sends bytes
through the vault, tries to break out of the engine) and says what it found and what to do. It never changes the registry;
folders and the signing key are made if they are not there, as a first start would. Law 10: a check that cannot be made
has failed.
"""

from __future__ import annotations

import os
import secrets
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from compute.engines.selftest import escapes
from privacy.errors import Problem, Text
from sandbox.journeys.house import House
from sandbox.settings import Settings
from sandbox.wiring import build, celery_app

LEAST_FREE = 1 * 1024**3
"""Bytes of free disk below which the check fails."""
_EARLIEST = datetime(2024, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One check: what was looked at, whether it is well, and what was seen or must be done."""

    name: str
    title: Text
    well: bool
    seen: Text


class Unwell(Exception):
    """A check failed; the text says what to do."""

    def __init__(self, seen: Text) -> None:
        super().__init__(seen.en)
        self.seen = seen


Check = Callable[[Settings], Text]


def examine(settings: Settings) -> Iterator[Finding]:
    """Run every check, whatever the others say."""
    for name, title, check in CHECKS:
        try:
            yield Finding(name=name, title=title, well=True, seen=check(settings))
        except Unwell as unwell:
            yield Finding(name=name, title=title, well=False, seen=unwell.seen)
        except Problem as problem:
            seen = Text(*(f"{problem.say(lang)} {problem.advise(lang)}" for lang in ("en", "zh-CN")))
            yield Finding(name=name, title=title, well=False, seen=seen)
        except Exception as error:  # noqa: BLE001 - a check that cannot be made has failed, and the rest still counts
            words = f"{type(error).__name__}: {error}"
            yield Finding(name=name, title=title, well=False, seen=Text(words, words))


def _same(words: str) -> Text:
    return Text(words, words)


def _python(_: Settings) -> Text:
    if sys.version_info[:2] != (3, 11):
        raise Unwell(
            Text(
                f"Python 3.11 is needed, this is {sys.version.split()[0]}.",
                f"需要 Python 3.11，当前为 {sys.version.split()[0]}。",
            )
        )
    return _same(sys.version.split()[0])


def _folders(settings: Settings) -> Text:
    for folder in (settings.home, settings.staging, settings.logs, settings.vault_folder, settings.queue):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        probe = folder / f".doctor-{secrets.token_hex(8)}"
        probe.write_bytes(b"ok")
        probe.unlink()
    return _same(str(settings.home.absolute()))


def _key(settings: Settings) -> Text:
    return _same(f"{settings.key_file} · {build(settings).signer.key_id[:16]}…")


def _registry(settings: Settings) -> Text:
    house = build(settings)
    if not house.registry.ready():
        raise Unwell(
            Text(
                "It cannot be reached, or its tables are not those of this release: run `sandboxd migrate`.",
                "无法连接，或其数据表与当前版本不符：请运行 `sandboxd migrate`。",
            )
        )
    with house.registry.read() as unit:
        size = unit.log.size()
    return Text(f"{size} log entries", f"日志 {size} 条")


def _vault(settings: Settings) -> Text:
    house = build(settings)
    probe = settings.staging / f".doctor-{secrets.token_hex(8)}"
    content = b"data-open-sandbox doctor\n"  # the same bytes every time: one small object, however often it is run
    probe.write_bytes(content)
    try:
        digest = house.vault.put(probe)
        if house.vault.fetch(digest).read_bytes() != content:
            raise Unwell(Text("What came back is not what was stored.", "取回的内容与存入的不一致。"))
    finally:
        probe.unlink(missing_ok=True)
    return Text(f"stored and fetched {digest[:16]}…", f"已存取 {digest[:16]}…")


def _queue(settings: Settings) -> Text:
    with celery_app(settings).connection_for_write() as connection:
        connection.ensure_connection(max_retries=1, timeout=5)
        return _same(str(connection.as_uri()))


def _engine(settings: Settings) -> Text:
    found = escapes(settings.limits, settings.staging)
    if found:
        listed = ", ".join(found)
        raise Unwell(
            Text(
                f"These ways out are open: {listed}. Do not run questions.", f"以下出口未关闭：{listed}。请勿运行提问。"
            )
        )
    return Text("locked down", "已锁定")


def _disk(settings: Settings) -> Text:
    free = shutil.disk_usage(_existing(settings.home)).free
    if free < LEAST_FREE:
        raise Unwell(Text(f"Only {free // 2**20} MB are free; keep 1 GB.", f"仅剩 {free // 2**20} MB，请保留 1 GB。"))
    return _same(f"{free // 2**30} GB")


def _existing(path: Path) -> Path:
    return next(p for p in (path.absolute(), *path.absolute().parents) if p.exists())


def _clock(settings: Settings) -> Text:
    now, steady = datetime.now(UTC), time.monotonic()
    if now < _EARLIEST or steady <= 0:
        raise Unwell(Text(f"The clock says {now:%Y-%m-%d}.", f"系统时钟为 {now:%Y-%m-%d}。"))
    head = _newest_head(settings)
    if head is not None and head > now:
        raise Unwell(
            Text(f"The clock is behind the log, which was signed at {head}.", f"系统时钟早于日志的签名时间 {head}。")
        )
    return _same(f"{now:%Y-%m-%d %H:%M:%S} UTC")


def _newest_head(settings: Settings) -> datetime | None:
    house: House = build(settings)
    if not house.registry.ready():
        return None
    with house.registry.read() as unit:
        signed = unit.log.head()
    return None if signed is None else signed.head.at


def _privileges(_: Settings) -> Text:
    name = "root" if os.geteuid() == 0 else f"uid {os.geteuid()}"
    return _same(name)


CHECKS: tuple[tuple[str, Text, Check], ...] = (
    ("python", Text("Python", "Python 版本"), _python),
    ("user", Text("User", "运行用户"), _privileges),
    ("folders", Text("Folders", "文件夹"), _folders),
    ("disk", Text("Free disk", "可用磁盘"), _disk),
    ("key", Text("Signing key", "签名密钥"), _key),
    ("registry", Text("Registry", "登记库"), _registry),
    ("clock", Text("Clock", "时钟"), _clock),
    ("vault", Text("Vault", "保管库"), _vault),
    ("queue", Text("Queue", "队列"), _queue),
    ("engine", Text("Engine lock-down", "引擎锁定"), _engine),
)

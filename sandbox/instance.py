"""An embedded instance: an API process and a worker process over one folder, started, watched and stopped together.

Owns processes and nothing else: the API and the worker are the same `sandboxd serve` and `sandboxd worker` that run in
earnest. The demo, `make up`, the notebooks and the tests use it. Children notice when their parent is gone and stop, so
nothing is left running; `kill` exists because losing a process must be harmless (law 11), and tests show it.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import httpx

from privacy.errors import Conflict, Text, Unavailable
from sandbox.settings import PREFIX, Settings

if TYPE_CHECKING:
    from sandbox.journeys.house import House

START_SECONDS = 60.0
STOP_SECONDS = 15.0
ADDRESS = "instance.json"
"""Written into the home by the API once it listens: its address and process."""


class InstanceDead(Unavailable):
    """A process of the instance ended or did not come up."""

    code = "instance.dead"
    sentence = Text("The {part} did not start: {tail}", "{part} 未能启动：{tail}")
    hint = Text("Read {log}, and run `sandboxd doctor`.", "请查看 {log}，并运行 `sandboxd doctor`。")


class InstanceRuns(Conflict):
    """Another instance uses the folder."""

    code = "instance.runs"
    sentence = Text("An instance runs in {home} already, at {url}.", "{home} 中已有实例在运行：{url}。")
    hint = Text(
        "Use it, stop it (process {pid}), or choose another folder.",
        "请使用或停止该实例（进程 {pid}），或选择其他文件夹。",
    )


class Part(StrEnum):
    """The two processes."""

    API = "serve"
    WORKER = "worker"


@dataclass(frozen=True, kw_only=True, slots=True)
class Address:
    """Where an API listens, and as which process."""

    url: str
    pid: int

    def write(self, home: Path) -> None:
        """Publish the address by one rename."""
        draft = home / f".{ADDRESS}.{os.getpid()}"
        draft.write_text(json.dumps({"url": self.url, "pid": self.pid}), encoding="utf-8")
        draft.rename(home / ADDRESS)

    @classmethod
    def read(cls, home: Path) -> Address | None:
        """The address of the API that runs in this home, or None."""
        try:
            found = json.loads((home / ADDRESS).read_text(encoding="utf-8"))
            os.kill(found["pid"], 0)
        except (OSError, ValueError):
            return None
        return cls(url=found["url"], pid=found["pid"])


class Embedded:
    """`with Embedded(folder) as instance:` runs an instance under `folder`; `instance.url` is its address.

    The registry is migrated before anything starts. `instance.house` gives the same ports to this process, for what has no
    route on purpose, such as founding the first operator.
    """

    def __init__(self, home: Path, *, settings: Settings | None = None) -> None:
        self.settings = replace(settings or Settings(port=0), home=home.absolute())
        self.url = ""
        self._running: dict[Part, subprocess.Popen[bytes]] = {}

    @cached_property
    def house(self) -> House:
        """The ports of the instance."""
        from sandbox.wiring import build  # late: `sandboxd` must not load every adapter to print its help

        return build(self.settings)

    def __enter__(self) -> Embedded:
        from sandbox.store.migrate import migrate
        from sandbox.wiring import prepare

        other = Address.read(self.settings.home)
        if other is not None:
            raise InstanceRuns(home=self.settings.home, url=other.url, pid=other.pid)
        prepare(self.settings)
        migrate(self.settings.database_url)
        try:
            self.start(Part.WORKER)
            self.start(Part.API)
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self, part: Part) -> None:
        """Start one process; for the API, wait until it answers."""
        if part is Part.API:
            (self.settings.home / ADDRESS).unlink(missing_ok=True)
        with self.log(part).open("ab") as log:
            self._running[part] = subprocess.Popen(  # noqa: S603 - our own interpreter and module
                [sys.executable, "-m", "sandbox.server", part.value, "--parent", str(os.getpid())],
                env=self._environ(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        if part is Part.API:
            self._wait_until_ready()

    def _environ(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
        return kept | self.settings.environ()

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            self.require_running()
            address = Address.read(self.settings.home)
            if address is not None and _answers(address.url):
                # The same port again after a restart, so that clients find it where it was.
                self.url = address.url
                self.settings = replace(self.settings, port=int(address.url.rpartition(":")[2]))
                return
            time.sleep(0.05)
        raise self._dead(Part.API)

    def require_running(self) -> None:
        """Raise `InstanceDead` when a process has ended by itself."""
        for part, process in self._running.items():
            if process.poll() is not None:
                raise self._dead(part)

    def _dead(self, part: Part) -> InstanceDead:
        log = self.log(part)
        tail = log.read_text(encoding="utf-8", errors="replace")[-2000:].strip() if log.exists() else ""
        return InstanceDead(part=part.value, tail=tail.rpartition("\n")[2], log=log, private=tail)

    def log(self, part: Part) -> Path:
        """Where a process writes what it has to say."""
        return self.settings.logs / f"{part.value}.log"

    def kill(self, part: Part) -> None:
        """SIGKILL the process and all its children, as a machine does that loses power."""
        process = self._running.pop(part)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def stop(self) -> None:
        """Stop both, gently first. What is still running is taken up again at the next start."""
        if not self._running:
            return
        for process in self._running.values():
            process.terminate()
        deadline = time.monotonic() + STOP_SECONDS
        for part in list(self._running):
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._running[part].wait(max(0.1, deadline - time.monotonic()))
            self.kill(part)
        (self.settings.home / ADDRESS).unlink(missing_ok=True)


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz", timeout=5.0, trust_env=False).status_code == httpx.codes.OK
    except httpx.TransportError:
        return False

"""`sandboxd demo` and `sandboxd demo --keep`: a real instance in a folder of its own, for a story or for as long as you like.

Owns the demo's folders (`<home>/demo` for the story, `<home>/up` for the instance that stays; both marked, and readable by
their owner alone), the logins file, and the start and stop of the instance around a story. The instance always has the
embedded settings: whatever else the environment says, a demo never touches the database or the vault of an instance that
runs in earnest.
"""

from __future__ import annotations

import json
import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.status import Status
from rich.table import Table
from rich.text import Text as Line

from privacy.errors import Conflict, Text
from sandbox.client.errors import SandboxError
from sandbox.demo import scenario, stage
from sandbox.demo.city import DEMO_SIZE, Size
from sandbox.demo.people import Login, seed
from sandbox.demo.stage import PROJECT, RESEARCHER, Stage
from sandbox.instance import Address, Embedded, InstanceDead, InstanceRuns
from sandbox.say import language, say
from sandbox.settings import Settings

MARK = ".data-open-sandbox-demo"
LOGINS = "logins.json"
READY = ".ready"
FIRST_QUESTION = "SELECT city, COUNT(*) AS visits FROM visits GROUP BY city"


class NotADemo(Conflict):
    """The folder holds something else."""

    code = "demo.foreign_folder"
    sentence = Text(
        "The folder {folder} is not the demo's, so it is left alone.", "文件夹 {folder} 不是演示所建，不作改动。"
    )
    hint = Text(
        "Move it away, or choose another home with SANDBOXD_HOME.", "请移走该文件夹，或用 SANDBOXD_HOME 另选位置。"
    )


def tell_story(settings: Settings, *, size: Size = DEMO_SIZE) -> None:
    """The whole story on a fresh instance; the instance is stopped at the end, its folder stays."""
    console = _console()
    home = clean_folder(settings.home / "demo")
    console.print(
        Line(say("Data Open Sandbox: data that can be used but not seen", "数据开放沙箱：可用不可见"), style="bold")
    )
    with Embedded(home, settings=Settings(port=0)) as instance, watched(instance):
        logins = _found(instance, home)
        console.print(
            say("An API process and a worker process run at {url}, everything lies under {home}.",
                "接口进程与工作进程运行于 {url}，全部内容位于 {home}。", url=instance.url, home=home),
            markup=False, soft_wrap=True,
        )  # fmt: skip
        try:
            scenario.tell(Stage(url=instance.url, logins=logins), home / "files", console, size=size)
        except SandboxError as error:
            console.print(Line(str(error), style="red"))
            console.print(say("The logs are in {logs}.", "日志位于 {logs}。", logs=home / "logs"), markup=False)
            raise SystemExit(1) from error


def kept_home(settings: Settings) -> Path:
    """The folder of the instance that `keep_running` runs; the story never touches it."""
    return (settings.home / "up").absolute()


def keep_running(settings: Settings, *, size: Size = DEMO_SIZE) -> None:
    """Run a prepared instance until it is interrupted, the one of the last time if there is one; print its logins."""
    console = _console()
    home = kept_home(settings)
    running = Address.read(home)
    if running is not None:
        _introduce(console, running.url, read_logins(home))
        return
    fresh = not (home / READY).exists()
    if fresh:
        clean_folder(home)
    with Embedded(home, settings=Settings(port=settings.port)) as instance:
        logins = _found(instance, home) if fresh else read_logins(home)
        if fresh:
            with watched(instance), console.status(say("publishing the datasets …", "正在发布数据集……")) as shown:
                _prepare(Stage(url=instance.url, logins=logins), home, size, shown)
            (home / READY).touch()
        _introduce(console, instance.url, logins)
        try:
            while True:
                instance.require_running()
                time.sleep(1)
        except KeyboardInterrupt:
            console.print(say("Stopped; `make up` goes on where you left off.", "已停止；再次运行 `make up` 可继续。"))


@contextmanager
def watched(instance: Embedded) -> Iterator[None]:
    """Within the block, which is in the main thread, a process of the instance that ends by itself raises `InstanceDead`."""
    main, over = threading.get_ident(), threading.Event()
    dead: list[InstanceDead] = []

    def watch() -> None:
        while not over.wait(0.5):
            try:
                instance.require_running()
            except InstanceDead as problem:
                dead.append(problem)
                signal.pthread_kill(main, signal.SIGINT)  # wakes whatever waits for the lost process
                return

    watcher = threading.Thread(target=watch, name="instance", daemon=True)
    watcher.start()
    try:
        yield
    except KeyboardInterrupt:
        if dead:
            raise dead[0] from None
        raise
    finally:
        over.set()
        watcher.join()


def clean_folder(folder: Path) -> Path:
    """An empty demo folder. What an earlier demo left is removed; anything else, or a running instance, is refused."""
    home = folder.absolute()
    if home.exists() and not (home / MARK).exists() and any(home.iterdir()):
        raise NotADemo(folder=home)
    other = Address.read(home)
    if other is not None:
        raise InstanceRuns(home=home, url=other.url, pid=other.pid)
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True, mode=0o700)
    (home / MARK).touch()
    return home


def _found(instance: Embedded, home: Path) -> tuple[Login, ...]:
    """The cast, with fresh passwords that only the owner of the folder can read."""
    logins = seed(instance.house)
    file = home / LOGINS
    file.touch(mode=0o600)
    file.write_text(json.dumps([asdict(one) for one in logins], ensure_ascii=False, indent=1), encoding="utf-8")
    return logins


def read_logins(home: Path) -> tuple[Login, ...]:
    """The logins that an earlier start wrote down."""
    kept = json.loads((home / LOGINS).read_text(encoding="utf-8"))
    return tuple(Login(**{**one, "roles": tuple(one["roles"]), "part": Text(**one["part"])}) for one in kept)


def _prepare(prepared: Stage, home: Path, size: Size, shown: Status) -> None:
    stage.prepare(prepared, home / "files", size=size, watch=lambda dataset, _job: shown.update(dataset))


def _introduce(console: Console, url: str, logins: tuple[Login, ...]) -> None:
    table = Table(box=None, pad_edge=False)
    for title in (
        say("login", "登录名"),
        say("password", "密码"),
        say("role", "角色"),
        say("who", "身份"),
        say("part", "职责"),
    ):
        table.add_column(title, overflow="fold")
    for one in logins:
        table.add_row(one.login, one.password, ", ".join(one.roles), one.name, one.part.say(language()))
    console.print(table)
    console.print()
    for line in (
        say("Running at {url}. Ctrl-C stops it.", "运行于 {url}。按 Ctrl-C 停止。", url=url),
        say("In another terminal:", "在另一个终端中："),
        f"  .venv/bin/sandbox login {RESEARCHER} --url {url}",
        f"  .venv/bin/sandbox ask --project {PROJECT} --epsilon 0.5 health/visits '{FIRST_QUESTION}'",
    ):  # fmt: skip
        console.print(line, markup=False, soft_wrap=True)


def _console() -> Console:
    return Console(highlight=False, width=None if sys.stdout.isatty() else 120)

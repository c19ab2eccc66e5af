"""`sandboxd`: what an operator types.

Owns the commands and their words. Each command builds the house from the settings and hands over at once: the API to
`sandbox.api`, work to `sandbox.worker`, checks to `sandbox.doctor`, trials to `sandbox.journeys.workbench`. Exit codes:
0 well, 1 a problem (said in the operator's language), 2 wrong usage. Nothing here is reachable from the network.
"""

from __future__ import annotations

import getpass
import json
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn
from rich.table import Table

from access.people import Role
from privacy.errors import Malformed, Problem, Text
from sandbox.instance import Address, Embedded, Part
from sandbox.say import language, say, speaking
from sandbox.settings import Settings

if TYPE_CHECKING:
    from sandbox.journeys.workbench import Workbench

__all__ = ["Embedded", "Part", "app", "main"]

app = typer.Typer(
    name="sandboxd",
    help="Run and look after a Data Open Sandbox. / 运行与维护数据开放沙箱。",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Parent = Annotated[int | None, typer.Option(hidden=True, help="Stop when this process is gone. / 父进程结束时停止。")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON. / 以 JSON 输出。")]
Lang = Annotated[str | None, typer.Option(help="zh-CN or en. / 语言。")]


class UsageWrong(Malformed):
    """A command was given something it cannot use."""

    code = "sandboxd.usage"
    sentence = Text("This cannot be used: {what}", "无法使用：{what}")
    hint = Text("See `sandboxd {command} --help`.", "请参阅 `sandboxd {command} --help`。")


def main() -> None:
    """The entry point: a problem becomes two lines in the operator's language and exit code 1."""
    os.umask(0o077)  # whatever an instance writes is for its own user alone
    try:
        app()
    except Problem as problem:
        lang = language()
        console = Console(stderr=True, highlight=False)
        console.print(problem.say(lang), style="bold red", markup=False)
        console.print(problem.advise(lang), markup=False)
        if problem.private:
            console.print(problem.private, style="dim", markup=False)
        sys.exit(1)


def _listen_to_parent(parent: int | None) -> None:
    """Stop when the process that started us is gone, so that nothing is left running."""
    if parent is None:
        return

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="parent", daemon=True).start()


def _start_log(settings: Settings) -> None:
    logging.basicConfig(
        level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(process)d %(name)s: %(message)s"
    )
    for chatty in ("alembic", "kombu.connection"):  # one line for every look at the registry or the queue
        logging.getLogger(chatty).setLevel(logging.ERROR)


@app.command()
def serve(parent: Parent = None) -> None:
    """Serve the API. / 提供接口服务。"""
    import uvicorn

    from sandbox.api.app import create_app
    from sandbox.api.guards import ApiSettings
    from sandbox.wiring import build

    settings = Settings.read()
    _start_log(settings)
    api = create_app(build(settings), ApiSettings(max_upload=settings.upload_mb * 2**20))
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    with socket.create_server((settings.host, settings.port), family=family, backlog=512) as listening:
        host = f"[{settings.host}]" if family == socket.AF_INET6 else settings.host
        address = Address(url=f"http://{host}:{listening.getsockname()[1]}", pid=os.getpid())
        address.write(settings.home)
        _listen_to_parent(parent)
        logging.getLogger(__name__).info("listening on %s", address.url)
        config = uvicorn.Config(
            api, log_config=None, access_log=False, timeout_graceful_shutdown=5, server_header=False
        )
        uvicorn.Server(config).run(sockets=[listening])


@app.command()
def worker(parent: Parent = None) -> None:
    """Answer questions and take in datasets. / 处理提问与数据入库。"""
    from sandbox import worker as work

    settings = Settings.read()
    _start_log(settings)
    _listen_to_parent(parent)
    sys.exit(work.serve(settings))


@app.command()
def migrate() -> None:
    """Bring the registry to the tables of this release. / 将登记库升级到当前版本。"""
    from sandbox.store.migrate import migrate as bring
    from sandbox.wiring import prepare

    settings = Settings.read()
    prepare(settings)
    revision = bring(settings.database_url)
    print(say("The registry is at revision {revision}.", "登记库版本：{revision}。", revision=revision))  # noqa: T201


@app.command()
def found(
    organisation: Annotated[str, typer.Option(help="Name of the first organisation. / 首个机构名称。")],
    login: Annotated[str, typer.Option(help="Login of the first operator. / 首位运营人员的登录名。")],
    name: Annotated[str, typer.Option(help="Name of the first operator. / 首位运营人员的姓名。")],
    *,
    password_stdin: Annotated[
        bool, typer.Option(help="Read the password from standard input. / 从标准输入读取密码。")
    ] = False,
) -> None:
    """Found a fresh instance: its first organisation and operator. / 初始化：首个机构与首位运营人员。"""
    from sandbox.journeys.people import bootstrap
    from sandbox.wiring import build

    password = _new_password(password_stdin=password_stdin)
    who = bootstrap(build(Settings.read()), organisation=organisation, login=login, name=name, password=password)
    print(say("Founded. The operator is {login}.", "已初始化，运营人员为 {login}。", login=who.login))  # noqa: T201


@app.command()
def enrol(
    operator: Annotated[str, typer.Option(help="Login of the operator who adds them. / 执行添加的运营人员登录名。")],
    organisation: Annotated[str, typer.Option(help="Their organisation; founded if new. / 所属机构，没有则新建。")],
    login: Annotated[str, typer.Option(help="Their login. / 登录名。")],
    name: Annotated[str, typer.Option(help="Their name. / 姓名。")],
    role: Annotated[list[Role], typer.Option(help="A role; may be repeated. / 角色，可重复。")],
    *,
    password_stdin: Annotated[
        bool, typer.Option(help="Read the password from standard input. / 从标准输入读取密码。")
    ] = False,
) -> None:
    """Add somebody with roles, and their organisation. / 添加人员、角色及其机构。"""
    from sandbox.journeys import people
    from sandbox.wiring import build

    password = _new_password(password_stdin=password_stdin)
    added = people.enrol(
        build(Settings.read()),
        operator,
        organisation=organisation,
        login=login,
        name=name,
        roles=role,
        password=password,
    )
    print(say("Added: {login}.", "已添加：{login}。", login=added.login))  # noqa: T201


def _new_password(*, password_stdin: bool) -> str:
    return sys.stdin.readline().rstrip("\n") if password_stdin else getpass.getpass(say("Password: ", "密码："))


@app.command()
def verify(*, as_json: AsJson = False) -> None:
    """Re-check the whole audit log; name the first bad entry. / 重新核验整个审计日志，指出首个异常条目。"""
    from access.audit import LogDamaged
    from sandbox.journeys.proof import recheck_log
    from sandbox.wiring import build

    house = build(Settings.read())
    console = Console(stderr=True)
    with Progress(SpinnerColumn(), TextColumn("{task.completed}"), console=console, transient=True) as shown:
        task = shown.add_task("log", total=None)
        try:
            report = recheck_log(house, progress=lambda size: shown.update(task, completed=size))
        except LogDamaged as damaged:
            if as_json:
                print(json.dumps({"well": False, **{k: damaged.params[k] for k in ("first", "last")}}))  # noqa: T201
            raise
    size, root = report.frontier.size, report.frontier.root.hex()
    if as_json:
        print(json.dumps({"well": True, "entries": size, "heads": report.heads, "root": root}))  # noqa: T201
        return
    words = say(
        "The log is sound: {size} entries, {heads} signed heads, root {root}",
        "日志完好：{size} 条，{heads} 个已签名树头，根 {root}",
        size=size,
        heads=report.heads,
        root=root,
    )
    print(words)  # noqa: T201


@app.command()
def doctor(*, as_json: AsJson = False) -> None:
    """Check this machine and this instance. / 检查本机与本实例。"""
    from sandbox.doctor import examine

    findings = list(examine(Settings.read()))
    lang = language()
    if as_json:
        listed = [{"name": f.name, "well": f.well, "seen": {"en": f.seen.en, "zh": f.seen.zh}} for f in findings]
        print(json.dumps({"well": all(f.well for f in findings), "checks": listed}, ensure_ascii=False))  # noqa: T201
    else:
        table = Table(show_header=False, box=None)
        for f in findings:
            mark = "[green]✓[/]" if f.well else "[bold red]✗[/]"
            table.add_row(
                mark, f.title.say(lang), (f.seen.zh if lang.startswith("zh") else f.seen.en).replace("[", "\\[")
            )
        Console().print(table)
    sys.exit(0 if all(f.well for f in findings) else 1)


@app.command()
def demo(
    *,
    keep: Annotated[
        bool, typer.Option(help="Leave it running, print address and logins. / 保持运行并给出地址与登录名。")
    ] = False,
    lang: Lang = None,
) -> None:
    """Tell the story on a fresh instance under the home folder. / 在全新实例上演示完整流程。"""
    from sandbox.demo.show import keep_running, tell_story

    settings = Settings.read()
    with speaking(lang):
        (keep_running if keep else tell_story)(settings)


@app.command(name="try")
def try_(
    sql: Annotated[str | None, typer.Argument(help="The question. / 问题。")] = None,
    *,
    facts: Annotated[Path, typer.Option(help="The dataset's YAML description. / 数据集描述 YAML。")],
    table: Annotated[list[str], typer.Option(help="name=FILE, once a table. / 每张表一次：表名=文件。")],
    epsilon: Annotated[float, typer.Option(help="Price of the whole answer. / 整个结果的 epsilon。")] = 1.0,
    delta: Annotated[float, typer.Option(help="Price of the whole answer. / 整个结果的 delta。")] = 1e-6,
    repeat: Annotated[int, typer.Option(help="Independent answers to draw. / 独立抽取的结果数。")] = 1,
    batch: Annotated[
        str | None, typer.Option(help="A file of JSON lines, or - for standard input. / JSON 行文件，- 为标准输入。")
    ] = None,
    lang: Lang = None,
) -> None:
    """For the steward's eyes only: what would an analyst get from these files? / 仅供提供方：试算分析者会得到的结果。"""
    from sandbox.journeys.workbench import WARNING, Trial

    with speaking(lang):
        print(WARNING.say(language()), file=sys.stderr)  # noqa: T201
        try:
            if (sql is None) == (batch is None):
                raise UsageWrong(what="SQL / --batch", command="try")
            default = Trial(sql=sql or "", epsilon=epsilon, delta=delta, repeat=repeat)
            with _workbench(facts, table) as bench:
                for line in [None] if batch is None else _lines(batch):
                    _tell(bench.answer(default) if line is None else bench.answer_line(line, default))
        except Problem as problem:
            message = f"{problem.say(language())} {problem.advise(language())}".strip()
            _tell({**NOTHING, "status": "error", "code": problem.code, "message": message})
            sys.exit(1)


NOTHING: dict[str, object] = {
    "columns": [],
    "rows": [],
    "intervals": [],
    "noise": [],
    "spent": {"epsilon": 0, "delta": 0, "rho": 0},
}


def _tell(found: dict[str, object]) -> None:
    print(json.dumps(found, ensure_ascii=False, allow_nan=False), flush=True)  # noqa: T201


def _workbench(facts: Path, tables: list[str]) -> Workbench:
    from compute.engines.duckdb import DuckEngine
    from compute.engines.ingest import DuckIngest
    from sandbox.describe.description import load_description, to_facts
    from sandbox.journeys.workbench import Workbench
    from sandbox.wiring import entropy

    sources: dict[str, Path] = {}
    for given in tables:
        name, separator, path = given.partition("=")
        if not separator or not Path(path).is_file():
            raise UsageWrong(what=f"--table {given}", command="try")
        sources[name] = Path(path)
    if not facts.is_file():
        raise UsageWrong(what=f"--facts {facts}", command="try")
    description = load_description(facts.read_text(encoding="utf-8"), str(facts))
    return Workbench(
        to_facts(description),
        sources,
        ingest=DuckIngest(entropy=entropy),
        engine=DuckEngine(),
        limits=Settings.read().limits,
        progress=lambda _stage, _done, _total: None,
        lang=language(),
    )


def _lines(batch: str) -> Iterator[str]:
    if batch == "-":
        yield from (line for line in sys.stdin if line.strip())
        return
    if not Path(batch).is_file():
        raise UsageWrong(what=f"--batch {batch}", command="try")
    with Path(batch).open(encoding="utf-8") as file:
        yield from (line for line in file if line.strip())


if __name__ == "__main__":
    main()

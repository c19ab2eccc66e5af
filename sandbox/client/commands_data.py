"""Commands about datasets: look at them, and for stewards describe, register, fill and check them.

Owns no rule. `draft` is the one command that does not speak to a server: it reads a steward's own file on the steward's
own machine, where the engine must be installed; nothing leaves.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

from rich.console import Group, RenderableType
from rich.text import Text

from sandbox.client import errors, show
from sandbox.client.hub import Datasets
from sandbox.client.jobs import Job
from sandbox.client.terminal import Terminal, Verbs, argument, option
from sandbox.say import say
from sandbox.wire import JobOut, ReportOut, TableReportOut

datasets = Verbs("datasets")

Name = Annotated[str, argument(en="The dataset's name.", zh="数据集名称。")]


@datasets("list", en="The datasets you may see.", zh="您可见的数据集。")
def datasets_list(at: Terminal) -> None:
    """List datasets."""
    found = at.hub.datasets()
    at.rows(found, Datasets.headers(), Datasets.cells)


@datasets("show", en="A dataset's card: public facts alone.", zh="数据集卡片：仅含公开事实。")
def datasets_show(at: Terminal, name: Name) -> None:
    """Show a card."""
    found = at.hub.dataset(name)
    at.show(found.card, found.__rich__())


@datasets(
    "draft",
    en="Write a description's skeleton from your own CSV or Parquet file; no server is asked.",
    zh="根据本机的 CSV 或 Parquet 文件生成描述骨架；不访问服务器。",
)
def datasets_draft(
    at: Terminal,
    file: Annotated[Path, argument(en="CSV or Parquet.", zh="CSV 或 Parquet 文件。")],
    *,
    dataset: Annotated[str, option("--dataset", "-d", en="The dataset's name.", zh="数据集名称。")] = "my/dataset",
    table: Annotated[
        str | None, option("--table", "-t", en="The table's name (else the file's).", zh="表名（默认取文件名）。")
    ] = None,
    output: Annotated[
        Path | None, option("--output", "-o", en="Write here instead of the screen.", zh="写入该文件而非屏幕。")
    ] = None,
) -> None:
    """Every value that was read from the data is marked and must be confirmed by the steward."""
    if not file.is_file():
        raise errors.NotFound(say("There is no file {file}.", "没有文件 {file}。", file=file))
    text = _on_this_machine(lambda: _drafter()(file, dataset=dataset, table=table))
    if output is None:
        at.raw(text)
    else:
        output.write_text(text, encoding="utf-8")
    at.note(
        say(
            "Confirm or replace every marked value: what stands in a description becomes public.",
            "请逐一确认或替换带标记的值：描述中的内容将会公开。",
        )
    )


def _drafter() -> Callable[..., str]:
    """The local drafter, which needs the engine; it is looked up by name so that the client never depends on it."""
    try:
        found: Callable[..., str] = import_module("compute.engines.draft").draft
    except ImportError as error:
        raise errors.missing(
            error.name or "duckdb",
            purpose=say("Drafting a description", "生成描述草稿"),
            install='pip install "data-open-sandbox[party]"',
        ) from error
    return found


def _on_this_machine(draft: Callable[[], str]) -> str:
    """Run the drafter; its problems are the house's own, told like the server's."""
    try:
        return draft()
    except Exception as error:
        code, tell = getattr(error, "code", None), getattr(error, "say", None)
        if not code or tell is None:
            raise
        lang = say("en", "zh-CN")
        advise: Any = getattr(error, "advise", lambda _: "")
        raise errors.Malformed(tell(lang), hint=advise(lang), code=code) from error


@datasets("register", en="Register a dataset from its description.", zh="依据描述文件登记数据集。")
def datasets_register(at: Terminal, file: Annotated[Path, argument(en="The YAML file.", zh="YAML 文件。")]) -> None:
    """Register a dataset."""
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise errors.Malformed(
            say("The file {file} cannot be read as UTF-8 text.", "无法将文件 {file} 按 UTF-8 文本读取。", file=file)
        ) from error
    card = at.hub.desk.register(text)
    at.show(card, Text(show.clean(say("Registered {name}.", "已登记 {name}。", name=card.name))))


@datasets("upload", en="Send the raw file of one table.", zh="上传一个表的原始文件。")
def datasets_upload(
    at: Terminal,
    name: Name,
    table: Annotated[str, argument(en="The table.", zh="表名。")],
    file: Annotated[Path, argument(en="CSV or Parquet.", zh="CSV 或 Parquet 文件。")],
) -> None:
    """Upload a file."""
    told = at.hub.desk.upload(name, table, file)
    words = say(
        "{bytes:,} bytes received for {table}.",
        "已收到 {table} 的 {bytes:,} 字节。",
        bytes=told.bytes,
        table=told.table,
    )
    at.show(told, Text(show.clean(words)))


@datasets("ingest", en="Make a new version of the files that were sent.", zh="用已上传的文件生成新版本。")
def datasets_ingest(
    at: Terminal,
    name: Name,
    *,
    wait: Annotated[bool, option("--wait/--no-wait", en="Wait until it is ready.", zh="等待完成。")] = True,
) -> None:
    """Start an ingest and follow it."""
    told = at.hub.desk.ingest(name)
    if wait:
        told = follow(at, at.hub.adopt(told)).require_success().told
    at.show(told, Text(show.clean(f"{told.id}  {told.message}")))


def follow(at: Terminal, job: Job, *, timeout: float | None = None) -> Job:
    """Wait for a job; every change is a line (or a moving one on a terminal) on standard error."""
    with at.err.status(show.clean(progress_words(job.told))) as line:

        def watch(told: JobOut) -> None:
            line.update(show.clean(progress_words(told)))

        return job.wait(timeout=timeout, watch=watch)


def progress_words(told: JobOut) -> str:
    """Where a job is, in one line."""
    step = told.progress
    if not step.stage:
        return told.message
    share = f" {step.done / step.total:.0%}" if step.total else ""
    return f"{told.message} {step.stage}{share}"


@datasets("report", en="What the newest ingest found (stewards only).", zh="最近一次入库的报告（仅提供方可见）。")
def datasets_report(at: Terminal, name: Name) -> None:
    """Show the ingest report."""
    report = at.hub.desk.report(name)
    at.show(report, _report(report))


def _report(report: ReportOut) -> RenderableType:
    headers = [
        say("table", "表"),
        say("read", "读取"),
        say("kept", "保留"),
        say("units", "单元"),
        say("without unit", "无单元"),
        say("most rows of a unit", "单个单元最多行数"),
        say("encoding", "编码"),
    ]
    rows = [
        [
            one.table,
            f"{one.rows_read:,}",
            f"{one.rows_kept:,}",
            f"{one.units:,}",
            f"{one.without_unit:,}",
            f"{one.max_rows_of_a_unit:,}",
            one.encoding,
        ]
        for one in report.tables
    ]
    lines = [Text(show.clean(line)) for one in report.tables for line in _findings(one)]
    private = Text(say("Exact figures, for the steward's eyes only.", "以上为精确数字，仅供提供方查看。"), style="bold")
    return Group(show.text_table(headers, rows, [False, *[True] * 5, False]), *lines, private)


def _findings(one: TableReportOut) -> list[str]:
    rejected = [
        say("{table}: {count:,} rows rejected: {reason} (rows {rows} …)", "{table}：拒收 {count:,} 行：{reason}（行 {rows} …）",
            table=one.table, count=bad.count, reason=bad.message or bad.reason, rows=", ".join(map(str, bad.rows[:10])))
        for bad in one.rejected
    ]  # fmt: skip
    clipped = [
        say("{table}.{column}: {count:,} values clipped to the bounds", "{table}.{column}：{count:,} 个值被截到边界",
            table=one.table, column=column, count=count)
        for column, count in one.clipped.items() if count
    ]  # fmt: skip
    return rejected + clipped

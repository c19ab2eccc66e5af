"""Commands about questions: ask one or several together, see the budget, follow jobs, keep and check receipts, read the log.

Owns no rule. An answer is printed with its ± or written in a format that carries the interval beside each value.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import quote

from rich.console import Group
from rich.text import Text

from sandbox.client import errors, show
from sandbox.client.answer import RELEASED, Answer
from sandbox.client.commands_data import follow, progress_words
from sandbox.client.receipt import Receipt
from sandbox.client.terminal import Terminal, Verbs, argument, option
from sandbox.client.transport import Call
from sandbox.say import say
from sandbox.wire import BudgetOut, JobOut, LedgerEntryOut

top = Verbs()
jobs = Verbs("jobs")
receipt = Verbs("receipt")
log = Verbs("log")

Format = Literal["table", "json", "csv", "arrow"]
_ACCEPT = {"json": RELEASED, "csv": "text/csv", "arrow": "application/vnd.apache.arrow.stream"}
_Within = Annotated[
    str | None,
    option(
        "--within",
        "-w",
        en="Find the least price at which every ± is at most 200 (in the column's unit) or 5% (of the value); --epsilon is "
        "then the most that may be paid.",
        zh="求出使每个 ± 不超过 200（按列的单位）或 5%（按数值比例）的最低价格；此时 --epsilon 为价格上限。",
    ),
]
_Of = Annotated[
    float | None,
    option(
        "--of",
        en="The size a share is taken of, as you suppose it; without it cheap pilots are asked first.",
        zh="比例所对应的大小（您的估计）；未给出时会先提少量低价的试探性问题。",
    ),
]
_Column = Annotated[
    list[str] | None,
    option("--column", en="A column that shall be so exact; may be repeated.", zh="需达到该精度的列，可重复。"),
]
_Key = Annotated[
    str | None,
    option(
        "--idempotency-key",
        en="Your own name for this asking: the same command run again is not paid again.",
        zh="为本次提问自定的标识：重复执行同一命令不会再次扣费。",
    ),
]
_Preview = Annotated[
    bool, option("--preview", en="Only price and ±; spends nothing.", zh="仅查看价格与 ±，不消耗预算。")
]
_Delta = Annotated[float | None, option("--delta", en="The delta offered.", zh="出价的 delta。")]
_Project = Annotated[str | None, option("--project", "-p", en="Who asks and pays.", zh="提问并付费的项目。")]
_Timeout = Annotated[
    float | None, option("--timeout", en="Seconds to wait; the work goes on.", zh="等待秒数；作业会继续。", min=0)
]
JobId = Annotated[str, argument(en="The job's id.", zh="作业编号。")]


@top("ask", en="Ask in SQL; the answer comes with its ±.", zh="用 SQL 提问；结果附带 ± 区间。")
def ask(
    at: Terminal,
    dataset: Annotated[str, argument(en="The dataset.", zh="数据集。")],
    sql: Annotated[
        str, argument(en='The question; "-" reads it from standard input.', zh="问题；“-”表示从标准输入读取。")
    ],
    *,
    preview: _Preview = False,
    epsilon: Annotated[
        float | None, option("--epsilon", "-e", en="The price offered for the answer.", zh="为结果出价的 epsilon。")
    ] = None,
    delta: _Delta = None,
    within: _Within = None,
    of: _Of = None,
    column: _Column = None,
    project: _Project = None,
    format: Annotated[  # noqa: A002 - the name of the option
        Format, option("--format", "-f", en="table, json, csv or arrow.", zh="table、json、csv 或 arrow。")
    ] = "table",
    output: Annotated[
        Path | None, option("--output", "-o", en="Write the answer here.", zh="将结果写入该文件。")
    ] = None,
    keep_receipt: Annotated[
        Path | None, option("--receipt", en="Keep the receipt here too.", zh="同时将凭证保存到该文件。")
    ] = None,
    timeout: _Timeout = None,
    idempotency_key: _Key = None,
) -> None:
    """Ask and wait. `-f json -o FILE` writes the very bytes the receipt names."""
    query = at.hub.query(dataset, sys.stdin.read() if sql == "-" else sql, project=project)
    columns = tuple(column or ())
    if preview:
        told = query.preview(epsilon, delta, within=within, of=of, columns=columns)
        at.show(told.told, told.__rich__())
        return
    with at.err.status(say("Asking …", "正在提问……")) as line:

        def watch(job: JobOut) -> None:
            line.update(show.clean(progress_words(job)))

        answer = query.ask(
            epsilon,
            delta,
            within=within,
            of=of,
            columns=columns,
            timeout=timeout,
            idempotency_key=idempotency_key,
            watch=watch,
        )
    deliver(at, answer, format, output)
    if keep_receipt is not None:
        answer.receipt.save(keep_receipt)


@top(
    "batch",
    en="Ask several questions together at one price; each is more exact than alone for its part of it.",
    zh="以一个价格一并提出多个问题；每个都比按份额单独提问更精确。",
)
def batch(
    at: Terminal,
    dataset: Annotated[str, argument(en="The dataset.", zh="数据集。")],
    sql: Annotated[
        list[str],
        argument(
            en='The questions; "@FILE" reads one from a file, "-" one from standard input.',
            zh="各个问题；“@文件”表示从文件读取，“-”表示从标准输入读取。",
        ),
    ],
    *,
    preview: _Preview = False,
    epsilon: Annotated[
        float | None,
        option(
            "--epsilon", "-e", en="The price offered for all of them together.", zh="为全部结果合计出价的 epsilon。"
        ),
    ] = None,
    delta: _Delta = None,
    project: _Project = None,
    timeout: _Timeout = None,
    idempotency_key: _Key = None,
) -> None:
    """Ask and wait; all are asked or none."""
    asked = at.hub.batch(dataset, [_question(word) for word in sql], project=project)
    if preview:
        told = asked.preview(epsilon, delta)
        at.show(told.told, told.__rich__())
        return
    with at.err.status(say("Asking …", "正在提问……")) as line:

        def watch(job: JobOut) -> None:
            line.update(show.clean(progress_words(job)))

        answers = asked.ask(epsilon, delta, timeout=timeout, idempotency_key=idempotency_key, watch=watch)
    if at.json:
        at.rows([answer.told for answer in answers], [], lambda _: [])
    else:
        at.out.print(answers)


def _question(word: str) -> str:
    """A question as it was typed, or from where it says."""
    if word == "-":
        return sys.stdin.read()
    if not word.startswith("@"):
        return word
    try:
        return Path(word[1:]).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise errors.Malformed(
            say("The file {file} cannot be read.", "无法读取文件 {file}。", file=word[1:]),
            hint=say("“@” is followed by the path of a text file (UTF-8).", "“@”之后应为 UTF-8 文本文件的路径。"),
        ) from error


def deliver(at: Terminal, answer: Answer, form: Format, output: Path | None) -> None:
    """Print an answer, or write it in the format asked for."""
    if form == "table" and output is None:
        at.show(answer.told, answer.__rich__())
        return
    accept = _ACCEPT[_form_of(form, output)]
    path = f"/v1/queries/{quote(answer.job, safe='')}/answer"
    content = at.hub.wire.send(Call(verb="GET", path=path, headers={"Accept": accept}, idempotent=True)).content
    if output is not None:
        output.write_bytes(content)
        at.note(say("Written: {output}", "已写入：{output}", output=output))
    elif form == "arrow":
        at.binary(content)
    else:
        at.raw(content.decode())


def _form_of(form: Format, output: Path | None) -> str:
    """What is written into a file when no format was named: what the file's name says, else CSV."""
    if form != "table":
        return form
    return {".json": "json", ".arrow": "arrow", ".arrows": "arrow"}.get("" if output is None else output.suffix, "csv")


@top("budget", en="What you may still spend.", zh="剩余可用的隐私预算。")
def budget(
    at: Terminal,
    dataset: Annotated[str | None, argument(en="Only this dataset.", zh="仅该数据集。")] = None,
    *,
    project: Annotated[str | None, option("--project", "-p", en="Only this project.", zh="仅该项目。")] = None,
    lines: Annotated[bool, option("--lines", en="Every line of the accounts too.", zh="同时列出账目明细。")] = False,
) -> None:
    """Show the accounts as gauges."""
    found = list(at.hub.budget(dataset, project))
    if lines:
        entries = [one for account in found for one in at.hub.desk.account_entries(account.id)]
        at.rows(entries, _line_headers(), _line)
    elif at.json or not found:
        at.rows(found, [], lambda _: [])
    else:
        at.out.print(Group(*[_gauge(account) for account in found]))


def _gauge(account: BudgetOut) -> Text:
    lines = [Text(show.clean(show.gauge_label(account)), style="bold"), show.gauge(account)]
    beside = show.spent_words(account)
    return Text("\n").join([*lines, *([Text(beside, style="dim")] if beside else [])])


def _line_headers() -> list[str]:
    return [
        say("at", "时间"),
        say("what", "事项"),
        "rho (1e-9)",
        "delta (1e-15)",
        say("spent rho", "累计 rho"),
        say("job", "作业"),
    ]


def _line(one: LedgerEntryOut) -> list[str]:
    kinds = {
        "opened": say("opened", "开户"),
        "limit_set": say("limit set", "设定限额"),
        "reserved": say("reserved", "预留"),
        "settled": say("spent", "结算"),
        "voided": say("given back", "退回"),
    }
    loss = one.loss
    return [f"{one.at:%Y-%m-%d %H:%M:%S}", kinds[one.kind], f"{loss.rho_units:,}", f"{loss.delta_units:,}",
            f"{one.spent.rho_units:,}", one.job or ""]  # fmt: skip


def _job(one: JobOut) -> list[str]:
    return [one.id, one.kind, one.dataset or "", progress_words(one), f"{one.created_at:%Y-%m-%d %H:%M:%S}"]


def _job_headers() -> list[str]:
    return [
        say("id", "编号"),
        say("kind", "种类"),
        say("dataset", "数据集"),
        say("state", "状态"),
        say("asked at", "提出时间"),
    ]


@jobs("list", en="Your jobs, newest first.", zh="您的作业，最新在前。")
def jobs_list(
    at: Terminal,
    *,
    limit: Annotated[int, option("--limit", "-n", en="How many (20).", zh="数量（默认 20）。", min=1)] = 20,
) -> None:
    """List jobs."""
    at.rows([job.told for job in at.hub.jobs(limit=limit)], _job_headers(), _job)


@jobs("show", en="One job.", zh="查看一个作业。")
def jobs_show(at: Terminal, job: JobId) -> None:
    """Show a job."""
    found = at.hub.job(job).told
    at.show(found, show.text_table(_job_headers(), [_job(found)], [False] * 5))


@jobs("watch", en="Follow a job to its end, and show its answer.", zh="跟踪作业直至结束，并显示结果。")
def jobs_watch(
    at: Terminal,
    job: JobId,
    *,
    timeout: _Timeout = None,
) -> None:
    """Watch a job."""
    found = follow(at, at.hub.job(job), timeout=timeout).require_success()
    if found.told.kind == "ask":
        deliver(at, found.answer(), "table", None)
    else:
        at.show(found.told, Text(show.clean(found.message)))


@jobs("cancel", en="Stop a job of yours.", zh="取消自己的作业。")
def jobs_cancel(at: Terminal, job: JobId) -> None:
    """Cancel a job."""
    found = at.hub.job(job).cancel().told
    at.show(found, Text(show.clean(found.message)))


@receipt("get", en="Keep the receipt of an answer.", zh="保存某个结果的凭证。")
def receipt_get(
    at: Terminal,
    receipt_id: Annotated[str, argument(en="The receipt's id.", zh="凭证编号。")],
    *,
    output: Annotated[Path | None, option("--output", "-o", en="Write it here.", zh="写入该文件。")] = None,
) -> None:
    """Fetch a receipt, byte for byte."""
    found = at.hub.receipt(receipt_id)
    if output is None:
        at.raw(found.content.decode())
    else:
        found.save(output)
        at.note(say("Written: {output}", "已写入：{output}", output=output))


@receipt("verify", en="Prove a receipt offline; no server is asked.", zh="离线核验凭证；不访问服务器。")
def receipt_verify(
    at: Terminal,
    file: Annotated[Path, argument(en="The receipt.", zh="凭证文件。")],
    *,
    key: Annotated[
        Path | None,
        option(
            "--key",
            en="The published public key (PEM); else the pinned one.",
            zh="公布的公钥（PEM）；默认用已固定的密钥。",
        ),
    ] = None,
    answer: Annotated[
        Path | None, option("--answer", en="The released answer it belongs to.", zh="其所属的已发布结果。")
    ] = None,
) -> None:
    """Prove it, or say which step failed."""
    proven = Receipt.load(file, answer=answer, trusted_key=at.pinned_key()).prove(key)
    if at.json:
        at.raw(
            show.json_text({"proven": True, "index": proven.index, "head": proven.head, "statement": proven.statement})
        )
        return
    at.out.print(Text(say("PROVEN.", "凭证成立。"), style="bold green"))
    at.out.print(Text(show.clean(say("entry {index} of a log of {size}", "日志共 {size} 条，此为第 {index} 条",
                                     index=proven.index, size=proven.head["size"]))))  # fmt: skip
    for name, value in sorted(proven.statement["predicate"].items()):
        at.out.print(Text(show.clean(f"  {name}: {value}")), soft_wrap=True)
    if answer is None:
        at.note(say("No answer file was given: that step was not checked.", "未给出结果文件，该步骤未核验。"))


@log("head", en="The newest signed tree head.", zh="最新的已签名树头。")
def log_head(at: Terminal) -> None:
    """Show the head."""
    head = at.hub.desk.log_head()
    words = say("{size} entries at {at}", "截至 {at} 共 {size} 条", size=f"{head.size:,}", at=head.timestamp)
    at.show(head, Text(f"{words}\nroot {head.root}\nkey  {head.key_id}"))


@log("entries", en="Entries of the audit log (auditors and operators).", zh="审计日志条目（审计员与运营方）。")
def log_entries(
    at: Terminal,
    *,
    limit: Annotated[int, option("--limit", "-n", en="How many (50).", zh="数量（默认 50）。", min=1)] = 50,
) -> None:
    """List entries."""
    headers = ["#", say("at", "时间"), say("kind", "种类"), say("actor", "操作者"), say("subject", "对象")]
    at.rows(
        at.hub.desk.log_entries(limit=limit),
        headers,
        lambda one: [str(one.index), one.at, one.kind, one.actor, one.subject],
    )


@log(
    "key",
    en="The public key the server signs with; compare before you trust it.",
    zh="服务器的签名公钥；信任前请先核对。",
)
def log_key(
    at: Terminal,
    *,
    output: Annotated[Path | None, option("--output", "-o", en="Write the PEM here.", zh="将 PEM 写入该文件。")] = None,
) -> None:
    """Show the key."""
    key = at.hub.desk.log_key()
    if output is not None:
        output.write_text(key.pem, encoding="ascii")
        at.note(say("Written: {output}", "已写入：{output}", output=output))
    else:
        at.show(key, Text(f"{key.key_id}\n{key.pem.strip()}"))

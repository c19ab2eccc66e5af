"""The story that `make demo` tells, in seven short chapters, on a real instance and over HTTP only.

Owns the order, the words and the five questions. Nothing in it is staged: every figure on the screen comes back from the
instance through the public client, and a step that does not go as told raises. It stops nothing and starts nothing; the
instance belongs to whoever calls `tell`.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.panel import Panel
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from sandbox import verify_receipt
from sandbox.client import errors, show
from sandbox.client.answer import Answer
from sandbox.client.commands_access import request_states
from sandbox.client.hub import Client
from sandbox.client.query import Query
from sandbox.demo import stage as scene
from sandbox.demo.city import DEMO_SIZE, Size
from sandbox.demo.people import STEWARDS
from sandbox.demo.source import DATASETS, Source
from sandbox.demo.stage import RESEARCHER, REVIEWERS, Stage
from sandbox.say import language, say
from sandbox.wire import JobOut

VISITS, FIRMS, RAND, WAGES = DATASETS


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """One of the five questions: to which dataset, at which price, and why it is asked."""

    dataset: str
    epsilon: float
    sql: str
    en: str
    zh: str


QUESTIONS = (
    Question(
        dataset=VISITS,
        epsilon=0.5,
        sql="SELECT COUNT(DISTINCT person_id) AS people, COUNT(*) AS visits, AVG(amount) AS fee FROM visits",
        en="How much care is there in all? No GROUP BY: always exactly one row.",
        zh="总体就诊情况如何？没有 GROUP BY 时总是恰好一行。",
    ),
    Question(
        dataset=VISITS,
        epsilon=1.0,
        sql=(
            "SELECT c.region, v.sex, COUNT(*) AS visits, AVG(v.amount) AS fee "
            "FROM visits v JOIN cities c ON v.city = c.city WHERE v.age >= 60 GROUP BY c.region, v.sex"
        ),
        en="Joined with a public table, grouped by public keys: every key appears, empty ones too.",
        zh="与公开辅表连接，按公开键分组：每个键都会出现，空键也不例外。",
    ),
    Question(
        dataset=VISITS,
        epsilon=1.0,
        sql=(
            "SELECT diagnosis, COUNT(DISTINCT person_id) AS people FROM visits "
            "GROUP BY diagnosis ORDER BY people DESC LIMIT 6"
        ),
        en="Private keys: a diagnosis appears only when enough people have it, and finding that out costs delta.",
        zh="私有键：诊断编码只有在足够多的人持有时才出现，键的筛选消耗 delta。",
    ),
    Question(
        dataset=FIRMS,
        epsilon=1.0,
        sql=(
            "SELECT c.产业, COUNT(DISTINCT f.企业编号) AS 企业数, AVG(f.从业人数) AS 平均人数 "
            "FROM 月度用工 f JOIN 行业分类 c ON f.行业 = c.行业 GROUP BY c.产业"
        ),
        en="Chinese names all the way; here an enterprise is what is protected.",
        zh="表名列名均为中文；此处受保护的单元是企业。",
    ),
    Question(
        dataset=RAND,
        epsilon=2.0,
        sql="SELECT coinsurance, AVG(visits) AS visits_a_year FROM person_years GROUP BY coinsurance",
        en="Real data: do people see doctors less when they pay more of the bill?",
        zh="真实数据：自付比例越高，就诊越少吗？",
    ),
)


def tell(stage: Stage, folder: Path, console: Console, *, size: Size = DEMO_SIZE) -> None:
    """Tell the whole story on a fresh instance. `folder` holds the raw files and what the proof chapter writes."""
    story = Story(stage, folder, console)
    started = time.monotonic()
    story.publish(size)
    with stage.enter(RESEARCHER) as hub:
        story.grant(hub)
        story.preview(hub)
        answers = story.ask(hub)
        story.repeat(hub)
        story.refuse(hub)
        story.prove(answers[1])
    story.end(time.monotonic() - started)


class Story:
    """The narrator: the stage, a folder and a console."""

    def __init__(self, stage: Stage, folder: Path, console: Console) -> None:
        self.stage = stage
        self.folder = folder
        self.console = console

    def chapter(self, number: int, en: str, zh: str) -> None:
        """Begin a chapter."""
        self.console.print()
        self.console.rule(Text(f"{number} · {say(en, zh)}", style="bold"), align="left", style="blue")

    def line(self, en: str, zh: str, **params: object) -> None:
        """One sentence of narration."""
        self.console.print(Text(say(en, zh, **params)))

    # 1

    def publish(self, size: Size) -> None:
        """Stewards publish four datasets."""
        self.chapter(1, "Stewards publish datasets", "数据提供方登记数据集")
        with self._progress() as progress:
            task = progress.add_task(say("writing the raw files", "生成原始文件"), total=None)
            sources = scene.write_files(self.folder, size)
            progress.remove_task(task)
            bars = {d: progress.add_task(d, total=None) for d in DATASETS}
            scene.publish(self.stage, sources, lambda dataset, job: _advance(progress, bars[dataset], job))
            for bar in bars.values():
                progress.update(bar, total=1, completed=1)
        self._report(sources)
        with self.stage.enter(RESEARCHER) as hub:
            self.line("What everybody else sees of them are cards, built from public facts alone:",
                      "其他人只能看到由公开事实构成的卡片：")  # fmt: skip
            self.console.print(hub.datasets())

    @contextmanager
    def _progress(self) -> Iterator[Progress]:
        columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
        with Progress(*columns, console=self.console, transient=True) as progress:
            yield progress

    def _report(self, sources: tuple[Source, ...]) -> None:
        sent = sum(source.path.stat().st_size for source in sources)
        self.line("{files} files, {size:.0f} MB, sent and ingested. The steward of {dataset}, and nobody else, reads:",
                  "共上传并入库 {files} 个文件（{size:.0f} MB）。以下报告仅 {dataset} 的提供方可见：",
                  files=len(sources), size=sent / 1e6, dataset=VISITS)  # fmt: skip
        table = Table(box=None, pad_edge=False)
        for title in (say("table", "表"), say("encoding", "编码")):
            table.add_column(title)
        for title in (say("rows", "行数"), say("kept", "保留"), say("without unit", "无单元"), say("clipped", "截断"),
                      say("most rows of a unit", "单元最多行数")):  # fmt: skip
            table.add_column(title, justify="right")
        with self.stage.enter(STEWARDS[VISITS]) as hub:
            for one in hub.desk.report(VISITS).tables:
                figures = (
                    one.rows_read,
                    one.rows_kept,
                    one.without_unit,
                    sum(one.clipped.values()),
                    one.max_rows_of_a_unit,
                )
                table.add_row(one.table, one.encoding, *(f"{figure:,}" for figure in figures))
        self.console.print(table)

    # 2

    def grant(self, hub: Client) -> None:
        """A project asks for access; reviewers outside it decide."""
        self.chapter(2, "A project asks, reviewers decide", "项目申请，审核员决定")
        scene.open_project(hub)
        decision = hub.desk.explain("ask", dataset=VISITS, project=scene.PROJECT)
        self.line("May {who} ask {dataset} yet?  {reasons}", "{who} 现在能向 {dataset} 提问吗？{reasons}",
                  who=RESEARCHER, dataset=VISITS, reasons=" ".join(r.message for r in decision.reasons))  # fmt: skip
        for dataset in DATASETS:
            asked = scene.request(hub, dataset)
            self._said(asked.dataset, asked.state, asked.reviews_needed)
            for reviewer in REVIEWERS[: asked.reviews_needed]:
                after = scene.vote(self.stage, reviewer, asked.id)
                seen = len(hub.desk.request(asked.id).reviews)
                self.line("    {reviewer} votes; the project now sees {seen} votes; the request is {state}",
                          "    {reviewer} 已表决；项目此时可见 {seen} 票；申请状态：{state}",
                          reviewer=reviewer, seen=seen, state=request_states()[after.state])  # fmt: skip
        require(hub.desk.explain("ask", dataset=VISITS, project=scene.PROJECT).allowed, "the grant holds")
        self.line("Votes stay hidden until all that are needed are in. Nobody judges their own project.",
                  "所需票数到齐之前，表决内容互不可见；任何人都不得审核本项目。")  # fmt: skip

    def _said(self, dataset: str, state: str, needed: int) -> None:
        self.line("  {dataset}: {needed} reviews needed, {state}", "  {dataset}：需 {needed} 名审核员，{state}",
                  dataset=dataset, needed=needed, state=request_states()[state])  # fmt: skip

    # 3

    def preview(self, hub: Client) -> None:
        """The price and the accuracy, before anything is touched or spent."""
        self.chapter(
            3, "A preview: price and ±, nothing touched, nothing spent", "预览：价格与误差，不触碰数据，不花预算"
        )
        question = QUESTIONS[1]
        self._sql(question)
        before = hub.budget(VISITS).share_left
        preview = hub.dataset(VISITS).sql(question.sql).preview(epsilon=question.epsilon)
        self.console.print(preview)
        require(hub.budget(VISITS).share_left == before, "a preview spends nothing")

    # 4

    def ask(self, hub: Client) -> list[Answer]:
        """Five questions, each with intervals, each paid."""
        self.chapter(4, "Five answers, each with its ± and its price", "五个回答，各有误差与价格")
        answers = []
        for question in QUESTIONS:
            self._sql(question)
            answer = hub.dataset(question.dataset).sql(question.sql).ask(epsilon=question.epsilon)
            require(answer.charged.rho_units > 0 and not answer.repeated, "a new question is paid")
            self.console.print(answer)
            self.console.print()
            answers.append(answer)
        return answers

    def _sql(self, question: Question) -> None:
        self.line(question.en, question.zh)
        self.console.print(Text(f"  {question.sql}", style="cyan"))

    # 5

    def repeat(self, hub: Client) -> None:
        """The same question again."""
        self.chapter(5, "The same question again costs nothing", "重复提问不再收费")
        question = QUESTIONS[0]
        shouted = question.sql.replace("SELECT", "select").replace("FROM", "\n  from")
        again = hub.dataset(question.dataset).sql(shouted).ask(epsilon=question.epsilon)
        require(again.repeated and again.charged.rho_units == 0, "a repeat is free")
        self.line("Spelled differently, it is still the same question: the stored answer comes back, and averaging many "
                  "noisy copies is no attack.",
                  "写法不同仍是同一个问题：返回存档结果，因此无法靠反复提问取平均来消除噪声。")  # fmt: skip
        self.console.print(again.table())
        self.line(
            "charged: epsilon {charged}", "本次扣费：epsilon {charged}", charged=show.epsilon(again.charged.epsilon)
        )

    # 6

    def refuse(self, hub: Client) -> None:
        """Two refusals that teach."""
        self.chapter(6, "Refusals that teach", "会教人的拒绝")
        visits = hub.dataset(VISITS)
        self._refused(visits.sql("SELECT person_id, amount FROM visits"), epsilon=0.5)
        left = self._refused(
            visits.sql("SELECT department, AVG(amount) AS fee FROM visits GROUP BY department"), epsilon=3.9
        )
        require(isinstance(left, errors.BudgetExhausted), "the budget is the reason")
        assert isinstance(left, errors.BudgetExhausted)
        table = Table(box=None, pad_edge=False, show_header=False)
        for en, zh, value in (
            ("requested", "申请", show.epsilon(left.requested)),
            ("remaining", "剩余", show.epsilon(left.remaining)),
            ("missing", "缺口", show.epsilon(left.missing)),
            ("whom to ask", "联系", left.contact),
        ):
            table.add_row(say(en, zh), value)
        self.console.print(table)

    def _refused(self, query: Query, *, epsilon: float) -> errors.SandboxError:
        self.console.print(Text(f"  {query.sql}", style="cyan"))
        try:
            query.ask(epsilon=epsilon)
        except errors.Refused as refused:
            self.console.print(Panel(Text(str(refused)), border_style="red", expand=False))
            return refused
        raise StoryBroken("a question that had to be refused was answered")

    # 7

    def prove(self, answer: Answer) -> None:
        """A stranger checks the receipt offline; a tampered copy fails."""
        self.chapter(7, "Proof: a receipt that a stranger checks offline", "证明：陌生人可离线核验的凭证")
        place = self.folder / "stranger"
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        shutil.copy(verify_receipt.__file__, place / "verify_receipt.py")
        answer.receipt.save(place / "receipt.json", answer=place / "answer.json")
        with self.stage.enter("song") as auditor:
            (place / "house.pem").write_text(auditor.desk.log_key().pem, encoding="utf-8")
        self.line("A folder with only the stand-alone verifier, the receipt, the released answer and the published key:",
                  "一个文件夹，仅有独立核验程序、凭证、已发布的结果和公布的公钥：")  # fmt: skip
        require(self._verify(place) == 0, "an honest receipt verifies")
        (place / "tampered-answer.json").write_bytes(_flipped((place / "answer.json").read_bytes()))
        (place / "tampered-receipt.json").write_bytes(_flipped((place / "receipt.json").read_bytes()))
        self.line("One digit changed in a copy of the answer, then one in a copy of the receipt:",
                  "先在结果副本中改动一位数字，再在凭证副本中改动一位：")  # fmt: skip
        require(self._verify(place, answer="tampered-answer.json") == 1, "a tampered answer is rejected")
        require(self._verify(place, receipt="tampered-receipt.json") == 1, "a tampered receipt is rejected")

    def _verify(self, place: Path, *, receipt: str = "receipt.json", answer: str = "answer.json") -> int:
        command = ["verify_receipt.py", receipt, "--key", "house.pem", "--answer", answer, "--lang", language()]
        self.console.print(Text(f"  $ python {' '.join(command)}", style="cyan"))
        done = subprocess.run([sys.executable, "-I", *command], cwd=place, capture_output=True, text=True, check=False)  # noqa: S603
        said = (done.stdout + done.stderr).strip().splitlines()
        # Details of the statement are indented; of a rejection the last line says all.
        lines = [line for line in said if not line.startswith(" ")] if done.returncode == 0 else said[-1:]
        style = "green" if done.returncode == 0 else "red"
        self.console.print(Panel(Text("\n".join(lines)), border_style=style, expand=False))
        return done.returncode

    def end(self, seconds: float) -> None:
        """The last lines."""
        self.console.print()
        self.line("{seconds:.0f} seconds. Next: `make up` runs an instance like this one for you; notebooks/ has a first "
                  "notebook; docs/threat-model.md says what is promised and what is not.",
                  "用时 {seconds:.0f} 秒。接下来：`make up` 为您运行一个同样的实例；notebooks/ 中有第一个笔记本；"
                  "docs/threat-model.zh-CN.md 说明承诺了什么、没有承诺什么。", seconds=seconds)  # fmt: skip


class StoryBroken(AssertionError):
    """The instance did not do what the story tells."""


def require(held: bool, what: str) -> None:  # noqa: FBT001 - reads as a sentence
    """Go on, or `StoryBroken` with the promise that was not kept."""
    if not held:
        raise StoryBroken(what)


def _flipped(content: bytes) -> bytes:
    """The bytes with one digit changed, about in the middle: as small as a lie can be."""
    digits = [n for n, byte in enumerate(content) if 48 <= byte <= 57]
    at = min(digits, key=lambda n: abs(n - len(content) // 2))
    other = b"7" if content[at : at + 1] != b"7" else b"3"
    return content[:at] + other + content[at + 1 :]


def _advance(progress: Progress, bar: TaskID, job: JobOut) -> None:
    done = job.progress
    progress.update(bar, description=f"{job.dataset}  {done.stage}", total=done.total or None, completed=done.done)

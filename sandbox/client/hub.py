"""The door: `connect` and the `Client` it returns.

Owns who is asking (address, token, project, pinned key) and hands out datasets, jobs and receipts. It keeps no copy of
anything the server knows. The verbs of stewards and reviewers are at `hub.desk`.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType

import httpx
from rich.console import RenderableType

from sandbox.client import errors, show
from sandbox.client.answer import Answer, read_receipt
from sandbox.client.batch import Batch
from sandbox.client.budget import Budget
from sandbox.client.config import Settings, settle
from sandbox.client.desk import Desk
from sandbox.client.jobs import Job
from sandbox.client.query import OPENNESS, Dataset, Query, both, path_of
from sandbox.client.receipt import Receipt
from sandbox.client.transport import Wire
from sandbox.say import say
from sandbox.wire import BudgetOut, Card, DatasetOut, JobOut, MeOut, ProjectOut


class Datasets(list[DatasetOut]):
    """The datasets you may see; a list that draws itself."""

    @staticmethod
    def cells(one: DatasetOut) -> list[str]:
        """One line of the list."""
        return [one.name, both(one.title), one.grade, OPENNESS[one.openness](), (one.version or "—")[:12]]

    @staticmethod
    def headers() -> list[str]:
        """Its columns."""
        return [
            say("name", "名称"),
            say("title", "标题"),
            say("grade", "分级"),
            say("openness", "开放属性"),
            say("version", "版本"),
        ]

    def __rich__(self) -> RenderableType:
        return show.text_table(self.headers(), [self.cells(one) for one in self], [False] * 5)

    def __repr__(self) -> str:
        return show.plain(show.text_table(self.headers(), [self.cells(one) for one in self], [False] * 5), width=160)

    def _repr_html_(self) -> str:
        return show.card(
            show.tag("h3", say("Datasets", "数据集")),
            show.html_table(self.headers(), [self.cells(one) for one in self], [False] * 5),
        )


class Client:
    """One server, asked by one person. Made by `connect`; close it, or use it in a `with` block."""

    def __init__(self, wire: Wire, settings: Settings) -> None:
        self.wire = wire
        self.settings = settings
        self.desk = Desk(wire)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Client of {self.wire.url}, project {self.project or '—'}>"

    def close(self) -> None:
        """Give the connections back."""
        self.wire.close()

    @property
    def project(self) -> str:
        """The project that asks and pays; empty when none is chosen."""
        return self.settings.project

    def project_or_only(self, name: str | None = None) -> str:
        """The named project, else the chosen one, else your only one."""
        chosen = name or self.project
        if chosen:
            return chosen
        mine = self.me().projects
        if len(mine) == 1:
            return mine[0]
        raise errors.SandboxError(
            say("Say in which project you ask.", "请指明在哪个项目中提问。"),
            hint=say(
                "sb.connect(project=…), --project or SANDBOX_PROJECT. Yours: {mine}.",
                "可用 sb.connect(project=…)、--project 或 SANDBOX_PROJECT。您的项目：{mine}。",
                mine=", ".join(mine) or "—",
            ),
        )

    def me(self) -> MeOut:
        """Who is asking, as the server sees it."""
        return self.desk.me()

    def projects(self) -> list[ProjectOut]:
        """The projects you may see."""
        return list(self.desk.projects())

    def datasets(self) -> Datasets:
        """The datasets you may see."""
        return Datasets(self.desk.datasets())

    def dataset(self, name: str) -> Dataset:
        """One dataset by name. Raises `NotFound` when it does not exist or is hidden from you."""
        return Dataset(self, self.wire.get(Card, path_of(name)))

    def query(self, dataset: str, sql: str, *, project: str | None = None) -> Query:
        """A question to a dataset by name, without fetching its card first; nothing is sent yet."""
        return Query(self, dataset, sql, project=project)

    def batch(self, dataset: str, questions: Sequence[str], *, project: str | None = None) -> Batch:
        """Questions to a dataset that are asked together at one price; nothing is sent yet."""
        return Batch(self, dataset, questions, project=project)

    def budget(self, dataset: str | None = None, project: str | None = None) -> Budget:
        """The accounts you may see, of one dataset and one project if named."""
        return Budget(tuple(self.desk.accounts(dataset=dataset, project=project or self.project or None)))

    def jobs(self, *, limit: int | None = None) -> list[Job]:
        """Your jobs, newest first."""
        return [self.adopt(told) for told in self.wire.pages(JobOut, "/v1/jobs", limit=limit)]

    def job(self, job_id: str) -> Job:
        """One job by id."""
        return self.adopt(self.wire.get(JobOut, f"/v1/jobs/{job_id}"))

    def receipt(self, receipt_id: str) -> Receipt:
        """One receipt by id, byte for byte."""
        return read_receipt(self.wire, receipt_id, trusted_key=self.settings.log_key)

    def adopt(self, told: JobOut) -> Job:
        """A handle on a job the server named."""
        return Job(self.wire, told, finish=self.keep)

    def keep(self, answer: Answer) -> Answer:
        """The answer with the budgets as they stand now and the pinned key. A gauge that cannot be read is left out."""
        told = answer.told
        try:
            accounts: tuple[BudgetOut, ...] = tuple(self.desk.accounts(dataset=told.dataset, project=told.project))
        except errors.SandboxError:
            accounts = ()
        return answer.dressed(accounts=accounts, trusted_key=self.settings.log_key)


def connect(
    url: str | None = None,
    token: str | None = None,
    project: str | None = None,
    *,
    transport: httpx.BaseTransport | None = None,
    timeout: float = 30.0,
) -> Client:
    """A client of the server at `url`.

    What is not given comes from SANDBOX_URL, SANDBOX_TOKEN and SANDBOX_PROJECT, then from the file that `sandbox login`
    wrote. `transport` is the seam for tests and special networks; `timeout` is in seconds, for one request.
    """
    settings = settle(url=url, token=token, project=project)
    return Client(Wire(settings.url, settings.token, transport=transport, timeout=timeout), settings)

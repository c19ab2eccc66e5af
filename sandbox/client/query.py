"""A dataset to ask, a question that has not been asked yet, and what it would cost.

Owns `Dataset` (its card: public facts alone), `Query` (lazy: nothing is sent before `preview` or `ask`) and `Preview`. A
question is SQL text; nothing executable travels. Every `ask` carries one Idempotency-Key over all its tries.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import quote

from pydantic import BaseModel, ValidationError
from rich.console import Group, RenderableType
from rich.text import Text

from sandbox.client import errors, show
from sandbox.client.answer import Answer
from sandbox.client.budget import Budget
from sandbox.client.jobs import Job, Watch
from sandbox.client.transport import Call, Wire
from sandbox.client.wish import PILOT_HELPS, Within, read_wish
from sandbox.say import language, say
from sandbox.wire import (
    Bilingual,
    Card,
    ColumnOut,
    ColumnPreview,
    PreviewOut,
    QueryOut,
    QuestionIn,
    ShareIn,
    TableOut,
    WithinIn,
)

if TYPE_CHECKING:
    from sandbox.client.batch import Batch
    from sandbox.client.hub import Client

ToldT = TypeVar("ToldT", bound=BaseModel)

#: How long the server may keep the request open before it answers with a job instead.
PREFER_WAIT = 20


class Preview:
    """What a question would cost and how exact it would be. No data was touched, nothing was spent."""

    def __init__(self, told: PreviewOut) -> None:
        self.told = told

    @property
    def affordable(self) -> bool:
        """True when the budget has room for it."""
        return self.told.affordable

    @property
    def more_like_it(self) -> int:
        """How many questions like this one fit in what is left."""
        return self.told.more_like_it

    def _words(self) -> list[str]:
        told = self.told
        lines = [self._price(), self._fit()]
        if told.cells is not None:
            lines.append(say("{cells} cells, every key of the domain appears", "共 {cells} 格，值域内的每个键都会出现",
                             cells=f"{told.cells:,}"))  # fmt: skip
        return [*lines, *([told.key_selection] if told.key_selection else []), *told.notes]

    def _price(self) -> str:
        if self.told.repeated:
            return say("already answered: asking it again costs nothing", "已有存档结果：再次提问不消耗预算")
        return say("would cost epsilon {epsilon} at delta {delta:.1e}; nothing is spent by looking",
                   "将消耗 epsilon {epsilon}（delta {delta:.1e}）；预览不消耗预算",
                   epsilon=show.epsilon(self.told.cost.epsilon), delta=self.told.cost.delta)  # fmt: skip

    def _fit(self) -> str:
        told = self.told
        left = show.epsilon(told.remaining.epsilon)
        if told.repeated or told.affordable:
            return say("with the epsilon {left} that is left you could ask {count} like it",
                       "剩余 epsilon {left}，还可提 {count} 个类似问题", left=left, count=f"{told.more_like_it:,}")  # fmt: skip
        return say("more than the epsilon {left} that is left", "超出剩余的 epsilon {left}", left=left)

    def rows(self) -> list[list[str]]:
        """One line for each column of the answer."""
        return [
            [
                column.name,
                say("key", "键") if column.role == "key" else say("value", "值"),
                _plus_minus(column) if column.role == "value" else "",
                f"{column.noise.kind} σ={column.noise.scale:.4g}" if column.noise else "",
            ]
            for column in self.told.columns
        ]

    @staticmethod
    def headers() -> list[str]:
        """What stands in a line."""
        return [say("column", "列"), say("role", "角色"), say("± at 95 %", "±（95%）"), say("noise", "噪声")]

    def table(self) -> RenderableType:
        """The columns with their ± as a table for a terminal (a `rich` renderable)."""
        return show.text_table(self.headers(), self.rows(), [False, False, True, False])

    def __rich__(self) -> RenderableType:
        return Group(self.table(), *[Text(show.clean(line), style="dim") for line in self._words()])

    def __repr__(self) -> str:
        return show.plain(self.table(), *[Text(show.clean(line)) for line in self._words()], width=160)

    def _repr_html_(self) -> str:
        return show.card(
            show.tag("h3", say("Preview", "预览")),
            show.paragraph(self.told.question, dim=True),
            show.html_table(self.headers(), self.rows(), [False, False, True, False]),
            *[show.paragraph(line) for line in self._words()],
        )


def _plus_minus(column: ColumnPreview) -> str:
    half = column.plus_minus
    if half is None:
        return say("depends on the values", "取决于数值")
    shown = f"± {show.number(half, show.places_for(half))}" if half > 0 else "± 0"
    if column.rows is None:
        return shown
    return say("{shown} in a group of {rows:,} rows", "{shown}（每组 {rows:,} 行时）", shown=shown, rows=column.rows)


class Query:
    """A question that has not been asked yet. Nothing is sent before `preview` or `ask`."""

    def __init__(self, hub: Client, dataset: str, sql: str, *, project: str | None = None) -> None:
        self._hub = hub
        self.dataset = dataset
        self.sql = sql
        self._project = project

    def __repr__(self) -> str:
        return say("<Query on {dataset}, not asked yet: {sql}>", "<对 {dataset} 的提问，尚未提出：{sql}>",
                   dataset=self.dataset, sql=self.sql)  # fmt: skip

    def _question(self, epsilon: float | None, delta: float | None, within: WithinIn | None) -> QuestionIn:
        project = self._hub.project_or_only(self._project)
        with sendable():
            return QuestionIn(
                project=project, dataset=self.dataset, sql=self.sql, epsilon=epsilon, delta=delta, within=within
            )

    def preview(
        self,
        epsilon: float | None = None,
        delta: float | None = None,
        *,
        within: Within | None = None,
        of: float | None = None,
        columns: Sequence[str] = (),
    ) -> Preview:
        """Price and ± per column, also of the least price that is exact enough (see `ask`). Spends nothing."""
        question = self._question(epsilon, delta, read_wish(within, of, columns))
        return Preview(self._hub.wire.post(PreviewOut, "/v1/queries:preview", question))

    def ask(
        self,
        epsilon: float | None = None,
        delta: float | None = None,
        *,
        within: Within | None = None,
        of: float | None = None,
        columns: Sequence[str] = (),
        timeout: float | None = None,
        idempotency_key: str | None = None,
        watch: Watch | None = None,
    ) -> Answer:
        """Ask, wait, and take the answer; (epsilon, delta) is the price offered for all of it.

        With `within` the least price is found at which every ± is at most so wide: a number in the column's unit, or a share of
        the value ("5%"), or a share of the size `of` that you suppose; for `columns` only, if named. `epsilon` is then the most
        that may be paid, without one all that is left. A share without `of` needs to know how large the values are: unless the
        project has an answer to this question already, cheap pilots are asked first (below 1/20 of what may be paid in all);
        they are in `Answer.pilots`.

        Raises `Refused` for what a rule does not allow, `BudgetExhausted` when there is no room, `QueryFailed` when the
        work failed, `Unavailable` after `timeout` seconds: the work goes on, and once it is answered, the same question
        costs nothing more.
        Give your own `idempotency_key` to make a whole script safe to run again.
        """
        wish = read_wish(within, of, columns)
        question = self._question(epsilon, delta, wish)
        pilots: list[Answer] = []
        while True:
            try:
                return self._answer(question, idempotency_key, timeout, watch).after(tuple(pilots))
            except errors.Refused as problem:
                if problem.code not in PILOT_HELPS or not isinstance(wish, ShareIn):
                    raise
            pilot = question.model_copy(update={"within": wish.model_copy(update={"pilot": True})})
            key = f"{idempotency_key}-pilot-{len(pilots) + 1}" if idempotency_key else None
            pilots.append(self._answer(pilot, key, timeout, watch))  # the server ends it: no pilot costs above 1/30

    def start(
        self,
        epsilon: float | None = None,
        delta: float | None = None,
        *,
        within: Within | None = None,
        of: float | None = None,
        columns: Sequence[str] = (),
        idempotency_key: str | None = None,
    ) -> Job:
        """Ask without waiting; the `Job` gives the answer later. No pilot is asked for a share of an unknown size."""
        question = self._question(epsilon, delta, read_wish(within, of, columns))
        return self._hub.adopt(self._send(question, idempotency_key, wait=0).job)

    def _answer(self, question: QuestionIn, key: str | None, timeout: float | None, watch: Watch | None) -> Answer:
        found = self._send(question, key, wait=held(timeout))
        if found.answer is not None:
            return self._hub.keep(Answer(self._hub.wire, found.answer, job=found.id))
        return self._hub.adopt(found.job).answer(timeout=timeout, watch=watch)

    def _send(self, question: QuestionIn, key: str | None, *, wait: int) -> QueryOut:
        return spend(self._hub.wire, QueryOut, "/v1/queries", question, key, wait=wait)


@contextmanager
def sendable() -> Iterator[None]:
    """What does not fit its schema is refused before it is sent."""
    try:
        yield
    except ValidationError as error:
        fields = ", ".join(dict.fromkeys(str(one["loc"][0]) for one in error.errors()))
        raise errors.Malformed(
            say("The question cannot be sent as it is: {fields}.", "无法按此发送提问：{fields}。", fields=fields),
            hint=say(
                "epsilon is a positive number, delta lies between 0 and 1, the SQL has 1 to 100,000 characters.",
                "epsilon 为正数，delta 在 0 与 1 之间，SQL 为 1 至 100,000 个字符。",
            ),
        ) from error


def held(timeout: float | None) -> int:
    """How many seconds the server is asked to keep the request open."""
    return PREFER_WAIT if timeout is None else min(PREFER_WAIT, int(timeout))


def spend(wire: Wire, told: type[ToldT], path: str, body: BaseModel, key: str | None, *, wait: int) -> ToldT:
    """Send what spends, under one key over all its tries."""
    headers = {"Idempotency-Key": key or wire.new_key(), "Prefer": f"wait={wait}"}
    call = Call(verb="POST", path=path, body=body, headers=headers, idempotent=True, timeout=wire.timeout + wait)
    return wire.read(told, wire.send(call))


class Dataset:
    """A dataset of the catalogue as its card shows it: public facts alone."""

    def __init__(self, hub: Client, card: Card) -> None:
        self._hub = hub
        self.card = card

    @property
    def name(self) -> str:
        """Its name in the catalogue."""
        return self.card.name

    @property
    def title(self) -> str:
        """Its title in your language."""
        return both(self.card.title)

    @property
    def tables(self) -> tuple[str, ...]:
        """The names of its tables."""
        return tuple(table.name for table in self.card.tables)

    def sql(self, text: str, *, project: str | None = None) -> Query:
        """A question to this dataset; nothing is sent yet."""
        return Query(self._hub, self.name, text, project=project)

    def batch(self, questions: Sequence[str], *, project: str | None = None) -> Batch:
        """Questions to this dataset that are asked together at one price; nothing is sent yet."""
        return self._hub.batch(self.name, questions, project=project)

    @property
    def budget(self) -> Budget:
        """What you may still spend on it."""
        return self._hub.budget(self.name)

    def _head(self) -> list[str]:
        card = self.card
        terms = card.policy
        return [
            f"{self.title} · {card.name}",
            both(card.summary),
            say("from {provider} ({contact})", "提供方：{provider}（{contact}）",
                provider=card.provider.zh if language() == "zh-CN" else card.provider.en, contact=card.provider.contact),
            say("grade {grade} · {openness} · version {version}", "分级 {grade} · {openness} · 版本 {version}",
                grade=card.grade, openness=OPENNESS[card.openness](), version=(card.version or "—")[:12]),
            say("a project may spend epsilon {epsilon} at delta {delta:.1e}; all together epsilon {total}",
                "每个项目可用 epsilon {epsilon}（delta {delta:.1e}）；全部项目合计 epsilon {total}",
                epsilon=show.epsilon(terms.per_project.epsilon), delta=terms.per_project.delta,
                total=show.epsilon(terms.total.epsilon)),
        ]  # fmt: skip

    def __rich__(self) -> RenderableType:
        parts: list[RenderableType] = [Text(show.clean(line)) for line in self._head() if line]
        for table in self.card.tables:
            parts += [Text(""), Text(show.clean(table_words(table)), style="bold"), _columns_table(table)]
        return Group(*parts)

    def __repr__(self) -> str:
        return show.plain(self.__rich__(), width=160)

    def _repr_html_(self) -> str:
        title, *lines = self._head()
        tables: list[str] = []
        for table in self.card.tables:
            rows = [_column_cells(table, column) for column in table.columns]
            tables += [show.paragraph(table_words(table)), show.html_table(_column_headers(), rows, [False] * 4)]
        return show.card(show.tag("h3", title), *[show.paragraph(line, dim=True) for line in lines if line], *tables)


OPENNESS = {
    "unconditional": lambda: say("open to all", "无条件开放"),
    "conditional": lambda: say("open on conditions", "有条件开放"),
    "closed": lambda: say("not open", "不予开放"),
}


def both(text: Bilingual) -> str:
    """A text in your language."""
    return text.zh if language() == "zh-CN" else text.en


def table_words(table: TableOut) -> str:
    """One line about a table: whose presence is hidden, or that it is public."""
    if table.unit is None:
        return say("{name}: public side table, {rows} rows", "{name}：公开辅表，{rows} 行",
                   name=table.name, rows="?" if table.rows is None else f"{table.rows:,}")  # fmt: skip
    return say("{name}: protects each {unit} ({column}), at most {rows} rows each",
               "{name}：以 {unit} 为隐私单元（{column}），每个单元至多计 {rows} 行",
               name=table.name, unit=table.unit.stands_for, column=table.unit.column, rows=table.max_rows)  # fmt: skip


def _column_headers() -> list[str]:
    return [say("column", "列"), say("type", "类型"), say("bounds", "取值范围"), say("keys", "分组键")]


def _column_cells(table: TableOut, column: ColumnOut) -> list[str]:
    bounds = f"{column.lower} … {column.upper}" if column.lower is not None else ""
    if bounds and column.step not in (None, "1"):
        bounds += say(", step {step}", "，步长 {step}", step=column.step)
    return [
        column.name,
        column.kind + (say(", may be NULL", "，可为空") if column.nullable else ""),
        bounds,
        _keys(table, column),
    ]


def _keys(table: TableOut, column: ColumnOut) -> str:
    """How a column may be grouped by."""
    if table.unit is not None and column.name == table.unit.column:
        return say("the unit: counted, never shown", "隐私单元：只能计数，不可显示")
    if column.keys == "public":
        return _domain(column)
    if table.unit is None:
        return say("one row each", "每值一行") if column.unique else ""
    return say("private: appear only when enough units hold them", "私有：持有的单元足够多时才出现")


def _domain(column: ColumnOut) -> str:
    values = ", ".join("NULL" if one is None else str(one) for one in column.domain[:6])
    more = len(column.domain) - 6
    return say("public: {values}", "公开：{values}", values=values) + (
        say(" … {count} in all", " …… 共 {count} 个", count=len(column.domain)) if more > 0 else ""
    )


def _columns_table(table: TableOut) -> RenderableType:
    return show.text_table(_column_headers(), [_column_cells(table, column) for column in table.columns], [False] * 4)


def path_of(dataset: str) -> str:
    """The address of a dataset; the "/" of its name stays."""
    return f"/v1/datasets/{quote(dataset, safe='/')}"

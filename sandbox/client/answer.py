"""An answer: noisy values, each with its interval, what they cost, and the receipt that proves them.

Owns `Answer` and its way into Arrow, pandas and Polars, which are imported only when asked for. It never shows a value
without its uncertainty: not in the terminal, not in a notebook, and a dataframe carries the interval's two ends beside
every value unless it is told not to. It holds what the server released and computes no statistic of its own.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from datetime import date, datetime
from functools import cached_property
from importlib import import_module
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from rich.console import Group, RenderableType
from rich.text import Text

from sandbox.client import errors, show
from sandbox.client.receipt import Receipt
from sandbox.client.transport import Call, Wire
from sandbox.say import say
from sandbox.wire import AnswerColumn, AnswerOut, BudgetOut, LossOut

if TYPE_CHECKING:
    import pandas
    import polars
    import pyarrow

Value = str | int | float | bool | date | datetime | None
#: Accept this, and the server sends the very bytes whose SHA-256 the receipt names.
RELEASED = "application/vnd.data-open-sandbox.answer+json"
#: More rows than this are counted, not drawn.
MOST_ROWS = 60


class Answer:
    """What a question was answered. `rows` and `intervals` run in the same order; keys have no interval."""

    def __init__(
        self,
        wire: Wire,
        told: AnswerOut,
        *,
        job: str = "",
        accounts: tuple[BudgetOut, ...] = (),
        trusted_key: str = "",
        pilots: tuple[Answer, ...] = (),
    ) -> None:
        self._wire = wire
        self._trusted_key = trusted_key
        self.told = told
        self.job = job
        self.accounts = accounts
        self.pilots = pilots

    def after(self, pilots: tuple[Answer, ...]) -> Answer:
        """The same answer, with the pilots that were asked to find its price; each was paid for by itself."""
        return Answer(
            self._wire,
            self.told,
            job=self.job,
            accounts=self.accounts,
            trusted_key=self._trusted_key,
            pilots=pilots,
        )

    def dressed(self, *, accounts: tuple[BudgetOut, ...], trusted_key: str) -> Answer:
        """The same answer with gauges beside it and the key its receipt is checked with."""
        return Answer(self._wire, self.told, job=self.job, accounts=accounts, trusted_key=trusted_key)

    @property
    def question(self) -> str:
        """The SQL text as it was asked."""
        return self.told.question

    @property
    def dataset(self) -> str:
        """The name of the dataset."""
        return self.told.dataset

    @property
    def version(self) -> str:
        """The digest of the dataset version that was asked."""
        return self.told.version

    @property
    def mechanism(self) -> str:
        """What kind of noise was drawn."""
        return self.told.mechanism

    @property
    def cost(self) -> LossOut:
        """What the answer cost when it was first given."""
        return self.told.cost

    @property
    def charged(self) -> LossOut:
        """What this asking was charged: zero when the stored answer was returned."""
        return self.told.charged

    @property
    def repeated(self) -> bool:
        """True when this is the stored answer to a question the project had asked before."""
        return self.told.repeated

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the columns."""
        return tuple(column.name for column in self.told.columns)

    @cached_property
    def rows(self) -> list[tuple[Value, ...]]:
        """The values, row by row; dates and timestamps as such."""
        kinds = [column.kind for column in self.told.columns]
        return [tuple(_value(cell, kind) for cell, kind in zip(row, kinds, strict=True)) for row in self.told.rows]

    @cached_property
    def intervals(self) -> list[tuple[tuple[Any, Any] | None, ...]]:
        """For each row and column (low, high) at 95 %, or None for keys and where none is stated; days as such."""
        kinds = [column.kind for column in self.told.columns]
        return [
            tuple(p and (_value(p[0], kind), _value(p[1], kind)) for p, kind in zip(row, kinds, strict=True))
            for row in self.told.intervals
        ]

    @cached_property
    def receipt(self) -> Receipt:
        """The proof of this answer, fetched when first asked for."""
        if self.told.receipt is None:
            raise errors.NotFound(
                say("This answer has no receipt yet.", "该结果还没有凭证。"),
                hint=say(
                    "Ask again in a moment: the same question costs nothing.", "请稍后再问：同一问题不再消耗预算。"
                ),
            )
        return read_receipt(self._wire, self.told.receipt, trusted_key=self._trusted_key, released=self._released())

    def _released(self) -> bytes | None:
        """The released bytes; they must say what this object shows, or a valid receipt would prove something else."""
        if not self.job:
            return None
        path = f"/v1/queries/{quote(self.job, safe='')}/answer"
        content = self._wire.send(Call(verb="GET", path=path, headers={"Accept": RELEASED}, idempotent=True)).content
        if not self._shows(content):
            raise errors.ReceiptInvalid(
                say("The released answer is not the one shown here.", "已发布的结果与此处显示的不一致。"),
                hint=say("Trust neither; tell the operator and the auditor.", "两者均不可信，请告知运营方和审计员。"),
                code="receipt.other_answer",
            )
        return content

    def _shows(self, content: bytes) -> bool:
        try:
            file = json.loads(content)
            names = [column["name"] for column in file["columns"]]
            shown = (file["question"], names, file["rows"], file["intervals"])
        except (ValueError, KeyError, TypeError):
            return False
        intervals = [[None if pair is None else list(pair) for pair in row] for row in self.told.intervals]
        return shown == (self.question, list(self.columns), self.told.rows, intervals)

    def __len__(self) -> int:
        return len(self.told.rows)

    def __iter__(self) -> Iterator[tuple[Value, ...]]:
        return iter(self.rows)

    # How it looks. Every drawing goes through `_cells`, which puts the uncertainty beside the value.

    def _cells(self, most: int) -> list[list[tuple[str, str]]]:
        return [
            [
                (_key(cell), "") if column.role == "key" else show.figure(cell, interval)
                for cell, interval, column in zip(row, ends, self.told.columns, strict=True)
            ]
            for row, ends in zip(self.told.rows[:most], self.told.intervals, strict=False)
        ]

    def _below(self) -> list[str]:
        told = self.told
        lines = [_cost_words(told), *([_pilot_words(self.pilots)] if self.pilots else [])]
        if len(told.rows) > MOST_ROWS:
            lines.insert(0, say("… {more} more rows", "…… 另有 {more} 行", more=len(told.rows) - MOST_ROWS))
        lines += [line for line in (told.suppressed, *told.notes) if line]
        noise = noise_words(told.columns)
        lines.append(say("± is the 95 % interval", "± 为 95% 区间") + (f"; {noise}" if noise else ""))
        if told.receipt:
            lines.append(say("receipt {id}", "凭证 {id}", id=told.receipt))
        return lines

    def table(self, most: int = MOST_ROWS) -> RenderableType:
        """The values with their ± as a table for a terminal (a `rich` renderable)."""
        numeric = [column.role == "value" for column in self.told.columns]
        rows = [[f"{value}  {pm}" if pm else value for value, pm in row] for row in self._cells(most)]
        return show.text_table(self.columns, rows, numeric)

    def __rich__(self) -> RenderableType:
        gauges = [show.gauge(account) for account in self.accounts]
        return Group(self.table(), *[Text(show.clean(line), style="dim") for line in self._below()], *gauges)

    def __repr__(self) -> str:
        gauges = [show.gauge(account) for account in self.accounts]
        return show.plain(self.table(), *[Text(show.clean(line)) for line in self._below()], *gauges, width=160)

    def _repr_html_(self) -> str:
        columns = self.told.columns
        scales = [_scale(self.told, index) for index in range(len(columns))]
        body = []
        for cells, row, ends in zip(self._cells(MOST_ROWS), self.told.rows, self.told.intervals, strict=False):
            drawn: list[str] = []
            for (text, pm), raw, interval, scale in zip(cells, row, ends, scales, strict=True):
                drawing = show.band(raw, interval, *scale) if pm and scale else show.Html("")
                drawn.append(show.Html(f"{show.tag('span', text)} {show.tag('span', pm, class_='pm')} {drawing}"))
            body.append(drawn)
        return show.card(
            show.tag("h3", f"{self.dataset}"),
            show.paragraph(self.question, dim=True),
            show.html_table(self.columns, body, [column.role == "value" for column in columns]),
            *[show.paragraph(line, dim=True) for line in self._below()],
            *[show.html_gauge(account) for account in self.accounts],
        )

    # Other libraries. Each method names what to install when its library is missing.

    def to_dict(self, *, intervals: bool = True) -> dict[str, list[Value]]:
        """Columns of values by name; with `intervals` each value column is followed by `<name>_low` and `<name>_high`."""
        return {name: values for name, _, values in self._series(intervals=intervals)}

    def _series(self, *, intervals: bool) -> Iterator[tuple[str, str, list[Value]]]:
        """Name, kind and values of each column of `to_dict`."""
        taken, given = set(self.columns), set[str]()
        for index, column in enumerate(self.told.columns):
            name = _unique(column.name, given)
            given.add(name)
            yield name, column.kind, [row[index] for row in self.rows]
            if column.role == "value" and intervals:
                kind = column.kind if column.kind in ("date", "timestamp") else "number"
                for side, end in ((0, "low"), (1, "high")):
                    name = _unique(f"{column.name}_{end}", taken)
                    taken.add(name)
                    given.add(name)
                    yield name, kind, [pair[side] if pair else None for pair in (row[index] for row in self.intervals)]

    def to_arrow(self, *, intervals: bool = True) -> pyarrow.Table:
        """A pyarrow Table; the interval's ends stand beside each value."""
        pa = _library("pyarrow", "to_arrow")
        series = list(self._series(intervals=intervals))
        arrays = [pa.array(values, type=_arrow_type(pa, kind, values)) for _, kind, values in series]
        return pa.table(arrays, names=[name for name, *_ in series])

    def to_pandas(self, *, intervals: bool = True) -> pandas.DataFrame:
        """A pandas DataFrame; the interval's ends stand beside each value."""
        pd = _library("pandas", "to_pandas")
        frame: pandas.DataFrame = pd.DataFrame(self.to_dict(intervals=intervals))
        return frame

    def to_polars(self, *, intervals: bool = True) -> polars.DataFrame:
        """A Polars DataFrame; the interval's ends stand beside each value."""
        pl = _library("polars", "to_polars")
        data = self.to_dict(intervals=intervals)
        frame: polars.DataFrame = pl.DataFrame([pl.Series(name, values, strict=False) for name, values in data.items()])
        return frame


def read_receipt(wire: Wire, receipt_id: str, *, trusted_key: str = "", released: bytes | None = None) -> Receipt:
    """Fetch a receipt, byte for byte."""
    response = wire.send(Call(verb="GET", path=f"/v1/receipts/{quote(receipt_id, safe='')}", idempotent=True))
    return Receipt(response.content, trusted_key=trusted_key, released=released)


def noise_words(columns: list[AnswerColumn]) -> str:
    """Which noise is on which column, in few words."""
    told = [f"{c.name}: {c.noise.kind} σ={c.noise.scale:.4g}" for c in columns if c.noise is not None]
    return say("noise {noise}", "噪声 {noise}", noise=", ".join(told)) if told else ""


def _cost_words(told: AnswerOut) -> str:
    if told.repeated:
        return say(
            "the stored answer: charged nothing (it cost epsilon {epsilon} when first asked)",
            "已存结果：本次不收取（首次提问时消耗 epsilon {epsilon}）",
            epsilon=show.epsilon(told.cost.epsilon),
        )
    return say(
        "cost epsilon {epsilon} at delta {delta:.1e}",
        "消耗 epsilon {epsilon}（delta {delta:.1e}）",
        epsilon=show.epsilon(told.charged.epsilon),
        delta=told.charged.delta,
    )


def _pilot_words(pilots: tuple[Answer, ...]) -> str:
    return say(
        "asked before, to learn how large the values are: {count} at epsilon {epsilons}",
        "此前为了解数值大小提了 {count} 个试探性问题，分别消耗 epsilon {epsilons}",
        count=len(pilots),
        epsilons=", ".join(show.epsilon(one.charged.epsilon) for one in pilots),
    )


def _key(cell: object) -> str:
    return "NULL" if cell is None else str(cell)


def _value(cell: object, kind: str) -> Any:
    if not isinstance(cell, str):
        return cell
    if kind == "date":
        return date.fromisoformat(cell)
    return datetime.fromisoformat(cell) if kind == "timestamp" else cell


def _scale(told: AnswerOut, index: int) -> show.Interval | None:
    """The common scale of a column's drawing: from its lowest to its highest interval end, zero included."""
    pairs = (show.numbers(row[index]) for row in told.intervals)
    ends = [end for pair in pairs if pair is not None for end in pair if math.isfinite(end)]
    return (min(0.0, *ends), max(0.0, *ends)) if len(told.rows) > 1 and ends else None


def _unique(name: str, taken: set[str]) -> str:
    while name in taken:
        name += "_"
    return name


def _library(name: str, method: str) -> Any:
    try:
        return import_module(name)
    except ImportError as error:
        raise errors.missing(name, purpose=f"Answer.{method}()", install=f"pip install {name}") from error


def _arrow_type(pa: Any, kind: str, values: list[Value]) -> Any:
    whole = all(value is None or isinstance(value, int) for value in values)
    types = {
        "integer": pa.int64() if whole else pa.float64(),
        "number": pa.float64(),
        "text": pa.string(),
        "boolean": pa.bool_(),
        "date": pa.date32(),
        "timestamp": pa.timestamp("us"),
    }
    return types.get(kind)

"""Questions that are asked together at one price, and what they would cost.

Owns `Batch` (lazy: nothing is sent before `preview` or `ask`), `BatchPreview` and `Answers`. Of m questions asked together each
is almost √m times as exact as alone for an m-th of epsilon. Every `ask` carries one Idempotency-Key over all its tries; the same
key also brings the answers once the work is done, so that each says whether it was charged.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.text import Text

from sandbox.client import errors, show
from sandbox.client.answer import Answer
from sandbox.client.jobs import Job, Watch
from sandbox.client.query import Preview, held, sendable, spend
from sandbox.say import say
from sandbox.wire import BatchIn, BatchOut, BatchPreviewOut, LossOut

if TYPE_CHECKING:
    from sandbox.client.hub import Client

#: A question is shown on one line of the preview, cut to this many characters.
SHOWN = 60


class BatchPreview:
    """What questions would cost together and how exact each would be. No data was touched, nothing was spent."""

    def __init__(self, told: BatchPreviewOut) -> None:
        self.told = told
        self.questions = tuple(Preview(one) for one in told.questions)

    @property
    def affordable(self) -> bool:
        """True when the budget has room for all of them."""
        return self.told.affordable

    @staticmethod
    def _headers() -> list[str]:
        return ["#", say("question", "问题"), *Preview.headers()]

    def _rows(self) -> list[list[str]]:
        rows = []
        for number, one in enumerate(self.questions, 1):
            head = [str(number), _short(one.told.question)]
            for cells in one.rows():
                rows.append([*head, *cells])
                head = ["", ""]
        return rows

    def _words(self) -> list[str]:
        free = [str(number) for number, one in enumerate(self.told.questions, 1) if one.repeated]
        if len(free) == len(self.questions):
            return [say("all of them are answered already: asking again costs nothing",
                        "均已有存档结果：再次提问不消耗预算"), *self._notes()]  # fmt: skip
        lines = [self._price(), self._fit()]
        if free:
            lines.append(
                say("already answered, free: {numbers}", "已有存档结果，不消耗预算：{numbers}", numbers=", ".join(free))
            )
        return lines + self._notes()

    def _price(self) -> str:
        charged = self.told.charged
        return say("all together would cost epsilon {epsilon} at delta {delta:.1e}; nothing is spent by looking",
                   "合计将消耗 epsilon {epsilon}（delta {delta:.1e}）；预览不消耗预算",
                   epsilon=show.epsilon(charged.epsilon), delta=charged.delta)  # fmt: skip

    def _fit(self) -> str:
        left = show.epsilon(self.told.remaining.epsilon)
        if self.affordable:
            return say("epsilon {left} is left", "剩余 epsilon {left}", left=left)
        return say("more than the epsilon {left} that is left", "超出剩余的 epsilon {left}", left=left)

    def _notes(self) -> list[str]:
        """What is to be said of a question, once, with the numbers of those it is true of."""
        found: dict[str, list[str]] = {}
        for number, one in enumerate(self.told.questions, 1):
            for note in dict.fromkeys([*([one.key_selection] if one.key_selection else []), *one.notes]):
                found.setdefault(note, []).append(str(number))
        return [
            note if len(numbers) == len(self.questions) else f"{', '.join(numbers)}: {note}"
            for note, numbers in found.items()
        ]

    def table(self) -> RenderableType:
        """The columns of every question with their ± as a table for a terminal (a `rich` renderable)."""
        return show.text_table(self._headers(), self._rows(), [False, False, False, False, True, False])

    def __rich__(self) -> RenderableType:
        return Group(self.table(), *[Text(show.clean(line), style="dim") for line in self._words()])

    def __repr__(self) -> str:
        return show.plain(self.table(), *[Text(show.clean(line)) for line in self._words()], width=200)

    def _repr_html_(self) -> str:
        return show.card(
            show.tag("h3", say("Preview", "预览")),
            show.html_table(self._headers(), self._rows(), [False, False, False, False, True, False]),
            *[show.paragraph(line) for line in self._words()],
        )


def _short(sql: str) -> str:
    line = " ".join(sql.split())
    return line if len(line) <= SHOWN else f"{line[: SHOWN - 1]}…"


class Answers(list[Answer]):
    """Answers to questions that were asked together, in the order asked; `charged` is what all of them cost this time.

    Each says what it would cost by itself. Epsilons do not add up to that of all, losses do.
    """

    def __init__(self, answers: Sequence[Answer], charged: LossOut) -> None:
        super().__init__(answers)
        self.charged = charged

    def _words(self) -> str:
        if not self.charged.rho_units:
            return say("all of them were answered before: charged nothing", "均为已存结果：本次不收取")
        return say("all together cost epsilon {epsilon} at delta {delta:.1e}", "合计消耗 epsilon {epsilon}（delta {delta:.1e}）",
                   epsilon=show.epsilon(self.charged.epsilon), delta=self.charged.delta)  # fmt: skip

    def __rich__(self) -> RenderableType:
        parts: list[RenderableType] = []
        for number, answer in enumerate(self, 1):
            title = Text(f"{number}. {show.clean_lines(answer.question.strip())}", style="bold")
            parts += [title, answer.__rich__(), Text("")]
        return Group(*parts, Text(self._words()))

    def __repr__(self) -> str:
        return show.plain(self.__rich__(), width=160)

    def _repr_html_(self) -> str:
        return "".join([*(answer._repr_html_() for answer in self), show.card(show.paragraph(self._words()))])


class Batch:
    """Questions that have not been asked yet, to be asked together. Nothing is sent before `preview` or `ask`."""

    def __init__(self, hub: Client, dataset: str, questions: Sequence[str], *, project: str | None = None) -> None:
        self._hub = hub
        self.dataset = dataset
        self.questions = (questions,) if isinstance(questions, str) else tuple(questions)
        self._project = project

    def __len__(self) -> int:
        return len(self.questions)

    def __repr__(self) -> str:
        return say("<Batch of {count} questions on {dataset}, not asked yet>", "<对 {dataset} 的 {count} 个提问，尚未提出>",
                   count=len(self), dataset=self.dataset)  # fmt: skip

    def _body(self, epsilon: float | None, delta: float | None) -> BatchIn:
        project = self._hub.project_or_only(self._project)
        with sendable():
            return BatchIn(
                project=project, dataset=self.dataset, questions=list(self.questions), epsilon=epsilon, delta=delta
            )

    def preview(self, epsilon: float | None = None, delta: float | None = None) -> BatchPreview:
        """The price of all of them together, and ± per column of each. Spends nothing."""
        return BatchPreview(self._hub.wire.post(BatchPreviewOut, "/v1/batches:preview", self._body(epsilon, delta)))

    def ask(
        self,
        epsilon: float | None = None,
        delta: float | None = None,
        *,
        timeout: float | None = None,
        idempotency_key: str | None = None,
        watch: Watch | None = None,
    ) -> Answers:
        """Ask all of them, or none, wait, and take the answers in the order asked; (epsilon, delta) is the price of all together.

        Raises what `Query.ask` raises; an error about one question has its number (from 1) as `question` in `params`. Questions
        that were answered before cost nothing, and equal ones are paid once. The last answer shows the budgets.
        """
        body, key = self._body(epsilon, delta), idempotency_key or self._hub.wire.new_key()
        told = spend(self._hub.wire, BatchOut, "/v1/batches", body, key, wait=held(timeout))
        if any(one.answer is None for one in told.questions):
            self._follow([self._hub.adopt(one.job) for one in told.questions], timeout, watch)
            told = spend(self._hub.wire, BatchOut, "/v1/batches", body, key, wait=0)
        answers = [
            Answer(self._hub.wire, one.answer, job=one.id, trusted_key=self._hub.settings.log_key)
            for one in told.questions
            if one.answer is not None
        ]
        return Answers([*answers[:-1], self._hub.keep(answers[-1])], told.charged)

    def _follow(self, jobs: list[Job], timeout: float | None, watch: Watch | None) -> None:
        """Wait for all, then say which of them has no answer."""
        until = None if timeout is None else time.monotonic() + timeout
        for job in jobs:
            job.wait(timeout=None if until is None else max(0.0, until - time.monotonic()), watch=watch)
        for number, job in enumerate(jobs, 1):
            try:
                job.require_success()
            except errors.QueryFailed as problem:
                problem.params = {**problem.params, "question": number}
                raise

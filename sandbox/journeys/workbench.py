"""The steward's workbench: what would an analyst get, and how good would it be? No server, no ledger, no accounts.

Owns `Workbench` (a description and its files, ingested once into a private temporary version) and the line-by-line form of
its answers. It charges nothing and stores nothing, so whoever may run it could average the noise away: it is for the eyes of
the steward, who holds the raw data anyway, and says so loudly. `message` is exactly what an analyst would see (law 5).
"""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import date, datetime
from functools import cache
from pathlib import Path
from types import TracebackType

from compute.ports import Engine, Ingest, IngestReport, Limits, Progress
from privacy import mechanisms
from privacy.answer import Answer
from privacy.errors import Fault, Malformed, Problem, Text
from privacy.facts import DatasetFacts
from privacy.loss import RHO_UNIT, Loss, price
from privacy.sql import Plan, compile_query
from privacy.sql.plan import Finish

MOST_REPEATS = 1_000_000
WARNING = Text(
    "FOR THE STEWARD'S EYES ONLY: nothing is charged and answers may be repeated, so they protect nobody.",
    "仅供数据提供方本人查看：此处不扣预算、可反复取数，因此结果不提供任何保护。",
)

Json = dict[str, object]


class TrialMalformed(Malformed):
    """A trial that cannot be run as written."""

    code = "workbench.bad_trial"
    sentence = Text("The trial cannot be run: {reason}", "该试算无法进行：{reason}")
    hint = Text(
        'One JSON object a line: {{"sql": "…", "epsilon": 1.0, "delta": 1e-6, "repeat": 1}}; epsilon above 0, delta between '
        "0 and 1, repeat from 1 to 1,000,000.",
        '每行一个 JSON 对象：{{"sql": "…", "epsilon": 1.0, "delta": 1e-6, "repeat": 1}}；epsilon 大于 0，delta 介于 0 与 1 '
        "之间，repeat 为 1 至 1,000,000。",
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """One question, the price of its whole answer, and how many independent answers to draw."""

    sql: str
    epsilon: float = 1.0
    delta: float = 1e-6
    repeat: int = 1

    def __post_init__(self) -> None:
        if not (self.epsilon > 0 and math.isfinite(self.epsilon) and 0 < self.delta < 1):
            raise TrialMalformed(reason=f"epsilon {self.epsilon}, delta {self.delta}")
        if not 1 <= self.repeat <= MOST_REPEATS:
            raise TrialMalformed(reason=f"repeat {self.repeat}")


def read_trial(line: str, default: Trial) -> Trial:
    """A trial from one JSON line; what the line leaves out is as in `default`. Raises `TrialMalformed`."""
    try:
        found = json.loads(line)
        if not isinstance(found, dict) or not isinstance(found.get("sql"), str):
            raise TrialMalformed(reason='no "sql"')
        unknown = set(found) - {"sql", "epsilon", "delta", "repeat"}
        if unknown:
            raise TrialMalformed(reason=", ".join(sorted(unknown)))
        return Trial(
            sql=found["sql"],
            epsilon=float(found.get("epsilon", default.epsilon)),
            delta=float(found.get("delta", default.delta)),
            repeat=int(found.get("repeat", default.repeat)),
        )
    except (ValueError, TypeError, RecursionError) as error:
        raise TrialMalformed(reason=str(error)) from error


class Workbench:
    """Tables loaded once, questions tried many times. Use as a context: what it wrote is gone afterwards."""

    def __init__(
        self,
        facts: DatasetFacts,
        sources: Mapping[str, Path],
        *,
        ingest: Ingest,
        engine: Engine,
        limits: Limits,
        progress: Progress,
        lang: str = "en",
    ) -> None:
        self._declared, self._sources = facts, sources
        self._ingest, self._engine, self._limits = ingest, engine, limits
        self._progress, self._lang = progress, lang
        self._open = ExitStack()

    def __enter__(self) -> Workbench:
        with ExitStack() as opening:
            folder = Path(opening.enter_context(tempfile.TemporaryDirectory(prefix="workbench-")))
            self._version = folder / "version.duckdb"
            self.report: IngestReport = self._ingest(
                self._declared, self._sources, self._version, limits=self._limits, progress=self._progress
            )
            self._finish: Finish = opening.enter_context(self._engine.finishing(self._limits))
            self._open = opening.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    def answer(self, trial: Trial) -> Json:
        """Try one question. Never raises for what an analyst could cause: it says what the analyst would see."""
        try:
            plan = compile_query(trial.sql, self.report.facts)
            loss = price(trial.epsilon, trial.delta, selects_keys=plan.selections > 0)
            if loss.rho == 0 or loss.delta < plan.selections:
                raise TrialMalformed(reason=f"epsilon {trial.epsilon}, delta {trial.delta}")
            answers = list(self._answers(plan, trial, loss))
        except Problem as problem:
            return self._failure(problem)
        spent: Json = {"epsilon": trial.epsilon, "delta": trial.delta, "rho": loss.rho / RHO_UNIT}
        return _success(answers, spent)

    def answer_line(self, line: str, default: Trial) -> Json:
        """Try the question of one JSON line; a line that cannot be read is refused like a question."""
        try:
            return self.answer(read_trial(line, default))
        except Problem as problem:
            return self._failure(problem)

    def _answers(self, plan: Plan, trial: Trial, loss: Loss) -> Iterator[Answer]:
        with self._engine.units(self._version, self._limits) as rows:
            units = cache(rows)  # rows are read once for all draws
            for _ in range(trial.repeat):
                finish = self._engine.beside(self._finish, self._version, plan, self._limits)
                yield mechanisms.release(plan, units, loss, finish)

    def _failure(self, problem: Problem) -> Json:
        status = "error" if isinstance(problem, Fault) else "refused"
        message = f"{problem.say(self._lang)} {problem.advise(self._lang)}".strip()
        nothing: Json = {"columns": [], "rows": [], "intervals": [], "noise": [], "spent": _NOTHING_SPENT}
        return {"status": status, **nothing, "code": problem.code, "message": message}


_NOTHING_SPENT: Json = {"epsilon": 0, "delta": 0, "rho": 0}


def _success(answers: list[Answer], spent: Json) -> Json:
    """`rows` and `intervals` are the first answer's; with more than one draw, `answers` lists all of them."""
    first = answers[0]
    noise = [None if c.noise is None else {"kind": c.noise.kind, "scale": c.noise.scale} for c in first.columns]
    found: Json = {"status": "ok", "columns": [c.name for c in first.columns], **_drawn(first)}
    found |= {"noise": noise, "spent": spent, "code": None, "message": None}
    if len(answers) > 1:
        found["answers"] = [_drawn(a) for a in answers]
    return found


def _drawn(answer: Answer) -> Json:
    rows = [[_plain(v) for v in row] for row in answer.rows]
    ends = [[None if i is None else [_plain(end) for end in i] for i in row] for row in answer.intervals]
    return {"rows": rows, "intervals": ends}


def _plain(value: object) -> object:
    return value.isoformat() if isinstance(value, date | datetime) else value

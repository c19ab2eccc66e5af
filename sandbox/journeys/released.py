"""The answer as it leaves: one canonical file, the same bytes for everyone, whose SHA-256 stands in the receipt.

Owns the shape of that file, its writing and its reading. It holds the noisy values with their intervals and everything a
reader needs to judge them (mechanism, scale, bounds, cost, version), and nothing else: no name, no sentence in one language,
no exact figure. Dates travel as ISO 8601 text; there is no NaN and no infinity. Keys are sorted and nothing is padded, and
numbers are written as Python writes them, so writing what was read gives the same bytes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from fractions import Fraction
from typing import cast

from access.audit import stamp
from compute.jobs import Job
from privacy.answer import NOISE_KIND, Answer, Stated
from privacy.loss import Loss
from privacy.order import rows_beyond
from privacy.scales import threshold
from privacy.sql.bound import WEIGHT_ONE
from privacy.sql.plan import Plan, Statistic
from sandbox.journeys.offer import Question

ANSWER_TYPE = "data-open-sandbox/answer/v1"
MECHANISM = f"zcdp/{NOISE_KIND}"
FILE_NAME = "answer.json"

Cell = str | int | float | bool | None
Ends = tuple[float, float] | tuple[str, str]


@dataclass(frozen=True, kw_only=True, slots=True)
class ReleasedColumn:
    """One column; `noise` and `scale` (standard deviation, in the column's unit) are None for keys and derived columns."""

    name: str
    kind: str
    is_key: bool
    noise: str | None
    scale: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Bound:
    """How far one privacy unit can move a statistic, as an L2 norm B over all cells, and the part of rho that paid for it.

    With a the shares of the statistics scaled to add up to 1, one unit keeps Σ a · norm² / B² <= 1: all of them together.
    `beyond` is about how many rows lie beyond a MIN or MAX; None for anything else.
    """

    statistic: str
    bound: float
    share: float
    beyond: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Released:
    """What the file says. `intervals` is parallel to `rows`; None for keys and where no interval is stated.

    `loss` is what it cost, offered as (epsilon, delta). `suppressed` counts the cells withheld for resting on fewer than
    `min_units` units; `key_units` is the number of units with one key each that a private key needs to appear.
    """

    type: str = ANSWER_TYPE
    question: str
    dataset: str
    project: str
    job: str
    version: str
    plan: str
    epsilon: float
    delta: float
    loss: Loss
    mechanism: str
    columns: tuple[ReleasedColumn, ...]
    rows: tuple[tuple[Cell, ...], ...]
    intervals: tuple[tuple[Ends | None, ...], ...]
    bounds: tuple[Bound, ...]
    suppressed: int
    min_units: int
    key_units: int | None
    receipt: str
    answered_at: str

    def file(self) -> bytes:
        """The bytes that leave."""
        text = json.dumps(asdict(self), sort_keys=True, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        return text.encode()

    @classmethod
    def read(cls, body: bytes) -> Released:
        """What `file` wrote."""
        parts = json.loads(body)
        parts["loss"] = Loss(**parts["loss"])
        parts["columns"] = tuple(ReleasedColumn(**c) for c in parts["columns"])
        parts["bounds"] = tuple(Bound(**b) for b in parts["bounds"])
        parts["rows"] = tuple(tuple(row) for row in parts["rows"])
        parts["intervals"] = tuple(tuple(tuple(i) if i else None for i in row) for row in parts["intervals"])
        return cls(**parts)

    @property
    def moment(self) -> datetime:
        """When it was answered."""
        return datetime.fromisoformat(self.answered_at).astimezone(UTC)


def released(*, answer: Answer, plan: Plan, question: Question, job: Job, receipt: str, at: datetime) -> Released:
    """The file of an answer."""
    return Released(
        question=question.sql,
        dataset=job.dataset,
        project=job.project or "",
        job=job.id,
        version=question.version,
        plan=question.plan,
        epsilon=question.epsilon,
        delta=question.delta,
        loss=answer.loss,
        mechanism=MECHANISM,
        columns=tuple(
            ReleasedColumn(
                name=c.name,
                kind=c.kind.value,
                is_key=c.is_key,
                noise=c.noise.kind if c.noise else None,
                scale=c.noise.scale if c.noise else None,
            )
            for c in answer.columns
        ),
        rows=tuple(tuple(_cell(v) for v in row) for row in answer.rows),
        intervals=tuple(tuple(_ends(i) for i in row) for row in answer.intervals),
        bounds=bounds(answer.statistics, answer.loss),
        suppressed=answer.suppressed,
        min_units=plan.min_units,
        key_units=units_of(answer.threshold),
        receipt=receipt,
        answered_at=stamp(at),
    )


def bounds(statistics: Iterable[Statistic], loss: Loss) -> tuple[Bound, ...]:
    """B of each statistic, in its own unit, what each pays, and how far from the end an extreme lies at that price."""
    return tuple(
        Bound(
            statistic=s.label,
            bound=math.sqrt(s.bound_squared * Fraction(s.step) ** 2),
            share=float(s.share),
            beyond=rows_beyond(s, loss.rho_fraction),
        )
        for s in statistics
    )


def key_units(plan: Plan, loss: Loss) -> int | None:
    """How many units with one key each a private key needs to appear at this price; None when the keys are public."""
    limits = [threshold(g.weights, g.max_keys, g.selecting(loss)) for g in plan.groupings if g.weights]
    return units_of(max(limits, default=None))


def units_of(weight: float | None) -> int | None:
    """A threshold on weights as a number of units, rounded up."""
    return None if weight is None else math.ceil(weight / WEIGHT_ONE)


def _ends(interval: Stated | None) -> Ends | None:
    """Days and moments as text."""
    if interval is None:
        return None
    return cast("Ends", tuple(_cell(end) for end in interval))


def _cell(value: object) -> Cell:
    if isinstance(value, date):  # a timestamp is a date as well
        return value.isoformat()
    if value is None or isinstance(value, str | int | float | bool):
        return value
    raise TypeError(f"an answer cannot hold a {type(value).__name__}")

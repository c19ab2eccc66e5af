"""From the nouns of asking to wire shapes: previews, answers, questions.

Owns the translation and the few sentences that explain an answer in the asker's language. Every figure comes from the
journey or from the released file as it stands.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from access.ports import StoredAnswer
from compute.jobs import Job, State, StatusCode
from privacy.answer import NOISE_KIND, PlusMinus
from privacy.errors import Fault, Text
from privacy.loss import Loss
from privacy.order import rows_beyond
from privacy.scales import value_scale
from privacy.sql.plan import Output, Plan
from sandbox import wire
from sandbox.api import shapes
from sandbox.api.problems import problem_out
from sandbox.api.shapes import Names
from sandbox.journeys.ask import Preview, PreviewTogether
from sandbox.journeys.booking import Asked, charged
from sandbox.journeys.offer import Standing, Wish
from sandbox.journeys.released import MECHANISM, Released

_SELECTION = Text(
    "A private key appears when about {units} units or more hold it (units with several keys count for less in each).",
    "私有键约需 {units} 个或更多隐私单元持有时才会出现（持有多个键的单元在每个键上计得更少）。",
)
_CHOICE = Text(
    "Facts allow one {unit} up to {rows} rows here, which says little of a usual one: a tenth of the price finds out how far "
    "usual ones reach, and the few that reach further count less than they are. So ± is not known beforehand; the answer tells.",
    "按公开事实，此处每个 {unit} 最多可有 {rows} 行，不足以说明通常情形：价格的一成用于查明通常的贡献，少数更大者会计得偏少。"
    "因此 ± 无法预知，将随结果给出。",
)
_EXTREME = Text(
    "{name} is a private extreme quantile, nobody's own value: about {rows} rows lie beyond it, or half of a group's rows where "
    "it has fewer than twice as many.",
    "{name} 是带隐私保护的极端分位数，不是任何人的取值：约有 {rows} 行在其之外；不足其两倍行数的组，则为该组行数的一半。",
)
_EXTREME_UNKNOWN = Text(
    "{name} is a private extreme quantile, nobody's own value: some rows lie beyond it, the answer tells how many.",
    "{name} 是带隐私保护的极端分位数，不是任何人的取值：有若干行在其之外，行数将随结果给出。",
)
_WITHHELD = Text(
    "{cells} cells rest on fewer than {units} units by their noisy count, and are withheld.",
    "有 {cells} 个单元格按加噪计数涉及的隐私单元少于 {units} 个，已被隐去。",
)
_UNSELECTED = Text(
    "Keys that fewer than about {units} units hold are missing, and which ones is not told.",
    "持有单元少于约 {units} 个的键不会出现，且不说明是哪些。",
)


def wish(asked: wire.WithinIn | None) -> Wish | None:
    """How exact the answer shall be. A share of a supposed size is a width."""
    match asked:
        case None:
            return None
        case wire.WidthIn():
            return Wish(half_width=asked.half_width, columns=tuple(asked.columns))
        case wire.ShareOfIn():
            return Wish(half_width=asked.share * asked.of, columns=tuple(asked.columns))
        case wire.ShareIn():
            return Wish(share=asked.share, columns=tuple(asked.columns), pilot=asked.pilot)


def preview(noun: Preview, lang: str) -> wire.PreviewOut:
    """What a question would cost and how exact it would be."""
    standing, offer = noun.standing, noun.offer
    return wire.PreviewOut(
        dataset=standing.dataset.name,
        project=standing.project.name,
        question=noun.question,
        version=standing.version.digest,
        plan=noun.plan.digest(),
        mechanism=MECHANISM,
        cost=shapes.loss(offer.loss, offer.epsilon, offer.delta),
        columns=_columns(noun),
        cells=_cells(noun.plan),
        selects_keys=noun.plan.selections > 0,
        key_selection=_SELECTION.say(lang, units=noun.key_units) if noun.key_units is not None else None,
        repeated=noun.repeated,
        affordable=noun.affordable,
        more_like_it=noun.more_like_it,
        remaining=_remaining(standing),
        notes=[*_choice(noun, lang), *_extremes(noun, lang), *(o.say(lang) for o in standing.decision.obligations)],
    )


def previews(noun: PreviewTogether, lang: str) -> wire.BatchPreviewOut:
    """What questions would cost together, and how exact each would be."""
    whole, due = noun.whole, noun.due
    return wire.BatchPreviewOut(
        questions=[preview(one, lang) for one in noun.questions],
        cost=shapes.loss(whole.loss, whole.epsilon, whole.delta),
        charged=shapes.loss(due.loss, due.epsilon, due.delta),
        affordable=noun.affordable,
        remaining=_remaining(noun.standing),
    )


def _remaining(standing: Standing) -> wire.LossOut:
    """What both accounts have left, at the project's delta."""
    left = standing.remaining
    return shapes.loss(left, standing.account.epsilon(left), standing.account.budget.delta)


def _choice(noun: Preview, lang: str) -> list[str]:
    """Why the bounds of this question are not known yet."""
    rows = [g.max_rows for g in noun.plan.groupings if g.length_share]
    return [_CHOICE.say(lang, unit=noun.plan.unit, rows=f"{max(rows):,}")] if rows else []


def _extremes(noun: Preview, lang: str) -> list[str]:
    """What a MIN or MAX is, and how many rows lie beyond it: public, unless its bound is yet to be chosen."""
    found = []
    for grouping in noun.plan.groupings:
        told = _EXTREME_UNKNOWN if grouping.length_share else _EXTREME
        for s in grouping.statistics:
            rows = rows_beyond(s, noun.offer.loss.rho_fraction)
            if rows is not None:
                found.append(told.say(lang, name=s.label, rows=f"{rows:,}"))
    return list(dict.fromkeys(found))


def _cells(plan: Plan) -> int | None:
    """How many cells get noise; None where private keys decide."""
    counts = [g.cells for g in plan.groupings]
    return None if None in counts else sum(c or 0 for c in counts)


def _columns(noun: Preview) -> list[wire.ColumnPreview]:
    """Every column in order; the journey's ± are those of the values, in the same order."""
    spread = iter(noun.plus_minus)
    return [_column(noun, output, None if output.is_key else next(spread)) for output in noun.plan.outputs]


def _column(noun: Preview, output: Output, expected: PlusMinus | None) -> wire.ColumnPreview:
    grouping = noun.plan.groupings[output.groupings[0]] if len(output.groupings) == 1 else None
    statistic = grouping.by_name.get(output.statistic or "") if grouping is not None else None
    # Noise is made for bounds that may still have to be chosen; that of a quantile has no one scale.
    known = grouping is not None and statistic is not None and statistic.order is None and not grouping.length_share
    scale = value_scale(statistic, noun.offer.loss) if statistic is not None and known else None
    return wire.ColumnPreview(
        name=output.name,
        kind=output.kind.value,
        role="key" if output.is_key else "value",
        noise=wire.NoiseOut(kind=NOISE_KIND, scale=scale) if scale is not None else None,
        plus_minus=expected.half_width if expected else None,
        rows=expected.rows if expected else None,
    )


def answer(stored: StoredAnswer, *, repeated: bool, lang: str, names: Names) -> wire.AnswerOut:
    """An answer as people read it; `repeated` means that this asking was charged nothing."""
    noun = Released.read(stored.body)
    cost = shapes.loss(noun.loss, noun.epsilon, noun.delta)
    return wire.AnswerOut(
        question=noun.question,
        dataset=noun.dataset,
        project=names(noun.project),
        version=noun.version,
        plan=noun.plan,
        columns=[_answer_column(c.name, c.kind, c.noise, c.scale, is_key=c.is_key) for c in noun.columns],
        rows=[list(row) for row in noun.rows],
        intervals=[list(row) for row in noun.intervals],
        mechanism=noun.mechanism,
        bounds=[wire.BoundOut(statistic=b.statistic, bound=b.bound, share=b.share) for b in noun.bounds],
        cost=cost,
        charged=shapes.loss(Loss(), 0.0, noun.delta) if repeated else cost,
        repeated=repeated,
        notes=[_EXTREME.say(lang, name=b.statistic, rows=f"{b.beyond:,}") for b in noun.bounds if b.beyond is not None],
        suppressed=_suppressed(noun, lang),
        receipt=noun.receipt,
        digest=hashlib.sha256(stored.body).hexdigest(),
        answered_at=noun.moment,
    )


def _answer_column(name: str, kind: str, noise: str | None, scale: float | None, *, is_key: bool) -> wire.AnswerColumn:
    told = wire.NoiseOut(kind=noise, scale=scale) if noise is not None and scale is not None else None
    return wire.AnswerColumn(name=name, kind=kind, role="key" if is_key else "value", noise=told)


def _suppressed(noun: Released, lang: str) -> str | None:
    if noun.suppressed:
        return _WITHHELD.say(lang, cells=noun.suppressed, units=noun.min_units)
    if noun.key_units is not None:
        return _UNSELECTED.say(lang, units=max(noun.key_units, noun.min_units))
    return None


def job(noun: Job, lang: str, names: Names) -> wire.JobOut:
    """A job; when it failed for no fault of its files, with the one constant problem (law 5) under the job's id."""
    told = shapes.job(noun, lang, names)
    if noun.state not in (State.FAILED, State.KILLED) or noun.status is StatusCode.BAD_INPUT:
        return told
    return told.model_copy(update={"problem": problem_out(Fault(), lang, noun.id)})


def batch(noun: Sequence[Asked], lang: str, names: Names) -> wire.BatchOut:
    """Questions that were asked together, and what all of them were charged."""
    cost = charged(noun)
    return wire.BatchOut(
        questions=[question(one, lang, names) for one in noun],
        charged=shapes.loss(cost.loss, cost.epsilon, cost.delta),
    )


def question(noun: Asked, lang: str, names: Names) -> wire.QueryOut:
    """A question, its job, and its answer once there is one."""
    found = noun.answer
    return wire.QueryOut(
        id=noun.job.id,
        question=noun.question.sql,
        job=job(noun.job, lang, names),
        answer=answer(found, repeated=noun.repeated, lang=lang, names=names) if found else None,
        repeated=noun.repeated,
    )

"""Ask by accuracy: the least price at which an answer is as exact as the asker wishes.

Owns the way from a wish to a price. It reads no dataset and draws no noise. There are two kinds of wishes:

- *A width* (± 200 visits). The plan and the price alone decide how wide an interval will be (`privacy.answer.preview`), and a
  higher price never makes it wider, so the least price is found by bisection over whole ledger units (law 4).
- *A share* (± 5 %). How large the values are is confidential, so it is taken from an answer this project has paid for: the
  last one to the same plan on the same version, or else a *pilot*, which is the same question at a price that begins at
  1/2,000 of what may be paid and grows fourfold as long as its own noise hides the size. All pilots together stay below a
  twentieth (1/30 · (1 + 1/4 + 1/16 + …) = 4/90). Widths shrink with the root of rho, so the price follows.

A pilot is a question like any other: booked before it is asked, with its own receipt. That the next price depends on its
noisy answer is what the ledger is made for: a privacy filter holds its limit although every loss is chosen after seeing all
earlier answers (Whitehouse, Ramdas, Rogers & Wu 2023, Theorem 1).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from decimal import ROUND_CEILING, ROUND_FLOOR
from fractions import Fraction
from statistics import median

from access.ledger import shown
from privacy.answer import PlusMinus, preview
from privacy.errors import Malformed, Refused, Text
from privacy.loss import Loss
from privacy.sql.plan import Output, Plan
from sandbox.journeys.offer import Offer, Standing, Wish, offer
from sandbox.journeys.released import Released

#: The first pilot costs this part of what may be paid, each further one so much more, and none more than the last part.
FIRST_PILOT, PILOT_GROWTH, LAST_PILOT = Fraction(1, 2_000), 4, Fraction(1, 30)
#: A pilot for private keys pays this part of delta: it looks for the size of cells, not for as many keys as possible.
PILOT_DELTA = 16
#: An answer whose ± is wider than this part of the value does not tell the value's size.
COARSE = 0.5


class WishMalformed(Malformed):
    """The wish is about a column that the answer does not have."""

    code = "ask.bad_wish"
    sentence = Text(
        "The answer has no value column “{column}” to be made exact.", "结果中没有可设定精度的数值列“{column}”。"
    )
    hint = Text("Its value columns are: {columns}.", "结果的数值列为：{columns}。")


class AccuracyUnpredictable(Refused):
    """How exact a column will be depends on the answer itself: a derived one, or one whose bounds the question chooses."""

    code = "ask.accuracy_unpredictable"
    sentence = Text(
        "How exact “{column}” will be depends on the values, so no price can be found for it beforehand.",
        "“{column}”的精度取决于结果中的数值，无法事先求得价格。",
    )
    hint = Text(
        "Wish for a share of the value such as 5 %, offer an epsilon, or name columns whose width is known ({columns}).",
        "可改为按数值的比例（如 5%）设定精度，直接给出 epsilon，或指明精度可预知的列（{columns}）。",
    )


class SizeUnknown(Refused):
    """A share of a value that nobody has an idea of."""

    code = "ask.size_unknown"
    sentence = Text(
        "A share of the values needs their size, and this project has no answer to this question yet.",
        "按数值的比例设定精度需要知道其大小，而本项目尚无该问题的结果。",
    )
    hint = Text(
        "Ask a pilot first (`pilot`; the client's `ask` does it by itself), or say what size you suppose (`of`).",
        "请先提一个试探性问题（`pilot`，客户端的 `ask` 会自动完成），或给出您估计的大小（`of`）。",
    )


class SizeUnclear(Refused):
    """The answer at hand is too noisy to tell how large the values are."""

    code = "ask.size_unclear"
    sentence = Text(
        "The answer that was paid for so far is too noisy to tell the size of “{column}”.",
        "目前已付费的结果噪声过大，无法判断“{column}”的大小。",
    )
    hint = Text(
        "Ask a larger pilot (`pilot`; up to 1/30 of what may be paid), offer a higher epsilon, ask for fewer or larger groups, "
        "or say what size you suppose (`of`).",
        "可提一个更大的试探性问题（`pilot`，至多为可用价格的 1/30）、提高 epsilon、减少分组或选用更大的分组，"
        "或给出您估计的大小（`of`）。",
    )


class AccuracyOutOfReach(Refused):
    """No price that may be paid makes the answer as exact as wished."""

    code = "ask.accuracy_out_of_reach"
    sentence = Text(
        "“{column}” within ± {wish} costs more than may be paid: all of it (ε = {epsilon} at δ = {delta}) reaches ± {reach}.",
        "要使“{column}”的误差在 ± {wish} 以内，所需超出可支付的范围：全部用上（δ = {delta} 下 ε = {epsilon}）可达到 ± {reach}。",
    )
    hint = Text(
        "Wish for ± {reach} or more, ask for fewer columns, offer a higher epsilon, or ask {contact} for more budget.",
        "可将误差放宽到 ± {reach} 以上、减少列数、提高 epsilon，或联系 {contact} 增加预算。",
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Known:
    """The best-paid answer of this project to this plan on this version, and the wish it was bought for, if any."""

    answer: Released
    wish: Wish | None

    @property
    def rho(self) -> int:
        """What it cost."""
        return self.answer.loss.rho


def price_for(
    wish: Wish, standing: Standing, plan: Plan, epsilon: float | None, delta: float | None, known: Known | None
) -> Offer:
    """The least price that fulfils the wish; `epsilon` is the most that may be paid, without one what both accounts have left.

    A wish that the `known` answer fulfils already gets a price of at most its own, whatever is left: repeating it is free.
    Raises `OfferMalformed`, `WishMalformed`, `AccuracyUnpredictable`, `SizeUnknown`, `SizeUnclear`, `AccuracyOutOfReach`.
    """
    offered = offer(standing, plan, epsilon, delta)
    left = standing.remaining.rho
    most = replace(offered.loss, rho=max(1, left if epsilon is None else min(left, offered.loss.rho)))
    search = _Search(standing=standing, plan=plan, delta=offered.delta, most=most, known=known)
    wanted = _wanted(wish, plan)
    if wish.half_width is not None:
        return search.by_width(wish.half_width, wanted)
    assert wish.share is not None
    return search.pilot(wanted) if wish.pilot else search.by_share(wish, wish.share, wanted)


def _wanted(wish: Wish, plan: Plan) -> tuple[Output, ...]:
    """The columns the wish is about, in order: the named ones, or every value that is a number."""
    values = tuple(o for o in plan.outputs if not o.is_key and o.kind.numeric)
    for name in wish.columns:
        if all(o.name != name for o in values):
            raise WishMalformed(column=name, columns=_names(values))
    found = tuple(o for o in values if not wish.columns or o.name in wish.columns)
    if not found:
        raise WishMalformed(column="—", columns="—")
    return found


def _names(outputs: tuple[Output, ...]) -> str:
    return ", ".join(o.name for o in outputs) or "—"


@dataclass(frozen=True, kw_only=True, slots=True)
class _Search:
    """One search for a price: `most` is what may be paid, at the delta that was offered."""

    standing: Standing
    plan: Plan
    delta: float
    most: Loss
    known: Known | None

    @property
    def ceiling(self) -> int:
        """The highest rho worth looking at: what may be paid, or was."""
        return max(self.most.rho, self.known.rho if self.known else 0)

    def by_width(self, width: float, wanted: tuple[Output, ...]) -> Offer:
        """The least price at which no wanted column's ± is above `width`."""
        best = self._widths(self.ceiling, wanted)
        unknown = next((p.name for p in best if p.half_width is None), None)
        if unknown is not None:
            known = {p.name for p in preview(self.plan, self.most) if p.half_width is not None}
            sure = tuple(o for o in wanted if o.name in known)
            raise AccuracyUnpredictable(column=unknown, columns=_names(sure))

        def fulfilled(rho: int) -> bool:
            return all((p.half_width or 0.0) <= width for p in self._widths(rho, wanted))

        if not fulfilled(self.ceiling):
            worst = max(best, key=lambda p: p.half_width or 0.0)
            raise self._out_of_reach(worst.name, width, worst.half_width or 0.0)
        return self._offer(_least(fulfilled, self.ceiling))

    def _widths(self, rho: int, wanted: tuple[Output, ...]) -> list[PlusMinus]:
        values = (o for o in self.plan.outputs if not o.is_key)
        told = preview(self.plan, replace(self.most, rho=rho))
        return [found for output, found in zip(values, told, strict=True) if output in wanted]

    def by_share(self, wish: Wish, share: float, wanted: tuple[Output, ...]) -> Offer:
        """The price at which the ± of every wanted column is `share` of the value that the known answer shows.

        An answer that was bought for this wish is its answer, though its own noise may show other sizes than the pilot did:
        or the same wish would be paid again and again.
        """
        if self.known is None:
            raise SizeUnknown
        paid, found = self.known.rho, []
        if self.known.wish is not None and self.known.wish.covers(wish):
            return self._offer(paid)
        for output in wanted:
            size = _size(self.known.answer, output.name)
            if size is None or size.ratio > COARSE:
                raise SizeUnclear(column=output.name)
            found.append((size.ratio, size.value, output.name))
        ratio, value, name = max(found)
        growth = (Fraction(ratio) / Fraction(share)) ** 2  # exact: that of a tiny share overflows a double
        rho = max(1, math.ceil(paid * growth))
        if rho > self.ceiling:
            raise self._out_of_reach(name, share * value, ratio * value * math.sqrt(paid / self.ceiling))
        return self._offer(rho)

    def pilot(self, wanted: tuple[Output, ...]) -> Offer:
        """The first pilot, or one of four times the price of the answer that was not clear enough."""
        first = max(1, int(self.most.rho * FIRST_PILOT))
        rho = first if self.known is None else max(first, PILOT_GROWTH * self.known.rho)
        if rho > max(1, int(self.most.rho * LAST_PILOT)):
            raise SizeUnclear(column=wanted[0].name)
        if not self.plan.selections:
            return self._offer(rho)
        small = replace(self.most, delta=max(1, self.most.delta // PILOT_DELTA))
        return replace(self, most=small, delta=self.delta / PILOT_DELTA)._offer(rho)

    def _offer(self, rho: int) -> Offer:
        return Offer.stated(replace(self.most, rho=rho), self.delta, selects_keys=self.plan.selections > 0)

    def _out_of_reach(self, column: str, width: float, reach: float) -> AccuracyOutOfReach:
        return AccuracyOutOfReach(
            column=column,
            wish=f"{width:.5g}",
            epsilon=shown(self._offer(self.most.rho).epsilon, ROUND_FLOOR),
            delta=f"{self.delta:g}",
            reach=shown(reach, ROUND_CEILING),
            contact=self.standing.dataset.provider.contact,
        )


def _least(fulfilled: Callable[[int], bool], ceiling: int) -> int:
    """The least positive whole number of ledger units that is enough, given that `ceiling` is."""
    low, high = 0, ceiling
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if fulfilled(middle) else (middle, high)
    return high


@dataclass(frozen=True, slots=True)
class _Size:
    """What an answer tells of one column: a typical value, and the median over its cells of ± as a part of the value."""

    value: float
    ratio: float


def _size(known: Released, name: str) -> _Size | None:
    """None when no cell of the column has an interval."""
    place = next(i for i, c in enumerate(known.columns) if c.name == name and not c.is_key)
    ratios, values = [], []
    for row, intervals in zip(known.rows, known.intervals, strict=True):
        value, interval = row[place], intervals[place]
        if interval is None or not isinstance(value, int | float):
            continue
        half = (float(interval[1]) - float(interval[0])) / 2
        values.append(abs(float(value)))
        ratios.append(half / abs(value) if value else math.inf)
    return _Size(median(values), median(ratios)) if ratios else None

"""Who asks what for how much: the nouns of a question before it is answered, and the price that is offered for it.

Owns `Standing` (the right to ask, as it is now), `Offer` and its defaults, how one price is shared by questions that are asked
together, `Wish` (how exact the answer shall be), and `Question` (what a job remembers of its question). It spends nothing and
reads no dataset: everything here follows from the asker's own words, public facts and the project's accounts (law 4).

Why together: the rho that (epsilon, delta) allows grows faster than epsilon, almost with its square. Of m questions at epsilon/m
each gets little more than rho / m²; of m questions that share one price each gets rho / m, and so almost √m times less noise (at
delta 1e-6 half of it for 5, a quarter for 20). Rho and delta add up (`privacy.loss`), so all m together are (epsilon, delta)-DP,
whatever each of them is; all of that rho is booked, which for m separate ones it would not be.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any

from access.audit import Json, canonical, digest
from access.catalogue import Dataset, DatasetNotFound, DatasetVersion
from access.grants import Grant
from access.ledger import Account, AccountNotFound
from access.people import Principal, Project, ProjectNotFound
from access.policy import Decision, Policy, Use
from privacy.errors import Malformed, Problem, Text
from privacy.facts import DatasetFacts
from privacy.loss import Loss, epsilon_of, price
from privacy.sql.plan import Plan
from sandbox.journeys.house import House, Work, permit, situation

DEFAULT_EPSILON = 0.5
"""What a question is worth when the asker names no epsilon, unless less is left."""
KEY_SELECTIONS = 10
"""Without a delta of its own, a question with private keys offers this part of the account's delta: so many fit."""
MAX_BATCH = 20
"""Questions that may be asked together at one price."""


class OfferMalformed(Malformed):
    """No price can be made of what was offered."""

    code = "ask.bad_offer"
    sentence = Text(
        "No answer can be made for ε = {epsilon}, δ = {delta}.", "无法以 ε = {epsilon}、δ = {delta} 得出结果。"
    )
    hint = Text(
        "Offer a finite epsilon above 0.0001 and a delta between 1e-14 and 1 (more for questions that share it), or leave both "
        "out: then ε = 0.5 (or what is left) at the account's own δ is offered.",
        "请给出大于 0.0001 的有限 epsilon 和介于 1e-14 与 1 之间的 delta（多个问题共用一个价格时须更大）；或两者都不填，"
        "则按账户自身的 δ 以 ε = 0.5（或剩余预算）提问。",
    )


class BatchMalformed(Malformed):
    """Too many questions to be asked together, or none."""

    code = "ask.bad_batch"
    sentence = Text(
        "{count} questions cannot be asked together: a batch has 1 to {most}.",
        "无法一并提出 {count} 个问题：一批应为 1 至 {most} 个。",
    )
    hint = Text("Split it into several batches, each with its own price.", "请分成几批，每批各有一个价格。")


@dataclass(frozen=True, kw_only=True, slots=True)
class Standing:
    """Somebody who may ask, now: in which project, on which version, under which grant, from which two accounts."""

    who: Principal
    project: Project
    dataset: Dataset
    version: DatasetVersion
    grant: Grant
    account: Account
    total: Account
    decision: Decision

    @property
    def facts(self) -> DatasetFacts:
        """The public facts a plan is made from; the smallest number of units is the stricter of facts and policy."""
        facts = self.version.facts
        return replace(facts, min_units=max(facts.min_units, self.dataset.policy.min_units))

    @property
    def remaining(self) -> Loss:
        """What both accounts can still set aside."""
        mine, total = self.account.remaining, self.total.remaining
        return Loss(min(mine.rho, total.rho), min(mine.delta, total.delta))


@dataclass(frozen=True, kw_only=True, slots=True)
class Offer:
    """A price in the asker's words and in the ledger's: the whole answer is worth (epsilon, delta), and costs `loss`."""

    epsilon: float
    delta: float
    loss: Loss

    @classmethod
    def stated(cls, loss: Loss, delta: float, *, selects_keys: bool) -> Offer:
        """The offer of that loss: with the least epsilon that covers it at `delta`, half of which selects private keys."""
        share = delta / 2 if selects_keys else delta
        return cls(epsilon=epsilon_of(float(loss.rho_fraction), share), delta=delta, loss=loss)

    def fits(self, room: Loss) -> int:
        """How many such questions `room` pays for."""
        counts = [room.rho // self.loss.rho]
        if self.loss.delta:
            counts.append(room.delta // self.loss.delta)
        return min(counts)


@dataclass(frozen=True, kw_only=True, slots=True)
class Together:
    """One price for several questions: the offer for each, in order, and for `whole` what the different ones among them cost."""

    whole: Offer
    parts: tuple[Offer, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Wish:
    """How exact an answer shall be: the widest half of a 95 % interval, by itself or as a share of the value.

    Exactly one of `half_width` (in the column's unit; an average's is that of 1,000 rows) and `share` is set. It holds for every
    cell of the named columns, all value columns when none is named; a share holds for the median cell. `pilot` asks for the
    price of the next pilot instead (`journeys.accuracy`).
    """

    half_width: float | None = None
    share: float | None = None
    columns: tuple[str, ...] = ()
    pilot: bool = False

    def __post_init__(self) -> None:
        if (self.half_width is None) == (self.share is None):
            raise ValueError("a wish is a width or a share")

    def parts(self) -> dict[str, Json]:
        """The wish for a canonical text; numbers as text that reads back to the same number."""
        width, share = (None if n is None else repr(n) for n in (self.half_width, self.share))
        return {"half_width": width, "share": share, "columns": list(self.columns), "pilot": self.pilot}

    @classmethod
    def read(cls, parts: Mapping[str, Any]) -> Wish:
        """The wish that `parts` wrote."""
        width, share = (None if parts[n] is None else float(parts[n]) for n in ("half_width", "share"))
        return cls(half_width=width, share=share, columns=tuple(parts["columns"]), pilot=parts["pilot"])

    def covers(self, other: Wish) -> bool:
        """True when what was bought for this share is good enough for `other`: no smaller a share, of no other column."""
        if self.pilot or self.share is None or other.share is None or self.share > other.share:
            return False
        return not self.columns or (bool(other.columns) and set(other.columns) <= set(self.columns))


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """What a job remembers of its question: enough to answer it again after a crash, and to refuse when things changed."""

    sql: str
    plan: str
    version: str
    epsilon: float
    delta: float
    loss: Loss
    reservation: str
    wish: Wish | None = None

    def payload(self) -> str:
        """The question as canonical JSON text; epsilon and delta as the text that reads back to the same number."""
        return canonical(
            {
                "sql": self.sql,
                "plan": self.plan,
                "version": self.version,
                "epsilon": repr(self.epsilon),
                "delta": repr(self.delta),
                "loss": [self.loss.rho, self.loss.delta],
                "reservation": self.reservation,
                "wish": self.wish.parts() if self.wish else None,
            }
        ).decode()

    @classmethod
    def read(cls, payload: str) -> Question:
        """The question that `payload` wrote."""
        parts = json.loads(payload)
        numbers = {"epsilon": float(parts["epsilon"]), "delta": float(parts["delta"]), "loss": Loss(*parts["loss"])}
        wish = Wish.read(parts["wish"]) if parts.get("wish") else None
        return cls(**{**parts, **numbers, "wish": wish})


def stand(house: House, unit: Work, who: Principal, use: Use, *, project: str, dataset: str) -> Standing:
    """Decide, and collect what the question will need. Raises what is hidden as not found, or the refusal."""
    asked = situation(house, unit, who, use, project=project, dataset=dataset)
    decision = permit(asked, project=ProjectNotFound(project=project), dataset=DatasetNotFound(dataset=dataset))
    assert asked.project is not None
    assert asked.dataset is not None
    assert asked.dataset.version is not None
    assert asked.grant is not None
    version = unit.catalogue.version(asked.dataset.name, asked.dataset.version)
    account = unit.ledger.find(asked.dataset.name, asked.project.id)
    total = unit.ledger.find(asked.dataset.name, None)
    if version is None or account is None or total is None:
        raise AccountNotFound(account=f"{asked.project.name} / {asked.dataset.name}")
    return Standing(
        who=who,
        project=asked.project,
        dataset=asked.dataset,
        version=version,
        grant=asked.grant,
        account=account,
        total=total,
        decision=decision,
    )


def offer(standing: Standing, plan: Plan, epsilon: float | None, delta: float | None) -> Offer:
    """The price of the whole answer to one question: see `offer_together`."""
    return offer_together(standing, (plan,), epsilon, delta).whole


def offer_together(standing: Standing, plans: Sequence[Plan], epsilon: float | None, delta: float | None) -> Together:
    """The price of all answers together, and what each gets of it. Raises `OfferMalformed` when a part cannot be booked.

    Without a delta the account's own is offered, or a tenth of it when private keys have to be selected. Without an
    epsilon 0.5 is offered, or everything that is left on both accounts when that is less (but not nothing: an empty
    account makes a refusal that says what is missing). Of m different plans each gets rho / m, and those that select private
    keys share delta alike, both rounded down: the parts never add up to more than the price. Equal plans are one question.
    """
    selects = any(plan.selections for plan in plans)
    if delta is None:
        delta = standing.account.budget.delta / (KEY_SELECTIONS if selects else 1)
    wanted = DEFAULT_EPSILON if epsilon is None else epsilon
    try:
        loss = price(wanted, delta, selects_keys=selects)
    except (ValueError, OverflowError):
        raise OfferMalformed(epsilon=wanted, delta=delta) from None
    left = standing.remaining.rho
    if epsilon is None and 0 < left < loss.rho:
        loss = replace(loss, rho=left)
        wanted = Offer.stated(loss, delta, selects_keys=selects).epsilon
    shares = share(loss, plans)
    if shares[0].rho == 0:
        raise OfferMalformed(epsilon=wanted, delta=delta)
    for number, (plan, part) in enumerate(zip(plans, shares, strict=True), 1):
        with naming(number, len(plans)):
            if part.delta < plan.selections:
                raise OfferMalformed(epsilon=wanted, delta=delta)
    different = {plan.digest(): part for plan, part in zip(plans, shares, strict=True)}
    whole = Offer(epsilon=wanted, delta=delta, loss=sum(different.values(), Loss()))
    if len(different) == 1:
        return Together(whole=whole, parts=(whole,) * len(plans))
    parts = (
        Offer.stated(part, whole.delta, selects_keys=plan.selections > 0)
        for plan, part in zip(plans, shares, strict=True)
    )
    return Together(whole=whole, parts=tuple(parts))


def share(loss: Loss, plans: Sequence[Plan]) -> tuple[Loss, ...]:
    """What each plan gets of a loss for all of them, rounded down; equal plans get one part between them."""
    selecting = {plan.digest(): plan.selections > 0 for plan in plans}
    rho, delta = loss.rho // len(selecting), loss.delta // max(1, sum(selecting.values()))
    return tuple(Loss(rho, delta if plan.selections else 0) for plan in plans)


@contextmanager
def naming(number: int, count: int) -> Iterator[None]:
    """A problem of one of several questions keeps its code, its sentence and its hint; its parameters tell which (from 1)."""
    try:
        yield
    except Problem as problem:
        if count > 1:
            problem.params["question"] = number
        raise


def policy_digest(policy: Policy) -> str:
    """SHA-256 of the terms under which an answer was given. Budgets are floats, so they are written as text."""
    terms = asdict(policy)
    return digest(json.dumps(terms, sort_keys=True, default=str, ensure_ascii=False, separators=(",", ":")).encode())

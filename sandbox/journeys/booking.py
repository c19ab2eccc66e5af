"""Booking: questions that have a price are either answered from the store or paid for and queued, all of them or none.

Owns what stands in one transaction: the stored answers, {reservation, job} for every other question, and the idempotency record
that brings the same list back. It prices nothing and plans nothing. Room is tested in the statement that takes it (law 1); what
is tested before only makes the refusal speak of all that was asked, and keeps the hopeless from taking a turn at writing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from access.audit import Entry, digest
from access.ledger import Reservation, has_room, refusal
from access.ports import IdempotencyRecord, StoredAnswer
from compute.jobs import Job, Kind, queued
from privacy.loss import Loss
from privacy.sql import Plan
from sandbox.journeys.house import House, Work
from sandbox.journeys.offer import Offer, Question, Standing, Wish

_REPEAT, _NEXT = "repeat:", ","


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """A question and how far it is. `repeated`: an answer that was paid for before is returned, and nothing is charged."""

    job: Job
    question: Question
    answer: StoredAnswer | None = None
    repeated: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Priced:
    """A question with its plan and the price that is offered for it."""

    sql: str
    plan: Plan
    offer: Offer
    within: Wish | None = None


@dataclass(frozen=True, slots=True)
class Key:
    """An idempotency key, and the digest of what was asked under it."""

    name: str
    body: str


def stored(unit: Work, standing: Standing, priced: Priced) -> StoredAnswer | None:
    """The answer of this project to this question on this version that was paid with at least this price."""
    return unit.answers.find(standing.project.id, priced.plan.digest(), standing.version.digest, priced.offer.loss)


def due(unit: Work, standing: Standing, asked: Sequence[Priced]) -> Loss:
    """What asking all of them now would set aside: equal questions once, those with a stored answer not at all."""
    different = {one.plan.digest(): one for one in asked}.values()
    return sum((one.offer.loss for one in different if stored(unit, standing, one) is None), Loss())


def refuse_hopeless(unit: Work, standing: Standing, asked: Sequence[Priced]) -> None:
    """Say no when what is due has no room, speaking of all of it. This decides nothing: see above."""
    if all(has_room(account, _sum(asked)) for account in (standing.account, standing.total)):
        return
    loss = due(unit, standing, asked)
    full = next((a for a in (standing.account, standing.total) if not has_room(a, loss)), None)
    if full is not None:
        raise refusal(full, loss, standing.dataset.provider.contact)


def _sum(asked: Sequence[Priced]) -> Loss:
    return sum((one.offer.loss for one in asked), Loss())


def book(house: House, unit: Work, standing: Standing, asked: Sequence[Priced], key: Key) -> tuple[Asked, ...]:
    """Within one transaction: book every question, in order, and keep the key. Any refusal undoes all of it."""
    refuse_hopeless(unit, standing, asked)
    booked: dict[str, Asked] = {}
    results, marks = [], []
    for one in asked:
        twin = booked.get(one.plan.digest())
        if twin is not None:
            result = Asked(job=twin.job, question=twin.question, answer=twin.answer, repeated=True)
        else:
            result, entry = _book_one(house, unit, standing, one)
            booked[one.plan.digest()] = result
        results.append(result)
        marks.append((_REPEAT if result.repeated else "") + result.job.id)
    record = IdempotencyRecord(
        principal=standing.who.id,
        key=key.name,
        body_digest=key.body,
        result=_NEXT.join(marks),
        created_at=house.clock(),
    )
    unit.idempotency.add(record, entry=entry)
    return tuple(results)


def _book_one(house: House, unit: Work, standing: Standing, priced: Priced) -> tuple[Asked, Entry]:
    """The stored answer, or {reservation, job}; and the log entry that says so."""
    who, plan, price = standing.who, priced.plan, priced.offer
    kept = stored(unit, standing, priced)
    if kept is not None:
        entry = house.event("question.repeated", who, kept.job, answer=kept.id, receipt=kept.receipt)
        return asked_as(unit, kept.job, repeated=True), entry
    question = Question(
        sql=priced.sql,
        plan=plan.digest(),
        version=standing.version.digest,
        epsilon=price.epsilon,
        delta=price.delta,
        loss=price.loss,
        reservation=house.new_id(),
        wish=priced.within,
    )
    job = _new_job(house, standing, question)
    entry = house.event(
        "question.asked",
        who,
        job.id,
        project=standing.project.id,
        dataset=standing.dataset.name,
        version=question.version,
        grant=standing.grant.id,
        question=digest(priced.sql.encode()),
        plan=question.plan,
        rho=price.loss.rho,
        delta=price.loss.delta,
    )
    unit.jobs.add(job, entry=entry)
    reservation = Reservation(
        id=question.reservation,
        job=job.id,
        dataset=standing.dataset.name,
        project=standing.project.id,
        loss=price.loss,
        created_at=job.created_at,
    )
    unit.ledger.reserve(reservation, contact=standing.dataset.provider.contact, entry=entry)
    return Asked(job=job, question=question), entry


def _new_job(house: House, standing: Standing, question: Question) -> Job:
    now = house.clock()
    job = Job(
        id=house.new_id(),
        kind=Kind.ASK,
        dataset=standing.dataset.name,
        project=standing.project.id,
        asked_by=standing.who.id,
        payload=question.payload(),
        created_at=now,
        changed_at=now,
    )
    return queued(job, now)


def replayed(unit: Work, result: str) -> tuple[Asked, ...]:
    """What the same request came to the first time, as it stands now."""
    marks = result.split(_NEXT)
    return tuple(asked_as(unit, mark.removeprefix(_REPEAT), repeated=mark.startswith(_REPEAT)) for mark in marks)


def charged(asked: Sequence[Asked]) -> Offer:
    """What one asking of several questions is charged altogether; epsilons do not add, so it is stated of the sum."""
    loss = sum((one.question.loss for one in asked if not one.repeated), Loss())
    delta = next((one.question.delta for one in asked if not one.repeated), asked[0].question.delta)
    return Offer.stated(loss, delta, selects_keys=loss.delta > 0)


def asked_as(unit: Work, job_id: str, *, repeated: bool) -> Asked:
    """A question by its job, with its answer if there is one."""
    job = unit.jobs.get(job_id)
    assert job is not None, "an idempotency record or an answer outlived its job"
    return Asked(job=job, question=Question.read(job.payload), answer=unit.answers.of_job(job.id), repeated=repeated)

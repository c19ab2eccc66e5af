"""Ask: SQL in, a noisy answer with intervals and a receipt out (ARCHITECTURE, section 6).

Owns the order of things: *preview* touches no data and spends nothing; *ask* decides, plans, looks for the stored answer,
and then in one transaction reserves the loss and writes down the job (`journeys.booking`); *answer_job*, in a worker, decides
again, lets the engine count, adds noise, and in one fenced transaction settles, stores the answer, seals the receipt and ends
the job. Questions may be asked together at one price: asking one is asking a batch of one, and a worker knows no batches. It
never shows a number without noise, and never an error that depends on data: whatever goes wrong once the engine was called
is one constant sentence (law 5), and is paid for (law 1). The same question of the same project on the same version, at no
higher offer, is answered from the store at no cost.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from access.audit import Entry, canonical, digest
from access.people import Principal
from access.policy import Use
from access.ports import Cursor, RegistryChanged, Slice, StoredAnswer, StoredReceipt
from access.receipts import Ran, Statement, Subject, seal
from compute.jobs import Job, JobNotFound, Kind, LeaseLost, State, StatusCode
from privacy.answer import Answer, PlusMinus
from privacy.answer import preview as plus_minus
from privacy.errors import Fault, NotFound, Problem, Refused
from privacy.loss import Loss
from privacy.mechanisms import release
from privacy.sql import Plan, compile_query
from sandbox.journeys.accuracy import Known, price_for
from sandbox.journeys.booking import Asked, Key, Priced, asked_as, book, due, refuse_hopeless, replayed, stored
from sandbox.journeys.house import House, Work
from sandbox.journeys.jobs import announce, close_money, visible
from sandbox.journeys.offer import (
    MAX_BATCH,
    BatchMalformed,
    Offer,
    Question,
    Standing,
    Wish,
    naming,
    offer_together,
    policy_digest,
    stand,
)
from sandbox.journeys.released import FILE_NAME, Released, key_units, released

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Preview:
    """What a question would cost and how exact it would be, from public facts alone.

    `plus_minus` has one item for every column that is no key. `key_units` is the number of units a private key needs to
    appear (None: public keys). `more_like_it` counts the questions of this price that both accounts still pay for, this
    one included; `repeated` is set when a stored answer would be returned at no cost.
    """

    question: str
    standing: Standing
    plan: Plan
    offer: Offer
    plus_minus: tuple[PlusMinus, ...]
    key_units: int | None
    more_like_it: int
    repeated: bool

    @property
    def affordable(self) -> bool:
        """True when asking now would not be refused for want of budget."""
        return self.repeated or self.more_like_it > 0


@dataclass(frozen=True, kw_only=True, slots=True)
class PreviewTogether:
    """What several questions would cost at one price, and how exact each would be.

    `questions` are in the order given, each with its part of the price. `whole` is what the different ones cost together, `due`
    what asking them now would set aside: those with a stored answer cost nothing.
    """

    questions: tuple[Preview, ...]
    whole: Offer
    due: Offer

    @property
    def standing(self) -> Standing:
        """Who asks, and what is left: one for all."""
        return self.questions[0].standing

    @property
    def affordable(self) -> bool:
        """True when asking all of them now would not be refused for want of budget."""
        return self.due.loss.within(self.standing.remaining)


# --- before anything is touched --------------------------------------------------------------------------------------


def preview(
    house: House,
    who: Principal,
    *,
    project: str,
    dataset: str,
    sql: str,
    epsilon: float | None = None,
    delta: float | None = None,
    within: Wish | None = None,
) -> Preview:
    """Parse, plan and price. Touches no data, spends nothing, writes nothing."""
    wanted = _Wanted(project=project, dataset=dataset, questions=(sql,), epsilon=epsilon, delta=delta, within=within)
    with house.registry.read() as unit:
        standing = wanted.stand(house, unit, who, Use.PREVIEW)
        (priced,) = wanted.priced(unit, standing, wanted.plans(standing))
        return _previewed(unit, standing, priced)


def preview_together(
    house: House,
    who: Principal,
    *,
    project: str,
    dataset: str,
    questions: Sequence[str],
    epsilon: float | None = None,
    delta: float | None = None,
) -> PreviewTogether:
    """The same for questions that are asked together: (epsilon, delta) is the price of all of them."""
    wanted = _several(project, dataset, questions, epsilon, delta)
    with house.registry.read() as unit:
        standing = wanted.stand(house, unit, who, Use.PREVIEW)
        plans = wanted.plans(standing)
        priced = wanted.priced(unit, standing, plans)
        whole = offer_together(standing, plans, epsilon, delta).whole
        loss = due(unit, standing, priced)
        return PreviewTogether(
            questions=tuple(_previewed(unit, standing, one) for one in priced),
            whole=whole,
            due=whole if loss == whole.loss else Offer.stated(loss, whole.delta, selects_keys=whole.loss.delta > 0),
        )


def _previewed(unit: Work, standing: Standing, priced: Priced) -> Preview:
    loss = priced.offer.loss
    return Preview(
        question=priced.sql,
        standing=standing,
        plan=priced.plan,
        offer=priced.offer,
        plus_minus=plus_minus(priced.plan, loss),
        key_units=key_units(priced.plan, loss),
        more_like_it=priced.offer.fits(standing.remaining),
        repeated=stored(unit, standing, priced) is not None,
    )


def ask(
    house: House,
    who: Principal,
    *,
    project: str,
    dataset: str,
    sql: str,
    epsilon: float | None = None,
    delta: float | None = None,
    within: Wish | None = None,
    idempotency_key: str,
) -> Asked:
    """Decide, plan, and either return the stored answer or set the price aside and queue the job, all or nothing.

    With a wish the price is the least that fulfils it, and `epsilon` the most that may be paid (`journeys.accuracy`).
    The same key with the same body gives the same result again, whatever happened in between; with another body it is
    `IdempotencyReused`. A refusal leaves nothing behind, so its key may be used again.
    """
    body = digest([project, dataset, sql, repr(epsilon), repr(delta), *([repr(within)] if within else [])])
    wanted = _Wanted(project=project, dataset=dataset, questions=(sql,), epsilon=epsilon, delta=delta, within=within)
    (asked,) = _ask(house, who, wanted, Key(idempotency_key, body))
    return asked


def ask_together(
    house: House,
    who: Principal,
    *,
    project: str,
    dataset: str,
    questions: Sequence[str],
    epsilon: float | None = None,
    delta: float | None = None,
    idempotency_key: str,
) -> tuple[Asked, ...]:
    """Ask several questions at one price, all or none; each is then a question like any other, in the order given.

    (epsilon, delta) is the price of all of them: see `offer_together` for what each gets of it. Equal questions are one job, of
    which the first asking is charged. Keys are used as in `ask`. A problem of one question tells its number (`naming`).
    Raises `BatchMalformed` for none, or more than `MAX_BATCH`.
    """
    wanted = _several(project, dataset, questions, epsilon, delta)
    body = digest([project, dataset, list(questions), repr(epsilon), repr(delta)])
    return _ask(house, who, wanted, Key(idempotency_key, body))


def _ask(house: House, who: Principal, wanted: _Wanted, key: Key) -> tuple[Asked, ...]:
    with house.registry.read() as unit:
        earlier = unit.idempotency.lookup(who.id, key.name, key.body)
        if earlier is not None:
            return replayed(unit, earlier)
        standing = wanted.stand(house, unit, who, Use.ASK)
        plans = wanted.plans(standing)  # not while writing: long texts must not block others
        refuse_hopeless(unit, standing, wanted.priced(unit, standing, plans))
    with house.registry.begin() as unit:
        earlier = unit.idempotency.lookup(who.id, key.name, key.body)
        if earlier is not None:
            return replayed(unit, earlier)
        now_standing = wanted.stand(house, unit, who, Use.ASK)
        if now_standing.version.digest != standing.version.digest or now_standing.facts != standing.facts:
            raise RegistryChanged
        asked = book(house, unit, now_standing, wanted.priced(unit, now_standing, plans), key)
    for one in asked:
        if not one.repeated:
            announce(house, one.job)
    return asked


@dataclass(frozen=True, kw_only=True, slots=True)
class _Wanted:
    """What somebody asks at one price; only a single question may be asked by accuracy."""

    project: str
    dataset: str
    questions: tuple[str, ...]
    epsilon: float | None
    delta: float | None
    within: Wish | None = None

    def stand(self, house: House, unit: Work, who: Principal, use: Use) -> Standing:
        return stand(house, unit, who, use, project=self.project, dataset=self.dataset)

    def plans(self, standing: Standing) -> tuple[Plan, ...]:
        """The plan of each question."""
        plans = []
        for number, sql in enumerate(self.questions, 1):
            with naming(number, len(self.questions)):
                plans.append(compile_query(sql, standing.facts))
        return tuple(plans)

    def priced(self, unit: Work, standing: Standing, plans: tuple[Plan, ...]) -> tuple[Priced, ...]:
        """Each question at its part of the price that is offered, or the one at the least price for what is wished."""
        if self.within is None:
            parts = offer_together(standing, plans, self.epsilon, self.delta).parts
        else:
            (plan,) = plans
            best = unit.answers.find(standing.project.id, plan.digest(), standing.version.digest, Loss())
            known = _known(unit, best) if best else None
            parts = (price_for(self.within, standing, plan, self.epsilon, self.delta, known),)
        return tuple(
            Priced(sql=sql, plan=plan, offer=part, within=self.within)
            for sql, plan, part in zip(self.questions, plans, parts, strict=True)
        )


def _several(
    project: str, dataset: str, questions: Sequence[str], epsilon: float | None, delta: float | None
) -> _Wanted:
    if not 1 <= len(questions) <= MAX_BATCH:
        raise BatchMalformed(count=len(questions), most=MAX_BATCH)
    return _Wanted(project=project, dataset=dataset, questions=tuple(questions), epsilon=epsilon, delta=delta)


def _known(unit: Work, best: StoredAnswer) -> Known:
    job = unit.jobs.get(best.job)
    assert job is not None, "an answer outlived its job"
    return Known(answer=Released.read(best.body), wish=Question.read(job.payload).wish)


# --- reading -----------------------------------------------------------------------------------------------------------


def read_question(house: House, who: Principal, job_id: str) -> Asked:
    """A question of one of your projects and, once there is one, its answer. Raises `JobNotFound`."""
    with house.registry.read() as unit:
        job = visible(house, unit, who, job_id)
        if job.kind is not Kind.ASK:
            raise JobNotFound(job=job_id[:64])
        return asked_as(unit, job.id, repeated=False)


def list_questions(house: House, who: Principal, cursor: Cursor, *, project: str | None = None) -> Slice[Asked]:
    """The questions of all your projects, or of one (id or name). Answers are not loaded: read a question for its own."""
    with house.registry.read() as unit:
        holder = unit.people.project(project) if project is not None else None
        if project is not None and holder is None:
            return Slice(items=())
        listed = unit.jobs.list(cursor, member=who.id, project=holder.id if holder else None, kind=Kind.ASK)
        items = tuple(Asked(job=job, question=Question.read(job.payload)) for job in listed.items)
        return Slice(items=items, next=listed.next)


# --- in a worker -------------------------------------------------------------------------------------------------------


def answer_job(house: House, job: Job) -> None:
    """Answer the question of a job whose attempt the caller holds (`jobs.attempt`).

    Nothing is visible before the last step, which waits for the end of a bucket of time (`compute.pace`) whatever the outcome
    is, so that the moment tells next to nothing; and that step is fenced: whichever attempt gets there first is charged, once.
    """
    began = house.pace.steady()
    question = Question.read(job.payload)
    outcome = _work(house, job, question)
    house.pace.hold(began)
    if isinstance(outcome, _Failure):
        _give_up(house, job, outcome)
        return
    try:
        letter = _seal(house, job, question, outcome)
    except Exception as problem:  # noqa: BLE001 - law 5: no failure may differ from another for the asker
        _give_up(house, job, _Failure(problem, read=True))
        return
    _publish(house, job, question, letter)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Found:
    """An answer, and what it was made under. Noise is drawn, nothing is written."""

    standing: Standing
    plan: Plan
    answer: Answer


@dataclass(frozen=True, slots=True)
class _Failure:
    """Why there is no answer; `read` when data may have been read for it."""

    problem: Exception
    read: bool


def _work(house: House, job: Job, question: Question) -> _Found | _Failure:
    """Everything that may take long, and nothing that anybody sees."""
    try:
        standing, plan, version = _prepare(house, job, question)
    except Exception as problem:  # noqa: BLE001 - every failure ends the job; nothing was read by this attempt
        return _Failure(problem, read=job.attempt > 1)
    try:
        with house.engine.units(version, house.limits) as units, house.engine.finishing(house.limits) as plain:
            finish = house.engine.beside(plain, version, plan, house.limits)
            return _Found(standing=standing, plan=plan, answer=release(plan, units, question.loss, finish))
    except Exception as problem:  # noqa: BLE001 - law 5: no failure may differ from another for the asker
        return _Failure(problem, read=True)


def _prepare(house: House, job: Job, question: Question) -> tuple[Standing, Plan, Path]:
    """Decide once more (a grant may have been revoked since), plan once more, and fetch the version."""
    with house.registry.read() as unit:
        who = unit.people.principal(job.asked_by)
        if who is None or job.project is None:
            raise Fault(private="the job's asker or project is gone")
        standing = stand(house, unit, who, Use.ASK, project=job.project, dataset=job.dataset)
        asked_on = unit.catalogue.version(job.dataset, question.version)
    if asked_on is None:
        raise Fault(private=f"version {question.version} is gone")
    standing = replace(standing, version=asked_on)
    plan = compile_query(question.sql, standing.facts)
    if plan.digest() != question.plan:
        raise Fault(private="the question has another plan now than when it was paid for")
    return standing, plan, house.vault.fetch(question.version)


def _give_up(house: House, job: Job, failure: _Failure) -> None:
    """End the job without an answer: no longer allowed, or failed with the one constant sentence."""
    problem, read = failure.problem, failure.read
    stopped = isinstance(problem, Refused | NotFound) and not read
    to, status = (State.CANCELLED, StatusCode.NO_LONGER_ALLOWED) if stopped else (State.FAILED, StatusCode.FAULT)
    private = "".join(traceback.format_exception(problem))
    if isinstance(problem, Problem) and problem.private:
        private = f"{problem.private}\n{private}"
    try:
        with house.registry.begin() as unit:
            entry = house.event("question.ended", None, job.id, attempt=job.attempt, state=to.value, charged=read)
            unit.jobs.finish(job.id, job.attempt, to, status, now=house.clock(), private=private[:20_000], entry=entry)
            close_money(unit, job, read=read, at=house.clock(), entry=entry)
    except LeaseLost:
        _log.info("attempt %d of job %s came too late to fail", job.attempt, job.id)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Letter:
    """An answer and its receipt, ready to leave, and the log entry that binds them."""

    answer: StoredAnswer
    receipt: StoredReceipt
    entry: Entry


def _seal(house: House, job: Job, question: Question, found: _Found) -> _Letter:
    """Write the answer's file and sign the statement about it, as of now. Nothing is visible yet."""
    standing, plan, answer = found.standing, found.plan, found.answer
    now, answer_id, receipt_id, project = house.clock(), house.new_id(), house.new_id(), standing.project.id
    body = released(answer=answer, plan=plan, question=question, job=job, receipt=receipt_id, at=now).file()
    statement = _statement(job, question, standing, plan, receipt=receipt_id, body=body, issued=now)
    kept = StoredAnswer(
        id=answer_id,
        job=job.id,
        project=project,
        dataset=job.dataset,
        plan=question.plan,
        version=question.version,
        price=question.loss,
        body=body,
        receipt=receipt_id,
        created_at=now,
    )
    proof = StoredReceipt(
        id=receipt_id,
        job=job.id,
        project=project,
        dataset=job.dataset,
        envelope=seal(statement, house.signer).file(),
        created_at=now,
    )
    return _Letter(answer=kept, receipt=proof, entry=statement.entry())


def _publish(house: House, job: Job, question: Question, letter: _Letter) -> None:
    """One fenced transaction: the job ends, the loss is settled, answer and receipt are kept, all under one log entry."""
    now, entry = letter.answer.created_at, letter.entry
    result = canonical({"answer": letter.answer.id, "receipt": letter.receipt.id}).decode()
    try:
        with house.registry.begin() as unit:
            unit.jobs.finish(
                job.id, job.attempt, State.SUCCEEDED, StatusCode.ANSWERED, now=now, result=result, entry=entry
            )
            unit.ledger.settle(question.reservation, at=now, entry=entry)
            unit.answers.add(letter.answer, entry=entry)
            unit.receipts.add(letter.receipt, entry=entry)
    except LeaseLost:
        _log.info("attempt %d of job %s came too late to answer; its answer is dropped", job.attempt, job.id)


def _statement(
    job: Job, question: Question, standing: Standing, plan: Plan, *, receipt: str, body: bytes, issued: datetime
) -> Statement:
    ran = Ran(
        dataset=job.dataset,
        version=question.version,
        facts=plan.facts_digest,
        policy=policy_digest(standing.dataset.policy),
        question=digest(question.sql.encode()),
        plan=question.plan,
    )
    return Statement(
        receipt=receipt,
        issued=issued,
        asker=job.asked_by,
        project=standing.project.id,
        job=job.id,
        ran=ran,
        cost=question.loss,
        grant=standing.grant.id,
        reviewers=standing.grant.reviewers,
        released=(Subject(name=FILE_NAME, sha256=digest(body)),),
    )

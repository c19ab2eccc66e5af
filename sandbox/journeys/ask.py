"""Ask: SQL in, a noisy answer with intervals and a receipt out (ARCHITECTURE, section 6).

Owns the order of things: *preview* touches no data and spends nothing; *ask* decides, plans, looks for the stored answer,
and then in one transaction reserves the loss and writes down the job; *answer_job*, in a worker, decides again, lets the
engine count, adds noise, and in one fenced transaction settles, stores the answer, seals the receipt and ends the job. It
never shows a number without noise, and never an error that depends on data: whatever goes wrong once the engine was called
is one constant sentence (law 5), and is paid for (law 1). The same question of the same project on the same version, at no
higher offer, is answered from the store at no cost.
"""

from __future__ import annotations

import logging
import traceback
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from access.audit import Entry, canonical, digest
from access.ledger import Reservation, has_room, refusal
from access.people import Principal
from access.policy import Use
from access.ports import Cursor, IdempotencyRecord, RegistryChanged, Slice, StoredAnswer, StoredReceipt
from access.receipts import Ran, Statement, Subject, seal
from compute.jobs import Job, JobNotFound, Kind, LeaseLost, State, StatusCode, queued
from privacy.answer import Answer, PlusMinus
from privacy.answer import preview as plus_minus
from privacy.errors import Fault, NotFound, Problem, Refused
from privacy.loss import Loss
from privacy.mechanisms import release
from privacy.sql import Plan, compile_query
from sandbox.journeys.accuracy import Known, price_for
from sandbox.journeys.house import House, Work
from sandbox.journeys.jobs import announce, close_money, visible
from sandbox.journeys.offer import Offer, Question, Standing, Wish, offer, policy_digest, stand
from sandbox.journeys.released import FILE_NAME, Released, key_units, released

_log = logging.getLogger(__name__)
_REPEAT = "repeat:"


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
class Asked:
    """A question and how far it is. `repeated`: the stored answer of an earlier job is returned, and nothing is charged."""

    job: Job
    question: Question
    answer: StoredAnswer | None = None
    repeated: bool = False


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
    with house.registry.read() as unit:
        standing = stand(house, unit, who, Use.PREVIEW, project=project, dataset=dataset)
        plan = compile_query(sql, standing.facts)
        price = _priced(unit, standing, plan, epsilon, delta, within)
        stored = _stored(unit, standing, plan, price)
    return Preview(
        question=sql,
        standing=standing,
        plan=plan,
        offer=price,
        plus_minus=plus_minus(plan, price.loss),
        key_units=key_units(plan, price.loss),
        more_like_it=price.fits(standing.remaining),
        repeated=stored is not None,
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
    with house.registry.read() as unit:
        earlier = unit.idempotency.lookup(who.id, idempotency_key, body)
        if earlier is not None:
            return _replayed(unit, earlier)
        standing = stand(house, unit, who, Use.ASK, project=project, dataset=dataset)
        plan = compile_query(sql, standing.facts)  # not while writing: long texts must not block others
        _refuse_hopeless(unit, standing, plan, _priced(unit, standing, plan, epsilon, delta, within))
    with house.registry.begin() as unit:
        earlier = unit.idempotency.lookup(who.id, idempotency_key, body)
        if earlier is not None:
            return _replayed(unit, earlier)
        now_standing = stand(house, unit, who, Use.ASK, project=project, dataset=dataset)
        if now_standing.version.digest != standing.version.digest or now_standing.facts != standing.facts:
            raise RegistryChanged
        price = _priced(unit, now_standing, plan, epsilon, delta, within)
        asked = _book(house, unit, now_standing, plan, sql, price, _Key(idempotency_key, body), within)
    if not asked.repeated:
        announce(house, asked.job)
    return asked


def _priced(
    unit: Work, standing: Standing, plan: Plan, epsilon: float | None, delta: float | None, within: Wish | None
) -> Offer:
    """The price that is offered, or the least one for what is wished."""
    if within is None:
        return offer(standing, plan, epsilon, delta)
    stored = unit.answers.find(standing.project.id, plan.digest(), standing.version.digest, Loss())
    return price_for(within, standing, plan, epsilon, delta, _known(unit, stored) if stored else None)


def _known(unit: Work, stored: StoredAnswer) -> Known:
    job = unit.jobs.get(stored.job)
    assert job is not None, "an answer outlived its job"
    return Known(answer=Released.read(stored.body), wish=Question.read(job.payload).wish)


def _refuse_hopeless(unit: Work, standing: Standing, plan: Plan, price: Offer) -> None:
    """Say no early to a question that has neither a stored answer nor room, so that it takes no turn at writing.

    This decides nothing: room is tested in the statement that takes it (law 1).
    """
    full = next((a for a in (standing.account, standing.total) if not has_room(a, price.loss)), None)
    if full is not None and _stored(unit, standing, plan, price) is None:
        raise refusal(full, price.loss, standing.dataset.provider.contact)


def _stored(unit: Work, standing: Standing, plan: Plan, price: Offer) -> StoredAnswer | None:
    """The answer of this project to this question on this version that was paid with at least this price."""
    return unit.answers.find(standing.project.id, plan.digest(), standing.version.digest, price.loss)


@dataclass(frozen=True, slots=True)
class _Key:
    name: str
    body: str


def _book(
    house: House,
    unit: Work,
    standing: Standing,
    plan: Plan,
    sql: str,
    price: Offer,
    key: _Key,
    within: Wish | None,
) -> Asked:
    """Within one transaction: the stored answer, or {reservation, job}; and the idempotency record, all with one entry."""
    who = standing.who
    stored = _stored(unit, standing, plan, price)
    if stored is not None:
        entry = house.event("question.repeated", who, stored.job, answer=stored.id, receipt=stored.receipt)
        _remember(house, unit, who, key, _REPEAT + stored.job, entry)
        return _found(unit, stored.job, repeated=True)
    question = Question(
        sql=sql,
        plan=plan.digest(),
        version=standing.version.digest,
        epsilon=price.epsilon,
        delta=price.delta,
        loss=price.loss,
        reservation=house.new_id(),
        wish=within,
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
        question=digest(sql.encode()),
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
    _remember(house, unit, who, key, job.id, entry)
    return Asked(job=job, question=question)


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


def _remember(house: House, unit: Work, who: Principal, key: _Key, result: str, entry: Entry) -> None:
    record = IdempotencyRecord(
        principal=who.id, key=key.name, body_digest=key.body, result=result, created_at=house.clock()
    )
    unit.idempotency.add(record, entry=entry)


def _replayed(unit: Work, result: str) -> Asked:
    """What the same request came to the first time, as it stands now."""
    return _found(unit, result.removeprefix(_REPEAT), repeated=result.startswith(_REPEAT))


def _found(unit: Work, job_id: str, *, repeated: bool) -> Asked:
    job = unit.jobs.get(job_id)
    assert job is not None, "an idempotency record or an answer outlived its job"
    return Asked(job=job, question=Question.read(job.payload), answer=unit.answers.of_job(job.id), repeated=repeated)


# --- reading -----------------------------------------------------------------------------------------------------------


def read_question(house: House, who: Principal, job_id: str) -> Asked:
    """A question of one of your projects and, once there is one, its answer. Raises `JobNotFound`."""
    with house.registry.read() as unit:
        job = visible(house, unit, who, job_id)
        if job.kind is not Kind.ASK:
            raise JobNotFound(job=job_id[:64])
        return _found(unit, job.id, repeated=False)


def list_questions(house: House, who: Principal, cursor: Cursor, *, project: str | None = None) -> Slice[Asked]:
    """The questions of all your projects, or of one (id or name). Answers are not loaded: read a question for its own."""
    with house.registry.read() as unit:
        holder = unit.people.project(project) if project is not None else None
        if project is not None and holder is None:
            return Slice(items=())
        found = unit.jobs.list(cursor, member=who.id, project=holder.id if holder else None, kind=Kind.ASK)
        items = tuple(Asked(job=job, question=Question.read(job.payload)) for job in found.items)
        return Slice(items=items, next=found.next)


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

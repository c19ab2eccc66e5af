"""The Ask journey over the real store, vault and engine: what is spent, when, and what is left behind."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import NoReturn

import pytest

from access.audit import digest, public_pem
from access.ledger import BudgetExhausted, DeltaExhausted
from access.people import ProjectNotFound
from access.policy import NotAllowed
from access.ports import Cursor, IdempotencyReused
from compute.jobs import JobNotFound, JobOver, Kind, State, StatusCode
from privacy.errors import Fault
from privacy.loss import Budget, Loss, price
from sandbox.journeys.ask import answer_job, list_questions, preview, read_question
from sandbox.journeys.jobs import attempt, cancel, list_jobs, look, read_job, sweep
from sandbox.journeys.offer import OfferMalformed, Question
from sandbox.journeys.proof import read_receipt, recheck_log
from sandbox.journeys.released import ANSWER_TYPE, Released
from sandbox.verify_receipt import read_key, verify_receipt
from tests.fakes.asking import BY_CODE, COUNT, DATASET, TOTAL, Scene, open_scene

NOTHING = Loss()


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    found = open_scene(tmp_path)
    yield found
    found.house.registry.close()  # type: ignore[attr-defined]


def _preview(scene: Scene, sql: str = COUNT, **price: float):
    return preview(scene.house, scene.li, project="flow", dataset=DATASET, sql=sql, **price)


# --- preview -----------------------------------------------------------------------------------------------------------


def test_preview_says_what_it_costs_and_how_exact_it_is(scene: Scene) -> None:
    seen = _preview(scene, epsilon=1.0)
    assert seen.offer.loss == price(1.0, 1e-6, selects_keys=False)
    assert [p.name for p in seen.plus_minus] == ["n"]
    assert seen.plus_minus[0].half_width is not None
    assert 10 < seen.plus_minus[0].half_width < 60
    assert seen.more_like_it == scene.accounts()[0].limit.rho // seen.offer.loss.rho
    assert seen.affordable
    assert not seen.repeated
    assert seen.key_units is None


def test_preview_touches_no_data_and_leaves_no_trace(scene: Scene) -> None:
    assert scene.dataset.version is not None
    stored = scene.house.vault.fetch(scene.dataset.version)
    before = recheck_log(scene.house).frontier
    stored.unlink()
    for sql in (COUNT, TOTAL, BY_CODE, "SELECT AVG(amount) AS a FROM visits WHERE city = '云海'"):
        assert _preview(scene, sql).offer.loss.rho > 0
    assert recheck_log(scene.house).frontier == before
    assert all(a.reserved == a.spent == NOTHING for a in scene.accounts())


def test_preview_of_private_keys_names_the_units_a_key_needs_and_pays_a_tenth_of_delta(scene: Scene) -> None:
    seen = _preview(scene, BY_CODE)
    assert seen.offer.delta == pytest.approx(1e-7)
    assert seen.offer.loss.delta == 49_999_999
    assert seen.key_units is not None
    assert seen.key_units > 1
    assert seen.offer.fits(seen.standing.remaining) == 10


def test_preview_counts_down_and_shows_what_is_free(scene: Scene) -> None:
    first = _preview(scene)
    scene.work(scene.ask().job.id)
    second = _preview(scene)
    assert second.more_like_it == first.more_like_it - 1
    assert second.repeated
    assert not _preview(scene, epsilon=0.7).repeated


@pytest.mark.parametrize(
    ("epsilon", "delta"), [(1e-9, None), (-1.0, None), (float("nan"), None), (1.0, 2.0), (1.0, 0.0)]
)
def test_an_offer_that_is_no_price_is_refused(scene: Scene, epsilon: float, delta: float | None) -> None:
    with pytest.raises(OfferMalformed):
        preview(scene.house, scene.li, project="flow", dataset=DATASET, sql=COUNT, epsilon=epsilon, delta=delta)


def test_an_offer_that_selects_keys_for_no_delta_is_refused(scene: Scene) -> None:
    with pytest.raises(OfferMalformed):
        _preview(scene, BY_CODE, epsilon=1.0, delta=1e-15)


def test_without_an_epsilon_what_is_left_is_offered_and_never_more(tmp_path: Path) -> None:
    scene = open_scene(tmp_path, project=Budget(0.6, 1e-6))
    scene.work(scene.ask().job.id)
    left = scene.accounts()[0].remaining
    seen = _preview(scene, TOTAL)
    assert seen.offer.loss.rho == left.rho
    assert 0 < seen.offer.epsilon < 0.5
    assert seen.more_like_it == 1
    scene.work(scene.ask(TOTAL).job.id)
    assert scene.accounts()[0].remaining.rho == 0
    with pytest.raises(BudgetExhausted):
        scene.ask("SELECT COUNT(*) AS m FROM visits")


# --- ask and answer ----------------------------------------------------------------------------------------------------


def test_asking_sets_aside_before_anything_is_read_and_answering_settles(scene: Scene) -> None:
    asked = scene.ask(epsilon=1.0)
    loss = price(1.0, 1e-6, selects_keys=False)
    assert asked.job.state is State.QUEUED
    assert asked.answer is None
    assert scene.line.ids == [asked.job.id]
    assert [a.reserved for a in scene.accounts()] == [loss, loss]

    assert scene.work() == [asked.job.id]

    done = scene.read(asked)
    assert (done.job.state, done.job.status, done.job.attempt) == (State.SUCCEEDED, StatusCode.ANSWERED, 1)
    assert [(a.reserved, a.spent) for a in scene.accounts()] == [(NOTHING, loss)] * 2
    assert done.answer is not None
    answer = Released.read(done.answer.body)
    assert answer.type == ANSWER_TYPE
    assert (answer.question, answer.dataset, answer.version) == (COUNT, DATASET, scene.dataset.version)
    assert (answer.epsilon, answer.delta, answer.loss) == (1.0, 1e-6, loss)
    assert [row[0] for row in answer.rows] == ["云海", "青州"]
    for (_, value), (none, interval), exact in zip(answer.rows, answer.intervals, (400, 200), strict=True):
        assert none is None
        assert interval is not None
        assert interval[0] <= value <= interval[1]
        assert abs(value - exact) < 12 * answer.columns[1].scale  # 12 sigma: false alarm below 1e-30
    assert answer.file() == done.answer.body, "writing what was read gives the same bytes"


def test_the_receipt_proves_the_answer_offline(scene: Scene) -> None:
    asked = scene.ask()
    scene.work()
    done = scene.read(asked)
    assert done.answer is not None
    file = read_receipt(scene.house, scene.li, done.answer.receipt)
    key = read_key(public_pem(scene.house.signer.public_key).encode())
    proven = verify_receipt(file, key, done.answer.body).statement
    said = proven["predicate"]
    assert proven["subject"][0]["digest"]["sha256"] == digest(done.answer.body)
    assert said["ran"]["question"] == digest(COUNT.encode())
    assert said["ran"]["version"] == scene.dataset.version
    assert said["cost"] == {"rho": asked.question.loss.rho, "delta": 0}
    assert said["decided"] == {"grant": scene.grant.id, "reviewers": ["rui"]}
    assert said["asked"]["job"] == asked.job.id
    assert json.loads(done.job.result) == {"answer": done.answer.id, "receipt": done.answer.receipt}


def test_every_step_is_in_the_log_and_the_whole_log_verifies(scene: Scene) -> None:
    asked = scene.ask()
    scene.work()
    with scene.house.registry.read() as unit:
        kinds = [e.kind for _, e in unit.log.entries(Cursor(limit=500)).items if asked.job.id in (e.subject, "")]
        last = unit.log.entries(Cursor(limit=500)).items[-1][1]
    assert kinds == ["question.asked", "job.claimed"]
    assert last.kind == "answer.released"
    recheck_log(scene.house)


def test_the_same_question_is_answered_from_the_store_at_no_cost(scene: Scene) -> None:
    first = scene.ask(epsilon=1.0)
    scene.work()
    spent = scene.accounts()
    again = scene.ask(epsilon=1.0)
    cheaper = scene.ask(epsilon=0.2)
    assert again.repeated
    assert cheaper.repeated
    answers = {a.answer.body for a in (scene.read(first), again, cheaper) if a.answer}
    assert len(answers) == 1
    assert scene.accounts() == spent
    assert scene.line.ids == []


def test_a_higher_offer_is_a_new_fully_paid_question(scene: Scene) -> None:
    scene.ask(epsilon=0.5)
    dearer = scene.ask(epsilon=1.0)
    scene.work()
    assert not dearer.repeated
    paid = [price(e, 1e-6, selects_keys=False).rho for e in (0.5, 1.0)]
    assert scene.accounts()[0].spent.rho == sum(paid)
    again = scene.ask(epsilon=0.9)
    assert again.repeated
    assert again.job.id == dearer.job.id


def test_the_same_key_is_the_same_question_whatever_happened_in_between(scene: Scene) -> None:
    first = scene.ask(key="k-1", epsilon=1.0)
    second = scene.ask(key="k-1", epsilon=1.0)
    assert second.job.id == first.job.id
    assert scene.accounts()[0].reserved == first.question.loss
    scene.work()
    third = scene.ask(key="k-1", epsilon=1.0)
    assert third.job.id == first.job.id
    assert not third.repeated, "it was paid for"
    assert third.answer is not None
    free = scene.ask(key="k-2", epsilon=1.0)
    assert (free.repeated, scene.ask(key="k-2", epsilon=1.0).repeated) == (True, True)
    with pytest.raises(IdempotencyReused):
        scene.ask(TOTAL, key="k-1", epsilon=1.0)
    with pytest.raises(IdempotencyReused):
        scene.ask(key="k-1", epsilon=1.1)


def test_a_refusal_teaches_and_leaves_nothing_behind(scene: Scene) -> None:
    before = recheck_log(scene.house).frontier.size
    with pytest.raises(BudgetExhausted) as refused:
        scene.ask(key="again", epsilon=50.0)
    said = refused.value.params
    assert said["contact"] == "data@health.example"
    assert float(str(said["requested"])) > 50
    assert {"remaining", "difference", "delta"} <= said.keys()
    assert recheck_log(scene.house).frontier.size == before
    assert scene.accounts()[0].reserved == NOTHING
    assert scene.line.ids == []
    assert scene.ask(key="again", epsilon=0.5).job.state is State.QUEUED, "the key was not used up"


def test_delta_runs_out_by_itself(scene: Scene) -> None:
    with pytest.raises(DeltaExhausted):
        scene.ask(BY_CODE, epsilon=0.1, delta=5e-6)


def test_a_total_account_without_room_refuses_though_the_project_has_some(tmp_path: Path) -> None:
    scene = open_scene(tmp_path, project=Budget(4.0, 1e-6), total=Budget(0.3, 1e-6))
    with pytest.raises(BudgetExhausted):
        scene.ask(epsilon=1.0)
    assert all(a.reserved == NOTHING for a in scene.accounts())


def test_private_keys_are_selected_and_paid_with_delta(scene: Scene) -> None:
    asked = scene.ask(BY_CODE, epsilon=3.0)
    scene.work()
    done = scene.read(asked)
    assert done.answer is not None
    answer = Released.read(done.answer.body)
    assert answer.key_units is not None
    assert {row[0] for row in answer.rows} <= {"c0", "c1", "c2", "c3"}
    assert scene.accounts()[0].spent.delta == 49_999_999


def test_a_queue_that_is_away_delays_a_job_and_loses_nothing(scene: Scene) -> None:
    class Away:
        def send(self, job_id: str) -> None:
            raise OSError("no route")

    house = replace(scene.house, queue=Away())
    asked = replace(scene, house=house).ask()
    assert asked.job.state is State.QUEUED
    assert sweep(scene.house) == ()
    scene.clock.ahead = timedelta(seconds=30)
    assert sweep(scene.house) == (asked.job.id,)


def test_who_is_not_in_the_project_learns_nothing(scene: Scene) -> None:
    with pytest.raises(ProjectNotFound):
        scene.ask(who=scene.wang)
    asked = scene.ask()
    for look_at in (read_question, read_job):
        with pytest.raises(JobNotFound):
            look_at(scene.house, scene.wang, asked.job.id)
        with pytest.raises(JobNotFound):
            look_at(scene.house, scene.li, "nothing")
    assert list_questions(scene.house, scene.wang, Cursor()).items == ()
    assert list_questions(scene.house, scene.wang, Cursor(), project="flow").items == ()


def test_questions_and_jobs_are_listed(scene: Scene) -> None:
    asked = [scene.ask(), scene.ask(TOTAL)]
    ids = [a.job.id for a in asked]
    everything = Cursor()
    assert [q.job.id for q in list_questions(scene.house, scene.li, everything).items] == ids
    assert [q.question.sql for q in list_questions(scene.house, scene.li, everything, project="flow").items] == [
        COUNT,
        TOTAL,
    ]
    assert list_questions(scene.house, scene.li, everything, project="none").items == ()
    assert [j.id for j in list_jobs(scene.house, scene.li, everything).items] == ids
    assert [j.id for j in list_jobs(scene.house, scene.li, everything, project="flow", kind=Kind.ASK).items] == ids
    assert list_jobs(scene.house, scene.li, everything, kind=Kind.INGEST).items == ()
    assert list_jobs(scene.house, scene.li, everything, project="none").items == ()
    assert list_jobs(scene.house, scene.wang, everything, project="flow").items == ()


def test_what_a_job_looks_like_changes_with_its_state_alone(scene: Scene) -> None:
    asked = scene.ask()
    before = look(asked.job)
    assert look(read_job(scene.house, scene.li, asked.job.id)) == before
    scene.work()
    assert look(read_job(scene.house, scene.li, asked.job.id)) != before


def test_a_question_reads_back_as_it_was_written() -> None:
    price_offered = {"epsilon": 0.1 + 0.2, "delta": 1e-7, "loss": Loss(3, 4)}
    question = Question(sql="SELECT 1 -- 问", plan="p", version="v", reservation="r", **price_offered)  # type: ignore[arg-type]
    assert Question.read(question.payload()) == question


# --- when things go wrong ----------------------------------------------------------------------------------------------


class Broken:
    """An engine that fails after it may have read everything."""

    def units(self, version: Path, limits: object) -> NoReturn:
        raise Fault(private="row 17 of person p4 overflows")


class Untouched:
    """An engine that must not be called."""

    def units(self, version: Path, limits: object) -> NoReturn:
        raise AssertionError("the engine was called")


def test_a_failure_in_the_engine_is_paid_for_and_says_nothing(scene: Scene) -> None:
    asked = scene.ask()
    with attempt(scene.house, asked.job.id) as job:
        assert job is not None
        answer_job(replace(scene.house, engine=Broken()), job)  # type: ignore[arg-type]
    done = scene.read(asked)
    assert (done.job.state, done.job.status, done.answer) == (State.FAILED, StatusCode.FAULT, None)
    assert "row 17" in done.job.private, "the operator reads why"
    assert [(a.reserved, a.spent) for a in scene.accounts()] == [(NOTHING, asked.question.loss)] * 2


def test_a_failure_before_data_was_read_gives_the_money_back(scene: Scene) -> None:
    assert scene.dataset.version is not None
    asked = scene.ask()
    scene.house.vault.fetch(scene.dataset.version).unlink()
    with attempt(scene.house, asked.job.id) as job:
        assert job is not None
        answer_job(replace(scene.house, engine=Untouched()), job)  # type: ignore[arg-type]
    assert scene.read(asked).job.state is State.FAILED
    assert all(a.reserved == a.spent == NOTHING for a in scene.accounts())


def test_a_failure_before_data_was_read_is_paid_for_when_an_earlier_try_may_have_read(scene: Scene) -> None:
    assert scene.dataset.version is not None
    asked = scene.ask()
    with attempt(scene.house, asked.job.id):
        pass  # a worker that was lost
    scene.clock.ahead = timedelta(minutes=1)
    scene.house.vault.fetch(scene.dataset.version).unlink()
    assert scene.work(asked.job.id) == [asked.job.id]
    assert scene.read(asked).job.state is State.FAILED
    assert scene.accounts()[0].spent == asked.question.loss


def test_a_lost_worker_is_replaced_and_comes_too_late(scene: Scene) -> None:
    asked = scene.ask()
    with attempt(scene.house, asked.job.id) as lost:
        assert lost is not None
        scene.clock.ahead = timedelta(minutes=1)
        assert sweep(scene.house) == (asked.job.id,)
        assert scene.work(asked.job.id) == [asked.job.id]
        answered = scene.read(asked)
        answer_job(scene.house, lost)
    done = scene.read(asked)
    assert done == answered
    assert done.job.attempt == 2
    assert scene.accounts()[0].spent == asked.question.loss, "charged once"
    recheck_log(scene.house)


def test_a_lost_worker_that_fails_late_changes_nothing(scene: Scene) -> None:
    asked = scene.ask()
    with attempt(scene.house, asked.job.id) as lost:
        assert lost is not None
        scene.clock.ahead = timedelta(minutes=1)
        scene.work(asked.job.id)
        answer_job(replace(scene.house, engine=Broken()), lost)  # type: ignore[arg-type]
    assert scene.read(asked).job.state is State.SUCCEEDED


def test_a_job_whose_workers_keep_dying_is_killed_and_paid_for(scene: Scene) -> None:
    asked = scene.ask()
    for n in range(6):
        with attempt(scene.house, asked.job.id) as job:
            assert job is not None
            assert job.attempt == n + 1
        scene.clock.ahead += timedelta(minutes=1)
    assert sweep(scene.house) == ()
    done = scene.read(asked)
    assert (done.job.state, done.job.status) == (State.KILLED, StatusCode.LOST_TOO_OFTEN)
    assert scene.accounts()[0].spent == asked.question.loss
    assert scene.work(asked.job.id) == []


def test_cancelling_a_waiting_job_gives_the_money_back(scene: Scene) -> None:
    asked = scene.ask()
    assert cancel(scene.house, scene.li, asked.job.id).state is State.CANCELLED
    assert all(a.reserved == a.spent == NOTHING for a in scene.accounts())
    assert scene.work() == []
    with pytest.raises(JobOver):
        cancel(scene.house, scene.li, asked.job.id)


def test_cancelling_a_running_job_is_paid_for_and_closes_its_fence(scene: Scene) -> None:
    asked = scene.ask()
    with attempt(scene.house, asked.job.id) as job:
        assert job is not None
        cancel(scene.house, scene.li, asked.job.id)
        answer_job(scene.house, job)
    done = scene.read(asked)
    assert (done.job.state, done.answer) == (State.CANCELLED, None)
    assert scene.accounts()[0].spent == asked.question.loss


def test_only_the_asker_cancels(scene: Scene) -> None:
    asked = scene.ask()
    with pytest.raises(JobNotFound):
        cancel(scene.house, scene.wang, asked.job.id)
    with scene.house.registry.begin() as unit:
        unit.people.add_member(
            scene.project.id, scene.wang.id, entry=scene.house.event("project.member-added", scene.li, scene.project.id)
        )
    with pytest.raises(NotAllowed):
        cancel(scene.house, scene.wang, asked.job.id)


def test_a_plan_that_changed_since_it_was_paid_for_is_not_run(scene: Scene) -> None:
    asked = scene.ask()
    dataset = replace(scene.dataset, policy=replace(scene.dataset.policy, min_units=7))
    with scene.house.registry.begin() as unit:
        unit.catalogue.replace(
            dataset, description=None, entry=scene.house.event("dataset.changed", scene.shen, DATASET)
        )
    scene.work()
    assert scene.read(asked).job.state is State.FAILED
    assert all(a.reserved == a.spent == NOTHING for a in scene.accounts())


def test_the_heartbeat_keeps_the_lease(scene: Scene) -> None:
    asked = scene.ask()
    with attempt(scene.house, asked.job.id, beat=timedelta(milliseconds=20)) as job:
        assert job is not None
        assert job.lease_until is not None
        for _ in range(200):
            seen = read_job(scene.house, scene.li, asked.job.id)
            assert seen.lease_until is not None
            if seen.lease_until > job.lease_until:
                break
        else:
            pytest.fail("the lease was not renewed")
        answer_job(scene.house, job)
    assert scene.read(asked).job.state is State.SUCCEEDED

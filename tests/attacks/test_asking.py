"""Attacks by an analyst who may ask, and by bad luck: each named after what is tried."""

from __future__ import annotations

import multiprocessing
import secrets
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import NoReturn

import pytest

from access.policy import NotAllowed
from access.ports import Cursor
from compute.engines.selftest import escapes
from compute.jobs import Job, State, StatusCode
from compute.ports import Engine, Limits
from privacy.errors import Fault
from privacy.loss import Loss
from privacy.sql.plan import Finish, Opened, Plan
from sandbox.journeys.ask import answer_job
from sandbox.journeys.jobs import attempt
from sandbox.journeys.offer import Question
from sandbox.journeys.proof import recheck_log
from sandbox.journeys.released import Released
from tests.fakes.asking import COUNT, Scene, open_scene, reopen


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    found = open_scene(tmp_path)
    yield found
    found.house.registry.close()  # type: ignore[attr-defined]


def test_averaging_by_repetition_gives_one_number_for_one_price(scene: Scene) -> None:
    """Dinur & Nissim 2003: independent noise averages away, so the same question must not draw twice for one price."""
    for n in range(30):
        asked = scene.ask(epsilon=0.5 - n / 100)
        scene.work()
        assert asked.repeated == (n > 0)
    with scene.house.registry.read() as unit:
        plan = Question.read(asked.job.payload).plan
        assert scene.dataset.version is not None
        stored = unit.answers.find(scene.project.id, plan, scene.dataset.version, Loss(1))
    assert stored is not None
    assert scene.accounts()[0].spent == Released.read(stored.body).loss


def test_asking_the_same_at_the_same_time_is_paid_for_every_time_noise_is_drawn(scene: Scene) -> None:
    """Before the first answer is stored, a second asking draws its own noise: then it costs its own price."""
    for _ in range(5):
        scene.ask(epsilon=0.5)
    scene.work()
    loss = scene.ask(epsilon=0.5).question.loss
    assert scene.accounts()[0].spent == Loss(5 * loss.rho)


def _claims(folder: Path, job_id: str, start, results) -> None:
    house = reopen(folder)
    start.wait()
    with attempt(house, job_id) as job:
        results.put(None if job is None else job.attempt)


def test_two_workers_claiming_one_job(scene: Scene) -> None:
    """Real processes, released at the same moment: one gets it."""
    asked = scene.ask()
    spawn = multiprocessing.get_context("spawn")
    start, results = spawn.Barrier(2), spawn.Queue()
    processes = [spawn.Process(target=_claims, args=(scene.folder, asked.job.id, start, results)) for _ in range(2)]
    for process in processes:
        process.start()
    found = [results.get(timeout=60) for _ in processes]
    for process in processes:
        process.join()
    assert sorted(found, key=str) == [1, None]


class OneByOne:
    """The engine, one call at a time: a worker process answers one question at a time."""

    def __init__(self, engine: Engine) -> None:
        self.engine, self.turn, self.meet = engine, threading.Lock(), threading.Barrier(2)

    def finishing(self, limits: Limits) -> AbstractContextManager[Finish]:
        return self.engine.finishing(limits)

    def beside(self, finish: Finish, version: Path, plan: Plan, limits: Limits) -> Finish:
        return self.engine.beside(finish, version, plan, limits)

    @contextmanager
    def units(self, version: Path, limits: Limits) -> Iterator[Opened]:
        with self.turn, self.engine.units(version, limits) as units:
            yield units
        self.meet.wait(timeout=30)  # both have drawn their noise before either writes


def test_two_workers_that_both_believe_to_hold_the_job_settle_once(scene: Scene) -> None:
    """Each has drawn noise of its own when they come to the registry; the fence lets one through."""
    asked = scene.ask()
    with attempt(scene.house, asked.job.id) as job:
        assert job is not None
        house = replace(scene.house, engine=OneByOne(scene.house.engine))
        threads = [threading.Thread(target=answer_job, args=(house, job)) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert scene.accounts()[0].spent == asked.question.loss
    with scene.house.registry.read() as unit:
        released = [e for _, e in unit.log.entries(Cursor(limit=500)).items if e.kind == "answer.released"]
    assert len(released) == 1


def test_a_revoked_grant_stops_what_is_queued_and_what_is_new(scene: Scene) -> None:
    asked = scene.ask()
    scene.revoke()
    with pytest.raises(NotAllowed):
        scene.ask("SELECT COUNT(*) AS m FROM visits")
    scene.work()
    done = scene.read(asked)
    assert (done.job.state, done.job.status) == (State.CANCELLED, StatusCode.NO_LONGER_ALLOWED)
    assert done.answer is None
    assert all(a.reserved == a.spent == Loss() for a in scene.accounts()), "nothing was read, nothing is charged"


def test_a_revoked_grant_stops_the_next_try_of_a_lost_job_but_what_may_have_been_read_is_paid(scene: Scene) -> None:
    asked = scene.ask()
    with attempt(scene.house, asked.job.id):
        pass
    scene.clock.ahead = timedelta(minutes=1)
    scene.revoke()
    scene.work(asked.job.id)
    assert scene.read(asked).answer is None
    assert scene.accounts()[0].spent == asked.question.loss


def test_a_disabled_asker_gets_no_answer_any_more(scene: Scene) -> None:
    asked = scene.ask()
    with scene.house.registry.begin() as unit:
        entry = scene.house.event("people.disabled", scene.olga, scene.li.id)
        unit.people.disable(scene.li.id, scene.clock(), entry=entry)
    scene.work()
    done = scene.read(asked)
    assert (done.job.state, done.answer) == (State.CANCELLED, None)


class Failing:
    """An engine that fails in the way it was told to."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def units(self, version: Path, limits: object) -> NoReturn:
        raise self.error


def test_the_error_channel_says_the_same_whatever_went_wrong(scene: Scene) -> None:
    """An overflow that only one person's row can cause would tell of that person; so would which error it was."""
    errors = [
        Fault(private="Conversion Error: 张三 is not a number"),
        MemoryError(),
        OverflowError("2147483648"),
        TimeoutError("60 s"),
        KeyError("p4"),
    ]
    seen = set()
    for n, error in enumerate(errors):
        asked = scene.ask(f"SELECT COUNT(*) AS n{n} FROM visits", epsilon=0.3)
        with attempt(scene.house, asked.job.id) as job:
            assert job is not None
            answer_job(replace(scene.house, engine=Failing(error)), job)  # type: ignore[arg-type]
        done = scene.read(asked).job
        seen.add((done.state, done.status, done.result, done.progress, done.attempt))
    assert len(seen) == 1
    assert scene.accounts()[0].spent.rho == len(errors) * asked.question.loss.rho, "each is paid for alike"


def test_a_forged_payload_finds_no_plan(scene: Scene) -> None:
    """Somebody who can write the jobs table, but not pay, asks for something dearer under a cheap reservation."""
    asked = scene.ask(epsilon=0.1)
    with attempt(scene.house, asked.job.id) as job:
        assert job is not None
        forged = replace(asked.question, sql="SELECT code, COUNT(*) AS n FROM visits GROUP BY code")
        answer_job(scene.house, _with(job, forged))
    assert scene.read(asked).answer is None


def _with(job: Job, question: Question) -> Job:
    return replace(job, payload=question.payload())


def test_the_engine_has_no_way_out(tmp_path: Path) -> None:
    assert escapes(Limits(seconds=20, memory=512 * 2**20, threads=1), tmp_path) == []


def test_nothing_exact_is_ever_written_down(scene: Scene) -> None:
    """The exact cells (400 and 200 rows, on their lattice) stand in no file of the house but the dataset's own."""
    scene.ask(COUNT, epsilon=0.001)
    scene.work()
    lattice = [str(400 * 2**19).encode(), str(200 * 2**19).encode()]
    own = {scene.folder / "visits.csv", scene.folder / "version.duckdb"}
    for path in scene.folder.rglob("*"):
        if path.is_file() and path not in own and "vault" not in path.parts:
            content = path.read_bytes()
            assert not any(exact in content for exact in lattice), path
    recheck_log(scene.house)


def test_keys_cannot_be_guessed_from_ids(scene: Scene) -> None:
    """Ids are random, so an id tells neither how many questions were asked nor by whom."""
    ids = [
        scene.ask(f"SELECT COUNT(*) AS n{n} FROM visits", key=secrets.token_hex(4), epsilon=0.1).job.id
        for n in range(5)
    ]
    assert len({i[:4] for i in ids}) > 1
    assert all(len(i) == 32 for i in ids)

"""Attack: many writers at once try to spend the same budget (lost updates, check-then-act, double settle).

Source: the lost-update anomaly under READ COMMITTED; measured on naive read-modify-write ledgers under 16 writers.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from access.audit import verify_log
from access.grants import submit, take_up
from access.ledger import AlreadyClosed, BudgetExhausted, LineKind
from access.ports import Cursor, IdempotencyRecord, IdempotencyReused, RegistryChanged
from privacy.loss import Budget, Loss
from sandbox.store import SqlRegistry, migrate
from tests.fakes import cast, postgres
from tests.fakes.cast import NOW, PROJECT, SIGNER, Events
from tests.fakes.furnished import furnish

WRITERS = 16
ASKS = 60
MINE, TOTAL = f"acc-{PROJECT.id}", "acc-total"
FORK = multiprocessing.get_context("fork")


@pytest.fixture(params=["sqlite", *(["postgresql"] if postgres.binaries() else [])])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'registry.db'}"
        return
    with postgres.server() as folder:
        with psycopg.connect(f"host={folder} user=tests dbname=postgres", autocommit=True) as connection:
            connection.execute("CREATE DATABASE race")
        yield postgres.url(folder, "race")


@pytest.fixture
def registry(url: str) -> Iterator[SqlRegistry]:
    migrate(url)
    opened = SqlRegistry(url, signer=SIGNER, clock=lambda: NOW)
    furnish(opened)
    yield opened
    opened.close()


def in_processes(writers: int, work: Callable[[int], None]) -> None:
    """Run `work` in that many processes at once; every one must succeed."""
    gate = FORK.Barrier(writers)

    def one(number: int) -> None:
        gate.wait()
        work(number)

    processes = [FORK.Process(target=one, args=(number,)) for number in range(writers)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0] * writers


def set_limits(registry: SqlRegistry, units: int) -> int:
    """Give the project's account room for exactly that many questions; returns what one of them costs in rho."""
    limit = Budget(1.0, 1e-6).limit
    cost = limit.rho // units
    with registry.begin() as work:
        work.ledger.set_limit(MINE, Budget(1.0, 1e-6), entry=Events()("race.limit"))
        first = cast.reservation("rest", limit.rho - cost * units, 0, "job-rest")
        work.jobs.add(cast.job("job-rest"), entry=Events()("race.rest"))
        work.ledger.reserve(first, contact="c", entry=Events()("race.rest"))
        work.ledger.settle("rest", at=NOW, entry=Events()("race.rest"))
    return cost


def test_sixteen_processes_end_at_exactly_the_limit(registry: SqlRegistry) -> None:
    """960 questions, a third of them voided, room for 301: exactly 301 are settled and nothing stays set aside."""
    room = 301
    cost = set_limits(registry, room)

    def spend(number: int) -> None:
        event = Events(number * 1_000_000)
        for n in range(ASKS):
            key = f"{number}-{n}"
            try:
                with registry.begin() as work:
                    work.jobs.add(cast.job(f"job-{key}"), entry=event("race.asked"))
                    work.ledger.reserve(
                        cast.reservation(key, cost, 0, f"job-{key}"), contact="c", entry=event("race.asked")
                    )
            except BudgetExhausted:
                continue
            with registry.begin() as work:
                close = work.ledger.void if n % 3 == 2 else work.ledger.settle
                close(key, at=NOW, entry=event("race.closed"))
        os._exit(0)

    in_processes(WRITERS, spend)
    settled_all(registry, cost)
    with registry.read() as work:
        limit = work.ledger.account(MINE).limit  # type: ignore[union-attr]
        assert work.ledger.account(MINE).spent.rho == limit.rho  # type: ignore[union-attr]


def settled_all(registry: SqlRegistry, cost: int) -> None:
    """Spend what voided questions gave back at the very end, then hold sums, lines and log to each other."""
    event = Events(10**9)
    number = 0
    while True:
        number += 1
        key = f"last-{number}"
        try:
            with registry.begin() as work:
                work.jobs.add(cast.job(f"job-{key}"), entry=event())
                work.ledger.reserve(cast.reservation(key, cost, 0, f"job-{key}"), contact="c", entry=event())
                work.ledger.settle(key, at=NOW, entry=event())
        except BudgetExhausted:
            break
    with registry.read() as work:
        for account in (MINE, TOTAL):
            found = work.ledger.account(account)
            assert found is not None
            assert found.reserved == Loss()
            assert found.spent == spent_by_lines(work, account)
        assert work.ledger.account(MINE).spent == work.ledger.account(TOTAL).spent  # type: ignore[union-attr]
        report = verify_log(work.log.stream(), work.log.heads(), keys=[SIGNER.public_key], subtrees=work.log.subtrees())
        assert report.frontier.size == work.log.size()


def spent_by_lines(work: object, account: str) -> Loss:
    total, after = Loss(), None
    while True:
        page = work.ledger.entries(account, Cursor(limit=500, after=after))  # type: ignore[attr-defined]
        for line in page.items:
            if line.kind is LineKind.SETTLED:
                total += line.loss
        after = page.next
        if after is None:
            return total


def test_one_reservation_is_settled_by_one_of_many(registry: SqlRegistry, tmp_path: Path) -> None:
    """Sixteen late workers settle or void the same reservation: one wins, and the loss is booked once."""
    with registry.begin() as work:
        work.jobs.add(cast.job(), entry=Events()("race.asked"))
        work.ledger.reserve(cast.reservation("res", 1000), contact="c", entry=Events()("race.asked"))

    def close(number: int) -> None:
        event = Events(number * 1_000_000)
        try:
            with registry.begin() as work:
                act = work.ledger.settle if number % 2 else work.ledger.void
                act("res", at=NOW, entry=event("race.closed"))
            (tmp_path / f"won-{number}").touch()
        except AlreadyClosed:
            pass
        os._exit(0)

    in_processes(WRITERS, close)
    (winner,) = tmp_path.glob("won-*")
    settled = int(winner.name.removeprefix("won-")) % 2
    with registry.read() as work:
        for account in (MINE, TOTAL):
            found = work.ledger.account(account)
            assert found is not None
            assert (found.reserved, found.spent) == (Loss(), Loss(1000 * settled))


def test_one_job_is_claimed_by_one_of_many(registry: SqlRegistry, tmp_path: Path) -> None:
    with registry.begin() as work:
        work.jobs.add(cast.job(), entry=Events()("race.asked"))

    def claim(number: int) -> None:
        with registry.begin() as work:
            held = work.jobs.claim("job-1", now=NOW, entry=Events(number * 1000)("race.claimed"))
        if held is not None:
            (tmp_path / f"held-{number}").touch()
        os._exit(0)

    in_processes(WRITERS, claim)
    assert len(list(tmp_path.glob("held-*"))) == 1
    with registry.read() as work:
        assert work.jobs.get("job-1").attempt == 1  # type: ignore[union-attr]


def test_one_idempotency_key_is_taken_by_one_of_many(registry: SqlRegistry, tmp_path: Path) -> None:
    def take(number: int) -> None:
        record = IdempotencyRecord(principal=cast.LI.id, key="k", body_digest="d", result=str(number), created_at=NOW)
        try:
            with registry.begin() as work:
                if work.idempotency.lookup(cast.LI.id, "k", "d") is None:
                    work.idempotency.add(record, entry=Events(number * 1000)("race.key"))
                    (tmp_path / f"took-{number}").touch()
        except IdempotencyReused:
            pass
        os._exit(0)

    in_processes(WRITERS, take)
    (winner,) = tmp_path.glob("took-*")
    with registry.read() as work:
        assert work.idempotency.lookup(cast.LI.id, "k", "d") == winner.name.removeprefix("took-")


def test_votes_cast_at_once_make_one_grant(registry: SqlRegistry, tmp_path: Path) -> None:
    """Two reviewers decide at the same moment: the state moves once, the second is told to look again."""
    submitted = submit(cast.REQUEST, NOW)
    with registry.begin() as work:
        work.requests.change(cast.REQUEST, submitted, entry=Events()("race.submitted"))

    def decide(number: int) -> None:
        try:
            with registry.begin() as work:
                work.requests.change(submitted, take_up(submitted, NOW), entry=Events(number * 1000)("race.taken"))
            (tmp_path / f"moved-{number}").touch()
        except RegistryChanged:
            pass
        os._exit(0)

    in_processes(WRITERS, decide)
    assert len(list(tmp_path.glob("moved-*"))) == 1


def test_a_copy_of_the_database_taken_in_mid_flight_is_consistent(tmp_path: Path) -> None:
    """A writer that is killed leaves either all of a transaction or nothing of it."""
    url = f"sqlite:///{tmp_path / 'registry.db'}"
    migrate(url)
    registry = SqlRegistry(url, signer=SIGNER, clock=lambda: NOW)
    furnish(registry)

    def die() -> None:
        with registry.begin() as work:
            work.jobs.add(cast.job(), entry=Events()("race.asked"))
            work.ledger.reserve(cast.reservation(), contact="c", entry=Events()("race.asked"))
            os._exit(9)

    process = FORK.Process(target=die)
    process.start()
    process.join(30)
    assert process.exitcode == 9
    registry.close()
    shutil.copy(tmp_path / "registry.db", tmp_path / "copy.db")
    for file in ("registry.db", "copy.db"):
        again = SqlRegistry(f"sqlite:///{tmp_path / file}", signer=SIGNER, clock=lambda: NOW)
        with again.begin() as work:
            assert work.jobs.get("job-1") is None
            assert work.ledger.account(MINE) == replace(cast.account())
            work.jobs.add(cast.job(), entry=Events()("race.asked"))
        again.close()

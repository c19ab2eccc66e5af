"""The duties of the Ledger and of the jobs table, held by the fake, by SQLite and by PostgreSQL alike."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from access.ledger import (
    AccountNotFound,
    AlreadyClosed,
    BudgetExhausted,
    DeltaExhausted,
    LedgerEntry,
    LineKind,
    ReservationState,
)
from access.ports import Cursor, Registry
from compute.jobs import LEASE, MAX_ATTEMPTS, STALE, JobNotFound, JobOver, Kind, LeaseLost, Progress, State, StatusCode
from privacy.loss import Budget, Loss
from sandbox.journeys.house import Work
from tests.fakes import cast
from tests.fakes.cast import DATASET, LI, NOW, PROJECT, SHEN, WANG, ZHAO, Events
from tests.fakes.furnished import furnish

Store = Registry[Work]
event = Events()
MINE, TOTAL = f"acc-{PROJECT.id}", "acc-total"


def reserve(registry: Store, key: str, rho: int, delta: int = 0) -> None:
    with registry.begin() as work:
        work.jobs.add(cast.job(f"job-{key}"), entry=event())
        work.ledger.reserve(cast.reservation(key, rho, delta, f"job-{key}"), contact="data@x", entry=event())


def balances(registry: Store, key: str) -> tuple[Loss, Loss]:
    with registry.read() as work:
        account = work.ledger.account(key)
        assert account is not None
        return account.reserved, account.spent


def test_accounts_come_back_and_are_found(registry: Store) -> None:
    furnish(registry)
    with registry.read() as work:
        mine, total = work.ledger.account(MINE), work.ledger.account(TOTAL)
        assert mine == work.ledger.find(DATASET.name, PROJECT.id) == cast.account()
        assert total == work.ledger.find(DATASET.name, None) == cast.account(None, DATASET.policy.total)
        assert work.ledger.account("x") is work.ledger.find("x", None) is None
        assert work.ledger.accounts(Cursor()).items == (mine, total)
        assert work.ledger.accounts(Cursor(), dataset=DATASET.name, project=PROJECT.id).items == (mine,)
        assert work.ledger.accounts(Cursor(), dataset="x").items == ()
        assert work.ledger.accounts(Cursor(), visible_to=LI.id).items == (mine,)
        assert work.ledger.accounts(Cursor(), visible_to=SHEN.id).items == (mine, total)
        assert work.ledger.accounts(Cursor(), visible_to=ZHAO.id).items == ()


def test_reserve_settle_and_void_write_a_line_on_both_accounts(registry: Store) -> None:
    furnish(registry)
    reserve(registry, "a", 1000, 7)
    reserve(registry, "b", 10)
    assert balances(registry, MINE) == balances(registry, TOTAL) == (Loss(1010, 7), Loss())
    later = NOW + timedelta(minutes=1)
    with registry.begin() as work:
        assert work.ledger.reservation_of("job-a") == work.ledger.reservation("a")
        assert work.ledger.reservation("x") is work.ledger.reservation_of("x") is None
        work.ledger.settle("a", at=later, entry=event())
        work.ledger.void("b", at=later, entry=event())
    assert balances(registry, MINE) == balances(registry, TOTAL) == (Loss(), Loss(1000, 7))
    with registry.read() as work:
        settled = work.ledger.reservation("a")
        assert settled == replace(
            cast.reservation("a", 1000, 7, "job-a"), state=ReservationState.SETTLED, closed_at=later
        )
        for key in (MINE, TOTAL):
            lines = work.ledger.entries(key, Cursor()).items
            assert [(line.kind, line.loss) for line in lines] == [
                (LineKind.OPENED, Loss()),
                (LineKind.RESERVED, Loss(1000, 7)),
                (LineKind.RESERVED, Loss(10)),
                (LineKind.SETTLED, Loss(1000, 7)),
                (LineKind.VOIDED, Loss(10)),
            ]
            assert lines[3] == LedgerEntry(
                account=key,
                kind=LineKind.SETTLED,
                reservation="a",
                job="job-a",
                loss=Loss(1000, 7),
                reserved=Loss(10),
                spent=Loss(1000, 7),
                at=NOW,
            )
        assert len(work.ledger.entries(MINE, Cursor(limit=2)).items) == 2


def test_a_reservation_closes_once(registry: Store) -> None:
    furnish(registry)
    reserve(registry, "a", 1000)
    with registry.begin() as work:
        work.ledger.settle("a", at=NOW, entry=event())
    with registry.begin() as work:
        size = work.log.size()
        with pytest.raises(AlreadyClosed):
            work.ledger.settle("a", at=NOW, entry=event())
        with pytest.raises(AlreadyClosed):
            work.ledger.void("a", at=NOW, entry=event())
        with pytest.raises(LookupError):
            work.ledger.void("x", at=NOW, entry=event())
        assert work.log.size() == size
    assert balances(registry, MINE) == (Loss(), Loss(1000))


def test_the_last_unit_fits_and_the_next_does_not(registry: Store) -> None:
    furnish(registry)
    limit = cast.account().limit
    reserve(registry, "a", limit.rho - 1, limit.delta)
    with pytest.raises(BudgetExhausted) as refused:
        reserve(registry, "b", 2)
    assert refused.value.params["account"] == MINE
    assert refused.value.params["contact"] == "data@x"
    with pytest.raises(DeltaExhausted):
        reserve(registry, "c", 1, 1)
    reserve(registry, "d", 1)
    assert balances(registry, MINE) == (limit, Loss())


def test_both_accounts_have_room_or_neither_is_touched(registry: Store) -> None:
    """The total is refused after the project's account took the loss: the project's must be as before."""
    furnish(registry)
    with registry.begin() as work:
        work.ledger.set_limit(TOTAL, Budget(0.5, 1e-6), entry=event())
    small = Budget(0.5, 1e-6).limit
    with registry.begin() as work:
        work.jobs.add(cast.job("job-a"), entry=event())
        size = work.log.size()
        with pytest.raises(BudgetExhausted) as refused:
            work.ledger.reserve(cast.reservation("a", small.rho + 1, 0, "job-a"), contact="data@x", entry=event())
        assert refused.value.params["account"] == TOTAL
        assert work.log.size() == size
        work.log.append(event())
    assert balances(registry, MINE) == balances(registry, TOTAL) == (Loss(), Loss())
    with registry.read() as work:
        assert work.ledger.reservation("a") is None
        assert [line.kind for line in work.ledger.entries(MINE, Cursor()).items] == [LineKind.OPENED]


def test_without_both_accounts_nothing_is_spent(registry: Store) -> None:
    furnish(registry)
    with registry.begin() as work:
        work.people.add_project(replace(PROJECT, id="prj-2", name="second"), entry=event())
        work.jobs.add(cast.job(project="prj-2"), entry=event())
        with pytest.raises(AccountNotFound):
            work.ledger.reserve(replace(cast.reservation(), project="prj-2"), contact="c", entry=event())
        with pytest.raises(AccountNotFound):
            work.ledger.set_limit("x", Budget(1, 1e-6), entry=event())


def test_a_limit_moves_but_never_below_what_is_used(registry: Store) -> None:
    furnish(registry)
    reserve(registry, "a", 5_000_000)
    with registry.begin() as work:
        work.ledger.set_limit(MINE, Budget(0.01, 1e-9), entry=event())
    with registry.read() as work:
        account = work.ledger.account(MINE)
        assert account is not None
        assert (account.budget, account.limit.rho) == (Budget(0.01, 1e-9), 5_000_000)
        assert account.remaining.rho == 0
        assert work.ledger.entries(MINE, Cursor()).items[-1].kind is LineKind.LIMIT_SET
    with pytest.raises(BudgetExhausted):
        reserve(registry, "b", 1)
    with registry.begin() as work:
        work.ledger.set_limit(MINE, Budget(3.0, 1e-6), entry=event())
    reserve(registry, "c", 1)


# --- jobs ----------------------------------------------------------------------------------------------------------------


def test_jobs_come_back_and_are_listed(registry: Store) -> None:
    furnish(registry)
    ask, ingest = cast.job(), replace(cast.job("job-2", Kind.INGEST, None), asked_by=SHEN.id)
    with registry.begin() as work:
        work.jobs.add(ask, entry=event())
        work.jobs.add(ingest, entry=event())
    with registry.read() as work:
        assert work.jobs.get("job-1") == ask
        assert work.jobs.get("x") is None
        everything = work.jobs.list(Cursor()).items
        assert everything == (ask, ingest)
        assert work.jobs.list(Cursor(newest_first=True)).items == everything[::-1]
        assert work.jobs.list(Cursor(), asked_by=LI.id).items == (ask,)
        assert work.jobs.list(Cursor(), project=PROJECT.id, member=LI.id, kind="ask").items == (ask,)
        assert work.jobs.list(Cursor(), member=WANG.id).items == ()
        assert work.jobs.list(Cursor(), dataset=DATASET.name, kind="ingest").items == (ingest,)
        assert work.jobs.list(Cursor(), dataset="x").items == ()


def test_one_attempt_holds_a_job_until_its_lease_is_lost(registry: Store) -> None:
    furnish(registry)
    with registry.begin() as work:
        work.jobs.add(cast.job(), entry=event())
    with registry.begin() as work:
        held = work.jobs.claim("job-1", now=NOW, entry=event())
        assert held is not None
        assert (held.state, held.attempt, held.lease_until) == (State.RUNNING, 1, NOW + LEASE)
        assert work.jobs.get("job-1") == held
        size = work.log.size()
        assert work.jobs.claim("job-1", now=NOW + LEASE / 2, entry=event()) is None
        assert work.jobs.claim("x", now=NOW, entry=event()) is None
        assert work.log.size() == size
        beat = work.jobs.renew("job-1", 1, now=NOW + LEASE / 2, progress=Progress(stage="reading", done=1, total=2))
        assert work.jobs.get("job-1") == beat
        assert work.log.size() == size
    with registry.begin() as work:
        second = work.jobs.claim("job-1", now=NOW + 2 * LEASE, entry=event())
        assert second is not None
        assert second.attempt == 2
        for key, attempt in (("job-1", 1), ("x", 1)):
            with pytest.raises(LeaseLost):
                work.jobs.renew(key, attempt, now=NOW)
            with pytest.raises(LeaseLost):
                work.jobs.give_back(key, attempt, now=NOW, entry=event())
            with pytest.raises(LeaseLost):
                work.jobs.finish(key, attempt, State.SUCCEEDED, StatusCode.ANSWERED, now=NOW, entry=event())


def test_jobs_finish_once(registry: Store) -> None:
    furnish(registry)
    with registry.begin() as work:
        work.jobs.add(cast.job(), entry=event())
        work.jobs.claim("job-1", now=NOW, entry=event())
        back = work.jobs.give_back("job-1", 1, now=NOW, entry=event())
        assert (back.state, back.status) == (State.QUEUED, StatusCode.WAITING_AGAIN)
        work.jobs.claim("job-1", now=NOW, entry=event())
        done = work.jobs.finish(
            "job-1", 2, State.FAILED, StatusCode.FAULT, now=NOW, result="{}", private="细节", entry=event()
        )
        assert work.jobs.get("job-1") == done
        assert (done.state, done.result, done.private) == (State.FAILED, "{}", "细节")
        with pytest.raises(LeaseLost):
            work.jobs.finish("job-1", 2, State.SUCCEEDED, StatusCode.ANSWERED, now=NOW, entry=event())
        with pytest.raises(JobOver):
            work.jobs.cancel("job-1", now=NOW, entry=event())
        with pytest.raises(JobNotFound):
            work.jobs.cancel("x", now=NOW, entry=event())
        with pytest.raises(JobNotFound):
            work.jobs.kill("x", StatusCode.LOST_TOO_OFTEN, now=NOW, entry=event())


def test_jobs_are_cancelled_and_killed(registry: Store) -> None:
    furnish(registry)
    with registry.begin() as work:
        for key in ("job-1", "job-2"):
            work.jobs.add(cast.job(key), entry=event())
        work.jobs.claim("job-2", now=NOW, entry=event())
        assert work.jobs.cancel("job-1", now=NOW, entry=event()).state is State.CANCELLED
        killed = work.jobs.kill("job-2", StatusCode.KILLED_BY_OPERATOR, now=NOW, entry=event())
        assert work.jobs.get("job-2") == killed
        assert killed.status is StatusCode.KILLED_BY_OPERATOR
        with pytest.raises(LeaseLost):
            work.jobs.renew("job-2", 1, now=NOW)


def test_what_was_left_behind_is_found(registry: Store) -> None:
    furnish(registry)
    now = begun = NOW + STALE
    with registry.begin() as work:
        for n, key in enumerate(("old", "older", "running", "tired")):
            work.jobs.add(cast.job(key, at=NOW - timedelta(seconds=n)), entry=event())
        work.jobs.claim("running", now=now, entry=event())
        for _ in range(MAX_ATTEMPTS):
            work.jobs.claim("tired", now=now, entry=event())
            now += 2 * LEASE
    with registry.read() as work:
        assert work.jobs.stale(NOW) == ()
        assert work.jobs.stale(begun) == ("older", "old")
        assert work.jobs.stale(now) == ("older", "old", "running")
        assert work.jobs.stale(now, 1) == ("older",)
        assert work.jobs.exhausted(NOW) == ()
        assert work.jobs.exhausted(now) == ("tired",)
        assert work.jobs.exhausted(now, 0) == ()

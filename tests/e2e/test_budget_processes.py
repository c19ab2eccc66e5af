"""Sixteen processes ask a thousand questions each on one account: the budget holds to the last unit.

Law 1: room is tested in the statement that takes it. The ledger, the receipts and the log must tell the same story.
"""

from __future__ import annotations

import base64
import json
import multiprocessing
import traceback
from pathlib import Path

import pytest

from access.ledger import BudgetExhausted, LineKind
from access.ports import Cursor
from privacy.loss import Budget, Loss, price
from sandbox.journeys.ask import answer_job, ask
from sandbox.journeys.house import House
from sandbox.journeys.jobs import attempt
from sandbox.journeys.proof import recheck_log
from tests.fakes.asking import DATASET, accounts, open_scene, reopen

PROCESSES, ASKS = 16, 1_000
EPSILON = 0.1


def _asks(folder: Path, number: int, start, results) -> None:
    try:
        house = reopen(folder)
        with house.registry.read() as unit:
            li = unit.people.principal_by_login("li")
        assert li is not None
        start.wait()
        results.put((number, *_one_thousand(house, li, number)))
    except BaseException:
        results.put((number, traceback.format_exc(), ""))
        raise


def _one_thousand(house: House, li, number: int) -> tuple[int, int]:
    paid = refused = 0
    for n in range(ASKS):
        sql = f"SELECT COUNT(*) AS n{number}_{n} FROM visits"
        try:
            asked = ask(
                house, li, project="flow", dataset=DATASET, sql=sql, epsilon=EPSILON, idempotency_key=f"{number}-{n}"
            )
        except BudgetExhausted:
            refused += 1
            continue
        paid += 1
        with attempt(house, asked.job.id) as job:
            assert job is not None
            answer_job(house, job)
    return paid, refused


@pytest.mark.timeout(900)
def test_sixteen_processes_never_exceed_the_budget_and_every_unit_has_a_receipt(tmp_path: Path) -> None:
    budget = Budget(2.0, 1e-6)
    scene = open_scene(tmp_path, project=budget, total=Budget(50.0, 1e-6))
    loss = price(EPSILON, budget.delta, selects_keys=False)
    affordable = budget.limit.rho // loss.rho
    assert 100 < affordable < 1_000

    spawn = multiprocessing.get_context("spawn")
    start, results = spawn.Barrier(PROCESSES), spawn.Queue()
    processes = [spawn.Process(target=_asks, args=(tmp_path, n, start, results)) for n in range(PROCESSES)]
    for process in processes:
        process.start()
    found = [results.get(timeout=840) for _ in processes]
    for process in processes:
        process.join()
    assert all(isinstance(paid, int) for _, paid, _ in found), found

    assert sum(paid for _, paid, _ in found) == affordable, "exactly what fits was sold"
    assert sum(paid + refused for _, paid, refused in found) == PROCESSES * ASKS
    mine, total = accounts(scene.house, scene.project.id)
    assert mine.reserved == total.reserved == Loss()
    assert mine.spent == total.spent == Loss(affordable * loss.rho)
    assert mine.spent.within(mine.limit)
    assert not (mine.spent + loss).within(mine.limit)
    assert _receipts(scene.house) == mine.spent
    for account in (mine, total):
        assert _settled(scene.house, account.id) == mine.spent
    recheck_log(scene.house)


def _receipts(house: House) -> Loss:
    """The sum of what all receipts say."""
    total, cursor = Loss(), Cursor(limit=500)
    with house.registry.read() as unit:
        while True:
            page = unit.receipts.list(cursor)
            for stored in page.items:
                payload = json.loads(base64.b64decode(json.loads(stored.envelope)["payload"]))
                total += Loss(**payload["predicate"]["cost"])
            if page.next is None:
                return total
            cursor = Cursor(limit=500, after=page.next)


def _settled(house: House, account: str) -> Loss:
    """The sum of an account's settled lines."""
    total, cursor = Loss(), Cursor(limit=500)
    with house.registry.read() as unit:
        while True:
            page = unit.ledger.entries(account, cursor)
            total = sum((line.loss for line in page.items if line.kind is LineKind.SETTLED), total)
            if page.next is None:
                return total
            cursor = Cursor(limit=500, after=page.next)

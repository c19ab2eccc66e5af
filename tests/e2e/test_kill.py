"""Real processes, killed: nothing is lost, nothing is done or charged twice."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from access.ledger import LineKind
from access.ports import Cursor
from compute.jobs import Job, State
from privacy.loss import Budget, Loss
from sandbox.instance import Embedded, Part
from sandbox.journeys import people
from sandbox.journeys.proof import recheck_log
from tests.fakes.asking import DATASET, Hand, Line, Scene, furnish

QUESTIONS, KILLS = 40, 4
LONGEST = 120.0


@dataclass
class Running:
    """An instance with a dataset in it, and somebody who may ask."""

    instance: Embedded
    scene: Scene
    token: str

    def ask(self, number: int) -> httpx.Response:
        return httpx.post(
            f"{self.instance.url}/v1/queries",
            json={"project": "flow", "dataset": DATASET, "sql": _sql(number), "epsilon": 0.1},
            headers={"Authorization": f"Bearer {self.token}", "Idempotency-Key": f"question-{number}"},
            timeout=30,
            trust_env=False,
        )

    def jobs(self) -> tuple[Job, ...]:
        with self.scene.house.registry.read() as unit:
            return unit.jobs.list(Cursor(limit=500)).items

    def wait(self, until: Callable[[tuple[Job, ...]], bool], what: str) -> tuple[Job, ...]:
        deadline = time.monotonic() + LONGEST
        while time.monotonic() < deadline:
            found = self.jobs()
            if until(found):
                return found
            time.sleep(0.01)
        states = [(j.state.value, j.attempt) for j in self.jobs()]
        logs = "\n".join(self.instance.log(part).read_text()[-3000:] for part in Part)
        pytest.fail(f"{what} did not happen: {states}\n{logs}")


def _sql(number: int) -> str:
    return f"SELECT city, COUNT(*) AS n{number} FROM visits GROUP BY city"


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    budget = Budget(8.0, 1e-6)
    with Embedded(tmp_path / "home") as instance:
        house = instance.house
        scene = furnish(house, Hand(), Line(), tmp_path, project=budget, total=budget)
        issued = people.issue_token(house, scene.li, label="test", lifetime=timedelta(hours=1))
        yield Running(instance=instance, scene=scene, token=issued.secret)
        house.registry.close()  # type: ignore[attr-defined]


def _over(jobs: tuple[Job, ...]) -> bool:
    return all(j.state.final for j in jobs)


def _charged_once(running: Running, count: int) -> None:
    """Each job answered, settled once on both accounts, with one receipt over exactly its price; and the log verifies."""
    scene = running.scene
    jobs = running.jobs()
    assert [j.state for j in jobs] == [State.SUCCEEDED] * count
    costs: dict[str, Loss] = {}
    with scene.house.registry.read() as unit:
        for stored in unit.receipts.list(Cursor(limit=500)).items:
            said = json.loads(base64.b64decode(json.loads(stored.envelope)["payload"]))["predicate"]
            assert stored.job not in costs
            costs[stored.job] = Loss(**said["cost"])
        assert set(costs) == {j.id for j in jobs}
        assert all(unit.answers.of_job(j.id) is not None for j in jobs)
        total = sum(costs.values(), Loss())
        for account in scene.accounts():
            assert (account.spent, account.reserved) == (total, Loss())
            lines = unit.ledger.entries(account.id, Cursor(limit=500)).items
            settled = [line.job for line in lines if line.kind is LineKind.SETTLED]
            assert sorted(map(str, settled)) == sorted(costs)
    recheck_log(scene.house)


def test_forty_questions_and_the_worker_killed_four_times(running: Running) -> None:
    for number in range(QUESTIONS):
        assert running.ask(number).status_code in (200, 202)
    for _ in range(KILLS):
        running.wait(lambda jobs: any(j.state is State.RUNNING and j.lease_until for j in jobs), "work")
        running.instance.kill(Part.WORKER)
        running.instance.start(Part.WORKER)
    jobs = running.wait(_over, "an end")
    _charged_once(running, QUESTIONS)
    assert sum(j.attempt - 1 for j in jobs) >= 1, "some kill hit a question in the middle"


def test_the_api_killed_in_the_middle_of_a_question(running: Running) -> None:
    """The client repeats its request with the same key, as the public client does, and is charged once."""
    lost: list[int] = []

    def ask(number: int) -> None:
        try:
            running.ask(number)
        except httpx.TransportError:
            lost.append(number)

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(12)]
    for thread in threads:
        thread.start()
    running.wait(lambda jobs: len(jobs) >= 3, "a question")
    running.instance.kill(Part.API)
    for thread in threads:
        thread.join()
    running.instance.start(Part.API)
    again = [running.ask(n) for n in range(12)]
    assert {r.status_code for r in again} <= {200, 202}
    running.wait(_over, "an end")
    assert len({r.json()["id"] for r in again}) == 12
    _charged_once(running, 12)
    assert lost, "the kill came in the middle"


def test_a_worker_that_is_told_to_stop_ends_what_it_began(running: Running) -> None:
    for number in range(6):
        running.ask(number)
    running.wait(lambda jobs: any(j.state is State.RUNNING for j in jobs), "work")
    running.instance.stop()
    assert all(j.state is not State.RUNNING for j in running.jobs())
    running.instance.start(Part.WORKER)
    jobs = running.wait(_over, "an end")
    assert [j.attempt for j in jobs] == [1] * 6
    _charged_once(running, 6)

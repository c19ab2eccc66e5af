"""The ledger under any order of reserve, settle, void and new limits: SQLite does what the fake does, and neither overspends."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from access.audit import verify_log
from privacy.errors import Problem
from privacy.loss import Budget, Loss
from sandbox.journeys.house import Work
from sandbox.store import SqlRegistry, migrate
from tests.fakes import cast
from tests.fakes.cast import DATASET, NOW, PROJECT, SIGNER, Events
from tests.fakes.furnished import furnish
from tests.fakes.registry import FakeRegistry

FOLDER = Path(tempfile.mkdtemp(prefix="ledger-"))
TEMPLATE = FOLDER / "template.db"
MINE, TOTAL = f"acc-{PROJECT.id}", "acc-total"
KEYS = st.integers(1, 8).map(str)
BUDGETS = st.sampled_from([Budget(e, 1e-12) for e in (0.05, 0.2, 0.5)])


def setup_module() -> None:
    migrate(f"sqlite:///{TEMPLATE}")


def teardown_module() -> None:
    shutil.rmtree(FOLDER)


class Bookkeeping(RuleBasedStateMachine):
    """Every step runs on both; a problem must be the same problem."""

    runs = 0

    def __init__(self) -> None:
        super().__init__()
        Bookkeeping.runs += 1
        file = FOLDER / f"{Bookkeeping.runs}.db"
        shutil.copy(TEMPLATE, file)
        self.stored = SqlRegistry(f"sqlite:///{file}", signer=SIGNER, clock=lambda: NOW)
        self.fake = FakeRegistry(signer=SIGNER, clock=lambda: NOW)
        self.event = Events()
        for registry in (self.stored, self.fake):
            furnish(registry)
            with registry.begin() as work:
                for key in range(1, 9):
                    work.jobs.add(cast.job(f"job-{key}"), entry=self.event())
        self.move_limit(MINE, Budget(0.5, 1e-12))
        self.move_limit(TOTAL, Budget(0.4, 1e-12))

    def teardown(self) -> None:
        self.stored.close()

    def both(self, step: object) -> None:
        ends = []
        for registry in (self.stored, self.fake):
            try:
                with registry.begin() as work:
                    step(work)  # type: ignore[operator]
                ends.append(None)
            except (Problem, LookupError) as problem:
                ends.append(problem.say("en") if isinstance(problem, Problem) else "missing")
        assert ends[0] == ends[1]

    @rule(key=KEYS, share=st.integers(0, 60), delta=st.integers(0, 400))
    def reserve(self, key: str, share: int, delta: int) -> None:
        loss = Loss(Budget(0.4, 1e-12).limit.rho * share // 100, delta)

        def step(work: Work) -> None:
            if work.ledger.reservation(key) is None:
                made = cast.reservation(key, loss.rho, loss.delta, f"job-{key}")
                work.ledger.reserve(made, contact="c", entry=self.event())

        self.both(step)

    @rule(key=KEYS)
    def settle(self, key: str) -> None:
        self.both(lambda work: work.ledger.settle(key, at=NOW, entry=self.event()))

    @rule(key=KEYS)
    def void(self, key: str) -> None:
        self.both(lambda work: work.ledger.void(key, at=NOW, entry=self.event()))

    @rule(account=st.sampled_from([MINE, TOTAL]), budget=BUDGETS)
    def move_limit(self, account: str, budget: Budget) -> None:
        self.both(lambda work: work.ledger.set_limit(account, budget, entry=self.event()))

    @invariant()
    def the_books_agree_and_hold(self) -> None:
        with self.stored.read() as work, self.fake.read() as model:
            for project in (PROJECT.id, None):
                account = work.ledger.find(DATASET.name, project)
                assert account == model.ledger.find(DATASET.name, project)
                assert account is not None
                assert (account.reserved + account.spent).within(account.limit)

    @invariant()
    def the_log_holds(self) -> None:
        with self.stored.read() as work:
            log = work.log
            verify_log(log.stream(), log.heads(), keys=[SIGNER.public_key], subtrees=log.subtrees())


TestBookkeeping = Bookkeeping.TestCase
TestBookkeeping.settings = settings(max_examples=15, stateful_step_count=20, deadline=None)

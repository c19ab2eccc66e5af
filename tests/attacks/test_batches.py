"""Attacks with questions that are asked together: more for the price, part of a batch, many at once.

A batch is sequential composition at fixed losses: rho and delta add (Bun & Steinke 2016, Lemma 8.2), so what its parts cost
together is all there is to hold to the price.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from access.ledger import BudgetExhausted
from access.policy import Use
from access.ports import Cursor
from privacy.loss import Budget, Loss, epsilon_of, price
from privacy.sql import Plan, compile_query
from sandbox.journeys import ask as asking
from sandbox.journeys import booking
from sandbox.journeys.offer import MAX_BATCH, OfferMalformed, Standing, offer_together, stand
from sandbox.journeys.proof import recheck_log
from sandbox.store import SqlRegistry, migrate
from tests.fakes import postgres
from tests.fakes.asking import DATASET, FACTS, Hand, Line, Scene, furnish, open_scene, reopen

PUBLIC = [compile_query(f"SELECT COUNT(*) AS n{n} FROM visits", FACTS) for n in range(MAX_BATCH)]
PRIVATE = [compile_query(f"SELECT code, COUNT(*) AS n{n} FROM visits GROUP BY code", FACTS) for n in range(MAX_BATCH)]
THREADS = 16


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    found = open_scene(tmp_path)
    yield found
    found.house.registry.close()  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def standing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Standing]:
    scene = open_scene(tmp_path_factory.mktemp("house"))
    with scene.house.registry.read() as unit:
        yield stand(scene.house, unit, scene.li, Use.PREVIEW, project="flow", dataset=DATASET)
    scene.house.registry.close()  # type: ignore[attr-defined]


@st.composite
def batches(draw: st.DrawFn) -> list[Plan]:
    """1 to 20 plans with public and private keys in any order, some of them twice."""
    size = draw(st.integers(1, MAX_BATCH))
    return draw(st.lists(st.sampled_from(PUBLIC + PRIVATE), min_size=size, max_size=size))


@settings(max_examples=300, deadline=None)
@given(
    plans=batches(),
    epsilon=st.floats(1e-4, 100) | st.none(),
    delta=st.floats(1e-14, 0.1) | st.none(),
)
def test_the_parts_never_cost_more_than_the_price(
    standing: Standing, plans: list[Plan], epsilon: float | None, delta: float | None
) -> None:
    """However many questions share a price, and however it rounds: their losses fit in it and keep its (epsilon, delta)."""
    selects = any(plan.selections for plan in plans)
    try:
        found = offer_together(standing, plans, epsilon, delta)
    except OfferMalformed:
        return
    whole = found.whole
    parts = {plan.digest(): (plan, part) for plan, part in zip(plans, found.parts, strict=True)}
    total = sum((part.loss for _, part in parts.values()), Loss())
    assert total == whole.loss
    assert total.within(price(whole.epsilon, whole.delta, selects_keys=selects)) or epsilon is None
    assert epsilon_of(float(total.rho_fraction), whole.delta - float(total.delta_fraction)) <= whole.epsilon * (
        1 + 1e-6
    )
    if epsilon is not None:
        assert whole.epsilon == epsilon
    for plan, part in zip(plans, found.parts, strict=True):
        assert part == parts[plan.digest()][1], "equal questions are one"
        assert part.loss.rho >= 1
        assert (part.loss.delta >= plan.selections) if plan.selections else (part.loss.delta == 0)
        assert part.delta == whole.delta
        assert part.epsilon <= whole.epsilon * (1 + 1e-6)


def count(n: int) -> str:
    return f"SELECT COUNT(*) AS n{n} FROM visits"


def test_what_is_asked_together_cannot_be_asked_again_for_less(scene: Scene) -> None:
    """Averaging: each stored answer is worth its part of the price, and only that much is returned free of charge."""
    asked = scene.ask_together(count(1), count(2), epsilon=1.0)
    scene.work()
    spent = scene.accounts()[0].spent
    part = asked[0].question.epsilon
    assert scene.ask(count(1), epsilon=part * 0.999).repeated
    assert not scene.ask(count(1), epsilon=part * 1.001).repeated
    assert scene.accounts()[0].spent == spent
    more = scene.ask_together(count(1), count(2), epsilon=1.01)
    assert [one.repeated for one in more] == [False, False], "a dearer batch is paid anew"
    small = scene.ask_together(count(1), count(2), count(3), epsilon=1.0)
    assert [one.repeated for one in small] == [True, True, False], "of three each gets less"


def _left_behind(scene: Scene) -> tuple[object, ...]:
    with scene.house.registry.read() as unit:
        jobs = unit.jobs.list(Cursor(), member=scene.li.id, project=None).items
    return jobs, scene.accounts(), recheck_log(scene.house).frontier, list(scene.line.ids)


def test_a_batch_that_does_not_fit_leaves_nothing_behind(scene: Scene) -> None:
    """Each part would fit by itself: none is booked, no key is used up, and the refusal speaks of all of it."""
    before = _left_behind(scene)
    with pytest.raises(BudgetExhausted) as refused:
        scene.ask_together(count(1), count(2), key="k", epsilon=4.5)
    assert float(str(refused.value.params["requested"])) > 4
    assert "question" not in refused.value.params
    assert _left_behind(scene) == before
    assert len(scene.ask_together(count(1), count(2), key="k", epsilon=1.0)) == 2


def test_a_batch_of_which_the_last_part_finds_no_room_is_undone_whole(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is looked at beforehand decides nothing: without it the statement that takes room refuses, and all is undone."""
    for module in (asking, booking):
        monkeypatch.setattr(module, "refuse_hopeless", lambda *_: None)
    before = _left_behind(scene)
    with pytest.raises(BudgetExhausted):
        scene.ask_together(count(1), count(2), count(3), key="k", epsilon=4.5)
    assert _left_behind(scene) == before


@pytest.fixture(params=["sqlite", *(["postgresql"] if postgres.binaries() else [])])
def small(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Scene]:
    """A scene whose project has little, on either store."""
    budgets = {"project": Budget(2.0, 1e-6), "total": Budget(50.0, 1e-6)}
    if request.param == "sqlite":
        scene = open_scene(tmp_path, **budgets)
        yield scene
        scene.house.registry.close()  # type: ignore[attr-defined]
        return
    with postgres.server() as folder:
        with psycopg.connect(f"host={folder} user=tests dbname=postgres", autocommit=True) as connection:
            connection.execute("CREATE DATABASE batches")
        url, clock, line = postgres.url(folder, "batches"), Hand(), Line()
        migrate(url)
        house = reopen(tmp_path, clock, line)
        house = replace(house, registry=SqlRegistry(url, signer=house.signer, clock=clock))
        yield furnish(house, clock, line, tmp_path, **budgets)
        house.registry.close()  # type: ignore[attr-defined]


def test_batches_at_once_never_overspend_and_are_whole(small: Scene) -> None:
    """Sixteen threads, each with five batches of three, room for seven and a bit."""
    scene, epsilon = small, 0.7
    loss = 3 * (price(epsilon, 1e-6, selects_keys=False).rho // 3)
    room = scene.accounts()[0].limit.rho // loss
    assert 3 < room < 10
    gate, sold = threading.Barrier(THREADS), []

    def spend(number: int) -> None:
        gate.wait()
        for n in range(5):
            names = [count(1_000 * number + 10 * n + k) for k in range(3)]
            try:
                sold.append(scene.ask_together(*names, key=f"{number}-{n}", epsilon=epsilon))
            except BudgetExhausted:
                continue

    threads = [threading.Thread(target=spend, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(sold) == room, "exactly what fits was sold"
    for account in scene.accounts():
        assert (account.reserved, account.spent) == (Loss(room * loss), Loss())
    with scene.house.registry.read() as unit:
        assert len(unit.jobs.list(Cursor(limit=500), member=scene.li.id, project=None).items) == 3 * room
    recheck_log(scene.house)


def test_one_key_at_once_is_one_batch(scene: Scene) -> None:
    """Retries that overtake each other: one books, the others bring back the same list."""
    gate, found = threading.Barrier(THREADS), []

    def again() -> None:
        gate.wait()
        found.append(tuple(one.job.id for one in scene.ask_together(count(1), count(2), key="same", epsilon=1.0)))

    threads = [threading.Thread(target=again) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == THREADS
    assert len(set(found)) == 1
    part = price(1.0, 1e-6, selects_keys=False).rho // 2
    assert scene.accounts()[0].reserved == Loss(2 * part)

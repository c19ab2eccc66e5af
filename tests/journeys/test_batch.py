"""Questions asked together at one price: through the public client over the real application, and in the house itself."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import sandbox as sb
from access.ledger import BudgetExhausted
from access.ports import Cursor, IdempotencyReused, RegistryChanged
from privacy.loss import Budget, Loss, price
from sandbox.client import errors
from sandbox.client.batch import Batch
from sandbox.journeys import ask as asking
from sandbox.journeys.ask import preview_together
from sandbox.journeys.offer import MAX_BATCH, BatchMalformed, OfferMalformed
from sandbox.say import speaking
from tests.fakes.asking import BY_CODE, COUNT, DATASET, TOTAL, Scene, open_scene
from tests.journeys.test_client import connect, later
from tests.journeys.world import World, grant, open_world, publish, work

NOTHING = Loss()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """One house with a published dataset and a grant, for the whole module."""
    made = open_world(tmp_path_factory.mktemp("house"))
    grant(made, publish(made))
    return made


@pytest.fixture(autouse=True)
def english() -> Iterator[None]:
    with speaking("en"):
        yield


@pytest.fixture
def at_once(world: World) -> Iterator[World]:
    """Every job is done the moment it is announced."""
    with world.at_once():
        yield world


@pytest.fixture
def hub(world: World) -> Iterator[sb.Client]:
    with connect(world, "li") as found:
        yield found


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    found = open_scene(tmp_path)
    yield found
    found.house.registry.close()  # type: ignore[attr-defined]


def above(*limits: int) -> list[str]:
    """Questions of one kind, one for each limit."""
    return [f"SELECT COUNT(*) AS n FROM visits WHERE amount > {limit}" for limit in limits]


def spent(hub: sb.Client) -> int:
    (account,) = (one for one in hub.budget("health/visits").accounts if one.project == "flu")
    return account.spent.rho_units + account.reserved.rho_units


# --- through the client ------------------------------------------------------------------------------------------------


def test_two_questions_together_are_more_exact_than_each_for_half_of_epsilon(at_once: World, hub: sb.Client) -> None:
    before, whole = spent(hub), price(0.4, 1e-6, selects_keys=False).rho
    alone = hub.query("health/visits", above(10)[0]).preview(epsilon=0.2).told
    batch = hub.dataset("health/visits").batch(above(10, 20))
    assert isinstance(batch, sb.Batch)
    assert (len(batch), repr(batch)) == (2, "<Batch of 2 questions on health/visits, not asked yet>")
    seen = batch.preview(epsilon=0.4)
    assert seen.affordable
    assert seen.told.cost == seen.told.charged
    assert seen.told.cost.epsilon == pytest.approx(0.4)
    assert spent(hub) == before, "looking is free"

    answers = batch.ask(epsilon=0.4)
    assert [answer.question for answer in answers] == above(10, 20)
    assert [answer.cost.rho_units for answer in answers] == [whole // 2] * 2
    assert [answer.cost for answer in answers] == [one.cost for one in seen.told.questions]
    assert whole - 2 < spent(hub) - before <= whole, "all that was booked is what all were promised for"

    gain = (answers[0].cost.rho_units / alone.cost.rho_units) ** 0.5
    assert 1.3 < gain < math.sqrt(2)
    narrow, wide = seen.told.questions[0].columns[0].plus_minus, alone.columns[0].plus_minus
    assert narrow is not None
    assert wide is not None
    assert wide / narrow == pytest.approx(gain, rel=0.03)
    low, high = answers[0].intervals[0][0] or (0, 0)
    assert (high - low) / 2 == pytest.approx(narrow, rel=0.03)


def test_each_answer_has_a_receipt_of_its_own(at_once: World, hub: sb.Client, tmp_path: Path) -> None:
    answers = hub.batch("health/visits", above(11, 21)).ask(epsilon=0.2)
    pem = tmp_path / "key.pem"
    pem.write_text(hub.desk.log_key().pem)
    for answer in answers:
        assert answer.receipt.verify(pem)
        said = answer.receipt.prove(pem).statement["predicate"]
        assert said["cost"] == {"rho": answer.cost.rho_units, "delta": 0}
    assert answers[0].receipt.content != answers[1].receipt.content


def test_the_same_key_brings_the_same_list_and_repeated_questions_are_free(at_once: World, hub: sb.Client) -> None:
    batch = hub.batch("health/visits", above(12, 22), project="flu")
    first = batch.ask(epsilon=0.3, idempotency_key="both")
    after = spent(hub)
    again = batch.ask(epsilon=0.3, idempotency_key="both")
    assert [one.told for one in again] == [one.told for one in first]
    free = batch.ask(epsilon=0.3)
    assert [(one.repeated, one.charged.rho_units) for one in free] == [(True, 0)] * 2
    assert (first.charged.rho_units, again.charged) == (sum(one.cost.rho_units for one in first), first.charged)
    assert first.charged.epsilon == pytest.approx(0.3, rel=1e-4)
    assert (free.charged.rho_units, free.charged.epsilon) == (0, 0)
    for drawn in (repr(first), first._repr_html_()):
        assert "all together cost epsilon 0.3 at delta 1.0e-06" in drawn
        assert all(sql in drawn.replace("&gt;", ">") for sql in batch.questions)
    assert "charged nothing" in repr(free)
    with speaking("zh-CN"):
        assert "合计消耗 epsilon 0.3" in repr(first)
        assert "本次不收取" in repr(free)
    assert [one.rows for one in free] == [one.rows for one in first]
    seen = batch.preview(epsilon=0.3)
    assert seen.told.charged.rho_units == 0
    assert "all of them are answered already" in repr(seen)
    assert "already answered, free: 2" in repr(hub.batch("health/visits", above(18, 22)).preview(epsilon=0.3))
    assert spent(hub) == after
    with pytest.raises(errors.Conflict):
        batch.ask(epsilon=0.31, idempotency_key="both")


def test_equal_questions_are_one_and_paid_once(at_once: World, hub: sb.Client) -> None:
    before, whole = spent(hub), price(0.2, 1e-6, selects_keys=False).rho
    one, other = above(13, 23)
    answers = hub.batch("health/visits", [one, other, one.replace("COUNT", "count")]).ask(epsilon=0.2)
    assert answers[0].job == answers[2].job
    assert answers[0].rows == answers[2].rows
    assert [answer.charged.rho_units for answer in answers] == [whole // 2, whole // 2, 0]
    assert answers.charged.rho_units == 2 * (whole // 2)
    assert spent(hub) - before == 2 * (whole // 2)


def test_what_takes_long_is_waited_for(world: World, hub: sb.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sandbox.client.query.PREFER_WAIT", 0)
    batch = hub.batch("health/visits", [*above(14, 24), above(14)[0]])
    with pytest.raises(errors.Unavailable):
        batch.ask(epsilon=0.1, timeout=0, idempotency_key="slow")
    worker, seen = later(0.3, lambda: work(world)), []
    answers = batch.ask(epsilon=0.1, timeout=30, idempotency_key="slow", watch=seen.append)
    worker.join()
    assert [answer.repeated for answer in answers] == [False, False, True]
    assert {told.state for told in seen} >= {"queued", "succeeded"}


def test_a_question_that_gets_no_answer_is_named(world: World, hub: sb.Client) -> None:
    batch = hub.batch("health/visits", above(15, 25))
    with pytest.raises(errors.Unavailable):
        batch.ask(epsilon=0.1, timeout=0, idempotency_key="half")
    hub.job(world.queue.ids.pop()).cancel()
    work(world)
    with pytest.raises(errors.QueryFailed) as failed:
        batch.ask(epsilon=0.1, idempotency_key="half")
    assert failed.value.params["question"] == 2
    assert "in question 2" in str(failed.value)


def test_a_refusal_says_which_question_and_leaves_nothing_behind(at_once: World, hub: sb.Client) -> None:
    before, jobs = spent(hub), len(hub.jobs())
    wrong = [*above(16), "SELECT * FROM visits"]
    with pytest.raises(errors.Refused) as alone:
        hub.query("health/visits", wrong[1]).preview()
    for refused in (hub.batch("health/visits", wrong).preview, hub.batch("health/visits", wrong).ask):
        with pytest.raises(errors.Refused) as told:
            refused(epsilon=0.1)
        assert (told.value.code, told.value.message, told.value.hint) == (
            alone.value.code,
            alone.value.message,
            alone.value.hint,
        )
        assert told.value.params["question"] == 2
        assert "in question 2" in str(told.value)
        with speaking("zh-CN"):
            assert "第 2 个问题" in str(told.value)
    assert "question" not in alone.value.params
    with pytest.raises(errors.BudgetExhausted) as dear:
        hub.batch("health/visits", above(16, 26)).ask(epsilon=5)
    assert dear.value.requested is not None
    assert dear.value.requested > 4
    assert (spent(hub), len(hub.jobs())) == (before, jobs)


@pytest.mark.parametrize("count", [0, MAX_BATCH + 1])
def test_a_batch_has_one_to_twenty_questions(at_once: World, hub: sb.Client, count: int) -> None:
    with pytest.raises(
        errors.Malformed, match=f"{count} questions cannot be asked together: a batch has 1 to 20"
    ) as told:
        hub.batch("health/visits", above(*range(count))).preview()
    assert told.value.code == "ask.bad_batch"


def test_what_cannot_be_sent_is_refused_before_it_is(hub: sb.Client) -> None:
    for questions, more in ((["SELECT 1", ""], {}), (["SELECT 1"], {"epsilon": -1.0}), (["SELECT 1"], {"delta": 1.0})):
        with pytest.raises(errors.Malformed, match="cannot be sent"):
            hub.batch("health/visits", questions).preview(**more)
    assert hub.batch("health/visits", "SELECT 1").questions == ("SELECT 1",), "one text is one question"


def test_a_preview_is_one_table_in_both_languages(at_once: World, hub: sb.Client) -> None:
    long = "SELECT city, COUNT(*) AS n\n  FROM visits WHERE amount > 1 AND amount < 98 GROUP BY city"
    batch = Batch(hub, "health/visits", [long, "SELECT code, COUNT(*) AS n FROM visits GROUP BY code"])
    seen = batch.preview(epsilon=0.5)
    text, html = repr(seen), seen._repr_html_()
    for drawn in (text, html):
        assert "SELECT city, COUNT(*) AS n FROM visits" in drawn
        assert "…" in drawn
        assert "all together would cost epsilon 0.5 at delta 1.0e-07" in drawn
    assert "2: A private key appears when" in text
    assert [line.split()[0] for line in text.splitlines()[1:6]] == ["1", "n", "2", "n", "all"]
    dear = batch.preview(epsilon=5)
    assert not dear.affordable
    assert "more than the epsilon" in repr(dear)
    with speaking("zh-CN"):
        assert "合计将消耗 epsilon 0.5" in repr(seen)
        assert repr(batch) == "<对 health/visits 的 2 个提问，尚未提出>"
    assert "1: " not in repr(hub.batch("health/visits", [above(17)[0]]).preview())


# --- in the house ------------------------------------------------------------------------------------------------------


def test_each_is_a_question_like_any_other(scene: Scene) -> None:
    asked = scene.ask_together(COUNT, TOTAL, BY_CODE, epsilon=1.0)
    whole = price(1.0, 1e-7, selects_keys=True)
    losses = [one.question.loss for one in asked]
    assert losses == [Loss(whole.rho // 3), Loss(whole.rho // 3), Loss(whole.rho // 3, whole.delta)]
    assert {one.question.delta for one in asked} == {1e-7}
    assert asked[0].question.epsilon < asked[2].question.epsilon < 1.0, "a part says what it would cost by itself"
    assert scene.accounts()[0].reserved == sum(losses, NOTHING)
    assert scene.line.ids == [one.job.id for one in asked]
    scene.work()
    assert scene.accounts()[0].spent == sum(losses, NOTHING)
    assert all(scene.read(one).answer for one in asked)
    with scene.house.registry.read() as unit:
        kinds = [entry.kind for _, entry in unit.log.entries(Cursor(limit=500)).items]
    assert kinds.count("question.asked") == kinds.count("answer.released") == 3


def test_a_batch_of_one_is_a_question(scene: Scene) -> None:
    (one,) = scene.ask_together(COUNT, epsilon=1.0)
    assert (one.question.epsilon, one.question.loss) == (1.0, price(1.0, 1e-6, selects_keys=False))
    scene.work()
    assert scene.ask(COUNT, epsilon=1.0).repeated


def test_only_what_is_not_stored_needs_room(tmp_path: Path) -> None:
    scene = open_scene(tmp_path, project=Budget(1.1, 1e-6))
    first, *_ = scene.ask_together(COUNT, TOTAL, epsilon=0.8)
    scene.work()
    left = scene.accounts()[0].remaining.rho
    assert first.question.loss.rho <= left < 2 * first.question.loss.rho
    asked = scene.ask_together(COUNT, "SELECT COUNT(*) AS m FROM visits", key="k", epsilon=0.8)
    assert [one.repeated for one in asked] == [True, False]
    assert scene.line.ids == [asked[1].job.id]
    assert [
        one.repeated for one in scene.ask_together(COUNT, "SELECT COUNT(*) AS m FROM visits", key="k", epsilon=0.8)
    ] == [
        True,
        False,
    ]
    with pytest.raises(BudgetExhausted):
        scene.ask_together(COUNT, "SELECT COUNT(*) AS k FROM visits", epsilon=0.8)


def test_what_is_due_is_previewed(scene: Scene) -> None:
    def look(*questions: str, epsilon: float = 1.0) -> asking.PreviewTogether:
        return preview_together(
            scene.house, scene.li, project="flow", dataset=DATASET, questions=questions, epsilon=epsilon
        )

    part = price(1.0, 1e-6, selects_keys=False).rho // 2
    seen = look(COUNT, TOTAL)
    assert (seen.whole, seen.whole.loss) == (seen.due, Loss(2 * part))
    scene.ask_together(COUNT, TOTAL, epsilon=1.0)
    scene.work()
    seen = look(COUNT, "SELECT COUNT(*) AS m FROM visits")
    assert [one.repeated for one in seen.questions] == [True, False]
    assert (seen.whole.loss, seen.due.loss) == (Loss(2 * part), Loss(part))
    assert 0 < seen.due.epsilon < seen.whole.epsilon == 1.0
    free = look(COUNT, TOTAL)
    assert (free.due.loss, free.due.epsilon, free.affordable) == (NOTHING, 0.0, True)
    assert not look("SELECT COUNT(*) AS m FROM visits", TOTAL, epsilon=4.2).affordable


def test_without_an_epsilon_what_is_left_is_shared(tmp_path: Path) -> None:
    scene = open_scene(tmp_path, project=Budget(0.3, 1e-6))
    limit = scene.accounts()[0].limit.rho
    asked = scene.ask_together(COUNT, TOTAL)
    assert [one.question.loss.rho for one in asked] == [limit // 2] * 2


def test_a_part_that_is_too_small_is_refused_and_named_where_one_is_to_blame(scene: Scene) -> None:
    with pytest.raises(OfferMalformed) as told:
        scene.ask_together(*[f"SELECT COUNT(*) AS n{n} FROM visits" for n in range(20)], epsilon=0.0002)
    assert "question" not in told.value.params
    with pytest.raises(OfferMalformed) as told:
        scene.ask_together(COUNT, BY_CODE, f"{BY_CODE} LIMIT 1", TOTAL, epsilon=1.0, delta=3e-15)
    assert told.value.params["question"] == 2


def test_a_key_is_for_one_request(scene: Scene) -> None:
    scene.ask(COUNT, key="k", epsilon=1.0)
    with pytest.raises(IdempotencyReused):
        scene.ask_together(COUNT, key="k", epsilon=1.0)
    for questions in ((), [COUNT] * (MAX_BATCH + 1)):
        with pytest.raises(BatchMalformed):
            scene.ask_together(*questions)


def test_facts_that_change_while_it_is_planned_undo_it(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second look sees another version: nothing is booked."""
    stand, looks = asking.stand, []

    def moved(*args: object, **more: object) -> object:
        looks.append(1)
        found = stand(*args, **more)  # type: ignore[arg-type]
        return replace(found, version=replace(found.version, digest="0" * 64)) if len(looks) > 1 else found

    monkeypatch.setattr(asking, "stand", moved)
    with pytest.raises(RegistryChanged):
        scene.ask_together(COUNT, TOTAL, epsilon=1.0)
    assert scene.accounts()[0].reserved == NOTHING
    assert scene.line.ids == []

"""Ask by accuracy: the least price for a wish, pilots, and what cannot be reached."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from privacy.answer import preview as widths
from privacy.loss import Budget, Loss
from sandbox.journeys.accuracy import (
    AccuracyOutOfReach,
    AccuracyUnpredictable,
    SizeUnclear,
    SizeUnknown,
    WishMalformed,
)
from sandbox.journeys.ask import Preview, preview
from sandbox.journeys.booking import Asked
from sandbox.journeys.offer import OfferMalformed, Wish
from sandbox.journeys.released import Released
from tests.fakes.asking import BY_CODE, COUNT, DATASET, TOTAL, Scene, open_scene

MEANS = "SELECT city, COUNT(*) AS n, AVG(amount) AS fee FROM visits GROUP BY city"
DOUBLE = "SELECT city, COUNT(*) AS n, 2 * COUNT(*) AS twice FROM visits GROUP BY city"


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    found = open_scene(tmp_path)
    yield found
    found.house.registry.close()  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def quiet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """A scene in which nothing is asked, only previewed."""
    found = open_scene(tmp_path_factory.mktemp("quiet"))
    yield found
    found.house.registry.close()  # type: ignore[attr-defined]


def _preview(scene: Scene, sql: str, wish: Wish, **price: float) -> Preview:
    return preview(scene.house, scene.li, project="flow", dataset=DATASET, sql=sql, within=wish, **price)


def _ask(scene: Scene, sql: str, wish: Wish, **price: float) -> Released:
    asked = scene.ask(sql, within=wish, **price)  # type: ignore[arg-type]
    scene.work()
    return _released(scene, asked)


def _done(scene: Scene, asked: Asked) -> Asked:
    scene.work()
    return asked


def _released(scene: Scene, asked: Asked) -> Released:
    done = scene.read(asked)
    assert done.answer is not None
    return Released.read(done.answer.body)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sql=st.sampled_from([COUNT, TOTAL, BY_CODE, MEANS]), width=st.floats(25, 2_000))
def test_the_price_of_a_width_is_enough_and_one_unit_less_is_not(quiet: Scene, sql: str, width: float) -> None:
    seen = _preview(quiet, sql, Wish(half_width=width))
    loss = seen.offer.loss
    assert all(p.half_width is not None and p.half_width <= width for p in seen.plus_minus)
    if loss.rho > 1:
        less = widths(seen.plan, replace(loss, rho=loss.rho - 1))
        assert any(p.half_width is not None and p.half_width > width for p in less)
    again = preview(
        quiet.house,
        quiet.li,
        project="flow",
        dataset=DATASET,
        sql=sql,
        epsilon=seen.offer.epsilon,
        delta=seen.offer.delta,
    )
    assert loss.rho * (1 - 1e-6) - 1 <= again.offer.loss.rho <= loss.rho * (1 + 1e-6) + 1, (
        "the epsilon says what it costs"
    )


def test_an_answer_by_width_is_as_exact_as_wished_and_paid_at_the_least_price(scene: Scene) -> None:
    wish = Wish(half_width=40)
    expected = _preview(scene, COUNT, wish).offer
    found = _ask(scene, COUNT, wish)
    assert found.loss == expected.loss == scene.accounts()[0].spent
    assert found.epsilon == expected.epsilon
    for row in found.intervals:
        assert row[1] is not None
        assert row[1][1] - row[1][0] <= 80


def test_a_wish_that_a_stored_answer_fulfils_is_free_even_with_nothing_left(tmp_path: Path) -> None:
    scene = open_scene(tmp_path, project=Budget(0.4, 1e-6))
    spent = _released(scene, _done(scene, scene.ask(COUNT))).loss.rho
    assert scene.accounts()[0].remaining.rho == 0, "without an epsilon 0.5 is offered, or what is left"
    assert 0 < _preview(scene, COUNT, Wish(half_width=1_000)).offer.loss.rho < spent
    assert scene.ask(COUNT, within=Wish(half_width=1_000)).repeated  # type: ignore[arg-type]
    with pytest.raises(AccuracyOutOfReach):
        scene.ask(COUNT, within=Wish(half_width=2))  # type: ignore[arg-type]
    scene.house.registry.close()  # type: ignore[attr-defined]


def test_named_columns_alone_have_to_be_exact(quiet: Scene) -> None:
    both = _preview(quiet, MEANS, Wish(half_width=60)).offer.loss.rho
    counts = _preview(quiet, MEANS, Wish(half_width=60, columns=("n",))).offer.loss.rho
    means = _preview(quiet, MEANS, Wish(half_width=60, columns=("fee",))).offer.loss.rho
    assert both == max(counts, means)
    assert means < counts
    with pytest.raises(WishMalformed) as refused:
        _preview(quiet, MEANS, Wish(half_width=60, columns=("city",)))
    assert refused.value.params == {"column": "city", "columns": "n, fee"}
    with pytest.raises(WishMalformed):
        _preview(quiet, "SELECT CASE WHEN COUNT(*) > 5 THEN 'many' END AS size FROM visits", Wish(half_width=60))


def test_a_width_that_no_price_can_promise_is_refused_by_name(quiet: Scene) -> None:
    with pytest.raises(AccuracyUnpredictable) as refused:
        _preview(quiet, DOUBLE, Wish(half_width=60))
    assert refused.value.params == {"column": "twice", "columns": "n"}
    assert _preview(quiet, DOUBLE, Wish(half_width=60, columns=("n",))).offer.loss.rho > 0


def test_what_is_out_of_reach_says_what_could_be_reached_and_that_is_accepted(quiet: Scene) -> None:
    for most in ({}, {"epsilon": 0.3}):
        with pytest.raises(AccuracyOutOfReach) as refused:
            _preview(quiet, COUNT, Wish(half_width=1), **most)
        said = refused.value.params
        assert (said["column"], said["wish"], said["contact"]) == ("n", "1", "data@health.example")
        assert float(str(said["epsilon"])) <= most.get("epsilon", 4.0) + 1e-9, said
        reach = float(str(said["reach"]))
        assert _preview(quiet, COUNT, Wish(half_width=reach), **most).affordable


def test_an_epsilon_beside_a_wish_is_the_most_that_is_paid(quiet: Scene) -> None:
    free, capped = (_preview(quiet, COUNT, Wish(half_width=60), **most).offer for most in ({}, {"epsilon": 3.0}))
    assert free == capped
    with pytest.raises(OfferMalformed):
        _preview(quiet, COUNT, Wish(half_width=60), epsilon=1e-9)


# --- shares of what is not known ---------------------------------------------------------------------------------------


def _with_pilots(scene: Scene, sql: str, wish: Wish, **price: float) -> tuple[Released, list[Released]]:
    """What a client does: ask, and as long as the size is not known, a pilot first."""
    pilots: list[Released] = []
    while True:
        try:
            return _ask(scene, sql, wish, **price), pilots
        except (SizeUnknown, SizeUnclear):
            pilots.append(_ask(scene, sql, replace(wish, pilot=True), **price))


@pytest.mark.parametrize("sql", [TOTAL, COUNT, MEANS, DOUBLE])
def test_a_share_is_priced_by_a_pilot_that_costs_little(scene: Scene, sql: str) -> None:
    most = scene.accounts()[0].remaining.rho
    found, pilots = _with_pilots(scene, sql, Wish(share=0.2))
    assert 1 <= len(pilots) <= 4
    assert sum(p.loss.rho for p in pilots) <= most / 20
    assert [b.loss.rho / a.loss.rho for a, b in pairwise(pilots)] == [4.0] * (len(pilots) - 1)
    booked = {answer.job: answer.loss.rho for answer in (*pilots, found)}  # the last pilot may be exact enough itself
    assert scene.accounts()[0].spent == Loss(sum(booked.values())), "each is booked by itself, once"
    for place, column in enumerate(found.columns):
        if column.is_key:
            continue
        ratios = sorted(
            (interval[1] - interval[0]) / 2 / abs(float(row[place]))  # type: ignore[arg-type]
            for row, ends in zip(pilots[-1].rows, found.intervals, strict=True)
            if (interval := ends[place]) is not None
        )
        assert ratios[0] <= 0.2 * 1.1, "the least noisy cell is within the share of what the pilot showed"


def test_a_share_that_was_paid_for_is_not_paid_again_whatever_its_own_noise_shows(scene: Scene) -> None:
    scene.ask(TOTAL, epsilon=1.0)
    scene.work()
    assert scene.ask(TOTAL, within=Wish(share=0.3)).repeated, "it is exact enough"  # type: ignore[arg-type]
    exact = scene.ask(TOTAL, within=Wish(share=0.03))  # type: ignore[arg-type]
    assert not exact.repeated
    scene.work()
    for share, columns in ((0.03, ()), (0.04, ()), (0.03, ("n",))):
        assert scene.ask(TOTAL, within=Wish(share=share, columns=columns)).repeated  # type: ignore[arg-type]
    finer = scene.ask(TOTAL, within=Wish(share=0.02))  # type: ignore[arg-type]
    assert finer.question.loss.rho > exact.question.loss.rho


def test_which_wish_another_covers() -> None:
    some, all_ = Wish(share=0.1, columns=("a", "b")), Wish(share=0.1)
    assert all_.covers(some)
    assert some.covers(replace(some, columns=("b",)))
    assert not some.covers(all_)
    assert not some.covers(replace(some, columns=("c",)))
    assert not all_.covers(Wish(share=0.09))
    assert not all_.covers(Wish(half_width=5))
    assert not Wish(half_width=5).covers(all_)
    assert not replace(all_, pilot=True).covers(all_)


def test_a_wish_reads_back_as_it_was_written(scene: Scene) -> None:
    for wish in (Wish(half_width=0.1 + 0.2), Wish(share=1 / 3, columns=("n", "费用"), pilot=True)):
        assert Wish.read(wish.parts()) == wish
    asked = scene.ask(COUNT, within=Wish(half_width=70, columns=("n",)))  # type: ignore[arg-type]
    assert scene.read(asked).question.wish == Wish(half_width=70, columns=("n",))


def test_a_share_needs_a_size_and_a_pilot_has_a_limit(scene: Scene) -> None:
    with pytest.raises(SizeUnknown):
        _preview(scene, COUNT, Wish(share=0.1))
    with pytest.raises(AccuracyOutOfReach) as far:
        _with_pilots(scene, TOTAL, Wish(share=1e-300))
    assert float(str(far.value.params["reach"])) > 0
    scene.ask(TOTAL, epsilon=1.0)
    scene.work()
    with pytest.raises(SizeUnclear) as refused:  # four times what is paid already is more than 1/30 of what may be
        scene.ask(TOTAL, within=Wish(share=0.1, pilot=True), epsilon=1.0)  # type: ignore[arg-type]
    assert refused.value.params == {"column": "n"}


def test_pilots_for_private_keys_pay_little_delta(scene: Scene) -> None:
    whole = _preview(scene, BY_CODE, Wish(half_width=60)).offer
    pilot = _preview(scene, BY_CODE, Wish(share=0.5, pilot=True)).offer
    assert pilot.loss.delta == whole.loss.delta // 16
    assert pilot.delta == pytest.approx(whole.delta / 16)
    with pytest.raises(SizeUnclear):  # no pilot that may be paid shows any key
        _with_pilots(scene, BY_CODE, Wish(share=0.5), epsilon=0.5)
    assert 0 < scene.accounts()[0].spent.delta <= 4 * pilot.loss.delta


def test_a_value_without_an_interval_has_no_size(scene: Scene) -> None:
    sql = "SELECT city, COUNT(*) AS n, CASE WHEN COUNT(*) > 1000000 THEN 1 END AS many FROM visits GROUP BY city"
    scene.ask(sql, epsilon=1.0)
    scene.work()
    with pytest.raises(SizeUnclear) as refused:
        scene.ask(sql, within=Wish(share=0.2))  # type: ignore[arg-type]
    assert refused.value.params == {"column": "many"}
    assert scene.ask(sql, within=Wish(share=0.4, columns=("n",))).repeated  # type: ignore[arg-type]


def test_the_same_key_with_the_same_wish_is_the_same_question(scene: Scene) -> None:
    first = scene.ask(COUNT, key="k", within=Wish(half_width=70))  # type: ignore[arg-type]
    assert scene.ask(COUNT, key="k", within=Wish(half_width=70)).job.id == first.job.id  # type: ignore[arg-type]


def test_a_wish_is_one_thing() -> None:
    for wrong in ({}, {"half_width": 1.0, "share": 0.1}):
        with pytest.raises(ValueError, match="a width or a share"):
            Wish(**wrong)

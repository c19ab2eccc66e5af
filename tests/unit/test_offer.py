"""How one price is shared by questions that are asked together."""

from __future__ import annotations

import pytest

from privacy.errors import Malformed, Text
from privacy.loss import Loss, epsilon_of, price
from privacy.sql import Plan, compile_query
from sandbox.journeys.offer import Offer, naming, share
from tests.fakes.asking import FACTS


def public(n: int) -> Plan:
    return compile_query(f"SELECT COUNT(*) AS n{n} FROM visits", FACTS)


def private(n: int) -> Plan:
    return compile_query(f"SELECT code, COUNT(*) AS n{n} FROM visits GROUP BY code", FACTS)


def test_one_question_gets_all_of_it() -> None:
    assert share(Loss(7, 5), [private(1)]) == (Loss(7, 5),)
    assert share(Loss(7, 0), [public(1)]) == (Loss(7, 0),)


def test_rho_is_shared_by_all_and_delta_by_those_that_select_keys_both_rounded_down() -> None:
    plans = [public(1), private(1), public(2), private(2)]
    assert share(Loss(1_003, 9), plans) == (Loss(250), Loss(250, 4), Loss(250), Loss(250, 4))


def test_equal_plans_get_one_part_between_them() -> None:
    plans = [public(1), private(1), public(1), private(1), private(1)]
    assert share(Loss(100, 8), plans) == (Loss(50), Loss(50, 8), Loss(50), Loss(50, 8), Loss(50, 8))


def test_a_part_may_be_nothing() -> None:
    assert share(Loss(1, 1), [private(1), private(2)]) == (Loss(), Loss())


@pytest.mark.parametrize(("m", "times"), [(2, 1.83), (5, 4.12), (20, 13.93)])
def test_together_each_gets_almost_m_times_the_rho_of_its_part_of_epsilon(m: int, times: float) -> None:
    (part, *_) = share(price(1.0, 1e-6, selects_keys=False), [public(n) for n in range(m)])
    alone = price(1.0 / m, 1e-6, selects_keys=False)
    assert part.rho / alone.rho == pytest.approx(times, rel=0.01)


@pytest.mark.parametrize("selects", [False, True])
def test_a_loss_is_stated_at_the_least_epsilon_that_covers_it(selects: bool) -> None:
    offered = Offer.stated(Loss(10**7, 3), 1e-6, selects_keys=selects)
    assert (offered.delta, offered.loss) == (1e-6, Loss(10**7, 3))
    assert offered.epsilon == epsilon_of(0.01, 5e-7 if selects else 1e-6)
    assert price(offered.epsilon, 1e-6, selects_keys=selects).rho == pytest.approx(10**7, abs=2)


class Odd(Malformed):
    """A problem of one question."""

    code = "ask.odd_question"
    sentence = Text("Odd: {what}.", "奇怪：{what}。")
    hint = Text("Ask something else.", "请换一个问题。")


def test_a_problem_tells_its_question_only_where_there_are_several() -> None:
    for count, told in ((1, {"what": "x"}), (3, {"what": "x", "question": 2})):
        with pytest.raises(Odd, match=r"Odd: x\.") as raised, naming(2, count):
            raise Odd(what="x")
        assert raised.value.params == told
        assert (raised.value.say("zh-CN"), raised.value.advise("en")) == ("奇怪：x。", "Ask something else.")

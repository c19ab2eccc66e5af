"""The ledger's arithmetic: exact, never overspent, and a refusal that teaches."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, multiple, rule

from access.ledger import (
    RESERVATION_MOVES,
    RESERVATION_OWNERS,
    Account,
    AlreadyClosed,
    BudgetExhausted,
    DeltaExhausted,
    Reservation,
    ReservationState,
    closed,
    has_room,
    opened,
    refusal,
    require_open,
    reserved,
    settled,
    voided,
    with_limit,
)
from privacy.loss import Budget, Loss, price
from tests.fakes import cast
from tests.fakes.cast import NOW

ACCOUNT = cast.account()


def test_a_new_account_is_empty_and_its_limit_shows_the_budget_that_was_set() -> None:
    fresh = opened(account="a", dataset="d", project="p", budget=Budget(3.0, 1e-6))
    assert (fresh.reserved, fresh.spent) == (Loss(), Loss())
    assert fresh.remaining == fresh.limit == Budget(3.0, 1e-6).limit
    assert fresh.epsilon(fresh.limit) == pytest.approx(3.0, rel=1e-6)
    assert fresh.epsilon(Loss()) == 0.0


def test_reserve_settle_void() -> None:
    loss = Loss(100, 3)
    held = reserved(ACCOUNT, loss)
    assert (held.reserved, held.spent) == (loss, Loss())
    assert held.remaining == ACCOUNT.limit - loss
    assert settled(held, loss).spent == loss
    assert settled(held, loss).reserved == Loss()
    assert voided(held, loss) == ACCOUNT


def test_room_is_tested_in_both_parts() -> None:
    limit = ACCOUNT.limit
    assert has_room(ACCOUNT, limit)
    assert not has_room(ACCOUNT, limit + Loss(1, 0))
    assert not has_room(ACCOUNT, limit + Loss(0, 1))
    half = settled(reserved(ACCOUNT, Loss(limit.rho // 2)), Loss(limit.rho // 2))
    assert has_room(half, Loss(limit.rho - limit.rho // 2))
    assert not has_room(half, Loss(limit.rho - limit.rho // 2 + 1))


def test_a_new_limit_never_falls_below_what_is_used() -> None:
    used = reserved(ACCOUNT, Loss(5_000_000, 9))
    lowered = with_limit(used, Budget(0.001, 1e-14))
    assert lowered.limit == Loss(5_000_000, 9)
    assert lowered.remaining == Loss()
    assert with_limit(used, Budget(9.0, 1e-6)).limit == Budget(9.0, 1e-6).limit


def test_states_are_complete() -> None:
    assert set(RESERVATION_MOVES) == set(RESERVATION_OWNERS) == set(ReservationState)


def test_a_reservation_closes_once() -> None:
    open_ = cast.reservation()
    assert require_open(open_) is open_
    for to in (ReservationState.SETTLED, ReservationState.VOIDED):
        done = closed(open_, to, NOW)
        assert (done.state, done.closed_at) == (to, NOW)
        with pytest.raises(AlreadyClosed):
            closed(done, to, NOW)


# --- the refusal ---------------------------------------------------------------------------------------------------------


def test_the_refusal_says_requested_remaining_difference_and_whom_to_ask() -> None:
    asked = price(3.0, 1e-6, selects_keys=False)
    problem = refusal(ACCOUNT, asked, "data@health.example")
    assert type(problem) is BudgetExhausted
    assert problem.code == "ledger.exhausted"
    requested, remaining, difference = (float(str(problem.params[k])) for k in ("requested", "remaining", "difference"))
    assert requested == pytest.approx(3.0, rel=0.05)
    assert requested >= ACCOUNT.epsilon(asked)
    assert remaining == pytest.approx(2.0, rel=1e-4)
    assert remaining <= ACCOUNT.epsilon(ACCOUNT.remaining)
    assert difference >= requested - remaining - 2e-4
    assert "data@health.example" in problem.advise("en")
    assert "data@health.example" in problem.advise("zh-CN")
    assert "project's budget" in problem.say("en")
    assert "项目预算" in problem.say("zh-CN")
    assert "1e-06" in problem.say("en")
    total = refusal(replace(ACCOUNT, project=None), asked, "c")
    assert "dataset's total budget" in total.say("en")


def test_an_empty_account_is_said_to_be_empty() -> None:
    problem = refusal(replace(ACCOUNT, spent=ACCOUNT.limit), Loss(1), "c")
    assert problem.params["remaining"] == "0"
    assert "e-" in str(problem.params["requested"]) or float(str(problem.params["requested"])) < 1e-3


def test_when_delta_is_short_the_refusal_is_about_delta() -> None:
    spent = replace(ACCOUNT, spent=Loss(0, ACCOUNT.limit.delta - 5))
    problem = refusal(spent, Loss(10, 6), "c")
    assert isinstance(problem, DeltaExhausted)
    assert problem.code == "ledger.delta_exhausted"
    assert problem.params["difference"] == "0"
    assert (problem.params["requested_delta"], problem.params["remaining_delta"]) == ("6E-15", "5E-15")
    assert "public keys" in problem.advise("en")


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 10**12), st.integers(0, 10**12))
def test_what_is_shown_as_enough_is_enough(rho: int, spent: int) -> None:
    """Requested is never shown smaller than it is, remaining never larger."""
    account = replace(ACCOUNT, spent=Loss(min(spent, ACCOUNT.limit.rho)))
    problem = refusal(account, Loss(rho), "c")
    assert float(str(problem.params["requested"])) >= account.epsilon(Loss(rho)) * (1 - 1e-12)
    assert float(str(problem.params["remaining"])) <= account.epsilon(account.remaining) * (1 + 1e-12)


# --- the law: never overspent, whatever the order --------------------------------------------------------------------------


class Spending(RuleBasedStateMachine):
    """Any interleaving of reserve, settle, void and new limits on a project's account and the total."""

    open_ = Bundle("open")

    def __init__(self) -> None:
        super().__init__()
        budget = Budget(0.5, 1e-12)
        self.mine = opened(account="m", dataset="d", project="p", budget=budget)
        self.total = opened(account="t", dataset="d", project=None, budget=Budget(0.4, 1e-12))
        self.held: dict[str, Reservation] = {}
        self.settled = Loss()
        self.count = 0

    @rule(target=open_, share=st.integers(0, 40), delta=st.integers(0, 200))
    def reserve(self, share: int, delta: int) -> object:
        loss = Loss(self.total.limit.rho * share // 100, delta)
        fits = has_room(self.mine, loss) and has_room(self.total, loss)
        if not fits:
            return multiple()
        self.count += 1
        made = cast.reservation(str(self.count), loss.rho, loss.delta)
        self.held[made.id] = made
        self.mine, self.total = reserved(self.mine, loss), reserved(self.total, loss)
        return made.id

    @rule(key=open_)
    def settle(self, key: str) -> None:
        self._close(key, ReservationState.SETTLED)

    @rule(key=open_)
    def void(self, key: str) -> None:
        self._close(key, ReservationState.VOIDED)

    def _close(self, key: str, to: ReservationState) -> None:
        before = self.held[key]
        try:
            self.held[key] = closed(before, to, NOW)
        except AlreadyClosed:
            assert before.state is not ReservationState.RESERVED
            return
        move = settled if to is ReservationState.SETTLED else voided
        self.mine, self.total = move(self.mine, before.loss), move(self.total, before.loss)
        if to is ReservationState.SETTLED:
            self.settled += before.loss

    @rule(epsilon=st.sampled_from([0.01, 0.3, 0.5, 1.0]))
    def move_limit(self, epsilon: float) -> None:
        self.mine = with_limit(self.mine, Budget(epsilon, 1e-12))

    @invariant()
    def never_overspent(self) -> None:
        waiting = Loss()
        for held in self.held.values():
            if held.state is ReservationState.RESERVED:
                waiting += held.loss
        for account in (self.mine, self.total):
            assert isinstance(account, Account)
            assert (account.reserved + account.spent).within(account.limit)
            assert account.spent == self.settled
            assert account.reserved == waiting


TestSpending = Spending.TestCase
TestSpending.settings = settings(max_examples=80, stateful_step_count=30, deadline=None)


def test_gaussian_noise_of_a_spent_limit_is_below_the_budget() -> None:
    account = opened(account="a", dataset="d", project="p", budget=Budget(4.0, 1e-6))
    assert account.gaussian_epsilon(account.limit) < account.epsilon(account.limit) <= 4.0 + 1e-6
    assert account.gaussian_epsilon(Loss()) == 0.0

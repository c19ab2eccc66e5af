"""Losses: exact addition, conversions against the literature, and rounding that never favours the spender."""

from __future__ import annotations

import math
from fractions import Fraction
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privacy.loss import (
    DELTA_UNIT,
    RHO_UNIT,
    Budget,
    Loss,
    delta_of,
    epsilon_of,
    gaussian_delta,
    gaussian_epsilon,
    price,
    rho_of,
    rho_units,
)

PHI = NormalDist().cdf
losses = st.builds(Loss, st.integers(0, 10**12), st.integers(0, 10**15))
epsilons = st.floats(0.01, 20)
deltas = st.sampled_from([1e-12, 1e-9, 1e-7, 1e-5, 1e-3])
quick = settings(max_examples=50, deadline=None)
few = settings(max_examples=15, deadline=None)  # each conversion searches


@quick
@given(losses, losses, losses)
def test_losses_add_like_pairs_of_integers(a, b, c):
    assert a + b == b + a == Loss(a.rho + b.rho, a.delta + b.delta)
    assert (a + b) + c == a + (b + c)
    assert a + Loss() == a
    assert a.within(a + b)


@quick
@given(losses, losses)
def test_what_is_left_is_never_negative_and_never_more_than_the_difference(a, b):
    left = a - b
    assert (left.rho, left.delta) == (max(0, a.rho - b.rho), max(0, a.delta - b.delta))
    assert (a + b) - b == a


@pytest.mark.parametrize("parts", [(-1, 0), (0, -1)])
def test_a_negative_loss_cannot_be_made(parts):
    with pytest.raises(ValueError, match="never negative"):
        Loss(*parts)


@pytest.mark.parametrize(("loss", "ok"), [(Loss(5, 5), True), (Loss(6, 5), False), (Loss(5, 6), False)])
def test_a_loss_is_within_a_limit_only_in_both_parts(loss, ok):
    assert loss.within(Loss(5, 5)) is ok


def test_units_are_exact():
    assert Loss(1, 0).rho_fraction == Fraction(1, 10**9)
    assert Loss(0, 1).delta_fraction == Fraction(1, 10**15)
    assert (RHO_UNIT, DELTA_UNIT) == (10**9, 10**15)


def test_the_figure_of_the_literature():
    rho = rho_of(1.0, 1e-7)
    assert rho == pytest.approx(0.02018713, abs=5e-9)
    assert 1 / math.sqrt(2 * rho) == pytest.approx(4.977, abs=5e-4)


@few
@given(st.floats(1e-4, 5), st.floats(0, 10))
def test_delta_is_the_least_over_alpha_and_no_less_than_the_exact_gaussian_needs(rho, epsilon):
    found = delta_of(rho, epsilon)
    orders = [1 + 10 ** (k / 20) for k in range(-160, 120)]
    exponents = [(a - 1) * (a * rho - epsilon) - math.log(a - 1) + a * math.log1p(-1 / a) for a in orders]
    grid = min(1.0, min(math.exp(min(e, 0.0)) for e in exponents))
    assert found <= grid * (1 + 1e-6)
    mu = math.sqrt(2 * rho)
    gaussian = PHI(mu / 2 - epsilon / mu) - math.exp(epsilon) * PHI(-mu / 2 - epsilon / mu)
    assert found >= gaussian * (1 - 1e-9) - 1e-13


@few
@given(epsilons, deltas)
def test_rho_is_the_largest_that_keeps_the_promise(epsilon, delta):
    rho = rho_of(epsilon, delta)
    assert delta_of(rho, epsilon) <= delta
    assert delta_of(rho * (1 + 1e-6), epsilon) > delta


@few
@given(epsilons, deltas)
def test_epsilon_and_rho_invert_each_other_and_round_against_the_spender(epsilon, delta):
    back = epsilon_of(rho_of(epsilon, delta), delta)
    assert epsilon * (1 - 1e-6) <= back <= epsilon * (1 + 1e-6)
    assert delta_of(rho_of(epsilon, delta), back) <= delta * (1 + 1e-9)


@few
@given(epsilons, deltas, st.floats(1.01, 3))
def test_conversions_are_monotone(epsilon, delta, more):
    assert rho_of(epsilon * more, delta) > rho_of(epsilon, delta)
    assert rho_of(epsilon, delta / more) < rho_of(epsilon, delta)
    assert epsilon_of(0.1 * more, delta) > epsilon_of(0.1, delta)
    assert epsilon_of(0.1, delta / more) > epsilon_of(0.1, delta)
    assert delta_of(0.1 * more, epsilon) >= delta_of(0.1, epsilon)


def test_nothing_costs_nothing():
    assert delta_of(0.0, 1.0) == epsilon_of(0.0, 1e-9) == 0.0


@quick
@given(st.floats(0, 1e6))
def test_ledger_units_round_down_by_less_than_one(rho):
    down = rho_units(rho)
    assert Fraction(down, RHO_UNIT) <= Fraction(rho) < Fraction(down + 1, RHO_UNIT)


def test_epsilon_of_a_loss_at_a_total_delta():
    loss = Loss(20_187_130, 10**8)  # delta 1e-7 is used up by selections
    assert loss.epsilon(2e-7) == pytest.approx(1.0, abs=1e-6)
    assert loss.epsilon(1e-7) == math.inf
    assert Loss(1, 0).epsilon(0.0) == math.inf
    assert Loss(0, 1).epsilon(1e-15) == math.inf
    assert Loss().epsilon(0.0) == Loss().epsilon(1e-6) == 0.0


@few
@given(epsilons, deltas)
def test_a_budget_spent_to_the_end_is_what_the_steward_set(epsilon, delta):
    limit = Budget(epsilon, delta).limit
    assert limit.delta <= Fraction(delta) / 2 * DELTA_UNIT < limit.delta + 1
    assert limit.rho_fraction <= Fraction(rho_of(epsilon, delta / 2))
    assert limit.epsilon(delta) <= epsilon * (1 + 1e-9)


@few
@given(epsilons, deltas)
def test_an_answer_costs_at_most_what_was_offered(epsilon, delta):
    public, private = (price(epsilon, delta, selects_keys=keys) for keys in (False, True))
    assert public.delta == 0
    assert private.delta <= Fraction(delta) / 2 * DELTA_UNIT < private.delta + 1
    assert private.rho <= public.rho
    assert public.epsilon(delta) <= epsilon * (1 + 1e-9)
    assert private.epsilon(delta) <= epsilon * (1 + 1e-9)


@pytest.mark.parametrize(
    ("epsilon", "delta"), [(0.0, 0.1), (-1.0, 0.1), (math.inf, 0.1), (math.nan, 0.1), (1.0, 0.0), (1.0, 1.0)]
)
def test_an_offer_outside_the_range_has_no_price(epsilon, delta):
    with pytest.raises(ValueError, match="epsilon must be a positive number"):
        price(epsilon, delta, selects_keys=False)


def test_an_offer_too_small_for_the_ledger_is_priced_at_zero_never_rounded_up():
    assert price(1e-9, 1e-18, selects_keys=True) == Loss(0, 0)


# --- beside the ledger: what Gaussian noise of the same rho would say --------------------------------------------------

#: rho, delta, and epsilon of dp-accounting 0.6.0: `from_gaussian_mechanism(1/sqrt(2 rho))`, pessimistic, interval 1e-5 (1e-4
#: from rho = 1 on).
PLD = (
    (0.001, 5e-7, 0.17521888451638856),
    (0.001, 1e-9, 0.23171250260749782),
    (0.02, 5e-7, 0.8645212946179692),
    (0.02, 1e-9, 1.10404026262363),
    (0.25, 5e-7, 3.410233971405595),
    (0.25, 1e-9, 4.225940543120342),
    (1.0, 5e-7, 7.487378968939343),
    (1.0, 1e-9, 9.092558374841724),
    (4.0, 5e-7, 17.25737238364592),
    (4.0, 1e-9, 20.429240313588167),
)


@pytest.mark.parametrize(("rho", "delta", "epsilon"), PLD)
def test_a_numerical_accountant_says_the_same_of_gaussian_noise(rho: float, delta: float, epsilon: float) -> None:
    assert gaussian_epsilon(rho, delta) == pytest.approx(epsilon, rel=1e-8)


@quick
@given(st.floats(1e-6, 500), st.floats(1e-12, 0.4))
def test_gaussian_noise_is_never_worse_than_the_ledger_says(rho: float, delta: float) -> None:
    found = gaussian_epsilon(rho, delta)
    assert 0 <= found <= epsilon_of(rho, delta)
    assert gaussian_delta(rho, found) <= delta


@quick
@given(st.floats(0.01, 30), st.floats(0.0, 60))
def test_the_exact_delta_is_the_hockey_stick_of_two_normals(rho: float, epsilon: float) -> None:
    """The definition, integrated: the mass by which N(mu, 1) exceeds exp(epsilon) times N(0, 1)."""
    mu = math.sqrt(2 * rho)
    x = np.linspace(epsilon / mu + mu / 2, max(epsilon / mu + mu / 2, mu) + 12, 200_001)
    above = np.exp(-((x - mu) ** 2) / 2) - np.exp(epsilon - x**2 / 2)
    steps = np.diff(x)
    mass = float(np.sum((above[1:] + above[:-1]) / 2 * steps)) / math.sqrt(2 * math.pi)
    assert gaussian_delta(rho, epsilon) == pytest.approx(mass, rel=1e-6, abs=1e-15)


def test_nothing_spent_is_nothing() -> None:
    assert gaussian_delta(0.0, 1.0) == 0.0
    assert gaussian_epsilon(0.0, 1e-6) == 0.0

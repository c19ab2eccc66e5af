"""Audits of the noise from outside: what an adversary with both neighbouring datasets learns, beside what was promised.

The adversary knows everything but whether one person is in the data, and that person is as extreme as the clipping allows.
From draws of both sides an event is chosen on a training part; on the other part Clopper-Pearson bounds give an epsilon that
the mechanism provably exceeds, unless chance has it. False-alarm rates: an audit of a sound mechanism fails with probability
at most 1e-6 (`ALARM`), shared between its events and bounds; so does each test of distribution. Every audit also catches a
mechanism that was broken on purpose, so passing it means something.

OpenDP draws from the operating system, so draws differ between runs; sample sizes are fixed.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from fractions import Fraction
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import beta

from privacy import mechanisms
from privacy.choice import noise_scale
from privacy.facts import Kind
from privacy.loss import Loss, price
from privacy.mechanisms import noisy_cells, scale
from privacy.order import drawn
from privacy.sql.bound import refined
from privacy.sql.compile import compile_query
from privacy.sql.plan import Cell, Key, Plan
from tests.fakes import town
from tests.fakes.units import Given, Vectors

ALARM = 1e-6
TRAINING, MEASURED = 2_000, 8_000
QUANTILE_DRAWS = 5_000
#: So many askings in one call: all their keys together stay below the most private keys that are shown.
ONE_CALL = 20_000
EPSILON, DELTA = 2.5, 0.03
#: With private keys half of delta pays for selection; large, so that what it allows can be seen in some thousand draws.
SELECTING_DELTA = 0.1

Scores = np.ndarray[tuple[int], np.dtype[np.float64]]
Exact = dict[Cell, tuple[int, ...]]
Draw = dict[Cell, tuple[int | None, ...]]


def row(**values: object) -> town.Row:
    """A row with the given columns; the others are plain."""
    usual: dict[str, object] = {
        "city": "东", "dept": "内", "code": "a", "level": 0, "stock": 0, "fee": 0, "amount": 250_000, "score": 0,
        "wide": 0, "big": 0, "urgent": True, "day": date(2024, 1, 1),
    }  # fmt: skip
    return tuple({**usual, **values}.values())


#: Persons of every dataset: enough of them that one more hides, some with the code that is looked for.
OTHERS = [[row(code="b", city=c, dept=d)] * 2 for c in town.CITIES for d in town.DEPTS for _ in range(5)]

#: The question, and the rows of the person who is in one dataset and not in the other.
PUBLIC: dict[str, tuple[str, list[town.Row]]] = {
    "rows": ("SELECT count(*)", [row()] * 80),
    "persons": ("SELECT count(DISTINCT person_id)", [row()]),
    "sum": ("SELECT sum(amount)", [row(amount=500_000)] * 80),
    "mean": ("SELECT avg(amount)", [row(amount=500_000)] * 80),
    "rows by city": ("SELECT city, count(*) {} GROUP BY city", [row(city="西")] * 80),
    "sum by city, both signs": (
        "SELECT city, sum(score) {} GROUP BY city",
        [row(city=c, score=s) for c, s in zip(town.CITIES, (40, -40, 40), strict=True)] * 20,
    ),
    "persons by level, in more levels than count": (
        "SELECT level, count(DISTINCT person_id) {} GROUP BY level",
        [row(level=i) for i in range(4)],
    ),
    "persons and rows that meet a condition": (
        "SELECT count(DISTINCT person_id) FILTER (WHERE urgent), sum(amount) FILTER (WHERE urgent)",
        [row(amount=500_000)] * 80,
    ),
    "variance": ("SELECT var_pop(amount)", [row(amount=500_000)] * 80),
    "correlation": ("SELECT corr(amount, stock)", [row(amount=500_000, stock=1000)] * 80),
    "different values": ("SELECT count(DISTINCT stock)", [row(stock=i) for i in range(80)]),
    "different values by city, with rows": (
        "SELECT city, count(DISTINCT code), count(*) {} GROUP BY city",
        [row(code=f"x{i}", city=town.CITIES[i % 2]) for i in range(80)],
    ),
    "several at once": (
        "SELECT count(*), count(DISTINCT person_id), sum(stock), avg(amount)",
        [row(stock=1000, amount=0)] * 80,
    ),
}


@cache
def plan_of(sql: str, table: str) -> Plan:
    origin = f" FROM {table} "
    return compile_query(sql.format(origin) if "{}" in sql else sql + origin, town.FACTS)


def neighbours(folder: Path, sql: str, person: Sequence[town.Row], others: town.Persons) -> tuple[Plan, Exact, Exact]:
    """The plan, and the exact cells without and with the person, by the real engine."""
    path = town.write(folder / "version.duckdb", others, [*others, person])
    plan = plan_of(sql, "visits")
    width = len(plan.keys)
    found = [town.exact(path, plan_of(sql, t)) for t in ("visits", "neighbour")]
    before, after = ({c[:width]: c[width:] for c in cells} for cells in found)
    return plan, before, after  # type: ignore[return-value]


def draws(plan: Plan, exact: Exact, loss: Loss, count: int) -> list[Draw]:
    """What `count` askings of the plan would draw: calls in which a further key numbers the askings."""
    if count > ONE_CALL:
        return draws(plan, exact, loss, ONE_CALL) + draws(plan, exact, loss, count - ONE_CALL)
    domain = None if plan.selects_keys else tuple(range(count))
    copied = replace(plan, keys=(*plan.keys, Key(name="copy", kind=Kind.INTEGER, domain=domain)))
    given = Given(copied, [(*key, i, *values) for key, values in exact.items() for i in range(count)])
    _, noisy = noisy_cells(copied, given, loss)
    found: list[Draw] = [{} for _ in range(count)]
    for (*key, i), values in zip(noisy.keys, noisy.values, strict=True):
        found[i][tuple(key)] = values  # type: ignore[call-overload]
    return found


def likelihood(plan: Plan, before: Exact, after: Exact, loss: Loss) -> Callable[[Draw], float]:
    """The adversary's score: how much better a draw fits the dataset with the person. Not shown at all fits it worst."""
    nothing = (0,) * len(plan.statistics)
    keys = [k for k in {*before, *after} if before.get(k) != after.get(k)]
    moved = {k: [b - a for a, b in zip(before.get(k, nothing), after.get(k, nothing), strict=True)] for k in keys}
    variances = [scale(s, loss) ** 2 for s in plan.statistics]

    def score(draw: Draw) -> float:
        if any(k not in draw for k in keys):
            return -math.inf
        return sum((v or 0) * d / q for k in keys for v, d, q in zip(draw[k], moved[k], variances, strict=True))

    return score


def least(hits: int, trials: int, alarm: float) -> float:
    """A rate that is lower than the true one but for probability `alarm` (Clopper & Pearson 1934)."""
    return float(beta.ppf(alarm, hits, trials - hits + 1)) if hits else 0.0


def most(hits: int, trials: int, alarm: float) -> float:
    """A rate that is higher than the true one but for probability `alarm`."""
    return float(beta.isf(alarm, hits + 1, trials - hits)) if hits < trials else 1.0


def shown_epsilon(likely: Scores, unlikely: Scores, at: float, delta: float, alarm: float) -> float:
    """The epsilon that the event "score >= at" proves: P[likely] <= e^epsilon · P[unlikely] + delta."""
    low = least(int(np.sum(likely >= at)), len(likely), alarm / 2)
    high = most(int(np.sum(unlikely >= at)), len(unlikely), alarm / 2)
    return math.log((low - delta) / high) if low > delta else -math.inf


def audited(without: Scores, having: Scores, delta: float) -> float:
    """The epsilon proven from both directions, at a false-alarm rate of `ALARM`."""
    proven = []
    for likely, unlikely in ((having, without), (-without, -having)):
        finite = likely[:TRAINING][np.isfinite(likely[:TRAINING])]
        events = np.quantile(finite, np.linspace(0, 0.995, 200))
        best = max(events, key=lambda at: shown_epsilon(likely[:TRAINING], unlikely[:TRAINING], at, delta, 1e-3))
        proven.append(shown_epsilon(likely[TRAINING:], unlikely[TRAINING:], best, delta, ALARM / 2))
    return max(proven)


def audit(
    plan: Plan, before: Exact, after: Exact, promised: Loss, used: Loss, delta: float, measured: int = MEASURED
) -> float:
    """The epsilon proven of noise drawn at price `used`, by an adversary who knows the price."""
    score = likelihood(plan, before, after, promised)
    sides = [[score(d) for d in draws(plan, cells, used, TRAINING + measured)] for cells in (before, after)]
    return audited(np.array(sides[0]), np.array(sides[1]), delta)


def less_noise(loss: Loss, times: int) -> Loss:
    """The price of noise `times` smaller: what a forgotten factor would draw while charging `loss`."""
    return Loss(loss.rho * times**2, loss.delta)


@pytest.mark.parametrize("name", PUBLIC)
def test_one_person_shows_no_more_than_the_price(tmp_path: Path, name: str) -> None:
    """Sound noise proves no epsilon beyond the promised one (false alarm <= 1e-6); half the noise is caught."""
    plan, before, after = neighbours(tmp_path, *PUBLIC[name], OTHERS)
    loss = price(EPSILON, DELTA, selects_keys=False)
    assert audit(plan, before, after, loss, loss, DELTA) < EPSILON
    assert audit(plan, before, after, loss, less_noise(loss, 2), DELTA) > EPSILON


def test_a_private_key_shows_no_more_than_the_price(tmp_path: Path) -> None:
    """Whether the key appears and what its count is, together: a group at the threshold, and a person who joins it.

    False alarm <= 1e-6; a third of the noise is caught, with more draws than elsewhere: the weights are never seen.
    """
    others = [*OTHERS, *([[row()]] * 4)]
    plan, before, after = neighbours(tmp_path, "SELECT code, count(*) {} GROUP BY code", [row()] * 80, others)
    loss = price(EPSILON, SELECTING_DELTA, selects_keys=True)
    assert {k for k in after if before.get(k) != after[k]} == {("a",)}
    assert 0.1 < np.mean([("a",) in d for d in draws(plan, before, loss, 2_000)]) < 0.9
    assert audit(plan, before, after, loss, loss, SELECTING_DELTA, 8 * MEASURED) < EPSILON
    assert audit(plan, before, after, loss, less_noise(loss, 3), SELECTING_DELTA, 8 * MEASURED) > EPSILON


@pytest.mark.parametrize("keys", [1, 2, 3])
def test_keys_of_one_person_appear_with_probability_delta_at_most(tmp_path: Path, keys: int) -> None:
    """Keys that nobody else has: the rate of any of them appearing is not proven above delta (false alarm <= 1e-6).

    Selection priced at four times the delta is caught where it matters most, at the largest number of keys.
    """
    person = [row(code=f"secret {i}") for i in range(keys)] * 20
    plan, before, after = neighbours(tmp_path, "SELECT code, count(*) {} GROUP BY code", person, OTHERS)
    own = {k: v for k, v in after.items() if k not in before}
    assert len(own) == keys
    loss = price(EPSILON, SELECTING_DELTA, selects_keys=True)
    assert float(loss.delta_fraction) == SELECTING_DELTA / 2
    trials = TRAINING + MEASURED
    shown = sum(bool(d) for d in draws(plan, own, loss, trials))
    assert least(shown, trials, ALARM) <= SELECTING_DELTA / 2
    if keys == plan.max_keys:
        assert shown / trials > SELECTING_DELTA / 4  # the threshold is not far higher than it need be
        generous = sum(bool(d) for d in draws(plan, own, Loss(loss.rho, loss.delta * 4), trials))
        assert least(generous, trials, ALARM) > SELECTING_DELTA / 2


# --- drawn quantiles -----------------------------------------------------------------------------------------------------

#: The question, the person who is in one dataset and not in the other, and the others: alike on both sides of what is drawn,
#: where one person more tells most.
QUANTILES: dict[str, tuple[str, list[town.Row], town.Persons]] = {
    "median by city": (
        "SELECT city, median(level), count(*) {} GROUP BY city",
        [row(level=3, city=c) for c in ("东", "西")] * 40,
        [[row(level=v, city=c)] for v in (0, 3) for c in town.CITIES for _ in range(30)],
    ),
    # As many rows lie beyond as `privacy.order.rows_beyond` asks for: one person more moves the target across the gap.
    "maximum": ("SELECT max(level)", [row(level=3)] * 80, [[row(level=0)]] * 30 + [[row(level=3)]] * 14),
}


@dataclass(frozen=True)
class Noted:
    """Draws that note what is asked: scores, sensitivity, and the part of rho that pays."""

    asked: list[tuple[list[int], int, Fraction]] = field(default_factory=list)

    def highest(self, scores: Sequence[int], sensitivity: int, share: Fraction) -> int:
        self.asked.append((list(scores), sensitivity, share))
        return 0

    def count(self, exact: int, share: Fraction) -> int:
        raise AssertionError("nothing is counted")


def quantile_draws(
    plan: Plan, exact: Exact, cells: Sequence[Cell], loss: Loss
) -> list[tuple[list[int], int, Fraction]]:
    """Everything that the quantile of these cells is drawn from."""
    place, statistic = next((i, s) for i, s in enumerate(plan.statistics) if s.order)
    assert statistic.order is not None
    noted = Noted()
    totals = np.array([exact[c][place] for c in cells], np.int64)
    drawn(statistic, statistic.order, totals, loss.rho_fraction, noted)
    return noted.asked


def quantile_audit(name: str, folder: Path, promised: Loss, used: Loss) -> float:
    """The epsilon proven by one who sees every draw, more than an answer shows, and knows its chance on either side."""
    sql, person, others = QUANTILES[name]
    plan, before, after = neighbours(folder, sql, person, others)
    cells = [c for c in after if before[c] != after[c]]
    asked = [quantile_draws(plan, exact, cells, promised) for exact in (before, after)]
    scores = [np.zeros(QUANTILE_DRAWS), np.zeros(QUANTILE_DRAWS)]
    for one, other in zip(*asked, strict=True):
        _, change, share = one
        logs = [np.array(s) / noise_scale(change, share * promised.rho_fraction) for s in (one[0], other[0])]
        odds = np.subtract(*(x - np.logaddexp.reduce(x) for x in logs[::-1]))
        mechanism, _ = mechanisms._noisy_max(noise_scale(change, share * used.rho_fraction), change)
        for side, (held, *_) in zip(scores, (one, other), strict=True):
            side += odds[[mechanism(held) for _ in range(QUANTILE_DRAWS)]]
    return audited(scores[0], scores[1], DELTA)


@pytest.mark.parametrize("name", QUANTILES)
def test_draws_of_a_quantile_show_no_more_than_their_price(tmp_path: Path, name: str) -> None:
    """No epsilon beyond the promised one is proven (false alarm <= 1e-6); a third of the noise is caught.

    The counts beside a quantile pay their own share: what is promised here is that of the quantile.
    """
    plan = plan_of(QUANTILES[name][0], "visits")
    share = next(s.share for s in plan.statistics if s.order)
    whole = price(EPSILON, DELTA, selects_keys=False)
    loss = Loss(int(whole.rho / share), whole.delta)
    assert quantile_audit(name, tmp_path, loss, loss) < EPSILON
    assert quantile_audit(name, tmp_path, loss, less_noise(loss, 3)) > EPSILON


# --- bounds that the question chooses ------------------------------------------------------------------------------------

MANY_ROWS, CHOICES = 1_000, 3_000
CHOOSING = compile_query(
    "SELECT city, count(*), sum(stock) FROM visits GROUP BY city",
    replace(town.FACTS, tables=tuple(replace(t, max_rows=MANY_ROWS) for t in town.FACTS.tables)),
)
#: So many units that it is uncertain whether they are enough to learn from, of usual lengths.
USUAL = [[[3, 300], [0, 0], [1, 40]], [[1, 5], [2, 0], [0, 0]]] * 77
#: Somebody with every row that facts allow, at every end; and somebody who is one unit more and no longer than others.
LONGEST, ORDINARY = [[MANY_ROWS, MANY_ROWS * 1_000], [0, 0], [0, 0]], [[1, 1], [0, 0], [0, 0]]

Choice = tuple[tuple[int, ...], tuple[tuple[int | None, ...], ...]]


def chosen_draws(units: Vectors, loss: Loss, count: int) -> list[Choice]:
    """What `count` askings would show: the bounds that were chosen, and the noisy cells."""
    found = []
    for _ in range(count):
        plan, noisy = noisy_cells(units.plan, units, loss)
        found.append((tuple(s.bound_squared * 10**6 // s.up**2 for s in plan.statistics), tuple(noisy.values)))
    return found


def chosen_audit(person: list[list[int]], promised: Loss, used: Loss, trials: int) -> float:
    """The epsilon proven by one who weighs bounds by how often each side chose them, and noise by its density."""
    sides = [Vectors(CHOOSING, np.array(rows, np.int64)) for rows in (USUAL, [*USUAL, person])]
    drawn = [chosen_draws(side, used, TRAINING + trials) for side in sides]
    seen = [Counter(bounds for bounds, _ in side[:TRAINING]) for side in drawn]
    exact: dict[tuple[int, ...], tuple[list[np.ndarray], list[float]]] = {}

    def score(choice: Choice) -> float:
        bounds, values = choice
        odds = math.log((seen[1][bounds] + 0.5) / (seen[0][bounds] + 0.5))
        if bounds not in exact:
            held = [refined(s, math.sqrt(b / 10**6)) for s, b in zip(CHOOSING.statistics, bounds, strict=True)]
            exact[bounds] = (
                [np.array(s.totals(held, CHOOSING.grid())) for s in sides],
                [scale(s, promised) for s in held],
            )
        (before, after), sigmas = exact[bounds]
        moved, middle = after - before, (after + before) / 2
        return odds + sum(
            float(np.sum((np.array([v[j] for v in values]) - middle[j]) * moved[j])) / sigma**2
            for j, sigma in enumerate(sigmas)
        )

    scores = [np.array([score(c) for c in side]) for side in drawn]
    return audited(scores[0], scores[1], DELTA)


@pytest.mark.parametrize("person", [LONGEST, ORDINARY])
def test_chosen_bounds_and_the_noise_made_for_them_show_no_more_than_the_price(person: list[list[int]]) -> None:
    """Bounds and values together prove no epsilon beyond the promised one (false alarm <= 1e-6)."""
    loss = price(EPSILON, DELTA, selects_keys=False)
    assert CHOOSING.length_share > 0
    assert chosen_audit(person, loss, loss, CHOICES) < EPSILON


def test_bounds_chosen_with_less_noise_than_they_are_priced_at_are_caught() -> None:
    loss = price(EPSILON, DELTA, selects_keys=False)
    assert chosen_audit(LONGEST, loss, less_noise(loss, 3), CHOICES) > EPSILON

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

from compute.engines.connection import opened
from privacy import mechanisms
from privacy.choice import COUNTED, ENOUGH, noise_scale
from privacy.facts import Kind
from privacy.loss import Loss, price
from privacy.mechanisms import noisy_cells
from privacy.order import Picked, drawn, rows_beyond
from privacy.scales import scale, threshold
from privacy.sql import reference
from privacy.sql.bound import WEIGHT_ONE
from privacy.sql.compile import compile_query
from privacy.sql.plan import Aggregate, Cell, Key, Plan, Statistic
from tests.fakes import town
from tests.fakes.units import Given, Rows, Tallied

ALARM = 1e-6
TRAINING, MEASURED = 2_000, 8_000
QUANTILE_DRAWS = 5_000
#: So many askings in one call: all their keys together stay below the most private keys that are shown.
ONE_CALL = 20_000
EPSILON, DELTA = 2.5, 0.03
#: What was seen not much oftener than this on either side tells an adversary little.
RARE = 5
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


def audited(without: Scores, having: Scores, delta: float, training: int = TRAINING, alarm: float = ALARM) -> float:
    """The epsilon proven from both directions, at a false-alarm rate of `alarm`."""
    proven = []
    for likely, unlikely in ((having, without), (-without, -having)):
        finite = likely[:training][np.isfinite(likely[:training])]
        events = np.quantile(finite, np.linspace(0, 0.995, 200))
        best = max(events, key=lambda at: shown_epsilon(likely[:training], unlikely[:training], at, delta, 1e-3))
        proven.append(shown_epsilon(likely[training:], unlikely[training:], best, delta, alarm / 2))
    return max(proven)


def less_noise(loss: Loss, times: int) -> Loss:
    """The price of noise `times` smaller: what a forgotten factor would draw while charging `loss`."""
    return Loss(loss.rho * times**2, loss.delta)


# --- the matrix: every aggregate, under both kinds of bounds, by every kind of keys -----------------------------------------

AGGREGATES: dict[str, str] = {
    "rows": "count(*)",
    "rows that meet a condition": "count(*) FILTER (WHERE urgent)",
    "persons": "count(DISTINCT person_id)",
    "persons who meet a condition": "count(DISTINCT person_id) FILTER (WHERE urgent)",
    "different values": "count(DISTINCT score)",
    "sum": "sum(amount)",
    "mean": "avg(amount)",
    "variance": "var_pop(amount)",
    "ratio": "sum(stock) / sum(fee)",
    "covariance": "covar_pop(amount, stock)",
    "correlation": "corr(amount, stock)",
    "median": "median(level)",
    "maximum": "max(level)",
    "minimum": "min(level)",
}
#: Columns, and in how many keys the person's rows lie. A public key beside a private one is selected with it.
KEYS: dict[str, tuple[str, int]] = {
    "no keys": ("", 1),
    "public keys": ("city", 3),
    "private keys": ("code", 1),
    "mixed keys": ("city, code", 3),
}
#: The most rows of a person: few, whose worst case is the bound, or so many that the question chooses its bounds.
DECLARED, CHOSEN = town.MAX_ROWS, 64
#: A question that chooses is asked time and again, not in one call of many copies: several aggregates share its draws.
TOGETHER: dict[str, tuple[str, ...]] = {
    "counts": tuple(AGGREGATES)[:5],
    "sums": tuple(AGGREGATES)[5:11],
    "order": tuple(AGGREGATES)[11:],
}


@dataclass(frozen=True, kw_only=True)
class Question:
    """A place of the matrix."""

    aggregates: tuple[str, ...]
    keys: str
    max_rows: int

    @property
    def chooses(self) -> bool:
        return self.max_rows == CHOSEN

    @property
    def promised(self) -> Loss:
        """The loss of (`EPSILON`, `self.delta`)."""
        return price(EPSILON, self.delta, selects_keys="code" in KEYS[self.keys][0])

    @property
    def delta(self) -> float:
        return SELECTING_DELTA if "code" in KEYS[self.keys][0] else DELTA

    @property
    def caught(self) -> int:
        """How many times too small noise is caught: a part of the price tells less where it selects, chooses or ranks."""
        plan = self.plan()
        if self.chooses:
            return 8
        if plan.selects_keys or any(s.order for s in plan.measured):
            return 6
        return 3 if plan.keys or len(plan.measured) > 1 else 2

    @property
    def trials(self) -> tuple[int, int]:
        """How many answers of each side are for training, and how many are measured."""
        if self.chooses:
            return 300, 600
        if self.aggregates[0] in TOGETHER["order"]:
            return 400, 1_200
        return (TRAINING, MEASURED) if self.caught == 2 else (1_000, 3_000)

    def plan(self, table: str = "visits") -> Plan:
        columns, _ = KEYS[self.keys]
        asked = ", ".join([*([columns] if columns else []), *(AGGREGATES[a] for a in self.aggregates)])
        return bounded_plan(f"SELECT {asked} FROM {table} {'GROUP BY ' + columns if columns else ''}", self.max_rows)

    def person(self) -> list[town.Row]:
        """Somebody with more rows than count, at the end of every range, in as many keys as there are."""
        _, width = KEYS[self.keys]
        far = {"amount": 500_000, "stock": 1000, "fee": 30, "level": 0 if self.aggregates == ("minimum",) else 3}
        return [row(city=town.CITIES[i % width], score=i % 81 - 40, **far) for i in range(84)]

    def others(self, used: Loss) -> town.Persons:
        """Persons with one row: as many as make what is drawn most uncertain, where noise is drawn at `used`.

        Half of their levels are high, and there are not twice as many rows as `privacy.order.rows_beyond` asks for, so that one
        person more moves MIN and MAX as it does the median. Private keys are near the threshold. Where bounds are chosen it is
        uncertain whether there are persons enough.
        """
        plan, (_, width) = self.plan(), KEYS[self.keys]
        size = 2 * min([15, *(r - 1 for s in plan.measured if (r := rows_beyond(s, used.rho_fraction)))])
        if self.chooses:
            size = math.floor(ENOUGH * noise_scale(1, (1 - COUNTED) * plan.length_share * used.rho_fraction) / width)
        cells = [(c, "a", size) for c in town.CITIES[:width]]
        if plan.weights is not None:
            limit = threshold(plan.weights, plan.max_keys, used) / WEIGHT_ONE
            near = round(limit - 0.5 / math.sqrt(width))
            cells = [*((c, "a", near) for c in town.CITIES[:width]), ("东", "b", size * width)]
        return [[row(city=c, code=code, level=i % 2 * 3, amount=0)] for c, code, n in cells for i in range(n)]


@cache
def bounded_plan(sql: str, max_rows: int) -> Plan:
    return compile_query(
        sql, replace(town.FACTS, tables=tuple(replace(t, max_rows=max_rows) for t in town.FACTS.tables))
    )


MATRIX = [Question(aggregates=(a,), keys=k, max_rows=DECLARED) for a in AGGREGATES for k in KEYS]
CHOOSING = [Question(aggregates=t, keys=k, max_rows=CHOSEN) for t in TOGETHER.values() for k in KEYS]


def test_the_matrix_has_every_aggregate_bounding_and_kind_of_key() -> None:
    """A new aggregate has to be put into `AGGREGATES`, and what chooses bounds into `TOGETHER`."""
    for questions, chooses in ((MATRIX, False), (CHOOSING, True)):
        for keys in KEYS:
            plans = [q.plan() for q in questions if q.keys == keys]
            selects = "code" in KEYS[keys][0]
            assert all((p.length_share > 0) is chooses and p.selects_keys is selects for p in plans)
            found = {s.aggregate for p in plans for s in p.statistics}
            assert found == set(Aggregate) - (set() if selects else {Aggregate.WEIGHT})
    assert {a for q in CHOOSING for a in q.aggregates} == set(AGGREGATES)
    assert {s.order.level for q in MATRIX for s in q.plan().measured if s.order} == {0, Fraction(1, 2), 1}


@dataclass(frozen=True)
class Sides:
    """The units of both datasets, and the cells in which they differ."""

    plan: Plan
    units: tuple[Given | Tallied, Given | Tallied]
    changed: tuple[Cell, ...]


@dataclass(frozen=True)
class Seen:
    """An answer as its adversary sees it: the statistics with the bounds that were used, and the noisy cells."""

    statistics: tuple[Statistic, ...]
    cells: Draw


def sides_of(
    question: Question, folder: Path, used: Loss, exact: Callable[[Path, Plan], list[Cell]] = town.exact
) -> Sides:
    """Both datasets by the real engine: its totals, or units that equal them where bounds are chosen again and again."""
    others = question.others(used)
    path = town.write(folder / "version.duckdb", others, [*others, question.person()])
    plans = [question.plan(t) for t in ("visits", "neighbour")]
    found = [exact(path, p) for p in plans]
    changed = set(found[0]) ^ set(found[1])
    keys = tuple(sorted({c[: len(plans[0].keys)] for c in changed}))
    if not question.chooses:
        before, after = (Given(plans[0], [c for c in cells if c in changed]) for cells in found)
        return Sides(plans[0], (before, after), keys)
    with opened(str(path), town.LIMITS, read_only=True) as connection:
        before, after = (Tallied.of(Rows(plans[0], connection.execute(p.rows_sql).fetchall())) for p in plans)
    assert [town.cells_of(side, plans[0]) for side in (before, after)] == found
    return Sides(plans[0], (before, after), keys)


def askings(plan: Plan, units: Given | Tallied, loss: Loss, count: int) -> list[Seen]:
    """What `count` askings would show."""
    if isinstance(units, Given):
        width = len(plan.keys)
        found = draws(plan, {c[:width]: c[width:] for c in units.cells}, loss, count)
        return [Seen(plan.statistics, cells) for cells in found]
    released = [noisy_cells(plan, units, loss) for _ in range(count)]
    return [Seen(p.statistics, dict(zip(n.keys, n.values, strict=True))) for p, n in released]


class Adversary:
    """Who knows both sides and the noise, and learns from answers of either side what is drawn from few things."""

    def __init__(self, sides: Sides, loss: Loss, answers: Sequence[list[Seen]]) -> None:
        self.sides, self.loss = sides, loss
        self.places = [i for i, s in enumerate(sides.plan.statistics) if s in sides.plan.measured and s.order is None]
        self.learnt = [Counter(f for seen in side for f in self._features(seen)) for side in answers]
        self.known: dict[object, list[tuple[np.ndarray, np.ndarray, float]]] = {}

    def scores(self, seen: Seen) -> list[float]:
        """How much better an answer fits the dataset with the person: by all it tells, and by each number alone."""
        odds = sum(math.log((self.learnt[1][f] + RARE) / (self.learnt[0][f] + RARE)) for f in self._features(seen))
        shown = [c for c in self.sides.changed if c in seen.cells]
        told = [0.0] * len(self.places)
        for i, (moved, middle, variance) in enumerate(self._moved(seen, shown) if shown else ()):
            noisy = [seen.cells[c][self.places[i]] for c in shown]
            told[i] = sum((n - at) * d for n, at, d in zip(noisy, middle, moved, strict=True)) / variance  # type: ignore[operator]
        return [odds + sum(told), *(odds + t for t in told if len(told) > 1)]

    def _features(self, seen: Seen) -> list[object]:
        """Bounds, whether keys are shown, and quantiles."""
        bounds = seen.statistics if self.sides.plan.length_share else ()
        found: list[object] = [(s.name, s.bound_squared * 10**6 // s.up**2) for s in bounds]
        for cell in self.sides.changed:
            found.append((cell, cell in seen.cells))
            found += [(cell, i, v.value) for i, v in enumerate(seen.cells.get(cell, ())) if isinstance(v, Picked)]
        return found

    def _moved(self, seen: Seen, shown: list[Cell]) -> list[tuple[list[float], list[float], float]]:
        """Of each number in the cells shown: what the person adds, the middle of both sides, and the variance of its noise."""
        cells = [*shown, *(c for c in seen.cells if c not in self.sides.changed)]
        asked = (*cells, *((s.bound_squared, s.up) for s in seen.statistics))
        if asked not in self.known:
            measured = [s for s in seen.statistics if s.aggregate is not Aggregate.WEIGHT]
            totals = [side.totals(measured, cells) for side in self.sides.units]
            found = []
            for s, before, after in zip(measured, *totals, strict=True):
                if s.order is None:
                    ends = before[: len(shown)].astype(float), after[: len(shown)].astype(float)
                    found.append(
                        ((ends[1] - ends[0]).tolist(), ((ends[0] + ends[1]) / 2).tolist(), scale(s, self.loss) ** 2)
                    )
            self.known[asked] = found
        return self.known[asked]


def shown_by(question: Question, sides: Sides, used: Loss) -> float:
    """The epsilon proven of noise drawn at the price `used`, which the adversary knows, by the best of the scores."""
    train, measured = question.trials
    answers = [askings(sides.plan, units, used, train + measured) for units in sides.units]
    adversary = Adversary(sides, used, [side[:train] for side in answers])
    without, having = (np.array([adversary.scores(seen) for seen in side]).T for side in answers)
    pairs = zip(without, having, strict=True)
    return max(audited(*pair, question.delta, train, ALARM / len(without)) for pair in pairs)


def named(question: Question) -> str:
    what = next((t for t, all_of in TOGETHER.items() if all_of == question.aggregates), question.aggregates[0])
    return f"{what}, {question.keys}, {'chosen' if question.chooses else 'declared'} bounds"


@pytest.mark.parametrize("question", [*MATRIX, *CHOOSING], ids=named)
def test_one_person_shows_no_more_than_the_price(tmp_path: Path, question: Question) -> None:
    """Sound answers prove no epsilon beyond the promised one (false alarm <= 1e-6)."""
    sound = question.promised
    assert shown_by(question, sides_of(question, tmp_path, sound), sound) < EPSILON


@pytest.mark.parametrize("question", [*MATRIX, *CHOOSING[: len(KEYS)]], ids=named)
def test_too_little_noise_is_caught(tmp_path: Path, question: Question) -> None:
    """Everything drawn as if it cost `caught`² times as much."""
    used = less_noise(question.promised, question.caught)
    assert shown_by(question, sides_of(question, tmp_path, used), used) > EPSILON


#: Counted once in one cell, a person cannot be longer than the bound.
ONCE = ("persons", "persons who meet a condition")


@pytest.mark.parametrize(
    "question", [q for q in MATRIX if q.keys == "no keys" and q.aggregates[0] not in ONCE], ids=named
)
def test_a_person_who_is_not_clipped_is_caught(
    tmp_path: Path, question: Question, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reference, "WITHIN", 1e300)
    sides = sides_of(question, tmp_path, question.promised, town.referred)
    assert shown_by(question, sides, question.promised) > EPSILON


def test_a_choice_that_is_not_paid_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The best bounds, of exact counts: one person more, and there are enough to choose by."""
    question = CHOOSING[0]
    monkeypatch.setattr(mechanisms._Draws, "count", lambda _, exact, share: exact)
    monkeypatch.setattr(mechanisms._Draws, "highest", lambda _, scores, *paid: int(np.argmax(scores)))
    sides = sides_of(question, tmp_path, question.promised)
    assert shown_by(question, sides, question.promised) > EPSILON


# --- private keys that nobody else has ---

#: Persons of every dataset: enough of them that one more hides, some with the code that is looked for.
OTHERS = [[row(code="b", city=c, dept=d)] * 2 for c in town.CITIES for d in town.DEPTS for _ in range(5)]


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


@pytest.mark.parametrize("columns", ["code", "city, code"])
@pytest.mark.parametrize("keys", [1, 2, 3])
def test_keys_of_one_person_appear_with_probability_delta_at_most(tmp_path: Path, keys: int, columns: str) -> None:
    """Keys that nobody else has: the rate of any of them appearing is not proven above delta (false alarm <= 1e-6).

    Selection priced at four times the delta is caught where it matters most, at the largest number of keys.
    """
    person = [row(code=f"secret {i}") for i in range(keys)] * 20
    plan, before, after = neighbours(tmp_path, f"SELECT {columns}, count(*) {{}} GROUP BY {columns}", person, OTHERS)
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
    """Draws that note what is asked: scores, sensitivity, and the part of rho that pays.

    What is drawn is in the middle on either side, so that the second draw of a cell is asked alike.
    """

    asked: list[tuple[list[int], int, Fraction]] = field(default_factory=list)

    def highest(self, scores: Sequence[int], sensitivity: int, share: Fraction) -> int:
        self.asked.append((list(scores), sensitivity, share))
        return len(scores) // 2

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

"""Attacks on order statistics and on numbers of different values: one person who owns the extreme, the middle, or every value.

In plain SQL each of these works: the largest value is somebody's, the median of two rows is one of them, and a person who brings
ten thousand texts of their own is counted ten thousand times. Chances are worked out from the scores of the real engine; only
where whole answers are looked at is noise drawn.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from compute.engines.duckdb import DuckEngine
from privacy.answer import Answer
from privacy.choice import noise_scale
from privacy.loss import price
from privacy.mechanisms import release
from privacy.order import drawn, rows_beyond
from privacy.sql.compile import compile_query
from privacy.sql.plan import Plan
from tests.fakes import town

LOSS = price(1.0, 1e-6, selects_keys=False)
KEYED = price(1.0, 1e-6, selects_keys=True)


def row(**values: object) -> town.Row:
    usual: dict[str, object] = {
        "city": "东", "dept": "内", "code": "a", "level": 1, "stock": 0, "fee": 0, "amount": 0, "score": 0,
        "wide": 0, "big": 0, "urgent": True, "day": date(2024, 1, 1),
    }  # fmt: skip
    return tuple({**usual, **values}.values())


def plan_of(sql: str) -> Plan:
    return compile_query(sql, town.FACTS)


@dataclass
class Chances:
    """Draws that work out the chance of each place instead of drawing one: the value is in the midst of the crowd."""

    found: list[np.ndarray] = field(default_factory=list)

    def highest(self, scores: Sequence[int], sensitivity: int, share: Fraction) -> int:
        logs = np.array(scores) / noise_scale(sensitivity, share * LOSS.rho_fraction)
        self.found.append(np.exp(logs - np.logaddexp.reduce(logs)))
        return min(MIDST, len(scores) - 1)

    def count(self, exact: int, share: Fraction) -> int:
        raise AssertionError("nothing is counted")


def chances(path: Path, sql: str, persons: town.Persons) -> list[np.ndarray]:
    """How likely each value of `stock`, from -7, is the answer; then how likely each reach of its interval, the range last."""
    plan = plan_of(sql)
    [totals] = town.exact(town.write(path / "version.duckdb", persons), plan)
    statistic, found = plan.statistics[0], Chances()
    assert statistic.order is not None
    drawn(statistic, statistic.order, np.array([totals[0]], np.int64), LOSS.rho_fraction, found)
    return found.found


def answered(path: Path, sql: str, persons: town.Persons) -> Answer:
    plan = plan_of(sql)
    version = town.write(path / "version.duckdb", persons)
    with DuckEngine().units(version, town.LIMITS) as units, DuckEngine().finishing(town.LIMITS) as finish:
        return release(plan, units, KEYED if plan.selects_keys else LOSS, finish)


#: The place of the value 30, counted from -7.
MIDST = 37
#: Of sixty persons the values lie evenly from 0 to 59; the extreme one has every row at the far end.
SIXTY = [[row(stock=i)] for i in range(60)]


@pytest.mark.parametrize("what", ["median(stock)", "min(stock)", "max(stock)", "quantile_disc(stock, 0.9)"])
@pytest.mark.parametrize("far", [-7, 1000])
def test_an_extreme_person_hardly_moves_the_chance_of_any_value(tmp_path: Path, what: str, far: int) -> None:
    """Eighty rows at the far end: no value becomes e^epsilon times as likely or as unlikely, nor do all beyond the others."""
    person = [row(stock=far)] * 80
    sides = [chances(tmp_path, f"SELECT {what} FROM visits", p) for p in (SIXTY, [*SIXTY, person])]
    for before, after in zip(*sides, strict=True):
        assert np.abs(np.log(after / before)).max() < 1.0
        assert 0.5 * np.abs(after - before).sum() < math.expm1(1.0) / (math.exp(1.0) + 1)


def test_nobody_s_own_maximum_is_the_maximum(tmp_path: Path) -> None:
    """A crowd of a thousand, and one far above it: the answer is beyond the crowd with a chance of one in twenty at most."""
    crowd = [[row(stock=i % 100)] for i in range(1_000)]
    found = chances(tmp_path, "SELECT max(stock) FROM visits", [*crowd, [row(stock=1000)] * 80])[0]
    assert found[7 + 100 :].sum() < 0.05
    assert found[-1] < 1e-3
    beyond = rows_beyond(plan_of("SELECT max(stock) FROM visits").statistics[0], LOSS.rho_fraction)
    assert beyond is not None
    likely = int(found.argmax()) - 7
    assert abs((99 - likely) * 10 - beyond) < 20, "as many rows lie beyond as the answer says"


def test_a_group_of_one_row_does_not_show_it(tmp_path: Path) -> None:
    """Its value is hardly likelier than any other, and the interval says that nothing is known."""
    for what in ("median(stock)", "min(stock)", "max(stock)"):
        value, reach = chances(tmp_path, f"SELECT {what} FROM visits", [[row(stock=500)]])
        assert value.max() < 2 / len(value)
        assert reach[-1] > 0.945


@pytest.mark.parametrize(
    "what", ["median(stock)", "min(stock)", "max(stock)", "quantile_cont(clip(amount / level, 0, 9), 0.5)"]
)
def test_an_empty_group_looks_like_any_other(tmp_path: Path, what: str) -> None:
    """A NULL would say that nobody is there."""
    found = answered(tmp_path, f"SELECT city, {what} AS m FROM visits GROUP BY city", [[row(stock=None, amount=None)]])
    assert [r[0] for r in found.rows] == sorted(town.CITIES)
    for (_, value), (_, interval) in zip(found.rows, found.intervals, strict=True):
        assert interval is not None
        assert isinstance(value, int | float)
        assert interval[0] <= value <= interval[1]


def test_an_empty_group_has_a_day_and_a_moment_too(tmp_path: Path) -> None:
    """No NULL tells that nobody is there, and what is drawn lies within the public range, a moment in its last bin too."""
    sql = "SELECT city, min(day) AS d, max(day + INTERVAL 37 MINUTE) AS m FROM visits GROUP BY city"
    for _, day, moment in answered(tmp_path, sql, [[row()]]).rows:
        assert date(2024, 1, 1) <= day <= date(2024, 3, 31)
        assert date(2024, 1, 1) <= moment.date() <= date(2024, 4, 1)


def test_a_person_of_one_bin_counts_as_far_as_the_bound_goes(tmp_path: Path) -> None:
    """Ten thousand rows of one value weigh what `max_rows` rows do."""
    plan = plan_of("SELECT median(stock) FROM neighbour")
    [[bins]] = town.exact(town.write(tmp_path / "version.duckdb", [], [[row(stock=3)] * 10_000]), plan)
    assert sum(bins) == bins[3 + 7]
    assert 0.9 * town.MAX_ROWS <= bins[3 + 7] / plan.statistics[0].up <= town.MAX_ROWS


def test_ten_thousand_values_of_one_person_are_few(tmp_path: Path) -> None:
    """Texts that nobody else has: the number of different ones moves by the bound, however many there are."""
    plan = plan_of("SELECT count(DISTINCT code) FROM neighbour")
    own = [[row(code=f"mine {i}") for i in range(10_000)]]
    others = [[row(code=c)] for c in "abc"]
    before, after = (
        town.exact(town.write(tmp_path / "version.duckdb", [], p), plan)[0][0] for p in (others, others + own)
    )
    assert before == 3 * plan.statistics[0].up  # type: ignore[comparison-overlap]
    assert 0 < after - before <= town.MAX_ROWS * plan.statistics[0].up  # type: ignore[operator]


def test_values_that_others_hold_too_are_not_counted_twice(tmp_path: Path) -> None:
    """Nor does a person of very many values take away from what others hold."""
    plan = plan_of("SELECT count(DISTINCT code) FROM neighbour")
    shared = [[row(code=f"c{i}")] for i in range(50)] * 2
    own = [[row(code=f"c{i}") for i in range(50)] * 10]
    for persons in (shared, shared + own):
        assert town.exact(town.write(tmp_path / "version.duckdb", [], persons), plan) == [(50 * plan.statistics[0].up,)]


def test_what_is_no_number_is_no_value(tmp_path: Path) -> None:
    """0/0, 1/0, -1/0 and overflows are not among the different values. -0.0 and 0.0 are one value."""
    rows = [row(level=0, stock=s, big=2**62) for s in (-1, 0, 1, None)] + [row(level=1, stock=0, big=3)]
    plan = plan_of(
        "SELECT count(DISTINCT stock / level) AS quotients, count(DISTINCT (stock - 0.5) * 0) AS zeros, "
        "count(DISTINCT big * big) AS squares FROM visits"
    )
    [found] = town.exact(town.write(tmp_path / "version.duckdb", [[r] for r in rows]), plan)
    assert list(found) == [s.up for s in plan.statistics]


def test_the_number_of_values_may_be_asked_of_keys_that_hide(tmp_path: Path) -> None:
    """A private key of one person is not shown because of the many values it holds."""
    own = [[row(code="secret", stock=i) for i in range(500)]]
    sql = "SELECT code, count(DISTINCT stock) AS n, median(stock) AS m FROM visits GROUP BY code"
    assert answered(tmp_path, sql, own).rows == ()

"""Several answers in one question: what they tell together, and whether the intervals of totals that agree hold the truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random

import numpy as np

from compute.engines.duckdb import DuckEngine
from privacy.consistent import consistent
from privacy.loss import Loss, price
from privacy.mechanisms import noisy_cells, release
from privacy.scales import scale
from privacy.sql import compile_query
from privacy.sql.plan import Cell, Grouping, Plan
from tests.fakes import city, town
from tests.fakes.units import Given
from tests.statistics.test_audit import DELTA, EPSILON, MEASURED, TRAINING, audited, draws, less_noise

PARTS = 4
TOGETHER = "SELECT " + " + ".join(f"(SELECT count(*) FROM visits WHERE level >= {i})" for i in range(PARTS)) + " AS n"


def _odds(plan: Plan, used: Loss, person: bool, count: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """By all answers together, how much better each of `count` askings fits a dataset with somebody who is in all of them."""
    found = np.zeros(count)
    for grouping in plan.groupings:
        (statistic,) = grouping.statistics
        reach = grouping.max_rows * statistic.up
        drawn = draws(grouping, {(): (reach if person else 0,)}, used, count)
        noisy = np.array([d[()][0] for d in drawn], np.float64)
        found += noisy * reach / scale(statistic, used) ** 2
    return found


def test_four_answers_together_tell_no_more_than_was_paid() -> None:
    plan, loss = compile_query(TOGETHER, town.FACTS), price(EPSILON, DELTA, selects_keys=False)
    assert len(plan.groupings) == PARTS
    sides = [_odds(plan, loss, person, TRAINING + MEASURED) for person in (False, True)]
    assert audited(*sides, DELTA) <= EPSILON


def test_four_answers_that_each_spend_the_whole_price_are_caught() -> None:
    """The noise of each as if it were alone: half of what it has to be."""
    plan, loss = compile_query(TOGETHER, town.FACTS), price(EPSILON, DELTA, selects_keys=False)
    sides = [_odds(plan, less_noise(loss, 2), person, TRAINING + MEASURED) for person in (False, True)]
    assert audited(*sides, DELTA) > EPSILON


# --- calibration -----------------------------------------------------------------------------------------------------------

ROLLUP = """
SELECT date_trunc('day', day) AS d, city, grouping(d, city) AS g, count(*) AS n, count(*) FILTER (WHERE urgent) AS u,
       1.0 * count(*) FILTER (WHERE urgent) / count(*) AS part
FROM visits GROUP BY {} (d, city)
"""


def _exact(plan: Plan, seed: int) -> Mapping[Grouping, list[Cell]]:
    """The exact cells of each grouping, those of coarser ones as sums of the finest, which is the first."""
    draw = Random(seed)
    fine = {key: (n := draw.randrange(3_000, 9_000), draw.randrange(1_000, n)) for key in plan.grid()}
    family = dict(plan.nested[0])
    found = {}
    for place, grouping in enumerate(plan.groupings):
        sums: dict[Cell, list[int]] = {}
        for key, values in fine.items():
            own = sums.setdefault(tuple(key[a] for a in family[place]), [0, 0])
            own[0], own[1] = own[0] + values[0], own[1] + values[1]
        ups = [s.up for s in grouping.statistics]
        found[grouping] = [(*key, *(n * up for n, up in zip(own, ups, strict=True))) for key, own in sums.items()]
    return found


def _coverage(plan: Plan, exact: Mapping[Grouping, Sequence[Cell]]) -> tuple[int, dict[str, float]]:
    """How many rows were seen, and in which part of them the interval of each column holds the exact value."""
    held: list[list[bool]] = []

    def units(grouping: Grouping) -> Given:
        given = next(cells for known, cells in exact.items() if known.rows_sql == grouping.rows_sql)
        return Given(grouping, given)  # type: ignore[arg-type]

    with DuckEngine().finishing(town.LIMITS) as finish:
        true = release(plan, units, price(1e10, 1e-6, selects_keys=False), finish)
        truth = {row[:3]: row for row in true.rows}
        loss = price(1.0, 1e-6, selects_keys=False)
        answers = [release(plan, units, loss, finish) for _ in range(2)]
        shown = [pair for a in answers for pair in zip(a.rows, a.intervals, strict=True)]
        for row, intervals in shown:
            pairs = list(zip(truth[row[:3]], intervals, strict=True))[3:]
            held.append([i is not None and i[0] - 1e-6 <= float(str(v)) <= i[1] + 1e-6 for v, i in pairs])
    return len(held), dict(zip("nup", np.mean(held, axis=0).tolist(), strict=True))


def test_intervals_of_totals_that_agree_hold_the_truth_as_often_as_they_say() -> None:
    """7,312 rows and more, tied to each other: at a true coverage of 94 to 96 % a column fails with probability below 1e-6."""
    for word in ("ROLLUP", "CUBE"):
        plan = compile_query(ROLLUP.format(word), city.FACTS)
        count, coverage = _coverage(plan, _exact(plan, 7))
        assert count >= 7_312
        assert all(0.92 <= c <= 0.975 for c in coverage.values()), (word, coverage)


def test_totals_that_agree_are_more_exact_than_their_own_noise() -> None:
    """The total of all cells, by its own noise and by that of the sets within: as exact as least squares says."""
    plan = compile_query("SELECT city, dept, count(*) AS n FROM visits GROUP BY CUBE (city, dept)", city.FACTS)
    loss, seen, told = price(1.0, 1e-6, selects_keys=False), [], 0.0
    for _ in range(2_000):
        noisy = [noisy_cells(g, Given(g, []), loss)[1] for g in plan.groupings]  # type: ignore[arg-type]
        whole = consistent(plan, noisy, loss)[-1]
        seen.append(whole.values[0][0])
        told = whole.deviation["s0"] * plan.also[-1].statistics[0].up
    own = scale(plan.also[-1].statistics[0], loss)
    assert told < 0.85 * own
    assert abs(float(np.std(np.array(seen, np.float64))) / told - 1) < 0.09, "five standard errors"

"""Intervals of a question around an answer: the whole question, asked again of cells whose noise is drawn again.

Owns how often that is done and what is made of it (ADR 0016). A sum over some cells has the noise of each of them, a rank or a
share has that of all: no closed form covers what SQL can make of cells. So the noise of every cell is drawn again around its
noisy value, the asker's text runs over them, and the middle 95 % of what it says of a row is the interval (parametric bootstrap:
Efron & Tibshirani 1993, section 6.5). Only noisy values and public rows are read: it costs nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from privacy.sql.bound import MAX_CELLS
from privacy.sql.plan import Finish, Plan, SmallTable, place_name

Interval = tuple[float, float]

#: Draws of an answer, and the fewest that give an interval.
MAX_DRAWS = 200
MIN_DRAWS = 100
#: Rows of all steps of all draws together: a few seconds.
MAX_REDRAWN = 4_000_000


def redrawn(
    plan: Plan, cells: Sequence[SmallTable], sigma: Sequence[Mapping[str, float]], finish: Finish
) -> dict[object, list[Interval | None]]:
    """By the name of a row, the middle 95 % of each derived column; None where it is not known.

    A column has no interval in a row that fewer than half of the draws have. Where the question is too large for `MIN_DRAWS`
    draws, nothing has one. `cells` and `sigma` are those of each grouping, the latter as the noise of each
    statistic in its own unit.
    """
    draws = _draws(plan, sum(len(c.rows) for c in cells))
    given = {place_name("cells", i): table for i, table in enumerate(cells)}
    for i, noise in enumerate(sigma):
        columns = tuple((n, "DOUBLE") for n in noise)
        given[place_name("scales", i)] = SmallTable(columns=columns, rows=[tuple(noise.values())])
    seen: dict[object, list[tuple[object, ...]]] = {}
    for draw in range(draws):
        turn = SmallTable(columns=(("draw", "BIGINT"),), rows=[(draw,)])
        for name, *values in finish(plan.redraw_sql, {**given, "turn": turn}):
            seen.setdefault(name, []).append(tuple(values))
    return {name: [_middle(column, draws) for column in zip(*rows, strict=True)] for name, rows in seen.items()}


def _draws(plan: Plan, cells: int) -> int:
    """As many draws as there is room for. Of private keys there may be far fewer than a plan has to reckon with."""
    most = sum(g.cells if g.cells is not None else MAX_CELLS for g in plan.groupings)
    rows = max(1, plan.around_rows * min(cells, most) // most)
    room = MAX_REDRAWN // rows
    return min(MAX_DRAWS, room) if room >= MIN_DRAWS else 0


def _middle(values: tuple[object, ...], draws: int) -> Interval | None:
    numbers = np.array([np.nan if v is None else v for v in values], dtype=np.float64)
    finite = numbers[np.isfinite(numbers)]
    if 2 * len(finite) < draws:
        return None
    low, high = np.quantile(finite, (0.025, 0.975))
    return float(low), float(high)

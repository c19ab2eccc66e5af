"""The three views of a question's rows (`privacy.sql.plan.Units`) in plain DuckDB SQL.

Owns the reference form of bounding: any question can be computed by it, and the compiled kernel is tested against it. The rows
are read once, into a table of what each unit has by key (`held_sql`), which the other texts read by the name it was given; bins
and different values need the rows again. Where only some keys count there is the table `shown` of cell, k0… The argument is in
`privacy.sql.bound`; the operations here are those it speaks of, in its order. No conversion can fail: a coordinate is clamped far
beyond what facts allow.
"""

from __future__ import annotations

from collections.abc import Sequence

from privacy.sql.bound import MAX_REACH, SHRINK, TOTAL, WEIGHT_ONE, WITHIN
from privacy.sql.plan import Aggregate, Grouping, Statistic

SHOWN = "shown"


def held_sql(grouping: Grouping) -> str:
    """unit, k0…, n (rows), c_s0…: what one unit has of one combination of keys."""
    keys = ["unit", *(k.name for k in grouping.keys)]
    columns = [*keys, "count(*) AS n", *(f"{_coordinate(s)} AS c_{s.name}" for s in grouping.measured)]
    return f"SELECT {', '.join(columns)} FROM ({grouping.rows_sql}) GROUP BY {', '.join(keys)}"


def weights_sql(grouping: Grouping, held: str) -> str:
    """k0…, weight: one row for each private key that has weight, in the order of the keys."""
    keys = _keys(grouping)
    counted = f"SELECT {keys}, count(*) OVER (PARTITION BY unit) AS m FROM {held}"
    weight = f"sum(CAST(floor({WEIGHT_ONE} / sqrt(m)) AS BIGINT))"
    capped = f"CAST(least({TOTAL}, {weight}) AS BIGINT) AS weight"
    return f"SELECT {keys}, {capped} FROM ({counted}) WHERE m <= {grouping.max_keys} GROUP BY {keys} ORDER BY {keys}"


def lengths_sql(grouping: Grouping, held: str) -> str:
    """unit, n, q0…: the squared lengths of a unit's row counts and of its measured statistics."""
    squares = [f"sum(CAST({c} AS DOUBLE) * {c}) AS {q}" for c, q in [("n", "n"), *_squares(grouping.measured)]]
    return f"SELECT unit, {', '.join(squares)} FROM ({_per_unit(grouping, held)}) GROUP BY unit"


def totals_sql(grouping: Grouping, held: str, statistics: Sequence[Statistic], counted: Sequence[Statistic]) -> str:
    """The keys of a cell (its number, where keys are private), then the total of each statistic that is `counted`."""
    keys = _cell(grouping)
    totals = [f"{_total(f'CAST(trunc(c_{s.name} * ({s.up}::DOUBLE * g)) AS BIGINT)')} AS {s.name}" for s in counted]
    columns = ", ".join([*([keys] if keys else []), *totals])
    return f"{_scaled(grouping, held, statistics)} SELECT {columns} FROM scaled{_by(keys)}"


def bins_sql(grouping: Grouping, held: str, statistics: Sequence[Statistic], s: Statistic) -> str:
    """The keys of a cell, then a bin of it and its total, for the QUANTILE `s` of the statistics that share the bound."""
    assert s.order is not None, "a QUANTILE has an order"
    rows, cell = _located(grouping)
    place = f"greatest(0, least({s.order.bins - 1}, {s.value} // {s.order.width}))"
    placed = f"SELECT {', '.join(['unit', *cell])}, {place} AS bin FROM {rows} WHERE {s.value} IS NOT NULL"
    keys = ", ".join([*cell, "bin"])
    total = _total(f"CAST(trunc({s.up}::DOUBLE * g) AS BIGINT)")
    return f"{_gains(grouping, held, statistics)} SELECT {keys}, {total} FROM ({placed}) JOIN gains USING (unit) GROUP BY {keys}"


def distinct_sql(grouping: Grouping, held: str, statistics: Sequence[Statistic], s: Statistic) -> str:
    """The keys of a cell, then its total, for the DISTINCT `s` of the statistics that share the bound."""
    rows, cell = _located(grouping)
    found = f"SELECT DISTINCT {', '.join(['unit', *cell])}, {s.value} AS v FROM {rows} WHERE {s.value} IS NOT NULL"
    given = f"least({s.up}, sum(CAST(trunc({s.up}::DOUBLE * g) AS BIGINT)))"
    keys = ", ".join([*cell, "v"])
    values = f"SELECT {keys}, {given} AS t FROM ({found}) JOIN gains USING (unit) GROUP BY {keys}"
    columns = ", ".join([*cell, _total("t")])
    return f"{_gains(grouping, held, statistics)} SELECT {columns} FROM ({values}){_by(', '.join(cell))}"


def _scaled(grouping: Grouping, held: str, statistics: Sequence[Statistic]) -> str:
    """WITH … scaled: what one unit has in one cell, and the unit's gain g."""
    names = [f"c_{s.name}" for s in statistics]
    r = " + ".join(
        f"{weight!r}::DOUBLE * sum(CAST({c} AS DOUBLE) * {c}) OVER own"
        for weight, c in zip(factors(statistics), names, strict=True)
    )
    measured = f"SELECT *, {r} AS r FROM per_unit WINDOW own AS (PARTITION BY unit)"
    gain = f"CASE WHEN r <= {WITHIN!r}::DOUBLE THEN 1.0::DOUBLE ELSE {SHRINK!r}::DOUBLE / sqrt(r) END"
    return f"WITH per_unit AS ({_per_unit(grouping, held)}), scaled AS (SELECT *, {gain} AS g FROM ({measured}))"


def _gains(grouping: Grouping, held: str, statistics: Sequence[Statistic]) -> str:
    return f"{_scaled(grouping, held, statistics)}, gains AS (SELECT DISTINCT unit, g FROM scaled)"


def _total(summand: str) -> str:
    return f"CAST(greatest(-{TOTAL}, least({TOTAL}, coalesce(sum({summand}), 0))) AS BIGINT)"


def _by(keys: str) -> str:
    return f" GROUP BY {keys}" if keys else ""


def factors(statistics: Sequence[Statistic]) -> list[float]:
    """a_j / B_j² of each statistic, for vectors in lattice units of the rows."""
    whole = sum(s.share for s in statistics)
    return [float(s.share / whole * s.up**2 / s.bound_squared) for s in statistics]


def _keys(grouping: Grouping) -> str:
    return ", ".join(k.name for k in grouping.keys)


def _cell(grouping: Grouping) -> str:
    return "cell" if grouping.selects_keys else _keys(grouping)


def _squares(statistics: Sequence[Statistic]) -> list[tuple[str, str]]:
    return [(f"c_{s.name}", f"q_{s.name}") for s in statistics]


def _per_unit(grouping: Grouping, held: str) -> str:
    """unit, the cell, n (rows), c_s0…: what one unit has in one cell."""
    rows, cell = _counting(grouping, held)
    columns = ["unit", *cell, "n", *(f"c_{s.name}" for s in grouping.measured)]
    return f"SELECT {', '.join(columns)} FROM {rows}"


def _located(grouping: Grouping) -> tuple[str, list[str]]:
    """The rows that count, and the columns that say in which cell each is."""
    return _counting(grouping, f"({grouping.rows_sql})")


def _counting(grouping: Grouping, rows: str) -> tuple[str, list[str]]:
    keys = [k.name for k in grouping.keys]
    if not grouping.selects_keys:
        return rows, keys
    same = " AND ".join(f"{SHOWN}.{name} IS NOT DISTINCT FROM r.{name}" for name in keys)
    return f"{rows} AS r JOIN {SHOWN} ON {same}", ["cell"]


def _coordinate(s: Statistic) -> str:
    match s.aggregate:
        case Aggregate.UNITS:
            return "1::BIGINT"
        case Aggregate.UNITS_WHERE:
            return f"CASE WHEN bool_or({s.value}) THEN 1::BIGINT ELSE 0::BIGINT END"
        case Aggregate.COUNT:
            return f"count(*) FILTER (WHERE {s.value})" if s.value else "count(*)"
        case Aggregate.QUANTILE:
            return f"count({s.value})"
        case Aggregate.DISTINCT:
            return f"count(DISTINCT {s.value})"
    return f"CAST(greatest(-{2 * MAX_REACH}, least({2 * MAX_REACH}, coalesce(sum({s.value}), 0))) AS BIGINT)"

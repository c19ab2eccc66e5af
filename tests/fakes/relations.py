"""Tracked relations at random over the town of `tests.fakes.town`: every operator that a subquery may be made of.

Each relation has the same columns, so that any two fit together: the unit u, two numbers n and m, a text t and a day d. The same
seed gives the same relations.
"""

from __future__ import annotations

from dataclasses import replace
from random import Random

from privacy.facts import DatasetFacts, Keys, Kind
from tests.fakes import town

#: A second private table about the same persons.
PAYS = replace(
    town.VISITS,
    name="pays",
    max_rows=2,
    columns=tuple(c for c in town.VISITS.columns if c.name in {"person_id", "city", "stock", "score", "day"}),
)
FACTS = DatasetFacts(name="town", tables=(town.VISITS, PAYS, town.PLACES, town.EVENTS))
assert all(c.kind is not Kind.TEXT or c.keys is Keys.PUBLIC for c in PAYS.columns)

_BASES = (
    "SELECT person_id AS u, stock AS n, score AS m, city AS t, day AS d FROM visits",
    "SELECT person_id AS u, level AS n, amount AS m, dept AS t, day AS d FROM visits WHERE urgent IS NOT FALSE",
    "SELECT person_id AS u, stock AS n, score AS m, city AS t, day AS d FROM pays",
    "SELECT v.person_id AS u, p.stock AS n, v.score AS m, p.city AS t, v.day AS d "
    "FROM visits v LEFT JOIN pays p ON p.person_id = v.person_id AND p.score <= v.score",
    "SELECT person_id AS u, p.tier AS n, v.score AS m, p.city AS t, v.day AS d FROM visits v, places p WHERE p.tier >= v.level",
    "SELECT person_id AS u, v.stock AS n, w.far AS m, w.title AS t, v.day AS d FROM pays v LEFT JOIN "
    "(SELECT title, max(place) AS far FROM events GROUP BY title) w ON v.score BETWEEN 0 AND w.far",
    "SELECT person_id AS u, v.stock AS n, e.place AS m, title AS t, e.place * 0 AS z, v.day AS d "
    "FROM visits v JOIN events e ON e.city = v.city SEMI JOIN pays USING (person_id)",
)
_CUT = "least(greatest({0}, -50), 90)"


class Relations:
    """A source of relations."""

    def __init__(self, draw: Random) -> None:
        self.draw = draw

    def pick(self, *items: str) -> str:
        return self.draw.choice(items)

    def condition(self, r: str) -> str:
        """A condition on one row of the relation named `r`."""
        return self.pick(
            f"{r}.n > {self.draw.randrange(-5, 9)}",
            f"({r}.m < {self.draw.randrange(-5, 9)} OR {r}.t IS NULL)",
            f"{r}.t IN ('东', '内', '庙会')",
            f"{r}.d >= '2024-02-01'",
            f"1 / ({r}.n % 2) = 1",
            f"{r}.t IN (SELECT city FROM places WHERE tier = 1)",
            f"{r}.t NOT IN (SELECT title FROM events)",
            f"EXISTS (SELECT 1 FROM events e WHERE e.city = {r}.t AND e.place > {r}.n)",
        )

    def aggregate(self) -> str:
        """A number that a unit's rows give."""
        n, m = (_CUT.format(c) for c in "nm")
        filtered = self.pick("", "", " FILTER (WHERE n > 0)")
        return (
            self.pick(
                "count(*)", "count(n)", "count(DISTINCT t)", "count(DISTINCT m)", f"sum({n})", f"sum({m})", f"avg({m})",
                "min(m)", "max(n)", f"stddev({m})", f"var_pop({n})", f"variance({m})", "count_if(m > n)", "sum(n)",
            )
            + filtered
        )  # fmt: skip

    def window(self) -> str:
        """A number that a row has among the rows of its unit."""
        order = self.pick("d", "n DESC", "t, m", "m NULLS FIRST", "n + m")
        part = self.pick("u", "u, t", "u, n % 2")
        rows = self.pick("ROWS BETWEEN 1 PRECEDING AND CURRENT ROW", "ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING")
        m = _CUT.format("m")
        return self.pick(
            f"row_number() OVER (PARTITION BY {part} ORDER BY {order})",
            f"row_number() OVER (PARTITION BY {part})",
            f"rank() OVER (PARTITION BY {part} ORDER BY {order})",
            f"dense_rank() OVER (PARTITION BY {part} ORDER BY {order})",
            f"lag(n, 1, 0) OVER (PARTITION BY {part} ORDER BY {order})",
            f"lead(m, 2) OVER (PARTITION BY {part} ORDER BY {order})",
            f"first_value(n) OVER (PARTITION BY {part} ORDER BY {order})",
            f"last_value(m) OVER (PARTITION BY {part} ORDER BY {order} {rows})",
            f"sum({m}) OVER (PARTITION BY {part} ORDER BY {order} {rows})",
            f"avg({m}) OVER (PARTITION BY {part} ORDER BY {order})",
            f"count(*) OVER (PARTITION BY {part} ORDER BY {order} {rows})",
            f"max(n) FILTER (WHERE m > 0) OVER (PARTITION BY {part})",
        )

    def relation(self, depth: int) -> str:
        """A SELECT of u, n, m, t, d."""
        if depth <= 0:
            chosen = self.pick(*_BASES)
            return f"SELECT u, n, m, t, d FROM ({chosen}) b"
        r = f"({self.relation(depth - 1)})"
        return self.draw.choice(
            [self._projected, self._grouped, self._windowed, self._joined, self._filtered, self._united, self._named]
        )(r, depth)

    def _projected(self, r: str, depth: int) -> str:
        n = self.pick("r.n", "r.n + 1", "CASE WHEN r.t = '东' THEN r.n ELSE 3 END", "r.n * r.n", "year(r.d)", "7 % r.n")
        m = self.pick("r.m", "r.m / r.n", "coalesce(r.m, -1)", "sqrt(r.m)", "-r.m", "round(r.m * 3, 1)")
        t = self.pick("r.t", "coalesce(r.t, '东')", "left(r.t, 1)", "CASE WHEN r.n > 2 THEN '西' ELSE r.t END")
        where = f" WHERE {self.condition('r')}" if self.draw.random() < 0.6 else ""
        return f"SELECT r.u, {n} AS n, {m} AS m, {t} AS t, r.d FROM {r} r{where}"

    def _grouped(self, r: str, depth: int) -> str:
        key = self.pick("", "", ", t", ", d", ", n % 3, t")
        t = "t" if "t" in key else self.pick("max(t)", "min(t)", "CASE WHEN bool_or(n > m) THEN '东' END")
        d = "d" if "d" in key else "max(d)"
        having = self.pick("", "", " HAVING count(*) > 1", " HAVING max(n) > min(m)")
        n, m = self.aggregate(), self.aggregate()
        return f"SELECT u, {n} AS n, {m} AS m, {t} AS t, {d} AS d FROM {r} r GROUP BY u{key}{having}"

    def _windowed(self, r: str, depth: int) -> str:
        qualify = self.pick("", "", f" QUALIFY {self.window()} <= 2", " QUALIFY n = 1")
        return f"SELECT u, {self.window()} AS n, {self.pick('m', self.window())} AS m, t, d FROM {r} r{qualify}"

    def _joined(self, r: str, depth: int) -> str:
        other = f"({self.relation(self.draw.randrange(depth))})"
        kind = self.pick("JOIN", "LEFT JOIN")
        public = self.pick(
            "", " JOIN places p ON p.city = r.t", " LEFT JOIN events e ON r.t = e.city AND e.place > r.n",
            " CROSS JOIN places p", " LEFT JOIN events e ON e.place BETWEEN r.n AND s.n", " JOIN events e ON e.place = r.n",
        )  # fmt: skip
        more = self.pick("", " AND r.n < s.n", " AND (r.t = s.t OR r.m > s.m)", " AND r.d = s.d")
        both = "r.u, s.n, r.m, s.t, r.d"
        if self.draw.random() < 0.2:
            return f"SELECT {both} FROM {r} r, {other} s WHERE s.u = r.u{more}"
        return f"SELECT {both} FROM {r} r {kind} {other} s ON r.u = s.u{more}{public}"

    def _filtered(self, r: str, depth: int) -> str:
        other = f"({self.relation(self.draw.randrange(depth))})"
        negated = self.pick("", "NOT ")
        where = self.pick(
            f"r.u {negated}IN (SELECT s.u FROM {other} s WHERE {self.condition('s')})",
            f"(r.u, r.n) {negated}IN (SELECT u, max(n) FROM {other} s GROUP BY u)",
            f"{negated}EXISTS (SELECT 1 FROM {other} s WHERE s.u = r.u AND s.n < r.n AND {self.condition('s')})",
            f"({negated}EXISTS (SELECT 1 FROM {other} s WHERE r.u = s.u) OR {self.condition('r')})",
        )
        join = self.pick("SEMI", "ANTI")
        return self.pick(
            f"SELECT * FROM {r} r WHERE {where}",
            f"SELECT r.u, r.n, r.m, r.t, r.d FROM {r} r {join} JOIN {other} s ON s.u = r.u AND s.d <= r.d",
        )

    def _united(self, r: str, depth: int) -> str:
        other = self.relation(self.draw.randrange(depth))
        return self.pick(
            f"(SELECT * FROM {r} r) UNION ALL ({other})",
            f"(SELECT u, m, n, t, d FROM {r} r) UNION ALL ({other})",
            f"(SELECT * FROM {r} r) UNION ({other})",
            f"SELECT DISTINCT * FROM {r} r",
            f"SELECT DISTINCT u, 1 AS n, m, NULL AS t, d FROM {r} r",
        )

    def _named(self, r: str, depth: int) -> str:
        return (
            f"WITH w(u, n, m) AS (SELECT u, n, m, t, d FROM {r} r) "
            "SELECT a.u, a.n, b.m, a.t, a.d FROM w a JOIN w b ON a.u = b.u AND a.n = b.n"
        )

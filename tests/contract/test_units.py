"""The rows of a question unit by unit: one suite for the reference text and for the compiled pass, and what lies between them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import date
from functools import partial
from pathlib import Path
from random import Random

import duckdb
import numpy as np
import pytest

from compute.engines import chunks, numbers, streamed
from compute.engines.chunks import Unstreamable
from compute.engines.connection import Deadline, opened
from compute.engines.duckdb import DuckEngine
from compute.engines.numbers import numbers_of
from compute.engines.streamed import StreamedUnits
from compute.engines.units import SqlUnits, units_of
from privacy.errors import Fault
from privacy.loss import price
from privacy.mechanisms import release
from privacy.sql import compile_query
from privacy.sql.bound import refined
from privacy.sql.plan import Cell, Plan, Units
from tests.fakes import town
from tests.fakes.units import Rows

TWO = replace(town.LIMITS, threads=2)
MANY = replace(town.FACTS, tables=tuple(replace(t, max_rows=64) if t.unit else t for t in town.FACTS.tables))
QUESTIONS = {
    "nothing grouped": "SELECT count(*), count(stock), sum(stock), avg(amount), count(DISTINCT person_id) FROM visits",
    "public texts": "SELECT city, dept, count(*), sum(amount) FROM visits GROUP BY city, dept",
    "public numbers": "SELECT level, urgent, sum(score), count(DISTINCT person_id) FROM visits GROUP BY level, urgent",
    "listed cases": "SELECT CASE WHEN stock > 5 THEN 'full' WHEN urgent THEN 'soon' END AS k, count(*) FROM visits GROUP BY k",
    "months": "SELECT month(day) AS m, count(*) FILTER (WHERE urgent) FROM visits GROUP BY m",
    "conditions": "SELECT city, count(DISTINCT person_id) FILTER (WHERE stock > 3), var_pop(fee) FROM visits GROUP BY city",
    "private texts": "SELECT code, count(*), sum(stock) FROM visits GROUP BY code",
    "private numbers": "SELECT stock, count(*) FROM visits GROUP BY stock",
    "private days": "SELECT day, count(*), count(DISTINCT person_id) FROM visits GROUP BY day",
    "mixed": "SELECT city, code, level, count(*) FROM visits GROUP BY city, code, level",
    "joined": "SELECT e.title, count(*), sum(stock) FROM visits v JOIN events e ON e.city = v.city GROUP BY e.title",
    "truncated days": "SELECT date_trunc('month', day) AS m, count(*) FROM visits GROUP BY m",
    "private parts": "SELECT left(code, 1) AS a, coalesce(dept, '?') AS d, count(*) FROM visits GROUP BY a, d",
    "private words": "SELECT CASE WHEN stock % 7 = 0 THEN code ELSE 'none' END AS k, count(*) FROM visits GROUP BY k",
    "years": "SELECT strftime(day, '%Y-%m') AS m, sum(stock) FROM visits GROUP BY m",
    "fractions": "SELECT fee / 2 AS half, count(*) FROM visits GROUP BY half",
    "nothing as a key": "SELECT city, NULL AS x, count(*), sum(stock) FROM visits GROUP BY city, x",
    "far numbers": "SELECT wide, count(*) FROM visits GROUP BY wide",
    "private scores": "SELECT score, count(*) FROM visits GROUP BY score",
}
#: Statistics that look at each row's own value.
BINNED = {
    "quantiles": "SELECT median(least(greatest(stock, -9), 9)), max(score), quantile_disc(level, 0.9), count(stock) FROM visits",
    "quantiles by city": "SELECT city, dept, median(amount), min(day), sum(score) FROM visits GROUP BY city, dept",
    "quantiles of moments": "SELECT city, median(day + INTERVAL 37 MINUTE), max(CAST(day AS TIMESTAMP)) FROM visits GROUP BY 1",
    "quantiles of some": "SELECT level // 3 AS k, max(score) FILTER (WHERE urgent), count(*) FROM visits GROUP BY k",
    "quantiles of private keys": "SELECT code, median(amount), count(DISTINCT person_id) FROM visits GROUP BY code",
    "different values": "SELECT count(DISTINCT code), count(DISTINCT stock), count(DISTINCT score / level) FROM visits",
    "different values by city": "SELECT city, count(DISTINCT code) FILTER (WHERE urgent), count(*) FROM visits GROUP BY city",
    "different values of private keys": "SELECT stock, count(DISTINCT city), median(level) FROM visits GROUP BY stock",
    "off the grid": "SELECT CASE WHEN stock > 5 THEN 'full' END AS k, count(DISTINCT day), max(score) FROM visits GROUP BY k",
}
UNNUMBERED = ("different values",)
STREAMED = [q for q in QUESTIONS if q not in ("far numbers", "joined", "private words")]


def row(draw: Random) -> town.Row:
    def maybe(value: object) -> object:
        return None if draw.random() < 0.2 else value

    return (
        draw.choice(town.CITIES), maybe(draw.choice(town.DEPTS)), maybe(draw.choice("abcdef")), draw.randrange(4),
        maybe(draw.randrange(-7, 12)), maybe(draw.randrange(31)), maybe(draw.randrange(500_001)), draw.randrange(-40, 41),
        draw.randrange(-9, 9), maybe(draw.randrange(-20, 20)), maybe(draw.random() < 0.5),
        date(2024, draw.randrange(1, 4), draw.randrange(1, 29)),
    )  # fmt: skip


@pytest.fixture(scope="module")
def version(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Persons of 1 to 60 rows."""
    draw = Random(7)
    persons = [[row(draw) for _ in range(draw.choice((1, 2, 3, 7, 60)))] for _ in range(80)]
    return town.write(tmp_path_factory.mktemp("units") / "version.duckdb", persons)


@contextmanager
def both(version: Path, plan: Plan) -> Iterator[tuple[Units, Units]]:
    with opened(str(version), town.LIMITS, read_only=True) as connection:
        yield units_of(connection, plan, Deadline(60), TWO.threads), SqlUnits(connection.cursor(), plan, Deadline(60))


def streaming(connection: duckdb.DuckDBPyConnection, plan: Plan, deadline: Deadline, threads: int = 2) -> StreamedUnits:
    keys = numbers_of(connection, plan)
    assert keys is not None
    return StreamedUnits(connection, plan, keys, deadline, threads)


def plan_of(name: str) -> Plan:
    return compile_query(QUESTIONS[name], MANY)


def cells_of(plan: Plan, found: Units) -> Sequence[Cell]:
    """All cells, or every second private key: rows with other keys must not count."""
    return list(found.weights()[0])[::2] if plan.selects_keys else plan.grid()


@pytest.mark.parametrize("batch", [1, 7, 50_000])
@pytest.mark.parametrize("name", QUESTIONS)
def test_both_forms_give_the_same_integers(
    version: Path, name: str, batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A person who straddles batches is one person; asked twice, the rows are the same."""
    monkeypatch.setattr(streamed, "BATCH", batch)
    plan = plan_of(name)
    with both(version, plan) as (ours, reference):
        if plan.selects_keys:
            (keys, weights), (others, theirs) = ours.weights(), reference.weights()
            assert list(keys) == list(others)
            assert weights.tolist() == theirs.tolist()
        cells = cells_of(plan, reference)
        for _ in range(2):
            assert sorted(map(tuple, ours.lengths(cells))) == sorted(map(tuple, reference.lengths(cells)))
            for clip in (10.0**9, 3.0, 0.7):
                held = [refined(s, clip * s.reach) for s in plan.measured]
                mine, exact = ours.totals(held, cells), reference.totals(held, cells)
                assert [m.dtype for m in mine] == [np.dtype(np.int64)] * len(held)
                assert [m.tolist() for m in mine] == [e.tolist() for e in exact], (name, clip)


@pytest.mark.parametrize("batch", [1, 7, 50_000])
@pytest.mark.parametrize("name", BINNED)
def test_rows_are_binned_as_they_are_in_python(
    version: Path, name: str, batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both forms and the fake give the same integers, at bounds that cut nobody, some and everybody."""
    monkeypatch.setattr(streamed, "BATCH", batch)
    plan = compile_query(BINNED[name], MANY)
    with both(version, plan) as (ours, reference), opened(str(version), town.LIMITS, read_only=True) as other:
        assert isinstance(ours, SqlUnits) == (name in UNNUMBERED)
        fake = Rows(plan, other.execute(plan.rows_sql).fetchall())
        if plan.selects_keys:
            assert list(fake.weights()[0]) == list(reference.weights()[0]) == list(ours.weights()[0])
            assert fake.weights()[1].tolist() == reference.weights()[1].tolist() == ours.weights()[1].tolist()
        cells = cells_of(plan, reference)
        lengths = sorted(map(tuple, reference.lengths(cells)))
        assert sorted(map(tuple, fake.lengths(cells))) == sorted(map(tuple, ours.lengths(cells))) == lengths
        for clip in (10.0**9, 3.0, 0.7):
            held = [refined(s, clip * s.reach) for s in plan.measured]
            mine, exact = fake.totals(held, cells), reference.totals(held, cells)
            assert [o.tolist() for o in ours.totals(held, cells)] == [e.tolist() for e in exact], clip
            assert [e.dtype for e in exact] == [np.dtype(np.int64)] * len(held)
            assert [m.tolist() for m in mine] == [e.tolist() for e in exact], clip
            assert all(e.any() for e in exact)


@pytest.mark.parametrize("threads", [1, 3, 7, 100])
@pytest.mark.parametrize(
    "name", ["private parts", "conditions", "quantiles by city", "different values of private keys"]
)
def test_who_does_which_part_of_the_work_changes_nothing(version: Path, name: str, threads: int) -> None:
    """Every unit is one thread's, in however many ranges the units are cut; some ranges are nobody's."""
    plan = compile_query((QUESTIONS | BINNED)[name], MANY)
    with opened(str(version), town.LIMITS, read_only=True) as connection:
        ours = streaming(connection, plan, Deadline(60), threads)
        reference = SqlUnits(connection.cursor(), plan, Deadline(60))
        if plan.selects_keys:
            assert ours.weights()[1].tolist() == reference.weights()[1].tolist()
        cells = cells_of(plan, reference)
        assert sorted(map(tuple, ours.lengths(cells))) == sorted(map(tuple, reference.lengths(cells)))
        held = [refined(s, 3.0 * s.reach) for s in plan.measured]
        exact = reference.totals(held, cells)
        assert [t.tolist() for t in ours.totals(held, cells)] == [t.tolist() for t in exact]


def test_what_one_thread_cannot_do_stops_the_others(
    tmp_path: Path, version: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows of the last units are out of order: whoever reads the first ones does not read on."""
    turned, looked = tmp_path / "turned.duckdb", []
    with duckdb.connect(str(turned)) as connection:
        connection.execute(f"ATTACH '{version}' AS v (READ_ONLY)")
        connection.execute(
            "CREATE TABLE visits AS SELECT * FROM v.visits ORDER BY CASE WHEN _uid > 60 THEN _rn ELSE -1 END, _uid"
        )
    plan = plan_of("public texts")
    monkeypatch.setattr(streamed, "BATCH", 1)
    with opened(str(turned), town.LIMITS, read_only=True) as connection:
        ours = streaming(connection, plan, Deadline(60), threads=2)
        narrowed = ours._chunk  # the first thread's chunks come one by one, each after a while

        def slow(lane: chunks.Lane) -> chunks.Chunk:
            if lane.number == 0:
                looked.append(lane.number)
                time.sleep(0.05)
            return narrowed(lane)

        monkeypatch.setattr(ours, "_chunk", slow)
        with pytest.raises(Unstreamable):
            ours.totals(plan.measured, plan.grid())
        assert 0 < len(looked) < 30
        assert connection.execute("SELECT count(DISTINCT _uid) FROM visits WHERE _uid < 39").fetchone() == (39,)


@pytest.mark.parametrize("name", ["private texts", "private days", "private parts", "mixed"])
def test_no_key_or_a_key_of_another_version_has_no_rows(version: Path, name: str) -> None:
    """Often no private key is shown at all; and a key that the version does not have is nobody's."""
    plan = plan_of(name)
    with both(version, plan) as (ours, reference):
        known = list(reference.weights()[0])[:2]
        other = {str: "no such key", date: date(1999, 1, 1)}
        for cells in ([], known, [*known, tuple(other.get(type(v), v) for v in known[0])]):
            ours.weights()
            assert sorted(map(tuple, ours.lengths(cells))) == sorted(map(tuple, reference.lengths(cells)))
            mine, exact = ours.totals(plan.measured, cells), reference.totals(plan.measured, cells)
            assert [t.tolist() for t in mine] == [t.tolist() for t in exact]


@pytest.mark.parametrize("name", STREAMED)
def test_what_can_be_streamed_is(version: Path, name: str) -> None:
    with opened(str(version), town.LIMITS, read_only=True) as connection:
        assert not isinstance(units_of(connection, plan_of(name), Deadline(60), town.LIMITS.threads), SqlUnits)


@pytest.mark.parametrize("name", ["private words", "far numbers"])
def test_what_has_no_numbers_is_not(version: Path, name: str) -> None:
    with opened(str(version), town.LIMITS, read_only=True) as connection:
        assert isinstance(units_of(connection, plan_of(name), Deadline(60), town.LIMITS.threads), SqlUnits)


def test_the_reference_has_all_threads_and_no_more_rights(version: Path) -> None:
    """Streams read with threads of their own, one DuckDB thread each; what goes by the reference is DuckDB's work."""
    plan = plan_of("far numbers")
    with DuckEngine().units(version, TWO) as units:
        ours = units(plan)
        assert isinstance(ours, SqlUnits)
        keys, _ = ours.weights()
        assert ours.totals(plan.measured, keys)[0].sum() > 0
        connection = ours._connection
        assert connection.execute("SELECT current_setting('threads'), getvariable('x')").fetchone() == (2, None)
        for refused in (
            "SET threads = 1",
            f"ATTACH '{version}' AS other",
            "DELETE FROM visits",
            "SELECT * FROM '/etc/passwd'",
        ):
            with pytest.raises(duckdb.Error):
                connection.execute(refused)
        assert isinstance(units(plan), SqlUnits)
    with pytest.raises(duckdb.ConnectionException):
        connection.execute("SELECT 1")


def test_text_without_a_dictionary_goes_by_the_reference(tmp_path: Path, version: Path) -> None:
    """A text column of very many values is stored as text; an empty table has no dictionary to read."""
    for condition in ("true", "false"):
        copy = tmp_path / f"{condition}.duckdb"
        copy.unlink(missing_ok=True)
        with duckdb.connect(str(copy)) as connection:
            connection.execute(f"ATTACH '{version}' AS v (READ_ONLY)")
            connection.execute("CREATE TABLE visits AS SELECT * REPLACE (CAST(code AS VARCHAR) AS code) FROM v.visits "
                               f"WHERE {condition} ORDER BY _uid, _rn")  # fmt: skip
        plan = plan_of("private texts")
        with both(copy, plan) as (ours, reference):
            assert isinstance(ours, SqlUnits)
            assert list(ours.weights()[0]) == list(reference.weights()[0])


def test_rows_out_of_order_go_by_the_reference(tmp_path: Path, version: Path) -> None:
    """A join may turn rows round: the answer is the same, at the first call and at those after it."""
    turned = tmp_path / "turned.duckdb"
    with duckdb.connect(str(turned)) as connection:
        connection.execute(f"ATTACH '{version}' AS v (READ_ONLY)")
        connection.execute("CREATE TABLE visits AS SELECT * FROM v.visits ORDER BY _rn, _uid")
    plan = plan_of("public texts")
    cells = plan.grid()
    with opened(str(turned), town.LIMITS, read_only=True) as connection, pytest.raises(Unstreamable):
        streaming(connection, plan, Deadline(60)).totals(plan.measured, cells)
    with both(turned, plan) as (ours, _), both(version, plan) as (_, reference):
        for _ in range(2):
            assert [t.tolist() for t in ours.totals(plan.measured, cells)] == [
                t.tolist() for t in reference.totals(plan.measured, cells)
            ]


@pytest.mark.parametrize("name", ["public numbers", "mixed"])
def test_a_key_outside_of_the_public_values_counts_for_nobody(tmp_path: Path, version: Path, name: str) -> None:
    """Ingest lets none in. Were one there, its rows would be no cell's, and no array would be read beyond its end."""
    odd = tmp_path / "odd.duckdb"
    with duckdb.connect(str(odd)) as connection:
        connection.execute(f"ATTACH '{version}' AS v (READ_ONLY)")
        level = "CAST(CASE WHEN _rn % 3 = 0 THEN CASE WHEN _uid % 2 = 0 THEN 99 ELSE -1 END ELSE level END AS TINYINT)"
        columns = f"* REPLACE ({level} AS level)"
        connection.execute(f"CREATE TABLE visits AS SELECT {columns} FROM v.visits ORDER BY _uid, _rn")
    plan = plan_of(name)
    with both(odd, plan) as (ours, reference):
        assert not isinstance(ours, SqlUnits)
        if plan.selects_keys:
            known = {c: w for c, w in zip(*reference.weights(), strict=True) if c[2] in (0, 1, 2, 3)}
            cells: Sequence[Cell] = list(known)
        else:
            cells = plan.grid()
        assert [t.tolist() for t in ours.totals(plan.measured, cells)] == [
            t.tolist() for t in reference.totals(plan.measured, cells)
        ]


@pytest.mark.parametrize("form", [partial(streaming, threads=1), partial(streaming, threads=2), SqlUnits])
def test_work_that_takes_too_long_is_a_fault(version: Path, form: Callable[..., Units]) -> None:
    """A question reads up to three times: all of that has one deadline, so that its time falls into few buckets."""
    plan = plan_of("public texts")
    with opened(str(version), town.LIMITS, read_only=True) as connection:
        slow = form(connection, plan, Deadline(-1))
        with pytest.raises(Fault) as caught:
            slow.totals(plan.measured, plan.grid())
    assert caught.value.private == "the rows took longer to read than the limit allows"
    with opened(
        str(version), town.LIMITS, read_only=True
    ) as connection:  # whoever still holds the error, nothing waits
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_rows_too_many_to_keep_are_read_again(version: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streamed, "KEPT", 100)
    plan = plan_of("public texts")
    with both(version, plan) as (ours, reference):
        for _ in range(2):
            assert [t.tolist() for t in ours.totals(plan.measured, plan.grid())] == [
                t.tolist() for t in reference.totals(plan.measured, plan.grid())
            ]


@pytest.mark.parametrize("name", ["private texts", "private parts", "truncated days"])
def test_values_too_long_to_list_go_by_the_reference(version: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What an asker makes of each value may be a thousand times as long: a list of it would fill the memory."""
    monkeypatch.setattr(numbers, "LISTED", 10)
    plan = plan_of(name)
    with both(version, plan) as (ours, reference):
        assert isinstance(ours, SqlUnits)
        cells = cells_of(plan, reference)
        assert sorted(map(tuple, ours.lengths(cells))) == sorted(map(tuple, reference.lengths(cells)))


def test_more_codes_than_memory_is_worth_go_by_the_reference(version: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numbers, "MAX_CODES", 3)
    with opened(str(version), town.LIMITS, read_only=True) as connection:
        assert isinstance(units_of(connection, plan_of("public texts"), Deadline(60), town.LIMITS.threads), SqlUnits)


@pytest.mark.parametrize("name", QUESTIONS)
def test_a_whole_answer_chooses_its_keys_and_bounds(version: Path, name: str) -> None:
    """At a price at which nothing is uncertain no unit is cut, and every key of more than a handful of units is shown."""
    plan = plan_of(name)
    loss = price(10.0**7, 1e-6, selects_keys=plan.selects_keys)
    assert plan.length_share > 0
    engine = DuckEngine()
    with engine.units(version, town.LIMITS) as rows, engine.finishing(town.LIMITS) as finish:
        answer = release(plan, rows, loss, finish)
        assert answer.rows
        used = [s for s in answer.statistics if s.name in {m.name for m in plan.measured}]
        declared = {s.name: s.bound_squared / s.up**2 for s in plan.statistics}
        assert all(s.bound_squared / s.up**2 <= declared[s.name] * (1 + 1e-9) for s in used)


def test_a_unit_of_too_many_rows_goes_by_the_reference(version: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its rows in a cell are counted in 32 bits; whoever joins them many times over does not get beyond these."""
    monkeypatch.setattr(chunks, "MAX_ROWS", 20)
    monkeypatch.setattr(streamed, "BATCH", 5)
    plan = plan_of("public texts")
    with both(version, plan) as (ours, reference):
        cells = plan.grid()
        assert [t.tolist() for t in ours.totals(plan.measured, cells)] == [
            t.tolist() for t in reference.totals(plan.measured, cells)
        ]
    with opened(str(version), TWO, read_only=True) as connection, pytest.raises(Unstreamable):
        streaming(connection, plan, Deadline(60)).totals(plan.measured, cells)


def test_slots_are_numbered_from_the_beginning_again(version: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "MAX_SLOT", 30)
    monkeypatch.setattr(streamed, "BATCH", 50)
    monkeypatch.setattr(chunks, "BLOCK", 1_000)
    plan = plan_of("private texts")
    with both(version, plan) as (ours, reference):
        cells = cells_of(plan, reference)
        assert sorted(map(tuple, ours.lengths(cells))) == sorted(map(tuple, reference.lengths(cells)))


@pytest.mark.parametrize("each", [2**44, -(2**44), 2**44 - 1, -1, 12345])
def test_totals_are_exact_until_they_reach_the_end(each: int) -> None:
    """64 bits are emptied in time, in whatever order the threads came; what is beyond ±2^62 is kept there."""
    (wide,) = compile_query("SELECT count(*) FROM visits", MANY).measured
    wide = replace(wide, bound_squared=2**88, reach=2**44)
    parts = [chunks.Totals([wide], (1, 2)), chunks.Totals([wide], (1, 2))]
    chunk = streamed.BATCH + 1
    for i in range(9):
        parts[i % 2].expect(chunk)
        parts[i % 2].now[0, 0] += each * chunk
        parts[i % 2].now[0, 1] -= each
    whole = chunks.Totals.joined(parts)
    assert whole.dtype == np.int64
    assert whole.tolist() == [[max(-(2**62), min(2**62, 9 * chunk * each)), -9 * each]]


def test_a_unit_moves_a_total_no_further_than_is_expected(version: Path) -> None:
    """What the emptying of the totals rests on: no unit adds more than `farthest`, whatever the bounds."""
    plan = plan_of("public texts")
    for clip in (10.0**9, 3.0, 0.001):
        held = [refined(s, clip * s.reach) for s in plan.measured]
        with both(version, plan) as (ours, _):
            furthest = max(abs(t).max() for t in ours.totals(held, plan.grid()))
        assert furthest <= 80 * chunks.farthest(held)

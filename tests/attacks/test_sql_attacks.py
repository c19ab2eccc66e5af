"""Attacks by SQL: an analyst who may ask tries to learn of one row from the shape, the order or the failure of an answer.

The same questions run on versions of the same dataset that hold nothing, one person, ordinary people, and people with every
value at its ends. Whatever the rows are, an answer has the same columns, the same number of rows where keys are public, the
same order, and never fails.
"""

from __future__ import annotations

import builtins
import hashlib
import os
import socket
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path

import duckdb
import pytest

from compute.engines.duckdb import DuckEngine
from compute.ports import Limits
from privacy.answer import Answer, preview
from privacy.errors import Fault, Problem
from privacy.facts import ColumnFacts, DatasetFacts, Kind, PrivacyUnit, TableFacts
from privacy.loss import Loss, price
from privacy.mechanisms import release
from privacy.scales import threshold
from privacy.sql import Plan, compile_query
from privacy.sql.functions import NAMES
from privacy.sql.plan import Aggregate, Finish, SmallTable
from tests.fakes import city
from tests.fakes.questions import Questions
from tests.fakes.ward import term

SMALL = Limits(seconds=30, memory=512 * 2**20, threads=1)
QUESTIONS_AT_RANDOM = 60


@dataclass(frozen=True, kw_only=True, slots=True)
class Versions:
    """Version files of one dataset that differ in their rows alone."""

    files: Mapping[str, Path]
    facts: DatasetFacts
    finish: Finish

    def answers(self, sql: str, *, epsilon: float = 1.0) -> dict[str, Answer]:
        plan = compile_query(sql, self.facts)
        return {name: answer(file, plan, epsilon, self.finish) for name, file in self.files.items()}

    def extremes(self, plan: Plan) -> list[Answer]:
        """Answers where rows would make the greatest difference: nobody's, one person's, and everything at its ends."""
        return [
            answer(self.files[name], plan, 1.0, self.finish) for name in ("nobody", "one person", "all at their ends")
        ]


def answer(version: Path, plan: Plan, epsilon: float, finish: Finish | None = None) -> Answer:
    engine, loss = DuckEngine(), price(epsilon, 1e-6, selects_keys=plan.selects_keys)
    with engine.units(version, SMALL) as units:
        if finish is not None:
            return release(plan, units, loss, finish)
        with engine.finishing(SMALL) as own:
            return release(plan, units, loss, own)


@pytest.fixture(scope="module")
def versions(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Versions]:
    people: dict[str, list[tuple[object, ...]]] = {
        "nobody": [],
        "one person": city.extreme_rows(1, 200),
        "ordinary": city.rows("visits"),
        "all at their ends": [row for person in range(40) for row in city.extreme_rows(person, 30)],
    }
    files, facts = {}, city.FACTS
    for name, rows in people.items():
        with city.plain(visits=rows) as connection:
            files[name], report = city.ingest(connection, tmp_path_factory.mktemp("version"))
            facts = report.facts
    with DuckEngine().finishing(SMALL) as finish:
        yield Versions(files=files, facts=facts, finish=finish)


def compiled(sql: str, facts: DatasetFacts) -> Plan | None:
    """The plan, or None when the gate refuses the question by name; anything else it does is a defect."""
    try:
        return compile_query(sql, facts)
    except Problem as problem:
        if not problem.code.startswith("sql."):
            raise
        return None


def shape(found: Answer) -> tuple[object, ...]:
    """Everything of an answer that must not depend on rows."""
    return tuple((c.name, c.kind, c.is_key, c.noise) for c in found.columns), found.loss, found.threshold


# --- the shape of an answer ------------------------------------------------------------------------------------------------

PUBLIC_SHAPES = (
    "SELECT count(*) FROM visits WHERE FALSE",
    "SELECT count(*), avg(amount), sum(score) FROM visits WHERE note = '张三'",
    "SELECT city, count(*) FROM visits GROUP BY city",
    "SELECT city, count(*) FROM visits WHERE city = '西林市' GROUP BY city",
    "SELECT dept, urgent, count(*), avg(age) FROM visits GROUP BY dept, urgent",
    "SELECT age // 10 AS band, count(DISTINCT person_id) FROM visits GROUP BY band",
    "SELECT date_trunc('month', seen) AS m, count(*) FROM visits GROUP BY m",
    "SELECT coalesce(dept, '不详') AS d, sum(fee) FROM visits GROUP BY d",
    "SELECT tier, count(*) FROM visits LEFT JOIN places USING (city) GROUP BY tier",
    "SELECT kind, e.level, count(*) FROM visits v JOIN events e ON v.city = e.city GROUP BY kind, e.level",
    "SELECT rate, count(*) FROM visits GROUP BY rate",
    "SELECT dept, min(age), median(amount), count(DISTINCT note) FROM visits GROUP BY dept",
)


@pytest.mark.parametrize("sql", PUBLIC_SHAPES)
def test_rows_of_public_keys_are_the_same_whoever_is_in_the_table(versions: Versions, sql: str) -> None:
    """An empty group that is left out would say that somebody's group is empty (Desfontaines 2020, on GROUP BY)."""
    found = versions.answers(sql)
    assert len({shape(a) for a in found.values()}) == 1
    keys = {
        tuple(tuple(v for v, c in zip(row, a.columns, strict=True) if c.is_key) for row in a.rows)
        for a in found.values()
    }
    assert len(keys) == 1
    assert len(next(iter(keys))) == (compile_query(sql, versions.facts).cells or 0)


def test_without_groups_there_is_always_one_row(versions: Versions) -> None:
    found = versions.answers(
        "SELECT count(*), sum(amount), avg(amount), count(DISTINCT person_id), max(amount), count(DISTINCT code) "
        "FROM visits WHERE age < 0"
    )
    assert {len(a.rows) for a in found.values()} == {1}


def test_null_is_a_group_whether_or_not_anybody_is_in_it(versions: Versions) -> None:
    for found in versions.answers('SELECT "性别", count(*) FROM visits GROUP BY "性别"').values():
        assert [row[0] for row in found.rows] == ["女", "男", None]


# --- the failure of an expression ------------------------------------------------------------------------------------------

#: Each fails in plain DuckDB on some row of a person at the ends, or could be made to.
FAILING_ROWS = (
    "1 // age", "stock % age", "fee // (age - 120)", "stock * stock", "stock * 1000000", "stock + 9223372036854775807",
    "-(stock * 9000)", "abs(stock * 9000)", "fee * 999999999999999", "CAST(note AS INTEGER)", "CAST(note AS DOUBLE)",
    "CAST(note AS BIGINT) + 1", "CAST(note AS DECIMAL(18, 2))", "ln(age)", "ln(-age)", "sqrt(score)", "exp(amount)",
    "power(amount, 9)", "amount / age", "amount / 0", "0 / age", "year(CAST(note AS DATE))", "round(stock * 9000, -9)",
    "dayofyear(CAST(note AS TIMESTAMP))", "length(note)", "power(score, -3)", "log10(score)",
    "CASE WHEN age = 0 THEN 1 // age ELSE 1 END", "coalesce(1 // age, stock * stock)", "least(1 // age, stock % age)",
    "mod(fee, age)", "stock << age", "(stock * 9000) >> level", "day + stock - day", "day - stock - day",
    "CAST(note AS DATE) - day",
    "year(make_date(stock, level, age))", "year(CAST(note AS DATE) + INTERVAL 99999 YEAR)", "clip(1 // age, stock * stock, 7)",
    "date_diff('second', CAST(note AS TIMESTAMP), seen - INTERVAL 99999 YEAR)", "date_sub('hour', CAST(note AS TIMESTAMP), day)",
    "year(last_day(CAST(note AS DATE) + 2147483647))", "year(time_bucket(INTERVAL 7 MONTH, CAST(note AS TIMESTAMP)))",
    "year(date_add(day, INTERVAL 100000 YEAR))", "power(score, amount)", "acos(amount)", "tan(score / age)", "log2(score)",
    "strlen(rpad(note, 9, '山'))", "strlen(split_part(note, '', 3))",
)  # fmt: skip


@pytest.mark.parametrize("expression", FAILING_ROWS)
def test_an_expression_that_fails_on_one_row_fails_nobody(versions: Versions, expression: str) -> None:
    """`WHERE name = '张三' AND 1 // age > 0` asks by its error whether 张三 is 0 years old. Here the row has no value.

    Every expression stands in the question more than once: DuckDB computes what occurs twice once, outside of a TRY.
    """
    value = f"least(greatest({expression}, -9), 9)"
    aggregates = f"sum({value}), avg({value}), count({expression}), count_if({expression} > 1), median({value}), "
    aggregates += f"count(DISTINCT {expression})"
    for sql in (
        f"SELECT {aggregates} FROM visits",
        f"SELECT {aggregates} FROM visits WHERE {expression} > 0 OR {expression} <= 0 OR note = 'nan'",
        f"SELECT dept, {aggregates} FROM visits GROUP BY dept HAVING count({expression}) > -1000",
        f"SELECT {expression} AS k, count(*) FROM visits GROUP BY k ORDER BY k DESC",
        f"SELECT count(*) FROM visits LEFT JOIN places ON visits.city = places.city AND {expression} > 0",
    ):
        assert len({shape(a) for a in versions.extremes(compile_query(sql, versions.facts))}) == 1


def test_the_attack_by_error_is_real_in_plain_duckdb() -> None:
    """The rows of the last test do fail elsewhere: without this, nothing would have been shown."""
    failed = 0
    with city.plain(visits=[row for person in range(40) for row in city.extreme_rows(person, 30)]) as connection:
        for expression in FAILING_ROWS:
            try:
                connection.execute(f"SELECT {expression} FROM visits").fetchall()
            except duckdb.Error:
                failed += 1
    assert failed >= 20


@pytest.mark.parametrize("seed", range(QUESTIONS_AT_RANDOM))
def test_questions_at_random_never_fail_and_never_change_shape(versions: Versions, seed: int) -> None:
    """Every operator and function of the dialect, nested at random, over rows that have everything at its ends."""
    plan = compiled(Questions(seed).question(2), versions.facts)
    if plan is None:
        return
    found = versions.extremes(plan)
    assert len({shape(a) for a in found}) == 1
    if plan.cells is not None and "HAVING" not in plan.question:
        assert {len(a.rows) for a in found} == {plan.cells}


def test_sums_beyond_sixty_four_bits_are_numbers(versions: Versions) -> None:
    sql = "SELECT sum(least(greatest(stock * 1000, -1000000000000000000), 1000000000000000000)) FROM visits"
    for found in versions.answers(sql, epsilon=1e6).values():
        assert isinstance(found.rows[0][0], int)


# --- functions ------------------------------------------------------------------------------------------------------------

#: Other names of functions that are listed, and operators that are written like functions.
OTHER_NAMES = {
    "ceiling", "character_length", "char_length", "datediff", "datepart", "datesub", "datetrunc", "instr", "len", "log", "pow",
    "prefix", "suffix", "substr", "weekday", "weekofyear", "date_diff", "lcase", "ucase", "position", "list_concat",
    "array_concat", "list_cat", "array_cat", "not_like_escape",
}  # fmt: skip


CALLS = (
    "", "note", "age", "seen", "note, note", "age, age", "note, 1", "day, seen", "'day', day", "note, 1, 1", "note, 'a', 'b'",
    "age, 1, 2", "'day', day, seen", "INTERVAL 1 DAY, day", "1, 1, 1", "note, 1, 'a'",
)  # fmt: skip


def test_no_function_of_duckdb_is_accepted_but_those_that_are_listed(versions: Versions) -> None:
    """Every name that this DuckDB knows, in every place of a call: the list is what there is."""
    with duckdb.connect() as connection:
        kinds = "('scalar', 'macro', 'table', 'table_macro', 'pragma')"
        found = connection.execute(
            f"SELECT DISTINCT function_name FROM duckdb_functions() WHERE function_type IN {kinds}"
        )
        names = {name for (name,) in found.fetchall() if name.replace("_", "").isalnum()}
    assert len(names) > 500
    accepted = set()
    for name in sorted(names):
        for arguments in CALLS:
            if compiled(f"SELECT count(*) FROM visits WHERE {name}({arguments}) IS NULL", versions.facts) is not None:
                accepted.add(name)
    assert accepted <= {*NAMES, *OTHER_NAMES}
    assert len(accepted) > 80


REGEX_BOMBS = (
    "(a*)*b", "(a+)+$", "(a|a)*c", "(a|aa)+$", "((a*)*)*b", "(.*a){30}x", "[ab]*a[ab]{90}x", "(?:a?){60}a{9}",
    "(.*)(.*)(.*)(.*)x",
    r"(\w+\s?)+\d$", "(a{10}){15}b", "(?:[^a]{9}){19}",
)  # fmt: skip


@pytest.mark.parametrize("pattern", REGEX_BOMBS)
def test_a_regular_expression_takes_time_in_proportion_to_the_text(pattern: str) -> None:
    """A pattern that is slow on one person's note would tell by the clock whose note it is (ReDoS: Davis et al. 2018)."""
    text = term(f"regexp_matches(dept, '{pattern}') OR regexp_extract(dept, '{pattern}') = '' ").sql
    seconds = []
    with duckdb.connect(config={"threads": 1}) as connection:
        for length in (20_000, 200_000):
            letters = f"SELECT string_agg(CASE WHEN hash(i) % 2 = 0 THEN 'a' ELSE 'b' END, '') AS dept FROM range({length}) r(i)"
            connection.execute(f"CREATE OR REPLACE TABLE t0 AS {letters}")
            start = time.process_time()
            connection.execute(f"SELECT {text} FROM t0").fetchall()
            seconds.append(time.process_time() - start)
    assert seconds[1] < 2 + 40 * seconds[0]
    assert seconds[1] < 5


@pytest.mark.parametrize(
    "text",
    [
        "replace(" * 7 + "note" + ", 'a', 'aa')" * 7,
        "replace(note, '', 'b') || replace(note, 'a', '" + "b" * 65 + "')",
        "regexp_replace(" * 3 + "note" + ", '', 'abcde', 'g')" * 3,
        "concat_ws(note, " + ", ".join(["note"] * 40) + ")",
        "split_part(note, 'a', 1) || " * 8 + "note",
        "lpad(note, 1001, 'a')",
    ],
)
def test_texts_do_not_grow_without_end(versions: Versions, text: str) -> None:
    """What runs out of memory on one long note tells of it; so no text becomes much longer than what a row holds."""
    with pytest.raises(Problem) as caught:
        compile_query(f"SELECT count(*) FROM visits WHERE {text} = 'x'", versions.facts)
    assert caught.value.code in ("sql.too_many_parts", "sql.unsupported")


def test_what_is_no_number_is_no_key_and_no_value(versions: Versions) -> None:
    """NaN and the infinities are decided: conditions may ask for them, sums and keys do not hold them."""
    for found in versions.answers("SELECT score / 0 AS k, count(*) FROM visits GROUP BY k", epsilon=1e6).values():
        assert {row[0] for row in found.rows} <= {None}
    with city.plain() as connection:
        rows = connection.execute(
            "SELECT count_if(isinf(score / 0)), count_if(isnan(score / 0)) FROM visits"
        ).fetchone()
    asked = "SELECT count_if(isinf(score / 0)), count_if(isnan(score / 0)), sum(clip(score / 0, -1, 1)) FROM visits"
    answered = answer(versions.files["ordinary"], compile_query(asked, versions.facts), 1e6)
    assert rows is not None
    assert answered.rows[0][:2] == rows


# --- windows ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "function", ["sum(amount)", "count(*)", "avg(age)", "count(DISTINCT person_id)", "max(age)", "rank()"]
)
@pytest.mark.parametrize(
    "over", ["", "PARTITION BY dept", "ORDER BY age", "PARTITION BY person_id", "ORDER BY count(*)"]
)
@pytest.mark.parametrize("place", ["SELECT dept, {} FROM visits GROUP BY dept", "SELECT {}, count(*) FROM visits",
                                   "SELECT dept, count(*) FROM visits GROUP BY dept ORDER BY {}",
                                   "SELECT dept, count(*) FROM visits GROUP BY dept QUALIFY {} > 1",
                                   "SELECT dept, count(*) FROM visits GROUP BY dept HAVING {} > 1",
                                   "SELECT count(*) FROM visits WHERE {} > 1", "SELECT sum({}) FROM visits",
                                   "SELECT dept, sum({}) OVER () FROM visits GROUP BY dept"])  # fmt: skip
def test_over_is_never_dropped(versions: Versions, function: str, over: str, place: str) -> None:
    """`sum(amount) OVER ()` read as `sum(amount)` would answer another question; a window of rows would need another proof."""
    plan = compiled(place.format(f"{function} OVER ({over})"), versions.facts)
    if plan is not None:
        assert f"{function.partition('(')[0]}(" in plan.finish_sql
        assert plan.finish_sql.count(" OVER (") == 1
        assert " OVER (" not in plan.rows_sql


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT dept, count(*), rank() OVER (ORDER BY count(*)) AS r FROM visits GROUP BY dept QUALIFY r > 0",
        "SELECT DISTINCT dept, count(*) IS NULL FROM visits GROUP BY dept, urgent",
        "SELECT dept, urgent, count(*) / sum(count(*)) OVER (PARTITION BY dept) FROM visits GROUP BY dept, urgent",
        "SELECT level, lag(avg(amount)) OVER (ORDER BY level), ntile(2) OVER (ORDER BY sum(fee)) FROM visits GROUP BY level",
    ],
)
def test_windows_have_the_same_rows_whoever_is_in_the_table(versions: Versions, sql: str) -> None:
    found = versions.answers(sql)
    assert len({shape(a) for a in found.values()}) == 1
    assert len({len(a.rows) for a in found.values()}) == 1


# --- the one constant sentence ---------------------------------------------------------------------------------------------


AVERAGE = "SELECT city, avg(amount) FROM visits GROUP BY city"


def faults(version: Path, limits: Limits, sql: str = AVERAGE, engine: DuckEngine | None = None) -> Fault:
    plan = compile_query(sql, city.FACTS)

    def read() -> None:
        with (engine or DuckEngine()).units(version, limits) as units:
            rows = units(plan)
            rows.weights() if plan.selects_keys else rows.totals(plan.measured, plan.grid())

    with pytest.raises(Fault) as caught:
        read()
    return caught.value


def test_every_failure_of_the_engine_is_the_same_sentence(versions: Versions, tmp_path: Path) -> None:
    """Out of time, out of memory, no file, a broken file: an asker cannot tell one from another."""
    broken = tmp_path / "broken.duckdb"
    broken.write_bytes(b"not a database" * 1000)
    big = tmp_path / "big.duckdb"
    with duckdb.connect(str(big)) as connection:
        connection.execute(
            "CREATE TABLE visits AS SELECT i::UINTEGER AS _uid, 'x' || i AS code, '东海市' AS city, i AS amount "
            "FROM range(6000000) r(i)"
        )
    hungry = "SELECT code, count(*) FROM visits GROUP BY code"
    engine = DuckEngine()
    found = [
        faults(versions.files["ordinary"].with_name("absent.duckdb"), SMALL, engine=engine),
        faults(broken, SMALL, engine=engine),
        faults(big, Limits(seconds=30, memory=64 * 2**20, threads=1), hungry, engine),
        faults(big, Limits(seconds=0.5, memory=2**31, threads=1), hungry, engine),
    ]
    assert len({(f.code, f.say("en"), f.say("zh"), f.advise("en"), f.advise("zh"), str(f)) for f in found}) == 1
    assert len({f.private for f in found}) == 4
    assert "Memory" in found[2].private
    assert "Interrupt" in found[3].private


def test_a_failure_that_is_not_duckdbs_is_a_fault_too(versions: Versions, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Python error while rows are fetched would be another channel beside DuckDB's own errors."""

    def fetch(*_: object, **__: object) -> None:
        raise UnicodeDecodeError("utf-8", b"\xff", 0, 1, "张三")

    monkeypatch.setattr(duckdb, "connect", fetch)
    assert faults(versions.files["ordinary"], SMALL).say("en") == Fault().say("en")


# --- names that are SQL ----------------------------------------------------------------------------------------------------

EVIL = 'v"; DROP TABLE 公开; --'
EVIL_COLUMN = "x' OR '1'='1\u200b"


def test_names_and_literals_are_never_read_as_sql(tmp_path: Path) -> None:
    """Second-order injection: the steward's names, the asker's aliases and literals all hold quotes, semicolons, comments."""
    facts = DatasetFacts(
        tables=(
            TableFacts(
                name=EVIL,
                unit=PrivacyUnit(column="身份 证;", stands_for="person", space="p"),
                max_rows=3,
                columns=(
                    ColumnFacts(name="身份 证;", kind=Kind.TEXT),
                    city.text(EVIL_COLUMN, ("'); --", '"', "好")),
                    city.integer('n" + 1', 0, 9),
                ),
            ),
            TableFacts(name="公开", rows=1, columns=(city.text(EVIL_COLUMN, ("好",), max_repeats=1),)),
        )
    )
    sources = {}
    with duckdb.connect() as connection:
        rows = [(f"p{i}", ("'); --", '"', "好")[i % 3], i % 10) for i in range(300)]
        sources[EVIL] = _parquet(connection, tmp_path / "a.parquet", ["身份 证;", EVIL_COLUMN, 'n" + 1'], rows)
        sources["公开"] = _parquet(connection, tmp_path / "b.parquet", [EVIL_COLUMN], [("好",)])
    version = tmp_path / "version.duckdb"
    city.DuckIngest(entropy=os.urandom)(facts, sources, version, limits=SMALL, progress=lambda stage, done, total: None)
    table, column, number = (f'"{n.replace(chr(34), chr(34) * 2)}"' for n in (EVIL, EVIL_COLUMN, 'n" + 1'))
    sql = (
        f'SELECT t.{column} AS "a""; SELECT 1; --", count(*) AS "k0", sum({number}) AS cell '
        f"FROM {table} AS t LEFT JOIN 公开 USING ({column}) WHERE t.{column} <> '''; DROP TABLE x; --' GROUP BY 1 "
        'ORDER BY "k0" DESC, cell'
    )
    found = answer(version, compile_query(sql, facts), 1e6)
    assert [c.name for c in found.columns] == ['a"; SELECT 1; --', "k0", "cell"]
    assert sorted(row[1] for row in found.rows) == [100, 100, 100]  # type: ignore[type-var]


def _parquet(
    connection: duckdb.DuckDBPyConnection, path: Path, names: list[str], rows: list[tuple[object, ...]]
) -> Path:
    columns = ", ".join(f'unnest(?) AS "{n.replace(chr(34), chr(34) * 2)}"' for n in names)
    connection.execute(
        f"CREATE OR REPLACE TABLE upload AS SELECT {columns}", [list(c) for c in zip(*rows, strict=True)]
    )
    connection.execute(f"COPY upload TO '{path}' (FORMAT parquet)")
    return path


# --- the order of rows -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT code, count(*) AS n FROM visits GROUP BY code",
        "SELECT code, dept, count(*) AS n FROM visits GROUP BY code, dept LIMIT 7",
        "SELECT code, count(*) > 0 AS some FROM visits GROUP BY code ORDER BY some LIMIT 4",
        "SELECT dept, count(*) > 0 AS some FROM visits GROUP BY dept ORDER BY some DESC OFFSET 2",
    ],
)
def test_order_follows_keys_never_rows(tmp_path: Path, sql: str) -> None:
    """Another ingest of the same rows numbers, sorts and hashes everybody anew: the same keys stand in the same order."""
    seen = set()
    for attempt, rows in enumerate((city.rows("visits"), city.rows("visits")[::-1])):
        folder = tmp_path / str(attempt)
        folder.mkdir()
        with city.plain(visits=rows) as connection:
            sources = city.write_sources(connection, folder, city.FACTS)
        version = folder / "version.duckdb"
        ingest = city.DuckIngest(entropy=os.urandom)
        facts = ingest(city.FACTS, sources, version, limits=SMALL, progress=lambda stage, done, total: None).facts
        seen.add(tuple(row[0] for row in answer(version, compile_query(sql, facts), 1e6).rows))
    assert len(seen) == 1
    keys = list(next(iter(seen)))
    assert keys == sorted(keys, key=lambda k: (k is None, str(k)))


# --- before anything is paid -----------------------------------------------------------------------------------------------


def test_planning_and_previewing_touch_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A preview is free, so it must not be able to know anything: every way to data raises while it runs."""
    plans = [compile_query(Questions(3).question(1), city.with_min_units(5))]  # whatever is loaded lazily is loaded now

    def closed(*_: object, **__: object) -> None:
        raise AssertionError("data was touched")

    for place, name in ((builtins, "open"), (os, "open"), (duckdb, "connect"), (socket, "socket")):
        monkeypatch.setattr(place, name, closed)
    for seed in range(40):
        plan = compiled(Questions(seed).question(1), city.with_min_units(5))
        plans += [plan] if plan is not None else []
    for plan in plans:
        loss = price(1.0, 1e-6, selects_keys=plan.selects_keys)
        assert len(preview(plan, loss)) == sum(not o.is_key for o in plan.outputs)
        weight = next((s for s in plan.statistics if s.aggregate is Aggregate.WEIGHT), None)
        assert weight is None or threshold(weight, plan.max_keys, loss) > 0
    assert len(plans) > 30


def test_the_same_text_and_facts_give_the_same_plan_however_deep_the_caller_stands() -> None:
    sql = "SELECT " + "(" * 19 + "count(*)" + ")" * 19 + " FROM visits"
    wanted = compile_query(sql, city.FACTS).digest()

    def called_from(depth: int) -> str:
        return called_from(depth - 1) if depth else compile_query(sql, city.FACTS).digest()

    assert called_from(600) == wanted


# --- texts made to stall the gate ------------------------------------------------------------------------------------------

WHERE = "SELECT count(*) FROM visits WHERE "
STALLING = {
    "brackets": WHERE + "(" * 49_000 + "urgent" + ")" * 49_000,
    "not": WHERE + "NOT " * 20_000 + "urgent",
    "minus": "SELECT sum(" + "- " * 40_000 + "age) FROM visits",
    "plus": "SELECT sum(" + "age + " * 16_000 + "age) FROM visits",
    "and": WHERE + "urgent AND " * 8_000 + "urgent",
    "in": WHERE + "age IN (" + "1, " * 33_000 + "1)",
    "casts": "SELECT sum(age" + "::BIGINT" * 12_000 + ") FROM visits",
    "index": WHERE + "note" + "[1]" * 30_000 + " = 'a'",
    "case": WHERE + "CASE WHEN urgent THEN " * 3_500 + "urgent" + " END" * 3_500,
    "case of case": "SELECT sum(" + "CASE " * 18 + "age" + " WHEN 1 THEN 2 WHEN 3 THEN 4 END" * 18 + ") FROM visits",
    "nullif": "SELECT sum(" + "nullif(" * 18 + "age" + ", 1)" * 18 + ") FROM visits",
    "power": "SELECT sum(" + "power(" * 18 + "age" + ", 8)" * 18 + ") FROM visits",
    "products": "SELECT sum(" + "9223372036854775806.5 * " * 150 + "age) FROM visits",
    "exponent": WHERE + "age > 1e999999999",
    "small exponent": WHERE + "age > 1e-999999999",
    "digits": WHERE + "age > " + "9" * 90_000,
    "aliases": "SELECT count(*) + " + "1 + " * 140 + "1 AS a FROM visits HAVING a IN (" + "a, " * 9_000 + "a)",
    "many keys": "SELECT count(*) FROM visits GROUP BY " + ", ".join(f"age + {i}" for i in range(5_000)),
    "many joins": "SELECT count(*) FROM visits" + " JOIN places USING (city)" * 3_000,
    "unions": "SELECT count(*) FROM visits" + " UNION SELECT 1" * 5_000,
    "semicolons": ";" * 100_000,
    "comments": "SELECT /*" + "/* " * 30_000,
    "quotes": WHERE + "city = '" + "''" * 49_000 + "'",
    "dollars": WHERE + "city = $$" + "$" * 90_000,
    "formats": WHERE + "coalesce(" + ", ".join(f"strftime(day, '{i} %d %a')" for i in range(1_900)) + ") = ''",
    "buckets": WHERE
    + "coalesce("
    + ", ".join(f"time_bucket(INTERVAL {i} DAY, day)" for i in range(1, 1_900))
    + ") = day",
    "patterns": WHERE + "coalesce(" + ", ".join(f"regexp_matches(note, '{'(a|b)' * 30}{i}')" for i in range(600)) + ")",
    "windows": "SELECT count(*), "
    + ", ".join(f"sum(count(*) + {i}) OVER (ORDER BY {i} + 1)" for i in range(98))
    + " FROM visits",
    "bad pattern": WHERE + "regexp_matches(note, '" + "(" * 90_000 + "')",
    "blanks": "SELECT count(*)" + " " * 99_000 + "FROM visits",
    "too long": "SELECT count(*) FROM visits --" + "x" * 100_000,
    "huge": "SELECT count(*) FROM visits --" + "x" * 100_000_000,
}


@pytest.mark.parametrize("name", STALLING)
def test_no_text_stalls_the_gate(name: str) -> None:
    """Seconds of processor time at most, never a crash: the gate runs in the API, before anything is paid."""
    start = time.process_time()
    plan = compiled(STALLING[name], city.FACTS)
    assert plan is None or len(plan.rows_sql) < 2**21
    assert time.process_time() - start < 20


# --- what post-processing can reach ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "SELECT * FROM read_csv('{file}')",
        "SELECT * FROM '{file}'",
        "SELECT * FROM glob('{folder}/*')",
        "COPY noisy TO '{folder}/out.csv'",
        "ATTACH '{version}' AS other",
        "ATTACH '{folder}/new.duckdb' AS other",
        "INSTALL httpfs",
        "LOAD httpfs",
        "SET enable_external_access = true",
        "SET lock_configuration = false",
        "RESET memory_limit",
        "PRAGMA enable_profiling",
        "SELECT getenv('HOME')",
        "EXPORT DATABASE '{folder}/out'",
    ],
)
def test_post_processing_has_no_dataset_and_no_file_in_reach(versions: Versions, tmp_path: Path, text: str) -> None:
    """The compiler never writes such text; if it ever did, the engine would still refuse."""
    loot = tmp_path / "loot.csv"
    loot.write_text("secret\n", encoding="utf-8")
    noisy = SmallTable(columns=(("cell", "BIGINT"), ("s0", "BIGINT")), rows=[(0, 41)])
    before = sorted(p.name for p in tmp_path.iterdir())
    places = {"file": loot, "folder": tmp_path, "version": versions.files["ordinary"]}

    def post_process() -> None:
        with DuckEngine().finishing(SMALL) as finish:
            assert finish("SELECT s0 + 1 FROM noisy", {"noisy": noisy}) == [(42,)]
            finish(text.format(**places), {"noisy": noisy})

    with pytest.raises(Fault):
        post_process()
    assert sorted(p.name for p in tmp_path.iterdir()) == before


def test_answering_leaves_the_version_byte_for_byte_as_it_was(versions: Versions) -> None:
    file = versions.files["ordinary"]
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    versions.answers("SELECT code, count(*), avg(amount) FROM visits GROUP BY code")
    assert hashlib.sha256(file.read_bytes()).hexdigest() == digest
    assert [p.name for p in file.parent.iterdir() if p.name.startswith("version")] == ["version.duckdb"]


# --- two keys that look alike ----------------------------------------------------------------------------------------------


def test_keys_beyond_doubles_are_not_one_key(tmp_path: Path) -> None:
    """2^53 and 2^53 + 1 are one double: were they one key, a unit in it would be shown, and counted, twice."""
    keys = (2**53, 2**53 + 1)
    facts = DatasetFacts(
        tables=(
            TableFacts(
                name="t",
                unit=PrivacyUnit(column="u", stands_for="person", space="p"),
                columns=(ColumnFacts(name="u", kind=Kind.INTEGER), _listed("k", keys)),
            ),
        )
    )
    version = tmp_path / "version.duckdb"
    with duckdb.connect(str(version)) as connection:
        connection.execute("CREATE TABLE t (_uid UINTEGER, k BIGINT)")
        connection.execute("INSERT INTO t SELECT i, ? FROM range(10) r(i)", [keys[1]])
    found = answer(version, compile_query("SELECT k, count(*) FROM t GROUP BY k", facts), 1e6)
    assert found.rows == ((keys[0], 0), (keys[1], 10))


def _listed(name: str, domain: tuple[int, ...]) -> ColumnFacts:
    bounds = {"lower": Decimal(min(domain)), "upper": Decimal(max(domain))}
    return ColumnFacts(name=name, kind=Kind.INTEGER, keys=city.Keys.PUBLIC, domain=domain, **bounds)


def test_keys_beyond_the_calendar_are_null(tmp_path: Path) -> None:
    """A day that Python cannot hold would fail, or look otherwise, after it was fetched: on one person's row."""
    facts = DatasetFacts(
        tables=(
            TableFacts(
                name="t",
                unit=PrivacyUnit(column="u", stands_for="person", space="p"),
                columns=(
                    ColumnFacts(name="u", kind=Kind.INTEGER),
                    ColumnFacts(name="d", kind=Kind.DATE),
                    ColumnFacts(name="s", kind=Kind.TIMESTAMP),
                ),
            ),
        )
    )
    version = tmp_path / "version.duckdb"
    with duckdb.connect(str(version)) as connection:
        connection.execute("CREATE TABLE t (_uid UINTEGER, d DATE, s TIMESTAMP)")
        connection.execute("INSERT INTO t SELECT i, '2024-05-01', '2024-05-01 10:00:00' FROM range(500) r(i)")
        connection.execute(
            "INSERT INTO t SELECT 500 + i, '5000000-01-01', '294246-01-01 00:00:00' FROM range(500) r(i)"
        )
        connection.execute("INSERT INTO t SELECT 1000 + i, '0400-01-01 (BC)', 'infinity' FROM range(500) r(i)")
    days = answer(version, compile_query("SELECT d, count(*) FROM t GROUP BY d", facts), 1e6)
    assert days.rows == ((date(2024, 5, 1), 500), (None, 1000))
    moments = answer(version, compile_query("SELECT s, count(*) FROM t WHERE s >= d OR s < d GROUP BY s", facts), 1e6)
    assert moments.rows[0] == (datetime.fromisoformat("2024-05-01 10:00:00"), 500)
    assert [row[0] for row in moments.rows[1:]] == [None]


def test_the_price_is_what_was_agreed_whatever_the_rows(versions: Versions) -> None:
    found = versions.answers("SELECT code, count(*) FROM visits GROUP BY code", epsilon=0.7)
    assert {a.loss for a in found.values()} == {price(0.7, 1e-6, selects_keys=True)}
    assert found["nobody"].loss != Loss()


@pytest.mark.parametrize("sql", ["EXPLAIN ANALYZE SELECT 1\n2026 ERROR forged line", "VACUUM forged", "CALL forged()"])
def test_no_text_of_the_asker_reaches_a_log(sql: str, caplog: pytest.LogCaptureFixture, capfd) -> None:
    """The parser would warn of statements it does not know, in the asker's own words and lines."""
    with pytest.raises(Problem):
        compile_query(sql, city.FACTS)
    assert caplog.records == []
    assert capfd.readouterr() == ("", "")

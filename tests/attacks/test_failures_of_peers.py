"""What other systems got wrong, each as a test of ours. The table names the test that holds each failure; it is checked to exist.

| an empty filtered set returned no row: that somebody exists was certain | tests/attacks/test_sql_attacks.py::test_rows_of_public_keys_are_the_same_whoever_is_in_the_table |
| the same without groups | tests/attacks/test_sql_attacks.py::test_without_groups_there_is_always_one_row |
| the same in a subquery | tests/attacks/test_sql_subqueries.py::test_an_empty_relation_has_the_shape_of_any_other |
| windows over all persons ran before bounding | tests/attacks/test_sql_subqueries.py::test_what_mixes_persons_is_refused_by_name |
| LIMIT in a private subquery let one person displace thousands of rows | tests/attacks/test_sql_subqueries.py::test_what_mixes_persons_is_refused_by_name |
| one person changed rows of others | tests/statistics/test_tracked.py::test_one_person_more_changes_no_row_of_another_and_no_sum_beyond_its_bound |
| a join multiplied one person after bounding | tests/attacks/test_sql_public_joins.py::test_one_person_is_multiplied_so_far_and_no_further |
| exact row counts were taken as public | tests/attacks/test_failures_of_peers.py::test_how_many_rows_there_are_shapes_nothing |
| groups in hash order identified the database | tests/attacks/test_sql_attacks.py::test_order_follows_keys_never_rows |
| one NaN destroyed a sum | tests/attacks/test_failures_of_peers.py::test_one_value_that_is_no_number_leaves_the_sum_of_the_others |
| NaN was stored as a number | tests/attacks/test_failures_of_peers.py::test_no_stored_number_is_infinite_or_none |
| text after a semicolon was dropped | tests/attacks/test_failures_of_peers.py::test_nothing_behind_a_statement_is_dropped |
| further tables behind a comma were dropped | tests/attacks/test_failures_of_peers.py::test_no_table_of_from_is_dropped |
| COUNT(DISTINCT x) was answered as COUNT(x) | tests/attacks/test_failures_of_peers.py::test_distinct_is_never_dropped |
| FILTER was ignored | tests/attacks/test_failures_of_peers.py::test_filter_is_never_dropped |
| OVER was ignored | tests/attacks/test_sql_attacks.py::test_over_is_never_dropped |
| left joins as anti joins were wrong | tests/attacks/test_failures_of_peers.py::test_who_has_no_match_is_the_same_however_it_is_asked |
| counts were truncated, not rounded | tests/unit/test_mechanisms.py::test_published_values_are_multiples_of_the_rounding_halves_up |
| keys that are NULL vanished | tests/attacks/test_sql_attacks.py::test_null_is_a_group_whether_or_not_anybody_is_in_it |
| private keys that are NULL vanished | tests/attacks/test_failures_of_peers.py::test_a_private_null_is_a_key_like_any_other |
| NULL of a public table met or missed what it should not | tests/attacks/test_sql_public_joins.py::test_null_meets_nothing_but_where_it_is_asked_for |
| the classical Gaussian formula was used where it does not hold | tests/attacks/test_failures_of_peers.py::test_noise_keeps_its_delta_where_the_classical_formula_does_not |
| one name that is not ASCII broke the parser | tests/attacks/test_failures_of_peers.py::test_names_of_any_script_stand_in_any_place |
| names were read as SQL | tests/attacks/test_sql_attacks.py::test_names_and_literals_are_never_read_as_sql |
| stats(), query(), random(), hash(), list functions could be called | tests/attacks/test_sql_attacks.py::test_no_function_of_duckdb_is_accepted_but_those_that_are_listed |
| list and string aggregates showed rows | tests/attacks/test_failures_of_peers.py::test_no_aggregate_of_duckdb_is_accepted_but_those_that_are_listed |
| catalogues, settings, table functions, macros and statements were within reach | tests/attacks/test_failures_of_peers.py::test_nothing_but_rows_of_the_dataset_is_within_reach |
| post-processing reached tables and files | tests/attacks/test_sql_attacks.py::test_post_processing_has_no_dataset_and_no_file_in_reach |
| a division by zero, an overflow, a bad cast or LN and SQRT out of range told of a row | tests/attacks/test_sql_attacks.py::test_an_expression_that_fails_on_one_row_fails_nobody |
| the same in a subquery | tests/attacks/test_sql_subqueries.py::test_an_expression_that_fails_in_a_subquery_fails_nobody |
| the same in a join | tests/attacks/test_sql_public_joins.py::test_a_condition_that_fails_on_a_row_fails_nobody |
| NaN and infinities were keys or values | tests/attacks/test_sql_attacks.py::test_what_is_no_number_is_no_key_and_no_value |
| a regular expression was slow on one person's text | tests/attacks/test_sql_attacks.py::test_a_regular_expression_takes_time_in_proportion_to_the_text |
| a text grew until memory ran out | tests/attacks/test_sql_attacks.py::test_texts_do_not_grow_without_end |
| running out of memory or time said so | tests/attacks/test_sql_attacks.py::test_every_failure_of_the_engine_is_the_same_sentence |
| an empty table or a table of one row answered otherwise | tests/attacks/test_failures_of_peers.py::test_a_table_of_no_row_or_of_one_answers_like_any_other |
"""  # noqa: E501, W505

from __future__ import annotations

import ast
import math
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from compute.engines.duckdb import DuckEngine
from privacy.errors import Problem
from privacy.loss import RHO_UNIT, gaussian_delta, price
from privacy.scales import scale
from privacy.sql import compile_query
from privacy.sql.parse import parse_select
from privacy.sql.words import AGGREGATES
from tests.attacks.test_sql_attacks import FAILING_ROWS, PUBLIC_SHAPES, SMALL, Versions, answer, compiled, shape
from tests.attacks.test_sql_subqueries import EMPTY
from tests.fakes import city

ROOT = Path(__file__).resolve().parents[2]
SURE = 1e9


def held() -> dict[str, str]:
    """Each failure of the table above, and the test that holds it."""
    lines = [line.strip("| ").split(" | ") for line in (__doc__ or "").splitlines() if line.startswith("| ")]
    return {f"{what} ({test})": test for what, test in lines}


@pytest.mark.parametrize("failure", held())
def test_every_failure_is_held_by_a_test_that_exists(failure: str) -> None:
    path, _, name = held()[failure].partition("::")
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Versions]:
    """Versions of few rows, ordinary ones, and the same with one person more whose texts are no numbers."""
    hostile = [
        (*row[:5], ("nan", "inf", "-inf", "1e999")[i % 4], *row[6:]) for i, row in enumerate(city.extreme_rows(1, 8))
    ]
    people = {
        "empty": [],
        "one row": city.extreme_rows(1, 1),
        "ordinary": city.rows("visits"),
        "one more": [*city.rows("visits"), *hostile],
    }
    files, facts = {}, city.FACTS
    for name, rows in people.items():
        with city.plain(visits=rows) as connection:
            files[name], report = city.ingest(connection, tmp_path_factory.mktemp("few"))
            facts = report.facts
    with DuckEngine().finishing(SMALL) as finish:
        yield Versions(files=files, facts=facts, finish=finish)


@pytest.fixture(scope="module")
def plain() -> Iterator[duckdb.DuckDBPyConnection]:
    with city.plain() as connection:
        yield connection


def first(few: Versions, sql: str, name: str = "ordinary") -> tuple[object, ...]:
    return answer(few.files[name], compile_query(sql, few.facts), SURE, few.finish).rows[0]


# --- what may shape an answer -----------------------------------------------------------------------------------------------


def test_how_many_rows_there_are_shapes_nothing(tmp_path: Path) -> None:
    """The facts that a question is compiled from, and so plan, price and bounds, are the same whoever is in the table."""
    digests = set()
    for i, rows in enumerate(([], city.extreme_rows(1, 1), city.rows("visits"))):
        (tmp_path / str(i)).mkdir()
        with city.plain(visits=rows) as connection:
            _, report = city.ingest(connection, tmp_path / str(i))
        assert all((t.rows is None) == (t.unit is not None) for t in report.facts.tables)
        digests.add((report.facts.digest(), compile_query("SELECT sum(age) FROM visits", report.facts).digest()))
    assert len(digests) == 1


@pytest.mark.parametrize("sql", [*PUBLIC_SHAPES, *EMPTY[:6]])
def test_a_table_of_no_row_or_of_one_answers_like_any_other(few: Versions, sql: str) -> None:
    found = few.answers(sql)
    assert len({shape(a) for a in found.values()}) == 1
    assert len({len(a.rows) for a in found.values()}) == 1


@pytest.mark.parametrize("expression", FAILING_ROWS[::4])
def test_one_row_alone_fails_no_question(few: Versions, expression: str) -> None:
    sql = f"SELECT count({expression}), avg(least(greatest({expression}, -9), 9)) FROM visits WHERE {expression} IS NOT NULL"
    assert len({shape(a) for a in few.answers(sql).values()}) == 1


# --- numbers ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value", ["sqrt(score)", "acos(amount)", "clip(ln(age), -9, 9)", "clip(power(score, 0.5), 0, 9)",
              "clip(CAST(note AS DOUBLE), -9, 20)", "clip(score / age, -9, 9)", "clip(amount / 0, 0, 9)", "tan(score) * 0"],
)  # fmt: skip
def test_one_value_that_is_no_number_leaves_the_sum_of_the_others(few: Versions, value: str) -> None:
    """NaN added to anything is NaN: one row would make everybody's sum disappear, and so be seen."""
    sql = f"SELECT sum(clip({value}, -20, 20)), count({value}), avg(clip({value}, -20, 20)) FROM visits"
    before, after = (first(few, sql, name) for name in ("ordinary", "one more"))
    for a, b, most in zip(before, after, (20 * city.MAX_ROWS, city.MAX_ROWS, 1), strict=True):
        assert isinstance(a, int | float), sql
        assert isinstance(b, int | float), sql
        assert math.isfinite(a)
        assert abs(a - b) <= most * 1.01


def test_no_stored_number_is_infinite_or_none(tmp_path: Path) -> None:
    """NaN and infinities of a file are no values: the sum is that of the others."""
    rows = city.rows("visits")
    broken = [(*row[:10], value, *row[11:]) for row, value in zip(rows, (math.nan, math.inf, -math.inf), strict=False)]
    sql = "SELECT sum(amount), avg(amount), count(amount), count(*) FROM visits"
    with city.plain(visits=[*broken, *rows[3:]]) as connection:
        version, report = city.ingest(connection, tmp_path)
        connection.execute("UPDATE visits SET amount = NULL WHERE NOT isfinite(amount)")
        expected = connection.execute(sql).fetchone()
    found = answer(version, compile_query(sql, report.facts), SURE).rows[0]
    assert found == pytest.approx(expected, rel=1e-6)
    assert expected is not None
    assert expected[3] == len(rows)


def test_noise_keeps_its_delta_where_the_classical_formula_does_not() -> None:
    """At epsilon 20 the classical sigma promises 1e-6 and gives 1.6e-4 (Balle & Wang 2018); ours gives what it promises."""
    epsilon, delta = 20.0, 1e-6
    classical = math.sqrt(2 * math.log(1.25 / delta)) / epsilon
    assert gaussian_delta(1 / (2 * classical**2), epsilon) == pytest.approx(1.6e-4, rel=0.05)
    for asked in (0.1, 1.0, 5.0, epsilon, 100.0):
        rho = price(asked, delta, selects_keys=False).rho / RHO_UNIT
        assert 0 < gaussian_delta(rho, asked) <= delta
        plan = compile_query("SELECT count(DISTINCT person_id) FROM visits", city.FACTS)
        (statistic,) = plan.statistics
        sigma = float(scale(statistic, price(asked, delta, selects_keys=False)) * statistic.step)
        assert gaussian_delta(1 / (2 * sigma**2), asked) <= delta


# --- nothing is dropped -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "behind", ["SELECT 1", "DROP TABLE visits", "SELECT count(*) FROM visits", "x", "INSERT INTO visits VALUES (1)",
               "--\nSELECT 1", "/* */ SET threads = 1", "PRAGMA version", ";SELECT 2"],
)  # fmt: skip
def test_nothing_behind_a_statement_is_dropped(behind: str) -> None:
    for text in (f"SELECT count(*) FROM visits; {behind}", f"SELECT count(*) FROM visits;{behind};"):
        with pytest.raises(Problem):
            compile_query(text, city.FACTS)
    plain_text = compile_query("SELECT count(*) FROM visits", city.FACTS)
    assert compile_query("SELECT count(*) FROM visits; -- the end", city.FACTS).rows_sql == plain_text.rows_sql


def test_no_table_of_from_is_dropped(few: Versions, plain: duckdb.DuckDBPyConnection) -> None:
    """A comma is a product: with public tables it is counted, with private ones it is refused."""
    for tables in ("visits, places", "places, visits, provinces", "visits v, events e, provinces p"):
        sql = f"SELECT count(*) FROM {tables}"
        assert first(few, sql) == plain.execute(sql).fetchone()
    for tables in ("visits, wages", "visits a, visits b", "places, visits, wages"):
        assert compiled(f"SELECT count(*) FROM {tables}", few.facts) is None
    for tables in ("visits, nothing", "visits, (VALUES (1)) v", "visits, range(3)"):
        assert compiled(f"SELECT count(*) FROM {tables}", few.facts) is None


@pytest.mark.parametrize(
    "column", ["city", "dept", "level", "age", "day", "code", "note", "amount", "age % 7", "city, dept"]
)
@pytest.mark.parametrize("name", ["count", "sum", "avg", "stddev", "max"])
def test_distinct_is_never_dropped(few: Versions, plain: duckdb.DuckDBPyConnection, name: str, column: str) -> None:
    """Refused by name, or answered as what it is: the number of different values, not of rows."""
    for sql in (
        f"SELECT {name}(DISTINCT {column}) FROM visits",
        f"SELECT level, {name}(DISTINCT {column}) FROM visits GROUP BY level",
    ):
        plan = compiled(sql, few.facts)
        if plan is not None:
            exact, rows = (plain.execute(q).fetchall() for q in (sql, sql.replace("DISTINCT ", "")))
            found = answer(few.files["ordinary"], plan, SURE, few.finish).rows
            near = [abs(a[-1] - b[-1]) for a, b in zip(sorted(found)[:1], sorted(exact)[:1], strict=True)]  # type: ignore[operator]
            far = [abs(b[-1] - c[-1]) for b, c in zip(sorted(exact)[:1], sorted(rows)[:1], strict=True)]
            assert max(near) < max(1, max(far) / 2), sql


@pytest.mark.parametrize(
    "aggregate", ["count(*)", "count(age)", "count(DISTINCT person_id)", "count_if(urgent)", "sum(age)", "avg(age)",
                  "stddev(age)", "var_pop(age)", "covar_pop(age, score)", "corr(age, score)"],
)  # fmt: skip
def test_filter_is_never_dropped(few: Versions, plain: duckdb.DuckDBPyConnection, aggregate: str) -> None:
    sql = f"SELECT {aggregate} FILTER (WHERE age > 60 AND dept = '内科') FROM visits"
    (mine,), (theirs,) = first(few, sql), plain.execute(sql).fetchone() or ()
    (whole,) = plain.execute(f"SELECT {aggregate} FROM visits").fetchone() or ()
    assert mine == pytest.approx(float(theirs), rel=1e-3, abs=1e-3)
    assert float(whole) != pytest.approx(float(theirs), rel=1e-2)


@pytest.mark.parametrize(
    "text", ["abs(age) FILTER (WHERE urgent)", "rank() FILTER (WHERE TRUE) OVER (ORDER BY count(*))",
             "count(*) FILTER (WHERE count(*) > 1)", "count(*) FILTER (WHERE rank() OVER () > 1)"],
)  # fmt: skip
def test_a_filter_that_cannot_be_is_refused(text: str) -> None:
    with pytest.raises(Problem):
        compile_query(f"SELECT {text}, count(*) FROM visits", city.FACTS)


def test_who_has_no_match_is_the_same_however_it_is_asked(few: Versions, plain: duckdb.DuckDBPyConnection) -> None:
    """Four spellings of an anti join, with private and with public rows on the other side, and what plain DuckDB says."""
    rich = "SELECT person_id, wage FROM wages WHERE wage > 60000"
    private = [
        f"visits v LEFT JOIN ({rich}) w ON w.person_id = v.person_id WHERE w.wage IS NULL",
        f"visits v ANTI JOIN ({rich}) w ON w.person_id = v.person_id",
        f"visits v WHERE NOT EXISTS (SELECT 1 FROM ({rich}) w WHERE w.person_id = v.person_id)",
        "visits v WHERE person_id NOT IN (SELECT person_id FROM wages WHERE wage > 60000)",
    ]
    public = [
        "visits v LEFT JOIN events e ON e.city = v.city AND e.held > v.day WHERE e.held IS NULL",
        "visits v ANTI JOIN events e ON e.city = v.city AND e.held > v.day",
        "visits v WHERE NOT EXISTS (SELECT 1 FROM events e WHERE e.city = v.city AND e.held > v.day)",
    ]
    for spellings in (private, public):
        mine = {first(few, f"SELECT count(*), count(DISTINCT v.person_id) FROM {s}") for s in spellings}
        theirs = {plain.execute(f"SELECT count(*), count(DISTINCT v.person_id) FROM {s}").fetchone() for s in spellings}
        assert mine == theirs
        assert len(mine) == 1


def test_a_private_null_is_a_key_like_any_other(few: Versions, plain: duckdb.DuckDBPyConnection) -> None:
    sql = "SELECT code, count(*) FROM visits GROUP BY code"
    found = answer(few.files["ordinary"], compile_query(sql, few.facts), SURE, few.finish)
    assert dict(found.rows) == dict(plain.execute(sql).fetchall())
    assert None in dict(found.rows)


# --- names ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["年龄", "Größe", "имя", "عمر", "年龄_2", "é", "\u0061\u0301", "名🙂", "ＡＢ", "ラベル"]
)
def test_names_of_any_script_stand_in_any_place(name: str) -> None:
    """Bare where DuckDB reads them bare, quoted everywhere: as alias, table alias, subquery, column list and key."""
    for written in (name, f'"{name}"'):
        sql = (
            f"WITH {written} AS (SELECT person_id, age AS {written} FROM visits AS {written}) "
            f"SELECT {written}.{written} // 50 AS {written}, count(*) FROM {written} GROUP BY {written}.{written} // 50 "
            f"ORDER BY {written}"
        )
        plan = compiled(sql, city.FACTS)
        with duckdb.connect() as connection:
            connection.execute("CREATE TABLE visits (person_id BIGINT, age INTEGER)")
            try:
                connection.execute(sql)
            except duckdb.Error:
                assert written == name
                continue
        assert plan is not None, written
        assert plan.outputs[0].name == name


# --- what is within reach ---------------------------------------------------------------------------------------------------

ARGUMENTS = (
    "",
    "*",
    "age",
    "note",
    "age, age",
    "note, ','",
    "age, 2",
    "urgent",
    "age, 0.5",
    "person_id",
    "day",
    "age, note",
)


def test_no_aggregate_of_duckdb_is_accepted_but_those_that_are_listed(few: Versions) -> None:
    """Every aggregate that this DuckDB knows: lists, texts, histograms, samples and order statistics show rows."""
    with duckdb.connect() as connection:
        found = connection.execute(
            "SELECT DISTINCT function_name FROM duckdb_functions() WHERE function_type = 'aggregate'"
        )
        names = {name for (name,) in found.fetchall() if name.replace("_", "").isalnum()}
    assert len(names) > 60
    listed = {type(parse_select(f"SELECT {w.call} FROM t").expressions[0]) for w in AGGREGATES}
    accepted = set()
    for name in sorted(names):
        for arguments in ARGUMENTS:
            call = f"{name}({arguments})"
            if compiled(f"SELECT {call} FROM visits", few.facts) is not None:
                accepted.add(name)
                assert type(parse_select(f"SELECT {call} FROM t").expressions[0]) in listed, call
    assert {"count", "sum", "avg", "corr"} <= accepted
    shown = {"list", "array_agg", "string_agg", "group_concat", "histogram", "first", "last", "any_value", "arg_max", "arg_min",
             "reservoir_quantile", "bitstring_agg", "max_by", "min_by", "listagg"}  # fmt: skip
    assert not accepted & shown


STATEMENTS = (
    "EXPLAIN SELECT count(*) FROM visits", "EXPLAIN ANALYZE SELECT count(*) FROM visits", "PRAGMA database_size",
    "SET threads = 1", "CALL pragma_version()", "SHOW TABLES", "DESCRIBE visits", "SUMMARIZE visits",
    "COPY visits TO 'x.csv'", "ATTACH 'x.db'", "INSTALL httpfs", "LOAD httpfs", "EXPORT DATABASE 'x'",
    "CREATE TABLE x AS SELECT * FROM visits", "DROP TABLE visits", "CREATE MACRO f(x) AS x + 1",
    "CREATE TEMP MACRO t() AS TABLE SELECT * FROM visits", "INSERT INTO visits SELECT * FROM visits",
    "UPDATE visits SET age = 1", "DELETE FROM visits", "PREPARE p AS SELECT count(*) FROM visits", "EXECUTE p", "BEGIN",
    "CHECKPOINT", "VACUUM", "SET VARIABLE a = 1", "PIVOT visits ON city USING count(*)", "VALUES (1)", "TABLE visits",
)  # fmt: skip
REACHED = (
    "information_schema.tables", "information_schema.columns", "pg_catalog.pg_class", "sqlite_master", "duckdb_tables()",
    "duckdb_tables", "duckdb_settings()", "duckdb_functions()", "duckdb_columns()", "duckdb_secrets()", "main.visits",
    "memory.main.visits", "system.main.visits", "pragma_storage_info('visits')", "pragma_table_info('visits')",
    "query('SELECT 1')", "query_table('visits')", "read_csv('x')", "read_parquet('x')", "read_text('x')", "glob('*')",
    "'x.csv'", "'x.parquet'", '"x.csv"', "range(9)", "generate_series(1, 9)", "unnest([1])", "repeat_row(1)",
    "test_all_types()", "duckdb_logs()", "current_setting('threads')", "which_secret('x', 's3')", "sniff_csv('x')",
    "parquet_metadata('x')", "_uid", "shown", "noisy", "unit_numbers",
)  # fmt: skip
VALUES = (
    "stats(age)", "random()", "hash(note)", "uuid()", "now()", "current_date", "current_timestamp", "current_user",
    "current_setting('x')", "getvariable('a')", "nextval('s')", "txid_current()", "version()", "error(note)", "typeof(age)",
    "vector_type(age)", "rowid", "list_value(age)", "[age]", "{'a': age}", "struct_pack(a := age)", "map([age], [age])",
    "list_transform([age], x -> x)", "row(age)", "columns('age')", "COLUMNS(*)", "visits", "visits.*", "md5(note)",
    "sha256(note)", "setseed(0.5)", "getenv('HOME')", "pg_typeof(age)", "add_parquet_key('a', 'b')", "write_log('x')",
    "sleep_ms(9)", "in_search_path('a', 'b')", "(SELECT 1)", "$1", "?", "_uid", "_rn", "enum_code(city)", "alias(age)",
    "nonsense(age)", "main.abs(age)", "age::STRUCT(a INTEGER)", "age COLLATE NOCASE",
)  # fmt: skip


@pytest.mark.parametrize("text", [*STATEMENTS, *(f"SELECT count(*) FROM {t}" for t in REACHED),
                                  *(f"SELECT count(*) FROM visits, {t} x" for t in REACHED),
                                  *(f"SELECT count(*) FROM visits WHERE ({v}) IS NOT NULL" for v in VALUES),
                                  "SELECT count(*) FROM visits USING SAMPLE 5", "SELECT count(*) FROM visits TABLESAMPLE 5%",
                                  "SELECT count(*) FROM visits AT (VERSION => 1)"])  # fmt: skip
def test_nothing_but_rows_of_the_dataset_is_within_reach(text: str) -> None:
    """Each is refused, in both languages, before anything is opened; none is read as something else."""
    with pytest.raises(Problem) as caught:
        compile_query(text, city.FACTS)
    assert caught.value.code.startswith("sql.")
    assert caught.value.say("en") != caught.value.say("zh-CN")

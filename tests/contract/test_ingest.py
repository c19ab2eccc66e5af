"""The Ingest port on real DuckDB: what is kept, what is rejected and why, and what the version file looks like."""

from __future__ import annotations

import os
import random
from collections import Counter
from datetime import date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from compute.engines import csvfile
from compute.engines.ingest import ROWS_A_RANGE, DuckIngest
from compute.engines.problems import (
    ColumnNested,
    ColumnsMissing,
    EncodingUnknown,
    FileUnreadable,
    HeaderDoubtful,
    IngestTooSlow,
    NotUnique,
    TablesDiffer,
    reason_text,
)
from compute.ports import IngestReport, Limits, TableReport
from privacy.facts import ColumnFacts, DatasetFacts, Keys, Kind, PrivacyUnit, TableFacts
from sandbox.describe.description import load_description, to_facts

UNIT = PrivacyUnit(column="person", stands_for="person", space="resident-id")
PERSON = ColumnFacts(name="person", kind=Kind.TEXT)


def facts(*columns: ColumnFacts, unit: PrivacyUnit | None = UNIT, name: str = "t") -> DatasetFacts:
    """One table; private ones begin with the unit's column."""
    first = (PERSON,) if unit else ()
    return DatasetFacts(tables=(TableFacts(name=name, columns=(*first, *columns), unit=unit, max_rows=5),))


def ingest(
    folder: Path, declared: DatasetFacts, *, limits: Limits | None = None, progress=None, **files
) -> IngestReport:
    """Ingest the given contents (bytes, or a path) into `folder/version`."""
    sources = {}
    for number, (table, content) in enumerate(files.items()):
        sources[table] = content if isinstance(content, Path) else folder / f"source-{number}"
        if not isinstance(content, Path):
            sources[table].write_bytes(content if isinstance(content, bytes) else content.encode())
    target = folder / "version"
    target.unlink(missing_ok=True)
    work = DuckIngest(entropy=os.urandom)
    return work(
        declared, sources, target, limits=limits or Limits(memory=512 * 2**20), progress=progress or (lambda *_: None)
    )


def stored(folder: Path, sql: str) -> list[tuple]:
    with duckdb.connect(str(folder / "version"), read_only=True) as connection:
        return connection.execute(sql).fetchall()


def one(folder: Path, column: ColumnFacts, *values: str) -> tuple[list, TableReport]:
    """Ingest one column given as CSV text; returns the stored values in file order (one unit a row) and the report."""
    lines = ["person,c", *(f"p{i:04},{value}" for i, value in enumerate(values))]
    public = DatasetFacts(tables=(TableFacts(name="t", columns=(column,)),))
    report = ingest(folder, public, t="\n".join(lines) + "\n")
    return [row[0] for row in stored(folder, "SELECT c FROM t")], report.tables[0]


def column(kind: Kind, **more) -> ColumnFacts:
    return ColumnFacts(name="c", kind=kind, **more)


# --- values --------------------------------------------------------------------------------------------------------------


def test_numbers_lie_on_their_lattice_within_their_bounds(tmp_path):
    money = column(Kind.NUMBER, lower=Decimal(-5), upper=Decimal(5000), step=Decimal("0.25"), nullable=True)
    values, report = one(
        tmp_path,
        money,
        "10",
        "10.1",
        "10.125",
        "-0.125",
        "-9",
        "1e30",
        "-1e400",
        " 7.5 ",
        "1.5e1",
        "",
        '" "',
        "nan",
        "-inf",
        "+5",
    )
    assert values == [40, 40, 41, -1, -20, 20000, None, 30, 60, None, None, None, None, 20]
    assert report.clipped == {"c": 2}
    assert report.rounded == {"c": 3}
    assert (report.rows_read, report.rows_kept, report.rejected) == (14, 14, {})


def test_numbers_without_bounds_are_rejected_where_no_lattice_number_fits(tmp_path):
    values, report = one(
        tmp_path, column(Kind.NUMBER, step=Decimal("0.01")), "1.005", "1e13", "1.1e13", "-1e30", "9,5", "x"
    )
    assert values == [101, 10**15]
    assert report.rejected == {"csv.fields": (1, (5,)), "range:c": (2, (3, 4)), "type:c": (1, (6,))}


@pytest.mark.parametrize(
    ("lower", "upper", "step", "expected"),
    [
        (-128, 127, 1, "TINYINT"),
        (0, 128, 1, "SMALLINT"),
        (0, 32767, 1, "SMALLINT"),
        (0, 1280, 10, "SMALLINT"),
        (-32769, 0, 1, "INTEGER"),
        (0, 2**31, 1, "BIGINT"),
        (None, None, 1, "BIGINT"),
        (0, 10**15, 1, "BIGINT"),
        (0, "0.000001", "0.000000001", "SMALLINT"),
    ],
)
def test_lattice_numbers_take_the_smallest_type_that_fits_their_bounds(tmp_path, lower, upper, step, expected):
    bounds = {} if lower is None else {"lower": Decimal(lower), "upper": Decimal(upper)}
    declared = column(Kind.NUMBER, step=Decimal(step), **bounds)
    top = "3" if upper is None else str(upper)
    values, report = one(tmp_path, declared, top, "0")
    assert values == [int(Decimal(top) / Decimal(step)), 0]
    assert report.clipped == report.rounded == {}
    [(kind,)] = stored(tmp_path, "SELECT data_type FROM duckdb_columns() WHERE column_name = 'c'")
    assert kind == expected


def test_extreme_lattices_are_exact(tmp_path):
    fine = column(Kind.NUMBER, lower=Decimal(-(10**6)), upper=Decimal(10**6), step=Decimal("0.000000001"))
    assert one(tmp_path, fine, "999999.999999999", "-999999.9999999994")[0] == [999999999999999, -999999999999999]
    odd = column(Kind.NUMBER, lower=Decimal(0), upper=Decimal("1234.5678") * 10**10, step=Decimal("1234.5678"))
    assert one(tmp_path, odd, "12345678000000", "2469.1357")[0] == [10**10, 2]
    coarse = column(Kind.INTEGER, lower=Decimal(0), upper=Decimal(10**18), step=Decimal(1000))
    assert one(tmp_path, coarse, "499", "500", "1000000000000000000")[0] == [0, 1, 10**15]


def test_dates_in_the_forms_people_write(tmp_path):
    day = column(Kind.DATE, lower=date(2024, 1, 1), upper=date(2024, 12, 31), nullable=True)
    values, report = one(
        tmp_path,
        day,
        "2024-02-29",
        "2024/3/1",
        "20240301",
        "2024年3月1日",
        "2024-03-01 10:00:00",
        "1999-01-01",
        "infinity",
        "",
    )
    first = date(2024, 3, 1)
    assert values == [date(2024, 2, 29), first, first, first, first, date(2024, 1, 1), None, None]
    assert report.clipped == {"c": 1}
    _, report = one(tmp_path, column(Kind.DATE), "2024-02-30", "yesterday", "")
    assert report.rejected == {"type:c": (2, (1, 2)), "null:c": (1, (3,))}


def test_timestamps_with_an_offset_are_moved_to_utc(tmp_path):
    values, report = one(
        tmp_path,
        column(Kind.TIMESTAMP),
        "2024-01-01 10:00:00",
        "2024-01-01T10:00:00+08:00",
        "2024-01-01T10:00:00Z",
        "2024-01-01",
        "x",
    )
    ten = datetime.fromisoformat("2024-01-01T10:00:00")
    assert values == [ten, ten - timedelta(hours=8), ten, ten - timedelta(hours=10)]
    assert report.rejected == {"type:c": (1, (5,))}


def test_booleans_in_both_languages(tmp_path):
    values, report = one(
        tmp_path, column(Kind.BOOLEAN, nullable=True), "TRUE", "f", "1", "0", "是", "否", " yes ", "", "2"
    )
    assert values == [True, False, True, False, True, False, True, None]
    assert report.rejected == {"type:c": (1, (9,))}


@pytest.mark.parametrize(
    ("declared", "good", "bad"),
    [
        (column(Kind.TEXT, keys=Keys.PUBLIC, domain=("云海", "a'b", "")), ["云海", "a'b"], ["云", "A'B"]),
        (column(Kind.INTEGER, keys=Keys.PUBLIC, domain=(3, 1)), ["3", "1.2"], ["2", "5"]),
        (column(Kind.NUMBER, step=Decimal("0.5"), keys=Keys.PUBLIC, domain=(Decimal("1.5"),)), ["1.5"], ["2"]),
        (column(Kind.DATE, keys=Keys.PUBLIC, domain=(date(2024, 10, 1),)), ["2024-10-01"], ["2024-10-02"]),
    ],
)
def test_values_outside_a_public_domain_are_rejected(tmp_path, declared, good, bad):
    values, report = one(tmp_path, declared, *good, *bad)
    assert len(values) == len(good)
    assert report.rejected == {
        "domain:c": (2 if len(bad) == 2 else 1, tuple(range(len(good) + 1, len(good) + len(bad) + 1)))
    }


def test_a_derived_domain_rejects_nothing_that_its_bounds_allow(tmp_path):
    age = column(Kind.INTEGER, lower=Decimal(0), upper=Decimal(3), keys=Keys.PUBLIC, domain=(0, 1, 2, 3))
    values, report = one(tmp_path, age, "0", "3", "7")
    assert (values, report.rejected, report.clipped) == ([0, 3, 3], {}, {"c": 1})


def test_text_is_kept_as_it_is(tmp_path):
    values, _ = one(tmp_path, column(Kind.TEXT, nullable=True), " a ", '"x,\ny ""z"""', "null", "", '""')
    assert values == [" a ", 'x,\ny "z"', "null", None, None]


EXACT = Decimal("0.25")


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(
        st.tuples(
            st.sampled_from(["甲", "乙", "丙 丁", '"', "x,y", "a\nb", "'"]),
            st.one_of(st.none(), st.decimals(min_value=-900, max_value=900, places=4)),
            st.one_of(
                st.none(),
                st.text(st.characters(exclude_categories=["C"], exclude_characters="\ufffd"), min_size=1, max_size=9),
            ),
            st.one_of(st.none(), st.dates(date(1990, 1, 1), date(2040, 1, 1))),
        ),
        min_size=1,
        max_size=40,
    ),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "gb18030"]),
    ends=st.sampled_from(["\n", "\r\n"]),
)
def test_what_goes_in_is_what_is_stored(tmp_path, rows, encoding, ends):
    """Python's own arithmetic and DuckDB's agree on every row, in every encoding, with any text."""
    import csv
    import io

    out = io.StringIO()
    writer = csv.writer(out, lineterminator=ends)
    writer.writerow(["person", "金额", "text", "day"])
    writer.writerows([["" if v is None else v for v in row] for row in rows])
    declared = facts(
        ColumnFacts(name="金额", kind=Kind.NUMBER, lower=Decimal(-500), upper=Decimal(500), step=EXACT, nullable=True),
        ColumnFacts(name="text", kind=Kind.TEXT, nullable=True),
        ColumnFacts(name="day", kind=Kind.DATE, lower=date(2000, 1, 1), upper=date(2030, 1, 1), nullable=True),
    )
    report = ingest(tmp_path, declared, t=out.getvalue().encode(encoding)).tables[0]
    expected = Counter((_nearest(amount), text, _within(day)) for _, amount, text, day in rows)
    assert Counter(stored(tmp_path, 'SELECT "金额", text, day FROM t')) == expected
    assert report.rows_kept == report.rows_read == len(rows)
    assert report.units == len({person for person, *_ in rows})
    assert report.max_rows_of_a_unit == max(Counter(person for person, *_ in rows).values())
    assert sum(report.clipped.values()) == sum(
        (a is not None and abs(a) > 500) + (d is not None and d != _within(d)) for _, a, _, d in rows
    )


def _nearest(amount: Decimal | None) -> int | None:
    if amount is None:
        return None
    clipped = min(max(amount, Decimal(-500)), Decimal(500))
    return int((clipped / EXACT).quantize(Decimal(1), ROUND_HALF_UP))


def _within(day: date | None) -> date | None:
    return None if day is None else min(max(day, date(2000, 1, 1)), date(2030, 1, 1))


# --- units ---------------------------------------------------------------------------------------------------------------


def test_rows_without_a_unit_are_left_out_and_counted(tmp_path):
    report = ingest(tmp_path, facts(column(Kind.TEXT)), t='person,c\n,a\n"",b\n x,c\nx,d\n').tables[0]
    assert (report.without_unit, report.units, report.rows_kept, report.rejected) == (2, 2, 2, {})


def test_whole_numbers_name_one_unit_however_they_are_spelled(tmp_path):
    declared = DatasetFacts(
        tables=(
            TableFacts(
                name="t",
                columns=(ColumnFacts(name="person", kind=Kind.INTEGER), column(Kind.TEXT)),
                unit=UNIT,
            ),
        )
    )
    text = "person,c\n7,a\n007,b\n 7 ,c\n7.0,d\n-0,e\n0,f\n7.5,g\nx,h\n1e3,i\n,j\n"
    report = ingest(tmp_path, declared, t=text).tables[0]
    assert (report.units, report.rows_kept, report.without_unit) == (2, 6, 1)
    assert report.rejected == {"type:person": (3, (7, 8, 9))}


def test_layout_dense_units_ranks_and_no_identifier(tmp_path):
    persons = [f"ID-{i:05}" for i in range(300)]
    chooser = random.Random(5)
    lines = [f"{chooser.choice(persons)},{n % 7}" for n in range(3000)]
    declared = facts(column(Kind.INTEGER, lower=Decimal(0), upper=Decimal(6)))
    report = ingest(tmp_path, declared, t="person,c\n" + "\n".join(lines) + "\n").tables[0]
    names = [row[0] for row in stored(tmp_path, "DESCRIBE t")]
    assert names == ["_uid", "_rn", "c"]
    rows = stored(tmp_path, "SELECT _uid, _rn FROM t")
    assert rows == sorted(rows), "rows are clustered by unit, ranks ascending"
    assert sorted({uid for uid, _ in rows}) == list(range(report.units))
    for uid, count in Counter(uid for uid, _ in rows).items():
        assert [rn for u, rn in rows if u == uid] == list(range(count))
    assert (tmp_path / "version").stat().st_mode & 0o777 == 0o444
    content = (tmp_path / "version").read_bytes()
    assert b"ID-0" not in content
    assert {p.name for p in tmp_path.iterdir()} == {"source-0", "version"}


def test_numbers_and_ranks_are_drawn_anew_each_time(tmp_path):
    text = "person,c\n" + "".join(f"p{i % 40},{i}\n" for i in range(400))
    declared = facts(column(Kind.INTEGER, lower=Decimal(0), upper=Decimal(400)))
    seen = set()
    for _ in range(3):
        ingest(tmp_path, declared, t=text)
        seen.add(tuple(stored(tmp_path, "SELECT _uid, _rn, c FROM t ORDER BY c")))
    assert len(seen) == 3
    ranks = Counter(r[0] for r in stored(tmp_path, "SELECT _rn FROM t WHERE c < 40"))
    assert len(ranks) > 3, "a unit's first row in the file has no fixed rank"


def test_tables_of_one_space_share_their_numbers(tmp_path):
    other = PrivacyUnit(column="who", stands_for="person", space="resident-id")
    firm = PrivacyUnit(column="firm", stands_for="enterprise", space="firm-id")
    declared = DatasetFacts(
        tables=(
            TableFacts(name="a", columns=(PERSON, ColumnFacts(name="n", kind=Kind.TEXT)), unit=UNIT),
            TableFacts(
                name="b",
                columns=(ColumnFacts(name="who", kind=Kind.TEXT), ColumnFacts(name="m", kind=Kind.TEXT)),
                unit=other,
            ),
            TableFacts(
                name="c",
                columns=(ColumnFacts(name="firm", kind=Kind.TEXT), ColumnFacts(name="m", kind=Kind.TEXT)),
                unit=firm,
            ),
        )
    )
    names = [f"p{i}" for i in range(50)]
    lines = "".join(f"{n},{n}\n" for n in names)
    report = ingest(tmp_path, declared, a="person,n\n" + lines, b="who,m\n" + lines + "new,new\n", c="firm,m\n" + lines)
    assert [t.units for t in report.tables] == [50, 51, 50]
    assert stored(tmp_path, "SELECT count(*) FROM a JOIN b USING (_uid) WHERE n <> m") == [(0,)]
    assert stored(tmp_path, "SELECT count(*) FROM a JOIN b USING (_uid)") == [(50,)]
    assert stored(tmp_path, "SELECT count(*) FROM a JOIN c USING (_uid) WHERE n = m")[0][0] < 20


def test_a_table_of_identifiers_alone(tmp_path):
    report = ingest(tmp_path, facts(), t="person\na\na\nb\n").tables[0]
    assert (report.units, report.rows_kept, report.max_rows_of_a_unit) == (2, 3, 2)
    assert stored(tmp_path, "SELECT count(*), max(_uid), max(_rn) FROM t") == [(3, 1, 1)]


def test_many_rows_are_written_range_by_range(tmp_path, monkeypatch):
    assert ROWS_A_RANGE > 100_000
    monkeypatch.setattr("compute.engines.ingest.ROWS_A_RANGE", 1000)
    stages: list[tuple[str, int, int]] = []
    lines = "".join(f"p{i % 997},{i}\n" for i in range(10_000))
    declared = facts(column(Kind.INTEGER, lower=Decimal(0), upper=Decimal(10_000)))
    report = ingest(tmp_path, declared, progress=lambda *s: stages.append(s), t="person,c\n" + lines).tables[0]
    assert [s for s in stages if s[0] == "write t" and s[2] == 10][-1] == ("write t", 9, 10)
    assert stored(tmp_path, "SELECT count(DISTINCT c), count(DISTINCT _uid), max(_uid) FROM t") == [(10_000, 997, 996)]
    rows = stored(tmp_path, "SELECT _uid, _rn FROM t")
    assert rows == sorted(rows)
    assert report.max_rows_of_a_unit == 11


def test_no_rows_at_all(tmp_path):
    report = ingest(tmp_path, facts(column(Kind.TEXT)), t="person,c\n").tables[0]
    assert (report.rows_read, report.units, report.max_rows_of_a_unit) == (0, 0, 0)
    assert stored(tmp_path, "SELECT * FROM t") == []


# --- public tables -------------------------------------------------------------------------------------------------------


def test_public_tables_gain_rows_and_repeats(tmp_path):
    declared = facts(
        column(Kind.TEXT, max_repeats=1),
        ColumnFacts(name="region", kind=Kind.TEXT, nullable=True),
        ColumnFacts(name="size", kind=Kind.NUMBER, step=Decimal("0.5")),
        unit=None,
    )
    report = ingest(tmp_path, declared, t="c,region,size\na,x,1\nb,x,1.1\nc,,1.2\nd,,x\n")
    [table] = report.facts.tables
    assert table.rows == 3
    assert [c.max_repeats for c in table.columns] == [1, 2, 3]
    assert stored(tmp_path, "SELECT * FROM t") == [("a", "x", 2), ("b", "x", 2), ("c", None, 2)]
    assert report.facts.tables[0].columns[0].kind is Kind.TEXT


def test_private_tables_keep_their_facts(tmp_path):
    declared = facts(column(Kind.TEXT))
    assert ingest(tmp_path, declared, t="person,c\na,b\n").facts == declared


def test_declared_uniqueness_is_verified(tmp_path):
    with pytest.raises(NotUnique) as caught:
        ingest(tmp_path, facts(column(Kind.TEXT, max_repeats=1), unit=None), t="c\na\nb\nb\na\nc\nb\n")
    assert caught.value.params["count"] == 2
    assert caught.value.params["rows"] == "1, 2, 3, 4, 6"


# --- files ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mark", [",", ";", "\t", "|"])
def test_delimiters(tmp_path, mark):
    text = mark.join(["x", "person", "c"]) + "\n" + mark.join(["1", "a", '"p,q;r|s\tt"']) + "\n"
    report = ingest(tmp_path, facts(column(Kind.TEXT)), t=text).tables[0]
    assert (report.ignored, report.rows_kept) == (("x",), 1)
    assert stored(tmp_path, "SELECT c FROM t") == [("p,q;r|s\tt",)]


@pytest.mark.parametrize(
    ("encoding", "expected"),
    [("utf-8", "utf-8"), ("utf-8-sig", "utf-8-sig"), ("gb18030", "gb18030"), ("gbk", "gb18030")],
)
@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"])
def test_encodings_are_detected_and_reported(tmp_path, encoding, expected, ends):
    declared = facts(ColumnFacts(name="城市", kind=Kind.TEXT))
    text = ends.join(["person,城市", "a,云海", "", "b,联通", ""])
    report = ingest(tmp_path, declared, t=text.encode(encoding)).tables[0]
    assert (report.encoding, report.rows_kept) == (expected, 2)
    assert {v for (v,) in stored(tmp_path, 'SELECT "城市" FROM t')} == {"云海", "联通"}


def test_names_are_found_without_case_and_spaces(tmp_path):
    report = ingest(tmp_path, facts(column(Kind.TEXT)), t='" PERSON ",C\na,b\n').tables[0]
    assert report.rows_kept == 1


def test_broken_rows_cost_themselves_and_no_other(tmp_path):
    rows = [
        b"a,1",
        b"b",
        b"c,1,2",
        b'd,"1"2',
        b'e,"1',
        b"f,\xff\xfe",
        "g,云".encode(),
        b'h,"x\ny"',
        b"",
        b"i,1",
        b'j,"1',
    ]
    report = ingest(tmp_path, facts(column(Kind.TEXT)), t=b"person,c\n" + b"\n".join(rows)).tables[0]
    assert report.rejected == {"csv.fields": (2, (2, 3)), "csv.quotes": (3, (4, 5, 10)), "csv.encoding": (1, (6,))}
    assert (report.rows_read, report.rows_kept, report.encoding) == (10, 4, "utf-8")
    assert sorted(v for (v,) in stored(tmp_path, "SELECT c FROM t")) == ["1", "1", "x\ny", "云"]


def test_broken_bytes_in_gb18030_cost_their_row(tmp_path):
    good = "".join(f"p{i},云海市第{i}医院\n" for i in range(30)).encode("gb18030")
    report = ingest(tmp_path, facts(column(Kind.TEXT)), t=b"person,c\n" + good + b"x,\x81\xff\n").tables[0]
    assert (report.encoding, report.rows_kept, report.rejected) == ("gb18030", 30, {"csv.encoding": (1, (31,))})


def test_a_row_that_is_too_long_is_rejected(tmp_path, monkeypatch):
    monkeypatch.setattr(csvfile, "CHUNK", 1 << 16)
    long = "x" * (3 * csvfile.LONGEST_LINE)
    report = ingest(tmp_path, facts(column(Kind.TEXT)), t=f"person,c\na,b\nb,{long}\nc,d\n").tables[0]
    assert (report.rows_kept, report.rejected) == (2, {"csv.long": (1, (2,))})


def test_row_numbers_survive_every_kind_of_broken_row(tmp_path, monkeypatch):
    """Thousands of rows, broken ones among them, in chunks that cut anywhere: each row is numbered as in the file."""
    monkeypatch.setattr(csvfile, "CHUNK", 997)
    chooser = random.Random(3)
    lines, expected = ["person,c"], {"csv.fields": [], "csv.quotes": [], "type:c": []}
    for number in range(1, 4001):
        draw = chooser.random()
        if draw < 0.02:
            lines.append(f"p{number}")
            expected["csv.fields"].append(number)
        elif draw < 0.04:
            lines.append(f'p{number},"never closed')
            expected["csv.quotes"].append(number)
        elif draw < 0.06:
            lines.append(f'"p\n{number}",{number}')
        elif draw < 0.08:
            lines += ["", f"p{number},oops"]
            expected["type:c"].append(number)
        else:
            lines.append(f"p{number},{number}")
    declared = facts(column(Kind.INTEGER, lower=Decimal(0), upper=Decimal(5000)))
    report = ingest(tmp_path, declared, t="\r\n".join(lines) + "\r\n").tables[0]
    assert report.rows_read == 4000
    assert {reason: (count, list(rows)) for reason, (count, rows) in report.rejected.items()} == {
        reason: (len(rows), rows[:100]) for reason, rows in expected.items()
    }


def test_every_row_is_accounted_for(tmp_path):
    text = "person,c\n" + "a,1\n,1\nb,x\nc\nd,\ne,2\n"
    report = ingest(tmp_path, facts(column(Kind.INTEGER)), t=text).tables[0]
    rejected = sum(count for count, _ in report.rejected.values())
    assert report.rows_read == 6 == report.rows_kept + report.without_unit + rejected
    for reason in report.rejected:
        assert "{" not in reason_text(reason).en + reason_text(reason).zh
    assert reason_text("type:{c}").words("zh-CN") == "{c}：与描述的类型不符"


def test_only_the_first_hundred_row_numbers_are_kept(tmp_path):
    report = ingest(tmp_path, facts(column(Kind.INTEGER)), t="person,c\n" + "a,x\n" * 500).tables[0]
    assert report.rejected == {"type:c": (500, tuple(range(1, 101)))}


def parquet(folder: Path, select: str) -> Path:
    path = folder / "source.parquet"
    duckdb.sql(select).write_parquet(str(path))
    return path


def test_parquet_of_every_type(tmp_path):
    path = parquet(
        tmp_path,
        """SELECT * FROM (VALUES
            (1.0::DOUBLE, 'x', 12.345::DOUBLE, 7::TINYINT, true, DATE '2024-02-01', TIMESTAMPTZ '2024-01-01 10:00:00+08', 'm'),
            (2.0, '', 'nan'::DOUBLE, NULL, NULL, NULL, NULL, NULL),
            (NULL, 'y', 1, 1, false, DATE '2024-02-01', TIMESTAMPTZ '2024-01-01 10:00:00+08', 'm'),
            ('nan'::DOUBLE, 'y', 1, 1, false, DATE '2024-02-01', TIMESTAMPTZ '2024-01-01 10:00:00+08', 'm')
        ) v("Person", t, n, i, b, d, ts, extra)""",
    )
    declared = DatasetFacts(
        tables=(
            TableFacts(
                name="t",
                unit=UNIT,
                columns=(
                    ColumnFacts(name="person", kind=Kind.INTEGER),
                    ColumnFacts(name="t", kind=Kind.TEXT),
                    ColumnFacts(name="n", kind=Kind.NUMBER, step=Decimal("0.01"), nullable=True),
                    ColumnFacts(name="i", kind=Kind.INTEGER, nullable=True),
                    ColumnFacts(name="b", kind=Kind.BOOLEAN, nullable=True),
                    ColumnFacts(name="d", kind=Kind.DATE, nullable=True),
                    ColumnFacts(name="ts", kind=Kind.TIMESTAMP, nullable=True),
                ),
            ),
        )
    )
    report = ingest(tmp_path, declared, t=path).tables[0]
    assert (report.encoding, report.rows_kept, report.without_unit, report.ignored) == ("parquet", 2, 2, ("extra",))
    assert sorted(stored(tmp_path, "SELECT t, n, i, b, d, ts FROM t")) == [
        ("", None, None, None, None, None),
        ("x", 1235, 7, True, date(2024, 2, 1), datetime.fromisoformat("2024-01-01T02:00:00")),
    ]


@pytest.mark.parametrize("kind", ["[1, 2]", "{'a': 1}", "'x'::BLOB", "MAP {'a': 1}"])
def test_nested_parquet_columns_are_refused_by_name(tmp_path, kind):
    path = parquet(tmp_path, f"SELECT 'a' AS person, {kind} AS c")
    with pytest.raises(ColumnNested, match="Column c of the file for table t"):
        ingest(tmp_path, facts(column(Kind.TEXT)), t=path)


@pytest.mark.parametrize(
    ("content", "problem", "words"),
    [
        (b"", FileUnreadable, "it is empty"),
        (b"\xef\xbb\xbf \n", FileUnreadable, "it is empty"),
        (b"PK\x03\x04rest", FileUnreadable, "zip archive"),
        (b"\x1f\x8brest", FileUnreadable, "compressed"),
        (b"\xd0\xcf\x11\xe0rest", FileUnreadable, "spreadsheet"),
        ("person,c\n".encode("utf-16"), FileUnreadable, "UTF-16"),
        ("person,c\n".encode("utf-16-le"), FileUnreadable, "not text"),
        (b"PAR1 and nothing else", FileUnreadable, "damaged"),
        (b"person,c\n" + b"\xff\x80" * 40, EncodingUnknown, "neither UTF-8 nor GB18030"),
        (b"x" * (csvfile.LONGEST_HEADER + 5), FileUnreadable, "first line is too long"),
        (b"," * 5000 + b"\n", FileUnreadable, "too many columns"),
        (b"person;d\n", ColumnsMissing, "has no column c. It has: person, d."),
        (b"person,c,C\n", HeaderDoubtful, "several columns named c"),
    ],
)
def test_files_that_cannot_be_used(tmp_path, content, problem, words):
    with pytest.raises(problem, match=words):
        ingest(tmp_path, facts(column(Kind.TEXT)), t=content)
    assert {p.name for p in tmp_path.iterdir()} == {"source-0"}


def test_a_parquet_file_damaged_within_is_refused(tmp_path):
    path = parquet(tmp_path, "SELECT 'p' || range AS person, md5(range::VARCHAR) AS c FROM range(50000)")
    content = bytearray(path.read_bytes())
    for at in range(1000, len(content) - 5000, 50):
        content[at] ^= 0xFF
    with pytest.raises(FileUnreadable):
        ingest(tmp_path, facts(column(Kind.TEXT)), t=bytes(content))
    assert not (tmp_path / "version").exists()


def test_the_tables_and_the_files_must_be_the_same(tmp_path):
    with pytest.raises(TablesDiffer, match="Table t: its file is missing"):
        ingest(tmp_path, facts(column(Kind.TEXT)))
    with pytest.raises(TablesDiffer, match="Table u: it is not described"):
        ingest(tmp_path, facts(column(Kind.TEXT)), t="person,c\n", u="person,c\n")


def test_an_existing_target_is_never_replaced(tmp_path):
    source, target = tmp_path / "s", tmp_path / "version"
    source.write_text("person,c\na,b\n")
    target.write_text("precious")
    with pytest.raises(FileExistsError):
        DuckIngest(entropy=os.urandom)(
            facts(column(Kind.TEXT)), {"t": source}, target, limits=Limits(), progress=lambda *_: None
        )
    assert target.read_text() == "precious"


def test_progress_can_stop_the_work(tmp_path):
    class Enough(Exception):
        pass

    def stop(stage: str, done: int, total: int) -> None:
        raise Enough

    with pytest.raises(Enough):
        ingest(tmp_path, facts(column(Kind.TEXT)), progress=stop, t="person,c\na,b\n")
    assert {p.name for p in tmp_path.iterdir()} == {"source-0"}


def test_the_time_limit_holds(tmp_path):
    with pytest.raises(IngestTooSlow):
        ingest(tmp_path, facts(column(Kind.TEXT)), limits=Limits(seconds=0), t="person,c\na,b\n")
    assert not (tmp_path / "version").exists()


def test_the_description_and_the_ingest_meet(tmp_path):
    text = """
dataset: d
tables:
  就诊:
    unit: {column: 身份证, space: id}
    max_rows: 3
    columns:
      身份证: {type: text}
      城市: {type: text, keys: public, domain: [云海, 青州]}
      花费: {type: number, lower: 0, upper: 100, step: 0.01}
"""
    content = "身份证,城市,花费\n110,云海,3.505\n111,上海,1\n110,青州,1000\n".encode("gb18030")
    report = ingest(tmp_path, to_facts(load_description(text)), 就诊=content).tables[0]
    assert (report.units, report.clipped, report.rounded) == (1, {"花费": 1}, {"花费": 1})
    assert report.rejected == {"domain:城市": (1, (2,))}
    assert sorted(stored(tmp_path, 'SELECT "城市", "花费" FROM "就诊"')) == [("云海", 351), ("青州", 10000)]

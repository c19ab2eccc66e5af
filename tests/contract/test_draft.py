"""The draft of a description: everything from the data is marked, and what a steward confirms fits the file."""

from __future__ import annotations

import os
import re
from pathlib import Path

import duckdb
import pytest
import yaml

from compute.engines.draft import draft
from compute.engines.ingest import DuckIngest
from compute.engines.problems import FileUnreadable
from compute.ports import IngestReport, Limits
from privacy.facts import Keys, Kind
from sandbox.describe.description import Description, DescriptionInvalid, load_description, to_facts
from sandbox.describe.located import marks

ROWS = 400


def csv(folder: Path, encoding: str = "utf-8", name: str = "就诊 2024.csv") -> Path:
    lines = ["person_id,城市,amount,age,day,at,insured,note,'odd\"; name',empty"]
    for i in range(ROWS):
        city, insured = ("云海", "青州", "临江")[i % 3], "是" if i % 2 else "否"
        day, at = f"2023-{i % 12 + 1:02}-17", f"2023-05-{i % 28 + 1:02} 10:00:00"
        amount = f"{i * 3 % 977}.{i % 100:02}"
        lines.append(f"P{i % 130:04},{city},{amount},{i % 91},{day},{at},{insured},free text {i},{i % 7},")
    path = folder / name
    path.write_bytes(("\n".join(lines) + "\n").encode(encoding))
    return path


def confirmed(text: str) -> Description:
    """What a steward gets who believes every mark."""
    return load_description(text.replace("!confirm ", ""))


def ingest(folder: Path, description: Description, source: Path) -> IngestReport:
    facts = to_facts(description)
    sources = {facts.tables[0].name: source}
    return DuckIngest(entropy=os.urandom)(facts, sources, folder / "version", limits=Limits(), progress=lambda *_: None)


@pytest.mark.parametrize("encoding", ["utf-8", "gb18030"])
def test_a_confirmed_draft_keeps_every_row(tmp_path, encoding):
    source = csv(tmp_path, encoding)
    described = confirmed(draft(source))
    report = ingest(tmp_path, described, source).tables[0]
    assert (report.rows_kept, report.rejected, report.clipped, report.rounded) == (ROWS, {}, {}, {})
    [table] = to_facts(described).tables
    assert (table.name, table.unit and table.unit.column) == ("就诊_2024", "person_id")
    kinds = {c.name: c.kind for c in table.columns}
    assert kinds == {
        "person_id": Kind.TEXT,
        "城市": Kind.TEXT,
        "amount": Kind.NUMBER,
        "age": Kind.INTEGER,
        "day": Kind.DATE,
        "at": Kind.TIMESTAMP,
        "insured": Kind.BOOLEAN,
        "note": Kind.TEXT,
        "'odd\"; name'": Kind.INTEGER,
        "empty": Kind.TEXT,
    }
    city = table.column("城市")
    assert city is not None
    assert (city.keys, set(city.domain)) == (Keys.PUBLIC, {"云海", "青州", "临江"})
    note = table.column("note")
    assert note is not None
    assert (note.keys, note.domain) == (Keys.PRIVATE, ())
    assert table.column("empty").nullable
    assert not city.nullable
    assert table.max_rows >= 3


def test_nothing_that_was_read_is_unmarked(tmp_path):
    text = draft(csv(tmp_path))
    with pytest.raises(DescriptionInvalid, match="read from the data"):
        load_description(text)
    assert len(list(marks(text))) > 30
    unmarked = re.sub(r"!confirm (\[[^]]*\]|\"(\\.|[^\"])*\"|[^,}\n]+)", "", text.partition("    columns:")[2])
    columns = unmarked.partition("policy:")[0]
    for value in ("云海", "2023", "977", "91", "true", "false", "public", "integer", "date"):
        assert value not in columns.replace("就诊_2024", ""), value


def test_bounds_are_round_and_show_no_extreme(tmp_path):
    source = tmp_path / "t.csv"
    source.write_text("id,n,m,d\n" + "".join(f"{i},{i + 17},-{i}.5,2024-03-1{i % 9}\n" for i in range(200, 344)))
    table = to_facts(confirmed(draft(source))).tables[0]
    by_name = {c.name: c for c in table.columns}
    assert (by_name["n"].lower, by_name["n"].upper) == (0, 500)
    assert (by_name["m"].lower, by_name["m"].upper) == (-500, 0)
    assert (str(by_name["d"].lower), str(by_name["d"].upper)) == ("2024-03-01", "2024-03-31")


def test_identifiers_with_leading_zeros_or_many_digits_are_text(tmp_path):
    source = tmp_path / "t.csv"
    source.write_text("身份证号码,code\n" + "".join(f"11010119900307{i:04},{i:05}\n" for i in range(50)))
    table = to_facts(confirmed(draft(source))).tables[0]
    assert [c.kind for c in table.columns] == [Kind.TEXT, Kind.TEXT]
    assert table.unit is not None
    assert table.unit.column == "身份证号码"


def test_parquet_types_are_declared_not_read(tmp_path):
    path = tmp_path / "t.parquet"
    duckdb.sql(
        """SELECT 'r' || (range % 50) AS resident, range::INTEGER AS n, (range / 4)::DOUBLE AS x, (range % 2 = 0) AS b,
           DATE '2024-01-05' + (range % 30)::INTEGER AS d, '12' AS digits, [1] AS nested, nullif(range, 3) AS gap
           FROM range(300)"""
    ).write_parquet(str(path))
    text = draft(path, dataset="a/b", table="readings")
    described = confirmed(text)
    assert described.dataset == "a/b"
    assert "{type: number," in text
    assert "type: !confirm" not in text
    assert "# left out 未列入: nested" in text
    table = to_facts(described).tables[0]
    assert {c.name: c.kind for c in table.columns}["digits"] is Kind.TEXT
    assert table.column("gap").nullable
    report = ingest(tmp_path, described, path).tables[0]
    assert (report.rows_kept, report.clipped, report.rounded) == (300, {}, {})


@pytest.mark.parametrize(
    ("header", "columns"),
    [
        ("a,a,b", 1),
        ("a,,b", 2),
        ('"\u2028",b,c', 2),
        ('yes,"null",no', 3),
        ("a:b,#c,- d", 3),
        ("{x},[y],&z", 3),
        ("\U0001f600,b,c", 3),
        ("列,ｂ,c", 3),
    ],
)
def test_odd_headers_make_a_file_that_can_be_read(tmp_path, header, columns):
    source = tmp_path / "t.csv"
    source.write_text(header + "\n" + "1,2,3\n" * 30)
    text = draft(source)
    assert len(yaml.safe_load(text.replace("!confirm ", ""))["tables"]["t"]["columns"]) == columns
    assert len(confirmed(text).tables["t"].columns) == columns


@pytest.mark.parametrize("name", ["_id", "a\u200bb", "x" * 65])
def test_names_that_no_description_allows_are_written_and_refused(tmp_path, name):
    source = tmp_path / "t.csv"
    source.write_text(f"{name},b\n1,2\n")
    with pytest.raises(DescriptionInvalid, match="a name has 1 to 64 characters"):
        confirmed(draft(source))


def test_huge_and_strange_numbers(tmp_path):
    source = tmp_path / "t.csv"
    source.write_text("id,x,y\n" + "".join(f"{i},{i}00000000000.123456789,1e{i % 9}\n" for i in range(1, 60)))
    described = confirmed(draft(source))
    report = ingest(tmp_path, described, source).tables[0]
    assert (report.rows_kept, report.rejected, report.clipped) == (59, {}, {})


def test_a_file_without_rows_or_identifiers(tmp_path):
    source = tmp_path / "t.csv"
    source.write_text("a,b\n")
    assert confirmed(draft(source)).tables["t"].columns["a"].type == "text"
    source.write_text("x,y\n1.5,2024-01-01\n")
    assert "column: !confirm ?" in draft(source)


def test_a_file_name_cannot_write_yaml(tmp_path):
    source = tmp_path / "x\ndataset: evil\ny.csv"
    source.write_text("id,b\n1,2\n")
    assert "\ndataset: evil" not in draft(source)


def test_a_file_that_is_none(tmp_path):
    source = tmp_path / "t.csv"
    source.write_bytes(b"PK\x03\x04")
    with pytest.raises(FileUnreadable):
        draft(source)
    assert {p.name for p in tmp_path.iterdir()} == {"t.csv"}

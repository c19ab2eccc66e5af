"""Files meant to hurt: description bombs, names that are SQL, CSV that is not. Each test is named after its attack."""

from __future__ import annotations

import json
import os
import resource
import time
from pathlib import Path

import duckdb
import pytest

from compute.engines.draft import draft
from compute.engines.ingest import DuckIngest
from compute.engines.problems import FileUnreadable
from compute.engines.session import Session
from compute.ports import IngestReport, Limits
from privacy.facts import ColumnFacts, DatasetFacts, Keys, Kind, PrivacyUnit, TableFacts
from sandbox.describe.description import DescriptionInvalid, load_description, to_facts
from sandbox.describe.located import TextTooLarge

EVIL = [
    'x"; DROP TABLE t; --',
    "a'b",
    'a""b',
    "rowid",
    "select",
    "列 名",
    "working.t0",
    "{x}",
    "%s",
    "a;b",
    "version",
    "\\",
]


def ingest(folder: Path, facts: DatasetFacts, files: dict[str, Path]) -> IngestReport:
    target = folder / "version"
    target.unlink(missing_ok=True)
    return DuckIngest(entropy=os.urandom)(
        facts, files, target, limits=Limits(seconds=60, memory=512 * 2**20), progress=lambda *_: None
    )


def stored(folder: Path, sql: str) -> list[tuple]:
    with duckdb.connect(str(folder / "version"), read_only=True) as connection:
        return connection.execute(sql).fetchall()


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


# --- descriptions --------------------------------------------------------------------------------------------------------


def test_billion_laughs():
    text = "a0: &a0 [x,x,x,x,x,x,x,x,x]\n" + "".join(
        f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 20)
    )
    began = time.process_time()
    with pytest.raises(DescriptionInvalid, match="anchors and aliases"):
        load_description(text)
    assert time.process_time() - began < 1


@pytest.mark.parametrize(
    "text",
    [
        "[" * 900_000,
        "{a: " * 200_000,
        "- " * 400_000,
        "? " * 400_000,
        "a:\n" + "".join(" " * i + "b:\n" for i in range(900)),
    ],
)
def test_deep_nesting(text):
    began = time.process_time()
    with pytest.raises(DescriptionInvalid):
        load_description(text)
    assert time.process_time() - began < 10


@pytest.mark.parametrize(
    "tag",
    [
        "!!python/object/apply:os.system",
        "!!python/name:os.system",
        "!!binary",
        "!!set",
        "!<tag:yaml.org,2002:python/module:os>",
        "!include",
    ],
)
def test_tags_that_construct(tag, tmp_path):
    with pytest.raises(DescriptionInvalid, match="YAML tags are not used"):
        load_description(f"dataset: {tag} ['touch {tmp_path}/owned']\ntables: {{}}\n")
    assert list(tmp_path.iterdir()) == []


def test_a_hundred_megabytes():
    with pytest.raises(TextTooLarge):
        load_description("a" * 100_000_000)


def test_a_megabyte_of_problems_is_told_in_time():
    text = "".join(f"k{i}: 1\n" for i in range(90_000))
    began = time.process_time()
    with pytest.raises(DescriptionInvalid) as caught:
        load_description(text)
    assert time.process_time() - began < 30
    said = caught.value.say("en")
    assert len(said) < 50_000, "nobody reads ninety thousand problems"
    assert said.endswith("\n… and 89902 more.")
    assert len(caught.value.params["problems"]) == 100


def test_terminal_escapes_and_endless_keys_in_problems():
    with pytest.raises(DescriptionInvalid) as caught:
        load_description('"\\e[2J\\u202Eevil{x}": 1\n' + f'{"k" * 900}: 1\n"a\\nb": 1\n')
    said = caught.value.say("en") + caught.value.say("zh-CN") + str(caught.value.params["problems"])
    assert "\x1b" not in said
    assert "\u202e" not in said
    assert "\\u001b[2J\\u202eevil{x}: unknown field." in caught.value.say("en")
    assert len(said) < 10_000


def test_numbers_too_large_to_compute_with():
    text = "dataset: d\ntables: {t: {unit: {column: p}, max_rows: 1, columns: {p: {type: text}, n: %s}}}\n"
    for bad in ("{type: number, step: 1e-999999999}", "{type: integer, lower: -1e999999999, upper: 1e999999999}"):
        began = time.process_time()
        with pytest.raises(DescriptionInvalid):
            load_description(text % bad)
        assert time.process_time() - began < 1


# --- names and values that are SQL ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", EVIL)
def test_names_and_keys_that_are_sql(tmp_path, name):
    unit = PrivacyUnit(column=name + "u", stands_for="person", space=name)
    private = TableFacts(
        name=name,
        unit=unit,
        columns=(
            ColumnFacts(name=name + "u", kind=Kind.TEXT),
            ColumnFacts(name=name, kind=Kind.TEXT, keys=Keys.PUBLIC, domain=(name, "'; DROP TABLE t; --")),
            ColumnFacts(name=name + "p", kind=Kind.TEXT),
        ),
    )
    public = TableFacts(name=name + "2", columns=(ColumnFacts(name=name, kind=Kind.TEXT, max_repeats=1),))
    cells = [f"{quoted(c)}" for c in (name + "u", name, name + "p")]
    first, second = tmp_path / "a'b", tmp_path / 'c";d'
    first.write_text(",".join(cells) + f"\n1,{quoted(name)},{quoted(name)}\n2,'; DROP TABLE t; --,x\n")
    second.write_text(quoted(name) + f"\n{quoted(name)}\n")
    report = ingest(tmp_path, DatasetFacts(tables=(private, public)), {name: first, name + "2": second})
    assert [t.rows_kept for t in report.tables] == [2, 1]
    got = stored(tmp_path, f"SELECT {quoted(name)}, {quoted(name + 'p')} FROM {quoted(name)}")
    assert sorted(got) == sorted([(name, name), ("'; DROP TABLE t; --", "x")])


@pytest.mark.parametrize("name", EVIL)
def test_a_description_survives_names_that_are_sql(name):
    key = json.dumps(name)
    columns = f"{{p: {{type: text}}, {key}: {{type: text}}}}"
    text = f"dataset: d\ntables: {{{key}: {{unit: {{column: p}}, max_rows: 1, columns: {columns}}}}}\n"
    [table] = to_facts(load_description(text)).tables
    assert (table.name, table.columns[1].name) == (name, name)


def test_values_that_are_sql_formulas_or_paths(tmp_path):
    facts = DatasetFacts(
        tables=(
            TableFacts(
                name="t",
                unit=PrivacyUnit(column="p", stands_for="person", space="s"),
                columns=(ColumnFacts(name="p", kind=Kind.TEXT), ColumnFacts(name="c", kind=Kind.TEXT)),
            ),
        )
    )
    values = [
        "=cmd|' /C calc'!A0",
        "'; COPY t TO '/tmp/x'; --",
        "../../etc/passwd",
        "\x00\x01",
        "read_text('/etc/passwd')",
    ]
    source = tmp_path / "s"
    source.write_text("p,c\n" + "pad,pad\n" * 200_000 + "".join(f"{v},{v}\n" for v in values))
    report = ingest(tmp_path, facts, {"t": source}).tables[0]
    assert (report.rows_kept, report.units) == (200_005, 6)
    assert {v for (v,) in stored(tmp_path, "SELECT DISTINCT c FROM t")} == {*values, "pad"}


# --- files ---------------------------------------------------------------------------------------------------------------


def test_zip_bomb_and_other_wrappings_are_never_opened(tmp_path):
    facts = DatasetFacts(tables=(TableFacts(name="t", columns=(ColumnFacts(name="c", kind=Kind.TEXT),)),))
    source = tmp_path / "s"
    for magic in (b"PK\x03\x04", b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd"):
        source.write_bytes(magic + os.urandom(1000))
        with pytest.raises(FileUnreadable):
            ingest(tmp_path, facts, {"t": source})
        with pytest.raises(FileUnreadable):
            draft(source)


def test_one_endless_line_takes_little_memory(tmp_path):
    facts = DatasetFacts(tables=(TableFacts(name="t", columns=(ColumnFacts(name="c", kind=Kind.TEXT),)),))
    source = tmp_path / "s"
    with source.open("wb") as file:
        file.write(b"c\n")
        for _ in range(200):
            file.write(b"x" * (1 << 20))
        file.write(b"\nfine\n")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    report = ingest(tmp_path, facts, {"t": source}).tables[0]
    assert report.rejected == {"csv.long": (1, (1,))}
    assert report.rows_kept == 1
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 150 * 1024


@pytest.mark.parametrize("line", ['"', 'x,"', '"""', ',"",""""', '"x\n'])
def test_quotes_that_never_match_take_little_time(tmp_path, line):
    facts = DatasetFacts(
        tables=(TableFacts(name="t", columns=tuple(ColumnFacts(name=n, kind=Kind.TEXT, nullable=True) for n in "abc")),)
    )
    source = tmp_path / "s"
    source.write_text("a,b,c\n" + f"{line}\n" * 20_000 + "1,2,3\n")
    began = time.process_time()
    report = ingest(tmp_path, facts, {"t": source}).tables[0]
    assert time.process_time() - began < 30
    assert report.rows_read == report.rows_kept + sum(count for count, _ in report.rejected.values())


def test_nothing_raw_is_left_in_the_version_or_beside_it(tmp_path):
    """Not the identifiers, not the salt, not the rows that were rejected, not even in freed blocks."""
    salts: list[bytes] = []

    def entropy(size: int) -> bytes:
        salts.append(os.urandom(size))
        return salts[-1]

    facts = DatasetFacts(
        tables=(
            TableFacts(
                name="t",
                unit=PrivacyUnit(column="p", stands_for="person", space="s"),
                columns=(
                    ColumnFacts(name="p", kind=Kind.TEXT),
                    ColumnFacts(name="c", kind=Kind.TEXT, keys=Keys.PUBLIC, domain=("keep",)),
                ),
            ),
        )
    )
    source, target = tmp_path / "s", tmp_path / "version"
    source.write_text(
        "p,c\n" + "".join(f"IDENTITY{i:012},{'keep' if i % 3 else 'REJECTEDVALUE'}\n" for i in range(60_000))
    )
    DuckIngest(entropy=entropy)(facts, {"t": source}, target, limits=Limits(), progress=lambda *_: None)
    content = target.read_bytes()
    assert b"IDENTITY" not in content
    assert b"REJECTEDVALUE" not in content
    assert salts
    for salt in salts:
        assert salt not in content
        assert salt.hex().encode() not in content
    assert {p.name for p in tmp_path.iterdir()} == {"s", "version"}


def test_the_session_that_ingests_reaches_no_other_file(tmp_path):
    secret, folder = tmp_path / "secret.csv", tmp_path / "work"
    secret.write_text("a\n1\n")
    folder.mkdir()
    with Session(folder, [], Limits(), lambda *_: None) as session:
        for sql in (
            f"SELECT * FROM read_csv('{secret}')",
            f"SELECT * FROM read_text('{secret}')",
            f"SELECT * FROM glob('{tmp_path}/*')",
            f"ATTACH '{tmp_path}/other.db'",
            f"COPY (SELECT 1) TO '{tmp_path}/out.csv'",
            "SET enable_external_access = true",
            "SET lock_configuration = false",
            "INSTALL httpfs",
        ):
            with pytest.raises(duckdb.Error):
                session.run(sql)
    assert {p.name for p in tmp_path.iterdir()} == {"secret.csv", "work"}

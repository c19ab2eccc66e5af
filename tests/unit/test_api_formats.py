"""The same answer as CSV and Arrow, and the choice by Accept."""

from __future__ import annotations

import csv
import io
from datetime import date

import pyarrow as pa
import pytest

from sandbox import wire
from sandbox.api.formats import ARROW, CSV, JSON, RELEASED, as_arrow, as_csv, choose
from sandbox.api.problems import NotAcceptable

LOSS = wire.LossOut()
NOISE = wire.NoiseOut(kind="discrete_gaussian", scale=2.0)


def _answer() -> wire.AnswerOut:
    columns = [
        wire.AnswerColumn(name="城市", kind="text", role="key"),
        wire.AnswerColumn(name="day", kind="date", role="key"),
        wire.AnswerColumn(name="n", kind="integer", role="value", noise=NOISE),
        wire.AnswerColumn(name="n_low", kind="number", role="value", noise=NOISE),
    ]
    return wire.AnswerOut(
        question="select …",
        dataset="d",
        project="p",
        version="v",
        plan="x",
        columns=columns,
        rows=[['云"海,', "2024-01-02", 5, 1.5], ["", None, None, 2.0], [None, "2024-01-03", -3, None]],
        intervals=[
            [None, None, (1.0, 9.0), (0.5, 2.5)],
            [None, None, None, (1.0, 3.0)],
            [None, None, (-7.0, 1.0), None],
        ],
        mechanism="m",
        cost=LOSS,
        charged=LOSS,
        receipt="r1",
    )


@pytest.mark.parametrize(
    ("accept", "wanted"),
    [
        (None, JSON),
        ("  ", JSON),
        ("*/*", JSON),
        ("application/*", JSON),
        ("text/*", CSV),
        ("text/csv;q=0.4, application/vnd.apache.arrow.stream;q=0.9", ARROW),
        ("text/html, text/csv;q=0.1", CSV),
        (RELEASED, RELEASED),
        ("TEXT/CSV; charset=utf-8", CSV),
    ],
)
def test_the_accept_header_chooses(accept: str | None, wanted: str) -> None:
    assert choose(accept) == wanted


@pytest.mark.parametrize("accept", ["text/html", "text/csv;q=0", "application/json;q=x", ";", ","])
def test_nothing_of_ours_is_not_acceptable(accept: str) -> None:
    with pytest.raises(NotAcceptable):
        choose(accept)


def test_days_and_moments_have_ends_of_their_own_kind() -> None:
    columns = [
        wire.AnswerColumn(name="last", kind="date", role="value"),
        wire.AnswerColumn(name="at", kind="timestamp", role="value"),
    ]
    days, moments = ("2024-02-28", "2024-03-04"), ("2024-03-01T00:00:00", "2024-03-01T23:59:59")
    given = _answer().model_copy(
        update={"columns": columns, "rows": [["2024-03-01", "2024-03-01T10:00:00"]], "intervals": [[days, moments]]}
    )
    assert wire.AnswerOut.model_validate_json(given.model_dump_json()).intervals == [[days, moments]]
    table = pa.ipc.open_stream(as_arrow(given)).read_all()
    assert [str(t) for t in table.schema.types] == ["date32[day]"] * 3 + ["timestamp[us]"] * 3
    assert table["last_high"].to_pylist() == [date(2024, 3, 4)]
    assert b'"2024-02-28","2024-03-04"' in as_csv(given)


def test_csv_keeps_null_apart_from_empty_and_every_value_beside_its_interval() -> None:
    text = as_csv(_answer()).decode()
    lines = text.split("\r\n")
    assert lines[0] == '"城市","day","n","n_low_","n_high","n_low","n_low_low","n_low_high"'
    assert lines[2].startswith('"",,,,')
    assert lines[3].startswith(',"2024-01-03",-3,-7.0,1.0,')
    rows = list(csv.DictReader(io.StringIO(text)))
    assert rows[0]["城市"] == '云"海,'
    assert (rows[0]["n"], rows[0]["n_low_"], rows[0]["n_high"]) == ("5", "1.0", "9.0")


def test_arrow_types_follow_the_kinds() -> None:
    table = pa.ipc.open_stream(as_arrow(_answer())).read_all()
    assert [str(f.type) for f in table.schema] == ["string", "date32[day]", "int64"] + ["double"] * 5
    assert table.column("n").to_pylist() == [5, None, -3]
    assert table.schema.metadata[b"sandbox.receipt"] == b"r1"
    assert wire.AnswerOut.model_fields.keys() - {"rows", "intervals"}


def test_arrow_of_huge_or_fractional_integers_falls_back_to_doubles() -> None:
    answer = _answer()
    rows = [[*r[:2], 2**70, r[3]] for r in answer.rows]
    table = pa.ipc.open_stream(as_arrow(answer.model_copy(update={"rows": rows}))).read_all()
    assert str(table.schema.field("n").type) == "double"


def test_timestamps_booleans_and_no_rows() -> None:
    columns = [
        wire.AnswerColumn(name="t", kind="timestamp", role="key"),
        wire.AnswerColumn(name="b", kind="boolean", role="key"),
    ]
    base = _answer().model_copy(update={"columns": columns})
    full = base.model_copy(update={"rows": [["2024-01-02T03:04:05", True]], "intervals": [[None, None]]})
    assert as_csv(full).decode().endswith('"2024-01-02T03:04:05",true\r\n')
    assert pa.ipc.open_stream(as_arrow(full)).read_all().num_rows == 1
    none = base.model_copy(update={"rows": [], "intervals": []})
    assert as_csv(none).decode() == '"t","b"\r\n'
    assert pa.ipc.open_stream(as_arrow(none)).read_all().num_rows == 0

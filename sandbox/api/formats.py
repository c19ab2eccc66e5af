"""An answer as JSON, CSV or an Arrow stream: the same figures, each value column followed by its 95 % interval.

Owns the choice by `Accept` and the writing. It adds nothing and rounds nothing. Nothing here depends on confidential
values: types come from the column kinds, and what is written was already released. No value is ever printed without its
interval, in any format.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime

import pyarrow as pa

from sandbox import wire
from sandbox.api.problems import NotAcceptable

JSON = "application/json"
CSV = "text/csv"
ARROW = "application/vnd.apache.arrow.stream"
RELEASED = "application/vnd.data-open-sandbox.answer+json"
"""The exact bytes that were released, whose SHA-256 the receipt names."""
FORMATS = (JSON, CSV, ARROW, RELEASED)


def choose(accept: str | None) -> str:
    """The format that the Accept header prefers (RFC 9110, 12.5.1); JSON without one; `NotAcceptable` for none of ours."""
    if not accept or not accept.strip():
        return JSON
    best, chosen = 0.0, ""
    for part in accept.split(",")[:20]:
        wanted, *parameters = (p.strip().lower() for p in part.split(";"))
        weight = _weight(parameters)
        match = next((f for f in FORMATS if _accepts(wanted, f)), None)
        if match and weight > best:
            best, chosen = weight, match
    if not chosen:
        raise NotAcceptable(accept=accept[:100], allowed=", ".join(FORMATS))
    return chosen


def _accepts(wanted: str, offered: str) -> bool:
    return wanted in (offered, "*/*", offered.split("/")[0] + "/*")


def _weight(parameters: Sequence[str]) -> float:
    value = next((p[2:] for p in parameters if p.startswith("q=")), "1")
    try:
        return float(value)
    except ValueError:
        return 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class _Column:
    """One written column: from an answer's column, or one side of its interval."""

    name: str
    kind: str
    values: tuple[wire.Cell, ...]


def _columns(answer: wire.AnswerOut) -> Iterator[_Column]:
    taken = {c.name for c in answer.columns}
    for i, column in enumerate(answer.columns):
        yield _Column(name=column.name, kind=column.kind, values=tuple(row[i] for row in answer.rows))
        if column.role == "key":
            continue
        for side, suffix in ((0, "low"), (1, "high")):
            pairs = [row[i] for row in answer.intervals]
            name = _fresh(f"{column.name}_{suffix}", taken)
            kind = column.kind if column.kind in ("date", "timestamp") else "number"
            yield _Column(name=name, kind=kind, values=tuple(p[side] if p else None for p in pairs))


def _fresh(name: str, taken: set[str]) -> str:
    while name in taken:
        name += "_"
    taken.add(name)
    return name


def as_csv(answer: wire.AnswerOut) -> bytes:
    """RFC 4180 in UTF-8. Texts are quoted, NULL is an empty field without quotes, so that the two stay apart."""
    columns = list(_columns(answer))
    rows = zip(*(c.values for c in columns), strict=True)
    lines = [",".join(_field(c.name) for c in columns), *(",".join(map(_field, row)) for row in rows)]
    return "".join(f"{line}\r\n" for line in lines).encode()


def _field(value: wire.Cell) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return '"' + value.replace('"', '""') + '"'
    return repr(value)


_ARROW_TYPES: Mapping[str, pa.DataType] = {
    "number": pa.float64(),
    "text": pa.string(),
    "boolean": pa.bool_(),
    "date": pa.date32(),
    "timestamp": pa.timestamp("us"),
}


def as_arrow(answer: wire.AnswerOut) -> bytes:
    """An Arrow IPC stream; the schema's metadata holds cost, version, receipt and the noise of each column."""
    arrays, fields = [], []
    for column in _columns(answer):
        array = _array(column)
        arrays.append(array)
        fields.append(pa.field(column.name, array.type))
    schema = pa.schema(fields, metadata=_metadata(answer))
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, schema) as writer:
        writer.write_table(pa.table(arrays, schema=schema))
    return sink.getvalue()


def _array(column: _Column) -> pa.Array:
    values = [_typed(v, column.kind) for v in column.values]
    if column.kind == "integer":
        whole = all(v is None or (isinstance(v, int) and abs(v) < 2**63) for v in values)
        return pa.array(values, pa.int64()) if whole else pa.array([_real(v) for v in values], pa.float64())
    if column.kind == "number":
        return pa.array([_real(v) for v in values], pa.float64())
    return pa.array(values, _ARROW_TYPES.get(column.kind, pa.string()))


def _real(value: object) -> float | None:
    return None if value is None else float(str(value))


def _typed(value: wire.Cell, kind: str) -> object:
    if value is None:
        return None
    if kind == "date":
        return date.fromisoformat(str(value))
    if kind == "timestamp":
        return datetime.fromisoformat(str(value)).replace(tzinfo=None)
    return value


def _metadata(answer: wire.AnswerOut) -> dict[str, str]:
    facts = answer.model_dump_json(exclude={"rows", "intervals"})
    return {"sandbox.answer": facts, "sandbox.receipt": answer.receipt or "", "sandbox.version": answer.version}

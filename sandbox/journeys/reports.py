"""What an ingest found, as its steward reads it: the noun `Report`, and its canonical JSON in the registry.

Owns the shape of that JSON and nothing else. Every figure in it is exact, so it is for the dataset's steward alone; no other
journey reads it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from access.audit import Json, canonical
from access.ports import IngestRecord
from compute.ports import TableReport
from privacy.errors import Problem, Text


@dataclass(frozen=True, kw_only=True, slots=True)
class Trouble:
    """Why an ingest made no version: plain sentences, not templates."""

    code: str
    sentence: Text
    hint: Text


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """The report of one ingest; `version` is None and `trouble` set when it failed."""

    dataset: str
    job: str
    version: str | None
    at: datetime
    tables: tuple[TableReport, ...]
    trouble: Trouble | None = None


def written(tables: tuple[TableReport, ...], problem: Problem | None = None) -> str:
    """The canonical JSON text of a report."""
    trouble: Json = None
    if problem is not None:
        said = {lang: [problem.say(lang), problem.advise(lang)] for lang in ("en", "zh-CN")}
        trouble = {"code": problem.code, "said": said}
    return canonical({"tables": [_table(t) for t in tables], "trouble": trouble}).decode()


def _table(t: TableReport) -> Json:
    return {
        "table": t.table,
        "encoding": t.encoding,
        "rows_read": t.rows_read,
        "rows_kept": t.rows_kept,
        "units": t.units,
        "without_unit": t.without_unit,
        "max_rows_of_a_unit": t.max_rows_of_a_unit,
        "rejected": {reason: [count, list(rows)] for reason, (count, rows) in t.rejected.items()},
        "clipped": dict(t.clipped),
        "rounded": dict(t.rounded),
        "ignored": list(t.ignored),
    }


def read(record: IngestRecord) -> Report:
    """The report a record holds."""
    found: dict[str, Any] = json.loads(record.report)
    return Report(
        dataset=record.dataset,
        job=record.job,
        version=record.version,
        at=record.at,
        tables=tuple(_read_table(t) for t in found["tables"]),
        trouble=_read_trouble(found["trouble"]),
    )


def _read_table(t: dict[str, Any]) -> TableReport:
    rejected = {reason: (count, tuple(rows)) for reason, (count, rows) in t.pop("rejected").items()}
    return TableReport(rejected=rejected, ignored=tuple(t.pop("ignored")), **t)


def _read_trouble(found: dict[str, Any] | None) -> Trouble | None:
    if found is None:
        return None
    sentence, hint = (Text(found["said"]["en"][i], found["said"]["zh-CN"][i]) for i in (0, 1))
    return Trouble(code=found["code"], sentence=sentence, hint=hint)

"""Nouns to rows and back: every value comes out exactly as it went in, type and spelling included.

Owns the JSON in which facts, policies and the words of a dataset are kept. It runs no statement. Decimals, dates and
moments carry a tag, because a plan's digest depends on their exact spelling.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from access.catalogue import Dataset, DatasetState, Provider
from access.policy import Grade, Method, Openness, Policy
from privacy.errors import Text
from privacy.facts import ColumnFacts, DatasetFacts, Keys, Kind, PrivacyUnit, TableFacts, Value
from privacy.loss import Budget

Row = Mapping[Any, Any]


def dump(value: object) -> str:
    """Compact JSON; text stays readable."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _value(value: Value | None) -> object:
    match value:
        case None | bool() | int() | str():
            return value
        case Decimal():
            return {"number": str(value)}
        case datetime():
            return {"moment": value.isoformat()}
        case date():
            return {"day": value.isoformat()}


_READERS: Mapping[str, Any] = {"number": Decimal, "moment": datetime.fromisoformat, "day": date.fromisoformat}


def _read_value(stored: Any) -> Any:
    if not isinstance(stored, dict):
        return stored
    ((tag, text),) = stored.items()
    return _READERS[tag](text)


def _column(column: ColumnFacts) -> dict[str, object]:
    return {
        "name": column.name,
        "kind": column.kind,
        "nullable": column.nullable,
        "lower": _value(column.lower),
        "upper": _value(column.upper),
        "step": str(column.step),
        "keys": column.keys,
        "domain": [_value(v) for v in column.domain],
        "max_repeats": column.max_repeats,
    }


def _read_column(stored: Any) -> ColumnFacts:
    return ColumnFacts(
        name=stored["name"],
        kind=Kind(stored["kind"]),
        nullable=stored["nullable"],
        lower=_read_value(stored["lower"]),
        upper=_read_value(stored["upper"]),
        step=Decimal(stored["step"]),
        keys=Keys(stored["keys"]),
        domain=tuple(_read_value(v) for v in stored["domain"]),
        max_repeats=stored["max_repeats"],
    )


def _table(table: TableFacts) -> dict[str, object]:
    unit = table.unit
    return {
        "name": table.name,
        "columns": [_column(c) for c in table.columns],
        "unit": None if unit is None else [unit.column, unit.stands_for, unit.space],
        "max_rows": table.max_rows,
        "rows": table.rows,
    }


def _read_table(stored: Any) -> TableFacts:
    unit = None
    if stored["unit"] is not None:
        column, stands_for, space = stored["unit"]
        unit = PrivacyUnit(column=column, stands_for=stands_for, space=space)
    return TableFacts(
        name=stored["name"],
        columns=tuple(_read_column(c) for c in stored["columns"]),
        unit=unit,
        max_rows=stored["max_rows"],
        rows=stored["rows"],
    )


def write_facts(facts: DatasetFacts) -> dict[str, object]:
    """Facts as JSON; `read_facts` gives equal facts with an equal digest."""
    return {"name": facts.name, "min_units": facts.min_units, "tables": [_table(t) for t in facts.tables]}


def read_facts(stored: Any) -> DatasetFacts:
    """The facts that `write_facts` wrote."""
    return DatasetFacts(
        name=stored["name"], min_units=stored["min_units"], tables=tuple(_read_table(t) for t in stored["tables"])
    )


def _text(text: Text) -> list[str]:
    return [text.en, text.zh]


def _budget(budget: Budget) -> list[float]:
    return [budget.epsilon, budget.delta]


def _policy(policy: Policy) -> dict[str, object]:
    return {
        "methods": list(policy.methods),
        "min_units": policy.min_units,
        "per_project": _budget(policy.per_project),
        "total": _budget(policy.total),
        "reviewers": policy.reviewers,
        "expires_at": _value(policy.expires_at),
        "purposes": list(policy.purposes),
    }


def _read_policy(stored: Any) -> Policy:
    return Policy(
        methods=tuple(Method(m) for m in stored["methods"]),
        min_units=stored["min_units"],
        per_project=Budget(*stored["per_project"]),
        total=Budget(*stored["total"]),
        reviewers=stored["reviewers"],
        expires_at=_read_value(stored["expires_at"]),
        purposes=tuple(stored["purposes"]),
    )


def write_dataset(dataset: Dataset) -> dict[str, object]:
    """The columns of a dataset, but for its description's text."""
    body = {
        "title": _text(dataset.title),
        "summary": _text(dataset.summary),
        "provider": [*_text(dataset.provider.name), dataset.provider.contact],
        "facts": write_facts(dataset.facts),
        "policy": _policy(dataset.policy),
    }
    return {
        "name": dataset.name,
        "grade": dataset.grade.value,
        "openness": dataset.openness.value,
        "state": dataset.state.value,
        "steward": dataset.steward,
        "version": dataset.version,
        "body": dump(body),
        "description_digest": dataset.description_digest,
        "created_at": dataset.created_at,
    }


def read_dataset(row: Row) -> Dataset:
    """The dataset that `write_dataset` wrote."""
    body = json.loads(row["body"])
    name_en, name_zh, contact = body["provider"]
    return Dataset(
        name=row["name"],
        title=Text(*body["title"]),
        summary=Text(*body["summary"]),
        provider=Provider(name=Text(name_en, name_zh), contact=contact),
        grade=Grade(row["grade"]),
        openness=Openness(row["openness"]),
        facts=read_facts(body["facts"]),
        policy=_read_policy(body["policy"]),
        steward=row["steward"],
        description_digest=row["description_digest"],
        created_at=row["created_at"],
        state=DatasetState(row["state"]),
        version=row["version"],
    )

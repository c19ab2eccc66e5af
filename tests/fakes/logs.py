"""A small table about persons, held by a house: for journeys from preview to answer."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from pathlib import Path

from privacy.facts import ColumnFacts, DatasetFacts, Keys, Kind, PrivacyUnit, TableFacts
from tests.fakes.asking import DATASET, Holding, Scene, open_scene


def opened(folder: Path, rows: Iterable[tuple[str, str, float]], *, max_rows: int, upper: int, step: str) -> Scene:
    """A house that holds these rows of `logs`: person, place ("a" or "b"), and what was spent, from 0 to `upper`."""
    table = TableFacts(
        name="logs",
        unit=PrivacyUnit(column="person", stands_for="person", space="resident-id"),
        max_rows=max_rows,
        columns=(
            ColumnFacts(name="person", kind=Kind.TEXT),
            ColumnFacts(name="place", kind=Kind.TEXT, keys=Keys.PUBLIC, domain=("a", "b")),
            ColumnFacts(name="spent", kind=Kind.NUMBER, lower=Decimal(0), upper=Decimal(upper), step=Decimal(step)),
        ),
    )
    file = folder / "logs.csv"
    lines = (",".join(map(str, row)) for row in rows)
    file.write_text("\n".join(["person,place,spent", *lines, ""]), encoding="utf-8")
    return open_scene(folder, holding=Holding(DatasetFacts(name=DATASET, tables=(table,)), {"logs": file}))

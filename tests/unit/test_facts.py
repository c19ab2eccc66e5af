"""Public facts: which columns have bounds, names without case, and digests that tell facts apart."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, replace
from datetime import date
from decimal import Decimal

import pytest

from privacy.facts import ColumnFacts, DatasetFacts, Keys, Kind, PrivacyUnit, TableFacts
from tests.fakes.ward import FACTS, VISITS

BOUNDED = ColumnFacts(name="x", kind=Kind.NUMBER, lower=Decimal(0), upper=Decimal(1))


def test_numbers_are_what_can_be_summed():
    assert {k for k in Kind if k.numeric} == {Kind.INTEGER, Kind.NUMBER}


@pytest.mark.parametrize(
    ("column", "bounded"),
    [
        (BOUNDED, True),
        (replace(BOUNDED, lower=None), False),
        (replace(BOUNDED, upper=None), False),
        (ColumnFacts(name="d", kind=Kind.DATE, lower=date(2024, 1, 1), upper=date(2024, 1, 2)), False),
    ],
)
def test_a_column_is_bounded_when_both_ends_are_public_numbers(column, bounded):
    assert column.bounded is bounded


def test_names_compare_without_case():
    assert VISITS.column("AGE") is VISITS.column("age")
    assert VISITS.column("nothing") is None
    assert FACTS.table("Visits") is VISITS
    assert FACTS.table("nothing") is None


def test_equal_facts_have_equal_digests():
    assert DatasetFacts(tables=FACTS.tables, name="ward").digest() == FACTS.digest()
    assert len(FACTS.digest()) == 64


@pytest.mark.parametrize(
    "changed",
    [
        {"name": "y"},
        {"kind": Kind.INTEGER},
        {"nullable": True},
        {"lower": Decimal("-0.5")},
        {"upper": Decimal(2)},
        {"step": Decimal("0.1")},
        {"keys": Keys.PUBLIC},
        {"domain": (Decimal(1),)},
        {"max_repeats": 1},
    ],
)
def test_every_fact_of_a_column_counts_in_the_digest(changed):
    table = replace(VISITS, unit=None, columns=(BOUNDED,))
    other = replace(VISITS, unit=None, columns=(replace(BOUNDED, **changed),))
    assert DatasetFacts(tables=(table,)).digest() != DatasetFacts(tables=(other,)).digest()


@pytest.mark.parametrize(
    "other",
    [
        replace(FACTS, min_units=5),
        replace(FACTS, name="other"),
        replace(FACTS, tables=FACTS.tables[::-1]),
        replace(FACTS, tables=(replace(VISITS, max_rows=5), *FACTS.tables[1:])),
        replace(FACTS, tables=(replace(VISITS, unit=None), *FACTS.tables[1:])),
        replace(FACTS, tables=(replace(VISITS, rows=5), *FACTS.tables[1:])),
    ],
)
def test_every_fact_of_a_dataset_counts_in_the_digest(other):
    assert other.digest() != FACTS.digest()


def test_facts_do_not_change():
    with pytest.raises(FrozenInstanceError):
        BOUNDED.name = "y"  # type: ignore[misc]


def test_a_unit_is_one_of_the_columns() -> None:
    unit = PrivacyUnit(column="person_id", stands_for="person", space="resident")
    with pytest.raises(ValueError, match="does not describe it"):
        TableFacts(name="visits", columns=(ColumnFacts(name="age", kind=Kind.INTEGER),), unit=unit)

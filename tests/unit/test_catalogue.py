"""The Card: public facts, and nothing else."""

from __future__ import annotations

from dataclasses import fields, replace
from datetime import timedelta

from access.catalogue import (
    DATASET_MOVES,
    DATASET_OWNERS,
    Card,
    Dataset,
    DatasetState,
    DatasetVersion,
    card,
)
from access.policy import Grade, Openness
from privacy.facts import DatasetFacts
from tests.fakes import cast
from tests.fakes.cast import DATASET, FACTS, NOW, VERSION

#: What of a dataset and a version may reach a card. A new field must be put in one of the two lists on purpose.
PUBLIC = {
    Dataset: {
        "name",
        "title",
        "summary",
        "provider",
        "grade",
        "openness",
        "facts",
        "policy",
        "state",
    },
    DatasetVersion: {"digest", "facts", "created_at"},
}
KEPT = {
    Dataset: {"steward", "description_digest", "created_at", "version"},
    DatasetVersion: {"dataset", "description_digest", "created_by"},
}


def test_every_field_is_either_public_or_kept() -> None:
    for noun in (Dataset, DatasetVersion):
        assert {f.name for f in fields(noun)} == PUBLIC[noun] | KEPT[noun]


def test_what_is_kept_changes_nothing_on_the_card() -> None:
    shown = card(DATASET, VERSION)
    for name in KEPT[Dataset]:
        other = NOW + timedelta(days=1) if name == "created_at" else "SECRET"
        changed = replace(DATASET, **{name: other})  # type: ignore[arg-type]
        assert card(changed, VERSION) == shown
    for name in KEPT[DatasetVersion]:
        assert card(DATASET, replace(VERSION, **{name: "SECRET"})) == shown  # type: ignore[arg-type]
    assert "SECRET" not in repr(shown)


def test_the_card_says_what_the_facts_say() -> None:
    shown = card(DATASET, VERSION)
    assert {f.name for f in fields(Card)} == {
        "name",
        "title",
        "summary",
        "provider",
        "grade",
        "openness",
        "state",
        "tables",
        "methods",
        "purposes",
        "min_units",
        "reviewers",
        "per_project",
        "total",
        "expires_at",
        "version",
        "facts_digest",
        "published_at",
    }
    assert shown.tables == FACTS.tables
    assert shown.facts_digest == VERSION.facts_digest == FACTS.digest()
    assert (shown.version, shown.published_at) == (VERSION.digest, NOW)
    assert card(cast.dataset(grade=Grade.L4), VERSION).reviewers == 2


def test_before_the_first_version_the_declared_facts_are_shown() -> None:
    shown = card(DATASET, None)
    assert (shown.version, shown.published_at) == (None, None)
    assert shown.tables == DATASET.facts.tables
    measured = replace(VERSION, facts=DatasetFacts(tables=()))
    assert card(DATASET, measured).tables == ()


def test_what_is_catalogued() -> None:
    assert DATASET.catalogued
    assert not cast.dataset(openness=Openness.CLOSED).catalogued
    assert not replace(DATASET, state=DatasetState.WITHDRAWN).catalogued


def test_states_are_complete() -> None:
    assert set(DATASET_MOVES) == set(DATASET_OWNERS) == set(DatasetState)

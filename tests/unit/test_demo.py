"""The demo's files are what its descriptions say, the same for the same seed, and as skewed as real life."""

from __future__ import annotations

import csv
import io
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from privacy.facts import DatasetFacts, Kind, TableFacts
from privacy.loss import Budget, price
from sandbox.demo import city, public_data
from sandbox.demo.city import TEST_SIZE, write_city
from sandbox.demo.people import CAST, STEWARDS
from sandbox.demo.scenario import QUESTIONS
from sandbox.demo.source import DATASETS, Source, description
from sandbox.describe.description import load_description, require_complete, to_facts


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> tuple[Source, ...]:
    folder = tmp_path_factory.mktemp("city")
    return (*write_city(folder, size=TEST_SIZE), *public_data.write_public_data(folder))


def facts_of(dataset: str) -> DatasetFacts:
    return to_facts(require_complete(load_description(description(dataset), dataset)))


def table_of(source: Source) -> TableFacts:
    found = facts_of(source.dataset).table(source.table)
    assert found is not None
    return found


def frame(source: Source) -> pd.DataFrame:
    if source.path.suffix == ".parquet":
        return pq.read_table(source.path).to_pandas()
    raw = source.path.read_bytes()
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        text = raw.decode("gb18030")
    rows = list(csv.reader(io.StringIO(text)))
    return pd.DataFrame(rows[1:], columns=rows[0])


def test_every_described_table_has_exactly_one_file(sources: tuple[Source, ...]) -> None:
    described = {(d, t.name) for d in DATASETS for t in facts_of(d).tables}
    assert sorted(described) == sorted((s.dataset, s.table) for s in sources)


def test_files_have_the_described_columns(sources: tuple[Source, ...]) -> None:
    for source in sources:
        assert sorted(frame(source).columns) == sorted(c.name for c in table_of(source).columns), source


def test_public_domains_hold_all_values_but_the_planted_blemish(sources: tuple[Source, ...]) -> None:
    strange: set[str] = set()
    for source in sources:
        content = frame(source)
        for column in table_of(source).columns:
            if column.domain:
                known = {str(key).casefold() for key in column.domain}
                strange |= {
                    key for key in map(str, content[column.name].dropna().unique()) if key.casefold() not in known
                }
    assert strange == {"外 科"}


def test_public_keys_are_all_used(sources: tuple[Source, ...]) -> None:
    """A domain that the generator never draws would be a misprint."""
    for source in sources:
        for column in table_of(source).columns:
            if column.kind is Kind.TEXT and column.domain:
                missing = set(column.domain) - set(frame(source)[column.name])
                assert not missing, (source.table, column.name, missing)


def test_real_data_lies_within_its_declared_logical_limits(sources: tuple[Source, ...]) -> None:
    """Limits that follow from a design (years, sites, percentages) clip nothing; those the steward chose may."""
    logical = {"year", "site", "coinsurance", "age", "education", "experience"}
    for source in sources:
        if source.dataset.startswith("research/"):
            for column in table_of(source).columns:
                if column.name in logical:
                    values = frame(source)[column.name]
                    assert column.lower is not None
                    assert column.upper is not None
                    assert column.lower <= Decimal(int(values.min())), column
                    assert Decimal(int(values.max())) <= column.upper, column


def test_real_data_has_several_rows_a_person_and_no_more_than_declared() -> None:
    for content, table in (
        (public_data.rand_hie().to_pandas(), facts_of("research/rand-hie").tables[0]),
        (public_data.wage_panel().to_pandas(), facts_of("research/wage-panel").tables[0]),
    ):
        rows = content.groupby("person").size()
        assert rows.max() == table.max_rows
        assert len(content) > 2 * len(rows)
    assert len(public_data.rand_hie()) == 20_190
    assert len(public_data.wage_panel()) == 4_360


def test_folded_columns_agree_with_the_package() -> None:
    statsmodels = pytest.importorskip("statsmodels.datasets.randhie")
    packaged = statsmodels.load_pandas().data
    ours = public_data.rand_hie().to_pandas()
    for word, column in (("good", "hlthg"), ("fair", "hlthf"), ("poor", "hlthp")):
        assert ((ours["health"] == word) == (packaged[column] == 1)).all()
    assert ours["visits"].tolist() == packaged["mdvis"].tolist()


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path, sources: tuple[Source, ...]) -> None:
    again = write_city(tmp_path, size=TEST_SIZE)
    first = {(s.dataset, s.table): s.path.read_bytes() for s in sources}
    assert all(first[s.dataset, s.table] == s.path.read_bytes() for s in again)
    other = write_city(tmp_path / "other", seed=7, size=TEST_SIZE)
    assert any(first[s.dataset, s.table] != s.path.read_bytes() for s in other)


def test_contributions_are_skewed(sources: tuple[Source, ...]) -> None:
    visits = frame(next(s for s in sources if s.table == "visits"))
    per_person = visits["person_id"].value_counts().to_numpy()
    assert np.median(per_person) <= 8
    assert per_person.max() > 10 * np.median(per_person)
    assert 0 < visits["person_id"].isna().mean() < 0.002
    assert (visits["amount"] < 0).any()


def test_one_side_table_is_in_gb18030(sources: tuple[Source, ...]) -> None:
    def is_utf8(path: Path) -> bool:
        try:
            path.read_bytes().decode("utf-8")
        except UnicodeDecodeError:
            return False
        return True

    assert {is_utf8(s.path) for s in sources if s.path.suffix == ".csv"} == {True, False}


def test_word_lists_are_those_of_the_descriptions() -> None:
    visits = facts_of("health/visits").table("visits")
    assert visits is not None
    by_name = {c.name: c.domain for c in visits.columns}
    assert by_name["hospital"] == tuple(h for h, _, _ in city.HOSPITALS)
    assert by_name["city"] == tuple(c for c, _ in city.CITIES)
    assert by_name["department"] == city.DEPARTMENTS


def test_the_cast_holds_every_part_the_story_needs() -> None:
    logins = {member.login: member for member in CAST}
    assert set(STEWARDS) == set(DATASETS)
    assert set(STEWARDS.values()) <= set(logins)
    reviewers = [m for m in CAST if "reviewer" in m.roles]
    assert len({m.organisation for m in reviewers}) == len(reviewers) == 2
    assert not {m.login for m in reviewers} & set(STEWARDS.values())


def test_the_questions_fit_the_budgets() -> None:
    for dataset in DATASETS:
        budget = load_description(description(dataset), dataset).policy.budget.per_project
        spent = sum(
            price(q.epsilon, budget.delta / 2, selects_keys="diagnosis" in q.sql).rho
            for q in QUESTIONS
            if q.dataset == dataset
        )
        assert spent <= Budget(epsilon=budget.epsilon, delta=budget.delta).limit.rho

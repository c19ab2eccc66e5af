"""The catalogue: datasets, their immutable versions, and the Card built from public facts alone.

Owns what may be said about a dataset without touching it. A `Card` is made by one function from one Dataset and its
current version, field by field, so that nothing else can slip in (law 4). It reads no data and keeps no file: a version is
a digest, the bytes lie in the vault.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType

from access.policy import Grade, Method, Openness, Policy, reviewers_needed
from privacy.errors import Conflict, NotFound, Text
from privacy.facts import DatasetFacts, TableFacts
from privacy.loss import Budget


class DatasetState(StrEnum):
    """Where an entry of the catalogue stands."""

    OFFERED = "offered"
    WITHDRAWN = "withdrawn"


class DatasetOwner(StrEnum):
    """Whose move it is in a state of the catalogue."""

    STEWARD = "steward"


DATASET_MOVES = MappingProxyType(
    {
        DatasetState.OFFERED: frozenset({DatasetState.WITHDRAWN}),
        DatasetState.WITHDRAWN: frozenset({DatasetState.OFFERED}),
    }
)

DATASET_OWNERS = MappingProxyType(
    {DatasetState.OFFERED: DatasetOwner.STEWARD, DatasetState.WITHDRAWN: DatasetOwner.STEWARD}
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Provider:
    """Who provides a dataset, and where questions about it go."""

    name: Text
    contact: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Dataset:
    """A named entry. `facts` are as declared; `steward` is a principal id; `version` the digest now in use, if any.

    `title` and `summary` are two plain strings, not templates: read `.en` and `.zh`, never `say` them.
    """

    name: str
    title: Text
    summary: Text
    provider: Provider
    grade: Grade
    openness: Openness
    facts: DatasetFacts
    policy: Policy
    steward: str
    description_digest: str
    created_at: datetime
    state: DatasetState = DatasetState.OFFERED
    version: str | None = None

    @property
    def catalogued(self) -> bool:
        """True when everyone who is signed in may know of it."""
        return self.state is DatasetState.OFFERED and self.openness is not Openness.CLOSED


@dataclass(frozen=True, kw_only=True, slots=True)
class DatasetVersion:
    """An immutable version. `digest` is that of the file in the vault, `facts` are as held to the data at ingest."""

    digest: str
    dataset: str
    facts: DatasetFacts
    description_digest: str
    created_at: datetime
    created_by: str

    @property
    def facts_digest(self) -> str:
        """The digest of the facts every plan on this version names."""
        return self.facts.digest()


@dataclass(frozen=True, kw_only=True, slots=True)
class Card:
    """Everything a researcher may see of a dataset, public facts alone."""

    name: str
    title: Text
    summary: Text
    provider: Provider
    grade: Grade
    openness: Openness
    state: DatasetState
    tables: tuple[TableFacts, ...]
    methods: tuple[Method, ...]
    purposes: tuple[str, ...]
    min_units: int
    reviewers: int
    per_project: Budget
    total: Budget
    expires_at: datetime | None
    version: str | None
    facts_digest: str
    published_at: datetime | None


class DatasetNotFound(NotFound):
    """No such dataset, or it is hidden."""

    code = "dataset.not_found"
    sentence = Text("There is no dataset “{dataset}”.", "没有数据集“{dataset}”。")
    hint = Text("List the datasets to see what is offered.", "请列出数据集以查看可用内容。")


class DatasetExists(Conflict):
    """The name is taken."""

    code = "dataset.exists"
    sentence = Text("The dataset “{dataset}” exists already.", "数据集“{dataset}”已存在。")
    hint = Text("Choose another name.", "请换一个名称。")


class ReportNotFound(NotFound):
    """Nothing was ingested yet."""

    code = "dataset.no_report"
    sentence = Text("There is no ingest report for “{dataset}” yet.", "“{dataset}”尚无入库报告。")
    hint = Text("Upload every table, then start the ingest.", "请先上传所有数据表，再启动入库。")


def card(dataset: Dataset, version: DatasetVersion | None) -> Card:
    """The card of a dataset; `version` is its current one, or None while there is none."""
    facts = version.facts if version is not None else dataset.facts
    policy = dataset.policy
    return Card(
        name=dataset.name,
        title=dataset.title,
        summary=dataset.summary,
        provider=dataset.provider,
        grade=dataset.grade,
        openness=dataset.openness,
        state=dataset.state,
        tables=facts.tables,
        methods=policy.methods,
        purposes=policy.purposes,
        min_units=policy.min_units,
        reviewers=reviewers_needed(dataset.grade, policy),
        per_project=policy.per_project,
        total=policy.total,
        expires_at=policy.expires_at,
        version=version.digest if version is not None else None,
        facts_digest=facts.digest(),
        published_at=version.created_at if version is not None else None,
    )

"""Nouns for tests: the same few people, a project, a dataset, and what they promise each other."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from access.audit import Ed25519Signer, Entry
from access.catalogue import Dataset, DatasetVersion, Provider
from access.grants import AccessRequest, Grant, Review, Terms, Vote
from access.ledger import Account, Reservation, opened
from access.people import Organisation, Principal, Project, Role
from access.policy import Grade, Method, Openness, Policy
from access.ports import StoredAnswer, StoredReceipt
from compute.jobs import Job, Kind, queued
from privacy.errors import Text
from privacy.facts import ColumnFacts, DatasetFacts, Keys, PrivacyUnit, TableFacts
from privacy.facts import Kind as Column
from privacy.loss import Budget, Loss

NOW = datetime(2026, 3, 1, 9, 30, 0, 123456, tzinfo=UTC)
LATER = NOW + timedelta(days=30)
SIGNER = Ed25519Signer.from_seed(b"t" * 32)

UNIVERSITY = Organisation(id="org-university", name="云海大学")
HEALTH = Organisation(id="org-health", name="Health Commission")
OFFICE = Organisation(id="org-office", name="Data Office")
BUREAU = Organisation(id="org-bureau", name="Data Bureau")


def person(login: str, organisation: Organisation, *roles: Role) -> Principal:
    return Principal(
        id=f"id-{login}", login=login, name=login.title(), organisation=organisation.id, roles=frozenset(roles)
    )


LI = person("li", UNIVERSITY, Role.RESEARCHER)
WANG = person("wang", UNIVERSITY, Role.RESEARCHER)
ZHAO = person("zhao", BUREAU, Role.RESEARCHER)
SHEN = person("shen", HEALTH, Role.STEWARD)
RUI = person("rui", OFFICE, Role.REVIEWER)
REN = person("ren", OFFICE, Role.REVIEWER)
RONG = person("rong", BUREAU, Role.REVIEWER)
OLGA = person("olga", OFFICE, Role.OPERATOR)
AN = person("an", BUREAU, Role.AUDITOR)
EVERYBODY = (LI, WANG, ZHAO, SHEN, RUI, REN, RONG, OLGA, AN)

PROJECT = Project(
    id="prj-flow",
    name="flow",
    title="Patient flow",
    purpose="Plan hospital capacity",
    organisation=UNIVERSITY.id,
    created_by=LI.id,
    created_at=NOW,
    members=frozenset({LI.id}),
)

VISITS = TableFacts(
    name="就诊",
    columns=(
        ColumnFacts(name="person_id", kind=Column.TEXT),
        ColumnFacts(name="城市", kind=Column.TEXT, keys=Keys.PUBLIC, domain=("云海", "青州")),
        ColumnFacts(
            name="amount",
            kind=Column.NUMBER,
            lower=Decimal("-1.50"),
            upper=Decimal("5000.00"),
            step=Decimal("0.01"),
            nullable=True,
        ),
        ColumnFacts(
            name="visited_on",
            kind=Column.DATE,
            lower=NOW.date(),
            upper=LATER.date(),
            keys=Keys.PUBLIC,
            domain=(NOW.date(), LATER.date()),
        ),
        ColumnFacts(name="at", kind=Column.TIMESTAMP, lower=NOW.replace(tzinfo=None), upper=LATER.replace(tzinfo=None)),
        ColumnFacts(name="urgent", kind=Column.BOOLEAN, keys=Keys.PUBLIC, domain=(False, True)),
    ),
    unit=PrivacyUnit(column="person_id", stands_for="person", space="resident-id"),
    max_rows=40,
)
DISTRICTS = TableFacts(
    name="districts",
    columns=(ColumnFacts(name="district", kind=Column.TEXT, max_repeats=1),),
    rows=12,
)
FACTS = DatasetFacts(tables=(VISITS, DISTRICTS), min_units=5, name="health/visits")

POLICY = Policy(
    methods=(Method.ASK,),
    min_units=5,
    per_project=Budget(4.0, 1e-6),
    total=Budget(12.0, 1e-6),
    reviewers=1,
    expires_at=LATER,
)


def dataset(
    name: str = "health/visits",
    *,
    grade: Grade = Grade.L2,
    openness: Openness = Openness.CONDITIONAL,
    policy: Policy = POLICY,
    version: str | None = None,
) -> Dataset:
    return Dataset(
        name=name,
        title=Text("Hospital visits {raw}", "就诊记录"),
        summary=Text("Test data", "测试数据"),
        provider=Provider(name=Text("Health Commission", "卫生健康委员会"), contact="data@health.example"),
        grade=grade,
        openness=openness,
        facts=FACTS,
        policy=policy,
        steward=SHEN.id,
        description_digest="d" * 64,
        created_at=NOW,
        version=version,
    )


DATASET = dataset()
VERSION = DatasetVersion(
    digest="a" * 64,
    dataset=DATASET.name,
    facts=FACTS,
    description_digest="d" * 64,
    created_at=NOW,
    created_by=SHEN.id,
)

TERMS = Terms(purpose="Plan hospital capacity", methods=(Method.ASK,), budget=Budget(2.0, 1e-6), expires_at=LATER)
REQUEST = AccessRequest(
    id="req-1",
    project=PROJECT.id,
    dataset=DATASET.name,
    author=LI.id,
    terms=TERMS,
    created_at=NOW,
    changed_at=NOW,
)
GRANT = Grant(
    id="grant-1",
    request=REQUEST.id,
    project=PROJECT.id,
    dataset=DATASET.name,
    terms=TERMS,
    reviewers=(RUI.id,),
    granted_at=NOW,
    changed_at=NOW,
)


def ballot(who: Principal, vote: Vote = Vote.GRANT, number: int = 1, request: str = REQUEST.id) -> Review:
    return Review(
        request=request,
        round=number,
        reviewer=who.id,
        organisation=who.organisation,
        vote=vote,
        comment="",
        at=NOW,
    )


def account(project: str | None = PROJECT.id, budget: Budget = TERMS.budget) -> Account:
    return opened(account=f"acc-{project or 'total'}", dataset=DATASET.name, project=project, budget=budget)


def job(key: str = "job-1", kind: Kind = Kind.ASK, project: str | None = PROJECT.id, at: datetime = NOW) -> Job:
    made = Job(
        id=key,
        kind=kind,
        dataset=DATASET.name,
        project=project,
        asked_by=LI.id,
        payload="{}",
        created_at=at,
        changed_at=at,
    )
    return queued(made, at)


def reservation(key: str = "res-1", rho: int = 1000, delta: int = 0, job_id: str = "job-1") -> Reservation:
    return Reservation(
        id=key, job=job_id, dataset=DATASET.name, project=PROJECT.id, loss=Loss(rho, delta), created_at=NOW
    )


def receipt(key: str = "rec-1", job_id: str = "job-1") -> StoredReceipt:
    return StoredReceipt(
        id=key, job=job_id, project=PROJECT.id, dataset=DATASET.name, envelope=b'{"sealed":"\xe4"}', created_at=NOW
    )


def answer(key: str = "ans-1", job_id: str = "job-1", rho: int = 1000, delta: int = 0) -> StoredAnswer:
    return StoredAnswer(
        id=key,
        job=job_id,
        project=PROJECT.id,
        dataset=DATASET.name,
        plan="b" * 64,
        version=VERSION.digest,
        price=Loss(rho, delta),
        body='{"值":1}'.encode(),
        receipt="rec-1",
        created_at=NOW,
    )


@dataclass
class Events:
    """Audit entries, each with its own subject so that no two are equal."""

    count: int = 0

    def __call__(self, kind: str = "test.event") -> Entry:
        self.count += 1
        return Entry(kind=kind, actor="test", subject=str(self.count), at=NOW)


@dataclass
class Still:
    """A clock that stands until it is moved."""

    now: datetime = field(default=NOW)

    def __call__(self) -> datetime:
        return self.now

    def forward(self, by: timedelta) -> None:
        self.now += by


def logins(found: Iterable[Principal]) -> list[str]:
    return [p.login for p in found]


def replace_policy(**change: object) -> Policy:
    return replace(POLICY, **change)  # type: ignore[arg-type]

"""A house with real adapters in one folder, a small dataset in its vault, a project with a grant, and a hand for time.

Only the queue is a list and the clock can be put forward. The dataset, the grant and the two accounts are written by the
registry's own repositories, and the version file by the real ingest. `reopen` gives another process the same house.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

from access.audit import Ed25519Signer
from access.catalogue import Dataset, DatasetVersion, Provider
from access.grants import AccessRequest, Grant, GrantState, Terms, changed
from access.ledger import Account, opened
from access.people import Principal, Project, Role
from access.policy import Grade, Method, Openness, Policy
from compute.engines.duckdb import DuckEngine
from compute.engines.ingest import DuckIngest
from compute.ports import Limits
from compute.storage import LocalVault
from privacy.errors import Text
from privacy.facts import ColumnFacts, DatasetFacts, Keys, Kind, PrivacyUnit, TableFacts
from privacy.loss import Budget
from sandbox.journeys import people
from sandbox.journeys.ask import answer_job, ask, ask_together, read_question
from sandbox.journeys.booking import Asked
from sandbox.journeys.house import House
from sandbox.journeys.jobs import attempt
from sandbox.store import Argon2Passwords, SqlRegistry, migrate
from tests.fakes.houses import AT_ONCE

DATASET = "health/visits"
COUNT = "SELECT city, COUNT(*) AS n FROM visits GROUP BY city"
TOTAL = "SELECT COUNT(*) AS n FROM visits"
BY_CODE = "SELECT code, COUNT(*) AS n FROM visits GROUP BY code"
PERSONS = 300
PROJECT_BUDGET, TOTAL_BUDGET = Budget(4.0, 1e-6), Budget(12.0, 1e-6)
LIMITS = Limits(seconds=20, memory=512 * 2**20, threads=1)
FACTS = DatasetFacts(
    name=DATASET,
    tables=(
        TableFacts(
            name="visits",
            unit=PrivacyUnit(column="person", stands_for="person", space="resident-id"),
            max_rows=3,
            columns=(
                ColumnFacts(name="person", kind=Kind.TEXT),
                ColumnFacts(name="city", kind=Kind.TEXT, keys=Keys.PUBLIC, domain=("云海", "青州")),
                ColumnFacts(name="code", kind=Kind.TEXT),
                ColumnFacts(name="amount", kind=Kind.NUMBER, lower=Decimal(0), upper=Decimal(100), step=Decimal("0.5")),
            ),
        ),
    ),
)


@dataclass(frozen=True)
class Holding:
    """What a dataset holds: its facts, and a file for each table."""

    facts: DatasetFacts
    sources: Mapping[str, Path]


@dataclass
class Hand:
    """A clock that can be put forward."""

    ahead: timedelta = timedelta()

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.ahead


@dataclass
class Line:
    """A queue that remembers."""

    ids: list[str] = field(default_factory=list)

    def send(self, job_id: str) -> None:
        self.ids.append(job_id)


@dataclass(kw_only=True)
class Scene:
    """The house and who is in it."""

    house: House
    clock: Hand
    line: Line
    folder: Path
    olga: Principal
    shen: Principal
    li: Principal
    wang: Principal
    project: Project
    grant: Grant
    dataset: Dataset

    def ask(self, sql: str = COUNT, key: str | None = None, who: Principal | None = None, **price: float) -> Asked:
        return ask(
            self.house,
            who or self.li,
            project=self.project.name,
            dataset=DATASET,
            sql=sql,
            idempotency_key=key or secrets.token_hex(8),
            **price,
        )

    def ask_together(self, *questions: str, key: str | None = None, **price: float) -> tuple[Asked, ...]:
        return ask_together(
            self.house,
            self.li,
            project=self.project.name,
            dataset=DATASET,
            questions=questions,
            idempotency_key=key or secrets.token_hex(8),
            **price,
        )

    def work(self, job_id: str | None = None) -> list[str]:
        """Do what a worker does with one job, or with everything announced; returns the ids of what was done."""
        waiting = [job_id] if job_id else [*dict.fromkeys(self.line.ids)]
        if not job_id:
            self.line.ids.clear()
        done = []
        for waits in waiting:
            with attempt(self.house, waits) as job:
                if job is not None:
                    answer_job(self.house, job)
                    done.append(job.id)
        return done

    def read(self, asked: Asked) -> Asked:
        return read_question(self.house, self.li, asked.job.id)

    def accounts(self) -> tuple[Account, Account]:
        return accounts(self.house, self.project.id)

    def revoke(self) -> None:
        with self.house.registry.begin() as unit:
            found = unit.grants.newest(self.project.id, DATASET)
            assert found is not None
            after = changed(found, GrantState.REVOKED, self.clock())
            unit.grants.change(found, after, entry=self.house.event("grant.revoked", self.olga, found.id))


def accounts(house: House, project: str) -> tuple[Account, Account]:
    """The project's account and the dataset's total."""
    with house.registry.read() as unit:
        mine, total = unit.ledger.find(DATASET, project), unit.ledger.find(DATASET, None)
    assert mine is not None
    assert total is not None
    return mine, total


def reopen(folder: Path, clock: Hand | None = None, line: Line | None = None) -> House:
    """The house of a folder."""
    clock, line = clock or Hand(), line or Line()
    signer = Ed25519Signer.from_seed(b"s" * 32)
    staging = folder / "staging"
    staging.mkdir(exist_ok=True)
    return House(
        registry=SqlRegistry(f"sqlite:///{folder / 'registry.sqlite3'}", signer=signer, clock=clock),
        vault=LocalVault(folder / "vault"),
        engine=DuckEngine(),
        ingest=DuckIngest(entropy=secrets.token_bytes),
        queue=line,
        signer=signer,
        passwords=Argon2Passwords(),
        clock=clock,
        entropy=secrets.token_bytes,
        staging=staging,
        limits=LIMITS,
        pace=AT_ONCE,
    )


def open_scene(
    folder: Path,
    *,
    project: Budget = PROJECT_BUDGET,
    total: Budget = TOTAL_BUDGET,
    min_units: int = 0,
    holding: Holding | None = None,
) -> Scene:
    """A fresh house in the folder, with the usual dataset or another."""
    migrate(f"sqlite:///{folder / 'registry.sqlite3'}")
    clock, line = Hand(), Line()
    house = reopen(folder, clock, line)
    return furnish(house, clock, line, folder, project=project, total=total, min_units=min_units, holding=holding)


def furnish(
    house: House,
    clock: Hand,
    line: Line,
    folder: Path,
    *,
    project: Budget = PROJECT_BUDGET,
    total: Budget = TOTAL_BUDGET,
    min_units: int = 0,
    holding: Holding | None = None,
) -> Scene:
    """People, a dataset, a project with a grant, and its accounts, in a house whose tables are there."""
    olga = people.bootstrap(house, organisation="Office", login="olga", name="Olga", password="correct horse battery")
    made = people.create_organisation(house, olga, name="University")

    def person(login: str, *roles: Role) -> Principal:
        return people.create_principal(
            house, olga, login=login, name=login, organisation=made.id, roles=frozenset(roles), password=None
        )

    shen, li, wang = person("shen", Role.STEWARD), person("li", Role.RESEARCHER), person("wang", Role.RESEARCHER)
    opened_project = people.create_project(house, li, name="flow", title="Flow", purpose="To know more")
    dataset = _publish(house, shen, folder, holding or Holding(FACTS, {"visits": write_visits(folder / "visits.csv")}), Policy(
        methods=(Method.ASK,), min_units=min_units, per_project=project, total=total, reviewers=0
    ))  # fmt: skip
    grant = _grant(house, li, opened_project, project, total)
    return Scene(
        house=house, clock=clock, line=line, folder=folder, olga=olga, shen=shen, li=li, wang=wang,
        project=opened_project, grant=grant, dataset=dataset,
    )  # fmt: skip


def write_visits(path: Path, persons: int = PERSONS) -> Path:
    rows = ["person,city,code,amount"]
    for i in range(persons):
        for k in range(1 + i % 3):
            rows.append(f"p{i},{'云海' if (i + k) % 3 else '青州'},c{i % 4},{(i * 7 + k) % 100}")
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path


def _publish(house: House, steward: Principal, folder: Path, holding: Holding, policy: Policy) -> Dataset:
    version = folder / "version.duckdb"
    report = house.ingest(
        holding.facts, holding.sources, version, limits=LIMITS, progress=lambda _stage, _done, _total: None
    )
    assert report.tables[0].rows_kept > 0
    digest = house.vault.put(version)
    now = house.clock()
    dataset = Dataset(
        name=DATASET,
        title=Text("Visits", "就诊"),
        summary=Text("Test data", "测试数据"),
        provider=Provider(name=Text("Health Commission", "卫健委"), contact="data@health.example"),
        grade=Grade.L2,
        openness=Openness.CONDITIONAL,
        facts=holding.facts,
        policy=policy,
        steward=steward.id,
        description_digest="d" * 64,
        created_at=now,
    )
    made = DatasetVersion(
        digest=digest,
        dataset=DATASET,
        facts=report.facts,
        description_digest="d" * 64,
        created_at=now,
        created_by=steward.id,
    )
    with house.registry.begin() as unit:
        unit.catalogue.add(dataset, description="", entry=house.event("dataset.registered", steward, DATASET))
        unit.catalogue.add_version(made, entry=house.event("dataset.version-added", steward, DATASET))
    return replace(dataset, version=digest)


def _grant(house: House, li: Principal, project: Project, budget: Budget, total: Budget) -> Grant:
    now = house.clock()
    terms = Terms(purpose="To know", methods=(Method.ASK,), budget=budget, expires_at=now + timedelta(days=30))
    request = AccessRequest(
        id=house.new_id(),
        project=project.id,
        dataset=DATASET,
        author=li.id,
        terms=terms,
        created_at=now,
        changed_at=now,
    )
    grant = Grant(
        id=house.new_id(),
        request=request.id,
        project=project.id,
        dataset=DATASET,
        terms=terms,
        reviewers=("rui",),
        granted_at=now,
        changed_at=now,
    )
    with house.registry.begin() as unit:
        entry = house.event("grant.made", None, grant.id)
        unit.requests.add(request, entry=entry)
        unit.grants.add(grant, entry=entry)
        mine = opened(account=house.new_id(), dataset=DATASET, project=project.id, budget=budget)
        unit.ledger.open(mine, entry=entry)
        unit.ledger.open(opened(account=house.new_id(), dataset=DATASET, project=None, budget=total), entry=entry)
    return grant

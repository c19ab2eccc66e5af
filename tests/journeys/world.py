"""A house with real adapters on a temporary folder, people in it, and clients over ASGI (no socket).

Only the queue is replaced: it remembers the ids, and `World.work` does what a worker does with them.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx

from access.audit import Ed25519Signer
from access.people import Principal, Role
from compute.engines.duckdb import DuckEngine
from compute.engines.ingest import DuckIngest
from compute.storage import LocalVault
from sandbox.api.app import create_app
from sandbox.api.guards import ApiSettings
from sandbox.journeys import people
from sandbox.journeys.house import House
from sandbox.store import Argon2Passwords, SqlRegistry
from sandbox.store.migrate import migrate
from sandbox.worker import perform
from tests.fakes.asgi import AsgiTransport
from tests.fakes.houses import AT_ONCE

PASSWORD = "correct horse battery"


@dataclass
class Shift:
    """A clock that tests may put forward."""

    ahead: timedelta = timedelta()

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.ahead


@dataclass
class Waiting:
    """The queue: ids in the order they were announced."""

    ids: list[str] = field(default_factory=list)

    def send(self, job_id: str) -> None:
        self.ids.append(job_id)


@dataclass(kw_only=True)
class World:
    """The house, its application, and a client for every login."""

    house: House
    app: object
    clock: Shift
    queue: Waiting
    who: dict[str, Principal]

    def client(self, login: str | None = None, **headers: str) -> httpx.Client:
        """A client that sends the login's token, or none."""
        sent = dict(headers)
        if login is not None:
            issued = people.issue_token(self.house, self.who[login], label="test", lifetime=timedelta(days=1))
            sent["Authorization"] = f"Bearer {issued.secret}"
        return httpx.Client(transport=AsgiTransport(self.app), base_url="http://sandbox.test", headers=sent)

    @contextmanager
    def at_once(self) -> Iterator[World]:
        """While this lasts, every job is done the moment it is announced."""
        self.queue.__dict__["send"] = lambda job_id: perform(self.house, job_id)
        yield self
        del self.queue.__dict__["send"]


CAST = {
    "olga": ("Ops", {Role.OPERATOR}),
    "shen": ("Health", {Role.STEWARD}),
    "li": ("University", {Role.RESEARCHER}),
    "wang": ("University", {Role.RESEARCHER}),
    "zhao": ("Company", {Role.RESEARCHER}),
    "rui": ("Office", {Role.REVIEWER}),
    "rong": ("Bureau", {Role.REVIEWER}),
    "an": ("Audit", {Role.AUDITOR}),
}


def open_world(folder: Path, settings: ApiSettings | None = None) -> World:
    """Found a house in the folder and put the cast in it."""
    clock, queue = Shift(), Waiting()
    signer = Ed25519Signer.from_seed(bytes(32))
    url = f"sqlite:///{folder / 'registry.db'}"
    migrate(url)
    staging = folder / "staging"
    staging.mkdir()
    house = House(
        registry=SqlRegistry(url, signer=signer, clock=clock),
        vault=LocalVault(folder / "vault"),
        engine=DuckEngine(),
        ingest=DuckIngest(entropy=secrets.token_bytes),
        queue=queue,
        signer=signer,
        passwords=Argon2Passwords(),
        clock=clock,
        entropy=secrets.token_bytes,
        staging=staging,
        pace=AT_ONCE,
    )
    who = {"olga": people.bootstrap(house, organisation="Ops", login="olga", name="Olga", password=PASSWORD)}
    organisations: dict[str, str] = {}
    for login, (organisation, roles) in list(CAST.items())[1:]:
        if organisation not in organisations:
            made = people.create_organisation(house, who["olga"], name=organisation)
            organisations[organisation] = made.id
        who[login] = people.create_principal(
            house,
            who["olga"],
            login=login,
            name=login.capitalize(),
            organisation=organisations[organisation],
            roles=roles,
            password=PASSWORD if login == "li" else None,
        )
    app = create_app(house, settings or ApiSettings(look_every=0.01))
    return World(house=house, app=app, clock=clock, queue=queue, who=who)


def work(world: World) -> list[str]:
    """Do what a worker does with everything announced; returns the ids."""
    done = []
    while world.queue.ids:
        job_id = world.queue.ids.pop(0)
        perform(world.house, job_id)
        done.append(job_id)
    return done


DESCRIPTION = """
dataset: health/visits
title: {zh: 就诊记录, en: Hospital visits}
summary: {zh: 测试数据, en: Test data}
provider: {zh: 卫生健康委员会, en: Health Commission, contact: data@health.example}
grade: L2
openness: conditional
tables:
  visits:
    unit: {column: person, stands_for: person, space: resident-id}
    max_rows: 4
    columns:
      person: {type: text}
      city: {type: text, keys: public, domain: [云海, 青州]}
      code: {type: text}
      amount: {type: number, lower: 0, upper: 100, step: 0.5}
policy:
  methods: [ask]
  min_units: 0
  budget: {per_project: {epsilon: 4, delta: 1.0e-6}, total: {epsilon: 12, delta: 1.0e-6}}
  reviewers: 1
  expires: 2099-12-31
"""
QUESTION = "SELECT city, COUNT(*) AS n, AVG(amount) AS mean FROM visits GROUP BY city"


def visits(persons: int = 400) -> bytes:
    """A CSV file of that many persons with up to three rows each."""
    lines = ["person,city,code,amount"]
    for i in range(persons):
        for k in range(1 + i % 3):
            lines.append(f"p{i},{'云海' if (i + k) % 3 else '青州'},c{i % 5},{(i * 7 + k) % 100}.5")
    return ("\n".join(lines) + "\n").encode()


def publish(world: World, description: str = DESCRIPTION, file: bytes | None = None) -> str:
    """Over HTTP, as its steward: register, upload, ingest. Returns the dataset's name."""
    steward = world.client("shen", **{"Content-Type": "application/yaml"})
    registered = steward.post("/v1/datasets", content=description.encode())
    assert registered.status_code == 201, registered.text
    name = str(registered.json()["name"])
    sent = steward.put(f"/v1/datasets/{name}/tables/visits", content=file or visits())
    assert sent.status_code == 200, sent.text
    started = steward.post(f"/v1/datasets/{name}/versions")
    assert started.status_code == 202, started.text
    work(world)
    job = steward.get(f"/v1/jobs/{started.json()['id']}").json()
    assert job["state"] == "succeeded", job
    return name


def grant(world: World, dataset: str, project: str = "flu") -> str:
    """Over HTTP: li opens a project and asks, rui grants. Returns the grant's id."""
    researcher, reviewer = world.client("li"), world.client("rui")
    made = researcher.post("/v1/projects", json={"name": project, "title": "Flu", "purpose": "To know more."})
    assert made.status_code == 201, made.text
    body = {"project": project, "dataset": dataset, "purpose": "Research"}
    asked = researcher.post("/v1/access-requests", json=body)
    assert asked.status_code == 201, asked.text
    granted = reviewer.post(f"/v1/access-requests/{asked.json()['id']}:grant", json={"comment": "fine"})
    assert granted.status_code == 200, granted.text
    return str(granted.json()["grant"])

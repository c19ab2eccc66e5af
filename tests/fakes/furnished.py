"""A registry with people, a project, a dataset with a version, a request and both accounts in it."""

from __future__ import annotations

from access.ports import Registry
from sandbox.journeys.house import Work
from tests.fakes import cast
from tests.fakes.cast import DATASET, PROJECT, REQUEST, VERSION, Events

event = Events()


def people(work: Work) -> None:
    entry = event("test.people")
    for organisation in (cast.UNIVERSITY, cast.HEALTH, cast.OFFICE, cast.BUREAU):
        work.people.add_organisation(organisation, entry=entry)
    for who in cast.EVERYBODY:
        work.people.add_principal(who, password_hash=f"hash-{who.login}", entry=entry)
    work.people.add_project(PROJECT, entry=entry)


def furnish(registry: Registry[Work]) -> None:
    """People, a project, a dataset with a version, and both accounts."""
    with registry.begin() as work:
        people(work)
        work.catalogue.add(DATASET, description="dataset: health/visits\n", entry=event())
        work.catalogue.add_version(VERSION, entry=event())
        work.requests.add(REQUEST, entry=event())
        work.ledger.open(cast.account(), entry=event())
        work.ledger.open(cast.account(None, DATASET.policy.total), entry=event())

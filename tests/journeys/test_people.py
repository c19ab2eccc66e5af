"""Becoming somebody: founding, signing in, tokens, organisations, projects; on the fake and on SQLite."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import pytest

from access.people import (
    AlreadyFounded,
    BadName,
    BadText,
    ForeignMember,
    LifetimeRefused,
    NameTaken,
    NotSignedIn,
    OrganisationNotFound,
    PasswordTooWeak,
    Principal,
    PrincipalNotFound,
    ProjectNotFound,
    Role,
    TokenNotFound,
    WrongPassword,
)
from access.policy import NotAllowed
from access.ports import Cursor
from sandbox.journeys import people
from sandbox.journeys.house import SYSTEM, House
from tests.fakes.cast import Still
from tests.fakes.houses import open_house

PASSWORD = "correct horse battery"


@dataclass(frozen=True, kw_only=True)
class Town:
    """A founded house, its operator, a university with two researchers, and a reviewer elsewhere."""

    house: House
    clock: Still
    olga: Principal
    li: Principal
    wang: Principal
    rui: Principal


@pytest.fixture(params=["fake", "sqlite"])
def town(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Town]:
    with open_house(request.param, tmp_path) as (house, clock):
        olga = people.bootstrap(house, organisation="Ops", login="olga", name="Olga", password=PASSWORD)
        university = people.create_organisation(house, olga, name="云海大学")
        office = people.create_organisation(house, olga, name="Data Office")

        def add(login: str, organisation: str, role: Role) -> Principal:
            return people.create_principal(
                house, olga, login=login, name=login, organisation=organisation, roles={role}, password=PASSWORD
            )

        yield Town(
            house=house,
            clock=clock,
            olga=olga,
            li=add("li", university.id, Role.RESEARCHER),
            wang=add("wang", university.id, Role.RESEARCHER),
            rui=add("rui", office.id, Role.REVIEWER),
        )


def log_kinds(house: House) -> list[str]:
    with house.registry.read() as unit:
        return [entry.kind for _, entry in unit.log.entries(Cursor(limit=500)).items]


def test_a_house_is_founded_once(town: Town) -> None:
    assert town.olga.roles == {Role.OPERATOR}
    with pytest.raises(AlreadyFounded):
        people.bootstrap(town.house, organisation="X", login="x", name="X", password=PASSWORD)
    with town.house.registry.read() as unit:
        first = unit.log.entry(0)
    assert first is not None
    assert (first.kind, first.actor, first.subject) == ("house.founded", SYSTEM, town.olga.id)


def test_a_weak_beginning_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with open_house("fake", tmp_path) as (house, _):
        for wrong, problem in (
            ({"password": "short"}, PasswordTooWeak),
            ({"login": "Olga!"}, BadName),
            ({"name": " "}, BadText),
            ({"organisation": ""}, BadText),
        ):
            right = {"organisation": "Ops", "login": "olga", "name": "Olga", "password": PASSWORD}
            with pytest.raises(problem):
                people.bootstrap(house, **right | wrong)
        assert log_kinds(house) == []


def test_signing_in_gives_a_token_that_stands_for_its_owner(town: Town) -> None:
    issued = people.sign_in(town.house, "li", PASSWORD)
    assert people.authenticate(town.house, issued.secret) == town.li
    assert issued.token.expires_at == town.clock.now + timedelta(hours=12)
    assert log_kinds(town.house)[-1] == "session.opened"


def test_wrong_passwords_and_unknown_logins_are_one_answer(town: Town) -> None:
    problems = []
    for login, password in (("li", "wrong horse battery"), ("nobody", PASSWORD), ("", ""), ("li", "")):
        with pytest.raises(WrongPassword) as refused:
            people.sign_in(town.house, login, password)
        problems.append((refused.value.code, refused.value.say("en"), refused.value.params))
    assert len({str(p) for p in problems}) == 1
    kinds = log_kinds(town.house)
    assert kinds.count("session.refused") == 2, "only logins that exist are written down"


def test_no_secret_and_no_password_is_ever_in_the_log(town: Town) -> None:
    issued = people.sign_in(town.house, "li", PASSWORD)
    people.set_password(town.house, town.li, login="li", password="another horse battery")
    with pytest.raises(WrongPassword):
        people.sign_in(town.house, "li", PASSWORD)
    with town.house.registry.read() as unit:
        leaves = b"".join(row.leaf for row in unit.log.stream())
    for secret in (PASSWORD, "another horse battery", issued.secret, issued.token.hash):
        assert secret.encode() not in leaves


def test_forged_expired_and_revoked_tokens_are_one_answer(town: Town) -> None:
    house = town.house
    good = people.issue_token(house, town.li, label="laptop", lifetime=timedelta(hours=2))
    revoked = people.issue_token(house, town.li, label="lost", lifetime=timedelta(hours=2))
    people.revoke_token(house, town.li, revoked.token.id)
    for secret in (
        "",
        "dos_forged",
        good.secret[:-1],
        good.secret + "x",
        good.secret.upper(),
        revoked.secret,
        "\ud800",
    ):
        with pytest.raises(NotSignedIn):
            people.authenticate(house, secret)
    town.clock.forward(timedelta(hours=2))
    with pytest.raises(NotSignedIn):
        people.authenticate(house, good.secret)


def test_a_disabled_person_is_out_at_once(town: Town) -> None:
    issued = people.sign_in(town.house, "li", PASSWORD)
    people.disable(town.house, town.olga, login="li")
    with pytest.raises(NotSignedIn):
        people.authenticate(town.house, issued.secret)
    with pytest.raises(WrongPassword):
        people.sign_in(town.house, "li", PASSWORD)
    with pytest.raises(PrincipalNotFound):
        people.disable(town.house, town.olga, login="nobody")


def test_tokens_belong_to_their_owner(town: Town) -> None:
    house = town.house
    mine = people.issue_token(house, town.li, label="laptop", lifetime=timedelta(days=30))
    assert [t.label for t in people.list_tokens(house, town.li, Cursor()).items] == ["laptop"]
    assert people.list_tokens(house, town.wang, Cursor()).items == ()
    with pytest.raises(TokenNotFound):
        people.revoke_token(house, town.wang, mine.token.id)
    with pytest.raises(TokenNotFound):
        people.revoke_token(house, town.li, "no-such-token")
    assert people.authenticate(house, mine.secret) == town.li
    people.revoke_token(house, town.olga, mine.token.id)
    with pytest.raises(NotSignedIn):
        people.authenticate(house, mine.secret)
    with pytest.raises(LifetimeRefused):
        people.issue_token(house, town.li, label="x", lifetime=timedelta(days=400))
    with pytest.raises(BadText):
        people.issue_token(house, town.li, label="\x00", lifetime=timedelta(days=1))


def test_only_operators_create_people(town: Town) -> None:
    house = town.house
    for who in (town.li, town.rui):
        with pytest.raises(NotAllowed):
            people.create_organisation(house, who, name="X")
        with pytest.raises(NotAllowed):
            people.create_principal(house, who, login="x", name="x", organisation="x", roles=())
        with pytest.raises(NotAllowed):
            people.set_password(house, who, login="olga", password=PASSWORD)
        with pytest.raises(NotAllowed):
            people.disable(house, who, login="olga")
        with pytest.raises(NotAllowed):
            people.list_principals(house, who, Cursor())
    assert len(people.list_principals(house, town.olga, Cursor()).items) == 4


def test_what_an_operator_may_get_wrong(town: Town) -> None:
    house, olga = town.house, town.olga
    with pytest.raises(OrganisationNotFound):
        people.create_principal(house, olga, login="x", name="x", organisation="nowhere", roles=())
    with pytest.raises(NameTaken):
        people.create_principal(house, olga, login="li", name="x", organisation=olga.organisation, roles=())
    with pytest.raises(NameTaken):
        people.create_organisation(house, olga, name="云海大学")
    with pytest.raises(PrincipalNotFound):
        people.set_password(house, olga, login="nobody", password=PASSWORD)
    people.set_password(house, olga, login="li", password="a brand new password")
    assert people.sign_in(house, "li", "a brand new password")


def test_without_a_password_only_tokens_work(town: Town) -> None:
    robot = people.create_principal(
        town.house, town.olga, login="robot", name="Robot", organisation=town.li.organisation, roles={Role.RESEARCHER}
    )
    with pytest.raises(WrongPassword):
        people.sign_in(town.house, "robot", PASSWORD)
    issued = people.issue_token(town.house, robot, label="r", lifetime=timedelta(days=1))
    assert people.authenticate(town.house, issued.secret) == robot


def test_projects(town: Town) -> None:
    house = town.house
    flow = people.create_project(house, town.li, name="flow", title="患者流动", purpose="Plan\ncapacity")
    assert (flow.organisation, flow.members) == (town.li.organisation, {town.li.id})
    assert people.read_project(house, town.li, "flow") == people.read_project(house, town.li, flow.id) == flow
    with pytest.raises(ProjectNotFound):
        people.read_project(house, town.wang, "flow")
    with pytest.raises(ProjectNotFound):
        people.read_project(house, town.wang, "no-such-project")
    assert people.read_project(house, town.rui, "flow") == flow
    joined = people.add_member(house, town.li, "flow", login="wang")
    assert joined == replace(flow, members=frozenset({town.li.id, town.wang.id}))
    assert people.list_projects(house, town.wang, Cursor()).items == (joined,)
    assert people.list_projects(house, town.olga, Cursor()).items == (joined,)
    with pytest.raises(NameTaken):
        people.create_project(house, town.li, name="flow", title="x", purpose="x")
    with pytest.raises(NotAllowed):
        people.create_project(house, town.rui, name="other", title="x", purpose="x")


def test_members_come_from_the_projects_own_organisation_and_are_brought_by_members(town: Town) -> None:
    house = town.house
    people.create_project(house, town.li, name="flow", title="t", purpose="p")
    with pytest.raises(ForeignMember):
        people.add_member(house, town.li, "flow", login="rui")
    with pytest.raises(PrincipalNotFound):
        people.add_member(house, town.li, "flow", login="nobody")
    for stranger in (town.wang, town.rui, town.olga):
        with pytest.raises(ProjectNotFound):
            people.add_member(house, stranger, "flow", login="wang")


def test_labels_are_logins_and_names(town: Town) -> None:
    flow = people.create_project(town.house, town.li, name="flow", title="t", purpose="p")
    shown = people.labels(town.house, [town.li.id, flow.id, town.li.organisation, "unknown"])
    assert shown == {town.li.id: "li", flow.id: "flow", town.li.organisation: "云海大学", "unknown": "unknown"}

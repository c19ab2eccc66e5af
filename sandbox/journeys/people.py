"""The journey of becoming somebody: sign in, hold tokens, found organisations, people and projects.

Owns the order of steps, top to bottom; every rule is `access.policy`'s and every row the registry's. It never keeps a
password or a token's secret, and never says whether a login exists: an unknown login and a wrong password take the same
time and get the same answer. Sign-in throttling is the HTTP edge's work.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta

from access.people import (
    SESSION_LIFETIME,
    AlreadyFounded,
    ForeignMember,
    IssuedToken,
    NotSignedIn,
    Organisation,
    OrganisationNotFound,
    Principal,
    PrincipalNotFound,
    Project,
    ProjectNotFound,
    Role,
    Token,
    TokenNotFound,
    WrongPassword,
    issue,
    require_name,
    require_password,
    require_text,
    token_hash,
)
from access.policy import Use
from access.ports import Cursor, Slice
from privacy.errors import Text
from sandbox.journeys.house import House, permit, situation

_LOGIN = Text("login", "登录名")
_PROJECT_NAME = Text("project name", "项目名称")
_TITLE = Text("title", "标题")
_PURPOSE = Text("purpose", "用途")
_PERSON_NAME = Text("name", "姓名")
_ORGANISATION_NAME = Text("organisation name", "机构名称")
_LABEL = Text("label", "标签")


def bootstrap(house: House, *, organisation: str, login: str, name: str, password: str) -> Principal:
    """Found the instance: its first organisation and its first operator. Works once, then `AlreadyFounded`."""
    first = Organisation(id=house.new_id(), name=require_text(organisation, _ORGANISATION_NAME))
    operator = Principal(
        id=house.new_id(),
        login=require_name(login, _LOGIN),
        name=require_text(name, _PERSON_NAME),
        organisation=first.id,
        roles=frozenset({Role.OPERATOR}),
    )
    hashed = house.passwords.hash(require_password(password))
    with house.registry.begin() as unit:
        if unit.people.founded():
            raise AlreadyFounded
        entry = house.event("house.founded", None, operator.id, organisation=first.id)
        unit.people.add_organisation(first, entry=entry)
        unit.people.add_principal(operator, password_hash=hashed, entry=entry)
    return operator


def sign_in(
    house: House, login: str, password: str, *, label: str = "session", lifetime: timedelta = SESSION_LIFETIME
) -> IssuedToken:
    """A fresh token for whoever knows the password. A wrong one for a known login is written in the log."""
    with house.registry.read() as unit:
        who = unit.people.principal_by_login(login)
        stored = unit.people.password_hash(who.id) if who is not None else None
    fits = house.passwords.verify(password, stored)
    if who is None:
        raise WrongPassword
    if not fits or who.disabled_at is not None:
        with house.registry.begin() as unit:
            unit.log.append(house.event("session.refused", who, who.id))
        raise WrongPassword
    return _issue(house, who, label=label, lifetime=lifetime, kind="session.opened")


def issue_token(house: House, who: Principal, *, label: str, lifetime: timedelta) -> IssuedToken:
    """One more token of one's own, for a script say. Its secret is shown this once."""
    return _issue(house, who, label=label, lifetime=lifetime, kind="token.issued")


def _issue(house: House, who: Principal, *, label: str, lifetime: timedelta, kind: str) -> IssuedToken:
    issued = issue(
        who,
        token_id=house.new_id(),
        label=require_text(label, _LABEL),
        now=house.clock(),
        lifetime=lifetime,
        entropy=house.entropy,
    )
    with house.registry.begin() as unit:
        unit.people.add_token(issued.token, entry=house.event(kind, who, issued.token.id))
    return issued


def authenticate(house: House, secret: str) -> Principal:
    """Whom the secret stands for now, or `NotSignedIn`. Looked up by its hash, so no comparison leaks it."""
    with house.registry.read() as unit:
        token = unit.people.token_by_hash(token_hash(secret))
        who = unit.people.principal(token.owner) if token is not None else None
    if token is None or who is None or not token.usable_at(house.clock()) or who.disabled_at is not None:
        raise NotSignedIn
    return who


def revoke_token(house: House, who: Principal, token_id: str) -> None:
    """Stop one of one's own tokens for good; an operator may stop anybody's."""
    with house.registry.begin() as unit:
        token = unit.people.token(token_id)
        if token is None or (token.owner != who.id and not who.has(Role.OPERATOR)):
            raise TokenNotFound(token=token_id)
        unit.people.revoke_token(token.id, house.clock(), entry=house.event("token.revoked", who, token.id))


def list_tokens(house: House, who: Principal, cursor: Cursor) -> Slice[Token]:
    """One's own tokens, revoked and expired ones too."""
    with house.registry.read() as unit:
        return unit.people.tokens_of(who.id, cursor)


def create_organisation(house: House, who: Principal, *, name: str) -> Organisation:
    """An operator founds an organisation."""
    organisation = Organisation(id=house.new_id(), name=require_text(name, _ORGANISATION_NAME))
    with house.registry.begin() as unit:
        permit(situation(house, unit, who, Use.CREATE_PEOPLE))
        entry = house.event("organisation.created", who, organisation.id)
        unit.people.add_organisation(organisation, entry=entry)
    return organisation


def enrol(
    house: House, operator: str, *, organisation: str, login: str, name: str, roles: Iterable[Role], password: str
) -> Principal:
    """On the house's own machine: the operator with that login adds somebody, and their organisation if it is new."""
    require_password(password)
    with house.registry.read() as unit:
        who = unit.people.principal_by_login(operator)
        if who is None:
            raise PrincipalNotFound(principal=operator)
        page = unit.people.organisations(Cursor())
        known = {o.name: o.id for o in page.items}
        while page.next is not None:
            page = unit.people.organisations(Cursor(after=page.next))
            known |= {o.name: o.id for o in page.items}
    home = known.get(organisation) or create_organisation(house, who, name=organisation).id
    return create_principal(house, who, login=login, name=name, organisation=home, roles=roles, password=password)


def create_principal(
    house: House,
    who: Principal,
    *,
    login: str,
    name: str,
    organisation: str,
    roles: Iterable[Role],
    password: str | None = None,
) -> Principal:
    """An operator adds somebody with roles; without a password only tokens work."""
    created = Principal(
        id=house.new_id(),
        login=require_name(login, _LOGIN),
        name=require_text(name, _PERSON_NAME),
        organisation=organisation,
        roles=frozenset(roles),
    )
    hashed = house.passwords.hash(require_password(password)) if password is not None else None
    with house.registry.begin() as unit:
        permit(situation(house, unit, who, Use.CREATE_PEOPLE))
        if unit.people.organisation(organisation) is None:
            raise OrganisationNotFound(organisation=organisation)
        entry = house.event("principal.created", who, created.id, roles=sorted(created.roles))
        unit.people.add_principal(created, password_hash=hashed, entry=entry)
    return created


def set_password(house: House, who: Principal, *, login: str, password: str) -> None:
    """A new password for oneself, or, as an operator, for anybody."""
    hashed = house.passwords.hash(require_password(password))
    with house.registry.begin() as unit:
        if login != who.login:
            permit(situation(house, unit, who, Use.CREATE_PEOPLE))
        target = unit.people.principal_by_login(login)
        if target is None:
            raise PrincipalNotFound(principal=login)
        unit.people.set_password(target.id, hashed, entry=house.event("principal.password-set", who, target.id))


def disable(house: House, who: Principal, *, login: str) -> None:
    """An operator shuts somebody out, at once and everywhere."""
    with house.registry.begin() as unit:
        permit(situation(house, unit, who, Use.CREATE_PEOPLE))
        target = unit.people.principal_by_login(login)
        if target is None:
            raise PrincipalNotFound(principal=login)
        unit.people.disable(target.id, house.clock(), entry=house.event("principal.disabled", who, target.id))


def create_project(house: House, who: Principal, *, name: str, title: str, purpose: str) -> Project:
    """A researcher opens a project of their own organisation and is its first member."""
    project = Project(
        id=house.new_id(),
        name=require_name(name, _PROJECT_NAME),
        title=require_text(title, _TITLE),
        purpose=require_text(purpose, _PURPOSE, 4000),
        organisation=who.organisation,
        created_by=who.id,
        created_at=house.clock(),
        members=frozenset({who.id}),
    )
    with house.registry.begin() as unit:
        permit(situation(house, unit, who, Use.CREATE_PROJECT))
        unit.people.add_project(project, entry=house.event("project.created", who, project.id))
    return project


def add_member(house: House, who: Principal, project: str, *, login: str) -> Project:
    """A member brings in somebody of the project's organisation. `project` is an id or a name."""
    with house.registry.begin() as unit:
        asked = situation(house, unit, who, Use.CHANGE_PROJECT, project=project)
        permit(asked, project=ProjectNotFound(project=project))
        assert asked.project is not None
        joining = unit.people.principal_by_login(login)
        if joining is None:
            raise PrincipalNotFound(principal=login)
        if joining.organisation != asked.project.organisation:
            raise ForeignMember(login=login)
        entry = house.event("project.member-added", who, asked.project.id, member=joining.id)
        unit.people.add_member(asked.project.id, joining.id, entry=entry)
        changed = unit.people.project(asked.project.id)
    assert changed is not None
    return changed


def read_project(house: House, who: Principal, project: str) -> Project:
    """One project, by id or name: its members, and those who decide or watch, may read it."""
    with house.registry.read() as unit:
        asked = situation(house, unit, who, Use.READ_PROJECT, project=project)
        permit(asked, project=ProjectNotFound(project=project))
    assert asked.project is not None
    return asked.project


def list_projects(house: House, who: Principal, cursor: Cursor) -> Slice[Project]:
    """One's own projects; those who decide or watch see all."""
    watching = who.roles & {Role.AUDITOR, Role.OPERATOR, Role.REVIEWER}
    with house.registry.read() as unit:
        return unit.people.projects(cursor, member=None if watching else who.id)


def list_principals(house: House, who: Principal, cursor: Cursor) -> Slice[Principal]:
    """Everybody, for an operator."""
    with house.registry.read() as unit:
        permit(situation(house, unit, who, Use.CREATE_PEOPLE))
        return unit.people.principals(cursor)


def labels(house: House, ids: Iterable[str]) -> Mapping[str, str]:
    """What to call them: logins of principals, names of projects and organisations, by id; unknown ids stay as they are.

    For showing things the asker was already allowed to read; it grants nothing by itself.
    """
    shown: dict[str, str] = {}
    with house.registry.read() as unit:
        for key in set(ids):
            who, project = unit.people.principal(key), unit.people.project(key)
            where = unit.people.organisation(key)
            shown[key] = who.login if who else project.name if project else where.name if where else key
    return shown

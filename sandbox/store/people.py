"""Organisations, principals, projects and tokens in tables: the `access.ports.People` of the store.

Owns their statements. It decides nothing and commits nothing.
"""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import IntegrityError

from access.audit import Entry
from access.people import NameTaken, Organisation, Principal, Project, Role, Token
from access.ports import Cursor, Slice
from privacy.errors import Text
from sandbox.store.session import Row, Session
from sandbox.store.tables import members, organisations, principals, projects, tokens

_LOGIN = Text("login", "登录名")
_PROJECT = Text("project name", "项目名称")
_ORGANISATION = Text("organisation name", "机构名称")


def insert_ignore(session: Session, table: sa.Table, **values: object) -> sa.sql.expression.Executable:
    """An INSERT that does nothing when the primary key is there already."""
    if session.connection.dialect.name == "postgresql":
        return postgresql.insert(table).values(**values).on_conflict_do_nothing()
    return sqlite.insert(table).values(**values).on_conflict_do_nothing()


class SqlPeople:
    """See `access.ports.People`."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def founded(self) -> bool:
        """See the port."""
        return self._session.scalar(sa.select(principals.c.seq).limit(1)) is not None

    def add_organisation(self, organisation: Organisation, *, entry: Entry) -> None:
        """See the port."""
        statement = sa.insert(organisations).values(id=organisation.id, name=organisation.name)
        self._insert(statement, entry, _ORGANISATION, organisation.name)

    def _insert(self, statement: sa.Insert, entry: Entry, field: Text, name: str) -> None:
        """Insert under a unique name; a savepoint keeps the transaction usable when the name is taken."""
        self._session.require_writable()
        try:
            with self._session.connection.begin_nested():
                self._session.connection.execute(statement)
        except IntegrityError as error:
            if "unique" not in str(error.orig).lower():
                raise
            raise NameTaken(field=field, name=name) from None
        self._session.record(entry)

    def organisation(self, key: str) -> Organisation | None:
        """See the port."""
        row = self._session.one(sa.select(organisations).where(organisations.c.id == key))
        return None if row is None else _organisation(row)

    def organisations(self, cursor: Cursor) -> Slice[Organisation]:
        """See the port."""
        return self._session.page(sa.select(organisations), organisations.c.seq, cursor, _organisation)

    def add_principal(self, principal: Principal, *, password_hash: str | None, entry: Entry) -> None:
        """See the port."""
        statement = sa.insert(principals).values(
            id=principal.id,
            login=principal.login,
            name=principal.name,
            organisation=principal.organisation,
            roles=" ".join(sorted(principal.roles)),
            password_hash=password_hash,
            disabled_at=principal.disabled_at,
        )
        self._insert(statement, entry, _LOGIN, principal.login)

    def principal(self, key: str) -> Principal | None:
        """See the port."""
        row = self._session.one(sa.select(principals).where(principals.c.id == key))
        return None if row is None else _principal(row)

    def principal_by_login(self, login: str) -> Principal | None:
        """See the port."""
        row = self._session.one(sa.select(principals).where(principals.c.login == login))
        return None if row is None else _principal(row)

    def principals(self, cursor: Cursor) -> Slice[Principal]:
        """See the port."""
        return self._session.page(sa.select(principals), principals.c.seq, cursor, _principal)

    def password_hash(self, principal: str) -> str | None:
        """See the port."""
        found = self._session.scalar(sa.select(principals.c.password_hash).where(principals.c.id == principal))
        return None if found is None else str(found)

    def set_password(self, principal: str, password_hash: str, *, entry: Entry) -> None:
        """See the port."""
        statement = sa.update(principals).where(principals.c.id == principal)
        self._session.record(entry, statement.values(password_hash=password_hash))

    def disable(self, principal: str, at: datetime, *, entry: Entry) -> None:
        """See the port."""
        statement = sa.update(principals).where(principals.c.id == principal, principals.c.disabled_at.is_(None))
        self._session.record(entry, statement.values(disabled_at=at))

    def add_token(self, token: Token, *, entry: Entry) -> None:
        """See the port."""
        statement = sa.insert(tokens).values(
            id=token.id,
            owner=token.owner,
            label=token.label,
            hash=token.hash,
            created_at=token.created_at,
            expires_at=token.expires_at,
            revoked_at=token.revoked_at,
        )
        self._session.record(entry, statement)

    def token(self, key: str) -> Token | None:
        """See the port."""
        row = self._session.one(sa.select(tokens).where(tokens.c.id == key))
        return None if row is None else _token(row)

    def token_by_hash(self, digest: str) -> Token | None:
        """See the port."""
        row = self._session.one(sa.select(tokens).where(tokens.c.hash == digest))
        return None if row is None else _token(row)

    def tokens_of(self, principal: str, cursor: Cursor) -> Slice[Token]:
        """See the port."""
        query = sa.select(tokens).where(tokens.c.owner == principal)
        return self._session.page(query, tokens.c.seq, cursor, _token)

    def revoke_token(self, key: str, at: datetime, *, entry: Entry) -> None:
        """See the port."""
        statement = sa.update(tokens).where(tokens.c.id == key, tokens.c.revoked_at.is_(None))
        self._session.record(entry, statement.values(revoked_at=at))

    def add_project(self, project: Project, *, entry: Entry) -> None:
        """See the port."""
        statement = sa.insert(projects).values(
            id=project.id,
            name=project.name,
            title=project.title,
            purpose=project.purpose,
            organisation=project.organisation,
            created_by=project.created_by,
            created_at=project.created_at,
        )
        self._insert(statement, entry, _PROJECT, project.name)
        for member in sorted(project.members):
            self.add_member(project.id, member, entry=entry)

    def project(self, id_or_name: str) -> Project | None:
        """See the port."""
        query = sa.select(projects)
        row = self._session.one(query.where(projects.c.id == id_or_name))
        row = row or self._session.one(query.where(projects.c.name == id_or_name))
        return None if row is None else self._project(row)

    def projects(self, cursor: Cursor, *, member: str | None = None) -> Slice[Project]:
        """See the port."""
        query = sa.select(projects)
        if member is not None:
            query = query.where(projects.c.id.in_(projects_of(member)))
        return self._session.page(query, projects.c.seq, cursor, self._project)

    def add_member(self, project: str, principal: str, *, entry: Entry) -> None:
        """See the port."""
        statement = insert_ignore(self._session, members, project=project, principal=principal)
        self._session.record(entry, statement)

    def _project(self, row: Row) -> Project:
        found = self._session.all(sa.select(members.c.principal).where(members.c.project == row["id"]))
        return Project(
            id=row["id"],
            name=row["name"],
            title=row["title"],
            purpose=row["purpose"],
            organisation=row["organisation"],
            created_by=row["created_by"],
            created_at=row["created_at"],
            members=frozenset(m["principal"] for m in found),
        )


def projects_of(member: str) -> sa.Select[tuple[str]]:
    """The ids of the projects with this member."""
    return sa.select(members.c.project).where(members.c.principal == member)


def _organisation(row: Row) -> Organisation:
    return Organisation(id=row["id"], name=row["name"])


def _principal(row: Row) -> Principal:
    return Principal(
        id=row["id"],
        login=row["login"],
        name=row["name"],
        organisation=row["organisation"],
        roles=frozenset(Role(r) for r in row["roles"].split()),
        disabled_at=row["disabled_at"],
    )


def _token(row: Row) -> Token:
    return Token(
        id=row["id"],
        owner=row["owner"],
        label=row["label"],
        hash=row["hash"],
        created_at=row["created_at"],
        expires_at=row["expires_at"],
        revoked_at=row["revoked_at"],
    )

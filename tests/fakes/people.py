"""People, catalogue, requests and grants in memory; see `tests.fakes.registry`."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from access.audit import Entry
from access.catalogue import Dataset, DatasetExists, DatasetVersion
from access.grants import AccessRequest, AlreadyVoted, Grant, GrantState, RequestState, Review
from access.people import NameTaken, Organisation, Principal, Project, Token
from access.ports import (
    Cursor,
    IngestRecord,
    RegistryChanged,
    Slice,
    Upload,
)
from privacy.errors import Text
from tests.fakes.tables import Part

_NAME = Text("name", "名称")


class FakePeople(Part):
    """See `access.ports.People`."""

    def founded(self) -> bool:
        return bool(self._t.principals.rows)

    def add_organisation(self, organisation: Organisation, *, entry: Entry) -> None:
        self._log.require_writable()
        if self._t.organisations.where(lambda o: o.name == organisation.name):
            raise NameTaken(field=_NAME, name=organisation.name)
        self._log.append(entry)
        self._t.organisations.put(organisation.id, organisation)

    def organisation(self, key: str) -> Organisation | None:
        return self._t.organisations.get(key)

    def organisations(self, cursor: Cursor) -> Slice[Organisation]:
        return self._t.organisations.page(cursor)

    def add_principal(self, principal: Principal, *, password_hash: str | None, entry: Entry) -> None:
        self._log.require_writable()
        if self.principal_by_login(principal.login) is not None:
            raise NameTaken(field=_NAME, name=principal.login)
        self._log.append(entry)
        self._t.principals.put(principal.id, principal)
        if password_hash is not None:
            self._t.passwords.put(principal.id, password_hash)

    def principal(self, key: str) -> Principal | None:
        return self._t.principals.get(key)

    def principal_by_login(self, login: str) -> Principal | None:
        return next(iter(self._t.principals.where(lambda p: p.login == login)), None)

    def principals(self, cursor: Cursor) -> Slice[Principal]:
        return self._t.principals.page(cursor)

    def password_hash(self, principal: str) -> str | None:
        return self._t.passwords.get(principal)

    def set_password(self, principal: str, password_hash: str, *, entry: Entry) -> None:
        self._log.append(entry)
        if self._t.principals.get(principal) is not None:
            self._t.passwords.put(principal, password_hash)

    def disable(self, principal: str, at: datetime, *, entry: Entry) -> None:
        self._log.append(entry)
        found = self._t.principals.get(principal)
        if found is not None and found.disabled_at is None:
            self._t.principals.put(principal, replace(found, disabled_at=at))

    def add_token(self, token: Token, *, entry: Entry) -> None:
        self._log.append(entry)
        self._t.tokens.put(token.id, token)

    def token(self, key: str) -> Token | None:
        return self._t.tokens.get(key)

    def token_by_hash(self, digest: str) -> Token | None:
        return next(iter(self._t.tokens.where(lambda t: t.hash == digest)), None)

    def tokens_of(self, principal: str, cursor: Cursor) -> Slice[Token]:
        return self._t.tokens.page(cursor, lambda t: t.owner == principal)

    def revoke_token(self, key: str, at: datetime, *, entry: Entry) -> None:
        self._log.append(entry)
        found = self._t.tokens.get(key)
        if found is not None and found.revoked_at is None:
            self._t.tokens.put(key, replace(found, revoked_at=at))

    def add_project(self, project: Project, *, entry: Entry) -> None:
        self._log.require_writable()
        if self._t.projects.where(lambda p: p.name == project.name):
            raise NameTaken(field=_NAME, name=project.name)
        self._log.append(entry)
        self._t.projects.put(project.id, project)

    def project(self, id_or_name: str) -> Project | None:
        named = self._t.projects.where(lambda p: p.name == id_or_name)
        return self._t.projects.get(id_or_name) or next(iter(named), None)

    def projects(self, cursor: Cursor, *, member: str | None = None) -> Slice[Project]:
        return self._t.projects.page(cursor, lambda p: member is None or member in p.members)

    def add_member(self, project: str, principal: str, *, entry: Entry) -> None:
        self._log.append(entry)
        found = self._t.projects.rows[project][1]
        self._t.projects.put(project, replace(found, members=found.members | {principal}))


class FakeCatalogue(Part):
    """See `access.ports.Catalogue`."""

    def add(self, dataset: Dataset, *, description: str, entry: Entry) -> None:
        self._log.require_writable()
        if self.get(dataset.name) is not None:
            raise DatasetExists(dataset=dataset.name)
        self._log.append(entry)
        self._t.datasets.put(dataset.name, dataset)
        self._t.descriptions.put(dataset.name, description)

    def get(self, name: str) -> Dataset | None:
        return self._t.datasets.get(name)

    def list(self, cursor: Cursor, *, visible_to: str | None = None) -> Slice[Dataset]:
        return self._t.datasets.page(cursor, lambda d: visible_to is None or d.catalogued or d.steward == visible_to)

    def replace(self, dataset: Dataset, *, description: str | None, entry: Entry) -> None:
        self._log.append(entry)
        self._t.datasets.put(dataset.name, dataset)
        if description is not None:
            self._t.descriptions.put(dataset.name, description)

    def description(self, name: str) -> str | None:
        return self._t.descriptions.get(name)

    def add_version(self, version: DatasetVersion, *, entry: Entry) -> None:
        self._log.append(entry)
        self._t.versions.put(f"{version.dataset}\n{version.digest}", version)
        self._t.datasets.put(
            version.dataset, replace(self._t.datasets.rows[version.dataset][1], version=version.digest)
        )

    def version(self, dataset: str, digest: str) -> DatasetVersion | None:
        return self._t.versions.get(f"{dataset}\n{digest}")

    def versions(self, dataset: str, cursor: Cursor) -> Slice[DatasetVersion]:
        return self._t.versions.page(cursor, lambda v: v.dataset == dataset)

    def stage(self, upload: Upload, *, entry: Entry) -> None:
        self._log.append(entry)
        kept = [u for u in self.uploads(upload.dataset) if u.table != upload.table]
        self._t.uploads.put(upload.dataset, tuple(sorted([*kept, upload], key=lambda u: u.table)))

    def uploads(self, dataset: str) -> tuple[Upload, ...]:
        return self._t.uploads.get(dataset) or ()

    def drop_uploads(self, dataset: str, *, entry: Entry) -> None:
        self._log.append(entry)
        self._t.uploads.put(dataset, ())

    def add_report(self, record: IngestRecord, *, entry: Entry) -> None:
        self._log.append(entry)
        self._t.reports.put(str(self._t.reports.count), record)

    def latest_report(self, dataset: str) -> IngestRecord | None:
        return next(reversed(self._t.reports.where(lambda r: r.dataset == dataset)), None)


class FakeRequests(Part):
    """See `access.ports.Requests`."""

    def add(self, request: AccessRequest, *, entry: Entry) -> None:
        self._log.append(entry)
        self._t.requests.put(request.id, request)

    def get(self, key: str) -> AccessRequest | None:
        return self._t.requests.get(key)

    def list(
        self, cursor: Cursor, *, visible_to: str | None = None, states: tuple[RequestState, ...] = ()
    ) -> Slice[AccessRequest]:
        return self._t.requests.page(
            cursor,
            lambda r: self._t.visible(visible_to, r.project, r.dataset) and (not states or r.state in states),
        )

    def change(self, before: AccessRequest, after: AccessRequest, *, entry: Entry) -> None:
        self._log.require_writable()
        found = self._t.requests.get(before.id)
        if found is None or (found.state, found.round) != (before.state, before.round):
            raise RegistryChanged
        self._log.append(entry)
        self._t.requests.put(after.id, after)

    def add_review(self, review: Review, *, entry: Entry) -> None:
        self._log.require_writable()
        if any((r.round, r.reviewer) == (review.round, review.reviewer) for r in self.reviews(review.request)):
            raise AlreadyVoted
        self._log.append(entry)
        self._t.reviews.put(str(self._t.reviews.count), review)

    def reviews(self, request: str) -> tuple[Review, ...]:
        return tuple(self._t.reviews.where(lambda r: r.request == request))


class FakeGrants(Part):
    """See `access.ports.Grants`."""

    def add(self, grant: Grant, *, entry: Entry) -> None:
        self._log.append(entry)
        self._t.grants.put(grant.id, grant)

    def get(self, key: str) -> Grant | None:
        return self._t.grants.get(key)

    def newest(self, project: str, dataset: str) -> Grant | None:
        return next(reversed(self._t.grants.where(lambda g: (g.project, g.dataset) == (project, dataset))), None)

    def list(self, cursor: Cursor, *, visible_to: str | None = None) -> Slice[Grant]:
        return self._t.grants.page(cursor, lambda g: self._t.visible(visible_to, g.project, g.dataset))

    def due(self, now: datetime, limit: int = 100) -> tuple[Grant, ...]:
        live = (GrantState.ACTIVE, GrantState.SUSPENDED)
        return tuple(self._t.grants.where(lambda g: g.state in live and g.over_at(now))[:limit])

    def change(self, before: Grant, after: Grant, *, entry: Entry) -> None:
        self._log.require_writable()
        found = self._t.grants.get(before.id)
        if found is None or found.state != before.state:
            raise RegistryChanged
        self._log.append(entry)
        self._t.grants.put(after.id, after)

"""Access requests, reviews and grants in tables: the `access.ports.Requests` and `Grants` of the store.

Owns their statements. A change is one conditional UPDATE on the state it started from, so of two people who decide at
once one is told that somebody was faster. It decides nothing and commits nothing.
"""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.sql.elements import ColumnElement

from access.audit import Entry
from access.grants import (
    AccessRequest,
    AlreadyVoted,
    Grant,
    GrantState,
    RequestState,
    Review,
    Terms,
    Vote,
)
from access.policy import Method
from access.ports import Cursor, RegistryChanged, Slice
from privacy.loss import Budget
from sandbox.store.people import projects_of
from sandbox.store.session import Row, Session
from sandbox.store.tables import datasets, grants, requests, reviews


def visible_rows(table: sa.Table, viewer: str) -> ColumnElement[bool]:
    """Rows of projects with this member, or of datasets of this steward."""
    own = sa.select(datasets.c.name).where(datasets.c.steward == viewer)
    return sa.or_(table.c.project.in_(projects_of(viewer)), table.c.dataset.in_(own))


def _terms(row: Row) -> Terms:
    return Terms(
        purpose=row["purpose"],
        methods=tuple(Method(m) for m in row["methods"].split()),
        budget=Budget(row["epsilon"], row["delta"]),
        expires_at=row["expires_at"],
    )


def _term_columns(terms: Terms) -> dict[str, object]:
    return {
        "purpose": terms.purpose,
        "methods": " ".join(terms.methods),
        "epsilon": terms.budget.epsilon,
        "delta": terms.budget.delta,
        "expires_at": terms.expires_at,
    }


class SqlRequests:
    """See `access.ports.Requests`."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def add(self, request: AccessRequest, *, entry: Entry) -> None:
        """See the port."""
        statement = sa.insert(requests).values(
            id=request.id,
            project=request.project,
            dataset=request.dataset,
            author=request.author,
            created_at=request.created_at,
            **_term_columns(request.terms),
            **_request_state(request),
        )
        self._session.record(entry, statement)

    def get(self, key: str) -> AccessRequest | None:
        """See the port."""
        row = self._session.one(sa.select(requests).where(requests.c.id == key))
        return None if row is None else _request(row)

    def list(
        self, cursor: Cursor, *, visible_to: str | None = None, states: tuple[RequestState, ...] = ()
    ) -> Slice[AccessRequest]:
        """See the port."""
        query = sa.select(requests)
        if visible_to is not None:
            query = query.where(visible_rows(requests, visible_to))
        if states:
            query = query.where(requests.c.state.in_([s.value for s in states]))
        return self._session.page(query, requests.c.seq, cursor, _request)

    def change(self, before: AccessRequest, after: AccessRequest, *, entry: Entry) -> None:
        """See the port."""
        same = (requests.c.id == before.id, requests.c.state == before.state.value, requests.c.round == before.round)
        if self._session.changes(sa.update(requests).where(*same).values(**_request_state(after))) != 1:
            raise RegistryChanged
        self._session.record(entry)

    def add_review(self, review: Review, *, entry: Entry) -> None:
        """See the port."""
        self._session.require_writable()
        earlier = sa.select(reviews.c.seq).where(
            reviews.c.request == review.request,
            reviews.c.round == review.round,
            reviews.c.reviewer == review.reviewer,
        )
        if self._session.scalar(earlier) is not None:
            raise AlreadyVoted
        statement = sa.insert(reviews).values(
            request=review.request,
            round=review.round,
            reviewer=review.reviewer,
            organisation=review.organisation,
            vote=review.vote.value,
            comment=review.comment,
            at=review.at,
        )
        self._session.record(entry, statement)

    def reviews(self, request: str) -> tuple[Review, ...]:
        """See the port."""
        query = sa.select(reviews).where(reviews.c.request == request).order_by(reviews.c.seq)
        return tuple(_review(row) for row in self._session.all(query))


def _request_state(request: AccessRequest) -> dict[str, object]:
    return {
        "changed_at": request.changed_at,
        "state": request.state.value,
        "round": request.round,
        "decided_at": request.decided_at,
        "grant": request.grant,
    }


def _request(row: Row) -> AccessRequest:
    return AccessRequest(
        id=row["id"],
        project=row["project"],
        dataset=row["dataset"],
        author=row["author"],
        terms=_terms(row),
        created_at=row["created_at"],
        changed_at=row["changed_at"],
        state=RequestState(row["state"]),
        round=row["round"],
        decided_at=row["decided_at"],
        grant=row["grant"],
    )


def _review(row: Row) -> Review:
    return Review(
        request=row["request"],
        round=row["round"],
        reviewer=row["reviewer"],
        organisation=row["organisation"],
        vote=Vote(row["vote"]),
        comment=row["comment"],
        at=row["at"],
    )


class SqlGrants:
    """See `access.ports.Grants`."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def add(self, grant: Grant, *, entry: Entry) -> None:
        """See the port."""
        statement = sa.insert(grants).values(
            id=grant.id,
            request=grant.request,
            project=grant.project,
            dataset=grant.dataset,
            reviewers=" ".join(grant.reviewers),
            granted_at=grant.granted_at,
            **_term_columns(grant.terms),
            **_grant_state(grant),
        )
        self._session.record(entry, statement)

    def get(self, key: str) -> Grant | None:
        """See the port."""
        row = self._session.one(sa.select(grants).where(grants.c.id == key))
        return None if row is None else _grant(row)

    def newest(self, project: str, dataset: str) -> Grant | None:
        """See the port."""
        query = sa.select(grants).where(grants.c.project == project, grants.c.dataset == dataset)
        row = self._session.one(query.order_by(grants.c.seq.desc()).limit(1))
        return None if row is None else _grant(row)

    def list(self, cursor: Cursor, *, visible_to: str | None = None) -> Slice[Grant]:
        """See the port."""
        query = sa.select(grants)
        if visible_to is not None:
            query = query.where(visible_rows(grants, visible_to))
        return self._session.page(query, grants.c.seq, cursor, _grant)

    def due(self, now: datetime, limit: int = 100) -> tuple[Grant, ...]:
        """See the port."""
        live = grants.c.state.in_([GrantState.ACTIVE.value, GrantState.SUSPENDED.value])
        query = sa.select(grants).where(live, grants.c.expires_at <= now).order_by(grants.c.seq).limit(limit)
        return tuple(_grant(row) for row in self._session.all(query))

    def change(self, before: Grant, after: Grant, *, entry: Entry) -> None:
        """See the port."""
        same = (grants.c.id == before.id, grants.c.state == before.state.value)
        if self._session.changes(sa.update(grants).where(*same).values(**_grant_state(after))) != 1:
            raise RegistryChanged
        self._session.record(entry)


def _grant_state(grant: Grant) -> dict[str, object]:
    return {
        "state": grant.state.value,
        "changed_at": grant.changed_at,
        "revoked_at": grant.revoked_at,
        "comment": grant.comment,
    }


def _grant(row: Row) -> Grant:
    return Grant(
        id=row["id"],
        request=row["request"],
        project=row["project"],
        dataset=row["dataset"],
        terms=_terms(row),
        reviewers=tuple(row["reviewers"].split()),
        granted_at=row["granted_at"],
        state=GrantState(row["state"]),
        changed_at=row["changed_at"],
        revoked_at=row["revoked_at"],
        comment=row["comment"],
    )

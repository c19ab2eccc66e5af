"""The journey from asking for a dataset to holding a grant, and what can happen to a grant afterwards.

Owns the order of steps: request, submit, vote, grant; suspend, resume, revoke, expire. It can be read top to bottom:
every step is one transaction {decide, move, audit}. Whether somebody may is `access.policy`'s to say, what follows from
the votes is `access.grants`'. Law 9: votes stay hidden until all that are needed are in.
"""

from __future__ import annotations

from datetime import datetime

from access.audit import Entry
from access.catalogue import Dataset, DatasetNotFound
from access.grants import (
    AccessRequest,
    Grant,
    GrantNotFound,
    GrantState,
    RequestNotFound,
    RequestState,
    RequestView,
    Terms,
    Vote,
    changed,
    concluded,
    require_terms,
    take_up,
    visible_reviews,
)
from access.grants import review as cast
from access.grants import submit as submitted
from access.grants import withdraw as withdrawn
from access.ledger import opened
from access.people import Principal, ProjectNotFound, Role, require_text
from access.policy import Decision, Method, Request, Use, decide, reviewers_needed
from access.ports import Cursor, Slice
from privacy.errors import Text
from privacy.loss import Budget
from sandbox.journeys.house import House, Work, permit, situation

_PURPOSE = Text("purpose", "用途")
_COMMENT = Text("comment", "说明")


def request_access(
    house: House,
    who: Principal,
    *,
    project: str,
    dataset: str,
    purpose: str,
    methods: tuple[Method, ...] = (Method.ASK,),
    budget: Budget | None = None,
    expires_at: datetime | None = None,
    submit: bool = True,
) -> RequestView:
    """A member asks for a dataset; budget and expiry default to all the policy gives. A draft unless `submit`."""
    purpose = require_text(purpose, _PURPOSE, 4000)
    with house.registry.begin() as unit:
        asked = situation(house, unit, who, Use.REQUEST_ACCESS, project=project, dataset=dataset)
        permit(asked, project=ProjectNotFound(project=project), dataset=DatasetNotFound(dataset=dataset))
        assert asked.project is not None
        assert asked.dataset is not None
        terms = Terms(
            purpose=purpose,
            methods=tuple(dict.fromkeys(methods)),
            budget=budget or asked.dataset.policy.per_project,
            expires_at=expires_at or asked.dataset.policy.expires_at,
        )
        request = AccessRequest(
            id=house.new_id(),
            project=asked.project.id,
            dataset=asked.dataset.name,
            author=who.id,
            terms=require_terms(terms, asked.dataset, asked.now),
            created_at=asked.now,
            changed_at=asked.now,
        )
        unit.requests.add(request, entry=_event(house, who, "request.created", request))
        if submit:
            request = _submit(house, unit, who, request, asked.dataset)
        return _view(unit, who, request, asked.dataset)


def submit(house: House, who: Principal, request: str) -> RequestView:
    """The author hands a draft or a returned request to the reviewers."""
    with house.registry.begin() as unit:
        asked = _permitted(house, unit, who, Use.CHANGE_REQUEST, request)
        moved = _submit(house, unit, who, _request(asked), _dataset(asked))
        return _view(unit, who, moved, _dataset(asked))


def _submit(house: House, unit: Work, who: Principal, request: AccessRequest, dataset: Dataset) -> AccessRequest:
    """Submit; where grade and policy ask for no review at all, the house grants at once."""
    now = house.clock()
    require_terms(request.terms, dataset, now)
    moved = submitted(request, now)
    unit.requests.change(request, moved, entry=_event(house, who, "request.submitted", moved))
    if reviewers_needed(dataset.grade, dataset.policy) == 0:
        return _conclude(house, unit, None, moved, dataset)
    return moved


def review(house: House, who: Principal, request: str, *, vote: Vote, comment: str = "") -> RequestView:
    """A reviewer outside the project votes. The last vote needed decides: one refusal refuses, one return returns."""
    comment = require_text(comment, _COMMENT, 4000) if comment.strip() else ""
    with house.registry.begin() as unit:
        asked = _permitted(house, unit, who, Use.REVIEW_REQUEST, request)
        before, dataset = _request(asked), _dataset(asked)
        in_review = take_up(before, asked.now)
        if in_review is not before:
            unit.requests.change(before, in_review, entry=_event(house, who, "request.taken-up", in_review))
        ballot = cast(in_review, who, vote, comment, asked.now)
        unit.requests.add_review(ballot, entry=_event(house, who, "request.voted", in_review))
        decided = _conclude(house, unit, who, in_review, dataset)
        return _view(unit, who, decided, dataset)


def _conclude(
    house: House, unit: Work, who: Principal | None, request: AccessRequest, dataset: Dataset
) -> AccessRequest:
    """What the votes that are in come to; a grant opens the project's account or moves its limit."""
    now = house.clock()
    in_review = take_up(request, now)
    if in_review is not request:
        unit.requests.change(request, in_review, entry=_event(house, who, "request.taken-up", in_review))
    votes = [v for v in unit.requests.reviews(request.id) if v.round == request.round]
    decided, grant = concluded(in_review, dataset, votes, grant_id=house.new_id(), now=now)
    if decided is in_review:
        return in_review
    if grant is not None:
        require_terms(grant.terms, dataset, now)
        _promise(house, unit, who, grant)
    outcome = {v.reviewer: v.vote.value for v in votes}
    entry = house.event(f"request.{decided.state}", who, decided.id, round=decided.round, votes=outcome)
    unit.requests.change(in_review, decided, entry=entry)
    return decided


def _promise(house: House, unit: Work, who: Principal | None, grant: Grant) -> None:
    """Make the grant; an older one of the same project ends, and what it spent stays spent."""
    older = unit.grants.newest(grant.project, grant.dataset)
    if older is not None and older.state in (GrantState.ACTIVE, GrantState.SUSPENDED):
        ended = changed(older, GrantState.REVOKED, grant.granted_at, f"→ {grant.id}")
        unit.grants.change(older, ended, entry=house.event("grant.superseded", who, older.id, by=grant.id))
    entry = house.event(
        "grant.made",
        who,
        grant.id,
        request=grant.request,
        project=grant.project,
        dataset=grant.dataset,
        epsilon=repr(grant.terms.budget.epsilon),
        delta=repr(grant.terms.budget.delta),
        reviewers=list(grant.reviewers),
    )
    unit.grants.add(grant, entry=entry)
    account = unit.ledger.find(grant.dataset, grant.project)
    if account is not None:
        unit.ledger.set_limit(account.id, grant.terms.budget, entry=entry)
        return
    fresh = opened(account=house.new_id(), dataset=grant.dataset, project=grant.project, budget=grant.terms.budget)
    unit.ledger.open(fresh, entry=entry)


def withdraw(house: House, who: Principal, request: str) -> RequestView:
    """The author no longer wants it."""
    with house.registry.begin() as unit:
        asked = _permitted(house, unit, who, Use.CHANGE_REQUEST, request)
        before = _request(asked)
        after = withdrawn(before, asked.now)
        unit.requests.change(before, after, entry=_event(house, who, "request.withdrawn", after))
        return _view(unit, who, after, _dataset(asked))


def read_request(house: House, who: Principal, request: str) -> RequestView:
    """One request, with the votes this principal may see."""
    with house.registry.read() as unit:
        asked = _permitted(house, unit, who, Use.READ_REQUEST, request)
        return _view(unit, who, _request(asked), _dataset(asked))


def list_requests(
    house: House, who: Principal, cursor: Cursor, *, states: tuple[RequestState, ...] = ()
) -> Slice[RequestView]:
    """Those of one's projects and one's datasets; those who decide or watch see all."""
    with house.registry.read() as unit:
        page = unit.requests.list(cursor, visible_to=None if _watches(who) else who.id, states=states)
        views = tuple(_view(unit, who, r, _known(unit, r.dataset)) for r in page.items)
        return Slice(items=views, next=page.next)


def revoke(house: House, who: Principal, grant: str, *, comment: str = "") -> Grant:
    """End a grant for good; the next use is refused at once, queued questions are stopped before data is read."""
    return _change_grant(house, who, grant, GrantState.REVOKED, comment)


def suspend(house: House, who: Principal, grant: str, *, comment: str = "") -> Grant:
    """Stop a grant until it is resumed."""
    return _change_grant(house, who, grant, GrantState.SUSPENDED, comment)


def resume(house: House, who: Principal, grant: str, *, comment: str = "") -> Grant:
    """Let a suspended grant hold again."""
    return _change_grant(house, who, grant, GrantState.ACTIVE, comment)


_GRANT_EVENTS = {
    GrantState.REVOKED: "grant.revoked",
    GrantState.SUSPENDED: "grant.suspended",
    GrantState.ACTIVE: "grant.resumed",
}


def _change_grant(house: House, who: Principal, grant: str, to: GrantState, comment: str) -> Grant:
    comment = require_text(comment, _COMMENT, 4000) if comment.strip() else ""
    with house.registry.begin() as unit:
        before = _grant(house, unit, who, Use.REVOKE_GRANT, grant)
        after = changed(before, to, house.clock(), comment)
        unit.grants.change(before, after, entry=house.event(_GRANT_EVENTS[to], who, grant))
        return after


def expire_due(house: House) -> int:
    """Record the expiry of grants whose time is over (they have not held since); returns how many."""
    with house.registry.read() as unit:
        due = unit.grants.due(house.clock())
    if not due:
        return 0
    with house.registry.begin() as unit:
        still = unit.grants.due(house.clock())
        for grant in still:
            after = changed(grant, GrantState.EXPIRED, house.clock(), grant.comment)
            unit.grants.change(grant, after, entry=house.event("grant.expired", None, grant.id))
        return len(still)


def read_grant(house: House, who: Principal, grant: str) -> Grant:
    """One grant."""
    with house.registry.read() as unit:
        return _grant(house, unit, who, Use.READ_GRANT, grant)


def list_grants(house: House, who: Principal, cursor: Cursor) -> Slice[Grant]:
    """Those of one's projects and one's datasets; those who decide or watch see all."""
    with house.registry.read() as unit:
        return unit.grants.list(cursor, visible_to=None if _watches(who) else who.id)


def explain(
    house: House,
    who: Principal,
    use: Use,
    *,
    dataset: str | None = None,
    project: str | None = None,
    request: str | None = None,
) -> Decision:
    """What the policy would say to this use, with every reason. Nothing happens; what is hidden stays hidden."""
    with house.registry.read() as unit:
        decision = decide(
            situation(house, unit, who, use, dataset=dataset, project=project, request=request, asked_by=who.id)
        )
    if not decision.hidden:
        return decision
    only = tuple(r for r in decision.reasons if r.hides)
    return Decision(use=use, allowed=False, reasons=only, obligations=())


def _event(house: House, who: Principal | None, kind: str, request: AccessRequest) -> Entry:
    return house.event(kind, who, request.id, project=request.project, dataset=request.dataset, round=request.round)


def _watches(who: Principal) -> bool:
    return bool(who.roles & {Role.REVIEWER, Role.AUDITOR, Role.OPERATOR})


def _permitted(house: House, unit: Work, who: Principal, use: Use, request: str) -> Request:
    asked = situation(house, unit, who, use, request=request)
    if asked.request is None:
        raise RequestNotFound(request=request)
    permit(asked, request=RequestNotFound(request=request))
    return asked


def _request(asked: Request) -> AccessRequest:
    assert asked.request is not None
    return asked.request


def _dataset(asked: Request) -> Dataset:
    assert asked.dataset is not None
    return asked.dataset


def _known(unit: Work, name: str) -> Dataset:
    dataset = unit.catalogue.get(name)
    assert dataset is not None
    return dataset


def _view(unit: Work, who: Principal, request: AccessRequest, dataset: Dataset) -> RequestView:
    needed = reviewers_needed(dataset.grade, dataset.policy)
    seen = visible_reviews(request, unit.requests.reviews(request.id), who, needed)
    return RequestView(request=request, reviews=seen, needed=needed)


def _grant(house: House, unit: Work, who: Principal, use: Use, key: str) -> Grant:
    grant = unit.grants.get(key)
    if grant is None:
        raise GrantNotFound(grant=key)
    asked = situation(house, unit, who, use, project=grant.project, dataset=grant.dataset, request=grant.request)
    permit(asked, request=GrantNotFound(grant=key))
    return grant

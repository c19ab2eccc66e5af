"""AccessRequest and Grant: how a project asks for a dataset, how others decide, and what the promise then is.

Owns both state dicts, whose move every state is, and the pure transitions. It never decides who may act (that is
`access.policy`) and stores nothing. Law 7: states are dicts. Law 9: votes stay hidden until all that are needed are in.

A grant is immutable but for its state; what was promised (purpose, methods, limits, expiry) never changes. A request that
comes back begins a new round; votes of earlier rounds are kept and no longer count.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType

from access.catalogue import Dataset
from access.people import Principal
from access.policy import Method, reviewers_needed
from access.terms import LARGEST_EPSILON
from privacy.errors import Conflict, Malformed, NotFound, Refused, Text
from privacy.loss import Budget


class Owner(StrEnum):
    """Whose move it is."""

    AUTHOR = "author"
    REVIEWER = "reviewer"
    SYSTEM = "system"


class RequestState(StrEnum):
    """Where an access request stands."""

    DRAFT = "draft"
    SUBMITTED = "submitted"
    IN_REVIEW = "in_review"
    RETURNED = "returned"
    GRANTED = "granted"
    REFUSED = "refused"
    WITHDRAWN = "withdrawn"


REQUEST_MOVES: Mapping[RequestState, frozenset[RequestState]] = MappingProxyType(
    {
        RequestState.DRAFT: frozenset({RequestState.SUBMITTED, RequestState.WITHDRAWN}),
        RequestState.SUBMITTED: frozenset({RequestState.IN_REVIEW, RequestState.WITHDRAWN}),
        RequestState.IN_REVIEW: frozenset(
            {RequestState.GRANTED, RequestState.REFUSED, RequestState.RETURNED, RequestState.WITHDRAWN}
        ),
        RequestState.RETURNED: frozenset({RequestState.SUBMITTED, RequestState.WITHDRAWN}),
        RequestState.GRANTED: frozenset(),
        RequestState.REFUSED: frozenset(),
        RequestState.WITHDRAWN: frozenset(),
    }
)

REQUEST_OWNERS: Mapping[RequestState, Owner] = MappingProxyType(
    {
        RequestState.DRAFT: Owner.AUTHOR,
        RequestState.SUBMITTED: Owner.REVIEWER,
        RequestState.IN_REVIEW: Owner.REVIEWER,
        RequestState.RETURNED: Owner.AUTHOR,
        RequestState.GRANTED: Owner.SYSTEM,
        RequestState.REFUSED: Owner.SYSTEM,
        RequestState.WITHDRAWN: Owner.SYSTEM,
    }
)


class GrantState(StrEnum):
    """Where a grant stands."""

    ACTIVE = "active"
    SUSPENDED = "suspended"
    EXPIRED = "expired"
    REVOKED = "revoked"

    @property
    def words(self) -> Text:
        """The state in words."""
        return _GRANT_WORDS[self]


_GRANT_WORDS: Mapping[GrantState, Text] = MappingProxyType(
    {
        GrantState.ACTIVE: Text("active", "有效"),
        GrantState.SUSPENDED: Text("suspended", "已暂停"),
        GrantState.EXPIRED: Text("expired", "已过期"),
        GrantState.REVOKED: Text("revoked", "已撤销"),
    }
)

GRANT_MOVES: Mapping[GrantState, frozenset[GrantState]] = MappingProxyType(
    {
        GrantState.ACTIVE: frozenset({GrantState.SUSPENDED, GrantState.EXPIRED, GrantState.REVOKED}),
        GrantState.SUSPENDED: frozenset({GrantState.ACTIVE, GrantState.EXPIRED, GrantState.REVOKED}),
        GrantState.EXPIRED: frozenset(),
        GrantState.REVOKED: frozenset(),
    }
)

GRANT_OWNERS: Mapping[GrantState, Owner] = MappingProxyType(
    {
        GrantState.ACTIVE: Owner.REVIEWER,
        GrantState.SUSPENDED: Owner.REVIEWER,
        GrantState.EXPIRED: Owner.SYSTEM,
        GrantState.REVOKED: Owner.SYSTEM,
    }
)


class Vote(StrEnum):
    """What one reviewer says."""

    GRANT = "grant"
    REFUSE = "refuse"
    RETURN = "return"


@dataclass(frozen=True, kw_only=True, slots=True)
class Review:
    """One reviewer's vote on one round of a request. `organisation` is the reviewer's at the time of the vote."""

    request: str
    round: int
    reviewer: str
    organisation: str
    vote: Vote
    comment: str
    at: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class Terms:
    """What is asked for and then promised. Without an expiry it holds until it is revoked."""

    purpose: str
    methods: tuple[Method, ...]
    budget: Budget
    expires_at: datetime | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class AccessRequest:
    """A project asks for a dataset. `round` counts submissions; `decided_at` is set in a final state."""

    id: str
    project: str
    dataset: str
    author: str
    terms: Terms
    created_at: datetime
    changed_at: datetime
    state: RequestState = RequestState.DRAFT
    round: int = 0
    decided_at: datetime | None = None
    grant: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class RequestView:
    """A request as one principal may see it: `reviews` without the votes that are still hidden from them."""

    request: AccessRequest
    reviews: tuple[Review, ...]
    needed: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Grant:
    """A revocable promise with limits. `reviewers` are the principals whose votes made it."""

    id: str
    request: str
    project: str
    dataset: str
    terms: Terms
    reviewers: tuple[str, ...]
    granted_at: datetime
    state: GrantState = GrantState.ACTIVE
    changed_at: datetime
    revoked_at: datetime | None = None
    comment: str = ""

    @property
    def methods(self) -> tuple[Method, ...]:
        """The ways of use it allows."""
        return self.terms.methods

    def blocked_at(self, now: datetime) -> GrantState | None:
        """Why it does not hold now, or None when it holds. Its expiry counts from the instant itself, recorded or not."""
        if self.state is GrantState.ACTIVE:
            return GrantState.EXPIRED if self.over_at(now) else None
        return self.state

    def over_at(self, now: datetime) -> bool:
        """True from the instant of its expiry on."""
        return self.terms.expires_at is not None and now >= self.terms.expires_at


class RequestNotFound(NotFound):
    """No such request, or it is hidden."""

    code = "request.not_found"
    sentence = Text("There is no access request {request}.", "没有使用申请 {request}。")
    hint = Text("List your requests to see their ids.", "请列出您的申请以查看编号。")


class GrantNotFound(NotFound):
    """No such grant, or it is hidden."""

    code = "grant.not_found"
    sentence = Text("There is no grant {grant}.", "没有授权 {grant}。")
    hint = Text("List your grants to see their ids.", "请列出您的授权以查看编号。")


class MoveRefused(Conflict):
    """The state dict does not allow the move."""

    code = "request.wrong_state"
    sentence = Text("{thing} is “{state}” and cannot become “{to}”.", "{thing}当前为“{state}”，不能变为“{to}”。")
    hint = Text("From here it can become: {allowed}.", "当前可变为：{allowed}。")


class AlreadyVoted(Conflict):
    """One vote a reviewer and round."""

    code = "review.twice"
    sentence = Text("You have voted on this round already.", "您已对本轮申请投票。")
    hint = Text("Another reviewer has to cast the next vote.", "须由另一名审核员投票。")


class TermsRefused(Refused):
    """What is asked for goes beyond the dataset's policy."""

    code = "request.beyond_policy"
    sentence = Text("The request goes beyond the dataset's terms: {wrong}", "申请超出数据集使用条款：{wrong}")
    hint = Text("The card of the dataset states what can be granted.", "数据集卡片列明了可授权的范围。")


class TermsMalformed(Malformed):
    """A request needs a positive budget, a method and an expiry in the future."""

    code = "request.bad_terms"
    sentence = Text("The terms asked for cannot be read: {wrong}", "申请条款无法识别：{wrong}")
    hint = Text(
        "State at least one method, epsilon above 0, delta between 0 and 1, and an expiry in the future.",
        "请至少填写一种使用方式、大于 0 的 epsilon、0 与 1 之间的 delta，以及未来的到期时间。",
    )


def require_terms(terms: Terms, dataset: Dataset, now: datetime) -> Terms:
    """The terms, or a problem naming everything in them that the dataset's policy cannot give."""
    budget, policy = terms.budget, dataset.policy
    positive = 0 < budget.epsilon <= LARGEST_EPSILON and 0 < budget.delta < 1
    if not (positive and terms.methods and (terms.expires_at is None or terms.expires_at > now)):
        until = terms.expires_at.isoformat() if terms.expires_at else "–"
        raise TermsMalformed(wrong=f"ε = {budget.epsilon}, δ = {budget.delta}, {', '.join(terms.methods)}, {until}")
    wrong: list[Text] = []
    if budget.epsilon > policy.per_project.epsilon or budget.delta > policy.per_project.delta:
        most = f"ε ≤ {policy.per_project.epsilon}, δ ≤ {policy.per_project.delta}"
        wrong.append(Text(f"a project may have {most}.", f"每个项目上限为 {most}。"))
    if not set(terms.methods) <= set(policy.methods):
        offered = ", ".join(policy.methods)
        wrong.append(Text(f"the methods offered are {offered}.", f"可用方式为 {offered}。"))
    if policy.expires_at is not None and (terms.expires_at is None or terms.expires_at > policy.expires_at):
        day = policy.expires_at.date().isoformat()
        wrong.append(Text(f"the terms of use end on {day}.", f"使用条款于 {day} 到期。"))
    if policy.purposes and terms.purpose not in policy.purposes:
        purposes = ", ".join(policy.purposes)
        wrong.append(Text(f"the purposes offered are {purposes}.", f"允许的用途为 {purposes}。"))
    if wrong:
        raise TermsRefused(wrong=Text(" ".join(t.en for t in wrong), "".join(t.zh for t in wrong)))
    return terms


def _moved(request: AccessRequest, to: RequestState, now: datetime) -> AccessRequest:
    allowed = REQUEST_MOVES[request.state]
    if to not in allowed:
        raise MoveRefused(
            thing=Text("The request", "该申请"),
            state=request.state.value,
            to=to.value,
            allowed=", ".join(sorted(allowed)) or "–",
        )
    final = not REQUEST_MOVES[to]
    return replace(request, state=to, changed_at=now, decided_at=now if final else None)


def submit(request: AccessRequest, now: datetime) -> AccessRequest:
    """Hand the request over to the reviewers; a new round begins."""
    return replace(_moved(request, RequestState.SUBMITTED, now), round=request.round + 1)


def take_up(request: AccessRequest, now: datetime) -> AccessRequest:
    """A reviewer begins; a request that is in review already stays as it is."""
    return request if request.state is RequestState.IN_REVIEW else _moved(request, RequestState.IN_REVIEW, now)


def withdraw(request: AccessRequest, now: datetime) -> AccessRequest:
    """The author no longer wants it."""
    return _moved(request, RequestState.WITHDRAWN, now)


def review(request: AccessRequest, who: Principal, vote: Vote, comment: str, now: datetime) -> Review:
    """One vote on the current round; only a request in review takes votes."""
    if request.state is not RequestState.IN_REVIEW:
        _moved(request, RequestState.GRANTED, now)
    return Review(
        request=request.id,
        round=request.round,
        reviewer=who.id,
        organisation=who.organisation,
        vote=vote,
        comment=comment,
        at=now,
    )


def outcome(reviews: Sequence[Review], needed: int) -> Vote | None:
    """What the votes of one round come to, or None while some are missing: one refusal refuses, one return returns."""
    if len(reviews) < needed:
        return None
    votes = {r.vote for r in reviews}
    return next((v for v in (Vote.REFUSE, Vote.RETURN) if v in votes), Vote.GRANT)


def concluded(
    request: AccessRequest, dataset: Dataset, reviews: Sequence[Review], *, grant_id: str, now: datetime
) -> tuple[AccessRequest, Grant | None]:
    """The request after the votes that are in, and the grant they make, if they do.

    `reviews` are those of the current round. While votes are missing the request comes back unchanged.
    """
    voted = outcome(reviews, reviewers_needed(dataset.grade, dataset.policy))
    if voted is None:
        return request, None
    if voted is not Vote.GRANT:
        to = RequestState.REFUSED if voted is Vote.REFUSE else RequestState.RETURNED
        return _moved(request, to, now), None
    decided = replace(_moved(request, RequestState.GRANTED, now), grant=grant_id)
    grant = Grant(
        id=grant_id,
        request=request.id,
        project=request.project,
        dataset=request.dataset,
        terms=request.terms,
        reviewers=tuple(r.reviewer for r in reviews),
        granted_at=now,
        changed_at=now,
    )
    return decided, grant


def visible_reviews(
    request: AccessRequest, reviews: Sequence[Review], who: Principal, needed: int
) -> tuple[Review, ...]:
    """The votes `who` may see: rounds that are complete, and one's own. A withdrawn round stays hidden."""
    rounds = {r.round for r in reviews}
    complete = {n for n in rounds if sum(r.round == n for r in reviews) >= needed}
    return tuple(r for r in reviews if r.round in complete or (r.reviewer == who.id and r.request == request.id))


def changed(grant: Grant, to: GrantState, now: datetime, comment: str = "") -> Grant:
    """The grant in its next state, or `MoveRefused`. A grant past its expiry can only become expired or revoked."""
    allowed = GRANT_MOVES[grant.state]
    if grant.state is GrantState.SUSPENDED and grant.over_at(now):
        allowed -= {GrantState.ACTIVE}
    if to not in allowed:
        raise MoveRefused(
            thing=Text("The grant", "该授权"),
            state=grant.state.value,
            to=to.value,
            allowed=", ".join(sorted(allowed)) or "–",
        )
    return replace(
        grant, state=to, changed_at=now, comment=comment, revoked_at=now if to is GrantState.REVOKED else None
    )

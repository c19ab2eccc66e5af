"""Routes about permission: access requests, grants, and what the policy would say.

Owns the way from a body to `sandbox.journeys.grants` and back to wire shapes. No rule lives here: who may do what is decided
by `access.policy`, in the journey.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated, Literal

from fastapi import APIRouter, Query

from access.grants import Grant, RequestState, RequestView, Vote
from access.people import Principal
from access.policy import Method, Use
from privacy.loss import Budget
from sandbox import wire
from sandbox.api import shapes
from sandbox.api.contract import fails
from sandbox.api.guards import SIGNED_IN, Lang, TheHouse, TheNames, ThePage, Who
from sandbox.journeys import grants
from sandbox.journeys.house import House

signed_in = APIRouter(tags=["permission"], dependencies=SIGNED_IN)
_CHANGES = fails(400, 401, 403, 404, 409)
_READS = fails(400, 401, 404)
NO_COMMENT = wire.CommentIn()
_TheVerb = Literal["submit", "withdraw"]


def _end_of(day: date | None) -> datetime | None:
    """The instant after the last day of use, in UTC."""
    return datetime.combine(day + timedelta(days=1), time(), UTC) if day is not None and day < date.max else None


@signed_in.get("/v1/access-requests", responses=fails(400, 401))
def list_requests(
    house: TheHouse,
    who: Who,
    page: ThePage,
    names: TheNames,
    state: Annotated[list[wire.RequestState] | None, Query(description="Only those in one of these states.")] = None,
) -> wire.Page[wire.AccessRequestOut]:
    """The access requests you may see, newest first."""
    states = tuple(RequestState(s) for s in state or ())
    found = grants.list_requests(house, who, page.cursor("newest"), states=states)
    return wire.Page(items=[shapes.request(r, names) for r in found.items], next=found.next)


@signed_in.post("/v1/access-requests", status_code=201, responses=_CHANGES)
def request_access(body: wire.AccessRequestIn, house: TheHouse, who: Who, names: TheNames) -> wire.AccessRequestOut:
    """Ask for the use of a dataset in a project."""
    budget = Budget(epsilon=body.budget.epsilon, delta=body.budget.delta) if body.budget else None
    made = grants.request_access(
        house,
        who,
        project=body.project,
        dataset=body.dataset,
        purpose=body.purpose,
        methods=tuple(Method(m) for m in body.methods),
        budget=budget,
        expires_at=_end_of(body.expires),
        submit=body.submit,
    )
    return shapes.request(made, names)


@signed_in.get("/v1/access-requests/{request_id}", responses=_READS)
def read_request(request_id: wire.Identity, house: TheHouse, who: Who, names: TheNames) -> wire.AccessRequestOut:
    """One access request, with the votes you may see."""
    return shapes.request(grants.read_request(house, who, request_id), names)


@signed_in.post("/v1/access-requests/{request_id}:review", responses=_CHANGES)
def review(
    request_id: wire.Identity, body: wire.ReviewIn, house: TheHouse, who: Who, names: TheNames
) -> wire.AccessRequestOut:
    """Vote on an access request. The last vote needed decides."""
    voted = grants.review(house, who, request_id, vote=Vote(body.vote), comment=body.comment)
    return shapes.request(voted, names)


def _add_vote(vote: Vote) -> None:
    def cast(
        request_id: wire.Identity,
        house: TheHouse,
        who: Who,
        names: TheNames,
        body: wire.CommentIn = NO_COMMENT,
    ) -> wire.AccessRequestOut:
        voted = grants.review(house, who, request_id, vote=vote, comment=body.comment)
        return shapes.request(voted, names)

    signed_in.add_api_route(
        f"/v1/access-requests/{{request_id}}:{vote}",
        cast,
        methods=["POST"],
        responses=_CHANGES,
        name=f"vote_{vote}",
        description=f"Vote “{vote}”: the same as `:review` with that vote.",
    )


def _add_move(verb: _TheVerb, move: Callable[[House, Principal, str], RequestView]) -> None:
    def moved(
        request_id: wire.Identity,
        house: TheHouse,
        who: Who,
        names: TheNames,
        body: wire.CommentIn = NO_COMMENT,
    ) -> wire.AccessRequestOut:
        return shapes.request(move(house, who, request_id), names)

    signed_in.add_api_route(
        f"/v1/access-requests/{{request_id}}:{verb}",
        moved,
        methods=["POST"],
        responses=_CHANGES,
        name=f"request_{verb}",
        description=f"As its author, {verb} the request.",
    )


for _vote in Vote:
    _add_vote(_vote)
_add_move("submit", grants.submit)
_add_move("withdraw", grants.withdraw)


@signed_in.get("/v1/grants", responses=fails(400, 401))
def list_grants(house: TheHouse, who: Who, page: ThePage, names: TheNames) -> wire.Page[wire.GrantOut]:
    """The grants you may see, newest first."""
    found = grants.list_grants(house, who, page.cursor("newest"))
    now = house.clock()
    return wire.Page(items=[shapes.grant(g, now, names) for g in found.items], next=found.next)


@signed_in.get("/v1/grants/{grant_id}", responses=_READS)
def read_grant(grant_id: wire.Identity, house: TheHouse, who: Who, names: TheNames) -> wire.GrantOut:
    """One grant."""
    return shapes.grant(grants.read_grant(house, who, grant_id), house.clock(), names)


def _add_change(verb: str, change: Callable[..., Grant]) -> None:
    def changed(
        grant_id: wire.Identity,
        house: TheHouse,
        who: Who,
        names: TheNames,
        body: wire.CommentIn = NO_COMMENT,
    ) -> wire.GrantOut:
        return shapes.grant(change(house, who, grant_id, comment=body.comment), house.clock(), names)

    signed_in.add_api_route(
        f"/v1/grants/{{grant_id}}:{verb}",
        changed,
        methods=["POST"],
        responses=_CHANGES,
        name=f"grant_{verb}",
        description=f"{verb.capitalize()} the grant; it counts from the next use on.",
    )


_add_change("revoke", grants.revoke)
_add_change("suspend", grants.suspend)
_add_change("resume", grants.resume)


@signed_in.post("/v1/policy:explain", responses=fails(400, 401))
def explain(body: wire.ExplainIn, house: TheHouse, who: Who, lang: Lang) -> wire.DecisionOut:
    """Whether something would be allowed to you, with every reason. Nothing happens."""
    said = grants.explain(
        house, who, Use(body.action), dataset=body.dataset, project=body.project, request=body.request
    )
    return shapes.decision(said, lang)

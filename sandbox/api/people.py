"""Routes about people: sessions, tokens, projects. Each calls one journey and shapes what it returns."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Path, Request, Response

from access.ports import Cursor
from sandbox import wire
from sandbox.api import shapes
from sandbox.api.contract import fails
from sandbox.api.guards import SIGNED_IN, TheHouse, TheNames, ThePage, TheThrottle, Who
from sandbox.journeys import people

public = APIRouter(tags=["people"])
signed_in = APIRouter(tags=["people"], dependencies=SIGNED_IN)
_PROJECTS_SHOWN = 100


@public.post("/v1/session", responses=fails(400, 401, 429))
def open_session(
    body: wire.SessionIn, request: Request, house: TheHouse, throttle: TheThrottle, names: TheNames
) -> wire.SessionOut:
    """Sign in with a local account; the token is shown once."""
    address = request.client.host if request.client else "unknown"
    throttle.attempt(body.login, address)
    issued = people.sign_in(house, body.login, body.password)
    throttle.succeeded(body.login, address)
    who = people.authenticate(house, issued.secret)
    mine = people.list_projects(house, who, Cursor(limit=_PROJECTS_SHOWN))
    return wire.SessionOut(
        token=issued.secret,
        token_id=issued.token.id,
        expires_at=issued.token.expires_at,
        me=shapes.me(who, mine.items, names),
    )


@signed_in.get("/v1/me", responses=fails(401))
def read_me(house: TheHouse, who: Who, names: TheNames) -> wire.MeOut:
    """Who you are, with which roles and projects."""
    mine = people.list_projects(house, who, Cursor(limit=_PROJECTS_SHOWN))
    return shapes.me(who, mine.items, names)


@signed_in.get("/v1/tokens", responses=fails(400, 401))
def list_tokens(house: TheHouse, who: Who, page: ThePage) -> wire.Page[wire.TokenOut]:
    """Your API tokens, revoked and expired ones too, without their secrets."""
    found = people.list_tokens(house, who, page.cursor("newest"))
    return wire.Page(items=[shapes.token(t) for t in found.items], next=found.next)


@signed_in.post("/v1/tokens", status_code=201, responses=fails(400, 401))
def issue_token(body: wire.TokenIn, house: TheHouse, who: Who) -> wire.TokenIssued:
    """One more API token of your own; its secret is shown once."""
    issued = people.issue_token(house, who, label=body.label, lifetime=timedelta(days=body.days))
    shown = shapes.token(issued.token)
    return wire.TokenIssued(
        token=issued.secret,
        id=shown.id,
        label=shown.label,
        created_at=shown.created_at,
        expires_at=shown.expires_at,
        revoked_at=shown.revoked_at,
    )


@signed_in.delete("/v1/tokens/{token_id}", status_code=204, responses=fails(400, 401, 404))
def revoke_token(token_id: wire.Identity, house: TheHouse, who: Who) -> Response:
    """Stop one of your tokens for good, from the next request on."""
    people.revoke_token(house, who, token_id)
    return Response(status_code=204)


@signed_in.get("/v1/projects", responses=fails(400, 401))
def list_projects(house: TheHouse, who: Who, page: ThePage, names: TheNames) -> wire.Page[wire.ProjectOut]:
    """Your projects; those who decide or watch see all."""
    found = people.list_projects(house, who, page.cursor("oldest"))
    return wire.Page(items=[shapes.project(p, names) for p in found.items], next=found.next)


@signed_in.post("/v1/projects", status_code=201, responses=fails(400, 401, 403, 409))
def create_project(body: wire.ProjectIn, house: TheHouse, who: Who, names: TheNames) -> wire.ProjectOut:
    """Open a project of your own organisation; you are its first member."""
    made = people.create_project(house, who, name=body.name, title=body.title, purpose=body.purpose)
    return shapes.project(made, names)


@signed_in.get("/v1/projects/{project_id}", responses=fails(400, 401, 404))
def read_project(
    project_id: Annotated[wire.Identity, Path(description="Id or name.")], house: TheHouse, who: Who, names: TheNames
) -> wire.ProjectOut:
    """One project."""
    return shapes.project(people.read_project(house, who, project_id), names)


@signed_in.post("/v1/projects/{project_id}/members", responses=fails(400, 401, 403, 404))
def add_member(
    project_id: Annotated[wire.Identity, Path(description="Id or name.")],
    body: wire.MemberIn,
    house: TheHouse,
    who: Who,
    names: TheNames,
) -> wire.ProjectOut:
    """Add somebody of the project's organisation."""
    return shapes.project(people.add_member(house, who, project_id, login=body.login), names)

"""What a router may ask for: the house, the principal behind a token, the asker's language, a page.

Owns the dependencies of FastAPI and nothing else; who may do what is decided in the journeys. A token is looked up by its
hash, and a missing, forged, expired, revoked or foreign one gets one and the same answer.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Literal

from fastapi import Depends, Header, Query, Request
from fastapi.security import HTTPBearer

from access.people import NotSignedIn, Principal
from access.ports import LARGEST_PAGE, Cursor
from sandbox.api.contract import KEY_PATTERN
from sandbox.api.problems import KeyMissing, lang_of
from sandbox.api.shapes import Names
from sandbox.api.throttle import Throttle
from sandbox.journeys.house import House
from sandbox.journeys.people import authenticate

_BEARER = HTTPBearer(auto_error=False, scheme_name="token", description="A token from POST /v1/session or /v1/tokens.")
_KEY = re.compile(KEY_PATTERN)
_WAIT = re.compile(r"(?:^|[,;\s])wait\s*=\s*\"?(\d{1,4})\"?(?=$|[,;\s])", re.IGNORECASE)
LONGEST_WAIT = 30
"""Seconds a request may ask to be held (`Prefer: wait=N`)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ApiSettings:
    """What the edge may be told: size limits in bytes, how often a stream looks, how long it lasts."""

    max_body: int = 1_000_000
    max_upload: int = 20 * 1024**3
    look_every: float = 0.2
    longest_stream: float = 600.0


def settings_of(request: Request) -> ApiSettings:
    """The edge's settings."""
    settings: ApiSettings = request.app.state.settings
    return settings


def house_of(request: Request) -> House:
    """The ports of this instance."""
    house: House = request.app.state.house
    return house


def throttle_of(request: Request) -> Throttle:
    """The sign-in throttle of this process."""
    throttle: Throttle = request.app.state.throttle
    return throttle


Settings = Annotated[ApiSettings, Depends(settings_of)]
TheHouse = Annotated[House, Depends(house_of)]
TheThrottle = Annotated[Throttle, Depends(throttle_of)]
Lang = Annotated[str, Depends(lang_of)]


def secret_of(request: Request) -> str:
    """The bearer token of the request, or `NotSignedIn`."""
    scheme, _, secret = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not secret.strip():
        raise NotSignedIn
    return secret.strip()


Secret = Annotated[str, Depends(secret_of)]


def principal_of(house: TheHouse, secret: Secret) -> Principal:
    """Who is asking."""
    return authenticate(house, secret)


Who = Annotated[Principal, Depends(principal_of)]
SIGNED_IN = [Depends(_BEARER), Depends(principal_of)]
"""Dependencies of every router that needs a token: the first only documents it, the second decides before anything else."""


def names_of(house: TheHouse) -> Names:
    """What to call people and projects in this response."""
    return Names(house=house)


TheNames = Annotated[Names, Depends(names_of)]


@dataclass(frozen=True, kw_only=True, slots=True)
class PageAsked:
    """Which page was asked for; the order is the list's own unless it was asked for too."""

    limit: int
    after: str | None
    order: Literal["newest", "oldest"] | None

    def cursor(self, order: Literal["newest", "oldest"]) -> Cursor:
        """The cursor, in the list's own order by default."""
        return Cursor(limit=self.limit, after=self.after, newest_first=(self.order or order) == "newest")


def page_of(
    limit: Annotated[int, Query(ge=1, le=LARGEST_PAGE, description="Items a page.")] = 50,
    after: Annotated[str | None, Query(pattern=r"^[0-9]{1,18}$", description="The `next` of the page before.")] = None,
    order: Annotated[
        Literal["newest", "oldest"] | None, Query(description="Which come first; keep it from page to page.")
    ] = None,
) -> PageAsked:
    """The page a list was asked for."""
    return PageAsked(limit=limit, after=after, order=order)


ThePage = Annotated[PageAsked, Depends(page_of)]


def key_of(
    idempotency_key: Annotated[
        str | None, Header(description="New for each question, the same for each retry.")
    ] = None,
) -> str:
    """The Idempotency-Key of a request that spends, or `KeyMissing`."""
    if idempotency_key is None or not _KEY.fullmatch(idempotency_key):
        raise KeyMissing
    return idempotency_key


IdempotencyKey = Annotated[str, Depends(key_of)]


def wait_of(
    prefer: Annotated[str | None, Header(description="`wait=N`: hold the answer back for up to N seconds.")] = None,
) -> int:
    """How long the asker wants to wait within the request (RFC 7240, section 4.3); 0 without a wish."""
    found = _WAIT.search(prefer or "")
    return min(int(found.group(1)), LONGEST_WAIT) if found else 0


Wait = Annotated[int, Depends(wait_of)]

"""The outermost layer of the HTTP server: a reference for every request, a limit for every body, no stack trace ever.

Owns what must hold whatever a router does: size limits before anything is parsed, security headers, the `X-Reference`
that joins an answer to the operator's log, and the one constant sentence for what nobody expected (law 5). It is plain
ASGI, so that streams pass through unbuffered; it reads no body of an upload and knows no route but the upload's.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping

from fastapi.responses import Response
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from privacy.errors import Fault, Problem
from sandbox.api.problems import BodyTooLarge, answer_problem, language

_LOG = logging.getLogger("sandbox.api")
#: The one address whose body is a stream of its own size limit.
UPLOAD = re.compile(r"/v1/datasets/.+/tables/[^/]+")
SECURITY_HEADERS: Mapping[str, str] = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Edge:
    """ASGI middleware around the whole application."""

    def __init__(self, app: ASGIApp, *, max_body: int, max_upload: int, new_reference: Callable[[], str]) -> None:
        self.app = app
        self.max_body = max_body
        self.max_upload = max_upload
        self.new_reference = new_reference

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; other protocols (lifespan) pass through."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        reference = self.new_reference()
        scope.setdefault("state", {})["reference"] = reference
        started = False

        async def told(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                _dress(message, reference)
            await send(message)

        try:
            bounded = await self._bounded(scope, receive)
            await self.app(scope, bounded, told)
        except ClientDisconnect:
            _LOG.info("the client went away reference=%s", reference)
        except Problem as problem:
            if not started:
                await _problem(problem, scope, reference)(scope, receive, told)
        except Exception:  # noqa: BLE001 - the last line of defence: whatever happens, one constant sentence leaves
            _LOG.exception("unexpected failure reference=%s", reference)
            if not started:
                await _problem(Fault(), scope, reference)(scope, receive, told)

    async def _bounded(self, scope: Scope, receive: Receive) -> Receive:
        """The request's messages, held to the limit of its address; a small body is read before anyone parses it."""
        upload = scope["method"] == "PUT" and UPLOAD.fullmatch(scope["path"]) is not None
        limit = self.max_upload if upload else self.max_body
        declared = Headers(scope=scope).get("content-length", "0")
        if not declared.isdecimal() or int(declared[:20]) > limit:
            raise BodyTooLarge(limit=limit)
        return _counted(receive, limit) if upload else await _read(receive, limit)


def _counted(receive: Receive, limit: int) -> Receive:
    """`receive` that refuses to pass the limit, for a body that is streamed."""
    seen = 0

    async def counted() -> Message:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        if seen > limit:
            raise BodyTooLarge(limit=limit)
        return message

    return counted


async def _read(receive: Receive, limit: int) -> Receive:
    """Read the whole body within the limit and return a `receive` that replays it, then goes on."""
    parts: list[bytes] = []
    seen = 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return _replay(message, receive)
        parts.append(message.get("body", b""))
        seen += len(parts[-1])
        if seen > limit:
            raise BodyTooLarge(limit=limit)
        if not message.get("more_body", False):
            return _replay({"type": "http.request", "body": b"".join(parts), "more_body": False}, receive)


def _replay(first: Message, receive: Receive) -> Receive:
    waiting = [first]

    async def replayed() -> Message:
        return waiting.pop() if waiting else await receive()

    return replayed


def _dress(message: Message, reference: str) -> None:
    headers = MutableHeaders(scope=message)
    headers["X-Reference"] = reference
    headers.add_vary_header("Accept-Language")
    for name, value in SECURITY_HEADERS.items():
        headers.setdefault(name, value)


def _problem(problem: Problem, scope: Scope, reference: str) -> Response:
    """The answer when the request got no further than this layer; the connection closes, for a body may be unread."""
    lang = language(Headers(scope=scope).get("accept-language"))
    return answer_problem(problem, lang, reference, {"Connection": "close"})

"""The seam through which tests reach the application: an httpx transport that calls an ASGI app, without a socket.

The whole answer is read before it is returned, so a stream must end by itself. Every request has its own event loop.
"""

from __future__ import annotations

from typing import Any

import anyio
import httpx


class AsgiTransport(httpx.BaseTransport):
    """A synchronous transport over an ASGI application."""

    def __init__(self, app: Any, address: str = "127.0.0.1") -> None:
        self._app = app
        self._address = address

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Answer one request; an exception of the application is raised here."""
        return anyio.run(self._answer, request)

    async def _answer(self, request: httpx.Request) -> httpx.Response:
        inner = httpx.ASGITransport(self._app, client=(self._address, 50_000))
        request.read()
        response = await inner.handle_async_request(request)
        body = await response.aread()
        return httpx.Response(response.status_code, headers=response.headers, content=body, request=request)

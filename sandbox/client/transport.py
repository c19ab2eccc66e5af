"""One request to the server and back: the token, retries that never do anything twice, problems as exceptions.

Owns the `Wire`, the only thing in the client that touches a socket; its `transport` is the one seam, so a test runs the
real application with no socket at all. It knows no route. What makes a retry safe: a GET changes nothing, and a POST is
repeated only when it carries an Idempotency-Key or when the connection was never made; the key stays the same over all
tries, so a question is paid once whatever the network does.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import IO, Any, Literal, TypeVar

import httpx
from httpx_sse import ServerSentEvent, SSEError, connect_sse
from pydantic import BaseModel, ValidationError

from sandbox.client import errors
from sandbox.say import language, say
from sandbox.wire import Page

Sleep = Callable[[float], None]
Entropy = Callable[[int], bytes]
Verb = Literal["GET", "POST", "PUT", "DELETE"]
Shape = TypeVar("Shape", bound=BaseModel)

TRIES = 5
#: Never wait longer than this for one retry, whatever the server asks for.
LONGEST_WAIT = 10.0
LARGEST_PAGE = 500
_BUSY = frozenset({502, 503, 504})
#: A server on this machine is never reached through a proxy of the environment.
_THIS_MACHINE = frozenset({"localhost", "127.0.0.1", "::1"})
_NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)


@dataclass(frozen=True, kw_only=True, slots=True)
class Call:
    """One request. `idempotent` says that sending it twice is the same as sending it once."""

    verb: Verb
    path: str
    body: BaseModel | None = None
    params: Mapping[str, str] | None = None
    headers: Mapping[str, str] | None = None
    content: IO[bytes] | None = None
    text: str | None = None
    idempotent: bool = False
    timeout: float | None = None


class Wire:
    """Speaks HTTP to one server. Close it, or use it in a `with` block."""

    def __init__(
        self,
        url: str,
        token: str = "",
        *,
        transport: httpx.BaseTransport | None = None,
        timeout: float = 30.0,
        sleep: Sleep = time.sleep,
        entropy: Entropy = os.urandom,
    ) -> None:
        self.url = url
        self.token = token
        self.timeout = timeout
        self.sleep = sleep
        self.entropy = entropy
        try:
            here = httpx.URL(url).host in _THIS_MACHINE
            self._http = httpx.Client(base_url=url, transport=transport, timeout=timeout, trust_env=not here)
        except (httpx.InvalidURL, ValueError) as error:
            raise _bad_address(url) from error

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Give the connections back."""
        self._http.close()

    @property
    def is_readable_on_the_way(self) -> bool:
        """True when what is sent leaves this machine unencrypted."""
        url = httpx.URL(self.url)
        return url.scheme != "https" and url.host not in _THIS_MACHINE

    def new_key(self) -> str:
        """A fresh Idempotency-Key: 128 random bits."""
        return self.entropy(16).hex()

    def get(self, shape: type[Shape], path: str, **params: object) -> Shape:
        """Read one thing. Parameters that are None are left out."""
        return self.read(shape, self.send(Call(verb="GET", path=path, params=_text(params), idempotent=True)))

    def post(
        self, shape: type[Shape], path: str, body: BaseModel | None = None, *, idempotency_key: str | None = None
    ) -> Shape:
        """Do one thing; `idempotency_key` makes it safe to repeat, where the server honours one."""
        headers = {"Idempotency-Key": idempotency_key} if idempotency_key else {}
        call = Call(verb="POST", path=path, body=body, headers=headers, idempotent=idempotency_key is not None)
        return self.read(shape, self.send(call))

    def pages(
        self, shape: type[Shape], path: str, *, limit: int | None = None, after: str | None = None, **params: object
    ) -> Iterator[Shape]:
        """Every item of a list behind the cursor `after`, page after page, at most `limit` of them."""
        kind = Page[shape]  # type: ignore[valid-type]
        left = limit
        while left is None or left > 0:
            size = LARGEST_PAGE if left is None else min(left, LARGEST_PAGE)
            page = self.get(kind, path, after=after, limit=size, **params)
            yield from page.items if left is None else page.items[:left]
            after = page.next
            left = None if left is None else left - len(page.items)
            if after is None:
                return

    def read(self, shape: type[Shape], response: httpx.Response) -> Shape:
        """The body in the shape that was agreed; anything else is the server's fault, said clearly."""
        try:
            return shape.model_validate_json(response.content)
        except ValidationError as error:
            raise errors.ServerFault(
                say("The server did not answer in the agreed form.", "服务器的响应不符合约定的格式。"),
                hint=say(
                    "Check that the address is a Data Open Sandbox and that client and server are not far apart in version.",
                    "请确认该地址是数据开放沙箱服务，且客户端与服务端版本相近。",
                ),
                reference=response.headers.get("X-Reference", ""),
                status=response.status_code,
            ) from error

    def send(self, call: Call) -> httpx.Response:
        """Send, retrying what is safe to retry; an error response becomes its exception."""
        for attempt in range(TRIES):
            last = attempt == TRIES - 1
            try:
                response = self._once(call)
            except httpx.TransportError as error:
                if last or not (call.idempotent or isinstance(error, _NOT_SENT)) or call.content is not None:
                    raise self._unreachable(error) from error
                self._pause(attempt, None)
                continue
            except (httpx.InvalidURL, UnicodeError) as error:
                raise _bad_address(self.url) from error
            if response.status_code in _BUSY and call.idempotent and not last:
                self._pause(attempt, response.headers.get("Retry-After"))
                continue
            return self._checked(response)
        raise AssertionError("the last try returns or raises")

    def _once(self, call: Call) -> httpx.Response:
        return self._http.request(
            call.verb,
            call.path,
            params=call.params or None,
            content=_content(call),
            headers=self._headers(call),
            timeout=self.timeout if call.timeout is None else call.timeout,
        )

    def _headers(self, call: Call) -> dict[str, str]:
        headers = {"Accept": "application/json", "Accept-Language": language()}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        if call.body is not None:
            headers["Content-Type"] = "application/json"
        return {**headers, **(call.headers or {})}

    def _pause(self, attempt: int, retry_after: str | None) -> None:
        """Wait 0.2, 0.4, 0.8 … seconds, spread by chance over half of it so that clients do not return in step."""
        asked = _seconds(retry_after)
        chance = int.from_bytes(self.entropy(2), "big") / 65536
        self.sleep(min(LONGEST_WAIT, max(asked or 0.0, 0.2 * 2**attempt * (0.5 + chance / 2))))

    def _checked(self, response: httpx.Response) -> httpx.Response:
        if response.status_code < 300:
            return response
        found = errors.from_body(
            response.status_code, response.content, reference=response.headers.get("X-Reference", "")
        )
        if isinstance(found, errors.Unavailable):
            found.retry_after = _seconds(response.headers.get("Retry-After"))
        raise found

    def _unreachable(self, error: httpx.TransportError) -> errors.Unavailable:
        return errors.Unavailable(
            say("No answer from {url} ({why}).", "{url} 没有响应（{why}）。", url=self.url, why=type(error).__name__),
            hint=say(
                "Check the address (SANDBOX_URL or `sandbox login --url …`) and that the server is running.",
                "请检查地址（SANDBOX_URL 或 `sandbox login --url …`），并确认服务正在运行。",
            ),
        )

    def events(self, path: str, *, after: str = "", timeout: float = 60.0) -> Iterator[ServerSentEvent]:
        """One connection's worth of Server-Sent Events; raises `httpx.TransportError` or `SSEError` when it breaks."""
        headers = {**self._headers(Call(verb="GET", path=path)), "Cache-Control": "no-store"}
        if after:
            headers["Last-Event-ID"] = after
        headers.pop("Accept")
        with connect_sse(self._http, "GET", path, headers=headers, timeout=timeout) as source:
            if source.response.status_code >= 300:
                source.response.read()
                self._checked(source.response)
            yield from source.iter_sse()


STREAM_BROKE = (httpx.TransportError, httpx.StreamError, SSEError)
"""What `Wire.events` raises when a stream breaks and asking again in another way makes sense."""


def _content(call: Call) -> IO[bytes] | bytes | None:
    if call.body is not None:
        return call.body.model_dump_json(exclude_none=True).encode()
    return call.content if call.text is None else call.text.encode()


def _text(params: Mapping[str, Any]) -> dict[str, str]:
    return {key: str(value) for key, value in params.items() if value is not None}


def _seconds(retry_after: str | None) -> float | None:
    """Retry-After in seconds; the date form (RFC 9110, section 10.2.3) is not used by this server and is ignored."""
    try:
        return max(0.0, float(retry_after or ""))
    except ValueError:
        return None


def _bad_address(url: str) -> errors.SandboxError:
    return errors.SandboxError(
        say("“{url}” is not an address.", "“{url}” 不是有效的地址。", url=url),
        hint=say("Give it like https://sandbox.example.org", "请写成 https://sandbox.example.org 的形式"),
    )

"""The edge without a house: languages, statuses, limits, references, the last line of defence."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from privacy import errors
from privacy.errors import Problem, Text
from sandbox.api.edge import SECURITY_HEADERS, Edge
from sandbox.api.problems import (
    PROBLEM_TYPE,
    STATUS,
    TITLES,
    TooManyAttempts,
    answer_problem,
    language,
    plain,
    status_of,
)
from sandbox.api.throttle import MOST_KEYS, Throttle


class Sqlish(errors.Refused):
    code = "sql.test_only"
    sentence = Text("No.", "不。")
    hint = Text("Yes.", "是。")


@pytest.mark.parametrize(
    ("header", "wanted"),
    [
        (None, "en"),
        ("", "en"),
        ("zh", "zh-CN"),
        ("zh-TW;q=0.3, en;q=0.2", "zh-CN"),
        ("en, zh-CN", "en"),
        ("fr, de", "en"),
        ("fr, zh;q=0.1", "zh-CN"),
        ("zh;q=0", "en"),
        ("zh;q=nan, en;q=0.1", "en"),
        ("zh;q=7", "en"),
        ("ZH-cn;Q=1", "zh-CN"),
        ("*", "en"),
        (",,;;q=,", "en"),
    ],
)
def test_the_language_is_the_one_the_header_prefers(header: str | None, wanted: str) -> None:
    assert language(header) == wanted


def test_every_kind_of_problem_has_a_status_and_every_status_a_title() -> None:
    kinds = set(Problem.__subclasses__())
    assert kinds <= set(STATUS)
    assert set(STATUS.values()) | {422} == set(TITLES)


def test_sql_refusals_are_unprocessable_and_throttling_is_not_a_server_error() -> None:
    assert status_of(Sqlish) == 422
    assert status_of(TooManyAttempts) == 429
    assert status_of(errors.Fault) == 500


def test_private_detail_goes_to_the_log_and_never_into_the_body(caplog: pytest.LogCaptureFixture) -> None:
    response = answer_problem(errors.Fault(private="row 17 holds 4711"), "en", "ref1")
    assert b"4711" not in bytes(response.body)
    assert "row 17 holds 4711" in caplog.text
    assert "ref1" in caplog.text


def test_parameters_become_json_in_the_askers_language() -> None:
    value = {"a": Text("x", "甲"), "b": (1, 2.5, float("inf")), "c": "\ud800", "d": timedelta(1)}
    assert plain(value, "zh-CN") == {"a": "甲", "b": [1, 2.5, None], "c": "?", "d": "1 day, 0:00:00"}


async def _echo(scope: Scope, receive: Receive, send: Send) -> None:
    body = await Request(scope, receive).body()
    if body == b"boom":
        raise RuntimeError("secret detail")
    await PlainTextResponse(str(len(body)))(scope, receive, send)


def _call(method: str, path: str, body: bytes | AsyncIterator[bytes], headers: dict[str, str]) -> httpx.Response:
    app = Edge(_echo, max_body=100, max_upload=1000, new_reference=lambda: "abc")

    async def go() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://t") as client:
            return await client.request(method, path, content=body, headers=headers)

    return asyncio.run(go())


async def _stream(chunks: int) -> AsyncIterator[bytes]:
    for _ in range(chunks):
        yield b"x" * 50


def test_every_answer_carries_its_reference_and_the_security_headers() -> None:
    response = _call("POST", "/", b"hello", {})
    assert response.text == "5"
    assert response.headers["X-Reference"] == "abc"
    assert SECURITY_HEADERS.items() <= {k: response.headers.get(k) for k in SECURITY_HEADERS}.items()


def test_a_declared_body_beyond_the_limit_is_refused_unread() -> None:
    response = _call("POST", "/", b"x" * 101, {"Accept-Language": "zh"})
    assert response.status_code == 413
    assert response.headers["content-type"] == PROBLEM_TYPE
    assert response.json()["code"] == "http.body_too_large"
    assert response.json()["detail"] == "请求超过 100 字节。"
    assert response.json()["reference"] == "abc"


def test_an_undeclared_body_is_counted_while_it_is_read() -> None:
    assert _call("POST", "/", _stream(2), {}).text == "100"
    assert _call("POST", "/", _stream(3), {}).status_code == 413


def test_an_upload_has_its_own_limit() -> None:
    assert _call("PUT", "/v1/datasets/a/b/tables/t", _stream(20), {}).text == "1000"
    assert _call("PUT", "/v1/datasets/a/b/tables/t", _stream(21), {}).status_code == 413
    assert _call("PUT", "/v1/datasets/a/b/tables/t", b"x" * 1001, {}).status_code == 413


@pytest.mark.parametrize("length", ["-1", "1e3", "٣", "9" * 400, "abc"])
def test_a_strange_content_length_is_refused(length: str) -> None:
    sent: list[dict[str, object]] = []

    async def go() -> None:
        async def receive() -> dict[str, object]:
            raise AssertionError("the body must not be read")

        async def send(message: dict[str, object]) -> None:
            sent.append(message)

        headers = [(b"content-length", length.encode())]
        scope = {"type": "http", "method": "POST", "path": "/", "headers": headers}
        await Edge(_echo, max_body=100, max_upload=1000, new_reference=lambda: "r")(scope, receive, send)  # type: ignore[arg-type]

    asyncio.run(go())
    assert sent[0]["status"] == 413


def test_what_nobody_expected_is_one_constant_sentence(caplog: pytest.LogCaptureFixture) -> None:
    response = _call("POST", "/", b"boom", {})
    assert response.status_code == 500
    assert response.json()["code"] == "fault"
    assert "secret" not in response.text
    assert "Traceback" not in response.text
    assert "secret detail" in caplog.text
    assert json.loads(response.text)["reference"] in caplog.text


class _Clock:
    def __init__(self) -> None:
        self.now = datetime(2026, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


def test_failed_sign_ins_are_slowed_down_for_their_address_only() -> None:
    clock = _Clock()
    throttle = Throttle(clock=clock, per_login=3, per_address=5)
    for _ in range(3):
        throttle.attempt("li", "10.0.0.1")
    with pytest.raises(TooManyAttempts) as caught:
        throttle.attempt("li", "10.0.0.1")
    assert caught.value.params["retry_after"] == 301
    throttle.attempt("li", "10.0.0.2")
    throttle.attempt("wang", "10.0.0.1")
    throttle.attempt("zhao", "10.0.0.1")
    with pytest.raises(TooManyAttempts):
        throttle.attempt("qian", "10.0.0.1")
    clock.now += timedelta(minutes=5)
    throttle.attempt("li", "10.0.0.1")


def test_success_starts_a_login_afresh() -> None:
    throttle = Throttle(clock=_Clock(), per_login=2, per_address=4)
    for _ in range(20):
        throttle.attempt("li", "a")
        throttle.succeeded("li", "a")
    throttle.succeeded("never", "seen")


def test_the_throttle_remembers_a_bounded_number_of_keys() -> None:
    throttle = Throttle(clock=_Clock())
    for i in range(MOST_KEYS):
        throttle.attempt(f"login{i}", f"address{i}")
    assert len(throttle._seen) == MOST_KEYS

"""What goes wrong on a network: retries that never do anything twice, and problems as exceptions."""

from __future__ import annotations

import io
import json
from collections.abc import Callable

import httpx
import pytest

from sandbox.client import errors
from sandbox.client.transport import LONGEST_WAIT, TRIES, Call, Wire
from sandbox.say import speaking
from sandbox.wire import DatasetOut, HealthOut, ProblemOut, QuestionIn

URL = "http://sandbox.test"
Answer = Callable[[httpx.Request], httpx.Response]
QUESTION = QuestionIn(project="p", dataset="d", sql="select 1")


class Network:
    """A network that does what it is told, one step a request, and remembers every request."""

    def __init__(self, *steps: httpx.Response | type[httpx.TransportError]) -> None:
        self.steps = list(steps)
        self.seen: list[httpx.Request] = []
        self.slept: list[float] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.seen.append(request)
        step = self.steps.pop(0) if self.steps else httpx.Response(500)
        if isinstance(step, httpx.Response):
            return step
        raise step("broken", request=request)

    def wire(self, token: str = "") -> Wire:
        return Wire(
            URL, token, transport=httpx.MockTransport(self), sleep=self.slept.append, entropy=lambda n: b"\x80" * n
        )


def ok() -> httpx.Response:
    return httpx.Response(200, json={"status": "ok"})


def problem(status: int, code: str = "x.y", **more: object) -> httpx.Response:
    body = {
        "type": f"/v1/problems/{code}",
        "title": "T",
        "status": status,
        "detail": "What was wrong.",
        "code": code,
        "hint": "What to do.",
        "reference": "ref-1",
        **more,
    }
    return httpx.Response(status, json=body, headers={"Content-Type": "application/problem+json", "Retry-After": "3"})


def test_a_get_is_tried_again_until_the_server_is_back() -> None:
    network = Network(httpx.ConnectError, httpx.ReadError, httpx.Response(502), httpx.RemoteProtocolError, ok())
    assert network.wire().get(HealthOut, "/healthz").status == "ok"
    assert len(network.seen) == 5
    assert network.slept == pytest.approx([0.15, 0.3, 0.6, 1.2], rel=0.01)


def test_it_gives_up_after_a_fixed_number_of_tries() -> None:
    network = Network(*[httpx.ConnectTimeout] * 9)
    with pytest.raises(errors.Unavailable, match=r"No answer from http://sandbox\.test \(ConnectTimeout\)"):
        network.wire().get(HealthOut, "/healthz")
    assert len(network.seen) == TRIES


def test_a_busy_server_is_given_the_time_it_asks_for_but_not_for_ever() -> None:
    busy = httpx.Response(503, headers={"Retry-After": "4"})
    network = Network(
        busy, httpx.Response(503, headers={"Retry-After": "86400"}), problem(503), problem(503), problem(503)
    )
    with pytest.raises(errors.Unavailable) as caught:
        network.wire().get(HealthOut, "/healthz")
    assert network.slept == pytest.approx([4, LONGEST_WAIT, 3, 3])
    assert caught.value.retry_after == 3


@pytest.mark.parametrize("broken", [httpx.ReadError, httpx.WriteError, httpx.ReadTimeout, httpx.RemoteProtocolError])
def test_a_post_without_a_key_is_not_repeated_once_it_may_have_arrived(broken: type[httpx.TransportError]) -> None:
    network = Network(broken, ok())
    with pytest.raises(errors.Unavailable):
        network.wire().post(HealthOut, "/v1/projects")
    assert len(network.seen) == 1


def test_a_post_without_a_key_is_not_repeated_for_a_busy_server() -> None:
    network = Network(problem(503), ok())
    with pytest.raises(errors.Unavailable):
        network.wire().post(HealthOut, "/v1/projects")
    assert len(network.seen) == 1


def test_a_post_that_never_left_is_repeated() -> None:
    network = Network(httpx.ConnectError, httpx.PoolTimeout, ok())
    assert network.wire().post(HealthOut, "/v1/projects").status == "ok"


def test_a_question_keeps_its_key_over_all_tries() -> None:
    network = Network(httpx.ReadError, httpx.Response(504), httpx.ConnectError, httpx.Response(503), ok())
    wire = network.wire()
    assert wire.post(HealthOut, "/v1/queries", QUESTION, idempotency_key=wire.new_key()).status == "ok"
    assert {request.headers["Idempotency-Key"] for request in network.seen} == {"80" * 16}
    assert {request.content for request in network.seen} == {b'{"project":"p","dataset":"d","sql":"select 1"}'}
    assert len(network.seen) == 5


def test_an_upload_is_never_repeated_because_the_file_is_half_read() -> None:
    network = Network(httpx.ConnectError, ok())
    with pytest.raises(errors.Unavailable):
        network.wire().send(Call(verb="PUT", path="/v1/x", content=io.BytesIO(b"abc")))
    assert len(network.seen) == 1


def test_every_request_says_who_asks_and_in_which_language() -> None:
    network = Network(ok(), ok())
    with speaking("zh-CN"), network.wire("token-1") as wire:
        wire.get(HealthOut, "/healthz", after=None, limit=3)
        wire.token = ""
        wire.get(HealthOut, "/healthz")
    first, second = network.seen
    assert first.headers["Authorization"] == "Bearer token-1"
    assert first.headers["Accept-Language"] == "zh-CN"
    assert str(first.url) == f"{URL}/healthz?limit=3"
    assert "Authorization" not in second.headers


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (400, "http.request_invalid", errors.Malformed),
        (401, "people.not_signed_in", errors.Unauthenticated),
        (403, "policy.refused", errors.Refused),
        (403, "ledger.exhausted", errors.BudgetExhausted),
        (403, "ledger.delta_exhausted", errors.BudgetExhausted),
        (404, "dataset.not_found", errors.NotFound),
        (405, "a.code_from_tomorrow", errors.Refused),
        (409, "idempotency.reused", errors.Conflict),
        (413, "http.body_too_large", errors.TooLarge),
        (418, "a.code_from_tomorrow", errors.Refused),
        (422, "sql.unknown_column", errors.Refused),
        (429, "http.too_many_attempts", errors.Unavailable),
        (500, "fault", errors.ServerFault),
    ],
)
def test_a_problem_becomes_its_exception(status: int, code: str, kind: type[errors.SandboxError]) -> None:
    network = Network(problem(status, code, errors=[{"field": "body.sql", "message": "At least 1 character."}]))
    with pytest.raises(kind) as caught:
        network.wire().get(HealthOut, "/healthz")
    error = caught.value
    assert type(error) is kind
    assert (error.code, error.status, error.reference) == (code, status, "ref-1")
    assert str(error).splitlines() == [
        "What was wrong.",
        "  body.sql: At least 1 character.",
        "Hint: What to do.",
        f"[{code}]  ref-1",
    ]


def test_a_budget_refusal_carries_its_figures() -> None:
    params = {"requested": "0.5", "remaining": "0.31", "difference": "0.19", "contact": "a@b.example"}
    network = Network(problem(403, "ledger.exhausted", params=params))
    with pytest.raises(errors.BudgetExhausted) as caught:
        network.wire().post(HealthOut, "/v1/queries", QUESTION)
    error = caught.value
    assert (error.requested, error.remaining, error.missing, error.contact) == (0.5, 0.31, 0.19, "a@b.example")
    bare = errors.BudgetExhausted("no", params={"requested": "much"})
    assert (bare.requested, bare.remaining, bare.contact) == (None, None, "")


@pytest.mark.parametrize("body", [b"", b"<html>Bad Gateway</html>", b'{"status": 500}', b"\xff\xfe", b"[]", b"null"])
def test_an_error_that_is_not_ours_is_still_clear(body: bytes) -> None:
    network = Network(httpx.Response(403, content=body))
    with pytest.raises(errors.Refused, match=r"status 403(.|\n)*proxy"):
        network.wire().get(HealthOut, "/healthz")


@pytest.mark.parametrize("body", [b"", b"hello", b'{"status": "maybe"}', b"[]"])
def test_an_answer_that_is_not_as_agreed_is_a_fault_of_the_server(body: bytes) -> None:
    network = Network(httpx.Response(200, content=body, headers={"X-Reference": "ref-2"}))
    with pytest.raises(errors.ServerFault, match=r"agreed form(.|\n)*ref-2"):
        network.wire().get(HealthOut, "/healthz")


@pytest.mark.parametrize(
    ("url", "trusted"), [("http://127.0.0.1:1", False), ("http://localhost", False), ("https://sandbox.example", True)]
)
def test_a_server_on_this_machine_is_not_reached_through_a_proxy(url: str, trusted: bool) -> None:
    assert Wire(url)._http.trust_env is trusted
    assert not Wire(url).is_readable_on_the_way
    assert Wire("http://sandbox.example").is_readable_on_the_way


@pytest.mark.parametrize("url", ["http://[", "http://a b/", "http://x:port"])
def test_an_address_that_is_none_is_named(url: str) -> None:
    with pytest.raises(errors.SandboxError, match=r"is not an address|No answer"):
        Wire(url, transport=httpx.HTTPTransport(), sleep=lambda _: None).get(HealthOut, "/healthz")


def test_a_redirect_is_not_followed_with_the_token() -> None:
    network = Network(httpx.Response(307, headers={"Location": "http://elsewhere.test/"}))
    with pytest.raises(errors.SandboxError, match="status 307"):
        network.wire("token").get(HealthOut, "/healthz")
    assert len(network.seen) == 1


def pages(*sizes: int) -> Network:
    made, first = [], 0
    for at, size in enumerate(sizes):
        items = [
            {
                "name": f"d{first + k}",
                "title": {"en": "", "zh": ""},
                "summary": {"en": "", "zh": ""},
                "provider": {"en": "", "zh": "", "contact": ""},
                "grade": "L1",
                "openness": "closed",
            }
            for k in range(size)
        ]
        first += size
        made.append(httpx.Response(200, json={"items": items, "next": None if at == len(sizes) - 1 else str(first)}))
    return Network(*made)


def test_lists_are_read_to_their_end_page_by_page() -> None:
    network = pages(3, 2, 0, 1)
    assert [one.name for one in network.wire().pages(DatasetOut, "/v1/datasets")] == [f"d{k}" for k in range(6)]
    assert [request.url.params.get("after") for request in network.seen] == [None, "3", "5", "5"]


def test_a_limited_list_asks_for_no_more_than_it_needs() -> None:
    network = pages(3, 3, 3)
    assert len(list(network.wire().pages(DatasetOut, "/v1/datasets", limit=4))) == 4
    assert [request.url.params["limit"] for request in network.seen] == ["4", "1"]


def test_events_resume_after_the_last_one_seen() -> None:
    stream = b"id: 7\nevent: job\ndata: {}\n\nid: 8\ndata: x\n\n"
    network = Network(httpx.Response(200, content=stream, headers={"Content-Type": "text/event-stream"}))
    found = list(network.wire("t").events("/v1/jobs/j/events", after="6"))
    assert [(event.id, event.data) for event in found] == [("7", "{}"), ("8", "x")]
    sent = network.seen[0].headers
    assert (sent["Last-Event-ID"], sent["Accept"], sent["Authorization"]) == ("6", "text/event-stream", "Bearer t")


def test_a_stream_that_is_refused_raises_the_problem() -> None:
    with pytest.raises(errors.NotFound):
        list(Network(problem(404)).wire().events("/v1/jobs/j/events"))


def test_problems_may_grow_new_members() -> None:
    text = json.dumps({**json.loads(problem(403).content), "of_tomorrow": {"a": 1}})
    assert isinstance(errors.from_problem(ProblemOut.model_validate_json(text)), errors.Refused)

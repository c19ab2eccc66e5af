"""Over HTTP: signing in, tokens of every wrong kind, projects, pages, languages, what an error looks like."""

from __future__ import annotations

import string
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from access.people import TOKEN_PREFIX
from sandbox import wire
from sandbox.api.edge import SECURITY_HEADERS
from sandbox.api.problems import PROBLEM_TYPE
from tests.journeys.world import PASSWORD, World, open_world


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    world = open_world(tmp_path_factory.mktemp("people"))
    yield world
    world.house.registry.close()  # type: ignore[attr-defined]


def problem(response: httpx.Response, status: int, code: str) -> wire.ProblemOut:
    """The problem, after everything that holds for all of them was checked."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == PROBLEM_TYPE
    told = wire.ProblemOut.model_validate_json(response.content)
    assert (told.status, told.code, told.type) == (status, code, f"/v1/problems/{code}")
    assert told.detail
    assert told.hint
    assert told.reference == response.headers["X-Reference"]
    assert "Traceback" not in response.text
    for name, value in SECURITY_HEADERS.items():
        assert response.headers[name] == value
    return told


def test_sign_in_gives_a_token_that_works_until_it_is_revoked(world: World) -> None:
    client = world.client()
    session = client.post("/v1/session", json={"login": "li", "password": PASSWORD})
    assert session.status_code == 200
    told = wire.SessionOut.model_validate_json(session.content)
    assert told.token.startswith(TOKEN_PREFIX)
    assert told.me.login == "li"
    assert told.me.organisation == "University"
    mine = {"Authorization": f"Bearer {told.token}"}
    assert client.get("/v1/me", headers=mine).json()["roles"] == ["researcher"]
    assert client.delete(f"/v1/tokens/{told.token_id}", headers=mine).status_code == 204
    problem(client.get("/v1/me", headers=mine), 401, "people.not_signed_in")


def test_wrong_password_and_unknown_login_are_the_same_answer(world: World) -> None:
    client = world.client()
    wrong = problem(client.post("/v1/session", json={"login": "li", "password": "x"}), 401, "people.wrong_password")
    unknown = problem(
        client.post("/v1/session", json={"login": "nobody", "password": "x"}), 401, "people.wrong_password"
    )
    without = problem(client.post("/v1/session", json={"login": "rui", "password": "x"}), 401, "people.wrong_password")
    bodies = [p.model_dump(exclude={"reference"}) for p in (wrong, unknown, without)]
    assert bodies[0] == bodies[1] == bodies[2]


def test_guessing_is_slowed_down(world: World) -> None:
    client = world.client()
    answers = [client.post("/v1/session", json={"login": "guess", "password": "x"}) for _ in range(9)]
    assert [a.status_code for a in answers] == [401] * 8 + [429]
    problem(answers[-1], 429, "http.too_many_attempts")
    assert 0 < int(answers[-1].headers["Retry-After"]) <= 301


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        "Basic bGk6eA==",
        "Bearer dos_" + "A" * 43,
        "Bearer " + "x" * 4000,
        "bearer dos_\x00",
        "Bearer dos_é",
        "Token dos_abc",
    ],
)
def test_forged_tokens_get_one_and_the_same_answer(world: World, header: str | None) -> None:
    sent = {} if header is None else {"Authorization": header.encode("latin-1")}
    response = world.client().get("/v1/me", headers=sent)  # type: ignore[arg-type]
    told = problem(response, 401, "people.not_signed_in")
    assert response.headers["WWW-Authenticate"].startswith("Bearer")
    assert told.detail == "The access token is missing, unknown, expired or revoked."


def test_an_expired_token_is_refused(tmp_path: Path) -> None:
    world = open_world(tmp_path)
    client = world.client("li")
    assert client.get("/v1/me").status_code == 200
    world.clock.ahead = timedelta(days=2)
    problem(client.get("/v1/me"), 401, "people.not_signed_in")
    world.house.registry.close()  # type: ignore[attr-defined]


def test_a_foreign_token_cannot_be_revoked_and_looks_missing(world: World) -> None:
    theirs = world.client("wang").post("/v1/tokens", json={"label": "mine", "days": 2})
    assert theirs.status_code == 201
    foreign = problem(world.client("li").delete(f"/v1/tokens/{theirs.json()['id']}"), 404, "people.token_not_found")
    missing = problem(world.client("li").delete(f"/v1/tokens/{'0' * 32}"), 404, "people.token_not_found")
    assert foreign.title == missing.title
    client = world.client()
    assert client.get("/v1/me", headers={"Authorization": f"Bearer {theirs.json()['token']}"}).status_code == 200


def test_a_listed_token_never_shows_its_secret(world: World) -> None:
    client = world.client("li")
    secret = client.post("/v1/tokens", json={"label": "script"}).json()["token"]
    listed = client.get("/v1/tokens?limit=500")
    assert secret not in listed.text
    assert all("token" not in item for item in listed.json()["items"])


def test_every_page_of_a_list_is_read_exactly_once(world: World) -> None:
    client = world.client("zhao")
    for letter in string.ascii_lowercase[:7]:
        made = client.post("/v1/projects", json={"name": f"p-{letter}", "title": "T", "purpose": "Because."})
        assert made.status_code == 201
    names, after = [], None
    while True:
        query = {"limit": 3} | ({"after": after} if after else {})
        page = wire.Page[wire.ProjectOut].model_validate_json(client.get("/v1/projects", params=query).content)
        names += [p.name for p in page.items]
        assert len(page.items) <= 3
        if page.next is None:
            break
        after = page.next
    assert names == [f"p-{c}" for c in string.ascii_lowercase[:7]]
    newest = client.get("/v1/projects", params={"order": "newest", "limit": 1}).json()
    assert newest["items"][0]["name"] == "p-g"


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=0", "query.limit"),
        ("limit=501", "query.limit"),
        ("limit=x", "query.limit"),
        ("after=-1", "query.after"),
        ("after=9999999999999999999", "query.after"),
        ("after=' OR 1=1", "query.after"),
        ("order=random", "query.order"),
    ],
)
def test_a_page_we_did_not_hand_out_is_named(world: World, query: str, field: str) -> None:
    told = problem(world.client("li").get(f"/v1/projects?{query}"), 400, "http.request_invalid")
    assert [e.field for e in told.errors] == [field]


def test_other_peoples_projects_are_hidden_as_if_they_did_not_exist(world: World) -> None:
    client = world.client("wang")
    made = client.post("/v1/projects", json={"name": "secret", "title": "T", "purpose": "Because."})
    assert made.status_code == 201
    assert client.get("/v1/projects/secret").json()["members"] == ["wang"]
    stranger = world.client("zhao")
    hidden = problem(stranger.get("/v1/projects/secret"), 404, "people.project_not_found")
    missing = problem(stranger.get("/v1/projects/nothere"), 404, "people.project_not_found")
    assert hidden.detail.replace("secret", "nothere") == missing.detail
    assert "secret" not in stranger.get("/v1/projects").text
    add = stranger.post("/v1/projects/secret/members", json={"login": "zhao"})
    problem(add, 404, "people.project_not_found")


def test_members_come_from_the_projects_own_organisation(world: World) -> None:
    client = world.client("li")
    client.post("/v1/projects", json={"name": "team", "title": "T", "purpose": "Because."})
    joined = client.post("/v1/projects/team/members", json={"login": "wang"})
    assert joined.json()["members"] == ["li", "wang"]
    problem(client.post("/v1/projects/team/members", json={"login": "zhao"}), 403, "people.foreign_member")
    problem(client.post("/v1/projects", json={"name": "team", "title": "T", "purpose": "x"}), 409, "people.name_taken")
    steward = world.client("shen").post("/v1/projects", json={"name": "no", "title": "T", "purpose": "x"})
    assert "role" in problem(steward, 403, "policy.refused").detail


def test_the_accept_language_header_chooses(world: World) -> None:
    client = world.client(None, **{"Accept-Language": "zh-CN,zh;q=0.9,en;q=0.8"})
    response = client.get("/v1/me")
    told = problem(response, 401, "people.not_signed_in")
    assert told.detail.startswith("访问令牌")
    assert response.headers["Content-Language"] == "zh-CN"
    assert "Accept-Language" in response.headers["Vary"]
    fields = problem(client.post("/v1/session", json={"login": "li"}), 400, "http.request_invalid")
    assert [(e.field, e.message) for e in fields.errors] == [("body.password", "此字段为必填项。")]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"{",
        b"\xff\xfe",
        b'{"login": "li", "password": 1}',
        b'{"login": "li", "password": "x", "admin": true}',
        b'{"login": "\\u0000", "password": "x"}',
        b'{"login": "\\ud800", "password": "x"}',
        b'{"login": "", "password": "x"}',
        b'{"login": "li", "password": "' + b"x" * 1025 + b'"}',
        b"[" * 100_000,
        b'{"login": NaN, "password": "x"}',
        b'{"login": ' + b"9" * 5000 + b', "password": "x"}',
    ],
)
def test_unreadable_bodies_are_named_and_never_echoed(world: World, body: bytes) -> None:
    response = world.client().post("/v1/session", content=body, headers={"Content-Type": "application/json"})
    told = problem(response, 400, "http.request_invalid")
    assert told.errors
    assert "xxxx" not in response.text


def test_a_field_name_that_is_no_unicode_is_answered_all_the_same(world: World) -> None:
    body = b'{"login": "li", "password": "x", "\\ud800": 1}'
    response = world.client().post("/v1/session", content=body, headers={"Content-Type": "application/json"})
    problem(response, 400, "http.request_invalid")


def test_unknown_routes_and_methods_are_problems_too(world: World) -> None:
    problem(world.client().get("/v1/nothing"), 404, "http.not_found")
    problem(world.client().get("/docs"), 404, "http.not_found")
    wrong = world.client().put("/v1/me")
    problem(wrong, 405, "http.method_not_allowed")
    assert "GET" in wrong.headers["Allow"]


def test_a_large_body_is_refused_before_it_is_parsed(world: World) -> None:
    body = b'{"login": "' + b"a" * 1_000_000 + b'", "password": "x"}'
    told = problem(world.client().post("/v1/session", content=body), 413, "http.body_too_large")
    assert told.params["limit"] == 1_000_000


def test_health_needs_no_token_and_readiness_looks_at_the_registry(world: World, tmp_path: Path) -> None:
    assert world.client().get("/healthz").json()["status"] == "ok"
    assert world.client().get("/readyz").json() == {"status": "ok", "checks": {"registry": True, "staging": True}}
    other = open_world(tmp_path)
    other.house.staging.rmdir()
    unready = other.client().get("/readyz")
    assert unready.status_code == 503
    assert unready.json()["checks"]["staging"] is False
    other.house.registry.close()  # type: ignore[attr-defined]


def test_problem_codes_explain_themselves(world: World) -> None:
    client = world.client()
    all_of_them = wire.ProblemDocs.model_validate_json(client.get("/v1/problems").content).items
    codes = [d.code for d in all_of_them]
    assert codes == sorted(codes)
    assert {"ledger.exhausted", "sql.unsupported", "http.request_invalid"} <= set(codes)
    for doc in all_of_them:
        one = wire.ProblemDoc.model_validate_json(client.get(f"/v1/problems/{doc.code}").content)
        assert one == doc
        assert one.sentence.en
        assert one.sentence.zh
    problem(client.get("/v1/problems/no.such"), 404, "http.unknown_problem")


def test_the_contract_is_served_as_it_is_committed(world: World) -> None:
    document = world.client().get("/v1/openapi.json").json()
    assert document["openapi"].startswith("3.1")
    assert "/v1/queries" in document["paths"]

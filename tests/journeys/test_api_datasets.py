"""Over HTTP: the steward's way from a description to a version, and everything that may be wrong on it."""

from __future__ import annotations

from collections.abc import Iterator

import anyio
import httpx
import pytest

from sandbox import wire
from sandbox.api.app import create_app
from sandbox.api.guards import ApiSettings
from tests.journeys.test_api_people import problem
from tests.journeys.world import DESCRIPTION, World, open_world, publish, visits, work

YAML = {"Content-Type": "application/yaml"}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    world = open_world(tmp_path_factory.mktemp("datasets"))
    publish(world)
    yield world
    world.house.registry.close()  # type: ignore[attr-defined]


def register(world: World, text: str | bytes, login: str = "shen", kind: str = "application/yaml") -> httpx.Response:
    content = text if isinstance(text, bytes) else text.encode()
    return world.client(login, **{"Content-Type": kind}).post("/v1/datasets", content=content)


def named(name: str) -> str:
    return DESCRIPTION.replace("health/visits", name)


def test_the_card_tells_public_facts_alone(world: World) -> None:
    card = wire.Card.model_validate_json(world.client("zhao").get("/v1/datasets/health/visits").content)
    assert card.title.zh == "就诊记录"
    assert card.version is not None
    visits_table = card.tables[0]
    assert visits_table.rows is None
    assert visits_table.max_rows == 4
    amount = next(c for c in visits_table.columns if c.name == "amount")
    assert (amount.lower, amount.upper, amount.step) == ("0", "100", "0.5")
    city = next(c for c in visits_table.columns if c.name == "city")
    assert city.domain == ["云海", "青州"]
    listed = world.client("zhao").get("/v1/datasets").json()["items"]
    assert [d["name"] for d in listed] == ["health/visits"]


def test_a_name_with_an_escaped_slash_is_the_same_name(world: World) -> None:
    assert world.client("li").get("/v1/datasets/health%2Fvisits").json()["name"] == "health/visits"


def test_the_report_is_for_its_steward_alone(world: World) -> None:
    report = wire.ReportOut.model_validate_json(world.client("shen").get("/v1/datasets/health/visits/report").content)
    assert report.tables[0].rows_kept == len(visits().splitlines()) - 1
    assert report.tables[0].units == 400
    assert report.version
    problem(world.client("li").get("/v1/datasets/health/visits/report"), 403, "policy.refused")
    problem(world.client("an").get("/v1/datasets/health/visits/report"), 403, "policy.refused")
    problem(world.client("li").get("/v1/datasets/not/here/report"), 404, "dataset.not_found")


def test_a_wrong_description_names_line_field_and_what_is_allowed(world: World) -> None:
    wrong = named("wrong/one").replace("grade: L2", "grade: L9").replace("upper: 100", "upper: -1")
    told = problem(register(world, wrong), 400, "description.invalid")
    assert "L1" in told.detail
    assert "grade" in told.detail


@pytest.mark.parametrize(
    "text", [b"", b"\xff\xfe\x00", b"- a", b"a: &a [*a]", b"{" * 10_000, b"x: !!python/object:os.system {}"]
)
def test_a_description_that_is_none_is_a_problem(world: World, text: bytes) -> None:
    response = register(world, text)
    assert response.status_code == 400
    problem(response, 400, response.json()["code"])


def test_only_yaml_only_stewards_only_new_names(world: World) -> None:
    problem(register(world, named("a/b"), kind="application/json"), 415, "http.unsupported_media_type")
    problem(register(world, named("a/b"), login="li"), 403, "policy.refused")
    problem(register(world, DESCRIPTION), 409, "dataset.exists")
    problem(register(world, "x" * 1_000_001), 413, "http.body_too_large")


def test_a_closed_dataset_is_hidden_from_everyone_but_its_steward_and_auditors(world: World) -> None:
    assert register(world, named("closed/one").replace("openness: conditional", "openness: closed")).status_code == 201
    assert world.client("shen").get("/v1/datasets/closed/one").status_code == 200
    assert world.client("an").get("/v1/datasets/closed/one").status_code == 200
    hidden = problem(world.client("li").get("/v1/datasets/closed/one"), 404, "dataset.not_found")
    missing = problem(world.client("li").get("/v1/datasets/closed/two"), 404, "dataset.not_found")
    assert hidden.detail.replace("one", "two") == missing.detail
    assert "closed" not in world.client("li").get("/v1/datasets").text
    problem(world.client("li").put("/v1/datasets/closed/one/tables/visits", content=b"x"), 404, "dataset.not_found")


def test_an_upload_is_refused_before_it_is_read(world: World) -> None:
    refused = world.client("li").put("/v1/datasets/health/visits/tables/visits", content=visits())
    problem(refused, 403, "policy.refused")
    unknown = world.client("shen").put("/v1/datasets/health/visits/tables/nothere", content=visits())
    assert unknown.status_code in (400, 404)
    problem(unknown, unknown.status_code, unknown.json()["code"])
    assert not [p for p in world.house.staging.iterdir() if p.name.startswith("upload-")]


def test_an_upload_is_read_only_after_the_right_was_checked_and_leaves_nothing_behind(world: World) -> None:
    """At the level of ASGI messages: a stranger's body is never asked for, a steward's stops at its limit or with them."""
    small = create_app(world.house, ApiSettings(max_upload=1000))
    assert _upload(small, world.client("li"), chunks=5) == (403, 0)
    status, read = _upload(small, world.client("shen"), chunks=50)
    assert (status, read) == (413, 11)
    assert _upload(small, world.client("shen"), chunks=5, gone=True) == (0, 6)
    assert _upload(small, world.client("shen"), chunks=10) == (200, 10)
    assert not [p for p in world.house.staging.iterdir() if p.name.startswith("upload-")]


def _upload(app: object, client: httpx.Client, *, chunks: int, gone: bool = False) -> tuple[int, int]:
    """The status (0 for none) and how many of the 100-byte chunks the application asked for."""
    asked, sent = 0, []

    async def receive() -> dict[str, object]:
        nonlocal asked
        asked += 1
        if gone and asked > chunks:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": b"x" * 100, "more_body": gone or asked < chunks}

    async def send(message: dict[str, object]) -> None:
        sent.append(message)

    path = "/v1/datasets/health/visits/tables/visits"
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "PUT",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "scheme": "http",
        "server": ("t", 80),
        "client": ("127.0.0.1", 1),
        "headers": [(b"authorization", client.headers["authorization"].encode())],
    }
    anyio.run(app, scope, receive, send)  # type: ignore[arg-type]
    return (int(str(sent[0]["status"])) if sent else 0, asked)


def test_an_ingest_that_cannot_succeed_fails_as_a_job(world: World) -> None:
    steward = world.client("shen")
    assert register(world, named("bad/file")).status_code == 201
    missing = steward.post("/v1/datasets/bad/file/versions")
    assert missing.status_code in (400, 403, 409)
    problem(missing, missing.status_code, missing.json()["code"])
    assert steward.put("/v1/datasets/bad/file/tables/visits", content=b"PAR1 not parquet").status_code == 200
    job = steward.post("/v1/datasets/bad/file/versions")
    assert job.status_code == 202
    work(world)
    over = wire.JobOut.model_validate_json(steward.get(f"/v1/jobs/{job.json()['id']}").content)
    assert over.state == "failed"
    problem(world.client("li").get(f"/v1/jobs/{job.json()['id']}"), 404, "job.not_found")


@pytest.mark.parametrize("name", ["..", "../etc/passwd", "a//b", "A/b", "a/b/", "a%00b", "'; DROP TABLE datasets; --"])
def test_names_that_cannot_exist_are_problems(world: World, name: str) -> None:
    response = world.client("shen").get(f"/v1/datasets/{name}")
    assert response.status_code in (400, 404)
    problem(response, response.status_code, response.json()["code"])

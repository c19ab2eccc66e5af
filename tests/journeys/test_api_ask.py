"""Over HTTP, with the real store and engine: from a description to a proven answer, and what goes wrong on the way."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import httpx
import pyarrow as pa
import pytest

from sandbox import wire
from sandbox.api.formats import ARROW, CSV, RELEASED
from sandbox.verify_receipt import read_key, verify_receipt
from tests.journeys.test_api_people import problem
from tests.journeys.world import QUESTION, World, grant, open_world, publish, work


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    world = open_world(tmp_path_factory.mktemp("ask"))
    grant(world, publish(world))
    yield world
    world.house.registry.close()  # type: ignore[attr-defined]


def body(sql: str = QUESTION, **more: object) -> dict[str, object]:
    return {"project": "flu", "dataset": "health/visits", "sql": sql, "epsilon": 0.1} | more


def answered(world: World, key: str, sql: str = QUESTION, **more: object) -> wire.QueryOut:
    """Ask, let the worker work, and read the question again."""
    client = world.client("li")
    asked = client.post("/v1/queries", json=body(sql, **more), headers={"Idempotency-Key": key})
    assert asked.status_code in (200, 202), asked.text
    work(world)
    found = client.get(asked.headers["Location"])
    return wire.QueryOut.model_validate_json(found.content)


def test_a_preview_spends_nothing_and_says_what_it_would_cost(world: World) -> None:
    client = world.client("li")
    before = client.get("/v1/accounts").json()
    told = wire.PreviewOut.model_validate_json(client.post("/v1/queries:preview", json=body()).content)
    assert client.get("/v1/accounts").json() == before
    assert [(c.name, c.role) for c in told.columns] == [("city", "key"), ("n", "value"), ("mean", "value")]
    assert told.columns[1].plus_minus is not None
    assert told.columns[1].noise is not None
    assert told.cells == 2
    assert told.cost.epsilon == pytest.approx(0.1)
    assert told.affordable
    assert told.more_like_it >= 30


def test_a_question_is_accepted_answered_and_proven(world: World, tmp_path: Path) -> None:
    client = world.client("li")
    asked = client.post("/v1/queries", json=body(), headers={"Idempotency-Key": "first"})
    assert asked.status_code == 202
    accepted = wire.QueryOut.model_validate_json(asked.content)
    assert accepted.answer is None
    assert accepted.job.state == "queued"
    problem(client.get(f"/v1/queries/{accepted.id}/answer"), 409, "answer.not_ready")
    work(world)
    told = wire.QueryOut.model_validate_json(client.get(asked.headers["Location"]).content)
    assert told.job.state == "succeeded"
    answer = told.answer
    assert answer is not None
    assert [row[0] for row in answer.rows] == ["云海", "青州"]
    for row, intervals in zip(answer.rows, answer.intervals, strict=True):
        assert intervals[0] is None
        assert intervals[1] is not None
        assert intervals[1][0] <= float(str(row[1])) <= intervals[1][1]
    assert answer.charged == answer.cost
    assert answer.cost.rho_units > 0
    released = client.get(f"/v1/queries/{told.id}/answer", headers={"Accept": RELEASED})
    assert hashlib.sha256(released.content).hexdigest() == answer.digest
    receipt = client.get(f"/v1/receipts/{answer.receipt}")
    assert client.get(f"/v1/receipts/{answer.receipt}").content == receipt.content
    pem = client.get("/v1/log/key").json()["pem"]
    verify_receipt(receipt.content, read_key(pem.encode()), released.content)


def test_the_same_question_costs_nothing_again(world: World) -> None:
    first = answered(world, "cost-1")
    client = world.client("li")
    before = client.get("/v1/accounts").json()
    again = client.post("/v1/queries", json=body(), headers={"Idempotency-Key": "cost-2"})
    assert again.status_code == 200
    told = wire.QueryOut.model_validate_json(again.content)
    assert told.repeated
    assert told.answer is not None
    assert first.answer is not None
    assert told.answer.rows == first.answer.rows
    assert told.answer.charged.rho_units == 0
    assert told.answer.charged.epsilon == 0
    assert told.answer.cost.rho_units > 0
    assert client.get("/v1/accounts").json() == before


def test_a_replayed_key_is_the_same_result_and_another_body_a_conflict(world: World) -> None:
    client, sql = world.client("li"), "SELECT COUNT(*) AS n FROM visits WHERE amount > 50"
    headers = {"Idempotency-Key": "replay"}
    one = client.post("/v1/queries", json=body(sql), headers=headers)
    two = client.post("/v1/queries", json=body(sql), headers=headers)
    assert one.status_code == two.status_code == 202
    assert one.json()["id"] == two.json()["id"]
    work(world)
    three = client.post("/v1/queries", json=body(sql), headers=headers)
    assert three.status_code == 200
    assert three.json()["id"] == one.json()["id"]
    problem(client.post("/v1/queries", json=body(sql, epsilon=0.2), headers=headers), 409, "idempotency.reused")
    spent = [j for j in client.get("/v1/queries?limit=500").json()["items"] if j["question"] == sql]
    assert len(spent) == 1


@pytest.mark.parametrize("key", [None, "", " ", "a b", "x" * 201, "é"])
def test_a_question_without_a_good_key_is_refused(world: World, key: str | None) -> None:
    headers = {} if key is None else {"Idempotency-Key": key.encode("latin-1")}
    response = world.client("li").post("/v1/queries", json=body(), headers=headers)  # type: ignore[arg-type]
    assert response.status_code == 400
    assert response.json()["code"] in ("http.idempotency_key_missing", "http.request_invalid")


def test_waiting_within_the_request_returns_the_answer(world: World) -> None:
    client, sql = world.client("li"), "SELECT COUNT(*) AS n FROM visits WHERE amount > 1"
    worker = threading.Thread(target=lambda: (time.sleep(0.3), work(world)))
    worker.start()
    headers = {"Idempotency-Key": "wait", "Prefer": "respond-async, wait=20"}
    told = client.post("/v1/queries", json=body(sql), headers=headers)
    worker.join()
    assert told.status_code == 200
    assert told.headers["Preference-Applied"] == "wait=20"
    assert told.json()["answer"]["rows"]


def test_waiting_ends_with_202_when_the_time_is_up(world: World) -> None:
    client, sql = world.client("li"), "SELECT COUNT(*) AS n FROM visits WHERE amount > 2"
    began = time.monotonic()
    told = client.post("/v1/queries", json=body(sql), headers={"Idempotency-Key": "late", "Prefer": "wait=1"})
    assert told.status_code == 202
    assert 0.9 <= time.monotonic() - began < 10
    cancelled = client.post(f"/v1/jobs/{told.json()['id']}:cancel")
    assert cancelled.json()["state"] == "cancelled"
    problem(client.post(f"/v1/jobs/{told.json()['id']}:cancel"), 409, "job.over")
    work(world)
    assert client.get(f"/v1/jobs/{told.json()['id']}").json()["state"] == "cancelled"


def test_events_stream_until_the_job_is_over_and_resume(world: World) -> None:
    done = answered(world, "events", "SELECT COUNT(*) AS n FROM visits WHERE amount > 3")
    client = world.client("li", **{"Accept-Language": "zh"})
    stream = client.get(f"/v1/jobs/{done.id}/events")
    assert stream.headers["content-type"].startswith("text/event-stream")
    fields = dict(line.split(": ", 1) for line in stream.text.strip().splitlines())
    assert fields["event"] == "job"
    event = wire.JobEvent.model_validate_json(fields["data"])
    assert event.id == fields["id"]
    assert event.job.state == "succeeded"
    assert event.job.message == "已得出结果。"
    resumed = client.get(f"/v1/jobs/{done.id}/events", headers={"Last-Event-ID": event.id})
    assert "data:" not in resumed.text
    problem(world.client("zhao").get(f"/v1/jobs/{done.id}/events"), 404, "job.not_found")


def test_a_stream_ends_when_its_token_is_revoked(world: World) -> None:
    client, sql = world.client("li"), "SELECT COUNT(*) AS n FROM visits WHERE amount > 4"
    job = client.post("/v1/queries", json=body(sql), headers={"Idempotency-Key": "revoked"}).json()["id"]
    token = client.post("/v1/tokens", json={"label": "stream"}).json()
    seen: list[str] = []

    def watch() -> None:
        mine = {"Authorization": f"Bearer {token['token']}"}
        seen.append(world.client(None, **mine).get(f"/v1/jobs/{job}/events").text)

    watcher = threading.Thread(target=watch)
    watcher.start()
    time.sleep(0.3)
    assert watcher.is_alive()
    assert client.delete(f"/v1/tokens/{token['id']}").status_code == 204
    watcher.join(10)
    assert not watcher.is_alive()
    assert "queued" in seen[0]
    work(world)


def test_answers_come_as_json_csv_and_arrow(world: World) -> None:
    done = answered(world, "formats")
    client, url = world.client("li"), f"/v1/queries/{done.id}/answer"
    told = wire.AnswerOut.model_validate_json(client.get(url).content)
    table = list(csv.DictReader(io.StringIO(client.get(url, headers={"Accept": CSV}).text)))
    arrow = pa.ipc.open_stream(client.get(url, headers={"Accept": ARROW}).content).read_all()
    assert [r["city"] for r in table] == [r[0] for r in told.rows] == arrow.column("city").to_pylist()
    assert [float(r["n"]) for r in table] == [r[1] for r in told.rows] == arrow.column("n").to_pylist()
    assert set(table[0]) == {"city", "n", "n_low", "n_high", "mean", "mean_low", "mean_high"}
    refused = problem(client.get(url, headers={"Accept": "text/html"}), 406, "http.not_acceptable")
    assert "text/csv" in refused.hint


def test_a_refused_question_says_why_and_spends_nothing(world: World) -> None:
    client = world.client("li")
    before = client.get("/v1/accounts").json()
    for key, sql in enumerate(
        ["SELECT amount FROM visits", "SELECT", "DROP TABLE visits", "SELECT COUNT(*) FROM nothere"]
    ):
        response = client.post("/v1/queries", json=body(sql), headers={"Idempotency-Key": f"refused-{key}"})
        assert response.status_code == 422, response.text
        assert problem(response, 422, response.json()["code"]).code.startswith("sql.")
    assert client.get("/v1/accounts").json() == before


def test_an_exhausted_budget_teaches_in_both_languages(world: World) -> None:
    for lang, word in (("en", "left"), ("zh", "仅剩")):
        client = world.client("li", **{"Accept-Language": lang})
        response = client.post("/v1/queries", json=body(epsilon=50), headers={"Idempotency-Key": f"broke-{lang}"})
        told = problem(response, 403, "ledger.exhausted")
        assert word in told.detail
        assert {"requested", "remaining", "difference", "contact"} <= set(told.params)
        assert "data@health.example" in told.hint


def test_long_sql_is_refused_by_size(world: World) -> None:
    client = world.client("li")
    sql = "SELECT COUNT(*) FROM visits WHERE amount > 1" + " OR amount > 1" * 10_000
    told = problem(client.post("/v1/queries:preview", json=body(sql)), 400, "http.request_invalid")
    assert [e.field for e in told.errors] == ["body.sql"]
    huge = b'{"project": "flu", "dataset": "health/visits", "sql": "' + b"x" * 100_000_000 + b'"}'
    began = time.monotonic()
    problem(client.post("/v1/queries:preview", content=huge), 413, "http.body_too_large")
    assert time.monotonic() - began < 5


def test_deep_sql_is_refused_quickly(world: World) -> None:
    client = world.client("li")
    for sql in (
        "SELECT COUNT(*) FROM visits WHERE " + "(" * 20_000 + "amount > 1" + ")" * 20_000,
        "SELECT COUNT(*) FROM visits WHERE amount > " + "-" * 50_000 + "1",
        "SELECT " + "CASE WHEN amount > 1 THEN " * 2_000 + "1" + " END" * 2_000 + " FROM visits",
    ):
        began = time.monotonic()
        response = client.post("/v1/queries:preview", json=body(sql))
        assert response.status_code == 422, response.text[:300]
        assert time.monotonic() - began < 10


def test_outsiders_cannot_tell_a_hidden_thing_from_a_missing_one(world: World) -> None:
    done = answered(world, "hidden")
    assert done.answer is not None
    stranger, zero = world.client("zhao"), "0" * 32
    account = world.client("li").get("/v1/accounts").json()["items"][0]["id"]
    for path, real in (
        ("/v1/queries/{}", done.id),
        ("/v1/queries/{}/answer", done.id),
        ("/v1/jobs/{}", done.id),
        ("/v1/receipts/{}", done.answer.receipt),
        ("/v1/accounts/{}", account),
        ("/v1/accounts/{}/entries", account),
    ):
        hidden, missing = stranger.get(path.format(real)), stranger.get(path.format(zero))
        assert hidden.status_code == missing.status_code == 404
        same = [json.loads(r.text.replace(str(real), zero)) | {"reference": ""} for r in (hidden, missing)]
        assert same[0] == same[1], path
    problem(stranger.post(f"/v1/jobs/{done.id}:cancel"), 404, "job.not_found")
    assert stranger.get("/v1/queries").json()["items"] == []
    foreign = stranger.post("/v1/queries", json=body(), headers={"Idempotency-Key": "x"})
    problem(foreign, 404, "people.project_not_found")


def test_the_ledger_tells_every_movement_and_adds_up(world: World) -> None:
    client = world.client("li")
    account = client.get("/v1/accounts", params={"project": "flu"}).json()["items"][0]
    lines: list[wire.LedgerEntryOut] = []
    after: str | None = None
    while True:
        query: dict[str, str | int] = {"limit": 2} | ({"after": after} if after else {})
        page = client.get(f"/v1/accounts/{account['id']}/entries", params=query).json()
        lines += [wire.LedgerEntryOut.model_validate(i) for i in page["items"]]
        after = page["next"]
        if after is None:
            break
    assert lines[0].kind == "opened"
    settled = sum(line.loss.rho_units for line in lines if line.kind == "settled")
    assert settled == lines[-1].spent.rho_units == account["spent"]["rho_units"]


def test_the_log_is_open_to_auditors_and_its_heads_to_everyone(world: World) -> None:
    auditor, researcher = world.client("an"), world.client("li")
    problem(researcher.get("/v1/log/entries"), 403, "policy.refused")
    head = wire.TreeHeadOut.model_validate_json(researcher.get("/v1/log/head").content)
    page = wire.Page[wire.LogEntryOut].model_validate_json(auditor.get("/v1/log/entries?limit=2").content)
    assert [e.index for e in page.items] == [0, 1]
    inclusion = researcher.get("/v1/log/inclusion", params={"index": 0, "size": head.size}).json()
    assert inclusion["leaf"] == page.items[0].leaf
    consistency = researcher.get("/v1/log/consistency", params={"first": 1, "second": head.size})
    assert consistency.status_code == 200
    problem(researcher.get("/v1/log/inclusion", params={"index": 5, "size": 5}), 404, "log.no_such_place")
    problem(researcher.get("/v1/log/inclusion", params={"index": -1, "size": 5}), 400, "http.request_invalid")


def test_revoking_the_grant_stops_the_next_question_at_once(tmp_path: Path) -> None:
    world = open_world(tmp_path)
    granted = grant(world, publish(world))
    reviewer, client = world.client("rui"), world.client("li")
    suspended = reviewer.post(f"/v1/grants/{granted}:suspend", json={"comment": "a question first"})
    assert suspended.json()["state"] == "suspended"
    problem(client.post("/v1/queries:preview", json=body()), 403, "policy.refused")
    assert reviewer.post(f"/v1/grants/{granted}:resume").json()["state"] == "active"
    assert client.post("/v1/queries:preview", json=body()).status_code == 200
    queued = client.post("/v1/queries", json=body(), headers={"Idempotency-Key": "k"}).json()["id"]
    problem(client.post(f"/v1/grants/{granted}:revoke"), 403, "policy.refused")
    assert reviewer.post(f"/v1/grants/{granted}:revoke", json={}).json()["state"] == "revoked"
    work(world)
    assert client.get(f"/v1/jobs/{queued}").json()["status_code"] == "no_longer_allowed"
    explained = client.post(
        "/v1/policy:explain", json={"action": "ask", "project": "flu", "dataset": "health/visits"}
    ).json()
    assert not explained["allowed"]
    assert [r["code"] for r in explained["reasons"]] == ["grant.revoked"]
    world.clock.ahead = timedelta(hours=1)
    world.house.registry.close()  # type: ignore[attr-defined]


def test_a_fault_in_the_engine_is_the_outcome_of_a_job_and_one_constant_sentence(tmp_path: Path) -> None:
    world = open_world(tmp_path)
    name = publish(world)
    grant(world, name)
    client = world.client("li")
    version = client.get(f"/v1/datasets/{name}").json()["version"]
    path = world.house.vault.fetch(version)
    path.chmod(0o600)
    path.write_bytes(b"not a database any more")
    job = client.post("/v1/queries", json=body(), headers={"Idempotency-Key": "k"}).json()["id"]
    work(world)
    told = wire.QueryOut.model_validate_json(client.get(f"/v1/queries/{job}").content)
    assert told.job.state == "failed"
    assert told.job.problem is not None
    assert told.job.problem.code == "fault"
    assert told.job.problem.reference == job
    assert str(tmp_path) not in client.get(f"/v1/queries/{job}").text
    world.house.registry.close()  # type: ignore[attr-defined]


def test_every_response_is_what_the_contract_says(world: World) -> None:
    """A guard against drift: nothing a response holds is missing in its shape."""
    client = world.client("li")
    for path, shape in (
        ("/v1/me", wire.MeOut),
        ("/v1/grants", wire.Page[wire.GrantOut]),
        ("/v1/access-requests", wire.Page[wire.AccessRequestOut]),
        ("/v1/accounts", wire.Page[wire.BudgetOut]),
        ("/v1/queries", wire.Page[wire.QueryOut]),
        ("/v1/jobs", wire.Page[wire.JobOut]),
        ("/v1/datasets", wire.Page[wire.DatasetOut]),
        ("/v1/datasets/health/visits", wire.Card),
    ):
        response: httpx.Response = client.get(path)
        assert response.status_code == 200, path
        told = shape.model_validate_json(response.content)
        assert json.loads(told.model_dump_json()) == response.json()


# --- ask by accuracy ---------------------------------------------------------------------------------------------------

OLD = "SELECT COUNT(*) AS n FROM visits WHERE amount > 20"


def test_a_width_is_priced_before_and_paid_after(world: World) -> None:
    client, wish = world.client("li"), {"half_width": 60, "columns": ["n"]}
    asked = body(OLD, epsilon=None, within=wish)
    told = wire.PreviewOut.model_validate_json(client.post("/v1/queries:preview", json=asked).content)
    assert told.columns[0].plus_minus is not None
    assert told.columns[0].plus_minus <= 60
    found = answered(world, "by-width", OLD, epsilon=None, within=wish)
    assert found.answer is not None
    assert found.answer.cost == told.cost
    problem(
        client.post(
            "/v1/queries",
            json=body(OLD, epsilon=None, within={"half_width": 61}),
            headers={"Idempotency-Key": "by-width"},
        ),
        409,
        "idempotency.reused",
    )


def test_a_share_of_a_supposed_size_is_a_width(world: World) -> None:
    client = world.client("li")
    prices = [
        client.post("/v1/queries:preview", json=body(OLD, epsilon=2, within=wish)).json()["cost"]
        for wish in ({"half_width": 50}, {"share": 0.05, "of": 1_000})
    ]
    assert prices[0] == prices[1]


def together(*questions: str, **more: object) -> dict[str, object]:
    return {"project": "flu", "dataset": "health/visits", "questions": list(questions), "epsilon": 0.1} | more


def test_a_batch_is_previewed_accepted_and_answered(world: World) -> None:
    client = world.client("li")
    questions = [f"SELECT COUNT(*) AS n FROM visits WHERE amount < {limit}" for limit in (41, 42)]
    before = client.get("/v1/accounts").json()
    seen = wire.BatchPreviewOut.model_validate_json(
        client.post("/v1/batches:preview", json=together(*questions)).content
    )
    assert client.get("/v1/accounts").json() == before
    assert [one.question for one in seen.questions] == questions
    assert sum(one.cost.rho_units for one in seen.questions) == seen.cost.rho_units == seen.charged.rho_units
    assert seen.affordable
    assert seen.remaining == seen.questions[0].remaining
    headers = {"Idempotency-Key": "batch-1"}
    asked = client.post("/v1/batches", json=together(*questions), headers=headers)
    assert asked.status_code == 202
    assert "Location" not in asked.headers
    ids = [one.id for one in wire.BatchOut.model_validate_json(asked.content).questions]
    held = client.post("/v1/batches", json=together(*questions), headers=headers | {"Prefer": "wait=1"})
    assert (held.status_code, held.headers["Preference-Applied"]) == (202, "wait=1")
    worker = threading.Timer(0.2, work, (world,))
    worker.start()
    done = client.post("/v1/batches", json=together(*questions), headers=headers | {"Prefer": "wait=20"})
    worker.join()
    assert done.status_code == 200
    told = wire.BatchOut.model_validate_json(done.content).questions
    assert [one.id for one in told] == ids
    assert done.json()["charged"]["rho_units"] == seen.charged.rho_units
    assert done.json()["charged"]["epsilon"] == pytest.approx(0.1, rel=1e-4)
    assert [one.answer.question for one in told if one.answer] == questions
    assert [wire.QueryOut.model_validate_json(client.get(f"/v1/queries/{i}").content) for i in ids] == told


def test_a_batch_that_cannot_be_asked_says_which_question(world: World) -> None:
    client = world.client("li")
    for lang, word in (("en", "."), ("zh-CN", "。")):
        sent = client.post(
            "/v1/batches:preview",
            json=together("SELECT COUNT(*) AS n FROM visits", "SELECT * FROM visits"),
            headers={"Accept-Language": lang},
        )
        alone = client.post("/v1/queries:preview", json=body("SELECT * FROM visits"), headers={"Accept-Language": lang})
        told, one = problem(sent, 422, alone.json()["code"]), wire.ProblemOut.model_validate_json(alone.content)
        assert (told.detail, told.hint) == (one.detail, one.hint)
        assert told.params == one.params | {"question": 2}
        assert word in told.detail + told.hint
    problem(client.post("/v1/batches:preview", json=together()), 400, "ask.bad_batch")
    problem(client.post("/v1/batches", json=together(QUESTION)), 400, "http.idempotency_key_missing")
    wrong = together(QUESTION, within={"half_width": 5})
    problem(client.post("/v1/batches:preview", json=wrong), 400, "http.request_invalid")


def test_wishes_that_cannot_be_priced_are_refused_in_both_languages(world: World) -> None:
    client = world.client("li")
    fresh = "SELECT SUM(amount) AS s FROM visits"
    for sql, wish, code in (
        (fresh, {"share": 0.05}, "ask.size_unknown"),
        (fresh, {"half_width": 0.5}, "ask.accuracy_out_of_reach"),
        ("SELECT 2 * COUNT(*) AS twice FROM visits", {"half_width": 50}, "ask.accuracy_unpredictable"),
    ):
        for lang, sign in (("en", "."), ("zh-CN", "。")):
            sent = client.post(
                "/v1/queries:preview", json=body(sql, epsilon=None, within=wish), headers={"Accept-Language": lang}
            )
            assert sign in problem(sent, 403, code).detail
    problem(
        client.post("/v1/queries:preview", json=body(within={"half_width": 9, "columns": ["x"]})), 400, "ask.bad_wish"
    )


@pytest.mark.parametrize(
    "wish",
    [
        {},
        {"half_width": 0},
        {"half_width": 5, "share": 0.1},
        {"share": 5},
        {"share": 0.1, "of": -1},
        {"share": 0.1, "of": 10, "pilot": True},
        {"half_width": 5, "pilot": True},
        {"half_width": 5, "column": "n"},
        "5%",
    ],
)
def test_a_wish_that_cannot_be_read_is_never_half_understood(world: World, wish: object) -> None:
    sent = world.client("li").post("/v1/queries:preview", json=body(within=wish))
    problem(sent, 400, "http.request_invalid")

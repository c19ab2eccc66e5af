"""Attack: every route of the published contract, fuzzed over ASGI as each role and as nobody (Schemathesis).

What must hold whatever is sent: no 5xx, only documented statuses, the documented media types and shapes, and a refusal for
what the contract forbids. Ids of real things are put in half of the time, so that the fuzzer reaches behind the 404.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import CheckFunction, not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from sandbox import wire
from sandbox.api.app import bare_app
from tests.journeys.world import QUESTION, World, grant, open_world, publish, work

DOCUMENTED: list[CheckFunction] = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
CHECKED = [*DOCUMENTED, negative_data_rejection]
EXAMPLES = 6
ROLES = (None, "li", "zhao", "shen", "rui", "olga", "an")
CONTRACT = schemathesis.openapi.from_asgi("/v1/openapi.json", bare_app())
OPERATIONS: dict[str, Any] = {found.ok().label: found.ok() for found in CONTRACT.get_all_operations()}
#: What takes nothing cannot be sent anything wrong.
MODES = [
    (label, mode)
    for label, operation in sorted(OPERATIONS.items())
    for mode in GenerationMode
    if mode is GenerationMode.POSITIVE or operation.body or list(operation.iter_parameters())
]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    world = open_world(tmp_path_factory.mktemp("fuzz"))
    yield world
    world.house.registry.close()  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def known(world: World) -> dict[str, str]:
    """Ids of real things, by the name of the path parameter that takes them."""
    granted = grant(world, publish(world))
    client = world.client("li")
    body = {"project": "flu", "dataset": "health/visits", "sql": QUESTION, "epsilon": 0.1}
    job = client.post("/v1/queries", json=body, headers={"Idempotency-Key": "fuzz"}).json()["id"]
    work(world)
    told = wire.QueryOut.model_validate_json(client.get(f"/v1/queries/{job}").content)
    assert told.answer is not None
    return {
        "job_id": job,
        "receipt_id": str(told.answer.receipt),
        "grant_id": granted,
        "request_id": client.get("/v1/access-requests").json()["items"][0]["id"],
        "account_id": client.get("/v1/accounts").json()["items"][0]["id"],
        "project_id": "flu",
        "name": "health/visits",
        "table": "visits",
        "problem": "ledger.exhausted",
    }


@pytest.fixture(scope="module")
def headers(world: World) -> dict[str | None, dict[str, str]]:
    """What each role sends."""
    return {role: {k: v for k, v in world.client(role).headers.items() if k == "authorization"} for role in ROLES}


@pytest.mark.parametrize(("label", "mode"), MODES)
def test_no_role_can_make_the_server_fail(
    label: str,
    mode: GenerationMode,
    world: World,
    headers: dict[str | None, dict[str, str]],
    known: dict[str, str],
) -> None:
    @settings(
        max_examples=EXAMPLES, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
    )
    @given(case=OPERATIONS[label].as_strategy(generation_mode=mode))
    def attack(case: schemathesis.Case) -> None:
        for role in ROLES:
            case.call_and_validate(headers=dict(headers[role]), checks=CHECKED, app=world.app)
        real = {name: known[name] for name in case.path_parameters if name in known}
        if real:
            case.path_parameters.update(real)
            for role in ROLES:
                case.call_and_validate(headers=dict(headers[role]), checks=DOCUMENTED, app=world.app)

    attack()

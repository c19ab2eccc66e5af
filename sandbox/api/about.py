"""Routes about the server itself: whether it lives and can serve, and what its problem codes mean. Open to everyone."""

from __future__ import annotations

from fastapi import APIRouter, Response

from privacy.errors import NotFound, Text, problem_codes
from sandbox import wire
from sandbox.api.contract import fails
from sandbox.api.guards import TheHouse
from sandbox.api.problems import problem_doc

public = APIRouter(tags=["about"])
ROOMS = ("privacy.", "access.", "compute.", "sandbox.")


class CodeNotFound(NotFound):
    """No such problem code."""

    code = "http.unknown_problem"
    sentence = Text("There is no problem code “{problem}”.", "没有问题代码“{problem}”。")
    hint = Text("GET /v1/problems lists all of them.", "GET /v1/problems 列出全部代码。")


def documented() -> list[wire.ProblemDoc]:
    """Every problem code of the rooms that are loaded, sorted."""
    return [problem_doc(code, kind) for code, kind in problem_codes().items() if kind.__module__.startswith(ROOMS)]


@public.get("/v1/problems")
def list_problems() -> wire.ProblemDocs:
    """Every problem code, in both languages."""
    return wire.ProblemDocs(items=documented())


@public.get("/v1/problems/{problem}", responses=fails(400, 404))
def read_problem(problem: wire.Identity) -> wire.ProblemDoc:
    """What a problem code means, in both languages."""
    found = next((d for d in documented() if d.code == problem), None)
    if found is None:
        raise CodeNotFound(problem=problem)
    return found


@public.get("/healthz")
def healthz() -> wire.HealthOut:
    """The process lives."""
    return wire.HealthOut(status="ok")


@public.get("/readyz", responses={503: {"model": wire.HealthOut, "description": "It cannot serve yet."}})
def readyz(house: TheHouse, response: Response) -> wire.HealthOut:
    """The registry can be reached and fits this release, and uploads can be staged."""
    checks = {"registry": house.registry.ready(), "staging": house.staging.is_dir()}
    if all(checks.values()):
        return wire.HealthOut(status="ok", checks=checks)
    response.status_code = 503
    return wire.HealthOut(status="unready", checks=checks)

"""The application: routers, handlers and the edge put together over one House.

Owns the composition only. Whoever starts a server (or a test) gives it the ports; it reads no environment. No page of it
needs the network: the interactive API pages of the framework, which load scripts from elsewhere, are off.
"""

from __future__ import annotations

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from privacy.errors import Problem
from sandbox.api import about, datasets, money, people, proof, questions, requests
from sandbox.api.contract import openapi
from sandbox.api.edge import Edge
from sandbox.api.guards import ApiSettings
from sandbox.api.problems import on_http, on_invalid, on_problem
from sandbox.api.throttle import Throttle
from sandbox.journeys.house import House

ROUTERS = (
    people.public,
    people.signed_in,
    datasets.signed_in,
    requests.signed_in,
    money.signed_in,
    questions.signed_in,
    proof.public,
    proof.signed_in,
    about.public,
)
VERSION = "1"
DESCRIPTION = """Questions in SQL over confidential data, answered with differential privacy, paid from a budget, each answer
proven by a receipt. Errors are RFC 9457 problems; `Accept-Language` chooses zh-CN or en. Lists come in pages: pass `next`
as `after`. POST /v1/queries needs an `Idempotency-Key`: the same key with the same question is the same result."""


class Application(FastAPI):
    """FastAPI whose OpenAPI document is the published contract."""

    def openapi(self) -> dict[str, object]:
        """The contract."""
        return openapi(self)


def bare_app() -> FastAPI:
    """The routes without a house behind them: enough to print the contract."""
    app = Application(
        title="Data Open Sandbox",
        summary="Confidential public data that can be used but not seen",
        description=DESCRIPTION,
        version=VERSION,
        openapi_url="/v1/openapi.json",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    for router in ROUTERS:
        app.include_router(router)
    return app


def create_app(house: House, settings: ApiSettings | None = None) -> FastAPI:
    """The HTTP application over these ports."""
    limits = settings or ApiSettings()
    app = bare_app()
    app.state.house = house
    app.state.settings = limits
    app.state.throttle = Throttle(clock=house.clock)
    app.add_exception_handler(Problem, on_problem)
    app.add_exception_handler(RequestValidationError, on_invalid)
    app.add_exception_handler(HTTPException, on_http)
    app.add_middleware(
        Edge,
        max_body=limits.max_body,
        max_upload=limits.max_upload,
        new_reference=lambda: house.entropy(8).hex(),
    )
    return app

"""The published contract: the OpenAPI 3.1 document, as FastAPI writes it and as we mean it.

Owns the problem responses of every route and the tidying of the generated document: problems are
`application/problem+json` with one schema, the framework's own validation error does not exist here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from sandbox import wire
from sandbox.api.problems import PROBLEM_TYPE, TITLES

_PROBLEM = {PROBLEM_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemOut"}}}
KEY_PATTERN = r"^[\x21-\x7e]{1,200}$"
_METHODS = ("get", "put", "post", "delete")


def fails(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The problem responses of a route."""
    return {s: {"description": TITLES[s].en, "content": _PROBLEM} for s in statuses}


def openapi(app: FastAPI) -> dict[str, Any]:
    """The whole document, made once."""
    if app.openapi_schema is None:
        document = get_openapi(
            title=app.title,
            version=app.version,
            summary=app.summary,
            description=app.description,
            routes=app.routes,
        )
        schemas = document.setdefault("components", {}).setdefault("schemas", {})
        for framework in ("HTTPValidationError", "ValidationError"):
            schemas.pop(framework, None)
        _define_problem(schemas)
        for path in document["paths"].values():
            for method in _METHODS:
                _tidy(path.get(method))
        app.openapi_schema = document
    return app.openapi_schema


def _define_problem(schemas: dict[str, Any]) -> None:
    problem = wire.ProblemOut.model_json_schema(ref_template="#/components/schemas/{model}")
    for name, schema in problem.pop("$defs", {}).items():
        schemas.setdefault(name, schema)
    schemas.setdefault("ProblemOut", problem)


def _tidy(operation: Mapping[str, Any] | None) -> None:
    """Drop the 422 FastAPI adds by itself; ours is a problem and stays. Body limits hold everywhere."""
    if operation is None:
        return
    for parameter in operation.get("parameters", ()):
        if (
            parameter["name"] == "idempotency-key"
        ):  # its absence has a problem of its own, so FastAPI thinks it optional
            parameter |= {"required": True, "schema": {"type": "string", "pattern": KEY_PATTERN}}
    responses = operation["responses"]
    if PROBLEM_TYPE not in responses.get("422", {}).get("content", {PROBLEM_TYPE: None}):
        del responses["422"]
    if "requestBody" in operation:
        responses |= {str(k): v for k, v in fails(413).items()}

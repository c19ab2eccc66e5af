"""Ask questions of data you may use but not see (可用不可见).

    import sandbox as sb

    hub = sb.connect()                                  # the address and token of `sandbox login`
    visits = hub.dataset("health/visits")               # a card: columns, privacy unit, terms, budget
    q = visits.sql("select city, count(*) as n from visits group by city")
    q.preview(epsilon=0.5)                              # price and ± per column; spends nothing
    answer = q.ask(epsilon=0.5)                         # values, each with its ±
    answer.receipt.verify("house.pub")                  # True, or ReceiptInvalid

Owns the researcher's names and only those. They are loaded when first used, so importing the package costs nothing and
loads no server module; the rooms of the server live below this package but never reach its surface.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sandbox.client.answer import Answer
    from sandbox.client.batch import Batch
    from sandbox.client.errors import (
        BudgetExhausted,
        Conflict,
        NotFound,
        QueryFailed,
        ReceiptInvalid,
        Refused,
        SandboxError,
        Unauthenticated,
        Unavailable,
    )
    from sandbox.client.hub import Client, connect
    from sandbox.client.jobs import Job
    from sandbox.client.query import Dataset, Query
    from sandbox.client.receipt import Receipt

__all__ = [
    "Answer",
    "Batch",
    "BudgetExhausted",
    "Client",
    "Conflict",
    "Dataset",
    "Job",
    "NotFound",
    "Query",
    "QueryFailed",
    "Receipt",
    "ReceiptInvalid",
    "Refused",
    "SandboxError",
    "Unauthenticated",
    "Unavailable",
    "connect",
]

_ROOMS = {
    "Answer": "answer",
    "Batch": "batch",
    "Client": "hub",
    "Dataset": "query",
    "Job": "jobs",
    "Query": "query",
    "Receipt": "receipt",
    "connect": "hub",
}


def __getattr__(name: str) -> object:
    """Load a public name when it is first used (PEP 562)."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found: object = getattr(import_module(f"sandbox.client.{_ROOMS.get(name, 'errors')}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    """Only the public names, for tab completion."""
    return sorted(__all__)

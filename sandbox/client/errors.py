"""The errors of the client: a problem the server wrote, turned back into an exception a person can read and catch.

Owns the tree below and the one place where a `application/problem+json` body becomes an exception. A code that is not
known here falls back to its HTTP status, so an older client reads a newer server. It decides nothing and retries nothing.

    SandboxError             catch this one to catch everything
    ├── Unauthenticated      no token, or one that is unknown, expired or revoked
    ├── Refused              understood, and a rule says no
    │   └── BudgetExhausted  the privacy budget has no room: requested, remaining, missing, whom to ask
    ├── NotFound             it does not exist, or it is hidden from you: the two look the same
    ├── Conflict             it clashes with what already happened
    ├── Malformed            what was sent cannot be read; `errors` names the fields
    ├── TooLarge             a stated size limit is passed
    ├── Unavailable          nothing is wrong with the request; try again later
    ├── QueryFailed          the job ended without an answer
    ├── ServerFault          the server failed, or did not speak as agreed
    ├── ReceiptInvalid       a receipt does not prove what it claims; `step` numbers what failed
    └── MissingLibrary       an optional library is not installed on this machine
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from sandbox.say import say
from sandbox.wire import FieldProblem, ProblemOut


class SandboxError(Exception):
    """Base of every error of this client: a sentence, a hint, a stable code, the server's reference.

    `code` is empty for errors found on this machine before the server was asked.
    """

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        code: str = "",
        reference: str = "",
        status: int | None = None,
        params: Mapping[str, Any] | None = None,
        errors: tuple[FieldProblem, ...] = (),
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.code = code
        self.reference = reference
        self.status = status
        self.params: Mapping[str, Any] = dict(params or {})
        self.errors = errors

    def __str__(self) -> str:
        """The sentence, then one line each for fields, hint and reference."""
        return "\n".join([self.message, *self.notes()])

    def notes(self) -> list[str]:
        """The lines below the sentence; of several questions asked together the first says which it is about."""
        lines = [f"  {one.field}: {one.message}" for one in self.errors]
        if "question" in self.params:
            lines.insert(0, say("  in question {number}", "  第 {number} 个问题", number=self.params["question"]))
        if self.hint:
            lines.append(say("Hint: {hint}", "提示：{hint}", hint=self.hint))
        if self.code or self.reference:
            lines.append("  ".join(part for part in (self.code and f"[{self.code}]", self.reference) if part))
        return lines


class Unauthenticated(SandboxError):
    """No token was sent, or one that is unknown, expired or revoked."""


class Refused(SandboxError):
    """The request was understood, and a rule says no; `hint` says what is allowed."""


class BudgetExhausted(Refused):
    """The privacy budget has no room for this price.

    `requested`, `remaining` and `missing` are epsilons as the server stated them (None when it stated none), `contact`
    says whom to ask.
    """

    @property
    def requested(self) -> float | None:
        """What the question would cost."""
        return _figure(self.params, "requested")

    @property
    def remaining(self) -> float | None:
        """What is left."""
        return _figure(self.params, "remaining")

    @property
    def missing(self) -> float | None:
        """How much is missing."""
        return _figure(self.params, "difference", "missing")

    @property
    def contact(self) -> str:
        """Whom to ask for more."""
        return str(self.params.get("contact") or self.params.get("ask") or "")


class NotFound(SandboxError):
    """It does not exist, or it is hidden from you: the two look the same."""


class Conflict(SandboxError):
    """It clashes with something that already happened."""


class Malformed(SandboxError):
    """What was sent cannot be read; `errors` names the fields."""


class TooLarge(SandboxError):
    """A stated size limit is passed."""


class Unavailable(SandboxError):
    """Nothing is wrong with the request; try again later. `retry_after` is in seconds, if the server said so."""

    retry_after: float | None = None


class QueryFailed(SandboxError):
    """The job ended without an answer; `job` is its id."""

    job: str = ""


class ServerFault(SandboxError):
    """The server failed, or did not speak as agreed."""


class ReceiptInvalid(SandboxError):
    """A receipt does not prove what it claims; `step` is the number of the step that failed."""

    step: int = 0


class MissingLibrary(SandboxError):
    """An optional library is not installed on this machine."""


_BY_STATUS: Mapping[int, type[SandboxError]] = {
    400: Malformed,
    401: Unauthenticated,
    403: Refused,
    404: NotFound,
    409: Conflict,
    413: TooLarge,
    415: Malformed,
    422: Refused,
    429: Unavailable,
    502: Unavailable,
    503: Unavailable,
    504: Unavailable,
}
#: Codes that say more than their status. Kept few: the status is the contract, the code a refinement.
_BY_CODE: Mapping[str, type[SandboxError]] = {
    "ledger.exhausted": BudgetExhausted,
    "ledger.delta_exhausted": BudgetExhausted,
}


def _figure(params: Mapping[str, Any], *names: str) -> float | None:
    for name in names:
        try:
            return float(params[name])
        except (KeyError, TypeError, ValueError):
            continue
    return None


def kind_of(status: int, code: str = "") -> type[SandboxError]:
    """The exception class for a status and a code; an unknown code falls back to the status."""
    known = _BY_CODE.get(code) or _BY_STATUS.get(status)
    if known is not None:
        return known
    return Refused if 400 <= status < 500 else ServerFault


def from_problem(problem: ProblemOut) -> SandboxError:
    """The exception for a problem the server wrote."""
    return kind_of(problem.status, problem.code)(
        problem.detail or problem.title,
        hint=problem.hint,
        code=problem.code,
        reference=problem.reference,
        status=problem.status,
        params=problem.params,
        errors=tuple(problem.errors),
    )


def from_body(status: int, body: bytes, *, reference: str = "") -> SandboxError:
    """The exception for an error response; a body that is not a problem (a proxy's page) still gives a clear one."""
    try:
        return from_problem(ProblemOut.model_validate_json(body))
    except ValidationError:
        return kind_of(status)(
            say("The server answered with status {status}.", "服务器返回状态 {status}。", status=status),
            hint=say(
                "The answer did not come from the sandbox itself; check the address and any proxy in between.",
                "该响应并非来自沙箱服务本身，请检查地址以及中间的代理。",
            ),
            reference=reference,
            status=status,
        )


def missing(library: str, *, purpose: str, install: str) -> MissingLibrary:
    """The error for an optional library that is not installed."""
    return MissingLibrary(
        say("{purpose} needs {library}, which is not installed here.", "{purpose}需要 {library}，但本机尚未安装。",
            purpose=purpose, library=library),
        hint=say("Install it: {install}", "请安装：{install}", install=install),
    )  # fmt: skip

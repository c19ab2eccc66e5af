"""From an expected error to an HTTP answer: the one place where a kind of `Problem` becomes a status.

Owns the table of statuses, the problems that only exist at the HTTP edge, the RFC 9457 body and the choice of language.
It decides nothing and shows nothing that is not public: `private` goes to the operator's log under the reference that
the asker sees, never into a body, and no stack trace ever leaves (laws 5 and 13).
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from fractions import Fraction

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from pydantic import JsonValue
from starlette.exceptions import HTTPException

from privacy import errors
from privacy.errors import Problem, Text
from sandbox import wire

_LOG = logging.getLogger("sandbox.api")
PROBLEM_TYPE = "application/problem+json"
RETRY_AFTER = 5
"""Seconds that an `Unavailable` answer asks the client to wait."""


class RouteNotFound(errors.NotFound):
    """No such address."""

    code = "http.not_found"
    sentence = Text("There is nothing at this address.", "该地址下没有内容。")
    hint = Text("The routes are listed in /v1/openapi.json.", "可用的路径见 /v1/openapi.json。")


class MethodNotAllowed(errors.Malformed):
    """The address exists, the method does not."""

    code = "http.method_not_allowed"
    sentence = Text("This address does not know the method {method}.", "该地址不支持 {method} 方法。")
    hint = Text("The Allow header lists the methods it knows.", "Allow 响应头列出了可用的方法。")


class NotAcceptable(errors.Malformed):
    """None of the accepted formats can be written."""

    code = "http.not_acceptable"
    sentence = Text("An answer cannot be written as {accept}.", "结果无法以 {accept} 格式输出。")
    hint = Text("Accept one of: {allowed}.", "请在 Accept 中选择：{allowed}。")


class UnsupportedMediaType(errors.Malformed):
    """The body comes in a format this address does not read."""

    code = "http.unsupported_media_type"
    sentence = Text("This address does not read a body of type {given}.", "该地址不接受 {given} 类型的请求体。")
    hint = Text("Send {allowed}.", "请发送 {allowed}。")


class RequestInvalid(errors.Malformed):
    """A request does not fit its schema; `errors` in the body lists every field."""

    code = "http.request_invalid"
    sentence = Text("The request does not fit its schema: {fields}.", "请求不符合格式要求：{fields}。")
    hint = Text(
        "Each entry of `errors` names a field and what is allowed there; see /v1/openapi.json.",
        "`errors` 中逐项列出了字段及其允许的取值，详见 /v1/openapi.json。",
    )


class BodyTooLarge(errors.TooLarge):
    """A body passes the limit of its address."""

    code = "http.body_too_large"
    sentence = Text("The request is larger than {limit} bytes.", "请求超过 {limit} 字节。")
    hint = Text(
        "Send less in one request; raw files go to PUT /v1/datasets/{{name}}/tables/{{table}}.",
        "请减小单次请求；原始文件请用 PUT /v1/datasets/{{name}}/tables/{{table}} 上传。",
    )


class KeyMissing(errors.Malformed):
    """A request that spends came without an Idempotency-Key."""

    code = "http.idempotency_key_missing"
    sentence = Text(
        "A request that spends needs an Idempotency-Key header.", "会产生花费的请求必须带有 Idempotency-Key 请求头。"
    )
    hint = Text(
        "Send 1 to 200 printable ASCII characters, new for each question and the same for each retry.",
        "请发送 1 至 200 个可打印的 ASCII 字符：每个新问题用新的值，重试时保持不变。",
    )


class TooManyAttempts(errors.Unavailable):
    """Too many failed sign-ins from one place."""

    code = "http.too_many_attempts"
    sentence = Text("There were too many attempts to sign in.", "登录尝试次数过多。")
    hint = Text("Wait {retry_after} seconds and try again.", "请等待 {retry_after} 秒后再试。")


#: The status of a problem is that of the first of its classes found here; the most special come first in its MRO.
STATUS: Mapping[type[Problem], int] = {
    errors.Malformed: 400,
    errors.Unauthenticated: 401,
    errors.Refused: 403,
    errors.NotFound: 404,
    errors.Conflict: 409,
    errors.TooLarge: 413,
    errors.Unavailable: 503,
    errors.Fault: 500,
    MethodNotAllowed: 405,
    NotAcceptable: 406,
    UnsupportedMediaType: 415,
    TooManyAttempts: 429,
}
#: A question that cannot be read as SQL or that the SQL rules refuse came in a good request, and cannot be processed.
UNPROCESSABLE = "sql."

TITLES: Mapping[int, Text] = {
    400: Text("The request cannot be read", "无法读取该请求"),
    401: Text("Not signed in", "尚未登录"),
    403: Text("A rule says no", "规则不允许"),
    404: Text("Not found", "未找到"),
    405: Text("Method not allowed", "不支持该方法"),
    406: Text("Format not available", "无法提供所需格式"),
    409: Text("It clashes with what already happened", "与已发生的操作冲突"),
    413: Text("Too large", "超出大小限制"),
    415: Text("Format not understood", "无法识别该格式"),
    422: Text("The question is outside the dialect", "问题超出所支持的方言"),
    429: Text("Too many attempts", "尝试次数过多"),
    500: Text("The work could not be completed", "该任务未能完成"),
    503: Text("Try again later", "请稍后再试"),
}

#: What is allowed in a field, by pydantic's error type; placeholders come from the error's context.
_FIELD: Mapping[str, Text] = {
    "missing": Text("This field is required.", "此字段为必填项。"),
    "extra_forbidden": Text("There is no such field.", "没有该字段。"),
    "json_invalid": Text("This is not valid JSON.", "不是有效的 JSON。"),
    "model_attributes_type": Text(
        "A JSON object is expected (application/json).", "应为 JSON 对象（application/json）。"
    ),
    "string_type": Text("A text is expected.", "应为文本。"),
    "string_too_short": Text("At least {min_length} characters.", "至少 {min_length} 个字符。"),
    "string_too_long": Text("At most {max_length} characters.", "至多 {max_length} 个字符。"),
    "string_pattern_mismatch": Text("It must match {pattern}.", "必须匹配 {pattern}。"),
    "string_unicode": Text("A text of valid Unicode is expected.", "应为有效的 Unicode 文本。"),
    "int_type": Text("A whole number is expected.", "应为整数。"),
    "int_parsing": Text("A whole number is expected.", "应为整数。"),
    "int_from_float": Text("A whole number is expected.", "应为整数。"),
    "float_type": Text("A number is expected.", "应为数字。"),
    "float_parsing": Text("A number is expected.", "应为数字。"),
    "finite_number": Text("A finite number is expected.", "应为有限的数字。"),
    "bool_type": Text("true or false is expected.", "应为 true 或 false。"),
    "bool_parsing": Text("true or false is expected.", "应为 true 或 false。"),
    "greater_than": Text("It must be greater than {gt}.", "必须大于 {gt}。"),
    "greater_than_equal": Text("It must be at least {ge}.", "必须至少为 {ge}。"),
    "less_than": Text("It must be less than {lt}.", "必须小于 {lt}。"),
    "less_than_equal": Text("It must be at most {le}.", "必须至多为 {le}。"),
    "literal_error": Text("One of {expected} is expected.", "应为以下之一：{expected}。"),
    "list_type": Text("A list is expected.", "应为列表。"),
    "too_short": Text("At least {min_length} entries.", "至少 {min_length} 项。"),
    "too_long": Text("At most {max_length} entries.", "至多 {max_length} 项。"),
}
_DATE = Text("A date such as 2027-12-31 is expected.", "应为日期，例如 2027-12-31。")
_OTHER = Text("This value is not allowed here.", "此处不允许该值。")


@dataclass(frozen=True, kw_only=True, slots=True)
class FieldFault:
    """One field of a request that does not fit, and what is allowed there."""

    field: str
    allowed: Text
    context: Mapping[str, object]


def status_of(problem: type[Problem]) -> int:
    """The HTTP status of a problem."""
    if problem.code.startswith(UNPROCESSABLE) and issubclass(problem, (errors.Refused, errors.Malformed)):
        return 422
    return next((STATUS[kind] for kind in problem.__mro__ if kind in STATUS), 500)


def language(accept_language: str | None) -> str:
    """Return "zh-CN" or "en": the one the header prefers, English when it names neither (RFC 9110, 12.5.4)."""
    best, chosen = 0.0, "en"
    for part in (accept_language or "").split(",")[:20]:
        tag, _, rest = part.strip().partition(";")
        weight = _weight(rest)
        lang = {"zh": "zh-CN", "en": "en"}.get(tag.strip().lower().split("-")[0])
        if lang and weight > best:
            best, chosen = weight, lang
    return chosen


def _weight(rest: str) -> float:
    name, _, value = rest.strip().partition("=")
    if name.strip().lower() != "q":
        return 1.0
    try:
        weight = float(value)
    except ValueError:
        return 0.0
    return weight if 0.0 <= weight <= 1.0 else 0.0


def lang_of(request: Request) -> str:
    """The language of the asker."""
    return language(request.headers.get("accept-language"))


def reference_of(request: Request) -> str:
    """The reference the edge gave to this request."""
    return str(request.scope.get("state", {}).get("reference", ""))


def plain(value: object, lang: str) -> JsonValue:
    """A parameter of a problem as JSON: texts in the asker's language, anything exact or unknown as text."""
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Text):
        return value.say(lang)
    if isinstance(value, (date, datetime)):
        return value.isoformat()
    if isinstance(value, (Decimal, Fraction)):
        return str(value)
    if isinstance(value, Mapping):
        return {str(k): plain(v, lang) for k, v in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        return [plain(v, lang) for v in value]
    return _readable(str(value))


def _readable(text: str) -> str:
    """The text without what UTF-8 cannot carry (a lone surrogate may be echoed from a request)."""
    return text.encode("utf-8", "replace").decode("utf-8")


def problem_out(problem: Problem, lang: str, reference: str) -> wire.ProblemOut:
    """The RFC 9457 body of a problem."""
    status = status_of(type(problem))
    faults: Sequence[FieldFault] = problem.faults if isinstance(problem, FieldFaults) else ()
    return wire.ProblemOut(
        type=f"/v1/problems/{problem.code}",
        title=TITLES[status].say(lang),
        status=status,
        detail=_readable(problem.say(lang)),
        code=problem.code,
        hint=_readable(problem.advise(lang)),
        reference=reference,
        params={k: plain(v, lang) for k, v in problem.params.items()},
        errors=[wire.FieldProblem(field=_readable(f.field), message=f.allowed.say(lang, **f.context)) for f in faults],
    )


class FieldFaults(RequestInvalid):
    """`RequestInvalid` with its fields."""

    def __init__(self, faults: Sequence[FieldFault]) -> None:
        self.faults = tuple(faults)
        super().__init__(fields=", ".join(dict.fromkeys(f.field for f in faults)))


def answer_problem(problem: Problem, lang: str, reference: str, headers: Mapping[str, str] | None = None) -> Response:
    """The HTTP answer to a problem; what is private goes to the operator's log under the same reference."""
    body = problem_out(problem, lang, reference)
    if problem.private or body.status >= 500:
        _LOG.warning("problem %s reference=%s private=%s", problem.code, reference, problem.private)
    sent = dict(headers or {}) | {"Content-Language": lang}
    if isinstance(problem, errors.Unauthenticated):
        sent["WWW-Authenticate"] = 'Bearer realm="data-open-sandbox"'
    if isinstance(problem, errors.Unavailable):
        sent["Retry-After"] = str(problem.params.get("retry_after", RETRY_AFTER))
    content = body.model_dump_json().encode()
    return Response(content, status_code=body.status, headers=sent, media_type=PROBLEM_TYPE)


async def on_problem(request: Request, error: Exception) -> Response:
    """Exception handler: a `Problem` that a journey raised."""
    assert isinstance(error, Problem)
    return answer_problem(error, lang_of(request), reference_of(request))


async def on_invalid(request: Request, error: Exception) -> Response:
    """Exception handler: a request that does not fit its schema. No value of the request is ever echoed."""
    assert isinstance(error, RequestValidationError)
    faults = [_field_fault(e) for e in error.errors()[:20]]
    return answer_problem(FieldFaults(faults), lang_of(request), reference_of(request))


def _field_fault(error: Mapping[str, object]) -> FieldFault:
    kind, context = str(error["type"]), error.get("ctx")
    allowed = _FIELD.get(kind, _DATE if kind.startswith("date") else _OTHER)
    loc = error["loc"]
    path = ".".join(str(p) for p in loc[:6]) if isinstance(loc, tuple) else str(loc)
    return FieldFault(field=path[:200], allowed=allowed, context=context if isinstance(context, Mapping) else {})


async def on_http(request: Request, error: Exception) -> Response:
    """Exception handler: what the framework itself refuses (no route, wrong method, unreadable body)."""
    assert isinstance(error, HTTPException)
    lang, reference = lang_of(request), reference_of(request)
    if error.status_code == 404:
        return answer_problem(RouteNotFound(), lang, reference)
    if error.status_code == 405:
        return answer_problem(MethodNotAllowed(method=request.method), lang, reference, error.headers)
    unreadable = FieldFault(field="body", allowed=_FIELD["json_invalid"], context={})
    return answer_problem(FieldFaults([unreadable]), lang, reference)


def problem_doc(code: str, kind: type[Problem]) -> wire.ProblemDoc:
    """What a code means, placeholders left as they stand."""
    status = status_of(kind)
    family = next(k.__name__ for k in kind.__mro__ if Problem in k.__bases__)
    return wire.ProblemDoc(
        code=code,
        status=status,
        kind=family,
        title=_both(TITLES[status]),
        sentence=_both(kind.sentence),
        hint=_both(kind.hint),
    )


def _both(text: Text) -> wire.Bilingual:
    return wire.Bilingual(en=text.en, zh=text.zh)

"""Writes what is published about the interface: `docs/openapi.json`, the pages of problem codes and the tables of the SQL pages.

Owns the rendering of the first two, in both languages; the facts come from the routes, from the error tree and from the gate
(`privacy.sql.dialect`), so the pages cannot drift: a test compares them. Run `python -m sandbox.api.docs` after changing a route,
a problem or what SQL is accepted.
"""

from __future__ import annotations

import importlib
import json
import pkgutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from privacy.errors import Text
from privacy.sql import dialect
from sandbox.api.about import documented
from sandbox.api.app import bare_app
from sandbox.wire import Bilingual, ProblemDoc

DOCS = Path(__file__).resolve().parents[2] / "docs"
_ROOMS = ("privacy", "access", "compute", "sandbox")
_TITLE = Text("# Problem codes", "# 问题代码")
_INTRO = Text(
    """Every error of the interface is an RFC 9457 problem (`application/problem+json`): `type`, `title`, `status`, `detail`,
`code`, `hint`, `reference`, `params`, and for unreadable requests `errors`. `code` is stable; the sentences follow
`Accept-Language`. What is hidden from you and what does not exist are the same 404. `reference` names your request in the
operator's log. Words in braces are filled in; `GET /v1/problems/{code}` says the same as this page.

Why these statuses: a question outside the SQL dialect is well-formed and permitted, but cannot be processed (422). A budget
without room is a rule that says no (403) and not 429: waiting does not fill it. A failure inside an accepted question is
the outcome of a job (`state: failed`), never an HTTP 5xx.""",
    """接口的每个错误都是 RFC 9457 问题（`application/problem+json`）：`type`、`title`、`status`、`detail`、`code`、`hint`、
`reference`、`params`，请求无法读取时另有 `errors`。`code` 保持稳定；语句的语言由 `Accept-Language` 决定。对您隐藏的内容与不存在的
内容返回相同的 404。`reference` 是该请求在运营方日志中的编号。
花括号中的词会被替换；`GET /v1/problems/{code}` 给出与本页相同的内容。

关于状态码：超出 SQL 方言的提问格式正确且有权提出，但无法处理（422）。预算不足属于规则不允许（403），而不是 429，因为等待并不会
增加预算。已受理的提问在执行中失败是作业的结果（`state: failed`），绝不是 HTTP 5xx。""",
)
_HEAD = Text(
    "| code | status | sentence | hint |\n|---|---|---|---|", "| 代码 | 状态码 | 语句 | 提示 |\n|---|---|---|---|"
)


def load_rooms() -> None:
    """Import every module of the house, so that every problem is known."""
    for room in _ROOMS:
        package = importlib.import_module(room)
        for found in pkgutil.walk_packages(package.__path__, f"{room}."):
            if ".migrations" not in found.name and not found.name.endswith("__main__"):
                importlib.import_module(found.name)


def openapi_text() -> str:
    """The OpenAPI document as it is committed."""
    return json.dumps(bare_app().openapi(), ensure_ascii=False, indent=1) + "\n"


def errors_text(lang: str) -> str:
    """The page of problem codes in one language, by status and code."""
    return "\n".join(_lines(lang)) + "\n"


def _lines(lang: str) -> Iterator[str]:
    by_status: dict[int, list[ProblemDoc]] = {}
    for doc in documented():
        by_status.setdefault(doc.status, []).append(doc)
    yield from (_chosen(_TITLE, lang), "", _chosen(_INTRO, lang))
    for status, docs in sorted(by_status.items()):
        yield from ("", f"## {status} · {_of(docs[0].title, lang)}", "", _chosen(_HEAD, lang))
        for doc in docs:
            yield f"| `{doc.code}` | {status} | {_row(doc.sentence, lang)} | {_row(doc.hint, lang)} |"


def _chosen(text: Text, lang: str) -> str:
    return text.zh if lang.startswith("zh") else text.en


def _of(text: Bilingual, lang: str) -> str:
    return text.zh if lang.startswith("zh") else text.en


def _row(text: Bilingual, lang: str) -> str:
    """A sentence as one cell of a table; doubled braces are how a template writes a plain one."""
    plain = _of(text, lang).replace("{{", "{").replace("}}", "}")
    return plain.replace("|", "\\|").replace("\n", " ")


def sql_text(name: str, lang: str) -> str:
    """The page on accepted SQL with its tables made anew; what stands between them is written by hand."""
    return dialect.written((DOCS / name).read_text(encoding="utf-8"), lang)


PAGES: Mapping[str, Callable[[], str]] = {
    "openapi.json": openapi_text,
    "errors.md": lambda: errors_text("en"),
    "errors.zh-CN.md": lambda: errors_text("zh-CN"),
    "sql.md": lambda: sql_text("sql.md", "en"),
    "sql.zh-CN.md": lambda: sql_text("sql.zh-CN.md", "zh-CN"),
}


def main() -> None:
    """Write every page."""
    load_rooms()
    for name, text in PAGES.items():
        (DOCS / name).write_text(text(), encoding="utf-8")


if __name__ == "__main__":
    main()

"""How a command talks: tables or JSON on standard output, everything else on standard error, and its exit code.

Owns the `Terminal` every command is given, the exit codes, the way errors are written for people, and `Verb`: a command
as plain data in both languages, turned into a Typer command only when the language is known. It holds no command and
knows no route.
"""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Annotated, Any, TextIO, TypeVar, get_args, get_origin, get_type_hints

import httpx
import typer
from pydantic import BaseModel
from rich.console import Console, RenderableType
from rich.text import Text
from typer.core import TyperCommand

from sandbox.client import config, errors, show
from sandbox.client.hub import Client, connect
from sandbox.say import say, speaking

PIPE_WIDTH = 240


class Exit(IntEnum):
    """What a command's exit code means (documented in docs/cli.md)."""

    OK = 0
    FAILED = 1
    USAGE = 2
    NOT_SIGNED_IN = 3
    NOT_FOUND = 4
    BUDGET = 5
    UNREACHABLE = 6
    INTERRUPTED = 130


_CODES: tuple[tuple[type[errors.SandboxError], Exit], ...] = (
    (errors.BudgetExhausted, Exit.BUDGET),
    (errors.Unauthenticated, Exit.NOT_SIGNED_IN),
    (errors.NotFound, Exit.NOT_FOUND),
    (errors.Malformed, Exit.USAGE),
    (errors.Unavailable, Exit.UNREACHABLE),
)


def exit_code(error: errors.SandboxError) -> Exit:
    """The exit code of an error."""
    return next((code for kind, code in _CODES if isinstance(error, kind)), Exit.FAILED)


@dataclass(frozen=True, kw_only=True)
class Seams:
    """What a test may put in the place of the world: the transport, and whether a person sits at the keyboard."""

    transport: httpx.BaseTransport | None = None


def _console(file: TextIO) -> Console:
    """As wide as the terminal; what is piped is not folded at eighty columns."""
    return Console(file=file, highlight=False, width=None if file.isatty() else PIPE_WIDTH)


@dataclass(kw_only=True)
class Terminal:
    """What a command writes to and asks through. Standard output carries results only, so that it can be piped."""

    json: bool = False
    url: str | None = None
    project: str | None = None
    seams: Seams = field(default_factory=Seams)
    out: Console = field(default_factory=lambda: _console(sys.stdout))
    err: Console = field(default_factory=lambda: _console(sys.stderr))
    _hub: Client | None = None

    @property
    def hub(self) -> Client:
        """The client, connected on first use."""
        if self._hub is None:
            self._hub = connect(self.url, project=self.project, transport=self.seams.transport)
        return self._hub

    def pinned_key(self) -> str:
        """The key (PEM) pinned by `login`, empty when there is none; no server is asked."""
        return config.load(config.config_path()).log_key

    def close(self) -> None:
        """Give the connections back."""
        if self._hub is not None:
            self._hub.close()

    def show(self, told: BaseModel, drawing: RenderableType) -> None:
        """One thing: as JSON with `--json`, else as it is drawn."""
        if self.json:
            self.raw(told.model_dump_json(indent=2))
        else:
            self.out.print(drawing)

    def rows(self, told: Iterable[BaseModel], headers: Sequence[str], cells: Callable[[Any], Sequence[str]]) -> None:
        """Many things of one kind: a JSON array with `--json`, else a table."""
        found = list(told)
        if self.json:
            self.raw(json.dumps([one.model_dump(mode="json") for one in found], ensure_ascii=False, indent=2))
        elif found:
            self.out.print(show.text_table(headers, [cells(one) for one in found], [False] * len(headers)))
        else:
            self.note(say("None.", "无。"))

    def raw(self, text: str) -> None:
        """Text as it is, no wrapping, no markup."""
        self.out.file.write(text if text.endswith("\n") else f"{text}\n")

    def binary(self, content: bytes) -> None:
        """Bytes as they are; refused for a terminal."""
        if sys.stdout.isatty():
            raise errors.SandboxError(
                say("This format is not for a terminal.", "该格式不适合在终端显示。"),
                hint=say("Write it to a file: -o FILE", "请写入文件：-o FILE"),
            )
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()

    def note(self, text: str) -> None:
        """A word beside the result, on standard error."""
        self.err.print(Text(text), soft_wrap=True)

    def complain(self, error: errors.SandboxError) -> None:
        """An error for the person: sentence, what was asked and what is left, hint, reference; as JSON with `--json`."""
        if self.json:
            self.err.file.write(json.dumps(error_facts(error), ensure_ascii=False) + "\n")
            return
        self.err.print(
            Text.assemble((f"{say('Error', '错误')}: ", "bold red"), show.clean_lines(error.message)), soft_wrap=True
        )
        for name, value in budget_lines(error):
            self.err.print(Text(f"  {name:<12} {show.clean(value)}"), soft_wrap=True)
        for line in error.notes():
            self.err.print(Text(show.clean(line), style="dim"), soft_wrap=True)


def error_facts(error: errors.SandboxError) -> dict[str, Any]:
    """An error as JSON."""
    facts = {"error": error.message, "code": error.code, "hint": error.hint, "reference": error.reference}
    return {
        **facts,
        "status": error.status,
        "params": dict(error.params),
        "errors": [one.model_dump() for one in error.errors],
        "exit": int(exit_code(error)),
    }


def budget_lines(error: errors.SandboxError) -> list[tuple[str, str]]:
    """Requested, remaining, difference and whom to ask, where the error is about a budget."""
    if not isinstance(error, errors.BudgetExhausted):
        return []
    kinds = (
        (say("requested", "申请"), error.requested),
        (say("remaining", "剩余"), error.remaining),
        (say("difference", "差额"), error.missing),
    )
    lines = [(name, f"epsilon {value:g}") for name, value in kinds if value is not None]
    return [*lines, *([(say("ask", "请联系"), error.contact)] if error.contact else [])]


@dataclass(frozen=True, slots=True)
class Word:
    """How one parameter is given and what it means, in both languages; `flags` empty makes it an argument."""

    flags: tuple[str, ...]
    en: str
    zh: str
    extra: Mapping[str, Any] = field(default_factory=dict)
    common: bool = False

    def info(self) -> Any:
        """The Typer description, in the language of now."""
        if self.flags:
            panel = say("Common options", "通用选项") if self.common else say("Options", "选项")
            return typer.Option(
                *self.flags, help=say(self.en, self.zh), show_default=False, rich_help_panel=panel, **self.extra
            )
        panel = say("Arguments", "参数")
        return typer.Argument(help=say(self.en, self.zh), show_default=False, rich_help_panel=panel, **self.extra)


def option(*flags: str, en: str, zh: str, **extra: Any) -> Word:
    """An option of a command."""
    return Word(flags, en, zh, extra)


def argument(*, en: str, zh: str, **extra: Any) -> Word:
    """A positional argument of a command."""
    return Word((), en, zh, extra)


Command = TypeVar("Command", bound=Callable[..., None])


@dataclass(frozen=True, kw_only=True, slots=True)
class Verb:
    """One command: the group it belongs to ("" for none), its name, what it does, and the function that does it."""

    group: str
    name: str
    en: str
    zh: str
    run: Callable[..., None]

    @property
    def path(self) -> str:
        """The command as it is typed after `sandbox`."""
        return f"{self.group} {self.name}".strip()

    def register(self, app: typer.Typer) -> None:
        """Add it to a Typer application, help in the language of now."""
        app.command(self.name, cls=Plain, help=say(self.en, self.zh), rich_help_panel=say("Commands", "命令"))(
            _wrapped(self.run)
        )


class Verbs:
    """The commands of one module, in the order they are written."""

    def __init__(self, group: str = "") -> None:
        self.group = group
        self.all: list[Verb] = []

    def __call__(self, name: str, *, en: str, zh: str) -> Callable[[Command], Command]:
        """Decorate the function of a command; its first parameter is the `Terminal`."""

        def keep(run: Command) -> Command:
            self.all.append(Verb(group=self.group, name=name, en=en, zh=zh, run=run))
            return run

        return keep


_COMMON = {
    "json": (bool, Word(("--json",), "Write JSON.", "输出 JSON。", common=True), False),
    "url": (str | None, Word(("--url",), "Address of the server.", "服务器地址。", common=True), None),
    "lang": (str | None, Word(("--lang",), "en or zh-CN.", "en 或 zh-CN。", common=True), None),
}
"""What every command takes: type, words, default."""


def helped(option: Any) -> Any:
    """The parser's own `--help`, in the person's language."""
    if option is not None:
        option.help = say("Show this and exit.", "显示本帮助。")
        option.rich_help_panel = say("Common options", "通用选项")
    return option


class Plain(TyperCommand):
    """A command with its `--help` in the person's language."""

    def get_help_option(self, ctx: Any) -> Any:
        """`--help`, in the person's language."""
        return helped(super().get_help_option(ctx))


def _wrapped(run: Callable[..., None]) -> Callable[..., None]:
    """The function as Typer calls it: its own parameters and the common ones, its errors turned into exit codes."""

    def command(**given: Any) -> None:
        ctx: typer.Context = given.pop("ctx")
        common = {name: given.pop(name) for name in _COMMON}
        with speaking(common["lang"]):
            seams = ctx.obj if isinstance(ctx.obj, Seams) else Seams()
            at = Terminal(json=common["json"], url=common["url"], project=given.get("project"), seams=seams)
            try:
                run(at, **given)
            except errors.SandboxError as error:
                at.complain(error)
                raise typer.Exit(exit_code(error)) from error
            finally:
                at.close()

    command.__signature__ = _signature(run)  # type: ignore[attr-defined]
    command.__annotations__ = {}
    command.__name__ = run.__name__
    command.__doc__ = run.__doc__
    return command


def _signature(run: Callable[..., None]) -> inspect.Signature:
    hints = get_type_hints(run, include_extras=True)
    keyword = inspect.Parameter.KEYWORD_ONLY
    parameters = [inspect.Parameter("ctx", keyword, annotation=typer.Context)]
    for name, parameter in list(inspect.signature(run).parameters.items())[1:]:
        annotation = hints[name]
        if get_origin(annotation) is Annotated:
            plain, word = get_args(annotation)
            annotation = Annotated[plain, word.info()]
        parameters.append(parameter.replace(kind=keyword, annotation=annotation))
    for name, (kind, word, default) in _COMMON.items():
        parameters.append(inspect.Parameter(name, keyword, default=default, annotation=Annotated[kind, word.info()]))
    return inspect.Signature(parameters)

"""`sandbox …`: the command line of researchers, stewards and reviewers. It speaks REST like everyone else.

Owns the list of commands and what happens around one: the language, wrong usage in words, the exit code. The commands
themselves stand in `sandbox.client.commands_*`; each is data (`Verb`) until the language is known. No server code is
imported, ever. Commands, options and exit codes are documented in docs/cli.md, which a test keeps complete.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text
from typer.core import TyperGroup

from sandbox.client import commands_access, commands_account, commands_ask, commands_data
from sandbox.client.terminal import Exit, Verb, helped
from sandbox.say import choose, language, say, speaking

VERBS: tuple[Verb, ...] = (
    *commands_account.top.all,
    *commands_data.datasets.all,
    *commands_ask.top.all,
    *commands_ask.jobs.all,
    *commands_access.requests.all,
    *commands_access.grants.all,
    *commands_account.projects.all,
    *commands_account.tokens.all,
    *commands_access.policy.all,
    *commands_ask.receipt.all,
    *commands_ask.log.all,
)
"""Every command, in the order of the help."""

#: What a wrong usage is called, by the name of its class; the parser's own sentences exist in English only.
_USAGE = {
    "MissingParameter": ("This is missing: {what}.", "缺少参数：{what}。"),
    "NoSuchOption": ("There is no such option: {what}.", "没有该选项：{what}。"),
    "BadParameter": ("This value is not allowed: {what}.", "该取值不被允许：{what}。"),
}
#: The base of all wrong usage, whichever library the parser bundles.
_WRONG: type[Exception] = typer.BadParameter.__bases__[0]


class Front(TyperGroup):
    """The whole command: wrong usage in the person's language, and the documented exit codes."""

    def main(self, *args: Any, **extra: Any) -> Any:
        """Run one command line; exits the process unless `standalone_mode` is False."""
        alone = extra.pop("standalone_mode", True)
        quietly: dict[str, Any] = {**extra, "standalone_mode": False}
        try:
            code = super().main(*args, **quietly)
        except typer.Abort:
            code = Exit.INTERRUPTED
        except _WRONG as error:
            _explain(error)
            code = Exit.USAGE
        if alone:
            sys.exit(int(code or 0))
        return code

    def get_help_option(self, ctx: Any) -> Any:
        """`--help`, in the person's language."""
        return helped(super().get_help_option(ctx))


class Group(TyperGroup):
    """A group of commands with its `--help` in the person's language."""

    def get_help_option(self, ctx: Any) -> Any:
        """`--help`, in the person's language."""
        return helped(super().get_help_option(ctx))


def front(lang: Annotated[str | None, typer.Option("--lang", help="en | zh-CN", show_default=False)] = None) -> None:
    """Take `--lang` before the command too; `main` has read it already."""
    if lang:
        choose(lang)


def _explain(error: Exception) -> None:
    context = getattr(error, "ctx", None)
    kind = type(error).__name__
    if kind == "NoArgsIsHelpError":
        return
    what = getattr(error, "option_name", "") or _parameter(error, context) or str(error)
    sentence = _USAGE.get(kind)
    told = say(*sentence, what=what) if sentence else say("Wrong usage: {what}", "用法有误：{what}", what=error)
    console = Console(stderr=True, highlight=False)
    console.print(Text(told, style="bold red"), soft_wrap=True)
    if context is not None:
        how = say("See: {command} --help", "参见：{command} --help", command=context.command_path)
        console.print(Text(how, style="dim"), soft_wrap=True)


def _parameter(error: Exception, context: Any) -> str:
    parameter = getattr(error, "param", None)
    if parameter is None or context is None:
        return ""
    named = " / ".join(parameter.opts) if parameter.param_type_name == "option" else str(parameter.name)
    return say("{named} ({why})", "{named}", named=named, why=error) if str(error) else named


def build() -> typer.Typer:
    """The Typer application, help in the language of now."""
    groups = {
        "datasets": say("Datasets: look, describe, fill.", "数据集：查看、描述、入库。"),
        "jobs": say("Work that was asked for.", "已提交的作业。"),
        "requests": say("Access requests and their reviews.", "使用申请与审核。"),
        "grants": say("Promises that were made.", "已作出的授权。"),
        "projects": say("Projects and their members.", "项目与成员。"),
        "tokens": say("Your API tokens.", "您的 API 令牌。"),
        "policy": say("Why something is allowed or not.", "操作是否允许及其理由。"),
        "receipt": say("Proofs of answers.", "结果的凭证。"),
        "log": say("The audit log.", "审计日志。"),
    }
    options: dict[str, Any] = {
        "no_args_is_help": True,
        "pretty_exceptions_enable": False,
        "add_completion": False,
        "context_settings": {"help_option_names": ["--help", "-h"]},
    }
    about = say(
        "Ask questions of data you may use but not see.",
        "向“可用不可见”的数据提问。",
    )
    app = typer.Typer(cls=Front, name="sandbox", help=about, **options)
    app.callback()(front)
    rooms = {name: typer.Typer(cls=Group, help=words, **options) for name, words in groups.items()}
    for verb in VERBS:
        verb.register(rooms.get(verb.group, app))
    for name, room in rooms.items():
        app.add_typer(room, name=name)
    return app


def asked_language(arguments: Sequence[str]) -> str | None:
    """The value of `--lang` on a command line, before anything else is read."""
    for at, word in enumerate(arguments):
        if word.startswith("--lang="):
            return word.partition("=")[2]
        if word == "--lang" and at + 1 < len(arguments):
            return arguments[at + 1]
    return None


def main(arguments: Sequence[str] | None = None) -> None:
    """Run `sandbox` with the arguments of the process, or with those given."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    with speaking(asked_language(given) or language()):
        build()(args=given, prog_name="sandbox")


if __name__ == "__main__":
    main()

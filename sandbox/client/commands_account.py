"""Commands about oneself: signing in and out, tokens, projects.

Owns no rule. A password comes from a prompt or from standard input, never from the command line, where other users of
the machine could read it. Signing in pins the key the server signs with; a key that changed later is an alarm.
"""

from __future__ import annotations

import sys
from typing import Annotated

from rich.prompt import Prompt
from rich.text import Text

from sandbox.client import config, errors, show
from sandbox.client.terminal import Terminal, Verbs, argument, option
from sandbox.client.transport import Call
from sandbox.say import say
from sandbox.wire import LogKeyOut, MeOut, ProjectOut, SessionOut

top = Verbs()
tokens = Verbs("tokens")
projects = Verbs("projects")


@top("login", en="Sign in; the token goes to a file only you may read.", zh="登录；令牌保存在仅您可读的文件中。")
def login(
    at: Terminal,
    login: Annotated[str | None, argument(en="Your login.", zh="您的登录名。")] = None,
    *,
    password_stdin: Annotated[
        bool, option("--password-stdin", en="Read the password from standard input.", zh="从标准输入读取口令。")
    ] = False,
    project: Annotated[
        str | None, option("--project", "-p", en="The project to ask in from now on.", zh="此后默认用于提问的项目。")
    ] = None,
    new_key: Annotated[
        bool, option("--new-key", en="Accept that the server's key changed.", zh="接受服务器密钥已更换。")
    ] = False,
) -> None:
    """Sign in, pin the key, write the file."""
    hub = at.hub
    if hub.wire.is_readable_on_the_way:
        at.note(
            say(
                "Careful: {url} is not encrypted, so the password and the token can be read on the way. Use https.",
                "注意：{url} 未加密，口令和令牌可能在传输途中被读取，请使用 https。",
                url=hub.wire.url,
            )
        )
    who = login or Prompt.ask(say("Login", "登录名"), console=at.err)
    password = sys.stdin.readline().rstrip("\r\n") if password_stdin else _prompt_password(at)
    session = hub.desk.sign_in(who, password)
    key = hub.desk.log_key()
    path = config.config_path()
    kept = config.load(path)
    same_house = kept.url == hub.wire.url
    if same_house and kept.log_key and kept.log_key != key.pem and not new_key:
        raise _key_changed(hub.wire.url)
    chosen = project or (kept.project if same_house else "") or _only(session.me)
    config.save(
        path,
        config.Settings(
            url=hub.wire.url,
            token=session.token,
            token_id=session.token_id,
            login=session.me.login,
            project=chosen,
            log_key=key.pem,
        ),
    )
    at.show(session.me, _welcome(session, key, chosen))


def _prompt_password(at: Terminal) -> str:
    return Prompt.ask(say("Password", "口令"), password=True, console=at.err)


def _only(me: MeOut) -> str:
    return me.projects[0] if len(me.projects) == 1 else ""


def _welcome(session: SessionOut, key: LogKeyOut, project: str) -> Text:
    lines = [
        say("Signed in as {name} ({login}, {organisation}); roles: {roles}.",
            "已登录：{name}（{login}，{organisation}）；角色：{roles}。",
            name=session.me.name, login=session.me.login, organisation=session.me.organisation,
            roles=", ".join(session.me.roles) or "—"),
        say("Project: {project}. The token holds until {until:%Y-%m-%d %H:%M} UTC.",
            "项目：{project}。令牌有效至 {until:%Y-%m-%d %H:%M}（UTC）。",
            project=project or "—", until=session.expires_at),
        say("Pinned the server's key {key}; compare it with the published one.",
            "已固定服务器密钥 {key}，请与公布的密钥核对。", key=key.key_id),
    ]  # fmt: skip
    return Text("\n".join(show.clean(line) for line in lines))


def _key_changed(url: str) -> errors.SandboxError:
    return errors.SandboxError(
        say("The key of {url} is not the one pinned before.", "{url} 的密钥与此前固定的不一致。", url=url),
        hint=say(
            "Ask the operator, apart from this server, whether it was renewed; only then: sandbox login --new-key",
            "请通过其他途径向运营方核实是否已更换；确认后再执行：sandbox login --new-key",
        ),
    )


@top("logout", en="Revoke the token and forget it.", zh="吊销并清除令牌。")
def logout(at: Terminal) -> None:
    """Revoke the token that `login` made, then drop it from the file, whatever the server says."""
    path = config.config_path()
    kept = config.load(path)
    revoked = False
    if kept.token and kept.token_id and at.hub.wire.url == kept.url:
        try:
            at.hub.wire.send(Call(verb="DELETE", path=f"/v1/tokens/{kept.token_id}", idempotent=True))
            revoked = True
        except (errors.Unauthenticated, errors.NotFound):
            revoked = True
        except errors.SandboxError as error:
            at.complain(error)
    config.forget(path)
    at.note(
        say("Signed out; the token is revoked.", "已退出，令牌已吊销。")
        if revoked
        else say("Signed out here. No token was revoked on the server.", "已在本机退出；服务器上未吊销任何令牌。")
    )


@top("whoami", en="Who you are, as the server sees it.", zh="服务器所识别的您的身份。")
def whoami(at: Terminal) -> None:
    """Show login, organisation, roles, projects."""
    me = at.hub.me()
    lines = [
        f"{me.name} ({me.login})",
        say("organisation: {one}", "机构：{one}", one=me.organisation),
        say("roles: {all}", "角色：{all}", all=", ".join(me.roles) or "—"),
        say("projects: {all}", "项目：{all}", all=", ".join(me.projects) or "—"),
    ]
    at.show(me, Text("\n".join(show.clean(line) for line in lines)))


@tokens("list", en="Your API tokens, without their secrets.", zh="您的 API 令牌（不含密文）。")
def tokens_list(at: Terminal) -> None:
    """List tokens."""
    headers = [say("id", "编号"), say("label", "标签"), say("expires", "到期"), say("state", "状态")]
    at.rows(
        at.hub.desk.tokens(),
        headers,
        lambda one: [
            one.id,
            one.label,
            f"{one.expires_at:%Y-%m-%d %H:%M}",
            say("revoked", "已吊销") if one.revoked_at else say("valid", "有效"),
        ],
    )


@tokens("create", en="One more API token; its secret is shown once.", zh="新建 API 令牌；密文仅显示一次。")
def tokens_create(
    at: Terminal,
    label: Annotated[str, argument(en="What it is for.", zh="用途标签。")],
    *,
    days: Annotated[
        int, option("--days", en="How long it holds (30).", zh="有效天数（默认 30）。", min=1, max=365)
    ] = 30,
) -> None:
    """Create a token."""
    made = at.hub.desk.create_token(label, days=days)
    at.show(made, Text(made.token))
    at.note(say("Keep it now: it is not shown again.", "请立即保存：不会再次显示。"))


@tokens("revoke", en="End a token at once.", zh="立即吊销令牌。")
def tokens_revoke(at: Terminal, token_id: Annotated[str, argument(en="Its id.", zh="令牌编号。")]) -> None:
    """Revoke a token."""
    at.hub.desk.revoke_token(token_id)
    at.note(say("Revoked.", "已吊销。"))


def _project(one: ProjectOut) -> list[str]:
    return [one.name, one.title, one.organisation, ", ".join(one.members), one.purpose]


def _project_headers() -> list[str]:
    return [say("name", "名称"), say("title", "标题"), say("organisation", "机构"), say("members", "成员"),
            say("purpose", "目的")]  # fmt: skip


@projects("list", en="The projects you may see.", zh="您可见的项目。")
def projects_list(at: Terminal) -> None:
    """List projects."""
    at.rows(at.hub.desk.projects(), _project_headers(), _project)


@projects("create", en="Open a project of your own organisation.", zh="为本机构新建项目。")
def projects_create(
    at: Terminal,
    name: Annotated[str, argument(en="A short name, used in commands.", zh="命令中使用的简短名称。")],
    *,
    title: Annotated[str, option("--title", en="What people call it.", zh="项目名称。")],
    purpose: Annotated[str, option("--purpose", en="What it is for.", zh="项目目的。")],
) -> None:
    """Create a project."""
    made = at.hub.desk.create_project(name, title=title, purpose=purpose)
    at.show(made, show.text_table(_project_headers(), [_project(made)], [False] * 5))


@projects("add-member", en="Add a member to a project.", zh="为项目添加成员。")
def projects_add_member(
    at: Terminal,
    name: Annotated[str, argument(en="The project.", zh="项目。")],
    login: Annotated[str, argument(en="The new member's login.", zh="新成员的登录名。")],
) -> None:
    """Add a member."""
    made = at.hub.desk.add_member(name, login)
    at.show(made, show.text_table(_project_headers(), [_project(made)], [False] * 5))

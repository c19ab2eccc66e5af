"""Commands about permission: access requests, grants, and why something is or is not allowed.

Owns no rule: the server decides, these commands carry the words to and fro.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from rich.console import Group, RenderableType
from rich.text import Text

from sandbox.client import show
from sandbox.client.desk import Decision, GrantVerb, Vote, actions
from sandbox.client.terminal import Terminal, Verbs, argument, option
from sandbox.say import say
from sandbox.wire import AccessRequestOut, BudgetTerms, DecisionOut, GrantOut

requests = Verbs("requests")
grants = Verbs("grants")
policy = Verbs("policy")

RequestId = Annotated[str, argument(en="The request's id.", zh="申请编号。")]
GrantId = Annotated[str, argument(en="The grant's id.", zh="授权编号。")]
Comment = Annotated[str, option("--comment", "-m", en="A word with it.", zh="附言。")]


def _budget(terms: BudgetTerms) -> str:
    return f"epsilon {terms.epsilon:g}, delta {terms.delta:.1e}"


def _day(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d}"


def _end(moment: datetime | None) -> str:
    """To the minute: a last day of use ends at midnight, which is the next day's date."""
    return "—" if moment is None else f"{moment:%Y-%m-%d %H:%M} UTC"


def request_states() -> dict[str, str]:
    """The states of a request, in words."""
    return {
        "draft": say("draft", "草稿"),
        "submitted": say("submitted", "已提交"),
        "in_review": say("in review", "审核中"),
        "returned": say("returned", "已退回"),
        "granted": say("granted", "已授权"),
        "refused": say("refused", "已拒绝"),
        "withdrawn": say("withdrawn", "已撤回"),
    }


def _grant_states() -> dict[str, str]:
    return {
        "active": say("active", "有效"),
        "suspended": say("suspended", "已暂停"),
        "expired": say("expired", "已到期"),
        "revoked": say("revoked", "已撤销"),
    }


def _turn(turn: str) -> str:
    turns = {"author": say("author", "申请人"), "reviewer": say("reviewer", "审核员"), "system": say("nobody", "无")}
    return turns.get(turn, turn)


def _request(one: AccessRequestOut) -> RenderableType:
    lines = [
        f"{one.id} · {request_states().get(one.state, one.state)}",
        say("{project} asks for {dataset}: {purpose}", "{project} 申请 {dataset}：{purpose}",
            project=one.project, dataset=one.dataset, purpose=one.purpose),
        say("budget {budget}; until {until}; by {who} on {day}", "预算 {budget}；至 {until}；{who} 于 {day} 提出",
            budget=_budget(one.budget), until=_end(one.expires_at), who=one.requested_by, day=_day(one.created_at)),
        say("moves next: {turn}; reviews needed: {needed}", "下一步：{turn}；需要 {needed} 份审核",
            turn=_turn(one.turn), needed=one.reviews_needed),
    ]  # fmt: skip
    lines += [f"  {vote.reviewer}: {_votes().get(vote.vote, vote.vote)}  {vote.comment}" for vote in one.reviews]
    if one.grant:
        lines.append(say("grant {id}", "授权 {id}", id=one.grant))
    return Text("\n".join(show.clean(line) for line in lines))


def _votes() -> dict[str, str]:
    return {"grant": say("grant", "同意"), "refuse": say("refuse", "拒绝"), "return": say("return", "退回")}


@requests("create", en="Ask for the use of a dataset in a project.", zh="为项目申请使用数据集。")
def requests_create(
    at: Terminal,
    dataset: Annotated[str, argument(en="The dataset.", zh="数据集。")],
    *,
    purpose: Annotated[str, option("--purpose", en="Why the data is needed.", zh="使用目的。")],
    project: Annotated[str | None, option("--project", "-p", en="The project that asks.", zh="申请的项目。")] = None,
    epsilon: Annotated[float | None, option("--epsilon", en="The budget asked for.", zh="申请的预算 epsilon。")] = None,
    delta: Annotated[float | None, option("--delta", en="The budget's delta.", zh="预算的 delta。")] = None,
    expires: Annotated[
        datetime | None, option("--expires", en="The last day of use.", zh="最后使用日期。", formats=["%Y-%m-%d"])
    ] = None,
    draft: Annotated[bool, option("--draft", en="Do not submit it yet.", zh="暂不提交。")] = False,
) -> None:
    """Create a request; without a budget, all that the policy allows one project."""
    made = at.hub.desk.request_access(
        project=at.hub.project_or_only(project),
        dataset=dataset,
        purpose=purpose,
        epsilon=epsilon,
        delta=delta,
        expires=None if expires is None else expires.date(),
        submit=not draft,
    )
    at.show(made, _request(made))


@requests("list", en="The access requests you may see.", zh="您可见的使用申请。")
def requests_list(
    at: Terminal,
    *,
    state: Annotated[str | None, option("--state", en="Only those in this state.", zh="仅列出该状态。")] = None,
) -> None:
    """List requests."""
    headers = [say("id", "编号"), say("state", "状态"), say("moves next", "下一步"), say("project", "项目"),
               say("dataset", "数据集"), say("budget", "预算")]  # fmt: skip
    words = request_states()
    at.rows(
        at.hub.desk.requests(state=state),
        headers,
        lambda one: [one.id, words[one.state], _turn(one.turn), one.project, one.dataset, _budget(one.budget)],
    )


@requests("show", en="One access request.", zh="查看一份申请。")
def requests_show(at: Terminal, request: RequestId) -> None:
    """Show a request."""
    found = at.hub.desk.request(request)
    at.show(found, _request(found))


@requests(
    "review", en="Vote on a request: grant, refuse or return.", zh="对申请投票：grant 同意、refuse 拒绝、return 退回。"
)
def requests_review(
    at: Terminal,
    request: RequestId,
    *,
    vote: Annotated[Vote, option("--vote", en="grant, refuse or return.", zh="grant、refuse 或 return。")],
    comment: Comment = "",
) -> None:
    """Vote; it stays hidden from other reviewers until all that are needed are in."""
    found = at.hub.desk.review(request, vote=vote, comment=comment)
    at.show(found, _request(found))


def _decide(at: Terminal, request: str, decision: Decision, comment: str) -> None:
    found = at.hub.desk.decide(request, decision, comment)
    at.show(found, _request(found))


@requests("grant", en="Vote to grant a request.", zh="同意申请。")
def requests_grant(at: Terminal, request: RequestId, *, comment: Comment = "") -> None:
    """Grant."""
    _decide(at, request, "grant", comment)


@requests("refuse", en="Vote to refuse a request.", zh="拒绝申请。")
def requests_refuse(at: Terminal, request: RequestId, *, comment: Comment = "") -> None:
    """Refuse."""
    _decide(at, request, "refuse", comment)


@requests("return", en="Send a request back to its author.", zh="将申请退回申请人。")
def requests_return(at: Terminal, request: RequestId, *, comment: Comment = "") -> None:
    """Return."""
    _decide(at, request, "return", comment)


@requests("withdraw", en="Take your request back.", zh="撤回自己的申请。")
def requests_withdraw(at: Terminal, request: RequestId, *, comment: Comment = "") -> None:
    """Withdraw."""
    _decide(at, request, "withdraw", comment)


@requests("submit", en="Submit a draft or a returned request.", zh="提交草稿或被退回的申请。")
def requests_submit(at: Terminal, request: RequestId, *, comment: Comment = "") -> None:
    """Submit."""
    _decide(at, request, "submit", comment)


def _grant(one: GrantOut) -> RenderableType:
    lines = [
        f"{one.id} · {_grant_states().get(one.state, one.state)}",
        say("{project} may use {dataset} for: {purpose}", "{project} 可使用 {dataset}，目的：{purpose}",
            project=one.project, dataset=one.dataset, purpose=one.purpose),
        say("methods {methods}; budget {budget}; until {until}", "方式 {methods}；预算 {budget}；至 {until}",
            methods=", ".join(one.methods), budget=_budget(one.budget), until=_end(one.expires_at)),
        say("granted on {day} by {who}", "{day} 授权，审核人 {who}",
            day=_day(one.granted_at), who=", ".join(one.decided_by) or "—"),
    ]  # fmt: skip
    return Text("\n".join(show.clean(line) for line in [*lines, *([one.comment] if one.comment else [])]))


@grants("list", en="The grants you may see.", zh="您可见的授权。")
def grants_list(at: Terminal) -> None:
    """List grants."""
    headers = [say("id", "编号"), say("state", "状态"), say("project", "项目"), say("dataset", "数据集"),
               say("budget", "预算"), say("until", "截止")]  # fmt: skip
    words = _grant_states()
    at.rows(
        at.hub.desk.grants(),
        headers,
        lambda one: [one.id, words[one.state], one.project, one.dataset, _budget(one.budget), _end(one.expires_at)],
    )


@grants("show", en="One grant.", zh="查看一份授权。")
def grants_show(at: Terminal, grant: GrantId) -> None:
    """Show a grant."""
    found = at.hub.desk.grant(grant)
    at.show(found, _grant(found))


def _change(at: Terminal, grant: str, verb: GrantVerb, comment: str) -> None:
    found = at.hub.desk.change_grant(grant, verb, comment)
    at.show(found, _grant(found))


@grants("revoke", en="End a grant for good, from the next use on.", zh="永久撤销授权，自下一次使用起生效。")
def grants_revoke(at: Terminal, grant: GrantId, *, comment: Comment = "") -> None:
    """Revoke."""
    _change(at, grant, "revoke", comment)


@grants("suspend", en="Stop a grant until it is resumed.", zh="暂停授权。")
def grants_suspend(at: Terminal, grant: GrantId, *, comment: Comment = "") -> None:
    """Suspend."""
    _change(at, grant, "suspend", comment)


@grants("resume", en="Let a suspended grant hold again.", zh="恢复已暂停的授权。")
def grants_resume(at: Terminal, grant: GrantId, *, comment: Comment = "") -> None:
    """Resume."""
    _change(at, grant, "resume", comment)


@policy("explain", en="Whether you may do something, and every reason.", zh="说明您是否可以进行某项操作及全部理由。")
def policy_explain(
    at: Terminal,
    action: Annotated[str, argument(en="For example ask, preview, see_dataset.", zh="例如 ask、preview、see_dataset。",
                                    autocompletion=lambda: list(actions()))],
    *,
    dataset: Annotated[str | None, option("--dataset", "-d", en="About this dataset.", zh="涉及的数据集。")] = None,
    project: Annotated[str | None, option("--project", "-p", en="In this project.", zh="所在项目。")] = None,
    request: Annotated[str | None, option("--request", en="About this access request.", zh="涉及的申请。")] = None,
) -> None:  # fmt: skip
    """Explain a decision; nothing happens."""
    told = at.hub.desk.explain(action, dataset=dataset, project=project or at.hub.project or None, request=request)
    at.show(told, _decision(told))


def _decision(told: DecisionOut) -> RenderableType:
    head = Text(say("allowed: {action}", "允许：{action}", action=told.action), style="bold green")
    if not told.allowed:
        head = Text(say("not allowed: {action}", "不允许：{action}", action=told.action), style="bold red")
    lines: list[RenderableType] = [head]
    for reason in told.reasons:
        lines.append(Text(show.clean(f"  {reason.message}  [{reason.code}]")))
        if reason.hint:
            lines.append(Text(show.clean(f"    {reason.hint}"), style="dim"))
    return Group(*lines, *[Text(show.clean(f"  {duty}")) for duty in told.obligations])

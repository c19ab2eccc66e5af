"""Who may do what, and why: one pure function, `decide`, and the small rules it is made of.

Owns every yes or no in the house. `decide` looks only at its argument: it reads no table and no clock, so a decision can
be repeated, explained and put in the log. It collects all reasons, not the first. Law 9: nobody judges their own work.
The terms a decision rests on (`Policy`, grades) are in `access.terms` and handed on from here.

`Decision.hidden` says that the asker may not even know the thing exists; the edge then answers "not found", exactly as
if it did not. A use that no rule speaks about is refused (law 10).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING

from access.people import Principal, Project, Role
from access.terms import (
    GRADE_RULES,
    Grade,
    GradeRule,
    Method,
    Openness,
    Policy,
    PolicyTooLoose,
    joined,
    require_lawful,
    reviewers_needed,
)
from privacy.errors import Refused, Text

if TYPE_CHECKING:
    from access.catalogue import Dataset
    from access.grants import AccessRequest, Grant, Review

__all__ = [
    "GRADE_RULES",
    "RULES",
    "Decision",
    "Grade",
    "GradeRule",
    "Method",
    "NotAllowed",
    "Obligation",
    "Openness",
    "Policy",
    "PolicyTooLoose",
    "Reason",
    "Request",
    "Use",
    "decide",
    "require_lawful",
    "reviewers_needed",
]


class NotAllowed(Refused):
    """A rule says no; `reasons` holds all of them, `codes` their codes."""

    code = "policy.refused"
    sentence = Text("This is not allowed: {reasons}", "不允许此操作：{reasons}")
    hint = Text("{advice}", "{advice}")


class Use(StrEnum):
    """Everything that can be asked of the house."""

    SEE_DATASET = "see_dataset"
    REGISTER_DATASET = "register_dataset"
    CHANGE_DATASET = "change_dataset"
    READ_REPORT = "read_report"
    CREATE_PEOPLE = "create_people"
    CREATE_PROJECT = "create_project"
    READ_PROJECT = "read_project"
    CHANGE_PROJECT = "change_project"
    REQUEST_ACCESS = "request_access"
    READ_REQUEST = "read_request"
    CHANGE_REQUEST = "change_request"
    REVIEW_REQUEST = "review_request"
    READ_GRANT = "read_grant"
    REVOKE_GRANT = "revoke_grant"
    PREVIEW = "preview"
    ASK = "ask"
    READ_JOB = "read_job"
    CANCEL_JOB = "cancel_job"
    READ_RECEIPT = "read_receipt"
    READ_ACCOUNT = "read_account"
    READ_LOG = "read_log"


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """One use by one principal at one moment, with everything the decision may look at.

    `grant` is the newest grant of (project, dataset), whatever its state. `reviews` are those of the request's current
    round. `asked_by` is the principal id behind a job. What a use does not need stays None; what it needs and is None
    counts as not existing.
    """

    use: Use
    who: Principal
    now: datetime
    dataset: Dataset | None = None
    project: Project | None = None
    request: AccessRequest | None = None
    reviews: tuple[Review, ...] = ()
    grant: Grant | None = None
    asked_by: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Reason:
    """One rule that says no. `hides` means the asker may not know that the thing exists."""

    code: str
    text: Text
    hint: Text
    params: Mapping[str, object] = field(default_factory=dict)
    hides: bool = False

    def say(self, lang: str) -> str:
        """The sentence, placeholders filled."""
        return self.text.say(lang, **self.params)

    def advise(self, lang: str) -> str:
        """What to do about it."""
        return self.hint.say(lang, **self.params)


@dataclass(frozen=True, kw_only=True, slots=True)
class Obligation:
    """Something the asker must live with when the use is allowed."""

    code: str
    text: Text
    params: Mapping[str, object] = field(default_factory=dict)

    def say(self, lang: str) -> str:
        """The sentence, placeholders filled."""
        return self.text.say(lang, **self.params)


@dataclass(frozen=True, kw_only=True, slots=True)
class Decision:
    """Yes or no, all reasons for a no, and what comes with a yes."""

    use: Use
    allowed: bool
    reasons: tuple[Reason, ...]
    obligations: tuple[Obligation, ...]

    @property
    def hidden(self) -> bool:
        """True when the asker must get the same answer as if the thing did not exist."""
        return any(r.hides for r in self.reasons)

    def refusal(self) -> NotAllowed:
        """The problem to raise for a no that is not hidden."""
        return NotAllowed(
            reasons=joined([r.say for r in self.reasons]),
            advice=joined([r.advise for r in self.reasons]),
            codes=[r.code for r in self.reasons],
        )


# --- the rules -----------------------------------------------------------------------------------------------------------

Rule = Callable[[Request], Iterator[Reason]]


def _is_steward(r: Request) -> bool:
    return r.dataset is not None and r.dataset.steward == r.who.id


def _is_member(r: Request) -> bool:
    return r.project is not None and r.who.id in r.project.members


def _enabled(r: Request) -> Iterator[Reason]:
    if r.who.disabled_at is not None:
        yield Reason(
            code="principal.disabled",
            text=Text("Your account is disabled.", "您的账户已停用。"),
            hint=Text("Ask the operator.", "请联系运营方。"),
        )


def _role(*roles: Role) -> Rule:
    names = ", ".join(roles)

    def rule(r: Request) -> Iterator[Reason]:
        if not r.who.roles & frozenset(roles):
            yield Reason(
                code="role.missing",
                text=Text("It takes one of these roles: {roles}.", "需要以下角色之一：{roles}。"),
                hint=Text("Ask the operator for the role.", "请向运营方申请相应角色。"),
                params={"roles": names},
            )

    return rule


def _dataset_visible(r: Request) -> Iterator[Reason]:
    insider = _is_steward(r) or r.who.has(Role.AUDITOR)
    if r.dataset is None or not (insider or r.dataset.catalogued):
        yield Reason(
            code="dataset.hidden",
            text=Text("There is no such dataset for you.", "没有您可见的此数据集。"),
            hint=Text("List the datasets to see what is offered.", "请列出数据集以查看可用内容。"),
            hides=True,
        )


def _dataset_own(r: Request) -> Iterator[Reason]:
    if not _is_steward(r):
        yield Reason(
            code="dataset.not_yours",
            text=Text("Only the steward of the dataset may do this.", "仅该数据集的提供方可执行此操作。"),
            hint=Text("Ask the dataset's provider.", "请联系数据集提供方。"),
        )


def _dataset_open(r: Request) -> Iterator[Reason]:
    if r.dataset is not None and not r.dataset.catalogued:
        yield Reason(
            code="dataset.closed",
            text=Text("The dataset is not offered for use.", "该数据集不对外提供使用。"),
            hint=Text("Ask the dataset's provider.", "请联系数据集提供方。"),
        )


def _dataset_filled(r: Request) -> Iterator[Reason]:
    if r.dataset is not None and r.dataset.version is None:
        yield Reason(
            code="dataset.empty",
            text=Text("The dataset has no version yet.", "该数据集尚无可用版本。"),
            hint=Text("Wait for the provider to publish one.", "请等待提供方发布版本。"),
        )


def _project_visible(r: Request) -> Iterator[Reason]:
    if not _is_member(r):
        yield Reason(
            code="project.hidden",
            text=Text("There is no such project for you.", "没有您可见的此项目。"),
            hint=Text("List your projects.", "请列出您的项目。"),
            hides=True,
        )


def _terms(r: Request) -> Iterator[Reason]:
    """What the dataset's own terms say about asking, today."""
    if r.dataset is None:
        return
    if Method.ASK not in r.dataset.policy.methods:
        yield Reason(
            code="policy.method",
            text=Text("The terms of use do not include questions in SQL.", "使用条款不包含 SQL 提问。"),
            hint=Text("The card of the dataset lists what is included.", "数据集卡片列出了允许的使用方式。"),
        )
    if r.dataset.policy.expires_at is not None and r.now >= r.dataset.policy.expires_at:
        yield Reason(
            code="policy.expired",
            text=Text("The terms of use have expired.", "使用条款已过期。"),
            hint=Text("Ask the dataset's provider to renew them.", "请联系数据集提供方更新条款。"),
        )
    if not GRADE_RULES[r.dataset.grade].free_sql:
        yield Reason(
            code="grade.free_sql",
            text=Text(
                "Data of grade {grade} answers approved query templates only.", "{grade} 级数据仅支持经批准的查询模板。"
            ),
            hint=Text("Ask the dataset's provider for a template.", "请联系数据集提供方申请查询模板。"),
            params={"grade": r.dataset.grade.value},
        )


def _granted(r: Request) -> Iterator[Reason]:
    """A grant that holds now, for this way of use."""
    if r.grant is None:
        yield Reason(
            code="grant.missing",
            text=Text("The project holds no grant for this dataset.", "该项目没有此数据集的授权。"),
            hint=Text("Request access to the dataset.", "请提交数据集使用申请。"),
        )
        return
    blocked = r.grant.blocked_at(r.now)
    if blocked is not None:
        yield Reason(
            code=f"grant.{blocked.value}",
            text=Text("The grant is {state}.", "授权已失效（{state}）。"),
            hint=Text("Ask a reviewer why, or request access again.", "请向审核员了解原因，或重新提交申请。"),
            params={"state": blocked.words},
        )
    if Method.ASK not in r.grant.methods:
        yield Reason(
            code="grant.method",
            text=Text("The grant does not include questions in SQL.", "授权不包含 SQL 提问。"),
            hint=Text("Request access for this method.", "请为该使用方式提交申请。"),
        )


def _request_visible(r: Request) -> Iterator[Reason]:
    """Requests and grants are seen by the project, by those who decide, and by those who watch."""
    watching = r.who.roles & {Role.REVIEWER, Role.AUDITOR, Role.OPERATOR}
    if not (_is_member(r) or _is_steward(r) or watching):
        yield Reason(
            code="request.hidden",
            text=Text("There is no such request or grant for you.", "没有您可见的此申请或授权。"),
            hint=Text("List your requests.", "请列出您的申请。"),
            hides=True,
        )


def _independent(r: Request) -> Iterator[Reason]:
    """Law 9: not in the requesting project, not the requester."""
    author = r.request.author if r.request is not None else None
    if _is_member(r) or r.who.id == author:
        yield Reason(
            code="review.own_work",
            text=Text("Nobody judges their own project's request.", "不得审核本人所在项目的申请。"),
            hint=Text("Leave it to a reviewer outside the project.", "请由项目之外的审核员处理。"),
        )


def _second_opinion(r: Request) -> Iterator[Reason]:
    """One vote a reviewer and round; where the grade says so, every vote from another organisation."""
    if any(v.reviewer == r.who.id for v in r.reviews):
        yield Reason(
            code="review.twice",
            text=Text("You have voted on this request already.", "您已对该申请投票。"),
            hint=Text("Another reviewer has to cast the next vote.", "须由另一名审核员投票。"),
        )
    elif (
        r.dataset is not None
        and GRADE_RULES[r.dataset.grade].different_organisations
        and any(v.organisation == r.who.organisation for v in r.reviews)
    ):
        yield Reason(
            code="review.same_organisation",
            text=Text(
                "At grade {grade} the reviewers come from different organisations.",
                "{grade} 级要求审核员来自不同机构。",
            ),
            hint=Text("Ask a reviewer of another organisation.", "请由其他机构的审核员处理。"),
            params={"grade": r.dataset.grade.value},
        )


def _revoker(r: Request) -> Iterator[Reason]:
    deciding = r.who.roles & {Role.REVIEWER, Role.OPERATOR}
    if not (_is_steward(r) or deciding):
        yield Reason(
            code="grant.not_yours",
            text=Text(
                "Only a reviewer, the operator or the dataset's steward may change a grant.",
                "仅审核员、运营方或数据集提供方可变更授权。",
            ),
            hint=Text("Ask one of them.", "请联系上述人员。"),
        )


def _author(r: Request) -> Iterator[Reason]:
    if r.request is None or r.request.author != r.who.id:
        yield Reason(
            code="request.not_yours",
            text=Text("Only the author of the request may do this.", "仅申请人可执行此操作。"),
            hint=Text("Ask the author.", "请联系申请人。"),
        )


def _job_visible(r: Request) -> Iterator[Reason]:
    """A question belongs to its project, an ingest to the dataset's steward."""
    mine = _is_member(r) if r.project is not None else _is_steward(r)
    if not mine:
        yield Reason(
            code="job.hidden",
            text=Text("There is no such job for you.", "没有您可见的此作业。"),
            hint=Text("List your jobs.", "请列出您的作业。"),
            hides=True,
        )


def _asker(r: Request) -> Iterator[Reason]:
    if r.asked_by != r.who.id:
        yield Reason(
            code="job.not_yours",
            text=Text("Only the person who asked may cancel.", "仅提问者本人可取消。"),
            hint=Text("Ask that person.", "请联系提问者。"),
        )


def _watched(hidden: str) -> Rule:
    """Accounts and receipts: the project, the steward, and those who watch."""

    def rule(r: Request) -> Iterator[Reason]:
        watching = r.who.roles & {Role.AUDITOR, Role.OPERATOR, Role.REVIEWER}
        if not (_is_member(r) or _is_steward(r) or watching):
            yield Reason(
                code=hidden,
                text=Text("There is nothing of that id for you.", "没有您可见的此编号内容。"),
                hint=Text("List what is yours.", "请列出属于您的内容。"),
                hides=True,
            )

    return rule


def _project_readable(r: Request) -> Iterator[Reason]:
    if r.project is None or not (r.who.roles & {Role.AUDITOR, Role.OPERATOR, Role.REVIEWER}):
        yield from _project_visible(r)


RULES: Mapping[Use, tuple[Rule, ...]] = MappingProxyType(
    {
        Use.SEE_DATASET: (_dataset_visible,),
        Use.REGISTER_DATASET: (_role(Role.STEWARD),),
        Use.CHANGE_DATASET: (_dataset_visible, _role(Role.STEWARD), _dataset_own),
        Use.READ_REPORT: (_dataset_visible, _dataset_own),
        Use.CREATE_PEOPLE: (_role(Role.OPERATOR),),
        Use.CREATE_PROJECT: (_role(Role.RESEARCHER),),
        Use.READ_PROJECT: (_project_readable,),
        Use.CHANGE_PROJECT: (_project_visible, _role(Role.RESEARCHER)),
        Use.REQUEST_ACCESS: (_project_visible, _dataset_visible, _dataset_open, _role(Role.RESEARCHER)),
        Use.READ_REQUEST: (_request_visible,),
        Use.CHANGE_REQUEST: (_request_visible, _author),
        Use.REVIEW_REQUEST: (_request_visible, _role(Role.REVIEWER), _independent, _second_opinion),
        Use.READ_GRANT: (_request_visible,),
        Use.REVOKE_GRANT: (_request_visible, _revoker, _independent),
        Use.PREVIEW: (_project_visible, _dataset_visible, _dataset_open, _dataset_filled, _terms, _granted),
        Use.ASK: (_project_visible, _dataset_visible, _dataset_open, _dataset_filled, _terms, _granted),
        Use.READ_JOB: (_job_visible,),
        Use.CANCEL_JOB: (_job_visible, _asker),
        Use.READ_RECEIPT: (_watched("receipt.hidden"),),
        Use.READ_ACCOUNT: (_watched("account.hidden"),),
        Use.READ_LOG: (_role(Role.AUDITOR, Role.OPERATOR),),
    }
)


def _obligations(r: Request) -> Iterator[Obligation]:
    if r.dataset is None:
        return
    if r.use in (Use.PREVIEW, Use.ASK):
        yield Obligation(
            code="noise",
            text=Text("Every figure carries noise and costs budget.", "每个数值都带有噪声，并消耗预算。"),
        )
        if r.dataset.policy.min_units:
            yield Obligation(
                code="min_units",
                text=Text("A cell rests on at least {units} privacy units.", "每个单元格至少涉及 {units} 个隐私单元。"),
                params={"units": r.dataset.policy.min_units},
            )
    if r.use is Use.REQUEST_ACCESS:
        yield Obligation(
            code="reviews",
            text=Text("Independent reviews needed: {reviewers}.", "需要 {reviewers} 名审核员独立审核。"),
            params={"reviewers": reviewers_needed(r.dataset.grade, r.dataset.policy)},
        )


def decide(request: Request) -> Decision:
    """Apply every rule of the use and collect every reason; allowed exactly when there is none."""
    rules = (_enabled, *RULES[request.use])
    reasons = tuple(reason for rule in rules for reason in rule(request))
    allowed = not reasons
    return Decision(
        use=request.use,
        allowed=allowed,
        reasons=reasons,
        obligations=tuple(_obligations(request)) if allowed else (),
    )

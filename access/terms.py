"""The steward's terms of use: grades, openness, methods, the `Policy`, and the rule that no policy undercuts its grade.

Owns what ARCHITECTURE section 8 says as data (`GRADE_RULES`). It decides about nobody: that is `access.policy`, which
also hands these names on.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType

from privacy.errors import Refused, Text
from privacy.loss import Budget

#: Beyond it a budget promises nothing, and its loss would no longer fit the ledger's integers.
LARGEST_EPSILON = 1_000_000


class Grade(StrEnum):
    """How sensitive data is, from L1 (not) to L4 (very). The highest grade of any column is the table's grade."""

    L1 = "L1"
    L2 = "L2"
    L3 = "L3"
    L4 = "L4"


class Openness(StrEnum):
    """On which terms a provider opens a dataset: to everyone, on conditions, or not at all."""

    UNCONDITIONAL = "unconditional"
    CONDITIONAL = "conditional"
    CLOSED = "closed"


class Method(StrEnum):
    """The way in which data is used."""

    ASK = "ask"
    RUN = "run"
    AGGREGATE = "aggregate"


@dataclass(frozen=True, kw_only=True, slots=True)
class Policy:
    """The steward's terms. `per_project` and `total` are zCDP filters' limits; `purposes` empty means any purpose.

    `min_units` is the smallest number of privacy units a released cell may rest on (0: no rule); `reviewers` how many
    independent reviews a grant takes.
    """

    methods: tuple[Method, ...]
    min_units: int
    per_project: Budget
    total: Budget
    reviewers: int
    expires_at: datetime | None = None
    purposes: tuple[str, ...] = ()

    def digest(self) -> str:
        """SHA-256 (hex) of the terms: two equal policies have equal digests. Receipts name it."""
        text = json.dumps(asdict(self), sort_keys=True, default=str, ensure_ascii=False, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True, kw_only=True, slots=True)
class GradeRule:
    """What a grade demands at least: ARCHITECTURE, section 8."""

    reviewers: int
    different_organisations: bool
    free_sql: bool
    min_units: int


GRADE_RULES: Mapping[Grade, GradeRule] = MappingProxyType(
    {
        Grade.L1: GradeRule(reviewers=0, different_organisations=False, free_sql=True, min_units=0),
        Grade.L2: GradeRule(reviewers=1, different_organisations=False, free_sql=True, min_units=0),
        Grade.L3: GradeRule(reviewers=2, different_organisations=False, free_sql=True, min_units=5),
        Grade.L4: GradeRule(reviewers=2, different_organisations=True, free_sql=False, min_units=5),
    }
)


class PolicyTooLoose(Refused):
    """The terms a steward wrote are looser than the grade allows, or make no sense."""

    code = "policy.too_loose"
    sentence = Text("The policy does not fit grade {grade}: {reasons}", "使用条款不符合 {grade} 级要求：{reasons}")
    hint = Text(
        "A policy may be stricter than its grade, never looser. Correct the fields named above.",
        "使用条款可以比分级更严格，但不能更宽松，请修改上述字段。",
    )


def joined(sentences: Sequence[Callable[[str], str]]) -> Text:
    """Several sentences as one Text."""
    return Text(
        " ".join(dict.fromkeys(s("en") for s in sentences)),
        "".join(dict.fromkeys(s("zh-CN") for s in sentences)),
    )


def reviewers_needed(grade: Grade, policy: Policy) -> int:
    """How many independent reviews a grant takes: the stricter of grade and policy."""
    return max(GRADE_RULES[grade].reviewers, policy.reviewers)


def _loose(grade: Grade, policy: Policy) -> Iterator[Text]:
    rule = GRADE_RULES[grade]
    if not policy.methods:
        yield Text("no method is allowed at all.", "未允许任何使用方式。")
    if policy.reviewers < rule.reviewers:
        yield Text(f"at least {rule.reviewers} reviewers.", f"审核员至少 {rule.reviewers} 名。")
    if policy.min_units < rule.min_units:
        yield Text(f"min_units at least {rule.min_units}.", f"min_units 至少为 {rule.min_units}。")
    for name, budget in (("per_project", policy.per_project), ("total", policy.total)):
        if not (0 < budget.epsilon <= LARGEST_EPSILON and 0 < budget.delta < 1):
            yield Text(
                f"budget.{name} needs an epsilon above 0 and at most {LARGEST_EPSILON}, and a delta between 0 and 1.",
                f"budget.{name} 的 epsilon 必须大于 0 且不超过 {LARGEST_EPSILON}，delta 必须在 0 与 1 之间。",
            )
    if policy.per_project.epsilon > policy.total.epsilon or policy.per_project.delta > policy.total.delta:
        yield Text("budget.per_project exceeds budget.total.", "budget.per_project 超过 budget.total。")


def require_lawful(policy: Policy, grade: Grade) -> Policy:
    """The policy, or `PolicyTooLoose` naming everything that is wrong with it."""
    found = list(_loose(grade, policy))
    if found:
        raise PolicyTooLoose(grade=grade.value, reasons=joined([t.say for t in found]))
    return policy

"""Decisions: every use, every rule, all reasons at once; grades that a policy cannot undercut."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from itertools import pairwise

import pytest

from access.grants import GrantState, Vote, changed
from access.people import Principal, Project, Role
from access.policy import (
    GRADE_RULES,
    RULES,
    Decision,
    Grade,
    Method,
    NotAllowed,
    Openness,
    PolicyTooLoose,
    Request,
    Use,
    decide,
    require_lawful,
    reviewers_needed,
)
from privacy.loss import Budget
from tests.fakes import cast
from tests.fakes.cast import (
    AN,
    GRANT,
    LATER,
    LI,
    NOW,
    OLGA,
    POLICY,
    PROJECT,
    REN,
    REQUEST,
    RONG,
    RUI,
    SHEN,
    WANG,
    ZHAO,
    ballot,
)

OFFERED = cast.dataset(version="a" * 64)
CLOSED = cast.dataset(openness=Openness.CLOSED, version="a" * 64)
L4 = cast.dataset(grade=Grade.L4, version="a" * 64)
ASK = Request(use=Use.ASK, who=LI, now=NOW, dataset=OFFERED, project=PROJECT, grant=GRANT)
REVIEW = Request(
    use=Use.REVIEW_REQUEST, who=RUI, now=NOW, dataset=OFFERED, project=PROJECT, request=REQUEST, reviews=()
)


def codes(decision: Decision) -> list[str]:
    return [r.code for r in decision.reasons]


def with_roles(who: Principal, *roles: Role) -> Principal:
    return replace(who, roles=frozenset(roles))


def test_every_use_has_rules_and_no_rule_is_for_nothing() -> None:
    assert set(RULES) == set(Use)
    assert all(RULES.values())


@pytest.mark.parametrize("use", [Use.ASK, Use.PREVIEW])
def test_a_member_with_a_grant_may_ask(use: Use) -> None:
    decision = decide(replace(ASK, use=use))
    assert decision.allowed
    assert decision.reasons == ()
    assert [o.code for o in decision.obligations] == ["noise", "min_units"]
    assert decision.obligations[1].say("en") == "A cell rests on at least 5 privacy units."
    assert "5" in decision.obligations[1].say("zh-CN")


def test_without_a_smallest_number_there_is_no_such_obligation() -> None:
    lax = cast.dataset(policy=replace(POLICY, min_units=0), version="a" * 64)
    assert [o.code for o in decide(replace(ASK, dataset=lax)).obligations] == ["noise"]


ASK_REASONS: list[tuple[Request, list[str], bool]] = [
    (replace(ASK, who=replace(LI, disabled_at=NOW)), ["principal.disabled"], False),
    (replace(ASK, project=None), ["project.hidden"], True),
    (replace(ASK, who=WANG), ["project.hidden"], True),
    (replace(ASK, dataset=None), ["dataset.hidden"], True),
    (replace(ASK, dataset=CLOSED), ["dataset.hidden", "dataset.closed"], True),
    (replace(ASK, dataset=cast.dataset()), ["dataset.empty"], False),
    (replace(ASK, grant=None), ["grant.missing"], False),
    (replace(ASK, grant=changed(GRANT, GrantState.SUSPENDED, NOW)), ["grant.suspended"], False),
    (replace(ASK, grant=changed(GRANT, GrantState.REVOKED, NOW)), ["grant.revoked"], False),
    (replace(ASK, grant=changed(GRANT, GrantState.EXPIRED, NOW)), ["grant.expired"], False),
    (
        replace(ASK, grant=replace(GRANT, terms=replace(GRANT.terms, methods=(Method.RUN,)))),
        ["grant.method"],
        False,
    ),
    (
        replace(ASK, dataset=cast.dataset(policy=replace(POLICY, methods=(Method.RUN,)), version="a" * 64)),
        ["policy.method"],
        False,
    ),
    (replace(ASK, dataset=L4), ["grade.free_sql"], False),
    (replace(ASK, now=LATER), ["policy.expired", "grant.expired"], False),
    (
        replace(ASK, who=replace(LI, disabled_at=NOW), grant=None, dataset=cast.dataset(grade=Grade.L4)),
        ["principal.disabled", "dataset.empty", "grade.free_sql", "grant.missing"],
        False,
    ),
]


@pytest.mark.parametrize(("request_", "expected", "hidden"), ASK_REASONS)
def test_asking_is_refused_with_every_reason(request_: Request, expected: list[str], hidden: bool) -> None:
    decision = decide(request_)
    assert not decision.allowed
    assert codes(decision) == expected
    assert decision.hidden is hidden
    assert decision.obligations == ()
    for reason in decision.reasons:
        for lang in ("en", "zh-CN"):
            assert reason.say(lang)
            assert reason.advise(lang)


def test_a_grant_holds_until_the_very_instant_of_its_expiry() -> None:
    forever = cast.dataset(policy=replace(POLICY, expires_at=None), version="a" * 64)
    at = replace(ASK, dataset=forever)
    assert decide(replace(at, now=LATER - timedelta(microseconds=1))).allowed
    assert codes(decide(replace(at, now=LATER))) == ["grant.expired"]
    endless = replace(GRANT, terms=replace(GRANT.terms, expires_at=None))
    assert decide(replace(at, now=LATER, grant=endless)).allowed


def test_a_refusal_names_all_reasons_in_both_languages_and_survives_braces() -> None:
    refusal = decide(replace(ASK, grant=None, dataset=cast.dataset())).refusal()
    assert isinstance(refusal, NotAllowed)
    assert refusal.params["codes"] == ["dataset.empty", "grant.missing"]
    assert "has no version yet" in refusal.say("en")
    assert "holds no grant" in refusal.say("en")
    assert "没有此数据集的授权" in refusal.say("zh-CN")
    assert "Request access" in refusal.advise("en")
    assert "提交数据集使用申请" in refusal.advise("zh-CN")


def test_datasets_are_seen_by_everyone_closed_ones_by_their_own_steward_and_auditors() -> None:
    def sees(who: Principal, **kind: object) -> bool:
        return decide(Request(use=Use.SEE_DATASET, who=who, now=NOW, **kind)).allowed  # type: ignore[arg-type]

    assert all(sees(who, dataset=OFFERED) for who in cast.EVERYBODY)
    assert [who.login for who in cast.EVERYBODY if sees(who, dataset=CLOSED)] == ["shen", "an"]
    assert not sees(AN)
    other = with_roles(ZHAO, Role.STEWARD)
    assert not sees(other, dataset=CLOSED)


def test_stewards_register_and_change_their_own() -> None:
    def allowed(use: Use, who: Principal) -> list[str]:
        return codes(decide(Request(use=use, who=who, now=NOW, dataset=OFFERED)))

    assert allowed(Use.REGISTER_DATASET, SHEN) == []
    assert allowed(Use.REGISTER_DATASET, LI) == ["role.missing"]
    assert allowed(Use.CHANGE_DATASET, SHEN) == []
    assert allowed(Use.CHANGE_DATASET, with_roles(ZHAO, Role.STEWARD)) == ["dataset.not_yours"]
    assert allowed(Use.CHANGE_DATASET, with_roles(SHEN)) == ["role.missing"]
    assert allowed(Use.READ_REPORT, SHEN) == []
    for curious in (LI, RUI, OLGA, AN):
        assert allowed(Use.READ_REPORT, curious) == ["dataset.not_yours"]


def test_roles() -> None:
    def who_may(use: Use, project: Project | None = None) -> list[str]:
        return [w.login for w in cast.EVERYBODY if decide(Request(use=use, who=w, now=NOW, project=project)).allowed]

    assert who_may(Use.CREATE_PEOPLE) == ["olga"]
    assert who_may(Use.CREATE_PROJECT) == ["li", "wang", "zhao"]
    assert who_may(Use.READ_LOG) == ["olga", "an"]
    assert who_may(Use.READ_PROJECT, PROJECT) == ["li", "rui", "ren", "rong", "olga", "an"]
    assert who_may(Use.READ_PROJECT) == []
    assert who_may(Use.CHANGE_PROJECT, PROJECT) == ["li"]


def test_requests_are_made_by_researchers_of_the_project() -> None:
    asked = Request(use=Use.REQUEST_ACCESS, who=LI, now=NOW, dataset=L4, project=PROJECT)
    decision = decide(asked)
    assert decision.allowed
    assert [(o.code, o.say("en")) for o in decision.obligations] == [("reviews", "Independent reviews needed: 2.")]
    assert codes(decide(replace(asked, who=WANG))) == ["project.hidden"]
    assert codes(decide(replace(asked, who=with_roles(LI)))) == ["role.missing"]
    assert codes(decide(replace(asked, dataset=CLOSED, who=with_roles(LI, Role.RESEARCHER, Role.AUDITOR)))) == [
        "dataset.closed"
    ]


def test_requests_and_grants_are_read_by_those_concerned() -> None:
    for use in (Use.READ_REQUEST, Use.READ_GRANT):
        seen = [who.login for who in cast.EVERYBODY if decide(replace(REVIEW, use=use, who=who)).allowed]
        assert seen == ["li", "shen", "rui", "ren", "rong", "olga", "an"]
        assert decide(replace(REVIEW, use=use, who=WANG)).hidden


def test_only_the_author_changes_a_request() -> None:
    change = replace(REVIEW, use=Use.CHANGE_REQUEST)
    assert decide(replace(change, who=LI)).allowed
    assert codes(decide(change)) == ["request.not_yours"]
    assert codes(decide(replace(change, who=LI, request=None))) == ["request.not_yours"]


def test_nobody_judges_their_own_work() -> None:
    assert decide(REVIEW).allowed
    assert codes(decide(replace(REVIEW, who=WANG))) == ["request.hidden", "role.missing"]
    member = replace(PROJECT, members=frozenset({LI.id, RUI.id}))
    assert codes(decide(replace(REVIEW, project=member))) == ["review.own_work"]
    author = replace(REQUEST, author=RUI.id)
    assert codes(decide(replace(REVIEW, request=author))) == ["review.own_work"]
    for use in (Use.REVIEW_REQUEST, Use.REVOKE_GRANT):
        own = replace(REVIEW, use=use, who=with_roles(LI, Role.REVIEWER, Role.OPERATOR))
        assert "review.own_work" in codes(decide(own))


def test_one_vote_each_and_at_l4_from_different_organisations() -> None:
    voted = replace(REVIEW, reviews=(ballot(RUI),))
    assert codes(decide(voted)) == ["review.twice"]
    assert decide(replace(voted, who=REN)).allowed
    assert codes(decide(replace(voted, who=REN, dataset=L4))) == ["review.same_organisation"]
    assert decide(replace(voted, who=RONG, dataset=L4)).allowed
    assert decide(replace(voted, who=RONG, dataset=None)).allowed


def test_grants_are_changed_by_reviewers_operators_and_the_steward() -> None:
    change = Request(use=Use.REVOKE_GRANT, who=LI, now=NOW, dataset=OFFERED, project=PROJECT, grant=GRANT)
    may = [who.login for who in cast.EVERYBODY if decide(replace(change, who=who)).allowed]
    assert may == ["shen", "rui", "ren", "rong", "olga"]
    assert codes(decide(change)) == ["grant.not_yours", "review.own_work"]
    assert codes(decide(replace(change, who=AN))) == ["grant.not_yours"]


def test_jobs_belong_to_their_project_or_their_steward() -> None:
    question = Request(use=Use.READ_JOB, who=LI, now=NOW, dataset=OFFERED, project=PROJECT, asked_by=LI.id)
    assert decide(question).allowed
    ingest = replace(question, project=None)
    for who in (WANG, SHEN, RUI, OLGA, AN):
        assert codes(decide(replace(question, who=who))) == ["job.hidden"]
    assert decide(replace(ingest, who=SHEN)).allowed
    assert codes(decide(ingest)) == ["job.hidden"]
    cancel = replace(question, use=Use.CANCEL_JOB)
    assert decide(cancel).allowed
    assert codes(decide(replace(cancel, asked_by=WANG.id))) == ["job.not_yours"]


@pytest.mark.parametrize("use", [Use.READ_ACCOUNT, Use.READ_RECEIPT])
def test_money_and_receipts_are_seen_by_the_project_the_steward_and_those_who_watch(use: Use) -> None:
    asked = Request(use=use, who=LI, now=NOW, dataset=OFFERED, project=PROJECT)
    seen = [who.login for who in cast.EVERYBODY if decide(replace(asked, who=who)).allowed]
    assert seen == ["li", "shen", "rui", "ren", "rong", "olga", "an"]
    assert decide(replace(asked, who=ZHAO)).hidden


# --- grades --------------------------------------------------------------------------------------------------------------


def test_every_grade_has_a_rule_and_rules_only_get_stricter() -> None:
    assert list(GRADE_RULES) == list(Grade)
    rules = list(GRADE_RULES.values())
    for lower, higher in pairwise(rules):
        assert higher.reviewers >= lower.reviewers
        assert higher.min_units >= lower.min_units
        assert higher.different_organisations >= lower.different_organisations
        assert higher.free_sql <= lower.free_sql


def test_the_stricter_of_grade_and_policy_counts() -> None:
    assert reviewers_needed(Grade.L1, replace(POLICY, reviewers=0)) == 0
    assert reviewers_needed(Grade.L3, POLICY) == 2
    assert reviewers_needed(Grade.L3, replace(POLICY, reviewers=3)) == 3


def test_a_lawful_policy_passes_as_it_is() -> None:
    strict = replace(POLICY, reviewers=2)
    for grade in Grade:
        assert require_lawful(strict, grade) is strict
    assert require_lawful(replace(POLICY, reviewers=0, min_units=0), Grade.L1)


@pytest.mark.parametrize(
    ("change", "grade", "named"),
    [
        ({"methods": ()}, Grade.L1, "no method"),
        ({"reviewers": 0}, Grade.L2, "at least 1 reviewers"),
        ({"reviewers": 1}, Grade.L3, "at least 2 reviewers"),
        ({"reviewers": 2, "min_units": 4}, Grade.L3, "min_units at least 5"),
        ({"per_project": Budget(0.0, 1e-6)}, Grade.L1, "budget.per_project needs"),
        ({"total": Budget(float("inf"), 1e-6)}, Grade.L1, "budget.total needs"),
        ({"total": Budget(1_000_001.0, 1e-6)}, Grade.L1, "at most 1000000"),
        ({"total": Budget(float("nan"), 1e-6)}, Grade.L1, "budget.total needs"),
        ({"total": Budget(20.0, 1.0)}, Grade.L1, "budget.total needs"),
        ({"per_project": Budget(13.0, 1e-6)}, Grade.L1, "exceeds budget.total"),
        ({"per_project": Budget(1.0, 1e-5)}, Grade.L1, "exceeds budget.total"),
    ],
)
def test_a_policy_looser_than_its_grade_is_refused(change: dict[str, object], grade: Grade, named: str) -> None:
    with pytest.raises(PolicyTooLoose) as refused:
        require_lawful(replace(POLICY, **change), grade)  # type: ignore[arg-type]
    assert named in refused.value.say("en")
    assert grade.value in refused.value.say("zh-CN")


def test_everything_wrong_with_a_policy_is_named_at_once() -> None:
    with pytest.raises(PolicyTooLoose) as refused:
        require_lawful(replace(POLICY, methods=(), reviewers=0, min_units=0), Grade.L3)
    for words in ("no method", "at least 2 reviewers", "min_units at least 5"):
        assert words in refused.value.say("en")


def test_equal_policies_have_equal_digests_and_others_do_not() -> None:
    assert POLICY.digest() == replace(POLICY).digest()
    changes = ({"min_units": 6}, {"reviewers": 2}, {"expires_at": None}, {"purposes": ("x",)}, {"methods": ()})
    digests = {replace(POLICY, **change).digest() for change in changes} | {POLICY.digest()}  # type: ignore[arg-type]
    assert len(digests) == 6


def test_a_vote_is_one_of_three() -> None:
    assert {v.value for v in Vote} == {"grant", "refuse", "return"}

"""Requests and grants: their states, whose move it is, votes that stay hidden, terms that stay within the policy."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from access.grants import (
    GRANT_MOVES,
    GRANT_OWNERS,
    REQUEST_MOVES,
    REQUEST_OWNERS,
    AccessRequest,
    GrantState,
    MoveRefused,
    Owner,
    RequestState,
    Terms,
    TermsMalformed,
    TermsRefused,
    Vote,
    changed,
    concluded,
    outcome,
    require_terms,
    review,
    submit,
    take_up,
    visible_reviews,
    withdraw,
)
from access.policy import Grade, Method
from privacy.loss import Budget
from tests.fakes import cast
from tests.fakes.cast import (
    DATASET,
    GRANT,
    LATER,
    LI,
    NOW,
    POLICY,
    REN,
    REQUEST,
    RONG,
    RUI,
    TERMS,
    ballot,
)

SUBMITTED = submit(REQUEST, NOW)
IN_REVIEW = take_up(SUBMITTED, NOW)
L3 = cast.dataset(grade=Grade.L3)


def test_states_are_complete_and_reachable() -> None:
    for moves, owners, states, first in (
        (REQUEST_MOVES, REQUEST_OWNERS, RequestState, RequestState.DRAFT),
        (GRANT_MOVES, GRANT_OWNERS, GrantState, GrantState.ACTIVE),
    ):
        assert set(moves) == set(owners) == set(states)
        reached, todo = {first}, [first]
        while todo:
            fresh = moves[todo.pop()] - reached  # type: ignore[index]
            reached |= fresh
            todo += fresh
        assert reached == set(states)
        for state in states:
            assert (owners[state] is Owner.SYSTEM) == (not moves[state])  # type: ignore[index]


def test_a_request_goes_its_way() -> None:
    assert (SUBMITTED.state, SUBMITTED.round, SUBMITTED.decided_at) == (RequestState.SUBMITTED, 1, None)
    assert IN_REVIEW.state is RequestState.IN_REVIEW
    assert take_up(IN_REVIEW, LATER) is IN_REVIEW
    gone = withdraw(IN_REVIEW, LATER)
    assert (gone.state, gone.decided_at, gone.changed_at) == (RequestState.WITHDRAWN, LATER, LATER)


def test_what_the_dict_does_not_allow_is_refused_with_what_it_does() -> None:
    with pytest.raises(MoveRefused) as refused:
        take_up(REQUEST, NOW)
    assert "“draft” and cannot become “in_review”" in refused.value.say("en")
    assert "submitted, withdrawn" in refused.value.advise("en")
    with pytest.raises(MoveRefused) as final:
        submit(withdraw(REQUEST, NOW), NOW)
    assert "–" in final.value.advise("zh-CN")


@given(st.lists(st.sampled_from(["submit", "take_up", "withdraw", "refuse", "return", "grant"]), max_size=12))
def test_requests_only_ever_reach_allowed_states(steps: list[str]) -> None:
    request: AccessRequest = REQUEST
    for step in steps:
        before = request
        try:
            if step == "submit":
                request = submit(request, NOW)
            elif step == "take_up":
                request = take_up(request, NOW)
            elif step == "withdraw":
                request = withdraw(request, NOW)
            else:
                vote = review(request, RUI, Vote(step), "", NOW)
                request, grant = concluded(request, DATASET, [vote], grant_id="g", now=NOW)
                assert (grant is not None) == (request.state is RequestState.GRANTED)
        except MoveRefused:
            assert request is before
            continue
        assert request.state is before.state or request.state in REQUEST_MOVES[before.state]
        assert request.round >= before.round


def test_only_a_request_in_review_takes_votes() -> None:
    with pytest.raises(MoveRefused):
        review(SUBMITTED, RUI, Vote.GRANT, "", NOW)
    vote = review(IN_REVIEW, RUI, Vote.REFUSE, "no", LATER)
    assert (vote.reviewer, vote.organisation, vote.round, vote.comment) == (RUI.id, RUI.organisation, 1, "no")


@pytest.mark.parametrize(
    ("votes", "needed", "expected"),
    [
        ([], 0, Vote.GRANT),
        ([], 1, None),
        ([Vote.GRANT], 1, Vote.GRANT),
        ([Vote.REFUSE], 2, None),
        ([Vote.GRANT, Vote.GRANT], 2, Vote.GRANT),
        ([Vote.GRANT, Vote.RETURN], 2, Vote.RETURN),
        ([Vote.RETURN, Vote.REFUSE], 2, Vote.REFUSE),
        ([Vote.GRANT, Vote.REFUSE], 2, Vote.REFUSE),
    ],
)
def test_what_votes_come_to(votes: list[Vote], needed: int, expected: Vote | None) -> None:
    cast_votes = [ballot(who, vote) for who, vote in zip((RUI, RONG), votes, strict=False)]
    assert outcome(cast_votes, needed) is expected


def test_the_last_vote_needed_makes_the_grant() -> None:
    unchanged, none = concluded(IN_REVIEW, L3, [ballot(RUI)], grant_id="g", now=NOW)
    assert unchanged is IN_REVIEW
    assert none is None
    decided, grant = concluded(IN_REVIEW, L3, [ballot(RUI), ballot(RONG)], grant_id="g", now=NOW)
    assert (decided.state, decided.grant, decided.decided_at) == (RequestState.GRANTED, "g", NOW)
    assert grant is not None
    assert (grant.id, grant.terms, grant.reviewers) == ("g", REQUEST.terms, (RUI.id, RONG.id))
    assert (grant.project, grant.dataset, grant.request) == (REQUEST.project, REQUEST.dataset, REQUEST.id)
    refused, none = concluded(IN_REVIEW, L3, [ballot(RUI), ballot(RONG, Vote.REFUSE)], grant_id="g", now=NOW)
    assert (refused.state, none) == (RequestState.REFUSED, None)
    returned, none = concluded(IN_REVIEW, L3, [ballot(RUI), ballot(RONG, Vote.RETURN)], grant_id="g", now=NOW)
    assert (returned.state, returned.decided_at, none) == (RequestState.RETURNED, None, None)
    again = submit(returned, LATER)
    assert again.round == 2


def test_votes_stay_hidden_until_all_are_in() -> None:
    first, second = ballot(RUI), ballot(RONG, Vote.REFUSE)
    assert visible_reviews(IN_REVIEW, [first], LI, 2) == ()
    assert visible_reviews(IN_REVIEW, [first], REN, 2) == ()
    assert visible_reviews(IN_REVIEW, [first], RUI, 2) == (first,)
    assert visible_reviews(IN_REVIEW, [first, second], LI, 2) == (first, second)
    later = ballot(REN, number=2)
    assert visible_reviews(IN_REVIEW, [first, second, later], LI, 2) == (first, second)
    assert visible_reviews(IN_REVIEW, [first, second, later], REN, 2) == (first, second, later)


# --- grants --------------------------------------------------------------------------------------------------------------


def test_a_grant_holds_until_something_ends_it() -> None:
    assert GRANT.methods == (Method.ASK,)
    assert GRANT.blocked_at(NOW) is None
    assert GRANT.blocked_at(LATER) is GrantState.EXPIRED
    suspended = changed(GRANT, GrantState.SUSPENDED, NOW, "wait")
    assert suspended.blocked_at(NOW) is GrantState.SUSPENDED
    assert suspended.comment == "wait"
    assert changed(suspended, GrantState.ACTIVE, NOW).blocked_at(NOW) is None
    revoked = changed(suspended, GrantState.REVOKED, LATER)
    assert (revoked.revoked_at, revoked.blocked_at(NOW)) == (LATER, GrantState.REVOKED)
    assert changed(GRANT, GrantState.EXPIRED, LATER).revoked_at is None


def test_final_grants_stay_as_they_are_and_an_expired_one_is_not_resumed() -> None:
    for state in (GrantState.REVOKED, GrantState.EXPIRED):
        final = changed(GRANT, state, NOW)
        for to in GrantState:
            with pytest.raises(MoveRefused):
                changed(final, to, NOW)
    suspended = changed(GRANT, GrantState.SUSPENDED, NOW)
    with pytest.raises(MoveRefused) as refused:
        changed(suspended, GrantState.ACTIVE, LATER)
    assert "expired, revoked" in refused.value.advise("en")


def test_states_have_words() -> None:
    assert {s.words.en for s in GrantState} == {"active", "suspended", "expired", "revoked"}
    assert all(s.words.zh for s in GrantState)


# --- terms ---------------------------------------------------------------------------------------------------------------


def test_terms_within_the_policy_pass() -> None:
    assert require_terms(TERMS, DATASET, NOW) is TERMS
    whole = replace(TERMS, budget=POLICY.per_project)
    assert require_terms(whole, DATASET, NOW) is whole
    endless = cast.dataset(policy=replace(POLICY, expires_at=None, purposes=(TERMS.purpose,)))
    assert require_terms(replace(TERMS, expires_at=None), endless, NOW)


@pytest.mark.parametrize(
    "change",
    [
        {"budget": Budget(0.0, 1e-6)},
        {"budget": Budget(-1.0, 1e-6)},
        {"budget": Budget(float("nan"), 1e-6)},
        {"budget": Budget(float("inf"), 1e-6)},
        {"budget": Budget(1.0, 0.0)},
        {"budget": Budget(1.0, 1.0)},
        {"methods": ()},
        {"expires_at": NOW},
        {"expires_at": NOW - timedelta(days=1)},
    ],
)
def test_terms_that_make_no_sense_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(TermsMalformed):
        require_terms(replace(TERMS, **change), DATASET, NOW)  # type: ignore[arg-type]


def test_a_problem_without_an_expiry_can_be_said() -> None:
    bad = Terms(purpose="p", methods=(), budget=Budget(1.0, 1e-6))
    with pytest.raises(TermsMalformed) as refused:
        require_terms(bad, DATASET, NOW)
    assert "–" in refused.value.say("en")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"budget": Budget(4.5, 1e-6)}, "ε ≤ 4.0, δ ≤ 1e-06"),
        ({"budget": Budget(1.0, 1e-5)}, "ε ≤ 4.0, δ ≤ 1e-06"),
        ({"methods": (Method.ASK, Method.RUN)}, "methods offered are ask"),
        ({"expires_at": LATER + timedelta(days=1)}, "end on 2026-03-31"),
        ({"expires_at": None}, "end on 2026-03-31"),
    ],
)
def test_terms_beyond_the_policy_are_refused_by_name(change: dict[str, object], named: str) -> None:
    with pytest.raises(TermsRefused) as refused:
        require_terms(replace(TERMS, **change), DATASET, NOW)  # type: ignore[arg-type]
    assert named in refused.value.say("en")
    assert refused.value.say("zh-CN")


def test_purposes_are_offered_by_name_whatever_they_are_called() -> None:
    narrow = cast.dataset(policy=replace(POLICY, purposes=("{research}", "statistics")))
    with pytest.raises(TermsRefused) as refused:
        require_terms(replace(TERMS, budget=Budget(9.0, 1e-6)), narrow, NOW)
    assert "{research}, statistics" in refused.value.say("en")
    assert "a project may have" in refused.value.say("en")

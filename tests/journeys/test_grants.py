"""From asking for a dataset to holding a grant, and what happens to a grant; on the fake and on SQLite."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

from access.catalogue import Dataset, DatasetNotFound
from access.grants import (
    GrantNotFound,
    GrantState,
    MoveRefused,
    RequestNotFound,
    RequestState,
    RequestView,
    TermsRefused,
    Vote,
)
from access.ledger import Account, AccountNotFound, LineKind, opened
from access.people import BadText, Principal, ProjectNotFound
from access.policy import Grade, Method, NotAllowed, Openness, Use
from access.ports import Cursor
from privacy.loss import Budget
from sandbox.journeys import browse, grants
from sandbox.journeys.house import House, permit, situation
from tests.fakes import cast
from tests.fakes.cast import AN, LI, OLGA, POLICY, PROJECT, REN, RONG, RUI, SHEN, WANG, ZHAO, Events, Still
from tests.fakes.houses import open_house

L1 = cast.dataset("open/parks", grade=Grade.L1, policy=cast.replace_policy(reviewers=0, min_units=0))
L2 = cast.dataset("health/visits")
L3 = cast.dataset("health/codes", grade=Grade.L3, policy=cast.replace_policy(reviewers=2))
L4 = cast.dataset("health/genes", grade=Grade.L4, policy=cast.replace_policy(reviewers=2))
CLOSED = cast.dataset("tax/closed", openness=Openness.CLOSED)


@dataclass(frozen=True, kw_only=True)
class Town:
    """A house with the cast, a project, and one dataset of every grade."""

    house: House
    clock: Still

    def ask(self, dataset: Dataset = L2, who: Principal = LI, **more: object) -> RequestView:
        return grants.request_access(
            self.house,
            who,
            project="flow",
            dataset=dataset.name,
            purpose="Plan capacity",
            **more,  # type: ignore[arg-type]
        )

    def vote(self, request: str, who: Principal, vote: Vote = Vote.GRANT, comment: str = "") -> RequestView:
        return grants.review(self.house, who, request, vote=vote, comment=comment)

    def account(self, dataset: Dataset) -> Account | None:
        with self.house.registry.read() as unit:
            return unit.ledger.find(dataset.name, PROJECT.id)

    def kinds(self) -> list[str]:
        with self.house.registry.read() as unit:
            return [entry.kind for _, entry in unit.log.entries(Cursor(limit=500)).items]


@pytest.fixture(params=["fake", "sqlite"])
def town(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Town]:
    event = Events()
    with open_house(request.param, tmp_path) as (house, clock):
        with house.registry.begin() as unit:
            for organisation in (cast.UNIVERSITY, cast.HEALTH, cast.OFFICE, cast.BUREAU):
                unit.people.add_organisation(organisation, entry=event())
            for who in cast.EVERYBODY:
                unit.people.add_principal(who, password_hash=None, entry=event())
            unit.people.add_project(PROJECT, entry=event())
            for dataset in (L1, L2, L3, L4, CLOSED):
                unit.catalogue.add(dataset, description="", entry=event())
                total = opened(account=f"total-{dataset.name}", dataset=dataset.name, project=None, budget=POLICY.total)
                unit.ledger.open(total, entry=event())
        yield Town(house=house, clock=clock)


# --- the way to a grant --------------------------------------------------------------------------------------------------


def test_one_review_makes_a_grant_and_opens_the_account(town: Town) -> None:
    asked = town.ask(budget=Budget(2.0, 1e-6))
    assert asked.request.state is RequestState.SUBMITTED
    assert (asked.needed, asked.reviews) == (1, ())
    assert town.account(L2) is None
    decided = town.vote(asked.request.id, RUI, comment="fine")
    assert decided.request.state is RequestState.GRANTED
    assert [r.comment for r in decided.reviews] == ["fine"]
    grant = grants.read_grant(town.house, LI, str(decided.request.grant))
    assert (grant.state, grant.reviewers, grant.terms) == (GrantState.ACTIVE, (RUI.id,), asked.request.terms)
    account = town.account(L2)
    assert account is not None
    assert account.budget == Budget(2.0, 1e-6)
    assert town.kinds()[-5:] == [
        "request.submitted",
        "request.taken-up",
        "request.voted",
        "grant.made",
        "request.granted",
    ]


def test_what_is_not_said_defaults_to_all_the_policy_gives(town: Town) -> None:
    terms = town.ask().request.terms
    assert (terms.budget, terms.expires_at, terms.methods) == (POLICY.per_project, POLICY.expires_at, (Method.ASK,))


def test_where_no_review_is_needed_the_house_grants_at_once(town: Town) -> None:
    asked = town.ask(L1)
    assert asked.request.state is RequestState.GRANTED
    grant = grants.read_grant(town.house, LI, str(asked.request.grant))
    assert grant.reviewers == ()
    assert town.account(L1) is not None


def test_two_reviews_hidden_until_both_are_in(town: Town) -> None:
    asked = town.ask(L3).request
    first = town.vote(asked.id, RUI, Vote.GRANT, "yes")
    assert first.request.state is RequestState.IN_REVIEW
    assert [r.reviewer for r in first.reviews] == [RUI.id]
    for curious in (LI, RONG, SHEN, OLGA, AN):
        assert grants.read_request(town.house, curious, asked.id).reviews == ()
    with pytest.raises(NotAllowed) as twice:
        town.vote(asked.id, RUI)
    assert twice.value.params["codes"] == ["review.twice"]
    second = town.vote(asked.id, REN, Vote.GRANT)
    assert second.request.state is RequestState.GRANTED
    assert [r.reviewer for r in grants.read_request(town.house, LI, asked.id).reviews] == [RUI.id, REN.id]


def test_a_first_vote_does_not_show_in_the_log_of_events(town: Town) -> None:
    asked = town.ask(L3).request
    town.vote(asked.id, RUI, Vote.REFUSE, "secret reason")
    with town.house.registry.read() as unit:
        leaves = b"".join(row.leaf for row in unit.log.stream())
    assert b"refuse" not in leaves
    assert b"secret reason" not in leaves


def test_at_l4_reviewers_come_from_different_organisations(town: Town) -> None:
    asked = town.ask(L4).request
    town.vote(asked.id, RUI)
    with pytest.raises(NotAllowed) as refused:
        town.vote(asked.id, REN)
    assert refused.value.params["codes"] == ["review.same_organisation"]
    assert town.vote(asked.id, RONG).request.state is RequestState.GRANTED


def test_one_refusal_refuses(town: Town) -> None:
    asked = town.ask(L3).request
    town.vote(asked.id, RUI)
    refused = town.vote(asked.id, RONG, Vote.REFUSE, "purpose unclear")
    assert refused.request.state is RequestState.REFUSED
    assert refused.request.grant is None
    assert town.account(L3) is None
    with pytest.raises(MoveRefused):
        grants.submit(town.house, LI, asked.id)
    with pytest.raises((MoveRefused, NotAllowed)):
        town.vote(asked.id, REN)


def test_a_returned_request_comes_back_for_a_new_round(town: Town) -> None:
    asked = town.ask(L3).request
    town.vote(asked.id, RUI)
    assert town.vote(asked.id, RONG, Vote.RETURN, "say more").request.state is RequestState.RETURNED
    again = grants.submit(town.house, LI, asked.id)
    assert (again.request.state, again.request.round) == (RequestState.SUBMITTED, 2)
    assert len(again.reviews) == 2
    town.vote(asked.id, RUI)
    assert town.vote(asked.id, REN).request.state is RequestState.GRANTED


def test_drafts_are_submitted_or_withdrawn_by_their_author_alone(town: Town) -> None:
    draft = town.ask(submit=False).request
    assert draft.state is RequestState.DRAFT
    with pytest.raises(MoveRefused):
        town.vote(draft.id, RUI)
    for other, problem in ((RUI, NotAllowed), (WANG, RequestNotFound)):
        with pytest.raises(problem):
            grants.submit(town.house, other, draft.id)
        with pytest.raises(problem):
            grants.withdraw(town.house, other, draft.id)
    gone = grants.withdraw(town.house, LI, draft.id)
    assert gone.request.state is RequestState.WITHDRAWN
    with pytest.raises(MoveRefused):
        grants.submit(town.house, LI, draft.id)


# --- who may not ---------------------------------------------------------------------------------------------------------


def test_nobody_judges_their_own_project(town: Town) -> None:
    asked = town.ask().request
    for who, codes in ((LI, ["role.missing", "review.own_work"]), (SHEN, ["role.missing"])):
        with pytest.raises(NotAllowed) as refused:
            town.vote(asked.id, who)
        assert refused.value.params["codes"] == codes
    with town.house.registry.begin() as unit:
        unit.people.add_member(PROJECT.id, RUI.id, entry=Events()("test.joined"))
    with pytest.raises(NotAllowed) as own:
        town.vote(asked.id, RUI)
    assert own.value.params["codes"] == ["review.own_work"]


def test_hidden_things_are_not_found_exactly_like_missing_ones(town: Town) -> None:
    asked = town.ask().request
    for stranger in (WANG, ZHAO):
        with pytest.raises(RequestNotFound) as hidden:
            grants.read_request(town.house, stranger, asked.id)
        with pytest.raises(RequestNotFound) as missing:
            grants.read_request(town.house, stranger, "x" * len(asked.id))
        assert hidden.value.say("en").replace(asked.id, "?") == missing.value.say("en").replace(
            "x" * len(asked.id), "?"
        )
        with pytest.raises(RequestNotFound):
            town.vote(asked.id, stranger)
        with pytest.raises(ProjectNotFound):
            town.ask(who=stranger)
    with pytest.raises(DatasetNotFound):
        town.ask(CLOSED)
    with pytest.raises(DatasetNotFound):
        town.ask(cast.dataset("no/such"))
    with pytest.raises(GrantNotFound):
        grants.read_grant(town.house, LI, "x")


def test_terms_beyond_the_policy_are_refused_and_nothing_is_written(town: Town) -> None:
    before = len(town.kinds())
    with pytest.raises(TermsRefused):
        town.ask(budget=Budget(5.0, 1e-6))
    with pytest.raises(BadText):
        grants.request_access(town.house, LI, project="flow", dataset=L2.name, purpose="  ")
    asked = town.ask().request
    with pytest.raises(BadText):
        town.vote(asked.id, RUI, comment="\x00")
    assert len(town.kinds()) == before + 2


def test_terms_that_the_policy_no_longer_gives_are_not_granted(town: Town) -> None:
    asked = town.ask(expires_at=cast.NOW + timedelta(days=1)).request
    town.clock.forward(timedelta(days=2))
    with pytest.raises(Exception, match="cannot be read"):
        town.vote(asked.id, RUI)
    assert grants.read_request(town.house, LI, asked.id).request.state is RequestState.SUBMITTED


# --- what happens to a grant ---------------------------------------------------------------------------------------------


def granted(town: Town, dataset: Dataset = L2, **more: object) -> str:
    asked = town.ask(dataset, **more).request
    return str(town.vote(asked.id, RUI).request.grant)


def blocked(town: Town) -> list[str]:
    decision = grants.explain(town.house, LI, Use.ASK, dataset=L2.name, project="flow")
    return [r.code for r in decision.reasons if r.code.startswith("grant.")]


def test_revoking_suspending_and_resuming_count_at_once(town: Town) -> None:
    assert blocked(town) == ["grant.missing"]
    key = granted(town)
    assert blocked(town) == []
    suspended = grants.suspend(town.house, SHEN, key, comment="checking")
    assert (suspended.state, suspended.comment) == (GrantState.SUSPENDED, "checking")
    assert blocked(town) == ["grant.suspended"]
    assert grants.resume(town.house, RUI, key).state is GrantState.ACTIVE
    assert blocked(town) == []
    assert grants.revoke(town.house, OLGA, key, comment="over").revoked_at == town.clock.now
    assert blocked(town) == ["grant.revoked"]
    with pytest.raises(MoveRefused):
        grants.resume(town.house, RUI, key)
    assert town.kinds()[-3:] == ["grant.suspended", "grant.resumed", "grant.revoked"]


def test_only_some_may_change_a_grant(town: Town) -> None:
    key = granted(town)
    with pytest.raises(NotAllowed):
        grants.revoke(town.house, LI, key)
    with pytest.raises(NotAllowed):
        grants.revoke(town.house, AN, key)
    with pytest.raises(GrantNotFound):
        grants.revoke(town.house, ZHAO, key)
    with pytest.raises(GrantNotFound):
        grants.suspend(town.house, RUI, "x")


def test_an_expired_grant_does_not_hold_and_is_recorded(town: Town) -> None:
    key = granted(town, expires_at=cast.NOW + timedelta(days=1))
    assert grants.expire_due(town.house) == 0
    town.clock.forward(timedelta(days=1))
    assert blocked(town) == ["grant.expired"]
    assert grants.read_grant(town.house, LI, key).state is GrantState.ACTIVE
    assert grants.expire_due(town.house) == 1
    assert grants.expire_due(town.house) == 0
    assert grants.read_grant(town.house, LI, key).state is GrantState.EXPIRED
    assert blocked(town) == ["grant.expired"]


def test_a_new_grant_ends_the_older_one_and_moves_the_limit_but_not_what_was_spent(town: Town) -> None:
    first = granted(town, budget=Budget(1.0, 1e-6))
    account = town.account(L2)
    assert account is not None
    with town.house.registry.begin() as unit:
        unit.jobs.add(cast.job(), entry=Events()("test.job"))
        unit.ledger.reserve(cast.reservation(rho=5_000_000), contact="c", entry=Events()("test.job"))
        unit.ledger.settle("res-1", at=cast.NOW, entry=Events()("test.job"))
    second = granted(town, budget=Budget(3.0, 1e-6))
    assert grants.read_grant(town.house, LI, first).state is GrantState.REVOKED
    assert grants.read_grant(town.house, LI, second).state is GrantState.ACTIVE
    after = town.account(L2)
    assert after is not None
    assert (after.id, after.budget, after.spent.rho) == (account.id, Budget(3.0, 1e-6), 5_000_000)
    grants.revoke(town.house, RUI, second)
    third = granted(town, budget=Budget(0.5, 1e-6))
    assert grants.read_grant(town.house, LI, third).state is GrantState.ACTIVE


# --- looking around ------------------------------------------------------------------------------------------------------


def test_lists_show_what_is_ones_own(town: Town) -> None:
    key = granted(town)
    town.ask(L3, submit=False)
    for who, requests, promises in ((LI, 2, 1), (WANG, 0, 0), (SHEN, 2, 1), (RUI, 2, 1), (AN, 2, 1)):
        assert len(grants.list_requests(town.house, who, Cursor()).items) == requests
        assert [g.id for g in grants.list_grants(town.house, who, Cursor()).items] == [key] * promises
    drafts = grants.list_requests(town.house, LI, Cursor(), states=(RequestState.DRAFT,)).items
    assert [(v.request.dataset, v.needed) for v in drafts] == [(L3.name, 2)]


def test_the_catalogue_shows_cards_and_hides_the_closed(town: Town) -> None:
    def names(who: Principal) -> list[str]:
        return [c.name for c in browse.list_datasets(town.house, who, Cursor()).items]

    assert names(LI) == [L1.name, L2.name, L3.name, L4.name]
    assert names(SHEN) == names(AN) == [L1.name, L2.name, L3.name, L4.name, CLOSED.name]
    assert browse.read_card(town.house, LI, L2.name).reviewers == 1
    assert browse.read_card(town.house, SHEN, CLOSED.name).name == CLOSED.name
    with pytest.raises(DatasetNotFound):
        browse.read_card(town.house, LI, CLOSED.name)
    with pytest.raises(DatasetNotFound):
        browse.read_card(town.house, LI, "no/such")


def test_accounts_and_their_lines(town: Town) -> None:
    granted(town)
    mine = browse.list_accounts(town.house, LI, Cursor()).items
    assert [(a.dataset, a.project) for a in mine] == [(L2.name, PROJECT.id)]
    assert browse.list_accounts(town.house, WANG, Cursor()).items == ()
    assert len(browse.list_accounts(town.house, RUI, Cursor()).items) == 6
    assert browse.list_accounts(town.house, RUI, Cursor(), dataset=L2.name, project="flow").items == mine
    assert browse.list_accounts(town.house, RUI, Cursor(), project="no-such").items == ()
    assert [line.kind for line in browse.list_ledger(town.house, LI, mine[0].id, Cursor()).items] == [LineKind.OPENED]
    assert browse.read_account(town.house, LI, mine[0].id) == mine[0]
    for stranger, key in ((WANG, mine[0].id), (LI, f"total-{L2.name}"), (LI, "x")):
        with pytest.raises(AccountNotFound):
            browse.read_account(town.house, stranger, key)


def test_explaining_says_everything_but_what_is_hidden(town: Town) -> None:
    ask = grants.explain(town.house, LI, Use.ASK, dataset=L4.name, project="flow")
    assert [r.code for r in ask.reasons] == ["dataset.empty", "grade.free_sql", "grant.missing"]
    hidden = grants.explain(town.house, WANG, Use.ASK, dataset=L4.name, project="flow")
    missing = grants.explain(town.house, WANG, Use.ASK, dataset=L4.name, project="no-such")
    assert hidden == missing
    assert [r.code for r in hidden.reasons] == ["project.hidden"]
    assert grants.explain(town.house, LI, Use.SEE_DATASET, dataset=L2.name).allowed
    asked = town.ask().request
    assert grants.explain(town.house, RUI, Use.REVIEW_REQUEST, request=asked.id).allowed
    own = grants.explain(town.house, LI, Use.CANCEL_JOB, project="flow", dataset=L2.name)
    assert own.allowed


def test_a_hidden_thing_without_a_name_for_it_is_a_mistake_of_ours(town: Town) -> None:
    """`permit` fails closed: it never lets a hidden thing pass because a caller forgot to name its absence."""
    with town.house.registry.read() as unit:
        asked = situation(town.house, unit, WANG, Use.READ_PROJECT, project="flow")
    with pytest.raises(KeyError):
        permit(asked)
